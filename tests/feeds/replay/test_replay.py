"""Recordings through a real ring: what comes out is what the files hold, or one sentence says why not."""

from __future__ import annotations

import io
import logging
import os
import threading
import time

import databento_dbn as db
import numpy as np
import pytest
import zstandard

from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.replay.feed import ReplayFeed, ReplayOptions
from mdfeedd.feeds.replay.source import DamagedRecording, Recording, ReplayError
from mdfeedd.ring import Reader, RingMissing
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, TICK

T0 = 1_700_000_000_000_000_000


def metadata(schema=db.Schema.MBP_1, **rest):
    return db.Metadata(
        dataset="GLBX.MDP3", start=T0, stype_in=db.SType.RAW_SYMBOL,
        stype_out=db.SType.INSTRUMENT_ID, schema=schema, symbols=[], **rest,
    ).encode()  # fmt: skip


def quotes(n, instrument=7, start=T0, step=1000, first=0):
    rows = np.zeros(n, record_dtype(1, 3))
    rows["length"], rows["rtype"], rows["publisher_id"] = 20, 1, 1
    rows["instrument_id"] = instrument
    rows["ts_event"] = start + step * np.arange(n)
    rows["ts_recv"] = rows["ts_event"] + 10
    rows["action"], rows["side"], rows["flags"] = b"A", b"B", 130
    rows["bid_px_00"], rows["ask_px_00"] = 10**9 * (1 + np.arange(n) % 50), 99 * 10**9
    rows["bid_sz_00"], rows["ask_sz_00"], rows["sequence"] = 5, 6, first + np.arange(n)
    return rows


@pytest.fixture
def replay(shm_dir):
    def run(*paths, stop=None, capacity=65_536, readers=None, **options):
        feed = ReplayFeed(
            "rec",
            ReplayOptions(tuple(str(p) for p in paths), **options),
            RingPlan("rec", capacity, 3, 4096, shm_dir, readers=readers or {}),
        )
        feed.run(stop or threading.Event())
        return feed

    return run


def read_all(shm_dir, name="rec", dtype=TICK):
    with Reader(name, start="oldest", directory=shm_dir, dtype=dtype) as reader:
        parts = []
        while len(batch := reader.read(65_536, timeout=0)):
            parts.append(batch.records.copy())
        instruments = {i.instrument_id: i for i in reader.instruments}
        lost, header = reader.lost, reader.header()
    records = np.concatenate(parts) if parts else np.empty(0, dtype)
    assert lost == 0
    return records, instruments, header["counters"]


class RingTable:
    def __init__(self, instruments):
        self.of = {k: (v.symbol, v.vendor_id, v.publisher_id) for k, v in instruments.items()}


def without_seq(records):
    records = records.copy()
    records["seq"] = 0
    return records


def test_every_sample_through_the_ring_equals_the_oracle(tools, sample, replay, shm_dir):
    oracle = tools.Oracle(sample.version).decode(tools.plain(sample.path))
    feed = replay(sample.path, version=sample.version)
    ticks, instruments, counters = read_all(shm_dir)
    assert list(ticks["seq"]) == list(range(1, len(ticks) + 1))
    assert tools.told(without_seq(ticks), RingTable(instruments)) == oracle.ticks
    if oracle.bars:
        bars, instruments, _ = read_all(shm_dir, "rec.bars", BAR)
        assert tools.told_bars(without_seq(bars), RingTable(instruments)) == oracle.bars
    assert counters["published_bars"] == len(oracle.bars)
    assert counters["received_bytes"] == sample.path.stat().st_size == feed.progress.done_bytes
    assert counters["skipped_records"] == oracle.skipped
    assert feed.progress.fraction == 1.0


def test_the_merge_path_publishes_the_same_as_the_direct_one(tools, sample, replay, shm_dir):
    replay(sample.path, version=sample.version, speed=1e6)
    ticks, instruments, counters = read_all(shm_dir)
    oracle = tools.Oracle(sample.version).decode(tools.plain(sample.path))
    assert tools.told(without_seq(ticks), RingTable(instruments)) == oracle.ticks
    kinds = [t["kind"] for t in oracle.ticks]
    assert counters["published_quotes"] == kinds.count(1)
    assert counters["published_trades"] == kinds.count(2)
    assert counters["published_others"] == len(kinds) - kinds.count(1) - kinds.count(2)
    assert counters["published_bars"] == len(oracle.bars)


def test_ids_carry_the_feed_index_and_names_come_first(tools, replay, shm_dir):
    replay(tools.samples / "databento__dbn/tests/data/test_data.mbp-1.dbn")
    ticks, instruments, _ = read_all(shm_dir)
    assert {i >> 24 for i in ticks["instrument_id"].tolist()} == {3}
    found = instruments[ticks["instrument_id"][0].item()]
    assert (found.symbol, found.vendor_id, found.publisher_id) == ("ESH1", 5482, 1)


def test_definitions_fill_the_instruments_table(tools, replay, shm_dir):
    name = (
        "nautechsystems__nautilus_trader/tests/test_data/databento/definition-glbx-es-fut.dbn.zst"
    )
    replay(tools.samples / name)
    _, instruments, _ = read_all(shm_dir)
    found = next(i for i in instruments.values() if i.symbol.startswith("ES"))
    assert found.tick_size == 250_000_000
    assert found.multiplier == 50 * 10**9
    assert (found.venue, found.currency) == ("XCME", "USD")
    assert found.expiration == 1_686_922_200_000_000_000


def test_bars_ring_names_the_same_instruments(tools, replay, shm_dir):
    replay(
        tools.samples
        / "databento__databento-python/tests/data/EQUS.MINI/test_data.ohlcv-1h.dbn.zst"
    )
    bars, in_bars, _ = read_all(shm_dir, "rec.bars", BAR)
    _, in_ticks, _ = read_all(shm_dir)
    own_id = bars["instrument_id"][0].item()
    assert in_bars[own_id].symbol == in_ticks[own_id].symbol == "QQQ"
    assert set(bars["interval_s"]) == {3600}


@pytest.mark.parametrize("seed", range(4))
def test_several_files_merge_in_time_order_and_ties_keep_file_order(
    tmp_path, replay, shm_dir, seed
):
    rng = np.random.default_rng(seed)
    paths, expected = [], []
    for k in range(4):
        rows = quotes(int(rng.integers(1, 5_000)), instrument=100 + k)
        rows["ts_recv"] = T0 + np.cumsum(rng.integers(0, 3, len(rows)))
        rows["sequence"] = np.arange(len(rows))
        path = tmp_path / f"{k}.dbn"
        path.write_bytes(metadata() + rows.tobytes())
        paths.append(path)
        expected += [(t, k, s) for s, t in enumerate(rows["ts_recv"].tolist())]
    replay(*paths)
    ticks, instruments, counters = read_all(shm_dir)
    names = {i: v.vendor_id - 100 for i, v in instruments.items()}
    got = list(
        zip(
            ticks["ts_recv"].tolist(),
            [names[i] for i in ticks["instrument_id"].tolist()],
            ticks["venue_seq"].tolist(),
            strict=True,
        )
    )
    assert got == sorted(expected)
    assert counters["received_records"] == counters["published_quotes"] == len(expected)
    assert counters["unmapped_records"] == len(expected)


def test_merging_mends_nothing_where_a_file_goes_back_in_time(tmp_path, replay, shm_dir):
    rows = quotes(3)
    rows["ts_recv"] = [T0 + 5, T0 + 1, T0 + 9]
    other = quotes(2, instrument=8)
    other["ts_recv"] = [T0 + 4, T0 + 6]
    for name, records in (("a.dbn", rows), ("b.dbn", other)):
        (tmp_path / name).write_bytes(metadata() + records.tobytes())
    replay(tmp_path / "a.dbn", tmp_path / "b.dbn")
    ticks, _, _ = read_all(shm_dir)
    assert (ticks["ts_recv"] - T0).tolist() == [4, 5, 1, 6, 9]


def test_original_pace_times_factor(tmp_path, replay, shm_dir):
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(5, step=20_000_000).tobytes())
    begin = time.monotonic()
    replay(tmp_path / "a.dbn", speed=2)
    assert time.monotonic() - begin >= 0.04  # 80 ms of recording: a lower bound is no timing assert
    assert len(read_all(shm_dir)[0]) == 5


def test_stop_ends_a_slow_replay_at_once(tmp_path, replay, shm_dir):
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(2, step=3_600 * 10**9).tobytes())
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    replay(tmp_path / "a.dbn", speed=1, stop=stop)
    assert len(read_all(shm_dir)[0]) == 1


@pytest.mark.parametrize("speed", ["max", 1e6])
def test_a_slow_registered_consumer_is_never_lapped(tmp_path, replay, shm_dir, speed):
    n = 30_000
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(n).tobytes())
    got, lost = [], []

    def consume():
        with Reader("rec", start="oldest", consumer="slow", directory=shm_dir, wait=10) as reader:
            while not reader.ended:
                batch = reader.read(100, timeout=0.2)
                got.extend(batch.records["venue_seq"].tolist())
                time.sleep(0.0005)
            lost.append(reader.lost)

    thread = threading.Thread(target=consume)
    thread.start()
    replay(tmp_path / "a.dbn", capacity=1024, min_consumers=1, speed=speed)
    thread.join()
    assert lost == [0]
    assert got == list(range(n))


def test_a_stalled_consumer_is_left_behind_after_the_limit(tmp_path, replay, shm_dir, caplog):
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(5_000).tobytes())
    replay(tmp_path / "a.dbn")  # makes the ring that the consumer attaches to
    with Reader("rec", start="now", consumer="stuck", directory=shm_dir) as reader:
        with caplog.at_level(logging.WARNING, "mdfeedd.replay"):
            replay(tmp_path / "a.dbn", capacity=65_536)
            assert not caplog.records
        assert reader.lag == 5_000
    replay(tmp_path / "a.dbn", capacity=1024)
    with Reader("rec", start="now", consumer="stuck", directory=shm_dir) as reader:
        with caplog.at_level(logging.WARNING, "mdfeedd.replay"):
            replay(tmp_path / "a.dbn", capacity=1024, stall_limit_s=0.05)
        assert [r.message for r in caplog.records] == [
            "rec: a consumer has not moved from record 15000 for 0.05 s and is left behind"
        ]
        reader.read(10, timeout=0)
        assert reader.lost > 0


def test_consumers_that_do_not_come(tmp_path, replay):
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(5).tobytes())
    with pytest.raises(ReplayError, match=r"only 0 of 2 consumers came within 0\.05 s"):
        replay(tmp_path / "a.dbn", min_consumers=2, min_consumers_limit_s=0.05)


def test_readers_of_the_plan_are_waited_for_by_name(tmp_path, replay, shm_dir):
    """Another reader, which was at the ring before, is not taken for one of them."""
    n = 30_000
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(n).tobytes())
    (tmp_path / "none.dbn").write_bytes(metadata())
    replay(tmp_path / "none.dbn", capacity=1024)  # makes the ring that the stranger attaches to
    stop, got = threading.Event(), []
    options = {"capacity": 1024, "readers": {"rec": ("mine",)}, "stop": stop}
    thread = threading.Thread(target=replay, args=(tmp_path / "a.dbn",), kwargs=options)
    with Reader("rec", start="now", consumer="stranger", directory=shm_dir) as stranger:
        thread.start()
        try:
            while inspect("rec", shm_dir).epoch < 2:
                time.sleep(0.01)
            assert not stranger.read(1, timeout=0.5)
            with Reader("rec", start="oldest", consumer="mine", directory=shm_dir) as reader:
                stranger.close()
                while not reader.ended:
                    got.extend(reader.read(1000, timeout=0.2).records["venue_seq"].tolist())
                assert reader.lost == 0
        finally:
            stop.set()
            thread.join()
    assert got == list(range(n))


def test_readers_of_the_plan_that_do_not_come_are_left_out(tmp_path, replay, shm_dir, caplog):
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(5).tobytes())
    readers = {"rec": ("mine", "yours"), "rec.bars": ("mine",)}
    replay(tmp_path / "a.dbn", readers=readers, min_consumers_limit_s=0.05)
    assert len(read_all(shm_dir)[0]) == 5
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == [
        "rec: consumer mine and yours did not come within 0.05 s: going on without"
    ]


def test_number_of_0_waits_for_nobody(tmp_path, replay, shm_dir, caplog):
    (tmp_path / "a.dbn").write_bytes(metadata() + quotes(5).tobytes())
    replay(tmp_path / "a.dbn", readers={"rec": ("mine",)}, min_consumers=0)
    assert len(read_all(shm_dir)[0]) == 5
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_zstd_in_several_frames_cut_inside_records(tmp_path, replay, shm_dir):
    raw = metadata() + quotes(3_000).tobytes()
    cut = zstandard.ZstdCompressor()
    parts = [raw[i : i + 7_001] for i in range(0, len(raw), 7_001)]
    (tmp_path / "a.dbn.zst").write_bytes(b"".join(cut.compress(part) for part in parts))
    replay(tmp_path / "a.dbn.zst")
    ticks, _, _ = read_all(shm_dir)
    assert ticks["venue_seq"].tolist() == list(range(3_000))


def test_bars_wait_for_whoever_stores_them(tmp_path, replay, shm_dir):
    rows = np.zeros(3000, record_dtype(0x20, 3))
    rows["length"], rows["rtype"], rows["publisher_id"], rows["instrument_id"] = 14, 0x20, 1, 7
    rows["ts_event"] = T0 + 10**9 * np.arange(len(rows))
    rows["open"] = rows["high"] = rows["low"] = rows["close"] = 10**9
    path = tmp_path / "a.dbn"
    path.write_bytes(metadata(db.Schema.OHLCV_1S) + rows.tobytes())
    seen = []

    def store():
        with Reader("rec.bars", "oldest", directory=shm_dir, dtype=BAR, wait=20, follow=False) as r:
            while not r.ended:
                seen.append(len(r.read(timeout=1)))
            assert r.lost == 0

    thread = threading.Thread(target=store)
    thread.start()
    replay(path, capacity=256, min_bar_consumers=1)
    thread.join(20)
    assert sum(seen) == 3000


def test_file_cut_while_it_is_replayed_is_one_sentence_not_a_crash(tmp_path):
    path = tmp_path / "a.dbn"
    path.write_bytes(metadata() + quotes(60_000).tobytes())
    recording = Recording(str(path))
    pieces = recording.pieces()
    next(pieces)
    path.write_bytes(metadata())
    with pytest.raises(ReplayError, match="was cut while it was replayed"):
        list(pieces)
    recording.close()


def test_what_is_appended_while_it_is_replayed_is_replayed_too(tmp_path):
    path = tmp_path / "a.dbn"
    whole = metadata() + quotes(60_000).tobytes()
    path.write_bytes(whole[:2_000_001])
    recording = Recording(str(path))
    pieces = recording.pieces()
    got = bytes(next(pieces))
    with path.open("ab") as file:
        file.write(whole[2_000_001:])
    got += b"".join(bytes(piece) for piece in pieces)
    assert got == whole
    assert recording.read_bytes == len(whole)
    recording.close()


def test_pipe_is_read_to_its_end(tmp_path, replay, shm_dir):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    rows = quotes(50_000)
    writer = threading.Thread(target=path.write_bytes, args=(metadata() + rows.tobytes(),))
    writer.start()
    replay(path)
    writer.join()
    assert len(read_all(shm_dir)[0]) == 50_000


def broken_files():
    raw = metadata() + quotes(500).tobytes()
    squeeze = zstandard.ZstdCompressor().compress
    zero = bytearray(raw)
    zero[len(raw) - 100 * 80] = 2
    long = metadata() + np.random.default_rng(1).permuted(quotes(50_000)).tobytes()
    frame = squeeze(long)
    flipped = bytearray(frame)
    flipped[-200:-100] = bytes(100)
    line = b'{"hd":{"ts_event":"1"}}\n'
    return {
        "a.dbn": (raw[:-3], 499, r"a.dbn: the stream ends within a record, at byte \d+$"),
        "b.dbn": (bytes(zero), 400, r"b.dbn: a record says .* at byte \d+$"),
        "c.dbn": (raw[:40], 0, "c.dbn: the stream ends within its metadata, at byte"),
        "d.dbn.zst": (frame[:-9], -1, r"d.dbn.zst ends within a zstd frame, at byte \d+$"),
        "e.dbn.zst": (bytes(flipped), -1, r"e.dbn.zst has a damaged zstd frame near byte \d+"),
        "f.dbn": (b"DBN\x04" + raw[4:], 0, r"f.dbn: DBN version 4 is not known \(1 to 3 are\)"),
        "g.json": (line, 0, "g.json: line 1 is not a DBN record: it has no rtype"),
        "h.json": (b"\nhello\n", 0, "h.json: line 2 is not a DBN record: Expecting value"),
        "i.dbn.zst": (squeeze(raw[:-3]), 499, r"ends within a record, at decompressed byte \d+$"),
    }


@pytest.mark.parametrize("name", broken_files())
@pytest.mark.parametrize("speed", ["max", 1e6])
def test_a_broken_file_is_one_sentence_after_what_was_good(tmp_path, replay, shm_dir, name, speed):
    content, good, sentence = broken_files()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReplayError, match=sentence) as told:
        replay(tmp_path / name, speed=speed)
    assert "\n" not in str(told.value)
    assert isinstance(told.value, DamagedRecording) == bool(good)  # else it may be tried again
    ticks, _, _ = read_all(shm_dir)
    assert len(ticks) == good or (good < 0 and 20_000 < len(ticks) < 50_000)


def test_of_broken_files_among_others_all_that_is_whole_is_replayed(
    tmp_path, replay, shm_dir, caplog
):
    contents = {
        "a.dbn": metadata() + quotes(100).tobytes()[:-1],
        "b.dbn": metadata() + quotes(100, instrument=8, step=10**6).tobytes(),
        "c.jsonl": as_json(metadata() + quotes(50, instrument=9).tobytes(), pretty=False)[:-30],
        "d.dbn": metadata()[:40],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedRecording) as told:
        replay(*(tmp_path / name for name in contents))
    sentences = str(told.value).split("; ")
    assert len(sentences) == 3
    for name, what in (("a.dbn", "a record"), ("d.dbn", "its metadata"), ("c.jsonl", "line 50")):
        (sentence,) = (one for one in sentences if name in one)
        assert what in sentence
        (logged,) = (r.message for r in caplog.records if name in r.message)
        assert logged == f"{sentence}; the other files go on"
    ticks, instruments, counters = read_all(shm_dir)
    vendor_ids = [instruments[i].vendor_id for i in ticks["instrument_id"].tolist()]
    assert [vendor_ids.count(n) for n in (7, 8, 9)] == [99, 100, 49]
    assert (np.diff(ticks["ts_recv"]) >= 0).all()
    assert counters["received_records"] == counters["published_quotes"] == 248


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("gone.dbn", None, "there is no file .*gone.dbn"),
        ("empty.dbn", b"", "empty.dbn is empty"),
        ("text.dbn", b"hello", r"text.dbn is not DBN: it begins with b'hell'"),
        ("raw.dbn.frag", bytes(quotes(1).tobytes()), r"records without metadata.*option 'version'"),
        ("old.dbz", b"\x51\x2a\x4d\x18" + bytes(60), "legacy DBZ container"),
        ("empty.dbn.zst", zstandard.ZstdCompressor().compress(b""), "empty.dbn.zst is empty"),
        ("bad.dbn.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 90, "bad.dbn.zst has a damaged zstd frame"),
    ],
)
def test_what_is_no_recording_leaves_no_ring(tmp_path, replay, shm_dir, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ReplayError, match=sentence):
        replay(tmp_path / name)
    with pytest.raises(RingMissing):
        Reader("rec", directory=shm_dir)


def test_a_directory_is_refused(tmp_path, replay):
    with pytest.raises(ReplayError, match="is a directory: name the files in it"):
        replay(tmp_path)


def test_the_real_dbz_files_are_refused(tools, testdata, replay):
    paths = sorted(tools.samples.rglob("*.dbz"))
    assert paths
    for path in paths:
        with pytest.raises(ReplayError, match="legacy DBZ container: convert it"):
            replay(path)


def test_unknown_and_short_records_are_logged_once_each(tmp_path, replay, shm_dir, caplog):
    odd = bytes([20, 0x77]) + bytes(78)
    short = bytes([6, 0xA0]) + bytes(22)
    rows = quotes(3).tobytes()
    (tmp_path / "a.dbn").write_bytes(metadata() + odd + short + rows + odd + short + odd)
    with caplog.at_level(logging.WARNING, "mdfeedd.replay"):
        replay(tmp_path / "a.dbn")
    assert len([r for r in caplog.records if "UnknownRecord" in r.message]) == 1
    assert len([r for r in caplog.records if "ShortRecord" in r.message]) == 1
    _, _, counters = read_all(shm_dir)
    assert (counters["unknown_records"], counters["malformed_records"]) == (3, 2)
    assert counters["received_records"] == 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"paths": ()}, "paths: "),
        ({"paths": ("a",), "speed": 0}, "speed: "),
        ({"paths": ("a",), "speed": float("nan")}, "speed: "),
        ({"paths": ("a",), "min_consumers": -1}, "min_consumers: "),
        ({"paths": ("a",), "version": 4}, "version: "),
        ({"paths": ("a",), "schema": "mbp-1000"}, "schema: "),
        ({"paths": ("a",), "stall_limit_s": -1}, "stall_limit_s: "),
    ],
)
def test_options_that_cannot_be_meant(options, reason):
    with pytest.raises(ValueError, match=reason):
        ReplayOptions(**options)


def as_json(raw, *, pretty, has_metadata=True):
    out = io.BytesIO()
    coder = db.Transcoder(
        out, db.Encoding.JSON, db.Compression.NONE, pretty_px=pretty, pretty_ts=pretty,
        map_symbols=has_metadata, has_metadata=has_metadata,
        input_version=None if has_metadata else 3,
    )  # fmt: skip
    coder.write(raw)
    coder.flush()
    return out.getvalue()


@pytest.mark.parametrize("pretty", [False, True])
def test_json_lines_equal_the_binary_file(tmp_path, tools, sample, replay, shm_dir, pretty):
    if sample.version is not None:
        pytest.skip("a fragment has no symbols to write")
    raw = tools.plain(sample.path)
    text = as_json(raw, pretty=pretty)
    oracle = tools.Oracle()
    oracle.decode(raw)
    if oracle.schema == "tbbo":
        pytest.skip("a line does not tell tbbo from mbp-1: the next test says so to the feed")
    path = tmp_path / "lines.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(text or b"\n"))
    replay(path)
    ticks, instruments, _ = read_all(shm_dir)
    assert tools.told(without_seq(ticks), RingTable(instruments)) == oracle.ticks
    if oracle.bars:
        bars, instruments, _ = read_all(shm_dir, "rec.bars", BAR)
        assert tools.told_bars(without_seq(bars), RingTable(instruments)) == oracle.bars


def test_tbbo_lines_with_the_schema_said(tmp_path, tools, replay, shm_dir):
    name = "databento__databento-python/tests/data/EQUS.MINI/test_data.tbbo.dbn.zst"
    raw = tools.plain(tools.samples / name)
    (tmp_path / "a.json").write_bytes(as_json(raw, pretty=True))
    replay(tmp_path / "a.json", schema="tbbo")
    ticks, instruments, _ = read_all(shm_dir)
    assert (
        tools.told(without_seq(ticks), RingTable(instruments)) == tools.Oracle().decode(raw).ticks
    )
    assert sorted(set(ticks["kind"].tolist())) == [1, 2]
