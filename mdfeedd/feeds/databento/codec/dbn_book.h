/* dbn_book.h: order books of MBO streams, kept for their touch.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Orders of all books live in one open-addressing table by (book, order id); each side of a book is an array of
 * price levels with the best one last, so that what changes most moves least. A side is emptied by raising its
 * generation: orders of an older generation count as absent and are swept out when the table is rebuilt.
 * Memory grows by doubling up to the limits; a book that hits one is unsound until it is cleared.
 */
#ifndef MDFEEDD_DBN_BOOK_H
#define MDFEEDD_DBN_BOOK_H
#include "dbn_records.h"
#include <stdlib.h>
#include <string.h>

#define DBN_MAX_ORDERS (1u << 22)  /* resting orders, all books together */
#define DBN_MAX_LEVELS (1u << 16)  /* price levels of one side of one book */
#define DBN_MAX_BOOKS (1u << 16)   /* instruments with a book */
#define DBN_FIRST_ORDERS 1024u     /* slots of the table at first */

typedef struct dbn_order {
    uint64_t order_id;
    int64_t price;
    uint32_t size;
    uint32_t home;       /* book << 1 | side: 0 bid, 1 ask */
    uint32_t generation; /* of that side when the order came */
    uint32_t used;
} dbn_order;

typedef struct dbn_price_level {
    int64_t price;
    uint64_t size;
    uint32_t count, reserved;
} dbn_price_level;

typedef struct dbn_side {
    dbn_price_level *level; /* worst first, best last */
    uint32_t n, capacity, generation;
    uint32_t orders; /* of this generation in the table */
} dbn_side;

typedef struct dbn_touch {
    int64_t bid_price, ask_price;
    uint32_t bid_size, ask_size, bid_count, ask_count;
} dbn_touch;

typedef struct dbn_book {
    dbn_side side[2];
    uint8_t sound;       /* 1: it began with a clear or a snapshot and missed nothing since */
    uint8_t in_snapshot; /* rows of a snapshot are coming in */
    uint8_t snapshot_flags;
    uint8_t recovered; /* it has been told that a disconnect is made good */
    int64_t snapshot_time; /* of the last row: when the snapshot was taken */
    uint32_t snapshot_sequence;
    dbn_touch told; /* by the last QUOTE */
} dbn_book;

typedef struct dbn_books {
    dbn_book *book;
    dbn_order *order;
    uint32_t n, capacity;
    uint32_t order_slots, used_slots; /* used: by orders of older generations, too */
    uint32_t orders, max_orders;      /* of current generations */
    uint64_t overflows;           /* orders and levels that did not fit */
} dbn_books;

static const dbn_touch dbn_no_touch = {DBN_PRICE_UNDEF, DBN_PRICE_UNDEF, 0, 0, 0, 0};

static inline void dbn_books_free(dbn_books *b) {
    for (uint32_t i = 0; i < b->n; i++)
        for (int side = 0; side < 2; side++) free(b->book[i].side[side].level);
    free(b->book);
    free(b->order);
    memset(b, 0, sizeof *b);
}

/* A new empty book; returns its number, or -1 at the limit or without memory. */
static inline int dbn_book_new(dbn_books *b) {
    if (b->n == b->capacity) {
        uint32_t capacity = b->capacity ? 2 * b->capacity : 16;
        if (capacity > DBN_MAX_BOOKS) return -1;
        dbn_book *book = (dbn_book *)realloc(b->book, capacity * sizeof *book);
        if (!book) return -1;
        b->book = book;
        b->capacity = capacity;
    }
    memset(&b->book[b->n], 0, sizeof *b->book);
    b->book[b->n].told = dbn_no_touch;
    return (int)b->n++;
}

static inline void dbn_side_clear(dbn_books *b, dbn_side *s) {
    b->orders -= s->orders;
    s->orders = 0;
    s->n = 0;
    s->generation++;
}

static inline uint64_t dbn_order_hash(uint64_t order_id, uint32_t book) {
    uint64_t x = (order_id ^ (uint64_t)book << 40) * UINT64_C(0x9E3779B97F4A7C15);
    return x ^ x >> 29;
}

static inline int dbn_order_current(const dbn_books *b, const dbn_order *o) {
    return b->book[o->home >> 1].side[o->home & 1].generation == o->generation;
}

/* The slot of the order, or the free slot where it would go. The table is never full. */
static inline dbn_order *dbn_order_slot(dbn_order *table, uint32_t slots, uint64_t order_id, uint32_t book) {
    uint32_t i = (uint32_t)dbn_order_hash(order_id, book) & (slots - 1);
    while (table[i].used && (table[i].order_id != order_id || table[i].home >> 1 != book)) i = (i + 1) & (slots - 1);
    return &table[i];
}

static inline dbn_order *dbn_order_find(dbn_books *b, uint64_t order_id, uint32_t book) {
    if (!b->order_slots) return NULL;
    dbn_order *o = dbn_order_slot(b->order, b->order_slots, order_id, book);
    return o->used && dbn_order_current(b, o) ? o : NULL;
}

/* Close the hole: later orders of the same run move up, so no tombstones are needed. */
static inline void dbn_order_erase(dbn_books *b, dbn_order *o) {
    uint32_t mask = b->order_slots - 1, hole = (uint32_t)(o - b->order), i = hole;
    for (;;) {
        i = (i + 1) & mask;
        if (!b->order[i].used) break;
        uint32_t home = (uint32_t)dbn_order_hash(b->order[i].order_id, b->order[i].home >> 1) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            b->order[hole] = b->order[i];
            hole = i;
        }
    }
    b->order[hole].used = 0;
    b->used_slots--;
}

/* Rebuild without the orders of older generations, twice as large where they were few. 0, or -1. */
static inline int dbn_orders_grow(dbn_books *b) {
    uint32_t slots = b->order_slots ? b->order_slots : DBN_FIRST_ORDERS;
    while (b->orders >= slots / 4) slots *= 2;
    dbn_order *table = (dbn_order *)calloc(slots, sizeof *table);
    if (!table) return -1;
    for (uint32_t i = 0; i < b->order_slots; i++) {
        const dbn_order *o = &b->order[i];
        if (o->used && dbn_order_current(b, o)) *dbn_order_slot(table, slots, o->order_id, o->home >> 1) = *o;
    }
    free(b->order);
    b->order = table;
    b->order_slots = slots;
    b->used_slots = b->orders;
    return 0;
}

/* Place of the first level that is not worse than `price`. */
static inline uint32_t dbn_level_place(const dbn_side *s, int ask, int64_t price) {
    uint32_t lo = 0, hi = s->n;
    if (hi && s->level[hi - 1].price == price) return hi - 1; /* at the touch, mostly */
    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        int worse = ask ? s->level[middle].price > price : s->level[middle].price < price;
        if (worse) lo = middle + 1;
        else hi = middle;
    }
    return lo;
}

static inline int dbn_level_add(dbn_side *s, int ask, int64_t price, uint32_t size) {
    uint32_t i = dbn_level_place(s, ask, price);
    if (i == s->n || s->level[i].price != price) {
        if (s->n == s->capacity) {
            uint32_t capacity = s->capacity ? 2 * s->capacity : 64;
            if (capacity > DBN_MAX_LEVELS) return -1;
            dbn_price_level *level = (dbn_price_level *)realloc(s->level, capacity * sizeof *level);
            if (!level) return -1;
            s->level = level;
            s->capacity = capacity;
        }
        memmove(s->level + i + 1, s->level + i, (s->n - i) * sizeof *s->level);
        s->n++;
        s->level[i] = (dbn_price_level){price, 0, 0, 0};
    }
    s->level[i].size += size;
    s->level[i].count++;
    return 0;
}

/* Take `size` off a level, and one order off its count where `whole`. An empty level vanishes. */
static inline void dbn_level_take(dbn_side *s, int ask, int64_t price, uint32_t size, int whole) {
    uint32_t i = dbn_level_place(s, ask, price);
    if (i == s->n || s->level[i].price != price) return;
    dbn_price_level *l = &s->level[i];
    l->size = l->size > size ? l->size - size : 0;
    if (whole && l->count) l->count--;
    if (l->count) return;
    s->n--;
    memmove(l, l + 1, (s->n - i) * sizeof *l);
}

static inline void dbn_book_overflow(dbn_books *b, dbn_book *book) {
    b->overflows++;
    book->sound = 0;
}

static inline void dbn_book_remove(dbn_books *b, uint32_t book, dbn_order *o) {
    int ask = (int)(o->home & 1);
    dbn_level_take(&b->book[book].side[ask], ask, o->price, o->size, 1);
    b->book[book].side[ask].orders--;
    b->orders--;
    dbn_order_erase(b, o);
}

static inline void dbn_book_insert(dbn_books *b, uint32_t book, int ask, uint64_t order_id, int64_t price, uint32_t size) {
    dbn_order *o = dbn_order_find(b, order_id, book);
    if (o) dbn_book_remove(b, book, o); /* the same id again: the newer one counts */
    dbn_side *side = &b->book[book].side[ask];
    int full = b->orders >= b->max_orders || ((uint64_t)b->used_slots * 2 >= b->order_slots && dbn_orders_grow(b));
    if (full || dbn_level_add(side, ask, price, size)) {
        dbn_book_overflow(b, &b->book[book]);
        return;
    }
    o = dbn_order_slot(b->order, b->order_slots, order_id, book);
    if (!o->used) b->used_slots++; /* else one of an older generation makes room */
    side->orders++;
    b->orders++;
    *o = (dbn_order){order_id, price, size, book << 1 | (uint32_t)ask, side->generation, 1};
}

static inline void dbn_book_cancel(dbn_books *b, uint32_t book, const dbn_mbo *r) {
    dbn_order *o = dbn_order_find(b, r->order_id, book);
    if (!o) return; /* came before the stream began, or did not fit: the book is not sound then */
    if (r->size >= o->size) {
        dbn_book_remove(b, book, o);
    } else {
        int ask = (int)(o->home & 1);
        dbn_level_take(&b->book[book].side[ask], ask, o->price, r->size, 0);
        o->size -= r->size;
    }
}

/* A venue that sends tops of book only: the row replaces its side. */
static inline void dbn_book_top(dbn_books *b, uint32_t book, int ask, const dbn_mbo *r) {
    dbn_side *side = &b->book[book].side[ask];
    dbn_side_clear(b, side);
    if (r->price != DBN_PRICE_UNDEF && dbn_level_add(side, ask, r->price, r->size)) dbn_book_overflow(b, &b->book[book]);
}

/* Apply one row. Trades, fills and rows without a side leave the book alone. */
static inline void dbn_book_apply(dbn_books *b, uint32_t book, const dbn_mbo *r) {
    int ask = r->side == 'A';
    if (r->action == 'R') {
        dbn_side_clear(b, &b->book[book].side[0]);
        dbn_side_clear(b, &b->book[book].side[1]);
        b->book[book].sound = 1;
        b->book[book].told = dbn_no_touch;
    } else if (r->action == 'C') {
        dbn_book_cancel(b, book, r);
    } else if ((r->action == 'A' || r->action == 'M') && (r->side == 'B' || r->side == 'A')) {
        if (r->flags & DBN_TOB) dbn_book_top(b, book, ask, r);
        else if (r->price != DBN_PRICE_UNDEF) dbn_book_insert(b, book, ask, r->order_id, r->price, r->size);
    }
}

static inline uint32_t dbn_saturate(uint64_t size) { return size < UINT32_MAX ? (uint32_t)size : UINT32_MAX; }

static inline dbn_touch dbn_book_touch(const dbn_book *book) {
    dbn_touch t = dbn_no_touch;
    const dbn_side *bid = &book->side[0], *ask = &book->side[1];
    if (bid->n) {
        const dbn_price_level *l = &bid->level[bid->n - 1];
        t.bid_price = l->price; t.bid_size = dbn_saturate(l->size); t.bid_count = l->count;
    }
    if (ask->n) {
        const dbn_price_level *l = &ask->level[ask->n - 1];
        t.ask_price = l->price; t.ask_size = dbn_saturate(l->size); t.ask_count = l->count;
    }
    return t;
}

static inline int dbn_same_touch(const dbn_touch *a, const dbn_touch *b) {
    return a->bid_price == b->bid_price && a->ask_price == b->ask_price && a->bid_size == b->bid_size &&
           a->ask_size == b->ask_size && a->bid_count == b->bid_count && a->ask_count == b->ask_count;
}

#endif
