"""kill -9 at random points, hundreds of times: nothing torn, repeated or reordered, sleepers wake."""

from __future__ import annotations

import os
import random
import signal
import time

import numpy as np
import pytest

from mdfeedd import Reader, Writer
from mdfeedd.ring import RingBusy

CHECKED = np.dtype(
    [("seq", "<u8"), ("own_seq", "<u8"), ("nonce", "<u8"), ("mix", "<u8"), ("pad", "<u8", 4)]
)
KILLS = 125  # of each capacity
CHILD_S = 20  # a child that nobody killed ends by itself
FACTOR = np.uint64(0x9E3779B97F4A7C15)


def mixed(seq: np.ndarray, nonce: np.ndarray) -> np.ndarray:
    return (seq * FACTOR) ^ nonce


def publish_for_ever(directory: str, capacity: int, nonce: int) -> None:
    rng = random.Random(nonce)
    writer = Writer("k", capacity, CHECKED, directory=directory)
    records = np.zeros(256, CHECKED)
    end = time.monotonic() + CHILD_S
    while time.monotonic() < end:
        n = rng.choice([1, 1, 2, 7, 64, 200])
        batch = records[:n]
        batch["own_seq"] = np.arange(writer.next_seq, writer.next_seq + n)
        batch["nonce"] = nonce
        batch["mix"] = mixed(batch["own_seq"], batch["nonce"])
        batch["pad"] = batch["mix"][:, None]
        writer.publish(batch)


def verify(records: np.ndarray) -> None:
    assert (records["own_seq"] == records["seq"]).all(), "a record under another's number"
    assert (records["mix"] == mixed(records["seq"], records["nonce"])).all(), "torn"
    assert (records["pad"] == records["mix"][:, None]).all(), "torn"
    assert (np.diff(records["seq"].astype(np.int64)) > 0).all(), "reordered or repeated"


def forked(work) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(3)


@pytest.mark.parametrize("capacity", [256, 4096])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_writer_killed_at_random_points(shm_dir: str, capacity: int) -> None:
    rng = random.Random(capacity)
    Writer("k", capacity, CHECKED, directory=shm_dir).close()
    before = Reader("k", "oldest", directory=shm_dir)
    content = np.zeros(0, CHECKED)  # the newest records that `before` has seen
    got = 0
    for kill in range(KILLS):
        pid = forked(lambda nonce=kill + 1: publish_for_ever(shm_dir, capacity, nonce))
        end = time.monotonic() + rng.uniform(0.0005, 0.006)
        while time.monotonic() < end:
            batch = before.read(512, timeout=0.001)
            verify(batch.records)
            got += len(batch)
            content = np.concatenate([content, batch.records])[-2 * capacity :]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with Reader("k", "oldest", directory=shm_dir) as after:
            while len(records := after.read(timeout=0).records):
                verify(records)
                _, ours, theirs = np.intersect1d(
                    content["seq"], records["seq"], assume_unique=True, return_indices=True
                )
                assert (content[ours] == records[theirs]).all(), "one number, two contents"
        assert got + before.lost == before.next_seq - 1
    assert got > KILLS
    before.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sleeper_is_woken_by_the_writer_after_the_killed_one(shm_dir: str) -> None:
    Writer("k", 256, CHECKED, directory=shm_dir).close()
    rng = random.Random(5)
    with Reader("k", directory=shm_dir, spin=0.0) as reader:
        for round_ in range(40):
            pid = forked(lambda nonce=round_: publish_for_ever(shm_dir, 256, nonce))
            time.sleep(rng.uniform(0, 0.004))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            while len(reader.read(timeout=0)):
                pass
            child = forked(lambda: (time.sleep(0.01), publish_one(shm_dir)))
            try:
                assert len(reader.read(timeout=20)) >= 1
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def publish_one(directory: str) -> None:
    with Writer("k", 256, CHECKED, directory=directory) as writer:
        writer.publish(np.zeros(1, CHECKED))
        time.sleep(CHILD_S)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_readers_killed_leave_the_writer_and_the_registry_usable(shm_dir: str) -> None:
    rng = random.Random(11)
    with Writer("k", 1024, CHECKED, directory=shm_dir) as writer:
        records = np.zeros(8, CHECKED)

        def read() -> None:
            reader = Reader("k", directory=shm_dir)
            end = time.monotonic() + CHILD_S
            while time.monotonic() < end:
                reader.read(timeout=1)

        for _ in range(30):
            pids = [forked(read) for _ in range(3)]
            end = time.monotonic() + rng.uniform(0.001, 0.01)
            while time.monotonic() < end:
                writer.publish(records)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        assert writer.consumer_count() == 0
        with Reader("k", consumer="alive", directory=shm_dir) as reader:
            assert reader.registered
            writer.publish(records)
            assert len(reader.read(timeout=20)) == 8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_writers_race_for_one_ring(shm_dir: str) -> None:
    for round_ in range(40):
        name = f"race{round_}"

        def contend(name: str = name) -> None:
            try:
                writer = Writer(name, 256, CHECKED, directory=shm_dir)
            except RingBusy:
                os._exit(1)
            time.sleep(0.02)
            writer.close()
            os._exit(0)

        pids = [forked(contend) for _ in range(3)]
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
        assert codes[0] == 0
        assert set(codes) <= {0, 1}
