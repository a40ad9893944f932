/* stress.c: a writer at full speed, readers that it laps, and a checksum in every record.
 *
 *     stress DIRECTORY SECONDS single|batch|mixed SLOT_SIZE READERS processes|threads [CAPACITY]
 *
 * Every record a reader accepts must be whole and the next one; at the end got + lost must be what
 * was published, exactly. Instruments change all the while and must be read whole, too. `threads`
 * share one mapping, so that ThreadSanitizer sees that two accesses meet. Prints one line per
 * reader.
 */
#include "mdfeedd.h"

#include <pthread.h>

#include "record.h"

enum { BURST = 61, CHUNK = 100, INSTRUMENTS = 16, SPIN_NS = 2000, WAIT_NS = 20000000 };

typedef struct run {
    char path[512];
    double seconds;
    int singles, batches; /* paths in use */
    uint32_t slot_size;
    uint64_t capacity;
    int readers, threads;
} run;

/* -------------------------------------------------------------------------------------- reading */

static void check(const mdf_reader *r, const uint64_t *record, uint64_t seq, uint64_t *author) {
    REQUIRE(record_is_whole(record, r->words, seq), "record %llu is torn or stale (word 0: %llu)",
            (unsigned long long)seq, (unsigned long long)record[0]);
    REQUIRE(!*author || record[1] == *author, "another author");
    *author = record[1];
}

static void read_an_instrument(const mdf_reader *r, uint64_t turn) {
    mdf_instrument e;
    uint32_t index = (uint32_t)(turn % INSTRUMENTS);
    if (mdf_read_instrument(r, index, &e)) return;
    REQUIRE(instrument_is_whole(&e, index), "instrument %u is half of one and half of another",
            index);
}

static void read_all(mdf_reader *r, int id) {
    static __thread uint64_t out[CHUNK * MAX_WORDS];
    uint64_t start = r->next, got = 0, author = 0, sleeps = 0, calls = 0, skip = 0;
    r->on_overrun = id % 3 == 2 ? MDF_RESUME_LATEST : MDF_RESUME_OLDEST;
    for (;;) {
        uint64_t before = r->next, n;
        int closed = mdf_load32_acquire(&r->h->state) ==
                     MDF_CLOSED; /* looked at before the read: nothing comes after */
        if (id & 1) n = mdf_read_batch(r, out, CHUNK, &skip);
        else n = mdf_read_one(r, out) == 1, skip = 0;
        for (uint64_t i = 0; i < n; i++)
            check(r, out + (skip + i) * r->words, r->next - n + i, &author);
        got += n;
        REQUIRE(got + r->lost == r->next - start, "got %llu + lost %llu != %llu - %llu",
                (unsigned long long)got, (unsigned long long)r->lost, (unsigned long long)r->next,
                (unsigned long long)start);
        if (++calls % 64 == 0) read_an_instrument(r, calls / 64);
        if (r->next != before) continue;
        if (closed) break;
        sleeps++;
        if (mdf_wait(r, SPIN_NS, WAIT_NS) == MDF_READY) mdf_acknowledge_state(r);
    }
    uint64_t published =
        mdf_load_acquire(&r->h->tail) + 1 - start; /* since it attached, before the first */
    REQUIRE(got + r->lost == published, "got %llu + lost %llu != published %llu",
            (unsigned long long)got, (unsigned long long)r->lost, (unsigned long long)published);
    printf("reader=%d published=%llu got=%llu lost=%llu overruns=%llu waits=%llu\n", id,
           (unsigned long long)published, (unsigned long long)got, (unsigned long long)r->lost,
           (unsigned long long)r->overruns, (unsigned long long)sleeps);
    fflush(stdout);
}

/* -------------------------------------------------------------------------------------- writing */

static void write_all(mdf_writer *w, const run *c) {
    static uint64_t records[BURST * MAX_WORDS];
    char err[MDF_ERR];
    const uint64_t author = 7;
    int64_t end = mdf_clock_ns(CLOCK_MONOTONIC) + (int64_t)(c->seconds * 1e9);
    for (uint64_t turn = 0; mdf_clock_ns(CLOCK_MONOTONIC) < end; turn++) {
        uint64_t n = 1 + turn % BURST, instrument = turn % INSTRUMENTS;
        for (uint64_t i = 0; i < n; i++)
            record_fill(records + i * w->words, w->words, w->next + i, author);
        if (!c->singles || (c->batches && turn & 1)) mdf_publish_batch(w, records, n);
        else
            for (uint64_t i = 0; i < n; i++) mdf_publish(w, records + i * w->words);
        mdf_flush(w);
        if (turn >= INSTRUMENTS && turn % 8) continue;
        mdf_instrument e;
        instrument_fill(&e, (uint32_t)instrument, turn);
        REQUIRE(mdf_instrument_put(w, (uint32_t)instrument, &e, err) == 0, "%s", err);
    }
    mdf_store32_release(&w->h->state, MDF_CLOSED);
    mdf_wake_all(w);
}

typedef struct thread {
    pthread_t id;
    mdf_reader r;
    int index;
} thread;

static void *read_in_thread(void *argument) {
    thread *t = (thread *)argument;
    read_all(&t->r, t->index);
    return NULL;
}

/* A reader on the writer's own mapping. */
static void borrow(mdf_reader *r, const mdf_writer *w) {
    memset(r, 0, sizeof *r);
    r->h = w->h;
    r->slots = w->slots;
    r->instruments = w->instruments;
    r->registry = w->registry;
    r->mask = w->mask;
    r->capacity = w->capacity;
    r->words = w->words;
    r->next = mdf_load(&w->h->tail) + 1;
    r->fd = r->registry_fd = -1;
    mdf_acknowledge_state(r);
}

static void run_threads(mdf_writer *w, const run *c) {
    static thread threads[16];
    for (int i = 0; i < c->readers; i++) {
        borrow(&threads[i].r, w);
        threads[i].index = i;
        REQUIRE(pthread_create(&threads[i].id, NULL, read_in_thread, &threads[i]) == 0,
                "no thread");
    }
    write_all(w, c);
    for (int i = 0; i < c->readers; i++) pthread_join(threads[i].id, NULL);
}

/* A reader that has failed ends the run: what it has found does not wait for the other seconds. */
static void on_reader_ended(int number) {
    siginfo_t ended = {0};
    (void)number;
    if (!waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) && ended.si_status) _exit(1);
}

static void run_processes(mdf_writer *w, const run *c) {
    char err[MDF_ERR], name[32], byte = 0;
    int ready[2];
    REQUIRE(pipe(ready) == 0, "no pipe");
    REQUIRE(signal(SIGCHLD, on_reader_ended) != SIG_ERR, "no handler");
    for (int i = 0; i < c->readers; i++) {
        if (fork_bound()) continue;
        mdf_reader r;
        close(w->fd); /* or we would hold the writer's lock */
        snprintf(name, sizeof name, "reader-%d", i);
        REQUIRE(mdf_reader_open(&r, c->path, layout_of(c->slot_size), c->slot_size, MDF_START_NOW,
                                name, err) == 0,
                "%s", err);
        REQUIRE(write(ready[1], &byte, 1) == 1, "no pipe");
        read_all(&r, i);
        mdf_reader_close(&r);
        _exit(0);
    }
    for (int i = 0; i < c->readers; i++) REQUIRE(read(ready[0], &byte, 1) == 1, "no reader");
    write_all(w, c);
    for (int i = 0; i < c->readers; i++) {
        int status;
        wait(&status);
        REQUIRE(status == 0, "a reader failed");
    }
}

int main(int argc, char **argv) {
    REQUIRE(argc >= 7, "usage: stress DIRECTORY SECONDS single|batch|mixed SLOT_SIZE READERS "
                       "processes|threads [CAPACITY]");
    char err[MDF_ERR];
    run c = {.seconds = atof(argv[2]),
             .singles = argv[3][0] != 'b',
             .batches = argv[3][0] != 's',
             .slot_size = (uint32_t)atoi(argv[4]),
             .readers = atoi(argv[5]),
             .threads = argv[6][0] == 't'};
    c.capacity = argc > 7 ? strtoull(argv[7], NULL, 10) : MDF_MIN_CAPACITY;
    snprintf(c.path, sizeof c.path, "%s/ring", argv[1]);
    snprintf(case_name, sizeof case_name, "stress %s %u", argv[3], c.slot_size);
    mdf_writer w;
    mdf_ring_options o = {"feed", layout_of(c.slot_size), c.slot_size, 0, INSTRUMENTS, c.capacity};
    REQUIRE(mdf_writer_open(&w, c.path, &o, err) == 0, "%s", err);
    if (c.threads) run_threads(&w, &c);
    else run_processes(&w, &c);
    mdf_writer_close(&w, 0);
    return 0;
}
