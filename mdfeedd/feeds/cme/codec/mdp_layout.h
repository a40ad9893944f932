/* CME MDP 3.0: the one table of what lies where in a message.
 *
 * Whatever reads a message takes its offsets from here: the books, the definitions, the flat decoder and the
 * decoder for people. A test holds every line against CME's own schema files, for each schema version we have
 * (5, 6, 8 to 13), so a line here is never a matter of opinion.
 *
 * A packet is  u32 MsgSeqNum, u64 SendingTime, message*.  A message is  u16 MsgSize (these ten bytes included),
 * u16 BlockLength, u16 TemplateID, u16 SchemaID, u16 Version, root[BlockLength], group*.  A group is a dimension
 * (u16 blockLength, u8 numInGroup; in the 8-byte form the number is the last byte) and numInGroup entries of
 * blockLength each. All integers are little-endian and unaligned. The lengths in the message, never ours, say
 * where the next thing begins: newer versions append fields to blocks and groups to messages.
 *
 * Two ways a field can be absent though its template is known:
 *  - the block is too short: an older version. ROOT_MIN and <group>_MIN are the bytes that every version we have
 *    a schema of carries; a shorter block is no valid message, and what lies beyond must be asked for.
 *  - the header's version is below `since`: the bytes are there, but they are padding that reads 0. Newer fields
 *    were put into the padding of unchanged blocks (Size of 35, MDTradeEntryID of 42, TradeableSize of 46).
 * MDP_HAS() asks both. `since` is 0 for what a template has had from its start.
 *
 * Schema 9 replaced the templates 27 to 44 by twins of the same layout whose prices count 1e-9 instead of 1e-7:
 * one line serves both, the old id beside the new one (0: there is none). Template 36, gone with schema 9, has
 * no twin; mdp_is_old() says which ids count in 1e-7.
 */
#ifndef MDP_LAYOUT_H
#define MDP_LAYOUT_H

#include <stdint.h>

#include "mdp_layout_define.h"
#include "mdp_layout_market.h"

/* X(template, id, old id or 0, bytes of the root that all versions carry) */
#define MDP_TEMPLATES(X)                  \
    X(ChannelReset, 4, 0, 9)              \
    X(Heartbeat, 12, 0, 0)                \
    X(Login, 15, 0, 1)                    \
    X(Logout, 16, 0, 180)                 \
    X(SecurityStatus, 30, 0, 30)          \
    X(Volume, 37, 0, 9)                   \
    X(QuoteRequest, 39, 0, 32)            \
    X(Book, 46, 32, 9)                    \
    X(OrderBook, 47, 43, 9)               \
    X(TradeSummary, 48, 42, 9)            \
    X(DailyStatistics, 49, 33, 9)         \
    X(LimitsBanding, 50, 34, 9)           \
    X(SessionStatistics, 51, 35, 9)       \
    X(Snapshot, 52, 38, 59)               \
    X(SnapshotOrderBook, 53, 44, 28)      \
    X(Future, 54, 27, 214)                \
    X(Option, 55, 41, 211)                \
    X(Spread, 56, 29, 193)                \
    X(FixedIncome, 57, 0, 338)            \
    X(Repo, 58, 0, 255)                   \
    X(TopOrders, 59, 0, 13)               \
    X(Workup, 60, 0, 30)                  \
    X(SnapshotTcp, 61, 0, 37)             \
    X(CollateralValue, 62, 0, 9)          \
    X(FX, 63, 0, 309)                     \
    X(BookLongQty, 64, 0, 9)              \
    X(TradeSummaryLongQty, 65, 0, 9)      \
    X(VolumeLongQty, 66, 0, 9)            \
    X(SessionStatisticsLongQty, 67, 0, 9) \
    X(SnapshotTcpLongQty, 68, 0, 37)      \
    X(SnapshotLongQty, 69, 0, 59)         \
    X(Trade, 36, 0, 9)

/* X(template, group, bytes of the dimension, bytes of an entry that all versions carry, since, since of the old id)
 * in wire order. Groups were only ever appended, so one that is absent is absent together with all after it. */
#define MDP_GROUPS(X)                                     \
    X(ChannelReset, NoMDEntries, 3, 2, 0, 0)              \
    X(Volume, NoMDEntries, 3, 13, 0, 0)                   \
    X(QuoteRequest, NoRelatedSym, 3, 30, 0, 0)            \
    X(Book, NoMDEntries, 3, 27, 0, 0)                     \
    X(Book, NoOrderIDEntries, 8, 22, 0, 7)                \
    X(OrderBook, NoMDEntries, 3, 34, 0, 0)                \
    X(TradeSummary, NoMDEntries, 3, 26, 0, 0)             \
    X(TradeSummary, NoOrderIDEntries, 8, 12, 0, 0)        \
    X(DailyStatistics, NoMDEntries, 3, 25, 0, 0)          \
    X(LimitsBanding, NoMDEntries, 3, 32, 0, 0)            \
    X(SessionStatistics, NoMDEntries, 3, 19, 0, 0)        \
    X(Snapshot, NoMDEntries, 3, 22, 0, 0)                 \
    X(SnapshotOrderBook, NoMDEntries, 3, 29, 0, 0)        \
    X(Future, NoEvents, 3, 9, 0, 0)                       \
    X(Future, NoMDFeedTypes, 3, 4, 0, 0)                  \
    X(Future, NoInstAttrib, 3, 4, 0, 0)                   \
    X(Future, NoLotTypeRules, 3, 5, 0, 0)                 \
    X(Option, NoEvents, 3, 9, 0, 0)                       \
    X(Option, NoMDFeedTypes, 3, 4, 0, 0)                  \
    X(Option, NoInstAttrib, 3, 4, 0, 0)                   \
    X(Option, NoLotTypeRules, 3, 5, 0, 0)                 \
    X(Option, NoUnderlyings, 3, 24, 0, 0)                 \
    X(Option, NoRelatedInstruments, 3, 24, 0, 7)          \
    X(Spread, NoEvents, 3, 9, 0, 0)                       \
    X(Spread, NoMDFeedTypes, 3, 4, 0, 0)                  \
    X(Spread, NoInstAttrib, 3, 4, 0, 0)                   \
    X(Spread, NoLotTypeRules, 3, 5, 0, 0)                 \
    X(Spread, NoLegs, 3, 18, 0, 0)                        \
    X(FixedIncome, NoEvents, 3, 9, 0, 0)                  \
    X(FixedIncome, NoMDFeedTypes, 3, 4, 0, 0)             \
    X(FixedIncome, NoInstAttrib, 3, 4, 0, 0)              \
    X(FixedIncome, NoLotTypeRules, 3, 5, 0, 0)            \
    X(Repo, NoEvents, 3, 9, 0, 0)                         \
    X(Repo, NoMDFeedTypes, 3, 4, 0, 0)                    \
    X(Repo, NoInstAttrib, 3, 4, 0, 0)                     \
    X(Repo, NoLotTypeRules, 3, 5, 0, 0)                   \
    X(Repo, NoUnderlyings, 3, 108, 0, 0)                  \
    X(Repo, NoRelatedInstruments, 3, 32, 0, 0)            \
    X(Repo, NoBrokenDates, 3, 16, 13, 0)                  \
    X(TopOrders, NoMDEntries, 3, 29, 0, 0)                \
    X(Workup, NoOrderIDEntries, 3, 10, 0, 0)              \
    X(SnapshotTcp, NoMDEntries, 3, 26, 0, 0)              \
    X(CollateralValue, NoMDEntries, 3, 38, 0, 0)          \
    X(FX, NoEvents, 3, 9, 0, 0)                           \
    X(FX, NoMDFeedTypes, 3, 4, 0, 0)                      \
    X(FX, NoInstAttrib, 3, 4, 0, 0)                       \
    X(FX, NoLotTypeRules, 3, 9, 0, 0)                     \
    X(FX, NoTradingSessions, 3, 18, 0, 0)                 \
    X(BookLongQty, NoMDEntries, 3, 31, 0, 0)              \
    X(BookLongQty, NoOrderIDEntries, 8, 22, 0, 0)         \
    X(TradeSummaryLongQty, NoMDEntries, 3, 34, 0, 0)      \
    X(TradeSummaryLongQty, NoOrderIDEntries, 8, 12, 0, 0) \
    X(VolumeLongQty, NoMDEntries, 3, 17, 0, 0)            \
    X(SessionStatisticsLongQty, NoMDEntries, 3, 27, 0, 0) \
    X(SnapshotTcpLongQty, NoMDEntries, 3, 23, 0, 0)       \
    X(SnapshotLongQty, NoMDEntries, 3, 23, 0, 0)          \
    X(Trade, NoMDEntries, 3, 30, 0, 0)

/* X(template, group or Root, field, offset, type, since). The types:
 *   u8 i8 u16 i16 u32 i32 u64 i64     with _null: the largest value of the type means "no value"
 *   price price_null                  i64, 1e-9 units (1e-7 under an old id); constant exponent, not on the wire
 *   qty4                              i32, 1e-4 units, null as i32_null
 *   time                              u64, UNIX ns
 *   date                              u16, days since 1970-01-01, null as u16_null
 *   month_year                        u16 year, u8 month, u8 day, u8 week, each with its null
 *   bits8 bits32                      flags
 *   chr(n)                            n characters, padded with 0 or space
 * Constant fields take no bytes and have no line. */
#define MDP_FIELDS(X)                                                                               \
    MDP_FIELDS_ChannelReset(X) MDP_FIELDS_Heartbeat(X) MDP_FIELDS_Login(X) MDP_FIELDS_Logout(X)     \
    MDP_FIELDS_SecurityStatus(X) MDP_FIELDS_Volume(X) MDP_FIELDS_QuoteRequest(X) MDP_FIELDS_Book(X) \
    MDP_FIELDS_OrderBook(X) MDP_FIELDS_TradeSummary(X) MDP_FIELDS_DailyStatistics(X)                \
    MDP_FIELDS_LimitsBanding(X) MDP_FIELDS_SessionStatistics(X) MDP_FIELDS_Snapshot(X)              \
    MDP_FIELDS_SnapshotOrderBook(X) MDP_FIELDS_Future(X) MDP_FIELDS_Option(X) MDP_FIELDS_Spread(X)  \
    MDP_FIELDS_FixedIncome(X) MDP_FIELDS_Repo(X) MDP_FIELDS_TopOrders(X) MDP_FIELDS_Workup(X)       \
    MDP_FIELDS_SnapshotTcp(X) MDP_FIELDS_CollateralValue(X) MDP_FIELDS_FX(X)                        \
    MDP_FIELDS_BookLongQty(X) MDP_FIELDS_TradeSummaryLongQty(X) MDP_FIELDS_VolumeLongQty(X)         \
    MDP_FIELDS_SessionStatisticsLongQty(X) MDP_FIELDS_SnapshotTcpLongQty(X)                         \
    MDP_FIELDS_SnapshotLongQty(X) MDP_FIELDS_Trade(X)

/* MDP_T_Book, MDP_T_Book_OLD, MDP_Book_ROOT_MIN */
enum mdp_template {
#define X(template, id, old, root) MDP_T_##template = id, MDP_T_##template##_OLD = old,
    MDP_TEMPLATES(X)
#undef X
};
enum mdp_root_min {
#define X(template, id, old, root) MDP_##template##_ROOT_MIN = root,
    MDP_TEMPLATES(X)
#undef X
};

/* MDP_Book_NoMDEntries_MIN, MDP_Book_NoMDEntries_DIMENSION */
enum mdp_group_layout {
#define X(template, group, dimension, min, since, old_since) \
    MDP_##template##_##group##_MIN = min, MDP_##template##_##group##_DIMENSION = dimension,
    MDP_GROUPS(X)
#undef X
};

/* MDP_Book_MDEntryPx is the offset in the root or the entry, MDP_Book_MDEntryPx_SINCE the version, _END where
 * the field ends. A field's name is unique within its template. */
#define MDP_SIZE_u8 1
#define MDP_SIZE_u8_null 1
#define MDP_SIZE_i8 1
#define MDP_SIZE_i8_null 1
#define MDP_SIZE_u16 2
#define MDP_SIZE_u16_null 2
#define MDP_SIZE_i16 2
#define MDP_SIZE_u32 4
#define MDP_SIZE_u32_null 4
#define MDP_SIZE_i32 4
#define MDP_SIZE_i32_null 4
#define MDP_SIZE_i64 8
#define MDP_SIZE_u64 8
#define MDP_SIZE_u64_null 8
#define MDP_SIZE_price 8
#define MDP_SIZE_price_null 8
#define MDP_SIZE_qty4 4
#define MDP_SIZE_time 8
#define MDP_SIZE_date 2
#define MDP_SIZE_month_year 5
#define MDP_SIZE_bits8 1
#define MDP_SIZE_bits32 4
#define MDP_SIZE_chr(n) n

enum mdp_field_layout {
#define X(template, group, field, offset, type, since)                                  \
    MDP_##template##_##field = offset, MDP_##template##_##field##_SINCE = since,        \
    MDP_##template##_##field##_END = offset + MDP_SIZE_##type,
    MDP_FIELDS(X)
#undef X
};

/* Does a root or entry of `length` bytes under header version `version` carry the field? */
#define MDP_HAS(template, field, version, length)                                       \
    ((unsigned)(version) >= (unsigned)MDP_##template##_##field##_SINCE &&               \
     (unsigned)(length) >= (unsigned)MDP_##template##_##field##_END)

enum mdp_framing {
    MDP_PACKET_HEADER = 12,   /* MsgSeqNum, SendingTime */
    MDP_PACKET_SEQUENCE = 0,  /* u32 MsgSeqNum */
    MDP_PACKET_SENDING = 4,   /* u64 SendingTime, UNIX ns */
    MDP_MESSAGE_HEADER = 10,
    MDP_MESSAGE_SIZE = 0,     /* u16, the header included */
    MDP_MESSAGE_BLOCK = 2,    /* u16 BlockLength of the root */
    MDP_MESSAGE_TEMPLATE = 4, /* u16 TemplateID */
    MDP_MESSAGE_SCHEMA = 6,   /* u16 SchemaID, 1 */
    MDP_MESSAGE_VERSION = 8,  /* u16 Version */
    MDP_GROUP_BLOCK = 0,      /* u16 blockLength, in both dimensions */
    MDP_GROUP_NUMBER_3 = 2,   /* u8 numInGroup, in the dimension of 3 bytes */
    MDP_GROUP_NUMBER_8 = 7,   /* u8 numInGroup, in the dimension of 8 bytes */
    MDP_SCHEMA = 1,           /* the SchemaID of MDP 3.0 */
};

/* MatchEventIndicator */
enum mdp_event {
    MDP_LAST_TRADE = 0x01,
    MDP_LAST_VOLUME = 0x02,
    MDP_LAST_QUOTE = 0x04,
    MDP_LAST_STATISTICS = 0x08,
    MDP_LAST_IMPLIED = 0x10,
    MDP_RECOVERY = 0x20, /* resent after a channel reset */
    MDP_END_OF_EVENT = 0x80,
};

/* MDUpdateAction; OrderUpdateAction has the first three */
enum mdp_action {
    MDP_NEW = 0,
    MDP_CHANGE = 1,
    MDP_DELETE = 2,
    MDP_DELETE_THRU = 3,
    MDP_DELETE_FROM = 4,
    MDP_OVERLAY = 5,
};

/* MDEntryType */
enum mdp_entry_type {
    MDP_BID = '0',
    MDP_OFFER = '1',
    MDP_TRADE = '2',
    MDP_OPEN_PRICE = '4',
    MDP_SETTLEMENT_PRICE = '6',
    MDP_HIGH_TRADE = '7',
    MDP_LOW_TRADE = '8',
    MDP_VWAP = '9',
    MDP_CLEARED_VOLUME = 'B',
    MDP_OPEN_INTEREST = 'C',
    MDP_IMPLIED_BID = 'E',
    MDP_IMPLIED_OFFER = 'F',
    MDP_BOOK_RESET = 'J',
    MDP_HIGHEST_BID = 'N',
    MDP_LOWEST_OFFER = 'O',
    MDP_FIXING_PRICE = 'W',
    MDP_ELECTRONIC_VOLUME = 'e',
    MDP_LIMITS = 'g',
    MDP_MARKET_BEST_OFFER = 'w',
    MDP_MARKET_BEST_BID = 'x',
};

/* AggressorSide */
enum mdp_aggressor { MDP_NO_AGGRESSOR = 0, MDP_BUY = 1, MDP_SELL = 2 };

/* SecurityTradingStatus */
enum mdp_trading_status {
    MDP_STATUS_HALT = 2,
    MDP_STATUS_CLOSE = 4,
    MDP_STATUS_NEW_PRICE_INDICATION = 15,
    MDP_STATUS_READY_TO_TRADE = 17,
    MDP_STATUS_NOT_AVAILABLE = 18,
    MDP_STATUS_UNKNOWN = 20,
    MDP_STATUS_PRE_OPEN = 21,
    MDP_STATUS_PRE_CROSS = 24,
    MDP_STATUS_CROSS = 25,
    MDP_STATUS_POST_CLOSE = 26,
    MDP_STATUS_NO_CHANGE = 103,
    MDP_STATUS_PRIVATE_WORKUP = 201,
    MDP_STATUS_PUBLIC_WORKUP = 202,
};

/* HaltReason */
enum mdp_halt_reason {
    MDP_HALT_GROUP_SCHEDULE = 0,
    MDP_HALT_SURVEILLANCE = 1,
    MDP_HALT_MARKET_EVENT = 2,
    MDP_HALT_ACTIVATION = 3,
    MDP_HALT_EXPIRATION = 4,
    MDP_HALT_UNKNOWN = 5,
    MDP_HALT_RECOVERY = 6,
    MDP_HALT_TRADE_DATE_ROLL = 7,
};

/* SecurityTradingEvent */
enum mdp_trading_event {
    MDP_EVENT_NONE = 0,
    MDP_EVENT_NO_CANCEL = 1,
    MDP_EVENT_RESET_STATISTICS = 4,
    MDP_EVENT_IMPLIED_ON = 5,
    MDP_EVENT_IMPLIED_OFF = 6,
    MDP_EVENT_END_OF_WORKUP = 7,
};

/* SettlPriceType, flags */
enum mdp_settlement {
    MDP_SETTLEMENT_FINAL = 0x01,
    MDP_SETTLEMENT_ACTUAL = 0x02,
    MDP_SETTLEMENT_ROUNDED = 0x04,
    MDP_SETTLEMENT_INTRADAY = 0x08,
    MDP_SETTLEMENT_NULL = 0x80,
};

/* OpenCloseSettlFlag */
enum mdp_open_close {
    MDP_DAILY_OPEN_PRICE = 0,
    MDP_INDICATIVE_OPENING_PRICE = 5,
    MDP_INTRADAY_VWAP = 100,
    MDP_REPO_AVERAGE_8_30 = 101,
    MDP_REPO_AVERAGE_10 = 102,
    MDP_PREVIOUS_REPO_AVERAGE_10 = 103,
};

/* SecurityUpdateAction */
enum mdp_update { MDP_ADD = 'A', MDP_MODIFY = 'M', MDP_REMOVE = 'D' };

/* EventType of a definition */
enum mdp_life { MDP_ACTIVATION = 5, MDP_LAST_TRADE_DATE = 7 };

/* "No value" */
#define MDP_NULL_I8 INT8_MAX
#define MDP_NULL_U8 UINT8_MAX
#define MDP_NULL_U16 UINT16_MAX
#define MDP_NULL_I32 INT32_MAX
#define MDP_NULL_U32 UINT32_MAX
#define MDP_NULL_U64 UINT64_MAX
#define MDP_NULL_PRICE INT64_MAX

#define MDP_OLD_PRICE_UNITS 100 /* 1e-9 units in one of an old template's price */

/* Is the id one of the old templates, whose prices count 1e-7? */
static inline int mdp_is_old(unsigned template_id) {
    switch (template_id) {
    case 27: case 29: case 32: case 33: case 34: case 35: case 36: case 38: case 41: case 42: case 43: case 44:
        return 1;
    default:
        return 0;
    }
}

#endif
