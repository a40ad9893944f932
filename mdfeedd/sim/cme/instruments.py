"""Instruments of a simulated channel, and the definition messages that describe them.

The kinds differ in what is hard about them: spreads trade at negative prices, LongQty instruments in quantities
beyond 32 bits (and without order books), options have nulls in their definitions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.cme.wire import LONG_VERSION

if TYPE_CHECKING:
    from mdfeedd.sim.cme.wire import Wire

__all__ = ["Listing", "definition", "listings"]

E9: Final = 1_000_000_000
FIRST_ID: Final = 10_001
_BONDS_VERSION: Final = 10
_ELIGIBLE: Final = 1  # electronic match eligible
_IMPLIED: Final = 1 << 19
_NEGATIVE: Final = 1 << 10
_DAY_NS: Final = 86_400 * E9
_UNIT: Final = {True: 10**7, False: E9}  # 1 on the wire, in the old and in the new set


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument. Prices are in 1e-9; `template` is today's number of its definition message."""

    security_id: int
    symbol: str
    template: int
    group: str
    asset: str
    tick_size: int
    price: int  # where its market begins
    lot: int = 1
    long: bool = False
    implied: bool = True
    orders: bool = True
    fields: dict[str, Any] = field(default_factory=dict)  # what else its definition says


def listings(
    number: int, version: int, seed: int = 0, *, futures_only: bool = False
) -> list[Listing]:
    """A mixture of kinds, the same for the same arguments: as many kinds as `version` has."""
    kinds = [_future] if futures_only else [_future, _spread, _future, _option]
    if version >= _BONDS_VERSION and not futures_only:
        kinds += [_bond, _repo]
    if version >= LONG_VERSION and not futures_only:
        kinds.insert(2, _fx)
    rng = random.Random(f"listings {seed}")  # noqa: S311
    ids = rng.sample(range(FIRST_ID, FIRST_ID + 50 * number + 1000), number)
    return [kinds[i % len(kinds)](security_id, i) for i, security_id in enumerate(ids)]


def _future(security_id: int, i: int) -> Listing:
    asset = ("ES", "CL", "ZN")[i // 2 % 3]
    tick_size = {"ES": E9 // 4, "CL": E9 // 100, "ZN": E9 // 64}[asset]
    ticks = {"ES": 20_000, "CL": 7_000, "ZN": 7_100}[asset]
    price = ticks * tick_size
    return Listing(security_id, f"{asset}{_month(i)}", 54, asset, asset, tick_size, price)


def _spread(security_id: int, i: int) -> Listing:
    asset = ("CL", "GE", "ES")[i // 4 % 3]
    symbol = f"{asset}{_month(i)}-{asset}{_month(i + 1)}"
    legs = [
        {"LegSecurityID": 500 + i, "LegSide": 1, "LegRatioQty": 1, "LegPrice": None},
        {"LegSecurityID": 501 + i, "LegSide": 2, "LegRatioQty": 1, "LegPrice": None},
    ]
    tick_size = E9 // 100
    return Listing(
        security_id, symbol, 56, asset, asset, tick_size, -3 * tick_size, fields={"NoLegs": legs}
    )


def _option(security_id: int, i: int) -> Listing:
    symbol = f"ES{_month(i)} C{5000 + 25 * i}"
    fields = {"PutOrCall": 1, "StrikePrice": (5000 + 25 * i) * E9, "MinPriceIncrement": None}
    return Listing(
        security_id, symbol, 55, "EZ", "ES", E9 // 20, 6 * E9, implied=False, fields=fields
    )


def _bond(security_id: int, i: int) -> Listing:
    symbol = f"T{i} 4.25 {2030 + i}"
    fields = {"CouponRate": 4_250_000_000, "Issuer": "US TREASURY"}
    return Listing(
        security_id, symbol, 57, "UB", "TN", E9 // 128, 99 * E9, implied=False, fields=fields
    )


def _repo(security_id: int, i: int) -> Listing:
    symbol = f"GC ON {i}"
    fields = {"SecuritySubType": 1, "TermCode": "ON"}
    return Listing(
        security_id, symbol, 58, "RP", "GC", E9 // 1000, E9 // 100, implied=False, fields=fields
    )


def _fx(security_id: int, i: int) -> Listing:
    pair = ("EUR/USD", "GBP/USD", "USD/JPY")[i % 3]
    return Listing(
        security_id,
        f"{pair} {i}",
        63,
        "SP",
        pair[:3],
        E9 // 20_000,
        E9 * 11 // 10,
        lot=10**9,  # so that five lots need more than 32 bits
        long=True,
        implied=False,
        orders=False,
    )


def _month(i: int) -> str:
    return f"{'HMUZ'[i % 4]}{6 + i // 4 % 4}"


def definition(
    wire: Wire,
    listing: Listing,
    *,
    action: bytes = b"A",
    total: int | None = None,
    update_ns: int = 0,
    channel: int = 0,
    status: int = 17,
    mei: int = 0x80,
) -> bytes:
    """The definition message of an instrument; `total` (tag 911) is null on the incremental feed."""
    unit = _UNIT[wire.old]
    fields: dict[str, Any] = {
        "MatchEventIndicator": mei,
        "TotNumReports": total,
        "SecurityUpdateAction": action,
        "LastUpdateTime": update_ns,
        "MDSecurityTradingStatus": status,
        "ApplID": channel,
        "MarketSegmentID": 64,
        "UnderlyingProduct": 5,
        "SecurityExchange": "XCME",
        "SecurityGroup": listing.group,
        "Asset": listing.asset,
        "Symbol": listing.symbol,
        "SecurityID": listing.security_id,
        "SecurityType": {54: "FUT", 55: "OOF", 56: "FUT"}.get(listing.template, "NONE"),
        "CFICode": "FXXXXX",
        "Currency": "USD",
        "MatchAlgorithm": "F",
        "MinTradeVol": 1,
        "MaxTradeVol": 10_000,
        "MinPriceIncrement": wire.price(listing.tick_size),
        "DisplayFactor": unit,
        "UnitOfMeasure": "IPNT",
        "HighLimitPrice": None,
        "LowLimitPrice": None,
        "UserDefinedInstrument": "N",
    }
    if listing.template != 56:
        fields |= {"SettlCurrency": "USD", "UnitOfMeasureQty": 50 * unit}
    if listing.template in (54, 55, 56, 63):
        fields |= {"MaturityMonthYearyear": 2026, "MaturityMonthYearmonth": 12}
    if listing.template == 54:
        fields |= {"ContractMultiplier": 50, "OpenInterestQty": None}
    groups = _groups(listing, update_ns)
    for name, value in listing.fields.items():
        if isinstance(value, list):
            groups.append((name, value))
        else:
            fields[name] = wire.price(value) if name.endswith("Price") else value
    return wire.definition(listing.template, fields, groups)


def _groups(listing: Listing, update_ns: int) -> list[tuple[str, list[dict[str, object]]]]:
    feed_types: list[dict[str, object]] = [{"MDFeedType": "GBX", "MarketDepth": 10}]
    if listing.implied:
        feed_types.append({"MDFeedType": "GBI", "MarketDepth": 2})
    if listing.orders:
        feed_types.append({"MDFeedType": "MBO", "MarketDepth": 0})
    attributes = _ELIGIBLE | (_IMPLIED if listing.implied else 0)
    if listing.template == 56:
        attributes |= _NEGATIVE
    day_ns = update_ns - update_ns % _DAY_NS
    return [
        (
            "NoEvents",
            [
                {"EventType": 5, "EventTime": max(0, day_ns - 90 * _DAY_NS)},
                {"EventType": 7, "EventTime": day_ns + 90 * _DAY_NS},
            ],
        ),
        ("NoMDFeedTypes", feed_types),
        ("NoInstAttrib", [{"InstAttribValue": attributes}]),
        ("NoLotTypeRules", [{"LotType": 2, "MinLotSize": listing.lot if listing.long else 10_000}]),
    ]


def renamed(listing: Listing, symbol: str, tick_size: int | None = None) -> Listing:
    """The same id with another symbol, or grid."""
    return replace(listing, symbol=symbol, tick_size=tick_size or listing.tick_size)
