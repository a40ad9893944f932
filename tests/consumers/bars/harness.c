/* Garbage through the bar kernel, for the sanitizers: argv[1] rounds from argv[2]'s seed. Prints what came out. */
#include "bars.h"

#include <stdlib.h>

#define TICKS 512u

static uint64_t state;

static uint64_t draw(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? state % below : state;
}

/* Mostly a market, so that bars open and close; the rest are any bytes. */
static void make(mdf_tick *t, uint64_t seq, int64_t *now) {
    if (draw(16) == 0) {
        uint64_t *words = (uint64_t *)(void *)t;
        for (unsigned i = 0; i < sizeof *t / 8; i++) words[i] = draw(0);
        return;
    }
    memset(t, 0, sizeof *t);
    *now += (int64_t)draw(draw(8) ? 400000000 : UINT64_C(20000000000));
    t->seq = seq;
    t->ts_event = *now - (int64_t)draw(draw(4) ? 1 : UINT64_C(3000000000));
    t->instrument_id = (uint32_t)draw(draw(64) ? 12 : 3000);
    t->kind = (uint8_t)(draw(4) ? MDF_TRADE : draw(16));
    t->flags = (uint16_t)(draw(8) ? 0 : draw(1024));
    t->payload.trade.price = draw(8) ? (int64_t)draw(1000) - 500 : (int64_t)draw(0);
    t->payload.trade.size = (uint32_t)draw(draw(8) ? 100 : 0);
}

static mdf_bar kept[64]; /* the latest, for an earlier run's */
static uint32_t kept_n;

static int drain(mdf_bars *b, uint64_t *bars) {
    for (uint32_t i = 0; i < b->out_n; i++) {
        kept[kept_n++ % 64] = b->out[i];
        const mdf_bar *bar = &b->out[i];
        if (bar->low > bar->high || bar->open > bar->high || bar->close < bar->low) return 0;
        if (bar->volume && (bar->vwap < bar->low || bar->vwap > bar->high)) return 0;
        if (bar->ts_open % ((int64_t)bar->interval_s * 1000000000)) return 0;
    }
    *bars += b->out_n;
    b->out_n = 0;
    return 1;
}

/* Begin again with what is kept of an earlier run, some of it damaged. */
static int begin_again(mdf_bars *b) {
    uint32_t n = kept_n < 64 ? kept_n : 64;
    mdf_bars_reset(b);
    for (uint32_t i = 0; i < n; i++) {
        if (draw(2)) kept[i].flags |= MDF_BAR_PARTIAL;
        if (draw(16) == 0) kept[i].ts_open = (int64_t)draw(UINT64_MAX);
        if (draw(16) == 0) kept[i].ts_last = (int64_t)draw(UINT64_MAX);
        if (draw(16) == 0) kept[i].first_seq = draw(UINT64_MAX);
        if (draw(16) == 0) kept[i].instrument_id = (uint32_t)draw(UINT64_MAX);
        if (draw(16) == 0) kept[i].interval_s = (uint32_t)draw(UINT64_MAX);
        if (draw(16) == 0) kept[i].count = (uint32_t)draw(3);
    }
    return mdf_bars_seed(b, kept, n, draw(2) ? UINT64_MAX : draw(6 * TICKS)) == MDF_BARS_DONE;
}

static int play(mdf_bars *b, mdf_tick *ticks, uint64_t *bars) {
    int64_t now = INT64_C(1700000000000000000);
    for (int batch = 0; batch < 6; batch++) {
        size_t n = draw(TICKS), at = 0, used = 0;
        for (size_t i = 0; i < n; i++) make(&ticks[i], 1 + (uint64_t)batch * TICKS + i, &now);
        int code;
        do {
            code = mdf_bars_update(b, ticks + at, n - at, &used);
            at += used;
            if (!drain(b, bars)) return 0;
        } while (code == MDF_BARS_FULL);
        if (code || at != n) return 0;
        if (draw(4) == 0) mdf_bars_hole(b);
        if (draw(8) == 0) {
            while (mdf_bars_flush(b, (int)draw(2)) == MDF_BARS_FULL)
                if (!drain(b, bars)) return 0;
        }
        if (draw(16) == 0) mdf_bars_reset(b);
        if (draw(8) == 0 && !begin_again(b)) return 0;
        if (draw(8) == 0) {
            int64_t to = now + (int64_t)draw(UINT64_C(5000000000));
            while (mdf_bars_advance(b, to) == MDF_BARS_FULL)
                if (!drain(b, bars)) return 0;
        }
        (void)mdf_bars_position(b, draw(2) ? 0 : draw(6 * TICKS));
    }
    return drain(b, bars);
}

int main(int argc, char **argv) {
    static const uint32_t sets[4][MDF_BARS_MAX_INTERVALS] = {
        {1}, {1, 60}, {1, 2, 3}, {1, 2, 3, 5, 60, 3600, 86400, 604800}};
    static const uint32_t sizes[4] = {1, 2, 3, 8};
    if (argc < 3) return 2;
    uint64_t rounds = strtoull(argv[1], NULL, 10), bars = 0;
    state = strtoull(argv[2], NULL, 10) * 2 + 1;
    for (uint64_t round = 0; round < rounds; round++) {
        unsigned set = (unsigned)draw(4);
        uint32_t out_size = sizes[set] + (uint32_t)draw(5), limit = 2 + (uint32_t)draw(2000);
        /* exact allocations: one step too far is seen */
        mdf_bar *out = (mdf_bar *)malloc(out_size * sizeof *out);
        mdf_tick *ticks = (mdf_tick *)malloc(TICKS * sizeof *ticks);
        mdf_bars b;
        const char *wrong =
            mdf_bars_init(&b, sets[set], sizes[set], (int64_t)draw(UINT64_C(15000000000)),
                          (uint32_t)draw(2) * 20, limit, out, out_size);
        int fine = !wrong && out && ticks && play(&b, ticks, &bars);
        if (!fine) printf("round %llu: %s\n", (unsigned long long)round, wrong ? wrong : "a bad bar");
        mdf_bars_free(&b);
        free(out);
        free(ticks);
        if (!fine) return 1;
    }
    printf("%llu bars\n", (unsigned long long)bars);
    return bars == 0;
}
