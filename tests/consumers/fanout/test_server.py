"""Real WebSocket clients of a fan-out over a real ring: what they get, what they may, what they cost."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest

from mdfeedd.consumers.fanout import FanoutConsumer, FanoutOptions
from mdfeedd.ring import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.sinks import SinkError
from mdfeedd.sinks.packed import unpack
from mdfeedd.tick import BAR, QUOTE, TICK, Kind

websockets = pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

DEADLINE_S = 60.0
SYMBOLS = ["ESZ6", "NQZ6", "CLF7", "原油"]


def opened(url, **options):
    """A connection and what closes it. The library wants to be a context manager."""
    stack = contextlib.ExitStack()
    return stack.enter_context(
        connect(url, open_timeout=DEADLINE_S, ping_interval=None, **options)
    ), stack


class Client:
    """A client of the library that is not ours."""

    def __init__(self, url, **options):
        self.socket, self._stack = opened(url, max_size=None, **options)
        self.hello = self.message()

    def message(self, timeout=DEADLINE_S):
        """The next frame; text as what it says."""
        frame = self.socket.recv(timeout)
        return json.loads(frame) if isinstance(frame, str) else frame

    def say(self, **message):
        self.socket.send(json.dumps(message))

    def ask(self, **message):
        """Say something; the answer to it."""
        self.say(**message)
        return self.until("subscribed", "unsubscribed", "error", "pong")

    def until(self, *types):
        """The next message of one of these types."""
        while True:
            message = self.message()
            if isinstance(message, dict) and message["type"] in types:
                return message

    def records(self, n, kind="ticks"):
        """So many records of messages of a type."""
        out = []
        while len(out) < n:
            out += self.until(kind)["records"]
        assert len(out) == n
        return out

    def close(self):
        self._stack.close()


@pytest.fixture
def client():
    """Connect; closed at the end."""
    made = []

    def open_one(url, **options):
        made.append(Client(url, **options))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


class Market:
    """A ring with instruments, and what was published."""

    def __init__(self, name, directory, capacity=65_536):
        self.writer = Writer(name, capacity=capacity, directory=directory)
        self.ids = [self.writer.instruments.add(symbol) for symbol in SYMBOLS]

    def publish(self, records):
        self.writer.publish(records)
        self.writer.flush()

    def quotes(self, symbols, bid=5000):
        """Quotes of these symbols, in this order; seq is given by the ring."""
        out = np.zeros(len(symbols), QUOTE)
        out["kind"] = Kind.QUOTE
        out["instrument_id"] = [self.ids[SYMBOLS.index(symbol)] for symbol in symbols]
        out["bid_price"], out["bid_size"] = bid * 10**9, 2**32 - 1
        return out.view(TICK)


@pytest.fixture
def market(shm_dir):
    """The ring cme."""
    made = Market("cme", shm_dir)
    yield made
    made.writer.close()


def test_json_client_gets_what_it_wants(market, fan_out, client):
    market.publish(market.quotes(["ESZ6", "NQZ6", "原油", "ESZ6"], bid=1))
    consumer = fan_out("cme")
    one = client(consumer.url)
    assert one.hello["type"] == "hello"
    assert [ring["name"] for ring in one.hello["rings"]] == ["cme"]
    answer = one.ask(op="subscribe", symbols=["ES*", "原油"], kinds=["quote"], id=7)
    assert answer == {"type": "subscribed", "symbols": ["ES*", "原油"], "id": 7}
    first = one.message()
    assert (first["type"], first["ring"]) == ("snapshot", "cme")
    assert [(r["symbol"], r["seq"]) for r in first["records"]] == [("原油", 3), ("ESZ6", 4)]
    market.publish(market.quotes(["NQZ6", "ESZ6", "CLF7", "原油"], bid=-2))
    got = one.records(2)
    assert [(r["symbol"], r["seq"]) for r in got] == [("ESZ6", 6), ("原油", 8)]
    assert got[0]["bid_price"] == "-2"
    assert got[0]["bid_size"] == 2**32 - 1
    assert one.ask(op="unsubscribe", symbols=["ES*"])["type"] == "unsubscribed"
    market.publish(market.quotes(["ESZ6", "原油"]))
    assert [r["symbol"] for r in one.records(1)] == ["原油"]
    assert one.ask(op="ping", id="x") == {"type": "pong", "id": "x"}


def test_subscription_by_the_query_string(market, fan_out, client):
    market.publish(market.quotes(["ESZ6", "NQZ6"]))
    one = client(fan_out("cme").url + "?symbols=NQ*,CL*&kinds=quote,trade")
    assert one.message()["type"] == "subscribed"
    assert [r["symbol"] for r in one.records(1, "snapshot")] == ["NQZ6"]


def test_binary_client_gets_the_records_as_they_lie_in_the_ring(market, fan_out, client):
    one = client(fan_out("cme").url + "?format=binary&symbols=*")
    assert one.message()["type"] == "subscribed"
    sent = market.quotes(["ESZ6", "原油"] * 2000)
    sent["ts_event"] = np.arange(len(sent))
    market.publish(sent)
    names, parts, lives = {}, [], set()
    while sum(map(len, parts)) < len(sent):
        message = one.message()
        if isinstance(message, bytes):
            header, records = unpack(message)
            assert (header.first, header.last) == (records["seq"][0], records["seq"][-1])
            assert {str(i) for i in records["instrument_id"].tolist()} <= names.keys()
            lives.add(header.ring_id)
            parts.append(records)
        elif message["type"] == "instruments":
            names |= {i: told["symbol"] for i, told in message["instruments"].items()}
    expected = sent.copy()
    expected["seq"] = np.arange(1, len(sent) + 1)
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert names == {str(market.ids[0]): "ESZ6", str(market.ids[3]): "原油"}
    assert lives == {one.hello["rings"][0]["ring_id"]}


def test_bars(shm_dir, fan_out, client):
    with Writer("bars", capacity=256, dtype=BAR, directory=shm_dir) as writer:
        bars = np.zeros(2, BAR)
        bars["instrument_id"] = writer.instruments.add("ESZ6")
        bars["interval_s"], bars["close"] = 60, [10**9, 2_500_000_000]
        url = fan_out("bars").url + "?symbols=ES*"
        one = client(url)
        one.until("subscribed")
        writer.publish(bars)
        writer.flush()
        assert [r["close"] for r in one.records(2)] == ["1", "2.5"]
        two = client(url)
        assert [r["close"] for r in two.records(1, "snapshot")] == ["2.5"]


def test_slow_client_slows_nobody_and_is_told_what_it_lost(market, fan_out, client, given, shm_dir):
    consumer = fan_out("cme", queue_records=1000, send_buffer_bytes=4096)
    url = consumer.url + "?symbols=*"
    fast = client(url + "&format=binary")
    slow = client(url, max_queue=1)
    slow.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert slow.message()["type"] == "subscribed"
    n, batch, quotes_sent, trades_sent = 0, 500, 0, 0
    seen = 0
    while n < 50_000:
        records = market.quotes([SYMBOLS[i % 4] for i in range(batch)], bid=n)
        records["kind"][::5] = Kind.TRADE
        trades_sent += int((records["kind"] == Kind.TRADE).sum())
        quotes_sent += int((records["kind"] == Kind.QUOTE).sum())
        market.publish(records)
        n += batch
        while seen < n:  # the fast one has seen it all before the next batch
            message = fast.message()
            seen += unpack(message)[0].records if isinstance(message, bytes) else 0
    reader = next(c for c in inspect("cme", shm_dir).consumers if c.name == "fan")
    assert reader.lost == 0
    got = {"QUOTE": 0, "TRADE": 0}
    lost = {"QUOTE": 0, "TRADE": 0}
    last = {}
    while sum(got.values()) + sum(lost.values()) < n:
        message = slow.message()
        if message["type"] == "lost":
            assert message["reason"] == "slow"
            lost["QUOTE"] += message["quotes"]
            lost["TRADE"] += message["trades"]
            continue
        for record in message["records"]:
            got[record["kind"]] += 1
            if record["kind"] == "QUOTE":
                last[record["symbol"]] = record["seq"]
    assert lost["TRADE"] > 0
    assert lost["QUOTE"] > 0
    assert got["TRADE"] + lost["TRADE"] == trades_sent
    assert got["QUOTE"] + lost["QUOTE"] == quotes_sent
    kinds = np.arange(batch) % 5 != 0
    final = {SYMBOLS[i % 4]: n - batch + i + 1 for i in range(batch) if kinds[i]}
    assert last == final
    told = lost["TRADE"] + lost["QUOTE"]
    given.wait_for(lambda: consumer._hub.given["cme"].dropped == told)

    def counted():
        found = next(c for c in inspect("cme", shm_dir).consumers if c.name == "fan").counters
        return found["dropped_records"] == told and found["stored_records"] == 2 * n - told

    given.wait_for(counted)


def test_client_that_never_reads_costs_a_bounded_queue(market, fan_out, client, given):
    consumer = fan_out("cme", queue_records=500, send_buffer_bytes=4096)
    stuck = client(consumer.url + "?symbols=*", max_queue=1)
    fast = client(consumer.url + "?symbols=*&kinds=quote")
    for i in range(100):
        market.publish(market.quotes(SYMBOLS * 50, bid=i))
        fast.records(200)
    assert consumer._hub.pending("cme") <= 500 + 200
    stuck.socket.socket.shutdown(socket.SHUT_RDWR)
    given.wait_for(lambda: len(consumer._hub.clients) == 1)
    assert [users for _, users in consumer._hub._filters.values()] == [1]


BAD = [
    "garbage",
    b"binary",
    '{"op": "subscribe", "symbols": []}',
    '{"op": "unsubscribe", "symbols": ["never"]}',
    json.dumps({"op": "subscribe", "symbols": [f"S{i}" for i in range(11)]}),
    '{"op": "explode"}',
    "[" * 5000,
]


def test_bad_messages_are_answered_and_crash_nothing(market, fan_out, client):
    consumer = fan_out("cme", max_subscriptions=10)
    one = client(consumer.url + "?symbols=ES*")
    one.until("subscribed")
    for text in BAD:
        one.socket.send(text)
        answer = one.message()
        assert answer["type"] == "error", text
        assert answer["message"]
    market.publish(market.quotes(["ESZ6"]))
    assert len(one.records(1)) == 1


def test_too_many_patterns_and_too_long_a_message(market, fan_out, client):
    consumer = fan_out("cme", max_message_bytes=8192)
    one, other = client(consumer.url), client(consumer.url)
    answer = one.ask(op="subscribe", symbols=[f"S{i}*" for i in range(201)])
    assert "at most 200 patterns" in answer["message"]
    one.say(op="subscribe", symbols=["x" * 200] * 50)
    with pytest.raises(ConnectionClosed) as caught:
        one.message()
    assert caught.value.rcvd.code == 1009
    assert other.ask(op="ping") == {"type": "pong"}


def refusal(url, **options):
    """Status and sentence of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        opened(url, **options)
    return caught.value.response.status_code, caught.value.response.body.decode()


def test_token(market, fan_out, client, tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    url = fan_out("cme", token_file=str(file)).url
    for options in ({}, {"additional_headers": {"Authorization": "Bearer wrong"}}):
        status, sentence = refusal(url, **options)
        assert status == 401
        assert "a token is needed" in sentence
    assert refusal(url + "?token=s3cre")[0] == 401
    assert refusal(url + "?token=%C3%A4")[0] == 401
    header = {"Authorization": "Bearer s3cret"}
    assert client(url, additional_headers=header).hello["type"] == "hello"
    assert client(url + "?token=s3cret").hello["type"] == "hello"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url.replace("ws:", "http:"), timeout=DEADLINE_S)


def test_token_that_cannot_be_read_ends_the_consumer(shm_dir):
    options = FanoutOptions(port=0, token_file="/nowhere/token")
    with pytest.raises(SinkError, match="cannot be read from /nowhere/token"):
        FanoutConsumer("fan", options, ["cme"], shm_dir).run(None)


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        (None, True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("https://desk.example", True),
        ("https://evil.example", False),
        ("https://localhost.evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_other_sites_may_not_connect(market, fan_out, client, origin, may):
    url = fan_out("cme", origins=["https://desk.example"]).url
    if may:
        assert client(url, origin=origin).hello["type"] == "hello"
    else:
        assert refusal(url, origin=origin) == (
            403,
            f"pages of {origin} may not connect (origins)\n",
        )


def test_http_without_websocket_is_answered_with_a_sentence(market, fan_out, client):
    consumer = fan_out("cme")
    client(consumer.url)
    url = consumer.url.replace("ws:", "http:")
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        assert answer.read().decode() == "mdfeedd fan-out: 1 clients; connect by WebSocket\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url + "secrets", timeout=DEADLINE_S)
    assert refusal(consumer.url + "?format=xml") == (400, "format is json or binary\n")
    assert refusal(consumer.url + "?kinds=all")[0] == 400


def test_no_more_clients_than_may_be(market, fan_out, client, given):
    consumer = fan_out("cme", max_clients=2)
    first, second = client(consumer.url), client(consumer.url)
    assert refusal(consumer.url) == (503, "there are 2 clients already\n")
    first.close()
    given.wait_for(lambda: len(consumer._hub.clients) == 1)
    third = client(consumer.url)
    assert third.ask(op="ping")["type"] == second.ask(op="ping")["type"] == "pong"


def test_many_clients_with_subscriptions_of_their_own(market, fan_out, client):
    consumer = fan_out("cme")
    clients = [
        client(f"{consumer.url}?symbols={SYMBOLS[i % 3]}&kinds=quote&format={f}")
        for i, f in ((i, "json" if i % 2 else "binary") for i in range(40))
    ]
    for one in clients:
        one.until("subscribed")
    assert len(consumer._hub._filters) == 3  # those with the same share one
    market.publish(market.quotes(SYMBOLS * 1000))
    for i, one in enumerate(clients):
        if i % 2:
            assert {r["symbol"] for r in one.records(1000)} == {SYMBOLS[i % 3]}
            continue
        seen = 0
        while seen < 1000:
            message = one.message()
            if isinstance(message, bytes):
                header, records = unpack(message)
                assert set(records["instrument_id"].tolist()) == {market.ids[i % 3]}
                seen += header.records


def test_client_that_disappears_in_the_middle(market, fan_out, client, given):
    """Reset connections, at any time, again and again: the others do not notice."""
    consumer = fan_out("cme")
    faithful = client(consumer.url + "?symbols=ES*")
    faithful.until("subscribed")
    for i in range(20):
        raw = socket.create_connection(("127.0.0.1", consumer.port), DEADLINE_S)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if i % 2:
            raw.sendall(
                b"GET /?symbols=* HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade"
                b"\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert raw.recv(12) == b"HTTP/1.1 101"
        market.publish(market.quotes(["ESZ6"] * 10, bid=i))
        raw.close()
    assert len(faithful.records(200)) == 200
    given.wait_for(lambda: len(consumer._hub.clients) == 1)


def test_another_ring_of_the_same_name_is_told(shm_dir, fan_out, client):
    first = Market("cme", shm_dir)
    first.publish(first.quotes(["ESZ6"]))
    consumer = fan_out("cme")
    one = client(consumer.url + "?symbols=*&kinds=quote")
    one.records(1, "snapshot")
    before = one.hello["rings"][0]
    first.writer.close()
    again = Market("cme", shm_dir)
    again.publish(again.quotes(["NQZ6"]))
    told = one.until("ring")
    assert (told["ring"], told["ring_id"], told["epoch"]) == ("cme", before["ring_id"], 2)
    assert [r["seq"] for r in one.records(1)] == [2]
    again.writer.close()


def test_lapped_records_are_told(shm_dir, fan_out, client, given):
    market = Market("cme", shm_dir, capacity=256)
    consumer = fan_out("cme")
    one = client(consumer.url + "?symbols=*&kinds=quote")
    one.until("subscribed")
    lost, got, reasons = 0, 0, set()
    for i in range(200):  # faster than anybody reads
        market.publish(market.quotes(["ESZ6"] * 5000, bid=i))
    while lost + got < 1_000_000:
        message = one.message()
        if message["type"] == "lost":  # by the ring, or here, for want of a place to tell it
            lost += message["records"] if message["reason"] == "lapped" else message["quotes"]
            reasons.add(message["reason"])
        else:
            got += len(message["records"])
    assert lost + got == 1_000_000
    assert "lapped" in reasons
    market.writer.close()


def test_ring_that_comes_later(shm_dir, fan_out, client):
    consumer = fan_out("cme")
    one = client(consumer.url + "?symbols=ES*")
    assert one.hello["rings"] == []
    market = Market("cme", shm_dir)
    assert one.until("ring")["ring"] == "cme"
    market.publish(market.quotes(["ESZ6"]))
    assert len(one.records(1)) == 1
    market.writer.close()


def test_two_rings_and_a_subscription_to_one(shm_dir, fan_out, client):
    a, b = Market("a", shm_dir), Market("b", shm_dir)
    one = client(fan_out("a", "b").url)
    one.ask(op="subscribe", symbols=["*"], rings=["b"])
    a.publish(a.quotes(["ESZ6"]))
    b.publish(b.quotes(["NQZ6"]))
    message = one.until("ticks")
    assert (message["ring"], message["records"][0]["symbol"]) == ("b", "NQZ6")
    a.writer.close()
    b.writer.close()


def test_stop_closes_the_clients(market, fan_out, client):
    consumer = fan_out("cme")
    one = client(consumer.url)
    consumer.stop.set()
    with pytest.raises(ConnectionClosed) as caught:
        one.message()
    assert caught.value.rcvd.code == 1001
    consumer.thread.join(DEADLINE_S)


def test_stop_does_not_wait_for_a_client_that_never_reads(market, fan_out, client, given):
    consumer = fan_out("cme", send_buffer_bytes=4096)
    stuck = client(consumer.url + "?symbols=*", max_queue=1)
    for i in range(50):
        market.publish(market.quotes(SYMBOLS * 50, bid=i))
    given.wait_for(lambda: consumer._hub.pending("cme"))
    consumer.stop.set()
    consumer.thread.join(DEADLINE_S)
    assert not consumer.thread.is_alive()
    stuck.socket.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", 0), ("localhost", 0), ("0.0.0.0", 1)])
def test_open_door_is_told(market, fan_out, host, warned, caplog):
    fan_out("cme", host=host)
    assert sum("there is no token" in record.message for record in caplog.records) == warned


def test_end_of_the_rings_ends_the_consumer(shm_dir, fan_out):
    market = Market("cme", shm_dir)
    consumer = fan_out("cme", follow=False)
    market.writer.close()
    consumer.thread.join(DEADLINE_S)
    assert not consumer.thread.is_alive()


def test_address_that_is_taken_is_an_error(market, fan_out, shm_dir):
    import threading

    taken = fan_out("cme")
    second = FanoutConsumer("other", FanoutOptions(port=taken.port), ["cme"], shm_dir)
    with pytest.raises(OSError, match="address already in use"):
        second.run(threading.Event())


def test_client_that_answers_no_ping_is_cut_off(market, fan_out, given):
    consumer = fan_out("cme", ping_interval_s=0.1, ping_timeout_s=0.2)
    raw = socket.create_connection(("127.0.0.1", consumer.port), DEADLINE_S)
    raw.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    given.wait_for(lambda: consumer._hub.clients)
    given.wait_for(lambda: not consumer._hub.clients)
    with contextlib.suppress(OSError):
        raw.close()


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("port", {"port": -1}),
        ("port", {"port": True}),
        ("max_clients", {"max_clients": 0}),
        ("max_subscriptions", {"max_subscriptions": 0}),
        ("max_message_bytes", {"max_message_bytes": 10}),
        ("queue_records", {"queue_records": 0}),
        ("send_buffer_bytes", {"send_buffer_bytes": 1}),
        ("batch_size", {"batch_size": 0}),
        ("ping_interval_s", {"ping_interval_s": 0}),
        ("ping_timeout_s", {"ping_timeout_s": 4000}),
        ("origins", {"origins": "https://x"}),
        ("token_file", {"token_env": "A", "token_file": "b"}),
        ("wait_s", {"wait_s": -1}),
    ],
)
def test_option_that_cannot_be_is_named(key, options):
    with pytest.raises(ValueError, match=rf"^{key}: "):
        FanoutOptions(**options)
