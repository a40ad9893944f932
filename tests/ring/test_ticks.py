"""Ticks made quickly are those that `tick_from_record` says."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from mdfeedd.ring._ticks import Ticks
from mdfeedd.tick import QUOTE, TICK, TRADE, Kind, Side, Tick, tick_from_record


class Names:
    feed = "cme"

    def symbol(self, instrument_id):
        return f"#{instrument_id}"


def records(n, kinds=tuple(Kind)):
    rows = np.zeros(n, QUOTE)
    rows["seq"] = np.arange(1, n + 1)
    rows["kind"] = np.resize(np.array(kinds, np.uint8), n)
    rows["side"] = np.arange(n) % 3
    rows["flags"] = np.arange(n) % 1024
    rows["instrument_id"] = np.arange(n) % 7
    rows["bid_price"], rows["ask_price"] = np.arange(n) - n // 2, 2**63 - 1
    return rows.view(TICK)


@settings(max_examples=60, deadline=None)
@given(nps.arrays(np.uint8, st.integers(1, 6).map(lambda n: 64 * n)))
def test_any_record_of_a_known_kind(raw):
    ticks = raw.view(TICK)
    kinds = np.array(list(Kind), np.uint8)
    ticks["kind"] = kinds[ticks["kind"] % len(kinds)]
    ticks["side"] %= 3
    expected = [
        tick_from_record(ticks[i : i + 1], f"#{ticks['instrument_id'][i]}", "cme")
        for i in range(len(ticks))
    ]
    made = list(Ticks(ticks, Names()))
    assert made == expected
    assert [repr(tick) for tick in made] == [repr(tick) for tick in expected]
    assert {type(tick.seq) for tick in made} == {int}


def test_it_is_a_tick_like_any_other():
    (tick,) = Ticks(records(1, [Kind.QUOTE]), Names())
    assert type(tick) is Tick
    assert hash(tick) == hash(tick_from_record(records(1, [Kind.QUOTE]), "#0", "cme"))
    assert tick.ask_price is None
    assert tick.side is Side.NONE
    with pytest.raises(AttributeError):
        tick.size = 3


def test_trade():
    trade = np.zeros(1, TRADE)
    trade["kind"], trade["price"], trade["size"], trade["trade_id"] = Kind.TRADE, 5, 6, 7
    (tick,) = Ticks(trade.view(TICK), Names())
    assert (tick.price, tick.size, tick.trade_id, tick.bid_price) == (5, 6, 7, None)


def test_length_is_known_on_the_way():
    ticks = Ticks(records(3), Names())
    assert ticks.__length_hint__() == 3
    next(ticks)
    assert ticks.__length_hint__() == 2
    assert len(list(ticks)) == 2
    assert list(ticks) == []


def test_codes_of_a_newer_writer_are_handed_over_as_elsewhere():
    for field, code in (("kind", 99), ("side", 9)):
        rows = records(1, [Kind.QUOTE])
        rows[field] = code
        tick = next(Ticks(rows, Names()))
        assert getattr(tick, field) == code
        assert getattr(tick, field).name == f"#{code}"


@pytest.mark.parametrize(
    "wrong", [records(4)[::2], records(4).view(QUOTE), [1], records(4).reshape(2, 2)]
)
def test_other_arrays_are_refused(wrong):
    with pytest.raises(TypeError, match="ticks are made of an array"):
        Ticks(wrong, Names())


def test_nothing_is_left_behind():
    rows = records(1000)
    list(Ticks(rows, Names()))
    gc.collect()
    before, count = sys.getrefcount(Kind.QUOTE), len(gc.get_objects())
    for _ in range(50):
        list(Ticks(rows, Names()))
    gc.collect()
    assert abs(sys.getrefcount(Kind.QUOTE) - before) < 50
    assert abs(len(gc.get_objects()) - count) < 500


def test_records_live_as_long_as_they_are_looked_at():
    ticks = Ticks(records(1000, [Kind.QUOTE]), Names())
    gc.collect()
    assert [tick.seq for tick in ticks] == list(range(1, 1001))
