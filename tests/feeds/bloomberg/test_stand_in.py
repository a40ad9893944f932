"""Whole sessions with the stand-in, on a clock that leaps: the same truth, whatever goes wrong.

A line is driven as the process drives it. Each message that was delivered is laid beside what became of it,
and all that was sent, delivered or not, says what the touch was in truth: a tick that is not flagged STALE has
to agree with it, and whatever is missing before it has to have been told.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from collections import Counter, deque
from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.codec import Decoder, Staging
from mdfeedd.feeds.bloomberg.credentials import Credentials
from mdfeedd.feeds.bloomberg.ending import Backoff, Ending, SessionEnd
from mdfeedd.feeds.bloomberg.failure import Flow, Pauses
from mdfeedd.feeds.bloomberg.line import Line
from mdfeedd.feeds.bloomberg.moment import Now, Tell
from mdfeedd.feeds.bloomberg.native import decoder as native
from mdfeedd.feeds.bloomberg.native.quick import QuickPlane
from mdfeedd.feeds.bloomberg.options import BloombergOptions, Topic
from mdfeedd.feeds.bloomberg.plane import PythonPlane
from mdfeedd.feeds.bloomberg.session import Link
from mdfeedd.feeds.bloomberg.topics import Stage, Topics
from mdfeedd.sim.bloomberg import Fault, Script, VirtualClock, World, path, playing
from mdfeedd.tick import PRICE_UNDEF, Flag, GapReason, Kind

SECOND = 1_000_000_000
TOPICS = ("ESZ6 Index", "SPY US Equity", "EURUSD Curncy", "SPX Index", "CLF7 Comdty")
FIRST = int(os.environ.get("MDFEEDD_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("MDFEEDD_SEEDS", "25")))
TRADES = (Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION)
KIND_OF = {"NEW": Kind.TRADE, "CANCEL": Kind.TRADE_CANCEL, "CORRECT": Kind.TRADE_CORRECTION}


@pytest.fixture(scope="module")
def blpapi():
    def forget():
        for name in [n for n in sys.modules if n.partition(".")[0] == "blpapi"]:
            del sys.modules[name]

    forget()
    sys.path.insert(0, path())
    try:
        yield importlib.import_module("blpapi")
    finally:
        sys.path.remove(path())
        forget()


class Watched(Decoder):
    """Notes what became of each message, and each loss, in their order."""

    read_rows: Any = None

    def __init__(self, staging: Any, **options: Any) -> None:
        super().__init__(staging, **options)
        self.journal: list[tuple[Any, ...]] = []

    def decode(self, cid, recap, fragment, message, recv_ns):
        before = len(self.staging)
        super().decode(cid, recap, fragment, message, recv_ns)
        made = self.read_rows(self.staging.ticks()[before:])
        self.journal.append(("message", cid, made))

    def _tear(self, touch, *arguments):
        self.journal.append(("torn", touch.instrument_id))
        super()._tear(touch, *arguments)


class Tour:
    """A feed without process and ring: sessions, one after the other, in a world."""

    def __init__(self, blpapi: Any, world: World, read_rows: Any, **options: Any) -> None:
        names = options.pop("topics", TOPICS)
        in_c = options.pop("in_c", False)
        self.blpapi, self.world, self.read_rows = blpapi, world, read_rows
        self.options = BloombergOptions(tuple(Topic(name) for name in names), **options)
        chance = random.Random(world.seed).random
        self.staging: Any = native.Staging() if in_c else Staging()
        self.decoder: Any = (native.Decoder if in_c else Watched)(self.staging)
        self.decoder.read_rows = read_rows
        self.decoder.journal = []
        self.tell = Tell()
        self.pauses = Pauses(chance)
        self.backoff = Backoff(chance)
        self.topics = Topics(
            self.decoder, self.tell, self.pauses, chance, fields=self.options.fields,
            image_wait_ns=int(self.options.image_wait_s * SECOND),
        )  # fmt: skip
        self.plane = (QuickPlane if in_c else PythonPlane)(self.decoder, self.tell)
        self.rows: list[dict[str, Any]] = []
        self.ids = {name: i + 1 for i, name in enumerate(names)}
        self.followed = set(names)  # all the time
        self.topics.follow(self.options.topics, lambda t: self.ids[t.topic], self.now())
        self.endings: list[Ending] = []
        self.line: Any = None
        self.link: Any = None

    def now(self) -> Now:
        ns = self.world.clock.now_ns()
        return Now(ns, ns)

    def publish(self) -> None:
        self.rows += self.read_rows(self.staging.ticks())
        self.staging.clear()

    def begin(self) -> None:
        self.decoder.journal.append(("session", len(self.world.sessions)))
        self.link = Link(self.blpapi, self.options, Credentials())
        self.line = Line(
            self.blpapi, self.link, self.topics, planes=[self.plane], options=self.options,
            tell=self.tell, pauses=self.pauses, publish=self.publish, read_clock=self.now,
        )  # fmt: skip
        self.link.start()

    def run(self, seconds: float) -> None:
        """So long, over as many sessions as it takes."""
        end_ns = self.world.clock.now_ns() + int(seconds * SECOND)
        while self.world.clock.now_ns() < end_ns:
            self.step()

    def step(self) -> None:
        """One event."""
        try:
            if self.link is None:
                self.begin()
            self.line.turn()
        except SessionEnd as end:
            self.endings.append(end.ending)
            self.leave(over=end.ending in (Ending.STARTUP, Ending.TERMINATED))
            pause_s = self.backoff.pause_s(0.0)
            self.world.clock.advance(int(pause_s * SECOND))  # type: ignore[attr-defined]

    def leave(self, *, over: bool) -> None:
        self.topics.close(self.now())
        self.publish()
        self.link.close(over=over)
        self.link = None

    def reload(self, names: Any) -> None:
        """Follow these of its topics."""
        self.followed &= set(names)
        wanted = tuple(topic for topic in self.options.topics if topic.topic in names)
        self.topics.follow(wanted, lambda t: self.ids[t.topic], self.now())

    def healthy(self) -> bool:
        return all(entry.stage is Stage.LIVE and not entry.touch.stale for entry in self.topics)

    def drain(self) -> None:
        """Until nothing waits in the SDK."""
        while self.link is None or self.link._session._core.queue.has_any:
            self.run(1e-9)

    def settle(self, days: int = 3) -> None:
        """Give it time: an hour passes in a leap, of which the market makes up a minute."""
        self.run(5)
        for _ in range(24 * days):
            if self.healthy():
                break
            self.world.clock.advance(3600 * SECOND)  # type: ignore[attr-defined]
            self.run(3)
        self.drain()


def units(value: Any) -> int:
    return PRICE_UNDEF if value is None else round(value * 1e9)


def touch_of(fields: dict[str, Any]) -> tuple[int, ...]:
    sides = []
    for side in ("BID", "ASK"):
        price, size = units(fields.get(side)), fields.get(f"{side}_SIZE") or 0
        gone = price == PRICE_UNDEF or (price == 0 and size == 0)
        sides.append((PRICE_UNDEF, 0) if gone else (price, min(size, 2**32 - 1)))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def check(tour: Tour) -> Counter[str]:
    """Lay the journal beside the accounts. What was seen, by name."""
    seen: Counter[str] = Counter()
    journal = deque(tour.decoder.journal)
    for account in tour.world.sessions:
        sent = [(s.number, s, where == "delivered") for where in ("delivered", "dropped", "lost", "discarded") for s in getattr(account, where)]  # fmt: skip
        sent.sort(key=lambda one: one[0])
        ahead = deque(sent)
        truth: dict[str, dict[str, Any]] = {}
        missing: set[Any] = set()
        torn: set[int] = set()
        assert journal.popleft()[0] == "session"
        for message in account.delivered:
            while True:  # what was sent before it, delivered or not
                number, one, arrived = ahead.popleft()
                fields = truth.setdefault(one.topic, {})
                if one.recap and one.fragment in (0, 1):
                    fields.clear()
                fields.update({k: v for k, v in one.content.items() if k in ("BID", "ASK", "BID_SIZE", "ASK_SIZE")})  # fmt: skip
                if not arrived:
                    missing.add(one.cid)
                if number == message.number:
                    break
            while journal and journal[0][0] == "torn":
                torn.add(journal.popleft()[1])
            what, cid, made = journal.popleft()
            assert (what, cid) == ("message", message.cid)
            instrument = tour.ids[message.topic]
            if cid in missing:
                seen["holes"] += 1
                missing.discard(cid)
                # DATALOSS in the stream tells of what is missing before it by being there
                told = (
                    instrument in torn or message.content.get("MKTDATA_EVENT_SUBTYPE") == "DATALOSS"
                )
                assert told, f"untold loss of {message.topic}"
            torn.discard(instrument)
            check_message(message, made, truth[message.topic], instrument, seen)
        while journal and journal[0][0] == "torn":
            journal.popleft()
    assert not [entry for entry in journal if entry[0] == "message"]
    return seen


def check_message(message: Any, made: Any, truth: Any, instrument: int, seen: Counter[str]) -> None:
    content = message.content
    wanted = []
    price = content.get("EVT_TRADE_PRICE_RT", content.get("LAST_PRICE"))
    kind = KIND_OF.get(content.get("MKTDATA_EVENT_SUBTYPE", ""))
    if content["MKTDATA_EVENT_TYPE"] == "TRADE" and kind is not None and price is not None:
        text = content["EVT_TRADE_IDENTIFIER_RT"]
        size = min(content["EVT_TRADE_SIZE_RT"] or 0, 2**32 - 1)
        wanted = [(kind, units(price), size, int(text) if text.isdigit() else 0)]
    trades = [
        (r["kind"], r["price"], r["size"], r["trade_id"]) for r in made if r["kind"] in TRADES
    ]
    assert trades == wanted
    seen["trades"] += len(trades)
    for row in made:
        assert row["instrument_id"] in (instrument, 0)
        assert row["ts_recv"] >= message.due_ns
        if row["kind"] is not Kind.QUOTE:
            continue
        seen["quotes"] += 1
        if row["flags"] & Flag.STALE:
            seen["stale"] += 1
        else:
            told = tuple(row[name] for name in ("bid_price", "ask_price", "bid_size", "ask_size"))
            assert told == touch_of(truth)


def check_bounds(tour: Tour) -> int:
    """Whatever was sent and did not arrive lies within a hole that was told; how much that was."""
    holes: dict[int, list[tuple[int, int]]] = {number: [] for number in tour.ids.values()}
    for row in tour.rows:
        if row["kind"] is Kind.RECOVERED and row["instrument_id"]:
            holes[row["instrument_id"]].append((row["first_missing"], row["last_missing"]))
    for entry in tour.topics:
        if entry.touch.hole_first_ns:  # not over
            holes[entry.touch.instrument_id].append((entry.touch.hole_first_ns, 2**63))
    found = 0
    for account in tour.world.sessions:
        begun: dict[Any, int] = {}
        for sent in account.delivered:
            begun.setdefault(sent.cid, sent.due_ns)
        for sent in (*account.dropped, *account.lost, *account.discarded):
            if sent.due_ns < begun.get(sent.cid, 2**63) or sent.topic not in tour.followed:
                continue  # before its first image nothing is missed
            found += 1
            told = holes[tour.ids[sent.topic]]
            assert any(a <= sent.due_ns <= b for a, b in told), (sent.topic, sent.due_ns, told)
    return found


def check_holes(tour: Tour) -> None:
    """Every RECOVERED has its GAP before it; in the end none is open; what is missing lies within."""
    check_bounds(tour)
    open_: dict[int, tuple[int, int]] = {}
    for row in tour.rows:
        number = row["instrument_id"]
        if row["kind"] is Kind.GAP:
            assert row["first_missing"] <= row["last_missing"] <= row["ts_recv"]
            for one in tour.ids.values() if number == 0 else [number]:
                first = open_.get(one, (row["first_missing"], 0))[0]
                open_[one] = (min(first, row["first_missing"]), row["last_missing"])
            if number == 0:
                open_[0] = (row["first_missing"], row["last_missing"])
        elif row["kind"] is Kind.RECOVERED:
            first, last = open_.pop(number)
            assert (row["first_missing"] <= first, row["last_missing"] >= last) == (True, True)
            assert row["last_missing"] <= row["ts_recv"]
    assert 0 not in open_


def check_flows(tour: Tour) -> None:
    """Of each topic the ring was told whether it comes: only what is another than before."""
    last = dict.fromkeys(tour.ids.values(), int(Flow.COMES))
    for row in tour.rows:
        if row["kind"] is Kind.STATUS:
            assert row["reason"] != last[row["instrument_id"]]
            last[row["instrument_id"]] = row["reason"]
    assert last == {e.touch.instrument_id: Flow.COMES for e in tour.topics if e.stage is Stage.LIVE}


@pytest.fixture
def tour(blpapi, read_rows, request):
    """A tour through a world, with its link closed in the end."""
    tours: list[tuple[Tour, Any]] = []

    def make(*faults: Any, seed: int = 1, rate: float = 25.0, script: Any = None, world: Any = None, **options: Any) -> Tour:  # fmt: skip
        made = World(seed, options.get("topics", TOPICS), rate=rate, script=script or Script(faults), clock=VirtualClock(), **(world or {}))  # fmt: skip
        playing_ = playing(made)
        playing_.__enter__()
        one = Tour(blpapi, made, read_rows, **options)
        tours.append((one, playing_))
        return one

    yield make
    for one, playing_ in reversed(tours):
        if one.link is not None:
            one.link.close()
        playing_.__exit__(None, None, None)


def truths(one: Tour) -> list[tuple[Any, ...]]:
    found = []
    for entry in one.topics:
        bid, ask, bid_size, ask_size = one.world.touch(entry.listing.topic)
        item = one.world.instruments[one.world.index_of(entry.listing.topic)]
        sizes = (bid_size, ask_size) if item.has_sizes else (0, 0)
        want = [PRICE_UNDEF if p is None else p for p in (bid, ask)]
        found.append((*want, *(0 if p == PRICE_UNDEF else s for p, s in zip(want, sizes, strict=True))))  # fmt: skip
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_random_faults_lose_no_topic_and_invent_no_tick(tour, seed):
    script = Script.random(seed, TOPICS, seconds=15)
    one = tour(seed=seed, script=script, world={"oddities": 0.03})
    one.run(60)
    one.settle()
    assert one.healthy(), [(e.listing.topic, e.stage, e.failure) for e in one.topics]
    assert [entry.touch.shown for entry in one.topics] == truths(one)
    seen = check(one)
    check_holes(one)
    check_flows(one)
    assert seen["quotes"] > 50
    assert seen["trades"] > 5
    assert one.plane.unreadable == 0


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_whole_sessions_by_the_kernel_in_c_are_the_same(tour, seed):
    script = Script.random(seed, TOPICS, seconds=15)
    rows = []
    for in_c in (False, True):
        one = tour(seed=seed, script=script, world={"oddities": 0.03}, in_c=in_c)
        one.run(40)
        one.drain()
        rows.append(one.rows)
        counts = one.decoder
        rows.append([counts.messages, counts.skipped, counts.unknown, counts.unmapped, counts.torn, counts.recovered])  # fmt: skip
        one.leave(over=False)
    assert len(rows[0]) > 100
    assert rows[0] == rows[2]
    assert rows[1] == rows[3]


def test_quiet_session_tells_every_message_once(tour):
    one = tour(seed=4)
    one.run(30)
    one.drain()
    seen = check(one)
    assert seen["stale"] == 0
    assert not [row for row in one.rows if row["kind"] is Kind.GAP]
    assert [entry.touch.shown for entry in one.topics] == truths(one)


def test_disconnect_is_recovered_by_the_sdk_alone(tour):
    one = tour(Fault("disconnect", at_s=3, seconds=2))
    one.run(20)
    assert len(one.world.sessions) == 1
    assert len(one.world.sessions[0].subscribed) == len(TOPICS)  # nothing was asked for twice
    assert [row["reason"] for row in one.rows if row["kind"] is Kind.GAP] == [GapReason.DISCONNECT]
    recovered = [row["instrument_id"] for row in one.rows if row["kind"] is Kind.RECOVERED]
    assert sorted(recovered) == [0, 1, 2, 3, 4, 5]
    assert recovered[-1] == 0
    check(one)
    check_holes(one)


def test_session_terminated_is_followed_by_another(tour):
    one = tour(Fault("terminated", at_s=3))
    one.run(30)
    assert one.endings == [Ending.TERMINATED]
    assert len(one.world.sessions) == 2
    assert one.healthy()
    check(one)
    check_holes(one)


def test_port_refused_for_a_while(tour):
    one = tour(Fault("refused", 0), Fault("closed", 1))
    one.run(60)
    assert one.endings == [Ending.STARTUP] * 2
    assert one.healthy()
    assert not [row for row in one.rows if row["kind"] is Kind.GAP]


def test_second_server_is_taken_where_the_first_is_down(tour):
    one = tour(servers=("gone:8194", "there:8194"), world={"hosts_down": ("gone",)})
    one.run(5)
    assert one.healthy()


def test_identity_refused(tour):
    one = tour(Fault("auth_refused"), auth="app", app_name="firm:app")
    one.run(5)
    assert one.endings[0] is Ending.IDENTITY


def test_identity_revoked(tour):
    one = tour(Fault("revoked", at_s=2), auth="app", app_name="firm:app")
    one.run(10)
    assert one.endings[0] is Ending.IDENTITY
    check(one)


def test_data_loss_of_one_topic_touches_no_other(tour):
    one = tour(Fault("data_loss", topic="ESZ6 Index", at_s=3, count=10))
    one.run(30)
    gaps = [row["instrument_id"] for row in one.rows if row["kind"] is Kind.GAP]
    assert gaps == [1]
    assert one.topics.dropped == 10
    assert one.healthy()
    check(one)
    check_holes(one)


def test_loss_told_in_the_stream(tour):
    one = tour(Fault("summary_loss", topic="SPY US Equity", at_s=3, count=10))
    one.run(30)
    assert [row["instrument_id"] for row in one.rows if row["kind"] is Kind.GAP] == [2]
    assert one.healthy()
    check(one)
    check_holes(one)


def test_streams_that_come_back_without_an_image(tour):
    one = tour(Fault("streams", topic="ESZ6 Index", at_s=3, seconds=1, recap=False))
    one.run(60)
    assert one.healthy()
    assert len(one.world.sessions[0].subscribed) == len(TOPICS) + 1
    check(one)
    check_holes(one)


def test_one_bad_topic_in_a_batch(tour):
    one = tour(topics=("ESZ6 Index", "SPY US Equity"))
    names = (*one.options.topics, Topic("NOPE Equity"))
    one.ids["NOPE Equity"] = 3
    one.topics.follow(names, lambda t: one.ids[t.topic], one.now())
    one.run(10)
    stages = {entry.listing.topic: entry.stage for entry in one.topics}
    assert stages == {"ESZ6 Index": Stage.LIVE, "SPY US Equity": Stage.LIVE, "NOPE Equity": Stage.REFUSED}  # fmt: skip


def test_topic_whose_string_the_sdk_refuses(tour):
    one = tour(Fault("bad_topic", topic="SPX Index"))
    one.run(10)
    stages = [entry.stage for entry in one.topics]
    assert stages == [Stage.LIVE] * 3 + [Stage.REFUSED] + [Stage.LIVE]


@pytest.mark.parametrize("category", ["NOT_ENTITLED", "LIMIT", "IO_ERROR", "SOMETHING_NEW"])
def test_refusal_that_passes(tour, category):
    one = tour(Fault("refuse", topic="SPX Index", category=category, count=2))
    one.run(3)
    assert sum(entry.stage is Stage.LIVE for entry in one.topics) == 4
    one.settle()
    assert one.healthy()


def test_image_in_pieces_and_without_stamps(tour):
    one = tour(Fault("fragmented", count=4), Fault("no_stamps"))
    one.run(10)
    assert one.healthy()
    check(one)


def test_delayed_stream_is_flagged(tour):
    one = tour(Fault("delayed", topic="SPX Index"))
    one.run(10)
    flagged = {row["instrument_id"] for row in one.rows if row["flags"] & Flag.DELAYED}
    assert flagged == {4}


def test_slow_reader_overflows_the_queue_and_every_loss_is_told(tour):
    one = tour(rate=1200.0, queue_events=1000)
    one.run(2)
    for _ in range(3):
        one.world.clock.advance(2 * SECOND)
        one.run(2)
    one.settle()
    assert one.topics.warnings
    assert one.topics.dropped
    assert one.world.sessions[0].dropped
    assert one.healthy()
    seen = check(one)
    assert seen["holes"]
    assert check_bounds(one) > 1000
    check_holes(one)


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_reloads_while_the_queue_overflows_and_all_else_goes_wrong(tour, seed):
    rng = random.Random(seed)
    script = Script.random(seed, TOPICS, seconds=15)
    one = tour(seed=seed, script=script, rate=1200.0, queue_events=1000, in_c=bool(seed % 2))
    lost = 0
    for _ in range(5):
        one.run(0.5)
        one.world.clock.advance(2 * SECOND)
        for _ in range(rng.randrange(2000)):
            one.step()
            if one.topics.dropped == lost and rng.random() < 0.995:
                continue
            lost = one.topics.dropped  # nothing is as delicate as the moment after a loss
            one.reload([*TOPICS[:2], *(name for name in TOPICS[2:] if rng.random() < 0.5)])
    one.reload(TOPICS)
    one.settle()
    assert one.healthy(), [(e.listing.topic, e.stage, e.failure) for e in one.topics]
    assert [e.touch.shown for e in sorted(one.topics, key=lambda e: e.touch.instrument_id)] == [
        shown for _, shown in sorted(zip((e.touch.instrument_id for e in one.topics), truths(one), strict=True))
    ]  # fmt: skip
    check_bounds(one)


def test_decimal_that_makes_topy_raise_costs_nothing(tour):
    one = tour(*(Fault("odd", topic="ESZ6 Index", at_s=n, text="decimal") for n in range(1, 6)))
    one.run(10)
    assert one.plane.unreadable == 0
    assert not [row for row in one.rows if row["kind"] is Kind.GAP]
    check(one)


def test_names_of_thousand_topics_are_asked_for_without_delay(tour):
    one = tour(topics=TOPICS)
    one.run(2)
    assert one.healthy()
    assert one.decoder.unmapped == 0
