"""The note beside the ring is whole or the one before it, wherever a kill falls."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.kafka.codec import SLOT_BYTES, Mark, Note, Notes

A = "0123456789abcdef" * 2


def fresh():
    return bytearray(2 * SLOT_BYTES)


def test_note_comes_back():
    memory = fresh()
    notes = Notes(memoryview(memory), "cluster/topic")
    assert notes.load() is None
    for note in (
        Note(1, None, {0: 5, 2: 7}),
        Note(100, Mark(A, 2**64 - 1), {0: 2**62, 4095: 0}),
        Note(2**63, Mark(A, 1), {}),
        Note(7, Mark(A, 1), {1: 3}, told=2**32 - 1),
    ):
        notes.save(note)
        assert Notes(memoryview(memory), "cluster/topic").load() == note


def test_note_of_another_topic_is_none():
    memory = fresh()
    Notes(memoryview(memory), "cluster/topic").save(Note(1, None, {0: 5}))
    assert Notes(memoryview(memory), "cluster/other").load() is None


def test_kill_at_each_byte_of_a_note_leaves_one_of_the_two():
    """Bytes land in any order: cut, and cut with the rest of the slot's former note."""
    memory = fresh()
    notes = Notes(memoryview(memory), "t")
    old, new = Note(10, Mark(A, 10), {0: 1, 1: 2}), Note(20, Mark(A, 20), {0: 3, 1: 4})
    notes.save(Note(5, Mark(A, 5), {0: 0, 1: 0}))
    notes.save(old)
    before = bytes(memory)
    notes.save(new)
    after = bytes(memory)
    changed = [i for i in range(len(memory)) if before[i] != after[i]]
    assert changed
    for count in range(len(changed) + 1):
        for torn in (changed[:count], changed[count:]):
            mixed = bytearray(before)
            for i in torn:
                mixed[i] = after[i]
            found = Notes(memoryview(mixed), "t").load()
            assert found == (new if bytes(mixed) == after else old)


def test_each_damaged_byte_is_noticed():
    memory = fresh()
    notes = Notes(memoryview(memory), "t")
    first, second = Note(1, Mark(A, 1), {0: 1}), Note(2, Mark(A, 2), {0: 2})
    notes.save(first)
    notes.save(second)
    place = memory.index(b"MDFKFK01")
    for i in range(place, place + 72):
        damaged = bytearray(memory)
        damaged[i] ^= 0x10
        assert Notes(memoryview(damaged), "t").load() in (first, second)
        assert Notes(memoryview(damaged), "t").load() == first


def test_limits():
    with pytest.raises(ValueError, match="bytes"):
        Notes(memoryview(bytearray(100)), "t")
    with pytest.raises(ValueError, match="partitions"):
        Notes(memoryview(fresh()), "t").save(Note(1, None, {4096: 1}))
