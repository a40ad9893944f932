"""Frames on their way to the payload of UDP: what is around it, what cuts it, what only looks like it."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from mdfeedd.feeds._packet import PacketList
from mdfeedd.feeds.capture import CaptureReader, Stop
from mdfeedd.feeds.capture._capture import (
    MAX_DESTINATIONS,
    MAX_PARTIAL,
    MAX_PARTIAL_AGE_NS,
    Decoder,
    Player,
)
from mdfeedd.tick import Flag

VLAN = b"\x81\x00\x06\x63"
QINQ = b"\x88\xa8\x00\x01"
LABELS = bytes.fromhex("00010040 00020140")  # the second is the bottom of the stack


def payloads(read, file):
    packets, counts = read(file.data)
    return [p.payload for p in packets], counts


@pytest.mark.parametrize(
    "tags", [b"", VLAN, QINQ + VLAN, b"\x91\x00\0\1" + b"\x92\x00\0\1" + VLAN, 7 * VLAN]
)
def test_vlan_tags(tags, build, read):
    file = build.Pcap().add(build.ethernet(build.ip4(build.udp(b"x")), tags=tags))
    assert payloads(read, file) == ([b"x"], {"frames": 1, "datagrams": 1})


def test_more_tags_than_anybody_has(build, read):
    file = build.Pcap().add(build.ethernet(build.ip4(build.udp(b"x")), tags=9 * VLAN))
    assert payloads(read, file) == ([], {"frames": 1, "not_udp": 1})


@pytest.mark.parametrize("inner", ["ip4", "ip6"])
def test_mpls_labels(inner, build, read):
    body = LABELS + getattr(build, inner)(build.udp(b"x"))
    file = (
        build.Pcap().add(build.ethernet(body, 0x8847)).add(build.ethernet(body, 0x8848, tags=VLAN))
    )
    assert payloads(read, file)[0] == [b"x", b"x"]


@pytest.mark.parametrize(
    ("link", "around"),
    [
        (0, b"\x02\x00\x00\x00"),
        (0, b"\x00\x00\x00\x02"),
        (108, b"\x00\x00\x00\x02"),
        (12, b""),
        (14, b""),
        (101, b""),
        (228, b""),
        (113, bytes(14) + b"\x08\x00"),
        (113, bytes(14) + VLAN + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
    ],
)
def test_link_types(link, around, build, read):
    for file in (build.Pcap(link=link), build.Pcap(">", link=link)):
        file.add(around + build.ip4(build.udp(b"x"))).add(around[:3])
        found, counts = payloads(read, file)
        assert found == [b"x"]
        assert counts == {"frames": 2, "datagrams": 1, "malformed": 1}


def test_link_type_that_is_not_known(build, read):
    file = build.Pcap(link=105).add(build.frame())
    assert payloads(read, file) == ([], {"frames": 1, "not_udp": 1})


def test_options_of_ip(build, read):
    file = (
        build.Pcap()
        .add(build.frame(b"x", options=b"\x94\x04\x00\x00"))
        .add(build.frame(b"y", options=bytes(40)))
    )
    assert payloads(read, file)[0] == [b"x", b"y"]


@pytest.mark.parametrize("tail", [bytes(20), b"switch trailer", b"\x17"])
def test_padding_and_trailers_are_no_payload(tail, build, read):
    file = build.Pcap().add(build.ethernet(build.ip4(build.udp(b"ab")), tail=tail))
    file.add(build.ethernet(build.ip4(build.udp(b"ab", length=10) + tail)))  # within IP, beyond UDP
    assert payloads(read, file)[0] == [b"ab", b"ab"]


def test_datagram_without_payload(build, read):
    assert payloads(read, build.Pcap().add(build.frame(b"")))[0] == [b""]


def test_segment_that_the_card_was_to_cut(build, read):
    file = build.Pcap().add(build.ethernet(build.ip4(build.udp(b"large"), total=0)))
    assert payloads(read, file)[0] == [b"large"]


def test_truncated_captures(build, read):
    whole = build.frame(bytes(100))
    file = build.Pcap()
    for n in range(14, len(whole)):
        file.add(whole[:n], length=len(whole))
    file.add(whole + b"tr", length=len(whole) + 6)  # only the trailer is cut
    found, counts = payloads(read, file)
    assert found == [bytes(100)]
    cut = len(whole) - 14
    assert counts == {"frames": cut + 1, "truncated": cut, "datagrams": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x45",
        bytes.fromhex("4400 0020 0000 0000 4011 0000 01020304 05060708")
        + bytes(8),  # header of 16 bytes
        bytes.fromhex("4f00 0020 0000 0000 4011 0000 01020304 05060708")
        + bytes(12),  # header over the total
        bytes.fromhex("4500 0013 0000 0000 4011 0000 01020304 05060708") + bytes(12),
        bytes.fromhex("4500 00ff 0000 0000 4011 0000 01020304 05060708") + bytes(12),
        bytes.fromhex("4500 001b 0000 0000 4011 0000 01020304 05060708")
        + bytes(12),  # UDP of 7 bytes
        bytes.fromhex("4500 001c 0000 0000 4011 0000 01020304 05060708 0001 0002 0007 0000"),
        bytes.fromhex("4500 001c 0000 0000 4011 0000 01020304 05060708 0001 0002 0009 0000"),
        b"\x60" + bytes(30),
        b"\x60\0\0\0\x00\x10\x11\x40" + bytes(32 + 15),
        b"\x60\0\0\0\x00\x07\x11\x40" + bytes(32 + 7),
        b"\x60\0\0\0\x00\x08\x00\x40"
        + bytes(32)
        + b"\x11\x01"
        + bytes(6),  # an extension over the end
        b"\x60\0\0\0\x00\x04\x00\x40" + bytes(32) + b"\x11\x00" + bytes(2),
    ],
)
def test_lengths_that_cannot_be(body, build, read):
    file = build.Pcap().add(build.ethernet(body)).add(build.frame(b"next"))
    found, counts = payloads(read, file)
    assert found == [b"next"]
    assert counts == {"frames": 2, "datagrams": 1, "malformed": 1}


def test_other_protocols_are_counted(build, read):
    file = build.Pcap().add(build.ethernet(build.ip4(bytes(20), protocol=6)))
    file.add(build.ethernet(bytes(28), 0x0806)).add(build.ethernet(build.ip4(bytes(8), protocol=2)))
    file.add(build.ethernet(build.ip6(bytes(20), 6))).add(build.ethernet(b"\x50" + bytes(40)))
    file.add(build.ethernet(build.ip6(bytes(20), 44))).add(build.ethernet(bytes(46), 60))
    assert payloads(read, file) == ([], {"frames": 7, "not_udp": 7})


@pytest.mark.parametrize(
    "extensions", [b"", b"\x11\x00" + bytes(6), b"\x3c\x01" + bytes(14) + b"\x11\x00" + bytes(6)]
)
def test_ip6_whose_addresses_are_not_told(extensions, build, read):
    first = 0 if extensions else 17
    frame = build.ethernet(build.ip6(build.udp(b"x"), first, extensions), 0x86DD)
    (packet,), _ = read(build.Pcap().add(frame).data)
    assert packet[1:] == ("", build.SOURCE_PORT, "", build.PORT, b"x")


# ------------------------------------------------------------------------------------------- fragments


def test_fragments_in_any_order(build, read):
    body = build.udp(bytes(range(200)))
    parts = build.fragments(body, [16, 64, 128])
    for order in itertools.permutations(parts):
        file = build.Pcap()
        for part in order:
            file.add(build.ethernet(part, tail=b"pad"))
        found, counts = payloads(read, file)
        assert found == [bytes(range(200))]
        assert counts == {"frames": 4, "datagrams": 1, "fragments": 4}


@pytest.mark.parametrize("seed", range(10))
def test_fragments_of_many_datagrams_among_each_other(seed, build, read):
    rng = random.Random(seed)
    frames, expected = [], []
    for k in range(MAX_PARTIAL):
        payload = rng.randbytes(rng.randint(30, 1500))
        expected.append(payload)
        cuts = sorted(rng.sample(range(8, len(payload), 8), rng.randint(1, 3)))
        parts = build.fragments(build.udp(payload), cuts, ident=k // 4, group=f"224.0.31.{k % 4}")
        frames += parts
        if rng.random() < 0.3:
            frames.append(rng.choice(parts[:-1]))  # a copy
    rng.shuffle(frames)
    file = build.Pcap()
    for part in frames:
        file.add(build.ethernet(part))
    found, _ = payloads(read, file)
    assert sorted(found) == sorted(expected)


def test_fragment_that_is_lost(build, read):
    parts = build.fragments(build.udp(bytes(100)), [16, 64])
    file = build.Pcap().add(build.ethernet(parts[0])).add(build.ethernet(parts[2]))
    later = build.T0 + MAX_PARTIAL_AGE_NS + 10_000
    for part in build.fragments(build.udp(b"y" * 100), [16, 64]):  # the same number comes again
        file.add(build.ethernet(part), later)
    found, counts = payloads(read, file)
    assert found == [b"y" * 100]
    assert counts["incomplete"] == 1


def test_fragments_of_more_datagrams_than_are_kept(build, read):
    file = build.Pcap()
    pairs = [build.fragments(build.udp(bytes(100)), [16], ident=k) for k in range(MAX_PARTIAL + 1)]
    for i, (first, _) in enumerate(pairs):
        file.add(build.ethernet(first), build.T0 + i * 1000)
    for _, second in pairs[1:]:
        file.add(build.ethernet(second), build.T0 + 10**6)
    found, counts = payloads(read, file)
    assert len(found) == MAX_PARTIAL
    assert counts["incomplete"] == 1


def test_fragments_that_contradict_each_other(build, read):
    body = build.udp(bytes(100))
    file = build.Pcap()

    def frag(at, n, more, ident):
        place = at // 8 | 0x2000 * more
        return build.ethernet(build.ip4(body[at : at + n], place=place, ident=ident))

    file.add(frag(0, 16, 1, 1)).add(frag(16, 40, 0, 1)[:-1])  # shorter than it says
    for first, second in (
        ((0, 64, 1), (16, 8, 0)),
        ((16, 8, 0), (0, 64, 1)),
        ((16, 8, 0), (24, 8, 0)),
    ):
        file.add(frag(*first, ident=2)).add(frag(*second, ident=2))
    file.add(frag(0, 12, 1, 3)).add(frag(8, 0, 0, 3))  # not a multiple of 8; nothing
    file.add(build.ethernet(build.ip4(bytes(80), place=0x1FFF)))  # beyond 64 KiB
    found, counts = payloads(read, file)
    assert found == []
    assert counts["malformed"] == 7
    assert "datagrams" not in counts


def test_largest_datagram(build, read):
    payload = random.Random(1).randbytes(65_507)
    file = build.Pcap()
    for part in build.fragments(build.udp(payload), list(range(1480, 65_500, 1480))):
        file.add(build.ethernet(part))
    assert payloads(read, file)[0] == [payload]


def test_fragments_of_what_is_not_udp(build, read):
    file = build.Pcap().add(build.ethernet(build.ip4(bytes(64), protocol=6, place=0x2000)))
    assert payloads(read, file) == ([], {"frames": 1, "not_udp": 1})


# ------------------------------------------------------------------------------------------------ time


def played(build, tmp_path, stamps, ns=True):
    file = build.Pcapng().interface(resolution=9)
    for ts in stamps:
        file.enhanced(build.frame(), ts) if ts is not None else file.simple(build.frame())
    (tmp_path / "x").write_bytes(file.data)
    sink = PacketList()
    with CaptureReader(str(tmp_path / "x")) as reader:
        while reader.run(sink, {(build.GROUP, build.PORT): 5}) is not Stop.ENDED:
            pass
        bad = reader.counts["bad_stamps"]
    assert all(p.line == 5 and p.ts_flags & Flag.REPLAYED for p in sink.packets)
    assert sum(bool(p.ts_flags & Flag.BAD_TS) for p in sink.packets) == bad
    nows = [p.now_ns for p in sink.packets]
    assert nows == sorted(nows)
    return sink.packets, bad


def test_good_stamps_are_now(build, tmp_path):
    stamps = [build.T0 + d for d in (0, 5, 5, 10**9, 10**12)]
    packets, bad = played(build, tmp_path, stamps)
    assert [p.now_ns for p in packets] == [p.ts_recv_ns for p in packets] == stamps
    assert bad == 0


def test_stamps_that_jitter_back_a_little(build, tmp_path):
    packets, bad = played(build, tmp_path, [build.T0, build.T0 - 900_000_000, build.T0 + 5])
    assert [p.now_ns - build.T0 for p in packets] == [0, 0, 5]
    assert [p.ts_recv_ns - build.T0 for p in packets] == [0, -900_000_000, 5]
    assert bad == 0


def test_stamps_of_1970(build, tmp_path):
    packets, bad = played(build, tmp_path, [5_017_848_978_163_000, 5_017_848_978_163_000 + 10**6])
    assert bad == 2
    assert packets[1].now_ns - packets[0].now_ns == 10**6, "time goes on all the same"


def test_recorder_whose_clock_is_set_back(build, tmp_path):
    packets, _ = played(
        build, tmp_path, [build.T0 + d for d in (0, 10**10, 10**6, 3 * 10**6, 10**11)]
    )
    assert [p.now_ns - build.T0 for p in packets] == [
        0, 10**10, 10**10, 10**10 + 2 * 10**6, 10**10 + 10**11 - 10**6,
    ]  # fmt: skip
    assert [bool(p.ts_flags & Flag.BAD_TS) for p in packets] == [False, False, True, False, False]


def test_one_stamp_from_the_far_future(build, tmp_path):
    packets, _ = played(
        build, tmp_path, [build.T0, 4 * 10**18, build.T0 + 10**6, build.T0 + 2 * 10**6]
    )
    assert [bool(p.ts_flags & Flag.BAD_TS) for p in packets] == [False, True, True, False]
    assert packets[-1].now_ns - packets[0].now_ns < 10**9, "timers do not stand still for ever"


def test_clock_that_stands_still(build, tmp_path):
    packets, _ = played(build, tmp_path, [build.T0] * 1500 + [build.T0 + 1])
    flags = [bool(p.ts_flags & Flag.BAD_TS) for p in packets]
    assert flags == [False] * 1000 + [True] * 500 + [False]


def test_no_stamps_at_all(build, tmp_path):
    packets, bad = played(build, tmp_path, [None, None])
    assert bad == 2
    assert [p.ts_recv_ns for p in packets] == [-(2**63)] * 2


@pytest.mark.parametrize("seed", range(20))
def test_hostile_stamps_never_turn_time_back(seed, build, tmp_path):
    rng = random.Random(seed)
    stamps = [
        rng.choice([rng.getrandbits(64), rng.getrandbits(62), build.T0, 0]) for _ in range(300)
    ]
    played(build, tmp_path, stamps)


# ---------------------------------------------------------------------------------- lines and playing


def capture(build, tmp_path, name, times, port=14340):
    file = build.Pcapng().interface(resolution=9)
    for i, ts in enumerate(times):
        file.enhanced(build.frame(b"%s %d" % (name.encode(), i), port=port), build.T0 + ts)
    (tmp_path / name).write_bytes(file.data)
    return str(tmp_path / name)


@pytest.mark.parametrize("seed", range(10))
def test_several_files_are_merged_and_ties_keep_their_order(seed, build, tmp_path):
    rng = random.Random(seed)
    paths, expected = [], []
    for k in range(4):
        times = sorted(rng.choices(range(60), k=rng.randint(0, 80)))
        paths.append(capture(build, tmp_path, f"f{k}", times))
        expected += [(ts, k, i) for i, ts in enumerate(times)]
    with CaptureReader(*paths) as reader:
        found = [(p.ts_ns - build.T0, p.payload.decode()) for p in reader.packets()]
    assert found == [(ts, f"f{k} {i}") for ts, k, i in sorted(expected)]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_until_and_limit(step, build, tmp_path):
    path = capture(build, tmp_path, "x", range(0, 5000, 10))
    sink = PacketList()
    with CaptureReader(path) as reader:
        reader.add_lines({(build.GROUP, build.PORT): 1})
        assert reader.run(sink, until_ns=build.T0 - 1) in {Stop.READ, Stop.LATER}
        assert reader.run(sink, until_ns=build.T0 - 1) is Stop.LATER
        assert reader.next_ns == build.T0
        assert not sink.packets
        status, horizon = Stop.READ, build.T0
        while status is not Stop.ENDED:
            before = len(sink.packets)
            status = reader.run(sink, until_ns=horizon, max_packets=step)
            assert len(sink.packets) - before <= step
            assert all(p.now_ns <= horizon for p in sink.packets)
            if status is Stop.LATER:
                assert sink.packets[-1].now_ns <= horizon < reader.next_ns
                horizon = reader.next_ns
    assert [p.payload for p in sink.packets] == [b"x %d" % i for i in range(500)]


def test_only_listed_destinations_are_delivered(build, tmp_path):
    file = build.Pcap()
    for i in range(30):
        file.add(build.frame(bytes(i), port=100 + i % 3, group=f"224.0.31.{i % 2}"))
    (tmp_path / "x").write_bytes(file.data)
    sink = PacketList()
    lines = {("224.0.31.0", 100): 8, ("224.0.31.1", 101): 9, ("1.2.3.4", 5): 6}
    with CaptureReader(str(tmp_path / "x")) as reader:
        while reader.run(sink, lines) is not Stop.ENDED:
            pass
        assert reader.counts["delivered"] == 10
        assert reader.counts["unlisted"] == 20
        seen = {(d.address, d.port): d for d in reader.destinations}
    assert {(p.line, len(p.payload) % 6) for p in sink.packets} == {(8, 0), (9, 1)}
    assert len(seen) == 7
    assert seen["224.0.31.1", 101] == ("224.0.31.1", 101, 9, 5, 65)
    assert seen["224.0.31.0", 101].line is None
    assert seen["1.2.3.4", 5] == ("1.2.3.4", 5, 6, 0, 0)


def test_more_destinations_than_are_kept(build, tmp_path):
    file = build.Pcap()
    for i in range(MAX_DESTINATIONS + 50):
        file.add(build.frame(b"x", port=i + 1))
    (tmp_path / "x").write_bytes(file.data)
    sink = PacketList()
    with CaptureReader(str(tmp_path / "x")) as reader:
        while reader.run(sink, {("224.0.31.64", MAX_DESTINATIONS + 7): 4}) is not Stop.ENDED:
            pass
        assert len(reader.destinations) == MAX_DESTINATIONS
        assert reader.counts["unlisted"] == MAX_DESTINATIONS + 49
    assert len(sink.packets) == 1
    with pytest.raises(ValueError, match="destinations"):
        Player([Decoder()], {("1.1.1.1", i): 0 for i in range(MAX_DESTINATIONS + 1)})


def test_samples_are_the_first_of_each_destination(build, tmp_path):
    file = build.Pcap()
    for i in range(1000):
        file.add(build.frame(struct.pack("<I", i), port=1 + (i % 10 == 9)))
    (tmp_path / "x").write_bytes(file.data)
    with CaptureReader(str(tmp_path / "x")) as reader:
        taken = list(reader.samples(3))
        assert [(p.destination_port, struct.unpack("<I", p.payload)[0]) for p in taken] == [
            (1, 0), (1, 1), (1, 2), (2, 9), (2, 19), (2, 29),
        ]  # fmt: skip
        assert [d.packets for d in reader.destinations] == [900, 100]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ({("x", 1): 1}, "not an IPv4 address"),
        ({("1.2.3.256", 1): 1}, "not an IPv4 address"),
        ({("1.2.3.4", 65536): 1}, "not a port"),
        ({("1.2.3.4", 1): 2**32 - 1}, "not the number of a line"),
    ],
)
def test_lines_that_cannot_be(lines, sentence):
    with pytest.raises(ValueError, match=sentence):
        Player([Decoder()], lines)
