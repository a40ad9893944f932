"""Frames and capture files built byte by byte, by code that shares nothing with the reader."""

from __future__ import annotations

import itertools
import socket
import struct
from typing import Any

import pytest

T0 = 1_478_961_025_968_272_358
GROUP, PORT = "224.0.31.64", 14340
SOURCE, SOURCE_PORT = "205.209.212.71", 15340


def udp(
    payload: bytes, port: int = PORT, source_port: int = SOURCE_PORT, length: int | None = None
):
    return struct.pack(">HHHH", source_port, port, length or 8 + len(payload), 0) + payload


def ip4(
    body: bytes, group: str = GROUP, source: str = SOURCE, protocol: int = 17, options: bytes = b"",
    ident: int = 7, place: int = 0, total: int | None = None,
) -> bytes:  # fmt: skip
    header = 20 + len(options)
    total = header + len(body) if total is None else total
    start = struct.pack(">BBHHHBBH", 0x40 | header // 4, 0, total, ident, place, 64, protocol, 0)
    return start + socket.inet_aton(source) + socket.inet_aton(group) + options + body


def ip6(body: bytes, next_header: int = 17, extensions: bytes = b"") -> bytes:
    length = len(extensions) + len(body)
    return (
        struct.pack(">IHBB", 6 << 28, length, next_header, 64)
        + bytes(range(32))
        + extensions
        + body
    )


def fragments(body: bytes, cut_at: list[int], ident: int = 9, **rest: Any) -> list[bytes]:
    bounds = [0, *cut_at, len(body)]
    assert all(at % 8 == 0 for at in cut_at)
    return [
        ip4(body[a:b], ident=ident, place=a // 8 | (0x2000 if b < len(body) else 0), **rest)
        for a, b in itertools.pairwise(bounds)
    ]


def ethernet(body: bytes, ethertype: int = 0x0800, tags: bytes = b"", tail: bytes = b"") -> bytes:
    return b"\x01\x00\x5e\x00\x1f\x40" + b"\x00\x1c\x73\x09\x28\x9f" + tags + struct.pack(
        ">H", ethertype
    ) + body + tail  # fmt: skip


def frame(payload: bytes = b"payload", **rest: Any) -> bytes:
    port = rest.pop("port", PORT)
    return ethernet(ip4(udp(payload, port), **rest))


class Pcap:
    def __init__(self, order: str = "<", link: int = 1, ns: bool = False, version: int = 2) -> None:
        self.order, self.ns = order, ns
        magic = 0xA1B23C4D if ns else 0xA1B2C3D4
        self.data = struct.pack(order + "IHHiIII", magic, version, 4, 0, 0, 65535, link)

    def add(self, packet: bytes, ts_ns: int = T0, length: int | None = None) -> Pcap:
        sec, frac = divmod(ts_ns, 10**9)
        self.data += struct.pack(
            self.order + "IIII", sec, frac if self.ns else frac // 1000, len(packet), length or len(packet)
        ) + packet  # fmt: skip
        return self


class Pcapng:
    def __init__(self, order: str = "<") -> None:
        self.data = b""
        self.section(order)

    def section(self, order: str = "<") -> Pcapng:
        self.order = order
        return self.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))

    def block(self, kind: int, body: bytes, length: int | None = None) -> Pcapng:
        body += bytes(-len(body) % 4)
        size = struct.pack(self.order + "I", 12 + len(body) if length is None else length)
        self.data += struct.pack(self.order + "I", kind) + size + body + size
        return self

    def option(self, code: int, value: bytes) -> bytes:
        return struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) % 4)

    def interface(
        self, link: int = 1, resolution: int | None = None, offset_s: int | None = None, snap: int = 0,
        more: bytes = b"",
    ) -> Pcapng:  # fmt: skip
        options = self.option(2, b"eth0") + more
        if resolution is not None:
            options += self.option(9, bytes([resolution]))
        if offset_s is not None:
            options += self.option(14, struct.pack(self.order + "q", offset_s))
        return self.block(
            1, struct.pack(self.order + "HHI", link, 0, snap) + options + self.option(0, b"")
        )

    def enhanced(
        self, packet: bytes, units: int = T0 // 1000, interface: int = 0, length: int | None = None,
        options: bytes = b"", captured: int | None = None,
    ) -> Pcapng:  # fmt: skip
        head = struct.pack(
            self.order + "IIIII", interface, units >> 32, units & 0xFFFFFFFF,
            len(packet) if captured is None else captured, length or len(packet),
        )  # fmt: skip
        return self.block(6, head + packet + bytes(-len(packet) % 4) + options)

    def simple(self, packet: bytes, length: int | None = None) -> Pcapng:
        return self.block(3, struct.pack(self.order + "I", length or len(packet)) + packet)

    def obsolete(self, packet: bytes, units: int = T0 // 1000, interface: int = 0) -> Pcapng:
        head = struct.pack(
            self.order + "HHIIII", interface, 0xFFFF, units >> 32, units & 0xFFFFFFFF, len(packet), len(packet)
        )  # fmt: skip
        return self.block(2, head + packet)


class Build:
    """What the tests build with."""

    T0, GROUP, PORT, SOURCE, SOURCE_PORT = T0, GROUP, PORT, SOURCE, SOURCE_PORT
    udp, ip4, ip6 = staticmethod(udp), staticmethod(ip4), staticmethod(ip6)
    fragments, ethernet, frame = (
        staticmethod(fragments),
        staticmethod(ethernet),
        staticmethod(frame),
    )
    Pcap, Pcapng = Pcap, Pcapng


@pytest.fixture(scope="session")
def build() -> type[Build]:
    return Build


@pytest.fixture
def read(tmp_path):
    """Packets and counts of a capture given as bytes; the counts that are not zero."""
    from mdfeedd.feeds.capture import CaptureReader

    def packets_of(data: bytes, name: str = "x.pcap"):
        path = tmp_path / name
        path.write_bytes(data)
        with CaptureReader(str(path)) as reader:
            packets = list(reader.packets())
            return packets, {k: n for k, n in reader.counts.items() if n}

    return packets_of
