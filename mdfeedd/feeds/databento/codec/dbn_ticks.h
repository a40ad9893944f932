/* dbn_ticks.h: part of dbn.h. One record of each kind into its ticks or its bar.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Undefined prices stay undefined, undefined times become MDF_TIME_UNDEF, undefined sizes and counts 0. A trade
 * leaves the touch alone: the book change it causes follows in its own record.
 */
#ifndef MDFEEDD_DBN_H
#error "include dbn.h"
#endif

/* Bit by bit without a branch: updates alternate between ends of events and not. */
static inline uint16_t dbn_flags(uint8_t f) {
    return (uint16_t)((f >> 7) * MDF_EVENT_END | (f >> 5 & 1) * MDF_SNAPSHOT | (f >> 2 & 1) * MDF_STALE |
                      (f >> 3 & 1) * MDF_BAD_TS);
}

static inline uint8_t dbn_side_code(char side) {
    return (uint8_t)((side == 'B') * MDF_SIDE_BID + (side == 'A') * MDF_SIDE_ASK);
}

static inline uint32_t dbn_size(uint32_t size) { return size == DBN_SIZE_UNDEF ? 0 : size; }

/* The common fields of the next tick; its payload is zero. */
static inline mdf_tick *dbn_tick(const dbn_decoder *s, dbn_output *out, const dbn_instrument *e, uint8_t kind,
                                 uint64_t ts_event, uint64_t ts_recv) {
    mdf_tick *t = &out->ticks[out->ticks_n++];
    int replayed = s->arrival_ns == MDF_TIME_UNDEF;
    t->seq = 0;
    t->ts_event = dbn_time(ts_event);
    t->ts_recv = replayed ? dbn_time(ts_recv) : s->arrival_ns;
    t->instrument_id = e->instrument_id;
    t->kind = kind;
    t->side = MDF_SIDE_NONE;
    t->flags = replayed ? MDF_REPLAYED : 0;
    t->venue_seq = 0;
    t->count = 0;
    memset(&t->payload, 0, sizeof t->payload);
    return t;
}

static inline void dbn_quote(mdf_tick *t, const dbn_level *l) {
    t->payload.quote.bid_price = l->bid_px;
    t->payload.quote.ask_price = l->ask_px;
    t->payload.quote.bid_size = l->bid_px == DBN_PRICE_UNDEF ? 0 : dbn_size(l->bid_sz);
    t->payload.quote.ask_size = l->ask_px == DBN_PRICE_UNDEF ? 0 : dbn_size(l->ask_sz);
}

static inline void dbn_trade_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_trade *r,
                                  uint32_t sequence) {
    mdf_tick *t = dbn_tick(s, out, e, MDF_TRADE, r->hd.ts_event, r->ts_recv);
    t->side = dbn_side_code(r->side);
    t->flags |= dbn_flags(r->flags);
    t->venue_seq = sequence;
    t->payload.trade.price = r->price;
    t->payload.trade.size = dbn_size(r->size);
    s->count.trades++;
}

static inline void dbn_clear_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_trade *r,
                                  uint32_t sequence) {
    mdf_tick *t = dbn_tick(s, out, e, MDF_CLEAR, r->hd.ts_event, r->ts_recv);
    t->flags |= dbn_flags(r->flags);
    t->venue_seq = sequence;
    s->count.others++;
}

static inline void dbn_quote_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_mbp_1 *r,
                                  uint32_t sequence, int counts) {
    mdf_tick *t = dbn_tick(s, out, e, MDF_QUOTE, r->base.hd.ts_event, r->base.ts_recv);
    t->side = dbn_side_code(r->base.side);
    t->flags |= dbn_flags(r->base.flags);
    t->venue_seq = sequence;
    if (counts && t->side) t->count = dbn_size(t->side == MDF_SIDE_BID ? r->level.bid_ct : r->level.ask_ct);
    dbn_quote(t, &r->level);
    s->count.quotes++;
}

/* Does the touch differ from the one told last? Remembers it. */
static inline int dbn_touch_moved(dbn_instrument *e, const dbn_level *l) {
    dbn_touch t = {l->bid_px, l->ask_px, l->bid_sz, l->ask_sz, l->bid_ct, l->ask_ct};
    if (e->key & DBN_TOUCHED && dbn_same_touch(&e->touch, &t)) return 0;
    e->key |= DBN_TOUCHED;
    e->touch = t;
    return 1;
}

/* mbp-1, mbp-10 and cmbp-1 by action. `counts`: the level has order counts and the record a sequence. */
static inline void dbn_book_update(dbn_decoder *s, dbn_output *out, dbn_instrument *e, const dbn_mbp_1 *r, int counts,
                                   int changes_only) {
    uint32_t sequence = counts ? r->base.sequence : 0;
    switch (r->base.action) {
    case 'A': case 'C': case 'M': case 'N':
        if (changes_only && !dbn_touch_moved(e, &r->level)) s->count.skipped++;
        else dbn_quote_tick(s, out, e, r, sequence, counts);
        break;
    case 'T':
        dbn_trade_tick(s, out, e, &r->base, sequence);
        break;
    case 'R':
        e->key &= ~DBN_TOUCHED;
        dbn_clear_tick(s, out, e, &r->base, sequence);
        break;
    case 'F': /* the passive half of a trade */
        s->count.skipped++;
        break;
    default:
        s->count.malformed++;
    }
}

/* tbbo and tcbbo: the touch before the trade, then the trade. */
static inline void dbn_trade_with_touch(dbn_decoder *s, dbn_output *out, dbn_instrument *e, const dbn_mbp_1 *r,
                                        int counts) {
    if (r->base.action != 'T') {
        dbn_book_update(s, out, e, r, counts, 0);
        return;
    }
    uint32_t sequence = counts ? r->base.sequence : 0;
    dbn_quote_tick(s, out, e, r, sequence, 0);
    mdf_tick *t = &out->ticks[out->ticks_n - 1];
    t->side = MDF_SIDE_NONE;
    t->flags = (uint16_t)(t->flags & ~MDF_EVENT_END);
    dbn_trade_tick(s, out, e, &r->base, sequence);
}

/* bbo and cbbo: the touch at the end of an interval; price and side are those of the last trade. */
static inline void dbn_interval_touch(dbn_decoder *s, dbn_output *out, dbn_instrument *e, const dbn_mbp_1 *r, int counts) {
    mdf_tick *t = dbn_tick(s, out, e, MDF_QUOTE, r->base.ts_recv, r->base.ts_recv);
    t->flags |= dbn_flags(r->base.flags);
    t->venue_seq = counts ? r->base.sequence : 0;
    dbn_quote(t, &r->level);
    s->count.quotes++;
}

static inline uint8_t dbn_tri_state(char c) { return c == 'Y' ? 1 : c == 'N' ? 2 : 0; }

static inline void dbn_status_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_status *r) {
    mdf_tick *t = dbn_tick(s, out, e, MDF_STATUS, r->hd.ts_event, r->ts_recv);
    t->payload.status.state = r->action;
    t->payload.status.reason = r->reason;
    t->payload.status.trading_event = r->trading_event;
    t->payload.status.is_trading = dbn_tri_state(r->is_trading);
    t->payload.status.is_quoting = dbn_tri_state(r->is_quoting);
    t->payload.status.is_short_sell_restricted = dbn_tri_state(r->is_short_sell_restricted);
    s->count.others++;
}

static inline uint32_t dbn_seconds(uint64_t t) {
    uint64_t seconds = t / UINT64_C(1000000000);
    return t == DBN_TIME_UNDEF || seconds > UINT32_MAX ? 0 : (uint32_t)seconds;
}

static inline void dbn_statistic_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const uint8_t *p) {
    const dbn_statistics_v1 *r = (const dbn_statistics_v1 *)p;
    mdf_tick *t = dbn_tick(s, out, e, MDF_STATISTIC, r->hd.ts_event, r->ts_recv);
    t->payload.statistic.price = r->price;
    t->payload.statistic.ts_ref_s = dbn_seconds(r->ts_ref);
    if (s->version < 3) {
        t->payload.statistic.quantity = r->quantity == INT32_MAX ? INT64_MAX : r->quantity;
        t->venue_seq = r->sequence;
        t->payload.statistic.type = r->stat_type;
        t->payload.statistic.update_action = r->update_action;
        t->payload.statistic.stat_flags = r->stat_flags;
    } else {
        const dbn_statistics_v3 *v3 = (const dbn_statistics_v3 *)p;
        t->payload.statistic.quantity = v3->quantity;
        t->venue_seq = v3->sequence;
        t->payload.statistic.type = v3->stat_type;
        t->payload.statistic.update_action = v3->update_action;
        t->payload.statistic.stat_flags = v3->stat_flags;
    }
    s->count.others++;
}

static inline void dbn_imbalance_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_imbalance *r) {
    mdf_tick *t = dbn_tick(s, out, e, MDF_IMBALANCE, r->hd.ts_event, r->ts_recv);
    t->side = dbn_side_code(r->side);
    t->payload.imbalance.ref_price = r->ref_price;
    t->payload.imbalance.match_price = r->ind_match_price;
    t->payload.imbalance.paired_size = dbn_size(r->paired_qty);
    t->payload.imbalance.imbalance_size = dbn_size(r->total_imbalance_qty);
    s->count.others++;
}

/* Where security_update_action lies in the definitions of each version. */
static inline uint32_t dbn_update_action_at(unsigned version) { return version == 1 ? 349 : version == 2 ? 382 : 493; }

static inline void dbn_definition_tick(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const uint8_t *p) {
    const dbn_definition *r = (const dbn_definition *)p;
    mdf_tick *t = dbn_tick(s, out, e, MDF_DEFINITION, r->hd.ts_event, r->ts_recv);
    t->payload.definition.tick_size = r->min_price_increment == DBN_PRICE_UNDEF ? 0 : r->min_price_increment;
    t->payload.definition.expiration = (int64_t)r->expiration < 0 ? 0 : (int64_t)r->expiration;
    t->payload.definition.action = p[dbn_update_action_at(s->version)];
    s->count.others++;
}

static inline uint32_t dbn_interval_s(unsigned rtype, unsigned schema) {
    if (rtype == DBN_OHLCV_OLD) /* by the schema instead */
        rtype = schema >= DBN_SCHEMA_OHLCV_1S && schema <= DBN_SCHEMA_OHLCV_1D ? DBN_OHLCV_1S + schema - DBN_SCHEMA_OHLCV_1S
              : schema == DBN_SCHEMA_OHLCV_EOD ? DBN_OHLCV_EOD : rtype;
    switch (rtype) {
    case DBN_OHLCV_1S: return 1;
    case DBN_OHLCV_1M: return 60;
    case DBN_OHLCV_1H: return 3600;
    case DBN_OHLCV_1D: case DBN_OHLCV_EOD: return 86400;
    default: return 0;
    }
}

static inline void dbn_bar(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_ohlcv *r) {
    mdf_bar *b = &out->bars[out->bars_n++];
    memset(b, 0, sizeof *b);
    b->ts_open = dbn_time(r->hd.ts_event);
    b->instrument_id = e->instrument_id;
    b->interval_s = dbn_interval_s(r->hd.rtype, s->schema);
    b->open = r->open; b->high = r->high; b->low = r->low; b->close = r->close;
    b->volume = r->volume;
    b->vwap = MDF_PRICE_UNDEF;
    b->flags = MDF_BAR_VENDOR;
    b->ts_first = b->ts_last = MDF_TIME_UNDEF;
    s->count.bars++;
}
