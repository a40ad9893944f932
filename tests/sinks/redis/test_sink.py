"""What the Redis sink stores is what it was given, each record once, whoever fails."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.ring import Position
from mdfeedd.sinks import SinkError, load_sink
from mdfeedd.sinks.packed import unpack
from mdfeedd.sinks.redis import RedisOptions, RedisSink
from mdfeedd.tick import BAR, DEPTH, PRICE_UNDEF, QUOTE, TICK, TRADE, Flag, Kind, from_fixed

OTHER_SPACE = "f" * 32


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("modes", {"modes": []}),
        ("modes", {"modes": "stream"}),
        ("modes", {"modes": ["rows"]}),
        ("stream_maxlen", {"modes": ["stream"]}),
        ("stream_maxlen", {"modes": ["ticks"], "stream_maxlen": -1}),
        ("packed_records", {"modes": ["ticks"], "packed_records": 0}),
        ("port", {"modes": ["ticks"], "port": 70_000}),
        ("port", {"modes": ["ticks"], "port": True}),
        ("prefix", {"modes": ["ticks"], "prefix": "a{b}"}),
        ("timeout_s", {"modes": ["ticks"], "timeout_s": 0}),
        ("tls_key_file", {"modes": ["ticks"], "tls_cert_file": "x"}),
        ("tls", {"modes": ["ticks"], "tls": True, "unix_socket": "/x"}),
        ("password_file", {"modes": ["ticks"], "password_env": "A", "password_file": "b"}),
        ("username", {"modes": ["ticks"], "username": "me"}),
    ],
)
def test_option_that_cannot_be_is_named(key, options):
    with pytest.raises(ValueError, match=rf"^{key}: "):
        RedisOptions(**options)


def test_sink_is_found_by_its_name():
    assert load_sink("redis") is RedisSink


def test_server_is_not_asked_before_it_must_be(given, make_server):
    server = make_server()
    server.kill()
    sink = given.sinks_into(server)()
    assert sink.progress(given.space).safe_seq == 0
    with pytest.raises(SinkError, match="cannot be reached: Connection refused") as caught:
        sink.position("cme")
    assert caught.value.retriable
    sink.close()


def test_every_record_of_every_kind_comes_back_as_it_was(rng, make, given, sink, server):
    ticks = make.ticks(rng, 20_000)
    store = sink("stream", packed_records=1000)
    store.write(given.batch(ticks[:12_345]))
    store.write(given.batch(ticks[12_345:]))
    found = given.stored(server)
    assert found.records.tobytes() == ticks.tobytes()
    assert max(int(head["n"]) for _, head in found.heads) == 1000
    assert {head["ring_id"] for _, head in found.heads} == {given.space}
    assert store.position("cme") == Position(given.space, 20_000, 1)
    progress = store.progress(given.space)
    assert (progress.safe_seq, progress.stored_records) == (20_000, 20_000)
    assert progress.stored_bytes == 20_000 * 64
    store.close()


def test_bars_come_back_as_they_were(rng, make, given, sink, server):
    bars = make.bars(rng, 3000)
    store = sink("stream")
    store.write(given.batch(bars, ring="bars"))
    found = given.stored(server, "bars")
    assert found.records.dtype == BAR
    assert found.records.tobytes() == bars.tobytes()
    store.close()


def test_what_ids_mean_is_stored_with_them(given, sink, server):
    store = sink("stream")
    store.write(given.batch(given.quotes(1, 100)))
    table = server.client().hgetall(f"md:{{cme}}:instruments:{given.space}")
    told = {int(i): json.loads(text) for i, text in table.items()}
    assert {i: one["symbol"] for i, one in told.items()} == given.names
    assert told[1]["tick_size"] == 250_000_000
    renamed = given.Instruments(given.names | {3: "NEW"})
    store.write(given.batch(given.quotes(101, 100), instruments=renamed))
    text = server.client().hget(f"md:{{cme}}:instruments:{given.space}", "3")
    assert json.loads(text)["symbol"] == "NEW"
    store.close()


def test_reader_of_the_page_sees_every_record(given, sink, server):
    page = Path(__file__).resolve().parents[3] / "mdfeedd" / "docs" / "redis.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "xread" in block]
    code = code.replace("while True:", "for _ in range(3):").replace("block=1000", "block=1")
    code = code.replace("redis.Redis(", f"redis.Redis(port={server.port}, ")
    store = sink("stream", packed_records=10)
    records = given.quotes(1, 1500)
    store.write(given.batch(records))
    seen = []
    exec(code.replace("ticks = ", "seen.append(").replace("TICK)  #", "TICK))  #"), {"seen": seen})
    assert np.concatenate(seen).tobytes() == records.tobytes()
    store.close()


def test_stream_keeps_no_more_than_it_may(given, sink, server):
    store = sink("stream", stream_maxlen=10, packed_records=10)
    store.write(given.batch(given.quotes(1, 10_000)))
    assert server.client().xlen("md:{cme}:stream") <= 10 + 100  # nodes of a hundred entries
    assert store.position("cme").seq == 10_000
    store.close()


def test_records_that_come_again_are_stored_once(given, sink, server):
    records = given.quotes(1, 1000)
    store = sink("stream")
    store.write(given.batch(records[:600]))
    store.write(given.batch(records[:600]))
    store.write(given.batch(records[300:]))
    assert given.stored(server).records.tobytes() == records.tobytes()
    progress = store.progress(given.space)
    assert (progress.stored_records, progress.repeated_records) == (1000, 0)  # counted once
    store.close()
    again = sink("stream")
    assert again.position("cme") == Position(given.space, 1000, 1)
    again.write(given.batch(records))
    progress = again.progress(given.space)
    assert (progress.stored_records, progress.repeated_records, progress.safe_seq) == (
        1000,
        1000,
        1000,
    )
    assert given.stored(server).records.tobytes() == records.tobytes()
    again.close()


def test_ids_never_go_back_when_a_ring_is_made_anew(given, sink, server):
    store = sink("stream", clock_ns=lambda: 5_000_000)  # 5 ms after 1970, and stays there
    store.write(given.batch(given.quotes(1000, 10)))
    store.write(given.batch(given.quotes(1010, 10), epoch=2))
    store.write(given.batch(given.quotes(1, 10), ring_id=OTHER_SPACE))
    assert store.position("cme") == Position(OTHER_SPACE, 10, 1)
    found = given.stored(server)
    assert found.ids == ["5-1009", "6-1019", "7-10"]
    assert [head["epoch"] for _, head in found.heads] == ["1", "2", "1"]
    assert server.client().ttl(f"md:{{cme}}:instruments:{given.space}") > 0
    assert server.client().ttl(f"md:{{cme}}:instruments:{OTHER_SPACE}") == -1
    store.close()


def test_stream_that_another_hand_has_written_to_goes_on(given, sink, server):
    store = sink("stream")
    store.write(given.batch(given.quotes(1, 10)))
    server.client().xadd("md:{cme}:stream", {"by": "hand"}, id=f"{2**62}-7")
    with pytest.raises(SinkError, match="equal or smaller") as caught:
        store.write(given.batch(given.quotes(11, 10)))
    assert caught.value.retriable
    store.write(given.batch(given.quotes(11, 10)))
    server.client().xdel("md:{cme}:stream", f"{2**62}-7")
    assert given.stored(server).records["seq"].tolist() == list(range(1, 21))
    assert given.stored(server).ids[-1] == f"{2**62 + 1}-20"
    store.close()


def test_sequence_numbers_beyond_what_lua_counts_with(given, sink, server):
    store = sink("stream")
    first = 2**63 + 1
    store.write(given.batch(given.quotes(first, 2)))
    store.write(given.batch(given.quotes(first + 2, 1)))
    store.close()
    again = sink("stream")
    assert again.position("cme").seq == first + 2
    again.write(given.batch(given.quotes(first, 4)))
    expected = [first, first + 1, first + 2, first + 3]
    assert given.stored(server).records["seq"].tolist() == expected
    again.close()


@pytest.mark.parametrize("first", [1, 2**63 + 1])  # the latter beyond what Lua counts with
def test_call_refused_in_the_middle_is_not_stored_twice(given, sink, server, first):
    """The first message is in the stream when an ACL stops the script at its PUBLISH."""
    server.client().execute_command(
        "ACL", "SETUSER", "limited", "on", ">geheim", "~*", "+@all", "resetchannels"
    )
    (server.folder / "password").write_text("geheim\n")
    login = {"username": "limited", "password_file": str(server.folder / "password")}
    store = sink("stream", "publish", packed_records=10, **login)
    records = given.quotes(first, 100)
    with pytest.raises(SinkError, match="does not permit it") as caught:
        store.write(given.batch(records))
    assert caught.value.retriable
    assert len(given.stored(server).records) == 10
    server.client().execute_command("ACL", "SETUSER", "limited", "allchannels")
    store.write(given.batch(records))
    assert given.stored(server).records.tobytes() == records.tobytes()
    store.close()


def test_two_writers_and_the_older_stops(given, sink, server):
    old = sink("stream", name="old")
    old.write(given.batch(given.quotes(1, 10)))
    new = sink("stream", name="new")
    assert new.position("cme").seq == 10
    new.write(given.batch(given.quotes(11, 10)))
    with pytest.raises(
        SinkError, match=r"another writer has taken over ring 'cme': new \("
    ) as caught:
        old.write(given.batch(given.quotes(11, 10)))
    assert not caught.value.retriable
    assert given.stored(server).records["seq"].tolist() == list(range(1, 21))
    assert int(server.client().hget("md:{cme}:position", "fence")) == 2
    old.close()
    new.close()


def test_older_writer_stops_though_nothing_has_moved(given, sink, server):
    old = sink("publish", name="old")
    old.write(given.batch(given.quotes(1, 10)))
    new = sink("publish", name="new")
    assert new.position("cme").seq == 10
    with pytest.raises(SinkError, match="another writer has taken over"):
        old.write(given.batch(given.quotes(11, 10)))
    assert new.position("cme").seq == 10
    old.close()
    new.close()


def test_call_that_arrives_twice_changes_nothing_the_second_time(given, sink, server):
    store = sink("publish", "last")
    store.write(given.batch(given.quotes(1, 10)))
    calls = []
    script = store._store.script
    store._store.script = lambda *call: calls.append(call) or script(*call)
    store.write(given.batch(given.quotes(11, 10)))
    listener = server.client().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("md:cme:packed")
    listener.get_message(timeout=30)
    (call,) = calls
    assert script(*call) == 0
    store.write(given.batch(given.quotes(21, 10)))
    message = listener.get_message(ignore_subscribe_messages=True, timeout=30)
    assert unpack(message["data"])[0].first == 21  # the first that was published since
    listener.close()
    store.close()


def test_keys_of_a_newer_version_are_left_alone(given, sink, server):
    server.client().hset("md:{cme}:position", mapping={"v": "2", "seq": "77"})
    store = sink("stream")
    with pytest.raises(SinkError, match="newer version of mdfeedd") as caught:
        store.position("cme")
    assert not caught.value.retriable
    assert server.client().hgetall("md:{cme}:position") == {b"v": b"2", b"seq": b"77"}
    store.close()


def test_records_that_are_neither_ticks_nor_bars_are_refused(given, sink):
    store = sink("stream")
    with pytest.raises(SinkError, match="neither ticks nor bars") as caught:
        store.write(given.batch(np.zeros(3, DEPTH)))
    assert not caught.value.retriable
    store.close()


def test_unix_socket_and_another_database(given, sink, server):
    store = sink("stream", "last", "ticks", unix_socket=server.unix_socket, db=3)
    store.write(given.batch(given.quotes(1, 10)))
    assert server.client().dbsize() == 0
    assert server.client(db=3).exists("md:{cme}:stream", "md:{cme}:last:S2") == 2
    store.close()


def test_tls_with_a_certificate_of_the_client(given, make_server, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates with")
    for name in ("server", "stranger"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
    if not given.has_tls(tmp_path):
        pytest.skip("this server was built without TLS")
    probe = given.free_port()
    certificate, key = str(tmp_path / "server.pem"), str(tmp_path / "server.key")
    server = make_server(
        tls_port=probe, tls_cert_file=certificate, tls_key_file=key, tls_ca_cert_file=certificate
    )
    ours = {"port": probe, "tls": True, "tls_ca_file": certificate}
    ours |= {"tls_cert_file": certificate, "tls_key_file": key}
    make = given.sinks_into(server)
    store = make("stream", "ticks", **ours)
    store.write(given.batch(given.quotes(1, 10)))
    assert len(given.stored(server).records) == 10
    store.close()
    for mode in ("stream", "ticks"):
        distrusts = make(mode, **(ours | {"tls_ca_file": str(tmp_path / "stranger.pem")}))
        with pytest.raises(SinkError, match="certificate verify failed") as caught:
            distrusts.write(given.batch(given.quotes(11, 10)))
        assert caught.value.retriable
        distrusts.close()


def test_packed_messages_say_what_was_missed(given, sink, server):
    client = server.client()
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("md:cme:packed")
    listener.get_message(timeout=10)
    store = sink("publish", packed_records=100)
    records = given.quotes(1, 1000)
    store.write(given.batch(records[:500]))
    store.write(given.batch(records[500:]))
    store.write(given.batch(given.quotes(1, 5), ring_id=OTHER_SPACE))
    messages = []
    while len(messages) < 11:
        message = listener.get_message(ignore_subscribe_messages=True, timeout=10)
        assert message is not None
        messages.append(unpack(message["data"]))
    assert np.concatenate([part for _, part in messages[:10]]).tobytes() == records.tobytes()
    heads = [head for head, _ in messages]
    assert [head.prev for head in heads] == [*range(0, 1000, 100), 0]
    assert [head.last for head in heads] == [*range(100, 1001, 100), 5]
    assert heads[-1].ring_id == OTHER_SPACE
    assert client.exists("md:{cme}:stream") == 0
    listener.close()
    store.close()


@pytest.mark.parametrize("cut", [0, 3, 63, 64, 100, 127])
def test_packed_message_that_is_cut_is_refused(given, sink, server, cut):
    from mdfeedd.sinks.packed import pack_header

    records = given.quotes(1, 1)
    message = pack_header(given.space, 1, 0, records) + records.tobytes()
    assert unpack(message)[1].tobytes() == records.tobytes()
    with pytest.raises(ValueError, match="packed message"):
        unpack(message[:cut])


def test_last_values_are_those_of_the_last_records(rng, make, given, sink, server):
    ticks = make.ticks(rng, 5000)
    store = sink("last")
    for start in range(0, 5000, 700):
        store.write(given.batch(ticks[start : start + 700]))
    client = server.client(decode_responses=True)
    quotes, trades = ticks.view(QUOTE), ticks.view(TRADE)
    for i, name in given.names.items():
        found = client.hgetall(f"md:{{cme}}:last:{name}")
        is_touch = (ticks["kind"] == Kind.QUOTE) & (ticks["flags"] & Flag.IMPLIED == 0)
        is_touch |= ticks["kind"] == Kind.CLEAR
        mine = np.flatnonzero((ticks["instrument_id"] == i) & is_touch)[-1]
        if ticks["kind"][mine] == Kind.CLEAR:
            assert (found["bid_price"], found["ask_size"]) == ("", "0")
        else:
            for side in ("bid", "ask"):
                price = from_fixed(int(quotes[f"{side}_price"][mine]))
                told = found[f"{side}_price"]
                assert (Decimal(told) if told else None) == price
                assert int(found[f"{side}_size"]) == quotes[f"{side}_size"][mine]
        assert int(found["quote_seq"]) == ticks["seq"][mine]
        assert int(found["quote_ts_event"]) == ticks["ts_event"][mine]
        mine = np.flatnonzero((ticks["instrument_id"] == i) & (ticks["kind"] == Kind.TRADE))[-1]
        price = int(trades["price"][mine])
        assert (Decimal(found["price"]) if found["price"] else None) == from_fixed(price)
        assert int(found["trade_id"]) == trades["trade_id"][mine]
        assert int(found["trade_seq"]) == ticks["seq"][mine]
        assert (int(found["instrument_id"]), found["venue"]) == (i, "XCME")
    progress = store.progress(given.space)
    wanted = int(np.isin(ticks["kind"], [1, 2, 9]).sum())
    assert (progress.stored_records, progress.skipped_records) == (wanted, 5000 - wanted)
    assert store.position("cme").seq == 5000
    store.close()


def test_last_touch_is_not_that_of_the_implied_book(given, sink, server):
    quotes = given.quotes(1, 2, instrument_id=1, bid_size=[5, 6], flags=[0, Flag.IMPLIED])
    store = sink("last")
    store.write(given.batch(quotes))
    client = server.client(decode_responses=True)
    assert client.hget("md:{cme}:last:S1", "bid_size") == "5"
    store.close()


def test_last_bar_of_each_length(given, sink, server):
    bars = np.zeros(4, BAR)
    bars["seq"], bars["instrument_id"] = [1, 2, 3, 4], [1, 1, 1, 2]
    bars["interval_s"] = [60, 3600, 60, 60]
    bars["close"] = [1, 2, 3_250_000_000, 4]
    bars["vwap"] = PRICE_UNDEF
    store = sink("last")
    store.write(given.batch(bars, ring="bars"))
    client = server.client(decode_responses=True)
    found = client.hgetall("md:{bars}:last:S1:60")
    assert (found["close"], found["vwap"], found["seq"]) == ("3.25", "", "3")
    assert client.hget("md:{bars}:last:S1:3600", "seq") == "2"
    store.close()


def collect(listener, n):
    """n messages: channel, text."""
    out = []
    while len(out) < n:
        message = listener.get_message(ignore_subscribe_messages=True, timeout=30)
        assert message is not None, f"only {len(out)} of {n} came"
        out.append((message["channel"].decode(), message["data"]))
    return out


CHANNELS = {1: "quote", 2: "trade", 3: "trade", 4: "trade", 5: "event", 7: "event", 9: "event"}


def test_every_tick_is_told_on_its_channel(rng, make, given, sink, server):
    listener = server.client().pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("md:cme:*")
    listener.get_message(timeout=10)
    ticks = make.ticks(rng, 9000)
    store = sink("ticks")
    for start in range(0, 9000, 4000):
        store.write(given.batch(ticks[start : start + 4000]))
    told = ticks[np.isin(ticks["kind"], list(CHANNELS))]
    messages = collect(listener, len(told))
    for row, (channel, text) in zip(told, messages, strict=True):
        symbol = given.names[int(row["instrument_id"])]
        assert channel == f"md:cme:{symbol}:{CHANNELS[int(row['kind'])]}"
        message = json.loads(text)
        assert (message["symbol"], message["seq"]) == (symbol, row["seq"])
        one = np.array([row], TICK)
        if row["kind"] == Kind.QUOTE:
            for side in ("bid_price", "ask_price"):
                price = from_fixed(int(one.view(QUOTE)[side][0]))
                told_price = message[side]
                assert (None if told_price is None else Decimal(told_price)) == price
            assert message["bid_size"] == one.view(QUOTE)["bid_size"][0]
        elif row["kind"] in {2, 3, 4}:
            price = from_fixed(int(one.view(TRADE)["price"][0]))
            assert (None if message["price"] is None else Decimal(message["price"])) == price
            assert message["trade_id"] == one.view(TRADE)["trade_id"][0]
    progress = store.progress(given.space)
    assert progress.stored_records == len(told)
    assert progress.skipped_records == 9000 - len(told)
    listener.close()
    store.close()


def test_bars_are_told_on_their_channel(rng, make, given, sink, server):
    listener = server.client().pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("md:*:bar")
    listener.get_message(timeout=10)
    bars = make.bars(rng, 50)
    store = sink("ticks")
    store.write(given.batch(bars, ring="bars"))
    messages = [json.loads(text) for _, text in collect(listener, 50)]
    assert [m["volume"] for m in messages] == bars["volume"].tolist()
    listener.close()
    store.close()


def test_subscriber_cut_off_for_being_slow_is_noticed(given, sink, server, caplog):
    client = server.client()
    client.config_set("client-output-buffer-limit", "pubsub 200000 0 0")
    slow = server.client().pubsub()
    slow.subscribe("md:cme:packed")
    slow.get_message(timeout=10)
    slow.connection._sock.setsockopt(1, 8, 4096)  # SO_RCVBUF
    store = sink("publish")
    time = iter(range(0, 10**6, 10))
    store._monotonic = lambda: next(time)
    seq = 1
    while not store._audience.cut_off:
        assert seq < 10_000_000, "never cut off, or never noticed"
        store.write(given.batch(given.quotes(seq, 1000)))
        store.housekeep()
        seq += 1000
    assert any("lost messages" in r.message or "cut off" in r.message for r in caplog.records)
    slow.close()
    store.close()


def test_settings_that_lose_something_are_told_once(given, sink, server, caplog):
    server.client().config_set("maxmemory", 100_000_000)
    server.client().config_set("maxmemory-policy", "allkeys-lru")
    store = sink("stream", "publish", stream_maxlen=100_000)
    for _ in range(2):
        store.write(given.batch(given.quotes(1, 10)))
        store._store.close()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for words in ("maxmemory-policy allkeys-lru", "grows to 6250 MB", "appendonly no", "pubsub"):
        assert sum(words in sentence for sentence in told) == 1, told
    store.close()
