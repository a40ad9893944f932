/* Messages of an event of the SDK into ticks, by its C interface, without Python.
 *
 *     event ─► iterator ─► message ─┬─ recap, cid, type: ordinary ─► blp_decode ─► staging
 *                                   └─ else BLP_WALK_ODD: the caller does it, and goes on
 *
 * Nothing is trusted: a pointer may be NULL, a call may fail, a text is read up to a limit, a type is looked at before
 * the value. What is strange makes the message odd, and has changed nothing.
 */
#ifndef MDFEEDD_BLP_WALK_H
#define MDFEEDD_BLP_WALK_H

#include "blp_abi.h"
#include "blp_table.h"

#define BLP_MAX_MESSAGES (1u << 20) /* in an event: an iterator that goes on is broken */
#define BLP_RARE(x) __builtin_expect(!!(x), 0)
#define BLP_BATCH 256               /* ticks that are published at once: they stay in the first-level cache */

enum { BLP_WALK_END, BLP_WALK_ODD, BLP_WALK_FULL, BLP_WALK_ENDLESS };

/* The elements of a message, and the day that was asked for last, which is most often asked for again. */
typedef struct { uint32_t date; int64_t days; } blp_day;
typedef struct { const blp_abi *abi; uint32_t *doubts; const blp_element *elements; blp_day *day; } blp_elements;

/* `index`: messages begun; `last`: elements of the last one that was ordinary, until that is noted.
 *
 * While there are `proofs` to be given, of quotes or of trades, their messages are on trial: decoded into the trial's
 * staging, on a `copy` of the touch, and odd. When the caller has done one, `blp_walk_agrees` says whether both came
 * to the same. `doubts`: of each field, how often it is still asked whether it is an array. That is a matter of the
 * schema, the same in all messages, and costs as much as all else that a field is asked. */
typedef struct {
    const blp_abi *abi;
    uint32_t *doubts;
    const blp_table *table;
    blp_decoder *decoder;
    blp_iterator *iterator;
    const blp_element *last;
    int64_t recv_ns;
    uint32_t index;
    blp_decoder *trial;
    const uint32_t *proofs; /* of quotes, of trades */
    int is_trade;
    const blp_touch *touch; /* of the message on trial; NULL if that was not ordinary */
    blp_touch copy;
    blp_day day;
} blp_walk;


/* A field, of whatever type: BLP_GIVEN, though it may be null. */
BLP_INLINE int blp_look(const blp_elements *e, int field, blp_element **found) {
    *found = NULL;
    if (e->abi->Element_getElement(e->elements, found, NULL, e->abi->names[field])) return BLP_ABSENT;
    if (BLP_RARE(!*found)) return BLP_STRANGE;
    if (BLP_RARE(e->doubts[field])) {
        if (e->abi->Element_isArray(*found)) return BLP_STRANGE;
        e->doubts[field]--;
    }
    return BLP_GIVEN;
}

/* A field, and its type if BLP_GIVEN. */
BLP_INLINE int blp_find(const void *of, int field, blp_element **found, int *type) {
    const blp_elements *e = of;
    int looked = blp_look(e, field, found);
    if (looked != BLP_GIVEN) return looked;
    *type = e->abi->Element_datatype(*found);
    if (BLP_RARE(*type < BLP_BOOL || *type >= BLP_SEQUENCE)) return BLP_STRANGE;
    return BLP_RARE(e->abi->Element_isNullValue(*found, 0)) ? BLP_NULL : BLP_GIVEN;
}

static inline int blp_is_float(int type) { return type == BLP_FLOAT64 || type == BLP_FLOAT32; }
static inline int blp_is_int(int type) { return type == BLP_INT64 || type == BLP_INT32; }

static int blp_abi_price(const void *of, int field, int64_t *price) {
    blp_element *element;
    double x;
    int type, found = blp_find(of, field, &element, &type);
    if (found != BLP_GIVEN) return found;
    if (BLP_RARE(!blp_is_float(type) && !blp_is_int(type))) return BLP_STRANGE;
    if (BLP_RARE(((const blp_elements *)of)->abi->Element_getValueAsFloat64(element, &x, 0))) return BLP_STRANGE;
    return blp_price(x, price) ? BLP_GIVEN : BLP_STRANGE;
}

static int blp_abi_size(const void *of, int field, uint64_t *size) {
    const blp_abi *abi = ((const blp_elements *)of)->abi;
    blp_element *element;
    double x;
    int64_t n;
    int type, found = blp_find(of, field, &element, &type);
    if (found != BLP_GIVEN) return found;
    if (blp_is_float(type)) {
        if (abi->Element_getValueAsFloat64(element, &x, 0)) return BLP_STRANGE;
        return blp_size(x, size) ? BLP_GIVEN : BLP_STRANGE;
    }
    if (BLP_RARE(!blp_is_int(type) || abi->Element_getValueAsInt64(element, &n, 0) || n < 0)) return BLP_STRANGE;
    *size = (uint64_t)n;
    return BLP_GIVEN;
}

static int blp_abi_number(const void *of, int field, uint64_t *number) {
    const blp_abi *abi = ((const blp_elements *)of)->abi;
    blp_element *element;
    const char *text = NULL;
    int64_t n;
    int type, found = blp_find(of, field, &element, &type);
    if (found != BLP_GIVEN) return found;
    if (blp_is_int(type)) {
        if (abi->Element_getValueAsInt64(element, &n, 0)) return BLP_STRANGE;
        *number = n < 0 ? 0 : (uint64_t)n;
        return BLP_GIVEN;
    }
    if (type != BLP_STRING || abi->Element_getValueAsString(element, &text, 0) || !text) return BLP_STRANGE;
    size_t length = 0;
    while (length <= BLP_MOST_DIGITS && text[length]) length++;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] > 0x7F) return BLP_STRANGE; /* whether it is text at all, others must say */
    if (length > BLP_MOST_DIGITS) return BLP_STRANGE;
    *number = blp_number(text, length);
    return BLP_GIVEN;
}

static const uint8_t blp_month_days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

static inline int blp_is_date(const blp_datetime *t) {
    if (t->year < 1 || t->year > 9999 || t->month < 1 || t->month > 12 || t->day < 1) return 0;
    int leap = t->month == 2 && t->year % 4 == 0 && (t->year % 100 != 0 || t->year % 400 == 0);
    return t->day <= blp_month_days[t->month] + leap;
}

/* A datetime as Python would have it, which is to the microsecond. */
static inline int blp_read_datetime(const blp_datetime *t, blp_day *day, int64_t recv_ns, int64_t *at_ns) {
    int parts = t->parts & ~(BLP_HAS_OFFSET | BLP_HAS_FRACTION);
    int fraction = t->milliseconds || t->picoseconds, east = 0;
    if (!t->parts) return BLP_NULL;
    if (parts != BLP_HAS_TIME && parts != (BLP_HAS_TIME | BLP_HAS_DATE)) return BLP_STRANGE;
    if (t->hours > 23 || t->minutes > 59 || t->seconds > 59 || t->milliseconds > 999) return BLP_STRANGE;
    if (t->picoseconds > 999999999 || (fraction && !(t->parts & BLP_HAS_FRACTION))) return BLP_STRANGE;
    if (t->parts & BLP_HAS_OFFSET) east = t->offset_minutes;
    if (east <= -1440 || east >= 1440) return BLP_STRANGE;
    int64_t of_day_ns = ((t->hours * 60 + t->minutes) * 60 + t->seconds) * INT64_C(1000000000) +
                        t->milliseconds * INT64_C(1000000) + t->picoseconds / 1000000 * INT64_C(1000);
    if (parts == BLP_HAS_TIME) return blp_time_of_day(of_day_ns, east, recv_ns, at_ns) ? BLP_GIVEN : BLP_NULL;
    uint32_t date = (uint32_t)t->year << 16 | (uint32_t)t->month << 8 | t->day; /* never 0 if it is one */
    if (date != day->date) {
        if (!blp_is_date(t)) return BLP_STRANGE;
        *day = (blp_day){date, blp_days(t->year, t->month, t->day)};
    }
    return blp_stamp(t->year, day->days, of_day_ns, east, recv_ns, at_ns) ? BLP_GIVEN : BLP_NULL;
}

static int blp_abi_time(const void *of, int field, int64_t recv_ns, int64_t *at_ns) {
    blp_element *element;
    blp_datetime t;
    int type, found = blp_find(of, field, &element, &type);
    if (found != BLP_GIVEN) return found;
    if (BLP_RARE(type != BLP_DATETIME && type != BLP_TIME))
        return type == BLP_STRING || type == BLP_ENUMERATION || blp_is_int(type) || blp_is_float(type) ? BLP_NULL
                                                                                                       : BLP_STRANGE;
    memset(&t, 0, sizeof t);
    if (((const blp_elements *)of)->abi->Element_getValueAsHighPrecisionDatetime(element, &t, 0))
        return BLP_STRANGE;
    return blp_read_datetime(&t, ((const blp_elements *)of)->day, recv_ns, at_ns);
}

/* A field as text, else NULL. What it is compared with bounds how far it is read; those are words, so that it is no
 * other type that reads like this, and null neither. */
static inline const char *blp_text(const blp_elements *e, int field) {
    blp_element *element;
    const char *text = NULL;
    if (blp_look(e, field, &element) != BLP_GIVEN) return NULL;
    return e->abi->Element_getValueAsString(element, &text, 0) ? NULL : text;
}

#define BLP_MAX_LETTERS 7
#define BLP_LETTERS(a, b, c, d, e, f, g) \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 | \
     (uint64_t)(f) << 40 | (uint64_t)(g) << 48)
static const uint64_t BLP_WORD_QUOTE = BLP_LETTERS('Q', 'U', 'O', 'T', 'E', 0, 0);
static const uint64_t BLP_WORD_TRADE = BLP_LETTERS('T', 'R', 'A', 'D', 'E', 0, 0);
static const uint64_t BLP_WORD_BID = BLP_LETTERS('B', 'I', 'D', 0, 0, 0, 0);
static const uint64_t BLP_WORD_ASK = BLP_LETTERS('A', 'S', 'K', 0, 0, 0, 0);
static const uint64_t BLP_WORD_MID = BLP_LETTERS('M', 'I', 'D', 0, 0, 0, 0);
static const uint64_t BLP_WORD_PAIRED = BLP_LETTERS('P', 'A', 'I', 'R', 'E', 'D', 0);
static const uint64_t BLP_WORD_NEW = BLP_LETTERS('N', 'E', 'W', 0, 0, 0, 0);
static const uint64_t BLP_WORD_CANCEL = BLP_LETTERS('C', 'A', 'N', 'C', 'E', 'L', 0);
static const uint64_t BLP_WORD_CORRECT = BLP_LETTERS('C', 'O', 'R', 'R', 'E', 'C', 'T');

/* A text as a number; 0 if it has no letters, or more than any word. */
static inline uint64_t blp_word(const char *text) {
    uint64_t word = 0;
    int n = 0;
    while (n <= BLP_MAX_LETTERS && text[n]) word |= (uint64_t)(uint8_t)text[n] << (8 * n), n++;
    return n > BLP_MAX_LETTERS ? 0 : word;
}

/* The kind of an ordinary message, for `blp_decode`; else 0. Kinds come in any order: it has few branches. */
static inline int blp_abi_kind(const blp_elements *e) {
    const char *type = blp_text(e, BLP_TYPE), *sub = blp_text(e, BLP_SUBTYPE);
    if (!type || !sub) return 0;
    uint64_t what = blp_word(type), of = blp_word(sub);
    int quotes = (of == BLP_WORD_BID) | (of == BLP_WORD_ASK) | (of == BLP_WORD_PAIRED) | (of == BLP_WORD_MID);
    int trades = (of == BLP_WORD_NEW) * MDF_TRADE | (of == BLP_WORD_CANCEL) * MDF_TRADE_CANCEL |
                 (of == BLP_WORD_CORRECT) * MDF_TRADE_CORRECTION;
    return (what == BLP_WORD_QUOTE) * quotes * BLP_QUOTE | (what == BLP_WORD_TRADE) * trades;
}

/* A null that reads as true or false, which libraries do not do, makes at worst an odd message. */
static int blp_abi_flag(const void *of, int field, int *value) {
    const blp_elements *e = of;
    blp_element *element;
    int looked = blp_look(e, field, &element);
    if (looked != BLP_GIVEN) return looked;
    if (BLP_RARE(e->abi->Element_datatype(element) != BLP_BOOL)) return BLP_STRANGE;
    if (BLP_RARE(e->abi->Element_getValueAsBool(element, value, 0)))
        return e->abi->Element_isNullValue(element, 0) ? BLP_NULL : BLP_STRANGE;
    *value = !!*value;
    return BLP_GIVEN;
}

static inline int blp_walk_one(blp_walk *w, const blp_message *message) {
    const blp_abi *abi = w->abi;
    if (abi->Message_recapType && abi->Message_recapType(message)) return BLP_ODD;
    blp_cid cid = abi->Message_correlationId(message, 0);
    if (BLP_CID_TYPE(cid) != BLP_CID_INT) return BLP_ODD;
    blp_touch *touch = blp_table_get(w->table, cid.v[0]);
    blp_elements e = {abi, w->doubts, abi->Message_elements(message), &w->day};
    if (!touch || !e.elements) return BLP_ODD;
    int kind = blp_abi_kind(&e);
    if (!kind) return BLP_ODD;
    blp_source source = {&e, blp_abi_price, blp_abi_size, blp_abi_number, blp_abi_time, blp_abi_flag};
    w->is_trade = kind != BLP_QUOTE;
    int on_trial = w->proofs[w->is_trade] != 0;
    blp_decoder *decoder = w->decoder;
    blp_touch *state = touch;
    if (on_trial) {
        w->copy = *touch;
        w->trial->out->n = 0;
        decoder = w->trial;
        state = &w->copy;
    }
    int done = blp_decode(decoder, state, kind, &source, w->recv_ns);
    if (on_trial && done == BLP_TAKEN) w->touch = touch;
    if (on_trial || done == BLP_ODD) return BLP_ODD;
    w->last = e.elements;
    return BLP_TAKEN;
}

/* Messages that the library finds in an event, each with its elements; -1 if it cannot go through it. */
static inline int64_t blp_count(const blp_abi *abi, const void *event) {
    blp_iterator *iterator = abi->MessageIterator_create(event);
    if (!iterator) return -1;
    int64_t n = 0;
    blp_message *message = NULL;
    while (n >= 0 && abi->MessageIterator_next(iterator, &message) == 0) {
        int good = n < BLP_MAX_MESSAGES && message && abi->Message_elements(message);
        n = good ? n + 1 : -1;
        message = NULL;
    }
    abi->MessageIterator_destroy(iterator);
    return n;
}

/* Begin an event: 0, or -1 if the library does not iterate over it, and then there is nothing to end. */
static inline int blp_walk_begin(blp_walk *w, const void *event) {
    w->iterator = w->abi->MessageIterator_create(event);
    return w->iterator ? 0 : -1;
}

static inline void blp_walk_end(blp_walk *w) {
    w->abi->MessageIterator_destroy(w->iterator);
}

/* Whether the message on trial gave the ticks that the decoder's staging has got since it had `before`, and the
 * same touch. The trial's staging is emptied. */
static inline int blp_walk_agrees(blp_walk *w, size_t before) {
    const blp_staging *other = w->decoder->out;
    blp_staging *own = w->trial->out;
    size_t n = own->n;
    own->n = 0;
    if (other->n < before || other->n - before != n) return 0;
    if (n && memcmp(own->ticks, other->ticks + before, n * sizeof *own->ticks)) return 0;
    const blp_touch *a = w->touch, *b = &w->copy;
    return blp_same(&a->told, &b->told) && blp_same(&a->shown, &b->shown) && a->flags == b->flags &&
           a->last_ns == b->last_ns && a->stamp_ns == b->stamp_ns && a->imaging == b->imaging;
}

/* Go on: to the end, to a message that is not ordinary (the last begun), or to a batch of ticks. */
static int blp_walk_on(blp_walk *w) {
    for (;;) {
        blp_message *message = NULL;
        if (w->index == BLP_MAX_MESSAGES) return BLP_WALK_ENDLESS;
        if (w->abi->MessageIterator_next(w->iterator, &message)) return BLP_WALK_END;
        w->index++;
        w->touch = NULL;
        if (!message || blp_walk_one(w, message) == BLP_ODD) return BLP_WALK_ODD;
        if (w->decoder->out->n >= BLP_BATCH) return BLP_WALK_FULL;
    }
}

/* Note when the last ordinary message was sent; 0 if it does not say so. Whether there was one since the last time. */
static inline int blp_walk_note(blp_walk *w) {
    blp_elements e = {w->abi, w->doubts, w->last, &w->day};
    int64_t at_ns = 0;
    if (!w->last) return 0;
    w->decoder->sent_ns = blp_abi_time(&e, BLP_SENT, w->recv_ns, &at_ns) == BLP_GIVEN ? at_ns : 0;
    w->last = NULL;
    return 1;
}

#endif
