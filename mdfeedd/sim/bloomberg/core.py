"""A session's far side, sans-IO: calls and a time go in, events come out of its queue.

    new ──start──► starting ──► up ◄──► down        down: the connection is lost, the SDK restores it
                      │          └──┬─────┘
                      └──► ended ◄──┘               startup failure, SessionTerminated, stop

What is due later lies in a heap; `advance` does what has fallen due, and lets the world go on in between.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.bloomberg import happenings
from mdfeedd.sim.bloomberg.account import Said, Sent, SessionAccount
from mdfeedd.sim.bloomberg.events import EventQueue, Item, Kind, Occurrence, down, reason, up
from mdfeedd.sim.bloomberg.messages import Style, image, pieces
from mdfeedd.sim.bloomberg.script import CATEGORIES, Fault
from mdfeedd.sim.bloomberg.topics import MKTDATA, BadTopic, Request, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from mdfeedd.sim.bloomberg.content import Content
    from mdfeedd.sim.bloomberg.world import World

__all__ = ["Misuse", "Options", "Rejected", "SessionCore", "Subscription"]

ATTEMPT_NS: Final = 3_000_000_000  # between two attempts to start
SAME_EVENT_NS: Final = 20_000  # messages so close together are in one event
MAX_EVENT_MESSAGES: Final = 64
_SECOND: Final = 1_000_000_000
_REJECTED_FIELDS: Final = frozenset({"PX_BID", "PX_ASK", "OPEN_INT", "NAME", "CRNCY"})
_STATES: Final = {
    ("new", "starting"),
    ("new", "ended"),
    ("starting", "up"),
    ("starting", "ended"),
    ("up", "down"),
    ("down", "up"),
    ("up", "ended"),
    ("down", "ended"),
}


class Misuse(Exception):
    """The client did what it must not. kind: the published exception without its last word."""

    def __init__(self, kind: str, code: int, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Options:
    """Of a session's options those that change what it gets."""

    endpoints: tuple[tuple[str, int], ...] = (("127.0.0.1", 8194),)
    auto_restart: bool = False
    start_attempts: int = 1
    queue_limit: int = 10_000
    marks: tuple[float, float] = (0.75, 0.5)
    has_identity: bool = False
    identity_cid: Hashable = None
    service: str = MKTDATA
    prefix: str = "/ticker/"
    records_times: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A subscription that was not even sent. is_string: the string is wrong; else the correlation id."""

    cid: Hashable
    text: str
    is_string: bool
    why: str


@dataclass(slots=True, eq=False)
class Subscription:
    """One topic of one session."""

    cid: Hashable
    label: Any
    text: str
    request: Request
    style: Style
    index: int = -1
    is_active: bool = False  # streams exist
    is_begun: bool = False  # its first image was sent, and what happens is sent from then on
    holds: int = 0  # reasons why nothing is sent
    losing: int = 0
    lost: int = 0
    loss_tells: str = ""
    stream: int = 0
    wants_quotes: bool = True
    wants_trades: bool = True
    interval_ns: int = 0
    sent_ns: int = 0
    pending: Content = field(default_factory=dict)

    @property
    def topic(self) -> str:
        """Its name in the world."""
        return self.request.name


class SessionCore:
    """Made by `World.connect`. Times never go back; nothing here blocks."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.state: str = "new"
        self.number: int = -1
        self.account: SessionAccount = SessionAccount(-1, world.keep)
        self.queue: EventQueue = EventQueue(
            options.queue_limit, options.marks, self._note_dropped, self._data_loss
        )
        self.subscriptions: dict[Hashable, Subscription] = {}
        self.services: set[str] = set()
        self.answered: set[str] = set()  # services that opened, or did not
        self.server: str = ""
        self.identified: bool = False
        self._closing: set[Hashable] = set()
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = itertools.count()
        self._open: Occurrence | None = None
        self._open_ns = 0
        self._messages = 0
        self._taken = 0
        self._counted: list[tuple[int, int, Fault]] = []  # faults by number of messages
        self._refusals: dict[Fault, int] = {}

    # ------------------------------------------------------------------------------------------- time

    def next_ns(self) -> int | None:
        """When there is something to do; None if nothing will ever be, unless somebody calls."""
        own = self._due[0][0] if self._due else None
        if self.state != "up" or not self.world.serves(self):
            return own
        market = self.world.next_ns()
        return market if own is None else min(own, market)

    def advance(self, now_ns: int) -> None:
        """Do all that has fallen due."""
        while self._due and self._due[0][0] <= now_ns:
            due_ns, _, action = heapq.heappop(self._due)
            self.world.advance(due_ns)
            action(due_ns)
        self.world.advance(now_ns)
        self.flush()

    def at(self, ns: int, action: Callable[[int], None]) -> None:
        """Do it then."""
        heapq.heappush(self._due, (ns, next(self._order), action))

    def take(self) -> Occurrence | None:
        """The next event of the queue; from now on it counts as delivered."""
        event = self.queue.take()
        self.account.queue_peak = self.queue.peak
        if event is None:
            return None
        for item in event.items:
            if item.sent is not None:
                self._taken += 1
                self.account.put("delivered", item.sent)
            else:
                self.account.say(Said(event.kind, item.kind, item.label, item.content, self._taken))
        return event

    def become(self, state: str) -> None:
        """Change the state, along the table."""
        assert (self.state, state) in _STATES, (self.state, state)
        self.state = state

    # ------------------------------------------------------------------------------------------- posting

    def post(self, kind: int, *items: Item) -> None:
        """An event that is no data."""
        self.flush()
        self.queue.put(Occurrence(kind, list(items)))

    def flush(self) -> None:
        """Close the event that messages are being added to."""
        if self._open is not None:
            event, self._open = self._open, None
            self.queue.put(event)

    def send(
        self, sub: Subscription, content: Content, ns: int, recap: int = 0, fragment: int = 0
    ) -> None:
        """A data message: into the queue, or lost on the way."""
        self._messages += 1
        sent = Sent(sub.label, sub.topic, recap, fragment, content, self._messages, ns)
        while self._counted and self._counted[0][0] <= self._messages:
            fault = heapq.heappop(self._counted)[2]
            self.at(ns, lambda at_ns, f=fault: happenings.happen(self, f, at_ns))  # type: ignore[misc]
        if self.state != "up" or sub.holds:
            self.account.put("lost", sent)
            return
        if sub.losing:
            self.account.put("lost", sent)
            sub.losing -= 1
            sub.lost += 1
            if not sub.losing:
                happenings.tell_loss(self, sub, ns)
            return
        item = Item(
            "MarketDataEvents", content, sub.cid, recap, fragment, sub.topic, sub.request.service
        )
        item.sent, item.label = sent, sub.label
        if self.options.records_times:
            item.received_ns = ns
        event = self._open
        joins = event is not None and not recap and ns - self._open_ns <= SAME_EVENT_NS
        if joins and event is not None and len(event.items) < MAX_EVENT_MESSAGES:
            event.items.append(item)
            return
        self.flush()
        self._open, self._open_ns = Occurrence(Kind.SUBSCRIPTION_DATA, [item]), ns

    def status(self, name: str, sub: Subscription, content: Content) -> Item:
        """A message of SUBSCRIPTION_STATUS or ADMIN about one topic."""
        item = Item(name, content, sub.cid, topic=sub.topic, label=sub.label)
        item.request_id = f"sim-{self.number}-{sub.stream}"
        return item

    def paint(self, sub: Subscription, ns: int, recap: int) -> None:
        """An image, whole or in pieces."""
        stamps = not self.world.script.modes("no_stamps", self.number, sub.topic)
        content = image(self.world.instruments[sub.index], ns, sub.style, stamps=stamps)
        broken = self.world.script.modes("fragmented", self.number, sub.topic)
        parts = pieces(content, broken[0].count) if broken else [content]
        if len(parts) == 1:
            self.send(sub, content, ns, recap)
            return
        for k, part in enumerate(parts):
            fragment = 1 if k == 0 else 3 if k == len(parts) - 1 else 2
            self.send(sub, part, ns, recap, fragment)

    # ------------------------------------------------------------------------------------------- start, stop

    def start(self, now_ns: int) -> None:
        """Once. What becomes of it is an event."""
        if self.state != "new":
            raise Misuse("InvalidState", 0x0001_0009, "session has been started already")
        high, low = self.options.marks
        if low >= high:
            raise Misuse("InvalidArgument", 0x0002_0002, "low water mark is not below the high one")
        self.become("starting")
        self.account.number = self.number = self.world.enter(self, now_ns)
        wanted = [f"{host}:{port}" for host, port in self.options.endpoints]
        open_ones = [name for name in wanted if self.world.listens(name)]
        script = self.world.script
        wait_ns = self.world.reply_ns
        if not open_ones or script.modes("refused", self.number):
            wait_ns += ATTEMPT_NS * (self.options.start_attempts - 1)
            self.at(now_ns + wait_ns, lambda ns: self._fail(ns, "IO_ERROR", 9, "Connection failed"))
        elif script.modes("closed", self.number):
            wait_ns += ATTEMPT_NS * (self.options.start_attempts - 1)
            self.at(now_ns + wait_ns, lambda ns: self._fail(ns, "IO_ERROR", 3, "Connection closed"))
        else:
            self.server = open_ones[0]
            self.at(now_ns + wait_ns, self._connected)

    def _fail(self, _ns: int, category: str, code: int, text: str) -> None:
        if self.state != "starting":
            return
        self.become("ended")
        self.account.ended = "startup failure"
        why = reason("Session", category, code, text)
        self.post(Kind.SESSION_STATUS, Item("SessionStartupFailure", {"reason": why}))

    def _connected(self, ns: int) -> None:
        if self.state != "starting":
            return
        self.post(Kind.SESSION_STATUS, Item("SessionConnectionUp", up(self.server)))
        if self.options.has_identity:
            cid = self.options.identity_cid
            if self.world.script.modes("auth_refused", self.number):
                why = reason("Authorization", "NOT_AUTHORIZED", 7, "Application is not known")
                item = Item("AuthorizationFailure", {"reason": why}, cid)
                self.post(Kind.AUTHORIZATION_STATUS, item)
                self._fail(ns, "NOT_AUTHORIZED", 7, "Session identity is refused")
                return
            token = Item("TokenGenerationSuccess", {"token": "simulated-token"}, cid)
            self.post(Kind.TOKEN_STATUS, token)
            self.post(Kind.AUTHORIZATION_STATUS, Item("AuthorizationSuccess", {}, cid))
            self.identified = True
        self.become("up")
        endpoints = [{"address": f"{host}:{port}"} for host, port in self.options.endpoints]
        started = Item("SessionStarted", {"initialEndpoints": endpoints})
        self.post(Kind.SESSION_STATUS, started)
        for n, fault in enumerate(self.world.script.events(self.number)):
            if fault.after_messages is not None:
                heapq.heappush(self._counted, (fault.after_messages, n, fault))
            else:
                when = ns + int((fault.at_s or 0.0) * _SECOND)
                self.at(when, lambda at_ns, f=fault: happenings.happen(self, f, at_ns))  # type: ignore[misc]

    def terminate(self, why: Content, ended: str) -> None:
        """SessionTerminated: nothing comes after it."""
        self.flush()
        if self.state == "up":
            text = why["description"]
            self.post(Kind.SESSION_STATUS, Item("SessionConnectionDown", down(self.server, text)))
        self.post(Kind.SESSION_STATUS, Item("SessionTerminated", {"reason": why}))
        self._end(ended)

    def stop(self) -> None:
        """By the client: what waits in the queue is thrown away."""
        if self.state == "ended":
            return
        if self.state == "new":
            self._end("never started")
            return
        self.flush()
        for item in self.queue.clear():
            if item.sent is not None:
                self.account.put("discarded", item.sent)
        if self.state == "starting":
            self._end("stopped")
            return
        self.terminate(reason("Session", "UNCLASSIFIED", 0, "Session stopped"), "stopped")

    def _end(self, ended: str) -> None:
        for sub in list(self.subscriptions.values()):
            self.world.leave(self, sub)
        self.subscriptions.clear()
        self._due.clear()
        self._counted.clear()
        self.account.ended = ended
        self.become("ended")

    # ------------------------------------------------------------------------------------------- services

    def open_service(self, name: str, cid: Hashable, now_ns: int, label: Any = None) -> None:
        """Asked for; the answer is a SERVICE_STATUS."""

        def answer(_ns: int) -> None:
            known = name in self.world.services
            if not known or self.world.script.modes("service_refused", self.number):
                why = reason("Service", "UNCLASSIFIED", 1, f"{name} is not available")
                item = Item("ServiceOpenFailure", {"reason": why}, cid, service=name, label=label)
            else:
                self.services.add(name)
                opened = {"serviceName": name}
                item = Item("ServiceOpened", opened, cid, service=name, label=label)
            self.answered.add(name)
            self.post(Kind.SERVICE_STATUS, item)

        self.answered.discard(name)
        self.at(now_ns + self.world.reply_ns, answer)

    # ------------------------------------------------------------------------------------------- subscriptions

    def subscribe(
        self, wanted: Sequence[tuple[str, Hashable, Any]], now_ns: int, *, individual: bool
    ) -> list[Rejected]:
        """String, correlation id and its label each. Without `individual` one bad string fails all."""
        self._need_started("subscribe")
        good: list[Subscription] = []
        bad: list[Rejected] = []
        taken: set[Hashable] = set(self.subscriptions) | self._closing
        for text, cid, label in wanted:
            try:
                request = self._parsed(text)
            except BadTopic as error:
                bad.append(Rejected(cid, text, True, str(error)))
                continue
            if cid in taken:
                bad.append(Rejected(cid, text, False, f"duplicate correlation id {label}"))
                continue
            taken.add(cid)
            good.append(self._made(text, cid, label, request))
        if bad and not individual:
            first = bad[0]
            kind, code = ("InvalidArgument", 0x0002_0002)
            if not first.is_string:
                kind, code = ("DuplicateCorrelationId", 0x0002_0005)
            raise Misuse(kind, code, first.why)
        for sub in good:
            self.subscriptions[sub.cid] = sub
            self.account.subscribed[sub.label] = sub.topic
            self.at(now_ns + self.world.reply_ns, lambda ns, s=sub: self._begin(s, ns))  # type: ignore[misc]
        return bad

    def _parsed(self, text: str) -> Request:
        request = parse(text, self.options.service, self.options.prefix)
        if self.world.script.modes("bad_topic", self.number, request.name):
            raise BadTopic(f"invalid subscription string {text!r}")
        return request

    def _made(self, text: str, cid: Hashable, label: Any, request: Request) -> Subscription:
        sub = Subscription(cid, label, text, request, Style())
        sub.index = self.world.index_of(request.name)
        sub.stream = next(self._order)
        self._apply(sub)
        return sub

    def _apply(self, sub: Subscription) -> None:
        """What fields and options of the request mean."""
        options, fields = sub.request.options, sub.request.fields
        sub.style.delayed = "delayed" in options or bool(
            self.world.script.modes("delayed", self.number, sub.topic)
        )
        sub.style.zone_s = 0 if "useGMT" in options else self.world.zone_s
        touch = [name for name in fields if "BID" in name or "ASK" in name or name == "MID"]
        sub.wants_quotes = not fields or bool(touch)
        sub.wants_trades = not fields or len(touch) < len(fields)
        try:
            sub.interval_ns = int(float(options.get("interval") or 0) * _SECOND)
        except ValueError:
            sub.interval_ns = 0

    def _begin(self, sub: Subscription, ns: int) -> None:
        """The service's answer to a subscription."""
        if self.subscriptions.get(sub.cid) is not sub:
            return
        if self.state == "down":
            self.at(ns + self.world.reply_ns, lambda at_ns: self._begin(sub, at_ns))
            return
        category = self._refusal(sub)
        if category:
            code = CATEGORIES[category]
            why = reason("BBDB@p1", category, code, f"{sub.topic}: {category}")
            content = {"reason": why, "failureDetails": [], "resubscriptionId": 0}
            self._remove(sub)
            item = self.status("SubscriptionFailure", sub, content)
            self.post(Kind.SUBSCRIPTION_STATUS, item)
            return
        sub.is_active = True
        started = self.status("SubscriptionStarted", sub, self._started(sub, 0))
        self.post(Kind.SUBSCRIPTION_STATUS, started)
        self.post(Kind.SUBSCRIPTION_STATUS, self.streams(sub, "Activated"))
        self.at(ns + self.world.reply_ns, lambda at_ns: self._stream(sub, at_ns))

    def _stream(self, sub: Subscription, ns: int) -> None:
        """The image, and everything from then on."""
        if self.subscriptions.get(sub.cid) is not sub:
            return
        if self.state == "down":
            self.at(ns + self.world.reply_ns, lambda at_ns: self._stream(sub, at_ns))
            return
        if not self.world.script.modes("no_image", self.number, sub.topic):
            self.paint(sub, ns, 1)
        sub.is_begun = True
        self.world.join(self, sub)

    def _refusal(self, sub: Subscription) -> str:
        for fault in self.world.script.modes("refuse", self.number, sub.topic):
            used = self._refusals.get(fault, 0)
            if used < fault.count:
                self._refusals[fault] = used + 1
                return fault.category
        if sub.request.service not in self.world.services:
            return "UNCLASSIFIED"
        return "BAD_SEC" if sub.index < 0 else ""

    def _started(self, sub: Subscription, resubscription_id: int) -> Content:
        faults = self.world.script.modes("reject_field", self.number, sub.topic)
        rejected = _REJECTED_FIELDS | {fault.text for fault in faults}
        exceptions = [
            {
                "fieldId": name,
                "reason": reason("API", "BAD_FLD", 10, "Field not valid")
                | {"subcategory": "NOT_APPLICABLE_TO_REF_DATA"},
            }
            for name in sub.request.fields
            if name in rejected
        ]
        return {
            "exceptions": exceptions,
            "resubscriptionId": resubscription_id,
            "streamIds": [str(sub.stream)],
            "receivedFrom": {"address": self.server},
            "reason": reason("API", "UNCLASSIFIED", 0, "Subscription started"),
        }

    def streams(self, sub: Subscription, how: str) -> Item:
        """SubscriptionStreamsActivated or Deactivated."""
        stream = {"id": str(sub.stream), "endpoint": {"address": self.server}}
        why = reason("API", "UNCLASSIFIED", 0, f"Streams {how.lower()}")
        content = {"streams": [stream], "reason": why}
        return self.status(f"SubscriptionStreams{how}", sub, content)

    def unsubscribe(self, cids: Sequence[Hashable], now_ns: int) -> None:
        """Unknown ones are ignored. No data with these ids comes after it, but the confirmation does."""
        self._need_started("unsubscribe")
        self.flush()
        for cid in cids:
            sub = self.subscriptions.get(cid)
            if sub is None:
                continue
            for item in self.queue.forget(cid):
                if item.sent is not None:
                    self.account.put("discarded", item.sent)
            self._remove(sub)
            self._closing.add(cid)
            self.at(now_ns + self.world.reply_ns, lambda _ns, s=sub: self._confirm(s))  # type: ignore[misc]

    def _confirm(self, sub: Subscription) -> None:
        self._closing.discard(sub.cid)
        why = reason("Session", "CANCELED", CATEGORIES["CANCELED"], "Subscription cancelled")
        name = "SubscriptionTerminated" if sub.is_active else "SubscriptionFailure"
        self.post(Kind.SUBSCRIPTION_STATUS, self.status(name, sub, {"reason": why}))

    def resubscribe(
        self,
        wanted: Sequence[tuple[str, Hashable, Any]],
        resubscription_id: int,
        now_ns: int,
        *,
        individual: bool,
    ) -> list[Rejected]:
        """Other fields or options for living subscriptions; the status comes before what they change."""
        self._need_started("resubscribe")
        bad: list[Rejected] = []
        good: list[tuple[Subscription, Request]] = []
        for text, cid, label in wanted:
            sub = self.subscriptions.get(cid)
            if sub is None:
                bad.append(
                    Rejected(cid, text, False, f"no subscription has correlation id {label}")
                )
                continue
            try:
                good.append((sub, parse(text, self.options.service, self.options.prefix)))
            except BadTopic as error:
                bad.append(Rejected(cid, text, True, str(error)))
        if bad and not individual:
            raise Misuse("InvalidArgument", 0x0002_0002, bad[0].why)

        def answer(ns: int, sub: Subscription, request: Request) -> None:
            if self.subscriptions.get(sub.cid) is not sub:
                return
            sub.request = Request(sub.request.service, sub.topic, request.fields, request.options)
            self._apply(sub)
            content = self._started(sub, resubscription_id)
            item = self.status("SubscriptionStarted", sub, content)
            self.post(Kind.SUBSCRIPTION_STATUS, item)
            if self.world.repaints and sub.is_active and self.state == "up":
                self.paint(sub, ns, 1)

        for sub, request in good:
            self.at(now_ns + self.world.reply_ns, lambda ns, s=sub, r=request: answer(ns, s, r))  # type: ignore[misc]
        return bad

    def drop(self, sub: Subscription, category: str) -> None:
        """SubscriptionTerminated, by the service."""
        why = reason("BBDB@p1", category, CATEGORIES[category], "Terminated by the service")
        self.flush()
        self._remove(sub)
        item = self.status("SubscriptionTerminated", sub, {"reason": why})
        self.post(Kind.SUBSCRIPTION_STATUS, item)

    def _remove(self, sub: Subscription) -> None:
        self.world.leave(self, sub)
        del self.subscriptions[sub.cid]

    def _need_started(self, what: str) -> None:
        if self.state not in ("up", "down"):
            raise Misuse("InvalidState", 0x0001_0009, f"{what}: the session is not started")

    # ------------------------------------------------------------------------------------------- of the queue

    def _note_dropped(self, item: Item) -> None:
        if item.sent is not None:
            self.account.put("dropped", item.sent)

    def _data_loss(self, item: Item, count: int) -> Item:
        return loss_message(item.cid, item.label, item.topic, count)


def loss_message(cid: Hashable, label: Any, topic: str, count: int) -> Item:
    """ADMIN DataLoss."""
    content = {"id": str(label), "source": "Session", "numMessagesDropped": count}
    return Item("DataLoss", content, cid, topic=topic, label=label)
