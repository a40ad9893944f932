"""A store that keeps what it is given, and fails, stalls and forgets to answer; and the sink that writes to it.

    BatchConsumer ─► StoreSink.write ─► pending ─(housekeep, flush)─► Store: rows by ring, positions

The store is the server: it outlives the processes. A store that keeps positions takes each record once, with the
position in the same step; of the other kind the consumer remembers how far it is, and records may come again
after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mdfeedd.ring import Position
from mdfeedd.sinks import SinkBatch, SinkError, SinkProgress

if TYPE_CHECKING:
    import random

    import numpy.typing as npt

    from mdfeedd.sim.whole.world import World

__all__ = ["KeepingSink", "Store", "StoreSink"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """None: the world decides."""


@dataclass(slots=True)
class Store:
    """The server. down: refuses all. forgets: chance that it commits and the answer is lost. stall_s: of a commit.

    batches: what was committed, in order, by ring.
    """

    name: str
    keeps: bool
    down: bool = False
    forgets: float = 0.0
    stall_s: float = 0.0
    batches: dict[str, list[npt.NDArray[np.void]]] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)  # by ring, the last record

    def commit(self, ring: str, records: npt.NDArray[np.void], position: Position) -> None:
        """Take records, and how far that is, in one step."""
        if len(records):
            self.last[ring] = int(records["seq"][-1])
            self.batches.setdefault(ring, []).append(records.copy())
        if self.keeps:
            self.positions[ring] = position

    def rows(self, ring: str) -> npt.NDArray[np.void] | None:
        """All that it has of a ring, in the order of the commits; None: nothing."""
        batches = self.batches.get(ring)
        return None if not batches else np.concatenate(batches)


class StoreSink:
    """Obeys `mdfeedd.sinks.protocol`. Of one life of its process."""

    Options: ClassVar[type[Any]] = StoreOptions
    keeps_positions: ClassVar[bool] = False

    def __init__(self, world: World, store: Store, rng: random.Random, *, buffered: int) -> None:
        self._world = world
        self._store = store
        self._rng = rng
        self._buffered = buffered  # records that may wait for a flush; 0: each write is committed
        self._pending: list[SinkBatch] = []
        self._last: dict[str, int] = {}  # of this life: by ring_id, what is committed
        self._progress: dict[str, SinkProgress] = {}
        self.failures: int = 0

    def position(self, ring: str) -> Position | None:
        """What the store says."""
        self._reach()
        return self._store.positions.get(ring)

    def write(self, batch: SinkBatch) -> None:
        """Take a batch."""
        self._world.step("sink write")
        if self._buffered:
            kept = SinkBatch(
                batch.ring,
                batch.ring_id,
                batch.feed,
                batch.epoch,
                batch.records.copy(),
                batch.instruments,
            )
            if self._waiting() + len(kept.records) > self._buffered:
                self.flush()
            self._pending.append(kept)
            self._note(batch.ring_id, pending=len(kept.records))
            return
        self._commit(batch)

    def housekeep(self) -> None:
        """Commit what waits, now and then."""
        self._world.step("housekeep")
        if self._pending and self._rng.random() < 0.3:
            self.flush()

    def flush(self) -> None:
        """Commit what waits."""
        while self._pending:
            self._commit(self._pending[0], waited=True)
            del self._pending[0]

    def progress(self, ring_id: str) -> SinkProgress:
        """Of this life."""
        return self._progress.get(ring_id, SinkProgress())

    def close(self) -> None:
        """Commit what waits."""
        self.flush()

    def _waiting(self) -> int:
        return sum(len(batch.records) for batch in self._pending)

    def _reach(self) -> None:
        self._world.step("sink call")
        if self._store.stall_s:
            self._world.pause(self._rng.uniform(0, self._store.stall_s))
        if self._store.down and not self._world.closing:
            self.failures += 1
            raise SinkError(f"{self._store.name} does not answer", retriable=True)

    def _commit(self, batch: SinkBatch, *, waited: bool = False) -> None:
        self._reach()
        seqs = batch.records["seq"]
        before = self._last.get(batch.ring_id, 0)
        if self._store.keeps:
            had = self._store.positions.get(batch.ring)
            if had is not None and had.ring_id == batch.ring_id:
                before = max(before, had.seq)
        fresh = batch.records[seqs > before]
        repeated = len(seqs) - len(fresh)
        last = max(before, int(seqs[-1]))
        self._store.commit(batch.ring, fresh, Position(batch.ring_id, last, batch.epoch))
        self._world.step("sink committed")
        self._last[batch.ring_id] = last
        if self._store.forgets and self._rng.random() < self._store.forgets:
            self.failures += 1
            raise SinkError(f"{self._store.name}: the answer to a commit is lost", retriable=True)
        self._note(batch.ring_id, safe=last, stored=len(seqs), repeated=repeated, waited=waited)

    def _note(
        self,
        ring_id: str,
        *,
        safe: int = 0,
        stored: int = 0,
        repeated: int = 0,
        pending: int = 0,
        waited: bool = False,
    ) -> None:
        old = self._progress.get(ring_id, SinkProgress())
        self._progress[ring_id] = SinkProgress(
            safe_seq=max(old.safe_seq, safe),
            stored_records=old.stored_records + stored,
            repeated_records=old.repeated_records + repeated,
            pending_records=old.pending_records + pending - (stored if waited else 0),
        )


class KeepingSink(StoreSink):
    """The same, of a store that keeps positions."""

    keeps_positions: ClassVar[bool] = True
