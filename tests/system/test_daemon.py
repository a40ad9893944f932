"""The whole daemon out of a configuration file: synthetic market, bars, Parquet; kills in between."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mdfeedd import BAR, Reader
from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import State, Supervisor
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

CONFIG = """
shm_dir: {shm_dir}
metrics: {{port: 0}}
feeds:
  - name: futures
    vendor: synthetic
    capacity: 65536
    options: {{market: futures, instruments: 4, rate: 5000, seed: 7, wait_consumers: 2}}
  - name: fx
    vendor: synthetic
    options: {{market: fx, instruments: 2, rate: 2000, seed: 8, wait_consumers: 2}}
consumers:
  - name: store
    type: batch
    rings: [futures, fx, bars]
    options:
      sink: {{type: parquet, path: '{out}'}}
  - name: bars-maker
    type: bars
    rings: [futures, fx]
    options: {{ring: bars, intervals_s: [1]}}
"""


async def until(condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.02)


def tail(ring, shm_dir):
    try:
        return inspect(ring, shm_dir).tail
    except RingError:
        return 0


def rows(out, table):
    files = f"{out}/{table}/**/*.parquet"
    return (
        duckdb.connect()
        .execute(f"SELECT count(*), count(DISTINCT (feed, seq)) FROM '{files}'")
        .fetchone()
    )


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def kinds(ring, shm_dir):
    """How many ticks of which kind the ring has seen, if it was never lapped."""
    with Reader(ring, "oldest", follow=False, directory=shm_dir) as reader:
        batch = reader.read(1 << 20, timeout=0)
    assert batch.first_seq == 1
    return len(batch.quotes), len(batch.trades)


def test_everything_published_is_stored_though_feed_and_store_were_killed(shm_dir, tmp_path):
    plan = config.parse(CONFIG.format(shm_dir=shm_dir, out=tmp_path), "daemon.yaml")

    async def scenario():
        async with Supervisor(plan) as supervisor:
            store, futures = supervisor.find("store"), supervisor.find("futures")
            await until(lambda: tail("futures", shm_dir) > 2000 and tail("bars", shm_dir) > 2)
            for child in (store, futures):
                os.kill(child.pid, signal.SIGKILL)
                await until(lambda c=child: c.restarts == 1 and c.state is State.RUNNING)
            before = tail("futures", shm_dir)
            await until(lambda: tail("futures", shm_dir) > before + 2000)
            found = await asyncio.to_thread(scrape, supervisor.exporter.port)
            assert found["mdfeedd_child_restart_total", "consumer", "store"] == 1
            assert found["mdfeedd_child_restart_total", "feed", "futures"] == 1
            assert found["mdfeedd_child_restart_total", "feed", "fx"] == 0
            assert found["mdfeedd_ring_writer_epoch", "futures"] == 2
            assert found["mdfeedd_ring_tick_published_total", "fx"] > 0
            assert found["mdfeedd_feed_tick_published_total", "futures", "quote"] > 0
            assert found["mdfeedd_reader_tick_lost_total", "futures", "store"] == 0
            assert found["mdfeedd_reader_tick_lag", "futures", "store"] >= 0
            begin = time.monotonic()
        assert time.monotonic() - begin < supervisor.limits.stop_s
        assert [c.state for c in supervisor.children] == [State.STOPPED] * 4
        assert {c.last_exit for c in supervisor.children} == {"exit status 0 (done)"}

    asyncio.run(scenario())
    published = [kinds(ring, shm_dir) for ring in ("futures", "fx")]
    quotes, trades = (sum(counts) for counts in zip(*published, strict=True))
    assert rows(tmp_path, "quotes") == (quotes, quotes)
    assert rows(tmp_path, "trades") == (trades, trades)
    with Reader("bars", "oldest", dtype=BAR, follow=False, directory=shm_dir) as reader:
        bars = len(reader.read(1 << 16, timeout=0))
    assert bars > 0
    files = f"{tmp_path}/bars/**/*.parquet"
    assert duckdb.connect().execute(f"SELECT count(*) FROM '{files}'").fetchone() == (bars,)
    assert not list(tmp_path.rglob("*.tmp"))


def test_recording_is_told_once_and_the_daemon_ends_with_it(shm_dir, tmp_path, testdata):
    """A file with ticks, one with the vendor's bars; consumers of rings of which one never comes."""
    recordings = testdata / "dbn" / "databento__dbn"
    ticks = min(recordings.rglob("test_data.trades.v3.dbn.zst"))
    bars = min(recordings.rglob("test_data.ohlcv-1m.v3.dbn.zst"))
    data = {
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": [
            {
                "name": name,
                "vendor": "replay",
                "options": {"paths": [str(path)], "min_consumers": 1},
            }
            for name, path in (("t", ticks), ("b", bars))
        ],
        "consumers": [
            {
                "name": "store",
                "type": "batch",
                "rings": ["t", "t.bars", "b", "b.bars"],
                "options": {"sink": {"type": "parquet", "path": str(tmp_path)}},
            }
        ],
    }

    async def scenario():
        supervisor = Supervisor(config.check(data), until_done=True)
        async with asyncio.timeout(60):
            await supervisor.run()
        return supervisor

    supervisor = asyncio.run(scenario())
    assert [child.state for child in supervisor.children] == [State.FINISHED] * 3
    assert not supervisor.failures
    trades = tail("t", shm_dir)
    assert trades > 0
    assert rows(tmp_path, "trades") == (trades, trades)
    made = tail("b.bars", shm_dir)
    assert made > 0
    count = f"SELECT count(*) FROM '{tmp_path}/bars/**/*.parquet'"
    assert duckdb.connect().execute(count).fetchone() == (made,)


def test_recording_that_is_not_there_ends_the_run_with_its_reason(shm_dir, tmp_path):
    data = {
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": [
            {"name": "t", "vendor": "replay", "options": {"paths": [str(tmp_path / "no.dbn")]}}
        ],
    }

    async def scenario():
        supervisor = Supervisor(config.check(data), until_done=True)
        async with asyncio.timeout(60):
            await supervisor.run()
        return supervisor

    failed = asyncio.run(scenario()).failures
    assert [child.name for child in failed] == ["t"]
    assert failed[0].last_code in {69, 78}
