"""The file of positions that a feed finds at its start: of another size or data set, cut, or full of noise."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from mdfeedd.feeds.databento.resume import HEAD_BYTES, POSITION_BYTES, open_positions
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring.segment import resume_path
from mdfeedd.sim.databento import Habits

KNOWN_AT = 48  # magic, slots, used, dataset


@pytest.fixture
def plan(shm_dir):
    return RingPlan("r", 1024, 1, 16, shm_dir)


def written(plan, known_ns=7):
    """A file as a feed leaves it; returns its bytes."""
    positions = open_positions(plan, "GLBX.MDP3", streams=True, fresh=True)
    positions.known_ns = known_ns
    positions.begin(1, 5)
    del positions
    data = resume_path(plan.name, plan.directory).read_bytes()
    assert struct.unpack_from("<q", data, KNOWN_AT) == (known_ns,)
    return bytearray(data)


def reopened(plan, data=None, dataset="GLBX.MDP3", **changed):
    if data is not None:
        resume_path(plan.name, plan.directory).write_bytes(data)
    positions = open_positions(plan, dataset, **{"streams": True, "fresh": False, **changed})
    positions.settle(10, 10)
    return positions.known_ns, positions.tracks(1)


def test_what_was_left_is_found(plan):
    written(plan)
    assert reopened(plan) == (7, True)


def test_fresh_ring_knows_nothing(plan):
    written(plan)
    assert reopened(plan, fresh=True) == (0, False)


def test_positions_of_another_dataset(plan):
    written(plan)
    assert reopened(plan, dataset="GLBX.MDP") == (0, False)
    written(plan)
    assert reopened(plan, dataset="GLBX.MDP33") == (0, False)


def test_positions_of_another_shard(plan):
    """They say nothing of the instruments that are ours now."""
    of_shard = replace(plan, shard=Shard(1, 2))
    written(plan)
    assert reopened(of_shard) == (0, False)
    written(of_shard)
    assert reopened(of_shard) == (7, True)
    assert reopened(replace(plan, shard=Shard(1, 4))) == (0, False)
    written(of_shard)
    assert reopened(plan) == (0, False)


def test_file_of_another_size(plan):
    data = written(plan)
    for size in (0, 1, HEAD_BYTES, len(data) - 1, len(data) + 4096):
        assert reopened(plan, bytes(data[:size]).ljust(size, b"x")) == (0, False)
        written(plan)


def test_name_without_an_end(plan):
    """Nothing after the head of the file is zero, so whoever looks for the end of the name runs out of it."""
    data = written(plan)
    data[16 + len("GLBX.MDP3") :] = b"\xff" * (len(data) - 16 - len("GLBX.MDP3"))
    assert reopened(plan, data) == (0, False)


def test_table_without_a_free_place(plan):
    data = written(plan)
    for at in range(HEAD_BYTES, len(data), POSITION_BYTES):
        struct.pack_into("<Q", data, at, 1 << 63 | at)
    assert reopened(plan, data) == (0, False)


def test_key_at_the_wrong_place(plan):
    data = written(plan)
    keys = [1 << 63 | n << 24 | 1 << 8 | 1 for n in (1, 2, 3)]
    for place in range((len(data) - HEAD_BYTES) // POSITION_BYTES):
        one = bytearray(data)
        struct.pack_into("<Q", one, HEAD_BYTES + place * POSITION_BYTES, keys[0])
        assert reopened(plan, one) in ((0, False), (7, True))
    for place, key in enumerate(keys * 2):  # twice the same key: one of them is never found
        struct.pack_into("<Q", data, HEAD_BYTES + place * POSITION_BYTES, key)
    assert reopened(plan, data) == (0, False)


def test_time_before_all_time(plan):
    assert reopened(plan, written(plan, known_ns=-1)) == (0, False)


def test_intent_that_points_nowhere(plan):
    data = written(plan)
    for slot in (1 << 20, 2**64 - 1):
        struct.pack_into("<QQQQ", data, KNOWN_AT + 16, 1, 0, 0, slot)
        assert reopened(plan, data) == (7, True)


@pytest.mark.parametrize("seed", range(40))
def test_noise(plan, seed):
    rng = random.Random(f"resume {seed}")
    data = written(plan)
    for _ in range(rng.choice((1, 10, 1000))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    known_ns, tracked = reopened(plan, data)
    assert known_ns >= 0
    assert tracked in (True, False)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("noise", ["\x00", "\xff", "random"])
def test_feed_goes_on_with_a_damaged_file(life, truth, noise):
    """It knows nothing of the past then, and says so: a GAP from the last sign of life on."""
    habits = Habits(heartbeat_s=0.3, max_connects_per_s=1000)
    first = life(recovery="replay", name="same", habits=habits).start()
    first.until(lambda: first.count() > 50, "ticks")
    first.end()
    path = resume_path(first.plan.name, first.plan.directory)
    size = path.stat().st_size
    path.write_bytes(
        random.Random(1).randbytes(size) if noise == "random" else noise.encode("latin-1") * size
    )
    second = life(recovery="replay", name="same", market=first.market, habits=habits).start()
    second.until(lambda: second.count() > 120, "more ticks")
    second.end()
    assert [line for line, _, _, _ in second.holes()] == [1]
    assert second.holes()[0][3] >= second.core.sessions[0].connected_ns
