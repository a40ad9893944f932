"""Databento's live gateway into a ring, beside bare C loops and `databento.Live`: one run, side by side.

    python bench/databento.py [--quick] [--only flood,paced,latency,footprint] [--rounds 5] [--save]

Everybody talks to the same gateway over loopback, a C program that sends a prepared stream of mbp-1. `flood`: CPU
time and wall time a record, as fast as the gateway can. CPU is the receiving process's own, user and system, from
just before the first record to just after the last; the kernel's delivery runs in the sender and counts for nobody.
`paced`: the same where the gateway offers a fixed rate: who keeps up with it. `latency`: single records, stamped
just before they are sent, until a reader or a callback has them. `footprint`: from exec to the first record, and the
most memory. Every receiver must have had every record. Rounds are interleaved, and a ratio is the median of the
ratios within each round. `--save` writes ``bench/results/databento.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import machine
import numpy as np
from dbn import INSTRUMENTS
from lsg import (
    BLOCK,
    DATASET,
    KEY,
    PATIENCE_S,
    RING,
    STEP_NS,
    Feed,
    Program,
    Stream,
    Streams,
    build,
    on,
)
from rounds import quantiles_us, ratio
from sections import selected

from mdfeedd.ring import Reader
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).resolve().parent / "results" / "databento.json"
SECTIONS = ("flood", "paced", "latency", "footprint")
PACKAGES = ("mdfeedd", "numpy", "databento", "databento-dbn")
QUIET_LOAD = 0.5
WARM_UP = 0.1  # of the single records
SPIN_US = 10_000  # where the feed, too, is to be awake when a single record comes
SETTLE_S = 0.25  # between the handshake and the first record: everybody waits for bytes
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

    def paced_contenders(self, rate: int) -> dict[str, Callable[[], dict[str, float]]]:
        stream = self.streams.paced(rate, self.options.paced_s)
        return {
            "recv alone": lambda: self.flood_c(stream, "bare"),
            "recv and C loop": lambda: self.flood_c(stream, "loop"),
            "feed": lambda: self.flood_feed(stream),
        }

    # ----------------------------------------------------------------------------------------- latency

    def latency_feed(self, *, spins: bool, spin_us: int = 0) -> dict[str, dict[str, float]]:
        """To this process as the reader, and to the arrival that the tick itself tells.

        The reader has a processor to itself. Gateway and receiver, which sleep between records, share the other.
        """
        n = self.options.singles
        gateway, port = self.gateway(self.streams.singly(n))
        buffer, timeout = np.empty(256, TICK), 0.0 if spins else 0.1
        seen, arrived, had = [], [], 0
        feed_ = self.feed(port, self.sender_cpu, spin_us=spin_us)
        with gateway, feed_ as feed, on(self.other_cpu):
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
    """One thing that is to be reached; without a limit, to be known."""

    what: str
    value: float | None
    limit: float | None = None
    is_least: bool = False

    def text(self) -> str:
        assert self.value is not None
        if self.limit is None:
            return f"{self.what:58}{self.value:9.2f}"
        met = self.value >= self.limit if self.is_least else self.value <= self.limit
        sign = ">=" if self.is_least else "<="
        return (
            f"{self.what:58}{self.value:9.2f}   {sign} {self.limit:<6g}{'' if met else '  missed'}"
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
        Line("flood: rate of the feed, of a C loop's", of("wall_m_per_s", "feed", "recv and C loop")),
        Line("flood: rate of the feed, of bare recv's", of("wall_m_per_s", "feed", "recv alone"), 0.9, is_least=True),
        Line("flood: rate of a C loop, of bare recv's", of("wall_m_per_s", "recv and C loop", "recv alone")),
    ]  # fmt: skip
    keys = ("cpu_ns", "wall_m_per_s")
    figures = {name: {key: median(found, name, key) for key in keys} for name in found}
    return figures | {"rounds": found}, lines


def paced(bench: Bench) -> tuple[dict[str, Any], list[Line]]:
    """Each receiver's rate is what it has sustained: the gateway never sends while nobody reads."""
    figures: dict[str, Any] = {}
    lines = []
    print(
        f"\n{'mbp-1 at a fixed rate':24}{'offered M/s':>12}{'M/s':>8}{'rate of recv':>14}{'ns/record':>11}"
    )
    for m_per_s in bench.options.rates:
        found = interleaved(
            bench.paced_contenders(int(m_per_s * 1_000_000)), bench.options.paced_rounds
        )
        rates = {name: column(found, name, "wall_m_per_s") for name in found}
        for name in found:
            print(
                f"{name:24}{m_per_s:12g}{median(found, name, 'wall_m_per_s'):8.2f}"
                f"{ratio(rates[name], rates['recv alone']):14.2f}{median(found, name, 'cpu_ns'):11.1f}"
            )
        share = ratio(rates["feed"], rates["recv alone"])
        what = f"{m_per_s:g} M/s offered: rate of the feed, of bare recv's"
        lines.append(Line(what, share, 0.9, is_least=True))
        keys = ("cpu_ns", "wall_m_per_s")
        medians = {name: {key: median(found, name, key) for key in keys} for name in found}
        figures[f"{m_per_s:g} M/s"] = medians | {"rounds": found}
    return figures, lines


def latency(bench: Bench) -> tuple[dict[str, Any], list[Line]]:
    both = interleaved(
        {
            "both spinning": lambda: bench.latency_feed(spins=True, spin_us=SPIN_US),
            "spinning": lambda: bench.latency_feed(spins=True),
            "blocking": lambda: bench.latency_feed(spins=False),
            "databento.Live, callback": bench.latency_live,
        },
        bench.options.latency_rounds,
    )
    found = {
        "feed and reader spinning": [one["reader"] for one in both["both spinning"]],
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
    spun, slept = (
        ratio(column(found, name, "p50_us"), column(found, peer, "p50_us"))
        for name in ("feed and reader spinning", "feed, spinning reader")
    )
    lines = [
        Line("p50 of a feed and a reader that spin, of databento.Live's", spun, 0.5),
        Line("p50 of a feed that sleeps, of databento.Live's", slept),
    ]
    keys = ("p50_us", "p99_us")
    figures = {name: {key: median(found, name, key) for key in keys} for name in found}
    return figures | {"rounds": found}, lines


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
    parser.add_argument("--rates", default="10,20,30", help="M records/s that `paced` offers")
    parser.add_argument("--live-records", type=int, default=400_000, help="it is so much slower")
    parser.add_argument("--singles", type=int, default=2200, help="records for the latency")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    options.latency_rounds, options.paced_rounds = 3, min(options.rounds, 5)
    options.paced_s = 0.5
    options.rates = [float(rate) for rate in options.rates.split(",")]
    if options.quick:
        options.rounds, options.latency_rounds, options.paced_rounds = 1, 1, 1
        options.records, options.live_records, options.singles = 4_000_000, 150_000, 1000
    options.only = selected(parser, options.only, SECTIONS)
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
        measures = (flood, paced, latency, footprint)
        for name, measure in zip(SECTIONS, measures, strict=True):
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
