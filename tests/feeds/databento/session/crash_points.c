/* crash_points.c: end a feed after every single store that it makes into its rings and its positions.
 *
 *     crash_points SCHEMA < records
 *
 * `records` are records of DBN version 3, without metadata, in the order of their index times; SCHEMA says what
 * those of type 1 are. MDF_AFTER_STORE jumps out of the feed at the n-th store, n = 1, 2, 3 ... until it runs to
 * its end; ring, ring of bars and positions stay as they are, everything else is lost. The next feed settles, and
 *
 *   - replays all from the beginning, or from some record on: each record's ticks must be in the rings once;
 *   - is ended again, at some store, and replays once more: the same;
 *   - goes on live after the record that it was at: all others must be whole.
 *
 * Prints how many stores there were to be ended at.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdint.h>

static void crash_point(void);
#define MDF_AFTER_STORE() crash_point()
#include "dbn.h"
#include <stdio.h>

#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s (store %llu)\n", __LINE__, #cond, (unsigned long long)at_store); abort(); } } while (0)

enum { MAX_BYTES = 1 << 20, MAX_RECORDS = 4096, SLOTS = 1 << 13, BAR_SLOTS = 1 << 10, POSITIONS = 256, AGAIN = 3 };

static jmp_buf gone;
static uint64_t crash_at, stores, at_store; /* crash_at 0: live on */

static void crash_point(void) {
    if (crash_at && ++stores == crash_at) longjmp(gone, 1);
}

/* What outlives a feed. */
static struct {
    mdf_ring_header ring, bar_ring;
    uint64_t slots[SLOTS * 8], bar_slots[BAR_SLOTS * 16];
    union { dbn_resume_head head; uint8_t page[DBN_RESUME_HEAD_BYTES]; } resume;
    dbn_position position[POSITIONS];
} kept;
static mdf_registry registry;
static uint64_t counters[MDF_COUNTERS];

/* The records, and what each of them makes. */
static uint8_t stream[MAX_BYTES];
static size_t bytes, starts[MAX_RECORDS + 1], records;
static mdf_tick tick[SLOTS];
static mdf_bar bar[BAR_SLOTS];
static size_t ticks_before[MAX_RECORDS + 1], bars_before[MAX_RECORDS + 1];
static uint16_t schema;
static int is_told_by_change; /* mbp-10: what a record makes depends on the one before */

/* A feed. */
static mdf_writer writer, bar_writer;
static dbn_decoder decoder;
static dbn_resume resume;
static size_t at_record;

static void bind(mdf_writer *w, mdf_ring_header *h, uint64_t *slots, uint64_t capacity, uint32_t words) {
    memset(w, 0, sizeof *w);
    w->h = h; w->slots = (uint8_t *)slots; w->mask = capacity - 1; w->capacity = capacity; w->words = words;
    w->block = MDF_BLOCK; w->registry = &registry; w->counters = counters;
    mdf_recover(w);
}

enum { LIVE, REPLAY_OF_ALL, REPLAY_OF_SOME };

static void begin(int how) {
    crash_at = 0;
    bind(&writer, &kept.ring, kept.slots, SLOTS, 8);
    bind(&bar_writer, &kept.bar_ring, kept.bar_slots, BAR_SLOTS, 16);
    CHECK(!dbn_open(&decoder, 3, 0));
    decoder.schema = schema;
    decoder.arrival_ns = 5;
    memset(&resume, 0, sizeof resume);
    resume.head = &kept.resume.head;
    resume.position = resume.last = kept.position;
    resume.live_from_ns = INT64_MAX;
    decoder.resume = &resume;
    dbn_resume_settle(&resume, writer.next, bar_writer.next);
    if (how != LIVE) {
        resume.head->replay++;
        resume.start_ns = how == REPLAY_OF_ALL ? 0 : INT64_MAX;
        memset(resume.replaying, 1, sizeof resume.replaying);
    }
}

/* As the package's _dbn.pyx does it. */
static void publish(const uint8_t *in, size_t n) {
    mdf_tick staged[DBN_TICKS_PER_RECORD];
    mdf_bar staged_bars[4];
    dbn_output out = {staged, DBN_TICKS_PER_RECORD, 0, staged_bars, 4, 0};
    size_t pos = 0;
    for (int status = DBN_OUTPUT_FULL; status != DBN_NEED_INPUT;) {
        dbn_run_ring(&decoder, in, n, &pos, &writer, SLOTS);
        status = dbn_decode(&decoder, in, n, &pos, &out);
        CHECK(status >= 0);
        if (out.ticks_n) {
            dbn_resume_intend(&decoder, writer.next, out.ticks_n, 0);
            mdf_publish_batch(&writer, out.ticks, out.ticks_n);
            dbn_resume_done(&decoder);
            out.ticks_n = 0;
        }
        if (out.bars_n) {
            dbn_resume_intend(&decoder, bar_writer.next, out.bars_n, 1);
            mdf_publish_batch(&bar_writer, out.bars, out.bars_n);
            dbn_resume_done(&decoder);
            out.bars_n = 0;
        }
        if (status == DBN_NEED_INSTRUMENT)
            CHECK(!dbn_map(&decoder, decoder.need_publisher, decoder.need_instrument, decoder.need_instrument,
                           INT64_MIN, INT64_MAX, 0));
    }
}

/* Feed records [first, last) in pieces of `piece` records; 1 if the feed ended at store `crash`. */
static int feed(size_t first, size_t last, size_t piece, uint64_t crash) {
    stores = 0;
    crash_at = at_store = crash;
    if (setjmp(gone)) {
        crash_at = 0;
        dbn_close(&decoder);
        return 1;
    }
    for (at_record = first; at_record < last; at_record += piece) {
        size_t end = at_record + piece < last ? at_record + piece : last;
        publish(stream + starts[at_record], starts[end] - starts[at_record]);
    }
    crash_at = 0;
    dbn_close(&decoder);
    return 0;
}

static int same_tick(uint64_t seq, const mdf_tick *want) {
    mdf_tick got;
    memcpy(&got, kept.slots + (seq & (SLOTS - 1)) * 8, sizeof got);
    if (got.seq != seq) return 0;
    got.seq = 0;
    got.flags = (uint16_t)(got.flags & ~MDF_REPLAYED);
    return !memcmp(&got, want, sizeof got);
}

static int same_bar(uint64_t seq, const mdf_bar *want) {
    mdf_bar got;
    memcpy(&got, kept.bar_slots + (seq & (BAR_SLOTS - 1)) * 16, sizeof got);
    if (got.seq != seq) return 0;
    got.seq = 0;
    return !memcmp(&got, want, sizeof got);
}

/* Each tick of each record once, in order. */
static void check_all(void) {
    CHECK(writer.next == ticks_before[records] + 1 && bar_writer.next == bars_before[records] + 1);
    for (size_t i = 0; i < ticks_before[records]; i++) CHECK(same_tick(i + 1, tick + i));
    for (size_t i = 0; i < bars_before[records]; i++) CHECK(same_bar(i + 1, bar + i));
    CHECK(!resume.disagreed && !kept.resume.head.ticks && !kept.resume.head.skip);
}

/* All but record `at`, of which there may be some. */
static void check_but(size_t at) {
    size_t many = ticks_before[at + 1] - ticks_before[at], bars = bars_before[at + 1] - bars_before[at], some = 0;
    CHECK(bar_writer.next - 1 == bars_before[records] || bar_writer.next - 1 + bars == bars_before[records]);
    some = writer.next - 1 + many - ticks_before[records];
    CHECK(some <= many);
    for (size_t i = 0, seq = 1; i < ticks_before[records]; i++) {
        if (i >= ticks_before[at] + some && i < ticks_before[at + 1]) continue;
        CHECK(same_tick(seq, tick + i));
        seq++;
    }
}

static void fresh(void) {
    memset(&kept, 0, sizeof kept);
    kept.resume.head.slots = POSITIONS;
    begin(LIVE);
}

/* What each record makes, by the same decoder without positions. */
static void learn(void) {
    fresh();
    decoder.resume = NULL;
    for (size_t i = 0; i < records; i++) {
        ticks_before[i] = writer.next - 1;
        bars_before[i] = bar_writer.next - 1;
        publish(stream + starts[i], starts[i + 1] - starts[i]);
    }
    ticks_before[records] = writer.next - 1;
    bars_before[records] = bar_writer.next - 1;
    CHECK(writer.next < SLOTS / 2 && bar_writer.next < BAR_SLOTS / 2);
    for (size_t i = 0; i < ticks_before[records]; i++) {
        memcpy(tick + i, kept.slots + (i + 1) * 8, sizeof *tick);
        tick[i].seq = 0;
    }
    for (size_t i = 0; i < bars_before[records]; i++) {
        memcpy(bar + i, kept.bar_slots + (i + 1) * 16, sizeof *bar);
        bar[i].seq = 0;
    }
    dbn_close(&decoder);
}

static uint64_t state = 88172645463325252u;

static uint64_t rnd(uint64_t below) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (state >> 11) % below;
}

static int same_run(size_t a, size_t b) {
    const uint8_t *p = stream + starts[a], *q = stream + starts[b];
    return !memcmp(p + 1, q + 1, 7) && dbn_index_time(p) == dbn_index_time(q);
}

/* Begin a feed with a replay from the beginning, or from some record on that is known, but not within a stream's
 * run of one time. */
static size_t begin_replay(size_t crashed) {
    size_t from = is_told_by_change || rnd(2) ? 0 : rnd(crashed + 1);
    for (size_t i = from; i < records; i++)
        for (size_t j = 0; j < from; j++)
            if (same_run(i, j)) from = j;
    begin(from ? REPLAY_OF_SOME : REPLAY_OF_ALL);
    return from;
}

static void replayed(uint64_t crash, size_t piece, int again) {
    fresh();
    CHECK(feed(0, records, piece, crash));
    size_t crashed = at_record;
    for (; again; again--) {
        size_t from = begin_replay(crashed);
        if (!feed(from, records, 1 + rnd(4), 1 + rnd(3000))) break;
        crashed = at_record;
    }
    size_t from = begin_replay(crashed);
    feed(from, records, 1 + rnd(4), 0);
    at_store = crash;
    check_all();
}

static void live(uint64_t crash) {
    fresh();
    CHECK(feed(0, records, 1, crash));
    size_t crashed = at_record;
    begin(LIVE);
    feed(crashed + 1, records, 1, 0);
    at_store = crash;
    check_but(crashed);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    schema = (uint16_t)atoi(argv[1]);
    bytes = fread(stream, 1, sizeof stream, stdin);
    for (size_t i = 0; i < bytes; i += 4u * stream[i]) {
        CHECK(stream[i] >= 4 && records < MAX_RECORDS);
        starts[records++] = i;
        is_told_by_change |= stream[i + 1] == DBN_MBP_10;
    }
    starts[records] = bytes;
    learn();
    uint64_t most = 0;
    for (size_t piece = 1; piece <= 64; piece *= 4) {
        for (uint64_t crash = 1;; crash++) {
            fresh();
            if (!feed(0, records, piece, crash)) break;
            most = crash > most ? crash : most;
            replayed(crash, piece, 0);
            if (crash % 3 == 0) replayed(crash, piece, AGAIN);
            if (piece == 1 && !is_told_by_change) live(crash);
        }
        check_all();
    }
    printf("%llu\n", (unsigned long long)most);
    return 0;
}
