"""What a reader of a journal gets: every layout, exactly, live and afterwards, from any position."""

from __future__ import annotations

import itertools
import shutil
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdfeedd.journal import (
    JournalCorrupt,
    JournalMismatch,
    JournalMissing,
    JournalReader,
    JournalWriter,
    WriterOptions,
)
from mdfeedd.journal import reader as reader_module
from mdfeedd.journal.format import HEADER_BYTES, checksum
from mdfeedd.journal.lock import WriterLock
from mdfeedd.journal.marks import Mark, Marks, MarksFile
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import Position
from mdfeedd.tick import BAR, DEPTH, GAP, ORDER, TICK, GapReason, Kind

from .records import RING_A, RING_B, SMALL, begin, entry, read_all, records, same, write

RING_C = "cc" * 16
OWN = np.dtype([("seq", "<u8"), ("value", "<f8"), ("rest", "V48")])


@pytest.mark.parametrize("dtype", [TICK, BAR, DEPTH, ORDER, OWN])
@pytest.mark.parametrize("most", [1, 7, 1000, 100_000])
def test_every_layout_comes_back_byte_for_byte(tmp_path, dtype, most):
    wanted = records(1, 3000, dtype)
    with_options = WriterOptions(segment_bytes=1 << 18, fsync="none")
    writer = JournalWriter(tmp_path, "ring", with_options)
    begin(writer, dtype=dtype)
    for at in range(0, 3000, 250):
        writer.append(wanted[at : at + 250], 1)
    writer.close()
    with JournalReader(tmp_path) as reader:
        assert reader.dtype == dtype
        got, lost = read_all(reader, most)
        assert same(got, wanted)
        assert lost == 0
        assert reader.position == Position(RING_A, 3000, 1)


def test_extreme_values_come_back(tmp_path):
    wanted = records(1, 4)
    raw = wanted.view("u1").reshape(4, 64)
    raw[0, 8:], raw[1, 8:], raw[2, 8:] = 0, 0xFF, 0x80
    raw[3, 8:40:2] = 0x7F
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    writer.append(wanted, 2**32 - 1)
    writer.close()
    with JournalReader(tmp_path) as reader:
        batch = reader.read(10)
        assert same(batch.records.copy(), wanted)
        assert batch.epoch == 2**32 - 1
        with pytest.raises(ValueError, match="read-only"):
            batch.records["seq"] = 0


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    blocks=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    mosts=st.lists(st.integers(1, 900), min_size=1, max_size=8),
    start=st.integers(0, 4000),
)
def test_any_blocks_read_in_any_pieces_from_anywhere(tmp_path_factory, blocks, mosts, start):
    folder = tmp_path_factory.mktemp("journal")
    writer = JournalWriter(folder, "ring", SMALL)
    begin(writer)
    seq = 1
    for n in blocks:
        writer.append(records(seq, n), 1)
        seq += n
    start = min(start, seq - 1)
    with JournalReader(folder, Position(RING_A, start)) as reader:
        parts = [reader.read(most).records.copy() for most in (mosts * 100)[:100]]
        got = np.concatenate(parts)
        assert same(got, records(start + 1, seq - 1 - start)[: len(got)])
        assert reader.position.seq == start + len(got)
        assert reader.behind == seq - 1 - start - len(got)
    writer.close()


def test_reader_follows_a_living_writer_across_rotations(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    with JournalReader(tmp_path) as reader:
        seq, read = 1, 0
        for n in itertools.islice(itertools.cycle([1, 300, 17]), 200):
            writer.append(records(seq, n), 1)
            seq += n
            assert reader.behind == seq - 1 - read
            got, lost = read_all(reader)
            assert same(got, records(read + 1, seq - 1 - read))
            assert lost == 0
            read = seq - 1
            assert not reader.ended
        assert len(list_segments(tmp_path)) > 10
        writer.close()
        assert reader.ended


def test_reader_sees_nothing_that_was_not_told(tmp_path):
    """Bytes behind the mark are not read while the writer lives, though they may be whole."""
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    writer._publish = lambda written_seq: None
    writer.append(records(1, 10), 1)
    with JournalReader(tmp_path) as reader:
        assert len(reader.read(100)) == 0
        del writer._publish
        writer.append(records(11, 1), 1)
        assert len(reader.read(100)) == 11
    writer.close()


def test_reader_without_writer_and_marks_trusts_the_checksums(tmp_path):
    write(tmp_path, 5000)
    (tmp_path / "position").unlink()
    with JournalReader(tmp_path) as reader:
        got, lost = read_all(reader)
        assert same(got, records(1, 5000))
        assert lost == 0
        assert reader.ended


def test_read_limit_durable_stops_where_the_last_sync_was(tmp_path):
    options = WriterOptions(segment_bytes=1 << 16, fsync="batch")
    writer = write(tmp_path, 500, options=options, close=False)
    writer.append(records(501, 100), 1)
    with JournalReader(tmp_path, read_limit="durable") as reader:
        assert len(read_all(reader)[0]) == 500
        assert reader.behind == 0
        writer.commit()
        assert reader.behind == 100
        assert len(read_all(reader)[0]) == 100
    writer.close()


def test_epochs_and_spaces_are_never_in_one_batch(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    writer.append(records(1, 10), 1)
    writer.append(records(11, 10), 2)
    begin(writer, RING_B, next_seq=5)
    writer.append(records(5, 10), 1)
    writer.close()
    with JournalReader(tmp_path) as reader:
        batches = []
        for _ in range(3):
            batch = reader.read(99)
            batches.append((batch.ring_id, batch.epoch, batch.records["seq"].tolist()))
            assert batch.lost == 0
        assert batches == [
            (RING_A, 1, list(range(1, 11))),
            (RING_A, 2, list(range(11, 21))),
            (RING_B, 1, list(range(5, 15))),
        ]


def test_start_behind_the_journals_copy_of_a_space_begins_with_the_next(tmp_path):
    """After a power cut the journal may end before what a store holds."""
    write(tmp_path, 100)
    with JournalReader(tmp_path, Position(RING_A, 150)) as reader:
        assert len(reader.read(10)) == 0
        writer = JournalWriter(tmp_path, "ring", SMALL)
        writer.append(records(101, 60), 1)  # 101 to 150 are in the store already
        begin(writer, RING_B)
        writer.append(records(1, 5), 1)
        writer.close()
        first = reader.read(1000)
        assert (first.records["seq"][0], len(first), first.lost) == (151, 10, 0)
        second = reader.read(1000)
        assert (second.ring_id, len(second), second.lost) == (RING_B, 5, 0)


def test_start_in_a_space_that_the_journal_does_not_know_begins_at_the_oldest(tmp_path):
    write(tmp_path, 100)
    with JournalReader(tmp_path, Position(RING_B, 3)) as reader:
        assert same(read_all(reader)[0], records(1, 100))


def test_lapped_ticks_are_a_gap_record(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    writer.append(records(1, 10), 1)
    writer.append(records(61, 10), 1)
    writer.close()
    with JournalReader(tmp_path) as reader:
        got, lost = read_all(reader)
        assert lost == 0
        gap = got[10:11].view(GAP)[0]
        assert (gap["seq"], gap["first_missing"], gap["last_missing"]) == (60, 11, 60)
        assert (gap["kind"], gap["reason"]) == (Kind.GAP, GapReason.RING_LAPPED)
        assert same(np.delete(got, 10), np.concatenate([records(1, 10), records(61, 10)]))


def test_lapped_records_that_are_no_ticks_are_told_as_lost(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer, dtype=BAR)
    writer.append(records(1, 10, BAR), 1)
    writer.append(records(61, 10, BAR), 1)
    writer.close()
    with JournalReader(tmp_path) as reader:
        first, second = reader.read(100), reader.read(100)
        assert (len(first), first.lost) == (10, 0)
        assert (len(second), second.lost, second.why) == (10, 50, "the ring lapped the journal")


def test_instruments_are_known_in_every_segment(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    assert writer.put_instruments([(0, entry(1, "ESZ6")), (1, entry(2, "größe-日本"))]) == 2
    writer.append(records(1, 2000), 1)
    assert writer.put_instruments([(0, entry(1, "ESZ6"))]) == 0
    assert writer.put_instruments([(1, entry(2, "NQZ6")), (2, entry(3, "CLX6"))]) == 2
    writer.append(records(2001, 2000), 1)
    writer.close()
    with JournalReader(tmp_path) as reader:
        batch = reader.read(10)
        assert batch.instruments[1].symbol == "ESZ6"
        assert batch.instruments[1].currency == "USD"
        assert batch.instruments[2].symbol == "größe-日本"
        assert 3 not in batch.instruments
        while len(batch):
            last, batch = batch, reader.read(500)
        assert [last.instruments.symbol(i) for i in (1, 2, 3)] == ["ESZ6", "NQZ6", "CLX6"]
    for name in list_segments(tmp_path)[:-1]:
        name.path.unlink()
    with JournalReader(tmp_path) as reader:
        names = reader.read(10).instruments
        assert [names.symbol(i) for i in (1, 2, 3)] == ["ESZ6", "NQZ6", "CLX6"]


def test_segments_that_are_gone_are_counted(tmp_path):
    write(tmp_path, 5000)
    names = list_segments(tmp_path)
    with JournalReader(tmp_path) as reader:
        first = reader.read(100)
        for name in names[:4]:
            name.path.unlink()
        got, lost = read_all(reader)  # the one that is open is read to its end
        assert len(first) + len(got) + lost == 5000
        assert lost == names[4].first_seq - names[1].first_seq
    with JournalReader(tmp_path, Position(RING_A, 10)) as reader:
        assert reader.read(100).lost == names[4].first_seq - 11


def test_space_that_is_gone_with_its_segments_is_counted(tmp_path):
    writer = write(tmp_path, 2000, close=False)
    begin(writer, RING_B)
    for at in range(1, 3000, 100):
        writer.append(records(at, 100), 1)
    writer.close()
    names = list_segments(tmp_path)
    later = next(n for n in names if n.number > 5 and n.first_seq > 500)
    with JournalReader(tmp_path) as reader:
        got = len(reader.read(100))
        for name in names[: names.index(later)]:
            name.path.unlink()
        rest, lost = read_all(reader)
        assert got + len(rest) + lost == 5000


def test_no_journal_is_told(tmp_path):
    with pytest.raises(JournalMissing, match="is its consumer running"):
        JournalReader(tmp_path / "nothing")


def test_journal_without_any_good_header_is_told(tmp_path):
    write(tmp_path, 10)
    list_segments(tmp_path)[0].path.write_bytes(bytes(range(256)) * 100)
    with pytest.raises(JournalCorrupt, match="none of the 1 segments"):
        JournalReader(tmp_path)


def test_segment_of_a_newer_version_is_refused_with_a_sentence(tmp_path):
    write(tmp_path, 10)
    path = list_segments(tmp_path)[0].path
    data = bytearray(path.read_bytes())
    data[8:10] = (2).to_bytes(2, "little")
    data[HEADER_BYTES - 8 : HEADER_BYTES] = checksum(bytes(data[: HEADER_BYTES - 8])).to_bytes(
        8, "little"
    )
    path.write_bytes(data)
    with pytest.raises(JournalMismatch, match="version 2 of the format and this is version 1"):
        JournalReader(tmp_path)
    with pytest.raises(JournalMismatch):
        JournalWriter(tmp_path, "ring", SMALL)


def test_wait_returns_when_something_comes_or_time_is_up(tmp_path):
    writer = write(tmp_path, 10, close=False)
    with JournalReader(tmp_path) as reader:
        assert reader.wait(0)
        reader.read(100)
        assert not reader.wait(0.01)
        writer.append(records(11, 1), 1)
        assert reader.wait(30)
    writer.close()


def test_reader_beside_a_writer_that_never_rests(tmp_path):
    n = 60_000
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    wanted = records(1, n)

    def write_all():
        at = 0
        for each in itertools.cycle([1, 7, 500, 33]):
            writer.append(wanted[at : at + each], 1)
            at += each
            if at >= n:
                return

    thread = threading.Thread(target=write_all)
    parts, got = [], 0
    with JournalReader(tmp_path) as reader:
        thread.start()
        while got < n:
            batch = reader.read(1000)
            assert batch.lost == 0, batch.why
            parts.append(batch.records.copy())
            got += len(batch)
            assert thread.is_alive() or reader.behind >= 0
            if not len(batch):
                assert reader.wait(60)
    thread.join()
    writer.close()
    assert same(np.concatenate(parts), wanted)


def test_damage_under_a_living_writer_is_passed_over(tmp_path):
    writer = write(tmp_path, 100, each=10, close=False)
    with JournalReader(tmp_path) as reader:
        with list_segments(tmp_path)[0].path.open("r+b") as file:
            file.seek(HEADER_BYTES + 3 * (64 + 640) + 5)
            file.write(b"damaged")
        first = reader.read(1000)
        assert (len(first), first.lost) == (30, 0)
        second = reader.read(1000)
        assert (len(second), second.lost) == (60, 10)
        assert "contradicts" in second.why or "checksum of a block header" in second.why
        writer.append(records(101, 10), 1)
        assert len(reader.read(1000)) == 10
    writer.close()


def test_marks_are_whole_however_fast_they_are_written(tmp_path):
    writing = MarksFile(tmp_path / "marks", write=True)
    reading = MarksFile(tmp_path / "marks")
    assert reading.load() is None
    stop = threading.Event()

    def write_them():
        for i in itertools.count(1):
            writing.store(Marks(RING_A, Mark(i, i, i), Mark(i, i, i), i, i % 1000, ended=False))
            if stop.is_set():
                return

    thread = threading.Thread(target=write_them)
    thread.start()
    try:
        before = 0
        for _ in range(20_000):
            seen = reading.load()
            if seen is None:
                assert not before
                continue
            assert seen.written == seen.durable == Mark(*[seen.wall_ns] * 3)
            assert seen.wall_ns >= before
            before = seen.wall_ns
    finally:
        stop.set()
        thread.join()
    writing.close()
    assert MarksFile(tmp_path / "marks").load().written.seq >= before


def test_marks_of_before_a_power_cut_are_not_believed(tmp_path):
    """They may tell of segments and blocks that never came to the disk."""
    write(tmp_path, 100)
    marks = MarksFile(tmp_path / "position", write=True)
    marks.store(Marks(RING_A, Mark(7, 70_000, 900), Mark(), 5, 1, ended=False))
    for own_boot in (True, False):
        if not own_boot:  # and its writer is at it, but has not looked through the journal yet
            raw = bytearray((tmp_path / "position").read_bytes())
            for at in (0, 128):
                raw[at + 8 + 80 : at + 8 + 96] = bytes(16)
                raw[at + 120 : at + 128] = checksum(bytes(raw[at : at + 120])).to_bytes(8, "little")
            (tmp_path / "position").write_bytes(raw)
            lock = WriterLock(tmp_path)
        with JournalReader(tmp_path) as reader:
            assert same(read_all(reader)[0], records(1, 100))
            if not own_boot:
                lock.close()
                writer = JournalWriter(tmp_path, "ring", SMALL)
                for at in range(101, 3000, 100):
                    writer.append(records(at, 100), 1)
                got, lost = read_all(reader)
                assert same(got, records(101, 2900))
                assert lost == 0
                writer.close()
    marks.close()


def test_what_was_written_between_the_looks_is_read_before_the_segment_is_left(
    tmp_path, monkeypatch
):
    """The writer goes on in a segment and changes to the next while a reader finds it at its end."""
    writer = write(tmp_path, 100, each=10, close=False)
    with JournalReader(tmp_path) as reader:
        assert len(reader.read(1000)) == 100
        is_over, turned = JournalReader._is_over, []

        def turn(self, file):
            if not turned:
                turned.append(True)
                at = 101
                while len(list_segments(tmp_path)) == 1:
                    writer.append(records(at, 10), 1)
                    writer.commit()
                    at += 10
                turned.append(at - 1)
            return is_over(self, file)

        monkeypatch.setattr(JournalReader, "_is_over", turn)
        got, lost = read_all(reader)
        assert lost == 0
        assert same(got, records(101, turned[1] - 100))
    writer.close()


def remade(folder, first, n):
    """Remove a journal, as a person does, and write another one under its name; its writer."""
    shutil.rmtree(folder)
    return write(folder, n, first=first, close=False)


def test_journal_that_is_made_anew_under_a_reader_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "REMADE_S", 0.0)
    folder = tmp_path / "ring"
    write(folder, 3000)
    with JournalReader(folder) as reader:
        assert same(read_all(reader)[0], records(1, 3000))
        names = reader.read(10).instruments
        writer = remade(folder, 2500, 1000)  # the ring still had what the reader knows
        got, lost = read_all(reader)
        assert same(got, records(3001, 499))
        assert lost == 0
        writer.append(records(3500, 100), 1)
        assert same(read_all(reader)[0], records(3500, 100))
        writer.close()
        writer = remade(folder, 4000, 100)  # and now it had it no longer
        got, lost = read_all(reader)
        assert same(got, records(4000, 100))
        assert lost == 400
        writer.close()
        assert reader.read(10).instruments is names


def test_journal_that_is_removed_for_good_is_only_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "REMADE_S", 0.0)
    folder = tmp_path / "ring"
    write(folder, 300)
    with JournalReader(folder) as reader:
        read_all(reader)
        shutil.rmtree(folder)
        assert not len(reader.read(10))
        folder.mkdir()
        MarksFile(folder / "position", write=True).close()  # begun, and nothing in it yet
        assert not len(reader.read(10))
        assert reader.ended


def test_marks_that_are_made_anew_alone_cost_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "REMADE_S", 0.0)
    write(tmp_path, 300)
    with JournalReader(tmp_path) as reader:
        read_all(reader)
        (tmp_path / "position").unlink()
        assert not len(reader.read(10))
        write(tmp_path, 100, first=301)
        got, lost = read_all(reader)
        assert same(got, records(301, 100))
        assert lost == 0


@pytest.mark.parametrize("damaged", [1, 2])
def test_start_in_a_segment_whose_header_is_damaged_gives_nothing_again(tmp_path, damaged):
    """What another ring had before that start was had, whatever has become of the segment."""
    write(tmp_path, 500)
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer, RING_B)
    at = 1
    while len(list_segments(tmp_path)) < 5:
        writer.append(records(at, 100), 1)
        at += 100
    writer.close()
    names = list_segments(tmp_path)
    of_b = next(i for i, name in enumerate(names) if i and name.first_seq == 1)
    spoiled = names[of_b : of_b + damaged]
    for name in spoiled:
        with name.path.open("r+b") as file:
            file.write(b"\xff" * 64)
    after = names[of_b + damaged].first_seq
    with JournalReader(tmp_path, Position(RING_B, 7)) as reader:
        got, lost = read_all(reader)
    assert got["seq"].tolist() == list(range(after, at))
    assert lost == after - 8


def test_start_in_a_space_that_is_gone_begins_with_the_one_that_followed_it(tmp_path):
    writer = write(tmp_path, 500, close=False)
    begin(writer, RING_B)
    writer.append(records(1, 50), 1)
    begin(writer, RING_C)
    writer.append(records(1, 20), 1)
    writer.close()
    names = list_segments(tmp_path)
    names[-2].path.unlink()  # of B alone; what A had was had before B
    with JournalReader(tmp_path, Position(RING_B, 30)) as reader:
        batch = reader.read(100)
        assert (batch.ring_id, len(batch), batch.lost) == (RING_C, 20, 20)
