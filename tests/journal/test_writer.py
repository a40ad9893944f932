"""The writer: one only, full disks, failing syncs, retention, recovery of what it left."""

# ruff: noqa: PT012, PT017 - it may take several calls until a disk refuses
from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest

from mdfeedd.journal import (
    JournalBusy,
    JournalError,
    JournalReader,
    JournalWriter,
    SinkPositions,
    WriterOptions,
)
from mdfeedd.journal import writer as writer_module
from mdfeedd.journal.disk import Disk
from mdfeedd.journal.lock import writer_alive
from mdfeedd.journal.marks import MarksFile
from mdfeedd.journal.segment import SegmentFile, list_segments
from mdfeedd.ring import Position

from .records import RING_A, RING_B, SMALL, begin, entry, read_all, records, same, write

PATIENCE_S = 60


class FaultyDisk(Disk):
    """Fails with `errno` where a name is in `failing`; after `left` calls of it, if it has a number."""

    def __init__(self):
        self.failing = {}
        self.calls = []

    def _may_fail(self, name):
        self.calls.append(name)
        if name in self.failing:
            left, code = self.failing[name]
            if left > 0:
                self.failing[name] = (left - 1, code)
            else:
                raise OSError(code, os.strerror(code))

    def create(self, path):
        self._may_fail("create")
        return super().create(path)

    def allocate(self, fd, size):
        self._may_fail("allocate")
        super().allocate(fd, size)

    def write(self, fd, parts, offset):
        if "half" in self.failing:  # some of it, and then no more
            whole = b"".join(bytes(part) for part in parts)
            os.pwrite(fd, whole[: len(whole) // 2], offset)
            self.failing["write"] = (0, self.failing["half"][1])
        self._may_fail("write")
        super().write(fd, parts, offset)

    def truncate(self, fd, size):
        self._may_fail("truncate")
        super().truncate(fd, size)

    def sync(self, fd):
        self._may_fail("sync")
        super().sync(fd)

    def rename(self, path, to):
        self._may_fail("rename")
        super().rename(path, to)


def all_of(folder):
    with JournalReader(folder) as reader:
        return read_all(reader)


def test_two_writers_of_one_folder(tmp_path):
    writer = write(tmp_path, 10, close=False)
    assert writer_alive(tmp_path)
    with pytest.raises(JournalBusy, match="another journal writes"):
        JournalWriter(tmp_path, "ring", SMALL)
    writer.close()
    assert not writer_alive(tmp_path)
    JournalWriter(tmp_path, "ring", SMALL).close()


def test_forked_child_neither_writes_nor_keeps_the_lock(tmp_path):
    writer = write(tmp_path, 10, close=False)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        writer.append(records(11, 10), 1)
        writer.close()
        deadline = time.monotonic() + PATIENCE_S
        while writer_alive(tmp_path):  # the child lets go when it comes to run
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert len(all_of(tmp_path)[0]) == 20
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("call", ["create", "allocate", "write", "half", "truncate", "rename"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_full_disk_at_each_call_and_once_more_when_there_is_room(tmp_path, call, after):
    disk = FaultyDisk()
    writer = JournalWriter(tmp_path, "ring", SMALL, disk=disk)
    begin(writer)
    refused = 0
    for at in range(1, 4000, 100):
        if at == 501:
            disk.failing[call] = (after, errno.ENOSPC)
        while True:
            try:
                writer.put_instruments([(at, entry(at, f"S{at}"))])
                writer.append(records(at, 100), 1)
                break
            except OSError as error:
                assert error.errno == errno.ENOSPC
                refused += 1
                if refused == 3:
                    disk.failing.clear()
    assert refused
    writer.close()
    got, lost = all_of(tmp_path)
    assert same(got, records(1, 4000))
    assert lost == 0
    assert not list(tmp_path.glob("*.new"))
    assert JournalWriter(tmp_path, "ring", SMALL).recovered.damage == ()
    with JournalReader(tmp_path) as reader:
        read_all(reader)
        assert reader.read(1).instruments.symbol(3901) == "S3901"


def test_disk_full_at_the_start_leaves_nothing_locked(tmp_path):
    write(tmp_path, 10)
    disk = FaultyDisk()
    disk.failing["truncate"] = (0, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        JournalWriter(tmp_path, "ring", SMALL, disk=disk)
    JournalWriter(tmp_path, "ring", SMALL).close()


def test_really_full_file_system(tmp_path):
    """A file system of 1 MiB, mounted for it: the writer is refused, and goes on when there is room."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "mdfeedd-test", tmp_path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.decode().strip()}")
    try:
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(600 << 10))
        writer = JournalWriter(tmp_path / "ring", "ring", SMALL)
        begin(writer)
        at = 1
        with pytest.raises(OSError, match="No space left"):
            while True:
                writer.append(records(at, 100), 1)
                at += 100
        with pytest.raises(OSError, match="No space left"):
            writer.append(records(at, 100), 1)
        ballast.unlink()
        for again in range(at, at + 1000, 100):
            writer.append(records(again, 100), 1)
        writer.close()
        got, lost = all_of(tmp_path / "ring")
        assert same(got, records(1, at + 999))
        assert lost == 0
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    program = """
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from mdfeedd.journal import JournalWriter, WriterOptions
        from mdfeedd.journal.disk import RETRIABLE
        import numpy as np
        from mdfeedd.tick import TICK, layout_of
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
        writer = JournalWriter(Path(sys.argv[1]), "ring", WriterOptions(1 << 16, "none"))
        def put():
            records = np.zeros(10, TICK); records["seq"] = range(1, 11)
            writer.begin("aa" * 16, feed="f", layout=layout_of(TICK), record_bytes=64, next_seq=1)
            writer.append(records)
        try:
            put()
        except OSError as error:
            assert error.errno in RETRIABLE, error
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
            put()
            writer.close()
            print("written", writer.written_seq)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path, os.getcwd()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "written 10\n", done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    assert len(all_of(tmp_path)[0]) == 10


@pytest.mark.parametrize("fsync", ["batch", "interval"])
def test_failed_sync_is_never_tried_again(tmp_path, fsync):
    disk = FaultyDisk()
    options = WriterOptions(1 << 16, fsync, fsync_interval_s=0.005)
    writer = JournalWriter(tmp_path, "ring", options, disk=disk)
    begin(writer)
    disk.failing["sync"] = (0, errno.EIO)
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(JournalError, match="cannot be synced: Input/output error"):
        at = 1
        while time.monotonic() < deadline:
            writer.append(records(at, 10), 1)
            writer.commit()
            at += 10
            time.sleep(0.002)
    durable = writer.durable_seq
    disk.failing.clear()
    with pytest.raises(JournalError, match="cannot be synced"):
        writer.append(records(at, 10), 1)
    disk.calls.clear()
    writer.close()
    assert "sync" not in disk.calls
    assert writer.durable_seq == durable == 0


def test_policies_tell_what_is_durable(tmp_path):
    none = write(tmp_path / "none", 100, options=SMALL, close=False)
    assert (none.written_seq, none.durable_seq) == (100, 0)
    batch = write(tmp_path / "batch", 100, options=replace(SMALL, fsync="batch"), close=False)
    assert batch.durable_seq == 100
    batch.append(records(101, 10), 1)
    assert batch.durable_seq == 100
    interval = replace(SMALL, fsync="interval", fsync_interval_s=0.005)
    thread = write(tmp_path / "interval", 3000, options=interval, close=False)
    deadline = time.monotonic() + PATIENCE_S
    while thread.durable_seq < 3000:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    for writer in (none, batch, thread):
        writer.close()
    assert MarksFile(tmp_path / "batch" / "position").load().durable.seq == 110
    assert MarksFile(tmp_path / "none" / "position").load().durable.seq == 0


def test_writer_goes_on_where_the_one_before_ended(tmp_path):
    for at in range(1, 2001, 500):
        writer = JournalWriter(tmp_path, "ring", SMALL)
        if at > 1:
            assert writer.end == Position(RING_A, at - 1, 1)
            assert writer.holds(RING_A, "feed", writer._header.layout)
        begin(writer, next_seq=at)
        writer.append(records(at, 500), 1)
        writer.close()
    got, lost = all_of(tmp_path)
    assert same(got, records(1, 2000))
    assert lost == 0


def test_table_larger_than_a_segment(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    begin(writer)
    assert writer.put_instruments((i, entry(i + 1, f"S{i}")) for i in range(5000)) == 5000
    for at in range(1, 10_000, 500):
        writer.append(records(at, 500), 1)
    writer.close()
    for name in list_segments(tmp_path)[:-1]:
        name.path.unlink()
    with JournalReader(tmp_path) as reader:
        assert len(reader.read(10).instruments) == 5000


def test_appending_what_is_there_already_adds_nothing(tmp_path):
    writer = write(tmp_path, 100, close=False)
    writer.append(records(51, 100), 1)
    writer.append(records(1, 150), 1)
    writer.close()
    assert same(all_of(tmp_path)[0], records(1, 150))


def test_records_that_do_not_fit_are_refused(tmp_path):
    writer = JournalWriter(tmp_path, "ring", SMALL)
    with pytest.raises(ValueError, match="append before begin"):
        writer.append(records(1, 1), 1)
    begin(writer)
    with pytest.raises(ValueError, match="do not fit a journal"):
        writer.append(records(1, 10)[[0, 5]], 1)
    with pytest.raises(ValueError, match="do not fit a journal"):
        writer.append(np.zeros(1, [("seq", "<u8"), ("rest", "V120")]), 1)
    writer.close()


# ---------------------------------------------------------------------------------------- retention


def segments(folder):
    return [name.number for name in list_segments(folder)]


def test_retention_by_size_keeps_the_segment_being_written(tmp_path):
    writer = write(tmp_path, 10_000, options=replace(SMALL, keep_bytes=200_000), close=False)
    before = segments(tmp_path)
    verdict = writer.retain()
    assert (verdict.remove, verdict.cut) == (len(before) - 3, 0)
    assert segments(tmp_path) == before[-3:]
    writer.close()


def test_retention_by_age(tmp_path):
    writer = write(tmp_path, 5000, options=replace(SMALL, keep_s=1e-9), close=False)
    assert writer.retain().remove > 3
    assert segments(tmp_path) == [writer._number]
    writer.close()
    writer = write(tmp_path / "b", 5000, options=replace(SMALL, keep_s=3600), close=False)
    assert writer.retain().remove == 0
    writer.close()


@pytest.mark.parametrize("slow", [None, Position(RING_A, 2500), Position(RING_B, 7)])
def test_retention_never_passes_the_slowest_sink(tmp_path, slow):
    writer = write(tmp_path, 10_000, options=replace(SMALL, keep_bytes=1), close=False)
    sinks = SinkPositions(tmp_path)
    sinks.save("fast", Position(RING_A, 10_000))
    sinks.save("slow", slow)
    assert sinks.load("slow") == slow
    assert sinks.all() == {"fast": Position(RING_A, 10_000), "slow": slow}
    writer.retain()
    with JournalReader(tmp_path, slow) as reader:
        got, lost = read_all(reader)
    seen = 2500 if slow is not None and slow.seq == 2500 else 0
    assert same(got, records(seen + 1, 10_000 - seen))
    assert lost == 0
    removed = min(segments(tmp_path)) - 1
    assert (removed > 0) == (seen > 0)
    sinks.save("slow", Position(RING_A, 10_000))
    writer.retain()
    assert len(segments(tmp_path)) == 1
    sinks.close()
    writer.close()


def test_hard_cap_cuts_what_a_sink_has_not_read_and_the_reader_is_told(tmp_path):
    options = replace(SMALL, keep_bytes=100_000, hard_cap_bytes=300_000)
    writer = write(tmp_path, 10_000, options=options, close=False)
    sinks = SinkPositions(tmp_path)
    sinks.save("slow", Position(RING_A, 1000))
    with JournalReader(tmp_path, Position(RING_A, 1000)) as reader:
        verdict = writer.retain()
        assert verdict.cut == writer.cut_segments > 0
        assert verdict.slowest == "slow"
        got, lost = read_all(reader)
        assert len(got) + lost == 9000
        assert lost > 0
        assert same(got[-100:], records(9901, 100))
    sinks.close()
    writer.close()


def test_position_of_a_name_that_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="cannot name"):
        SinkPositions(tmp_path).save("a/b", None)


def test_names_that_the_disk_refused_are_written_before_the_next_records(tmp_path):
    disk = FaultyDisk()
    writer = JournalWriter(tmp_path, "ring", SMALL, disk=disk)
    begin(writer)
    disk.failing["write"] = (0, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        writer.put_instruments([(0, entry(1, "ESZ6"))])
    disk.failing.clear()
    writer.append(records(1, 1), 1)
    with JournalReader(tmp_path) as reader:
        assert reader.read(1).instruments.symbol(1) == "ESZ6"
    writer.close()


def test_bytes_of_a_torn_tail_do_not_come_back(tmp_path):
    write(tmp_path, 200)
    path = list_segments(tmp_path)[0].path
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    writer = JournalWriter(tmp_path, "ring", SMALL)
    assert writer.recovered.torn_bytes > 6000
    writer.append(records(101, 1), 1)  # shorter than what was cut
    with SegmentFile(list_segments(tmp_path)[0]) as file:
        assert file.size == SMALL.segment_bytes
        assert file.last_used(writer._offset) == writer._offset
    writer.close()


def test_full_disk_costs_what_all_sinks_have_read_the_oldest_first(tmp_path):
    writer = write(tmp_path, 10_000, close=False)
    before = segments(tmp_path)
    assert writer.retain(full=True).remove == 0, "nobody has read it: it is an archive"
    sinks = SinkPositions(tmp_path)
    sinks.save("fast", Position(RING_A, 10_000))
    sinks.save("slow", Position(RING_A, list_segments(tmp_path)[2].first_seq))
    assert [writer.retain(full=True).remove for _ in range(4)] == [1, 1, 0, 0]
    assert writer.retain().remove == 0
    assert segments(tmp_path) == before[2:]
    assert writer.cut_segments == 0
    sinks.save("slow", Position(RING_A, 10_000))
    while writer.retain(full=True).remove:
        pass
    assert segments(tmp_path) == before[-1:]
    sinks.close()
    writer.close()


def test_segment_that_is_removed_while_it_is_written_ends_the_writer(tmp_path):
    """Nobody would find what is written into it."""
    folder = tmp_path / "ring"
    writer = write(folder, 300, close=False)
    writer.retain()
    shutil.rmtree(folder)
    with pytest.raises(JournalError, match="was removed while it was being written"):
        writer.retain()
    writer.close()
    again = write(folder, 200, first=101)
    assert again.recovered.end is None
    with JournalReader(folder) as reader:
        assert same(read_all(reader)[0], records(101, 200))


def test_segment_that_another_took_the_name_of_ends_the_writer(tmp_path):
    writer = write(tmp_path, 300, close=False)
    name = list_segments(tmp_path)[-1]
    shutil.copy(name.path, tmp_path / "copy")
    (tmp_path / "copy").rename(name.path)
    with pytest.raises(JournalError, match="was removed"):
        writer.retain()
    writer.close()


def test_segments_that_a_person_removes_do_not_disturb_retention(tmp_path, monkeypatch):
    writer = write(tmp_path, 10_000, options=replace(SMALL, keep_bytes=1), close=False)
    names = list_segments(tmp_path)

    def listed(folder):
        found = list_segments(folder)
        for name in names[1:3]:  # between our look and our deed
            name.path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(writer_module, "list_segments", listed)
    verdict = writer.retain()
    assert verdict.remove == len(names) - 3
    assert segments(tmp_path) == [names[-1].number]
    writer.close()


def test_position_whose_file_is_removed_is_written_anew(tmp_path):
    """As with all of the journal: retention must know of the sink again."""
    sinks = SinkPositions(tmp_path)
    sinks.save("store", Position(RING_A, 10))
    shutil.rmtree(tmp_path / "sinks")
    assert sinks.load("store") is None
    sinks.save("store", Position(RING_A, 11))
    assert sinks.all() == {"store": Position(RING_A, 11)}
    sinks.close()
