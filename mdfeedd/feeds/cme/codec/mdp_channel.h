/* A channel: two lines of incremental packets into one sequence, and what happens when packets are missing.
 *
 *   both lines ──► seq == next: process, then what waited for it
 *                  seq <  next: a copy (compared), too late, or the sequence has begun again
 *                  seq >  next: wait in the reorder buffer; the hole before it is LOST once both lines have
 *                               passed it, or max_wait is over, or the buffer is full
 *   LOST ──► GAP, every instrument in doubt, and on with the next packet
 *
 * Time comes with the packets and the timer; nothing here reads a clock, and no order depends on one.
 */
#ifndef MDP_CHANNEL_H
#define MDP_CHANNEL_H

#include "mdp_recover.h"

/* ------------------------------------------------------------------------------------------ accepted packets */

static inline void mdp_on_reset(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint64_t time) {
    h->count.resets++;
    mdp_tell(h, MDP_TOLD_RESET, channel, 0, h->packet, 0);
    mdp_clear_channel(h, ch, channel, time, 1);
    ch->after_reset = 1;
}

static inline void mdp_on_heartbeat(mdp_handler *h, mdp_channel *ch) {
    uint32_t before = ch->event_ticks;
    mdf_tick t = mdp_tick_of(MDF_HEARTBEAT);
    mdp_stage(h, ch, 0, ch->sending, 0, &t);
    h->count.others++;
    ch->event_ticks = before;
}

/* The message at `at` of an accepted packet; returns its MatchEventIndicator. */
MDP_APART unsigned mdp_dispatch(mdp_handler *h, mdp_channel *ch, uint32_t c, const uint8_t *at, uint64_t *time) {
    mdp_message message, *m = &message;
    mdp_message_at(at, m);
    const uint8_t *r = m->root;
    unsigned mei = 0;
    uint32_t before = ch->event_ticks; /* a status without an indicator belongs to no event */
    *time = m->block >= 9 ? mdp_u64(r) : 0;
    switch (m->template_id) {
#define MDP_CASE(Name, call)                                                                            \
    case MDP_T_##Name: mei = r[MDP_##Name##_MatchEventIndicator]; call; break;
#define MDP_CASES(Name, call_new, call_old)                                                             \
    MDP_CASE(Name, call_new)                                                                            \
    case MDP_T_##Name##_OLD: mei = r[MDP_##Name##_MatchEventIndicator]; call_old; break;
    MDP_CASES(TradeSummary, mdp_on_trades(h, ch, c, m, *time, 0, 0), mdp_on_trades(h, ch, c, m, *time, 1, 0))
    MDP_CASE(TradeSummaryLongQty, mdp_on_trades(h, ch, c, m, *time, 0, 1))
    MDP_CASE(Trade, mdp_on_trades(h, ch, c, m, *time, 1, 0))
    MDP_CASES(OrderBook, mdp_on_order_book(h, ch, c, m, *time, 0), mdp_on_order_book(h, ch, c, m, *time, 1))
    MDP_CASE(Volume, mdp_on_volume(h, ch, c, m, *time, 0))
    MDP_CASE(VolumeLongQty, mdp_on_volume(h, ch, c, m, *time, 1))
    MDP_CASES(DailyStatistics, mdp_on_daily(h, ch, c, m, *time, 0), mdp_on_daily(h, ch, c, m, *time, 1))
    MDP_CASES(LimitsBanding, mdp_on_limits(h, ch, c, m, *time, 0), mdp_on_limits(h, ch, c, m, *time, 1))
    MDP_CASES(SessionStatistics, mdp_on_session(h, ch, c, m, *time, 0, 0), mdp_on_session(h, ch, c, m, *time, 1, 0))
    MDP_CASE(SessionStatisticsLongQty, mdp_on_session(h, ch, c, m, *time, 0, 1))
    MDP_CASE(SecurityStatus, mdp_on_status(h, ch, c, m); if (!mei) ch->event_ticks = before)
    MDP_CASE(ChannelReset, mdp_on_reset(h, ch, c, *time))
    MDP_CASE(QuoteRequest, h->count.skipped++)
    MDP_CASE(Workup, h->count.skipped++)
    MDP_CASE(CollateralValue, h->count.skipped++)
    MDP_CASE(TopOrders, h->count.skipped++)
#undef MDP_CASES
#undef MDP_CASE
    case MDP_T_Future: case MDP_T_Option: case MDP_T_Spread: case MDP_T_FixedIncome: case MDP_T_Repo: case MDP_T_FX:
    case MDP_T_Future_OLD: case MDP_T_Option_OLD: case MDP_T_Spread_OLD:
        mei = mdp_on_definition(h, c, &h->lines[h->line], m) ? MDP_END_OF_EVENT : 0;
        *time = ch->sending;
        break;
    case MDP_T_Heartbeat: mdp_on_heartbeat(h, ch); break;
    case MDP_T_Login: case MDP_T_Logout: h->count.skipped++; break;
    default:
        h->count.unknown++;
        mdp_tell_once(h, MDP_TOLD_UNKNOWN_TEMPLATE, c, (int32_t)m->template_id, m->version);
    }
    return mei;
}

/* The same of a book message, which is what most are. */
MDP_HOT unsigned mdp_dispatch_book(mdp_handler *h, mdp_channel *ch, const uint8_t *at, uint64_t *time, mdp_on_book_of *on_book) {
    const uint8_t *root = at + MDP_MESSAGE_HEADER, *group = root + mdp_u16(at + MDP_MESSAGE_BLOCK);
    *time = mdp_u64(root + MDP_Book_TransactTime);
    if (group < at + mdp_u16(at) && (group[MDP_GROUP_NUMBER_3] || h->orders)) on_book(h, ch, at, group, *time);
    return root[MDP_Book_MatchEventIndicator];
}

/* Process the packet that is next. It was checked. */
MDP_HOT void mdp_process_now(mdp_handler *h, mdp_channel *ch, uint32_t channel, const uint8_t *p, size_t n) {
    ch->sending = mdp_u64(p + MDP_PACKET_SENDING);
    h->packet = mdp_u32(p);
    ch->next = (uint64_t)h->packet + 1;
    ch->after_reset = 0;
    if (h->ts_recv != MDF_TIME_UNDEF) h->latest_latency_ns = (int64_t)((uint64_t)h->ts_recv - ch->sending);
    for (const uint8_t *at = p + MDP_PACKET_HEADER, *end = p + n; at < end; at += mdp_u16(at)) {
        uint64_t time;
        unsigned mei, template_id = mdp_u16(at + MDP_MESSAGE_TEMPLATE);
        h->count.messages++;
        if (template_id == MDP_T_Book) mei = mdp_dispatch_book(h, ch, at, &time, mdp_on_book_now);
        else if (template_id == MDP_T_Book_OLD) mei = mdp_dispatch_book(h, ch, at, &time, mdp_on_book_old);
        else if (template_id == MDP_T_BookLongQty) mei = mdp_dispatch_book(h, ch, at, &time, mdp_on_book_long);
        else mei = mdp_dispatch(h, ch, channel, at, &time);
        if (mei & MDP_END_OF_EVENT) mdp_end_event(h, ch, time);
        else if (mei || ch->event_ticks || ch->changed_n) ch->in_event = 1;
    }
}

/* The same of one that has waited. */
MDP_COLD void mdp_process(mdp_handler *h, mdp_channel *ch, uint32_t channel, const uint8_t *p, size_t n) {
    mdp_process_now(h, ch, channel, p, n);
}

/* --------------------------------------------------------------------------------------------------- copies */

static inline void mdp_remember(mdp_channel *ch, const uint8_t *p, size_t n) {
    uint32_t seq = mdp_u32(p), i = seq & (MDP_REMEMBERED - 1);
    ch->remembered[i].seq = seq;
    ch->remembered[i].length = (uint32_t)n;
    ch->remembered[i].sending = mdp_u64(p + MDP_PACKET_SENDING);
    ch->remembered[i].print = mdp_print_of(p, n);
}

static inline void mdp_end_sequence(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint64_t sending);

static inline uint64_t mdp_sending_of(const uint8_t *p) { return mdp_u64(p + MDP_PACKET_SENDING); }

/* Of what waits, keep the packets in the window from `from` on. */
static inline void mdp_keep_waiting(mdp_handler *h, mdp_channel *ch, uint32_t from) {
    uint32_t left = ch->buffered;
    ch->buffered = 0;
    for (uint32_t i = 0; left; i++) {
        mdp_slot *s = &ch->slots[i];
        if (!s->length) continue;
        left--;
        if (s->seq < from || s->seq - from >= h->o.reorder_packets) {
            s->length = 0;
            continue;
        }
        if (!ch->buffered++ || s->seq > ch->highest) ch->highest = s->seq;
    }
}

/* The sequence begins again at `first`; other lines than the running one may still bring what was before. What waits
 * is of the new one, since mdp_end_sequence(), and is kept if it is in the window from `from` on. */
static inline void mdp_begin_sequence(mdp_handler *h, mdp_channel *ch, uint32_t first, uint64_t began, uint32_t from) {
    mdp_keep_waiting(h, ch, from);
    ch->ended = ch->next;
    ch->ended_sending = ch->sending;
    ch->next = ch->first = ch->missed = first;
    ch->began = began;
    ch->again.n = ch->definitions_whole = 0;
    for (uint32_t i = 0; i < ch->lines_n; i++) h->lines[ch->lines[i]].behind = ch->lines[i] != h->line;
    for (uint32_t i = 0; i < MDP_REMEMBERED; i++) ch->remembered[i].length = 0;
    mdp_break_loops(h, ch);
}

/* It has begun again with packet `seq`: of what is before, no line has brought or missed anything. */
static inline void mdp_lines_begin(mdp_handler *h, const mdp_channel *ch, uint32_t seq) {
    for (uint32_t i = 0; i < ch->lines_n; i++) {
        h->lines[ch->lines[i]].last = seq - 1;
        h->lines[ch->lines[i]].recent = UINT64_MAX;
    }
}

/* Whether the packet is what the other line has brought already: the most frequent case, and the cheapest. Only
 * what was processed is remembered, so its sequence number has passed. */
MDP_HOT int mdp_is_copy(const mdp_channel *ch, mdp_line *line, const uint8_t *p, size_t n) {
    uint32_t seq = mdp_u32(p), i = seq & (MDP_REMEMBERED - 1);
    if ((ch->remembered[i].seq ^ seq) | (ch->remembered[i].length ^ n)) return 0;
    if (ch->silent || !line->started || seq != line->last + 1) return 0;
    mdp_print print = mdp_print_of(p, n);
    if (!mdp_same_print(&print, &ch->remembered[i].print)) return 0;
    line->last = seq;
    line->recent = line->recent << 1 | 1;
    return 1;
}

/* Has the venue begun its sequence again, within the hour? SendingTime does not fall within a sequence: a packet
 * whose number has passed, sent later than the last one processed, is of another. The numbers and times of these
 * rise, and nothing of the old sequence comes any more. One packet proves nothing. Where their times are clearly
 * later, so many prove it; two do where the new sequence is about to be taken for the old one going on. */
MDP_COLD int mdp_begins_again(mdp_channel *ch, const uint8_t *p, size_t n, int64_t now_ns) {
    mdp_again *a = &ch->again;
    uint32_t seq = mdp_u32(p);
    uint64_t sending = mdp_sending_of(p);
    if (!seq || sending <= ch->sending || mdp_is_of_loop(p, n)) return 0;
    if (!mdp_is_again(ch)) *a = (mdp_again){sending, now_ns, 0, seq, 0, 0, 0};
    if (seq < a->first) a->first = seq;
    if (sending < a->began) a->began = sending;
    int rises = seq > a->last && sending >= a->last_sending;
    if (a->n && !rises && seq <= a->last && sending <= a->last_sending) return 0; /* by the other line, or reordered */
    uint32_t is_later = sending - ch->sending > MDP_LATER_NS;
    a->n = rises ? a->n + 1 : 1;
    a->later = rises ? a->later + is_later : is_later;
    a->last = seq;
    a->last_sending = sending;
    return a->later >= MDP_AGAIN_PACKETS || (a->n > 1 && (uint64_t)seq + 1 == ch->next);
}

/* Since when packets have passed unused that may yet turn out to be of a new sequence; 0: there are none. */
static inline int64_t mdp_doubted_since_ns(const mdp_channel *ch) { return mdp_is_again(ch) ? ch->again.since_ns : 0; }

/* The number of `p` has not passed, but some have that look like a new sequence: is it the next of that one? Where
 * packets were `lost` all books are in doubt anyway, and one that passed is enough; else as many must have passed as
 * are missing between them and `p`, or a mistake of the network would void what is right. */
MDP_COLD int mdp_goes_on_anew(mdp_channel *ch, const uint8_t *p, int lost) {
    mdp_again *a = &ch->again;
    uint32_t seq = mdp_u32(p);
    if (!mdp_is_again(ch)) { /* the old sequence has gone on since */
        a->n = 0;
        return 0;
    }
    return seq > a->last && mdp_sending_of(p) > a->last_sending && (lost || seq - a->last <= a->n);
}

/* What looked like a new sequence is one: what of it has passed is a hole like any other. `from`, `sending`: of the
 * packet that shows it. */
MDP_COLD void mdp_begin_anew(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint32_t from, uint64_t sending) {
    mdp_again a = ch->again;
    mdp_end_sequence(h, ch, channel, a.began);
    h->count.epochs++;
    mdp_tell(h, MDP_TOLD_EPOCH, channel, 0, ch->next, a.first);
    mdp_begin_sequence(h, ch, a.first, a.began, from);
    mdp_clear_channel(h, ch, channel, ch->sending = sending, a.first == 1);
}

/* A sequence number that has passed: a copy, too late, or does the sequence begin again? Nonzero if it does.
 * Copies are identical, so a packet with the SendingTime of a remembered one never begins a week. */
static inline int mdp_passed_packet(mdp_handler *h, mdp_channel *ch, uint32_t channel, mdp_line *line, const uint8_t *p,
                                    size_t n) {
    uint32_t seq = mdp_u32(p), i = seq & (MDP_REMEMBERED - 1);
    uint64_t sending = mdp_u64(p + MDP_PACKET_SENDING);
    int remembered = ch->remembered[i].length && ch->remembered[i].seq == seq;
    if (remembered && ch->remembered[i].sending == sending) {
        line->duplicates++;
        h->count.duplicates++;
        mdp_print print = mdp_print_of(p, n);
        if (ch->remembered[i].length != n || !mdp_same_print(&print, &ch->remembered[i].print)) {
            h->count.mismatches++;
            mdp_tell_once(h, MDP_TOLD_MISMATCH, channel, 0, seq);
        }
        return 0;
    }
    int far = seq == 1 || ch->next - seq > MDP_REMEMBERED; /* a damaged copy begins no week */
    int later = far && sending > ch->sending && sending - ch->sending > MDP_EPOCH_NS;
    int silent = sending > ch->sending && h->now_ns - ch->last_ns > (int64_t)MDP_EPOCH_NS;
    /* MsgSeqNum may begin again with a channel reset, or behind one: not documented, so allowed. */
    int reset = !later && !silent && sending > ch->sending && (ch->after_reset || mdp_is_reset(p, n));
    /* A reset of the new sequence, of which packets have passed already: those are a hole. */
    int anew = reset && !ch->after_reset && mdp_is_again(ch) && seq > ch->again.last && sending > ch->again.last_sending;
    if ((later || silent || reset) && !anew) {
        /* Behind a reset the sequence begins at 1, and 1 may be missing: that is a hole like any other. */
        int behind = reset && ch->after_reset && seq < h->o.reorder_packets;
        if (!behind) mdp_end_sequence(h, ch, channel, sending);
        h->count.epochs++;
        mdp_tell(h, MDP_TOLD_EPOCH, channel, 0, ch->next, seq);
        uint32_t first = behind ? 1 : seq;
        mdp_begin_sequence(h, ch, first, behind ? ch->sending + 1 : sending, first);
        mdp_lines_begin(h, ch, first);
        if (reset) return 1;
        ch->ended = UINT64_MAX; /* hours ago; and one damaged time must not make losses of all that follows */
        ch->missed = 0;         /* a week may be joined late */
        mdp_clear_channel(h, ch, channel, ch->sending = sending, seq == 1);
        return 1;
    }
    if (anew || mdp_begins_again(ch, p, n, h->now_ns)) {
        mdp_begin_anew(h, ch, channel, ch->again.first, sending);
        mdp_lines_begin(h, ch, seq);
        return 1;
    }
    line->late++;
    h->count.late++;
    if (remembered) {
        h->count.mismatches++;
        int later_too = sending > ch->sending && sending - ch->sending > MDP_LATER_NS; /* a new sequence's, maybe */
        if (!later_too) mdp_tell_once(h, MDP_TOLD_MISMATCH, channel, 0, seq);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------------- holes */

/* The lowest sequence that waits; call only while some do. */
static inline uint32_t mdp_lowest_waiting(const mdp_handler *h, const mdp_channel *ch) {
    uint32_t mask = h->o.reorder_packets - 1;
    for (uint32_t seq = ch->next;; seq++) {
        const mdp_slot *s = &ch->slots[seq & mask];
        if (s->length && s->seq == seq) return seq;
    }
}

/* A packet that has waited is next. */
static inline void mdp_take_waiting(mdp_handler *h, mdp_channel *ch, uint32_t channel, mdp_slot *s) {
    int64_t ts_recv = h->ts_recv;
    uint16_t ts_flags = h->ts_flags;
    size_t n = s->length;
    if (h->staged) mdp_send(h, 0); /* as if the packet before had come alone: waiting changes no tick */
    s->length = 0;
    ch->buffered--;
    h->ts_recv = s->ts_recv;
    h->ts_flags = s->ts_flags;
    mdp_remember(ch, s->bytes, n);
    mdp_process(h, ch, channel, s->bytes, n);
    h->ts_recv = ts_recv;
    h->ts_flags = ts_flags;
}

/* No room for one more hole: the last one shall be told healed together with it. */
static inline void mdp_widen_gap(mdp_gap *gap, uint64_t first, uint64_t last) {
    if (first < gap->first) gap->first = first; /* the sequence has begun again */
    if (last > gap->last) gap->last = last;
}

/* A hole is told: in the ticks, where only what was told before it is known, and in the events. */
static inline void mdp_open_gap(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint64_t first, uint64_t last) {
    h->count.gaps++;
    h->count.lost += last - first + 1;
    h->packet = (uint32_t)last;
    mdp_tick_gap(h, ch, MDF_GAP, 0, first, last);
    mdp_tell(h, MDP_TOLD_GAP, channel, 0, first, last);
    if (ch->open_gaps < MDP_MAX_OPEN_GAPS) ch->gap[ch->open_gaps++] = (mdp_gap){first, last};
    else mdp_widen_gap(&ch->gap[MDP_MAX_OPEN_GAPS - 1], first, last);
}

/* Packets next to `to` - 1 are lost on both lines. */
static inline void mdp_lose(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint32_t to) {
    uint64_t first = ch->next, last = (uint64_t)to - 1;
    h->packet = (uint32_t)(first - 1);
    mdp_cut_event(h, ch);
    mdp_open_gap(h, ch, channel, first, last);
    ch->event_ticks = 0;
    mdp_doubt_all(ch, (uint32_t)last);
    ch->next = to;
}

/* A new sequence begins with what was sent at `sending`: what of the old one waits for a packet will not see it
 * come. The hole is told and what waited is processed, in order, before anything is void. */
static inline void mdp_end_sequence(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint64_t sending) {
    uint32_t seq = (uint32_t)ch->next;
    for (uint32_t left = ch->buffered; left; seq++) {
        mdp_slot *s = &ch->slots[seq & (h->o.reorder_packets - 1)];
        if (!s->length || s->seq != seq) continue;
        left--;
        if (mdp_sending_of(s->bytes) >= sending) continue; /* of the new one already */
        if (seq != ch->next) mdp_lose(h, ch, channel, seq);
        mdp_take_waiting(h, ch, channel, s);
        mdp_send(h, 0);
    }
}

/* What is missing before packet `p` is not waited for: does `p` go on with a new sequence? Then that is missing. */
MDP_COLD int mdp_anew_behind(mdp_handler *h, mdp_channel *ch, uint32_t channel, const uint8_t *p, int lost) {
    if (!mdp_goes_on_anew(ch, p, lost)) return 0;
    mdp_begin_anew(h, ch, channel, mdp_u32(p), mdp_sending_of(p));
    h->lines[h->line].behind = 1; /* it need not be the one that brought `p` */
    return 1;
}

/* The packets before `to`, packet `p`, are lost on both lines, be they of the old sequence or of a new one. */
static inline void mdp_lose_before(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint32_t to, const uint8_t *p) {
    if (MDP_UNLIKELY(ch->again.n)) mdp_anew_behind(h, ch, channel, p, 1);
    mdp_lose(h, ch, channel, to);
}

static inline void mdp_drain(mdp_handler *h, mdp_channel *ch, uint32_t channel) {
    while (ch->buffered) {
        mdp_slot *s = &ch->slots[ch->next & (h->o.reorder_packets - 1)];
        if (!s->length || s->seq != ch->next) break;
        if (MDP_UNLIKELY(ch->again.n) && mdp_anew_behind(h, ch, channel, s->bytes, 0)) mdp_lose(h, ch, channel, s->seq);
        mdp_take_waiting(h, ch, channel, s);
    }
}

/* Have all lines gone beyond `seq`? One line alone proves nothing: it may deliver late. */
static inline int mdp_all_passed(const mdp_handler *h, const mdp_channel *ch, uint32_t seq) {
    if (ch->lines_n < MDP_SIDES) return 0;
    for (uint32_t i = 0; i < ch->lines_n; i++) {
        const mdp_line *line = &h->lines[ch->lines[i]];
        if (!line->started || (uint64_t)line->last < (uint64_t)seq + h->o.passed_by) return 0;
    }
    return 1;
}

/* Give up the holes that nothing can fill any more, and go on behind them. */
static inline void mdp_give_up(mdp_handler *h, mdp_channel *ch, uint32_t channel) {
    while (ch->buffered) {
        uint32_t lowest = mdp_lowest_waiting(h, ch);
        const mdp_slot *s = &ch->slots[lowest & (h->o.reorder_packets - 1)];
        int64_t waited_ns = h->now_ns - s->now_ns;
        if (!mdp_all_passed(h, ch, lowest)) {
            if (waited_ns < h->o.max_wait_ns) return;
            h->count.timed_out++;
        }
        mdp_lose_before(h, ch, channel, lowest, s->bytes);
        mdp_drain(h, ch, channel);
    }
}

/* Keep a packet that came before its time. The buffer holds a window of the sequence; one beyond its end gives
 * up the holes at its beginning. */
static inline void mdp_wait(mdp_handler *h, mdp_channel *ch, uint32_t channel, const uint8_t *p, size_t n) {
    uint32_t seq = mdp_u32(p), window = h->o.reorder_packets;
    if (n > MDP_SLOT_BYTES) {
        h->count.oversize++;
        return;
    }
    while (seq - ch->next >= window) {
        h->count.overflows++;
        uint32_t to = ch->buffered ? mdp_lowest_waiting(h, ch) : seq;
        mdp_lose_before(h, ch, channel, to, to == seq ? p : ch->slots[to & (window - 1)].bytes);
        mdp_drain(h, ch, channel);
        if (seq == ch->next) {
            mdp_remember(ch, p, n);
            mdp_process(h, ch, channel, p, n);
            mdp_drain(h, ch, channel);
            return;
        }
    }
    mdp_slot *s = &ch->slots[seq & (window - 1)];
    if (s->length) {
        h->lines[h->line].duplicates++;
        h->count.duplicates++;
        if (s->length != n || memcmp(s->bytes, p, n)) {
            h->count.mismatches++;
            mdp_tell_once(h, MDP_TOLD_MISMATCH, channel, 0, seq);
        }
        return;
    }
    s->seq = seq;
    s->length = (uint32_t)n;
    s->ts_recv = h->ts_recv;
    s->now_ns = h->now_ns;
    if (!ch->buffered || seq > ch->highest) ch->highest = seq;
    for (uint32_t above = seq + 1; above <= ch->highest && above > seq; above++) {
        const mdp_slot *a = &ch->slots[above & (window - 1)];
        if (!a->length || a->seq != above) continue;
        s->now_ns = a->now_ns; /* the hole below has been known for as long as this one waits */
        break;
    }
    s->ts_flags = h->ts_flags;
    memcpy(s->bytes, p, n);
    ch->buffered++;
}

/* --------------------------------------------------------------------------------------- incremental packets */

/* A snapshot among the incremental packets is a network mistake: its sequence is another one. */
static inline int mdp_is_misplaced(const uint8_t *p, size_t n) {
    if (n < MDP_PACKET_HEADER + MDP_MESSAGE_HEADER) return 0;
    switch (mdp_u16(p + MDP_PACKET_HEADER + MDP_MESSAGE_TEMPLATE)) {
    case MDP_T_Snapshot: case MDP_T_Snapshot_OLD: case MDP_T_SnapshotLongQty: case MDP_T_SnapshotOrderBook:
    case MDP_T_SnapshotOrderBook_OLD: case MDP_T_SnapshotTcp: case MDP_T_SnapshotTcpLongQty:
        return 1;
    default: return 0;
    }
}

static inline void mdp_alive(mdp_handler *h, mdp_channel *ch, uint32_t channel) {
    if (ch->silent) {
        ch->silent = 0;
        ch->alive_ns = h->now_ns;
        mdp_tell(h, MDP_TOLD_ALIVE, channel, 0, (uint64_t)(h->now_ns - ch->last_ns), 0);
    }
}

/* The line has brought a packet: what it has skipped is its loss, and one that comes out of order is not after all. */
static inline void mdp_line_step(mdp_line *line, uint32_t seq) {
    uint32_t step = seq > line->last ? seq - line->last : line->last - seq;
    if (!line->started) {
        line->started = 1;
        line->recent = UINT64_MAX; /* of what was before we came nothing is missed */
        line->last = seq;
    } else if (seq > line->last) {
        line->recent = step < 64 ? line->recent << step | 1 : 1;
        line->lost += step - 1;
        line->last = seq;
    } else if (step < 64 && !(line->recent >> step & 1)) {
        line->recent |= UINT64_C(1) << step;
        line->lost -= line->lost > 0;
    }
}

/* A packet comes of which nobody knew when the sequence began again: behind what had come of the old one, or before
 * what had come of the new one. It cannot be told any more, and no book that is still valid lacks it. */
MDP_COLD void mdp_lose_between(mdp_handler *h, mdp_channel *ch, uint32_t channel, uint64_t first, uint64_t last) {
    uint32_t packet = h->packet, before = ch->event_ticks; /* of the event that may be running nothing is lost */
    mdp_open_gap(h, ch, channel, first, last);
    if (!ch->unproven) mdp_heal_gaps(h, ch);
    ch->event_ticks = before;
    h->packet = packet;
}

/* The sequence has begun again on another line: is this packet one of before? Only until this line is there, too. */
static inline int mdp_is_behind(mdp_handler *h, mdp_channel *ch, mdp_line *line, const uint8_t *p) {
    uint32_t seq = mdp_u32(p);
    uint64_t sending = mdp_sending_of(p);
    if (sending >= ch->began) {
        line->behind = 0;
        return 0;
    }
    if (sending > ch->ended_sending && seq >= ch->ended) {
        mdp_lose_between(h, ch, line->channel, ch->ended, seq);
        ch->ended = (uint64_t)seq + 1;
    } else if (sending > ch->ended_sending && seq < ch->missed) {
        mdp_lose_between(h, ch, line->channel, seq, ch->missed - 1);
        ch->missed = seq;
    }
    line->late++;
    h->count.late++;
    ch->last_ns = h->now_ns;
    return 1;
}

/* A packet of line A or B that can be read. */
static inline void mdp_incremental(mdp_handler *h, mdp_channel *ch, mdp_line *line, const uint8_t *p, size_t n) {
    uint32_t seq = mdp_u32(p), channel = line->channel;
    mdp_alive(h, ch, channel);
    if (!ch->started) {
        ch->started = 1;
        ch->next = ch->first = seq;
        ch->from_start = seq == 1;
        h->packet = seq;
        for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
            mdp_instrument *b = &h->instruments[i];
            ch->unproven -= (b->flags & MDP_SELECTED) && !mdp_is_proven(ch, b);
            ch->unproven_mbo -= (b->flags & MDP_SELECTED) && !mdp_is_mbo_proven(ch, b);
            mdp_begin_instrument(ch, b);
            ch->unproven += (b->flags & MDP_SELECTED) && !mdp_is_proven(ch, b);
            ch->unproven_mbo += (b->flags & MDP_SELECTED) && !mdp_is_mbo_proven(ch, b);
            if (b->flags & MDP_TOLD && ch->from_start) mdp_tell_recovered(h, ch, b); /* its definition was flagged */
        }
        mdp_tell(h, MDP_TOLD_STARTED, channel, 0, seq, 0);
    }
    if (line->behind && mdp_is_behind(h, ch, line, p)) return;
    mdp_line_step(line, seq);
    if (seq < ch->next) {
        if (!mdp_passed_packet(h, ch, channel, line, p, n)) {
            ch->last_ns = h->now_ns;
            return;
        }
        mdp_line_step(line, seq);
    } else if (MDP_UNLIKELY(ch->again.n) && seq == ch->next && mdp_goes_on_anew(ch, p, 0)) {
        mdp_begin_anew(h, ch, channel, ch->again.first, mdp_sending_of(p));
        mdp_lines_begin(h, ch, seq);
        mdp_line_step(line, seq);
    }
    ch->last_ns = h->now_ns;
    if (MDP_LIKELY(seq == ch->next)) {
        mdp_remember(ch, p, n);
        mdp_process_now(h, ch, channel, p, n);
        if (MDP_UNLIKELY(ch->buffered)) mdp_drain(h, ch, channel);
    } else {
        mdp_wait(h, ch, channel, p, n);
    }
    if (ch->buffered) mdp_give_up(h, ch, channel);
}

/* ------------------------------------------------------------------------------------------------ entry points */

/* A packet that cannot be read is as good as lost: not even its sequence number is believed, and it is no sign of
 * life. The packets around it show the hole. */
static inline void mdp_reject(mdp_handler *h, mdp_line *line, const uint8_t *p, size_t n) {
    line->malformed++;
    h->count.malformed++;
    mdp_tell_once(h, MDP_TOLD_MALFORMED, line->channel, 0, n >= 4 ? mdp_u32(p) : 0);
}

/* A line brings something for the first time in `silence_ns`. Nobody wonders if the whole channel was silent. */
MDP_COLD void mdp_line_back(mdp_handler *h, const mdp_channel *ch, const mdp_line *line) {
    int64_t silent_since = line->last_ns > ch->alive_ns ? line->last_ns : ch->alive_ns;
    if (h->now_ns - silent_since > h->o.silence_ns && line->packets && !ch->silent && line->feed == MDP_INCREMENTAL)
        mdp_tell(h, MDP_TOLD_LINE_BACK, line->channel, 0, (uint64_t)(h->now_ns - line->last_ns), 0);
}

/* A packet that is no copy. */
MDP_APART void mdp_take(mdp_handler *h, mdp_channel *ch, mdp_line *line, const uint8_t *p, size_t n) {
    if (MDP_UNLIKELY(mdp_check(h->shapes, p, n))) {
        mdp_reject(h, line, p, n);
    } else if (MDP_UNLIKELY(line->feed != MDP_INCREMENTAL)) {
        uint32_t before = ch->event_ticks;
        mdp_loop_packet(h, ch, line, p, n);
        ch->event_ticks = before;
    } else if (MDP_UNLIKELY(mdp_is_misplaced(p, n))) {
        h->count.misplaced++;
        mdp_tell_once(h, MDP_TOLD_MISPLACED, line->channel, 0, mdp_u32(p));
    } else {
        mdp_incremental(h, ch, line, p, n);
    }
    if (h->staged) mdp_send(h, 0);
}

/* One packet (mdf_packet_sink.packet). Never fails: what is wrong with it is counted and told. */
static inline void mdp_on_packet(mdp_handler *h, const mdf_packet *k) {
    if (MDP_UNLIKELY(k->line >= h->lines_n)) return;
    mdp_line *line = &h->lines[k->line];
    mdp_channel *ch = h->channels[line->channel];
    size_t n = k->length;
    h->line = k->line;
    h->ts_recv = k->ts_recv;
    h->ts_flags = k->ts_flags;
    int64_t now_ns = h->now_ns;
    if (k->now_ns > now_ns) h->now_ns = now_ns = k->now_ns;
    if (MDP_UNLIKELY(now_ns - line->last_ns > h->o.silence_ns)) mdp_line_back(h, ch, line);
    line->packets++;
    line->bytes += n;
    line->last_ns = now_ns;
    h->count.packets++;
    h->count.bytes += n;
    if (line->feed != MDP_INCREMENTAL || n < MDP_PACKET_HEADER || !mdp_is_copy(ch, line, k->payload, n)) {
        mdp_take(h, ch, line, k->payload, n);
        return;
    }
    line->duplicates++;
    h->count.duplicates++;
    ch->last_ns = now_ns;
}

/* What time alone decides: holes waited for too long, and silence. */
static inline void mdp_on_time(mdp_handler *h, int64_t now_ns) {
    if (now_ns > h->now_ns) h->now_ns = now_ns;
    for (uint32_t c = 0; c < h->channels_n; c++) {
        mdp_channel *ch = h->channels[c];
        if (!ch->started || !ch->lines_n) continue;
        h->line = ch->lines[0];
        if (ch->buffered) mdp_give_up(h, ch, c);
        if (!ch->silent && h->now_ns - ch->last_ns > h->o.silence_ns) {
            ch->silent = 1;
            mdp_tell(h, MDP_TOLD_SILENT, c, 0, (uint64_t)(h->now_ns - ch->last_ns), 0);
        }
    }
    if (h->staged) mdp_send(h, 0);
}

#endif
