"""The codec's counts as counters of the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.feeds.cme.codec import Handler
    from mdfeedd.ring import Writer

__all__ = ["COUNTED", "Counting"]

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
