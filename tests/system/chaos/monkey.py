"""The chaos monkey: blows out of one seed, each with the moment at which it is made good again.

    draw(rng) ─► Blow(kind, target, lasts) ─► struck: an entry of the list of blows, and a mending, due later
    mend_all: everything that is still hurt, at once

A child is not killed more often than the daemon's own limit for crashes allows (which is a feature: a child that
keeps dying is given up); a new daemon begins to count anew.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import random
import resource
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.chaos.network import Cable
    from tests.system.chaos.stores import Store
    from tests.system.chaos.world import Child, Daemon

DEATHS_PER_CHILD: Final = 4  # of one daemon within DEATHS_WINDOW_S; it gives up at 8
DEATHS_WINDOW_S: Final = 120.0
RESTART_S: Final = 1.0  # RestartSec of the unit
LATELY_S: Final = 10.0
REMOVE_S: Final = 10.0
UP_S: Final = 60.0
SPARE_AS_BYTES: Final = 1 << 20  # of address space, while a child has no more
SPARE_GROUP_BYTES: Final = 2 << 20  # of memory, while the whole daemon has no more
GROUP_FILES: Final = {  # by controllers: where groups are, their limit, their usage, "no limit"
    "": ("/sys/fs/cgroup", "memory.max", "memory.current", "max"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "-1"),
}


class Struck(NamedTuple):
    """An entry of the list of blows; `at_s` from the beginning."""

    at_s: float
    kind: str
    what: str


class SmallDisk:
    """A file system of its own for the journal, and a file that takes all its room."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        folder.mkdir()
        if self._libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=%d" % size):
            raise OSError(ctypes.get_errno(), "no mount of a small disk")
        self._filler = folder / "filler"

    def fill(self) -> None:
        """To the last byte."""
        with self._filler.open("wb") as file, contextlib.suppress(OSError):
            space = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_bsize)
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    def remove(self) -> None:
        self._libc.umount2(os.fsencode(self.folder), 2)  # MNT_DETACH


class MemoryGroup:
    """A memory control group within our own. Raises `OSError` where none can be made."""

    def __init__(self, name: str) -> None:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers not in GROUP_FILES:
                continue
            root, limit, usage, unlimited = GROUP_FILES[controllers]
            folder = Path(root) / own.strip("/") / name
            with contextlib.suppress(OSError):
                folder.mkdir()
                if (folder / limit).exists():
                    self.folder, self._unlimited = folder, unlimited
                    self._limit, self._usage = folder / limit, folder / usage
                    self.procs = folder / "cgroup.procs"
                    return
                folder.rmdir()
        raise OSError("no memory control group can be made here")

    def squeeze(self) -> None:
        """No more than it has now, and a little."""
        self._limit.write_text(str(int(self._usage.read_text()) + SPARE_GROUP_BYTES))

    def release(self) -> None:
        self._limit.write_text(self._unlimited)

    def remove(self) -> None:
        """Its processes, if there are any left, are killed."""
        deadline = time.monotonic() + REMOVE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            for pid in map(int, self.procs.read_text().split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


class Monkey:
    """Strikes at `daemon` and what is around it. `absent`: blows that cannot be dealt here, and why."""

    def __init__(
        self,
        seed: int,
        daemon: Daemon,
        stores: list[Store],
        cable: Cable,
        disk: SmallDisk | None,
        group: MemoryGroup | None,
    ) -> None:
        self.rng = random.Random(seed)
        self.daemon, self.stores, self.cable, self.disk, self.group = (
            daemon, stores, cable, disk, group,
        )  # fmt: skip
        self.struck: list[Struck] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.killed: set[str] = set()
        self._due: list[tuple[float, str, Callable[[], None]]] = []
        self._hurt: set[str] = set()  # what is not struck again before it is mended
        self._mended: dict[str, float] = {}  # when
        self._stopped: set[str] = set()  # children that ever were
        self._deaths: dict[str, list[float]] = collections.defaultdict(list)
        self._threads: list[threading.Thread] = []
        self._failed: list[BaseException] = []
        self._began = time.monotonic()
        self.blows: dict[str, tuple[int, Callable[[], None]]] = {
            "kill -9 of a child": (6, self._kill_child),
            "kill -9 of several children": (2, self._kill_several),
            "kill -9 of the supervisor": (2, self._kill_supervisor),
            "kill -9 of a server": (3, self._kill_server),
            "a child stopped": (4, self._stop_child),
            "the supervisor stopped": (1, self._stop_supervisor),
            "a server stopped": (2, self._stop_server),
            "line cut": (2, self._cut_line),
            "loopback cut": (2, self._cut_loopback),
            "no address space for a child": (2, self._starve_child),
            "a reload": (1, self._reload),
        }
        if disk is not None:
            self.blows["disk full"] = (3, self._fill_disk)
        if group is not None:
            self.blows["memory limit of the daemon"] = (1, self._squeeze)

    # ------------------------------------------------------------------------------------------ its time

    def rampage(self, seconds: float, pause_s: tuple[float, float] = (0.2, 1.5)) -> None:
        """Strike for so long, each kind at least once if there is time, then mend everything."""
        end = time.monotonic() + seconds
        first = self.rng.sample(sorted(self.blows), len(self.blows))
        names, weights = zip(*((name, one[0]) for name, one in self.blows.items()), strict=True)
        while time.monotonic() < end:
            kind = first.pop() if first else self.rng.choices(names, weights)[0]
            self.blows[kind][1]()
            self._sleep(self.rng.uniform(*pause_s))
        self.mend_all()

    def _sleep(self, seconds: float) -> None:
        """And mend what falls due, meanwhile; a supervisor that is not there is started."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for entry in sorted(self._due, key=lambda due: due[0]):
                if entry[0] <= now:
                    self._due.remove(entry)
                    self._mend(entry)
            assert self.daemon.process is not None
            if self.daemon.process.poll() is not None:
                self._found_dead(self.daemon.process.returncode)
            time.sleep(0.02)

    def _found_dead(self, code: int) -> None:
        """What a service manager does. Two things only may end it behind our back: a lack of memory, and a child of
        the daemon before that stands still, so that its ring has a writer.
        """
        by_kernel = code == -signal.SIGKILL and self._lately("memory")
        beside = code == 1 and any(self._lately(name) for name in self._stopped)
        beside = beside and "has a living writer" in self.daemon.last_words()
        assert by_kernel or beside, f"the daemon ended by itself, with status {code}"
        if by_kernel:
            self._note("kill -9 by the kernel", "supervisor")
            self.killed.add("supervisor")
        else:
            self._note("refused beside an orphan", "supervisor")
        self._deaths.clear()
        time.sleep(RESTART_S)
        self.daemon.start()

    def _lately(self, hurt: str) -> bool:
        """It is hurt, or was a moment ago: what came of it may show only now."""
        return hurt in self._hurt or time.monotonic() - self._mended.get(hurt, -LATELY_S) < LATELY_S

    def _mend(self, entry: tuple[float, str, Callable[[], None]]) -> None:
        entry[2]()
        self._hurt.discard(entry[1])
        self._mended[entry[1]] = time.monotonic()

    def leave(self) -> None:
        """Whatever has happened: nothing is left stopped or cut."""
        for entry in self._due:
            with contextlib.suppress(Exception):
                entry[2]()
        self._due.clear()
        for thread in self._threads:
            thread.join()

    def mend_all(self) -> None:
        """All servers answer, nothing is stopped or cut, and the daemon has children when this returns. Raises what
        went wrong with a server.
        """
        for entry in self._due:
            self._mend(entry)
        self._due.clear()
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise self._failed[0]
        deadline = time.monotonic() + UP_S
        while not self.daemon.children() and time.monotonic() < deadline:
            self._sleep(0.1)

    # ----------------------------------------------------------------------------------------- its tools

    def _note(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        self.struck.append(Struck(time.monotonic() - self._began, kind, what))

    def _later(self, seconds: float, hurt: str, mend: Callable[[], None]) -> None:
        self._hurt.add(hurt)
        self._due.append((time.monotonic() + seconds, hurt, mend))

    def _mortal(self) -> list[Child]:
        """Children that may die once more."""
        now = time.monotonic()
        return [
            child
            for child in self.daemon.children()
            if sum(now - at < DEATHS_WINDOW_S for at in self._deaths[child.name]) < DEATHS_PER_CHILD
        ]

    def _kill(self, child: Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
            self._deaths[child.name].append(time.monotonic())
            self.killed.add(child.name)

    # --------------------------------------------------------------------------------------------- blows

    def _kill_child(self) -> None:
        if victims := self._mortal():
            child = self.rng.choice(victims)
            self._kill(child)
            self._note("kill -9 of a child", child.name)

    def _kill_several(self) -> None:
        victims = [child for child in self._mortal() if self.rng.random() < 0.5]
        for child in victims:
            self._kill(child)
        if victims:
            names = ", ".join(child.name for child in victims)
            self._note("kill -9 of several children", names)

    def _kill_supervisor(self) -> None:
        if "supervisor" in self._hurt:
            return
        self.daemon.kill()
        self._deaths.clear()
        self.killed.add("supervisor")
        down_s = self.rng.choice([0.0, 0.0, self.rng.uniform(0, 1.5)])
        self._note("kill -9 of the supervisor", f"down for {down_s:.2f} s")
        time.sleep(down_s)
        self.daemon.start()

    def _server(self) -> Store | None:
        free = [one for one in self.stores if one.victim and one.name not in self._hurt]
        return self.rng.choice(free) if free else None

    def _kill_server(self) -> None:
        store = self._server()
        if store is None:
            return
        down_s = self.rng.uniform(0, 1.5)
        self._note("kill -9 of a server", f"{store.name}, down for {down_s:.2f} s")
        self._hurt.add(store.name)

        def die_and_come_back() -> None:
            try:
                store.kill()
                time.sleep(down_s)
                store.start()
                self._hurt.discard(store.name)
            except BaseException as error:  # noqa: BLE001 - told by mend_all
                self._failed.append(error)

        self._threads.append(threading.Thread(target=die_and_come_back))
        self._threads[-1].start()

    def _stop_child(self) -> None:
        free = [child for child in self._mortal() if child.name not in self._hurt]
        if not free:
            return
        child = self.rng.choice(free)
        lasts_s = self.rng.choice([self.rng.uniform(0.05, 1), self.rng.uniform(2, 8)])
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGSTOP)
            self._stopped.add(child.name)
            self._note("a child stopped", f"{child.name} for {lasts_s:.2f} s")
            self._later(lasts_s, child.name, lambda: self._resume(child.pid))

    @staticmethod
    def _resume(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _stop_supervisor(self) -> None:
        if "supervisor" in self._hurt:
            return
        lasts_s, pid = self.rng.uniform(0.1, 3), self.daemon.pid
        os.kill(pid, signal.SIGSTOP)
        self._note("the supervisor stopped", f"for {lasts_s:.2f} s")
        self._later(lasts_s, "supervisor", lambda: self._resume(pid))

    def _stop_server(self) -> None:
        store = self._server()
        if store is not None:
            lasts_s = self.rng.uniform(0.2, 4)
            store.freeze()
            self._note("a server stopped", f"{store.name} for {lasts_s:.2f} s")
            self._later(lasts_s, store.name, store.thaw)

    def _reload(self) -> None:
        if not self.daemon.children():  # it may not be a Python program yet, which SIGHUP would end
            return
        store, seconds = self.rng.choice(self.stores), round(self.rng.uniform(0.05, 0.3), 2)
        self.daemon.reload(store.name, seconds)
        self._note("a reload", f"of {store.name}, to flush_interval_s {seconds}")

    def _cut_line(self) -> None:
        if "line" not in self._hurt:
            lasts_s = self.rng.uniform(0.3, 4)
            self.cable.cut_line()
            self._note("line cut", f"for {lasts_s:.2f} s")
            self._later(lasts_s, "line", self.cable.mend_line)

    def _cut_loopback(self) -> None:
        if "loopback" not in self._hurt:
            lasts_s = self.rng.uniform(0.3, 3)
            self.cable.cut_loopback()
            self._note("loopback cut", f"for {lasts_s:.2f} s")
            self._later(lasts_s, "loopback", self.cable.mend_loopback)

    def _fill_disk(self) -> None:
        if "disk" not in self._hurt and self.disk is not None:
            lasts_s = self.rng.choice([self.rng.uniform(0.3, 2), self.rng.uniform(4, 7)])
            self.disk.fill()
            self._note("disk full", f"for {lasts_s:.2f} s")
            self._later(lasts_s, "disk", self.disk.empty)

    def _starve_child(self) -> None:
        """It gets no more address space than it has, and a little."""
        free = [child for child in self._mortal() if f"space of {child.name}" not in self._hurt]
        if not free:
            return
        child = self.rng.choice(free)
        lasts_s = self.rng.uniform(0.5, 3)
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + SPARE_AS_BYTES
            resource.prlimit(child.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            self._deaths[child.name].append(time.monotonic())  # it may well end by it
            self._note("no address space for a child", f"{child.name} for {lasts_s:.2f} s")

            def feed() -> None:
                unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                with contextlib.suppress(OSError):
                    resource.prlimit(child.pid, resource.RLIMIT_AS, unlimited)

            self._later(lasts_s, f"space of {child.name}", feed)

    def _squeeze(self) -> None:
        if "memory" not in self._hurt and self.group is not None:
            lasts_s = self.rng.uniform(0.5, 3)
            with contextlib.suppress(OSError):  # it grew meanwhile
                self.group.squeeze()
                self._note("memory limit of the daemon", f"for {lasts_s:.2f} s")
            self._later(lasts_s, "memory", self.group.release)
