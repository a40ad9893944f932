"""What a world sent, session by session: the truth that a feed is held to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mdfeedd.sim.bloomberg.content import Content

__all__ = ["Said", "Sent", "SessionAccount"]


class Sent(NamedTuple):
    """A data message. number: its place in what the session was meant to get, from 1."""

    cid: Any
    topic: str
    recap: int
    fragment: int
    content: Content
    number: int
    due_ns: int


class Said(NamedTuple):
    """A status message. cid is None where there is none; after: so many data messages came before it."""

    event: int
    kind: str
    cid: Any
    content: Content
    after: int


@dataclass(slots=True)
class SessionAccount:
    """One session. Messages are in exactly one list: delivered (taken by nextEvent), dropped (the queue was
    full), lost (on the way: a fault), discarded (in the queue when they were unsubscribed from, or the
    session ended). What is still in the queue is in none.

    counts: by the names of these lists, whether or not they are kept. subscribed: by cid, the topic.
    """

    number: int
    keep: bool = True
    delivered: list[Sent] = field(default_factory=list)
    dropped: list[Sent] = field(default_factory=list)
    lost: list[Sent] = field(default_factory=list)
    discarded: list[Sent] = field(default_factory=list)
    statuses: list[Said] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    subscribed: dict[Any, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    queue_peak: int = 0
    ended: str = ""

    def put(self, where: str, sent: Sent) -> None:
        """Note where a message ended."""
        self.counts[where] += 1
        if self.keep:
            getattr(self, where).append(sent)

    def say(self, said: Said) -> None:
        """Note that a status message was taken."""
        self.counts["statuses"] += 1
        if self.keep:
            self.statuses.append(said)

    def of(self, cid: Any) -> list[Sent]:
        """What was delivered with that correlation id, in order."""
        return [sent for sent in self.delivered if sent.cid == cid]

    def said(self, kind: str) -> list[Said]:
        """The status messages of a kind."""
        return [said for said in self.statuses if said.kind == kind]
