"""Simulated vendors for managers, and the feeds of these tests, found by name here and in the workers."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from mdfeedd import FeedManager
from mdfeedd.sim import bloomberg
from mdfeedd.sim.databento import Gateway, GatewayCore, Market

PLUGINS = Path(__file__).parent / "plugins"
if str(PLUGINS) not in sys.path:
    sys.path.append(str(PLUGINS))

KEY = "your-key"
LIMIT_S = 90.0


@pytest.fixture
def until():
    """Wait in the loop until a condition holds."""

    async def wait(condition, what="", limit_s=LIMIT_S):
        deadline = time.monotonic() + limit_s
        while not (found := condition()):
            assert time.monotonic() < deadline, what or "it did not come"
            await asyncio.sleep(0.01)
        return found

    return wait


@pytest.fixture
def databento(monkeypatch):
    """Make a gateway that trades these symbols and takes `KEY`; feeds find it by the environment."""
    started = []

    def start(*symbols, rate=400.0, keys=(KEY,)):
        market = Market(1, instruments=symbols, rate=rate, start_ns=time.time_ns())
        core = GatewayCore(market)
        core.keys = keys
        gateway = Gateway(core)
        gateway.start()
        started.append(gateway)
        monkeypatch.setenv("MDFEEDD_DATABENTO_GATEWAY", f"127.0.0.1:{gateway.port}")
        return gateway

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def terminal(monkeypatch):
    """Have the stand-in for blpapi play these topics in feeds to come."""

    def play(*topics, rate=400.0):
        world = bloomberg.World(1, topics, rate=rate, keep=False)
        monkeypatch.setenv("MDFEEDD_BLPAPI_PATH", bloomberg.path())
        monkeypatch.setenv(bloomberg.VARIABLE, world.to_json())

    return play


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine in a loop of each kind."""
    factory = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def in_loop(coroutine):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(coroutine)

    return in_loop


@pytest.fixture
def made(shm_dir):
    """Make managers on a folder of this test; in the end it is empty and no process is left."""
    from manager_scenes import is_gone

    managers, seen = [], set()

    def make(**options):
        manager = FeedManager(shm_dir=shm_dir, **options)
        managers.append(manager)
        return manager

    make.seen = seen
    yield make
    assert not [pid for pid in seen if not is_gone(pid)]
    assert os.listdir(shm_dir) == []
