"""The writer's process ends at each of its system calls in turn, and the power fails at random ones.

Kill points are swept: before a call, after it, and in the middle of a write. What the marks told stays,
what is there is what was written, and the next writer goes on.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from mdfeedd.journal import JournalReader, JournalWriter, WriterOptions
from mdfeedd.journal.disk import Disk
from mdfeedd.journal.survey import load_marks, verify

from .records import begin, entry, read_all, records, same

OPTIONS = WriterOptions(segment_bytes=1 << 16, fsync="batch")
N, EACH = 1500, 250
CALLS = ("create", "allocate", "write", "truncate", "sync", "sync_folder", "rename", "remove")


class EndingDisk(Disk):
    """Ends the process at its `at`-th call: before it, after it, or with half of a write done."""

    def __init__(self, at, when):
        self.left, self.when = at, when


def _ending(name):
    real = getattr(Disk, name)

    def call(self, *arguments):
        self.left -= 1
        if self.left == 0:
            if self.when == "after":
                real(self, *arguments)
            elif self.when == "half" and name == "write":
                fd, parts, offset = arguments
                whole = b"".join(bytes(part) for part in parts)
                os.pwrite(fd, whole[: len(whole) // 2], offset)
            os._exit(17)
        return real(self, *arguments)

    return call


for _name in CALLS:
    setattr(EndingDisk, _name, _ending(_name))


def run(folder, options, disk=None):
    """A life of a writer: on from where it ends, to N records, with instruments on the way."""
    writer = JournalWriter(folder, "ring", options, disk=disk)
    begin(writer, next_seq=writer.next_seq)
    for at in range(writer.next_seq, N + 1, EACH):
        writer.put_instruments([(at, entry(at, f"S{at}"))])
        writer.append(records(at, min(EACH, N + 1 - at)), 1)
        writer.commit()
    writer.close()


def killed(folder, options, at, when):
    """Whether a child that does `run` ended at its `at`-th call."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run(folder, options, EndingDisk(at, when))
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, 17}
    return status == 17


def check(folder, *, told):
    """What is there is a beginning of what was written, at least as far as was told."""
    with JournalReader(folder) as reader:
        got, lost = read_all(reader)
    assert lost == 0
    assert same(got, records(1, len(got)))
    assert len(got) >= told
    return len(got)


@pytest.mark.parametrize("fsync", ["batch", "none"])
@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_killed_at_every_system_call(tmp_path, when, fsync):
    options = replace(OPTIONS, fsync=fsync)
    at = 1
    while True:
        folder = tmp_path / str(at)
        if not killed(folder, options, at, when):
            break
        marks = load_marks(folder) if (folder / "position").exists() else None
        killed(folder, options, 1 + at % 5, when)  # and once more while it mends
        run(folder, options)
        assert check(folder, told=N) == N
        found = verify(folder)
        assert found.faults == []
        assert found.records == N
        if marks is not None:
            assert marks.written.seq <= N
        at += 1
    assert at > 25


def test_what_was_told_is_there_before_anything_is_mended(tmp_path):
    for at in range(3, 100, 4):
        folder = tmp_path / str(at)
        if not killed(folder, OPTIONS, at, "before"):
            break
        marks = load_marks(folder)
        if marks is not None:
            check(folder, told=marks.written.seq)


class UnsureDisk(Disk):
    """Remembers what was written since the last sync of each file: what a power cut may take."""

    def __init__(self):
        self.unsure = {}
        self.kept_marks = b""
        self.folder = None

    def write(self, fd, parts, offset):
        size = sum(memoryview(part).nbytes for part in parts)
        super().write(fd, parts, offset)
        path = os.readlink(f"/proc/self/fd/{fd}")
        self.unsure.setdefault(path, []).append((offset, size))

    def sync(self, fd):
        super().sync(fd)
        self.unsure.pop(os.readlink(f"/proc/self/fd/{fd}"), None)

    def rename(self, path, to):
        super().rename(path, to)
        if path in self.unsure:
            self.unsure[to] = self.unsure.pop(path)

    def cut_power(self, generator):
        """Some sectors of what was not synced were never written."""
        for path, writes in self.unsure.items():
            with open(path, "r+b") as file:
                for offset, size in writes:
                    for sector in range(offset // 512, (offset + size - 1) // 512 + 1):
                        begin = max(offset, sector * 512)
                        if generator.random() < generator.choice([0.0, 0.1, 1.0]):
                            file.seek(begin)
                            file.write(bytes(min(offset + size, sector * 512 + 512) - begin))


def test_power_cut_takes_only_what_was_not_durable(tmp_path):
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    generator = random.Random(seed)
    for turn in range(60):
        folder = tmp_path / str(turn)
        disk = UnsureDisk()
        writer = JournalWriter(folder, "ring", OPTIONS, disk=disk)
        begin(writer)
        at = 1
        for _ in range(generator.randrange(1, 25)):
            n = generator.randrange(1, 200)
            writer.append(records(at, n), 1)
            at += n
            if generator.random() < 0.5:
                writer.commit()
        durable = writer.durable_seq
        marks = (folder / "position").read_bytes()
        writer.abandon()
        disk.cut_power(generator)
        if generator.random() < 0.5:  # the marks may be gone, too: they are never synced
            (folder / "position").write_bytes(generator.choice([b"", bytes(256), marks[:100]]))
        again = JournalWriter(folder, "ring", OPTIONS)
        begin(again, next_seq=again.next_seq)
        first = again.next_seq
        assert first > durable
        again.append(records(first, 10), 1)
        again.close()
        with JournalReader(folder) as reader:
            got, lost = read_all(reader)
        assert same(got[:durable], records(1, durable))
        assert same(got, records(1, first + 9)[got["seq"].astype(int) - 1])
        assert len(got) + lost == first + 9
