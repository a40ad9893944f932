"""Ids that are unique over several tables."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.ring import Writer
from mdfeedd.ring.reader import Reader
from mdfeedd.strategy.merged import MAX_RETIRED, MergedInstruments
from mdfeedd.tick import TICK


@pytest.fixture
def tables(shm_dir):
    """Writers and the merged table of two rings of one feed index, and of a third."""
    indexes = (7, 7, 255)
    writers = [
        Writer(f"r{i}", 256, feed_index=index, directory=shm_dir) for i, index in enumerate(indexes)
    ]
    readers = [Reader(f"r{i}", directory=shm_dir) for i in range(3)]
    yield writers, MergedInstruments(readers)
    for one in (*readers, *writers):
        one.close()


def records(*ids):
    made = np.zeros(len(ids), TICK)
    made["instrument_id"] = ids
    return made


def test_first_come_keep_their_ids_and_the_others_get_free_ones(tables):
    writers, merged = tables
    for member, name in enumerate(("A", "B", "C")):
        own = writers[member].instruments.add(name)
        rows = records(own, 0, own)
        merged.make_unique(member, rows)
        ids = rows["instrument_id"].tolist()
        assert ids[1] == 0
        assert ids[0] == ids[2] == merged.merged(member, own)
        assert merged[ids[0]].symbol == name
        assert merged[ids[0]].instrument_id == ids[0]
        assert merged.symbol(ids[0]) == name
        assert merged.id(name) == ids[0]
    ids = [entry.instrument_id for entry in merged]
    assert len(set(ids)) == len(merged) == 3
    assert ids[0] == 7 << 24 | 1


def test_looked_up_before_any_record_came(tables):
    writers, merged = tables
    own = writers[2].instruments.add("C")
    assert merged[own].symbol == "C"
    assert "C" in merged
    assert own in merged


def test_what_is_not_there(tables):
    _writers, merged = tables
    assert merged.get(5) is None
    assert merged.symbol(0) == ""
    assert merged.symbol(5) == "#5"
    assert "X" not in merged
    for look_up in (merged.id, merged.__getitem__):
        with pytest.raises(KeyError):
            look_up("X" if look_up == merged.id else 5)


def test_vendors_own_names(tables):
    writers, merged = tables
    own = writers[1].instruments.add("ESZ6", vendor_symbol="ESZ6 Index")
    assert merged.ids_of(1, "ESZ6 Index") == merged.ids_of(1, "ESZ6") == [merged.merged(1, own)]
    assert merged.ids_of(0, "ESZ6") == []


def test_rings_that_follow_each_other_have_ids_of_their_own_while_there_are_any(tables):
    writers, merged = tables
    own = writers[0].instruments.add("A")
    merged.make_unique(1, records(*(byte << 24 | 1 for byte in range(64, 255))))
    seen = []
    for _ in range(100):
        rows = records(own)
        merged.make_unique(0, rows)
        seen.append(int(rows["instrument_id"][0]))
        assert merged[seen[-1]].symbol == "A"
        assert merged.ids("A") == seen[-1:]
        merged.renew(0)
    for at in range(100 - MAX_RETIRED):
        assert len(set(seen[at : at + MAX_RETIRED])) == MAX_RETIRED
    assert merged.get(seen[-1]).symbol == "A"  # as its records have it
    merged.make_unique(1, records(*(byte << 24 | 1 for byte in range(60))))
    assert merged.merged(0, own)  # the oldest gave way


def test_more_feeds_than_a_byte_can_tell(tables):
    _writers, merged = tables
    merged.make_unique(0, records(*(byte << 24 | 1 for byte in range(256))))
    with pytest.raises(ValueError, match="more than 256 feeds"):
        merged.make_unique(1, records(1 << 24 | 1))
