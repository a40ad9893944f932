"""`read_into`: what `read` does, into the caller's array: it follows the name, waits, and tells of losses."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mdfeedd import Reader
from mdfeedd.ring import RingError, RingOverrun, Writer
from mdfeedd.tick import TICK

CAPACITY = 256


@pytest.mark.parametrize("timeout", [0.0, 30.0])
def test_it_follows_the_name_to_another_ring(shm_dir: str, ticks, timeout: float) -> None:
    out = np.zeros(64, TICK)
    with Writer("r", CAPACITY, directory=shm_dir) as writer:
        writer.publish(ticks(5))
        reader = Reader("r", start="oldest", directory=shm_dir)
        assert reader.read_into(out) == 5
    with reader, Writer("r", 4 * CAPACITY, directory=shm_dir) as writer:
        writer.publish(ticks(7))
        got = reader.read_into(out, timeout=timeout) or reader.read_into(out, timeout=timeout)
        assert (got, reader.reattached) == (7, 1)
        assert reader.capacity == 4 * CAPACITY


def test_a_ring_that_has_ended_is_waited_for_as_long_as_said(shm_dir: str, ticks) -> None:
    """Not given up at once, which made a loop around it spin; without `follow` it is."""
    out = np.zeros(64, TICK)
    with Writer("r", directory=shm_dir) as writer:
        reader = Reader("r", directory=shm_dir)
        leaves = Reader("r", follow=False, directory=shm_dir, consumer="leaves")
        writer.publish(ticks(1))
    with reader, leaves:
        assert reader.read_into(out) == leaves.read_into(out) == 1
        began = time.monotonic()
        assert reader.read_into(out, timeout=0.3) == 0
        assert time.monotonic() - began >= 0.3
        assert leaves.read_into(out, timeout=3600) == 0


def test_it_is_woken_by_the_first_record(shm_dir: str, ticks) -> None:
    out = np.zeros(64, TICK)
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        later = threading.Timer(0.05, writer.publish, [ticks(3)])
        later.start()
        assert reader.read_into(out, timeout=60) == 3
        later.join()


def test_the_ring_that_is_open_is_polled_alone(shm_dir: str, ticks) -> None:
    out = np.zeros(64, TICK)
    with Writer("r", CAPACITY, directory=shm_dir) as writer:
        reader = Reader("r", directory=shm_dir)
        writer.publish(ticks(2))
    with reader, Writer("r", 4 * CAPACITY, directory=shm_dir) as writer:
        writer.publish(ticks(7))
        assert [reader.poll_into(out) for _ in range(3)] == [2, 0, 0]
        assert reader.reattached == 0


def test_a_ring_of_other_records_is_refused(shm_dir: str, ticks) -> None:
    wide = np.dtype([*[(name, TICK[name]) for name in TICK.names], ("more", "<u8", 8)])
    with Writer("r", directory=shm_dir) as writer:
        reader = Reader("r", directory=shm_dir)
        writer.publish(ticks(1))
    with reader:
        out = np.zeros(4, TICK)
        assert reader.read_into(out) == 1
        with Writer("r", dtype=wide, directory=shm_dir) as writer:
            writer.publish(np.zeros(1, wide))
            with pytest.raises((RingError, TypeError)):
                reader.read_into(out, timeout=30)
        assert not out["seq"][1:].any()


def test_a_loss_it_has_met_is_no_loss_before_the_next_batch(shm_dir: str, ticks) -> None:
    out = np.zeros(8, TICK)
    with (
        Writer("r", CAPACITY, directory=shm_dir) as writer,
        Reader("r", directory=shm_dir) as reader,
    ):
        for _ in range(8):
            writer.publish(ticks(CAPACITY // 2))
        assert reader.read_into(out) == 8
        lost = reader.lost
        assert lost == int(out["seq"][0]) - 1 > 0
        batch = reader.read(16, timeout=0)
        assert (batch.lost, batch.first_seq) == (0, int(out["seq"][-1]) + 1)
        for _ in range(8):
            writer.publish(ticks(CAPACITY // 2))
        batch = reader.read(16, timeout=0)
        assert batch.lost == reader.lost - lost > 0


def test_an_overrun_is_raised_where_that_is_asked_for(shm_dir: str, ticks) -> None:
    out = np.zeros(8, TICK)
    with (
        Writer("r", CAPACITY, directory=shm_dir) as writer,
        Reader("r", on_overrun="raise", directory=shm_dir) as reader,
    ):
        for _ in range(8):
            writer.publish(ticks(CAPACITY // 2))
        with pytest.raises(RingOverrun):
            reader.read_into(out)
        first = reader.next_seq
        assert reader.read_into(out) == 8
        assert out["seq"].tolist() == list(range(first, first + 8))
        assert reader.read(1, timeout=0).lost == 0
