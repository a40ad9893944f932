/* What reading market data by the C interface of Bloomberg's library takes at least: fields into slots of 64 bytes.
 * No state, no flags, no doubt. Linked with a double of the library; see bloomberg.py. */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint32_t flags; uint64_t v[6]; } cid;
typedef struct {
    uint8_t parts, hours, minutes, seconds;
    uint16_t milliseconds;
    uint8_t month, day;
    uint16_t year;
    int16_t offset;
    uint32_t picoseconds;
} stamp;
typedef struct { int64_t seq, at_ns, recv_ns, cid, price, size, number, kind; } slot;
extern void *blpapi_Name_create(const char *);
extern void *blpapi_MessageIterator_create(const void *);
extern int blpapi_MessageIterator_next(void *, void **);
extern void blpapi_MessageIterator_destroy(void *);
extern void *blpapi_Message_elements(const void *);
extern cid blpapi_Message_correlationId(const void *, size_t);
extern int blpapi_Message_recapType(const void *);
extern int blpapi_Element_getElement(const void *, void **, const char *, const void *);
extern int blpapi_Element_isNullValue(const void *, size_t);
extern int blpapi_Element_getValueAsFloat64(const void *, double *, size_t);
extern int blpapi_Element_getValueAsInt64(const void *, int64_t *, size_t);
extern int blpapi_Element_getValueAsString(const void *, const char **, size_t);
extern int blpapi_Element_getValueAsHighPrecisionDatetime(const void *, stamp *, size_t);

enum { TYPE, SUBTYPE, BID, ASK, BID_SIZE, ASK_SIZE, BID_TIME, ASK_TIME, PRICE, SIZE, NUMBER, TRADE_TIME, NAMES };
static const char *const texts[NAMES] = {
    "MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE", "BID", "ASK", "BID_SIZE", "ASK_SIZE", "EVT_QUOTE_BID_TIME_RT",
    "EVT_QUOTE_ASK_TIME_RT", "EVT_TRADE_PRICE_RT", "EVT_TRADE_SIZE_RT", "EVT_TRADE_IDENTIFIER_RT",
    "EVT_TRADE_EXECUTION_TIME_RT",
};
static void *names[NAMES];

static void *find(const void *of, int field) {
    void *e = NULL;
    return blpapi_Element_getElement(of, &e, NULL, names[field]) || blpapi_Element_isNullValue(e, 0) ? NULL : e;
}
static int64_t price(const void *of, int field) {
    double x = NAN;
    void *e = find(of, field);
    return e && !blpapi_Element_getValueAsFloat64(e, &x, 0) ? (int64_t)rint(x * 1e9) : INT64_MAX;
}
static int64_t whole(const void *of, int field) {
    int64_t n = 0;
    void *e = find(of, field);
    if (e) blpapi_Element_getValueAsInt64(e, &n, 0);
    return n;
}
static const char *text(const void *of, int field) {
    const char *t = "";
    void *e = find(of, field);
    if (e) blpapi_Element_getValueAsString(e, &t, 0);
    return t;
}
static int64_t time_ns(const void *of, int field) {
    stamp t = {0};
    void *e = find(of, field);
    if (!e || blpapi_Element_getValueAsHighPrecisionDatetime(e, &t, 0)) return 0;
    int64_t y = t.year - (t.month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t days = (153 * (t.month + (t.month > 2 ? -3 : 9)) + 2) / 5 + t.day - 1 + of_era * 365 + of_era / 4 -
                   of_era / 100 + era * 146097 - 719468;
    return ((((days * 24 + t.hours) * 60 + t.minutes) * 60 + t.seconds) * 1000 + t.milliseconds) * 1000000 +
           t.picoseconds / 1000;
}

/* Read n events into a ring of slots (a power of two); how many messages there were. */
long bare(void *const *events, long n, slot *slots, uint64_t mask) {
    uint64_t seq = 0;
    for (int i = 0; i < NAMES; i++) names[i] = blpapi_Name_create(texts[i]);
    for (long i = 0; i < n; i++) {
        void *message, *it = blpapi_MessageIterator_create(events[i]);
        while (!blpapi_MessageIterator_next(it, &message)) {
            void *of = blpapi_Message_elements(message);
            slot *s = &slots[seq & mask];
            const char *subtype = text(of, SUBTYPE);
            s->recv_ns = i;
            s->cid = (int64_t)blpapi_Message_correlationId(message, 0).v[0] + blpapi_Message_recapType(message);
            if (!strcmp(text(of, TYPE), "TRADE")) {
                s->price = price(of, PRICE), s->size = whole(of, SIZE), s->at_ns = time_ns(of, TRADE_TIME);
                s->kind = *subtype;
                s->number = 0;
                for (const char *c = text(of, NUMBER); *c; c++) s->number = 10 * s->number + (*c - '0');
            } else {
                int is_bid = *subtype == 'B';
                s->price = price(of, is_bid ? BID : ASK), s->size = whole(of, is_bid ? BID_SIZE : ASK_SIZE);
                s->at_ns = time_ns(of, is_bid ? BID_TIME : ASK_TIME);
                s->kind = is_bid;
            }
            __atomic_store_n(&s->seq, (int64_t)++seq, __ATOMIC_RELEASE);
        }
        blpapi_MessageIterator_destroy(it);
    }
    return (long)seq;
}
