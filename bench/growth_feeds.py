"""Part of growth.py: so many feed processes at one rate each, and one reader of them all."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from mdfeedd import MultiReader
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import RingError
from mdfeedd.sim.feed import SyntheticFeed, SyntheticOptions

RATE = 5_000.0
START_S = 60.0
SPAWN = multiprocessing.get_context("spawn")


def _feed(name: str, index: int, directory: str) -> None:
    options = SyntheticOptions(rate=RATE, burstiness=0.0, seed=index)
    plan = RingPlan(name, feed_index=index, directory=directory)
    SyntheticFeed(name, options, plan).run(threading.Event())  # until it is killed


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _attached(names: list[str], directory: str) -> MultiReader:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return MultiReader(names, directory=directory)
        except RingError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _one(count: int, directory: str, seconds: float) -> dict[str, Any]:
    names = [f"feed{count}-{i}" for i in range(count)]
    children = [
        SPAWN.Process(target=_feed, args=(name, i, directory)) for i, name in enumerate(names)
    ]
    for child in children:
        child.start()
    try:
        with _attached(names, directory) as reader:
            settled = time.monotonic() + 1.0
            while time.monotonic() < settled:
                reader.read(timeout=0.1)
            before, own = sum(_cpu_s(child.pid or 0) for child in children), time.process_time()
            ticks, waited = 0, []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                records = reader.read(timeout=0.1).records
                if len(records):
                    waited.append(time.time_ns() - records["ts_recv"])
                    ticks += len(records)
            used = sum(_cpu_s(child.pid or 0) for child in children) - before
            own = time.process_time() - own
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.join()
    p50, p99 = np.percentile(np.concatenate(waited), (50, 99)) / 1e3
    return {
        "feeds": count,
        "ticks_per_s": round(ticks / seconds),
        "feed_cpu_us_per_tick": round(used / ticks * 1e6, 2),
        "feed_cpu_percent_each": round(used / seconds / count * 100, 1),
        "reader_cpu_us_per_tick": round(own / ticks * 1e6, 2),
        "p50_us": round(float(p50), 1),
        "p99_us": round(float(p99), 1),
    }


def measure(counts: tuple[int, ...], directory: str, *, quick: bool) -> list[dict[str, Any]]:
    """A row for each number of feeds."""
    return [_one(count, directory, 1.5 if quick else 4.0) for count in counts]
