/* MDP 3.0 on the wire: loads, and the framing of a packet, whole, before a byte of it is believed.
 *
 *     payload   u32 MsgSeqNum | u64 SendingTime | message...                              (little-endian)
 *     message   u16 MsgSize | u16 BlockLength | u16 TemplateID | u16 SchemaID | u16 Version | root | groups
 *
 * Sizes are always those the packet states (MsgSize, BlockLength, a group's blockLength), so that any later
 * schema version is walked right; mdp_layout.h only says how short they may be at the least.
 */
#ifndef MDP_WIRE_H
#define MDP_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mdp_layout.h"

/* What runs for every entry is inlined into its callers, what rarely runs stays out of their way. */
#define MDP_HOT static inline __attribute__((always_inline))
#define MDP_COLD static __attribute__((noinline, unused))
#define MDP_LIKELY(x) __builtin_expect(!!(x), 1)

#define MDP_MAX_GROUPS 12u /* of one template */

static inline uint16_t mdp_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t mdp_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t mdp_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline int32_t mdp_i32(const uint8_t *p) { int32_t v; memcpy(&v, p, 4); return v; }
static inline int64_t mdp_i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }

/* How one template is framed; made from the tables of mdp_layout.h. */
typedef struct mdp_shape {
    uint16_t root_min; /* bytes */
    uint8_t known, groups;
    struct { uint8_t dimension, since; uint16_t entry_min; } group[MDP_MAX_GROUPS];
} mdp_shape;

#define MDP_TEMPLATE_IDS 256u /* CME numbers its templates below this */

/* One message of a checked packet. */
typedef struct mdp_message {
    const uint8_t *root, *groups, *end;
    uint16_t template_id, version, block;
} mdp_message;

/* One group of a checked message. */
typedef struct mdp_group {
    const uint8_t *entry; /* the first */
    uint32_t count, length;
} mdp_group;

enum mdp_fault {
    MDP_SOUND = 0,
    MDP_BAD_HEADER,  /* shorter than a packet header */
    MDP_BAD_SIZE,    /* a MsgSize that is too small for its message or reaches beyond the packet */
    MDP_BAD_BLOCK,   /* a root block shorter than the fields of its template, or longer than the message */
    MDP_BAD_GROUP,   /* a group that reaches beyond its message, or has entries shorter than their fields */
};

static inline void mdp_shapes_init(mdp_shape *shapes) {
    memset(shapes, 0, MDP_TEMPLATE_IDS * sizeof *shapes);
#define MDP_SET(Name, id, old_id, root)                                                                 \
    shapes[id].known = 1, shapes[id].root_min = (root);                                                 \
    if (old_id) shapes[old_id].known = 1, shapes[old_id].root_min = (root);
    MDP_TEMPLATES(MDP_SET)
#undef MDP_SET
#define MDP_ADD(s, dim, min, from)                                                                      \
    (s)->group[(s)->groups].dimension = (dim), (s)->group[(s)->groups].entry_min = (min),               \
    (s)->group[(s)->groups].since = (from), (s)->groups++
#define MDP_SET(Name, Group, dim, min, from, old_from)                                                  \
    MDP_ADD(&shapes[MDP_T_##Name], dim, min, from);                                                     \
    if (MDP_T_##Name##_OLD) MDP_ADD(&shapes[MDP_T_##Name##_OLD], dim, min, old_from);
    MDP_GROUPS(MDP_SET)
#undef MDP_SET
#undef MDP_ADD
}

/* The groups of one message. A group newer than the header's version is not there, and one that the message
 * ends before is not either: header versions lag behind what is sent. */
static inline int mdp_check_groups(const mdp_shape *s, unsigned version, const uint8_t *at, const uint8_t *end) {
    for (unsigned i = 0; i < s->groups && at < end; i++) {
        size_t left = (size_t)(end - at), dimension = s->group[i].dimension;
        if (version < s->group[i].since) continue;
        if (left < dimension) return MDP_BAD_GROUP;
        size_t length = mdp_u16(at), count = at[dimension - 1], bytes = dimension + length * count;
        if (bytes > left || (length < s->group[i].entry_min && count)) return MDP_BAD_GROUP;
        at += bytes;
    }
    return MDP_SOUND;
}

/* Whether the whole packet can be walked. What passes here is read below without further checks. */
static inline int mdp_check(const mdp_shape *shapes, const uint8_t *p, size_t n) {
    if (n < MDP_PACKET_HEADER) return MDP_BAD_HEADER;
    const uint8_t *end = p + n;
    for (const uint8_t *m = p + MDP_PACKET_HEADER; m < end;) {
        size_t left = (size_t)(end - m);
        if (left < MDP_MESSAGE_HEADER) return MDP_BAD_SIZE;
        size_t size = mdp_u16(m), block = mdp_u16(m + 2);
        unsigned template_id = mdp_u16(m + 4);
        if (size < MDP_MESSAGE_HEADER || size > left) return MDP_BAD_SIZE;
        if (block > size - MDP_MESSAGE_HEADER) return MDP_BAD_BLOCK;
        if (template_id < MDP_TEMPLATE_IDS && shapes[template_id].known) {
            const mdp_shape *s = &shapes[template_id];
            if (block < s->root_min) return MDP_BAD_BLOCK;
            int fault = mdp_check_groups(s, mdp_u16(m + 8), m + MDP_MESSAGE_HEADER + block, m + size);
            if (fault) return fault;
        }
        m += size;
    }
    return MDP_SOUND;
}

/* The message at `at` of a checked packet; returns where the next one begins. */
static inline const uint8_t *mdp_message_at(const uint8_t *at, mdp_message *m) {
    m->block = mdp_u16(at + 2);
    m->template_id = mdp_u16(at + 4);
    m->version = mdp_u16(at + 8);
    m->root = at + MDP_MESSAGE_HEADER;
    m->groups = m->root + m->block;
    m->end = at + mdp_u16(at);
    return m->end;
}

/* The group at `at` of a checked message, where `end` is the message's; returns what follows it. */
static inline const uint8_t *mdp_group_at(const uint8_t *at, const uint8_t *end, unsigned dimension, mdp_group *g) {
    g->count = 0;
    g->length = 0;
    g->entry = at;
    if (at >= end) return at;
    g->length = mdp_u16(at);
    g->count = at[dimension - 1];
    g->entry = at + dimension;
    return g->entry + (size_t)g->length * g->count;
}

/* A size or a number of orders as we keep it: 0 for none given; what does not fit 32 bits is UINT32_MAX. */
MDP_HOT uint32_t mdp_known(uint32_t raw) { return raw == (uint32_t)MDP_NULL_I32 ? 0 : raw; }
MDP_HOT uint32_t mdp_known_long(uint64_t raw) {
    return raw == MDP_NULL_U64 ? 0 : raw < UINT32_MAX ? (uint32_t)raw : UINT32_MAX;
}

/* Price to units of 1e-9. The old templates count in 1e-7. Null stays null, overflow becomes null. */
static inline int64_t mdp_price(const uint8_t *p, int old) {
    int64_t raw = mdp_i64(p), scaled;
    if (!old || raw == INT64_MAX) return raw;
    return __builtin_mul_overflow(raw, (int64_t)MDP_OLD_PRICE_UNITS, &scaled) ? INT64_MAX : scaled;
}

/* A fingerprint of bytes, to tell whether two copies are the same: multiply and fold, three chains at once, so
 * that it costs little more than to read them. No defence against who wants to be mistaken. */
static inline uint64_t mdp_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t mdp_hash(const uint8_t *p, size_t n) {
    const uint64_t k0 = UINT64_C(0xA0761D6478BD642F), k1 = UINT64_C(0xE7037ED1A0B428DB), k2 = UINT64_C(0x8EBC6AF09C88C6E3);
    uint64_t x = n ^ k0, y = k1, z = k2;
    if (n < 16) return n; /* a header and no message */
    for (; n >= 48; p += 48, n -= 48) {
        x = mdp_fold(mdp_u64(p) ^ k0, mdp_u64(p + 8) ^ x);
        y = mdp_fold(mdp_u64(p + 16) ^ k1, mdp_u64(p + 24) ^ y);
        z = mdp_fold(mdp_u64(p + 32) ^ k2, mdp_u64(p + 40) ^ z);
    }
    for (; n > 16; p += 16, n -= 16) x = mdp_fold(mdp_u64(p) ^ k0, mdp_u64(p + 8) ^ x);
    if (n) y = mdp_fold(mdp_u64(p + n - 16) ^ k1, mdp_u64(p + n - 8) ^ y); /* reaches back, where less is left */
    return mdp_fold(x ^ z, y ^ k2);
}

#endif
