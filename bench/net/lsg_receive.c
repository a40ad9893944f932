/* The measures of bench/databento.py: a client that only receives, and one that decodes in the simplest way.
 *
 *     cc -O2 -std=c11 -Imdfeedd/ring -Imdfeedd/feeds/databento/codec bench/net/lsg_receive.c -o lsg_receive
 *     ./lsg_receive mode=bare|loop port=N bytes=N records=N
 *
 * bare: recv into a buffer, the data is not looked at. loop: recv, then mbp-1 into 64-byte slots of a ring of 4
 * MiB. After all bytes of the stream it says "done WHEN RECORDS" (UNIX ns), at its end "end BYTES RECORDS".
 */
#include "lsg.h"

#include "dbn.h"

enum { BUFFER_BYTES = 1 << 18, SLOTS = 65536, PREFIX_BYTES = 8 };

static uint8_t buffer[BUFFER_BYTES];
static mdf_tick *ring;
static uint64_t seq;

static void tick(const dbn_mbp_1 *r) {
    mdf_tick *k = &ring[seq & (SLOTS - 1)];
    k->ts_event = (int64_t)r->base.hd.ts_event;
    k->ts_recv = (int64_t)r->base.ts_recv;
    k->instrument_id = r->base.hd.instrument_id;
    k->kind = 1;
    k->side = r->base.side == 'B' ? 1 : 2;
    k->flags = r->base.flags >> 7;
    k->venue_seq = r->base.sequence;
    k->count = r->level.bid_ct;
    memcpy(&k->payload, &r->level, 24);
    __atomic_store_n(&k->seq, ++seq, __ATOMIC_RELEASE);
}

/* Decode whole records; returns how many bytes were used. */
static size_t decode(const uint8_t *in, size_t n) {
    size_t at = 0;
    for (; n - at >= sizeof(dbn_header) && 4u * in[at] <= n - at; at += 4u * in[at])
        if (in[at + 1] == DBN_MBP_1) tick((const dbn_mbp_1 *)(in + at));
    return at;
}

static int connected(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), bytes = LSG_RECEIVE_BUFFER_BYTES;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char auth[] = "auth=none\n", rest[] = "schema=mbp-1|symbols=ALL_SYMBOLS|is_last=1\nstart_session\n";
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes)) /* as our feed */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) lsg_fail("connect");
    lsg_line(fd);
    lsg_line(fd);
    lsg_send(fd, auth, sizeof auth - 1);
    lsg_line(fd);
    lsg_send(fd, rest, sizeof rest - 1);
    return fd;
}

static void take_metadata(int fd, size_t *total) {
    uint32_t length;
    if (recv(fd, buffer, PREFIX_BYTES, MSG_WAITALL) != PREFIX_BYTES) lsg_fail("metadata");
    memcpy(&length, buffer + 4, sizeof length);
    if (length > BUFFER_BYTES || recv(fd, buffer, length, MSG_WAITALL) != (ssize_t)length) lsg_fail("metadata");
    *total = PREFIX_BYTES + length;
}

int main(int argc, char **argv) {
    const uint64_t bytes = lsg_number(argc, argv, "bytes", "0");
    const int looks = !strcmp(lsg_option(argc, argv, "mode", "bare"), "loop");
    size_t total = 0, have = 0;
    char text[64];
    ring = aligned_alloc(64, SLOTS * sizeof *ring);
    if (!ring) lsg_fail("memory");
    memset(ring, 0, SLOTS * sizeof *ring); /* nobody pays for the first touch */
    memset(buffer, 0, sizeof buffer);
    int fd = connected((uint16_t)lsg_number(argc, argv, "port", "13000"));
    if (looks) take_metadata(fd, &total);
    for (ssize_t n; (n = recv(fd, buffer + have, sizeof buffer - have, 0)) > 0;) {
        total += (size_t)n;
        if (looks) {
            have += (size_t)n;
            size_t used = decode(buffer, have);
            have -= used;
            memmove(buffer, buffer + used, have);
        }
        if (total == bytes) {
            snprintf(text, sizeof text, "done %ld %lu", (long)lsg_clock_ns(CLOCK_REALTIME), (unsigned long)seq);
            lsg_tell(text);
        }
    }
    snprintf(text, sizeof text, "end %lu %lu", (unsigned long)total, (unsigned long)seq);
    lsg_tell(text);
    return have != 0;
}
