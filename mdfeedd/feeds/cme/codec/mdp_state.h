/* What the handler knows: channels, their lines, instruments with their books, and the pools they share.
 *
 * All memory is taken by mdp_open(), zeroed and untouched, so that what is not used costs address space only.
 * An instrument is about 0.7 KB with its book; MDP_DEFAULT_INSTRUMENTS of them with their index are 96 MB, and
 * the queue of updates that wait for a snapshot (mdp_note) 48 bytes an entry. A channel takes 83 KB, its reorder
 * buffer, and 8 bytes for each instrument there may be.
 *
 * Whether an instrument's book is right is told by three words: `state`, and `generation` against the
 * channel's. A loss raises the channel's generation, which puts every instrument in doubt at once without
 * touching one of them; the next update or snapshot of an instrument decides (mdp_proof.h).
 */
#ifndef MDP_STATE_H
#define MDP_STATE_H

#include "mdfeedd.h"
#include "mdp_define.h"
#include "mdp_wire.h"
#include "packet.h"

#define MDP_LEVELS 10u  /* of a book's side; CME publishes ten at the most */
#define MDP_IMPLIED 2u  /* of an implied book's side */
#define MDP_MAX_CHANNELS 64u
#define MDP_MAX_LINES 512u
#define MDP_SIDES 2u            /* A and B */
#define MDP_SLOT_BYTES 2048u    /* a packet that waits for one before it; CME's are below 1,500 */
#define MDP_MAX_REORDER 65536u  /* packets */
#define MDP_REMEMBERED 1024u    /* packets whose copies are compared, a power of two */
#define MDP_NEAR_BITS 12u
#define MDP_NEAR (1u << MDP_NEAR_BITS) /* instruments of a channel that are found at one look */
#define MDP_MAX_OPEN_GAPS 64u   /* holes of a channel not yet healed; beyond, they are told healed as one */
#define MDP_STAGE 64u           /* ticks made and not yet visible */
#define MDP_MAX_EVENTS 256u     /* told to the shell, until it takes them */
#define MDP_MAX_FILTERS 256u    /* patterns of each kind */
#define MDP_FILTER_BYTES 72u
#define MDP_DEFAULT_INSTRUMENTS 131072u
#define MDP_EPOCH_NS UINT64_C(3600000000000) /* SendingTime so much later, sequence lower: a new week */
#define MDP_LATER_NS UINT64_C(1000000000) /* SendingTime so much later: no copy of anything of this sequence */
#define MDP_AGAIN_PACKETS 8u    /* so many of those, in order: the venue has begun its sequence again */
#define MDP_NONE UINT32_MAX     /* no index */

enum mdp_feed { MDP_INCREMENTAL = 0, MDP_DEFINITIONS = 1, MDP_SNAPSHOTS = 2, MDP_ORDERS = 3 };

/* UNKNOWN: nothing seen since we joined. STALE: updates are missing. SYNC: right, if its generation is the
 * channel's; else nobody knows whether the loss touched it. */
enum mdp_state { MDP_UNKNOWN = 0, MDP_STALE_BOOK = 1, MDP_SYNC = 2 };

enum mdp_side_of_book { MDP_BIDS = 0, MDP_ASKS = 1, MDP_IMPLIED_BIDS = 2, MDP_IMPLIED_ASKS = 3, MDP_SIDES_OF_BOOK = 4 };

/* What one channel's books count, beside the ticks: X(name, help). */
#define MDP_COUNTS(X)                                                                                   \
    X(packets, "packets of all lines")                                                                  \
    X(bytes, "payload bytes of all lines")                                                              \
    X(messages, "messages of accepted packets")                                                         \
    X(skipped, "messages of a known template that make no tick")                                        \
    X(unknown, "messages of a template that this version does not know")                                \
    X(malformed, "packets that contradict their own layout, not used")                                  \
    X(misplaced, "packets on a line that does not carry their kind, not used")                          \
    X(oversize, "packets too large to wait for the one before them, not used")                          \
    X(duplicates, "packets that the other line had brought already")                                    \
    X(late, "packets that came after they had been given up, or are too old to compare")                \
    X(mismatches, "packets whose copy on the other line differs")                                       \
    X(gaps, "holes that both lines have")                                                               \
    X(lost, "packets missing on both lines")                                                            \
    X(timed_out, "holes given up because the wait was over, not because both lines had passed them")    \
    X(overflows, "holes given up because the reorder buffer was full")                                  \
    X(incomplete_events, "events that a hole cut")                                                      \
    X(ended_events, "events that ended")                                                                \
    X(resets, "channel resets")                                                                         \
    X(epochs, "sequences that began again: a new week, or the venue was started again")                 \
    X(entries, "entries of the instruments selected")                                                   \
    X(unmapped, "entries without an instrument to put them to")                                         \
    X(passed_over, "entries of instruments that the filters do not choose, or of another shard")        \
    X(entry_faults, "entries that make no sense in their book")                                         \
    X(rpt_faults, "jumps of RptSeq without a lost packet")                                              \
    X(crossed, "books crossed at the end of an event while trading")                                    \
    X(stale, "books that lost updates")                                                                 \
    X(snapshots, "snapshots that mended a book")                                                        \
    X(waited, "snapshots that were older than the loss, or cut inside an event")                        \
    X(proven, "books that RptSeq or an equal snapshot proved untouched by a loss")                      \
    X(natural, "books that updates alone rebuilt")                                                      \
    X(queue_overflows, "times the queue of updates waiting for snapshots was full, and thrown away")    \
    X(definitions, "definitions that were new or changed")                                              \
    X(order_faults, "order entries that make no sense, or do not fit")                                  \
    X(quotes, "QUOTE ticks")                                                                            \
    X(trades, "TRADE ticks")                                                                            \
    X(others, "ticks of other kinds")

typedef struct mdp_counts {
#define X(name, help) uint64_t name;
    MDP_COUNTS(X)
#undef X
} mdp_counts;

/* A price level: size in the lower half of `rest`, orders in the upper. Empty: PRICE_UNDEF, 0. Whole words,
 * because to read at one width what was just written at another makes the processor wait. */
typedef struct mdp_level {
    int64_t price;
    uint64_t rest;
} mdp_level;

typedef struct mdp_touch { mdp_level bid, ask; } mdp_touch;

/* One update that waits for its instrument's snapshot. `action` MDP_NOTE_ONLY: it moves RptSeq alone. */
#define MDP_NOTE_ONLY 0xFF
typedef struct mdp_note {
    uint64_t time; /* TransactTime */
    int64_t price;
    uint32_t next, packet, rpt, size, orders;
    uint8_t action, level, type, reserved;
} mdp_note;

enum mdp_instrument_flag {
    MDP_SELECTED = 1,
    MDP_DEFINED = 2,
    MDP_DELETED = 4,   /* by a definition; its id may come back as something else */
    MDP_TOUCHED = 8,   /* a first level was written: its touch may differ from the one told */
    MDP_TOLD = 16,     /* a tick of it was flagged STALE: it will get a RECOVERED */
    MDP_HAS_IMPLIED = 32,
    MDP_CROSSED = 64,  /* told, until it is no more */
    MDP_TOUCHED_IMPLIED = 128,
};

typedef struct mdp_instrument {
    /* what every update touches */
    union {
        struct { int32_t security_id; uint32_t next_rpt; }; /* next_rpt: the last RptSeq, and one */
        uint64_t next; /* both, as they stand in the entry that goes on */
    };
    uint32_t quick;         /* generation in which the next entry is simply applied: mdp_advance(). 0: none */
    uint32_t instrument_id; /* in the ring; 0: it could not be entered */
    uint64_t time; /* TransactTime of the last update */
    uint64_t unknown; /* a bit for each of `level` that no update has told since the book came into doubt */
    uint8_t state, flags, in_event, trading_status; /* in_event: it is in the channel's `changed` */
    uint32_t generation;
    uint32_t since;         /* a snapshot must know of this packet at the least */
    uint32_t ahead;         /* a snapshot told of packets up to this one */
    uint32_t first_note, last_note, channel; /* channel: index */
    uint32_t reserved_0;
    /* By mdp_side_of_book: which of the side's levels is level 1, 2 ...; four bits each, and in the lowest four the
     * depth. An update moves these bits, not the levels. */
    uint64_t order[MDP_SIDES_OF_BOOK];
    mdp_touch told, told_implied;
    mdp_level level[2 * MDP_LEVELS + 2 * MDP_IMPLIED]; /* of all sides: mdp_level_at() */
    uint64_t group, asset;  /* six characters */
    /* orders (mdp_orders.h) */
    uint32_t mbo_generation, mbo_since, first_order, orders_n;
    uint32_t first_mbo_note, last_mbo_note;
    uint32_t chunk_first, chunk_next, chunk_total, chunk_packet;
    uint32_t mbo_ahead, next_in_channel;
    uint8_t mbo_state, seen_a, seen_b; /* seen: in which loop a snapshot of it came on S, by the line's side */
    uint8_t mbo_seen_a, mbo_seen_b;    /* the same on SMBO, be it with levels or with orders */
    uint8_t chunk_seen_a, chunk_seen_b, defined_a, defined_b; /* with orders; and on N */
    uint8_t told_stale, reserved[2];   /* of `told` (1) and `told_implied` (2): the quote was flagged */
    /* definition */
    uint64_t last_update;
    mdp_print definition_print;
} __attribute__((aligned(64))) mdp_instrument; /* whole cache lines: the first two, and the levels changed, are all
                                                * that most updates need */

/* A packet that waits for the one before it. */
typedef struct mdp_slot {
    uint32_t seq, length; /* length 0: free */
    int64_t ts_recv, now_ns;
    uint16_t ts_flags;
    uint8_t bytes[MDP_SLOT_BYTES];
} mdp_slot;

typedef struct mdp_line {
    uint32_t channel; /* index */
    uint8_t feed, side, started, broken; /* broken: a packet of the running loop is missing */
    uint8_t quiet;             /* of a loop: a heartbeat, and no report since ... */
    uint32_t quiet_generation; /* ... and no loss of the channel either */
    uint32_t last;    /* highest sequence (incremental), or the last one of the loop */
    uint32_t joined;  /* sequence at which we joined the loop */
    uint32_t reports, total, least; /* of the running loop: instruments told, TotNumReports, lowest LastMsgSeqNumProcessed */
    uint8_t loop, wrapped, behind; /* loop: its number; behind: see mdp_is_behind() */
    int32_t reported; /* SecurityID that the running loop told last */
    int64_t last_ns;
    uint64_t recent; /* a bit for each of the packets up to `last`: it has come */
    uint64_t sending;      /* of a loop: SendingTime of `last`; ... */
    uint64_t ended_recent; /* ... and the same two of the round before: */
    uint32_t ended_last;   /* its packets may still come */
    uint64_t packets, bytes, lost, late, duplicates, malformed;
} __attribute__((aligned(64))) mdp_line; /* whole cache lines */

typedef struct mdp_gap { uint64_t first, last; } mdp_gap;

/* Numbers that have passed, sent later than the last packet processed. One that is processed and was sent later
 * than the first of them ends the run. */
typedef struct mdp_again {
    uint64_t began;        /* the earliest SendingTime */
    int64_t since_ns;      /* when the run's first packet came */
    uint64_t last_sending; /* of `last` */
    uint32_t first;        /* the lowest number */
    uint32_t last, n;      /* the last of `n` whose numbers and times rise; n 0: there is no run */
    uint32_t later;        /* of these, those MDP_LATER_NS later */
} mdp_again;

typedef struct mdp_channel {
    uint32_t id, index; /* CME's number, and ours */
    uint64_t next;      /* sequence expected; 2^32 when the last one there can be has come */
    uint32_t first;     /* the first one processed in this epoch */
    uint32_t generation, last_lost; /* generation: from 1 */
    uint32_t voided; /* the generation of which it is known that a reset was lost */
    uint8_t started, from_start, after_reset, silent; /* from_start: nothing can have happened before what we saw */
    uint8_t in_event, definitions_whole, reserved[2];
    uint32_t event_ticks; /* published since the event began */
    uint32_t buffered;    /* packets in `slots` ... */
    uint32_t highest;     /* ... and the last of them, while there are some */
    mdp_slot *slots;
    uint32_t lines_n, lines[8]; /* the incremental ones */
    uint32_t snapshot_lines;    /* without any, no update needs to wait for a snapshot */
    uint64_t sending; /* SendingTime of the last packet processed */
    int64_t alive_ns; /* when the last silence ended */
    uint64_t began;   /* SendingTime of the packet with which the sequence began again ... */
    uint64_t missed;  /* ... the lowest number of it that came or was told lost ... */
    uint64_t ended, ended_sending; /* ... and of the one before, what was expected next, and SendingTime of the last */
    int64_t last_ns;
    uint32_t first_instrument, instruments, unproven, unproven_mbo;
    mdp_instrument **changed; /* by the running event: `changed_n`, in the order in which it came to them */
    uint32_t changed_n;
    mdp_again again;
    uint32_t open_gaps;
    mdp_gap gap[MDP_MAX_OPEN_GAPS];
    struct { uint32_t seq, length; uint64_t sending; mdp_print print; } remembered[MDP_REMEMBERED];
    mdp_instrument *near[MDP_NEAR]; /* by mdp_near_of(): the one found there last */
} mdp_channel;

/* What the shell should tell people: once per episode, bounded. */
enum mdp_event_code {
    MDP_TOLD_GAP = 1, MDP_TOLD_RECOVERED, MDP_TOLD_RESET, MDP_TOLD_EPOCH, MDP_TOLD_SILENT, MDP_TOLD_ALIVE,
    MDP_TOLD_MALFORMED, MDP_TOLD_MISPLACED, MDP_TOLD_MISMATCH, MDP_TOLD_RPT_FAULT, MDP_TOLD_ENTRY_FAULT,
    MDP_TOLD_CROSSED, MDP_TOLD_QUEUE_OVERFLOW, MDP_TOLD_FULL, MDP_TOLD_DEFINITIONS, MDP_TOLD_LINE_BACK,
    MDP_TOLD_UNKNOWN_TEMPLATE, MDP_TOLD_ORDER_OVERFLOW, MDP_TOLD_STARTED,
};

typedef struct mdp_told {
    uint32_t code, channel, line;
    int32_t security_id;
    uint64_t first, last;
    int64_t ts_ns;
} mdp_told;

typedef struct mdp_options {
    uint32_t max_instruments, reorder_packets, recovery_entries, passed_by, max_orders;
    uint8_t depth, orders, natural_refresh, feed_index;
    int64_t max_wait_ns, silence_ns;
    uint32_t shard_index, shard_of; /* instruments whose name falls into part `shard_index`, from 0; of 0 or 1: all */
} mdp_options;

typedef struct mdp_filter { char pattern[MDP_FILTER_BYTES]; } mdp_filter;

/* Records on their way out: into a ring, or kept in memory that grows (tests, tools). */
typedef struct mdp_out {
    mdf_writer *ring;
    uint8_t *kept;
    size_t slot, n, room; /* slot: bytes of a record; n, room: records */
    int failed;           /* memory for `kept` was refused: records are missing */
} mdp_out;

typedef struct mdp_orders mdp_orders;

typedef struct mdp_handler {
    mdp_options o;
    mdp_shape shapes[MDP_TEMPLATE_IDS];
    mdp_channel *channels[MDP_MAX_CHANNELS];
    mdp_line *lines;
    uint32_t channels_n, lines_n;
    mdp_instrument *instruments;
    mdp_definition *definitions; /* of the instruments flagged MDP_DEFINED, in their order, as last told */
    uint32_t instruments_n, ring_instruments; /* ring_instruments: entries of the ring's table */
    uint64_t *keys;    /* open addressing: channel << 32 | security id, plus 1 << 63 */
    uint32_t *places;
    uint32_t mask;
    mdp_note *notes;
    uint32_t free_note, notes_n; /* notes_n: touched so far */
    mdp_orders *orders;
    mdp_filter *filters[3]; /* symbol, group, asset */
    uint32_t filters_n[3];
    mdp_out out, depth_out, orders_out;
    mdf_tick stage[MDP_STAGE] __attribute__((aligned(64)));
    uint32_t staged;
    mdp_told told[MDP_MAX_EVENTS];
    uint32_t told_n, told_dropped;
    uint64_t told_once[32]; /* faults of a kind told already, a bit per channel */
    mdp_counts count;
    /* the packet being processed */
    int64_t ts_recv, now_ns;
    uint16_t ts_flags;
    uint32_t packet, line;
    int64_t latest_latency_ns;
} mdp_handler;

#endif
