"""The pump's waiting: how long it asks for bytes, and when it sleeps."""

from __future__ import annotations

import errno
import resource
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, Symbology
from mdfeedd.feeds.databento.session import _pump
from mdfeedd.ring import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND_NS = 1_000_000_000
TIMEOUT_US = 20_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", 0, TIMEOUT_US))
        yield ours, theirs


@pytest.fixture
def writer(shm_dir: str) -> Iterator[Writer]:
    with Writer("t", 256, directory=shm_dir) as made:
        yield made


def pump_of(writer: Writer, spin_ns: int) -> _pump.Pump:
    return _pump.Pump(DbnDecoder(Symbology(writer.instruments)), writer, spin_ns=spin_ns)


def sleeps_of(pump: _pump.Pump, fd: int, max_ns: int) -> int:
    """How often it gave the processor away until its time was over."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    assert pump.run(fd, max_ns) == _pump.TIME_OVER
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before


@pytest.mark.parametrize("spin_ns", [0, SECOND_NS])
def test_it_does_not_spin_before_anything_came(pair, writer, spin_ns):
    assert sleeps_of(pump_of(writer, spin_ns), pair[0].fileno(), SECOND_NS) > 0


@pytest.mark.parametrize(("spin_ns", "sleeps"), [(0, True), (1, True), (SECOND_NS, False)])
def test_it_spins_after_bytes_and_no_longer_than_it_may(pair, writer, spin_ns, sleeps):
    ours, theirs = pair
    pump = pump_of(writer, spin_ns)
    theirs.sendall(b"D")  # the begin of metadata
    assert (sleeps_of(pump, ours.fileno(), SECOND_NS // 20) > 0) == sleeps
    assert pump.received_bytes == 1


@pytest.mark.parametrize("spin_ns", [0, 10 * SECOND_NS])
def test_bytes_and_the_end_that_come_later_are_seen(pair, writer, spin_ns):
    ours, theirs = pair
    pump = pump_of(writer, spin_ns)
    theirs.sendall(b"D")

    def later() -> None:
        time.sleep(TIMEOUT_US * 1e-6 / 4)
        theirs.sendall(b"BN")
        theirs.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=later)
    sender.start()
    why = _pump.TIME_OVER
    while why == _pump.TIME_OVER:
        why = pump.run(ours.fileno(), SECOND_NS)
    sender.join()
    assert why == _pump.ENDED
    assert pump.received_bytes == 3


@pytest.mark.parametrize("spin_ns", [0, 10 * SECOND_NS])
def test_a_reset_has_its_error(writer, spin_ns):
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours:
        pump = pump_of(writer, spin_ns)
        theirs.sendall(b"D")
        assert pump.run(ours.fileno(), 1) == _pump.TIME_OVER
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        theirs.close()
        assert pump.run(ours.fileno(), SECOND_NS) == _pump.FAILED
        assert pump.error == errno.ECONNRESET


def test_another_clock_tells_when_bytes_came(pair, writer):
    ours, theirs = pair
    decoder = DbnDecoder(Symbology(writer.instruments))
    pump = _pump.Pump(decoder, writer, clock=lambda: (77, 1_790_000_000_000_000_000))
    theirs.sendall(b"D")
    assert pump.run(ours.fileno(), 1) == _pump.TIME_OVER
    assert pump.last_byte_ns == 77
