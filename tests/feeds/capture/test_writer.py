"""What is written is read again: by our own reader, and by those of others where they are installed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys

import pytest

from mdfeedd.feeds.capture import CaptureError, CaptureReader, Stop
from mdfeedd.feeds.capture._capture import MAX_PAYLOAD_BYTES
from mdfeedd.feeds.capture.writer import (
    MAX_RECORDED_LINES,
    CaptureWriter,
    RecordedLine,
)

A = RecordedLine("340 incremental A", "224.0.31.64", 14340)
B = RecordedLine("340 incremental B", "224.0.32.64", 15340)
HOST = RecordedLine("unicast", "127.0.0.1", 9999)
T0 = 1_700_000_000_123_456_789


def some_packets(seed=1, n=200):
    rng = random.Random(seed)
    return [
        (
            rng.randrange(3), rng.randbytes(rng.choice([0, 1, 2, 3, 4, 5, 100, 1412, 9000])), T0 + i * 1000,
            rng.choice(["", "205.209.221.71", "10.0.0.1"]), rng.choice([0, 1, 65535]),
        )
        for i in range(n)
    ]  # fmt: skip


def put(writer, packets):
    for line, payload, ts_ns, source, port in packets:
        writer.packet(line, payload, ts_ns, source=source, source_port=port)


def read(*paths):
    with CaptureReader(*map(str, paths)) as reader:
        return list(reader.packets())


def as_read(packets):
    lines = (A, B, HOST)
    return [
        (ts_ns, source, port, lines[line].address, lines[line].port, payload)
        for line, payload, ts_ns, source, port in packets
    ]


@pytest.mark.parametrize("seed", range(5))
def test_written_file_is_read_again(seed, tmp_path):
    packets = some_packets(seed)
    with CaptureWriter(str(tmp_path / "x.pcapng"), (A, B, HOST)) as writer:
        for start in range(0, len(packets), 37):
            put(writer, packets[start : start + 37])
            writer.flush()
    assert read(tmp_path / "x.pcapng") == as_read(packets)
    assert writer.counts["packets"] == len(packets)
    assert writer.written_bytes == (tmp_path / "x.pcapng").stat().st_size


def test_capture_played_into_a_writer_is_the_same_capture(testdata, tmp_path):
    path = testdata / "cme/captures/Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap"
    lines = {(A.address, A.port): 0, (B.address, B.port): 1}
    asked = 0
    with (
        CaptureReader(str(path)) as reader,
        CaptureWriter(str(tmp_path / "x.pcapng"), (A, B), buffer_bytes=200_000) as writer,
    ):
        while (status := reader.run(writer, lines)) is not Stop.ENDED:
            if status is Stop.ASKED:
                asked += 1
                writer.flush()
    assert asked > 50, "the burst's end asks for Python once a second of the capture"
    assert writer.counts["dropped"] == 0
    assert read(tmp_path / "x.pcapng") == read(path)


def test_packets_without_a_stamp_have_time_zero(tmp_path):
    with CaptureWriter(str(tmp_path / "x"), (A,)) as writer:
        writer.packet(0, b"x", -(2**63))
    assert [p.ts_ns for p in read(tmp_path / "x")] == [0]


def test_buffer_that_nobody_empties(tmp_path):
    with CaptureWriter(str(tmp_path / "x"), (A,), buffer_bytes=200_000) as writer:
        assert not writer.due(0)
        for i in range(1000):
            writer.packet(0, bytes(1000), T0 + i)
        assert writer.due(0)
        counts = writer.counts
        assert counts["packets"] + counts["dropped"] == 1000
        assert counts["dropped"] > 700
        writer.flush()
        assert not writer.due(0)
        writer.packet(0, b"again", T0)
        assert not writer.due(10**8)
        assert writer.due(10**9)
    assert len(read(tmp_path / "x")) == counts["packets"] + 1


def test_packets_that_cannot_be_written(tmp_path):
    with CaptureWriter(str(tmp_path / "x"), (A,)) as writer:
        writer.packet(1, b"no such line", T0)
        writer.packet(0, bytes(MAX_PAYLOAD_BYTES + 1), T0)
        writer.packet(0, bytes(MAX_PAYLOAD_BYTES), T0)
        assert writer.counts == {
            "packets": 1, "payload_bytes": MAX_PAYLOAD_BYTES, "dropped": 0, "refused": 2,
        }  # fmt: skip
    assert len(read(tmp_path / "x")) == 1


def test_files_are_begun_anew_when_they_are_large(tmp_path):
    packets = some_packets(n=300)
    with CaptureWriter(str(tmp_path / "x.pcapng"), (A, B, HOST), max_file_bytes=100_000) as writer:
        for packet in packets:
            put(writer, [packet])
            writer.flush()
    assert writer.paths[:2] == [str(tmp_path / "x.pcapng"), str(tmp_path / "x-1.pcapng")]
    assert all(os.path.getsize(path) <= 100_000 for path in writer.paths)
    assert sum(os.path.getsize(path) for path in writer.paths) == writer.written_bytes
    assert read(*writer.paths) == as_read(packets)


def test_file_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "x").write_bytes(b"precious")
    with pytest.raises(CaptureError, match="exists already"):
        CaptureWriter(str(tmp_path / "x"), (A,))
    assert (tmp_path / "x").read_bytes() == b"precious"


def test_folder_that_does_not_exist(tmp_path):
    with pytest.raises(CaptureError, match="cannot be made: No such file"):
        CaptureWriter(str(tmp_path / "none" / "x"), (A,))


@pytest.mark.parametrize(
    ("lines", "bytes_", "sentence"),
    [
        ((), 1 << 20, "lines"),
        ((A,) * (MAX_RECORDED_LINES + 1), 1 << 20, "lines"),
        ((A,), 1000, "two datagrams"),
        ((RecordedLine("x", "::1", 1),), 1 << 20, "not an IPv4 address"),
    ],
)
def test_writer_that_cannot_be(lines, bytes_, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        CaptureWriter(str(tmp_path / "x"), lines, buffer_bytes=bytes_)
    assert not (tmp_path / "x").exists()


def test_disk_that_is_full(tmp_path):
    program = f"""
import atexit, resource, signal
from mdfeedd.feeds.capture.writer import CaptureWriter, RecordedLine
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))
atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, (-1, -1))  # counts of coverage are written at the end
writer = CaptureWriter({str(tmp_path / "x")!r}, [RecordedLine("a", "224.0.31.1", 1)])
for i in range(100):
    writer.packet(0, bytes(1000), i)
try:
    writer.flush()
finally:
    print(writer.unwritten)
    writer.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "x cannot be written: File too large" in done.stderr
    with pytest.raises(CaptureError, match="middle of a record"):
        read(tmp_path / "x")
    whole = []
    with pytest.raises(CaptureError), CaptureReader(str(tmp_path / "x")) as reader:
        whole.extend(reader.packets())
    assert len(whole) + int(done.stdout) == 100


def test_closed_writer(tmp_path):
    writer = CaptureWriter(str(tmp_path / "x"), (A,))
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.flush()


@pytest.fixture
def tshark(tmp_path):
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed")

    def fields(path, *names):
        done = subprocess.run(
            [program, "-r", path, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T",
             "fields", *(x for name in names for x in ("-e", name))],
            capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]

    return fields


def test_wireshark_opens_it_and_finds_nothing_wrong(tshark, tmp_path):
    packets = some_packets(3)
    with CaptureWriter(str(tmp_path / "x.pcapng"), (A, B, HOST)) as writer:
        put(writer, packets)
    seen = tshark(
        str(tmp_path / "x.pcapng"), "frame.time_epoch", "frame.interface_name", "ip.src", "udp.srcport",
        "ip.dst", "udp.dstport", "udp.length", "ip.checksum.status", "udp.checksum.status",
    )  # fmt: skip
    names = {A.address: A.name, B.address: B.name, HOST.address: HOST.name}
    assert seen == [
        (
            f"{ts_ns // 10**9}.{ts_ns % 10**9:09}", names[group], source or "0.0.0.0", str(source_port),
            group, str(port), str(8 + len(payload)), "1", "1",
        )
        for ts_ns, source, source_port, group, port, payload in as_read(packets)
    ]  # fmt: skip


@pytest.mark.parametrize("order", "<>")
def test_wireshark_reads_the_built_files_as_we_do(tshark, build, read_bytes, order):
    files = [
        build.Pcap(order),
        build.Pcap(order, ns=True),
        build.Pcapng(order).interface(resolution=0x80 | 30),
    ]
    for file in files:
        for i in range(20):
            packet = build.frame(bytes(i)) if i % 2 else build.ethernet(
                build.ip4(build.udp(bytes(i)), options=bytes(4)), tags=b"\x81\x00\x00\x05", tail=b"tail"
            )  # fmt: skip
            if isinstance(file, build.Pcap):
                file.add(packet, build.T0 + i)
            else:
                file.enhanced(packet, ((build.T0 + i) << 30) // 10**9)
        path, packets = read_bytes(file.data)
        seen = tshark(path, "frame.time_epoch", "udp.dstport", "udp.length")
        assert len(seen) == 20
        assert [(port, length) for _, port, length in seen] == [
            (str(p.destination_port), str(8 + len(p.payload))) for p in packets
        ]
        theirs = [
            int(t.replace(".", "")) * 10 ** (9 - len(t.partition(".")[2])) for t, _, _ in seen
        ]
        assert theirs == [p.ts_ns for p in packets]


@pytest.fixture
def read_bytes(tmp_path):
    def packets_of(data):
        (tmp_path / "built").write_bytes(data)
        return str(tmp_path / "built"), read(tmp_path / "built")

    return packets_of
