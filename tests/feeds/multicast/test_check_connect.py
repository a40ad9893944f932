"""`mdfeedd check --connect` of a CME feed: which lines bring something, heard on real groups."""

from __future__ import annotations

import threading
import time

import pytest

from mdfeedd.cli import main

G1, G2, G3 = "239.77.1.1", "239.77.1.2", "239.77.1.3"
PORT = 14410
PATIENCE_S = 60.0


@pytest.fixture
def check(tmp_path, shm_dir, capsys):
    """Status and lines of the command, for a feed with these lines."""

    def run(*lines, **options):
        options = {"silence_s": 1, "receive_buffer_bytes": 65536} | options
        given = "".join(f"      {key}: {value}\n" for key, value in options.items())
        rows = "".join(f"        - {{channel: 310, {line}}}\n" for line in lines)
        path = tmp_path / "m.yaml"
        path.write_text(
            f"shm_dir: {shm_dir}\nfeeds:\n  - name: cme\n    vendor: cme\n    options:\n"
            f"{given}      lines:\n{rows}"
        )
        status = main(["check", "-c", str(path), "--connect"])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return status, [text for text in out.out.splitlines() if text.startswith("  feed cme:")]

    return run


class Sender(threading.Thread):
    """Sends to groups until it is told to stop; in the namespace of the thread that made the sockets."""

    def __init__(self, network, groups):
        super().__init__(daemon=True)
        self._network, self._groups, self._stop_it = network, groups, threading.Event()

    def run(self):
        deadline = time.monotonic() + PATIENCE_S
        while not self._stop_it.wait(0.01) and time.monotonic() < deadline:
            for side, group in self._groups:
                self._network.send(side, group, PORT, b"\1\0\0\0" + bytes(8))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stop_it.set()
        self.join()


A = f"feed: incremental, side: A, address: {G1}, port: {PORT}, interface: near_a"
B = f"feed: incremental, side: B, address: {G2}, port: {PORT}, interface: near_b"
S = f"feed: snapshot, side: A, address: {G3}, port: {PORT}, interface: near_a"


def test_lines_that_bring_packets_end_it_at_once(network, check):
    with Sender(network, [("a", G1), ("b", G2), ("a", G3)]):
        began = time.monotonic()
        status, told = check(A, B, S, silence_s=50)
        assert time.monotonic() - began < 50, "it does not wait for more"
    assert status == 0
    assert [text for text in told if "brings" in text] == [
        f"  feed cme: line 310 incremental A {G1}:{PORT} brings packets",
        f"  feed cme: line 310 incremental B {G2}:{PORT} brings packets",
        f"  feed cme: line 310 snapshot A {G3}:{PORT} brings packets",
    ]


def test_one_line_is_silent(network, check):
    with Sender(network, [("a", G1)]):
        status, told = check(A, B)
    assert status == 0, "a start would get past it"
    (silent,) = (text for text in told if "nothing" in text)
    assert silent == (
        f"  feed cme: warning: line 310 incremental B {G2}:{PORT} has brought nothing for 1 s,"
        " and others of its channel have"
    )


def test_a_channel_is_silent(network, check):
    status, told = check(A, B, S)
    assert status == 69
    silent = [text for text in told if "nothing" in text]
    assert [text.split(": ")[1] for text in silent] == ["unavailable", "unavailable", "warning"]
    assert "no heartbeat either: if the venue is open, look at the groups" in silent[0]


def test_interfaces_that_are_not_there_are_all_told(network, check):
    with Sender(network, [("a", G1)]):
        status, told = check(A, B.replace("near_b", "eth7"), S.replace("near_a", "eth8"))
    assert status == 69
    assert "unavailable: line 310 incremental B" in told[0]
    assert told[0].endswith("there is no interface eth7")
    assert told[1].endswith("there is no interface eth8")
    assert told[-1] == f"  feed cme: line 310 incremental A {G1}:{PORT} brings packets"


def test_an_address_of_this_host_is_not_bound(network, check):
    """A feed that runs would get its packets no more."""
    line = f"feed: incremental, side: A, address: 127.0.0.1, port: {PORT}"
    status, told = check(line)
    assert status == 0
    (text,) = told
    assert text.endswith("lo has the address; what comes is not tried")
    other = line.replace("127.0.0.1", "10.9.8.7")
    status, told = check(other)
    assert status == 69
    assert "this host has no such address" in told[0]
