# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""`BarBuilder`: the kernel of bars.h with numpy arrays in and out. The rules are told there."""
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

import numpy as np

from mdfeedd import tick as _tick

from mdfeedd.ring._ring cimport mdf_bar, mdf_tick

cdef extern from "numpy_abi.h":
    ctypedef struct mdf_ndarray:
        char *data
        int nd
        Py_ssize_t *dimensions
        PyObject *descr
        int flags
    enum:
        MDF_NDARRAY_C_CONTIGUOUS

cdef extern from "bars.h" nogil:
    enum:
        MDF_BARS_MAX_INTERVALS
        MDF_BARS_MAX_INTERVAL_S
        MDF_BARS_MAX_DEPTH
        MDF_BARS_MAX_ROWS
        MDF_BARS_FULL
        MDF_BARS_NO_MEMORY
    int64_t MDF_BARS_TIME_END
    int64_t MDF_BARS_NEVER

    ctypedef struct mdf_bars_counts:
        uint64_t closed_bars
        uint64_t late_trades
        uint64_t bad_time_trades
        uint64_t priceless_trades
        uint64_t snapshot_trades
        uint64_t voided_trades
        uint64_t foreign_ticks

    ctypedef struct mdf_bars:
        int64_t clock
        int64_t lateness_ns
        uint64_t last_seq
        uint32_t out_n
        mdf_bars_counts counts

    const char *mdf_bars_init(mdf_bars *b, const uint32_t *interval_s, uint32_t intervals,
                              int64_t lateness_ns, uint32_t flat_limit, uint32_t limit,
                              mdf_bar *out, uint32_t out_size)
    void mdf_bars_free(mdf_bars *b)
    void mdf_bars_reset(mdf_bars *b)
    int mdf_bars_update(mdf_bars *b, const mdf_tick *ticks, size_t n, size_t *used)
    int mdf_bars_advance(mdf_bars *b, int64_t watermark)
    int mdf_bars_flush(mdf_bars *b, int cut)
    void mdf_bars_hole(mdf_bars *b)
    int mdf_bars_seed(mdf_bars *b, const mdf_bar *bars, size_t n, uint64_t acked)
    uint64_t mdf_bars_position(const mdf_bars *b, uint64_t oldest)

MAX_INTERVALS = MDF_BARS_MAX_INTERVALS
MAX_INTERVAL_S = MDF_BARS_MAX_INTERVAL_S
MAX_DEPTH = MDF_BARS_MAX_DEPTH
MAX_INSTRUMENTS = MDF_BARS_MAX_ROWS - 1

cdef object _ndarray = np.ndarray
cdef object _TICK = _tick.TICK
cdef object _BAR = _tick.BAR


cdef const char *_records(array, Py_ssize_t size, Py_ssize_t *n) except NULL:
    """Address and number of the records of an array of shape (n,)."""
    cdef mdf_ndarray *a = <mdf_ndarray *>array
    if a.nd != 1 or not a.flags & MDF_NDARRAY_C_CONTIGUOUS or <size_t>a.data % 8:
        raise ValueError("records must be a contiguous, aligned array of shape (n,)")
    if array.itemsize != size:
        raise TypeError(f"records must have {size} bytes, not {array.itemsize}")
    n[0] = a.dimensions[0]
    return a.data


cdef class BarBuilder:
    """Bars of one feed's ticks. Not thread-safe.

    intervals_s: lengths of the bars in seconds, 1 to `MAX_INTERVALS` of them, ascending.
    flat: make bars of intervals without a trade, for instruments that have traded before, but no
        more than `flat_limit` in a row.
    lateness_ns: how much older than the newest tick a trade may be without being late; at most
        `MAX_DEPTH` - 1 times the shortest interval.
    instruments_limit: places of the table; ids whose index is not below are refused and counted.
    out_size: bars that are given out at a time.
    """

    cdef mdf_bars b
    cdef object _out        # keeps the memory that b.out points to
    cdef object _accepted   # last dtype seen to fit
    cdef readonly tuple intervals_s

    def __init__(self, intervals_s, *, bint flat=False, int64_t lateness_ns=0,
                 uint32_t flat_limit=1440, uint32_t instruments_limit=65536,
                 uint32_t out_size=1024):
        cdef uint32_t interval_s[MDF_BARS_MAX_INTERVALS]
        cdef uint32_t k
        cdef const char *wrong
        cdef Py_ssize_t n
        if self._out is not None:
            raise TypeError("a BarBuilder is initialised once")
        self.intervals_s = tuple(intervals_s)
        if len(self.intervals_s) > MDF_BARS_MAX_INTERVALS:
            raise ValueError(f"there must be 1 to {MDF_BARS_MAX_INTERVALS} intervals")
        if out_size < MDF_BARS_MAX_INTERVALS:
            raise ValueError(f"out_size must be at least {MDF_BARS_MAX_INTERVALS}, not {out_size}")
        if flat and not flat_limit:
            raise ValueError("flat_limit must be at least 1 for flat bars")
        for k in range(len(self.intervals_s)):
            if not 1 <= self.intervals_s[k] <= MDF_BARS_MAX_INTERVAL_S:
                raise ValueError(f"an interval must be 1 to {MDF_BARS_MAX_INTERVAL_S} seconds, "
                                 f"not {self.intervals_s[k]}")
            interval_s[k] = self.intervals_s[k]
        self._out = np.zeros(out_size, _BAR)
        self._accepted = _TICK
        wrong = mdf_bars_init(&self.b, interval_s, <uint32_t>len(self.intervals_s), lateness_ns,
                              flat_limit if flat else 0, instruments_limit,
                              <mdf_bar *>_records(self._out, sizeof(mdf_bar), &n), out_size)
        if wrong != NULL:
            raise ValueError((<bytes>wrong).decode())

    def __dealloc__(self):
        mdf_bars_free(&self.b)

    cdef object _take(self):
        """The bars in the output, as a copy; the output is empty then."""
        cdef uint32_t n = self.b.out_n
        self.b.out_n = 0
        return self._out[:n].copy()

    cdef int _check(self, ticks) except -1:
        if self._out is None:
            raise TypeError("the BarBuilder is not initialised")
        if type(ticks) is not _ndarray:
            raise TypeError("ticks must be a numpy array")
        if (<mdf_ndarray *>ticks).descr != <PyObject *>self._accepted:
            dtype = ticks.dtype
            if dtype.names is None or dtype.names[:9] != _TICK.names[:9]:
                raise TypeError(f"ticks must have dtype TICK or one of its views, not {dtype}")
            self._accepted = dtype
        return 0

    def chunks(self, ticks):
        """Use `ticks` (dtype TICK or a view of it, shape (n,)) and yield the bars they close.

        The bars come in arrays of dtype BAR and shape (m,), 1 <= m <= out_size. All ticks are used
        when the iteration ends.
        """
        cdef size_t used = 0
        cdef Py_ssize_t n, at = 0
        cdef int code
        self._check(ticks)
        cdef const char *data = _records(ticks, sizeof(mdf_tick), &n)
        while True:
            with nogil:
                code = mdf_bars_update(&self.b, <const mdf_tick *>data + at, n - at, &used)
            at += used
            if code == MDF_BARS_NO_MEMORY:
                raise MemoryError("no memory for another instrument's bars")
            if self.b.out_n:
                yield self._take()
            if code != MDF_BARS_FULL:
                return

    def update(self, ticks):
        """Use `ticks`; returns all bars they close: dtype BAR, shape (m,)."""
        return _joined(list(self.chunks(ticks)))

    def advance(self, int64_t watermark_ns):
        """Close and return all bars that end by `watermark_ns`, as if a tick had told that time."""
        if not 0 <= watermark_ns < MDF_BARS_TIME_END:
            raise ValueError(
                f"watermark_ns must be 0 to {MDF_BARS_TIME_END - 1}, not {watermark_ns}")
        out = []
        while True:
            code = mdf_bars_advance(&self.b, watermark_ns)
            out.append(self._take())
            if code != MDF_BARS_FULL:
                return _joined(out)

    def flush(self, bint partial=True):
        """Close all open bars, flagged PARTIAL unless told otherwise; returns them.

        Trades of the same intervals that come later are late.
        """
        out = []
        while True:
            code = mdf_bars_flush(&self.b, partial)
            out.append(self._take())
            if code != MDF_BARS_FULL:
                return _joined(out)

    def mark_gap(self):
        """Ticks were lost just before the next one: bars that may miss them are flagged GAP."""
        mdf_bars_hole(&self.b)

    def seed(self, bars, *, uint64_t acked=0):
        """Tell, before the first tick, what an earlier run has published (dtype BAR, in order).

        Bars made again are not given out again, unless they are more complete: then with a higher
        revision. acked: the first tick will be the one behind this sequence number. Bars that were
        cut and began no later go on where they were cut, flagged PARTIAL.
        """
        cdef Py_ssize_t n
        if type(bars) is not _ndarray or bars.dtype != _BAR:
            raise TypeError("bars must be an array of dtype BAR")
        cdef const char *data = _records(bars, sizeof(mdf_bar), &n)
        if mdf_bars_seed(&self.b, <const mdf_bar *>data, n, acked) == MDF_BARS_NO_MEMORY:
            raise MemoryError("no memory for another instrument's bars")

    def reset(self):
        """Forget bars, times, gaps and seeds, for a stream that begins anew; the counts go on."""
        mdf_bars_reset(&self.b)

    @property
    def position(self):
        """Sequence number from which a restart must read to make open bars again; 0 at first."""
        return mdf_bars_position(&self.b, 0)

    def position_since(self, uint64_t oldest):
        """The same of those intervals alone that need no tick before sequence number `oldest`."""
        return mdf_bars_position(&self.b, oldest)

    @property
    def watermark_ns(self):
        """Bars that end no later are closed; None before the first tick that tells a time."""
        return None if self.b.clock == MDF_BARS_NEVER else self.b.clock - self.b.lateness_ns

    @property
    def closed_bars(self):
        """Bars given out, revisions and flat bars included."""
        return self.b.counts.closed_bars

    @property
    def late_trades(self):
        """Trades that came after a bar of theirs had closed."""
        return self.b.counts.late_trades

    @property
    def bad_time_trades(self):
        """Trades left out for a venue time that is missing, flagged as bad, or wild."""
        return self.b.counts.bad_time_trades

    @property
    def priceless_trades(self):
        """Trades left out because they have no price."""
        return self.b.counts.priceless_trades

    @property
    def snapshot_trades(self):
        """Trades left out because they are from a snapshot."""
        return self.b.counts.snapshot_trades

    @property
    def voided_trades(self):
        """Cancels and corrections seen; the bars still hold those trades as first told."""
        return self.b.counts.voided_trades

    @property
    def foreign_ticks(self):
        """Trades and gaps of instrument ids that do not fit the table."""
        return self.b.counts.foreign_ticks


cdef object _joined(list parts):
    if not parts:
        return np.empty(0, _BAR)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
