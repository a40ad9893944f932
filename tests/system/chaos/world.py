"""What is put to the test: the daemon out of a configuration file, with venues before it and stores behind it.

venues' host                                 daemon's host
CME: multicast, lines A and B ──┐            mdfeedd run: feeds cme, databento, bloomberg, synthetic
Databento: a gateway, TCP ──────┴─ cable ──► rings ─► bars ─► ring bars
                                               └─► journal (a small disk) ─► one batch consumer a store
Bloomberg: a stand-in within its feed          PostgreSQL, Redis, Kafka by TCP on lo; Parquet: files
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdfeedd.journal import folder_of
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.cme.child import VenueProcess
from mdfeedd.sim.cme.publisher import PublisherOptions
from mdfeedd.sim.databento import KEY
from mdfeedd.sim.databento.child import GatewayProcess
from mdfeedd.sim.databento.play import GatewayOptions
from tests.system.chaos.network import FAR, NEAR, Cable

if TYPE_CHECKING:
    from tests.system.chaos.stores import Store

FEEDS: Final = ("cme", "databento", "bloomberg", "synthetic")
BARS: Final = "bars"
JOURNAL: Final = "journal"
DISK_BYTES: Final = 256 << 20  # of the journal's disk
SMALL_RING: Final = 4096  # of the synthetic feed: a journal that stands still is lapped in seconds
SYNTHETIC_RATE: Final = 2500
SEGMENT_BYTES: Final = (
    1 << 17
)  # of the journal: a new file, and with it room on the disk, every second
HANG_S: Final = 6.0
PATIENCE_S: Final = 240.0
SWIFT_S: Final = (
    3.0  # who is as close behind as this catches up in the time that a daemon gives at its stop
)
STOP_S: Final = 60.0


class Child(NamedTuple):
    """A process of the daemon."""

    name: str
    pid: int


def configuration(folder: Path, shm_dir: str, disk: Path, stores: list[Store]) -> dict[str, Any]:
    """What the daemon runs."""
    key = folder / "key"
    key.write_text(KEY)
    topics = [{"topic": name} for name in ("ESZ6 Index", "SPY US Equity", "EURUSD Curncy")]
    feeds = {
        "cme": {
            "config_xml": str(folder / "config.xml"), "channels": [310], "interface_a": NEAR,
            "interface_b": NEAR, "cache_dir": "", "receive_buffer_bytes": 1 << 20,
        },
        "databento": {
            "dataset": "GLBX.MDP3", "gateway": (folder / "gateway").read_text(),
            "key_file": str(key), "subscriptions": [
                {"schema": "mbp-1", "symbols": ["ALL_SYMBOLS"], "recovery": "replay"},
            ],
        },
        "bloomberg": {"blpapi_path": "simulated", "topics": topics},
        "synthetic": {"instruments": 8, "rate": SYNTHETIC_RATE, "seed": 7, "wait_consumers": 2},
    }  # fmt: skip
    assert tuple(feeds) == FEEDS
    keep = {"path": str(disk), "segment_bytes": SEGMENT_BYTES, "fsync_interval_s": 0.05}
    batch = {"journal": str(disk), "flush_interval_s": 0.1, "back_off_max_s": 1.0}
    consumers = [
        ("bars-maker", "bars", list(FEEDS), {"ring": BARS, "intervals_s": [1]}),
        (JOURNAL, "journal", [*FEEDS, BARS], keep),
        *((store.name, "batch", [*FEEDS, BARS], {**batch, "sink": store.sink}) for store in stores),
    ]
    return {
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": [
            {"name": name, "vendor": name, "options": options, "hang_s": HANG_S}
            | ({"capacity": SMALL_RING} if name == "synthetic" else {})
            for name, options in feeds.items()
        ],
        "consumers": [
            {"name": name, "type": kind, "rings": rings, "options": options, "hang_s": 2 * HANG_S}
            for name, kind, rings, options in consumers
        ],
    }


class Venues:
    """On the host at the far end, made by `with`."""

    def __init__(self, cable: Cable, folder: Path, seed: int) -> None:
        self._stack = contextlib.ExitStack()
        with cable.at("venues"):
            self.cme = VenueProcess(
                PublisherOptions(
                    interface="far", config=str(folder / "config.xml"), rate=250, seed=seed,
                    orders=False,
                )
            )  # fmt: skip
            self._stack.enter_context(self.cme)
            try:
                self.gateway = GatewayProcess(
                    GatewayOptions(host=FAR, rate=200.0, seed=seed, schemas=("mbp-1",))
                )
                self._stack.enter_context(self.gateway)
            except BaseException:
                self.close()
                raise
        (folder / "gateway").write_text(f"{FAR}:{self.gateway.port}")

    def close(self) -> None:
        self._stack.close()


class Daemon:
    """`mdfeedd run`. It may be killed, and started again; `group`: a file that takes it into a memory group."""

    def __init__(self, folder: Path, plan: dict[str, Any], group: Path | None) -> None:
        self.folder = folder
        self.log = folder / "daemon.log"
        self.file = folder / "mdfeedd.yaml"
        self.file.write_text(json.dumps(plan))  # JSON is YAML
        self._group = group
        self._plan = plan
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        world = {"rate": 400.0, "keep": False}
        command = [sys.executable, "-m", "mdfeedd", "run", "-c", str(self.file)]
        if self._group is not None:
            command = ["sh", "-c", f'echo $$ >{self._group}; exec "$@"', "sh", *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stderr=log,
                env={**os.environ, "MDFEEDD_BLOOMBERG_WORLD": json.dumps(world)},
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[Child]:
        """That run now, in the order of their pids."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if parent == self.pid and b"mdfeedd.daemon.worker" in words:
                    name = words[words.index(b"mdfeedd.daemon.worker") + 2].decode()
                    found.append(Child(name, int(entry.name)))
        return sorted(found, key=lambda child: child.pid)

    def reload(self, consumer: str, flush_interval_s: float) -> None:
        """SIGHUP, with another option for one batch consumer, which is stopped and started for it."""
        for one in self._plan["consumers"]:
            if one["name"] == consumer:
                one["options"]["flush_interval_s"] = flush_interval_s
        self.file.with_suffix(".new").write_text(json.dumps(self._plan))
        self.file.with_suffix(".new").rename(self.file)
        os.kill(self.pid, signal.SIGHUP)

    def kill(self) -> None:
        """kill -9 of the supervisor; its children are the kernel's to tell."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As an operator does: the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_S)

    def end(self) -> None:
        """Whatever it is doing."""
        if self.process is not None:
            for child in self.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.kill()

    def last_words(self) -> str:
        return self.said().rstrip().rpartition("\n")[2]

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def tails(shm_dir: str) -> dict[str, int]:
    """Of each ring that there is."""
    found = {}
    for ring in (*FEEDS, BARS):
        with contextlib.suppress(RingError):
            found[ring] = inspect(ring, shm_dir).tail
    return found


def begins(disk: Path) -> dict[str, int]:
    """The first record of each ring that its journal has."""
    return {ring: list_segments(folder_of(str(disk), ring))[0].first_seq for ring in (*FEEDS, BARS)}


def behind(shm_dir: str, stores: list[Store], marks: dict[str, int]) -> list[str]:
    """Who has not yet told that it holds all up to `marks` safely, and by how much."""
    late = []
    for ring, mark in marks.items():
        try:
            slots = {one.name: one for one in inspect(ring, shm_dir).consumers if one.alive}
        except RingError:
            late.append(f"ring {ring} is not there")
            continue
        for name in (JOURNAL, *(store.name for store in stores)):
            slot = slots.get(name)
            if slot is None:
                late.append(f"{name} does not read ring {ring}")
            elif slot.acked < mark:
                late.append(f"{name} has {slot.acked} of {mark} of ring {ring}")
    return late


def settle(daemon: Daemon, shm_dir: str, stores: list[Store]) -> float:
    """Wait until what is published is safe everywhere within SWIFT_S; how long that took."""
    began = time.monotonic()
    while True:
        at = time.monotonic()
        _catch_up(daemon, shm_dir, stores, began + PATIENCE_S)
        if time.monotonic() - at < SWIFT_S:
            return time.monotonic() - began


def _catch_up(daemon: Daemon, shm_dir: str, stores: list[Store], deadline: float) -> None:
    """Wait until all that is published now is safe everywhere."""
    marks: dict[str, int] = {}
    while True:
        assert daemon.process is not None
        assert daemon.process.poll() is None, f"the daemon ended: {daemon.process.returncode}"
        if len(marks) <= len(FEEDS):
            marks = tails(shm_dir)
        late = behind(shm_dir, stores, marks) if len(marks) > len(FEEDS) else ["a ring lacks"]
        running = {child.name for child in daemon.children()}
        late += [f"{one} does not run" for one in (*FEEDS, "bars-maker") if one not in running]
        if not late:
            return
        assert time.monotonic() < deadline, f"not in {PATIENCE_S:g} s of quiet: {'; '.join(late)}"
        time.sleep(0.1)
