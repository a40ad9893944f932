"""`Merger`, without rings or clocks: what goes when, in which order, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.strategy import merge
from mdfeedd.strategy.merge import Merger
from mdfeedd.tick import TICK, TIME_UNDEF, Kind

IDLE = [False, False]
LIVE = [True, True]


def times(released):
    return released.records["ts_event"].tolist()


def test_what_is_there_is_merged_and_nothing_waits_without_a_hold(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(0, make.at_times([1, 4, 6]), 0.0)
    merger.add(1, make.at_times([2, 3, 9]), 0.0)
    out = merger.release(100, 0.0, IDLE, LIVE)
    assert times(out) == [1, 2, 3, 4, 6, 9]
    assert out.feeds.tolist() == [0, 1, 1, 0, 0, 1]
    assert out.records.dtype == TICK
    assert (out.late, merger.held) == (0, 0)


def test_equal_times_go_in_the_order_of_the_feeds(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(1, make.at_times([5, 5]), 0.0)
    merger.add(0, make.at_times([5]), 0.0)
    assert merger.release(9, 0.0, IDLE, LIVE).feeds.tolist() == [0, 1, 1]


def test_feed_with_more_to_read_has_its_say(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(0, make.at_times([1, 5]), 0.0)
    merger.add(1, make.at_times([2, 9]), 0.0)
    assert times(merger.release(100, 0.0, [True, False], LIVE)) == [1, 2, 5]
    merger.add(0, make.at_times([7]), 0.0)
    assert times(merger.release(100, 0.0, IDLE, LIVE)) == [7, 9]


def test_no_more_than_asked_for_and_the_rest_stays(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(0, make.at_times([1, 4, 6]), 0.0)
    merger.add(1, make.at_times([2, 3, 9]), 0.0)
    got = [times(merger.release(2, 0.0, IDLE, LIVE)) for _ in range(4)]
    assert got == [[1, 2], [3, 4], [6, 9], []]


def test_hold_waits_for_a_silent_feed_and_not_longer(make):
    merger = Merger(2, "venue", 0.5)
    merger.add(0, make.at_times([10, 20]), 100.0)
    assert not len(merger.release(9, 100.2, IDLE, LIVE).records)
    assert merger.due_s(100.2) == pytest.approx(0.3)
    merger.add(1, make.at_times([15]), 100.3)
    assert times(merger.release(9, 100.3, IDLE, LIVE)) == [10, 15]
    assert merger.due_s(100.3) == pytest.approx(0.2)
    assert times(merger.release(9, 100.5, IDLE, LIVE)) == [20]
    assert merger.due_s(100.5) is None


def test_feed_whose_writer_is_gone_is_not_waited_for(make):
    merger = Merger(2, "venue", 0.5)
    merger.add(0, make.at_times([10]), 0.0)
    assert times(merger.release(9, 0.0, IDLE, [True, False])) == [10]


def test_late_records_are_given_out_at_once_and_counted(make):
    merger = Merger(2, "venue", 0.5)
    merger.add(0, make.at_times([10, 20]), 0.0)
    assert times(merger.release(9, 1.0, IDLE, LIVE)) == [10, 20]
    merger.add(1, make.at_times([12, 20, 21]), 1.1)
    merger.add(0, make.at_times([30]), 1.1)
    out = merger.release(9, 1.1, IDLE, LIVE)
    assert (times(out), out.late) == ([12, 20, 21], 1)


def test_a_feeds_own_order_stays_whatever_its_times_say(make):
    merger = Merger(2, "venue", 0.0)
    first = make.at_times([50, 10, TIME_UNDEF, 60])
    first["kind"][2] = Kind.GAP
    merger.add(0, first, 0.0)
    merger.add(1, make.at_times([20, 55]), 0.0)
    out = merger.release(9, 0.0, IDLE, LIVE)
    assert times(out) == [20, 50, 10, TIME_UNDEF, 55, 60]
    assert out.late == 0


def test_venue_time_far_after_the_arrival_is_not_believed(make):
    merger = Merger(2, "venue", 0.0)
    ahead = 10**18
    merger.add(0, make.at_times([ahead, 7], recv=[5, 8]), 0.0)
    late = 5 + merge.MAX_AHEAD_NS + 1
    merger.add(1, make.at_times([6, late], recv=[6, late]), 0.0)
    assert times(merger.release(9, 0.0, IDLE, LIVE)) == [6, ahead, 7, late]


def test_loss_is_told_with_the_first_record_after_it(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(0, make.at_times([1, 2]), 0.0)
    merger.add(0, make.at_times([8, 9]), 0.0, lost=5)
    merger.add(1, make.at_times([3, 7]), 0.0)
    first = merger.release(9, 0.0, IDLE, LIVE)
    assert (times(first), first.lost) == ([1, 2], (0, 0))
    second = merger.release(9, 0.0, IDLE, LIVE)
    assert (times(second), second.lost) == ([3, 7, 8, 9], (5, 0))


def test_loss_without_records_is_told_alone(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(0, make.at_times([]), 0.0, lost=3)
    merger.add(0, make.at_times([]), 0.0, lost=4, anew=True)
    out = merger.release(9, 0.0, IDLE, LIVE)
    assert (len(out.records), out.lost, out.anew) == (0, (7, 0), (True, False))
    assert merger.release(9, 0.0, IDLE, LIVE).lost == (0, 0)


def test_another_ring_begins_with_a_release_of_its_own(make):
    merger = Merger(2, "recv", 0.0)
    merger.add(0, make.at_times([1, 2]), 0.0)
    merger.add(0, make.at_times([3]), 0.0, anew=True)
    assert merger.release(9, 0.0, IDLE, LIVE).anew == (False, False)
    out = merger.release(9, 0.0, IDLE, LIVE)
    assert (times(out), out.anew) == ([3], (True, False))


def test_first_record_that_waits(make):
    merger = Merger(2, "recv", 0.0)
    assert merger.first_held_seq(0) is None
    merger.add(0, make.at_times([1, 2]), 0.0)
    assert merger.first_held_seq(0) == 1
    merger.release(1, 0.0, IDLE, LIVE)
    assert merger.first_held_seq(0) == 2


def test_feed_that_has_its_part_of_the_room_waits_no_longer(make, monkeypatch):
    monkeypatch.setattr(merge, "MAX_HELD", 20)
    merger = Merger(2, "venue", 5.0)
    merger.add(0, make.at_times(range(9)), 0.0)
    assert merger.wants(0, 1)
    assert not len(merger.release(99, 0.0, IDLE, LIVE).records)
    merger.add(0, make.at_times([9]), 0.0)
    assert not merger.wants(0, 1)
    assert len(merger.release(99, 0.0, IDLE, LIVE).records) == 10


def test_one_feed_alone_goes_the_same_way(make):
    merger = Merger(2, "recv", 0.0)
    out = merger.alone(1, make.at_times([5, 3, 9]), lost=4, anew=True)
    assert (times(out), out.feeds.tolist(), out.late) == ([5, 3, 9], [1, 1, 1], 0)
    assert (out.lost, out.anew) == ((0, 4), (False, True))
    out = merger.alone(0, make.at_times([4, 9, 10]), lost=0, anew=False)
    assert (times(out), out.late, out.lost) == ([4, 9, 10], 1, (0, 0))
    merger.add(1, make.at_times([8]), 0.0)  # by its feed's order it is after 9
    merger.add(0, make.at_times([11]), 0.0)
    out = merger.release(9, 0.0, IDLE, LIVE)
    assert (times(out), out.late) == ([8, 11], 1)


@st.composite
def stories(draw):
    """What two feeds bring, in which order, and when releases are asked for, of how many."""
    steps = draw(
        st.lists(
            st.one_of(
                st.tuples(
                    st.integers(0, 1),
                    st.lists(st.integers(1, 60), max_size=6),
                    st.integers(0, 2),
                ),
                st.tuples(st.just("release"), st.integers(1, 7), st.booleans()),
            ),
            max_size=30,
        )
    )
    return steps, draw(st.sampled_from(["recv", "venue"])), draw(st.sampled_from([0.0, 1.0]))


@settings(deadline=None, max_examples=300)
@given(stories())
def test_every_record_once_in_its_feeds_order_and_sorted_but_for_what_is_late(story):
    steps, order, hold_s = story
    merger = Merger(2, order, hold_s)
    brought, lost, came, told = ([], []), [0, 0], ([], []), [0, 0]
    gone, now_s = -(2**63), 0.0

    def release(limit, now_s, more, live):
        nonlocal gone
        out = merger.release(limit, now_s, more, live)
        keys = []
        for record, feed in zip(out.records, out.feeds.tolist(), strict=True):
            came[feed].append(int(record["seq"]))
            keys.append(int(record["venue_seq"]))  # where its effective key was written
        assert keys == sorted(keys)
        assert out.late == sum(key < gone for key in keys)
        assert len(keys) <= limit
        gone = max([gone, *keys])
        for feed in (0, 1):
            told[feed] += out.lost[feed]
        return len(keys)

    high = [0, 0]
    for what, amount, extra in steps:
        now_s += 0.3
        if what == "release":
            release(amount, now_s, [extra, False], LIVE)
            continue
        records = np.zeros(len(amount), TICK)
        records["ts_event"] = records["ts_recv"] = amount
        for place, time in enumerate(amount):
            high[what] = max(high[what], time)
            records["venue_seq"][place] = high[what]
            brought[what].append(len(brought[what]) + 1)
            records["seq"][place] = len(brought[what])
        if len(amount) or extra:
            merger.add(what, records, now_s, lost=extra)
            lost[what] += extra
    for _ in range(200):
        if not release(5, now_s + 100, IDLE, LIVE) and not merger.held:
            break
    release(5, now_s + 100, IDLE, LIVE)
    assert came == brought
    assert told == lost
    assert merger.held == 0
