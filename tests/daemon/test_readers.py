"""A feed is told which consumers read its rings, and one whose source keeps what is to come waits for them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from reload_scenario import counter, feed, pids, until

from mdfeedd.daemon import config, plugins
from mdfeedd.daemon.plan import Plan, instance, revive
from mdfeedd.daemon.supervisor import State, Supervisor
from mdfeedd.journal import JournalReader, JournalWriter, WriterOptions
from mdfeedd.tick import TICK, TRADE, Kind, layout_of

RECORDS = 50_000
CAPACITY = 1024


def consumer(name, kind, rings, **options):
    return {"name": name, "type": kind, "rings": list(rings), "options": options}


def sections(tmp_path, **options):
    """A replay, whose ring is read by a journal, bars and what it should; others read those, or bars of its own."""
    sink = {"type": "redis", "modes": ["last"]}
    return {
        "feeds": [
            {"name": "f", "vendor": "replay", "options": {"paths": ["x.dbn"], **options}},
            {"name": "g", "vendor": "synthetic"},
        ],
        "consumers": [
            consumer("keep", "journal", ["f", "g", "f.bars"], path=str(tmp_path)),
            consumer("make", "bars", ["f"], ring="made"),
            consumer("behind", "batch", ["f", "f.bars"], journal=str(tmp_path), sink=sink),
            consumer("straight", "batch", ["f"], journal=str(tmp_path), durable=False, sink=sink),
            consumer("far", "batch", ["made"], sink=sink),
        ],
    }


def recording(folder):
    """A journal of many more trades than the ring has room for."""
    records = np.zeros(RECORDS, TRADE)
    records["kind"], records["instrument_id"] = Kind.TRADE, 9 << 24 | 1
    records["seq"] = np.arange(1, RECORDS + 1)
    records["ts_recv"] = 1_700_000_000 * 10**9 + records["seq"]
    writer = JournalWriter(folder, folder.name, WriterOptions(1 << 26, "none"))
    writer.begin("cd" * 16, feed="cme", layout=layout_of(TICK), record_bytes=64, next_seq=1)
    row = (9 << 24 | 1, 7, 1, 9, 10**7, 0, 0, "USD", "XCME", "cme", "ESZ6", "ESZ6.v")
    writer.put_instruments([(0, row)])
    for at in range(0, RECORDS, 1000):
        writer.append(records.view(TICK)[at : at + 1000], 1)
    writer.close()
    return str(folder)


def kept(folder):
    """The sequence numbers that a journal has."""
    found = []
    with JournalReader(folder) as reader:
        while len(batch := reader.read(1 << 16)) or batch.lost:
            assert not batch.lost
            found += batch.records["seq"].tolist()
    return found


# ------------------------------------------------------------------------------------------- the plan


def test_feed_is_told_who_reads_its_rings_themselves(tmp_path):
    plan = config.check(sections(tmp_path))
    f, g = plan.feeds
    assert f.readers == {"f": ("keep", "make", "straight"), "f.bars": ("keep",)}
    assert g.readers == {"g": ("keep",)}
    assert Plan.from_json(plan.to_json()).feeds[0].readers == f.readers
    cls = plugins.load(f.target)
    assert instance(cls, f, revive(cls.Options, f.options)).ring.readers == f.readers


@pytest.mark.parametrize("given", [{}, {"min_consumers": 0}, {"min_consumers": 7}])
def test_number_that_is_said_stays_as_it_is(tmp_path, given):
    plan = config.check(sections(tmp_path, **given))
    assert plan.feeds[0].options["min_consumers"] == given.get("min_consumers")


def test_other_readers_are_no_other_plan_of_a_feed(file, tmp_path, told):
    """A running feed goes on, one that has ended is not started again, and both know of them at the next start."""
    feeds = [feed(), feed("ended", total=100)]
    one, two = (
        counter(name, tmp_path / name, rings=[ring])
        for name, ring in (("one", "f"), ("two", "ended"))
    )
    file.write(feeds, [one])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            ended = supervisor.find("ended")
            await until(lambda: ended.state is State.FINISHED)
            before = pids(supervisor)
            file.write(feeds, [one, two, counter("three", tmp_path / "three")])
            assert await reloader.reload()
            assert pids(supervisor)["f"] == before["f"]
            assert ended is supervisor.find("ended")
            assert ended.state is State.FINISHED
            assert supervisor.find("f").plan.readers == {"f": ("one", "three")}
            assert ended.plan.readers == {"ended": ("two",)}

    asyncio.run(scenario())
    assert told("feed f") == told("feed ended") == ["unchanged"]


# ------------------------------------------------------------------------------------------- as it runs


def test_replay_loses_nothing_without_being_told_how_many_read_it(shm_dir, tmp_path):
    names = ["first", "second"]
    data = {
        "shm_dir": shm_dir,
        "metrics": None,
        "feeds": [
            {
                "name": "rec",
                "vendor": "replay",
                "capacity": CAPACITY,
                "options": {"paths": [recording(tmp_path / "es")]},
            }
        ],
        "consumers": [
            consumer(name, "journal", ["rec"], path=str(tmp_path / name)) for name in names
        ],
    }

    async def scenario():
        supervisor = Supervisor(config.check(data), until_done=True)
        async with asyncio.timeout(120):
            await supervisor.run()
        assert not supervisor.failures

    asyncio.run(scenario())
    for name in names:
        assert kept(tmp_path / name / "rec") == list(range(1, RECORDS + 1))


def test_consumer_that_cannot_run_holds_a_replay_back_for_the_limit_only(file, tmp_path):
    options = {"paths": [recording(tmp_path / "es")], "min_consumers_limit_s": 0.3}
    broken = counter("broken", tmp_path / "out", rings=["rec"], missing=True)
    file.write([feed("rec", "replay", CAPACITY, **options)], [broken])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            await until(lambda: supervisor.find("rec").state is State.FINISHED)
            assert supervisor.find("rec").restarts == 0

    asyncio.run(scenario())
