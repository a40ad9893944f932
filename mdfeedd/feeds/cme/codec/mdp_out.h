/* The way out: ticks are staged and become visible at the end of a packet; what people should know is kept for the
 * shell; both bounded.
 *
 * Into a ring each word of a tick is stored once, where it stays: in a slot that is reserved, and that has no number
 * yet, so that nobody takes it for a record (mdfeedd.h). Without a ring the stage is memory of our own.
 */
#ifndef MDP_OUT_H
#define MDP_OUT_H

#include <stdio.h>
#include <stdlib.h>

#include "mdp_state.h"

MDF_ASSERT(MDP_STAGE <= MDF_MIN_CAPACITY / 4, "a writer reserves no more than a quarter of its ring");
MDF_ASSERT(sizeof(mdf_tick) == 64, "a tick is eight words");

#define MDP_TICK_WORDS 8u
#define MDP_FIRST_ROOM 4096u /* records kept at first, without a ring */

static inline void mdp_tell(mdp_handler *h, uint32_t code, uint32_t channel, int32_t security_id, uint64_t first,
                            uint64_t last) {
    if (h->told_n == MDP_MAX_EVENTS) {
        h->told_dropped++;
        return;
    }
    h->told[h->told_n++] = (mdp_told){code, channel, h->line, security_id, first, last, h->ts_recv};
}

/* The first of its kind on this channel, until the shell has taken it. */
static inline void mdp_tell_once(mdp_handler *h, uint32_t code, uint32_t channel, int32_t security_id, uint64_t first) {
    if (h->told_once[code] >> channel & 1) return;
    h->told_once[code] |= UINT64_C(1) << channel;
    mdp_tell(h, code, channel, security_id, first, 0);
}

/* Keep records in memory; grows, because nobody is there to take them meanwhile. */
static inline void mdp_keep(mdp_out *out, const void *records, size_t n) {
    if (out->n + n > out->room) {
        size_t room = out->room ? out->room : MDP_FIRST_ROOM;
        while (room < out->n + n) room *= 2;
        uint8_t *kept = (uint8_t *)realloc(out->kept, room * out->slot);
        if (!kept) {
            out->failed = 1;
            return;
        }
        out->kept = kept;
        out->room = room;
    }
    memcpy(out->kept + out->n * out->slot, records, n * out->slot);
    out->n += n;
}

static inline void mdp_put(mdp_out *out, const void *records, size_t n) {
    if (out->ring) mdf_publish_batch(out->ring, records, n);
    else mdp_keep(out, records, n);
}

/* The place of the tick that is number n of those staged: in the ring it will be record `next` + n. */
MDP_HOT uint64_t *mdp_staged_at(mdp_handler *h, uint32_t n) {
    mdf_writer *ring = h->out.ring;
    return MDP_LIKELY(ring) ? mdf_slot(ring->slots, ring->next + n, ring->mask, MDP_TICK_WORDS)
                            : (uint64_t *)(void *)&h->stage[n];
}

/* What is staged, when there is no ring to commit it to. */
MDP_COLD void mdp_keep_staged(mdp_handler *h, uint32_t n) {
    mdp_keep(&h->out, h->stage, n);
    memmove(h->stage, h->stage + n, h->staged * sizeof *h->stage);
}

/* Commit what is staged, but for the last `hold` ticks: as mdf_publish_batch(), for words that are in place. */
static inline void mdp_send(mdp_handler *h, uint32_t hold) {
    mdf_writer *ring = h->out.ring;
    uint32_t n = h->staged - hold;
    if (!n) return;
    h->staged = hold;
    if (MDP_UNLIKELY(!ring)) {
        mdp_keep_staged(h, n);
        return;
    }
    uint8_t *slots = ring->slots;
    uint64_t mask = ring->mask, next = ring->next, end = next + n;
    ring->next = end;
    for (; next < end; next++) mdf_store_release(mdf_slot(slots, next, mask, MDP_TICK_WORDS), next);
    mdf_store_release(&ring->h->tail, end - 1);
    mdf_store(&ring->h->batches, mdf_load(&ring->h->batches) + 1);
    if (n > mdf_load(&ring->h->max_burst)) mdf_store(&ring->h->max_burst, n);
}

/* What a tick is, as it stands above its instrument. */
#define MDP_TICK_KIND(kind, side) ((uint64_t)(kind) << 32 | (uint64_t)(side) << 40)

/* Stage the next tick: `kind` is a MDP_TICK_KIND with the instrument, `count` stands in the upper half. The three words
 * of its payload are the caller's to store. One tick stays behind when the stage is full: it may turn out to be the
 * last of its event. */
MDP_HOT uint64_t *mdp_words_of(mdp_handler *h, mdp_channel *ch, uint64_t kind, uint64_t time, unsigned flags,
                               uint64_t count) {
    if (MDP_UNLIKELY(h->staged == MDP_STAGE)) mdp_send(h, 1);
    if (MDP_LIKELY(h->out.ring)) mdf_reserve_to(h->out.ring, h->out.ring->next + h->staged + 1);
    uint64_t *w = mdp_staged_at(h, h->staged++);
    ch->event_ticks++;
    mdf_store(w + 1, time);
    mdf_store(w + 2, (uint64_t)h->ts_recv);
    mdf_store(w + 3, kind | (uint64_t)(h->ts_flags | flags) << 48);
    mdf_store(w + 4, h->packet | count);
    return w;
}

/* For what is rare: a tick with an empty payload, to be filled in by its fields and staged then. */
static inline mdf_tick mdp_tick_of(unsigned kind) {
    mdf_tick t;
    memset(&t, 0, sizeof t);
    t.kind = (uint8_t)kind;
    return t;
}

static inline void mdp_stage(mdp_handler *h, mdp_channel *ch, uint32_t instrument_id, uint64_t time, unsigned flags,
                             const mdf_tick *t) {
    uint64_t kind = MDP_TICK_KIND(t->kind, t->side) | instrument_id;
    uint64_t *w = mdp_words_of(h, ch, kind, time, flags, (uint64_t)t->count << 32);
    for (unsigned i = 5; i < MDP_TICK_WORDS; i++) mdf_store(w + i, mdf_unaligned((const uint8_t *)t + 8 * i));
}

/* GAP or RECOVERED; of one instrument, or of the channel (0). */
static inline void mdp_tick_gap(mdp_handler *h, mdp_channel *ch, unsigned kind, uint32_t instrument_id, uint64_t first,
                                uint64_t last) {
    mdf_tick t = mdp_tick_of(kind);
    t.payload.gap.first_missing = first;
    t.payload.gap.last_missing = last;
    t.payload.gap.reason = MDF_GAP_PACKET_LOSS;
    t.payload.gap.line = ch->id;
    mdp_stage(h, ch, instrument_id, ch->sending, 0, &t);
    h->count.others++;
}

static inline uint32_t mdp_saturate(uint64_t size, unsigned *flags) {
    if (size < UINT32_MAX) return (uint32_t)size;
    *flags |= MDF_SIZE_SATURATED;
    return UINT32_MAX;
}

#endif
