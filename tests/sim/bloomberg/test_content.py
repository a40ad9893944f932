"""Values of messages, and the clocks."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import threading
from decimal import Decimal

import pytest

from mdfeedd.sim.bloomberg import SystemClock, VirtualClock
from mdfeedd.sim.bloomberg.content import FixedOffset, Special, as_python, datetime_of


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


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 11, 29, 12, 30, 15, 123456, FixedOffset(-330)),
        dt.datetime(2026, 11, 29, 12, 30, 15, 123456),  # noqa: DTZ001 - the published form without a zone
        dt.time(12, 30, 15, 7, FixedOffset(60)),
        dt.time(12, 30),
        {"b": [1.5, {"c": None}]},
    ],
    ids=str,
)
def test_python_form_is_made_anew(value):
    content = {"a": 1, "v": value}
    made, again = as_python(content), as_python(content)
    assert made == again == content
    assert made is not again
    assert made["v"] is not again["v"]
    if isinstance(value, dt.datetime | dt.time) and value.tzinfo is not None:
        assert made["v"].utcoffset() == value.utcoffset()
        assert made["v"].tzinfo is not again["v"].tzinfo


def test_special_values_in_python():
    content = {"a": Special.NO_PARTS, "b": Special.NULL_SEQUENCE, "d": dt.date(2026, 11, 29)}
    assert as_python(content) == {"a": None, "b": {}, "d": dt.date(2026, 11, 29)}
    with pytest.raises(Exception, match="DECIMAL"):
        as_python({"a": Decimal(1)})


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
