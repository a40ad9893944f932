/* Events: what one changed, and what is told when it ends.
 *
 * The boundary is MatchEventIndicator's bit 7 and nothing else: an event may span packets, a packet may hold
 * several, and two may have one TransactTime. A status with an indicator of 0 belongs to no event.
 */
#ifndef MDP_EVENT_H
#define MDP_EVENT_H

#include "mdp_orders.h"
#include "mdp_tables.h"

/* While trading a book may not be crossed when an event has ended; in an auction it may. */
static inline void mdp_watch_crossed(mdp_handler *h, const mdp_channel *ch, mdp_instrument *b) {
    int64_t bid = mdp_level_at(b, MDP_BIDS, 0)->price, ask = mdp_level_at(b, MDP_ASKS, 0)->price;
    int crossed = bid != MDF_PRICE_UNDEF && ask != MDF_PRICE_UNDEF && bid >= ask && mdp_is_proven(ch, b);
    if (!crossed) {
        b->flags &= (uint8_t)~MDP_CROSSED;
    } else if (!(b->flags & MDP_CROSSED)) {
        b->flags |= MDP_CROSSED;
        h->count.crossed++;
        mdp_tell_once(h, MDP_TOLD_CROSSED, b->channel, b->security_id, h->packet);
    }
}

/* Have updates since the loss told both levels of the touch? Then the quote is right, whatever lies below. */
MDP_HOT int mdp_is_touch_rebuilt(const mdp_handler *h, const mdp_channel *ch, const mdp_instrument *b, unsigned bids) {
    uint64_t top = UINT64_C(1) << mdp_place_at(b, bids, 0) | UINT64_C(1) << mdp_place_at(b, bids + 1, 0);
    return h->o.natural_refresh && !(b->unknown & top) && b->state == MDP_STALE_BOOK && b->generation == ch->generation;
}

/* Whether the quote of this touch is flagged: then it is told again when updates prove the book. */
MDP_COLD void mdp_note_told(mdp_instrument *b, unsigned bids, unsigned flags) {
    uint8_t bit = bids == MDP_BIDS ? 1 : 2;
    b->told_stale = (uint8_t)(flags & MDF_STALE ? b->told_stale | bit : b->told_stale & ~bit);
}

/* The touch of the outright book or the implied one, if it is another than was told. */
MDP_HOT void mdp_tell_touch(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, unsigned bids, int proven,
                            unsigned flags) {
    mdp_touch now = mdp_touch_of(b, bids), *told = bids == MDP_BIDS ? &b->told : &b->told_implied;
    if (mdp_same_touch(&now, told)) return;
    if (!proven && !mdp_is_touch_rebuilt(h, ch, b, bids)) flags |= mdp_flags_of(ch, b);
    if (MDP_UNLIKELY(!proven || flags & MDF_STALE)) mdp_note_told(b, bids, flags);
    mdp_quote(h, ch, b, now, told, flags);
}

/* QUOTEs of one instrument, and its depth. `flags` go into all of them. A touch can only be another one where a
 * first level was written. */
MDP_HOT void mdp_tell_book(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, unsigned flags) {
    int proven = mdp_is_proven(ch, b);
    unsigned written = b->flags;
    b->flags &= (uint8_t)~(MDP_TOUCHED | MDP_TOUCHED_IMPLIED);
    if (written & MDP_TOUCHED) mdp_tell_touch(h, ch, b, MDP_BIDS, proven, flags);
    if (b->trading_status == MDP_STATUS_READY_TO_TRADE) mdp_watch_crossed(h, ch, b);
    if (written & MDP_TOUCHED_IMPLIED) mdp_tell_touch(h, ch, b, MDP_IMPLIED_BIDS, proven, flags | MDF_IMPLIED);
    if (h->o.depth) mdp_put_depth(h, b, flags | (proven ? 0 : mdp_flags_of(ch, b)));
}

/* Updates alone may have rebuilt the book: then nobody need wait for a snapshot. */
MDP_COLD void mdp_try_natural(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    if (!h->o.natural_refresh || b->state != MDP_STALE_BOOK || b->generation != ch->generation || !mdp_is_rebuilt(h, b)) return;
    h->count.natural++;
    mdp_prove_by_updates(h, ch, b);
}

/* Tell all books that the event changed. */
static inline void mdp_tell_changes(mdp_handler *h, mdp_channel *ch, unsigned flags) {
    for (uint32_t i = 0; i < ch->changed_n; i++) {
        mdp_instrument *b = ch->changed[i];
        if (!(b->unknown & MDP_OUTRIGHT) && !mdp_is_proven(ch, b)) mdp_try_natural(h, ch, b);
        mdp_tell_book(h, ch, b, flags);
        b->in_event = 0;
    }
    ch->changed_n = 0;
}

static inline void mdp_end_event(mdp_handler *h, mdp_channel *ch, uint64_t time) {
    mdp_tell_changes(h, ch, 0);
    mdp_fills_forget(h, h->lines[h->line].channel);
    h->count.ended_events++;
    ch->in_event = 0;
    if (ch->event_ticks) {
        if (!h->staged) { /* all its ticks are out already: one that says nothing but that it has ended */
            mdf_tick t = mdp_tick_of(MDF_HEARTBEAT);
            mdp_stage(h, ch, 0, time, 0, &t);
            h->count.others++;
        }
        uint64_t *flags = mdp_staged_at(h, h->staged - 1) + 3;
        mdf_store(flags, *flags | (uint64_t)MDF_EVENT_END << 48);
    }
    ch->event_ticks = 0;
}

/* A hole has cut the event: what it changed so far is told, flagged, and without a boundary. */
static inline void mdp_cut_event(mdp_handler *h, mdp_channel *ch) {
    if (!ch->in_event) return;
    h->count.incomplete_events++;
    for (uint32_t i = 0; i < ch->changed_n; i++) {
        mdp_instrument *b = ch->changed[i];
        mdp_touch now = mdp_touch_of(b, MDP_BIDS), implied = mdp_touch_of(b, MDP_IMPLIED_BIDS);
        int quoted = !mdp_same_touch(&now, &b->told) || (b->flags & MDP_HAS_IMPLIED && !mdp_same_touch(&implied, &b->told_implied));
        if (quoted) b->flags |= MDP_TOLD;
    }
    mdp_tell_changes(h, ch, MDF_STALE);
    mdp_fills_forget(h, h->lines[h->line].channel);
    ch->in_event = 0;
    ch->event_ticks = 0;
}

/* The book of an instrument is void: CLEAR, if anything of it was told, or if it was `active` otherwise. */
static inline void mdp_clear_book(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint64_t time, int active) {
    mdp_touch none;
    mdp_empty_told(&none);
    int told = !mdp_same_touch(&b->told, &none) || !mdp_same_touch(&b->told_implied, &none);
    mdp_empty_book(b);
    b->time = time;
    b->told = b->told_implied = none;
    if (!(b->flags & MDP_SELECTED) || !(told || active)) return;
    mdf_tick t = mdp_tick_of(MDF_CLEAR);
    mdp_stage(h, ch, b->instrument_id, time, mdp_flags_of(ch, b), &t);
    h->count.others++;
    if (h->o.depth) mdp_put_depth(h, b, mdp_flags_of(ch, b));
}

/* What the running loops have told so far says nothing of what is now, nor of who is missing in them. */
static inline void mdp_break_loops(mdp_handler *h, const mdp_channel *ch) {
    for (uint32_t i = 0; i < h->lines_n; i++)
        if (h->channels[h->lines[i].channel] == ch) h->lines[i].broken = 1;
}

/* The whole channel begins again: books and statistics are empty, RptSeq begins at 1. `from_start`: nothing can
 * have happened that we do not know. */
static inline void mdp_clear_channel(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint64_t time, int from_start) {
    ch->from_start = (uint8_t)from_start;
    ch->last_lost = 0;
    ch->changed_n = 0;
    ch->in_event = 0;
    ch->unproven = ch->unproven_mbo = 0;
    mdp_fills_forget(h, channel);
    mdp_break_loops(h, ch);
    for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
        mdp_instrument *b = &h->instruments[i];
        int active = mdp_rpt_of(b) != 0;
        b->in_event = 0;
        b->flags &= (uint8_t)~MDP_CROSSED;
        b->seen_a = b->seen_b = b->mbo_seen_a = b->mbo_seen_b = b->chunk_seen_a = b->chunk_seen_b = 0;
        mdp_drop_notes(h, b);
        mdp_begin_instrument(ch, b);
        mdp_clear_book(h, ch, b, time, active);
        if (h->orders) mdp_orders_void(h, ch, b, time);
        if (b->flags & MDP_TOLD && from_start) mdp_tell_recovered(h, ch, b);
        if (b->flags & MDP_SELECTED) {
            ch->unproven += !mdp_is_proven(ch, b);
            ch->unproven_mbo += !mdp_is_mbo_proven(ch, b);
        }
    }
    if (!ch->unproven) mdp_heal_gaps(h, ch);
}

#endif
