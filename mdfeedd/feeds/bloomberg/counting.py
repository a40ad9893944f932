"""What the parts of the feed have counted, as counters of the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.bloomberg.moment import NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.feeds.bloomberg.codec import Decoder
    from mdfeedd.feeds.bloomberg.line import Line
    from mdfeedd.feeds.bloomberg.moment import Now
    from mdfeedd.feeds.bloomberg.plane import PythonPlane
    from mdfeedd.feeds.bloomberg.topics import Topics
    from mdfeedd.ring.counters import Counters

__all__ = ["Counting"]


class Counting:
    """Brings the counters up to date when told to. The line is that of the present session."""

    def __init__(
        self, counters: Counters, decoder: Decoder, topics: Topics, plane: PythonPlane
    ) -> None:
        self._counters = counters
        self._decoder = decoder
        self._topics = topics
        self._line: Line | None = None
        self._sessions = 0
        self._delivers = False
        self._before = dict.fromkeys(("unknown", "odd", "silences"), 0)
        staging = decoder.staging
        self._sources: Final[dict[str, Callable[[], int]]] = {
            "received_records": lambda: decoder.messages,
            "skipped_records": lambda: decoder.skipped,
            "unknown_records": lambda: decoder.unknown + self._of_lines("unknown"),
            "malformed_records": lambda: plane.unreadable + self._of_lines("odd"),
            "unmapped_records": lambda: decoder.unmapped,
            "gaps": lambda: staging.gaps,
            "published_quotes": lambda: staging.quotes,
            "published_trades": lambda: staging.trades,
            "published_others": lambda: staging.others,
            "stale_books": lambda: decoder.torn,
            "recovered_books": lambda: decoder.recovered,
            "refused_symbols": lambda: topics.refused,
            "dropped_records": lambda: topics.dropped + topics.untold,
            "slow_warnings": lambda: topics.warnings,
            "rejected_fields": lambda: topics.rejected,
            "silences": lambda: self._of_lines("silences"),
            "sessions": lambda: self._sessions,
        }
        self._counted = dict.fromkeys(self._sources, 0)

    def use(self, line: Line) -> None:
        """Another session begins."""
        for name in self._before:
            self._before[name] = self._of_lines(name)
        self._line = line
        self._delivers = False

    def _of_lines(self, name: str) -> int:
        """The sum over all sessions."""
        if self._line is None:
            return self._before[name]
        owner = self._line.conversation if name == "unknown" else self._line
        return self._before[name] + int(getattr(owner, name))

    def count(self) -> None:
        """Add what has come since the last time."""
        if self._line is not None and self._line.conversation.opened_ns and not self._delivers:
            self._delivers = True
            self._sessions += 1
        for name, source in self._sources.items():
            value = source()
            if value != self._counted[name]:
                self._counters.add(name, value - self._counted[name])
                self._counted[name] = value

    def gauge(self) -> None:
        """What goes up and down, and takes a look at every topic."""
        state = self._topics.state()
        self._counters.set("unproven_books", state.stale)
        self._counters.set("failed_topics", state.failed)
        self._counters.set("delayed_topics", state.delayed)
        if self._decoder.last_ns:
            self._counters.set("last_record_ns", self._decoder.last_ns)

    def lag(self) -> None:
        """How far behind Bloomberg we are: with each heartbeat, for whoever has to tell what died with us."""
        latency_ns = self._decoder.latency_ns
        if latency_ns is not None:
            self._counters.set("latency_ns", latency_ns)

    @property
    def opened_ns(self) -> int:
        """When the last session was open for data, by the clock that never steps; 0: it was not."""
        return self._line.conversation.opened_ns if self._line is not None else 0

    def delivered_s(self, now: Now) -> float:
        """How long the last session was open for data."""
        return (now.monotonic_ns - self.opened_ns) / NS if self.opened_ns else 0.0
