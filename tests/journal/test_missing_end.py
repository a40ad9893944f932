"""What had been durable and is gone at a journal's end: told by every reader, also when another ring follows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from mdfeedd.journal import JournalReader, JournalWriter, WriterOptions
from mdfeedd.journal.disk import Disk
from mdfeedd.journal.format import BLOCK_BYTES, HEADER_BYTES
from mdfeedd.journal.segment import list_segments
from mdfeedd.journal.survey import survey, verify
from mdfeedd.ring import Position
from mdfeedd.tick import BAR

from .records import RING_A, RING_B, begin, read_all, readable, records, same, write

if TYPE_CHECKING:
    from pathlib import Path

N, EACH = 1000, 50
BLOCK = BLOCK_BYTES + EACH * 64
KEPT = 600
DURABLE = WriterOptions(segment_bytes=1 << 20, fsync="batch")
SMALL = WriterOptions(segment_bytes=1 << 16, fsync="batch")
NONE = WriterOptions(segment_bytes=1 << 20, fsync="none")
RING_C = "cc" * 16


def cut(folder: Path, at: int = HEADER_BYTES + KEPT // EACH * BLOCK) -> None:
    with list_segments(folder)[-1].path.open("r+b") as file:
        file.truncate(at)


def of_ring(folder: Path, ring_id: str, first: int, n: int, dtype=None) -> JournalWriter:
    """The journal's process comes back, with another ring or the same one."""
    writer = JournalWriter(folder, "ring", DURABLE)
    kind = {} if dtype is None else {"dtype": dtype}
    begin(writer, ring_id, first, **kind)
    writer.append(records(first, n, **kind), 1)
    writer.commit()
    return writer


@pytest.mark.parametrize("inside", [0, 1, 63, 64, BLOCK - 1])
@pytest.mark.parametrize("read_limit", ["written", "durable"])
def test_cut_end_of_a_closed_journal_is_told_by_all(tmp_path, inside, read_limit):
    write(tmp_path, N, each=EACH, options=DURABLE)
    end = HEADER_BYTES + KEPT // EACH * BLOCK
    cut(tmp_path, end + inside)
    got, lost, why = readable(tmp_path, read_limit=read_limit)
    assert same(got, records(1, KEPT))
    assert lost == N - KEPT
    assert len(why) == 1
    assert f" of {list_segments(tmp_path)[0].path}" in why[0]
    if read_limit == "written":
        assert f"missing at offset {end} of " in why[0]
    told = verify(tmp_path).faults
    assert f"the last {N - KEPT} are gone: records {KEPT + 1} to {N} had been made" in told[-1]
    found = survey(tmp_path)
    assert found.segments[-1].last_seq == KEPT
    assert f"records {KEPT + 1} to {N} had been made durable and are missing" in found.damage[0]


def test_flipped_byte_in_the_last_block_is_told(tmp_path):
    write(tmp_path, N, each=EACH, options=DURABLE)
    path = list_segments(tmp_path)[0].path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, N - EACH))
    assert lost == EACH
    assert len(verify(tmp_path).faults) == 2
    assert survey(tmp_path).segments[-1].last_seq == N - EACH


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_last_segment_that_is_gone_is_told(tmp_path, how):
    write(tmp_path, 3 * N, each=EACH, options=SMALL)
    last = list_segments(tmp_path)[-1]
    if how == "removed":
        last.path.unlink()
    else:
        last.path.write_bytes(b"")
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, last.first_seq - 1))
    assert lost == 3 * N - last.first_seq + 1
    assert f"the last {lost} are gone" in verify(tmp_path).faults[-1]
    found = survey(tmp_path)
    assert [s.last_seq for s in found.segments if s.header][-1] == last.first_seq - 1
    assert f"to {3 * N} had been made durable" in found.damage[0]


def test_reader_that_had_read_on_tells_only_what_it_had_not(tmp_path):
    write(tmp_path, N, each=EACH, options=DURABLE)
    cut(tmp_path)
    with JournalReader(tmp_path, Position(RING_A, N - 10)) as reader:
        assert read_all(reader)[1] == 10
    with JournalReader(tmp_path, Position(RING_A, N)) as reader:
        assert read_all(reader)[1] == 0
        assert reader.ended


def test_what_was_not_durable_is_no_damage(tmp_path):
    write(tmp_path, N, each=EACH, options=NONE)
    cut(tmp_path)
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, KEPT))
    assert lost == 0
    assert verify(tmp_path).faults == []
    found = survey(tmp_path)
    assert found.damage == ()
    assert found.segments[-1].last_seq == KEPT


def test_half_a_block_behind_what_was_written_is_no_damage(tmp_path):
    """As a kill within a write leaves it."""
    write(tmp_path, N, each=EACH, options=DURABLE)
    path = list_segments(tmp_path)[0].path
    data = path.read_bytes()
    path.write_bytes(data + data[HEADER_BYTES : HEADER_BYTES + BLOCK - 10])
    assert verify(tmp_path).faults == []
    assert readable(tmp_path)[1] == 0
    assert survey(tmp_path).damage == ()


def test_journal_that_is_being_written_is_never_damaged(tmp_path):
    writer = write(tmp_path, EACH, each=EACH, options=SMALL, close=False)
    with JournalReader(tmp_path) as reader:
        for first in range(EACH + 1, 3 * N, EACH):
            writer.append(records(first, EACH), 1)
            writer.commit()
            assert verify(tmp_path).faults == []
            assert survey(tmp_path).damage == ()
            if first % 3:
                assert read_all(reader)[1] == 0
                assert not reader.ended
    writer.close()


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_another_ring_that_follows_does_not_hide_it(tmp_path, restarts):
    write(tmp_path, N, each=EACH, options=DURABLE)
    cut(tmp_path)
    for _ in range(restarts):  # the ring was not there yet
        JournalWriter(tmp_path, "ring", DURABLE).close()
        assert readable(tmp_path)[1] == N - KEPT
        assert f"the last {N - KEPT} are gone" in verify(tmp_path).faults[-1]
        assert f"{KEPT + 1} to {N} had been" in survey(tmp_path).damage[0]
    of_ring(tmp_path, RING_B, 1, EACH).close()
    got, lost, _ = readable(tmp_path)
    assert len(got) == KEPT + EACH
    assert lost == N - KEPT
    told = verify(tmp_path).faults
    assert len(told) == 1
    assert (
        f"the last {N - KEPT} records of the one before, {KEPT + 1} to {N}, are missing" in told[0]
    )
    found = survey(tmp_path)
    assert f"records {KEPT + 1} to {N} had been" in found.damage[0]
    assert found.segments[-1].last_seq == EACH
    assert [s.last_seq for s in found.segments if s.header.ring_id == RING_A][-1] == KEPT
    of_ring(tmp_path, RING_C, 1, EACH).close()  # and is told once
    assert readable(tmp_path)[1] == N - KEPT
    assert len(verify(tmp_path).faults) == 1


def test_full_disk_at_the_restart_does_not_hide_it(tmp_path):
    class Full(Disk):
        def create(self, path):
            raise OSError(28, "No space left on device")

    write(tmp_path, N, each=EACH, options=DURABLE)
    cut(tmp_path)
    for _ in range(2):
        with contextlib.suppress(OSError):
            JournalWriter(tmp_path, "ring", DURABLE, disk=Full())
    of_ring(tmp_path, RING_B, 1, EACH).close()
    assert readable(tmp_path)[1] == N - KEPT


def test_ring_that_still_has_it_mends_the_journal(tmp_path):
    write(tmp_path, N, each=EACH, options=DURABLE)
    cut(tmp_path)
    of_ring(tmp_path, RING_A, KEPT + 1, N - KEPT - 1).close()
    assert readable(tmp_path)[1] == 1
    of_ring(tmp_path, RING_A, N, 10).close()
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, N + 9))
    assert lost == 0
    assert verify(tmp_path).faults == []
    assert survey(tmp_path).damage == ()


@pytest.mark.parametrize(
    ("ring_id", "first", "lost"), [(RING_A, KEPT + 1, 0), (RING_A, N + 3, 2), (RING_B, 1, 0)]
)
def test_reader_at_the_end_tells_it_once(tmp_path, ring_id, first, lost):
    """Whoever comes back after it was told: no record is told twice, and none is withheld."""
    write(tmp_path, N, each=EACH, options=DURABLE, dtype=BAR)
    cut(tmp_path, HEADER_BYTES + KEPT // EACH * (BLOCK_BYTES + EACH * BAR.itemsize))
    with JournalReader(tmp_path) as reader:
        assert read_all(reader)[1] == N - KEPT
        assert reader.behind == 0
        assert read_all(reader)[1] == 0
        writer = of_ring(tmp_path, ring_id, first, 10, BAR)
        got, more = read_all(reader)
        assert same(got, records(first, 10, BAR))
        assert more == lost
        writer.close()


def test_end_of_a_reader_that_waits_for_nobody_comes_behind_the_loss(tmp_path):
    write(tmp_path, N, each=EACH, options=DURABLE)
    cut(tmp_path)
    with JournalReader(tmp_path) as reader:
        assert len(reader.read(KEPT)) == KEPT
        assert not reader.ended
        assert reader.read(N).lost == N - KEPT
        assert reader.ended


def test_segments_of_a_ring_that_are_all_gone_are_told(tmp_path):
    write(tmp_path, N, each=EACH, options=DURABLE)
    of_ring(tmp_path, RING_B, 1, EACH).close()
    list_segments(tmp_path)[-1].path.unlink()
    got, lost, why = readable(tmp_path)
    assert same(got, records(1, N))
    assert lost == EACH
    assert RING_B in why[0]
    assert RING_B in verify(tmp_path).faults[-1]
    assert RING_B in survey(tmp_path).damage[0]
    writer = of_ring(tmp_path, RING_C, 1, EACH)
    assert RING_B in writer.recovered.damage[0]
    writer.close()
    assert readable(tmp_path)[1] == EACH
    assert verify(tmp_path).faults
    assert RING_B in survey(tmp_path).damage[0]
