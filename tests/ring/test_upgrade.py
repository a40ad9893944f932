"""Another version of mdfeedd on rings that are there: what goes on, what is refused, what is cleared away.

Other versions are simulated by what they would have written into a segment: their ABI, and their zeros.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mdfeedd import Reader, Writer
from mdfeedd.ring import RingBusy, RingMismatch, list_rings
from mdfeedd.ring._ring import ABI
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.lines import LineKey, WriterLines
from mdfeedd.ring.segment import clear_foreign, foreign_abi, registry_path, resume_path, ring_path

MAJOR, MINOR = ABI
COUNTERS_PAGE = 4096
LINES_AT, LATENCIES_AT = COUNTERS_PAGE + 512, COUNTERS_PAGE + 3584
KEY = LineKey(310, "incremental", "A")


def set_abi(path: Path, major: int, minor: int | None = None) -> None:
    with path.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("<I", major))
        if minor is not None:
            file.write(struct.pack("<I", minor))


def older_minor(shm_dir: str) -> None:
    """As ABI 2.0 has left it: where the lines are now, its reserved zeros."""
    path = ring_path("r", shm_dir)
    set_abi(path, MAJOR, 0)
    with path.open("r+b") as file:
        file.seek(LINES_AT)
        assert not any(file.read(LATENCIES_AT - LINES_AT)), "nothing was counted there yet"


def newer_minor(shm_dir: str) -> None:
    """As a later one might: something in what is reserved to us."""
    path = ring_path("r", shm_dir)
    set_abi(path, MAJOR, MINOR + 7)
    with path.open("r+b") as file:
        file.seek(160)
        file.write(b"\x5a" * 64)


@pytest.mark.parametrize("left_by", [older_minor, newer_minor])
def test_writer_of_another_minor_goes_on_in_the_ring_that_runs(
    shm_dir: str, ticks, left_by
) -> None:
    """Readers that are attached see one sequence: nothing lost, nothing twice, no new segment."""
    with (
        Writer("r", 256, directory=shm_dir) as writer,
        Reader("r", "now", "me", directory=shm_dir) as reader,
    ):
        writer.publish(ticks(10))
        assert len(reader.read(timeout=5)) == 10
        before = inspect("r", shm_dir)
        inode = ring_path("r", shm_dir).stat().st_ino
        writer.close_core(announce=False)  # the old version is killed in mid-flight ...
        left_by(shm_dir)
        with Writer("r", 256, directory=shm_dir) as upgraded:  # ... and this one started
            upgraded.publish(ticks(5))
            batch = reader.read(timeout=5)
            assert (batch.first_seq, batch.last_seq, batch.lost) == (11, 15, 0)
            WriterLines(upgraded, [KEY]).set(KEY, {"received_packets": 1})
        after = inspect("r", shm_dir)
        assert ring_path("r", shm_dir).stat().st_ino == inode
        assert (after.ring_id, after.epoch) == (before.ring_id, before.epoch + 1)
        assert after.abi == (MAJOR, max(MINOR, 0 if left_by is older_minor else MINOR + 7))
        assert after.lines[0].values["received_packets"] == 1


def test_another_major_is_refused_and_named_by_those_who_may_not_remove_it(shm_dir: str) -> None:
    Writer("r", 256, directory=shm_dir).close()
    assert foreign_abi("r", shm_dir) is None
    set_abi(ring_path("r", shm_dir), MAJOR + 1)
    assert foreign_abi("r", shm_dir) == MAJOR + 1
    for attach in (Reader, Writer):
        with pytest.raises(RingMismatch, match=f"ABI {MAJOR + 1}, this program has ABI {MAJOR}"):
            attach("r", directory=shm_dir)


@pytest.mark.parametrize("which", ["ring", "registry", "both", "registry alone"])
def test_ring_of_another_major_is_cleared_away_with_all_its_files(shm_dir: str, which: str) -> None:
    Writer("r", 256, directory=shm_dir).close()
    resume_path("r", shm_dir).write_bytes(b"of that ring")
    if which in ("ring", "both"):
        set_abi(ring_path("r", shm_dir), MAJOR - 1)
    if which != "ring":
        set_abi(registry_path("r", shm_dir), MAJOR - 1)
    if which == "registry alone":
        ring_path("r", shm_dir).unlink()
        resume_path("r", shm_dir).unlink()
    assert clear_foreign("r", shm_dir) == MAJOR - 1
    assert list(Path(shm_dir).iterdir()) == []
    with Writer("r", 256, directory=shm_dir) as writer:
        assert writer.next_seq == 1


def test_ring_of_this_major_and_what_is_no_ring_stay(shm_dir: str) -> None:
    Writer("r", 256, directory=shm_dir).close()
    for name in ("mdfeedd.short", "mdfeedd.text"):
        (Path(shm_dir) / name).write_bytes(b"x" * (3 if name.endswith("short") else 4096))
    for name in ("r", "short", "text", "none"):
        assert clear_foreign(name, shm_dir) is None
    assert list_rings(shm_dir) == ["r", "short", "text"]


def test_ring_of_another_major_with_a_living_writer_stays(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir):
        set_abi(ring_path("r", shm_dir), MAJOR - 1)
        with pytest.raises(RingBusy, match="living writer"):
            clear_foreign("r", shm_dir)
        assert list_rings(shm_dir) == ["r"]
