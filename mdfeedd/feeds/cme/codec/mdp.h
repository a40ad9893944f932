/* The CME handler: memory, channels, lines. Everything else is in the headers below; mdp_on_packet() and
 * mdp_on_time() (mdp_channel.h) are where the world comes in. */
#ifndef MDP_H
#define MDP_H

#include <sys/mman.h>

#include "mdp_channel.h"

/* Zeroed pages, which cost nothing until they are used. */
static inline void *mdp_zeroed(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Zeroed memory for what every packet touches: at the beginning of a page, so that it does not depend on chance how
 * it lies to the cache. */
static inline void *mdp_pages(size_t bytes) {
    size_t whole = (bytes + MDF_PAGE - 1) / MDF_PAGE * MDF_PAGE;
    void *p = aligned_alloc(MDF_PAGE, whole);
    return p ? memset(p, 0, whole) : NULL;
}

static inline void mdp_close(mdp_handler *h) {
    for (uint32_t i = 0; i < h->channels_n; i++) {
        free(h->channels[i]->slots);
        free(h->channels[i]->changed);
        free(h->channels[i]);
    }
    free(h->lines);
    if (h->instruments) munmap(h->instruments, h->o.max_instruments * sizeof *h->instruments);
    free(h->definitions);
    free(h->keys);
    free(h->places);
    free(h->notes);
    if (h->orders) {
        free(h->orders->pool);
        free(h->orders->buckets);
    }
    free(h->orders);
    for (int i = 0; i < 3; i++) free(h->filters[i]);
    free(h->out.kept);
    free(h->depth_out.kept);
    free(h->orders_out.kept);
    memset(h, 0, sizeof *h);
}

static inline int mdp_open_orders(mdp_handler *h) {
    uint32_t buckets = 1;
    while (buckets < h->o.max_orders) buckets *= 2;
    mdp_orders *o = h->orders = (mdp_orders *)calloc(1, sizeof *o);
    if (!o) return -1;
    o->pool = (mdp_order *)malloc(h->o.max_orders * sizeof *o->pool);
    o->buckets = (uint32_t *)malloc(buckets * sizeof *o->buckets);
    if (!o->pool || !o->buckets) return -1;
    memset(o->buckets, 0xFF, buckets * sizeof *o->buckets); /* MDP_NONE */
    o->mask = buckets - 1;
    o->room = h->o.max_orders;
    o->free = MDP_NONE;
    return 0;
}

/* Take all memory. Returns nonzero when there is not enough; mdp_close() is due either way. */
static inline int mdp_open(mdp_handler *h, const mdp_options *o) {
    memset(h, 0, sizeof *h);
    h->o = *o;
    mdp_shapes_init(h->shapes);
    uint32_t places = 2;
    while (places < 2 * o->max_instruments) places *= 2;
    h->mask = places - 1;
    h->lines = (mdp_line *)mdp_pages(MDP_MAX_LINES * sizeof *h->lines);
    h->instruments = (mdp_instrument *)mdp_zeroed(o->max_instruments * sizeof *h->instruments);
    h->definitions = (mdp_definition *)calloc(o->max_instruments, sizeof *h->definitions);
    h->keys = (uint64_t *)calloc(places, sizeof *h->keys);
    h->places = (uint32_t *)calloc(places, sizeof *h->places);
    h->notes = (mdp_note *)malloc((size_t)o->recovery_entries * sizeof *h->notes);
    h->free_note = MDP_NONE;
    h->out.slot = sizeof(mdf_tick);
    h->depth_out.slot = sizeof(mdf_depth);
    h->orders_out.slot = sizeof(mdf_order);
    for (int i = 0; i < 3; i++)
        if (!(h->filters[i] = (mdp_filter *)calloc(MDP_MAX_FILTERS, sizeof *h->filters[i]))) return -1;
    if (!h->lines || !h->instruments || !h->definitions || !h->keys || !h->places || !h->notes) return -1;
    return o->orders ? mdp_open_orders(h) : 0;
}

static inline void mdp_touch_pages(void *memory, size_t bytes) {
    volatile uint8_t *p = (volatile uint8_t *)memory;
    for (size_t i = 0; i < bytes; i += MDF_PAGE) p[i] = p[i];
}

/* Have the kernel give all memory now instead of at its first use, in the middle of a burst. */
static inline void mdp_prefault(mdp_handler *h) {
    mdp_touch_pages(h->instruments, h->o.max_instruments * sizeof *h->instruments);
    mdp_touch_pages(h->keys, ((size_t)h->mask + 1) * sizeof *h->keys);
    mdp_touch_pages(h->places, ((size_t)h->mask + 1) * sizeof *h->places);
    mdp_touch_pages(h->notes, (size_t)h->o.recovery_entries * sizeof *h->notes);
    if (h->orders) mdp_touch_pages(h->orders->pool, (size_t)h->o.max_orders * sizeof *h->orders->pool);
    for (uint32_t i = 0; i < h->channels_n; i++) {
        mdp_touch_pages(h->channels[i], sizeof *h->channels[i]);
        mdp_touch_pages(h->channels[i]->slots, h->o.reorder_packets * sizeof *h->channels[i]->slots);
        mdp_touch_pages(h->channels[i]->changed, h->o.max_instruments * sizeof *h->channels[i]->changed);
    }
}

/* Index of a channel, made at the first use; negative: no room. */
static inline int mdp_channel_index(mdp_handler *h, uint32_t id) {
    for (uint32_t i = 0; i < h->channels_n; i++)
        if (h->channels[i]->id == id) return (int)i;
    if (h->channels_n == MDP_MAX_CHANNELS) return -1;
    mdp_channel *ch = (mdp_channel *)mdp_pages(sizeof *ch);
    if (!ch) return -1;
    ch->slots = (mdp_slot *)calloc(h->o.reorder_packets, sizeof *ch->slots);
    ch->changed = (mdp_instrument **)calloc(h->o.max_instruments + 1u, sizeof *ch->changed); /* 1: see mdp_in_event() */
    if (!ch->slots || !ch->changed) {
        free(ch->slots);
        free(ch->changed);
        free(ch);
        return -1;
    }
    ch->id = id;
    ch->index = h->channels_n;
    ch->generation = 1;
    ch->first_instrument = MDP_NONE;
    h->channels[h->channels_n] = ch;
    return (int)h->channels_n++;
}

/* Number of a new line; negative: no room. */
static inline int mdp_line_add(mdp_handler *h, uint32_t channel, unsigned feed, unsigned side) {
    mdp_channel *ch = h->channels[channel];
    if (h->lines_n == MDP_MAX_LINES || (feed == MDP_INCREMENTAL && ch->lines_n == sizeof ch->lines / sizeof *ch->lines)) return -1;
    mdp_line *line = &h->lines[h->lines_n];
    line->channel = channel;
    line->feed = (uint8_t)feed;
    line->side = (uint8_t)side;
    if (feed == MDP_INCREMENTAL) ch->lines[ch->lines_n++] = h->lines_n;
    ch->snapshot_lines += feed == MDP_SNAPSHOTS || feed == MDP_ORDERS;
    return (int)h->lines_n++;
}

#endif
