/* dbn_mbo.h: part of dbn.h. What an MBO row tells: trades as they come, the touch at the end of an event.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot (rows flagged SNAPSHOT, their ts_event as old as the orders) ends with LAST, or with the first row
 * that is not part of it; then the touch is told once, timed by the snapshot. Until an instrument's book has
 * begun with a clear or a snapshot its quotes are STALE, because orders from before are missing.
 */
#ifndef MDFEEDD_DBN_H
#error "include dbn.h"
#endif

/* Append a QUOTE if the touch is not the one told last. Returns whether it did. */
static inline int dbn_mbo_quote(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, uint64_t ts_event, uint64_t ts_recv,
                                uint8_t flags, uint32_t sequence) {
    dbn_book *book = &s->books.book[e->book - 1];
    dbn_touch touch = dbn_book_touch(book), told = book->told;
    if (dbn_same_touch(&touch, &told)) return 0;
    book->told = touch;
    mdf_tick *t = dbn_tick(s, out, e, MDF_QUOTE, ts_event, ts_recv);
    int bid = touch.bid_price != told.bid_price || touch.bid_size != told.bid_size || touch.bid_count != told.bid_count;
    int ask = touch.ask_price != told.ask_price || touch.ask_size != told.ask_size || touch.ask_count != told.ask_count;
    t->side = bid && ask ? MDF_SIDE_NONE : bid ? MDF_SIDE_BID : MDF_SIDE_ASK;
    t->count = bid && ask ? 0 : bid ? touch.bid_count : touch.ask_count;
    t->flags |= (uint16_t)(dbn_flags(flags) | (book->sound ? 0 : MDF_STALE));
    t->venue_seq = sequence;
    t->payload.quote.bid_price = touch.bid_price;
    t->payload.quote.ask_price = touch.ask_price;
    t->payload.quote.bid_size = touch.bid_size;
    t->payload.quote.ask_size = touch.ask_size;
    s->count.quotes++;
    return 1;
}

static inline int dbn_mbo_end_snapshot(dbn_decoder *s, dbn_output *out, const dbn_instrument *e) {
    dbn_book *book = &s->books.book[e->book - 1];
    book->in_snapshot = 0;
    uint64_t taken = (uint64_t)book->snapshot_time;
    return dbn_mbo_quote(s, out, e, taken, taken, (uint8_t)(book->snapshot_flags | DBN_LAST), book->snapshot_sequence);
}

static inline void dbn_mbo_plain(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_mbo *r, uint8_t kind) {
    mdf_tick *t = dbn_tick(s, out, e, kind, r->hd.ts_event, r->ts_recv);
    t->flags |= dbn_flags(r->flags);
    t->venue_seq = r->sequence;
    if (kind == MDF_TRADE) {
        t->side = dbn_side_code(r->side);
        t->payload.trade.price = r->price;
        t->payload.trade.size = dbn_size(r->size);
        s->count.trades++;
    } else {
        s->count.others++;
    }
}

/* Give the instrument a book. At the limit it stays without one: its trades are told, quotes are not. */
static inline void dbn_mbo_begin(dbn_decoder *s, dbn_instrument *e) {
    int number = dbn_book_new(&s->books);
    if (number < 0) s->books.overflows++;
    else e->book = (uint32_t)number + 1;
}

/* Bring the book up to date; a snapshot that this row is no part of ends before it. */
static inline void dbn_mbo_row(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_mbo *r, int snapshot) {
    dbn_book *book = &s->books.book[e->book - 1];
    if (book->in_snapshot && !snapshot) dbn_mbo_end_snapshot(s, out, e);
    if (snapshot) {
        if (!book->in_snapshot) book->sound = 1; /* a file's first snapshot may lack its clear */
        book->in_snapshot = 1;
        book->snapshot_flags = r->flags;
        book->snapshot_time = dbn_time(r->ts_recv);
        book->snapshot_sequence = r->sequence;
    }
    dbn_book_apply(&s->books, e->book - 1, r);
}

/* Tell, once, that a book that a disconnect had voided is right again. */
static inline void dbn_mbo_recovered(dbn_decoder *s, dbn_output *out, const dbn_instrument *e, const dbn_mbo *r) {
    dbn_book *book = &s->books.book[e->book - 1];
    if (book->recovered || !book->sound || book->in_snapshot) return;
    book->recovered = 1;
    mdf_tick *t = dbn_tick(s, out, e, MDF_RECOVERED, r->ts_recv, r->ts_recv);
    t->payload.gap.first_missing = s->hole.first_missing;
    t->payload.gap.last_missing = s->hole.last_missing;
    t->payload.gap.reason = s->hole.reason;
    t->payload.gap.line = s->hole.line;
    s->count.others++;
}

static inline void dbn_mbo_ticks(dbn_decoder *s, dbn_output *out, dbn_instrument *e, const dbn_mbo *r) {
    if (!e->book) dbn_mbo_begin(s, e);
    size_t before = out->ticks_n;
    int snapshot = (r->flags & DBN_IS_SNAPSHOT) != 0;
    if (e->book) dbn_mbo_row(s, out, e, r, snapshot);
    size_t own = out->ticks_n;
    if (r->action == 'R') dbn_mbo_plain(s, out, e, r, MDF_CLEAR);
    if (r->action == 'T') dbn_mbo_plain(s, out, e, r, MDF_TRADE);
    if (e->book && r->flags & DBN_LAST) {
        int told = snapshot ? dbn_mbo_end_snapshot(s, out, e)
                            : dbn_mbo_quote(s, out, e, r->hd.ts_event, r->ts_recv, r->flags, r->sequence);
        if (told && out->ticks_n - own == 2) /* the QUOTE ends the event, not the row's own tick */
            out->ticks[own].flags = (uint16_t)(out->ticks[own].flags & ~MDF_EVENT_END);
    }
    if (s->recovering && e->book) dbn_mbo_recovered(s, out, e, r);
    if (out->ticks_n == before) s->count.skipped++;
}
