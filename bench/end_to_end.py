"""From the wire to where ticks are used: to a strategy, and to rows that PostgreSQL has committed.

    python bench/end_to_end.py [--only strategy,postgres] [--records 3000000] [--rounds 5] [--quick] [--save]

The wire is Databento's protocol over loopback, from the C gateway of `databento.py`; the feed decodes it into the ring.

    strategy    a reader in a process of its own that keeps last values and asks for one a batch; as fast as the
                gateway can, beside a C program that receives and decodes and does nothing with it, and at rates that a
                gateway keeps to: what the strategy got, and what it was told that it lost
    postgres    the daemon: feed, journal, and a store that reads it, exactly once, each a process; from the first byte that
                is sent to the last row committed, beside the sink alone that is given the same rows ready; and single
                records, from the stamp of the gateway to the first query that sees them

There are four processes or more, so that on two processors the scheduler is in all of it. A figure is the median of the
rounds, a ratio the median of the ratios within each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import databento as live
import end_to_end_postgres as store
import machine
from lsg import DATASET, PATIENCE_S, RING, STEP_NS, Program
from rounds import ratio
from sections import selected

SECTIONS = ("strategy", "postgres")
RATES = (1_000_000, 5_000_000, 10_000_000)
PACED_S = 1.0
STRATEGY = """
import sys, time
from mdfeedd import Reader
directory, ring, end_ns, patience_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
got, until = 0, time.monotonic() + patience_s
with Reader(ring, directory=directory, wait=patience_s) as reader:
    last = reader.last
    print("ready", flush=True)
    before_ns = time.process_time_ns()
    while time.monotonic() < until:
        batch = reader.read(4096, timeout=1.0)
        if not len(batch):
            continue
        now_ns = time.time_ns()
        got += len(batch)
        newest = batch.records[-1]
        book = last[newest["instrument_id"]]
        if book.ask is not None and newest["ts_event"] >= end_ns:
            break
    print("done", now_ns, got, reader.lost, time.process_time_ns() - before_ns, flush=True)
"""


class ToStrategy:
    """A gateway, a feed, and a strategy."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.options = options
        self.bench = live.Bench(folder, options)

    def flood(self, stream: Any) -> dict[str, float]:
        """M ticks/s from the first byte sent to the last tick that the strategy has; lost, of 1."""
        end_ns = self.bench.streams.now_ns + STEP_NS * (stream.records - 1)
        gateway, port = self.bench.gateway(stream)
        with gateway, self.bench.feed(port) as feed:
            command = [sys.executable, "-P", "-c", STRATEGY, feed.directory, RING, str(end_ns)]
            with Program([*command, str(PATIENCE_S)], None) as strategy:
                gateway.hear("ready")
                strategy.hear("ready")
                before_ns = feed.cpu_ns()
                gateway.go()
                begin_ns = int(gateway.hear("sent")[0])
                now_ns, got, lost, cpu_ns = map(int, strategy.hear("done"))
                feed_ns = feed.cpu_ns() - before_ns
            feed.stop()
        return {
            "m_per_s": stream.records * 1e3 / (now_ns - begin_ns),
            "lost_of_all": lost / stream.records,
            "feed_cpu_ns": feed_ns / stream.records,
            "strategy_cpu_ns": cpu_ns / max(1, got),
        }

    def c_loop(self, stream: Any) -> dict[str, float]:
        figures = self.bench.flood_c(stream, "loop")
        return {"m_per_s": figures["wall_m_per_s"], "feed_cpu_ns": figures["cpu_ns"]}

    def measure(self) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        """Medians by contender, and ratios."""
        flood = self.bench.streams.plain(self.options.records)
        made = {
            "recv and C loop": lambda: self.c_loop(flood),
            "strategy": lambda: self.flood(flood),
        }
        found = live.interleaved(made, self.options.rounds)
        ours, theirs = (
            live.column(found, name, "m_per_s") for name in ("strategy", "recv and C loop")
        )
        rows = {f"wire to {name}": _medians(rounds) for name, rounds in found.items()}
        for rate in RATES:
            paced = self.bench.streams.paced(rate, self.options.paced_s)
            rounds = [self.flood(paced) for _ in range(self.options.rounds)]
            rows[f"wire to strategy, {rate // 1_000_000} M/s offered"] = _medians(rounds)
        return rows, {"ticks a second, of a C loop's": ratio(ours, theirs) or 0.0}


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--records", type=int, default=3_000_000, help="of a flood")
    parser.add_argument("--rows", type=int, default=500_000, help="into PostgreSQL")
    parser.add_argument("--singles", type=int, default=150, help="records for the latency")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--save", action="store_true", help="write results/end_to_end.json")
    options = parser.parse_args()
    options.paced_s = PACED_S
    if options.quick:
        options.records, options.rows, options.singles, options.rounds = 500_000, 100_000, 40, 1
        options.paced_s = 0.3
    options.only = selected(parser, options.only, SECTIONS)
    return options


def main() -> int:
    options = parse()
    about = machine.describe("numpy", "psycopg")
    rows: dict[str, dict[str, float]] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as folder:
        if "strategy" in options.only:
            rows, ratios = ToStrategy(Path(folder), options).measure()
        if "postgres" in options.only:
            bench = live.Bench(Path(folder), options)
            more, of_sink = asyncio.run(store.measure(bench, DATASET))
            rows |= {name: _medians(rounds) for name, rounds in more.items()}
            ratios["rows a second, of the sink's alone"] = of_sink
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f"{'':36}" + "".join(f"{key:>18}" for key in keys))
    for name, row in rows.items():
        print(f"{name:36}" + "".join(f"{row.get(key, '')!s:>18}" for key in keys))
    for name, value in ratios.items():
        print(f"{name:36}{value:18.3f}")
    about["load_average_after"] = [round(x, 2) for x in os.getloadavg()]
    if options.save:
        machine.save("end_to_end", {"machine": about, "rows": rows, "ratios": ratios})
    return 0


if __name__ == "__main__":
    sys.exit(main())
