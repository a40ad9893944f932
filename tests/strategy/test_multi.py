"""Several rings read as one: order, ids, loss, waiting, ends."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from mdfeedd import TICK, MultiReader, Reader, Writer
from mdfeedd.ring import RingMissing, RingOverrun
from mdfeedd.ring.inspect import inspect
from mdfeedd.strategy.multi import MAX_FEEDS

PATIENCE_S = 60


@pytest.fixture
def pair(shm_dir):
    """Two writers, a and b, of different feed indexes."""
    with (
        Writer("a", feed_index=1, directory=shm_dir) as a,
        Writer("b", feed_index=2, directory=shm_dir) as b,
    ):
        yield a, b


@pytest.fixture
def both(shm_dir, pair):
    """A reader of both."""
    with Reader(["a", "b"], directory=shm_dir) as reader:
        yield reader


def drain(reader, n, max_records=4096):
    """The batches of the next `n` records."""
    batches = []
    while n > 0:
        batches.append(reader.read(max_records, timeout=PATIENCE_S))
        assert len(batches[-1]), "nothing came"
        n -= len(batches[-1])
    return batches


def test_a_list_gives_a_multi_reader_and_a_name_a_reader(shm_dir, pair, both):
    assert type(both) is MultiReader
    with Reader("a", directory=shm_dir) as one:
        assert type(one) is Reader
    assert both.feeds == ("a", "b")


def test_merged_by_arrival(pair, both, make):
    a, b = pair
    a.publish(make.at_times([1, 4, 6], 1 << 24 | 1))
    b.publish(make.at_times([2, 3, 9], 2 << 24 | 1))
    batch = both.read()
    assert batch.records["ts_recv"].tolist() == [1, 2, 3, 4, 6, 9]
    assert [batch.feeds[i] for i in batch.feed] == ["a", "b", "b", "a", "a", "b"]
    assert batch.records["seq"].tolist() == [1, 1, 2, 2, 3, 3]
    assert len(batch.quotes) == 6
    assert (
        batch.of_feed("b")["ts_recv"].tolist() == batch.of_feed(1)["ts_recv"].tolist() == [2, 3, 9]
    )
    assert (batch.late, batch.lost, batch.lost_by_feed) == (0, 0, (0, 0))


def test_merged_by_the_venues_time_with_a_hold(shm_dir, pair, make):
    a, b = pair
    with Reader(["a", "b"], order="venue", hold_s=10, directory=shm_dir) as reader:
        a.publish(make.at_times([10, 30], 1 << 24 | 1, recv=[100, 101]))
        assert not len(reader.read(timeout=0))
        assert reader.held == reader.lag == 2
        b.publish(make.at_times([20, 40], 2 << 24 | 1, recv=[300, 301]))
        assert reader.read(timeout=5).records["ts_event"].tolist() == [10, 20, 30]


def test_one_record_at_a_time_of_many_that_are_held(shm_dir, pair, make):
    with Reader(["a", "b"], order="venue", hold_s=0.05, directory=shm_dir) as reader:
        for feed, writer in enumerate(pair, 1):
            writer.publish(make.at_times(range(feed, 10_000, 2), feed << 24 | 1))
        seen = [reader.read(1, timeout=PATIENCE_S) for _ in range(100)]
        assert [int(batch.records["ts_event"][0]) for batch in seen] == list(range(1, 101))
        assert reader.held > 4096, "what has to wait is read in large pieces"


def test_hold_ends_by_itself(shm_dir, pair, make):
    a, b = pair
    with Reader(["a", "b"], order="venue", hold_s=0.05, directory=shm_dir) as reader:
        a.publish(make.at_times([10, 30], 1 << 24 | 1))
        assert reader.read(timeout=PATIENCE_S).records["ts_event"].tolist() == [10, 30]
        b.publish(make.at_times([20, 40], 2 << 24 | 1))
        batches = drain(reader, 2)
        assert batches[0].records["ts_event"].tolist()[0] == 20
        assert sum(batch.late for batch in batches) == reader.late == 1


def test_batches_smaller_than_what_is_there_keep_the_order(pair, both, make):
    chance = np.random.default_rng(5)
    for feed, writer in enumerate(pair, 1):
        writer.publish(make.at_times(np.sort(chance.integers(1, 10**6, 5000)), feed << 24 | 1))
    batches = drain(both, 10_000, 700)
    times = np.concatenate([batch.records["ts_recv"] for batch in batches])
    assert (np.diff(times) >= 0).all()
    assert all(batch.late == 0 for batch in batches)
    for feed in (0, 1):
        mine = np.concatenate([batch.of_feed(feed)["seq"] for batch in batches])
        assert mine.tolist() == list(range(1, 5001))


def test_gap_stays_before_what_it_tells_of(pair, both, make):
    a, b = pair
    a.publish(np.concatenate([make.quote(1 << 24 | 1, 1, 2, ts=5), make.gap(ts=0), make.quote(1 << 24 | 1, 1, 2, ts=7)]))  # fmt: skip
    b.publish(make.at_times([6], 2 << 24 | 1))
    batch = both.read()
    assert [tick.kind.name for tick in batch] == ["QUOTE", "GAP", "QUOTE", "QUOTE"]
    assert [tick.vendor for tick in batch] == ["a", "a", "b", "a"]


def test_ids_of_feeds_with_one_index_are_told_apart(shm_dir, make):
    with (
        Writer("a", feed_index=7, directory=shm_dir) as a,
        Writer("b", feed_index=7, directory=shm_dir) as b,
        Reader(["a", "b"], directory=shm_dir) as reader,
    ):
        one, other = a.instruments.add("ESZ6", venue="A"), b.instruments.add("NQZ6", venue="B")
        assert one == other
        b.publish(np.concatenate([make.quote(other, 3, 4, ts=2), make.gap(ts=3)]))
        a.publish(np.concatenate([make.quote(one, 1, 2, ts=1), make.gap(ts=4)]))
        batch = reader.read()
        ids = batch.records["instrument_id"].tolist()
        assert ids[0] != ids[1]
        assert ids[2:] == [0, 0]
        assert [tick.symbol for tick in batch] == ["ESZ6", "NQZ6", "", ""]
        assert batch.instruments[ids[1]].venue == "B"
        assert reader.instruments[ids[1]].instrument_id == ids[1]
        assert reader.instruments.ids("NQZ6") == [ids[1]]
        assert reader.last["NQZ6"].bid == 3.0


def test_ids_of_one_daemon_stay_as_they_are(pair, both, make):
    for writer in pair:
        own = writer.instruments.add("X")
        writer.publish(make.quote(own, 1, 2))
        batch = both.read()
        assert batch.records["instrument_id"].tolist() == [own]
        assert batch[0].symbol == "X"


def test_quiet_ring_is_looked_at_though_another_is_busy(shm_dir, pair, make):
    """A busy ring alone takes the short way; that the other was closed and made anew is seen all the same."""
    from mdfeedd.ring import remove

    a, b = pair
    with Reader(["a", "b"], directory=shm_dir) as reader:
        b.close()
        remove("b", shm_dir)
        with Writer("b", feed_index=9, directory=shm_dir) as again:
            again.publish(make.at_times([1], 9 << 24 | 1))
            feeds = set()
            for i in range(10_000):
                a.publish(make.at_times([i + 1], 1 << 24 | 1))
                feeds.update(reader.read(timeout=0).feed.tolist())
                if feeds == {0, 1}:
                    break
        assert feeds == {0, 1}


def test_name_of_a_quiet_ring_is_looked_at_though_another_is_busy(shm_dir, pair, make):
    """The ring's file was taken away, and its writer never said so: only the name tells."""
    from mdfeedd.ring import segment

    a, _b = pair
    with Reader(["a", "b"], directory=shm_dir) as reader:
        segment.ring_path("b", shm_dir).unlink()
        with Writer("b", feed_index=9, directory=shm_dir) as again:
            again.publish(make.at_times([1], 9 << 24 | 1))
            feeds, end_s = set(), time.monotonic() + PATIENCE_S
            while feeds != {0, 1} and time.monotonic() < end_s:
                time.sleep(0.01)
                a.publish(make.at_times([1], 1 << 24 | 1))
                feeds.update(reader.read(timeout=0).feed.tolist())
        assert feeds == {0, 1}


@pytest.mark.parametrize("hold_s", [0.0, 10.0])
def test_ring_made_anew_has_ids_of_its_own(shm_dir, make, hold_s):
    """The new ring gives the id of what was there to something else; records of both wait, and old batches are kept."""
    from mdfeedd.ring import remove

    with Writer("a", feed_index=1, directory=shm_dir) as a:
        b = Writer("b", feed_index=2, directory=shm_dir)
        reader = Reader(["a", "b"], order="venue", hold_s=hold_s, directory=shm_dir)
        with b:
            old = b.instruments.add("OLD")
            b.publish(np.concatenate([make.quote(old, 1, 2, ts=t) for t in (10, 11)]))
            last = reader.last
            batches = [reader.read(1, timeout=0)]
        remove("b", shm_dir)
        with Writer("b", feed_index=2, directory=shm_dir) as b, reader:
            new = b.instruments.add("NEW")
            assert new == old
            b.publish(make.quote(new, 3, 4, ts=20))
            end_s = time.monotonic() + PATIENCE_S
            while hold_s and reader.held < 3 and time.monotonic() < end_s:
                assert not len(reader.read(timeout=0.01))
            a.publish(make.quote(a.instruments.add("A"), 5, 6, ts=30))
            while sum(map(len, batches)) < (3 if hold_s else 4) and time.monotonic() < end_s:
                batches.append(reader.read(1, timeout=0.1))
            ticks = [tick.symbol for batch in batches for tick in batch]
            assert [name for name in ticks if name != "A"] == ["OLD", "OLD", "NEW"]
            ids = np.concatenate([batch.records["instrument_id"] for batch in batches])
            assert len(set(ids.tolist())) == len(set(ticks))
            assert last["NEW"].bid == 3.0
            assert "OLD" not in last
            assert set(last) == set(ticks) - {"OLD"}
            assert len(last.records) == len(last)


def test_loss_is_told_by_feed(shm_dir, make):
    with (
        Writer("a", 256, directory=shm_dir) as a,
        Writer("b", 256, directory=shm_dir) as b,
        Reader(["a", "b"], directory=shm_dir) as reader,
    ):
        ida, idb = a.instruments.add("A"), b.instruments.add("B")
        last = reader.last
        a.publish(make.quote(ida, 1, 2, ts=1))
        b.publish(make.quote(idb, 1, 2, ts=1))
        drain(reader, 2)
        for i in range(1000):
            a.publish(make.clear(999, ts=2 + i))
        seen = lost = 0
        while seen + lost < 1000:
            batch = reader.read(timeout=PATIENCE_S)
            seen, lost = seen + len(batch), lost + batch.lost
            assert batch.lost == batch.lost_by_feed[0]
        assert lost == reader.lost > 0
        assert last["A"].is_gapped
        assert not last["B"].is_gapped


def test_overrun_is_raised_where_it_is_asked_for(shm_dir, pair, make):
    with (
        Writer("c", 256, directory=shm_dir) as c,
        Reader(["a", "c"], on_overrun="raise", directory=shm_dir) as reader,
    ):
        for _ in range(1000):
            c.publish(make.clear(9))
        with pytest.raises(RingOverrun):
            reader.read()
        assert len(reader.read())


def test_blocked_read_is_woken_by_any_ring(pair, both, make):
    def publish():
        for i in range(40):
            time.sleep(0.005)
            pair[i % 2].publish(make.at_times([i + 1], (1 + i % 2) << 24 | 1))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        batches = drain(both, 40)
    finally:
        thread.join()
    assert sum(len(batch) for batch in batches) == 40


def test_blocked_read_sleeps(both):
    before = time.process_time()
    assert not len(both.read(timeout=1.0))
    assert time.process_time() - before < 0.5  # a busy loop would use the whole second


def test_signal_ends_a_blocked_read(both):
    import signal

    def interrupt(*_):
        raise InterruptedError("told")

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.get_ident()
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(InterruptedError, match="told"):
            both.read(timeout=PATIENCE_S)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_ends_when_all_writers_have_closed_and_gives_out_what_is_held(shm_dir, make):
    with (
        Writer("a", feed_index=1, directory=shm_dir) as a,
        Writer("b", feed_index=2, directory=shm_dir) as b,
    ):
        reader = MultiReader(["a", "b"], order="venue", hold_s=10, follow=False, directory=shm_dir)
        a.publish(make.at_times([10], 1 << 24 | 1))
        b.publish(make.at_times([20, 30], 2 << 24 | 1))
    with reader:
        got = [time for batch in reader for time in batch.records["ts_event"].tolist()]
        assert got == [10, 20, 30]
        assert reader.ended


def test_closed_gives_all_slots_back(shm_dir, pair):
    reader = Reader(["a", "b"], consumer="me", directory=shm_dir)
    assert [c.name for c in inspect("a", shm_dir).consumers if c.alive] == ["me"]
    reader.close()
    assert reader.closed
    for ring in "ab":
        assert not [c for c in inspect(ring, shm_dir).consumers if c.alive]
    with pytest.raises(ValueError, match="closed"):
        reader.read()
    assert "closed" in repr(reader)


def test_ring_that_is_missing_leaves_none_attached(shm_dir, pair):
    with pytest.raises(RingMissing, match="no ring 'nowhere'"):
        Reader(["a", "nowhere"], consumer="me", directory=shm_dir)
    assert not [c for c in inspect("a", shm_dir).consumers if c.alive]


def test_resumes_after_what_was_acknowledged(shm_dir, pair, make):
    a, b = pair
    with Reader(["a", "b"], consumer="me", directory=shm_dir) as reader:
        a.publish(make.at_times([1, 2, 3], 1 << 24 | 1))
        b.publish(make.at_times([4, 5], 2 << 24 | 1))
        reader.ack(reader.read(2))
        reader.read(1)
    with Reader(["a", "b"], "resume", "me", directory=shm_dir) as reader:
        assert reader.read().records["ts_event"].tolist()[0] == 3


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        ([], {}, "names must be 1 to 64 rings"),
        (["a", "a"], {}, "a ring is named twice"),
        ([f"r{i}" for i in range(MAX_FEEDS + 1)], {}, "names must be 1 to 64 rings, not 65"),
        (["a"], {"order": "seq"}, "order must be recv or venue"),
        (["a"], {"hold_s": -1}, "hold_s must be 0 to 10 seconds"),
        (["a"], {"hold_s": float("nan")}, "hold_s must be 0 to 10 seconds"),
        (["a"], {"symbols": ["X"]}, "symbols: must be a mapping"),
        (["a"], {"symbols": {"X": {}}}, "must map feeds"),
        (["a"], {"symbols": {"X": {"a": ""}}}, "must be a symbol"),
        (["a"], {"symbols": {"X": {"a": "Z"}, "Y": {"a": "Z"}}}, "cannot be 'Y' too"),
    ],
)
def test_options_that_cannot_be(shm_dir, pair, names, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MultiReader(names, directory=shm_dir, **options)


def test_name_that_is_no_list(shm_dir, pair):
    with pytest.raises(TypeError, match=r"names must be a list of rings, such as \['ab'\]"):
        MultiReader("ab", directory=shm_dir)


def test_no_record_at_all_is_asked_for(both):
    with pytest.raises(ValueError, match="max_records must be at least 1"):
        both.read(0)


def test_one_symbol_over_vendors(shm_dir, pair, make):
    a, b = pair
    symbols = {"ES": {"a": "ESZ6", "b": "ESZ6 Index", "c": "elsewhere"}}
    with Reader(["a", "b"], symbols=symbols, directory=shm_dir) as reader:
        last = reader.last
        with pytest.raises(KeyError):
            last["ES"]
        es = a.instruments.add("ESZ6")
        other = b.instruments.add("ESZ6-B", vendor_symbol="ESZ6 Index")
        nq = b.instruments.add("NQZ6")
        a.publish(make.quote(es, 10, 12, ts=1))
        b.publish(np.concatenate([make.quote(other, 11, 13, ts=2), make.quote(nq, 1, 2, ts=3)]))
        drain(reader, 3)
        seen = last["ES"]
        assert (seen.bid, seen.bid_feed, seen.ask, seen.ask_feed) == (11.0, "b", 12.0, "a")
        assert [source.symbol for source in seen.sources] == ["ESZ6", "ESZ6-B"]
        assert list(last) == ["ES", "NQZ6"]
        b.publish(make.gap(ts=4))
        drain(reader, 1)
        assert last["ES"].bid_feed == "a"
        assert not last["ES"].is_gapped


def test_symbol_of_the_map_that_no_ring_has_is_told_with_what_was_meant(shm_dir, pair):
    a, _b = pair
    a.instruments.add("ESZ6")
    symbols = {"ES": {"a": "ESZ9", "b": "ESZ6 Index"}, "NQ": {"aa": "NQZ6"}}
    with Reader(["a", "b"], symbols=symbols, directory=shm_dir) as reader:
        with pytest.raises(KeyError) as unknown:
            reader.last["ES"]
        assert str(unknown.value) == (
            "'ES' of symbols=: no instrument 'ESZ9' in a (did you mean 'ESZ6'?),"
            " no instrument 'ESZ6 Index' in b"
        )
        with pytest.raises(KeyError, match="'NQ' is of aa by symbols=, and read are a, b"):
            reader.last["NQ"]


def test_last_values_are_those_of_what_was_given_out(shm_dir, pair, make):
    a, b = pair
    es = a.instruments.add("ES")
    with Reader(["a", "b"], order="venue", hold_s=10, directory=shm_dir) as reader:
        a.publish(make.quote(es, 1, 2, ts=10))
        b.publish(make.at_times([20], 2 << 24 | 1))
        drain(reader, 1)
        a.publish(make.quote(es, 5, 6, ts=30))  # held: b may bring something before it
        drain(reader, 1)
        assert not len(reader.read(timeout=0))
        assert reader.last["ES"].bid == 1.0
        b.publish(make.at_times([40], 2 << 24 | 1))
        drain(reader, 1)
        assert reader.last["ES"].bid == 5.0


def test_frames_say_of_which_feed_a_row_is(pair, both, make):
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    a, b = pair
    a.publish(make.quote(a.instruments.add("A"), 1, 2, ts=1))
    b.publish(make.quote(b.instruments.add("B"), 1, 2, ts=2))
    batch = both.read()
    assert batch.to_arrow().column("feed").to_pylist() == ["a", "b"]
    assert batch.to_pandas()["feed"].tolist() == ["a", "b"]


def test_batch_is_a_sequence(pair, both, make):
    pair[0].publish(make.at_times([1, 2, 3], 1 << 24 | 1))
    batch = both.read()
    assert len(batch) == 3
    assert batch[-1].timestamp_ns == 3
    assert [tick.timestamp_ns for tick in batch[1:]] == [2, 3]
    with pytest.raises(IndexError):
        batch[3]
    with pytest.raises(ValueError):
        batch.of_feed("c")
    assert batch.records.dtype == TICK
    assert batch.records.flags.writeable


# ---------------------------------------------------------------------------------------- event loops


def loops():
    found = [asyncio.new_event_loop]
    try:
        import uvloop
    except ImportError:
        return found
    return [*found, uvloop.new_event_loop]


@pytest.fixture(params=loops(), ids=lambda factory: factory.__module__.split(".")[0])
def run(request):
    def runner(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, PATIENCE_S))

    return runner


def test_event_loop_is_woken_by_any_ring(pair, both, make, run):
    async def main():
        async def publish():
            for i in range(20):
                await asyncio.sleep(0.002)
                pair[i % 2].publish(make.at_times([i + 1], (1 + i % 2) << 24 | 1))

        task = asyncio.create_task(publish())
        times = []
        async for batch in both:
            times += batch.records["ts_event"].tolist()
            if len(times) >= 20:
                break
        await task
        return times

    assert sorted(run(main())) == list(range(1, 21))


def test_event_loop_ends_the_hold(shm_dir, pair, make, run):
    async def main(reader):
        pair[0].publish(make.at_times([1], 1 << 24 | 1))
        return await anext(reader)

    with Reader(["a", "b"], order="venue", hold_s=0.05, directory=shm_dir) as reader:
        assert len(run(main(reader))) == 1


def test_event_loop_sleeps(pair, both, run):
    async def main():
        before = time.process_time()
        assert not await both.wait(1.0)
        return time.process_time() - before

    assert run(main()) < 0.5  # a busy loop would use the whole second


def test_async_iteration_ends_with_the_rings(shm_dir, make, run):
    async def main(reader):
        return [len(batch) async for batch in reader]

    with (
        Writer("a", directory=shm_dir) as a,
        Writer("b", directory=shm_dir),
    ):
        reader = MultiReader(["a", "b"], follow=False, directory=shm_dir)
        a.publish(make.at_times([1, 2]))
    with reader:
        assert run(main(reader)) == [2]


def native_threads():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Threads:"))


def test_many_rings_one_thread(shm_dir, make, run):
    names = [f"r{i}" for i in range(12)]
    writers = [Writer(name, 256, feed_index=i, directory=shm_dir) for i, name in enumerate(names)]

    async def main(reader):
        assert not await reader.wait(0.01)
        before = native_threads()
        for i, writer in enumerate(writers):
            writer.publish(make.at_times([i + 1], i << 24 | 1))
        seen = 0
        async for batch in reader:
            seen += len(batch)
            if seen == len(writers):
                break
        return native_threads() - before

    with Reader(names, directory=shm_dir) as reader:
        assert run(main(reader)) == 0
    for writer in writers:
        writer.close()
