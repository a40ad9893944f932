# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled heart of the ring: the protocol of mdfeedd.h, without policy.

`WriterCore` and `ReaderCore` hold one C writer and one C reader; `mdfeedd.ring.writer` and `.reader` add
names, waiting for rings, instruments and asyncio. Batches own their memory: nothing that a read returns
points into shared memory, so it stays true when the ring moves on and when the reader is closed.
"""
cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.ref cimport PyObject
from libc.stdint cimport UINT64_MAX
from libc.string cimport memcmp, memcpy, memset

import time as _time

import numpy as np

from mdfeedd import tick as _tick
from mdfeedd.ring import _ticks
from mdfeedd.ring import errors as _errors

cdef extern from "time.h" nogil:
    enum:
        CLOCK_MONOTONIC

cdef extern from "numpy_abi.h":
    ctypedef struct mdf_ndarray:
        char *data
        int nd
        Py_ssize_t *dimensions
        Py_ssize_t *strides
        PyObject *base
        PyObject *descr
        int flags
    enum:
        MDF_NDARRAY_C_CONTIGUOUS
        MDF_NDARRAY_WRITEABLE

cdef extern from "waker.h" nogil:
    ctypedef struct mdf_waker:
        int eventfd
    mdf_waker *mdf_waker_start()
    int mdf_waker_add(mdf_waker *k, const mdf_reader *r)
    void mdf_waker_arm(mdf_waker *k, int place)
    void mdf_waker_forget(mdf_waker *k, int place)
    void mdf_waker_stop(mdf_waker *k)
    int mdf_wait_any(mdf_reader **r, int n, int64_t spin_ns, int64_t timeout_ns)
    enum:
        MDF_WAKER_RINGS

cdef enum:
    MAX_READ_ATTEMPTS = 8        # a read that was lapped tries again, at most so often
    GIL_FREE_BYTES = 65536       # copies longer than this let other threads run
    WAIT_SLICE_NS = 100000000    # how long a wait stays away from signals and checks
    IDLE_POLLS = 65536           # empty polls after which the ring's name is looked at again
    NEAR_WORDS = 16              # a batch of so many words, two ticks, needs no memory of its own

BAR_S = 0.001                    # how long a thread sleeps at a time, until a reader has changed its ring

cdef object _ndarray = np.ndarray
cdef object _AT_ONCE = 0  # a timeout that most who poll give: to make a float of it takes as long as the look
cdef object _TICK = _tick.TICK
cdef tuple _VIEWS = _tick.TICK_VIEWS


def _check_numpy_abi():
    """Refuse to work on a numpy whose arrays do not look as numpy_abi.h says."""
    probe = np.arange(12, dtype="<u8").reshape(3, 4)
    cdef mdf_ndarray *a = <mdf_ndarray *>probe
    if (<size_t>a.data != probe.ctypes.data or a.nd != 2 or a.dimensions[0] != 3 or a.dimensions[1] != 4
            or a.descr != <PyObject *>probe.dtype or not a.flags & MDF_NDARRAY_C_CONTIGUOUS
            or not a.flags & MDF_NDARRAY_WRITEABLE):
        raise ImportError(f"numpy {np.__version__} lays its arrays out in a way that mdfeedd does not know")


_check_numpy_abi()


cdef dict _ERRORS = {
    MDF_E_MISSING: _errors.RingMissing,
    MDF_E_DENIED: _errors.RingDenied,
    MDF_E_MISMATCH: _errors.RingMismatch,
    MDF_E_CORRUPT: _errors.RingCorrupt,
    MDF_E_BUSY: _errors.RingBusy,
    MDF_E_SPACE: _errors.RingSpace,
    MDF_E_ARGUMENT: ValueError,
}


cdef object _raise(int code, const char *err):
    raise _ERRORS.get(code, _errors.RingError)(err.decode("utf-8", "replace"))


cdef str _text(const char *text, size_t size):
    cdef size_t n = 0
    while n < size and text[n]:
        n += 1
    return text[:n].decode("utf-8", "replace")


cdef tuple _names(const char *const *list_of):
    """The pairs of name and help of one of the lists in C."""
    cdef const char **text = <const char **>list_of
    cdef Py_ssize_t i = 0
    out = []
    while text[i] != NULL:
        out.append(((<bytes>text[i]).decode(), (<bytes>text[i + 1]).decode()))
        i += 2
    return tuple(out)


ABI = (MDF_ABI_MAJOR, MDF_ABI_MINOR)
#: The counters of a feed, in the order of their places: (name, help).
FEED_COUNTERS = _names(mdf_feed_counter_text)
#: Those of a consumer.
CONSUMER_COUNTERS = _names(mdf_consumer_counter_text)
LINE_VALUES = _names(mdf_line_value_text)
LINES = MDF_LINES
CONSUMER_SLOTS = MDF_CONSUMERS
LATENCY_BUCKETS = MDF_LATENCY_BUCKETS
LATENCY_SHIFT = MDF_LATENCY_SHIFT
LATENCY_EVERY = MDF_LATENCY_EVERY
MIN_CAPACITY = MDF_MIN_CAPACITY
MAX_CAPACITY = MDF_MAX_CAPACITY
TICK_LAYOUT = (<bytes>MDF_TICK_LAYOUT).decode()
BAR_LAYOUT = (<bytes>MDF_BAR_LAYOUT).decode()
DEPTH_LAYOUT = (<bytes>MDF_DEPTH_LAYOUT).decode()
ORDER_LAYOUT = (<bytes>MDF_ORDER_LAYOUT).decode()
START_NOW = MDF_START_NOW
START_OLDEST = MDF_START_OLDEST
START_RESUME = MDF_START_RESUME
STATE_LIVE = MDF_LIVE
STATE_CLOSED = MDF_CLOSED
STATE_SUPERSEDED = MDF_SUPERSEDED


cdef dict _counters(const uint64_t *values, tuple catalogue):
    cdef Py_ssize_t i
    out = {}
    for i in range(len(catalogue)):
        out[catalogue[i][0]] = mdf_load(values + i)
    return out


cdef tuple _latency(const mdf_latency *l):
    """The samples of each bucket, and their sum in ns."""
    cdef int i
    return tuple([mdf_load(l.bucket + i) for i in range(MDF_LATENCY_BUCKETS)]), mdf_load(&l.sum_ns)


cdef mdf_feed_line *_row(const mdf_writer *w, int index) except NULL:
    if not 0 <= index < MDF_LINES:
        raise IndexError(index)
    return (<mdf_counters_page *>w.counters).line + index


cdef tuple _line_values(const mdf_feed_line *line):
    cdef int i
    return tuple([mdf_load(line.value + i) for i in range(MDF_LINE_VALUES_END)])


cdef tuple _lines(const mdf_counters_page *page):
    """Key and values of each line that is counted."""
    cdef int i
    cdef uint64_t key
    out = []
    for i in range(MDF_LINES):
        key = mdf_load_acquire(&page.line[i].key)
        if key:
            out.append((key, _line_values(page.line + i)))
    return tuple(out)


cdef int64_t _span_ns(double seconds) except -1:
    """A time to wait or to spin; inf is 30 years."""
    if seconds != seconds:
        raise ValueError("a time to wait is a number of seconds, not nan")
    return <int64_t>(max(0.0, min(seconds, 1e9)) * 1e9)


def wait_any(readers, double timeout, double spin_s=0.0):
    """Spin for `spin_s`, then sleep until one of `readers` has something: True.

    False after `timeout` seconds or a signal. The calling thread sleeps on all the rings at once.
    Raises `ValueError` for a closed one, or more than 127.
    """
    cdef mdf_reader *each[MDF_WAKER_RINGS]
    cdef ReaderCore reader
    cdef int n = 0, rc
    cdef int64_t spin_ns = _span_ns(spin_s)
    cdef int64_t timeout_ns = _span_ns(timeout)
    cdef list held = list(readers)
    cdef bint closed = False
    for reader in held:
        if n == MDF_WAKER_RINGS:
            raise ValueError(f"at most {MDF_WAKER_RINGS} readers can be waited for at once")
        reader.check()
        each[n] = &reader.r
        n += 1
    for reader in held:
        reader._inside += 1
    with nogil:
        rc = mdf_wait_any(each, n, spin_ns, timeout_ns)
    for reader in held:
        closed |= reader._leave()
    if closed:
        raise ValueError("a reader was closed while it was waited for")
    PyErr_CheckSignals()
    return rc == MDF_READY


def survive_cuts():
    """For processes of ours: a ring or registry that another one cuts short reads as zeros, and kills nobody.

    Takes the signal SIGBUS (see `mdf_survive_cuts` in mdfeedd.h). Raises `OSError`.
    """
    cdef int code = mdf_survive_cuts()
    if code:
        raise OSError(code, "cannot take SIGBUS")


def clock_ns():
    """CLOCK_MONOTONIC in ns, as heartbeats are stamped."""
    return mdf_clock_ns(CLOCK_MONOTONIC)


# ------------------------------------------------------------------------------------------------ writer


cdef class WriterCore:
    """One C writer. Not thread-safe: the ring has one writer, and a writer has one thread."""

    def __cinit__(self):
        self.w.fd = -1
        self.w.registry_fd = -1

    def open(self, bytes path, bytes feed, unsigned int feed_index, bytes layout, dtype,
             unsigned long long capacity, unsigned int instruments_capacity):
        """Make the segment, or take over one that fits. Raises `RingError`, `ValueError`."""
        cdef char err[MDF_ERR]
        cdef mdf_ring_options o
        cdef int code
        cdef const char *path_c = path
        o.feed = feed
        o.layout = layout
        o.slot_size = dtype.itemsize
        o.feed_index = feed_index
        o.instruments_capacity = instruments_capacity
        o.capacity = capacity
        with nogil:
            code = mdf_writer_open(&self.w, path_c, &o, err)
        if code:
            _raise(code, err)
        self.dtype = dtype
        self._accepted = dtype

    def __dealloc__(self):
        mdf_writer_close(&self.w, 0)

    cdef int check(self) except -1:
        if self.w.h == NULL or self._gone:
            raise ValueError("the writer is closed")
        return 0

    cdef int _leave(self) except -1:
        """A thread that was inside without the GIL is back. Closed meanwhile: the last one unmaps."""
        self._inside -= 1
        if self._gone and not self._inside:
            self._gone = False
            mdf_writer_close(&self.w, 1)
        return 0

    @cython.binding(False)  # called as a method of C, a fifth of the call less
    def publish(self, records, bint flush=True):
        """Publish one record or an array of them; returns the sequence number of the first."""
        if self.w.h == NULL or self._gone:
            self.check()
        cdef mdf_ndarray *a
        if type(records) is not _ndarray:
            records = np.asarray(records)
        a = <mdf_ndarray *>records
        if a.descr != <PyObject *>self._accepted:
            self._accept(records.dtype)
        if a.nd > 1 or not a.flags & MDF_NDARRAY_C_CONTIGUOUS:
            if a.nd > 1:
                raise ValueError(f"records must have shape () or (n,), not {records.shape}")
            records = np.ascontiguousarray(records)
            a = <mdf_ndarray *>records
        cdef uint64_t n = 1 if a.nd == 0 else a.dimensions[0]
        cdef uint64_t first
        cdef char *data = a.data
        if n == 1:
            first = mdf_publish(&self.w, data)
        elif n * self.w.words * 8 <= GIL_FREE_BYTES:
            first = mdf_publish_batch(&self.w, data, n)
        else:
            self._inside += 1
            with nogil:
                first = mdf_publish_batch(&self.w, data, n)
                if flush:
                    mdf_flush(&self.w)
            self._leave()
            return first
        if flush:
            mdf_flush(&self.w)
        return first

    def _accept(self, dtype):
        """A dtype fits if it is the ring's, or another view of the same tick."""
        if dtype != self.dtype and not (self.dtype == _TICK and dtype in _VIEWS):
            raise TypeError(f"records of dtype {dtype} do not fit a ring of {self.dtype}")
        self._accepted = dtype

    def flush(self):
        """Wake sleeping readers, if any."""
        self.check()
        mdf_flush(&self.w)

    def beat(self):
        """Stamp the heartbeat: 'alive and not stuck'."""
        self.check()
        mdf_beat(&self.w)

    def close_core(self, bint announce=True):
        """Unmap, once no thread is inside. `announce`: tell the readers that no more will come.

        Without, it is for a forked child, which has none of the threads.
        """
        if announce and self._inside:
            self._gone = True
        else:
            mdf_writer_close(&self.w, announce)

    @property
    def closed(self):
        """Is it closed?"""
        return self.w.h == NULL or self._gone

    @property
    def next_seq(self):
        """Sequence number that the next record will have."""
        self.check()
        return self.w.next

    @property
    def epoch(self):
        """How many writers the ring has had, this one included."""
        self.check()
        return mdf_load(&self.w.h.epoch)

    @property
    def capacity(self):
        """Records that the ring holds, a power of two."""
        self.check()
        return self.w.capacity

    def slowest_consumer(self):
        """Last sequence number read by the slowest living consumer, or None if there is none."""
        self.check()
        cdef uint64_t low = <uint64_t>-1
        cdef uint64_t cursor
        cdef int i
        cdef mdf_consumer *c
        self._inside += 1
        with nogil:
            for i in range(MDF_CONSUMERS):
                c = self.w.registry.consumer + i
                if not mdf_load32(&c.used):
                    continue
                cursor = mdf_load(&c.cursor)
                if cursor < low and mdf_consumer_alive(self.w.registry_fd, i):
                    low = cursor
        self._leave()
        return None if low == <uint64_t>-1 else low

    def consumer_count(self):
        """Number of living registered consumers."""
        self.check()
        cdef int i, n = 0
        for i in range(MDF_CONSUMERS):
            if mdf_load32(&self.w.registry.consumer[i].used):
                n += mdf_consumer_alive(self.w.registry_fd, i)
        return n

    def count(self, int index, uint64_t n):
        """Add `n` to a counter of the feed, by its place in `FEED_COUNTERS`. Raises `IndexError`."""
        self.check()
        if not 0 <= index < MDF_FEED_COUNTERS_END:
            raise IndexError(index)
        mdf_count(self.w.counters + index, n)

    def count_set(self, int index, uint64_t value):
        """Set a counter. Raises `IndexError`."""
        self.check()
        if not 0 <= index < MDF_FEED_COUNTERS_END:
            raise IndexError(index)
        mdf_store(self.w.counters + index, value)

    def count_get(self, int index):
        """Read a counter. Raises `IndexError`."""
        self.check()
        if not 0 <= index < MDF_FEED_COUNTERS_END:
            raise IndexError(index)
        return mdf_load(self.w.counters + index)

    def line_key(self, int index):
        """Whose row `index` of the feed's lines is; 0: nobody's."""
        self.check()
        return mdf_load(&_row(&self.w, index).key)

    def line_give(self, int index, uint64_t key):
        """Give a row to another line, with all of its values 0; key 0: to nobody."""
        self.check()
        cdef mdf_feed_line *line = _row(&self.w, index)
        mdf_store(&line.key, 0)
        cdef int i
        for i in range(MDF_LINE_VALUES):
            mdf_store(line.value + i, 0)
        mdf_store_release(&line.key, key)

    def line_values(self, int index):
        """The values of a row, in the order of `LINE_VALUES`."""
        self.check()
        return _line_values(_row(&self.w, index))

    def line_set(self, int index, tuple values):
        """Set them."""
        self.check()
        cdef mdf_feed_line *line = _row(&self.w, index)
        cdef int i
        if len(values) != MDF_LINE_VALUES_END:
            raise ValueError(f"a line has {MDF_LINE_VALUES_END} values, not {len(values)}")
        for i in range(MDF_LINE_VALUES_END):
            mdf_store(line.value + i, values[i])

    def use_huge_pages(self):
        """Have the slots lie on huge pages: 0, or why not, as an errno (see `mdf_writer_use_huge_pages`)."""
        self.check()
        cdef int code
        self._inside += 1
        with nogil:
            code = mdf_writer_use_huge_pages(&self.w)
        self._leave()
        return code

    @property
    def feed_index(self):
        """The high 8 bits of the feed's instrument ids."""
        self.check()
        return self.w.h.feed_index

    @property
    def instruments_count(self):
        """Entries of the instruments table."""
        self.check()
        return mdf_load(&self.w.h.instruments_count)

    def instrument_get(self, uint64_t index):
        """Entry `index` as a tuple, None while it is being changed. Raises `IndexError`."""
        self.check()
        return _instrument(self.w.h, self.w.instruments, self.w.h.instruments_capacity, index)

    def instrument_put(self, uint32_t index, tuple entry):
        """Write entry `index` of the table (see `_ENTRY` in instruments.py for the order of fields)."""
        self.check()
        cdef mdf_instrument e
        cdef char err[MDF_ERR]
        cdef int code
        memset(&e, 0, sizeof(e))
        (instrument_id, vendor_id, publisher_id, source_index, tick_size, expiration, multiplier,
         currency, venue, feed, symbol, vendor_symbol) = entry
        e.instrument_id = instrument_id
        e.vendor_id = vendor_id
        e.publisher_id = publisher_id
        e.source_index = source_index
        e.tick_size = tick_size
        e.expiration = expiration
        e.multiplier = multiplier
        _put_text(e.currency, sizeof(e.currency), currency)
        _put_text(e.venue, sizeof(e.venue), venue)
        _put_text(e.feed, sizeof(e.feed), feed)
        _put_text(e.symbol, sizeof(e.symbol), symbol)
        _put_text(e.vendor_symbol, sizeof(e.vendor_symbol), vendor_symbol)
        code = mdf_instrument_put(&self.w, index, &e, err)
        if code:
            _raise(code, err)


cdef int _put_text(char *to, size_t size, str text) except -1:
    cdef bytes raw = text.encode("utf-8")
    if <size_t>len(raw) >= size or b"\0" in raw:
        raise ValueError(f"{text!r} does not fit {size - 1} bytes of UTF-8 without NUL")
    mdf_text(to, size, raw)
    return 0


cdef tuple _instrument(
        const mdf_ring_header *h, const mdf_instrument *table, uint32_t capacity, uint64_t index):
    cdef mdf_instrument e
    cdef int code = mdf_copy_instrument(h, table, capacity, index, &e)
    if code == -1:
        raise IndexError(index)
    if code:
        return None
    return (e.instrument_id, e.vendor_id, e.publisher_id, e.source_index, e.tick_size, e.expiration,
            e.multiplier, _text(e.currency, sizeof(e.currency)), _text(e.venue, sizeof(e.venue)),
            _text(e.feed, sizeof(e.feed)), _text(e.symbol, sizeof(e.symbol)),
            _text(e.vendor_symbol, sizeof(e.vendor_symbol)))


# ------------------------------------------------------------------------------------------------ batches


@cython.freelist(16)
@cython.final
cdef class _Memory:
    """The bytes of a batch. Apart from the batch, so that batch and array do not keep each other alive."""

    cdef char *data
    cdef Py_ssize_t size

    def __cinit__(self):
        self.data = NULL

    def __dealloc__(self):
        PyMem_RawFree(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)


cdef _Memory _memory_of(Py_ssize_t size):
    """`size` bytes. Not by a constructor: its argument would be a number and a tuple for each batch."""
    cdef _Memory made = _Memory.__new__(_Memory)
    made.data = <char *>PyMem_RawMalloc(size)
    if made.data == NULL:
        raise MemoryError()
    made.size = size
    return made


@cython.freelist(16)
@cython.no_gc  # nothing that a batch refers to refers to batches
cdef class RecordBatch:
    """Records of a ring in ring order, copied out: the batch's own memory.

    `lost`: records that were lost just before the first. `instruments`: what names their ids.
    """

    cdef _Memory _memory    # None: the records are in _near
    cdef uint64_t[NEAR_WORDS] _near
    cdef char *_first       # the first record
    cdef Py_ssize_t _n, _itemsize
    cdef readonly unsigned long long lost
    cdef readonly object instruments
    cdef object _dtype, _records

    def __len__(self):
        return self._n

    @property
    def records(self):
        """The records, shape (n,), of the ring's dtype; writeable."""
        if self._records is None:
            if self._n:
                if self._memory is None:
                    self._move_out()
                self._records = _ndarray(
                    (self._n,), self._dtype, self._memory, self._first - self._memory.data)
            else:
                self._records = np.empty(0, self._dtype)
        return self._records

    cdef int _move_out(self) except -1:
        """Records that are asked for as an array: out of the batch, into memory that may outlive it."""
        self._memory = _memory_of(self._n * self._itemsize)
        memcpy(self._memory.data, self._first, self._memory.size)
        self._first = self._memory.data
        return 0

    @property
    def first_seq(self):
        """Sequence number of the first record; 0 if there is none."""
        if self._n == 0:
            return 0
        return (<uint64_t *>self._first)[0]

    @property
    def last_seq(self):
        """Sequence number of the last record; 0 if there is none."""
        if self._n == 0:
            return 0
        return (<uint64_t *>(self._first + (self._n - 1) * self._itemsize))[0]

    @property
    def feed(self):
        """Name of the feed whose ring was read."""
        return self.instruments.feed

    def __repr__(self):
        return f"<{type(self).__name__} of {self._n} records from {self.first_seq}, lost {self.lost}>"


@cython.no_gc
cdef class TickBatch(RecordBatch):
    """Ticks: a sequence of `Tick` (built only when iterated or indexed) over an array of `TICK`."""

    def has(self, int kind):
        """Whether there is a row of that `Kind`."""
        cdef Py_ssize_t i
        for i in range(self._n):
            if (<const mdf_tick *>(self._first + i * self._itemsize)).kind == kind:
                return True
        return False

    def of_kind(self, kind, dtype):
        """The rows of one `Kind` as `dtype`, a copy. Raises `ValueError` for a dtype of another length."""
        records = self.records
        if np.dtype(dtype).itemsize != records.dtype.itemsize:
            raise ValueError(f"a tick has {records.dtype.itemsize} bytes, and {dtype} has not")
        # picked as opaque bytes: numpy copies a structured row field by field, 20 times slower
        return records.view("V64")[records["kind"] == int(kind)].view(dtype)

    @property
    def quotes(self):
        """The QUOTE rows, dtype `QUOTE`, a copy."""
        return self.of_kind(1, _tick.QUOTE)

    @property
    def trades(self):
        """The TRADE rows, dtype `TRADE`, a copy. Cancels and corrections are not among them."""
        return self.of_kind(2, _tick.TRADE)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._n))]
        cdef Py_ssize_t i = index
        if i < 0:
            i += self._n
        if not 0 <= i < self._n:
            raise IndexError(index)
        record = self.records[i:i + 1]
        return _tick.tick_from_record(
            record, self.instruments.symbol(record["instrument_id"].item()), self.instruments.feed)

    def __iter__(self):
        return _ticks.Ticks(self.records, self.instruments)

    def to_arrow(self):
        """A pyarrow Table with exact decimal prices. Needs the extra ``mdfeedd[parquet]``."""
        from mdfeedd.ring.arrow import ticks_to_arrow
        return ticks_to_arrow(self.records, self.instruments)

    def to_pandas(self):
        """A pandas DataFrame with the columns of `to_arrow`. Needs pandas and ``mdfeedd[parquet]``."""
        from mdfeedd.ring.arrow import ticks_to_pandas
        return ticks_to_pandas(self.records, self.instruments)


# ------------------------------------------------------------------------------------------------- reader


@cython.no_gc_clear  # its end needs the waker
cdef class ReaderCore:
    """One C reader. `instruments` names the ids of its records.

    Of one thread at a time, but for `close_core`, which another may call: it ends a read that waits, and the
    last thread that is inside without the GIL (`_inside`) unmaps.
    """

    cdef mdf_reader r
    cdef int _inside
    cdef bint _barred, _gone, _moving      # barred: either of the two: closed, or about to be another ring
    cdef object dtype
    cdef readonly object instruments
    cdef bint _ticks, _raise_overrun
    cdef RecordBatch _empty
    cdef RecordBatch _spare                # made while nothing was there: what comes next is told sooner
    cdef unsigned long long _lost_before   # of rings this reader was attached to earlier
    cdef unsigned long long _told          # loss already told by a batch
    cdef object _observer                  # called with what each read gives, or None
    cdef int64_t _spin_ns
    cdef unsigned long long _empty_polls
    cdef Waker _waker
    cdef int _place

    def __cinit__(self):
        self.r.fd = -1
        self.r.registry_fd = -1
        self._place = -1

    def open_core(self, bytes path, layout, dtype, long long start, name, int on_overrun,
                  bint raise_overrun, double spin_s):
        """Attach; a reader that is attached already changes over, keeping its loss count."""
        cdef char err[MDF_ERR]
        cdef mdf_reader fresh
        cdef int code
        cdef const char *path_c = path
        cdef const char *layout_c = NULL
        cdef const char *name_c = NULL
        cdef int64_t spin_ns = _span_ns(spin_s)
        cdef uint32_t slot_size = dtype.itemsize if dtype is not None else 0
        if layout is not None:
            layout_c = <bytes>layout
        if name is not None:
            name_c = <bytes>name
        with nogil:
            code = mdf_reader_open(&fresh, path_c, layout_c, slot_size, start, NULL, err)
        if code:
            _raise(code, err)
        self._bar()
        self._end()  # only now: it holds the consumer's name
        with nogil:  # it may wait for another that is registering
            code = mdf_reader_register(&fresh, start, name_c, path_c, err)
        self._moving = self._barred = False
        if code or self._gone:
            mdf_reader_close(&fresh)
        if code:
            _raise(code, err)
        if self._gone:
            self._gone = False
            raise ValueError("the reader is closed")
        self.r = fresh
        self.r.on_overrun = on_overrun
        self._raise_overrun = raise_overrun
        self._spin_ns = spin_ns
        self.dtype = dtype
        self._ticks = dtype is not None and dtype == _TICK

    def close_core(self, bint forked=False):
        """Unmap, and give the consumer's slot back, once no thread is inside.

        `forked`: in a forked child, which has none of the threads.
        """
        if forked:
            self._inside = self._moving = 0
        if self._inside or self._moving:
            self._gone = self._barred = True
        else:
            self._end()

    cdef int _end(self) except -1:
        if self._waker is not None:
            self._waker.forget(self)
        if self.r.h != NULL:
            self._lost_before += self.r.lost
            mdf_reader_close(&self.r)
        return 0

    cdef int _bar(self) except -1:
        """Have all threads but this one wait until it has another ring."""
        while self._moving:
            _time.sleep(BAR_S)
        self._moving = self._barred = True
        while self._inside:
            _time.sleep(BAR_S)
        return 0

    cdef bint _leave(self) except -1:
        """A thread that was inside without the GIL is back. Whether the reader was closed meanwhile."""
        self._inside -= 1
        if not self._gone:
            return False
        if not self._inside and not self._moving:
            self._gone = self._barred = False
            self._end()
        return True

    cdef int _outside(self) except -1:
        if self._leave():
            raise ValueError("the reader is closed")
        return 0

    cdef int _wait_outside(self) except -1:
        while self._moving:
            _time.sleep(BAR_S)
        if self._gone:
            raise ValueError("the reader is closed")
        return 0

    def __dealloc__(self):
        if self._waker is not None and self._waker.k != NULL:
            mdf_waker_forget(self._waker.k, self._place)
        mdf_reader_close(&self.r)

    cdef int check(self) except -1:
        if self._barred:
            self._wait_outside()
        if self.r.h == NULL:
            raise ValueError("the reader is closed")
        return 0

    cdef RecordBatch _batch(self, uint64_t n):
        """One with room for `n` records and none in it."""
        cdef RecordBatch b = self._spare
        if b is not None and n * self.r.words <= NEAR_WORDS:
            self._spare = None
            return b
        if self._ticks:
            b = TickBatch.__new__(TickBatch)
        else:
            b = RecordBatch.__new__(RecordBatch)
        b._itemsize = self.r.words * 8
        b._n = 0
        b.lost = 0
        b._dtype = self.dtype
        b.instruments = self.instruments
        b._first = <char *>b._near
        if n * self.r.words > NEAR_WORDS:
            b._memory = _memory_of(n * b._itemsize)
            b._first = b._memory.data
        return b

    @cython.binding(False)
    def read(self, Py_ssize_t max_records=4096, timeout=None):
        """Up to `max_records` records; waits for the first for `timeout` seconds (None: for ever, 0: not).

        Returns an empty batch at timeout, and also when the ring has ended and this reader does not
        follow its name (``follow=False``). A batch tells in `lost` how many records were lost just
        before its first one; a batch without records can tell a loss, too.
        """
        self.check()
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        cdef bint forever = timeout is None
        cdef double left_s = 0.0 if forever or timeout is _AT_ONCE else timeout
        cdef bint at_once = left_s <= 0.0 and not forever
        cdef int64_t now, end = 0
        cdef uint64_t n = mdf_ahead(&self.r, max_records) if at_once or mdf_at_hand(&self.r) else 0
        if n:
            return self._take(max_records, n)
        if at_once:
            self._empty_polls += 1
            if mdf_changed(&self.r) or self._empty_polls % IDLE_POLLS == 0:
                self.on_change()
                self.on_idle()
                return self._poll(max_records)
            if self._spare is None:
                self._spare = self._batch(0)
            return self._take(max_records, 0)
        if not forever:
            end = mdf_clock_ns(CLOCK_MONOTONIC) + _span_ns(left_s)
        while not self.stop_waiting():
            if self.wait_ready(None if forever else left_s):
                n = mdf_ahead(&self.r, max_records)
                if n:
                    return self._take(max_records, n)
                self.on_change()
            if not forever:
                now = mdf_clock_ns(CLOCK_MONOTONIC)
                if now >= end:
                    break
                left_s = (end - now) * 1e-9
        return self._poll(max_records)

    def poll(self, Py_ssize_t max_records):
        """What is there now, at most `max_records`; the shared empty batch if nothing.

        Of the ring that is open: one that has taken its name is found by `read`, `read_into` and `wait`.
        """
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        return self._poll(max_records)

    cdef RecordBatch _poll(self, Py_ssize_t max_records):
        self.check()  # a handler of signals may have closed it while it waited
        return self._take(max_records, mdf_ahead(&self.r, max_records))

    cdef RecordBatch _take(self, Py_ssize_t max_records, uint64_t n):
        """A batch of the `n` records that mdf_ahead() has just found."""
        cdef uint64_t skip, before
        cdef RecordBatch b
        cdef int _attempt
        for _attempt in range(MAX_READ_ATTEMPTS):
            if n == 0:
                break
            if n > self.r.capacity:
                n = self.r.capacity
            b = self._batch(n)
            before = self.r.lost
            if n * b._itemsize <= GIL_FREE_BYTES:
                n = mdf_read_found(&self.r, b._first, n, n, &skip)
            else:
                self._inside += 1
                with nogil:
                    n = mdf_read_found(&self.r, b._first, n, n, &skip)
                self._outside()
            if self._raise_overrun and self.r.lost != before:
                self._told = self._lost_before + self.r.lost
                self._take_back(n)
                raise _errors.RingOverrun(self.r.lost - before)
            if n:
                b._first += skip * b._itemsize
                b._n = n
                b.lost = self._lost_before + self.r.lost - self._told
                self._told += b.lost
                if self._observer is not None:
                    self._observer(self, b.records)
                return b
            n = mdf_ahead(&self.r, max_records)
        if self._lost_before + self.r.lost != self._told:
            b = self._batch(0)
            b.lost = self._lost_before + self.r.lost - self._told
            self._told += b.lost
            self._observe(b.records)
            return b
        return self._empty

    cdef int _take_back(self, uint64_t n) except -1:
        """An exception has no place for what was copied: the next read has it."""
        self.r.next -= n
        if self.r.consumer != NULL:
            mdf_store(&self.r.consumer.cursor, self.r.next - 1)
        return self._observe(self._empty.records)

    cdef int _observe(self, records) except -1:
        if self._observer is not None:
            self._observer(self, records)
        return 0

    def observe(self, observer):
        """Have ``observer(reader, records)`` called with what each read gives, before it returns.

        None: nobody.
        `records` are the batch's own, shape (n,), and empty where only a loss is told.
        """
        self._observer = observer

    cdef int _fits(self, array) except -1:
        if type(array) is not _ndarray:
            raise TypeError("read_into needs a numpy array")
        cdef mdf_ndarray *a = <mdf_ndarray *>array
        if a.descr != <PyObject *>self.dtype and array.dtype != self.dtype:
            raise TypeError(f"an array of dtype {array.dtype} does not fit a ring of {self.dtype}")
        if a.nd != 1 or not a.flags & MDF_NDARRAY_C_CONTIGUOUS or not a.flags & MDF_NDARRAY_WRITEABLE:
            raise ValueError("read_into needs a writeable contiguous array of shape (n,)")
        if <size_t>a.data % 8 and a.dimensions[0]:
            raise ValueError("read_into needs an array aligned to 8 bytes")
        return 0

    cdef Py_ssize_t _into(self, array) except -1:
        """Copy what is there into an array that fits, at most as much as it holds."""
        cdef mdf_ndarray *a = <mdf_ndarray *>array
        cdef uint64_t skip, before, n, size = self.r.words * 8
        cdef int _attempt
        for _attempt in range(MAX_READ_ATTEMPTS):
            n = mdf_ahead(&self.r, a.dimensions[0])
            if n == 0:
                break
            before = self.r.lost
            if n * size <= GIL_FREE_BYTES:
                n = mdf_read_found(&self.r, a.data, n, n, &skip)
            else:
                self._inside += 1
                with nogil:
                    n = mdf_read_found(&self.r, a.data, n, n, &skip)
                self._outside()
            if self.r.lost != before:
                self._told = self._lost_before + self.r.lost  # no batch is to tell it, where it is not
                if self._raise_overrun:
                    self._take_back(n)
                    raise _errors.RingOverrun(self.r.lost - before)
            if n:
                if skip:
                    _move_down(a.data, skip * size, n * size)
                if self._observer is not None:
                    self._observer(self, array[:n])
                return n
        return 0

    @cython.binding(False)
    def read_into(self, array, double timeout=0.0):
        """Copy records into `array` (the ring's dtype, contiguous); returns how many.

        Waits for the first for `timeout` seconds, and follows the name as `read` does. What is lost is in
        `lost` of the reader alone.
        """
        self.check()
        self._fits(array)
        cdef Py_ssize_t n
        cdef int64_t now, end
        cdef bint at_once = timeout <= 0.0
        if at_once or mdf_at_hand(&self.r):
            n = self._into(array)
            if n or (<mdf_ndarray *>array).dimensions[0] == 0:
                return n
        if at_once:
            self._empty_polls += 1
            if mdf_changed(&self.r) or self._empty_polls % IDLE_POLLS == 0:
                self.on_change()
                self.on_idle()
                self._fits(array)
                return self._into(array)
            return 0
        end = mdf_clock_ns(CLOCK_MONOTONIC) + _span_ns(timeout)
        while not self.stop_waiting():
            if self.wait_ready(timeout):
                self._fits(array)  # another ring may have the name by now
                n = self._into(array)
                if n:
                    return n
                self.on_change()
            now = mdf_clock_ns(CLOCK_MONOTONIC)
            if now >= end:
                break
            timeout = (end - now) * 1e-9
        self.check()
        self._fits(array)
        return self._into(array)

    def poll_into(self, array):
        """The same with what is there now, of the ring that is open: another one is not looked for."""
        self.check()
        self._fits(array)
        return self._into(array)

    def wait_ready(self, timeout):
        """Spin, then sleep until the ring has something; False at timeout (None: never).

        Wakes at least every 100 ms to let signals in and to call `on_idle`.
        """
        self.check()
        cdef int64_t spin = self._spin_ns
        cdef int64_t now = mdf_clock_ns(CLOCK_MONOTONIC)
        cdef int64_t end = <int64_t>0x7fffffffffffffff if timeout is None else now + _span_ns(timeout)
        cdef int64_t slice
        cdef int rc
        while True:
            slice = end - now
            if slice > WAIT_SLICE_NS:
                slice = WAIT_SLICE_NS
            self._inside += 1
            with nogil:
                rc = mdf_wait(&self.r, spin, slice)
            self._outside()
            if rc == MDF_READY:
                return True
            PyErr_CheckSignals()
            self.check()  # their handler may have closed it; so may one that runs within the next calls
            over = rc == MDF_TIMEOUT and (self.on_idle() or self.stop_waiting())
            self.check()
            if over:
                return True
            if spin < <int64_t>1000000000:
                spin = 0
            now = mdf_clock_ns(CLOCK_MONOTONIC)
            if now >= end:
                return False

    def on_idle(self):
        """Called when nothing came for a slice; True if there may be something now."""
        return False

    def on_change(self):
        """Called when the writer's state or epoch changed and all records are read."""
        mdf_acknowledge_state(&self.r)

    def stop_waiting(self):
        """Called before and between waits: True if no record will come."""
        return False

    def set_instruments(self, instruments):
        """What batches use to name instruments."""
        self.instruments = instruments
        self._spare = None
        self._empty = self._batch(0)

    @property
    def closed(self):
        """Is it closed?"""
        return self._gone or (self.r.h == NULL and not self._moving)

    @property
    def ready(self):
        """A record, or a change of the writer's state, waits to be seen."""
        self.check()
        return mdf_ready(&self.r) != 0

    @property
    def available(self):
        """Records that a read would find now, 0 if none; more may be there, and some be lapped by then."""
        self.check()
        return mdf_ahead(&self.r, UINT64_MAX)

    def acknowledge_state(self):
        """The state of the writer that was last seen is old news now; returns it."""
        self.check()
        mdf_acknowledge_state(&self.r)
        return self.r.seen_state

    @property
    def lost(self):
        """Records lost since this reader began, over all rings it was attached to."""
        return self._lost_before + self.r.lost

    @property
    def overruns(self):
        """How often the reader was lapped on this ring."""
        return self.r.overruns

    @property
    def next_seq(self):
        """Sequence number of the next record."""
        self.check()
        return self.r.next

    @property
    def lag(self):
        """Records published and not yet read."""
        self.check()
        return mdf_available(&self.r)

    @property
    def epoch(self):
        """How many writers the ring has had."""
        self.check()
        return mdf_load_acquire(&self.r.h.epoch)

    @property
    def writer_alive(self):
        """A process holds the writer's lock right now."""
        self.check()
        return mdf_writer_alive(self.r.fd) != 0

    @property
    def state(self):
        """The writer's state: `STATE_LIVE`, `STATE_CLOSED` or `STATE_SUPERSEDED`."""
        self.check()
        return mdf_load32_acquire(&self.r.h.state)

    @property
    def ring_id(self):
        """16 random bytes that name the sequence space: others, other records."""
        self.check()
        return (<char *>self.r.h.ring_id)[:16]

    @property
    def fd(self):
        """The ring's open file, -1 when closed."""
        return self.r.fd

    @property
    def registry_fd(self):
        """The open file of the consumers, -1 when closed or out of reach."""
        return self.r.registry_fd

    @property
    def map_size(self):
        """Bytes of the ring's file as it was mapped."""
        return self.r.map_size

    @property
    def registered(self):
        """This reader has a slot in the registry: its lag and loss are seen by operators."""
        return self.r.consumer != NULL

    def ack(self, uint64_t seq):
        """Tell that everything up to `seq` is safe: a reader of this name that resumes starts after it."""
        self.check()
        mdf_ack(&self.r, seq)

    def park(self):
        """Keep the slot of the registry for its counters, and read nothing: lag 0, waited for by nobody."""
        self.check()
        if self.r.consumer != NULL:
            mdf_store(&self.r.consumer.cursor, <uint64_t>0xFFFFFFFFFFFFFFFF)

    def beat(self):
        """Stamp the consumer's heartbeat."""
        self.check()
        if self.r.consumer != NULL:
            self.r.consumer.heartbeat_ns = mdf_clock_ns(CLOCK_MONOTONIC)

    def count(self, int index, uint64_t n):
        """Add `n` to a counter of this consumer, by its place in `CONSUMER_COUNTERS`. Raises `IndexError`."""
        self.check()
        if not 0 <= index < MDF_CONSUMER_COUNTERS_END:
            raise IndexError(index)
        if self.r.consumer != NULL:
            mdf_count(self.r.consumer.app + index, n)

    def count_set(self, int index, uint64_t value):
        """Set a counter. Raises `IndexError`."""
        self.check()
        if not 0 <= index < MDF_CONSUMER_COUNTERS_END:
            raise IndexError(index)
        if self.r.consumer != NULL:
            mdf_store(self.r.consumer.app + index, value)

    def count_get(self, int index):
        """Read a counter; 0 without a slot in the registry. Raises `IndexError`."""
        self.check()
        if not 0 <= index < MDF_CONSUMER_COUNTERS_END:
            raise IndexError(index)
        return mdf_load(self.r.consumer.app + index) if self.r.consumer != NULL else 0

    @property
    def instruments_count(self):
        """Entries of the instruments table; never more than it has room for."""
        self.check()
        return min(mdf_load_acquire(&self.r.h.instruments_count), self.r.instruments_capacity)

    @property
    def instruments_version(self):
        """Another number whenever an entry was added or changed."""
        self.check()
        return mdf_load_acquire(&self.r.h.instruments_version)

    def instrument_get(self, uint64_t index):
        """Entry `index` as a tuple, None while it is being changed. Raises `IndexError`."""
        self.check()
        return _instrument(self.r.h, self.r.instruments, self.r.instruments_capacity, index)

    def instruments_read(self, uint64_t first, unsigned char[::1] out not None):
        """Entries from `first` on as they lie in the table, as many as fit `out`.

        Of one that is being changed nothing but an odd version. Raises `IndexError`.
        """
        self.check()
        cdef uint64_t n = <uint64_t>out.shape[0] // sizeof(mdf_instrument), at
        if first + n > self.instruments_count or out.shape[0] % sizeof(mdf_instrument):
            raise IndexError(first)
        if not n:
            return
        cdef mdf_instrument *to = <mdf_instrument *><void *>&out[0]
        cdef uint32_t capacity = self.r.instruments_capacity
        self._inside += 1
        with nogil:
            for at in range(n):
                if mdf_copy_instrument(self.r.h, self.r.instruments, capacity, first + at, to + at):
                    memset(to + at, 0, sizeof(mdf_instrument))
                    to[at].version = 1
        self._outside()

    def header(self):
        """The header's fields, its writer's latencies, the feed's counters and lines, as a dict."""
        self.check()
        cdef const mdf_ring_header *h = self.r.h
        cdef const mdf_counters_page *page = <const mdf_counters_page *>self.r.counters
        cdef bint timed = self.r.flags_at != 0
        return {
            "abi": (h.abi_major, h.abi_minor), "total_size": self.r.map_size, "capacity": self.r.capacity,
            "slot_size": self.r.words * 8, "block": h.block, "first_seq": h.first_seq,
            "created_ns": h.created_ns, "ring_id": (<char *>h.ring_id)[:16], "feed": _text(h.feed, 32),
            "layout": _text(h.layout, 768), "reserve": mdf_load(&h.reserve), "tail": mdf_load(&h.tail),
            "epoch": mdf_load_acquire(&h.epoch), "epoch_first_seq": mdf_load(&h.epoch_first_seq),
            "heartbeat_ns": h.heartbeat_ns, "pid": h.pid, "state": mdf_load32(&h.state),
            "batches": mdf_load(&h.batches), "wakes": mdf_load(&h.wakes),
            "recoveries": mdf_load(&h.recoveries), "recovered_slots": mdf_load(&h.recovered_slots),
            "max_burst": mdf_load(&h.max_burst), "feed_index": h.feed_index,
            "instruments_count": self.instruments_count,
            "instruments_capacity": self.r.instruments_capacity,
            "counters": _counters(self.r.counters, FEED_COUNTERS), "lines": _lines(page),
            "arrival_latency": _latency(&page.arrival) if timed else None,
            "venue_latency": _latency(&page.venue) if timed else None,
        }

    def consumers(self):
        """Every consumer slot ever used, as dicts; empty without access to the registry."""
        self.check()
        cdef mdf_consumer *c
        cdef int i
        cdef uint64_t tail = mdf_load_acquire(&self.r.h.tail)
        out = []
        if self.r.registry == NULL:
            return out
        for i in range(MDF_CONSUMERS):
            c = self.r.registry.consumer + i
            if not mdf_load32(&c.used):
                continue
            cursor = mdf_load(&c.cursor)
            same = memcmp(c.ring_id, self.r.h.ring_id, 16) == 0
            own = self.r.consumer == c
            out.append({
                "index": i, "name": _text(c.name, 32), "pid": c.pid,
                "alive": own or mdf_consumer_alive(self.r.registry_fd, i) != 0,
                "cursor": cursor, "acked": mdf_load(&c.acked), "lost": mdf_load(&c.lost),
                "overruns": mdf_load(&c.overruns), "reads": mdf_load(&c.reads),
                "records": mdf_load(&c.records), "sleeps": mdf_load(&c.sleeps),
                "heartbeat_ns": c.heartbeat_ns, "same_ring": same,
                "lag": max(0, <object>tail - <object>cursor) if same else 0,
                "unsafe": max(0, <object>tail - <object>mdf_load(&c.acked))
                if same and mdf_load32(&c.says_acked) else 0,
                "counters": _counters(c.app, CONSUMER_COUNTERS),
                "latency": _latency(self.r.registry.latency + i) if self.r.flags_at else None,
            })
        return out


cdef extern from "string.h" nogil:
    void *memmove(void *to, const void *source, size_t n)


cdef void _move_down(char *data, size_t by, size_t n) noexcept nogil:
    memmove(data, data + by, n)


# -------------------------------------------------------------------------------------------------- waker


cdef class Waker:
    """One sleeping thread and one eventfd for all the readers of an event loop."""

    cdef mdf_waker *k

    def __cinit__(self):
        self.k = mdf_waker_start()
        if self.k == NULL:
            raise OSError("cannot start the thread that waits for rings")

    def fileno(self):
        return self.k.eventfd if self.k != NULL else -1

    def arm(self, ReaderCore reader):
        """Write the eventfd once when `reader`'s ring has something."""
        if self.k == NULL:
            raise ValueError("the waker is closed")
        if reader._waker is not self:
            if reader._waker is not None:
                reader._waker.forget(reader)
            reader._place = mdf_waker_add(self.k, &reader.r)
            if reader._place < 0:
                raise OSError("too many readers in one event loop")
            reader._waker = self
        with nogil:
            mdf_waker_arm(self.k, reader._place)

    def forget(self, ReaderCore reader):
        """Stop watching `reader`."""
        if reader._waker is not self:
            return
        cdef int place = reader._place
        if self.k != NULL:
            with nogil:
                mdf_waker_forget(self.k, place)
        reader._waker = None
        reader._place = -1

    @staticmethod
    def of(ReaderCore reader):
        """The waker that watches `reader`, or None."""
        return reader._waker

    def abandon(self):
        """In a forked child: the thread does not exist here."""
        self.k = NULL

    def close(self):
        cdef mdf_waker *k = self.k
        self.k = NULL
        if k != NULL:
            with nogil:
                mdf_waker_stop(k)

    def __dealloc__(self):
        self.close()
