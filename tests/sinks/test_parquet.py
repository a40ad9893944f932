"""The Parquet sink: exact round trips, whole files or none, nothing lost and nothing twice."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from mdfeedd.sinks import SinkBatch, SinkError, SinkProgress, load_sink, parquet, sink_options
from mdfeedd.sinks.parquet import ParquetOptions, ParquetSink
from mdfeedd.tick import BAR, PRICE_UNDEF, QUOTE, TICK, TIME_UNDEF, TRADE, Flag, Kind

TABLES = ("quotes", "trades", "corrections")
RING_ID = "0123456789abcdef0123456789abcdef"
NAMES = {i: f"S{i}" for i in range(1, 8)} | {8: "Ölpreis €/t 原油"}


class Instruments:
    """An instruments table as a reader sees it."""

    feed = "cme"

    def __init__(self, names=NAMES, feeds=None):
        self.names = names
        self.feeds = feeds or {}

    def get(self, instrument_id):
        if instrument_id not in self.names:
            return None
        return SimpleNamespace(
            symbol=self.names[instrument_id], feed=self.feeds.get(instrument_id, "")
        )


def batch_of(records, *, instruments=None, **fields):
    given = {"ring": "cme", "ring_id": RING_ID, "feed": "cme", "epoch": 1} | fields
    return SinkBatch(records=records, instruments=instruments or Instruments(), **given)


def quotes(n, *, first_seq=1, ts=1_700_000_000 * 10**9):
    out = np.zeros(n, QUOTE)
    out["seq"] = np.arange(first_seq, first_seq + n)
    out["kind"] = Kind.QUOTE
    out["ts_event"] = out["ts_recv"] = ts
    out["instrument_id"] = 1
    return out.view(TICK)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def sink_at(stored, clock=None, **options):
    given = ParquetOptions(str(stored.out), **options)
    return ParquetSink(given, clock=clock) if clock else ParquetSink(given)


def seqs(stored, table="quotes"):
    return [row[0] for row in stored.by_duckdb(table)] if stored.files(table) else []


@pytest.mark.parametrize("reader", ["by_duckdb", "by_polars"])
def test_ticks_of_all_kinds_read_back_exactly(rng, make, expect, stored, reader):
    ticks = make.ticks(rng, 3000)
    sink = sink_at(stored, row_group_rows=700)
    for start in range(0, len(ticks), 500):
        sink.write(batch_of(ticks[start : start + 500]))
    sink.close()
    read = getattr(stored, reader)
    assert read("trades") == expect.trades(ticks, NAMES.get, "cme")
    assert read("corrections") == expect.trades(ticks, NAMES.get, "cme", kinds=(3, 4))
    assert read("quotes") == expect.quotes(ticks, NAMES.get, "cme")


@pytest.mark.parametrize("reader", ["by_duckdb", "by_polars"])
def test_bars_read_back_exactly_under_the_feed_that_made_them(rng, make, expect, stored, reader):
    bars = make.bars(rng, 500)
    feeds = {1: "bloomberg", 2: "databento"}
    sink = sink_at(stored)
    sink.write(batch_of(bars, instruments=Instruments(feeds=feeds), feed="bars"))
    sink.close()
    got = getattr(stored, reader)("bars")
    assert got == expect.bars(bars, NAMES.get, lambda i: feeds.get(i, "bars"))


def test_columns_and_types_are_those_of_the_documentation(rng, make, stored):
    sink = sink_at(stored)
    sink.write(batch_of(make.ticks(rng, 500)))
    sink.write(batch_of(make.bars(rng, 5), ring="b", ring_id="b" * 32))
    sink.close()
    price, time = "decimal128(19, 9)", "timestamp[ns, tz=UTC]"
    symbol = "dictionary<values=string, indices=int32, ordered=0>"
    side = "dictionary<values=string, indices=int8, ordered=0>"
    head = [("seq", "uint64"), ("ts_event", time), ("ts_recv", time), ("symbol", symbol)]
    tail = [("count", "uint32"), ("flags", "uint16"), ("venue_seq", "uint32")]

    def columns(table):
        schema = pq.read_schema(stored.files(table)[0])
        return [(f.name, str(f.type)) for f in schema]

    trade = [("price", price), ("size", "uint32"), ("side", side), ("trade_id", "uint64")]
    quote = [("bid_price", price), ("ask_price", price)]
    quote += [("bid_size", "uint32"), ("ask_size", "uint32")]
    assert columns("trades") == [*head, *trade, *tail]
    assert columns("corrections") == [*head, ("kind", side), *trade, *tail]
    assert columns("quotes") == [*head, *quote, *tail]
    assert columns("bars") == [
        ("symbol", symbol),
        ("interval_s", "uint32"),
        ("ts_open", time),
        *((name, price) for name in ("open", "high", "low", "close")),
        ("volume", "uint64"),
        ("vwap", price),
        ("count", "uint32"),
        ("flags", "uint32"),
    ]


def test_extreme_prices_keep_every_digit(stored):
    trades = np.zeros(6, TRADE)
    trades["seq"] = np.arange(1, 7)
    trades["kind"] = Kind.TRADE
    trades["price"] = [-(2**63), -1, 0, 1, PRICE_UNDEF - 1, PRICE_UNDEF]
    sink = sink_at(stored)
    sink.write(batch_of(trades.view(TICK)))
    sink.close()
    column = pq.read_table(stored.files("trades")[0])["price"].to_pylist()
    assert [price and f"{price:f}" for price in column] == [
        "-9223372036.854775808",
        "-0.000000001",
        Decimal(0),
        "0.000000001",
        "9223372036.854775806",
        None,
    ]


def test_date_is_of_ts_recv_where_the_venue_time_is_bad_or_absent(stored):
    day = 86_400 * 10**9
    ticks = quotes(5)
    ticks["ts_event"] = [day, day, TIME_UNDEF, TIME_UNDEF, -1]
    ticks["ts_recv"] = [2 * day, 2 * day, 3 * day, TIME_UNDEF, 0]
    ticks["flags"] = [0, Flag.BAD_TS, 0, 0, 0]
    sink = sink_at(stored)
    sink.write(batch_of(ticks))
    sink.close()
    dates = {row[0]: str(row[-1]) for row in stored.by_duckdb("quotes")}
    assert dates == {
        1: "1970-01-02",
        2: "1970-01-03",
        3: "1970-01-04",
        4: "1970-01-01",
        5: "1969-12-31",
    }


def test_instrument_that_the_table_does_not_have_is_named_by_its_number(stored):
    ticks = quotes(3)
    ticks["instrument_id"] = [1, 99, 0]
    sink = sink_at(stored)
    sink.write(batch_of(ticks))
    sink.close()
    assert [row[3] for row in stored.by_duckdb("quotes")] == ["S1", "#99", ""]


def test_another_writer_may_number_its_instruments_otherwise(stored):
    sink = sink_at(stored)
    sink.write(batch_of(quotes(1)))
    sink.write(batch_of(quotes(1, first_seq=2), epoch=2, instruments=Instruments({1: "OTHER"})))
    sink.close()
    assert [row[3] for row in stored.by_duckdb("quotes")] == ["S1", "OTHER"]
    assert [path.name[:6] for path in stored.files()] == ["000001", "000002"]


def test_ids_of_several_feeds_far_apart_find_their_symbols(stored):
    ids = [1, 5 << 24 | 1, 200 << 24 | 7, 1]
    ticks = quotes(4)
    ticks["instrument_id"] = ids
    names = dict(zip(ids, ["A", "B", "C", "A"], strict=True))
    sink = sink_at(stored)
    sink.write(batch_of(ticks, instruments=Instruments(names)))
    sink.close()
    assert [row[3] for row in stored.by_duckdb("quotes")] == ["A", "B", "C", "A"]


def test_the_callers_memory_is_not_kept(stored):
    ticks = quotes(10)
    sink = sink_at(stored)
    sink.write(batch_of(ticks))
    ticks["seq"] = 0
    sink.close()
    assert seqs(stored) == list(range(1, 11))


def test_file_is_rolled_by_size(rng, make, stored):
    sink = sink_at(stored, roll_bytes=20_000, row_group_rows=1000)
    ticks = make.ticks(rng, 12_000, days=1)
    ticks["kind"] = Kind.QUOTE
    ticks["ts_event"] = quotes(1)["ts_event"]
    for start in range(0, len(ticks), 1000):
        sink.write(batch_of(ticks[start : start + 1000]))
    before = stored.files()
    sink.close()
    files = stored.files()
    assert 3 <= len(before) < len(files) + 1
    assert all(path.stat().st_size < 120_000 for path in files)
    assert seqs(stored) == list(range(1, 12_001))
    assert sink.progress(RING_ID).stored_bytes == sum(path.stat().st_size for path in files)


def test_file_is_rolled_by_time_even_when_nothing_comes(stored):
    clock = Clock()
    sink = sink_at(stored, clock, roll_s=60)
    sink.write(batch_of(quotes(5)))
    clock.now = 59.9
    sink.housekeep()
    assert stored.files() == []
    assert sink.progress(RING_ID) == SinkProgress(safe_seq=0, pending_records=5)
    clock.now = 60.0
    sink.housekeep()
    assert seqs(stored) == [1, 2, 3, 4, 5]
    progress = sink.progress(RING_ID)
    assert (progress.safe_seq, progress.stored_records, progress.pending_records) == (5, 5, 0)
    sink.close()


def test_more_dates_than_open_files_finish_the_least_recently_written(stored):
    sink = sink_at(stored, max_open_files=3)
    day = 86_400 * 10**9
    for i in range(5):
        sink.write(batch_of(quotes(1, first_seq=i + 1, ts=i * day)))
    sink.housekeep()
    assert [path.parent.name for path in stored.files()] == ["date=1970-01-01", "date=1970-01-02"]
    assert sink.progress(RING_ID).safe_seq == 2
    sink.close()
    assert seqs(stored) == [1, 2, 3, 4, 5]


def test_rows_that_wait_in_many_files_have_a_limit_together(stored, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BUFFERED_ROWS", 100)
    sink = sink_at(stored)
    first = 1
    for day, n in enumerate((30, 60, 20)):
        ts = (1_700_000_000 + day * 86_400) * 10**9
        sink.write(batch_of(quotes(n, first_seq=first, ts=ts)))
        first += n
    assert [file.buffered for file in sink._files.values()] == [30, 60, 20]
    sink.housekeep()
    assert [file.buffered for file in sink._files.values()] == [30, 0, 20], "the largest gives way"
    assert sink.progress(RING_ID).pending_records == 110, "encoded, and still in no whole file"
    sink.close()
    assert sorted(seqs(stored)) == list(range(1, 111))


def test_lock_that_cannot_be_opened_is_one_sentence(stored):
    (stored.out / ".lock").mkdir(parents=True)
    sink = sink_at(stored)
    with pytest.raises(SinkError, match=r"cannot lock .*/\.lock: Is a directory") as caught:
        sink.write(batch_of(quotes(1)))
    assert not caught.value.retriable
    sink.close()


def test_safe_position_stays_before_the_oldest_row_that_is_not_safe(stored):
    clock = Clock()
    sink = sink_at(stored, clock, roll_s=60)
    trade = np.zeros(1, TRADE)
    trade["seq"], trade["kind"] = 1, Kind.TRADE
    sink.write(batch_of(trade.view(TICK)))
    clock.now = 30
    sink.write(batch_of(quotes(10, first_seq=2)))
    clock.now = 60
    sink.housekeep()  # the trade's file, not the quotes'
    assert sink.progress(RING_ID).safe_seq == 1
    sink.flush()
    assert sink.progress(RING_ID).safe_seq == 11
    sink.close()


def test_kinds_without_a_table_are_counted_and_do_not_hold_the_position(stored):
    ticks = quotes(4)
    ticks["kind"] = [Kind.STATUS, Kind.GAP, Kind.HEARTBEAT, Kind.STATISTIC]
    sink = sink_at(stored)
    sink.write(batch_of(ticks))
    assert sink.progress(RING_ID) == SinkProgress(safe_seq=4, skipped_records=4)
    sink.close()
    assert stored.files() == []


def test_what_a_file_holds_already_is_not_stored_again(stored):
    sink = sink_at(stored)
    sink.write(batch_of(quotes(100)))
    sink.flush()
    sink.write(batch_of(quotes(50, first_seq=101)))  # never finished: the process is killed here
    sink._lock.close()  # as the kernel does
    again = sink_at(stored)
    again.write(batch_of(quotes(90, first_seq=61)))
    again.close()
    assert seqs(stored) == list(range(1, 151))
    assert again.progress(RING_ID).repeated_records == 40
    assert again.progress(RING_ID).stored_records == 90


def test_the_same_numbers_of_another_ring_are_other_records(stored):
    for ring_id in (RING_ID, "f" * 32):  # the ring was made anew, as after a reboot
        sink = sink_at(stored)
        sink.write(batch_of(quotes(10), ring_id=ring_id))
        sink.close()
    assert seqs(stored) == sorted([*range(1, 11)] * 2)


def test_leftovers_of_a_killed_process_are_removed_at_start(stored, caplog):
    code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
import importlib.util
spec = importlib.util.spec_from_file_location("t", {__file__!r})
t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
sink = t.ParquetSink(t.ParquetOptions({str(stored.out)!r}, row_group_rows=10))
sink.write(t.batch_of(t.quotes(100)))
sink.housekeep()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert len(stored.temporaries()) == 1
    assert stored.files() == []
    with caplog.at_level(logging.INFO):
        sink_at(stored).close()
    assert stored.temporaries() == []
    assert "removed 1 unfinished file" in caplog.text


def test_temporaries_of_a_living_sink_are_left_alone(stored):
    first = sink_at(stored, row_group_rows=10)
    first.write(batch_of(quotes(100)))
    first.housekeep()
    assert len(stored.temporaries()) == 1
    sink_at(stored).close()
    first.close()
    assert seqs(stored) == list(range(1, 101))
    assert stored.temporaries() == []


def test_folder_under_a_file_is_refused_with_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"^cannot write to the folder .*/file/out: ") as caught:
        ParquetSink(ParquetOptions(str(tmp_path / "file" / "out")))
    assert not caught.value.retriable
    assert "\n" not in str(caught.value)


def test_folder_that_cannot_be_written_is_refused_with_one_sentence():
    with pytest.raises(SinkError, match=r"^cannot write to the folder /proc/mdfeedd: "):
        ParquetSink(ParquetOptions("/proc/mdfeedd"))


def test_folder_without_write_permission_is_refused(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        pytest.skip("root may write everywhere")
    with pytest.raises(SinkError, match="Permission denied"):
        ParquetSink(ParquetOptions(str(closed)))


def test_missing_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SinkError, match=r"pip install 'mdfeedd\[parquet\]'"):
        ParquetSink(ParquetOptions(str(tmp_path)))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "mdfeedd-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def grow(disk):
    """There is room again."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def test_full_disk_is_retriable_and_loses_nothing(small_disk, rng, make, stored):
    """The disk fills at a random byte: in a row group, in a footer, or at a new file."""
    stored.out = small_disk / "out"
    ticks = make.ticks(rng, 6000)
    sink = sink_at(stored, row_group_rows=100, roll_bytes=8000)
    ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
    disk = os.fstatvfs(ballast)
    room = int(rng.integers(1, 12)) * 4096  # far less than what is written
    os.posix_fallocate(ballast, 0, disk.f_bavail * disk.f_frsize - room)
    refused = 0
    for start in range(0, len(ticks), 100):
        batch = batch_of(ticks[start : start + 100])
        while (error := refusal(sink, batch)) is not None:
            assert error.retriable
            assert "No space left" in str(error)
            before = sink.progress(RING_ID)
            assert refusal(sink, batch) is not None
            assert sink.progress(RING_ID) == before
            refused += 1
            left = os.fstat(ballast).st_size - 4096  # a page more, at an odd place
            if left >= 0:
                os.ftruncate(ballast, left)
            else:
                grow(small_disk)
    grow(small_disk)
    sink.close()
    os.close(ballast)
    assert refused
    stored_kinds = np.isin(ticks["kind"], [1, 2, 3, 4])
    got = sorted(s for table in TABLES for s in seqs(stored, table))
    assert got == ticks["seq"][stored_kinds].tolist()
    assert stored.by_polars("quotes") == stored.by_duckdb("quotes")
    assert stored.temporaries() == []


def refusal(sink, batch):
    """The error with which the sink refuses a batch; None if it takes it."""
    try:
        sink.write(batch)
    except SinkError as error:
        return error
    return None


def test_disk_full_for_good_leaves_no_half_written_file(small_disk, rng, make, stored):
    stored.out = small_disk / "out"
    sink = sink_at(stored, row_group_rows=100, roll_bytes=8000)
    ticks = make.ticks(rng, 30_000, days=1)
    starts = iter(range(0, len(ticks), 100))
    while refusal(sink, batch_of(ticks[(start := next(starts)) : start + 100])) is None:
        pass
    with pytest.raises(SinkError, match="No space left"):
        sink.close()
    assert stored.temporaries() == []
    progress = sink.progress(RING_ID)
    assert 0 < progress.safe_seq < start
    kept = [s for table in TABLES for s in seqs(stored, table)]
    assert len(kept) == progress.stored_records
    safe = np.isin(ticks["kind"], [1, 2, 3, 4]) & (ticks["seq"] <= progress.safe_seq)
    assert set(ticks["seq"][safe].tolist()) <= set(kept)
    with pytest.raises(SinkError, match="closed"):
        sink.write(batch_of(ticks[:1]))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_failed_fsync_is_not_tried_again(stored, monkeypatch, code):
    """A second fsync would succeed although the kernel has dropped the pages."""

    def fail(_fd):
        raise OSError(code, os.strerror(code))

    sink = sink_at(stored)
    sink.write(batch_of(quotes(3)))
    sink.housekeep()
    stored.out.joinpath("quotes/feed=cme/date=2023-11-14").mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SinkError, match=os.strerror(code)) as caught:
        sink.flush()
    assert not caught.value.retriable


def test_rows_after_a_flush_that_a_full_disk_refused_go_to_the_next_file(stored, monkeypatch):
    sink = sink_at(stored)
    sink.write(batch_of(quotes(3)))
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(SinkError, match="full") as caught:
            sink.flush()
        assert caught.value.retriable
    sink.write(batch_of(quotes(3, first_seq=4)))
    sink.close()
    assert seqs(stored) == [1, 2, 3, 4, 5, 6]
    assert len(stored.files()) == 2


def test_folder_removed_while_writing_is_an_error(stored):
    sink = sink_at(stored, row_group_rows=1)
    sink.write(batch_of(quotes(3)))
    sink.housekeep()
    for path in stored.temporaries():
        path.unlink()
    with pytest.raises(SinkError, match="No such file") as caught:
        sink.flush()
    assert not caught.value.retriable


def test_records_that_are_neither_ticks_nor_bars_have_no_table(stored):
    sink = sink_at(stored)
    with pytest.raises(SinkError, match="neither ticks nor bars"):
        sink.write(batch_of(np.zeros(1, [("seq", "<u8"), ("x", "V56")])))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"sink\.path: missing"),
        ({"path": ""}, r"sink\.path: must name a folder"),
        ({"path": "x", "roll_s": 0}, r"sink\.roll_s: must be greater than 0"),
        ({"path": "x", "row_group_rows": 0}, r"sink\.row_group_rows: must be a whole number"),
        ({"path": "x", "max_open_files": 1.5}, r"sink\.max_open_files: must be a whole number"),
        ({"path": "x", "colour": 1}, r"sink\.colour: unknown \(there are: path, "),
    ],
)
def test_bad_option_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        sink_options(load_sink("parquet"), given)


def test_unknown_sink_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"no sink 'papyrus' \(there are: .*parquet"):
        load_sink("papyrus")


def test_bars_have_their_dtype(stored):
    assert BAR.itemsize == 128
    sink = sink_at(stored)
    sink.write(batch_of(np.zeros(0, BAR)))
    assert sink.progress(RING_ID) == SinkProgress()
    sink.close()


def test_second_sink_of_a_ring_waits_until_the_first_is_gone(stored):
    """Two consumers of one name, or a daemon that was started twice: nothing is stored twice."""
    first, second = sink_at(stored), sink_at(stored)
    first.write(batch_of(quotes(10)))
    with pytest.raises(SinkError, match=r"another process stores ring 'cme' in .*/out") as refused:
        second.write(batch_of(quotes(10)))
    assert refused.value.retriable
    second.write(batch_of(quotes(5), ring_id="f" * 32))  # another ring may be stored beside it
    first.close()
    second.write(batch_of(quotes(20)))
    assert second.progress(RING_ID).repeated_records == 10
    second.close()
    assert seqs(stored) == sorted([*range(1, 21), *range(1, 6)])
