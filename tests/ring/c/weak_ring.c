/* weak_ring.c: the protocol functions of mdfeedd.h itself, under the memory of weak.h, in every way.
 *
 *     weak_ring one | batch | batch_tail | publish_batch | killed | killed_batch | closed | wake | wake_again | ... : see main
 *
 * Few slots of eight words. Every record that is accepted must be whole, and the one that was published under its
 * number; got + lost == next - 1; nobody sleeps for ever with something to read; half of one instrument and half
 * of another is never read. A copy of the header with a weaker order in it (test_weak.py plants them) must fail.
 */
#include "weak.h"

#include "mdfeedd.h"

enum { WORDS = 8, MOST = 16, MANY = 4 };

static mdf_ring_header header;
static mdf_registry registry;
static uint64_t slots[MANY][WORDS];
static mdf_instrument table[1];
static uint64_t capacity, last, block, burst;
static int tries, life;
static int batches; /* 1: the reader goes by the commit words, 2: by the tail */
static uint64_t content[MOST + 1]; /* what the last one who published it wrote */

static mdf_writer writer(void) {
    mdf_writer w;
    memset(&w, 0, sizeof w);
    w.h = &header;
    w.registry = &registry;
    w.slots = (uint8_t *)slots;
    w.instruments = table;
    w.capacity = capacity;
    w.mask = capacity - 1;
    w.next = w.reserved = 1;
    w.words = WORDS;
    w.block = (uint32_t)block;
    return w;
}

static mdf_reader reader(void) {
    mdf_reader r;
    memset(&r, 0, sizeof r);
    r.h = &header;
    r.registry = &registry;
    r.slots = (const uint8_t *)slots;
    r.instruments = table;
    r.instruments_capacity = 1;
    r.capacity = capacity;
    r.mask = capacity - 1;
    r.next = 1;
    r.words = WORDS;
    return r;
}

static void publish_from(mdf_writer *w) {
    uint64_t records[MANY * WORDS];
    while (w->next <= last) {
        uint64_t n = w->next + burst - 1 <= last ? burst : 1;
        for (uint64_t k = 0; k < n; k++) {
            content[w->next + k] = 100 * (w->next + k) + (uint64_t)life;
            for (int i = 0; i < WORDS; i++) records[k * WORDS + (uint64_t)i] = content[w->next + k];
        }
        if (burst > 1) mdf_publish_batch(w, records, n);
        else mdf_publish(w, records);
    }
}

static void write_all(void) {
    mdf_writer w = writer();
    life = 0;
    publish_from(&w);
}

/* The lock that the kernel dropped is taken: all that the dead writer did is known. */
static void take_over(void) {
    mdf_writer w = writer();
    life = 1;
    mdf_recover(&w);
    publish_from(&w);
}

static void check(const uint64_t *record, uint64_t s) {
    WEAK_CHECK(s <= last && record[0] == s);
    for (int i = 1; i < WORDS; i++) WEAK_CHECK(record[i] == content[s]);
    if (content[s] % 100 == 1) { /* of the second writer: whoever has it knows of that one */
        WEAK_CHECK(mdf_load_acquire(&header.epoch) == 1);
        WEAK_CHECK(mdf_load(&header.epoch_first_seq) <= s);
    }
}

static void read_some(void) {
    uint64_t out[MANY * WORDS], got = 0, skip = 0;
    mdf_reader r = reader();
    for (int i = 0; i < tries; i++) {
        if (batches) {
            r.burst = batches > 1;
            uint64_t n = mdf_read_batch(&r, out, 2, &skip);
            for (uint64_t k = 0; k < n; k++) check(out + (skip + k) * WORDS, r.next - n + k);
            got += n;
        } else if (mdf_read_one(&r, out) == 1) {
            check(out, r.next - 1);
            got++;
        }
        WEAK_CHECK(got + r.lost == r.next - 1);
    }
}

static void begin(void) {
    memset(&header, 0, sizeof header);
    header.first_seq = header.reserve = 1;
    header.state = MDF_LIVE;
    header.instruments_capacity = 1;
    memset(slots, 0, sizeof slots);
    memset(table, 0, sizeof table);
    memset(content, 0, sizeof content);
    memset(&registry, 0, MDF_PAGE);
}

static void calm(void) {
    begin();
    weak_as(0, -1, write_all);
    weak_as(2, -1, read_some);
}

static void killed(void) {
    begin();
    weak_mortally(0, -1, write_all);
    weak_as(1, 0, take_over);
    weak_as(2, -1, read_some);
}

/* The end: the writer closes the ring as mdf_writer_close does; who sees that and finds nothing has read all. */

static void write_and_close(void) {
    write_all();
    mdf_store32_release(&header.state, MDF_CLOSED);
}

static void read_to_the_end(void) {
    uint64_t out[WORDS];
    mdf_reader r = reader();
    for (int i = 0; i < tries; i++) {
        mdf_acknowledge_state(&r);
        int over = r.seen_state == MDF_CLOSED && !mdf_available(&r);
        WEAK_CHECK(!over || r.next > last);
        if (over) return;
        mdf_read_one(&r, out);
    }
}

static void closed(void) {
    begin();
    weak_as(0, -1, write_and_close);
    weak_as(2, -1, read_to_the_end);
}

/* Wake-ups: the writer flushes after each record; a reader looks, and sleeps if there is nothing. */

static uint64_t wanted[WEAK_THREADS];

static void write_and_flush(void) {
    uint64_t record[WORDS] = {0};
    mdf_writer w = writer();
    for (uint64_t s = 1; s <= last; s++) {
        mdf_publish(&w, record);
        mdf_flush(&w);
    }
}

static void sleep_often(void) {
    mdf_reader r = reader();
    r.seen_state = MDF_LIVE;
    for (int i = 0; i < tries && r.next <= last; i++) {
        uint32_t gen;
        if (mdf_prepare_wait(&r, &gen)) {
            r.next += mdf_ahead(&r, 1);
            continue;
        }
        wanted[weak_running] = r.next;
        if (mdf_futex(&header.wake_gen, FUTEX_WAIT, gen, NULL) == 0) return; /* woken: it would look again */
    }
}

static void wake(int readers) {
    begin();
    weak_meet(&registry.waiters, sizeof registry.waiters, 1);
    weak_meet(&header.wake_gen, sizeof header.wake_gen, 0);
    for (int i = 0; i < MANY; i++) weak_meet(slots[i], sizeof slots[i][0], 0);
    weak_together(1 + readers, (void (*[])(void)){write_and_flush, sleep_often, sleep_often});
    for (int i = 1; i <= readers; i++) WEAK_CHECK(!weak_threads[i].asleep || wanted[i] > last);
}
static void wake_one(void) { wake(1); }
static void wake_two(void) { wake(2); }

/* Instruments: an entry is added and changed, by writers that die; a reader copies it. */

static void intend(mdf_writer *w, uint64_t value) {
    for (int i = 0; i < 32; i++) header.intended[i] = i ? value : 0;
    mdf_store_release(&header.intent, 1);
    mdf_instrument_carry_out(w);
}

static void change_twice(void) {
    mdf_writer w = writer();
    intend(&w, 1);
    intend(&w, 2);
}

static void copy_it(void) {
    mdf_instrument e;
    mdf_reader r = reader();
    if (mdf_read_instrument(&r, 0, &e) != 0) return;
    const uint64_t *word = (const uint64_t *)(const void *)&e;
    WEAK_CHECK(word[1] == 1 || word[1] == 2);
    WEAK_CHECK(word[31] == word[1]);
}

static void instruments(void) { /* of the entry its version and its first and last word are looked at */
    begin();
    weak_leave_out(0, header.intended, sizeof header.intended);
    weak_leave_out(1, (uint64_t *)(void *)table + 2, 29 * 8);
    weak_as(0, -1, change_twice);
    weak_as(2, -1, copy_it);
}

/* Whoever has a record has the instrument that it names. */

static void name_and_publish(void) {
    uint64_t record[WORDS] = {0};
    mdf_writer w = writer();
    intend(&w, 1);
    mdf_publish(&w, record);
}

static void read_and_look_up(void) {
    uint64_t out[WORDS];
    mdf_instrument e;
    mdf_reader r = reader();
    if (mdf_read_one(&r, out) != 1) return;
    WEAK_CHECK(mdf_read_instrument(&r, 0, &e) == 0);
    WEAK_CHECK(((const uint64_t *)(const void *)&e)[31] == 1);
}

static void named(void) {
    begin();
    weak_leave_out(0, header.intended, sizeof header.intended);
    weak_leave_out(1, (uint64_t *)(void *)table + 2, 29 * 8);
    weak_as(0, -1, name_and_publish);
    weak_as(2, -1, read_and_look_up);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*program)(void);
        uint64_t capacity, last, block, burst;
        int tries, batches;
    } all[] = {
        {"one", calm, 2, 3, 1, 1, 2, 0},
        {"one_long", calm, 2, 4, 2, 1, 2, 0},
        {"batch", calm, 2, 3, 1, 1, 2, 1},
        {"batch_tail", calm, 2, 3, 1, 1, 2, 2},
        {"publish_batch", calm, 4, 5, 2, 2, 1, 2},
        {"killed", killed, 2, 3, 1, 1, 2, 0},
        {"killed_batch", killed, 2, 3, 1, 1, 1, 1},
        {"killed_batch_tail", killed, 2, 3, 1, 1, 1, 2},
        {"closed", closed, 4, 2, 4, 1, 3, 0},
        {"wake", wake_one, 4, 1, 4, 1, 2, 0},
        {"wake_again", wake_one, 4, 2, 4, 1, 2, 0},
        {"wake_two", wake_two, 4, 1, 4, 1, 1, 0},
        {"instruments", instruments, 2, 1, 1, 1, 0, 0},
        {"named", named, 2, 1, 1, 1, 0, 0},
    };
    for (size_t i = 0; argc == 2 && i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, argv[1]) != 0) continue;
        capacity = all[i].capacity;
        last = all[i].last;
        block = all[i].block;
        burst = all[i].burst;
        tries = all[i].tries;
        batches = all[i].batches;
        return weak_explore(all[i].name, all[i].program);
    }
    fprintf(stderr, "usage: weak_ring CASE\n");
    return 2;
}
