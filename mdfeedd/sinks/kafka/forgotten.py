"""What brokers do not tell by themselves: how a transaction ended, and how far a ring is.

Transactions first. A broker that is killed and comes back may take a transaction for ended whose marks it
did not write in all partitions (Apache Kafka 4.3: where it does not know the leader yet, it takes the
partition for deleted). What a partition was not told of is hidden in it, and shown or void in the
others; the next mark of the same producer there decides. Nothing is guessed. What is hidden is made
void everywhere; then the chain of chunks (each names the end of the one before it) says what must be
there: all up to the position, or up to the last chunk that any partition shows behind it, since that
is proof of a commit. What a partition lacks of it still lies in its log, and is written there again,
in one transaction with the position. Every step may be interrupted, and is found again like this.

Messages of one record have no chain: where the brokers' word is of two kinds for them, a person has to
be told (`refuse_to_guess`).

A position is gone where somebody removed its topic, or had made it without compaction. Then the chunks
say how far the ring is: each names the last of its records.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.ring.position import Position
from mdfeedd.sinks.kafka import wire
from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mdfeedd.sinks.kafka.topics import Topics

    Places = Sequence[tuple[str, int]]

__all__ = [
    "VOID_KEY",
    "Incomplete",
    "find_definitions",
    "find_in_chunks",
    "find_incomplete",
    "named",
    "read_position",
    "refuse_to_guess",
]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.kafka")

VOID_KEY: Final = (
    b"void"  # of what is only there to be void; compacted topics take nothing without one
)
LOOK_BACK: Final = (64, 4096)
"""Messages, marks included: so far a transaction's first chunk is looked for, which is one of a batch."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A ring is stored up to `position`, once these are written again: (topic, partition, message)."""

    position: Position
    chunks: tuple[tuple[str, int, Any], ...]


@dataclass(frozen=True, slots=True)
class _Chunk:
    head: wire.ChunkHead
    message: Any


def _chunk(message: Any, kind: str) -> _Chunk | None:
    """None: it is no chunk."""
    try:
        return _Chunk(wire.ChunkHead.decode(message.headers(), kind), message)
    except wire.WireError:
        return None


def find_incomplete(
    topics: Topics, records: Mapping[str, str], position: Position | None
) -> Incomplete | None:
    """What of the chunks up to the position, or of a commit behind it, some partitions do not show.

    `records`: the topics of chunks by kind. Asked when no transaction is open or hidden. None: nothing.
    """
    for kind, topic in records.items():
        shown = {p: _chunk(message, kind) for p, message in topics.lasts(topic).items()}
        goal = _goal(topics, kind, topic, position, [c for c in shown.values() if c is not None])
        if goal is None or None in shown.values():
            continue
        lacking: list[tuple[str, int, Any]] = []
        whole = True
        for partition in range(topics.partitions(topic)):
            last = shown.get(partition)
            if last is not None and last.head.end == _end(goal):
                continue
            found = _voided(topics, kind, (topic, partition), last, _end(goal))
            if found is None:
                spread = [
                    c.head.partitions for c in shown.values() if c and c.head.end == _end(goal)
                ]
                whole = whole and partition >= max(spread, default=0)
            else:
                lacking += [(topic, partition, message) for message in found]
        if not whole:
            log.warning("topic %s does not hold all that was stored of its ring", topic)
        moved = position is None or _end(goal) != _end(position)
        if (lacking or moved) and (whole or not moved):
            log.warning(
                "by what topic %s shows its ring is stored up to %d: of that it lacked %d messages",
                topic,
                goal.seq,
                len(lacking),
            )
            return Incomplete(goal, tuple(lacking))
    return None


def _end(position: Position) -> wire.Mark:
    return wire.Mark(position.ring_id, position.seq)


def _goal(
    topics: Topics, kind: str, topic: str, position: Position | None, shown: list[_Chunk]
) -> Position | None:
    """How far the ring is stored: by its position, or by a chunk behind that; None: nothing is known."""
    ends = {chunk.head.end: chunk for chunk in shown}
    if position is not None:
        ends.pop(_end(position), None)
        beyond = [c for c in ends.values() if _follows(topics, kind, topic, c, _end(position))]
        if not beyond:
            return position
        newest = max(beyond, key=lambda chunk: chunk.head.last)
    elif ends:
        newest = max(ends.values(), key=lambda chunk: chunk.message.timestamp()[1])
        same = [c for c in ends.values() if c.head.ring_id == newest.head.ring_id]
        newest = max(same, key=lambda chunk: chunk.head.last)
    else:
        return None
    return Position(newest.head.ring_id, newest.head.last, newest.head.epoch)


def _follows(topics: Topics, kind: str, topic: str, chunk: _Chunk, end: wire.Mark) -> bool:
    """Whether a chunk is behind `end`: by its number, or in another sequence space by the chain."""
    if chunk.head.ring_id == end.ring_id:
        return chunk.head.last > end.seq
    if chunk.head.prev == end:
        return True
    for messages in LOOK_BACK:
        for message in topics.tail(topic, chunk.message.partition(), messages):
            found = _chunk(message, kind)
            if found is not None and found.head.prev == end:
                return True
    return False


def _voided(
    topics: Topics, kind: str, place: tuple[str, int], last: _Chunk | None, goal: wire.Mark
) -> list[Any] | None:
    """The chunks from behind `last` to `goal` as they lie void in a partition; None: it lacks some."""
    lying: dict[wire.Mark, _Chunk] = {}
    start = last.message.offset() + 1 if last is not None else 0
    for message in topics.behind(*place, start):
        found = _chunk(message, kind)
        if found is not None:
            lying[found.head.end] = found  # the latest attempt
    out: list[Any] = []
    wanted: wire.Mark | None = goal
    while wanted is not None and wanted in lying:
        chunk = lying.pop(wanted)
        out.append(chunk.message)
        wanted = chunk.head.prev
    begun = last.head.end if last is not None else None
    if not out or (wanted != begun and begun is not None):
        return None
    return out[::-1]


def find_definitions(topics: Topics, topic: str) -> dict[bytes, bytes]:
    """Definitions of instruments that are void, and hold all the same: they are of a ring, not of a batch."""
    told: dict[bytes, bytes] = {}
    for message in topics.all(topic, voided=True):
        key, value = message.key(), message.value()
        try:
            wire.DefinitionKey.decode(key)
        except wire.WireError:
            continue
        told.pop(key, None)
        if value:
            told[key] = value
    shown = {message.key(): message.value() for message in topics.all(topic)}
    return {key: value for key, value in told.items() if shown.get(key) != value}


def refuse_to_guess(topics: Topics, records: list[str], position: str, hidden: Places) -> None:
    """Raise `SinkError`, retriable, where a transaction of messages of one record is shown in part.

    records: the topics of records. position: the topic of positions, whose message is the last of its
    transaction: so what was sent before it is stored by it, and what came after it is not yet.
    """
    told = topics.last(position)
    told_ms = told.timestamp()[1] if told is not None else -1
    found: Places
    if (position, 0) in hidden:
        found = [
            (topic, partition)
            for topic in records
            for partition, message in topics.lasts(topic).items()
            if (topic, partition) not in hidden
            and not message.headers()
            and message.timestamp()[1] > told_ms
        ]
    else:
        found = [
            place for place in hidden if place[0] in records and _hides(topics, place, told_ms)
        ]
    if found:
        raise SinkError(
            f"Kafka shows in part what it has committed: {named(found)} "
            f"do not agree with {named(hidden)}, and messages of one record do not tell what is "
            f"missing where. kafka-transactions.sh ends it with a loss or repetition of one batch there",
            retriable=True,
        )


def _hides(topics: Topics, place: tuple[str, int], told_ms: int) -> bool:
    """Whether a partition hides messages of one record that are older than the position."""
    last = topics.lasts(place[0]).get(place[1])
    start = last.offset() + 1 if last is not None else 0
    return any(
        message.key() != VOID_KEY and not message.headers() and message.timestamp()[1] <= told_ms
        for message in topics.behind(*place, start)
    )


def read_position(topics: Topics, topic: str, ring: str) -> wire.Stored | None:
    """What the topic of positions says of a ring; None: nothing. Raises `SinkError`."""
    message = topics.last(topic)
    if message is None:
        return None
    try:
        return wire.Stored.decode(message.value() or b"")
    except wire.WireError as error:
        raise SinkError(
            f"topic {topic} does not say how far ring '{ring}' is stored: {error}", retriable=False
        ) from None


def find_in_chunks(topics: Topics, records: Mapping[str, str], *, whole: bool) -> Position | None:
    """How far the last chunks say that a ring is stored; None: there are none. For want of a position.

    `records`: the topics of chunks by kind. `whole`: a chunk is in all partitions or in none, else what
    some of them may lack is behind the position. Raises `SinkError` for messages that are no chunks.
    """
    found: list[tuple[int, str, Position]] = []
    for kind, topic in records.items():
        for message in topics.lasts(topic).values():
            try:
                head = wire.ChunkHead.decode(message.headers(), kind)
            except wire.WireError:
                raise SinkError(
                    f"topic {topic} has messages, and the topic of positions says nothing of them: "
                    f"was it removed? Remove {topic} as well, and it is written anew",
                    retriable=True,
                ) from None
            position = Position(head.ring_id, head.last, head.epoch)
            found.append((message.timestamp()[1], topic, position))
    if not found:
        return None
    _, topic, newest = max(found, key=lambda one: one[0])
    ends = [place for _, _, place in found if place.ring_id == newest.ring_id]
    position = (max if whole else min)(ends, key=lambda place: place.seq)
    log.warning(
        "the topic of positions is empty: by the chunks of %s its ring is stored up to %d",
        topic,
        position.seq,
    )
    return position


def named(places: Places) -> str:
    """As people write partitions."""
    return ", ".join(f"{topic}[{partition}]" for topic, partition in places)
