"""What the synthetic market trades: contracts and shares that look like those of real venues."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mdfeedd.tick import to_fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_INSTRUMENTS: Final = 65_536
MARKETS: Final = ("futures", "equities", "fx")


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument. Prices and multiplier in units of 1e-9.

    size: the median size at the touch, in lots. weight: its share of the activity, relative to others.
    """

    symbol: str
    venue: str
    currency: str
    price: int
    tick_size: int
    multiplier: int
    size: float
    lot: int
    weight: float


def _futures(symbol: str, price: str, tick: str, multiplier: str, size: float) -> Listing:
    first, step, units = to_fixed(price), to_fixed(tick), to_fixed(multiplier)
    return Listing(symbol, "GLBX", "USD", first, step, units, size, 1, 1.0)


def _equity(symbol: str, price: str, size: float) -> Listing:
    return Listing(symbol, "XNAS", "USD", to_fixed(price), to_fixed("0.01"), 0, size, 100, 1.0)


def _pair(symbol: str, price: str, tick: str, size: float) -> Listing:
    currency = symbol.rpartition("/")[2]
    return Listing(symbol, "FXSPOT", currency, to_fixed(price), to_fixed(tick), 0, size, 100_000, 1)


#: By market, the most active first.
CATALOGUE: Final[dict[str, tuple[Listing, ...]]] = {
    "futures": (
        _futures("ESZ6", "6871.25", "0.25", "50", 28),
        _futures("NQZ6", "25310.50", "0.25", "20", 4),
        _futures("ZNH7", "112.859375", "0.015625", "1000", 900),
        _futures("CLF7", "61.84", "0.01", "1000", 14),
        _futures("RTYZ6", "2468.30", "0.10", "50", 7),
        _futures("GCG7", "4126.80", "0.10", "100", 5),
        _futures("6EZ6", "1.16155", "0.00005", "125000", 35),
        _futures("YMZ6", "47120", "1", "5", 3),
        _futures("SIH7", "52.145", "0.005", "5000", 4),
        _futures("HGH7", "5.1025", "0.0005", "25000", 6),
        _futures("ZBH7", "117.59375", "0.03125", "1000", 180),
        _futures("ZFH7", "109.6796875", "0.0078125", "1000", 700),
        _futures("NGF7", "4.412", "0.001", "10000", 9),
        _futures("6JZ6", "0.0064215", "0.0000005", "12500000", 40),
        _futures("ESH7", "6934.50", "0.25", "50", 11),
        _futures("NQH7", "25588.25", "0.25", "20", 2),
    ),
    "equities": (
        _equity("SPY", "685.24", 6),
        _equity("NVDA", "178.88", 9),
        _equity("AAPL", "271.49", 4),
        _equity("TSLA", "391.09", 2),
        _equity("QQQ", "604.77", 4),
        _equity("AMD", "203.78", 3),
        _equity("MSFT", "472.12", 2),
        _equity("AMZN", "220.69", 3),
        _equity("META", "594.25", 2),
        _equity("GOOGL", "299.66", 3),
        _equity("INTC", "34.50", 22),
        _equity("F", "12.83", 90),
        _equity("BAC", "51.56", 18),
        _equity("PLTR", "154.85", 5),
        _equity("IWM", "235.60", 7),
        _equity("XOM", "117.08", 4),
    ),
    "fx": (
        _pair("EUR/USD", "1.15132", "0.00001", 20),
        _pair("USD/JPY", "156.418", "0.001", 20),
        _pair("GBP/USD", "1.30985", "0.00001", 10),
        _pair("AUD/USD", "0.64554", "0.00001", 10),
        _pair("USD/CAD", "1.41023", "0.00001", 10),
        _pair("USD/CHF", "0.80836", "0.00001", 8),
        _pair("EUR/JPY", "180.072", "0.001", 8),
        _pair("NZD/USD", "0.56122", "0.00001", 6),
        _pair("EUR/GBP", "0.87896", "0.00001", 8),
        _pair("EUR/CHF", "0.93062", "0.00001", 8),
    ),
}
_DECAY: Final = 0.85  # each instrument is so much as active as the one before it
_LEAST_WEIGHT: Final = 0.01


def listings(market: str, instruments: int | Sequence[str]) -> tuple[Listing, ...]:
    """That many instruments of a market, or those of the given symbols, the most active first.

    Beyond the catalogue, and for symbols that are not in it, instruments are made up: like the market's
    first, at a price that follows from the symbol. Raises `ValueError` ("key: reason").
    """
    if market not in CATALOGUE:
        raise ValueError(f"market: must be one of {', '.join(MARKETS)}, not {market!r}")
    catalogue = {listing.symbol: listing for listing in CATALOGUE[market]}
    if isinstance(instruments, int):
        if not 1 <= instruments <= MAX_INSTRUMENTS:
            raise ValueError(f"instruments: must be 1 to {MAX_INSTRUMENTS}, not {instruments}")
        names = list(catalogue)[:instruments]
        names += [f"SIM{i:05d}" for i in range(len(names), instruments)]
    else:
        names = _checked(instruments)
    template = CATALOGUE[market][0]
    found = (catalogue.get(name) or _made_up(name, template) for name in names)
    weights = (max(_DECAY**i, _LEAST_WEIGHT) for i in range(len(names)))
    return tuple(replace(item, weight=w) for item, w in zip(found, weights, strict=True))


def _checked(names: Sequence[str]) -> list[str]:
    if not 1 <= len(names) <= MAX_INSTRUMENTS:
        raise ValueError(f"instruments: must be 1 to {MAX_INSTRUMENTS} symbols, not {len(names)}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(f"instruments: {twice!r} is named twice")
    if not all(names):
        raise ValueError("instruments: a symbol must not be empty")
    return list(names)


def _made_up(symbol: str, like: Listing) -> Listing:
    ticks = like.price // like.tick_size
    share = (
        zlib.crc32(symbol.encode()) / 2**32
    )  # the same symbol trades at the same price everywhere
    price = int(ticks * (0.2 + share)) * like.tick_size
    return Listing(
        symbol, like.venue, like.currency, price, like.tick_size, like.multiplier, 5, like.lot, 1
    )
