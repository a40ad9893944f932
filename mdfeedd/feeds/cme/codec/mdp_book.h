/* Books of price levels, and the quotes that an event leaves behind.
 *
 * A side is an array of its deepest possible length; an empty level is (PRICE_UNDEF, 0, 0). The updates are
 * those of [CME, "MDP 3.0 - Market by Price - Multiple Depth Book"]: New pushes what is at the level and below
 * it down, and the last one out; Delete pulls up what is below and leaves the last level empty until a New
 * names it. `known` has a bit for each level that updates have told since the book came into doubt: when all
 * are set the updates alone have rebuilt the side ("natural refresh").
 */
#ifndef MDP_BOOK_H
#define MDP_BOOK_H

#include "mdp_out.h"

#define MDP_ALL_KNOWN(depth) ((uint16_t)((1u << (depth)) - 1u))
#define MDP_FIRST_ORDER UINT64_C(0xFEDCBA9876543210)

/* Where the levels of a side begin in mdp_instrument.level. */
static const uint8_t mdp_first_level[MDP_SIDES_OF_BOOK] = {0, MDP_LEVELS, 2 * MDP_LEVELS, 2 * MDP_LEVELS + MDP_IMPLIED};

static inline mdp_level mdp_empty(void) { return (mdp_level){MDF_PRICE_UNDEF, 0}; }

static inline mdp_level mdp_level_of(int64_t price, uint32_t size, uint32_t orders) {
    return (mdp_level){price, size | (uint64_t)orders << 32};
}

static inline uint32_t mdp_size_of(const mdp_level *l) { return (uint32_t)l->rest; }
static inline uint32_t mdp_orders_of(const mdp_level *l) { return (uint32_t)(l->rest >> 32); }

static inline int mdp_is_empty(const mdp_level *l) { return (l->price == MDF_PRICE_UNDEF) & !l->rest; }

/* Level i of a side, from 0. */
MDP_HOT mdp_level *mdp_level_at(mdp_instrument *b, unsigned side, unsigned i) {
    return &b->level[mdp_first_level[side] + (b->side[side].order >> (4 * i) & 15)];
}

static inline void mdp_empty_side(mdp_instrument *b, unsigned side) {
    b->side[side].order = MDP_FIRST_ORDER & ((UINT64_C(16) << (4 * (b->side[side].depth - 1u))) - 1);
    for (unsigned i = 0; i < b->side[side].depth; i++) *mdp_level_at(b, side, i) = mdp_empty();
}

static inline void mdp_empty_book(mdp_instrument *b) {
    for (unsigned side = 0; side < MDP_SIDES_OF_BOOK; side++) mdp_empty_side(b, side);
}

static inline void mdp_forget_known(mdp_instrument *b) {
    for (unsigned side = 0; side < MDP_SIDES_OF_BOOK; side++) b->side[side].known = 0;
}

/* How deep the venue publishes the book, 1 to MDP_LEVELS. Another depth than before empties it. */
static inline void mdp_set_depth(mdp_instrument *b, unsigned depth) {
    if (b->side[MDP_BIDS].depth == depth) return;
    b->side[MDP_BIDS].depth = b->side[MDP_ASKS].depth = (uint8_t)depth;
    b->side[MDP_IMPLIED_BIDS].depth = b->side[MDP_IMPLIED_ASKS].depth = MDP_IMPLIED;
    mdp_empty_book(b);
    mdp_forget_known(b);
}

static inline void mdp_empty_told(mdp_touch *t) {
    t->bid = t->ask = mdp_empty();
}

/* Side of an entry type; negative for one that is no level. */
MDP_HOT int mdp_side_of(uint8_t type) {
    static const uint8_t sides[256] = {[MDP_BID] = MDP_BIDS + 1, [MDP_OFFER] = MDP_ASKS + 1,
                                       [MDP_IMPLIED_BID] = MDP_IMPLIED_BIDS + 1, [MDP_IMPLIED_OFFER] = MDP_IMPLIED_ASKS + 1};
    return sides[type] - 1;
}

/* DeleteThru empties the side. DeleteFrom is taken as "1 to n", and reported: CME's text allows another reading,
 * so whoever gets one mends the book by a snapshot. */
MDP_COLD int mdp_update_rarely(mdp_instrument *b, unsigned side, unsigned action, unsigned level, mdp_level to) {
    mdp_side *s = &b->side[side];
    if (action == MDP_DELETE_THRU) {
        mdp_empty_side(b, side);
        s->known = MDP_ALL_KNOWN(s->depth);
        return 0;
    }
    if (!level || level > s->depth) return 1;
    if (action == MDP_OVERLAY) {
        *mdp_level_at(b, side, level - 1) = to;
        s->known |= (uint16_t)(1u << (level - 1));
        return 0;
    }
    if (action != MDP_DELETE_FROM) return 1;
    for (unsigned i = 0; i < s->depth; i++)
        *mdp_level_at(b, side, i) = i + level < s->depth ? *mdp_level_at(b, side, i + level) : mdp_empty();
    s->known = (uint16_t)((s->known >> level) | (MDP_ALL_KNOWN(level) << (s->depth - level)));
    return 1;
}

static inline void mdp_update_known(mdp_side *s, unsigned action, unsigned i) {
    unsigned known = s->known, bit = 1u << i, above = bit - 1, below = ~above;
    unsigned pushed = (known & above) | bit | ((known & below) << 1);
    unsigned pulled = (known & above) | (known >> 1 & below) | 1u << (s->depth - 1);
    s->known = (uint16_t)((action == MDP_NEW ? pushed : action == MDP_DELETE ? pulled : known | bit) & MDP_ALL_KNOWN(s->depth));
}

/* Apply one update to level 1 to `depth`. Returns 0, or nonzero if a right book could not have received it:
 * what can be done is done all the same. No loop, and no branch that the data decide. */
MDP_HOT int mdp_update_side(mdp_instrument *b, unsigned side, unsigned action, unsigned level, mdp_level to) {
    mdp_side *s = &b->side[side];
    unsigned i = level - 1;
    if (!MDP_LIKELY(i < s->depth && action <= MDP_DELETE)) return mdp_update_rarely(b, side, action, level, to);
    mdp_level *levels = b->level + mdp_first_level[side];
    unsigned at = 4 * i, end = 4 * (s->depth - 1u);
    uint64_t order = s->order, below = ~UINT64_C(0) << at, above = order & ~below;
    unsigned here = order >> at & 15, last = order >> end & 15, before = order >> (i ? at - 4 : 0) & 15;
    int is_new = action == MDP_NEW, is_delete = action == MDP_DELETE;
    uint64_t pushed = above | (uint64_t)last << at | ((order & below) << 4 & ((UINT64_C(16) << end) - 1));
    uint64_t pulled = above | (order >> 4 & below) | (uint64_t)here << end;
    int fault = 0;
    if (b->state == MDP_SYNC) { /* what must be there, if the book is right */
        const mdp_level *there = &levels[is_new ? before : here];
        fault = (mdp_is_empty(there) & !(is_new & !i)) | ((action == MDP_CHANGE) & (there->price != to.price));
    } else {
        mdp_update_known(s, action, i);
    }
    mdp_level *place = &levels[is_new ? last : here];
    place->price = is_delete ? MDF_PRICE_UNDEF : to.price;
    place->rest = is_delete ? 0 : to.rest;
    s->order = is_new ? pushed : is_delete ? pulled : order;
    return fault;
}

MDP_HOT mdp_touch mdp_touch_of(mdp_instrument *b, unsigned bids) {
    const mdp_level *bid = mdp_level_at(b, bids, 0), *ask = mdp_level_at(b, bids + 1, 0);
    return (mdp_touch){{bid->price, bid->rest}, {ask->price, ask->rest}};
}

MDP_HOT int mdp_same_level(const mdp_level *a, const mdp_level *b) {
    return ((uint64_t)(a->price ^ b->price) | (a->rest ^ b->rest)) == 0;
}

MDP_HOT int mdp_same_touch(const mdp_touch *a, const mdp_touch *b) {
    return mdp_same_level(&a->bid, &b->bid) & mdp_same_level(&a->ask, &b->ask);
}

/* QUOTE of a touch that differs from the one told last. Where one side alone changed, side and count are its. */
MDP_HOT void mdp_quote(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, mdp_touch now, mdp_touch *told, unsigned flags) {
    uint32_t bid_size = mdp_size_of(&now.bid), ask_size = mdp_size_of(&now.ask), count = 0;
    unsigned side = MDF_SIDE_NONE, bid = !mdp_same_level(&now.bid, &told->bid), ask = !mdp_same_level(&now.ask, &told->ask);
    if ((bid_size == UINT32_MAX) | (ask_size == UINT32_MAX)) flags |= MDF_SIZE_SATURATED;
    if (bid != ask) {
        side = bid ? MDF_SIDE_BID : MDF_SIDE_ASK;
        count = bid ? mdp_orders_of(&now.bid) : mdp_orders_of(&now.ask);
    }
    told->bid.price = now.bid.price;
    told->bid.rest = now.bid.rest;
    told->ask.price = now.ask.price;
    told->ask.rest = now.ask.rest;
    uint64_t *w = mdp_words_of(h, ch, b->instrument_id, b->time, flags, MDF_QUOTE, side, count);
    w[5] = (uint64_t)now.bid.price;
    w[6] = (uint64_t)now.ask.price;
    w[7] = bid_size | (uint64_t)ask_size << 32;
    h->count.quotes++;
}

static inline void mdp_put_depth_side(mdp_instrument *b, unsigned side, int64_t *price, uint32_t *size, uint32_t *orders,
                                      uint8_t *n) {
    for (unsigned i = 0; i < MDF_DEPTH_LEVELS; i++) {
        mdp_level l = i < b->side[side].depth ? *mdp_level_at(b, side, i) : mdp_empty();
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
