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
    mdf_tick *t = mdp_tick_of(h, ch, b->instrument_id, time, flags | mdp_flags_of(ch, b), MDF_STATISTIC);
    t->payload.statistic.price = s.price;
    t->payload.statistic.quantity = s.quantity;
    t->payload.statistic.ts_ref_s = s.date == MDP_NULL_U16 ? 0 : s.date * MDP_SECONDS_A_DAY;
    t->payload.statistic.type = s.type;
    t->payload.statistic.update_action = s.deleted ? 2 : 1;
    t->payload.statistic.stat_flags = s.settlement;
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
static inline void mdp_advance_only(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint32_t rpt, uint64_t time) {
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

typedef struct mdp_entry {
    int32_t security_id;
    uint32_t rpt;
    uint8_t level, action, type;
    mdp_level to;
} mdp_entry;

MDP_COLD void mdp_other_entry(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_entry *e, uint64_t time) {
    if (e->type != MDP_BOOK_RESET) {
        mdp_advance_only(h, ch, b, e->rpt, time); /* market best bid and offer: no level of the book */
        return;
    }
    /* Nothing of the book is left that could be wrong: it is right, and empty. Unless a snapshot has told already of
     * what came after it. */
    if (h->packet > b->ahead || (h->packet == b->ahead && e->rpt > b->rpt)) {
        b->rpt = e->rpt;
        mdp_forget_known(b);
        mdp_prove(h, ch, b);
        mdp_clear_book(h, ch, b, time, 0);
    }
    if (h->orders) mdp_orders_reset(h, ch, b, time); /* no level, no order */
}

MDP_HOT void mdp_book_entry(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_entry *e, uint64_t time) {
    int side = mdp_side_of(e->type);
    if (side < 0) {
        mdp_other_entry(h, ch, b, e, time);
        return;
    }
    if (!mdp_advance(h, ch, b, e->rpt)) return;
    if (b->state != MDP_SYNC && ch->snapshot_lines)
        mdp_note_update(h, b, (mdp_note){time, e->to.price, 0, h->packet, e->rpt, mdp_size_of(&e->to), mdp_orders_of(&e->to), e->action,
                                         e->level, (uint8_t)side, 0});
    if (side >= MDP_IMPLIED_BIDS) b->flags |= MDP_HAS_IMPLIED;
    b->time = time;
    if (mdp_update_side(b, (unsigned)side, e->action, e->level, e->to)) mdp_contradict(h, ch, b);
    mdp_in_event(h, ch, b);
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

MDP_HOT mdp_entry mdp_entry_of(const uint8_t *e, int old, int longqty) {
    mdp_entry x;
    uint32_t size, orders;
    if (longqty) {
        size = mdp_known_long(mdp_u64(e + MDP_BookLongQty_MDEntrySize));
        x.security_id = mdp_i32(e + MDP_BookLongQty_SecurityID);
        x.rpt = mdp_u32(e + MDP_BookLongQty_RptSeq);
        orders = mdp_u32(e + MDP_BookLongQty_NumberOfOrders);
        x.level = e[MDP_BookLongQty_MDPriceLevel];
        x.action = e[MDP_BookLongQty_MDUpdateAction];
        x.type = e[MDP_BookLongQty_MDEntryType];
    } else {
        size = mdp_known(mdp_u32(e + MDP_Book_MDEntrySize));
        x.security_id = mdp_i32(e + MDP_Book_SecurityID);
        x.rpt = mdp_u32(e + MDP_Book_RptSeq);
        orders = mdp_u32(e + MDP_Book_NumberOfOrders);
        x.level = e[MDP_Book_MDPriceLevel];
        x.action = e[MDP_Book_MDUpdateAction];
        x.type = e[MDP_Book_MDEntryType];
    }
    x.to = mdp_level_of(mdp_price(e + MDP_Book_MDEntryPx, old), size, mdp_known(orders));
    return x;
}

MDP_HOT void mdp_on_book(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m, uint64_t time,
                               int old, int longqty) {
    mdp_group entries, orders;
    const uint8_t *at = mdp_group_at(m->groups, m->end, MDP_Book_NoMDEntries_DIMENSION, &entries);
    mdp_instrument *b = NULL;
    int32_t security_id = 0;
    uint64_t mine = 0;
    for (uint32_t i = 0; i < entries.count; i++) {
        mdp_entry e = mdp_entry_of(entries.entry + (size_t)i * entries.length, old, longqty);
        if (!b || e.security_id != security_id) {
            b = mdp_instrument_of(h, channel, e.security_id);
            security_id = e.security_id;
        }
        if (!b) continue;
        mdp_book_entry(h, ch, b, &e, time);
        mine++;
    }
    h->count.entries += mine;
    if (!h->orders || at >= m->end || m->version < h->shapes[m->template_id].group[1].since) return;
    mdp_group_at(at, m->end, MDP_Book_NoOrderIDEntries_DIMENSION, &orders);
    mdp_book_orders(h, ch, channel, &entries, &orders, time, old, longqty);
}

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
        t.size = mdp_u32(e + MDP_Trade_MDEntrySize);
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
        t.size = mdp_u32(e + MDP_TradeSummary_MDEntrySize);
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
    if (t->action > MDP_DELETE) {
        h->count.entry_faults++;
        return;
    }
    unsigned flags = mdp_flags_of(ch, b);
    uint32_t size = mdp_saturate(t->size, &flags);
    mdf_tick *k = mdp_tick_of(h, ch, b->instrument_id, time, flags, kinds[t->action]);
    k->side = mdp_aggressor_side(t->aggressor);
    k->count = t->orders;
    k->payload.trade.price = t->price;
    k->payload.trade.trade_id = t->trade_id;
    k->payload.trade.size = size;
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
