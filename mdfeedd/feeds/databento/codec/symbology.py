"""Which instrument of ours a Databento instrument is, at a time.

Databento numbers instruments anew every day, so a number means something only together with a time; and
consolidated datasets carry several publishers, each with a touch of its own, under one number. Ours are
therefore one per (symbol, number, publisher).

A name is looked for in this order: the latest mapping message, the metadata's mapping of that day, the
raw symbol of the latest definition. Without any the number itself is the name, and the instrument's
records count as unmapped.

With a shard, an instrument is ours while the name that it has then is in the shard.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mdfeedd.feeds.databento.codec.metadata import (
    ALWAYS_NS,
    NEVER_NS,
    STYPE_INSTRUMENT_ID,
    Metadata,
)

if TYPE_CHECKING:
    from mdfeedd.feeds.shard import Shard

__all__ = [
    "ALWAYS_NS",
    "NEVER_NS",
    "Definition",
    "InstrumentTable",
    "LocalInstruments",
    "MappingMessage",
    "Resolution",
    "Symbology",
]

_SYMBOL_BYTES: Final = 71


class InstrumentTable(Protocol):
    """Where instruments are entered: a ring writer's table, or `LocalInstruments`."""

    def add(
        self,
        symbol: str,
        *,
        vendor_symbol: str | None = None,
        vendor_id: int = 0,
        publisher_id: int = 0,
        venue: str = "",
        currency: str = "",
        tick_size: int = 0,
        expiration: int = 0,
        multiplier: int = 0,
    ) -> int:
        """The id of the instrument; attributes given with a value are updated."""


class LocalInstruments:
    """A table without a ring, for decoding into arrays: ids are 1, 2, 3 ... in order of appearance."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str, int, int], int] = {}
        self.symbols: dict[int, str] = {}

    def add(
        self,
        symbol: str,
        *,
        vendor_symbol: str | None = None,
        vendor_id: int = 0,
        publisher_id: int = 0,
        venue: str = "",  # noqa: ARG002 - only ids and symbols are kept
        currency: str = "",  # noqa: ARG002
        tick_size: int = 0,  # noqa: ARG002
        expiration: int = 0,  # noqa: ARG002
        multiplier: int = 0,  # noqa: ARG002
    ) -> int:
        """The id of the instrument, new or known."""
        key = (symbol, vendor_symbol or symbol, vendor_id, publisher_id)
        found = self._ids.setdefault(key, len(self._ids) + 1)
        self.symbols[found] = symbol
        return found


@dataclass(frozen=True, slots=True)
class MappingMessage:
    """A mapping told within the stream: `stype_in_symbol` was asked for, the other is what it is."""

    instrument_id: int
    stype_in_symbol: str
    stype_out_symbol: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What the instruments table takes from a definition record; 0 or "" where undefined."""

    publisher_id: int
    instrument_id: int
    raw_symbol: str
    exchange: str
    currency: str
    tick_size: int
    expiration_ns: int
    multiplier: int


class Resolution(NamedTuple):
    """An instrument's id of ours, and from when (inclusive) to when (exclusive) it holds.

    The id 0: there is no room for it or it is another shard's, and its records are to be skipped.
    """

    instrument_id: int
    from_ns: int
    until_ns: int
    mapped: bool


class _Name(NamedTuple):
    symbol: str
    vendor_symbol: str
    from_ns: int
    until_ns: int
    mapped: bool


def _fit(symbol: str) -> str:
    """At most as many bytes as the table holds. No real symbol is longer."""
    raw = symbol.encode("utf-8")
    return symbol if len(raw) <= _SYMBOL_BYTES else raw[:_SYMBOL_BYTES].decode("utf-8", "ignore")


class Symbology:
    """Names of one stream's instruments, entered into `table` when they are first needed, if they are of `shard`."""

    def __init__(self, table: InstrumentTable, shard: Shard | None = None) -> None:
        self._table = table
        self._shard = shard
        self._told: dict[int, tuple[str, str]] = {}
        self._dated: dict[int, list[tuple[int, int, str]]] = {}
        self._definitions: dict[int, Definition] = {}
        self._entered: dict[int, set[tuple[str, str, int]]] = {}
        self._passed_over: dict[int, set[int]] = {}

    def metadata(self, metadata: Metadata) -> None:
        """Take the mappings of a stream's metadata."""
        for mapping in metadata.mappings:
            number, symbol = mapping.resolved, mapping.symbol
            if metadata.stype_out != STYPE_INSTRUMENT_ID:
                number, symbol = symbol, number
            if number.isascii() and number.isdigit() and symbol and symbol != number:
                interval = (mapping.start_ns, mapping.end_ns, symbol)
                self._dated.setdefault(int(number), []).append(interval)
        for intervals in self._dated.values():
            intervals.sort()

    def mapping(self, message: MappingMessage) -> bool:
        """Take a mapping message. True if the name of the instrument may have changed."""
        number = str(message.instrument_id)
        asked, raw = message.stype_in_symbol, message.stype_out_symbol
        symbol = asked if raw in (number, "") else raw
        if symbol in (number, ""):
            return False
        known = self._told.get(message.instrument_id)
        if known is not None and known[0] == symbol:
            return False  # asked for once more, by another name: it stays who it is
        entered = self._entered.get(message.instrument_id, ())
        as_entered = (vendor_symbol for name, vendor_symbol, _ in entered if name == symbol)
        self._told[message.instrument_id] = (symbol, next(as_entered, asked or symbol))
        definition = self._definitions.get(message.instrument_id)
        defined = known is None and definition is not None and definition.raw_symbol == symbol
        return not defined

    def definition(self, definition: Definition) -> bool:
        """Take a definition. True if the name of the instrument may have changed."""
        number = definition.instrument_id
        before = self._definitions.get(number)
        self._definitions[number] = definition
        for symbol, vendor_symbol, publisher_id in self._entered.get(number, ()):
            self._add(symbol, vendor_symbol, number, publisher_id)
        return before is None or before.raw_symbol != definition.raw_symbol

    def resolve(self, publisher_id: int, instrument_id: int, ts_ns: int) -> Resolution:
        """Our instrument for a record of that time, entered into the table if it is new; 0 if not of our shard."""
        name = self._name(instrument_id, ts_ns)
        symbol, vendor_symbol = _fit(name.symbol), _fit(name.vendor_symbol)
        if self._shard is not None and not self._shard.has(symbol):
            self._passed_over.setdefault(instrument_id, set()).add(publisher_id)
            return Resolution(0, name.from_ns, name.until_ns, mapped=True)
        own_id = self._add(symbol, vendor_symbol, instrument_id, publisher_id)
        entered = self._entered.setdefault(instrument_id, set())
        entered.add((symbol, vendor_symbol, publisher_id))
        return Resolution(own_id, name.from_ns, name.until_ns, name.mapped)

    def publishers(self, instrument_id: int) -> set[int]:
        """The publishers of this instrument that have been resolved, under whatever name."""
        entered = {publisher_id for _, _, publisher_id in self._entered.get(instrument_id, ())}
        return entered | self._passed_over.get(instrument_id, set())

    def _name(self, instrument_id: int, ts_ns: int) -> _Name:
        told = self._told.get(instrument_id)
        if told is not None:
            return _Name(*told, ALWAYS_NS, NEVER_NS, mapped=True)
        from_ns, until_ns = ALWAYS_NS, NEVER_NS
        intervals = self._dated.get(instrument_id, [])
        place = bisect.bisect_right(intervals, ts_ns, key=lambda interval: interval[0])
        if place:
            start_ns, end_ns, symbol = intervals[place - 1]
            if ts_ns < end_ns:
                return _Name(symbol, symbol, start_ns, end_ns, mapped=True)
            from_ns = end_ns
        if place < len(intervals):
            until_ns = intervals[place][0]
        definition = self._definitions.get(instrument_id)
        if definition is not None and definition.raw_symbol:
            raw = definition.raw_symbol
            return _Name(raw, raw, from_ns, until_ns, mapped=True)
        number = str(instrument_id)
        return _Name(number, number, from_ns, until_ns, mapped=False)

    def _add(self, symbol: str, vendor_symbol: str, vendor_id: int, publisher_id: int) -> int:
        known = self._definitions.get(vendor_id)
        if known is None:
            return self._table.add(
                symbol,
                vendor_symbol=vendor_symbol,
                vendor_id=vendor_id,
                publisher_id=publisher_id,
            )
        return self._table.add(
            symbol,
            vendor_symbol=vendor_symbol,
            vendor_id=vendor_id,
            publisher_id=publisher_id,
            venue=known.exchange,
            currency=known.currency,
            tick_size=known.tick_size,
            expiration=known.expiration_ns,
            multiplier=known.multiplier,
        )
