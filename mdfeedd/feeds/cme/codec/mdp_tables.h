/* The instruments: found by (channel, SecurityID), entered into the ring's table, chosen by filters. */
#ifndef MDP_TABLES_H
#define MDP_TABLES_H

#include "mdp_proof.h"

#define MDP_NUMBER_BYTES 12u /* of a 32-bit number in decimal, its sign and its end included */

static inline uint64_t mdp_key(uint32_t channel, int32_t security_id) {
    return UINT64_C(1) << 63 | (uint64_t)channel << 32 | (uint32_t)security_id;
}

static inline uint32_t mdp_place_of(const mdp_handler *h, uint64_t key) {
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & h->mask;
}

/* Index of an instrument, MDP_NONE if it was never seen. The table is at most half full, so a probe ends. */
static inline uint32_t mdp_find(const mdp_handler *h, uint32_t channel, int32_t security_id) {
    uint64_t key = mdp_key(channel, security_id);
    for (uint32_t i = mdp_place_of(h, key);; i = (i + 1) & h->mask) {
        if (h->keys[i] == key) return h->places[i];
        if (!h->keys[i]) return MDP_NONE;
    }
}

static inline int mdp_glob(const char *pattern, const char *text) {
    const char *star = NULL, *again = NULL;
    while (*text) {
        if (*pattern == '*') { star = ++pattern; again = text; }
        else if (*pattern == '?' || *pattern == *text) { pattern++; text++; }
        else if (star) { pattern = star; text = ++again; }
        else return 0;
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

/* A SecurityID as text, into at least MDP_NUMBER_BYTES. */
static inline void mdp_number(char *to, int32_t number) {
    char digits[MDP_NUMBER_BYTES];
    uint32_t left = number < 0 ? 0 - (uint32_t)number : (uint32_t)number;
    unsigned n = 0;
    do digits[n++] = (char)('0' + left % 10); while (left /= 10);
    if (number < 0) digits[n++] = '-';
    while (n) *to++ = digits[--n];
    *to = 0;
}

/* Whether the filters choose an instrument of this name, group and asset. Without a definition (empty texts) only a
 * pattern that takes everything does, and with or without one its SecurityID among the symbols. */
static inline int mdp_chosen(const mdp_handler *h, int32_t security_id, const char *symbol, const char *group,
                             const char *asset) {
    const char *texts[3] = {symbol, group, asset};
    char number[MDP_NUMBER_BYTES];
    mdp_number(number, security_id);
    for (int kind = 0; kind < 3; kind++)
        for (uint32_t i = 0; i < h->filters_n[kind]; i++) {
            const char *pattern = h->filters[kind][i].pattern;
            if (mdp_glob(pattern, texts[kind]) || (!kind && !strcmp(pattern, number))) return 1;
        }
    return 0;
}

/* CRC-32 as zlib has it. Bit by bit: names are short, and come once. */
static inline uint32_t mdp_crc32(const char *text) {
    uint32_t crc = UINT32_MAX;
    for (; *text; text++) {
        crc ^= (uint8_t)*text;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
    }
    return ~crc;
}

/* Whether the instrument that the ring's table has under this name is of our shard, as feeds/shard.py deals them. */
static inline int mdp_is_ours(const mdp_handler *h, const char *name) {
    return h->o.shard_of < 2 || (uint64_t)mdp_crc32(name) * h->o.shard_of >> 32 == h->o.shard_index;
}

/* Nothing has happened to the instrument yet: right from here on if nothing can have been missed. */
static inline void mdp_begin_instrument(mdp_channel *ch, mdp_instrument *b) {
    b->next_rpt = 1;
    b->ahead = 0;
    b->quick = 0;
    mdp_forget_known(b);
    b->state = b->mbo_state = ch->from_start ? MDP_SYNC : MDP_UNKNOWN;
    b->generation = b->mbo_generation = ch->last_lost ? ch->generation - 1 : ch->generation; /* in doubt, too */
    b->since = b->mbo_since = ch->started ? ch->first : 0; /* see mdp_needed() */
    b->mbo_ahead = 0;
    mdp_empty_book(b);
}

/* Does the table's entry stand for something else than the definition says? Its number is no other name. */
static inline int mdp_is_another(const mdp_handler *h, const mdp_instrument *b, const mdp_definition *d) {
    const mdf_instrument *e = &h->out.ring->instruments[(b->instrument_id & 0xFFFFFFu) - 1];
    return strcmp(e->symbol, d->symbol) && strcmp(e->symbol, e->vendor_symbol);
}

/* Enter it into the ring's table, or change what stands there. Without a ring ids are counted the same way. */
static inline void mdp_enter(mdp_handler *h, mdp_instrument *b, const mdp_definition *d) {
    char err[MDF_ERR];
    if (b->instrument_id && d && h->out.ring && mdp_is_another(h, b, d)) b->instrument_id = 0;
    uint32_t index = b->instrument_id ? (b->instrument_id & 0xFFFFFFu) - 1 : h->ring_instruments;
    if (h->out.ring) {
        mdf_instrument e;
        memset(&e, 0, sizeof e);
        e.instrument_id = (uint32_t)h->o.feed_index << 24 | ((index + 1) & 0xFFFFFFu);
        e.vendor_id = (uint32_t)b->security_id;
        e.publisher_id = h->channels[b->channel]->id;
        e.source_index = h->o.feed_index;
        mdp_number(e.vendor_symbol, b->security_id);
        memcpy(e.feed, h->out.ring->h->feed, sizeof e.feed);
        if (d) {
            mdf_text(e.symbol, sizeof e.symbol, d->symbol);
            mdf_text(e.venue, sizeof e.venue, d->exchange);
            mdf_text(e.currency, sizeof e.currency, d->currency);
            e.tick_size = d->tick_size == MDF_PRICE_UNDEF ? 0 : d->tick_size;
            e.expiration = d->expiration > 0 ? d->expiration : 0;
            e.multiplier = d->multiplier > 0 ? d->multiplier : 0;
        } else {
            memcpy(e.symbol, e.vendor_symbol, sizeof e.symbol);
        }
        if (mdf_instrument_put(h->out.ring, index, &e, err)) {
            mdp_tell(h, MDP_TOLD_FULL, b->channel, b->security_id, h->instruments_n, 0);
            b->instrument_id = 0;
            return;
        }
    }
    if (!b->instrument_id) h->ring_instruments++;
    b->instrument_id = (uint32_t)h->o.feed_index << 24 | ((index + 1) & 0xFFFFFFu);
}

/* A new instrument of a channel; MDP_NONE when there is no room, which is told. Not entered into the ring yet. */
static inline uint32_t mdp_create(mdp_handler *h, uint32_t channel, int32_t security_id) {
    mdp_channel *ch = h->channels[channel];
    if (h->instruments_n >= h->o.max_instruments) {
        mdp_tell_once(h, MDP_TOLD_FULL, channel, security_id, h->instruments_n);
        return MDP_NONE;
    }
    uint64_t key = mdp_key(channel, security_id);
    uint32_t index = h->instruments_n++, i = mdp_place_of(h, key);
    while (h->keys[i]) i = (i + 1) & h->mask;
    h->keys[i] = key;
    h->places[i] = index;
    mdp_instrument *b = &h->instruments[index];
    b->security_id = security_id;
    b->channel = channel;
    for (unsigned side = 0; side < MDP_SIDES_OF_BOOK; side++) /* its depth; emptied below */
        b->order[side] = side < MDP_IMPLIED_BIDS ? MDP_LEVELS : MDP_IMPLIED;
    b->trading_status = MDP_NULL_U8;
    b->first_note = b->last_note = b->first_mbo_note = b->last_mbo_note = MDP_NONE;
    b->first_order = b->chunk_first = MDP_NONE;
    b->next_in_channel = ch->first_instrument;
    ch->first_instrument = index;
    mdp_empty_told(&b->told);
    mdp_empty_told(&b->told_implied);
    mdp_begin_instrument(ch, b);
    return index;
}

/* One that was never seen, named by its number. MDP_NONE: there is no room. */
MDP_COLD uint32_t mdp_instrument_new(mdp_handler *h, uint32_t channel, int32_t security_id) {
    uint32_t index = mdp_create(h, channel, security_id);
    if (index == MDP_NONE) return index;
    mdp_instrument *b = &h->instruments[index];
    char name[MDP_NUMBER_BYTES];
    mdp_number(name, security_id);
    if (!mdp_chosen(h, security_id, "", "", "") || !mdp_is_ours(h, name)) return index;
    mdp_enter(h, b, NULL);
    if (b->instrument_id) {
        b->flags |= MDP_SELECTED;
        mdp_doubt_one(h->channels[channel], b);
    }
    return index;
}

/* One that is not chosen, or not known yet: that is made now. NULL if nobody wants it. */
MDP_COLD mdp_instrument *mdp_instrument_made(mdp_handler *h, uint32_t channel, int32_t security_id) {
    uint32_t index = mdp_find(h, channel, security_id);
    if (index == MDP_NONE) index = mdp_instrument_new(h, channel, security_id);
    if (index == MDP_NONE) {
        h->count.unmapped++;
        return NULL;
    }
    mdp_instrument *b = &h->instruments[index];
    if (b->flags & MDP_SELECTED) return b;
    if (b->flags & MDP_DEFINED) h->count.passed_over++;
    else h->count.unmapped++;
    return NULL;
}

/* An instrument that the ring's table holds from an earlier run: it keeps its number. */
MDP_COLD void mdp_inherit(mdp_handler *h, uint32_t channel, int32_t security_id, uint32_t instrument_id) {
    uint32_t index = mdp_find(h, channel, security_id);
    if (index == MDP_NONE) index = mdp_create(h, channel, security_id);
    if (index == MDP_NONE) return;
    mdp_instrument *b = &h->instruments[index];
    b->instrument_id = instrument_id;
    if (b->flags & MDP_SELECTED || !mdp_chosen(h, security_id, "", "", "")) return;
    if (h->out.ring && !mdp_is_ours(h, h->out.ring->instruments[(instrument_id & 0xFFFFFFu) - 1].symbol)) return;
    b->flags |= MDP_SELECTED;
    mdp_doubt_one(h->channels[channel], b);
}

static inline unsigned mdp_near_of(uint32_t security_id) {
    return security_id * UINT32_C(0x9E3779B1) >> (32 - MDP_NEAR_BITS);
}

/* The instrument of an entry; NULL if nobody wants it. */
static inline mdp_instrument *mdp_instrument_of(mdp_handler *h, uint32_t channel, int32_t security_id) {
    uint64_t key = mdp_key(channel, security_id);
    uint32_t i = mdp_place_of(h, key);
    mdp_instrument *b = &h->instruments[h->places[i]];
    if (h->keys[i] != key || !(b->flags & MDP_SELECTED)) return mdp_instrument_made(h, channel, security_id);
    h->channels[channel]->near[mdp_near_of((uint32_t)security_id)] = b;
    return b;
}

/* The instrument of an entry that can simply be applied: `next` are its SecurityID and its RptSeq, as they stand in
 * it. NULL if something has to be found out first, see mdp_advance(). */
MDP_HOT mdp_instrument *mdp_quick_of(const mdp_channel *ch, uint64_t next) {
    mdp_instrument *b = ch->near[mdp_near_of((uint32_t)next)];
    return MDP_LIKELY(b && b->next == next && b->quick == ch->generation) ? b : NULL;
}

#endif
