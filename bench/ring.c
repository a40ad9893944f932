/* The ring from C: how near its protocol comes to what the machine can do.
 *
 *     cc -O2 -std=c11 -Imdfeedd/ring bench/ring.c -o ring -lpthread
 *     ./ring MODE [key=value ...]        one round, one JSON object; bench/ring.py runs the rounds
 *
 *     pingpong                           one way of a cache line between two cores
 *     memcpy                             64-byte slots copied into a ring's footprint by one core
 *     publish                            a writer alone
 *     throughput batch= flush= one=      writer and reader in two processes, nothing lost
 *     latency gap_ns= one= bare=         publish to read, spinning, on an idle ring, and in turn with it one way
 *                                        of a line; less what the two looks at the clock take by themselves
 *     readers readers= stopped= spin=    what attached readers cost the writer
 *
 * Common keys: records=, dir=, cpu_a= (writer), cpu_b= (readers). one=1 reads with mdf_read_one, else with
 * mdf_read_batch; bare=1: no protocol, the slots alone. Medians are over chunks, so that time stolen from the
 * machine falls out.
 */
#include "mdfeedd.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { CAPACITY = 65536, BATCH = 64, TAKE = 4096, CHUNK = 1024, MAX_READERS = 64, MAX_CHUNKS = 1 << 20 };
static const int64_t MAX_NS = 3000000000; /* two spinning processes on one busy processor take for ever */

typedef struct options {
    uint64_t records, gap_ns;
    int batch, flush, one, bare, readers, stopped, cpu_a, cpu_b;
    int64_t spin_ns;
    const char *dir;
} options;

/* What the processes of one round tell each other; each word by one process. */
typedef struct shared {
    _Alignas(128) uint64_t ready;
    _Alignas(128) uint64_t consumer_index;
    _Alignas(128) uint64_t got;
    _Alignas(128) uint64_t lost;
    _Alignas(128) int64_t end_ns;
    _Alignas(128) uint64_t line; /* the one that goes to and fro */
} shared;

static char path[2][512]; /* of the rings */
static int paths;
static double samples[MAX_CHUNKS];
static mdf_tick batch_of_ticks[BATCH], taken[TAKE];
static volatile uint64_t sink;

static void remove_rings(void) {
    for (int i = 0; i < paths; i++) {
        char registry[1100];
        mdf_registry_path(registry, sizeof registry, path[i]);
        unlink(path[i]);
        unlink(registry);
    }
    paths = 0;
}

static void die(const char *text) {
    fprintf(stderr, "bench/ring.c: %s\n", text);
    remove_rings();
    exit(1);
}

static int64_t now_ns(void) { return mdf_clock_ns(CLOCK_MONOTONIC); }

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the samples. */
static double quantile(size_t n, double q) {
    qsort(samples, n, sizeof *samples, by_value);
    size_t i = (size_t)(q * (double)n);
    return samples[i < n ? i : n - 1];
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) die("cannot pin to the processor asked for");
}

/* Before a fork: the child would begin on the one processor where its parent spins. */
static void unpin(const options *o) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)o->cpu_a, &set);
    CPU_SET((size_t)o->cpu_b, &set);
    if (sched_setaffinity(0, sizeof set, &set)) die("cannot use the processors asked for");
}

static shared *share(void) {
    void *p = mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("no memory");
    return (shared *)p;
}

static void open_writer(mdf_writer *w, const options *o) {
    char err[MDF_ERR];
    mdf_ring_options ring = {.feed = "bench", .layout = MDF_TICK_LAYOUT, .slot_size = sizeof(mdf_tick),
                             .instruments_capacity = 256, .capacity = CAPACITY};
    snprintf(path[paths], sizeof path[0], "%s/mdfeedd.bench-c-%d-%d", o->dir, (int)getpid(), paths);
    if (mdf_writer_open(w, path[paths++], &ring, err)) die(err);
}

static void open_reader(mdf_reader *r, int ring, const char *name) {
    char err[MDF_ERR];
    if (mdf_reader_open(r, path[ring], MDF_TICK_LAYOUT, sizeof(mdf_tick), MDF_START_NOW, name, err)) die(err);
}

static void wait_for(const uint64_t *word, uint64_t value) {
    while (mdf_load_acquire(word) < value) mdf_pause();
}

static void reap(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status)) die("a child process failed");
}

/* ------------------------------------------------------------------------------------------- the limits */

typedef struct pong_arguments { shared *s; int cpu; } pong_arguments;

static void *pong(void *argument) {
    pong_arguments *a = (pong_arguments *)argument;
    pin(a->cpu);
    mdf_store_release(&a->s->ready, 1);
    for (uint64_t i = 1;; i += 2) {
        uint64_t seen;
        while ((seen = mdf_load_acquire(&a->s->line)) < i) {}
        if (seen == UINT64_MAX) return NULL;
        mdf_store_release(&a->s->line, i + 1);
    }
}

static void bench_pingpong(const options *o) {
    shared *s = share();
    pong_arguments a = {s, o->cpu_b};
    pthread_t thread;
    unpin(o);
    if (pthread_create(&thread, NULL, pong, &a)) die("cannot start a thread");
    pin(o->cpu_a);
    wait_for(&s->ready, 1);
    uint64_t i = 1, chunks = 0;
    int64_t end = now_ns() + MAX_NS;
    for (; chunks < o->records / CHUNK && now_ns() < end; chunks++) {
        int64_t start = now_ns();
        for (int k = 0; k < CHUNK; k++, i += 2) {
            mdf_store_release(&s->line, i);
            while (mdf_load_acquire(&s->line) != i + 1) {}
        }
        samples[chunks] = (double)(now_ns() - start) / (2.0 * CHUNK);
    }
    mdf_store_release(&s->line, UINT64_MAX);
    pthread_join(thread, NULL);
    printf("{\"one_way_ns\": %.2f}\n", quantile(chunks, 0.5));
}

/* From a batch in the first-level cache into the footprint of a ring, as a writer does; and block to block. */
static void bench_memcpy(const options *o) {
    size_t size = (size_t)CAPACITY * sizeof(mdf_tick), step = BATCH * sizeof(mdf_tick);
    char *to = aligned_alloc(4096, size), *from = aligned_alloc(4096, size);
    if (!to || !from) die("no memory");
    memset(to, 1, size);
    memset(from, 2, size);
    pin(o->cpu_a);
    uint64_t laps = o->records / CAPACITY;
    for (uint64_t c = 0; c < laps; c++) {
        int64_t start = now_ns();
        for (size_t at = 0; at < size; at += step) {
            memcpy(to + at, from, step);
            __asm__ volatile("" : : "r"(to) : "memory");
        }
        samples[c] = (double)(now_ns() - start) / CAPACITY;
    }
    double batches_ns = quantile(laps, 0.5);
    for (uint64_t c = 0; c < laps; c++) {
        int64_t start = now_ns();
        memcpy(to, from, size);
        __asm__ volatile("" : : "r"(to) : "memory");
        samples[c] = (double)(now_ns() - start) / CAPACITY;
    }
    double block_ns = quantile(laps, 0.5);
    printf("{\"batches_mps\": %.1f, \"block_mps\": %.1f}\n", 1e3 / batches_ns, 1e3 / block_ns);
}

/* ------------------------------------------------------------------------------------------- writer alone */

/* ns per record of `records` records published in chunks; median over the chunks. */
static double publish_cost(mdf_writer *w, uint64_t records, int batch, int flush) {
    uint64_t chunks = records / CHUNK;
    for (uint64_t c = 0; c < chunks; c++) {
        int64_t start = now_ns();
        for (int k = 0; k < CHUNK; k += batch) {
            if (batch == 1) mdf_publish(w, batch_of_ticks);
            else mdf_publish_batch(w, batch_of_ticks, (uint64_t)batch);
            if (flush) mdf_flush(w);
        }
        samples[c] = (double)(now_ns() - start) / CHUNK;
    }
    return quantile(chunks, 0.5);
}

static void bench_publish(const options *o) {
    mdf_writer w;
    pin(o->cpu_a);
    open_writer(&w, o);
    publish_cost(&w, CAPACITY, BATCH, 0);
    double single = publish_cost(&w, o->records, 1, 0);
    double flushed = publish_cost(&w, o->records, 1, 1);
    double batch = publish_cost(&w, o->records, BATCH, 1);
    printf("{\"single_ns\": %.2f, \"single_flush_ns\": %.2f, \"batch_ns\": %.2f}\n", single, flushed, batch);
    mdf_writer_close(&w, 1);
}

/* --------------------------------------------------------------------------------------------- throughput */

static void take_all(const options *o, shared *s) {
    mdf_reader r;
    uint64_t got = 0, skip;
    pin(o->cpu_b);
    open_reader(&r, 0, "bench");
    s->consumer_index = (uint64_t)r.consumer_index;
    mdf_store_release(&s->ready, 1);
    while (got + r.lost < o->records) {
        uint64_t n = o->one ? mdf_read_one(&r, taken) == 1 : mdf_read_batch(&r, taken, TAKE, &skip);
        if (n) sink = taken[0].count;
        else if (o->one) mdf_pause();
        else mdf_wait(&r, o->spin_ns, 1000000000);
        got += n;
    }
    s->got = got;
    s->lost = r.lost;
    mdf_store_release((uint64_t *)&s->end_ns, (uint64_t)now_ns());
    mdf_reader_close(&r);
}

/* The writer stays behind the reader's cursor by less than the ring: it looks at it only when it has to. */
static void send_all(const options *o, mdf_writer *w, const shared *s) {
    const uint64_t *cursor = &w->registry->consumer[s->consumer_index].cursor;
    uint64_t room = CAPACITY - 2 * MDF_BLOCK, limit = mdf_load(cursor) + room, sent = 0, step = (uint64_t)o->batch;
    while (sent < o->records) {
        if (w->next + step > limit) {
            mdf_flush(w);
            while (w->next + CAPACITY / 8 > (limit = mdf_load_acquire(cursor) + room)) mdf_pause();
        }
        if (step == 1) mdf_publish(w, batch_of_ticks);
        else mdf_publish_batch(w, batch_of_ticks, step);
        if (o->flush) mdf_flush(w);
        sent += step;
    }
}

static void bench_throughput(const options *o) {
    mdf_writer w;
    shared *s = share();
    if (o->records % (uint64_t)o->batch) die("batch= must divide records=");
    unpin(o);
    open_writer(&w, o);
    publish_cost(&w, CAPACITY, BATCH, 0);
    pid_t child = fork();
    if (child < 0) die("cannot fork");
    if (child == 0) {
        take_all(o, s);
        _exit(0);
    }
    pin(o->cpu_a);
    wait_for(&s->ready, 1);
    int64_t start = now_ns();
    send_all(o, &w, s);
    reap(child);
    printf("{\"mps\": %.2f, \"got\": %llu, \"lost\": %llu}\n", 1e3 * (double)o->records / (double)(s->end_ns - start),
           (unsigned long long)s->got, (unsigned long long)s->lost);
    mdf_writer_close(&w, 1);
}

/* ------------------------------------------------------------------------------------------------ latency */

enum { TURN = 256 }; /* messages, and then round trips of a line, in turn */

static double clock_cost_ns(void) {
    for (int c = 0; c < 100; c++) {
        int64_t start = now_ns(), end = start;
        for (int k = 0; k < TURN; k++) end = now_ns();
        samples[c] = (double)(end - start) / TURN;
    }
    return quantile(100, 0.5);
}

/* No protocol: the time and a number in a line, and whoever waits for the number. What is left is the machine's. */
static void send_bare(mdf_writer *w, int64_t time) {
    uint64_t s = w->next++, *d = mdf_slot(w->slots, s, w->mask, w->words);
    mdf_store(d + 1, (uint64_t)time);
    mdf_store_release(d, s);
}

static int64_t take_bare(mdf_reader *r) {
    uint64_t s = r->next++;
    const uint64_t *d = mdf_slot((uint8_t *)(uintptr_t)r->slots, s, r->mask, r->words);
    while (mdf_load_acquire(d) != s) {}
    return (int64_t)mdf_load(d + 1);
}

/* The reader's side: messages, then serve in the ping-pong of the same two processes. The line is compared
 * turn by turn, for a hypervisor may move its processors nearer together or apart at any time. */
static void take_stamped(const options *o, shared *s) {
    static double all[MAX_CHUNKS], line[MAX_CHUNKS / TURN], ratio[MAX_CHUNKS / TURN];
    mdf_reader r;
    mdf_tick tick;
    uint64_t skip, turns = o->records / TURN, i = 0, trip = 0;
    double clock_ns = clock_cost_ns();
    pin(o->cpu_b);
    open_reader(&r, 0, "bench");
    mdf_store_release(&s->ready, 1);
    for (uint64_t t = 0; t < turns; t++) {
        for (int k = 0; k < TURN; k++) {
            if (o->bare) tick.ts_event = take_bare(&r);
            else while (o->one ? mdf_read_one(&r, &tick) != 1 : !mdf_read_batch(&r, &tick, 1, &skip)) {}
            samples[k] = (double)(now_ns() - tick.ts_event) - clock_ns;
            mdf_store_release(&s->got, ++i);
        }
        memcpy(all + t * TURN, samples, TURN * sizeof *samples);
        double p50 = quantile(TURN, 0.5);
        int64_t start = now_ns();
        for (int k = 0; k < TURN; k++, trip += 2) {
            mdf_store_release(&s->line, trip + 1);
            while (mdf_load_acquire(&s->line) != trip + 2) {}
        }
        line[t] = (double)(now_ns() - start) / (2.0 * TURN);
        ratio[t] = p50 / line[t];
    }
    memcpy(samples, all, turns * TURN * sizeof *all);
    printf("{\"p50_ns\": %.1f, ", quantile(turns * TURN, 0.5));
    printf("\"p99_ns\": %.1f, ", quantile(turns * TURN, 0.99));
    memcpy(samples, line, turns * sizeof *line);
    printf("\"line_ns\": %.1f, ", quantile(turns, 0.5));
    memcpy(samples, ratio, turns * sizeof *ratio);
    printf("\"ratio\": %.3f, \"clock_ns\": %.1f}\n", quantile(turns, 0.5), clock_ns);
    fflush(stdout);
    mdf_reader_close(&r);
}

static void bench_latency(const options *o) {
    mdf_writer w;
    shared *s = share();
    mdf_tick tick = {0};
    uint64_t turns = o->records / TURN, i = 0, trip = 0;
    if (o->records > MAX_CHUNKS) die("records= is at most 2^20 here");
    unpin(o);
    open_writer(&w, o);
    pid_t child = fork();
    if (child < 0) die("cannot fork");
    if (child == 0) {
        take_stamped(o, s);
        _exit(0);
    }
    pin(o->cpu_a);
    wait_for(&s->ready, 1);
    for (uint64_t t = 0; t < turns; t++) {
        for (int k = 0; k < TURN; k++, i++) {
            int64_t due = now_ns() + (int64_t)o->gap_ns;
            wait_for(&s->got, i); /* idle: the one before has arrived */
            while ((tick.ts_event = now_ns()) < due) {}
            if (o->bare) {
                send_bare(&w, tick.ts_event);
            } else {
                mdf_publish(&w, &tick);
                mdf_flush(&w);
            }
        }
        for (int k = 0; k < TURN; k++, trip += 2) {
            while (mdf_load_acquire(&s->line) != trip + 1) {}
            mdf_store_release(&s->line, trip + 2);
        }
    }
    reap(child);
    mdf_writer_close(&w, 1);
}

/* ------------------------------------------------------------------------------------------------ readers */

static void follow(const options *o, shared *s, int index) {
    mdf_reader r;
    char name[16];
    uint64_t skip;
    pin(o->cpu_b);
    snprintf(name, sizeof name, "bench-%d", index);
    open_reader(&r, 0, name);
    __atomic_fetch_add(&s->ready, 1, __ATOMIC_ACQ_REL);
    for (;;) {
        if (mdf_read_batch(&r, taken, TAKE, &skip)) sink = taken[0].count;
        else mdf_wait(&r, o->spin_ns, 1000000000);
    }
}

/* Only the call is timed: the time between two bursts is the readers' to fall asleep in. */
static double paced_cost(mdf_writer *w, uint64_t bursts, uint64_t gap_ns) {
    for (uint64_t i = 0; i < bursts; i++) {
        int64_t until = now_ns() + (int64_t)gap_ns, start;
        while ((start = now_ns()) < until) {}
        mdf_publish_batch(w, batch_of_ticks, BATCH);
        mdf_flush(w);
        samples[i] = (double)(now_ns() - start) / BATCH;
    }
    return quantile(bursts, 0.5);
}

/* Ring 0 has the readers, ring 1 has none: measured in turn, so the ratio is of one and the same minute. */
static void bench_readers(const options *o) {
    enum { TURNS = 5 };
    mdf_writer w[2];
    shared *s = share();
    pid_t child[MAX_READERS];
    double cost[3][2][TURNS];
    unpin(o);
    for (int i = 0; i < 2; i++) {
        open_writer(&w[i], o);
        publish_cost(&w[i], CAPACITY, BATCH, 0);
    }
    for (int i = 0; i < o->readers; i++) {
        child[i] = fork();
        if (child[i] < 0) die("cannot fork");
        if (child[i] == 0) follow(o, s, i);
    }
    pin(o->cpu_a);
    wait_for(&s->ready, (uint64_t)o->readers);
    for (int i = o->readers - o->stopped; i < o->readers; i++) {
        kill(child[i], SIGSTOP);
        waitpid(child[i], NULL, WUNTRACED);
    }
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < 2; i++) {
            cost[0][i][turn] = publish_cost(&w[i], o->records / TURNS, 1, 1);
            cost[1][i][turn] = publish_cost(&w[i], o->records / TURNS, BATCH, 1);
            cost[2][i][turn] = paced_cost(&w[i], 500, o->gap_ns);
        }
    }
    for (int i = 0; i < o->readers; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    const char *name[3] = {"single", "batch", "paced"};
    printf("{\"readers\": %d, \"stopped\": %d", o->readers, o->stopped);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 2; i++) {
            memcpy(samples, cost[k][i], sizeof cost[k][i]);
            printf(", \"%s_%sns\": %.2f", name[k], i ? "alone_" : "", quantile(TURNS, 0.5));
        }
    printf("}\n");
    for (int i = 0; i < 2; i++) mdf_writer_close(&w[i], 1);
}

/* --------------------------------------------------------------------------------------------------- main */

static void set_option(options *o, const char *text) {
    const char *value = strchr(text, '=');
    if (!value) die("options are written key=value");
    size_t n = (size_t)(value++ - text);
    struct { const char *key; int *place; } ints[] = {
        {"batch", &o->batch}, {"flush", &o->flush}, {"one", &o->one}, {"bare", &o->bare}, {"readers", &o->readers},
        {"stopped", &o->stopped}, {"cpu_a", &o->cpu_a}, {"cpu_b", &o->cpu_b}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (strlen(ints[i].key) == n && !strncmp(ints[i].key, text, n)) {
            *ints[i].place = atoi(value);
            return;
        }
    if (n == 7 && !strncmp(text, "records", n)) o->records = strtoull(value, NULL, 10);
    else if (n == 6 && !strncmp(text, "gap_ns", n)) o->gap_ns = strtoull(value, NULL, 10);
    else if (n == 7 && !strncmp(text, "spin_ns", n)) o->spin_ns = strtoll(value, NULL, 10);
    else if (n == 3 && !strncmp(text, "dir", n)) o->dir = value;
    else die("an option that is not known");
}

static void check_options(const options *o) {
    if (o->records < CAPACITY || o->records / CHUNK > MAX_CHUNKS) die("records= must be 65536 to 2^30");
    if (o->batch < 1 || o->batch > BATCH) die("batch= must be 1 to 64");
    if (o->readers < 0 || o->readers > MAX_READERS || o->stopped < 0 || o->stopped > o->readers)
        die("readers= must be 0 to 64, stopped= no more");
}

int main(int argc, char **argv) {
    options o = {.records = 4194304, .gap_ns = 2000, .batch = BATCH, .cpu_a = 0, .cpu_b = 1, .spin_ns = INT64_C(1) << 50,
                 .dir = "/dev/shm"};
    struct { const char *name; void (*run)(const options *); } modes[] = {
        {"pingpong", bench_pingpong}, {"memcpy", bench_memcpy}, {"publish", bench_publish},
        {"throughput", bench_throughput}, {"latency", bench_latency}, {"readers", bench_readers}};
    for (int i = 2; i < argc; i++) set_option(&o, argv[i]);
    check_options(&o);
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i].name)) {
            modes[i].run(&o);
            remove_rings();
            return 0;
        }
    die("say a mode: pingpong, memcpy, publish, throughput, latency or readers");
}
