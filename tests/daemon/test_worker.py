"""A worker alone: what it refuses, how it ends, and with which status."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.plan import Assignment, LogPlan
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect

P = "daemon_test_plugins"
REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 120


def assignment(shm_dir, out="", name="f", **options):
    feed = {"name": "f", "vendor": f"{P}:TickingFeed", "options": options if name == "f" else {}}
    data = {"shm_dir": shm_dir, "feeds": [feed]}
    if name == "c":
        kind = f"{P}:CountingConsumer"
        options = {"out": str(out), **options}
        data["consumers"] = [{"name": "c", "type": kind, "rings": ["f"], "options": options}]
    plan = config.check(data)
    child = plan.feeds[0] if name == "f" else plan.consumers[0]
    return Assignment(child, LogPlan(), os.getpid(), tuple(sys.path))


@pytest.fixture
def start(spawn):
    def begin(data, kind="feed", name="f", flags=(), **env):
        reading, writing = os.pipe()
        module = ["-m", "mdfeedd.daemon.worker", kind, name, "--plan-fd", str(reading)]
        process = spawn(
            [sys.executable, *flags, *module],
            pass_fds=[reading],
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, **env},
        )
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        return process

    return begin


@pytest.fixture
def run(start):
    def complete(data, *args, **kwargs):
        process = start(data, *args, **kwargs)
        _, stderr = process.communicate(timeout=LIMIT_S)
        return process.returncode, stderr.decode()

    return complete


def wait_for(condition, process):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)


def published(shm_dir):
    try:
        return inspect("f", shm_dir).tail
    except RingError:
        return 0


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"{}", b"\x00" * 100, b'{"child": {"kind": "feed", "name": "f"}}']
)
def test_garbage_plan_is_refused_in_one_sentence(data, run):
    code, stderr = run(data)
    assert code == 78
    assert stderr.startswith("mdfeedd worker: the plan of feed f cannot be used: ")
    assert stderr.count("\n") == 1


def test_plan_of_another_child_is_refused(shm_dir, run):
    code, stderr = run(assignment(shm_dir).to_json(), "feed", "g")
    assert code == 78
    assert "the plan is that of feed f, not of feed g" in stderr


def test_class_that_is_gone_is_refused(shm_dir, run):
    told = assignment(shm_dir)
    child = dataclasses.replace(told.child, target=f"{P}:Gone")
    code, stderr = run(dataclasses.replace(told, child=child).to_json())
    assert code == 78
    assert "has no class Gone" in stderr
    assert "Traceback" not in stderr


def test_options_of_another_version_are_refused(shm_dir, run):
    told = assignment(shm_dir)
    child = dataclasses.replace(told.child, options={"no_such_option": 1})
    code, stderr = run(dataclasses.replace(told, child=child).to_json())
    assert code == 78
    assert "does not take these options" in stderr


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_python_without_assertions_is_refused(shm_dir, how, run):
    data = assignment(shm_dir).to_json()
    env = {"PYTHONOPTIMIZE": "1"} if how == "environment" else {}
    code, stderr = run(data, flags=("-O",) if how == "flag" else (), **env)
    assert code == 78
    assert "python -O" in stderr


def test_end_of_the_work_is_status_0(shm_dir, run):
    code, stderr = run(assignment(shm_dir, total=100).to_json())
    assert (code, stderr) == (0, "")
    assert published(shm_dir) == 100


def test_crash_is_status_70_and_one_traceback(shm_dir, run):
    code, stderr = run(assignment(shm_dir, crash=True).to_json())
    assert code == 70
    assert stderr.count("Traceback") == 1
    assert "feed f: crashed" in stderr
    assert "RuntimeError: a bug in the feed" in stderr


def test_what_is_missing_outside_is_status_69_and_one_sentence(shm_dir, tmp_path, run):
    told = assignment(shm_dir, tmp_path / "out", "c", missing=True)
    code, stderr = run(told.to_json(), "consumer", "c")
    assert code == 69
    assert stderr.count("\n") == 1
    assert f"consumer c: no such folder: {tmp_path / 'out'}" in stderr


@pytest.mark.parametrize("status", [77, 78, 3])
def test_status_that_the_feed_asks_for_is_passed_on(shm_dir, status, run):
    assert run(assignment(shm_dir, exit_status=status).to_json())[0] == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_and_flushes(shm_dir, tmp_path, number, start):
    feed = start(assignment(shm_dir).to_json())
    wait_for(lambda: published(shm_dir) > 0, feed)
    told = assignment(shm_dir, tmp_path / "out", "c")
    consumer = start(told.to_json(), "consumer", "c")
    wait_for(lambda: any(c.records for c in inspect("f", shm_dir).consumers), consumer)
    for process in (consumer, feed):
        process.send_signal(number)
        process.communicate(timeout=LIMIT_S)
    assert (feed.returncode, consumer.returncode) == (0, 0)
    assert inspect("f", shm_dir).state_text == "closed"
    assert (tmp_path / "out").exists()


def test_closed_stderr_is_no_reason_to_die(shm_dir, start):
    feed = start(assignment(shm_dir, total=5000, pause_s=0.0).to_json())
    feed.stderr.close()
    assert feed.wait(timeout=LIMIT_S) == 0


def test_orphan_ends_at_once(shm_dir, run):
    told = dataclasses.replace(assignment(shm_dir), supervisor_pid=1)
    code, _ = run(told.to_json())
    assert code == 0
    assert published(shm_dir) == 0


def test_worker_pays_for_nothing_of_the_supervisor():
    script = "import mdfeedd.daemon.worker, sys; print(*sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout.split()
    assert not {"pydantic", "yaml", "prometheus_client", "asyncio", "rich"} & set(modules)


SHORT_OF_MEMORY = """
import os, resource, signal, threading, time
from mdfeedd.daemon.worker import stop_on_signals

stop = threading.Event()
stop_on_signals(stop)
pages = int(open("/proc/self/statm").read().split()[0])
unlimited = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), unlimited))
os.kill(os.getpid(), signal.SIGTERM)
assert not stop.wait(0.5), "there was memory for a thread: nothing was tested"
resource.setrlimit(resource.RLIMIT_AS, (unlimited, unlimited))
assert stop.wait(30), "the signal was forgotten"
"""


def test_told_to_end_while_there_is_no_memory_for_a_thread_it_ends_when_there_is():
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
