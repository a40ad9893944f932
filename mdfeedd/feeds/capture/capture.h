/* capture.h: the records of a capture file, pcap or pcapng. C11, no I/O, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bytes go in, cut anywhere (cap_give); records come out one by one (cap_next_record):
 *
 *     UNKNOWN --4 bytes--> PCAP   header, then records of one link type         CAP_NEED_INPUT: cap_give more
 *                     `--> PCAPNG sections of blocks; each interface has its    CAP_RECORD: until the next call
 *                                 own link type and unit of time                below zero: broken for good
 *
 * What lies whole in a piece is pointed at, not copied; what is cut by its end is carried over, at most
 * CAP_MAX_BLOCK_BYTES. Every length is checked before it is used, whoever wrote the file.
 *
 * Layouts: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
 */
#ifndef MDFEEDD_CAPTURE_H
#define MDFEEDD_CAPTURE_H
#include "mdfeedd.h"

#include <stdbool.h>
#include <stdlib.h>

#define CAP_MAX_PACKET_BYTES (256u << 10) /* of a record: what libpcap captures at most */
#define CAP_MAX_BLOCK_BYTES (1u << 20)    /* of a block that is read; longer ones of no interest are passed over */
#define CAP_MAX_INTERFACES 1024u          /* of a section */
#define CAP_NS_PER_S INT64_C(1000000000)
#define CAP_MAX_TIME (INT64_C(1) << 62)   /* the year 2116; what is beyond, or before 1970, is no time */

enum cap_status {
    CAP_NEED_INPUT = 0,
    CAP_RECORD = 1,
    CAP_AGAIN = 2,            /* inside only: a block without a packet */
    CAP_E_MAGIC = -1,         /* no capture */
    CAP_E_MODIFIED = -2,      /* Kuznetzov's pcap: its records have another header */
    CAP_E_VERSION = -3,       /* r->version */
    CAP_E_LENGTH = -4,        /* a record or block that cannot be so long: the next one cannot be found */
    CAP_E_BYTE_ORDER = -5,    /* a section without its byte-order magic */
    CAP_E_TRAILER = -6,       /* a block's two lengths differ */
    CAP_E_CUT = -7,           /* the file ends within a record */
    CAP_E_EMPTY = -8,         /* the file ends before it has begun */
    CAP_E_MEMORY = -9,
};

enum cap_format { CAP_UNKNOWN, CAP_PCAP, CAP_PCAPNG };

typedef struct cap_interface {
    int64_t offset_s;   /* if_tsoffset */
    uint32_t snap;      /* 0: no limit */
    uint16_t link;
    uint8_t resolution; /* if_tsresol: 10^-n s, or 2^-n with the top bit */
} cap_interface;

typedef struct cap_record {
    const uint8_t *data;
    uint32_t captured, length; /* bytes here, bytes on the wire */
    uint16_t link;
    int64_t ts_ns;             /* UNIX ns; MDF_TIME_UNDEF where there is none */
} cap_record;

typedef struct cap_reader {
    const uint8_t *in; /* the piece, what is left of it */
    size_t in_left;
    uint8_t *carry;    /* the beginning of what the last piece cut */
    uint32_t carry_n, carry_capacity;
    uint64_t skip;     /* bytes of a block that nobody needs */
    uint64_t offset;   /* of the file (decompressed) where the record at hand begins */
    uint64_t blocks_skipped;
    int error;
    uint8_t format;
    bool swapped;      /* the file's byte order is not ours */
    uint16_t version;
    cap_interface pcap;
    uint32_t interfaces_n; /* described in this section, may exceed what we keep */
    cap_interface interfaces[CAP_MAX_INTERFACES];
} cap_reader;

static inline void cap_open(cap_reader *r) { memset(r, 0, sizeof *r); }

static inline void cap_close(cap_reader *r) {
    free(r->carry);
    r->carry = NULL;
}

/* The next piece; the last must have been used up. It must stay until the next CAP_NEED_INPUT. */
static inline void cap_give(cap_reader *r, const uint8_t *data, size_t n) {
    r->in = data;
    r->in_left = n;
}

static inline uint16_t cap_u16(const cap_reader *r, const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return r->swapped ? __builtin_bswap16(v) : v;
}

static inline uint32_t cap_u32(const cap_reader *r, const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return r->swapped ? __builtin_bswap32(v) : v;
}

static inline uint64_t cap_u64(const cap_reader *r, const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return r->swapped ? __builtin_bswap64(v) : v;
}

static inline int cap_fail(cap_reader *r, int error) { return r->error = error; }

/* `want` bytes in one place, not yet consumed; NULL if there are not so many, all of them carried then. Asked
 * again before cap_consume(), `want` never falls. */
static const uint8_t *cap_peek(cap_reader *r, uint32_t want) {
    if (r->carry_n == 0 && r->in_left >= want) return r->in;
    if (r->carry_n >= want) return r->carry;
    if (want > r->carry_capacity) {
        uint32_t capacity = want < 4096 ? 4096 : want;
        uint8_t *grown = (uint8_t *)realloc(r->carry, capacity);
        if (!grown) {
            cap_fail(r, CAP_E_MEMORY);
            return NULL;
        }
        r->carry = grown;
        r->carry_capacity = capacity;
    }
    size_t more = want - r->carry_n;
    if (more > r->in_left) more = r->in_left;
    if (more) {
        memcpy(r->carry + r->carry_n, r->in, more);
        r->carry_n += (uint32_t)more;
        r->in += more;
        r->in_left -= more;
    }
    return r->carry_n >= want ? r->carry : NULL;
}

/* What cap_peek(want) gave last is done with; it stays readable until the next cap_peek(). */
static inline void cap_consume(cap_reader *r, uint32_t want) {
    if (r->carry_n) {
        r->carry_n = 0;
    } else {
        r->in += want;
        r->in_left -= want;
    }
    r->offset += want;
}

/* Whether the file may end here. */
static inline int cap_at_end(cap_reader *r) {
    if (r->error) return r->error;
    if (r->format == CAP_UNKNOWN && !r->carry_n) return cap_fail(r, CAP_E_EMPTY);
    if (r->format == CAP_UNKNOWN && r->carry_n < 4) return cap_fail(r, CAP_E_MAGIC);
    return r->carry_n || r->skip ? cap_fail(r, CAP_E_CUT) : 0;
}

/* ------------------------------------------------------------------------------------------------ time */

/* `units` of 10^-n or 2^-n seconds as ns. */
static int64_t cap_time_ns(uint64_t units, uint8_t resolution, int64_t offset_s) {
    __extension__ typedef unsigned __int128 cap_wide;
    cap_wide ns = 0;
    unsigned n = resolution & 0x7F;
    if (resolution & 0x80) {
        ns = n >= 96 ? 0 : (cap_wide)units * (uint64_t)CAP_NS_PER_S >> n;
    } else if (n <= 9) {
        ns = units;
        for (; n < 9; n++) ns *= 10;
    } else {
        for (ns = units; n > 9 && ns; n--) ns /= 10;
    }
    int64_t offset_ns, sum;
    if (ns > (cap_wide)INT64_MAX || __builtin_mul_overflow(offset_s, CAP_NS_PER_S, &offset_ns)) return MDF_TIME_UNDEF;
    if (__builtin_add_overflow((int64_t)ns, offset_ns, &sum)) return MDF_TIME_UNDEF;
    return sum > CAP_MAX_TIME || sum < 0 ? MDF_TIME_UNDEF : sum;
}

/* ------------------------------------------------------------------------------------------------ pcap */

#define CAP_MAGIC_US UINT32_C(0xA1B2C3D4)
#define CAP_MAGIC_NS UINT32_C(0xA1B23C4D)
#define CAP_MAGIC_MODIFIED UINT32_C(0xA1B2CD34)
#define CAP_SECTION UINT32_C(0x0A0D0D0A) /* the same in both byte orders */

static int cap_begin(cap_reader *r) {
    const uint8_t *p = cap_peek(r, 4);
    if (!p) return r->error;
    uint32_t magic, other;
    memcpy(&magic, p, sizeof magic);
    other = __builtin_bswap32(magic);
    if (magic == CAP_SECTION) {
        r->format = CAP_PCAPNG;
        return CAP_AGAIN;
    }
    if (magic == CAP_MAGIC_MODIFIED || other == CAP_MAGIC_MODIFIED) return cap_fail(r, CAP_E_MODIFIED);
    bool ns = magic == CAP_MAGIC_NS || other == CAP_MAGIC_NS;
    if (!ns && magic != CAP_MAGIC_US && other != CAP_MAGIC_US) return cap_fail(r, CAP_E_MAGIC);
    if (!(p = cap_peek(r, 24))) return r->error;
    r->swapped = other == CAP_MAGIC_US || other == CAP_MAGIC_NS;
    r->version = cap_u16(r, p + 4);
    if (r->version != 2) return cap_fail(r, CAP_E_VERSION);
    r->pcap.resolution = ns ? 9 : 6;
    r->pcap.link = (uint16_t)cap_u32(r, p + 20); /* above it: the length of the frame check sequence */
    r->format = CAP_PCAP;
    cap_consume(r, 24);
    return CAP_AGAIN;
}

static int cap_pcap_record(cap_reader *r, cap_record *out) {
    const uint8_t *p = cap_peek(r, 16);
    if (!p) return r->error;
    uint32_t captured = cap_u32(r, p + 8);
    if (captured > CAP_MAX_PACKET_BYTES) return cap_fail(r, CAP_E_LENGTH);
    if (!(p = cap_peek(r, 16 + captured))) return r->error;
    int64_t frac = cap_u32(r, p + 4);
    out->ts_ns = cap_u32(r, p) * CAP_NS_PER_S + (r->pcap.resolution == 9 ? frac : frac * 1000);
    out->data = p + 16;
    out->captured = captured;
    out->length = cap_u32(r, p + 12);
    out->link = r->pcap.link;
    cap_consume(r, 16 + captured);
    return CAP_RECORD;
}

/* ---------------------------------------------------------------------------------------------- pcapng */

enum { CAP_IDB = 1, CAP_PB = 2, CAP_SPB = 3, CAP_EPB = 6 };
enum { CAP_OPT_END = 0, CAP_OPT_TSRESOL = 9, CAP_OPT_TSOFFSET = 14 };

static void cap_section(cap_reader *r, const uint8_t *body) {
    r->interfaces_n = 0;
    r->version = cap_u16(r, body + 4);
}

static void cap_describe_interface(cap_reader *r, const uint8_t *body, uint32_t n) {
    if (r->interfaces_n++ >= CAP_MAX_INTERFACES || n < 8) return;
    cap_interface *f = &r->interfaces[r->interfaces_n - 1];
    *f = (cap_interface){.link = cap_u16(r, body), .snap = cap_u32(r, body + 4), .resolution = 6};
    for (uint32_t at = 8; n - at >= 4;) {
        uint16_t code = cap_u16(r, body + at), length = cap_u16(r, body + at + 2);
        at += 4;
        if (code == CAP_OPT_END || length > n - at) return;
        if (code == CAP_OPT_TSRESOL && length >= 1) f->resolution = body[at];
        if (code == CAP_OPT_TSOFFSET && length >= 8) f->offset_s = (int64_t)cap_u64(r, body + at);
        uint32_t padded = (length + 3u) & ~3u;
        if (padded > n - at) return;
        at += padded;
    }
}

/* The packet in a block; CAP_AGAIN if there is none that can be read. */
static int cap_block_record(cap_reader *r, uint32_t type, const uint8_t *body, uint32_t n, cap_record *out) {
    uint32_t fixed = type == CAP_SPB ? 4 : 20, number = 0;
    if (n < fixed) return CAP_AGAIN;
    if (type == CAP_EPB) number = cap_u32(r, body);
    if (type == CAP_PB) number = cap_u16(r, body);
    if (number >= r->interfaces_n || number >= CAP_MAX_INTERFACES) return CAP_AGAIN;
    const cap_interface *f = &r->interfaces[number];
    if (type == CAP_SPB) {
        out->length = cap_u32(r, body);
        out->captured = f->snap && out->length > f->snap ? f->snap : out->length;
        if (out->captured > n - fixed) out->captured = n - fixed;
        out->ts_ns = MDF_TIME_UNDEF;
    } else {
        uint64_t units = (uint64_t)cap_u32(r, body + 4) << 32 | cap_u32(r, body + 8);
        out->captured = cap_u32(r, body + 12);
        out->length = cap_u32(r, body + 16);
        out->ts_ns = cap_time_ns(units, f->resolution, f->offset_s);
        if (out->captured > n - fixed) return CAP_AGAIN;
    }
    out->data = body + fixed;
    out->link = f->link;
    return CAP_RECORD;
}

static int cap_pass_over(cap_reader *r) {
    if (!r->in_left) return CAP_NEED_INPUT;
    uint64_t n = r->skip < r->in_left ? r->skip : r->in_left;
    r->in += n;
    r->in_left -= (size_t)n;
    r->offset += n;
    r->skip -= n;
    return r->skip ? CAP_NEED_INPUT : CAP_AGAIN;
}

static int cap_block(cap_reader *r, cap_record *out) {
    if (r->skip) return cap_pass_over(r);
    const uint8_t *p = cap_peek(r, 12);
    if (!p) return r->error;
    uint32_t type = cap_u32(r, p);
    if (type == CAP_SECTION) {
        uint32_t magic;
        memcpy(&magic, p + 8, sizeof magic);
        if (magic != UINT32_C(0x1A2B3C4D) && magic != UINT32_C(0x4D3C2B1A)) return cap_fail(r, CAP_E_BYTE_ORDER);
        r->swapped = magic != UINT32_C(0x1A2B3C4D);
    }
    uint32_t length = cap_u32(r, p + 4);
    if (length < (type == CAP_SECTION ? 28u : 12u) || length % 4) return cap_fail(r, CAP_E_LENGTH);
    bool packet = type == CAP_EPB || type == CAP_SPB || type == CAP_PB;
    if (length > CAP_MAX_BLOCK_BYTES) {
        if (packet || type == CAP_SECTION || type == CAP_IDB) return cap_fail(r, CAP_E_LENGTH);
        r->blocks_skipped++;
        r->skip = length - 12;
        cap_consume(r, 12);
        return CAP_AGAIN;
    }
    if (!(p = cap_peek(r, length))) return r->error;
    if (cap_u32(r, p + length - 4) != length) return cap_fail(r, CAP_E_TRAILER);
    if (type == CAP_SECTION) {
        cap_section(r, p + 8);
        if (r->version != 1) return cap_fail(r, CAP_E_VERSION);
    }
    if (type == CAP_IDB) cap_describe_interface(r, p + 8, length - 12);
    int status = packet ? cap_block_record(r, type, p + 8, length - 12, out) : CAP_AGAIN;
    if (status == CAP_AGAIN && type != CAP_SECTION && type != CAP_IDB) r->blocks_skipped++;
    cap_consume(r, length);
    return status;
}

/* The next record: CAP_RECORD, CAP_NEED_INPUT (all of the piece is used), or below zero. */
static int cap_next_record(cap_reader *r, cap_record *out) {
    int status = r->error ? r->error : CAP_AGAIN;
    while (status == CAP_AGAIN) {
        if (r->format == CAP_PCAP) status = cap_pcap_record(r, out);
        else if (r->format == CAP_PCAPNG) status = cap_block(r, out);
        else status = cap_begin(r);
    }
    return status;
}

#endif
