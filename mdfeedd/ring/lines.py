"""The lines of a feed, each counted by itself: sides A and B of channels, as they lie in shared memory.

    feed ─► WriterLines.give / set ─► mdf_feed_line, a row of the counters page ─► inspect() ─► RingInfo.lines

Lists and layout are those of `mdfeedd.h`. A row keeps its line over restarts of the feed, so its counters go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mdfeedd.ring._ring import LINE_VALUES, LINES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LINES", "LINE_VALUES", "LineInfo", "LineKey", "WriterLines"]

KINDS: Final = ("", "incremental", "definition", "snapshot", "orders")
"""Names of `enum mdf_line_kind`, by number."""
_NAMES: Final = tuple(name for name, _ in LINE_VALUES)


@dataclass(frozen=True, slots=True, order=True)
class LineKey:
    """Which line. `channel`: the venue's number; `kind`: one of `KINDS`; `side`: A or B."""

    channel: int
    kind: str
    side: str

    @property
    def number(self) -> int:
        """As in shared memory: MDF_LINE_KEY."""
        return self.channel << 32 | KINDS.index(self.kind) << 8 | ord(self.side)

    @classmethod
    def of(cls, number: int) -> LineKey:
        """The same back. What a newer version calls a kind is one here, too: its number."""
        kind = number >> 8 & 0xFFFFFF
        named = KINDS[kind] if kind < len(KINDS) else str(kind)
        return cls(number >> 32, named, chr(number & 0xFF))


@dataclass(frozen=True, slots=True)
class LineInfo:
    """One line and its values (`LINE_VALUES`): packets since the ring was made, and the time of the latest in ns."""

    key: LineKey
    values: dict[str, int]

    @classmethod
    def of(cls, number: int, values: tuple[int, ...]) -> LineInfo:
        """Of a row of shared memory."""
        return cls(LineKey.of(number), dict(zip(_NAMES, values, strict=True)))


class _Rows(Protocol):
    def line_key(self, index: int) -> int: ...
    def line_give(self, index: int, key: int) -> None: ...
    def line_values(self, index: int) -> tuple[int, ...]: ...
    def line_set(self, index: int, values: tuple[int, ...]) -> None: ...


class WriterLines:
    """The rows of one writer's ring, from the moment that `keys` says which lines there are.

    Lines beyond the `LINES` that there is room for are in `beyond`, and counted nowhere.
    """

    __slots__ = ("_before", "_places", "_rows", "beyond")

    def __init__(self, rows: _Rows, keys: Iterable[LineKey]) -> None:
        wanted = list(dict.fromkeys(keys))
        self.beyond: list[LineKey]
        taken, self.beyond = wanted[:LINES], wanted[LINES:]
        there = {number: i for i in range(LINES) if (number := rows.line_key(i))}
        kept = {key: there[key.number] for key in taken if key.number in there}
        free = [i for i in range(LINES) if i not in set(kept.values())]
        for i in free:
            if rows.line_key(i):
                rows.line_give(i, 0)
        for key in taken:
            if key not in kept:
                kept[key] = free.pop(0)
                rows.line_give(kept[key], key.number)
        self._rows = rows
        self._places = kept
        self._before = {key: rows.line_values(i) for key, i in kept.items()}

    def set(self, key: LineKey, values: Mapping[str, int]) -> None:
        """What a line has counted since this object was made; a name that is missing has counted nothing.

        A time is set as it is, once there is one: until then that of the process before stays.
        """
        place = self._places.get(key)
        if place is None:
            return
        told = tuple(
            (values.get(name) or before) if name.endswith("_ns") else values.get(name, 0) + before
            for name, before in zip(_NAMES, self._before[key], strict=True)
        )
        self._rows.line_set(place, told)
