/* Packets of a channel in memory, for the C programs beside bench/cme.py.
 *
 * FILE: (u32 length, u32 line, i64 time, payload)*, as bench/cme.py writes it
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint16_t u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline int64_t i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* `each` gets every packet of the file; ns a packet, of the best of `rounds`, before each of which `begin` is called. */
static inline __attribute__((always_inline)) double best_ns(const char *path, int rounds, void (*begin)(void),
                                                            void (*each)(const uint8_t *, size_t, int64_t)) {
    FILE *f = fopen(path, "rb");
    if (!f) exit(1);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f), packets = 0;
    rewind(f);
    uint8_t *data = malloc(n);
    if (!data || fread(data, 1, n, f) != n) exit(1);
    fclose(f);
    int64_t best = INT64_MAX;
    for (int round = 0; round < rounds; round++) {
        begin();
        packets = 0;
        int64_t start = now_ns();
        for (size_t i = 0; i < n; i += 16 + u32(data + i), packets++) each(data + i + 16, u32(data + i), i64(data + i + 8));
        int64_t took = now_ns() - start;
        if (took < best) best = took;
    }
    return (double)best / (double)packets;
}
