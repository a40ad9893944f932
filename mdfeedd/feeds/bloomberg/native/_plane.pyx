# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""From the SDK's events into the ring, without the GIL and without Python objects; see blp_walk.h."""
from libc.stdint cimport int64_t, uint32_t, uintptr_t
from libc.string cimport memset

from mdfeedd.feeds.bloomberg.native._codec cimport Kernel, Staging, blp_decoder, blp_table, blp_touch
from mdfeedd.ring._ring cimport WriterCore, mdf_flush, mdf_publish_batch

import ctypes

cdef extern from "blp_walk.h" nogil:
    enum:
        BLP_FIELDS
        BLP_WALK_END
        BLP_WALK_ODD
        BLP_WALK_FULL
        BLP_WALK_ENDLESS
    ctypedef struct blp_abi:
        pass
    ctypedef struct blp_walk:
        const blp_abi *abi
        uint32_t *doubts
        const blp_table *table
        blp_decoder *decoder
        int64_t recv_ns
        uint32_t index
        blp_decoder *trial
        const uint32_t *proofs
        int is_trade
        const blp_touch *touch
    const char *blp_abi_open(blp_abi *abi, const char *path)
    void blp_abi_close(blp_abi *abi)
    int64_t blp_count(const blp_abi *abi, const void *event)
    int blp_walk_begin(blp_walk *w, const void *event)
    void blp_walk_end(blp_walk *w)
    int blp_walk_on(blp_walk *w)
    int blp_walk_note(blp_walk *w)
    int blp_walk_agrees(blp_walk *w, size_t before)


cdef enum:
    PROOFS_OF_NONE = 0x7FFFFFFF

#: Quotes, and trades, that are done both ways, and must come to the same, before the library is relied on.
PROOFS = 1000
#: How often each field is asked whether it is an array, which it is always or never.
DOUBTS = 1000


class Unusable(Exception):
    """The library cannot be used in this way; the Python path can."""


cdef uintptr_t _address(object event) except? 0:
    """Where the SDK's own event is. Raises `Unusable`."""
    try:
        handle = event._handle()
    except Exception as error:
        raise Unusable(f"an event has no handle to give: {type(error).__name__}: {error}") from None
    if type(handle) is not int and isinstance(handle, (ctypes._Pointer, ctypes._SimpleCData)):
        try:
            handle = ctypes.cast(handle, ctypes.c_void_p).value
        except ctypes.ArgumentError:
            handle = None
    cdef uintptr_t at = 0
    if type(handle) is int:
        try:
            at = handle
        except OverflowError:
            at = 0
    if not at:
        raise Unusable(f"an event's handle is no address: {type(handle).__name__}")
    return at


cdef class Library:
    """The SDK's library at `path`, which the process has loaded. Raises `Unusable`.

    `doubts`: how often it is asked, for each field, whether that is an array.
    """

    cdef blp_abi abi
    cdef uint32_t doubts[BLP_FIELDS]
    cdef readonly str path

    def __cinit__(self, str path not None, *, uint32_t doubts=DOUBTS):
        cdef const char *why
        cdef bytes name = path.encode()
        memset(&self.abi, 0, sizeof(self.abi))
        self.path = path
        for field in range(BLP_FIELDS):
            self.doubts[field] = doubts
        why = blp_abi_open(&self.abi, name)
        if why != NULL:
            raise Unusable(f"{path}: {why.decode()}")

    def __dealloc__(self):
        blp_abi_close(&self.abi)

    def count(self, event):
        """How many messages it finds in an event of the SDK. Raises `Unusable`."""
        n = blp_count(&self.abi, <const void *>_address(event))
        if n < 0:
            raise Unusable("the SDK's library does not iterate over an event")
        return n


cdef class Walker:
    """Takes whole events: what is ordinary goes from `library` into the ring, the rest to `plane`.

    The first `proofs` ordinary quotes, and trades, are done by `plane`, and the library is compared with it.
    """

    cdef Kernel _kernel
    cdef WriterCore _writer
    cdef Library _library
    cdef object _plane
    cdef Staging _staging
    cdef blp_decoder _trial
    cdef uint32_t _proofs[2]
    cdef readonly bint agrees

    def __cinit__(self, Kernel kernel not None, WriterCore writer not None, Library library not None,
                  plane, *, uint32_t proofs=PROOFS):
        self._kernel = kernel
        self._writer = writer
        self._library = library
        self._plane = plane
        self._staging = Staging(2)
        memset(&self._trial, 0, sizeof(self._trial))
        self._trial.out = &self._staging.s
        self._trial.refuse_delayed = kernel.d.refuse_delayed
        self._proofs[0] = self._proofs[1] = proofs
        self.agrees = True

    @property
    def proofs(self):
        """How many are still to be given: of quotes, of trades."""
        return self._proofs[0], self._proofs[1]

    def use(self, event, now):
        """Take all of the event; raises `Unusable` before anything of it was taken.

        Returns false if the library is not to be used again: `agrees` says whether it told something else
        than the package, or else its event had no end.
        """
        cdef blp_walk w
        cdef const void *at = <const void *>_address(event)
        cdef int status = BLP_WALK_END, begun, noted = 0
        self._writer.check()
        memset(&w, 0, sizeof(w))
        w.abi = &self._library.abi
        w.doubts = self._library.doubts
        w.table = &self._kernel.touches.table
        w.decoder = &self._kernel.d
        w.recv_ns = now.wall_ns
        w.trial = &self._trial
        w.proofs = self._proofs
        with nogil:
            begun = blp_walk_begin(&w, at) == 0
            if begun:
                status = self._ordinary(&w)
                if status != BLP_WALK_ODD:
                    noted = blp_walk_note(&w)
                    mdf_flush(&self._writer.w)
                    blp_walk_end(&w)
        if not begun:
            raise Unusable("the SDK's library does not iterate over an event")
        if status == BLP_WALK_ODD:
            try:
                status = self._with_odd(&w, event, now)
            finally:
                with nogil:
                    blp_walk_end(&w)
        elif noted:
            self._kernel.last_message = None
        return status == BLP_WALK_END and self.agrees

    cdef int _ordinary(self, blp_walk *w) noexcept nogil:
        """Go on to the end, or to a message that is not ordinary; before the end all is published."""
        cdef int status
        while True:
            status = blp_walk_on(w)
            if status != BLP_WALK_ODD:
                self._publish()
            if status != BLP_WALK_FULL:
                return status

    cdef int _with_odd(self, blp_walk *w, object event, object now) except -1:
        """From a message that is not ordinary on: those are done by the plane, in their order."""
        cdef int status = BLP_WALK_ODD
        cdef uint32_t at = 0
        cdef size_t before
        messages = iter(event)
        while True:
            if blp_walk_note(w):
                self._kernel.last_message = None
            if status != BLP_WALK_ODD:
                break
            message = None
            while at < w.index:
                message = next(messages, None)
                at += 1
            if message is not None:
                before = self._kernel.d.out.n
                self._plane.take(message, now)
                if w.touch != NULL:
                    self._prove(w, before)
            with nogil:
                status = self._ordinary(w)
        with nogil:
            mdf_flush(&self._writer.w)
        return status

    cdef void _prove(self, blp_walk *w, size_t before) noexcept:
        """A message was done both ways. Where they differ, the package does the rest of the event."""
        if not blp_walk_agrees(w, before):
            self.agrees = False
            self._proofs[0] = self._proofs[1] = PROOFS_OF_NONE
        elif self.agrees:
            self._proofs[w.is_trade] -= 1

    cdef void _publish(self) noexcept nogil:
        if self._kernel.d.out.n:
            mdf_publish_batch(&self._writer.w, self._kernel.d.out.ticks, self._kernel.d.out.n)
            self._kernel.d.out.n = 0
