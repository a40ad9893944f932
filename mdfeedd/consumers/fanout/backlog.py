"""What waits for one client, bounded by conflation. Sans-IO.

    offer ─► parts in order ─► take, one by one
               │ more than queue_records
               ▼
             of quotes, statuses, bars ... the last of each instrument; trades dropped;
             both counted, and told before what is left: {"type": "lost", "reason": "slow", ...}

So a slow client sees the market as it is, not as it was, and knows what it did not see. What is
left after a conflation is bounded by the instruments; the next comes when twice as much waits, so
that a client who never reads costs little.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.consumers.fanout.parts import Lapped, Part, RingNow
from mdfeedd.tick import BAR, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

    Records = npt.NDArray[np.void]

__all__ = ["Backlog", "Missed"]

MAX_TOLD: Final = 100  # of what is no part; beyond it is merged as well


@dataclass(slots=True)
class Missed:
    """What a client missed of a ring because it was slow."""

    ring: str
    quotes: int = 0
    trades: int = 0
    others: int = 0

    @property
    def records(self) -> int:
        """All of it."""
        return self.quotes + self.trades + self.others

    def text(self) -> str:
        """As the client is told."""
        counts = {"quotes": self.quotes, "trades": self.trades, "others": self.others}
        return json.dumps({"type": "lost", "ring": self.ring, "reason": "slow"} | counts)


Item = Part | Lapped | RingNow | Missed


class Backlog:
    """The queue of one client. `limit` is in records."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threshold = limit
        self._items: deque[Item] = deque()
        self._told = 0
        self.records: int = 0

    def offer(self, item: Part | Lapped | RingNow) -> dict[str, int]:
        """Add to the end; returns how many records of which ring were dropped to make room."""
        self._items.append(item)
        if isinstance(item, Part):
            self.records += len(item)
        else:
            self._told += 1
        if self.records <= self._threshold and self._told <= MAX_TOLD:
            return {}
        return self._conflate()

    def take(self) -> Item | None:
        """The oldest; None if nothing waits."""
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, Part):
            self.records -= len(item)
        else:
            self._told -= 1
        if self.records <= self._limit:
            self._threshold = self._limit
        return item

    def __len__(self) -> int:
        return len(self._items)

    def pending(self, ring: str) -> int:
        """Records of a ring that wait."""
        return sum(len(i) for i in self._items if isinstance(i, Part) and i.ring.name == ring)

    # --------------------------------------------------------------------------------------- inside

    def _conflate(self) -> dict[str, int]:
        rings: dict[str, RingNow] = {}
        lapped: dict[str, int] = {}
        missed: dict[str, Missed] = {}
        parts: dict[tuple[RingNow, bool], list[Part]] = {}
        for item in self._items:
            if isinstance(item, RingNow):
                rings[item.name] = item
            elif isinstance(item, Lapped):
                lapped[item.ring] = lapped.get(item.ring, 0) + item.records
            elif isinstance(item, Missed):
                missed[item.ring] = item
            else:
                parts.setdefault((item.ring, item.snapshot), []).append(item)
        before = {name: one.records for name, one in missed.items()}
        merged = [_merged(some, missed) for some in parts.values()]
        kept = [part for part in merged if part is not None]
        lost = [Lapped(name, n) for name, n in lapped.items()]
        self._items = deque([*rings.values(), *lost, *missed.values(), *kept])
        self._told = len(self._items) - len(kept)
        self.records = sum(map(len, kept))
        self._threshold = max(self._limit, 2 * self.records)
        dropped = {name: one.records - before.get(name, 0) for name, one in missed.items()}
        return {name: n for name, n in dropped.items() if n}


def _merged(parts: list[Part], missed: dict[str, Missed]) -> Part | None:
    """Of each instrument the last of each kind, without trades (but those of a snapshot, which are
    the last); what that leaves out is added to `missed`.
    """
    ring, snapshot, dtype = parts[0].ring, parts[0].snapshot, parts[0].records.dtype
    opaque = np.concatenate([part.records.view(f"V{dtype.itemsize}") for part in parts])
    records = opaque.view(dtype)
    what = records["interval_s"] if dtype == BAR else records["kind"]
    trades = np.zeros(len(records), np.bool_)
    if dtype != BAR and not snapshot:
        trades = (what >= Kind.TRADE) & (what <= Kind.TRADE_CORRECTION)
    places = np.flatnonzero(~trades)[::-1]
    keys = records["instrument_id"].astype("<u8") << np.uint64(32) | what
    _, first = np.unique(keys[places], return_index=True)
    keep = np.sort(places[first])
    told = missed.setdefault(ring.name, Missed(ring.name))
    gone = len(records) - len(keep)
    if not snapshot:
        quotes = 0
        if dtype != BAR:
            quotes = int((what == Kind.QUOTE).sum() - (what[keep] == Kind.QUOTE).sum())
        told.quotes += quotes
        told.trades += int(trades.sum())
        told.others += gone - quotes - int(trades.sum())
    if not told.records:
        del missed[ring.name]
    if not len(keep):
        return None
    return Part(ring, opaque[keep].view(dtype), parts[-1].instruments, snapshot=snapshot)
