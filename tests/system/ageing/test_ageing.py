"""Weeks of trading in seconds: nothing is wrong after them, and no process holds more than in the midst of them.

Two markets, in Chicago and London, each a CME channel in virtual time (`week_feed`), through a whole daemon:
journal with retention, bars, Parquet, all in processes of their own, under a local time zone that is hours from
UTC and changes its clocks, too. The weeks begin with the last one before clocks change, in the one or the other.

    python -m pytest tests/system/ageing                          two weeks, in some seconds
    MDFEEDD_AGEING_CHANGES=europe-spring,america-autumn python -m pytest tests/system/ageing
                                                                  two weeks each, of other changes
    MDFEEDD_AGEING_WEEKS=8 MDFEEDD_AGEING_EVENTS=20000 python -m pytest tests/system/ageing -s
                                                                  all four changes, eight weeks each, with figures
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.ring import Reader, RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import PRICE_UNDEF, TRADE, BarFlag, Flag, Kind
from tests.system.ageing.figures import family, held, label, taken_bytes
from tests.system.ageing.hours import CHICAGO, HOUR_NS, LONDON, MARKETS, SECOND_NS

REPOSITORY = Path(__file__).resolve().parents[3]
WEEKS = int(os.environ.get("MDFEEDD_AGEING_WEEKS", "2"))
EVENTS = int(os.environ.get("MDFEEDD_AGEING_EVENTS", "240"))
SUNDAYS = {"america-spring": "2026-03-08", "europe-spring": "2026-03-29",
           "europe-autumn": "2026-10-25", "america-autumn": "2026-11-01"}  # fmt: skip
"""On which clocks change, before markets open: so the weeks must begin a week before it."""
HOSTS = {"america": "America/Chicago", "europe": "Europe/Helsinki"}
CHOSEN = os.environ.get(
    "MDFEEDD_AGEING_CHANGES", ",".join(SUNDAYS) if WEEKS > 2 else "america-spring"
).split(",")
PATIENCE_S = 120.0
INTERVALS_S = (60, 3600, 86_400)
GROWTH_BYTES = 4 << 20  # from the midst of the weeks on
POOLS_BYTES = 48 << 20  # of Arrow, which are as large as they get after some ten sessions
SEGMENT_BYTES = 1 << 16
KEEP_BYTES = 4 * SEGMENT_BYTES

CONFIG = """
shm_dir: {shm}
metrics: null
feeds:
  - {{name: chicago, vendor: "tests.system.ageing.week_feed:WeekFeed", capacity: 16384, options: {{
      market: chicago, sunday: "{sunday}", weeks: {weeks}, events: {events}, seed: 1, consumers: 3}}}}
  - {{name: london, vendor: "tests.system.ageing.week_feed:WeekFeed", capacity: 16384, options: {{
      market: london, sunday: "{sunday}", weeks: {weeks}, events: {events}, seed: 2, consumers: 3}}}}
consumers:
  - name: journal
    type: journal
    rings: [chicago, london]
    options: {{path: "{folder}/journal", segment_bytes: {segment}, keep_bytes: {keep}}}
  - name: bars-maker
    type: bars
    rings: [chicago, london]
    options: {{ring: bars, intervals_s: [60, 3600, 86400], capacity: 262144}}
  - name: store
    type: batch
    rings: [chicago, london]
    options:
      journal: "{folder}/journal"
      sink: {{type: parquet, path: "{folder}/store", roll_s: 1.0}}
"""


def first_sunday(change):
    """Of the last week before it."""
    return date.fromisoformat(SUNDAYS[change]) - timedelta(weeks=1)


def test_clocks_of_the_exchanges():
    """An opening comes an hour earlier by UTC after the change in spring; the weekend of it is shorter."""
    before, after = (CHICAGO.sessions(date(2026, 3, day)) for day in (1, 8))
    assert (before[0][0] // HOUR_NS % 24, after[0][0] // HOUR_NS % 24) == (23, 22)
    assert after[0][0] - before[-1][1] == 48 * HOUR_NS
    assert CHICAGO.sessions(date(2026, 11, 1))[0][0] - CHICAGO.sessions(date(2026, 10, 25))[-1][
        1
    ] == (50 * HOUR_NS)
    apart = {
        (CHICAGO.sessions(sunday)[0][0] - LONDON.sessions(sunday)[0][0]) // HOUR_NS
        for sunday in (date(2026, 3, 1), date(2026, 3, 8), date(2026, 3, 29))
    }
    assert apart == {-2, -3}


@pytest.mark.parametrize("change", SUNDAYS)
def test_weeks_hold_their_change(change):
    """One market opens at another hour by UTC in the second week, in spring an hour earlier; the other does not."""
    first = first_sunday(change)
    continent, season = change.split("-")
    for market, its in ((CHICAGO, "america"), (LONDON, "europe")):
        one, two = (market.sessions(first + timedelta(weeks=n))[0][0] for n in range(2))
        moved = {"spring": -1, "autumn": 1}[season] if its == continent else 0
        assert two - one == (7 * 24 + moved) * HOUR_NS, market.zone


class Market:
    """What one ring brought, read beside the daemon's consumers."""

    def __init__(self, name, shm):
        self.name = name
        self._reader = None
        self._shm = shm
        self.records = 0
        self.trades = []
        self.kinds = defaultdict(int)
        self.latency_ms = []

    def read(self):
        if self._reader is None:
            try:
                self._reader = Reader(self.name, "oldest", "ager", directory=self._shm)
            except RingError:
                return
        while len(batch := self._reader.read(8192, timeout=0)):
            assert not batch.lost
            ticks = batch.records
            self.records += len(ticks)
            for kind, n in zip(*np.unique(ticks["kind"], return_counts=True), strict=True):
                self.kinds[int(kind)] += int(n)
            trades = ticks[ticks["kind"] == Kind.TRADE].view(TRADE)
            mute = Flag.SNAPSHOT | Flag.BAD_TS
            self.trades.append(
                trades[(trades["flags"] & mute == 0) & (trades["price"] != PRICE_UNDEF)].copy()
            )

    def sessions(self):
        """How many have ended; keeps how long the last one took to be read by all."""
        try:
            counters = inspect(self.name, self._shm).counters
        except RingError:
            return 0
        if counters["sessions"] > len(self.latency_ms):
            self.latency_ms.append(counters["latency_ns"] / 1e6)
        return counters["sessions"]

    def close(self):
        if self._reader is not None:
            self._reader.close()


def bars_of(trades):
    """Bars made anew: by instrument, length and begin: open, high, low, close, volume, count."""
    made = {}
    order = np.lexsort((trades["seq"], trades["ts_event"]))
    for trade in trades[order]:
        price, size = int(trade["price"]), int(trade["size"])
        for interval_s in INTERVALS_S:
            begin = int(trade["ts_event"]) // (interval_s * SECOND_NS) * (interval_s * SECOND_NS)
            key = int(trade["instrument_id"]), interval_s, begin
            if key in made:
                bar = made[key]
                bar[1:] = [
                    max(bar[1], price), min(bar[2], price), price, bar[4] + size, bar[5] + 1,
                ]  # fmt: skip
            else:
                made[key] = [price, price, price, price, size, 1]
    return made


def check_bars(markets, shm):
    """What the daemon made of both markets is what their trades make."""
    with_all = Reader("bars", "oldest", "checker", directory=shm)
    found, last = {}, 0
    while len(batch := with_all.read(8192, timeout=0)):
        assert not batch.lost
        for bar in batch.records:
            assert int(bar["seq"]) == (last := last + 1)
            key = tuple(int(bar[name]) for name in ("instrument_id", "interval_s", "ts_open"))
            assert key not in found or bar["revision"] > found[key]["revision"]
            found[key] = bar
    with_all.close()
    expected = {}
    for market in markets:
        expected |= bars_of(np.concatenate(market.trades))
    assert found.keys() == expected.keys()
    for key, bar in found.items():
        names = ("open", "high", "low", "close", "volume", "count")
        assert [int(bar[name]) for name in names] == expected[key], key
    days = [bar for key, bar in found.items() if key[1] == 86_400]
    assert len({int(bar["ts_open"]) for bar in days}) >= 5
    assert not any(bar["flags"] & BarFlag.LATE for bar in found.values())
    return len(found)


def check_hours(market, first):
    """No trade outside a session, and some in each."""
    times = np.concatenate(market.trades)["ts_event"]
    inside = np.zeros(len(times), bool)
    for week in range(WEEKS):
        for opens, closes in MARKETS[market.name].sessions(first + timedelta(weeks=week)):
            here = (times >= opens) & (times < closes)
            assert here.any(), (market.name, opens)
            inside |= here
    assert inside.all(), market.name


def check_store(folder, markets):
    """Each quote and trade once, under its day by UTC."""
    duckdb = pytest.importorskip("duckdb")
    for market in markets:
        wanted = {"quotes": market.kinds[Kind.QUOTE], "trades": market.kinds[Kind.TRADE]}
        for table, n in wanted.items():
            files = f"{folder}/store/{table}/feed={market.name}/**/*.parquet"
            rows, seqs = duckdb.execute(
                f"SELECT count(*), count(DISTINCT seq) FROM '{files}'"
            ).fetchone()
            assert (rows, seqs) == (n, n), (market.name, table)
            (wrong,) = duckdb.execute(
                f"SELECT count(*) FROM read_parquet('{files}', hive_partitioning=true) "
                f"WHERE CAST(date AS VARCHAR) != strftime(ts_event AT TIME ZONE 'UTC', '%Y-%m-%d')"
            ).fetchone()
            assert wrong == 0


@pytest.fixture
def daemon(tmp_path, shm_dir, spawn):
    """Starts `mdfeedd run` of a configuration."""

    def start(sunday, zone):
        file = tmp_path / "week.yaml"
        file.write_text(
            CONFIG.format(
                shm=shm_dir, folder=tmp_path, sunday=sunday, weeks=WEEKS, events=EVENTS,
                segment=SEGMENT_BYTES, keep=KEEP_BYTES,
            )
        )  # fmt: skip
        log = (tmp_path / "log").open("wb")
        process = spawn(
            [sys.executable, "-m", "mdfeedd", "run", "-c", file],
            cwd=REPOSITORY, stdout=log, stderr=log, env=os.environ | {"TZ": zone},
        )  # fmt: skip
        log.close()
        return process

    return start


def watch(process, markets, tmp_path):
    """Read along until all weeks are over; what each process held after each session, and the journal's bytes."""
    samples, disk, seen = defaultdict(list), [], 0
    deadline = time.monotonic() + PATIENCE_S
    while seen < 5 * WEEKS:
        assert process.poll() is None, (tmp_path / "log").read_text()[-4000:]
        assert "crashed" not in (tmp_path / "log").read_text(), (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-4000:]
        for market in markets:
            market.read()
        ended = min(market.sessions() for market in markets)
        if ended == seen:
            time.sleep(0.005)
            continue
        seen, deadline = ended, time.monotonic() + PATIENCE_S
        for pid in family(process.pid):
            samples[pid, label(pid)].append(held(pid))
        disk.append(taken_bytes(tmp_path / "journal"))
    return samples, disk


def check_flat(samples, disk):
    """Nothing grows with the sessions."""
    assert len(samples) == 6, sorted(samples)  # the daemon, two feeds, three consumers
    for (_, name), series in samples.items():
        middle, last = len(series) // 2, series[-1]
        print(f"{name}: {last}; memory in KiB: {[one['memory'] >> 10 for one in series]}")
        growth = last["memory"] - series[middle]["memory"]
        young = WEEKS <= 2 and "consumer store" in name
        assert growth < (POOLS_BYTES if young else GROWTH_BYTES), (name, series)
        before = series[: middle + 1]
        assert last["descriptors"] <= max(one["descriptors"] for one in before) + 2, (name, series)
        assert last["threads"] <= max(one["threads"] for one in before), (name, series)
    print(f"the journal's bytes: {disk}")
    assert max(disk) <= 2 * (KEEP_BYTES + 2 * SEGMENT_BYTES) + (1 << 18), "of two rings"


@pytest.mark.slow
@pytest.mark.timeout(3600 if WEEKS > 2 else 300)
@pytest.mark.parametrize("change", CHOSEN)
def test_weeks_of_trading(daemon, shm_dir, tmp_path, change):
    first = first_sunday(change)
    process = daemon(first, HOSTS[change.partition("-")[0]])
    markets = [Market(name, shm_dir) for name in MARKETS]
    try:
        samples, disk = watch(process, markets, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "log").read_text()[-4000:]
        for market in markets:
            market.read()
        made = check_bars(markets, shm_dir)
    finally:
        for market in markets:
            market.close()
    for market in markets:
        print(f"{market.name}: {market.records} records, {sum(map(len, market.trades))} trades")
        early, late = np.array_split(np.array(market.latency_ms), 2)
        print(f"the last record is read by all after {np.median(early):.1f} ms in the first half of the "
              f"sessions, {np.median(late):.1f} ms in the second")  # fmt: skip
        check_hours(market, first)
    print(f"{made} bars")
    check_store(tmp_path, markets)
    check_flat(samples, disk)
