/* Fuzz the flat decoder and the definitions under sanitizers: mutated packets must never be read out of bounds,
 * and what is said of them must agree.
 *
 *     fuzz_entries SEED SECONDS < packets        each packet after its length, u16
 *
 * Prints the number of rounds, of packets that could be walked, and of their rows. Each packet lies in a block of
 * exactly its size, and rows go into blocks of exactly theirs, so that a byte too far is seen.
 */
#define _POSIX_C_SOURCE 199309L
#include "mdp_entries.h"
#include "../../../fuzz/c/one_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX_PACKETS 4096u
#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s\n", __LINE__, #cond); abort(); } } while (0)

typedef struct packet {
    uint8_t *bytes;
    size_t length;
} packet;

static packet corpus[MAX_PACKETS];
static uint32_t packets;
static mdp_plan plan;
static uint64_t state, sound, rows_seen;

static uint32_t rnd(uint32_t below) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

static void put_u16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* Where some message of the packet begins, as far as its sizes can be followed; 0: nowhere. */
static size_t some_message(const uint8_t *p, size_t n) {
    size_t at = MDP_PACKET_HEADER, found = 0;
    for (unsigned seen = 1; at + MDP_MESSAGE_HEADER <= n; seen++) {
        if (rnd(seen) == 0) found = at;
        size_t size = mdp_u16(p + at);
        if (size < MDP_MESSAGE_HEADER) break;
        at += size;
    }
    return found;
}

static size_t mutate(uint8_t *p, size_t n) {
    static const unsigned usual[] = {0, 1, 2, 3, 8, 9, 10, 11, 26, 27, 31, 32, 59, 127, 128, 255, 256, 0x7fff, 0xffff};
    const unsigned usual_count = sizeof usual / sizeof *usual;
    for (uint32_t k = rnd(6); k && n; k--) {
        size_t at = rnd((uint32_t)n), header = some_message(p, n);
        switch (rnd(8)) {
        case 0: p[at] = (uint8_t)rnd(256); break;
        case 1: p[at] ^= (uint8_t)(1u << rnd(8)); break;
        case 2: if (at + 2 <= n) put_u16(p + at, usual[rnd(usual_count)]); break;
        case 3: /* a field of a message header: size, block, template, schema, version */
            if (header) put_u16(p + header + 2 * rnd(5), usual[rnd(usual_count)]);
            break;
        case 4: if (header) put_u16(p + header + MDP_MESSAGE_TEMPLATE, rnd(72)); break;
        case 5: /* the dimension of the first group */
            if (header && header + MDP_MESSAGE_HEADER + mdp_u16(p + header + 2) + 3u <= n) {
                uint8_t *group = p + header + MDP_MESSAGE_HEADER + mdp_u16(p + header + 2);
                if (rnd(2)) put_u16(group, usual[rnd(usual_count)]); else group[2] = (uint8_t)rnd(256);
            }
            break;
        case 6: { /* bytes of another packet */
            const packet *other = &corpus[rnd(packets)];
            size_t from = other->length ? rnd((uint32_t)other->length) : 0, length = rnd(300);
            if (at + length <= n && from + length <= other->length) memcpy(p + at, other->bytes + from, length);
            break;
        }
        default: if (rnd(4) == 0) n = at;
        }
    }
    return n;
}

static void check_text(const char *text, size_t size) {
    size_t n = 0;
    while (n < size && text[n]) {
        CHECK(text[n] >= 0x20 && text[n] < 0x7f);
        n++;
    }
    CHECK(n < size && (n == 0 || text[n - 1] != ' '));
}

static void check_definition(const mdp_definition *d) {
    check_text(d->symbol, sizeof d->symbol);
    check_text(d->group, sizeof d->group);
    check_text(d->asset, sizeof d->asset);
    check_text(d->exchange, sizeof d->exchange);
    check_text(d->currency, sizeof d->currency);
    check_text(d->security_type, sizeof d->security_type);
    check_text(d->cfi, sizeof d->cfi);
    CHECK(d->depth <= 127 && d->implied_depth <= 127 && d->user_defined <= 1);
    CHECK(d->tick_size != MDP_NULL_PRICE && d->multiplier != MDP_NULL_PRICE);
}

/* The definitions of a sound packet are sound, too. */
static unsigned define_all(const uint8_t *p, size_t n) {
    unsigned messages = 0;
    for (const uint8_t *at = p + MDP_PACKET_HEADER; at < p + n; messages++) {
        mdp_message m;
        mdp_definition d;
        at = mdp_message_at(at, &m);
        int result = mdp_define(m.template_id, m.version, m.root, m.block, m.groups, (size_t)(m.end - m.groups), &d);
        CHECK(result == (mdp_define_row_of(m.template_id) ? MDP_DEFINE_OK : MDP_DEFINE_TEMPLATE));
        if (result == MDP_DEFINE_OK) check_definition(&d);
    }
    return messages;
}

static void run(const uint8_t *p, size_t n) {
    size_t offset = 0;
    int fault = mdp_check(plan.shapes, p, n);
    CHECK(mdp_entries_fault(&plan, p, n, &offset) == fault);
    CHECK(offset <= n);
    if (fault != MDP_SOUND) return;
    unsigned messages = define_all(p, n), last = 0;
    size_t rows = mdp_entries(&plan, p, n, NULL, 0), capacity = rnd(3) ? rows : rnd((uint32_t)rows + 1);
    CHECK(rows >= messages && rows <= n);
    mdp_entry *out = malloc(capacity * sizeof *out + !capacity);
    CHECK(out && mdp_entries(&plan, p, n, out, capacity) == rows);
    for (size_t i = 0; i < capacity; i++) {
        const mdp_entry *row = &out[i];
        CHECK(row->msg_seq == mdp_u32(p) && row->sending_time == mdp_u64(p + MDP_PACKET_SENDING));
        CHECK(row->message < messages && row->message >= last && row->group <= MDP_ROW_ORDER);
        CHECK((row->group >= MDP_ROW_ENTRY) == (row->entry < UINT8_MAX));
        last = row->message;
    }
    free(out);
    sound++;
    rows_seen += rows;
}

/* A definition alone, its root and groups cut out of the packet anywhere, in blocks of their own. */
static void define_some(const uint8_t *p, size_t n) {
    static const uint8_t templates[] = {27, 29, 41, 54, 55, 56, 57, 58, 63};
    size_t root_length = rnd(400), groups_length = rnd(300);
    if (root_length + groups_length > n) return;
    size_t from = rnd((uint32_t)(n - root_length - groups_length) + 1);
    uint8_t *root = malloc(root_length + !root_length), *groups = malloc(groups_length + !groups_length);
    CHECK(root && groups);
    memcpy(root, p + from, root_length);
    memcpy(groups, p + from + root_length, groups_length);
    mdp_definition d;
    unsigned template_id = templates[rnd(sizeof templates)], version = rnd(16);
    int result = mdp_define(template_id, version, root, (unsigned)root_length, groups, groups_length, &d);
    if (result == MDP_DEFINE_OK) check_definition(&d);
    const mdp_shape *shape = &plan.shapes[template_id];
    int fault = root_length < shape->root_min ? MDP_BAD_BLOCK
                                              : mdp_check_groups(shape, version, groups, groups + groups_length);
    CHECK((result == MDP_DEFINE_OK) == (fault == MDP_SOUND)); /* two readers of the same table agree */
    free(root);
    free(groups);
}

static void read_corpus(void) {
    uint8_t head[2];
    while (packets < MAX_PACKETS && fread(head, 1, 2, stdin) == 2) {
        packet *one = &corpus[packets++];
        one->length = mdp_u16(head);
        one->bytes = malloc(one->length + !one->length);
        CHECK(one->bytes && fread(one->bytes, 1, one->length, stdin) == one->length);
    }
    CHECK(packets);
}

/* Of this process alone: on a busy machine the rounds are no fewer. */
static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void one_input(const uint8_t *data, size_t n) {
    static int is_ready;
    if (!is_ready) mdp_plan_init(&plan);
    is_ready = 1;
    if (n < 9) return;
    state = seed_of(data, n) * 2654435761u + 1;
    run(data + 8, n - 8);
    define_some(data + 8, n - 8);
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "replay")) return replay(argc, argv);
    if (argc != 3) return 2;
    state = strtoull(argv[1], NULL, 10) * 2654435761u + 1;
    mdp_plan_init(&plan);
    read_corpus();
    for (uint32_t i = 0; i < packets; i++) run(corpus[i].bytes, corpus[i].length);
    CHECK(sound == packets); /* unharmed they are all sound */
    uint64_t rounds = 0;
    for (double end = now_s() + atof(argv[2]); now_s() < end; rounds++) {
        const packet *from = &corpus[rnd(packets)];
        uint8_t *work = malloc(from->length + !from->length);
        CHECK(work);
        memcpy(work, from->bytes, from->length);
        size_t n = mutate(work, from->length);
        uint8_t *exact = malloc(n + !n);
        CHECK(exact);
        memcpy(exact, work, n);
        run(exact, n);
        define_some(exact, n);
        free(exact);
        free(work);
    }
    printf("%llu %llu %llu\n", (unsigned long long)rounds, (unsigned long long)sound, (unsigned long long)rows_seen);
    for (uint32_t i = 0; i < packets; i++) free(corpus[i].bytes);
    return 0;
}
