/* dbn_records.h: the records of Databento Binary Encoding, versions 1 to 3, as they lie in a stream.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Little-endian and packed: metadata of versions 1 and 2 is not padded, so a record may begin at any address.
 * Records that carry ticks are the same in all three versions; those that differ carry their version in the
 * name. A record may be longer than its struct (a later addition, or ts_out as its last eight bytes).
 */
#ifndef MDFEEDD_DBN_RECORDS_H
#define MDFEEDD_DBN_RECORDS_H
#include <stddef.h>
#include <stdint.h>

#define DBN_STRUCT typedef struct __attribute__((packed, may_alias))

enum dbn_rtype {
    DBN_TRADE = 0x00,
    DBN_MBP_1 = 0x01, /* tbbo too: only the metadata's schema tells them apart */
    DBN_MBP_10 = 0x0A,
    DBN_OHLCV_OLD = 0x11, /* interval by the metadata's schema */
    DBN_STATUS = 0x12,
    DBN_DEFINITION = 0x13,
    DBN_IMBALANCE = 0x14,
    DBN_ERROR = 0x15,
    DBN_MAPPING = 0x16,
    DBN_SYSTEM = 0x17,
    DBN_STATISTICS = 0x18,
    DBN_OHLCV_1S = 0x20,
    DBN_OHLCV_1M = 0x21,
    DBN_OHLCV_1H = 0x22,
    DBN_OHLCV_1D = 0x23,
    DBN_OHLCV_EOD = 0x24,
    DBN_MBO = 0xA0,
    DBN_CMBP_1 = 0xB1,
    DBN_CBBO_1S = 0xC0,
    DBN_CBBO_1M = 0xC1,
    DBN_TCBBO = 0xC2,
    DBN_BBO_1S = 0xC3,
    DBN_BBO_1M = 0xC4,
};

enum dbn_schema {
    DBN_SCHEMA_TBBO = 3,
    DBN_SCHEMA_OHLCV_1S = 5,
    DBN_SCHEMA_OHLCV_1M = 6,
    DBN_SCHEMA_OHLCV_1H = 7,
    DBN_SCHEMA_OHLCV_1D = 8,
    DBN_SCHEMA_OHLCV_EOD = 13,
    DBN_SCHEMA_NONE = 0xFFFF,
};

enum dbn_flag {
    DBN_LAST = 128,
    DBN_TOB = 64,
    DBN_IS_SNAPSHOT = 32,
    DBN_BAD_TS_RECV = 8,
    DBN_MAYBE_BAD_BOOK = 4,
};

#define DBN_PRICE_UNDEF INT64_MAX
#define DBN_TIME_UNDEF UINT64_MAX
#define DBN_SIZE_UNDEF UINT32_MAX
#define DBN_HEADER_BYTES 16u
#define DBN_MAX_RECORD_BYTES 1020u /* a length byte counts words of four */

DBN_STRUCT dbn_header {
    uint8_t length, rtype;
    uint16_t publisher_id;
    uint32_t instrument_id;
    uint64_t ts_event;
} dbn_header;

DBN_STRUCT dbn_level {
    int64_t bid_px, ask_px;
    uint32_t bid_sz, ask_sz, bid_ct, ask_ct; /* consolidated: u16 publisher and u16 zero, not counts */
} dbn_level;

DBN_STRUCT dbn_mbo {
    dbn_header hd;
    uint64_t order_id;
    int64_t price;
    uint32_t size;
    uint8_t flags, channel_id;
    char action, side;
    uint64_t ts_recv;
    int32_t ts_in_delta;
    uint32_t sequence;
} dbn_mbo;

DBN_STRUCT dbn_trade { /* the first 48 bytes of mbp-1, mbp-10, cmbp-1, bbo and cbbo, too */
    dbn_header hd;
    int64_t price;
    uint32_t size;
    char action, side;
    uint8_t flags, depth;
    uint64_t ts_recv;
    int32_t ts_in_delta;
    uint32_t sequence;
} dbn_trade;

DBN_STRUCT dbn_mbp_1 {
    dbn_trade base;
    dbn_level level;
} dbn_mbp_1;

DBN_STRUCT dbn_mbp_10 {
    dbn_trade base;
    dbn_level level[10];
} dbn_mbp_10;

DBN_STRUCT dbn_ohlcv {
    dbn_header hd;
    int64_t open, high, low, close;
    uint64_t volume;
} dbn_ohlcv;

DBN_STRUCT dbn_status {
    dbn_header hd;
    uint64_t ts_recv;
    uint16_t action, reason, trading_event;
    char is_trading, is_quoting, is_short_sell_restricted;
    uint8_t reserved[7];
} dbn_status;

DBN_STRUCT dbn_statistics_v1 { /* and version 2 */
    dbn_header hd;
    uint64_t ts_recv, ts_ref;
    int64_t price;
    int32_t quantity;
    uint32_t sequence;
    int32_t ts_in_delta;
    uint16_t stat_type, channel_id;
    uint8_t update_action, stat_flags, reserved[6];
} dbn_statistics_v1;

DBN_STRUCT dbn_statistics_v3 {
    dbn_header hd;
    uint64_t ts_recv, ts_ref;
    int64_t price, quantity;
    uint32_t sequence;
    int32_t ts_in_delta;
    uint16_t stat_type, channel_id;
    uint8_t update_action, stat_flags, reserved[18];
} dbn_statistics_v3;

DBN_STRUCT dbn_imbalance {
    dbn_header hd;
    uint64_t ts_recv;
    int64_t ref_price;
    uint64_t auction_time;
    int64_t cont_book_clr_price, auct_interest_clr_price, ssr_filling_price, ind_match_price;
    int64_t upper_collar, lower_collar;
    uint32_t paired_qty, total_imbalance_qty, market_imbalance_qty, unpaired_qty;
    char auction_type, side;
    uint8_t auction_status, freeze_status, num_extensions;
    char unpaired_side, significant_imbalance;
    uint8_t reserved;
} dbn_imbalance;

DBN_STRUCT dbn_definition { /* what all versions have at the same place; the rest is read by Python */
    dbn_header hd;
    uint64_t ts_recv;
    int64_t min_price_increment, display_factor;
    uint64_t expiration, activation;
    int64_t high_limit_price, low_limit_price, max_price_variation;
} dbn_definition;

#define DBN_AT(type, field, offset) \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " lies at " #offset)
_Static_assert(sizeof(dbn_header) == 16 && sizeof(dbn_level) == 32, "DBN layout");
_Static_assert(sizeof(dbn_mbo) == 56 && sizeof(dbn_trade) == 48 && sizeof(dbn_mbp_1) == 80, "DBN layout");
_Static_assert(sizeof(dbn_mbp_10) == 368 && sizeof(dbn_ohlcv) == 56 && sizeof(dbn_status) == 40, "DBN layout");
_Static_assert(sizeof(dbn_statistics_v1) == 64 && sizeof(dbn_statistics_v3) == 80, "DBN layout");
_Static_assert(sizeof(dbn_imbalance) == 112 && sizeof(dbn_definition) == 80, "DBN layout");
DBN_AT(dbn_mbo, price, 24); DBN_AT(dbn_mbo, flags, 36); DBN_AT(dbn_mbo, ts_recv, 40); DBN_AT(dbn_mbo, sequence, 52);
DBN_AT(dbn_trade, action, 28); DBN_AT(dbn_trade, flags, 30); DBN_AT(dbn_trade, ts_recv, 32);
DBN_AT(dbn_trade, sequence, 44); DBN_AT(dbn_mbp_1, level, 48); DBN_AT(dbn_level, bid_ct, 24);
DBN_AT(dbn_status, action, 24); DBN_AT(dbn_status, is_trading, 30);
DBN_AT(dbn_statistics_v1, quantity, 40); DBN_AT(dbn_statistics_v1, stat_flags, 57);
DBN_AT(dbn_statistics_v3, quantity, 40); DBN_AT(dbn_statistics_v3, stat_flags, 61);
DBN_AT(dbn_imbalance, ind_match_price, 64); DBN_AT(dbn_imbalance, paired_qty, 88); DBN_AT(dbn_imbalance, side, 105);
DBN_AT(dbn_definition, min_price_increment, 24); DBN_AT(dbn_definition, expiration, 40);
#undef DBN_AT

#endif
