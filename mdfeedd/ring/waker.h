/* One thread that sleeps for an event loop: futex_waitv over the rings its readers wait on, one eventfd to
 * tell the loop. It never takes the GIL. An armed reader is looked at in the order of mdf_prepare_wait; when
 * its ring has something it is disarmed and the eventfd written, once, until the loop arms it again. */
#ifndef MDFEEDD_WAKER_H
#define MDFEEDD_WAKER_H
#include "mdfeedd.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define MDF_WAKER_RINGS 127 /* futex_waitv takes 128, one is ours */
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

typedef struct mdf_waitv { uint64_t value, address; uint32_t flags, reserved; } mdf_waitv; /* struct futex_waitv */
enum { MDF_WAITV_32 = 2, MDF_WAITV_PRIVATE = 128 };

typedef struct mdf_waker {
    pthread_t thread;
    pthread_mutex_t mutex; /* guards readers and armed: a reader is not unmapped while it is looked at */
    const mdf_reader *reader[MDF_WAKER_RINGS];
    uint8_t armed[MDF_WAKER_RINGS];
    uint32_t control;      /* futex word of our own: raised by arm, forget and stop */
    uint32_t stop;
    int eventfd, waitv_missing;
} mdf_waker;

/* Collect what to sleep on. Returns its number, or -1 if a reader became ready; *blind: one cannot announce. */
static inline int mdf_waker_collect(mdf_waker *k, mdf_waitv *v, int *blind) {
    int n = 0, fired = 0;
    pthread_mutex_lock(&k->mutex);
    for (int i = 0; i < MDF_WAKER_RINGS; i++) {
        uint32_t gen;
        if (!k->armed[i]) continue;
        if (mdf_prepare_wait(k->reader[i], &gen)) {
            k->armed[i] = 0;
            fired = 1;
            continue;
        }
        if (!k->reader[i]->registry) *blind = 1;
        v[n].value = gen;
        v[n].address = (uint64_t)(uintptr_t)&k->reader[i]->h->wake_gen;
        v[n].flags = MDF_WAITV_32;
        v[n].reserved = 0;
        n++;
    }
    pthread_mutex_unlock(&k->mutex);
    return fired ? -1 : n;
}

static inline void mdf_waker_sleep(mdf_waker *k, mdf_waitv *v, int n, uint32_t control, int blind) {
    struct timespec slice = {0, blind ? MDF_BLIND_SLICE_NS : n ? MDF_WAIT_SLICE_NS : 999999999};
    if (n && k->waitv_missing) slice.tv_nsec = 1000000; /* kernel before 5.16 or a sandbox: look every ms */
    if (n && !k->waitv_missing) {
        struct timespec until;
        v[n].value = control;
        v[n].address = (uint64_t)(uintptr_t)&k->control;
        v[n].flags = MDF_WAITV_32 | MDF_WAITV_PRIVATE;
        v[n].reserved = 0;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += slice.tv_nsec;
        if (until.tv_nsec >= 1000000000) { until.tv_nsec -= 1000000000; until.tv_sec++; }
        if (syscall(SYS_futex_waitv, v, n + 1, 0, &until, CLOCK_MONOTONIC) < 0 && (errno == ENOSYS || errno == EPERM))
            k->waitv_missing = 1;
        return;
    }
    syscall(SYS_futex, &k->control, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, control, &slice, NULL, 0);
}

/* mdf_wait for several rings, in the calling thread: one futex_waitv for all. n <= MDF_WAKER_RINGS.
 * Before Linux 5.16, and where a sandbox forbids the call, it looks every ms. */
static inline int mdf_wait_any(mdf_reader *const *r, int n, int64_t spin_ns, int64_t timeout_ns) {
    static uint32_t waitv_missing;
    int64_t start = mdf_clock_ns(CLOCK_MONOTONIC), now = start, slice_max = MDF_WAIT_SLICE_NS;
    for (int i = 0; i < n; i++)
        if (mdf_ready(r[i])) return MDF_READY;
    while (now - start < spin_ns && now - start < timeout_ns) {
        for (int i = 0; i < n; i++)
            if (mdf_ready(r[i])) return MDF_READY;
        mdf_pause();
        now = mdf_clock_ns(CLOCK_MONOTONIC);
    }
    if (mdf_load32(&waitv_missing)) slice_max = 1000000;
    for (int i = 0; i < n; i++) {
        if (r[i]->consumer) __atomic_store_n(&r[i]->consumer->heartbeat_ns, now, __ATOMIC_RELAXED);
        if (!r[i]->registry && slice_max > MDF_BLIND_SLICE_NS) slice_max = MDF_BLIND_SLICE_NS;
    }
    while (now - start < timeout_ns) {
        mdf_waitv v[MDF_WAKER_RINGS];
        int64_t slice = timeout_ns - (now - start);
        long rc;
        for (int i = 0; i < n; i++) {
            uint32_t gen;
            if (mdf_prepare_wait(r[i], &gen)) return MDF_READY;
            v[i].value = gen;
            v[i].address = (uint64_t)(uintptr_t)&r[i]->h->wake_gen;
            v[i].flags = MDF_WAITV_32;
            v[i].reserved = 0;
        }
        if (slice > slice_max) slice = slice_max;
        for (int i = 0; i < n; i++)
            if (r[i]->consumer) mdf_count(&r[i]->consumer->sleeps, 1);
        if (mdf_load32(&waitv_missing)) {
            struct timespec nap = {0, (long)slice};
            rc = nanosleep(&nap, NULL);
        } else {
            int64_t end = mdf_clock_ns(CLOCK_MONOTONIC) + slice;
            struct timespec until = {(time_t)(end / 1000000000), (long)(end % 1000000000)};
            rc = syscall(SYS_futex_waitv, v, n, 0, &until, CLOCK_MONOTONIC);
            if (rc < 0 && (errno == ENOSYS || errno == EPERM)) {
                mdf_store32(&waitv_missing, 1);
                slice_max = slice_max < 1000000 ? slice_max : 1000000;
                continue;
            }
        }
        if (rc == -1 && errno == EINTR) return MDF_INTERRUPTED;
        for (int i = 0; i < n; i++)
            if (mdf_ready(r[i])) return MDF_READY;
        now = mdf_clock_ns(CLOCK_MONOTONIC);
    }
    return MDF_TIMEOUT;
}

static void *mdf_waker_main(void *argument) {
    mdf_waker *k = (mdf_waker *)argument;
    mdf_waitv v[MDF_WAKER_RINGS + 1];
    for (;;) {
        uint32_t control = mdf_load32_acquire(&k->control);
        int blind = 0;
        if (mdf_load32_acquire(&k->stop)) return NULL;
        int n = mdf_waker_collect(k, v, &blind);
        if (n >= 0) mdf_waker_sleep(k, v, n, control, blind);
        else if (eventfd_write(k->eventfd, 1)) return NULL; /* the loop closed it */
    }
}

static inline void mdf_waker_poke(mdf_waker *k) {
    __atomic_fetch_add(&k->control, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &k->control, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static inline mdf_waker *mdf_waker_start(void) {
    mdf_waker *k = (mdf_waker *)calloc(1, sizeof *k);
    if (!k) return NULL;
    pthread_mutex_init(&k->mutex, NULL);
    k->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the main thread */
    int failed = k->eventfd < 0 || pthread_create(&k->thread, NULL, mdf_waker_main, k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) return k;
    if (k->eventfd >= 0) close(k->eventfd);
    free(k);
    return NULL;
}

/* Watch a reader: its place, or -1 if all are taken. */
static inline int mdf_waker_add(mdf_waker *k, const mdf_reader *r) {
    int place = -1;
    pthread_mutex_lock(&k->mutex);
    for (int i = 0; i < MDF_WAKER_RINGS && place < 0; i++)
        if (!k->reader[i]) {
            k->reader[i] = r;
            place = i;
        }
    pthread_mutex_unlock(&k->mutex);
    return place;
}

static inline void mdf_waker_arm(mdf_waker *k, int place) {
    pthread_mutex_lock(&k->mutex);
    k->armed[place] = 1;
    pthread_mutex_unlock(&k->mutex);
    mdf_waker_poke(k);
}

/* After this returns the thread does not touch the reader any more. */
static inline void mdf_waker_forget(mdf_waker *k, int place) {
    pthread_mutex_lock(&k->mutex);
    k->armed[place] = 0;
    k->reader[place] = NULL;
    pthread_mutex_unlock(&k->mutex);
    mdf_waker_poke(k);
}

static inline void mdf_waker_stop(mdf_waker *k) {
    mdf_store32_release(&k->stop, 1);
    mdf_waker_poke(k);
    pthread_join(k->thread, NULL);
    close(k->eventfd);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}
#endif
