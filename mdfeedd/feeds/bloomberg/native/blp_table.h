/* Correlation ids to touches, to be looked up without Python: open addressing, linear probing, no tombstones.
 * The touches belong to Python objects that the dictionary beside this table holds. */
#ifndef MDFEEDD_BLP_TABLE_H
#define MDFEEDD_BLP_TABLE_H

#include "blp_decode.h"

#define BLP_TABLE_FIRST 256u      /* places; a power of two, twice the entries at least */
#define BLP_TABLE_MOST (1u << 26)

typedef struct { uint64_t cid; blp_touch *touch; } blp_place;
typedef struct { blp_place *places; size_t size, used; } blp_table;

static inline size_t blp_home(const blp_table *t, uint64_t cid) {
    return (size_t)(cid * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (t->size - 1);
}

/* The place of a cid, or the free one where it would be. The table is never full. */
static inline blp_place *blp_place_of(const blp_table *t, uint64_t cid) {
    size_t i = blp_home(t, cid);
    while (t->places[i].touch && t->places[i].cid != cid) i = (i + 1) & (t->size - 1);
    return &t->places[i];
}

static inline blp_touch *blp_table_get(const blp_table *t, uint64_t cid) {
    return t->size ? blp_place_of(t, cid)->touch : NULL;
}

static inline int blp_table_grow(blp_table *t) {
    blp_table larger = {NULL, t->size ? 2 * t->size : BLP_TABLE_FIRST, t->used};
    if (larger.size > BLP_TABLE_MOST) return -1;
    larger.places = calloc(larger.size, sizeof *larger.places);
    if (!larger.places) return -1;
    for (size_t i = 0; i < t->size; i++)
        if (t->places[i].touch) *blp_place_of(&larger, t->places[i].cid) = t->places[i];
    free(t->places);
    *t = larger;
    return 0;
}

/* 0, or -1 where there is no memory. */
static inline int blp_table_put(blp_table *t, uint64_t cid, blp_touch *touch) {
    if (2 * (t->used + 1) > t->size && blp_table_grow(t)) return -1;
    blp_place *place = blp_place_of(t, cid);
    t->used += !place->touch;
    *place = (blp_place){cid, touch};
    return 0;
}

/* Forget a cid, and close the gap: what comes after it in its run moves up. */
static inline void blp_table_drop(blp_table *t, uint64_t cid) {
    if (!blp_table_get(t, cid)) return;
    size_t mask = t->size - 1, hole = (size_t)(blp_place_of(t, cid) - t->places);
    for (size_t i = (hole + 1) & mask; t->places[i].touch; i = (i + 1) & mask) {
        size_t home = blp_home(t, t->places[i].cid);
        if (((i - home) & mask) < ((i - hole) & mask)) continue; /* it would move before its home */
        t->places[hole] = t->places[i];
        hole = i;
    }
    t->places[hole].touch = NULL;
    t->used--;
}

#endif
