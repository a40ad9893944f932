"""A journal as the source of batches: nothing is lost while the sink is away, it only takes longer.

The consumer has a slot in the registry of the ring, too, where there is one: for its counters and
its name, not to read. The slot is parked, so that nobody takes it for a reader that falls behind
(a replay waits for its readers).
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from mdfeedd.consumers.batch.source import Source
from mdfeedd.journal import JournalMissing, JournalReader, SinkPositions, folder_of
from mdfeedd.ring import Position, Reader, RingError, RingMissing
from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    from mdfeedd.consumers.batch.options import ReadLimit
    from mdfeedd.consumers.batch.source import Records
    from mdfeedd.ring.counters import Counters
    from mdfeedd.sinks import Sink

__all__ = ["JournalSource"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.batch")

SAVE_S: Final = 0.5  # how often the position is written down, at most
LOOK_S: Final = 1.0  # how often the ring is looked for, for a slot of its registry
BEHIND_RECORDS: Final = 1_000_000  # a start with more than this to catch up with is told ...
TELL_S: Final = 10.0  # ... and how far it is, so often


class JournalSource(Source):
    """Reads the journal of one ring: PATH/RING.

    Raises `RingMissing` while there is no such journal, and `JournalError`.
    """

    LOST_TO = "the journal no longer has them"

    def __init__(
        self,
        name: str,
        journal: str,
        directory: str,
        *,
        consumer: str,
        batch_size: int,
        catch_up_size: int,
        read_limit: ReadLimit,
        stored: Position | None,
        by_store: bool,
    ) -> None:
        folder = folder_of(journal, name)
        positions = SinkPositions(folder)
        start = stored if by_store else positions.load(consumer)
        try:
            self.reader: JournalReader = JournalReader(folder, start, read_limit=read_limit)
        except JournalMissing as error:
            raise RingMissing(str(error)) from error
        super().__init__(name, self.reader.dtype, batch_size, max(batch_size, catch_up_size))
        self._positions = positions
        self._consumer = consumer
        self._directory = directory
        self._space = ("", 0)  # ring_id and epoch of what was read last
        self._slot: Reader | None = None
        self._next_look = 0.0
        self._next_save = 0.0
        self._unsaved: Position | None = None
        self._next_tell = 0.0
        self._told_at = 0
        positions.save(consumer, start)  # retention must not pass it from now on
        if start is not None:
            self.enter(start.ring_id, start.seq)

    def read(self, most: int, timeout_s: float) -> Records:
        """Up to `most` records."""
        batch = self.reader.read(most)
        if not len(batch) and not batch.lost and timeout_s > 0:
            self.reader.wait(timeout_s)
            batch = self.reader.read(most)
        self._space = (batch.ring_id, batch.epoch)
        return batch

    def alive(self) -> None:
        """Beat, in a registry that this consumer has a slot in; look for one else."""
        now = time.monotonic()
        if self._slot is None or self._slot.closed:
            if now < self._next_look:
                return
            self._next_look = now + LOOK_S
            # Without the ring there is nobody to tell; the journal is what is read.
            with contextlib.suppress(RingError):
                self._slot = Reader(self.name, consumer=self._consumer, directory=self._directory)
                self._slot.park()
                if self._slot.ring_id.hex() == self.ring_id:
                    self._slot.ack(self.acked)
            return
        self._slot.beat()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            if self._slot.on_idle():  # another ring has taken the name
                self._slot.park()

    def beat(self) -> None:
        """In the registry of the ring, where there is one."""
        slot = self._slot
        if slot is not None and not slot.closed:
            slot.beat()

    def behind(self) -> int:
        """Records that the journal has and this source has not read."""
        return self.reader.behind

    @property
    def ended(self) -> bool:
        """The journal has ended, and the ring has no writer that could make it go on."""
        if not self.reader.ended:
            return False
        try:
            return not inspect(self.name, self._directory).writer_alive
        except RingError:
            return True

    def patient(self) -> bool:
        """The journal keeps it."""
        return True

    def space(self, batch: Records) -> tuple[str, int]:  # noqa: ARG002 - noted when it was read
        """As written with the records."""
        return self._space

    def confirm(self, ring_id: str, seq: int, *, final: bool) -> None:
        """Write the position down: retention keeps what is behind it."""
        slot = self._slot
        if slot is not None and not slot.closed and slot.ring_id.hex() == ring_id:
            slot.ack(seq)
        self._unsaved = Position(ring_id, seq, self._epoch)
        self._save(final=final)
        self._tell(time.monotonic())

    def settle(self, sink: Sink, *, final: bool = False) -> None:
        """The same for what was confirmed too soon after the last time: nothing may come behind it."""
        super().settle(sink, final=final)
        self._save()

    def _save(self, *, final: bool = False) -> None:
        now = time.monotonic()
        if self._unsaved is not None and (final or now >= self._next_save):
            self._next_save = now + SAVE_S
            self._positions.save(self._consumer, self._unsaved)
            self._unsaved = None

    def _tell(self, now: float) -> None:
        """Progress of a long way to catch up."""
        behind = self.reader.behind
        if now < self._next_tell:
            return
        before, self._told_at = self._told_at, behind
        self._next_tell = now + TELL_S
        if before >= BEHIND_RECORDS > behind:
            log.info("ring '%s': caught up with the journal", self.name)
        elif behind >= BEHIND_RECORDS:
            log.info("ring '%s': catching up, %d records of the journal to go", self.name, behind)

    @property
    def counters(self) -> Counters | None:
        """In the registry of the ring, where there is one."""
        self.alive()
        return None if self._slot is None or self._slot.closed else self._slot.counters

    def close(self) -> None:
        """Let go of journal and slot."""
        self.reader.close()
        self._positions.close()
        if self._slot is not None:
            self._slot.close()
