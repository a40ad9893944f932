"""A feed that begins anew with each start, under the supervisor: once it has published it is not started again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.status import faults_of, snapshot
from mdfeedd.daemon.supervisor import Limits, State, Supervisor
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.ring import Reader, RingError
from mdfeedd.ring.inspect import inspect

PATIENCE_S = 120.0
T0 = 1_700_000_000 * 10**9
HOUR_NS = 3_600 * 10**9
QUICK = Limits(restart_first_s=0.01, restart_base_s=0.01, restart_max_s=0.02, ready_s=0.5)


def recording(path, n, step_ns, cut=0):
    metadata = db.Metadata(
        dataset="GLBX.MDP3", start=T0, stype_in=db.SType.RAW_SYMBOL, schema=db.Schema.MBP_1,
        stype_out=db.SType.INSTRUMENT_ID, symbols=[],
    ).encode()  # fmt: skip
    rows = np.zeros(n, record_dtype(1, 3))
    rows["length"], rows["rtype"], rows["publisher_id"], rows["instrument_id"] = 20, 1, 1, 7
    rows["ts_event"] = rows["ts_recv"] = T0 + step_ns * np.arange(n)
    rows["action"], rows["side"], rows["flags"] = b"A", b"B", 130
    rows["bid_px_00"], rows["ask_px_00"], rows["sequence"] = 10**9, 2 * 10**9, np.arange(n)
    content = metadata + rows.tobytes()
    path.write_bytes(content[: len(content) - cut])
    return path


def plan_of(shm_dir, path, **options):
    feed = {"name": "f", "vendor": "replay", "options": {"paths": [str(path)], **options}}
    return config.check({"shm_dir": shm_dir, "metrics": None, "feeds": [feed]})


async def until(condition):
    """Wait for what other processes do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.01)


def tail(shm_dir):
    try:
        return inspect("f", shm_dir).tail
    except RingError:  # not made yet
        return 0


def published(shm_dir):
    with Reader("f", "oldest", follow=False, directory=shm_dir) as reader:
        return [seq for batch in reader for seq in batch.records["venue_seq"].tolist()]


@pytest.mark.parametrize("speed", ["max", 1e6])
def test_damaged_file_is_published_once_and_given_up(shm_dir, tmp_path, caplog, speed):
    path = recording(tmp_path / "cut.dbn", 100, 1000, cut=3)
    caplog.set_level(logging.ERROR, "mdfeedd.daemon.supervisor")

    async def scenario():
        async with Supervisor(plan_of(shm_dir, path, speed=speed), limits=QUICK) as supervisor:
            await asyncio.wait_for(supervisor.wait(), PATIENCE_S)
            child = supervisor.find("f")
            assert (child.state, child.restarts, child.last_code) == (State.FAILED, 0, 65)
            assert child.last_exit == "exit status 65 (damaged)"
            assert child.last_words.startswith(f"{path}: the stream ends within a record")

    asyncio.run(scenario())
    assert published(shm_dir) == list(range(99))
    assert [r.getMessage() for r in caplog.records] == [
        "feed f: exit status 65 (damaged); given up: a restart would not help"
    ]


def test_killed_after_it_has_published_it_is_given_up_and_that_is_told(shm_dir, tmp_path, caplog):
    path = recording(tmp_path / "a.dbn", 3, HOUR_NS)
    caplog.set_level(logging.ERROR, "mdfeedd.daemon.supervisor")
    why = "killed by SIGKILL: a restart would tell its records twice"

    async def scenario():
        async with Supervisor(plan_of(shm_dir, path, speed=1), limits=QUICK) as supervisor:
            child = supervisor.find("f")
            await until(lambda: tail(shm_dir) == 1)
            os.kill(child.pid, signal.SIGKILL)
            await asyncio.wait_for(supervisor.wait(), PATIENCE_S)
            assert (child.state, child.restarts, child.last_exit) == (State.FAILED, 0, why)
            assert child.last_failure == why
            (fault,) = faults_of(snapshot(shm_dir, supervisor))
            assert fault["text"] == f"feed f was given up: {why}"

    asyncio.run(scenario())
    assert published(shm_dir) == [0]
    assert [r.getMessage() for r in caplog.records] == [
        "feed f: killed by SIGKILL; given up: a restart would tell its records twice"
    ]


def test_ring_of_an_earlier_replay_is_not_taken_for_its_own(shm_dir, tmp_path):
    """What is missing is waited for, also where the ring is there and has records: they were another life's."""
    path = recording(tmp_path / "a.dbn", 10, 1000)

    async def replay():
        async with Supervisor(plan_of(shm_dir, path), limits=QUICK) as supervisor:
            await asyncio.wait_for(supervisor.wait(), PATIENCE_S)
            assert supervisor.find("f").state is State.FINISHED

    async def scenario():
        await replay()
        path.rename(tmp_path / "away")
        supervisor = Supervisor(plan_of(shm_dir, path), limits=QUICK)
        starting = asyncio.create_task(supervisor.start())
        child = supervisor.find("f")
        await until(lambda: child.restarts >= 2)
        (tmp_path / "away").rename(path)
        await until(lambda: child.state is State.FINISHED)
        assert child.last_failure == "exit status 69 (unavailable)"
        await starting
        await supervisor.stop()

    asyncio.run(scenario())
    assert published(shm_dir) == 2 * list(range(10))


def test_readers_that_do_not_come_are_waited_for_again(shm_dir, tmp_path):
    """It has made its ring and published nothing."""
    path = recording(tmp_path / "a.dbn", 10, 1000)

    async def scenario():
        plan = plan_of(shm_dir, path, min_consumers=1, min_consumers_limit_s=0.05)
        async with Supervisor(plan, limits=QUICK) as supervisor:
            child = supervisor.find("f")
            await until(lambda: child.restarts >= 2)
            with Reader("f", "now", "late", directory=shm_dir):
                await until(lambda: child.state is State.FINISHED)

    asyncio.run(scenario())
    assert published(shm_dir) == list(range(10))
