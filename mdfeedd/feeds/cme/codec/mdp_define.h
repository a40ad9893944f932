/* CME MDP 3.0: an instrument definition (54 to 58, 63, and the old 27, 29, 41) into one struct. A pure function.
 *
 * Prices stay in the units of all prices of the feed, 1e-9 of what is on the wire: CME's DisplayFactor, which
 * makes the price people quote of it, is beside them and applied to none. Old definitions count in 1e-7 and are
 * brought to the same scale.
 */
#ifndef MDP_DEFINE_H
#define MDP_DEFINE_H

#include "mdp_wire.h"

typedef struct mdp_definition {
    uint64_t last_update;   /* UNIX ns: when the venue last added, modified or deleted it */
    uint64_t activation;    /* UNIX ns; 0 unknown */
    uint64_t expiration;    /* UNIX ns: the last moment it trades; 0 none or unknown */
    int64_t tick_size;      /* MinPriceIncrement, 1e-9 units; 0 none (variable ticks) or unknown */
    int64_t display_factor; /* x 1e-9 */
    int64_t multiplier;     /* UnitOfMeasureQty, units of the underlying a contract, x 1e-9; 0 unknown */
    int64_t high_limit;     /* 1e-9 units; MDP_NULL_PRICE none, as the next two */
    int64_t low_limit;
    int64_t max_variation;
    int32_t security_id;
    uint32_t total_reports; /* instruments in the loop; MDP_NULL_U32 outside one */
    int16_t channel;        /* ApplID */
    uint16_t template_id;
    uint16_t version;
    uint8_t mei;            /* MatchEventIndicator */
    uint8_t action;         /* enum mdp_update: MDP_ADD, MDP_MODIFY, MDP_REMOVE, or what was there */
    uint8_t trading_status; /* enum mdp_trading_status; 255 none: outside the loop */
    uint8_t depth;          /* levels of the book (GBX); 0 not told */
    uint8_t implied_depth;  /* levels of the implied book (GBI); 0 none */
    uint8_t user_defined;   /* 1: a spread that a user made */
    char symbol[21];        /* all texts: NUL-terminated and trimmed, see mdp_text */
    char group[7];
    char asset[7];
    char exchange[5];
    char currency[4];
    char security_type[7];
    char cfi[7];
} mdp_definition;

enum mdp_define_result {
    MDP_DEFINE_OK = 0,
    MDP_DEFINE_TEMPLATE = -1, /* no definition */
    MDP_DEFINE_BLOCK = -2,    /* the root is shorter than in any version */
    MDP_DEFINE_GROUP = -3,    /* a group overruns the message, or its entries are too short */
};

/* `length` characters at `at` into out[length + 1]: up to the first NUL, without spaces at the end, and with ?
 * for what is not printable ASCII, so that a name can go into a log or a file as it is. */
static inline void mdp_text(char *out, const uint8_t *at, size_t length) {
    size_t n = 0;
    for (; n < length && at[n]; n++)
        out[n] = at[n] >= 0x20 && at[n] < 0x7f ? (char)at[n] : '?';
    while (n && out[n - 1] == ' ')
        n--;
    for (; n <= length; n++)
        out[n] = 0;
}

/* Where the templates differ; what they agree on comes from Future. 0: there is no such field (at 0 is the
 * MatchEventIndicator in all of them). */
typedef struct mdp_define_row {
    uint8_t template_id, old_id;
    uint16_t root_min, currency, tick_size, factor, quantity, high, low, variation, user_defined;
} mdp_define_row;

enum { MDP_Spread_UnitOfMeasureQty = 0, MDP_Option_MaxPriceVariation = 0 };

#define MDP_DEFINE_ROW(T)                                                                          \
    {MDP_T_##T, MDP_T_##T##_OLD, MDP_##T##_ROOT_MIN, MDP_##T##_Currency, MDP_##T##_MinPriceIncrement, \
     MDP_##T##_DisplayFactor, MDP_##T##_UnitOfMeasureQty, MDP_##T##_HighLimitPrice,                \
     MDP_##T##_LowLimitPrice, MDP_##T##_MaxPriceVariation, MDP_##T##_UserDefinedInstrument}

static const mdp_define_row mdp_define_rows[] = {
    MDP_DEFINE_ROW(Future),      MDP_DEFINE_ROW(Option), MDP_DEFINE_ROW(Spread),
    MDP_DEFINE_ROW(FixedIncome), MDP_DEFINE_ROW(Repo),   MDP_DEFINE_ROW(FX),
};
enum { MDP_DEFINE_ROWS = sizeof(mdp_define_rows) / sizeof(mdp_define_rows[0]) };

#undef MDP_DEFINE_ROW

/* Their groups, in wire order. The rows of other templates are never asked for. */
typedef struct mdp_define_group {
    uint8_t template_id, since, old_since, dimension;
    uint16_t min;
} mdp_define_group;

static const mdp_define_group mdp_define_groups[] = {
#define X(template, group, dimension, min, since, old_since) \
    {MDP_T_##template, since, old_since, dimension, min},
    MDP_GROUPS(X)
#undef X
};
enum { MDP_DEFINE_GROUPS = sizeof(mdp_define_groups) / sizeof(mdp_define_groups[0]) };

static const mdp_define_row *mdp_define_row_of(unsigned template_id) {
    for (int i = 0; i < MDP_DEFINE_ROWS; i++) {
        const mdp_define_row *row = &mdp_define_rows[i];
        if (template_id && (template_id == row->template_id || template_id == row->old_id))
            return row;
    }
    return 0;
}

/* A price of the root that is 0 when there is none, as a tick size is. */
static int64_t mdp_define_known(const uint8_t *root, unsigned offset, int old) {
    int64_t price = offset ? mdp_price(root + offset, old) : MDP_NULL_PRICE;
    return price == MDP_NULL_PRICE ? 0 : price;
}

static int64_t mdp_define_price(const uint8_t *root, unsigned offset, int old) {
    return offset ? mdp_price(root + offset, old) : MDP_NULL_PRICE;
}

static void mdp_define_root(const mdp_define_row *row, const uint8_t *root, int old, mdp_definition *out) {
    out->mei = root[MDP_Future_MatchEventIndicator];
    out->total_reports = mdp_u32(root + MDP_Future_TotNumReports);
    out->action = root[MDP_Future_SecurityUpdateAction];
    out->last_update = mdp_u64(root + MDP_Future_LastUpdateTime);
    out->trading_status = root[MDP_Future_MDSecurityTradingStatus];
    out->channel = (int16_t)mdp_u16(root + MDP_Future_ApplID);
    out->security_id = mdp_i32(root + MDP_Future_SecurityID);
    mdp_text(out->exchange, root + MDP_Future_SecurityExchange, sizeof(out->exchange) - 1);
    mdp_text(out->group, root + MDP_Future_SecurityGroup, sizeof(out->group) - 1);
    mdp_text(out->asset, root + MDP_Future_Asset, sizeof(out->asset) - 1);
    mdp_text(out->symbol, root + MDP_Future_Symbol, sizeof(out->symbol) - 1);
    mdp_text(out->security_type, root + MDP_Future_SecurityType, sizeof(out->security_type) - 1);
    mdp_text(out->cfi, root + MDP_Future_CFICode, sizeof(out->cfi) - 1);
    mdp_text(out->currency, root + row->currency, sizeof(out->currency) - 1);
    out->tick_size = mdp_define_known(root, row->tick_size, old);
    out->display_factor = mdp_define_known(root, row->factor, old);
    out->multiplier = mdp_define_known(root, row->quantity, old);
    out->high_limit = mdp_define_price(root, row->high, old);
    out->low_limit = mdp_define_price(root, row->low, old);
    out->max_variation = mdp_define_price(root, row->variation, old);
    out->user_defined = root[row->user_defined] == 'Y';
}

static void mdp_define_events(const mdp_group *group, mdp_definition *out) {
    const uint8_t *entry = group->entry;
    for (uint32_t i = 0; i < group->count; i++, entry += group->length) {
        uint64_t time = mdp_u64(entry + MDP_Future_EventTime);
        if (entry[MDP_Future_EventType] == MDP_ACTIVATION)
            out->activation = time;
        else if (entry[MDP_Future_EventType] == MDP_LAST_TRADE_DATE)
            out->expiration = time;
    }
}

static void mdp_define_depths(const mdp_group *group, mdp_definition *out) {
    const uint8_t *entry = group->entry;
    for (uint32_t i = 0; i < group->count; i++, entry += group->length) {
        int8_t depth = (int8_t)entry[MDP_Future_MarketDepth];
        const uint8_t *type = entry + MDP_Future_MDFeedType;
        if (memcmp(type, "GBX", 3) == 0)
            out->depth = depth > 0 ? (uint8_t)depth : 0;
        else if (memcmp(type, "GBI", 3) == 0)
            out->implied_depth = depth > 0 ? (uint8_t)depth : 0;
    }
}

/* The group at `at` < `end`; what follows it, or 0 when its lengths contradict each other or the message's. */
static const uint8_t *mdp_define_take(const uint8_t *at, const uint8_t *end, const mdp_define_group *known,
                                      mdp_group *out) {
    size_t left = (size_t)(end - at);
    if (left < known->dimension)
        return 0;
    size_t length = mdp_u16(at), count = at[known->dimension - 1];
    if ((count && length < known->min) || length * count > left - known->dimension)
        return 0;
    return mdp_group_at(at, end, known->dimension, out);
}

/* Read the definition whose root of `block_length` bytes is at `root` and whose groups follow at `groups`, both
 * within the message. All of it is checked, the groups that are not needed too. Returns enum mdp_define_result;
 * *out is complete at MDP_DEFINE_OK and meaningless otherwise. */
static inline int mdp_define(unsigned template_id, unsigned version, const uint8_t *root, unsigned block_length,
                             const uint8_t *groups, size_t groups_length, mdp_definition *out) {
    const mdp_define_row *row = mdp_define_row_of(template_id);
    if (!row)
        return MDP_DEFINE_TEMPLATE;
    if (block_length < row->root_min)
        return MDP_DEFINE_BLOCK;
    memset(out, 0, sizeof(*out));
    out->template_id = (uint16_t)template_id;
    out->version = (uint16_t)version;
    int old = mdp_is_old(template_id);
    mdp_define_root(row, root, old, out);
    const uint8_t *at = groups, *end = groups + groups_length;
    for (int i = 0, n = 0; i < MDP_DEFINE_GROUPS && at < end; i++) {
        const mdp_define_group *known = &mdp_define_groups[i];
        mdp_group group;
        if (known->template_id != row->template_id || version < (old ? known->old_since : known->since))
            continue;
        if ((at = mdp_define_take(at, end, known, &group)) == 0)
            return MDP_DEFINE_GROUP;
        if (n == 0) /* in all templates the events come first, then the depths */
            mdp_define_events(&group, out);
        else if (n == 1)
            mdp_define_depths(&group, out);
        n++;
    }
    return MDP_DEFINE_OK;
}

/* A packet of the definition loop: among the incremental packets it is a network mistake, and its loop begins at 1
 * again and again. Only there does a definition tell how many there are. */
static inline int mdp_is_of_loop(const uint8_t *p, size_t n) {
    mdp_message m;
    mdp_definition d;
    if (n < MDP_PACKET_HEADER + MDP_MESSAGE_HEADER) return 0;
    mdp_message_at(p + MDP_PACKET_HEADER, &m);
    return !mdp_define(m.template_id, m.version, m.root, m.block, m.groups, (size_t)(m.end - m.groups), &d) &&
           d.total_reports != MDP_NULL_U32;
}

/* What mdp_define_root() takes from Future for all: they agree on it, and on the two groups. */
#define MDP_DEFINE_SAME(T)                                                                            \
    ((int)MDP_##T##_CFICode_END == (int)MDP_Future_CFICode_END &&                                     \
     (int)MDP_##T##_SecurityID == (int)MDP_Future_SecurityID &&                                       \
     (int)MDP_##T##_Symbol == (int)MDP_Future_Symbol &&                                               \
     (int)MDP_##T##_EventTime == (int)MDP_Future_EventTime &&                                         \
     (int)MDP_##T##_MarketDepth == (int)MDP_Future_MarketDepth)
#ifdef __cplusplus
#define MDP_ASSERT static_assert
#else
#define MDP_ASSERT _Static_assert
#endif
MDP_ASSERT(MDP_DEFINE_SAME(Option) && MDP_DEFINE_SAME(Spread) && MDP_DEFINE_SAME(FixedIncome),
           "the definitions begin alike");
MDP_ASSERT(MDP_DEFINE_SAME(Repo) && MDP_DEFINE_SAME(FX), "the definitions begin alike");
#undef MDP_DEFINE_SAME
#undef MDP_ASSERT

#endif
