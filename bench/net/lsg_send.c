/* A gateway that checks nothing and sends as fast as it can, or one record at a time: one connection.
 *
 *     cc -O2 -std=c11 bench/net/lsg_send.c -o lsg_send
 *     ./lsg_send head=FILE body=FILE [stride=80 repeat=N step_ns=N rate=N] [gap_us=N count=N]
 *
 * It says "port N"; after the handshake and the bytes of head= "ready", and waits for a line. Then it sends body=
 * `repeat` times, `step_ns` later each time (ts_event and ts_recv of the records, which are of `stride` bytes), with
 * rate= no more than so many records a second. Or, with gap_us=, `count` single records whose ts_event is the time just before they are sent. It says "sent BEGIN
 * END" (UNIX ns), waits for a line, and closes in order. It never sends while nobody reads: the socket blocks.
 */
#include "lsg.h"

enum { TS_EVENT_AT = 8, TS_RECV_AT = 32, PACED_RECORDS = 512 };

static uint8_t *contents(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) lsg_fail(path);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*n ? *n : 1);
    if (!data || fread(data, 1, *n, f) != *n) lsg_fail(path);
    fclose(f);
    return data;
}

static void later(uint8_t *record, size_t at, uint64_t step_ns) {
    uint64_t t;
    memcpy(&t, record + at, sizeof t);
    t += step_ns;
    memcpy(record + at, &t, sizeof t);
}

/* Send a few records at a time, each few not before their turn. `sent`: records so far. */
static void in_turn(int fd, const uint8_t *body, size_t n, size_t stride, uint64_t rate, int64_t begin_ns, uint64_t *sent) {
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < PACED_RECORDS * stride ? n - at : PACED_RECORDS * stride;
        int64_t due_ns = begin_ns + (int64_t)((double)*sent * 1e9 / (double)rate);
        while (lsg_clock_ns(CLOCK_MONOTONIC) < due_ns) {}
        lsg_send(fd, body + at, some);
        *sent += some / stride;
    }
}

static void flood(int fd, uint8_t *body, size_t n, size_t stride, uint64_t repeat, uint64_t step_ns, uint64_t rate) {
    int64_t begin_ns = lsg_clock_ns(CLOCK_MONOTONIC);
    uint64_t sent = 0;
    for (uint64_t i = 0; i < repeat; i++) {
        for (size_t at = 0; i && step_ns && at < n; at += stride) {
            later(body + at, TS_EVENT_AT, step_ns);
            later(body + at, TS_RECV_AT, step_ns);
        }
        if (rate) in_turn(fd, body, n, stride, rate, begin_ns, &sent);
        else lsg_send(fd, body, n);
    }
}

static void singly(int fd, uint8_t *body, size_t n, size_t stride, uint64_t count, uint64_t gap_us) {
    int64_t due_ns = lsg_clock_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *record = body + i * stride % n;
        due_ns += (int64_t)gap_us * 1000;
        struct timespec due = {due_ns / 1000000000, due_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        int64_t now_ns = lsg_clock_ns(CLOCK_REALTIME);
        memcpy(record + TS_EVENT_AT, &now_ns, sizeof now_ns);
        lsg_send(fd, record, stride);
    }
}

static int caller(void) {
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof here;
    char text[32];
    if (bind(server, (struct sockaddr *)&here, n) || listen(server, 1)) lsg_fail("listen");
    getsockname(server, (struct sockaddr *)&here, &n);
    snprintf(text, sizeof text, "port %d", ntohs(here.sin_port));
    lsg_tell(text);
    int fd = accept(server, NULL, NULL);
    if (fd < 0) lsg_fail("accept");
    close(server);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void handshake(int fd) {
    static const char greeting[] = "lsg_version=0.9.4\ncram=00112233445566778899aabbccddeeff\n";
    static const char success[] = "success=1|session_id=1760000001\n";
    lsg_send(fd, greeting, sizeof greeting - 1);
    if (strncmp(lsg_line(fd), "auth=", 5)) lsg_fail("auth");
    lsg_send(fd, success, sizeof success - 1);
    while (strncmp(lsg_line(fd), "start_session", 13)) {}
}

int main(int argc, char **argv) {
    size_t head_n, n, stride = lsg_number(argc, argv, "stride", "80");
    uint8_t *head = contents(lsg_option(argc, argv, "head", "head"), &head_n);
    uint8_t *body = contents(lsg_option(argc, argv, "body", "body"), &n);
    uint64_t gap_us = lsg_number(argc, argv, "gap_us", "0"), repeat = lsg_number(argc, argv, "repeat", "1");
    uint64_t step_ns = lsg_number(argc, argv, "step_ns", "0"), count = lsg_number(argc, argv, "count", "0");
    uint64_t rate = lsg_number(argc, argv, "rate", "0");
    char text[64];
    if (!stride || ((gap_us || step_ns) && n % stride)) lsg_fail("stride");
    int fd = caller();
    handshake(fd);
    lsg_send(fd, head, head_n);
    lsg_tell("ready");
    lsg_wait();
    int64_t begin_ns = lsg_clock_ns(CLOCK_REALTIME);
    if (gap_us) singly(fd, body, n, stride, count, gap_us);
    else flood(fd, body, n, stride, repeat, step_ns, rate);
    snprintf(text, sizeof text, "sent %ld %ld", (long)begin_ns, (long)lsg_clock_ns(CLOCK_REALTIME));
    lsg_tell(text);
    lsg_wait();
    shutdown(fd, SHUT_WR);
    while (recv(fd, text, sizeof text, 0) > 0) {}
    return 0;
}
