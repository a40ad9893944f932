"""Files as recorders write them, and as disks, networks and enemies leave them."""

from __future__ import annotations

import gzip
import os
import random
import struct
import threading

import pytest
import zstandard

from mdfeedd.feeds._packet import PacketList
from mdfeedd.feeds.capture import CaptureError, CaptureReader, Stop, is_capture
from mdfeedd.feeds.capture._capture import MAX_BLOCK_BYTES, MAX_INTERFACES, Decoder, Player
from mdfeedd.feeds.capture.files import READ_BYTES

CAPTURES = "cme/captures"
REAL = {
    f"{CAPTURES}/Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap": (10_000, "pcapng"),
    f"{CAPTURES}/Mdp3.Sbe.v1.8_MdIncrementalRefreshSessionStatistics.pcap": (356, "pcap"),
    f"{CAPTURES}/Mdp3.Sbe.v1.8_MdIncrementalRefreshVolume.pcap": (112, "pcap"),
    f"{CAPTURES}/v5/Mdp3.Sbe.v1.5_MdIncrementalRefreshBook.pcap": (1, "pcap"),
    f"{CAPTURES}/v5/Mdp3.Sbe.v1.5_MdIncrementalRefreshSessionStatistics.pcap": (1, "pcap"),
    f"{CAPTURES}/v5/Mdp3.Sbe.v1.5_MdIncrementalRefreshTradeSummary.pcap": (1, "pcap"),
    f"{CAPTURES}/v5/Mdp3.Sbe.v1.5_MdIncrementalRefreshVolume.pcap": (1, "pcap"),
    f"{CAPTURES}/v5/Mdp3.Sbe.v1.5_MdInstrumentDefinitionSpread.pcap": (1, "pcap"),
}


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_capture(name, testdata):
    n, kind = REAL[name]
    with CaptureReader(str(testdata / name)) as reader:
        packets = list(reader.packets())
        assert reader.formats == (kind,)
        assert reader.counts["frames"] == reader.counts["datagrams"] == len(packets) == n
        assert reader.read_bytes == (testdata / name).stat().st_size
        assert sum(d.packets for d in reader.destinations) == n
    assert {p.source.rpartition(".")[0].rpartition(".")[0] for p in packets} == {"205.209"}
    nonsense = "v5/" in name
    assert reader.counts["bad_stamps"] == (n if nonsense else 0)
    assert all((p.ts_ns < 10**18) == nonsense for p in packets)


def test_real_capture_is_byte_identical_on_both_sides(testdata):
    with CaptureReader(str(testdata / min(REAL))) as reader:
        packets = list(reader.packets())
    a = [p.payload for p in packets if p.destination == "224.0.31.64"]
    b = [p.payload for p in packets if p.destination == "224.0.32.64"]
    assert len(a) == 5_000
    assert a == b
    assert [struct.unpack_from("<I", p)[0] for p in a] == list(range(5615, 10615))
    assert packets[0].ts_ns == 1_478_961_025_968_272_358


# ------------------------------------------------------------------------------------------------ pcap


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("ns", [False, True])
def test_pcap_of_either_byte_order_and_unit(order, ns, build, read):
    file = (
        build.Pcap(order, ns=ns).add(build.frame(b"one")).add(build.frame(b"two"), build.T0 + 1000)
    )
    packets, counts = read(file.data)
    t0 = build.T0 if ns else build.T0 // 1000 * 1000
    assert packets == [
        (t0, build.SOURCE, build.SOURCE_PORT, build.GROUP, build.PORT, b"one"),
        (t0 + 1000, build.SOURCE, build.SOURCE_PORT, build.GROUP, build.PORT, b"two"),
    ]
    assert counts == {"frames": 2, "datagrams": 2}


def test_pcap_that_tells_its_frame_check_sequence(build, read):
    file = build.Pcap(link=1 | 0x4400_0000).add(
        build.ethernet(build.ip4(build.udp(b"x")), tail=b"FCS!")
    )
    assert [p.payload for p in read(file.data)[0]] == [b"x"]


def test_pcap_without_a_packet(build, read):
    assert read(build.Pcap().data) == ([], {})


@pytest.mark.parametrize("order", "<>")
def test_modified_pcap_is_refused_with_what_to_do(order, read):
    data = struct.pack(order + "IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    with pytest.raises(CaptureError, match=r"modified pcap format .*editcap"):
        read(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"\x0a", "is no capture"),
        (b"DBN\x01" + bytes(100), "is no capture"),
        (b"<html>404 not found</html>", "is no capture"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 543, 4, 0, 0, 65535, 1), "is of version 543"),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "without a byte order"),
        (b"\xfd7zXZ\x00" + bytes(50), "is compressed with xz"),
        (b"\x1f\x8b" + 50 * b"\xff", "has damaged gzip data"),
        (b"\x28\xb5\x2f\xfd" + 50 * b"\xff", "has a damaged zstd frame"),
    ],
)
def test_file_that_is_no_capture(data, sentence, read):
    with pytest.raises(CaptureError, match=sentence) as caught:
        read(data)
    assert "x.pcap" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pcap_of_another_version_of_pcapng(build, read):
    data = bytearray(build.Pcapng().data)
    data[12] = 9
    with pytest.raises(CaptureError, match="is of version 9"):
        read(bytes(data))


def test_record_of_impossible_length(build, read):
    data = build.Pcap().add(build.frame()).data + struct.pack("<IIII", 1, 1, 1 << 30, 1 << 30)
    with pytest.raises(CaptureError, match=f"impossible length at byte {len(data) - 16}"):
        read(data)


# ---------------------------------------------------------------------------------------------- pcapng


@pytest.mark.parametrize("order", "<>")
def test_pcapng_of_either_byte_order(order, build, read):
    file = (
        build.Pcapng(order)
        .interface()
        .enhanced(build.frame(b"one"))
        .enhanced(build.frame(b"three"))
    )
    packets, counts = read(file.data)
    assert [p.payload for p in packets] == [b"one", b"three"]
    assert {p.ts_ns for p in packets} == {build.T0 // 1000 * 1000}
    assert counts == {"frames": 2, "datagrams": 2}


@pytest.mark.parametrize(
    ("resolution", "units", "ts_ns"),
    [
        (None, 1_500_000_000_123_456, 1_500_000_000_123_456_000),
        (0, 1_500_000_000, 1_500_000_000 * 10**9),
        (3, 1_500_000_000_123, 1_500_000_000_123 * 10**6),
        (9, 1_500_000_000_123_456_789, 1_500_000_000_123_456_789),
        (10, 15_000_000_001_234_567_895, 1_500_000_000_123_456_789),
        (19, 2**63, 922_337_203),
        (127, 2**63, 0),
        (0x80, 1_500_000_000, 1_500_000_000 * 10**9),
        (0x80 | 20, (1_500_000_000 << 20) + (1 << 19), 1_500_000_000_500_000_000),
        (0x80 | 32, (1_500_000_000 << 32) + (3 << 30), 1_500_000_000_750_000_000),
        (0x80 | 64, 2**63, 500_000_000),
        (0x80 | 127, 2**63, 0),
        (0, 2**63, None),
    ],
)
def test_pcapng_unit_of_time(resolution, units, ts_ns, build, read):
    file = build.Pcapng().interface(resolution=resolution).enhanced(build.frame(), units)
    (packet,), _ = read(file.data)
    assert packet.ts_ns == ts_ns


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("offset_s", "ts_ns"),
    [
        (1_000_000_000, 1_500_000_000 * 10**9),
        (-400_000_000, 10**17),
        (-500_000_001, None),
        (2**62, None),
        (-(2**63), None),
    ],
)
def test_pcapng_offset_of_time(order, offset_s, ts_ns, build, read):
    file = build.Pcapng(order).interface(resolution=0, offset_s=offset_s)
    (packet,), _ = read(file.enhanced(build.frame(), 500_000_000).data)
    assert packet.ts_ns == ts_ns


def test_pcapng_sections_of_different_byte_order_and_interfaces(build, read):
    file = build.Pcapng("<").interface(resolution=9).enhanced(build.frame(b"1"), build.T0)
    file.section(">").interface(link=101, resolution=3).interface(resolution=6)
    file.enhanced(build.ip4(build.udp(b"2")), build.T0 // 10**6 + 1)
    file.enhanced(build.frame(b"3"), build.T0 // 1000 + 2000, interface=1)
    file.section("<").interface(resolution=9).enhanced(build.frame(b"4"), build.T0 + 10**9)
    packets, counts = read(file.data)
    assert [p.payload for p in packets] == [b"1", b"2", b"3", b"4"]
    assert packets[1].ts_ns == (build.T0 // 10**6 + 1) * 10**6
    assert counts == {"frames": 4, "datagrams": 4}


def test_pcapng_packet_of_an_interface_that_nobody_described(build, read):
    file = build.Pcapng().enhanced(build.frame()).interface().enhanced(build.frame(), interface=1)
    packets, counts = read(file.enhanced(build.frame(b"good")).data)
    assert [p.payload for p in packets] == [b"good"]
    assert counts["blocks_skipped"] == 2


def test_pcapng_more_interfaces_than_are_kept(build, read):
    file = build.Pcapng()
    for _ in range(MAX_INTERFACES + 5):
        file.interface()
    file.enhanced(build.frame(b"last"), interface=MAX_INTERFACES - 1)
    file.enhanced(build.frame(b"beyond"), interface=MAX_INTERFACES)
    packets, counts = read(file.data)
    assert [p.payload for p in packets] == [b"last"]
    assert counts["blocks_skipped"] == 1


def test_pcapng_simple_and_obsolete_packets(build, read):
    file = (
        build.Pcapng()
        .interface(snap=64)
        .simple(build.frame(b"simple"))
        .obsolete(build.frame(b"old"))
    )
    file.simple(build.frame(bytes(100))[:64], length=142)
    packets, counts = read(file.data)
    assert [p.payload for p in packets] == [b"simple", b"old"]
    assert [p.ts_ns for p in packets] == [None, build.T0 // 1000 * 1000]
    assert counts == {"frames": 3, "datagrams": 2, "truncated": 1, "bad_stamps": 2}


def test_pcapng_blocks_of_no_interest_even_large_ones(build, read):
    file = build.Pcapng().block(0x0BAD, b"custom").interface()
    file.block(4, b"names").enhanced(build.frame(b"a")).block(5, bytes(60))
    file.block(0x4444, bytes(MAX_BLOCK_BYTES * 3)).enhanced(build.frame(b"b"), options=bytes(8))
    packets, counts = read(file.data)
    assert [p.payload for p in packets] == [b"a", b"b"]
    assert counts["blocks_skipped"] == 4


@pytest.mark.parametrize("length", [0, 4, 8, 13, 30, 1 << 30])
def test_pcapng_block_of_impossible_length(length, build, read):
    file = build.Pcapng().interface().enhanced(build.frame())
    at = len(file.data)
    with pytest.raises(CaptureError, match=f"impossible length at byte {at}"):
        read(file.block(6, bytes(40), length).data)


def test_pcapng_block_whose_lengths_differ(build, read):
    file = build.Pcapng().interface().enhanced(build.frame())
    data = bytearray(file.data)
    data[-4] ^= 4
    with pytest.raises(CaptureError, match="damaged block at byte"):
        read(bytes(data))


def test_pcapng_packet_longer_than_its_block(build, read):
    file = (
        build.Pcapng()
        .interface()
        .enhanced(build.frame(), captured=5000)
        .enhanced(build.frame(b"ok"))
    )
    packets, counts = read(file.data)
    assert [p.payload for p in packets] == [b"ok"]
    assert counts["blocks_skipped"] == 1


@pytest.mark.parametrize(
    "options",
    [
        b"\x09",
        b"\x09\x00\xff\xff",
        b"\x09\x00\x00\x00",
        b"\x0e\x00\x04\x00abcd",
        b"\x09\x00\x01\x00",
    ],
)
def test_pcapng_interface_with_broken_options(options, build, read):
    body = struct.pack("<HHI", 1, 0, 0) + options
    file = build.Pcapng().block(1, body).enhanced(build.frame(b"x"))
    assert [p.payload for p in read(file.data)[0]] == [b"x"]


# ----------------------------------------------------------------------------------- pieces and endings


def files(build):
    ng = build.Pcapng(">").interface(resolution=9).block(77, bytes(500))
    old, ns = build.Pcap(), build.Pcap(">", ns=True)
    for i in range(40):
        payload = bytes([i]) * (i * 7 % 300)
        ng.enhanced(build.frame(payload), build.T0 + i)
        old.add(build.frame(payload), build.T0 + i)
        for part in build.fragments(build.udp(payload + bytes(64)), [8, 40], ident=i):
            ns.add(build.ethernet(part), build.T0 + i)
    ng.block(0x4444, bytes(MAX_BLOCK_BYTES))
    return [ng.data, old.data, ns.data]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("seed", range(5))
def test_pieces_cut_anywhere_equal_the_whole(which, seed, build, read):
    data, rng = files(build)[which], random.Random(seed)
    whole, counts = read(data)
    decoder = Decoder()
    player, at, taken, status = Player([decoder]), 0, [], 0
    largest = rng.choice([1, 3, 20, 300])
    if which == 0 and largest < 20:
        largest = 5000  # a million pieces are no better
    while True:
        status, more = player.take(7)
        taken += more
        if status == Stop.ENDED:
            break
        if status == Stop.READ:
            if at == len(data):
                player.end(0)
            n = rng.randint(1, largest)
            decoder.feed(data[at : at + n])
            at = min(at + n, len(data))
    assert taken == whole
    assert len(whole) == 40
    assert {k: v for k, v in decoder.counts.items() if v} == counts


def until_error(reader):
    """What a reader gives, and the sentence of what ended it."""
    packets, source = [], reader.packets()
    while True:
        try:
            packet = next(source, None)
        except CaptureError as error:
            return packets, str(error)
        if packet is None:
            return packets, ""
        packets.append(packet)


@pytest.mark.parametrize("which", range(3))
def test_file_that_ends_in_the_middle_of_a_record(which, build, read, tmp_path):
    data = files(build)[which][:3000]
    whole, _ = read(data[:24]) if which else ([], {})
    ends = 0
    for n in range(1, len(data), 7):
        path = tmp_path / "cut.pcap"
        path.write_bytes(data[:n])
        with CaptureReader(str(path)) as reader:
            packets, error = until_error(reader)
        ends += bool(error)
        assert not error or "middle of a record" in error or (n < 4 and "no capture" in error)
        assert len(packets) >= len(whole)
        whole = packets
    assert whole
    assert ends > 300


def play(reader, sink):
    while reader.run(sink) is not Stop.ENDED:
        pass


def test_packets_after_a_cut_file_of_several(build, tmp_path):
    good, cut = build.Pcap(), build.Pcap()
    for i in range(5):
        good.add(build.frame(b"good"), build.T0 + i * 1000)
        cut.add(build.frame(b"cut"), build.T0 + i * 1000)
    (tmp_path / "good").write_bytes(good.data)
    (tmp_path / "cut").write_bytes(cut.data[:-3])
    sink = PacketList()
    with CaptureReader(str(tmp_path / "cut"), str(tmp_path / "good")) as reader:
        reader.add_lines({(build.GROUP, build.PORT): 3})
        with pytest.raises(CaptureError, match="cut ends in the middle"):
            play(reader, sink)
        assert len(sink.packets) < 10
        play(reader, sink)
    payloads = [p.payload for p in sink.packets]
    assert payloads.count(b"good") == 5
    assert payloads.count(b"cut") == 4


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_file(compress, build, read):
    data = files(build)[0]
    whole = read(data)
    assert read(compress(data)) == whole
    parts = compress(data[:1000]) + compress(data[1000:])
    assert read(parts) == whole


def test_gzip_file_padded_with_zeros(build, read):
    data = gzip.compress(build.Pcap().add(build.frame()).data)
    assert len(read(data + bytes(600))[0]) == 1
    with pytest.raises(CaptureError, match="garbage after its gzip data"):
        read(data + bytes(10) + b"x")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_file_that_is_cut(compress, build, tmp_path):
    rng = random.Random(5)
    file = build.Pcap()
    for i in range(20_000):
        file.add(build.frame(rng.randbytes(80)), build.T0 + i)
    (tmp_path / "x").write_bytes(compress(file.data)[:-1000])
    with CaptureReader(str(tmp_path / "x")) as reader:
        packets, error = until_error(reader)
    assert "ends within" in error
    assert 10_000 < len(packets) < 20_000


def test_compressed_bomb_needs_little_memory(build, tmp_path):
    import tracemalloc

    file = build.Pcapng().interface()
    file.block(0x4444, bytes(200 << 20))
    (tmp_path / "x").write_bytes(zstandard.compress(file.enhanced(build.frame()).data))
    del file
    tracemalloc.start()
    with CaptureReader(str(tmp_path / "x")) as reader:
        assert len(list(reader.packets())) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20  # a slice of zstd may hold 32 MiB


def test_pipe(build, tmp_path):
    data = files(build)[0]
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    feeder.start()
    with CaptureReader(str(tmp_path / "pipe")) as reader:
        assert len(list(reader.packets())) == 40
    feeder.join()


def test_file_that_grows_while_it_is_read(build, tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(build.Pcap().add(build.frame(b"1")).data)
    with CaptureReader(str(path)) as reader:
        with path.open("ab") as file:
            file.write(build.Pcap().add(build.frame(b"2")).data[24:])
        assert [p.payload for p in reader.packets()] == [b"1", b"2"]


def test_file_that_is_cut_while_it_is_read(build, tmp_path):
    path = tmp_path / "x.pcap"
    file = build.Pcap()
    for _ in range(2000):
        file.add(build.frame(bytes(1400)))
    path.write_bytes(file.data)
    with CaptureReader(str(path)) as reader:
        packets = reader.packets()
        next(packets)
        os.truncate(path, READ_BYTES + 10)  # what was given out stays
        with pytest.raises(CaptureError, match="was cut while it was read"):
            list(packets)


@pytest.mark.parametrize(
    ("name", "sentence"), [("none", "there is no file"), (".", "is a directory")]
)
def test_file_that_cannot_be_opened(name, sentence, tmp_path):
    with pytest.raises(CaptureError, match=sentence):
        CaptureReader(str(tmp_path / name))


def test_captures_are_told_by_their_content(build, tmp_path):
    path = tmp_path / "x"
    for data in (build.Pcap().data, build.Pcap(">", ns=True).data, build.Pcapng().data):
        for packed in (data, gzip.compress(data), zstandard.compress(data)):
            path.write_bytes(packed)
            assert is_capture(str(path))
    for data in (b"", b"DBN\x02" + bytes(50), gzip.compress(b"DBN"), b"\x1f\x8b" + bytes(9)):
        path.write_bytes(data)
        assert not is_capture(str(path))
    assert not is_capture(str(tmp_path / "none"))
