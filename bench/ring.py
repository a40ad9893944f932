"""The ring against its limits and its peers, side by side in one run.

    python bench/ring.py [--quick] [--rounds N] [--only native,python,readers,memory,aeron,disruptor]
                         [--build-aeron] [--build-disruptor] [--save]

Rounds of everything are interleaved, a figure is the median of the rounds, and a ratio is the median of the
ratios within each round: what shares the machine meanwhile hits both sides. --save keeps it in bench/results/ring.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fanout
import footprint
import machine
import native
import rounds as two_processes
from rounds import column, median_of, ratio
from sections import selected
from transports import TRANSPORTS

SECTIONS = ("native", "python", "readers", "memory", "aeron", "disruptor")
PACKAGES = ("mdfeedd", "numpy", "iceoryx2", "pyzmq", "faster-fifo")
NOISE = 1.05  # "nothing measurable" leaves this much to the machine
BARE = 1.25  # what the protocol may add to a line that is handed over without one
PARITY = 1.10  # "no worse": a wake-up costs what the kernel takes for it, give or take this
READERS = (0, 1, 2, 4, 8, 16)
ROUNDS = 15  # of five, the median of a ratio that is near its target falls on either side of it
QUICK_ROUNDS = 2
LATENCY_TURNS = 3  # of each latency in a round, in turn
PAIRS = 60  # of a run with 16 readers and one with one: a single pair is off by a quarter
QUIET_LOAD = (
    0.5  # a load average above this at the start, and the figures are of the neighbours as well
)


@dataclass(frozen=True)
class Verdict:
    """One line of the table of targets."""

    what: str
    figure: str
    against: str
    ratio: float | None
    target: str
    met: bool | None

    def line(self) -> str:
        word = "not measured" if self.met is None else "met" if self.met else "NOT MET"
        shown = "" if self.ratio is None else f"{self.ratio:.2f}"
        return f"{self.what:<42} {self.figure:>13} {self.against:>26} {shown:>8}  {self.target:<22} {word}"


class Targets:
    """Collects verdicts from the figures of a run; what was not measured is left out."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def ratio(
        self,
        what: str,
        ours: list[float],
        peer: str,
        theirs: list[float],
        *,
        least: float | None = None,
        most: float | None = None,
        unit: str = "M/s",
    ) -> None:
        """A ratio to a limit or a peer of the same rounds, with a lower or an upper bound."""
        value = ratio(ours, theirs)
        if value is None:
            return
        met = value >= least if least is not None else value <= (most or 0)
        target = f">= {least:g} x" if least is not None else f"<= {most:g} x"
        figure = f"{statistics.median(ours):.4g} {unit}"
        against = f"{peer} {statistics.median(theirs):.4g}"
        self.verdicts.append(Verdict(what, figure, against, value, target, met))

    def bound(
        self,
        what: str,
        ours: list[float],
        *,
        least: float | None = None,
        most: float | None = None,
        unit: str = "M/s",
    ) -> None:
        """An absolute bound."""
        if not ours:
            return
        value = statistics.median(ours)
        met = value >= least if least is not None else value <= (most or 0)
        target = f">= {least:g} {unit}" if least is not None else f"<= {most:g} {unit}"
        self.verdicts.append(Verdict(what, f"{value:.4g} {unit}", "", None, target, met))

    def table(self) -> str:
        head = f"{'':<42} {'figure':>13} {'limit or peer':>26} {'ratio':>8}  {'target':<22}"
        return "\n".join([head, *(v.line() for v in self.verdicts)])


def native_round(program: native.Program, scale: float) -> dict[str, Any]:
    """Every figure of ring.c once."""
    records = max(1 << 18, int((1 << 22) * scale))
    return {
        "pingpong": program.run("pingpong", records=records // 4),
        **native_latencies(program, max(1 << 16, int(150_000 * scale))),
        "memcpy": program.run("memcpy", records=4 * records),
        "publish": program.run("publish", records=records),
        "single": program.run("throughput", batch=1, records=records),
        "single_flush": program.run("throughput", batch=1, flush=1, records=records),
        "single_read_one": program.run("throughput", batch=1, one=1, records=records),
        "batch": program.run("throughput", batch=64, records=4 * records),
    }


def native_latencies(program: native.Program, messages: int) -> dict[str, dict[str, float]]:
    """Each latency of ring.c, the median of turns: from one run to the next it changes by a fifth."""
    ways = {"latency_one": {"one": 1}, "latency_bare": {"bare": 1}, "latency_batch": {"one": 0}}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(LATENCY_TURNS):
        for name, way in ways.items():
            found[name].append(program.run("latency", records=messages, **way))
    return {
        name: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        for name, turns in found.items()
    }


def aeron_round(program: native.Program, scale: float) -> dict[str, Any]:
    """Aeron's C client and driver: single messages, 64 ticks in one message, latency."""
    records = max(1 << 18, int((1 << 22) * scale))
    return {
        "single": program.run("throughput", batch=1, records=records),
        "batch": program.run("throughput", batch=64, records=2 * records),
        "latency": program.run("latency", records=max(20_000, int(100_000 * scale))),
    }


def disruptor_round(jar: Path, scale: float) -> dict[str, Any]:
    """Two threads of one JVM: single events, batches of 64, latency."""
    records = max(1 << 20, int((1 << 24) * scale))
    return {
        "single": native.run_disruptor(jar, "throughput", records, 1),
        "batch": native.run_disruptor(jar, "throughput", 4 * records, 64),
        "latency": native.run_disruptor(jar, "latency", max(40_000, int(200_000 * scale))),
    }


def native_readers(program: native.Program, scale: float, turns: int) -> list[dict[str, Any]]:
    """Readers that poll, that sleep, and that are stopped; cost to the writer, in turn with a ring alone."""
    kinds = [("polling", 1 << 40, 0), ("sleeping", 20_000, 0), ("stopped", 20_000, None)]
    records = max(1 << 17, int((1 << 20) * scale))
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for _ in range(turns):
        for count in READERS:
            for kind, spin_ns, stopped in kinds if count else kinds[:1]:
                figures = program.run(
                    "readers",
                    readers=count,
                    stopped=count if stopped is None else stopped,
                    spin_ns=spin_ns,
                    gap_ns=100_000,
                    records=records,
                )
                found.setdefault((count, kind if count else "none"), []).append(figures)
    return [_readers_row(count, kind, each) for (count, kind), each in found.items()]


def native_pairs(program: native.Program, scale: float, pairs: int) -> dict[str, list[float]]:
    """What 16 readers cost the writer as a ratio to what one costs, for each pair of runs, by load."""
    found: dict[str, list[float]] = {"single": [], "batch": []}
    for _ in range(pairs):
        many, one = (
            program.run(
                "readers",
                readers=count,
                stopped=0,
                spin_ns=1 << 40,
                gap_ns=0,
                records=max(1 << 17, int((1 << 20) * scale)),
            )
            for count in (READERS[-1], 1)
        )
        for load, ratios in found.items():
            # each against a ring alone of the same moment: the machine is not the same a minute later
            cost = [run[f"{load}_ns"] / run[f"{load}_alone_ns"] for run in (many, one)]
            ratios.append(round(cost[0] / cost[1], 3))
    return found


def _readers_row(count: int, kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"readers": count, "kind": kind}
    for load in ("single", "batch", "paced"):
        mine, alone = ([f[f"{load}_{s}ns"] for f in found] for s in ("", "alone_"))
        row[f"{load}_ns"] = round(statistics.median(mine), 2)
        row[f"{load}_ratio"] = ratio(mine, alone)
    return row


def run_all(options: argparse.Namespace, directory: str, cpus: tuple[int, int]) -> dict[str, Any]:
    """Interleaved rounds of the sections asked for."""
    scale = 0.25 if options.quick else 1.0
    program = native.Program(native.build_ring(Path(directory)), cpus, directory)
    aeron_path = native.build_aeron() if options.build_aeron else native.find_aeron()
    jar = native.fetch_disruptor() if options.build_disruptor else native.find_disruptor()
    results: dict[str, Any] = {
        "native": [],
        "aeron": [],
        "disruptor": [],
        "python": {t.name: [] for t in TRANSPORTS},
    }
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        if {"native", "python", "aeron", "disruptor"} & options.only:
            results["native"].append(native_round(program, scale))
        if "aeron" in options.only and aeron_path is not None:
            results["aeron"].append(aeron_round(native.Program(aeron_path, cpus), scale))
        if "disruptor" in options.only and jar is not None:
            results["disruptor"].append(disruptor_round(jar, scale))
        for kind in TRANSPORTS if "python" in options.only else ():
            if kind.available():
                phases = ("single", "batch", "spin", "blocking")
                figures = two_processes.run_round(kind, directory, cpus, phases, scale)
                results["python"][kind.name].append(figures)
                if "error" in figures:
                    say(f"{kind.name}: {figures['error']}")
    if "readers" in options.only:
        say("readers")
        results["native_readers"] = native_readers(
            program, scale, 1 if options.quick else options.rounds
        )
        results["native_pairs"] = native_pairs(program, scale, 2 if options.quick else PAIRS)
        results["python_readers"] = fanout.measure(directory, cpus, scale)
    if "memory" in options.only:
        say("memory")
        results["memory"] = footprint.measure(directory, 2 if options.quick else 5)
    return results


def judge(results: dict[str, Any]) -> Targets:
    """The project's targets over the figures."""
    targets = Targets()
    c, python = results["native"], results["python"]
    memcpy = column(c, "memcpy", "block_mps")
    for way, name in (("latency_one", "mdf_read_one"), ("latency_batch", "mdf_read_batch")):
        p50, ratios = column(c, way, "p50_ns"), column(c, way, "ratio")
        # the ratio is taken turn by turn in ring.c, so the limit is what it says the line took
        line = [p / r for p, r in zip(p50, ratios, strict=True)]
        targets.ratio(f"C: spin p50, {name}", p50, "ping-pong", line, most=2.5, unit="ns")
        bare = column(c, "latency_bare", "p50_ns")
        targets.ratio(f"C: spin p50, {name}", p50, "bare line", bare, most=BARE, unit="ns")
    targets.bound("C: lossless, batches of 64", column(c, "batch", "mps"), least=100)
    aeron = column(results["aeron"], "single", "mps")
    targets.ratio("C: lossless, single", column(c, "single", "mps"), "Aeron C IPC", aeron, least=1)
    for way, what in (("single", "single"), ("batch", "batches of 64")):
        peer = column(results["disruptor"], way, "mps")
        mine = column(c, way, "mps")
        targets.ratio(f"C: lossless, {what}", mine, "Disruptor, JVM", peer, least=1)
    ours = python["mdfeedd"]
    pipe = column(python["os.pipe"], "blocking", "p50_us")
    targets.bound("Python: spin p50, read", column(ours, "spin", "p50_us"), most=0.5, unit="µs")
    into = column(python["mdfeedd read_into"], "spin", "p50_us")
    targets.bound("Python: spin p50, read_into", into, most=0.5, unit="µs")
    blocking = column(ours, "blocking", "p50_us")
    targets.ratio("Python: blocking p50", blocking, "os.pipe", pipe, most=PARITY, unit="µs")
    batch, single = column(ours, "batch"), column(ours, "single")
    targets.ratio("Python: batches of 64", batch, "memcpy", memcpy, least=0.25)
    for peer, least in (("iceoryx2", 3), ("faster-fifo", 5), ("multiprocessing.Queue", 15)):
        targets.ratio(
            "Python: batches of 64", batch, peer, column(python[peer], "batch"), least=least
        )
    targets.bound("Python: single", single, least=8)
    for peer, least in (
        ("iceoryx2", 20),
        ("faster-fifo", 20),
        ("multiprocessing.Queue", 80),  # of ready bytes: nothing is made of them on the other side
        ("multiprocessing.Queue, records", 80),
    ):
        targets.ratio("Python: single", single, peer, column(python[peer], "single"), least=least)
    judge_readers(targets, results)
    memory = results.get("memory")
    if memory:
        over = memory["over_numpy_mib"]["rss"]
        targets.bound("Memory of a reader over numpy (RSS)", [over], most=10, unit="MiB")
        growth = memory["python_bytes_peak"]
        more = growth["100000"] - growth["1000"]
        targets.bound("Bytes more at 100 x the ticks", [more], most=1024, unit="B")
    return targets


def judge_readers(targets: Targets, results: dict[str, Any]) -> None:
    """A stopped reader against none; sixteen that read against one."""
    rows = results.get("native_readers", [])
    by = {(row["kind"], row["readers"]): row for row in rows}
    for load in ("single", "batch"):
        stopped = by.get(("stopped", 1))
        if stopped is not None:
            value = [stopped[f"{load}_ratio"]]
            what = f"C: {load} cost, a stopped reader"
            targets.ratio(what, value, "no reader", [1.0], most=NOISE, unit="x")
        if pairs := results.get("native_pairs", {}).get(load):
            what = f"C: {load} cost, {READERS[-1]} readers"
            targets.ratio(what, pairs, "1 reader", [1.0] * len(pairs), most=NOISE, unit="x")


def show(results: dict[str, Any], targets: Targets) -> None:
    """Tables for a person."""
    if results["native"]:
        print("\nC: M records/s and ns")
        for section in ("native", "aeron", "disruptor"):
            for name, figures in (results[section] or [{}])[0].items():
                medians = {k: median_of(results[section], name, k) for k in figures}
                print(
                    f"{section:<11}{name:<18}" + "  ".join(f"{k} {v}" for k, v in medians.items())
                )
    if any(results["python"].values()):
        print(f"\n{'Python, M records/s and µs':<24}", end="")
        columns = ("single", "batch", "spin p50", "p99", "blocking p50", "p99")
        print("".join(f"{c:>14}" for c in columns))
        for name, found in results["python"].items():
            if found:
                cells = [median_of(found, "single"), median_of(found, "batch")]
                for phase in ("spin", "blocking"):
                    cells += [median_of(found, phase, k) for k in ("p50_us", "p99_us")]
                print(f"{name:<24}" + "".join(f"{'' if c is None else c:>14}" for c in cells))
    for key in ("native_readers", "python_readers"):
        rows = results.get(key, [])
        if rows:
            print(
                f"\n{key.replace('_', ' ')}: cost to the writer, ns a record, and ratio to a ring alone"
            )
            print("".join(f"{name:>18}" for name in rows[0]))
            for row in rows:
                print("".join(f"{cell!s:>18}" for cell in row.values()))
    if "memory" in results:
        print("\nmemory:", json.dumps(results["memory"], indent=2))
    print("\n" + targets.table())


def say(text: str) -> None:
    """To the person who waits."""
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument(
        "--rounds", type=int, help=f"interleaved rounds (default {ROUNDS}, quick {QUICK_ROUNDS})"
    )
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--build-aeron", action="store_true", help="build bench/aeron first")
    parser.add_argument("--build-disruptor", action="store_true", help="fetch its jar first")
    parser.add_argument("--shm", default="/dev/shm", help="folder in shared memory")
    parser.add_argument("--save", action="store_true", help="write results/ring.json")
    options = parser.parse_args()
    options.only = set(selected(parser, options.only, SECTIONS))
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else ROUNDS
    return options


def main() -> None:
    options = parse()
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("two processes side by side need two processors; this machine gives one")
    stolen = machine.stolen_s()
    about = machine.describe(*PACKAGES)
    busy = os.getloadavg()[0] > QUIET_LOAD
    if busy:
        say(
            "this machine is busy: spinning processes share its processors, figures are not to be kept"
        )
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir=options.shm) as directory:
        results = run_all(options, directory, (allowed[0], allowed[1]))
    about["load_average_after"] = [round(x, 2) for x in os.getloadavg()]
    about["busy"] = busy
    about["stolen_s"] = round(machine.stolen_s() - stolen, 2)
    targets = judge(results)
    show(results, targets)
    if options.save:
        verdicts = [vars(v) for v in targets.verdicts]
        machine.save("ring", {"machine": about, "targets": verdicts, "figures": results})


if __name__ == "__main__":
    main()
