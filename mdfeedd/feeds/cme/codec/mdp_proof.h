/* Is a book right? RptSeq, losses, the queue of updates that wait for a snapshot, and the snapshot.
 *
 * RptSeq is one sequence an instrument over all its templates [CME, "MDP 3.0 - Instrument Level Sequencing"].
 *
 *                    next RptSeq contiguous, equal snapshot, all levels rebuilt
 *               ┌───────────────────────────────────────────────────────────────┐
 *               ▼                                                               │
 *   UNKNOWN ─► SYNC ──── packets lost (generation) ────► in doubt ──── RptSeq jumped ────► STALE ─┐
 *      │        ▲  └──── RptSeq jumped, nothing lost ──────────────────────────► STALE            │
 *      └────────┴───────────────────── snapshot that knows of the loss ◄──────────────────────────┘
 *
 * A snapshot (LastMsgSeqNumProcessed L, TransactTime T, RptSeq R) mends a book if L reaches the last lost
 * packet; if packet L carried the instrument, its TransactTime must be T, or the snapshot was cut inside that
 * event [CME, "Market Recovery"]; and if the first queued update above R is R + 1, without which the updates
 * between would silently be missing.
 *
 * A hole may swallow a channel reset. It shows by an RptSeq that has gone back, and then RptSeq proves no book of the
 * channel any more. One case no receiver can see: after the reset an instrument's RptSeq comes, still within the hole,
 * to exactly where it was before, and what follows looks contiguous, until another instrument shows the reset.
 */
#ifndef MDP_PROOF_H
#define MDP_PROOF_H

#include "mdp_book.h"

static inline int mdp_is_proven(const mdp_channel *ch, const mdp_instrument *b) {
    return b->state == MDP_SYNC && b->generation == ch->generation;
}

/* The last RptSeq. */
static inline uint32_t mdp_rpt_of(const mdp_instrument *b) { return b->next_rpt - 1; }

static inline int mdp_is_mbo_proven(const mdp_channel *ch, const mdp_instrument *b) {
    return b->mbo_state == MDP_SYNC && b->mbo_generation == ch->generation;
}

/* The packet that a snapshot must know of at the least: one behind the loss, because only of a packet that we have
 * can be said whether the snapshot was cut inside it; and no less than the last snapshot, whose updates were passed
 * over when they came. */
static inline uint32_t mdp_needed(const mdp_channel *ch, const mdp_instrument *b) {
    uint32_t since = b->since > b->ahead ? b->since : b->ahead;
    return b->generation != ch->generation && ch->last_lost >= since ? ch->last_lost + 1 : since;
}

static inline unsigned mdp_flags_of(const mdp_channel *ch, mdp_instrument *b) {
    if (mdp_is_proven(ch, b)) return 0;
    b->flags |= MDP_TOLD;
    return MDF_STALE;
}

/* Serial arithmetic would be wrong here: MsgSeqNum does not wrap within a week. */
static inline int mdp_reaches(uint32_t seq, uint32_t needed) { return seq >= needed; }

/* A newly chosen instrument. */
static inline void mdp_doubt_one(mdp_channel *ch, mdp_instrument *b) {
    ch->instruments++;
    ch->unproven += !mdp_is_proven(ch, b);
    ch->unproven_mbo += !mdp_is_mbo_proven(ch, b);
}

/* Packets were lost: every instrument is in doubt. */
static inline void mdp_doubt_all(mdp_channel *ch, uint32_t last_lost) {
    ch->generation++;
    ch->last_lost = last_lost;
    ch->unproven = ch->unproven_mbo = ch->instruments;
    ch->definitions_whole = 0;
}

/* All is known again: the holes told are healed. */
static inline void mdp_heal_gaps(mdp_handler *h, mdp_channel *ch) {
    for (uint32_t i = 0; i < ch->open_gaps; i++) {
        mdp_tick_gap(h, ch, MDF_RECOVERED, 0, ch->gap[i].first, ch->gap[i].last);
        mdp_tell(h, MDP_TOLD_RECOVERED, ch->index, 0, ch->gap[i].first, ch->gap[i].last);
    }
    ch->open_gaps = 0;
}

/* ------------------------------------------------------------------------- updates that wait for a snapshot */

static inline void mdp_drop_notes(mdp_handler *h, mdp_instrument *b) {
    if (b->first_note == MDP_NONE) return;
    h->notes[b->last_note].next = h->free_note;
    h->free_note = b->first_note;
    b->first_note = b->last_note = MDP_NONE;
}

/* The queue is full: throw all of it away, once, and begin again from here. */
static inline void mdp_queue_overflow(mdp_handler *h) {
    h->count.queue_overflows++;
    mdp_tell(h, MDP_TOLD_QUEUE_OVERFLOW, h->lines[h->line].channel, 0, h->o.recovery_entries, 0);
    for (uint32_t i = 0; i < h->instruments_n; i++) {
        mdp_instrument *b = &h->instruments[i];
        if (b->state != MDP_SYNC) {
            mdp_channel *ch = h->channels[b->channel];
            b->since = ch->started ? ch->next - 1 : 0;
        }
        b->first_note = b->last_note = MDP_NONE;
    }
    h->free_note = MDP_NONE;
    h->notes_n = 0;
}

static inline uint32_t mdp_take_note(mdp_handler *h) {
    if (h->free_note == MDP_NONE && h->notes_n == h->o.recovery_entries) mdp_queue_overflow(h);
    uint32_t i = h->free_note;
    if (i != MDP_NONE) h->free_note = h->notes[i].next;
    else i = h->notes_n++;
    return i;
}

MDP_COLD void mdp_note_update(mdp_handler *h, mdp_instrument *b, mdp_note note) {
    uint32_t i = mdp_take_note(h);
    note.next = MDP_NONE;
    h->notes[i] = note;
    if (b->first_note == MDP_NONE) b->first_note = i;
    else h->notes[b->last_note].next = i;
    b->last_note = i;
}

/* ---------------------------------------------------------------------------------------------- transitions */

/* Without a branch, which would be one that nobody can foresee: it is always written, and counted the first time. */
MDP_HOT void mdp_in_event(mdp_channel *ch, mdp_instrument *b) {
    ch->changed[ch->changed_n] = b;
    ch->changed_n += !b->in_event;
    b->in_event = 1;
}

/* A touch that was told is to be told again, whatever it is then. */
static inline void mdp_forget_told(mdp_touch *told) {
    mdp_empty_told(told);
    told->bid.rest = told->ask.rest = UINT64_MAX; /* a size of no price: no book has that */
}

/* Of an instrument that had ticks flagged STALE: from here on they are right. */
static inline void mdp_tell_recovered(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    uint32_t n = ch->open_gaps;
    uint64_t first = n ? ch->gap[n - 1].first : 0, last = n ? ch->gap[n - 1].last : 0;
    b->flags &= (uint8_t)~MDP_TOLD;
    mdp_tick_gap(h, ch, MDF_RECOVERED, b->instrument_id, first, last);
}

static inline void mdp_prove(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    int was_proven = mdp_is_proven(ch, b), was_stale = b->state != MDP_SYNC;
    b->quick = 0;
    b->told_stale = 0;
    b->state = MDP_SYNC;
    b->generation = ch->generation;
    mdp_drop_notes(h, b);
    if (was_proven) return;
    ch->unproven--;
    if (b->flags & MDP_TOLD) {
        mdp_tell_recovered(h, ch, b);
    } else if (!was_stale) {
        h->count.proven++;
    }
    if (!ch->unproven) mdp_heal_gaps(h, ch);
}

/* Updates prove it right. What was told flagged is told again without the flag, when the book is told next. */
static inline void mdp_prove_by_updates(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    if (b->told_stale & 1) {
        mdp_forget_told(&b->told);
        b->flags |= MDP_TOUCHED;
    }
    if (b->told_stale & 2) {
        mdp_forget_told(&b->told_implied);
        b->flags |= MDP_TOUCHED_IMPLIED;
    }
    mdp_prove(h, ch, b);
}

/* Updates of it are missing, the last of them in packet `since` or before. */
static inline void mdp_disprove(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint32_t since) {
    ch->unproven += mdp_is_proven(ch, b);
    h->count.stale += b->state == MDP_SYNC;
    b->quick = 0;
    b->state = MDP_STALE_BOOK;
    b->generation = ch->generation;
    b->since = since;
    b->ahead = 0;
    mdp_forget_known(b);
    mdp_drop_notes(h, b);
}

/* Packets were lost, and the RptSeq of an instrument has gone back since: with them went a reset of the channel, or
 * what looks the same. Whatever a book has had of RptSeq says nothing; one that was empty is right as before. */
MDP_COLD void mdp_lost_reset(mdp_handler *h, mdp_channel *ch) {
    if (ch->voided == ch->generation) return;
    ch->voided = ch->generation;
    for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
        mdp_instrument *b = &h->instruments[i];
        if (!(b->flags & MDP_SELECTED) || b->state != MDP_SYNC || !mdp_rpt_of(b)) continue;
        uint32_t generation = b->generation;
        mdp_disprove(h, ch, b, mdp_needed(ch, b));
        b->generation = generation; /* not heard of since the loss: no snapshot is measured by its old RptSeq */
    }
}

/* The entry's RptSeq is not that of a book that is right and goes on. */
MDP_COLD int mdp_advance_doubted(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint32_t rpt) {
    /* A snapshot has told of it. Its RptSeq may look like the next one all the same, with a reset between the two. */
    if (h->packet < b->ahead || (h->packet == b->ahead && rpt <= mdp_rpt_of(b))) return 0;
    if (rpt == b->next_rpt) {
        b->next_rpt = rpt + 1;
        if (b->state == MDP_SYNC || rpt == 1) { /* the loss did not touch it, or it begins here */
            mdp_prove_by_updates(h, ch, b);
            mdp_in_event(ch, b); /* at the end of which it is told */
        } else if (b->state == MDP_UNKNOWN) mdp_disprove(h, ch, b, mdp_needed(ch, b));
        else b->generation = ch->generation; /* stale as before; the later loss did not touch it */
        return 1;
    }
    int lost = b->generation != ch->generation;
    if (lost && b->state == MDP_SYNC && rpt < b->next_rpt) mdp_lost_reset(h, ch);
    uint32_t since = lost || b->state == MDP_UNKNOWN ? mdp_needed(ch, b) : h->packet;
    if (!lost && b->state != MDP_UNKNOWN) {
        h->count.rpt_faults++;
        mdp_tell_once(h, MDP_TOLD_RPT_FAULT, b->channel, b->security_id, rpt);
    }
    mdp_disprove(h, ch, b, since);
    b->next_rpt = rpt + 1;
    if (rpt == 1) mdp_empty_book(b); /* its sequence began again, and we were not told why */
    return 1;
}

/* An entry of the instrument with this RptSeq has come. Whether it is to be applied: not if a snapshot has told
 * of it already. If it was the next one, and no doubt is left, so is the next for mdp_quick_of(); until something
 * is decided about the book otherwise, which sets `quick` back. */
static inline int mdp_advance(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint32_t rpt) {
    if (rpt == b->next_rpt && b->generation == ch->generation && b->state != MDP_UNKNOWN && h->packet >= b->ahead) {
        b->next_rpt = rpt + 1;
        b->quick = ch->generation;
        return 1;
    }
    return mdp_advance_doubted(h, ch, b, rpt);
}

/* An entry contradicts the book. If the book was held to be right it is no more. */
MDP_COLD void mdp_contradict(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    if (!mdp_is_proven(ch, b)) return;
    h->count.entry_faults++;
    mdp_tell_once(h, MDP_TOLD_ENTRY_FAULT, b->channel, b->security_id, h->packet);
    mdp_disprove(h, ch, b, h->packet);
}

/* At the end of an event: have updates alone rebuilt all of the book? An implied book of which nothing was heard
 * may be there all the same, unless the definition says that there is none. */
static inline int mdp_is_rebuilt(const mdp_handler *h, const mdp_instrument *b) {
    if (b->unknown & MDP_OUTRIGHT) return 0;
    int no_implied = b->flags & MDP_DEFINED && !h->definitions[b - h->instruments].implied_depth;
    return !b->unknown || (no_implied && !(b->flags & MDP_HAS_IMPLIED));
}

/* ------------------------------------------------------------------------------------------------ snapshots */

typedef struct mdp_snapshot {
    uint32_t last, total, rpt; /* LastMsgSeqNumProcessed, TotNumReports, RptSeq */
    uint64_t time;             /* TransactTime */
} mdp_snapshot;

/* Whether the snapshot mends the book, by the rule above. */
static inline int mdp_is_usable(const mdp_handler *h, const mdp_channel *ch, const mdp_instrument *b,
                                const mdp_snapshot *s) {
    uint32_t needed = mdp_needed(ch, b), next = s->rpt;
    if (!ch->started || (uint64_t)s->last + 1 < needed) return 0;
    if (b->generation != ch->generation) return s->last >= needed; /* nothing of it since the loss */
    for (uint32_t i = b->first_note; i != MDP_NONE; i = h->notes[i].next) {
        const mdp_note *n = &h->notes[i];
        if (n->packet == s->last && n->time != s->time) return 0;
        if (n->rpt <= s->rpt) continue;
        if (n->packet <= s->last || n->rpt != next + 1) return 0;
        next = n->rpt;
    }
    /* As of the last lost packet it may be cut inside that, unless what we have goes on where it ends. */
    if (s->last < needed && next == s->rpt) return 0;
    /* What we have seen and the snapshot has not must all be in the queue. */
    return next >= mdp_rpt_of(b);
}

/* After a snapshot was put in the place of the book: what came since. */
static inline void mdp_replay_notes(mdp_handler *h, const mdp_channel *ch, mdp_instrument *b, const mdp_snapshot *s) {
    if (b->generation != ch->generation) mdp_drop_notes(h, b); /* from before the loss */
    b->next_rpt = s->rpt + 1;
    b->quick = 0;
    b->ahead = s->last >= ch->next ? s->last : 0;
    if (!b->time || s->time > b->time) b->time = s->time;
    for (uint32_t i = b->first_note; i != MDP_NONE; i = h->notes[i].next) {
        const mdp_note *n = &h->notes[i];
        if (n->rpt <= s->rpt) continue;
        b->next_rpt = n->rpt + 1;
        b->time = n->time;
        if (n->action == MDP_NOTE_ONLY) continue;
        mdp_update_side(b, &mdp_kinds[n->type], n->action, n->level, mdp_level_of(n->price, n->size, n->orders));
    }
}

#endif
