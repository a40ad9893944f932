"""The batch consumer: when it hands over, what a failing sink costs, what it acknowledges."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import numpy as np
import pytest

from mdfeedd.consumers.batch import BatchConsumer, BatchOptions
from mdfeedd.consumers.batch import consumer as module
from mdfeedd.consumers.batch.back_off import BackOff
from mdfeedd.consumers.episode import Episode
from mdfeedd.ring import Position, RingBusy, RingMismatch, Writer, remove
from mdfeedd.ring.inspect import inspect
from mdfeedd.sinks import SinkError, SinkProgress
from mdfeedd.tick import BAR, QUOTE, TICK

DEADLINE_S = 30.0


def options(**given):
    return BatchOptions("parquet", {"path": "unused"}, **given)


def quotes(n):
    out = np.zeros(n, QUOTE)
    out["kind"] = 1
    out["instrument_id"] = 1
    return out


def wait_for(condition):
    """Wait until `condition()` is true, with a deadline that only a fault reaches."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


class MemorySink:
    """A sink that keeps what it is given, and fails when told."""

    def __init__(self):
        self.batches = []
        self.failing = None  # the error to raise
        self.safe = True  # whether what is written is safe at once
        self.safe_seqs = {}
        self.last_seqs = {}
        self.attempts = 0
        self.flushed = 0
        self.closed = False

    keeps_positions = False

    def position(self, ring):
        return None

    def write(self, batch):
        self.attempts += 1
        if self.failing is not None:
            raise self.failing
        self.batches.append((batch, batch.records.copy()))
        self.last_seqs[batch.ring_id] = int(batch.records["seq"][-1])
        if self.safe:
            self.safe_seqs.update(self.last_seqs)

    def housekeep(self):
        if self.failing is not None:
            raise self.failing

    def flush(self):
        if self.failing is not None:
            raise self.failing
        self.flushed += 1
        self.safe_seqs.update(self.last_seqs)

    def progress(self, ring_id):
        return SinkProgress(
            safe_seq=self.safe_seqs.get(ring_id, 0), stored_records=len(self.seqs())
        )

    def close(self):
        self.closed = True

    def seqs(self):
        return [s for _, records in list(self.batches) for s in records["seq"].tolist()]


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


def consumer_info(name, shm_dir, consumer="store"):
    return next(c for c in inspect(name, shm_dir).consumers if c.name == consumer)


def attached(shm_dir, name="cme"):
    """Whether the consumer has begun to read."""
    return any(c.name == "store" for c in inspect(name, shm_dir).consumers)


@pytest.fixture
def sink():
    return MemorySink()


@pytest.fixture
def writer(shm_dir):
    with Writer("cme", capacity=4096, directory=shm_dir) as w:
        w.instruments.add("ESZ5")
        yield w


def make(sink, shm_dir, rings=("cme",), **given):
    return BatchConsumer("store", options(**given), list(rings), shm_dir, sink=sink)


def test_batch_is_handed_over_when_it_is_full(writer, sink, shm_dir):
    with running(make(sink, shm_dir, batch_size=100, flush_interval_s=3600)):
        writer.publish(quotes(250))
        wait_for(lambda: len(sink.batches) == 2)
        assert [len(records) for _, records in sink.batches] == [100, 100]
    assert sink.seqs() == list(range(1, 251))
    assert sink.closed


def test_batch_is_handed_over_when_it_is_old(writer, sink, shm_dir):
    with running(make(sink, shm_dir, batch_size=5000, flush_interval_s=0.01)):
        writer.publish(quotes(3))
        wait_for(lambda: sink.seqs() == [1, 2, 3])
        writer.publish(quotes(1))
        wait_for(lambda: sink.seqs() == [1, 2, 3, 4])


def test_batch_says_what_it_is(writer, sink, shm_dir):
    with running(make(sink, shm_dir)):
        writer.publish(quotes(3))
        wait_for(lambda: sink.batches)
    batch, _ = sink.batches[0]
    assert (batch.ring, batch.feed, batch.epoch) == ("cme", "cme", 1)
    assert batch.ring_id == inspect("cme", shm_dir).ring_id.hex()
    assert batch.instruments.symbol(1) == "ESZ5"


def test_stop_stores_what_was_published_before_it(writer, sink, shm_dir):
    consumer = make(sink, shm_dir, batch_size=7, flush_interval_s=3600)
    with running(consumer):
        wait_for(lambda: attached(shm_dir))
        writer.publish(quotes(4000))
    assert sink.seqs() == list(range(1, 4001))
    assert sink.flushed
    assert consumer_info("cme", shm_dir).acked == 4000


def test_several_rings_of_ticks_and_bars_are_read_at_once(writer, sink, shm_dir):
    with (
        Writer("cme.bars", capacity=256, dtype=BAR, directory=shm_dir) as bars,
        Writer("other", capacity=256, directory=shm_dir) as other,
        running(make(sink, shm_dir, ["cme", "cme.bars", "other"], flush_interval_s=0.01)),
    ):
        writer.publish(quotes(10))
        bars.publish(np.zeros(5, BAR))
        other.publish(quotes(2))
        wait_for(lambda: len(sink.seqs()) == 17)
    dtypes = {batch.ring: records.dtype for batch, records in sink.batches}
    assert dtypes == {"cme": TICK, "cme.bars": BAR, "other": TICK}


def test_ring_that_comes_later_is_waited_for(sink, shm_dir):
    with running(make(sink, shm_dir, ["late"])), Writer("late", 256, directory=shm_dir) as late:
        late.publish(quotes(9))
        wait_for(lambda: len(sink.seqs()) == 9)


def test_without_follow_it_ends_with_the_rings(sink, shm_dir):
    consumer = make(sink, shm_dir, ["a", "b"], follow=False)
    with running(consumer) as thread:
        for name in ("a", "b"):
            with Writer(name, 256, directory=shm_dir) as w:
                w.publish(quotes(200))
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert len(sink.seqs()) == 400


def test_without_follow_a_ring_that_never_comes_is_told(sink, shm_dir, caplog):
    make(sink, shm_dir, ["ghost"], follow=False, wait_s=0).run(threading.Event())
    assert "never appeared: ring 'ghost'" in caplog.text


def test_ring_of_other_records_is_refused(sink, shm_dir):
    other = np.dtype([("seq", "<u8"), ("x", "V56")])
    consumer = make(sink, shm_dir, ["x"])
    with (
        Writer("x", 256, dtype=other, directory=shm_dir),
        pytest.raises(RingMismatch, match="neither ticks nor bars"),
    ):
        consumer.run(threading.Event())
    assert sink.closed


def test_second_consumer_of_the_same_name_is_refused(writer, sink, shm_dir):
    with running(make(sink, shm_dir)):
        wait_for(lambda: attached(shm_dir))
        with pytest.raises(RingBusy):
            make(MemorySink(), shm_dir).run(threading.Event())


def test_only_what_is_safe_is_acknowledged(writer, sink, shm_dir):
    sink.safe = False
    with running(make(sink, shm_dir, flush_interval_s=0.01)):
        writer.publish(quotes(10))
        wait_for(lambda: len(sink.seqs()) == 10)
        writer.publish(quotes(1))
        wait_for(lambda: len(sink.seqs()) == 11)  # so the first ten have been settled
        assert consumer_info("cme", shm_dir).acked == 0
    assert consumer_info("cme", shm_dir).acked == 11


def test_consumer_that_stored_nothing_safely_begins_again_at_the_first_record(
    writer, sink, shm_dir
):
    """The position before the first record is 0, which is not the same as no position."""
    sink.safe = False
    consumer = make(sink, shm_dir, flush_interval_s=0.01)
    consumer._finish = lambda _sink: None  # as if killed
    with running(consumer):
        writer.publish(quotes(10))
        wait_for(lambda: len(sink.seqs()) == 10)
    again = MemorySink()
    with running(make(again, shm_dir, flush_interval_s=0.01)):
        wait_for(lambda: len(again.seqs()) == 10)
    assert again.seqs() == list(range(1, 11))


def test_what_the_ring_will_not_hold_much_longer_is_made_safe_early(
    writer, sink, shm_dir, caplog, monkeypatch
):
    monkeypatch.setattr(module, "EARLY_FLUSH_S", 0.0)
    sink.safe = False  # until it is flushed
    capacity = writer.capacity
    with running(make(sink, shm_dir, flush_interval_s=0.01)):
        wait_for(writer.consumer_count)
        writer.publish(quotes(capacity // 2 - 100))
        wait_for(lambda: len(sink.seqs()) == capacity // 2 - 100)
        assert sink.flushed == 0
        writer.publish(quotes(300))
        wait_for(lambda: consumer_info("cme", shm_dir).acked > capacity // 2 - 100)
        assert sink.flushed >= 1
    assert "too small" not in caplog.text


def test_consumer_sleeps_while_its_sink_is_down(writer, sink, shm_dir, monkeypatch):
    """What is due behind the refused batch waits for it, too: to look at it again and again brings nothing."""
    turns = []
    deliver = BatchConsumer._deliver
    monkeypatch.setattr(
        BatchConsumer,
        "_deliver",
        lambda self, sink, now: turns.append(now) or deliver(self, sink, now),
    )
    consumer = make(sink, shm_dir, batch_size=4, flush_interval_s=0.001, back_off_max_s=0.4)
    with running(consumer):
        wait_for(lambda: attached(shm_dir))
        sink.failing = SinkError("down", retriable=True)
        writer.publish(quotes(6))  # a batch that is refused, and the rest of another, soon overdue
        wait_for(lambda: sink.attempts > 3)
        before, attempts = len(turns), sink.attempts
        wait_for(lambda: sink.attempts > attempts + 2)
        assert len(turns) - before < 100, "it turned without a pause"
        sink.failing = None
    assert sink.seqs() == list(range(1, 7))


def test_sink_down_for_a_while_gets_everything_in_order(writer, sink, shm_dir, caplog):
    sink.failing = SinkError("the disk is full", retriable=True)
    consumer = make(sink, shm_dir, batch_size=10, flush_interval_s=0.01, back_off_max_s=0.05)
    caplog.set_level(logging.INFO)
    with running(consumer):
        wait_for(lambda: attached(shm_dir))
        for _ in range(20):
            writer.publish(quotes(25))
        wait_for(lambda: sink.attempts >= 4)
        assert sink.seqs() == []
        wait_for(lambda: consumer_info("cme", shm_dir).cursor == 500)
        sink.failing = None
        wait_for(lambda: sink.seqs() == list(range(1, 501)))
        wait_for(lambda: consumer_info("cme", shm_dir).acked == 500)
        assert consumer_info("cme", shm_dir).counters["failed_flushes"] >= 4
    assert caplog.text.count("the disk is full") == 1
    assert caplog.text.count("the sink works again") == 1


def test_back_off_doubles_up_to_its_cap():
    back_off = BackOff(0.4)
    error = SinkError("no", retriable=True)
    pauses = []
    for _ in range(6):
        back_off.failed(error, 100.0)
        pauses.append(round(back_off.until - 100.0, 3))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.4, 0.4]
    back_off.worked(101.0)
    back_off.failed(error, 200.0)
    assert back_off.until == 200.05


def test_error_that_is_not_retriable_ends_the_consumer(writer, sink, shm_dir):
    sink.failing = SinkError("no permission", retriable=False)
    writer.publish(quotes(1))
    with pytest.raises(SinkError, match="no permission"):
        make(sink, shm_dir, flush_interval_s=0.01).run(threading.Event())
    assert sink.closed
    assert consumer_info("cme", shm_dir).acked == 0


def test_pending_limit_blocks_reading_and_the_ring_tells_the_loss(writer, sink, shm_dir, caplog):
    sink.failing = SinkError("down", retriable=True)
    consumer = make(
        sink, shm_dir, batch_size=100, max_pending=1000, flush_interval_s=0.01, back_off_max_s=0.05
    )
    with running(consumer):
        wait_for(lambda: attached(shm_dir))
        for _ in range(100):
            writer.publish(quotes(100))  # 10,000 in a ring of 4096
        wait_for(lambda: consumer_info("cme", shm_dir).cursor >= 1000)
        wait_for(lambda: consumer_info("cme", shm_dir).counters["pending_records"] == 1000)
        sink.failing = None
        wait_for(lambda: sink.seqs() and sink.seqs()[-1] == 10_000)
        info = consumer_info("cme", shm_dir)
        assert info.lost + len(sink.seqs()) == 10_000
        assert info.counters["dropped_records"] == 0
    assert sink.seqs() == sorted(set(sink.seqs()))
    assert consumer_info("cme", shm_dir).counters["pending_records"] == 0
    assert "records lost, the feed was faster" in caplog.text


def test_pending_limit_drops_the_newest_and_counts_it(writer, sink, shm_dir, caplog):
    sink.failing = SinkError("down", retriable=True)
    consumer = make(
        sink,
        shm_dir,
        batch_size=100,
        max_pending=1000,
        overflow="drop",
        flush_interval_s=0.01,
        back_off_max_s=0.05,
    )
    with running(consumer):
        wait_for(lambda: attached(shm_dir))
        for n in range(1, 31):
            writer.publish(quotes(100))
            wait_for(lambda n=n: consumer_info("cme", shm_dir).cursor >= 100 * n)
        wait_for(lambda: consumer_info("cme", shm_dir).cursor == 3000)
        sink.failing = None
        wait_for(lambda: len(sink.seqs()) == 1000)
    info = consumer_info("cme", shm_dir)
    assert info.counters["dropped_records"] == 2000
    assert info.lost == 0
    assert sink.seqs() == list(range(1, 1001))
    assert "records dropped, the sink is behind" in caplog.text


def test_stop_while_the_sink_is_down_gives_up_and_says_how_much(writer, sink, shm_dir, monkeypatch):
    monkeypatch.setattr(module, "STOP_S", 0.1)
    sink.failing = SinkError("down", retriable=True)

    def run():
        with running(make(sink, shm_dir, flush_interval_s=0.01)):
            writer.publish(quotes(5))
            wait_for(lambda: sink.attempts)

    with pytest.raises(SinkError, match="stopped with 5 records that the sink did not take"):
        run()
    assert sink.closed
    assert consumer_info("cme", shm_dir).acked == 0


def test_restarted_writer_is_followed_and_its_epoch_told(sink, shm_dir):
    with running(make(sink, shm_dir, flush_interval_s=0.01)):
        for run in range(3):
            with Writer("cme", capacity=4096, directory=shm_dir) as w:
                w.publish(quotes(10))
            wait_for(lambda run=run: len(sink.seqs()) == 10 * (run + 1))
    assert sink.seqs() == list(range(1, 31))
    assert [batch.epoch for batch, _ in sink.batches] == [1, 2, 3]


def test_ring_replaced_by_a_larger_one_goes_on_with_its_sequence_and_symbols(sink, shm_dir):
    with running(make(sink, shm_dir, flush_interval_s=3600)):
        with Writer("cme", capacity=256, directory=shm_dir) as w:
            w.instruments.add("OLD")
            wait_for(lambda: attached(shm_dir))
            w.publish(quotes(10))
            wait_for(lambda: consumer_info("cme", shm_dir).cursor == 10)
        with Writer("cme", capacity=512, directory=shm_dir) as w:
            later = quotes(10)
            later["instrument_id"] = w.instruments.add("NEW")
            w.publish(later)
            wait_for(lambda: consumer_info("cme", shm_dir).cursor == 20)
    assert sink.seqs() == list(range(1, 21))
    first, second = sink.batches
    assert first[0].epoch < second[0].epoch
    assert first[0].ring_id == second[0].ring_id
    symbols = [b.instruments.symbol(records["instrument_id"][0]) for b, records in sink.batches]
    assert symbols == ["OLD", "NEW"]


def test_ring_made_anew_begins_a_new_sequence_space(sink, shm_dir):
    with running(make(sink, shm_dir, flush_interval_s=0.01)):
        for run in range(2):
            with Writer("cme", capacity=256, directory=shm_dir) as w:
                w.publish(quotes(10))
                wait_for(lambda run=run: len(sink.seqs()) == 10 * (run + 1))
            remove("cme", shm_dir)
    ids = [batch.ring_id for batch, _ in sink.batches]
    assert len(set(ids)) == 2
    assert sink.seqs() == [*range(1, 11), *range(1, 11)]


def test_episode_of_loss_is_told_when_it_begins_and_when_it_is_over(caplog):
    episode = Episode(logging.getLogger("mdfeedd.test"), "%d records lost", quiet_s=10)
    for now in range(5):
        episode.add(3, now)
    episode.settle(13.9)
    assert [r.getMessage() for r in caplog.records] == ["3 records lost"]
    episode.settle(14.0)
    episode.settle(50.0)
    assert [r.getMessage() for r in caplog.records][1:] == ["15 records lost in all, over now"]
    episode.add(1, 60.0)
    assert caplog.records[-1].getMessage() == "1 records lost"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size: must be a whole number"),
        ({"max_pending": 10}, "max_pending: must be at least batch_size"),
        ({"flush_interval_s": 0}, "flush_interval_s: must be greater than 0"),
        ({"overflow": "panic"}, "overflow: must be block or drop, not 'panic'"),
        ({"back_off_max_s": 0}, "back_off_max_s: must be at least"),
        ({"wait_s": -1}, "wait_s: must not be negative"),
        ({"sink_type": "papyrus"}, "sink_type: no sink 'papyrus'"),
        ({"sink_options": {"paht": "x"}}, "sink.paht: unknown"),
    ],
)
def test_bad_option_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        BatchOptions(**({"sink_type": "parquet", "sink_options": {"path": "x"}} | given))


# ------------------------------------------------------------------- a store that says how far it is


class KeepingSink(MemorySink):
    """A store that keeps positions. `stored`: what it says; `mute` times it cannot say."""

    keeps_positions = True

    def __init__(self, stored=None, mute=0):
        super().__init__()
        self.stored = stored
        self.mute = mute

    def position(self, ring):
        if self.mute:
            self.mute -= 1
            raise SinkError("the server is not there", retriable=True)
        return self.stored


def stored_with(sink, shm_dir):
    consumer = BatchConsumer("store", options(follow=False), ["cme"], shm_dir, sink=sink)
    consumer.run(threading.Event())
    return sink.seqs()


def test_begins_behind_what_the_store_holds(writer, shm_dir):
    writer.publish(quotes(10))
    ring_id = inspect("cme", shm_dir).ring_id.hex()
    writer.close()
    assert stored_with(KeepingSink(Position(ring_id, 4)), shm_dir) == [5, 6, 7, 8, 9, 10]
    # what the registry remembers of the consumer does not count: the store may be another one
    assert stored_with(KeepingSink(None), shm_dir) == list(range(1, 11))
    assert stored_with(KeepingSink(Position("f" * 32, 7)), shm_dir) == list(range(1, 11))


def test_a_store_that_cannot_say_how_far_it_is_is_asked_again(writer, shm_dir, caplog):
    writer.publish(quotes(3))
    writer.close()
    sink = KeepingSink(mute=3)
    assert stored_with(sink, shm_dir) == [1, 2, 3]
    assert not sink.mute
    assert caplog.text.count("the server is not there") == 1, "once per episode"


def test_drop_and_a_journal_exclude_each_other():
    with pytest.raises(ValueError, match="overflow: drop is for the ring"):
        options(journal="/somewhere", overflow="drop")
    with pytest.raises(ValueError, match="durable: true needs `journal`"):
        options(durable=True)
    assert not options(journal="/somewhere", durable=False, overflow="drop").through_journal
