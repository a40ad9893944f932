/* Books of single orders (Market by Order), where a channel carries them and the configuration wants them.
 *
 * Order entries have no RptSeq, so nothing but a snapshot (template 53, all its chunks) proves a book of orders
 * after a loss; until then updates are applied as well as can be, and kept for after the snapshot.
 *
 * One pool holds everything: orders that live (found by a chained hash, linked by instrument), orders of a
 * snapshot whose chunks are still coming, and updates that wait for one.
 */
#ifndef MDP_ORDERS_H
#define MDP_ORDERS_H

#include "mdp_proof.h"

#define MDP_MAX_FILLS 1024u /* trades of one event that wait for their order ids */

typedef struct mdp_order {
    uint64_t id, priority, time;
    int64_t price;
    uint32_t size, next, before, chain; /* chain: next in the hash; before: in the instrument's list */
    uint32_t instrument, packet;
    uint8_t side, action, reserved[6];
} mdp_order;

/* A trade entry whose order ids are still to come, maybe in later packets of the event. */
typedef struct mdp_fill {
    uint32_t instrument, left; /* left: order ids that belong to it */
    uint32_t trade_id;
    uint8_t aggressor, begun, reserved[2]; /* begun: its first order id, which is the aggressor's, has come */
    int64_t price;
} mdp_fill;

typedef struct mdp_fills {
    uint32_t n, first;
    mdp_fill fill[MDP_MAX_FILLS];
} mdp_fills;

struct mdp_orders {
    mdp_order *pool;
    uint32_t *buckets;
    uint32_t mask, room, used, free; /* used: touched so far */
    mdp_fills fills[MDP_MAX_CHANNELS];
};

static inline uint32_t mdp_order_bucket(const mdp_orders *o, uint32_t instrument, uint64_t id) {
    return (uint32_t)(((id ^ ((uint64_t)instrument << 40)) * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & o->mask;
}

/* A node, MDP_NONE if the pool is used up, which is told once and counted. */
static inline uint32_t mdp_order_take(mdp_handler *h, uint32_t channel) {
    mdp_orders *o = h->orders;
    uint32_t i = o->free;
    if (i != MDP_NONE) o->free = o->pool[i].next;
    else if (o->used < o->room) i = o->used++;
    else {
        h->count.order_faults++;
        mdp_tell_once(h, MDP_TOLD_ORDER_OVERFLOW, channel, 0, o->room);
    }
    return i;
}

static inline void mdp_order_free_list(mdp_orders *o, uint32_t first) {
    while (first != MDP_NONE) {
        uint32_t next = o->pool[first].next;
        o->pool[first].next = o->free;
        o->free = first;
        first = next;
    }
}

static inline uint32_t mdp_order_find(const mdp_orders *o, uint32_t instrument, uint64_t id) {
    uint32_t i = o->buckets[mdp_order_bucket(o, instrument, id)];
    while (i != MDP_NONE && (o->pool[i].id != id || o->pool[i].instrument != instrument)) i = o->pool[i].chain;
    return i;
}

/* Of an order that is in the book; MDF_SIDE_NONE of another. */
static inline uint8_t mdp_order_side(const mdp_orders *o, uint32_t instrument, uint64_t id) {
    uint32_t i = mdp_order_find(o, instrument, id);
    return i == MDP_NONE ? MDF_SIDE_NONE : o->pool[i].side;
}

static inline void mdp_order_link(mdp_orders *o, mdp_instrument *b, uint32_t i) {
    mdp_order *n = &o->pool[i];
    uint32_t *bucket = &o->buckets[mdp_order_bucket(o, n->instrument, n->id)];
    n->chain = *bucket;
    *bucket = i;
    n->before = MDP_NONE;
    n->next = b->first_order;
    if (b->first_order != MDP_NONE) o->pool[b->first_order].before = i;
    b->first_order = i;
    b->orders_n++;
}

static inline void mdp_order_unlink(mdp_orders *o, mdp_instrument *b, uint32_t i) {
    mdp_order *n = &o->pool[i];
    uint32_t *at = &o->buckets[mdp_order_bucket(o, n->instrument, n->id)];
    while (*at != i) at = &o->pool[*at].chain;
    *at = n->chain;
    if (n->before != MDP_NONE) o->pool[n->before].next = n->next;
    else b->first_order = n->next;
    if (n->next != MDP_NONE) o->pool[n->next].before = n->before;
    b->orders_n--;
    n->next = o->free;
    o->free = i;
}

static inline void mdp_orders_clear(mdp_orders *o, mdp_instrument *b) {
    while (b->first_order != MDP_NONE) mdp_order_unlink(o, b, b->first_order);
}

static inline void mdp_orders_drop_waiting(mdp_orders *o, mdp_instrument *b) {
    mdp_order_free_list(o, b->first_mbo_note);
    mdp_order_free_list(o, b->chunk_first);
    b->first_mbo_note = b->last_mbo_note = b->chunk_first = MDP_NONE;
    b->chunk_next = 0;
}

static inline void mdp_put_order(mdp_handler *h, const mdp_channel *ch, const mdp_instrument *b, const mdp_order *n,
                                 unsigned action, unsigned flags) {
    mdf_order r;
    memset(&r, 0, sizeof r);
    r.ts_event = (int64_t)n->time;
    r.ts_recv = h->ts_recv;
    r.instrument_id = b->instrument_id;
    r.action = (uint8_t)action;
    r.side = n->side;
    r.flags = (uint16_t)(h->ts_flags | flags | (mdp_is_mbo_proven(ch, b) ? 0 : MDF_STALE));
    r.order_id = n->id;
    r.priority = n->priority;
    r.price = n->price;
    r.size = n->size;
    r.venue_seq = h->packet;
    mdp_put(&h->orders_out, &r, 1);
}

static inline void mdp_put_clear(mdp_handler *h, const mdp_channel *ch, const mdp_instrument *b, uint64_t time, unsigned flags) {
    mdp_order clear;
    memset(&clear, 0, sizeof clear);
    clear.time = time;
    mdp_put_order(h, ch, b, &clear, MDF_ORDER_CLEAR, flags);
}

/* All orders of an instrument are void: CLEAR, if any was told. */
static inline void mdp_orders_void(mdp_handler *h, const mdp_channel *ch, mdp_instrument *b, uint64_t time) {
    if (b->first_order != MDP_NONE) mdp_put_clear(h, ch, b, time, 0);
    mdp_orders_clear(h->orders, b);
    mdp_orders_drop_waiting(h->orders, b);
}

/* Bring one entry into the live book. New of a known order replaces it; nonzero if the order of a change or
 * delete is not there. */
static inline int mdp_order_apply(mdp_handler *h, mdp_instrument *b, const mdp_order *n) {
    mdp_orders *o = h->orders;
    uint32_t i = mdp_order_find(o, n->instrument, n->id);
    int missing = i == MDP_NONE && n->action != MDF_ORDER_NEW;
    if (n->action == MDF_ORDER_DELETE) {
        if (i != MDP_NONE) mdp_order_unlink(o, b, i);
        return missing;
    }
    if (i == MDP_NONE) {
        i = mdp_order_take(h, b->channel);
        if (i == MDP_NONE) return 1;
        o->pool[i] = *n;
        mdp_order_link(o, b, i);
        return missing;
    }
    o->pool[i].priority = n->priority;
    o->pool[i].price = n->price;
    o->pool[i].size = n->size;
    o->pool[i].side = n->side;
    o->pool[i].time = n->time;
    return 0;
}

static inline void mdp_order_note(mdp_handler *h, mdp_instrument *b, const mdp_order *n) {
    uint32_t i = mdp_order_take(h, b->channel);
    if (i == MDP_NONE) { /* nothing before can be used any more */
        mdp_orders_drop_waiting(h->orders, b);
        b->mbo_since = h->packet;
        return;
    }
    h->orders->pool[i] = *n;
    h->orders->pool[i].next = MDP_NONE;
    if (b->first_mbo_note == MDP_NONE) b->first_mbo_note = i;
    else h->orders->pool[b->last_mbo_note].next = i;
    b->last_mbo_note = i;
}

static inline void mdp_mbo_disprove(mdp_channel *ch, mdp_instrument *b, uint32_t since) {
    ch->unproven_mbo += mdp_is_mbo_proven(ch, b);
    b->mbo_state = MDP_STALE_BOOK;
    b->mbo_generation = ch->generation;
    b->mbo_since = since;
    b->mbo_ahead = 0;
}

static inline void mdp_mbo_prove(mdp_channel *ch, mdp_instrument *b) {
    ch->unproven_mbo -= !mdp_is_mbo_proven(ch, b);
    b->mbo_state = MDP_SYNC;
    b->mbo_generation = ch->generation;
}

/* The packet that a snapshot of orders must know of: see mdp_needed(). */
static inline uint32_t mdp_mbo_needed(const mdp_channel *ch, const mdp_instrument *b) {
    uint32_t since = b->mbo_since > b->mbo_ahead ? b->mbo_since : b->mbo_ahead;
    return b->mbo_generation != ch->generation && ch->last_lost >= since ? ch->last_lost + 1 : since;
}

/* The venue has emptied the book: right, whatever was lost, unless a snapshot has told of what came after. */
static inline void mdp_orders_reset(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint64_t time) {
    if (h->packet < b->mbo_ahead) return;
    mdp_mbo_prove(ch, b);
    mdp_orders_void(h, ch, b, time);
}

static inline mdp_order mdp_order_of(uint64_t id, uint64_t priority, int64_t price, uint32_t size, uint8_t entry_type) {
    mdp_order n;
    memset(&n, 0, sizeof n);
    n.id = id;
    n.priority = priority;
    n.price = price;
    n.size = size;
    n.side = entry_type == MDP_BID ? MDF_SIDE_BID : MDF_SIDE_ASK;
    return n;
}

/* One order entry of an accepted packet. */
static inline void mdp_order_entry(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, mdp_order *n, uint64_t time) {
    n->time = time;
    n->instrument = (uint32_t)(b - h->instruments);
    n->packet = h->packet;
    if (h->packet < b->mbo_ahead) return; /* a snapshot has told of it */
    int again = h->packet == b->mbo_ahead; /* of all or of part of it: to apply it once more leads to the same book */
    if (b->mbo_generation != ch->generation || b->mbo_state == MDP_UNKNOWN) {
        if (b->mbo_state == MDP_STALE_BOOK) mdp_orders_drop_waiting(h->orders, b); /* queued before the loss */
        mdp_mbo_disprove(ch, b, mdp_mbo_needed(ch, b));
    }
    int fault = mdp_order_apply(h, b, n);
    if (b->mbo_state != MDP_SYNC) {
        mdp_order_note(h, b, n);
    } else if (fault && !again) {
        h->count.order_faults++;
        mdp_mbo_disprove(ch, b, h->packet);
    }
    mdp_put_order(h, ch, b, n, n->action, 0);
}

/* The book is what the chunks said, and what came since. */
static inline void mdp_orders_adopt(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint32_t last) {
    mdp_orders *o = h->orders;
    mdp_orders_clear(o, b);
    mdp_mbo_prove(ch, b);
    b->mbo_ahead = ch->started && last >= ch->next ? last : 0;
    mdp_put_clear(h, ch, b, ch->sending, MDF_SNAPSHOT);
    while (b->chunk_first != MDP_NONE) {
        uint32_t i = b->chunk_first;
        b->chunk_first = o->pool[i].next;
        uint32_t same = mdp_order_find(o, o->pool[i].instrument, o->pool[i].id);
        if (same != MDP_NONE) mdp_order_unlink(o, b, same);
        mdp_order_link(o, b, i);
        mdp_put_order(h, ch, b, &o->pool[i], MDF_ORDER_NEW, MDF_SNAPSHOT);
    }
    while (b->first_mbo_note != MDP_NONE) {
        uint32_t i = b->first_mbo_note;
        mdp_order n = o->pool[i];
        b->first_mbo_note = n.next;
        if (n.packet > last) {
            mdp_order_apply(h, b, &n);
            mdp_put_order(h, ch, b, &n, n.action, MDF_SNAPSHOT);
        }
        o->pool[i].next = o->free;
        o->free = i;
    }
    b->last_mbo_note = MDP_NONE;
    b->chunk_next = 0;
}

typedef struct mdp_chunk {
    uint32_t last, chunks, current;
    uint64_t time;
    const uint8_t *entries;
    uint32_t count, length;
    int old;
} mdp_chunk;

/* One chunk of an instrument's orders, from either line. Only a row of chunks with one LastMsgSeqNumProcessed
 * makes a book; one that came already is passed over, one too early waits for the next loop. */
static inline void mdp_orders_chunk(mdp_handler *h, mdp_channel *ch, uint32_t index, const mdp_chunk *c) {
    mdp_instrument *b = &h->instruments[index];
    mdp_orders *o = h->orders;
    if (mdp_is_mbo_proven(ch, b) || !ch->started) return;
    for (uint32_t i = b->first_mbo_note; i != MDP_NONE; i = o->pool[i].next)
        if (o->pool[i].packet == c->last && o->pool[i].time != c->time) {
            h->count.waited++; /* cut inside an event */
            return;
        }
    if (!mdp_reaches(c->last, mdp_mbo_needed(ch, b))) {
        h->count.waited++;
        return;
    }
    if (c->current == 1 && (b->chunk_packet != c->last || b->chunk_next <= 1)) {
        mdp_order_free_list(o, b->chunk_first);
        b->chunk_first = MDP_NONE;
        b->chunk_packet = c->last;
        b->chunk_total = c->chunks;
        b->chunk_next = 1;
    }
    if (!b->chunk_next || c->last != b->chunk_packet || c->current != b->chunk_next) return;
    for (uint32_t k = 0; k < c->count; k++) {
        const uint8_t *e = c->entries + (size_t)k * c->length;
        uint32_t i = mdp_order_take(h, b->channel);
        if (i == MDP_NONE) {
            mdp_order_free_list(o, b->chunk_first);
            b->chunk_first = MDP_NONE;
            b->chunk_next = 0;
            return;
        }
        mdp_order *n = &o->pool[i];
        *n = mdp_order_of(mdp_u64(e + MDP_SnapshotOrderBook_OrderID), mdp_u64(e + MDP_SnapshotOrderBook_MDOrderPriority),
                          mdp_price(e + MDP_SnapshotOrderBook_MDEntryPx, c->old),
                          mdp_u32(e + MDP_SnapshotOrderBook_MDDisplayQty), e[MDP_SnapshotOrderBook_MDEntryType]);
        n->instrument = index;
        n->packet = c->last;
        n->time = c->time;
        n->next = b->chunk_first;
        b->chunk_first = i;
    }
    if (b->chunk_next++ == b->chunk_total) {
        mdp_orders_adopt(h, ch, b, c->last);
        h->count.snapshots++;
    }
}

/* --------------------------------------------------------------------------------------- order ids of trades */

static inline void mdp_fills_forget(mdp_handler *h, uint32_t channel) {
    if (h->orders) h->orders->fills[channel].n = h->orders->fills[channel].first = 0;
}

static inline void mdp_fill_expect(mdp_handler *h, uint32_t channel, mdp_fill fill) {
    mdp_fills *f = &h->orders->fills[channel];
    if (f->n < MDP_MAX_FILLS) f->fill[f->n++] = fill;
    else h->count.order_faults++;
}

/* The next order id of the event's trades, in their order: an entry of a later message goes on where the one
 * before stopped. */
static inline void mdp_fill_order(mdp_handler *h, uint32_t channel, uint64_t time, uint64_t order_id, uint32_t size) {
    mdp_fills *all = &h->orders->fills[channel];
    while (all->first < all->n && !all->fill[all->first].left) all->first++;
    if (all->first == all->n) {
        h->count.order_faults++;
        return;
    }
    mdp_fill *f = &all->fill[all->first];
    f->left--;
    uint8_t side = f->aggressor;
    if (f->begun && side) side = side == MDF_SIDE_BID ? MDF_SIDE_ASK : MDF_SIDE_BID;
    f->begun = 1;
    if (f->instrument == MDP_NONE) return; /* nobody wants the instrument */
    if (!side) side = mdp_order_side(h->orders, f->instrument, order_id); /* nobody was the aggressor: an auction */
    mdp_order n;
    memset(&n, 0, sizeof n);
    n.id = order_id;
    n.priority = f->trade_id;
    n.price = f->price;
    n.size = size;
    n.time = time;
    n.side = side;
    mdp_put_order(h, h->channels[channel], &h->instruments[f->instrument], &n, MDF_ORDER_FILL, 0);
}

#endif
