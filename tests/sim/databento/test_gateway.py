"""Databento's own client against the gateway, over real sockets: it gets what the account says, all of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import databento
import databento_dbn as db
import pytest

from mdfeedd.sim.databento import (
    KEY,
    Fault,
    Gateway,
    GatewayCore,
    GatewayError,
    Habits,
    Market,
    Script,
)
from mdfeedd.sim.databento.layouts import ALL_SCHEMAS

S = 1_000_000_000
LIMIT_S = 30.0
CONTROL = (db.SystemMsg, db.ErrorMsg, db.SymbolMappingMsg)
FUTURES = ["ESZ6", "ESH7", "NQZ6", "CLF7"]


def core(*faults, rate=400.0, history_s=20, schemas=ALL_SCHEMAS, of=None, **habits):
    market = Market(
        3, instruments=FUTURES, rate=rate, schemas=schemas, start_ns=time.time_ns() - history_s * S,
        **(of or {}),
    )  # fmt: skip
    return GatewayCore(market, Script(faults), habits=Habits(**habits))


class Client:
    """The real one; `records` are the market records that its callback was given."""

    def __init__(self, gateway, **options):
        self.got = []
        self.live = databento.Live(key=KEY, gateway="127.0.0.1", port=gateway.port, **options)
        self.live.add_callback(self.got.append)

    def subscribe(self, schema, symbols="ALL_SYMBOLS", stype_in="raw_symbol", **more):
        self.live.subscribe("GLBX.MDP3", schema, symbols, stype_in, **more)
        return self

    def until_closed(self):
        self.live.start()
        self.live.block_for_close(LIMIT_S)
        return self

    def records(self, ts_out=False):
        return [_bytes(r, ts_out) for r in self.got if not isinstance(r, CONTROL)]

    def of(self, kind):
        return [r for r in self.got if isinstance(r, kind)]


def _bytes(record, ts_out):
    data = bytes(record)
    return bytes([data[0] - 2]) + data[1:-8] if ts_out else data


def raws(account):
    return [sent.raw for sent in account.sent]


@pytest.mark.parametrize("compression", [db.Compression.NONE, db.Compression.ZSTD])
@pytest.mark.parametrize("ts_out", [False, True])
def test_real_client_gets_every_record_of_several_schemas(compression, ts_out):
    fins = Fault("fin", after_records=4_000)
    gateway_core = core(fins, of={"backward": True}, history_s=70, rate=100)
    with Gateway(gateway_core) as gateway:
        client = Client(
            gateway, ts_out=ts_out, compression=compression, slow_reader_behavior="warn"
        )
        # what there is most of comes last: on a slow host it is more than the session has room for
        client.subscribe("mbo", "CLF7", snapshot=True)
        client.subscribe("ohlcv-1s", "ES.FUT", "parent", start=0)
        client.subscribe("bbo-1s", "NQ.c.0", "continuous", start=0)
        client.subscribe("definition", "5482", "instrument_id", start=0)
        client.subscribe("statistics", start=0)
        client.subscribe("trades", start=gateway_core.market.start_ns + 40 * S)
        client.subscribe("mbp-1", ["ESZ6", "NQZ6"], start=gateway_core.market.start_ns)
        client.until_closed()
    (account,) = gateway_core.sessions
    assert account.ended == "closed"
    assert client.records(ts_out) == raws(account)
    assert len(account.sent) == 4_000
    schemas = {sent.schema for sent in account.sent}
    assert {"mbp-1", "trades", "ohlcv-1s", "bbo-1s", "definition", "statistics", "mbo"} <= schemas
    assert any(s.snapshot for s in account.sent)
    assert [r.start_ns for r in account.requests][1:5] == [0] * 4
    assert account.handshake["slow_reader_behavior"] == "warn"
    names = {m.instrument_id: m.stype_out_symbol for m in client.of(db.SymbolMappingMsg)}
    assert sorted(names.values()) == sorted(FUTURES)


def test_real_client_gets_the_market_in_real_time():
    gateway_core = core(Fault("fin", after_s=1.5), schemas=["mbp-1", "trades"], history_s=0)
    with Gateway(gateway_core) as gateway:
        client = Client(gateway).subscribe("mbp-1").subscribe("trades").until_closed()
    (account,) = gateway_core.sessions
    assert client.records() == raws(account)
    assert len(account.sent) > 100
    same = Market(
        3, instruments=FUTURES, rate=400, schemas=["mbp-1"], start_ns=gateway_core.market.start_ns
    )
    got = [s for s in account.sent if s.schema == "mbp-1"]
    truth = same.records("mbp-1", got[0].index_ns, got[-1].index_ns + 1)
    assert [s.raw for s in got] == [r.raw for r in truth][: len(got)]


def test_real_client_takes_a_flood():
    gateway_core = core(
        Fault("fin", after_records=50_000), schemas=["mbp-1", "trades"], rate=5_000, flood=True
    )
    with Gateway(gateway_core) as gateway:
        client = Client(gateway).subscribe("mbp-1").subscribe("trades").until_closed()
    (account,) = gateway_core.sessions
    assert len(account.sent) == 50_000
    assert client.records() == raws(account)


def test_real_client_sends_its_symbols_in_chunks():
    names = [f"SIM{i:05d}" for i in range(16, 1_216)]
    market = Market(1, instruments=1_216, rate=500, schemas=["mbp-1"], start_ns=time.time_ns())
    gateway_core = GatewayCore(market, Script((Fault("fin", after_records=20),)))
    with Gateway(gateway_core) as gateway:
        client = Client(gateway).subscribe("mbp-1", names).until_closed()
    (request,) = gateway_core.sessions[0].requests
    assert sorted(request.symbols) == names
    assert len(gateway_core.sessions[0].lines) == 1 + 3 + 1
    assert len(client.of(db.SymbolMappingMsg)) == len(names)


@pytest.mark.parametrize(
    "fault", [Fault("bad_key", text="Key revoked"), Fault("heartbeat", session=9)]
)
def test_real_client_with_a_key_that_is_refused(fault):
    wrong = fault.kind != "bad_key"
    with Gateway(core(fault)) as gateway:
        key = "db-wrong00000000000000000000000k" if wrong else KEY
        live = databento.Live(key=key, gateway="127.0.0.1", port=gateway.port)
        with pytest.raises(databento.BentoError, match=r"Authentication failed|Key revoked"):
            live.subscribe("GLBX.MDP3", "mbp-1", "ESZ6")
    assert gateway.core.sessions[0].ended.startswith("not admitted")


@pytest.mark.parametrize("kind", ["one_byte_writes", "separate_writes", "cut_anywhere"])
def test_real_client_reads_what_comes_in_pieces(kind):
    gateway_core = core(Fault(kind, size=50), Fault("fin", after_records=300))
    with Gateway(gateway_core) as gateway:
        client = Client(gateway).subscribe("mbp-1", start=0).until_closed()
    assert client.records() == raws(gateway_core.sessions[0])
    assert len(client.records()) == 300


def test_real_client_is_told_errors_and_messages():
    faults = [
        Fault("error", after_records=100, code=4),
        Fault("slow_warning", after_records=150),
        Fault("error", after_records=200, code=6, text="broken inside"),
    ]
    gateway_core = core(*faults)
    with Gateway(gateway_core) as gateway:
        client = Client(gateway).subscribe("mbp-1", ["ESZ6", "NOPE"], start=0)
        with pytest.raises(databento.BentoError, match="broken inside"):
            client.until_closed()
    assert [int(e.code) for e in client.of(db.ErrorMsg)] == [4, 4, 6]
    assert 2 in [int(m.code) for m in client.of(db.SystemMsg)]
    assert client.records() == raws(gateway_core.sessions[0])


def test_real_client_loses_what_came_in_one_read_with_an_unknown_type():
    """Of the failures that were seen in the official client: it ends in silence, and good records are lost."""
    gateway_core = core(Fault("unknown_rtype", after_records=500))
    with Gateway(gateway_core) as gateway:
        client = Client(gateway).subscribe("mbp-1", start=0)
        with contextlib.suppress(databento.BentoError):
            client.until_closed()
    (account,) = gateway_core.sessions
    got = client.records()
    assert got == raws(account)[: len(got)]
    assert len(got) < 500


def test_real_client_does_not_come_back_after_a_fin():
    gateway_core = core(Fault("fin", session=None, after_records=50))
    with Gateway(gateway_core) as gateway:
        Client(gateway, reconnect_policy="reconnect").subscribe("mbp-1", start=0).until_closed()
    assert len(gateway_core.sessions) == 1


# the shell alone


def dial(gateway):
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=LIMIT_S)


def read_all(connection):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            data += piece
        return data, "fin"
    return data, "rst"


def until(what):
    limit_s = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < limit_s
        time.sleep(0.005)


@pytest.mark.parametrize(("kind", "end"), [("fin", "fin"), ("rst", "rst")])
def test_end_of_a_connection_is_what_the_fault_says(kind, end):
    data, how = b"", "rst"  # a reset may come before the connect has returned
    with (
        contextlib.suppress(ConnectionResetError),
        Gateway(core(Fault(kind, at="greeted"))) as gateway,
        dial(gateway) as connection,
    ):
        data, how = read_all(connection)
    assert how == end
    assert (
        data == b"lsg_version=0.9.4\n" if end == "fin" else b"lsg_version=0.9.4\n".startswith(data)
    )


def test_half_closed_connection_still_takes_what_is_said():
    gateway_core = core(Fault("half_close", at="greeted"))
    with Gateway(gateway_core) as gateway, dial(gateway) as connection:
        assert read_all(connection) == (b"lsg_version=0.9.4\n", "fin")
        connection.sendall(b"auth=x\n")
        time.sleep(0.05)
        connection.sendall(b"still there\n")  # a reset would have come by now
        assert gateway_core.sessions[0].ended == "half-closed"


def test_refused_connect_is_closed_at_once():
    gateway_core = core(Fault("refuse", count=2))
    with Gateway(gateway_core) as gateway:
        for _ in range(2):
            with dial(gateway) as connection:
                assert read_all(connection)[0] == b""
        with dial(gateway) as connection:
            assert connection.recv(100).startswith(b"lsg_version")


def test_port_that_nobody_listens_on_for_a_while():
    with Gateway(core(max_connects_per_s=100)) as gateway:
        gateway.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(gateway)
        gateway.listen()
        with dial(gateway) as connection:
            assert connection.recv(100).startswith(b"lsg_version")


def test_client_that_goes_is_accounted():
    gateway_core = core()
    with Gateway(gateway_core) as gateway:
        with dial(gateway) as connection:
            connection.recv(100)
        until(lambda: gateway_core.sessions[0].ended)
        assert gateway_core.sessions[0].ended.startswith(("the client closed", "connection lost"))


def test_client_that_does_not_read_holds_up_nobody_else():
    gateway_core = core(schemas=["mbp-1"], rate=5_000, history_s=10)
    with Gateway(gateway_core) as gateway, socket.socket() as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sleeper.connect(("127.0.0.1", gateway.port))
        _greet(sleeper)
        until(lambda: gateway_core.sessions[0].sent)
        quick = Client(gateway).subscribe("mbp-1", ["ESZ6"], start=0)
        quick.live.start()
        until(lambda: any(int(m.code) == 3 for m in quick.of(db.SystemMsg)))
        quick.live.terminate()
        sleeping = gateway_core.sessions[0]
        assert not sleeping.ended
        assert 3 not in [c.code for c in sleeping.controls if c.kind == "system"]


def _greet(connection):
    """A session by hand, up to its start."""
    import hashlib

    text = b""
    while text.count(b"\n") < 2:
        text += connection.recv(1_000)
    challenge = text.split(b"\n")[1].removeprefix(b"cram=").decode()
    digest = hashlib.sha256(f"{challenge}|{KEY}".encode()).hexdigest()
    connection.sendall(f"auth={digest}-{KEY[-5:]}|dataset=GLBX.MDP3\n".encode())
    connection.sendall(b"schema=mbp-1|symbols=ALL_SYMBOLS|start=0\nstart_session\n")


def test_port_that_is_taken():
    with Gateway(core()) as gateway, pytest.raises(GatewayError, match=f":{gateway.port}: Address"):
        Gateway(core(), port=gateway.port).start()


def test_stop_ends_sessions_and_threads():
    before = threading.active_count()
    gateway_core = core()
    with Gateway(gateway_core) as gateway:
        connections = [dial(gateway) for _ in range(3)]
        for connection in connections:
            assert connection.recv(10)
    assert threading.active_count() == before
    assert all(account.ended for account in gateway_core.sessions)
    for connection in connections:
        connection.close()


def test_nothing_here_knows_the_decoder_under_test():
    import mdfeedd.sim.databento as package

    folder = Path(package.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text()
        assert "mdfeedd.feeds" not in text, path.name
        assert "databento_dbn" not in text, path.name
