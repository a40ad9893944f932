"""`snapshot`, and `/status`, `/readyz`, `/healthz` that show it: with a supervisor, and from shared memory alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.metrics import RingCollector
from mdfeedd.daemon.status import faults_of, snapshot
from mdfeedd.daemon.supervisor import Limits, State, Supervisor
from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.latency import LATENCY_EVERY
from mdfeedd.tick import BAR, TICK

P = "daemon_test_plugins"


def plan_of(shm_dir, feeds, consumers=()):
    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": {"port": 0},
            "feeds": feeds,
            "consumers": list(consumers),
        }
    )


def feed(name="f", options=None, **keys):
    return {
        "name": name,
        "vendor": f"{P}:TickingFeed",
        "capacity": 256,
        "options": options or {},
        **keys,
    }


def consumer(name, ring, tmp_path):
    options = {"out": str(tmp_path / name)}
    return {"name": name, "type": f"{P}:CountingConsumer", "rings": [ring], "options": options}


async def get(supervisor, path):
    """Status code and JSON body."""
    url = f"http://127.0.0.1:{supervisor.exporter.port}{path}"

    def fetch():
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return await asyncio.to_thread(fetch)


async def until(condition):
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.01)


def test_everything_of_a_running_daemon(shm_dir, tmp_path):
    async def scenario():
        plan = plan_of(shm_dir, [feed()], [consumer("c", "f", tmp_path)])
        async with Supervisor(plan) as supervisor:
            with Reader("f", "now", "outside", directory=shm_dir):
                child = supervisor.find("c")
                await until(lambda: child.state is State.RUNNING)
                await until(lambda: len(snapshot(shm_dir, supervisor)["consumers"]) == 2)
                await until(lambda: snapshot(shm_dir, supervisor)["consumers"][0]["read"] > 0)
                code, shown = await get(supervisor, "/status")
                assert code == 200
                ready = await get(supervisor, "/readyz")
                health = await get(supervisor, "/healthz")
                pids = [child.pid for child in supervisor.children]
        return shown, ready, health, pids

    shown, ready, health, pids = asyncio.run(scenario())
    assert ready == (200, {"ready": True, "faults": []})
    assert health[0] == 200
    assert shown["ready"] is True
    assert shown["daemon"]["healthy"] is True
    assert shown["daemon"]["config_taken"] is True
    (f,) = shown["feeds"]
    assert (f["name"], f["state"], f["writer_alive"], f["managed"]) == ("f", "running", True, True)
    assert f["published"] >= f["counters"]["published_quotes"] - 100 > -100
    (ring,) = shown["rings"]
    assert (ring["name"], ring["kind"], ring["readers"]) == ("f", "tick", 2)
    ours, outside = shown["consumers"]
    assert (ours["name"], ours["managed"], ours["alive"]) == ("c", True, True)
    assert ours["read"] > 0
    assert (outside["name"], outside["managed"], outside["read"]) == ("outside", False, 0)
    assert outside["lag_share"] > 0
    by_name = {process["name"]: process for process in shown["processes"]}
    assert [by_name["f"]["pid"], by_name["c"]["pid"]] == pids
    assert by_name["f"]["rss_bytes"] > 1 << 20
    assert by_name["f"]["cpu_s"] >= 0
    assert by_name["outside"]["pid"] == os.getpid()


def test_a_reader_that_another_configuration_has_left_is_not_ours(shm_dir, tmp_path):
    with (
        Writer("old", 256, directory=shm_dir),
        Reader("old", "now", "c", directory=shm_dir),
    ):
        pass

    async def scenario():
        plan = plan_of(shm_dir, [feed()], [consumer("c", "f", tmp_path)])
        async with Supervisor(plan) as supervisor:
            await until(lambda: snapshot(shm_dir, supervisor)["consumers"][0]["alive"])
            shown = snapshot(shm_dir, supervisor)
            tables = {table.metric.name: table for table in RingCollector(supervisor).tables()}
        return shown, [labels for labels, _ in tables["mdfeedd_reader_alive"].samples]

    shown, readers = asyncio.run(scenario())
    assert "old" in {ring["name"] for ring in shown["rings"]}
    assert [(c["ring"], c["name"]) for c in shown["consumers"]] == [("f", "c")]
    assert not [trouble for trouble in shown["troubles"] if "old" in trouble["text"]]
    assert readers == [("f", "c")]


def test_from_shared_memory_alone_when_no_supervisor_is_left(shm_dir):
    with (
        Writer("mine", 256, directory=shm_dir) as writer,
        Writer("mine-bars", 256, feed="mine", dtype=BAR, directory=shm_dir),
        Reader("mine", "now", "me", directory=shm_dir) as reader,
    ):
        records = np.zeros(1, TICK)
        records["ts_recv"] = time.time_ns() - 1_000_000_000
        for _ in range(LATENCY_EVERY):
            writer.publish(records)
            reader.read(timeout=0)
        shown = json.loads(json.dumps(snapshot(shm_dir)))
        assert shown["daemon"] is None
        assert [(f["name"], f["state"], f["managed"]) for f in shown["feeds"]] == [
            ("mine", "live", False)
        ]
        assert {ring["name"]: ring["kind"] for ring in shown["rings"]} == {
            "mine": "tick",
            "mine-bars": "bar",
        }
        (row,) = shown["consumers"]
        assert (row["read"], row["latency"]["samples"]) == (LATENCY_EVERY, 1)
        assert row["latency"]["p99_s"] > 0.5
        assert shown["rings"][0]["arrival_latency"]["samples"] == 1
        assert shown["rings"][1]["arrival_latency"] is None
        assert [process["pid"] for process in shown["processes"]] == [os.getpid()]
        assert shown["ready"]
    closed = snapshot(shm_dir)
    assert closed["ready"]  # it said that it ends
    assert [f["state"] for f in closed["feeds"]] == ["closed"]
    assert closed["processes"] == closed["consumers"] == []


def test_a_writer_that_died_is_a_fault_without_a_supervisor_too(shm_dir):
    writer = Writer("dead", 256, directory=shm_dir)
    writer.close_core(announce=False)
    shown = snapshot(shm_dir)
    assert [(fault["name"], fault["fault"]) for fault in shown["faults"]] == [("dead", "down")]


def test_what_cannot_be_read_is_named_with_the_reason(shm_dir):
    Path(shm_dir, "mdfeedd.rubbish").write_bytes(b"not a ring" * 1000)
    (row,) = snapshot(shm_dir)["unreadable"]
    assert row["ring"] == "rubbish"
    assert "not an mdfeedd ring" in row["error"]
    (row,) = snapshot(shm_dir + "/nowhere")["unreadable"]
    assert row["ring"] == ""


@pytest.mark.parametrize(
    ("options", "fault", "sentence"),
    [
        ({"exit_status": 77}, "given up", "credentials"),
        ({"exit_status": 69}, "down", "feed bad has no"),
    ],
)
def test_not_ready_names_the_feed_and_goes_on_being_healthy(shm_dir, options, fault, sentence):
    async def scenario():
        plan = plan_of(shm_dir, [feed("good"), feed("bad", options)])
        limits = Limits(restart_base_s=60, ready_s=0.2)
        async with Supervisor(plan, limits=limits) as supervisor:
            await until(lambda: supervisor.find("bad").last_failure)
            await until(lambda: supervisor.find("good").state is State.RUNNING)
            await until(lambda: supervisor.find("bad").state in {State.FAILED, State.BACKOFF})
            code, body = await get(supervisor, "/readyz")
            assert (code, body["ready"]) == (503, False)
            (found,) = body["faults"]
            assert (found["name"], found["fault"]) == ("bad", fault)
            assert sentence in found["text"]
            assert (await get(supervisor, "/healthz"))[0] == 200

    asyncio.run(scenario())


def test_a_stopped_feed_that_hangs_is_not_ready_until_it_goes_on(shm_dir):
    async def scenario():
        plan = plan_of(shm_dir, [feed(hang_s=1.0)])
        async with Supervisor(plan) as supervisor:
            supervisor.vigil.round_s = 3600  # nobody ends it: only what is told is looked at
            await asyncio.sleep(1.1)
            pid = supervisor.find("f").pid
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(lambda: not snapshot(shm_dir, supervisor)["ready"])
                code, body = await get(supervisor, "/readyz")
                assert (code, body["faults"][0]["fault"]) == (503, "hangs")
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(lambda: snapshot(shm_dir, supervisor)["ready"])

    asyncio.run(scenario())


def test_a_feed_that_publishes_and_never_beats_gives_signs_of_life(shm_dir):
    """Nobody ends it, so nobody says that it hangs."""

    async def scenario():
        plan = plan_of(shm_dir, [feed(hang_s=1.0) | {"vendor": f"{P}:BeatlessFeed"}])
        async with Supervisor(plan) as supervisor:
            supervisor.vigil.round_s = 0.05
            await until(lambda: inspect("f", shm_dir).heartbeat_age_ns > 2 * 10**9)
            await until(lambda: supervisor.vigil.beat_age_s < 0.5)
            code, body = await get(supervisor, "/readyz")
            assert (code, body["faults"]) == (200, [])
            assert supervisor.find("f").hangs == 0

    asyncio.run(scenario())


def test_a_feed_that_has_not_begun_is_not_ready_and_one_that_finished_is():
    row = {
        "name": "f",
        "hang_s": 1.0,
        "silent_s": 9.0,
        "last_failure": "",
        "writer_alive": False,
    }
    for state in ("waiting", "starting", "running", "backoff"):
        (fault,) = faults_of({"feeds": [row | {"state": state}]})
        assert fault["fault"] == "down"
    for state in ("finished", "stopped", "closed"):
        assert faults_of({"feeds": [row | {"state": state}]}) == []
    never = row | {"state": "running", "writer_alive": True, "hang_s": 0.0}
    assert faults_of({"feeds": [never]}) == []
