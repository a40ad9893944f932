"""The C reader and writer under AddressSanitizer and UndefinedBehaviorSanitizer, on mutated files of every kind."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def fuzzer(sanitized):
    return sanitized(Path(__file__).with_name("fuzz_capture.c"), "ring", "feeds", "feeds/capture")


def frames(build, link):
    """All that the reader can take apart, with destinations that are listed among them."""
    rng = random.Random(link)
    out = []
    for i in range(60):
        port, group = 14310 + i % 9, f"224.0.31.{i % 9}"
        datagram = build.udp(rng.randbytes(rng.randint(0, 300)), port)
        options = bytes(rng.choice([0, 0, 4, 40]))
        packets = [build.ip4(datagram, group, options=options)]
        if i % 5 == 0:
            datagram = build.udp(rng.randbytes(500), port)
            packets = build.fragments(datagram, [96, 256], ident=i, group=group)
            rng.shuffle(packets)
        if i % 7 == 0:
            packets = [build.ip6(datagram, 0, b"\x11\x00" + bytes(6))]
        for packet in packets:
            kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
            tags = rng.choice([b"", b"\x81\x00\x00\x05", b"\x88\xa8\x00\x01\x81\x00\x00\x02"])
            labels = b""
            if i % 11 == 0:
                kind, labels = 0x8847, b"\x00\x01\x00\x40\x00\x02\x01\x40"
            proto = kind.to_bytes(2, "big")
            out.append(
                {
                    1: build.ethernet(labels + packet, kind, tags, bytes(rng.choice([0, 4]))),
                    0: b"\x02\x00\x00\x00" + packet,
                    101: packet,
                    113: bytes(14) + tags + proto + labels + packet,
                    276: proto + bytes(18) + labels + packet,
                }[link]
            )
    return out


@pytest.fixture
def capture(request, build):
    order, kind, link = request.param
    packets = frames(build, link)
    times = [build.T0 + i * 137_000 + (10**11 if i > 50 else 0) for i in range(len(packets))]
    if kind == "pcap":
        file = build.Pcap(order, link=link, ns=order == ">")
        for packet, ts in zip(packets, times, strict=True):
            file.add(packet, ts, length=len(packet) + ts % 2)
        return file.data
    file = build.Pcapng(order).interface(link, resolution=9).interface(link, 0x80 | 30, offset_s=5)
    for i, (packet, ts) in enumerate(zip(packets, times, strict=True)):
        add = (file.enhanced, file.obsolete, file.enhanced, file.enhanced)[i % 4]
        add(packet, ts if i % 3 else (ts - 5 * 10**9 << 30) // 10**9, interface=0 if i % 3 else 1)
        if i % 20 == 10:
            file.simple(packet).block(0x0BAD, bytes(30))
        if i % 40 == 30:
            file.section(order).interface(link, resolution=9).interface(link, 0x80 | 30, offset_s=5)
    return file.data


CASES = [(o, k, n) for o in "<>" for k, n in (("pcap", 1), ("pcapng", 1), ("pcapng", 113))]
CASES += [("<", "pcap", 101), ("<", "pcap", 0), ("<", "pcap", 276)]


@pytest.mark.parametrize("capture", CASES, indirect=True)
def test_mutated_files(fuzzer, capture, record_property):
    arguments = [str(SEED), str(SECONDS / len(CASES))]
    done = subprocess.run([fuzzer, *arguments], input=capture, capture_output=True, check=False)
    assert done.returncode == 0, f"seed {SEED}: {done.stderr.decode()[-3000:]}"
    assert int(done.stdout) >= 200
    record_property("inputs", int(done.stdout))


def test_mutated_real_captures(fuzzer, testdata):
    paths = sorted((testdata / "cme/captures").rglob("*.pcap"))
    for path in paths:
        data = path.read_bytes()[: 1 << 16]
        done = subprocess.run(
            [fuzzer, str(SEED), str(SECONDS / 30)], input=data, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{path} seed {SEED}: {done.stderr.decode()[-3000:]}"


def test_what_was_found_once(fuzzer, replay_regressions):
    replay_regressions(fuzzer, "pcap")
