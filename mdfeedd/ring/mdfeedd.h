/* mdfeedd.h: the records, the shared-memory layout and the ring protocol of mdfeedd.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * This file is the truth: the Python package is built on it and checks its numpy dtypes against it at
 * import. It is also all that a C11 or C++17 program needs (Linux, 64-bit, little-endian, gcc or clang):
 *
 *     #include "mdfeedd.h"
 *     mdf_reader r; char err[MDF_ERR]; mdf_tick tick;
 *     if (mdf_reader_open(&r, "/dev/shm/mdfeedd.cme", MDF_TICK_LAYOUT, sizeof tick, MDF_START_NOW, "me", err)) die(err);
 *     for (;;)
 *         if (mdf_read_one(&r, &tick) == 1) use(&tick);
 *         else if (mdf_wait(&r, 20000, 1000000000) == MDF_READY) mdf_acknowledge_state(&r); // or it returns at once
 *
 * Concepts
 *
 *   One writer, any number of readers. The writer numbers records 1, 2, 3 ...: the sequence never goes back
 *   and never repeats, over restarts too, and 64 bits do not wrap. Record s lies in slot s & (capacity - 1),
 *   so it is overwritten by record s + capacity, whether or not anybody read it: the writer never waits.
 *
 *   The first word of a slot is the sequence number of the record in it, and its store is the commit.
 *   `reserve` says how far the writer may be writing: every sequence number below it is, or may be, touched.
 *   A reader copies a record out and then looks at `reserve`: if reserve <= s + capacity, nobody can have
 *   begun to overwrite the copy, so it is whole. Otherwise it is dropped and counted: a reader always knows
 *   exactly how many records it lost. `tail` is a hint, a lower bound of what is committed, for who is many records
 *   behind; who keeps up goes by the commit words (see mdf_ahead).
 *
 *   `reserve` is raised a block at a time, so its store and its fence are paid once per block. It is never
 *   lowered: a restarted writer that lowered it would make half-written old records look whole.
 *
 * Files (mode, who writes)
 *
 *   mdfeedd.NAME           0640  ring: header page, counters page (with the writer's latencies), slots, instruments.
 *                                Written by the writer only.
 *   mdfeedd.NAME.readers   0660  registry: one slot and one latency per consumer, written by that consumer only. The word
 *                                `waiters` is the one exception to the single-writer rule: readers set it, the
 *                                writer clears it; a lost or false value costs one wake or 100 ms, never data.
 *
 * A writer that cannot go on with a ring (another capacity, damage) makes a new one under its name. The old one's
 * state is MDF_SUPERSEDED then, and nothing comes by it any more: a reader that has read all of it closes it and
 * opens the name again (Python's does so by itself).
 *
 * Liveness is an open-file-description lock, dropped by the kernel however the holder ends: byte 0 of the ring
 * file for the writer, byte i of the registry for consumer i.
 *
 * Whom to believe. Whoever maps a file that another may write takes its geometry out once, checks the copy, and
 * uses only that: whatever the other writes later, no index leaves the mapping and no loop is without an end. What
 * records say is the writer's word. A writer takes no file that another user owns or may write (see mdf_check_owner),
 * and of the registry reads one flag.
 */
#ifndef MDFEEDD_H
#define MDFEEDD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
#define MDF_ASSERT(cond, text) static_assert(cond, text)
extern "C" {
#else
#define MDF_ASSERT(cond, text) _Static_assert(cond, text)
#endif

#if !defined(__linux__) || !defined(__LP64__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "mdfeedd shared memory is defined for 64-bit little-endian Linux only"
#endif
#if !defined(O_TMPFILE) || !defined(F_OFD_SETLK)
#error "include mdfeedd.h first, or define _GNU_SOURCE for the whole file"
#endif

/* ------------------------------------------------------------------------------------------- records */

#define MDF_ABI_MAJOR 2u /* another major is refused at attach: any change of a layout below */
#define MDF_ABI_MINOR 1u /* additions in space that was reserved. 1: the lines of a feed */

#define MDF_PRICE_SCALE INT64_C(1000000000) /* prices are int64 in units of 1e-9 */
#define MDF_PRICE_UNDEF INT64_MAX           /* no price */
#define MDF_TIME_UNDEF INT64_MIN            /* no time; times are UNIX ns */

enum mdf_kind {
    MDF_QUOTE = 1,            /* the touch after the event, both sides */
    MDF_TRADE = 2,            /* side is the aggressor's */
    MDF_TRADE_CANCEL = 3,     /* trade_id names the trade that is void */
    MDF_TRADE_CORRECTION = 4, /* trade_id names the trade; price and size are the corrected ones */
    MDF_STATUS = 5,
    MDF_STATISTIC = 6,
    MDF_GAP = 7,       /* before the first tick after a hole; instrument_id 0 means the whole feed */
    MDF_RECOVERED = 8, /* the hole is healed: bounds that hold those of its GAP, or of several of its line */
    MDF_CLEAR = 9,     /* the book of the instrument is void */
    MDF_DEFINITION = 10,
    MDF_HEARTBEAT = 11, /* the venue is alive up to ts_event */
    MDF_IMBALANCE = 12, /* auction imbalance; side is the side of the surplus */
};

enum mdf_side { MDF_SIDE_NONE = 0, MDF_SIDE_BID = 1, MDF_SIDE_ASK = 2 }; /* BUY = BID, SELL = ASK */

enum mdf_flag {
    MDF_EVENT_END = 1 << 0,       /* last tick of the venue's event */
    MDF_SNAPSHOT = 1 << 1,        /* from a snapshot, not from an update */
    MDF_STALE = 1 << 2,           /* the instrument's state is not known to be right */
    MDF_IMPLIED = 1 << 3,         /* implied from other instruments' books */
    MDF_KERNEL_TS = 1 << 4,       /* ts_recv stamped by the kernel */
    MDF_HARDWARE_TS = 1 << 5,     /* ts_recv stamped by the network card */
    MDF_BAD_TS = 1 << 6,          /* a time stamp is known to be wrong */
    MDF_DELAYED = 1 << 7,         /* delayed stream */
    MDF_SIZE_SATURATED = 1 << 8,  /* a size did not fit 32 bits and is UINT32_MAX */
    MDF_REPLAYED = 1 << 9,        /* from a recording (ts_recv is its) or a vendor's replay (ts_recv is ours) */
};

enum mdf_gap_reason {
    MDF_GAP_PACKET_LOSS = 1,    /* first and last missing are venue sequence numbers */
    MDF_GAP_DISCONNECT = 2,     /* first and last missing are UNIX ns, as in all reasons from here */
    MDF_GAP_VENDOR_SKIPPED = 3, /* the vendor dropped records for a slow reader */
    MDF_GAP_RESTART = 4,        /* the feed process was away */
    MDF_GAP_CORRUPT = 5,        /* bytes that could not be read */
    MDF_GAP_RING_LAPPED = 6,    /* first and last missing are ring sequence numbers */
};

/* One tick is one cache line. Payload by kind; the bytes after the payload of a kind are zero. */
typedef struct mdf_tick {
    uint64_t seq;           /*  0 ring sequence number, from 1; the slot's commit word */
    int64_t ts_event;       /*  8 venue time */
    int64_t ts_recv;        /* 16 when the bytes reached this host (from a recording: the recorder) */
    uint32_t instrument_id; /* 24 feed index << 24 | index in the feed's instruments table; 0: whole feed */
    uint8_t kind;           /* 28 enum mdf_kind */
    uint8_t side;           /* 29 enum mdf_side */
    uint16_t flags;         /* 30 enum mdf_flag */
    uint32_t venue_seq;     /* 32 the vendor's packet or record sequence, 0 if none */
    uint32_t count;         /* 36 orders at the touch or in the trade, 0 if unknown */
    union {                 /* 40 */
        struct { int64_t bid_price, ask_price; uint32_t bid_size, ask_size; } quote;
        struct { int64_t price; uint64_t trade_id; uint32_t size, reserved; } trade;
        struct {
            uint16_t state, reason, trading_event; /* codes as in DBN's status schema */
            uint8_t is_trading, is_quoting, is_short_sell_restricted; /* 0 unknown, 1 yes, 2 no */
            uint8_t reserved[15];
        } status;
        struct {
            int64_t price, quantity; /* MDF_PRICE_UNDEF, INT64_MAX: not given */
            uint32_t ts_ref_s;       /* reference time, UNIX seconds; 0: not given */
            uint16_t type;           /* code as in DBN's statistics schema */
            uint8_t update_action, stat_flags;
        } statistic;
        struct { uint64_t first_missing, last_missing; uint32_t reason, line; } gap; /* and recovered */
        struct { int64_t tick_size, expiration; uint32_t action, reserved; } definition;
        struct { int64_t ref_price, match_price; uint32_t paired_size, imbalance_size; } imbalance;
        uint8_t raw[24];
    } payload;
} mdf_tick;

#define MDF_TICK_LAYOUT                                                                                 \
    "tick:64;seq:u8@0;ts_event:i8@8;ts_recv:i8@16;instrument_id:u4@24;kind:u1@28;side:u1@29;"           \
    "flags:u2@30;venue_seq:u4@32;count:u4@36;payload:V24@40"

MDF_ASSERT(sizeof(mdf_tick) == 64, "a tick is one cache line");
MDF_ASSERT(offsetof(mdf_tick, ts_event) == 8 && offsetof(mdf_tick, ts_recv) == 16, "tick layout");
MDF_ASSERT(offsetof(mdf_tick, instrument_id) == 24 && offsetof(mdf_tick, kind) == 28, "tick layout");
MDF_ASSERT(offsetof(mdf_tick, side) == 29 && offsetof(mdf_tick, flags) == 30, "tick layout");
MDF_ASSERT(offsetof(mdf_tick, venue_seq) == 32 && offsetof(mdf_tick, count) == 36, "tick layout");
MDF_ASSERT(offsetof(mdf_tick, payload) == 40, "tick layout");

enum mdf_bar_flag {
    MDF_BAR_GAP = 1 << 0,     /* a gap was told while the bar was open, or its trades are STALE: some may be missing */
    MDF_BAR_PARTIAL = 1 << 1, /* the bar began before the first tick seen, or was cut at shutdown */
    MDF_BAR_LATE = 1 << 2,    /* late trades fell into this interval after it had closed */
    MDF_BAR_FLAT = 1 << 3,    /* no trade: open = high = low = close = the close before, volume 0 */
    MDF_BAR_VENDOR = 1 << 4,  /* made by the vendor, not by us */
    MDF_BAR_VOIDED = 1 << 5,  /* a trade was cancelled or corrected meanwhile: the bar has it as first told */
};

typedef struct mdf_bar {
    uint64_t seq;           /*   0 as in a tick */
    int64_t ts_open;        /*   8 venue time, start of the interval (inclusive) */
    uint32_t instrument_id; /*  16 that of the ticks */
    uint32_t interval_s;    /*  20 */
    int64_t open, high, low, close; /* 24 */
    uint64_t volume;        /*  56 */
    int64_t vwap;           /*  64 round half even of sum(price * size) / volume; MDF_PRICE_UNDEF at volume 0 */
    uint32_t count;         /*  72 trades */
    uint32_t flags;         /*  76 enum mdf_bar_flag */
    int64_t ts_first, ts_last;     /* 80 venue times of the first and the last trade; MDF_TIME_UNDEF if none */
    uint64_t first_seq, last_seq;  /* 96 lowest and highest seq of its trades in the source ring; 0 if none */
    uint32_t revision;      /* 112 0 at first; a corrected bar comes again with a higher one */
    uint32_t late_count;    /* 116 trades that came after the bar before this one had closed */
    uint64_t reserved;      /* 120 */
} mdf_bar;

#define MDF_BAR_LAYOUT                                                                                  \
    "bar:128;seq:u8@0;ts_open:i8@8;instrument_id:u4@16;interval_s:u4@20;open:i8@24;high:i8@32;"         \
    "low:i8@40;close:i8@48;volume:u8@56;vwap:i8@64;count:u4@72;flags:u4@76;ts_first:i8@80;"             \
    "ts_last:i8@88;first_seq:u8@96;last_seq:u8@104;revision:u4@112;late_count:u4@116;reserved:u8@120"

MDF_ASSERT(sizeof(mdf_bar) == 128, "a bar is two cache lines");
MDF_ASSERT(offsetof(mdf_bar, open) == 24 && offsetof(mdf_bar, volume) == 56, "bar layout");
MDF_ASSERT(offsetof(mdf_bar, vwap) == 64 && offsetof(mdf_bar, count) == 72, "bar layout");
MDF_ASSERT(offsetof(mdf_bar, ts_first) == 80 && offsetof(mdf_bar, first_seq) == 96, "bar layout");
MDF_ASSERT(offsetof(mdf_bar, revision) == 112 && offsetof(mdf_bar, reserved) == 120, "bar layout");

#define MDF_DEPTH_LEVELS 10

/* A book after an event, both sides, best first: a slot of a depth ring. */
typedef struct mdf_depth {
    uint64_t seq;           /*   0 as in a tick, and so the next five */
    int64_t ts_event;       /*   8 */
    int64_t ts_recv;        /*  16 */
    uint32_t instrument_id; /*  24 */
    uint32_t venue_seq;     /*  28 */
    uint16_t flags;         /*  32 enum mdf_flag; IMPLIED: the implied book */
    uint8_t bids, asks;     /*  34 levels that are there */
    uint8_t reserved[28];
    int64_t bid_price[MDF_DEPTH_LEVELS], ask_price[MDF_DEPTH_LEVELS];    /*  64 PRICE_UNDEF: no such level */
    uint32_t bid_size[MDF_DEPTH_LEVELS], ask_size[MDF_DEPTH_LEVELS];     /* 224 UINT32_MAX: saturated */
    uint32_t bid_orders[MDF_DEPTH_LEVELS], ask_orders[MDF_DEPTH_LEVELS]; /* 304 0: unknown */
} mdf_depth;

#define MDF_DEPTH_LAYOUT                                                                                \
    "depth:384;seq:u8@0;ts_event:i8@8;ts_recv:i8@16;instrument_id:u4@24;venue_seq:u4@28;flags:u2@32;"   \
    "bids:u1@34;asks:u1@35;reserved:V28@36;bid_price:(10,)i8@64;ask_price:(10,)i8@144;"                  \
    "bid_size:(10,)u4@224;ask_size:(10,)u4@264;bid_orders:(10,)u4@304;ask_orders:(10,)u4@344"

MDF_ASSERT(sizeof(mdf_depth) == 384 && offsetof(mdf_depth, bid_price) == 64 && offsetof(mdf_depth, ask_orders) == 344, "depth layout");

enum mdf_order_action { MDF_ORDER_NEW = 0, MDF_ORDER_CHANGE = 1, MDF_ORDER_DELETE = 2, MDF_ORDER_FILL = 3, MDF_ORDER_CLEAR = 4 };

/* One order's change, or its fill in a trade: a slot of an orders ring. */
typedef struct mdf_order {
    uint64_t seq;           /*  0 as in a tick, and so the next four */
    int64_t ts_event;       /*  8 */
    int64_t ts_recv;        /* 16 */
    uint32_t instrument_id; /* 24 */
    uint8_t action;         /* 28 enum mdf_order_action */
    uint8_t side;           /* 29 enum mdf_side, of the order */
    uint16_t flags;         /* 30 enum mdf_flag */
    uint64_t order_id;      /* 32 */
    uint64_t priority;      /* 40 lower is served first at one price; of a FILL the trade_id; 0 unknown */
    int64_t price;          /* 48 */
    uint32_t size;          /* 56 displayed, or filled */
    uint32_t venue_seq;     /* 60 */
} mdf_order;

#define MDF_ORDER_LAYOUT                                                                                \
    "order:64;seq:u8@0;ts_event:i8@8;ts_recv:i8@16;instrument_id:u4@24;action:u1@28;side:u1@29;"         \
    "flags:u2@30;order_id:u8@32;priority:u8@40;price:i8@48;size:u4@56;venue_seq:u4@60"

MDF_ASSERT(sizeof(mdf_order) == 64 && offsetof(mdf_order, order_id) == 32 && offsetof(mdf_order, venue_seq) == 60, "order layout");

/* ---------------------------------------------------------------------------------- shared structures */

#define MDF_PAGE 4096u
#define MDF_HUGE_PAGE (UINT64_C(2) << 20) /* x86-64, and ARM with pages of 4 KiB */
#define MDF_RING_MAGIC UINT64_C(0x31474e495246444d)     /* "MDFRING1" */
#define MDF_REGISTRY_MAGIC UINT64_C(0x313047455246444d) /* "MDFREG01" */
#define MDF_BLOCK 64u                /* records reserved ahead at a time */
#define MDF_FEW 32u                  /* records that a reader finds without a look at the tail */
#define MDF_LOOKS 64                 /* between two looks at the clock */
#define MDF_MIN_CAPACITY 256u        /* = 4 * MDF_BLOCK: depth stays at least half the ring */
#define MDF_MAX_CAPACITY (1u << 28)
#define MDF_MAX_SLOT_SIZE 4096u
#define MDF_MAX_INSTRUMENTS (1u << 24) /* index bits of an instrument_id */
#define MDF_INSTRUMENT_CHUNK 256u    /* table entries given memory at a time */
#define MDF_CONSUMERS 128u           /* the registry's byte of this number is locked while one is claimed */
#define MDF_CLAIM_ATTEMPTS 2000      /* one per ms */
#define MDF_APP_COUNTERS 16u /* a consumer's own */
#define MDF_COUNTERS 64u      /* of a feed; in its page come its lines and the ring's two latencies after them */
#define MDF_LINES 48u         /* of a feed that are counted one by one */
#define MDF_LINE_VALUES 7u
#define MDF_LATENCY_BUCKETS 31u
#define MDF_LATENCY_SHIFT 8u  /* bucket i: less than 2^(8 + i) ns and not in one before; the last: all the rest */
#define MDF_LATENCY_EVERY 64u /* one flush of a writer, one read of a consumer out of so many is timed */
#define MDF_RING_MODE 0640u
#define MDF_REGISTRY_MODE 0660u
#define MDF_ERR 512u                 /* bytes for an error sentence */
#define MDF_WAIT_SLICE_NS INT64_C(100000000) /* bounds Ctrl-C and the notice of a dead writer */
#define MDF_BLIND_SLICE_NS INT64_C(200000)   /* a reader that cannot announce itself looks this often */

enum mdf_state { MDF_LIVE = 1, MDF_CLOSED = 2, MDF_SUPERSEDED = 3 };

/* One page. What changes lies in groups of 128 bytes (adjacent-line prefetch), grouped by how often. */
typedef struct mdf_ring_header {
    uint64_t magic;         /*    0 the last store of create */
    uint32_t abi_major, abi_minor;
    uint64_t total_size;    /*   16 == st_size */
    uint64_t capacity;      /*   24 slots, a power of two */
    uint64_t data_off;      /*   32 */
    uint32_t slot_size;     /*   40 bytes, a multiple of 64 */
    uint32_t block;         /*   44 MDF_BLOCK of the writer that made the ring */
    uint64_t first_seq;     /*   48 first of this segment: 1, or where the segment replaced left off */
    int64_t created_ns;     /*   56 UNIX ns */
    uint8_t ring_id[16];    /*   64 random: names the sequence space */
    uint8_t boot_id[16];    /*   80 of the kernel: CLOCK_MONOTONIC stamps compare within one boot */
    char feed[32];          /*   96 */
    uint64_t counters_off;  /*  128 */
    uint64_t instruments_off; /* 136 */
    uint32_t instruments_capacity, instrument_size; /* 144 */
    uint32_t feed_index;    /*  152 high 8 bits of the feed's instrument ids */
    uint32_t layout_len;    /*  156 */
    uint8_t reserved_0[96]; /*  160 */
    char layout[768];       /*  256 field names, types and offsets of a slot: the fingerprint */
    uint64_t reserve;       /* 1024 every seq below it is or may be being written; monotone for ever */
    uint8_t reserved_1[120];
    uint64_t tail;          /* 1152 last committed seq, a lower bound */
    uint8_t reserved_2[120];
    uint64_t epoch;         /* 1280 raised by each writer that takes the ring */
    uint64_t epoch_first_seq; /* 1288 first seq of this epoch */
    int64_t heartbeat_ns;   /* 1296 CLOCK_MONOTONIC */
    uint32_t pid;           /* 1304 of the writer, in its own namespace: for display only */
    uint32_t state;         /* 1308 enum mdf_state */
    uint8_t reserved_3[96];
    uint32_t wake_gen;      /* 1408 futex word: raised only when somebody waits */
    uint8_t reserved_4[124];
    uint64_t batches, wakes, recoveries, recovered_slots, max_burst; /* 1536 */
    uint8_t reserved_5[88];
    uint64_t instruments_count; /* 1664 entries that may be read */
    uint64_t instruments_version; /* 1672 raised by each addition and change */
    uint8_t reserved_6[112];
    uint64_t intent;        /* 1792 journal of mdf_instrument_put: entry index + 1, 0 none; see there */
    uint8_t reserved_7[120];
    uint64_t intended[32];  /* 1920 what the entry becomes */
    uint8_t reserved_8[1920];
} mdf_ring_header;

MDF_ASSERT(sizeof(mdf_ring_header) == MDF_PAGE, "one page");
MDF_ASSERT(offsetof(mdf_ring_header, layout) == 256 && offsetof(mdf_ring_header, reserve) == 1024, "header");
MDF_ASSERT(offsetof(mdf_ring_header, tail) == 1152 && offsetof(mdf_ring_header, epoch) == 1280, "header");
MDF_ASSERT(offsetof(mdf_ring_header, wake_gen) == 1408 && offsetof(mdf_ring_header, batches) == 1536, "header");
MDF_ASSERT(offsetof(mdf_ring_header, instruments_count) == 1664, "header");
MDF_ASSERT(offsetof(mdf_ring_header, intent) == 1792 && offsetof(mdf_ring_header, intended) == 1920, "header");

/* One instrument. `version` is a sequence lock: odd while the writer changes the entry. */
typedef struct mdf_instrument {
    uint32_t version;       /*   0 */
    uint32_t instrument_id; /*   4 */
    uint64_t vendor_id;     /*   8 the vendor's number, 0 if none */
    uint32_t publisher_id;  /*  16 the vendor's publisher or venue number, 0 if none */
    uint32_t source_index;  /*  20 feed index of the ticks, for tables that name other feeds' instruments */
    int64_t tick_size;      /*  24 price units; 0 unknown */
    int64_t expiration;     /*  32 UNIX ns; 0 none or unknown */
    int64_t multiplier;     /*  40 units of the underlying a contract, x 1e-9; 0 unknown */
    char currency[8];       /*  48 */
    char venue[24];         /*  56 */
    char feed[32];          /*  80 */
    char symbol[72];        /* 112 our name */
    char vendor_symbol[72]; /* 184 */
} mdf_instrument;

MDF_ASSERT(sizeof(mdf_instrument) == 256, "instrument layout");
MDF_ASSERT(sizeof(mdf_instrument) == sizeof(((mdf_ring_header *)0)->intended), "the journal holds one entry");
MDF_ASSERT(offsetof(mdf_instrument, symbol) == 112 && offsetof(mdf_instrument, vendor_symbol) == 184, "instrument");

/* One consumer. `app` are the consumer's own counters (what it stored, flushed, dropped). */
typedef struct mdf_consumer {
    uint64_t cursor;      /*   0 last seq read; UINT64_MAX: parked, has a slot and reads elsewhere */
    uint64_t lost;        /*   8 */
    uint64_t overruns;    /*  16 */
    uint64_t reads;       /*  24 */
    uint64_t records;     /*  32 */
    uint64_t sleeps;      /*  40 */
    int64_t heartbeat_ns; /*  48 CLOCK_MONOTONIC */
    uint64_t acked;       /*  56 last seq that the consumer has made safe, if `says_acked` */
    uint32_t pid;         /*  64 */
    uint32_t used;        /*  68 1 once ever claimed; whether it is alive says the lock */
    uint8_t ring_id[16];  /*  72 the sequence space of cursor and acked */
    uint32_t says_acked;  /*  88 1 once the consumer has told `acked` (which may be 0: nothing is safe yet) */
    uint8_t reserved[4];
    char name[32];        /*  96 */
    uint64_t app[MDF_APP_COUNTERS]; /* 128 */
} mdf_consumer;

MDF_ASSERT(sizeof(mdf_consumer) == 256, "consumer layout");

/* How long records took, by powers of two. A sample is the oldest record of one flush or read in MDF_LATENCY_EVERY:
 * two additions and a look at the clock, once in so many. Nobody locks: sum and buckets may differ by a sample. */
typedef struct mdf_latency {
    uint64_t bucket[MDF_LATENCY_BUCKETS];
    uint64_t sum_ns;
} mdf_latency;

/* One line of a feed: a side of a channel, counted by itself. A row that is given to another line has the key 0
 * meanwhile. */
typedef struct mdf_feed_line {
    uint64_t key;                    /*  0 MDF_LINE_KEY; 0: nobody's */
    uint64_t value[MDF_LINE_VALUES]; /*  8 enum mdf_line_value */
} mdf_feed_line;

enum mdf_line_kind { MDF_LINE_INCREMENTAL = 1, MDF_LINE_DEFINITION = 2, MDF_LINE_SNAPSHOT = 3, MDF_LINE_ORDERS = 4 };

/* channel: the venue's number, from 1; side: 'A' or 'B' */
#define MDF_LINE_KEY(channel, kind, side) ((uint64_t)(uint32_t)(channel) << 32 | (uint32_t)(kind) << 8 | (uint8_t)(side))

/* The counters page of a ring; written by its writer only. Both latencies end where the record is committed, which
 * is the writer's flush. Recordings and repeats (MDF_REPLAYED) are not timed, bars have no time of arrival. */
typedef struct mdf_counters_page {
    uint64_t counter[MDF_COUNTERS]; /*    0 enum mdf_feed_counter */
    mdf_feed_line line[MDF_LINES];  /*  512 zeros in a ring of ABI 2.0 */
    mdf_latency arrival;            /* 3584 from ts_recv: one host, one clock */
    mdf_latency venue;              /* 3840 from ts_event: two clocks and the way here; no snapshots, no bad times */
} mdf_counters_page;

MDF_ASSERT(sizeof(mdf_latency) == 256 && sizeof(mdf_counters_page) == MDF_PAGE, "one page");
MDF_ASSERT(sizeof(mdf_feed_line) == 64 && offsetof(mdf_counters_page, line) == 512, "counters page");
MDF_ASSERT(offsetof(mdf_counters_page, arrival) == 3584, "counters page");

typedef struct mdf_registry {
    uint64_t magic;
    uint32_t abi_major, consumers;
    uint8_t reserved_0[112];
    uint32_t waiters;     /*  128 "somebody sleeps": set by readers, cleared by the writer */
    uint8_t reserved_1[124];
    uint8_t reserved_2[3840];
    mdf_consumer consumer[MDF_CONSUMERS]; /* 4096 */
    mdf_latency latency[MDF_CONSUMERS]; /* 36864 from ts_recv to the read, of the consumer of the same number */
} mdf_registry;

MDF_ASSERT(offsetof(mdf_registry, waiters) == 128 && offsetof(mdf_registry, consumer) == 4096, "registry");
MDF_ASSERT(offsetof(mdf_registry, latency) == 36864, "registry");

/* Counters of a feed: X(name, help). The place in the list is the index in the ring's counters page; the
 * list may only grow. Python's names, the exporter's and the documentation are made from these two lists. */
#define MDF_FEED_COUNTERS(X)                                                                            \
    X(received_bytes, "bytes received from the vendor or read from the recording")                      \
    X(received_records, "vendor records or messages seen, of any kind")                                 \
    X(skipped_records, "records of a known kind that make no tick")                                     \
    X(unknown_records, "records of a kind that this version does not know")                             \
    X(malformed_records, "records that contradict their own layout, not used")                          \
    X(unmapped_records, "records of an instrument without a symbol")                                    \
    X(gaps, "GAP ticks published")                                                                      \
    X(published_quotes, "QUOTE ticks published")                                                        \
    X(published_trades, "TRADE ticks published")                                                        \
    X(published_others, "ticks of other kinds published")                                               \
    X(published_bars, "bars published into the feed's bar ring")                                        \
    X(received_packets, "packets of all lines")                                                         \
    X(duplicate_packets, "packets that another line had brought already")                               \
    X(late_packets, "packets that came after they had been given up")                                   \
    X(lost_packets, "packets that no line brought")                                                     \
    X(malformed_packets, "packets that contradict their own layout, or their line, not used")           \
    X(dropped_packets, "packets that the kernel dropped because they were not read in time")            \
    X(stale_books, "books that lost updates")                                                           \
    X(recovered_books, "books put right again, by a snapshot or by their own updates")                  \
    X(unproven_books, "books that may be wrong now")                                                    \
    X(silences, "times that all lines of a channel were mute")                                          \
    X(latency_ns, "arrival less the venue's sending time, of the latest packet: two clocks, in ns")     \
    X(sessions, "sessions with the vendor that began to deliver")                                       \
    X(disconnects, "sessions with the vendor that ended without being asked to")                        \
    X(known_records, "records of replays left out because they had been published")                     \
    X(replayed_records, "records of replays that filled a hole")                                        \
    X(refused_symbols, "symbols that the vendor did not resolve")                                       \
    X(recorded_bytes, "bytes of the vendor's stream recorded into files, before compression")            \
    X(dropped_records, "records that the vendor says were dropped on their way to us")                  \
    X(slow_warnings, "times that the vendor said that we are too slow")                                 \
    X(rejected_fields, "fields of subscriptions that the vendor refused")                               \
    X(failed_topics, "topics that bring nothing now because the vendor refused them or let them fail")  \
    X(delayed_topics, "topics that are late now, for want of an entitlement")                           \
    X(last_record_ns, "when the latest record came, in UNIX ns; not told before the first")             \
    X(doubted_since_ns, "since when data pass unused that may yet be of a new sequence, in UNIX ns; only while some do")

/* Of each line of a feed: the same, in mdf_feed_line.value. */
#define MDF_LINE_VALUE_LIST(X)                                                                          \
    X(received_packets, "packets that the line brought")                                                \
    X(duplicate_packets, "packets of the line that another had brought already")                        \
    X(late_packets, "packets of the line that came after they had been given up")                       \
    X(lost_packets, "packets that the line did not bring, whether or not another did")                  \
    X(malformed_packets, "packets of the line that contradict their own layout, not used")              \
    X(dropped_packets, "packets of the line that the kernel dropped because they were not read in time") \
    X(last_packet_ns, "when the line brought its latest packet, CLOCK_MONOTONIC; 0: none, or a recording's")

/* Counters of a consumer: the same, in mdf_consumer.app. */
#define MDF_CONSUMER_COUNTERS(X)                                                                        \
    X(stored_records, "records that the sink has confirmed")                                            \
    X(stored_bytes, "bytes written by the sink")                                                        \
    X(flushes, "batches given to the sink or the callback")                                             \
    X(failed_flushes, "batches that the sink or the callback refused")                                  \
    X(dropped_records, "records dropped by policy")                                                     \
    X(pending_records, "records taken from the ring and not yet confirmed")                             \
    X(closed_bars, "bars closed")                                                                       \
    X(late_trades, "trades that came after their bar had closed")                                       \
    X(bad_time_trades, "trades left out of bars for a bad venue time")                                  \
    X(callback_errors, "exceptions raised by user code")                                                \
    X(skipped_records, "records of a kind that the sink does not store")                                \
    X(behind_records, "records of the ring or journal that are there and not read yet")                 \
    X(torn_bytes, "bytes of unfinished writes cut from the end of the journal at its start")            \
    X(cut_segments, "segments of the journal removed before a sink had read them")

#define MDF_ENUM(name, help) MDF_FEED_##name,
enum mdf_feed_counter { MDF_FEED_COUNTERS(MDF_ENUM) MDF_FEED_COUNTERS_END };
#undef MDF_ENUM
#define MDF_ENUM(name, help) MDF_CONSUMER_##name,
enum mdf_consumer_counter { MDF_CONSUMER_COUNTERS(MDF_ENUM) MDF_CONSUMER_COUNTERS_END };
#undef MDF_ENUM
#define MDF_ENUM(name, help) MDF_LINE_##name,
enum mdf_line_value { MDF_LINE_VALUE_LIST(MDF_ENUM) MDF_LINE_VALUES_END };
#undef MDF_ENUM
#define MDF_TEXT(name, help) #name, help,
static const char *const mdf_feed_counter_text[] __attribute__((unused)) = {MDF_FEED_COUNTERS(MDF_TEXT) NULL};
static const char *const mdf_consumer_counter_text[] __attribute__((unused)) = {MDF_CONSUMER_COUNTERS(MDF_TEXT) NULL};
static const char *const mdf_line_value_text[] __attribute__((unused)) = {MDF_LINE_VALUE_LIST(MDF_TEXT) NULL};
#undef MDF_TEXT
MDF_ASSERT(MDF_FEED_COUNTERS_END <= MDF_COUNTERS, "the feed's counters are full");
MDF_ASSERT(MDF_CONSUMER_COUNTERS_END <= MDF_APP_COUNTERS, "the consumer's counters are full");
MDF_ASSERT(MDF_LINE_VALUES_END <= MDF_LINE_VALUES, "the values of a line are full");

/* -------------------------------------------------------------------------------------- atomic access */

#ifndef MDF_AFTER_STORE
#define MDF_AFTER_STORE() ((void)0) /* the crash-point tests end the process here */
#endif

static inline uint64_t mdf_load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint64_t mdf_load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void mdf_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); MDF_AFTER_STORE(); }
static inline void mdf_store_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); MDF_AFTER_STORE(); }
static inline uint32_t mdf_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint32_t mdf_load32_acquire(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void mdf_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); MDF_AFTER_STORE(); }
static inline void mdf_store32_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); MDF_AFTER_STORE(); }
static inline void mdf_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
static inline void mdf_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void mdf_fence_full(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
/* a counter that only its owner adds to */
static inline void mdf_count(uint64_t *p, uint64_t n) { __atomic_store_n(p, *p + n, __ATOMIC_RELAXED); }

static inline void mdf_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Have the line at p in this processor's cache, to be written. */
static inline void mdf_prefetch_write(const void *p) {
#if defined(__x86_64__) && !defined(MDF_NO_ASSEMBLY)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p)); /* compilers for any x86-64 make a read of the builtin */
#else
    __builtin_prefetch(p, 1);
#endif
}

static inline int64_t mdf_clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline uint64_t mdf_unaligned(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }

/* Where the flags of a record lie if it says when it arrived (ts_event at 8 and ts_recv at 16, too), else 0. */
static inline uint32_t mdf_timed_flags(const char *layout, uint32_t slot_size) {
    const char *digit = strstr(layout, ";flags:u2@");
    uint32_t at = 0;
    if (!digit || !strstr(layout, ";ts_event:i8@8;ts_recv:i8@16;")) return 0;
    for (digit += 10; *digit >= '0' && *digit <= '9' && at < slot_size; digit++) at = at * 10 + (uint32_t)(*digit - '0');
    return at >= 24 && at + 2 <= slot_size ? at : 0;
}

/* Clocks that disagree make it negative: it counts as none. */
static inline void mdf_latency_add(mdf_latency *l, int64_t ns) {
    uint64_t n = ns > 0 ? (uint64_t)ns : 0;
    unsigned bits = 64u - (unsigned)__builtin_clzll(n | 1), i = bits > MDF_LATENCY_SHIFT ? bits - MDF_LATENCY_SHIFT : 0;
    mdf_count(&l->bucket[i < MDF_LATENCY_BUCKETS ? i : MDF_LATENCY_BUCKETS - 1], 1);
    mdf_count(&l->sum_ns, n);
}

/* What happened to `record` ends now. `venue` may be NULL. */
__attribute__((cold, unused))
static void mdf_latency_of(mdf_latency *arrival, mdf_latency *venue, const uint64_t *record, uint32_t flags_at) {
    uint16_t flags;
    memcpy(&flags, (const uint8_t *)record + flags_at, sizeof flags);
    int64_t event = (int64_t)record[1], recv = (int64_t)record[2], now = mdf_clock_ns(CLOCK_REALTIME);
    if (flags & MDF_REPLAYED || recv <= 0) return;
    mdf_latency_add(arrival, now - recv);
    if (venue && event > 0 && !(flags & (MDF_SNAPSHOT | MDF_BAD_TS | MDF_DELAYED))) mdf_latency_add(venue, now - event);
}

/* Shared, not private: the word lies in a file mapping, and readers map it read-only. */
static inline long mdf_futex(const uint32_t *word, int op, uint32_t value, const struct timespec *timeout) {
    return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

/* ------------------------------------------------------------------------------------- writer protocol */

typedef struct mdf_writer {
    mdf_ring_header *h;
    uint8_t *slots;
    mdf_instrument *instruments;
    uint64_t *counters;
    mdf_registry *registry;
    uint64_t mask, capacity, next, reserved; /* reserved mirrors h->reserve */
    uint64_t flushed; /* last seq of the flush before */
    uint32_t words, block, wake_gen;
    uint32_t instruments_backed; /* entries whose memory is allocated */
    uint32_t flushes, flags_at; /* flags_at: see mdf_timed_flags */
    size_t map_size;
    int fd, registry_fd;
} mdf_writer;

static inline uint64_t *mdf_slot(uint8_t *slots, uint64_t seq, uint64_t mask, uint32_t words) {
    return (uint64_t *)(void *)(slots + (seq & mask) * words * 8);
}

/* `need` is the last sequence number about to be written, plus one. */
static inline void mdf_reserve_to(mdf_writer *w, uint64_t need) {
    if (need <= w->reserved) return;
    uint64_t to = (need + w->block - 1) / w->block * w->block;
    w->reserved = to;
    mdf_store(&w->h->reserve, to);
    mdf_fence_release(); /* before every payload store of the block: a release *store* would not do */
}

/* Word stores, never memcpy: libc may copy by non-temporal or string instructions, which leave the order. */
static inline void mdf_write_slot(mdf_writer *w, uint64_t seq, const uint8_t *record) {
    uint64_t *d = mdf_slot(w->slots, seq, w->mask, w->words);
    if (w->words == 8) {
        mdf_store(d + 1, mdf_unaligned(record + 8));
        mdf_store(d + 2, mdf_unaligned(record + 16));
        mdf_store(d + 3, mdf_unaligned(record + 24));
        mdf_store(d + 4, mdf_unaligned(record + 32));
        mdf_store(d + 5, mdf_unaligned(record + 40));
        mdf_store(d + 6, mdf_unaligned(record + 48));
        mdf_store(d + 7, mdf_unaligned(record + 56));
    } else {
        for (uint32_t i = 1; i < w->words; i++) mdf_store(d + i, mdf_unaligned(record + 8 * (size_t)i));
    }
    mdf_store_release(d, seq); /* COMMIT */
}

/* Publish one record (slot_size bytes; its first word is ignored). Does not wake: mdf_flush() does. */
static inline uint64_t mdf_publish(mdf_writer *w, const void *record) {
    uint64_t s = w->next++;
    mdf_reserve_to(w, s + 1);
    mdf_write_slot(w, s, (const uint8_t *)record);
    mdf_store_release(&w->h->tail, s);
    return s;
}

/* Publish n records, in chunks of at most a quarter of the ring. Not atomic: a crash leaves a prefix. */
static inline uint64_t mdf_publish_batch(mdf_writer *w, const void *records, uint64_t n) {
    uint64_t first = w->next;
    const uint8_t *from = (const uint8_t *)records;
    if (n > mdf_load(&w->h->max_burst)) mdf_store(&w->h->max_burst, n);
    while (n) {
        uint64_t s0 = w->next, m = n < w->capacity / 4 ? n : w->capacity / 4;
        w->next += m;
        mdf_reserve_to(w, s0 + m);
        for (uint64_t k = 0; k < m; k++, from += (size_t)w->words * 8) mdf_write_slot(w, s0 + k, from);
        mdf_store_release(&w->h->tail, s0 + m - 1);
        n -= m;
    }
    mdf_store(&w->h->batches, mdf_load(&w->h->batches) + 1);
    return first;
}

/* Whoever sleeps on the ring looks again. The order of the lines matters: see mdf_wait. */
static inline void mdf_wake_all(mdf_writer *w) {
    mdf_store32_release(&w->h->wake_gen, ++w->wake_gen);
    mdf_futex(&w->h->wake_gen, FUTEX_WAKE, INT32_MAX, NULL);
}

/* The oldest record of the burst that ends here; one writer, so its slot cannot change meanwhile. */
__attribute__((cold, unused))
static void mdf_writer_time(mdf_writer *w) {
    mdf_counters_page *page = (mdf_counters_page *)(void *)w->counters;
    if (w->next - w->flushed > w->capacity || w->next == w->flushed + 1) return; /* overwritten; nothing came */
    mdf_latency_of(&page->arrival, &page->venue, mdf_slot(w->slots, w->flushed + 1, w->mask, w->words), w->flags_at);
}

/* After a burst: a syscall only if somebody sleeps. */
static inline void mdf_flush(mdf_writer *w) {
    if (w->flags_at && ++w->flushes % MDF_LATENCY_EVERY == 0) mdf_writer_time(w);
    w->flushed = w->next - 1;
    mdf_prefetch_write(mdf_slot(w->slots, w->next, w->mask, w->words)); /* or the next fence waits for the line */
    mdf_fence_full(); /* StoreLoad: the tail before `waiters` */
    if (mdf_load32(&w->registry->waiters)) {
        mdf_store32(&w->registry->waiters, 0); /* clear first, then raise the generation */
        mdf_store(&w->h->wakes, mdf_load(&w->h->wakes) + 1);
        mdf_wake_all(w);
    }
}

static inline void mdf_beat(mdf_writer *w) {
    __atomic_store_n(&w->h->heartbeat_ns, mdf_clock_ns(CLOCK_MONOTONIC), __ATOMIC_RELAXED);
}

/* Bring the entry that `intent` names to what `intended` says; doing it twice is as good as once. */
static inline void mdf_instrument_carry_out(mdf_writer *w) {
    mdf_ring_header *h = w->h;
    uint64_t index = mdf_load_acquire(&h->intent) - 1, count = mdf_load(&h->instruments_count);
    if (index <= count && index < h->instruments_capacity) { /* else the file is damaged */
        mdf_instrument *e = w->instruments + index;
        uint64_t *to = (uint64_t *)(void *)e;
        uint32_t version = mdf_load32(&e->version) | 1; /* odd already after a kill in here */
        mdf_store32(&e->version, version);
        mdf_fence_release();
        mdf_store(to, (mdf_load(&h->intended[0]) >> 32 << 32) | version);
        for (size_t i = 1; i < sizeof *e / 8; i++) mdf_store(to + i, mdf_load(&h->intended[i]));
        mdf_store32_release(&e->version, version + 1);
        if (index == count) mdf_store_release(&h->instruments_count, count + 1);
        mdf_store_release(&h->instruments_version, mdf_load(&h->instruments_version) + 1);
    }
    mdf_store_release(&h->intent, 0);
}

/* Take over a ring whose writer is gone: the sequence goes on after the last committed record. */
static inline void mdf_recover(mdf_writer *w) {
    mdf_ring_header *h = w->h;
    uint64_t tail = mdf_load_acquire(&h->tail), t = tail;
    /* Committed without the tail stored: a reader may have taken it already, so it keeps its number. */
    while (t - tail < w->capacity && mdf_load_acquire(mdf_slot(w->slots, t + 1, w->mask, w->words)) == t + 1) t++;
    w->next = t + 1;
    w->flushed = t;
    w->reserved = mdf_load_acquire(&h->reserve); /* never lowered */
    mdf_fence_release();
    mdf_store_release(&h->tail, t);
    mdf_store(&h->epoch_first_seq, t + 1);
    mdf_store(&h->recoveries, mdf_load(&h->recoveries) + 1);
    mdf_store(&h->recovered_slots, mdf_load(&h->recovered_slots) + (t - tail));
    if (mdf_load_acquire(&h->intent)) mdf_instrument_carry_out(w); /* the dead writer was at it */
    mdf_store32(&h->pid, (uint32_t)getpid());
    mdf_beat(w);
    mdf_store32(&h->state, MDF_LIVE);
    mdf_store_release(&h->epoch, mdf_load(&h->epoch) + 1);
    w->wake_gen = mdf_load32(&h->wake_gen);
    mdf_wake_all(w); /* unconditional, `waiters` untouched: the dead writer may have cleared it and not woken */
}

/* ------------------------------------------------------------------------------------- reader protocol */

enum mdf_overrun { MDF_RESUME_OLDEST = 0, MDF_RESUME_LATEST = 1 };

typedef struct mdf_reader {
    const mdf_ring_header *h;
    const uint8_t *slots;
    const mdf_instrument *instruments;
    const uint64_t *counters;
    mdf_registry *registry;  /* NULL: not accessible, waits are short slices */
    mdf_consumer *consumer;  /* NULL: not registered */
    mdf_latency *latency;    /* of the consumer */
    uint64_t mask, capacity, next, lost, overruns;
    uint64_t seen_epoch;
    uint32_t words, seen_state;
    uint32_t instruments_capacity;
    uint32_t flags_at; /* see mdf_timed_flags */
    uint32_t pid;      /* of the process that took the consumer's lock; 0: none did */
    int on_overrun; /* enum mdf_overrun */
    int burst;      /* the last read found more than a few */
    size_t map_size;
    int fd, registry_fd, consumer_index;
} mdf_reader;

/* Where a lapped reader goes on: half a ring of slack, or it would be lapped again at once. */
static inline uint64_t mdf_resume_point(const mdf_reader *r, uint64_t tail, uint64_t reserve) {
    uint64_t to = tail + 1;
    if (r->on_overrun == MDF_RESUME_OLDEST) {
        uint64_t intact = reserve > r->capacity ? reserve - r->capacity : 0;
        uint64_t slack = tail > r->capacity / 2 ? tail - r->capacity / 2 : 0;
        to = intact > slack ? intact : slack;
    }
    return to > r->h->first_seq ? to : r->h->first_seq;
}

static inline void mdf_reader_lose(mdf_reader *r, uint64_t to) {
    r->lost += to - r->next;
    r->overruns++;
    r->next = to;
}

/* `oldest`: the first of the records, already copied out; NULL if there is none. */
static inline void mdf_reader_note(mdf_reader *r, uint64_t records, const uint64_t *oldest) {
    mdf_consumer *c = r->consumer;
    if (!c) return;
    __atomic_store_n(&c->cursor, r->next - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&c->lost, r->lost, __ATOMIC_RELAXED);
    __atomic_store_n(&c->overruns, r->overruns, __ATOMIC_RELAXED);
    mdf_count(&c->reads, 1);
    mdf_count(&c->records, records);
    if (r->flags_at && oldest && c->reads % MDF_LATENCY_EVERY == 0) mdf_latency_of(r->latency, NULL, oldest, r->flags_at);
}

static inline void mdf_copy_words(uint64_t *out, const uint64_t *in, size_t words) {
    for (size_t i = 0; i < words; i += 8) { /* slots are multiples of 8 words */
        out[i] = mdf_load(in + i);         out[i + 1] = mdf_load(in + i + 1);
        out[i + 2] = mdf_load(in + i + 2); out[i + 3] = mdf_load(in + i + 3);
        out[i + 4] = mdf_load(in + i + 4); out[i + 5] = mdf_load(in + i + 5);
        out[i + 6] = mdf_load(in + i + 6); out[i + 7] = mdf_load(in + i + 7);
    }
}

/* One record into `out` (8-byte aligned): 1 got it, 0 nothing yet, -1 lapped (r->lost and r->next moved). */
static inline int mdf_read_one(mdf_reader *r, void *out) {
    uint64_t s = r->next;
    const uint64_t *d = mdf_slot((uint8_t *)(uintptr_t)r->slots, s, r->mask, r->words);
    uint64_t q = mdf_load_acquire(d);
    if ((int64_t)(q - s) < 0) return 0;
    mdf_copy_words((uint64_t *)out, d, r->words);
    mdf_fence_acquire(); /* the copy before the look at `reserve` */
    uint64_t reserve = mdf_load(&r->h->reserve);
    if (q == s && s + r->capacity >= reserve) {
        *(uint64_t *)out = s;
        r->next = s + 1;
        mdf_reader_note(r, 1, (const uint64_t *)out);
        return 1;
    }
    uint64_t to = mdf_resume_point(r, mdf_load_acquire(&r->h->tail), reserve);
    mdf_reader_lose(r, to > s ? to : s + 1); /* always forward */
    mdf_reader_note(r, 0, NULL);
    return -1;
}

/* Published and not yet read, as the tail tells it; may already be lapped. */
static inline uint64_t mdf_available(const mdf_reader *r) {
    uint64_t t = mdf_load_acquire(&r->h->tail);
    return (int64_t)(t + 1 - r->next) > 0 ? t + 1 - r->next : 0;
}

/* As many of the next `max` as the tail tells of. What the last one's slot denies, the tail of a damaged ring tells. */
static inline uint64_t mdf_told(const mdf_reader *r, uint64_t max) {
    uint8_t *slots = (uint8_t *)(uintptr_t)r->slots;
    uint64_t all = mdf_available(r), n = all < max ? all : max, last = r->next + n - 1;
    return n && (int64_t)(mdf_load(mdf_slot(slots, last, r->mask, r->words)) - last) >= 0 ? n : 0;
}

/* Records that a read of `max` finds now; 0 if none, whatever `max` is. May already be lapped. A few are found by their
 * commit words, which the read touches anyway: the tail's line stays with the writer, whom each look at it costs a
 * miss. After a burst the tail is looked at first. Committed and beyond the tail is what the writer is about to tell,
 * or was killed before it did: a record like any other. */
static inline uint64_t mdf_ahead(const mdf_reader *r, uint64_t max) {
    uint8_t *slots = (uint8_t *)(uintptr_t)r->slots;
    uint64_t s = r->next, n = r->burst ? mdf_told(r, max) : 0, told;
    if (n) return n;
    for (; n < MDF_FEW; n++) {
        if (n == max) return n;
        int64_t ahead = (int64_t)(mdf_load_acquire(mdf_slot(slots, s + n, r->mask, r->words)) - (s + n));
        if (ahead < 0) return n;
        if (ahead > 0) break; /* lapped */
    }
    told = mdf_told(r, max);
    return told > n ? told : n ? n : mdf_told(r, 1);
}

/* Is there something for who can wait a moment? A burst is not taken in pieces while the writer is at it. */
static inline int mdf_at_hand(const mdf_reader *r) { return (r->burst ? mdf_told(r, 1) : mdf_ahead(r, 1)) != 0; }

/* The `n` records that mdf_ahead() has just found, and what of up to `max` has come since: see mdf_read_batch(). */
static inline uint64_t mdf_read_found(mdf_reader *r, void *out, uint64_t n, uint64_t max, uint64_t *skip) {
    *skip = 0;
    uint64_t reserve = mdf_load(&r->h->reserve);
    if (r->next + r->capacity < reserve) {
        uint64_t t = mdf_load_acquire(&r->h->tail), to = mdf_resume_point(r, t, reserve);
        mdf_reader_lose(r, to > r->next ? to : r->next + 1);
        n = (int64_t)(t + 1 - r->next) <= 0 ? 0 : t + 1 - r->next < max ? t + 1 - r->next : max;
        if (!n) { /* "latest", or t is old and reserve ran past it */
            mdf_reader_note(r, 0, NULL);
            return 0;
        }
    }
    uint64_t s = r->next;
    if (n > r->capacity) n = r->capacity; /* a tail beyond `reserve`: nothing that a sound writer stores */
    uint64_t run = r->capacity - (s & r->mask); /* to the end of the ring; then from its beginning */
    if (run > n) run = n;
    uint64_t *to = (uint64_t *)out;
    uint8_t *slots = (uint8_t *)(uintptr_t)r->slots;
    mdf_copy_words(to, mdf_slot(slots, s, r->mask, r->words), run * r->words);
    mdf_copy_words(to + run * r->words, mdf_slot(slots, s + run, r->mask, r->words), (n - run) * r->words);
    while (n < max && n < r->capacity) { /* what came meanwhile */
        const uint64_t *d = mdf_slot(slots, s + n, r->mask, r->words);
        if (mdf_load_acquire(d) != s + n) break;
        mdf_copy_words(to + n++ * r->words, d, r->words);
    }
    mdf_fence_acquire();
    reserve = mdf_load(&r->h->reserve);
    uint64_t bad = s + r->capacity < reserve ? reserve - r->capacity - s : 0; /* exactly the first may be torn */
    if (bad > n) bad = n;
    if (bad) mdf_reader_lose(r, s + bad);
    r->next = s + n;
    r->burst = n >= MDF_FEW;
    *skip = bad;
    mdf_reader_note(r, n - bad, bad < n ? (const uint64_t *)out + bad * r->words : NULL);
    return n - bad;
}

/* Up to `max` records. They begin at out + *skip * slot_size: what was overwritten during the copy is left
 * out and counted. Returns their number; 0 with r->lost raised is possible. got + lost == next - start. */
static inline uint64_t mdf_read_batch(mdf_reader *r, void *out, uint64_t max, uint64_t *skip) {
    uint64_t n = mdf_ahead(r, max);
    *skip = 0;
    return n ? mdf_read_found(r, out, n, max, skip) : 0;
}

static inline int mdf_changed(const mdf_reader *r) {
    return mdf_load32(&r->h->state) != r->seen_state || mdf_load(&r->h->epoch) != r->seen_epoch;
}

/* Something to look at: a record, or a change of the writer's state. */
static inline int mdf_ready(const mdf_reader *r) { return mdf_ahead(r, 1) || mdf_changed(r); }

/* Announce a sleep. 1: look again at once; 0: sleep on (wake_gen, *gen). The order of the lines matters: the
 * generation first, then the announcement, then the second look; every other order loses a wake-up. */
static inline int mdf_prepare_wait(const mdf_reader *r, uint32_t *gen) {
    *gen = mdf_load32_acquire(&r->h->wake_gen);
    if (r->registry) __atomic_store_n(&r->registry->waiters, 1u, __ATOMIC_RELAXED);
    mdf_fence_full();
    return mdf_ready(r);
}

enum mdf_waited { MDF_TIMEOUT = 0, MDF_READY = 1, MDF_INTERRUPTED = 2 };

/* Spin for spin_ns, then sleep until the ring has something, at most timeout_ns in all (from the call). */
static inline int mdf_wait(mdf_reader *r, int64_t spin_ns, int64_t timeout_ns) {
    if (mdf_at_hand(r) || mdf_changed(r)) return MDF_READY;
    int64_t start = mdf_clock_ns(CLOCK_MONOTONIC), now = start;
    for (int patient = 1; now - start < spin_ns && now - start < timeout_ns; patient = 0) {
        for (int i = 0; i < MDF_LOOKS; i++) {
            if (patient ? mdf_at_hand(r) || mdf_changed(r) : mdf_ready(r)) return MDF_READY;
            mdf_pause();
        }
        now = mdf_clock_ns(CLOCK_MONOTONIC);
    }
    int64_t slice_max = r->registry ? MDF_WAIT_SLICE_NS : MDF_BLIND_SLICE_NS;
    if (r->consumer) __atomic_store_n(&r->consumer->heartbeat_ns, now, __ATOMIC_RELAXED);
    while (now - start < timeout_ns) {
        uint32_t gen;
        if (mdf_prepare_wait(r, &gen)) return MDF_READY;
        int64_t slice = timeout_ns - (now - start);
        if (slice > slice_max) slice = slice_max;
        struct timespec ts = {(time_t)(slice / 1000000000), (long)(slice % 1000000000)};
        if (r->consumer) mdf_count(&r->consumer->sleeps, 1);
        long rc = mdf_futex(&r->h->wake_gen, FUTEX_WAIT, gen, &ts);
        if (rc == -1 && errno == EINTR) return MDF_INTERRUPTED;
        if (mdf_ready(r)) return MDF_READY;
        now = mdf_clock_ns(CLOCK_MONOTONIC);
    }
    return MDF_TIMEOUT;
}

/* The caller has seen state and epoch: mdf_wait returns for the next change only. */
static inline void mdf_acknowledge_state(mdf_reader *r) {
    r->seen_epoch = mdf_load_acquire(&r->h->epoch);
    r->seen_state = mdf_load32_acquire(&r->h->state); /* whoever sees CLOSED and finds no record has read all */
}

static inline uint64_t mdf_lag(const mdf_reader *r) { return mdf_available(r); }

/* mdf_read_instrument for who has no reader. `capacity`: entries of the table as it was when the ring was mapped. */
static inline int mdf_copy_instrument(const mdf_ring_header *h, const mdf_instrument *table, uint32_t capacity,
                                      uint64_t index, mdf_instrument *out) {
    if (index >= mdf_load_acquire(&h->instruments_count) || index >= capacity) return -1;
    const mdf_instrument *e = table + index;
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint32_t v = mdf_load32_acquire(&e->version);
        if (v & 1) { mdf_pause(); continue; }
        mdf_copy_words((uint64_t *)(void *)out, (const uint64_t *)(const void *)e, sizeof *e / 8);
        mdf_fence_acquire();
        if (mdf_load32(&e->version) == v) return 0;
    }
    return -2;
}

/* Copy instrument `index` (0 ...). 0 done, -1 out of range, -2 the writer is changing it: try again. */
static inline int mdf_read_instrument(const mdf_reader *r, uint64_t index, mdf_instrument *out) {
    return mdf_copy_instrument(r->h, r->instruments, r->instruments_capacity, index, out);
}

/* ------------------------------------------------------------------------- life of a segment: common part */

enum mdf_error {
    MDF_E_SYSTEM = -1,   /* a system call failed */
    MDF_E_MISSING = -2,  /* no such ring */
    MDF_E_DENIED = -3,   /* another user's */
    MDF_E_MISMATCH = -4, /* another ABI, record layout or slot size */
    MDF_E_CORRUPT = -5,  /* not a ring, or damaged */
    MDF_E_BUSY = -6,     /* another writer, or a consumer of the same name, is alive */
    MDF_E_SPACE = -7,    /* no memory in the file system, or a table is full */
    MDF_E_ARGUMENT = -8,
};

/* Every function below that can fail fills `err` (MDF_ERR bytes) with one sentence and returns a code. */
__attribute__((format(printf, 3, 4), cold, unused))
static int mdf_fail(char *err, int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err, MDF_ERR, format, arguments);
    va_end(arguments);
    return code;
}

static inline int mdf_fail_errno(char *err, const char *what, const char *path) {
    int e = errno;
    int code = e == ENOENT ? MDF_E_MISSING : e == EACCES || e == EPERM ? MDF_E_DENIED
             : e == ENOSPC ? MDF_E_SPACE : MDF_E_SYSTEM;
    return mdf_fail(err, code, "cannot %s %s: %s", what, path, strerror(e));
}

/* Open-file-description lock on one byte: 0 taken, 1 held by somebody else, -1 error. */
static inline int mdf_lock_byte(int fd, off_t byte) {
    struct flock l;
    memset(&l, 0, sizeof l);
    l.l_type = F_WRLCK; l.l_whence = SEEK_SET; l.l_start = byte; l.l_len = 1;
    if (fcntl(fd, F_OFD_SETLK, &l) == 0) return 0;
    return errno == EAGAIN || errno == EACCES ? 1 : -1;
}

static inline void mdf_unlock_byte(int fd, off_t byte) {
    struct flock l;
    memset(&l, 0, sizeof l);
    l.l_type = F_UNLCK; l.l_whence = SEEK_SET; l.l_start = byte; l.l_len = 1;
    fcntl(fd, F_OFD_SETLK, &l); /* cannot fail on a lock held; if it does, the next claim waits and tells */
}

/* Is the byte locked through another description than fd's own, by one who may write the file? Works on a read-only
 * fd. Asked as a read lock would ask, so that a reader's own read lock is nobody's sign of life. */
static inline int mdf_byte_locked(int fd, off_t byte) {
    struct flock l;
    memset(&l, 0, sizeof l);
    l.l_type = F_RDLCK; l.l_whence = SEEK_SET; l.l_start = byte; l.l_len = 1;
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static inline int mdf_writer_alive(int ring_fd) { return mdf_byte_locked(ring_fd, 0); }
static inline int mdf_consumer_alive(int registry_fd, unsigned i) { return mdf_byte_locked(registry_fd, i); }

static inline void mdf_registry_path(char *out, size_t n, const char *path) { snprintf(out, n, "%s.readers", path); }

/* A file without a name in the folder of `path`, so that a crash before mdf_name_file leaves nothing. */
static inline int mdf_unnamed_file(const char *path, mode_t mode, char *err) {
    char dir[1024];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (!n || n >= sizeof dir) return mdf_fail(err, MDF_E_ARGUMENT, "%s: not an absolute path", path);
    memcpy(dir, path, n);
    dir[n] = 0;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd < 0) return mdf_fail_errno(err, "create a shared memory file in", dir);
    if (fchmod(fd, mode)) { /* umask cut it: readers are in the group */
        int code = mdf_fail_errno(err, "set the mode of", path);
        close(fd);
        return code;
    }
    return fd;
}

static inline void mdf_temporary_path(char *out, size_t n, const char *path) { snprintf(out, n, "%s.new", path); }

/* Give the file its name. replace=0: fails with EEXIST where the name is taken. */
static inline int mdf_name_file(int fd, const char *path, int replace) {
    char self[64], temporary[1100];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (!replace) return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    mdf_temporary_path(temporary, sizeof temporary, path);
    if (linkat(AT_FDCWD, self, AT_FDCWD, temporary, AT_SYMLINK_FOLLOW)) return -1;
    MDF_AFTER_STORE();
    return rename(temporary, path);
}

static inline int mdf_allocate(int fd, uint64_t from, uint64_t bytes, const char *path, char *err) {
    int e = EINTR;
    for (int attempt = 0; e == EINTR && attempt < 100; attempt++) e = posix_fallocate(fd, (off_t)from, (off_t)bytes);
    if (!e) return 0;
    if (e != ENOSPC) return mdf_fail(err, MDF_E_SYSTEM, "cannot allocate %s: %s", path, strerror(e));
    struct statvfs v;
    memset(&v, 0, sizeof v);
    fstatvfs(fd, &v);
    return mdf_fail(err, MDF_E_SPACE,
                    "%s needs %llu bytes, and the file system has %llu free: make the ring smaller or the file system "
                    "larger (in a container: --shm-size, or an emptyDir with medium: Memory)",
                    path, (unsigned long long)bytes, (unsigned long long)v.f_bavail * v.f_frsize);
}

/* An address for `size` bytes that huge pages of a file can be mapped at as such, or NULL: wherever it likes. What
 * is reserved for it is replaced by the mapping itself. */
static inline void *mdf_huge_place(size_t size) {
    if (size < MDF_HUGE_PAGE) return NULL;
    uint8_t *room = (uint8_t *)mmap(NULL, size + MDF_HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return NULL;
    uint64_t end = (size + MDF_PAGE - 1) / MDF_PAGE * MDF_PAGE; /* of what stays, from its begin on */
    uint64_t skip = (MDF_HUGE_PAGE - (uintptr_t)room % MDF_HUGE_PAGE) % MDF_HUGE_PAGE;
    if (skip) munmap(room, skip);
    if (skip + end < size + MDF_HUGE_PAGE) munmap(room + skip + end, size + MDF_HUGE_PAGE - skip - end);
    return room + skip;
}

/* The registry may be written by readers, so any of them can cut it short, and a touch of what is gone is SIGBUS. A
 * process that called mdf_survive_cuts() finds zeros there instead: a cut registry has no consumers and nobody who
 * sleeps, a cut ring has no records. What is mapped is noted here; with all places taken, the rest is not covered. */
#define MDF_MAPS 512
static struct { uintptr_t from, size; } mdf_maps[MDF_MAPS];
static uint64_t mdf_cuts_survived __attribute__((unused));
static struct sigaction mdf_bus_before;

static inline void mdf_note_map(void *p, size_t size) {
    for (int i = 0; i < MDF_MAPS; i++) {
        uintptr_t none = 0;
        if (!__atomic_compare_exchange_n(&mdf_maps[i].from, &none, (uintptr_t)p, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
        __atomic_store_n(&mdf_maps[i].size, size, __ATOMIC_RELEASE);
        return;
    }
}

static inline void mdf_unmap(void *p, size_t size) {
    for (int i = 0; i < MDF_MAPS; i++) {
        if (__atomic_load_n(&mdf_maps[i].from, __ATOMIC_RELAXED) != (uintptr_t)p) continue;
        __atomic_store_n(&mdf_maps[i].size, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&mdf_maps[i].from, 0, __ATOMIC_RELEASE);
        break;
    }
    munmap(p, size);
}

__attribute__((unused))
static void mdf_on_bus_error(int number, siginfo_t *info, void *context) {
    int kept = errno;
    for (int i = 0; i < MDF_MAPS; i++) {
        uintptr_t from = __atomic_load_n(&mdf_maps[i].from, __ATOMIC_ACQUIRE);
        uintptr_t size = __atomic_load_n(&mdf_maps[i].size, __ATOMIC_ACQUIRE);
        if (!from || (uintptr_t)info->si_addr - from >= size) continue;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        if (mmap((void *)from, size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) break;
        __atomic_fetch_add(&mdf_cuts_survived, 1, __ATOMIC_RELAXED);
        errno = kept;
        return; /* what was interrupted is done again, on zeros */
    }
    if (mdf_bus_before.sa_flags & SA_SIGINFO) mdf_bus_before.sa_sigaction(number, info, context);
    else sigaction(SIGBUS, &mdf_bus_before, NULL); /* not ours: it comes again at once, and ends the process as before */
    errno = kept;
}

/* For processes that are ours alone: it takes SIGBUS, and passes on what is not about our maps. 0, or an errno. */
static inline int mdf_survive_cuts(void) {
    struct sigaction now, before;
    memset(&now, 0, sizeof now);
    if (sigaction(SIGBUS, NULL, &before)) return errno;
    if (before.sa_flags & SA_SIGINFO && before.sa_sigaction == mdf_on_bus_error) return 0;
    mdf_bus_before = before;
    now.sa_sigaction = mdf_on_bus_error;
    now.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    return sigaction(SIGBUS, &now, NULL) ? errno : 0;
}

static inline void *mdf_map(int fd, size_t size, int writable) {
    void *place = mdf_huge_place(size);
    void *p = mmap(place, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | (place ? MAP_FIXED : 0), fd, 0);
    if (p == MAP_FAILED) {
        if (place) munmap(place, size);
        return NULL;
    }
    mdf_note_map(p, size);
    madvise(p, size, MADV_DONTFORK); /* a child's mapping would keep our lock alive after us */
    return p;
}

/* Have the ring's slots lie on huge pages from now on, as far as they fill whole ones; readers that map it later see
 * them as such, too. It costs some milliseconds, in which this thread alone waits. 0, or the reason as an errno:
 * ERANGE: the ring is smaller than one; EINVAL: the kernel (Linux 6.1 can) or the file system cannot. */
static inline int mdf_writer_use_huge_pages(const mdf_writer *w) {
    size_t size = w->h->instruments_off / MDF_HUGE_PAGE * MDF_HUGE_PAGE;
    if (!size) return ERANGE;
    madvise(w->h, size, 14 /* MADV_HUGEPAGE */); /* for the time after a page was taken away; the next one judges */
    return madvise(w->h, size, 25 /* MADV_COLLAPSE */) ? errno : 0;
}

/* Touch the pages now: the first touch of each costs microseconds. Failing is harmless (old kernel). */
static inline void mdf_prefault(void *p, size_t size, int writable) {
    madvise(p, size, writable ? 23 /* MADV_POPULATE_WRITE */ : 22 /* MADV_POPULATE_READ */);
}

/* A writer's files are its user's alone to write: `others` are the bits of st_mode that nobody else may have. Without
 * this, whoever was first in /dev/shm with the name could write what readers take for ours. */
static inline int mdf_check_owner(const struct stat *st, mode_t others, const char *path, char *err) {
    if (!S_ISREG(st->st_mode)) return mdf_fail(err, MDF_E_DENIED, "%s is no regular file: remove it", path);
    if (st->st_uid != geteuid())
        return mdf_fail(err, MDF_E_DENIED, "%s belongs to user %u and not to us (%u): have it removed, or write as that user",
                        path, st->st_uid, geteuid());
    if (st->st_mode & others)
        return mdf_fail(err, MDF_E_DENIED, "%s may be written by others (mode %03o): remove it", path, st->st_mode & 0777);
    return 0;
}

static inline uint64_t mdf_page_up(uint64_t n) { return (n + MDF_PAGE - 1) / MDF_PAGE * MDF_PAGE; }

/* Everything that must hold before a byte of the file is believed. size: of the file. `h` is a copy where another
 * process may write the ring meanwhile. */
static inline int mdf_check_header(const mdf_ring_header *h, uint64_t size, const char *path, char *err) {
    if (mdf_load_acquire(&h->magic) != MDF_RING_MAGIC)
        return mdf_fail(err, MDF_E_CORRUPT, "%s is not an mdfeedd ring", path);
    if (h->abi_major != MDF_ABI_MAJOR)
        return mdf_fail(err, MDF_E_MISMATCH, "%s has ABI %u, this program has ABI %u: use the same mdfeedd version on both sides",
                        path, h->abi_major, MDF_ABI_MAJOR);
    uint64_t c = h->capacity;
    if (h->total_size != size || c < MDF_MIN_CAPACITY || c > MDF_MAX_CAPACITY || (c & (c - 1)) ||
        h->slot_size < 64 || h->slot_size % 64 || h->slot_size > MDF_MAX_SLOT_SIZE ||
        h->block < 1 || h->block > c / 4 || h->first_seq < 1 ||
        h->data_off % MDF_PAGE || h->data_off < 2 * MDF_PAGE || h->data_off > size || h->counters_off != MDF_PAGE ||
        h->instruments_off != mdf_page_up(h->data_off + c * h->slot_size) ||
        h->instrument_size != sizeof(mdf_instrument) || h->instruments_capacity < 1 ||
        h->instruments_capacity > MDF_MAX_INSTRUMENTS || h->layout_len >= sizeof h->layout ||
        h->layout[sizeof h->layout - 1] || h->feed[sizeof h->feed - 1] ||
        mdf_load(&h->instruments_count) > h->instruments_capacity ||
        h->instruments_off + (uint64_t)h->instruments_capacity * h->instrument_size != size)
        return mdf_fail(err, MDF_E_CORRUPT, "%s is damaged: its header contradicts itself or its size (%llu bytes)",
                        path, (unsigned long long)size);
    return 0;
}

static inline int mdf_check_layout(const mdf_ring_header *h, const char *layout, uint32_t slot_size, const char *path, char *err) {
    if (h->slot_size == slot_size && strlen(layout) == h->layout_len && !memcmp(h->layout, layout, h->layout_len)) return 0;
    return mdf_fail(err, MDF_E_MISMATCH, "%s holds records of another layout: found '%.80s...' in slots of %u bytes, expected '%.80s...' in slots of %u",
                    path, h->layout, h->slot_size, layout, slot_size);
}

static inline void mdf_boot_id(uint8_t out[16]) {
    char text[37] = {0};
    memset(out, 0, 16);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return; /* hidden by a sandbox: zero means unknown */
    if (read(fd, text, 36) == 36)
        for (int i = 0, j = 0; i < 36 && j < 32; i++) {
            char c = text[i];
            int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (v >= 0) { out[j / 2] = (uint8_t)(out[j / 2] << 4 | v); j++; }
        }
    close(fd);
}

static inline void mdf_text(char *to, size_t size, const char *from) {
    size_t n = from ? strnlen(from, size - 1) : 0;
    memset(to, 0, size);
    if (n) memcpy(to, from, n);
}

/* ------------------------------------------------------------------------------------- life: registry */

static inline int mdf_registry_map(int fd, const char *path, mdf_registry **out, char *err) {
    struct stat st;
    uint64_t head[2]; /* magic; ABI in the low half */
    if (fstat(fd, &st)) return mdf_fail_errno(err, "look at", path);
    if (pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && head[0] == MDF_REGISTRY_MAGIC && (uint32_t)head[1] != MDF_ABI_MAJOR)
        return mdf_fail(err, MDF_E_MISMATCH, "%s has ABI %u, this program has ABI %u: use the same mdfeedd version on both sides",
                        path, (uint32_t)head[1], MDF_ABI_MAJOR);
    if (st.st_size != (off_t)sizeof(mdf_registry))
        return mdf_fail(err, MDF_E_CORRUPT, "%s is not a consumers registry (%lld bytes)", path, (long long)st.st_size);
    mdf_registry *r = (mdf_registry *)mdf_map(fd, sizeof *r, 1);
    if (!r) return mdf_fail_errno(err, "map", path);
    if (mdf_load_acquire(&r->magic) != MDF_REGISTRY_MAGIC || r->abi_major != MDF_ABI_MAJOR || r->consumers != MDF_CONSUMERS) {
        mdf_unmap(r, sizeof *r);
        return mdf_fail(err, MDF_E_CORRUPT, "%s is not a consumers registry of ABI %u", path, MDF_ABI_MAJOR);
    }
    *out = r;
    return 0;
}

/* The writer makes the registry, once; it outlives ring and writer. One that a reader has cut or overwritten is made
 * anew, or that reader could keep the writer away for ever. Returns the fd. */
static inline int mdf_registry_create(const char *ring_path, mdf_registry **out, char *err) {
    char path[1100];
    mdf_registry_path(path, sizeof path, ring_path);
    for (int attempt = 0; attempt < 3; attempt++) {
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno != ENOENT) return mdf_fail_errno(err, "open", path);
        if (fd < 0) {
            fd = mdf_unnamed_file(path, MDF_REGISTRY_MODE, err);
            if (fd < 0) return fd;
            int code = mdf_allocate(fd, 0, sizeof(mdf_registry), path, err);
            mdf_registry *r = code ? NULL : (mdf_registry *)mdf_map(fd, sizeof *r, 1);
            if (!r) { if (!code) code = mdf_fail_errno(err, "map", path); close(fd); return code; }
            r->abi_major = MDF_ABI_MAJOR;
            r->consumers = MDF_CONSUMERS;
            mdf_store_release(&r->magic, MDF_REGISTRY_MAGIC);
            mdf_unmap(r, sizeof *r);
            if (mdf_name_file(fd, path, 0)) {
                int taken = errno == EEXIST;
                code = mdf_fail_errno(err, "name", path);
                close(fd);
                if (taken) continue; /* another writer was faster: use its */
                return code;
            }
            MDF_AFTER_STORE();
        }
        struct stat st;
        int code = fstat(fd, &st) ? mdf_fail_errno(err, "look at", path) : mdf_check_owner(&st, S_IWOTH, path, err);
        if (!code) code = mdf_registry_map(fd, path, out, err);
        if (!code) return fd;
        close(fd);
        if (code != MDF_E_CORRUPT) return code;
        if (unlink(path) && errno != ENOENT) return mdf_fail_errno(err, "remove the damaged", path);
    }
    return mdf_fail(err, MDF_E_BUSY, "%s keeps appearing and vanishing", path);
}

/* --------------------------------------------------------------------------------------- life: writer */

typedef struct mdf_ring_options {
    const char *feed, *layout;
    uint32_t slot_size, feed_index, instruments_capacity;
    uint64_t capacity; /* a power of two */
} mdf_ring_options;

static inline void mdf_writer_unmap(mdf_writer *w) {
    if (w->h) mdf_unmap(w->h, w->map_size);
    if (w->fd >= 0) close(w->fd);
    w->h = NULL;
    w->fd = -1;
}

static inline int mdf_writer_map(mdf_writer *w, uint64_t size, const char *path, char *err) {
    uint8_t *base = (uint8_t *)mdf_map(w->fd, size, 1);
    if (!base) return mdf_fail_errno(err, "map", path);
    w->h = (mdf_ring_header *)(void *)base;
    w->map_size = size;
    return 0;
}

static inline void mdf_writer_bind(mdf_writer *w) { /* header checked or just written */
    mdf_ring_header *h = w->h;
    uint8_t *base = (uint8_t *)h;
    w->slots = base + h->data_off;
    w->instruments = (mdf_instrument *)(void *)(base + h->instruments_off);
    w->counters = (uint64_t *)(void *)(base + h->counters_off);
    w->capacity = h->capacity;
    w->mask = h->capacity - 1;
    w->words = h->slot_size / 8;
    w->block = h->block;
    w->instruments_backed = (uint32_t)mdf_load(&h->instruments_count);
    w->flags_at = mdf_timed_flags(h->layout, h->slot_size);
    mdf_prefault(h, h->instruments_off, 1);
}

/* Instrument ids keep their meaning when a ring is replaced. The new ring has no reader yet: plain copies. */
static inline int mdf_inherit_instruments(mdf_writer *w, const mdf_ring_header *old, const char *path, char *err) {
    mdf_ring_header *h = w->h;
    uint64_t n = mdf_load(&old->instruments_count);
    if (n > h->instruments_capacity)
        return mdf_fail(err, MDF_E_ARGUMENT, "%s has %llu instruments: an instruments table of %u entries is too small", path,
                        (unsigned long long)n, h->instruments_capacity);
    if (h->feed_index != old->feed_index || !n) return 0; /* other ids: the table begins anew */
    uint64_t backed = (n + MDF_INSTRUMENT_CHUNK - 1) / MDF_INSTRUMENT_CHUNK * MDF_INSTRUMENT_CHUNK;
    if (backed > h->instruments_capacity) backed = h->instruments_capacity;
    int code = mdf_allocate(w->fd, h->instruments_off, backed * sizeof(mdf_instrument), path, err);
    if (code) return code;
    memcpy((uint8_t *)h + h->instruments_off, (const uint8_t *)old + old->instruments_off, n * sizeof(mdf_instrument));
    h->instruments_count = n;
    h->instruments_version = mdf_load(&old->instruments_version) + 1;
    return 0;
}

/* Make a whole ring and only then give it its name. `old`: the ring it replaces, or NULL. */
static inline int mdf_writer_create(mdf_writer *w, const char *path, const mdf_ring_options *o,
                                    const mdf_ring_header *old, char *err) {
    uint64_t instruments_off = mdf_page_up(2 * MDF_PAGE + o->capacity * o->slot_size);
    uint64_t size = instruments_off + (uint64_t)o->instruments_capacity * sizeof(mdf_instrument);
    w->fd = mdf_unnamed_file(path, MDF_RING_MODE, err);
    if (w->fd < 0) return w->fd;
    int code = mdf_allocate(w->fd, 0, instruments_off, path, err); /* instruments get memory as they come */
    if (!code && ftruncate(w->fd, (off_t)size)) code = mdf_fail_errno(err, "size", path);
    if (!code && mdf_lock_byte(w->fd, 0)) code = mdf_fail_errno(err, "lock", path);
    if (!code) code = mdf_writer_map(w, size, path, err);
    if (code) { mdf_writer_unmap(w); return code; }
    mdf_ring_header *h = w->h;
    h->abi_major = MDF_ABI_MAJOR; h->abi_minor = MDF_ABI_MINOR;
    h->total_size = size; h->capacity = o->capacity; h->data_off = 2 * MDF_PAGE; h->counters_off = MDF_PAGE;
    h->slot_size = o->slot_size; h->block = MDF_BLOCK;
    h->instruments_off = instruments_off; h->instrument_size = sizeof(mdf_instrument);
    h->instruments_capacity = o->instruments_capacity; h->feed_index = o->feed_index;
    h->created_ns = mdf_clock_ns(CLOCK_REALTIME);
    mdf_text(h->feed, sizeof h->feed, o->feed);
    mdf_text(h->layout, sizeof h->layout, o->layout);
    h->layout_len = (uint32_t)strlen(h->layout);
    mdf_boot_id(h->boot_id);
    uint64_t last = 0, epoch = 0;
    if (old) { /* the sequence space, the epochs, the instruments and the counters go on */
        last = mdf_load_acquire(&old->tail);
        epoch = mdf_load(&old->epoch);
        memcpy(h->ring_id, old->ring_id, 16);
        memcpy((uint8_t *)h + h->counters_off, (const uint8_t *)old + old->counters_off, MDF_PAGE);
        code = mdf_inherit_instruments(w, old, path, err);
        if (code) { mdf_writer_unmap(w); return code; }
    } else if (getrandom(h->ring_id, 16, 0) != 16) {
        code = mdf_fail_errno(err, "name the sequence space of", path);
        mdf_writer_unmap(w);
        return code;
    }
    h->first_seq = last + 1; h->reserve = last + 1; h->tail = last;
    h->epoch = epoch + 1; h->epoch_first_seq = last + 1; h->state = MDF_LIVE; h->pid = (uint32_t)getpid();
    mdf_beat(w);
    mdf_writer_bind(w);
    w->next = last + 1; w->flushed = last; w->reserved = h->reserve; w->wake_gen = 0;
    mdf_store_release(&h->magic, MDF_RING_MAGIC);
    if (mdf_name_file(w->fd, path, old != NULL)) {
        int taken = errno == EEXIST;
        code = mdf_fail_errno(err, "name", path);
        mdf_writer_unmap(w);
        return taken ? MDF_E_BUSY : code;
    }
    MDF_AFTER_STORE();
    return 0;
}

/* Take an existing file: 0 taken over, 1 vanished meanwhile (try again), or an error. */
static inline int mdf_writer_take(mdf_writer *w, const char *path, const mdf_ring_options *o, char *err) {
    struct stat st, named;
    int busy = mdf_lock_byte(w->fd, 0);
    if (busy < 0) return mdf_fail_errno(err, "lock", path);
    if (fstat(w->fd, &st)) return mdf_fail_errno(err, "look at", path);
    if (busy && !mdf_writer_alive(w->fd))
        return mdf_fail(err, MDF_E_BUSY, "%s has no living writer, and a reader holds a lock that keeps others out: end that reader", path);
    if (busy) return mdf_fail(err, MDF_E_BUSY, "%s already has a living writer", path);
    if (stat(path, &named) || named.st_ino != st.st_ino || named.st_dev != st.st_dev) return 1;
    char temporary[1100];
    mdf_temporary_path(temporary, sizeof temporary, path);
    unlink(temporary); /* left by a kill in the middle of a replacement; our lock keeps others out */
    int code = mdf_check_owner(&st, S_IWGRP | S_IWOTH, path, err);
    if (code) return code;
    if (st.st_size < (off_t)sizeof(mdf_ring_header))
        return mdf_fail(err, MDF_E_CORRUPT, "%s is not an mdfeedd ring (%lld bytes)", path, (long long)st.st_size);
    code = mdf_writer_map(w, (uint64_t)st.st_size, path, err);
    if (!code) code = mdf_check_header(w->h, (uint64_t)st.st_size, path, err);
    if (code) return code;
    mdf_ring_header *h = w->h;
    uint64_t ahead = mdf_load_acquire(&h->reserve) - mdf_load_acquire(&h->tail);
    if (ahead < 1 || ahead > h->capacity) /* readers would count all that comes as lost, for ever */
        return mdf_fail(err, MDF_E_CORRUPT, "%s is damaged: it reserves %llu records beyond its tail", path, (unsigned long long)ahead);
    char ignored[MDF_ERR];
    if (h->capacity == o->capacity && h->instruments_capacity == o->instruments_capacity && h->feed_index == o->feed_index &&
        mdf_load32(&h->state) != MDF_SUPERSEDED && !mdf_check_layout(h, o->layout, o->slot_size, path, ignored)) {
        if (h->abi_minor < MDF_ABI_MINOR) mdf_store32(&h->abi_minor, MDF_ABI_MINOR); /* what it had reserved is zero */
        mdf_writer_bind(w);
        mdf_recover(w);
        return 0;
    }
    mdf_writer replaced = *w; /* its lock keeps other writers out until the new name stands */
    mdf_writer_bind(&replaced);
    mdf_recover(&replaced); /* so that tail is exact */
    w->h = NULL;
    code = mdf_writer_create(w, path, o, replaced.h, err);
    if (!code) {
        mdf_store32_release(&replaced.h->state, MDF_SUPERSEDED); /* readers drain it, then open the new one */
        mdf_wake_all(&replaced);
    }
    mdf_writer_unmap(&replaced);
    return code;
}

static inline int mdf_check_options(const mdf_ring_options *o, const char *path, char *err) {
    uint64_t c = o->capacity;
    if (c < MDF_MIN_CAPACITY || c > MDF_MAX_CAPACITY || (c & (c - 1)))
        return mdf_fail(err, MDF_E_ARGUMENT, "%s: capacity %llu is not a power of two from %u to %u", path,
                        (unsigned long long)c, MDF_MIN_CAPACITY, MDF_MAX_CAPACITY);
    if (o->slot_size < 64 || o->slot_size % 64 || o->slot_size > MDF_MAX_SLOT_SIZE)
        return mdf_fail(err, MDF_E_ARGUMENT, "%s: slot size %u is not a multiple of 64 up to %u", path, o->slot_size, MDF_MAX_SLOT_SIZE);
    if (!o->instruments_capacity || o->instruments_capacity > MDF_MAX_INSTRUMENTS || o->feed_index > 255)
        return mdf_fail(err, MDF_E_ARGUMENT, "%s: instruments_capacity must be 1 to %u, feed_index 0 to 255", path, MDF_MAX_INSTRUMENTS);
    if (strlen(o->layout) >= sizeof(((mdf_ring_header *)0)->layout))
        return mdf_fail(err, MDF_E_ARGUMENT, "%s: the record layout has too many fields to describe", path);
    return 0;
}

/* Become the one writer of the ring at `path`: made if missing, continued if it has the same geometry and
 * layout, else replaced with the sequence going on. Errors: MDF_E_BUSY, MDF_E_SPACE, MDF_E_DENIED ... */
static inline int mdf_writer_open(mdf_writer *w, const char *path, const mdf_ring_options *o, char *err) {
    memset(w, 0, sizeof *w);
    w->fd = w->registry_fd = -1;
    int code = mdf_check_options(o, path, err);
    if (code) return code;
    char registry_path[1100];
    mdf_registry_path(registry_path, sizeof registry_path, path);
    int had_registry = !access(registry_path, F_OK);
    w->registry_fd = mdf_registry_create(path, &w->registry, err);
    if (w->registry_fd < 0) return w->registry_fd;
    code = 1;
    for (int attempt = 0; code == 1 && attempt < 5; attempt++) {
        w->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (w->fd >= 0) {
            code = mdf_writer_take(w, path, o, err);
            if (code) mdf_writer_unmap(w);
        } else if (errno == ENOENT) {
            code = mdf_writer_create(w, path, o, NULL, err);
            if (code == MDF_E_BUSY) code = 1; /* made by another in between: look who that is */
        } else {
            code = mdf_fail_errno(err, "open", path);
        }
    }
    if (code) {
        if (code == 1) code = mdf_fail(err, MDF_E_BUSY, "%s keeps appearing and vanishing", path);
        if (!had_registry && access(path, F_OK)) unlink(registry_path); /* no ring came of it: leave nothing */
        mdf_unmap(w->registry, sizeof *w->registry);
        close(w->registry_fd);
    }
    return code;
}

/* Detach. announce=1: tell readers that the ring is closed (a clean end); 0: as if killed. The file stays. */
static inline void mdf_writer_close(mdf_writer *w, int announce) {
    if (!w->h) return;
    if (announce) {
        mdf_store32_release(&w->h->state, MDF_CLOSED);
        mdf_wake_all(w);
        mdf_unlock_byte(w->fd, 0); /* a child that was forked a moment ago may not have closed its copy yet */
    }
    mdf_writer_unmap(w);
    mdf_unmap(w->registry, sizeof *w->registry);
    close(w->registry_fd);
    w->registry_fd = -1;
}

/* Write the entry at `index`, which is the count (append) or less (change). `entry->version` is ignored.
 * The entry is first written down in the header, so that a writer killed halfway leaves no entry that is
 * half old and half new for ever: the next writer carries the intention out. */
static inline int mdf_instrument_put(mdf_writer *w, uint32_t index, const mdf_instrument *entry, char *err) {
    mdf_ring_header *h = w->h;
    uint64_t count = mdf_load(&h->instruments_count);
    if (index > count) return mdf_fail(err, MDF_E_ARGUMENT, "instrument index %u: the table has %llu", index, (unsigned long long)count);
    if (index >= h->instruments_capacity)
        return mdf_fail(err, MDF_E_SPACE, "the instruments table of %s is full at %u entries", h->feed, h->instruments_capacity);
    if (index >= w->instruments_backed) {
        uint64_t n = h->instruments_capacity - w->instruments_backed;
        if (n > MDF_INSTRUMENT_CHUNK) n = MDF_INSTRUMENT_CHUNK;
        int code = mdf_allocate(w->fd, h->instruments_off + (uint64_t)w->instruments_backed * sizeof *entry,
                                n * sizeof *entry, h->feed, err);
        if (code) return code;
        w->instruments_backed += (uint32_t)n;
    }
    const uint8_t *from = (const uint8_t *)entry;
    for (size_t i = 0; i < sizeof *entry / 8; i++) mdf_store(&h->intended[i], mdf_unaligned(from + 8 * i));
    mdf_store_release(&h->intent, (uint64_t)index + 1);
    mdf_instrument_carry_out(w);
    return 0;
}

/* --------------------------------------------------------------------------------------- life: reader */

#define MDF_START_NOW INT64_C(-1)    /* the next record published */
#define MDF_START_OLDEST INT64_C(0)  /* the oldest record whole; a busy writer may lap that at once */
#define MDF_START_RESUME INT64_C(-2) /* after what the consumer of this name had acked or read; else oldest */
/* a positive number: that sequence number; what is gone by then counts as lost */

/* One claim at a time: two consumers of one name would each find no other, and both live. 0, or an error. */
static inline int mdf_claim_begin(int registry_fd, const char *path, char *err) {
    const struct timespec pause = {0, 1000000};
    for (int attempt = 0; attempt < MDF_CLAIM_ATTEMPTS; attempt++) {
        int busy = mdf_lock_byte(registry_fd, MDF_CONSUMERS);
        if (busy < 0) return mdf_fail_errno(err, "lock the registry of", path);
        if (!busy) return 0;
        nanosleep(&pause, NULL);
    }
    return mdf_fail(err, MDF_E_BUSY, "%s: another consumer is stuck in taking its slot", path);
}

/* Claim a consumer slot: the one of this name, else a fresh one, else the dead one that was idle longest. */
static inline int mdf_consumer_claim(mdf_reader *r, const char *name, const char *path, char *err) {
    int best = -1;
    for (int pass = 0; pass < 3 && best < 0; pass++) {
        int64_t oldest = INT64_MAX;
        int candidate = -1;
        for (int i = 0; i < (int)MDF_CONSUMERS; i++) {
            mdf_consumer *c = &r->registry->consumer[i];
            int named = mdf_load32(&c->used) && !strncmp(c->name, name, sizeof c->name - 1);
            if (pass == 0 && named && mdf_consumer_alive(r->registry_fd, (unsigned)i))
                return mdf_fail(err, MDF_E_BUSY, "%s already has a living consumer named '%s' (pid %u)", path, name, c->pid);
            int fits = pass == 0 ? named : pass == 1 ? !mdf_load32(&c->used) : !mdf_consumer_alive(r->registry_fd, (unsigned)i);
            if (!fits) continue;
            int64_t beat = pass == 2 ? __atomic_load_n(&c->heartbeat_ns, __ATOMIC_RELAXED) : 0;
            if (candidate < 0 || beat < oldest) { candidate = i; oldest = beat; }
            if (pass < 2 && mdf_lock_byte(r->registry_fd, i) == 0) { best = i; break; }
        }
        if (pass == 2 && candidate >= 0 && mdf_lock_byte(r->registry_fd, candidate) == 0) best = candidate;
    }
    if (best < 0) return mdf_fail(err, MDF_E_SPACE, "%s has %u consumers already", path, MDF_CONSUMERS);
    r->consumer = &r->registry->consumer[best];
    r->latency = &r->registry->latency[best];
    r->consumer_index = best;
    return 0;
}

/* Whether the slot tells of the same consumer on the same sequence space. */
static inline int mdf_consumer_known(const mdf_reader *r, const char *name) {
    const mdf_consumer *c = r->consumer;
    return c && name && mdf_load32(&c->used) && !strncmp(c->name, name, sizeof c->name - 1) &&
           !memcmp(c->ring_id, r->h->ring_id, 16);
}

/* What a known consumer has acked stays at every step: killed in here, it still resumes there. */
static inline void mdf_consumer_begin(mdf_reader *r, const char *name) {
    mdf_consumer *c = r->consumer;
    if (mdf_consumer_known(r, name)) {
        mdf_store(&c->lost, 0); mdf_store(&c->overruns, 0); mdf_store(&c->reads, 0);
        mdf_store(&c->records, 0); mdf_store(&c->sleeps, 0);
        for (unsigned i = 0; i < MDF_APP_COUNTERS; i++) mdf_store(&c->app[i], 0);
    } else {
        mdf_store32_release(&c->used, 0);
        memset(c, 0, sizeof *c);
        mdf_text(c->name, sizeof c->name, name);
        memcpy(c->ring_id, r->h->ring_id, 16);
    }
    for (unsigned i = 0; i < MDF_LATENCY_BUCKETS; i++) mdf_store(&r->latency->bucket[i], 0);
    mdf_store(&r->latency->sum_ns, 0);
    r->pid = c->pid = (uint32_t)getpid();
    c->cursor = r->next - 1;
    c->heartbeat_ns = mdf_clock_ns(CLOCK_MONOTONIC);
    mdf_store32_release(&c->used, 1);
}

/* Tell that everything up to `seq` is safe: a reader of this name that resumes starts after it. */
static inline void mdf_ack(mdf_reader *r, uint64_t seq) {
    if (!r->consumer) return;
    mdf_store(&r->consumer->acked, seq);
    mdf_store32_release(&r->consumer->says_acked, 1);
}

static inline uint64_t mdf_start_seq(const mdf_reader *r, int64_t start, const char *name) {
    uint64_t reserve = mdf_load_acquire(&r->h->reserve);
    uint64_t oldest = reserve > r->capacity ? reserve - r->capacity : 1;
    if (oldest < r->h->first_seq) oldest = r->h->first_seq;
    if (start > 0) return (uint64_t)start;
    if (start == MDF_START_NOW) return mdf_load_acquire(&r->h->tail) + 1;
    const mdf_consumer *c = r->consumer;
    if (start == MDF_START_RESUME && mdf_consumer_known(r, name)) {
        uint64_t seq = (mdf_load32(&c->says_acked) ? mdf_load(&c->acked) : mdf_load(&c->cursor)) + 1;
        if (seq && seq <= reserve) return seq; /* else nobody has read that yet, and the slot is not to be believed */
    }
    return oldest;
}

static inline void mdf_reader_close(mdf_reader *r) {
    if (r->h) mdf_unmap((void *)(uintptr_t)r->h, r->map_size);
    if (r->registry) mdf_unmap(r->registry, sizeof *r->registry);
    if (r->fd >= 0) close(r->fd);
    if (r->registry_fd >= 0) { /* the mapping is gone; a forked child must not unlock, and may not have closed yet */
        if (r->pid == (uint32_t)getpid()) mdf_unlock_byte(r->registry_fd, r->consumer_index);
        close(r->registry_fd);
    }
    memset(r, 0, sizeof *r);
    r->fd = r->registry_fd = -1;
}

static inline int mdf_reader_map(mdf_reader *r, const char *path, const char *layout, uint32_t slot_size, char *err) {
    struct stat st;
    r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* of a pipe that somebody left there nobody waits */
    if (r->fd < 0) return mdf_fail_errno(err, "open ring", path);
    if (fstat(r->fd, &st)) return mdf_fail_errno(err, "look at", path);
    if (!S_ISREG(st.st_mode)) return mdf_fail(err, MDF_E_CORRUPT, "%s is not an mdfeedd ring: it is no regular file", path);
    if (st.st_size < (off_t)sizeof(mdf_ring_header))
        return mdf_fail(err, MDF_E_CORRUPT, "%s is not an mdfeedd ring (%lld bytes)", path, (long long)st.st_size);
    uint8_t *base = (uint8_t *)mdf_map(r->fd, (size_t)st.st_size, 0);
    if (!base) return mdf_fail_errno(err, "map", path);
    const mdf_ring_header *h = (const mdf_ring_header *)(const void *)base;
    r->h = h;
    r->map_size = (size_t)st.st_size;
    mdf_ring_header seen; /* the writer may be anybody, and write while we look */
    (void)mdf_load_acquire(&h->magic);
    mdf_copy_words((uint64_t *)(void *)&seen, (const uint64_t *)(const void *)h, sizeof seen / 8);
    int code = mdf_check_header(&seen, (uint64_t)st.st_size, path, err);
    if (!code && layout) code = mdf_check_layout(&seen, layout, slot_size, path, err);
    if (code) return code;
    r->slots = base + seen.data_off;
    r->instruments = (const mdf_instrument *)(const void *)(base + seen.instruments_off);
    r->counters = (const uint64_t *)(const void *)(base + seen.counters_off);
    r->capacity = seen.capacity;
    r->mask = seen.capacity - 1;
    r->words = seen.slot_size / 8;
    r->instruments_capacity = seen.instruments_capacity;
    r->flags_at = mdf_timed_flags(seen.layout, seen.slot_size);
    return 0;
}

/* Take a consumer slot (name NULL or no registry: none) and set the start. */
static inline int mdf_reader_register(mdf_reader *r, int64_t start, const char *name, const char *path, char *err) {
    size_t before_table = (size_t)((const uint8_t *)r->instruments - (const uint8_t *)(const void *)r->h);
    if (name) mdf_prefault((void *)(uintptr_t)r->h, before_table, 0); /* who only looks reads one page */
    int claims = name && r->registry;
    int code = claims ? mdf_claim_begin(r->registry_fd, path, err) : 0;
    if (code) return code;
    if (claims) code = mdf_consumer_claim(r, name, path, err);
    if (!code) {
        r->next = mdf_start_seq(r, start, name ? name : "");
        /* Asked for what only the ring before this one held: gone, and its slots here were never written. */
        if (r->next < r->h->first_seq) mdf_reader_lose(r, r->h->first_seq);
        if (r->consumer) mdf_consumer_begin(r, name);
    }
    if (claims) mdf_unlock_byte(r->registry_fd, MDF_CONSUMERS);
    return code;
}

/* Attach to the ring at `path`. layout NULL: any (then use h->slot_size). name NULL: not registered.
 * Without access to the registry it works too: unregistered, waiting in short slices. */
static inline int mdf_reader_open(mdf_reader *r, const char *path, const char *layout, uint32_t slot_size,
                                  int64_t start, const char *name, char *err) {
    char registry_path[1100];
    memset(r, 0, sizeof *r);
    r->fd = r->registry_fd = -1;
    int code = mdf_reader_map(r, path, layout, slot_size, err);
    if (code) { mdf_reader_close(r); return code; }
    mdf_registry_path(registry_path, sizeof registry_path, path);
    r->registry_fd = open(registry_path, O_RDWR | O_CLOEXEC);
    if (r->registry_fd >= 0) code = mdf_registry_map(r->registry_fd, registry_path, &r->registry, err);
    else if (errno != EACCES && errno != EROFS && errno != ENOENT) code = mdf_fail_errno(err, "open", registry_path);
    if (!code) code = mdf_reader_register(r, start, name, path, err);
    if (code) mdf_reader_close(r);
    else mdf_acknowledge_state(r);
    return code;
}

#ifdef __cplusplus
}
#endif
#endif
