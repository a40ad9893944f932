"""What was true when: each instrument after each packet and at each event's end, and all that was told once.

Kept by copy on write: a state is stored only after a packet that changed it. Packets of the incremental feed are
counted by `ordinal` from 0, through weekly resets; (epoch, MsgSeqNum) names the same.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from mdfeedd.sim.cme.entries import (
    DailyStatistic,
    Definition,
    LimitsEntry,
    SessionStatistic,
    StatusEntry,
    Tell,
    TradeEntry,
    VolumeEntry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mdfeedd.sim.cme.published import State

__all__ = ["EventEnd", "Told", "Truth"]

_TOLD = (
    TradeEntry,
    VolumeEntry,
    SessionStatistic,
    DailyStatistic,
    LimitsEntry,
    StatusEntry,
    Definition,
)


class Told(NamedTuple):
    """An entry that is told once (no book entry), and the packet that told it."""

    epoch: int
    seq: int
    transact_ns: int
    entry: Tell


class EventEnd(NamedTuple):
    """The end of an event, in the packet `seq`, with what the event changed as it is then."""

    epoch: int
    seq: int
    transact_ns: int
    states: Mapping[int, State]
    cleared: frozenset[int]  # instruments whose books were reset in it, or that were deleted


class Truth:
    """The record of a run. `keep=False` keeps the latest states only, for runs without end."""

    def __init__(self, keep: bool = True) -> None:
        self.keep = keep
        self.latest: dict[int, State] = {}
        self.events: list[EventEnd] = []
        self.told: list[Told] = []
        self.resets: list[tuple[int, int]] = []  # (epoch, seq) of channel resets
        self._history: dict[int, tuple[list[int], list[State | None]]] = {}
        self._starts: list[tuple[int, int]] = []  # ordinal and MsgSeqNum that each epoch began with
        self.ordinal = -1  # of the last packet

    def begin(self, first_seq: int) -> None:
        """A new epoch: the next packet has this number."""
        self._starts.append((self.ordinal + 1, first_seq))

    def ordinal_of(self, seq: int, epoch: int = -1) -> int:
        """The packet that has this number in this epoch (the last one unless said)."""
        ordinal, first = self._starts[epoch]
        return ordinal + seq - first

    def store(self, states: Mapping[int, State | None]) -> None:
        """The packet `ordinal` left these instruments so; None for one that is no longer."""
        for security_id, state in states.items():
            if state is None:
                self.latest.pop(security_id, None)
            else:
                self.latest[security_id] = state
            if self.keep:
                ordinals, history = self._history.setdefault(security_id, ([], []))
                if ordinals and ordinals[-1] == self.ordinal:
                    history[-1] = state
                else:
                    ordinals.append(self.ordinal)
                    history.append(state)

    def tell(self, epoch: int, seq: int, transact_ns: int, entry: Tell) -> None:
        """Keep an entry that is told once."""
        if self.keep and isinstance(entry, _TOLD):
            self.told.append(Told(epoch, seq, transact_ns, entry))

    def end(self, event: EventEnd) -> None:
        """Keep the end of an event."""
        if self.keep:
            self.events.append(event)

    def state(self, security_id: int, seq: int | None = None, epoch: int = -1) -> State | None:
        """The instrument after the packet `seq` (the last one unless said); None where it was not there yet, and
        before the first packet of an epoch.
        """
        if seq is None:
            return self.latest.get(security_id)
        assert self.keep
        if seq < self._starts[epoch][1]:
            return None
        ordinals, history = self._history.get(security_id, ([], []))
        at = bisect_right(ordinals, self.ordinal_of(seq, epoch)) - 1
        return history[at] if at >= 0 else None

    def at(self, seq: int | None = None, epoch: int = -1) -> dict[int, State]:
        """All instruments after the packet `seq`."""
        if seq is None:
            return dict(self.latest)
        states = {sid: self.state(sid, seq, epoch) for sid in self._history}
        return {sid: state for sid, state in states.items() if state is not None}

    def trades(self) -> list[Told]:
        """Those of `told` that are trades."""
        return [told for told in self.told if isinstance(told.entry, TradeEntry)]

    def changed_in(self, seq: int, epoch: int = -1) -> set[int]:
        """Instruments that the packet changed."""
        ordinal = self.ordinal_of(seq, epoch)
        changed = set()
        for security_id, (ordinals, _) in self._history.items():
            at = bisect_right(ordinals, ordinal) - 1
            if at >= 0 and ordinals[at] == ordinal:
                changed.add(security_id)
        return changed
