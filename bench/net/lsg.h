/* What the two programs of bench/databento.py share: options, clocks, sockets, lines. */
#ifndef LSG_H
#define LSG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LSG_LINE_BYTES = 8192, LSG_RECEIVE_BUFFER_BYTES = 8 << 20 }; /* the latter as our feed's default */

static inline void lsg_fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "not as agreed");
    exit(1);
}

static inline int64_t lsg_clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The value of NAME=VALUE among the arguments. */
static inline const char *lsg_option(int argc, char **argv, const char *name, const char *otherwise) {
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], name, n) && argv[i][n] == '=') return argv[i] + n + 1;
    return otherwise;
}

static inline uint64_t lsg_number(int argc, char **argv, const char *name, const char *otherwise) {
    return strtoull(lsg_option(argc, argv, name, otherwise), NULL, 10);
}

static inline void lsg_send(int fd, const void *data, size_t n) {
    for (const uint8_t *p = data; n;) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) lsg_fail("send");
        if (sent > 0) p += sent, n -= (size_t)sent;
    }
}

/* A line without its end, byte by byte, so that nothing behind it is taken. */
static inline const char *lsg_line(int fd) {
    static char line[LSG_LINE_BYTES];
    for (size_t n = 0; n < sizeof line; n++) {
        if (recv(fd, line + n, 1, 0) != 1) lsg_fail("recv");
        if (line[n] == '\n') {
            line[n] = 0;
            return line;
        }
    }
    lsg_fail("a line");
    return NULL;
}

/* Tell who runs us, and wait until it writes a line (or goes). */
static inline void lsg_tell(const char *text) {
    printf("%s\n", text);
    fflush(stdout);
}

static inline void lsg_wait(void) {
    for (int c = getchar(); c != '\n' && c != EOF; c = getchar()) {}
}

#endif
