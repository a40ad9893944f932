/* wake_genmc.c: mdf_flush and mdf_prepare_wait of mdfeedd.h itself, under RC11 and IMM, for GenMC.
 *
 *     genmc --rc11 -- -I mdfeedd/ring wake_genmc.c
 *
 * The kernel's futex is a mutex around {compare, enqueue} and {dequeue all}, as its hash bucket is.
 * Nobody may be left asleep while there is something to read. A copy of the header with a fault in
 * it (test_model.py plants them) must fail. Without GenMC it is a smoke test, run natively.
 */
#define MDF_NO_ASSEMBLY /* GenMC interprets LLVM's code */
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bucket(uint32_t *word, int op, uint32_t value);
#define syscall(number, word, op, value, timeout, second, third)                                   \
    ((void)(timeout), bucket((uint32_t *)(uintptr_t)(word), (op), (value)))
#include "mdfeedd.h"

#include <assert.h>
#include <pthread.h>

#ifndef LAST
#define LAST 2
#endif

static mdf_ring_header header;
static uint64_t slots[4][8];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int queued; /* 1: the reader sleeps; 2: it was woken */
static uint64_t wanted;

/* Only its word `waiters` is touched. */
static mdf_registry registry;

static long bucket(uint32_t *word, int op, uint32_t value) {
    long rc = 0;
    pthread_mutex_lock(&lock);
    if (op == FUTEX_WAKE) {
        if (queued == 1) queued = 2;
    } else if (mdf_load32(word) == value) {
        queued = 1;
    } else {
        rc = -1;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static void *write_all(void *unused) {
    uint64_t record[8] = {0};
    mdf_writer w;
    (void)unused;
    memset(&w, 0, sizeof w);
    w.h = &header;
    w.registry = &registry;
    w.slots = (uint8_t *)slots;
    w.capacity = 4;
    w.mask = 3;
    w.next = w.reserved = 1;
    w.words = 8;
    w.block = 4;
    for (int i = 0; i < LAST; i++) {
        mdf_publish(&w, record);
        mdf_flush(&w);
    }
    return NULL;
}

/* The loop of mdf_wait without clocks; a reader that falls asleep leaves, and is looked at in the
 * end. */
static void *sleep_often(void *unused) {
    mdf_reader r;
    (void)unused;
    memset(&r, 0, sizeof r);
    r.h = &header;
    r.registry = &registry;
    r.slots = (const uint8_t *)slots;
    r.capacity = 4;
    r.mask = 3;
    r.words = 8;
    r.next = 1;
    for (int i = 0; i <= LAST && r.next <= LAST; i++) {
        uint32_t gen;
        if (mdf_prepare_wait(&r, &gen)) {
            r.next += mdf_ahead(&r, 4);
            continue;
        }
        wanted = r.next;
        if (mdf_futex(&header.wake_gen, FUTEX_WAIT, gen, NULL) == 0) return NULL;
        wanted = 0;
    }
    return NULL;
}

int main(void) {
    pthread_t writer, reader;
    pthread_create(&writer, NULL, write_all, NULL);
    pthread_create(&reader, NULL, sleep_often, NULL);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    assert(queued != 1 || wanted > LAST); /* asleep, and everything was published */
    return 0;
}
