/* consumers.c: the registry of consumers, when consumers race and die.
 *
 *     consumers DIRECTORY [ROUNDS]
 *
 * Readers live in processes of their own and end by SIGKILL, so that only the kernel gives their
 * slots back.
 */
#include "mdfeedd.h"

#include "record.h"

enum { RACERS = 8 };

static char path[512];

typedef struct child {
    pid_t pid;
    int to, from; /* its pipes */
} child;

typedef struct answer {
    int code;
    int index;      /* of its consumer slot */
    uint64_t start; /* next seq when it had attached */
    uint64_t lost;
} answer;

/* A reader in a process of its own. It attaches at the first byte sent to it and answers; then it
 * reads `reads` records, acknowledges `acked` (0: it does not), answers again, and waits to be
 * killed. */
static child start_reader(const char *name, int64_t start, uint64_t reads, uint64_t acked) {
    int to[2], from[2];
    REQUIRE(pipe(to) == 0 && pipe(from) == 0, "no pipe");
    child c = {.pid = fork_bound(), .to = to[1], .from = from[0]};
    if (c.pid) {
        close(to[0]);
        close(from[1]);
        return c;
    }
    char byte, err[MDF_ERR];
    uint64_t record[8];
    mdf_reader r;
    if (read(to[0], &byte, 1) != 1) _exit(0);
    answer a = {.code = mdf_reader_open(&r, path, layout_of(64), 64, start, name, err)};
    if (!a.code) a = (answer){0, r.consumer_index, r.next, r.lost};
    if (write(from[1], &a, sizeof a) != sizeof a || a.code) _exit(0);
    for (uint64_t i = 0; i < reads; i++) REQUIRE(mdf_read_one(&r, record) == 1, "nothing to read");
    if (acked) mdf_ack(&r, acked);
    if (write(from[1], &a, sizeof a) != sizeof a) _exit(0);
    for (;;) pause();
}

static void go(const child *c) { REQUIRE(write(c->to, "g", 1) == 1, "no pipe"); }

static answer hear(const child *c) {
    answer a;
    REQUIRE(read(c->from, &a, sizeof a) == sizeof a, "a reader died");
    return a;
}

static void end(child *c) {
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    close(c->to);
    close(c->from);
}

/* One whole life; `reads` and `acked` as above. */
static answer live(const char *name, int64_t start, uint64_t reads, uint64_t acked) {
    child c = start_reader(name, start, reads, acked);
    go(&c);
    answer a = hear(&c);
    if (!a.code) hear(&c);
    end(&c);
    return a;
}

static void killed_reader_resumes(void) {
    snprintf(case_name, sizeof case_name, "resume");
    answer a = live("worker", MDF_START_RESUME, 10, 0);
    REQUIRE(!a.code && a.start == 1, "a new consumer resumes at %llu", (unsigned long long)a.start);
    answer b = live("worker", MDF_START_RESUME, 5, 4);
    REQUIRE(b.index == a.index, "the dead consumer's slot was not taken again");
    REQUIRE(b.start == 11, "without acknowledgement it goes on after what it read: %llu",
            (unsigned long long)b.start);
    answer c = live("worker", MDF_START_RESUME, 7, 0);
    REQUIRE(c.start == 5, "it goes on after what it acknowledged: %llu",
            (unsigned long long)c.start);
    answer d = live("worker", MDF_START_RESUME, 0, 0);
    REQUIRE(d.start == 5,
            "killed before its first acknowledgement it forgot the earlier ones: %llu",
            (unsigned long long)d.start);
}

static void one_name_one_consumer(int rounds) {
    for (int round = 0; round < rounds; round++) {
        child c[RACERS];
        int winners = 0;
        char name[32];
        snprintf(case_name, sizeof case_name, "race %d", round);
        snprintf(name, sizeof name, "racer-%d",
                 round / 2); /* every other race is for a dead consumer's slot */
        for (int i = 0; i < RACERS; i++) c[i] = start_reader(name, MDF_START_NOW, 0, 0);
        for (int i = 0; i < RACERS; i++) go(&c[i]);
        for (int i = 0; i < RACERS; i++) {
            answer a = hear(&c[i]);
            REQUIRE(!a.code || a.code == MDF_E_BUSY, "error %d", a.code);
            winners += !a.code;
        }
        REQUIRE(winners == 1, "%d living consumers of one name", winners);
        for (int i = 0; i < RACERS; i++) end(&c[i]);
    }
}

static void full_registry_takes_back_the_dead(void) {
    static mdf_reader readers[MDF_CONSUMERS];
    char err[MDF_ERR], name[32];
    mdf_reader extra;
    snprintf(case_name, sizeof case_name, "full registry");
    for (int i = 0; i < (int)MDF_CONSUMERS; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        REQUIRE(mdf_reader_open(&readers[i], path, layout_of(64), 64, MDF_START_NOW, name, err) ==
                    0,
                "%s", err);
        for (int k = 0; k < i; k++)
            REQUIRE(readers[k].consumer_index != readers[i].consumer_index,
                    "one slot, two consumers");
    }
    REQUIRE(mdf_reader_open(&extra, path, layout_of(64), 64, MDF_START_NOW, "extra", err) ==
                MDF_E_SPACE,
            "129 consumers");
    REQUIRE(strstr(err, "128 consumers"), "%s", err);
    int given_back = readers[77].consumer_index;
    mdf_reader_close(&readers[77]);
    REQUIRE(mdf_reader_open(&extra, path, layout_of(64), 64, MDF_START_NOW, "extra", err) == 0,
            "%s", err);
    REQUIRE(extra.consumer_index == given_back, "the slot given back was not taken");
    mdf_reader_close(&extra);
    for (int i = 0; i < (int)MDF_CONSUMERS; i++) mdf_reader_close(&readers[i]);
}

int main(int argc, char **argv) {
    char err[MDF_ERR];
    uint64_t record[8] = {0};
    mdf_writer w;
    mdf_ring_options o = {"feed", layout_of(64), 64, 0, 16, 256};
    REQUIRE(argc >= 2, "usage: consumers DIRECTORY [ROUNDS]");
    snprintf(path, sizeof path, "%s/ring", argv[1]);
    REQUIRE(mdf_writer_open(&w, path, &o, err) == 0, "%s", err);
    for (int i = 0; i < 100; i++) mdf_publish(&w, record);
    killed_reader_resumes();
    one_name_one_consumer(argc > 2 ? atoi(argv[2]) : 40);
    full_registry_takes_back_the_dead();
    mdf_writer_close(&w, 1);
    puts("consumers ok");
    return 0;
}
