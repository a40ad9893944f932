"""The instruments of several readers as one table, with ids that are unique over all of them.

An id's high byte is the index of its feed in the configuration. Feeds of one daemon differ in it already, and their
ids stay as they are; where two rings have the same byte (two daemons, rings made by hand) the later one's is replaced
by one that is free. So is that of a ring that was made anew, while there are records of the one before it: an id does
not stand for two instruments. Instrument 0, the whole feed, stays 0: which feed it is says the row's feed.
"""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mdfeedd.ring.instruments import (
    INDEX_BITS,
    INDEX_MASK,
    Instrument,
    Instruments,
    InstrumentTable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

__all__ = ["MergedInstruments"]

MAX_RETIRED: Final = 16
"""Tables of rings that are no more, kept for their records; then the oldest goes."""
_BYTES: Final = 256


class _HasInstruments(Protocol):
    @property
    def instruments(self) -> Instruments: ...
    @property
    def ring_id(self) -> bytes: ...
    @property
    def closed(self) -> bool: ...
    @property
    def instruments_version(self) -> int: ...


class _Member:
    """One reader's part: its table, and which byte stands for which of its own."""

    def __init__(self, reader: _HasInstruments, *, any_ring: bool) -> None:
        self.reader: Callable[[], _HasInstruments | None] = weakref.ref(reader)
        self._instruments = reader.instruments
        self._ring_id = None if any_ring else reader.ring_id
        self.to = np.zeros(_BYTES, np.uint32)
        self.known = np.zeros(_BYTES, np.bool_)
        self.same = True

    @property
    def instruments(self) -> Instruments:
        """Those of the ring that the reader is attached to now, or was last; of another ring only with `any_ring`."""
        reader = self.reader()
        if reader is None or reader.closed or reader.instruments is self._instruments:
            return self._instruments
        if self._ring_id is None or self._ring_id == reader.ring_id:
            self._instruments = reader.instruments
        return self._instruments

    def stamp(self) -> tuple[int, int]:
        """Another one when the table has changed."""
        reader = self.reader()
        version = -1 if reader is None or reader.closed else reader.instruments_version
        return id(self.instruments), version


class MergedInstruments(InstrumentTable):
    """As `mdfeedd.ring.Instruments`, over several readers: merged instrument_id to `Instrument`, symbol to ids.

    any_ring: of a reader that comes to another ring the instruments are that one's, without `renew`, and ids stay.
    Raises `ValueError` when more than 256 different high bytes come together.
    """

    def __init__(self, readers: Iterable[_HasInstruments], *, any_ring: bool = False) -> None:
        self._members = [_Member(reader, any_ring=any_ring) for reader in readers]
        self._owner: dict[int, tuple[_Member, int]] = {}
        self._retired: deque[_Member] = deque()

    def renew(self, member: int) -> None:
        """A member's reader has come to another ring: its ids are others, and those of the old ring keep their names."""
        old = self._members[member]
        reader = old.reader()
        assert reader is not None
        self._members[member] = _Member(reader, any_ring=False)
        old.reader = lambda: None
        self._retired.append(old)
        if len(self._retired) > MAX_RETIRED:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        gone = self._retired.popleft()
        self._owner = {byte: owner for byte, owner in self._owner.items() if owner[0] is not gone}

    def _free(self, wanted: int) -> int:
        """A byte that stands for nothing: `wanted`, if it is one."""
        while True:
            if wanted not in self._owner:
                return wanted
            for byte in range(_BYTES - 1, -1, -1):
                if byte not in self._owner:
                    return byte
            if not self._retired:
                raise ValueError("the rings have instruments of more than 256 feeds together")
            self._drop_oldest()

    def _assign(self, mine: _Member, byte: int) -> int:
        """The byte that stands for `byte` of a member."""
        if not mine.known[byte]:
            taken = self._free(byte)
            self._owner[taken] = (mine, byte)
            mine.to[byte] = taken << INDEX_BITS
            mine.known[byte] = True
            mine.same = mine.same and taken == byte
        return int(mine.to[byte]) >> INDEX_BITS

    def merged(self, member: int, instrument_id: int) -> int:
        """The merged id of a member's own."""
        return self._merged(self._members[member], instrument_id)

    def _merged(self, mine: _Member, instrument_id: int) -> int:
        if not instrument_id:
            return 0
        byte = self._assign(mine, instrument_id >> INDEX_BITS)
        return byte << INDEX_BITS | instrument_id & INDEX_MASK

    def make_unique(self, member: int, records: npt.NDArray[np.void]) -> None:
        """Replace the ids of a member's records, in place, where need be. `records`: with an ``instrument_id``."""
        ids = records["instrument_id"]
        mine = self._members[member]
        high = ids >> INDEX_BITS
        if not mine.known[high].all():
            for byte in np.unique(high[ids != 0]).tolist():
                self._assign(mine, byte)
        if mine.same:
            return
        merged = (ids & np.uint32(INDEX_MASK)) | mine.to[high]
        records["instrument_id"] = np.where(ids == 0, np.uint32(0), merged)

    def _renamed(self, mine: _Member, entry: Instrument) -> Instrument:
        merged = self._merged(mine, entry.instrument_id)
        return entry if merged == entry.instrument_id else replace(entry, instrument_id=merged)

    def get(self, instrument_id: int) -> Instrument | None:
        """The entry of a merged id, with that id in it; None if there is none."""
        high = instrument_id >> INDEX_BITS
        if high not in self._owner:  # an id that no record has brought yet
            for mine in self._members:
                for byte in {entry.instrument_id >> INDEX_BITS for entry in mine.instruments}:
                    self._assign(mine, byte)
        if high not in self._owner:
            return None
        mine, byte = self._owner[high]
        entry = mine.instruments.get(byte << INDEX_BITS | instrument_id & INDEX_MASK)
        return None if entry is None else self._renamed(mine, entry)

    def ids(self, symbol: str) -> list[int]:
        """All merged ids of a symbol, in the order of the feeds."""
        return [
            self.merged(member, own)
            for member, mine in enumerate(self._members)
            for own in mine.instruments.ids(symbol)
        ]

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

    def __len__(self) -> int:
        return sum(len(member.instruments) for member in self._members)

    def __iter__(self) -> Iterator[Instrument]:
        for mine in self._members:
            for entry in mine.instruments:
                yield self._renamed(mine, entry)


def distinct_symbols(instruments: MergedInstruments, ids: Sequence[Any]) -> list[str]:
    """The symbols of ids, each once, in their order."""
    return list(dict.fromkeys(instruments.symbol(int(one)) for one in ids))
