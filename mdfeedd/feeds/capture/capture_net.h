/* capture_net.h: what a captured frame carries: from the link layer to the payload of UDP. C11, no I/O, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     frame ─ link header ─ VLAN tags, MPLS labels ─ IPv4 (fragments: kept until all are there) ─ UDP ─► payload
 *                                                  `─ IPv6, its addresses told as unknown ──────'
 *
 * The lengths of IP and UDP decide, not the captured one: what pads a frame, or a switch has appended, is not
 * looked at. A frame that gives nothing is counted under one reason: see cap_counts.
 */
#ifndef MDFEEDD_CAPTURE_NET_H
#define MDFEEDD_CAPTURE_NET_H
#include "capture.h"

#define CAP_MAX_TAGS 8u       /* VLAN tags and MPLS labels of a frame */
#define CAP_MAX_EXTENSIONS 8u /* IPv6 headers before UDP */
#define CAP_MAX_DATAGRAM_BYTES 65535u
#define CAP_MAX_PARTIAL 64u   /* datagrams in pieces at a time; the oldest gives way */
#define CAP_MAX_PARTIAL_AGE_NS (5 * CAP_NS_PER_S)
#define CAP_FIRST_NS (INT64_C(631152000) * CAP_NS_PER_S) /* 1990: an older stamp is nonsense */
#define CAP_BACK_NS CAP_NS_PER_S                         /* that stamps of one file may go back */
#define CAP_AHEAD_NS (INT64_C(3660) * 86400 * CAP_NS_PER_S)
#define CAP_STILL_PACKETS 1000u                          /* under one stamp: the recorder's clock stands */
#define CAP_UNIT 8u                                      /* fragments are cut at multiples of it */

typedef struct cap_datagram {
    const uint8_t *payload;       /* until the next call */
    uint32_t length;
    uint32_t source, destination; /* IPv4, host byte order; 0 unknown */
    uint16_t source_port, destination_port;
    uint16_t flags;               /* of enum mdf_flag */
    int64_t ts_ns;                /* the recorder's stamp */
    int64_t now_ns;               /* the same, never going back */
} cap_datagram;

typedef struct cap_counts {
    uint64_t frames;     /* records of the file that hold a packet */
    uint64_t datagrams;  /* UDP, whole */
    uint64_t not_udp;    /* another protocol or link type */
    uint64_t truncated;  /* captured shorter than it was, and that is missing */
    uint64_t malformed;  /* lengths that cannot be */
    uint64_t fragments;  /* parts of a datagram */
    uint64_t incomplete; /* datagrams given up, for age or room, with parts missing */
    uint64_t bad_stamps; /* none, before 1990, standing still, or leaping */
} cap_counts;

typedef struct cap_partial {
    uint64_t have[(CAP_MAX_DATAGRAM_BYTES / CAP_UNIT + 1) / 64]; /* a bit for each unit that is here */
    uint8_t *data;
    int64_t since_ns;
    uint32_t source, destination;
    uint32_t total, end;                                         /* bytes; total 0: the last part is missing */
    uint32_t units;
    uint16_t id;
    bool used;
} cap_partial;

typedef struct cap_decoder {
    cap_reader reader;
    cap_counts count;
    int64_t now_ns, skew_ns, last_ns; /* now = stamp + skew, where the stamps have leapt */
    uint32_t still;
    bool started;
    cap_partial partial[CAP_MAX_PARTIAL];
} cap_decoder;

/* A range of a frame; `cut`: there was more on the wire. */
typedef struct cap_span {
    const uint8_t *p;
    uint32_t n;
    bool cut;
} cap_span;

static inline uint16_t cap_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t cap_be32(const uint8_t *p) { return (uint32_t)cap_be16(p) << 16 | cap_be16(p + 2); }

static inline void cap_decoder_open(cap_decoder *d) {
    memset(d, 0, sizeof *d);
    cap_open(&d->reader);
}

static inline void cap_decoder_close(cap_decoder *d) {
    cap_close(&d->reader);
    for (uint32_t i = 0; i < CAP_MAX_PARTIAL; i++) free(d->partial[i].data);
    memset(d->partial, 0, sizeof d->partial);
}

static inline bool cap_drop(cap_span *s, uint32_t n) {
    if (s->n < n) return false;
    s->p += n;
    s->n -= n;
    return true;
}

/* Too short: because the capture is, or because it lies. */
static inline bool cap_short(cap_decoder *d, const cap_span *s) {
    *(s->cut ? &d->count.truncated : &d->count.malformed) += 1;
    return false;
}

/* ------------------------------------------------------------------------------------------------ time */

/* Keep the clock that never goes back; the flags that a stamp deserves. */
static uint16_t cap_tell_time(cap_decoder *d, int64_t ts_ns) {
    bool bad = ts_ns == MDF_TIME_UNDEF || ts_ns < CAP_FIRST_NS;
    if (ts_ns != MDF_TIME_UNDEF) {
        int64_t now_ns;
        d->still = d->started && ts_ns == d->last_ns ? d->still + (d->still < CAP_STILL_PACKETS) : 0;
        bad |= d->still >= CAP_STILL_PACKETS;
        if (!d->started) {
            d->started = true;
            d->now_ns = ts_ns;
        } else if (__builtin_add_overflow(ts_ns, d->skew_ns, &now_ns) || now_ns > CAP_MAX_TIME ||
                   now_ns < d->now_ns - CAP_BACK_NS || now_ns > d->now_ns + CAP_AHEAD_NS) {
            bad = true; /* a leap: time goes on from here */
            if (__builtin_sub_overflow(d->now_ns, ts_ns, &d->skew_ns)) d->skew_ns = 0;
        } else if (now_ns > d->now_ns) {
            d->now_ns = now_ns;
        }
        d->last_ns = ts_ns;
    }
    d->count.bad_stamps += bad;
    return (uint16_t)(MDF_REPLAYED | (bad ? MDF_BAD_TS : 0));
}

/* ------------------------------------------------------------------------------------------- fragments */

static cap_partial *cap_find_partial(cap_decoder *d, uint32_t source, uint32_t destination, uint16_t id) {
    cap_partial *found = NULL, *spare = &d->partial[0];
    for (uint32_t i = 0; i < CAP_MAX_PARTIAL && !found; i++) {
        cap_partial *f = &d->partial[i];
        if (f->used && d->now_ns - f->since_ns > CAP_MAX_PARTIAL_AGE_NS) {
            f->used = false;
            d->count.incomplete++;
        }
        if (f->used && f->source == source && f->destination == destination && f->id == id) found = f;
        else if (!f->used ? spare->used : spare->used && f->since_ns < spare->since_ns) spare = f;
    }
    if (found) return found;
    if (!spare->data && !(spare->data = (uint8_t *)malloc(CAP_MAX_DATAGRAM_BYTES + 1))) return NULL;
    d->count.incomplete += spare->used;
    memset(spare->have, 0, sizeof spare->have);
    spare->since_ns = d->now_ns;
    spare->source = source;
    spare->destination = destination;
    spare->id = id;
    spare->total = spare->end = spare->units = 0;
    spare->used = true;
    return spare;
}

/* A part of a datagram; true once all of it is in `s`. */
static bool cap_reassemble(cap_decoder *d, uint32_t source, uint32_t destination, uint16_t id, uint16_t place,
                           cap_span *s) {
    uint32_t offset = (place & 0x1FFFu) * CAP_UNIT, end = offset + s->n;
    bool last = !(place & 0x2000);
    d->count.fragments++;
    if (!s->n || end > CAP_MAX_DATAGRAM_BYTES || (!last && s->n % CAP_UNIT)) return cap_short(d, s);
    cap_partial *f = cap_find_partial(d, source, destination, id);
    if (!f) return cap_fail(&d->reader, CAP_E_MEMORY), false;
    if ((last && ((f->total && f->total != end) || f->end > end)) || (f->total && end > f->total)) {
        f->used = false; /* its parts contradict each other */
        return cap_short(d, s);
    }
    memcpy(f->data + offset, s->p, s->n);
    if (last) f->total = end;
    if (end > f->end) f->end = end;
    for (uint32_t unit = offset / CAP_UNIT; unit * CAP_UNIT < end; unit++) {
        uint64_t bit = UINT64_C(1) << unit % 64;
        f->units += !(f->have[unit / 64] & bit);
        f->have[unit / 64] |= bit;
    }
    if (!f->total || f->units * CAP_UNIT < f->total) return false;
    f->used = false;
    *s = (cap_span){f->data, f->total, false};
    return true;
}

/* --------------------------------------------------------------------------------------------- network */

static bool cap_udp(cap_decoder *d, cap_span s, cap_datagram *out) {
    if (s.n < 8) return cap_short(d, &s);
    uint32_t length = cap_be16(s.p + 4);
    if (length < 8 || length > s.n) {
        if (length < 8) s.cut = false;
        return cap_short(d, &s);
    }
    out->source_port = cap_be16(s.p);
    out->destination_port = cap_be16(s.p + 2);
    out->payload = s.p + 8;
    out->length = length - 8;
    d->count.datagrams++;
    return true;
}

static bool cap_ip4(cap_decoder *d, cap_span s, cap_datagram *out) {
    if (s.n < 20) return cap_short(d, &s);
    const uint8_t *h = s.p;
    uint32_t header = (h[0] & 15u) * 4, total = cap_be16(h + 2);
    uint16_t place = cap_be16(h + 6);
    if (h[9] != 17) {
        d->count.not_udp++;
        return false;
    }
    if (!total) total = s.n; /* the card was to cut it */
    if (header < 20 || total < header) s.cut = false;
    if (header < 20 || total < header || total > s.n) return cap_short(d, &s);
    out->source = cap_be32(h + 12);
    out->destination = cap_be32(h + 16);
    s = (cap_span){h + header, total - header, false};
    if (place & 0x3FFF && !cap_reassemble(d, out->source, out->destination, cap_be16(h + 4), place, &s)) return false;
    return cap_udp(d, s, out);
}

static bool cap_ip6(cap_decoder *d, cap_span s, cap_datagram *out) {
    if (s.n < 40) return cap_short(d, &s);
    uint32_t length = cap_be16(s.p + 4);
    uint8_t next = s.p[6];
    cap_drop(&s, 40);
    if (length > s.n) return cap_short(d, &s);
    s = (cap_span){s.p, length, false};
    for (uint32_t i = 0; i < CAP_MAX_EXTENSIONS && (next == 0 || next == 43 || next == 60); i++) {
        if (s.n < 8) return cap_short(d, &s);
        next = s.p[0];
        if (!cap_drop(&s, (s.p[1] + 1u) * 8)) return cap_short(d, &s);
    }
    out->source = out->destination = 0;
    if (next == 17) return cap_udp(d, s, out);
    d->count.not_udp++; /* fragments of IPv6 among them */
    return false;
}

static bool cap_ip(cap_decoder *d, cap_span s, cap_datagram *out) {
    if (!s.n) return cap_short(d, &s);
    if (s.p[0] >> 4 == 4) return cap_ip4(d, s, out);
    if (s.p[0] >> 4 == 6) return cap_ip6(d, s, out);
    d->count.not_udp++;
    return false;
}

/* What follows a protocol number of Ethernet: tags, labels, IP. */
static bool cap_ethertype(cap_decoder *d, uint16_t type, cap_span s, cap_datagram *out) {
    for (uint32_t i = 0; i < CAP_MAX_TAGS; i++) {
        if (type == 0x0800 || type == 0x86DD) return cap_ip(d, s, out);
        if (type == 0x8100 || type == 0x88A8 || type == 0x9100 || type == 0x9200) {
            if (s.n < 4) return cap_short(d, &s);
            type = cap_be16(s.p + 2);
            cap_drop(&s, 4);
        } else if (type == 0x8847 || type == 0x8848) {
            if (s.n < 4) return cap_short(d, &s);
            if (s.p[2] & 1) type = 0x0800; /* the last label; what follows says itself which IP it is */
            cap_drop(&s, 4);
        } else {
            break;
        }
    }
    d->count.not_udp++;
    return false;
}

enum cap_link {
    CAP_LINK_NULL = 0,
    CAP_LINK_ETHERNET = 1,
    CAP_LINK_RAW_BSD = 12,
    CAP_LINK_RAW_OPENBSD = 14,
    CAP_LINK_RAW = 101,
    CAP_LINK_LOOP = 108,
    CAP_LINK_SLL = 113,
    CAP_LINK_IPV4 = 228,
    CAP_LINK_IPV6 = 229,
    CAP_LINK_SLL2 = 276,
};

static bool cap_frame(cap_decoder *d, const cap_record *record, cap_datagram *out) {
    cap_span s = {record->data, record->captured, record->captured < record->length};
    uint32_t header = 0, protocol = 0;
    switch (record->link) {
    case CAP_LINK_ETHERNET: header = 14; protocol = 12; break;
    case CAP_LINK_SLL: header = 16; protocol = 14; break;
    case CAP_LINK_SLL2: header = 20; protocol = 0; break;
    case CAP_LINK_NULL:
    case CAP_LINK_LOOP: /* an address family, whose number depends on the system */
        if (!cap_drop(&s, 4)) return cap_short(d, &s);
        return cap_ip(d, s, out);
    case CAP_LINK_RAW:
    case CAP_LINK_RAW_BSD:
    case CAP_LINK_RAW_OPENBSD:
    case CAP_LINK_IPV4:
    case CAP_LINK_IPV6: return cap_ip(d, s, out);
    default: d->count.not_udp++; return false;
    }
    if (s.n < header) return cap_short(d, &s);
    uint16_t type = cap_be16(s.p + protocol);
    cap_drop(&s, header);
    return cap_ethertype(d, type, s, out);
}

/* The next datagram: CAP_RECORD, CAP_NEED_INPUT, or below zero. */
static int cap_next(cap_decoder *d, cap_datagram *out) {
    cap_record record = {0};
    for (;;) {
        int status = cap_next_record(&d->reader, &record);
        if (status != CAP_RECORD) return status;
        d->count.frames++;
        out->flags = cap_tell_time(d, record.ts_ns);
        out->ts_ns = record.ts_ns;
        out->now_ns = d->now_ns;
        if (cap_frame(d, &record, out)) return CAP_RECORD;
        if (d->reader.error) return d->reader.error;
    }
}

#endif
