"""How long a scrape of the daemon takes: 10 feeds, 20 consumers, all of them busy.

    python bench/scrape.py [--feeds 10] [--consumers 20] [--scrapes 200] [--idle] [--quick] [--save]

The daemon runs in this process, its feeds (synthetic markets) and consumers (OHLCV bars) in processes of their own.
Timed is the whole request from a client on the same host, and what the daemon says of its part
(`mdfeedd_scrape_duration_seconds`: reading shared memory). With fewer processors than processes a scrape waits for one:
`--idle` has the feeds publish almost nothing, which is the cost without that wait.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import urllib.request
from typing import Any

import machine

from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import State, Supervisor

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
GOAL_MS = 20.0


def plan(shm_dir: str, feeds: int, consumers: int, rate: int) -> Any:
    """Synthetic feeds, and bars of each in turn."""
    names = [f"feed{i}" for i in range(feeds)]
    return config.check({
        "shm_dir": shm_dir,
        "metrics": {"port": 0},
        "feeds": [
            {"name": name, "vendor": "synthetic", "options": {"rate": rate}} for name in names
        ],
        "consumers": [
            {
                "name": f"bars{i}",
                "type": "bars",
                "rings": [names[i % feeds]],
                "options": {"intervals_s": [1], "ring": f"bars{i}", "capacity": 1024},
            }
            for i in range(consumers)
        ],
    })  # fmt: skip


def scrape(port: int, accept: str) -> tuple[float, bytes]:
    """Milliseconds and the body."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    return (time.perf_counter() - start) * 1e3, body


def measure(port: int, scrapes: int) -> dict[str, Any]:
    """Of so many scrapes, a tenth of a second apart."""
    times, inside, body = [], [], b""
    used = time.process_time()
    for _ in range(scrapes):
        took, body = scrape(port, OPENMETRICS)
        times.append(took)
        line = next(x for x in body.splitlines() if x.startswith(b"mdfeedd_scrape_duration"))
        inside.append(float(line.split()[1]) * 1e3)
        time.sleep(0.1)
    used = time.process_time() - used
    times.sort()
    return {
        "scrapes": scrapes,
        "samples": sum(not line.startswith(b"#") for line in body.splitlines()),
        "bytes": len(body),
        "median_ms": statistics.median(times),
        "p99_ms": times[int(len(times) * 0.99)],
        "max_ms": times[-1],
        "daemon_and_client_cpu_ms": used / scrapes * 1e3,
        "shared_memory_median_ms": statistics.median(inside),
    }


async def run(args: argparse.Namespace, shm_dir: str) -> dict[str, Any]:
    rate = 10 if args.idle else args.rate
    async with Supervisor(plan(shm_dir, args.feeds, args.consumers, rate)) as supervisor:
        async with asyncio.timeout(120):
            while not all(child.state is State.RUNNING for child in supervisor.children):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        assert supervisor.exporter is not None
        return await asyncio.to_thread(measure, supervisor.exporter.port, args.scrapes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feeds", type=int, default=10)
    parser.add_argument("--consumers", type=int, default=20)
    parser.add_argument("--rate", type=int, default=2_000, help="ticks a second of each feed")
    parser.add_argument("--scrapes", type=int, default=200)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the scrapes")
    parser.add_argument("--save", action="store_true", help="write results/scrape.json")
    args = parser.parse_args()
    if args.quick:
        args.scrapes //= 10
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="mdfeedd-bench-") as shm_dir:
        found = asyncio.run(run(args, shm_dir))
    for key, value in found.items():
        print(f"{key:>24} {value:.2f}" if isinstance(value, float) else f"{key:>24} {value}")
    print(f"{'goal':>24} < {GOAL_MS} ms: {'met' if found['median_ms'] < GOAL_MS else 'missed'}")
    if args.save:
        machine.save("scrape", {"machine": machine.describe("prometheus-client"), **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
