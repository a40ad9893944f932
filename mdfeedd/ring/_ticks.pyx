# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Ticks out of records, one at a time and quickly: what iterating a `TickBatch` gives.

Calling `Tick` sets eighteen fields of a frozen dataclass by eighteen calls of `object.__setattr__`. Here the
same object is made empty and its slots are filled where they lie; where that is, is asked of the class when
this is imported. `mdfeedd.tick.tick_from_record` says what has to come out (a test compares the two).
"""
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint32_t, uint64_t

import dataclasses
import types

import numpy as np

from mdfeedd import tick as _tick
from mdfeedd.ring._ring cimport MDF_PRICE_UNDEF, mdf_tick

cdef extern from "numpy_abi.h":
    ctypedef struct mdf_ndarray:
        char *data
        int nd
        Py_ssize_t *dimensions
        int flags
    enum:
        MDF_NDARRAY_C_CONTIGUOUS

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    enum:
        T_OBJECT_EX

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    object PyType_GenericAlloc(PyTypeObject *type, Py_ssize_t n)
    void PyObject_GC_UnTrack(PyObject *o)

cdef packed struct Quote:       # as in mdfeedd.h, from `payload` on
    int64_t bid_price
    int64_t ask_price
    uint32_t bid_size
    uint32_t ask_size

cdef packed struct Trade:
    int64_t price
    uint64_t trade_id
    uint32_t size

cdef enum:
    PAYLOAD = 40
    FIELDS = 18
    QUOTE = 1
    TRADE = 2
    TRADE_CORRECTION = 4

cdef enum Field:                # the order of `Tick`'s fields
    TIMESTAMP
    SYMBOL
    VENDOR
    BID_PRICE
    ASK_PRICE
    BID_SIZE
    ASK_SIZE
    PRICE
    SIZE
    SIDE
    KIND
    FLAGS
    SEQ
    TS_RECV
    INSTRUMENT_ID
    VENUE_SEQ
    COUNT
    TRADE_ID

cdef object _Tick = _tick.Tick
cdef object _TICK = _tick.TICK
cdef object _ndarray = np.ndarray
cdef dict _kinds = {int(kind): kind for kind in _tick.Kind}
cdef dict _sides = {int(side): side for side in _tick.Side}
cdef dict _flags = {0: _tick.NO_FLAGS}
cdef Py_ssize_t _offset[FIELDS]

_NAMES = (
    "timestamp_ns", "symbol", "vendor", "bid_price", "ask_price", "bid_size", "ask_size", "price", "size",
    "side", "kind", "flags", "seq", "ts_recv_ns", "instrument_id", "venue_seq", "count", "trade_id",
)


def _find_slots():
    """Where each field of `Tick` lies in the object. Raises `ImportError` where it is not as expected."""
    cdef Py_ssize_t i
    cdef PyMemberDescrObject *slot
    if tuple(field.name for field in dataclasses.fields(_Tick)) != _NAMES:
        raise ImportError("the fields of mdfeedd.tick.Tick are not those that mdfeedd.ring._ticks fills")
    for i, name in enumerate(_NAMES):
        descriptor = _Tick.__dict__[name]
        if type(descriptor) is not types.MemberDescriptorType:
            raise ImportError("mdfeedd.tick.Tick has no slots")
        slot = <PyMemberDescrObject *>descriptor
        if slot.d_member.type != T_OBJECT_EX:
            raise ImportError("a slot of mdfeedd.tick.Tick is no object")
        _offset[i] = slot.d_member.offset


_find_slots()


cdef inline void _put(object tick, Field field, object value) noexcept:
    """Fill a slot that is empty."""
    Py_INCREF(value)
    (<PyObject **>(<char *><PyObject *>tick + _offset[<int>field]))[0] = <PyObject *>value


cdef inline object _price(int64_t value):
    return None if value == MDF_PRICE_UNDEF else value


cdef class Ticks:
    """The `Tick` of each record of an array of `TICK`, which is contiguous; `instruments` has their symbols.

    Raises `TypeError` for another array, and from `__next__` `ValueError` for a kind that is none.
    """

    cdef object _records        # keeps the memory
    cdef object _instruments
    cdef object _vendor
    cdef dict _symbols
    cdef const char *_next
    cdef Py_ssize_t _left

    def __init__(self, records, instruments):
        if type(records) is not _ndarray or records.dtype != _TICK:
            raise TypeError("ticks are made of an array of TICK")
        cdef mdf_ndarray *array = <mdf_ndarray *>records
        if array.nd != 1 or not array.flags & MDF_NDARRAY_C_CONTIGUOUS:
            raise TypeError("ticks are made of an array of one dimension, without holes")
        self._records = records
        self._instruments = instruments
        self._vendor = instruments.feed
        self._symbols = {}
        self._next = array.data
        self._left = array.dimensions[0]

    def __iter__(self):
        return self

    def __length_hint__(self):
        return self._left

    def __next__(self):
        if self._left == 0:
            raise StopIteration
        tick = self._make(<const mdf_tick *>self._next)
        self._left -= 1
        self._next += sizeof(mdf_tick)
        return tick

    cdef object _symbol(self, object instrument_id):
        symbol = self._instruments.symbol(instrument_id)
        self._symbols[instrument_id] = symbol
        return symbol

    cdef object _make(self, const mdf_tick *record):
        kind = _kinds.get(record.kind)
        if kind is None:
            kind = _tick.Kind(record.kind)   # of a newer writer: it has a number for a name
        side = _sides.get(record.side)
        if side is None:
            side = _tick.Side(record.side)
        flags = _flags.get(record.flags)
        if flags is None:
            flags = _flags[record.flags] = _tick.Flag(record.flags)
        instrument_id = record.instrument_id
        symbol = self._symbols.get(instrument_id)
        if symbol is None:
            symbol = self._symbol(instrument_id)
        timestamp = record.ts_event
        seq = record.seq
        ts_recv = record.ts_recv
        venue_seq = record.venue_seq
        count = record.count
        bid = ask = bid_size = ask_size = price = size = trade_id = None
        cdef const Quote *quote
        cdef const Trade *trade
        if record.kind == QUOTE:
            quote = <const Quote *>(<const char *>record + PAYLOAD)
            bid, ask = _price(quote.bid_price), _price(quote.ask_price)
            bid_size, ask_size = quote.bid_size, quote.ask_size
        elif TRADE <= record.kind <= TRADE_CORRECTION:
            trade = <const Trade *>(<const char *>record + PAYLOAD)
            price, size, trade_id = _price(trade.price), trade.size, trade.trade_id
        tick = PyType_GenericAlloc(<PyTypeObject *>_Tick, 0)   # nothing fails from here on: all is filled
        _put(tick, TIMESTAMP, timestamp)
        _put(tick, SYMBOL, symbol)
        _put(tick, VENDOR, self._vendor)
        _put(tick, BID_PRICE, bid)
        _put(tick, ASK_PRICE, ask)
        _put(tick, BID_SIZE, bid_size)
        _put(tick, ASK_SIZE, ask_size)
        _put(tick, PRICE, price)
        _put(tick, SIZE, size)
        _put(tick, SIDE, side)
        _put(tick, KIND, kind)
        _put(tick, FLAGS, flags)
        _put(tick, SEQ, seq)
        _put(tick, TS_RECV, ts_recv)
        _put(tick, INSTRUMENT_ID, instrument_id)
        _put(tick, VENUE_SEQ, venue_seq)
        _put(tick, COUNT, count)
        _put(tick, TRADE_ID, trade_id)
        PyObject_GC_UnTrack(<PyObject *>tick)  # numbers, names and enums: it is in no cycle
        return tick
