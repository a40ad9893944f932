/* The loops: definitions (N), snapshots of books (S) and of orders (SMBO), each from two lines that need not run
 * in step, so the first message that helps wins.
 *
 * A loop begins again at MsgSeqNum 1. It has been seen whole when as many instruments were told as TotNumReports
 * says, or when the packet at which we joined comes again; only a whole loop says something of the instruments
 * that are *not* in it: they have had no activity, and are empty. A loop of heartbeats alone is an empty one.
 */
#ifndef MDP_RECOVER_H
#define MDP_RECOVER_H

#include "mdp_statistics.h"

/* The loop in which an instrument was seen last on this line. */
static inline uint8_t *mdp_seen(mdp_instrument *b, const mdp_line *line) {
    switch (line->feed) {
    case MDP_DEFINITIONS: return line->side ? &b->defined_b : &b->defined_a;
    case MDP_SNAPSHOTS: return line->side ? &b->seen_b : &b->seen_a;
    default: return line->side ? &b->mbo_seen_b : &b->mbo_seen_a;
    }
}

static inline void mdp_loop_begin(mdp_line *line, uint32_t seq) {
    line->joined = seq;
    line->reports = 0;
    line->total = UINT32_MAX;
    line->least = UINT32_MAX;
    line->broken = 0;
    line->wrapped = 0;
    line->loop = line->loop == UINT8_MAX ? 1 : (uint8_t)(line->loop + 1);
}

/* The running loop tells of an instrument. It is counted once: who joined in the middle may see one twice before
 * another once, since nobody promises their order. */
static inline void mdp_report(mdp_handler *h, mdp_line *line, int32_t security_id, uint32_t total, uint32_t last) {
    if (line->reports && total != line->total) mdp_loop_begin(line, line->last); /* another loop than the one we joined */
    line->quiet = 0;
    uint32_t at = mdp_find(h, line->channel, security_id);
    uint8_t *seen = at == MDP_NONE ? NULL : mdp_seen(&h->instruments[at], line);
    line->total = total;
    line->reported = security_id;
    if (last < line->least) line->least = last;
    if (seen && *seen == line->loop) return;
    if (seen) *seen = line->loop;
    line->reports++;
}

/* ---------------------------------------------------------------------------------------------- definitions */

static inline mdp_print mdp_print_of_definition(const mdp_definition *d) {
    mdp_definition same = *d;
    same.total_reports = 0; /* what differs from loop to loop says nothing of the instrument */
    same.mei = same.action = same.trading_status = 0;
    return mdp_print_of((const uint8_t *)&same, sizeof same);
}

static inline void mdp_tick_definition(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_definition *d) {
    /* Never STALE: that is said of books, and this is true whatever the book is. */
    mdf_tick t = mdp_tick_of(MDF_DEFINITION);
    t.payload.definition.tick_size = d->tick_size;
    t.payload.definition.expiration = (int64_t)d->expiration;
    t.payload.definition.action = d->action;
    mdp_stage(h, ch, b->instrument_id, d->last_update, 0, &t);
    h->count.others++;
    ch->event_ticks--; /* it belongs to no event */
}

/* Nothing that was known of the instrument holds any more, and nobody waits for it: it is deleted, or its
 * SecurityID stands for something else from here on. */
static inline void mdp_forget_instrument(mdp_handler *h, mdp_channel *ch, mdp_instrument *b) {
    mdp_clear_book(h, ch, b, ch->sending, 0);
    mdp_drop_notes(h, b);
    if (h->orders) mdp_orders_void(h, ch, b, ch->sending);
    if (b->flags & MDP_SELECTED) {
        ch->instruments--;
        ch->unproven -= !mdp_is_proven(ch, b);
        ch->unproven_mbo -= !mdp_is_mbo_proven(ch, b);
    }
    b->flags &= MDP_DEFINED;
    b->trading_status = MDP_NULL_U8;
    mdp_begin_instrument(ch, b);
    b->since = b->mbo_since = ch->started ? ch->next : 0; /* a snapshot may be cut inside the packet it names */
    if (!ch->unproven) mdp_heal_gaps(h, ch);
}

static inline void mdp_apply_definition(mdp_handler *h, uint32_t channel, const mdp_definition *d) {
    mdp_channel *ch = h->channels[channel];
    uint32_t index = mdp_find(h, channel, d->security_id);
    int existed = index != MDP_NONE;
    if (!existed) {
        if (d->action == MDP_REMOVE) return;
        index = mdp_create(h, channel, d->security_id);
        if (index == MDP_NONE) return;
        h->instruments[index].since = ch->started ? ch->next - 1 : 0;
    }
    mdp_instrument *b = &h->instruments[index];
    if (d->last_update && d->last_update < b->last_update) return; /* from a loop that lags behind what we know */
    if (d->action == MDP_REMOVE) {
        b->last_update = d->last_update;
        if (b->flags & MDP_SELECTED) mdp_tick_definition(h, ch, b, d);
        if (!(b->flags & MDP_DELETED)) mdp_forget_instrument(h, ch, b);
        b->flags |= MDP_DELETED;
        return;
    }
    mdp_print print = mdp_print_of_definition(d);
    int passed_over = !(b->flags & (MDP_DEFINED | MDP_SELECTED)) && existed; /* its updates so far, as nobody's */
    if (b->flags & MDP_DEFINED && mdp_same_print(&print, &b->definition_print) && !(b->flags & MDP_DELETED)) return;
    int another = b->flags & MDP_DEFINED && strcmp(h->definitions[index].symbol, d->symbol);
    if (another && !(b->flags & MDP_DELETED)) { /* the deletion was lost, and more of it may be */
        mdp_forget_instrument(h, ch, b);
        if (ch->started) b->state = b->mbo_state = MDP_UNKNOWN;
    }
    if (another) b->instrument_id = 0;
    h->count.definitions++;
    h->definitions[index] = *d;
    b->definition_print = print;
    b->last_update = d->last_update;
    int changed = mdp_set_depth(b, d->depth && d->depth < MDP_LEVELS ? d->depth : MDP_LEVELS);
    if (changed && mdp_rpt_of(b) && b->flags & MDP_SELECTED && mdp_is_proven(ch, b)) mdp_disprove(h, ch, b, ch->next - 1);
    b->group = mdp_six((const uint8_t *)d->group);
    b->asset = mdp_six((const uint8_t *)d->asset);
    b->flags = (uint8_t)((b->flags | MDP_DEFINED) & ~MDP_DELETED);
    if (b->trading_status == MDP_NULL_U8) b->trading_status = d->trading_status;
    if (!mdp_is_ours(h, d->symbol)) { /* it was while it had no name but its number, or another one */
        if (b->flags & MDP_SELECTED) mdp_forget_instrument(h, ch, b);
        return;
    }
    if (!(b->flags & MDP_SELECTED) && !mdp_chosen(h, d->security_id, d->symbol, d->group, d->asset)) return;
    mdp_enter(h, b, d);
    if (!b->instrument_id) return;
    if (!(b->flags & MDP_SELECTED)) {
        b->flags |= MDP_SELECTED;
        if (passed_over && ch->started) {
            b->state = b->mbo_state = MDP_UNKNOWN;
            b->quick = 0;
            b->since = b->mbo_since = ch->next; /* inside the packet before, a snapshot may have been cut */
        }
        mdp_doubt_one(ch, b);
    }
    mdp_tick_definition(h, ch, b, d);
}

static inline int mdp_on_definition(mdp_handler *h, uint32_t channel, mdp_line *line, const mdp_message *m) {
    mdp_definition d;
    memset(&d, 0, sizeof d);
    if (mdp_define(m->template_id, m->version, m->root, m->block, m->groups, (size_t)(m->end - m->groups), &d)) return 0;
    mdp_apply_definition(h, channel, &d);
    if (line->feed == MDP_DEFINITIONS) mdp_report(h, line, d.security_id, d.total_reports, UINT32_MAX);
    return d.mei & MDP_END_OF_EVENT;
}

/* -------------------------------------------------------------------------------------------- book snapshots */

static inline void mdp_snapshot_statistic(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const uint8_t *e,
                                          uint64_t time, int old, int longqty) {
    uint8_t type = e[longqty ? MDP_SnapshotLongQty_MDEntryType : MDP_Snapshot_MDEntryType];
    uint8_t flag = e[longqty ? MDP_SnapshotLongQty_OpenCloseSettlFlag : MDP_Snapshot_OpenCloseSettlFlag];
    uint16_t kind = mdp_statistic_type(type, flag);
    if (!kind) return;
    mdp_statistic s = {mdp_price(e, old), 0, MDP_NULL_U16, kind, 0, 0};
    s.quantity = longqty ? mdp_quantity_u64(mdp_u64(e + MDP_SnapshotLongQty_MDEntrySize))
                         : mdp_quantity_i32(mdp_u32(e + MDP_Snapshot_MDEntrySize));
    if (!longqty) {
        s.date = mdp_u16(e + MDP_Snapshot_TradingReferenceDate);
        s.settlement = e[MDP_Snapshot_SettlPriceType];
    }
    mdp_tick_statistic(h, ch, b, time, MDF_SNAPSHOT, s);
}

static inline void mdp_snapshot_level(mdp_instrument *b, const uint8_t *e, int old, int longqty) {
    const mdp_kind *kind = &mdp_kinds[e[longqty ? MDP_SnapshotLongQty_MDEntryType : MDP_Snapshot_MDEntryType]];
    if (!mdp_is_level(kind)) return;
    unsigned level = e[longqty ? MDP_SnapshotLongQty_MDPriceLevel : MDP_Snapshot_MDPriceLevel];
    if (!level || level > mdp_depth_of(b, kind->side)) return;
    uint32_t size, orders;
    if (longqty) {
        size = mdp_known_long(mdp_u64(e + MDP_SnapshotLongQty_MDEntrySize));
        orders = mdp_u32(e + MDP_SnapshotLongQty_NumberOfOrders);
    } else {
        size = mdp_known(mdp_u32(e + MDP_Snapshot_MDEntrySize));
        orders = mdp_u32(e + MDP_Snapshot_NumberOfOrders);
    }
    *mdp_level_at(b, kind->side, level - 1) = mdp_level_of(mdp_price(e, old), size, mdp_known(orders));
    b->flags |= kind->flags;
}

/* A touch that was told flagged, and is the same still, is told again without the flag; one that is empty only where
 * that was told. */
static inline void mdp_tell_unflagged(mdp_instrument *b, unsigned bids, mdp_touch *told, int flagged) {
    mdp_touch now = mdp_touch_of(b, bids);
    if (!mdp_same_touch(&now, told)) return;
    mdp_empty_told(told);
    if (flagged && mdp_same_touch(&now, told)) mdp_forget_told(told);
}

/* Put the snapshot in the place of the book, bring it up to date, and tell what is new. */
static inline void mdp_apply_snapshot(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_snapshot *s,
                                      const mdp_group *g, uint8_t status, int old, int longqty) {
    int was_told = b->flags & MDP_TOLD, told_stale = b->told_stale, untouched = b->state == MDP_SYNC && s->rpt == mdp_rpt_of(b);
    mdp_empty_book(b);
    for (uint32_t i = 0; i < g->count; i++) mdp_snapshot_level(b, g->entry + (size_t)i * g->length, old, longqty);
    mdp_replay_notes(h, ch, b, s);
    h->count.snapshots += !untouched;
    mdp_prove(h, ch, b);
    if (!untouched)
        for (uint32_t i = 0; i < g->count; i++)
            mdp_snapshot_statistic(h, ch, b, g->entry + (size_t)i * g->length, s->time, old, longqty);
    if (status != MDP_NULL_U8 && status != MDP_STATUS_NO_CHANGE && status != b->trading_status) {
        b->trading_status = status;
        mdp_tick_status(h, ch, b, s->time, MDF_SNAPSHOT, MDP_HALT_UNKNOWN, MDP_EVENT_NONE);
    }
    if (was_told) {
        mdp_tell_unflagged(b, MDP_BIDS, &b->told, told_stale & 1);
        mdp_tell_unflagged(b, MDP_IMPLIED_BIDS, &b->told_implied, told_stale & 2);
    }
    mdp_tell_book(h, ch, b, MDF_SNAPSHOT);
}

/* The packet as of which a book is right once it was mended: what came since the snapshot is in it, too. */
static inline uint32_t mdp_as_of(const mdp_channel *ch, uint32_t last) {
    return ch->started && last < ch->next ? ch->next - 1 : last;
}

static inline void mdp_on_snapshot(mdp_handler *h, mdp_channel *ch, uint32_t channel, mdp_line *line, const mdp_message *m,
                                   int old, int longqty) {
    const uint8_t *r = m->root;
    mdp_snapshot s = {mdp_u32(r + MDP_Snapshot_LastMsgSeqNumProcessed), mdp_u32(r + MDP_Snapshot_TotNumReports),
                      mdp_u32(r + MDP_Snapshot_RptSeq), mdp_u64(r + MDP_Snapshot_TransactTime)};
    int32_t security_id = mdp_i32(r + MDP_Snapshot_SecurityID);
    mdp_instrument *b = mdp_instrument_of(h, channel, security_id);
    mdp_report(h, line, security_id, s.total, s.last);
    if (!b || mdp_is_proven(ch, b)) return;
    if (!mdp_is_usable(h, ch, b, &s)) {
        h->count.waited++;
        return;
    }
    mdp_group g;
    mdp_group_at(m->groups, m->end, MDP_Snapshot_NoMDEntries_DIMENSION, &g);
    h->packet = mdp_as_of(ch, s.last);
    mdp_apply_snapshot(h, ch, b, &s, &g, r[MDP_Snapshot_MDSecurityTradingStatus], old, longqty);
}

static inline void mdp_on_order_snapshot(mdp_handler *h, mdp_channel *ch, uint32_t channel, mdp_line *line,
                                         const mdp_message *m, int old) {
    const uint8_t *r = m->root;
    mdp_chunk c;
    mdp_group g;
    c.last = mdp_u32(r + MDP_SnapshotOrderBook_LastMsgSeqNumProcessed);
    c.chunks = mdp_u32(r + MDP_SnapshotOrderBook_NoChunks);
    c.current = mdp_u32(r + MDP_SnapshotOrderBook_CurrentChunk);
    c.time = mdp_u64(r + MDP_SnapshotOrderBook_TransactTime);
    c.old = old;
    int32_t security_id = mdp_i32(r + MDP_SnapshotOrderBook_SecurityID);
    mdp_instrument *b = mdp_instrument_of(h, channel, security_id);
    mdp_report(h, line, security_id, mdp_u32(r + MDP_SnapshotOrderBook_TotNumReports), c.last);
    if (!h->orders || !b) return;
    *(line->side ? &b->chunk_seen_b : &b->chunk_seen_a) = line->loop;
    mdp_group_at(m->groups, m->end, MDP_SnapshotOrderBook_NoMDEntries_DIMENSION, &g);
    c.entries = g.entry;
    c.count = g.count;
    c.length = g.length;
    h->packet = mdp_as_of(ch, c.last);
    mdp_orders_chunk(h, ch, (uint32_t)(b - h->instruments), &c);
}

/* ----------------------------------------------------------------------------------------------------- loops */

/* Not in a loop made after the loss, and nothing heard of it since: it has no book, or none any more. */
static inline void mdp_absent(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_line *line) {
    int heard = b->first_note != MDP_NONE && b->generation == ch->generation;
    if (heard || mdp_is_proven(ch, b) || !mdp_reaches(line->least, mdp_needed(ch, b))) return;
    b->next_rpt = 1;
    b->ahead = 0;
    mdp_prove(h, ch, b);
    mdp_clear_book(h, ch, b, ch->sending, 0);
}

static inline void mdp_absent_orders(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, const mdp_line *line) {
    int heard = b->first_mbo_note != MDP_NONE && b->mbo_generation == ch->generation;
    if (b->security_id == line->reported) return; /* the loop's last one: its orders may have been lost */
    if (heard || mdp_is_mbo_proven(ch, b) || !mdp_reaches(line->least, mdp_mbo_needed(ch, b))) return;
    mdp_mbo_prove(ch, b);
    mdp_orders_void(h, ch, b, ch->sending);
}

/* A whole loop: what it says of those that are not in it. */
static inline void mdp_loop_whole(mdp_handler *h, mdp_channel *ch, mdp_line *line) {
    if (line->feed == MDP_DEFINITIONS && !ch->definitions_whole) {
        ch->definitions_whole = 1;
        mdp_tell(h, MDP_TOLD_DEFINITIONS, line->channel, 0, line->reports, 0);
    }
    if (line->feed == MDP_DEFINITIONS || !ch->started) return;
    h->packet = ch->next - 1;
    for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
        mdp_instrument *b = &h->instruments[i];
        if (!(b->flags & MDP_SELECTED)) continue;
        if (line->feed == MDP_SNAPSHOTS) {
            if ((line->side ? b->seen_b : b->seen_a) != line->loop) mdp_absent(h, ch, b, line);
        } else if (h->orders) {
            if ((line->side ? b->chunk_seen_b : b->chunk_seen_a) != line->loop) mdp_absent_orders(h, ch, b, line);
        }
    }
}

/* Is it the last packet once more, or one that was overtaken? A lower number alone could be the next round, but that
 * is sent later. A longer step back is one of the venue's clock. */
static inline int mdp_loop_overtaken(const mdp_line *line, uint32_t seq, uint64_t sending) {
    return line->started && sending <= line->sending && line->sending - sending <= MDP_LATER_NS &&
           (sending < line->sending || (seq == line->last && seq > 1));
}

/* Whether the packet was missing among those up to `last`, of which `recent` is; it is no more. */
static inline int mdp_was_missing(uint64_t *recent, uint32_t last, uint32_t seq) {
    if (seq >= last || last - seq >= 64 || *recent >> (last - seq) & 1) return 0;
    *recent |= UINT64_C(1) << (last - seq);
    return 1;
}

/* It is not lost after all; but of this round nobody can say any more who was not in it. */
static inline void mdp_loop_late(mdp_line *line, uint32_t seq) {
    line->broken = 1;
    if (mdp_was_missing(&line->recent, line->last, seq) || mdp_was_missing(&line->ended_recent, line->ended_last, seq))
        line->lost -= line->lost > 0;
}

/* Where in the loop the packet stands. */
static inline void mdp_loop_step(mdp_handler *h, mdp_channel *ch, mdp_line *line, uint32_t seq) {
    if (!line->started) {
        line->started = 1;
        line->recent = UINT64_MAX; /* of what was before we came nothing is missed */
        mdp_loop_begin(line, seq);
    } else if (seq == line->last + 1) {
        line->recent = line->recent << 1 | 1;
        if (line->wrapped && seq == line->joined) {
            if (!line->broken && line->total == UINT32_MAX) mdp_loop_whole(h, ch, line); /* nobody said how many */
            mdp_loop_begin(line, seq);
        }
    } else if (seq > line->last) {
        line->lost += seq - line->last - 1;
        line->recent = seq - line->last < 64 ? line->recent << (seq - line->last) | 1 : 1;
        line->broken = 1;
        if (line->wrapped && seq >= line->joined) mdp_loop_begin(line, seq);
    } else { /* the loop began again */
        uint32_t missing = seq - (seq > 0);
        line->lost += missing;
        line->ended_last = line->last;
        line->ended_recent = line->recent;
        line->recent = seq < 64 ? UINT64_MAX << seq | 1 : 1;
        int done = !missing && !line->broken && line->joined == 1 && line->reports && line->reports >= line->total;
        if (line->feed == MDP_ORDERS && done) mdp_loop_whole(h, ch, line);
        if (line->feed != MDP_ORDERS && line->joined > 1 && !line->wrapped && !line->broken && !missing) {
            line->wrapped = 1;
            if (seq == line->joined) mdp_loop_begin(line, seq);
        } else {
            mdp_loop_begin(line, seq);
            line->broken = missing != 0;
        }
    }
    line->last = seq;
}

static inline void mdp_loop_heartbeat(mdp_handler *h, mdp_channel *ch, mdp_line *line) {
    if (line->feed == MDP_DEFINITIONS) return;
    if (line->quiet && line->quiet_generation == ch->generation) mdp_loop_whole(h, ch, line);
    mdp_loop_begin(line, line->last);
    line->quiet = ch->started; /* one heartbeat may have been sent before the loss, or between two loops */
    line->quiet_generation = ch->generation;
}

/* Is there a run of what may be a new sequence, and has the old one not gone on behind it? */
static inline int mdp_is_again(const mdp_channel *ch) { return ch->again.n && ch->again.began > ch->sending; }

/* A packet of N, S or SMBO, checked. */
static inline void mdp_loop_packet(mdp_handler *h, mdp_channel *ch, mdp_line *line, const uint8_t *p, size_t n) {
    mdp_message m;
    uint32_t seq = mdp_u32(p);
    uint64_t sending = mdp_u64(p + MDP_PACKET_SENDING);
    if (mdp_loop_overtaken(line, seq, sending)) {
        mdp_loop_late(line, seq);
    } else {
        mdp_loop_step(h, ch, line, seq);
        line->sending = sending;
    }
    if (sending < ch->began) return; /* of the week before */
    int books = line->feed == MDP_SNAPSHOTS || line->feed == MDP_ORDERS;
    if (books && mdp_is_again(ch) && sending >= ch->again.began) {
        line->broken = 1; /* of a new sequence, maybe: its numbers are not those of our books */
        return;
    }
    for (const uint8_t *at = p + MDP_PACKET_HEADER, *end = p + n; at < end;) {
        at = mdp_message_at(at, &m);
        switch (m.template_id) {
        case MDP_T_Heartbeat: mdp_loop_heartbeat(h, ch, line); break;
        case MDP_T_Snapshot: if (books) mdp_on_snapshot(h, ch, line->channel, line, &m, 0, 0); break;
        case MDP_T_Snapshot_OLD: if (books) mdp_on_snapshot(h, ch, line->channel, line, &m, 1, 0); break;
        case MDP_T_SnapshotLongQty: if (books) mdp_on_snapshot(h, ch, line->channel, line, &m, 0, 1); break;
        case MDP_T_SnapshotOrderBook:
            if (line->feed == MDP_ORDERS) mdp_on_order_snapshot(h, ch, line->channel, line, &m, 0);
            break;
        case MDP_T_SnapshotOrderBook_OLD:
            if (line->feed == MDP_ORDERS) mdp_on_order_snapshot(h, ch, line->channel, line, &m, 1);
            break;
        case MDP_T_Future: case MDP_T_Option: case MDP_T_Spread: case MDP_T_FixedIncome: case MDP_T_Repo: case MDP_T_FX:
        case MDP_T_Future_OLD: case MDP_T_Option_OLD: case MDP_T_Spread_OLD:
            if (line->feed == MDP_DEFINITIONS) {
                h->packet = 0;
                mdp_on_definition(h, line->channel, line, &m);
            }
            break;
        default: h->count.skipped++;
        }
        h->count.messages++;
    }
    /* A loop of orders ends where it begins again: an instrument may still have chunks to come. */
    if (line->feed != MDP_ORDERS && line->reports && line->reports >= line->total && !line->broken) {
        mdp_loop_whole(h, ch, line);
        mdp_loop_begin(line, line->last + 1);
    }
}

#endif
