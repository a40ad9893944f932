"""NUMA nodes: whose memory a process takes first, and which CPUs are beside it.

A page of a ring lies on the node of who makes it, which is the feed's process; it stays there until the ring is
replaced, so another `numa_node` moves a ring only when it is made anew. Preferred, not bound: when the node is
full, memory that is farther away is better than none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from pathlib import Path
from typing import Final

NODES: Final = Path("/sys/devices/system/node")
MAX_NODE: Final = 1023
"""The largest number of a node that Linux can be built for."""
_SET_MEMPOLICY: Final = {"x86_64": 238, "aarch64": 237}
"""Numbers of the system call, which the C library does not wrap."""
_MPOL_PREFERRED: Final = 1
_LONG_BITS: Final = 64


def parse_list(text: str) -> list[int]:
    """The numbers of a kernel list such as ``0-3,8``. Raises `ValueError`."""
    numbers: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def nodes(folder: Path = NODES) -> set[int]:
    """The nodes of this machine; none where the kernel does not tell of any."""
    try:
        return set(parse_list((folder / "online").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return set()


def cpus_of(node: int, folder: Path = NODES) -> tuple[int, ...]:
    """The CPUs of a node; none of a node that has none, or that there is not."""
    try:
        return tuple(parse_list((folder / f"node{node}/cpulist").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return ()


def prefer(node: int) -> str:
    """Take this thread's memory, and that of threads it starts, from a node; why that cannot be, in a sentence, or ""."""
    number = _SET_MEMPOLICY.get(platform.machine())
    if not (there := nodes()) or number is None:
        return "numa_node: this kernel has no NUMA nodes to choose from: memory comes from where it likes"
    if node not in there:
        many = ", ".join(map(str, sorted(there)))
        return f"numa_node: there is no node {node} here, only {many}: memory comes from where the kernel likes"
    mask = (ctypes.c_ulong * ((MAX_NODE + 1) // _LONG_BITS))()
    mask[node // _LONG_BITS] = 1 << node % _LONG_BITS
    libc = ctypes.CDLL(None, use_errno=True)
    if not libc.syscall(number, _MPOL_PREFERRED, mask, ctypes.c_ulong(MAX_NODE + 2)):
        return ""
    why = ctypes.get_errno()
    allow = "; is set_mempolicy in the unit's SystemCallFilter?" if why == errno.EPERM else ""
    return f"numa_node: the kernel refuses memory of node {node}: {os.strerror(why)}{allow}"
