/* capture_write.h: packets as blocks of pcapng in a bounded buffer. C11, no I/O, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sockets give the payload of UDP only, so the headers around it are made: Ethernet, IPv4 from the sender to the
 * line's group, UDP, with valid checksums. One interface of the file per line; stamps in ns. What does not fit
 * the buffer is counted: whoever empties it was too slow.
 */
#ifndef MDFEEDD_CAPTURE_WRITE_H
#define MDFEEDD_CAPTURE_WRITE_H
#include "capture_net.h"
#include "packet.h"

#define CAP_HEADERS_BYTES (14u + 20u + 8u)
#define CAP_BLOCK_BYTES (28u + 4u) /* around a packet */
#define CAP_MAX_PAYLOAD_BYTES (CAP_MAX_DATAGRAM_BYTES - 28u)
#define CAP_FLUSH_NS CAP_NS_PER_S  /* a buffer with anything in it asks to be emptied so often */

typedef struct cap_line {
    uint32_t address;
    uint16_t port;
} cap_line;

typedef struct cap_writer {
    uint8_t *buffer;
    size_t n, capacity;
    const cap_line *lines;
    uint32_t lines_n;
    int64_t emptied_ns;   /* on the clock of burst_end() */
    bool begun;
    uint64_t packets, payload_bytes;
    uint64_t dropped;     /* the buffer was full */
    uint64_t refused;     /* longer than UDP can carry, or of an unknown line */
} cap_writer;

static inline void cap_put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static inline void cap_put32(uint8_t *p, uint32_t v) { cap_put16(p, (uint16_t)(v >> 16)); cap_put16(p + 2, (uint16_t)v); }

/* The Internet's checksum goes over words of 16 bits; the order of their bytes does not matter to the sum. */
static uint64_t cap_sum(const uint8_t *p, size_t n, uint64_t sum) {
    for (; n >= 4; n -= 4, p += 4) {
        uint32_t word;
        memcpy(&word, p, sizeof word);
        sum += word;
    }
    uint8_t rest[4] = {0};
    if (n) memcpy(rest, p, n);
    uint32_t word;
    memcpy(&word, rest, sizeof word);
    return sum + word;
}

static void cap_put_checksum(uint8_t *to, uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    uint16_t check = (uint16_t)~sum;
    memcpy(to, &check, sizeof check);
}

static void cap_put_headers(uint8_t *p, const mdf_packet *packet, const cap_line *line) {
    uint8_t *ip = p + 14, *udp = ip + 20, pseudo[12] = {0};
    uint16_t udp_length = (uint16_t)(8 + packet->length);
    memset(p, 0, CAP_HEADERS_BYTES);
    p[0] = 2; /* a local address for what is no group */
    p[6] = 2;
    if (line->address >> 28 == 14) { /* 224.0.0.0/4 */
        p[0] = 1;
        p[2] = 0x5E;
        p[3] = (uint8_t)(line->address >> 16 & 0x7F);
        cap_put16(p + 4, (uint16_t)line->address);
    }
    cap_put16(p + 12, 0x0800);
    ip[0] = 0x45;
    cap_put16(ip + 2, (uint16_t)(20 + udp_length));
    ip[6] = 0x40; /* not to be cut */
    ip[8] = 64;
    ip[9] = 17;
    cap_put32(ip + 12, packet->source);
    cap_put32(ip + 16, line->address);
    cap_put_checksum(ip + 10, cap_sum(ip, 20, 0));
    cap_put16(udp, packet->source_port);
    cap_put16(udp + 2, line->port);
    cap_put16(udp + 4, udp_length);
    memcpy(pseudo, ip + 12, 8);
    pseudo[9] = 17;
    cap_put16(pseudo + 10, udp_length);
    uint64_t sum = cap_sum(packet->payload, packet->length, cap_sum(udp, 8, cap_sum(pseudo, 12, 0)));
    cap_put_checksum(udp + 6, sum);
    if (!udp[6] && !udp[7]) udp[6] = udp[7] = 0xFF; /* zero says: none */
}

static void cap_write(cap_writer *w, const mdf_packet *packet) {
    if (packet->line >= w->lines_n || packet->length > CAP_MAX_PAYLOAD_BYTES) {
        w->refused++;
        return;
    }
    uint32_t captured = CAP_HEADERS_BYTES + packet->length, padded = (captured + 3) & ~3u;
    uint32_t length = CAP_BLOCK_BYTES + padded;
    if (w->capacity - w->n < length) {
        w->dropped++;
        return;
    }
    uint64_t ts_ns = packet->ts_recv > 0 ? (uint64_t)packet->ts_recv : 0;
    uint32_t head[7] = {
        CAP_EPB, length, packet->line, (uint32_t)(ts_ns >> 32), (uint32_t)ts_ns, captured, captured,
    };
    uint8_t *p = w->buffer + w->n;
    memcpy(p, head, sizeof head);
    cap_put_headers(p + 28, packet, &w->lines[packet->line]);
    if (packet->length) memcpy(p + 28 + CAP_HEADERS_BYTES, packet->payload, packet->length);
    memset(p + 28 + captured, 0, padded - captured);
    memcpy(p + 28 + padded, &length, sizeof length);
    w->n += length;
    w->packets++;
    w->payload_bytes += packet->length;
}

/* Whether the buffer wants to be emptied. */
static int cap_write_due(cap_writer *w, int64_t now_ns) {
    if (!w->begun) w->emptied_ns = now_ns;
    w->begun = true;
    return w->n >= w->capacity / 2 || (w->n && now_ns - w->emptied_ns >= CAP_FLUSH_NS);
}

#endif
