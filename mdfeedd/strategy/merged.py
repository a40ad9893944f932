"""The instruments of several readers as one table, with ids that are unique over all of them.

An id's high byte is the index of its feed in the configuration. Feeds of one daemon differ in it already, and their
ids stay as they are; where two rings have the same byte (two daemons, rings made by hand) the later one's is replaced
by one that is free. Instrument 0, the whole feed, stays 0: which feed it is says the row's feed.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mdfeedd.ring.instruments import INDEX_BITS, Instrument, Instruments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

__all__ = ["MergedInstruments"]

_BYTES: Final = 256
_INDEX_MASK: Final = (1 << INDEX_BITS) - 1


class _HasInstruments(Protocol):
    @property
    def instruments(self) -> Instruments: ...
    @property
    def closed(self) -> bool: ...
    @property
    def instruments_version(self) -> int: ...


class _Member:
    """One reader's part: its table, and which byte stands for which of its own."""

    def __init__(self, reader: _HasInstruments) -> None:
        self._reader = weakref.ref(reader)
        self._instruments = reader.instruments
        self.to = np.zeros(_BYTES, np.uint32)
        self.known = np.zeros(_BYTES, np.bool_)
        self.same = True

    @property
    def instruments(self) -> Instruments:
        """Those of the ring that the reader is attached to now, or was last."""
        reader = self._reader()
        if reader is not None:
            self._instruments = reader.instruments
        return self._instruments

    def stamp(self) -> tuple[int, int]:
        """Another one when the table has changed."""
        reader = self._reader()
        version = -1 if reader is None or reader.closed else reader.instruments_version
        return id(self.instruments), version


class MergedInstruments:
    """As `mdfeedd.ring.Instruments`, over several readers: merged instrument_id to `Instrument`, symbol to ids.

    Raises `ValueError` when more than 256 different high bytes come together.
    """

    def __init__(self, readers: Iterable[_HasInstruments]) -> None:
        self._members = [_Member(reader) for reader in readers]
        self._owner: dict[int, tuple[int, int]] = {}

    def _assign(self, member: int, byte: int) -> int:
        """The byte that stands for `byte` of a member."""
        mine = self._members[member]
        if not mine.known[byte]:
            free = (b for b in (byte, *range(_BYTES - 1, -1, -1)) if b not in self._owner)
            taken = next(free, None)
            if taken is None:
                raise ValueError("the rings have instruments of more than 256 feeds together")
            self._owner[taken] = (member, byte)
            mine.to[byte] = taken << INDEX_BITS
            mine.known[byte] = True
            mine.same = mine.same and taken == byte
        return int(mine.to[byte]) >> INDEX_BITS

    def merged(self, member: int, instrument_id: int) -> int:
        """The merged id of a member's own."""
        if not instrument_id:
            return 0
        byte = self._assign(member, instrument_id >> INDEX_BITS)
        return byte << INDEX_BITS | instrument_id & _INDEX_MASK

    def make_unique(self, member: int, records: npt.NDArray[np.void]) -> None:
        """Replace the ids of a member's records, in place, where need be. `records`: with an ``instrument_id``."""
        ids = records["instrument_id"]
        mine = self._members[member]
        high = ids >> INDEX_BITS
        if not mine.known[high].all():
            for byte in np.unique(high[ids != 0]).tolist():
                self._assign(member, byte)
        if mine.same:
            return
        merged = (ids & np.uint32(_INDEX_MASK)) | mine.to[high]
        records["instrument_id"] = np.where(ids == 0, np.uint32(0), merged)

    def _split(self, instrument_id: int) -> tuple[int, int] | None:
        owner = self._owner.get(instrument_id >> INDEX_BITS)
        if owner is None:
            return None
        return owner[0], owner[1] << INDEX_BITS | instrument_id & _INDEX_MASK

    def _mine(self, member: int, entry: Instrument) -> Instrument:
        merged = self.merged(member, entry.instrument_id)
        return entry if merged == entry.instrument_id else replace(entry, instrument_id=merged)

    def get(self, instrument_id: int) -> Instrument | None:
        """The entry of a merged id, with that id in it; None if there is none."""
        place = self._split(instrument_id)
        if place is None:  # an id that no record has brought yet
            for member in range(len(self._members)):
                for byte in {entry.instrument_id >> INDEX_BITS for entry in self.of_member(member)}:
                    self._assign(member, byte)
            place = self._split(instrument_id)
        if place is None:
            return None
        entry = self._members[place[0]].instruments.get(place[1])
        return None if entry is None else self._mine(place[0], entry)

    def __getitem__(self, instrument_id: int) -> Instrument:
        found = self.get(instrument_id)
        if found is None:
            raise KeyError(instrument_id)
        return found

    def symbol(self, instrument_id: int) -> str:
        """Its symbol; "" for 0 (a whole feed), "#ID" for an instrument that no table has."""
        found = self.get(instrument_id) if instrument_id else None
        if found is not None:
            return found.symbol
        return f"#{instrument_id}" if instrument_id else ""

    def ids(self, symbol: str) -> list[int]:
        """All merged ids of a symbol, in the order of the feeds."""
        return [
            self.merged(member, own)
            for member, mine in enumerate(self._members)
            for own in mine.instruments.ids(symbol)
        ]

    def id(self, symbol: str) -> int:
        """The last id of a symbol. Raises `KeyError`."""
        ids = self.ids(symbol)
        if not ids:
            raise KeyError(symbol)
        return ids[-1]

    def ids_of(self, member: int, text: str) -> list[int]:
        """The merged ids of one member's instruments that are called so, by us or by the vendor."""
        own = self._members[member].instruments.ids(text) or [
            entry.instrument_id for entry in self.of_member(member) if entry.vendor_symbol == text
        ]
        return [self.merged(member, one) for one in own]

    def of_member(self, member: int) -> Iterator[Instrument]:
        """A member's entries as its ring has them."""
        return iter(self._members[member].instruments)

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Another one whenever a table has changed."""
        return tuple(member.stamp() for member in self._members)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            return bool(self.ids(key))
        return isinstance(key, int) and self.get(key) is not None

    def __len__(self) -> int:
        return sum(len(member.instruments) for member in self._members)

    def __iter__(self) -> Iterator[Instrument]:
        for member in range(len(self._members)):
            for entry in self.of_member(member):
                yield self._mine(member, entry)


def distinct_symbols(instruments: MergedInstruments, ids: Sequence[Any]) -> list[str]:
    """The symbols of ids, each once, in their order."""
    return list(dict.fromkeys(instruments.symbol(int(one)) for one in ids))
