"""The three rings of a feed: one owner, the same ids and names in all."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.cme.rings import COMPARED_AT_ONCE, NEW_AT_ONCE, Rings
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader, RingBusy, Writer
from mdfeedd.tick import DEPTH, GAP, ORDER, GapReason, Kind


@pytest.fixture
def plan(shm_dir):
    return RingPlan("cme", 256, 2, 16_384, shm_dir)


def names(plan, ring, dtype):
    with Reader(ring, dtype=dtype, directory=plan.directory) as reader:
        return {one.instrument_id: one.symbol for one in reader.instruments}


def test_only_the_rings_asked_for_are_made(plan):
    with Rings("cme", plan, depth=False, orders=True) as rings:
        assert rings.depth is None
        assert rings.orders is not None
        assert rings.ticks.epoch == 1


def test_second_writer_of_any_of_them_is_refused_and_lets_go_of_the_rest(plan):
    with Writer("cme.orders", 256, ORDER, directory=plan.directory), pytest.raises(RingBusy):
        Rings("cme", plan, depth=True, orders=True)
    Rings("cme", plan, depth=True, orders=True).close()


def test_restart_is_told_first(plan):
    with Rings("cme", plan, depth=False, orders=False) as rings:
        rings.beat()
    with (
        Rings("cme", plan, depth=False, orders=False),
        Reader("cme", start="oldest", directory=plan.directory) as reader,
    ):
        (gap,) = reader.read(timeout=5).records.view(GAP)
    assert (gap["kind"], gap["reason"]) == (Kind.GAP, GapReason.RESTART)
    assert gap["first_missing"] <= gap["last_missing"]


def test_new_sequence_is_told_where_instruments_are_chosen_by_name(plan):
    """Data of those that are new may be missing until their definitions have come: as at the first start."""
    with (
        Rings("cme", plan, depth=False, orders=False, channels=(310, 318), by_name=True) as rings,
        Reader("cme", start="oldest", directory=plan.directory) as reader,
    ):
        rings.tell_anew(310)
        assert [gap["line"] for gap in reader.read(timeout=5).records.view(GAP)] == [310, 318]
        rings.tell_return()
        reader.read(timeout=5)
        for channel in (318, 318, 310):
            rings.tell_anew(channel)
        assert rings.is_away
        told = reader.read(timeout=5).records.view(GAP)
        assert [(gap["kind"], gap["line"]) for gap in told] == [(Kind.GAP, 318), (Kind.GAP, 310)]
        rings.tell_return()
        assert not rings.is_away
        told = reader.read(timeout=5).records.view(GAP)
        assert [(gap["kind"], gap["line"]) for gap in told] == [
            (Kind.RECOVERED, 318),
            (Kind.RECOVERED, 310),
        ]


def test_new_sequence_of_all_instruments_is_no_gap(plan):
    with Rings("cme", plan, depth=False, orders=False, channels=(310,)) as rings:
        rings.tell_anew(310)
        assert not rings.is_away
        assert rings.ticks.next_seq == 1


def test_gap_of_a_restart_begins_where_the_process_before_was_in_doubt(plan):
    with Rings("cme", plan, depth=False, orders=False) as rings:
        rings.beat()
        rings.ticks.counters.set("doubted_since_ns", 1_790_000_000_000_000_000)
    with (
        Rings("cme", plan, depth=False, orders=False),
        Reader("cme", start="oldest", directory=plan.directory) as reader,
    ):
        (gap,) = reader.read(timeout=5).records.view(GAP)
    assert gap["first_missing"] == 1_790_000_000_000_000_000


def test_instruments_are_the_same_in_all_rings(plan):
    count = NEW_AT_ONCE + 2
    with Rings("cme", plan, depth=True, orders=True) as rings:
        ids = [rings.ticks.instruments.add(f"S{n}", vendor_id=n) for n in range(count)]
        rings.mirror()
        assert len(names(plan, "cme.depth", DEPTH)) == NEW_AT_ONCE
        rings.mirror()
        wanted = {own: f"S{n}" for n, own in enumerate(ids)}
        assert names(plan, "cme.depth", DEPTH) == wanted
        assert names(plan, "cme.orders", ORDER) == wanted
        assert rings.symbol(ids[-1]) == f"S{count - 1}"
        assert rings.symbol(0) == rings.symbol(ids[-1] + 1) == ""


def test_changed_instrument_is_changed_everywhere_after_one_round(plan):
    with Rings("cme", plan, depth=True, orders=False) as rings:
        for n in range(COMPARED_AT_ONCE + 1):
            rings.ticks.instruments.add(f"S{n}")
        rings.mirror(whole=True)
        rings.ticks.instruments.add(f"S{COMPARED_AT_ONCE}", tick_size=5)
        for _ in range(2):
            rings.mirror()
        with Reader("cme.depth", dtype=DEPTH, directory=plan.directory) as reader:
            assert [one.tick_size for one in reader.instruments][-1] == 5
