"""Databento's schemas: the record type of each, and what follows from it."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BARS_S",
    "INTERVAL_TOUCH",
    "MBO",
    "RTYPES",
    "SCHEMAS",
    "SKIPPABLE",
    "TBBO_SCHEMA",
    "WITH_TRADES",
    "schema_in",
]

RTYPES: Final[dict[str, int]] = {
    "mbp-1": 0x01,
    "trades": 0x00,
    "tbbo": 0x01,
    "mbp-10": 0x0A,
    "bbo-1s": 0xC3,
    "bbo-1m": 0xC4,
    "cmbp-1": 0xB1,
    "cbbo-1s": 0xC0,
    "cbbo-1m": 0xC1,
    "tcbbo": 0xC2,
    "mbo": 0xA0,
    "ohlcv-1s": 0x20,
    "ohlcv-1m": 0x21,
    "ohlcv-1h": 0x22,
    "ohlcv-1d": 0x23,
    "definition": 0x13,
    "statistics": 0x18,
    "status": 0x12,
    "imbalance": 0x14,
}
SCHEMAS: Final = tuple(RTYPES)
MBO: Final = "mbo"
INTERVAL_TOUCH: Final = frozenset({"bbo-1s", "bbo-1m", "cbbo-1s", "cbbo-1m"})
"""The touch at fixed times: whatever is skipped is made good by the next."""
BARS_S: Final = {"ohlcv-1s": 1, "ohlcv-1m": 60, "ohlcv-1h": 3600, "ohlcv-1d": 86_400}
"""Their time is the begin of an interval that is so long, and they come at its end."""
SKIPPABLE: Final = INTERVAL_TOUCH | {"mbp-1", "mbp-10", "cmbp-1"}
"""Of these the gateway leaves records out for a slow reader that lets it."""
WITH_TRADES: Final = frozenset({"mbp-1", "trades", "tbbo", "mbp-10", "cmbp-1", "tcbbo", "mbo"})
"""Each tells every trade: two of them for one instrument tell it twice."""
TBBO_SCHEMA: Final = 3


def schema_in(text: str) -> str:
    """The schema that a message of the gateway names; "" for none."""
    words = (
        text.lower().replace("'", " ").replace('"', " ").replace(",", " ").replace(".", " ").split()
    )
    return next((word for word in words if word in RTYPES), "")
