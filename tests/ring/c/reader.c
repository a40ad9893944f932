/* reader.c: print every tick of a ring as a line, one at a time, until its writer has closed it.
 *
 *     reader PATH
 */
#include "mdfeedd.h"

#include <inttypes.h>
#include <stdlib.h>

static void print_symbol(const mdf_reader *r, uint32_t instrument_id) {
    mdf_instrument e;
    for (uint64_t i = 0; mdf_read_instrument(r, i, &e) == 0; i++) {
        if (e.instrument_id != instrument_id) continue;
        printf("%s", e.symbol);
        return;
    }
    printf("?");
}

static void print_tick(const mdf_reader *r, const mdf_tick *t) {
    printf("%" PRIu64 " %" PRId64 " %" PRId64 " %u ", t->seq, t->ts_event, t->ts_recv,
           t->instrument_id);
    print_symbol(r, t->instrument_id);
    printf(" %u %u %u %u %u", t->kind, t->side, t->flags, t->venue_seq, t->count);
    if (t->kind == MDF_QUOTE)
        printf(" %" PRId64 " %" PRId64 " %u %u\n", t->payload.quote.bid_price,
               t->payload.quote.ask_price, t->payload.quote.bid_size, t->payload.quote.ask_size);
    else
        printf(" %" PRId64 " %" PRIu64 " %u %u\n", t->payload.trade.price,
               t->payload.trade.trade_id, t->payload.trade.size, t->payload.trade.reserved);
}

int main(int argc, char **argv) {
    mdf_reader r;
    mdf_tick tick;
    char err[MDF_ERR];
    if (argc != 2) return 2;
    int code = mdf_reader_open(&r, argv[1], MDF_TICK_LAYOUT, sizeof tick, MDF_START_OLDEST,
                               "c-reader", err);
    if (code) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    for (;;) {
        int closed = mdf_load32_acquire(&r.h->state) ==
                     MDF_CLOSED; /* before the read: nothing comes after */
        int got = mdf_read_one(&r, &tick);
        if (got == 1) print_tick(&r, &tick);
        if (got) continue;
        if (closed) break;
        if (mdf_wait(&r, 20000, 1000000000) == MDF_READY) mdf_acknowledge_state(&r);
    }
    fprintf(stderr, "lost %" PRIu64 "\n", r.lost);
    mdf_reader_close(&r);
    return 0;
}
