"""The instruments table: what an `instrument_id` stands for.

The writer appends entries (and changes them in place, under a sequence lock per entry); readers see
additions as they happen, because a look-up that misses looks at the table's version first.
"""

from __future__ import annotations

import time
import weakref
import zlib
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Instrument", "InstrumentTable", "Instruments", "WriterInstruments", "partition_of"]

INDEX_BITS: Final = 24
INDEX_MASK: Final = (1 << INDEX_BITS) - 1  # above it is the feed, one for all of a ring
REFRESH_S: Final = 0.1


def partition_of(symbol: str, partitions: int) -> int:
    """Where an instrument goes, of so many: by its symbol, so the same on all hosts and after restarts."""
    return zlib.crc32(symbol.encode()) % partitions


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument of one feed. Prices in units of 1e-9, times in UNIX ns; 0 or "" where unknown."""

    instrument_id: int
    vendor_id: int
    publisher_id: int
    source_index: int
    tick_size: int
    expiration: int
    multiplier: int
    currency: str
    venue: str
    feed: str
    symbol: str
    vendor_symbol: str

    def attributes(self) -> dict[str, Any]:
        """What `WriterInstruments.add` takes beside the symbol, to enter it into another table."""
        return {
            "vendor_symbol": self.vendor_symbol,
            "vendor_id": self.vendor_id,
            "publisher_id": self.publisher_id,
            "venue": self.venue,
            "currency": self.currency,
            "tick_size": self.tick_size,
            "expiration": self.expiration,
            "multiplier": self.multiplier,
            "feed": self.feed,
        }


class _Table(Protocol):
    @property
    def closed(self) -> bool: ...
    @property
    def instruments_count(self) -> int: ...
    def instrument_get(self, index: int) -> tuple[object, ...] | None: ...


class _ReadTable(_Table, Protocol):
    @property
    def instruments_version(self) -> int: ...


def _read(table: _Table, index: int) -> Instrument | None:
    entry = table.instrument_get(index)
    return None if entry is None else Instrument(*entry)  # type: ignore[arg-type]


class InstrumentTable:
    """What follows from two questions: `get`, what an id stands for, and `ids`, which ids have a symbol."""

    def get(self, instrument_id: int) -> Instrument | None:
        """The entry of an id, or None."""
        raise NotImplementedError

    def ids(self, symbol: str) -> list[int]:
        """All ids of a symbol, the newest last."""
        raise NotImplementedError

    def __getitem__(self, instrument_id: int) -> Instrument:
        found = self.get(instrument_id)
        if found is None:
            raise KeyError(instrument_id)
        return found

    def symbol(self, instrument_id: int) -> str:
        """Its symbol; "" for 0 (a whole feed), "#ID" for an instrument no table has."""
        found = self.get(instrument_id) if instrument_id else None
        if found is not None:
            return found.symbol
        return f"#{instrument_id}" if instrument_id else ""

    def id(self, symbol: str) -> int:
        """The last id of a symbol. Raises `KeyError`."""
        ids = self.ids(symbol)
        if not ids:
            raise KeyError(symbol)
        return ids[-1]

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            return bool(self.ids(key))
        return isinstance(key, int) and self.get(key) is not None


class Instruments(InstrumentTable):
    """A reader's view: instrument_id to `Instrument` and symbol to instrument_id.

    Stays usable, as it was, after its reader is closed.
    """

    def __init__(self, reader: _ReadTable, feed: str) -> None:
        self.feed = feed
        self._reader: weakref.ref[_ReadTable] | None = weakref.ref(reader)
        self._version = -1
        self._seen = 0
        self._looked_s = 0.0
        self._by_id: dict[int, Instrument] = {}
        self._ids: dict[str, list[int]] = {}

    def refresh(self) -> None:
        """Take over what the writer has added or changed."""
        reader = None if self._reader is None else self._reader()
        if reader is None or reader.closed:
            return
        version = reader.instruments_version
        if version == self._version:
            return
        count = reader.instruments_count
        only_added = self._version >= 0 and version - self._version == count - self._seen
        for index in range(self._seen if only_added else 0, count):
            entry = _read(reader, index)
            if entry is None:  # the writer died while changing it: the next writer mends it
                continue
            before = self._by_id.get(entry.instrument_id)
            if before is not None and before.symbol != entry.symbol:
                self._ids[before.symbol].remove(entry.instrument_id)
            if before is None or before.symbol != entry.symbol:
                self._ids.setdefault(entry.symbol, []).append(entry.instrument_id)
            self._by_id[entry.instrument_id] = entry
        self._seen = count
        self._version = version

    def _is_dated(self) -> bool:
        """Whether the table has changed, and not been looked at lately: to look at all of it takes a while."""
        reader = None if self._reader is None else self._reader()
        if reader is None or reader.closed or reader.instruments_version == self._version:
            return False
        now_s = time.monotonic()
        if now_s - self._looked_s < REFRESH_S:
            return False
        self._looked_s = now_s
        return True

    def freeze(self) -> None:
        """Take over what is there and look no more: the reader is about to attach to another ring."""
        self.refresh()
        self._reader = None

    def get(self, instrument_id: int) -> Instrument | None:
        """The entry, or None. A name that changes, from a vendor's number to a symbol, is seen within `REFRESH_S`."""
        if instrument_id not in self._by_id or self._is_dated():
            self.refresh()
        return self._by_id.get(instrument_id)

    def ids(self, symbol: str) -> list[int]:
        """All ids of a symbol: one per publisher, in order of appearance."""
        self.refresh()
        return list(self._ids.get(symbol, ()))

    def __len__(self) -> int:
        self.refresh()
        return len(self._by_id)

    def __iter__(self) -> Iterator[Instrument]:
        self.refresh()
        return iter(list(self._by_id.values()))


class _WriteTable(_Table, Protocol):
    @property
    def feed_index(self) -> int: ...
    def instrument_put(self, index: int, entry: tuple[object, ...]) -> None: ...


_Key = tuple[str, str, int, int, str, int]


class WriterInstruments:
    """The writer's side. Takes over the entries of an earlier writer, so ids survive a restart."""

    def __init__(self, writer: _WriteTable, feed: str) -> None:
        # weak, or writer and table would keep each other, and the writer's lock, alive
        self._writer_ref = weakref.ref(writer)
        self._feed = feed
        self._places: dict[_Key, tuple[int, Instrument]] = {}
        self._explicit: set[int] = set()
        prefix = writer.feed_index << INDEX_BITS
        for index in range(writer.instruments_count):
            entry = _read(writer, index)
            if entry is None:  # its writer was killed in the middle: make it readable again
                entry = Instrument(
                    prefix | (index + 1), *(0,) * 6, "", "", feed, f"#{index + 1}", ""
                )
                writer.instrument_put(index, astuple(entry))
            explicit = entry.instrument_id != prefix | (index + 1)
            self._places[self._key(entry, explicit=explicit)] = (index, entry)

    @staticmethod
    def _key(entry: Instrument, *, explicit: bool) -> _Key:
        own_id = entry.instrument_id if explicit else 0
        return (
            entry.symbol,
            entry.vendor_symbol,
            entry.vendor_id,
            entry.publisher_id,
            entry.feed,
            own_id,
        )

    def __len__(self) -> int:
        return len(self._places)

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
        feed: str | None = None,
        instrument_id: int | None = None,
    ) -> int:
        """The id of an instrument, added if it is new.

        The same (symbol, vendor_symbol, vendor_id, publisher_id, feed, instrument_id) is the same
        instrument; attributes given with a value are updated in place, attributes left out are kept.
        `instrument_id` names an instrument of another feed, for rings of what is made from ticks.
        Raises `ValueError` for text that does not fit and `RingSpace` when the table is full.
        """
        writer = self._writer_ref()
        if writer is None:
            raise ValueError("the writer is closed")
        given = Instrument(
            instrument_id or 0,
            vendor_id,
            publisher_id,
            (instrument_id >> INDEX_BITS) if instrument_id else writer.feed_index,
            tick_size,
            expiration,
            multiplier,
            currency,
            venue,
            self._feed if feed is None else feed,
            symbol,
            symbol if vendor_symbol is None else vendor_symbol,
        )
        key = self._key(given, explicit=instrument_id is not None)
        found = self._places.get(key)
        index = len(self._places) if found is None else found[0]
        own_id = instrument_id or writer.feed_index << INDEX_BITS | (index + 1) & INDEX_MASK
        before = None if found is None else found[1]
        entry = Instrument(
            own_id,
            vendor_id,
            publisher_id,
            given.source_index,
            tick_size or (before.tick_size if before else 0),
            expiration or (before.expiration if before else 0),
            multiplier or (before.multiplier if before else 0),
            currency or (before.currency if before else ""),
            venue or (before.venue if before else ""),
            given.feed,
            given.symbol,
            given.vendor_symbol,
        )
        if entry != before:
            writer.instrument_put(index, astuple(entry))
            self._places[key] = (index, entry)
        return own_id
