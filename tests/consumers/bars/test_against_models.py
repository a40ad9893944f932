"""The bar kernel against two slow ones: a model that keeps every trade, and pandas."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.consumers.bars import BarBuilder
from mdfeedd.tick import BAR, GAP, PRICE_UNDEF, TIME_UNDEF, TRADE, BarFlag, Flag, Kind

S = 1_000_000_000
BASE = 1_700_000_040 * S  # a multiple of a minute
FLAT_LIMIT = 3
OUT_SIZE = 8
MARKET = {
    Kind.QUOTE,
    Kind.TRADE,
    Kind.TRADE_CANCEL,
    Kind.TRADE_CORRECTION,
    Kind.CLEAR,
    Kind.HEARTBEAT,
    Kind.IMBALANCE,
}


@dataclass
class Place:
    """One instrument in one interval, as the model sees it."""

    open: dict[int, list[tuple[int, int, int, int]]] = field(default_factory=dict)
    void: set[int] = field(default_factory=set)
    last: dict[str, object] | None = None
    last_trades: list[tuple[int, int, int, int]] = field(default_factory=list)
    flat_run: int = 0
    late: int = 0


class Model:
    """The rules of bars.h, said once more with lists of trades and fractions."""

    def __init__(self, intervals_s, *, flat=False, lateness_ns=0):
        self.intervals, self.flat, self.lateness = intervals_s, flat, lateness_ns
        self.places: dict[tuple[int, int], Place] = {}
        self.clock = self.first_ts = None
        self.closed_to: list[int] = []
        self.lines: set[int] = set()
        self.in_gap: set[int] = set()
        self.until: dict[int, int] = {}
        self.hole = False
        self.out: list[dict[str, object]] = []
        self.counts = dict.fromkeys(("late_trades", "bad_time_trades", "voided_trades"), 0)

    def place(self, k, instrument):
        return self.places.setdefault((k, instrument), Place())

    def emit(self, k, instrument, place):
        trades = place.last_trades
        bar = {"interval_s": self.intervals[k], "instrument_id": instrument, **place.last}
        if trades:
            by_time = sorted(
                trades, key=lambda t: t[0]
            )  # stable: of equal times the first stays first
            prices = [t[1] for t in trades]
            volume = sum(t[2] for t in trades)
            vwap = round(Fraction(sum(t[1] * t[2] for t in trades), volume)) if volume else None
            bar |= {"open": by_time[0][1], "high": max(prices), "low": min(prices)}
            bar |= {"close": by_time[-1][1], "volume": volume, "count": len(trades)}
            bar |= {"vwap": PRICE_UNDEF if vwap is None else vwap}
            bar |= {"ts_first": by_time[0][0], "ts_last": by_time[-1][0]}
            bar |= {"first_seq": min(t[3] for t in trades), "last_seq": max(t[3] for t in trades)}
        self.out.append(bar)

    def close(self, k, start, *, flush, cut):
        for instrument in sorted(i for j, i in self.places if j == k):
            place = self.place(k, instrument)
            flags = BarFlag(0)
            if start in place.open:
                place.last_trades = place.open.pop(start)
                place.flat_run, close = 0, {}
                flags |= BarFlag.VOIDED if start in place.void else 0
            elif self.flat and not flush and place.last and place.flat_run < FLAT_LIMIT:
                price = self.close_price(place)
                close = dict.fromkeys(("open", "high", "low", "close"), price)
                close |= {"ts_first": TIME_UNDEF, "ts_last": TIME_UNDEF, "volume": 0, "count": 0}
                close |= {"first_seq": 0, "last_seq": 0, "vwap": PRICE_UNDEF}
                place.last_trades = []
                place.flat_run += 1
                flags |= BarFlag.FLAT
            else:
                continue
            flags |= self.doubts(instrument, start)
            flags |= BarFlag.PARTIAL if cut else 0
            place.last = {"ts_open": start, "flags": int(flags), "revision": 0} | close
            place.last["late_count"], place.late = place.late, 0
            self.emit(k, instrument, place)

    def doubts(self, instrument, start):
        after = max(self.until.get(0, -1), self.until.get(instrument, -1))
        in_gap = self.lines or self.hole or instrument in self.in_gap or start <= after
        flags = BarFlag.GAP if in_gap else BarFlag(0)
        if self.first_ts is None or start < self.first_ts:
            flags |= BarFlag.PARTIAL
        return flags

    def make_late(self, k, instrument, place, start, trade):
        flags = BarFlag.LATE | self.doubts(instrument, start)
        place.last = {"ts_open": start, "flags": int(flags), "revision": 0, "late_count": 0}
        place.last_trades, place.flat_run = [trade], 0
        self.emit(k, instrument, place)

    @staticmethod
    def close_price(place):
        if not place.last_trades:
            return place.last["close"]
        *_, last = sorted(place.last_trades, key=lambda t: t[0])
        return last[1]

    def sweep(self, watermark):
        while True:
            ends = [c + i * S for c, i in zip(self.closed_to, self.intervals, strict=True)]
            k = ends.index(min(ends))
            if ends[k] > watermark:
                return
            self.close(k, self.closed_to[k], flush=False, cut=False)
            self.closed_to[k] = ends[k]

    def flush(self, *, partial=True):
        while self.clock is not None and min(self.closed_to) <= self.clock:
            ends = [
                (c + i * S, k)
                for k, (c, i) in enumerate(zip(self.closed_to, self.intervals, strict=True))
                if c <= self.clock
            ]
            end, k = min(ends)
            self.close(k, self.closed_to[k], flush=True, cut=partial)
            self.closed_to[k] = end

    def tell_time(self, tick):
        ts = tick["ts_event"]
        watermark = ts - self.lateness
        if self.clock is None:
            self.closed_to = [watermark // (i * S) * (i * S) for i in self.intervals]
            self.clock = ts
        self.sweep(watermark)
        self.clock = max(self.clock, ts)
        if self.hole:
            self.until[0] = max(self.until.get(0, -1), self.clock)
            self.hole = False
        if tick["kind"] in MARKET and not tick["flags"] & Flag.SNAPSHOT and self.first_ts is None:
            self.first_ts = ts

    def gap(self, tick):
        begins, instrument = tick["kind"] == Kind.GAP, tick["instrument_id"]
        if instrument == 0:
            (self.lines.add if begins else self.lines.discard)(tick["line"])
            self.lost()
            return
        (self.in_gap.add if begins else self.in_gap.discard)(instrument)
        self.until[instrument] = max(self.until.get(instrument, -1), self.clock or -1)

    def lost(self):
        self.until[0] = max(self.until.get(0, -1), self.clock or -1)
        self.hole = True

    def trade(self, tick):
        late = False
        for k, interval in enumerate(self.intervals):
            place = self.place(k, tick["instrument_id"])
            start = tick["ts_event"] // (interval * S) * (interval * S)
            trade = (tick["ts_event"], tick["price"], tick["size"], tick["seq"])
            if start >= self.closed_to[k]:
                if start not in place.open:
                    place.void.discard(start)
                place.open.setdefault(start, []).append(trade)
                continue
            late = True
            place.late += 1
            if place.last and place.last["ts_open"] == start:
                place.last_trades.append(trade)
                flags = place.last["flags"] & ~int(BarFlag.FLAT) | BarFlag.LATE
                place.last |= {"flags": int(flags), "revision": place.last["revision"] + 1}
                self.emit(k, tick["instrument_id"], place)
            elif start == self.closed_to[k] - interval * S:
                self.make_late(k, tick["instrument_id"], place, start, trade)
        self.counts["late_trades"] += late

    def tick(self, tick):
        kind = tick["kind"]
        if kind in (Kind.GAP, Kind.RECOVERED):
            self.gap(tick)
            return
        timed = tick["ts_event"] != TIME_UNDEF and not tick["flags"] & Flag.BAD_TS
        if timed:
            self.tell_time(tick)
        if tick["flags"] & Flag.STALE:
            scope = tick["instrument_id"]
            self.until[scope] = max(self.until.get(scope, -1), self.clock or -1)
        if kind in (Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION):
            self.counts["voided_trades"] += 1
            for k in range(len(self.intervals)):
                place = self.place(k, tick["instrument_id"])
                place.void |= set(place.open)
        if kind == Kind.TRADE and not timed:
            self.counts["bad_time_trades"] += 1
        elif kind == Kind.TRADE and not tick["flags"] & Flag.SNAPSHOT:
            self.trade(tick)


def as_ticks(rows):
    out = np.zeros(len(rows), TRADE)
    for i, row in enumerate(rows):
        out[i]["seq"] = row["seq"]
        for name in ("ts_event", "kind", "flags", "instrument_id", "price", "size"):
            out[i][name] = row[name]
        if row["kind"] in (Kind.GAP, Kind.RECOVERED):
            out[i : i + 1].view(GAP)["line"] = row["line"]
    return out


def as_bars(rows):
    out = np.zeros(len(rows), BAR)
    for i, row in enumerate(rows):
        for name, value in row.items():
            out[i][name] = value
    return out


KINDS = [Kind.TRADE] * 10 + [Kind.QUOTE] * 3 + list(Kind)
FLAGS = [Flag(0)] * 12 + [Flag.BAD_TS, Flag.STALE, Flag.SNAPSHOT, Flag.IMPLIED]


@st.composite
def streams(draw):
    """Ticks whose time mostly goes on, with steps back, leaps, holes and bad times."""
    now, rows = BASE + draw(st.integers(0, 3 * S)), []
    for seq in range(1, draw(st.integers(0, 60)) + 1):
        now += draw(st.sampled_from([0, 1, S // 7, S // 3, S, 2 * S, 9 * S]))
        back = draw(st.sampled_from([0, 0, 0, 0, 1, S // 2, S, 3 * S]))
        kind = draw(st.sampled_from(KINDS))
        whole = kind in (Kind.GAP, Kind.RECOVERED) and draw(st.booleans())
        rows.append(
            {
                "seq": seq,
                "ts_event": draw(st.sampled_from([now - back] * 15 + [TIME_UNDEF])),
                "kind": int(kind),
                "flags": int(draw(st.sampled_from(FLAGS))),
                "instrument_id": 0 if whole else draw(st.integers(1, 3)),
                "price": draw(st.integers(-5, 5)),
                "size": draw(st.integers(0, 4)),
                "line": draw(st.integers(0, 2)),
            }
        )
    return rows


@settings(deadline=None, max_examples=300)
@given(
    rows=streams(),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    intervals=st.sampled_from([(1,), (2,), (1, 3), (1, 2, 6), (1, 2, 3, 60)]),
    lateness=st.sampled_from([0, 0, 1, S // 2, S, 2 * S, 5 * S]),
    flat=st.booleans(),
    partial=st.booleans(),
)
def test_any_stream_in_any_batches_gives_the_bars_of_the_model(
    *, rows, cuts, intervals, lateness, flat, partial
):
    model = Model(intervals, flat=flat, lateness_ns=lateness)
    for row in rows:
        model.tick(row)
    model.flush(partial=partial)
    builder = BarBuilder(
        intervals, flat=flat, lateness_ns=lateness, flat_limit=FLAT_LIMIT, out_size=OUT_SIZE
    )
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    ticks = as_ticks(rows)
    parts = [ticks[a:b] for a, b in pairwise(edges)]
    got = np.concatenate([*map(builder.update, parts), builder.flush(partial)])
    want = as_bars(model.out)
    for name in BAR.names:
        assert got[name].tolist() == want[name].tolist(), name
    assert builder.closed_bars == len(want)
    for name, count in model.counts.items():
        assert getattr(builder, name) == count, name


def random_market(n, *, instruments=40, hours=3, seed=7):
    rng = np.random.default_rng(seed)
    ticks = np.zeros(n, TRADE)
    ticks["seq"] = np.arange(1, n + 1)
    ticks["kind"] = Kind.TRADE
    ticks["ts_event"] = BASE + np.sort(rng.integers(0, hours * 3600 * S, n))
    ticks["instrument_id"] = rng.integers(1, instruments + 1, n)
    ticks["price"] = rng.integers(4_000 * S, 5_000 * S, n)
    ticks["size"] = rng.integers(1, 2_000_000, n)
    return ticks


@pytest.mark.parametrize("interval", [1, 60, 3600, 86_400])
def test_bars_equal_those_of_pandas(interval):
    pd = pytest.importorskip("pandas")
    ticks = random_market(20_000)
    builder = BarBuilder((interval,), out_size=64)
    got = np.concatenate([builder.update(ticks), builder.flush()])
    frame = pd.DataFrame(
        {name: ticks[name] for name in ("seq", "ts_event", "instrument_id", "price", "size")}
    )
    frame["ts_open"] = frame["ts_event"] // (interval * S) * (interval * S)
    values = [p * s for p, s in zip(ticks["price"].tolist(), ticks["size"].tolist(), strict=True)]
    frame["value"] = pd.Series(values, dtype=object)  # int64 sums overflow here
    want = frame.groupby(["ts_open", "instrument_id"], as_index=False).agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        volume=("size", "sum"),
        value=("value", "sum"),
        count=("size", "size"),
        ts_first=("ts_event", "first"),
        ts_last=("ts_event", "last"),
        first_seq=("seq", "first"),
        last_seq=("seq", "last"),
    )
    want["vwap"] = [
        round(Fraction(v, n)) for v, n in zip(want["value"], want["volume"], strict=True)
    ]
    for name in want.columns.drop("value"):
        assert got[name].tolist() == want[name].tolist(), name
    assert set(got["interval_s"].tolist()) == {interval}
