"""A ring on pages of 2 MiB: of the writer, and so of each reader; and what is said where that cannot be."""

from __future__ import annotations

import errno
import logging
import os
import re
from pathlib import Path

import pytest

from mdfeedd import TICK, Reader, Writer
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring.segment import ring_path

HUGE_KB = 2048
CAPACITY = 65_536  # 4 MiB of slots: two pages, and a little on ordinary ones


def mapped_kb(name: str, shm_dir: str) -> int:
    """Of all mappings of a ring in this process: what is mapped by huge pages."""
    inode = str(ring_path(name, shm_dir).stat().st_ino)  # its name there is that before it had one
    text = Path("/proc/self/smaps").read_text()
    parts = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text)
    ours = [part for part in parts if part.split(maxsplit=5)[4:5] == [inode]]
    return sum(int(re.search(r"ShmemPmdMapped: +(\d+)", part)[1]) for part in ours)


def test_slots_of_writer_and_readers_lie_on_them(shm_dir: str, ticks) -> None:
    with Writer("huge", CAPACITY, directory=shm_dir) as writer:
        assert mapped_kb("huge", shm_dir) == 0, "nobody has asked for them"
        why = writer.use_huge_pages()
        if why:
            pytest.skip(f"this kernel or file system has none for it: {os.strerror(why)}")
        assert mapped_kb("huge", shm_dir) == 2 * HUGE_KB
        with Reader("huge", "now", "me", directory=shm_dir) as reader:
            assert mapped_kb("huge", shm_dir) == 2 * 2 * HUGE_KB
            writer.publish(ticks(100))
            assert len(reader.read(timeout=5)) == 100


def test_ring_smaller_than_one_says_so(shm_dir: str, caplog) -> None:
    plan = RingPlan("small", 256, directory=shm_dir, huge_pages=True, instruments_capacity=64)
    with caplog.at_level(logging.WARNING), plan.writer("f", TICK) as writer:
        assert writer.use_huge_pages() == errno.ERANGE
    assert (
        "huge_pages: ring small lies on ordinary pages: it is smaller than one of 2 MiB"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (errno.EINVAL, "Linux 6.1 or later"),
        (errno.ENOMEM, "in one piece"),
        (errno.EPERM, "not permitted"),
    ],
)
def test_refusal_is_one_sentence_and_the_ring_works(
    shm_dir: str, monkeypatch, caplog, ticks, why, words
) -> None:
    monkeypatch.setattr(Writer, "use_huge_pages", lambda _self: why)
    plan = RingPlan("r", 65_536, directory=shm_dir, huge_pages=True)
    with caplog.at_level(logging.WARNING), plan.writer("f", TICK) as writer:
        writer.publish(ticks(3))
    (record,) = [r for r in caplog.records if "huge_pages" in r.getMessage()]
    assert words in record.getMessage()


def test_not_asked_for_is_not_tried(shm_dir: str, monkeypatch) -> None:
    def never(_self: Writer) -> int:
        raise AssertionError("it was not asked for")

    monkeypatch.setattr(Writer, "use_huge_pages", never)
    RingPlan("r", 65_536, directory=shm_dir).writer("f", TICK).close()
