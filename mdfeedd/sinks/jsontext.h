/* Quotes and trades as JSON text, one object each, and around it, where wanted, Redis' PUBLISH.
 *
 * Sans-IO and without memory of its own: ticks in, bytes out. The caller's buffer holds
 * MDF_JSON_LINE_MAX bytes a tick besides the texts that come with its instrument. Prices are quoted
 * decimals, as short as they are exact; times are quoted ISO 8601 with nanoseconds; null: there is none.
 */
#ifndef MDF_JSONTEXT_H
#define MDF_JSONTEXT_H

#include "mdfeedd.h"

#include <stdint.h>
#include <string.h>

enum {
    MDF_JSON_LINE_MAX = 1024, /* the longest object has about 680 bytes without its symbol */
    MDF_JSON_LENGTH_ROOM = 5, /* three digits and a line end */
};

#define MDF_JSON_SECOND INT64_C(1000000000)
#define MDF_JSON_DAY_S INT64_C(86400)

/* What comes with an instrument: bytes before its quotes, before its trades, and its symbol as JSON. */
enum { MDF_JSON_QUOTE_HEAD, MDF_JSON_TRADE_HEAD, MDF_JSON_SYMBOL, MDF_JSON_TEXTS };

typedef struct mdf_json_heads {
    const char *texts;      /* all of them, one behind the other */
    const int64_t *offsets; /* of each: MDF_JSON_TEXTS an instrument, and the end */
    const int64_t *places;  /* of each tick: which instrument */
} mdf_json_heads;

typedef struct mdf_json_date { /* that of the last time written, which is nearly always the next one's */
    int64_t day;
    char text[10];
} mdf_json_date;

#define MDF_JSON_PUT(p, literal) (memcpy((p), (literal), sizeof(literal) - 1), (p) + sizeof(literal) - 1)

static inline char *mdf_json_bytes(char *p, const char *from, size_t n) {
    memcpy(p, from, n);
    return p + n;
}

static inline char *mdf_json_u64(char *p, uint64_t value) {
    char digits[20];
    int at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return mdf_json_bytes(p, digits + at, sizeof digits - (size_t)at);
}

/* Exactly `width` digits. */
static inline char *mdf_json_fixed(char *p, uint64_t value, int width) {
    for (int i = width - 1; i >= 0; i--, value /= 10) p[i] = (char)('0' + value % 10);
    return p + width;
}

static inline char *mdf_json_price(char *p, int64_t price) {
    if (price == MDF_PRICE_UNDEF) return MDF_JSON_PUT(p, "null");
    *p++ = '"';
    if (price < 0) *p++ = '-';
    uint64_t magnitude = price < 0 ? 0 - (uint64_t)price : (uint64_t)price;
    uint64_t fraction = magnitude % UINT64_C(1000000000);
    p = mdf_json_u64(p, magnitude / UINT64_C(1000000000));
    if (fraction) {
        *p++ = '.';
        p = mdf_json_fixed(p, fraction, 9);
        while (p[-1] == '0') p--;
    }
    *p++ = '"';
    return p;
}

/* Year, month and day (proleptic Gregorian) of a day since 1970-01-01; int64 ns reach from 1677 to 2262. */
static inline void mdf_json_civil(mdf_json_date *date, int64_t day) {
    int64_t shifted = day + 719468; /* from 1 March of year 0, in eras of 400 years */
    int64_t era = shifted / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    int64_t month_day = of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    year += era * 400 + (month <= 2);
    char *p = mdf_json_fixed(date->text, (uint64_t)year, 4);
    *p++ = '-';
    p = mdf_json_fixed(p, (uint64_t)month, 2);
    *p++ = '-';
    mdf_json_fixed(p, (uint64_t)month_day, 2);
    date->day = day;
}

static inline char *mdf_json_time(char *p, int64_t ns, mdf_json_date *date) {
    if (ns == MDF_TIME_UNDEF || ns == 0) return MDF_JSON_PUT(p, "null");
    int64_t seconds = ns / MDF_JSON_SECOND, rest = ns % MDF_JSON_SECOND;
    if (rest < 0) seconds--, rest += MDF_JSON_SECOND;
    int64_t day = seconds / MDF_JSON_DAY_S, second = seconds % MDF_JSON_DAY_S;
    if (second < 0) day--, second += MDF_JSON_DAY_S;
    if (day != date->day) mdf_json_civil(date, day);
    *p++ = '"';
    p = mdf_json_bytes(p, date->text, sizeof date->text);
    *p++ = 'T';
    p = mdf_json_fixed(p, (uint64_t)(second / 3600), 2);
    *p++ = ':';
    p = mdf_json_fixed(p, (uint64_t)(second / 60 % 60), 2);
    *p++ = ':';
    p = mdf_json_fixed(p, (uint64_t)(second % 60), 2);
    *p++ = '.';
    p = mdf_json_fixed(p, (uint64_t)rest, 9);
    return MDF_JSON_PUT(p, "Z\"");
}

static inline char *mdf_json_side(char *p, uint8_t side) {
    if (side == 0) return MDF_JSON_PUT(p, "\"none\"");
    if (side == MDF_SIDE_BID) return MDF_JSON_PUT(p, "\"buy\"");
    if (side == MDF_SIDE_ASK) return MDF_JSON_PUT(p, "\"sell\"");
    return mdf_json_u64(p, side);
}

static inline char *mdf_json_flags(char *p, uint16_t flags) {
    static const char *const names[] = {
        "EVENT_END",   "SNAPSHOT", "STALE",   "IMPLIED",        "KERNEL_TS",
        "HARDWARE_TS", "BAD_TS",   "DELAYED", "SIZE_SATURATED", "REPLAYED",
    };
    *p++ = '[';
    char *first = p;
    for (unsigned bit = 0; bit < sizeof names / sizeof *names; bit++) {
        if (!(flags & 1u << bit)) continue;
        if (p != first) *p++ = ',';
        *p++ = '"';
        p = mdf_json_bytes(p, names[bit], strlen(names[bit]));
        *p++ = '"';
    }
    *p++ = ']';
    return p;
}

static inline char *mdf_json_object(char *p, const mdf_tick *t, const char *symbol, size_t n, mdf_json_date *date) {
    switch (t->kind) {
    case MDF_QUOTE: p = MDF_JSON_PUT(p, "{\"kind\":\"QUOTE\",\"symbol\":"); break;
    case MDF_TRADE: p = MDF_JSON_PUT(p, "{\"kind\":\"TRADE\",\"symbol\":"); break;
    case MDF_TRADE_CANCEL: p = MDF_JSON_PUT(p, "{\"kind\":\"TRADE_CANCEL\",\"symbol\":"); break;
    default: p = MDF_JSON_PUT(p, "{\"kind\":\"TRADE_CORRECTION\",\"symbol\":"); break;
    }
    p = mdf_json_bytes(p, symbol, n);
    p = mdf_json_u64(MDF_JSON_PUT(p, ",\"seq\":"), t->seq);
    p = mdf_json_time(MDF_JSON_PUT(p, ",\"ts_event\":"), t->ts_event, date);
    p = mdf_json_time(MDF_JSON_PUT(p, ",\"ts_recv\":"), t->ts_recv, date);
    p = mdf_json_u64(MDF_JSON_PUT(p, ",\"instrument_id\":"), t->instrument_id);
    p = mdf_json_side(MDF_JSON_PUT(p, ",\"side\":"), t->side);
    p = mdf_json_u64(MDF_JSON_PUT(p, ",\"venue_seq\":"), t->venue_seq);
    p = mdf_json_u64(MDF_JSON_PUT(p, ",\"count\":"), t->count);
    if (t->kind == MDF_QUOTE) {
        p = mdf_json_price(MDF_JSON_PUT(p, ",\"bid_price\":"), t->payload.quote.bid_price);
        p = mdf_json_price(MDF_JSON_PUT(p, ",\"ask_price\":"), t->payload.quote.ask_price);
        p = mdf_json_u64(MDF_JSON_PUT(p, ",\"bid_size\":"), t->payload.quote.bid_size);
        p = mdf_json_u64(MDF_JSON_PUT(p, ",\"ask_size\":"), t->payload.quote.ask_size);
    } else {
        p = mdf_json_price(MDF_JSON_PUT(p, ",\"price\":"), t->payload.trade.price);
        p = mdf_json_u64(MDF_JSON_PUT(p, ",\"trade_id\":"), t->payload.trade.trade_id);
        p = mdf_json_u64(MDF_JSON_PUT(p, ",\"size\":"), t->payload.trade.size);
    }
    p = mdf_json_flags(MDF_JSON_PUT(p, ",\"flags\":"), t->flags);
    *p++ = '}';
    return p;
}

/* Ticks from `i` on as lines at `out`, to the first of another kind or to n: returns its index. With `resp` a
 * line is head, "LENGTH\r\n", object, "\r\n"; else head and object. The length of each goes to `lengths`,
 * that of all to `*bytes`.
 */
static inline size_t mdf_json_lines(const mdf_tick *ticks, size_t i, size_t n, const mdf_json_heads *heads,
                                    int resp, char *out, int64_t *lengths, size_t *bytes) {
    mdf_json_date date = {.day = INT64_MIN};
    char *p = out;
    for (; i < n; i++) {
        const mdf_tick *t = &ticks[i];
        if (t->kind < MDF_QUOTE || t->kind > MDF_TRADE_CORRECTION) break;
        const int64_t *offsets = heads->offsets + MDF_JSON_TEXTS * heads->places[i];
        const int which = t->kind == MDF_QUOTE ? MDF_JSON_QUOTE_HEAD : MDF_JSON_TRADE_HEAD;
        const char *symbol = heads->texts + offsets[MDF_JSON_SYMBOL];
        const size_t n_symbol = (size_t)(offsets[MDF_JSON_SYMBOL + 1] - offsets[MDF_JSON_SYMBOL]);
        char *start = p;
        p = mdf_json_bytes(p, heads->texts + offsets[which], (size_t)(offsets[which + 1] - offsets[which]));
        if (resp) {
            char *object = p + MDF_JSON_LENGTH_ROOM; /* where it belongs, if its length has three digits */
            char *end = mdf_json_object(object, t, symbol, n_symbol, &date);
            p = mdf_json_u64(p, (uint64_t)(end - object));
            p = MDF_JSON_PUT(p, "\r\n");
            if (p != object) memmove(p, object, (size_t)(end - object));
            p = MDF_JSON_PUT(p + (end - object), "\r\n");
        } else {
            p = mdf_json_object(p, t, symbol, n_symbol, &date);
        }
        lengths[i] = p - start;
    }
    *bytes = (size_t)(p - out);
    return i;
}

#endif
