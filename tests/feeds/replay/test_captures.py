"""Captures through the codec into real rings: the same ticks whatever the container, the pace or the files."""

# ruff: noqa: RUF043 - fixtures and parameters come by name

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mdfeedd.feeds.capture import CaptureReader, CaptureWriter, RecordedLine, Stop
from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.feeds.cme.infer import line_of
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.replay.capture import SETTLE_NS, lines_of, scan
from mdfeedd.feeds.replay.feed import ReplayFeed, ReplayOptions
from mdfeedd.feeds.replay.source import DamagedRecording, ReplayError, vendor_of
from mdfeedd.ring import Reader, RingMissing, list_rings, remove
from mdfeedd.tick import DEPTH, GAP, ORDER, TICK, Flag, Kind

A, B = ("224.0.31.64", 14340), ("224.0.32.64", 15340)
CONFIG = """<configuration environment="Test" updated="2016/11/12">
 <channel id="340" label="CBOT Commodity Futures"><products/><connections>
  <connection id="340IA"><type feed-type="I">Incremental</type><protocol>UDP/IP</protocol>
   <ip>{a}</ip><host-ip>205.209.221.71</host-ip><port>14340</port><feed>A</feed></connection>
  <connection id="340IB"><type feed-type="I">Incremental</type><protocol>UDP/IP</protocol>
   <ip>224.0.32.64</ip><host-ip>205.209.212.71</host-ip><port>15340</port><feed>B</feed></connection>
 </connections></channel></configuration>"""


@pytest.fixture
def v6(testdata):
    return str(testdata / "cme/captures/Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap")


@pytest.fixture
def v8(testdata):
    folder = testdata / "cme/captures"
    return str(folder / "Mdp3.Sbe.v1.8_MdIncrementalRefreshVolume.pcap")


@pytest.fixture
def replay(shm_dir):
    def run(*paths, stop=None, capacity=65_536, **options):
        feed = ReplayFeed(
            "rec", ReplayOptions(tuple(map(str, paths)), **options), RingPlan("rec", capacity, 3, 4096, shm_dir)
        )  # fmt: skip
        feed.run(stop or threading.Event())
        return feed

    return run


def read_all(shm_dir, name="rec", dtype=TICK):
    with Reader(name, start="oldest", directory=shm_dir, dtype=dtype, follow=False) as reader:
        parts = [batch.records.copy() for batch in reader]
        symbols = {i.instrument_id: i.symbol for i in reader.instruments}
        assert reader.lost == 0
        counters = reader.header()["counters"]
    return np.concatenate(parts) if parts else np.empty(0, dtype), symbols, counters


def without_seq(records):
    records = records.copy()
    records["seq"] = 0
    return records


def straight(path, lines=(A, B)):
    """Ticks of a codec without rings, given the capture in one go."""
    handler = Handler(feed_index=3)
    handler.add_channel(340)
    numbers = {at: handler.add_line(340, Feed.INCREMENTAL, int(at == B)) for at in lines}
    with CaptureReader(path) as reader:
        while reader.run(handler, numbers) is not Stop.ENDED:
            pass
        handler.timer(reader.last_ns + SETTLE_NS)
    return handler.take_ticks()


def split(path, tmp_path):
    """The two sides in files of their own."""
    out = []
    for name, at in (("a", A), ("b", B)):
        out.append(str(tmp_path / f"{name}.pcapng"))
        with (
            CaptureReader(path) as reader,
            CaptureWriter(out[-1], [RecordedLine(name, *at)]) as writer,
        ):
            while reader.run(writer, {at: 0}) is not Stop.ENDED:
                writer.flush()
    return out


def test_replayed_capture_equals_the_codec_alone(v6, replay, shm_dir):
    feed = replay(v6)
    ticks, symbols, counters = read_all(shm_dir)
    expected = straight(v6)
    assert without_seq(ticks).tobytes() == without_seq(expected).tobytes()
    assert len(ticks) > 7000
    assert np.all(ticks["flags"] & Flag.REPLAYED)
    assert len(symbols) == 127
    assert counters["received_packets"] == 10_000
    assert counters["duplicate_packets"] == 5_000
    assert counters["lost_packets"] == counters["gaps"] == 0
    assert counters["received_bytes"] == os.path.getsize(v6) == feed.progress.done_bytes
    kinds = np.bincount(ticks["kind"], minlength=20)
    assert counters["published_quotes"] == kinds[Kind.QUOTE]
    assert counters["published_trades"] == kinds[Kind.TRADE]
    assert feed.progress.fraction == 1.0
    assert list_rings(shm_dir) == ["rec"]


@pytest.mark.parametrize("options", [{"speed": 1e6}, {"capacity": 1024}, {"vendor": "cme"}])
def test_pace_and_room_change_nothing(options, v6, replay, shm_dir):
    stop, seen = threading.Event(), []

    def consume():
        reader = Reader("rec", "oldest", consumer="slow", wait=30, follow=False, directory=shm_dir)
        with reader:
            seen.extend(batch.records.copy() for batch in reader)
            assert reader.lost == 0

    consumer = threading.Thread(target=consume)
    consumer.start()
    try:
        replay(v6, stop=stop, min_consumers=1, **options)
    finally:
        stop.set()
        consumer.join(60)
    expected = straight(v6)
    assert without_seq(np.concatenate(seen)).tobytes() == without_seq(expected).tobytes()


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_capture(compress, v6, replay, shm_dir, tmp_path):
    (tmp_path / "x").write_bytes(compress(Path(v6).read_bytes()))
    replay(tmp_path / "x")
    ticks, _, counters = read_all(shm_dir)
    assert without_seq(ticks).tobytes() == without_seq(straight(v6)).tobytes()
    assert counters["received_bytes"] == (tmp_path / "x").stat().st_size


def test_sides_in_files_of_their_own_are_merged(v6, replay, shm_dir, tmp_path):
    replay(*split(v6, tmp_path))
    ticks, _, counters = read_all(shm_dir)
    together, merged = without_seq(straight(v6)), without_seq(ticks)
    assert np.all(merged["ts_recv"] <= together["ts_recv"]), (
        "that file is not quite in the order of its stamps"
    )
    merged["ts_recv"] = together["ts_recv"]
    assert merged.tobytes() == together.tobytes()
    assert counters["duplicate_packets"] == 5_000


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_alone_gives_the_same_ticks_but_for_their_arrival(
    side, v6, replay, shm_dir, tmp_path
):
    replay(split(v6, tmp_path)[side])
    ticks, _, counters = read_all(shm_dir)
    both = without_seq(straight(v6))
    alone = without_seq(ticks)
    alone["ts_recv"] = both["ts_recv"]
    assert alone.tobytes() == both.tobytes()
    assert counters["duplicate_packets"] == 0


@pytest.mark.parametrize(
    ("name", "packets", "gaps", "lost"),
    [("Volume", 112, 55, 4_017), ("SessionStatistics", 356, 115, 4_681)],
)
def test_holes_of_the_filtered_captures_are_told_once_each(
    name, packets, gaps, lost, testdata, replay, shm_dir
):
    replay(testdata / f"cme/captures/Mdp3.Sbe.v1.8_MdIncrementalRefresh{name}.pcap")
    ticks, _, counters = read_all(shm_dir)
    told = ticks[ticks["kind"] == Kind.GAP].view(GAP)
    assert len(told) == gaps
    assert (told["last_missing"] - told["first_missing"] + 1).sum() == lost
    assert counters["received_packets"] == packets
    assert (counters["gaps"], counters["lost_packets"]) == (gaps, lost)


def test_nonsense_stamps_are_flagged_in_the_ticks(testdata, replay, shm_dir):
    name = "Mdp3.Sbe.v1.5_MdInstrumentDefinitionSpread.pcap"
    replay(testdata / "cme/captures/v5" / name)
    ticks, symbols, _ = read_all(shm_dir)
    assert len(ticks) == 5
    assert np.all(ticks["kind"] == Kind.DEFINITION)
    assert np.all(ticks["flags"] & Flag.BAD_TS)
    assert "ESM6-ESU6" in symbols.values()


def test_depth_and_orders_are_rings_of_their_own(v6, replay, shm_dir):
    replay(v6, depth=True, orders=True)
    assert list_rings(shm_dir) == ["rec", "rec.depth", "rec.orders"]
    ticks, symbols, _ = read_all(shm_dir)
    depth, same, _ = read_all(shm_dir, "rec.depth", DEPTH)
    assert same == symbols
    assert len(depth) > len(ticks)
    read_all(shm_dir, "rec.orders", ORDER)


def told_of(ticks, symbols, name):
    """Quotes and trades of one instrument, without its number and the ends of events: other instruments change them."""
    ours = {number for number, symbol in symbols.items() if symbol == name}
    of_book = np.isin(ticks["kind"], (Kind.QUOTE, Kind.TRADE))
    found = without_seq(ticks[of_book & np.isin(ticks["instrument_id"], list(ours))])
    found["instrument_id"] = 0
    found["flags"] &= ~np.uint16(Flag.EVENT_END)
    return found


def named_in(ticks, symbols):
    """Names of the instruments that have quotes or trades."""
    of_book = np.isin(ticks["kind"], (Kind.QUOTE, Kind.TRADE))
    return {symbols[number] for number in set(ticks["instrument_id"][of_book].tolist())}


def test_instruments_are_chosen_by_number_and_by_name_where_they_have_one(
    v6, replay, shm_dir, tmp_path
):
    def chosen(**options):
        # or the ring would have the ticks and names of the run before
        with contextlib.suppress(RingMissing):
            remove("rec", directory=shm_dir)
        replay(v6, **options)
        return read_all(shm_dir)[:2]

    ticks, symbols = chosen()
    number = max(set(symbols.values()), key=lambda name: len(told_of(ticks, symbols, name)))
    assert number.isdecimal(), "without definitions an instrument is named by its SecurityID"
    expected = told_of(ticks, symbols, number)
    assert len(expected) > 100
    ticks, symbols = chosen(symbols=(number, "ES*"))
    assert named_in(ticks, symbols) == {number}
    assert told_of(ticks, symbols, number).tobytes() == expected.tobytes()
    assert named_in(*chosen(assets=("ZC",))) == set()
    secdef = tmp_path / "secdef.dat"
    fields = f"35=d 1180=340 48={number} 55=ZCH7 6937=ZC 969=0.25 980=A ".replace(" ", "\x01")
    secdef.write_text(fields + "\n")
    for option in ({"symbols": (number,)}, {"symbols": ("ZC*",)}, {"assets": ("ZC",)}):
        ticks, symbols = chosen(secdef=str(secdef), **option)
        assert named_in(ticks, symbols) == {"ZCH7"}
        assert told_of(ticks, symbols, "ZCH7").tobytes() == expected.tobytes()


def test_names_come_from_secdef(v6, replay, shm_dir, tmp_path):
    replay(v6)
    _, symbols, _ = read_all(shm_dir)
    number = min(symbols.values())
    fields = {
        35: "d",
        1180: 340,
        48: number,
        55: "ZCH7",
        1151: "ZC",
        6937: "ZC",
        969: "0.25",
        980: "A",
    }
    line = "".join(f"{tag}={value}\x01" for tag, value in fields.items())
    (tmp_path / "secdef.dat").write_text(line + "\n")
    replay(v6, secdef=str(tmp_path / "secdef.dat"))
    _, symbols, _ = read_all(shm_dir)
    assert "ZCH7" in symbols.values()
    with pytest.raises(ReplayError, match="none"):
        replay(v6, secdef=str(tmp_path / "none"))
    (tmp_path / "another.csv").write_text("id,symbol\n1,ZCH7\n")
    with pytest.raises(ReplayError, match=r"another.csv: no line is a FIX message"):
        replay(v6, secdef=str(tmp_path / "another.csv"))


def test_file_that_is_cut_gives_what_it_holds_and_one_sentence(v6, replay, shm_dir, tmp_path):
    (tmp_path / "cut.pcap").write_bytes(Path(v6).read_bytes()[:1_000_001])
    with pytest.raises(ReplayError, match=r"cut.pcap ends in the middle of a record, at byte \d+"):
        replay(tmp_path / "cut.pcap")
    ticks, _, counters = read_all(shm_dir)
    expected = straight(v6)
    assert 2000 < len(ticks) < len(expected)
    assert without_seq(ticks).tobytes() == without_seq(expected[: len(ticks)]).tobytes()
    assert counters["published_quotes"] == np.sum(ticks["kind"] == Kind.QUOTE)


def test_file_that_is_cut_ends_no_other(v6, replay, shm_dir, tmp_path):
    whole, other = split(v6, tmp_path)
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(Path(whole).read_bytes()[:300_001])
    with pytest.raises(
        DamagedRecording, match=r"cut.pcap ends in the middle of a record, at byte \d+$"
    ):
        replay(cut, other)
    ticks, _, _ = read_all(shm_dir)
    expected = straight(v6)
    for records in (ticks, expected):
        records["seq"] = records["ts_recv"] = 0  # of a packet that one line alone has, its own time
    assert ticks.tobytes() == expected.tobytes()


def test_files_that_are_cut_before_their_first_packet_are_told_each(v6, replay, shm_dir, tmp_path):
    whole = Path(v6).read_bytes()
    paths = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    for path in paths:
        path.write_bytes(whole[:1_001])
    with pytest.raises(ReplayError, match=r"a.pcap ends .*; .*b.pcap ends"):
        replay(*paths, tmp_path / v6)
    ticks, _, _ = read_all(shm_dir)
    assert without_seq(ticks).tobytes() == without_seq(straight(v6)).tobytes()


def test_stop_in_the_middle_of_a_wait(v6, replay, shm_dir):
    stop = threading.Event()
    with_stop = threading.Thread(target=replay, args=(v6,), kwargs={"stop": stop, "speed": 0.001})
    with_stop.start()
    with Reader("rec", "oldest", wait=30, directory=shm_dir) as reader:
        assert reader.header() is not None
    stop.set()
    with_stop.join(30)
    assert not with_stop.is_alive()


# --------------------------------------------------------------------------------------- which lines


def options_of(*paths, **rest):
    return ReplayOptions(tuple(map(str, paths)), **rest)


def never():
    pytest.fail("there is no need to look")


def shown(inference):
    return [str(line) for line in inference.lines]


def test_lines_are_told_by_content_or_by_config_xml_or_by_hand(v6, tmp_path):
    config = tmp_path / "config.xml"
    config.write_text(CONFIG.format(a="224.0.31.64"))
    both = ["340 incremental A 224.0.31.64:14340", "340 incremental B 224.0.32.64:15340"]

    def look():
        return scan([v6])

    assert shown(lines_of(options_of(v6), look)) == both
    assert sorted(shown(lines_of(options_of(v6, config_xml=str(config)), look))) == both
    found = lines_of(options_of(v6, config_xml=str(config), channels=(340,)), never)
    assert shown(found) == both
    by_hand = (line_of("7:N:B=224.0.31.64:14340"),)
    found = lines_of(options_of(v6, lines=by_hand), never)
    assert shown(found) == ["7 definition B 224.0.31.64:14340"]


def test_destinations_that_config_xml_does_not_know_are_left_out(v6, tmp_path):
    config = tmp_path / "config.xml"
    config.write_text(CONFIG.format(a="224.0.31.65"))
    found = lines_of(options_of(v6, config_xml=str(config)), lambda: scan([v6]))
    assert shown(found) == ["340 incremental B 224.0.32.64:15340"]
    (left,) = found.left_out
    assert left[:3] == (*A, 5_000)
    assert "not in" in left.why


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ({"channels": (7,)}, "no line of CME's to replay .*channel 340 is not wanted"),
        ({"config_xml": "/none"}, "/none"),
        ({"lines": (line_of("340:I:A=224.0.31.64:14340"),), "channels": (7,)}, "no line of CME's"),
    ],
)
def test_lines_that_are_not_there(rest, sentence, v6):
    with pytest.raises(ReplayError, match=sentence):
        lines_of(options_of(v6, **rest), lambda: scan([v6]))


def test_capture_without_a_packet_of_cme(tmp_path):
    path = tmp_path / "x.pcapng"
    with CaptureWriter(str(path), [RecordedLine("x", "239.0.0.1", 5)]) as writer:
        writer.packet(0, b"something else", 1)
    with pytest.raises(ReplayError, match=r"239.0.0.1:5: not CME's MDP 3.0"):
        lines_of(options_of(path), lambda: scan([str(path)]))


def test_more_channels_than_the_codec_has(tmp_path):
    lines = tuple(line_of(f"{n}:I:A=224.0.31.1:{14000 + n}") for n in range(1, 66))
    with pytest.raises(ReplayError, match="more than 64 channels"):
        lines_of(options_of("x", lines=lines), never)


def test_two_lines_that_claim_the_same_packets():
    lines = tuple(map(line_of, ("310:I:A=224.0.31.1:14310", "310:N:A=224.0.31.1:14310")))
    with pytest.raises(ReplayError, match=r"two lines with the packets of 224.0.31.1:14310"):
        lines_of(options_of("x", lines=lines), never)


def test_pipe_needs_its_lines_said(v8, replay, shm_dir, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReplayError, match="can be read but once: say the lines"):
        replay(tmp_path / "pipe", vendor="cme")
    feeder = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(Path(v8).read_bytes(),))
    feeder.start()
    lines = tuple(map(line_of, ("320:I:A=224.0.31.11:14320", "320:I:B=224.0.32.11:15320")))
    replay(tmp_path / "pipe", vendor="cme", lines=lines)
    feeder.join()
    assert read_all(shm_dir)[2]["received_packets"] == 112


def test_vendor_is_told_by_content(v6, testdata, tmp_path):
    dbn = str(testdata / "dbn/databento__dbn/tests/data/test_data.mbp-1.dbn")
    assert vendor_of([v6]) == "cme"
    assert vendor_of([dbn, str(tmp_path / "none")]) == "databento"
    assert vendor_of([dbn], "cme") == "cme"
    with pytest.raises(ReplayError, match="is a capture and .* is not"):
        vendor_of([v6, dbn])


def test_files_that_cannot_be_replayed_leave_no_ring(replay, shm_dir, tmp_path):
    (tmp_path / "x.pcap").write_bytes(b"no capture")
    with pytest.raises(ReplayError, match="is no capture"):
        replay(tmp_path / "x.pcap", vendor="cme")
    with pytest.raises(ReplayError, match="there is no file"):
        replay(tmp_path / "y.pcap", vendor="cme")
    with pytest.raises(RingMissing):
        Reader("rec", directory=shm_dir)


def test_what_is_neither_says_so(replay, v6, tmp_path):
    (tmp_path / "x.pcap").write_bytes(b"neither")
    with pytest.raises(
        ReplayError, match="is not DBN: it begins with .* as no capture does either"
    ):
        replay(tmp_path / "x.pcap")
    with pytest.raises(ReplayError, match="is not DBN, but a capture$"):
        replay(v6, vendor="databento")
    with pytest.raises(ReplayError, match="is a directory: name the files in it"):
        replay(tmp_path, vendor="cme")


def test_silence_of_a_recording_is_no_matter_of_the_network(v8, replay, caplog, testdata):
    caplog.set_level(logging.INFO, "mdfeedd")
    name = "cme/captures/Mdp3.Sbe.v1.8_MdIncrementalRefreshSessionStatistics.pcap"
    replay(testdata / name)
    told = [record.getMessage() for record in caplog.records]
    assert any("nothing was recorded for" in one for one in told)
    assert not any("memberships" in one for one in told)
    assert not any(one.endswith("s)") and "such in" in one for one in told), "it took no 10 s"


def test_lines_without_a_packet_are_told(v8, replay, caplog):
    lines = (line_of("320:I:A=224.0.31.99:14320"),)
    replay(v8, vendor="cme", lines=lines)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    sentence = "no packet of any of the lines; there are those to"
    assert [one for one in told if one.startswith(sentence)] == told
    assert "224.0.31.11:14320 (56 packets)" in told[0]


def test_file_whose_stamps_go_back_is_told_of(v6, replay, tmp_path, caplog):
    """One line behind the other in one file: nobody can merge that, and what is lost by it has a reason."""
    path = tmp_path / "behind.pcapng"
    with CaptureWriter(
        str(path), [RecordedLine(n, *at) for n, at in (("a", A), ("b", B))]
    ) as writer:
        for number, at in enumerate((A, B)):
            with CaptureReader(v6) as reader:
                while reader.run(writer, {at: number}) is not Stop.ENDED:
                    writer.flush()
    with caplog.at_level(logging.WARNING):
        replay(path)
    assert "a file is played in its own order" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        replay(v6)
    assert "in its own order" not in caplog.text
