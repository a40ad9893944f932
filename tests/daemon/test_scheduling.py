"""CPUs and priorities: what a configuration may say, and what real workers then have."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdfeedd.daemon import config, numa, scheduling
from mdfeedd.daemon.plan import ChildPlan
from mdfeedd.daemon.supervisor import State, Supervisor
from mdfeedd.ring.inspect import inspect

P = "daemon_test_plugins"
HERE = sorted(os.sched_getaffinity(0))
FORMS = "must be normal, fifo-1 to fifo-99, rr-1 to rr-99, nice-20 to nice+19, batch or idle"


@pytest.fixture(autouse=True)
def nothing_of_it_stays():
    """The process of the tests, and all that it starts, keeps its CPUs."""
    yield
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), HERE)


@pytest.mark.parametrize(
    "text", ["normal", "fifo-1", "fifo-99", "rr-5", "nice+5", "nice-20", "nice+19", "batch", "idle"]
)
def test_priority(text):
    assert scheduling.check_priority(text) == text


@pytest.mark.parametrize(
    "text", ["", "fifo", "fifo-0", "fifo-100", "rr-100", "nice5", "nice+20", "nice-21", "FIFO-5"]
)
def test_priority_that_there_is_not(text):
    with pytest.raises(ValueError, match=FORMS.replace("+", r"\+")):
        scheduling.check_priority(text)


def test_wrong_keys_have_their_place_in_the_file():
    text = (
        "feeds:\n  - name: f\n    vendor: synthetic\n    cpus: [0, -1]\n    priority: fifo\n"
        "    hang_s: -3\nconsumers:\n"
        "  - {name: b, type: bars, rings: [f], cpus: [1, 1], options: {ring: x}}\n"
    )
    with pytest.raises(config.ConfigError) as found:
        config.parse(text, "f.yaml")
    told = [str(problem).splitlines()[0] for problem in found.value.problems]
    assert told[0].startswith("f.yaml:4:11: error: feeds[0].cpus")
    assert "a CPU has a number from 0 to 8191, not -1" in told[0]
    assert told[1].startswith("f.yaml:5:15: error: feeds[0].priority")
    assert told[2].startswith("f.yaml:6:13: error: feeds[0].hang_s")
    assert "CPU 1 is named twice" in told[3]


def test_level_that_rlimit_rtprio_must_reach():
    levels = [scheduling.real_time_level(p) for p in ("fifo-10", "rr-3", "nice-5", "normal")]
    assert levels == [10, 3, 0, 0]


def test_lists_of_the_kernel():
    assert list(numa.parse_list("0-2,5,8-9\n")) == [0, 1, 2, 5, 8, 9]
    assert list(numa.parse_list("\n")) == []
    assert scheduling.written({9, 0, 1, 2, 5, 8}) == "0-2,5,8-9"
    with pytest.raises(ValueError):
        list(numa.parse_list("x"))


def test_cpu_that_this_machine_does_not_have():
    (told,) = scheduling.apply(ChildPlan("feed", "f", "p", "m:C", cpus=(HERE[0], 4000)))
    assert told.startswith("cpus: there is no CPU 4000 here, only ")
    assert os.sched_getaffinity(0) == set(HERE), "half of it is not done either"


def test_what_the_kernel_refuses_is_one_sentence(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    for name in ("sched_setaffinity", "sched_setscheduler", "setpriority"):
        monkeypatch.setattr(os, name, refuse)
    plans = [
        ChildPlan("feed", "f", "p", "m:C", cpus=(HERE[0],), priority=priority)
        for priority in ("fifo-10", "nice-5")
    ]
    (pinned, urgent), (_, nicer) = map(scheduling.apply, plans)
    assert pinned.startswith(f"cpus: the kernel refuses to pin it to {HERE[0]}: Operation not")
    assert "refuses fifo-10: Operation not permitted" in urgent
    assert "LimitRTPRIO=10" in urgent
    assert "LimitNICE=" in nicer


def attached(shm_dir, ring):
    """A consumer that reads has applied what it was told."""
    return any(c.alive for c in inspect(ring, shm_dir).consumers)


def oom_score(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_workers_run_where_and_as_they_are_told(shm_dir, tmp_path):
    data = {
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": [
            {
                "name": "f",
                "vendor": f"{P}:TickingFeed",
                "cpus": [HERE[-1]],
                "priority": "nice+3",
            },
            {"name": "g", "vendor": f"{P}:TickingFeed", "priority": "batch"},
        ],
        "consumers": [
            {
                "name": "c",
                "type": f"{P}:CountingConsumer",
                "rings": ["f"],
                "options": {"out": str(tmp_path / "out")},
            }
        ],
    }

    async def scenario():
        async with Supervisor(config.check(data)) as supervisor:
            f, g, c = (supervisor.find(name) for name in "fgc")
            deadline = time.monotonic() + 60
            while f.state is not State.RUNNING or not attached(shm_dir, "f"):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            for task in os.listdir(f"/proc/{f.pid}/task"):
                assert os.sched_getaffinity(int(task)) == {HERE[-1]}
            assert os.sched_getaffinity(g.pid) == set(HERE)
            own = os.getpriority(os.PRIO_PROCESS, 0)
            assert os.getpriority(os.PRIO_PROCESS, f.pid) == 3
            assert os.getpriority(os.PRIO_PROCESS, g.pid) == own
            assert os.sched_getscheduler(g.pid) == os.SCHED_BATCH
            scores = [oom_score(f.pid), oom_score(c.pid)]
            assert scores[1] == min(1000, scores[0] + scheduling.CONSUMER_OOM_SHIFT)

    asyncio.run(scenario())


def test_node_that_this_machine_does_not_have():
    (told,) = scheduling.apply(ChildPlan("feed", "f", "p", "m:C", numa_node=999))
    assert told.startswith("numa_node: ")
    assert os.sched_getaffinity(0) == set(HERE), "nor is it pinned to the CPUs of that node"


def test_what_the_kernel_tells_of_nodes(tmp_path):
    assert numa.nodes(tmp_path) == set()
    assert numa.cpus_of(0, tmp_path) == ()
    (tmp_path / "online").write_text("0-1\n")
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1/cpulist").write_text("4-6,9\n")
    assert numa.nodes(tmp_path) == {0, 1}
    assert numa.cpus_of(1, tmp_path) == (4, 5, 6, 9)


def test_cpu_far_from_the_node_is_told(monkeypatch):
    monkeypatch.setattr(numa, "prefer", lambda _node: "")
    monkeypatch.setattr(numa, "cpus_of", lambda _node: (4000,))
    plan = ChildPlan("feed", "f", "p", "m:C", cpus=(HERE[0],), numa_node=1)
    (told,) = scheduling.apply(plan)
    assert told.startswith(f"numa_node: CPU {HERE[0]} is not of node 1")


@pytest.mark.skipif(
    platform.machine() not in {"x86_64", "aarch64"},
    reason="no system call of this machine is known",
)
def test_node_that_cannot_be_had_is_told_with_the_reason(monkeypatch):
    monkeypatch.setattr(numa, "nodes", lambda: {0, numa.MAX_NODE})
    assert "there is no node 7 here, only 0, 1023" in numa.prefer(7)
    told = numa.prefer(numa.MAX_NODE)  # the kernel itself knows better
    assert told.startswith("numa_node: the kernel refuses memory of node 1023: ")
    assert told.endswith(
        (os.strerror(errno.EINVAL), os.strerror(errno.ENOSYS), "SystemCallFilter?")
    )


needs_nodes = pytest.mark.skipif(
    not numa.nodes(), reason="this kernel tells of no NUMA nodes: nothing can be asked for"
)
NODE = min(numa.nodes(), default=0)
PLACE = """
import os, sys
from mdfeedd.daemon import scheduling
from mdfeedd.daemon.plan import ChildPlan
from mdfeedd.ring import Writer

print(scheduling.apply(ChildPlan("feed", "f", "p", "m:C", numa_node=int(sys.argv[2]))))
with Writer("f", 1024, directory=sys.argv[1]):
    for line in open("/proc/self/numa_maps"):
        if f"#{os.stat(sys.argv[1] + '/mdfeedd.f').st_ino}" in line:  # made before it had its name
            print(line.strip())
print(sorted(os.sched_getaffinity(0)))
"""


@needs_nodes
def test_memory_of_a_ring_comes_from_the_node(shm_dir):
    """In a process of its own: the policy stays with the thread."""
    done = subprocess.run(
        [sys.executable, "-c", PLACE, shm_dir, str(NODE)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    refusals, ring, cpus = done.stdout.splitlines()
    if "refuses" in refusals:
        pytest.skip(f"set_mempolicy is not allowed here: {refusals}")
    assert refusals == "[]"
    assert re.search(rf"\bN{NODE}=\d+", ring), "its pages lie there"
    assert set(map(int, re.findall(r"\d+", cpus))) <= set(numa.cpus_of(NODE))
