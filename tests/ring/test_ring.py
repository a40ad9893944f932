"""Writer and Reader through the Python surface: sequence, loss, restart, replacement, refusal."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial

import numpy as np
import pytest

from mdfeedd import TICK, Reader, Writer
from mdfeedd.ring import (
    RingBusy,
    RingOverrun,
    RingSpace,
    remove,
)
from mdfeedd.ring._ring import wait_any
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, QUOTE, TRADE, Kind, Tick

# ------------------------------------------------------------------------------------- sequence


def test_sequence_begins_at_one_and_ignores_what_the_record_says(shm_dir: str, ticks) -> None:
    with (
        Writer("r", directory=shm_dir) as writer,
        Reader("r", "oldest", directory=shm_dir) as reader,
    ):
        records = ticks(3)
        records["seq"] = 99
        assert writer.publish(records) == 1
        assert writer.publish(records[0]) == 4
        assert writer.publish(ticks(1)[0:1]) == 5
        batch = reader.read()
        assert batch.records["seq"].tolist() == [1, 2, 3, 4, 5]
        assert (batch.first_seq, batch.last_seq, len(batch), batch.lost) == (1, 5, 5, 0)
        assert records["seq"].tolist() == [99] * 3


def test_batch_longer_than_the_ring_is_published_whole(shm_dir: str, ticks) -> None:
    with Writer("r", 256, directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        assert writer.publish(ticks(10_000)) == 1
        batch = reader.read()
        assert batch.last_seq == 10_000
        assert batch.records["ts_event"].tolist() == batch.records["seq"].tolist()
        assert batch.lost + len(batch) == 10_000


def test_strided_view_and_other_payload_views_are_published(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        quotes = np.zeros(6, QUOTE)
        quotes["kind"], quotes["bid_price"] = Kind.QUOTE, np.arange(6)
        writer.publish(quotes[::2])
        trades = np.zeros(1, TRADE)
        trades["kind"], trades["size"] = Kind.TRADE, 7
        writer.publish(trades)
        writer.publish(quotes[0])
        batch = reader.read()
        assert batch.quotes["bid_price"].tolist() == [0, 2, 4, 0]
        assert batch.trades["size"].tolist() == [7]
        assert len(batch.quotes) + len(batch.trades) == len(batch)


@pytest.mark.parametrize(
    "bad", [np.zeros(3, "<u8"), np.zeros(1, BAR), np.zeros((2, 2), TICK), "tick", None, [1, 2]]
)
def test_record_that_does_not_fit_is_refused(shm_dir: str, bad: object) -> None:
    with Writer("r", directory=shm_dir) as writer:
        with pytest.raises((TypeError, ValueError)):
            writer.publish(bad)  # type: ignore[arg-type]
        assert writer.next_seq == 1


def test_empty_array_publishes_nothing(shm_dir: str, ticks) -> None:
    with Writer("r", directory=shm_dir) as writer:
        assert writer.publish(ticks(0)) == 1
        assert writer.publish(ticks(1)) == 1


# ----------------------------------------------------------------------------------------- loss


def test_reader_lapped_counts_exactly(shm_dir: str, ticks) -> None:
    rng = np.random.default_rng(7)
    with Writer("r", 512, directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        got = told = 0
        last = 0
        for _ in range(300):
            writer.publish(ticks(int(rng.integers(1, 900)), writer.next_seq))
            batch = reader.read(int(rng.integers(1, 400)), timeout=0)
            got += len(batch)
            told += batch.lost
            if len(batch):
                assert batch.first_seq == last + batch.lost + 1
                assert (np.diff(batch.records["seq"].astype(np.int64)) == 1).all()
                assert (batch.records["ts_event"] == batch.records["seq"]).all()
                last = batch.last_seq
            else:
                last += batch.lost
            assert got + reader.lost == reader.next_seq - 1
            assert told == reader.lost
        assert reader.lost > 0
        assert reader.overruns > 0


@pytest.mark.parametrize(("policy", "first"), [("latest", 5001), ("oldest", None)])
def test_where_a_lapped_reader_goes_on(shm_dir: str, policy: str, first: int | None, ticks) -> None:
    with (
        Writer("r", 256, directory=shm_dir) as writer,
        Reader("r", directory=shm_dir, on_overrun=policy) as reader,
    ):
        writer.publish(ticks(5000))
        batch = reader.read(timeout=0)
        if first is None:
            assert batch.first_seq == 5000 - 128
        else:
            assert (len(batch), batch.lost) == (0, 5000)
            writer.publish(ticks(1))
            assert reader.read(timeout=0).first_seq == first


def test_lapped_reader_that_wants_to_know_is_told_and_goes_on(shm_dir: str, ticks) -> None:
    with (
        Writer("r", 256, directory=shm_dir) as writer,
        Reader("r", directory=shm_dir, on_overrun="raise") as reader,
    ):
        writer.publish(ticks(1000))
        with pytest.raises(RingOverrun) as caught:
            reader.read(timeout=0)
        assert caught.value.lost == reader.lost > 0
        seen = 0
        while len(batch := reader.read(timeout=0)):
            assert batch.lost == 0
            seen += len(batch)
        assert reader.lost + seen == 1000
        assert reader.next_seq == 1001


def test_start_in_the_past_that_is_gone_counts_as_lost(shm_dir: str, ticks) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        writer.publish(ticks(1000))
        with Reader("r", 10, directory=shm_dir) as reader:
            batch = reader.read()
            assert batch.lost == batch.first_seq - 10
        with Reader("r", 990, directory=shm_dir) as reader:
            assert reader.read().first_seq == 990
        with Reader("r", 1005, directory=shm_dir) as reader:
            assert len(reader.read(timeout=0)) == 0
            writer.publish(ticks(10))
            assert reader.read().first_seq == 1005


def test_read_into_fills_the_callers_array(shm_dir: str, ticks) -> None:
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        out = np.zeros(4, TICK)
        assert reader.read_into(out) == 0
        writer.publish(ticks(6))
        assert reader.read_into(out) == 4
        assert out["seq"].tolist() == [1, 2, 3, 4]
        assert reader.read_into(out, timeout=1) == 2
        for bad in (np.zeros(4, "<u8"), np.zeros((2, 2), TICK), np.zeros(8, TICK)[::2]):
            with pytest.raises((TypeError, ValueError)):
                reader.read_into(bad)
        frozen = np.zeros(1, TICK)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="writeable"):
            reader.read_into(frozen)


# ------------------------------------------------------------------------------- batches as ticks


def test_batch_is_a_sequence_of_ticks(shm_dir: str, ticks) -> None:
    from collections.abc import Sequence

    with Writer("cme", directory=shm_dir, feed_index=2) as writer:
        es = writer.instruments.add("ESZ6", vendor_symbol="ES 12 26")
        assert es >> 24 == 2
        with Reader("cme", directory=shm_dir) as reader:
            records = ticks(3)
            records["instrument_id"] = [es, es, 0]
            writer.publish(records)
            batch = reader.read()
            assert isinstance(batch, Sequence)
            assert [t.symbol for t in batch] == ["ESZ6", "ESZ6", ""]
            assert isinstance(batch[-1], Tick)
            assert batch[0:2] == [batch[0], batch[1]]
            assert batch[0].vendor == "cme"
            with pytest.raises(IndexError):
                batch[3]
            with pytest.raises(IndexError):
                batch[-4]


def test_batch_outlives_ring_and_reader(shm_dir: str, ticks) -> None:
    writer = Writer("r", directory=shm_dir)
    writer.instruments.add("A")
    reader = Reader("r", directory=shm_dir)
    writer.publish(ticks(5))
    batch = reader.read()
    symbols = reader.instruments
    assert symbols.id("A") == 1
    reader.close()
    writer.close()
    remove("r", shm_dir)
    del reader
    batch.records["ts_event"][0] = 42
    assert batch[0].timestamp_ns == 42
    assert symbols.symbol(1) == "A"


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_array_of_a_batch_is_the_batch_and_outlives_it(shm_dir: str, ticks, n: int) -> None:
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        assert not reader.read(timeout=0)
        writer.publish(ticks(2 * n))
        first, second = reader.read(n), reader.read(n)
        before = (first.first_seq, first.last_seq, [tick.timestamp_ns for tick in first])
        rows, others = first.records, second.records
        assert rows is first.records
        assert (first.first_seq, first.last_seq, [tick.timestamp_ns for tick in first]) == before
        rows["seq"][0] = 77
        assert first.first_seq == 77
        assert first.has(Kind(int(rows["kind"][0])))
        del first, second
        writer.publish(ticks(2 * n))
        assert len(reader.read()) == 2 * n
        assert rows["seq"].tolist() == [77, *range(2, n + 1)]
        assert others["seq"].tolist() == list(range(n + 1, 2 * n + 1))


def test_bar_ring_gives_bars(shm_dir: str) -> None:
    with (
        Writer("bars", dtype=BAR, directory=shm_dir) as writer,
        Reader("bars", directory=shm_dir) as r,
    ):
        bars = np.zeros(2, BAR)
        bars["close"] = [5, 6]
        writer.publish(bars)
        assert r.read().records["close"].tolist() == [5, 6]


# --------------------------------------------------------------------------------- instruments


def test_instruments_are_seen_as_they_come_and_change(shm_dir: str) -> None:
    with (
        Writer("r", directory=shm_dir, feed_index=1) as writer,
        Reader("r", directory=shm_dir) as reader,
    ):
        assert "X" not in reader.instruments
        first = writer.instruments.add("X", vendor_id=7, tick_size=5)
        assert writer.instruments.add("X", vendor_id=7) == first
        other = writer.instruments.add("X", vendor_id=7, publisher_id=3)
        assert other != first
        assert reader.instruments.ids("X") == [first, other]
        assert reader.instruments[first].tick_size == 5
        writer.instruments.add("X", vendor_id=7, tick_size=9, venue="XCME")
        assert len(writer.instruments) == len(reader.instruments) == 2
        assert reader.instruments[first].tick_size == 9
        assert reader.instruments[first].venue == "XCME"
        with pytest.raises(KeyError):
            reader.instruments[12345]
        assert reader.instruments.symbol(12345) == "#12345"


def test_instruments_survive_restart_and_replacement(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir) as writer:
        ids = [writer.instruments.add(s) for s in ("A", "B", "C")]
    with Writer("r", directory=shm_dir) as writer:
        assert [writer.instruments.add(s) for s in ("C", "B", "A")] == ids[::-1]
    with Writer("r", 1024, directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        assert [reader.instruments.id(s) for s in "ABC"] == ids
        assert writer.instruments.add("D") == ids[-1] + 1


@pytest.mark.parametrize("is_polled", [False, True])
def test_batch_keeps_its_names_when_its_ring_is_replaced_by_another(
    shm_dir: str, ticks, is_polled: bool
) -> None:
    writer = Writer("r", 256, directory=shm_dir)
    old = writer.instruments.add("OLD")
    reader = Reader("r", directory=shm_dir)
    writer.publish(ticks(1))
    batch = reader.read()
    if is_polled:  # which makes the next batch in advance
        assert not reader.read(timeout=0)
    writer.close()
    remove("r", shm_dir)
    with Writer("r", 256, directory=shm_dir) as writer:
        assert writer.instruments.add("NEW") == old
        writer.publish(ticks(1))
        assert reader.read(timeout=5).instruments.symbol(old) == "NEW"
        assert reader.read(timeout=0).instruments.symbol(old) == "NEW"
        assert batch.instruments.symbol(old) == "OLD"
    reader.close()


def test_instruments_table_full_and_text_too_long_are_told(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir, instruments_capacity=300) as writer:
        for i in range(300):
            writer.instruments.add(f"I{i}")
        with pytest.raises(RingSpace, match="full at 300"):
            writer.instruments.add("one more")
        for bad in ("é" * 40, "a\0b"):
            with pytest.raises(ValueError, match="does not fit"):
                writer.instruments.add(bad)


def test_one_letter_symbols_up_to_the_last_byte(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        name = "x" * 71
        assert reader.instruments.symbol(writer.instruments.add(name)) == name


# ------------------------------------------------------------------------------------- restart


def test_restarted_writer_continues_and_readers_go_on(shm_dir: str, ticks) -> None:
    first = Writer("r", directory=shm_dir)
    reader = Reader("r", directory=shm_dir)
    first.publish(ticks(10))
    assert (first.epoch, reader.writer_alive) == (1, True)
    first.close()
    assert not reader.writer_alive
    assert not reader.ended
    assert len(reader.read()) == 10
    assert reader.ended
    with Writer("r", directory=shm_dir) as second:
        assert second.epoch == 2
        assert second.publish(ticks(1)) == 11
        assert reader.read().first_seq == 11
        assert reader.epoch == 2


def test_second_writer_is_refused(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir):
        with pytest.raises(RingBusy, match="living writer"):
            Writer("r", directory=shm_dir)
        with pytest.raises(RingBusy, match="living writer"):
            Writer("r", 1024, directory=shm_dir)


def test_ring_of_other_size_takes_over_with_the_sequence_going_on(shm_dir: str, ticks) -> None:
    writer = Writer("r", 256, directory=shm_dir)
    reader = Reader("r", "oldest", directory=shm_dir, consumer="c")
    writer.publish(ticks(20))
    writer.close()
    with Writer("r", 4096, directory=shm_dir) as writer:
        assert writer.publish(ticks(3)) == 21
        seqs = []
        while len(seqs) < 23:
            seqs += reader.read(timeout=5).records["seq"].tolist()
        assert seqs == list(range(1, 24))
        assert (reader.reattached, reader.lost, reader.capacity) == (1, 0, 4096)
        assert [c.name for c in inspect("r", shm_dir).consumers if c.alive] == ["c"]


def test_ring_deleted_and_made_anew_is_noticed(shm_dir: str, ticks) -> None:
    writer = Writer("r", directory=shm_dir)
    reader = Reader("r", directory=shm_dir)
    writer.publish(ticks(5))
    assert len(reader.read()) == 5
    writer.close()
    remove("r", shm_dir)
    with Writer("r", directory=shm_dir) as writer:
        writer.publish(ticks(2))
        batch = reader.read(timeout=5)
        assert (batch.first_seq, len(batch), reader.reattached) == (1, 2, 1)


def test_reader_that_does_not_follow_ends_with_its_writer(shm_dir: str, ticks) -> None:
    writer = Writer("r", directory=shm_dir)
    reader = Reader("r", directory=shm_dir, follow=False)
    writer.publish(ticks(7))
    writer.close()
    assert [len(b) for b in reader] == [7]
    assert len(reader.read()) == 0


def test_killed_writer_leaves_a_ring_that_goes_on(shm_dir: str, ticks, spawn) -> None:
    child = spawn(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import sys, numpy as np
                from mdfeedd import Writer, TICK
                w = Writer("r", 1024, directory=sys.argv[1])
                one = np.zeros(1, TICK)
                while True:
                    one["ts_event"] = w.next_seq
                    w.publish(one)
            """),
            shm_dir,
        ]
    )
    reader = Reader("r", directory=shm_dir, wait=20)
    reader.read(timeout=20)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not reader.writer_alive
    with Writer("r", 1024, directory=shm_dir) as writer:
        first = writer.publish(ticks(1, writer.next_seq))
        last = 0
        while reader.next_seq <= first:
            records = reader.read(timeout=5).records
            assert (records["ts_event"] == records["seq"]).all()
            last = int(records["seq"][-1]) if len(records) else last
        assert last == first


# -------------------------------------------------------------------------------------- waiting


def test_reader_waits_for_a_ring_that_does_not_exist_yet(shm_dir: str, ticks) -> None:
    made: list[Writer] = []
    timer = threading.Timer(0.1, lambda: made.append(Writer("late", directory=shm_dir)))
    timer.start()
    with Reader("late", directory=shm_dir, wait=20) as reader:
        timer.join()
        made[0].publish(ticks(1))
        assert reader.read(timeout=5).first_seq == 1
    made[0].close()


@pytest.mark.parametrize("spin", [0.0, 20e-6, float("inf")])
def test_sleeping_reader_is_woken_by_publish_close_and_takeover(
    shm_dir: str, spin: float, ticks
) -> None:
    writer = Writer("r", directory=shm_dir)
    reader = Reader("r", directory=shm_dir, spin=spin)
    seen: list[int] = []

    def read() -> None:
        while sum(seen) < 3:
            seen.append(len(reader.read(timeout=20)))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(2):
        time.sleep(0.02)
        writer.publish(ticks(1))
    writer.close()
    with Writer("r", directory=shm_dir) as writer:
        writer.publish(ticks(1))
        thread.join(20)
        assert not thread.is_alive()
        assert sum(seen) == 3


@pytest.mark.parametrize("never", [float("nan"), -float("nan")])
def test_nan_is_no_time_to_wait(shm_dir: str, never: float) -> None:
    with Writer("r", directory=shm_dir):
        for time_to_wait in ({"wait": never}, {"spin": never}):
            with pytest.raises(ValueError, match="a number of seconds, not nan"):
                Reader("r", directory=shm_dir, **time_to_wait)
        with Reader("r", directory=shm_dir) as reader:
            room = np.zeros(1, TICK)
            for look in (reader.read, partial(reader.read_into, room), reader.wait_ready):
                with pytest.raises(ValueError, match="a number of seconds, not nan"):
                    look(timeout=never)
            with pytest.raises(ValueError, match="a number of seconds, not nan"):
                asyncio.run(reader.wait(never))
            with pytest.raises(ValueError, match="a number of seconds, not nan"):
                wait_any([reader], never)


def test_of_kind_takes_a_dtype_of_ticks_only(shm_dir: str, ticks) -> None:
    with Writer("r", np.int64(1000), directory=shm_dir) as writer:
        assert writer.capacity == 1024
        with Reader("r", directory=shm_dir) as reader:
            writer.publish(ticks(4))
            batch = reader.read()
            for strange in (BAR, np.float64, None):
                with pytest.raises(ValueError, match="a tick has 64 bytes"):
                    batch.of_kind(Kind.TRADE, strange)
            with pytest.raises(ValueError, match="max_records must be at least 1"):
                reader.poll(-1)


def test_timeout_gives_an_empty_batch(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir), Reader("r", directory=shm_dir) as reader:
        for timeout in (0, 0.001, 0.15):
            batch = reader.read(timeout=timeout)
            assert (len(batch), batch.lost, batch.first_seq) == (0, 0, 0)
            assert batch.records.shape == (0,)
            assert batch.records.dtype == TICK


def test_ctrl_c_ends_a_blocking_read(shm_dir: str, spawn) -> None:
    with Writer("r", directory=shm_dir):
        code = """
            import signal, sys
            from mdfeedd import Reader
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits "ignore"
            r = Reader("r", directory=sys.argv[1])
            try:
                print("ready", flush=True)
                r.read()
            except KeyboardInterrupt:
                print("interrupted")
        """
        child = spawn(
            [sys.executable, "-c", textwrap.dedent(code), shm_dir],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=20)[0] == "interrupted\n"
        assert child.returncode == 0


def test_name_that_changes_in_place_is_seen_by_a_reader(shm_dir):
    with Writer("renamed", directory=shm_dir) as writer:
        number = writer.instruments.add("4711", vendor_id=4711)
        with Reader("renamed", directory=shm_dir) as reader:
            assert reader.instruments.symbol(number) == "4711"
            entry = writer.instrument_get(0)
            writer.instrument_put(0, (*entry[:10], "ESZ6", entry[11]))
            deadline = time.monotonic() + 10
            while reader.instruments.symbol(number) != "ESZ6":
                assert time.monotonic() < deadline
            assert reader.instruments.ids("ESZ6") == [number]
