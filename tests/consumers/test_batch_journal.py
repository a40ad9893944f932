"""The batch consumer behind a journal: nothing lost while the sink is away, and where it goes on."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

from mdfeedd.consumers.batch import BatchConsumer
from mdfeedd.consumers.batch import consumer as module
from mdfeedd.journal import JournalWriter, SinkPositions, WriterOptions, folder_of
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import Position, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.sinks import SinkError, SinkProgress
from mdfeedd.tick import BAR, QUOTE, TICK, layout_of
from tests.consumers.test_batch import KeepingSink, MemorySink, options, running, wait_for

SPACE, NEXT_SPACE = "a" * 32, "b" * 32
SMALL = WriterOptions(segment_bytes=1 << 16, fsync="none")


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def writer(journal):
    writer = JournalWriter(folder_of(journal, "cme"), "cme", SMALL)
    begin(writer, SPACE)
    yield writer
    writer.close()


def begin(writer, ring_id, dtype=TICK, next_seq=1):
    writer.begin(
        ring_id,
        feed="cme",
        layout=layout_of(dtype),
        record_bytes=dtype.itemsize,
        next_seq=next_seq,
        epoch=1,
    )


def write(writer, first, n, dtype=QUOTE, epoch=1):
    records = np.zeros(n, dtype)
    records["seq"] = np.arange(first, first + n)
    if dtype is QUOTE:
        records["bid_price"] = records["seq"] * 7
        records["kind"] = 1
        records = records.view(TICK)
    writer.append(records, epoch)
    writer.commit()


def store(sink, journal, shm_dir, name="store", **given):
    """Run a consumer until the journal is read to its end."""
    consumer = BatchConsumer(
        name, options(journal=str(journal), **given), ["cme"], shm_dir, sink=sink
    )
    return running(consumer)


def test_all_of_a_journal_in_its_order_without_any_ring(writer, journal, shm_dir):
    write(writer, 1, 3000)
    sink = MemorySink()
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 3000)
        write(writer, 3001, 500)  # over a rotation, while it is followed
        wait_for(lambda: len(sink.seqs()) == 3500)
    assert sink.seqs() == list(range(1, 3501))
    batch, records = sink.batches[-1]
    assert (batch.ring, batch.ring_id, batch.epoch, batch.feed) == ("cme", SPACE, 1, "cme")
    assert (records.view(QUOTE)["bid_price"] == records["seq"] * 7).all()


def test_goes_on_behind_what_was_safe(writer, journal, shm_dir):
    write(writer, 1, 100)
    sink = MemorySink()
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 100)
    assert SinkPositions(folder_of(journal, "cme")).load("store") == Position(SPACE, 100, 1)
    write(writer, 101, 50)
    again = MemorySink()
    with store(again, journal, shm_dir):
        wait_for(lambda: len(again.seqs()) == 50)
    assert again.seqs() == list(range(101, 151))


def test_what_is_not_safe_comes_again(writer, journal, shm_dir, monkeypatch):
    monkeypatch.setattr(module, "STOP_S", 0.2)
    write(writer, 1, 100)
    sink = MemorySink()
    sink.safe = False
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 100)
        sink.flush = lambda: None  # as a kill would: nothing becomes safe
    again = MemorySink()
    with store(again, journal, shm_dir):
        wait_for(lambda: len(again.seqs()) == 100)
    assert again.seqs() == list(range(1, 101))


def test_the_store_s_own_position_comes_first(writer, journal, shm_dir):
    write(writer, 1, 100)
    SinkPositions(folder_of(journal, "cme")).save("store", Position(SPACE, 90))
    sink = KeepingSink(Position(SPACE, 40))
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 60)
    assert sink.seqs() == list(range(41, 101))


def test_a_store_that_is_ahead_of_a_journal_goes_on_with_the_next_space(writer, journal, shm_dir):
    """After a power cut: the store has what the journal had not yet on its disk."""
    write(writer, 1, 100)
    begin(writer, NEXT_SPACE)
    write(writer, 1, 10)
    sink = KeepingSink(Position(SPACE, 120))
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 10)
    assert {batch.ring_id for batch, _ in sink.batches} == {NEXT_SPACE}


def test_spaces_and_writers_are_not_mixed_in_one_batch(writer, journal, shm_dir):
    write(writer, 1, 10)
    write(writer, 11, 10, epoch=2)
    begin(writer, NEXT_SPACE)
    write(writer, 1, 10)
    sink = MemorySink()
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 30)
    assert [(b.ring_id, b.epoch, len(r)) for b, r in sink.batches] == [
        (SPACE, 1, 10),
        (SPACE, 2, 10),
        (NEXT_SPACE, 1, 10),
    ]
    assert SinkPositions(folder_of(journal, "cme")).load("store") == Position(NEXT_SPACE, 10, 1)


class SpacesSink(MemorySink):
    """Makes safe what it is told to, each space by itself, as one with a file a space would."""

    def __init__(self):
        super().__init__()
        self.safe = False
        self.pending = {}

    def write(self, batch):
        super().write(batch)
        self.pending[batch.ring_id] = self.pending.get(batch.ring_id, 0) + len(batch.records)

    def flush(self):
        """Nothing: the process ends before anything else is safe."""

    def make_safe(self, ring_id):
        self.safe_seqs[ring_id] = self.last_seqs[ring_id]
        self.pending[ring_id] = 0

    def progress(self, ring_id):
        return SinkProgress(
            safe_seq=self.safe_seqs.get(ring_id, 0), pending_records=self.pending.get(ring_id, 0)
        )


def test_a_later_space_that_is_safe_first_does_not_make_the_earlier_one_so(
    writer, journal, shm_dir, monkeypatch
):
    monkeypatch.setattr(module, "STOP_S", 0.2)
    write(writer, 1, 10)
    begin(writer, NEXT_SPACE)
    write(writer, 1, 10)
    sink = SpacesSink()
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 20)
        sink.make_safe(NEXT_SPACE)
    again = MemorySink()
    with store(again, journal, shm_dir):
        wait_for(lambda: len(again.seqs()) == 20)


def test_an_outage_of_the_sink_costs_time_and_nothing_else(writer, journal, shm_dir):
    sink = MemorySink()
    sink.failing = SinkError("the server is away", retriable=True)
    with store(sink, journal, shm_dir, batch_size=100, max_pending=300, back_off_max_s=0.1):
        for first in range(1, 20_001, 1000):
            write(writer, first, 1000)
        wait_for(lambda: sink.attempts > 2)
        sink.failing = None
        wait_for(lambda: len(sink.seqs()) == 20_000)
    assert sink.seqs() == list(range(1, 20_001))
    assert max(len(records) for _, records in sink.batches) <= 300, "more held than max_pending"


def test_catching_up_takes_large_batches(writer, journal, shm_dir):
    write(writer, 1, 8000)
    write(writer, 8001, 8000)
    sink = MemorySink()
    with store(sink, journal, shm_dir, batch_size=1000, catch_up_size=6000):
        wait_for(lambda: len(sink.seqs()) == 16_000)
    sizes = [len(records) for _, records in sink.batches]
    assert sizes[:2] == [6000, 6000], sizes


def test_a_sink_that_is_down_at_the_stop_is_no_failure(
    writer, journal, shm_dir, monkeypatch, caplog
):
    monkeypatch.setattr(module, "STOP_S", 0.1)
    write(writer, 1, 10)
    sink = MemorySink()
    sink.failing = SinkError("the server is away", retriable=True)
    with store(sink, journal, shm_dir):
        wait_for(lambda: sink.attempts > 0)
    assert "the journal has them" in caplog.text


def test_its_counters_are_in_the_ring_s_registry_and_it_is_no_slow_reader(writer, journal, shm_dir):
    with Writer("cme", 256, directory=shm_dir) as ring:
        write(writer, 1, 500)
        sink = MemorySink()
        with store(sink, journal, shm_dir):
            wait_for(lambda: len(sink.seqs()) == 500)
            wait_for(lambda: [c.name for c in inspect("cme", shm_dir).consumers] == ["store"])
            ring.publish(np.zeros(1000, TICK))
            assert ring.slowest_consumer() in (None, 2**64 - 1)

            def counters():
                (slot,) = inspect("cme", shm_dir).consumers
                assert (slot.lag, slot.lost) == (0, 0)
                return slot.counters

            sink.failing = SinkError("the server is away", retriable=True)
            write(writer, 501, 300)
            wait_for(lambda: counters()["failed_flushes"] > 0)
            wait_for(lambda: counters()["pending_records"] == 300)
            sink.failing = None
            wait_for(lambda: counters()["pending_records"] == 0)


def test_a_journal_that_comes_later_is_waited_for(journal, shm_dir):
    sink = MemorySink()
    with store(sink, journal, shm_dir):
        writer = JournalWriter(folder_of(journal, "cme"), "cme", SMALL)
        begin(writer, SPACE)
        write(writer, 1, 10)
        wait_for(lambda: len(sink.seqs()) == 10)
        writer.close()


def test_ends_with_the_journal_where_it_does_not_follow(journal, shm_dir):
    writer = JournalWriter(folder_of(journal, "cme"), "cme", SMALL)
    begin(writer, SPACE)
    write(writer, 1, 10)
    writer.close(ended=True)
    sink = MemorySink()
    consumer = BatchConsumer(
        "store", options(journal=str(journal), follow=False), ["cme"], shm_dir, sink=sink
    )
    consumer.run(threading.Event())
    assert sink.seqs() == list(range(1, 11))


def test_bars_go_through_a_journal_too(journal, shm_dir):
    writer = JournalWriter(folder_of(journal, "cme"), "cme", SMALL)
    begin(writer, SPACE, BAR)
    write(writer, 1, 10, BAR)
    sink = MemorySink()
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 10)
    writer.close()
    assert sink.batches[0][1].dtype == BAR


def test_a_journal_made_anew_costs_nothing_that_it_still_has(journal, shm_dir):
    folder = folder_of(journal, "cme")
    first = JournalWriter(folder, "cme", SMALL)
    begin(first, SPACE)
    write(first, 1, 1000)
    sink = MemorySink()
    with store(sink, journal, shm_dir):
        wait_for(lambda: len(sink.seqs()) == 1000)
        while list_segments(folder):  # the consumer may write its position meanwhile
            shutil.rmtree(folder, ignore_errors=True)
        first.close()
        again = JournalWriter(folder, "cme", SMALL)
        begin(again, SPACE, next_seq=501)
        write(again, 501, 1000)
        wait_for(lambda: len(sink.seqs()) == 1500)
        wait_for(lambda: SinkPositions(folder).load("store") == Position(SPACE, 1500, 1))
        again.close()
    assert sink.seqs() == list(range(1, 1501))
