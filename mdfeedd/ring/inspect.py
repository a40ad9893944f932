"""What rings say of themselves, for `doctor`, `/metrics` and a post-mortem: reads only, registers nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from mdfeedd.ring import segment
from mdfeedd.ring._ring import STATE_CLOSED, STATE_SUPERSEDED, clock_ns
from mdfeedd.ring.latency import Latency
from mdfeedd.ring.lines import LineInfo
from mdfeedd.ring.look import Look
from mdfeedd.ring.segment import list_rings

__all__ = ["ConsumerInfo", "RingInfo", "inspect", "list_rings"]


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """One slot of the consumers registry. 0 where its ring is another one: `lag` (records not read)
    and `unsafe` (records that it has not told to be safe; of one that tells).
    """

    index: int
    name: str
    pid: int
    alive: bool
    cursor: int
    acked: int
    lost: int
    overruns: int
    reads: int
    records: int
    sleeps: int
    heartbeat_ns: int
    same_ring: bool
    lag: int
    unsafe: int
    counters: dict[str, int]
    latency: Latency | None
    """From the arrival of a record to its read; None: its records do not say when they arrived."""


@dataclass(frozen=True, slots=True)
class RingInfo:
    """The header of a ring (see `mdfeedd.h`), its counters and its consumers. Times in ns."""

    name: str
    feed: str
    abi: tuple[int, int]
    total_size: int
    capacity: int
    slot_size: int
    block: int
    first_seq: int
    created_ns: int
    ring_id: bytes
    layout: str
    reserve: int
    tail: int
    epoch: int
    epoch_first_seq: int
    heartbeat_ns: int
    pid: int
    state: int
    batches: int
    wakes: int
    recoveries: int
    recovered_slots: int
    max_burst: int
    feed_index: int
    instruments_count: int
    instruments_capacity: int
    counters: dict[str, int]
    lines: tuple[LineInfo, ...]
    """Of its feed, those that are counted one by one; none of a vendor without."""
    arrival_latency: Latency | None
    """From the arrival of a record to its commit; None: as above."""
    venue_latency: Latency | None
    """From the venue's time of it."""
    writer_alive: bool
    heartbeat_age_ns: int
    consumers: tuple[ConsumerInfo, ...]

    @property
    def published(self) -> int:
        """Records ever published in this sequence space."""
        return self.tail

    @property
    def state_text(self) -> str:
        """live, closed (its writer said so), dead (it did not) or superseded."""
        if self.state == STATE_SUPERSEDED:
            return "superseded"
        if self.writer_alive:
            return "live"
        return "closed" if self.state == STATE_CLOSED else "dead"


def inspect(name: str, directory: str = segment.DEFAULT_DIRECTORY) -> RingInfo:
    """Look at one ring. Raises what attaching raises: `RingMissing`, `RingMismatch`, `RingDenied` ..."""
    # a scrape looks at dozens of rings, and a Path costs a fifth of a look
    path = f"{os.path.abspath(directory)}/{segment.PREFIX}{segment.check_name(name)}"
    with Look(path) as core:
        header: dict[str, Any] = core.header()
        consumers: list[dict[str, Any]] = core.consumers()
        for row, key in [(header, "arrival_latency"), (header, "venue_latency")] + [
            (consumer, "latency") for consumer in consumers
        ]:
            row[key] = None if row[key] is None else Latency(*row[key])
        header["lines"] = tuple(LineInfo.of(*row) for row in header["lines"])
        return RingInfo(
            name=name,
            writer_alive=core.writer_alive,
            heartbeat_age_ns=clock_ns() - header["heartbeat_ns"],
            consumers=tuple(ConsumerInfo(**c) for c in consumers),
            **header,
        )
