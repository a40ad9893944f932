"""Real sockets of this machine into a file: all that arrived is in it, with the kernel's stamps."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from mdfeedd.feeds.capture import CaptureError, CaptureReader
from mdfeedd.feeds.capture.recorder import Recorder
from mdfeedd.feeds.multicast import LineSpec, ReceiverError


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def lines():
    return [LineSpec(0, "127.0.0.1", free_port(), name=f"test {side}") for side in "AB"]


def record(recorder, send):
    """Run the recorder beside a sender, until all that was sent has been counted."""
    stop = threading.Event()
    failures = []

    def run():
        try:
            recorder.run(stop, 60)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    sent = send()
    deadline_s = time.monotonic() + 30
    while recorder.taken < sent and time.monotonic() < deadline_s and thread.is_alive():
        time.sleep(0.002)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    return failures


@pytest.mark.parametrize("size", [0, 1, 100, 1412])
def test_what_arrives_is_in_the_file(size, lines, tmp_path):
    path = str(tmp_path / "x.pcapng")
    before_ns = time.time_ns()
    with (
        Recorder(path, lines) as recorder,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.bind(("127.0.0.1", 0))

        def send():
            for i in range(300):
                line = lines[i % 2]
                sender.sendto(
                    i.to_bytes(4, "big")[:size] + bytes(max(0, size - 4)), (line.address, line.port)
                )
            return 300

        assert not record(recorder, send)
        port = sender.getsockname()[1]
    done = recorder.recorded
    assert (done.packets, done.payload_bytes) == (300, 300 * size)
    assert (done.buffer_drops, done.kernel_drops, done.refused) == (0, 0, 0)
    assert [recorder.line_counts(i).packets for i in range(2)] == [150, 150]
    with CaptureReader(path) as reader:
        packets = list(reader.packets())
        assert reader.counts["bad_stamps"] == 0
    assert len(packets) == 300
    assert {(p.source, p.source_port, p.destination) for p in packets} == {
        ("127.0.0.1", port, "127.0.0.1")
    }
    assert all(before_ns <= p.ts_ns <= time.time_ns() for p in packets)
    if size >= 4:
        for k, line in enumerate(lines):
            mine = [p.payload[:4] for p in packets if p.destination_port == line.port]
            assert mine == [i.to_bytes(4, "big") for i in range(k, 300, 2)]


def test_files_are_begun_anew_while_it_records(lines, tmp_path):
    with (
        Recorder(
            str(tmp_path / "x.pcapng"), lines, buffer_bytes=200_000, max_file_bytes=250_000
        ) as recorder,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):

        def send():
            for _ in range(600):
                sender.sendto(bytes(1400), (lines[0].address, lines[0].port))
                if recorder.taken % 50 == 0:
                    time.sleep(0)
            return 600

        record(recorder, send)
    assert len(recorder.paths) > 2
    with CaptureReader(*recorder.paths) as reader:
        assert len(list(reader.packets())) == recorder.recorded.packets
    done = recorder.recorded
    assert done.packets + done.buffer_drops + done.kernel_drops == 600


def test_line_that_cannot_be_opened_leaves_no_file(tmp_path):
    path = tmp_path / "x.pcapng"
    line = LineSpec(0, "192.0.2.1", 5000)  # an address that is nobody's
    with pytest.raises(ReceiverError):
        Recorder(str(path), [line])
    assert not path.exists()


def test_file_that_exists_opens_no_socket(lines, tmp_path):
    (tmp_path / "x").write_bytes(b"precious")
    with pytest.raises(CaptureError, match="exists already"):
        Recorder(str(tmp_path / "x"), lines)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((lines[0].address, lines[0].port))


def test_it_ends_after_the_seconds_it_was_told(lines, tmp_path):
    with Recorder(str(tmp_path / "x"), lines) as recorder:
        recorder.run(threading.Event(), 0.05)
    assert recorder.recorded.packets == 0
    recorder.close()
