"""One schema of a session: from where in its timeline, for which instruments, replayed up to where."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.sim.databento.timeline import Record, Timeline

__all__ = ["Flow"]

_EARLY_NS: Final = 10_000_000_000  # ts_event is never so much later than when a record is due


class _Rule(NamedTuple):
    start_ns: int | None
    since_ns: int
    passed: int = 0  # what lies before this position has been sent, as far as it was wanted


class Flow:
    """Records of `timeline` from `position` on that one of its rules wants.

    An instrument's rule: what falls due after it subscribed, and of what was due before, what is at or after
    its start. Subscribed again, the older rule stays, so nothing comes twice.
    """

    def __init__(self, timeline: Timeline, now_ns: int) -> None:
        self.timeline = timeline
        self.position: int = timeline.after(now_ns)
        self.replay_end: int = self.position
        self.has_replay: bool = False
        self.is_complete = False
        self.snapshot: collections.deque[Record] = collections.deque()
        self._rules: dict[int, _Rule] = {}

    def add(self, instrument_ids: Iterable[int], start_ns: int | None, now_ns: int) -> list[int]:
        """Want these instruments, too. Returns those that are new."""
        new = [i for i in instrument_ids if i not in self._rules]
        self._rules |= {i: _Rule(start_ns, now_ns) for i in new}
        if start_ns is not None and new:
            begin = self.timeline.after(start_ns - _EARLY_NS) if start_ns else self.timeline.first
            if begin < self.position:  # the others have had what lies between
                for i in self._rules.keys() - set(new):
                    rule = self._rules[i]
                    self._rules[i] = rule._replace(passed=max(rule.passed, self.position))
                self.position = begin
            self.has_replay = True
        return new

    def wants(self, record: Record) -> bool:
        """Whether a record at the position is sent."""
        rule = self._rules.get(record.instrument_id)
        if rule is None or self.position < rule.passed:
            return False
        if record.due_ns > rule.since_ns:
            return True
        return rule.start_ns is not None and record.key_ns >= rule.start_ns

    @property
    def is_replaying(self) -> bool:
        """Whether the position is before where the live part begins."""
        return self.position < self.replay_end

    @property
    def next_ns(self) -> int | None:
        """When the record at the position is due; None if it has not been made."""
        timeline, position = self.timeline, max(self.position, self.timeline.first)
        return timeline[position].due_ns if position < len(timeline) else None

    @property
    def due_ns(self) -> int | None:
        """When there is something to send or to tell; 0 for at once, None if that is not known."""
        if self.snapshot or (self.has_replay and not self.is_complete):
            return 0
        return self.next_ns

    def catch_up(self) -> int:
        """Go on at the oldest record that is kept; returns how many had been forgotten."""
        lost = max(0, self.timeline.first - self.position)
        self.position += lost
        return lost

    @property
    def instrument_ids(self) -> Iterable[int]:
        """Those that are wanted."""
        return self._rules.keys()
