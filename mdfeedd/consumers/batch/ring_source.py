"""A ring as the source of batches: nothing waits for us, so what is too slow is lost, and told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from mdfeedd.consumers.batch.source import Source
from mdfeedd.consumers.layout import layout_in
from mdfeedd.ring import Reader

if TYPE_CHECKING:
    from mdfeedd.consumers.batch.source import Records
    from mdfeedd.ring import Position
    from mdfeedd.ring.counters import Counters
    from mdfeedd.ring.reader import Start

__all__ = ["RingSource"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.batch")

LINGER_CAPACITY: Final = 1 << 14  # rings with fewer slots could be lapped while one lingers


class RingSource(Source):
    """Reads a ring, from `start` where the store says how far it is, else as acknowledged.

    Raises `RingMissing` while there is no such ring, and other `RingError`.
    """

    LOST_TO = "the feed was faster"

    def __init__(
        self,
        name: str,
        directory: str,
        *,
        consumer: str,
        follow: bool,
        batch_size: int,
        stored: Position | None,
        by_store: bool,
    ) -> None:
        dtype, ring_id = layout_in(name, directory)
        start: Start | int = "oldest" if by_store else "resume"
        if stored is not None and stored.ring_id == ring_id.hex():
            start = stored.seq + 1
        self.reader: Reader = Reader(
            name, start=start, consumer=consumer, dtype=dtype, follow=follow, directory=directory
        )
        super().__init__(name, dtype, batch_size, batch_size)
        self._epoch = self.reader.epoch
        self._instruments = self.reader.instruments
        self._too_small = False  # and that was told
        self.enter(self.reader.ring_id.hex(), self.reader.next_seq - 1)

    def enter(self, ring_id: str, acked: int) -> None:
        """Also tell the registry that nothing of it is safe yet but what came before."""
        super().enter(ring_id, acked)
        self.reader.ack(acked)

    def read(self, most: int, timeout_s: float) -> Records:
        """Up to `most` records."""
        return self.reader.read(most, timeout=timeout_s)

    def beat(self) -> None:
        """In the registry of the ring."""
        if not self.reader.closed:
            self.reader.beat()

    def behind(self) -> int:
        """The lag."""
        return self.reader.lag

    @property
    def ended(self) -> bool:
        """The writer is gone."""
        return self.reader.ended

    def patient(self) -> bool:
        """A small ring could be lapped meanwhile."""
        return self.reader.capacity >= LINGER_CAPACITY

    def must_settle(self) -> bool:
        """The ring will not hold for much longer what a kill would make us read again.

        Says so, once, if it does not hold it as it is.
        """
        unsafe = self.reader.next_seq - 1 - self.acked
        if unsafe > self.reader.capacity and not self._too_small:
            self._too_small = True
            log.warning(
                "ring '%s' of %d records is too small for its rate: if this process is killed, "
                "what is not yet safe is lost; raise the feed's capacity, or put a journal between",
                self.name,
                self.reader.capacity,
            )
        return unsafe > self.reader.capacity // 2

    def space(self, batch: Records) -> tuple[str, int]:  # noqa: ARG002 - the reader knows
        """Those of the ring that the reader is attached to."""
        return self.reader.ring_id.hex(), self.reader.epoch

    def confirm(self, ring_id: str, seq: int, *, final: bool) -> None:  # noqa: ARG002
        """Acknowledge in the registry; a ring that is gone has none."""
        if ring_id == self.ring_id:
            self.reader.ack(seq)

    @property
    def counters(self) -> Counters | None:
        """In the registry of the ring."""
        return None if self.reader.closed else self.reader.counters

    def close(self) -> None:
        """Detach."""
        self.reader.close()
