/* accesses.c: what each protocol function of mdfeedd.h loads and stores, in which order, in one situation each.
 *
 *     accesses
 *
 * A line is a function, or "  R|W ORDER NAME" of what it does, or a system call. test_weak.py compares them with the
 * statements of the spin models.
 */
#define WEAK_LOCATIONS 160
#include "weak.h"

#include "mdfeedd.h"

enum { WORDS = 8, SLOTS = 8 };

static mdf_ring_header header;
static mdf_registry registry;
static uint64_t slots[SLOTS][WORDS], out[SLOTS * WORDS];
static mdf_instrument table[1];
static mdf_writer w;
static mdf_reader r;

static void begin(const char *name) {
    memset(&header, 0, sizeof header);
    memset(slots, 0, sizeof slots);
    memset(&w, 0, sizeof w);
    memset(&r, 0, sizeof r);
    weak_locations = 0;
    header.first_seq = header.reserve = 1;
    header.state = r.seen_state = MDF_LIVE;
    header.instruments_capacity = r.instruments_capacity = 1;
    r.h = w.h = &header;
    r.registry = w.registry = &registry;
    r.slots = w.slots = (uint8_t *)slots;
    r.instruments = w.instruments = table;
    r.capacity = w.capacity = SLOTS;
    r.mask = w.mask = SLOTS - 1;
    r.next = w.next = w.reserved = 1;
    r.words = w.words = WORDS;
    w.block = 1;
    printf("%s\n", name);
}

/* Memory as it is; weak_load asks for it when an address is first met. */
static void committed(uint64_t from, uint64_t to) {
    for (uint64_t s = from; s <= to; s++) slots[s & (SLOTS - 1)][0] = s;
}

int main(void) {
    uint32_t gen;
    uint64_t skip;
    mdf_instrument e;
    printf("at header %p registry %p slots %p table %p\n", (void *)&header, (void *)&registry, (void *)slots, (void *)table);
    printf("of reserve %zu tail %zu wake_gen %zu waiters %zu intent %zu count %zu\n", offsetof(mdf_ring_header, reserve),
           offsetof(mdf_ring_header, tail), offsetof(mdf_ring_header, wake_gen), offsetof(mdf_registry, waiters),
           offsetof(mdf_ring_header, intent), offsetof(mdf_ring_header, instruments_count));
    weak_trace = 1;
    begin("publish");
    mdf_publish(&w, out);
    begin("publish_batch");
    mdf_publish_batch(&w, out, 2);
    begin("flush");
    registry.waiters = 1;
    mdf_flush(&w);
    begin("recover");
    committed(1, 1);
    mdf_recover(&w);
    begin("read_one"); /* lapped */
    committed(9, 9);
    header.reserve = 10;
    header.tail = 9;
    mdf_read_one(&r, out);
    begin("read_batch"); /* lapped; some by the tail, one that came meanwhile */
    committed(5, 10);
    header.tail = 9;
    header.reserve = 11;
    mdf_read_batch(&r, out, 6, &skip);
    begin("wait");
    if (!mdf_prepare_wait(&r, &gen)) mdf_futex(&header.wake_gen, FUTEX_WAIT, gen, NULL);
    begin("carry_out");
    header.intent = 1;
    mdf_instrument_carry_out(&w);
    begin("read_instrument");
    header.instruments_count = 1;
    memset(table, 0, sizeof table);
    mdf_read_instrument(&r, 0, &e);
    return 0;
}
