"""Event loops that end, are closed or are others: nothing is left running."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
from manager_scenes import counting, is_gone, pids

from mdfeedd import FeedConfig, FeedManager


def test_loop_that_ends_without_a_stop_leaves_nothing(made):
    manager = made()
    manager.add_feed(counting(ticks=10**6))

    async def scenario():
        await manager.start()
        made.seen.update(pids(manager))

    asyncio.run(scenario())
    assert not manager.running
    asyncio.run(manager.stop())


def test_loop_that_is_closed_under_it(made):
    manager = made()
    manager.add_feed(counting(ticks=10**6))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(manager.start())
    made.seen.update(pids(manager))
    pending = asyncio.all_tasks(loop)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert not manager.running
    asyncio.run(manager.stop())
    asyncio.run(manager.stop())
    for task in pending:  # what closing a loop with tasks in it leaves to its owner
        task._log_destroy_pending = False
    abandoned.extend(pending)


abandoned = []  # a task of a closed loop cannot be ended: it is kept, so that nobody tries


def test_other_loop_is_refused(made, run):
    manager = made()
    manager.add_feed(counting())
    refused = []

    def elsewhere():
        try:
            asyncio.run(manager.stop())
        except RuntimeError as error:
            refused.append(str(error))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await asyncio.get_running_loop().run_in_executor(None, elsewhere)

    run(scenario())
    assert refused == ["the manager runs in another event loop"]


def test_start_that_is_cancelled_leaves_nothing(made, run):
    manager = made()
    manager.add_feed(counting())

    async def scenario():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await manager.start()
        assert not manager.running

    run(scenario())


def test_in_a_thread_of_its_own(made, until):
    count, ended = [], []

    def on_batch(ticks):
        count.append(len(ticks))
        manager.request_stop()

    manager = made(on_batch=on_batch)
    manager.add_feed(counting())
    thread = threading.Thread(target=lambda: (manager.run(), ended.append(True)))
    thread.start()
    thread.join(90)
    assert ended
    assert count


def test_run_within_a_loop_is_refused(run):
    manager = FeedManager()

    async def scenario():
        with pytest.raises(RuntimeError, match=r"use 'await manager\.start"):
            manager.run()

    run(scenario())


def test_loop_that_was_closed_under_it_and_another_start(made, run, until):
    count = []
    manager = made(on_batch=lambda ticks: count.append(len(ticks)))
    manager.add_feed(counting())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(manager.start())
    left = pids(manager)
    abandoned.extend(asyncio.all_tasks(loop))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    for task in abandoned:
        task._log_destroy_pending = False

    async def scenario():
        count.clear()
        async with manager:
            made.seen.update(pids(manager))
            assert all(map(is_gone, left))
            await until(lambda: sum(count) == 100)

    run(scenario())


def test_start_that_is_cancelled_leaves_no_task(made, run, until):
    manager = made()
    manager.add_feed(FeedConfig("manager_test_feeds:SilentFeed"))

    async def scenario():
        starting = asyncio.create_task(manager.start())
        made.seen.update(await until(lambda: manager.directory and pids(manager)))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "a task is left", 20)

    run(scenario())


def test_stop_ends_a_start_whose_feed_does_not_come_up(made, run, until, caplog):
    manager = made()
    manager.add_feed(FeedConfig("manager_test_feeds:SilentFeed"))

    async def scenario():
        starting = asyncio.create_task(manager.start())
        made.seen.update(await until(lambda: manager.directory and pids(manager)))
        await manager.stop()
        await starting
        await manager.wait()

    run(scenario())
    assert "no ring" not in caplog.text  # the ten seconds for it were not waited for
    assert manager.stats().feeds["SilentFeed"].state in ("stopped", "finished")


def test_what_can_be_asked_before_the_start_and_in_another_loop_after_the_end(made, run):
    manager = made()
    manager.add_feed(counting())

    async def scenario():
        await manager.applied()
        async with manager:
            made.seen.update(pids(manager))

    run(scenario())
    run(manager.wait())
    run(manager.stop())


def test_handlers_of_signals_are_given_back(made):
    def mine(number, frame):
        raise AssertionError(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, mine) for number in numbers}
    try:
        manager = made()
        manager.add_feed(counting(ticks=10, end=True))
        manager.run()
        assert [signal.getsignal(number) for number in numbers] == [mine] * 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
