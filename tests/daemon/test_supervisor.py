"""The supervisor with real child processes: kills, crash loops, stops in order, death of the supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.supervisor import Limits, StartError, State, Supervisor
from mdfeedd.ring import Reader, Writer, list_rings
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.segment import ring_path

P = "daemon_test_plugins"
PATIENCE_S = 120.0
QUICK = Limits(restart_first_s=0.01, restart_base_s=0.02, restart_max_s=0.05)
REPOSITORY = Path(__file__).resolve().parents[2]


def feed(name="f", **options):
    return {"name": name, "vendor": f"{P}:TickingFeed", "capacity": 1 << 16, "options": options}


def counter(name, out, rings=("f",), **options):
    return {
        "name": name,
        "type": f"{P}:CountingConsumer",
        "rings": list(rings),
        "options": {"out": str(out), **options},
    }


def plan_of(shm_dir, feeds, consumers=(), **keys):
    data = {
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": feeds,
        "consumers": list(consumers),
        **keys,
    }
    return config.check(data)


async def until(condition):
    """Wait for what other processes do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.01)


def proc(pid, name):
    return Path(f"/proc/{pid}/{name}").read_bytes()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    return state == "Z"


def test_feed_killed_is_restarted_and_readers_outside_go_on(shm_dir, tmp_path):
    out = tmp_path / "out"

    async def scenario():
        plan = plan_of(shm_dir, [feed(), feed("g")], [counter("c", out)])
        async with Supervisor(plan, limits=QUICK) as supervisor:
            child, consumer, other = (supervisor.find(name) for name in "fcg")
            assert [c.state for c in supervisor.children] == [State.RUNNING] * 3
            others = consumer.pid, other.pid
            with Reader("f", "now", "outside", directory=shm_dir) as reader:
                first = await asyncio.to_thread(reader.read, timeout=PATIENCE_S)
                old = child.pid
                os.kill(old, signal.SIGKILL)
                await until(lambda: child.restarts == 1 and child.state is State.RUNNING)
                assert child.pid not in (0, old)
                assert child.last_exit == "killed by SIGKILL"
                expected = int(first.records["seq"][-1]) + 1
                while reader.epoch < 2 or reader.lag:
                    batch = await asyncio.to_thread(reader.read, timeout=PATIENCE_S)
                    assert batch.records["seq"][0] == expected
                    expected += len(batch)
                assert reader.lost == 0
            assert (consumer.pid, other.pid) == others
            assert (consumer.restarts, other.restarts) == (0, 0)
        assert [c.state for c in supervisor.children] == [State.STOPPED] * 3

    asyncio.run(scenario())
    records, lost = map(int, out.read_text().split())
    assert lost == 0
    assert records == inspect("f", shm_dir).tail


def test_consumer_killed_resumes_where_it_was(shm_dir, tmp_path):
    async def scenario():
        plan = plan_of(shm_dir, [feed()], [counter("c", tmp_path / "out")])
        async with Supervisor(plan, limits=QUICK) as supervisor:
            child = supervisor.find("c")
            await until(lambda: inspect("f", shm_dir).consumers)
            os.kill(child.pid, signal.SIGKILL)
            await until(lambda: child.restarts == 1 and child.pid)
            await until(lambda: inspect("f", shm_dir).consumers[0].alive)
            assert supervisor.find("f").restarts == 0

    asyncio.run(scenario())
    assert (tmp_path / "out").exists()


def test_crash_loop_is_given_up_and_the_others_stay(shm_dir):
    limits = Limits(restart_first_s=0.01, restart_base_s=0.01, restart_max_s=0.02, crash_limit=3)

    async def scenario():
        plan = plan_of(shm_dir, [feed("bad", crash=True), feed("good")])
        async with Supervisor(plan, limits=limits) as supervisor:
            bad, good = supervisor.find("bad"), supervisor.find("good")
            await until(lambda: bad.state is State.FAILED)
            assert (bad.restarts, bad.last_code, bad.pid) == (2, 70, 0)
            assert bad.last_exit == "exit status 70 (crash)"
            assert supervisor.failures == [bad]
            assert (good.state, good.restarts) == (State.RUNNING, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(("status", "word"), [(77, "credentials"), (78, "config")])
def test_what_cannot_heal_is_not_tried_again(shm_dir, status, word):
    async def scenario():
        plan = plan_of(shm_dir, [feed(exit_status=status)])
        async with Supervisor(plan, limits=QUICK) as supervisor:
            await asyncio.wait_for(supervisor.wait(), PATIENCE_S)
            child = supervisor.find("f")
            assert (child.state, child.restarts) == (State.FAILED, 0)
            assert child.last_exit == f"exit status {status} ({word})"

    asyncio.run(scenario())


def test_what_is_missing_outside_is_tried_for_ever(shm_dir):
    limits = Limits(restart_first_s=0.01, restart_base_s=0.01, restart_max_s=0.01, crash_limit=2)

    async def scenario():
        plan = plan_of(shm_dir, [feed(exit_status=69)])
        supervisor = Supervisor(plan, limits=limits)
        starting = asyncio.create_task(supervisor.start())
        await until(lambda: supervisor.find("f").restarts >= 4)
        await supervisor.stop()
        await starting
        assert supervisor.find("f").state is State.STOPPED

    asyncio.run(scenario())


def test_back_off_doubles_up_to_its_limit_and_begins_again_after_health():
    limits = Limits(restart_jitter=0.0)
    supervisor = Supervisor(config.check({"feeds": [feed()], "metrics": None}), limits=limits)
    child = supervisor.children[0]
    child.started = time.monotonic()
    delays = [supervisor._after(child, 69) for _ in range(8)]
    assert delays == [0.1, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    child.started = time.monotonic() - limits.healthy_s
    assert supervisor._after(child, 69) == 0.1


def test_consumers_wait_for_their_ring_but_not_for_ever(shm_dir, tmp_path):
    limits = Limits(ready_s=0.3, restart_first_s=60.0)

    async def scenario():
        plan = plan_of(shm_dir, [feed(exit_status=69)], [counter("c", tmp_path / "out")])
        async with Supervisor(plan, limits=limits) as supervisor:
            assert supervisor.find("f").state in {State.STARTING, State.BACKOFF}
            assert supervisor.find("c").pid
            await until(lambda: supervisor.find("f").state is State.BACKOFF)

    asyncio.run(scenario())


def test_stop_drains_a_chain_of_consumers(shm_dir, tmp_path):
    consumers = [
        counter("last", tmp_path / "last", ["mid"]),
        counter("first", tmp_path / "first", ["f"], ring="mid"),
    ]

    async def scenario():
        plan = plan_of(shm_dir, [feed(pause_s=0.002, wait_consumers=1)], consumers)
        async with Supervisor(plan) as supervisor:
            await until(lambda: inspect("f", shm_dir).tail > 500)
            assert supervisor.find("last").pid

    asyncio.run(scenario())
    published = inspect("f", shm_dir).tail
    assert (tmp_path / "first").read_text() == f"{published} 0"
    # the ring between them holds 256 and waits for nobody: its end is what must have arrived
    records, _ = map(int, (tmp_path / "last").read_text().split())
    consumer = inspect("mid", shm_dir).consumers[0]
    assert (consumer.records, consumer.cursor) == (records, published)


def test_stop_kills_a_feed_that_does_not_listen(shm_dir, tmp_path):
    limits = Limits(stop_s=60.0, feeds_stop_s=0.2, drain_s=30.0)

    async def scenario():
        plan = plan_of(shm_dir, [feed(deaf=True)], [counter("c", tmp_path / "out")])
        async with Supervisor(plan, limits=limits) as supervisor:
            await until(lambda: inspect("f", shm_dir).tail > 100)
        assert supervisor.find("f").last_exit == "killed by SIGKILL"
        assert supervisor.find("c").last_exit == "exit status 0 (done)"

    asyncio.run(scenario())
    assert (tmp_path / "out").exists()


def test_stop_kills_a_stopped_consumer_at_the_deadline(shm_dir, tmp_path):
    limits = Limits(stop_s=0.6, feeds_stop_s=0.3, drain_s=0.3)

    async def scenario():
        plan = plan_of(shm_dir, [feed()], [counter("c", tmp_path / "out")])
        async with Supervisor(plan, limits=limits) as supervisor:
            await until(lambda: inspect("f", shm_dir).consumers)
            os.kill(supervisor.find("c").pid, signal.SIGSTOP)
        assert supervisor.find("c").last_exit == "killed by SIGKILL"

    asyncio.run(scenario())


def test_finite_run_ends_when_everything_is_read(shm_dir, tmp_path):
    async def scenario():
        plan = plan_of(
            shm_dir,
            [feed(total=2000, pause_s=0.001, wait_consumers=1)],
            [counter("c", tmp_path / "out")],
        )
        supervisor = Supervisor(plan, until_done=True)
        await asyncio.wait_for(supervisor.run(), PATIENCE_S)
        assert [child.state for child in supervisor.children] == [State.FINISHED] * 2
        assert not supervisor.failures

    asyncio.run(scenario())
    assert (tmp_path / "out").read_text() == "2000 0"


def test_finite_run_ends_a_consumer_of_a_ring_that_never_came(shm_dir, tmp_path):
    async def scenario():
        plan = plan_of(shm_dir, [feed(total=100)], [counter("c", tmp_path / "out", ["f.bars"])])
        supervisor = Supervisor(plan, until_done=True)
        await asyncio.wait_for(supervisor.run(), PATIENCE_S)
        assert supervisor.find("f").state is State.FINISHED

    asyncio.run(scenario())


def test_finite_run_stops_at_the_first_failure(shm_dir, tmp_path):
    async def scenario():
        plan = plan_of(shm_dir, [feed()], [counter("c", tmp_path / "out", missing=True)])
        supervisor = Supervisor(plan, until_done=True)
        await asyncio.wait_for(supervisor.run(), PATIENCE_S)
        failed = supervisor.find("c")
        assert supervisor.failures == [failed]
        assert failed.last_exit == "exit status 69 (unavailable)"
        assert supervisor.find("f").state is State.STOPPED

    asyncio.run(scenario())


def test_plan_larger_than_a_pipe_reaches_the_child(shm_dir):
    symbols = [f"SYMBOL{i:05}" for i in range(20_000)]

    async def scenario():
        plan = plan_of(shm_dir, [feed(total=100, symbols=symbols)])
        supervisor = Supervisor(plan, until_done=True)
        await asyncio.wait_for(supervisor.run(), PATIENCE_S)
        assert supervisor.find("f").state is State.FINISHED

    asyncio.run(scenario())


def test_command_line_shows_what_runs_and_not_how(shm_dir):
    async def scenario():
        plan = plan_of(shm_dir, [feed(symbols=["SECRET"])])
        async with Supervisor(plan) as supervisor:
            pid = supervisor.find("f").pid
            line = proc(pid, "cmdline").split(b"\0")
            assert line[1:5] == [b"-m", b"mdfeedd.daemon.worker", b"feed", b"f"]
            assert b"SECRET" not in b"".join(line) + proc(pid, "environ")

    asyncio.run(scenario())


def test_children_do_not_talk_to_systemd(shm_dir):
    env = {**os.environ, "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}

    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()]), env=env) as supervisor:
            environment = proc(supervisor.find("f").pid, "environ")
            assert b"NOTIFY_SOCKET" not in environment
            assert b"WATCHDOG" not in environment

    asyncio.run(scenario())


def test_folder_for_the_rings_is_missing(tmp_path):
    async def scenario():
        plan = plan_of(str(tmp_path / "none"), [feed()])
        with pytest.raises(StartError, match=r"there is no directory .*none for the rings"):
            async with Supervisor(plan):
                pass

    asyncio.run(scenario())


def test_second_daemon_on_the_same_rings_is_refused_before_it_starts_anything(shm_dir):
    async def scenario():
        plan = plan_of(shm_dir, [feed()])
        async with Supervisor(plan):
            second = Supervisor(plan, limits=Limits(left_s=0.2))
            with pytest.raises(StartError, match=r"ring f in .* has a living writer"):
                await second.start()
            assert all(child.pid == 0 for child in second.children)
            await second.stop()

    asyncio.run(scenario())


def test_supervisor_started_beside_what_a_killed_one_left_waits_until_it_has_ended(shm_dir):
    async def scenario():
        left = Writer("f", 256, directory=shm_dir)
        supervisor = Supervisor(plan_of(shm_dir, [feed()]), limits=Limits(left_s=60.0))
        starting = asyncio.create_task(supervisor.start())
        await asyncio.sleep(0.2)
        assert all(child.pid == 0 for child in supervisor.children)
        left.close()
        await starting
        assert [child.state for child in supervisor.children] == [State.RUNNING]
        await supervisor.stop()

    asyncio.run(scenario())


def of_another_abi(name, shm_dir):
    """A ring as an older version has left it."""
    Writer(name, 256, directory=shm_dir).close()
    with ring_path(name, shm_dir).open("r+b") as file:
        file.seek(8)
        file.write((1).to_bytes(4, "little"))


def test_rings_of_an_older_version_are_cleared_away_and_it_is_told(shm_dir, caplog):
    """An upgrade over a change of the layout needs nobody: what is left of the old version makes room."""
    of_another_abi("f", shm_dir)
    of_another_abi("f.depth", shm_dir)
    of_another_abi("somebody-else", shm_dir)

    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()])) as supervisor:
            assert supervisor.find("f").state is State.RUNNING
            of_another_abi("g", shm_dir)
            await supervisor.apply(plan_of(shm_dir, [feed(), feed("g")]))
            assert supervisor.find("g").state is State.RUNNING

    asyncio.run(scenario())
    told = [r.getMessage() for r in caplog.records if "was of ABI 1" in r.getMessage()]
    assert [sentence.split()[1] for sentence in told] == ["f", "f.depth", "g"]
    assert list_rings(shm_dir) == ["f", "g", "somebody-else"]


def test_older_version_that_still_runs_is_not_robbed_of_its_ring(shm_dir):
    async def scenario():
        with Writer("f", 256, directory=shm_dir):
            with ring_path("f", shm_dir).open("r+b") as file:
                file.seek(8)
                file.write((1).to_bytes(4, "little"))
            supervisor = Supervisor(plan_of(shm_dir, [feed()]))
            with pytest.raises(StartError, match=r"another version's ABI.*living writer: stop it"):
                await supervisor.start()
            assert all(child.pid == 0 for child in supervisor.children)
            await supervisor.stop()

    asyncio.run(scenario())


SCRIPT = """
import asyncio, json, sys
from mdfeedd.daemon.plan import Plan
from mdfeedd.daemon.supervisor import Supervisor

async def main():
    async with Supervisor(Plan.from_json(sys.argv[1])) as supervisor:
        print(json.dumps([child.pid for child in supervisor.children]), flush=True)
        await supervisor.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_supervisor_killed_takes_its_children_with_it(shm_dir, tmp_path, spawn, number):
    plan = plan_of(shm_dir, [feed()], [counter("c", tmp_path / "out")])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]])}
    parent = spawn([sys.executable, "-c", SCRIPT, plan.to_json()], stdout=subprocess.PIPE, env=env)
    pids = json.loads(parent.stdout.readline())
    assert len(pids) == 2
    asyncio.run(until(lambda: any(c.alive for c in inspect("f", shm_dir).consumers)))
    parent.send_signal(number)
    parent.wait()
    asyncio.run(until(lambda: all(gone(pid) for pid in pids)))
    assert (tmp_path / "out").exists(), "the consumer did not flush"


def test_healthz_names_the_children(shm_dir):
    async def scenario():
        plan = plan_of(shm_dir, [feed()], metrics={"port": 0})
        async with Supervisor(plan) as supervisor:
            url = f"http://127.0.0.1:{supervisor.exporter.port}/healthz"
            body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
            health = json.loads(body)
            assert health["healthy"] is True
            assert health["children"] == [
                {
                    "name": "f",
                    "kind": "feed",
                    "state": "running",
                    "pid": supervisor.find("f").pid,
                    "restarts": 0,
                    "last_exit": "",
                }
            ]

    asyncio.run(scenario())
