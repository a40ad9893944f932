/* Books of price levels, and the quotes that an event leaves behind.
 *
 * A side is an array of its deepest possible length; an empty level is (PRICE_UNDEF, 0, 0). The updates are
 * those of [CME, "MDP 3.0 - Market by Price - Multiple Depth Book"]: New pushes what is at the level and below
 * it down, and the last one out; Delete pulls up what is below and leaves the last level empty until a New
 * names it. `unknown` has a bit for each level that no update has told since the book came into doubt: when none
 * is left the updates alone have rebuilt the book ("natural refresh").
 */
#ifndef MDP_BOOK_H
#define MDP_BOOK_H

#include "mdp_out.h"

#define MDP_FIRST_ORDER UINT64_C(0x98765432100) /* each level at its own place; the depth is still to come */

/* Where the levels of a side begin in mdp_instrument.level. */
#define MDP_FIRST(side) \
    ((side) < MDP_IMPLIED_BIDS ? (side) * MDP_LEVELS : 2 * MDP_LEVELS + ((side) - MDP_IMPLIED_BIDS) * MDP_IMPLIED)

/* What an entry type means: a side, its MDP_FIRST, and what an update of it leaves in mdp_instrument.flags: one of its
 * first level, and one of another. All 0: the entry is no level. */
typedef struct mdp_kind { uint8_t side, first, flags, first_flags; } mdp_kind;

#define MDP_KIND(side) {side, MDP_FIRST(side), (side) < MDP_IMPLIED_BIDS ? 0 : MDP_HAS_IMPLIED, \
                        (side) < MDP_IMPLIED_BIDS ? MDP_TOUCHED : MDP_HAS_IMPLIED | MDP_TOUCHED_IMPLIED}

static const mdp_kind mdp_kinds[256] = {[MDP_BID] = MDP_KIND(MDP_BIDS), [MDP_OFFER] = MDP_KIND(MDP_ASKS),
                                        [MDP_IMPLIED_BID] = MDP_KIND(MDP_IMPLIED_BIDS),
                                        [MDP_IMPLIED_OFFER] = MDP_KIND(MDP_IMPLIED_ASKS)};

MDP_HOT int mdp_is_level(const mdp_kind *kind) { return kind->first_flags != 0; }

#define MDP_OUTRIGHT ((UINT64_C(1) << 2 * MDP_LEVELS) - 1) /* the places of its levels, a bit each */

static inline mdp_level mdp_empty(void) { return (mdp_level){MDF_PRICE_UNDEF, 0}; }

static inline mdp_level mdp_level_of(int64_t price, uint32_t size, uint32_t orders) {
    return (mdp_level){price, size | (uint64_t)orders << 32};
}

static inline uint32_t mdp_size_of(const mdp_level *l) { return (uint32_t)l->rest; }
static inline uint32_t mdp_orders_of(const mdp_level *l) { return (uint32_t)(l->rest >> 32); }

static inline int mdp_is_empty(const mdp_level *l) { return (l->price == MDF_PRICE_UNDEF) & !l->rest; }

static inline unsigned mdp_depth_of(const mdp_instrument *b, unsigned side) { return b->order[side] & 15; }

/* Where level i of a side, from 0, is in mdp_instrument.level. */
MDP_HOT unsigned mdp_place_at(const mdp_instrument *b, unsigned side, unsigned i) {
    return MDP_FIRST(side) + (unsigned)(b->order[side] >> (4 * i + 4) & 15);
}

MDP_HOT mdp_level *mdp_level_at(mdp_instrument *b, unsigned side, unsigned i) {
    return &b->level[mdp_place_at(b, side, i)];
}

/* All levels of a side, a bit each. */
static inline uint32_t mdp_levels_of(const mdp_instrument *b, unsigned side) {
    return ((1u << mdp_depth_of(b, side)) - 1u) << MDP_FIRST(side);
}

/* An order of `depth` levels, each at its own place. */
static inline uint64_t mdp_first_order(unsigned depth) {
    return (MDP_FIRST_ORDER & ((UINT64_C(16) << 4 * depth) - 1)) | depth;
}

/* Empty it, and have it `depth` levels. */
static inline void mdp_empty_side(mdp_instrument *b, unsigned side, unsigned depth) {
    b->order[side] = mdp_first_order(depth);
    b->flags |= side < MDP_IMPLIED_BIDS ? MDP_TOUCHED : MDP_TOUCHED_IMPLIED;
    for (unsigned i = 0; i < depth; i++) b->level[MDP_FIRST(side) + i] = mdp_empty();
}

static inline void mdp_empty_book(mdp_instrument *b) {
    for (unsigned side = 0; side < MDP_SIDES_OF_BOOK; side++) mdp_empty_side(b, side, mdp_depth_of(b, side));
}

static inline void mdp_forget_known(mdp_instrument *b) {
    b->unknown = 0;
    for (unsigned side = 0; side < MDP_SIDES_OF_BOOK; side++) b->unknown |= mdp_levels_of(b, side);
}

/* Give a side another number of levels; whether one went that was not empty. */
static inline int mdp_cut_side(mdp_instrument *b, unsigned side, unsigned depth) {
    mdp_level level[MDP_LEVELS];
    unsigned before = mdp_depth_of(b, side), lost = 0;
    uint32_t unknown = 0;
    for (unsigned i = 0; i < MDP_LEVELS; i++) {
        level[i] = i < before ? *mdp_level_at(b, side, i) : mdp_empty();
        if (i >= before || b->unknown >> mdp_place_at(b, side, i) & 1) unknown |= 1u << i;
        lost |= i >= depth && !mdp_is_empty(&level[i]);
    }
    b->unknown &= ~mdp_levels_of(b, side);
    b->order[side] = mdp_first_order(depth);
    for (unsigned i = 0; i < depth; i++) b->level[MDP_FIRST(side) + i] = level[i];
    b->unknown |= (unknown & ((1u << depth) - 1u)) << MDP_FIRST(side);
    return (int)lost;
}

/* How deep the venue publishes the book, 1 to MDP_LEVELS. What two depths have in common stays. Nonzero if it may be
 * wrong: levels went that the venue may not have had, or there are levels now of which nothing is known. */
static inline int mdp_set_depth(mdp_instrument *b, unsigned depth) {
    unsigned before = mdp_depth_of(b, MDP_BIDS);
    if (before == depth) return 0;
    int lost = mdp_cut_side(b, MDP_BIDS, depth);
    lost |= mdp_cut_side(b, MDP_ASKS, depth);
    return lost | (depth > before);
}

static inline void mdp_empty_told(mdp_touch *t) {
    t->bid = t->ask = mdp_empty();
}

/* DeleteThru empties the side. DeleteFrom is taken as "1 to n", and reported: CME's text allows another reading,
 * so whoever gets one mends the book by a snapshot. */
MDP_COLD int mdp_update_rarely(mdp_instrument *b, const mdp_kind *kind, unsigned action, unsigned level, mdp_level to) {
    unsigned side = kind->side, depth = mdp_depth_of(b, side);
    b->flags |= kind->first_flags;
    if (action == MDP_DELETE_THRU) {
        mdp_empty_side(b, side, depth);
        b->unknown &= ~mdp_levels_of(b, side);
        return 0;
    }
    if (!level || level > depth) return 1;
    if (action == MDP_OVERLAY) {
        *mdp_level_at(b, side, level - 1) = to;
        b->unknown &= ~(1u << mdp_place_at(b, side, level - 1));
        return 0;
    }
    if (action != MDP_DELETE_FROM) return 1;
    uint64_t places = b->order[side] >> 4, gone = places & ((UINT64_C(1) << 4 * level) - 1);
    b->order[side] = (places >> 4 * level | gone << 4 * (depth - level)) << 4 | depth;
    for (unsigned i = depth - level; i < depth; i++) {
        *mdp_level_at(b, side, i) = mdp_empty();
        b->unknown &= ~(1u << mdp_place_at(b, side, i));
    }
    return 1;
}

/* Whether a right book could not receive the update: its level, or the one before it, is not there, or has another
 * price. */
MDP_HOT int mdp_is_odd(const mdp_instrument *b, const mdp_kind *kind, unsigned action, unsigned level, int64_t price) {
    unsigned is_new = action == MDP_NEW;
    const mdp_level *there = &b->level[kind->first + (b->order[kind->side] >> (4 * (level - is_new)) & 15)];
    return (mdp_is_empty(there) & !(is_new & (level == 1))) | ((action == MDP_CHANGE) & (there->price != price));
}

/* Where in mdp_instrument.level an update of level 1 to the depth is to be put; a Delete leaves that empty. */
MDP_HOT unsigned mdp_place_for(mdp_instrument *b, const mdp_kind *kind, unsigned action, unsigned level) {
    uint64_t order = b->order[kind->side], from = order >> 4 * level; /* from: this level and those behind it */
    unsigned place = from & 15;
    if (action != MDP_CHANGE) {
        unsigned at = 4 * level, end = 4 * (order & 15);
        uint64_t before = order ^ from << at;
        if (action == MDP_NEW) { /* the last place comes here, the others move down */
            place = (unsigned)(order >> end);
            order = before ^ (from << 4 | place) << at ^ (uint64_t)place << 4 << end;
        } else { /* this place becomes the last */
            order = before | from >> 4 << at | (uint64_t)place << end;
        }
        b->order[kind->side] = order;
    }
    place += kind->first;
    b->unknown &= ~(UINT64_C(1) << place);
    b->flags |= level == 1 ? kind->first_flags : kind->flags;
    return place;
}

/* Apply one update. Returns 0, or nonzero if a right book could not have received it: what can be done is done all
 * the same. */
static inline int mdp_update_side(mdp_instrument *b, const mdp_kind *kind, unsigned action, unsigned level,
                                  mdp_level to) {
    if (level - 1 >= mdp_depth_of(b, kind->side) || action > MDP_DELETE)
        return mdp_update_rarely(b, kind, action, level, to);
    int fault = b->state == MDP_SYNC && mdp_is_odd(b, kind, action, level, to.price);
    b->level[mdp_place_for(b, kind, action, level)] = action == MDP_DELETE ? mdp_empty() : to;
    return fault;
}

MDP_HOT mdp_touch mdp_touch_of(mdp_instrument *b, unsigned bids) {
    const mdp_level *bid = mdp_level_at(b, bids, 0), *ask = mdp_level_at(b, bids + 1, 0);
    return (mdp_touch){{bid->price, bid->rest}, {ask->price, ask->rest}};
}

/* 0 only if they are the same. */
MDP_HOT uint64_t mdp_level_differs(const mdp_level *a, const mdp_level *b) {
    return (uint64_t)(a->price ^ b->price) | (a->rest ^ b->rest);
}

MDP_HOT int mdp_same_touch(const mdp_touch *a, const mdp_touch *b) {
    return !(mdp_level_differs(&a->bid, &b->bid) | mdp_level_differs(&a->ask, &b->ask));
}

/* What changed of a touch, 1 the bid and 2 the ask, makes the side of its QUOTE, and whose number of orders is the
 * count: where one side alone changed, both are its. */
typedef struct mdp_turn { uint64_t kind, bid_orders, ask_orders; } mdp_turn;

static const mdp_turn mdp_turns[4] = {{MDP_TICK_KIND(MDF_QUOTE, MDF_SIDE_NONE), 0, 0},
                                      {MDP_TICK_KIND(MDF_QUOTE, MDF_SIDE_BID), UINT64_MAX << 32, 0},
                                      {MDP_TICK_KIND(MDF_QUOTE, MDF_SIDE_ASK), 0, UINT64_MAX << 32},
                                      {MDP_TICK_KIND(MDF_QUOTE, MDF_SIDE_NONE), 0, 0}};

/* QUOTE of a touch that differs from the one told last. */
MDP_HOT void mdp_quote(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, mdp_touch now, mdp_touch *told, unsigned flags) {
    unsigned bid = mdp_level_differs(&now.bid, &told->bid) != 0, ask = mdp_level_differs(&now.ask, &told->ask) != 0;
    const mdp_turn *turn = &mdp_turns[bid + 2 * ask];
    uint64_t orders = (now.bid.rest & turn->bid_orders) | (now.ask.rest & turn->ask_orders);
    uint32_t bid_size = mdp_size_of(&now.bid), ask_size = mdp_size_of(&now.ask);
    if (MDP_UNLIKELY((bid_size == UINT32_MAX) | (ask_size == UINT32_MAX))) flags |= MDF_SIZE_SATURATED;
    told->bid.price = now.bid.price; /* whole words, see mdp_level */
    told->bid.rest = now.bid.rest;
    told->ask.price = now.ask.price;
    told->ask.rest = now.ask.rest;
    uint64_t *w = mdp_words_of(h, ch, turn->kind | b->instrument_id, b->time, flags, orders);
    mdf_store(w + 5, (uint64_t)now.bid.price);
    mdf_store(w + 6, (uint64_t)now.ask.price);
    mdf_store(w + 7, bid_size | (uint64_t)ask_size << 32);
    h->count.quotes++;
}

static inline void mdp_put_depth_side(mdp_instrument *b, unsigned side, int64_t *price, uint32_t *size, uint32_t *orders,
                                      uint8_t *n) {
    for (unsigned i = 0; i < MDF_DEPTH_LEVELS; i++) {
        mdp_level l = i < mdp_depth_of(b, side) ? *mdp_level_at(b, side, i) : mdp_empty();
        price[i] = l.price;
        size[i] = mdp_size_of(&l);
        orders[i] = mdp_orders_of(&l);
        if (!mdp_is_empty(&l)) *n = (uint8_t)(i + 1);
    }
}

/* The whole book, into the depth ring: outright, and the implied one where there is any. */
static inline void mdp_put_depth(mdp_handler *h, mdp_instrument *b, unsigned flags) {
    for (unsigned bids = MDP_BIDS; bids <= MDP_IMPLIED_BIDS; bids += MDP_IMPLIED_BIDS) {
        if (bids && !(b->flags & MDP_HAS_IMPLIED)) return;
        mdf_depth d;
        memset(&d, 0, sizeof d);
        d.ts_event = (int64_t)b->time;
        d.ts_recv = h->ts_recv;
        d.instrument_id = b->instrument_id;
        d.venue_seq = h->packet;
        d.flags = (uint16_t)(h->ts_flags | flags | (bids ? MDF_IMPLIED : 0));
        mdp_put_depth_side(b, bids, d.bid_price, d.bid_size, d.bid_orders, &d.bids);
        mdp_put_depth_side(b, bids + 1, d.ask_price, d.ask_size, d.ask_orders, &d.asks);
        mdp_put(&h->depth_out, &d, 1);
    }
}

#endif
