/* Ordinary market data messages into ticks: the fast half of the Python decoder (codec/decode.py), and its equal.
 *
 *     blp_source (a dictionary, or an element of the SDK) ─► blp_decode ─┬─ BLP_TAKEN ─► ticks, touch, counts
 *                                                                        └─ BLP_ODD: nothing was changed
 *
 * Ordinary are QUOTE/BID, ASK, PAIRED, MID and TRADE/NEW, CANCEL, CORRECT of a known instrument that is delayed, or
 * not, as before. All else (images, losses, statistics, values that are rare or wrong) is for the decoder in Python,
 * which works on the same touches and the same staging, so that order and state are one.
 *
 * No Python, no SDK, no allocation but of the staging. Owner of everything: the feed's one thread.
 */
#ifndef MDFEEDD_BLP_DECODE_H
#define MDFEEDD_BLP_DECODE_H

#include "mdfeedd.h"

#include <math.h>
#include <stdlib.h>

#define BLP_EXACT_BELOW 4000000.0      /* as in codec/fixed.py: below, rint(x * 1e9) is what a float stands for */
#define BLP_SIZE_BELOW 9.2e18          /* a float's size that fits 64 bits for sure */
#define BLP_DAY_NS INT64_C(86400000000000)
#define BLP_MOST_DIGITS 20             /* of a trade's number */
#define BLP_FIRST_YEAR 1969            /* what is before is told as no time, what is after the last as well */
#define BLP_LAST_YEAR 2261
#define BLP_TICKS_PER_MESSAGE 2
#define BLP_ROOM 4096                  /* ticks of a staging at first */
#define BLP_MAX_ROOM (1u << 26)        /* and at most: 4 GiB, more than an event can be made to give */

/* Fields, in the order of `blp_field_names`. */
enum {
    BLP_TYPE, BLP_SUBTYPE, BLP_DELAYED, BLP_BID, BLP_ASK, BLP_BID_SIZE, BLP_ASK_SIZE, BLP_TRADE_PRICE,
    BLP_TRADE_SIZE, BLP_TRADE_NUMBER, BLP_LAST_PRICE, BLP_LAST_SIZE, BLP_SENT, BLP_BID_TIMES,
    BLP_ASK_TIMES = BLP_BID_TIMES + 2, BLP_TRADE_TIMES = BLP_ASK_TIMES + 2, BLP_FIELDS = BLP_TRADE_TIMES + 5
};
static const char *const blp_field_names[BLP_FIELDS] = {
    "MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE", "IS_DELAYED_STREAM", "BID", "ASK", "BID_SIZE", "ASK_SIZE",
    "EVT_TRADE_PRICE_RT", "EVT_TRADE_SIZE_RT", "EVT_TRADE_IDENTIFIER_RT", "LAST_PRICE", "SIZE_LAST_TRADE",
    "BLOOMBERG_SEND_TIME_RT", "EVT_QUOTE_BID_TIME_RT", "BID_UPDATE_STAMP_RT", "EVT_QUOTE_ASK_TIME_RT",
    "ASK_UPDATE_STAMP_RT", "EVT_TRADE_EXECUTION_TIME_RT", "EVT_TRADE_TIME_RT", "TRADE_UPDATE_STAMP_RT",
    "LAST_TRADE_PRICE_TIME_TODAY_RT", "TIME",
};

/* Kinds of messages: QUOTE, and trades by the kind of their tick. */
enum { BLP_QUOTE = MDF_QUOTE };
enum { BLP_TAKEN, BLP_ODD };
/* What a source says of a field. BLP_STRANGE: it holds what is not ordinary. */
enum { BLP_ABSENT, BLP_NULL, BLP_GIVEN, BLP_STRANGE };

/* Where fields come from. `time` gives a time that can be true; what tells none is BLP_NULL. */
typedef struct {
    const void *of;
    int (*price)(const void *of, int field, int64_t *value);
    int (*size)(const void *of, int field, uint64_t *value);
    int (*number)(const void *of, int field, uint64_t *value);
    int (*time)(const void *of, int field, int64_t recv_ns, int64_t *value);
    int (*flag)(const void *of, int field, int *value);
} blp_source;

/* One copy for each source, in which the calls of its functions are direct. */
#define BLP_INLINE static inline __attribute__((always_inline))

typedef struct { int64_t bid, ask; uint64_t bid_size, ask_size; } blp_sides;

/* One instrument; what Touch of codec/touch.py is. */
typedef struct {
    blp_sides told, shown;
    int64_t last_ns, hole_first_ns, hole_last_ns, image_ns, stamp_ns;
    uint32_t instrument_id, hole_reason;
    uint16_t flags;
    uint8_t imaging;
} blp_touch;

/* Ticks on their way into the ring; what Staging of codec/staging.py is. */
typedef struct {
    mdf_tick *ticks;
    size_t n, capacity;
    uint64_t quotes, trades, others, gaps;
} blp_staging;

typedef struct {
    blp_staging *out;
    uint64_t messages, skipped, quick;
    int64_t last_ns, sent_ns; /* sent_ns: of the last message, where it was none of Python's; 0: not told */
    int refuse_delayed;
} blp_decoder;

/* Room for n more ticks: 0, or -1 where there is no memory. */
static inline int blp_reserve(blp_staging *s, size_t n) {
    if (s->capacity - s->n >= n) return 0;
    size_t room = s->capacity ? 2 * s->capacity : BLP_ROOM;
    if (room > BLP_MAX_ROOM || room - s->n < n) return -1;
    mdf_tick *larger = realloc(s->ticks, room * sizeof *larger);
    if (!larger) return -1;
    s->ticks = larger;
    s->capacity = room;
    return 0;
}

/* The next tick, all zero but for what every tick has. There must be room. */
static inline mdf_tick *blp_next(blp_staging *s, int kind, int64_t at_ns, int64_t recv_ns, uint32_t instrument,
                                 uint16_t flags) {
    mdf_tick *k = &s->ticks[s->n++];
    memset(k, 0, sizeof *k);
    k->ts_event = at_ns;
    k->ts_recv = recv_ns;
    k->instrument_id = instrument;
    k->kind = (uint8_t)kind;
    k->flags = flags;
    return k;
}

static inline uint32_t blp_size32(uint64_t size, mdf_tick *k) {
    if (size <= UINT32_MAX) return (uint32_t)size;
    k->flags |= MDF_SIZE_SATURATED;
    return UINT32_MAX;
}

static inline void blp_tell_quote(blp_staging *s, int64_t at_ns, int64_t recv_ns, uint32_t instrument,
                                  uint16_t flags, const blp_sides *shown) {
    mdf_tick *k = blp_next(s, MDF_QUOTE, at_ns, recv_ns, instrument, flags);
    k->payload.quote.bid_price = shown->bid;
    k->payload.quote.ask_price = shown->ask;
    k->payload.quote.bid_size = blp_size32(shown->bid_size, k);
    k->payload.quote.ask_size = blp_size32(shown->ask_size, k);
    s->quotes++;
}

static inline void blp_tell_trade(blp_staging *s, int kind, int64_t at_ns, int64_t recv_ns, uint32_t instrument,
                                  uint16_t flags, int64_t price, uint64_t size, uint64_t number) {
    mdf_tick *k = blp_next(s, kind, at_ns, recv_ns, instrument, flags);
    k->payload.trade.price = price;
    k->payload.trade.trade_id = number;
    k->payload.trade.size = blp_size32(size, k);
    *(kind == MDF_TRADE ? &s->trades : &s->others) += 1;
}

static inline void blp_tell_hole(blp_staging *s, int kind, int64_t now_ns, uint32_t instrument, uint64_t first_ns,
                                 uint64_t last_ns, uint32_t reason) {
    mdf_tick *k = blp_next(s, kind, now_ns, now_ns, instrument, 0);
    k->payload.gap.first_missing = first_ns;
    k->payload.gap.last_missing = last_ns;
    k->payload.gap.reason = reason;
    s->others++;
    s->gaps += kind == MDF_GAP;
}

static inline void blp_tell_status(blp_staging *s, int64_t now_ns, uint32_t instrument, uint16_t reason) {
    blp_next(s, MDF_STATUS, now_ns, now_ns, instrument, MDF_BAD_TS)->payload.status.reason = reason;
    s->others++;
}

/* A tick that says all by its kind. The time is ours, as that of a STATUS. */
static inline void blp_tell_bare(blp_staging *s, int kind, int64_t now_ns, uint32_t instrument) {
    blp_next(s, kind, now_ns, now_ns, instrument, MDF_BAD_TS);
    s->others++;
}

static inline void blp_tell_statistic(blp_staging *s, int64_t at_ns, int64_t recv_ns, uint32_t instrument,
                                      uint16_t flags, uint16_t type, int64_t price, int64_t quantity) {
    mdf_tick *k = blp_next(s, MDF_STATISTIC, at_ns, recv_ns, instrument, flags);
    k->payload.statistic.price = price;
    k->payload.statistic.quantity = quantity;
    k->payload.statistic.type = type;
    s->others++;
}

/* Both sides as a QUOTE tells them. A price of 0 without a size is Bloomberg's "no price". */
static inline blp_sides blp_show(blp_sides t) {
    if (!t.bid_size && !t.bid) t.bid = MDF_PRICE_UNDEF;
    if (t.bid == MDF_PRICE_UNDEF) t.bid_size = 0;
    if (!t.ask_size && !t.ask) t.ask = MDF_PRICE_UNDEF;
    if (t.ask == MDF_PRICE_UNDEF) t.ask_size = 0;
    return t;
}

static inline int blp_same(const blp_sides *a, const blp_sides *b) {
    return a->bid == b->bid && a->ask == b->ask && a->bid_size == b->bid_size && a->ask_size == b->ask_size;
}

/* A float as a price; 0 if it is not ordinary. */
static inline int blp_price(double x, int64_t *price) {
    if (!(x > -BLP_EXACT_BELOW && x < BLP_EXACT_BELOW)) return 0;
    *price = (int64_t)rint(x * 1e9);
    return 1;
}

/* A float as a size; 0 if it is not ordinary. */
static inline int blp_size(double x, uint64_t *size) {
    if (!(x >= 0 && x < BLP_SIZE_BELOW)) return 0;
    *size = (uint64_t)x;
    return 1;
}

/* A trade's number in decimal digits; what is none, or does not fit, is 0. Reads up to the end or the limit. */
static inline uint64_t blp_number(const char *text, size_t length) {
    uint64_t n = 0;
    if (!length || length > BLP_MOST_DIGITS) return 0;
    for (size_t i = 0; i < length; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || n > (UINT64_MAX - digit) / 10) return 0;
        n = 10 * n + digit;
    }
    return n;
}

/* Days since 1970 of a date of the Gregorian calendar. */
static inline int64_t blp_days(int year, int month, int day) {
    int64_t y = year - (month <= 2);
    int64_t era = y / 400, of_era = y - era * 400; /* years are positive */
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* A day of a year and a time, so many minutes east of UTC: 0 if it cannot be true, seen at `recv_ns`. */
static inline int blp_stamp(int year, int64_t days, int64_t of_day_ns, int offset, int64_t recv_ns, int64_t *at_ns) {
    if (year < BLP_FIRST_YEAR || year > BLP_LAST_YEAR) return 0;
    int64_t t = days * BLP_DAY_NS + of_day_ns - offset * INT64_C(60000000000);
    if (t <= 0 || t > recv_ns + BLP_DAY_NS / 2) return 0;
    *at_ns = t;
    return 1;
}

/* A time of day: of the day that puts it nearest to `recv_ns`. */
static inline int blp_time_of_day(int64_t of_day_ns, int offset, int64_t recv_ns, int64_t *at_ns) {
    int64_t behind = (recv_ns - of_day_ns + offset * INT64_C(60000000000)) % BLP_DAY_NS;
    if (behind < 0) behind += BLP_DAY_NS;
    if (behind > BLP_DAY_NS / 2) behind -= BLP_DAY_NS;
    if (recv_ns - behind <= 0) return 0;
    *at_ns = recv_ns - behind;
    return 1;
}

/* The time of the first of n fields that tells one. */
BLP_INLINE int blp_first_time(const blp_source *s, int field, int n, int64_t recv_ns, int64_t *at_ns) {
    for (int i = field; i < field + n; i++) {
        int found = s->time(s->of, i, recv_ns, at_ns);
        if (found == BLP_GIVEN || found == BLP_STRANGE) return found;
    }
    return BLP_NULL;
}

enum { BLP_BID_TOLD = 1, BLP_ASK_TOLD = 2, BLP_BOTH = 3 };

/* When the later of the sides was updated. */
BLP_INLINE int blp_quote_time(const blp_source *s, int sides, int64_t recv_ns, int64_t *at_ns) {
    int64_t bid_ns = 0, ask_ns = 0;
    int bid = sides & BLP_BID_TOLD ? blp_first_time(s, BLP_BID_TIMES, 2, recv_ns, &bid_ns) : BLP_NULL;
    int ask = sides & BLP_ASK_TOLD ? blp_first_time(s, BLP_ASK_TIMES, 2, recv_ns, &ask_ns) : BLP_NULL;
    if (bid == BLP_STRANGE || ask == BLP_STRANGE) return BLP_STRANGE;
    *at_ns = bid_ns > ask_ns ? bid_ns : ask_ns; /* none is 0, and no time is before 1970 */
    return bid == BLP_GIVEN || ask == BLP_GIVEN ? BLP_GIVEN : BLP_NULL;
}

/* Take over what the message says of both sides, into `to`: the sides that it tells of, or -1 if it is not ordinary. */
BLP_INLINE int blp_merge(const blp_source *s, blp_sides *to) {
    static const int prices[] = {BLP_BID, BLP_ASK}, sizes[] = {BLP_BID_SIZE, BLP_ASK_SIZE};
    int64_t *price[] = {&to->bid, &to->ask};
    uint64_t *size[] = {&to->bid_size, &to->ask_size};
    int sides = 0;
    for (int i = 0; i < 2; i++) {
        int found = s->price(s->of, prices[i], price[i]);
        if (found == BLP_STRANGE) return -1;
        if (found == BLP_NULL) *price[i] = MDF_PRICE_UNDEF;
        if (found != BLP_ABSENT) sides |= BLP_BID_TOLD << i;
        found = s->size(s->of, sizes[i], size[i]);
        if (found == BLP_STRANGE) return -1;
        if (found == BLP_NULL) *size[i] = 0;
        if (found != BLP_ABSENT) sides |= BLP_BID_TOLD << i;
    }
    return sides;
}

static inline void blp_done(blp_decoder *d, blp_touch *t, int64_t recv_ns) {
    d->messages++;
    d->quick++;
    t->last_ns = d->last_ns = recv_ns;
}

/* Whether the stream is delayed, or not, as before, and may be. It is asked late: where the field stands among others
 * depends on what the message tells, and a processor predicts best what it has just seen. */
BLP_INLINE int blp_as_before(const blp_decoder *d, const blp_touch *t, const blp_source *s) {
    int was_delayed = !!(t->flags & MDF_DELAYED), is_delayed = 0, found = s->flag(s->of, BLP_DELAYED, &is_delayed);
    if (found == BLP_STRANGE || (found == BLP_GIVEN && is_delayed != was_delayed)) return 0;
    return !(was_delayed && d->refuse_delayed);
}

BLP_INLINE int blp_quote(blp_decoder *d, blp_touch *t, const blp_source *s, int64_t recv_ns) {
    blp_sides told = t->told;
    int sides = blp_merge(s, &told);
    if (sides < 0 || !blp_as_before(d, t, s)) return BLP_ODD;
    blp_sides shown = blp_show(told);
    if (blp_same(&shown, &t->shown)) {
        d->skipped++;
    } else {
        int64_t at_ns = recv_ns;
        uint16_t flags = t->flags | MDF_EVENT_END;
        int timed = blp_quote_time(s, sides ? sides : BLP_BOTH, recv_ns, &at_ns);
        if (timed == BLP_STRANGE) return BLP_ODD;
        if (timed != BLP_GIVEN) at_ns = recv_ns, flags |= MDF_BAD_TS;
        else t->stamp_ns = at_ns;
        blp_tell_quote(d->out, at_ns, recv_ns, t->instrument_id, flags, &shown);
        t->shown = shown;
    }
    t->told = told;
    blp_done(d, t, recv_ns);
    return BLP_TAKEN;
}

/* Of the event itself, or else of the state after it. */
BLP_INLINE int blp_trade_values(const blp_source *s, int64_t *price, uint64_t *size, uint64_t *number) {
    int found = s->price(s->of, BLP_TRADE_PRICE, price);
    if (found < BLP_GIVEN) found = s->price(s->of, BLP_LAST_PRICE, price);
    if (found == BLP_STRANGE) return -1;
    if (found != BLP_GIVEN) *price = MDF_PRICE_UNDEF;
    found = s->size(s->of, BLP_TRADE_SIZE, size);
    if (found < BLP_GIVEN) found = s->size(s->of, BLP_LAST_SIZE, size);
    if (found == BLP_STRANGE) return -1;
    if (found != BLP_GIVEN) *size = 0;
    found = s->number(s->of, BLP_TRADE_NUMBER, number);
    if (found == BLP_STRANGE) return -1;
    if (found != BLP_GIVEN) *number = 0;
    return 0;
}

BLP_INLINE int blp_trade(blp_decoder *d, blp_touch *t, int kind, const blp_source *s, int64_t recv_ns) {
    int64_t price, at_ns = recv_ns;
    uint64_t size, number;
    blp_sides told = t->told;
    if (blp_trade_values(s, &price, &size, &number) || blp_merge(s, &told) < 0) return BLP_ODD;
    if (!blp_as_before(d, t, s)) return BLP_ODD;
    blp_sides shown = blp_show(told);
    int changed = !blp_same(&shown, &t->shown);
    /* a cancel says by its number what is void; all else is nothing without a price */
    int tells = price != MDF_PRICE_UNDEF || (kind == MDF_TRADE_CANCEL && number);
    uint16_t flags = t->flags;
    if (tells || changed) {
        int timed = blp_first_time(s, BLP_TRADE_TIMES, BLP_FIELDS - BLP_TRADE_TIMES, recv_ns, &at_ns);
        if (timed == BLP_STRANGE) return BLP_ODD;
        if (timed != BLP_GIVEN) at_ns = recv_ns, flags |= MDF_BAD_TS;
        else t->stamp_ns = at_ns;
    } else {
        d->skipped++;
    }
    if (tells) {
        uint16_t last = changed ? flags : (uint16_t)(flags | MDF_EVENT_END);
        blp_tell_trade(d->out, kind, at_ns, recv_ns, t->instrument_id, last, price, size, number);
    }
    if (changed)
        blp_tell_quote(d->out, at_ns, recv_ns, t->instrument_id, flags | MDF_EVENT_END, &shown);
    t->told = told;
    t->shown = shown;
    blp_done(d, t, recv_ns);
    return BLP_TAKEN;
}

/* One message of `kind` (BLP_QUOTE, or that of a trade's tick; 0: not ordinary): BLP_TAKEN, or BLP_ODD, and then
 * nothing was changed. */
BLP_INLINE int blp_decode(blp_decoder *d, blp_touch *t, int kind, const blp_source *s, int64_t recv_ns) {
    if (!kind || blp_reserve(d->out, BLP_TICKS_PER_MESSAGE)) return BLP_ODD;
    return kind == BLP_QUOTE ? blp_quote(d, t, s, recv_ns) : blp_trade(d, t, kind, s, recv_ns);
}

#endif
