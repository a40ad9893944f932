"""Clients that mean harm, or are out of order: refused in a sentence, and the others are served."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time

import pytest

from mdfeedd.consumers.fanout import FanoutConsumer, FanoutOptions
from mdfeedd.ring import Writer
from mdfeedd.sinks import SinkError

websockets = pytest.importorskip("websockets")

from websockets.sync.client import connect  # noqa: E402

from mdfeedd.consumers.fanout import server as fanout_server  # noqa: E402

DEADLINE_S = 60.0
SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3")) / 3
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
AT_ONCE = 20
HANDSHAKE = (
    b"GET /?symbols=ES* HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FRAMES = (
    b"\x81\x80\x00\x00\x00\x00",
    b"\x81\x84\x01\x02\x03\x04{}{}",
    b"\x82\x81\x00\x00\x00\x00x",
    b"\x81\xfe\xff\xff\x00\x00\x00\x00" + b"x" * 100,
    b"\x81\xff" + b"\xff" * 8,
    b"\x89\x80\x00\x00\x00\x00",
    b"\x88\x82\x00\x00\x00\x00\x03\xe8",
    b"\xc1\x80\x00\x00\x00\x00",
    b"\x01\x81\x00\x00\x00\x00x\x00\x81\x00\x00\x00\x00x",
    b"\x81\x03abc",
)


@pytest.fixture
def ring(shm_dir):
    """The ring cme, without a record."""
    with Writer("cme", 256, directory=shm_dir) as writer:
        writer.instruments.add("ESZ6")
        yield writer


def address(consumer):
    return "127.0.0.1", consumer.port


def ask(consumer, request):
    """The whole answer to bytes, of a connection that the other side closes."""
    with socket.create_connection(address(consumer), timeout=DEADLINE_S) as connection:
        connection.sendall(request)
        got = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                got += part
        return got


def is_served(consumer, **options):
    with connect(consumer.url, open_timeout=DEADLINE_S, ping_interval=None, **options) as one:
        return json.loads(one.recv(DEADLINE_S))["type"] == "hello"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET //[ HTTP/1.1\r\n", b"400"),
        (b"GET http://[/ HTTP/1.1\r\n", b"400"),
        (b"GET /?" + b"a=1&" * 100 + b" HTTP/1.1\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nOrigin: http://[\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nOrigin: http://\xff\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n", b"401"),
        (b"GET /?token=%ff%fe HTTP/1.1\r\n", b"401"),
        (b"GET /etc/passwd HTTP/1.1\r\n", b"404"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n", b"404"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200, b"4"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", b"4"),
    ],
)
def test_request_that_is_none_is_answered(ring, fan_out, monkeypatch, line, status):
    monkeypatch.setenv("FANOUT_TOKEN", "sesame")
    consumer = fan_out("cme", token_env="FANOUT_TOKEN")
    answer = ask(consumer, line + HANDSHAKE.partition(b"\r\n")[2])
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert is_served(consumer, additional_headers={"Authorization": "Bearer sesame"})


def test_few_words_that_mean_millions_of_subscriptions(ring, fan_out):
    """Rings times symbols: 64 KiB of patterns are a hundred million places, which must never be made."""
    consumer = fan_out("cme")
    many = [str(i) for i in range(4000)]
    with connect(consumer.url, open_timeout=DEADLINE_S) as one:
        one.recv(DEADLINE_S)
        for op in ("subscribe", "unsubscribe"):
            one.send(json.dumps({"op": op, "symbols": many, "rings": many}, separators=(",", ":")))
            assert "at most 1000 subscriptions" in json.loads(one.recv(DEADLINE_S))["message"]
    query = ",".join(["a"] * 1500)
    line = f"GET /?symbols={query}&rings={query} HTTP/1.1\r\n".encode()
    assert b"at most 1000 subscriptions" in ask(consumer, line + HANDSHAKE.partition(b"\r\n")[2])


def test_number_that_is_none_of_json_is_no_id(ring, fan_out):
    with connect(fan_out("cme").url, open_timeout=DEADLINE_S) as one:
        one.recv(DEADLINE_S)
        one.send('{"op": "ping", "id": NaN}')
        assert "no number of JSON" in json.loads(one.recv(DEADLINE_S))["message"]


def test_silent_connections_keep_nobody_out(ring, fan_out, monkeypatch):
    monkeypatch.setattr(fanout_server, "HANDSHAKE_S", 2 * DEADLINE_S)
    consumer = fan_out("cme", max_clients=2)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(address(consumer), timeout=DEADLINE_S))
            for _ in range(fanout_server.MAX_HANDSHAKES + 20)
        ]
        with contextlib.suppress(ConnectionError):
            assert silent[0].recv(1) == b""  # the oldest made room
        assert is_served(consumer)
        silent[-1].sendall(HANDSHAKE)
        assert silent[-1].recv(12) == b"HTTP/1.1 101"


def test_handshake_that_comes_a_byte_at_a_time_is_cut_off(ring, fan_out, monkeypatch):
    monkeypatch.setattr(fanout_server, "HANDSHAKE_S", 0.5)
    consumer = fan_out("cme")
    with socket.create_connection(address(consumer), timeout=DEADLINE_S) as slow:
        slow.settimeout(0.05)
        end, closed = time.monotonic() + DEADLINE_S, False
        with contextlib.suppress(ConnectionError):
            while not closed and time.monotonic() < end:
                slow.sendall(b"G")
                with contextlib.suppress(TimeoutError):
                    closed = not slow.recv(1000)
        assert time.monotonic() < end


def mutated(rng):
    """A handshake and frames, with bytes of it changed, left out, or twice."""
    data = bytearray(HANDSHAKE if rng.random() < 0.9 else b"")
    for _ in range(rng.randrange(6)):
        data += rng.choice(FRAMES)
    first = rng.choice((0, len(HANDSHAKE)))  # often the handshake is left alone
    for _ in range(rng.randrange(6)):
        if first >= len(data):
            break
        at = rng.randrange(first, len(data))
        how = rng.randrange(3)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at : at + rng.randrange(8)]
        else:
            data[at:at] = data[at : at + rng.randrange(60)]
    return bytes(data)


def test_mutated_bytes_on_the_wire(ring, fan_out, record_property, caplog):
    """Whatever comes, an answer or an end; nobody else notices, and nothing is left."""
    consumer = fan_out("cme", max_message_bytes=1024)
    end, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or rounds < 100:
        with contextlib.ExitStack() as stack:
            for _ in range(AT_ONCE):
                rng = random.Random(f"wire {SEED} {rounds}")
                one = stack.enter_context(socket.create_connection(address(consumer), DEADLINE_S))
                one.sendall(mutated(rng))
                rounds += 1
            one.settimeout(0.05)  # of those before it, more is done meanwhile
            with contextlib.suppress(OSError):
                one.recv(65_536)
    record_property("inputs", rounds)
    assert is_served(consumer)
    assert "could not be served" not in caplog.text, f"MDFEEDD_FUZZ_SEED={SEED}"


def test_token_of_blanks_is_none_and_opens_nothing(shm_dir, tmp_path):
    """Without its blanks it is empty, and an empty token would mean that none is wanted."""
    (tmp_path / "token").write_text(" \n")
    options = FanoutOptions(port=0, token_file=str(tmp_path / "token"))
    with pytest.raises(SinkError, match="it is empty"):
        FanoutConsumer("fan", options, ["cme"], shm_dir).run(None)
