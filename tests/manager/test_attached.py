"""Managers of rings that others write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manager_scenes import counting, pids

from mdfeedd import FeedManager
from mdfeedd.ring import RingError, RingMissing, Writer


def test_attached_to_rings_of_others(shm_dir, run, until):
    from manager_test_feeds import _ticks

    seen, statuses = [], []

    async def scenario():
        with Writer("cme", 256, directory=shm_dir) as writer:
            ids = [writer.instruments.add("ESZ4")]
            manager = FeedManager.attach(
                directory=shm_dir,
                on_tick=lambda tick: seen.append(tick.venue_seq),
                on_status=statuses.append,
                batch_size=10,
            )
            writer.publish(_ticks(1, 5, ids))
            async with manager:
                await until(lambda: statuses)
                writer.publish(_ticks(6, 5, ids))
                await until(lambda: len(seen) == 5)
                with pytest.raises(RuntimeError, match="has the daemon's feeds"):
                    manager.add_feed(counting())
            writer.publish(_ticks(11, 5, ids))

    run(scenario())
    assert seen == [6, 7, 8, 9, 10]
    assert statuses[0].state == "running"
    assert set(os.listdir(shm_dir)) == {"mdfeedd.cme", "mdfeedd.cme.readers"}


def test_attached_without_a_ring(shm_dir, run):
    for rings in ((), "cme"):
        with pytest.raises(RingMissing):
            run(FeedManager.attach(rings, directory=shm_dir).start())


def test_attached_with_bars_that_nobody_makes(shm_dir, run):
    with Writer("cme", 256, directory=shm_dir):
        manager = FeedManager.attach(directory=shm_dir)
        manager.enable_aggregation(60, print)
        with pytest.raises(ValueError, match="the daemon needs a consumer of type bars"):
            run(manager.start())


def test_attached_to_another_manager_with_its_bars(made, run, until):
    bars, count = [], []
    source = made()
    source.add_feed(counting("one", ticks=10**6))
    source.enable_aggregation(1, lambda bar: None)

    async def scenario():
        async with source:
            made.seen.update(pids(source))
            attached = FeedManager.attach(
                directory=source.directory, on_batch=lambda ticks: count.append(len(ticks))
            )
            attached.enable_aggregation(1, bars.append)
            async with attached:
                await until(lambda: bars and count)
                assert attached.stats().feeds["one"].state == "running"

    run(scenario())
    assert {bar.symbol for bar in bars} == {"A"}


def test_ring_that_cannot_be_read_is_left_out_unless_it_is_asked_for(shm_dir, run, caplog):
    with Writer("cme", 256, directory=shm_dir):
        Path(shm_dir, "mdfeedd.torn").write_bytes(b"no ring" * 100)

        async def scenario(*rings):
            async with FeedManager.attach(rings, directory=shm_dir) as manager:
                assert list(manager.stats().feeds) == ["cme"]

        run(scenario())
        assert "left out: " in caplog.text
        with pytest.raises(RingError):
            run(scenario("cme", "torn"))


@pytest.mark.parametrize("key", ["shm_dir", "log_level"])
def test_option_of_feeds_of_ones_own(key, shm_dir):
    with pytest.raises(TypeError, match=f"^{key}: is for feeds of one's own"):
        FeedManager.attach("cme", **{key: shm_dir})
