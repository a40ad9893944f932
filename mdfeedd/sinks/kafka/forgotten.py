"""Transactions that a broker has forgotten to end.

One that is killed and comes back may take a transaction for ended whose marks it never wrote (seen
with Apache Kafka 4.3: its log says "complete", the partitions were not told). What it holds cannot be
seen, its position neither; but the next commit of the same producer makes it visible, after it has
been written again. So it is looked for before the position is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.ring.position import Position
    from mdfeedd.sinks.kafka.topics import Topics

    Places = Sequence[tuple[str, int]]

__all__ = ["find_forgotten", "named"]


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


def named(places: Places) -> str:
    """As people write partitions."""
    return ", ".join(f"{topic}[{partition}]" for topic, partition in places)
