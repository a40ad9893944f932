/* Fuzz the DBN decoder under sanitizers: mutated streams, cut anywhere, must never read or write out of bounds.
 *
 *     fuzz_dbn SEED SECONDS VERSION < stream
 *     fuzz_dbn replay FILE...      of a file: the seed, a byte for the version, the stream
 *
 * VERSION 0: the stream begins with metadata. Prints the number of rounds. Every round checks, too, that what
 * the decoder says adds up: consumption, output within its capacity, ticks counted, offsets. Each input is put
 * into a block of exactly its size, so that a read past a piece is seen.
 *
 * Most rounds keep positions, in memory that an earlier round, killed anywhere, has left, or that is damaged.
 */
#include "dbn.h"
#include "../../fuzz/c/one_input.h"
#include <stdio.h>

#define MAX_STREAM (1u << 20)
#define MAX_STEPS 200000u
#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s\n", __LINE__, #cond); abort(); } } while (0)

static uint64_t state;

static uint32_t rnd(uint32_t below) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

static size_t mutate(uint8_t *data, size_t n) {
    static const uint8_t usual[] = {0, 1, 3, 4, 16, 20, 130, 255, 0x18, 0xA0, 0x0A, 'T', 'R', 'C'};
    for (uint32_t k = rnd(12); k; k--) {
        size_t at = rnd((uint32_t)n);
        switch (rnd(5)) {
        case 0: data[at] = (uint8_t)rnd(256); break;
        case 1: data[at] = usual[rnd(sizeof usual)]; break;
        case 2: data[at] ^= (uint8_t)(1u << rnd(8)); break;
        case 3: { /* another place's bytes */
            size_t len = rnd(64), from = rnd((uint32_t)n);
            if (at + len <= n && from + len <= n) memmove(data + at, data + from, len);
            break;
        }
        default: if (rnd(8) == 0) n = at + 1;
        }
    }
    return n;
}

static void serve(dbn_decoder *s, int status) {
    if (status == DBN_NEED_INSTRUMENT) {
        int64_t from = rnd(2) ? INT64_MIN : s->need_time, until = rnd(2) ? INT64_MAX : s->need_time + 1;
        if (s->need_time == INT64_MAX) until = INT64_MAX;
        if (until <= s->need_time) { from = INT64_MIN; until = INT64_MAX; }
        uint32_t own = rnd(8) ? 1 + rnd(1000) : 0; /* 0: another shard's */
        CHECK(!dbn_map(s, s->need_publisher, s->need_instrument, own, from, until, (int)rnd(2)));
    } else if (status == DBN_METADATA) {
        volatile uint8_t sum = 0;
        for (uint32_t i = 0; i < s->metadata_length; i++) sum = (uint8_t)(sum + s->metadata[i]);
    } else if (status == DBN_COLD) {
        volatile uint8_t sum = 0;
        for (uint32_t i = 0; i < s->cold_length; i++) sum = (uint8_t)(sum + s->cold_record[i]);
        if (rnd(4) == 0) dbn_forget(s, ((const dbn_header *)s->cold_record)->instrument_id);
    }
}

static const char dataset[32] = "GLBX.MDP3";

/* Positions as another process may have left them: of an earlier round, damaged, or noise behind a good head. */
static void hostile(uint8_t *memory, uint32_t slots) {
    size_t size = DBN_RESUME_HEAD_BYTES + slots * sizeof(dbn_position), spots = rnd(3) ? rnd(40) : 0;
    dbn_resume_head *h = (dbn_resume_head *)(void *)memory;
    if (rnd(6) == 0) {
        for (size_t i = 0; i < size; i++) memory[i] = (uint8_t)rnd(256);
    } else if (rnd(6) == 0) {
        memset(memory, 0xFF, size);
    }
    for (; spots; spots--) {
        size_t at = rnd(2) ? rnd(sizeof *h) : DBN_RESUME_HEAD_BYTES + rnd((uint32_t)(size - DBN_RESUME_HEAD_BYTES));
        memory[at] = rnd(2) ? (uint8_t)rnd(256) : 0xFF;
    }
    if (rnd(4)) {
        h->magic = DBN_RESUME_MAGIC;
        h->slots = slots;
        memcpy(h->dataset, dataset, sizeof dataset);
        h->known_ns &= INT64_MAX;
    }
    if (rnd(4) == 0) { /* an intent that came from nowhere */
        h->ticks = 1 + rnd(4);
        h->slot = rnd(2) ? rnd(slots) : UINT64_MAX - rnd(3);
        h->first_seq = rnd(300);
        if (rnd(2)) h->then.key |= DBN_USED;
    }
}

static uint64_t positions_used(const dbn_resume *r) {
    uint64_t used = 0;
    for (uint32_t i = 0; i < r->head->slots; i++) used += r->position[i].key != 0;
    return used;
}

/* Open, settle and begin as a feed does. */
static void resume(dbn_resume *r, uint8_t *memory, uint32_t slots, uint64_t next) {
    uint8_t types[256];
    dbn_resume_open(r, memory, slots, dataset, rnd(8) == 0);
    CHECK(r->head->slots == slots && positions_used(r) == r->head->used && r->head->used <= slots / 2);
    dbn_resume_settle(r, rnd(2) ? next : rnd(400), rnd(400));
    CHECK(r->head->ticks == 0 && positions_used(r) == r->head->used && r->head->used <= slots / 2);
    for (unsigned i = 0; i < 256; i++) {
        types[i] = (uint8_t)rnd(2);
        if (rnd(2)) r->head->begun_ns[i] = rnd(2) ? (int64_t)rnd(1000) : rnd(2) ? INT64_MIN : DBN_NOT_TRACKED;
        r->replaying[i] = (uint8_t)rnd(2);
    }
    r->head->replay++;
    r->start_ns = rnd(2) ? (int64_t)rnd(1000) : INT64_MIN;
    r->live_from_ns = rnd(2) ? INT64_MAX : (int64_t)rnd(100) << rnd(56);
    (void)dbn_resume_earliest(r, types, (int64_t)rnd(100));
    (void)dbn_resume_is_unmet(r, rnd(r->head->slots), rnd(256));
}

static void run(const uint8_t *data, size_t n, unsigned version) {
    static uint64_t slots[256 * 8]; /* a ring of 256 ticks, in private memory */
    static mdf_ring_header header;
    mdf_writer w;
    memset(&w, 0, sizeof w);
    memset(&header, 0, sizeof header);
    w.h = &header; w.slots = (uint8_t *)slots; w.mask = 255; w.capacity = 256; w.words = 8; w.block = MDF_BLOCK; w.next = 1;
    static uint8_t *memory; /* outlives its rounds, as the file beside a ring does */
    static uint32_t positions;
    dbn_resume r;
    dbn_decoder s;
    uint64_t ticks = 0, bars = 0;
    size_t at = 0;
    unsigned steps = 0;
    CHECK(!dbn_open(&s, version, (int)rnd(2)));
    s.books.max_orders = 1 + rnd(200);
    if (version && rnd(2)) s.schema = (uint16_t)rnd(16);
    for (unsigned k = rnd(4); k; k--) s.hold[rnd(2) ? DBN_MBP_1 : rnd(256)] = 1;
    if (rnd(4)) {
        if (!memory || rnd(8) == 0) { /* exactly its size, so that a look beyond is seen */
            free(memory);
            positions = 2u << rnd(7);
            memory = (uint8_t *)calloc(1, DBN_RESUME_HEAD_BYTES + positions * sizeof(dbn_position));
            CHECK(memory);
        }
        hostile(memory, positions);
        resume(&r, memory, positions, w.next);
        s.resume = &r;
    }
    int failed = 0, killed = 0;
    while (at < n && !failed && !killed) {
        size_t piece = rnd(4) ? 1 + rnd(300) : 1 + rnd(4), pos = 0;
        if (piece > n - at) piece = n - at;
        uint8_t *in = (uint8_t *)malloc(piece);
        CHECK(in);
        memcpy(in, data + at, piece);
        for (int status = DBN_OUTPUT_FULL; status != DBN_NEED_INPUT && !failed && !killed;) {
            size_t tick_room = DBN_TICKS_PER_RECORD + rnd(20), bar_room = 1 + rnd(4), before = pos;
            mdf_tick *t = (mdf_tick *)malloc(tick_room * sizeof *t);
            mdf_bar *b = (mdf_bar *)malloc(bar_room * sizeof *b);
            CHECK(t && b);
            dbn_output out = {t, tick_room, 0, b, bar_room, 0};
            s.arrival_ns = rnd(2) ? MDF_TIME_UNDEF : 5;
            if (rnd(2)) {
                int held = s.hold[DBN_MBP_1];
                uint64_t first = w.next, most = rnd(100), made = dbn_run_ring(&s, in, piece, &pos, &w, most);
                CHECK(!held || !made);
                CHECK(made <= most && w.next == first + made && w.next <= w.reserved + 1);
                for (uint64_t q = first; q < w.next; q++) CHECK(slots[(q & w.mask) * 8] == q);
                ticks += made;
            }
            status = dbn_decode(&s, in, piece, &pos, &out);
            if (status == DBN_COLD && s.cold == DBN_COLD_HELD) CHECK(!s.hold[s.cold_record[1]] && s.cold_length <= DBN_MAX_RECORD_BYTES);
            CHECK(pos >= before && pos <= piece);
            CHECK(out.ticks_n <= tick_room && out.bars_n <= bar_room);
            CHECK(status != DBN_NEED_INPUT || pos == piece);
            for (size_t i = 0; i < out.ticks_n; i++) CHECK(t[i].kind >= MDF_QUOTE && t[i].kind <= MDF_IMBALANCE && t[i].side <= 2);
            ticks += out.ticks_n;
            bars += out.bars_n;
            if (s.resume && r.is_staged && (out.ticks_n || out.bars_n)) { /* as a writer does, or is killed at it */
                unsigned kill = rnd(300);
                if (kill) dbn_resume_intend(&s, w.next, out.ticks_n + out.bars_n, out.bars_n != 0);
                if (kill > 1) dbn_resume_done(&s);
                killed = kill <= 1;
            }
            CHECK(!s.resume || killed || !r.is_staged);
            free(t);
            free(b);
            failed = status < 0;
            serve(&s, status);
            CHECK(++steps < MAX_STEPS);
        }
        at += pos;
        free(in);
    }
    uint64_t counted = s.count.quotes + s.count.trades + s.count.others; /* of some, the ring has ticks already */
    CHECK(s.resume ? ticks <= counted : ticks == counted);
    CHECK(bars == s.count.bars);
    if (s.resume) CHECK(positions_used(&r) == r.head->used && r.head->used <= positions / 2);
    CHECK(s.count.known == (s.resume ? r.known : 0));
    CHECK(s.offset <= n && s.carried <= DBN_MAX_RECORD_BYTES);
    uint64_t orders = 0;
    for (uint32_t i = 0; i < s.books.n; i++) orders += s.books.book[i].side[0].orders + (uint64_t)s.books.book[i].side[1].orders;
    CHECK(orders == s.books.orders && orders <= s.books.max_orders);
    dbn_close(&s);
}

static void one_input(const uint8_t *data, size_t n) {
    if (n < 10) return;
    state = seed_of(data, n) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    run(data + 9, n - 9, data[8] % 4);
}

int main(int argc, char **argv) {
    static uint8_t original[MAX_STREAM], mutated[MAX_STREAM];
    if (argc > 2 && !strcmp(argv[1], "replay")) return replay(argc, argv);
    if (argc != 4) return 2;
    uint64_t seed = strtoull(argv[1], NULL, 10);
    double seconds = strtod(argv[2], NULL);
    unsigned version = (unsigned)strtoul(argv[3], NULL, 10);
    size_t n = fread(original, 1, sizeof original, stdin);
    CHECK(n > 0);
    int64_t end = mdf_clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
    unsigned rounds = 0;
    do {
        state = (seed + rounds) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        memcpy(mutated, original, n);
        run(mutated, rounds ? mutate(mutated, n) : n, version);
        rounds++;
    } while (mdf_clock_ns(CLOCK_MONOTONIC) < end || rounds < 200);
    printf("%u\n", rounds);
    return 0;
}
