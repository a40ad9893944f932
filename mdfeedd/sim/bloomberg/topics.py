"""Topics: what a subscription string asks for, and which instruments a world has.

IBM US Equity?fields=LAST_PRICE,BID&interval=2&delayed   service and prefix are the session's
/ticker/IBM US Equity                                    the service is the session's
//blp/mktdata/ticker/IBM US Equity                       complete
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.listings import CATALOGUE, Listing, listings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEFAULT_TOPICS",
    "MAX_TOPICS",
    "MKTDATA",
    "BadTopic",
    "Request",
    "Topic",
    "parse",
    "topics",
]

MKTDATA: Final = "//blp/mktdata"
MAX_TOPICS: Final = 65_536
MAX_STRING: Final = 4096
YELLOW_KEYS: Final = frozenset(
    {"Equity", "Index", "Curncy", "Comdty", "Govt", "Corp", "Mtge", "Muni", "Pfd", "M-Mkt"}
)
DEFAULT_TOPICS: Final = (
    "ESZ6 Index",
    "SPY US Equity",
    "EURUSD Curncy",
    "NVDA US Equity",
    "NQZ6 Index",
    "AAPL US Equity",
    "USDJPY Curncy",
    "CLF7 Comdty",
    "IBM US Equity",
    "GBPUSD Curncy",
    "GCG7 Comdty",
    "SPX Index",
)
_FUTURES: Final = frozenset(item.symbol for item in CATALOGUE["futures"])


class BadTopic(ValueError):
    """A string that is no subscription: told before anything is sent."""


@dataclass(frozen=True, slots=True)
class Topic:
    """An instrument. kind: equity, future, fx (sizes are null) or index (neither bid nor ask, no sizes)."""

    name: str
    kind: str
    listing: Listing


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription string, taken apart. name: without the prefix of tickers."""

    service: str
    name: str
    fields: tuple[str, ...]
    options: dict[str, str | None]


def topics(names: Sequence[str]) -> tuple[Topic, ...]:
    """Instruments of these names, the most active first. Raises `ValueError` ("topics: reason")."""
    if not 1 <= len(names) <= MAX_TOPICS:
        raise ValueError(f"topics: must be 1 to {MAX_TOPICS}, not {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError("topics: one is named twice")
    found = []
    weights = listings("futures", min(len(names), MAX_TOPICS))
    for name, weighted in zip(names, weights, strict=True):
        kind, market, symbol = _place(name)
        item = listings(market, [symbol])[0]
        found.append(Topic(name, kind, _with_weight(item, weighted.weight)))
    return tuple(found)


def _with_weight(item: Listing, weight: float) -> Listing:
    return Listing(
        item.symbol, item.venue, item.currency, item.price, item.tick_size, item.multiplier, item.size, item.lot, weight
    )  # fmt: skip


def _place(name: str) -> tuple[str, str, str]:
    """Kind, market and symbol there. Futures end with month and year: a digit."""
    words = name.split()
    if len(words) < 2 or words[-1] not in YELLOW_KEYS:
        raise ValueError(
            f"topics: {name!r} does not end with one of {', '.join(sorted(YELLOW_KEYS))}"
        )
    symbol, key = words[0], words[-1]
    if key == "Curncy" and len(symbol) == 6 and symbol.isalpha():
        return "fx", "fx", f"{symbol[:3]}/{symbol[3:]}"
    if key == "Index" and symbol not in _FUTURES and not symbol[-1].isdigit():
        return "index", "futures", symbol
    return ("equity", "equities", symbol) if key == "Equity" else ("future", "futures", symbol)


def parse(text: str, service: str, prefix: str) -> Request:
    """Take a subscription string apart; raises `BadTopic`."""
    path, _, query = text.partition("?")
    if not path.strip("/ ") or len(text) > MAX_STRING or not text.isprintable():
        raise BadTopic(f"invalid subscription string {text[:80]!r}")
    if path.startswith("//"):
        parts = path.split("/", 4)
        if len(parts) < 5 or not all(parts[2:]):
            raise BadTopic(f"{path!r} names no topic after the service")
        service, rest = "/".join(parts[:4]), "/" + parts[4]
    else:
        rest = path if path.startswith("/") else prefix + path
    name = rest.removeprefix("/ticker/") if rest.startswith("/ticker/") else rest
    fields: tuple[str, ...] = ()
    options: dict[str, str | None] = {}
    for item in query.split("&") if query else ():
        key, equals, value = item.partition("=")
        if not key:
            raise BadTopic(f"an option without a name in {text[:80]!r}")
        if key == "fields":
            fields = tuple(field for field in value.split(",") if field)
        else:
            options[key] = value if equals else None
    return Request(service, name.lstrip("/") if name.count("/") == 1 else name, fields, options)
