"""Every benchmark, one after the other, and the page of their results: ``mdfeedd/docs/numbers.md``.

    python bench/all.py [--quick] [--only ring,cme] [--save] [--list]

Each runs in a process of its own, with a time limit. What cannot run here, for want of a server, a package or a capture, is
said, and its result stays as it was; so does that of one that fails. --save keeps the results and writes the page and its
plots; without, they are shown. They want two processors and a quiet machine, and take about an hour; --quick: some
minutes, to see that all of them run. Not among them: `stalled_sink.py`, which wants ten minutes and 8 GB of disk for one
figure, and `gate.py`, which counts instructions and is a test.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests" / "sinks" / "servers"))
QUIET_LOAD = 0.5
SETTLE_S = (
    5.0  # after each, for what it has stirred up: the page cache's writing, and processes that end
)


@dataclass(frozen=True)
class Benchmark:
    """One script, and what it cannot do without."""

    name: str
    limit_s: int
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    more: Callable[[], str | None] = lambda: None

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        for package in self.packages:  # not find_spec(), which would find our own databento.py
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                return f"no Python package {package}"
        for program in self.programs:
            if shutil.which(program) is None:
                return f"no program {program}"
        return self.more()

    def command(self, *, quick: bool, save: bool) -> list[str]:
        flags = [flag for flag, wanted in (("--quick", quick), ("--save", save)) if wanted]
        return [sys.executable, str(HERE / f"{self.name}.py"), *flags]


def _no_postgres() -> str | None:
    import postgres

    return None if postgres.binaries() else "no PostgreSQL server (Debian: postgresql)"


def _no_kafka() -> str | None:
    import kafka

    if kafka.usable():
        return None
    return "no Apache Kafka: a JDK, and python tests/sinks/servers/kafka.py"


def _no_capture() -> str | None:
    data = os.environ.get("MDFEEDD_TESTDATA", str(ROOT.parent / "shared" / "data"))
    if any((Path(data) / "cme" / "captures").glob("*.pcap")):
        return None
    return "no capture of CME's: see bench/cme.py"


BENCHMARKS = (
    Benchmark("ring", 1800, programs=("cc",)),
    Benchmark("dbn", 300, ("databento-dbn",), ("gcc",)),
    Benchmark("databento", 1200, ("databento", "zstandard"), ("cc",)),
    Benchmark("bloomberg", 900, programs=("cc",)),
    Benchmark("cme", 600, ("sbedecoder",), ("cc",), _no_capture),
    Benchmark("cme_wire", 600, programs=("cc",)),
    Benchmark("cme_latency", 300, more=_no_capture),
    Benchmark("bars", 600, ("polars", "duckdb", "pandas", "pyarrow")),
    Benchmark("journal", 600),
    Benchmark("sinks_postgres", 900, ("psycopg", "asyncpg"), more=_no_postgres),
    Benchmark("sinks_redis", 300, ("redis",), ("redis-server",)),
    Benchmark("sinks_kafka", 900, ("confluent-kafka", "pyarrow"), more=_no_kafka),
    Benchmark("live", 600, ("websockets", "uvloop")),
    Benchmark("manager", 600, ("uvloop",)),
    Benchmark("strategy", 600),
    Benchmark("scrape", 300),
    Benchmark("end_to_end", 600, ("psycopg",), ("cc",), _no_postgres),
    Benchmark("growth", 900, programs=("cc",)),
)
"""In the order of their running: what is most easily disturbed first."""


def run(benchmark: Benchmark, *, quick: bool, save: bool) -> str | None:
    """Run one; what went wrong, or None. It has a session of its own, so that all of it can be ended."""
    command = benchmark.command(quick=quick, save=save)
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        try:
            code = process.wait(benchmark.limit_s)
        except subprocess.TimeoutExpired:
            return f"took more than {benchmark.limit_s} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return None if code == 0 else f"ended with status {code}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--quick", action="store_true", help="a short run of each")
    parser.add_argument("--save", action="store_true", help="keep the results, write the page")
    parser.add_argument("--only", default=",".join(names), help="names, with commas")
    parser.add_argument("--list", action="store_true", help="say what would run, and what cannot")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(names):
        parser.error(f"--only takes {', '.join(names)}, not {', '.join(sorted(unknown))}")
    if options.quick and options.save:
        parser.error("a short run is not worth keeping: --quick or --save")
    return options


def main() -> int:
    options = parse()
    chosen = [benchmark for benchmark in BENCHMARKS if benchmark.name in options.only]
    if os.getloadavg()[0] > QUIET_LOAD and not options.list:
        say("this machine is busy: the figures are of its other work as well")
    told: dict[str, str] = {}
    failed = False
    for benchmark in chosen:
        why = benchmark.missing()
        if why is not None or options.list:
            told[benchmark.name] = "can run" if why is None else f"left as it was: {why}"
            continue
        say(f"\n== {benchmark.name}")
        begin = time.monotonic()
        wrong = run(benchmark, quick=options.quick, save=options.save)
        failed = failed or wrong is not None
        took = f"{time.monotonic() - begin:.0f} s"
        told[benchmark.name] = took if wrong is None else f"left as it was: {wrong}"
        time.sleep(0 if options.quick else SETTLE_S)
    say("")
    for name, outcome in told.items():
        say(f"{name:16}{outcome}")
    if options.save:
        done = subprocess.run([sys.executable, "-m", "mdfeedd.docs"], cwd=ROOT, check=False)
        failed = failed or done.returncode != 0
    return 1 if failed else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
