"""Every class of byte position flipped or cut: detected, told, and what is good is kept."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdfeedd.journal import (
    JournalCorrupt,
    JournalReader,
    JournalWriter,
    WriterOptions,
)
from mdfeedd.journal.format import BLOCK_BYTES, HEADER_BYTES
from mdfeedd.journal.recovery import walk
from mdfeedd.journal.segment import Fault, SegmentFile, list_segments

from .records import SMALL, begin, entry, read_all, readable, records, same, write

N, EACH = 1000, 50
MANY = 4000  # several small segments
BLOCK = BLOCK_BYTES + EACH * 64
#: offset in a block header of each field, and its length
FIELDS = {
    "magic": (0, 4),
    "version": (4, 2),
    "flags": (6, 2),
    "n": (8, 4),
    "epoch": (12, 4),
    "first": (16, 8),
    "last": (24, 8),
    "wall_ns": (32, 8),
    "checksum of the records": (40, 8),
    "durable_seq": (48, 8),
    "checksum of the header": (56, 8),
    "first byte of the records": (64, 1),
    "a byte in the middle": (64 + 1600, 1),
    "last byte of the records": (BLOCK - 1, 1),
}
DURABLE = WriterOptions(segment_bytes=1 << 20, fsync="batch")


@pytest.fixture
def journal(tmp_path):
    """One segment of twenty blocks, closed."""
    folder = tmp_path / "journal"
    write(folder, N, each=EACH, options=DURABLE)
    return folder


def segment(folder, which=-1):
    return list_segments(folder)[which].path


def spoil(path, offset, mask=0xFF, n=1):
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(n)
        file.seek(offset)
        file.write(bytes(b ^ mask for b in old))


def go_on(folder, options=DURABLE):
    """The writer comes back, and writes ten more; what it found, and where it went on."""
    writer = JournalWriter(folder, "ring", options)
    first = writer.next_seq
    writer.append(records(first, 10), 1)
    writer.close()
    return writer.recovered, first


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_damage_in_the_middle_of_the_last_segment(journal, field, mask):
    at, n = FIELDS[field]
    for byte in range(n):
        folder = journal.with_name(f"{journal.name}-{byte}")
        shutil.copytree(journal, folder)
        bad = 7
        spoil(segment(folder), HEADER_BYTES + bad * BLOCK + at + byte, mask)
        found, first = go_on(folder)
        assert "damaged at offset" in found.damage[0]
        assert found.torn_bytes == 0
        assert first == N + 1
        got, lost, why = readable(folder)
        assert lost == EACH
        assert len(why) == 1
        assert str(segment(folder, 0)) in why[0]
        keep = np.r_[1 : bad * EACH + 1, (bad + 1) * EACH + 1 : N + 11]
        assert same(got, records(1, N + 10)[keep - 1])


@pytest.mark.parametrize("field", FIELDS)
def test_damage_of_the_last_block_below_what_was_durable(journal, field):
    at, n = FIELDS[field]
    spoil(segment(journal), HEADER_BYTES + (N // EACH - 1) * BLOCK + at + n - 1)
    found, first = go_on(journal)
    assert "had been made durable and are missing" in found.damage[0]
    assert first == N - EACH + 1  # the ring may still have them
    got, lost, _ = readable(journal)
    assert same(got, records(1, first + 9))
    assert lost == EACH - 10  # that it had not


@pytest.mark.parametrize("field", FIELDS)
def test_last_block_never_durable_is_a_torn_tail(tmp_path, field):
    write(tmp_path, N, each=EACH, options=WriterOptions(segment_bytes=1 << 20, fsync="none"))
    at, n = FIELDS[field]
    spoil(segment(tmp_path), HEADER_BYTES + (N // EACH - 1) * BLOCK + at + n - 1)
    found, first = go_on(tmp_path)
    assert not found.damage
    assert BLOCK - EACH * 64 < found.torn_bytes <= BLOCK
    assert first == N - EACH + 1
    assert len(list_segments(tmp_path)) == 1
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, first + 9))
    assert lost == 0


@pytest.mark.parametrize(
    "length", [0, 1, 63, 64, 65, 64 + 63, 64 + 64, BLOCK - 1], ids=lambda n: f"{n}-bytes-left"
)
def test_last_block_cut(tmp_path, length):
    write(tmp_path, N, each=EACH, options=WriterOptions(segment_bytes=1 << 20, fsync="none"))
    keep = HEADER_BYTES + (N // EACH - 1) * BLOCK + length
    with segment(tmp_path).open("r+b") as file:
        file.truncate(keep)
    got, lost, _ = readable(tmp_path)  # before the writer has come
    assert same(got, records(1, N - EACH))
    found, _first = go_on(tmp_path)
    assert not found.damage
    assert found.torn_bytes == length
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, N - EACH + 10))
    assert lost == 0


def test_zero_tail_is_no_damage(journal):
    with segment(journal).open("r+b") as file:
        file.truncate(1 << 20)
    found, first = go_on(journal)
    assert (found.damage, found.torn_bytes, first) == ((), 0, N + 1)


def test_zero_tail_of_a_sealed_segment_is_no_damage(tmp_path):
    """As a power cut between the cut and the sync leaves it."""
    write(tmp_path, N, each=EACH)
    with segment(tmp_path, 0).open("r+b") as file:
        file.truncate(1 << 16)
    got, lost, why = readable(tmp_path)
    assert same(got, records(1, N))
    assert (lost, why) == (0, [])


@pytest.mark.parametrize("field", FIELDS)
def test_damage_in_a_sealed_segment(tmp_path, field):
    write(tmp_path, N, each=EACH)
    at, n = FIELDS[field]
    spoil(segment(tmp_path, 0), HEADER_BYTES + 2 * BLOCK + at + n - 1)
    got, lost, why = readable(tmp_path)
    assert lost == EACH
    assert str(segment(tmp_path, 0)) in why[0]
    assert same(got, np.delete(records(1, N), slice(2 * EACH, 3 * EACH)))


@pytest.mark.parametrize("offset", [0, 8, 20, 32, 64, 72, 300, 4000, 4090])
def test_damaged_header_of_a_sealed_segment_costs_that_segment(tmp_path, offset):
    write(tmp_path, MANY, each=EACH)
    names = list_segments(tmp_path)
    for which in (0, 1):
        folder = tmp_path.with_name(f"{tmp_path.name}-{which}")
        shutil.copytree(tmp_path, folder)
        spoil(segment(folder, which), offset, 0x80)
        got, lost, why = readable(folder)
        assert lost == names[which + 1].first_seq - names[which].first_seq
        assert "header" in why[0]
        assert len(got) + lost == MANY


@pytest.mark.parametrize("offset", [0, 32, 300, 4090])
def test_damaged_header_of_the_last_segment_is_told_and_the_file_kept(tmp_path, offset):
    write(tmp_path, MANY, each=EACH)
    last = list_segments(tmp_path)[-1]
    content = bytearray(last.path.read_bytes())
    spoil(last.path, offset, 0x80)
    content[offset] ^= 0x80
    writer = JournalWriter(tmp_path, "ring", SMALL)
    assert f"header of {last.path} is damaged" in writer.recovered.damage[0]
    assert writer.end.seq == MANY
    begin(writer, next_seq=MANY + 1)
    writer.append(records(MANY + 1, 10), 1)
    writer.close()
    assert last.path.read_bytes() == content
    got, lost, _why = readable(tmp_path)
    assert lost == MANY + 1 - last.first_seq
    assert same(got, np.delete(records(1, MANY + 10), slice(last.first_seq - 1, MANY)))


def test_segment_without_anything_in_it_is_removed(tmp_path):
    """As a power cut without syncs leaves one that had just been made."""
    write(tmp_path, 10)
    (tmp_path / "0000000002-1-11.mdj").write_bytes(bytes(1 << 16))
    (tmp_path / "0000000003-1-11.mdj.new").write_bytes(b"half")
    found, first = go_on(tmp_path)
    assert (found.damage, first) == ((), 11)
    assert [p.name for p in sorted(tmp_path.glob("*.mdj*"))] == ["0000000001-1-1.mdj"]


def blocks_of(path):
    return [path.read_bytes()[HEADER_BYTES + i * BLOCK :][:BLOCK] for i in range(N // EACH)]


@pytest.mark.parametrize(
    ("name", "order", "lost"),
    [
        ("twice", [0, 1, 2, 2, *range(3, 20)], 0),
        ("missing", [0, 1, 2, *range(4, 20)], EACH),
        ("swapped", [0, 1, 3, 2, *range(4, 20)], EACH),
        ("again at the end", [*range(20), 0], 0),
    ],
)
def test_whole_blocks_in_the_wrong_place(journal, name, order, lost):
    path = segment(journal)
    blocks = blocks_of(path)
    path.write_bytes(path.read_bytes()[:HEADER_BYTES] + b"".join(blocks[i] for i in order))
    with SegmentFile(list_segments(journal)[0]) as file:
        assert any(isinstance(f, Fault) for f in walk(file, file.header, file.size))
    found, _first = go_on(journal)
    assert found.damage or found.torn_bytes == BLOCK
    got, told, _ = readable(journal)
    assert told == lost
    assert len(np.unique(got["seq"])) == len(got) == N + 10 - lost
    assert same(got, records(1, N + 10)[got["seq"].astype(int) - 1])


def test_missing_segment_is_told(tmp_path):
    write(tmp_path, MANY, each=EACH)
    names = list_segments(tmp_path)
    names[1].path.unlink()
    got, lost, why = readable(tmp_path)
    assert lost == names[2].first_seq - names[1].first_seq
    assert len(got) + lost == MANY
    assert "missing" in why[0]


def test_swapped_segments_are_told(tmp_path):
    write(tmp_path, MANY, each=EACH)
    one, two = (n.path for n in list_segments(tmp_path)[:2])
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    got, lost, _ = readable(tmp_path)
    third = list_segments(tmp_path)[2]
    assert lost == third.first_seq - 1
    assert same(got, records(1, MANY)[third.first_seq - 1 :])


def test_block_of_another_segment_does_not_pass(tmp_path):
    write(tmp_path, N, each=EACH)
    one, two = (n.path for n in list_segments(tmp_path)[:2])
    data = bytearray(one.read_bytes())
    data[HEADER_BYTES : HEADER_BYTES + BLOCK] = two.read_bytes()[HEADER_BYTES:][:BLOCK]
    one.write_bytes(data)
    assert readable(tmp_path)[1] == EACH


def test_damaged_instruments_are_told_by_verify_and_cost_only_names(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    writer.put_instruments([(0, entry(1, "ESZ6"))])
    writer.append(records(1, 10), 1)
    writer.close()
    spoil(segment(tmp_path), HEADER_BYTES + BLOCK_BYTES + 120)
    with SegmentFile(list_segments(tmp_path)[0]) as file:
        faults = [f for f in walk(file, file.header, file.size) if isinstance(f, Fault)]
    assert [f.offset for f in faults] == [HEADER_BYTES]
    JournalWriter(tmp_path, "ring", SMALL).close()
    got, lost, _ = readable(tmp_path)
    assert same(got, records(1, 10))
    assert lost == 0


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    times=st.integers(1, 6),
)
def test_any_bytes_changed_anywhere_give_only_records_that_were_written(
    tmp_path_factory, data, times
):
    """Never a crash, never a record that is not one, never one twice; what is not given is counted."""
    folder = tmp_path_factory.mktemp("fuzz")
    writer = write(folder, N, each=EACH, close=False)
    writer.put_instruments([(0, entry(1, "ESZ6"))])
    writer.close()
    for _ in range(times):
        path = data.draw(st.sampled_from([n.path for n in list_segments(folder)]))
        size = path.stat().st_size
        if not size:
            continue
        at = data.draw(st.integers(0, size - 1))
        what = data.draw(st.sampled_from(["flip", "cut", "bytes"]))
        if what == "flip":
            spoil(path, at, data.draw(st.integers(1, 255)))
        elif what == "cut" and path == list_segments(folder)[-1].path:
            with path.open("r+b") as file:
                file.truncate(at)
        else:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(data.draw(st.binary(max_size=200))[: size - at])
    try:
        with JournalReader(folder) as reader:
            before, _ = read_all(reader)
        writer = JournalWriter(folder, "ring", SMALL)
        begin(writer, next_seq=writer.next_seq)
        first = writer.next_seq
        writer.append(records(first, 10), 1)
        writer.close()
    except JournalCorrupt:
        return
    with JournalReader(folder) as reader:
        got, _lost = read_all(reader)
    for some in (before, got):
        assert same(some, records(1, N + 10)[some["seq"].astype(int) - 1])
        assert (np.diff(some["seq"].astype(int)) > 0).all()
    assert set(before["seq"]) <= set(got["seq"])
    assert first - 1 >= before["seq"][-1] if len(before) else True
