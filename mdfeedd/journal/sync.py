"""When what was written becomes durable: the policies none, interval and batch.

none      the kernel's pace; nothing is ever told to be durable
interval  a thread notes how far the journal is written, syncs, and tells what it noted
batch     `commit` syncs, then tells
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from mdfeedd.journal.errors import JournalError
from mdfeedd.journal.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.journal.disk import Disk

__all__ = ["Syncer"]

MAX_RETIRED: Final = 4  # sealed segments that wait for their sync; beyond, the writer waits


class Syncer:
    """Owns the descriptors that the writer has retired; the one in use is the writer's.

    `durable` is where the last sync that came back had been noted, of the ring_id `durable_space`.
    """

    def __init__(self, disk: Disk, policy: str, interval_s: float) -> None:
        self._disk = disk
        self._policy = policy
        self._interval_s = interval_s
        self._noted: tuple[Mark, str] = (Mark(), "")
        self._fd = -1
        self._retired: list[int] = []
        self._failed: JournalError | None = None
        self._changed = threading.Condition()
        self._round = threading.Lock()  # one round of syncs at a time
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._told: Callable[[], None] = lambda: None
        self.durable_space: str
        self.durable: Mark
        self.durable, self.durable_space = self._noted

    def start(self, told: Callable[[], None]) -> None:
        """Begin; `told` is called, by whoever synced, after `durable` has moved."""
        self._told = told
        if self._policy == "interval":
            self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
            self._thread.start()

    def note(self, written: Mark, ring_id: str) -> None:
        """The journal is written up to here."""
        self._noted = (written, ring_id)

    def assume(self) -> None:
        """What is noted has been synced already."""
        if self._policy != "none":
            self.durable, self.durable_space = self._noted

    def use(self, fd: int) -> None:
        """Blocks go to this descriptor now."""
        with self._changed:
            self._fd = fd

    def retire(self, fd: int) -> None:
        """No more blocks go to this descriptor; it is closed once it is synced."""
        if self._policy == "interval" and self._thread is not None:
            with self._changed:
                self._fd = -1
                self._retired.append(fd)
                while len(self._retired) > MAX_RETIRED and self._failed is None:
                    self._changed.notify_all()
                    self._changed.wait(1.0)
            self.check()
            return
        with self._changed:
            self._fd = -1
        try:
            if self._policy != "none":
                self.sync(fd)
        finally:
            os.close(fd)

    def sync(self, fd: int) -> None:
        """Sync one file. Raises `JournalError`, after which nothing is ever synced again."""
        self.check()
        try:
            self._disk.sync(fd)
        except OSError as error:
            self._failed = JournalError(
                f"the journal cannot be synced: {error.strerror}. What was written since the last "
                f"sync may be lost, and trying again would hide it"
            )
            raise self._failed from error

    def commit(self) -> None:
        """With the policy `batch`: make all that is written durable, and tell."""
        self.check()
        if self._policy == "batch" and self._noted[0] != self.durable:
            self._settle()

    def settle(self) -> None:
        """Make durable what is noted now, whichever thread is due; not with the policy none."""
        self.check()
        if self._policy != "none" and (self._noted[0] != self.durable or self._retired):
            self._settle()

    def check(self) -> None:
        """Raises the `JournalError` of a sync that failed, in whichever thread."""
        if self._failed is not None:
            raise self._failed

    def _settle(self) -> None:
        """One round: what is noted now is durable when the syncs have come back."""
        with self._round:
            self._settle_noted()

    def _settle_noted(self) -> None:
        with self._changed:
            noted, fd, retired = self._noted, self._fd, list(self._retired)
        for old in retired:
            self.sync(old)
            with self._changed:
                self._retired.remove(old)
                self._changed.notify_all()
            os.close(old)
        if fd >= 0:
            self.sync(fd)
        self.durable, self.durable_space = noted
        self._told()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or len(self._retired) >= MAX_RETIRED, self._interval_s
                )
                if self._stopping:
                    return
            if self._noted[0] == self.durable and not self._retired:
                continue
            try:
                self._settle()
            except JournalError:
                with self._changed:
                    self._changed.notify_all()
                return  # `check` raises it in the writer's thread

    def close(self) -> None:
        """Sync what is left (unless the policy is none, or a sync has failed) and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        try:
            if self._policy != "none" and self._failed is None:
                self._settle()
        finally:
            for fd in self._retired:
                os.close(fd)
            self._retired.clear()
            self._fd = -1
