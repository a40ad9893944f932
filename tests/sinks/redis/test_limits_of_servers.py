"""Servers that let the sink look at little, count what they cut off, or answer in pieces; a sink that is closed."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading

import pytest

from mdfeedd.sinks import SinkError
from mdfeedd.sinks.redis import RedisOptions
from mdfeedd.sinks.redis.audience import Audience
from mdfeedd.sinks.redis.wire import Wire

LOOKS = 4
PATIENCE_S = 60.0


@pytest.mark.parametrize(
    ("denied", "words"),
    [
        (("-info", "-client|list", "-config"), "its settings cannot be looked at"),
        (("-client|list", "-config"), "does not tell its client-output-buffer-limit"),
    ],
)
def test_user_who_may_not_look_stores_all_the_same(
    given, make_server, tmp_path, caplog, denied, words
):
    server = make_server()
    server.client().execute_command(
        "ACL", "SETUSER", "feeder", "on", ">sesame", "~*", "&*", "+@all", *denied
    )
    password = tmp_path / "password"
    password.write_text("sesame")
    store = given.sinks_into(server)(
        "stream", "publish", username="feeder", password_file=str(password)
    )
    time = iter(range(0, 10**6, 10))
    store._monotonic = lambda: next(time)
    for look in range(LOOKS):
        store.write(given.batch(given.quotes(1 + 10 * look, 10)))
        store.housekeep()
    told = [record.getMessage() for record in caplog.records]
    assert sum(words in sentence for sentence in told) == 1, told
    assert "does not permit it" in next(sentence for sentence in told if words in sentence)
    assert len(given.stored(server).records) == 10 * LOOKS
    log = server.client().execute_command("ACL", "LOG")
    objects = [entry[entry.index(b"object") + 1] for entry in log]
    counts = [entry[entry.index(b"count") + 1] for entry in log]
    assert max(counts) <= 2, f"who watches asks once, and not at every look: {objects}, {counts}"
    store.close()


class Counting:
    """A server that counts whom it has cut off; of the store only what an audience needs."""

    address = "localhost:6379"
    connections = 1
    connected = True

    def __init__(self, answers):
        self._answers = iter(answers)

    def call(self, *words):
        if words[0] == "INFO":
            cuts, self._clients = next(self._answers)
            return {"client_output_buffer_limit_disconnections": cuts}
        return self._clients


def test_cuts_that_the_server_counts_are_told(caplog):
    """Those before us are not ours, and who went away by itself is not counted once more."""
    caplog.set_level(logging.WARNING, "mdfeedd.sinks.redis")
    slow, fast = b"id=7 addr=10.0.0.7:1 omem=900\n", b"id=8 addr=10.0.0.8:1 omem=0\n"
    audience = Audience(Counting([(3, slow + fast), (3, fast), (5, fast), (5, b"")]))
    counted = []
    for look in range(LOOKS):
        audience.watch(10.0 * look)
        counted.append(audience.cut_off)
    assert counted == [0, 0, 2, 2]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "has cut off 2 slow clients" in told


def test_closed_sink_takes_nothing(given, server, sink):
    store = sink("stream")
    store.close()
    with pytest.raises(SinkError, match="the sink is closed") as caught:
        store.write(given.batch(given.quotes(1, 10)))
    assert not caught.value.retriable
    assert server.client().dbsize() == 0


@contextlib.contextmanager
def answering(*pieces):
    """A server that answers the first thing it is sent with PONG, others with these pieces; b"" hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(PATIENCE_S)
                connection.recv(1000)
                connection.sendall(b"+PONG\r\n")
                while connection.recv(1000):  # until the sink hangs up
                    for piece in pieces:
                        connection.sendall(piece)
                    if b"" in pieces:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def publish(port, timeout_s):
    wire = Wire(RedisOptions(modes=["ticks"], port=port, timeout_s=timeout_s), None)
    wire.send(memoryview(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nb\r\n"), 1)
    wire.settle()


def told_by(port, timeout_s):
    with pytest.raises(SinkError) as caught:
        publish(port, timeout_s)
    assert caught.value.retriable
    return str(caught.value)


def test_refusal_that_comes_in_pieces_is_one_sentence():
    with answering(*(bytes([byte]) for byte in b"-NOPERM no access to a\r\n")) as port:
        assert told_by(port, PATIENCE_S) == f"redis 127.0.0.1:{port} does not permit it (PUBLISH)"


def test_server_that_hangs_up_or_says_nothing_is_told():
    with answering(b"") as port:
        assert "cannot be reached: " in told_by(port, PATIENCE_S)
    with answering() as port:
        assert told_by(port, 0.1) == f"redis 127.0.0.1:{port} did not answer within 0.1 s"
