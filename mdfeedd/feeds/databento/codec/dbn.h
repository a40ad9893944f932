/* dbn.h: a stream of Databento Binary Encoding, versions 1 to 3, into ticks and bars. C11, no I/O, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bytes go in, cut anywhere; ticks and bars come out. dbn_decode() stops when it needs its caller:
 *
 *     PREFIX --8 bytes--> METADATA --all--> RECORDS <---------------------------+
 *        |                    |   DBN_METADATA   |  DBN_NEED_INPUT: give more    |
 *        |                    |                  |  DBN_OUTPUT_FULL: take some   |
 *        v                    v                  |  DBN_NEED_INSTRUMENT: dbn_map |
 *      FAILED <---------------+------------------+  DBN_COLD: look at it, go on -+
 *
 *   DBN_METADATA         s->metadata and s->metadata_length until the next call
 *   DBN_NEED_INSTRUMENT  s->need_publisher, s->need_instrument, s->need_time have no entry for that time: call
 *                        dbn_map() and go on. So names are known before the first tick of an instrument.
 *   DBN_COLD             s->cold says why, s->cold_record and s->cold_length what, until the next call: mappings,
 *                        definitions, system and error messages, the first record of each unknown or short type,
 *                        and the next record of a type in s->hold, which is over with that
 *   below zero           broken for good, at byte s->offset of the stream; every later call says the same
 *
 * Entries are valid from one time to another, because Databento's instrument ids are unique for one day only.
 * Nothing is allocated per tick; tables and books grow by doubling, up to named limits.
 */
#ifndef MDFEEDD_DBN_H
#define MDFEEDD_DBN_H
#include "mdfeedd.h"
#include "dbn_book.h"
#include "dbn_records.h"

#define DBN_MAX_VERSION 3
#define DBN_PREFIX_BYTES 8u
#define DBN_MIN_METADATA_BYTES 104u
#define DBN_MAX_METADATA_BYTES (64u << 20)
#define DBN_MAX_INSTRUMENTS (1u << 22)
#define DBN_FIRST_INSTRUMENTS 64u
#define DBN_TICKS_PER_RECORD 4u /* at most: mbo may end a snapshot, trade, end an event, and have recovered */

enum dbn_status_code {
    DBN_NEED_INPUT = 0,
    DBN_OUTPUT_FULL = 1,
    DBN_NEED_INSTRUMENT = 2,
    DBN_METADATA = 3,
    DBN_COLD = 4,
    DBN_E_MAGIC = -1,          /* not DBN */
    DBN_E_DBZ = -2,            /* the legacy container */
    DBN_E_ZSTD = -3,           /* compressed: decompress first */
    DBN_E_VERSION = -4,        /* s->version is not known */
    DBN_E_METADATA_SHORT = -5, /* metadata too short for its fixed part */
    DBN_E_METADATA_LIMIT = -6, /* metadata above DBN_MAX_METADATA_BYTES */
    DBN_E_LENGTH = -7,         /* a record shorter than its header: no way to find the next one */
    DBN_E_MEMORY = -8,
};

enum dbn_stage { DBN_PREFIX, DBN_IN_METADATA, DBN_TOLD_METADATA, DBN_RECORDS, DBN_FAILED };

enum dbn_cold {
    DBN_COLD_DEFINITION = 1, /* the DEFINITION tick follows when decoding goes on */
    DBN_COLD_MAPPING,
    DBN_COLD_SYSTEM,
    DBN_COLD_ERROR,
    DBN_COLD_UNKNOWN, /* first record of an unknown type */
    DBN_COLD_SHORT,   /* first record of a type that is shorter than its struct */
    DBN_COLD_BOOK,    /* an order book did not fit; once per stream */
    DBN_COLD_PRESENT, /* the first record of its type that is not of the past ends a replay */
    DBN_COLD_HELD,    /* a record of a type that was held comes next */
};

/* One cache line: a vendor instrument of one publisher, our id for it, and its last touch. */
typedef struct dbn_instrument {
    uint64_t key; /* DBN_USED | flags | instrument_id << 16 | publisher_id, as in a record's header */
    int64_t from_ns, until_ns;
    uint32_t instrument_id, book; /* book number + 1 */
    dbn_touch touch;              /* of the last mbp-10 record told; a book of orders has its own */
} dbn_instrument;
_Static_assert(sizeof(dbn_instrument) == 64, "one cache line");

#define DBN_KEY_BITS ((UINT64_C(1) << 48) - 1)
#define DBN_USED (UINT64_C(1) << 63)
#define DBN_UNMAPPED (UINT64_C(1) << 62)  /* has no symbol */
#define DBN_TOUCHED (UINT64_C(1) << 61)   /* its touch is known */
#define DBN_MATCH (DBN_USED | DBN_KEY_BITS)

typedef struct dbn_counters {
    uint64_t records, skipped, unknown, malformed, unmapped, known, quotes, trades, others, bars;
} dbn_counters;

struct dbn_resume;

/* The payload of a GAP and of its RECOVERED. */
typedef struct dbn_hole {
    uint64_t first_missing, last_missing;
    uint32_t reason, line;
} dbn_hole;

typedef struct dbn_decoder {
    /* options, set after dbn_open */
    int64_t arrival_ns;   /* ts_recv of the ticks; MDF_TIME_UNDEF: the record's own, flagged MDF_REPLAYED */
    uint16_t schema;      /* enum dbn_schema, from the metadata unless there are none */
    uint8_t version, ts_out;
    uint8_t accept_newer; /* a version above DBN_MAX_VERSION is read as that one */
    int recovering;       /* the books of orders were lost: each is told RECOVERED when it is right again, with ... */
    dbn_hole hole;  /* ... these bounds */
    struct dbn_resume *resume; /* NULL: positions are not kept, and no record is known already */
    uint8_t hold[256]; /* by type: the caller must know before a record of it is decoded; once */

    uint64_t offset; /* bytes of the stream before the next record */
    dbn_counters count;
    int stage, error;
    int64_t clock_ns; /* index time of the last record that has one */
    int64_t type_ns[256]; /* the same by type */

    /* what the caller is asked for */
    uint32_t need_instrument;
    uint16_t need_publisher;
    int64_t need_time;
    int cold, cold_seen;
    const uint8_t *cold_record;
    uint32_t cold_length;
    uint8_t *metadata;
    uint32_t metadata_length, metadata_have, metadata_capacity;

    dbn_instrument *instrument, *last;
    dbn_instrument nobody;
    uint32_t instruments, slots;
    dbn_books books;
    int books_told;

    uint8_t told_unknown[256], told_short[256];
    uint32_t carried;
    uint8_t carry[DBN_MAX_RECORD_BYTES + 4];
} dbn_decoder;

typedef struct dbn_output {
    mdf_tick *ticks;
    size_t ticks_capacity, ticks_n;
    mdf_bar *bars;
    size_t bars_capacity, bars_n;
} dbn_output;

/* version 0: the stream begins with metadata; else it is a fragment of records of that version. 0, or DBN_E_MEMORY. */
static inline int dbn_open(dbn_decoder *s, unsigned version, int ts_out) {
    memset(s, 0, sizeof *s);
    s->arrival_ns = MDF_TIME_UNDEF;
    s->clock_ns = MDF_TIME_UNDEF;
    for (int type = 0; type < 256; type++) s->type_ns[type] = MDF_TIME_UNDEF;
    s->schema = DBN_SCHEMA_NONE;
    s->version = (uint8_t)version;
    s->ts_out = ts_out != 0;
    s->stage = version ? DBN_RECORDS : DBN_PREFIX;
    s->last = &s->nobody;
    s->books.max_orders = DBN_MAX_ORDERS;
    s->slots = DBN_FIRST_INSTRUMENTS;
    s->instrument = (dbn_instrument *)calloc(s->slots, sizeof *s->instrument);
    return s->instrument ? 0 : DBN_E_MEMORY;
}

static inline void dbn_close(dbn_decoder *s) {
    free(s->instrument);
    free(s->metadata);
    dbn_books_free(&s->books);
    memset(s, 0, sizeof *s);
    s->stage = DBN_FAILED;
    s->error = DBN_E_MEMORY;
}

/* ---------------------------------------------------------------------------------------- instruments */

static inline uint64_t dbn_key(const uint8_t *record) {
    uint64_t head;
    memcpy(&head, record, 8);
    return head >> 16 | DBN_USED;
}

static inline dbn_instrument *dbn_slot(dbn_instrument *table, uint32_t slots, uint64_t key) {
    uint64_t x = key * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t i = (uint32_t)(x >> 32) & (slots - 1);
    while (table[i].key && ((table[i].key ^ key) & DBN_MATCH)) i = (i + 1) & (slots - 1);
    return &table[i];
}

static inline int dbn_instruments_grow(dbn_decoder *s) {
    uint32_t slots = 2 * s->slots;
    if (s->instruments >= DBN_MAX_INSTRUMENTS) return DBN_E_MEMORY;
    dbn_instrument *table = (dbn_instrument *)calloc(slots, sizeof *table);
    if (!table) return DBN_E_MEMORY;
    for (uint32_t i = 0; i < s->slots; i++)
        if (s->instrument[i].key) *dbn_slot(table, slots, s->instrument[i].key & DBN_MATCH) = s->instrument[i];
    free(s->instrument);
    s->instrument = table;
    s->slots = slots;
    s->last = &s->nobody;
    return 0;
}

/* A vendor instrument is ours from one time (inclusive) to another (exclusive). Its touch is forgotten if it was
 * another one of ours before. The id 0: its records are passed over. 0, or DBN_E_MEMORY. */
static inline int dbn_map(dbn_decoder *s, uint16_t publisher, uint32_t vendor, uint32_t instrument_id, int64_t from_ns,
                          int64_t until_ns, int unmapped) {
    uint64_t key = DBN_USED | (uint64_t)vendor << 16 | publisher;
    if (s->instruments * 2 >= s->slots && dbn_instruments_grow(s)) return DBN_E_MEMORY;
    dbn_instrument *e = dbn_slot(s->instrument, s->slots, key);
    if (!e->key || e->instrument_id != instrument_id) {
        s->instruments += !e->key;
        e->key = key;
        if (e->book) { /* the number stays, the orders of the other instrument go */
            dbn_book *book = &s->books.book[e->book - 1];
            dbn_side_clear(&s->books, &book->side[0]);
            dbn_side_clear(&s->books, &book->side[1]);
            book->sound = book->in_snapshot = 0;
            book->told = dbn_no_touch;
        }
    }
    e->key = unmapped ? e->key | DBN_UNMAPPED : e->key & ~DBN_UNMAPPED;
    e->instrument_id = instrument_id;
    e->from_ns = from_ns;
    e->until_ns = until_ns;
    return 0;
}

/* The next record of this vendor instrument, of any publisher, asks again. */
static inline void dbn_forget(dbn_decoder *s, uint32_t vendor) {
    for (uint32_t i = 0; i < s->slots; i++)
        if (s->instrument[i].key && (uint32_t)(s->instrument[i].key >> 16) == vendor)
            s->instrument[i].from_ns = s->instrument[i].until_ns = 0;
}

static inline int64_t dbn_time(uint64_t t) { return (int64_t)t < 0 ? MDF_TIME_UNDEF : (int64_t)t; }

/* The entry of the record's instrument at the record's index time, or NULL: the caller must map it. */
static inline dbn_instrument *dbn_find(dbn_decoder *s, const uint8_t *record, uint64_t index_time) {
    uint64_t key = dbn_key(record);
    dbn_instrument *e = s->last;
    if ((e->key ^ key) & DBN_MATCH) e = dbn_slot(s->instrument, s->slots, key);
    int64_t t = (int64_t)index_time < 0 ? s->clock_ns : (int64_t)index_time;
    if (__builtin_expect(!e->key || t < e->from_ns || t >= e->until_ns, 0)) {
        s->need_instrument = (uint32_t)(key >> 16);
        s->need_publisher = (uint16_t)key;
        s->need_time = t;
        return NULL;
    }
    s->clock_ns = s->type_ns[record[1]] = t;
    s->last = e;
    return e;
}

#include "dbn_resume.h"
#include "dbn_ticks.h"
#include "dbn_mbo.h"
#include "dbn_run.h"

/* --------------------------------------------------------------------------------------------- stream */

/* Bytes that a record of this type must have without ts_out; 0: unknown type. */
static inline uint32_t dbn_struct_bytes(unsigned rtype, unsigned version, unsigned schema) {
    switch (rtype) {
    case DBN_TRADE: return sizeof(dbn_trade);
    case DBN_MBP_1: case DBN_CMBP_1: case DBN_TCBBO: return sizeof(dbn_mbp_1);
    case DBN_CBBO_1S: case DBN_CBBO_1M: case DBN_BBO_1S: case DBN_BBO_1M: return sizeof(dbn_mbp_1);
    case DBN_MBP_10: return sizeof(dbn_mbp_10);
    case DBN_MBO: return sizeof(dbn_mbo);
    case DBN_OHLCV_OLD: return dbn_interval_s(rtype, schema) ? sizeof(dbn_ohlcv) : 0;
    case DBN_OHLCV_1S: case DBN_OHLCV_1M: case DBN_OHLCV_1H: case DBN_OHLCV_1D: case DBN_OHLCV_EOD: return sizeof(dbn_ohlcv);
    case DBN_STATUS: return sizeof(dbn_status);
    case DBN_IMBALANCE: return sizeof(dbn_imbalance);
    case DBN_STATISTICS: return version < 3 ? sizeof(dbn_statistics_v1) : sizeof(dbn_statistics_v3);
    case DBN_DEFINITION: return version == 1 ? 360 : version == 2 ? 400 : 520;
    case DBN_ERROR: case DBN_SYSTEM: return version == 1 ? 80 : 320;
    case DBN_MAPPING: return version == 1 ? 80 : 176;
    default: return 0;
    }
}

/* Show the record to the caller, once. */
static inline int dbn_show(dbn_decoder *s, int cold, const uint8_t *p, uint32_t length) {
    if (s->cold_seen) {
        s->cold_seen = 0;
        return 0;
    }
    s->cold = cold;
    s->cold_record = p;
    s->cold_length = length;
    s->cold_seen = 1;
    return DBN_COLD;
}

/* Must the caller know before this record? */
static inline int dbn_is_held(dbn_decoder *s, const uint8_t *p, uint32_t body) {
    if (__builtin_expect(!s->hold[p[1]], 1)) return 0;
    s->hold[p[1]] = 0;
    s->cold = DBN_COLD_HELD;
    s->cold_record = p;
    s->cold_length = body;
    return 1;
}

static inline void dbn_ticks_of(dbn_decoder *s, const uint8_t *p, dbn_output *out, dbn_instrument *e) {
    switch (p[1]) {
    case DBN_MBP_1:
        if (s->schema == DBN_SCHEMA_TBBO) dbn_trade_with_touch(s, out, e, (const dbn_mbp_1 *)p, 1);
        else dbn_book_update(s, out, e, (const dbn_mbp_1 *)p, 1, 0);
        return;
    case DBN_TRADE: {
        const dbn_trade *r = (const dbn_trade *)p;
        if (r->action == 'T') dbn_trade_tick(s, out, e, r, r->sequence);
        else if (r->action == 'R') dbn_clear_tick(s, out, e, r, r->sequence);
        else s->count.skipped++;
        return;
    }
    case DBN_MBP_10: dbn_book_update(s, out, e, (const dbn_mbp_1 *)p, 1, 1); return;
    case DBN_CMBP_1: dbn_book_update(s, out, e, (const dbn_mbp_1 *)p, 0, 0); return;
    case DBN_TCBBO: dbn_trade_with_touch(s, out, e, (const dbn_mbp_1 *)p, 0); return;
    case DBN_BBO_1S: case DBN_BBO_1M: dbn_interval_touch(s, out, e, (const dbn_mbp_1 *)p, 1); return;
    case DBN_CBBO_1S: case DBN_CBBO_1M: dbn_interval_touch(s, out, e, (const dbn_mbp_1 *)p, 0); return;
    case DBN_MBO: dbn_mbo_ticks(s, out, e, (const dbn_mbo *)p); return;
    case DBN_STATUS: dbn_status_tick(s, out, e, (const dbn_status *)p); return;
    case DBN_IMBALANCE: dbn_imbalance_tick(s, out, e, (const dbn_imbalance *)p); return;
    case DBN_STATISTICS: dbn_statistic_tick(s, out, e, p); return;
    case DBN_DEFINITION: dbn_definition_tick(s, out, e, p); return;
    default: dbn_bar(s, out, e, (const dbn_ohlcv *)p); return;
    }
}

/* The time by which Databento indexes the record. */
static inline uint64_t dbn_index_time(const uint8_t *p) {
    switch (p[1]) {
    case DBN_MBO: return ((const dbn_mbo *)p)->ts_recv;
    case DBN_STATUS: case DBN_STATISTICS: case DBN_IMBALANCE: case DBN_DEFINITION: return ((const dbn_status *)p)->ts_recv;
    case DBN_OHLCV_OLD: case DBN_OHLCV_1S: case DBN_OHLCV_1M: case DBN_OHLCV_1H: case DBN_OHLCV_1D: case DBN_OHLCV_EOD:
        return ((const dbn_ohlcv *)p)->hd.ts_event;
    default: return ((const dbn_trade *)p)->ts_recv;
    }
}

/* A record that was published before the replay that brings it again. What an mbp-10 told is told no more. */
static inline void dbn_leave_out(dbn_decoder *s, dbn_instrument *e, const uint8_t *p) {
    if (p[1] == DBN_MBP_10) dbn_touch_moved(e, &((const dbn_mbp_1 *)p)->level);
    s->resume->known++;
    s->count.known++;
}

/* A record of an instrument that has no id of ours: another shard's, or there was no room and the caller has been
 * told. It makes no tick. 0: done with it; DBN_COLD: as in dbn_make(). */
static inline int dbn_pass_over(dbn_decoder *s, const uint8_t *p, uint32_t body, uint64_t index_time) {
    if (s->resume && dbn_resume_pass(s, p, body, (int64_t)index_time)) {
        s->cold = DBN_COLD_PRESENT;
        s->cold_record = p;
        s->cold_length = body;
        return DBN_COLD;
    }
    s->count.skipped++;
    return 0;
}

/* The ticks of one record. 0: done with it; DBN_COLD: the caller must know first that the replay ends before it. */
static inline int dbn_make(dbn_decoder *s, const uint8_t *p, uint32_t body, uint64_t index_time, dbn_output *out,
                           dbn_instrument *e) {
    dbn_resume *r = s->resume;
    size_t ticks = out->ticks_n, bars = out->bars_n;
    if (r) {
        uint32_t whole = dbn_struct_bytes(p[1], s->version, s->schema);
        if (body > whole) body = whole; /* what a newer version adds does not make it another record */
    }
    if (!e->instrument_id) return dbn_pass_over(s, p, body, index_time);
    if (r) {
        int what = dbn_resume_before(s, p, body, (int64_t)index_time);
        if (what == 1) {
            dbn_leave_out(s, e, p);
            return 0;
        }
        if (what == 2) {
            s->cold = DBN_COLD_PRESENT;
            s->cold_record = p;
            s->cold_length = body;
            return DBN_COLD;
        }
    }
    s->count.unmapped += e->key >> 62 & 1;
    dbn_ticks_of(s, p, out, e);
    if (!r) return 0;
    if (r->replaying[p[1]])
        for (size_t i = ticks; i < out->ticks_n; i++) out->ticks[i].flags |= MDF_REPLAYED;
    out->ticks_n = ticks + dbn_resume_after(s, out->ticks + ticks, out->ticks_n - ticks, out->bars_n - bars);
    return 0;
}

/* Messages to the caller, and what cannot be used. 0: done with it; else a status to return. */
static inline int dbn_cold(dbn_decoder *s, const uint8_t *p, uint32_t length, uint32_t wanted) {
    unsigned rtype = p[1];
    int status = 0;
    if (!wanted) {
        if (!s->told_unknown[rtype] || s->cold_seen) status = dbn_show(s, DBN_COLD_UNKNOWN, p, length);
        s->told_unknown[rtype] = 1;
        s->count.unknown += !status;
    } else if (length < wanted) {
        if (!s->told_short[rtype] || s->cold_seen) status = dbn_show(s, DBN_COLD_SHORT, p, length);
        s->told_short[rtype] = 1;
        s->count.malformed += !status;
    } else {
        status = dbn_show(s, rtype == DBN_MAPPING ? DBN_COLD_MAPPING : rtype == DBN_SYSTEM ? DBN_COLD_SYSTEM
                                                                                          : DBN_COLD_ERROR, p, length);
        s->count.skipped += !status;
    }
    s->count.records += !status;
    return status;
}

static inline int dbn_other_record(dbn_decoder *s, const uint8_t *p, uint32_t length, dbn_output *out) {
    uint32_t wanted = dbn_struct_bytes(p[1], s->version, s->schema);
    uint32_t body = s->ts_out && length >= DBN_HEADER_BYTES + 8 ? length - 8 : length;
    if (p[1] == DBN_MAPPING || p[1] == DBN_SYSTEM || p[1] == DBN_ERROR) /* they may come without ts_out, nobody says */
        return dbn_cold(s, p, body < wanted ? length : body, wanted);
    if (!wanted || body < wanted) return dbn_cold(s, p, body, wanted);
    if (dbn_is_held(s, p, body)) return DBN_COLD;
    if (out->bars_capacity - out->bars_n < 1) return DBN_OUTPUT_FULL;
    if (s->books.overflows && !s->books_told) {
        s->books_told = 1;
        s->cold = DBN_COLD_BOOK;
        s->cold_record = p;
        s->cold_length = body;
        return DBN_COLD;
    }
    if (p[1] == DBN_DEFINITION && s->cold_seen < 2) {
        if (dbn_show(s, DBN_COLD_DEFINITION, p, body)) return DBN_COLD;
        s->cold_seen = 2; /* looked at; the instrument may yet be asked for */
    }
    dbn_instrument *e = dbn_find(s, p, dbn_index_time(p));
    if (!e) return DBN_NEED_INSTRUMENT;
    int status = dbn_make(s, p, body, dbn_index_time(p), out, e);
    if (status) return status;
    s->cold_seen = 0;
    s->count.records++;
    return 0;
}

/* One whole record. 0: done with it; else a status to return, and the same record comes again. */
static inline int dbn_record(dbn_decoder *s, const uint8_t *p, uint32_t length, dbn_output *out) {
    if (out->ticks_capacity - out->ticks_n < DBN_TICKS_PER_RECORD) return DBN_OUTPUT_FULL;
    if (s->resume && s->resume->is_staged) return DBN_OUTPUT_FULL; /* one at a time: its position waits */
    if (p[1] != DBN_MBP_1 || length < sizeof(dbn_mbp_1) + 8u * s->ts_out) return dbn_other_record(s, p, length, out);
    if (dbn_is_held(s, p, length)) return DBN_COLD;
    const dbn_mbp_1 *r = (const dbn_mbp_1 *)p;
    dbn_instrument *e = dbn_find(s, p, r->base.ts_recv);
    if (!e) return DBN_NEED_INSTRUMENT;
    int status = dbn_make(s, p, length - 8u * s->ts_out, r->base.ts_recv, out, e);
    s->count.records += !status;
    return status;
}

static inline int dbn_fail(dbn_decoder *s, int error) {
    s->stage = DBN_FAILED;
    s->error = error;
    return error;
}

/* Top up the record that the last call ended in, and decode it when it is whole. */
static inline int dbn_carried(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos, dbn_output *out) {
    uint32_t length = 4u * s->carry[0];
    uint32_t take = length - s->carried; /* 0: it was whole, and the caller was needed */
    if (take > n - *pos) take = (uint32_t)(n - *pos);
    if (take) memcpy(s->carry + s->carried, in + *pos, take);
    s->carried += take;
    *pos += take;
    if (s->carried < length) return DBN_NEED_INPUT;
    int status = dbn_record(s, s->carry, length, out);
    if (status) return status;
    s->offset += length;
    s->carried = 0;
    return 0;
}

static inline int dbn_walk(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos, dbn_output *out) {
    if (s->carried) {
        int status = dbn_carried(s, in, n, pos, out);
        if (status || s->carried) return status;
    }
    size_t i = *pos;
    int status = DBN_NEED_INPUT;
    int hot = s->schema != DBN_SCHEMA_TBBO && !s->resume && !s->hold[DBN_MBP_1];
    while (i < n) {
        if (hot) dbn_run_staged(s, in, n, &i, out);
        if (i == n) break;
        uint32_t length = 4u * in[i];
        if (length < DBN_HEADER_BYTES) {
            status = DBN_E_LENGTH;
            break;
        }
        if (n - i < length) {
            s->carried = (uint32_t)(n - i);
            memcpy(s->carry, in + i, s->carried);
            break;
        }
        status = dbn_record(s, in + i, length, out);
        if (status) break;
        i += length;
        s->offset += length;
    }
    *pos = s->carried ? n : i;
    return status < 0 ? dbn_fail(s, status) : status;
}

/* The first bytes, as far as they are there. */
static inline int dbn_check_magic(const uint8_t *head, uint32_t have) {
    static const uint8_t zstd[4] = {0x28, 0xB5, 0x2F, 0xFD};
    if (have >= 4 && !memcmp(head, zstd, 4)) return DBN_E_ZSTD;
    if (have >= 4 && head[0] >> 4 == 5 && head[1] == 0x2A && head[2] == 0x4D && head[3] == 0x18) return DBN_E_DBZ;
    if (have < 4 && (head[0] == zstd[0] || head[0] >> 4 == 5)) return 0; /* cannot be told yet */
    return memcmp(head, "DBN", have < 3 ? have : 3) ? DBN_E_MAGIC : 0;
}

static inline int dbn_prefix(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos) {
    while (*pos < n && s->carried < DBN_PREFIX_BYTES) s->carry[s->carried++] = in[(*pos)++];
    int error = s->carried ? dbn_check_magic(s->carry, s->carried) : 0;
    if (error) return dbn_fail(s, error);
    if (s->carried > 3) s->version = s->carry[3];
    if (s->version > DBN_MAX_VERSION && s->accept_newer) s->version = DBN_MAX_VERSION;
    if (s->carried > 3 && (s->version < 1 || s->version > DBN_MAX_VERSION)) return dbn_fail(s, DBN_E_VERSION);
    if (s->carried < DBN_PREFIX_BYTES) return DBN_NEED_INPUT;
    memcpy(&s->metadata_length, s->carry + 4, 4);
    if (s->metadata_length < DBN_MIN_METADATA_BYTES) return dbn_fail(s, DBN_E_METADATA_SHORT);
    if (s->metadata_length > DBN_MAX_METADATA_BYTES) return dbn_fail(s, DBN_E_METADATA_LIMIT);
    s->carried = 0;
    s->stage = DBN_IN_METADATA;
    return 0;
}

/* Gather the metadata. Memory grows with what has come, not with what the length promises. */
static inline int dbn_metadata(dbn_decoder *s, const uint8_t *in, size_t n, size_t *pos) {
    size_t take = s->metadata_length - s->metadata_have;
    if (take > n - *pos) take = n - *pos;
    if (s->metadata_have + take > s->metadata_capacity) {
        uint64_t capacity = 2 * (s->metadata_have + (uint64_t)take);
        if (capacity > s->metadata_length) capacity = s->metadata_length;
        uint8_t *grown = (uint8_t *)realloc(s->metadata, capacity);
        if (!grown) return dbn_fail(s, DBN_E_MEMORY);
        s->metadata = grown;
        s->metadata_capacity = (uint32_t)capacity;
    }
    if (take) memcpy(s->metadata + s->metadata_have, in + *pos, take);
    s->metadata_have += (uint32_t)take;
    *pos += take;
    if (s->metadata_have < s->metadata_length) return DBN_NEED_INPUT;
    memcpy(&s->schema, s->metadata + 16, 2);
    s->ts_out = s->metadata[s->version == 1 ? 52 : 44] != 0;
    s->offset = DBN_PREFIX_BYTES + (uint64_t)s->metadata_length;
    s->stage = DBN_TOLD_METADATA;
    return DBN_METADATA;
}

/* Decode in[*consumed ... n). *consumed moves on; ticks and bars are appended to `out`. The bars' capacity may
 * be 1 at least, the ticks' DBN_TICKS_PER_RECORD at least. Returns an enum dbn_status_code. */
static inline int dbn_decode(dbn_decoder *s, const uint8_t *in, size_t n, size_t *consumed, dbn_output *out) {
    int status = 0;
    if (s->stage == DBN_FAILED) return s->error;
    if (s->stage == DBN_TOLD_METADATA) {
        free(s->metadata);
        s->metadata = NULL;
        s->metadata_capacity = 0;
        s->stage = DBN_RECORDS;
    }
    if (s->stage == DBN_PREFIX) status = dbn_prefix(s, in, n, consumed);
    if (!status && s->stage == DBN_IN_METADATA) status = dbn_metadata(s, in, n, consumed);
    if (!status && s->stage == DBN_RECORDS) status = dbn_walk(s, in, n, consumed, out);
    return status;
}

/* The stream may end here: no record and no metadata is cut off. */
static inline int dbn_at_boundary(const dbn_decoder *s) {
    return s->stage == DBN_TOLD_METADATA || (s->stage == DBN_RECORDS && !s->carried);
}

#endif
