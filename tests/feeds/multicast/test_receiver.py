"""Lines on 127.0.0.1, as on a machine without multicast; what cannot be opened; what the host lacks."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mdfeedd.feeds._packet import PacketList, PacketSink
from mdfeedd.feeds.multicast import LineSpec, Receiver, ReceiverError, host, host_warnings
from mdfeedd.feeds.multicast import receiver as receiver_module
from mdfeedd.feeds.multicast._multicast import LINES, SOURCES, ReceiverCore
from mdfeedd.feeds.multicast.host import buffer_warning, filter_warning, kernel_warnings
from mdfeedd.feeds.multicast.lines import MAX_LINES, MAX_SOURCES

LOOPBACK = "127.0.0.1"
SMALL = 1 << 20


def free_ports(n: int) -> list[int]:
    """Ports that nobody has just now."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(n)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def opened(specs, sink, mode="blocking", **options):
    options.setdefault("receive_buffer_bytes", SMALL)
    try:
        return Receiver(specs, sink, mode=mode, **options)
    except ReceiverError as error:
        if mode == "packet_ring" and error.errno in {errno.EPERM, errno.EAFNOSUPPORT}:
            pytest.skip(str(error))
        raise


@pytest.fixture
def sender():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("mode", ["blocking", "busy", "packet_ring"])
def test_lines_on_loopback(sender, tools, mode, count):
    sink = PacketList()
    ports = free_ports(count)
    specs = [LineSpec(10 + n, LOOPBACK, port) for n, port in enumerate(ports)]
    buffer = 32 << 20 if mode == "packet_ring" else SMALL
    with opened(specs, sink, mode, receive_buffer_bytes=buffer) as receiver:
        for n in range(200):
            sender.sendto(struct.pack("<I", n) * (n % 50), (LOOPBACK, ports[n % count]))
        packets = tools.pump(receiver, sink, 200)
        for line in range(count):
            own = [p for p in packets if p.line == 10 + line]
            sent = range(line, 200, count)
            assert [p.payload for p in own] == [struct.pack("<I", n) * (n % 50) for n in sent]
            assert {(p.source, p.source_port) for p in own} == {(LOOPBACK, sender.getsockname()[1])}
            counts = receiver.counts(10 + line)
            assert (counts.packets, counts.bytes) == (len(own), sum(len(p.payload) for p in own))
        assert receiver.kernel_drops == 0


def test_line_is_left_and_joined(sender, tools):
    sink = PacketList()
    one, two = free_ports(2)
    specs = [LineSpec(1, LOOPBACK, one), LineSpec(2, LOOPBACK, two, joined=False)]
    with opened(specs, sink) as receiver:
        assert (receiver.joined(1), receiver.joined(2)) == (True, False)
        receiver.join(2)
        sender.sendto(b"heard", (LOOPBACK, two))
        tools.pump(receiver, sink, 1)
        receiver.leave(2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((LOOPBACK, two))  # the port is free again
        receiver.leave(1)
        receiver.run(0)
        receiver.join(2)
        sender.sendto(b"again", (LOOPBACK, two))
        tools.pump(receiver, sink, 2)
        with pytest.raises(KeyError):
            receiver.join(3)


def test_overflow_is_told_without_a_further_datagram(sender, tools):
    sink = PacketList()
    (port,) = free_ports(1)
    with opened([LineSpec(1, LOOPBACK, port)], sink, receive_buffer_bytes=4096) as receiver:
        for n in range(500):
            sender.sendto(struct.pack("<I", n), (LOOPBACK, port))
        drops = receiver.counts(1).kernel_drops
        assert 0 < drops < 500
        tools.pump(receiver, sink, 500 - drops)
        assert receiver.counts(1) == (500 - drops, 4 * (500 - drops), drops, 0, 0, 0, 0)


def test_signal_ends_a_run(sender):
    class Rung(Exception):
        pass

    def ring(*_: object) -> None:
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    (port,) = free_ports(1)
    try:
        with opened([LineSpec(1, LOOPBACK, port)], PacketList()) as receiver:
            signal.setitimer(
                signal.ITIMER_REAL, 0.05, 0.05
            )  # one may come between two system calls
            with pytest.raises(Rung):
                receiver.run(10**18)  # for ever
            assert receiver.run(0) is False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_receiver_is_touched_while_it_runs(sender, tools):
    (port,) = free_ports(1)
    refusals = []

    class Meddler(PacketSink):
        def packet(self, *_: object) -> None:
            for touch in (receiver.close, lambda: receiver.leave(1), lambda: receiver.run(0)):
                try:
                    touch()
                except RuntimeError as error:
                    refusals.append(str(error))

    with opened([LineSpec(1, LOOPBACK, port)], Meddler()) as receiver:
        sender.sendto(b"x", (LOOPBACK, port))
        while not refusals:
            receiver.run(1_000_000)
        assert len(refusals) == 3
        assert all("belongs to the thread that runs it" in text for text in refusals)
        assert receiver.joined(1)


def test_closed_receiver_is_used():
    (port,) = free_ports(1)
    receiver = opened([LineSpec(1, LOOPBACK, port)], PacketList())
    receiver.close()
    receiver.close()
    for use in (receiver.run, lambda: receiver.counts(1), lambda: receiver.kernel_drops):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_processor_is_pinned_or_refused(sender, tools):
    (port,) = free_ports(1)
    cpu = min(os.sched_getaffinity(0))
    found: list[set[int]] = []

    def pinned() -> None:
        with opened([LineSpec(1, LOOPBACK, port)], PacketList(), cpu=cpu) as receiver:
            receiver.run(0)
            found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join()
    assert found == [{cpu}]
    with (
        opened([LineSpec(1, LOOPBACK, port)], PacketList(), cpu=4000) as receiver,
        pytest.raises(ReceiverError, match="cpu: this process may not run on 4000"),
    ):
        receiver.run(0)


def test_address_is_taken():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, 0))
        port = other.getsockname()[1]
        with pytest.raises(ReceiverError, match="another program has that address") as caught:
            opened([LineSpec(1, LOOPBACK, port, name="310 I A")], PacketList())
    assert caught.value.errno == errno.EADDRINUSE
    assert str(caught.value).startswith(f"line 310 I A (127.0.0.1:{port}): ")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (LineSpec(1, "239.77.0.1", 14310, "nowhere0"), "there is no interface nowhere0"),
        (LineSpec(1, "239.77.0.1", 14310, "203.0.113.7"), "has the address 203.0.113.7"),
        (LineSpec(1, "203.0.113.7", 14310), "this host has no such address"),
    ],
)
def test_line_is_not_of_this_host(spec, sentence):
    with pytest.raises(ReceiverError, match=sentence) as caught:
        opened([spec], PacketList())
    assert caught.value.errno == errno.ENODEV
    assert any(sentence in warning for warning in host_warnings([spec], SMALL))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"port": 0}, "port: 0"),
        ({"port": 65536}, "port: 65536"),
        ({"line": -1}, "line: -1"),
        ({"address": "224.0.31"}, "address: '224.0.31'"),
        ({"address": "0.0.0.0"}, "address: 0.0.0.0 would hear every group"),
        ({"sources": ("host",)}, "sources: 'host'"),
        ({"sources": tuple(f"10.0.0.{n}" for n in range(17))}, "sources: 17 of them, at most 16"),
    ],
)
def test_line_is_nonsense(fields, reason):
    with pytest.raises(ValueError, match=reason):
        LineSpec(**({"line": 1, "address": "224.0.31.1", "port": 14310} | fields))


@pytest.mark.parametrize(
    ("specs", "options", "reason"),
    [
        ([], {}, "lines: 0 of them"),
        (
            [LineSpec(1, LOOPBACK, 20001), LineSpec(1, LOOPBACK, 20002)],
            {},
            "number 1 is there twice",
        ),
        ([LineSpec(1, LOOPBACK, 20001), LineSpec(2, LOOPBACK, 20001)], {}, "is there twice"),
        ([LineSpec(n, LOOPBACK, 20001 + n) for n in range(513)], {}, "lines: 513 of them"),
        (
            [LineSpec(1, LOOPBACK, 20001)],
            {"mode": "fast"},
            "mode: 'fast' is none of blocking, busy",
        ),
        ([LineSpec(1, LOOPBACK, 20001)], {"receive_buffer_bytes": 0}, "receive_buffer_bytes"),
        ([LineSpec(1, LOOPBACK, 20001)], {"busy_poll_us": -1}, "busy_poll_us"),
    ],
)
def test_receiver_is_asked_for_nonsense(specs, options, reason):
    with pytest.raises(ValueError, match=reason):
        Receiver(specs, PacketList(), **options)


def test_limits_of_both_languages_agree():
    assert (LINES, SOURCES) == (MAX_LINES, MAX_SOURCES)
    core = ReceiverCore(PacketList(), 0, SMALL, False, 0)
    for n in range(LINES):
        core.add(n, 0xEF000001, 1000, [1] * SOURCES)
    with pytest.raises(ValueError, match="more than 512 lines"):
        core.add(LINES, 0xEF000001, 1000, [])
    with pytest.raises(IndexError):
        core.is_open(LINES)


def test_one_line_that_fails_leaves_nothing_open():
    one, two = free_ports(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, two))
        with pytest.raises(ReceiverError):
            opened([LineSpec(1, LOOPBACK, one), LineSpec(2, LOOPBACK, two)], PacketList())
    with opened([LineSpec(1, LOOPBACK, one)], PacketList()):
        pass


def test_settings_of_the_host_are_explained(tmp_path):
    assert kernel_warnings(64 << 20, tmp_path) == [], "nothing is said where nothing can be read"
    for name, text in (
        ("net/core/netdev_max_backlog", "1000"),
        ("net/core/rmem_max", "212992"),
        ("net/ipv4/udp_mem", "1000\t2000\t3000"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/lo/rp_filter", "1"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    backlog, memory = kernel_warnings(64 << 20, tmp_path)
    assert "sysctl -w net.core.netdev_max_backlog=10000" in backlog
    assert "sysctl -w net.ipv4.udp_mem='16384 24576 32768'" in memory
    assert "sysctl -w net.ipv4.conf.lo.rp_filter=2" in (filter_warning("lo", tmp_path) or "")
    (tmp_path / "net/ipv4/conf/all/rp_filter").write_text("2\n")
    assert filter_warning("lo", tmp_path) is None, "the greater of the two counts"
    told = host_warnings([LineSpec(1, LOOPBACK, 20001)], 64 << 20, tmp_path)
    assert any("sysctl -w net.core.rmem_max=67108864" in sentence for sentence in told)
    assert buffer_warning(4096, 4096) is None


def test_an_interface_of_two_lines_is_complained_about_once(tmp_path, monkeypatch):
    setting = tmp_path / "net/ipv4/conf/ens5/rp_filter"
    setting.parent.mkdir(parents=True)
    setting.write_text("1\n")
    monkeypatch.setattr(host, "interface_named", lambda name: host.Interface(name, 7, ready=False))
    specs = [LineSpec(1, "239.7.7.1", 20001, "ens5"), LineSpec(2, "239.7.7.2", 20002, "ens5")]
    down, strict = host_warnings(specs, SMALL, tmp_path)
    assert "ip link set dev ens5 up" in down
    assert "sysctl -w net.ipv4.conf.ens5.rp_filter=2" in strict


def test_line_that_cannot_be_opened_again_is_tried_until_it_can(sender, tools, monkeypatch):
    """Its interface was made anew, and is gone again before its group is joined."""
    (port,) = free_ports(1)
    sink = PacketList()
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
    monkeypatch.setattr(receiver_module, "WATCH_NS", 0)
    nowhere = max(index for index, _ in socket.if_nameindex()) + 1000
    with opened([LineSpec(1, "239.7.7.1", port, "lo")], sink) as receiver:
        with monkeypatch.context() as patch:
            patch.setattr(host, "interface_named", lambda name: host.Interface(name, nowhere, True))
            for _ in range(3):
                receiver.run(1_000_000)
            assert sum("tried again" in warning for warning in receiver.warnings) == 1
        receiver.run(1_000_000)
        sender.sendto(b"again", ("239.7.7.1", port))
        assert [packet.payload for packet in tools.pump(receiver, sink, 1)] == [b"again"]


WITHOUT_RIGHTS = """
import sys
from mdfeedd.feeds._packet import PacketList
from mdfeedd.feeds.multicast import LineSpec, Receiver, ReceiverError
mode, port = sys.argv[1], int(sys.argv[2])
try:
    with Receiver([LineSpec(1, "127.0.0.1", port)], PacketList(), mode=mode,
                  receive_buffer_bytes=1 << 30, busy_poll_us=1000) as receiver:
        print(*receiver.warnings, sep="\\n")
except ReceiverError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("mode", "sentences"),
    [
        (
            "blocking",
            ["sysctl -w net.core.rmem_max=1073741824 (or give CAP_NET_ADMIN)", "CAP_NET_ADMIN"],
        ),
        ("packet_ring", ["mode packet_ring needs CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW"]),
    ],
)
def test_rights_are_missing(mode, sentences):
    command = [sys.executable, "-c", WITHOUT_RIGHTS, mode, str(free_ports(1)[0])]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("run as root, and no setpriv to give the rights up")
        command = ["setpriv", "--bounding-set=-net_raw,-net_admin", *command]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert ran.returncode == 0, ran.stderr
    for sentence in sentences:
        assert sentence in ran.stdout, ran.stdout
