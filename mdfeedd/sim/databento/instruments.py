"""What the gateway's data set lists, and what the symbols of a subscription stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.listings import CATALOGUE, listings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ALL_SYMBOLS", "STYPES", "Instrument", "Symbols", "made_up"]

ALL_SYMBOLS: Final = "ALL_SYMBOLS"
#: Ways to name an instrument that the gateway resolves, with their codes in DBN.
STYPES: Final = {"instrument_id": 0, "raw_symbol": 1, "continuous": 3, "parent": 4}
_FIRST_ID: Final = 5_482
_STEP_ID: Final = 17  # ids are not dense, as in life
_FUTURE: Final = re.compile(r"([A-Z0-9]{1,4})([FGHJKMNQUVXZ])(\d)")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument of the data set; price and tick size in units of 1e-9."""

    instrument_id: int
    raw_symbol: str
    price: int
    tick_size: int
    multiplier: int = 0
    exchange: str = "GLBX"
    currency: str = "USD"

    @property
    def root(self) -> str:
        """``ES`` of ``ESZ6``; "" if it is no future."""
        found = _FUTURE.fullmatch(self.raw_symbol)
        return found[1] if found else ""

    @property
    def expires(self) -> tuple[str, str]:
        """By which the futures of a root are ordered: digit of the year, letter of the month."""
        return self.raw_symbol[-1], self.raw_symbol[-2]


def _market_of(instruments: int | Sequence[str]) -> str:
    """Equities if all names are those of equities that there are, else futures."""
    known = {item.symbol for item in CATALOGUE["equities"]}
    return (
        "equities"
        if not isinstance(instruments, int) and known.issuperset(instruments)
        else "futures"
    )


def made_up(instruments: int | Sequence[str]) -> tuple[Instrument, ...]:
    """So many futures, the best known first, or the futures or equities of the given names."""
    return tuple(
        Instrument(
            _FIRST_ID + _STEP_ID * i,
            item.symbol,
            item.price,
            item.tick_size,
            item.multiplier,
            item.venue,
            item.currency,
        )
        for i, item in enumerate(listings(_market_of(instruments), instruments))
    )


class Symbols:
    """Resolves what clients ask for."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self.by_id: dict[int, Instrument] = {item.instrument_id: item for item in instruments}
        self._by_name = {item.raw_symbol: item for item in self.by_id.values()}

    def resolve(self, stype: str, symbol: str) -> list[Instrument]:
        """The instruments that a symbol stands for; none if it is unknown."""
        if symbol == ALL_SYMBOLS:
            return list(self.by_id.values())
        if stype == "instrument_id":
            found = self.by_id.get(int(symbol)) if symbol.isdecimal() else None
            return [found] if found else []
        if stype == "raw_symbol":
            named = self._by_name.get(symbol)
            return [named] if named else []
        if stype == "parent":
            return self._futures(symbol.removesuffix(".FUT")) if symbol.endswith(".FUT") else []
        if stype == "continuous":
            return self._continuous(symbol)
        return []

    def _futures(self, root: str) -> list[Instrument]:
        found = [item for item in self.by_id.values() if root and item.root == root]
        return sorted(found, key=lambda item: item.expires)

    def _continuous(self, symbol: str) -> list[Instrument]:
        root, _, rest = symbol.partition(".")
        rule, _, rank = rest.partition(".")
        if rule not in ("c", "n", "v") or not rank.isdecimal():
            return []
        return self._futures(root)[int(rank) :][:1]
