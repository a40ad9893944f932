"""Prices, sizes and times, against arithmetic that is slow and obvious."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdfeedd.feeds.bloomberg.codec.fixed import EXACT_BELOW, ValueUnreadable, fixed, size, trade_id
from mdfeedd.feeds.bloomberg.codec.times import DAY_NS, FUTURE_NS, unix_ns
from mdfeedd.tick import PRICE_UNDEF, to_fixed

SECOND = 1_000_000_000
UTC = dt.UTC


@given(st.integers(-(10**18), 10**18), st.integers(0, 9))
def test_every_decimal_that_a_float_can_tell_is_exact(number, decimals):
    text = Decimal(number).scaleb(-decimals)
    value = float(text)
    if Decimal(repr(value)) != text or abs(text) >= Decimal("9e9"):
        return  # the float is another number
    assert fixed(value) == to_fixed(text)


@pytest.mark.parametrize(
    "whole", [0, 1, 4502, 3_999_999, 4_000_000, 4_000_001, 9_999_999, 9_223_372_035]
)
def test_quarters_at_every_magnitude(whole):
    for quarter in (0, 25, 50, 75):
        assert fixed(float(f"{whole}.{quarter:02d}")) == whole * SECOND + quarter * 10_000_000
        assert fixed(-float(f"{whole}.{quarter:02d}")) == -(whole * SECOND + quarter * 10_000_000)


def test_just_above_the_limit_of_multiplication_it_would_miss():
    """The limit is there for a reason: some decimals above come out wrong by multiplication."""
    missed = 0
    for n in range(5000):
        text = f"{int(EXACT_BELOW) + 80 * n}.{(n * 123_456_789 + 987_654_321) % 10**9:09d}"
        value = float(text)
        exact = int((Decimal(repr(value)) * SECOND).to_integral_value(ROUND_HALF_EVEN))
        missed += round(value * 1e9) != exact
        assert fixed(value) == exact
    assert missed


@pytest.mark.parametrize("value", ["1.0", b"1", True, [], {}, 9.3e9, -9.3e9, 10**10])
def test_price_that_is_none(value):
    with pytest.raises(ValueUnreadable):
        fixed(value)


def test_price_that_is_null():
    assert fixed(None) == PRICE_UNDEF
    assert fixed(float("-inf")) == PRICE_UNDEF
    assert fixed(Decimal("NaN")) == PRICE_UNDEF


@pytest.mark.parametrize(("value", "wanted"), [(None, 0), (0, 0), (7, 7), (7.9, 7), (2**70, 2**70), (float("nan"), 0), (Decimal(3), 3)])  # fmt: skip
def test_size(value, wanted):
    assert size(value) == wanted


@pytest.mark.parametrize("value", [-1, -0.5, float("inf"), "7", True, []])
def test_size_that_is_none(value):
    with pytest.raises(ValueUnreadable):
        size(value)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("0", 0), ("007", 7), ("1" * 21, 0), ("", 0), (" 7", 0), ("+7", 0), ("7.0", 0), (7, 7), (-7, 0), (2**64, 0), (True, 0), (None, 0)],
)  # fmt: skip
def test_trade_number(value, wanted):
    assert trade_id(value) == wanted


def ns(when: dt.datetime) -> int:
    since = when - dt.datetime(1970, 1, 1, tzinfo=UTC)
    return (since // dt.timedelta(microseconds=1)) * 1000


@given(
    st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2050, 1, 1)),  # noqa: DTZ001
    st.integers(-43_199_000_000, 43_199_000_000),
    st.integers(-14 * 60, 14 * 60),
)
def test_time_of_day_gets_the_date_around_its_arrival(naive, late_us, offset_minutes):
    recv = naive.replace(tzinfo=UTC)
    event = recv - dt.timedelta(microseconds=late_us)
    zone = dt.timezone(dt.timedelta(minutes=offset_minutes))
    assert unix_ns(event.astimezone(zone).timetz(), ns(recv)) == ns(event)
    assert unix_ns(event.time(), ns(recv)) == ns(event)


@pytest.mark.parametrize(
    ("clock", "recv", "wanted"),
    [
        ("23:59:59.900000", "2026-03-03T00:00:00.100000", "2026-03-02T23:59:59.900000"),
        ("00:00:00.100000", "2026-03-02T23:59:59.900000", "2026-03-03T00:00:00.100000"),
        ("00:00:00", "2026-03-03T00:00:00", "2026-03-03T00:00:00"),
        ("23:45:00", "2026-01-01T00:00:01", "2025-12-31T23:45:00"),
        ("23:59:59", "2024-03-01T00:00:01", "2024-02-29T23:59:59"),
    ],
)
def test_time_of_day_at_midnight(clock, recv, wanted):
    at = dt.datetime.fromisoformat(recv).replace(tzinfo=UTC)
    expected = dt.datetime.fromisoformat(wanted).replace(tzinfo=UTC)
    assert unix_ns(dt.time.fromisoformat(clock), ns(at)) == ns(expected)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Australia/Sydney"])
@pytest.mark.parametrize("day", ["2026-03-08", "2026-03-29", "2026-10-04", "2026-10-25", "2026-11-01"])  # fmt: skip
def test_time_of_day_with_the_offset_of_the_hour_around_daylight_saving(zone, day):
    """The SDK's offsets are fixed ones: each time carries that of its own moment."""
    start = dt.datetime.fromisoformat(day).replace(tzinfo=UTC) - dt.timedelta(hours=14)
    for half_hours in range(56):
        event = start + dt.timedelta(minutes=30 * half_hours)
        offset = event.astimezone(ZoneInfo(zone)).utcoffset()
        assert offset is not None
        local = event.astimezone(dt.timezone(offset))
        assert unix_ns(local.timetz(), ns(event) + 1_500_000_000) == ns(event)
        assert unix_ns(local, ns(event) + 1_500_000_000) == ns(event)


def test_stamp_without_zone_is_utc():
    when = dt.datetime(2026, 3, 2, 15, 0, 0, 123_456)  # noqa: DTZ001
    assert unix_ns(when, ns(when.replace(tzinfo=UTC))) == ns(when.replace(tzinfo=UTC))


def test_stamp_that_cannot_be_true():
    recv = ns(dt.datetime(2026, 3, 2, 15, tzinfo=UTC))
    assert unix_ns(dt.datetime(2026, 3, 3, 15, tzinfo=UTC), recv) is None
    assert unix_ns(dt.datetime(1969, 3, 3, 15, tzinfo=UTC), recv) is None
    assert unix_ns(dt.datetime(1, 1, 1), recv) is None  # noqa: DTZ001
    ahead = dt.datetime(2026, 3, 3, 3, tzinfo=UTC)
    assert unix_ns(ahead, recv) == recv + FUTURE_NS == recv + DAY_NS // 2


@pytest.mark.parametrize("value", [None, dt.date(2026, 3, 2), "15:00", 15, 1.5, {}])
def test_value_that_is_no_time(value):
    assert unix_ns(value, 1_772_463_600 * SECOND) is None
