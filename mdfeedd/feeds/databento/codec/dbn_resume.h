/* dbn_resume.h: part of dbn.h. How far each stream of records has come, so that a replay is cut where it is new.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A stream is (type, publisher, instrument). Its records come in the order of the time that Databento indexes them
 * by (ts_recv; the interval for bars); venue times run backwards, and (time, sequence) is not unique. So a position
 * is the last index time, how many records had it, and a hash of those. In a replay a record is known if its index
 * time is before the position's, or the same and no more of them came than are known; all others are new, in order.
 * Where those of the last index time that came again are not those that are known, nobody can say which of them are
 * new: none is told, and the replay counts as disagreeing.
 *
 * Positions lie in memory that outlives the process: a file beside the ring, which the ring's writer alone writes.
 * A kill must not part ring and positions, so a position moves in three steps, in this order:
 *
 *     intent (what the position will be, the ring's sequence number) -> tick committed -> position moved
 *
 * and the next process settles: the intent holds if the ring has the tick. Stores are made in program order by one
 * thread and read by another process only after the death of this one, so no fences are needed but the compiler's.
 */
#ifndef MDFEEDD_DBN_H
#error "include dbn.h"
#endif

#define DBN_RESUME_MAGIC UINT64_C(0x324D534552464446) /* "FDFRESM2" */
#define DBN_RESUME_HEAD_BYTES 4096u
#define DBN_RESUME_MAX_SLOTS (1u << 24)
#define DBN_NOT_TRACKED INT64_MAX

typedef struct dbn_position { /* one cache line */
    uint64_t key;     /* DBN_USED | instrument << 24 | publisher << 8 | type; 0: free */
    int64_t index_ns; /* of the last record */
    int64_t event_ns; /* the venue's time of it, or MDF_TIME_UNDEF */
    uint64_t hash;    /* of the `count` records that have index_ns */
    uint64_t again_hash;
    uint32_t count;
    uint32_t again;  /* how many of them came again in the replay of number `replay` */
    uint32_t replay;
    uint32_t reserved[3];
} dbn_position;
_Static_assert(sizeof(dbn_position) == 64, "one cache line");

typedef struct dbn_resume_head {
    uint64_t magic;
    uint32_t slots;  /* positions that follow, a power of two; 0: no positions are kept */
    uint32_t used;
    char dataset[32];
    int64_t known_ns; /* all that Databento had sent until then has been published; 0: nothing yet */
    uint32_t replay;  /* number of the latest replay */
    uint32_t full;    /* positions that found no room */

    /* the intent: `ticks` is stored last and cleared first */
    uint64_t ticks;     /* how many the record makes; 0: none */
    uint64_t first_seq; /* of them in the ring, or in the ring of bars */
    uint64_t in_bars;
    uint64_t slot;
    dbn_position then;

    uint64_t skip; /* so many ticks are in the ring already of the record ... */
    dbn_position skip_of; /* ... that moves its stream's position to this */
    int64_t begun_ns[256];   /* by type: what was captured before was never asked for; DBN_NOT_TRACKED */
} dbn_resume_head;
_Static_assert(sizeof(dbn_resume_head) <= DBN_RESUME_HEAD_BYTES, "the head is one page");

typedef struct dbn_resume {
    dbn_resume_head *head;
    dbn_position *position, *last;
    dbn_position staged; /* what the record just decoded will make of its position */
    uint64_t staged_slot;
    int is_staged;
    uint8_t replaying[256]; /* by type: known records may come */
    int64_t start_ns;       /* asked for in this replay */
    int64_t live_from_ns;   /* captured at or after: the replay has reached the present */
    uint64_t known;         /* records left out because they were known */
    uint64_t disagreed;     /* records that are not what was known */
    uint64_t replayed;      /* records of a replay that were new */
} dbn_resume;

static inline int dbn_is_tracked(const dbn_decoder *s, unsigned type) {
    return s->resume && s->resume->head->begun_ns[type] != DBN_NOT_TRACKED;
}

static inline uint64_t dbn_stream_key(const uint8_t *record) {
    uint64_t head;
    memcpy(&head, record, 8);
    return (head >> 32) << 24 | (head >> 16 & 0xFFFF) << 8 | (head >> 8 & 0xFF) | DBN_USED;
}

static inline dbn_position *dbn_position_slot(const dbn_resume *r, uint64_t key) {
    uint32_t mask = r->head->slots - 1;
    uint32_t i = (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
    while (r->position[i].key && r->position[i].key != key) i = (i + 1) & mask;
    return &r->position[i];
}

/* Of the whole record but its length byte and ts_out. Each word has a factor of its own, so that order counts. */
static inline uint64_t dbn_record_hash(const uint8_t *p, uint32_t body) {
    uint64_t hash = UINT64_C(0x9E3779B97F4A7C15), factor = UINT64_C(0xD6E8FEB86659FD93);
    for (uint32_t i = 8; i + 8 <= body; i += 8, factor += UINT64_C(0xA0761D6478BD642E)) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        hash += (word ^ hash >> 29) * factor;
    }
    if (body & 4) {
        uint32_t half;
        memcpy(&half, p + body - 4, 4);
        hash += half * factor;
    }
    return hash ^ hash >> 32;
}

/* What the position will be after this record. `at` may be a free slot. */
static inline dbn_position dbn_position_after(const dbn_position *at, uint64_t key, int64_t index_ns, int64_t event_ns,
                                              uint64_t hash, uint32_t replay) {
    dbn_position then = *at;
    if (!at->key || index_ns > at->index_ns) {
        then.index_ns = index_ns;
        then.count = 0;
        then.hash = 0;
    }
    then.key = key;
    if (index_ns == then.index_ns) {
        then.event_ns = event_ns;
        then.count++;
        then.hash = (then.hash << 7 | then.hash >> 57) + hash;
    } /* else: captured before one that came earlier; the position stays */
    then.again = then.count;
    then.again_hash = then.hash;
    then.replay = replay;
    return then;
}

static inline void dbn_intend(dbn_resume_head *h, const dbn_position *then, uint64_t slot, uint64_t first_seq, uint64_t n,
                              int in_bars) {
    h->then = *then;
    h->slot = slot;
    h->first_seq = first_seq;
    h->in_bars = (uint64_t)in_bars;
    mdf_store_release(&h->ticks, n);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void dbn_move(dbn_resume *r, const dbn_position *then, uint64_t slot) {
    dbn_position *to = &r->position[slot];
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    r->head->used += !to->key;
    *to = *then;
    mdf_store_release(&r->head->ticks, 0);
    if (r->head->skip && r->head->skip_of.key == then->key) r->head->skip = 0;
}

/* May a record of this stream have come before? Only while its type replays. Keeps count of those that did. */
static inline int dbn_is_known(dbn_resume *r, dbn_position *at, const uint8_t *p, uint32_t body, int64_t index_ns) {
    int64_t begun_ns = r->head->begun_ns[p[1]];
    if (!at->key || at->index_ns < begun_ns) return index_ns < begun_ns; /* the position may be of long ago */
    if (index_ns < at->index_ns) return 1;
    if (at->replay != r->head->replay) {
        at->again = 0;
        at->again_hash = 0;
        at->replay = r->head->replay;
    }
    if (index_ns == at->index_ns && at->again < at->count) {
        at->again++;
        at->again_hash = (at->again_hash << 7 | at->again_hash >> 57) + dbn_record_hash(p, body);
        r->disagreed += at->again == at->count && at->again_hash != at->hash;
        return 1;
    }
    if (index_ns == at->index_ns && at->again_hash != at->hash) { /* which of them are new cannot be told */
        r->disagreed++;
        return 1;
    }
    if (at->again < at->count && at->event_ns >= r->start_ns) { /* the gateway left out what it had sent before */
        r->disagreed++;
        at->again = at->count;
    }
    return 0;
}

/* Before a record makes ticks: 1 if it is known and must make none, 2 if it is the first of its type that is not of
 * the past (the caller must be told once), else 0. */
static inline int dbn_resume_before(dbn_decoder *s, const uint8_t *p, uint32_t body, int64_t index_ns) {
    dbn_resume *r = s->resume;
    if (!dbn_is_tracked(s, p[1])) return 0;
    uint64_t key = dbn_stream_key(p);
    if (index_ns < 0) index_ns = s->clock_ns;
    dbn_position *at = r->last->key == key ? r->last : dbn_position_slot(r, key);
    if (r->replaying[p[1]]) {
        if (dbn_is_known(r, at, p, body, index_ns)) return 1;
        if (index_ns >= r->live_from_ns) {
            r->replaying[p[1]] = 0;
            return 2;
        }
        r->replayed++;
    }
    if (!at->key && r->head->used >= r->head->slots / 2) {
        r->head->full++;
        return 0;
    }
    int64_t event_ns = dbn_time(((const dbn_header *)p)->ts_event);
    r->staged = dbn_position_after(at, key, index_ns, event_ns, dbn_record_hash(p, body), r->head->replay);
    r->staged_slot = (uint64_t)(at - r->position);
    r->is_staged = 1;
    r->last = at;
    return 0;
}

/* A record that makes no tick because its instrument is not ours: it begins no position, and moves one that the number
 * had while it was. 1 if it is the first of its type that is not of the past: see dbn_resume_before(). */
static inline int dbn_resume_pass(dbn_decoder *s, const uint8_t *p, uint32_t body, int64_t index_ns) {
    dbn_resume *r = s->resume;
    if (!dbn_is_tracked(s, p[1])) return 0;
    uint64_t key = dbn_stream_key(p);
    if (index_ns < 0) index_ns = s->clock_ns;
    dbn_position *at = dbn_position_slot(r, key);
    if (r->replaying[p[1]]) {
        if (dbn_is_known(r, at, p, body, index_ns)) return 0;
        if (index_ns >= r->live_from_ns) {
            r->replaying[p[1]] = 0;
            return 1;
        }
    }
    if (!at->key) return 0;
    int64_t event_ns = dbn_time(((const dbn_header *)p)->ts_event);
    dbn_position then = dbn_position_after(at, key, index_ns, event_ns, dbn_record_hash(p, body), r->head->replay);
    uint64_t slot = (uint64_t)(at - r->position);
    dbn_intend(r->head, &then, slot, 0, 1, 0); /* no tick to wait for */
    dbn_move(r, &then, slot);
    return 0;
}

static inline int dbn_same_position(const dbn_position *a, const dbn_position *b) {
    return a->key == b->key && a->index_ns == b->index_ns && a->count == b->count && a->hash == b->hash;
}

/* After the record made `n` ticks: those that are in the ring already are taken away. Returns how many are left. */
static inline size_t dbn_resume_after(dbn_decoder *s, mdf_tick *ticks, size_t n, size_t bars) {
    dbn_resume *r = s->resume;
    if (!r->is_staged) return n;
    dbn_resume_head *h = r->head;
    if (h->skip && r->staged.key == h->skip_of.key) {
        if (h->skip <= n && dbn_same_position(&r->staged, &h->skip_of)) {
            n -= (size_t)h->skip; /* `skip` itself goes with the move: until then a kill may come again */
            memmove(ticks, ticks + h->skip, n * sizeof *ticks);
        } else {
            h->skip = 0; /* another record: what the ring has of that one stays unfinished */
        }
    }
    if (!n && !bars) {
        dbn_intend(h, &r->staged, r->staged_slot, 0, 1, 0); /* no tick to wait for */
        dbn_move(r, &r->staged, r->staged_slot);
        r->is_staged = 0;
    }
    return n;
}

static inline void dbn_resume_intend(dbn_decoder *s, uint64_t first_seq, uint64_t n, int in_bars) {
    dbn_resume *r = s->resume;
    if (r && r->is_staged) dbn_intend(r->head, &r->staged, r->staged_slot, first_seq, n, in_bars);
}

static inline void dbn_resume_done(dbn_decoder *s) {
    dbn_resume *r = s->resume;
    if (r && r->is_staged) dbn_move(r, &r->staged, r->staged_slot);
    if (r) r->is_staged = 0;
}

/* What another process has left may be of another data set or damaged: then all of it is forgotten. A search ends at
 * a free slot, so half of them must be free. */
static inline int dbn_resume_is_sound(dbn_resume *r, uint32_t slots, const char *dataset) {
    dbn_resume_head *h = r->head;
    uint32_t used = 0;
    if (h->magic != DBN_RESUME_MAGIC || h->slots != slots || h->known_ns < 0) return 0;
    if (memcmp(h->dataset, dataset, sizeof h->dataset)) return 0;
    for (uint32_t i = 0; i < slots; i++) used += r->position[i].key != 0;
    if (used > slots / 2) return 0;
    for (uint32_t i = 0; i < slots; i++) {
        uint64_t key = r->position[i].key;
        if (key && (!(key & DBN_USED) || dbn_position_slot(r, key) != &r->position[i])) return 0;
    }
    h->used = used; /* a kill may have come between the count and the position */
    return 1;
}

/* `memory`: a head and `slots` positions, a power of two. `dataset`: 32 bytes, filled up with zeros. */
static inline void dbn_resume_open(dbn_resume *r, uint8_t *memory, uint32_t slots, const char *dataset, int fresh) {
    memset(r, 0, sizeof *r);
    r->head = (dbn_resume_head *)(void *)memory;
    r->position = (dbn_position *)(void *)(memory + DBN_RESUME_HEAD_BYTES);
    r->last = r->position;
    if (!fresh && dbn_resume_is_sound(r, slots, dataset)) return;
    memset(memory, 0, DBN_RESUME_HEAD_BYTES + (size_t)slots * sizeof(dbn_position));
    r->head->slots = slots;
    memcpy(r->head->dataset, dataset, sizeof r->head->dataset);
    for (unsigned type = 0; type < 256; type++) r->head->begun_ns[type] = DBN_NOT_TRACKED;
    r->head->magic = DBN_RESUME_MAGIC;
}

/* Is the intent one that this code has written? */
static inline int dbn_intent_is_sound(const dbn_resume *r) {
    const dbn_resume_head *h = r->head;
    if (!h->ticks || h->slot >= h->slots || !(h->then.key & DBN_USED)) return 0;
    if (!r->position[h->slot].key && h->used >= h->slots / 2) return 0;
    return dbn_position_slot(r, h->then.key) == &r->position[h->slot];
}

/* A new process: `next` and `next_bar` are the sequence numbers that the rings give out next. */
static inline void dbn_resume_settle(dbn_resume *r, uint64_t next, uint64_t next_bar) {
    dbn_resume_head *h = r->head;
    uint64_t reached = h->in_bars ? next_bar : next;
    if (dbn_intent_is_sound(r) && reached > h->first_seq) {
        uint64_t made = reached - h->first_seq;
        if (made >= h->ticks) {
            h->used += !r->position[h->slot].key;
            r->position[h->slot] = h->then;
            if (h->skip_of.key == h->then.key) h->skip = 0;
        } else {
            h->skip = made + (h->skip_of.key == h->then.key ? h->skip : 0);
            h->skip_of = h->then;
        }
    }
    h->ticks = 0;
}

/* The earliest venue time among the last records of the types in `types`, of streams that moved since `since_ns`;
 * INT64_MAX if there are none. Streams without a venue time count by their index time. */
static inline int64_t dbn_resume_earliest(const dbn_resume *r, const uint8_t *types, int64_t since_ns) {
    int64_t earliest = INT64_MAX;
    for (uint32_t i = 0; i < r->head->slots; i++) {
        const dbn_position *at = &r->position[i];
        if (!at->key || !types[at->key & 0xFF] || at->index_ns < since_ns) continue;
        int64_t t = at->event_ns < 0 || at->event_ns > at->index_ns ? at->index_ns : at->event_ns;
        if (t < earliest) earliest = t;
    }
    return earliest;
}

/* Should this stream of the type have been met again in this replay, and was not? */
static inline int dbn_resume_is_unmet(const dbn_resume *r, uint32_t slot, unsigned type) {
    const dbn_position *at = &r->position[slot];
    int is_due = at->event_ns >= r->start_ns && at->index_ns >= r->head->begun_ns[type];
    return at->key && (at->key & 0xFF) == type && is_due && at->replay != r->head->replay;
}
