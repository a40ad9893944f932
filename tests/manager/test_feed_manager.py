"""The manager's life with real processes: what it starts, what it says, and that nothing is left."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import os
import time

import pytest
from manager_scenes import COUNTING, counting, pids

from mdfeedd import FeedConfig, FeedFailed, FeedManager, Vendor
from mdfeedd.daemon.sections import MAX_CAPACITY
from mdfeedd.tick import TICK, GapReason

# -------------------------------------------------------------------------------------------- its life


def test_everything_is_delivered_once_and_nothing_is_left(made, run, until):
    numbers, statuses = [], []

    async def on_batch(ticks):
        numbers.extend(ticks.records["venue_seq"].tolist())

    manager = made(on_batch=on_batch, on_status=statuses.append)
    assert manager.add_feed(counting(ticks=5000, at_a_time=100)) == "CountingFeed"

    async def scenario():
        assert (manager.directory, manager.running) == ("", False)
        await manager.start()
        assert manager.running
        made.seen.update(pids(manager))
        folder = manager.directory
        await until(lambda: len(numbers) == 5000)
        await manager.stop()
        assert not os.path.exists(folder)  # noqa: ASYNC240 - shared memory

    run(scenario())
    assert numbers == list(range(1, 5001))
    assert [status.state for status in statuses][-2:] == ["running", "stopped"]
    stats = manager.stats()
    assert stats.feeds["CountingFeed"].delivered == stats.feeds["CountingFeed"].published == 5000
    assert stats.callback_errors == 0


def test_what_waits_in_the_ring_is_delivered_by_the_stop(made, run, until):
    numbers = []

    async def on_batch(ticks):
        await asyncio.sleep(0.05)
        numbers.extend(ticks.records["venue_seq"].tolist())

    manager = made(on_batch=on_batch, batch_size=100, backpressure="wait")
    manager.add_feed(counting(ticks=3000, at_a_time=3000))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: numbers)

    run(scenario())
    assert numbers == list(range(1, 3001))


def test_it_can_be_started_again(made, run, until):
    counts = []
    manager = made(on_batch=lambda ticks: counts.append(len(ticks)))
    manager.add_feed(counting(ticks=50))

    async def scenario():
        for _ in range(2):
            counts.clear()
            async with manager:
                made.seen.update(pids(manager))
                await until(lambda: sum(counts) == 50)

    run(scenario())
    run_again = asyncio.Runner()
    with run_again:
        run_again.run(scenario())


def test_start_twice_stop_twice_stop_before_start(made, run):
    manager = made()

    async def scenario():
        await manager.stop()
        with pytest.raises(RuntimeError, match="was not started"):
            await manager.wait()
        with pytest.raises(ValueError, match="there is no feed: add_feed comes before start"):
            await manager.start()
        manager.add_feed(counting())
        await manager.start()
        made.seen.update(pids(manager))
        with pytest.raises(RuntimeError, match="runs already"):
            await manager.start()
        assert manager.running
        await asyncio.gather(manager.stop(), manager.stop())
        await manager.stop()
        assert not manager.running

    run(scenario())


def test_recordings_end_by_themselves_and_wait_for_the_callbacks(made, run, testdata):
    path = testdata / "dbn/databento__dbn/tests/data/test_data.mbp-1.dbn"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    count = 0

    async def on_batch(ticks):
        nonlocal count
        count += len(ticks)
        await asyncio.sleep(0.01)

    manager = made(on_batch=on_batch)
    manager.add_feed(FeedConfig(Vendor.REPLAY, options={"paths": [str(path)]}))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        with pytest.raises(RuntimeError, match="played from start to end"):
            manager.add_feed(counting())
        await manager.wait()

    run(scenario())
    stats = manager.stats().feeds["replay"]
    assert (stats.state, stats.lost, stats.dropped) == ("finished", 0, 0)
    assert stats.published == stats.delivered == count > 0


def test_feed_that_ends_ends_the_manager(made, run):
    count = 0

    def on_tick(tick):
        nonlocal count
        count += 1

    manager = made(on_tick=on_tick)
    manager.add_feed(counting(ticks=30, end=True))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        await manager.wait()
        assert not manager.running

    run(scenario())
    assert count == 30


# ------------------------------------------------------------------------------------ feeds that fail


def test_missing_key_is_the_daemons_sentence_from_start(made, run, monkeypatch, databento):
    databento("ESZ4")
    monkeypatch.delenv("DATABENTO_API_KEY", raising=False)
    manager = made()
    manager.add_feed(FeedConfig(Vendor.DATABENTO, ["ESZ4"], dataset="GLBX.MDP3"))
    with pytest.raises(
        FeedFailed, match="feed databento: there is no API key: set the env"
    ) as told:
        run(manager.start())
    assert (told.value.feed, told.value.exit_status) == ("databento", 77)
    assert not manager.running


def test_key_that_cannot_be_one_is_not_shown(made, run, monkeypatch):
    monkeypatch.delenv("MDFEEDD_DATABENTO_GATEWAY", raising=False)
    manager = made()
    manager.add_feed(FeedConfig(Vendor.DATABENTO, ["ESZ4"], "hunter2-too-short", "GLBX.MDP3"))
    with pytest.raises(FeedFailed, match="what api_key holds is no API key: a key has 32") as told:
        run(manager.start())
    assert "hunter2" not in str(told.value)


def test_feed_that_is_given_up_at_the_start_stops_the_others(made, run):
    manager = made()
    manager.add_feed(counting("well"))
    manager.add_feed(FeedConfig("manager_test_feeds:LockedOutFeed", name="locked"))
    with pytest.raises(FeedFailed, match=r"^feed locked: the door is locked$"):
        run(manager.start())
    assert manager.stats().feeds["well"].state == "stopped"


def test_one_feed_dies_and_the_other_goes_on(made, run, until):
    statuses, numbers = [], []
    manager = made(on_status=statuses.append, on_tick=lambda tick: numbers.append(tick.vendor))
    manager.add_feed(counting("well", ticks=10**6, pause_s=0.005))
    manager.add_feed(FeedConfig("manager_test_feeds:MortalFeed", name="mortal"))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: any(s.state == "failed" for s in statuses))
            before = len(numbers)
            await until(lambda: len(numbers) > before + 50)

    run(scenario())
    (failed,) = [status for status in statuses if status.state == "failed"]
    assert (failed.feed, failed.reason) == ("mortal", "no longer entitled")
    assert numbers.count("mortal") == 5


def test_only_feed_dies_and_wait_raises(made, run):
    manager = made()
    manager.add_feed(FeedConfig("manager_test_feeds:MortalFeed", name="mortal"))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        with pytest.raises(FeedFailed, match=r"^feed mortal: no longer entitled$"):
            await manager.wait()
        await manager.stop()

    run(scenario())


def test_feed_that_is_killed_is_started_again(made, run, until):
    statuses, seen = [], 0

    def on_tick(tick):
        nonlocal seen
        seen += 1

    manager = made(on_status=statuses.append, on_tick=on_tick)
    manager.add_feed(counting(ticks=10**6, pause_s=0.005))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: seen)
            os.kill(pids(manager)[0], 9)
            await until(lambda: statuses[-1].restarts == 1 and statuses[-1].state == "running")
            made.seen.update(pids(manager))
            before = seen
            await until(lambda: seen > before + 50)

    run(scenario())
    assert manager.stats().feeds["CountingFeed"].restarts == 1


def test_no_room_for_the_rings(run, tmp_path):
    manager = FeedManager(shm_dir=str(tmp_path / "none"))
    manager.add_feed(counting())
    with pytest.raises(OSError, match="none"):
        run(manager.start())
    assert not manager.running


def test_rings_that_are_larger_than_the_memory_for_them(made, run, shm_dir):
    space = os.statvfs(shm_dir)
    manager = made()
    for number in range(space.f_blocks * space.f_frsize // (MAX_CAPACITY * TICK.itemsize) + 1):
        feed = dataclasses.replace(counting(), name=f"f{number}", capacity=MAX_CAPACITY)
        manager.add_feed(feed)
    with pytest.raises(OSError, match=r"the rings need \d+ bytes, and .* has \d+ free") as told:
        run(manager.start())
    assert told.value.errno == errno.ENOSPC
    assert not manager.running
    assert os.listdir(shm_dir) == []


# ------------------------------------------------------------------------------------------- callbacks


def failing(after):
    count = 0

    async def on_batch(ticks):
        nonlocal count
        count += len(ticks)
        if count > after:
            raise LookupError("a strategy's own mistake")

    return on_batch


def test_exception_comes_out_of_wait_and_everything_is_stopped(made, run, caplog):
    manager = made(on_batch=failing(20))
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        with pytest.raises(LookupError, match="own mistake"):
            await manager.wait()
        assert not manager.running
        await manager.stop()  # it was told

    run(scenario())
    assert manager.stats().callback_errors == 1
    assert caplog.text.count("on_batch raised LookupError: a strategy's own mistake") == 1


def test_exception_comes_out_of_stop_if_nobody_waited(made, run, until):
    manager = made(on_batch=failing(20))
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        await until(lambda: not manager.running)
        with pytest.raises(LookupError, match="own mistake"):
            await manager.stop()
        await manager.stop()

    run(scenario())


def test_exception_cancels_the_body_of_async_with(made, run):
    manager = made(on_batch=failing(20))
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await asyncio.Event().wait()

    with pytest.raises(LookupError, match="own mistake"):
        run(scenario())


def test_body_that_ends_otherwise_when_it_is_cancelled_is_not_left_cancelled(made, run):
    manager = made(on_batch=failing(20))
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        try:
            async with manager:
                made.seen.update(pids(manager))
                try:
                    await asyncio.Event().wait()
                finally:
                    raise ZeroDivisionError
        finally:
            assert not asyncio.current_task().cancelling()

    with pytest.raises(ZeroDivisionError):
        run(scenario())


def test_exception_of_the_body_goes_first(made, run):
    manager = made()
    manager.add_feed(counting())

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(scenario())
    assert not manager.running


def test_exceptions_are_counted_where_it_goes_on(made, run, until):
    manager = made(on_batch=failing(0), on_error="continue")
    manager.add_feed(counting(ticks=500))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: manager.stats().feeds["CountingFeed"].delivered == 500)

    run(scenario())
    assert manager.stats().callback_errors == manager.stats().batches > 1


async def cancelled_elsewhere(_):
    """Waits for a task of the user's that somebody has cancelled."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


@pytest.mark.parametrize("name", ["on_batch", "on_tick"])
def test_cancellation_of_what_a_callback_waits_for_is_its_exception(made, run, name):
    manager = made(**{name: cancelled_elsewhere})
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        await manager.wait()

    with pytest.raises(RuntimeError, match=f"{name}: what it waited for was cancelled"):
        run(scenario())
    assert manager.stats().callback_errors == 1


def test_cancellations_of_callbacks_are_counted_where_it_goes_on(made, run, until):
    manager = made(on_batch=cancelled_elsewhere, on_error="continue")
    manager.add_feed(counting(ticks=500))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: manager.stats().feeds["CountingFeed"].delivered == 500)
            assert manager.running

    run(scenario())
    assert manager.stats().callback_errors == manager.stats().batches


def test_stop_in_a_callback_is_its_last_call(made, run):
    numbers = []

    async def on_tick(tick):
        numbers.append(tick.venue_seq)
        if tick.venue_seq == 25:
            with pytest.raises(RuntimeError, match="it would wait for itself"):
                await manager.wait()
            await manager.stop()

    manager = made(on_tick=on_tick)
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        await manager.wait()

    run(scenario())
    assert numbers == list(range(1, 26))


def test_blocking_callback_is_named(made, run, until, caplog):
    caplog.set_level(logging.WARNING, "mdfeedd.manager")
    blocked = 0

    async def on_batch(ticks):
        nonlocal blocked
        if not blocked:
            blocked = 1
            time.sleep(0.8)  # noqa: ASYNC251 - the mistake

    manager = made(on_batch=on_batch)
    manager.add_feed(counting(ticks=10**6, pause_s=0.01))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: manager.stats().stalls)

    run(scenario())
    assert manager.stats().longest_stall_s > 0.4
    assert "on_batch was called last: a callback must not block" in caplog.text


def test_callback_slower_than_the_feed_is_told_what_it_missed(made, run, until):
    gaps, delivered = [], 0

    async def on_batch(ticks):
        nonlocal delivered
        delivered += len(ticks)
        await asyncio.sleep(0.02)

    manager = made(on_batch=on_batch, on_gap=gaps.append, batch_size=10)
    feed = FeedConfig(COUNTING, ["A"], options={"ticks": 20_000, "at_a_time": 100}, capacity=512)
    manager.add_feed(feed)

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: manager.stats().feeds["CountingFeed"].published == 20_000)
            await until(lambda: manager.stats().feeds["CountingFeed"].behind == 0)

    run(scenario())
    stats = manager.stats().feeds["CountingFeed"]
    assert {gap.reason for gap in gaps} == {GapReason.RING_LAPPED}
    assert sum(gap.lost for gap in gaps) == stats.dropped + stats.lost > 0
    assert delivered + stats.dropped + stats.lost == 20_000


def test_callback_that_does_not_return_is_cancelled_at_the_end(
    made, run, until, monkeypatch, caplog
):
    monkeypatch.setattr("mdfeedd.manager.feed_manager.DRAIN_S", 0.3)
    called = asyncio.Event()
    cancelled = []

    async def on_batch(ticks):
        called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    manager = made(on_batch=on_batch)
    manager.add_feed(counting())

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))
        await until(called.is_set)
        await manager.stop()

    run(scenario())
    assert cancelled == [True]
    assert "on_batch did not take what was left within 0.3 s" in caplog.text


def test_gap_of_the_feed_is_told(made, run, until):
    gaps = []
    manager = made(on_gap=gaps.append)
    manager.add_feed(counting("g", gap_after=20))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: gaps)

    run(scenario())
    (gap,) = gaps
    assert (gap.feed, gap.reason, gap.first_missing, gap.last_missing) == (
        "g",
        GapReason.PACKET_LOSS,
        7,
        9,
    )
    assert manager.stats().feeds["g"].gaps == 1
