/* A ring and a registry whose every byte may be wrong, and change while they are looked at.
 *
 *     fuzz_ring SEED CPU_SECONDS   rounds of random inputs, then the same with a thread that writes all the time
 *     fuzz_ring replay FILE...
 *
 * Its files are in $FUZZ_DIR, which whoever starts it removes: an abort leaves them.
 *
 * An input is a list of steps of a hostile writer (a byte, a word, a cut of a file) and of a reader that does all that
 * readers do, or of a sound writer whose registry is hostile. Nothing may be read outside of a mapping: each lies
 * between pages that may not be touched. Each call ends, positions and loss only grow, what is returned fits.
 */
#define _GNU_SOURCE 1
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *walled_mmap(void *at, size_t size, int prot, int flags, int fd, long from);
static int walled_munmap(void *at, size_t size);
#define mmap walled_mmap
#define munmap walled_munmap
#include "mdfeedd.h"
#undef mmap
#undef munmap

#include "one_input.h"
#include <pthread.h>

#define WALL ((size_t)4 << 20) /* more than a read of MOST records of the largest slot */
#define CHECK(cond) \
    do { if (!(cond)) { fprintf(stderr, "line %d: %s\n", __LINE__, #cond); abort(); } } while (0)
enum { CAPACITY = 256, INSTRUMENTS = 304, RECORDS = 700, MOST = 600, MAX_STEPS = 400, OUT_WORDS = 512 };

static char ring_path[512], registry_path[600];
static uint8_t *ring_image, *registry_image;
static size_t ring_size, registry_size = sizeof(mdf_registry);
static uint64_t opened, refused, records;

/* By the system call: the sanitizer's own mmap clears its notes of the whole range, which takes milliseconds. */
static uint8_t *map(void *at, size_t size, int prot, int flags, int fd) {
    return (uint8_t *)(uintptr_t)syscall(SYS_mmap, at, size, prot, flags, fd, 0L);
}

static void *walled_mmap(void *at, size_t size, int prot, int flags, int fd, long from) {
    CHECK(size % MDF_PAGE == 0 && from == 0);
    if (flags & MAP_FIXED || at || fd < 0) return map(at, size, prot, flags, fd);
    uint8_t *room = map(NULL, size + 2 * WALL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    CHECK(room != MAP_FAILED);
    return map(room + WALL, size, prot, flags | MAP_FIXED, fd);
}

static int walled_munmap(void *at, size_t size) { return (int)syscall(SYS_munmap, (uint8_t *)at - WALL, size + 2 * WALL); }

/* ------------------------------------------------------------------------------------- the files */

static uint8_t *slurp(const char *path, size_t *size) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && !fstat(fd, &st));
    uint8_t *bytes = (uint8_t *)malloc((size_t)st.st_size);
    CHECK(bytes && read(fd, bytes, (size_t)st.st_size) == st.st_size);
    close(fd);
    *size = (size_t)st.st_size;
    return bytes;
}

static mdf_ring_options options(void) {
    mdf_ring_options o = {"feed", MDF_TICK_LAYOUT, sizeof(mdf_tick), 0, INSTRUMENTS, CAPACITY};
    return o;
}

static void remove_files(void) {
    unlink(ring_path);
    unlink(registry_path);
}

static void make_files(void) {
    char err[MDF_ERR];
    mdf_writer w;
    mdf_reader r;
    mdf_instrument e;
    mdf_tick tick;
    mdf_ring_options o = options();
    const char *folder = getenv("FUZZ_DIR");
    snprintf(ring_path, sizeof ring_path, "%s/mdfeedd.fuzz-%d", folder ? folder : "/dev/shm", (int)getpid());
    mdf_registry_path(registry_path, sizeof registry_path, ring_path);
    remove_files();
    atexit(remove_files);
    CHECK(!mdf_survive_cuts());
    CHECK(!mdf_writer_open(&w, ring_path, &o, err));
    memset(&e, 0, sizeof e);
    memset(&tick, 0, sizeof tick);
    for (uint32_t i = 0; i < 3; i++) CHECK(!mdf_instrument_put(&w, i, &e, err));
    for (int i = 0; i < RECORDS; i++) mdf_publish(&w, &tick);
    CHECK(!mdf_reader_open(&r, ring_path, MDF_TICK_LAYOUT, 64, MDF_START_OLDEST, "me", err));
    mdf_reader_close(&r);
    mdf_writer_close(&w, 1);
    ring_image = slurp(ring_path, &ring_size);
    registry_image = slurp(registry_path, &registry_size);
}

typedef struct { uint8_t *at; size_t size; int fd; const uint8_t *image; } file;
static file ring, registry;

/* Whole and sound again, and mapped for the hostile side. */
static void restore(file *f, const char *path, const uint8_t *image, size_t size) {
    if (f->at) munmap(f->at, f->size);
    if (f->fd > 0) close(f->fd);
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    CHECK(f->fd > 0 && !ftruncate(f->fd, (off_t)size) && pwrite(f->fd, image, size, 0) == (ssize_t)size);
    f->at = (uint8_t *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    CHECK(f->at != MAP_FAILED);
    f->size = size;
    f->image = image;
}

/* ------------------------------------------------------------------------------ the hostile writer */

typedef struct { const uint8_t *p, *end; } input;

static uint64_t take(input *in, size_t n) {
    uint64_t v = 0;
    if (n > (size_t)(in->end - in->p)) n = (size_t)(in->end - in->p);
    memcpy(&v, in->p, n);
    in->p += n;
    return v;
}

static const uint16_t ring_fields[] = {
    0, 8, 16, 24, 32, 40, 44, 48, 128, 136, 144, 148, 152, 156, 256, 1023, 1024, 1152, 1280, 1288, 1296, 1308, 1408,
    1664, 1672, 1792, 4096, 4608, 7680, 8192, 8200, 8256,
};
static const uint16_t registry_fields[] = {0, 8, 12, 128, 4096, 4104, 4144, 4152, 4160, 4164, 4168, 4184, 4192, 4224, 36864};

static uint64_t usual(const uint8_t *at, uint64_t any, unsigned kind) {
    uint64_t old;
    memcpy(&old, at, 8);
    switch (kind % 12) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return old + 1;
    case 3: return old - 1;
    case 4: return UINT64_C(1) << 63;
    case 5: return UINT64_MAX - MDF_PAGE + 1;
    case 6: return old * 2;
    case 7: return old + (any & 0x3ff);
    case 8: return UINT64_C(0x7fffffff);
    case 9: return old ^ UINT64_C(1) << (any & 63);
    default: return any;
    }
}

static void write_some(const file *f, const uint16_t *fields, size_t n, input *in) {
    unsigned how = (unsigned)take(in, 1), width = how & 1 ? 4 : 8;
    size_t at = how & 2 ? take(in, 4) % f->size : fields[take(in, 1) % n];
    if (at + 8 > f->size) at = f->size - 8;
    uint64_t any = take(in, 8), value;
    struct stat st;
    if (fstat(f->fd, &st) || st.st_size != (off_t)f->size) return; /* cut: our own mapping ends early, too */
    value = usual(f->at + at, any, how >> 2);
    memcpy(f->at + at, &value, width);
}

/* Nothing can be written to what is cut until it is whole again. */
static void cut(const file *f, input *in) {
    size_t to = take(in, 1) % 4 ? (take(in, 2) % (f->size / MDF_PAGE)) * MDF_PAGE : f->size;
    CHECK(!ftruncate(f->fd, (off_t)to));
}

/* ------------------------------------------------------------------------------------- the readers */

static void look_at_consumers(const mdf_reader *r) {
    volatile uint64_t sum = 0;
    if (!r->registry) return;
    for (unsigned i = 0; i < MDF_CONSUMERS; i++) {
        const mdf_consumer *c = &r->registry->consumer[i];
        if (!mdf_load32(&c->used)) continue;
        sum += mdf_load(&c->cursor) + strnlen(c->name, sizeof c->name) + mdf_load(&r->registry->latency[i].sum_ns);
        sum += (unsigned)mdf_consumer_alive(r->registry_fd, i);
    }
}

static void read_some(mdf_reader *r, input *in) {
    uint64_t before = r->next, lost = r->lost, skip = 0, got = 0, max = 1 + take(in, 2) % MOST;
    uint64_t *out = (uint64_t *)malloc(max * r->words * 8); /* exactly, so that a record too many is seen */
    CHECK(out);
    if (max % 4 == 0) {
        int one = mdf_read_one(r, out);
        CHECK(one >= -1 && one <= 1);
        got = one == 1;
    } else {
        got = mdf_read_batch(r, out, max, &skip);
    }
    CHECK(got + skip <= max && got <= r->capacity);
    CHECK(r->next - before == got + (r->lost - lost)); /* what is not given is told, modulo 2^64 as all counting is */
    records += got;
    free(out);
}

static void read_step(mdf_reader *r, unsigned what, input *in) {
    mdf_instrument e;
    switch (what % 6) {
    case 0: read_some(r, in); break;
    case 1: {
        uint64_t how = take(in, 1), index = take(in, 2) % (INSTRUMENTS + 8);
        if (how % 4 == 0) index = take(in, 4);
        else if (how % 4 < 3) index = mdf_load(&r->h->instruments_count) - 1 - how / 64;
        int code = mdf_read_instrument(r, index, &e);
        CHECK(code <= 0 && code >= -2 && (index < INSTRUMENTS || code == -1));
        break;
    }
    case 2: CHECK(mdf_wait(r, 0, take(in, 1) % 32 ? 0 : 1000) <= MDF_INTERRUPTED); break; /* a sleep is long */
    case 3: mdf_acknowledge_state(r); break;
    case 4: look_at_consumers(r); break;
    default: mdf_ack(r, take(in, 8));
    }
}

static int open_any(mdf_reader *r, unsigned how) {
    static const int64_t starts[] = {MDF_START_NOW, MDF_START_OLDEST, MDF_START_RESUME, 1, 650, INT64_MAX, 690, 700};
    char err[MDF_ERR] = "";
    const char *layout = how & 1 ? MDF_TICK_LAYOUT : NULL, *name = how & 2 ? "me" : how & 4 ? "other" : NULL;
    int code = mdf_reader_open(r, ring_path, layout, 64, starts[how >> 3 & 7], name, err);
    CHECK(code == 0 || (code < 0 && strlen(err) > 10 && strchr(err, '/')));
    if (code) refused++;
    else opened++;
    if (!code) r->on_overrun = how >> 6 & 1;
    return code;
}

static void hostile_writer(input *in) {
    mdf_reader r;
    int is_open = 0;
    for (int step = 0; step < MAX_STEPS && in->p < in->end; step++) {
        unsigned what = (unsigned)take(in, 1);
        if (what % 8 < 3) write_some(&ring, ring_fields, sizeof ring_fields / sizeof *ring_fields, in);
        else if (what % 8 == 3) write_some(&registry, registry_fields, sizeof registry_fields / sizeof *registry_fields, in);
        else if (what % 32 == 4) cut(what & 32 ? &ring : &registry, in);
        else if (is_open && what % 32 != 12) read_step(&r, what >> 3, in);
        else {
            if (is_open) mdf_reader_close(&r);
            is_open = !open_any(&r, (unsigned)take(in, 1));
        }
    }
    if (is_open) mdf_reader_close(&r);
}

/* Of the registry a writer reads one flag; whatever stands there, its records come out as they went in. */
static void hostile_registry(input *in) {
    char err[MDF_ERR] = "";
    mdf_writer w;
    mdf_reader r;
    mdf_tick tick;
    mdf_ring_options o = options();
    memset(&tick, 0, sizeof tick);
    for (int i = 0; i < 4; i++) write_some(&registry, registry_fields, sizeof registry_fields / sizeof *registry_fields, in);
    if (take(in, 1) % 4 == 0) cut(&registry, in);
    int code = mdf_writer_open(&w, ring_path, &o, err);
    CHECK(code == 0 || code == MDF_E_MISMATCH); /* another ABI's: asked about, not overwritten */
    if (code) { refused++; return; }
    CHECK(w.next == RECORDS + 1);
    CHECK(!mdf_reader_open(&r, ring_path, MDF_TICK_LAYOUT, 64, MDF_START_NOW, NULL, err));
    for (uint64_t i = 1; i <= 50; i++) {
        tick.ts_event = (int64_t)i;
        CHECK(mdf_publish(&w, &tick) == RECORDS + i);
        if (i % 7 == 0) write_some(&registry, registry_fields, sizeof registry_fields / sizeof *registry_fields, in);
        if (i == 20 && take(in, 1) % 8 == 0) cut(&registry, in);
        mdf_flush(&w);
        mdf_tick back;
        CHECK(mdf_read_one(&r, &back) == 1 && back.ts_event == (int64_t)i && back.seq == RECORDS + i);
    }
    opened++;
    mdf_reader_close(&r);
    mdf_writer_close(&w, 1);
}

static void one_input(const uint8_t *data, size_t n) {
    if (!ring_image) make_files();
    restore(&ring, ring_path, ring_image, ring_size);
    restore(&registry, registry_path, registry_image, registry_size);
    input in = {data, data + n};
    if (take(&in, 1) % 4 == 0) hostile_registry(&in);
    else hostile_writer(&in);
}

/* ------------------------------------------------------------------- somebody who writes meanwhile */

static int stop;

/* One field at a time, wrong and right in turn as fast as it goes: what is checked right may be used wrong. */
static void *scribble(void *argument) {
    uint64_t state = *(uint64_t *)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t *at = (uint64_t *)(void *)(ring.at + (ring_fields[(state >> 33) % (sizeof ring_fields / sizeof *ring_fields)] & ~7u));
        uint64_t right, wrong = usual((uint8_t *)at, state >> 7, (unsigned)(state >> 50));
        memcpy(&right, ring.image + ((uint8_t *)at - ring.at), 8);
        for (int i = 0; i < 20000; i++) {
            __atomic_store_n(at, wrong, __ATOMIC_RELAXED);
            if (i & 16) mdf_pause();
            __atomic_store_n(at, right, __ATOMIC_RELAXED);
            if (i & 32) mdf_pause();
        }
    }
    return NULL;
}

static void rounds_with_a_scribbler(uint64_t seed, int64_t end) {
    pthread_t thread;
    restore(&ring, ring_path, ring_image, ring_size);
    restore(&registry, registry_path, registry_image, registry_size);
    CHECK(!pthread_create(&thread, NULL, scribble, &seed));
    while (mdf_clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end) {
        mdf_reader r;
        uint8_t bytes[40];
        if (open_any(&r, (unsigned)seed & 0xfd)) { seed++; continue; }
        for (int i = 0; i < 40; i++) {
            for (size_t k = 0; k < sizeof bytes; k++) {
                seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
                bytes[k] = (uint8_t)(seed >> 56);
            }
            input in = {bytes, bytes + sizeof bytes};
            read_step(&r, bytes[39], &in);
        }
        mdf_reader_close(&r);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    static uint8_t data[600];
    if (argc > 2 && !strcmp(argv[1], "replay")) return replay(argc, argv);
    if (argc != 3) return 2;
    uint64_t seed = strtoull(argv[1], NULL, 10), rounds = 0;
    int64_t half = (int64_t)(strtod(argv[2], NULL) * 5e8), end = mdf_clock_ns(CLOCK_PROCESS_CPUTIME_ID) + half;
    do {
        uint64_t state = (seed + rounds) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        if (getenv("FUZZ_TRACE")) fprintf(stderr, "seed %llu\n", (unsigned long long)(seed + rounds));
        size_t n = 20 + state % (sizeof data - 20);
        for (size_t i = 0; i < n; i++) {
            state ^= state << 13; state ^= state >> 7; state ^= state << 17;
            data[i] = (uint8_t)(state >> 33);
        }
        one_input(data, n);
        rounds++;
    } while (mdf_clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end || rounds < 200); /* of a busy machine no fewer */
    uint64_t alone = opened;
    rounds_with_a_scribbler(seed, mdf_clock_ns(CLOCK_PROCESS_CPUTIME_ID) + 2 * half); /* of two threads */
    printf("%llu opened=%llu refused=%llu records=%llu with_a_scribbler=%llu cuts=%llu\n", (unsigned long long)rounds,
           (unsigned long long)alone, (unsigned long long)refused, (unsigned long long)records,
           (unsigned long long)(opened - alone), (unsigned long long)mdf_cuts_survived);
    return 0;
}
