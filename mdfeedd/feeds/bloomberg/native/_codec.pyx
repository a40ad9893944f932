# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What the decoder in Python works on, as C has it: touches, staging, and a kernel for ordinary messages."""
from cpython.dict cimport PyDict_GetItem
from cpython.ref cimport PyObject
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from mdfeedd.ring._ring cimport WriterCore, mdf_flush, mdf_publish_batch, mdf_tick

import numpy as np

from mdfeedd.tick import TICK as _TICK

cdef extern from "mdfeedd.h" nogil:
    enum:
        MDF_STALE
    int64_t MDF_PRICE_UNDEF

cdef extern from "blp_decode.h" nogil:
    const char *const *blp_field_names
    enum:
        BLP_FIELDS
        BLP_ROOM

cdef extern from "blp_table.h" nogil:
    int blp_table_put(blp_table *t, uint64_t cid, blp_touch *touch)
    void blp_table_drop(blp_table *t, uint64_t cid)

cdef extern from "blp_dict.h":
    int blp_dict_init()
    int blp_decode_dict(blp_decoder *d, blp_touch *t, PyObject *message, int64_t recv_ns)

cdef extern from * nogil:
    "#define blp_table_close(t) free((t)->places)"
    void blp_table_close(blp_table *t)

if blp_dict_init():
    raise ImportError("the kernel of the Bloomberg codec cannot have its words")

#: The fields that a kernel looks at.
FIELDS = tuple(blp_field_names[i].decode() for i in range(BLP_FIELDS))
cdef object _U64_MAX = (1 << 64) - 1


cdef uint64_t _magnitude(object size):
    """A size of any magnitude, saturated at 64 bits: which is far above what a tick tells."""
    return <uint64_t>min(size, _U64_MAX)


cdef class Touch:
    """One instrument; the attributes and methods of `codec.touch.Touch`, whose words count here as well."""

    def __cinit__(self, uint32_t instrument_id):
        memset(&self.t, 0, sizeof(self.t))
        self.t.instrument_id = instrument_id
        self.t.flags = MDF_STALE
        self.t.shown.bid = self.t.shown.ask = MDF_PRICE_UNDEF
        self.forget()

    def forget(self):
        """Nothing is known of either side."""
        self.t.told.bid = self.t.told.ask = MDF_PRICE_UNDEF
        self.t.told.bid_size = self.t.told.ask_size = 0
        self.t.imaging = 0
        self.t.image_ns = 0

    def show(self):
        """Both sides as a QUOTE tells them."""
        cdef blp_sides s = blp_show(self.t.told)
        return s.bid, s.ask, s.bid_size, s.ask_size

    @property
    def stale(self):
        """Not known to be right."""
        return self.t.flags & MDF_STALE != 0

    @property
    def shown(self):
        """What the last QUOTE said."""
        return self.t.shown.bid, self.t.shown.ask, self.t.shown.bid_size, self.t.shown.ask_size

    @shown.setter
    def shown(self, sides):
        bid, ask, bid_size, ask_size = sides
        self.t.shown.bid = bid
        self.t.shown.ask = ask
        self.t.shown.bid_size = _magnitude(bid_size)
        self.t.shown.ask_size = _magnitude(ask_size)

    @property
    def bid(self):
        return self.t.told.bid

    @bid.setter
    def bid(self, int64_t price):
        self.t.told.bid = price

    @property
    def ask(self):
        return self.t.told.ask

    @ask.setter
    def ask(self, int64_t price):
        self.t.told.ask = price

    @property
    def bid_size(self):
        return self.t.told.bid_size

    @bid_size.setter
    def bid_size(self, size):
        self.t.told.bid_size = _magnitude(size)

    @property
    def ask_size(self):
        return self.t.told.ask_size

    @ask_size.setter
    def ask_size(self, size):
        self.t.told.ask_size = _magnitude(size)

    @property
    def flags(self):
        return self.t.flags

    @flags.setter
    def flags(self, uint16_t flags):
        self.t.flags = flags

    @property
    def instrument_id(self):
        return self.t.instrument_id

    @property
    def last_ns(self):
        return self.t.last_ns

    @last_ns.setter
    def last_ns(self, int64_t ns):
        self.t.last_ns = ns

    @property
    def hole_first_ns(self):
        return self.t.hole_first_ns

    @hole_first_ns.setter
    def hole_first_ns(self, int64_t ns):
        self.t.hole_first_ns = ns

    @property
    def hole_last_ns(self):
        return self.t.hole_last_ns

    @hole_last_ns.setter
    def hole_last_ns(self, int64_t ns):
        self.t.hole_last_ns = ns

    @property
    def hole_reason(self):
        return self.t.hole_reason

    @hole_reason.setter
    def hole_reason(self, uint32_t reason):
        self.t.hole_reason = reason

    @property
    def stamp_ns(self):
        return self.t.stamp_ns

    @stamp_ns.setter
    def stamp_ns(self, int64_t ns):
        self.t.stamp_ns = ns

    @property
    def imaging(self):
        return self.t.imaging != 0

    @imaging.setter
    def imaging(self, bint on):
        self.t.imaging = on

    @property
    def image_ns(self):
        return self.t.image_ns

    @image_ns.setter
    def image_ns(self, int64_t ns):
        self.t.image_ns = ns


cdef class Staging:
    """Ticks on their way; the methods of `codec.staging.Staging`, and `publish`.

    Raises `MemoryError` where there is no room for a tick.
    """

    def __cinit__(self, size_t room=BLP_ROOM):
        memset(&self.s, 0, sizeof(self.s))
        self._reserve(room)

    def __dealloc__(self):
        free(self.s.ticks)

    cdef int _reserve(self, size_t n) except -1:
        while self.s.capacity - self.s.n < n:
            if n > BLP_MAX_ROOM or (blp_reserve(&self.s, n) and 2 * self.s.capacity > BLP_MAX_ROOM):
                raise MemoryError("no room for a tick")
        return 0

    def __len__(self):
        return self.s.n

    @property
    def quotes(self):
        return self.s.quotes

    @property
    def trades(self):
        return self.s.trades

    @property
    def others(self):
        return self.s.others

    @property
    def gaps(self):
        return self.s.gaps

    def ticks(self):
        """A copy of what is staged."""
        cdef uint8_t[::1] to
        ticks = np.empty(self.s.n, _TICK)
        if self.s.n:
            to = ticks.view(np.uint8)
            memcpy(&to[0], self.s.ticks, self.s.n * sizeof(mdf_tick))
        return ticks

    def clear(self):
        """Begin anew."""
        self.s.n = 0

    def publish(self, WriterCore writer not None):
        """Put all into the ring, and begin anew."""
        self.publish_all(writer)

    cdef int publish_all(self, WriterCore writer) except -1:
        writer.check()
        if self.s.n:  # so few, mostly, that to let go of the GIL takes longer
            mdf_publish_batch(&writer.w, self.s.ticks, self.s.n)
            mdf_flush(&writer.w)
            self.s.n = 0
        return 0

    def quote(self, int64_t ts_event, int64_t recv_ns, uint32_t instrument_id, uint16_t flags, touch):
        """The touch: bid, ask, bid size, ask size."""
        cdef blp_sides shown
        bid, ask, bid_size, ask_size = touch
        shown.bid, shown.ask = bid, ask
        shown.bid_size, shown.ask_size = _magnitude(bid_size), _magnitude(ask_size)
        self._reserve(1)
        blp_tell_quote(&self.s, ts_event, recv_ns, instrument_id, flags, &shown)

    def trade(self, uint8_t kind, int64_t ts_event, int64_t recv_ns, uint32_t instrument_id, uint16_t flags,
              int64_t price, size, uint64_t number):
        """A trade, its cancel or its correction."""
        cdef uint64_t magnitude = _magnitude(size)
        self._reserve(1)
        blp_tell_trade(&self.s, kind, ts_event, recv_ns, instrument_id, flags, price, magnitude, number)

    def hole(self, uint8_t kind, int64_t now_ns, uint32_t instrument_id, uint64_t first_ns, uint64_t last_ns,
             uint32_t reason):
        """A GAP, or the RECOVERED that ends it; instrument 0 is the whole feed."""
        self._reserve(1)
        blp_tell_hole(&self.s, kind, now_ns, instrument_id, first_ns, last_ns, reason)

    def statistic(self, int64_t ts_event, int64_t recv_ns, uint32_t instrument_id, uint16_t flags,
                  uint16_t code, int64_t price=INT64_MAX, quantity=INT64_MAX):
        """A statistic of the day."""
        cdef int64_t checked = quantity
        self._reserve(1)
        blp_tell_statistic(&self.s, ts_event, recv_ns, instrument_id, flags, code, price, checked)

    def status(self, int64_t now_ns, uint32_t instrument_id, uint16_t reason):
        """Whether data of the instrument come, and why not; nothing of its trading. The time is ours."""
        self._reserve(1)
        blp_tell_status(&self.s, now_ns, instrument_id, reason)

    def bare(self, uint8_t kind, int64_t now_ns, uint32_t instrument_id):
        """A tick that says all by its kind, as CLEAR. The time is ours."""
        self._reserve(1)
        blp_tell_bare(&self.s, kind, now_ns, instrument_id)


cdef class Touches(dict):
    """Instruments by correlation id, which C can look up, too; what is no `Touch` is for Python alone."""

    def __dealloc__(self):
        blp_table_close(&self.table)

    def __setitem__(self, cid, touch):
        self._forget(cid)
        if isinstance(touch, Touch) and type(cid) is int and 0 <= cid <= _U64_MAX:
            if blp_table_put(&self.table, cid, &(<Touch>touch).t):
                raise MemoryError("no room for another correlation id")
        dict.__setitem__(self, cid, touch)

    def __delitem__(self, cid):
        self._forget(cid)
        dict.__delitem__(self, cid)

    def pop(self, cid, default=None):
        """The touch of a cid, which means nothing any more."""
        self._forget(cid)
        return dict.pop(self, cid, default)

    def clear(self):
        """No cid means anything any more."""
        for cid in list(self):
            del self[cid]

    def update(self, *others, **named):
        """As one after the other."""
        for cid, touch in dict(*others, **named).items():
            self[cid] = touch

    def __ior__(self, other):
        self.update(other)
        return self

    def popitem(self):
        """Not needed."""
        raise TypeError("take the cids one by one")

    def setdefault(self, cid, default=None):
        """Not needed."""
        raise TypeError("set the cid")

    cdef int _forget(self, object cid) except -1:
        if type(cid) is int and 0 <= cid <= _U64_MAX:
            blp_table_drop(&self.table, cid)
        return 0


cdef class Kernel:
    """Ordinary messages of `touches` into ticks of `staging`. What it does not take it leaves as it was."""

    def __cinit__(self, Staging staging not None, Touches touches not None, *, bint refuse_delayed=False):
        memset(&self.d, 0, sizeof(self.d))
        self.staging = staging
        self.touches = touches
        self.d.out = &staging.s
        self.d.refuse_delayed = refuse_delayed
        self.last_message = {}

    @property
    def messages(self):
        """Messages, all of them: others add to it what they do."""
        return self.d.messages

    @messages.setter
    def messages(self, uint64_t n):
        self.d.messages = n

    @property
    def skipped(self):
        """Messages of which no tick comes."""
        return self.d.skipped

    @skipped.setter
    def skipped(self, uint64_t n):
        self.d.skipped = n

    @property
    def last_ns(self):
        """When the last came."""
        return self.d.last_ns

    @last_ns.setter
    def last_ns(self, int64_t ns):
        self.d.last_ns = ns

    @property
    def quick(self):
        """Messages that went this way."""
        return self.d.quick

    @property
    def sent_ns(self):
        """When the last message was sent, where that was no dictionary (`last_message` is None); or 0."""
        return self.d.sent_ns

    def take(self, cid, recap, message, int64_t recv_ns):
        """Whether the message was ordinary, and is done."""
        cdef PyObject *touch
        if recap or type(message) is not dict or type(cid) is not int:
            return False
        touch = PyDict_GetItem(self.touches, cid)
        if touch == NULL or not isinstance(<object>touch, Touch):
            return False
        if blp_decode_dict(&self.d, &(<Touch><object>touch).t, <PyObject *>message, recv_ns) != BLP_TAKEN:
            return False
        self.last_message = message
        return True
