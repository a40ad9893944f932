"""Names of Bloomberg's fields and event types, where they mean something to a tick."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ASK_TIMES", "BID_TIMES", "DELAYED", "OF_INTEREST", "SEND_TIME", "STATISTICS", "SUBTYPE", "TRADE_TIMES",
    "TYPE",
]  # fmt: skip

TYPE: Final = "MKTDATA_EVENT_TYPE"
SUBTYPE: Final = "MKTDATA_EVENT_SUBTYPE"
DELAYED: Final = "IS_DELAYED_STREAM"
SEND_TIME: Final = "BLOOMBERG_SEND_TIME_RT"

BID_TIMES: Final = ("EVT_QUOTE_BID_TIME_RT", "BID_UPDATE_STAMP_RT")
ASK_TIMES: Final = ("EVT_QUOTE_ASK_TIME_RT", "ASK_UPDATE_STAMP_RT")
TRADE_TIMES: Final = (
    "EVT_TRADE_EXECUTION_TIME_RT",
    "EVT_TRADE_TIME_RT",
    "TRADE_UPDATE_STAMP_RT",
    "LAST_TRADE_PRICE_TIME_TODAY_RT",
    "TIME",
)
"""The first that is given counts: what is of the event itself before what is state."""

STATISTICS: Final[dict[str, tuple[int, bool]]] = {
    "OPEN": (1, True),
    "LOW": (4, True),
    "HIGH": (5, True),
    "VOLUME": (6, False),
    "PREV_SES_LAST_PRICE": (11, True),
    "VWAP": (13, True),
}
"""Field: its type in DBN's statistics schema, and whether it is a price (else a quantity)."""

OF_INTEREST: Final = (
    TYPE,
    SUBTYPE,
    DELAYED,
    "BID",
    "ASK",
    "BID_SIZE",
    "ASK_SIZE",
    "EVT_TRADE_PRICE_RT",
    "EVT_TRADE_SIZE_RT",
    "EVT_TRADE_IDENTIFIER_RT",
    "LAST_PRICE",
    "SIZE_LAST_TRADE",
    SEND_TIME,
    *BID_TIMES,
    *ASK_TIMES,
    *TRADE_TIMES,
    *STATISTICS,
)
"""All that the decoder looks at: what is read one by one where a message cannot be read as a whole."""
