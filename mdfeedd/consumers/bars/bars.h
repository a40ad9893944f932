/* bars.h: ticks in, OHLCV bars out. A sans-IO kernel: no clock, no file, no thread, no randomness.
 *
 * Concepts
 *
 *   A bar is made of the TRADE ticks of one instrument whose `ts_event` lies in [ts_open, ts_open +
 *   interval). Intervals are counted from the UNIX epoch, so a day is a UTC day. Open is the trade
 *   of the smallest ts_event (of equal ones the first in the ring), close that of the largest (of
 *   equal ones the last); so a bar does not depend on the order in which its trades came.
 *   first_seq and last_seq are the lowest and the highest ring sequence of its trades.
 *
 *   Time is the stream's. The clock is the largest ts_event of any tick but GAP and RECOVERED (they
 *   are ours, not the venue's); the watermark is the clock less the lateness. A bar closes when the
 *   watermark reaches its end, whether or not its instrument trades: the sweep. Between two
 *   interval boundaries no tick can close anything, so the sweep costs one comparison per tick.
 *   Nothing else closes a bar but `flush` and `advance`: the same ticks give the same bars, live or
 *   replayed, in any batches.
 *
 *   Bars come out in the order of their ends; of one end the shorter interval first, then by row.
 *
 *   What an instrument has, per interval (times grow to the left):
 *
 *       open[0]  open[1] ... open[depth-1]      last                          (nothing older)
 *       newest   still open: the watermark      closed; a trade that is late for it makes
 *                has not passed their ends      revision + 1; one of the interval closed last,
 *                                               where there was none, takes its place
 *
 *   depth = lateness / interval, rounded up, + 1; so it is 1 without lateness.
 *
 * Flags
 *
 *   GAP      from a GAP tick to its RECOVERED (of the whole feed per `line`, or of the instrument);
 *            around trades lost by the reader (mdf_bars_hole); around ticks flagged STALE. Marked
 *            are the bars open in that time, and those already begun when it ended. A feed that
 *            tells a GAP and never RECOVERED has all its bars marked from then on.
 *   PARTIAL  the bar began before the first market tick seen, or `flush` cut it. One that goes on
 *            where an earlier run has cut it (mdf_bars_resume) stays so flagged.
 *   LATE     made of late trades, or again with them.
 *   FLAT     no trade in the interval.
 *   VOIDED   a TRADE_CANCEL or TRADE_CORRECTION came while the bar was open. The bar still holds
 *            the trade as first told: single trades are not kept, so it cannot be taken out again.
 *            One that comes after its bar has closed is only counted.
 *
 * Left out, and counted: trades with BAD_TS, without a time, or with one that is negative, after
 * the year 2116, or that would move the clock or open a bar and is more than ten minutes ahead of
 * ts_recv (one wild time would close everything and make all that follows late); trades without a
 * price; trades of a snapshot (they are old news); ids that do not fit the table.
 *
 * Memory: 128 bytes per open bar and 192 per last bar, per instrument and interval, in tables that
 * double when a higher instrument index appears, up to `limit`; nothing per tick.
 */
#ifndef MDFEEDD_BARS_H
#define MDFEEDD_BARS_H

#include "bars_table.h"

/* ---------------------------------------------------------------------------------------- a bar */

static inline mdf_u128 mdf_bars_value(int64_t price, uint32_t size) {
    return (mdf_u128)((mdf_i128)price * (mdf_i128)size);
}

/* A trade not older than the newest of the bar: all but a few. */
static inline void mdf_bars_add_in_order(mdf_bars_state *s, const mdf_tick *t) {
    int64_t price = t->payload.trade.price;
    s->sum += mdf_bars_value(price, t->payload.trade.size);
    s->volume += t->payload.trade.size;
    s->count++;
    s->high = price > s->high ? price : s->high;
    s->low = price < s->low ? price : s->low;
    s->close = price;
    s->ts_last = t->ts_event;
    s->last_seq = t->seq;
}

static inline void mdf_bars_add(mdf_bars_state *s, const mdf_tick *t) {
    int64_t price = t->payload.trade.price, close = s->close, ts_last = s->ts_last;
    if (s->count == 0) {
        s->high = s->low = price;
        s->first_seq = t->seq;
    }
    if (s->count == 0 || t->ts_event < s->ts_first) {
        s->open = price;
        s->ts_first = t->ts_event;
    }
    int in_order = s->count == 0 || t->ts_event >= ts_last;
    mdf_bars_add_in_order(s, t);
    if (!in_order) {
        s->close = close;
        s->ts_last = ts_last;
    }
}

/* sum / volume, half to even. */
static inline int64_t mdf_bars_vwap(const mdf_bars_state *s) {
    if (s->volume == 0) return MDF_PRICE_UNDEF;
    mdf_i128 sum = (mdf_i128)s->sum, volume = (mdf_i128)s->volume;
    mdf_i128 quotient = sum / volume, rest = sum % volume;
    if (rest < 0) {
        rest += volume;
        quotient--;
    }
    if (rest * 2 > volume || (rest * 2 == volume && (quotient & 1))) quotient++;
    return (int64_t)quotient;
}

/* The caller has seen that there is room. */
static inline void mdf_bars_emit(mdf_bars *b, uint32_t k, const mdf_bars_state *s) {
    b->out[b->out_n++] = (mdf_bar){
        .ts_open = s->ts_open,
        .instrument_id = s->instrument_id,
        .interval_s = b->interval_s[k],
        .open = s->open,
        .high = s->high,
        .low = s->low,
        .close = s->close,
        .volume = s->volume,
        .vwap = mdf_bars_vwap(s),
        .count = s->count > UINT32_MAX ? UINT32_MAX : (uint32_t)s->count,
        .flags = s->flags,
        .ts_first = s->ts_first,
        .ts_last = s->ts_last,
        .first_seq = s->first_seq,
        .last_seq = s->last_seq,
        .revision = s->revision,
        .late_count = s->late_count,
    };
    b->counts.closed_bars++;
}

/* Whether a bar that closed is to be given out. After a restart bars are made again that an earlier
 * run has published: only one that is more complete replaces what is there. */
static inline int mdf_bars_news(const mdf_bars_row *row, mdf_bars_state *s) {
    uint64_t shown = s->cut_count;
    if (shown) { /* goes on with what is published already */
        s->cut_count = 0;
        if (s->count < shown) return 0;
        s->revision++;
        return 1;
    }
    if (row->shown_ts == MDF_BARS_NEVER || s->ts_open > row->shown_ts) return 1;
    if (s->ts_open < row->shown_ts) return 0;
    s->revision = row->shown_revision;
    int whole = (row->shown_flags & MDF_BAR_PARTIAL) && !(s->flags & MDF_BAR_PARTIAL);
    if (s->count < row->shown_count || (s->count == row->shown_count && !whole)) return 0;
    s->revision++;
    return 1;
}

/* ---------------------------------------------------------------------------------------- sweep */

static inline int mdf_bars_in_gap(const mdf_bars *b, uint32_t index, int64_t ts_open) {
    const mdf_bars_instrument *i = &b->instrument[index];
    return b->gap_lines || b->hole || i->in_gap || ts_open <= b->gap_until ||
           ts_open <= i->gap_until;
}

/* What may be missing of a bar that begins at `start`, as flags. */
static inline uint32_t mdf_bars_doubt(const mdf_bars *b, uint32_t index, int64_t start) {
    uint32_t gap = mdf_bars_in_gap(b, index, start) ? (uint32_t)MDF_BAR_GAP : 0;
    return start < b->first_ts ? gap | (uint32_t)MDF_BAR_PARTIAL : gap;
}

/* Close the bar of one row that begins at `start`, or make a flat one. Whether there was any. */
static inline int mdf_bars_close(mdf_bars *b, uint32_t k, uint32_t index, int64_t start,
                                 enum mdf_bars_mode mode) {
    mdf_bars_state *s = b->open[k] + (size_t)index * b->depth[k];
    mdf_bars_row *row = &b->row[k][index];
    mdf_bars_state *last = &row->last;
    uint32_t d = b->depth[k] - 1;
    while (d && s[d].instrument_id == MDF_BARS_NOBODY) d--;
    if (s[d].instrument_id != MDF_BARS_NOBODY && s[d].ts_open == start) {
        *last = s[d];
        mdf_bars_clear(&s[d]);
        row->flat_run = 0;
    } else {
        if (mode != MDF_BARS_SWEEP || last->instrument_id == MDF_BARS_NOBODY) return 0;
        if (row->flat_run >= b->flat_limit) return 0;
        int64_t close = last->close;
        uint32_t id = last->instrument_id;
        mdf_bars_clear(last);
        last->instrument_id = id;
        last->ts_open = start;
        last->open = last->high = last->low = last->close = close;
        last->flags = MDF_BAR_FLAT;
        row->flat_run++;
    }
    last->flags |= mdf_bars_doubt(b, index, start);
    if (mode == MDF_BARS_CUT) last->flags |= MDF_BAR_PARTIAL;
    last->late_count = row->late_pending;
    row->late_pending = 0;
    if (mdf_bars_news(row, last)) mdf_bars_emit(b, k, last);
    return 1;
}

/* The interval whose bars are to be closed next, or -1. */
static inline int mdf_bars_due(const mdf_bars *b, int64_t watermark, enum mdf_bars_mode mode) {
    int due = -1;
    for (uint32_t k = 0; k < b->intervals; k++) {
        int64_t end = b->closed_to[k] + b->interval_ns[k];
        int ripe = mode == MDF_BARS_SWEEP ? end <= watermark : b->closed_to[k] <= b->clock;
        if (ripe && (due < 0 || end < b->closed_to[due] + b->interval_ns[due])) due = (int)k;
    }
    return due;
}

/* Interval k is closed for n intervals more. A flush is not noted in `passed`: what it cut is to be
 * made again after a restart. */
static inline void mdf_bars_pass(mdf_bars *b, int k, int64_t n, uint64_t seq,
                                 enum mdf_bars_mode mode) {
    b->closed_to[k] += n * b->interval_ns[k];
    if (mode != MDF_BARS_SWEEP) return;
    for (; n > 0 && b->passed[k][b->depth[k] - 1] != seq; n--) {
        memmove(b->passed[k] + 1, b->passed[k], (b->depth[k] - 1) * sizeof(uint64_t));
        b->passed[k][0] = seq;
    }
}

static inline void mdf_bars_set_look(mdf_bars *b) {
    b->look_at = INT64_MAX;
    for (uint32_t k = 0; k < b->intervals; k++) {
        int64_t next = b->closed_to[k] + b->interval_ns[k] + b->lateness_ns;
        if (next < b->look_at) b->look_at = next;
    }
    if (b->hole || b->cut_seq || b->first_ts == INT64_MAX) b->look_at = MDF_BARS_NEVER;
}

/* Close everything that ends by `watermark` (or, to flush, everything). FULL: take the output and
 * call again with the same arguments. `seq`: the last tick before. */
static inline int mdf_bars_sweep(mdf_bars *b, int64_t watermark, uint64_t seq,
                                 enum mdf_bars_mode mode) {
    int k;
    while ((k = mdf_bars_due(b, watermark, mode)) >= 0) {
        int64_t start = b->closed_to[k];
        int empty = start > b->clock && !b->flat_limit; /* no trade can lie beyond the clock */
        for (; !empty && b->scan_row < b->used; b->scan_row++) {
            if (b->out_n == b->out_size) return MDF_BARS_FULL;
            b->scan_hits += (uint32_t)mdf_bars_close(b, (uint32_t)k, b->scan_row, start, mode);
        }
        empty = empty || (start > b->clock && !b->scan_hits); /* flat bars have run out, too */
        b->scan_row = b->scan_hits = 0;
        mdf_bars_pass(b, k, empty ? (watermark - start) / b->interval_ns[k] : 1, seq, mode);
    }
    mdf_bars_set_look(b);
    return MDF_BARS_DONE;
}

/* -------------------------------------------------------------------------------- time and gaps */

static inline int mdf_bars_timed(const mdf_tick *t) {
    if (t->flags & MDF_BAD_TS || t->ts_event < 0 || t->ts_event >= MDF_BARS_TIME_END) return 0;
    return t->ts_recv <= 0 || t->ts_event - t->ts_recv <= MDF_BARS_AHEAD_NS;
}

static inline void mdf_bars_begin(mdf_bars *b, int64_t watermark, uint64_t seq) {
    for (uint32_t k = 0; k < b->intervals; k++) {
        b->closed_to[k] = watermark > 0 ? watermark - watermark % b->interval_ns[k] : 0;
        for (uint32_t d = 0; d < b->depth[k]; d++) b->passed[k][d] = seq;
        for (size_t i = 0; i < (size_t)b->used * b->depth[k]; i++) { /* over since it was cut */
            mdf_bars_state *s = &b->open[k][i];
            int none = s->instrument_id == MDF_BARS_NOBODY;
            if (!none && s->ts_open < b->closed_to[k]) mdf_bars_clear(s);
        }
    }
}

/* A tick with a good time: close what it passed. */
static inline int mdf_bars_tell_time(mdf_bars *b, const mdf_tick *t) {
    int64_t ts = t->ts_event, watermark = ts - b->lateness_ns;
    if (b->clock == MDF_BARS_NEVER) mdf_bars_begin(b, watermark, t->seq);
    int code = mdf_bars_sweep(b, watermark, t->seq > 1 ? t->seq - 1 : t->seq, MDF_BARS_SWEEP);
    if (code) return code;
    if (ts > b->clock) b->clock = ts;
    if (b->hole) {
        if (b->clock > b->gap_until) b->gap_until = b->clock;
        b->hole = 0;
    }
    int market = t->kind < 32 && (MDF_BARS_MARKET_KINDS >> t->kind & 1);
    if (market && !(t->flags & MDF_SNAPSHOT) && b->first_ts == INT64_MAX) b->first_ts = ts;
    if (t->seq > b->cut_seq) b->cut_seq = 0;
    mdf_bars_set_look(b);
    return MDF_BARS_DONE;
}

/* Ticks were lost just before the next one. */
static inline void mdf_bars_hole(mdf_bars *b) {
    if (b->clock > b->gap_until) b->gap_until = b->clock;
    b->hole = 1;
    b->look_at = MDF_BARS_NEVER;
}

static inline int mdf_bars_gap(mdf_bars *b, const mdf_tick *t) {
    int begins = t->kind == MDF_GAP;
    if (t->instrument_id == 0) {
        uint64_t line = UINT64_C(1) << (t->payload.gap.line % MDF_BARS_LINES);
        b->gap_lines = begins ? b->gap_lines | line : b->gap_lines & ~line;
        mdf_bars_hole(b);
        return MDF_BARS_DONE;
    }
    int64_t index = mdf_bars_find(b, t->instrument_id);
    if (index <= 0) return index ? MDF_BARS_NO_MEMORY : MDF_BARS_DONE;
    mdf_bars_instrument *i = &b->instrument[index];
    i->in_gap = (uint32_t)begins;
    if (b->clock > i->gap_until) i->gap_until = b->clock;
    return MDF_BARS_DONE;
}

static inline int mdf_bars_stale(mdf_bars *b, const mdf_tick *t) {
    int64_t *until = &b->gap_until;
    if (t->instrument_id) {
        int64_t index = mdf_bars_find(b, t->instrument_id);
        if (index <= 0) return index ? MDF_BARS_NO_MEMORY : MDF_BARS_DONE;
        until = &b->instrument[index].gap_until;
    }
    if (b->clock > *until) *until = b->clock;
    return MDF_BARS_DONE;
}

/* --------------------------------------------------------------------------------------- trades */

/* A late trade goes to its instrument's last closed bar, or makes one if that is older than the interval
 * that was closed last, and this one's. */
static inline void mdf_bars_late(mdf_bars *b, uint32_t k, uint32_t index, const mdf_tick *t,
                                 int64_t start) {
    mdf_bars_row *row = &b->row[k][index];
    mdf_bars_state *last = &row->last;
    row->late_pending++;
    if (last->instrument_id != MDF_BARS_NOBODY && last->ts_open == start) {
        mdf_bars_add(last, t);
        last->flags = (last->flags & ~(uint32_t)MDF_BAR_FLAT) | MDF_BAR_LATE;
        int more = start == row->shown_ts && last->count > row->shown_count;
        if (start <= row->shown_ts && !more) return;
        last->revision++;
    } else {
        if (start != b->closed_to[k] - b->interval_ns[k]) return; /* what is older is only counted */
        if (start <= row->shown_ts) return; /* an earlier run has shown it */
        mdf_bars_clear(last);
        last->instrument_id = t->instrument_id;
        last->ts_open = start;
        last->flags = MDF_BAR_LATE | mdf_bars_doubt(b, index, start);
        row->flat_run = 0;
        mdf_bars_add(last, t);
    }
    mdf_bars_emit(b, k, last);
}

/* Put a trade into its bar of interval k. Returns whether it was late. */
static inline int mdf_bars_place(mdf_bars *b, uint32_t k, uint32_t index, const mdf_tick *t) {
    mdf_bars_state *s = b->open[k] + (size_t)index * b->depth[k];
    uint32_t depth = b->depth[k], d = 0;
    int64_t start = t->ts_event - t->ts_event % b->interval_ns[k];
    if (start < b->closed_to[k]) {
        mdf_bars_late(b, k, index, t, start);
        return 1;
    }
    while (d < depth && s[d].instrument_id != MDF_BARS_NOBODY && s[d].ts_open > start) d++;
    if (d == depth) return 1; /* cannot be: that many starts lie between watermark and clock */
    if (s[d].instrument_id == MDF_BARS_NOBODY || s[d].ts_open != start) {
        memmove(s + d + 1, s + d, (depth - 1 - d) * sizeof *s); /* the oldest place is empty */
        mdf_bars_clear(&s[d]);
        s[d].instrument_id = t->instrument_id;
        s[d].ts_open = start;
    }
    if (s[d].cut_count && t->seq <= s[d].last_seq) return 0; /* read again for other intervals */
    mdf_bars_add(&s[d], t);
    return 0;
}

static inline int mdf_bars_trade(mdf_bars *b, const mdf_tick *t) {
    if (t->flags & MDF_SNAPSHOT) {
        b->counts.snapshot_trades++;
        return MDF_BARS_DONE;
    }
    if (t->payload.trade.price == MDF_PRICE_UNDEF) {
        b->counts.priceless_trades++;
        return MDF_BARS_DONE;
    }
    int64_t index = mdf_bars_find(b, t->instrument_id);
    if (index <= 0) return index ? MDF_BARS_NO_MEMORY : MDF_BARS_DONE;
    int late = 0;
    for (uint32_t k = 0; k < b->intervals; k++) late |= mdf_bars_place(b, k, (uint32_t)index, t);
    b->counts.late_trades += (uint64_t)late;
    return MDF_BARS_DONE;
}

static inline void mdf_bars_void(mdf_bars *b, const mdf_tick *t) {
    uint32_t index = t->instrument_id & (MDF_BARS_MAX_ROWS - 1);
    b->counts.voided_trades++;
    if (index >= b->used || b->instrument[index].id != t->instrument_id) return; /* no bars */
    for (uint32_t k = 0; k < b->intervals; k++)
        for (uint32_t d = 0; d < b->depth[k]; d++)
            b->open[k][(size_t)index * b->depth[k] + d].flags |= MDF_BAR_VOIDED;
}

/* Any tick, with all that can be said of it. FULL: the tick is not used; call again. */
static inline int mdf_bars_tick(mdf_bars *b, const mdf_tick *t) {
    /* a late trade makes as many bars as there are intervals */
    if (b->out_n + b->intervals > b->out_size) return MDF_BARS_FULL;
    if (t->kind == MDF_GAP || t->kind == MDF_RECOVERED) return mdf_bars_gap(b, t);
    int timed = mdf_bars_timed(t), code = MDF_BARS_DONE;
    if (timed) code = mdf_bars_tell_time(b, t);
    if (code) return code;
    if (b->out_n + b->intervals > b->out_size) return MDF_BARS_FULL;
    if (t->flags & MDF_STALE) code = mdf_bars_stale(b, t);
    if (t->kind == MDF_TRADE_CANCEL || t->kind == MDF_TRADE_CORRECTION) mdf_bars_void(b, t);
    if (t->kind != MDF_TRADE || code) return code;
    if (timed) return mdf_bars_trade(b, t);
    b->counts.bad_time_trades++;
    return MDF_BARS_DONE;
}

/* ---------------------------------------------------------------------------------------- verbs */

/* What the loop over ticks needs of the tables, where no store into a bar can seem to change it. */
typedef struct mdf_bars_lanes {
    mdf_bars_state *open[MDF_BARS_MAX_INTERVALS];
    uint64_t interval_ns[MDF_BARS_MAX_INTERVALS];
    size_t depth[MDF_BARS_MAX_INTERVALS];
    uint32_t used;
} mdf_bars_lanes;

static inline __attribute__((always_inline)) void mdf_bars_set_lanes(
    mdf_bars_lanes *lanes, const mdf_bars *b, const uint32_t intervals) {
    for (uint32_t k = 0; k < intervals; k++) {
        lanes->open[k] = b->open[k];
        lanes->interval_ns[k] = (uint64_t)b->interval_ns[k];
        lanes->depth[k] = b->depth[k];
    }
    lanes->used = b->used;
}

/* A trade that goes on with the newest open bar in each interval, seen without a division; it is
 * used wholly or not at all. */
static inline __attribute__((always_inline)) int mdf_bars_go_on(
    const mdf_bars_lanes *lanes, const mdf_tick *t, const uint32_t intervals) {
    uint32_t id = t->instrument_id, index = id & (MDF_BARS_MAX_ROWS - 1);
    if (index >= lanes->used || t->payload.trade.price == MDF_PRICE_UNDEF) return 0;
    mdf_bars_state *s[MDF_BARS_MAX_INTERVALS];
    for (uint32_t k = 0; k < intervals; k++) {
        s[k] = lanes->open[k] + index * lanes->depth[k];
        if (s[k]->instrument_id != id || t->ts_event < s[k]->ts_last ||
            (uint64_t)t->ts_event - (uint64_t)s[k]->ts_open >= lanes->interval_ns[k])
            return 0;
    }
    for (uint32_t k = 0; k < intervals; k++) mdf_bars_add_in_order(s[k], t);
    return 1;
}

static inline __attribute__((always_inline)) int mdf_bars_run(
    mdf_bars *b, const mdf_tick *ticks, size_t n, size_t *used, const uint32_t intervals) {
    int code = MDF_BARS_DONE;
    int64_t clock = b->clock, look_at = b->look_at;
    mdf_bars_lanes lanes;
    size_t i = 0;
    mdf_bars_set_lanes(&lanes, b, intervals);
    for (; i < n; i++) {
        const mdf_tick *t = &ticks[i];
        __builtin_prefetch((const char *)t + MDF_BARS_PREFETCH);
        if (MDF_BARS_LIKELY(t->ts_event < look_at && !(t->flags & MDF_BARS_ODD))) {
            if (t->kind == MDF_QUOTE ||
                (t->kind == MDF_TRADE && mdf_bars_go_on(&lanes, t, intervals))) {
                clock = t->ts_event > clock ? t->ts_event : clock;
                continue;
            }
        }
        b->clock = clock;
        code = mdf_bars_tick(b, t);
        clock = b->clock;
        look_at = b->look_at;
        mdf_bars_set_lanes(&lanes, b, intervals);
        if (code) break;
    }
    b->clock = clock;
    if (i) b->last_seq = ticks[i - 1].seq;
    *used = i;
    return code;
}

/* Use up to n ticks. FULL: take the bars, set out_n to 0, call again with the ticks left. */
static inline int mdf_bars_update(mdf_bars *b, const mdf_tick *ticks, size_t n, size_t *used) {
    switch (b->intervals) { /* loops of a known length */
        case 1: return mdf_bars_run(b, ticks, n, used, 1);
        case 2: return mdf_bars_run(b, ticks, n, used, 2);
        case 3: return mdf_bars_run(b, ticks, n, used, 3);
        default: return mdf_bars_run(b, ticks, n, used, b->intervals);
    }
}

/* The watermark is told from outside: it is at least `watermark`. FULL: as above. */
static inline int mdf_bars_advance(mdf_bars *b, int64_t watermark) {
    if (b->clock == MDF_BARS_NEVER) mdf_bars_begin(b, watermark, b->last_seq);
    int code = mdf_bars_sweep(b, watermark, b->last_seq, MDF_BARS_SWEEP);
    if (!code && watermark + b->lateness_ns > b->clock) b->clock = watermark + b->lateness_ns;
    return code;
}

/* Close all open bars; cut: they are not complete. FULL: as above. */
static inline int mdf_bars_flush(mdf_bars *b, int cut) {
    if (b->clock == MDF_BARS_NEVER) return MDF_BARS_DONE;
    return mdf_bars_sweep(b, 0, 0, cut ? MDF_BARS_CUT : MDF_BARS_FLUSH);
}

/* Whether it is a bar of interval k at all: it comes from shared memory. */
static inline int mdf_bars_sound(const mdf_bars *b, uint32_t k, const mdf_bar *bar) {
    int64_t begin = bar->ts_open;
    return begin >= 0 && begin < MDF_BARS_TIME_END && begin % b->interval_ns[k] == 0 && bar->count &&
           bar->ts_first >= begin && bar->ts_last >= bar->ts_first &&
           bar->ts_last - begin < b->interval_ns[k] && bar->first_seq <= bar->last_seq;
}

/* The next bar that an earlier run has published in this row. One that was cut, and whose first trade
 * will not be read again, goes on; it stays PARTIAL, since the sum behind its vwap is known to 1e-9 a
 * lot only. */
static inline void mdf_bars_resume(mdf_bars *b, uint32_t k, uint32_t index, const mdf_bar *bar,
                                   uint64_t acked) {
    mdf_bars_state *s = b->open[k] + (size_t)index * b->depth[k];
    uint32_t depth = b->depth[k], d = 0;
    int cut = bar->flags & MDF_BAR_PARTIAL && mdf_bars_sound(b, k, bar);
    while (d < depth && s[d].instrument_id != MDF_BARS_NOBODY && s[d].ts_open > bar->ts_open) d++;
    if (d == depth) return;
    int again = s[d].instrument_id != MDF_BARS_NOBODY && s[d].ts_open == bar->ts_open;
    if (again) {
        memmove(s + d, s + d + 1, (depth - 1 - d) * sizeof *s);
        mdf_bars_clear(&s[depth - 1]);
    }
    for (uint32_t i = d; i < depth && !cut; i++) mdf_bars_clear(&s[i]); /* closed, as all before */
    if (!cut || bar->first_seq > acked) return;
    memmove(s + d + 1, s + d, (depth - 1 - d) * sizeof *s);
    s[d] = (mdf_bars_state){
        .sum = bar->volume ? (mdf_u128)((mdf_i128)bar->vwap * (mdf_i128)bar->volume) : 0,
        .volume = bar->volume,
        .count = bar->count,
        .ts_open = bar->ts_open,
        .high = bar->high,
        .low = bar->low,
        .close = bar->close,
        .ts_last = bar->ts_last,
        .last_seq = bar->last_seq,
        .instrument_id = bar->instrument_id,
        .flags = bar->flags,
        .open = bar->open,
        .ts_first = bar->ts_first,
        .first_seq = bar->first_seq,
        .revision = bar->revision,
        .late_count = bar->late_count,
        .cut_count = (uint64_t)bar->count + 1,
    };
    if (bar->last_seq > b->cut_seq) b->cut_seq = bar->last_seq;
}

/* What an earlier run has published, told before the first tick; of one instrument and interval the
 * last wins. Reading goes on behind `acked`. */
static inline int mdf_bars_seed(mdf_bars *b, const mdf_bar *bars, size_t n, uint64_t acked) {
    for (size_t i = 0; i < n; i++) {
        if (bars[i].flags & MDF_BAR_VENDOR) continue;
        for (uint32_t k = 0; k < b->intervals; k++) {
            if (b->interval_s[k] != bars[i].interval_s) continue;
            int64_t index = mdf_bars_find(b, bars[i].instrument_id);
            if (index < 0) return MDF_BARS_NO_MEMORY;
            if (index == 0) continue;
            mdf_bars_row *row = &b->row[k][index];
            row->shown_ts = bars[i].ts_open;
            row->shown_count = bars[i].count;
            row->shown_flags = bars[i].flags;
            row->shown_revision = bars[i].revision;
            mdf_bars_resume(b, k, (uint32_t)index, &bars[i], acked);
        }
    }
    return MDF_BARS_DONE;
}

/* The sequence number from which a restart must read to make the open bars again, of those intervals
 * for which that is `oldest` or later; 0: nothing was read. The tick before the oldest open interval
 * is included: it proves that the interval was heard from its start. */
static inline uint64_t mdf_bars_position(const mdf_bars *b, uint64_t oldest) {
    uint64_t position = b->clock == MDF_BARS_NEVER ? b->last_seq : b->last_seq + 1;
    for (uint32_t k = 0; k < b->intervals && b->clock != MDF_BARS_NEVER; k++) {
        uint64_t seq = b->passed[k][b->depth[k] - 1];
        if (seq < position && seq >= oldest) position = seq;
    }
    return position;
}

#endif
