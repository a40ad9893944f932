/* Messages of the incremental lines: entries into books, ticks out. The packet has passed mdp_check(). */
#ifndef MDP_DECODE_H
#define MDP_DECODE_H

#include "mdp_event.h"

#define MDP_SECONDS_A_DAY 86400u

/* Statistic types as DBN numbers them. */
enum mdp_statistic_type {
    MDP_STAT_OPEN = 1, MDP_STAT_INDICATIVE_OPEN = 2, MDP_STAT_SETTLEMENT = 3, MDP_STAT_LOW = 4, MDP_STAT_HIGH = 5,
    MDP_STAT_CLEARED_VOLUME = 6, MDP_STAT_LOWEST_OFFER = 7, MDP_STAT_HIGHEST_BID = 8, MDP_STAT_OPEN_INTEREST = 9,
    MDP_STAT_FIXING = 10, MDP_STAT_VWAP = 13, MDP_STAT_UPPER_LIMIT = 17, MDP_STAT_LOWER_LIMIT = 18,
    MDP_STAT_ELECTRONIC_VOLUME = 10001, MDP_STAT_MAX_VARIATION = 10002,
};

typedef struct mdp_statistic {
    int64_t price, quantity; /* MDF_PRICE_UNDEF: not given */
    uint32_t date;           /* days since the epoch; MDP_NULL_U16: none */
    uint16_t type;
    uint8_t deleted, settlement;
} mdp_statistic;

static inline int64_t mdp_quantity_i32(uint32_t raw) { return raw == (uint32_t)MDP_NULL_I32 ? MDF_PRICE_UNDEF : (int64_t)(int32_t)raw; }
static inline int64_t mdp_quantity_u64(uint64_t raw) { return raw > INT64_MAX ? MDF_PRICE_UNDEF : (int64_t)raw; }

static inline void mdp_tick_statistic(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint64_t time, unsigned flags,
                                      mdp_statistic s) {
    mdf_tick t = mdp_tick_of(MDF_STATISTIC);
    t.payload.statistic.price = s.price;
    t.payload.statistic.quantity = s.quantity;
    t.payload.statistic.ts_ref_s = s.date == MDP_NULL_U16 ? 0 : s.date * MDP_SECONDS_A_DAY;
    t.payload.statistic.type = s.type;
    t.payload.statistic.update_action = s.deleted ? 2 : 1;
    t.payload.statistic.stat_flags = s.settlement;
    mdp_stage(h, ch, b->instrument_id, time, flags | mdp_flags_of(ch, b), &t);
    h->count.others++;
}

/* DBN's number of an entry type; 0 for one that is no statistic. */
static inline uint16_t mdp_statistic_type(uint8_t type, uint8_t open_close) {
    switch (type) {
    case MDP_OPEN_PRICE: return open_close == MDP_INDICATIVE_OPENING_PRICE ? MDP_STAT_INDICATIVE_OPEN : MDP_STAT_OPEN;
    case MDP_SETTLEMENT_PRICE: return MDP_STAT_SETTLEMENT;
    case MDP_HIGH_TRADE: return MDP_STAT_HIGH;
    case MDP_LOW_TRADE: return MDP_STAT_LOW;
    case MDP_VWAP: return MDP_STAT_VWAP;
    case MDP_CLEARED_VOLUME: return MDP_STAT_CLEARED_VOLUME;
    case MDP_OPEN_INTEREST: return MDP_STAT_OPEN_INTEREST;
    case MDP_HIGHEST_BID: return MDP_STAT_HIGHEST_BID;
    case MDP_LOWEST_OFFER: return MDP_STAT_LOWEST_OFFER;
    case MDP_FIXING_PRICE: return MDP_STAT_FIXING;
    case MDP_ELECTRONIC_VOLUME: return MDP_STAT_ELECTRONIC_VOLUME;
    default: return 0;
    }
}

/* An entry that changes no book moves RptSeq all the same. */
MDP_COLD void mdp_advance_only(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint32_t rpt, uint64_t time) {
    if (mdp_advance(h, ch, b, rpt) && b->state != MDP_SYNC && ch->snapshot_lines)
        mdp_note_update(h, b, (mdp_note){time, 0, 0, h->packet, rpt, 0, 0, MDP_NOTE_ONLY, 0, 0, 0});
}

/* The instrument of such an entry; NULL if nobody wants it. */
static inline mdp_instrument *mdp_other_entry_of(mdp_handler *h, mdp_channel *ch, uint32_t channel, int32_t security_id,
                                                 uint32_t rpt, uint64_t time) {
    mdp_instrument *b = mdp_instrument_of(h, channel, security_id);
    if (!b) return NULL;
    h->count.entries++;
    mdp_advance_only(h, ch, b, rpt, time);
    return b;
}

/* ----------------------------------------------------------------------------------------------------- book */

/* How book entries come: the twin of an old template counts prices in 1e-9, the LongQty one has sizes of 64 bits. */
enum mdp_form { MDP_NOW, MDP_OLD, MDP_LONG };

/* Where the fields are that the forms have in different places. */
#define MDP_AT(form, field) ((form) == MDP_LONG ? (unsigned)MDP_BookLongQty_##field : (unsigned)MDP_Book_##field)

/* SecurityID and, above it, RptSeq: as mdp_instrument.next. */
MDP_HOT uint64_t mdp_next_in(const uint8_t *e, int form) { return mdp_u64(e + MDP_AT(form, SecurityID)); }

MDP_HOT int64_t mdp_price_in(const uint8_t *e, int form) { return mdp_price(e + MDP_Book_MDEntryPx, form == MDP_OLD); }

MDP_HOT mdp_level mdp_level_in(const uint8_t *e, int form, int64_t price) {
    uint32_t size = form == MDP_LONG ? mdp_known_long(mdp_u64(e + MDP_BookLongQty_MDEntrySize))
                                     : mdp_known(mdp_u32(e + MDP_Book_MDEntrySize));
    return mdp_level_of(price, size, mdp_known(mdp_u32(e + MDP_AT(form, NumberOfOrders))));
}

/* Whether the entry has a size that no level can have. */
MDP_HOT unsigned mdp_is_negative(const uint8_t *e, int form) {
    return form == MDP_LONG ? 0 : mdp_u32(e + MDP_Book_MDEntrySize) >> 31;
}

MDP_COLD void mdp_other_entry(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint8_t type, uint32_t rpt,
                              uint64_t time) {
    if (type != MDP_BOOK_RESET) {
        mdp_advance_only(h, ch, b, rpt, time); /* market best bid and offer: no level of the book */
        return;
    }
    /* Nothing of the book is left that could be wrong: it is right, and empty. Unless a snapshot has told already of
     * what came after it. */
    if (h->packet > b->ahead || (h->packet == b->ahead && rpt > mdp_rpt_of(b))) {
        b->next_rpt = rpt + 1;
        mdp_forget_known(b);
        mdp_prove(h, ch, b);
        mdp_clear_book(h, ch, b, time, 0);
    }
    if (h->orders) mdp_orders_reset(h, ch, b, time); /* no level, no order */
}

/* The instrument of an entry that cannot simply be applied; NULL if it is not to be applied. */
MDP_COLD mdp_instrument *mdp_entry_in_doubt(mdp_handler *h, mdp_channel *ch, const uint8_t *e, uint64_t time,
                                            int form) {
    uint64_t next = mdp_next_in(e, form);
    uint32_t rpt = (uint32_t)(next >> 32);
    uint8_t type = e[MDP_AT(form, MDEntryType)];
    mdp_instrument *b = mdp_instrument_of(h, ch->index, (int32_t)(uint32_t)next);
    if (!b) {
        h->count.entries--;
        return NULL;
    }
    if (mdp_is_level(&mdp_kinds[type])) return mdp_advance(h, ch, b, rpt) ? b : NULL;
    mdp_other_entry(h, ch, b, type, rpt, time);
    return NULL;
}

/* An update of a book that is not right, and for which there may come a snapshot. */
static inline void mdp_note_entry(mdp_handler *h, mdp_instrument *b, const uint8_t *e, uint64_t time, int form) {
    mdp_level to = mdp_level_in(e, form, mdp_price_in(e, form));
    uint32_t rpt = (uint32_t)(mdp_next_in(e, form) >> 32);
    mdp_note_update(h, b, (mdp_note){time, to.price, 0, h->packet, rpt, mdp_size_of(&to), mdp_orders_of(&to),
                                     e[MDP_AT(form, MDUpdateAction)], e[MDP_AT(form, MDPriceLevel)],
                                     e[MDP_AT(form, MDEntryType)], 0});
}

/* An update that is rare, or for which there is no level. */
MDP_COLD void mdp_entry_rarely(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const uint8_t *e, uint64_t time,
                               int form) {
    const mdp_kind *kind = &mdp_kinds[e[MDP_AT(form, MDEntryType)]];
    if (b->state != MDP_SYNC && ch->snapshot_lines) mdp_note_entry(h, b, e, time, form);
    mdp_level to = mdp_level_in(e, form, mdp_price_in(e, form));
    if (mdp_update_side(b, kind, e[MDP_AT(form, MDUpdateAction)], e[MDP_AT(form, MDPriceLevel)], to))
        mdp_contradict(h, ch, b);
}

/* An update after which the book is right no more, or was not right before. */
MDP_COLD void mdp_entry_of_doubtful(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const uint8_t *e, uint64_t time,
                                    int form) {
    if (b->state == MDP_SYNC) mdp_contradict(h, ch, b);
    else mdp_note_entry(h, b, e, time, form);
}

MDP_HOT void mdp_book_entry(mdp_handler *h, mdp_channel *ch, const uint8_t *e, uint64_t time, int form) {
    uint64_t next = mdp_next_in(e, form);
    mdp_instrument *b = mdp_quick_of(ch, next);
    const mdp_kind *kind = &mdp_kinds[e[MDP_AT(form, MDEntryType)]];
    if (MDP_LIKELY(b && mdp_is_level(kind))) b->next = next + (UINT64_C(1) << 32);
    else if (!(b = mdp_entry_in_doubt(h, ch, e, time, form))) return;
    b->time = time;
    mdp_in_event(ch, b);
    unsigned action = e[MDP_AT(form, MDUpdateAction)], level = e[MDP_AT(form, MDPriceLevel)];
    if (MDP_UNLIKELY(level - 1 >= mdp_depth_of(b, kind->side) || action > MDP_DELETE)) {
        mdp_entry_rarely(h, ch, b, e, time, form);
        return;
    }
    int64_t price = mdp_price_in(e, form);
    int doubtful = b->state == MDP_SYNC ? mdp_is_odd(b, kind, action, level, price) | (int)mdp_is_negative(e, form)
                                        : ch->snapshot_lines != 0;
    mdp_level *to = &b->level[mdp_place_for(b, kind, action, level)];
    *to = action == MDP_DELETE ? mdp_empty() : mdp_level_in(e, form, price);
    if (MDP_UNLIKELY(doubtful)) mdp_entry_of_doubtful(h, ch, b, e, time, form);
}

/* Order ids of a book message: each refers to an entry of the same message, counted from 1. */
static inline void mdp_book_orders(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_group *entries,
                                   const mdp_group *orders, uint64_t time, int old, int longqty) {
    for (uint32_t i = 0; i < orders->count; i++) {
        const uint8_t *o = orders->entry + (size_t)i * orders->length;
        uint32_t reference = o[MDP_Book_ReferenceID];
        if (reference == MDP_NULL_U8 || !reference || reference > entries->count || o[MDP_Book_OrderUpdateAction] > MDP_DELETE) {
            h->count.order_faults++;
            continue;
        }
        const uint8_t *e = entries->entry + (size_t)(reference - 1) * entries->length;
        uint8_t type = e[longqty ? MDP_BookLongQty_MDEntryType : MDP_Book_MDEntryType];
        int32_t security_id = mdp_i32(e + (longqty ? MDP_BookLongQty_SecurityID : MDP_Book_SecurityID));
        mdp_instrument *b = mdp_instrument_of(h, channel, security_id);
        if (!b || (type != MDP_BID && type != MDP_OFFER)) continue;
        mdp_order n = mdp_order_of(mdp_u64(o + MDP_Book_OrderID), mdp_u64(o + MDP_Book_MDOrderPriority),
                                   mdp_price(e + MDP_Book_MDEntryPx, old), mdp_known(mdp_u32(o + MDP_Book_MDDisplayQty)), type);
        n.action = o[MDP_Book_OrderUpdateAction];
        mdp_order_entry(h, ch, b, &n, time);
    }
}

/* Orders of a book message, behind its entries. */
MDP_COLD void mdp_on_book_orders(mdp_handler *h, mdp_channel *ch, const uint8_t *at, uint64_t time, int form) {
    mdp_group entries, orders;
    mdp_message m;
    mdp_message_at(at, &m);
    at = mdp_group_at(m.groups, m.end, MDP_Book_NoMDEntries_DIMENSION, &entries);
    if (at >= m.end || m.version < h->shapes[m.template_id].group[1].since) return;
    mdp_group_at(at, m.end, MDP_Book_NoOrderIDEntries_DIMENSION, &orders);
    mdp_book_orders(h, ch, ch->index, &entries, &orders, time, form == MDP_OLD, form == MDP_LONG);
}

/* The message at `at`, whose entries are at `group`. */
typedef void mdp_on_book_of(mdp_handler *h, mdp_channel *ch, const uint8_t *at, const uint8_t *group, uint64_t time);

MDP_HOT void mdp_on_book(mdp_handler *h, mdp_channel *ch, const uint8_t *at, const uint8_t *group, uint64_t time,
                         int form) {
    size_t length = mdp_u16(group), count = group[MDP_Book_NoMDEntries_DIMENSION - 1];
    const uint8_t *e = group + MDP_Book_NoMDEntries_DIMENSION, *end = e + length * count;
    h->count.entries += count;
    for (; e < end; e += length) mdp_book_entry(h, ch, e, time, form);
    if (MDP_UNLIKELY(h->orders != NULL)) mdp_on_book_orders(h, ch, at, time, form);
}

/* Each form has its own code, in which it is a constant. */
#define MDP_ON_BOOK(name, form)                                                                                   \
    MDP_APART void name(mdp_handler *h, mdp_channel *ch, const uint8_t *at, const uint8_t *group, uint64_t time) { \
        mdp_on_book(h, ch, at, group, time, form);                                                                \
    }
MDP_ON_BOOK(mdp_on_book_now, MDP_NOW)
MDP_ON_BOOK(mdp_on_book_old, MDP_OLD)
MDP_ON_BOOK(mdp_on_book_long, MDP_LONG)
#undef MDP_ON_BOOK

/* Templates 47 and 43: orders whose change does not change a price level. */
static inline void mdp_on_order_book(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m,
                                     uint64_t time, int old) {
    mdp_group g;
    mdp_group_at(m->groups, m->end, MDP_OrderBook_NoMDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        const uint8_t *e = g.entry + (size_t)i * g.length;
        uint8_t type = e[MDP_OrderBook_MDEntryType];
        mdp_instrument *b = mdp_instrument_of(h, channel, mdp_i32(e + MDP_OrderBook_SecurityID));
        if (!b) continue;
        h->count.entries++;
        if (!h->orders) continue;
        if (type == MDP_BOOK_RESET) {
            mdp_orders_reset(h, ch, b, time);
            continue;
        }
        if ((type != MDP_BID && type != MDP_OFFER) || e[MDP_OrderBook_MDUpdateAction] > MDP_DELETE) {
            h->count.order_faults++;
            continue;
        }
        mdp_order n = mdp_order_of(mdp_u64(e + MDP_OrderBook_OrderID), mdp_u64(e + MDP_OrderBook_MDOrderPriority),
                                   mdp_price(e + MDP_OrderBook_MDEntryPx, old), mdp_known(mdp_u32(e + MDP_OrderBook_MDDisplayQty)),
                                   type);
        n.action = e[MDP_OrderBook_MDUpdateAction];
        mdp_order_entry(h, ch, b, &n, time);
    }
}

/* --------------------------------------------------------------------------------------------------- trades */

typedef struct mdp_trade {
    int64_t price;
    uint64_t size;
    int32_t security_id;
    uint32_t rpt, orders, trade_id; /* orders, trade_id: 0 unknown */
    uint8_t aggressor, action;
} mdp_trade;

static inline mdp_trade mdp_trade_of(const uint8_t *e, const mdp_message *m, unsigned length, int old, int longqty) {
    mdp_trade t;
    t.price = mdp_price(e + MDP_TradeSummary_MDEntryPx, old);
    t.trade_id = 0;
    if (m->template_id == MDP_T_Trade) {
        t.size = (uint64_t)mdp_i32(e + MDP_Trade_MDEntrySize);
        t.security_id = mdp_i32(e + MDP_Trade_SecurityID);
        t.rpt = mdp_u32(e + MDP_Trade_RptSeq);
        t.orders = mdp_u32(e + MDP_Trade_NumberOfOrders);
        t.trade_id = mdp_u32(e + MDP_Trade_TradeID);
        t.aggressor = e[MDP_Trade_AggressorSide];
        t.action = e[MDP_Trade_MDUpdateAction];
    } else if (longqty) {
        t.size = mdp_u64(e + MDP_TradeSummaryLongQty_MDEntrySize);
        t.security_id = mdp_i32(e + MDP_TradeSummaryLongQty_SecurityID);
        t.rpt = mdp_u32(e + MDP_TradeSummaryLongQty_RptSeq);
        t.orders = mdp_u32(e + MDP_TradeSummaryLongQty_NumberOfOrders);
        t.trade_id = mdp_u32(e + MDP_TradeSummaryLongQty_MDTradeEntryID);
        t.aggressor = e[MDP_TradeSummaryLongQty_AggressorSide];
        t.action = e[MDP_TradeSummaryLongQty_MDUpdateAction];
    } else {
        t.size = (uint64_t)mdp_i32(e + MDP_TradeSummary_MDEntrySize);
        t.security_id = mdp_i32(e + MDP_TradeSummary_SecurityID);
        t.rpt = mdp_u32(e + MDP_TradeSummary_RptSeq);
        t.orders = mdp_u32(e + MDP_TradeSummary_NumberOfOrders);
        if (MDP_HAS(TradeSummary, MDTradeEntryID, m->version, length)) t.trade_id = mdp_u32(e + MDP_TradeSummary_MDTradeEntryID);
        t.aggressor = e[MDP_TradeSummary_AggressorSide];
        t.action = e[MDP_TradeSummary_MDUpdateAction];
    }
    if (t.trade_id == MDP_NULL_U32) t.trade_id = 0;
    t.orders = mdp_known(t.orders);
    return t;
}

static inline uint8_t mdp_aggressor_side(uint8_t aggressor) {
    return aggressor == MDP_BUY ? MDF_SIDE_BID : aggressor == MDP_SELL ? MDF_SIDE_ASK : MDF_SIDE_NONE;
}

static inline void mdp_tick_trade(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_trade *t, uint64_t time) {
    static const uint8_t kinds[3] = {MDF_TRADE, MDF_TRADE_CORRECTION, MDF_TRADE_CANCEL};
    if (t->action > MDP_DELETE || t->size > INT64_MAX) { /* a size below 0 is none */
        h->count.entry_faults++;
        mdp_tell_once(h, MDP_TOLD_ENTRY_FAULT, b->channel, b->security_id, h->packet);
        return;
    }
    unsigned flags = mdp_flags_of(ch, b);
    uint32_t size = mdp_saturate(t->size, &flags);
    mdf_tick k = mdp_tick_of(kinds[t->action]);
    k.side = mdp_aggressor_side(t->aggressor);
    k.count = t->orders;
    k.payload.trade.price = t->price;
    k.payload.trade.trade_id = t->trade_id;
    k.payload.trade.size = size;
    mdp_stage(h, ch, b->instrument_id, time, flags, &k);
    h->count.trades++;
}

static inline void mdp_on_trades(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m, uint64_t time,
                                 int old, int longqty) {
    mdp_group g;
    const uint8_t *at = mdp_group_at(m->groups, m->end, MDP_TradeSummary_NoMDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        mdp_trade t = mdp_trade_of(g.entry + (size_t)i * g.length, m, g.length, old, longqty);
        mdp_instrument *b = mdp_other_entry_of(h, ch, channel, t.security_id, t.rpt, time);
        if (b) mdp_tick_trade(h, ch, b, &t, time);
        if (h->orders)
            mdp_fill_expect(h, channel, (mdp_fill){b ? (uint32_t)(b - h->instruments) : MDP_NONE, t.orders, t.trade_id,
                                                   mdp_aggressor_side(t.aggressor), 0, {0}, t.price});
    }
    if (!h->orders || at >= m->end || m->template_id == MDP_T_Trade) return;
    mdp_group_at(at, m->end, MDP_TradeSummary_NoOrderIDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        const uint8_t *o = g.entry + (size_t)i * g.length;
        mdp_fill_order(h, channel, time, mdp_u64(o + MDP_TradeSummary_OrderID), mdp_u32(o + MDP_TradeSummary_LastQty));
    }
}

#endif
