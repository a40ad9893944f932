"""The publisher over real UDP on the loopback interface, and the config.xml that describes its lines."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import threading
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mdfeedd.sim.cme import Feed
from mdfeedd.sim.cme.child import VenueProcess
from mdfeedd.sim.cme.lines import Line, config_xml, multicast_lines, unicast_lines
from mdfeedd.sim.cme.publisher import Publisher, PublisherError, PublisherOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 20.0


class Receivers:
    """Eight sockets on consecutive ports, and all that came."""

    def __init__(self) -> None:
        for first in range(21_000 + os.getpid() % 4_000, 32_000, 16):
            self.sockets: list[socket.socket] = []
            try:
                for port in range(first, first + 8):
                    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    self.sockets.append(receiver)
                    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
                    receiver.bind(("127.0.0.1", port))
                    receiver.setblocking(False)
            except OSError:
                self.close()
                continue
            self.first_port = first
            break
        self.seqs: dict[tuple[Feed, int], list[int]] = {
            (feed, side): [] for feed in Feed for side in (0, 1)
        }

    def drain(self) -> int:
        count = 0
        for at, receiver in enumerate(self.sockets):
            while True:
                try:
                    payload = receiver.recv(65_536)
                except BlockingIOError:
                    break
                count += 1
                self.seqs[Feed(at // 2), at % 2].append(struct.unpack_from("<I", payload)[0])
        return count

    def close(self) -> None:
        for receiver in self.sockets:
            receiver.close()


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    made = Receivers()
    yield made
    made.close()


@contextmanager
def playing(publisher: Publisher) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        publisher.close()


def wait_for(receivers: Receivers, enough: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while min(len(seqs) for seqs in receivers.seqs.values()) < enough:
        receivers.drain()
        assert time.monotonic() < deadline, {k: len(v) for k, v in receivers.seqs.items()}
        time.sleep(0.001)


def test_eight_lines_carry_the_same_numbers_on_both_sides(receivers: Receivers) -> None:
    publisher = Publisher(PublisherOptions(port=receivers.first_port, rate=2_000, instruments=3))
    with playing(publisher):
        wait_for(receivers, 20)
    receivers.drain()
    assert not publisher.counts.refused
    for feed in Feed:
        a, b = receivers.seqs[feed, 0], receivers.seqs[feed, 1]
        shorter = min(len(a), len(b))
        assert a[:shorter] == b[:shorter]
        if feed == Feed.INCREMENTAL:
            assert a == list(range(1, len(a) + 1))
        else:
            assert all(now in (before + 1, 1) for before, now in itertools.pairwise(a))


def test_loss_and_cut_of_one_side_leave_the_other_whole(receivers: Receivers) -> None:
    options = PublisherOptions(
        port=receivers.first_port,
        rate=2_000,
        instruments=3,
        loss=((0, 1, 0.2),),
        cuts=((1, 0.0, 0.05),),
    )
    publisher = Publisher(options)
    with playing(publisher):
        wait_for(receivers, 100)
    receivers.drain()
    a, b = receivers.seqs[Feed.INCREMENTAL, 0], receivers.seqs[Feed.INCREMENTAL, 1]
    assert a == list(range(1, len(a) + 1))
    assert b == sorted(b)
    assert len(set(range(b[0], b[-1])) - set(b)) > 10
    assert publisher.network.lost_packets[0, 1] > 10
    assert not publisher.network.lost_packets[0, 0]


def test_run_ends_after_its_seconds(receivers: Receivers) -> None:
    publisher = Publisher(PublisherOptions(port=receivers.first_port))
    publisher.run(threading.Event(), 0.05)
    publisher.close()
    receivers.drain()
    assert receivers.seqs[Feed.INCREMENTAL, 0]


def test_channel_resets_come_at_intervals(receivers: Receivers) -> None:
    options = PublisherOptions(port=receivers.first_port, reset_every_s=0.02, orders=False)
    publisher = Publisher(options)
    publisher.run(threading.Event(), 0.2)
    publisher.close()
    assert len(publisher.venue.truth.resets) >= 2
    receivers.drain()
    assert not receivers.seqs[Feed.ORDERS, 0]


def test_stalled_publisher_leaves_time_out_instead_of_catching_up(
    receivers: Receivers, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(PublisherOptions(port=receivers.first_port, rate=2_000))
    publisher.venue.fill_books(2)
    hour_ns = 3_600 * 10**9
    with caplog.at_level("WARNING", logger="mdfeedd.sim.cme"):
        publisher._step(publisher.venue.now_ns + hour_ns)
    publisher.close()
    assert publisher.counts.skipped_ns == hour_ns
    assert publisher.venue.channel.last_seq < 200
    assert "stalled" in caplog.text


def test_process_is_ready_writes_its_lines_and_ends_when_told(
    receivers: Receivers, tmp_path: Path
) -> None:
    config = tmp_path / "config.xml"
    options = PublisherOptions(port=receivers.first_port, config=str(config), loss=((0, 0, 0.1),))
    with VenueProcess(options) as venue:
        assert config.exists()
        assert venue.alive
        wait_for(receivers, 1)
        pid = venue.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not venue.alive
    venue.stop()


def test_process_killed_from_outside_is_not_alive(receivers: Receivers) -> None:
    venue = VenueProcess(PublisherOptions(port=receivers.first_port))
    venue.start()
    assert venue.pid is not None
    os.kill(venue.pid, signal.SIGKILL)
    deadline = time.monotonic() + WAIT_S
    while venue.alive:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    venue.stop()


def test_process_that_cannot_begin_says_why(tmp_path: Path) -> None:
    options = PublisherOptions(config=str(tmp_path / "none" / "config.xml"))
    with pytest.raises(PublisherError, match=r"did not start: .*cannot be written"):
        VenueProcess(options).start()


def test_interface_that_is_none() -> None:
    with pytest.raises(PublisherError, match="nosuch0"):
        Publisher(PublisherOptions(interface="nosuch0"))


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("channel", {"channel": 0}),
        ("instruments", {"instruments": 0}),
        ("rate", {"rate": 0.0}),
        ("loss", {"loss": ((0, 0, 1.5),)}),
        ("skew", {"skew_ns": (5, 4)}),
        ("host", {"host": "224.0.0.5"}),
        ("port", {"port": 65_535}),
        ("group", {"interface": "lo", "group": "10.0.0.1"}),
    ],
)
def test_option_that_makes_no_sense(key: str, options: dict) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        PublisherOptions(**options)


def test_multicast_by_the_loopback_address_reaches_a_member(tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    group = f"239.193.{os.getpid() % 250}.0"
    options = PublisherOptions(interface="127.0.0.1", group=group, config=str(config), rate=2_000)
    try:
        publisher = Publisher(options)
    except PublisherError as error:
        pytest.skip(f"no multicast here: {error}")
    line = publisher.lines[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind((line.address, line.port))
        member = socket.inet_aton(line.address) + socket.inet_aton("127.0.0.1")
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        receiver.settimeout(WAIT_S)
        with playing(publisher):
            payload, (source, _) = receiver.recvfrom(65_536)
    assert struct.unpack_from("<I", payload)[0] >= 1
    assert f"<ip>{line.address}</ip>" in config.read_text()
    assert f"<host-ip>{source}</host-ip>" in config.read_text()


def test_config_xml_has_every_line_with_group_port_source_and_side() -> None:
    lines = multicast_lines(310)
    text = config_xml(310, lines, sources={0: "10.0.0.1", 1: "10.0.1.1"}, products={"A&B": ["G"]})
    channel = ET.fromstring(text).find("channel")
    assert channel is not None
    assert channel.get("id") == "310"
    product = channel.find("products/product")
    assert product is not None
    assert product.get("code") == "A&B"
    read = []
    for connection in channel.iter("connection"):
        kind = connection.find("type")
        assert kind is not None
        names = ("ip", "port", "feed", "host-ip", "protocol")
        read.append((kind.get("feed-type"), *(connection.findtext(name) for name in names)))
    assert read[0] == ("I", "239.192.31.0", "14310", "A", "10.0.0.1", "UDP/IP")
    assert read[1] == ("I", "239.192.31.1", "15310", "B", "10.0.1.1", "UDP/IP")
    assert read[-1] == ("SMBO", "239.192.31.7", "22310", "B", "10.0.1.1", "UDP/IP")
    assert len(read) == 8


def test_unicast_lines_have_a_port_each() -> None:
    lines = unicast_lines("127.0.0.1", 100)
    assert [line.port for line in lines] == list(range(100, 108))
    assert str(Line(Feed.ORDERS, 1, "127.0.0.1", 107)) == "SMBO B 127.0.0.1:107" == str(lines[-1])
