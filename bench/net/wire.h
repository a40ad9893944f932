/* What the three programs of bench/cme_wire.py share: the payload, the options, the figures.
 *
 * A payload begins with its sequence number, from 0, little-endian; END ends the run and is sent many times.
 */
#ifndef WIRE_H
#define WIRE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define END UINT32_MAX
enum { MAX_WIRE_LINES = 16, MAX_SAMPLES = 1 << 20 };

typedef struct wire_options {
    uint32_t lines, port, packets, bytes, pps, buffer_mib, latency, burst, backlog;
    int cpu;
    const char *address, *mode;
} wire_options;

/* Figures of a receiver. CPU time counts from the first datagram to END. */
typedef struct wire_figures {
    uint64_t datagrams, calls, disorder;
    uint32_t next[MAX_WIRE_LINES];
    int64_t cpu_ns, wall_ns;
    int began, ended;
    uint32_t samples;
    int32_t *latency_ns;
} wire_figures;

static inline int64_t wire_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void wire_fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static inline wire_options wire_read(int argc, char **argv) {
    wire_options o = {.lines = 1, .port = 45310, .packets = 100000, .bytes = 150, .buffer_mib = 64, .burst = 1,
                      .cpu = -1, .address = "127.0.0.1", .mode = "blocking"};
    const struct { const char *name; uint32_t *value; } numbers[] = {
        {"lines", &o.lines}, {"port", &o.port}, {"packets", &o.packets}, {"bytes", &o.bytes}, {"pps", &o.pps},
        {"buffer_mib", &o.buffer_mib}, {"latency", &o.latency}, {"burst", &o.burst},
        {"backlog", &o.backlog}};
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            continue;
        *value++ = 0;
        if (!strcmp(argv[i], "address"))
            o.address = value;
        else if (!strcmp(argv[i], "mode"))
            o.mode = value;
        else if (!strcmp(argv[i], "cpu"))
            o.cpu = atoi(value);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (!strcmp(argv[i], numbers[k].name))
                *numbers[k].value = (uint32_t)strtoul(value, NULL, 10);
    }
    if (o.lines < 1 || o.lines > MAX_WIRE_LINES || o.bytes < 4 || o.bytes > 9000) {
        fprintf(stderr, "lines= or bytes= out of range\n");
        exit(2);
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    if (o.cpu >= 0) {
        CPU_SET(o.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set))
            wire_fail("sched_setaffinity");
    }
    return o;
}

static inline void wire_begin(wire_figures *f, const wire_options *o) {
    memset(f, 0, sizeof *f);
    if (o->latency && !(f->latency_ns = calloc(MAX_SAMPLES, sizeof *f->latency_ns)))
        wire_fail("memory");
    printf("ready\n");
    fflush(stdout);
    if (o->backlog) /* everything is sent before anything is read, until a line on stdin */
        (void)getchar();
}

static inline void wire_take(wire_figures *f, uint32_t line, const uint8_t *payload) {
    uint32_t sequence;
    memcpy(&sequence, payload, sizeof sequence);
    if (__builtin_expect(sequence == END, 0)) {
        if (!f->ended) {
            f->ended = 1;
            f->cpu_ns += wire_clock(CLOCK_PROCESS_CPUTIME_ID);
            f->wall_ns += wire_clock(CLOCK_MONOTONIC);
        }
        return;
    }
    if (__builtin_expect(!f->began, 0)) {
        f->began = 1;
        f->cpu_ns = -wire_clock(CLOCK_PROCESS_CPUTIME_ID);
        f->wall_ns = -wire_clock(CLOCK_MONOTONIC);
    }
    f->datagrams++;
    f->disorder += sequence < f->next[line];
    f->next[line] = sequence + 1;
}

static inline void wire_late(wire_figures *f, int64_t stamp_ns, int64_t now_ns) {
    if (f->samples < MAX_SAMPLES)
        f->latency_ns[f->samples++] = (int32_t)(now_ns - stamp_ns);
}

static int wire_order(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static inline void wire_print(wire_figures *f, uint64_t kernel_drops) {
    printf("{\"datagrams\": %lu, \"cpu_ns\": %ld, \"wall_ns\": %ld, \"calls\": %lu, \"disorder\": %lu, "
           "\"kernel_drops\": %lu",
           (unsigned long)f->datagrams, (long)f->cpu_ns, (long)f->wall_ns, (unsigned long)f->calls,
           (unsigned long)f->disorder, (unsigned long)kernel_drops);
    if (f->samples) {
        qsort(f->latency_ns, f->samples, sizeof *f->latency_ns, wire_order);
        printf(", \"p50_ns\": %d, \"p99_ns\": %d, \"max_ns\": %d", f->latency_ns[f->samples / 2],
               f->latency_ns[(uint64_t)f->samples * 99 / 100], f->latency_ns[f->samples - 1]);
    }
    printf("}\n");
}

#endif
