"""What brokers do not tell by themselves: how a transaction ended, and how far a ring is.

Transactions first. One that is killed and comes back may take a transaction for ended whose marks it never wrote (seen
with Apache Kafka 4.3: its log says "complete", the partitions were not told). What it holds cannot be
seen, its position neither; but the next commit of the same producer makes it visible, after it has
been written again. So it is looked for before the position is believed.

A position is gone where somebody removed its topic, or had made it without compaction. Then the chunks
say how far the ring is: each names the last of its records.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mdfeedd.ring.position import Position
from mdfeedd.sinks.kafka import wire
from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mdfeedd.sinks.kafka.topics import Topics

    Places = Sequence[tuple[str, int]]

__all__ = ["find_forgotten", "find_in_chunks", "named", "read_position"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.kafka")


def find_forgotten(
    topics: Topics, names: list[str], records: list[str], position: Position | None
) -> Places:
    """Partitions of the topics of a ring, `names`, that do not know how a transaction ended.

    Asked when none is open any more. Where others of `records`, the topics of chunks, show what is
    behind the position, a person has to say what holds: that is raised as `SinkError`, retriable.
    """
    hidden = topics.undecided(names)
    if not hidden:
        return []
    shown = [
        (name, partition)
        for name in records
        for partition in range(topics.partitions(name))
        if (name, partition) not in hidden and _is_beyond(topics.last(name, partition), position)
    ]
    if shown:  # void or not, either would be wrong in some of them
        raise SinkError(
            f"Kafka has ended a transaction in {named(shown)} and forgotten it in {named(hidden)}: "
            f"end it there with kafka-transactions.sh",
            retriable=True,
        )
    return hidden


def _is_beyond(message: Any, position: Position | None) -> bool:
    """Whether a chunk ends behind the position that is known."""
    if message is None:
        return False
    told = dict(message.headers() or ())
    if position is None:
        return True
    same = told.get("ring_id", b"").decode("ascii", "replace") == position.ring_id
    return same and int(told.get("last", b"0")) > position.seq


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
        for partition in range(topics.partitions(topic)):
            message = topics.last(topic, partition)
            if message is None:
                continue
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
