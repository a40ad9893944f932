"""Events and their messages on the way to the client, the bounded queue, and the shapes of statuses."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mdfeedd.sim.bloomberg.account import Sent
    from mdfeedd.sim.bloomberg.content import Content

__all__ = ["EventQueue", "Item", "Kind", "Occurrence", "down", "reason", "up"]


class Kind:
    """Numbers of the event types, as published."""

    ADMIN: Final = 1
    SESSION_STATUS: Final = 2
    SUBSCRIPTION_STATUS: Final = 3
    SUBSCRIPTION_DATA: Final = 8
    SERVICE_STATUS: Final = 9
    TIMEOUT: Final = 10
    AUTHORIZATION_STATUS: Final = 11
    TOKEN_STATUS: Final = 14


@dataclass(slots=True)
class Item:
    """A message. cid: whatever the client gave; sent: its entry of the account, if it is data."""

    kind: str
    content: Content
    cid: Hashable = None
    recap: int = 0
    fragment: int = 0
    topic: str = ""
    service: str = ""
    received_ns: int | None = None
    request_id: str | None = None
    sent: Sent | None = None
    label: Any = None


@dataclass(slots=True)
class Occurrence:
    """An event; a queue counts these, not messages."""

    kind: int
    items: list[Item] = field(default_factory=list)


class EventQueue:
    """Bounded as published: a warning at the high mark, data dropped at the limit, DataLoss where the hole is.

    Only data is dropped, statuses are not. `lost` tells the account of a message that found no room;
    `loss` makes the DataLoss message for a cid and a count. The warning jumps the queue; its end waits until
    the DataLoss messages are in it. This order is what the documentation lets one expect; nobody has seen it.
    """

    def __init__(
        self,
        limit: int,
        marks: tuple[float, float],
        lost: Callable[[Item], None],
        loss: Callable[[Item, int], Item],
    ) -> None:
        self.limit = limit
        self.high: int = int(limit * marks[0])
        self.low: int = int(limit * marks[1])
        self.peak: int = 0
        self._events: deque[Occurrence] = deque()
        self._lost = lost
        self._loss = loss
        self._losses: dict[Hashable, tuple[Item, int]] = {}
        self._dropped = 0  # events, since the warning
        self._is_slow = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def has_any(self) -> bool:
        """Whether `take` would give something."""
        return bool(self._events or self._losses)

    def put(self, event: Occurrence) -> None:
        """At the end, if there is room."""
        if event.kind == Kind.SUBSCRIPTION_DATA and len(self._events) >= self.limit:
            self._drop(event)
            return
        self._tell_losses()
        self._events.append(event)
        self.peak = max(self.peak, len(self._events))
        if len(self._events) > self.high and not self._is_slow:
            self.warn()

    def warn(self) -> None:
        """SlowConsumerWarning, before everything else; once until it is cleared."""
        if not self._is_slow:
            self._is_slow = True
            self._dropped = 0
            self._events.appendleft(Occurrence(Kind.ADMIN, [Item("SlowConsumerWarning", {})]))

    def take(self) -> Occurrence | None:
        """The next."""
        if not self._events:
            self._tell_losses()
        if not self._events:
            return None
        event = self._events.popleft()
        if self._is_slow and len(self._events) < max(self.low, 1):
            self._is_slow = False
            self._tell_losses()
            cleared = Item("SlowConsumerWarningCleared", {"eventsDropped": self._dropped})
            self._events.append(Occurrence(Kind.ADMIN, [cleared]))
        return event

    def forget(self, cid: Hashable) -> list[Item]:
        """Take the data of a correlation id out; they are returned."""
        self._losses.pop(cid, None)
        gone: list[Item] = []
        kept: deque[Occurrence] = deque()
        for event in self._events:
            if event.kind == Kind.SUBSCRIPTION_DATA:
                gone += [item for item in event.items if item.cid == cid]
                event.items = [item for item in event.items if item.cid != cid]
                if not event.items:
                    continue
            elif event.kind == Kind.ADMIN:
                event.items = [item for item in event.items if item.cid is None or item.cid != cid]
                if not event.items:
                    continue
            kept.append(event)
        self._events = kept
        return gone

    def clear(self) -> list[Item]:
        """Throw all away; the data among it are returned."""
        gone = [item for event in self._events for item in event.items if item.sent]
        self._events.clear()
        self._losses.clear()
        self._is_slow = False
        return gone

    def _drop(self, event: Occurrence) -> None:
        self.warn()
        self._dropped += 1
        for item in event.items:
            known = self._losses.get(item.cid)
            self._losses[item.cid] = (item, known[1] + 1 if known else 1)
            self._lost(item)

    def _tell_losses(self) -> None:
        if self._losses:
            items = [self._loss(item, count) for item, count in self._losses.values()]
            self._losses.clear()
            self._events.append(Occurrence(Kind.ADMIN, items))


def reason(source: str, category: str, code: int, text: str) -> Content:
    """Why something failed."""
    return {"source": source, "category": category, "errorCode": code, "description": text}


def up(server: str) -> Content:
    """SessionConnectionUp."""
    return {
        "server": server,
        "serverId": "sim-1",
        "encryptionStatus": "Clear",
        "compressionStatus": "Uncompressed",
        "socks5Proxy": "",
    }


def down(server: str, text: str) -> Content:
    """SessionConnectionDown."""
    return {"server": server, "serverId": "sim-1", "socks5Proxy": "", "description": text}
