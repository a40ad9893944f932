"""Databento's live gateway into a ring, beside bare C loops and `databento.Live`: one run, side by side.

    python bench/databento.py [--quick] [--only flood,latency,footprint] [--rounds 5] [--save]

Everybody talks to the same gateway over loopback, a C program that sends a prepared stream of mbp-1. `flood`: CPU
time and wall time a record. CPU is the receiving process's own, user and system, from just before the first
record to just after the last; the kernel's delivery runs in the sender and counts for nobody. `latency`: single
records, stamped just before they are sent, until a reader or a callback has them. `footprint`: from exec to the
first record, and the most memory. Every receiver must have had every record. Rounds are interleaved, and a ratio
is the median of the ratios within each round. `--save` writes ``bench/results/databento.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import machine
import numpy as np
import zstandard
from dbn import INSTRUMENTS, T0, records
from rounds import quantiles_us, ratio

from mdfeedd.daemon.plan import Assignment, ChildPlan, LogPlan, jsonable
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.databento.layouts import mapping, metadata
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "databento.json"
INCLUDES = [HERE.parent / "mdfeedd" / folder for folder in ("ring", "feeds/databento/codec")]
SECTIONS = ("flood", "latency", "footprint")
PACKAGES = ("mdfeedd", "numpy", "databento", "databento-dbn")
QUIET_LOAD = 0.5
DATASET = "BENCH.TEST"
RING = "db"
KEY = "db-" + "k" * 29
BLOCK = (
    4096  # records that the gateway sends again and again, later each time: they stay in its cache
)
RECORD_BYTES = 80
STEP_NS = 1000
GAP_US = 2000
WARM_UP = 0.1  # of the single records
SETTLE_S = 0.25  # between the handshake and the first record: everybody waits for bytes
POLL_S = 0.005
PATIENCE_S = 60.0
MIB = 1 << 20
LIVE = """
import json, sys, time
import databento
port, wanted, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
got, took = 0, []
def count(record):
    global got
    got += 1
    if got == wanted:
        print("done", time.time_ns(), got, flush=True)
def stamp(record):
    if record.rtype == 1:
        took.append(time.time_ns() - record.ts_event)
    count(record)
def peak_mib():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
live = databento.Live(key=sys.argv[4], gateway="127.0.0.1", port=port)
live.add_callback(stamp if what == "latency" else count)
live.subscribe(dataset=sys.argv[5], schema="mbp-1", symbols="ALL_SYMBOLS")
live.start()
live.block_for_close()
print("end", json.dumps({"records": got, "took_ns": took, "peak_mib": peak_mib()}), flush=True)
"""


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


class Bench:
    """Programs, streams, processors, and the measurements."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.programs = build(folder)
        self.streams = Streams(folder)
        cpus = sorted(os.sched_getaffinity(0))
        self.sender_cpu, self.other_cpu = cpus[:2]
        self.runs = 0

    def gateway(self, stream: Stream) -> tuple[Program, int]:
        """A gateway that listens, and its port."""
        program = Program([self.programs["lsg_send"], *stream.words()], self.sender_cpu)
        return program, int(program.hear("port")[0])

    def feed(self, port: int, cpu: int | None = None, **options: Any) -> Feed:
        """A feed with a ring of its own."""
        self.runs += 1
        directory = self.folder / f"rings{self.runs}"
        directory.mkdir()
        return Feed(port, str(directory), cpu, **options)

    def live(self, port: int, wanted: int, what: str, cpu: int | None = None) -> Program:
        """`databento.Live`. -P: this file has the name of its package."""
        arguments = [str(port), str(wanted), what, KEY, DATASET]
        return Program([sys.executable, "-P", "-c", LIVE, *arguments], cpu)

    # ------------------------------------------------------------------------------------------- flood

    def flood_c(self, stream: Stream, mode: str) -> dict[str, float]:
        gateway, port = self.gateway(stream)
        words = [f"mode={mode}", f"port={port}", f"bytes={stream.bytes}"]
        command = [self.programs["lsg_receive"], *words]
        with gateway, Program(command, self.other_cpu) as receiver:

            def finish() -> int:
                return int(receiver.hear("done")[0])

            figures = self._flooded(gateway, receiver, stream.records, finish)
            gateway.go()
            total, had = (int(word) for word in receiver.hear("end"))
        if total != stream.bytes or (mode == "loop" and had != stream.records):
            raise RuntimeError(f"{mode} had {total} of {stream.bytes} bytes, {had} records")
        return figures

    def flood_feed(self, stream: Stream, **options: Any) -> dict[str, float]:
        gateway, port = self.gateway(stream)
        with gateway, self.feed(port, self.other_cpu, **options) as feed:

            def finish() -> int:
                feed.done(stream.records)
                ticks = feed.last()
                first = stream.records - len(ticks)
                wanted = self.streams.now_ns + STEP_NS * np.arange(first, stream.records)
                if not np.array_equal(ticks["ts_event"], wanted):
                    raise RuntimeError("the ring does not have what was sent")
                return int(ticks["ts_recv"][-1])

            figures = self._flooded(gateway, feed, stream.records, finish)
            feed.stop()
        return figures

    def flood_live(self, stream: Stream) -> dict[str, float]:
        """On any processor: it has threads of its own."""
        gateway, port = self.gateway(stream)
        wanted = stream.records + INSTRUMENTS
        with gateway, self.live(port, wanted, "flood") as receiver:

            def finish() -> int:
                return int(receiver.hear("done")[0])

            figures = self._flooded(gateway, receiver, stream.records, finish)
            gateway.go()
            had = json.loads(" ".join(receiver.hear("end")))["records"]
        if had != wanted:
            raise RuntimeError(f"databento.Live had {had} of {wanted} records")
        return figures

    @staticmethod
    def _flooded(
        gateway: Program, receiver: Program, n: int, finish: Callable[[], int]
    ) -> dict[str, float]:
        """`finish` waits for the last record and tells when it came (UNIX ns)."""
        gateway.hear("ready")
        time.sleep(SETTLE_S)
        before_ns = receiver.cpu_ns()
        gateway.go()
        begin_ns = int(gateway.hear("sent")[0])
        end_ns = finish()
        cpu_ns = receiver.cpu_ns() - before_ns
        return {"cpu_ns": cpu_ns / n, "wall_m_per_s": n * 1e3 / (end_ns - begin_ns)}

    def contenders(self) -> dict[str, Callable[[], dict[str, float]]]:
        n = self.options.records
        plain, ts_out = self.streams.plain(n), self.streams.plain(n, ts_out=True)
        zstd = self.streams.zstd(n // 5)
        few = self.options.live_records // BLOCK or 1
        slow = plain._replace(
            records=few * BLOCK, settings=plain.settings | {"repeat": few}
        )  # its bytes nobody asks for
        return {
            "recv alone": lambda: self.flood_c(plain, "bare"),
            "recv and C loop": lambda: self.flood_c(plain, "loop"),
            "feed": lambda: self.flood_feed(plain),
            "feed, recovery replay": lambda: self.flood_feed(plain, recovery="replay"),
            "feed, ts_out": lambda: self.flood_feed(ts_out, ts_out=True),
            "feed, zstd": lambda: self.flood_feed(zstd, compression="zstd"),
            "databento.Live": lambda: self.flood_live(slow),
        }

    # ----------------------------------------------------------------------------------------- latency

    def latency_feed(self, *, spins: bool) -> dict[str, dict[str, float]]:
        """To this process as the reader, and to the arrival that the tick itself tells.

        The reader has a processor to itself. Gateway and receiver, which sleep between records, share the other.
        """
        n = self.options.singles
        gateway, port = self.gateway(self.streams.singly(n))
        buffer, timeout = np.empty(256, TICK), 0.0 if spins else 0.1
        seen, arrived, had = [], [], 0
        with gateway, self.feed(port, self.sender_cpu) as feed, on(self.other_cpu):
            with Reader(RING, wait=PATIENCE_S, start="oldest", directory=feed.directory) as reader:
                gateway.hear("ready")
                time.sleep(SETTLE_S)
                gateway.go()
                until_s = time.monotonic() + PATIENCE_S
                while had < n and time.monotonic() < until_s:
                    got = reader.read_into(buffer, timeout)
                    now_ns = time.time_ns()
                    if not got:
                        continue
                    ticks = buffer[:got]
                    ticks = ticks[np.isin(ticks["kind"], (Kind.QUOTE, Kind.TRADE))]
                    had += len(ticks)
                    seen.append(now_ns - ticks["ts_event"])
                    arrived.append(ticks["ts_recv"] - ticks["ts_event"])
            gateway.hear("sent")
            feed.stop()
        if had != n:
            raise RuntimeError(f"the reader had {had} of {n} records")
        cold = int(n * WARM_UP)
        return {
            "reader": quantiles_us(np.concatenate(seen)[cold:].tolist()),
            "ts_recv": quantiles_us(np.concatenate(arrived)[cold:].tolist()),
        }

    def latency_live(self) -> dict[str, float]:
        """To its callback. This process spins as the feed's reader does: a processor awake helps both."""
        n = self.options.singles
        gateway, port = self.gateway(self.streams.singly(n))
        live = self.live(port, n + INSTRUMENTS, "latency", self.sender_cpu)
        with gateway, live as receiver, on(self.other_cpu):
            gateway.hear("ready")
            time.sleep(SETTLE_S)
            gateway.go()
            while not receiver.speaks(0):
                pass
            receiver.hear("done")
            gateway.hear("sent")
            gateway.go()
            took = json.loads(" ".join(receiver.hear("end")))["took_ns"]
        if len(took) != n:
            raise RuntimeError(f"databento.Live had {len(took)} of {n} records")
        return quantiles_us(took[int(n * WARM_UP) :])

    # --------------------------------------------------------------------------------------- footprint

    def footprint_feed(self) -> dict[str, float]:
        gateway, port = self.gateway(self.streams.singly(1, gap_us=1))
        with gateway:
            gateway.go()
            with self.feed(port) as feed:
                gateway.hear("ready")
                gateway.hear("sent")
                feed.done(1)
                status = Path(f"/proc/{feed.popen.pid}/status").read_text()
                took_ns = int(feed.last()["ts_recv"][0]) - feed.began_ns
                feed.stop()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return {"ready_ms": took_ns / 1e6, "peak_mib": int(peak.split()[1]) / 1024}

    def footprint_live(self) -> dict[str, float]:
        gateway, port = self.gateway(self.streams.singly(1, gap_us=1))
        with gateway:
            gateway.go()
            with self.live(port, 1 + INSTRUMENTS, "footprint") as receiver:
                gateway.hear("ready")
                gateway.hear("sent")
                took_ns = int(receiver.hear("done")[0]) - receiver.began_ns
                gateway.go()
                peak_mib = json.loads(" ".join(receiver.hear("end")))["peak_mib"]
        return {"ready_ms": took_ns / 1e6, "peak_mib": peak_mib}


def interleaved(
    everyone: dict[str, Callable[[], dict[str, Any]]], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Rounds by contender, every second one in the opposite order."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in everyone}
    for number in range(rounds):
        for name in list(everyone)[:: -1 if number % 2 else 1]:
            out[name].append(everyone[name]())
    return out


def column(found: dict[str, list[dict[str, Any]]], name: str, key: str) -> list[float]:
    return [figures[key] for figures in found[name]]


def median(found: dict[str, list[dict[str, Any]]], name: str, key: str) -> float:
    return round(statistics.median(column(found, name, key)), 3)


class Line(NamedTuple):
    """One thing that is to be reached."""

    what: str
    value: float | None
    limit: float
    is_least: bool = False

    def text(self) -> str:
        assert self.value is not None
        met = self.value >= self.limit if self.is_least else self.value <= self.limit
        sign = ">=" if self.is_least else "<="
        return (
            f"{self.what:52}{self.value:9.2f}   {sign} {self.limit:<6g}{'' if met else '  missed'}"
        )


def flood(bench: Bench) -> tuple[dict[str, Any], list[Line]]:
    found = interleaved(bench.contenders(), bench.options.rounds)
    print(
        f"\n{'mbp-1 over loopback':24}{'CPU of C loop':>15}{'ns/record':>11}{'rate of recv':>14}{'M/s':>8}"
    )
    for name in found:
        cpu = ratio(column(found, name, "cpu_ns"), column(found, "recv and C loop", "cpu_ns"))
        wall = ratio(
            column(found, name, "wall_m_per_s"), column(found, "recv alone", "wall_m_per_s")
        )
        print(
            f"{name:24}{cpu:15.2f}{median(found, name, 'cpu_ns'):11.1f}"
            f"{wall:14.2f}{median(found, name, 'wall_m_per_s'):8.2f}"
        )

    def of(key: str, a: str, b: str) -> float | None:
        return ratio(column(found, a, key), column(found, b, key))

    lines = [
        Line("CPU of the feed, of a C loop's", of("cpu_ns", "feed", "recv and C loop"), 1.3),
        Line("CPU of databento.Live, of the feed's", of("cpu_ns", "databento.Live", "feed"), 20, is_least=True),
        Line("rate of the feed, of bare recv's", of("wall_m_per_s", "feed", "recv alone"), 0.9, is_least=True),
    ]  # fmt: skip
    keys = ("cpu_ns", "wall_m_per_s")
    figures = {name: {key: median(found, name, key) for key in keys} for name in found}
    return figures | {"rounds": found}, lines


def latency(bench: Bench) -> tuple[dict[str, Any], list[Line]]:
    both = interleaved(
        {
            "spinning": lambda: bench.latency_feed(spins=True),
            "blocking": lambda: bench.latency_feed(spins=False),
            "databento.Live, callback": bench.latency_live,
        },
        bench.options.latency_rounds,
    )
    found = {
        "feed, spinning reader": [one["reader"] for one in both["spinning"]],
        "feed, blocking reader": [one["reader"] for one in both["blocking"]],
        "feed, ts_recv of the tick": [one["ts_recv"] for one in both["spinning"]],
        "databento.Live, callback": both["databento.Live, callback"],
    }
    peer = "databento.Live, callback"
    print(f"\n{'single records, since sent':28}{'p50 of Live':>13}{'p50 us':>9}{'p99 us':>9}")
    for name in found:
        share = ratio(column(found, name, "p50_us"), column(found, peer, "p50_us"))
        p50, p99 = (median(found, name, key) for key in ("p50_us", "p99_us"))
        print(f"{name:28}{share:13.2f}{p50:9.1f}{p99:9.1f}")
    share = ratio(column(found, "feed, spinning reader", "p50_us"), column(found, peer, "p50_us"))
    line = Line("p50 to a spinning reader, of databento.Live's", share, 0.5)
    keys = ("p50_us", "p99_us")
    figures = {name: {key: median(found, name, key) for key in keys} for name in found}
    return figures | {"rounds": found}, [line]


def footprint(bench: Bench) -> tuple[dict[str, Any], list[Line]]:
    found = interleaved(
        {"feed": bench.footprint_feed, "databento.Live": bench.footprint_live},
        bench.options.rounds,
    )
    print(f"\n{'exec to the first record':26}{'ms':>9}{'peak MiB':>10}")
    for name in found:
        print(
            f"{name:26}{median(found, name, 'ready_ms'):9.0f}{median(found, name, 'peak_mib'):10.1f}"
        )
    lines = [
        Line("ms until the feed has its first record", median(found, "feed", "ready_ms"), 400),
        Line("MiB of the feed at most", median(found, "feed", "peak_mib"), 60),
    ]
    keys = ("ready_ms", "peak_mib")
    figures = {name: {key: median(found, name, key) for key in keys} for name in found}
    return figures | {"rounds": found}, lines


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--live-records", type=int, default=400_000, help="it is so much slower")
    parser.add_argument("--singles", type=int, default=2200, help="records for the latency")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    options.latency_rounds = 3
    if options.quick:
        options.rounds, options.latency_rounds = 1, 1
        options.records, options.live_records, options.singles = 4_000_000, 150_000, 1000
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}, not {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    options = parse()
    if len(os.sched_getaffinity(0)) < 2:
        print("sender and receiver want a processor each, and there is one", file=sys.stderr)
        return 1
    about, stolen = machine.describe(*PACKAGES), machine.stolen_s()
    about["busy"] = os.getloadavg()[0] > QUIET_LOAD
    if about["busy"]:
        print("this machine is busy: the figures are of its other work as well", file=sys.stderr)
    figures: dict[str, Any] = {}
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as folder:
        bench = Bench(Path(folder), options)
        for name, measure in (("flood", flood), ("latency", latency), ("footprint", footprint)):
            if name in options.only:
                figures[name], more = measure(bench)
                lines += more
    print("\n" + "\n".join(line.text() for line in lines))
    about["stolen_s"] = round(machine.stolen_s() - stolen, 2)
    about["load_average_after"] = [round(x, 2) for x in os.getloadavg()]
    if options.save:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        reached = [line._asdict() for line in lines]
        document = {"machine": about, "lines": reached, "figures": figures}
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
