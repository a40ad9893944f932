/* The fields of CME's market data messages: a part of mdp_layout.h, which says how to read it and includes it.
 *
 * X(template, group or Root, field, offset, type, since)
 */
#ifndef MDP_LAYOUT_MARKET_H
#define MDP_LAYOUT_MARKET_H

#define MDP_FIELDS_ChannelReset(X)                          \
    X(ChannelReset, Root, TransactTime, 0, time, 0)         \
    X(ChannelReset, Root, MatchEventIndicator, 8, bits8, 0) \
    X(ChannelReset, NoMDEntries, ApplID, 0, i16, 3)

#define MDP_FIELDS_Heartbeat(X) /* no field */

#define MDP_FIELDS_Login(X) \
    X(Login, Root, HeartBtInt, 0, i8, 0)

#define MDP_FIELDS_Logout(X) \
    X(Logout, Root, Text, 0, chr(180), 0)

#define MDP_FIELDS_SecurityStatus(X)                               \
    X(SecurityStatus, Root, TransactTime, 0, time, 0)              \
    X(SecurityStatus, Root, SecurityGroup, 8, chr(6), 0)           \
    X(SecurityStatus, Root, Asset, 14, chr(6), 0)                  \
    X(SecurityStatus, Root, SecurityID, 20, i32_null, 0)           \
    X(SecurityStatus, Root, TradeDate, 24, date, 0)                \
    X(SecurityStatus, Root, MatchEventIndicator, 26, bits8, 0)     \
    X(SecurityStatus, Root, SecurityTradingStatus, 27, u8_null, 0) \
    X(SecurityStatus, Root, HaltReason, 28, u8, 0)                 \
    X(SecurityStatus, Root, SecurityTradingEvent, 29, u8, 0)

#define MDP_FIELDS_Volume(X)                          \
    X(Volume, Root, TransactTime, 0, time, 0)         \
    X(Volume, Root, MatchEventIndicator, 8, bits8, 0) \
    X(Volume, NoMDEntries, MDEntrySize, 0, i32, 0)    \
    X(Volume, NoMDEntries, SecurityID, 4, i32, 0)     \
    X(Volume, NoMDEntries, RptSeq, 8, u32, 0)         \
    X(Volume, NoMDEntries, MDUpdateAction, 12, u8, 0)

#define MDP_FIELDS_QuoteRequest(X)                           \
    X(QuoteRequest, Root, TransactTime, 0, time, 0)          \
    X(QuoteRequest, Root, QuoteReqID, 8, chr(23), 0)         \
    X(QuoteRequest, Root, MatchEventIndicator, 31, bits8, 0) \
    X(QuoteRequest, NoRelatedSym, Symbol, 0, chr(20), 0)     \
    X(QuoteRequest, NoRelatedSym, SecurityID, 20, i32, 0)    \
    X(QuoteRequest, NoRelatedSym, OrderQty, 24, i32_null, 0) \
    X(QuoteRequest, NoRelatedSym, QuoteType, 28, i8, 0)      \
    X(QuoteRequest, NoRelatedSym, Side, 29, i8_null, 0)

#define MDP_FIELDS_Book(X)                                     \
    X(Book, Root, TransactTime, 0, time, 0)                    \
    X(Book, Root, MatchEventIndicator, 8, bits8, 0)            \
    X(Book, NoMDEntries, MDEntryPx, 0, price_null, 0)          \
    X(Book, NoMDEntries, MDEntrySize, 8, i32_null, 0)          \
    X(Book, NoMDEntries, SecurityID, 12, i32, 0)               \
    X(Book, NoMDEntries, RptSeq, 16, u32, 0)                   \
    X(Book, NoMDEntries, NumberOfOrders, 20, i32_null, 0)      \
    X(Book, NoMDEntries, MDPriceLevel, 24, u8, 0)              \
    X(Book, NoMDEntries, MDUpdateAction, 25, u8, 0)            \
    X(Book, NoMDEntries, MDEntryType, 26, chr(1), 0)           \
    X(Book, NoMDEntries, TradeableSize, 27, i32_null, 10)      \
    X(Book, NoOrderIDEntries, OrderID, 0, u64, 0)              \
    X(Book, NoOrderIDEntries, MDOrderPriority, 8, u64_null, 0) \
    X(Book, NoOrderIDEntries, MDDisplayQty, 16, i32_null, 0)   \
    X(Book, NoOrderIDEntries, ReferenceID, 20, u8_null, 0)     \
    X(Book, NoOrderIDEntries, OrderUpdateAction, 21, u8, 0)

#define MDP_FIELDS_OrderBook(X)                                \
    X(OrderBook, Root, TransactTime, 0, time, 0)               \
    X(OrderBook, Root, MatchEventIndicator, 8, bits8, 0)       \
    X(OrderBook, NoMDEntries, OrderID, 0, u64_null, 0)         \
    X(OrderBook, NoMDEntries, MDOrderPriority, 8, u64_null, 0) \
    X(OrderBook, NoMDEntries, MDEntryPx, 16, price_null, 0)    \
    X(OrderBook, NoMDEntries, MDDisplayQty, 24, i32_null, 0)   \
    X(OrderBook, NoMDEntries, SecurityID, 28, i32, 0)          \
    X(OrderBook, NoMDEntries, MDUpdateAction, 32, u8, 0)       \
    X(OrderBook, NoMDEntries, MDEntryType, 33, chr(1), 0)

#define MDP_FIELDS_TradeSummary(X)                                \
    X(TradeSummary, Root, TransactTime, 0, time, 0)               \
    X(TradeSummary, Root, MatchEventIndicator, 8, bits8, 0)       \
    X(TradeSummary, NoMDEntries, MDEntryPx, 0, price, 0)          \
    X(TradeSummary, NoMDEntries, MDEntrySize, 8, i32, 0)          \
    X(TradeSummary, NoMDEntries, SecurityID, 12, i32, 0)          \
    X(TradeSummary, NoMDEntries, RptSeq, 16, u32, 0)              \
    X(TradeSummary, NoMDEntries, NumberOfOrders, 20, i32_null, 0) \
    X(TradeSummary, NoMDEntries, AggressorSide, 24, u8_null, 0)   \
    X(TradeSummary, NoMDEntries, MDUpdateAction, 25, u8, 0)       \
    X(TradeSummary, NoMDEntries, MDTradeEntryID, 26, u32_null, 7) \
    X(TradeSummary, NoOrderIDEntries, OrderID, 0, u64, 0)         \
    X(TradeSummary, NoOrderIDEntries, LastQty, 8, i32, 0)

#define MDP_FIELDS_DailyStatistics(X)                                  \
    X(DailyStatistics, Root, TransactTime, 0, time, 0)                 \
    X(DailyStatistics, Root, MatchEventIndicator, 8, bits8, 0)         \
    X(DailyStatistics, NoMDEntries, MDEntryPx, 0, price_null, 0)       \
    X(DailyStatistics, NoMDEntries, MDEntrySize, 8, i32_null, 0)       \
    X(DailyStatistics, NoMDEntries, SecurityID, 12, i32, 0)            \
    X(DailyStatistics, NoMDEntries, RptSeq, 16, u32, 0)                \
    X(DailyStatistics, NoMDEntries, TradingReferenceDate, 20, date, 0) \
    X(DailyStatistics, NoMDEntries, SettlPriceType, 22, bits8, 0)      \
    X(DailyStatistics, NoMDEntries, MDUpdateAction, 23, u8, 0)         \
    X(DailyStatistics, NoMDEntries, MDEntryType, 24, chr(1), 0)

#define MDP_FIELDS_LimitsBanding(X)                                     \
    X(LimitsBanding, Root, TransactTime, 0, time, 0)                    \
    X(LimitsBanding, Root, MatchEventIndicator, 8, bits8, 0)            \
    X(LimitsBanding, NoMDEntries, HighLimitPrice, 0, price_null, 0)     \
    X(LimitsBanding, NoMDEntries, LowLimitPrice, 8, price_null, 0)      \
    X(LimitsBanding, NoMDEntries, MaxPriceVariation, 16, price_null, 0) \
    X(LimitsBanding, NoMDEntries, SecurityID, 24, i32, 0)               \
    X(LimitsBanding, NoMDEntries, RptSeq, 28, u32, 0)

#define MDP_FIELDS_SessionStatistics(X)                                   \
    X(SessionStatistics, Root, TransactTime, 0, time, 0)                  \
    X(SessionStatistics, Root, MatchEventIndicator, 8, bits8, 0)          \
    X(SessionStatistics, NoMDEntries, MDEntryPx, 0, price, 0)             \
    X(SessionStatistics, NoMDEntries, SecurityID, 8, i32, 0)              \
    X(SessionStatistics, NoMDEntries, RptSeq, 12, u32, 0)                 \
    X(SessionStatistics, NoMDEntries, OpenCloseSettlFlag, 16, u8_null, 0) \
    X(SessionStatistics, NoMDEntries, MDUpdateAction, 17, u8, 0)          \
    X(SessionStatistics, NoMDEntries, MDEntryType, 18, chr(1), 0)         \
    X(SessionStatistics, NoMDEntries, MDEntrySize, 19, i32_null, 8)

#define MDP_FIELDS_Snapshot(X)                                   \
    X(Snapshot, Root, LastMsgSeqNumProcessed, 0, u32, 0)         \
    X(Snapshot, Root, TotNumReports, 4, u32, 0)                  \
    X(Snapshot, Root, SecurityID, 8, i32, 0)                     \
    X(Snapshot, Root, RptSeq, 12, u32, 0)                        \
    X(Snapshot, Root, TransactTime, 16, time, 0)                 \
    X(Snapshot, Root, LastUpdateTime, 24, time, 0)               \
    X(Snapshot, Root, TradeDate, 32, date, 0)                    \
    X(Snapshot, Root, MDSecurityTradingStatus, 34, u8_null, 0)   \
    X(Snapshot, Root, HighLimitPrice, 35, price_null, 0)         \
    X(Snapshot, Root, LowLimitPrice, 43, price_null, 0)          \
    X(Snapshot, Root, MaxPriceVariation, 51, price_null, 0)      \
    X(Snapshot, NoMDEntries, MDEntryPx, 0, price_null, 0)        \
    X(Snapshot, NoMDEntries, MDEntrySize, 8, i32_null, 0)        \
    X(Snapshot, NoMDEntries, NumberOfOrders, 12, i32_null, 0)    \
    X(Snapshot, NoMDEntries, MDPriceLevel, 16, i8_null, 0)       \
    X(Snapshot, NoMDEntries, TradingReferenceDate, 17, date, 0)  \
    X(Snapshot, NoMDEntries, OpenCloseSettlFlag, 19, u8_null, 0) \
    X(Snapshot, NoMDEntries, SettlPriceType, 20, bits8, 0)       \
    X(Snapshot, NoMDEntries, MDEntryType, 21, chr(1), 0)

#define MDP_FIELDS_SnapshotOrderBook(X)                                \
    X(SnapshotOrderBook, Root, LastMsgSeqNumProcessed, 0, u32, 0)      \
    X(SnapshotOrderBook, Root, TotNumReports, 4, u32, 0)               \
    X(SnapshotOrderBook, Root, SecurityID, 8, i32, 0)                  \
    X(SnapshotOrderBook, Root, NoChunks, 12, u32, 0)                   \
    X(SnapshotOrderBook, Root, CurrentChunk, 16, u32, 0)               \
    X(SnapshotOrderBook, Root, TransactTime, 20, time, 0)              \
    X(SnapshotOrderBook, NoMDEntries, OrderID, 0, u64, 0)              \
    X(SnapshotOrderBook, NoMDEntries, MDOrderPriority, 8, u64_null, 0) \
    X(SnapshotOrderBook, NoMDEntries, MDEntryPx, 16, price, 0)         \
    X(SnapshotOrderBook, NoMDEntries, MDDisplayQty, 24, i32, 0)        \
    X(SnapshotOrderBook, NoMDEntries, MDEntryType, 28, chr(1), 0)

#define MDP_FIELDS_TopOrders(X)                           \
    X(TopOrders, Root, TransactTime, 0, time, 0)          \
    X(TopOrders, Root, MatchEventIndicator, 8, bits8, 0)  \
    X(TopOrders, Root, SecurityID, 9, i32, 0)             \
    X(TopOrders, NoMDEntries, OrderID, 0, u64, 0)         \
    X(TopOrders, NoMDEntries, MDOrderPriority, 8, u64, 0) \
    X(TopOrders, NoMDEntries, MDEntryPx, 16, price, 0)    \
    X(TopOrders, NoMDEntries, MDDisplayQty, 24, i32, 0)   \
    X(TopOrders, NoMDEntries, MDEntryType, 28, chr(1), 0)

#define MDP_FIELDS_Workup(X)                           \
    X(Workup, Root, TransactTime, 0, time, 0)          \
    X(Workup, Root, MDEntryPx, 8, price_null, 0)       \
    X(Workup, Root, SecurityID, 16, i32, 0)            \
    X(Workup, Root, MatchEventIndicator, 20, bits8, 0) \
    X(Workup, Root, TradeDate, 21, date, 0)            \
    X(Workup, Root, TradeLinkID, 23, u32, 0)           \
    X(Workup, Root, SecurityTradingStatus, 27, u8, 0)  \
    X(Workup, Root, HaltReason, 28, u8, 0)             \
    X(Workup, Root, SecurityTradingEvent, 29, u8, 0)   \
    X(Workup, NoOrderIDEntries, OrderID, 0, u64, 0)    \
    X(Workup, NoOrderIDEntries, Side, 8, u8, 0)        \
    X(Workup, NoOrderIDEntries, AggressorIndicator, 9, u8_null, 0)

#define MDP_FIELDS_SnapshotTcp(X)                                   \
    X(SnapshotTcp, Root, TransactTime, 0, time, 0)                  \
    X(SnapshotTcp, Root, MatchEventIndicator, 8, bits8, 0)          \
    X(SnapshotTcp, Root, SecurityID, 9, i32, 0)                     \
    X(SnapshotTcp, Root, HighLimitPrice, 13, price_null, 0)         \
    X(SnapshotTcp, Root, LowLimitPrice, 21, price_null, 0)          \
    X(SnapshotTcp, Root, MaxPriceVariation, 29, price_null, 0)      \
    X(SnapshotTcp, NoMDEntries, MDEntryPx, 0, price_null, 0)        \
    X(SnapshotTcp, NoMDEntries, MDEntrySize, 8, i32_null, 0)        \
    X(SnapshotTcp, NoMDEntries, TradeableSize, 12, i32_null, 0)     \
    X(SnapshotTcp, NoMDEntries, NumberOfOrders, 16, i32_null, 0)    \
    X(SnapshotTcp, NoMDEntries, MDPriceLevel, 20, i8_null, 0)       \
    X(SnapshotTcp, NoMDEntries, OpenCloseSettlFlag, 21, u8_null, 0) \
    X(SnapshotTcp, NoMDEntries, MDEntryType, 22, chr(1), 0)         \
    X(SnapshotTcp, NoMDEntries, TradingReferenceDate, 23, date, 0)  \
    X(SnapshotTcp, NoMDEntries, SettlPriceType, 25, bits8, 0)

#define MDP_FIELDS_CollateralValue(X)                                              \
    X(CollateralValue, Root, TransactTime, 0, time, 0)                             \
    X(CollateralValue, Root, MatchEventIndicator, 8, bits8, 0)                     \
    X(CollateralValue, NoMDEntries, UnderlyingSecurityAltID, 0, chr(12), 0)        \
    X(CollateralValue, NoMDEntries, UnderlyingSecurityAltIDSource, 12, u8_null, 0) \
    X(CollateralValue, NoMDEntries, CollateralMarketPrice, 13, price, 0)           \
    X(CollateralValue, NoMDEntries, DirtyPrice, 21, price, 0)                      \
    X(CollateralValue, NoMDEntries, UnderlyingInstrumentGUID, 29, u64, 0)          \
    X(CollateralValue, NoMDEntries, MDStreamID, 37, u8_null, 0)

#define MDP_FIELDS_BookLongQty(X)                                     \
    X(BookLongQty, Root, TransactTime, 0, time, 0)                    \
    X(BookLongQty, Root, MatchEventIndicator, 8, bits8, 0)            \
    X(BookLongQty, NoMDEntries, MDEntryPx, 0, price_null, 0)          \
    X(BookLongQty, NoMDEntries, MDEntrySize, 8, u64_null, 0)          \
    X(BookLongQty, NoMDEntries, SecurityID, 16, i32, 0)               \
    X(BookLongQty, NoMDEntries, RptSeq, 20, u32, 0)                   \
    X(BookLongQty, NoMDEntries, NumberOfOrders, 24, i32_null, 0)      \
    X(BookLongQty, NoMDEntries, MDPriceLevel, 28, u8, 0)              \
    X(BookLongQty, NoMDEntries, MDUpdateAction, 29, u8, 0)            \
    X(BookLongQty, NoMDEntries, MDEntryType, 30, chr(1), 0)           \
    X(BookLongQty, NoOrderIDEntries, OrderID, 0, u64, 0)              \
    X(BookLongQty, NoOrderIDEntries, MDOrderPriority, 8, u64_null, 0) \
    X(BookLongQty, NoOrderIDEntries, MDDisplayQty, 16, i32_null, 0)   \
    X(BookLongQty, NoOrderIDEntries, ReferenceID, 20, u8_null, 0)     \
    X(BookLongQty, NoOrderIDEntries, OrderUpdateAction, 21, u8, 0)

#define MDP_FIELDS_TradeSummaryLongQty(X)                              \
    X(TradeSummaryLongQty, Root, TransactTime, 0, time, 0)             \
    X(TradeSummaryLongQty, Root, MatchEventIndicator, 8, bits8, 0)     \
    X(TradeSummaryLongQty, NoMDEntries, MDEntryPx, 0, price, 0)        \
    X(TradeSummaryLongQty, NoMDEntries, MDEntrySize, 8, u64, 0)        \
    X(TradeSummaryLongQty, NoMDEntries, SecurityID, 16, i32, 0)        \
    X(TradeSummaryLongQty, NoMDEntries, RptSeq, 20, u32, 0)            \
    X(TradeSummaryLongQty, NoMDEntries, NumberOfOrders, 24, i32, 0)    \
    X(TradeSummaryLongQty, NoMDEntries, MDTradeEntryID, 28, u32, 0)    \
    X(TradeSummaryLongQty, NoMDEntries, AggressorSide, 32, u8_null, 0) \
    X(TradeSummaryLongQty, NoMDEntries, MDUpdateAction, 33, u8, 0)     \
    X(TradeSummaryLongQty, NoOrderIDEntries, OrderID, 0, u64, 0)       \
    X(TradeSummaryLongQty, NoOrderIDEntries, LastQty, 8, i32, 0)

#define MDP_FIELDS_VolumeLongQty(X)                          \
    X(VolumeLongQty, Root, TransactTime, 0, time, 0)         \
    X(VolumeLongQty, Root, MatchEventIndicator, 8, bits8, 0) \
    X(VolumeLongQty, NoMDEntries, MDEntrySize, 0, u64, 0)    \
    X(VolumeLongQty, NoMDEntries, SecurityID, 8, i32, 0)     \
    X(VolumeLongQty, NoMDEntries, RptSeq, 12, u32, 0)        \
    X(VolumeLongQty, NoMDEntries, MDUpdateAction, 16, u8, 0)

#define MDP_FIELDS_SessionStatisticsLongQty(X)                                   \
    X(SessionStatisticsLongQty, Root, TransactTime, 0, time, 0)                  \
    X(SessionStatisticsLongQty, Root, MatchEventIndicator, 8, bits8, 0)          \
    X(SessionStatisticsLongQty, NoMDEntries, MDEntryPx, 0, price, 0)             \
    X(SessionStatisticsLongQty, NoMDEntries, MDEntrySize, 8, u64_null, 0)        \
    X(SessionStatisticsLongQty, NoMDEntries, SecurityID, 16, i32, 0)             \
    X(SessionStatisticsLongQty, NoMDEntries, RptSeq, 20, u32, 0)                 \
    X(SessionStatisticsLongQty, NoMDEntries, OpenCloseSettlFlag, 24, u8_null, 0) \
    X(SessionStatisticsLongQty, NoMDEntries, MDUpdateAction, 25, u8, 0)          \
    X(SessionStatisticsLongQty, NoMDEntries, MDEntryType, 26, chr(1), 0)

#define MDP_FIELDS_SnapshotTcpLongQty(X)                                   \
    X(SnapshotTcpLongQty, Root, TransactTime, 0, time, 0)                  \
    X(SnapshotTcpLongQty, Root, MatchEventIndicator, 8, bits8, 0)          \
    X(SnapshotTcpLongQty, Root, SecurityID, 9, i32, 0)                     \
    X(SnapshotTcpLongQty, Root, HighLimitPrice, 13, price_null, 0)         \
    X(SnapshotTcpLongQty, Root, LowLimitPrice, 21, price_null, 0)          \
    X(SnapshotTcpLongQty, Root, MaxPriceVariation, 29, price_null, 0)      \
    X(SnapshotTcpLongQty, NoMDEntries, MDEntryPx, 0, price_null, 0)        \
    X(SnapshotTcpLongQty, NoMDEntries, MDEntrySize, 8, u64_null, 0)        \
    X(SnapshotTcpLongQty, NoMDEntries, NumberOfOrders, 16, i32_null, 0)    \
    X(SnapshotTcpLongQty, NoMDEntries, MDPriceLevel, 20, u8_null, 0)       \
    X(SnapshotTcpLongQty, NoMDEntries, OpenCloseSettlFlag, 21, u8_null, 0) \
    X(SnapshotTcpLongQty, NoMDEntries, MDEntryType, 22, chr(1), 0)

#define MDP_FIELDS_SnapshotLongQty(X)                                   \
    X(SnapshotLongQty, Root, LastMsgSeqNumProcessed, 0, u32, 0)         \
    X(SnapshotLongQty, Root, TotNumReports, 4, u32, 0)                  \
    X(SnapshotLongQty, Root, SecurityID, 8, i32, 0)                     \
    X(SnapshotLongQty, Root, RptSeq, 12, u32, 0)                        \
    X(SnapshotLongQty, Root, TransactTime, 16, time, 0)                 \
    X(SnapshotLongQty, Root, LastUpdateTime, 24, time, 0)               \
    X(SnapshotLongQty, Root, TradeDate, 32, date, 0)                    \
    X(SnapshotLongQty, Root, MDSecurityTradingStatus, 34, u8_null, 0)   \
    X(SnapshotLongQty, Root, HighLimitPrice, 35, price_null, 0)         \
    X(SnapshotLongQty, Root, LowLimitPrice, 43, price_null, 0)          \
    X(SnapshotLongQty, Root, MaxPriceVariation, 51, price_null, 0)      \
    X(SnapshotLongQty, NoMDEntries, MDEntryPx, 0, price_null, 0)        \
    X(SnapshotLongQty, NoMDEntries, MDEntrySize, 8, u64_null, 0)        \
    X(SnapshotLongQty, NoMDEntries, NumberOfOrders, 16, i32_null, 0)    \
    X(SnapshotLongQty, NoMDEntries, MDPriceLevel, 20, u8_null, 0)       \
    X(SnapshotLongQty, NoMDEntries, OpenCloseSettlFlag, 21, u8_null, 0) \
    X(SnapshotLongQty, NoMDEntries, MDEntryType, 22, chr(1), 0)

#define MDP_FIELDS_Trade(X)                                \
    X(Trade, Root, TransactTime, 0, time, 0)               \
    X(Trade, Root, MatchEventIndicator, 8, bits8, 0)       \
    X(Trade, NoMDEntries, MDEntryPx, 0, price, 0)          \
    X(Trade, NoMDEntries, MDEntrySize, 8, i32, 0)          \
    X(Trade, NoMDEntries, SecurityID, 12, i32, 0)          \
    X(Trade, NoMDEntries, RptSeq, 16, u32, 0)              \
    X(Trade, NoMDEntries, NumberOfOrders, 20, i32_null, 0) \
    X(Trade, NoMDEntries, TradeID, 24, i32, 0)             \
    X(Trade, NoMDEntries, AggressorSide, 28, u8_null, 0)   \
    X(Trade, NoMDEntries, MDUpdateAction, 29, u8, 0)

#endif
