"""Real children that hang, and what systemd is told meanwhile."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon import vigil as vigil_module
from mdfeedd.daemon.child import Child
from mdfeedd.daemon.notify import Notifier
from mdfeedd.daemon.plan import ChildPlan
from mdfeedd.daemon.reload import Reloader
from mdfeedd.daemon.supervisor import Limits, State, Supervisor
from mdfeedd.daemon.vigil import signs_of
from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import TICK

P = "daemon_test_plugins"
PATIENCE_S = 120.0
QUICK = Limits(restart_first_s=0.01, restart_base_s=0.02, restart_max_s=0.05, abort_s=0.2)


@pytest.fixture
def manager(tmp_path):
    """What systemd would receive, read as fast as systemd does: the kernel queues ten."""
    address = str(tmp_path / "notify")
    queue: collections.deque[str] = collections.deque()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(address)

        def read():
            while message := ours.recv(4096):
                queue.append(message.decode())

        reader = threading.Thread(target=read)
        reader.start()
        yield SimpleNamespace(address=address, queue=queue)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", address)
        reader.join()


def received(manager):
    """All datagrams since the last look."""
    return [manager.queue.popleft() for _ in range(len(manager.queue))]


def plan_of(shm_dir, *consumers, hang_s=1.0, **options):
    feed = {"name": "f", "vendor": f"{P}:TickingFeed", "hang_s": hang_s, "options": options}
    return config.check(
        {"shm_dir": shm_dir, "metrics": None, "feeds": [feed], "consumers": list(consumers)}
    )


def counter(out, hang_s=1.0):
    return {
        "name": "c",
        "type": f"{P}:CountingConsumer",
        "rings": ["f"],
        "hang_s": hang_s,
        "options": {"out": str(out)},
    }


async def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["f", "c"])
def test_child_that_hangs_is_killed_and_started_again(shm_dir, tmp_path, manager, caplog, name):
    """A stopped process takes no SIGABRT either."""
    plan = plan_of(shm_dir, counter(tmp_path / "out"))
    notifier = Notifier(manager.address, watchdog_s=0.2)

    async def scenario():
        async with Supervisor(plan, limits=QUICK, notifier=notifier) as supervisor:
            child, other = supervisor.find(name), supervisor.find("c" if name == "f" else "f")
            await until(lambda: any(c.alive for c in inspect("f", shm_dir).consumers))
            await until(lambda: all(c.state is State.RUNNING for c in supervisor.children))
            old, other_pid = child.pid, other.pid
            os.kill(old, signal.SIGSTOP)
            await until(lambda: child.hangs and child.restarts)
            await until(lambda: child.state is State.RUNNING and child.pid != old)
            assert child.last_exit == "it gave no sign of life, killed by SIGKILL"
            assert (other.pid, other.hangs) == (other_pid, 0)
            received(manager)
            await until(lambda: "WATCHDOG=1" in received(manager))

    caplog.set_level(logging.INFO, "mdfeedd.daemon")
    asyncio.run(scenario())
    assert "no sign of life for 1." in caplog.text
    assert f"{'feed' if name == 'f' else 'consumer'} {name}: does not take SIGABRT" in caplog.text


def test_worker_that_hangs_says_where(shm_dir, capfd):
    """SIGABRT reaches one that is only busy with the wrong thing: its stack is in the log."""
    plan = config.check(
        {
            "shm_dir": shm_dir,
            "metrics": None,
            "feeds": [{"name": "f", "vendor": f"{P}:StuckFeed", "hang_s": 0.5}],
        }
    )

    async def scenario():
        async with Supervisor(plan, limits=Limits(restart_first_s=60.0)) as supervisor:
            child = supervisor.find("f")
            await until(lambda: child.state is State.BACKOFF)
            assert child.last_exit == "it gave no sign of life, killed by SIGABRT"
            assert child.hangs == 1

    asyncio.run(scenario())
    err = capfd.readouterr().err
    assert "Fatal Python error: Aborted" in err
    assert "in stuck_here" in err


def test_feed_that_hangs_before_it_has_made_its_ring(shm_dir, tmp_path, capfd, monkeypatch):
    """Its reader shows nothing either, and waits as it should."""
    monkeypatch.setattr(vigil_module, "START_S", 0.5)
    plan = config.check(
        {
            "shm_dir": shm_dir,
            "metrics": None,
            "feeds": [{"name": "f", "vendor": f"{P}:RinglessFeed", "hang_s": 0.1}],
            "consumers": [counter(tmp_path / "out", hang_s=0.1)],
        }
    )
    limits = Limits(restart_first_s=60.0, ready_s=0.2)

    async def scenario():
        async with Supervisor(plan, limits=limits) as supervisor:
            supervisor.vigil.round_s = 0.05
            feed, reader = supervisor.find("f"), supervisor.find("c")
            await until(lambda: feed.state is State.BACKOFF)
            assert feed.last_exit == "it gave no sign of life, killed by SIGABRT"
            assert (feed.hangs, reader.hangs) == (1, 0)

    asyncio.run(scenario())
    assert "in stuck_here" in capfd.readouterr().err


def test_busy_consumer_that_has_no_time_to_beat_shows_its_position(shm_dir):
    """Its heartbeat stands still: it never waits."""
    plan = ChildPlan("consumer", "c", "p", "m:C", rings=("f", "none"))
    with (
        Writer("f", 256, directory=shm_dir) as writer,
        Reader("f", "oldest", "c", directory=shm_dir) as reader,
    ):
        child = Child(plan, pid=os.getpid())
        signs = []
        for _ in range(3):
            writer.publish(np.zeros(10, TICK))
            assert len(reader.read(timeout=0)) == 10
            signs.append(signs_of(child, {"f": inspect("f", shm_dir)}))
        assert len(set(signs)) == 3
        assert len({sign[0] for sign in signs}) == 1, "the heartbeat"
        assert signs_of(Child(plan, pid=1), {"f": inspect("f", shm_dir)}) == (), "another process"
        assert signs_of(child, {}) == ()


def test_hang_that_is_not_looked_for(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir, hang_s=0), limits=QUICK) as supervisor:
            supervisor.vigil.round_s = 0.05
            child = supervisor.find("f")
            os.kill(child.pid, signal.SIGSTOP)
            before = inspect("f", shm_dir).tail
            for _ in range(60):
                await asyncio.sleep(0.05)
            assert (child.hangs, inspect("f", shm_dir).tail) == (0, before)
            os.kill(child.pid, signal.SIGCONT)

    asyncio.run(scenario())


def test_systemd_is_told_of_start_and_stop(shm_dir, tmp_path, manager):
    """READY comes after the rings; the watchdog is fed from then on; STOPPING is the last."""
    notifier = Notifier(manager.address, watchdog_s=0.2)
    there = []

    def ready():
        return any(message.startswith("READY=1") for message in manager.queue)

    class Looking(Notifier):
        def ready(self, status=""):
            there.append(inspect("f", shm_dir).writer_alive)
            super().ready(status)

    notifier.__class__ = Looking

    async def scenario():
        plan = plan_of(shm_dir, counter(tmp_path / "out"))
        async with Supervisor(plan, limits=QUICK, notifier=notifier):
            await until(ready)
            told = next(m for m in received(manager) if m.startswith("READY=1"))
            assert "STATUS=1 feed running, 1 consumer running, " in told
            assert told.endswith(" 0 gaps")
            await until(lambda: "WATCHDOG=1" in received(manager))

    asyncio.run(scenario())
    assert there == [True]
    asyncio.run(until(lambda: any(m.startswith("STOPPING=1") for m in manager.queue)))
    last = [message for message in received(manager) if message != "WATCHDOG=1"]
    assert last[-1].startswith("STOPPING=1\nSTATUS=stopping")


def test_ring_that_cannot_be_looked_at_does_not_hide_the_others(shm_dir, monkeypatch, caplog):
    def broken(name, folder):
        if name == "f":
            raise RuntimeError("a bug")
        return inspect(name, folder)

    def told():
        return [r for r in caplog.records if r.getMessage() == "ring f cannot be looked at"]

    async def scenario():
        feeds = [{"name": name, "vendor": f"{P}:TickingFeed", "hang_s": 1.0} for name in ("f", "g")]
        plan = config.check({"shm_dir": shm_dir, "metrics": None, "feeds": feeds})
        async with Supervisor(plan, limits=QUICK) as supervisor:
            vigil, children = supervisor.vigil, list(supervisor.children)
            await until(lambda: set(vigil._infos(children)) == {"f", "g"})
            monkeypatch.setattr(vigil_module, "inspect", broken)
            assert set(vigil._infos(children)) == {"g"}

    asyncio.run(scenario())
    assert told()[0].exc_info


def test_watchdog_is_not_fed_by_a_round_that_fails(shm_dir, manager, monkeypatch, caplog):
    notifier = Notifier(manager.address, watchdog_s=0.2)

    failed = "the round of looks at the children failed"

    def broken(*_):
        raise RuntimeError("a bug")

    async def scenario():
        async with Supervisor(plan_of(shm_dir), limits=QUICK, notifier=notifier) as supervisor:
            await until(lambda: "WATCHDOG=1" in received(manager))
            monkeypatch.setattr(supervisor.vigil, "_infos", broken)
            await until(lambda: caplog.text.count(failed) > 1)
            received(manager)  # those that were on the way
            await until(lambda: caplog.text.count(failed) > 4)
            assert received(manager) == []
            monkeypatch.undo()
            await until(lambda: "WATCHDOG=1" in received(manager))

    asyncio.run(scenario())


def test_reload_is_told_and_a_refused_one_stays_in_the_status(shm_dir, tmp_path, manager):
    def ready():
        return any(message.startswith("READY=1") for message in manager.queue)

    file = tmp_path / "mdfeedd.yaml"
    good = (
        f"shm_dir: {shm_dir}\nmetrics: null\nfeeds:\n  - {{name: f, vendor: '{P}:TickingFeed'}}\n"
    )
    file.write_text(good)
    notifier = Notifier(manager.address)

    async def scenario():
        async with Supervisor(config.load(file), limits=QUICK, notifier=notifier) as supervisor:
            reloader = Reloader(supervisor, file)
            await until(ready)
            for text, well in ((good, True), ("feeds: []", False), (good, True)):
                file.write_text(text)
                received(manager)
                assert await reloader.reload() is well
                await until(ready)
                messages = received(manager)
                begun = next(i for i, m in enumerate(messages) if m.startswith("RELOADING=1\nMON"))
                done = next(i for i, m in enumerate(messages) if m.startswith("READY=1"))
                assert begun < done
                assert ("the last reload was refused" in supervisor.vigil.line()) is not well

    asyncio.run(scenario())
