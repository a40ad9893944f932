"""What a batch consumer reads from: the buffer, and what rings and journals have in common."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mdfeedd.consumers.episode import Episode
from mdfeedd.sinks import SinkBatch

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdfeedd.ring import Instruments
    from mdfeedd.ring.counters import Counters
    from mdfeedd.sinks import Sink

__all__ = ["Records", "Source"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.batch")


class Records(Protocol):
    """What a source has read: `TickBatch` or `JournalBatch`."""

    @property
    def records(self) -> npt.NDArray[np.void]:
        """In order, valid until the next read; shape (n,)."""

    @property
    def lost(self) -> int:
        """Records before these that nobody can give any more."""

    @property
    def instruments(self) -> Instruments:
        """What their ids stand for."""

    def __len__(self) -> int: ...


class Source:
    """The records of one ring, and the buffer that is being filled with them."""

    def __init__(self, name: str, dtype: np.dtype[Any], batch_size: int, most: int) -> None:
        self.name = name
        self.ring_ids: dict[str, None] = {}  # the last is the one being read
        self.acked: int = 0
        self.dropped = 0
        self.flushes: int = 0
        self.failed_flushes = 0
        self.queued: int = 0
        self.fill: int = 0
        self.since: float = 0.0  # when the first record of the buffer was read
        self.lost: Episode = Episode(log, f"ring '{name}': %d records lost, {self.LOST_TO}")
        self.drops: Episode = Episode(log, f"ring '{name}': %d records dropped, the sink is behind")
        self._dtype = dtype
        self._batch_size = batch_size
        self._most = most
        self._buffer = np.empty(most, dtype)
        self._spare: npt.NDArray[np.void] | None = None
        self._epoch = 0
        self._instruments: Instruments | None = None

    LOST_TO = ""
    """Who is to blame for what was lost, for the log."""

    # ------------------------------------------------------------------------- of each kind of source

    def read(self, most: int, timeout_s: float) -> Records:
        """Up to `most` records; waits for the first of them."""
        raise NotImplementedError

    def alive(self) -> None:
        """Say that this process lives, where nothing is read."""
        self.beat()

    def beat(self) -> None:
        """The same from another thread, while the loop is in a call."""
        raise NotImplementedError

    def behind(self) -> int:
        """Records that are there and not read yet."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """Its writer is gone, and all is read."""
        raise NotImplementedError

    def patient(self) -> bool:
        """Nothing is lost by letting records come together before the next read."""
        raise NotImplementedError

    def must_settle(self) -> bool:
        """What is not safe would be lost by a kill, unless the sink settles it early."""
        return False

    def space(self, batch: Records) -> tuple[str, int]:
        """ring_id (hex) and epoch of what was just read."""
        raise NotImplementedError

    def confirm(self, ring_id: str, seq: int, *, final: bool) -> None:
        """Keep, for the next start, that everything up to `seq` of a space is safe."""
        raise NotImplementedError

    @property
    def counters(self) -> Counters | None:
        """Where the counters of this consumer are published; None: nowhere yet."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- the buffer

    def enter(self, ring_id: str, acked: int) -> None:
        """Begin to read a sequence space of which everything up to `acked` is safe."""
        self.ring_ids.pop(ring_id, None)
        self.ring_ids[ring_id] = None
        self.acked = acked

    @property
    def ring_id(self) -> str:
        """The sequence space that is being read; "" before the first record."""
        return next(reversed(self.ring_ids), "")

    def room(self) -> int:
        """Records that the buffer still takes."""
        return self._most - self.fill

    def full(self) -> bool:
        """Hand it over now: more would come in a batch of its own."""
        if self.fill < self._batch_size:
            return False
        return self.fill >= self._most or not self.behind()

    def take(self, batch: Records, now: float) -> SinkBatch | None:
        """Add what was read; returns what came before if the space or the writer has changed."""
        self.lost.add(batch.lost, now)
        n = len(batch)
        if not n:
            return None
        ring_id, epoch = self.space(batch)
        instruments = batch.instruments
        before = None
        if epoch != self._epoch or ring_id != self.ring_id or instruments is not self._instruments:
            before = self.seal()
            self._epoch, self._instruments = epoch, instruments
            if ring_id != self.ring_id:
                self.enter(ring_id, int(batch.records["seq"][0]) - 1)
        instruments.refresh()  # what these records refer to, while their ring is there
        if not self.fill:
            self.since = now
        self._buffer[self.fill : self.fill + n] = batch.records
        self.fill += n
        return before

    def seal(self) -> SinkBatch | None:
        """The buffer as a batch, and a fresh buffer; None if it is empty."""
        if not self.fill or self._instruments is None:
            return None
        records = self._buffer[: self.fill]
        self._buffer = np.empty(self._most, self._dtype) if self._spare is None else self._spare
        self._spare = None
        self.fill = 0
        return SinkBatch(
            ring=self.name,
            ring_id=self.ring_id,
            feed=self._instruments.feed,
            epoch=self._epoch,
            records=records,
            instruments=self._instruments,
        )

    def stored(self, batch: SinkBatch) -> None:
        """The sink has taken `batch`: its memory may be used again."""
        self.flushes += 1
        self.queued -= len(batch.records)
        self._spare = batch.records.base

    def _settle_space(self, ring_id: str, safe_seq: int, *, final: bool) -> None:
        known = self.acked if ring_id == self.ring_id else 0
        if safe_seq > known or (final and known):
            if ring_id == self.ring_id:
                self.acked = max(self.acked, safe_seq)
            self.confirm(ring_id, max(known, safe_seq), final=final)

    def settle(self, sink: Sink, *, final: bool = False) -> None:
        """Confirm what the sink has made safe, and publish the counters."""
        progress = [sink.progress(ring_id) for ring_id in self.ring_ids]
        for ring_id, of_space in zip(self.ring_ids, progress, strict=True):
            if of_space.pending_records or ring_id == self.ring_id:
                self._settle_space(ring_id, of_space.safe_seq, final=final)
                break  # what comes behind it is not safe before it is
        counters = self.counters
        if counters is None:
            return
        pending = sum(p.pending_records for p in progress) + self.queued + self.fill
        counters.set("stored_records", sum(p.stored_records for p in progress))
        counters.set("stored_bytes", sum(p.stored_bytes for p in progress))
        counters.set("skipped_records", sum(p.skipped_records for p in progress))
        counters.set("pending_records", pending)
        counters.set("behind_records", self.behind())
        counters.set("dropped_records", self.dropped)
        counters.set("flushes", self.flushes)
        counters.set("failed_flushes", self.failed_flushes)
