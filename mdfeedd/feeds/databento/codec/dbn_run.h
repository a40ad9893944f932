/* dbn_run.h: part of dbn.h. The hot path: a run of mbp-1 quotes and trades, as most streams are.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * It makes the same ticks as dbn_ticks.h, with the decoder's state in registers, and leaves everything out of
 * the ordinary (another type or length, an unknown instrument, an undefined time, a clear) to dbn_record().
 * Each word of a tick is stored once, where it stays: into the caller's array, or into the ring's slots, where
 * the stores follow the protocol of mdfeedd.h (reserved before, the sequence number last).
 */
#ifndef MDFEEDD_DBN_H
#error "include dbn.h"
#endif

#define DBN_RUN_TICKS 512u /* at most, that a run reserves in a ring ahead of what it writes */

typedef uint64_t __attribute__((may_alias)) dbn_word;

/* Where ticks go: tick i lies at slots + (i & mask) * 64. */
typedef struct dbn_run_target {
    uint8_t *slots;
    uint64_t mask, next;
    size_t room;
    int commit; /* the first word is i, stored last; else it is 0 */
} dbn_run_target;

/* What an action of mbp-1 makes; 0: not ordinary. */
static const uint8_t dbn_run_kind[256] = {
    ['A'] = MDF_QUOTE, ['C'] = MDF_QUOTE, ['M'] = MDF_QUOTE, ['N'] = MDF_QUOTE, ['T'] = MDF_TRADE,
};

/* The side and the flags of each byte, see dbn_flags(), where they stand in the upper half of a tick's fourth word. */
#define DBN_RUN_SIDE(side) ((uint32_t)(side) << 8)
static const uint32_t dbn_run_side[256] = {['B'] = DBN_RUN_SIDE(MDF_SIDE_BID), ['A'] = DBN_RUN_SIDE(MDF_SIDE_ASK)};
#define DBN_FLAGS(f) (uint32_t)(((f) >> 7) * MDF_EVENT_END | ((f) >> 5 & 1) * MDF_SNAPSHOT | ((f) >> 2 & 1) * MDF_STALE | \
                      ((f) >> 3 & 1) * MDF_BAD_TS) << 16
#define DBN_FLAGS_4(f) DBN_FLAGS(f), DBN_FLAGS((f) + 1), DBN_FLAGS((f) + 2), DBN_FLAGS((f) + 3)
#define DBN_FLAGS_16(f) DBN_FLAGS_4(f), DBN_FLAGS_4((f) + 4), DBN_FLAGS_4((f) + 8), DBN_FLAGS_4((f) + 12)
#define DBN_FLAGS_64(f) DBN_FLAGS_16(f), DBN_FLAGS_16((f) + 16), DBN_FLAGS_16((f) + 32), DBN_FLAGS_16((f) + 48)
static const uint32_t dbn_run_flags[256] = {DBN_FLAGS_64(0), DBN_FLAGS_64(64), DBN_FLAGS_64(128), DBN_FLAGS_64(192)};
#undef DBN_FLAGS
#undef DBN_FLAGS_4
#undef DBN_FLAGS_16
#undef DBN_FLAGS_64

#define DBN_RUN_HIGH (UINT64_MAX << 32)
#define DBN_RUN_TOP_BITS UINT64_C(0x8000000080000000)

/* Orders of the side. Sides come in any order, so that a branch on them would be mispredicted. */
static inline uint32_t dbn_run_count(const dbn_level *l, uint32_t side) {
    uint32_t count;
    memcpy(&count, (const uint8_t *)&l->bid_ct + side / DBN_RUN_SIDE(MDF_SIDE_ASK) * sizeof count, sizeof count);
    return __builtin_expect(side == 0, 0) ? 0 : count;
}

/* Without those that are undefined. */
static __attribute__((cold)) uint64_t dbn_run_sizes(const dbn_level *l, uint64_t sizes) {
    if (l->bid_px == DBN_PRICE_UNDEF || l->bid_sz == DBN_SIZE_UNDEF) sizes &= DBN_RUN_HIGH;
    if (l->ask_px == DBN_PRICE_UNDEF || l->ask_sz == DBN_SIZE_UNDEF) sizes &= UINT32_MAX;
    return sizes;
}

static inline void dbn_run_quote(dbn_word *word, uint64_t sequence, const dbn_level *l, uint32_t side) {
    uint32_t count = dbn_run_count(l, side);
    uint64_t sizes, next = ((uint64_t)l->bid_px + 1) | ((uint64_t)l->ask_px + 1);
    _Static_assert(offsetof(dbn_level, ask_sz) == offsetof(dbn_level, bid_sz) + 4, "the sizes are one word");
    _Static_assert(offsetof(dbn_level, ask_ct) == offsetof(dbn_level, bid_ct) + 4, "the counts are neighbours");
    memcpy(&sizes, &l->bid_sz, 8);
    /* What is undefined has a top bit: a size, a count, and the successor of a price. Little else has. */
    if (__builtin_expect((int64_t)next < 0 || (sizes | count) & DBN_RUN_TOP_BITS, 0)) {
        sizes = dbn_run_sizes(l, sizes);
        count = dbn_size(count);
    }
    mdf_store((uint64_t *)word + 4, sequence | (uint64_t)count << 32);
    mdf_store((uint64_t *)word + 5, (uint64_t)l->bid_px);
    mdf_store((uint64_t *)word + 6, (uint64_t)l->ask_px);
    mdf_store((uint64_t *)word + 7, sizes);
}

static inline void dbn_run_trade(dbn_word *word, const dbn_trade *r) {
    mdf_store((uint64_t *)word + 4, r->sequence);
    mdf_store((uint64_t *)word + 5, (uint64_t)r->price);
    mdf_store((uint64_t *)word + 6, 0);
    mdf_store((uint64_t *)word + 7, dbn_size(r->size));
}

/* What becomes of the position of a stream that has one; NULL: the record is for dbn_record(). It stays in registers. */
static inline dbn_position *dbn_run_position(dbn_resume *r, const uint8_t *p, uint32_t body, int64_t ts_recv,
                                             dbn_position *then) {
    uint64_t key = dbn_stream_key(p);
    dbn_position *at = r->last->key == key ? r->last : dbn_position_slot(r, key);
    if (!at->key) return NULL;
    int64_t event_ns = dbn_time(((const dbn_header *)p)->ts_event);
    *then = dbn_position_after(at, key, ts_recv, event_ns, dbn_record_hash(p, body), r->head->replay);
    return r->last = at;
}

/* Decode from in[*pos] on as long as it is ordinary mbp-1 and there is room. Returns the number of ticks; records of
 * instruments that are not ours are passed over without one.
 * `resume`: the positions to keep, or a constant NULL. `live`: a constant, whether records have a time of arrival.
 * Each makes another loop. */
static inline __attribute__((always_inline)) size_t dbn_run_loop(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos,
                                                                 const dbn_run_target to, dbn_resume *const resume,
                                                                 const int live) {
    const size_t length = sizeof(dbn_mbp_1) + 8u * s->ts_out, records = (n - *pos) / length;
    const unsigned head = DBN_MBP_1 << 8 | (unsigned)length / 4;
    const uint32_t replayed = live ? 0 : (uint32_t)MDF_REPLAYED << 16;
    const uint8_t *p = in + *pos, *end = p + (records < to.room ? records : to.room) * length;
    const int64_t arrival = s->arrival_ns;
    uint64_t trades = 0, unmapped = 0, passed = 0, seq = to.next;
    dbn_instrument *const table = s->instrument, *e = s->last;
    const uint32_t slots = s->slots;
    while (p < end) {
        const dbn_mbp_1 *r = (const dbn_mbp_1 *)p;
        uint64_t key = dbn_key(p);
        if (((unsigned)p[0] | (unsigned)p[1] << 8) != head) break;
        if ((e->key ^ key) & DBN_MATCH) e = dbn_slot(table, slots, key);
        int64_t ts_recv = (int64_t)r->base.ts_recv;
        uint32_t kind = dbn_run_kind[(uint8_t)r->base.action], side = dbn_run_side[(uint8_t)r->base.side];
        /* what is unknown is ours from 0 to 0, which is never */
        if (ts_recv < 0 || ts_recv < e->from_ns || ts_recv >= e->until_ns || !kind) break;
        if (__builtin_expect(!e->instrument_id, 0)) { /* not ours, see dbn_pass_over() */
            if (resume) dbn_resume_pass(s, p, (uint32_t)sizeof(dbn_mbp_1), ts_recv); /* nothing replays here */
            passed++;
            p += length;
            if ((size_t)(in + n - end) >= length) end += length;
            continue;
        }
        dbn_position then, *at = NULL;
        if (resume && !(at = dbn_run_position(resume, p, (uint32_t)sizeof(dbn_mbp_1), ts_recv, &then))) break;
        dbn_word *word = (dbn_word *)(void *)(to.slots + (seq & to.mask) * sizeof(mdf_tick));
        uint32_t what = kind | side | dbn_run_flags[r->base.flags] | replayed;
        if (!to.commit) word[0] = 0;
        mdf_store((uint64_t *)word + 1, (uint64_t)dbn_time(r->base.hd.ts_event));
        mdf_store((uint64_t *)word + 2, (uint64_t)(live ? arrival : ts_recv));
        mdf_store((uint64_t *)word + 3, e->instrument_id | (uint64_t)what << 32);
        if (__builtin_expect(kind == MDF_QUOTE, 1)) {
            dbn_run_quote(word, r->base.sequence, &r->level, side);
        } else {
            dbn_run_trade(word, &r->base);
            trades++;
        }
        if (resume) dbn_intend(resume->head, &then, (uint64_t)(at - resume->position), seq, 1, 0);
        if (to.commit) mdf_store_release((uint64_t *)word, seq);
        if (resume) dbn_move(resume, &then, (uint64_t)(at - resume->position));
        seq++;
        if (__builtin_expect((e->key & DBN_UNMAPPED) != 0, 0)) unmapped++;
        p += length;
    }
    uint64_t made = seq - to.next;
    if (!made && !passed) return 0;
    s->offset += (size_t)(p - in) - *pos;
    *pos = (size_t)(p - in);
    s->last = e->key ? e : &s->nobody;
    s->clock_ns = s->type_ns[DBN_MBP_1] = (int64_t)((const dbn_mbp_1 *)(p - length))->base.ts_recv;
    s->count.records += made + passed;
    s->count.skipped += passed;
    s->count.quotes += made - trades;
    s->count.trades += trades;
    s->count.unmapped += unmapped;
    return made;
}

static inline __attribute__((always_inline)) size_t dbn_run_mbp_1(dbn_decoder *s, const uint8_t *in, size_t n,
                                                                  size_t *pos, const dbn_run_target to,
                                                                  dbn_resume *const resume) {
    return s->arrival_ns == MDF_TIME_UNDEF ? dbn_run_loop(s, in, n, pos, to, resume, 0)
                                           : dbn_run_loop(s, in, n, pos, to, resume, 1);
}

static inline void dbn_run_staged(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos, dbn_output *out) {
    size_t room = out->ticks_capacity - out->ticks_n;
    if (room < DBN_TICKS_PER_RECORD || n - *pos < 2 || in[*pos + 1] != DBN_MBP_1) return; /* else a division a record */
    dbn_run_target to = {(uint8_t *)(out->ticks + out->ticks_n), UINT64_MAX, 0, room - DBN_TICKS_PER_RECORD + 1, 0};
    out->ticks_n += dbn_run_mbp_1(s, in, n, pos, to, NULL);
}

/* The same straight into the ring: at most `most` ticks. Returns how many; the ring's readers are not woken. */
static inline size_t dbn_run_ring(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos, mdf_writer *w, size_t most) {
    if (s->stage != DBN_RECORDS || s->carried || s->schema == DBN_SCHEMA_TBBO || w->words != 8) return 0;
    if (s->hold[DBN_MBP_1]) return 0;
    if (s->resume && (s->resume->replaying[DBN_MBP_1] || s->resume->head->skip || s->resume->is_staged)) return 0;
    size_t room = (n - *pos) / sizeof(dbn_mbp_1);
    if (room > most) room = most;
    if (room > DBN_RUN_TICKS) room = DBN_RUN_TICKS;
    if (room > w->capacity / 4) room = w->capacity / 4;
    if (!room || in[*pos + 1] != DBN_MBP_1) return 0;
    mdf_reserve_to(w, w->next + room);
    dbn_run_target to = {w->slots, w->mask, w->next, room, 1};
    size_t made = dbn_is_tracked(s, DBN_MBP_1) ? dbn_run_mbp_1(s, in, n, pos, to, s->resume)
                                               : dbn_run_mbp_1(s, in, n, pos, to, NULL);
    if (!made) return 0;
    w->next += made;
    mdf_store_release(&w->h->tail, w->next - 1);
    mdf_store(&w->h->batches, mdf_load(&w->h->batches) + 1);
    if (made > mdf_load(&w->h->max_burst)) mdf_store(&w->h->max_burst, made);
    return made;
}
