"""The callbacks consumer: what user code is given, and what its errors and slowness cost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mdfeedd.consumers import callbacks as module
from mdfeedd.consumers.callbacks import CallbackConsumer, CallbackOptions
from mdfeedd.consumers.event_loop import loop_factory
from mdfeedd.options import OptionsError
from mdfeedd.ring import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, PRICE_UNDEF, QUOTE, Bar, BarFlag, Kind

DEADLINE_S = 30.0


def quotes(n):
    out = np.zeros(n, QUOTE)
    out["kind"] = 1
    out["instrument_id"] = 1
    out["bid_price"] = np.arange(n)
    return out


def wait_for(condition):
    """Wait until `condition()` is true, with a deadline that only a fault reaches."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@contextlib.contextmanager
def running(consumer):
    """Run the consumer in a thread; stops it at the end and re-raises what it raised."""
    stop, errors = threading.Event(), []

    def run():
        try:
            consumer.run(stop)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the consumer did not stop"
    if errors:
        raise errors[0]


def info(shm_dir, name="cme"):
    return next((c for c in inspect(name, shm_dir).consumers if c.name == "mine"), None)


@pytest.fixture
def writer(shm_dir):
    with Writer("cme", capacity=4096, directory=shm_dir) as w:
        w.instruments.add("ESZ5")
        yield w


def make(shm_dir, rings=("cme",), functions=None, **given):
    given = {"start": "oldest"} | given
    return CallbackConsumer(
        "mine", CallbackOptions(**given), list(rings), shm_dir, **(functions or {})
    )


def test_batches_and_ticks_arrive_in_ring_order(writer, shm_dir):
    batches, ticks = [], []
    functions = {"on_batch": batches.append, "on_tick": ticks.append}
    with running(make(shm_dir, functions=functions, batch_size=100)):
        writer.publish(quotes(1000))
        wait_for(lambda: len(ticks) == 1000)
    assert [tick.seq for tick in ticks] == list(range(1, 1001))
    assert [s for batch in batches for s in batch.records["seq"].tolist()] == list(range(1, 1001))
    assert max(map(len, batches)) <= 100
    first = ticks[1]
    assert (first.symbol, first.vendor, first.kind, first.bid_price) == (
        "ESZ5",
        "cme",
        Kind.QUOTE,
        1,
    )


def test_slow_functions_are_no_hang(writer, shm_dir):
    """The heart beats within a batch, whose position says nothing, and while a function is awaited."""
    beats, release = [], threading.Event()

    def slow(_tick):
        beats.append(info(shm_dir).heartbeat_ns)
        time.sleep(0.001)

    async def waiting(_batch):
        await asyncio.to_thread(release.wait)

    with running(make(shm_dir, functions={"on_batch": waiting, "on_tick": slow})):
        writer.publish(quotes(300))
        wait_for(lambda: info(shm_dir) and info(shm_dir).records == 300)
        before = info(shm_dir)
        wait_for(lambda: info(shm_dir).heartbeat_ns > before.heartbeat_ns)
        assert info(shm_dir).cursor == before.cursor, "it still awaits"
        release.set()
        wait_for(lambda: len(beats) == 300)
    assert len(set(beats)) >= 300 // module.BEAT_ITEMS


def test_start_now_gives_only_what_comes_from_then_on(writer, shm_dir):
    ticks = []
    writer.publish(quotes(10))
    with running(make(shm_dir, functions={"on_tick": ticks.append}, start="now")):
        wait_for(lambda: info(shm_dir))
        writer.publish(quotes(3))
        wait_for(lambda: len(ticks) == 3)
    assert [tick.seq for tick in ticks] == [11, 12, 13]


def test_async_functions_are_awaited_one_after_the_other(writer, shm_dir):
    seen, inside = [], []

    async def on_tick(tick):
        inside.append(1)
        assert len(inside) == 1
        await asyncio.sleep(0)
        seen.append(tick.seq)
        inside.pop()

    class OnBatch:
        async def __call__(self, batch):
            await asyncio.sleep(0)
            seen.append(-batch.first_seq)

    functions = {"on_tick": on_tick, "on_batch": OnBatch()}
    with running(make(shm_dir, functions=functions)):
        writer.publish(quotes(5))
        wait_for(lambda: len(seen) == 6)
    assert seen == [-1, 1, 2, 3, 4, 5]


def test_async_functions_of_several_rings_share_one_loop(shm_dir):
    loops, seen, both = set(), [], asyncio.Event()

    async def on_tick(tick):
        loops.add(asyncio.get_running_loop())
        seen.append(tick.vendor)
        if len(seen) == 2:
            both.set()
        await both.wait()  # each waits for the other

    with (
        Writer("a", 256, directory=shm_dir) as a,
        Writer("b", 256, directory=shm_dir) as b,
        running(make(shm_dir, ["a", "b"], {"on_tick": on_tick})),
    ):
        a.publish(quotes(1))
        b.publish(quotes(1))
        wait_for(lambda: len(seen) == 2)
    assert len(loops) == 1


def test_bars_arrive_as_bars(shm_dir):
    bars = []
    record = np.zeros(2, BAR)
    record["interval_s"] = 60
    record["ts_open"] = 60 * 10**9
    record["instrument_id"] = [1 << 24 | 1, 77]
    record["open"], record["high"], record["low"], record["close"] = 1, 4, 0, 2
    record["vwap"] = [3, PRICE_UNDEF]
    record["volume"], record["count"], record["flags"] = 10, 3, 2
    with (
        Writer("bars", 256, dtype=BAR, directory=shm_dir) as w,
        running(make(shm_dir, ["bars"], {"on_bar": bars.append, "on_tick": bars.append})),
    ):
        w.instruments.add("ESZ5", feed="cme", instrument_id=1 << 24 | 1)
        w.publish(record)
        wait_for(lambda: len(bars) == 2)
    assert bars == [
        Bar("ESZ5", "cme", 60, 60 * 10**9, 1, 4, 0, 2, 10, 3, 3, BarFlag.PARTIAL),
        Bar("#77", "bars", 60, 60 * 10**9, 1, 4, 0, 2, 10, None, 3, BarFlag.PARTIAL),
    ]


def test_exception_is_logged_once_counted_and_the_next_tick_comes(writer, shm_dir, caplog):
    seen = []

    def on_tick(tick):
        seen.append(tick.seq)
        if tick.seq % 2:
            raise ZeroDivisionError(f"tick {tick.seq}")
        raise KeyError(tick.seq)

    with running(make(shm_dir, functions={"on_tick": on_tick})):
        writer.publish(quotes(100))
        wait_for(lambda: info(shm_dir) and info(shm_dir).acked == 100)
        assert info(shm_dir).counters["callback_errors"] == 100
    assert seen == list(range(1, 101))
    traces = [r for r in caplog.records if r.exc_info]
    assert [r.exc_info[0] for r in traces] == [ZeroDivisionError, KeyError]
    told = [r.getMessage() for r in caplog.records if not r.exc_info]
    assert [text.rsplit(" was ", 1)[1] for text in told] == ["raised 49 more times"] * 2


def test_exceptions_of_ever_new_places_are_told_up_to_a_limit(caplog):
    errors = module.CallbackErrors()
    for i in range(module.MAX_DISTINCT_ERRORS + 10):
        kind = type(f"Error{i}", (Exception,), {})
        errors.tell("f", kind())
    assert len([r for r in caplog.records if r.exc_info]) == module.MAX_DISTINCT_ERRORS + 1


def test_exception_with_stop_ends_the_consumer_before_the_batch_is_acknowledged(writer, shm_dir):
    def on_tick(tick):
        if tick.seq == 13:
            raise ZeroDivisionError

    writer.publish(quotes(20))
    consumer = make(shm_dir, functions={"on_tick": on_tick}, on_error="stop", batch_size=10)
    with pytest.raises(ZeroDivisionError):
        consumer.run(threading.Event())
    assert info(shm_dir).acked == 10
    assert info(shm_dir).counters["callback_errors"] == 1
    assert info(shm_dir).counters["failed_flushes"] == 1


def test_resume_repeats_the_batch_that_was_interrupted(writer, shm_dir):
    seen = []

    def fail(_batch):
        raise ZeroDivisionError

    writer.publish(quotes(5))
    options = {"on_error": "stop", "start": "resume"}
    with pytest.raises(ZeroDivisionError):
        make(shm_dir, functions={"on_batch": fail}, **options).run(threading.Event())
    with running(make(shm_dir, functions={"on_tick": seen.append}, **options)):
        wait_for(lambda: len(seen) == 5)
    assert [tick.seq for tick in seen] == [1, 2, 3, 4, 5]


def test_slow_function_loses_and_is_told_how_much(writer, shm_dir, caplog):
    gate, lost, seen = threading.Event(), [], []

    def on_batch(batch):
        lost.append(batch.lost)
        seen.append(len(batch))
        gate.wait(DEADLINE_S)

    with running(make(shm_dir, functions={"on_batch": on_batch}, batch_size=100)):
        writer.publish(quotes(100))
        wait_for(lambda: seen)
        for _ in range(99):
            writer.publish(quotes(100))
        gate.set()
        wait_for(lambda: info(shm_dir).acked == 9900 + 100)
    assert sum(lost) + sum(seen) == 10_000
    assert sum(lost) > 0
    assert "records lost, the functions were slower" in caplog.text


def test_without_follow_it_ends_with_the_ring(shm_dir):
    seen = []
    with Writer("cme", 256, directory=shm_dir) as w:
        w.publish(quotes(200))
    make(shm_dir, functions={"on_tick": seen.append}, follow=False).run(threading.Event())
    assert len(seen) == 200


def test_without_follow_a_ring_that_never_comes_is_told(shm_dir, caplog):
    make(shm_dir, ["ghost"], {"on_tick": print}, follow=False, wait_s=0).run(threading.Event())
    assert "never appeared: ring 'ghost'" in caplog.text


def test_function_that_never_returns_is_cancelled_after_the_stop(
    writer, shm_dir, monkeypatch, caplog
):
    monkeypatch.setattr(module, "STOP_S", 0.1)
    entered = threading.Event()

    async def on_batch(_batch):
        entered.set()
        await asyncio.Event().wait()

    with running(make(shm_dir, functions={"on_batch": on_batch})):
        writer.publish(quotes(1))
        assert entered.wait(DEADLINE_S)
    assert "did not return within 0.1 s of the stop: cancelled" in caplog.text
    assert info(shm_dir).acked == 0


def test_functions_are_imported_by_name(writer, shm_dir, monkeypatch):
    seen = []
    strategy = SimpleNamespace(strategy=SimpleNamespace(on_tick=seen.append), number=3)
    monkeypatch.setitem(sys.modules, "users_strategy", strategy)
    with running(make(shm_dir, on_tick="users_strategy:strategy.on_tick")):
        writer.publish(quotes(2))
        wait_for(lambda: len(seen) == 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "on_tick: cannot import 'no_such_module:f': No module named"),
        ("json:no_such", "on_tick: cannot import 'json:no_such': module 'json' has no"),
        ("json:__doc__", "on_tick: 'json:__doc__' is not a function"),
    ],
)
def test_function_that_cannot_be_imported_is_named(shm_dir, name, message):
    with pytest.raises(OptionsError, match=message):
        make(shm_dir, on_tick=name).run(threading.Event())


def test_tick_of_a_kind_that_is_not_known_is_handed_over(writer, shm_dir):
    seen, records = [], quotes(3)
    records["kind"][1], records["side"][1] = 13, 9
    with running(make(shm_dir, functions={"on_tick": seen.append})):
        writer.publish(records)
        wait_for(lambda: len(seen) == 3)
    assert [tick.kind.name for tick in seen] == ["QUOTE", "#13", "QUOTE"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "on_batch: one of on_batch, on_tick and on_bar is needed"),
        ({"on_tick": "nocolon"}, "on_tick: must be module:function, not 'nocolon'"),
        ({"on_error": "panic"}, "on_error: must be continue or stop"),
        ({"start": "yesterday"}, "start: must be now, oldest or resume"),
        ({"batch_size": 0}, "batch_size: must be a whole number"),
        ({"wait_s": -1}, "wait_s: must not be negative"),
    ],
)
def test_bad_option_is_named(shm_dir, given, message):
    with pytest.raises(ValueError, match=message):
        make(shm_dir, **given)


def test_it_runs_where_uvloop_is_not_installed(writer, shm_dir, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    caplog.set_level(logging.WARNING)
    seen = []
    with running(make(shm_dir, functions={"on_tick": seen.append})):
        writer.publish(quotes(2))
        wait_for(lambda: len(seen) == 2)
    assert loop_factory() is None
    assert not caplog.records
