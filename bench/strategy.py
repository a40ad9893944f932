"""What a strategy's conveniences cost beside reading alone, in one run.

    python bench/strategy.py [--rounds N] [--records N] [--quick] [--save]

One process writes what it then reads, so that no two processes share the machine: a ring is filled with quotes of 64
instruments, and the processor time of reading it empty is taken, in turn by each way of reading. A ratio is the median of the
ratios within each round: what disturbs the machine meanwhile hits both sides. Above 1: so many times the time of
`Reader.read` alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import machine
import numpy as np

from mdfeedd import MultiReader, Reader, Writer
from mdfeedd.tick import QUOTE, TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY = 1 << 16
INSTRUMENTS = 64
BATCHES = (1, 16, 256, 4096)


def quotes(writer: Writer, n: int) -> np.ndarray:
    """`n` quotes of instruments of a ring, in turn at random."""
    ids = [writer.instruments.add(f"S{i}") for i in range(INSTRUMENTS)]
    made = np.zeros(n, QUOTE)
    chance = np.random.default_rng(1)
    made["kind"], made["instrument_id"] = Kind.QUOTE, chance.choice(ids, n)
    made["bid_price"], made["ask_price"] = (
        chance.integers(1, 10**12, n),
        chance.integers(1, 10**12, n),
    )
    made["ts_event"] = made["ts_recv"] = np.arange(1, n + 1)
    return made.view(TICK)


def drain(reader: Any, records: int, batch: int, each: Callable[[Any], object] | None) -> float:
    """Seconds of processor time to read so many records in batches of so many."""
    left, start = records, time.process_time()
    while left > 0:
        got = reader.read(batch, timeout=0)
        left -= len(got)
        if each is not None:
            each(reader)
    return time.process_time() - start


class Contest:
    """One ring of all records, or two of half of them each, and the ways of reading them."""

    def __init__(self, directory: str, records: int) -> None:
        self.records = records
        self.whole = Writer("whole", CAPACITY, feed_index=1, directory=directory)
        self.halves = [
            Writer(f"half{i}", CAPACITY, feed_index=2 + i, directory=directory) for i in (0, 1)
        ]
        self.ticks = quotes(self.whole, records)
        self.parts = [quotes(half, records)[i::2] for i, half in enumerate(self.halves)]
        names = ["half0", "half1"]
        self.plain = Reader("whole", directory=directory)
        self.watched = Reader("whole", directory=directory)
        self.asked = Reader("whole", directory=directory)
        self.pair = [Reader(name, directory=directory) for name in names]
        self.recv = MultiReader(names, directory=directory)
        self.venue = MultiReader(names, order="venue", hold_s=0.0, directory=directory)
        self.last = MultiReader(names, directory=directory)
        self.idle = Writer("idle", directory=directory)
        self.lone = MultiReader(["whole", "idle"], directory=directory)
        for reader in (self.watched, self.asked, self.last):
            reader.last  # noqa: B018 - from now on it is kept up to date

    def round(self, batch: int) -> dict[str, float]:
        """Seconds of each way."""
        for ticks in (self.ticks, *self.parts):  # time goes on
            ticks["ts_event"] += self.records
            ticks["ts_recv"] += self.records
        self.whole.publish(self.ticks)
        for half, part in zip(self.halves, self.parts, strict=True):
            half.publish(part)
        n = self.records
        took = {
            "Reader.read": drain(self.plain, n, batch, None),
            "with last kept": drain(self.watched, n, batch, None),
            "with last kept, one Book a batch": drain(
                self.asked, n, batch, lambda reader: reader.last["S7"]
            ),
            "two Readers in turn": sum(
                drain(reader, len(part), batch, None)
                for reader, part in zip(self.pair, self.parts, strict=True)
            ),
            "MultiReader, one ring has all": drain(self.lone, n, batch, None),
            'MultiReader, order="recv"': drain(self.recv, n, batch, None),
            'MultiReader, order="venue"': drain(self.venue, n, batch, None),
            "MultiReader with last kept": drain(self.last, n, batch, None),
        }
        assert self.last.late == self.recv.late == 0
        return took


def main() -> None:
    """Print one table a batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--records", type=int, default=CAPACITY // 2)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--save", action="store_true", help="write results/strategy.json")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 2
    rows: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as directory:
        for batch in BATCHES:
            contest = Contest(directory, max(2, min(options.records, batch * 4096) // 2 * 2))
            rounds = [contest.round(batch) for _ in range(options.rounds + 1)][1:]
            print(f"batches of {batch}, {contest.records} records")
            found = rows[f"batches of {batch}"] = {}
            for name in rounds[0]:
                ns = statistics.median(r[name] for r in rounds) / contest.records * 1e9
                ratio = statistics.median(r[name] / r["Reader.read"] for r in rounds)
                each = ns * batch / 1e3
                found[name] = {"cpu_ns": round(ns, 1), "times_read_alone": round(ratio, 2)}
                print(f"  {name:<34} {ns:9.1f} ns a record {each:9.2f} us a batch {ratio:7.2f} x")
            for one in (contest.whole, contest.idle, *contest.halves):
                one.close()
    if options.save:
        machine.save("strategy", {"machine": machine.describe("numpy"), "rows": rows})


if __name__ == "__main__":
    main()
