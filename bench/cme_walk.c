/* The limit of bench/cme.py: walk packets in memory and touch every entry, nothing else.
 *
 *     cme_walk FILE REPEAT     FILE: (u32 length, u32 line, i64 time, payload)*      prints ns a packet
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint16_t u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static int64_t i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Price, size, instrument and RptSeq of every book entry of one packet, with the length checks of a real walk. */
static uint64_t walk(const uint8_t *p, size_t n) {
    uint64_t sum = u32(p);
    const uint8_t *end = p + n;
    for (const uint8_t *m = p + 12; end - m >= 10;) {
        size_t size = u16(m), block = u16(m + 2);
        unsigned template_id = u16(m + 4);
        if (size < 10 + block || size > (size_t)(end - m)) break;
        if (template_id == 32 && size >= 13 + block) {
            const uint8_t *g = m + 10 + block;
            size_t length = u16(g), count = g[2];
            if (13 + block + length * count <= size)
                for (size_t i = 0; i < count; i++) {
                    const uint8_t *e = g + 3 + i * length;
                    sum += (uint64_t)i64(e) + u32(e + 8) + u32(e + 12) + u32(e + 16) + e[24] + e[25] + e[26];
                }
        }
        m += size;
    }
    return sum;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    FILE *f = fopen(argv[1], "rb");
    if (!f) return 1;
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f), packets = 0;
    rewind(f);
    uint8_t *data = malloc(n);
    if (!data || fread(data, 1, n, f) != n) return 1;
    int64_t best = INT64_MAX;
    uint64_t sum = 0;
    for (int round = 0; round < atoi(argv[2]); round++) {
        int64_t begin = now_ns();
        packets = 0;
        for (size_t i = 0; i < n; i += 16 + u32(data + i), packets++) sum += walk(data + i + 16, u32(data + i));
        int64_t took = now_ns() - begin;
        if (took < best) best = took;
    }
    printf("%.3f %llu\n", (double)best / (double)packets, (unsigned long long)sum);
    return 0;
}
