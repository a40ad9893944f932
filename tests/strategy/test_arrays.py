"""Records as columns, and in numba and polars as their docstrings say."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd import columns
from mdfeedd.tick import BAR, DEPTH, PRICE_UNDEF, QUOTE, TICK, TIME_UNDEF, TRADE


def quotes():
    made = np.zeros(3, QUOTE)
    made["bid_price"] = [1_500_000_000, PRICE_UNDEF, -37_630_000_000]
    made["ask_price"] = [2_000_000_000, 3_000_000_000, PRICE_UNDEF]
    made["ts_event"] = [0, TIME_UNDEF, 1_000_000_000]
    made["bid_size"] = [1, 2, 3]
    return made


def test_prices_and_times():
    made = columns(quotes())
    np.testing.assert_array_equal(made["bid_price"], [1.5, np.nan, -37.63])
    assert made["ts_event"].dtype == "M8[ns]"
    assert np.isnat(made["ts_event"]).tolist() == [False, True, False]
    assert list(made) == list(QUOTE.names)
    assert all(values.flags.c_contiguous for values in made.values())


def test_prices_as_they_are():
    assert columns(quotes(), prices="fixed")["bid_price"].tolist()[0] == 1_500_000_000


def test_bytes_without_meaning_are_left_out():
    assert "payload" not in columns(np.zeros(1, TICK))
    assert "reserved" not in columns(np.zeros(1, TRADE))
    assert columns(np.zeros(2, BAR))["volume"].dtype == np.uint64
    assert columns(np.zeros(2, DEPTH))["bid_price"].shape == (2, 10)


def test_what_it_cannot_take():
    with pytest.raises(TypeError, match="structured"):
        columns(np.zeros(3))
    with pytest.raises(ValueError, match="float or fixed"):
        columns(quotes(), prices="decimal")


def test_polars_takes_the_columns():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(columns(quotes()))
    spread = frame.select(pl.col("ask_price") - pl.col("bid_price")).to_series()
    assert spread[0] == 0.5
    assert frame.schema["ts_event"] == pl.Datetime("ns")
    assert frame.schema["bid_size"] == pl.UInt32


def test_numba_takes_the_records():
    numba = pytest.importorskip("numba")

    @numba.njit
    def imbalance(rows):
        bids = asks = 0
        for row in rows:
            bids += row.bid_size
            asks += row.ask_size
        return bids - asks

    assert imbalance(quotes()) == 6
