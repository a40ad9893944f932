"""Each thing that goes wrong with a gateway, and exactly what comes of it: in the ring, in the sessions, in the end."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session.ending import Ending
from mdfeedd.sim.databento.core import GatewayCore, Habits
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import STAGES, Fault, Script
from mdfeedd.tick import QUOTE, Flag, GapReason, Kind

SECOND = 1_000_000_000


@pytest.fixture
def life(rig, ledger):
    """Let a feed live through faults; what holds always is checked at the end."""

    def run(
        *faults,
        schemas=("mbp-1",),
        recovery="replay",
        seconds=20.0,
        habits=None,
        market=None,
        **rest,
    ):
        subscriptions = tuple(
            one if isinstance(one, Subscription)
            else Subscription(one, ("ALL_SYMBOLS",), recovery="snapshot" if one == "mbo" else recovery)
            for one in schemas
        )  # fmt: skip
        options = DatabentoOptions("GLBX.MDP3", subscriptions, **({"heartbeat_s": 10} | rest))
        names = [one.schema for one in subscriptions]
        core = GatewayCore(
            Market(3, schemas=names, **({"rate": 20.0} | (market or {}))),
            Script(faults),
            habits=habits,
        )
        one = rig(core, options)
        one.run(seconds)
        one.ledger = ledger(one).check()
        return one

    return run


def endings(one):
    return [end.ending for end in one.ends]


def lines(holes):
    return [(hole["line"], hole["reason"]) for hole in holes]


def test_nothing_is_wrong(life):
    one = life()
    assert not one.ends
    assert one.holes() == ([], [])
    assert one.counter("sessions") == 1


# ------------------------------------------------------------------------------------------ ways to end

ENDS = {
    "fin": Ending.CLOSED,
    "rst": Ending.RESET,
    "half_close": Ending.CLOSED,
    "silence": Ending.SILENT,
    "weekly_restart": Ending.CLOSED,
    "zero_length": Ending.BROKEN,
    "garbage": Ending.BROKEN,
}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("recovery", ["natural", "replay"])
def test_stream_ends(life, kind, recovery):
    one = life(Fault(kind, after_records=100), recovery=recovery, seconds=30)
    assert endings(one)[0] is ENDS[kind]
    broken = ENDS[kind] is Ending.BROKEN
    reason = GapReason.CORRUPT if broken else GapReason.DISCONNECT
    gaps, recovered = one.holes()
    assert lines(gaps) == [(1, reason)]
    assert lines(recovered) == ([(1, reason)] if recovery == "replay" else [])
    assert len(one.core.sessions[one.begun[1].number].sent) > 100


@pytest.mark.parametrize("kind", ["fin", "rst"])
def test_stream_ends_within_a_record(life, kind):
    one = life(Fault(kind, after_records=100, part=True))
    assert endings(one) == [ENDS[kind]]
    assert len(one.holes()[1]) == 1


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", ["fin", "rst", "half_close"])
def test_connection_ends_at_each_stage(life, kind, stage):
    one = life(Fault(kind, at=stage))
    assert endings(one) == [ENDS[kind]]
    told = len(one.begun) - 1
    assert len(one.holes()[0]) == told == (1 if stage == "described" else 0)


@pytest.mark.parametrize("stage", STAGES)
def test_gateway_is_mute_from_a_stage_on(life, stage):
    one = life(Fault("silence", at=stage), seconds=40)
    assert endings(one) == [Ending.SILENT]
    first = one.core.sessions[0]
    # handshake and metadata: 10 s, stream: heartbeat and 5 s, armed by the metadata, not by the first record
    waited_s = (first.ended_ns - first.connected_ns) / SECOND
    assert waited_s == pytest.approx(15 if stage == "described" else 10, abs=0.01)


def test_silence_after_data_is_noticed_after_the_heartbeat_and_five_seconds(life):
    one = life(Fault("silence", after_records=50), seconds=40)
    first = one.core.sessions[0]
    last_ns = first.sent[-1].index_ns
    assert first.ended_ns - last_ns == pytest.approx(15 * SECOND, abs=0.3 * SECOND)


def test_silence_that_passes_in_time_is_no_end(life):
    one = life(Fault("silence", after_records=50, seconds=12.0), seconds=30)
    assert not one.ends
    assert one.holes() == ([], [])


def test_refused_connects_are_repeated_until_one_is_accepted(life):
    one = life(Fault("refuse", count=4), seconds=60)
    times = [account.connected_ns for account in one.core.sessions]
    waits_s = [(b - a) / SECOND for a, b in itertools.pairwise(times)]
    assert len(waits_s) == 4
    for k, wait_s in enumerate(waits_s):
        assert 2**k <= wait_s <= 1.25 * 2**k


def test_weekly_restart_refuses_connects_for_a_while(life):
    one = life(Fault("weekly_restart", after_records=50, seconds=60.0), seconds=200)
    refused = [a for a in one.core.sessions if a.ended.startswith("refused")]
    assert 4 <= len(refused) <= 7
    assert len(one.holes()[1]) == 1


# ---------------------------------------------------------------------------------------- fatal errors


@pytest.mark.parametrize(
    ("code", "ending", "status"),
    [
        (1, Ending.KEY, 77), (2, Ending.KEY, 77), (3, Ending.LIMIT, 0), (5, Ending.SUBSCRIPTION, 78),
        (6, Ending.INTERNAL, 0), (8, Ending.AGED_OUT, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("after", [0, 50])
def test_fatal_error(life, code, ending, status, after):
    one = life(Fault("error", code=code, after_records=after), seconds=90)
    assert endings(one) == [ending]
    assert one.status == status
    assert len(one.core.sessions) == (1 if status else 2)


def test_too_many_sessions_is_not_tried_again_for_a_minute(life):
    one = life(Fault("error", code=3, after_records=50), seconds=90)
    first, second = one.core.sessions
    assert 60 <= (second.connected_ns - first.ended_ns) / SECOND <= 75


@pytest.mark.parametrize("code", [6, 3, 77])
def test_fatal_error_on_every_connect_never_exceeds_the_limits_of_the_gateway(life, code):
    one = life(
        Fault("error", session=None, code=code, at="described", fatal=True),
        seconds=1800,
        market={"rate": 0.2},
    )
    times = np.array([account.connected_ns for account in one.core.sessions])
    waits_s = np.diff(times) / SECOND
    assert len(times) > 20
    assert waits_s.min() >= 1.0
    assert waits_s[6:].min() >= 60.0
    assert waits_s.max() <= 75.1
    assert not any(account.ended == "refused: too many connects" for account in one.core.sessions)
    assert one.holes()[1] == []


def test_error_before_the_first_record_on_every_second_connect(life):
    faults = [Fault("error", session=k, code=6, at="described") for k in (0, 2)]
    one = life(*faults, Fault("fin", session=1, after_records=60), seconds=30)
    assert endings(one) == [Ending.INTERNAL, Ending.CLOSED, Ending.INTERNAL]
    gaps = one.holes()[0]  # none of the session that ended before its subscription began
    assert [gap["last"] for gap in gaps] == [one.begun[1].at_ns, one.begun[3].at_ns]


def test_wrong_key(life):
    one = life(Fault("bad_key"))
    assert one.status == 77
    assert endings(one) == [Ending.KEY]
    assert not len(one.ticks())


@pytest.mark.parametrize(
    ("text", "ending", "status"),
    [
        ("Account is not authorized for dataset GLBX.MDP3", Ending.ENTITLEMENT, 77),
        ("Unknown dataset: GLBX.MDP9", Ending.DATASET, 78),
        ("User has reached their open connection limit", Ending.LIMIT, 0),
        ("Come back on Monday", Ending.REFUSED, 0),
    ],
)
def test_authentication_is_refused(life, text, ending, status):
    one = life(Fault("bad_key", text=text), seconds=90)
    assert endings(one) == [ending]
    assert one.status == status
    assert len(one.core.sessions) == (1 if status else 2)


# ------------------------------------------------------------------------------- what does not end it

HARMLESS = [
    Fault("one_byte_writes"),
    Fault("separate_writes"),
    Fault("unknown_key"),
    Fault("trailing_bar"),
    Fault("cut_anywhere", size=7),
    Fault("heartbeat", after_records=50),
    Fault("end_of_interval", after_records=50),
    Fault("slow_warning", after_records=50),
    Fault("system", code=5, text="unsubscribed", after_records=50),
    Fault("system", code=200, after_records=50),
    Fault("error", code=4, after_records=50),
    Fault("error", code=77, after_records=50),
    Fault("error", code=255, after_records=50),
    Fault("unknown_rtype", count=7, after_records=50),
    Fault("tbbo_v4", after_records=50),
    Fault("long_record", after_records=50),
    Fault("short_record", after_records=50),
    Fault("data_before_mapping", count=30),
    Fault("plain_control"),
    Fault("version", code=2),
]


@pytest.mark.parametrize("fault", HARMLESS, ids=lambda fault: f"{fault.kind}-{fault.code}")
@pytest.mark.parametrize(
    ("ts_out", "compression"), [(False, "none"), (True, "none"), (True, "zstd")]
)
def test_session_goes_on(life, fault, ts_out, compression):
    one = life(fault, ts_out=ts_out, compression=compression)
    assert not one.ends
    assert one.holes() == ([], [])
    assert one.ledger.whole("mbp-1")
    assert len(one.ledger.published["mbp-1"]) > 300


def test_unknown_type_is_counted_and_the_records_around_it_are_delivered(life):
    one = life(
        Fault("unknown_rtype", count=7, after_records=50), Fault("tbbo_v4", after_records=90)
    )
    assert one.counter("unknown_records") == 8
    assert not one.counter("malformed_records")


def test_short_record_is_counted(life):
    one = life(Fault("short_record", after_records=50))
    assert one.counter("malformed_records") == 1


def test_one_bad_symbol_does_not_sink_the_others(life):
    some = Subscription("mbp-1", ("ESZ6", "NOSUCH", "NQZ6", "NORTHIS"), recovery="replay")
    one = life(schemas=(some,))
    assert not one.ends
    assert one.counter("refused_symbols") == 2
    names = {
        one.reader.instruments.symbol(i) for i in np.unique(one.ticks()["instrument_id"]).tolist()
    }
    assert names == {"ESZ6", "NQZ6"}


def test_data_before_its_mapping_is_counted(life):
    one = life(Fault("data_before_mapping", count=30))
    assert one.counter("unmapped_records") == 30
    symbols = [one.reader.instruments.symbol(i) for i in one.ticks()["instrument_id"].tolist()]
    assert all(name.isdigit() for name in symbols[:30])
    assert not any(name.isdigit() for name in symbols[30:])


def test_number_stands_for_another_instrument_from_now_on(life):
    one = life(Fault("remap", after_records=100, text="NEWZ9"), market={"instruments": 1})
    ticks = one.ticks()
    new = one.reader.instruments.id("NEWZ9")
    first = int(np.flatnonzero(ticks["instrument_id"] == new)[0])
    assert ticks["kind"][first] == Kind.DEFINITION
    assert ticks["flags"][first] == Flag.BAD_TS, "the gateway says no time of it: that is ours"
    assert set(ticks["instrument_id"][first:].tolist()) == {new}
    assert new not in ticks["instrument_id"][:first]
    assert one.reader.instruments[new].vendor_id == one.core.market.instruments[0].instrument_id


def test_version_1_is_read(life):
    one = life(Fault("version", code=1))
    assert not one.ends
    assert one.ledger.whole("mbp-1")


def test_version_4_stops_the_feed(life):
    one = life(Fault("version", code=4))
    assert one.status == 78
    assert endings(one) == [Ending.VERSION]
    assert "version 4" in str(one.ends[0])
    assert not len(one.ticks())
    assert len(one.core.sessions) == 1


def test_version_4_is_read_as_3_where_that_is_wanted(rig):
    core = GatewayCore(Market(3, schemas=["mbp-1"], rate=20.0), Script((Fault("version", code=4),)))
    one = rig(core, rig.options("mbp-1", accept_newer_dbn=True))
    one.run(20)
    assert not one.ends
    assert len(one.ticks()) == len(core.sessions[0].sent) > 300


def test_records_are_skipped_for_a_slow_reader(life):
    faults = Fault("skipped", count=25, after_records=100, always=True)
    one = life(faults, Fault("fin", after_records=150))
    assert len(one.core.sessions[0].skipped) == 25
    gaps, recovered = one.holes()
    assert lines(gaps) == [(0, GapReason.VENDOR_SKIPPED), (1, GapReason.DISCONNECT)]
    assert lines(recovered) == [(1, GapReason.DISCONNECT)]


def test_records_are_skipped_before_the_first(life):
    one = life(Fault("skipped", count=25, always=True))
    assert lines(one.holes()[0]) == [(0, GapReason.VENDOR_SKIPPED)]


# ---------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("backward", [False, True])
def test_replay_of_equal_times_and_of_times_that_run_backwards(life, backward):
    faults = [Fault("rst", session=k, after_records=60 + 41 * k) for k in range(4)]
    market = {"backward": backward, "publishers": 3, "rate": 60.0}
    one = life(*faults, market=market, seconds=40, schemas=("mbp-1", "statistics", "status"))
    assert len(one.ends) == 4
    assert one.ledger.known > 100
    for schema in ("mbp-1", "statistics", "status"):
        assert one.ledger.whole(schema)
    assert {hole["last"] for hole in one.holes()[1]} == {one.holes()[0][-1]["last"]}


@pytest.mark.parametrize("schema", ["ohlcv-1s", "ohlcv-1m", "bbo-1s", "bbo-1m", "cbbo-1s"])
def test_replay_of_intervals(life, schema):
    one = life(Fault("fin", after_records=9), schemas=(schema,), seconds=400, replay_reach_s=1.0)
    assert len(one.holes()[1]) == 1
    assert one.ledger.whole(schema)


def test_replay_is_cut_in_its_middle(life):
    faults = [Fault("fin", after_records=200), Fault("rst", session=1, after_replayed=150)]
    one = life(*faults, seconds=30)
    gaps, recovered = one.holes()
    assert [gap["first"] for gap in gaps] == [gaps[0]["first"]] * 2
    assert len(recovered) == 1
    assert recovered[0]["last"] == gaps[1]["last"]
    assert one.ledger.whole("mbp-1")


def test_replay_leaves_out_what_had_come_before(life):
    """The gateway's word that it is complete is no proof: the gap stays open."""
    faults = [
        Fault("fin", after_records=200),
        Fault("omit", session=1, after_replayed=100, count=10_000),
    ]
    one = life(*faults, seconds=30)
    assert len(one.holes()[0]) == 1
    assert one.holes()[1] == []
    assert one.positions.known < 200


def test_replay_that_the_gateway_keeps_no_more(life):
    faults = [Fault("fin", after_records=200), Fault("aged_out", session=1)]
    one = life(*faults, seconds=30)
    assert endings(one) == [Ending.CLOSED, Ending.AGED_OUT]
    assert [request.start_ns is None for request in one.core.sessions[2].requests] == [True]
    assert one.holes()[1] == []
    assert len(one.begun) == 3
    assert len(one.holes()[0]) == 1  # what the refused session has missed, too


def test_hole_too_long_for_a_replay(life):
    one = life(
        Fault("weekly_restart", after_records=50, seconds=60.0), seconds=120, replay_limit_s=30.0
    )
    assert one.core.sessions[-1].requests[0].start_ns is None
    assert len(one.holes()[0]) == 1
    assert one.holes()[1] == []


def test_nobody_says_which_replay_is_complete(life, monkeypatch):
    """Then records of the present do, ten seconds after the session's begin."""
    from mdfeedd.sim.databento.session import Session

    told = Session.system
    monkeypatch.setattr(
        Session,
        "system",
        lambda self, code, text: told(self, code, "Finished" if code == 3 else text),
    )
    one = life(Fault("fin", after_records=100), seconds=5)
    assert one.holes()[1] == []
    one.run(20)
    recovered = one.holes()[1]
    assert len(recovered) == 1
    tick = one.ticks()[recovered[0]["at"]]
    assert 10 * SECOND <= tick["ts_recv"] - one.begun[1].at_ns <= 12 * SECOND


def test_start_in_a_session_that_is_on_is_ignored(life, ledger):
    one = life()
    session = one.gateway
    session.receive(
        b"schema=mbp-1|stype_in=raw_symbol|symbols=ESZ6|start=1|id=9|is_last=1\n", one.now_ns
    )
    one.run(10)
    assert session.account.requests[-1].late
    assert not any(sent.replayed for sent in session.account.sent)
    ledger(one).check()


@pytest.fixture
def late(rig, ledger):
    """A feed that begins after a minute of market, with a start in the past."""

    def run(*faults, start, recovery="replay", seconds=20):
        market = Market(3, schemas=["mbp-1"], rate=20.0)
        market.run_until(market.start_ns + 60 * SECOND)
        if start:
            start = market.start_ns + start * SECOND
        some = Subscription("mbp-1", ("ALL_SYMBOLS",), recovery=recovery, start=str(start))
        one = rig(GatewayCore(market, Script(faults)), DatabentoOptions("GLBX.MDP3", (some,)))
        one.now_ns = one.due_ns = market.start_ns + 60 * SECOND
        one.run(seconds)
        one.ledger = ledger(one)
        one.ledger.check_records()
        one.ledger.check_gaps_told()
        one.asked = {i for i, r in enumerate(one.ledger.truth["mbp-1"]) if r.key_ns >= start}
        return one

    return run


@pytest.mark.parametrize("start", [0, 10])
def test_begin_in_the_past(late, start):
    one = late(Fault("rst", after_replayed=300), start=start)
    assert one.ledger.published["mbp-1"] == one.asked
    assert len(one.holes()[0]) == len(one.holes()[1]) == 1
    flagged = one.ticks()["flags"] & Flag.REPLAYED != 0
    assert 300 < flagged.sum() < len(flagged)


@pytest.mark.parametrize("start", [0, 10])
def test_begin_in_the_past_is_cut_and_not_asked_for_again(late, start):
    one = late(Fault("rst", after_replayed=300), start=start, recovery="natural")
    requests = [account.requests[0].start_ns is None for account in one.core.sessions]
    assert requests == [False, True]
    gap = one.holes()[0][0]
    missing = one.asked - one.ledger.published["mbp-1"]
    truth = one.ledger.truth["mbp-1"]
    assert len(missing) > 300
    assert all(gap["first"] <= truth[i].due_ns <= gap["last"] for i in missing)


@pytest.mark.parametrize("at", [0, 1, 37, 100, 101])
def test_killed_within_a_replay(life, rig, ledger, at):
    core = GatewayCore(
        Market(3, schemas=["mbp-1"], rate=100.0), Script((Fault("fin", after_records=200),)),
        habits=Habits(chunk_records=1),
    )  # fmt: skip
    one = rig(core, rig.options("mbp-1", recovery="replay"))
    one.run_until_replayed(1, 150 + at)
    assert core.sessions[1].sent[-1].replayed
    one.kill()
    one.start()
    one.run(20)
    checked = ledger(one).check()
    assert [begun.reason for begun in one.begun[1:]] == [GapReason.DISCONNECT, GapReason.RESTART]
    assert checked.whole("mbp-1")
    assert len(one.holes()[1]) == 1


# ------------------------------------------------------------------------------------------------- mbo


def test_books_of_orders_are_right_again_after_a_snapshot(life):
    one = life(
        Fault("rst", after_records=300), schemas=("mbo",), market={"rate": 60.0, "publishers": 2}
    )
    gaps, recovered = one.holes()
    assert lines(gaps) == [(1, GapReason.DISCONNECT)]
    ticks = one.ticks()
    books = {i for i in ticks["instrument_id"][: gaps[0]["at"]].tolist() if i}
    assert {hole["instrument"] for hole in recovered} >= books
    assert len({hole["instrument"] for hole in recovered}) == len(recovered)
    for hole in recovered:
        mine = ticks[gaps[0]["at"] :][ticks["instrument_id"][gaps[0]["at"] :] == hole["instrument"]]
        told = int(np.flatnonzero(mine["kind"] == Kind.RECOVERED)[0])
        after = mine[told:]
        assert not (after["flags"][after["kind"] == Kind.QUOTE] & Flag.STALE).any()
        last = after[after["kind"] == Kind.QUOTE].view(QUOTE)[-1]
        of = one.reader.instruments[hole["instrument"]]
        touch = one.core.market.touch(of.vendor_id, of.publisher_id)
        assert (last["bid_price"], last["ask_price"]) == touch[:2]


def test_quotes_of_orders_without_a_snapshot_are_stale_until_the_book_is_cleared(life):
    some = Subscription("mbo", ("ALL_SYMBOLS",), recovery="natural")
    one = life(Fault("rst", after_records=300), schemas=(some,), market={"rate": 60.0})
    gap = one.holes()[0][0]
    ticks = one.ticks()[gap["at"] + 1 :]
    for instrument in np.unique(ticks["instrument_id"]).tolist():
        mine = ticks[ticks["instrument_id"] == instrument]
        cleared = np.cumsum(mine["kind"] == Kind.CLEAR) > 0
        stale = mine["flags"] & Flag.STALE != 0
        quotes = mine["kind"] == Kind.QUOTE
        assert (quotes & ~cleared).any()
        assert (stale == ~cleared)[quotes].all()
    assert one.holes()[1] == []
