# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""From a socket into a ring, without the GIL: receive, decode, publish, until Python is needed."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdfeedd.feeds.databento.codec._dbn cimport (
    DBN_METADATA, DBN_NEED_INPUT, DbnDecoder
)
from mdfeedd.ring._ring cimport WriterCore, mdf_clock_ns, mdf_flush

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_DONTWAIT
    ssize_t recv(int fd, void *buffer, size_t n, int flags)

cdef extern from "time.h" nogil:
    enum:
        CLOCK_REALTIME
        CLOCK_MONOTONIC

cdef enum:
    MIN_BUFFER_BYTES = 4096
    PUMP_TIME_OVER = 0
    PUMP_EVENT = 1
    PUMP_ENDED = 2
    PUMP_FAILED = 3

#: The time is over; ask again.
TIME_OVER = PUMP_TIME_OVER
#: Metadata or an event came; what follows is kept back until the next call.
EVENT = PUMP_EVENT
#: The other side has ended the stream.
ENDED = PUMP_ENDED
#: The socket failed: see `error`.
FAILED = PUMP_FAILED


cdef class Pump:
    """Receives into a buffer of its own, decodes with `decoder`, publishes into `writer`.

    `bars` is called for the writer of the bar ring at the first bar. For `spin_ns` after the last bytes it
    asks the socket again and again, and only then sleeps until some come. `clock`: what tells when bytes came
    (monotonic and UNIX ns), asked once a run, in place of the host's clocks. One thread.
    """

    cdef DbnDecoder _decoder
    cdef WriterCore _writer
    cdef object _bars, _clock
    cdef uint8_t *_buffer
    cdef size_t _size, _at, _have
    cdef readonly int error
    cdef readonly uint64_t received_bytes
    cdef int64_t _last_ns, _spin_ns
    cdef int64_t _told_ns, _told_wall_ns  # of `clock`; 0 without one

    def __cinit__(self, DbnDecoder decoder not None, WriterCore writer not None, bars=None, *,
                  size_t buffer_bytes=1 << 17, int64_t spin_ns=0, clock=None):
        if buffer_bytes < MIN_BUFFER_BYTES:
            raise ValueError(f"the buffer must have at least {MIN_BUFFER_BYTES} bytes")
        self._decoder = decoder
        self._writer = writer
        self._bars = bars
        self._clock = clock
        self._size = buffer_bytes
        self._spin_ns = spin_ns
        self._buffer = <uint8_t *>PyMem_RawMalloc(buffer_bytes)
        if self._buffer == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self._buffer)

    @property
    def last_byte_ns(self):
        """When the last bytes came (monotonic clock); 0 before the first."""
        return self._last_ns

    def give(self, const uint8_t[::1] data not None, int64_t arrival_ns):
        """Put in front of what the socket will bring: bytes that were received with the handshake.

        Raises `ValueError` if they are more than the buffer holds.
        """
        cdef size_t n = data.shape[0]
        if self._at < self._have or n > self._size:
            raise ValueError(f"no room for {n} bytes")
        for i in range(n):
            self._buffer[i] = data[i]
        self._at = 0
        self._have = n
        self.received_bytes += n
        self._decoder.s.arrival_ns = arrival_ns

    def run(self, int fd, int64_t max_ns):
        """Receive for about `max_ns`; the socket's receive time-out bounds the wait for bytes.

        Returns TIME_OVER, EVENT, ENDED or FAILED. Raises `DbnError` where the stream is broken, after
        publishing what came before.
        """
        cdef DbnDecoder decoder = self._decoder
        cdef int status, why = PUMP_TIME_OVER
        cdef int64_t until_ns = mdf_clock_ns(CLOCK_MONOTONIC) + max_ns
        if self._clock is not None:
            self._told_ns, self._told_wall_ns = self._clock()
        decoder.begin(decoder.s.arrival_ns)
        self._writer.check()
        try:
            while True:
                with nogil:
                    status = self._decode_and_receive(fd, until_ns, &why)
                if decoder.out.bars_n:
                    decoder.publish_bars(self._bars)
                if status == DBN_NEED_INPUT:
                    return why
                decoder.paused = True
                decoder.serve(status)
                if decoder._fault is not None:
                    raise decoder._fault
                if status == DBN_METADATA or decoder._told:
                    return EVENT
        finally:
            decoder.count_all(self._writer)

    cdef int _decode_and_receive(self, int fd, int64_t until_ns, int *why) noexcept nogil:
        """Go on until the decoder needs Python (its status), or there is nothing more (DBN_NEED_INPUT)."""
        cdef int status, failed = 0
        cdef ssize_t n
        cdef int64_t now_ns = 0
        cdef uint64_t left = <uint64_t>-1
        while True:
            if self._decoder.paused or self._at < self._have:
                self._decoder.paused = False
                status = self._decoder.publish_ticks(self._writer, self._buffer, self._have, &self._at, &left)
                if status != DBN_NEED_INPUT or self._decoder.out.bars_n:
                    return status
                mdf_flush(&self._writer.w)
            if now_ns >= until_ns:
                why[0] = PUMP_TIME_OVER
                return DBN_NEED_INPUT
            n = self._receive(fd, until_ns, &failed)
            now_ns = mdf_clock_ns(CLOCK_MONOTONIC)
            if n <= 0:
                why[0] = PUMP_ENDED if n == 0 else PUMP_FAILED
                if n < 0 and (failed == EAGAIN or failed == EINTR):
                    why[0] = PUMP_TIME_OVER
                elif n < 0:
                    self.error = failed
                return DBN_NEED_INPUT
            self._at = 0
            self._have = <size_t>n
            self.received_bytes += <uint64_t>n
            self._last_ns = self._told_ns if self._told_ns else now_ns
            self._decoder.s.arrival_ns = (
                self._told_wall_ns if self._told_ns else mdf_clock_ns(CLOCK_REALTIME)
            )

    cdef ssize_t _receive(self, int fd, int64_t until_ns, int *failed) noexcept nogil:
        """As recv(2), with its errno in `failed`."""
        cdef ssize_t n
        cdef int64_t awake_ns = min(until_ns, self._last_ns + self._spin_ns) if self._spin_ns else 0
        while awake_ns and mdf_clock_ns(CLOCK_MONOTONIC) < awake_ns:
            n = recv(fd, self._buffer, self._size, MSG_DONTWAIT)
            failed[0] = errno
            if n >= 0 or failed[0] != EAGAIN:
                return n
        if awake_ns == until_ns:
            failed[0] = EAGAIN
            return -1
        n = recv(fd, self._buffer, self._size, 0)
        failed[0] = errno
        return n
