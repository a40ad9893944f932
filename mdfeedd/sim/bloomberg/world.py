"""The world behind a session: a market of topics out of one seed, faults, and an account of what was sent.

Sans-IO: time is given, and what has fallen due by then is made then. All sessions of a world see one market.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.sim.bloomberg.clock import Clock, SystemClock
from mdfeedd.sim.bloomberg.core import Options, SessionCore, Subscription
from mdfeedd.sim.bloomberg.messages import Instrument, odd, quote, trade
from mdfeedd.sim.bloomberg.script import ODDITIES, Fault, Script
from mdfeedd.sim.bloomberg.topics import DEFAULT_TOPICS, MKTDATA
from mdfeedd.sim.bloomberg.topics import topics as made_topics
from mdfeedd.sim.market import MAX_RATE, Market
from mdfeedd.tick import QUOTE, TRADE, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.sim.bloomberg.account import SessionAccount
    from mdfeedd.sim.bloomberg.content import Content
    from mdfeedd.sim.bloomberg.topics import Topic

__all__ = ["PORTS", "World"]

PORTS: Final = (8194, 8196)
CATCH_UP_NS: Final = 60_000_000_000  # after a stall no more of the market is made up for
_CHUNK: Final = 1024  # ticks made at a time
_ODD_NAMES: Final = tuple(ODDITIES)
_MILLISECOND: Final = 1_000_000
_KEYS: Final = (
    "seed", "topics", "rate", "faults", "oddities", "ports", "hosts_down", "keep",
    "reply_ms", "zone_s", "repaints",
)  # fmt: skip


class World:
    """topics: names, the most active first. rate: ticks a second of all of them together.

    oddities: the share of ticks that an unusual message follows. ports: those that something listens on,
    on every host but `hosts_down`. keep: whether accounts keep the messages or only their numbers.
    reply_ms: how long an answer takes. zone_s: the terminal user's zone, east of UTC, for times of day without
    ``useGMT``. repaints: whether `resubscribe` alone brings an image.
    """

    def __init__(
        self,
        seed: int = 1,
        topics: Sequence[str] = DEFAULT_TOPICS,
        *,
        rate: float = 1000.0,
        script: Script | None = None,
        oddities: float = 0.0,
        ports: Sequence[int] = PORTS,
        hosts_down: Sequence[str] = (),
        keep: bool = True,
        reply_ms: float = 2.0,
        zone_s: int = 0,
        repaints: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= oddities <= 1:
            raise ValueError(f"oddities: must be 0 to 1, not {oddities}")
        if not 0 < rate <= MAX_RATE:
            raise ValueError(f"rate: must be above 0 and at most {MAX_RATE:.0f}, not {rate}")
        self.seed = seed
        self.topics: tuple[Topic, ...] = made_topics(topics)
        self.rate = rate
        self.script: Script = script or Script()
        self.oddities = oddities
        self.ports: frozenset[int] = frozenset(ports)
        self.hosts_down: frozenset[str] = frozenset(hosts_down)
        self.keep = keep
        self.reply_ns: int = int(reply_ms * _MILLISECOND)
        self.zone_s = zone_s
        self.repaints = repaints
        self.clock: Clock = clock or SystemClock()
        self.services: frozenset[str] = frozenset({MKTDATA, "//blp/refdata"})
        self.instruments: list[Instrument] = [Instrument(topic) for topic in self.topics]
        self.sessions: list[SessionAccount] = []
        self._index = {topic.name: i for i, topic in enumerate(self.topics)}
        self._routes: list[list[tuple[SessionCore, Subscription]]] = [[] for _ in self.topics]
        self._frozen_ns = [0] * len(self.topics)
        self._random = random.Random(f"world {seed}")  # noqa: S311 - chance, not secrets
        self._market: Market | None = None
        self._shift_ns = 0  # market time jumps over stalls
        self._now_ns = 0
        self._rows: list[tuple[int, ...]] = []  # ticks of the market, made ahead
        self._row = 0
        self._next_ns = 0  # when the next tick is due

    # ------------------------------------------------------------------------------------------- as data

    @classmethod
    def from_json(cls, text: str, clock: Clock | None = None) -> Self:
        """What `to_json` wrote, or a part of it; faults are objects, or text as `Fault.parse` reads it.

        Unless it says so, messages are not kept: whoever could read the account is in another process.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or not data.keys() <= set(_KEYS):
            raise ValueError(f"a world is an object with some of {', '.join(_KEYS)}")
        faults = data.pop("faults", [])
        made = (Fault.parse(f) if isinstance(f, str) else Fault(**f) for f in faults)
        data.setdefault("keep", False)
        return cls(script=Script(tuple(made)), clock=clock, **data)

    def to_json(self) -> str:
        """For the environment of another process."""
        data: dict[str, Any] = {
            "seed": self.seed,
            "topics": [topic.name for topic in self.topics],
            "rate": self.rate,
            "faults": [fault.to_json() for fault in self.script.faults],
            "oddities": self.oddities,
            "ports": sorted(self.ports),
            "hosts_down": sorted(self.hosts_down),
            "keep": self.keep,
            "reply_ms": self.reply_ns / _MILLISECOND,
            "zone_s": self.zone_s,
            "repaints": self.repaints,
        }
        return json.dumps(data)

    # ------------------------------------------------------------------------------------------- sessions

    def connect(self, options: Options | None = None) -> SessionCore:
        """The far side of a new session."""
        return SessionCore(self, options or Options())

    def enter(self, core: SessionCore, now_ns: int) -> int:
        """A session starts: its number."""
        self._open(now_ns)
        self.sessions.append(core.account)
        return len(self.sessions) - 1

    def listens(self, address: str) -> bool:
        """Whether something accepts connections there."""
        host, _, port = address.rpartition(":")
        return host not in self.hosts_down and int(port) in self.ports

    def index_of(self, name: str) -> int:
        """The place of a topic; -1 if there is none of that name."""
        return self._index.get(name, -1)

    def join(self, core: SessionCore, sub: Subscription) -> None:
        """From now on the topic's messages go there."""
        self._routes[sub.index].append((core, sub))

    def leave(self, core: SessionCore, sub: Subscription) -> None:
        """No more of them."""
        if sub.index >= 0:
            routes = self._routes[sub.index]
            self._routes[sub.index] = [r for r in routes if r[0] is not core or r[1] is not sub]

    def serves(self, core: SessionCore) -> bool:
        """Whether the market matters to a session."""
        return any(sub.is_active for sub in core.subscriptions.values())

    def touch(self, name: str) -> tuple[int | None, int | None, int, int]:
        """The truth about a topic: bid, ask (units of 1e-9), and their sizes."""
        item = self.instruments[self._index[name]]
        return item.bid, item.ask, item.bid_size, item.ask_size

    # ------------------------------------------------------------------------------------------- the market

    def _open(self, now_ns: int) -> Market:
        if self._market is None:
            listed = [topic.listing for topic in self.topics]
            self._market = Market(listed, self.rate, self.seed, start_ns=now_ns)
            self._now_ns = now_ns
            for row in self._market.opening().view(QUOTE):
                item = self.instruments[int(row["instrument_id"]) - 1]
                if item.has_touch:
                    item.bid, item.ask = int(row["bid_price"]), int(row["ask_price"])
                    item.bid_size, item.ask_size = int(row["bid_size"]), int(row["ask_size"])
            self._make()
            self._next_ns = self._rows[0][2]
        return self._market

    def next_ns(self) -> int:
        """When the next tick is due."""
        return self._next_ns

    def advance(self, now_ns: int) -> None:
        """Publish what has happened until then."""
        if self._market is None or now_ns <= self._now_ns:
            return
        if now_ns - self._now_ns > CATCH_UP_NS:
            skipped_ns = now_ns - self._now_ns - CATCH_UP_NS
            self._shift_ns += skipped_ns
            self._next_ns += skipped_ns
        self._now_ns = now_ns
        while self._next_ns <= now_ns:
            row = self._rows[self._row]
            self._row += 1
            if self._row == len(self._rows):
                self._make()
            self._publish(row, self._next_ns)
            self._next_ns = self._rows[self._row][2] + self._shift_ns

    def _make(self) -> None:
        """The next ticks, as rows; what they are does not depend on when they are made."""
        assert self._market is not None
        ticks = self._market.ticks(_CHUNK)
        quotes, trades = ticks.view(QUOTE), ticks.view(TRADE)
        columns = (
            ticks["kind"], ticks["instrument_id"], ticks["ts_event"],
            quotes["bid_price"], quotes["ask_price"], quotes["bid_size"], quotes["ask_size"],
            trades["price"], trades["size"], trades["trade_id"],
        )  # fmt: skip
        self._rows = list(zip(*(column.tolist() for column in columns), strict=True))
        self._row = 0

    def _publish(self, row: tuple[int, ...], ns: int) -> None:
        kind, number, _, bid, ask, bid_size, ask_size, price, size, trade_id = row
        index = number - 1
        if ns < self._frozen_ns[index]:
            return
        item = self.instruments[index]
        if kind == Kind.TRADE:
            item.traded(price, size, trade_id, ns)
            self._send(index, "TRADE", ns)
        elif item.has_touch:
            if item.ask is not None and ask > item.ask:  # so that the bid does not cross it
                item.ask, item.ask_size = ask, ask_size
                self._send(index, "ASK", ns)
            if bid != item.bid or bid_size != item.bid_size:
                item.bid, item.bid_size = bid, bid_size
                self._send(index, "BID", ns)
            if ask != item.ask or ask_size != item.ask_size:
                item.ask, item.ask_size = ask, ask_size
                self._send(index, "ASK", ns)
        if self.oddities and self._random.random() < self.oddities:
            self.publish_odd(index, self._random.choice(_ODD_NAMES), ns)

    def _send(self, index: int, what: str, ns: int) -> None:
        item = self.instruments[index]
        for core, sub in self._routes[index]:
            if what == "TRADE":
                if sub.wants_trades:
                    self._deliver(core, sub, trade(item, ns, sub.style), ns)
            elif sub.wants_quotes:
                self._deliver(core, sub, quote(item, what, ns, sub.style), ns)

    def _deliver(self, core: SessionCore, sub: Subscription, content: Content, ns: int) -> None:
        """At once, or conflated if the subscription wants an interval."""
        if sub.interval_ns:
            sub.pending |= content
            if ns - sub.sent_ns < sub.interval_ns:
                return
            content, sub.pending, sub.sent_ns = sub.pending, {}, ns
        core.send(sub, content, ns)

    def publish_odd(self, index: int, name: str, ns: int) -> None:
        """An unusual message to all who listen; nothing if nobody does, or the instrument cannot have it."""
        routes = self._routes[index]
        if not routes:
            return
        item = self.instruments[index]
        if name == "recap":
            for core, sub in routes:
                core.paint(sub, ns, 2)
            return
        content = odd(name, item, ns, routes[0][1].style)
        if content is None:
            return
        for core, sub in routes:
            core.send(sub, content, ns)

    def freeze(self, name: str, until_ns: int) -> None:
        """Nothing happens to a topic, or to any, until then."""
        for i, topic in enumerate(self.topics):
            if not name or topic.name == name:
                self._frozen_ns[i] = max(self._frozen_ns[i], until_ns)
