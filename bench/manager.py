"""Callbacks of the library beside the design that most would write: an asyncio queue of dataclass ticks.

    python bench/manager.py [--ticks 100000] [--rounds 5] [--save]

That design is one process: each tick is made by its constructor (a frozen dataclass with slots), put into an
`asyncio.Queue`, taken out by another task, and given to the callback, or appended to a list that the callback gets
when it has 1,000. What decoding costs is left out on both sides: the queue begins with the fields of each tick, the
manager with records in the ring, which another process has written. Both run in the same loop, uvloop where there is
one, with the same callbacks; batches are summed up by what each is good at, a loop or numpy. "queue alone" is the
same with ticks that were made before.

Latency is from the feed process's stamp, before it publishes, to the call of on_batch, of a synthetic feed that
publishes once a millisecond; once with a loop that sleeps until it is woken, once with one that spins; that of the
queue from before the tick is made, in one process. A figure is the median of the rounds, a ratio the median of the ratios within each.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
from rounds import quantiles_us, ratio

from mdfeedd import FeedConfig, FeedManager, Vendor
from mdfeedd.consumers.event_loop import loop_factory
from mdfeedd.ring import Writer
from mdfeedd.tick import QUOTE, TICK, Kind

RESULT = Path(__file__).parent / "results" / "manager.json"
BATCH = 1000
QUEUE = 10_000  # ticks in it, at most
BUFFERED = 65_536  # for what one costs that waits
LATENCIES = 2000
GAP_S = 0.001
SPIN_S = 1.0


@dataclass(slots=True, frozen=True)
class QueueTick:
    """The tick of that design."""

    timestamp_ns: int
    symbol: str
    vendor: str
    bid_price: int | None = None
    ask_price: int | None = None
    bid_size: int | None = None
    ask_size: int | None = None
    last_price: int | None = None
    last_size: int | None = None
    precision: int = 2


def fields_of(n):
    """What a decoder would have: of each quote its fields."""
    now = time.time_ns()
    return [(now + i, "ESZ6", "cme", 450225 + i, 450250 + i, 300 + i, 400 + i) for i in range(n)]


class Queue:
    """Fields or ticks in, calls out."""

    def __init__(self, n):
        self.fields = fields_of(n)
        self.ticks = [QueueTick(*fields) for fields in self.fields]
        self.sum = 0

    async def put(self, queue, made):
        if made:
            for tick in self.ticks:
                await queue.put(tick)
        else:
            for fields in self.fields:
                await queue.put(QueueTick(*fields))
        await queue.put(None)

    async def each(self, queue, on_tick):
        while (tick := await queue.get()) is not None:
            await on_tick(tick)

    async def batches(self, queue, on_batch):
        batch = []
        while (tick := await queue.get()) is not None:
            batch.append(tick)
            if len(batch) >= BATCH:
                await on_batch(batch)
                batch = []

    async def rate(self, take, callback, *, made=False):
        queue = asyncio.Queue(QUEUE)
        begin = time.perf_counter()
        await asyncio.gather(self.put(queue, made), take(queue, callback))
        return len(self.fields) / (time.perf_counter() - begin)


class Sums:
    """The callbacks: the sum of the bids, so that each tick is looked at."""

    def __init__(self):
        self.sum = 0

    async def of_list(self, ticks):
        self.sum += sum(tick.bid_price for tick in ticks)

    async def of_batch(self, ticks):
        self.sum += int(ticks.quotes["bid_price"].sum())

    async def of_tick(self, tick):
        self.sum += tick.bid_price


def ring(directory, n):
    """A ring with so many quotes in it."""
    quotes = np.zeros(n, QUOTE)
    quotes["kind"], quotes["ts_event"] = Kind.QUOTE, time.time_ns() + np.arange(n)
    quotes["ts_recv"] = quotes["ts_event"]
    quotes["bid_price"], quotes["ask_price"] = 450225 + np.arange(n), 450250 + np.arange(n)
    quotes["bid_size"], quotes["ask_size"] = 300 + np.arange(n), 400 + np.arange(n)
    writer = Writer("bench", 1 << (n - 1).bit_length(), TICK, directory=directory)
    quotes["instrument_id"] = writer.instruments.add("ESZ6")
    writer.publish(quotes.view(TICK))
    return writer


async def managed(directory, n, **callbacks):
    """Ticks per second, from the start of the manager's task to the last call."""
    done = asyncio.Event()
    (name, function), seen = next(iter(callbacks.items())), 0

    async def counted(ticks):
        nonlocal seen
        await function(ticks)
        seen += len(ticks) if name == "on_batch" else 1
        if seen == n:
            done.set()

    manager = FeedManager.attach(
        "bench", directory=directory, start="oldest", batch_size=BATCH, backpressure="wait",
        **{name: counted},
    )  # fmt: skip
    async with manager:
        begin = time.perf_counter()
        await done.wait()
        return n / (time.perf_counter() - begin)


async def throughput(directory, n):
    """One round: ticks per second of each."""
    queue, ours, theirs = Queue(n), Sums(), Sums()
    rates = {}
    gc.collect()
    rates["queue, batch"] = await queue.rate(queue.batches, theirs.of_list)
    gc.collect()
    rates["manager, batch"] = await managed(directory, n, on_batch=ours.of_batch)
    assert ours.sum == theirs.sum
    gc.collect()
    rates["queue, tick"] = await queue.rate(queue.each, theirs.of_tick)
    gc.collect()
    rates["manager, tick"] = await managed(directory, n, on_tick=ours.of_tick)
    assert ours.sum == theirs.sum
    gc.collect()
    rates["queue alone, tick"] = await queue.rate(queue.each, theirs.of_tick, made=True)
    return rates


async def latency_of_manager(spin_s):
    latencies = []
    done = asyncio.Event()

    def on_batch(ticks):
        latencies.append(time.time_ns() - int(ticks.records["ts_recv"][0]))
        if len(latencies) >= LATENCIES:
            done.set()

    manager = FeedManager(on_batch=on_batch, spin_s=spin_s)
    manager.add_feed(FeedConfig(Vendor.SYNTHETIC, options={"rate": 1000.0, "burstiness": 0.0}))
    async with manager:
        await asyncio.sleep(1.0)  # it has come up
        latencies.clear()
        await done.wait()
    return latencies


async def latency_of_queue():
    latencies, queue = [], asyncio.Queue(QUEUE)
    fields = fields_of(1)[0]

    async def put():
        for _ in range(LATENCIES):
            await asyncio.sleep(GAP_S)
            await queue.put(QueueTick(time.time_ns(), *fields[1:]))

    async def take():
        while len(latencies) < LATENCIES:
            tick = await queue.get()
            latencies.append(time.time_ns() - tick.timestamp_ns)

    await asyncio.gather(put(), take())
    return latencies


def bytes_per_tick():
    """Of a tick that waits: in the queue, and in the ring."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    now = time.time_ns()
    waiting = deque(
        QueueTick(now + i, "ESZ6", "cme", 450225 + i, 450250 + i, 300 + i, 400 + i)
        for i in range(BUFFERED)
    )
    queued = (tracemalloc.get_traced_memory()[0] - before) / len(waiting)
    tracemalloc.stop()
    return {"queue": round(queued), "ring": TICK.itemsize}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.ticks, arguments.rounds = 20_000, 1
    rates, latencies = [], {"manager": [], "manager, spinning": [], "queue": []}
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as directory:
        writer = ring(directory, arguments.ticks)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            for _ in range(arguments.rounds):
                rates.append(runner.run(throughput(directory, arguments.ticks)))
                for name, spin_s in (("manager", 0.0), ("manager, spinning", SPIN_S)):
                    latencies[name].append(quantiles_us(runner.run(latency_of_manager(spin_s))))
                latencies["queue"].append(quantiles_us(runner.run(latency_of_queue())))
        writer.close()
    result = summary(rates, latencies)
    for name, row in result["rows"].items():
        print(f"{name:22}", "  ".join(f"{key} {value}" for key, value in row.items()))
    for name, value in result["ratios"].items():
        print(f"{name:22} {value:.1f} times")
    if arguments.save:
        told = {"ticks": arguments.ticks, "rounds": arguments.rounds, "batch": BATCH}
        head = {"machine": machine.describe("numpy", "uvloop"), "what": told}
        RESULT.write_text(json.dumps(head | result, indent=1) + "\n")


def summary(rates, latencies):
    rows = {
        name: {"M_ticks_s": round(statistics.median(r[name] for r in rates) / 1e6, 3)}
        for name in rates[0]
    }
    for name, rounds in latencies.items():
        rows[f"{name}, latency"] = {
            key: round(statistics.median(r[key] for r in rounds), 1) for key in ("p50_us", "p99_us")
        }
    rows["bytes per tick"] = bytes_per_tick()
    ratios = {
        f"per {kind}": ratio(
            [r[f"manager, {kind}"] for r in rates], [r[f"queue, {kind}"] for r in rates]
        )
        for kind in ("batch", "tick")
    }
    return {"cpus": os.cpu_count(), "rows": rows, "ratios": ratios}


if __name__ == "__main__":
    main()
