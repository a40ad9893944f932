"""The instruments table: what an `instrument_id` stands for.

The writer appends entries (and changes them in place, under a sequence lock per entry); readers see
additions as they happen, because a look-up that misses looks at the table's version first.
"""

from __future__ import annotations

import time
import weakref
import zlib
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    _Rows = npt.NDArray[np.void]

__all__ = ["Instrument", "InstrumentTable", "Instruments", "WriterInstruments", "partition_of"]

INDEX_BITS: Final = 24
INDEX_MASK: Final = (1 << INDEX_BITS) - 1  # above it is the feed, one for all of a ring
REFRESH_S: Final = 0.1
ENTRY: Final = np.dtype(
    [
        *(("version", "<u4"), ("instrument_id", "<u4"), ("vendor_id", "<u8")),
        *(("publisher_id", "<u4"), ("source_index", "<u4")),
        *(("tick_size", "<i8"), ("expiration", "<i8"), ("multiplier", "<i8")),
        *(
            ("currency", "S8"),
            ("venue", "S24"),
            ("feed", "S32"),
            ("symbol", "S72"),
            ("vendor_symbol", "S72"),
        ),
    ]
)
"""An entry as it lies in a ring's table (`mdf_instrument`)."""
_OPAQUE: Final = f"V{ENTRY.itemsize}"
_LATE: Final = 4096  # symbols that a dict has beside those sorted
_BOTH: Final[tuple[Literal["left"], Literal["right"]]] = ("left", "right")


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


@runtime_checkable
class _RawTable(Protocol):
    """What a table may have besides: many entries at once, without an object for each."""

    def instruments_read(self, first: int, out: npt.NDArray[np.uint8]) -> None: ...


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


class _Names:
    """Ids by symbol: the hashes of symbols, sorted, and a dict of those that came later. A million need no objects."""

    def __init__(self, symbols: npt.NDArray[np.bytes_], numbers: npt.NDArray[np.uint32]) -> None:
        self._symbols, self._numbers = symbols, numbers
        hashes = _hashes(symbols)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        self._late: dict[bytes, list[int]] = {}
        self._asked: dict[str, list[int]] = {}

    @property
    def is_loose(self) -> bool:
        """So many have come later that all should be sorted again."""
        return len(self._late) > max(_LATE, len(self._order) // 4)

    def add(self, symbols: npt.NDArray[np.bytes_], numbers: npt.NDArray[np.uint32]) -> None:
        """Of entries behind those that are known."""
        self._asked.clear()
        for symbol, number in zip(symbols.tolist(), numbers.tolist(), strict=True):
            self._late.setdefault(symbol, []).append(number)

    def ids(self, symbol: str) -> list[int]:
        """All of a symbol, the newest last."""
        found = self._asked.get(symbol)
        if found is None:
            found = self._look(symbol)
            if found:
                self._asked[symbol] = found
        return list(found)

    def _look(self, symbol: str) -> list[int]:
        try:
            raw = symbol.encode()
        except UnicodeEncodeError:  # half a surrogate pair is in no table
            return []
        wanted = np.array([raw], self._symbols.dtype)
        if wanted[0] != raw or b"\0" in raw:  # longer than any, or cut where numpy cuts
            return []
        first, last = (
            int(np.searchsorted(self._hashes, _hashes(wanted)[0], side)) for side in _BOTH
        )
        places = np.sort(self._order[first:last])
        places = places[self._symbols[places] == wanted]
        return [*self._numbers[places].tolist(), *self._late.get(raw, ())]


def _hashes(symbols: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    words = np.ascontiguousarray(symbols).view(np.uint64).reshape(-1, symbols.dtype.itemsize // 8)
    factors = np.uint64(0x9E3779B97F4A7C15) * np.arange(1, 2 * words.shape[1], 2, dtype=np.uint64)
    mixed = (words ^ words >> np.uint64(29)) * factors
    found: npt.NDArray[np.uint64] = mixed.sum(axis=1, dtype=np.uint64)
    return found


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
        # A table may have a million entries: they are kept as they lie in it, and become objects when asked for.
        self._rows: _Rows = np.zeros(0, ENTRY)  # the first `_seen` of them
        self._places: dict[int, int] = {}  # by id, of its last entry
        self._made: dict[int, Instrument] = {}
        self._names: _Names | None = None  # until somebody asks for a symbol: not known

    def refresh(self) -> None:
        """Take over what the writer has added or changed."""
        reader = None if self._reader is None else self._reader()
        if reader is None or reader.closed:
            return
        version = reader.instruments_version
        if version == self._version:
            return
        count = reader.instruments_count
        if not (self._version >= 0 and version - self._version == count - self._seen):
            self._take_changes(reader)
        self._take_new(reader, count)
        self._version = version

    def _take_changes(self, reader: _ReadTable) -> None:
        """Take over what differs. An entry that cannot be read (the writer died while changing it) stays as it was."""
        known, rows = self._rows[: self._seen], np.zeros(self._seen, ENTRY)
        _read_into(rows, reader, 0)
        differs = (rows.view(_OPAQUE) != known.view(_OPAQUE)) & (rows["version"] & 1 == 0)
        for place in np.flatnonzero(differs).tolist():
            number = int(rows["instrument_id"][place])
            self._made.pop(number, None)
            is_new = self._places.get(number, -1) < place
            if is_new or rows["symbol"][place] != known["symbol"][place]:
                self._names = None
            if is_new:
                self._places[number] = place
            known[place] = rows[place]

    def _take_new(self, reader: _ReadTable, count: int) -> None:
        first = self._seen
        if count > len(self._rows):
            room = np.zeros(max(count, 2 * len(self._rows)), ENTRY)
            room[:first] = self._rows[:first]
            self._rows = room
        rows = self._rows[first:count]
        _read_into(rows, reader, first)
        self._seen = count
        can_be_read = np.flatnonzero(rows["version"] & 1 == 0)
        numbers = rows["instrument_id"][can_be_read].tolist()
        before = len(self._places)
        self._places.update(zip(numbers, (can_be_read + first).tolist(), strict=True))
        if len(self._places) - before < len(numbers):
            # some have a new entry, perhaps of another name
            for number in numbers:
                self._made.pop(number, None)
            self._names = None
        elif self._names is not None:
            self._names.add(rows["symbol"][can_be_read], rows["instrument_id"][can_be_read])

    def _by_symbol(self) -> _Names:
        if self._names is None or self._names.is_loose:
            places = np.fromiter(self._places.values(), np.int64, len(self._places))
            places.sort()
            rows = self._rows
            self._names = _Names(rows["symbol"][places], rows["instrument_id"][places])
        return self._names

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
        if instrument_id not in self._places or self._is_dated():
            self.refresh()
        found = self._made.get(instrument_id)
        if found is not None:
            return found
        place = self._places.get(instrument_id)
        if place is None:
            return None
        made = self._made[instrument_id] = _instrument_of(self._rows[place])
        return made

    def ids(self, symbol: str) -> list[int]:
        """All ids of a symbol: one per publisher, in order of appearance."""
        self.refresh()
        return self._by_symbol().ids(symbol)

    def __len__(self) -> int:
        self.refresh()
        return len(self._places)

    def __iter__(self) -> Iterator[Instrument]:
        self.refresh()
        return iter(
            [self._made.get(n) or _instrument_of(self._rows[at]) for n, at in self._places.items()]
        )


def _read_into(rows: _Rows, table: _ReadTable, first: int) -> None:
    """Entries from `first` on as they lie in the table; one that cannot be read now has an odd version."""
    if isinstance(table, _RawTable):
        table.instruments_read(first, rows.view(np.uint8))
        return
    for at in range(len(rows)):
        entry = table.instrument_get(first + at)
        if entry is None:
            rows["version"][at] = 1
        else:
            rows[at] = (0, *(one.encode() if isinstance(one, str) else one for one in entry))


def _instrument_of(row: np.void) -> Instrument:
    fields: Any = row.item()
    return Instrument(*fields[1:8], *map(_text, fields[8:]))


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


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
