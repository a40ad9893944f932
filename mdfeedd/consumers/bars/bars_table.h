/* bars_table.h: what the kernel of bars.h remembers, and how it grows. Include bars.h. */
#ifndef MDFEEDD_BARS_TABLE_H
#define MDFEEDD_BARS_TABLE_H

#include "mdfeedd.h" /* first: it sets the feature macros */

#include <stdlib.h>

#define MDF_BARS_MAX_INTERVALS 8u
#define MDF_BARS_MAX_INTERVAL_S 604800u /* a week */
#define MDF_BARS_MAX_DEPTH 16u          /* open bars of one instrument and interval */
#define MDF_BARS_FIRST_ROWS 256u        /* of the tables; they double from here */
#define MDF_BARS_MAX_ROWS (1u << 24)    /* index bits of an instrument_id */
#define MDF_BARS_LINES 64u              /* lines whose gaps are told apart */
#define MDF_BARS_TIME_END (INT64_C(1) << 62)
#define MDF_BARS_AHEAD_NS (INT64_C(600) * 1000000000) /* of ts_recv: a venue time beyond is wild */
#define MDF_BARS_NOBODY UINT32_MAX      /* the instrument of an empty place: no id accepted */
#define MDF_BARS_NEVER INT64_MIN

#define MDF_BARS_ODD (MDF_BAD_TS | MDF_STALE | MDF_SNAPSHOT) /* flags that need a closer look */
/* A market tick proves that the stream was heard at its time. Definitions, statistics and states
 * can be told again long after. */
#define MDF_BARS_MARKET_KINDS                                                                      \
    (1u << MDF_QUOTE | 1u << MDF_TRADE | 1u << MDF_TRADE_CANCEL | 1u << MDF_TRADE_CORRECTION |     \
     1u << MDF_CLEAR | 1u << MDF_HEARTBEAT | 1u << MDF_IMBALANCE)

#define MDF_BARS_PREFETCH 4096 /* bytes; where ticks come from memory it gains a third */
#define MDF_BARS_LIKELY(x) __builtin_expect(!!(x), 1)

__extension__ typedef __int128 mdf_i128;
__extension__ typedef unsigned __int128 mdf_u128;

enum { MDF_BARS_DONE = 0, MDF_BARS_FULL = 1, MDF_BARS_NO_MEMORY = -1 };
enum mdf_bars_mode { MDF_BARS_SWEEP, MDF_BARS_FLUSH, MDF_BARS_CUT }; /* cut: flagged PARTIAL */

/* A bar in the making. The sum is 128 bits: 5000.0 in units of 1e-9 times 1.8 M lots is all that 63
 * hold. It would wrap after 2^32 trades of the largest price and size. */
typedef struct mdf_bars_state {
    mdf_u128 sum; /* of price * size, two's complement */
    uint64_t volume, count;
    int64_t ts_open, high, low, close;
    int64_t ts_last; /* 64 */
    uint64_t last_seq;
    uint32_t instrument_id; /* MDF_BARS_NOBODY: empty */
    uint32_t flags;
    int64_t open, ts_first;
    uint64_t first_seq;
    uint32_t revision, late_count;
    uint64_t cut_count; /* trades with which an earlier run has published it, and 1; 0: begun by us */
} mdf_bars_state;

MDF_ASSERT(sizeof(mdf_bars_state) == 128, "two cache lines");
MDF_ASSERT(offsetof(mdf_bars_state, ts_last) == 64, "two cache lines");

/* What is kept of an instrument in one interval beside its open bars. */
typedef struct mdf_bars_row {
    mdf_bars_state last; /* the last closed bar */
    int64_t shown_ts;    /* the last bar that an earlier run published; MDF_BARS_NEVER: none */
    uint64_t shown_count;
    uint32_t shown_flags, shown_revision;
    uint32_t flat_run;     /* flat bars since the last trade */
    uint32_t late_pending; /* late trades since the last bar was closed */
    uint64_t reserved[3];
} mdf_bars_row;

MDF_ASSERT(sizeof(mdf_bars_row) == 192, "three cache lines");

typedef struct mdf_bars_instrument {
    int64_t gap_until; /* bars that begin no later are flagged GAP */
    uint32_t id;       /* 0: not seen yet */
    uint32_t in_gap;
} mdf_bars_instrument;

typedef struct mdf_bars_counts {
    uint64_t closed_bars;       /* bars given out, revisions included */
    uint64_t late_trades;       /* late in one interval at least */
    uint64_t bad_time_trades;
    uint64_t priceless_trades;
    uint64_t snapshot_trades;
    uint64_t voided_trades;     /* cancels and corrections */
    uint64_t foreign_ticks;     /* trades and gaps of an id that does not fit the table */
} mdf_bars_counts;

typedef struct mdf_bars {
    /* fixed by mdf_bars_init */
    uint32_t intervals, limit, flat_limit; /* flat_limit 0: no flat bars */
    uint32_t interval_s[MDF_BARS_MAX_INTERVALS], depth[MDF_BARS_MAX_INTERVALS];
    int64_t interval_ns[MDF_BARS_MAX_INTERVALS];
    int64_t lateness_ns;
    /* tables: by instrument index */
    uint32_t rows, used; /* allocated; highest index seen + 1 */
    mdf_bars_state *open[MDF_BARS_MAX_INTERVALS]; /* [index * depth + place] */
    mdf_bars_row *row[MDF_BARS_MAX_INTERVALS];
    mdf_bars_instrument *instrument;
    /* time */
    int64_t clock;    /* largest ts_event; MDF_BARS_NEVER before the first */
    int64_t look_at;  /* ticks below it need no look at the clock */
    int64_t first_ts; /* of the first market tick; INT64_MAX before it */
    int64_t closed_to[MDF_BARS_MAX_INTERVALS]; /* all bars that end no later are closed */
    /* seq before each of the last sweeps: no trade of a bar still open came before the oldest */
    uint64_t passed[MDF_BARS_MAX_INTERVALS][MDF_BARS_MAX_DEPTH];
    uint64_t last_seq;
    uint64_t cut_seq; /* ticks up to it may be in bars that go on already; 0: none are */
    /* gaps of the whole feed */
    uint64_t gap_lines; /* bit line % 64: in a gap */
    int64_t gap_until;
    int hole; /* a hole ended; the next tick with a time tells where */
    /* a sweep that stopped because the output was full */
    uint32_t scan_row, scan_hits;
    /* output */
    mdf_bar *out;
    uint32_t out_size, out_n;
    mdf_bars_counts counts;
} mdf_bars;

/* ------------------------------------------------------------------------------ life and tables */

static inline void mdf_bars_clear(mdf_bars_state *s) {
    memset(s, 0, sizeof *s);
    s->instrument_id = MDF_BARS_NOBODY;
    s->ts_first = s->ts_last = MDF_TIME_UNDEF;
}

static inline void mdf_bars_wipe(mdf_bars *b, uint32_t from) {
    for (uint32_t k = 0; k < b->intervals; k++) {
        for (size_t i = (size_t)from * b->depth[k]; i < (size_t)b->rows * b->depth[k]; i++)
            mdf_bars_clear(&b->open[k][i]);
        for (uint32_t i = from; i < b->rows; i++) {
            memset(&b->row[k][i], 0, sizeof b->row[k][i]);
            mdf_bars_clear(&b->row[k][i].last);
            b->row[k][i].shown_ts = MDF_BARS_NEVER;
        }
    }
    for (uint32_t i = from; i < b->rows; i++)
        b->instrument[i] = (mdf_bars_instrument){.gap_until = MDF_BARS_NEVER};
}

/* A larger copy of a table in its place, or NULL: then the old one stays. */
static inline void *mdf_bars_larger(void *table, size_t size, uint32_t old_n, uint32_t n) {
    void *fresh = NULL;
    if (posix_memalign(&fresh, 64, size * n)) return NULL;
    if (table) memcpy(fresh, table, size * old_n);
    free(table);
    return fresh;
}

/* Room for row `index`. A table that could not be had leaves all rows as they were. */
static inline int mdf_bars_grow(mdf_bars *b, uint32_t index) {
    uint32_t n = b->rows ? b->rows : MDF_BARS_FIRST_ROWS, old = b->rows;
    void *fresh;
    while (n <= index) n *= 2;
    if (n > b->limit) n = b->limit;
    if (!(fresh = mdf_bars_larger(b->instrument, sizeof *b->instrument, old, n))) return 0;
    b->instrument = (mdf_bars_instrument *)fresh;
    for (uint32_t k = 0; k < b->intervals; k++) {
        size_t size = sizeof(mdf_bars_state) * b->depth[k];
        if (!(fresh = mdf_bars_larger(b->open[k], size, old, n))) return 0;
        b->open[k] = (mdf_bars_state *)fresh;
        if (!(fresh = mdf_bars_larger(b->row[k], sizeof(mdf_bars_row), old, n))) return 0;
        b->row[k] = (mdf_bars_row *)fresh;
    }
    b->rows = n;
    mdf_bars_wipe(b, old);
    return 1;
}

/* Forget all bars and times; limits, tables and counts stay. */
static inline void mdf_bars_reset(mdf_bars *b) {
    mdf_bars_wipe(b, 0);
    b->used = 0;
    b->clock = b->look_at = b->gap_until = MDF_BARS_NEVER;
    b->first_ts = INT64_MAX;
    b->last_seq = b->gap_lines = b->cut_seq = 0;
    b->hole = 0;
    b->scan_row = b->scan_hits = 0;
    memset(b->closed_to, 0, sizeof b->closed_to);
    memset(b->passed, 0, sizeof b->passed);
}

static inline void mdf_bars_free(mdf_bars *b) {
    for (uint32_t k = 0; k < MDF_BARS_MAX_INTERVALS; k++) {
        free(b->open[k]);
        free(b->row[k]);
    }
    free(b->instrument);
    memset(b, 0, sizeof *b);
}

/* Intervals in seconds, ascending, without repetition; `out` holds at least as many bars as there
 * are intervals. NULL if all is well, else what is wrong; mdf_bars_free is due either way. */
static inline const char *mdf_bars_init(mdf_bars *b, const uint32_t *interval_s, uint32_t intervals,
                                        int64_t lateness_ns, uint32_t flat_limit, uint32_t limit,
                                        mdf_bar *out, uint32_t out_size) {
    memset(b, 0, sizeof *b);
    if (intervals < 1 || intervals > MDF_BARS_MAX_INTERVALS)
        return "there must be 1 to 8 intervals";
    if (limit < 2 || limit > MDF_BARS_MAX_ROWS - 1)
        return "the table must have 2 to 16777215 places";
    if (out_size < intervals) return "the output must hold a bar of each interval";
    if (lateness_ns < 0) return "the lateness must not be negative";
    for (uint32_t k = 0; k < intervals; k++) {
        if (!interval_s[k] || interval_s[k] > MDF_BARS_MAX_INTERVAL_S)
            return "an interval must be 1 to 604800 seconds";
        if (k && interval_s[k] <= interval_s[k - 1]) return "intervals must ascend";
        b->interval_s[k] = interval_s[k];
        b->interval_ns[k] = (int64_t)interval_s[k] * 1000000000;
        if (lateness_ns > b->interval_ns[k] * (int64_t)(MDF_BARS_MAX_DEPTH - 1))
            return "the lateness must not be longer than 15 times the shortest interval";
        b->depth[k] = 1u + (uint32_t)((lateness_ns + b->interval_ns[k] - 1) / b->interval_ns[k]);
    }
    b->intervals = intervals;
    b->lateness_ns = lateness_ns;
    b->flat_limit = flat_limit;
    b->limit = limit;
    b->out = out;
    b->out_size = out_size;
    if (!mdf_bars_grow(b, 0)) return "no memory";
    mdf_bars_reset(b);
    return NULL;
}

/* Index of an instrument, its row made if it is new; 0 (and a count) if the id does not fit; -1: no
 * memory.
 * Ids come from shared memory: an index is used only after this has seen it. */
static inline int64_t mdf_bars_find(mdf_bars *b, uint32_t id) {
    uint32_t index = id & (MDF_BARS_MAX_ROWS - 1);
    if (index == 0 || index >= b->limit) {
        b->counts.foreign_ticks++;
        return 0;
    }
    if (index >= b->rows && !mdf_bars_grow(b, index)) return -1;
    if (b->instrument[index].id == 0) b->instrument[index].id = id;
    if (b->instrument[index].id != id) { /* another feed's index */
        b->counts.foreign_ticks++;
        return 0;
    }
    if (index >= b->used) b->used = index + 1;
    return index;
}

#endif
