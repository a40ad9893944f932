/* Part of gate.c: Bloomberg's messages by the C interface, over the double of its library that the tests use. What the
 * double itself takes is left out: gate.py does not count functions of its names. */
#include "gate.h"

#include "blp_walk.h"

#include "double.c"

enum { MESSAGES = 1024, CIDS = 4 };

typedef struct { blp_abi abi; blp_table table; blp_decoder decoder; blp_staging staging; event *event; } blp_gate;

static uint8_t script[1 << 19];
static size_t script_n;

static void put(const void *bytes, size_t n) {
    if (script_n + n > sizeof script) gate_die("the script is too long");
    memcpy(script + script_n, bytes, n);
    script_n += n;
}

static void number(uint64_t value, size_t n) { put(&value, n); }

static void field(const char *label, uint8_t type, const void *value, uint32_t n) {
    number(strlen(label), 1);
    number(type, 1);
    number(0, 2);
    number(n, 4);
    put(label, strlen(label));
    put(value, n);
}

/* A quote of one side, or a trade in every fifth message. */
static void one(unsigned i) {
    const blp_datetime at = {.parts = BLP_HAS_DATE | BLP_HAS_TIME | BLP_HAS_FRACTION, .hours = 14, .minutes = 30,
                             .seconds = (uint8_t)(i / 1000 % 60), .milliseconds = (uint16_t)(i % 1000), .month = 3,
                             .day = 2, .year = 2026};
    const double price = 100 + i % 9 / 4.0;
    const int64_t size = 1 + i % 5;
    const int is_trade = i % 5 == 4;
    number(0, 4);
    number(1, 4);
    number(1 + i % CIDS, 8);
    number(0, 4);
    number(6, 4);
    field("MKTDATA_EVENT_TYPE", 8, is_trade ? "TRADE" : "QUOTE", 5);
    field("MKTDATA_EVENT_SUBTYPE", 8, is_trade ? "NEW" : i % 2 ? "BID" : "ASK", 3);
    if (is_trade) {
        field("EVT_TRADE_PRICE_RT", 7, &price, 8);
        field("EVT_TRADE_SIZE_RT", 4, &size, 8);
        field("EVT_TRADE_EXECUTION_TIME_RT", 13, &at, sizeof at);
    } else {
        field(i % 2 ? "BID" : "ASK", 7, &price, 8);
        field(i % 2 ? "BID_SIZE" : "ASK_SIZE", 4, &size, 8);
        field(i % 2 ? "EVT_QUOTE_BID_TIME_RT" : "EVT_QUOTE_ASK_TIME_RT", 13, &at, sizeof at);
    }
    field("LAST_PRICE", 7, &price, 8);
}

static void walk(void *of) {
    static uint32_t doubts[BLP_FIELDS];
    static const uint32_t proofs[2];
    blp_gate *g = of;
    blp_walk w = {.proofs = proofs, .doubts = doubts, .abi = &g->abi, .table = &g->table, .decoder = &g->decoder,
                  .recv_ns = INT64_C(1772463600000000000)};
    if (blp_walk_begin(&w, g->event)) gate_die("there is no iterator");
    for (int status = BLP_WALK_FULL; status != BLP_WALK_END;) {
        status = blp_walk_on(&w);
        blp_walk_note(&w);
        if (status == BLP_WALK_ODD) gate_die("a message is odd");
        g->staging.n = 0;
    }
    blp_walk_end(&w);
}

void gate_bloomberg(void) {
    static blp_gate g;
    static blp_touch touches[CIDS];
    void *at;
#define FILL(returns, label, takes) at = (void *)(uintptr_t)blpapi_##label; memcpy(&g.abi.label, &at, sizeof at);
    BLP_SYMBOLS(FILL)
    BLP_OPTIONAL(FILL)
    if (blp_abi_names(&g.abi)) gate_die("there are no names");
    g.decoder.out = &g.staging;
    for (uint64_t i = 0; i < CIDS; i++) {
        touches[i].instrument_id = (uint32_t)i + 1;
        if (blp_table_put(&g.table, i + 1, &touches[i])) gate_die("no memory");
    }
    number(MESSAGES, 4);
    for (unsigned i = 0; i < MESSAGES; i++) one(i);
    g.event = double_event(script, script_n);
    gate_count("bloomberg.walk", MESSAGES, walk, &g);
    double_free(g.event);
    free(g.table.places);
    free(g.staging.ticks);
}
