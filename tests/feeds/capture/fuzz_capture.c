/* Fuzz the capture reader under sanitizers: mutated files, cut anywhere, must never read or write out of bounds.
 *
 *     fuzz_capture SEED SECONDS < file
 *
 * Prints the number of rounds. Every round plays two mutated copies, merged, and checks what must hold: frames
 * add up, time never goes back, the taker's timers are told of every millisecond with packets, payloads can be
 * read, limits hold. What is delivered is written and read again. Each piece lies in a block of exactly its
 * size, so that a read past it is seen.
 */
#include "capture_play.h"
#include "../../fuzz/c/one_input.h"
#include "capture_write.h"

#define MAX_FILE (1u << 20)
#define MAX_STEPS 400000u
#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s\n", __LINE__, #cond); abort(); } } while (0)

static uint64_t state;

static uint32_t rnd(uint32_t below) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

static size_t mutate(uint8_t *data, size_t n) {
    static const uint8_t usual[] = {0, 1, 2, 3, 4, 6, 8, 16, 17, 20, 0x45, 0x4F, 0x60, 0x81, 0x88, 0x0A, 0x0D, 0x80, 255};
    for (uint32_t k = rnd(12); k; k--) {
        size_t at = rnd((uint32_t)n);
        if (rnd(3) == 0 && n > 256) at = rnd(256);
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

typedef struct taker {
    int64_t now_ns, told_ns;
    uint64_t packets, asked, tells;
    uint32_t since, sum;
    cap_writer writer;
} taker;

static void take(void *context, const mdf_packet *m) {
    taker *t = (taker *)context;
    CHECK(m->line == 7 && m->length <= CAP_MAX_PACKET_BYTES && m->ts_flags & MDF_REPLAYED);
    CHECK(m->now_ns >= t->now_ns && m->now_ns >= t->told_ns);
    if (t->packets) CHECK(m->now_ns - t->told_ns < MDF_PACKET_IDLE_NS);
    else t->told_ns = m->now_ns;
    CHECK(++t->since <= CAP_BURST_PACKETS);
    for (uint32_t i = 0; i < m->length; i++) t->sum += m->payload[i];
    t->now_ns = m->now_ns;
    t->packets++;
    mdf_packet again = *m;
    again.line = rnd(3);
    cap_write(&t->writer, &again);
}

static int told(void *context, int64_t now_ns) {
    taker *t = (taker *)context;
    CHECK(now_ns >= t->told_ns && now_ns >= t->now_ns);
    t->told_ns = now_ns;
    t->since = 0;
    t->tells++;
    cap_write_due(&t->writer, now_ns);
    return rnd(50) == 0;
}

/* All that was written comes back, through one interface described per line. */
static void read_back(const taker *t) {
    static uint8_t file[1u << 19];
    static cap_decoder d;
    uint32_t section[7] = {CAP_SECTION, 28, 0x1A2B3C4D, 1, UINT32_MAX, UINT32_MAX, 28};
    uint32_t interface[5] = {CAP_IDB, 20, CAP_LINK_ETHERNET, 0, 20};
    size_t n = sizeof section;
    memcpy(file, section, sizeof section);
    for (int i = 0; i < 2; i++, n += sizeof interface) memcpy(file + n, interface, sizeof interface);
    CHECK(n + t->writer.n <= sizeof file && t->writer.n <= t->writer.capacity);
    memcpy(file + n, t->writer.buffer, t->writer.n);
    cap_decoder_open(&d);
    cap_give(&d.reader, file, n + t->writer.n);
    cap_datagram m;
    uint64_t bytes = 0;
    while (cap_next(&d, &m) == CAP_RECORD) bytes += m.length;
    CHECK(!cap_at_end(&d.reader) && d.count.datagrams == t->writer.packets && bytes == t->writer.payload_bytes);
    CHECK(d.count.frames == d.count.datagrams && !d.reader.blocks_skipped);
    cap_decoder_close(&d);
}

static void run(const uint8_t *data[2], const size_t n[2]) {
    static cap_decoder decoders[2];
    static cap_player p;
    static uint8_t written[1u << 18];
    static const cap_line lines[2] = {{0xE0001F01, 14310}, {0x7F000001, 1}};
    size_t at[2] = {0, 0};
    uint8_t *piece[2] = {NULL, NULL};
    cap_source sources[2];
    unsigned steps = 0;
    memset(&p, 0, sizeof p);
    memset(sources, 0, sizeof sources);
    p.sources = sources;
    p.sources_n = 2;
    for (int i = 0; i < 2; i++) {
        cap_decoder_open(&decoders[i]);
        sources[i].decoder = &decoders[i];
    }
    for (uint32_t i = 0; i < 8; i++) cap_destination_of(&p, 0xE0001F00 + i, (uint16_t)(14310 + i))->line = 7;
    taker t = {.told_ns = 0, .writer = {.buffer = written, .capacity = sizeof written, .lines = lines, .lines_n = 2}};
    mdf_packet_sink sink = {.context = &t, .packet = take, .burst_end = told};
    uint32_t largest = rnd(4) ? 300 : rnd(4) ? 5 : 100000;
    int64_t until = CAP_MAX_TIME;
    for (int status = CAP_PLAY_LIMIT; status != CAP_PLAY_ENDED;) {
        uint64_t most = rnd(3) ? UINT64_MAX : rnd(100), before = t.packets;
        status = cap_play(&p, &sink, until, most, UINT64_MAX);
        CHECK(t.packets - before <= most && t.since == 0 && ++steps < MAX_STEPS);
        until = status == CAP_PLAY_LATER ? p.next_ns : rnd(9) ? CAP_MAX_TIME : t.now_ns + rnd(1000000);
        if (status != CAP_PLAY_NEED_INPUT) continue;
        uint32_t w = p.which;
        size_t size = 1 + rnd(largest);
        if (size > n[w] - at[w]) size = n[w] - at[w];
        free(piece[w]);
        piece[w] = (uint8_t *)malloc(size ? size : 1);
        CHECK(piece[w]);
        memcpy(piece[w], data[w] + at[w], size);
        at[w] += size;
        cap_give(&decoders[w].reader, piece[w], size);
        if (!size) sources[w].ended = true;
    }
    uint64_t datagrams = 0;
    for (int i = 0; i < 2; i++) {
        const cap_counts *c = &decoders[i].count;
        uint64_t told_of = c->datagrams + c->not_udp + c->truncated + c->malformed;
        CHECK(told_of <= c->frames && c->frames <= told_of + c->fragments && c->bad_stamps <= c->frames);
        CHECK(decoders[i].reader.carry_n <= CAP_MAX_BLOCK_BYTES && decoders[i].reader.offset <= n[i]);
        datagrams += c->datagrams;
        cap_decoder_close(&decoders[i]);
        free(piece[i]);
    }
    CHECK(p.delivered == t.packets && p.delivered + p.unlisted == datagrams);
    CHECK(t.writer.packets + t.writer.dropped + t.writer.refused == t.packets);
    CHECK(t.tells < 2000 * (t.packets + steps + 1));
    read_back(&t);
}

static void one_input(const uint8_t *data, size_t n) {
    if (n < 9 || n - 8 > MAX_FILE) return;
    state = seed_of(data, n) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    run((const uint8_t *[2]){data + 8, data + 8}, (size_t[2]){n - 8, n - 8});
}

int main(int argc, char **argv) {
    static uint8_t original[MAX_FILE], mutated[2][MAX_FILE];
    if (argc > 2 && !strcmp(argv[1], "replay")) return replay(argc, argv);
    if (argc != 3) return 2;
    uint64_t seed = strtoull(argv[1], NULL, 10);
    double seconds = strtod(argv[2], NULL);
    size_t n = fread(original, 1, sizeof original, stdin), lengths[2];
    CHECK(n > 0);
    int64_t end = mdf_clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
    unsigned rounds = 0;
    do {
        state = (seed + rounds) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        for (int i = 0; i < 2; i++) {
            memcpy(mutated[i], original, n);
            lengths[i] = rounds ? mutate(mutated[i], n) : n;
        }
        run((const uint8_t *[2]){mutated[0], mutated[1]}, lengths);
        rounds++;
    } while (mdf_clock_ns(CLOCK_MONOTONIC) < end || rounds < 200);
    printf("%u\n", rounds);
    return 0;
}
