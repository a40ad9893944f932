/* A lower bound for bench/cme.py: what no handler of a channel can leave out, and nothing else.
 *
 *     cme_bare FILE REPEAT     FILE: see cme_packets.h      prints ns a packet, and the ticks
 *
 * The first copy of a packet is used and later ones are dropped by their number; instruments are found by a hash;
 * RptSeq is looked at; ten levels a side (and two implied ones) are kept; at the end of an event each touch that has
 * changed becomes a tick of 64 bytes in a ring of 65,536 slots in memory, and so does each trade. It knows templates
 * 32 and 42 and no other, trusts that a level is in the book, and says of a loss no more than that there was one: no
 * comparison of the copies, nothing that waits for a missing packet, no recovery, no flags, no definitions, no
 * statistics, no counting by line, nothing told to anybody.
 */
#include "cme_packets.h"

enum { DEPTH = 10, IMPLIED = 2, SLOTS = 65536, BUCKETS = 8192, MOST_CHANGED = 1024 };
enum { HEADER = 12, MESSAGE = 10, GROUP = 3, T_BOOK = 32, T_TRADES = 42, END_OF_EVENT = 128, OLD_PRICE = 100 };

typedef struct level { int64_t price; int32_t size, orders; } level;
typedef struct book {
    int32_t id;
    uint32_t rpt, changed;
    level side[2][DEPTH], implied[2][IMPLIED], told[2][2];
} book;
typedef struct tick { uint64_t seq; int64_t event, recv; int64_t bid, ask; int32_t bid_size, ask_size; uint32_t id, kind; int64_t orders; } tick;

static book books[BUCKETS], *changed[MOST_CHANGED];
static tick *ring;
static uint64_t next, tail, losses, gaps;
static uint32_t expected, changed_n;

static book *find(int32_t id) {
    uint32_t i = (uint32_t)(((uint64_t)(uint32_t)id * UINT64_C(0x9E3779B97F4A7C15)) >> 51);
    while (books[i].id != id && books[i].id) i = (i + 1) % BUCKETS;
    books[i].id = id;
    return &books[i];
}

static void publish(tick t) {
    tick *slot = &ring[++next % SLOTS];
    t.seq = next;
    memcpy((uint8_t *)slot + 8, (uint8_t *)&t + 8, sizeof t - 8);
    __atomic_store_n(&slot->seq, next, __ATOMIC_RELEASE);
    __atomic_store_n(&tail, next, __ATOMIC_RELEASE);
}

static void tell_touch(book *b, const level *bid, const level *ask, level *told, uint32_t kind, int64_t event, int64_t recv) {
    if (!memcmp(bid, &told[0], sizeof *bid) && !memcmp(ask, &told[1], sizeof *ask)) return;
    told[0] = *bid;
    told[1] = *ask;
    publish((tick){0, event, recv, bid->price, ask->price, bid->size, ask->size, (uint32_t)b->id, kind,
                   (int64_t)bid->orders | (int64_t)ask->orders << 32});
}

static void end_event(int64_t event, int64_t recv) {
    for (uint32_t i = 0; i < changed_n; i++) {
        book *b = changed[i];
        tell_touch(b, b->side[0], b->side[1], b->told[0], 1, event, recv);
        tell_touch(b, b->implied[0], b->implied[1], b->told[1], 2, event, recv);
        b->changed = 0;
    }
    changed_n = 0;
}

static void sequence(book *b, uint32_t rpt) {
    gaps += b->rpt && rpt != b->rpt + 1;
    b->rpt = rpt;
}

static void on_book(const uint8_t *e) {
    book *b = find((int32_t)u32(e + 12));
    unsigned at = e[24] - 1u, action = e[25], type = e[26], side = type == '1' || type == 'F', depth = DEPTH;
    level *levels = b->side[side], l = {i64(e) * OLD_PRICE, (int32_t)u32(e + 8), (int32_t)u32(e + 20)};
    if (type == 'E' || type == 'F') levels = b->implied[side], depth = IMPLIED;
    sequence(b, u32(e + 16));
    if (at >= depth) return;
    if (action == 0) memmove(levels + at + 1, levels + at, (depth - at - 1) * sizeof *levels);
    if (action == 2) {
        memmove(levels + at, levels + at + 1, (depth - at - 1) * sizeof *levels);
        levels[depth - 1] = (level){0};
    } else {
        levels[at] = l;
    }
    if (!b->changed && changed_n < MOST_CHANGED) b->changed = 1, changed[changed_n++] = b;
}

static void on_trade(const uint8_t *e, int64_t event, int64_t recv) {
    book *b = find((int32_t)u32(e + 12));
    sequence(b, u32(e + 16));
    publish((tick){0, event, recv, i64(e) * OLD_PRICE, 0, (int32_t)u32(e + 8), 0, (uint32_t)b->id, 3, 0});
}

static void on_packet(const uint8_t *p, size_t n, int64_t recv) {
    uint32_t seq = u32(p);
    if (seq < expected) return;
    losses += expected && seq > expected;
    expected = seq + 1;
    for (const uint8_t *m = p + HEADER, *end = p + n; end - m >= MESSAGE;) {
        size_t size = u16(m), block = u16(m + 2);
        unsigned template_id = u16(m + 4);
        if (size < MESSAGE + block || size > (size_t)(end - m)) break;
        const uint8_t *root = m + MESSAGE, *g = root + block;
        if ((template_id == T_BOOK || template_id == T_TRADES) && size >= MESSAGE + GROUP + block && block >= 9) {
            size_t length = u16(g), count = g[2];
            if (length >= 27 && MESSAGE + GROUP + block + length * count <= size)
                for (size_t i = 0; i < count; i++) {
                    if (template_id == T_BOOK) on_book(g + GROUP + i * length);
                    else on_trade(g + GROUP + i * length, i64(root), recv);
                }
            if (root[8] & END_OF_EVENT) end_event(i64(root), recv);
        }
        m += size;
    }
}

static void begin(void) {
    memset(ring, 0, SLOTS * sizeof *ring);
    memset(books, 0, sizeof books);
    next = tail = expected = changed_n = 0;
}

int main(int argc, char **argv) {
    ring = aligned_alloc(64, SLOTS * sizeof *ring);
    if (argc < 3 || !ring) return 2;
    double ns = best_ns(argv[1], atoi(argv[2]), begin, on_packet);
    printf("%.3f %llu %llu\n", ns, (unsigned long long)next, (unsigned long long)(losses + gaps));
    return 0;
}
