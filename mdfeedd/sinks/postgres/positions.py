"""Fences and positions: how far each shard of each ring is stored, and who may store more.

One row of `mdfeedd_position` per (sink, ring, shard):
    fence   raised once by each process that starts; whoever holds a lower one stores nothing more
    space   1 for the first sequence space (ring_id) that was stored, 2 for the next, ...: spaces
            have no order of their own, and the shards of a ring may be in two of them after a crash
    seq     everything up to it in that space is stored

The shards of a ring are at most one batch apart, because a batch is done when all have it. A ring
is opened with another number of shards than it was stored with only where all are at one place;
until then it keeps the old number, and the instruments stay where they were.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.ring.position import Position
from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from mdfeedd.sinks.postgres.connection import Link, Row

__all__ = ["Held", "Ring", "move", "read", "take_over"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.postgres")

_FIELDS: Final = "shard, shards, fence, space, ring_id::text, epoch, seq"
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('mdfeedd position ' || %s, 0))"
_READ_ALL: Final = (
    f"select {_FIELDS} from $schema.mdfeedd_position where sink = %s and ring = %s order by shard"  # noqa: S608
)
_READ: Final = (
    f"select {_FIELDS} from $schema.mdfeedd_position "  # noqa: S608
    f"where sink = %s and ring = %s and shard = %s"
)
_REMOVE: Final = "delete from $schema.mdfeedd_position where sink = %s and ring = %s"
_ADD: Final = (
    "insert into $schema.mdfeedd_position(sink, ring, shard, shards, fence, space, ring_id, epoch, "
    "seq) select %s, %s, shard, %s, %s, %s, %s, %s, %s from generate_series(0, %s - 1) shard"
)
_RAISE: Final = (
    "update $schema.mdfeedd_position set fence = %s, updated_at = clock_timestamp() "
    "where sink = %s and ring = %s"
)
_MOVE: Final = (
    "with moved as (update $schema.mdfeedd_position set space = %s, ring_id = %s, epoch = %s, "
    "seq = %s, updated_at = clock_timestamp() where sink = %s and ring = %s and shard = %s "
    "and fence = %s and space = %s and seq = %s returning 1) select 1 / count(*) from moved"
)


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """How far a shard is, comparable: (space, seq). space 0: nothing is stored."""

    space: int = 0
    seq: int = 0
    ring_id: str = ""
    epoch: int = 0


@dataclass(slots=True)
class Ring:
    """One ring of this sink, under our fence. held[i]: what shard i confirmed last."""

    sink: str
    name: str
    fence: int
    held: list[Held]

    def position(self) -> Position | None:
        """What all shards have."""
        least = min(self.held)
        return Position(least.ring_id, least.seq, least.epoch) if least.space else None

    def space_of(self, ring_id: str) -> int:
        """The number of a sequence space; a new one follows all others."""
        for held in self.held:
            if held.space and held.ring_id == ring_id:
                return held.space
        return max(held.space for held in self.held) + 1


def take_over(link: Link, sink: str, ring: str, shards: int) -> Ring:
    """Raise the fence of a ring, so that from now on only we store it. Raises `SinkError`."""
    key = (sink, ring)
    with link.transaction():
        link.execute(_LOCK, (f"{sink} {ring}",))
        rows = link.execute(_READ_ALL, key)
        held = [_held(row) for row in rows]
        fence = max((row[2] for row in rows), default=0) + 1
        if len(rows) != shards and len(set(held)) <= 1:
            at = held[0] if held else Held()
            link.update(_REMOVE, key)
            place = (at.space, at.ring_id or None, at.epoch, _signed(at.seq))
            link.update(_ADD, (*key, shards, fence, *place, shards))
            held = [at] * shards
        else:
            link.update(_RAISE, (fence, *key))
    if len(held) != shards:
        log.warning(
            "ring '%s' was last stored by %d shards, which are not at one place: connections: %d "
            "counts from the next start",
            ring,
            len(held),
            shards,
        )
    return Ring(sink, ring, fence, held)


def read(link: Link, ring: Ring, shard: int) -> Held:
    """What the database holds of a shard. Raises `SinkError`, not retriable if we are fenced, if the
    row is gone, or if it has gone back behind what it had confirmed.
    """
    rows = link.execute(_READ, (ring.sink, ring.name, shard))
    if not rows:
        raise SinkError(
            f"the position of ring '{ring.name}' of the sink '{ring.sink}' is gone from this database: "
            f"somebody has deleted its row of mdfeedd_position, or the schema; to the next start "
            f"nothing of the ring is stored",
            retriable=False,
        )
    if rows[0][2] != ring.fence or rows[0][1] != len(ring.held):
        raise SinkError(
            f"another writer has taken over ring '{ring.name}' of the sink '{ring.sink}' in this "
            f"database: only one may run; give the other one another name",
            retriable=False,
        )
    held = _held(rows[0])
    confirmed = ring.held[shard]
    if held < confirmed:
        raise SinkError(
            f"the database has gone back: it holds ring '{ring.name}' up to seq {held.seq}, and "
            f"had confirmed {confirmed.seq} (restored, or failed over to a server that was behind); "
            f"the next start goes on where it is",
            retriable=False,
        )
    return held


def move(ring: Ring, shard: int, to: Held) -> tuple[str, tuple[Any, ...]]:
    """The statement that moves a shard from where we last saw it, and its parameters.

    It divides by zero if the shard is not there any more, or the fence is another's.
    """
    at = ring.held[shard]
    place = (to.space, to.ring_id, to.epoch, _signed(to.seq))
    where = (ring.sink, ring.name, shard, ring.fence, at.space, _signed(at.seq))
    return _MOVE, (*place, *where)


def _held(row: Row) -> Held:
    space, ring_id, epoch, seq = row[3:]
    return Held(space, seq % (1 << 64), (ring_id or "").replace("-", ""), epoch)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
