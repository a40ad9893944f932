"""Multicast for real: two sides in a private network namespace, frames from the other end of the cable."""

from __future__ import annotations

import logging
import random
import socket
import struct
from pathlib import Path

import pytest

from mdfeedd.feeds._packet import PacketList
from mdfeedd.feeds.multicast import LineSpec, Receiver, ReceiverError
from mdfeedd.feeds.multicast import receiver as receiver_module

BUFFER = {"blocking": 1 << 20, "busy": 1 << 20, "packet_ring": 32 << 20}
MODES = ("blocking", "busy", "packet_ring")
G1, G2, G3 = "239.77.0.1", "239.77.0.2", "239.77.0.3"
PORT = 14310
MOST_UNSTAMPED = 1000


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def watchful(monkeypatch):
    """Interfaces are looked at after every run, not once a second."""
    monkeypatch.setattr(receiver_module, "WATCH_NS", 0)


def opened(specs, sink, mode, **options):
    """With room for what a test sends at once; a ring fills with time, too: a block a millisecond."""
    options.setdefault("receive_buffer_bytes", BUFFER[mode])
    return Receiver(specs, sink, mode=mode, **options)


def until_stamped(network, tools, receiver, sink):
    """The first packet with a time of the kernel's, which begins to stamp when a worker of its own has its turn."""
    for _ in range(MOST_UNSTAMPED):
        network.send("a", G1, PORT, b"first")
        first = tools.pump(receiver, sink, len(sink.packets) + 1)[-1]
        if first.ts_flags:
            return first
    pytest.fail(f"of {MOST_UNSTAMPED} packets none was stamped")


def memberships() -> set[str]:
    words = Path("/proc/thread-self/net/igmp").read_text().split()
    groups = (w for w in words if len(w) == 8 and w.startswith(("01", "02", "03")))
    return {socket.inet_ntoa(struct.pack("=I", int(w, 16))) for w in groups if w.endswith("EF")}


def test_channels_on_one_port_do_not_hear_each_other(network, tools, mode):
    sink = PacketList()
    specs = [LineSpec(i, g, PORT, "near_a") for i, g in enumerate((G1, G2, G3))]
    with (
        opened(specs, sink, mode) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as careless,
    ):
        careless.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        careless.settimeout(10)
        careless.bind(("", PORT))
        for n in range(30):
            network.send("a", (G1, G2, G3)[n % 3], PORT, b"%d" % n)
        network.send("a", G1, PORT + 1, b"another port")
        network.send("a", "239.77.0.4", PORT, b"a group that nobody joined")
        tools.pump(receiver, sink, 30)
        for line in range(3):
            assert tools.payloads(sink, line) == [b"%d" % n for n in range(line, 30, 3)]
        heard = {careless.recv(100) for _ in range(30)}
        assert len(heard) == 30, "the cross-talk that is avoided is not there at all"


def test_group_is_joined_and_left_at_run_time(network, tools, mode):
    sink = PacketList()
    specs = [LineSpec(1, G1, PORT, "near_a"), LineSpec(2, G2, PORT, "near_a", joined=False)]
    with opened(specs, sink, mode) as receiver:
        assert memberships() == {G1}
        network.send("a", G2, PORT, b"too early")
        receiver.join(2)
        receiver.join(2)
        assert memberships() == {G1, G2}
        assert receiver.joined(2)
        network.send("a", G2, PORT, b"in time")
        tools.pump(receiver, sink, 1)
        receiver.leave(2)
        receiver.leave(2)
        assert memberships() == {G1}
        network.send("a", G2, PORT, b"too late")
        network.send("a", G1, PORT, b"still there")
        tools.pump(receiver, sink, 2)
        receiver.join(2)
        network.send("a", G2, PORT, b"again")
        tools.pump(receiver, sink, 3)
        assert [p.payload for p in sink.packets] == [b"in time", b"still there", b"again"]
        assert receiver.counts(2).packets == 2
    assert memberships() == set()


def test_packet_from_a_wrong_source_is_not_delivered(network, tools, mode):
    sink = PacketList()
    second = "10.77.0.10"
    specs = [
        LineSpec(1, G1, PORT, "near_a", sources=(tools.SENDER["a"], second)),
        LineSpec(2, G2, PORT, "near_a"),
    ]
    with opened(specs, sink, mode) as receiver:
        network.send("a", G1, PORT, b"forged", tools.STRANGER)
        network.send("a", G1, PORT, b"real")
        network.send("a", G1, PORT, b"from the second", second)
        network.send("a", G2, PORT, b"anybody's", tools.STRANGER)
        tools.pump(receiver, sink, 3)
        assert tools.payloads(sink, 1) == [b"real", b"from the second"]
        assert tools.payloads(sink, 2) == [b"anybody's"]
        assert {p.source for p in sink.packets if p.line == 2} == {tools.STRANGER}
        assert receiver.counts(1).refused == (1 if mode == "packet_ring" else 0)


def test_one_group_on_two_interfaces_is_two_lines(network, tools, mode):
    sink = PacketList()
    specs = [LineSpec(0, G1, PORT, "near_a"), LineSpec(1, G1, PORT, tools.NEAR["b"])]
    with opened(specs, sink, mode) as receiver:
        for n in range(10):
            network.send("a", G1, PORT, b"a%d" % n)
            network.send("b", G1, PORT, b"b%d" % n)
        tools.pump(receiver, sink, 20)
        for line, side in enumerate((b"a", b"b")):
            assert tools.payloads(sink, line) == [side + b"%d" % n for n in range(10)]


def test_more_groups_than_a_socket_may_join(network, tools, mode):
    sink = PacketList()
    groups = [f"239.78.{n // 250}.{n % 250 + 1}" for n in range(330)]
    specs = [LineSpec(n, g, PORT + n % 7, "near_a") for n, g in enumerate(groups)]
    with opened(specs, sink, mode) as receiver:
        order = list(range(len(groups)))
        random.Random(1).shuffle(order)
        for n in order:
            network.send("a", groups[n], PORT + n % 7, b"%d" % n)
            network.send("a", groups[n], PORT + (n + 1) % 7, b"to another port")
            if n % 16 == 0:
                receiver.run(0)
        tools.pump(receiver, sink, len(groups))
        assert all(p.payload == b"%d" % p.line for p in sink.packets)
        assert {p.line for p in sink.packets} == set(range(len(groups)))


def test_kernel_stamps_and_the_sender_are_told(network, tools, mode):
    sink = PacketList()
    with opened([LineSpec(5, G1, PORT, "near_a")], sink, mode) as receiver:
        first = until_stamped(network, tools, receiver, sink)
        network.send("a", G1, PORT, b"second")
        second = tools.pump(receiver, sink, len(sink.packets) + 1)[-1]
        assert second.ts_flags == 16
        assert first.ts_recv_ns < second.ts_recv_ns
        assert first.now_ns < second.now_ns
        assert (second.source, second.source_port) == (tools.SENDER["a"], 7777)


def test_link_is_unplugged_and_back(network, tools, mode, watchful, caplog):
    sink = PacketList()
    specs = [LineSpec(0, G1, PORT, "near_a"), LineSpec(1, G1, PORT, "near_b")]
    caplog.set_level(logging.WARNING, "mdfeedd.multicast")
    with opened(specs, sink, mode) as receiver:
        network.send("a", G1, PORT, b"before")
        tools.pump(receiver, sink, 1)
        for end in ("far", "near"):
            network.command("link", "set", f"{end}_a", "down")
            receiver.run(2_000_000)
            network.send("b", G1, PORT, b"the other side goes on")
            tools.pump(receiver, sink, len(sink.packets) + 1)
            network.up("a", end)
            receiver.run(2_000_000)
            network.send("a", G1, PORT, b"back")
            tools.pump(receiver, sink, len(sink.packets) + 1)
        assert tools.payloads(sink, 0) == [b"before", b"back", b"back"]
        told = [r.getMessage() for r in caplog.records if "near_a" in r.getMessage()]
        assert [m.split(":")[0].split("near_a ")[1] for m in told] == ["is down", "is back"] * 2


def test_interface_is_removed_and_made_anew(network, tools, mode, watchful, caplog):
    sink = PacketList()
    specs = [LineSpec(0, G1, PORT, "near_a"), LineSpec(1, G1, PORT, "near_b")]
    with opened(specs, sink, mode) as receiver:
        network.remove_side("a")
        for n in range(3):
            receiver.run(2_000_000)
            network.send("b", G1, PORT, b"%d" % n)
            tools.pump(receiver, sink, n + 1)
        network.add_side("a")
        receiver.run(2_000_000)
        network.send("a", G1, PORT, b"anew")
        tools.pump(receiver, sink, 4)
        assert tools.payloads(sink, 0) == [b"anew"]
        told = [r.getMessage() for r in caplog.records if "interface near_a" in r.getMessage()]
        assert len(told) == 2
        assert "is gone" in told[0]
        assert "is back" in told[1]


def test_route_moves_to_another_interface(network, tools, mode, watchful):
    network.command("route", "add", "239.0.0.0/8", "dev", "near_a")
    sink = PacketList()
    with opened([LineSpec(0, G1, PORT)], sink, mode) as receiver:
        network.send("a", G1, PORT, b"by the first")
        tools.pump(receiver, sink, 1)
        network.remove_side("a")
        receiver.run(2_000_000)
        network.command("route", "add", "239.0.0.0/8", "dev", "near_b")
        receiver.run(2_000_000)
        network.send("b", G1, PORT, b"by the second")
        tools.pump(receiver, sink, 2)
        assert memberships() == {G1}


def test_line_is_left_while_its_interface_is_away(network, tools, mode, watchful):
    sink = PacketList()
    specs = [LineSpec(0, G1, PORT, "near_a"), LineSpec(1, G2, PORT, "near_b")]
    with opened(specs, sink, mode) as receiver:
        network.remove_side("a")
        receiver.run(2_000_000)
        receiver.leave(0)
        with pytest.raises(ReceiverError, match="there is no interface near_a"):
            receiver.join(0)
        assert not receiver.joined(0)
        network.add_side("a")
        receiver.run(2_000_000)
        assert memberships() == {G2}
        receiver.join(0)
        network.send("a", G1, PORT, b"joined late")
        tools.pump(receiver, sink, 1)


def test_overflow_is_counted_on_the_line_that_lost(network, tools, watchful, caplog):
    sink = PacketList()
    sent = 3000
    specs = [LineSpec(0, G1, PORT, "near_a"), LineSpec(1, G2, PORT, "near_a")]
    with Receiver(specs, sink, receive_buffer_bytes=1 << 15) as receiver:
        network.send("a", G2, PORT, b"quiet")
        for n in range(sent):
            network.send("a", G1, PORT, struct.pack("<I", n) + bytes(150))
        counts = receiver.counts(0)
        assert counts.kernel_drops > 0, "drops are known before anything is read"
        tools.pump(receiver, sink, sent - counts.kernel_drops + 1)
        network.send("a", G1, PORT, b"after")
        tools.pump(receiver, sink, sent - counts.kernel_drops + 2)
        counts = receiver.counts(0)
        assert counts.packets + counts.kernel_drops == sent + 1
        assert counts.kernel_drops == receiver.kernel_drops
        assert receiver.counts(1).kernel_drops == 0
        kept = [struct.unpack_from("<I", p)[0] for p in tools.payloads(sink, 0)[:-1]]
        assert kept == list(range(len(kept))), "the oldest are kept, in order"
        told = [r.getMessage() for r in caplog.records if "kernel dropped" in r.getMessage()]
        assert len(told) == 1
        receiver.leave(0)
        assert receiver.counts(0) == counts


def test_overflow_of_the_packet_ring_is_counted(network, tools):
    sink = PacketList()
    specs = [LineSpec(0, G1, PORT, "near_a")]
    with opened(specs, sink, "packet_ring", receive_buffer_bytes=1 << 20) as receiver:
        sent = 4000
        for n in range(sent):
            network.send("a", G1, PORT, struct.pack("<I", n) + bytes(1000))
        drops = receiver.kernel_drops
        assert drops > 0
        tools.pump(receiver, sink, sent - drops)
        assert receiver.kernel_drops == drops
        receiver.leave(0)
        assert receiver.kernel_drops == drops


def hostile_packets(tools, rng):
    """What a wire may carry, by a seed: most of it whole, the rest what UDP must refuse or put together."""
    source, group = tools.SENDER["a"], rng.choice((G1, G2, G3, "239.77.0.9"))
    port = rng.choice((PORT, PORT, PORT, PORT + 1))
    payload = rng.randbytes(rng.choice((0, 1, 2, 17, 18, 19, 160, 161, 1000, 1412)))
    body = bytearray(tools.udp(source, group, port, payload, checked=rng.random() < 0.8))
    kind = rng.randrange(14)
    options: dict[str, int | None] = {"vlan": None, "pad": rng.choice((0, 46, 80))}
    packet = bytearray(tools.ip(source, group, bytes(body), ident=rng.randrange(1, 2**16)))
    if kind == 0:
        body[6:8] = b"\x12\x34"
        packet = bytearray(tools.ip(source, group, bytes(body)))
    elif kind == 1:
        packet[11] ^= 1
    elif kind == 2:
        packet = bytearray(tools.ip(source, group, bytes(body), options=b"\x01" * 8))
    elif kind == 3:
        body[4:6] = struct.pack("!H", rng.choice((0, 7, len(body) - 1, len(body) + 1, 65535)))
        packet = bytearray(tools.ip(source, group, bytes(body)))
    elif kind == 4:
        packet = bytearray(tools.ip(source, group, bytes(body[: rng.randrange(9)])))
    elif kind == 5:
        packet = bytearray(tools.ip(source, group, bytes(body), protocol=rng.choice((1, 6, 136))))
    elif kind == 6:
        options["vlan"] = rng.choice((0, 5))
    elif kind == 7:
        size = rng.choice((8, 64, 512))
        parts = tools.fragments(source, group, bytes(body), size, rng.randrange(1, 2**16))
        rng.shuffle(parts)
        return [(bytes(p), options) for p in parts]
    elif kind == 8:
        del packet[rng.randrange(len(packet)) :]
        packet = packet if len(packet) >= 20 else bytearray(20)
    return [(bytes(packet), options)]


@pytest.mark.parametrize("seed", range(6))
def test_packet_ring_delivers_what_sockets_deliver(network, tools, seed):
    specs = [LineSpec(n, g, PORT, "near_a") for n, g in enumerate((G1, G2, G3))]
    by_socket, by_ring = PacketList(), PacketList()
    rng = random.Random(seed)
    with (
        opened(specs, by_socket, "blocking") as sockets,
        opened(specs, by_ring, "packet_ring") as ring,
    ):
        for _ in range(300):
            for packet, options in hostile_packets(tools, rng):
                network.frame("a", packet, **options)
            sockets.run(0)
            ring.run(0)
        for group in (G1, G2, G3):
            network.send("a", group, PORT, b"the end")
        for receiver, sink in ((sockets, by_socket), (ring, by_ring)):
            while [p.payload for p in sink.packets].count(b"the end") < 3:
                receiver.run(2_000_000)
            receiver.run(2_000_000)
        for line in range(3):
            of_line = [
                [(p.payload, p.source, p.source_port) for p in sink.packets if p.line == line]
                for sink in (by_socket, by_ring)
            ]
            assert of_line[0] == of_line[1]
            assert len(of_line[0]) > 20, seed
            assert sockets.counts(line)[:2] == ring.counts(line)[:2]
        assert sum(ring.counts(line).refused for line in range(3)) > 0


def test_fragments_come_together(network, tools, mode):
    sink = PacketList()
    payload = random.Random(3).randbytes(9000)
    source = tools.SENDER["a"]
    body = tools.udp(source, G1, PORT, payload)
    with opened([LineSpec(0, G1, PORT, "near_a")], sink, mode) as receiver:
        parts = tools.fragments(source, G1, body, 1200, 77)
        for part in reversed(parts):
            network.frame("a", part)
        for part in tools.fragments(source, G1, body, 1200, 78)[1:]:
            network.frame("a", part)  # the first is lost
        network.send("a", G1, PORT, b"whole")
        tools.pump(receiver, sink, 2)
        assert tools.payloads(sink, 0) == [payload, b"whole"]


def test_datagram_is_longer_than_there_is_room(network, tools, mode):
    sink = PacketList()
    source = tools.SENDER["a"]
    with opened([LineSpec(0, G1, PORT, "near_a")], sink, mode) as receiver:
        for n, size in enumerate((9216, 9217, 20_000, 10)):
            body = tools.udp(source, G1, PORT, bytes(size))
            for part in tools.fragments(source, G1, body, 1200, n + 1):
                network.frame("a", part)
        tools.pump(receiver, sink, 2)
        assert [len(p.payload) for p in sink.packets] == [9216, 10]
        assert receiver.counts(0).truncated == 2


def test_another_vlan_is_another_network(network, tools, mode):
    sink = PacketList()
    source = tools.SENDER["a"]
    packet = tools.ip(source, G1, tools.udp(source, G1, PORT, b"tagged"))
    with opened([LineSpec(0, G1, PORT, "near_a")], sink, mode) as receiver:
        network.frame("a", packet, vlan=5)
        network.frame("a", packet, vlan=0)  # a priority, and no VLAN
        network.send("a", G1, PORT, b"plain")
        tools.pump(receiver, sink, 2)
        assert tools.payloads(sink, 0) == [b"tagged", b"plain"]


def test_unicast_to_an_address_of_this_host(network, tools, mode):
    sink = PacketList()
    address = tools.NEAR["a"]
    with opened([LineSpec(0, address, PORT)], sink, mode) as receiver:
        source = tools.SENDER["a"]
        network.frame("a", tools.ip(source, address, tools.udp(source, address, PORT, b"here")))
        tools.pump(receiver, sink, 1)
        assert memberships() == set()


def test_group_is_found_by_its_route(network, tools, mode):
    with pytest.raises(ReceiverError, match="no route leads to that group: name the interface"):
        opened([LineSpec(0, G1, PORT)], PacketList(), mode)
    network.command("route", "add", "239.0.0.0/8", "dev", "near_b")
    sink = PacketList()
    with opened([LineSpec(0, G1, PORT)], sink, mode) as receiver:
        network.send("a", G1, PORT, b"on the other side")
        network.send("b", G1, PORT, b"here")
        tools.pump(receiver, sink, 1)
        assert tools.payloads(sink, 0) == [b"here"]


def test_interface_is_down_at_the_start(network, tools, mode, watchful):
    network.command("link", "set", "near_a", "down")
    sink = PacketList()
    with opened([LineSpec(0, G1, PORT, "near_a")], sink, mode) as receiver:
        assert any("interface near_a is down" in w for w in receiver.warnings)
        receiver.run(2_000_000)
        network.up("a", "near")
        network.send("a", G1, PORT, b"up")
        tools.pump(receiver, sink, 1)


def test_strict_reverse_path_is_complained_about(network, mode):
    Path("/proc/sys/net/ipv4/conf/near_a/rp_filter").write_text("1")
    with opened([LineSpec(0, G1, PORT, "near_a")], PacketList(), mode) as receiver:
        told = [w for w in receiver.warnings if "sysctl -w net.ipv4.conf.near_a.rp_filter=2" in w]
        assert len(told) == 1


def test_more_sources_than_the_kernel_allows(network, mode):
    Path("/proc/sys/net/ipv4/igmp_max_msf").write_text("3")
    sources = tuple(f"10.77.0.{n}" for n in range(20, 28))
    with pytest.raises(ReceiverError, match=r"sysctl -w net\.ipv4\.igmp_max_msf=16") as caught:
        opened([LineSpec(0, G1, PORT, "near_a", sources=sources)], PacketList(), mode)
    assert caught.value.errno
    assert memberships() == set(), "what was half open is closed"


def test_hardware_stamps_are_asked_for_and_absent(network, tools, mode):
    sink = PacketList()
    specs = [LineSpec(0, G1, PORT, "near_a")]
    with opened(specs, sink, mode, hardware_timestamps=True) as receiver:
        assert any("no hardware time stamps on near_a" in w for w in receiver.warnings)
        assert until_stamped(network, tools, receiver, sink).ts_flags == 16
