"""What is known of each stream, on replays made record by record."""

from __future__ import annotations

import mmap

import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, LocalInstruments, Positions, Symbology
from mdfeedd.feeds.databento.resume import HEAD_BYTES, POSITION_BYTES
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.databento.layouts import pack

T0 = 1_795_000_000_000_000_000
FAR = 2**63 - 1
TRADES, MBP_1 = 0x00, 0x01


def trade(at, sequence, instrument=7, event=None):
    return pack(
        TRADES,
        {
            "publisher_id": 1, "instrument_id": instrument, "ts_event": T0 + (at if event is None else event),
            "price": 10**9, "size": 1, "action": b"T", "side": b"A", "ts_recv": T0 + at, "sequence": sequence,
        },
    )  # fmt: skip


def longer(record):
    return bytes([record[0] + 2]) + record[1:] + b"\x55" * 8


@pytest.fixture
def feed(shm_dir):
    """Publish records with positions; returns the sequence numbers that are new in the ring."""
    writer = Writer("p", feed="p", capacity=4096, directory=shm_dir)
    reader = Reader("p", start="oldest", directory=shm_dir)

    class Feed:
        slots = 16

        def __init__(self):
            self.memory = mmap.mmap(-1, HEAD_BYTES + self.slots * POSITION_BYTES)
            self.restart()
            self.positions.begin(TRADES, T0)

        def restart(self):
            self.positions = Positions(memoryview(self.memory), "X.Y")
            self.positions.settle(writer.next_seq, 0)

        def live(self, *records):
            decoder = DbnDecoder(Symbology(LocalInstruments()), version=3, positions=self.positions)
            decoder.decode_into(writer, b"".join(records), ts_recv_ns=T0)
            return reader.read(4096, timeout=0).records["venue_seq"].tolist()

        def replay(self, *records, start=T0):
            self.positions.begin_replay([TRADES], start, FAR)
            told = self.live(*records)
            self.unmet = len(self.positions.end_replay(TRADES))
            return told

    yield Feed
    reader.close()
    writer.close()


def test_records_of_one_time_are_counted(feed):
    one = feed()
    assert one.live(trade(1, 1), trade(5, 2), trade(5, 3)) == [1, 2, 3]
    assert one.replay(trade(1, 1), trade(5, 2), trade(5, 3), trade(5, 4), trade(5, 5)) == [4, 5]
    assert one.replay(*(trade(5, k) for k in range(2, 8))) == [6, 7]
    assert (one.positions.known, one.positions.disagreed, one.unmet) == (7, 0, 0)


def test_equal_records_are_counted_too(feed):
    one = feed()
    assert one.live(trade(5, 1), trade(5, 1)) == [1, 1]
    assert one.replay(*[trade(5, 1)] * 3) == [1]
    assert not one.positions.disagreed


def test_time_that_runs_backwards_is_the_venues(feed):
    one = feed()
    assert one.live(trade(5, 1, event=-50), trade(6, 2, event=-90)) == [1, 2]
    assert one.positions.earliest_ns((TRADES,), T0) == T0 - 90
    assert one.replay(trade(5, 1, event=-50), trade(6, 2, event=-90), trade(7, 3, event=-99)) == [3]


def test_record_left_out_within_a_run_of_one_time(feed):
    """Which of the others are new cannot be told: none is told twice, and the replay is not believed."""
    one = feed()
    assert one.live(trade(5, 1), trade(5, 2)) == [1, 2]
    assert one.replay(trade(5, 1), trade(5, 3), trade(5, 4), trade(6, 5)) == [5]
    assert one.positions.disagreed
    assert one.replay(trade(5, 1), trade(5, 2), trade(5, 3), trade(6, 5), trade(6, 6)) == [6]


def test_known_record_left_out(feed):
    one = feed()
    assert one.live(trade(5, 1), trade(5, 2), trade(4, 9, instrument=8)) == [1, 2, 9]
    assert one.replay(trade(5, 1), trade(6, 3)) == [3]
    assert one.positions.disagreed == 1
    assert one.unmet == 1  # the other instrument has not come again at all


def test_what_a_replay_need_not_bring_is_not_missed(feed):
    one = feed()
    assert one.live(trade(5, 1), trade(5, 2, instrument=8)) == [1, 2]
    assert one.replay(trade(9, 3), start=T0 + 6) == [3]
    assert (one.positions.disagreed, one.unmet) == (0, 0)


def test_longer_record_is_the_same_record(feed):
    one = feed()
    assert one.live(longer(trade(5, 1))) == [1]
    assert one.replay(trade(5, 1), longer(trade(6, 2))) == [2]
    assert not one.positions.disagreed


def test_what_was_never_asked_for_is_left_out(feed):
    one = feed()
    assert one.replay(trade(-1, 1), trade(0, 2)) == [2]


def test_positions_of_long_ago_are_no_positions(feed):
    """A type that was not replayed for a while: what came meanwhile is known."""
    one = feed()
    assert one.live(trade(5, 1)) == [1]
    one.positions.forget(TRADES)
    assert one.live(trade(6, 2)) == [2]
    one.positions.begin(TRADES, T0 + 7)
    assert one.live(trade(8, 3, instrument=8)) == [3]
    assert one.replay(trade(5, 1), trade(6, 2), trade(8, 3, instrument=8)) == []
    assert (one.positions.disagreed, one.unmet) == (0, 0)
    assert one.replay(trade(5, 1), trade(6, 2), trade(8, 3, instrument=8), trade(9, 4)) == [4]


def test_positions_outlive_the_process(feed):
    one = feed()
    assert one.live(trade(5, 1), trade(5, 2)) == [1, 2]
    one.restart()
    assert one.replay(trade(5, 1), trade(5, 2), trade(5, 3)) == [3]
    assert not one.positions.disagreed


def test_more_streams_than_positions(feed):
    one = feed()
    records = [trade(5, k, instrument=k) for k in range(1, 20)]
    assert one.live(*records) == list(range(1, 20))
    assert one.positions.full == 19 - one.slots // 2
    assert one.replay(*records) == list(
        range(1 + one.slots // 2, 20)
    )  # they come twice, as was warned of
