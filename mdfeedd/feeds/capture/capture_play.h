/* capture_play.h: captures, merged by their time, into a taker of packets. C11, no I/O, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     cap_decoder ─┐
 *     cap_decoder ─┼─► the earliest ─► (destination, port) ─► line ─► mdf_packet_sink
 *     cap_decoder ─┘                         `─► not listed: counted
 *
 * The taker's timers run on the captures' time: burst_end() is called at least every CAP_BURST_PACKETS packets,
 * after each millisecond with packets, and while none come at steps that grow to a sixteenth of the silence, so
 * that a night costs some hundred calls.
 *
 * cap_play() stops where its caller is needed: see enum cap_play_status. Destinations are kept with what they
 * carried, listed or not, up to CAP_MAX_DESTINATIONS, so that a caller can say what else there is.
 */
#ifndef MDFEEDD_CAPTURE_PLAY_H
#define MDFEEDD_CAPTURE_PLAY_H
#include "capture_net.h"
#include "packet.h"

#define CAP_MAX_DESTINATIONS 4096u
#define CAP_SLOTS (2 * CAP_MAX_DESTINATIONS)
#define CAP_BURST_PACKETS 64u
#define CAP_IDLE_PART 16
#define CAP_UNLISTED UINT32_MAX

enum cap_play_status {
    CAP_PLAY_HEAD = 0,       /* inside only: p->current has the next datagram */
    CAP_PLAY_ENDED = 1,      /* all captures */
    CAP_PLAY_NEED_INPUT = 2, /* of capture p->which: cap_give() or cap_source.ended, then go on */
    CAP_PLAY_ERROR = 3,      /* in capture p->which; it counts as ended if the caller goes on */
    CAP_PLAY_LATER = 4,      /* the next packet, of time p->next_ns, is later than wanted */
    CAP_PLAY_LIMIT = 5,      /* so many packets were wanted, or so many records of the taker */
    CAP_PLAY_ASKED = 6,      /* the taker wants Python to look */
};

typedef struct cap_destination {
    uint64_t packets, bytes;
    uint64_t longer; /* packets, of those looked at one by one, that are more than a heartbeat */
    uint32_t address, line;
    uint16_t port;
    bool used;
} cap_destination;

typedef struct cap_source {
    cap_decoder *decoder;
    cap_datagram head;
    bool has_head, ended;
} cap_source;

typedef struct cap_player {
    cap_source *sources;
    uint32_t sources_n;
    uint32_t current, second;      /* whose head is due; whose is after it, sources_n: nobody's */
    bool chosen;
    uint32_t which;
    int64_t next_ns;
    int64_t told_ns, last_ns;      /* of the last burst_end, of the last packet */
    uint32_t burst;                /* packets since the last burst_end */
    bool started;
    uint64_t delivered, unlisted;  /* packets */
    uint32_t destinations_n;
    cap_destination slots[CAP_SLOTS];
} cap_player;

/* ---------------------------------------------------------------------------------------- destinations */

/* The entry of a destination, made if there is room; NULL if not. */
static cap_destination *cap_destination_of(cap_player *p, uint32_t address, uint16_t port) {
    uint64_t hash = ((uint64_t)address << 16 | port) * UINT64_C(0x9E3779B97F4A7C15);
    for (uint32_t i = (uint32_t)(hash >> 40);; i++) {
        cap_destination *e = &p->slots[i % CAP_SLOTS];
        if (e->used && e->address == address && e->port == port) return e;
        if (e->used) continue;
        if (p->destinations_n >= CAP_MAX_DESTINATIONS) return NULL;
        p->destinations_n++;
        *e = (cap_destination){.address = address, .port = port, .line = CAP_UNLISTED, .used = true};
        return e;
    }
}

/* Count a datagram at its destination; the entry, or NULL. */
static cap_destination *cap_arrive(cap_player *p, const cap_datagram *m) {
    cap_destination *e = cap_destination_of(p, m->destination, m->destination_port);
    if (e) {
        e->packets++;
        e->bytes += m->length;
    }
    return e;
}

/* ----------------------------------------------------------------------------------------------- merge */

static inline bool cap_before(const cap_player *p, uint32_t a, uint32_t b) {
    int64_t x = p->sources[a].head.now_ns, y = p->sources[b].head.now_ns;
    return x < y || (x == y && a < b);
}

/* Let a source have a head or be ended; CAP_PLAY_HEAD, or why it cannot. */
static int cap_fill(cap_player *p, uint32_t i) {
    cap_source *s = &p->sources[i];
    if (s->has_head) return CAP_PLAY_HEAD;
    int status = cap_next(s->decoder, &s->head);
    s->has_head = status == CAP_RECORD;
    if (s->has_head) return CAP_PLAY_HEAD;
    p->which = i;
    if (!status && s->ended) status = cap_at_end(&s->decoder->reader);
    else if (!status) return CAP_PLAY_NEED_INPUT;
    s->ended = true;
    return status ? CAP_PLAY_ERROR : CAP_PLAY_ENDED;
}

/* Who is first, who second: looked for anew only when the first has given way. */
static int cap_choose(cap_player *p) {
    p->current = p->second = p->sources_n;
    for (uint32_t i = 0; i < p->sources_n; i++) {
        cap_source *s = &p->sources[i];
        if (!s->decoder) continue;
        int status = cap_fill(p, i);
        if (status == CAP_PLAY_ENDED) {
            s->decoder = NULL;
            continue;
        }
        if (status == CAP_PLAY_ERROR) s->decoder = NULL;
        if (status != CAP_PLAY_HEAD) return status;
        if (p->current == p->sources_n || cap_before(p, i, p->current)) {
            p->second = p->current;
            p->current = i;
        } else if (p->second == p->sources_n || cap_before(p, i, p->second)) {
            p->second = i;
        }
    }
    p->chosen = p->current < p->sources_n;
    return p->chosen ? CAP_PLAY_HEAD : CAP_PLAY_ENDED;
}

/* The next datagram of all: CAP_PLAY_HEAD (it is the head of p->current), or why there is none now. */
static int cap_pick(cap_player *p) {
    if (p->chosen && p->sources[p->current].has_head) return CAP_PLAY_HEAD;
    if (p->chosen && !p->sources[p->current].ended) {
        int status = cap_fill(p, p->current);
        if (status == CAP_PLAY_NEED_INPUT) return status;
        if (status == CAP_PLAY_HEAD && (p->second == p->sources_n || cap_before(p, p->current, p->second)))
            return status;
        if (status == CAP_PLAY_ERROR || status == CAP_PLAY_ENDED) p->sources[p->current].decoder = NULL;
        if (status == CAP_PLAY_ERROR) {
            p->chosen = false;
            return status;
        }
    }
    p->chosen = false;
    return cap_choose(p);
}

/* ------------------------------------------------------------------------------------------------ play */

/* Let the taker's timers run; whether it asks for Python. */
static bool cap_tell(cap_player *p, const mdf_packet_sink *sink, int64_t now_ns) {
    p->told_ns = now_ns;
    p->burst = 0;
    return sink->burst_end(sink->context, now_ns) != 0;
}

/* Nothing came until `now_ns`: tell it in growing steps, the last of which ends there. */
static bool cap_idle(cap_player *p, const mdf_packet_sink *sink, int64_t now_ns) {
    while (p->started && now_ns - p->told_ns >= MDF_PACKET_IDLE_NS) {
        int64_t step = (p->told_ns - p->last_ns) / CAP_IDLE_PART;
        if (step < MDF_PACKET_IDLE_NS) step = MDF_PACKET_IDLE_NS;
        if (step > now_ns - p->told_ns) step = now_ns - p->told_ns;
        if (cap_tell(p, sink, p->told_ns + step)) return true;
    }
    return false;
}

static void cap_deliver(cap_player *p, const mdf_packet_sink *sink, const cap_datagram *m, uint32_t line) {
    mdf_packet packet = {
        .payload = m->payload, .length = m->length, .line = line, .ts_recv = m->ts_ns, .now_ns = m->now_ns,
        .ts_flags = m->flags, .source_port = m->source_port, .source = m->source,
    };
    if (!p->started) p->told_ns = m->now_ns;
    p->started = true;
    p->last_ns = m->now_ns;
    p->burst++;
    p->delivered++;
    sink->packet(sink->context, &packet);
}

/* What it may deliver: packets, and from `first` on, records into each of the taker's rings. */
typedef struct cap_limits {
    int64_t until_ns;
    uint64_t packets, records;
    uint64_t first[MDF_PACKET_RINGS];
} cap_limits;

static bool cap_is_full(const cap_limits *l, const mdf_packet_sink *sink) {
    for (int i = 0; i < MDF_PACKET_RINGS; i++)
        if (sink->next[i] && *sink->next[i] - l->first[i] >= l->records) return true;
    return false;
}

static int cap_play_some(cap_player *p, const mdf_packet_sink *sink, const cap_limits *l) {
    for (uint64_t done = 0;;) {
        int status = cap_pick(p);
        if (status != CAP_PLAY_HEAD) return status;
        cap_source *s = &p->sources[p->current];
        p->next_ns = s->head.now_ns;
        if (p->next_ns > l->until_ns) return cap_idle(p, sink, l->until_ns) ? CAP_PLAY_ASKED : CAP_PLAY_LATER;
        if (cap_idle(p, sink, p->next_ns)) return CAP_PLAY_ASKED;
        if (done == l->packets || cap_is_full(l, sink)) return CAP_PLAY_LIMIT;
        s->has_head = false;
        cap_destination *e = cap_arrive(p, &s->head);
        if (!e || e->line == CAP_UNLISTED) {
            p->unlisted++;
            continue;
        }
        cap_deliver(p, sink, &s->head, e->line);
        done++;
        if (p->burst >= CAP_BURST_PACKETS && cap_tell(p, sink, p->last_ns)) return CAP_PLAY_ASKED;
    }
}

/* Play packets up to the time `until_ns`, at most `max_packets`, and none once `max_records` have gone into one of the
 * taker's rings: the last packet's may be more. Whatever it returns, no burst is left open. */
static int cap_play(cap_player *p, const mdf_packet_sink *sink, int64_t until_ns, uint64_t max_packets,
                    uint64_t max_records) {
    cap_limits l = {.until_ns = until_ns, .packets = max_packets, .records = max_records};
    for (int i = 0; i < MDF_PACKET_RINGS; i++) l.first[i] = sink->next[i] ? *sink->next[i] : 0;
    int status = cap_play_some(p, sink, &l);
    if (p->burst) cap_tell(p, sink, p->last_ns);
    return status;
}

#endif
