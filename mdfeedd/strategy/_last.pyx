# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""`LastTable`: the kernel of last.h with numpy arrays in and out. The rules are told there."""
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from mdfeedd import tick as _tick

from mdfeedd.ring._ring cimport mdf_tick

cdef extern from "numpy_abi.h":
    ctypedef struct mdf_ndarray:
        char *data
        int nd
        Py_ssize_t *dimensions
        PyObject *descr
        int flags
    enum:
        MDF_NDARRAY_C_CONTIGUOUS

cdef extern from "last.h" nogil:
    enum:
        MDF_LAST_LAPPED
        MDF_LAST_MAX_ROWS
        MDF_LAST_LINES

    ctypedef struct mdf_last_row:
        uint64_t seq
        int64_t ts_event
        int64_t ts_recv
        uint32_t instrument_id
        uint16_t flags
        uint8_t is_trading
        uint8_t feed
        int64_t bid_price
        int64_t ask_price
        uint32_t bid_size
        uint32_t ask_size
        int64_t trade_price
        uint64_t trade_id
        int64_t trade_ts_event
        uint32_t trade_size
        uint8_t trade_side
        uint64_t updates

    ctypedef struct mdf_last:
        mdf_last_row *rows
        uint32_t n

    const mdf_last_row *mdf_last_find(const mdf_last *l, uint32_t id)
    int mdf_last_take(mdf_last *l, const mdf_tick *t, const uint8_t *feeds, uint8_t one, size_t n)
    void mdf_last_mark(mdf_last *l, uint8_t feed, uint16_t set, uint16_t clear)
    void mdf_last_forget(mdf_last *l, uint8_t feed)
    void mdf_last_free(mdf_last *l)

MAX_ROWS = MDF_LAST_MAX_ROWS
MAX_LINES = MDF_LAST_LINES

#: A row of the table, 96 bytes; prices in units of 1e-9 (`PRICE_UNDEF`: none), times in UNIX ns.
LAST = np.dtype([
    ("seq", "<u8"), ("ts_event", "<i8"), ("ts_recv", "<i8"), ("instrument_id", "<u4"), ("flags", "<u2"),
    ("is_trading", "u1"), ("feed", "u1"), ("bid_price", "<i8"), ("ask_price", "<i8"), ("bid_size", "<u4"),
    ("ask_size", "<u4"), ("trade_price", "<i8"), ("trade_id", "<u8"), ("trade_ts_event", "<i8"),
    ("trade_size", "<u4"), ("trade_side", "u1"), ("reserved", "V3"), ("updates", "<u8"),
])

if LAST.itemsize != sizeof(mdf_last_row):
    raise ImportError("mdfeedd.strategy._last and last.h disagree on a layout: rebuild the extensions")

cdef object _ndarray = np.ndarray
cdef object _TICK = _tick.TICK


cdef class LastTable:
    """The last values of each instrument of one or several feeds. Not thread-safe."""

    cdef mdf_last table
    cdef object _accepted   # last dtype seen to fit

    def __cinit__(self):
        memset(&self.table, 0, sizeof(self.table))

    def __dealloc__(self):
        mdf_last_free(&self.table)

    def __len__(self):
        return self.table.n

    def take(self, records, feeds=None, uint8_t feed=0):
        """Take over ticks, in order: dtype `TICK`, shape (n,).

        `feeds`: of each its feed, uint8 (n,); None: all are of `feed`.
        Raises `TypeError` and `ValueError` for other arrays, `MemoryError` beyond `MAX_ROWS` instruments.
        """
        if type(records) is not _ndarray:
            raise TypeError("records must be a numpy array")
        cdef mdf_ndarray *a = <mdf_ndarray *>records
        cdef const uint8_t *each = NULL
        cdef int failed
        if a.descr != <PyObject *>self._accepted:
            if records.dtype != _TICK:
                raise TypeError(f"records must have dtype TICK, not {records.dtype}")
            self._accepted = records.dtype
        if a.nd != 1 or not a.flags & MDF_NDARRAY_C_CONTIGUOUS or <size_t>a.data % 8:
            raise ValueError("records must be a contiguous, aligned array of shape (n,)")
        cdef size_t n = a.dimensions[0]
        if n == 0:
            return
        cdef const mdf_tick *ticks = <const mdf_tick *>a.data
        if feeds is not None:
            each = _feeds(feeds, n)
        with nogil:
            failed = mdf_last_take(&self.table, ticks, each, feed, n)
        if failed:
            raise MemoryError(f"no memory for {self.table.n + 1} instruments (at most {MAX_ROWS})")

    def lapped(self, uint8_t feed):
        """Records of `feed` were lost: its rows are LAPPED until a quote comes."""
        mdf_last_mark(&self.table, feed, MDF_LAST_LAPPED, 0)

    def forget(self, uint8_t feed):
        """Void all rows of `feed`: its ids may stand for other instruments now."""
        mdf_last_forget(&self.table, feed)

    def row(self, uint32_t instrument_id):
        """The row as a tuple in the order of `LAST` without `reserved`; None if nothing is known."""
        cdef const mdf_last_row *r = mdf_last_find(&self.table, instrument_id)
        if r == NULL:
            return None
        return (r.seq, r.ts_event, r.ts_recv, r.instrument_id, r.flags, r.is_trading, r.feed, r.bid_price,
                r.ask_price, r.bid_size, r.ask_size, r.trade_price, r.trade_id, r.trade_ts_event,
                r.trade_size, r.trade_side, r.updates)

    def records(self):
        """All rows, dtype `LAST`, shape (n,), in order of first appearance: a copy."""
        made = np.zeros(self.table.n, LAST)
        if self.table.n:
            memcpy((<mdf_ndarray *>made).data, self.table.rows, self.table.n * sizeof(mdf_last_row))
        return made


cdef const uint8_t *_feeds(array, size_t n) except NULL:
    if type(array) is not _ndarray or array.dtype != np.uint8:
        raise TypeError("feeds must be a numpy array of uint8")
    cdef mdf_ndarray *a = <mdf_ndarray *>array
    if a.nd != 1 or not a.flags & MDF_NDARRAY_C_CONTIGUOUS or <size_t>a.dimensions[0] != n:
        raise ValueError(f"feeds must be a contiguous array of shape ({n},)")
    return <const uint8_t *>a.data
