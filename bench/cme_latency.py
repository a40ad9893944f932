"""From the kernel's stamp on a datagram to a reader in another process that has the tick: a histogram.

    python bench/cme_latency.py [--rates 1000,10000] [--packets 5000] [--modes blocking,busy] [--quick] [--save]

The whole way: UDP on 127.0.0.1, the CME feed in a process of its own (arbitrate, decode, book, publish), the
ring, a Python reader in this process. Packets are those of a real capture, line A, sent evenly. The
figures go into ``bench/results/cme_latency.json`` with --save; one line of the table has p50, p99 and the worst. Sender, feed
and reader want a processor each: with fewer, the scheduler is part of what is measured, and the table says so.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from cme import CAPTURE, CHANNEL, packets_of

from mdfeedd.feeds.cme.feed import CmeFeed
from mdfeedd.feeds.cme.lines import Line
from mdfeedd.feeds.cme.options import CmeOptions
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader
from mdfeedd.tick import TICK, Flag

SPAWN = multiprocessing.get_context("spawn")
BUCKETS_US = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
BATCH = 256
PATIENCE_S = 30.0
PROCESSES = 3


def feed(port: int, mode: str, directory: str, stop: Any) -> None:
    """The feed's process."""
    line = Line(channel=CHANNEL, feed="incremental", side="A", address="127.0.0.1", port=port)
    options = CmeOptions(lines=(line,), mode=mode, receive_buffer_bytes=1 << 20, cache_dir="")  # type: ignore[arg-type]
    done = threading.Event()
    threading.Thread(target=lambda: (stop.wait(), done.set()), daemon=True).start()
    CmeFeed("cme", options, RingPlan("cme", directory=directory)).run(done)


def send(port: int, payloads: list[bytes], rate: float) -> None:
    """One datagram every 1/rate seconds, by the clock."""
    to = ("127.0.0.1", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        begin = time.perf_counter()
        for number, payload in enumerate(payloads):
            while time.perf_counter() - begin < number / rate:
                pass
            out.sendto(payload, to)


def latencies_ns(mode: str, rate: float, payloads: list[bytes], directory: str) -> np.ndarray:
    """Of every tick but those of the first packet, which wait for this reader's first look."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = SPAWN.Event()
    process = SPAWN.Process(target=feed, args=(port, mode, directory, stop))
    process.start()
    try:
        with Reader("cme", wait=PATIENCE_S, directory=directory) as reader:
            time.sleep(
                0.5
            )  # the feed has its socket before it has its ring; this is for its first beat
            sender = SPAWN.Process(target=send, args=(port, payloads, rate))
            sender.start()
            took, buffer = [], np.empty(BATCH, TICK)
            deadline = time.monotonic() + PATIENCE_S + len(payloads) / rate
            while (sender.is_alive() or reader.lag) and time.monotonic() < deadline:
                n = reader.read_into(buffer, timeout=0.1)
                now_ns = time.time_ns()
                stamped = buffer[:n][(buffer[:n]["flags"] & Flag.KERNEL_TS) != 0]
                took.append(now_ns - stamped["ts_recv"])
            sender.join()
            if reader.lost:
                raise RuntimeError(
                    f"the reader lost {reader.lost} ticks: the figures are of the rest"
                )
    finally:
        stop.set()
        process.join(PATIENCE_S)
        process.kill()
    return np.concatenate(took)


def row(mode: str, rate: float, ns: np.ndarray) -> dict[str, Any]:
    us = ns / 1e3
    counts, _ = np.histogram(us, [0, *BUCKETS_US, np.inf])
    p50, p90, p99, p999 = (round(float(x), 2) for x in np.percentile(us, (50, 90, 99, 99.9)))
    return {
        "mode": mode, "packets_per_s": rate, "ticks": len(us), "p50_us": p50, "p90_us": p90, "p99_us": p99,
        "p999_us": p999, "max_us": round(float(us.max()), 2),
        "histogram": dict(zip([f"< {b} us" for b in BUCKETS_US] + ["more"], counts.tolist(), strict=True)),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--capture", type=Path, default=CAPTURE)
    parser.add_argument("--rates", default="1000,10000")
    parser.add_argument("--modes", default="blocking,busy")
    parser.add_argument("--packets", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="fewer packets")
    parser.add_argument("--save", action="store_true", help="write results/cme_latency.json")
    options = parser.parse_args()
    if options.quick:
        options.packets = 1000
    if not options.capture.exists():
        parser.error(f"there is no {options.capture}: name one by --capture")
    payloads = [payload for line, _, payload in packets_of(options.capture) if not line][
        : options.packets
    ]
    rows = []
    print(
        f"{'mode':10}{'packets/s':>10}{'ticks':>8}{'p50 us':>9}{'p90 us':>9}{'p99 us':>9}{'p99.9':>9}{'max us':>10}"
    )
    for mode in options.modes.split(","):
        for rate in map(float, options.rates.split(",")):
            with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as directory:
                one = row(mode, rate, latencies_ns(mode, rate, payloads, directory))
            rows.append(one)
            print(f"{mode:10}{rate:10.0f}{one['ticks']:8d}{one['p50_us']:9.2f}{one['p90_us']:9.2f}"
                  f"{one['p99_us']:9.2f}{one['p999_us']:9.2f}{one['max_us']:10.2f}")  # fmt: skip
    if len(os.sched_getaffinity(0)) < PROCESSES:
        print(
            f"{PROCESSES} processes that want a processor each on {len(os.sched_getaffinity(0))}: the scheduler is in these figures"
        )
    if options.save:
        machine.save("cme_latency", {"rows": rows, "machine": machine.describe("mdfeedd", "numpy")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
