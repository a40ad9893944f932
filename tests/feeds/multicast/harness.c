/* multicast.h alone, under the sanitizers: what the kernel and the wire say is not believed.
 *
 *     ./harness ROUNDS SEED
 *
 * Every input lies in memory of exactly its length, so that a byte read beyond it is an error.
 */
#include "multicast.h"

#include <stdio.h>

#define CHECK(condition)                                                                                \
    do {                                                                                                \
        if (!(condition)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                             \
            exit(1);                                                                                    \
        }                                                                                               \
    } while (0)

static uint64_t state;

static uint32_t below(uint32_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20) % n;
}

static uint8_t *exactly(const void *bytes, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    if (n)
        memcpy(copy, bytes, n);
    return copy;
}

/* ------------------------------------------------------------------------------------- control messages */

static size_t put(uint8_t *at, int level, int type, const void *data, size_t bytes) {
    struct cmsghdr head = {.cmsg_len = CMSG_LEN(bytes), .cmsg_level = level, .cmsg_type = type};
    memcpy(at, &head, sizeof head);
    memcpy(at + CMSG_LEN(0), data, bytes);
    return CMSG_ALIGN(head.cmsg_len);
}

static void control_messages(void) {
    uint8_t buffer[256] = {0};
    struct timespec second = {1700000000, 123456789};
    struct scm_timestamping both = {{{1700000000, 5}, {0, 0}, {1700000000, 900}}};
    uint32_t drops = 4000000000u;
    uint16_t flags;
    uint64_t apart = 0;
    mdf_control c;
    size_t n = put(buffer, SOL_SOCKET, SCM_TIMESTAMPNS, &second, sizeof second);
    n += put(buffer + n, IPPROTO_IP, IP_TTL, &drops, sizeof drops);
    n += put(buffer + n, SOL_SOCKET, SO_RXQ_OVFL, &drops, sizeof drops);
    mdf_control_read(buffer, n, &c);
    CHECK(c.has_drops && c.drops == drops && c.hardware_ns == MDF_TIME_UNDEF);
    CHECK(mdf_control_time(&c, &flags, &apart) == INT64_C(1700000000123456789) && flags == MDF_KERNEL_TS);
    n = put(buffer, SOL_SOCKET, SCM_TIMESTAMPING, &both, sizeof both);
    mdf_control_read(buffer, n, &c);
    CHECK(mdf_control_time(&c, &flags, &apart) == INT64_C(1700000000000000900) && flags == MDF_HARDWARE_TS);
    both.ts[2].tv_sec += 37; /* a card that keeps TAI */
    put(buffer, SOL_SOCKET, SCM_TIMESTAMPING, &both, sizeof both);
    mdf_control_read(buffer, n, &c);
    CHECK(apart == 0 && mdf_control_time(&c, &flags, &apart) == INT64_C(1700000000000000005));
    CHECK(apart == 1 && flags == MDF_KERNEL_TS);
    both.ts[2] = (struct timespec){0, 0};
    put(buffer, SOL_SOCKET, SCM_TIMESTAMPING, &both, sizeof both);
    mdf_control_read(buffer, n, &c);
    CHECK(mdf_control_time(&c, &flags, &apart) == INT64_C(1700000000000000005) && apart == 1);
    mdf_control_read(buffer, 0, &c);
    CHECK(mdf_control_time(&c, &flags, &apart) == MDF_TIME_UNDEF && flags == 0);
}

static const int types[] = {SCM_TIMESTAMPNS, SCM_TIMESTAMPING, SO_RXQ_OVFL, 77};

static void short_control(void) {
    for (int i = 0; i < 4; i++)
        for (size_t n = CMSG_LEN(0); n < CMSG_LEN(sizeof(struct scm_timestamping)); n++) {
            uint8_t bytes[MDF_CONTROL_BYTES] = {0};
            mdf_control c;
            put(bytes, SOL_SOCKET, types[i], bytes + 64, n - CMSG_LEN(0));
            uint8_t *input = exactly(bytes, n);
            mdf_control_read(input, n, &c);
            CHECK(c.has_drops == (types[i] == SO_RXQ_OVFL && n >= CMSG_LEN(sizeof(uint32_t))));
            free(input);
        }
}

static void hostile_control(void) {
    uint8_t bytes[MDF_CONTROL_BYTES] = {0};
    size_t n = below(sizeof bytes + 1);
    for (size_t at = 0; at + sizeof(struct cmsghdr) <= n;) {
        struct cmsghdr head = {.cmsg_len = below(96), .cmsg_level = SOL_SOCKET, .cmsg_type = types[below(4)]};
        if (!below(20))
            head.cmsg_len = SIZE_MAX - below(40);
        memcpy(bytes + at, &head, sizeof head);
        at += sizeof head + below(40);
    }
    for (uint32_t i = below(8); i; i--)
        bytes[below(sizeof bytes)] = (uint8_t)below(256);
    uint8_t *input = exactly(bytes, n);
    mdf_control c;
    mdf_control_read(input, n, &c);
    free(input);
}

/* ------------------------------------------------------------------------------------------- IP packets */

static uint16_t plain_sum(const uint8_t *p, size_t n, uint32_t sum) {
    for (size_t i = 0; i < n; i++)
        sum += (uint32_t)p[i] << (i % 2 ? 0 : 8);
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

/* A right packet of `length` payload bytes and `options` words of options; its bytes. */
static uint32_t packet(uint8_t *p, uint32_t length, uint32_t options) {
    uint32_t header = 20 + 4 * options, total = header + 8 + length;
    memset(p, 0, header);
    p[0] = (uint8_t)(0x45 + options);
    p[2] = (uint8_t)(total >> 8), p[3] = (uint8_t)total;
    p[8] = 8, p[9] = IPPROTO_UDP;
    memcpy(p + 12, (uint8_t[]){10, 77, 0, 9, 239, 77, 0, 1}, 8);
    memset(p + 20, 1, 4 * options);
    uint16_t sum = plain_sum(p, header, 0);
    p[10] = (uint8_t)(sum >> 8), p[11] = (uint8_t)sum;
    uint8_t *u = p + header;
    memcpy(u, (uint8_t[]){0x1E, 0x61, 0x37, 0xE6, (uint8_t)((length + 8) >> 8), (uint8_t)(length + 8), 0, 0}, 8);
    for (uint32_t i = 0; i < length; i++)
        u[8 + i] = (uint8_t)below(256);
    sum = plain_sum(u, length + 8, plain_sum(p + 12, 8, 0) ^ 0xFFFF);
    uint32_t with_head = (uint32_t)(uint16_t)~sum + IPPROTO_UDP + length + 8;
    while (with_head >> 16)
        with_head = (with_head & 0xFFFF) + (with_head >> 16);
    sum = (uint16_t)~with_head;
    sum = sum ? sum : 0xFFFF;
    u[6] = (uint8_t)(sum >> 8), u[7] = (uint8_t)sum;
    return total;
}

static int verdict(const uint8_t *p, uint32_t captured, uint32_t whole, int checked, uint32_t *length) {
    uint8_t *input = exactly(p, captured);
    mdf_datagram d;
    int v = mdf_packet_read(input, captured, whole, checked, &d);
    if (v == MDF_DATAGRAM)
        CHECK(d.payload >= input + 28 && d.payload + d.length <= input + captured);
    *length = d.length;
    free(input);
    return v;
}

static void packets(void) {
    static uint8_t p[65536];
    uint32_t length = below(4) ? below(1500) : below(3), options = below(3) ? 0 : below(11), got;
    uint32_t total = packet(p, length, options), header = 20 + 4 * options;
    CHECK(verdict(p, total, total, 0, &got) == MDF_DATAGRAM && got == length);
    CHECK(verdict(p, total, total + 18, 0, &got) == MDF_DATAGRAM && got == length);
    uint32_t cut = below(total);
    int v = verdict(p, cut, total, 0, &got);
    CHECK(v == (cut < 20 ? MDF_NOT_UDP : MDF_CUT));
    CHECK(verdict(p, cut, cut, 0, &got) == (cut < 20 ? MDF_NOT_UDP : MDF_BAD_LENGTH));
    uint32_t at = below(total - header) + header; /* ports, checksum or payload, but neither lengths nor 0 */
    if (at / 2 != header / 2 + 2 && at / 2 != header / 2 + 3) {
        p[at] ^= (uint8_t)(1u << below(8));
        CHECK(verdict(p, total, total, 0, &got) == MDF_BAD_CHECKSUM);
        CHECK(verdict(p, total, total, 1, &got) == MDF_DATAGRAM);
        p[header + 6] = p[header + 7] = 0; /* none */
        CHECK(verdict(p, total, total, 0, &got) == MDF_DATAGRAM);
    }
    for (uint32_t i = below(6); i; i--)
        p[below(below(2) ? 40 : total)] = (uint8_t)below(256);
    verdict(p, below(total + 1), below(3) ? total : below(70000), (int)below(2), &got);
}

static void fragments(void) {
    uint8_t p[256];
    uint32_t total = packet(p, 100, 0), got;
    const uint16_t parts[] = {0x2000, 0x2010, 0x0010, 0x1FFF, 0x4000};
    for (int i = 0; i < 5; i++) {
        p[6] = (uint8_t)(parts[i] >> 8), p[7] = (uint8_t)parts[i];
        p[10] = p[11] = 0;
        uint16_t sum = plain_sum(p, 20, 0);
        p[10] = (uint8_t)(sum >> 8), p[11] = (uint8_t)sum;
        CHECK(verdict(p, total, total, 0, &got) == (i == 4 ? MDF_DATAGRAM : MDF_FRAGMENT));
        mdf_datagram d;
        mdf_packet_read(p, total, total, 0, &d);
        CHECK((d.destination_port != 0) == (i == 0 || i == 4));
    }
}

/* ---------------------------------------------------------------------------------------------- blocks */

static uint32_t block(uint8_t *b, uint32_t bytes, uint32_t frames) {
    const uint32_t net = TPACKET_ALIGN(TPACKET_ALIGN(sizeof(struct tpacket3_hdr)) + sizeof(struct sockaddr_ll));
    uint32_t at = TPACKET_ALIGN(sizeof(struct tpacket_block_desc)), n = 0;
    struct tpacket_block_desc head = {.version = 1};
    memset(b, 0, bytes);
    head.hdr.bh1.offset_to_first_pkt = at;
    for (; n < frames && bytes - at > net + 400; n++) {
        uint32_t total = packet(b + at + net, below(300), 0);
        struct tpacket3_hdr h = {.tp_sec = 1700000000, .tp_nsec = n, .tp_snaplen = total, .tp_len = total,
                                 .tp_net = (uint16_t)net, .tp_mac = (uint16_t)net};
        h.tp_next_offset = n + 1 < frames ? TPACKET_ALIGN(net + total) : 0;
        memcpy(b + at, &h, sizeof h);
        at += TPACKET_ALIGN(net + total);
    }
    head.hdr.bh1.num_pkts = n;
    head.hdr.bh1.blk_len = at;
    memcpy(b, &head, sizeof head);
    return n;
}

static void blocks(void) {
    static uint8_t b[16384];
    uint32_t bytes = sizeof b, frames = block(b, bytes, 1 + below(20)), seen = 0, got;
    mdf_walk walk;
    mdf_frame frame;
    uint8_t *input = exactly(b, bytes);
    mdf_walk_open(&walk, input, bytes);
    for (; mdf_walk_next(&walk, &frame) == 1; seen++) {
        CHECK(verdict(frame.ip, frame.captured, frame.whole, 0, &got) == MDF_DATAGRAM);
        CHECK(frame.time_ns == INT64_C(1700000000000000000) + seen);
    }
    CHECK(seen == frames);
    free(input);
    for (uint32_t i = 1 + below(8); i; i--) {
        uint32_t at = below(below(2) ? 400 : bytes);
        b[at] = (uint8_t)(below(4) ? below(256) : 255);
    }
    bytes = below(4) ? bytes : (uint32_t)sizeof(struct tpacket_block_desc) + below(600);
    input = exactly(b, bytes);
    mdf_walk_open(&walk, input, bytes);
    for (uint32_t n = 0; mdf_walk_next(&walk, &frame) == 1; n++) {
        CHECK(n < bytes);
        mdf_datagram d;
        mdf_packet_read(frame.ip, frame.captured, frame.whole, 0, &d);
    }
    free(input);
}

/* ---------------------------------------------------------------------------------------------- filter */

/* The few instructions that the filter uses, over a packet whose first bytes are the IP header. */
static uint32_t interpret(const mdf_filter *f, const uint8_t *p, uint8_t packet_type) {
    uint32_t a = 0, x = 0;
    for (uint32_t pc = 0; pc < f->n; pc++) {
        const struct sock_filter *s = &f->step[pc];
        switch (s->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = s->k == (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE) ? packet_type : mdf_be32(p + s->k);
            break;
        case BPF_LD | BPF_H | BPF_ABS: a = mdf_be16(p + s->k); break;
        case BPF_LD | BPF_B | BPF_ABS: a = p[s->k]; break;
        case BPF_LD | BPF_H | BPF_IND: a = mdf_be16(p + x + s->k); break;
        case BPF_LDX | BPF_B | BPF_MSH: x = 4u * (p[s->k] & 15u); break;
        case BPF_JMP | BPF_JA: pc += s->k; break;
        case BPF_JMP | BPF_JEQ | BPF_K: pc += a == s->k ? s->jt : s->jf; break;
        case BPF_JMP | BPF_JGE | BPF_K: pc += a >= s->k ? s->jt : s->jf; break;
        case BPF_JMP | BPF_JSET | BPF_K: pc += a & s->k ? s->jt : s->jf; break;
        case BPF_RET | BPF_K: return s->k;
        default: CHECK(0);
        }
    }
    CHECK(!"the program ends without a verdict");
    return 0;
}

static void filters(void) {
    static mdf_receiver r;
    memset(&r, 0, sizeof r);
    uint32_t n = below(3) ? below(20) : MDF_MAX_LINES;
    for (uint32_t i = 0; i < n; i++) {
        mdf_line *l = mdf_receiver_add(&r, i);
        l->fd = 99, l->ring = 0; /* as if open */
        l->address = 0xEF4D0000u + below(below(2) ? 30 : 2000), l->port = (uint16_t)(1000 + below(4));
    }
    r.ring[0].ifindex = 1;
    CHECK(mdf_receiver_filter(&r, 1, NULL) == 0);
    mdf_receiver_index(&r);
    CHECK(n < MDF_MAX_LINES || !mdf_receiver_add(&r, 0));
    for (int i = 0; i < 200; i++) {
        uint8_t p[200];
        packet(p, 20, below(2));
        uint32_t address = 0xEF4D0000u + below(below(2) ? 32 : 2100), port = 999 + below(6);
        if (n && below(2)) {
            const mdf_line *l = &r.line[below(n)];
            address = l->address, port = l->port;
        }
        uint32_t header = 4u * (p[0] & 15u);
        address = htonl(address);
        memcpy(p + 16, &address, 4);
        p[header + 2] = (uint8_t)(port >> 8), p[header + 3] = (uint8_t)port;
        int known = mdf_lookup(&r, ntohl(address), (uint16_t)port, 0) != NULL, there = 0;
        for (uint32_t k = 0; k < n; k++)
            there |= r.line[k].address == ntohl(address) && r.line[k].port == port;
        CHECK(known == there && !mdf_lookup(&r, ntohl(address), (uint16_t)port, 1));
        CHECK((interpret(&r.filter, p, PACKET_MULTICAST) != 0) == known);
        CHECK(!interpret(&r.filter, p, PACKET_OTHERHOST));
        p[7] = 1; /* a later fragment */
        CHECK(!interpret(&r.filter, p, PACKET_MULTICAST));
        p[7] = 0, p[6] = 0x20; /* the first of several */
        CHECK((interpret(&r.filter, p, PACKET_MULTICAST) != 0) == known);
        p[9] = IPPROTO_TCP;
        CHECK(!interpret(&r.filter, p, PACKET_MULTICAST));
    }
}

/* ------------------------------------------------------------------------------------------------ loop */

typedef struct taker {
    uint32_t packets, bursts, ask_at;
    int64_t now_ns;
} taker;

static void take(void *context, const mdf_packet *p) {
    taker *t = context;
    t->packets++;
    CHECK(p->line == 41 && p->length == 5 && !memcmp(p->payload, "hello", 5) && p->ts_flags == MDF_KERNEL_TS);
    CHECK(p->source == INADDR_LOOPBACK && p->now_ns >= t->now_ns);
    t->now_ns = p->now_ns;
}

static int took(void *context, int64_t now_ns) {
    taker *t = context;
    CHECK(now_ns >= t->now_ns);
    return ++t->bursts == t->ask_at;
}

#define PATIENCE_NS INT64_C(20000000000)

static void loop(int mode) {
    taker t = {.ask_at = UINT32_MAX};
    mdf_packet_sink sink = {.context = &t, .packet = take, .burst_end = took};
    mdf_receiver *r = mdf_receiver_new(mode);
    CHECK(r);
    r->buffer_bytes = 1 << 20;
    mdf_line *l = mdf_receiver_add(r, 41);
    l->address = INADDR_LOOPBACK;
    for (uint32_t tries = 0; tries < 100; tries++) {
        l->port = (uint16_t)(20000 + below(20000));
        if (!mdf_line_open(r, l))
            break;
        CHECK(r->stage == MDF_STAGE_BIND && l->fd < 0);
    }
    CHECK(l->fd >= 0);
    CHECK(mdf_receiver_run(r, &sink, 5 * MDF_PACKET_IDLE_NS) == MDF_RUN_TIME && t.packets == 0);
    CHECK(t.bursts > 0); /* timers run while nothing comes */
    int out = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_storage to = mdf_endpoint(l->address, l->port);
    for (int i = 0; i < 150; i++)
        CHECK(sendto(out, "hello", 5, 0, (struct sockaddr *)&to, sizeof(struct sockaddr_in)) == 5);
    t.ask_at = t.bursts + 2;
    CHECK(mdf_receiver_run(r, &sink, PATIENCE_NS) == MDF_RUN_ASKED && t.packets == 2 * MDF_BATCH);
    t.ask_at = t.bursts + 1;
    CHECK(mdf_receiver_run(r, &sink, PATIENCE_NS) == MDF_RUN_ASKED && t.packets == 150);
    CHECK(l->count.packets == 150 && l->count.bytes == 750 && r->n_hot == 0);
    mdf_line_drops(l, UINT32_MAX - 1);
    l->last_drops = UINT32_MAX - 1, l->count.kernel_drops = 0;
    mdf_line_drops(l, 3); /* counts wrap */
    mdf_line_drops(l, 1); /* an older message, read later */
    CHECK(l->count.kernel_drops == 5);
    for (int i = 0; i < 150; i++)
        CHECK(sendto(out, "hello", 5, 0, (struct sockaddr *)&to, sizeof(struct sockaddr_in)) == 5);
    t.ask_at = t.bursts + 1;
    CHECK(mdf_receiver_run(r, &sink, PATIENCE_NS) == MDF_RUN_ASKED && r->n_hot == 1); /* left with more to read */
    mdf_line_close(r, l);
    CHECK(r->n_hot == 0 && !mdf_line_open(r, l));
    t.packets = 0;
    CHECK(sendto(out, "hello", 5, 0, (struct sockaddr *)&to, sizeof(struct sockaddr_in)) == 5);
    while (!t.packets)
        CHECK(mdf_receiver_run(r, &sink, PATIENCE_NS / 1000) == MDF_RUN_TIME);
    CHECK(t.packets == 1); /* what was not read before is gone */
    close(out);
    mdf_line_close(r, l);
    mdf_line_close(r, l);
    CHECK(mdf_receiver_run(r, &sink, 0) == MDF_RUN_TIME && r->errors == 0);
    mdf_receiver_free(r);
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 0x9E3779B97F4A7C15u | 1;
    control_messages();
    short_control();
    fragments();
    loop(MDF_BLOCKING);
    loop(MDF_BUSY);
    for (long i = 0; i < rounds; i++) {
        hostile_control();
        packets();
        blocks();
        if (i % 50 == 0)
            filters();
    }
    return 0;
}
