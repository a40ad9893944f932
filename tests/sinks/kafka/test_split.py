"""Records by partition keep their order, and those of the whole feed are in all of them."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.sinks.kafka._split import MAX_PARTITIONS, Splitter
from mdfeedd.tick import BAR, TICK


def by_numpy(records, places, partitions):
    ids = records["instrument_id"]
    where = np.array([places.get(number, -1) for number in ids.tolist()], int)
    return [records[(ids == 0) | (where == p)] for p in range(partitions)]


def parts_of(splitter, records):
    rows, bounds = splitter.split(records)
    size = records.dtype.itemsize
    return [
        rows[bounds[p] * size : bounds[p + 1] * size].view(records.dtype)
        for p in range(splitter.partitions)
    ]


@pytest.mark.parametrize("dtype", [TICK, BAR])
@pytest.mark.parametrize("partitions", [1, 2, 7, 300])
def test_same_as_by_numpy(rng, dtype, partitions):
    ids = rng.choice(np.arange(1, 2**32, 999_983), 3000, replace=False).astype("u4")
    places = {int(number): int(rng.integers(partitions)) for number in ids}
    splitter = Splitter(partitions)
    for number, place in places.items():
        splitter.learn(number, place)
    for n in (0, 1, 5000, 300):
        records = np.frombuffer(rng.bytes(n * dtype.itemsize), dtype).copy()
        records["instrument_id"] = rng.choice(ids, n)
        records["instrument_id"][rng.random(n) < 0.05] = 0
        records.flags.writeable = False
        for part, expected in zip(
            parts_of(splitter, records), by_numpy(records, places, partitions), strict=True
        ):
            assert part.tobytes() == expected.tobytes()


def test_unknown_instruments_are_named_and_nothing_is_split():
    splitter = Splitter(2)
    splitter.learn(5, 1)
    records = np.zeros(6, TICK)
    records["instrument_id"] = [7, 5, 0, 9, 7, 5]
    rows, unknown = splitter.split(records)
    assert rows is None
    assert unknown.tolist() == [7, 9]
    splitter.learn(7, 0)
    splitter.learn(9, 0)
    assert [len(part) for part in parts_of(splitter, records)] == [4, 3]
    splitter.forget()
    assert splitter.split(records)[0] is None


def test_instrument_that_moves_and_a_table_that_grows():
    splitter = Splitter(3)
    for turn in range(3):
        for number in range(1, 20_000):
            splitter.learn(number, (number + turn) % 3)
    records = np.zeros(100, TICK)
    records["instrument_id"] = np.arange(1, 101)
    for p, part in enumerate(parts_of(splitter, records)):
        assert ((part["instrument_id"] + 2) % 3 == p).all()


def test_what_cannot_be():
    for partitions in (0, MAX_PARTITIONS + 1):
        with pytest.raises(ValueError, match="partitions"):
            Splitter(partitions)
    splitter = Splitter(2)
    for number, partition in ((0, 0), (1, 2)):
        with pytest.raises(ValueError, match="instrument"):
            splitter.learn(number, partition)
    with pytest.raises(ValueError, match="contiguous"):
        splitter.split(np.zeros(10, TICK)[::2])
