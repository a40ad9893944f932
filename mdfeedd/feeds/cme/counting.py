"""The codec's counts as counters of the ring, and those of each line as a line of it."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Final

from mdfeedd.ring.lines import LINES, LineKey, WriterLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mdfeedd.feeds.cme.codec import Handler
    from mdfeedd.feeds.cme.lines import Line
    from mdfeedd.ring import Writer

__all__ = ["COUNTED", "Counting", "LineCounting"]

logger: logging.Logger = logging.getLogger("mdfeedd.cme")

TURNS: Final = 4
"""Calls of `LineCounting.count_some` after which all lines have been told."""

COUNTED: Final[dict[str, tuple[str, ...]]] = {
    "received_bytes": ("bytes",),
    "received_records": ("messages",),
    "skipped_records": ("skipped", "passed_over"),
    "unknown_records": ("unknown",),
    "unmapped_records": ("unmapped",),
    "gaps": ("gaps",),
    "published_quotes": ("quotes",),
    "published_trades": ("trades",),
    "published_others": ("others",),
    "received_packets": ("packets",),
    "duplicate_packets": ("duplicates",),
    "late_packets": ("late",),
    "lost_packets": ("lost",),
    "malformed_packets": ("malformed", "misplaced", "oversize"),
    "stale_books": ("stale",),
    "recovered_books": ("snapshots", "natural"),
}
"""Counter of the ring: what of the codec's counts adds up to it."""


class Counting:
    """Brings the counters of a ring up to a codec's counts. `without` are counters that others keep."""

    def __init__(self, handler: Handler, writer: Writer, without: Iterable[str] = ()) -> None:
        self._handler = handler
        self._counters = writer.counters
        self._parts = {name: parts for name, parts in COUNTED.items() if name not in set(without)}
        self._counted = dict.fromkeys(self._parts, 0)

    def count(self, channels: Iterable[int]) -> None:
        """Add what has come since the last time; tell how many books of `channels` are unproven now."""
        counts = self._handler.counts
        for name, parts in self._parts.items():
            value = sum(counts[part] for part in parts)
            self._counters.add(name, value - self._counted[name])
            self._counted[name] = value
        states = (self._handler.state(channel) for channel in channels)
        self._counters.set("unproven_books", sum(state.stale_instruments for state in states))
        self._counters.set("latency_ns", max(0, self._handler.latency_ns))


class LineCounting:
    """Brings the lines of a ring up to a codec's counts of them, some at a time, so that no packet waits for long.

    `drops` gives what the kernel has dropped of a line; None: these are packets of a recording, whose times are
    its own. There is room for `LINES`: the incremental ones come first.
    """

    def __init__(
        self,
        handler: Handler,
        writer: Writer,
        lines: Mapping[int, Line],
        drops: Callable[[int], int] | None,
    ) -> None:
        self._handler = handler
        self._drops = drops
        ordered = sorted(lines, key=lambda number: lines[number].feed != "incremental")
        self._keys = {number: _key(lines[number]) for number in ordered}
        self._rows = WriterLines(writer, self._keys.values())
        if beyond := len(self._rows.beyond):
            told = "%d of %d lines are not counted one by one: a ring has room for %d"
            logger.info(told, beyond, len(self._keys), LINES)
        self._turns = itertools.cycle(self._keys)

    def count_some(self) -> None:
        """Tell of those whose turn it is: of each in `TURNS` calls."""
        for number in itertools.islice(self._turns, -(-len(self._keys) // TURNS)):
            self._count(number)

    def count_all(self) -> None:
        """Tell of each."""
        for number in self._keys:
            self._count(number)

    def _count(self, number: int) -> None:
        counts = self._handler.line_counts(number)
        values = {
            "received_packets": counts["packets"],
            "duplicate_packets": counts["duplicates"],
            "late_packets": counts["late"],
            "lost_packets": counts["lost"],
            "malformed_packets": counts["malformed"],
        }
        if self._drops is not None:
            values["dropped_packets"] = self._drops(number)
            values["last_packet_ns"] = max(0, counts["last_ns"])
        self._rows.set(self._keys[number], values)


def _key(line: Line) -> LineKey:
    return LineKey(line.channel, line.feed, line.side)
