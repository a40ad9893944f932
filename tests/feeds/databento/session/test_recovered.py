"""RECOVERED is said of what came again, and of nothing else."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.feeds.databento.session.live import Now
from mdfeedd.sim.databento.core import GatewayCore
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import Fault, Script

SECOND = 1_000_000_000
MUTE = Fault("rst", session=0, at="described")
CUT = Fault("fin", session=1, after_records=100)
SLOW = Fault("late_open", session=1, seconds=3.0)
NO_ACK = Fault("no_ack", session=None)


def gateway(*faults, schemas=("mbp-1",), instruments=4, seed=3):
    market = Market(seed, instruments=instruments, schemas=schemas, rate=20.0)
    return GatewayCore(market, Script(faults))


def replays(symbols, schemas=("mbp-1",)):
    some = tuple(Subscription(schema, symbols, recovery="replay") for schema in schemas)
    return DatabentoOptions("GLBX.MDP3", some, heartbeat_s=10)


def starts_of(one):
    return [[r.start_ns is not None for r in s.requests] for s in one.core.sessions]


def forgetful(rig, *faults, schemas=("mbp-1",)):
    """Of the process before nothing is left but the time at which it ended, five seconds ago."""
    one = rig(gateway(*faults, schemas=schemas), replays(("ALL_SYMBOLS",), schemas))
    left_ns = one.now_ns
    one.kill()
    one.now_ns += 5 * SECOND
    one.start()
    one.positions.known_ns = left_ns
    one.run(40)
    return one, left_ns


def test_what_came_to_a_process_without_positions_stays_missing(rig):
    """Its first session ends before anything has begun: the second can still not ask for what is missing."""
    one, left_ns = forgetful(rig, MUTE, CUT)
    assert starts_of(one) == [[False], [False], [True]]
    (first, second), (recovered,) = one.holes()
    assert (first["first"], first["last"]) == (left_ns, one.begun[1].at_ns)
    assert (recovered["first"], recovered["last"]) == (second["first"], second["last"])
    assert second["first"] > first["last"]


def test_what_came_without_a_position_before_all_was_told_is_not_asked_for_again(rig, ledger):
    """One subscription brings records while the other has not begun, and begins after them or never."""
    for seconds in (5.0, 9.0):
        cut = Fault("fin", session=1, after_s=seconds)
        one, left_ns = forgetful(rig, MUTE, SLOW, cut, schemas=("mbp-1", "bbo-1s"))
        gaps, recovered = one.holes()
        held = ledger(one)
        held.check_records()
        held.check_missing()
        held.check_recovered()
        assert {gap["line"] for gap in gaps if gap["first"] == left_ns} == {1, 2}
        assert all(hole["first"] > left_ns for hole in recovered)


@pytest.mark.parametrize("silence", [(), (NO_ACK,)], ids=["told", "by the records alone"])
def test_first_session_by_a_clock_that_is_ahead(rig, ledger, silence):
    """The next one replays what was captured before that clock would have had it asked for."""
    cut = Fault("fin", session=0, after_records=20)
    one = rig(gateway(cut, *silence), replays(("ALL_SYMBOLS",)))
    one.now = lambda: Now(one.now_ns, one.now_ns + 5 * SECOND)
    one.run(30)
    held = ledger(one)
    held.check_records()
    assert held.whole("mbp-1")
    assert len(one.holes()[1]) == 1


@pytest.mark.parametrize("killed", [False, True])
def test_clock_that_was_ahead_in_a_session_that_heard_nothing(rig, ledger, killed):
    """Nobody knows what that has cost. What has come from then on comes again after a disconnect."""
    one = rig(gateway(MUTE, CUT), replays(("ALL_SYMBOLS",)))
    one.now = lambda: Now(one.now_ns, one.now_ns + 60 * SECOND)
    one.run(0.5)
    if killed:
        one.kill()
        one.start()
    one.run(30)
    held = ledger(one)
    held.check_records()
    truth = enumerate(held.truth["mbp-1"])
    assert held.published["mbp-1"] >= {i for i, r in truth if r.due_ns > one.begun[1].at_ns}
    (_, second), (recovered,) = one.holes()
    assert recovered["first"] == second["first"]


def ended(one):
    """The session is over, and the next may begin."""
    one._ended(SessionEnd(Ending.PLANNED, "for other subscriptions"))


@pytest.mark.parametrize("killed", [False, True])
def test_instruments_that_have_other_numbers_are_not_recovered(rig, caplog, killed):
    one = rig(gateway(instruments=["ESZ6", "NQZ6", "CLZ6"]), replays(("ESZ6", "NQZ6")))
    one.run(10)
    if killed:
        one.kill()
        one.start()
    else:
        ended(one)
    one.core = gateway(instruments=["CLZ6", "ZNH7", "NQZ6", "ESZ6"], seed=4)
    one.run(20)
    assert starts_of(one) == [[True]]
    gaps, recovered = one.holes()
    assert (len(gaps), recovered) == (1, [])
    assert "2 of its instruments have other numbers now; the gap stays open" in caplog.text


def test_what_is_asked_for_no_more_need_not_come_again(rig, ledger):
    one = rig(gateway(), replays(("ESZ6", "NQZ6")))
    one.run(10)
    ended(one)
    one.options = replays(("NQZ6",))
    one.run(10)
    assert starts_of(one) == [[False], [True]]
    gaps, recovered = one.holes()
    assert len(gaps) == len(recovered) == 1
