"""A gateway that is mute between its metadata and what was subscribed to: each GAP covers all that came to nobody."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.feeds.databento.session.live import Now
from mdfeedd.sim.databento.core import GatewayCore, Habits
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import Fault, Script
from mdfeedd.sim.databento.session import Session
from mdfeedd.tick import Flag, GapReason, Kind

SECOND = 1_000_000_000
CUT = Fault("fin", after_records=100)
NO_ACK = Fault("no_ack", session=None)
KINDS_TOLD_BY_US = (Kind.GAP, Kind.RECOVERED)


def mute(seconds, session=1):
    """Nothing at all is said after the metadata."""
    return Fault("silence", session=session, at="described", seconds=seconds)


def late(seconds, session=1):
    """Only heartbeats are, and each subscription begins so much after the one before."""
    return Fault("late_open", session=session, seconds=seconds)


@pytest.fixture
def life(rig, ledger):
    """Let a feed live through faults; what holds always is checked at the end."""

    def run(*faults, schemas=("mbp-1",), recovery="natural", seconds=30.0, rate=20.0, **options):
        market = Market(3, schemas=schemas, rate=rate)
        core = GatewayCore(market, Script(faults), habits=Habits(heartbeat_s=1.0))
        one = rig(core, rig.options(*schemas, recovery=recovery, heartbeat_s=10, **options))
        one.run(seconds)
        one.ledger = ledger(one).check()
        return one

    return run


def made_within(one, schema, first_ns, last_ns):
    """What the venue made meanwhile."""
    return [r for r in one.ledger.truth[schema] if first_ns < r.due_ns <= last_ns]


def rows_of_records(one):
    return [i for i, tick in enumerate(one.ticks()) if tick["kind"] not in KINDS_TOLD_BY_US]


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("gap", [mute(4.0), late(4.0)], ids=["mute", "late"])
def test_gap_ends_at_the_acknowledgement(life, gap, version):
    one = life(CUT, gap, Fault("version", session=None, code=version))
    (hole,) = one.holes()[0]
    assert hole["last"] == one.begun[1].at_ns + 4 * SECOND
    unseen = made_within(one, "mbp-1", one.begun[1].at_ns, hole["last"])
    assert len(unseen) > 20
    before, after = rows_of_records(one)[:100], rows_of_records(one)[100:]
    assert before[-1] < hole["at"] < after[0]
    assert len(after) > 100


@pytest.mark.parametrize(
    "form",
    [{}, {"ts_out": True}, {"compression": "zstd"}, {"encoding": "json"}, {"version": 1}],
    ids=str,
)
@pytest.mark.parametrize("schema", ["mbp-1", "tbbo", "trades", "bbo-1s", "statistics"])
def test_gap_of_what_is_not_acknowledged_ends_at_the_first_record(life, schema, form):
    version = Fault("version", session=None, code=form.get("version", 3))
    options = {key: value for key, value in form.items() if key != "version"}
    faults = Fault("fin", after_s=8.0), mute(4.0), NO_ACK, version
    one = life(*faults, schemas=(schema,), rate=60.0, seconds=40, **options)
    (hole,) = one.holes()[0]
    assert hole["last"] >= one.begun[1].asked_ns + 4 * SECOND
    assert hole["last"] == one.core.sessions[1].sent[0].index_ns
    assert hole["at"] + 1 in rows_of_records(one)
    assert len([i for i in rows_of_records(one) if i > hole["at"]]) > 5


def test_subscriptions_that_begin_one_after_the_other(life):
    """Of one that flows already nothing is missing any more; of the others it is, until they begin."""
    schemas = ("mbp-1", "bbo-1s", "status")
    one = life(CUT, late(3.0), schemas=schemas)
    holes = one.holes()[0]
    at_ns = one.begun[1].at_ns
    assert [(h["line"], h["last"]) for h in holes] == [
        (k, at_ns + 3 * k * SECOND) for k in (1, 2, 3)
    ]
    between = [i for i in rows_of_records(one) if holes[0]["at"] < i < holes[1]["at"]]
    assert len(between) > 30


def test_session_that_ends_before_everything_has_begun_tells_no_end(life):
    """What has flowed meanwhile does not count as known: the next GAP of all begins where the first one did."""
    one = life(
        CUT, late(3.0), Fault("rst", session=1, after_records=40), schemas=("mbp-1", "bbo-1s")
    )
    first, *others = one.holes()[0]
    assert [(h["line"], h["reason"]) for h in others] == [(k, GapReason.DISCONNECT) for k in (1, 2)]
    assert first["line"] == 1
    assert {h["first"] for h in others} == {first["first"]}


@pytest.mark.parametrize("ack", [(), (NO_ACK,)], ids=["ack", "no_ack"])
def test_heartbeats_of_a_mute_gateway_prove_nothing(life, ack):
    one = life(CUT, late(6.0), Fault("rst", session=1, after_s=5.0), *ack)
    assert one.core.sessions[1].controls[-1].text == "Heartbeat"
    (hole,) = one.holes()[0]
    last = one.core.sessions[0].sent[-1]
    assert hole["first"] <= last.index_ns + SECOND
    assert hole["last"] >= one.begun[2].at_ns > one.begun[1].at_ns + 5 * SECOND


def test_silence_until_the_end_of_the_session(life):
    one = life(CUT, mute(600.0), seconds=60)
    assert [end.ending for end in one.ends] == [Ending.CLOSED, Ending.SILENT]
    assert len(one.begun) == 3
    assert [hole["last"] for hole in one.holes()[0]] == [one.begun[2].at_ns]


def test_restart_is_told_though_the_first_session_after_it_never_began(rig, ledger):
    core = GatewayCore(Market(3, schemas=["mbp-1"], rate=20.0), Script((mute(600.0),)))
    one = rig(core, rig.options("mbp-1", recovery="natural", heartbeat_s=5))
    one.run(10)
    one.kill()
    one.start()
    one.run(40)
    ledger(one).check()
    assert [hole["reason"] for hole in one.holes()[0]] == [GapReason.RESTART]


@pytest.mark.parametrize("ack", [(), (NO_ACK,)], ids=["ack", "no_ack"])
def test_replay_that_begins_late_is_of_the_past_until_its_end(life, ack):
    """Also what was captured more than ten seconds after the metadata."""
    one = life(CUT, late(14.0), *ack, recovery="replay", seconds=60)
    (gap,), (recovered,) = one.holes()
    assert (recovered["first"], recovered["last"]) == (gap["first"], gap["last"])
    assert gap["last"] == one.begun[1].at_ns + 14 * SECOND
    flagged = (one.ticks()["flags"] & Flag.REPLAYED != 0).nonzero()[0]
    assert gap["at"] < flagged.min() <= flagged.max() < recovered["at"]
    assert one.ledger.whole("mbp-1")


def test_replay_that_brings_nothing_and_is_not_acknowledged(life):
    faults = Fault("fin", after_s=5.0), mute(2.0), NO_ACK
    one = life(*faults, schemas=("ohlcv-1h",), recovery="replay", seconds=20)
    (gap,), (recovered,) = one.holes()
    assert gap["at"] + 1 == recovered["at"]
    assert gap["last"] == recovered["last"] == one.begun[1].at_ns + 2 * SECOND


def test_books_of_orders_recover_from_the_whole_hole(life):
    one = life(CUT, mute(4.0), schemas=("mbo",), rate=60.0)
    (gap,), recovered = one.holes()
    assert recovered
    assert {(r["first"], r["last"]) for r in recovered} == {(gap["first"], gap["last"])}


# two subscriptions of one schema: whose is the first record?

FIRST = Subscription("mbp-1", ("ESZ6",), recovery="natural")
SECOND_ONE = Subscription("mbp-1", ("NQZ6",), recovery="natural")


def twins(rig, *faults, seconds=20, **policy):
    core = GatewayCore(Market(3, schemas=["mbp-1"], rate=40.0), Script((CUT, *faults)))
    both = FIRST, SECOND_ONE
    one = rig(core, DatabentoOptions("GLBX.MDP3", both, heartbeat_s=10))
    one.run(seconds)
    return one


def test_second_subscription_of_a_schema_begins_later(rig):
    """Before the first record both are told, and the second one again when it has begun indeed."""
    one = twins(rig, late(3.0))
    at_ns = one.begun[1].at_ns
    gaps = one.holes()[0]
    assert [gap["line"] for gap in gaps] == [1, 2, 2]
    assert len({gap["first"] for gap in gaps}) == 1
    assert gaps[0]["last"] == at_ns + 3 * SECOND < gaps[1]["last"] < gaps[2]["last"]
    assert gaps[2]["last"] == at_ns + 6 * SECOND
    names = [
        one.reader.instruments.symbol(int(i)) if i else "" for i in one.ticks()["instrument_id"]
    ]
    between, after = names[gaps[1]["at"] + 1 : gaps[2]["at"]], names[gaps[2]["at"] + 1 :]
    assert set(between) == {"ESZ6"}
    assert set(after) == {"ESZ6", "NQZ6"}
    last = after.index("NQZ6")
    assert "NQZ6" not in after[:last]


def test_session_ends_before_the_second_of_a_schema_has_begun(rig):
    """What the first one brought meanwhile says nothing of the second."""
    one = twins(rig, late(3.0), Fault("rst", session=1, after_s=5.0))
    assert len(one.core.sessions[1].sent) > 5
    gaps = one.holes()[0]
    assert [gap["line"] for gap in gaps] == [1, 2, 1, 2]
    assert gaps[3]["first"] == gaps[1]["first"]


def test_records_without_a_word_count_as_known(rig):
    one = twins(rig, mute(3.0), NO_ACK, Fault("rst", session=1, after_s=6.0))
    last = one.core.sessions[1].sent[-1]
    gaps = one.holes()[0]
    assert [gap["line"] for gap in gaps] == [1, 2, 1, 2]
    assert all(last.index_ns - SECOND < gap["first"] <= last.index_ns + SECOND for gap in gaps[2:])


def test_both_begin_at_once(rig):
    one = twins(rig, mute(3.0))
    at_ns = one.begun[1].at_ns + 3 * SECOND
    assert [(gap["line"], gap["last"]) for gap in one.holes()[0]] == [(1, at_ns), (2, at_ns)]


def test_both_begin_and_nobody_says_so(rig):
    one = twins(rig, mute(3.0), NO_ACK)
    gaps = one.holes()[0]
    assert [gap["line"] for gap in gaps] == [1, 2]
    assert gaps[0]["last"] == gaps[1]["last"] > one.begun[1].at_ns + 3 * SECOND
    assert gaps[1]["at"] == gaps[0]["at"] + 1


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Subscription request for {schema} data succeeded", [1, 2]),
        ("Subscription request {other} for {schema} data succeeded", [2, 1]),
        ("Request {id}: {schema}, accepted", [1, 2]),
    ],
)
def test_words_of_an_acknowledgement(rig, monkeypatch, text, order):
    """A number says which subscription it is of; without one it is the next of the schema."""
    told = Session.system

    def other(self, code, words):
        if code == 1:
            number = int(words.split()[2])
            words = text.format(schema="mbp-1", id=number, other=1 - number)
        told(self, code, words)

    monkeypatch.setattr(Session, "system", other)
    one = twins(rig, mute(3.0))
    at_ns = one.begun[1].at_ns + 3 * SECOND
    assert [(gap["line"], gap["last"]) for gap in one.holes()[0]] == [(k, at_ns) for k in order]


@pytest.mark.parametrize("text", ["Simulated", "Subscription request 7 for mbp-1 data succeeded"])
def test_acknowledgement_of_nothing_that_was_asked_for(life, text):
    """Code 1 alone says of no subscription that it has begun."""
    spurious = Fault("system", session=1, code=1, text=text, after_records=0)
    one = life(CUT, late(4.0), NO_ACK, spurious)
    (hole,) = one.holes()[0]
    assert any(c.text == text for c in one.core.sessions[1].controls)
    assert hole["last"] > one.begun[1].at_ns + 4 * SECOND


def test_symbols_that_are_added_within_the_session_are_no_hole(life):
    one = life(CUT, mute(2.0), seconds=20)
    more = (Subscription("mbp-1", ("ALL_SYMBOLS", "ESZ6"), recovery="natural"),)
    one.live.extend(more, one.now())
    one.run(5)
    assert [c.text for c in one.core.sessions[1].controls if c.code == 1 and c.kind == "system"] \
        == ["Subscription request 0 for mbp-1 data succeeded"] * 2  # fmt: skip
    assert len(one.holes()[0]) == 1


def other_subscriptions(one, *subscriptions):
    """As after a reload: a new session for them."""
    one.options = DatabentoOptions("GLBX.MDP3", subscriptions, heartbeat_s=10)
    one._ended(SessionEnd(Ending.PLANNED, "a new session for the new subscriptions"))


@pytest.mark.parametrize("replayed", [1, 20, 60])
@pytest.mark.parametrize("schemas", [("mbp-1",), ("mbp-1", "bbo-1s")], ids=["one", "two"])
def test_symbols_that_are_added_within_a_replay_begin_with_a_session(rig, schemas, replayed):
    """Within the one that replays, they would look like what it has to bring again: its GAP would never be closed."""

    def asked(*symbols):
        return tuple(Subscription(one, symbols, recovery="replay") for one in schemas)

    market = Market(3, instruments=2, schemas=schemas, rate=20.0)
    core = GatewayCore(market, habits=Habits(chunk_records=1, heartbeat_s=1.0))
    one = rig(core, DatabentoOptions("GLBX.MDP3", asked("ESZ6", "NQZ6"), heartbeat_s=10))
    one.run(20)
    other_subscriptions(one, *asked("ESZ6"))
    one.run_until_replayed(1, replayed)
    more = asked("ESZ6", "NQZ6")
    one.options = DatabentoOptions("GLBX.MDP3", more, heartbeat_s=10)
    try:
        one.live.extend(more, one.now())
    except SessionEnd as end:
        one._ended(end)
    one.run(40)
    gaps, recovered = one.holes()
    assert {gap["line"] for gap in gaps} == set(range(1, len(schemas) + 1))
    for line in range(1, len(schemas) + 1):
        last = max((h for h in gaps + recovered if h["line"] == line), key=lambda h: h["at"])
        assert last in recovered
    assert [end.ending for end in one.ends] == [Ending.PLANNED] * 2
    ticks = one.ticks()
    trades = ticks[ticks["kind"] == Kind.TRADE]
    told = trades[["instrument_id", "ts_event", "venue_seq"]].tolist()
    assert len(set(told)) == len(told) > 10


def test_symbols_are_not_added_between_the_start_and_the_metadata_of_a_replay(rig):
    one = rig(
        GatewayCore(Market(3, instruments=2, schemas=("mbp-1",), rate=20.0)),
        rig.options("mbp-1", symbols=("ESZ6", "NQZ6"), recovery="replay"),
    )
    one.run(20)
    other_subscriptions(one, Subscription("mbp-1", ("ESZ6",), recovery="replay"))
    one.recovery.plan(one.options.subscriptions, one.now_ns)
    assert one.recovery.replaying


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("raw_symbol", "ALL_SYMBOLS"), ("raw_symbol", "ESZ6")),
        (("raw_symbol", "ESZ6"), ("raw_symbol", "ALL_SYMBOLS")),
        (("parent", "ES.FUT"), ("raw_symbol", "ESZ6")),
    ],
    ids=["all to a name", "a name to all", "another type"],
)
def test_what_was_asked_for_in_another_way_is_a_hole_too(rig, before, after):
    first, then = (Subscription("mbp-1", (symbol,), stype) for stype, symbol in (before, after))
    core = GatewayCore(Market(3, instruments=2, schemas=("mbp-1",), rate=20.0))
    one = rig(core, DatabentoOptions("GLBX.MDP3", (first,), heartbeat_s=10))
    one.run(5)
    other_subscriptions(one, then)
    one.run(10)
    (gap,) = one.holes()[0]
    assert core.market.records("mbp-1", gap["first"] + 1, gap["last"])
    assert (gap["line"], gap["reason"]) == (1, GapReason.DISCONNECT)


@pytest.mark.parametrize("late_s", [0, 3600], ids=["clock", "clock that is late"])
def test_what_is_of_the_past_is_known_by_the_clock_of_the_gateway(rig, late_s):
    """A replay brings old records of an instrument that is new between those of one that is known."""
    old, new = (
        Subscription("mbp-1", symbols, recovery="replay")
        for symbols in (("ESZ6",), ("ESZ6", "NQZ6"))
    )
    core = GatewayCore(Market(3, instruments=2, schemas=("mbp-1",), rate=20.0))
    one = rig(core, DatabentoOptions("GLBX.MDP3", (old,), heartbeat_s=10))
    one.now = lambda: Now(one.now_ns, one.now_ns - late_s * SECOND)
    one.run(30)
    other_subscriptions(one, new)
    one.run(20)
    ticks = one.ticks()
    trades = ticks[ticks["kind"] == Kind.TRADE]
    told = trades[["instrument_id", "ts_event", "venue_seq"]].tolist()
    assert len(set(told)) == len(told) > 10
    assert len(one.holes()[1]) == 1


def test_replay_that_was_asked_for_from_the_future_recovers_nothing(rig):
    """The host's clock is an hour ahead, and the first session ends before the gateway has said what time it is."""
    ends = (
        Fault("rst", session=0, at="described"),
        Fault("fin", session=1, after_records=100),
    )
    core = GatewayCore(Market(3, schemas=("mbp-1",), rate=20.0), Script(ends))
    options = rig.options("mbp-1", recovery="replay", heartbeat_s=10)
    one = rig(core, options)
    one.now = lambda: Now(one.now_ns, one.now_ns + 3600 * SECOND)
    one.run(40)
    gaps, recovered = one.holes()
    first, second = gaps
    starts = [account.requests[0].start_ns for account in core.sessions]
    assert starts[1] > core.market.now_ns > starts[2]
    assert second["first"] < core.market.now_ns < first["first"]
    assert [hole["first"] for hole in recovered] == [second["first"]]
