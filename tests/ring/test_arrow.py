"""Batches as Arrow tables and pandas frames: exact, and null where there is nothing."""

from __future__ import annotations

import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.arrow import bars_to_arrow, bars_to_pandas, distinct_ids, ticks_to_arrow
from mdfeedd.tick import BAR, PRICE_UNDEF, QUOTE, TICK, TIME_UNDEF, TRADE, Kind, Side


@pytest.fixture
def batch(shm_dir):
    """A quote, a trade and a status of one instrument, a cancel of one not in the table."""
    quote, trade, other = np.zeros(1, QUOTE), np.zeros(2, TRADE), np.zeros(1, TICK)
    quote["kind"], other["kind"] = Kind.QUOTE, Kind.STATUS
    quote["instrument_id"] = other["instrument_id"] = 1
    quote["bid_price"], quote["ask_price"] = -(2**63), PRICE_UNDEF
    quote["bid_size"], quote["ask_size"] = 2**32 - 1, 0
    quote["ts_event"], quote["ts_recv"] = TIME_UNDEF, 1_700_000_000_123_456_789
    trade["kind"] = [Kind.TRADE, Kind.TRADE_CANCEL]
    trade["instrument_id"] = [1, 99]
    trade["price"] = [PRICE_UNDEF - 1, 1]
    trade["trade_id"], trade["size"], trade["side"] = 2**64 - 1, 7, [Side.SELL, Side.BUY]
    other["payload"] = b"\xff" * 24
    with (
        Writer("cme", capacity=256, directory=shm_dir) as writer,
        Reader("cme", start="oldest", directory=shm_dir) as reader,
    ):
        writer.instruments.add("Öl")
        for records in (quote, trade, other):
            writer.publish(records)
        yield reader.read()


def test_ticks_of_all_kinds_are_one_table(batch):
    table = batch.to_arrow()
    assert table.schema.field("bid_price").type == pa.decimal128(19, 9)
    assert table.schema.field("ts_recv").type == pa.timestamp("ns", "UTC")
    columns = table.to_pydict()
    assert columns["seq"] == [1, 2, 3, 4]
    assert columns["symbol"] == ["Öl", "Öl", "#99", "Öl"]
    assert columns["kind"] == ["quote", "trade", "trade_cancel", "status"]
    assert columns["bid_price"] == [Decimal("-9223372036.854775808"), None, None, None]
    assert columns["ask_price"] == [None] * 4
    assert columns["bid_size"] == [2**32 - 1, None, None, None]
    assert columns["price"] == [None, Decimal("9223372036.854775806"), Decimal("1e-9"), None]
    assert columns["trade_id"] == [None, 2**64 - 1, 2**64 - 1, None]
    assert columns["size"] == [None, 7, 7, None]
    assert columns["side"] == ["none", "sell", "buy", "none"]
    assert columns["ts_event"][0] is None
    assert table["ts_recv"].cast(pa.int64())[0].as_py() == 1_700_000_000_123_456_789


def test_pandas_keeps_prices_exact(batch):
    frame = batch.to_pandas()
    assert frame["bid_price"][0] == Decimal("-9223372036.854775808")
    assert frame["price"].isna().tolist() == [True, False, False, True]
    assert frame["ts_recv"][0].value == 1_700_000_000_123_456_789
    assert str(frame["symbol"].dtype) == "category"


def test_table_owns_its_memory(batch):
    table = batch.to_arrow()
    batch.records["seq"] = 0
    assert table["seq"].to_pylist() == [1, 2, 3, 4]


def test_no_ticks_make_an_empty_table_of_the_same_columns(batch):
    empty = ticks_to_arrow(batch.records[:0], batch.instruments)
    assert empty.num_rows == 0
    assert empty.schema == batch.to_arrow().schema


def test_strided_rows_are_taken_as_they_are(batch):
    assert ticks_to_arrow(batch.records[::2], batch.instruments)["seq"].to_pylist() == [1, 3]


def test_codes_that_have_no_name_are_null(batch):
    batch.records["kind"] = 200
    batch.records["side"] = 9
    columns = batch.to_arrow().to_pydict()
    assert columns["kind"] == [None] * 4
    assert columns["side"] == [None] * 4


def test_bars_are_a_table_and_a_frame(batch):
    bars = np.zeros(2, BAR)
    bars["instrument_id"], bars["vwap"], bars["volume"] = 1, [5, PRICE_UNDEF], 2**64 - 1
    table = bars_to_arrow(bars, batch.instruments)
    assert table["vwap"].to_pylist() == [Decimal("5e-9"), None]
    assert table["volume"].to_pylist() == [2**64 - 1] * 2
    assert bars_to_pandas(bars, batch.instruments)["symbol"].tolist() == ["Öl", "Öl"]


def test_records_of_another_dtype_are_refused(batch):
    with pytest.raises(TypeError, match="needs records of dtype TICK"):
        ticks_to_arrow(np.zeros(1, BAR), batch.instruments)
    with pytest.raises(TypeError, match="needs records of dtype BAR"):
        bars_to_arrow(batch.records, batch.instruments)


def test_without_pyarrow_the_extra_is_named(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'mdfeedd\[parquet\]'"):
        batch.to_arrow()


def test_without_pandas_it_is_named(batch, monkeypatch):
    batch.to_arrow()  # pyarrow looks for pandas once, and keeps what it finds
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        batch.to_pandas()


@pytest.mark.parametrize("top", [1, 1 << 15, 1 << 31])
def test_distinct_ids_are_found_close_together_and_far_apart(top):
    rng = np.random.default_rng(top)
    ids = rng.integers(0, top, 1000).astype("<u4") + np.uint32(5)
    unique, places = distinct_ids(ids)
    expected, inverse = np.unique(ids, return_inverse=True)
    assert unique.tolist() == expected.tolist()
    assert places.tolist() == inverse.tolist()
