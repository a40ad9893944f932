/* writer.c: publish COUNT ticks, one at a time, quotes and trades in turn, of two instruments.
 *
 *     writer PATH COUNT
 */
#include "mdfeedd.h"

#include <stdlib.h>

enum { FEED_INDEX = 3, SYMBOLS = 2 };

static void make_tick(mdf_tick *t, uint64_t i) {
    memset(t, 0, sizeof *t);
    t->ts_event = 1000 + (int64_t)i;
    t->ts_recv = 2000 + (int64_t)i;
    t->instrument_id = FEED_INDEX << 24 | (uint32_t)(1 + i % SYMBOLS);
    t->flags = MDF_EVENT_END | MDF_REPLAYED;
    t->venue_seq = (uint32_t)i;
    t->count = (uint32_t)(i % 7);
    if (i % 3) {
        t->kind = MDF_QUOTE;
        t->payload.quote.bid_price = (int64_t)i * MDF_PRICE_SCALE;
        t->payload.quote.ask_price = (int64_t)i * MDF_PRICE_SCALE + 250000000;
        t->payload.quote.bid_size = (uint32_t)(10 + i);
        t->payload.quote.ask_size = (uint32_t)(20 + i);
    } else {
        t->kind = MDF_TRADE;
        t->side = i % 2 ? MDF_SIDE_BID : MDF_SIDE_ASK;
        t->payload.trade.price = -(int64_t)i * MDF_PRICE_SCALE;
        t->payload.trade.trade_id = UINT64_C(1) << 63 | i;
        t->payload.trade.size = (uint32_t)(i + 1);
    }
}

int main(int argc, char **argv) {
    static const char *const symbols[SYMBOLS] = {"ESZ5", "NQZ5"};
    mdf_writer w;
    mdf_tick tick;
    char err[MDF_ERR];
    const mdf_ring_options options = {"c-feed", MDF_TICK_LAYOUT, sizeof tick, FEED_INDEX, 1000,
                                      1024};
    if (argc != 3) return 2;
    if (mdf_writer_open(&w, argv[1], &options, err)) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    for (uint32_t i = 0; i < SYMBOLS; i++) {
        mdf_instrument e;
        memset(&e, 0, sizeof e);
        e.instrument_id = FEED_INDEX << 24 | (i + 1);
        e.tick_size = 250000000;
        mdf_text(e.symbol, sizeof e.symbol, symbols[i]);
        if (mdf_instrument_put(&w, i, &e, err)) return 1;
    }
    for (uint64_t i = 0, n = strtoull(argv[2], NULL, 10); i < n; i++) {
        make_tick(&tick, i);
        mdf_publish(&w, &tick);
        mdf_flush(&w);
    }
    mdf_writer_close(&w, 1);
    return 0;
}
