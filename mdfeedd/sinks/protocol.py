"""What a sink is: the contract between a batch consumer and a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mdfeedd.tick import BAR, TICK

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mdfeedd.ring import Instruments, Position


class SinkError(Exception):
    """A sink could not take a batch. `retriable`: the same batch may succeed later."""

    def __init__(self, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.retriable = retriable


@dataclass(frozen=True, slots=True)
class SinkBatch:
    """Records of one ring in ring order: `records` has dtype `TICK` or `BAR`, shape (n,).

    `ring_id` (hex) names the ring's sequence space, in which sequence numbers never repeat, over
    restarts of the writer too. The memory of `records` is the caller's again when `write` returns.
    """

    ring: str
    ring_id: str
    feed: str
    epoch: int
    records: npt.NDArray[np.void]
    instruments: Instruments


def refuse_other_records(batch: SinkBatch, why: str) -> None:
    """Raise `SinkError`, not retriable, for records that are neither ticks nor bars."""
    if batch.records.dtype not in (TICK, BAR):
        raise SinkError(
            f"ring '{batch.ring}' holds records of {batch.records.dtype.itemsize} bytes "
            f"that are neither ticks nor bars: {why}",
            retriable=False,
        )


@dataclass(frozen=True, slots=True)
class SinkProgress:
    """What became of the records of one ring that a sink was given since it was made.

    safe_seq: everything given up to this sequence number outlives a crash of the process or the
        host (or is of a kind that the sink does not store); 0: nothing yet.
    stored_records: confirmed, those included that were stored already (`repeated_records`).
    skipped_records: of a kind that the sink does not store.
    pending_records: taken, and lost if the process died now; a reader that resumes after
        `safe_seq` gives them again.
    stored_bytes: as written by the sink.
    """

    safe_seq: int = 0
    stored_records: int = 0
    repeated_records: int = 0
    skipped_records: int = 0
    pending_records: int = 0
    stored_bytes: int = 0


class Sink(Protocol):
    """A store of batches. Used by one thread of one process.

    `Options` is a frozen dataclass whose fields carry ``metadata={"help": ...}``; its
    ``__post_init__`` raises `ValueError` ("key: reason"). Entry points of the group
    ``mdfeedd.sinks`` name such classes.

    Every `SinkError` that is retriable leaves the sink as it was: the same call may be made again,
    and a batch of which it is unknown whether the store took it (a connection lost in the commit)
    is then stored once all the same.

    Two kinds of stores, by `keeps_positions`. One that does keeps, with the records and in the same
    step, how far each ring is stored: a consumer begins behind that `position`, and each record is
    stored exactly once. Of one that does not, the consumer remembers `progress`, and the sink says
    in its module what it does about records that come again after a crash.
    """

    Options: ClassVar[type[Any]]
    keeps_positions: ClassVar[bool]

    def __init__(self, options: Any, name: str) -> None:
        """`name` is the consumer's: what the store knows this sink by.

        Checks that the store can be used at all and raises `SinkError` with one sentence; a server
        is not connected to before the first call that needs it, so that one that is down is waited
        for like one that goes down later.
        """

    def position(self, ring: str) -> Position | None:
        """What of a ring the store holds; None: nothing yet, or it keeps no positions.

        Asked before the first batch of a ring. Raises `SinkError`.
        """

    def write(self, batch: SinkBatch) -> None:
        """Take a batch, whole or (with a `SinkError`) not at all; it may be safe only later."""

    def housekeep(self) -> None:
        """Do what is due by time; called a few times a second, idle or not. Raises `SinkError`."""

    def flush(self) -> None:
        """Return when everything taken is safe. Raises `SinkError`."""

    def progress(self, ring_id: str) -> SinkProgress:
        """How far the records of one ring are; never raises."""

    def close(self) -> None:
        """Flush and let go, whether or not the flush succeeds. Raises `SinkError`."""
