"""The journal consumer: rings into files, over restarts, laps, full disks and several rings at once."""

# ruff: noqa: BLE001, PT012, SIM117 - what a thread raised, whatever it is, must come out
from __future__ import annotations

import logging
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from mdfeedd.consumers.journal import JournalConsumer, JournalOptions
from mdfeedd.journal import JournalReader
from mdfeedd.ring import Position, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, GAP, TICK, GapReason, Kind

PATIENCE_S = 60


@pytest.fixture
def options(tmp_path):
    return JournalOptions(path=str(tmp_path / "journal"), segment_bytes=1 << 18, fsync="batch")


@contextmanager
def running(options, rings, shm_dir, name="journal"):
    """The consumer in a thread, stopped at the end; an exception of its comes out."""
    stop, failed = threading.Event(), []
    consumer = JournalConsumer(name, options, rings, shm_dir)

    def run():
        try:
            consumer.run(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)
    return result


def ticks(n, dtype=TICK, first=0):
    out = np.zeros(n, dtype)
    raw = out.view("u1").reshape(n, dtype.itemsize)
    raw[:, 8:] = (np.arange(first, first + n)[:, None] * 7 + np.arange(dtype.itemsize - 8)) % 251
    return out


def consumer_of(ring, shm_dir, name="journal"):
    return next((c for c in inspect(ring, shm_dir).consumers if c.name == name), None)


def acked(ring, shm_dir, seq):
    found = consumer_of(ring, shm_dir)
    return found is not None and found.acked >= seq


def stored(options, ring, start=None):
    """Records and lost of a ring's journal."""
    with JournalReader(options_path(options) / ring, start) as reader:
        parts, lost = [], 0
        while len(batch := reader.read(10_000)) or batch.lost:
            lost += batch.lost
            parts.append(batch.records.copy())
    return np.concatenate(parts), lost


def options_path(options):
    from pathlib import Path

    return Path(options.path)


@pytest.mark.parametrize("fsync", ["none", "interval", "batch"])
def test_everything_published_is_stored_over_restarts(options, shm_dir, fsync):
    options = replace(options, fsync=fsync)
    published = []
    with Writer("es", 1 << 14, directory=shm_dir) as writer:
        for turn in range(3):
            with running(options, ["es"], shm_dir):
                for i in range(20):
                    published.append(ticks(150, first=turn * 20 + i))
                    writer.publish(published[-1])
                    time.sleep(0.0005)
                until(lambda: acked("es", shm_dir, writer.next_seq - 1))
            published.append(ticks(100, first=99 + turn))  # while it is away
            writer.publish(published[-1])
        with running(options, ["es"], shm_dir):
            until(lambda: acked("es", shm_dir, writer.next_seq - 1))
    wanted = np.concatenate(published)
    wanted["seq"] = np.arange(1, len(wanted) + 1)
    got, lost = stored(options, "es")
    assert got.tobytes() == wanted.tobytes()
    assert lost == 0


def test_what_was_lapped_while_it_was_away_is_a_gap_record(options, shm_dir):
    with Writer("es", 1 << 10, directory=shm_dir) as writer:
        with running(options, ["es"], shm_dir):
            writer.publish(ticks(100))
            until(lambda: acked("es", shm_dir, 100))
        writer.publish(ticks(900))
        writer.publish(ticks(1000))
        with running(options, ["es"], shm_dir):
            until(lambda: acked("es", shm_dir, 2000))
    got, lost = stored(options, "es")
    assert lost == 0
    gap = got[100:101].view(GAP)[0]
    assert (gap["kind"], gap["reason"]) == (Kind.GAP, GapReason.RING_LAPPED)
    assert gap["first_missing"] == 101
    rest = got[101:]
    assert gap["last_missing"] == rest["seq"][0] - 1
    assert len(rest) + int(gap["last_missing"]) == 2000


def test_rings_do_not_wait_for_each_other_and_end_with_their_writers(options, shm_dir):
    options = replace(options, follow=False)
    consumer = JournalConsumer("journal", options, ["a", "b", "bars"], shm_dir)
    thread = threading.Thread(target=consumer.run, args=(threading.Event(),))
    with (
        Writer("a", directory=shm_dir) as a,
        Writer("b", directory=shm_dir) as b,
        Writer("bars", dtype=BAR, directory=shm_dir) as bars,
    ):
        thread.start()
        a.publish(ticks(10))
        bars.publish(ticks(20, BAR))
        until(lambda: acked("a", shm_dir, 10) and acked("bars", shm_dir, 20))
        b.publish(ticks(30))
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [len(stored(options, ring)[0]) for ring in ("a", "b", "bars")] == [10, 30, 20]
    with JournalReader(options_path(options) / "bars") as reader:
        assert reader.dtype == BAR
        reader.read(100)
        assert reader.ended


def test_a_writers_restart_raises_the_epoch_and_breaks_nothing(options, shm_dir):
    with running(options, ["es"], shm_dir):
        for _ in range(3):
            with Writer("es", directory=shm_dir) as writer:
                first = writer.next_seq
                writer.publish(ticks(50, first=first))
    with running(options, ["es"], shm_dir):
        until(lambda: acked("es", shm_dir, 150))
    with JournalReader(options_path(options) / "es") as reader:
        seen = []
        while len(batch := reader.read(1000)):
            seen.append((batch.epoch, int(batch.records["seq"][0]), len(batch)))
    assert sum(n for _, _, n in seen) == 150
    assert [epoch for epoch, _, _ in seen] == sorted(epoch for epoch, _, _ in seen)
    assert seen[-1][0] == inspect("es", shm_dir).epoch


def test_another_ring_of_the_name_is_another_space(options, shm_dir):
    from mdfeedd.ring import remove

    with running(options, ["es"], shm_dir):
        with Writer("es", directory=shm_dir) as writer:
            writer.publish(ticks(50))
            until(lambda: acked("es", shm_dir, 50))
        before = inspect("es", shm_dir).ring_id.hex()
        remove("es", shm_dir)
        with Writer("es", directory=shm_dir) as writer:
            writer.publish(ticks(70))
            until(lambda: acked("es", shm_dir, 70))
        after = inspect("es", shm_dir).ring_id.hex()
    with JournalReader(options_path(options) / "es") as reader:
        first = reader.read(1000)
        assert (first.ring_id, len(first)) == (before, 50)
        second = reader.read(1000)
        assert (second.ring_id, len(second), second.lost) == (after, 70, 0)
        assert reader.position == Position(after, 70, 1)


def test_instruments_are_in_the_journal_before_the_records_that_name_them(options, shm_dir):
    with Writer("es", directory=shm_dir) as writer, running(options, ["es"], shm_dir):
        for i in range(300):
            record = ticks(1)
            record["instrument_id"] = writer.instruments.add(f"S{i}", venue="XCME")
            if i % 3 == 0:
                writer.instruments.add(f"S{i // 2}", currency="EUR", venue="XCME")
            writer.publish(record)
        until(lambda: acked("es", shm_dir, 300))
    with JournalReader(options_path(options) / "es") as reader:
        n = 0
        while len(batch := reader.read(1)):
            assert batch.instruments.symbol(int(batch.records["instrument_id"][0])) == f"S{n}"
            n += 1
    assert n == 300
    changed = batch.instruments
    assert {
        i.currency for i in changed if int(i.symbol[1:]) < 150 and int(i.symbol[1:]) % 3 == 0
    } <= {"EUR", ""}
    assert sum(i.currency == "EUR" for i in changed) == 100


class _Full:
    """A disk that is full when told so, for the consumer's own writers."""

    def __init__(self, monkeypatch):
        import errno

        from mdfeedd.journal.disk import Disk

        self.full = False
        for name in ("allocate", "write"):
            real = getattr(Disk, name)

            def call(disk, *arguments, real=real):
                if self.full:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return real(disk, *arguments)

            monkeypatch.setattr(Disk, name, call)


def test_full_disk_is_told_once_and_the_rest_goes_on(options, shm_dir, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    disk = _Full(monkeypatch)
    with Writer("es", 1 << 10, directory=shm_dir) as writer, running(options, ["es"], shm_dir):
        writer.publish(ticks(10))
        until(lambda: acked("es", shm_dir, 10))
        disk.full = True
        writer.publish(ticks(10))
        until(lambda: consumer_of("es", shm_dir).counters["failed_flushes"] >= 3)
        disk.full = False
        until(lambda: acked("es", shm_dir, 20))
    assert len(stored(options, "es")[0]) == 20
    told = [r.getMessage() for r in caplog.records if "cannot be written" in r.getMessage()]
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert any("is written again after" in r.getMessage() for r in caplog.records)


def test_disk_full_for_longer_than_the_ring_holds_is_a_gap(options, shm_dir, monkeypatch):
    disk = _Full(monkeypatch)
    with Writer("es", 1 << 10, directory=shm_dir) as writer, running(options, ["es"], shm_dir):
        writer.publish(ticks(10))
        until(lambda: acked("es", shm_dir, 10))
        disk.full = True
        for _ in range(400):
            writer.publish(ticks(500))
        until(lambda: consumer_of("es", shm_dir).counters["failed_flushes"] >= 2)
        for _ in range(400):
            writer.publish(ticks(500))
        disk.full = False
        until(lambda: acked("es", shm_dir, 400_010))
    got, lost = stored(options, "es")
    gaps = got[(got["seq"] > 10) & (got["kind"] == Kind.GAP)].view(GAP)
    gaps = gaps[gaps["reason"] == GapReason.RING_LAPPED]
    missing = int((gaps["last_missing"] - gaps["first_missing"] + 1).sum())
    assert missing > 0
    assert lost == 0
    assert len(got) - len(gaps) + missing == 400_010


def test_full_disk_is_no_trouble_where_all_is_stored_elsewhere(
    options, shm_dir, monkeypatch, caplog
):
    """There is room for three files; the sinks have all that was written."""
    import errno

    from mdfeedd.journal import SinkPositions
    from mdfeedd.journal.disk import Disk

    folder = options_path(options) / "es"
    allocate = Disk.allocate

    def small(disk, fd, size):
        if len(list(folder.glob("*.mdj"))) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(disk, fd, size)

    monkeypatch.setattr(Disk, "allocate", small)
    sinks = SinkPositions(folder)
    with Writer("es", 1 << 15, directory=shm_dir) as writer:
        with caplog.at_level(logging.WARNING), running(options, ["es"], shm_dir):
            for n in range(20):
                writer.publish(ticks(1000))
                until(lambda: acked("es", shm_dir, (n + 1) * 1000))  # noqa: B023 - called at once
                ring_id = inspect("es", shm_dir).ring_id.hex()
                sinks.save("store", Position(ring_id, (n + 1) * 1000, 1))
    sinks.close()
    assert "segments removed before their time" in caplog.text
    assert "cannot be written" not in caplog.text
    first = stored(options, "es")[0]["seq"][0]
    assert stored(options, "es", Position(ring_id, int(first) - 1, 1))[1] == 0
    assert 1 < first < 20_000
    assert len(list(folder.glob("*.mdj"))) <= 3


def test_failed_sync_ends_the_consumer(options, shm_dir, monkeypatch):
    import errno

    from mdfeedd.journal import JournalError
    from mdfeedd.journal.disk import Disk

    with Writer("es", directory=shm_dir) as writer:
        writer.publish(ticks(10))
        with pytest.raises(JournalError, match="cannot be synced: Input/output error"):
            with running(options, ["es"], shm_dir) as thread:
                until(lambda: acked("es", shm_dir, 10))

                def fail(disk, fd):
                    raise OSError(errno.EIO, "Input/output error")

                monkeypatch.setattr(Disk, "sync", fail)
                writer.publish(ticks(10))
                thread.join(PATIENCE_S)
        monkeypatch.undo()
        with running(options, ["es"], shm_dir):
            until(lambda: acked("es", shm_dir, 20))
    assert len(stored(options, "es")[0]) == 20


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", ""), ("segment_bytes", 10), ("segment_bytes", 1 << 60), ("fsync", "always"),
        ("fsync_interval_s", 0), ("keep_bytes", -1), ("hard_cap_bytes", 1), ("max_delay_s", 11),
        ("keep_s", -1), ("wait_s", -1),
    ],
)  # fmt: skip
def test_option_that_cannot_be(tmp_path, key, value):
    with pytest.raises(ValueError, match=f"^{key}: "):
        JournalOptions(**{"path": str(tmp_path), key: value})


def test_large_table_is_taken_in_pieces_and_what_records_name_before_them(options, shm_dir):
    with Writer("es", directory=shm_dir) as writer:
        ids = [writer.instruments.add(f"S{i}") for i in range(5000)]
        with running(options, ["es"], shm_dir):
            for i in (4999, 0, 4321):
                record = ticks(1)
                record["instrument_id"] = ids[i]
                writer.publish(record)
                until(lambda: acked("es", shm_dir, writer.next_seq - 1))
            for i in (4998, 4997):  # changes in place: the whole table is looked through again
                writer.instruments.add(f"S{i}", currency="EUR")
                record["instrument_id"] = ids[i]
                writer.publish(record)
                until(lambda: acked("es", shm_dir, writer.next_seq - 1))
            for _ in range(5):
                writer.publish(ticks(1))
                until(lambda: acked("es", shm_dir, writer.next_seq - 1))
    with JournalReader(options_path(options) / "es") as reader:
        for symbol, currency in [
            *(("S4999", ""), ("S0", ""), ("S4321", "")),
            *(("S4998", "EUR"), ("S4997", "EUR")),
        ]:
            batch = reader.read(1)
            found = batch.instruments[int(batch.records["instrument_id"][0])]
            assert (found.symbol, found.currency) == (symbol, currency)
        while len(batch := reader.read(1)):
            pass
        assert len(batch.instruments) == 5000


def test_journal_that_is_removed_ends_it_and_is_made_anew(options, shm_dir, monkeypatch):
    """What the ring still has is in it again."""
    from mdfeedd.consumers import journal as module
    from mdfeedd.journal import JournalError

    monkeypatch.setattr(module, "RETAIN_S", 0.01)
    with Writer("es", directory=shm_dir) as writer:
        writer.publish(ticks(10))
        with pytest.raises(JournalError, match="was removed while it was being written"):
            with running(options, ["es"], shm_dir) as thread:
                until(lambda: acked("es", shm_dir, 10))
                shutil.rmtree(options_path(options))
                thread.join(PATIENCE_S)
        writer.publish(ticks(10))
        with running(options, ["es"], shm_dir):
            until(lambda: acked("es", shm_dir, 20))
    assert stored(options, "es")[0]["seq"].tolist() == list(range(1, 21))
