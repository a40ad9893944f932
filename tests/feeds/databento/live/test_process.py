"""The feed as a process of its own: killed and begun again, its exit status, and what others can see of its key."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.plan import Assignment, LogPlan
from mdfeedd.feeds.databento.options import Subscription
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.databento import KEY, Fault, Habits, Market, Script
from mdfeedd.tick import GapReason, Kind

REPOSITORY = Path(__file__).resolve().parents[4]
LIMIT_S = 60
SECOND = 1_000_000_000


def told(one, **changed):
    """The worker's plan for a life's feed."""
    options = dataclasses.asdict(one.options)
    options["subscriptions"] = [
        {**each, "symbols": list(each["symbols"])} for each in options["subscriptions"]
    ]
    feed = {
        "name": one.plan.name, "vendor": "databento", "options": {**options, **changed},
        "capacity": one.plan.capacity, "instruments_capacity": one.plan.instruments_capacity,
    }  # fmt: skip
    plan = config.check({"shm_dir": one.plan.directory, "feeds": [feed]})
    return Assignment(plan.feeds[0], LogPlan(level="debug"), os.getpid(), tuple(sys.path))


class Worker:
    """`python -m mdfeedd.daemon.worker` with a plan, as the supervisor starts it."""

    def __init__(self, assignment, log, **more):
        self.log = log
        reading, writing = os.pipe()
        name = assignment.child.name
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "mdfeedd.daemon.worker",
                    "feed",
                    name,
                    "--plan-fd",
                    str(reading),
                ],
                pass_fds=[reading],
                stderr=stderr,
                **{"cwd": REPOSITORY, **more},
            )
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(assignment.to_json())

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


@pytest.fixture
def worker(tmp_path):
    made = []

    def start(one, *, changed=None, **more):
        made.append(Worker(told(one, **(changed or {})), tmp_path / "log", **more))
        return made[-1]

    yield start
    for one in made:
        one.end(signal.SIGKILL)


def tail(one):
    try:
        return inspect(one.plan.name, one.plan.directory).tail
    except RingError:
        return 0


def delivers(one, records=0):
    """Until a new session has sent so many records, and the feed has told what was missing before it."""
    seen = one.seen
    one.until(lambda: len(one.core.sessions) > seen, "a session")
    one.seen = len(one.core.sessions)
    one.until(lambda: len(one.core.sessions[-1].sent) > records, "records")
    one.until(lambda: inspected(one, "sessions") > one.delivered, "a session that delivers")
    if one.delivered:
        since_ns, many = one.core.sessions[-1].connected_ns, len(one.options.subscriptions)
        one.until(lambda: sum(hole[3] >= since_ns for hole in one.holes()) >= many, "its holes")
    one.delivered = inspected(one, "sessions")


def is_recovered(one):
    """After the last GAP, every subscription has been recovered."""
    kinds = [int(kind) for kind in one.ticks()["kind"] if kind in (Kind.GAP, Kind.RECOVERED)]
    return kinds[-len(one.options.subscriptions) :].count(Kind.RECOVERED) == len(
        one.options.subscriptions
    )


def inspected(one, counter):
    try:
        return inspect(one.plan.name, one.plan.directory).counters[counter]
    except RingError:
        return 0


# kill -9


def past(schemas, recovery, *, seconds, rate, start=None):
    """A market that began a while ago, and subscriptions that want all of it."""
    start_ns = time.time_ns() - seconds * SECOND
    market = Market(5, schemas=schemas, rate=rate, start_ns=start_ns, publishers=2, backward=True)
    asked = str(start_ns) if start is None else start
    return market, tuple(
        Subscription(schema, ("ALL_SYMBOLS",), recovery=recovery, start=asked) for schema in schemas
    )


@pytest.mark.parametrize(
    ("schemas", "form", "start"),
    [
        (("mbp-1",), {}, None),
        (("mbp-1",), {}, "0"),
        (("tbbo", "status"), {}, None),
        (("mbp-1",), {"encoding": "json"}, None),
        (("trades", "bbo-1s"), {"compression": "zstd"}, None),
    ],
)
def test_killed_in_the_middle_of_a_replay_again_and_again(
    life, truth, worker, schemas, form, start
):
    market, asked = past(schemas, "replay", seconds=20, rate=300.0, start=start)
    habits = Habits(heartbeat_s=0.3, max_connects_per_s=1000, max_sessions=1000)
    one = life(schemas, market=market, subscriptions=asked, habits=habits, **form)
    market.run_until(time.time_ns())
    total = len(market.timeline(schemas[0]))
    assert total > 500
    for goal in (1, total // 10, total // 3, total // 3 + 1, total * 2 // 3):
        process = worker(one)
        delivers(one)
        one.until(lambda goal=goal: tail(one) >= goal, f"tick {goal}")
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    process = worker(one)
    delivers(one)
    one.until(lambda: is_recovered(one), "recovery")
    one.until(lambda: one.core.sessions[-1].sent[-1].index_ns > time.time_ns() - SECOND, "live")
    assert process.end() == 0
    held = truth(one)
    held.check()
    assert not held.open or start == "0"  # that reaches beyond replay_limit_s
    first_ns = int(asked[0].start) or market.start_ns
    assert next(t for r, t in held._expected(schemas[0]) if r.key_ns >= first_ns) in held.rows
    assert len(held.rows) > total * 2 // 3
    assert {reason for _, reason, _, _ in one.holes()} <= {GapReason.RESTART, GapReason.DISCONNECT}


def test_killed_while_live_and_begun_again(life, truth, worker):
    habits = Habits(heartbeat_s=0.3, max_connects_per_s=1000, max_sessions=1000)
    market = Market(6, schemas=("mbp-1",), rate=2000.0, start_ns=time.time_ns())
    one = life(("mbp-1",), market=market, recovery="replay", habits=habits)
    for turn in range(4):
        process = worker(one)
        delivers(one, 300 * turn)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    process = worker(one)
    delivers(one)
    one.until(lambda: is_recovered(one), "recovery")
    assert process.end() == 0
    held = truth(one)
    held.check()
    assert not held.open
    assert len(held.holes) >= 4
    assert {reason for _, reason, _, _ in one.holes()} == {GapReason.RESTART}


def test_killed_without_replay_tells_the_hole(life, truth, worker):
    one = life(("trades", "bbo-1s"), habits=Habits(heartbeat_s=0.3, max_sessions=1000))
    for _ in range(2):
        begun = one.count() if tail(one) else 0
        process = worker(one)
        delivers(one)
        one.until(lambda begun=begun: one.count() > begun + 20, "ticks")
        process.end(signal.SIGKILL)
    assert [(line, reason) for line, reason, _, _ in one.holes()] == [
        (1, GapReason.RESTART),
        (2, GapReason.RESTART),
    ]
    truth(one).check()


def test_stopped_in_order_and_begun_again_tells_the_hole_too(life, truth, worker):
    one = life(recovery="replay", habits=Habits(heartbeat_s=0.3, max_sessions=1000))
    for turn in (1, 2):
        process = worker(one)
        delivers(one, 100)
        one.until(lambda turn=turn: len(one.holes(Kind.RECOVERED)) == turn - 1, "recovery")
        assert process.end() == 0
    assert len(one.holes()) == 1
    held = truth(one)
    held.check()
    assert not held.open


# exit status


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (
            "bad_key",
            77,
            "refused: Authentication failed.: check the key at databento.com/portal/keys",
        ),
        ("error:code=2,at=described", 77, "error 2: API key was deactivated"),
        ("error:code=5,at=described", 78, "error 5: Invalid subscription: see `subscriptions`"),
        ("version:code=4", 78, "upgrade mdfeedd, or set accept_newer_dbn"),
    ],
)
def test_exit_status(life, worker, fault, status, words):
    one = life(script=Script((Fault.parse(fault),)))
    process = worker(one)
    assert process.process.wait(LIMIT_S) == status
    log = process.log.read_text()
    assert words in log
    assert "Traceback" not in log
    assert KEY not in log
    assert len(one.core.sessions) == 1


def test_schema_that_the_dataset_does_not_have(life, worker):
    market = Market(1, schemas=("trades",), start_ns=time.time_ns())
    one = life(("mbp-1",), market=market)
    process = worker(one)
    assert process.process.wait(LIMIT_S) == 78
    assert "mbp-1 is not available for this dataset" in process.log.read_text()


def test_dataset_that_is_another_one(life, worker):
    one = life()
    process = worker(one, changed={"dataset": "XNAS.ITCH"})
    assert process.process.wait(LIMIT_S) == 78
    assert "see `dataset`" in process.log.read_text()


def test_no_key_at_all(life, worker):
    one = life()
    changed = {"key_file": "", "key_env": "MDFEEDD_NO_SUCH_KEY"}
    process = worker(one, changed=changed)
    assert process.process.wait(LIMIT_S) == 77
    assert "set the environment variable MDFEEDD_NO_SUCH_KEY, or say" in process.log.read_text()
    assert not one.core.sessions


# the key


def test_key_is_not_seen_from_outside(life, worker, tmp_path):
    one = life()
    process = worker(one)
    one.until(lambda: one.count() > 50, "ticks")
    assert KEY not in told(one).to_json().decode()
    folder = Path(f"/proc/{process.process.pid}")
    for name in ("cmdline", "comm", "stat", "status", "maps"):
        assert KEY.encode() not in (folder / name).read_bytes(), name
    if os.geteuid() == 0:  # others may not even look
        assert KEY.encode() not in (folder / "environ").read_bytes()
    assert process.end() == 0
    assert "session 1760000001" in process.log.read_text()
    assert KEY not in process.log.read_text()


def cored(process, folder):
    """Whether it left a core, after SIGABRT."""
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGABRT
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status) or any(p.name.startswith("core") for p in folder.iterdir())


@pytest.fixture
def core_files():
    """Processes started meanwhile may leave some, and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def test_no_core_file_with_the_key(life, worker, tmp_path, core_files):
    """The kernel writes none of a process that is not dumpable; of another one it does, or nothing is shown here."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=folder)
    with other:
        if not cored(other, folder):
            pytest.skip("no process leaves a core file here")
    for path in folder.iterdir():
        path.unlink()
    one = life()
    process = worker(one, cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    one.until(lambda: one.count() > 20, "ticks")
    assert not cored(process.process, folder)


def test_feed_is_not_dumpable(life, dumpable):
    """What keeps core files away, and ptrace by others."""
    libc = ctypes.CDLL(None)
    one = life().start()
    one.until(lambda: one.count() > 20, "ticks")
    assert libc.prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
    one.end()
