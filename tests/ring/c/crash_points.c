/* crash_points.c: kill the writer after every single store of the protocol.
 *
 * MDF_AFTER_STORE ends the process (SIGKILL) at the n-th shared store, n = 1, 2, 3 ... until the
 * script runs to its end. After each kill the segment is looked at as a reader may see it, another
 * writer takes over (and, in double cases, is killed at its m-th store), publishes more, and is
 * looked at again.
 *
 *     crash_points DIRECTORY [SCENARIO] [SLEEPER_TIMEOUT_S]
 *
 * What must hold:
 *   - a record that a reader accepts is whole, and no sequence number ever has two contents;
 *   - what is committed and not reserved over is readable: nothing is lost without need;
 *   - the next writer goes on exactly after the last commit; `reserve` and the epoch never go back;
 *   - readers attached before see rising numbers, got + lost == next - start, and reach the end;
 *   - a reader asleep on the ring wakes;
 *   - whatever has a name is whole; nothing is left over; instruments are readable.
 */
#include <stdint.h>

static void crash_point(void);
#define MDF_AFTER_STORE() crash_point()
#include "mdfeedd.h"

#include <dirent.h>

#include "record.h"

#include "sleeper.h"

static uint64_t crash_at, stores_done; /* crash_at 0: live on */

static void crash_point(void) {
    if (crash_at && ++stores_done == crash_at) raise(SIGKILL);
}

enum { MAX_SEQ = 4096, SEEN_BACK = 3, WATCHERS = 5, FINAL_BATCH = 80, NO_RING = -1 };

typedef struct geometry {
    uint64_t capacity;
    uint32_t slot_size;
} geometry;

typedef struct script {
    const char *name;
    void (*act)(mdf_writer *w, uint64_t author);
    geometry before, wanted,
        last;       /* of the ring found, of the victim's, of the writer's that comes after it */
    int64_t prefix; /* records published before, or NO_RING */
    int settle;     /* let the sleeper fall asleep before the first counted store */
} script;

static uint64_t next_author;
static uint64_t seen[MAX_SEQ]; /* author of what any reader got for a seq; 0: nobody got it */
static uint64_t highest_reserve, highest_epoch;
static ino_t censused; /* the file that highest_reserve is of */

/* ----------------------------------------------------------------------------- what readers see */

static void note(const uint64_t *record, uint32_t words, uint64_t seq) {
    REQUIRE(record_is_whole(record, words, seq),
            "record %llu is torn or stale (its word 0 is %llu)", (unsigned long long)seq,
            (unsigned long long)record[0]);
    REQUIRE(seq < MAX_SEQ, "seq %llu is out of all bounds", (unsigned long long)seq);
    REQUIRE(!seen[seq] || seen[seq] == record[1],
            "seq %llu has two contents, of writers %llu and %llu", (unsigned long long)seq,
            (unsigned long long)seen[seq], (unsigned long long)record[1]);
    seen[seq] = record[1];
}

typedef struct watcher {
    mdf_reader r;
    int batch, lazy, attached; /* lazy: reads only at the end, and may be lapped */
    uint64_t start, got, lost_before;
} watcher;

static watcher watchers[WATCHERS];

static void balance(const watcher *w) {
    REQUIRE(w->got + w->r.lost + w->lost_before == w->r.next - w->start,
            "got %llu + lost %llu != next %llu - start %llu", (unsigned long long)w->got,
            (unsigned long long)(w->r.lost + w->lost_before), (unsigned long long)w->r.next,
            (unsigned long long)w->start);
}

/* Read all there is; the batch size is odd so that runs end everywhere. */
static void drain(watcher *w) {
    static uint64_t out[23 * MAX_WORDS];
    for (;;) {
        uint64_t before = w->r.next, skip = 0, n;
        if (w->batch) {
            w->r.burst = before & 1; /* by the tail, and what it does not tell by the commit words */
            n = mdf_read_batch(&w->r, out, 23, &skip);
        } else {
            int rc = mdf_read_one(&w->r, out);
            n = rc == 1;
        }
        for (uint64_t i = 0; i < n; i++)
            note(out + (skip + i) * w->r.words, w->r.words, w->r.next - n + i);
        w->got += n;
        REQUIRE(w->r.next >= before, "a reader went back");
        balance(w);
        if (w->r.next == before) return;
    }
}

/* A superseded ring was drained: go on in the one that has the name now, as any reader must. */
static void follow(watcher *w, geometry g) {
    struct stat held, named;
    char err[MDF_ERR];
    mdf_reader r;
    REQUIRE(!fstat(w->r.fd, &held) && !stat(path, &named), "the ring has no name any more");
    if (held.st_ino == named.st_ino) return;
    REQUIRE(mdf_load32(&w->r.h->state) == MDF_SUPERSEDED || !mdf_writer_alive(w->r.fd),
            "a ring was replaced under its writer");
    REQUIRE(mdf_reader_open(&r, path, layout_of(g.slot_size), g.slot_size, (int64_t)w->r.next, NULL,
                            err) == 0,
            "%s", err);
    REQUIRE(r.next == r.h->first_seq && r.next >= w->r.next,
            "the new ring begins at %llu, the old one was read up to %llu",
            (unsigned long long)r.h->first_seq, (unsigned long long)w->r.next);
    REQUIRE(r.next - w->r.next == r.lost, "a reader that changed rings lost count");
    REQUIRE(w->lazy || !r.lost, "a reader that kept up lost records in the change of rings");
    w->lost_before += w->r.lost;
    mdf_reader_close(&w->r);
    w->r = r;
}

static void catch_up(watcher *w, geometry g) {
    drain(w);
    follow(w, g);
    drain(w);
}

static void attach_watchers(geometry g) {
    char err[MDF_ERR], name[32];
    for (int i = 0; i < WATCHERS; i++) {
        watcher *w = &watchers[i];
        memset(w, 0, sizeof *w);
        w->batch = i & 1;
        w->lazy = i >= 2;
        snprintf(name, sizeof name, "watcher-%d", i);
        REQUIRE(mdf_reader_open(&w->r, path, layout_of(g.slot_size), g.slot_size,
                                i == 4 ? MDF_START_OLDEST : MDF_START_NOW, i == 3 ? NULL : name,
                                err) == 0,
                "%s", err);
        w->r.on_overrun = i == 2 ? MDF_RESUME_LATEST : MDF_RESUME_OLDEST;
        w->start = w->r.next;
        w->attached = 1;
    }
}

static void detach_watchers(void) {
    for (int i = 0; i < WATCHERS; i++)
        if (watchers[i].attached) mdf_reader_close(&watchers[i].r);
    memset(watchers, 0, sizeof watchers);
}

/* ---------------------------------------------------------------------------------- instruments */

static void put(mdf_writer *w, uint32_t index, uint64_t tag) {
    char err[MDF_ERR];
    mdf_instrument e;
    instrument_fill(&e, index, tag);
    REQUIRE(mdf_instrument_put(w, index, &e, err) == 0, "%s", err);
}

static void check_instruments(const mdf_reader *r, int writer_lives) {
    uint64_t count = mdf_load_acquire(&r->h->instruments_count);
    for (uint64_t i = 0; i < count; i++) {
        mdf_instrument e;
        int rc = mdf_read_instrument(r, i, &e);
        REQUIRE(rc == 0 || (rc == -2 && !writer_lives),
                "instrument %llu of %llu cannot be read (%d)", (unsigned long long)i,
                (unsigned long long)count, rc);
        if (rc) continue;
        REQUIRE(instrument_is_whole(&e, (uint32_t)i),
                "instrument %llu is half of one and half of another", (unsigned long long)i);
    }
}

/* -------------------------------------------------------------------------- the segment at rest */

/* Look at the ring from every position, one record at a time and in batches. No writer is running.
 * Returns the last committed sequence number. */
static uint64_t census(uint32_t slot_size, int writer_lives) {
    static uint64_t out[600 * MAX_WORDS];
    char err[MDF_ERR];
    mdf_reader r;
    REQUIRE(mdf_reader_open(&r, path, layout_of(slot_size), slot_size, MDF_START_OLDEST, NULL,
                            err) == 0,
            "%s", err);
    uint64_t last = last_commit(&r), reserve = mdf_load(&r.h->reserve), tail = mdf_load(&r.h->tail),
             skip;
    uint64_t epoch = mdf_load(&r.h->epoch);
    struct stat st;
    REQUIRE(!fstat(r.fd, &st), "no stat");
    if (st.st_ino != censused) highest_reserve = 0; /* another file, other slots */
    censused = st.st_ino;
    REQUIRE(reserve >= highest_reserve, "reserve went back from %llu to %llu",
            (unsigned long long)highest_reserve, (unsigned long long)reserve);
    REQUIRE(epoch >= highest_epoch, "the epoch went back");
    highest_reserve = reserve;
    highest_epoch = epoch;
    REQUIRE(tail <= last, "tail %llu is beyond the last commit %llu", (unsigned long long)tail,
            (unsigned long long)last);
    REQUIRE(reserve > last, "seq %llu is committed and not reserved (%llu)",
            (unsigned long long)last, (unsigned long long)reserve);
    uint64_t from = last > 2 * r.capacity ? last - 2 * r.capacity : 1;
    if (from < r.h->first_seq) from = r.h->first_seq;
    for (uint64_t s = from; s <= last + SEEN_BACK; s++) {
        r.next = s;
        int rc = mdf_read_one(&r, out), intact = s <= last && s + r.capacity >= reserve;
        REQUIRE(rc == (intact      ? 1
                       : s <= last ? -1
                                   : 0),
                "seq %llu: read_one says %d (last %llu, reserve %llu)", (unsigned long long)s, rc,
                (unsigned long long)last, (unsigned long long)reserve);
        if (rc == 1) note(out, r.words, s);
        if (s % 29 && s + 2 < last && s + r.capacity > reserve + 2) continue;
        r.next = s;
        uint64_t n = mdf_read_batch(&r, out, 600, &skip);
        for (uint64_t i = 0; i < n; i++) note(out + (skip + i) * r.words, r.words, r.next - n + i);
        REQUIRE(!n || r.next == last + 1, "a batch read ended early"); /* on along the commits */
    }
    check_instruments(&r, writer_lives);
    mdf_reader_close(&r);
    return last;
}

/* Everything of ours in the folder is the ring and its registry; with `leftover` a whole new ring
 * may wait. */
static void check_names(int leftover) {
    char dir[512];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    DIR *d = opendir(dir);
    REQUIRE(d, "no folder %s", dir);
    for (struct dirent *e; (e = readdir(d));) {
        int expected =
            e->d_name[0] == '.' || !strcmp(e->d_name, "ring") || !strcmp(e->d_name, "ring.readers");
        REQUIRE(expected || leftover, "%s was left over", e->d_name);
    }
    closedir(d);
}

/* -------------------------------------------------------------------------------------- writers */

static mdf_ring_options options_of(geometry g) {
    mdf_ring_options o = {"feed", layout_of(g.slot_size), g.slot_size, 0, 600, g.capacity};
    return o;
}

static void publish(mdf_writer *w, uint64_t n, uint64_t author) {
    uint64_t record[MAX_WORDS];
    while (n--) {
        record_fill(record, w->words, w->next, author);
        mdf_publish(w, record);
    }
}

static void publish_batch(mdf_writer *w, uint64_t n, uint64_t author) {
    static uint64_t records[400 * MAX_WORDS];
    for (uint64_t i = 0; i < n; i++)
        record_fill(records + i * w->words, w->words, w->next + i, author);
    mdf_publish_batch(w, records, n);
}

static void act_one(mdf_writer *w, uint64_t author) {
    publish(w, 1, author);
    mdf_flush(w);
}

static void act_singles(mdf_writer *w, uint64_t author) {
    for (int i = 0; i < 4; i++) act_one(w, author);
}

static void act_batch(mdf_writer *w, uint64_t author) {
    publish_batch(w, 5, author);
    mdf_flush(w);
    publish(w, 1, author);
}

static void act_chunks(mdf_writer *w, uint64_t author) {
    publish_batch(w, w->capacity / 4 + 3, author); /* two chunks, two tails */
    mdf_flush(w);
}

static void act_instruments(mdf_writer *w, uint64_t author) {
    put(w, 2, author);
    put(w, 0, author);
    put(w, 3, author);
}

static void act_close(mdf_writer *w, uint64_t author) {
    publish(w, 1, author);
    mdf_writer_close(w, 1);
}

/* One life of a writer in a process of its own, killed after `at` counted stores. 1 killed, 0 went
 * through. */
static int victim(const script *s, uint64_t at) {
    uint64_t author = ++next_author;
    pid_t pid = fork_bound();
    if (pid == 0) {
        char err[MDF_ERR];
        mdf_writer w;
        mdf_ring_options o = options_of(s->wanted);
        stores_done = 0;
        if (!s->settle) crash_at = at;
        REQUIRE(mdf_writer_open(&w, path, &o, err) == 0, "victim: %s", err);
        if (s->settle) {
            wait_until_announced(w.registry);
            crash_at = at;
        }
        s->act(&w, author);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid, "no victim");
    if (WIFSIGNALED(status)) {
        REQUIRE(WTERMSIG(status) == SIGKILL, "the victim died of signal %d", WTERMSIG(status));
        return 1;
    }
    REQUIRE(WEXITSTATUS(status) == 0, "the victim failed");
    return 0;
}

static void prepare(const script *s) {
    char err[MDF_ERR];
    mdf_writer w;
    mdf_ring_options o = options_of(s->before);
    if (s->prefix == NO_RING) return;
    REQUIRE(mdf_writer_open(&w, path, &o, err) == 0, "%s", err);
    put(&w, 0, ++next_author);
    put(&w, 1, next_author);
    publish(&w, (uint64_t)s->prefix, next_author);
    mdf_writer_close(&w, 0);
}

/* Which geometry has the name now? A kill in the middle of a replacement leaves the old or the new
 * one. */
static geometry named_geometry(const script *s) {
    char err[MDF_ERR];
    mdf_reader r;
    if (mdf_reader_open(&r, path, NULL, 0, MDF_START_NOW, NULL, err) == MDF_E_MISSING) {
        geometry none = {0, 0};
        REQUIRE(s->prefix == NO_RING, "the ring's name vanished");
        return none;
    }
    REQUIRE(r.h, "what has the name is not whole: %s", err);
    geometry g = {r.capacity, r.h->slot_size};
    mdf_reader_close(&r);
    REQUIRE(g.capacity == s->before.capacity || g.capacity == s->wanted.capacity,
            "a ring of no known geometry");
    return g;
}

/* The ring between two writers. Returns the last commit. */
static uint64_t look(const script *s) {
    geometry g = named_geometry(s);
    if (!g.capacity) return 0;
    for (int i = 0; i < WATCHERS; i++)
        if (watchers[i].attached && !watchers[i].lazy) catch_up(&watchers[i], g);
    return census(g.slot_size, 0);
}

static void clear(void) {
    const char *suffix[] = {"", ".readers", ".new", "~new"};
    char name[600];
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffix[i]);
        unlink(name);
    }
    memset(seen, 0, sizeof seen);
    highest_reserve = highest_epoch = censused = 0;
}

/* The writer that finds all this, its readers, and its end. */
static void finish(const script *s, uint64_t last, sleeper *sleeping) {
    char err[MDF_ERR];
    mdf_writer w, second;
    mdf_reader late;
    mdf_ring_options o = options_of(s->last);
    uint64_t author = ++next_author, epoch = highest_epoch;
    REQUIRE(mdf_writer_open(&w, path, &o, err) == 0, "the next writer: %s", err);
    REQUIRE(w.next == last + 1, "the next writer goes on at %llu, the last commit is %llu",
            (unsigned long long)w.next, (unsigned long long)last);
    REQUIRE(mdf_load(&w.h->tail) == last, "the next writer left the tail behind");
    REQUIRE(mdf_load(&w.h->epoch) > epoch, "the next writer did not raise the epoch");
    REQUIRE(mdf_load32(&w.h->state) == MDF_LIVE, "the next writer is not live");
    REQUIRE(mdf_writer_open(&second, path, &o, err) == MDF_E_BUSY, "two writers at once");
    check_names(0);
    census(s->last.slot_size, 1);
    publish(&w, 3, author);
    mdf_flush(&w);
    join_sleeper(sleeping);
    for (int i = 0; i < 2; i++) {
        if (watchers[i].attached) catch_up(&watchers[i], s->last);
    }
    census(s->last.slot_size, 1);
    publish_batch(&w, FINAL_BATCH,
                  author); /* crosses a block and, with some prefixes, the end of the ring */
    publish(&w, s->last.capacity / 2, author);
    put(&w, (uint32_t)mdf_load(&w.h->instruments_count), author);
    mdf_flush(&w);
    uint64_t end = census(s->last.slot_size, 1);
    REQUIRE(end == last + 3 + FINAL_BATCH + s->last.capacity / 2, "records are missing");
    for (int i = 0; i < WATCHERS; i++) {
        if (!watchers[i].attached) continue;
        catch_up(&watchers[i], s->last);
        REQUIRE(watchers[i].r.next == end + 1, "watcher %d stopped at %llu of %llu", i,
                (unsigned long long)watchers[i].r.next, (unsigned long long)end);
    }
    REQUIRE(mdf_reader_open(&late, path, NULL, 0, 1, NULL, err) == 0, "%s", err);
    watcher from_one = {.r = late, .batch = 1, .start = 1};
    drain(&from_one); /* from a seq of before this segment: counted, never invented */
    REQUIRE(from_one.r.next == end + 1, "a late reader stopped early");
    mdf_reader_close(&from_one.r);
    mdf_writer_close(&w, 1);
}

/* 0: script s went through; 1: killed, and everything held; 2: the same, and so was `again` at its
 * m-th store. */
static int run_case(const script *s, uint64_t n, const script *again, uint64_t m) {
    sleeper sleeping = {.running = 0};
    int killed;
    snprintf(case_name, sizeof case_name, "%s capacity=%llu slot=%u prefix=%lld n=%llu m=%llu",
             s->name, (unsigned long long)s->before.capacity, s->before.slot_size,
             (long long)s->prefix, (unsigned long long)n, (unsigned long long)m);
    clear();
    prepare(s);
    if (s->prefix != NO_RING) {
        attach_watchers(s->before);
        start_sleeper(&sleeping, s->before.slot_size, s->wanted.capacity != s->before.capacity);
    }
    killed = victim(s, n);
    check_names(killed);
    uint64_t last = look(s);
    if (!killed && s->act == act_close) join_sleeper(&sleeping); /* nobody comes after */
    if (killed && again && victim(again, m)) {
        killed = 2;
        check_names(1);
        last = look(s);
    }
    if (killed == 1 && again) last = look(s);
    finish(s, last, &sleeping);
    detach_watchers();
    return killed;
}

/* ----------------------------------------------------------------------------------------- main */

static const geometry SMALL = {256, 64}, WIDE = {512, 128};

static uint64_t sweep(const script *s) {
    uint64_t n = 1;
    while (run_case(s, n, NULL, 0)) n++;
    return n;
}

static uint64_t sweep_twice(const script *s, const script *again) {
    uint64_t cases = 0;
    for (uint64_t n = 1, dead = 1; dead; n++) {
        for (uint64_t m = 1;; m++) {
            cases++;
            int killed = run_case(s, n, again, m);
            dead = killed != 0;
            if (killed != 2) break;
        }
    }
    return cases;
}

/* Where in the ring it begins: fresh, before a block's and the ring's end, and lapped. */
static const int64_t POSITIONS[] = {0, 61, 253, 574, 1021};

static uint64_t sweep_positions(const char *name, void (*act)(mdf_writer *, uint64_t), geometry g,
                                int settle) {
    uint64_t cases = 0;
    for (size_t i = 0; i < sizeof POSITIONS / sizeof *POSITIONS; i++) {
        script s = {name, act, g, g, g, POSITIONS[i], settle};
        cases += sweep(&s);
    }
    return cases;
}

static uint64_t scenario(const char *name) {
    uint64_t cases = 0;
    if (!strcmp(name, "single"))
        return sweep_positions(name, act_singles, SMALL, 0) +
               sweep_positions(name, act_singles, WIDE, 0);
    if (!strcmp(name, "batch"))
        return sweep_positions(name, act_batch, SMALL, 0) +
               sweep_positions(name, act_batch, WIDE, 0);
    if (!strcmp(name, "wake"))
        return sweep_positions(name, act_singles, SMALL, 1) +
               sweep_positions(name, act_batch, SMALL, 1);
    if (!strcmp(name, "instruments")) return sweep_positions(name, act_instruments, SMALL, 0);
    if (!strcmp(name, "close")) return sweep_positions(name, act_close, SMALL, 1);
    if (!strcmp(name, "chunks")) {
        script s = {name,  act_chunks, SMALL, SMALL,
                    SMALL, 192,        0}; /* the first chunk fills its block */
        return sweep(&s);
    }
    if (!strcmp(name, "create")) {
        script s = {name, act_singles, SMALL, SMALL, SMALL, NO_RING, 0};
        return sweep(&s);
    }
    if (!strcmp(name, "replace")) {
        script wider = {name, act_batch, SMALL, WIDE, WIDE, 574, 0};
        script narrower = {name, act_batch, WIDE, SMALL, SMALL, 253, 0};
        script undone = {name,  act_one, SMALL, WIDE,
                         SMALL, 61,      0}; /* the old geometry again after the kill */
        return sweep(&wider) + sweep(&narrower) + sweep(&undone);
    }
    if (!strcmp(name, "twice")) {
        static const int64_t positions[] = {61, 1021};
        for (size_t i = 0; i < 2; i++) {
            script s = {name, act_batch, SMALL, SMALL, SMALL, positions[i], 0};
            script again = {name, act_one, SMALL, SMALL, SMALL, 0, 0};
            cases += sweep_twice(&s, &again);
        }
        return cases;
    }
    die("no scenario %s", name);
}

int main(int argc, char **argv) {
    static const char *all[] = {"create",      "single", "batch",   "chunks", "wake",
                                "instruments", "close",  "replace", "twice"};
    REQUIRE(argc >= 2, "usage: crash_points DIRECTORY [SCENARIO] [SLEEPER_TIMEOUT_S]");
    snprintf(path, sizeof path, "%s/ring", argv[1]);
    if (argc > 3) sleeper_timeout_s = atoi(argv[3]);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (argc > 2 && strcmp(argv[2], "all") && strcmp(argv[2], all[i])) continue;
        uint64_t cases = scenario(all[i]);
        clear();
        printf("%s %llu\n", all[i], (unsigned long long)cases);
        fflush(stdout);
    }
    return 0;
}
