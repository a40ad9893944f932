"""A sink that stands still for minutes, and what the rest of the daemon notices of it.

    python bench/stalled_sink.py [--store kafka|postgres|redis] [--stall 600] [--rate 200000] [--save]

A synthetic feed at --rate ticks a second, a journal of it, and two stores that read the journal: Parquet, and a
server that is stopped (SIGSTOP) for --stall seconds and then goes on: Apache Kafka (transactions), PostgreSQL (two
connections), or Redis (a stream). Meanwhile the resident memory of each process is looked at, the rate of the feed,
and how far Parquet is behind. Then the time until the server has caught up with the journal, while the feed goes on:

    catch-up    ticks stored a second while catching up, over the feed's rate, which goes on meanwhile
    memory      largest resident size during the stall over that before it

The journal needs --stall x --rate x 64 bytes of disk (7.7 GB for ten minutes at 200,000 a second), --folder says
where. Written to bench/results/stalled_sink.json with --save.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import Supervisor
from mdfeedd.ring.inspect import inspect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sinks" / "servers"))
import kafka
import postgres
import redis

RESULT = Path(__file__).parent / "results" / "stalled_sink.json"
RING_TICKS = 1 << 18  # more than the feed makes while the journal is still starting
LOOK_S = 1.0
CATCH_UP_S = 3600.0  # longer, and it has failed
AT_REST_S = 10.0  # before the stall, and after all is caught up
CAUGHT_UP_S = 1.0  # behind by as much of the feed's ticks


STREAM_MESSAGES = 20_000  # of 1,024 ticks, which a stream of Redis keeps: 1.3 GB


class Postgres:
    """Its server and how it is stored in."""

    def __init__(self, _folder: Path) -> None:
        settings = "fsync = on\nfull_page_writes = on\nmax_wal_size = 8GB\n"
        self._server = postgres.PostgresServer(settings)
        self._server.start()
        self.sink = {"type": "postgres", "dsn": self._server.dsn(), "connections": 2}

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    def remove(self) -> None:
        self._server.remove()


class Redis:
    """The same."""

    def __init__(self, _folder: Path) -> None:
        self._server = redis.RedisServer().start()
        self.sink = {
            "type": "redis", "host": "127.0.0.1", "port": self._server.port,
            "modes": ["stream"], "stream_maxlen": STREAM_MESSAGES,
        }  # fmt: skip

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    def remove(self) -> None:
        self._server.remove()


class Kafka:
    """The same."""

    def __init__(self, folder: Path) -> None:
        self._broker = kafka.ApacheBroker(folder / "kafka", heap_mb=1024, flags=())
        self.sink = {"type": "kafka", "bootstrap_servers": self._broker.address}

    def freeze(self) -> None:
        self._broker.freeze()

    def thaw(self) -> None:
        self._broker.thaw()

    def remove(self) -> None:
        self._broker.stop()


STORES: dict[str, Any] = {"kafka": Kafka, "postgres": Postgres, "redis": Redis}


def _plan(shm_dir: str, folder: Path, sink: dict[str, Any], rate: int) -> Any:
    journal = str(folder / "journal")

    def store(name: str, sink: dict[str, Any]) -> dict[str, Any]:
        options = {"journal": journal, "sink": sink}
        return {"name": name, "type": "batch", "rings": ["feed"], "options": options}

    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": None,
            "feeds": [
                {
                    "name": "feed",
                    "vendor": "synthetic",
                    "capacity": RING_TICKS,
                    "options": {"rate": rate, "burstiness": 0.0, "instruments": 8, "seed": 1},
                }
            ],
            "consumers": [
                {
                    "name": "journal",
                    "type": "journal",
                    "rings": ["feed"],
                    "options": {"path": journal, "keep_bytes": 0, "hard_cap_bytes": 0},
                },
                store("parquet", {"type": "parquet", "path": str(folder / "parquet")}),
                store("stalled", sink),
            ],
        }
    )


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


class Watch:
    """Looks at everything once a second."""

    def __init__(self, supervisor: Supervisor, shm_dir: str) -> None:
        self._supervisor = supervisor
        self._shm_dir = shm_dir
        self.lost = 0

    def look(self) -> dict[str, Any]:
        """Published, stored and behind by now, and the memory of each process."""
        info = inspect("feed", self._shm_dir)
        slots = {slot.name: slot for slot in info.consumers}
        self.lost = max(self.lost, *(slot.lost for slot in slots.values()))
        return {
            "time": time.monotonic(),
            "published": info.tail,
            "memory": {
                child.plan.name: _resident_mib(child.pid)
                for child in self._supervisor.children
                if child.pid
            },
            **{
                name: {
                    "stored": slots[name].counters["stored_records"],
                    "behind": slots[name].unsafe,
                }
                for name in ("parquet", "stalled")
                if name in slots
            },
        }

    async def during(self, seconds: float) -> list[dict[str, Any]]:
        """A look a second."""
        end = time.monotonic() + seconds
        looks = [self.look()]
        while time.monotonic() < end:
            await asyncio.sleep(LOOK_S)
            looks.append(self.look())
        return looks


def _rate(looks: list[dict[str, Any]]) -> float:
    first, last = looks[0], looks[-1]
    return (last["published"] - first["published"]) / (last["time"] - first["time"])


def _peak(looks: list[dict[str, Any]], name: str) -> float:
    return max(look["memory"].get(name, 0.0) for look in looks)


async def _caught_up(watch: Watch, rate: int) -> tuple[float, int]:
    """Seconds until the store is no further behind than at rest, and ticks that it stored meanwhile."""
    start = time.monotonic()
    stored = watch.look()["stalled"]["stored"]
    while True:
        now = watch.look()
        place = now["stalled"]
        if place["behind"] < rate * CAUGHT_UP_S:
            return now["time"] - start, place["stored"] - stored
        if now["time"] - start > CATCH_UP_S:
            raise RuntimeError(f"still {place['behind']} ticks behind after {CATCH_UP_S:g} s")
        await asyncio.sleep(0.1)


async def _measure(
    store: str, folder: Path, shm_dir: str, stall_s: float, rate: int
) -> dict[str, Any]:
    server = STORES[store](folder)
    try:
        async with Supervisor(_plan(shm_dir, folder, server.sink, rate)) as supervisor:
            watch = Watch(supervisor, shm_dir)
            await asyncio.sleep(AT_REST_S)
            before = await watch.during(AT_REST_S)
            server.freeze()
            stalled = await watch.during(stall_s)
            server.thaw()
            seconds, stored = await _caught_up(watch, rate)
            after = await watch.during(AT_REST_S)
    finally:
        server.thaw()
        server.remove()
    names = list(before[-1]["memory"])
    return {
        "stall_s": stall_s,
        "rate": rate,
        "rate_before": round(_rate(before)),
        "rate_stalled": round(_rate(stalled)),
        "lost": watch.lost,
        "parquet_behind_max": max(look["parquet"]["behind"] for look in stalled),
        "behind_max": max(look["stalled"]["behind"] for look in stalled),
        "catch_up_s": round(seconds, 1),
        "catch_up_ticks_per_s": round(stored / seconds),
        "catch_up_over_real_time": round(stored / seconds / rate, 2),
        "memory_mib": {
            name: [_peak(before, name), _peak(stalled, name), _peak(after, name)] for name in names
        },
    }


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a store: the memory of the process that grew most, not that of each."""
    memory = found["memory_mib"].values()
    flat = {name: value for name, value in found.items() if name != "memory_mib"}
    return flat | {"memory_of_before": round(max(peaks[1] / peaks[0] for peaks in memory), 3)}


def main() -> int:
    """Measure, tell, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stall", type=float, default=600.0, help="seconds (600)")
    parser.add_argument("--rate", type=int, default=200_000, help="ticks a second (200000)")
    parser.add_argument("--store", choices=sorted(STORES), default="kafka", help="(kafka)")
    parser.add_argument("--folder", type=Path, help="for journal and files (the system's /tmp)")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mdfeedd-stalled-", dir=arguments.folder))
    shm_dir = tempfile.mkdtemp(prefix="mdfeedd-stalled-", dir="/dev/shm")
    try:
        found = asyncio.run(
            _measure(arguments.store, folder, shm_dir, arguments.stall, arguments.rate)
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(shm_dir, ignore_errors=True)
    print(json.dumps(found, indent=2))
    ok = found["catch_up_over_real_time"] >= 5 and not found["lost"]
    print(
        f"catch-up {found['catch_up_over_real_time']} x real time (wanted: 5)",
        "" if ok else "NOT MET",
    )
    if arguments.save:
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"stores": {}}
        command = f"python bench/stalled_sink.py --store {arguments.store} --save"
        kept["machine"] = machine.describe() | {"command": command}
        kept["stores"][arguments.store] = _row(found)
        RESULT.write_text(json.dumps(kept, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
