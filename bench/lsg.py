"""What bench/databento.py plays with: a gateway in C, the streams that it sends, and processes that receive them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import zstandard
from dbn import INSTRUMENTS, T0, records

from mdfeedd.daemon.plan import Assignment, ChildPlan, LogPlan, jsonable
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.databento.layouts import mapping, metadata
from mdfeedd.tick import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
INCLUDES = [HERE.parent / "mdfeedd" / folder for folder in ("ring", "feeds/databento/codec")]
DATASET = "BENCH.TEST"
RING = "db"
KEY = "db-" + "k" * 29
#: Records that the gateway sends again and again, later each time: they stay in its cache.
BLOCK = 4096
RECORD_BYTES = 80
STEP_NS = 1000
GAP_US = 2000
POLL_S = 0.005
PATIENCE_S = 60.0


class Stream(NamedTuple):
    """What the gateway sends: files, how often, and how many records and bytes that makes."""

    head: Path
    body: Path
    records: int
    bytes: int
    settings: dict[str, int]

    def words(self) -> list[str]:
        values = {"head": self.head, "body": self.body, **self.settings}
        return [f"{key}={value}" for key, value in values.items()]


class Streams:
    """Makes the files. `now_ns`: the time of the first record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ns = time.time_ns()

    def _head(self, *, ts_out: bool) -> bytes:
        """Metadata and the mappings."""
        head = metadata(DATASET, start_ns=self.now_ns, ts_out=ts_out)
        for i in range(INSTRUMENTS):
            one = mapping(self.now_ns, 1_000 + i, (1, f"SYM{i}"), f"SYM{i}")
            head += self._with_ts_out(one) if ts_out else one
        return head

    def _with_ts_out(self, block: bytes) -> bytes:
        words = block[0]
        rows = np.frombuffer(block, np.uint8).reshape(-1, words * 4)
        stamps = np.full(len(rows), self.now_ns, np.uint64).view(np.uint8).reshape(-1, 8)
        out = np.hstack([rows, stamps])
        out[:, 0] = words + 2
        return out.tobytes()

    def _block(self, number: int) -> bytes:
        words = np.frombuffer(records(BLOCK), np.int64).reshape(BLOCK, -1).copy()
        words[:, (1, 4)] += self.now_ns - T0 + number * BLOCK * STEP_NS  # ts_event, ts_recv
        return words.tobytes()

    def _files(self, name: str, head: bytes, body: bytes) -> tuple[Path, Path]:
        paths = self.folder / f"{name}.head", self.folder / f"{name}.body"
        for path, data in zip(paths, (head, body), strict=True):
            path.write_bytes(data)
        return paths

    def plain(self, n: int, *, ts_out: bool = False) -> Stream:
        """A flood of n records, in whole blocks."""
        repeat = max(1, n // BLOCK)
        head, block = self._head(ts_out=ts_out), self._block(0)
        if ts_out:
            block = self._with_ts_out(block)
        paths = self._files("ts_out" if ts_out else "plain", head, block)
        settings = {
            "stride": len(block) // BLOCK, "repeat": repeat, "step_ns": BLOCK * STEP_NS,
        }  # fmt: skip
        return Stream(*paths, repeat * BLOCK, len(head) + repeat * len(block), settings)

    def paced(self, rate: int, seconds: float) -> Stream:
        """For so long, so many records a second."""
        plain = self.plain(int(rate * seconds))
        return plain._replace(settings=plain.settings | {"rate": rate})

    def zstd(self, n: int) -> Stream:
        """The same as one compressed stream."""
        repeat = max(1, n // BLOCK)
        packer = zstandard.ZstdCompressor(level=1).compressobj()
        flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        head = packer.compress(self._head(ts_out=False)) + packer.flush(flush)
        body = b"".join(packer.compress(self._block(i)) for i in range(repeat))
        body += packer.flush(flush)
        paths = self._files("zstd", head, body)
        return Stream(*paths, repeat * BLOCK, len(head) + len(body), {})

    def singly(self, n: int, gap_us: int = GAP_US) -> Stream:
        """Single records, stamped by the gateway."""
        head = self._head(ts_out=False)
        paths = self._files("singly", head, self._block(0))
        total = len(head) + n * RECORD_BYTES
        return Stream(*paths, n, total, {"gap_us": gap_us, "count": n})


def build(folder: Path) -> dict[str, str]:
    """The C programs by name."""
    flags = ["-O2", "-std=c11", "-Wno-unused-function", *(f"-I{path}" for path in INCLUDES)]
    out = {}
    for name in ("lsg_send", "lsg_receive"):
        out[name] = str(folder / name)
        subprocess.run(["cc", *flags, HERE / "net" / f"{name}.c", "-o", out[name]], check=True)
    return out


@contextlib.contextmanager
def on(cpu: int | None) -> Iterator[None]:
    """What is started within runs on this processor alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cpu is None else {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Program:
    """A process that says lines, and may be told to go on. It is killed at the end of the `with`."""

    def __init__(self, command: list[str], cpu: int | None, **more: Any) -> None:
        self.name = Path(command[0]).name
        pipe = subprocess.PIPE
        self.began_ns = time.time_ns()
        with on(cpu):
            self.popen = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.communicate()

    def speaks(self, timeout_s: float) -> bool:
        """Whether it has a line for us, or has gone."""
        assert self.popen.stdout is not None
        return bool(select.select([self.popen.stdout], [], [], timeout_s)[0])

    def hear(self, word: str) -> list[str]:
        """The next line, which begins with `word`; the rest of it."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline().decode() if self.speaks(PATIENCE_S) else ""
        first, *rest = line.split() or [""]
        if first != word:
            raise RuntimeError(f"{self.name} said {line!r} in place of {word!r}")
        return rest

    def go(self) -> None:
        """Have it go on."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(b"\n")

    def cpu_ns(self) -> int:
        """The processor time that it has used, threads and all."""
        return time.clock_gettime_ns((~self.popen.pid << 3) | 2)  # the clock of another process


class Feed(Program):
    """The feed's process, as `mdfeedd run` starts it."""

    def __init__(self, port: int, directory: str, cpu: int | None, **options: Any) -> None:
        recovery = options.pop("recovery", "natural")
        asked = Subscription(schema="mbp-1", symbols=("ALL_SYMBOLS",), recovery=recovery)
        chosen = DatabentoOptions(
            dataset=DATASET, subscriptions=(asked,), gateway=f"127.0.0.1:{port}", **options
        )
        child = ChildPlan(
            kind="feed", name=RING, plugin="databento", options=jsonable(chosen),
            target="mdfeedd.feeds.databento.feed:DatabentoFeed", directory=directory,
        )  # fmt: skip
        reading, writing = os.pipe()
        try:
            command = [sys.executable, "-m", "mdfeedd.daemon.worker", "feed", RING]
            command += ["--plan-fd", str(reading)]
            env = os.environ | {"DATABENTO_API_KEY": KEY}
            super().__init__(command, cpu, pass_fds=(reading,), env=env)
        finally:
            os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(Assignment(child, LogPlan(level="error")).to_json())
        self.directory = directory

    def done(self, n: int) -> None:
        """Wait until it has published n records."""
        until_s = time.monotonic() + PATIENCE_S
        while (had := self._published()) < n and time.monotonic() < until_s:
            time.sleep(POLL_S)
        if had != n:
            raise RuntimeError(f"the feed has published {had} of {n} records")

    def _published(self) -> int:
        counters = inspect(RING, self.directory).counters
        return counters["published_quotes"] + counters["published_trades"]

    def last(self) -> np.ndarray:
        """The ticks that the ring still has, quotes and trades."""
        with Reader(RING, start="oldest", directory=self.directory) as reader:
            ticks = reader.read(1 << 16, timeout=0).records.copy()
        return ticks[np.isin(ticks["kind"], (Kind.QUOTE, Kind.TRADE))]

    def stop(self) -> None:
        """End it in order."""
        self.popen.send_signal(signal.SIGTERM)
        if status := self.popen.wait(PATIENCE_S):
            raise RuntimeError(f"the feed ended with status {status}")
