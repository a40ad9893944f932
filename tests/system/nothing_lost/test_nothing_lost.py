"""kill -9 of everything, at random: what is stored equals what was published, each tick once.

A feed whose records follow from their numbers, a journal, and a batch consumer a store, in real
processes against real servers. At random moments one of them, several, or all at once are killed;
servers come back by themselves a moment later, processes by the supervisor.

By hand, for long: ``MDFEEDD_CHAOS_ROUNDS=500 pytest tests/system/nothing_lost -s``; a failure tells
the seed, which MDFEEDD_CHAOS_SEED repeats (as far as the machine's timing does).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import Limits, Supervisor
from mdfeedd.ring.inspect import inspect
from tests.sinks.servers import kafka, postgres, redis
from tests.system.nothing_lost.stores import KafkaStore, ParquetStore, PostgresStore, RedisStore
from tests.system.nothing_lost.truth_feed import price_of, size_of

ROUNDS = int(os.environ.get("MDFEEDD_CHAOS_ROUNDS", "8"))
SEED = int(os.environ.get("MDFEEDD_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
RATE = 10_000  # records a second: the stores of one machine share its processors
CATCH_UP_S = 300.0
LIMITS = Limits(
    crash_limit=1_000_000, restart_base_s=0.1, restart_max_s=0.3, healthy_s=0.2, restart_jitter=0.0
)
NEEDS = {
    "parquet": lambda: None,
    "postgres": lambda: None if postgres.binaries() else postgres.NOT_INSTALLED,
    "redis": lambda: None if redis.binary() else "redis-server is not installed",
    "kafka": lambda: None if kafka.usable() else "no JDK, or no jars of Apache Kafka",
}
STORES = {
    "parquet": ParquetStore, "postgres": PostgresStore, "redis": RedisStore, "kafka": KafkaStore,
}  # fmt: skip


def plan_for(stores, shm_dir, folder):
    journal = str(folder / "journal")
    keep = {"path": journal, "segment_bytes": 1 << 20, "fsync_interval_s": 0.05}
    batch = {"journal": journal, "flush_interval_s": 0.05, "back_off_max_s": 0.5}
    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": None,
            "feeds": [
                {
                    "name": "truth",
                    "vendor": "tests.system.nothing_lost.truth_feed:TruthFeed",
                    "options": {"rate": RATE, "pause_file": str(folder / "pause")},
                }
            ],
            "consumers": [
                {"name": "journal", "type": "journal", "rings": ["truth"], "options": keep},
                *(
                    {
                        "name": store.name,
                        "type": "batch",
                        "rings": ["truth"],
                        "options": {**batch, "sink": store.sink},
                    }
                    for store in stores
                ),
            ],
        }
    )


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def one_round(rng, supervisor, stores):
    """Kill one, some or all; servers are started again, and some time passes."""
    processes = [child.pid for child in supervisor.children if child.pid]
    servers = [store for store in stores if store.victim]
    kind = rng.choice(["process", "process", "server", "some", "all"])
    if kind == "process" or not servers:
        victims, down = [rng.choice(processes)] if processes else [], []
    elif kind == "server":
        victims, down = [], [rng.choice(servers)]
    elif kind == "some":
        victims = [pid for pid in processes if rng.random() < 0.5]
        down = [store for store in servers if rng.random() < 0.3]
    else:
        victims, down = processes, servers
    for pid in victims:
        kill(pid)
    for store in down:
        await asyncio.to_thread(store.kill)
    await asyncio.sleep(rng.uniform(0, 0.3))
    for store in down:
        await asyncio.to_thread(store.start)
    await asyncio.sleep(rng.uniform(0.05, 0.7))


async def until_stored(store, published):
    end = time.monotonic() + CATCH_UP_S
    while True:
        stored = await asyncio.to_thread(store.stored)
        if stored >= published:
            return
        assert time.monotonic() < end, f"{store.name} has {stored} of {published}"
        await asyncio.sleep(0.5)


async def scenario(stores, shm_dir, folder, rng):
    plan = plan_for(stores, shm_dir, folder)
    async with Supervisor(plan, limits=LIMITS) as supervisor:
        await asyncio.sleep(1.0)
        for _ in range(ROUNDS):
            await one_round(rng, supervisor, stores)
        (folder / "pause").touch()
        await asyncio.sleep(1.0)  # for a feed that is just coming back
        info = inspect("truth", shm_dir)
        for store in stores:
            await until_stored(store, info.tail)
        await asyncio.sleep(1.0)
        restarts = {child.plan.name: child.restarts for child in supervisor.children}
        return inspect("truth", shm_dir).tail, restarts


def check(store, published):
    seq, price, size = store.read()
    gone = np.setdiff1d(np.arange(1, published + 1, dtype=np.uint64), seq)
    assert not len(gone), f"{store.name} lacks {len(gone)} records, the first is {gone[0]}"
    values, times = np.unique(seq, return_counts=True)
    twice = values[times > 1]
    assert not len(twice), f"{store.name} has {len(twice)} records twice, the first is {twice[0]}"
    assert len(seq) == published, f"{store.name} has records that were never published"
    assert (np.diff(seq.astype(np.int64)) > 0).all(), f"{store.name} is out of order"
    assert (price == price_of(seq)).all(), store.name
    assert (size == size_of(seq)).all(), store.name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("names", [["parquet", "redis"], ["postgres"], ["kafka"]], ids="-".join)
def test_everything_published_is_stored_once_whatever_is_killed(names, shm_dir, tmp_path):
    for name in names:
        missing = NEEDS[name]()
        if missing:
            pytest.skip(missing)
    print(f"MDFEEDD_CHAOS_SEED={SEED}")
    stores = []
    try:
        stores.extend(STORES[name](tmp_path) for name in names)
        run = scenario(stores, shm_dir, tmp_path, random.Random(SEED))
        published, restarts = asyncio.run(run)
        print(f"{published} published, restarts {restarts}")
        assert published > RATE
        assert sum(restarts.values()) >= ROUNDS // 4, "hardly anything was killed"
        for store in stores:
            check(store, published)
    finally:
        for store in stores:
            store.remove()
        shutil.rmtree(tmp_path / "journal", ignore_errors=True)
