/* Records by partition, in order: a counting sort of slots of 64 or 128 bytes. No I/O, no allocation here.
 *
 * `ids` and `places` are an open-addressed table of `mask + 1` entries, a power of two, never full; id 0 is its
 * empty entry, for records of instrument 0 belong to the whole feed and go to every partition. */
#ifndef MDF_KAFKA_SPLIT_H
#define MDF_KAFKA_SPLIT_H

#include <stdint.h>
#include <string.h>

enum { SPLIT_WIDE = 0xFFFF, SPLIT_UNKNOWN = 0xFFFE };

typedef struct split_table {
    uint32_t *ids;
    uint16_t *places;
    uint32_t mask;
} split_table;

static inline uint32_t split_slot(const split_table *t, uint32_t id) {
    uint32_t slot = (id * UINT32_C(2654435761)) & t->mask; /* Knuth's multiplicative hash */
    while (t->ids[slot] && t->ids[slot] != id)
        slot = (slot + 1) & t->mask;
    return slot;
}

static inline void split_put(split_table *t, uint32_t id, uint16_t place) {
    uint32_t slot = split_slot(t, id);
    t->ids[slot] = id;
    t->places[slot] = place;
}

/* The partition of each record into `where`, how many each partition gets into `counts` (`partitions` of them).
 * Returns how many records are of unknown instruments. `id_offset` is where in a record its instrument_id is. */
static inline uint64_t split_look(const split_table *t, const uint8_t *records, uint64_t n, uint32_t size,
                                  uint32_t id_offset, uint16_t *where, uint64_t *counts, uint32_t partitions) {
    uint64_t unknown = 0, wide = 0;
    memset(counts, 0, partitions * sizeof *counts);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t id, slot;
        memcpy(&id, records + i * size + id_offset, sizeof id);
        if (!id) {
            where[i] = SPLIT_WIDE;
            wide++;
            continue;
        }
        slot = split_slot(t, id);
        if (!t->ids[slot]) {
            where[i] = SPLIT_UNKNOWN;
            unknown++;
            continue;
        }
        where[i] = t->places[slot];
        counts[where[i]]++;
    }
    for (uint32_t p = 0; p < partitions; p++)
        counts[p] += wide;
    return unknown;
}

/* Copy each record behind those of its partition; `next` is where that is, and is moved on. */
static inline void split_copy(const uint8_t *records, uint64_t n, uint32_t size, const uint16_t *where,
                              uint8_t *out, uint64_t *next, uint32_t partitions) {
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *from = records + i * size;
        if (where[i] != SPLIT_WIDE) {
            memcpy(out + next[where[i]]++ * size, from, size);
            continue;
        }
        for (uint32_t p = 0; p < partitions; p++)
            memcpy(out + next[p]++ * size, from, size);
    }
}

#endif
