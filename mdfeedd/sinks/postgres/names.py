"""The database's numbers for instruments and sources, made when they are missing.

The number of an instrument in a ring is that host's and that boot's, so rows carry the number that
the `instrument` table gives to (feed, venue, vendor_symbol, vendor_id, publisher_id, symbol). One
whose name changes becomes another row: what was stored under the old name stays there. Tick size,
expiration and the like are kept as they were last seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mdfeedd.ring import Instrument, Instruments
    from mdfeedd.sinks.postgres.connection import Link
    from mdfeedd.sinks.protocol import SinkBatch

    Key = tuple[str, str, str, str, int, int]
    Facts = tuple[str, int, int, int]

__all__ = ["Names"]

RECHECK_S: Final = 1.0  # how often names that are known are looked at again
ASK_ROWS: Final = 10_000  # instruments asked for in one statement
_KEY: Final = ("symbol", "feed", "venue", "vendor_symbol", "vendor_id", "publisher_id")
_FACTS: Final = ("currency", "tick_size", "multiplier", "expiration")
_TYPES: Final = ("text", "text", "text", "text", "bigint", "bigint", "text", *("bigint",) * 3)
_GIVEN: Final = "unnest({}) as g({})".format(
    ", ".join(f"%s::{type_name}[]" for type_name in _TYPES), ", ".join((*_KEY, *_FACTS))
)
_FIND: Final = (
    f"select instrument_id, {', '.join(f'i.{name}' for name in (*_KEY, *_FACTS))} "  # noqa: S608
    f"from {_GIVEN} join $schema.instrument i using ({', '.join(_KEY)})"
)
_ADD: Final = (
    f"insert into $schema.instrument({', '.join((*_KEY, *_FACTS))}) "  # noqa: S608
    f"select * from {_GIVEN} on conflict ({', '.join(_KEY)}) do nothing"
)
_CHANGE: Final = (
    f"update $schema.instrument i set "  # noqa: S608
    f"{', '.join(f'{name} = g.{name}' for name in _FACTS)} from {_GIVEN} "
    f"where ({', '.join(f'i.{name}' for name in _KEY)}) = ({', '.join(f'g.{n}' for n in _KEY)})"
)
_FIND_SOURCE: Final = (
    "select source_id from $schema.source where (ring, ring_id, epoch) = (%s, %s, %s)"
)
_ADD_SOURCE: Final = (
    "insert into $schema.source(ring, ring_id, epoch) values (%s, %s, %s) on conflict do nothing"
)


@dataclass(slots=True)
class _Table:
    """What is known of one ring's instruments table: by id its entry, and the database's number."""

    instruments: Instruments
    checked: float
    entries: dict[int, Instrument | None] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)


class Names:
    """Asks the database over `link`; what it has learnt it forgets with the connection."""

    def __init__(self, link: Link, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self._tables: dict[str, _Table] = {}
        self._numbers: dict[Key, tuple[int, Facts]] = {}
        self._sources: dict[tuple[str, str, int], int] = {}
        self._generation = 0

    def source(self, batch: SinkBatch) -> int:
        """The number of where a batch comes from. Raises `SinkError`."""
        self._forget_what_may_be_wrong()
        key = (batch.ring, batch.ring_id, batch.epoch)
        number = self._sources.get(key)
        if number is None:
            found = self._link.execute(_FIND_SOURCE, key)
            if not found:
                self._link.update(_ADD_SOURCE, key)
                found = self._link.execute(_FIND_SOURCE, key)
            number = self._sources[key] = int(found[0][0])
        return number

    def instruments(self, batch: SinkBatch) -> npt.NDArray[np.int32]:
        """The number of the instrument of each record, shape (n,). Raises `SinkError`."""
        self._forget_what_may_be_wrong()
        table = self._table(batch)
        unique, places = distinct_ids(batch.records["instrument_id"])
        ids = unique.tolist()
        unknown = [i for i in ids if i not in table.numbers]
        unknown += self._changed(batch, table, ids)
        if unknown:
            self._learn(batch, table, unknown)
        return np.array([table.numbers[i] for i in ids], np.int32)[places]

    def _forget_what_may_be_wrong(self) -> None:
        """A server we have lost may have come back as another, without our last commits."""
        self._link.connect()
        if self._link.generation != self._generation:
            self._generation = self._link.generation
            self._tables.clear()
            self._numbers.clear()
            self._sources.clear()

    def _table(self, batch: SinkBatch) -> _Table:
        table = self._tables.get(batch.ring)
        if table is None or table.instruments is not batch.instruments:
            table = self._tables[batch.ring] = _Table(batch.instruments, self._clock())
        return table

    def _changed(self, batch: SinkBatch, table: _Table, ids: list[int]) -> list[int]:
        """Known ids whose entry is another by now: defined anew in this batch, or found by time."""
        now = self._clock()
        if now - table.checked >= RECHECK_S:
            table.checked = now
            suspects = ids
        elif batch.records.dtype == TICK:
            defined = batch.records["instrument_id"][batch.records["kind"] == Kind.DEFINITION]
            suspects = np.unique(defined).tolist()
        else:
            suspects = []
        return [
            i
            for i in suspects
            if i in table.numbers and batch.instruments.get(i) != table.entries[i]
        ]

    def _learn(self, batch: SinkBatch, table: _Table, ids: list[int]) -> None:
        entries = {i: batch.instruments.get(i) if i else None for i in ids}
        wanted = {i: _described(i, entry, batch) for i, entry in entries.items()}
        missing = {
            key: facts
            for key, facts in wanted.values()
            if key not in self._numbers or self._numbers[key][1] != facts
        }
        rows = [(*key, *facts) for key, facts in missing.items()]
        for start in range(0, len(rows), ASK_ROWS):
            self._ask(rows[start : start + ASK_ROWS])
        for i, (key, _) in wanted.items():
            table.numbers[i] = self._numbers[key][0]
            table.entries[i] = entries[i]

    def _ask(self, rows: list[tuple[Any, ...]]) -> None:
        """Learn the numbers of instruments, adding those that are missing."""
        self._take_over(self._link.execute(_FIND, _columns(rows)))
        absent = [row for row in rows if row[: len(_KEY)] not in self._numbers]
        if absent:
            self._link.update(_ADD, _columns(absent))
            self._take_over(self._link.execute(_FIND, _columns(absent)))
        changed = [row for row in rows if self._numbers[row[: len(_KEY)]][1] != row[len(_KEY) :]]
        if changed:
            self._link.update(_CHANGE, _columns(changed))
            self._take_over(self._link.execute(_FIND, _columns(changed)))

    def _take_over(self, found: list[tuple[Any, ...]]) -> None:
        for number, *row in found:
            self._numbers[tuple(row[: len(_KEY)])] = (number, tuple(row[len(_KEY) :]))


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _described(instrument_id: int, entry: Instrument | None, batch: SinkBatch) -> tuple[Key, Facts]:
    """Key and facts of an instrument; 0 is the whole feed, "#ID" one that the table lacks."""
    feed = batch.feed or batch.ring
    if entry is None:
        symbol = f"#{instrument_id}" if instrument_id else ""
        return (symbol, feed, "", "", 0, 0), ("", 0, 0, 0)
    key = (
        _text(entry.symbol),
        _text(entry.feed or feed),
        _text(entry.venue),
        _text(entry.vendor_symbol),
        _signed(entry.vendor_id),
        entry.publisher_id,
    )
    return key, (_text(entry.currency), entry.tick_size, entry.multiplier, entry.expiration)


def _signed(number: int) -> int:
    """A u64 as the int64 of the same bits."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _text(text: str) -> str:
    """What PostgreSQL can store: it has no NUL, and no halves of characters."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
