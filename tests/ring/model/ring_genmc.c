/* ring_genmc.c: the protocol functions of mdfeedd.h itself, under RC11 and IMM, for GenMC.
 *
 *     genmc --rc11 -- -I mdfeedd/ring ring_genmc.c            (also --imm; -DBATCH=1 for the
 * batch path, =2 for it by the tail)
 *
 * Two slots, one writer, one reader; slots of eight words, of which the reader's proof looks at
 * every one. Every accepted record must be whole and the next, and got + lost == next - 1. System
 * calls are compiled away: nothing here opens, maps or sleeps. A copy of the header with a fault in
 * it (test_model.py plants them) must fail.
 *
 * Without GenMC the program runs natively, once per call: then it is a smoke test only.
 */
#define MDF_NO_ASSEMBLY /* GenMC interprets LLVM's code */
#include "mdfeedd.h"

#include <assert.h>
#include <pthread.h>

#ifndef LAST
#define LAST 3
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef BLOCK
#define BLOCK 1
#endif

enum { CAPACITY = 2, WORDS = 8 };

static mdf_ring_header header;
static uint64_t slots[CAPACITY][WORDS];

static void *write_all(void *unused) {
    uint64_t record[WORDS];
    mdf_writer w;
    (void)unused;
    memset(&w, 0, sizeof w);
    w.h = &header;
    w.slots = (uint8_t *)slots;
    w.capacity = CAPACITY;
    w.mask = CAPACITY - 1;
    w.next = w.reserved = 1;
    w.words = WORDS;
    w.block = BLOCK;
    for (uint64_t s = 1; s <= LAST; s++) {
        for (int i = 0; i < WORDS; i++) record[i] = 10 * s;
        mdf_publish(&w, record);
    }
    return NULL;
}

static void check(const uint64_t *record, uint64_t s) {
    assert(record[0] == s);
    for (int i = 1; i < WORDS; i++) assert(record[i] == 10 * s);
}

static void *read_some(void *unused) {
    uint64_t out[2 * WORDS], got = 0;
    mdf_reader r;
    (void)unused;
    memset(&r, 0, sizeof r);
    r.h = &header;
    r.slots = (const uint8_t *)slots;
    r.capacity = CAPACITY;
    r.mask = CAPACITY - 1;
    r.next = 1;
    r.words = WORDS;
    for (int i = 0; i < TRIES; i++) {
#ifdef BATCH
        r.burst = BATCH > 1; /* by the tail, not by the commit words */
        uint64_t skip, n = mdf_read_batch(&r, out, 2, &skip);
        for (uint64_t k = 0; k < n; k++) check(out + (skip + k) * WORDS, r.next - n + k);
        got += n;
#else
        if (mdf_read_one(&r, out) == 1) {
            check(out, r.next - 1);
            got++;
        }
#endif
        assert(got + r.lost == r.next - 1);
    }
    return NULL;
}

int main(void) {
    pthread_t writer, reader;
    header.first_seq = 1;
    header.reserve = 1;
    pthread_create(&writer, NULL, write_all, NULL);
    pthread_create(&reader, NULL, read_some, NULL);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    return 0;
}
