/* jsontext.h with extreme and random ticks into a buffer of exactly the size that it asks for, under sanitizers. */
#include "jsontext.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : (fprintf(stderr, "line %d: %s\n", __LINE__, #x), exit(1)))

static uint64_t state = 88172645463325252u;

static uint64_t next(void) { /* xorshift */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static int64_t extreme(void) {
    static const int64_t values[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1, -1, 0, 1, -1000000000,
                                     999999999, -86400000000001};
    uint64_t r = next();
    return r % 3 ? values[(r >> 8) % (sizeof values / sizeof *values)] : (int64_t)next();
}

static void one(mdf_tick *t, unsigned kind) {
    memset(t, 0xff, sizeof *t);
    t->kind = (uint8_t)kind;
    t->seq = (uint64_t)extreme();
    t->ts_event = extreme();
    t->ts_recv = extreme();
    t->side = (uint8_t)next();
    t->flags = (uint16_t)next();
    t->payload.quote.bid_price = extreme();
    t->payload.quote.ask_price = extreme();
}

int main(int argc, char **argv) {
    if (argc > 1) state ^= strtoull(argv[1], NULL, 10) << 1;
    const char texts[] = "head-of-quotes" "head-of-trades" "\"SYMBOL\"" "qt" "";
    const int64_t offsets[] = {0, 14, 28, 36, 37, 38, 38};
    const size_t longest = 36;
    size_t most = 0;
    for (int round = 0; round < 20000; round++) {
        const size_t n = next() % 5;
        const int resp = (int)(next() & 1);
        mdf_tick *ticks = malloc(n * sizeof *ticks + 1);
        int64_t *places = malloc(n * sizeof *places + 1), *lengths = malloc(n * sizeof *lengths + 1);
        char *out = malloc(n * (MDF_JSON_LINE_MAX + longest) + 1);
        size_t stop = n, bytes = 0, sum = 0;
        for (size_t i = 0; i < n; i++) {
            one(&ticks[i], 1 + (unsigned)(next() % 5)); /* 5: a kind that it does not know */
            if (ticks[i].kind == 5 && stop == n) stop = i;
            places[i] = (int64_t)(next() & 1);
        }
        const mdf_json_heads heads = {texts, offsets, places};
        CHECK(mdf_json_lines(ticks, 0, n, &heads, resp, out, lengths, &bytes) == stop);
        for (size_t i = 0; i < stop; i++) {
            if ((size_t)lengths[i] > most) most = (size_t)lengths[i];
            sum += (size_t)lengths[i];
        }
        CHECK(sum == bytes);
        CHECK(stop == 0 || out[bytes - 1] == (resp ? '\n' : '}'));
        free(ticks), free(places), free(lengths), free(out);
    }
    CHECK(most < MDF_JSON_LINE_MAX);
    return 0;
}
