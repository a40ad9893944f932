"""The bars consumer on real rings: several feeds, restarts, kills, loss, recordings played again."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from mdfeedd.consumers.bars import BarBuilder, BarsConsumer, BarsOptions
from mdfeedd.ring import Reader, Writer, remove
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, PRICE_SCALE, TRADE, BarFlag, Flag, Kind

S = 1_000_000_000
BASE = 1_700_000_040 * S
WAIT_S = 20.0


def market(n, ids, *, seconds=60.0, seed=1, start=BASE, flags=0):
    rng = np.random.default_rng(seed)
    ticks = np.zeros(n, TRADE)
    ticks["kind"] = Kind.TRADE
    ticks["ts_event"] = start + np.sort(rng.integers(0, round(seconds * S), n))
    ticks["ts_recv"] = ticks["ts_event"] + 1000
    ticks["instrument_id"] = rng.choice(ids, n)
    ticks["price"] = rng.integers(90, 110, n) * PRICE_SCALE
    ticks["size"] = rng.integers(1, 100, n)
    ticks["flags"] = flags
    return ticks


def at(*seconds, instrument_id, flags=0):
    ticks = market(len(seconds), [instrument_id], flags=flags)
    ticks["ts_event"] = [BASE + round(s * S) for s in seconds]
    ticks["ts_recv"] = ticks["ts_event"]
    return ticks


def feed(name, shm_dir, *, index=1, symbols=("ESZ4", "NQZ4"), capacity=65_536):
    writer = Writer(name, capacity, feed_index=index, directory=shm_dir)
    ids = [writer.instruments.add(s, vendor_id=7, tick_size=250_000_000) for s in symbols]
    return writer, ids


def consume(rings, shm_dir, **options):
    """Until the rings have ended."""
    given = BarsOptions(**{"intervals_s": (1, 10), "follow": False} | options)
    BarsConsumer("bars", given, rings, shm_dir).run(threading.Event())


def read_bars(shm_dir, ring="bars"):
    with Reader(ring, start="oldest", dtype=BAR, follow=False, directory=shm_dir) as reader:
        return np.concatenate([batch.records for batch in reader] or [np.empty(0, BAR)])


def made_of(ticks, intervals=(1, 10), *, first_seq=1):
    ticks = ticks.copy()
    ticks["seq"] = np.arange(first_seq, first_seq + len(ticks))
    builder = BarBuilder(intervals)
    return np.concatenate([builder.update(ticks), builder.flush()])


def without_seq(bars):
    return [tuple(bar)[1:] for bar in bars.tolist()]


def newest(bars):
    """The highest revision of each bar."""
    return {
        (bar["instrument_id"], bar["interval_s"], bar["ts_open"]): bar
        for bar in sorted(bars, key=lambda b: b["revision"])
    }


def counters(ring, shm_dir):
    return next(c for c in inspect(ring, shm_dir).consumers if c.name == "bars").counters


def wait_for(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_two_feeds_share_a_bar_ring(shm_dir):
    made = {}
    for index, name in enumerate(("cme", "dbn"), 1):
        writer, ids = feed(name, shm_dir, index=index)
        with writer:
            ticks = market(5_000, ids, seed=index)
            writer.publish(ticks)
        made[index] = made_of(ticks)
    consume(["cme", "dbn"], shm_dir)
    bars = read_bars(shm_dir)
    for index in (1, 2):
        of_feed = bars[bars["instrument_id"] >> 24 == index]
        assert without_seq(of_feed) == without_seq(made[index])
    with Reader("bars", dtype=BAR, directory=shm_dir) as reader:
        known = {(i.feed, i.symbol): i for i in reader.instruments}
    assert set(known) == {("cme", "ESZ4"), ("cme", "NQZ4"), ("dbn", "ESZ4"), ("dbn", "NQZ4")}
    assert known["dbn", "NQZ4"].instrument_id == 2 << 24 | 2
    assert known["cme", "ESZ4"].tick_size == 250_000_000
    assert counters("cme", shm_dir)["closed_bars"] == len(made[1])


def test_stopped_consumer_publishes_cut_bars_and_makes_them_whole_after_restart(shm_dir):
    writer, (es, _) = feed("cme", shm_dir)
    stop = threading.Event()
    options = BarsOptions(intervals_s=(1, 10))
    thread = threading.Thread(
        target=BarsConsumer("bars", options, ["cme"], shm_dir).run, args=(stop,)
    )
    with writer:
        writer.publish(at(-1, 0, 3, 5, instrument_id=es))
        thread.start()
        wait_for(lambda: [c.cursor for c in inspect("cme", shm_dir).consumers] == [4])
        wait_for(lambda: counters("cme", shm_dir)["closed_bars"] == 4)
        stop.set()
        thread.join(WAIT_S)
        cut = read_bars(shm_dir)
        assert [int(b["count"]) for b in cut if b["flags"] & BarFlag.PARTIAL] == [1, 1, 3]
        writer.publish(at(9, 12, instrument_id=es))
    consume(["cme"], shm_dir)
    final = newest(read_bars(shm_dir))
    whole = final[es, 10, BASE]
    assert (whole["count"], whole["revision"], whole["flags"]) == (4, 1, 0)
    second = final[es, 1, BASE + 5 * S]
    assert (second["count"], second["revision"], second["flags"]) == (1, 1, 0)


@contextlib.contextmanager
def running(shm_dir, *, intervals_s):
    """A consumer, which is stopped in the end."""
    stop = threading.Event()
    given = BarsOptions(intervals_s=intervals_s)
    thread = threading.Thread(
        target=BarsConsumer("bars", given, ["cme"], shm_dir).run, args=(stop,)
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(WAIT_S)


def publish_slowly(writer, ticks, shm_dir):
    """So that the consumer follows."""
    for first in range(0, len(ticks), 100):
        writer.publish(ticks[first : first + 100])
        upto = writer.next_seq - 1
        wait_for(lambda upto=upto: upto in [c.cursor for c in inspect("cme", shm_dir).consumers])


def test_bar_that_the_ring_does_not_reach_back_over_goes_on_where_it_was_cut(shm_dir):
    """Stopped four times within an hour, of which the ring holds some minutes: the hour has all
    trades, and a bar of an instrument that did not trade in between has those before and behind.
    What closed meanwhile stays as it was.
    """
    writer, (es, nq) = feed("cme", shm_dir, capacity=1024)
    hour = BASE // (3600 * S) * 3600 * S
    ticks = market(5_000, [es], seconds=3_000, start=hour + S)
    for place in (10, 4_900):  # the other one, at the beginning and at the end
        ticks["instrument_id"][place] = nq
    done = 0
    with writer:
        for read, unread in ((1_000, 300), (1_200, 700), (1_000, 0), (800, 0)):
            with running(shm_dir, intervals_s=(10, 3600)):
                publish_slowly(writer, ticks[done : done + read], shm_dir)
            writer.publish(ticks[done + read : done + read + unread])
            done += read + unread
    assert done == len(ticks)
    bars = read_bars(shm_dir)
    final, expected = newest(bars), newest(made_of(ticks, (10, 3600)))
    assert set(final) == set(expected)
    for key, bar in expected.items():
        found = final[key]
        for name in ("open", "high", "low", "close", "volume", "count", "ts_first", "ts_last"):
            assert found[name] == bar[name], (key, name)
        assert (found["first_seq"], found["last_seq"]) == (bar["first_seq"], bar["last_seq"])
        assert abs(int(found["vwap"]) - int(bar["vwap"])) <= 4
        assert not found["flags"] & BarFlag.GAP
    assert final[es, 3600, hour]["flags"] & BarFlag.PARTIAL
    assert final[es, 3600, hour]["revision"] == 3
    assert final[nq, 3600, hour]["revision"] == 1
    closed = [tuple(bar)[1:4] for bar in bars if not bar["flags"] & BarFlag.PARTIAL]
    assert len(closed) == len(set(closed))


def test_loss_between_what_was_cut_and_what_goes_on_is_a_gap(shm_dir):
    writer, (es, _) = feed("cme", shm_dir, capacity=256)
    hour = BASE // (3600 * S) * 3600 * S
    ticks = market(1_600, [es], seconds=3_000, start=hour + S)
    with writer:
        with running(shm_dir, intervals_s=(3600,)):
            publish_slowly(writer, ticks[:400], shm_dir)
        for first in range(400, 1_500, 100):
            writer.publish(ticks[first : first + 100])
        with running(shm_dir, intervals_s=(3600,)):
            publish_slowly(writer, ticks[1_500:], shm_dir)
    whole = newest(read_bars(shm_dir))[es, 3600, hour]
    assert whole["flags"] & BarFlag.GAP
    assert 500 <= whole["count"] < 1_600
    assert (whole["open"], whole["close"]) == (ticks["price"][0], ticks["price"][-1])


CHILD = """
import sys, threading
from mdfeedd.consumers.bars import BarsConsumer, BarsOptions
options = BarsOptions(intervals_s=(1, 10), follow=False)
BarsConsumer("bars", options, ["cme"], sys.argv[1]).run(threading.Event())
"""


@pytest.mark.parametrize("kills", [1, 4])
def test_killed_consumer_publishes_each_bar_once(shm_dir, spawn, kills):
    writer, ids = feed("cme", shm_dir)
    ticks = market(40_000, ids, seconds=4_000)
    with writer:
        for kill in range(kills):
            child = spawn([sys.executable, "-c", CHILD, shm_dir])
            part = ticks[kill * 40_000 // kills : (kill + 1) * 40_000 // kills]
            for i in range(0, len(part), 100):
                writer.publish(part[i : i + 100])
                if i == len(part) // 2 // 100 * 100:
                    wait_for(lambda: any(c.acked for c in inspect("cme", shm_dir).consumers))
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    consume(["cme"], shm_dir)
    assert without_seq(read_bars(shm_dir)) == without_seq(made_of(ticks))


def test_feed_that_starts_after_the_consumer(shm_dir):
    writer, (es, _) = feed("cme", shm_dir)
    options = BarsOptions(intervals_s=(1,), follow=False)
    thread = threading.Thread(
        target=BarsConsumer("bars", options, ["cme", "late"], shm_dir).run,
        args=(threading.Event(),),
    )
    thread.start()
    with writer:
        writer.publish(at(0, 1, 2, instrument_id=es))
    wait_for(lambda: [c.cursor for c in inspect("cme", shm_dir).consumers] == [3])
    late, (id_2, _) = feed("late", shm_dir, index=2)
    with late:
        late.publish(at(0, 1, 2, instrument_id=id_2))
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert sorted(read_bars(shm_dir)["instrument_id"].tolist()) == [es] * 3 + [id_2] * 3


def test_lapped_consumer_marks_the_bars_that_miss_trades(shm_dir):
    writer, (es, _) = feed("cme", shm_dir, capacity=256)
    with writer:
        writer.publish(at(0, 1, 2, instrument_id=es))
    consume(["cme"], shm_dir, intervals_s=(1,))
    writer, (es, _) = feed("cme", shm_dir, capacity=256)
    with writer:
        for _ in range(10):
            writer.publish(market(100, [es], seconds=1, start=BASE + 2 * S))
        writer.publish(at(3, 4, 5, instrument_id=es))
    consume(["cme"], shm_dir, intervals_s=(1,))
    flags = {(b["ts_open"] - BASE) // S: int(b["flags"]) for b in read_bars(shm_dir)}
    assert flags[1] == 0
    assert flags[2] & BarFlag.GAP
    assert not flags[3] & BarFlag.GAP


def test_lapped_before_the_first_bar_was_safe_is_told_after_a_restart(shm_dir):
    """A run that has acknowledged nothing has read all the same: what it needs again is lost, not unknown."""
    writer, (es, _) = feed("cme", shm_dir, capacity=256)
    with writer:
        writer.publish(at(0, instrument_id=es))
    consume(["cme"], shm_dir, intervals_s=(1,))
    assert next(c for c in inspect("cme", shm_dir).consumers if c.name == "bars").acked == 0
    writer, (es, _) = feed("cme", shm_dir, capacity=256)
    with writer:
        for _ in range(10):
            writer.publish(market(100, [es], seconds=1, start=BASE + 2 * S))
        writer.publish(at(3, 4, 5, instrument_id=es))
    consume(["cme"], shm_dir, intervals_s=(1,))
    flags = {(b["ts_open"] - BASE) // S: int(b["flags"]) for b in read_bars(shm_dir)}
    assert flags[2] & BarFlag.GAP
    assert not flags[3] & BarFlag.GAP
    assert next(c for c in inspect("cme", shm_dir).consumers if c.name == "bars").lost > 0


def test_recording_played_again_gives_its_bars_again(shm_dir):
    writer, ids = feed("dbn", shm_dir)
    ticks = market(2_000, ids, flags=Flag.REPLAYED)
    with writer:
        writer.publish(ticks)
    consume(["dbn"], shm_dir)
    once = made_of(ticks)
    assert without_seq(read_bars(shm_dir)) == without_seq(once)
    writer, _ = feed("dbn", shm_dir)
    with writer:
        writer.publish(ticks)
    consume(["dbn"], shm_dir)
    again = read_bars(shm_dir)[len(once) :]
    assert without_seq(again) == without_seq(made_of(ticks, first_seq=2_001))


def test_recording_played_again_into_a_new_ring(shm_dir):
    for _ in range(2):
        writer, ids = feed("dbn", shm_dir)
        ticks = market(500, ids, flags=Flag.REPLAYED)
        with writer:
            writer.publish(ticks)
        consume(["dbn"], shm_dir)
        remove("dbn", shm_dir)
    assert without_seq(read_bars(shm_dir)) == without_seq(made_of(ticks)) * 2


def test_live_feed_restarts_in_the_middle_of_a_bar(shm_dir):
    writer, (es, _) = feed("cme", shm_dir)
    with writer:
        writer.publish(at(-1, 0, 1, instrument_id=es))
    writer, _ = feed("cme", shm_dir)
    with writer:
        writer.publish(at(2, 12, instrument_id=es))
    consume(["cme"], shm_dir, intervals_s=(10,))
    assert read_bars(shm_dir)["count"].tolist() == [1, 3, 1]


def test_instrument_without_an_entry_is_named_by_its_number_until_it_has_one(shm_dir):
    writer, (es, _) = feed("cme", shm_dir)
    unknown = es + 41
    with writer:
        writer.publish(at(0, 1, 2, instrument_id=unknown))
    consume(["cme"], shm_dir, intervals_s=(1,))
    with Reader("bars", dtype=BAR, directory=shm_dir) as reader:
        assert reader.instruments.symbol(unknown) == f"#{unknown}"
    writer, _ = feed("cme", shm_dir)
    with writer:
        for i in range(40):
            last = writer.instruments.add(f"X{i}")
        assert last == unknown
        writer.publish(at(3, 4, instrument_id=unknown))
    consume(["cme"], shm_dir, intervals_s=(1,))
    with Reader("bars", dtype=BAR, directory=shm_dir) as reader:
        assert reader.instruments.symbol(unknown) == "X39"


def test_late_and_timeless_trades_are_counted_where_operators_look(shm_dir):
    writer, (es, _) = feed("cme", shm_dir)
    bad = at(0.5, instrument_id=es, flags=Flag.BAD_TS)
    with writer:
        writer.publish(np.concatenate([at(0, 5, 1, instrument_id=es), bad]))
    consume(["cme"], shm_dir)
    counted = counters("cme", shm_dir)
    assert (counted["late_trades"], counted["bad_time_trades"]) == (1, 1)


def test_ids_of_another_feed_are_dropped_and_told_once(shm_dir, caplog):
    writer, (es, _) = feed("cme", shm_dir)
    with writer:
        writer.publish(at(0, 1, instrument_id=es))
        for _ in range(3):
            writer.publish(at(2, instrument_id=es | 9 << 24))
    consume(["cme"], shm_dir)
    assert counters("cme", shm_dir)["dropped_records"] == 3
    assert [r.name for r in caplog.records] == ["mdfeedd.consumers.bars"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"intervals_s": ()}, "intervals_s"),
        ({"intervals_s": (0,)}, "intervals_s"),
        ({"intervals_s": tuple(range(1, 10))}, "intervals_s"),
        ({"ring": ""}, "ring"),
        ({"capacity": 0}, "capacity"),
        ({"flat_limit": 0}, "flat_limit"),
        ({"lateness_s": -1.0}, "lateness_s"),
        ({"intervals_s": (1,), "lateness_s": 15.1}, "lateness_s"),
        ({"lateness_s": float("nan")}, "lateness_s"),
    ],
)
def test_option_beyond_its_limit_is_named(options, key):
    with pytest.raises(ValueError, match=f"^{key}: "):
        BarsOptions(**options)


def test_intervals_are_sorted_and_once_each():
    assert BarsOptions(intervals_s=(60, 1, 60)).intervals_s == (1, 60)


def test_table_of_instruments_is_as_large_as_it_is_told(shm_dir):
    writer, ids = feed("cme", shm_dir)
    writer.publish(at(0.1, 1.2, instrument_id=ids[0]))
    writer.close()
    consume(["cme"], shm_dir, instruments_capacity=64, capacity=1024)
    info = inspect("bars", shm_dir)
    assert (info.instruments_capacity, info.instruments_count) == (64, 1)
    assert info.total_size < 1 << 20
