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

/* What runs for every entry is inlined into its callers, what rarely runs stays out of their way, and what is large
 * stands apart, with all registers to itself. */
#define MDP_HOT static inline __attribute__((always_inline))
#define MDP_COLD static __attribute__((noinline, unused))
#define MDP_APART static __attribute__((noinline, unused))
#define MDP_LIKELY(x) __builtin_expect(!!(x), 1)
#define MDP_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define MDP_MAX_GROUPS 12u /* of one template */

static inline uint16_t mdp_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t mdp_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t mdp_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline int32_t mdp_i32(const uint8_t *p) { int32_t v; memcpy(&v, p, 4); return v; }
static inline int64_t mdp_i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }

/* How one template is framed; made from the tables of mdp_layout.h. One that is not known asks for nothing. */
typedef struct mdp_shape {
    uint16_t root_min; /* bytes */
    uint8_t known, groups;
    struct { uint8_t dimension, since; uint16_t entry_min; } group[MDP_MAX_GROUPS];
} __attribute__((aligned(64))) mdp_shape; /* a cache line */

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

/* What most messages are: a book message that is its entries and nothing else, or no more than an empty group of
 * orders. Whatever else is sound is found out by mdp_check_groups(). */
MDP_HOT int mdp_is_plain_book(unsigned template_id, size_t block, const uint8_t *group, size_t left) {
    if (template_id != MDP_T_Book && template_id != MDP_T_Book_OLD) return 0;
    if (block < MDP_Book_ROOT_MIN || left < MDP_Book_NoMDEntries_DIMENSION) return 0;
    size_t length = mdp_u16(group), bytes = MDP_Book_NoMDEntries_DIMENSION + length * group[MDP_GROUP_NUMBER_3];
    if (length < MDP_Book_NoMDEntries_MIN) return 0;
    return left == bytes || (left == bytes + MDP_Book_NoOrderIDEntries_DIMENSION && !group[bytes + MDP_GROUP_NUMBER_8]);
}

/* Whether the whole packet can be walked. What passes here is read below without further checks. */
static inline int mdp_check(const mdp_shape *shapes, const uint8_t *p, size_t n) {
    if (n < MDP_PACKET_HEADER) return MDP_BAD_HEADER;
    const uint8_t *end = p + n;
    for (const uint8_t *m = p + MDP_PACKET_HEADER, *next; m < end; m = next) {
        size_t left = (size_t)(end - m);
        if (left < MDP_MESSAGE_HEADER) return MDP_BAD_SIZE;
        size_t size = mdp_u16(m), block = mdp_u16(m + MDP_MESSAGE_BLOCK);
        unsigned template_id = mdp_u16(m + MDP_MESSAGE_TEMPLATE);
        if (size < MDP_MESSAGE_HEADER || size > left) return MDP_BAD_SIZE;
        if (block > size - MDP_MESSAGE_HEADER) return MDP_BAD_BLOCK;
        next = m + size;
        const uint8_t *groups = m + MDP_MESSAGE_HEADER + block;
        if (MDP_LIKELY(mdp_is_plain_book(template_id, block, groups, (size_t)(next - groups)))) continue;
        if (template_id >= MDP_TEMPLATE_IDS) continue;
        const mdp_shape *s = &shapes[template_id];
        if (block < s->root_min) return MDP_BAD_BLOCK;
        int fault = mdp_check_groups(s, mdp_u16(m + MDP_MESSAGE_VERSION), groups, next);
        if (fault) return fault;
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
    if (!old) return raw;
    return __builtin_mul_overflow(raw, (int64_t)MDP_OLD_PRICE_UNITS, &scaled) ? INT64_MAX : scaled;
}

/* A fingerprint of bytes, to tell whether two copies are the same: sums of words, and sums of these sums, turned by
 * a quarter at each step so that what is in the wrong place shows. It costs little more than to read them. No
 * defence against who wants to be mistaken. */
typedef uint64_t mdp_two_words __attribute__((vector_size(16)));
typedef uint32_t mdp_four_words __attribute__((vector_size(16)));

static inline mdp_two_words mdp_words_at(const uint8_t *p) { mdp_two_words v; memcpy(&v, p, 16); return v; }

static inline mdp_two_words mdp_turned(mdp_two_words v) {
#ifdef __clang__
    return (mdp_two_words)__builtin_shufflevector((mdp_four_words)v, (mdp_four_words)v, 1, 2, 3, 0);
#else
    return (mdp_two_words)__builtin_shuffle((mdp_four_words)v, (mdp_four_words){1, 2, 3, 0});
#endif
}

typedef struct mdp_print { mdp_two_words sum, sums; } mdp_print;

#define MDP_PRINT_STEP 64 /* bytes: long enough that the number of steps is seldom a surprise */

MDP_HOT void mdp_print_16(mdp_print *x, const uint8_t *p) {
    x->sum += mdp_words_at(p);
    x->sums = mdp_turned(x->sums) + x->sum;
}

MDP_HOT void mdp_print_step(mdp_print *x, const uint8_t *p) {
    mdp_print_16(x, p);
    mdp_print_16(x, p + 16);
    mdp_print_16(x, p + 32);
    mdp_print_16(x, p + 48);
}

/* The last step reaches back, where less is left. A header without a message has no print. */
MDP_HOT mdp_print mdp_print_of(const uint8_t *p, size_t n) {
    mdp_print x = {{n, 0}, {0, 0}};
    const uint8_t *end = p + n;
    if (MDP_LIKELY(n >= MDP_PRINT_STEP)) {
        for (; p < end - MDP_PRINT_STEP; p += MDP_PRINT_STEP) mdp_print_step(&x, p);
        mdp_print_step(&x, end - MDP_PRINT_STEP);
    } else if (n >= 16) {
        for (; p < end - 16; p += 16) mdp_print_16(&x, p);
        mdp_print_16(&x, end - 16);
    }
    return x;
}

MDP_HOT int mdp_same_print(const mdp_print *a, const mdp_print *b) {
    mdp_two_words differs = (a->sum ^ b->sum) | (a->sums ^ b->sums);
    return !(differs[0] | differs[1]);
}

/* Whether its first message is a reset of the channel. */
static inline int mdp_is_reset(const uint8_t *p, size_t n) {
    return n >= MDP_PACKET_HEADER + MDP_MESSAGE_HEADER &&
           mdp_u16(p + MDP_PACKET_HEADER + MDP_MESSAGE_TEMPLATE) == MDP_T_ChannelReset;
}

#endif
