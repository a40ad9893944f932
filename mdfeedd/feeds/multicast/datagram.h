/* datagram.h: what the kernel says beside a datagram; datagrams in raw IP packets. C11, no I/O, no clock.
 *
 * Two ways bring datagrams. A socket gives the payload, with its time and the socket's drop count in control
 * messages. The packet ring gives blocks of frames, each an IP packet that nobody has checked yet:
 *
 *     block  | tpacket_block_desc | frame | frame | ...          mdf_walk_open, mdf_walk_next
 *     frame  | tpacket3_hdr | sockaddr_ll | pad | IP packet       (cooked socket: no header of the link)
 *     IP     | header, 20 to 60 bytes | UDP header, 8 | payload | trailer of the link, if it pads
 *
 * mdf_packet_read() checks what the kernel's own UDP would have checked before a socket sees it: lengths and
 * checksums. Fragments are told apart and not put together here. No length is believed before it was held
 * against the bytes that are there.
 */
#ifndef MDF_DATAGRAM_H
#define MDF_DATAGRAM_H

#include "mdfeedd.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#define MDF_DATAGRAM_BYTES 9216u /* a longer one is truncated and not delivered: jumbo frames have 9,000 */
#define MDF_CLOCK_APART_NS INT64_C(1000000000) /* a card's clock further from the host's was never set */

/* ------------------------------------------------------------------------------------- control messages */

typedef struct mdf_control {
    int64_t kernel_ns, hardware_ns; /* UNIX ns; MDF_TIME_UNDEF: not given */
    uint32_t drops;                 /* of the socket since it was opened, modulo 2^32 */
    int has_drops;
} mdf_control;

static inline int64_t mdf_timespec_ns(const void *bytes) {
    struct timespec t;
    memcpy(&t, bytes, sizeof t);
    if (t.tv_sec < 0 || t.tv_sec > INT64_MAX / 1000000000 - 1 || t.tv_nsec < 0 || t.tv_nsec > 999999999)
        return MDF_TIME_UNDEF;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void mdf_control_read(const uint8_t *control, size_t length, mdf_control *out) {
    size_t at = 0;
    out->kernel_ns = out->hardware_ns = MDF_TIME_UNDEF;
    out->has_drops = 0;
    while (length - at >= sizeof(struct cmsghdr)) {
        struct cmsghdr c;
        memcpy(&c, control + at, sizeof c);
        if (c.cmsg_len < CMSG_LEN(0) || c.cmsg_len > length - at)
            return;
        const uint8_t *data = control + at + CMSG_LEN(0);
        size_t bytes = c.cmsg_len - CMSG_LEN(0);
        if (c.cmsg_level == SOL_SOCKET) {
            if (c.cmsg_type == SCM_TIMESTAMPNS && bytes >= sizeof(struct timespec)) {
                out->kernel_ns = mdf_timespec_ns(data);
            } else if (c.cmsg_type == SCM_TIMESTAMPING && bytes >= sizeof(struct scm_timestamping)) {
                int64_t software = mdf_timespec_ns(data);
                int64_t hardware = mdf_timespec_ns(data + 2 * sizeof(struct timespec));
                if (software > 0)
                    out->kernel_ns = software;
                if (hardware > 0)
                    out->hardware_ns = hardware;
            } else if (c.cmsg_type == SO_RXQ_OVFL && bytes >= sizeof out->drops) {
                memcpy(&out->drops, data, sizeof out->drops);
                out->has_drops = 1;
            }
        }
        if (CMSG_ALIGN(c.cmsg_len) > length - at)
            return;
        at += CMSG_ALIGN(c.cmsg_len);
    }
}

/* The time to believe, of the two that may be given. A card's clock that was never set is told by `apart`. */
static inline int64_t mdf_control_time(const mdf_control *c, uint16_t *flags, uint64_t *apart) {
    if (c->hardware_ns != MDF_TIME_UNDEF) {
        int64_t ahead = c->kernel_ns == MDF_TIME_UNDEF ? 0 : c->hardware_ns - c->kernel_ns;
        if (ahead <= MDF_CLOCK_APART_NS && ahead >= -MDF_CLOCK_APART_NS) {
            *flags = MDF_HARDWARE_TS;
            return c->hardware_ns;
        }
        ++*apart;
    }
    *flags = c->kernel_ns == MDF_TIME_UNDEF ? 0 : MDF_KERNEL_TS;
    return c->kernel_ns;
}

/* ------------------------------------------------------------------------------------------- IP packets */

enum mdf_verdict {
    MDF_DATAGRAM = 0,
    MDF_NOT_UDP,       /* another version or protocol, or too short to tell */
    MDF_FRAGMENT,      /* part of a datagram; `destination` and the ports are those of a first part, else 0 */
    MDF_CUT,           /* the kernel kept less than the datagram */
    MDF_BAD_LENGTH,    /* lengths that contradict each other */
    MDF_BAD_CHECKSUM,
};

typedef struct mdf_datagram {
    const uint8_t *payload;
    uint32_t length;
    uint32_t source, destination; /* host byte order */
    uint16_t source_port, destination_port;
} mdf_datagram;

static inline uint16_t mdf_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t mdf_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Ones' complement sum in host byte order of the words; the last odd byte counts as a word's first. */
static inline uint64_t mdf_sum(const uint8_t *p, uint32_t n, uint64_t sum) {
    for (; n >= 4; p += 4, n -= 4) {
        uint32_t word;
        memcpy(&word, p, 4);
        sum += word;
    }
    if (n) {
        uint32_t word = 0;
        memcpy(&word, p, n);
        sum += word;
    }
    return sum;
}

static inline uint16_t mdf_sum_fold(uint64_t sum) {
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

static inline int mdf_udp_sum_right(const uint8_t *ip, const uint8_t *udp, uint32_t length) {
    uint64_t sum = htons(IPPROTO_UDP);
    sum += htons((uint16_t)length);
    sum = mdf_sum(ip + 12, 8, sum); /* both addresses */
    return mdf_sum_fold(mdf_sum(udp, length, sum)) == 0xFFFF;
}

/* An IP packet of which `captured` bytes are at hand and that had `whole` bytes with the link's trailer.
 * `checked`: somebody has seen to the UDP checksum already, or it is not filled in yet. Pure. */
static inline int mdf_packet_read(const uint8_t *ip, uint32_t captured, uint32_t whole, int checked,
                                  mdf_datagram *out) {
    memset(out, 0, sizeof *out);
    if (captured < 20 || ip[0] >> 4 != 4 || ip[9] != IPPROTO_UDP)
        return MDF_NOT_UDP;
    uint32_t header = (ip[0] & 15u) * 4u, total = mdf_be16(ip + 2);
    if (header < 20 || total < header || total > whole)
        return MDF_BAD_LENGTH;
    if (captured < header)
        return MDF_CUT;
    if (mdf_sum_fold(mdf_sum(ip, header, 0)) != 0xFFFF)
        return MDF_BAD_CHECKSUM;
    uint32_t have = captured < total ? captured : total;
    const uint8_t *udp = ip + header;
    out->source = mdf_be32(ip + 12);
    out->destination = mdf_be32(ip + 16);
    uint32_t part = mdf_be16(ip + 6);
    if (have - header >= 8 && !(part & 0x1FFF)) {
        out->source_port = mdf_be16(udp);
        out->destination_port = mdf_be16(udp + 2);
    }
    if (part & 0x3FFF) /* more to come, or not the first */
        return MDF_FRAGMENT;
    if (total - header < 8)
        return MDF_BAD_LENGTH;
    if (have - header < 8)
        return MDF_CUT;
    uint32_t length = mdf_be16(udp + 4);
    if (length < 8 || length > total - header)
        return MDF_BAD_LENGTH;
    if (length > have - header)
        return MDF_CUT;
    if (!checked && (udp[6] | udp[7]) && !mdf_udp_sum_right(ip, udp, length))
        return MDF_BAD_CHECKSUM;
    out->payload = udp + 8;
    out->length = length - 8;
    return out->length > MDF_DATAGRAM_BYTES ? MDF_CUT : MDF_DATAGRAM;
}

/* ---------------------------------------------------------------------------------- blocks of the ring */

typedef struct mdf_frame {
    const uint8_t *ip;
    uint32_t captured, whole; /* bytes from the IP header on */
    int64_t time_ns;
    uint32_t status;    /* TP_STATUS_... */
    uint8_t packet_type; /* PACKET_HOST, PACKET_MULTICAST ... */
} mdf_frame;

typedef struct mdf_walk {
    const uint8_t *block;
    uint32_t bytes, at, left;
} mdf_walk;

/* A block handed over by the kernel. Its own lengths are not believed further than `bytes`. */
static inline void mdf_walk_open(mdf_walk *w, const uint8_t *block, uint32_t bytes) {
    struct tpacket_block_desc head;
    memcpy(&head, block, sizeof head);
    w->block = block;
    w->bytes = head.hdr.bh1.blk_len < bytes ? head.hdr.bh1.blk_len : bytes;
    w->at = head.hdr.bh1.offset_to_first_pkt;
    w->left = head.hdr.bh1.num_pkts;
}

/* 1 and the next frame; 0 at the end; -1 where the block contradicts itself (the rest is given up). */
static inline int mdf_walk_next(mdf_walk *w, mdf_frame *out) {
    struct tpacket3_hdr h;
    const uint32_t link = TPACKET_ALIGN(sizeof h);
    if (!w->left)
        return 0;
    w->left--;
    if (w->at > w->bytes || w->bytes - w->at < link + sizeof(struct sockaddr_ll))
        return w->left = 0, -1;
    const uint8_t *frame = w->block + w->at;
    uint32_t room = w->bytes - w->at;
    memcpy(&h, frame, sizeof h);
    if (h.tp_net < sizeof h || h.tp_net > room || h.tp_snaplen > room - h.tp_net || h.tp_len < h.tp_snaplen)
        return w->left = 0, -1;
    if (w->left && h.tp_next_offset < sizeof h)
        return w->left = 0, -1;
    out->ip = frame + h.tp_net;
    out->captured = h.tp_snaplen;
    out->whole = h.tp_len;
    out->status = h.tp_status;
    out->time_ns = (int64_t)h.tp_sec * 1000000000 + h.tp_nsec;
    out->packet_type = frame[link + offsetof(struct sockaddr_ll, sll_pkttype)];
    w->at = h.tp_next_offset > room ? w->bytes + 1 : w->at + h.tp_next_offset;
    return 1;
}

/* ------------------------------------------------------------------------------------- filter program */

#define MDF_FILTER_STEPS 4096u /* BPF_MAXINSNS */
#define MDF_ENDPOINT(address, port) ((uint64_t)(address) << 16 | (port))

typedef struct mdf_filter {
    struct sock_filter step[MDF_FILTER_STEPS];
    uint32_t n;
} mdf_filter;

static inline void mdf_filter_add(mdf_filter *f, uint16_t code, uint8_t yes, uint8_t no, uint32_t k) {
    if (f->n < MDF_FILTER_STEPS)
        f->step[f->n] = (struct sock_filter){code, yes, no, k};
    f->n++; /* beyond the array: does not fit, told by mdf_filter_make */
}

#define MDF_ACCEPT UINT32_MAX

/* Endpoints from `low` to below `high`, sorted; the destination address is in A, the header's length in X. */
static inline void mdf_filter_branch(mdf_filter *f, const uint64_t *e, uint32_t low, uint32_t high) {
    uint32_t first = (uint32_t)(e[low] >> 16), last = (uint32_t)(e[high - 1] >> 16);
    if (first == last) {
        mdf_filter_add(f, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, first);
        mdf_filter_add(f, BPF_RET | BPF_K, 0, 0, 0);
        mdf_filter_add(f, BPF_LD | BPF_H | BPF_IND, 0, 0, 2);
        for (uint32_t i = low; i < high; i++) {
            mdf_filter_add(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)(e[i] & 0xFFFF));
            mdf_filter_add(f, BPF_RET | BPF_K, 0, 0, MDF_ACCEPT);
        }
        mdf_filter_add(f, BPF_RET | BPF_K, 0, 0, 0);
        return;
    }
    uint32_t middle = (low + high) / 2, address = (uint32_t)(e[middle] >> 16);
    if (address == first) { /* split where the address changes */
        while ((uint32_t)(e[middle] >> 16) == first)
            middle++;
        address = (uint32_t)(e[middle] >> 16);
    } else {
        while ((uint32_t)(e[middle - 1] >> 16) == address)
            middle--;
    }
    mdf_filter_add(f, BPF_JMP | BPF_JGE | BPF_K, 0, 1, address);
    uint32_t jump = f->n;
    mdf_filter_add(f, BPF_JMP | BPF_JA, 0, 0, 0);
    mdf_filter_branch(f, e, low, middle);
    if (jump < MDF_FILTER_STEPS)
        f->step[jump].k = f->n - jump - 1;
    mdf_filter_branch(f, e, middle, high);
}

/* UDP to one of the endpoints (sorted, each once), not for another host or VLAN, no later part of a fragmented
 * datagram. For a cooked socket. Returns 0, or -1 if the program would be too long. Pure. */
static inline int mdf_filter_make(mdf_filter *f, const uint64_t *endpoints, uint32_t n) {
    f->n = 0;
    if (n) {
        mdf_filter_add(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE));
        mdf_filter_add(f, BPF_JMP | BPF_JEQ | BPF_K, 4, 0, PACKET_OTHERHOST);
        mdf_filter_add(f, BPF_LD | BPF_B | BPF_ABS, 0, 0, 9);
        mdf_filter_add(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, IPPROTO_UDP);
        mdf_filter_add(f, BPF_LD | BPF_H | BPF_ABS, 0, 0, 6);
        mdf_filter_add(f, BPF_JMP | BPF_JSET | BPF_K, 0, 1, 0x1FFF);
        mdf_filter_add(f, BPF_RET | BPF_K, 0, 0, 0);
        mdf_filter_add(f, BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0);
        mdf_filter_add(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, 16);
        mdf_filter_branch(f, endpoints, 0, n);
    } else {
        mdf_filter_add(f, BPF_RET | BPF_K, 0, 0, 0);
    }
    return f->n <= MDF_FILTER_STEPS ? 0 : -1;
}

#endif
