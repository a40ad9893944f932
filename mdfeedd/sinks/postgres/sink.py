"""The sink: what of a batch is new, in a transaction per shard, and what it has come to."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mdfeedd.sinks.postgres import positions, schema
from mdfeedd.sinks.postgres.names import Names
from mdfeedd.sinks.postgres.options import PostgresOptions
from mdfeedd.sinks.postgres.partitions import Hypertables, Layout, Partitions
from mdfeedd.sinks.postgres.rows import BARS, TABLES, TICKS, Encoder, Table, opaque, times_us
from mdfeedd.sinks.protocol import SinkBatch, SinkError, SinkProgress, refuse_other_records
from mdfeedd.tick import BAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mdfeedd.ring import Position
    from mdfeedd.sinks.postgres.connection import Link
    from mdfeedd.sinks.postgres.positions import Held, Ring

    Records = npt.NDArray[np.void]

__all__ = ["PostgresSink"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.postgres")

MAINTAIN_S: Final = 3600.0  # how often partitions are made ahead and dropped
RETRY_S: Final = 60.0  # the same after it failed
TRANSACTION_RECORDS: Final = 32_768
"""Of a larger batch so many at a time: while the server makes one durable it is sent the next."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows for one table: dtype of the table, shape (n,), and of each its time and instrument.

    target: the table, or the partition of it that they all belong to.
    """

    table: Table
    target: str
    records: Records
    instruments: npt.NDArray[np.int32]
    us: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Work:
    """What a batch is for one shard. parts: its new rows; repeated: those that are stored."""

    shard: int
    source: int
    to: Held
    parts: list[_Part]
    repeated: int


@dataclass(slots=True)
class _Lane:
    """A connection, and what it encodes with.

    spare: a second one, used in turn where several transactions are to follow each other.
    generation: of both, when the positions of the lane's shards were last asked for.
    """

    link: Link
    spare: Link
    encoders: dict[str, Encoder] = field(
        default_factory=lambda: {table.name: Encoder(table) for table in TABLES}
    )
    generation: int = 0

    def close(self) -> None:
        self.link.close()
        self.spare.close()


class PostgresSink:
    """A sink of the batch consumer; see the package for what it stores and how."""

    Options: ClassVar[type[Any]] = PostgresOptions
    keeps_positions: ClassVar[bool] = True

    def __init__(
        self,
        options: PostgresOptions,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            from mdfeedd.sinks.postgres import connection  # noqa: PLC0415  psycopg is optional
        except ImportError as error:
            raise SinkError(
                f"the postgres sink needs psycopg: pip install 'mdfeedd[postgres]' ({error})",
                retriable=False,
            ) from error
        connection.check_dsn(options)
        self._elsewhere = connection.ElsewhereError
        self._options = options
        self._name = name
        self._clock = clock
        self._lanes = [
            _Lane(
                connection.Link(options, name, clock=clock),
                connection.Link(options, name, clock=clock),
            )
            for _ in range(options.connections)
        ]
        self._link = self._lanes[0].link
        self._names = Names(self._link, clock=clock)
        self._layout: Layout | None = None
        self._layout_generation = 0
        self._maintain_at = 0.0
        self._rings: dict[str, Ring] = {}
        self._progress: dict[str, SinkProgress] = {}
        self._pool = (
            ThreadPoolExecutor(options.connections, thread_name_prefix="mdfeedd-postgres")
            if options.connections > 1
            else None
        )
        self._closed = False

    # --------------------------------------------------------------------------------- the protocol

    def position(self, ring: str) -> Position | None:
        """What all shards have of a ring; takes it over from an earlier process of this name."""
        return self._ring(ring).position()

    def write(self, batch: SinkBatch) -> None:
        """Store what is new of a batch; safe when this returns."""
        refuse_other_records(batch, "they have no table")
        if self._closed:
            raise SinkError("the sink is closed", retriable=False)
        if not len(batch.records):
            return
        ring = self._ring(batch.ring)
        layout = self._prepared()
        for lane in self._lanes:
            self._look_again(lane)
        work: list[_Work] = []
        skipped = 0
        for start in range(0, len(batch.records), TRANSACTION_RECORDS):
            some = replace(batch, records=batch.records[start : start + TRANSACTION_RECORDS])
            more, of_no_table = self._divide(some, ring, layout)
            work += more
            skipped += of_no_table
        stored_bytes = self._store(ring, work)
        self._count(batch, work, skipped, stored_bytes)

    def housekeep(self) -> None:
        """Now and then make partitions ahead, and drop those that are too old."""
        now = self._clock()
        if self._layout is None or now < self._maintain_at or not self._link.connected:
            return
        self._maintain_at = now + RETRY_S
        try:
            self._prepared().maintain()
        except SinkError as error:  # what is stored goes on without it
            log.warning("could not look after the partitions: %s", error)
        else:
            self._maintain_at = now + MAINTAIN_S

    def flush(self) -> None:
        """Nothing waits: `write` commits."""

    def progress(self, ring_id: str) -> SinkProgress:
        """How far the records of one ring are."""
        return self._progress.get(ring_id, SinkProgress())

    def close(self) -> None:
        """Let go of the connections."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown()
        for lane in self._lanes:
            lane.close()

    # --------------------------------------------------------------------------------------- inside

    def _prepared(self) -> Layout:
        """The schema is there; seen anew over each connection."""
        self._link.connect()
        if self._layout is None or self._layout_generation != self._link.generation:
            kind = schema.prepare(self._link, self._options)
            make = Hypertables if kind == "hypertables" else Partitions
            layout: Layout = make(self._link, self._options)
            layout.begin()
            self._layout, self._layout_generation = layout, self._link.generation
        return self._layout

    def _ring(self, name: str) -> Ring:
        ring = self._rings.get(name)
        if ring is None:
            self._prepared()
            ring = positions.take_over(self._link, self._name, name, self._options.connections)
            self._rings[name] = ring
        return ring

    def _lane(self, shard: int) -> _Lane:
        return self._lanes[shard % len(self._lanes)]

    def _look_again(self, lane: _Lane) -> None:
        """Where a connection was lost, what was committed over it is not known: ask."""
        lane.link.connect()
        generation = lane.link.generation + lane.spare.generation
        if lane.generation == generation:
            return
        for ring in self._rings.values():
            for shard in range(len(ring.held)):
                if self._lane(shard) is lane:
                    ring.held[shard] = positions.read(lane.link, ring, shard)
        lane.generation = generation

    def _divide(self, batch: SinkBatch, ring: Ring, layout: Layout) -> tuple[list[_Work], int]:
        """By shard what is to be stored, and how many records are of no kind that is."""
        records = batch.records
        seq = records["seq"]
        source = self._names.source(batch)
        instruments = self._names.instruments(batch)
        tables, skipped = _tables_of(records)
        space = ring.space_of(batch.ring_id)
        to = positions.Held(space, int(seq[-1]), batch.ring_id, batch.epoch)
        shards = len(ring.held)
        owners = records["instrument_id"] % np.uint32(shards) if shards > 1 else None
        work = []
        for shard, held in enumerate(ring.held):
            first = 0  # the first that is new
            if held.space > space:
                first = len(records)
            elif held.space == space:
                first = int(np.searchsorted(seq, np.uint64(held.seq), "right"))
            some, numbers, repeated = records[first:], instruments[first:], first
            if owners is not None:
                mask = owners == shard
                repeated = int(np.count_nonzero(mask[:first]))
                some, numbers = (
                    opaque(some)[mask[first:]].view(records.dtype),
                    numbers[mask[first:]],
                )
            parts = _parts(some, numbers, tables, layout)
            place = held if first == len(records) else to
            work.append(_Work(shard, source, place, parts, repeated))
        return work, skipped

    def _store(self, ring: Ring, work: list[_Work]) -> int:
        """Do the work of all shards, each lane its own; bytes sent. Raises the first `SinkError`."""
        due = [item for item in work if item.to != ring.held[item.shard]]
        lanes = [
            (lane, items)
            for lane in self._lanes
            if (items := [item for item in due if self._lane(item.shard) is lane])
        ]
        if self._pool is None or len(lanes) <= 1:
            return sum(self._store_lane(ring, lane, items) for lane, items in lanes)
        futures = [self._pool.submit(self._store_lane, ring, lane, items) for lane, items in lanes]
        errors, sent = [], 0
        for future in futures:
            try:
                sent += future.result()
            except SinkError as error:
                errors.append(error)
        if errors:
            raise next((error for error in errors if not error.retriable), errors[0])
        return sent

    def _store_lane(self, ring: Ring, lane: _Lane, items: list[_Work]) -> int:
        """A transaction each, in their order, over both connections in turn; bytes sent.

        The rows of one are sent while the one before commits; its position is moved, as the last
        thing, when that has committed.
        """
        sent, before = 0, None
        try:
            for item, link in zip(items, cycle((lane.link, lane.spare)), strict=False):
                sent += link.copy(self._copies(lane, item))
                if before is not None:
                    self._committed(ring, *before)
                link.commit(*positions.move(ring, item.shard, item.to))
                before = item, link
            if before is not None:
                self._committed(ring, *before)
        except BaseException:
            lane.close()  # a commit under way may be done or not: the positions are asked for anew
            raise
        return sent

    def _copies(self, lane: _Lane, work: _Work) -> Iterator[tuple[str, Iterator[memoryview]]]:
        for part in work.parts:
            blocks = lane.encoders[part.table.name].blocks(
                part.records, part.us, part.instruments, work.source
            )
            yield part.table.copy_into(part.target), blocks

    def _committed(self, ring: Ring, work: _Work, link: Link) -> None:
        try:
            link.committed()
        except self._elsewhere:
            ring.held[work.shard] = positions.read(link, ring, work.shard)
            raise SinkError(
                f"ring '{ring.name}': a commit whose connection was lost has been done after all",
                retriable=True,
            ) from None
        ring.held[work.shard] = work.to

    def _count(self, batch: SinkBatch, work: list[_Work], skipped: int, stored_bytes: int) -> None:
        before = self._progress.get(batch.ring_id, SinkProgress())
        self._progress[batch.ring_id] = replace(
            before,
            safe_seq=max(before.safe_seq, int(batch.records["seq"][-1])),
            stored_records=before.stored_records + len(batch.records) - skipped,
            repeated_records=before.repeated_records + sum(item.repeated for item in work),
            skipped_records=before.skipped_records + skipped,
            stored_bytes=before.stored_bytes + stored_bytes,
        )


def _tables_of(records: Records) -> tuple[list[Table], int]:
    """The tables that some of the records go to, and how many go to none."""
    if records.dtype == BAR:
        return [BARS], 0
    kinds = np.bincount(records["kind"], minlength=256)
    counts = {table.name: sum(int(kinds[kind]) for kind in table.kinds) for table in TICKS}
    return [t for t in TICKS if counts[t.name]], len(records) - sum(counts.values())


def _parts(
    records: Records, instruments: npt.NDArray[np.int32], tables: list[Table], layout: Layout
) -> list[_Part]:
    """The rows of each of the tables, by where they go."""
    parts = []
    for table in tables:
        rows, numbers = _some(records, instruments, _is_of(records, table))
        if not len(rows):
            continue
        rows = rows.view(table.dtype)
        us = times_us(rows)
        for target, mask in layout.targets(table, us):
            if mask is None:
                parts.append(_Part(table, target, rows, numbers, us))
            else:
                parts.append(_Part(table, target, *_some(rows, numbers, mask), us[mask]))
    return parts


def _some(
    records: Records, instruments: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_]
) -> tuple[Records, npt.NDArray[np.int32]]:
    if mask.all():
        return np.ascontiguousarray(records), instruments
    return opaque(records)[mask].view(records.dtype), instruments[mask]


def _is_of(records: Records, table: Table) -> npt.NDArray[np.bool_]:
    if not table.kinds:
        return np.ones(len(records), np.bool_)
    mask: npt.NDArray[np.bool_] = records["kind"] == table.kinds[0]
    for kind in table.kinds[1:]:
        mask |= records["kind"] == kind
    return mask
