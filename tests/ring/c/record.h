/* record.h: records that prove themselves, and the ways to fail.
 *
 * A record is a function of its sequence number and its author (a number that names one life of a
 * writer). A torn record, a stale one, and one published twice with two contents all show.
 */
#ifndef TEST_RECORD_H
#define TEST_RECORD_H

#include <signal.h>
#include <stdlib.h>
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

#define REQUIRE(cond, ...)                                                                       \
    do {                                                                                         \
        if (!(cond)) die(__VA_ARGS__);                                                           \
    } while (0)

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

/* A layout text for slots of `slot_size` bytes; its fields do not matter here. */
static inline const char *layout_of(uint32_t slot_size) {
    return slot_size == 64 ? "proof:64;seq:u8@0;author:u8@8" : "proof:128;seq:u8@0;author:u8@8";
}

#endif
