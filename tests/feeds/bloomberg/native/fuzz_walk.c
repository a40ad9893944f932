/* The data plane in C over the double, on mutated scripts. usage: fuzz_walk SEED SECONDS < script; prints rounds. */
#include "blp_walk.h"
#include "../../../fuzz/c/one_input.h"

#include "double.c"

static uint64_t random_state;
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static void fill(blp_abi *abi) {
    void *at;
    memset(abi, 0, sizeof *abi);
#define FILL(returns, name, takes) at = (void *)(uintptr_t)blpapi_##name; memcpy(&abi->name, &at, sizeof at);
    BLP_SYMBOLS(FILL)
    BLP_OPTIONAL(FILL)
    if (blp_abi_names(abi)) abort();
}

static void check(const blp_staging *s) {
    for (size_t i = 0; i < s->n; i++) {
        const mdf_tick *k = &s->ticks[i];
        if (k->kind < MDF_QUOTE || k->kind > MDF_TRADE_CORRECTION || k->ts_event <= 0 || k->seq) abort();
        if (k->flags & ~(MDF_EVENT_END | MDF_BAD_TS | MDF_STALE | MDF_DELAYED | MDF_SIZE_SATURATED)) abort();
        if (k->kind == MDF_QUOTE && k->payload.quote.bid_price == MDF_PRICE_UNDEF && k->payload.quote.bid_size)
            abort();
    }
}

static void walk(const blp_abi *abi, const blp_table *table, blp_decoder *d, const uint8_t *bytes, size_t n) {
    event *e = double_event(bytes, n);
    static mdf_tick ticks[BLP_TICKS_PER_MESSAGE];
    blp_staging tried = {.ticks = ticks, .capacity = BLP_TICKS_PER_MESSAGE};
    blp_decoder trial = {.out = &tried};
    uint32_t proofs[2] = {next_random() % 3, next_random() % 2}, doubts[BLP_FIELDS];
    for (int i = 0; i < BLP_FIELDS; i++) doubts[i] = next_random() % 3;
    blp_walk w = {.trial = &trial, .proofs = proofs, .doubts = doubts, .abi = abi, .table = table, .decoder = d, .recv_ns = INT64_C(1772463600000000000)};
    int status;
    if (blp_walk_begin(&w, e)) abort();
    do {
        status = blp_walk_on(&w);
        blp_walk_note(&w);
        check(d->out);
        if (w.touch) { /* nobody does it in our place: there are no ticks of others */
            check(&tried);
            if (blp_walk_agrees(&w, d->out->n) && w.copy.told.bid != w.touch->told.bid) abort();
            proofs[w.is_trade]--;
        }
        d->out->n = 0;
    } while (status == BLP_WALK_ODD || status == BLP_WALK_FULL);
    blp_walk_end(&w);
    double_free(e);
}

/* The table against a plain array, with cids that collide and come again. */
static void table(void) {
    enum { CIDS = 700 };
    static blp_touch touches[CIDS];
    static int is_in[CIDS];
    blp_table t = {0};
    for (int i = 0; i < 20000; i++) {
        size_t k = next_random() % CIDS;
        uint64_t cid = (k % 3 ? k : k << 32);
        if (next_random() % 2) {
            if (blp_table_put(&t, cid, &touches[k])) abort();
            is_in[k] = 1;
        } else {
            blp_table_drop(&t, cid);
            is_in[k] = 0;
        }
        k = next_random() % CIDS;
        if (blp_table_get(&t, k % 3 ? k : k << 32) != (is_in[k] ? &touches[k] : NULL)) abort();
    }
    memset(is_in, 0, sizeof is_in);
    free(t.places);
}

static struct { blp_abi abi; blp_touch touches[4]; blp_table cids; blp_staging staging; blp_decoder decoder; } all;

static void make_all(void) {
    memset(&all, 0, sizeof all);
    all.decoder.out = &all.staging;
    fill(&all.abi);
    for (uint64_t i = 0; i < 4; i++) {
        all.touches[i].instrument_id = (uint32_t)i + 1;
        all.touches[i].flags = MDF_STALE;
        if (blp_table_put(&all.cids, i + 1, &all.touches[i])) abort();
    }
}

static void drop_all(void) {
    free(all.cids.places);
    free(all.staging.ticks);
}

static void one_input(const uint8_t *data, size_t n) {
    used_names = 0; /* of the input before */
    make_all();
    if (n > 8) walk(&all.abi, &all.cids, &all.decoder, data + 8, n - 8);
    drop_all();
}

int main(int argc, char **argv) {
    static uint8_t script[1 << 20], bytes[1 << 20];
    if (argc > 2 && !strcmp(argv[1], "replay")) return replay(argc, argv);
    size_t n = fread(script, 1, sizeof script, stdin);
    int64_t until = mdf_clock_ns(CLOCK_MONOTONIC) + (int64_t)(atof(argv[argc - 1]) * 1e9);
    long rounds = 0;
    random_state = strtoull(argv[1], NULL, 10) * 2654435761u + 1;
    make_all();
    table();
    walk(&all.abi, &all.cids, &all.decoder, script, n);
    if (!all.decoder.quick || double_iterators) abort();
    for (; rounds < 200 || mdf_clock_ns(CLOCK_MONOTONIC) < until; rounds++) {
        memcpy(bytes, script, n);
        for (uint64_t i = next_random() % 24; i; i--) bytes[next_random() % n] = (uint8_t)next_random();
        walk(&all.abi, &all.cids, &all.decoder, bytes, next_random() % 4 ? n : next_random() % n);
    }
    drop_all();
    printf("%ld\n", rounds);
    return double_iterators ? 1 : 0;
}
