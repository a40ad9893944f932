"""The journal's process killed at random points: what is stored is what was published, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.journal import JournalReader, JournalWriter, WriterOptions
from mdfeedd.journal.recovery import walk
from mdfeedd.journal.segment import Fault, SegmentFile, list_segments
from mdfeedd.ring import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import TICK

PROGRAM = Path(__file__).with_name("killed.py")
ROUNDS = int(os.environ.get("MDFEEDD_KILL_ROUNDS", "34"))
CAPACITY = 1 << 20
PATIENCE_S = 60


@pytest.fixture
def seed():
    found = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={found}")
    return found


class Lives:
    """One journal's process after the other; the first of them waits for imports."""

    def __init__(self, spawn, *arguments):
        self._parent = spawn(
            [sys.executable, PROGRAM, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._pid = 0

    def start(self):
        self._parent.stdin.write("\n")
        self._pid = int(self._parent.stdout.readline())

    def kill(self):
        os.kill(self._pid, signal.SIGKILL)
        assert self._parent.stdout.readline() == "ended\n"


class Publisher(threading.Thread):
    """Publishes until stopped, at some pace; never so much that the ring would lap the journal."""

    def __init__(self, writer, generator):
        super().__init__()
        self.writer, self.generator = writer, generator
        self.published = []
        self.stop = threading.Event()

    def stored(self):
        ring = inspect("es", str(self.writer.path.parent))
        return max((c.acked for c in ring.consumers), default=0)

    def run(self):
        rng = np.random.default_rng(self.generator.randrange(2**32))
        while not self.stop.is_set():
            if self.writer.next_seq > self.stored() + CAPACITY // 2:
                time.sleep(0.005)
                continue
            n = self.generator.choice([1, 3, 50, 700])
            records = np.zeros(n, TICK)
            records.view("u1").reshape(n, 64)[:, 8:] = rng.integers(0, 256, (n, 56), np.uint8)
            self.writer.publish(records)
            self.published.append(records)
            time.sleep(self.generator.choice([0, 0.0005, 0.002]))


def faults(folder):
    """What verify would tell."""
    found, expected = [], None
    for name in list_segments(folder):
        with SegmentFile(name) as file:
            found += [f for f in walk(file, file.header, file.size) if isinstance(f, Fault)]
            if expected is not None and file.header.first_seq != expected:
                found.append(f"{name.path} begins at {file.header.first_seq}, not {expected}")
            for f in walk(file, file.header, file.size):
                expected = (getattr(f, "block", None) and f.block.last + 1) or expected
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fsync", ["none", "interval", "batch"])
def test_killed_at_any_point_it_stores_each_record_once(tmp_path, shm_dir, spawn, fsync, seed):
    generator = random.Random(seed)
    folder = tmp_path / "journal"
    with Writer("es", CAPACITY, directory=shm_dir) as writer:
        publisher = Publisher(writer, generator)
        publisher.start()
        reader, read = None, []
        journal = Lives(spawn, folder, shm_dir, fsync)
        for _ in range(ROUNDS):
            journal.start()
            if reader is None:  # else a busy machine may kill it each time before it writes
                deadline = time.monotonic() + PATIENCE_S
                while not list_segments(folder / "es"):
                    assert time.monotonic() < deadline, "it never began"
                    time.sleep(0.001)
            time.sleep(generator.random() * 0.08)
            journal.kill()
            if reader is None and list_segments(folder / "es"):
                reader = JournalReader(folder / "es")  # one that lives through all of it
            while reader is not None and len(batch := reader.read(5000)):
                assert batch.lost == 0, batch.why
                read.append(batch.records.copy())
        publisher.stop.set()
        publisher.join()
        last = writer.next_seq - 1
        journal.start()
        deadline = time.monotonic() + PATIENCE_S
        while not any(c.acked == last for c in inspect("es", shm_dir).consumers):
            assert time.monotonic() < deadline, "it never caught up"
            time.sleep(0.01)
        journal.kill()
    JournalWriter(folder / "es", "es", WriterOptions(segment_bytes=1 << 17)).close()
    wanted = np.concatenate(publisher.published)
    wanted["seq"] = np.arange(1, last + 1)
    assert len(wanted) == last
    assert faults(folder / "es") == []
    assert reader is not None
    while len(batch := reader.read(5000)):
        assert batch.lost == 0, batch.why
        read.append(batch.records.copy())
    reader.close()
    assert np.concatenate(read).tobytes() == wanted.tobytes()
    with JournalReader(folder / "es") as afterwards:
        parts = []
        while len(batch := afterwards.read(100_000)):
            assert batch.lost == 0
            parts.append(batch.records.copy())
    assert np.concatenate(parts).tobytes() == wanted.tobytes()
