"""What attached readers cost a writer in Python: 0 to 16 reading processes, one of them stopped."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from mdfeedd.ring import Writer
from mdfeedd.tick import TICK

COUNTS = (0, 1, 2, 4, 8, 16)
CHUNK = 1024
ATTACH_S = 60
_FOLLOW = """
import os, sys
os.sched_setaffinity(0, {{{cpu}}})
from mdfeedd.ring import Reader
reader = Reader({ring!r}, consumer={name!r}, directory={directory!r})
while True:
    reader.read()
"""


def _cost_ns(writer: Writer, records: np.ndarray, chunks: int) -> float:
    """ns a record, median over chunks of calls."""
    publish, clock, costs = writer.publish, time.perf_counter_ns, []
    for _ in range(chunks):
        start = clock()
        for _ in range(CHUNK):
            publish(records)
        costs.append((clock() - start) / (CHUNK * len(records)))
    return statistics.median(costs)


def _attach(writer: Writer, children: list[Any], upto: int, cpu: int, directory: str) -> None:
    for i in range(len(children), upto):
        code = _FOLLOW.format(cpu=cpu, ring=writer.name, name=f"r{i}", directory=directory)
        children.append(subprocess.Popen([sys.executable, "-c", code]))
    deadline = time.monotonic() + ATTACH_S
    while writer.consumer_count() < upto:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {writer.consumer_count()} of {upto} readers have attached")
        time.sleep(0.01)


def _row(with_readers: Writer, alone: Writer, chunks: int, turns: int) -> dict[str, float]:
    one, many = np.zeros(1, TICK), np.zeros(64, TICK)
    row: dict[str, float] = {}
    for kind, records in (("single", one), ("batch", many)):
        pairs = [
            [_cost_ns(w, records, chunks) for w in (with_readers, alone)] for _ in range(turns)
        ]
        row[f"{kind}_ns"] = round(statistics.median(a for a, _ in pairs), 2)
        row[f"{kind}_alone_ns"] = round(statistics.median(b for _, b in pairs), 2)
        row[f"{kind}_ratio"] = round(statistics.median(a / b for a, b in pairs), 3)
    return row


def measure(directory: str, cpus: tuple[int, int], scale: float) -> list[dict[str, float]]:
    """A row for each number of readers; the ring without readers is measured in turn with the other."""
    chunks, turns = max(8, int(60 * scale)), 5
    children: list[subprocess.Popen[bytes]] = []
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpus[0]})
    rows = []
    try:
        with (
            Writer("fanout", directory=directory) as followed,
            Writer("alone", directory=directory) as alone,
        ):
            for count in COUNTS:
                _attach(followed, children, count, cpus[1], directory)
                row = {"readers": count, "stopped": 0}
                rows.append(row | _row(followed, alone, chunks, turns))
                if count:
                    children[-1].send_signal(signal.SIGSTOP)
                    row = {"readers": count, "stopped": 1}
                    rows.append(row | _row(followed, alone, chunks, turns))
                    children[-1].send_signal(signal.SIGCONT)
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
        os.sched_setaffinity(0, allowed)
    return rows
