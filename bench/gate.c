/* What a record costs in instructions: each kernel over a fixed input, counted by callgrind. bench/gate.py runs it.
 *
 *     gate FOLDER [PREFIX]     FOLDER: for the ring; PREFIX: only the kernels whose name begins with it
 *
 * Nothing here depends on chance, on the processor or on the C library: the input is made by arithmetic, and copies of
 * a length that is known at run time only are done, and counted, by the loops below. A kernel is run once before it is
 * counted, so that what is set up at first is left out. -DGATE_WITHOUT_FEEDS leaves the feeds out, and gate_blp.c.
 */
#include "gate.h"

#include "bars.h"
#include "jsontext.h"
#include "last.h"
#include "split.h"
#ifndef GATE_WITHOUT_FEEDS
#include "dbn.h"
#include "mdp.h"

#include "datagram.h"
#endif

#include <valgrind/callgrind.h>

enum { N = 4096, BATCH = 64, INSTRUMENTS = 64, ENTRIES = 10, ENTRY = 32, FIRST_ID = 1000 };
static const int64_t T0 = INT64_C(1700000040000000000);

/* ------------------------------------------------------------------------------- copies that are counted */

typedef uint64_t __attribute__((may_alias, aligned(1))) words;

__attribute__((optimize("no-tree-loop-distribute-patterns")))
void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *d = to;
    const unsigned char *s = from;
    for (; n >= 8; n -= 8, d += 8, s += 8) *(words *)d = mdf_unaligned(s);
    while (n--) *d++ = *s++;
    return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns")))
void *memset(void *to, int c, size_t n) {
    unsigned char *d = to;
    const uint64_t word = (unsigned char)c * UINT64_C(0x0101010101010101);
    for (; n >= 8; n -= 8, d += 8) *(words *)d = word;
    while (n--) *d++ = (unsigned char)c;
    return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns")))
void *memmove(void *to, const void *from, size_t n) {
    unsigned char *d = to;
    const unsigned char *s = from;
    if (d <= s) return memcpy(to, from, n); /* which goes upwards */
    while (n--) d[n] = s[n];
    return to;
}

void gate_die(const char *text) {
    fprintf(stderr, "bench/gate.c: %s\n", text);
    exit(1);
}

#define CHECK(cond) \
    do { if (!(cond)) gate_die("line " MDF_STRING(__LINE__) ": " #cond); } while (0)
#define MDF_STRING(x) MDF_STRING_(x)
#define MDF_STRING_(x) #x

static const char *wanted = "";

void gate_count(const char *name, uint64_t records, void (*kernel)(void *), void *state) {
    char said[64];
    if (strncmp(name, wanted, strlen(wanted))) return;
    snprintf(said, sizeof said, "%s %llu", name, (unsigned long long)records);
    kernel(state);
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    kernel(state);
    CALLGRIND_DUMP_STATS_AT(said);
    CALLGRIND_STOP_INSTRUMENTATION;
}

/* ------------------------------------------------------------------------------------------------ ticks */

static mdf_tick ticks[N];

/* Quotes of the instruments in turn; every `trades`th is a trade. `index`: instruments are numbered from 1. */
static void make_ticks(unsigned trades) {
    for (uint32_t i = 0; i < N; i++) {
        mdf_tick *t = &ticks[i];
        *t = (mdf_tick){.seq = i + 1, .ts_event = T0 + i * INT64_C(1000000), .kind = MDF_QUOTE, .count = 2};
        t->ts_recv = t->ts_event + 5000;
        t->instrument_id = 1 + (i * 7) % INSTRUMENTS;
        t->side = i % 2 ? MDF_SIDE_BID : MDF_SIDE_ASK;
        t->venue_seq = i;
        if (trades && i % trades == 0) {
            t->kind = MDF_TRADE;
            t->payload.trade.price = INT64_C(1000000000) * (100 + i % 9);
            t->payload.trade.size = 1 + i % 5;
            t->payload.trade.trade_id = i;
        } else {
            t->payload.quote.bid_price = INT64_C(1000000000) * (100 + i % 9);
            t->payload.quote.ask_price = t->payload.quote.bid_price + INT64_C(250000000);
            t->payload.quote.bid_size = 1 + i % 5;
            t->payload.quote.ask_size = 2 + i % 3;
        }
    }
}

/* ------------------------------------------------------------------------------------------------- ring */

typedef struct ring { mdf_writer writer; mdf_reader reader; mdf_tick taken[N]; } ring;

static void publish(void *of) {
    ring *r = of;
    for (uint32_t i = 0; i < N; i++) mdf_publish(&r->writer, &ticks[i]);
}

static void publish_flush(void *of) {
    ring *r = of;
    for (uint32_t i = 0; i < N; i++) {
        mdf_publish(&r->writer, &ticks[i]);
        mdf_flush(&r->writer);
    }
}

static void publish_batch(void *of) {
    ring *r = of;
    for (uint32_t i = 0; i < N; i += BATCH) {
        mdf_publish_batch(&r->writer, &ticks[i], BATCH);
        mdf_flush(&r->writer);
    }
}

static void read_one(void *of) {
    ring *r = of;
    r->reader.next -= N;
    for (uint32_t i = 0; i < N; i++) CHECK(mdf_read_one(&r->reader, &r->taken[i]) == 1);
}

static void read_batch(void *of) {
    ring *r = of;
    uint64_t skip;
    r->reader.next -= N;
    for (uint32_t i = 0; i < N; i += BATCH) CHECK(mdf_read_batch(&r->reader, &r->taken[i], BATCH, &skip) == BATCH);
}

static void gate_ring(ring *r) {
    gate_count("ring.publish", N, publish, r);
    gate_count("ring.publish_flush", N, publish_flush, r);
    gate_count("ring.publish_batch", N, publish_batch, r);
    r->reader.next = r->writer.next;
    gate_count("ring.read_one", N, read_one, r);
    gate_count("ring.read_batch", N, read_batch, r);
}

#ifndef GATE_WITHOUT_FEEDS
/* -------------------------------------------------------------------------------------------- Databento */

typedef struct dbn_gate {
    dbn_decoder decoder;
    mdf_writer *writer;
    const uint8_t *in;
    size_t bytes;
    mdf_tick out[2 * N];
    mdf_bar bars[64];
} dbn_gate;

static void dbn_gate_open(dbn_gate *g) {
    CHECK(!dbn_open(&g->decoder, 3, 0));
    for (uint32_t i = 0; i < INSTRUMENTS; i++) CHECK(!dbn_map(&g->decoder, 1, 100 + i, 1 + i, INT64_MIN, INT64_MAX, 0));
}

static void dbn_to_ring(void *of) {
    dbn_gate *g = of;
    size_t at = 0;
    while (at < g->bytes) CHECK(dbn_run_ring(&g->decoder, g->in, g->bytes, &at, g->writer, N));
}

static void dbn_to_ticks(void *of) {
    dbn_gate *g = of;
    dbn_output out = {g->out, 2 * N, 0, g->bars, 64, 0};
    size_t at = 0;
    CHECK(dbn_decode(&g->decoder, g->in, g->bytes, &at, &out) == DBN_NEED_INPUT && at == g->bytes && out.ticks_n);
}

static void dbn_base(dbn_trade *r, uint32_t i, size_t bytes, uint8_t type) {
    r->hd.length = (uint8_t)(bytes / 4);
    r->hd.rtype = type;
    r->hd.publisher_id = 1;
    r->hd.instrument_id = 100 + (i * 7) % INSTRUMENTS;
    r->hd.ts_event = (uint64_t)T0 + i * 1000u;
    r->ts_recv = r->hd.ts_event + 5000;
    r->price = INT64_C(1000000000) * (100 + i % 9);
    r->size = 1 + i % 5;
    r->action = type == DBN_TRADE || i % 25 == 24 ? 'T' : 'A';
    r->side = i % 2 ? 'B' : 'A';
    r->flags = DBN_LAST;
    r->sequence = i;
}

static void dbn_levels(dbn_level *l, uint32_t i, unsigned levels) {
    for (unsigned k = 0; k < levels; k++) {
        l[k] = (dbn_level){INT64_C(1000000000) * (100 - (int64_t)k + i % 9), INT64_C(1000000000) * (110 + k + i % 9),
                           5, 6, 2, 3};
    }
}

/* Orders of each instrument in turn, after a clear: one is added, and goes when eight others have come. */
static void dbn_orders(dbn_mbo *r) {
    for (uint32_t i = 0; i < N; i++, r++) {
        uint32_t turn = i / INSTRUMENTS, is_cancel = turn > 16 && turn % 2;
        *r = (dbn_mbo){.hd = {sizeof *r / 4, DBN_MBO, 1, 100 + i % INSTRUMENTS, (uint64_t)T0 + i * 1000u}};
        r->order_id = 1000 + i - (is_cancel ? 9 * INSTRUMENTS : 0);
        uint32_t order = (uint32_t)r->order_id - 1000;
        r->side = order / INSTRUMENTS % 4 < 2 ? 'B' : 'A';
        r->price = INT64_C(1000000000) * (r->side == 'B' ? 100 - order % 7 : 101 + order % 7);
        r->size = 1 + order % 5;
        r->flags = DBN_LAST;
        r->action = turn == 0 ? 'R' : is_cancel ? 'C' : 'A';
        r->ts_recv = r->hd.ts_event + 5000;
        r->sequence = i;
    }
}

static void gate_databento(mdf_writer *w) {
    static dbn_mbp_1 quotes[N];
    static dbn_trade trades[N];
    static dbn_mbp_10 books[N / 8];
    static dbn_mbo orders[N];
    static dbn_gate g[4];
    dbn_orders(orders);
    for (uint32_t i = 0; i < N; i++) {
        dbn_base(&quotes[i].base, i, sizeof *quotes, DBN_MBP_1);
        dbn_levels(&quotes[i].level, i, 1);
        dbn_base(&trades[i], i, sizeof *trades, DBN_TRADE);
    }
    for (uint32_t i = 0; i < N / 8; i++) {
        dbn_base(&books[i].base, i, sizeof *books, DBN_MBP_10);
        dbn_levels(books[i].level, i, 10);
    }
    for (int i = 0; i < 4; i++) dbn_gate_open(&g[i]);
    g[0].in = (const uint8_t *)quotes, g[0].bytes = sizeof quotes, g[0].writer = w;
    g[1].in = (const uint8_t *)trades, g[1].bytes = sizeof trades;
    g[2].in = (const uint8_t *)books, g[2].bytes = sizeof books;
    g[3].in = (const uint8_t *)orders, g[3].bytes = sizeof orders;
    gate_count("databento.mbp_1_to_ring", N, dbn_to_ring, &g[0]);
    gate_count("databento.trades", N, dbn_to_ticks, &g[1]);
    gate_count("databento.mbp_10", N / 8, dbn_to_ticks, &g[2]);
    gate_count("databento.mbo", N, dbn_to_ticks, &g[3]);
    for (int i = 0; i < 4; i++) dbn_close(&g[i].decoder);
}

/* ------------------------------------------------------------------------------------------- multicast */

enum { PAYLOAD = 150 };

static void datagrams(void *of) {
    mdf_datagram d;
    for (uint32_t i = 0; i < N; i++) CHECK(mdf_packet_read(of, 28 + PAYLOAD, 28 + PAYLOAD, 0, &d) == MDF_DATAGRAM);
}

static void sum_to(uint8_t *at, uint64_t sum) {
    uint16_t rest = (uint16_t)~mdf_sum_fold(sum);
    memcpy(at, &rest, 2);
}

static void gate_multicast(void) { /* one packet with both checksums */
    static uint8_t ip[28 + PAYLOAD] = {0x45, 0, 0, 28 + PAYLOAD, 0, 0, 0, 0, 8, 17, 0, 0, 10, 0, 0, 1, 224, 0, 31, 1};
    uint8_t *udp = ip + 20;
    for (uint32_t i = 0; i < PAYLOAD; i++) udp[8 + i] = (uint8_t)(i * 7);
    udp[0] = udp[2] = 0x37;
    udp[5] = 8 + PAYLOAD;
    sum_to(ip + 10, mdf_sum(ip, 20, 0));
    sum_to(udp + 6, mdf_sum(udp, 8 + PAYLOAD, mdf_sum(ip + 12, 8, (uint64_t)htons(IPPROTO_UDP) + htons(8 + PAYLOAD))));
    gate_count("multicast.datagram", N, datagrams, ip);
}

/* -------------------------------------------------------------------------------------------------- CME */

enum way { BEST, LEVELS, NEW_BEST };

typedef struct mdp_gate { mdp_handler handler; uint32_t seq, rpt; enum way way; } mdp_gate;

static void put(uint8_t *p, uint64_t value, size_t bytes) { memcpy(p, &value, bytes); }

/* A Book message (46) of version 13. BEST: another size at the best bid of ENTRIES instruments from `id` on; else of
 * one instrument, LEVELS: another size at each level, NEW_BEST: one better bid after the other. */
static size_t book_packet(uint8_t *p, const mdp_gate *g, int32_t id) {
    size_t size = 10 + 11 + 3 + ENTRIES * ENTRY + 8;
    memset(p, 0, 12 + size);
    put(p, g->seq, 4);
    put(p + 4, (uint64_t)T0 + g->seq * 1000, 8);
    uint8_t *m = p + 12;
    put(m, size, 2);
    put(m + 2, 11, 2);
    put(m + 4, 46, 2);
    put(m + 6, 1, 2);
    put(m + 8, 13, 2);
    put(m + 10, (uint64_t)T0 + g->seq * 1000, 8);
    m[18] = 0x84;
    put(m + 21, ENTRY, 2);
    m[23] = ENTRIES;
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint8_t *e = m + 24 + i * ENTRY;
        unsigned level = g->way == LEVELS ? i : 0, is_best = g->way == BEST;
        uint32_t rpt = is_best ? g->rpt : (g->rpt - 1) * ENTRIES + i + 1;
        put(e, UINT64_C(1000000000) * (100 - level + (g->way == NEW_BEST ? rpt : 0)), 8);
        put(e + 8, 1 + g->rpt % 50, 4);
        put(e + 12, (uint32_t)id + (is_best ? i : 0), 4);
        put(e + 16, rpt, 4);
        put(e + 20, 1, 4);
        e[24] = (uint8_t)(level + 1);
        e[25] = g->rpt == 1 || g->way == NEW_BEST ? 0 : 1;
        e[26] = '0';
    }
    put(m + 24 + ENTRIES * ENTRY, 24, 2);
    return 12 + size;
}

/* Each packet on line A and again on line B. */
static void packets(void *of) {
    static uint8_t bytes[2048];
    mdp_gate *g = of;
    mdf_packet k = {.payload = bytes};
    for (unsigned round = 0; round < N / ENTRIES / INSTRUMENTS; round++) {
        g->rpt++;
        for (int32_t i = 0; i < INSTRUMENTS; i++) {
            g->seq++;
            k.length = (uint32_t)book_packet(bytes, g, FIRST_ID + (g->way == BEST ? i * ENTRIES : i));
            k.now_ns = k.ts_recv = T0 + g->seq * INT64_C(1000);
            for (k.line = 0; k.line < 2; k.line++) mdp_on_packet(&g->handler, &k);
            g->handler.out.n = g->handler.told_n = 0;
        }
    }
}

static void only_make(void *of) { /* what making the packets takes, which is left out */
    static uint8_t bytes[2048];
    mdp_gate *g = of;
    for (unsigned i = 0; i < N / ENTRIES / INSTRUMENTS * INSTRUMENTS; i++) book_packet(bytes, g, FIRST_ID);
}

static void mdp_gate_open(mdp_gate *g, enum way way) {
    mdp_options o = {.max_instruments = 4096, .reorder_packets = 64, .recovery_entries = 1024,
                     .max_wait_ns = 10000000, .silence_ns = INT64_C(35000000000)};
    g->way = way;
    CHECK(!mdp_open(&g->handler, &o) && mdp_channel_index(&g->handler, 310) == 0);
    for (unsigned line = 0; line < 8; line++) CHECK(mdp_line_add(&g->handler, 0, line / 2, line & 1) >= 0);
    strcpy(g->handler.filters[0][0].pattern, "*");
    g->handler.filters_n[0] = 1;
    g->handler.out.room = 4096;
    g->handler.out.kept = calloc(g->handler.out.room, g->handler.out.slot);
    CHECK(g->handler.out.kept);
    for (int32_t i = 0; i < INSTRUMENTS * (way == BEST ? ENTRIES : 1); i++) {
        mdp_definition d = {.security_id = FIRST_ID + i, .action = 'A', .depth = 10};
        snprintf(d.symbol, sizeof d.symbol, "S%d", (int)i);
        mdp_apply_definition(&g->handler, 0, &d);
        if (g->handler.staged) mdp_send(&g->handler, 0);
        g->handler.out.n = 0;
    }
}

static void check_books(const mdp_gate *g) { /* that it is the ordinary path that was counted */
    const mdp_counts *c = &g->handler.count;
    CHECK(!c->gaps && !c->malformed && !c->mismatches && !c->rpt_faults && !c->entry_faults && !c->unmapped);
    CHECK(!g->seq || (c->quotes && c->duplicates == g->seq && c->entries == (uint64_t)g->seq * ENTRIES));
}

static void gate_cme(void) {
    static const char *const names[] = {"cme.best", "cme.levels", "cme.new_best"};
    static mdp_gate g[3];
    uint64_t entries = N / ENTRIES / INSTRUMENTS * INSTRUMENTS * ENTRIES;
    for (int i = 0; i < 3; i++) mdp_gate_open(&g[i], (enum way)i);
    gate_count("cme.input", entries, only_make, &g[0]);
    for (int i = 0; i < 3; i++) {
        gate_count(names[i], entries, packets, &g[i]);
        check_books(&g[i]);
        mdp_close(&g[i].handler);
    }
}

#endif

/* ------------------------------------------------------------------------------ what is made of the ticks */

typedef struct bars_gate { mdf_bars bars; mdf_bar out[4096]; int64_t later; } bars_gate;

static void bars(void *of) {
    bars_gate *g = of;
    size_t at = 0, used;
    for (uint32_t i = 0; i < N; i++) ticks[i].ts_event += g->later; /* a loop that is counted, and the same for ever */
    g->later = N * INT64_C(1000000);
    while (at < N) {
        int code = mdf_bars_update(&g->bars, ticks + at, N - at, &used);
        CHECK(code == 0 || code == MDF_BARS_FULL);
        at += used;
        g->bars.out_n = 0;
    }
}

static void last(void *of) { CHECK(!mdf_last_take(of, ticks, NULL, 1, N)); }

static void json(void *of) {
    static const char texts[] = "{\"type\":\"quote\",\"type\":\"trade\"\"ESZ6\"";
    static const int64_t offsets[] = {0, 16, 30, 36};
    static int64_t places[N], lengths[N];
    mdf_json_heads heads = {texts, offsets, places};
    size_t bytes = 0;
    CHECK(mdf_json_lines(ticks, 0, N, &heads, 1, of, lengths, &bytes) == N && bytes);
}

static void split(void *of) {
    static uint16_t where[N];
    static uint8_t out[sizeof ticks];
    uint64_t counts[8], next[8], at = 0;
    const uint8_t *from = (const uint8_t *)ticks;
    CHECK(!split_look(of, from, N, sizeof *ticks, offsetof(mdf_tick, instrument_id), where, counts, 8));
    for (int i = 0; i < 8; at += counts[i++]) next[i] = at;
    split_copy(from, N, sizeof *ticks, where, out, next, 8);
}

static void gate_consumers(void) {
    static const uint32_t intervals[] = {1, 60};
    static bars_gate b;
    static mdf_last l;
    static uint32_t ids[256];
    static uint16_t places[256];
    split_table table = {ids, places, 255};
    for (uint32_t i = 1; i <= INSTRUMENTS; i++) split_put(&table, i, (uint16_t)(i % 8));
    CHECK(!mdf_bars_init(&b.bars, intervals, 2, 0, 0, 4096, b.out, 4096));
    char *text = malloc((size_t)N * (MDF_JSON_LINE_MAX + 64));
    CHECK(text);
    gate_count("strategy.last", N, last, &l);
    gate_count("redis.json", N, json, text);
    gate_count("kafka.split", N, split, &table);
    gate_count("bars.quotes_and_trades", N, bars, &b);
    make_ticks(1);
    for (uint32_t i = 0; i < N; i++) ticks[i].ts_event += 2 * N * INT64_C(1000000);
    b.later = 0;
    gate_count("bars.trades", N, bars, &b);
    mdf_bars_free(&b.bars);
    mdf_last_free(&l);
    free(text);
}

int main(int argc, char **argv) {
    static ring r;
    char err[MDF_ERR], path[512];
    mdf_ring_options o = {.feed = "gate", .layout = MDF_TICK_LAYOUT, .slot_size = sizeof(mdf_tick),
                          .instruments_capacity = 256, .capacity = 16384};
    if (argc < 2) return 2;
    if (argc > 2) wanted = argv[2];
    snprintf(path, sizeof path, "%s/mdfeedd.gate", argv[1]);
    if (mdf_writer_open(&r.writer, path, &o, err)) gate_die(err);
    if (mdf_reader_open(&r.reader, path, MDF_TICK_LAYOUT, sizeof(mdf_tick), MDF_START_NOW, "gate", err)) gate_die(err);
    make_ticks(10);
    gate_ring(&r);
#ifndef GATE_WITHOUT_FEEDS
    gate_databento(&r.writer);
    gate_multicast();
    gate_cme();
    gate_bloomberg();
#endif
    gate_consumers();
    return 0;
}
