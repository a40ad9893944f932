"""How cost grows: with instruments, readers, feeds, and the size of a record.

    python bench/growth.py [--quick] [--only symbols,readers,feeds,record_size] [--save]

    symbols      10 to 1,000,000 instruments: CPU time a record from DBN and from MDP 3.0 to the ring, of a new instrument,
                 of last values and bars; bytes of the ring's file an instrument; the time until a reader that attaches
                 knows them all, and to look one up by its symbol
    readers      1 to 64 that sleep or are stopped: what they cost the writer, in C, of a ring without any in turn with it
    feeds        1 to 16 processes of synthetic ticks at one rate each: CPU time a tick, and from their stamp to a reader of
                 all of them
    record_size  64 to 4,096 bytes: records and bytes a second into a ring and out, beside numpy's copy of them

What one process does alone is told as its CPU time, so that others on the machine count little; what needs several is by
the clock. A record goes to an instrument at random, which is the worst that can come: a market has its favourites. Some
minutes, --quick: half a minute, and no more than 10,000 instruments, 8 readers and 4 feeds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import growth_feeds
import growth_symbols
import machine
import native
import numpy as np
from rounds import ratio
from sections import selected

from mdfeedd.ring import Reader, Writer

SECTIONS = ("symbols", "readers", "feeds", "record_size")
SYMBOLS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
READERS = (1, 2, 4, 8, 16, 32, 64)
FEEDS = (1, 2, 4, 8, 16)
RECORD_BYTES = (64, 128, 256, 512, 1024, 2048, 4096)
QUICK_MOST = {"symbols": 10_000, "readers": 8, "feeds": 4, "record_size": 4096}
BATCH = 64
RING_BYTES = 4 << 20  # whatever the size of a record: a ring of so many bytes


def readers(counts: tuple[int, ...], directory: str, *, quick: bool) -> list[dict[str, Any]]:
    """A row for each number of readers: ns a record of the writer, and of a ring alone in turn with it."""
    cpus = sorted(os.sched_getaffinity(0))
    program = native.Program(
        native.build_ring(Path(directory)), (cpus[0], cpus[1 % len(cpus)]), directory
    )
    rows = []
    for count in counts:
        row: dict[str, Any] = {"readers": count}
        for kind, stopped in (("sleeping", 0), ("stopped", count)):
            found = [
                program.run(
                    "readers",
                    readers=count,
                    stopped=stopped,
                    spin_ns=20_000,
                    gap_ns=100_000,
                    records=1 << (17 if quick else 19),
                )
                for _ in range(1 if quick else 3)
            ]
            for load in ("batch", "paced"):
                mine, alone = ([one[f"{load}_{s}ns"] for one in found] for s in ("", "alone_"))
                row[f"{kind}_{load}_ns"] = round(statistics.median(mine), 2)
                row[f"{kind}_{load}_times_alone"] = ratio(mine, alone)
        rows.append(row)
    return rows


def _ns(run: Any, records: int, rounds: int) -> float:
    """The best of the rounds: other work on the machine only adds time."""
    took = []
    for _ in range(rounds):
        begin = time.process_time_ns()
        run()
        took.append((time.process_time_ns() - begin) / records)
    return min(took)


def record_size(sizes: tuple[int, ...], directory: str, *, quick: bool) -> list[dict[str, Any]]:
    """A row for each size: written in batches of 64, read in batches of 64, copied by numpy."""
    rows = []
    for size in sizes:
        words = size // 8 - 1
        dtype = np.dtype([("seq", "<u8"), ("words", "<u8", (words,))])
        capacity = RING_BYTES // size
        burst = max(BATCH, capacity // 4)
        records, out = np.ones(BATCH, dtype), np.empty(BATCH, dtype)
        room, copied_from = np.zeros(capacity * size, np.uint8), records.view(np.uint8)
        with (
            Writer(f"size{size}", capacity, dtype, directory=directory) as writer,
            Reader(f"size{size}", directory=directory) as reader,
        ):
            repeat = max(1, (1 << (16 if quick else 18)) // burst)
            wrote, took, copied = 0, 0, 0
            for _ in range(repeat):
                start = time.process_time_ns()
                for _ in range(burst // BATCH):
                    writer.publish(records)
                middle = time.process_time_ns()
                for _ in range(burst // BATCH):
                    if reader.read_into(out) != BATCH:
                        raise RuntimeError("the reader did not get what was written")
                end = time.process_time_ns()
                for at in range(0, burst * size, BATCH * size):
                    room[at : at + BATCH * size] = copied_from
                wrote, took = wrote + middle - start, took + end - middle
                copied += time.process_time_ns() - end
        done = repeat * (burst // BATCH) * BATCH
        rows.append(
            {
                "bytes": size,
                "write_ns": round(wrote / done, 2),
                "read_ns": round(took / done, 2),
                "write_gb_per_s": round(size * done / wrote, 2),
                "read_gb_per_s": round(size * done / took, 2),
                "numpy_copy_gb_per_s": round(size * done / copied, 2),
                "write_of_copy": round(copied / wrote, 3),
            }
        )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    print(f"\n{title}\n" + "".join(f"{name:>{max(12, len(name) + 2)}}" for name in names))
    for row in rows:
        cells = (f"{row.get(name, '')!s:>{max(12, len(name) + 2)}}" for name in names)
        print("".join(cells), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--save", action="store_true", help="write results/growth.json")
    options = parser.parse_args()
    only = selected(parser, options.only, SECTIONS)
    about = machine.describe("numpy")
    result: dict[str, Any] = {}
    parts: dict[str, tuple[Any, tuple[int, ...]]] = {
        "symbols": (growth_symbols.measure, SYMBOLS),
        "readers": (readers, READERS),
        "feeds": (growth_feeds.measure, FEEDS),
        "record_size": (record_size, RECORD_BYTES),
    }
    for name, (measure, counts) in parts.items():
        if name not in only:
            continue
        chosen = tuple(n for n in counts if not options.quick or n <= QUICK_MOST[name])
        with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as directory:
            result[name] = measure(chosen, directory, quick=options.quick)
        show(name, result[name])
    about["load_average_after"] = [round(x, 2) for x in os.getloadavg()]
    if options.save:
        machine.save("growth", {"machine": about, **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
