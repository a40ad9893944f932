"""Clients that say nothing, little, too much or read nothing: the next one is answered all the same."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import time

import pytest

from mdfeedd.daemon.http_message import MAX_HEAD_BYTES, Response
from mdfeedd.daemon.http_server import MAX_CONNECTIONS, HttpServer

DEADLINE_S = 60.0
BODY = b"x" * (8 << 20)


def answer(request):
    if request.path == "/raise":
        raise RuntimeError("what was asked about is broken")
    return Response(BODY if request.path == "/large" else request.path.encode())


@pytest.fixture
def serve():
    """An `HttpServer` with these times; closed at the end."""
    with contextlib.ExitStack() as stack:

        def start(**times):
            return stack.enter_context(
                contextlib.closing(HttpServer("127.0.0.1", 0, answer, **times))
            )

        yield start


def connect(server, stack):
    return stack.enter_context(
        socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)
    )


def get(server, path="/a", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()


def ended(connection):
    """Read to the end, however the other side ends it."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            got += part
    return got


def until(condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_answers(serve):
    server = serve()
    response, body = get(server, "/a?b")
    assert (response.status, body) == (200, b"/a")
    response, body = get(server, "/a", "HEAD")
    assert (response.status, response.getheader("Content-Length"), body) == (200, "2", b"")
    assert get(server, "/large")[1] == BODY
    until(lambda: server.connections == 0)


def test_traversal_asks_for_a_path_as_it_stands(serve):
    for path in ("/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd"):
        assert get(serve(), path)[1] == path.encode()


def test_what_is_asked_about_is_broken(serve, caplog):
    server = serve()
    response, body = get(server, "/raise")
    assert (response.status, body) == (500, b"the log says why\n")
    assert "could not be answered" in caplog.text
    assert get(server)[0].status == 200


def test_silent_clients_more_than_there_is_room_for(serve):
    server = serve(head_s=DEADLINE_S)
    with contextlib.ExitStack() as stack:
        silent = [connect(server, stack) for _ in range(MAX_CONNECTIONS + 20)]
        until(lambda: server.connections == MAX_CONNECTIONS)
        assert get(server)[0].status == 200
        assert ended(silent[0]) == b""  # the oldest made room


def test_client_that_sends_a_byte_at_a_time_is_cut_off(serve):
    """Slowloris: each byte in time, the whole never."""
    server = serve(head_s=0.5)
    with contextlib.ExitStack() as stack:
        slow = connect(server, stack)
        with contextlib.suppress(ConnectionError):
            for _ in range(int(DEADLINE_S / 0.05)):
                slow.sendall(b"X")
                time.sleep(0.05)
        until(lambda: server.connections == 0)
        assert ended(slow) == b""


def test_client_that_reads_nothing_is_cut_off(serve):
    server = serve(answer_s=0.5)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(DEADLINE_S)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        until(lambda: server.connections == 1)
        assert get(server)[0].status == 200
        until(lambda: server.connections == 0)
        assert len(ended(deaf)) < len(BODY)


def test_head_without_end_is_refused(serve):
    with contextlib.ExitStack() as stack:
        endless = connect(serve(), stack)
        endless.sendall(b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD_BYTES)
        assert ended(endless).startswith(b"HTTP/1.1 431 ")


def test_second_request_of_a_connection_is_not_read(serve):
    with contextlib.ExitStack() as stack:
        greedy = connect(serve(), stack)
        greedy.sendall(b"GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
        assert ended(greedy).count(b"HTTP/1.1 ") <= 1


def test_closed_server_lets_go_of_its_port():
    server = HttpServer("127.0.0.1", 0, answer)
    with contextlib.ExitStack() as stack:
        silent = connect(server, stack)
        until(lambda: server.connections == 1)
        server.close()
        assert ended(silent) == b""
    again = HttpServer("127.0.0.1", server.port, answer)
    assert get(again)[0].status == 200
    again.close()


def test_mutated_bytes_on_the_wire(serve):
    """An answer or an end, of 300 connections; then the next is answered as ever."""
    server = serve(head_s=0.2)
    sound = b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for seed in range(300):
            rng, data = random.Random(seed), bytearray(sound)
            for _ in range(rng.randrange(5)):
                at = rng.randrange(len(data))
                data[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
            with contextlib.suppress(ConnectionError):
                connect(server, stack).sendall(bytes(data))
    assert get(server)[0].status == 200
    until(lambda: server.connections == 0)
