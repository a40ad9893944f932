/* sleeper.h: a reader asleep on the ring in a thread of its own, whom the writer must wake. */
#ifndef TEST_SLEEPER_H
#define TEST_SLEEPER_H

#include <pthread.h>
#include <sched.h>

#include "record.h"

static char path[512]; /* of the ring */
static int sleeper_timeout_s = 10;

typedef struct sleeper {
    mdf_reader r;
    pthread_t thread;
    int running, timed_out, slices;
} sleeper;

static inline int has_the_name(const mdf_reader *r) {
    struct stat held, named;
    return !fstat(r->fd, &held) && !stat(path, &named) && held.st_ino == named.st_ino;
}

/* Asleep until there is a record: by the futex alone, without the slices that hide a lost wake-up.
 * Only a writer killed between naming a new ring and superseding the old one leaves nobody who
 * could wake the old one's readers: where rings are replaced, the sleeper looks at the name now and
 * then, as readers must. */
static void *sleep_on_ring(void *argument) {
    sleeper *s = (sleeper *)argument;
    int64_t deadline = mdf_clock_ns(CLOCK_MONOTONIC) + sleeper_timeout_s * INT64_C(1000000000);
    while (!mdf_available(&s->r) && mdf_load32(&s->r.h->state) == MDF_LIVE &&
           (!s->slices || has_the_name(&s->r))) {
        uint32_t gen;
        struct timespec ts = {s->slices ? 0 : sleeper_timeout_s,
                              s->slices ? MDF_WAIT_SLICE_NS / 4 : 0};
        mdf_acknowledge_state(&s->r);
        if (mdf_prepare_wait(&s->r, &gen)) continue;
        mdf_futex(&s->r.h->wake_gen, FUTEX_WAIT, gen, &ts);
        if (mdf_clock_ns(CLOCK_MONOTONIC) >= deadline) {
            s->timed_out = 1;
            return NULL;
        }
    }
    return NULL;
}

static inline void wait_until_announced(mdf_registry *registry) {
    for (int i = 0; i < 1000000 && !mdf_load32(&registry->waiters); i++) sched_yield();
    usleep(300); /* from there to the futex it is a few instructions; either order is legal */
}

static inline void start_sleeper(sleeper *s, uint32_t slot_size, int slices) {
    char err[MDF_ERR];
    memset(s, 0, sizeof *s);
    s->slices = slices;
    REQUIRE(mdf_reader_open(&s->r, path, layout_of(slot_size), slot_size, MDF_START_NOW, NULL,
                            err) == 0,
            "%s", err);
    s->r.next = last_commit(&s->r) + 1;
    s->running = 1;
    REQUIRE(pthread_create(&s->thread, NULL, sleep_on_ring, s) == 0, "no thread");
    wait_until_announced(s->r.registry);
}

static inline void join_sleeper(sleeper *s) {
    if (!s->running) return;
    pthread_join(s->thread, NULL);
    s->running = 0;
    REQUIRE(!s->timed_out, "a sleeper was not woken");
    mdf_reader_close(&s->r);
}

#endif
