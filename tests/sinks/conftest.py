"""Random records of every kind, extremes included, and what stores must give back for them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from mdfeedd.tick import (
    BAR,
    PRICE_UNDEF,
    QUOTE,
    TICK,
    TIME_UNDEF,
    TRADE,
    Flag,
    Kind,
    from_fixed,
)

DAY_NS = 86_400 * 10**9
MIDNIGHT = 20_000 * DAY_NS  # 2024-10-04
SIDES = {0: "none", 1: "buy", 2: "sell"}
KINDS = {3: "trade_cancel", 4: "trade_correction"}


@pytest.fixture
def rng():
    """A generator whose seed is printed when the test fails and taken from MDFEEDD_SEED."""
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    return np.random.default_rng(seed)


def _prices(rng, n):
    prices = rng.integers(-(10**13), 10**13, n)
    extremes = np.array(
        [PRICE_UNDEF, PRICE_UNDEF - 1, -PRICE_UNDEF, -(2**63), 0, -1, 1], dtype="i8"
    )
    some = rng.random(n) < 0.1
    prices[some] = rng.choice(extremes, some.sum())
    return prices


class Make:
    """Makes records."""

    @staticmethod
    def ticks(rng, n, *, instruments=8, first_seq=1, days=3):
        """Ticks of all kinds as a ring would give them: dtype TICK, seq from `first_seq`."""
        ticks = np.zeros(n, TICK)
        ticks["seq"] = np.arange(first_seq, first_seq + n)
        ticks["ts_event"] = MIDNIGHT + rng.integers(0, days * DAY_NS, n)
        ticks["ts_event"][rng.random(n) < 0.02] = TIME_UNDEF
        ticks["ts_recv"] = MIDNIGHT + rng.integers(0, days * DAY_NS, n)
        ticks["instrument_id"] = rng.integers(1, instruments + 1, n)
        ticks["kind"] = rng.choice([1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12], n)
        ticks["side"] = rng.integers(0, 3, n)
        ticks["flags"] = rng.integers(0, 2**16, n)
        ticks["venue_seq"] = rng.integers(0, 2**32, n)
        ticks["count"] = rng.integers(0, 2**32, n)
        quotes, trades = ticks.view(QUOTE), ticks.view(TRADE)
        is_quote = ticks["kind"] == Kind.QUOTE
        for name in ("bid", "ask"):
            quotes[f"{name}_price"][is_quote] = _prices(rng, is_quote.sum())
            quotes[f"{name}_size"][is_quote] = rng.integers(0, 2**32, is_quote.sum())
        is_trade = np.isin(ticks["kind"], [2, 3, 4])
        trade_ids = np.array([0, 1, 2**63, 2**64 - 1], "u8")
        trades["price"][is_trade] = _prices(rng, is_trade.sum())
        trades["trade_id"][is_trade] = rng.choice(trade_ids, is_trade.sum())
        trades["size"][is_trade] = rng.integers(0, 2**32, is_trade.sum())
        return ticks

    @staticmethod
    def bars(rng, n, *, instruments=8, first_seq=1):
        """Bars as a ring would give them."""
        bars = np.zeros(n, BAR)
        bars["seq"] = np.arange(first_seq, first_seq + n)
        bars["ts_open"] = MIDNIGHT + rng.integers(0, 2 * 86_400, n) * 10**9
        bars["instrument_id"] = rng.integers(1, instruments + 1, n)
        bars["interval_s"] = rng.choice([1, 60], n)
        for name in ("open", "high", "low", "close", "vwap"):
            bars[name] = _prices(rng, n)
        bars["volume"] = rng.choice(np.array([0, 7, 2**64 - 1], "u8"), n)
        bars["count"] = rng.integers(0, 2**32, n)
        bars["flags"] = rng.integers(0, 32, n)
        return bars


@pytest.fixture
def make():
    """Makes records."""
    return Make


def _when(row):
    bad = row["ts_event"] == TIME_UNDEF or row["flags"] & Flag.BAD_TS
    return int(row["ts_recv"] if bad else row["ts_event"])


def _time(value):
    return None if value == TIME_UNDEF else int(value)


def _date(ns):
    return np.datetime64(ns // DAY_NS, "D").item()


class Expect:
    """The rows that a table must hold for given records, as tuples in order of seq."""

    @staticmethod
    def _head(row, symbol_of):
        return (
            int(row["seq"]),
            _time(row["ts_event"]),
            _time(row["ts_recv"]),
            symbol_of(int(row["instrument_id"])),
        )

    @staticmethod
    def _tail(row, feed):
        tail = (int(row["count"]), int(row["flags"]), int(row["venue_seq"]))
        return (*tail, feed, _date(_when(row)))

    @classmethod
    def trades(cls, ticks, symbol_of, feed, kinds=(2,)):
        """Rows of trades/, or with kinds 3 and 4 of corrections/."""
        out = []
        for row in ticks.view(TRADE)[np.isin(ticks["kind"], kinds)]:
            kind = (KINDS[int(row["kind"])],) if kinds != (2,) else ()
            price = from_fixed(int(row["price"]))
            middle = (price, int(row["size"]), SIDES[int(row["side"])], int(row["trade_id"]))
            out.append((*cls._head(row, symbol_of), *kind, *middle, *cls._tail(row, feed)))
        return out

    @classmethod
    def quotes(cls, ticks, symbol_of, feed):
        """Rows of quotes/."""
        out = []
        for row in ticks.view(QUOTE)[ticks["kind"] == 1]:
            prices = (from_fixed(int(row["bid_price"])), from_fixed(int(row["ask_price"])))
            sizes = (int(row["bid_size"]), int(row["ask_size"]))
            out.append((*cls._head(row, symbol_of), *prices, *sizes, *cls._tail(row, feed)))
        return out

    @staticmethod
    def bars(bars, symbol_of, feed_of):
        """Rows of bars/, sorted."""
        out = []
        for row in bars:
            four = (from_fixed(int(row[name])) for name in ("open", "high", "low", "close"))
            out.append(
                (
                    symbol_of(int(row["instrument_id"])),
                    int(row["interval_s"]),
                    int(row["ts_open"]),
                    *four,
                    int(row["volume"]),
                    from_fixed(int(row["vwap"])),
                    int(row["count"]),
                    int(row["flags"]),
                    feed_of(int(row["instrument_id"])),
                    _date(int(row["ts_open"])),
                )
            )
        return sorted(out, key=repr)


@pytest.fixture
def expect():
    """The rows that a table must hold."""
    return Expect


class Stored:
    """What a folder of Parquet files holds, read by programs that are not ours."""

    def __init__(self, out):
        self.out = Path(out)

    def files(self, table="*"):
        """Finished files."""
        return sorted(self.out.glob(f"{table}/feed=*/date=*/*.parquet"))

    def temporaries(self):
        """Files under temporary names."""
        return sorted(path for path in self.out.rglob("*") if path.name.endswith(".tmp"))

    def by_duckdb(self, table):
        """All rows as tuples, times as ns; feed and date come last."""
        source = f"read_parquet('{self.out}/{table}/*/*/*.parquet', hive_partitioning=true)"
        connection = duckdb.connect()  # the default one is shared with whoever left a result open
        names = [row[0] for row in connection.sql(f"describe select * from {source}").fetchall()]
        names = [n for n in names if n not in ("feed", "date")] + ["feed", "date"]
        times = [f"epoch_ns({n}) as {n}" if n.startswith("ts_") else n for n in names]
        order = "seq" if "seq" in names else "all"
        rows = connection.sql(f"select {', '.join(times)} from {source} order by {order}")
        return self._sorted(rows.fetchall(), names)

    def by_polars(self, table):
        """The same by polars."""
        frame = pl.read_parquet(self.out / table, hive_partitioning=True)
        names = [n for n in frame.columns if n not in ("feed", "date")] + ["feed", "date"]
        frame = frame.select(names).with_columns(pl.col("^ts_.*$").dt.epoch("ns"))
        if "seq" in names:
            frame = frame.sort("seq")
        return self._sorted(frame.rows(), names)

    @staticmethod
    def _sorted(rows, names):
        return rows if "seq" in names else sorted(rows, key=repr)


@pytest.fixture
def stored(tmp_path):
    """What the folder `stored.out` holds."""
    return Stored(tmp_path / "out")
