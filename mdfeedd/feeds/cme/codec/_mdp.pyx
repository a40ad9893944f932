# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The handler of mdp.h for Python: packets in from anywhere, ticks into rings or arrays."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset, strncpy

from mdfeedd.feeds._packet cimport PacketSink, mdf_packet
from mdfeedd.feeds.cme.codec._define cimport mdp_definition
from mdfeedd.ring._ring cimport WriterCore, mdf_flush, mdf_writer

import numpy as np

from mdfeedd.feeds.cme.codec import events as _events
from mdfeedd.feeds.cme.definitions import Definition as _Definition
from mdfeedd.tick import DEPTH as _DEPTH
from mdfeedd.tick import ORDER as _ORDER
from mdfeedd.tick import TICK as _TICK
from mdfeedd.tick import TIME_UNDEF as _TIME_UNDEF

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "mdp.h" nogil:
    enum:
        MDP_NONE
        MDP_BIDS
        MDP_ASKS
        MDP_IMPLIED_BIDS
        MDP_IMPLIED_ASKS
        MDP_MAX_FILTERS
        MDP_FILTER_BYTES
        MDP_MAX_REORDER
        MDP_MAX_CHANNELS
        MDP_MAX_LINES
        MDP_SELECTED
        MDP_DEFINED
        MDP_DELETED
        MDF_SIDE_BID
        MDP_NULL_U32
    ctypedef struct mdp_counts:
        uint64_t gaps
    ctypedef struct mdp_level:
        int64_t price
    ctypedef struct mdp_instrument:
        int32_t security_id
        uint32_t instrument_id, first_order, next_in_channel
        uint8_t state, flags, channel, trading_status
    ctypedef struct mdp_line:
        uint32_t channel, last, reports, total
        uint8_t feed, side, started
        int64_t last_ns
        uint64_t packets, bytes, lost, late, duplicates, malformed
    ctypedef struct mdp_channel:
        uint64_t next
        uint32_t id, buffered, instruments, unproven, unproven_mbo, open_gaps, first_instrument
        uint8_t started, silent, definitions_whole
    ctypedef struct mdp_told:
        uint32_t code, channel, line
        int32_t security_id
        uint64_t first, last
        int64_t ts_ns
    ctypedef struct mdp_options:
        uint32_t max_instruments, reorder_packets, recovery_entries, passed_by, max_orders
        uint8_t depth, orders, natural_refresh, feed_index
        int64_t max_wait_ns, silence_ns
        uint32_t shard_index, shard_of
    ctypedef struct mdp_filter:
        char pattern[72]
    ctypedef struct mdp_out:
        mdf_writer *ring
        uint8_t *kept
        size_t slot, n, room
        int failed
    ctypedef struct mdp_order:
        uint64_t id, priority
        int64_t price
        uint32_t size, next
        uint8_t side
    ctypedef struct mdp_orders:
        mdp_order *pool
    ctypedef struct mdp_handler:
        mdp_options o
        mdp_channel **channels
        mdp_line *lines
        uint32_t channels_n, lines_n, instruments_n, ring_instruments
        mdp_instrument *instruments
        mdp_definition *definitions
        mdp_orders *orders
        mdp_filter **filters
        uint32_t filters_n[3]
        mdp_out out, depth_out, orders_out
        mdp_told *told
        uint32_t told_n, told_dropped
        uint64_t *told_once
        mdp_counts count
        int64_t now_ns, latest_latency_ns
        uint32_t staged
    int mdp_open(mdp_handler *h, const mdp_options *o)
    void mdp_close(mdp_handler *h)
    void mdp_prefault(mdp_handler *h)
    int mdp_channel_index(mdp_handler *h, uint32_t id)
    int64_t mdp_doubted_since_ns(const mdp_channel *ch)
    int mdp_line_add(mdp_handler *h, uint32_t channel, unsigned feed, unsigned side)
    void mdp_on_packet(mdp_handler *h, const mdf_packet *k)
    void mdp_on_time(mdp_handler *h, int64_t now_ns)
    void mdp_apply_definition(mdp_handler *h, uint32_t channel, const mdp_definition *d)
    void mdp_send(mdp_handler *h, uint32_t hold)
    uint32_t mdp_find(const mdp_handler *h, uint32_t channel, int32_t security_id)
    void mdp_inherit(mdp_handler *h, uint32_t channel, int32_t security_id, uint32_t instrument_id)
    int mdp_is_proven(const mdp_channel *ch, const mdp_instrument *b)
    uint32_t mdp_rpt_of(const mdp_instrument *b)
    unsigned mdp_depth_of(const mdp_instrument *b, unsigned side)
    int mdp_is_mbo_proven(const mdp_channel *ch, const mdp_instrument *b)
    int mdp_is_empty(const mdp_level *level)
    uint32_t mdp_size_of(const mdp_level *level)
    uint32_t mdp_orders_of(const mdp_level *level)
    mdp_level *mdp_level_at(mdp_instrument *b, unsigned side, unsigned i)

cdef extern from *:
    """
    /* Names and texts of the counts, in their order. */
    #define X(name, help) #name, help,
    static const char *const mdp_count_text[] = {MDP_COUNTS(X) NULL};
    #undef X
    enum { MDP_COUNTS_N = sizeof(mdp_counts) / sizeof(uint64_t) };
    """
    const char *const *mdp_count_text
    enum:
        MDP_COUNTS_N

#: Every count of a handler: name -> what it counts.
COUNTS = {
    mdp_count_text[2 * i].decode(): mdp_count_text[2 * i + 1].decode() for i in range(MDP_COUNTS_N)
}
MAX_CHANNELS = MDP_MAX_CHANNELS
MAX_LINES = MDP_MAX_LINES

cdef tuple _STATES = ("UNKNOWN", "STALE", "SYNC")
cdef tuple _FILTERS = ("symbols", "groups", "assets")


cdef list _levels(mdp_instrument *b, unsigned side):
    """Levels down to the last that is there."""
    cdef unsigned n = mdp_depth_of(b, side)
    cdef mdp_level *at
    while n and mdp_is_empty(mdp_level_at(b, side, n - 1)):
        n -= 1
    found = []
    for i in range(n):
        at = mdp_level_at(b, side, i)
        found.append((at.price, mdp_size_of(at), mdp_orders_of(at)))
    return found


cdef class Handler(PacketSink):
    """One feed: any number of CME channels into one ring of ticks, and on demand one of depth, one of orders.

    Packets come by `packet`, or natively through the sink; ticks go into the rings given to `attach`, or are
    kept until `take_ticks`. `max_wait_ns`: how long a packet waits for the one before it when only one line
    is there to bring it; `passed_by`: how many packets both lines must be beyond a hole before it counts as
    lost, for networks that reorder. `symbols`, `groups` and `assets` are patterns (``*`` and ``?``): an
    instrument that any of them matches is taken; without a definition only ``*`` takes it. With a `shard`,
    only instruments whose name is in it, which without a definition is their number.

    Raises `ValueError` for options out of range and `MemoryError`.
    """

    cdef mdp_handler *h
    cdef object _writers

    def __cinit__(self):
        self.h = NULL

    def __init__(self, *, max_instruments=131_072, bint depth=False, bint orders=False,
                 bint natural_refresh=True, int64_t max_wait_ns=10_000_000, reorder_packets=1024,
                 recovery_entries=1_048_576, passed_by=0, int64_t silence_ns=35_000_000_000,
                 max_orders=1_048_576, symbols=("*",), groups=(), assets=(), feed_index=0,
                 shard=None):
        if self.h != NULL:
            raise RuntimeError("a handler is initialised once")
        for name, value, least, most in (
                ("max_instruments", max_instruments, 1, 1 << 24),
                ("reorder_packets", reorder_packets, 2, MDP_MAX_REORDER),
                ("recovery_entries", recovery_entries, 16, 1 << 30), ("passed_by", passed_by, 0, 1024),
                ("max_orders", max_orders, 16, 1 << 30), ("feed_index", feed_index, 0, 255)):
            if not least <= value <= most:
                raise ValueError(f"{name}: must be {least} to {most}, not {value}")
        if reorder_packets & (reorder_packets - 1):
            raise ValueError(f"reorder_packets: must be a power of two, not {reorder_packets}")
        cdef mdp_options o
        memset(&o, 0, sizeof(o))
        o.max_instruments, o.reorder_packets, o.passed_by = max_instruments, reorder_packets, passed_by
        o.recovery_entries, o.max_orders = recovery_entries, max_orders
        o.depth, o.orders, o.natural_refresh, o.feed_index = depth, orders, natural_refresh, feed_index
        o.max_wait_ns, o.silence_ns = max_wait_ns, silence_ns
        if shard is not None:
            o.shard_index, o.shard_of = shard.index - 1, shard.of
        self.h = <mdp_handler *>aligned_alloc(64, sizeof(mdp_handler))  # a cache line, as its stage needs
        if self.h == NULL or mdp_open(self.h, &o):
            raise MemoryError()
        self._writers = ()
        for kind, patterns in enumerate((symbols, groups, assets)):
            self._filter(kind, patterns)
        self.sink.context = self.h
        self.sink.packet = _on_packet
        self.sink.burst_end = _on_burst_end

    def __dealloc__(self):
        if self.h != NULL:
            mdp_close(self.h)
            free(self.h)

    cdef int _filter(self, int kind, patterns) except -1:
        if len(patterns) > MDP_MAX_FILTERS:
            raise ValueError(f"{_FILTERS[kind]}: at most {MDP_MAX_FILTERS} patterns")
        for i, pattern in enumerate(patterns):
            raw = pattern.encode()
            if not raw or len(raw) >= MDP_FILTER_BYTES:
                raise ValueError(f"{_FILTERS[kind]}: {pattern!r} must have 1 to {MDP_FILTER_BYTES - 1} bytes")
            strncpy(self.h.filters[kind][i].pattern, raw, MDP_FILTER_BYTES - 1)
        self.h.filters_n[kind] = <uint32_t>len(patterns)
        return 0

    cdef int _index(self, channel_id) except -1:
        for i in range(self.h.channels_n):
            if self.h.channels[i].id == channel_id:
                return i
        raise KeyError(channel_id)

    def add_channel(self, uint32_t channel_id):
        """Make a channel known; the same one twice is one."""
        if mdp_channel_index(self.h, channel_id) < 0:
            raise ValueError(f"no room for channel {channel_id}: a handler has {MDP_MAX_CHANNELS}")

    def add_line(self, channel_id, feed, side):
        """A line of a channel; `side` 0 is A, 1 is B. Returns the number that its packets carry."""
        if side not in (0, 1):
            raise ValueError(f"side must be 0 (A) or 1 (B), not {side}")
        number = mdp_line_add(self.h, self._index(channel_id), _events.Feed(feed), side)
        if number < 0:
            raise ValueError(f"too many lines: {MDP_MAX_LINES} in all, 8 incremental ones a channel")
        return number

    def attach(self, WriterCore writer not None, WriterCore depth=None, WriterCore orders=None):
        """Publish into rings from here on. Instruments that the ring's table has already keep their ids.

        Raises `ValueError` for a ring of other records than ticks, depth and orders, in that order.
        """
        writer.check()
        _check_records("ticks", writer, self.h.out.slot)
        _check_records("depth", depth, self.h.depth_out.slot)
        _check_records("orders", orders, self.h.orders_out.slot)
        self._writers = (writer, depth, orders)
        self.h.out.ring = &writer.w
        self.h.depth_out.ring = &depth.w if depth is not None else NULL
        self.h.orders_out.ring = &orders.w if orders is not None else NULL
        self.sink.next[0] = &writer.w.next
        self.sink.next[1] = &depth.w.next if depth is not None else NULL
        self.sink.next[2] = &orders.w.next if orders is not None else NULL
        self.h.o.feed_index = writer.w.h.feed_index
        self.h.ring_instruments = <uint32_t>writer.w.h.instruments_count
        for place in range(self.h.ring_instruments):
            entry = writer.instrument_get(place)
            if entry is not None:
                self._inherit(entry[0], entry[1], entry[2])

    cdef int _inherit(self, uint32_t instrument_id, uint64_t vendor_id, uint32_t channel_id) except -1:
        for i in range(self.h.channels_n):
            if self.h.channels[i].id == channel_id:
                mdp_inherit(self.h, i, <int32_t>vendor_id, instrument_id)
        return 0

    def prefault(self):
        """Have the kernel give all memory now; else it comes page by page, as it is first used."""
        with nogil:
            mdp_prefault(self.h)

    def packet(self, line, const uint8_t[::1] payload not None, ts_recv_ns=_TIME_UNDEF, now_ns=None,
               ts_flags=0, source="", source_port=0):
        """One packet of a line, the payload of its datagram. Never raises for what the bytes hold."""
        cdef mdf_packet k
        if not 0 <= line < self.h.lines_n:
            raise ValueError(f"there is no line {line}")
        memset(&k, 0, sizeof(k))
        k.payload = &payload[0] if payload.shape[0] else NULL
        k.length = <uint32_t>payload.shape[0]
        k.line, k.ts_recv, k.ts_flags = line, ts_recv_ns, ts_flags
        k.now_ns = self.h.now_ns if now_ns is None else now_ns
        with nogil:
            mdp_on_packet(self.h, &k)
        self._check_memory()

    def timer(self, int64_t now_ns):
        """Let time pass: give up what was waited for too long, notice silence, wake readers."""
        with nogil:
            _on_burst_end(self.h, now_ns)
        self._check_memory()

    cdef int _check_memory(self) except -1:
        if self.h.out.failed or self.h.depth_out.failed or self.h.orders_out.failed:
            raise MemoryError("ticks were dropped: nobody takes them and memory is full")
        return 0

    def define(self, channel_id, definition, action="A"):
        """An instrument known from elsewhere (secdef.dat, a cache): see `Definition`."""
        cdef mdp_definition d
        memset(&d, 0, sizeof(d))
        d.security_id, d.action, d.total_reports = definition.security_id, ord(action), MDP_NULL_U32
        d.last_update, d.activation = definition.last_update, definition.activation
        d.expiration, d.tick_size = definition.expiration, definition.tick_size
        d.display_factor, d.multiplier = definition.display_factor, definition.multiplier
        d.high_limit, d.low_limit = definition.high_limit, definition.low_limit
        d.max_variation, d.depth = definition.max_variation, definition.depth
        d.implied_depth, d.trading_status = definition.implied_depth, definition.trading_status
        d.user_defined, d.channel = definition.user_defined, definition.channel
        _text(d.symbol, sizeof(d.symbol), definition.symbol)
        _text(d.group, sizeof(d.group), definition.group)
        _text(d.asset, sizeof(d.asset), definition.asset)
        _text(d.exchange, sizeof(d.exchange), definition.exchange)
        _text(d.currency, sizeof(d.currency), definition.currency)
        _text(d.security_type, sizeof(d.security_type), definition.security_type)
        _text(d.cfi, sizeof(d.cfi), definition.cfi)
        mdp_apply_definition(self.h, self._index(channel_id), &d)
        if self.h.staged:
            mdp_send(self.h, 0)

    def definitions(self):
        """What is known of all instruments that were defined and not deleted, chosen or not."""
        found = []
        cdef mdp_definition *d
        for i in range(self.h.instruments_n):
            if self.h.instruments[i].flags & (MDP_DEFINED | MDP_DELETED) != MDP_DEFINED:
                continue
            d = &self.h.definitions[i]
            found.append(_Definition(
                channel=self.h.channels[self.h.instruments[i].channel].id, security_id=d.security_id,
                symbol=_string(d.symbol), group=_string(d.group), asset=_string(d.asset),
                exchange=_string(d.exchange), currency=_string(d.currency),
                security_type=_string(d.security_type), cfi=_string(d.cfi), tick_size=d.tick_size,
                display_factor=d.display_factor, multiplier=d.multiplier, high_limit=d.high_limit,
                low_limit=d.low_limit, max_variation=d.max_variation, activation=d.activation,
                expiration=d.expiration, depth=d.depth, implied_depth=d.implied_depth,
                trading_status=d.trading_status, user_defined=bool(d.user_defined),
                last_update=d.last_update))
        return found

    cdef object _take(self, mdp_out *out, dtype):
        taken = np.empty(out.n, dtype)
        cdef uint8_t[::1] to
        if out.n:
            to = taken.view(np.uint8)
            memcpy(&to[0], out.kept, out.n * out.slot)
        out.n = 0
        return taken

    def take_ticks(self):
        """Ticks kept since the last call: dtype `TICK`, shape (n,). Empty while a ring is attached."""
        return self._take(&self.h.out, _TICK)

    def take_depth(self):
        """The same of dtype `DEPTH`."""
        return self._take(&self.h.depth_out, _DEPTH)

    def take_orders(self):
        """The same of dtype `ORDER`."""
        return self._take(&self.h.orders_out, _ORDER)

    def take_events(self):
        """Events since the last call, oldest first; at most 256, what came beyond is in `dropped_events`."""
        taken = []
        for i in range(self.h.told_n):
            told = self.h.told[i]
            channel = self.h.channels[told.channel].id
            taken.append(_events.Event(_events.EventCode(told.code), channel, told.line,
                                       told.security_id, told.first, told.last, told.ts_ns))
        self.h.told_n = 0
        memset(self.h.told_once, 0, 32 * sizeof(uint64_t))
        return taken

    @property
    def dropped_events(self):
        """Events that nobody took in time."""
        return self.h.told_dropped

    @property
    def counts(self):
        """Counts since the beginning, by the names of `COUNTS`."""
        cdef const uint64_t *value = <const uint64_t *>&self.h.count
        return {name: value[i] for i, name in enumerate(COUNTS)}

    @property
    def latency_ns(self):
        """ts_recv less SendingTime of the packet processed last; two clocks, so it may be negative."""
        return self.h.latest_latency_ns

    @property
    def doubted_since_ns(self):
        """When the first packet came of those that passed unused and may be of a new sequence, by `now_ns`.

        0: there are none. Who ends now has told nothing of them.
        """
        cdef int64_t since, first = 0
        for i in range(self.h.channels_n):
            since = mdp_doubted_since_ns(self.h.channels[i])
            if since and (not first or since < first):
                first = since
        return first

    def line_counts(self, line):
        """Counts of one line; `lost` is what this line did not bring, whether or not the other did."""
        if not 0 <= line < self.h.lines_n:
            raise ValueError(f"there is no line {line}")
        cdef mdp_line *at = &self.h.lines[line]
        return {"packets": at.packets, "bytes": at.bytes, "lost": at.lost, "late": at.late,
                "duplicates": at.duplicates, "malformed": at.malformed, "last_ns": at.last_ns}

    def state(self, channel_id):
        """Where the channel stands."""
        cdef mdp_channel *ch = self.h.channels[self._index(channel_id)]
        name = "SYNC"
        if not ch.started:
            name = "INIT"
        elif ch.silent:
            name = "SILENT"
        elif ch.buffered:
            name = "GAP"
        elif ch.unproven:
            name = "RECOVERING"
        return _events.ChannelState(name, ch.next, ch.open_gaps, ch.buffered, ch.instruments, ch.unproven,
                                    ch.unproven_mbo, bool(ch.definitions_whole))

    def needs_recovery(self, channel_id):
        """Whether the snapshot lines can help: some book is not proven."""
        cdef mdp_channel *ch = self.h.channels[self._index(channel_id)]
        return ch.unproven > 0 or (self.h.orders != NULL and ch.unproven_mbo > 0)

    def needs_definitions(self, channel_id):
        """Whether the definition line can help: no whole loop was seen since the start or the last gap."""
        return not self.h.channels[self._index(channel_id)].definitions_whole

    def security_ids(self, channel_id):
        """SecurityIDs of the instruments chosen, newest first."""
        found, at = [], self.h.channels[self._index(channel_id)].first_instrument
        while at != MDP_NONE:
            if self.h.instruments[at].flags & MDP_SELECTED:
                found.append(self.h.instruments[at].security_id)
            at = self.h.instruments[at].next_in_channel
        return found

    cdef mdp_instrument *_instrument(self, channel_id, security_id) except NULL:
        cdef uint32_t at = mdp_find(self.h, self._index(channel_id), security_id)
        if at == MDP_NONE:
            raise KeyError(security_id)
        return &self.h.instruments[at]

    def book(self, channel_id, security_id):
        """The book of price levels; `KeyError` for an instrument never seen."""
        cdef mdp_instrument *b = self._instrument(channel_id, security_id)
        cdef mdp_channel *ch = self.h.channels[b.channel]
        return _events.Book(
            _levels(b, MDP_BIDS), _levels(b, MDP_ASKS),
            _levels(b, MDP_IMPLIED_BIDS), _levels(b, MDP_IMPLIED_ASKS),
            mdp_rpt_of(b), _STATES[b.state], not mdp_is_proven(ch, b), b.instrument_id, b.trading_status)

    def order_book(self, channel_id, security_id):
        """The book of orders; `KeyError` for an instrument never seen, `ValueError` if orders are off."""
        cdef mdp_instrument *b = self._instrument(channel_id, security_id)
        cdef mdp_channel *ch = self.h.channels[b.channel]
        if self.h.orders == NULL:
            raise ValueError("this handler keeps no orders")
        cdef uint32_t at = b.first_order
        cdef mdp_order *o
        bids, asks = [], []
        while at != MDP_NONE:
            o = &self.h.orders.pool[at]
            (bids if o.side == MDF_SIDE_BID else asks).append((o.id, o.priority, o.price, o.size))
            at = o.next
        bids.sort(key=lambda order: (-order[2], order[1]))
        asks.sort(key=lambda order: (order[2], order[1]))
        return _events.OrderBook(bids, asks, not mdp_is_mbo_proven(ch, b))


cdef int _check_records(str what, WriterCore writer, size_t size) except -1:
    cdef size_t found = size if writer is None else writer.w.words * sizeof(uint64_t)
    if found != size:
        raise ValueError(f"{what}: the ring has records of {found} bytes, not {size}")
    return 0


cdef int _text(char *to, size_t size, str text) except -1:
    cdef bytes raw = text.encode()
    if <size_t>len(raw) >= size:
        raise ValueError(f"{text!r} is longer than {size - 1} bytes")
    memcpy(to, <const char *>raw, len(raw))
    return 0


cdef str _string(const char *text):
    return text.decode("ascii", "ignore")


cdef void _on_packet(void *context, const mdf_packet *k) noexcept nogil:
    mdp_on_packet(<mdp_handler *>context, k)


cdef int _on_burst_end(void *context, int64_t now_ns) noexcept nogil:
    cdef mdp_handler *h = <mdp_handler *>context
    mdp_on_time(h, now_ns)
    if h.out.ring != NULL:
        mdf_flush(h.out.ring)
    if h.depth_out.ring != NULL:
        mdf_flush(h.depth_out.ring)
    if h.orders_out.ring != NULL:
        mdf_flush(h.orders_out.ring)
    return h.told_n != 0
