"""A private folder for the rings of one manager, and the certainty that it goes away.

    make ─► mdfeedd-manager-XXXX, locked ─► ... ─► remove                  in order
                                              ├──► at the interpreter's exit, whatever else was forgotten
                                              └──► killed: the lock is gone, and the next `make` sweeps it

The lock goes with the process, however that ends. A forked child cleans nothing up: it is not its folder.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Home"]

PREFIX: Final = "mdfeedd-manager-"
FRESH_S: Final = 10.0
"""An empty folder as young may not have its lock yet: it is not swept."""


class Home:
    """`path` exists until `remove`. `before`: called first when it is the interpreter's exit that removes it."""

    def __init__(self, path: str, lock_fd: int, before: Callable[[], None]) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._before = before
        self._pid = os.getpid()
        atexit.register(self._at_exit)

    @classmethod
    def make(cls, parent: str, before: Callable[[], None]) -> Self:
        """A new folder in `parent`, a shared-memory file system. Raises `OSError`."""
        _sweep(parent)
        path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        lock_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, lock_fd, before)

    def remove(self) -> None:
        """Remove it with all that is in it; again, or in a forked child: nothing."""
        atexit.unregister(self._at_exit)
        if self._lock_fd < 0 or not self.is_ours:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock_fd)
        self._lock_fd = -1

    @property
    def is_ours(self) -> bool:
        """Are we the process that made it, and no forked child of that?"""
        return os.getpid() == self._pid

    def _at_exit(self) -> None:
        if not self.is_ours:
            return
        self._before()
        self.remove()


def _sweep(parent: str) -> None:
    """Remove the folders of managers that were killed."""
    youngest = time.time() - FRESH_S
    for path in Path(parent).glob(PREFIX + "*"):
        with contextlib.suppress(OSError):  # another user's, or another one sweeps it
            if path.stat().st_mtime > youngest and not os.listdir(path):
                continue
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
