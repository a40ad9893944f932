"""A private network for the tests: two sides in a namespace of its own, and frames built by hand.

`near_a` and `near_b` are where the lines come in; what is written to `far_a` and `far_b` comes in there.
Frames are written raw, so that their source, checksums, fragments and VLAN tags are the test's choice.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.feeds._packet import PacketList
    from mdfeedd.feeds.multicast import Receiver

CLONE_NEWNET = 0x40000000
PATIENCE_S = 20
NEAR = {"a": "10.77.0.1", "b": "10.77.1.1"}
MAC = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"}
SENDER = {"a": "10.77.0.9", "b": "10.77.1.9"}  # routed to the near side, and nobody's own
STRANGER = "10.77.0.66"


def packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def udp(source: str, group: str, port: int, payload: bytes, *, checked: bool = True) -> bytes:
    """A UDP header and its payload; without a checksum if not `checked`."""
    head = struct.pack("!HHHH", 7777, port, 8 + len(payload), 0)
    if not checked:
        return head + payload
    pseudo = packed(source) + packed(group) + struct.pack("!HH", 17, 8 + len(payload))
    return head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF) + payload


def ip(
    source: str,
    group: str,
    body: bytes,
    *,
    protocol: int = 17,
    part: int = 0,
    ident: int = 1,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet; `part` are the flags and the offset of a fragment."""
    words = 5 + len(options) // 4
    start = struct.pack(
        "!BBHHHBB", 0x40 | words, 0, words * 4 + len(body), ident, part, 8, protocol
    )
    rest = packed(source) + packed(group) + options
    return start + struct.pack("!H", checksum(start + b"\0\0" + rest)) + rest + body


def fragments(source: str, group: str, body: bytes, size: int, ident: int) -> list[bytes]:
    """A UDP datagram cut into IP packets of `size` bytes of it, a multiple of 8."""
    cuts = range(0, len(body), size)
    return [
        ip(
            source,
            group,
            body[at : at + size],
            part=at // 8 | (0x2000 if at + size < len(body) else 0),
            ident=ident,
        )
        for at in cuts
    ]


class Network:
    """The namespace in which the test's thread is while it lasts."""

    def __init__(self) -> None:
        self.raw: dict[str, socket.socket] = {}

    def command(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=PATIENCE_S)

    def add_side(self, side: str) -> None:
        near, far = f"near_{side}", f"far_{side}"
        self.command("link", "add", near, "address", MAC[side], "type", "veth", "peer", "name", far)
        for end in ("near", "far"):
            Path(f"/proc/sys/net/ipv6/conf/{end}_{side}/disable_ipv6").write_text("1")
        self.command("addr", "add", f"{NEAR[side]}/24", "dev", f"near_{side}")
        self.command("link", "set", f"near_{side}", "up")
        self.command("link", "set", f"far_{side}", "up")
        self.raw[side] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.raw[side].bind((f"far_{side}", 0))
        self.settle(side)

    def settle(self, side: str) -> None:
        """Wait until the cable carries frames: after "up" the kernel starts it in its own time."""
        probe = bytes.fromhex(MAC[side].replace(":", "")) + b"\x02\0\0\0\0\x09\x88\xb5" + bytes(46)
        give_up = time.monotonic() + PATIENCE_S
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as ear:
            ear.bind((f"near_{side}", 0x88B5))  # an Ethernet type for experiments
            ear.settimeout(0.02)
            while time.monotonic() < give_up:
                with contextlib.suppress(OSError):
                    self.raw[side].send(probe)
                    ear.recv(100)
                    return
        raise TimeoutError(f"nothing comes through from far_{side} to near_{side}")

    def up(self, side: str, end: str) -> None:
        self.command("link", "set", f"{end}_{side}", "up")
        self.settle(side)

    def remove_side(self, side: str) -> None:
        self.raw.pop(side).close()
        self.command("link", "del", f"near_{side}")

    def frame(self, side: str, packet: bytes, *, vlan: int | None = None, pad: int = 46) -> None:
        """Write an IP packet, padded as a network card pads it, to its multicast or the near address."""
        group = packet[16:20]
        link = b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:4]
        if group[0] >> 4 != 0xE:
            link = bytes.fromhex(MAC[side].replace(":", ""))
        tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
        head = link + b"\x02\0\0\0\0\x09" + tag + b"\x08\x00"
        self.raw[side].send(head + packet.ljust(pad, b"\xee"))

    def send(
        self, side: str, group: str, port: int, payload: bytes, source: str | None = None
    ) -> None:
        source = source or SENDER[side]
        self.frame(side, ip(source, group, udp(source, group, port, payload)))

    def close(self) -> None:
        for raw in self.raw.values():
            raw.close()


@pytest.fixture
def network() -> Iterator[Network]:
    """A namespace with the sides a and b, or a skip with the reason."""
    if shutil.which("ip") is None:
        pytest.skip("ip(8) is not installed (package iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET):
            why = os.strerror(ctypes.get_errno())
            pytest.skip(
                f"no network namespace of our own ({why}): run as root, or under unshare -rn"
            )
        made = Network()
        try:
            made.command("link", "set", "lo", "up")
            made.add_side("a")
            made.add_side("b")
            yield made
        finally:
            made.close()
            assert libc.setns(own, CLONE_NEWNET) == 0
    finally:
        os.close(own)


class Tools:
    """What the tests need of this module."""

    udp = staticmethod(udp)
    ip = staticmethod(ip)
    fragments = staticmethod(fragments)
    NEAR = NEAR
    SENDER = SENDER
    STRANGER = STRANGER

    @staticmethod
    def pump(receiver: Receiver, sink: PacketList, packets: int) -> list[Any]:
        """Run until `packets` have come, or fail; then a little longer, for those that must not."""
        give_up = time.monotonic() + PATIENCE_S
        while len(sink.packets) < packets and time.monotonic() < give_up:
            receiver.run(2_000_000)
        receiver.run(2_000_000)
        assert len(sink.packets) == packets, (len(sink.packets), receiver.warnings)
        return sink.packets

    @staticmethod
    def payloads(sink: PacketList, line: int) -> list[bytes]:
        return [p.payload for p in sink.packets if p.line == line]


@pytest.fixture
def tools() -> type[Tools]:
    return Tools
