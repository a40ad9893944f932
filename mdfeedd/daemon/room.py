"""How much shared memory the rings of a plan take, and whether there is as much.

Only of rings that are not there yet, and without their tables of instruments, which are small while they are empty.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from mdfeedd.ring.segment import ring_path
from mdfeedd.ring.writer import DEFAULT_CAPACITY
from mdfeedd.tick import BAR, TICK

if TYPE_CHECKING:
    from mdfeedd.daemon.plan import ChildPlan, Plan

__all__ = ["check_room", "ring_bytes"]


def ring_bytes(plan: Plan) -> int:
    """Bytes that the rings will take once they are there."""
    return sum(_bytes_of(child) for child in (*plan.feeds, *plan.consumers))


def check_room(plan: Plan, directory: str) -> None:
    """Raises `OSError` (ENOSPC) where they do not fit into the file system of `directory`."""
    stat = os.statvfs(directory)
    free, needed = stat.f_bavail * stat.f_frsize, ring_bytes(plan)
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"the rings need {needed} bytes, and {directory} has {free} free: take a smaller capacity or make the "
            "file system larger (in a container: --shm-size, or an emptyDir with medium: Memory)",
        )


def _bytes_of(child: ChildPlan) -> int:
    if child.kind == "feed":
        capacity, record = child.capacity, TICK.itemsize
    else:
        capacity, record = int(child.options.get("capacity", DEFAULT_CAPACITY)), BAR.itemsize
    missing = [ring for ring in child.writes if not ring_path(ring, child.directory).exists()]
    return len(missing) * capacity * record
