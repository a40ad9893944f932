"""Waiting until something holds of the last values, with one ring and with two, blocking and in an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mdfeedd import Reader, Writer

PATIENCE_S = 60


@pytest.fixture
def writer(shm_dir):
    with Writer("a", directory=shm_dir) as made:
        yield made


@pytest.fixture(params=["one", "two"])
def reader(request, shm_dir, writer):
    """Of the ring, alone and beside another."""
    with Writer("b", feed_index=1, directory=shm_dir):
        names = "a" if request.param == "one" else ["a", "b"]
        with Reader(names, directory=shm_dir) as made:
            yield made


@pytest.fixture(params=["blocking", "async"])
def wait(request, reader):
    """`wait_until` in both forms, as a function that returns."""
    if request.param == "blocking":
        return reader.wait_until

    def run(*args, **kwargs):
        return asyncio.run(reader.wait_until_async(*args, **kwargs))

    return run


def later(function, *args):
    timer = threading.Timer(0.1, function, args)
    timer.start()
    return timer


def test_condition_that_comes_true(writer, reader, wait, make):
    a = writer.instruments.add("A")
    writer.publish(make.quote(a, 9, 10))
    timer = later(lambda: writer.publish(make.quote(a, 6, 7)))
    seen = []
    assert wait(lambda last: last["A"].ask < 8, PATIENCE_S, on_batch=seen.append)
    timer.join()
    assert reader.last["A"].ask == 7.0
    assert sum(len(batch) for batch in seen) == 2


def test_condition_that_is_true_already_reads_nothing(writer, reader, wait, make):
    a = writer.instruments.add("A")
    writer.publish(make.quote(a, 9, 10))
    assert wait(lambda last: last.get("A") is not None, 0.0)
    assert reader.lag == 1


def test_condition_that_never_is(writer, wait, make):
    a = writer.instruments.add("A")
    writer.publish(make.quote(a, None, 10, bid_size=0))
    assert not wait(lambda last: last["A"].bid > 0, 0.05)


def test_symbol_that_comes_while_it_is_waited_for(writer, wait, make):
    def define():
        writer.publish(make.quote(writer.instruments.add("LATER"), 1, 2))

    timer = later(define)
    assert wait(lambda last: last["LATER"].bid == 1, PATIENCE_S)
    timer.join()


def test_symbol_that_never_comes_is_an_error_at_the_end(writer, wait):
    writer.instruments.add("ESZ6")
    with pytest.raises(KeyError, match="did you mean 'ESZ6'"):
        wait(lambda last: last["ESZ7"].bid > 0, 0.05)


def test_what_the_condition_raises_is_raised(wait):
    with pytest.raises(ZeroDivisionError):
        wait(lambda _last: 1 / 0, 0.05)
    with pytest.raises(KeyError, match="mine"):  # not one of ours
        wait(lambda _last: {}["mine"], 0.05)


def test_one_record_at_a_time_sees_what_holds_for_a_moment(writer, reader, wait, make):
    a = writer.instruments.add("A")
    for bid in (1, 5, 1):
        writer.publish(make.quote(a, bid, 10))
    assert wait(lambda last: last["A"].bid == 5, PATIENCE_S, max_records=1)
    assert reader.lag == 1
    assert not wait(lambda last: last["A"].bid == 5 and reader.lag == 0, 0.05)


@pytest.mark.parametrize("names", ["a", ["a", "b"]])
@pytest.mark.parametrize("form", ["blocking", "async"])
def test_rings_that_end(shm_dir, make, names, form):
    with (
        Writer("a", directory=shm_dir) as a,
        Writer("b", feed_index=1, directory=shm_dir),
    ):
        reader = Reader(names, follow=False, directory=shm_dir)
        a.publish(make.quote(a.instruments.add("A"), 1, 2))
    with reader:
        if form == "blocking":
            assert not reader.wait_until(lambda last: last["A"].bid == 2)
        else:
            never = reader.wait_until_async(lambda last: last["A"].bid == 2)
            assert not asyncio.run(asyncio.wait_for(never, PATIENCE_S))
        assert reader.last["A"].bid == 1.0


def test_event_loop_goes_on_meanwhile(writer, reader, make):
    a = writer.instruments.add("A")
    for _ in range(64):
        writer.publish(make.quote(a, 1, 2))

    async def main():
        turns = 0

        async def turn():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(turn())
        await reader.wait_until_async(lambda _last: reader.lag == 0, PATIENCE_S, max_records=1)
        task.cancel()
        return turns

    assert asyncio.run(main()) >= 3
