/* record.h: records that prove themselves, and the ways to fail.
 *
 * A record is a function of its sequence number and its author (a number that names one life of a
 * writer). A torn record, a stale one, and one published twice with two contents all show.
 */
#ifndef TEST_RECORD_H
#define TEST_RECORD_H

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { MAX_WORDS = 16 };

static char case_name[256] = "start"; /* what a failure message begins with */

__attribute__((format(printf, 1, 2), noreturn, unused)) static void die(const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "FAILED %s: ", case_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stderr);
    _exit(1);
}

#define REQUIRE(cond, ...)                                                                         \
    do {                                                                                           \
        if (!(cond)) die(__VA_ARGS__);                                                             \
    } while (0)

/* fork(), and the child ends with its parent however that ends: it would keep the test's pipes
 * open. */
static inline pid_t fork_bound(void) {
    pid_t parent = getpid(), pid = fork();
    REQUIRE(pid >= 0, "no fork");
    if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)) _exit(1);
    return pid;
}

static inline uint64_t record_word(uint64_t seq, uint64_t author, uint32_t i) {
    uint64_t x = seq * UINT64_C(0x9e3779b97f4a7c15) + author * UINT64_C(0xbf58476d1ce4e5b9) + i;
    x ^= x >> 31;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 29;
}

static inline void record_fill(uint64_t *record, uint32_t words, uint64_t seq, uint64_t author) {
    record[0] = UINT64_C(0x6e6f742061207365); /* the ring must ignore it */
    record[1] = author;
    for (uint32_t i = 2; i < words; i++) record[i] = record_word(seq, author, i);
}

/* Is it the whole record `seq`, whoever wrote it? */
static inline int record_is_whole(const uint64_t *record, uint32_t words, uint64_t seq) {
    if (record[0] != seq) return 0;
    for (uint32_t i = 2; i < words; i++)
        if (record[i] != record_word(seq, record[1], i)) return 0;
    return 1;
}

/* An instrument that proves itself: everything in it follows from its index and `tag`. */
static inline void instrument_fill(mdf_instrument *e, uint32_t index, uint64_t tag) {
    memset(e, 0, sizeof *e);
    e->instrument_id = index + 1;
    e->vendor_id = tag;
    e->tick_size = (int64_t)(tag * 3 + index);
    e->multiplier = (int64_t)(tag * 7 + index);
    snprintf(e->symbol, sizeof e->symbol, "S%u-%llu", index, (unsigned long long)tag);
    snprintf(e->vendor_symbol, sizeof e->vendor_symbol, "V%u-%llu", index, (unsigned long long)tag);
}

/* Is it one whole version of entry `index`, whichever? */
static inline int instrument_is_whole(const mdf_instrument *e, uint32_t index) {
    mdf_instrument want;
    instrument_fill(&want, index, e->vendor_id);
    want.version = e->version;
    return !memcmp(e, &want, sizeof want);
}

/* The last committed record of a ring that nobody writes, as the slots tell it and not `tail`. */
static inline uint64_t last_commit(const mdf_reader *r) {
    uint64_t highest = r->h->first_seq - 1;
    for (uint64_t i = 0; i < r->capacity; i++) {
        uint64_t q = mdf_load(mdf_slot((uint8_t *)(uintptr_t)r->slots, i, r->mask, r->words));
        if (q > highest) highest = q;
    }
    return highest;
}

/* A layout text for slots of `slot_size` bytes; its fields do not matter here. */
static inline const char *layout_of(uint32_t slot_size) {
    return slot_size == 64 ? "proof:64;seq:u8@0;author:u8@8" : "proof:128;seq:u8@0;author:u8@8";
}

#endif
