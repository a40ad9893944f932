/* Statistics, limits and states of instruments. */
#ifndef MDP_STATISTICS_H
#define MDP_STATISTICS_H

#include "mdp_decode.h"

static inline void mdp_on_volume(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m, uint64_t time,
                                 int longqty) {
    mdp_group g;
    mdp_group_at(m->groups, m->end, MDP_Volume_NoMDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        const uint8_t *e = g.entry + (size_t)i * g.length;
        mdp_instrument *b = mdp_other_entry_of(
            h, ch, channel, mdp_i32(e + (longqty ? MDP_VolumeLongQty_SecurityID : MDP_Volume_SecurityID)),
            mdp_u32(e + (longqty ? MDP_VolumeLongQty_RptSeq : MDP_Volume_RptSeq)), time);
        if (!b) continue;
        int64_t volume = longqty ? mdp_quantity_u64(mdp_u64(e)) : mdp_quantity_i32(mdp_u32(e));
        uint8_t action = e[longqty ? MDP_VolumeLongQty_MDUpdateAction : MDP_Volume_MDUpdateAction];
        mdp_tick_statistic(h, ch, b, time, 0, (mdp_statistic){MDF_PRICE_UNDEF, volume, MDP_NULL_U16,
                                                             MDP_STAT_ELECTRONIC_VOLUME, action == MDP_DELETE, 0});
    }
}

static inline void mdp_on_daily(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m, uint64_t time,
                                int old) {
    mdp_group g;
    mdp_group_at(m->groups, m->end, MDP_DailyStatistics_NoMDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        const uint8_t *e = g.entry + (size_t)i * g.length;
        mdp_instrument *b = mdp_other_entry_of(h, ch, channel, mdp_i32(e + MDP_DailyStatistics_SecurityID),
                                               mdp_u32(e + MDP_DailyStatistics_RptSeq), time);
        if (!b) continue;
        uint16_t type = mdp_statistic_type(e[MDP_DailyStatistics_MDEntryType], 0);
        if (!type) {
            h->count.skipped++;
            continue;
        }
        mdp_tick_statistic(h, ch, b, time, 0,
                           (mdp_statistic){mdp_price(e + MDP_DailyStatistics_MDEntryPx, old),
                                           mdp_quantity_i32(mdp_u32(e + MDP_DailyStatistics_MDEntrySize)),
                                           mdp_u16(e + MDP_DailyStatistics_TradingReferenceDate), type,
                                           e[MDP_DailyStatistics_MDUpdateAction] == MDP_DELETE,
                                           e[MDP_DailyStatistics_SettlPriceType]});
    }
}

static inline void mdp_tick_limits(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint64_t time, unsigned flags,
                                   int64_t high, int64_t low, int64_t variation) {
    const struct { uint16_t type; int64_t price; } limits[3] = {
        {MDP_STAT_UPPER_LIMIT, high}, {MDP_STAT_LOWER_LIMIT, low}, {MDP_STAT_MAX_VARIATION, variation}};
    for (int i = 0; i < 3; i++)
        mdp_tick_statistic(h, ch, b, time, flags,
                           (mdp_statistic){limits[i].price, MDF_PRICE_UNDEF, MDP_NULL_U16, limits[i].type, 0, 0});
}

static inline void mdp_on_limits(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m, uint64_t time,
                                 int old) {
    mdp_group g;
    mdp_group_at(m->groups, m->end, MDP_LimitsBanding_NoMDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        const uint8_t *e = g.entry + (size_t)i * g.length;
        mdp_instrument *b = mdp_other_entry_of(h, ch, channel, mdp_i32(e + MDP_LimitsBanding_SecurityID),
                                               mdp_u32(e + MDP_LimitsBanding_RptSeq), time);
        if (!b) continue;
        mdp_tick_limits(h, ch, b, time, 0, mdp_price(e + MDP_LimitsBanding_HighLimitPrice, old),
                        mdp_price(e + MDP_LimitsBanding_LowLimitPrice, old),
                        mdp_price(e + MDP_LimitsBanding_MaxPriceVariation, old));
    }
}

static inline void mdp_on_session(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m, uint64_t time,
                                  int old, int longqty) {
    mdp_group g;
    mdp_group_at(m->groups, m->end, MDP_SessionStatistics_NoMDEntries_DIMENSION, &g);
    for (uint32_t i = 0; i < g.count; i++) {
        const uint8_t *e = g.entry + (size_t)i * g.length;
        mdp_instrument *b = mdp_other_entry_of(
            h, ch, channel,
            mdp_i32(e + (longqty ? MDP_SessionStatisticsLongQty_SecurityID : MDP_SessionStatistics_SecurityID)),
            mdp_u32(e + (longqty ? MDP_SessionStatisticsLongQty_RptSeq : MDP_SessionStatistics_RptSeq)), time);
        if (!b) continue;
        uint8_t flag = e[longqty ? MDP_SessionStatisticsLongQty_OpenCloseSettlFlag : MDP_SessionStatistics_OpenCloseSettlFlag];
        uint8_t action = e[longqty ? MDP_SessionStatisticsLongQty_MDUpdateAction : MDP_SessionStatistics_MDUpdateAction];
        uint8_t entry_type = e[longqty ? MDP_SessionStatisticsLongQty_MDEntryType : MDP_SessionStatistics_MDEntryType];
        uint16_t type = mdp_statistic_type(entry_type, flag);
        int64_t size = MDF_PRICE_UNDEF;
        if (longqty) size = mdp_quantity_u64(mdp_u64(e + MDP_SessionStatisticsLongQty_MDEntrySize));
        else if (MDP_HAS(SessionStatistics, MDEntrySize, m->version, g.length))
            size = mdp_quantity_i32(mdp_u32(e + MDP_SessionStatistics_MDEntrySize));
        if (!type) {
            h->count.skipped++;
            continue;
        }
        mdp_tick_statistic(h, ch, b, time, 0, (mdp_statistic){mdp_price(e, old), size, MDP_NULL_U16, type,
                                                             action == MDP_DELETE, 0});
    }
}

/* --------------------------------------------------------------------------------------------------- status */

/* SecurityTradingStatus and HaltReason as DBN numbers its status actions and reasons. */
static inline uint16_t mdp_status_action(uint8_t status) {
    switch (status) {
    case MDP_STATUS_PRE_OPEN: return 1;
    case MDP_STATUS_PRE_CROSS: return 2;
    case MDP_STATUS_CROSS: return 4;
    case MDP_STATUS_NEW_PRICE_INDICATION: return 6;
    case MDP_STATUS_READY_TO_TRADE: case MDP_STATUS_PRIVATE_WORKUP: case MDP_STATUS_PUBLIC_WORKUP: return 7;
    case MDP_STATUS_HALT: return 8;
    case MDP_STATUS_CLOSE: return 12;
    case MDP_STATUS_POST_CLOSE: return 13;
    case MDP_STATUS_NOT_AVAILABLE: return 15;
    default: return 0;
    }
}

static inline uint16_t mdp_status_reason(uint8_t reason) {
    static const uint8_t of[8] = {1, 2, 3, 4, 5, 0, 6, 1}; /* a roll of the trade date is by schedule */
    return reason < 8 ? of[reason] : 0;
}

static inline uint16_t mdp_status_event(uint8_t event) {
    switch (event) {
    case MDP_EVENT_NO_CANCEL: return 1;
    case MDP_EVENT_RESET_STATISTICS: return 2; /* a new session */
    case MDP_EVENT_IMPLIED_ON: return 3;
    case MDP_EVENT_IMPLIED_OFF: return 4;
    default: return 0;
    }
}

static inline void mdp_tick_status(mdp_handler *h, mdp_channel *ch, mdp_instrument *b, uint64_t time, unsigned flags,
                                   uint8_t reason, uint8_t event) {
    uint8_t status = b->trading_status;
    mdf_tick t = mdp_tick_of(MDF_STATUS);
    int known = status != MDP_NULL_U8 && status != MDP_STATUS_UNKNOWN;
    int trading = mdp_status_action(status) == 7;
    int quoting = trading || status == MDP_STATUS_PRE_OPEN || status == MDP_STATUS_PRE_CROSS || status == MDP_STATUS_CROSS ||
                  status == MDP_STATUS_NEW_PRICE_INDICATION;
    t.payload.status.state = mdp_status_action(status);
    t.payload.status.reason = mdp_status_reason(reason);
    t.payload.status.trading_event = mdp_status_event(event);
    t.payload.status.is_trading = !known ? 0 : trading ? 1 : 2;
    t.payload.status.is_quoting = !known ? 0 : quoting ? 1 : 2;
    mdp_stage(h, ch, b->instrument_id, time, flags | mdp_flags_of(ch, b), &t);
    h->count.others++;
}

static inline uint64_t mdp_six(const uint8_t *p) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 6 && p[i] && p[i] != ' '; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* One instrument, or without a SecurityID all of the group (of the asset, if one is named) that we know. */
static inline void mdp_on_status(mdp_handler *h, mdp_channel *ch, uint32_t channel, const mdp_message *m) {
    const uint8_t *r = m->root;
    uint64_t time = mdp_u64(r + MDP_SecurityStatus_TransactTime);
    int32_t security_id = mdp_i32(r + MDP_SecurityStatus_SecurityID);
    uint8_t status = r[MDP_SecurityStatus_SecurityTradingStatus], reason = r[MDP_SecurityStatus_HaltReason];
    uint8_t event = r[MDP_SecurityStatus_SecurityTradingEvent];
    int changes = status != MDP_NULL_U8 && status != MDP_STATUS_NO_CHANGE;
    if (security_id != MDP_NULL_I32) {
        mdp_instrument *b = mdp_instrument_of(h, channel, security_id);
        if (!b) return;
        if (changes) b->trading_status = status;
        mdp_tick_status(h, ch, b, time, 0, reason, event);
        return;
    }
    uint64_t group = mdp_six(r + MDP_SecurityStatus_SecurityGroup), asset = mdp_six(r + MDP_SecurityStatus_Asset);
    uint32_t found = 0;
    for (uint32_t i = ch->first_instrument; i != MDP_NONE; i = h->instruments[i].next_in_channel) {
        mdp_instrument *b = &h->instruments[i];
        if (b->group != group || (asset && b->asset != asset) || !(b->flags & MDP_DEFINED)) continue;
        found++;
        if (changes) b->trading_status = status;
        if ((b->flags & (MDP_SELECTED | MDP_DELETED)) == MDP_SELECTED) mdp_tick_status(h, ch, b, time, 0, reason, event);
    }
    h->count.unmapped += !found;
}

#endif
