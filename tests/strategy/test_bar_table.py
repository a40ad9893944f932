"""The latest bars of a ring: which, in which order, and in each kind of frame."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from mdfeedd import bars
from mdfeedd.ring import RingMismatch, RingMissing, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.strategy import bar_table
from mdfeedd.tick import BAR, PRICE_UNDEF, to_fixed

MINUTE_NS = 60_000_000_000


def bar(instrument, minute, close, *, interval_s=60, revision=0, volume=1):
    record = np.zeros(1, BAR)
    record["instrument_id"], record["interval_s"] = instrument, interval_s
    record["ts_open"], record["revision"] = minute * MINUTE_NS, revision
    for name in ("open", "high", "low", "close"):
        record[name] = to_fixed(close)
    record["volume"], record["vwap"] = volume, to_fixed(close) if volume else PRICE_UNDEF
    return record


@pytest.fixture
def ring(shm_dir):
    """A ring of bars of two instruments, a and b: five minutes of each, some of them twice."""
    with Writer("bars", 256, BAR, directory=shm_dir) as writer:
        a, b = writer.instruments.add("A"), writer.instruments.add("B")
        for minute in range(5):
            writer.publish(bar(a, minute, 10 + minute))
            writer.publish(bar(b, minute, 20 + minute, volume=minute))
        writer.publish(bar(a, 3, "99.5", revision=1))
        writer.publish(bar(a, 0, 7, interval_s=300))
        yield writer


def frame_of(shm_dir, *args, **kwargs):
    return bars("bars", *args, frame="numpy", directory=shm_dir, **kwargs)


def test_newest_of_each_instrument_with_the_last_revision(ring, shm_dir):
    found = frame_of(shm_dir, 60, 3)
    rows = list(
        zip(found["symbol"].tolist(), found["ts_open"].view("i8") // MINUTE_NS, found["close"].tolist(), strict=True)
    )  # fmt: skip
    assert rows == [("A", 2, 12), ("B", 2, 22), ("A", 3, 99.5), ("B", 3, 23), ("A", 4, 14), ("B", 4, 24)]  # fmt: skip
    assert not inspect("bars", shm_dir).consumers


def test_all_lengths_and_all_bars(ring, shm_dir):
    found = frame_of(shm_dir)
    assert len(found["close"]) == 11
    assert set(found["interval_s"].tolist()) == {60, 300}
    assert found["ts_open"].dtype == "M8[ns]"
    assert np.isnan(found["vwap"][found["symbol"] == "B"][0])


def test_some_symbols(ring, shm_dir):
    assert set(frame_of(shm_dir, 60, symbols=["B", "UNKNOWN"])["symbol"].tolist()) == {"B"}
    assert len(frame_of(shm_dir, 60, symbols=["UNKNOWN"])["close"]) == 0
    assert len(frame_of(shm_dir, 61)["close"]) == 0


def test_ring_that_wrapped_and_whose_writer_is_gone(shm_dir):
    with Writer("bars", 256, BAR, directory=shm_dir) as writer:
        a = writer.instruments.add("A")
        for minute in range(1000):
            writer.publish(bar(a, minute, minute))
    assert frame_of(shm_dir, 60, 5)["close"].tolist() == [995, 996, 997, 998, 999]


def test_no_more_than_are_looked_at(shm_dir, monkeypatch):
    monkeypatch.setattr(bar_table, "LOOK_BARS", 100)
    with Writer("bars", 256, BAR, directory=shm_dir) as writer:
        a = writer.instruments.add("A")
        for minute in range(200):
            writer.publish(bar(a, minute, minute))
        assert len(frame_of(shm_dir, 60, 1000)["close"]) == 100


def test_random_bars_equal_what_a_dictionary_keeps(shm_dir):
    chance = np.random.default_rng(3)
    with Writer("bars", 4096, BAR, directory=shm_dir) as writer:
        ids = [writer.instruments.add(f"S{i}") for i in range(5)]
        kept = {}
        for n in range(2000):
            one = int(chance.integers(5))
            minute, interval = int(chance.integers(60)), int(chance.choice([60, 300]))
            writer.publish(bar(ids[one], minute, n, interval_s=interval))
            kept[f"S{one}", interval, minute] = n
        found = frame_of(shm_dir, n=7)
    rows = zip(
        found["symbol"].tolist(),
        found["interval_s"].tolist(),
        (found["ts_open"].view("i8") // MINUTE_NS).tolist(),
        found["close"].tolist(),
        strict=True,
    )
    expected = {}
    for symbol, interval in {key[:2] for key in kept}:
        minutes = sorted(key[2] for key in kept if key[:2] == (symbol, interval))[-7:]
        expected |= {(symbol, interval, m): kept[symbol, interval, m] for m in minutes}
    assert {row[:3]: row[3] for row in rows} == expected


def test_pandas(ring, shm_dir):
    pd = pytest.importorskip("pandas")
    found = bars("bars", 60, 2, directory=shm_dir)
    assert isinstance(found, pd.DataFrame)
    assert found.columns.tolist()[:4] == ["symbol", "interval_s", "ts_open", "open"]
    assert found["ts_open"].iloc[-1] == pd.Timestamp(4 * MINUTE_NS, tz="UTC")
    assert found["close"].tolist() == [99.5, 23.0, 14.0, 24.0]
    pytest.importorskip("pyarrow")
    exact = bars("bars", 60, 1, prices="decimal", symbols=["A"], directory=shm_dir)
    assert exact["close"].tolist() == [Decimal(14)]


def test_polars(ring, shm_dir):
    pl = pytest.importorskip("polars")
    found = bars("bars", 60, 2, frame="polars", directory=shm_dir)
    assert isinstance(found, pl.DataFrame)
    assert found["symbol"].to_list() == ["A", "B", "A", "B"]
    assert found.schema["ts_open"] == pl.Datetime("ns", "UTC")
    assert found.group_by("symbol").agg(pl.col("close").last()).sort("symbol")["close"].to_list() == [14, 24]  # fmt: skip
    assert len(bars("bars", 61, frame="polars", directory=shm_dir)) == 0
    pytest.importorskip("pyarrow")
    exact = bars("bars", 60, 1, frame="polars", prices="decimal", directory=shm_dir)
    assert exact["close"].to_list()[0] == Decimal(14)


def test_arrow(ring, shm_dir):
    pytest.importorskip("pyarrow")
    found = bars("bars", 60, 1, frame="arrow", directory=shm_dir)
    assert found.column("symbol").to_pylist() == ["A", "B"]


def test_package_that_is_not_installed(ring, shm_dir, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(ImportError, match="a polars frame needs it: pip install polars"):
        bars("bars", frame="polars", directory=shm_dir)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"frame": "excel"}, "frame must be one of pandas, polars, arrow, numpy"),
        ({"prices": "text"}, "prices must be float or decimal"),
        ({"frame": "numpy", "prices": "decimal"}, "numpy has no decimals"),
    ],
)
def test_options_that_cannot_be(ring, shm_dir, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        bars("bars", directory=shm_dir, **options)


def test_symbol_that_is_no_list(ring, shm_dir):
    with pytest.raises(TypeError, match=r"symbols must be a list, such as \['AB'\]"):
        bars("bars", symbols="AB", directory=shm_dir)


def test_rings_that_hold_no_bars(shm_dir):
    with pytest.raises(RingMissing, match=r"no ring 'nowhere' in .*: is its writer running"):
        bars("nowhere", directory=shm_dir)
    with Writer("ticks", directory=shm_dir), pytest.raises(RingMismatch, match="holds no bars"):
        bars("ticks", directory=shm_dir)
