"""Feeds, symbols and aggregations that come and go while a manager runs."""

from __future__ import annotations

import os

import pytest
from manager_scenes import counting, pids

from mdfeedd import FeedConfig, FeedManager, Vendor
from mdfeedd.tick import BarFlag


def test_feeds_come_and_go(made, run, until, tmp_path):
    seen = {}

    def on_tick(tick):
        seen[tick.vendor] = seen.get(tick.vendor, 0) + 1

    manager = made(on_tick=on_tick)
    manager.add_feed(counting("one", ticks=10**6))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            (first,) = pids(manager)
            assert manager.add_feed(counting("two", ticks=100)) == "two"
            await manager.applied()
            made.seen.update(pids(manager))
            await until(lambda: seen.get("two") == 100)
            manager.remove_feed("two")
            await manager.applied()
            assert pids(manager) == [first]
            assert sorted(os.listdir(manager.directory)) == ["mdfeedd.one", "mdfeedd.one.readers"]
            manager.add_feed(counting("two", ticks=30))
            await manager.applied()
            made.seen.update(pids(manager))
            await until(lambda: seen.get("two") == 130)
            with pytest.raises(ValueError, match="there is a feed two already"):
                manager.add_feed(counting("two"))
            with pytest.raises(KeyError, match="there is no feed 'three' \\(known: one, two"):
                manager.remove_feed("three")
            manager.remove_feed("two")
            with pytest.raises(ValueError, match="one is the last feed"):
                manager.remove_feed("one")
            assert list(manager.feeds) == ["one"]

    run(scenario())


def test_symbols_come_and_go_within_the_session(made, run, until, databento):
    gateway = databento("ESZ4", "NQZ4", "CLF5")
    seen = set()
    manager = made(on_tick=lambda tick: seen.add(tick.symbol) if tick.symbol else None)
    manager.add_feed(FeedConfig(Vendor.DATABENTO, ["ESZ4"], "your-key", "GLBX.MDP3"))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: seen == {"ESZ4"})
            manager.add_symbols("databento", ["NQZ4", "ESZ4"])
            await manager.applied()
            await until(lambda: seen == {"ESZ4", "NQZ4"})
            assert len(gateway.core.sessions) == 1
            assert manager.feeds["databento"].symbols == ("ESZ4", "NQZ4")
            manager.remove_symbols("databento", ["ESZ4"])
            await manager.applied()
            await until(lambda: len(gateway.core.sessions) == 2)
            with pytest.raises(ValueError, match="does not have ESZ4"):
                manager.remove_symbols("databento", ["ESZ4"])
            with pytest.raises(ValueError, match="these are all of feed databento"):
                manager.remove_symbols("databento", ["NQZ4"])
            with pytest.raises(TypeError, match="must be a list"):
                manager.add_symbols("databento", "CLF5")

    run(scenario())


def test_symbol_that_the_vendor_does_not_know(made, run, until, databento, capfd):
    databento("ESZ4")
    seen = set()
    manager = made(on_tick=lambda tick: seen.add(tick.symbol) if tick.symbol else None)
    config = FeedConfig(Vendor.DATABENTO, ["ESZ4", "NOSUCH"], "your-key", "GLBX.MDP3")
    manager.add_feed(config)

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            await until(lambda: seen == {"ESZ4"})

    run(scenario())
    assert "a symbol is not resolved, the others go on" in capfd.readouterr().err


def test_bars_of_several_lengths_also_of_feeds_that_come_later(made, run, until):
    bars = {1: [], 2: [], 3: []}
    manager = made()
    manager.enable_aggregation(1, bars[1].append)
    manager.enable_aggregation(timeframe_seconds=2, on_bar=bars[2].append)
    manager.add_feed(counting("one", ["A"], ticks=10**6, pause_s=0.01))

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            manager.add_feed(counting("two", ["B"], ticks=10**6, pause_s=0.01))
            manager.enable_aggregation(3, bars[3].append)
            await manager.applied()
            made.seen.update(pids(manager))
            await until(
                lambda: all({b.symbol for b in found} == {"A", "B"} for found in bars.values())
            )

    run(scenario())
    for length, found in bars.items():
        assert {bar.interval_s for bar in found} == {length}
        opened = [(bar.symbol, bar.ts_open_ns) for bar in found]
        assert len(set(opened)) == len(opened)  # nobody's bars were disturbed by the changes
        assert sum(bool(bar.flags & BarFlag.PARTIAL) for bar in found) <= 4
        for bar in found:
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


def test_bars_of_the_vendor(made, run, until, databento):
    databento("ESZ4", "NQZ4")
    bars = []
    manager = made()
    manager.enable_aggregation(1, bars.append)
    manager.enable_aggregation(60, lambda bar: pytest.fail("nobody makes these"))
    manager.add_feed(
        FeedConfig(Vendor.DATABENTO, ["ESZ4"], "your-key", "GLBX.MDP3", schema="ohlcv-1s")
    )

    async def scenario():
        async with manager:
            (only,) = pids(manager)
            made.seen.add(only)
            await until(lambda: len(bars) >= 2)

    run(scenario())
    assert {(bar.symbol, bar.vendor, bar.interval_s) for bar in bars} == {("ESZ4", "databento", 1)}
    opened = [bar.ts_open_ns for bar in bars]
    assert len(set(opened)) == len(opened)
    assert manager.stats().bars == len(bars)


def test_aggregation_that_is_refused_changes_nothing(made, run, monkeypatch):
    manager = made()
    manager.add_feed(counting())

    def refuse(*_):
        raise ValueError("consumers: too many")

    async def scenario():
        async with manager:
            made.seen.update(pids(manager))
            monkeypatch.setattr(manager._engine, "plan", refuse)
            with pytest.raises(ValueError, match="too many"):
                manager.enable_aggregation(7, print)
            assert not manager._engine.aggregations

    run(scenario())


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((0, print), ValueError, "timeframe_seconds: must be 1 to 604800"),
        ((1.5, print), TypeError, "timeframe_seconds: must be whole"),
        ((True, print), TypeError, "timeframe_seconds: must be whole"),
        ((60,), TypeError, "on_bar: must be a function, not None"),
    ],
)
def test_aggregations_that_are_none(arguments, error, text):
    with pytest.raises(error, match=text):
        FeedManager().enable_aggregation(*arguments)


def test_callbacks_that_are_none():
    with pytest.raises(TypeError, match="on_batch: must be a function, not 'x'"):
        FeedManager(on_batch="x")
    with pytest.raises(ValueError, match="backpressure: must be drop or wait"):
        FeedManager(backpressure="block")


def test_names_of_feeds(made):
    manager = made()
    names = [manager.add_feed(FeedConfig(Vendor.SYNTHETIC)) for _ in range(3)]
    assert names == ["synthetic", "synthetic-2", "synthetic-3"]
    with pytest.raises(ValueError, match="feed a b: "):
        manager.add_feed(FeedConfig(Vendor.SYNTHETIC, name="a b"))
    assert repr(manager) == "<FeedManager: synthetic, synthetic-2, synthetic-3, not running>"
