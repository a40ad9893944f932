"""Connecting: every address gets a chance, nobody waits for one that is mute."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time

import pytest

from mdfeedd.feeds.databento.session import connect as module
from mdfeedd.feeds.databento.session.connect import CONNECT_S, connect, is_better_fixed
from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd

BUFFER = 1 << 20


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def mute():
    """An address that answers no SYN: its queue is full."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(made.getsockname())
        yield made.getsockname()


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as made:
        return made.getsockname()[1]


def named(monkeypatch, *addresses):
    """A name with these addresses; the name service is the one thing that is not real here."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: found)


def test_connected_and_receiving_with_a_deadline(listener):
    with connect("127.0.0.1", listener.getsockname()[1], BUFFER) as sock:
        peer, _ = listener.accept()
        with peer:
            began_s = time.monotonic()
            with pytest.raises(BlockingIOError):
                sock.recv(10)
            assert time.monotonic() - began_s >= 0.9 * module.RECEIVE_TIMEOUT_S
            peer.sendall(b"x")
            assert sock.recv(10) == b"x"
            sock.sendall(b"y" * 100_000)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 65_536


@pytest.mark.parametrize(
    ("wanted", "most", "grown", "fixed"),
    [
        (
            8 << 20,
            212_992,
            6 << 20,
            False,
        ),  # as most hosts are: asked for, it would stay at 416 KiB
        (8 << 20, 4 << 20, 6 << 20, True),
        (8 << 20, 4 << 20, 32 << 20, False),
        (1 << 20, 4 << 20, 32 << 20, True),
        (8 << 20, 0, 0, True),  # nobody knows
    ],
)
def test_size_that_the_kernel_would_cut_is_not_asked_for(wanted, most, grown, fixed):
    assert is_better_fixed(wanted, most, grown) is fixed


def test_receive_buffer_where_little_is_granted(listener, monkeypatch, tmp_path):
    """With the right to any size it is as wanted; without it the kernel's own is left, which grows."""
    for name, value in (
        ("core/rmem_max", "212992\n"),
        ("ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(value)
    monkeypatch.setattr(module, "_SETTINGS", tmp_path)
    with socket.socket() as plain:
        own = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    with connect("127.0.0.1", listener.getsockname()[1], 32 << 20) as sock:
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert size == 64 << 20 if has_net_admin() else own <= size < 32 << 20


def has_net_admin():
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)
        except PermissionError:
            return False
    return True


def test_nobody_listens():
    port = unused_port()
    with pytest.raises(SessionEnd) as caught:
        connect("127.0.0.1", port, BUFFER)
    assert caught.value.ending is Ending.UNREACHABLE
    assert (
        str(caught.value)
        == f"127.0.0.1 port {port} cannot be reached (127.0.0.1: Connection refused)"
    )


@pytest.mark.parametrize("host", ["x" * 64 + ".invalid", "a..invalid", "300.1.1.1.invalid."])
def test_name_without_address(host):
    with pytest.raises(SessionEnd, match="has no address: ") as caught:
        connect(host, 13_000, BUFFER)
    assert caught.value.ending is Ending.UNREACHABLE


def test_second_address_is_tried(listener, monkeypatch):
    port = listener.getsockname()[1]
    named(monkeypatch, ("127.0.0.1", unused_port()), ("127.0.0.1", port))
    with connect("gateway", 1, BUFFER) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


def test_all_addresses_are_told(monkeypatch):
    named(monkeypatch, ("127.0.0.1", unused_port()), ("127.0.0.2", unused_port()))
    with pytest.raises(SessionEnd, match=r"\(127.0.0.1: Connection refused, 127.0.0.2: Connection"):
        connect("gateway", 1, BUFFER)


def test_mute_address_leaves_time_for_the_next(listener, mute, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 1.0)
    named(monkeypatch, mute, listener.getsockname())
    with connect("gateway", 1, BUFFER) as sock:
        assert sock.getpeername() == listener.getsockname()


def test_mute_address_is_given_up(mute, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.3)
    with pytest.raises(SessionEnd, match=f"cannot be reached .*{os.strerror(errno.ETIMEDOUT)}"):
        connect(*mute, BUFFER)


def stopped_by(asked):
    """A `go_on` that says no at its so manieth question."""
    left = iter(range(asked))
    return lambda: next(left, None) is not None


def test_stop_does_not_wait_for_a_mute_address(mute):
    with pytest.raises(SessionEnd, match="stopped while connecting") as caught:
        connect(*mute, BUFFER, stopped_by(4))
    assert caught.value.ending is Ending.PLANNED


def test_stop_does_not_wait_for_the_name_service(monkeypatch):
    free = threading.Event()
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: free.wait(60) and [])
    began_s = time.monotonic()
    try:
        with pytest.raises(SessionEnd, match="stopped while connecting"):
            connect("gateway", 1, BUFFER, stopped_by(3))
        assert time.monotonic() - began_s < CONNECT_S
    finally:
        free.set()


def test_name_service_is_given_up(monkeypatch):
    free = threading.Event()
    monkeypatch.setattr(module, "CONNECT_S", 0.3)
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: free.wait(60) and [])
    try:
        with pytest.raises(SessionEnd, match="gateway has no address: no answer in") as caught:
            connect("gateway", 1, BUFFER)
        assert caught.value.ending is Ending.UNREACHABLE
    finally:
        free.set()


def test_failures_leave_no_descriptor_open(mute, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    port = unused_port()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(SessionEnd):
            connect("127.0.0.1", port, BUFFER)
        with pytest.raises(SessionEnd):
            connect(*mute, BUFFER)
        with pytest.raises(SessionEnd):
            connect(*mute, BUFFER, stopped_by(2))
    assert len(os.listdir("/proc/self/fd")) == before
