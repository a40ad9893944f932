"""Numbers as text: exact where they must be, short where they may be."""

from __future__ import annotations

import argparse
import datetime as dt
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdfeedd.cli import units
from mdfeedd.tick import PRICE_UNDEF, TIME_UNDEF, from_fixed, to_fixed

INT64 = st.integers(TIME_UNDEF, PRICE_UNDEF - 1)


@given(INT64, st.integers(0, 9))
def test_price_is_exact_and_has_no_exponent(fixed: int, decimals: int) -> None:
    text = units.price(fixed, decimals)
    assert Decimal(text) == from_fixed(fixed)
    assert "E" not in text
    assert len(text.partition(".")[2]) >= decimals


def test_price_that_is_none() -> None:
    assert units.price(PRICE_UNDEF) == "-"


@pytest.mark.parametrize(
    ("tick", "decimals"),
    [("1", 0), ("0.25", 2), ("0.015625", 6), ("0.0000005", 7), ("0.1", 1), ("10", 0)],
)
def test_decimals_are_those_of_the_grid(tick: str, decimals: int) -> None:
    assert units.decimals_of(to_fixed(tick)) == decimals


@given(st.integers(-(2**62), 2**62))
def test_iso_time_is_that_of_the_calendar(ns: int) -> None:
    seconds, rest = divmod(ns, 10**9)
    expected = dt.datetime(1970, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None) + dt.timedelta(
        seconds=seconds
    )
    assert units.iso_time(ns) == f"{expected.isoformat()}.{rest:09d}Z"
    assert units.date(ns) == expected.date().isoformat()
    assert units.clock(ns) == units.iso_time(ns)[11:-1]


def test_times_that_are_none() -> None:
    assert units.date(TIME_UNDEF) == units.clock(TIME_UNDEF) == "-"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (870, "870 ns"),
        (999.6, "1.00 µs"),
        (84_200, "84.2 µs"),
        (999_600, "1.00 ms"),
        (1_530_000, "1.53 ms"),
        (12e9, "12.0 s"),
        (math.nan, "-"),
    ],
)
def test_duration(ns: float, text: str) -> None:
    assert units.duration(ns) == text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (3410, "3.41 kB"), (64e6, "64.0 MB"), (25.3e9, "25.3 GB")]
)
def test_size(n: float, text: str) -> None:
    assert units.size(n) == text


@pytest.mark.parametrize(
    ("n", "text"), [(9999, "9,999"), (10_000, "10.0k"), (999_600, "1.00M"), (243_300_000, "243M")]
)
def test_compact_is_at_most_six_characters(n: int, text: str) -> None:
    assert units.compact(n) == text


@given(st.integers(0, 10**12))
def test_compact_always_fits_its_column(n: int) -> None:
    assert len(units.compact(n)) <= 6


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "", "101"])
def test_number_out_of_its_limits_is_a_sentence(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r" at most 1000000000, not 'nan'$"):
        units.number(0, 1e9)("nan")
    with pytest.raises(argparse.ArgumentTypeError, match=r"^must be above 0 and at most 100"):
        units.number(0, 100)(text)


@pytest.mark.parametrize("text", ["0", "1.5", "x", "101"])
def test_whole_number_out_of_its_limits_is_a_sentence(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^must be a whole number from 1 to 100"):
        units.whole(1, 100)(text)


@pytest.mark.parametrize(("n", "text"), [(0, "0 files"), (1, "1 file"), (1200, "1,200 files")])
def test_one_of_a_thing_has_no_s(n: int, text: str) -> None:
    assert units.of(n, "file") == text
