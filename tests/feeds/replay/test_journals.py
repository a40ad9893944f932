"""Journals through a ring again: the same ticks and bars, by time, under the names of their instruments."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.replay.feed import ReplayFeed, ReplayOptions
from mdfeedd.feeds.replay.source import DamagedRecording, ReplayError, vendor_of
from mdfeedd.feeds.shard import Shard
from mdfeedd.journal import JournalWriter, WriterOptions
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import Reader
from mdfeedd.tick import BAR, DEPTH, GAP, TICK, TRADE, Flag, GapReason, Kind, layout_of

NS = 1_700_000_000 * 10**9


def instrument(own_id, symbol):
    return (own_id, 7, 1, own_id >> 24, 10**7, 0, 0, "USD", "XCME", "cme", symbol, symbol + ".v")


def journal(folder, records, names, dtype=TICK):
    """Records in blocks of 50, their instruments by id."""
    writer = JournalWriter(folder, folder.name, WriterOptions(1 << 16, "none"))
    writer.begin(
        "cd" * 16, feed="cme", layout=layout_of(dtype), record_bytes=dtype.itemsize, next_seq=1
    )
    writer.put_instruments((i, instrument(*one)) for i, one in enumerate(names.items()))
    records["seq"] = np.arange(1, len(records) + 1)
    for at in range(0, len(records), 50):
        writer.append(records[at : at + 50], 1)
    writer.close()
    return folder


def trades(times_ns, ids):
    out = np.zeros(len(times_ns), TRADE)
    out["kind"] = Kind.TRADE
    out["ts_recv"] = times_ns
    out["ts_event"] = out["ts_recv"] - 1000
    out["instrument_id"] = np.resize(ids, len(out))
    out["price"] = np.arange(len(out)) - 5
    out["size"] = 2**32 - 1 - np.arange(len(out))
    return out.view(TICK)


def replay(shm_dir, *paths, name="rec", shard=None, **options):
    plan = RingPlan(name, 65_536, 3, 4096, shm_dir, shard)
    feed = ReplayFeed(name, ReplayOptions(tuple(map(str, paths)), **options), plan)
    feed.run(threading.Event())
    return feed


def read_all(shm_dir, name="rec"):
    with Reader(name, start="oldest", directory=shm_dir, follow=False) as reader:
        parts = [batch.records.copy() for batch in reader]
        names = reader.instruments
        names.refresh()
        return np.concatenate(parts), names, reader.header()["counters"]


def test_ticks_come_again_with_their_times_and_names(tmp_path, shm_dir):
    ids = [9 << 24 | 1, 9 << 24 | 2, 0]
    wanted = trades(NS + np.arange(500) * 10**6, ids)
    folder = journal(tmp_path / "es", wanted, {ids[0]: "ESZ6", ids[1]: "größe"})
    feed = replay(shm_dir, folder)
    got, names, counters = read_all(shm_dir)
    assert len(got) == 500
    assert (got["flags"] == int(Flag.REPLAYED)).all()
    assert [names.symbol(i) for i in got["instrument_id"][:3].tolist()] == ["ESZ6", "größe", ""]
    assert names[int(got["instrument_id"][0])].currency == "USD"
    assert (got["instrument_id"][:2] >> 24 == 3).all()
    for field in ("ts_event", "ts_recv", "kind", "payload"):
        assert (got[field] == wanted[field]).all()
    assert counters["published_trades"] == counters["received_records"] == 500
    assert feed.progress.total_bytes > 500 * 64 == feed.progress.done_bytes


def test_several_journals_are_merged_by_time(tmp_path, shm_dir):
    one = trades(NS + np.arange(300) * 2 * 10**6, [1])
    two = trades(NS + 10**6 + np.arange(200) * 2 * 10**6, [1])
    paths = journal(tmp_path / "a", one, {1: "A"}), journal(tmp_path / "b", two, {1: "B"})
    replay(shm_dir, *paths)
    got, names, _ = read_all(shm_dir)
    assert (np.diff(got["ts_recv"]) >= 0).all()
    symbols = [names.symbol(i) for i in got["instrument_id"].tolist()]
    assert symbols == ["A", "B"] * 200 + ["A"] * 100


def test_bars_go_to_the_ring_of_bars(tmp_path, shm_dir):
    bars = np.zeros(20, BAR)
    bars["ts_open"] = NS + np.arange(20) * 10**9
    bars["interval_s"] = 1
    bars["instrument_id"] = 5
    bars["close"] = np.arange(20)
    replay(shm_dir, journal(tmp_path / "bars", bars, {5: "ESZ6"}, BAR))
    got, names, _ = read_all(shm_dir, "rec.bars")
    assert got["close"].tolist() == list(range(20))
    assert names.symbol(int(got["instrument_id"][0])) == "ESZ6"


def test_damage_is_a_gap_in_the_stream(tmp_path, shm_dir):
    folder = journal(tmp_path / "es", trades(NS + np.arange(500) * 10**6, [1]), {1: "ESZ6"})
    with list_segments(folder)[0].path.open("r+b") as file:
        file.seek(4096 + 64 + 256 + 3 * (64 + 50 * 64) + 100)
        file.write(b"damaged")
    with pytest.raises(DamagedRecording, match=r"es: 50 records are missing$"):
        replay(shm_dir, folder)
    got, _, _ = read_all(shm_dir)
    gap = got[150:151].view(GAP)[0]
    assert (gap["kind"], gap["reason"]) == (Kind.GAP, GapReason.CORRUPT)
    assert (gap["first_missing"], gap["last_missing"]) == (NS + 149 * 10**6, NS + 200 * 10**6)
    assert len(got) == 451
    assert (got["kind"] == Kind.GAP).sum() == 1


def test_speed_is_that_of_the_recording(tmp_path, shm_dir):
    folder = journal(tmp_path / "es", trades(NS + np.arange(10) * 10**8, [1]), {1: "ESZ6"})
    begin = time.monotonic()
    replay(shm_dir, folder, speed=3.0)
    assert time.monotonic() - begin >= 0.3 - 0.01  # 0.9 s of it; not faster than told
    assert len(read_all(shm_dir)[0]) == 10


def test_journal_that_cannot_be_replayed_is_told(tmp_path, shm_dir):
    books = np.zeros(3, DEPTH)
    depth = journal(tmp_path / "all" / "depth", books, {}, DEPTH)
    with pytest.raises(ReplayError, match="holds neither ticks nor bars"):
        replay(shm_dir, depth)
    journal(tmp_path / "all" / "es", trades([NS], [1]), {1: "A"})
    with pytest.raises(ReplayError, match="holds the journals of several rings: name those"):
        replay(shm_dir, tmp_path / "all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReplayError, match="is a directory"):
        replay(shm_dir, tmp_path / "empty")
    (tmp_path / "file.dbn").write_bytes(b"DBN")
    with pytest.raises(ReplayError, match=r"is a journal and .* is not: replay them apart"):
        vendor_of([str(depth), str(tmp_path / "file.dbn")])


def test_shards_of_a_journal_are_together_the_whole(tmp_path, shm_dir):
    """By the names of the table; ticks of the whole feed are in each."""
    names = {9 << 24 | i: f"SYM{i}" for i in range(1, 12)}
    wanted = trades(NS + np.arange(600) * 10**6, [*names, 0])
    folder = journal(tmp_path / "es", wanted, names)

    def play(name, shard):
        replay(shm_dir, folder, name=name, shard=shard)
        got, table, counters = read_all(shm_dir, name)
        symbols = [table.symbol(i) for i in got["instrument_id"].tolist()]
        return list(zip(symbols, got["payload"].tolist(), strict=True)), counters

    whole, _ = play("whole", None)
    assert len(whole) == 600
    for index in (1, 2, 3):
        shard = Shard(index, 3)
        ours, counters = play(f"s{index}", shard)
        assert ours == [one for one in whole if not one[0] or shard.has(one[0])]
        assert counters["skipped_records"] == 600 - len(ours) > 0


def test_shards_of_bars(tmp_path, shm_dir):
    bars = np.zeros(30, BAR)
    bars["ts_open"] = NS + np.arange(30) * 10**9
    bars["interval_s"], bars["close"] = 1, np.arange(30)
    bars["instrument_id"] = np.resize([5, 6, 7], 30)
    names = {5: "ESZ6", 6: "NQZ6", 7: "CLZ6"}
    folder = journal(tmp_path / "bars", bars, names, BAR)
    shard = next(s for s in (Shard(1, 2), Shard(2, 2)) if s.has("ESZ6"))
    replay(shm_dir, folder, shard=shard)
    got, table, _ = read_all(shm_dir, "rec.bars")
    mine = {symbol for symbol in names.values() if shard.has(symbol)}
    assert {table.symbol(i) for i in got["instrument_id"].tolist()} == mine
    assert len(got) == 10 * len(mine)
