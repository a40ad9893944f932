"""What the processes of a daemon hold, and what lies in its folders."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            todo += map(int, task.read_text().split())
    return found


def label(pid: int) -> str:
    """What its command line says that it is."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return " ".join(words[words.index("mdfeedd") + 1 :] if "mdfeedd" in words else words).strip()


def held(pid: int) -> dict[str, int]:
    """Memory of its own, not shared with others; descriptors; threads."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "memory": int(status["RssAnon"].split()[0]) << 10,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def taken_bytes(folder: Path) -> int:
    """By the files under a folder, those included that go while one looks."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
