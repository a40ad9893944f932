/* Events: what one changed, and what is told when it ends.
 *
 * The boundary is MatchEventIndicator's bit 7 and nothing else: an event may span packets, a packet may hold
 * several, and two may have one TransactTime. A status with an indicator of 0 belongs to no event.
 */
#ifndef MDP_EVENT_H
#define MDP_EVENT_H

#include "mdp_orders.h"
#include "mdp_tables.h"

static inline void mdp_in_event(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    if (b->flags & MDP_IN_EVENT) return;
    uint32_t index = (uint32_t)(b - h->instruments);
    b->flags |= MDP_IN_EVENT;
    b->next_in_event = MDP_NONE;
    if (ch->event_first == MDP_NONE) ch->event_first = index;
    else h->instruments[ch->event_last].next_in_event = index;
    ch->event_last = index;
}

/* While trading a book may not be crossed when an event has ended; in an auction it may. */
static inline void mdp_watch_crossed(mdp_handler *h, const mdp_channel *ch, mdp_instrument *b, const mdp_touch *now) {
    if (b->trading_status != MDP_STATUS_READY_TO_TRADE) return;
    int crossed = now->bid.price != MDF_PRICE_UNDEF && now->ask.price != MDF_PRICE_UNDEF && now->bid.price >= now->ask.price &&
                  mdp_is_proven(ch, b);
    if (!crossed) {
        b->flags &= (uint8_t)~MDP_CROSSED;
    } else if (!(b->flags & MDP_CROSSED)) {
        b->flags |= MDP_CROSSED;
        h->count.crossed++;
        mdp_tell_once(h, MDP_TOLD_CROSSED, b->channel, b->security_id, h->packet);
    }
}

/* STALE, unless updates since the loss have told both levels of the touch: then the quote is right, whatever
 * lies below. */
MDP_COLD unsigned mdp_doubted_touch(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, unsigned bids) {
    int rebuilding = h->o.natural_refresh && b->state == MDP_STALE_BOOK && b->generation == ch->generation;
    return rebuilding && mdp_is_touch_rebuilt(b, bids) ? 0 : mdp_flags_of(ch, b);
}

/* QUOTEs of one instrument, and its depth. `flags` go into all of them. */
MDP_HOT void mdp_tell_book(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, unsigned flags) {
    int proven = mdp_is_proven(ch, b);
    mdp_touch now = mdp_touch_of(b, MDP_BIDS);
    if (!mdp_same_touch(&now, &b->told))
        mdp_quote(h, ch, b, now, &b->told, flags | (proven ? 0 : mdp_doubted_touch(h, ch, b, MDP_BIDS)));
    mdp_watch_crossed(h, ch, b, &now);
    if (b->flags & MDP_HAS_IMPLIED) {
        now = mdp_touch_of(b, MDP_IMPLIED_BIDS);
        if (!mdp_same_touch(&now, &b->told_implied))
            mdp_quote(h, ch, b, now, &b->told_implied,
                      flags | MDF_IMPLIED | (proven ? 0 : mdp_doubted_touch(h, ch, b, MDP_IMPLIED_BIDS)));
    }
    if (h->o.depth) mdp_put_depth(h, b, flags | (proven ? 0 : mdp_flags_of(ch, b)));
}

/* Updates alone may have rebuilt the book: then nobody need wait for a snapshot. */
MDP_COLD void mdp_try_natural(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    if (!h->o.natural_refresh || b->state != MDP_STALE_BOOK || b->generation != ch->generation || !mdp_is_rebuilt(h, b)) return;
    h->count.natural++;
    mdp_prove(h, ch, b);
}

/* Tell all books that the event changed. */
static inline void mdp_tell_changes(mdp_handler *h, mdp_channel *ch, unsigned flags) {
    for (uint32_t i = ch->event_first, next; i != MDP_NONE; i = next) {
        mdp_instrument *b = &h->instruments[i];
        next = b->next_in_event;
        b->flags &= (uint8_t)~MDP_IN_EVENT;
        if (!mdp_is_proven(ch, b)) mdp_try_natural(h, ch, b);
        mdp_tell_book(h, ch, b, flags);
    }
    ch->event_first = ch->event_last = MDP_NONE;
}

static inline void mdp_end_event(mdp_handler *h, mdp_channel *ch, uint64_t time) {
    mdp_tell_changes(h, ch, 0);
    mdp_fills_forget(h, h->lines[h->line].channel);
    h->count.ended_events++;
    ch->in_event = 0;
    if (ch->event_ticks) {
        if (!h->staged) { /* all its ticks are out already: one that says nothing but that it has ended */
            mdp_tick_of(h, ch, 0, time, 0, MDF_HEARTBEAT);
            h->count.others++;
        }
        ((uint64_t *)(void *)&h->stage[h->staged - 1])[3] |= (uint64_t)MDF_EVENT_END << 48; /* the whole word: see mdp_level */
    }
    ch->event_ticks = 0;
}

/* A hole has cut the event: what it changed so far is told, flagged, and without a boundary. */
static inline void mdp_cut_event(mdp_handler *h, mdp_channel *ch) {
    if (!ch->in_event) return;
    h->count.incomplete_events++;
    for (uint32_t i = ch->event_first; i != MDP_NONE; i = h->instruments[i].next_in_event) {
        mdp_instrument *b = &h->instruments[i];
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
    mdp_tick_of(h, ch, b->instrument_id, time, mdp_flags_of(ch, b), MDF_CLEAR);
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
    ch->event_first = ch->event_last = MDP_NONE;
    ch->in_event = 0;
    ch->unproven = ch->unproven_mbo = 0;
    if (!from_start) ch->definitions_whole = 0;
    mdp_fills_forget(h, channel);
    mdp_break_loops(h, ch);
    for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
        mdp_instrument *b = &h->instruments[i];
        int active = b->rpt != 0;
        b->flags &= (uint8_t)~(MDP_IN_EVENT | MDP_CROSSED);
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
