"""Managers in scripts of their own: without a guard around the main program, interrupted, forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

HEAD = """
import asyncio, sys, time
from mdfeedd import FeedConfig, FeedManager, Vendor

def on_batch(ticks):
    print(f"Received {len(ticks)} ticks", flush=True)

manager = FeedManager(on_batch=on_batch, shm_dir=sys.argv[1])
manager.add_feed(FeedConfig(Vendor.SYNTHETIC, options={"rate": 2000.0}))
"""
STARTED = "async def main():\n    await manager.start()\n    await asyncio.sleep(0.5)\n"


@pytest.fixture
def script(shm_dir, spawn, tmp_path):
    """Start a script that makes a manager and goes on as given; in the end its folder is empty."""

    def start(text, *, guard=False):
        del guard
        path = tmp_path / "desk.py"
        path.write_text(HEAD + textwrap.dedent(text))
        return spawn(
            [sys.executable, str(path), shm_dir],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    yield start
    assert os.listdir(shm_dir) == []


def children_of(pid):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def are_gone(pids, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_run_ends_in_order_by_a_signal(script, number, status):
    running = script("manager.run()\nprint('after', manager.stats().feeds['synthetic'].state)")
    assert running.stdout.readline().startswith("Received")
    pids = children_of(running.pid)
    assert pids
    running.send_signal(number)
    said, trouble = running.communicate(timeout=60)
    assert running.returncode == status
    assert said.splitlines()[-1] == "after stopped"
    assert trouble == ""
    assert are_gone(pids) == []


def test_second_interrupt_kills(script):
    running = script(
        """
        async def stuck(ticks):
            print("stuck", flush=True)
            await asyncio.Event().wait()
        manager = FeedManager(on_batch=stuck, shm_dir=sys.argv[1])
        manager.add_feed(FeedConfig(Vendor.SYNTHETIC))
        manager.run()
        """
    )
    assert running.stdout.readline() == "stuck\n"
    pids = children_of(running.pid)
    running.send_signal(signal.SIGINT)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, trouble = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGINT or "KeyboardInterrupt" in trouble
    assert are_gone(pids) == []


def test_interrupt_of_a_loop_of_ones_own(script):
    running = script(
        """
        async def main():
            async with manager:
                await asyncio.sleep(600)
        asyncio.run(main())
        """
    )
    assert running.stdout.readline().startswith("Received")
    pids = children_of(running.pid)
    running.send_signal(signal.SIGINT)
    _, trouble = running.communicate(timeout=60)
    assert trouble.rstrip().endswith("KeyboardInterrupt")
    assert "never retrieved" not in trouble
    assert are_gone(pids) == []


@pytest.mark.parametrize(
    ("text", "last"),
    [
        pytest.param(STARTED + "asyncio.run(main())\n", "", id="no stop"),
        pytest.param(
            STARTED + "    raise LookupError('mine')\nasyncio.run(main())\n",
            "LookupError: mine",
            id="exception",
        ),
        pytest.param(STARTED + "    sys.exit(3)\nasyncio.run(main())\n", "", id="exit"),
        pytest.param(
            STARTED
            + "loop = asyncio.new_event_loop()\nloop.run_until_complete(main())\nsys.exit(3)\n",
            None,
            id="loop left open",
        ),
    ],
)
def test_script_that_forgets_to_stop_leaves_nothing(script, text, last):
    running = script(text)
    assert running.stdout.readline().startswith("Received")
    pids = children_of(running.pid)
    _, trouble = running.communicate(timeout=60)
    assert are_gone(pids) == []
    if last is not None:
        assert (trouble.strip().splitlines() or [""])[-1] == last


def test_killed_script_takes_its_feeds_with_it(script, shm_dir):
    running = script("manager.run()")
    assert running.stdout.readline().startswith("Received")
    pids = children_of(running.pid)
    running.kill()
    running.communicate()
    assert are_gone(pids) == []
    (left,) = Path(shm_dir).iterdir()  # nobody could remove it: the next manager does
    old = time.time() - 3600
    os.utime(left, (old, old))
    after = script(STARTED + "    await manager.stop()\nasyncio.run(main())\n")
    after.communicate(timeout=60)
    assert after.returncode == 0


def test_exception_of_a_callback_is_that_of_run(script):
    running = script(
        """
        def bad(ticks):
            raise LookupError("mine")
        manager = FeedManager(on_batch=bad, shm_dir=sys.argv[1])
        manager.add_feed(FeedConfig(Vendor.SYNTHETIC))
        manager.run()
        """
    )
    _, trouble = running.communicate(timeout=60)
    assert running.returncode == 1
    assert trouble.strip().splitlines()[-1] == "LookupError: mine"


def test_importing_starts_nothing_and_reads_no_daemon():
    text = """
        import sys, threading
        import mdfeedd
        assert "numpy" not in sys.modules
        mdfeedd.FeedManager, mdfeedd.FeedConfig, mdfeedd.Vendor
        loaded = {"pydantic", "yaml", "prometheus_client", "uvloop"} & set(sys.modules)
        assert not loaded, loaded
        assert threading.active_count() == 1
        manager = mdfeedd.FeedManager(on_batch=print)
        assert threading.active_count() == 1
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=True, timeout=60)


def test_from_standard_input_as_a_notebook_does(shm_dir):
    text = HEAD.replace("sys.argv[1]", repr(shm_dir)) + textwrap.dedent(
        """
        loop = asyncio.new_event_loop()
        for cell in ("await manager.start()", "await asyncio.sleep(0.5)", "await manager.stop()"):
            scope = {"manager": manager, "asyncio": asyncio}
            exec("async def cell():\\n    " + cell, scope)
            loop.run_until_complete(scope["cell"]())
        loop.close()
        print("done", manager.stats().feeds["synthetic"].delivered > 100)
        """
    )
    ran = subprocess.run(
        [sys.executable, "-"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines()[-1] == "done True"
    assert ran.stderr == ""
    assert os.listdir(shm_dir) == []


@pytest.mark.parametrize("ends", ["sys.exit(0)", "raise LookupError", "os._exit(0)"])
def test_forked_child_leaves_the_feeds_alone(script, ends):
    running = script(
        f"""
        import os
        loop = asyncio.new_event_loop()
        loop.run_until_complete(manager.start())
        child = os.fork()
        if child == 0:
            assert not manager.running
            asyncio.new_event_loop().run_until_complete(manager.stop())
            {ends}
        os.waitpid(child, 0)
        async def rest():
            before = manager.stats().feeds["synthetic"].published
            while (now := manager.stats().feeds["synthetic"]).published <= before:
                await asyncio.sleep(0.01)
            print("still", now.state, now.restarts, os.path.isdir(manager.directory), flush=True)
            await manager.stop()
        loop.run_until_complete(rest())
        loop.close()
        """
    )
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "still running 0 True" in said.splitlines()


def test_two_managers_in_one_process(script):
    running = script(
        """
        counts = {"a": 0, "b": 0}
        def counter(name):
            def on_batch(ticks):
                counts[name] += len(ticks)
            return on_batch
        two = [FeedManager(on_batch=counter(name), shm_dir=sys.argv[1]) for name in counts]
        for one in two:
            one.add_feed(FeedConfig(Vendor.SYNTHETIC, options={"rate": 2000.0}))
        async def main():
            async with two[0]:
                async with two[1]:
                    while min(counts.values()) < 100:
                        await asyncio.sleep(0.01)
                before = counts["a"]
                while counts["a"] < before + 100:
                    await asyncio.sleep(0.01)
            print("both", flush=True)
        asyncio.run(main())
        """
    )
    said, trouble = running.communicate(timeout=60)
    assert (said, trouble) == ("both\n", "")
