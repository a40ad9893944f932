/* The last values of each instrument: one row per instrument_id, found by hashing. Sans-IO, one thread.
 *
 *   tick ──► QUOTE         bid, ask; heals STALE, GAPPED and LAPPED unless it is flagged STALE: a quote is the full touch
 *        │                     (IMPLIED: the touch of another book, which is passed over)
 *        ├─► TRADE         last trade; of an instrument that never had a quote it heals as a quote does
 *        ├─► TRADE_CANCEL, TRADE_CORRECTION   of the last trade: taken away, replaced; of an earlier one: nothing.
 *        │                     One that names no trade (trade_id 0) cancels the last if price and size are its own
 *        ├─► CLEAR         bid and ask void
 *        ├─► STATUS        is_trading
 *        ├─► GAP           GAPPED, the instrument or (instrument 0) all of the feed
 *        └─► RECOVERED     GAPPED no more; for the whole feed when each of its lines with a GAP is told recovered
 */
#ifndef MDFEEDD_LAST_H
#define MDFEEDD_LAST_H
#include "mdfeedd.h"
#include <stdlib.h>

#define MDF_LAST_MAX_ROWS (1u << 24) /* of all feeds: what one feed's instruments table may have */
#define MDF_LAST_LINES 64            /* lines with an open GAP that are told apart */

enum mdf_last_flag {
    MDF_LAST_STALE = 1 << 0,  /* the last quote or trade said so */
    MDF_LAST_GAPPED = 1 << 1, /* the feed told a hole that is not healed */
    MDF_LAST_LAPPED = 1 << 2, /* the reader lost records, and no quote has come since */
    MDF_LAST_QUOTED = 1 << 3, /* there has been a quote */
};

typedef struct mdf_last_row {
    uint64_t seq;           /*  0 of the last record that changed the row */
    int64_t ts_event;       /*  8 of the last quote, trade or clear; MDF_TIME_UNDEF before */
    int64_t ts_recv;        /* 16 of the same */
    uint32_t instrument_id; /* 24 */
    uint16_t flags;         /* 28 enum mdf_last_flag */
    uint8_t is_trading;     /* 30 as in a STATUS: 0 unknown, 1 yes, 2 no */
    uint8_t feed;           /* 31 index among the feeds that are read */
    int64_t bid_price, ask_price; /* 32 MDF_PRICE_UNDEF: none */
    uint32_t bid_size, ask_size;  /* 48 */
    int64_t trade_price;    /* 56 MDF_PRICE_UNDEF: none */
    uint64_t trade_id;      /* 64 */
    int64_t trade_ts_event; /* 72 MDF_TIME_UNDEF: no trade */
    uint32_t trade_size;    /* 80 */
    uint8_t trade_side;     /* 84 the aggressor's */
    uint8_t reserved[3];
    uint64_t updates;       /* 88 quotes and trades */
} mdf_last_row;

MDF_ASSERT(sizeof(mdf_last_row) == 96 && offsetof(mdf_last_row, bid_price) == 32, "row layout");
MDF_ASSERT(offsetof(mdf_last_row, trade_price) == 56 && offsetof(mdf_last_row, updates) == 88, "row layout");

typedef struct mdf_last {
    mdf_last_row *rows;
    uint32_t *place;  /* row + 1 by hash, 0: free; twice as many as there are rows at least */
    uint32_t n, size; /* rows used and there, a power of two */
    uint32_t open_n;  /* lines with an open GAP; above MDF_LAST_LINES nobody knows when all are healed */
    uint64_t open[MDF_LAST_LINES]; /* feed << 32 | line */
} mdf_last;

static inline uint32_t mdf_last_hash(const mdf_last *l, uint32_t id) {
    return (uint32_t)(((uint64_t)id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (2 * l->size - 1);
}

static inline mdf_last_row *mdf_last_find(const mdf_last *l, uint32_t id) {
    if (!l->n) return NULL;
    for (uint32_t at = mdf_last_hash(l, id); l->place[at]; at = (at + 1) & (2 * l->size - 1))
        if (l->rows[l->place[at] - 1].instrument_id == id) return l->rows + l->place[at] - 1;
    return NULL;
}

static inline void mdf_last_enter(mdf_last *l, uint32_t row) {
    uint32_t at = mdf_last_hash(l, l->rows[row].instrument_id);
    while (l->place[at]) at = (at + 1) & (2 * l->size - 1);
    l->place[at] = row + 1;
}

/* Twice the room. 0, or -1: no memory, or more rows than there may be; what is there stays. */
static inline int mdf_last_grow(mdf_last *l) {
    uint32_t size = l->size ? 2 * l->size : 64;
    if (size > MDF_LAST_MAX_ROWS) return -1;
    uint32_t *place = (uint32_t *)calloc(2 * (size_t)size, sizeof *place);
    mdf_last_row *rows = (mdf_last_row *)realloc(l->rows, size * sizeof *rows);
    if (rows) l->rows = rows;
    if (!place || !rows) {
        free(place);
        return -1;
    }
    free(l->place);
    l->place = place;
    l->size = size;
    for (uint32_t i = 0; i < l->n; i++) mdf_last_enter(l, i);
    return 0;
}

static inline void mdf_last_void(mdf_last_row *r) {
    r->bid_price = r->ask_price = MDF_PRICE_UNDEF;
    r->bid_size = r->ask_size = 0;
}

static inline void mdf_last_no_trade(mdf_last_row *r) {
    r->trade_price = MDF_PRICE_UNDEF;
    r->trade_ts_event = MDF_TIME_UNDEF;
    r->trade_id = r->trade_size = r->trade_side = 0;
}

/* The row of an instrument, made if it is new; NULL: no memory. */
static inline mdf_last_row *mdf_last_row_of(mdf_last *l, uint32_t id, uint8_t feed) {
    mdf_last_row *r = mdf_last_find(l, id);
    if (r) {
        r->feed = feed; /* an id of a ring that is gone may come again, as another feed's */
        return r;
    }
    if (l->n == l->size && mdf_last_grow(l)) return NULL;
    r = l->rows + l->n;
    memset(r, 0, sizeof *r);
    r->instrument_id = id;
    r->feed = feed;
    r->ts_event = r->ts_recv = MDF_TIME_UNDEF;
    mdf_last_void(r);
    mdf_last_no_trade(r);
    mdf_last_enter(l, l->n++);
    return r;
}

static inline void mdf_last_mark(mdf_last *l, uint8_t feed, uint16_t set, uint16_t clear) {
    for (uint32_t i = 0; i < l->n; i++)
        if (l->rows[i].feed == feed) l->rows[i].flags = (uint16_t)((l->rows[i].flags & ~clear) | set);
}

/* Another ring has the name: its ids may stand for other instruments, and nobody heals the old one's gaps. */
static inline void mdf_last_forget(mdf_last *l, uint8_t feed) {
    uint32_t n = l->open_n < MDF_LAST_LINES ? l->open_n : MDF_LAST_LINES, kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (l->open[i] >> 32 != feed) l->open[kept++] = l->open[i];
    if (l->open_n <= MDF_LAST_LINES) l->open_n = kept;
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->rows[i].feed != feed) continue;
        l->rows[i].flags = l->rows[i].is_trading = 0;
        l->rows[i].ts_event = l->rows[i].ts_recv = MDF_TIME_UNDEF;
        l->rows[i].seq = l->rows[i].updates = 0;
        mdf_last_void(l->rows + i);
        mdf_last_no_trade(l->rows + i);
    }
}

static inline void mdf_last_feed_gap(mdf_last *l, const mdf_tick *t, uint8_t feed) {
    uint64_t line = (uint64_t)feed << 32 | t->payload.gap.line;
    uint32_t i = 0, of_feed = 0;
    uint32_t n = l->open_n < MDF_LAST_LINES ? l->open_n : MDF_LAST_LINES;
    while (i < n && l->open[i] != line) i++;
    if (t->kind == MDF_GAP) {
        mdf_last_mark(l, feed, MDF_LAST_GAPPED, 0);
        if (i < n) return;
        if (n < MDF_LAST_LINES) l->open[n] = line;
        l->open_n = n + 1; /* stays above the limit once it is: then only quotes heal */
        return;
    }
    if (l->open_n > MDF_LAST_LINES) return;
    if (i < n) l->open[i] = l->open[--l->open_n];
    for (i = 0; i < l->open_n; i++) of_feed += l->open[i] >> 32 == feed;
    if (!of_feed) mdf_last_mark(l, feed, 0, MDF_LAST_GAPPED);
}

static inline void mdf_last_stamp(mdf_last_row *r, const mdf_tick *t) {
    r->ts_event = t->ts_event;
    r->ts_recv = t->ts_recv;
    r->updates++;
}

static inline void mdf_last_quote(mdf_last_row *r, const mdf_tick *t) {
    r->bid_price = t->payload.quote.bid_price;
    r->ask_price = t->payload.quote.ask_price;
    r->bid_size = t->payload.quote.bid_size;
    r->ask_size = t->payload.quote.ask_size;
    r->flags = t->flags & MDF_STALE ? r->flags | MDF_LAST_STALE | MDF_LAST_QUOTED : MDF_LAST_QUOTED;
    mdf_last_stamp(r, t);
}

static inline void mdf_last_trade(mdf_last_row *r, const mdf_tick *t) {
    r->trade_price = t->payload.trade.price;
    r->trade_id = t->payload.trade.trade_id;
    r->trade_size = t->payload.trade.size;
    r->trade_side = t->side;
    r->trade_ts_event = t->ts_event;
    if (t->flags & MDF_STALE) r->flags |= MDF_LAST_STALE;
    else r->flags &= r->flags & MDF_LAST_QUOTED ? (uint16_t)~MDF_LAST_STALE : 0;
    mdf_last_stamp(r, t);
}

static inline void mdf_last_mend(mdf_last_row *r, const mdf_tick *t) {
    int same = t->payload.trade.price == r->trade_price && t->payload.trade.size == r->trade_size;
    if (r->trade_price == MDF_PRICE_UNDEF || t->payload.trade.trade_id != r->trade_id) return;
    if (!r->trade_id && !same) return; /* of which trade it is, nobody says */
    if (t->kind == MDF_TRADE_CANCEL) {
        mdf_last_no_trade(r);
        return;
    }
    r->trade_price = t->payload.trade.price;
    r->trade_size = t->payload.trade.size;
}

/* What concerns the whole feed. */
static inline void mdf_last_feed_wide(mdf_last *l, const mdf_tick *t, uint8_t feed) {
    if (t->kind == MDF_GAP || t->kind == MDF_RECOVERED) mdf_last_feed_gap(l, t, feed);
    if (t->kind != MDF_CLEAR) return;
    for (uint32_t i = 0; i < l->n; i++)
        if (l->rows[i].feed == feed) mdf_last_void(l->rows + i);
}

/* Take over ticks in order; feeds: of each tick its feed, or NULL: all are of `one`. 0, or -1: no memory. */
static inline int mdf_last_take(mdf_last *l, const mdf_tick *t, const uint8_t *feeds, uint8_t one, size_t n) {
    const mdf_tick *end = t + n;
    mdf_last_row *r = NULL;
    for (; t < end; t++) {
        uint8_t feed = feeds ? *feeds++ : one;
        if (t->kind > MDF_CLEAR || t->kind == MDF_STATISTIC) continue;
        if (!t->instrument_id) {
            mdf_last_feed_wide(l, t, feed);
            continue;
        }
        if (!r || r->instrument_id != t->instrument_id) r = mdf_last_row_of(l, t->instrument_id, feed);
        if (!r) return -1;
        r->seq = t->seq;
        switch (t->kind) {
        case MDF_QUOTE:
            if (!(t->flags & MDF_IMPLIED)) mdf_last_quote(r, t);
            break;
        case MDF_TRADE: mdf_last_trade(r, t); break;
        case MDF_TRADE_CANCEL: case MDF_TRADE_CORRECTION: mdf_last_mend(r, t); break;
        case MDF_STATUS: if (t->payload.status.is_trading) r->is_trading = t->payload.status.is_trading; break;
        case MDF_GAP: r->flags |= MDF_LAST_GAPPED; break;
        case MDF_RECOVERED: r->flags &= (uint16_t)~MDF_LAST_GAPPED; break;
        case MDF_CLEAR: mdf_last_void(r); r->ts_event = t->ts_event; r->ts_recv = t->ts_recv; break;
        default: break;
        }
    }
    return 0;
}

static inline void mdf_last_free(mdf_last *l) {
    free(l->rows);
    free(l->place);
    memset(l, 0, sizeof *l);
}
#endif
