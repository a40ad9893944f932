"""kill -9 of the writing process and of the broker, wherever it falls: each record once."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

WRITER = Path(__file__).with_name("writer.py")
REPOSITORY = Path(__file__).resolve().parents[3]
ROUNDS = int(os.environ.get("MDFEEDD_KAFKA_ROUNDS", "6"))
LIMIT_S = 240


class Writers:
    """One writing process after the other, of the same records."""

    def __init__(self, spawn, ring, batch, folder, mode):
        self._spawn = spawn
        self._path = folder / "records.npy"
        np.save(self._path, batch.records)
        self._ring = ring
        self._folder = folder
        self._mode = mode
        self.process = None
        self.lines = []

    def start(self, address, directory, seed):
        self.process = self._spawn(
            [sys.executable, WRITER, address, self._ring.name, directory, self._path, self._mode,
             str(seed)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        self.lines = []
        self._listener = threading.Thread(target=self._listen, args=(self.process,))
        self._listener.start()

    def _listen(self, process):
        for line in process.stdout:
            self.lines.append(line)

    def wait_for(self, word):
        """Until a line says so, or the process has ended."""
        deadline = time.monotonic() + LIMIT_S
        while not any(word in line for line in self.lines) and self.process.poll() is None:
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.002)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._listener.join()
        self.process.stdout.close()

    def finished(self):
        return self.process.poll() is not None and self.lines[-1:] == ["all\n"]


@pytest.fixture
def dice():
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def records(source, make, rng):
    """A ring with records to write."""

    def build(n):
        ring = source()
        ids = [ring.writer.instruments.add(f"S{i}") for i in range(9)]
        ticks = make.ticks(rng, n)
        ticks["instrument_id"] = rng.choice(ids, n)
        return ring, ring.publish(ticks)

    return build


def complete(writers, broker, directory, dice):
    """The last writer goes to the end."""
    writers.start(broker.address, directory, dice.randrange(2**32))
    writers.wait_for("all")
    writers.process.wait(LIMIT_S)
    writers.kill()
    assert writers.finished(), "".join(writers.lines)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["transactional", "idempotent"])
def test_writer_is_killed(apache, records, read, tmp_path, shm_dir, dice, spawn, mode):
    ring, batch = records(200_000)
    writers = Writers(spawn, ring, batch, tmp_path, mode)
    rounds = ROUNDS if mode == "transactional" else ROUNDS // 4
    for _ in range(rounds):
        writers.start(apache.address, shm_dir, dice.randrange(2**32))
        if dice.random() < 0.8:  # in the midst of it, mostly; else in its first second
            writers.wait_for("begins")
            time.sleep(dice.random() * 0.06)
        else:
            time.sleep(dice.random())
        writers.kill()
    complete(writers, apache, shm_dir, dice)
    stored = read(apache, ring.name).records()
    repeated = len(stored) - len(batch.records)
    if mode == "idempotent":  # at least once: a reader knows the repetitions by their numbers
        stored = stored[np.unique(stored["seq"], return_index=True)[1]]
    print(f"{apache.kind}: {rounds} kills, {repeated} records twice")
    assert (stored == batch.records).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_broker_and_writer_are_killed(own_kafka, records, read, tmp_path, shm_dir, dice, spawn):
    broker = own_kafka()
    ring, batch = records(100_000)
    writers = Writers(spawn, ring, batch, tmp_path, "transactional")
    writers.start(broker.address, shm_dir, dice.randrange(2**32))
    for _ in range(max(3, ROUNDS // 8)):
        writers.wait_for("stored")
        time.sleep(dice.random() * 0.05)
        both = dice.random() < 0.5
        if both:
            writers.kill()
        broker.kill()
        time.sleep(dice.random())
        broker.start()
        if both:
            writers.start(broker.address, shm_dir, dice.randrange(2**32))
        else:
            writers.lines.clear()
    with contextlib.suppress(ProcessLookupError):
        writers.kill()
    complete(writers, broker, shm_dir, dice)
    assert (read(broker, ring.name).records() == batch.records).all()
