/* The way out: ticks are staged and go into the ring at the end of a packet; what people should know is kept
 * for the shell; both bounded. */
#ifndef MDP_OUT_H
#define MDP_OUT_H

#include <stdio.h>
#include <stdlib.h>

#include "mdp_state.h"

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

/* Send what is staged, but for the last `hold` ticks. */
static inline void mdp_send(mdp_handler *h, uint32_t hold) {
    uint32_t n = h->staged - hold;
    if (!n) return;
    mdp_put(&h->out, h->stage, n);
    if (hold) memmove(h->stage, h->stage + n, hold * sizeof *h->stage);
    h->staged = hold;
}

/* Room for the next tick, whole words at a time; the three of its payload are the caller's. One tick stays
 * behind when the stage is full: it may turn out to be the last of its event. */
MDP_HOT uint64_t *mdp_words_of(mdp_handler *h, mdp_channel *ch, uint32_t instrument_id, uint64_t time, unsigned flags,
                               unsigned kind, unsigned side, uint32_t count) {
    if (h->staged == MDP_STAGE) mdp_send(h, 1);
    uint64_t *w = (uint64_t *)(void *)&h->stage[h->staged++];
    ch->event_ticks++;
    w[0] = 0;
    w[1] = time;
    w[2] = (uint64_t)h->ts_recv;
    w[3] = instrument_id | (uint64_t)kind << 32 | (uint64_t)side << 40 | (uint64_t)(h->ts_flags | flags) << 48;
    w[4] = h->packet | (uint64_t)count << 32;
    return w;
}

/* The same with an empty payload, to be filled in by its fields: for what is rare. */
static inline mdf_tick *mdp_tick_of(mdp_handler *h, mdp_channel *ch, uint32_t instrument_id, uint64_t time,
                                    unsigned flags, unsigned kind) {
    uint64_t *w = mdp_words_of(h, ch, instrument_id, time, flags, kind, MDF_SIDE_NONE, 0);
    w[5] = w[6] = w[7] = 0;
    return (mdf_tick *)(void *)w;
}

/* GAP or RECOVERED; of one instrument, or of the channel (0). */
static inline void mdp_tick_gap(mdp_handler *h, mdp_channel *ch, unsigned kind, uint32_t instrument_id, uint64_t first,
                                uint64_t last) {
    mdf_tick *t = mdp_tick_of(h, ch, instrument_id, ch->sending, 0, kind);
    t->payload.gap.first_missing = first;
    t->payload.gap.last_missing = last;
    t->payload.gap.reason = MDF_GAP_PACKET_LOSS;
    t->payload.gap.line = ch->id;
    h->count.others++;
}

static inline uint32_t mdp_saturate(uint64_t size, unsigned *flags) {
    if (size < UINT32_MAX) return (uint32_t)size;
    *flags |= MDF_SIZE_SATURATED;
    return UINT32_MAX;
}

#endif
