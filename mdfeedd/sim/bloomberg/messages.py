"""Market data messages: what an image, a quote, a trade and their odd relatives hold, per instrument.

Absent is unchanged, null is cleared. Prices are floats, sizes integers (null for currencies and indices),
times datetimes with an offset or times of day without a date.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.bloomberg.content import UTC, Content, Special, datetime_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.bloomberg.topics import Topic

__all__ = ["Instrument", "Style", "image", "odd", "pieces", "quote", "summary", "trade"]

_UNITS: Final = 1_000_000_000
_DAY_S: Final = 86_400
_HUGE: Final = 5_000_000_000
#: In every image, besides what moves: none of it is a price or a size of a tick.
_STATIC: Final[Content] = {
    "RT_PRICING_SOURCE": "US",
    "FEED_SOURCE": "US",
    "EXCH_CODE_LAST": "Q",
    "EXCH_CODE_BID": "Q",
    "EXCH_CODE_ASK": "P",
    "BID_COND_CODE": None,
    "ASK_COND_CODE": None,
    "EID": 14005,
    "API_RULES_VERSION": "201411210",
    "SES_START": dt.time(14, 30),
    "SES_END": dt.time(21, 0),
    "TRADING_DT_REALTIME": dt.date(2026, 11, 27),
    "PREV_TRADING_DT_REALTIME": dt.date(2026, 11, 25),
    "SIMP_LAST_PX_ALL_SESS_DIR_RT": 1,
    "RT_API_MACHINE": "sim",
    "RT_EXCH_MARKET_STATUS": None,
    "RT_YLD_CHG_NET_1D": None,
    "PRICE_LAST_BID_RT": None,
    "PRICE_LAST_ASK_RT": None,
    "YLD_YTM_BID": None,
    "YLD_YTM_ASK": None,
    "IND_BID_FLAG": False,
    "IND_ASK_FLAG": False,
    "IN_AUCTION_RT": False,
    "ON_ELEC_MKT": True,
    "TRADE_SPREAD_TDY_RT": None,
    "NUM_TRADES_RT": 0,
    "NUM_TRADES_OPENING_AUCTION_RT": 0,
    "NUM_TRADES_CLOSING_AUCTION_RT": 0,
    "OFFICIAL_OPEN_AUCTION_PRICE_RT": None,
    "OFFICIAL_CLOSE_AUCTION_PRICE_RT": None,
    "OFFICIAL_OPEN_AUCTION_VOLUME_RT": None,
    "OFFICIAL_CLOSE_AUCTION_VOLUME_RT": None,
    "EQY_TURNOVER_REALTIME": 0.0,
    "TURNOVER_TODAY_REALTIME": 0.0,
    "MARKET_DEFINED_VWAP_REALTIME": None,
    "THEO_PRICE": None,
    "ARBITRAGE_ARROW_RT": None,
    "BID_TDY": None,
    "ASK_TDY": None,
    "PX_YEST_BID_ALL_SESSION": None,
    "PX_YEST_ASK_ALL_SESSION": None,
    "PX_SETTLE_ACTUAL_RT": None,
    "PX_SETTLE_LAST_DT_RT": None,
    "RT_OPEN_INTEREST": None,
    "OPEN_INTEREST_TDY_RT": None,
    "BLP_I_YIELD": None,
    "RT_SIMP_SEC_STATUS": "TRAD",
    "SECURITY_TRADING_STATUS_RT": "TRAD",
    "TRADING_PERIOD_RT": "CONT",
    "UPFRONT_PRICE_RT": None,
    "EVENT_PRICE_SOURCE_RT": None,
    "NEWS_HEAT_READ_RT": 0,
    "NEWS_STORY_COUNT_RT": 0,
    "DELAYED_MINUTES_RT": 0,
}


@dataclass(slots=True)
class Style:
    """How a subscription gets its times. zone_s: the terminal user's, east of UTC; 0 with ``useGMT``."""

    delayed: bool = False
    zone_s: int = 0


class Instrument:
    """What is known of a topic: the touch and the trades, as last published; prices in units of 1e-9."""

    __slots__ = (
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "first",
        "has_offset",
        "has_sizes",
        "has_touch",
        "high",
        "last",
        "last_id",
        "last_ns",
        "last_size",
        "low",
        "topic",
        "volume",
    )

    def __init__(self, topic: Topic) -> None:
        self.topic: Topic = topic
        self.has_sizes: bool = topic.kind in ("equity", "future")
        self.has_touch: bool = topic.kind != "index"
        self.has_offset: bool = topic.kind == "equity"  # of its times of day
        self.bid: int | None = None
        self.ask: int | None = None
        self.bid_size: int = 0
        self.ask_size: int = 0
        self.first: int = topic.listing.price
        self.last: int = self.first
        self.high: int = self.first
        self.low: int = self.first
        self.last_size: int = 0
        self.last_id: str = ""
        self.last_ns: int = 0
        self.volume: int = 0

    def traded(self, price: int, size: int, trade_id: int, ns: int) -> None:
        """A trade has happened."""
        self.last, self.last_size, self.last_ns = price, size, ns
        self.last_id = str(trade_id) if self.has_touch else f"T{trade_id}"
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.volume += size

    def size(self, size: int) -> int | None:
        """As it is published."""
        return size if self.has_sizes else None

    def time(self, ns: int, style: Style) -> dt.time:
        """A time of day, in the terminal user's zone, to the second; with an offset only for shares."""
        seconds = (ns // _UNITS + style.zone_s) % _DAY_S
        zone = UTC if self.has_offset and not style.zone_s else None
        return dt.time(seconds // 3600, seconds // 60 % 60, seconds % 60, tzinfo=zone)


def _price(units: int | None) -> float | None:
    return None if units is None else units / _UNITS


def quote(item: Instrument, side: str, ns: int, style: Style) -> Content:
    """QUOTE/BID or QUOTE/ASK: that side, as it is now."""
    stamp = datetime_of(ns)
    is_bid = side == "BID"
    price = item.bid if is_bid else item.ask
    size = item.bid_size if is_bid else item.ask_size
    return {
        "MKTDATA_EVENT_TYPE": "QUOTE",
        "MKTDATA_EVENT_SUBTYPE": side,
        side: _price(price),
        f"{side}_SIZE": None if price is None else item.size(size),
        f"{side}_UPDATE_STAMP_RT": stamp,
        f"EVT_QUOTE_{side}_TIME_RT": stamp,
        "TIME": item.time(ns, style),
        "IS_DELAYED_STREAM": style.delayed,
        "BLOOMBERG_EVENT_TIME_RT": stamp,
        "BLOOMBERG_SEND_TIME_RT": stamp,
    }


def trade(item: Instrument, ns: int, style: Style, subtype: str = "NEW") -> Content:
    """TRADE: the last one; for CANCEL and CORRECT, the one that is meant."""
    stamp = datetime_of(ns)
    price, size = _price(item.last), item.size(item.last_size)
    return {
        "MKTDATA_EVENT_TYPE": "TRADE",
        "MKTDATA_EVENT_SUBTYPE": subtype,
        "EVT_TRADE_PRICE_RT": price,
        "EVT_TRADE_SIZE_RT": size,
        "EVT_TRADE_IDENTIFIER_RT": item.last_id,
        "EVT_TRADE_CONDITION_CODE_RT": "R" if item.has_sizes else None,
        "EVT_TRADE_TIME_RT": stamp,
        "EVT_TRADE_EXECUTION_TIME_RT": stamp,
        "TRADE_UPDATE_STAMP_RT": stamp,
        "LAST_PRICE": price,
        "LAST_TRADE": price,
        "SIZE_LAST_TRADE": size,
        "VOLUME": item.size(item.volume),
        "HIGH": _price(item.high),
        "LOW": _price(item.low),
        "LAST_TRADE_PRICE_TIME_TODAY_RT": item.time(ns, style),
        "IS_DELAYED_STREAM": style.delayed,
        "BLOOMBERG_EVENT_TIME_RT": stamp,
        "BLOOMBERG_SEND_TIME_RT": stamp,
    }


def _head(kind: str, subtype: str, ns: int, style: Style) -> Content:
    return {
        "MKTDATA_EVENT_TYPE": kind,
        "MKTDATA_EVENT_SUBTYPE": subtype,
        "IS_DELAYED_STREAM": style.delayed,
        "BLOOMBERG_SEND_TIME_RT": datetime_of(ns),
    }


def _moving(item: Instrument) -> Content:
    """The part of an image that is about prices."""
    close = item.first
    change = item.last - close
    content: Content = {
        "LAST_PRICE": _price(item.last),
        "LAST_TRADE": _price(item.last),
        "LAST2_PRICE": _price(item.first),
        "SIZE_LAST_TRADE": item.size(item.last_size),
        "VOLUME": item.size(item.volume),
        "OPEN": _price(item.first),
        "HIGH": _price(item.high),
        "LOW": _price(item.low),
        "OPEN_TDY": _price(item.first),
        "HIGH_TDY": _price(item.high),
        "LOW_TDY": _price(item.low),
        "VOLUME_TDY": item.size(item.volume),
        "LAST_PRICE_TDY": _price(item.last),
        "PREV_CLOSE_VALUE_REALTIME": _price(close),
        "PREV_SES_LAST_PRICE": _price(close),
        "LAST_ALL_SESSIONS": _price(item.last),
        "HIGH_ALL_SESSIONS": _price(item.high),
        "LOW_ALL_SESSIONS": _price(item.low),
        "VOLUME_ALL_SESSIONS": item.size(item.volume),
        "RT_PX_CHG_NET_1D": _price(change),
        "RT_PX_CHG_PCT_1D": round(100 * change / close, 4) if close else None,
        "CHG_NET_1D": _price(change),
        "LAST_DIR": 1 if change >= 0 else -1,
        "LAST2_DIR": 1,
    }
    if item.has_touch:
        middle = spread = None
        if item.bid is not None and item.ask is not None:
            middle, spread = (item.bid + item.ask) // 2, item.ask - item.bid
        content |= {
            "BID": _price(item.bid),
            "BID_SIZE": None if item.bid is None else item.size(item.bid_size),
            "ASK": _price(item.ask),
            "ASK_SIZE": None if item.ask is None else item.size(item.ask_size),
            "BEST_BID": _price(item.bid),
            "BEST_ASK": _price(item.ask),
            "BID_DIR": 1,
            "ASK_DIR": -1,
            "BID_ALL_SESSION": _price(item.bid),
            "ASK_ALL_SESSION": _price(item.ask),
            "MID": _price(middle),
            "SPREAD_BA": _price(spread),
        }
    return content


def image(item: Instrument, ns: int, style: Style, *, stamps: bool = True) -> Content:
    """SUMMARY/INITPAINT: about a hundred fields, whatever was asked for."""
    stamp = datetime_of(ns)
    content: Content = {
        "MKTDATA_EVENT_TYPE": "SUMMARY",
        "MKTDATA_EVENT_SUBTYPE": "INITPAINT",
        "IS_DELAYED_STREAM": style.delayed,
        **_moving(item),
        **_STATIC,
    }
    if stamps:
        content |= {
            "BLOOMBERG_SEND_TIME_RT": stamp,
            "TIME": item.time(ns, style),
            "LAST_UPDATE_ALL_SESSIONS_RT": item.time(ns, style),
        }
        if item.last_ns:
            content["TRADE_UPDATE_STAMP_RT"] = datetime_of(item.last_ns)
            content["LAST_TRADE_PRICE_TIME_TODAY_RT"] = item.time(item.last_ns, style)
        if item.has_touch:
            content["BID_UPDATE_STAMP_RT"] = content["ASK_UPDATE_STAMP_RT"] = stamp
    return content


def summary(subtype: str, item: Instrument, ns: int, style: Style) -> Content:
    """SUMMARY/NEWDAY, INTRADAY or DATALOSS."""
    content = _head("SUMMARY", subtype, ns, style)
    if subtype != "DATALOSS":
        content |= {"OPEN": _price(item.first), "HIGH": _price(item.high), "LOW": _price(item.low)}
    return content


def _cleared(item: Instrument, side: str, ns: int, style: Style) -> Content:
    if side == "BID":
        item.bid, item.bid_size = None, 0
    else:
        item.ask, item.ask_size = None, 0
    return quote(item, side, ns, style)


def _zero_bid(item: Instrument, ns: int, style: Style) -> Content:
    return _cleared(item, "BID", ns, style) | {"BID": 0.0, "BID_SIZE": None}


def _correct(item: Instrument, ns: int, style: Style) -> Content:
    item.last += item.topic.listing.tick_size
    return trade(item, ns, style, "CORRECT")


def _with(changes: Content, *without: str) -> Callable[[Instrument, int, Style], Content]:
    """A trade of another kind."""

    def make(item: Instrument, ns: int, style: Style) -> Content:
        content = trade(item, ns, style) | changes
        return {name: value for name, value in content.items() if name not in without}

    return make


def _mid(item: Instrument, ns: int, style: Style) -> Content:
    middle = None if item.bid is None or item.ask is None else (item.bid + item.ask) / 2 / _UNITS
    return _head("QUOTE", "MID", ns, style) | {"MID": middle}


def _paired(item: Instrument, ns: int, style: Style) -> Content:
    both = quote(item, "BID", ns, style) | quote(item, "ASK", ns, style)
    return both | {"MKTDATA_EVENT_SUBTYPE": "PAIRED"}


def _unknown_subtype(item: Instrument, ns: int, style: Style) -> Content:
    return _mid(item, ns, style) | {"MKTDATA_EVENT_SUBTYPE": "QUOTED_ELSEWHERE"}


_TIMES: Final = (
    "EVT_TRADE_TIME_RT",
    "EVT_TRADE_EXECUTION_TIME_RT",
    "TRADE_UPDATE_STAMP_RT",
    "BLOOMBERG_EVENT_TIME_RT",
    "BLOOMBERG_SEND_TIME_RT",
)
_PRICES: Final = ("EVT_TRADE_PRICE_RT", "LAST_PRICE", "LAST_TRADE")
_ODD: Final[dict[str, Callable[[Instrument, int, Style], Content]]] = {
    "null_bid": lambda item, ns, style: _cleared(item, "BID", ns, style),
    "null_ask": lambda item, ns, style: _cleared(item, "ASK", ns, style),
    "zero_bid": _zero_bid,
    "correct": _correct,
    "cancel": lambda item, ns, style: trade(item, ns, style, "CANCEL"),
    "no_price": _with({}, *_PRICES),
    "unknown_type": _with({"MKTDATA_EVENT_TYPE": "PROPHECY", "MKTDATA_EVENT_SUBTYPE": "DOOM"}),
    "unknown_subtype": _unknown_subtype,
    "mid": _mid,
    "paired": _paired,
    "decimal": _with({"THEO_PRICE": Decimal("1.5")}),
    "null_sequence": _with({"TRADE_DETAILS_RT": Special.NULL_SEQUENCE}),
    "no_parts": _with({"TRADE_UPDATE_STAMP_RT": Special.NO_PARTS}),
    "time_only": _with({}, *_TIMES),
    "negative": _with({"EVT_TRADE_PRICE_RT": -37.63, "LAST_PRICE": -37.63}),
    "huge_size": _with({"EVT_TRADE_SIZE_RT": _HUGE, "SIZE_LAST_TRADE": _HUGE}),
    "newday": lambda item, ns, style: summary("NEWDAY", item, ns, style),
    "intraday": lambda item, ns, style: summary("INTRADAY", item, ns, style),
    "recap": image,
}
_NEEDS_TOUCH: Final = frozenset({"null_bid", "null_ask", "zero_bid", "mid", "paired"})
_NEEDS_TRADE: Final = frozenset({"correct", "cancel"})


def odd(name: str, item: Instrument, ns: int, style: Style) -> Content | None:
    """A message out of `ODDITIES`; None where the instrument cannot have it (yet)."""
    if (name in _NEEDS_TOUCH and not item.has_touch) or (name in _NEEDS_TRADE and not item.last_id):
        return None
    return _ODD[name](item, ns, style)


def pieces(content: Content, count: int) -> list[Content]:
    """An image in so many parts, type and subtype in each of them."""
    head = {name: content[name] for name in ("MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE")}
    rest: list[tuple[str, Any]] = [item for item in content.items() if item[0] not in head]
    size = -(-len(rest) // count)
    return [head | dict(rest[i : i + size]) for i in range(0, len(rest), size)]
