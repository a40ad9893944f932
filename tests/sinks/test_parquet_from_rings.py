"""Rings to Parquet by the batch consumer in a process of its own, killed at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mdfeedd.ring import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, Kind

DEADLINE_S = 60.0
KILLS = int(os.environ.get("MDFEEDD_KILLS", "5"))
NEVER = 10**9
TABLES = ("quotes", "trades", "corrections")

PROGRAM = """
import sys, threading, signal
sys.path[:0] = {path!r}
from mdfeedd.consumers.batch import BatchConsumer, BatchOptions
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
options = BatchOptions("parquet", {sink!r}, **{options!r})
BatchConsumer("store", options, {rings!r}, {directory!r}).run(stop)
"""


class Process:
    """A batch consumer in a process of its own."""

    def __init__(self, spawn, shm_dir, out, rings=("cme",), sink=None, **options):
        code = PROGRAM.format(
            path=sys.path,
            sink={"path": str(out)} | (sink or {}),
            options={"flush_interval_s": 0.01} | options,
            rings=list(rings),
            directory=shm_dir,
        )
        self.process = spawn([sys.executable, "-c", code])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)


def info(shm_dir, name="cme"):
    found = [c for c in inspect(name, shm_dir).consumers if c.name == "store"]
    return found[0] if found else None


def wait_for(condition):
    """Wait until `condition()` is true, with a deadline that only a fault reaches."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_what_the_rings_held_is_what_the_files_hold(rng, make, expect, stored, shm_dir, spawn):
    names = {i: f"S{i}-€" for i in range(1, 9)}
    ticks, bars = make.ticks(rng, 20_000), make.bars(rng, 2000)
    with (
        Writer("cme", capacity=32_768, directory=shm_dir) as w,
        Writer("cme.bars", capacity=4096, dtype=BAR, feed="cme", directory=shm_dir) as b,
    ):
        for symbol in names.values():
            assert names[w.instruments.add(symbol)] == symbol
            b.instruments.add(symbol)
        consumer = Process(
            spawn, shm_dir, stored.out, ["cme", "cme.bars"], {"row_group_rows": 1000}
        )
        position = 0
        while position < len(ticks):
            n = int(rng.integers(1, 3000))
            w.publish(ticks[position : position + n])
            position += n
        b.publish(bars)
        wait_for(lambda: info(shm_dir) and info(shm_dir, "cme.bars"))
        consumer.stop()
        counters, bar_counters = info(shm_dir).counters, info(shm_dir, "cme.bars").counters
    for read in (stored.by_duckdb, stored.by_polars):
        assert read("trades") == expect.trades(ticks, names.get, "cme")
        assert read("corrections") == expect.trades(ticks, names.get, "cme", kinds=(3, 4))
        assert read("quotes") == expect.quotes(ticks, names.get, "cme")
        assert read("bars") == expect.bars(bars, names.get, lambda _: "cme")
    rows = sum(np.isin(ticks["kind"], [1, 2, 3, 4]))
    assert counters["stored_records"] == rows
    assert counters["skipped_records"] == len(ticks) - rows
    assert counters["pending_records"] == 0
    assert bar_counters["stored_records"] == len(bars)
    sizes = sum(path.stat().st_size for path in stored.files())
    assert counters["stored_bytes"] + bar_counters["stored_bytes"] == sizes


def test_killed_at_random_points_it_leaves_no_hole_no_double_and_no_half_file(
    rng, make, stored, shm_dir, spawn
):
    sink = {"row_group_rows": 50, "roll_bytes": 4000, "roll_s": 0.05}
    published = []
    with Writer("cme", capacity=1 << 18, directory=shm_dir) as w:
        w.instruments.add("ESZ5")
        for _ in range(KILLS):
            consumer = Process(spawn, shm_dir, stored.out, sink=sink, batch_size=64)
            before = info(shm_dir).acked if info(shm_dir) else 0
            end = time.monotonic() + float(rng.uniform(0.0, 0.25))
            started = False
            while not started or time.monotonic() < end:
                ticks = make.ticks(rng, 100, instruments=1, days=1)
                ticks["seq"] = w.publish(ticks) + np.arange(len(ticks))
                published.append(ticks)
                if not started:
                    wait_for(
                        lambda before=before: info(shm_dir).acked > before if info(shm_dir) else 0
                    )
                    end = time.monotonic() + float(rng.uniform(0.0, 0.25))
                    started = True
            consumer.kill()
        consumer = Process(spawn, shm_dir, stored.out, sink=sink)
        wait_for(lambda: info(shm_dir).alive)
        last = w.next_seq - 1
        wait_for(lambda: info(shm_dir).cursor == last)
        consumer.stop()
        assert info(shm_dir).lost == 0
        assert info(shm_dir).acked == last
    ticks = np.concatenate(published)
    wanted = ticks["seq"][np.isin(ticks["kind"], [1, 2, 3, 4])]
    got = [row[0] for table in TABLES for row in stored.by_duckdb(table)]
    assert sorted(got) == wanted.tolist()
    assert stored.temporaries() == []
    polars = [row[0] for table in TABLES for row in stored.by_polars(table)]
    assert sorted(polars) == wanted.tolist()


STEPS = (
    ("os.pwrite", "after"),
    ("os.fsync", "after"),
    ("Path.rename", "before"),
    ("Path.rename", "after"),
    ("_sync_folder", "after"),
    ("ParquetSink._take", "after"),
    ("Reader.ack", "before"),
    ("Reader.ack", "after"),
)

KILLED_AT = """
import os, signal, sys, threading
sys.path[:0] = {path!r}
from pathlib import Path
from mdfeedd.consumers import batch
from mdfeedd.ring import Reader
from mdfeedd.sinks import parquet
from mdfeedd.sinks.parquet import ParquetSink, _File
calls = 0

def killing(inner, after):
    def call(*given, **named):
        global calls
        calls += 1
        if calls == {call} and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*given, **named)
        if calls == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

step = {step!r}
if step == "_sync_folder":
    parquet._sync_folder = killing(parquet._sync_folder, {after})
else:
    owner, name = step.split(".")
    owner = globals()[owner]
    setattr(owner, name, killing(getattr(owner, name), {after}))
options = batch.BatchOptions(
    "parquet",
    {{"path": {out!r}, "row_group_rows": 20, "roll_bytes": 2000}},
    batch_size=50, flush_interval_s=0.001, follow=False, wait_s=0,
)
batch.BatchConsumer("store", options, ["cme"], {directory!r}).run(threading.Event())
"""


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_killed_at_each_step_it_leaves_no_hole_and_no_double(rng, make, stored, shm_dir, step):
    """The n-th call of each step that touches the disk or the registry is the last thing done."""
    ticks = make.ticks(rng, 500, instruments=1, days=1)
    with Writer("cme", capacity=1024, directory=shm_dir) as w:
        w.instruments.add("ESZ5")
        w.publish(ticks)
    for call in (int(rng.integers(1, 3)), int(rng.integers(1, 9)), NEVER):
        code = KILLED_AT.format(
            path=sys.path,
            call=call,
            after=step[1] == "after",
            step=step[0],
            out=str(stored.out),
            directory=shm_dir,
        )
        ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=DEADLINE_S)
        assert ended.returncode == (0 if call == NEVER else -signal.SIGKILL) or 2 < call < NEVER
    got = [row[0] for table in TABLES for row in stored.by_duckdb(table)]
    assert sorted(got) == ticks["seq"][np.isin(ticks["kind"], [1, 2, 3, 4])].tolist()
    assert stored.temporaries() == []


def test_unwritable_folder_ends_the_process_with_one_sentence(shm_dir, tmp_path):
    (tmp_path / "file").write_text("")
    code = PROGRAM.format(
        path=sys.path,
        sink={"path": str(tmp_path / "file" / "out")},
        options={},
        rings=["cme"],
        directory=shm_dir,
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert (
        ended.stderr.strip()
        .splitlines()[-1]
        .startswith(f"mdfeedd.sinks.protocol.SinkError: cannot write to the folder {tmp_path}")
    )
    assert os.listdir(tmp_path) == ["file"]


def test_definitions_are_counted_as_skipped(stored, shm_dir, make, rng, spawn):
    ticks = make.ticks(rng, 100)
    ticks["kind"] = Kind.DEFINITION
    with Writer("cme", capacity=256, directory=shm_dir) as w:
        w.publish(ticks)
        consumer = Process(spawn, shm_dir, stored.out)
        wait_for(lambda: info(shm_dir) and info(shm_dir).acked == 100)
        consumer.stop()
        assert info(shm_dir).counters["skipped_records"] == 100
    assert stored.files() == []
