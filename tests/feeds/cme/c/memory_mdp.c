/* What memory the handler takes, and when: all of it is asked for by mdp_open() and for a new channel, none later.
 *
 *     memory_mdp INSTRUMENTS
 *
 * Linked with --wrap, so that each call of malloc() and its kin is counted. Prints one line of numbers: bytes of
 * memory resident before, after opening, with all instruments traded once, and after losses that fill the
 * queue of updates; allocations since opening; the bytes of all that was asked for.
 */
#include "mdfeedd.h"

#include "mdp.h"

#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s\n", __LINE__, #cond); abort(); } } while (0)
#define ENTRIES 40u /* of a packet */
#define ENTRY 32u
#define LOSSES 2u
#define UPDATES 12u /* of each instrument after a loss: more than the queue holds */
#define FIRST_ID 1000

static uint64_t allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n) { allocations++; return __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { allocations++; return __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { allocations++; return __real_realloc(p, n); }

static long resident(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static void put(uint8_t *p, uint64_t value, size_t bytes) { memcpy(p, &value, bytes); }

/* A Book message (46) of version 13 that sets the best bid of ENTRIES instruments from `id` on. */
static size_t book_packet(uint8_t *p, uint32_t seq, int32_t id, uint32_t rpt, unsigned entries) {
    size_t size = 10 + 11 + 3 + entries * ENTRY + 8;
    memset(p, 0, 12 + size);
    put(p, seq, 4);
    put(p + 4, UINT64_C(1790000000000000000) + seq, 8);
    uint8_t *m = p + 12;
    put(m, size, 2);
    put(m + 2, 11, 2);
    put(m + 4, 46, 2);
    put(m + 6, 1, 2);
    put(m + 8, 13, 2);
    put(m + 10, UINT64_C(1790000000000000000) + seq, 8);
    m[18] = 0x84;
    put(m + 21, ENTRY, 2);
    m[23] = (uint8_t)entries;
    for (unsigned i = 0; i < entries; i++) {
        uint8_t *e = m + 24 + i * ENTRY;
        put(e, UINT64_C(1000000000) * (1 + rpt % 7), 8);
        put(e + 8, 1 + rpt, 4);
        put(e + 12, (uint32_t)id + i, 4);
        put(e + 16, rpt, 4);
        put(e + 20, 1, 4);
        e[24] = 1;
        e[25] = rpt == 1 ? 0 : 5;
        e[26] = '0';
    }
    put(m + 24 + entries * ENTRY, 24, 2);
    return 12 + size;
}

static void trade_all(mdp_handler *h, uint32_t *seq, uint32_t instruments, uint32_t rpt) {
    uint8_t bytes[2048];
    mdf_packet k;
    memset(&k, 0, sizeof k);
    for (uint32_t i = 0; i < instruments; i += ENTRIES) {
        unsigned entries = instruments - i < ENTRIES ? instruments - i : ENTRIES;
        k.length = (uint32_t)book_packet(bytes, ++*seq, FIRST_ID + (int32_t)i, rpt, entries);
        k.payload = bytes;
        k.now_ns = k.ts_recv = *seq * INT64_C(1000);
        for (k.line = 0; k.line < 2; k.line++) mdp_on_packet(h, &k);
        h->out.n = h->told_n = 0;
    }
}

static void define(mdp_handler *h, int32_t id) {
    mdp_definition d;
    memset(&d, 0, sizeof d);
    d.security_id = id;
    d.action = 'A';
    d.depth = 10;
    snprintf(d.symbol, sizeof d.symbol, "S%d", (int)id);
    mdp_apply_definition(h, 0, &d);
    if (h->staged) mdp_send(h, 0);
    h->out.n = 0;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    uint32_t instruments = (uint32_t)strtoul(argv[1], NULL, 10), seq = 0, rpt = 1;
    mdp_options o;
    memset(&o, 0, sizeof o);
    o.max_instruments = MDP_DEFAULT_INSTRUMENTS;
    o.reorder_packets = 1024;
    o.recovery_entries = 1u << 20;
    o.max_wait_ns = 10000000;
    o.silence_ns = INT64_C(35000000000);
    long before = resident();
    mdp_handler *h = (mdp_handler *)aligned_alloc(64, sizeof *h);
    CHECK(h && !mdp_open(h, &o) && mdp_channel_index(h, 310) == 0);
    for (unsigned line = 0; line < 8; line++) CHECK(mdp_line_add(h, 0, line / 2, line & 1) >= 0);
    strcpy(h->filters[0][0].pattern, "*");
    h->filters_n[0] = 1;
    size_t room = 1u << 16; /* the shell has a ring for these: no part of the handler */
    h->out.kept = (uint8_t *)malloc(room * h->out.slot);
    h->out.room = room;
    CHECK(h->out.kept);
    memset(h->out.kept, 0, room * h->out.slot);
    long opened = resident() - (long)(room * h->out.slot);
    allocations = 0;
    for (uint32_t i = 0; i < instruments; i++) define(h, FIRST_ID + (int32_t)i);
    trade_all(h, &seq, instruments, rpt++);
    uint64_t at_first = allocations;
    long traded = resident() - (long)(room * h->out.slot);
    CHECK(h->instruments_n == instruments && h->count.quotes == instruments && h->channels[0]->unproven == 0);
    for (unsigned loss = 0; loss < LOSSES; loss++) {
        seq++; /* lost on both lines: all in doubt ... */
        rpt++; /* ... and that touched them all, so that updates wait for a snapshot */
        for (unsigned update = 0; update < UPDATES; update++) trade_all(h, &seq, instruments, rpt++);
    }
    CHECK(h->count.gaps == LOSSES && h->count.queue_overflows > 0);
    uint64_t later = allocations;
    long at_last = resident() - (long)(room * h->out.slot);
    size_t all = sizeof *h + o.max_instruments * (sizeof *h->instruments + sizeof *h->definitions) +
                 ((size_t)h->mask + 1) * (sizeof *h->keys + sizeof *h->places) + o.recovery_entries * sizeof *h->notes +
                 MDP_MAX_LINES * sizeof *h->lines + 3 * MDP_MAX_FILTERS * sizeof **h->filters + sizeof **h->channels +
                 o.reorder_packets * sizeof *h->channels[0]->slots;
    printf("%ld %ld %ld %ld %llu %llu %zu\n", before, opened, traded, at_last, (unsigned long long)at_first,
           (unsigned long long)later, all);
    mdp_close(h);
    free(h);
    return 0;
}
