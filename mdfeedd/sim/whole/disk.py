"""The journal's disk: the real files, a step at each call, full while the world says so, torn at a death."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from mdfeedd.journal.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.sim.whole.world import World

__all__ = ["SimulatedDisk"]


class SimulatedDisk(Disk):
    """One process's. What takes room raises ENOSPC while the disk is full."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _room(self) -> None:
        if self._world.disk_full and not self._world.closing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: str) -> int:
        """As the real one."""
        self._world.step("create")
        self._room()
        return super().create(path)

    def allocate(self, fd: int, size: int) -> None:
        """As the real one."""
        self._world.step("allocate")
        self._room()
        super().allocate(fd, size)

    def write(self, fd: int, parts: Sequence[Any], offset: int) -> None:
        """As the real one; of a process that dies in it a part is written, or nothing."""
        self._room()
        if self._world.kills_at_next("write"):
            data = b"".join(bytes(part) for part in parts)
            super().write(fd, [data[: self._world.rng("torn").randrange(len(data))]], offset)
        self._world.step("write")
        super().write(fd, parts, offset)
        self._world.step("written")

    def truncate(self, fd: int, size: int) -> None:
        """As the real one."""
        self._world.step("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:  # noqa: ARG002 - as the real one
        """Nothing is lost by power here: a step only."""
        self._world.step("sync")

    def sync_folder(self, folder: str) -> None:  # noqa: ARG002
        """The same."""
        self._world.step("sync folder")

    def rename(self, path: str, to: str) -> None:
        """As the real one."""
        self._world.step("rename")
        super().rename(path, to)
        self._world.step("renamed")

    def remove(self, path: str) -> None:
        """As the real one."""
        self._world.step("remove")
        super().remove(path)
