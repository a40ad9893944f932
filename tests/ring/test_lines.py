"""Lines of a feed in shared memory: who counts where, over restarts and versions, and what is read back."""

from __future__ import annotations

import pytest

from mdfeedd import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.lines import LINE_VALUES, LINES, LineKey, WriterLines

A, B = LineKey(310, "incremental", "A"), LineKey(310, "incremental", "B")
SNAPSHOT = LineKey(32_767, "snapshot", "A")


def seen(shm_dir: str) -> dict[LineKey, dict[str, int]]:
    return {line.key: line.values for line in inspect("r", shm_dir).lines}


@pytest.mark.parametrize("key", [A, B, SNAPSHOT, LineKey(1, "orders", "B")])
def test_key_is_read_back_from_its_number(key: LineKey) -> None:
    assert LineKey.of(key.number) == key


def test_kind_of_a_newer_version_is_its_number() -> None:
    assert LineKey.of(310 << 32 | 77 << 8 | ord("A")) == LineKey(310, "77", "A")


def test_ring_without_lines_has_none(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir):
        assert seen(shm_dir) == {}


def test_values_are_those_that_were_set(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        lines = WriterLines(writer, [A, SNAPSHOT])
        values = {name: i + 1 for i, (name, _) in enumerate(LINE_VALUES)}
        lines.set(A, values)
        nothing = dict.fromkeys(values, 0)
        assert seen(shm_dir) == {A: values, SNAPSHOT: nothing}
        lines.set(B, values)  # of which it was told nothing
        assert B not in seen(shm_dir)


def test_restarted_writer_goes_on_counting(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        lines = WriterLines(writer, [A, B])
        lines.set(A, {"received_packets": 7, "last_packet_ns": 123})
        lines.set(B, {"received_packets": 5})
    with Writer("r", 256, directory=shm_dir) as writer:
        lines = WriterLines(writer, [B, A])
        lines.set(A, {"received_packets": 1})
        lines.set(B, {"received_packets": 1, "last_packet_ns": 456})
        found = seen(shm_dir)
    assert (found[A]["received_packets"], found[B]["received_packets"]) == (8, 6)
    assert found[A]["last_packet_ns"] == 123, "it has brought none since"
    assert found[B]["last_packet_ns"] == 456


def test_line_that_is_gone_makes_room_for_another_that_begins_at_nothing(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        WriterLines(writer, [A, B]).set(A, {"received_packets": 7})
        lines = WriterLines(writer, [SNAPSHOT, B])
        assert seen(shm_dir).keys() == {B, SNAPSHOT}
        assert not any(seen(shm_dir)[SNAPSHOT].values())
        assert lines.beyond == []


def test_ring_of_another_capacity_takes_the_lines_along(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        WriterLines(writer, [A]).set(A, {"lost_packets": 3})
    with Writer("r", 512, directory=shm_dir):
        assert seen(shm_dir)[A]["lost_packets"] == 3


def test_lines_beyond_the_room_are_named_and_not_counted(shm_dir: str) -> None:
    keys = [LineKey(channel, "incremental", "A") for channel in range(1, LINES + 3)]
    with Writer("r", 256, directory=shm_dir) as writer:
        lines = WriterLines(writer, keys)
        for key in keys:
            lines.set(key, {"received_packets": key.channel})
        assert lines.beyond == keys[LINES:]
        assert {key: values["received_packets"] for key, values in seen(shm_dir).items()} == {
            key: key.channel for key in keys[:LINES]
        }


@pytest.mark.parametrize("index", [-1, LINES])
def test_row_that_there_is_not(shm_dir: str, index: int) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        for call in (writer.line_key, writer.line_values):
            with pytest.raises(IndexError):
                call(index)
        with pytest.raises(IndexError):
            writer.line_give(index, A.number)
        with pytest.raises(IndexError):
            writer.line_set(index, (0,) * len(LINE_VALUES))
        with pytest.raises(ValueError, match="values, not 1"):
            writer.line_set(0, (1,))
