"""Versions, sizes and bytes that make no sense: scenarios 13 to 20."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from mdfeedd.feeds.capture import CaptureReader
from mdfeedd.feeds.cme.codec.entries import decode_packet
from mdfeedd.sim.cme import encode

BOOK = 46
PACKET_HEADER = 12


def market(rig: Any, m: Any) -> Any:
    """Four packets with a book, a trade with order ids, a volume and a statistic."""
    rig.put(1, m.book("31.1 +b1 100x5/2", "31.2 +o1 101x7/3", orders=[(9001, 1, 5, 1, 0)]))
    rig.put(
        2,
        m.trades("31.3 101x2 buy 2 #900", fills=[(9001, 2), (9002, 2)], mei=1),
        m.volume([(31, 4, 2)], mei=2),
    )
    rig.put(
        3,
        m.book("31.5 =o1 101x5/2", mei=4),
        m.session_statistics([(31, 6, "4", 101 * 10**9, 2, 0)]),
    )
    rig.put(4, m.book("32.1 +b1 -0.25x1/1"))
    return rig


def expected(trade_id: int = 900, statistic_size: str = "2") -> list[str]:
    return [
        "1@1 QUOTE 31 100x5 101x7 both END",
        f"2@2 TRADE 31 101x2 buy 2 #{trade_id}",
        "2@2 STATISTIC 31 type=10001 - 2",
        f"3@3 STATISTIC 31 type=1 101 {statistic_size}",
        "3@3 QUOTE 31 100x5 101x5 ask/2 END",
        "4@4 QUOTE 32 -0.25x1 -x0 bid/1 END",
    ]


@pytest.mark.parametrize(
    ("version", "old"), [(9, False), (10, None), (11, None), (12, None), (13, None), (99, None)]
)
def test_13_header_versions_and_longer_blocks(
    make: Any, m: Any, version: int, old: bool | None
) -> None:
    """The same market in each version of the new set; 99 has longer roots and entries, filled with
    junk.
    """
    rig = market(make(version=version, old=old), m).play("A:1-4 B:1-4")
    assert rig.told() == expected()
    assert rig.count("malformed", "unknown", "skipped") == (0, 0, 0)
    assert rig.book(31) == "SYNC 6: 100x5/2 | 101x5/2"


@pytest.mark.parametrize("version", [13, 99])
def test_13_in_any_interleaving(make: Any, m: Any, version: int) -> None:
    rig = market(make(version=version), m)
    for other in rig.interleavings(20, A="1-2 4", B="1 3-4"):
        assert other.told() == expected()


def test_14_tradeable_size_is_padding_before_version_10(
    cme_explain: Any, make: Any, m: Any
) -> None:
    """The bytes are there in version 9 and read 0: that is no size. From 10 on it is one."""
    entry = "31.1 +b1 100x5/2"
    for version, old, size in ((9, False, None), (10, None, 3), (13, None, 3)):
        rig = make(version=version, old=old)
        message = m.book(entry)
        message[1][0][0] = (*message[1][0][0], 3)  # TradeableSize
        payload = rig.put(1, message)
        assert cme_explain(payload) == size, version
        assert rig.play("A:1").told() == ["1@1 QUOTE 31 100x5 -x0 bid/2 END"]


@pytest.fixture
def cme_explain() -> Any:
    """TradeableSize of the first entry of a packet, by the flat decoder."""

    def tradeable(payload: bytes) -> int | None:
        (row,) = decode_packet(payload)
        return None if row["tradeable_size"] == 2**31 - 1 else int(row["tradeable_size"])

    return tradeable


@pytest.mark.parametrize("version", [5, 6, 8, 9])
def test_15_old_templates_have_the_same_scale(make: Any, m: Any, version: int) -> None:
    """32, 42 and 35 count in 1e-7. What version 8 put into the padding is null before it."""
    rig = market(make(version=version, old=True), m) if version >= 8 else None
    if rig is None:
        rig = make(version=version, old=True)
        rig.put(1, m.book("31.1 +b1 100x5/2", "31.2 +o1 101x7/3"))
        fills = [(9001, 2), (9002, 2)]
        rig.put(
            2, m.trades("31.3 101x2 buy 2 #900", fills=fills, mei=1), m.volume([(31, 4, 2)], mei=2)
        )
        rig.put(
            3,
            m.book("31.5 =o1 101x5/2", mei=4),
            m.session_statistics([(31, 6, "4", 101 * 10**9, 2, 0)]),
        )
        rig.put(4, m.book("32.1 +b1 -0.25x1/1"))
    rig.play("A:1-4 B:1-4")
    assert rig.told() == (expected() if version >= 8 else expected(0, "-"))
    assert rig.counts.get("malformed", 0) == 0


def test_15_old_trades_of_template_36(make: Any, m: Any) -> None:
    rig = make(version=6, old=True)
    rig.put(1, m.old_trades([(31, 1, 101 * 10**9, 2, 3, 2, 77)]))
    rig.put(2, m.old_trades([(31, 2, 101 * 10**9, 2, 3, 0, 78, 2)]))
    assert rig.play("A:1-2").told() == [
        "1@1 TRADE 31 101x2 sell 3 #77 END",
        "2@2 TRADE_CANCEL 31 101x2 none 3 #78 END",
    ]


def test_15_an_old_price_that_overflows_is_no_price(make: Any) -> None:
    """Null is tested before the price is scaled, and what does not fit is no number of any sign."""
    rig = make(version=6, old=True)
    for rpt, mantissa in ((1, 2**63 - 1), (2, 2**62), (3, -(2**62)), (4, 12_345_678)):
        row = (mantissa, 5, 31, rpt, 1, 1, 0 if rpt == 1 else 5, b"0", None)
        message = encode.message(32, 6, (rig.at(rpt), 0x84), [("NoMDEntries", [row[:8]])])
        rig.put(rpt, message)
    assert [text.split()[3] for text in rig.play("A:1-4").told()] == ["-x5", "1.2345678x5"]


# -------------------------------------------------------------------------------------------------
# hostile bytes


def hostile(m: Any, rig: Any) -> dict[str, bytes]:
    """Packets that contradict themselves, by what is wrong with them."""
    sound = rig.encode(m.book("31.2 +o1 101x7/3"), 2)
    root, groups = sound[10:21], sound[21:]

    def packed(*messages: bytes) -> bytes:
        return encode.packet(2, rig.at(2.5), messages)

    def sized(size: int) -> bytes:
        return packed(encode.framed(BOOK, 13, 11, root + groups, size=size))

    def entries(length: int, count: int) -> bytes:
        return packed(
            encode.framed(BOOK, 13, 11, root + struct.pack("<HB", length, count) + groups[3:])
        )

    whole = packed(sound)
    return {
        "MsgSize 0": sized(0),
        "MsgSize below its header": sized(9),
        "MsgSize below header and root": sized(10 + 10),
        "MsgSize beyond the packet": sized(len(sound) + 1),
        "MsgSize 65535": sized(65_535),
        "second MsgSize 0": packed(sound, encode.framed(BOOK, 13, 11, root + groups, size=0)),
        "second message without a header": whole + b"\x10\x00",
        "root longer than the message": packed(
            encode.framed(BOOK, 13, len(root + groups) + 1, root + groups)
        ),
        "root shorter than its fields": packed(encode.framed(BOOK, 13, 8, root + groups)),
        "255 entries, one there": entries(32, 255),
        "entries longer than the message": entries(41, 1),
        "entries shorter than their fields": entries(26, 1),
        "entries of no length": entries(0, 1),
        "dimension cut": packed(encode.framed(BOOK, 13, 11, root + b"\x20\x00")),
        "second dimension cut": packed(
            encode.framed(BOOK, 13, 11, root + groups[:-8] + b"\x18\0\0\0")
        ),
        "order entries overrun": packed(encode.framed(BOOK, 13, 11, root + groups[:-1] + b"\x05")),
        "cut in the header of the message": whole[: PACKET_HEADER + 9],
        "cut in the root": whole[: PACKET_HEADER + 15],
        "cut in an entry": whole[:-20],
    }


def test_16_hostile_packets_are_rejected_whole(make: Any, m: Any, run: Any, quote: Any) -> None:
    """Each is counted and dropped without a tick; its place in the sequence counts, so the next one
    is told lost at once, and B's good copy is used where there is one.
    """
    del run, quote
    names = hostile(m, make())
    for name, bad in names.items():
        rig = make()
        rig.put(1, m.book("31.1 +b1 100x5/2"))
        rig.put(2, m.book("31.2 +o1 101x7/3"))
        rig.put(3, m.book("31.3 =b1 100x6/2"))
        rig.packets["bad"] = bad
        other = rig.again().play("A:1,bad,3 B:1,2,3")
        assert other.told() == [
            "1@1 QUOTE 31 100x5 -x0 bid/2 END",
            "2@2 QUOTE 31 100x5 101x7 ask/3 END",
            "3@3 QUOTE 31 100x6 101x7 bid/2 END",
        ], name
        assert other.count("malformed", "gaps") == (1, 0), name
        assert other.line("A", "malformed", "lost") == (1, 1), name  # it brought nothing of use
        assert [text for text in other.events() if "MALFORMED" in text] == ["MALFORMED 2"], name
        rig.play("A:1,bad,3 B:1,bad,3")
        assert rig.told() == [
            "1@1 QUOTE 31 100x5 -x0 bid/2 END",
            "2@1.5 GAP - 2..2 reason=1 line=310",
            "3@3 QUOTE 31 100x6 -x0 bid/2 STALE END",
        ], name
        assert rig.count("malformed", "gaps", "lost") == (2, 1, 1), name


def test_16_payloads_shorter_than_their_header(make: Any, m: Any) -> None:
    rig = market(make(), m).play("A:1")
    for length in range(PACKET_HEADER):
        rig.send("A", rig.packets[2][:length])
    rig.play("A:2-4")
    assert rig.told() == expected()
    assert rig.count("malformed", "gaps") == (PACKET_HEADER, 0)


def test_16_a_packet_of_a_header_alone_is_sound(make: Any, m: Any) -> None:
    rig = market(make(), m)
    rig.put("empty", seq=2, step=2)
    assert rig.play("A:1,empty").told() == expected()[:1]
    assert (rig.state.next_seq, rig.counts.get("malformed", 0)) == (3, 0)


def rich(rig: Any, m: Any) -> list[bytes]:
    """A packet of each template, with several entries each."""
    e9 = 10**9
    messages = [
        m.book("31.1 +b1 100x5/2", "32.1 +o1 101x7/3", orders=[(1, 1, 5, 1, 0), (2, 1, 7, 2, 0)]),
        m.book("33.1 +b1 100x5/2", long=True),
        m.orders([(31, 3, 1, 100 * e9, 5, "0", 0)]),
        m.trades("31.2 101x2 buy 2 #900", fills=[(1, 2), (2, 2)]),
        m.volume([(31, 3, 2)]),
        m.session_statistics([(31, 4, "4", 101 * e9, 2, 0)]),
        m.daily_statistics([(31, 5, "6", 101 * e9, 2, 20_000, 1)]),
        m.limits([(31, 6, 110 * e9, 90 * e9, e9)]),
        m.status(17, group="ES"),
        m.channel_reset(310),
        m.quote_request(31, "ESH6"),
        m.workup(31, 100 * e9, 17, orders=[(1, 1, 0)]),
        m.heartbeat(),
    ]
    return [rig.packet(2, message) for message in messages]


def test_16_every_truncation_of_every_template(make: Any, m: Any) -> None:
    """No length of any packet crashes, invents a tick or stops the sequence."""
    rig = make(orders=True)
    payloads = rich(rig, m)
    rig.put(1, m.heartbeat())
    rig.put(3, m.heartbeat())
    for payload in payloads:
        full = truncation(rig, payload)
        for length in range(len(payload)):
            told = truncation(rig, payload[:length])
            # A message that ends before a group does not have it; whatever is told was in the
            # packet.
            assert set(told) <= set(full), length


def truncation(rig: Any, payload: bytes) -> list[str]:
    """The ticks of a fresh handler that is given this payload between two heartbeats."""
    other = rig.again().play("A:1 B:1")
    other.send("A", payload)
    other.send("B", payload)
    other.play("A:3 B:3")
    assert other.state.next_seq == 4
    malformed, gaps = other.count("malformed", "gaps")
    assert (malformed, gaps) in ((0, 0), (2, 1))
    told = [text for text in other.told() if "HEARTBEAT - END" not in text]
    return [text for text in told if "GAP" not in text]


def test_16_every_header_field_of_every_template(make: Any, m: Any) -> None:
    """All values of each byte of the headers: packet, message, dimensions. No crash, and counts
    that add up.
    """
    rig = make(orders=True)
    rig.put(1, m.heartbeat())
    handler = rig.play("A:1").handler
    line = rig.lines["A"]
    sent = 1
    for payload in rich(rig, m):
        bad = bytearray(payload)
        # The message's header, and the group's dimension behind the root.
        block = struct.unpack_from("<H", payload, PACKET_HEADER + 2)[0]
        places = [
            *range(PACKET_HEADER, PACKET_HEADER + 10),
            *range(PACKET_HEADER + 10 + block, PACKET_HEADER + 18 + block),
        ]
        for at in places:
            if at >= len(bad):
                continue
            for value in range(256):
                bad[at] = value
                sent += 1
                struct.pack_into("<I", bad, 0, sent)
                handler.packet(line, bytes(bad), rig.now_ns, rig.now_ns)
                if sent % 4096 == 0:
                    handler.take_ticks()
            bad[at] = payload[at]
    rig.put("end", m.heartbeat(), seq=sent + 1, step=sent + 1)
    rig.play("A:end +20ms")
    assert handler.counts["packets"] == sent + 1
    assert rig.state.next_seq == sent + 2
    assert rig.state.buffered == 0
    assert 0 < handler.counts["malformed"] < sent
    assert handler.counts["lost"] <= handler.counts["malformed"] + handler.counts["misplaced"]


@pytest.mark.parametrize("seed", range(6))
def test_16_random_damage_never_stops_the_channel(make: Any, m: Any, seed: int) -> None:
    """Bits flip, bytes go, packets are glued: afterwards good packets give good books once more."""
    rng = random.Random(seed)
    rig = make("A B SA OA NA", orders=True)
    payloads = rich(rig, m)
    payloads.append(rig.packet(1, m.snapshot(31, 1, 1, "b1 100x5/2", "o1 101x7/3")))
    payloads.append(
        rig.packet(1, m.order_snapshot(31, last_seq=1, entries=[(1, 1, 10**11, 5, "0")]))
    )
    for _ in range(20_000):
        bad = bytearray(rng.choice(payloads))
        for _ in range(rng.choice((0, 1, 1, 2, 8))):
            at = rng.randrange(PACKET_HEADER, len(bad))
            bad[at] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            bad = bad[: rng.randrange(len(bad))]
        elif rng.random() < 0.2:
            bad += rng.choice(payloads)[PACKET_HEADER:]
        if len(bad) >= 4:
            struct.pack_into(
                "<I", bad, 0, rng.choice((1, 2, 3, rig.state.next_seq, rig.state.next_seq + 1))
            )
        rig.send(rng.choice(("A", "A", "B", "SA", "OA", "NA")), bytes(bad))
    rig.wait(20_000_000)
    rig.handler.take_ticks()
    rig.handler.take_orders()
    after = rig.state.next_seq
    rig.put("reset", m.channel_reset(310), seq=after, step=10**12)
    rig.put("book", m.book("31.1 +b1 100x5/2"), seq=after + 1, step=10**12 + 1)
    rig.send("A", rig.packets["reset"])
    rig.send("A", rig.packets["book"])
    rig.put("more", m.book("31.2 =b1 100x6/2"), seq=after + 2, step=10**12 + 2)
    rig.play("A:more")
    assert rig.book(31).startswith("SYNC 2: 100x6/2 | -")


def test_17_unknown_template_between_known_ones(make: Any, m: Any) -> None:
    """A template of the future is walked over by its size, counted, and told once."""
    rig = make()
    strange = encode.framed(200, 14, 8, b"\xa5" * 40)
    rig.put(1, m.book("31.1 +b1 100x5/2", mei=0), strange, m.book("31.2 +o1 101x7/3"))
    rig.put(2, strange, strange, m.book("31.3 =b1 100x6/2"))
    assert rig.play("A:1-2 B:1-2").told() == [
        "1@1 QUOTE 31 100x5 101x7 both END",
        "2@2 QUOTE 31 100x6 101x7 bid/2 END",
    ]
    assert rig.count("unknown", "malformed", "messages") == (3, 0, 6)
    assert [text for text in rig.events() if "UNKNOWN" in text] == ["UNKNOWN_TEMPLATE 200 14"]


def test_18_an_empty_message_ends_the_event(make: Any, m: Any) -> None:
    """32/04 then 32e/80: the quote comes with the end, not before."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2", mei=0x04))
    rig.put(2, m.book(mei=0x80))
    rig.play("A:1")
    assert rig.told() == []
    rig.play("A:2")
    assert rig.told() == ["2@1 QUOTE 31 100x5 -x0 bid/2 END"]
    assert rig.counts["ended_events"] == 1


def test_18_ends_in_any_interleaving(make: Any, m: Any) -> None:
    """An end whose event's ticks are out already is told by a heartbeat, whether or not the packets
    had to wait.
    """
    rig = make()
    for seq in range(1, 31, 3):
        rpt = seq // 3 * 2 + 1
        rig.put(seq, m.trades(f"31.{rpt} 101x2 buy 2 #{seq}", mei=0x01))
        rig.put(seq + 1, m.volume([(31, rpt + 1, 2)], mei=0x02))
        rig.put(seq + 2, m.book(mei=0x80))
    wanted = rig.again().play("A:1-30").told()
    assert wanted[:3] == [
        "1@1 TRADE 31 101x2 buy 2 #1",
        "2@2 STATISTIC 31 type=10001 - 2",
        "3@3 HEARTBEAT - END",
    ]
    for other in rig.interleavings(60, A="1-3 5-10 12-30", B="1-20 22-30"):
        assert other.told() == wanted, other.seed


def test_19_trailer_after_the_payload(make: Any, m: Any, tmp_path: Any) -> None:
    """A switch appends bytes to the frame: the length of UDP says what is payload."""
    rig = market(make(), m)
    frames = b"".join(frame(rig.packets[seq], b"TRAILER" * 3) for seq in range(1, 5))
    file = tmp_path / "trailer.pcap"
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1) + frames)
    with CaptureReader(file) as reader:
        found = list(reader.packets())
    assert len(found) == 4
    for packet in found:
        rig.send("A", packet.payload)
    assert rig.told() == expected()
    assert rig.counts.get("malformed", 0) == 0


def frame(payload: bytes, trailer: bytes) -> bytes:
    """A record of a pcap file: Ethernet, IPv4, UDP, payload, and what the switch appended."""
    udp = struct.pack(">HHHH", 14_310, 14_310, 8 + len(payload), 0) + payload
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\0\0\x01", b"\xe0\0\x1f\x01"
    )
    data = bytes(12) + b"\x08\x00" + ip + udp + trailer
    return struct.pack("<IIII", 1, 0, len(data), len(data)) + data


@pytest.mark.parametrize("orders", [False, True])
def test_20_groups_that_nobody_reads(make: Any, m: Any, orders: bool) -> None:
    """Order ids are walked over when orders are off, and the next message begins where it
    begins.
    """
    rig = make(orders=orders)
    ids = [(9_000 + i, i, 1, 1, 0) for i in range(5)]
    rig.put(
        1,
        m.book("31.1 +b1 100x5/2", mei=0, orders=ids),
        m.trades("31.2 101x2 buy 2 #900", mei=0, fills=[(1, 2), (2, 2)]),
        m.book("31.3 +o1 101x7/3", mei=0, orders=ids[:1]),
        m.book(mei=0x80),
    )
    assert rig.play("A:1 B:1").told() == [
        "1@1 TRADE 31 101x2 buy 2 #900",
        "1@1 QUOTE 31 100x5 101x7 both END",
    ]
