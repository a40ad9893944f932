/* CME MDP 3.0: a packet as flat rows, one for each entry of each group, all templates alike: what the venue sent,
 * without books, arbitration or events. For oracles, for `mdfeedd decode`, for research; not the way to ticks.
 *
 * It is driven by the table of mdp_layout.h alone: a field goes to the column that MDP_COLUMNS names for it, if
 * the header's version has the field and the block is long enough. So nothing here knows an offset.
 *
 *     message with entries      a row per entry, the fields of the root repeated in each
 *     message without           one row, MDP_ROW_EMPTY: its MatchEventIndicator counts
 *     heartbeat, status,        one row, MDP_ROW_ROOT: the fields of the root
 *     definition, unknown
 */
#ifndef MDP_ENTRIES_H
#define MDP_ENTRIES_H

#include "mdp_define.h"

enum mdp_row_group { MDP_ROW_ROOT = 0, MDP_ROW_EMPTY = 1, MDP_ROW_ENTRY = 2, MDP_ROW_ORDER = 3 };

/* X(kind, column). Without a value a column holds the largest value of its kind, a character 0. */
#define MDP_ENTRY_COLUMNS(X)                                                                         \
    X(u64, sending_time)    /* UNIX ns, of the packet */                                             \
    X(u64, transact_time)   /* UNIX ns */                                                            \
    X(u64, last_update)     /* UNIX ns */                                                            \
    X(price, price)         /* 1e-9 units, old templates too */                                      \
    X(i64, mantissa)        /* of the price, as on the wire */                                       \
    X(i64, size)                                                                                     \
    X(price, high_limit)                                                                             \
    X(price, low_limit)                                                                              \
    X(price, max_variation)                                                                          \
    X(u64, order_id)                                                                                 \
    X(u64, priority)                                                                                 \
    X(u32, msg_seq)         /* of the packet */                                                      \
    X(i32, security_id)                                                                              \
    X(u32, rpt_seq)                                                                                  \
    X(i32, orders)          /* NumberOfOrders */                                                     \
    X(i32, tradeable_size)                                                                           \
    X(u32, trade_id)                                                                                 \
    X(u32, last_seq)        /* LastMsgSeqNumProcessed */                                             \
    X(u32, total_reports)                                                                            \
    X(u32, chunk)           /* of chunks */                                                          \
    X(u32, chunks)                                                                                   \
    X(u16, message)         /* number of the message in the packet, from 0 */                        \
    X(u16, entry)           /* number of the entry in its group, from 0 */                           \
    X(u16, template)                                                                                 \
    X(u16, version)                                                                                  \
    X(u16, trade_date)      /* days since 1970-01-01 */                                              \
    X(u16, reference_date)                                                                           \
    X(i16, channel)         /* ApplID */                                                             \
    X(i16, level)                                                                                    \
    X(u8, group)            /* enum mdp_row_group */                                                 \
    X(u8, mei)              /* MatchEventIndicator */                                                \
    X(u8, action)           /* MDUpdateAction, OrderUpdateAction; the letter of a definition's */    \
    X(u8, side)             /* AggressorSide, or Side */                                             \
    X(u8, reference)        /* ReferenceID: the entry of the message, from 1 */                      \
    X(u8, settlement)       /* SettlPriceType */                                                     \
    X(u8, open_close)       /* OpenCloseSettlFlag */                                                 \
    X(u8, status)                                                                                    \
    X(u8, halt_reason)                                                                               \
    X(u8, event)            /* SecurityTradingEvent */                                               \
    X(chr(1), type)         /* MDEntryType */                                                        \
    X(chr(6), security_group)                                                                        \
    X(chr(6), asset)                                                                                 \
    X(chr(20), symbol)

/* X(field, column) */
#define MDP_COLUMNS(X)                                                                               \
    X(TransactTime, transact_time) X(LastUpdateTime, last_update)                                    \
    X(MDEntryPx, price) X(CollateralMarketPrice, price)                                              \
    X(MDEntrySize, size) X(MDDisplayQty, size) X(LastQty, size) X(OrderQty, size)                    \
    X(HighLimitPrice, high_limit) X(LowLimitPrice, low_limit) X(MaxPriceVariation, max_variation)    \
    X(OrderID, order_id) X(MDOrderPriority, priority)                                                \
    X(SecurityID, security_id) X(RptSeq, rpt_seq) X(NumberOfOrders, orders)                          \
    X(TradeableSize, tradeable_size) X(MDTradeEntryID, trade_id) X(TradeID, trade_id)                \
    X(LastMsgSeqNumProcessed, last_seq) X(TotNumReports, total_reports)                              \
    X(CurrentChunk, chunk) X(NoChunks, chunks)                                                       \
    X(TradeDate, trade_date) X(TradingReferenceDate, reference_date) X(ApplID, channel)              \
    X(MDPriceLevel, level) X(MatchEventIndicator, mei)                                               \
    X(MDUpdateAction, action) X(OrderUpdateAction, action) X(SecurityUpdateAction, action)           \
    X(AggressorSide, side) X(Side, side) X(ReferenceID, reference)                                   \
    X(SettlPriceType, settlement) X(OpenCloseSettlFlag, open_close)                                  \
    X(SecurityTradingStatus, status) X(MDSecurityTradingStatus, status) X(HaltReason, halt_reason)   \
    X(SecurityTradingEvent, event) X(MDEntryType, type)                                              \
    X(SecurityGroup, security_group) X(Asset, asset) X(Symbol, symbol)

/* What an entry's type and action are where they are constants and not on the wire: X(template, type, action) */
#define MDP_CONSTANTS(X)                                                                             \
    X(ChannelReset, MDP_BOOK_RESET, MDP_NEW) X(LimitsBanding, MDP_LIMITS, MDP_NEW)                   \
    X(Volume, MDP_ELECTRONIC_VOLUME, UINT8_MAX) X(VolumeLongQty, MDP_ELECTRONIC_VOLUME, UINT8_MAX)   \
    X(Trade, MDP_TRADE, UINT8_MAX) X(TradeSummary, MDP_TRADE, UINT8_MAX)                             \
    X(TradeSummaryLongQty, MDP_TRADE, UINT8_MAX)

#define MDP_CTYPE_u64 uint64_t
#define MDP_CTYPE_i64 int64_t
#define MDP_CTYPE_price int64_t
#define MDP_CTYPE_u32 uint32_t
#define MDP_CTYPE_i32 int32_t
#define MDP_CTYPE_u16 uint16_t
#define MDP_CTYPE_i16 int16_t
#define MDP_CTYPE_u8 uint8_t
typedef char mdp_chars_1[1], mdp_chars_6[6], mdp_chars_20[20];
#define MDP_CTYPE_chr(n) mdp_chars_##n

typedef struct mdp_entry {
#define X(kind, column) MDP_CTYPE_##kind column;
    MDP_ENTRY_COLUMNS(X)
#undef X
} mdp_entry;

/* The types of the table, and the kinds of the columns, which are some of them. */
enum mdp_type {
    MDP_TYPE_u8, MDP_TYPE_u8_null, MDP_TYPE_i8, MDP_TYPE_i8_null, MDP_TYPE_u16, MDP_TYPE_u16_null, MDP_TYPE_i16,
    MDP_TYPE_u32, MDP_TYPE_u32_null, MDP_TYPE_i32, MDP_TYPE_i32_null, MDP_TYPE_i64, MDP_TYPE_u64,
    MDP_TYPE_u64_null, MDP_TYPE_price, MDP_TYPE_price_null, MDP_TYPE_qty4, MDP_TYPE_time, MDP_TYPE_date,
    MDP_TYPE_month_year, MDP_TYPE_bits8, MDP_TYPE_bits32, MDP_TYPE_text,
};
#define MDP_TYPE_chr(n) MDP_TYPE_text

typedef struct mdp_column {
    const char *name;
    uint16_t offset, size; /* in mdp_entry, bytes */
    uint8_t kind;          /* enum mdp_type */
} mdp_column;

static const mdp_column mdp_columns[] = {
#define X(kind, column) {#column, offsetof(mdp_entry, column), MDP_SIZE_##kind, MDP_TYPE_##kind},
    MDP_ENTRY_COLUMNS(X)
#undef X
};
enum mdp_column_number {
#define X(kind, column) MDP_COLUMN_##column,
    MDP_ENTRY_COLUMNS(X)
#undef X
    MDP_COLUMN_NUMBER,
    MDP_COLUMN_NONE = 255,
};

typedef struct mdp_field_row {
    const char *template_name, *group, *field, *type_name;
    uint16_t template_id, old_id, offset, size, since;
    uint8_t type;
} mdp_field_row;

static const mdp_field_row mdp_field_rows[] = {
#define X(template, group, field, offset, type, since)                                            \
    {#template, #group, #field, #type, MDP_T_##template, MDP_T_##template##_OLD, offset,          \
     MDP_SIZE_##type, since, MDP_TYPE_##type},
    MDP_FIELDS(X)
#undef X
};
enum { MDP_FIELD_ROWS = sizeof(mdp_field_rows) / sizeof(mdp_field_rows[0]) };

typedef struct mdp_group_name {
    const char *template_name, *group;
    uint16_t template_id, old_id;
} mdp_group_name;

static const mdp_group_name mdp_group_names[] = {
#define X(template, group, dimension, min, since, old_since) \
    {#template, #group, MDP_T_##template, MDP_T_##template##_OLD},
    MDP_GROUPS(X)
#undef X
};
enum { MDP_GROUP_ROWS = sizeof(mdp_group_names) / sizeof(mdp_group_names[0]) };

/* The fields of a root or a group: rows [first, last) of mdp_field_rows. */
typedef struct mdp_section {
    uint16_t first, last;
    uint8_t row_group; /* of enum mdp_row_group; MDP_ROW_ROOT: its entries make no rows */
} mdp_section;

typedef struct mdp_plan {
    mdp_shape shapes[MDP_TEMPLATE_IDS];
    mdp_section sections[MDP_TEMPLATE_IDS][MDP_MAX_GROUPS + 1]; /* the root, then the groups */
    uint8_t columns[MDP_FIELD_ROWS];                            /* enum mdp_column_number */
    uint8_t type[MDP_TEMPLATE_IDS], action[MDP_TEMPLATE_IDS];   /* constants */
    mdp_entry null;
} mdp_plan;

static uint8_t mdp_plan_column(const char *field) {
#define X(name, column) if (strcmp(field, #name) == 0) return MDP_COLUMN_##column;
    MDP_COLUMNS(X)
#undef X
    return MDP_COLUMN_NONE;
}

static uint8_t mdp_plan_row_group(const char *group) {
    if (strcmp(group, "NoMDEntries") == 0 || strcmp(group, "NoRelatedSym") == 0)
        return MDP_ROW_ENTRY;
    return strcmp(group, "NoOrderIDEntries") == 0 ? MDP_ROW_ORDER : MDP_ROW_ROOT;
}

/* The section of `template_id` that the table calls `group`: 0 for the root, its number from 1 otherwise. */
static unsigned mdp_plan_section(unsigned template_id, const char *group) {
    unsigned n = 0;
    for (int i = 0; i < MDP_GROUP_ROWS; i++) {
        if (mdp_group_names[i].template_id != template_id)
            continue;
        n++;
        if (strcmp(mdp_group_names[i].group, group) == 0)
            return n;
    }
    return 0;
}

static void mdp_plan_null(mdp_entry *row) {
    memset(row, 0xff, sizeof(*row)); /* the largest value of what has no sign */
    for (int i = 0; i < MDP_COLUMN_NUMBER; i++) {
        const mdp_column *c = &mdp_columns[i];
        uint8_t *at = (uint8_t *)row + c->offset;
        if (c->kind == MDP_TYPE_text)
            memset(at, 0, c->size);
        else if (c->kind == MDP_TYPE_i64 || c->kind == MDP_TYPE_i32 || c->kind == MDP_TYPE_i16 ||
                 c->kind == MDP_TYPE_price)
            at[c->size - 1] = 0x7f;
    }
}

static void mdp_plan_init(mdp_plan *plan) {
    memset(plan, 0, sizeof(*plan));
    mdp_shapes_init(plan->shapes);
    mdp_plan_null(&plan->null);
    memset(plan->action, 0xff, sizeof(plan->action));
    for (int i = 0; i < MDP_FIELD_ROWS; i++) {
        const mdp_field_row *f = &mdp_field_rows[i];
        unsigned number = mdp_plan_section(f->template_id, f->group);
        mdp_section *section = &plan->sections[f->template_id][number];
        if (!section->last)
            section->first = (uint16_t)i;
        section->last = (uint16_t)(i + 1);
        section->row_group = mdp_plan_row_group(f->group);
        plan->columns[i] = mdp_plan_column(f->field);
    }
#define X(template, kind, what) \
    plan->type[MDP_T_##template] = kind, plan->action[MDP_T_##template] = what;
    MDP_CONSTANTS(X)
#undef X
#define X(template, id, old, root)                                                      \
    if (old != 0) {                                                                     \
        memcpy(plan->sections[old], plan->sections[id], sizeof(plan->sections[id]));    \
        plan->type[old] = plan->type[id], plan->action[old] = plan->action[id];         \
    }
    MDP_TEMPLATES(X)
#undef X
}

/* A number of the message: as an int64 if its type has a sign. */
static uint64_t mdp_entries_load(const uint8_t *at, unsigned type) {
    switch (type) {
    case MDP_TYPE_u8: case MDP_TYPE_u8_null: case MDP_TYPE_bits8:
        return at[0];
    case MDP_TYPE_i8: case MDP_TYPE_i8_null:
        return (uint64_t)(int64_t)(int8_t)at[0];
    case MDP_TYPE_u16: case MDP_TYPE_u16_null: case MDP_TYPE_date:
        return mdp_u16(at);
    case MDP_TYPE_i16:
        return (uint64_t)(int64_t)(int16_t)mdp_u16(at);
    case MDP_TYPE_u32: case MDP_TYPE_u32_null: case MDP_TYPE_bits32:
        return mdp_u32(at);
    case MDP_TYPE_i32: case MDP_TYPE_i32_null: case MDP_TYPE_qty4:
        return (uint64_t)(int64_t)mdp_i32(at);
    default:
        return mdp_u64(at);
    }
}

/* Does the value stand for none? */
static int mdp_entries_is_null(uint64_t value, unsigned type) {
    switch (type) {
    case MDP_TYPE_u8_null:
        return value == MDP_NULL_U8;
    case MDP_TYPE_i8_null:
        return value == MDP_NULL_I8;
    case MDP_TYPE_u16_null: case MDP_TYPE_date:
        return value == MDP_NULL_U16;
    case MDP_TYPE_u32_null:
        return value == MDP_NULL_U32;
    case MDP_TYPE_i32_null: case MDP_TYPE_qty4:
        return value == MDP_NULL_I32;
    case MDP_TYPE_u64_null:
        return value == MDP_NULL_U64;
    case MDP_TYPE_price: case MDP_TYPE_price_null:
        return value == MDP_NULL_PRICE;
    default:
        return 0;
    }
}

/* Put the field at `at` into its column of the row. */
static void mdp_entries_put(mdp_entry *row, const mdp_field_row *f, unsigned number, const uint8_t *at, int old) {
    const mdp_column *c = &mdp_columns[number];
    uint8_t *to = (uint8_t *)row + c->offset;
    if (f->type == MDP_TYPE_text) {
        char text[32];
        if (c->kind == MDP_TYPE_u8) { /* the letter of SecurityUpdateAction */
            to[0] = at[0];
        } else if (c->kind == MDP_TYPE_text && f->size < sizeof(text) && f->size <= c->size) {
            mdp_text(text, at, f->size);
            memcpy(to, text, f->size);
        }
        return;
    }
    uint64_t value = mdp_entries_load(at, f->type);
    if (mdp_entries_is_null(value, f->type))
        return;
    if (c->kind == MDP_TYPE_price) {
        int64_t price = mdp_price(at, old);
        memcpy(to, &price, 8);
        if (number == MDP_COLUMN_price)
            memcpy(&row->mantissa, &value, 8);
        return;
    }
    int is_unsigned = f->type == MDP_TYPE_u64 || f->type == MDP_TYPE_u64_null;
    if (c->kind == MDP_TYPE_i64 && is_unsigned && value > INT64_MAX - 1)
        value = INT64_MAX - 1; /* too long for the column; it must not look like none */
    memcpy(to, &value, c->size); /* little-endian: the low bytes are the number */
}

/* The fields of a section, which has `length` bytes at `at`, into their columns of the row. */
static void mdp_entries_fill(const mdp_plan *plan, const mdp_section *section, const uint8_t *at,
                             unsigned length, const mdp_message *m, mdp_entry *row) {
    int old = mdp_is_old(m->template_id);
    for (unsigned i = section->first; i < section->last; i++) {
        const mdp_field_row *f = &mdp_field_rows[i];
        unsigned end = (unsigned)f->offset + f->size;
        if (plan->columns[i] != MDP_COLUMN_NONE && m->version >= f->since && end <= length)
            mdp_entries_put(row, f, plan->columns[i], at + f->offset, old);
    }
}

/* Where rows go; beyond the capacity they are only counted. */
typedef struct mdp_rows {
    mdp_entry *out;
    size_t capacity, count;
} mdp_rows;

/* A row for each entry of a group of the message, begun with what the message has for all of them. */
static void mdp_entries_group(const mdp_plan *plan, const mdp_message *m, const mdp_section *section,
                              const mdp_group *group, const mdp_entry *common, mdp_rows *rows) {
    const uint8_t *entry = group->entry;
    int constants = section->row_group == MDP_ROW_ENTRY && plan->type[m->template_id];
    for (uint32_t i = 0; i < group->count; i++, entry += group->length) {
        if (rows->count++ >= rows->capacity)
            continue;
        mdp_entry *row = &rows->out[rows->count - 1];
        *row = *common;
        row->group = section->row_group;
        row->entry = (uint16_t)i;
        if (constants) {
            row->type[0] = (char)plan->type[m->template_id];
            row->action = plan->action[m->template_id];
        }
        mdp_entries_fill(plan, section, entry, group->length, m, row);
    }
}

/* The rows of one message of a checked packet, at least one; *common is a row with what the packet has. */
static void mdp_entries_message(const mdp_plan *plan, const mdp_message *m, mdp_entry *common, mdp_rows *rows) {
    size_t before = rows->count;
    common->group = MDP_ROW_ROOT;
    if (m->template_id < MDP_TEMPLATE_IDS && plan->shapes[m->template_id].known) {
        const mdp_shape *shape = &plan->shapes[m->template_id];
        const mdp_section *sections = plan->sections[m->template_id];
        const uint8_t *at = m->groups;
        mdp_entries_fill(plan, &sections[0], m->root, m->block, m, common);
        for (unsigned g = 0; g < shape->groups; g++) {
            mdp_group group;
            if (m->version < shape->group[g].since)
                continue;
            at = mdp_group_at(at, m->end, shape->group[g].dimension, &group);
            if (sections[g + 1].row_group == MDP_ROW_ROOT)
                continue;
            common->group = MDP_ROW_EMPTY; /* unless there is an entry */
            mdp_entries_group(plan, m, &sections[g + 1], &group, common, rows);
        }
    }
    if (rows->count == before && rows->count++ < rows->capacity)
        rows->out[before] = *common;
}

/* The rows of a packet that passed mdp_check(): how many there are. At most `capacity` of them go to out, so a
 * first call with none tells how much room a second needs. */
static inline size_t mdp_entries(const mdp_plan *plan, const uint8_t *packet, size_t length, mdp_entry *out,
                                 size_t capacity) {
    mdp_rows rows = {out, capacity, 0};
    const uint8_t *end = packet + length;
    unsigned number = 0;
    for (const uint8_t *at = packet + MDP_PACKET_HEADER; at < end; number++) {
        mdp_message m;
        mdp_entry common = plan->null;
        at = mdp_message_at(at, &m);
        common.msg_seq = mdp_u32(packet + MDP_PACKET_SEQUENCE);
        common.sending_time = mdp_u64(packet + MDP_PACKET_SENDING);
        common.message = (uint16_t)number;
        common.template = m.template_id;
        common.version = m.version;
        mdp_entries_message(plan, &m, &common, &rows);
    }
    return rows.count;
}

/* What mdp_check() says of the message at `at` alone. */
static int mdp_entries_message_fault(const mdp_plan *plan, const uint8_t *at, size_t left) {
    mdp_message m;
    if (left < MDP_MESSAGE_HEADER)
        return MDP_BAD_SIZE;
    size_t size = mdp_u16(at + MDP_MESSAGE_SIZE);
    if (size < MDP_MESSAGE_HEADER || size > left)
        return MDP_BAD_SIZE;
    mdp_message_at(at, &m);
    if (m.block > size - MDP_MESSAGE_HEADER)
        return MDP_BAD_BLOCK;
    if (m.template_id >= MDP_TEMPLATE_IDS || !plan->shapes[m.template_id].known)
        return MDP_SOUND;
    const mdp_shape *shape = &plan->shapes[m.template_id];
    return m.block < shape->root_min ? MDP_BAD_BLOCK : mdp_check_groups(shape, m.version, m.groups, m.end);
}

/* What is wrong with a packet, of enum mdp_fault, and where the guilty message begins. */
static inline int mdp_entries_fault(const mdp_plan *plan, const uint8_t *packet, size_t length, size_t *offset) {
    *offset = 0;
    if (length < MDP_PACKET_HEADER)
        return MDP_BAD_HEADER;
    for (size_t at = MDP_PACKET_HEADER; at < length; at += mdp_u16(packet + at)) {
        int fault = mdp_entries_message_fault(plan, packet + at, length - at);
        *offset = at;
        if (fault != MDP_SOUND)
            return fault;
    }
    return MDP_SOUND;
}

#endif
