"""Whether a ring holds what Bloomberg's sessions delivered: each message's ticks once, in order, or a told hole.

    SessionAccount.delivered ─► _Sides: what the message makes of both sides ─► ticks that must come, topic by topic
    venue.facts less what was published ─► must lie in a hole that a GAP or its RECOVERED tells, or before any image

What is STALE is read from the tape itself: from a GAP on, until an image.
"""

from __future__ import annotations

import bisect
import copy
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, STATUS, TRADE, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.bloomberg.account import Sent, SessionAccount
    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.vendors.bloomberg import BloombergActor

__all__ = ["check"]

MOST: Final = 8
"""Sentences of one kind."""
ARRIVAL_NS: Final = 2_000_000  # between the time that a tick tells and its appearance
TURN_NS: Final = 300_000_000
US: Final = 1_000
U32: Final = 2**32 - 1
COMES: Final = 10_100  # reason of a STATUS: data come again
_FOR_EVER: Final = 2**62
_IMAGE: Final = frozenset({1, 2})
_TRADES: Final = {"NEW": Kind.TRADE, "CANCEL": Kind.TRADE_CANCEL, "CORRECT": Kind.TRADE_CORRECTION}
_DATA: Final = frozenset(
    {Kind.QUOTE, Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION}
)  # that a message makes
_TEARS: Final = frozenset({"DataLoss", "SubscriptionStreamsDeactivated", "SessionConnectionDown"})
_NOTHING: Final = (PRICE_UNDEF, PRICE_UNDEF, 0, 0)


class Wanted(NamedTuple):
    """A tick that must come. ts_ns: None where no stamp tells it to the microsecond."""

    kind: int
    values: tuple[int, ...]
    is_image: bool
    is_delayed: bool
    ts_ns: int | None


class _Row(NamedTuple):
    """A tick of the tape."""

    place: int
    kind: int
    values: tuple[int, ...]
    flags: int
    ts_event: int
    at_ns: int


@dataclass(slots=True)
class _Hole:
    """Of one instrument, or (0) of the feed; open until it is recovered."""

    place: int
    first: int
    last: int
    offset_ns: int
    is_closed: bool = False


@dataclass(slots=True)
class _Topic:
    """One topic: its rows, and what was found of it."""

    name: str
    rows: list[_Row] = field(default_factory=list)
    at: int = 0
    holes: list[_Hole] = field(default_factory=list)
    silences: list[_Hole] = field(default_factory=list)  # told by a STATUS
    first_ns: int | None = None  # of the first image that was published
    voids_ns: list[int] = field(default_factory=list)  # of its CLEARs, true time


class _Sides:
    """Both sides as Bloomberg told them last, to one process, in all its subscriptions to the topic.

    shown: as the last QUOTE of the process told them. What is known of them outlives a subscription, and a torn
    image leaves the pieces that came: until an image is whole, all that is STALE.
    """

    def __init__(self) -> None:
        self.cid: Any = None
        self.fields: dict[str, Any] = {}
        self.shown: tuple[int, ...] = _NOTHING
        self.is_imaging = False
        self.is_delayed = False
        self.stamp_ns = 0

    def take(self, sent: Sent, *, is_stale: bool) -> list[Wanted]:
        """The ticks of one message."""
        if sent.cid != self.cid:  # pieces of two subscriptions make no image
            self.cid, self.is_imaging = sent.cid, False
        body = sent.content
        kind, subtype = body.get("MKTDATA_EVENT_TYPE"), body.get("MKTDATA_EVENT_SUBTYPE")
        delayed = self.is_delayed = bool(body.get("IS_DELAYED_STREAM", self.is_delayed))
        if (kind, subtype) == ("SUMMARY", "DATALOSS"):
            self.is_imaging = False
            return []
        if sent.recap in _IMAGE or subtype == "INITPAINT":
            return self._image(sent, delayed, is_stale=is_stale)
        if kind not in ("QUOTE", "TRADE", "SUMMARY"):
            return []
        wanted = []
        ts_ns = sent.due_ns // US * US
        if kind == "TRADE":
            told = self._trade(body, subtype)
            is_stamped = "EVT_TRADE_EXECUTION_TIME_RT" in body
            if told is not None:
                wanted.append(Wanted(*told, False, delayed, ts_ns if is_stamped else None))
        if self._merge(body):
            wanted.append(Wanted(Kind.QUOTE, self.shown, False, delayed, ts_ns))
        return wanted

    def _image(self, sent: Sent, delayed: bool, *, is_stale: bool) -> list[Wanted]:
        if sent.fragment in (0, 1):
            self.is_imaging, self.stamp_ns = True, 0
            if is_stale:
                self.fields = {}
        if not self.is_imaging:
            return []
        self._learn(sent.content)
        stamped = "BID_UPDATE_STAMP_RT" in sent.content or "ASK_UPDATE_STAMP_RT" in sent.content
        self.stamp_ns = sent.due_ns // US * US if stamped else self.stamp_ns
        if sent.fragment not in (0, 3):
            return []
        self.is_imaging = False
        self._show()
        return [Wanted(Kind.QUOTE, self.shown, True, delayed, self.stamp_ns or None)]

    @staticmethod
    def _trade(body: dict[str, Any], subtype: Any) -> tuple[int, tuple[int, ...]] | None:
        kind = _TRADES.get(subtype)
        price = next((body[k] for k in ("EVT_TRADE_PRICE_RT", "LAST_PRICE") if body.get(k) is not None), None)  # fmt: skip
        size = next((body[k] for k in ("EVT_TRADE_SIZE_RT", "SIZE_LAST_TRADE") if body.get(k) is not None), 0)  # fmt: skip
        number = str(body.get("EVT_TRADE_IDENTIFIER_RT") or "")
        trade_id = int(number) if number.isdigit() else 0
        if kind is None or (price is None and not (kind == Kind.TRADE_CANCEL and trade_id)):
            return None
        return kind, (_units(price), trade_id, min(size, U32))

    def _merge(self, body: dict[str, Any]) -> bool:
        """Take over what it says of both sides; whether that makes them other than they were shown last."""
        before = self.shown
        self._learn(body)
        self._show()
        return before != self.shown

    def _learn(self, body: dict[str, Any]) -> None:
        for name in ("BID", "ASK", "BID_SIZE", "ASK_SIZE"):
            if name in body:
                self.fields[name] = body[name]

    def _show(self) -> None:
        (bid, bid_size), (ask, ask_size) = self._side("BID"), self._side("ASK")
        self.shown = bid, ask, bid_size, ask_size

    def _side(self, name: str) -> tuple[int, int]:
        price, size = self.fields.get(name), self.fields.get(f"{name}_SIZE") or 0
        if price is None or (not price and not size):
            return PRICE_UNDEF, 0
        return _units(price), size


class _Tearing:
    """Which images are torn: of a topic, between two of its messages, a status said that data are lost."""

    def __init__(self, account: SessionAccount) -> None:
        self._statuses = deque(said for said in account.statuses if said.kind in _TEARS)
        self._taken = 0
        self._torn: Counter[Any] = Counter()  # by cid; None: all of the session
        self._seen: dict[Any, int] = {}

    def by(self, sent: Sent) -> bool:
        """Whether it was said before this message, and since the one before it. Call for each of the session."""
        while self._statuses and self._statuses[0].after <= self._taken:
            self._torn[self._statuses.popleft().cid] += 1
        self._taken += 1
        so_far = self._torn[sent.cid] + self._torn[None]
        before, self._seen[sent.cid] = self._seen.get(sent.cid, 0), so_far
        return before != so_far


def check(actor: BloombergActor, tape: Tape) -> Iterator[str]:
    """Sentences about what is wrong."""
    ledger = _Ledger(actor, tape)
    for part in (
        ledger.messages, ledger.arrivals, ledger.stale, ledger.missing, ledger.gaps, ledger.books, ledger.counters,
    ):  # fmt: skip
        for count, sentence in enumerate(part()):
            if count == MOST:
                break
            yield sentence


class _Ledger:
    def __init__(self, actor: BloombergActor, tape: Tape) -> None:
        self.actor = actor
        self.tape = tape
        self.venue = actor.venue
        venue = actor.venue
        self.accounts = [core.account for core in venue.cores]
        self.ends_ns = [*venue.began_ns[1:], _FOR_EVER]  # of the sessions: when the next one begins
        self.topics: dict[str, _Topic] = {}
        self.feed_holes: list[_Hole] = []
        self.published: set[int] = set()  # places in the venue's facts
        self.messages_seen = 0
        self._stale: dict[int, bool] = {}  # by place: what the tick must say
        self._read()

    def _topic(self, name: str) -> _Topic:
        return self.topics.setdefault(name, _Topic(name))

    def _read(self) -> None:
        """The tape's rows, topic by topic; what is stale when; the holes."""
        tape = self.tape
        quotes, trades, gaps = (tape.rows.view(dtype) for dtype in (QUOTE, TRADE, GAP))
        stale: dict[str, bool] = {}
        times = tape.at_ns.tolist()
        for place, row in enumerate(
            tape.rows[["ts_event", "instrument_id", "kind", "flags"]].tolist()
        ):
            ts_event, own_id, kind, flags = row
            topic = self._topic(tape.symbol(own_id)) if own_id else None
            if kind in _DATA and topic is not None:
                if kind == Kind.QUOTE:
                    r = quotes[place]
                    values = tuple(
                        int(r[n]) for n in ("bid_price", "ask_price", "bid_size", "ask_size")
                    )
                else:
                    r = trades[place]
                    values = tuple(int(r[n]) for n in ("price", "trade_id", "size"))
                topic.rows.append(_Row(place, kind, values, flags, ts_event, times[place]))
                if flags & Flag.SNAPSHOT:
                    stale[topic.name] = False
                self._stale[place] = stale.get(topic.name, True)
            elif kind == Kind.GAP:
                self._open(topic, place, gaps[place])
                for name in [topic.name] if topic is not None else list(self.topics):
                    stale[name] = True
            elif kind == Kind.RECOVERED:
                self._close(topic, gaps[place])
            elif kind == Kind.STATUS and topic is not None:
                self._tell(topic, place)
            elif kind == Kind.CLEAR and topic is not None:
                stale[topic.name] = True
                self._void(topic, place)

    def _open(self, topic: _Topic | None, place: int, row: Any) -> None:
        holes = self.feed_holes if topic is None else topic.holes
        offset_ns = int(self.tape.wall_offset_ns[place])
        holes.append(_Hole(place, int(row["first_missing"]), int(row["last_missing"]), offset_ns))

    def _tell(self, topic: _Topic, place: int) -> None:
        """That nothing comes of a topic, or that it does again: the time in between is told."""
        reason = int(self.tape.rows[place : place + 1].view(STATUS)["reason"][0])
        at_ns = int(self.tape.at_ns[place])
        if reason != COMES:  # what is missing of the feed is not made good for this topic then
            since = [h.first for h in (*topic.holes, *self.feed_holes) if not h.is_closed]
            topic.silences.append(_Hole(place, min([at_ns - TURN_NS, *since]), at_ns, 0))
            return
        for hole in topic.silences:
            if not hole.is_closed:
                hole.is_closed, hole.last = True, at_ns

    def _void(self, topic: _Topic, place: int) -> None:
        """The topic is not followed any more: its holes end here, and those of the feed for it."""
        at_ns = int(self.tape.at_ns[place])
        topic.voids_ns.append(at_ns)
        for hole in (*topic.holes, *self.feed_holes):
            if not hole.is_closed:
                topic.holes.append(
                    _Hole(place, hole.first, max(hole.last, at_ns), hole.offset_ns, True)
                )
        topic.holes = [hole for hole in topic.holes if hole.is_closed]

    def _close(self, topic: _Topic | None, row: Any) -> None:
        """It tells the whole of what is open."""
        holes = self.feed_holes if topic is None else topic.holes
        first, last = int(row["first_missing"]), int(row["last_missing"])
        for hole in holes:
            if not hole.is_closed:
                hole.is_closed = True
        place_offset = holes[-1].offset_ns if holes else 0
        holes.append(_Hole(-1, first, last, place_offset, is_closed=True))

    # what must hold

    def messages(self) -> Iterator[str]:
        """What each message that was delivered makes of the ring: all of it, up to where nobody listens any more."""
        sides: dict[Any, _Sides] = {}
        for session, (account, end_ns) in enumerate(zip(self.accounts, self.ends_ns, strict=True)):
            deaf: set[Any] = set()
            torn = _Tearing(account)
            for sent in account.delivered:
                topic = self._topic(sent.topic)
                is_torn = torn.by(sent)
                if sent.cid in deaf:
                    continue
                listener = self._listener(session, topic, sent)
                one = sides.setdefault(listener, _Sides())
                one.is_imaging &= not is_torn
                rows = topic.rows[topic.at :]
                before = copy.deepcopy(one)
                wanted = one.take(sent, is_stale=self._is_stale_now(topic))
                if self._agree(rows, wanted, end_ns):
                    yield from self._take(topic, sent, wanted, rows)
                else:
                    sides[listener] = before
                    deaf.add(sent.cid)  # see `missing`: what was not taken must be told
        for topic in self.topics.values():
            for row in topic.rows[topic.at :]:
                yield f"{self._too_much(topic, row)}: row {row.place}, {Kind(row.kind).name} of {topic.name}, was not to come there"

    def _is_stale_now(self, topic: _Topic) -> bool:
        """Before the next row of the topic: from the last GAP on."""
        if topic.at >= len(topic.rows):
            return True
        place = topic.rows[topic.at].place
        last = topic.rows[topic.at - 1].place if topic.at else -1
        holes = [h.place for h in (*topic.holes, *self.feed_holes) if last < h.place < place]
        return bool(holes) or not topic.at or self._stale[last]

    def _listener(self, session: int, topic: _Topic, sent: Sent) -> tuple[str, int, int]:
        """Who knows both sides: a process, from its beginning or the last CLEAR of the topic on."""
        began_ns = self.venue.began_ns[session]
        life = sum(life.began_ns <= began_ns for life in self.tape.lives)
        return topic.name, life, bisect.bisect_left(topic.voids_ns, sent.due_ns)

    @staticmethod
    def _agree(rows: list[_Row], wanted: list[Wanted], end_ns: int) -> bool:
        """The next rows of the topic are these, and came while the session was on."""
        if len(rows) < len(wanted) or (wanted and rows[len(wanted) - 1].at_ns >= end_ns):
            return False
        for row, one in zip(rows, wanted, strict=False):
            values = row.values
            if row.kind == Kind.QUOTE:
                told = (
                    (*one.values[:2], *(min(v, U32) for v in one.values[2:]))
                    if one.kind == Kind.QUOTE
                    else one.values
                )
            else:
                told = one.values
            if (row.kind, values) != (one.kind, told):
                return False
            if bool(row.flags & Flag.SNAPSHOT) != one.is_image:
                return False
        return True

    def _take(
        self, topic: _Topic, sent: Sent, wanted: list[Wanted], rows: list[_Row]
    ) -> Iterator[str]:
        topic.at += len(wanted)
        place = self.venue.of.get(id(sent.content))
        if place is not None:
            self.published.add(place)
        for row, one in zip(rows, wanted, strict=False):
            if one.is_image and topic.first_ns is None:
                topic.first_ns = sent.due_ns
            if bool(row.flags & Flag.DELAYED) != one.is_delayed:
                yield f"flags: row {row.place} of {topic.name}: DELAYED should be {one.is_delayed}"
            if one.ts_ns is not None and row.ts_event != one.ts_ns:
                yield f"time: row {row.place} of {topic.name} tells {row.ts_event}, and it was {one.ts_ns}"

    def _too_much(self, topic: _Topic, row: _Row) -> str:
        """What kind of mistake a row is that was not expected."""
        same = [
            r
            for r in topic.rows[: topic.at]
            if (r.kind, r.values, r.ts_event) == (row.kind, row.values, row.ts_event)
        ]
        if same:
            return "duplicate"
        known = {
            (id_of(s), s.due_ns // US * US)
            for a in self.accounts
            for s in a.delivered
            if s.topic == topic.name
        }
        return "order" if any(ts == row.ts_event for _, ts in known) else "invented"

    def arrivals(self) -> Iterator[str]:
        """Every tick tells when it came, by the wall clock of then."""
        tape = self.tape
        late = tape.at_ns + tape.wall_offset_ns - tape.rows["ts_recv"]
        # what no message tells comes with the next turn
        most = np.where(np.isin(tape.rows["kind"], list(_DATA)), ARRIVAL_NS, TURN_NS)
        for place in ((late < 0) | (late > most)).nonzero()[0].tolist():
            yield f"arrival: row {place} tells a time that is {late[place]} ns before its appearance"

    def stale(self) -> Iterator[str]:
        """STALE from a GAP on, until an image."""
        for topic in self.topics.values():
            for row in topic.rows:
                if bool(row.flags & Flag.STALE) != self._stale[row.place]:
                    yield f"flags: row {row.place} of {topic.name} is{'' if row.flags & Flag.STALE else ' not'} STALE"

    def missing(self) -> Iterator[str]:
        """What was not published lies in a hole that is told, or nobody could know of it."""
        mute = self._untold()
        for number, fact in enumerate(self.venue.facts):
            if number in self.published or number in mute:
                continue
            topic = self.topics.get(fact.topic)
            if topic is None or topic.first_ns is None or fact.ns < topic.first_ns:
                continue  # it was never shown before
            if self._is_unfollowed(topic, fact.ns):
                continue
            holes = (*topic.holes, *self.feed_holes, *topic.silences)
            if not any(_covers(hole, fact.ns) for hole in holes):
                at_s = (fact.ns - self.actor.world_start_ns) / 1e9
                yield f"loss: {fact.what} of {fact.topic} at {at_s:.6f} s is neither published nor in a hole"

    def _untold(self) -> set[int]:
        """Facts that were lost on the way, of which Bloomberg never said a word: nobody can know."""
        found: set[int] = set()
        for account in self.accounts:
            told = Counter(said.cid for said in account.statuses if said.kind == "DataLoss")
            for sent in account.delivered:
                if sent.content.get("MKTDATA_EVENT_SUBTYPE") == "DATALOSS":
                    told[sent.cid] += 1
            for sent in account.lost:
                place = self.venue.of.get(id(sent.content))
                if place is not None and not told[sent.cid]:
                    found.add(place)
        return found

    def _is_unfollowed(self, topic: _Topic, ns: int) -> bool:
        """Nobody wanted the topic then: from its removal on, until the next image."""
        for name, since_ns in self.actor.unfollowed:
            if name != topic.name or ns < since_ns - QUEUED_NS:
                continue
            wanted = [
                at for name, at in self.actor.followed if name == topic.name and at > since_ns
            ]
            images = [
                int(self.tape.at_ns[row.place])
                for row in topic.rows
                if row.flags & Flag.SNAPSHOT and wanted and self.tape.at_ns[row.place] > wanted[0]
            ]
            if not images or ns <= images[0]:
                return True
        return False

    def gaps(self) -> Iterator[str]:
        """Each GAP is closed at the end, or its topic has failed or is not wanted."""
        if not self.actor.is_whole:
            return
        healthy = self.actor.healthy
        for topic in self.topics.values():
            if topic.name in healthy and any(not hole.is_closed for hole in topic.holes):
                yield f"gaps: {topic.name} has a GAP that is open, and is live"
        if healthy and any(not hole.is_closed for hole in self.feed_holes):
            yield "gaps: the feed has a GAP that is open, and all its topics are live or have failed"

    def books(self) -> Iterator[str]:
        """At the end the touch of every topic that is live is the venue's."""
        if not self.actor.is_whole:
            return
        for name in self.actor.healthy:
            rows = [row for row in self._topic(name).rows if row.kind == Kind.QUOTE]
            bid, ask, bid_size, ask_size = self.venue.touch(name)
            has_sizes = next(i for i in self.venue.instruments if i.topic.name == name).has_sizes
            touch = (
                PRICE_UNDEF if bid is None else bid,
                PRICE_UNDEF if ask is None else ask,
                bid_size if has_sizes and bid is not None else 0,
                ask_size if has_sizes and ask is not None else 0,
            )
            if not rows or rows[-1].values != touch:
                yield f"books: {name} is {rows[-1].values if rows else None}, and {touch} at the venue"

    def counters(self) -> Iterator[str]:
        """Counters equal facts; what a process counts late, a killed one did not count."""
        has, tape = self.tape.counters, self.tape
        killed = any(life.how != "stopped" for life in tape.lives[:-1])
        kinds = Counter(tape.rows["kind"].tolist())
        facts = {
            "gaps": kinds[Kind.GAP],
            "published_quotes": kinds[Kind.QUOTE],
            "published_trades": kinds[Kind.TRADE],
            "received_records": sum(len(account.delivered) for account in self.accounts),
        }
        for name, value in facts.items():
            if has.get(name, 0) != value and not (killed and has.get(name, 0) < value):
                yield f"counters: {name} is {has.get(name, 0)}, and not {value}"


QUEUED_NS: Final = 10_000_000_000
"""What a topic that is removed has in the queue is thrown away with it."""


def id_of(sent: Sent) -> int:
    """Of a message."""
    return id(sent.content)


def _covers(hole: _Hole, ns: int) -> bool:
    """Bounds are partly of Bloomberg's clock, partly of the host's, which may be wrong; an open hole has no end."""
    last = hole.last if hole.is_closed else _FOR_EVER
    return hole.first - max(0, hole.offset_ns) - US <= ns <= last - min(0, hole.offset_ns)


def _units(price: Any) -> int:
    return PRICE_UNDEF if price is None else int((Decimal(repr(price)) * 10**9).to_integral_value())
