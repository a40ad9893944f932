"""Days of a daemon in a minute: hundreds of restarts, thousands of readers, a wall clock that jumps. All stays flat."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import Limits, State, Supervisor
from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.inspect import inspect

P = "daemon_test_plugins"
PATIENCE_S = 240.0
RESTARTS = int(os.environ.get("MDFEEDD_SOAK_RESTARTS", "30"))
"""After the warm state. Each costs a third of a second of a CPU; with hundreds of them it is a soak of minutes."""
WARM = 12
READERS = 3000
GROWTH_BYTES = 6 << 20
"""Of this process between the warm state and the end; 80 processes' worth of anything would be more."""
SOAK = Limits(restart_first_s=0.0, restart_base_s=0.0, restart_max_s=0.0, crash_limit=10**9)


def resident_bytes():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def held():
    """Descriptors, threads and tasks of this process."""
    tasks = len(asyncio.all_tasks())
    return {
        "fds": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tasks": tasks,
    }


async def until(condition, pause_s=0.01):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(pause_s)


@pytest.mark.slow
def test_hundreds_of_restarts(shm_dir):
    """Feeds that are killed over and over, one that cannot start, and one that nothing happens to."""
    names = ["a", "b", "c"]
    feeds = [{"name": name, "vendor": f"{P}:TickingFeed", "capacity": 256} for name in names]
    feeds.append({"name": "bad", "vendor": f"{P}:TickingFeed", "options": {"exit_status": 69}})
    feeds.append({"name": "calm", "vendor": f"{P}:TickingFeed", "capacity": 256})
    plan = config.check({"shm_dir": shm_dir, "metrics": None, "feeds": feeds})

    async def settled(supervisor, wanted):
        """Until so many restarts, and then a moment in which all live."""
        killed = [supervisor.find(name) for name in names]

        def enough():
            return sum(child.restarts for child in supervisor.children) >= wanted

        while not enough():
            for child in killed:
                if child.state is State.RUNNING and child.pid:
                    os.kill(child.pid, signal.SIGKILL)
                    child.state = State.STARTING  # killed once, until it runs again
            await asyncio.sleep(0.01)
        await until(lambda: all(child.state is State.RUNNING for child in killed))
        await asyncio.sleep(0.1)
        bad = supervisor.find("bad")  # which is away for a moment only: looked for in every turn
        await until(lambda: bad.process is None, pause_s=0)

    async def scenario():
        supervisor = Supervisor(plan, limits=SOAK)
        starting = asyncio.create_task(supervisor.start())
        try:
            await settled(supervisor, WARM)
            before, bytes_before = held(), resident_bytes()
            await settled(supervisor, WARM + RESTARTS)
            after, bytes_after = held(), resident_bytes()
            calm = supervisor.find("calm")
            assert (calm.restarts, calm.state) == (0, State.RUNNING)
        finally:
            await supervisor.stop()
            await starting
        assert after["threads"] <= before["threads"] + 1, (
            "the pool that sends plans may not be full yet"
        )
        assert after["fds"] <= before["fds"] + 2, (before, after)
        assert after["tasks"] <= before["tasks"] + 2, (before, after)
        assert bytes_after - bytes_before < GROWTH_BYTES

    asyncio.run(scenario())


def test_thousands_of_readers_come_and_go(shm_dir):
    """Under names of their own each, so that the registry must take its slots back."""
    with Writer("f", 256, directory=shm_dir):
        for i in range(100):
            Reader("f", "now", f"reader-{i}", directory=shm_dir).close()
        gc.collect()  # what tests before this one have left
        fds, before = len(os.listdir("/proc/self/fd")), resident_bytes()
        for i in range(READERS):
            Reader("f", "now", f"reader-{i}", directory=shm_dir).close()
        assert len(os.listdir("/proc/self/fd")) <= fds
        assert resident_bytes() - before < GROWTH_BYTES
        assert not [c for c in inspect("f", shm_dir).consumers if c.alive]
        with Reader("f", "now", "last", directory=shm_dir) as reader:
            assert reader.registered


def test_wall_clock_that_jumps_hangs_nobody_and_restarts_nobody(shm_dir, monkeypatch):
    """Who judges whether a child lives goes by the monotonic clock alone."""
    feeds = [{"name": "f", "vendor": f"{P}:TickingFeed", "hang_s": 1}]
    plan = config.check({"shm_dir": shm_dir, "metrics": None, "feeds": feeds})
    real = time.time
    jumps = iter([0.0, 1e6, -1e6, 3600.0, -3600.0, 0.0] * 1000)

    async def scenario():
        async with Supervisor(plan, limits=SOAK) as supervisor:
            supervisor.vigil.round_s = 0.02
            monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
            monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(jumps)) * 1e9))
            tail = inspect("f", shm_dir).tail
            await until(lambda: inspect("f", shm_dir).tail > tail + 20_000)
            child = supervisor.find("f")
            assert (child.hangs, child.restarts, child.state) == (0, 0, State.RUNNING)
            assert supervisor.beat_age_s < PATIENCE_S

    asyncio.run(scenario())
