"""Values of messages, and the clocks."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import threading
from decimal import Decimal

import pytest

from mdfeedd.sim.bloomberg import SystemClock, VirtualClock
from mdfeedd.sim.bloomberg.content import FixedOffset, Special, datetime_of, is_plain


def test_offset_is_a_zone():
    zone = FixedOffset(-330)
    assert zone == FixedOffset(-330) != FixedOffset(330)
    assert len({zone, FixedOffset(-330)}) == 1
    assert dt.datetime(2026, 11, 29, 12, tzinfo=zone).isoformat() == "2026-11-29T12:00:00-05:30"
    assert (zone.tzname(None), repr(zone)) == ("-05:30", "FixedOffset(-330)")
    assert zone.dst(None) == dt.timedelta(0)
    assert pickle.loads(pickle.dumps(zone)) == copy.deepcopy(zone) == zone


def test_nanoseconds_are_cut_to_microseconds():
    when = datetime_of(1_798_000_000_123_456_999)
    assert when.microsecond == 123_456
    assert when.utcoffset() == dt.timedelta(0)


@pytest.mark.parametrize("value", [{}, [], Decimal(1), Special.NO_PARTS, Special.NULL_SEQUENCE])
def test_content_that_is_more_than_a_copy(value):
    assert is_plain({"a": 1, "b": None, "c": "x", "d": dt.time(1)})
    assert not is_plain({"a": 1, "b": value})


def test_virtual_clock_leaps_and_never_goes_back():
    clock = VirtualClock(100)
    gate = threading.Condition()
    with gate:
        clock.wait(gate, 70)
        assert clock.now_ns() == 100
        clock.wait(gate, 500)
    clock.sleep(5)
    assert clock.now_ns() == 505
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)


def test_system_clock_waits():
    clock = SystemClock()
    gate = threading.Condition()
    with gate:
        until_ns = clock.now_ns() + 20_000_000
        while clock.now_ns() < until_ns:
            clock.wait(gate, until_ns)
    before = clock.now_ns()
    clock.sleep(1_000_000)
    assert clock.now_ns() - before >= 1_000_000
