/* Fuzz the whole handler under sanitizers: packets that are damaged, spliced, out of place and out of time, on any
 * line, with limits that are small. It must never read or write out of bounds, nor loop, nor lose count of itself.
 *
 *     fuzz_mdp SEED SECONDS < packets      each: i64 time, u16 feed, u16 side, u32 length, payload
 *
 * After each packet, what can be seen of the handler must add up; at the end of a round all of its lists are
 * walked. Every second round is played twice, once with and once without packets that were rejected: the ticks
 * must be the same. Each payload is put into a block of exactly its size. Prints the number of rounds.
 */
#include "mdfeedd.h"
#include "../../../fuzz/c/one_input.h"

#include "mdp.h"

#define MAX_INPUT (64u << 20)
#define MAX_PACKETS 100000u
#define MAX_PAYLOAD 4096u
#define ROUND 500u /* packets of a round, at most */
#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s\n", __LINE__, #cond); abort(); } } while (0)

typedef struct source { int64_t time; uint16_t feed, side; uint32_t length; const uint8_t *payload; } source;

static source packets[MAX_PACKETS];
static uint32_t packets_n;
static uint64_t state;

static uint32_t rnd(uint32_t below) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

static uint64_t rnd64(void) { return (uint64_t)rnd(UINT32_MAX) << 32 | rnd(UINT32_MAX); }

static uint64_t extreme(void) {
    static const uint64_t some[] = {0, 1, 2, 9, 10, 11, 12, 32, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, INT32_MAX,
                                    UINT64_C(1) << 31, UINT32_MAX - 1, UINT32_MAX, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - 1,
                                    UINT64_MAX};
    return some[rnd(sizeof some / sizeof *some)];
}

/* Damage a payload of n bytes in a buffer of MAX_PAYLOAD; returns its new length. */
static uint32_t damage(uint8_t *p, uint32_t n) {
    for (uint32_t k = 1 + rnd(4); k; k--) {
        uint32_t at = n ? rnd(n) : 0;
        uint64_t value = extreme();
        static const uint32_t widths[] = {1, 2, 4, 8};
        switch (rnd(9)) {
        case 0: if (n) p[at] ^= (uint8_t)(1u << rnd(8)); break;
        case 1: if (n) p[at] = (uint8_t)rnd(256); break;
        case 2: {
            uint32_t width = widths[rnd(4)];
            if (at + width <= n) memcpy(p + at, &value, width);
            break;
        }
        case 3: if (rnd(4) == 0) n = at; break;
        case 4: { /* junk behind */
            uint32_t more = rnd(64);
            if (n + more > MAX_PAYLOAD) break;
            for (uint32_t i = 0; i < more; i++) p[n + i] = (uint8_t)rnd(256);
            n += more;
            break;
        }
        case 5: { /* the end of another packet */
            const source *other = &packets[rnd(packets_n)];
            uint32_t from = other->length ? rnd(other->length) : 0, length = other->length - from;
            if (at + length > MAX_PAYLOAD) break;
            memcpy(p + at, other->payload + from, length);
            n = at + length;
            break;
        }
        case 6: if (n >= 4) memcpy(p, &value, 4); break;                          /* MsgSeqNum */
        case 7: if (n >= 12) memcpy(p + 4, &value, 8); break;                     /* SendingTime */
        default: if (n >= 22) memcpy(p + 12 + 2 * rnd(5), &value, 2);             /* the first message's header */
        }
    }
    return n;
}

/* ------------------------------------------------------------------------------------------- what must add up */

static uint64_t ticks_seen;

static void check_ticks(mdp_handler *h) {
    const mdf_tick *t = (const mdf_tick *)(const void *)h->out.kept;
    for (size_t i = 0; i < h->out.n; i++) {
        CHECK(t[i].kind >= MDF_QUOTE && t[i].kind <= MDF_HEARTBEAT && t[i].side <= 2);
        CHECK((t[i].instrument_id & 0xFFFFFFu) <= h->ring_instruments);
    }
    ticks_seen += h->out.n;
    CHECK(h->count.quotes + h->count.trades + h->count.others == ticks_seen);
}

static void check_each(mdp_handler *h) {
    CHECK(!h->staged && h->told_n <= MDP_MAX_EVENTS && h->instruments_n <= h->o.max_instruments);
    CHECK(h->notes_n <= h->o.recovery_entries);
    for (uint32_t c = 0; c < h->channels_n; c++) {
        const mdp_channel *ch = h->channels[c];
        CHECK(ch->buffered <= h->o.reorder_packets && ch->open_gaps <= MDP_MAX_OPEN_GAPS);
        CHECK(ch->next <= UINT64_C(1) << 32 && ch->instruments <= h->instruments_n);
        CHECK(ch->unproven <= ch->instruments && ch->unproven_mbo <= ch->instruments);
        CHECK(ch->changed_n <= h->instruments_n);
    }
}

/* What spares the hot path its questions must be true. */
static void check_shortcuts(const mdp_channel *ch, mdp_instrument *b) {
    mdp_touch now = mdp_touch_of(b, MDP_BIDS), implied = mdp_touch_of(b, MDP_IMPLIED_BIDS);
    CHECK(b->flags & MDP_TOUCHED || mdp_same_touch(&now, &b->told));
    CHECK(b->flags & MDP_TOUCHED_IMPLIED || mdp_same_touch(&implied, &b->told_implied));
    if (b->quick == ch->generation) CHECK(b->flags & MDP_SELECTED && b->generation == ch->generation && b->state != MDP_UNKNOWN);
    for (unsigned side = 0; side < MDP_SIDES_OF_BOOK; side++) {
        uint32_t places = 0;
        for (unsigned i = 0; i < mdp_depth_of(b, side); i++) places |= 1u << mdp_place_at(b, side, i);
        CHECK(places == mdp_levels_of(b, side) && !(b->order[side] >> (4 * mdp_depth_of(b, side) + 4)));
    }
}

static void check_channel(mdp_handler *h, mdp_channel *ch) {
    uint32_t waiting = 0, instruments = 0, unproven = 0, unproven_mbo = 0, in_event = 0, listed = 0;
    for (uint32_t i = 0; i < h->o.reorder_packets; i++) {
        const mdp_slot *s = &ch->slots[i];
        if (!s->length) continue;
        waiting++;
        CHECK(s->seq > ch->next && s->seq - ch->next < h->o.reorder_packets && (s->seq & (h->o.reorder_packets - 1)) == i);
    }
    CHECK(waiting == ch->buffered);
    for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
        mdp_instrument *b = &h->instruments[i];
        CHECK(b->channel == ch->index && (b->instrument_id || !(b->flags & MDP_SELECTED)));
        in_event += b->in_event;
        check_shortcuts(ch, b);
        if (!(b->flags & MDP_SELECTED)) continue;
        instruments++;
        unproven += !mdp_is_proven(ch, b);
        unproven_mbo += !mdp_is_mbo_proven(ch, b);
    }
    CHECK(instruments == ch->instruments && unproven == ch->unproven && unproven_mbo == ch->unproven_mbo);
    for (; listed < ch->changed_n; listed++) {
        const mdp_instrument *b = ch->changed[listed];
        CHECK(b >= h->instruments && b < h->instruments + h->instruments_n && b->in_event && b->channel == ch->index);
    }
    CHECK(listed == in_event);
}

static uint32_t length_of(const mdp_orders *o, uint32_t first) {
    uint32_t n = 0;
    for (; first != MDP_NONE; first = o->pool[first].next) {
        CHECK(first < o->used);
        CHECK(++n <= o->used);
    }
    return n;
}

static void check_pools(mdp_handler *h) {
    uint32_t notes = 0, orders = 0;
    for (uint32_t i = h->free_note; i != MDP_NONE; i = h->notes[i].next) CHECK(i < h->notes_n && ++notes <= h->notes_n);
    for (uint32_t k = 0; k < h->instruments_n; k++) {
        const mdp_instrument *b = &h->instruments[k];
        for (uint32_t i = b->first_note; i != MDP_NONE; i = h->notes[i].next) {
            CHECK(i < h->notes_n && ++notes <= h->notes_n);
            CHECK(h->notes[i].next != MDP_NONE || i == b->last_note);
        }
        if (!h->orders) continue;
        uint32_t live = length_of(h->orders, b->first_order);
        CHECK(live == b->orders_n);
        orders += live + length_of(h->orders, b->first_mbo_note) + length_of(h->orders, b->chunk_first);
        for (uint32_t i = b->first_order; i != MDP_NONE; i = h->orders->pool[i].next)
            CHECK(mdp_order_find(h->orders, k, h->orders->pool[i].id) == i);
    }
    CHECK(notes == h->notes_n);
    if (h->orders) CHECK(orders + length_of(h->orders, h->orders->free) == h->orders->used);
}

static void check_all(mdp_handler *h) {
    for (uint32_t c = 0; c < h->channels_n; c++) check_channel(h, h->channels[c]);
    check_pools(h);
}

/* ------------------------------------------------------------------------------------------------------- rounds */

static void open_any(mdp_handler *h) {
    static const char *const patterns[] = {"*", "*", "*", "ES*", "?L*", "10*"};
    mdp_options o;
    memset(&o, 0, sizeof o);
    o.max_instruments = rnd(3) ? 64 : 1 + rnd(4);
    o.reorder_packets = 2u << rnd(rnd(2) ? 3 : 8);
    o.recovery_entries = rnd(2) ? 16 + rnd(32) : 4096;
    o.max_orders = rnd(2) ? 16 + rnd(64) : 4096;
    o.passed_by = rnd(2) ? 0 : rnd(100);
    o.depth = (uint8_t)rnd(2);
    o.orders = (uint8_t)rnd(2);
    o.natural_refresh = (uint8_t)rnd(2);
    o.feed_index = (uint8_t)rnd(256);
    o.max_wait_ns = rnd(2) ? 10000000 : (int64_t)(rnd64() >> 1);
    o.silence_ns = rnd(2) ? INT64_C(35000000000) : 1000;
    CHECK(!mdp_open(h, &o));
    strcpy(h->filters[rnd(2) ? 0 : rnd(3)][0].pattern, patterns[rnd(6)]);
    for (int kind = 0; kind < 3; kind++) h->filters_n[kind] = h->filters[kind][0].pattern[0] != 0;
    uint32_t channels = 1 + rnd(3);
    for (uint32_t c = 0; c < channels; c++) {
        CHECK(mdp_channel_index(h, 310 + c) == (int)c);
        for (unsigned line = 0; line < 8; line++) CHECK(mdp_line_add(h, c, line / 2, line & 1) == (int)(8 * c + line));
    }
}

/* One packet that may be anything, into a block of its size. Returns the block. */
static uint8_t *make(mdf_packet *k, const source *s, const mdp_handler *h, unsigned share, int64_t *now) {
    uint8_t bytes[MAX_PAYLOAD];
    uint32_t n = s->length;
    memcpy(bytes, s->payload, n);
    if (rnd(100) < share) n = damage(bytes, n);
    uint8_t *exact = (uint8_t *)malloc(n ? n : 1);
    CHECK(exact);
    memcpy(exact, bytes, n);
    memset(k, 0, sizeof *k);
    k->payload = exact;
    k->length = n;
    k->line = rnd(50) ? s->feed * 2u + s->side : rnd(h->lines_n + 1);
    if (h->channels_n > 1 && rnd(4) == 0) k->line = (k->line + 8 * rnd(h->channels_n)) % h->lines_n;
    if (s->time > *now) *now = s->time;
    if (rnd(200) == 0) *now = rnd(2) ? (int64_t)(rnd64() >> 1) : INT64_MAX - rnd(1000);
    k->now_ns = rnd(100) ? *now : (int64_t)rnd64();
    k->ts_recv = rnd(100) ? s->time : rnd(2) ? MDF_TIME_UNDEF : (int64_t)rnd64();
    k->ts_flags = MDF_KERNEL_TS;
    return exact;
}

static void round_of_chaos(mdp_handler *h) {
    open_any(h);
    ticks_seen = 0;
    uint32_t at = rnd(packets_n), number = 1 + rnd(ROUND), share = rnd(3) * rnd(60);
    int64_t now = 0;
    for (uint32_t i = 0; i < number; i++, at++) {
        if (rnd(100) == 0) at = rnd(packets_n);
        mdf_packet k;
        uint8_t *exact = make(&k, &packets[at % packets_n], h, share, &now);
        for (uint32_t copies = rnd(20) ? 1 : 2; copies; copies--) mdp_on_packet(h, &k);
        free(exact);
        if (rnd(20) == 0) mdp_on_time(h, rnd(20) ? now : (int64_t)rnd64());
        check_each(h);
        check_ticks(h);
        h->out.n = h->depth_out.n = h->orders_out.n = 0;
        if (rnd(8) == 0) h->told_n = 0;
        if (rnd(32) == 0) check_all(h);
    }
    check_all(h);
    mdp_close(h);
}

/* Of no use to a handler, by the framing alone. */
static int is_rejected(const mdp_handler *h, const mdf_packet *k) { return mdp_check(h->shapes, k->payload, k->length) != MDP_SOUND; }

static uint32_t settle(mdp_out *out, uint32_t before) {
    mdf_tick *t = (mdf_tick *)(void *)out->kept;
    for (size_t i = before; out->slot == sizeof *t && i < out->n; i++) t[i].ts_recv = 0; /* of whoever came last */
    return (uint32_t)out->n;
}

/* The same packets twice, sound ones with losses; the first time rejected ones among them, the second time only
 * what the clock says then. Ticks and orders are the same. */
static void round_with_rejected(mdp_handler *with, mdp_handler *without) {
    uint64_t begin = state;
    open_any(with);
    state = begin;
    open_any(without);
    uint32_t at = rnd(packets_n), number = 1 + rnd(ROUND), lost = rnd(30), seen = 0;
    int64_t now = 0;
    for (uint32_t i = 0; i < number; i++, at++) {
        const source *s = &packets[at % packets_n];
        mdf_packet k;
        if (rnd(4) == 0) {
            uint8_t *exact = make(&k, s, with, 100, &now);
            k.now_ns = now;
            k.ts_recv = now;
            if (is_rejected(with, &k)) {
                mdp_on_packet(with, &k);
                mdp_on_time(without, now);
                mdp_on_time(with, now);
            }
            free(exact);
        }
        if (rnd(100) < lost) continue;
        uint8_t *exact = make(&k, s, with, 0, &now);
        k.now_ns = now;
        mdp_on_packet(with, &k);
        mdp_on_packet(without, &k);
        free(exact);
        settle(&with->out, seen);
        seen = settle(&without->out, seen);
        CHECK(with->out.n == without->out.n && with->orders_out.n == without->orders_out.n);
    }
    CHECK(!seen || !memcmp(with->out.kept, without->out.kept, seen * sizeof(mdf_tick)));
    check_all(with);
    check_all(without);
    mdp_close(with);
    mdp_close(without);
}

/* The packets of the input, as far as they are whole; where that ends. */
static size_t take_packets(const uint8_t *input, size_t n) {
    size_t at = 0;
    packets_n = 0;
    while (at + 16 <= n && packets_n < MAX_PACKETS) {
        source *s = &packets[packets_n];
        memcpy(&s->time, input + at, 8);
        memcpy(&s->feed, input + at + 8, 2);
        memcpy(&s->side, input + at + 10, 2);
        memcpy(&s->length, input + at + 12, 4);
        at += 16;
        if (s->length > n - at || s->length > MAX_PAYLOAD || s->feed > 3 || s->side > 1) break;
        s->payload = input + at;
        at += s->length;
        packets_n++;
    }
    return at;
}

static void read_packets(void) {
    static uint8_t input[MAX_INPUT];
    size_t n = fread(input, 1, sizeof input, stdin);
    CHECK(take_packets(input, n) == n && packets_n);
}

static void one_input(const uint8_t *data, size_t n) {
    static mdp_handler *one, *other;
    if (!one) one = (mdp_handler *)aligned_alloc(64, sizeof *one);
    if (!other) other = (mdp_handler *)aligned_alloc(64, sizeof *other);
    CHECK(one && other);
    if (n < 9) return;
    take_packets(data + 8, n - 8);
    if (!packets_n) return;
    state = seed_of(data, n) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    if (state & 2) round_with_rejected(one, other);
    else round_of_chaos(one);
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "replay")) return replay(argc, argv);
    if (argc != 3) return 2;
    read_packets();
    mdp_handler *one = (mdp_handler *)aligned_alloc(64, sizeof *one), *other = (mdp_handler *)aligned_alloc(64, sizeof *other);
    CHECK(one && other);
    uint64_t seed = strtoull(argv[1], NULL, 10);
    int64_t end = mdf_clock_ns(CLOCK_MONOTONIC) + (int64_t)(strtod(argv[2], NULL) * 1e9);
    unsigned rounds = 0;
    do {
        state = (seed + rounds) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        if (getenv("FUZZ_TRACE")) fprintf(stderr, "seed %llu\n", (unsigned long long)(seed + rounds));
        if (rounds % 2) round_with_rejected(one, other);
        else round_of_chaos(one);
        rounds++;
    } while (mdf_clock_ns(CLOCK_MONOTONIC) < end || rounds < 5);
    printf("%u\n", rounds);
    free(one);
    free(other);
    return 0;
}
