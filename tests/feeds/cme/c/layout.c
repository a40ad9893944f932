/* The names that mdp_layout.h makes of its table, as C and as C++. Ends with 0, or with the line that is wrong. */
#include "mdp_layout.h"

#define MUST(condition)      \
    do {                     \
        if (!(condition))    \
            return __LINE__; \
    } while (0)

int main(void) {
    MUST(MDP_T_Book == 46 && MDP_T_Book_OLD == 32 && MDP_T_Trade == 36 && MDP_T_FX_OLD == 0);
    MUST(MDP_Book_ROOT_MIN == 9 && MDP_Book_NoMDEntries_MIN == 27);
    MUST(MDP_Book_NoMDEntries_DIMENSION == 3 && MDP_Book_NoOrderIDEntries_DIMENSION == 8);
    MUST(MDP_Workup_NoOrderIDEntries_DIMENSION == 3);
    MUST(MDP_Book_MDEntryType == 26 && MDP_Book_TradeableSize == 27 && MDP_Book_TradeableSize_END == 31);
    MUST(MDP_TradeSummaryLongQty_MDTradeEntryID == 28 && MDP_TradeSummaryLongQty_AggressorSide == 32);

    MUST(!MDP_HAS(Book, TradeableSize, 9, 32)); /* padding below version 10 */
    MUST(MDP_HAS(Book, TradeableSize, 10, 32));
    MUST(!MDP_HAS(Book, TradeableSize, 13, 30)); /* the block is too short */
    MUST(MDP_HAS(Book, TradeableSize, 99, 31));
    MUST(!MDP_HAS(TradeSummary, MDTradeEntryID, 6, 32) && MDP_HAS(TradeSummary, MDTradeEntryID, 9, 32));
    MUST(MDP_HAS(SessionStatistics, MDEntrySize, 8, 24) && !MDP_HAS(SessionStatistics, MDEntrySize, 6, 24));
    MUST(!MDP_HAS(Future, InstrumentGUID, 9, 216) && MDP_HAS(Future, InstrumentGUID, 10, 224));

    MUST(mdp_is_old(32) && mdp_is_old(36) && !mdp_is_old(46) && !mdp_is_old(37) && !mdp_is_old(0));
    return 0;
}
