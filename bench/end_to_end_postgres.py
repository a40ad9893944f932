"""Part of end_to_end.py: the whole daemon from a gateway to PostgreSQL, and the sink alone beside it."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import psycopg
import sinks_postgres as alone
from lsg import KEY, PATIENCE_S, RING
from rounds import quantiles_us

from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import Supervisor
from mdfeedd.ring.inspect import inspect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sinks" / "servers"))
import postgres as servers

if TYPE_CHECKING:
    from databento import Bench

RATE = 2_000_000  # of the gateway: more than PostgreSQL takes, and no more than a disk does
CAPACITY = 1 << 20
GAP_US = 20_000
LOOK_S = 0.01
FLUSH_S = 0.05
NEW_ROWS = """
    select (extract(epoch from ts) * 1000000)::bigint as us
    from (select ts from mdfeedd.quotes where ts > %(since)s union all
          select ts from mdfeedd.trades where ts > %(since)s) as newer
    order by us"""


def _plan(port: int, dataset: str, folders: tuple[str, str], dsn: str, flush_s: float) -> Any:
    shm_dir, disk = folders
    subscription = {"schema": "mbp-1", "symbols": ["ALL_SYMBOLS"]}
    feed = {"dataset": dataset, "subscriptions": [subscription], "gateway": f"127.0.0.1:{port}"}
    journal = f"{disk}/journal"
    sink = {"type": "postgres", "dsn": dsn}
    store = {"journal": journal, "sink": sink, "flush_interval_s": flush_s}
    return config.check({
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": [{"name": RING, "vendor": "databento", "capacity": CAPACITY, "options": feed}],
        "consumers": [
            {"name": "journal", "type": "journal", "rings": [RING], "options": {"path": journal}},
            {"name": "store", "type": "batch", "rings": [RING], "options": store},
        ],
    })  # fmt: skip


def _stored(shm_dir: str) -> int:
    slots = {slot.name: slot for slot in inspect(RING, shm_dir).consumers}
    if any(slot.lost for slot in slots.values()):
        raise RuntimeError("the journal was lapped: its disk is slower than the gateway")
    return slots["store"].counters["stored_records"] if "store" in slots else 0


class Daemon:
    """A daemon whose feed has come to the gateway; of its own rings and journal. The first makes the tables."""

    def __init__(
        self, bench: Bench, stream: Any, dataset: str, server: Any, flush_s: float
    ) -> None:
        self.bench = bench
        self.stream = stream
        self.dsn = server.dsn()
        self.gateway, port = bench.gateway(stream)
        self.shm = tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm")
        self.disk = tempfile.TemporaryDirectory(prefix="mdfeedd-bench-")
        plan = _plan(port, dataset, (self.shm.name, self.disk.name), server.dsn(), flush_s)
        self.supervisor = Supervisor(plan)

    async def __aenter__(self) -> Self:
        await self.supervisor.__aenter__()
        await asyncio.to_thread(self.gateway.hear, "ready")
        deadline = time.monotonic() + PATIENCE_S
        while "journal" not in {slot.name for slot in inspect(RING, self.shm.name).consumers}:
            if time.monotonic() > deadline:
                raise RuntimeError("the journal has not come to the ring")
            await asyncio.sleep(LOOK_S)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.supervisor.__aexit__(*error)
        self.gateway.__exit__()
        self.shm.cleanup()
        self.disk.cleanup()


async def _flood(daemon: Daemon) -> dict[str, float]:
    """From the first byte sent until all are committed; the store tells how many that are."""
    before = _stored(daemon.shm.name)
    daemon.gateway.go()
    begin_ns = int((await asyncio.to_thread(daemon.gateway.hear, "sent"))[0])
    deadline = time.monotonic() + PATIENCE_S
    while (had := _stored(daemon.shm.name) - before) < daemon.stream.records:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{had} of {daemon.stream.records} records are stored")
        await asyncio.sleep(LOOK_S)
    return {"k_rows_per_s": daemon.stream.records * 1e6 / (time.time_ns() - begin_ns)}


def _seen_us(dsn: str, wanted: int) -> list[int]:
    """µs from the gateway's stamp of each row to the first query that sees it."""
    took: list[int] = []
    newest = time.time_ns() // 1000
    deadline = time.monotonic() + PATIENCE_S
    with psycopg.connect(dsn, autocommit=True) as connection:
        while len(took) < wanted and time.monotonic() < deadline:
            since = np.datetime64(newest, "us").astype(object)
            rows = connection.execute(
                NEW_ROWS, {"since": f"{since.isoformat()}+00"}, prepare=True
            ).fetchall()
            now_us = time.time_ns() // 1000
            took += [now_us - stamp for (stamp,) in rows]
            newest = max([newest, *(stamp for (stamp,) in rows)])
            time.sleep(0.001)
    return took


async def _latency(daemon: Daemon, wanted: int) -> dict[str, float]:
    watching = asyncio.create_task(asyncio.to_thread(_seen_us, daemon.dsn, wanted))
    daemon.gateway.go()
    await asyncio.to_thread(daemon.gateway.hear, "sent")
    took = await watching
    if len(took) < wanted:
        raise RuntimeError(f"{len(took)} of {wanted} rows were seen")
    warm = took[wanted // 10 :]
    found = quantiles_us([us * 1000 for us in warm])
    return {key.replace("_us", "_ms"): value / 1e3 for key, value in found.items()}


def _sink_alone(server: Any, rows: int) -> float:
    """k rows/s of the sink, given quotes that are ready, 65,536 at a time."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bench = alone.Bench(server.dsn(), alone.make_quotes(rows), folder)
        try:
            with bench.ready_sink() as sink:
                begin = time.perf_counter()
                for at in range(0, rows, 65_536):
                    bench.store(sink, 65_536, bench.quotes[at : at + 65_536].copy())
                return rows / (time.perf_counter() - begin) / 1e3
        finally:
            bench.sql("drop schema if exists bench cascade")


async def measure(bench: Bench, dataset: str) -> tuple[dict[str, list[dict[str, float]]], float]:
    """Rounds by contender, and the median ratio of the daemon's rate and the sink's."""
    options = bench.options
    os.environ["DATABENTO_API_KEY"] = KEY
    server = servers.PostgresServer(alone.SETTINGS)
    server.start()
    found: dict[str, list[dict[str, float]]] = {"wire to PostgreSQL": [], "sink alone": []}
    latency = f"wire to a row that is seen, handed over each {FLUSH_S * 1e3:g} ms"
    found[latency] = []
    try:
        for _ in range(options.rounds):
            flood = bench.streams.paced(RATE, options.rows / RATE)
            async with Daemon(bench, flood, dataset, server, 0.25) as daemon:
                found["wire to PostgreSQL"].append(await _flood(daemon))
            rate = await asyncio.to_thread(_sink_alone, server, flood.records)
            found["sink alone"].append({"k_rows_per_s": rate})
        singles = bench.streams.singly(options.singles, GAP_US)
        async with Daemon(bench, singles, dataset, server, FLUSH_S) as daemon:
            found[latency].append(await _latency(daemon, options.singles))
    finally:
        server.remove()
    pairs = zip(found["wire to PostgreSQL"], found["sink alone"], strict=True)
    times = statistics.median(a["k_rows_per_s"] / b["k_rows_per_s"] for a, b in pairs)
    return found, round(times, 3)
