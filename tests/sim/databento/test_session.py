"""A session's text and stream, without sockets: what is asked, refused, acknowledged and sent."""

from __future__ import annotations

import json

import databento_dbn as db
import pytest

from mdfeedd.sim.databento import KEY, Close, Fault, GatewayCore, Habits, Market, Script, Session
from mdfeedd.sim.databento.layouts import ALL_SCHEMAS

S = 1_000_000_000
FUTURES = ["ESZ6", "ESH7", "NQZ6", "CLF7"]
QUICK = Habits(max_subscriptions_per_s=1_000)


def core(**more):
    market = more.pop("market", None) or Market(
        more.pop("seed", 1),
        instruments=more.pop("instruments", FUTURES),
        rate=200,
        **more.pop("of", {}),
    )
    return GatewayCore(market, habits=more.pop("habits", QUICK), **more)


def raws(account):
    return [sent.raw for sent in account.sent]


def test_handshake_as_the_python_client_has_it(call):
    caller = call(core())
    assert caller.lines[0] == "lsg_version=0.9.4"
    assert caller.lines[1].startswith("cram=")
    assert caller.lines[2:] == [""]
    caller.hello(
        compression="none", heartbeat_interval_s="30", slow_reader_behavior="warn", client="x"
    )
    assert caller.lines[2] == f"success=1|session_id={caller.account.session_id}"
    caller.subscribe(id="7", snapshot="0", is_last="1").start().run(1)
    (metadata,) = [r for r in caller.decoded() if isinstance(r, db.Metadata)]
    assert (metadata.version, metadata.dataset, metadata.ts_out) == (3, "GLBX.MDP3", False)
    assert caller.controls(db.SystemMsg)[0].msg == "Subscription request 7 for mbp-1 data succeeded"
    assert caller.records() == raws(caller.account) != []
    assert caller.account.handshake["slow_reader_behavior"] == "warn"
    assert "auth" not in str(caller.account.handshake) + str(caller.account.lines)


def test_keys_in_another_order_unknown_ones_and_a_bare_start(call):
    """As the Rust and C++ clients put it."""
    caller = call(core())
    auth = caller.answer()
    caller.say(f"encoding=dbn|colour=red|ts_out=1|dataset=GLBX.MDP3|auth={auth}|")
    caller.say("symbols=ESZ6|is_last=1|schema=mbp-1|stype_in=raw_symbol|id=1").start(
        "start_session"
    )
    caller.run(2)
    assert caller.decoded()[0].ts_out
    assert caller.records() == raws(caller.account) != []


def test_bytes_that_come_one_by_one(call):
    caller = call(core())
    line = f"auth={caller.answer()}|dataset=GLBX.MDP3\nschema=trades|symbols=ESZ6\nstart_session\n"
    caller.started = False
    for byte in line.encode():
        caller.session.receive(bytes([byte]), caller.now_ns)
        caller.started = caller.started or "success=1" in caller.text.decode()
        caller.hear()
    assert caller.account.requests[0].schema == "trades"


@pytest.mark.parametrize(
    ("key", "fields", "why"),
    [
        ("db-another000000000000000000000k", {}, "Authentication failed."),
        (KEY, {"dataset": "XNAS.ITCH"}, "Unknown dataset: XNAS.ITCH"),
        (KEY, {"encoding": "csv"}, "Invalid encoding: csv"),
        (KEY, {"compression": "gzip"}, "Invalid compression: gzip"),
        (KEY, {"slow_reader_behavior": "nap"}, "Invalid slow_reader_behavior: nap"),
        (KEY, {"heartbeat_interval_s": "4"}, "Invalid heartbeat_interval_s: 4"),
        (KEY, {"heartbeat_interval_s": "1801"}, "Invalid heartbeat_interval_s: 1801"),
        (KEY, {"ts_out": "2"}, "Invalid ts_out: 2"),
    ],
)
def test_client_that_is_not_admitted(call, key, fields, why):
    caller = call(core()).hello(key, **fields)
    assert caller.lines[2] == f"success=0|error={why}"
    assert caller.ending == [Close]
    assert caller.account.ended == f"not admitted: {why}"
    assert not caller.account.authenticated
    assert caller.session.next_ns is None


def test_line_that_is_no_text_or_has_no_end(call):
    caller = call(core())
    caller.session.receive(b"\xff\xfe\n", caller.now_ns)
    caller.hear()
    assert "success=0|error=a control line is not UTF-8" in caller.lines
    caller = call(core())
    caller.session.receive(b"x" * 65_537, caller.now_ns)
    caller.hear()
    assert caller.ending == [Close]
    assert "too long" in caller.account.ended


@pytest.mark.parametrize(
    ("stype", "symbols", "names"),
    [
        ("raw_symbol", "ESZ6,CLF7", {"ESZ6", "CLF7"}),
        ("parent", "ES.FUT", {"ESZ6", "ESH7"}),
        ("continuous", "ES.c.1", {"ESH7"}),
        ("instrument_id", "5482", {"ESZ6"}),
        ("raw_symbol", "ALL_SYMBOLS", set(FUTURES)),
    ],
)
def test_symbols_by_every_stype(call, stype, symbols, names):
    caller = call(core()).hello().subscribe("mbo", symbols, stype).start().run(3)
    mappings = caller.controls(db.SymbolMappingMsg)
    assert {m.stype_out_symbol for m in mappings} == names
    assert {m.stype_in_symbol for m in mappings} <= set(symbols.split(","))
    assert {str(m.stype_in) for m in mappings} == {stype}
    assert all(m.publisher_id == 0 and m.start_ts == m.end_ts == 2**64 - 1 for m in mappings)
    ids = {m.instrument_id for m in mappings}
    assert {sent.instrument_id for sent in caller.account.sent} == ids
    assert caller.records() == raws(caller.account)


def test_unknown_symbol_does_not_sink_the_others(call):
    caller = call(core()).hello().subscribe("mbp-1", "ESZ6,NOPE,ES.FUT,CLF7").start().run(3)
    errors = caller.controls(db.ErrorMsg)
    assert [int(e.code) for e in errors] == [4, 4]
    assert "NOPE" in errors[0].err
    assert caller.ends == []
    assert {s.instrument_id for s in caller.account.sent} == {5482, 5482 + 17 * 3}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("schema=mbp-7|symbols=ESZ6", "unknown schema mbp-7"),
        ("schema=mbp-1|stype_in=isin|symbols=ESZ6", "unknown stype_in isin"),
        ("schema=mbp-1|symbols=ESZ6|start=yesterday", "start yesterday"),
        ("schema=mbo|symbols=ESZ6|start=0|snapshot=1", "snapshot excludes start"),
        ("schema=mbp-1|symbols=ESZ6|snapshot=1", "snapshot is for mbo only"),
        ("schema=mbp-1|symbols=", "0 symbols"),
        ("schema=mbp-1|symbols=" + ",".join(["A"] * 501), "501 symbols"),
        ("colour=red", "a line that is none"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_invalid_subscription_ends_the_session(call, line, why, late):
    caller = call(core()).hello()
    if late:
        caller.start().say(line)
    else:
        caller.say(line).start()
    (error,) = caller.controls(db.ErrorMsg)
    assert int(error.code) == 5
    assert why in error.err
    assert caller.ending == [Close]
    assert caller.account.ended.startswith("error 5: ")


def test_schema_that_the_market_does_not_have(call):
    caller = call(core(of={"schemas": ["mbp-1"]})).hello().subscribe("mbo").start()
    assert "mbo is not available" in caller.controls(db.ErrorMsg)[0].err


def test_symbols_in_chunks_are_one_subscription(call):
    names = [f"SIM{i:05d}" for i in range(16, 700)]
    gateway = core(instruments=700)
    caller = call(gateway).hello()
    caller.subscribe("mbp-1", ",".join(names[:500]), id=3, is_last=0)
    assert caller.account.requests == []
    caller.subscribe("mbp-1", ",".join(names[500:]), id=3, is_last=1).start().run(0.1)
    (request,) = caller.account.requests
    assert request.symbols == tuple(names)
    assert len(caller.controls(db.SystemMsg)) == 1
    assert len(caller.controls(db.SymbolMappingMsg)) == len(names)


def test_subscriptions_above_ten_a_second_are_served_later(call):
    caller = call(core(habits=Habits())).hello()
    began_ns = caller.now_ns
    for i in range(25):
        caller.subscribe("mbp-1", "ESZ6", id=i)
    caller.start()
    assert len(caller.account.requests) == 10
    caller.run(0.9)
    assert len(caller.account.requests) == 10
    caller.run(0.2)
    assert len(caller.account.requests) == 20
    assert not caller.stream
    caller.run(1)
    assert len(caller.account.requests) == 25
    assert caller.stream
    assert caller.now_ns - began_ns < 2.2 * S
    assert len(caller.controls(db.SymbolMappingMsg)) == 25  # told again for every subscription


def test_every_schema_at_once(call):
    gateway = core(of={"publishers": 2, "backward": True})
    caller = call(gateway, gateway.market.start_ns + 40 * S).hello(ts_out="1")
    for schema in ALL_SCHEMAS:
        caller.subscribe(schema)
    caller.start().run(61)
    rare = {"ohlcv-1h", "ohlcv-1d"}
    assert {sent.schema for sent in caller.account.sent} == set(ALL_SCHEMAS) - rare
    assert caller.records() == raws(caller.account)
    for schema in ALL_SCHEMAS:
        times = [s.index_ns for s in caller.account.sent if s.schema == schema]
        assert times == sorted(times)
    stamps = [r.ts_out for r in caller.decoded()[1:]]
    assert stamps == sorted(stamps)


def test_live_session_gets_exactly_what_falls_due_in_it(call):
    gateway = core()
    caller = call(gateway).hello().subscribe("mbp-1", "ESZ6").start()
    began_ns = caller.now_ns
    caller.run(5)
    same = Market(1, instruments=FUTURES, rate=200)
    expected = [
        r.raw
        for r in same.records("mbp-1", began_ns + 1, caller.now_ns + 1)
        if r.instrument_id == 5482
    ]
    assert raws(caller.account) == expected
    assert not any(s.replayed or s.snapshot for s in caller.account.sent)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("schema", ["mbp-1", "mbo", "bbo-1s", "ohlcv-1s", "trades", "definition"])
def test_replay_is_from_its_start_by_the_schemas_own_time_then_live(call, schema, backward):
    gateway = core(of={"backward": backward})
    market = gateway.market
    market.run_until(market.start_ns + 10 * S)
    some = market.timeline(schema)[len(market.timeline(schema)) // 3]
    start_ns = some.key_ns  # inclusive: at a time that a record has
    caller = call(gateway).hello().subscribe(schema, start=start_ns).start().run(2)
    began_ns = market.start_ns + 10 * S
    every = market.records(schema, 0, caller.now_ns + 1)
    due = [r for r in every if r.due_ns <= caller.now_ns]
    expected = [
        (r.raw, r.due_ns <= began_ns) for r in due if r.due_ns > began_ns or r.key_ns >= start_ns
    ]
    assert [(s.raw, s.replayed) for s in caller.account.sent] == expected
    assert caller.records() == [r for r, _ in expected]
    assert some.raw in caller.records()
    if backward and schema == "mbp-1":
        keys = [r.key_ns for r in due]
        assert keys != sorted(keys)
    replayed = [c for c in caller.account.controls if (c.kind, c.code) == ("system", 3)]
    assert [c.after for c in replayed] == [sum(is_old for _, is_old in expected)]


def test_start_of_zero_is_all_that_is_kept_and_each_instrument_has_its_own(call):
    gateway = core()
    caller = call(gateway).hello()
    caller.subscribe("trades", "ESZ6", start=0)
    caller.subscribe("trades", "CLF7", start=caller.now_ns - S)
    caller.subscribe("trades", "NQZ6")
    caller.start().run(1)
    begin = gateway.market.start_ns + 10 * S
    late_ns = begin - S
    for r in gateway.market.records("trades", 0, caller.now_ns + 1):
        wanted = {
            5482: True,
            5482 + 51: r.key_ns >= late_ns or r.due_ns > begin,
            5482 + 34: r.due_ns > begin,
        }
        there = any(s.raw == r.raw for s in caller.account.sent)
        assert there == wanted.get(r.instrument_id, False)


def test_late_start_is_ignored(call):
    caller = call(core()).hello().start().run(1)
    caller.subscribe("mbp-1", "ESZ6", start=0).run(1)
    assert caller.account.requests[0].late
    assert caller.account.sent
    assert not any(s.replayed for s in caller.account.sent)
    assert not [c for c in caller.account.controls if (c.kind, c.code) == ("system", 3)]


def test_subscribed_twice_is_sent_once(call):
    caller = call(core()).hello().subscribe("mbp-1", "ESZ6").subscribe("mbp-1", "ES.FUT", "parent")
    caller.start().run(2)
    ids = [s.instrument_id for s in caller.account.sent]
    assert set(ids) == {5482, 5482 + 17}
    assert len(set(raws(caller.account))) == len(ids)


def test_replay_that_is_too_old(call):
    market = Market(1, instruments=FUTURES, rate=50, keep_ns=15 * S)
    gateway = core(market=market)
    market.run_until(market.start_ns + 40 * S)
    caller = call(gateway, market.start_ns + 40 * S).hello()
    caller.subscribe("mbp-1", start=market.start_ns + 2 * S).start()
    (error,) = caller.controls(db.ErrorMsg)
    assert int(error.code) == 8
    assert caller.ending == [Close]
    caller = call(gateway, market.start_ns + 40 * S).hello()
    caller.subscribe("mbp-1", start=market.start_ns + 39 * S).start().run(1)
    assert caller.ends == []
    assert any(s.replayed for s in caller.account.sent)


@pytest.mark.parametrize("keep_ns", [None, 3 * S])
def test_snapshot_of_orders_is_the_book_as_it_is_then(call, keep_ns):
    gateway = core(of={"publishers": 2, "keep_ns": keep_ns})
    market = gateway.market
    for second in range(1, 40):
        market.run_until(market.start_ns + second * S)
    market.run_until(market.start_ns + 45 * S)  # somebody is ahead
    caller = (
        call(gateway, market.start_ns + 40 * S).hello().subscribe("mbo", "ESZ6,NQZ6", snapshot=1)
    )
    caller.start().run(2)
    rows = [s for s in caller.account.sent if s.snapshot]
    live = [s for s in caller.account.sent if not s.snapshot]
    assert caller.account.sent == rows + live
    assert caller.records() == raws(caller.account)
    first = [
        db.DBNDecoder(has_metadata=False, input_version=3).write_and_decode(s.raw)[0] for s in rows
    ]
    assert {r.flags for r in first} == {40, 168}
    assert [r.flags for r in first].count(168) == 4  # of two instruments at two publishers
    assert [str(r.action) for r in first].count("R") == 4
    assert all(r.ts_recv == rows[0].index_ns for r in first)
    books = {}
    for s in caller.account.sent:
        (r,) = db.DBNDecoder(has_metadata=False, input_version=3).write_and_decode(s.raw)
        orders = books.setdefault((r.publisher_id, r.instrument_id), {})
        action = str(r.action)
        if action == "R":
            orders.clear()
        elif action in "AM":
            orders[r.order_id] = (str(r.side), r.price, r.size)
        elif action == "C":
            del orders[r.order_id]
    gateway_books = {}
    other = Market(1, instruments=FUTURES, rate=200, publishers=2)
    other.run_until(caller.now_ns)
    for (publisher, instrument), book in other._books.items():
        gateway_books[publisher, instrument] = {
            i: (o.side.decode(), o.price, o.size) for i, o in book.orders.items()
        }
    assert len(books) == 4
    assert all(gateway_books[key] == orders for key, orders in books.items())


def test_heartbeat_only_when_idle(call):
    gateway = core(of={"schemas": ["ohlcv-1d", "mbp-1"]})
    idle = call(gateway).hello(heartbeat_interval_s="5").subscribe("ohlcv-1d").start().run(21)
    beats = [m for m in idle.controls(db.SystemMsg) if m.is_heartbeat()]
    assert len(beats) == 4
    busy = call(gateway).hello(heartbeat_interval_s="5").subscribe("mbp-1").start().run(21)
    assert [m for m in busy.controls(db.SystemMsg) if m.is_heartbeat()] == []
    assert busy.account.sent


def test_session_limit(call):
    gateway = core(habits=Habits(max_sessions=2, max_connects_per_s=100))
    callers = [call(gateway).hello() for _ in range(3)]
    assert [c.account.authenticated for c in callers] == [True, True, False]
    assert "connection limit" in callers[2].account.ended
    callers[0].session.receive(b"", callers[0].now_ns)
    assert callers[0].account.ended == "the client closed"
    assert call(gateway).hello().account.authenticated


def test_more_than_five_connects_a_second_are_closed_at_once(call):
    gateway = core()
    now_ns = gateway.market.start_ns
    assert all(gateway.connect(now_ns, "a") for _ in range(5))
    assert gateway.connect(now_ns, "a") is None
    assert gateway.sessions[-1].ended == "refused: too many connects"
    assert isinstance(gateway.connect(now_ns, "b"), Session)
    assert isinstance(gateway.connect(now_ns + S, "a"), Session)


@pytest.mark.parametrize("habits", [QUICK, Habits(flush_s=1.0, flush_records=50)])
def test_compressed_stream_counts_what_is_flushed(call, habits):
    caller = call(core(habits=habits)).hello(compression="zstd").subscribe().start()
    for _ in range(30):
        caller.run(0.1)
        got = caller.records() if caller.dbn else []  # nothing has been flushed
        assert got == raws(caller.account)
        assert len(got) == caller.account.records
    assert caller.account.sent
    writes = len([w for w in caller.writes if w])
    assert writes < 40 if habits.flush_s else writes > 100


def test_compressed_stream_that_is_closed_in_order_is_whole(call):
    script = Script((Fault("fin", after_records=100),))
    caller = call(core(script=script, habits=Habits(flush_s=9.0, flush_records=10**6)))
    caller.hello(compression="zstd").subscribe().start().run(5)
    assert caller.ending == [Close]
    assert len(caller.account.sent) == 100
    assert zstd_is_whole(caller.stream)
    assert caller.records() == raws(caller.account)


def zstd_is_whole(data):
    import zstandard

    decompressor = zstandard.ZstdDecompressor().decompressobj()
    decompressor.decompress(bytes(data))
    return decompressor.eof


@pytest.mark.parametrize("pretty", ["0", "1"])
def test_json_lines_are_those_of_databentos_tools(call, pretty):
    import io

    caller = call(core(of={"publishers": 2}))
    caller.hello(encoding="json", pretty_px=pretty, pretty_ts=pretty)
    for schema in ALL_SCHEMAS:
        caller.subscribe(schema, start=0)
    caller.start().run(2)
    lines = [json.loads(line) for line in caller.stream.splitlines()]
    market = [line for line in lines if line["hd"]["rtype"] not in (0x15, 0x16, 0x17)]
    assert len(market) == len(caller.account.sent) > 100
    out = io.BytesIO()
    transcoder = db.Transcoder(
        out, db.Encoding.JSON, db.Compression.NONE, map_symbols=False, has_metadata=False,
        pretty_px=pretty == "1", pretty_ts=pretty == "1", input_version=3,
    )  # fmt: skip
    for sent in caller.account.sent:
        transcoder.write(sent.raw)
    transcoder.flush()
    theirs = [json.loads(line) for line in out.getvalue().splitlines()]
    names = {5482: "ESZ6", 5499: "ESH7", 5516: "NQZ6", 5533: "CLF7"}
    assert all(line.pop("symbol") == names[line["hd"]["instrument_id"]] for line in market)
    assert market == theirs


def test_flood_is_as_fast_as_it_is_taken_and_the_same_market(call):
    gateway = core(habits=Habits(flood=True, limit_records=5_000, max_subscriptions_per_s=99))
    caller = call(gateway).hello().subscribe("mbp-1").subscribe("trades").start()
    while len(caller.account.sent) < 5_000:
        assert caller.session.next_ns == caller.now_ns
        caller.hear()
    assert caller.session.next_ns > caller.now_ns
    caller.hear()
    assert len(caller.account.sent) == 5_000
    assert caller.records() == raws(caller.account)
    same = Market(1, instruments=FUTURES, rate=200)
    got = [s.raw for s in caller.account.sent if s.schema == "mbp-1"]
    first_ns = gateway.market.start_ns + 10 * S
    expected = [r.raw for r in same.records("mbp-1", first_ns + 1, first_ns + 10_000 * S // 100)]
    assert got == expected[: len(got)]
    again = call(gateway).hello().subscribe("mbp-1", start=caller.account.sent[-1].index_ns).start()
    assert any(s.replayed for s in again.run().account.sent)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_of_dbn(call, version):
    gateway = core(habits=Habits(version=version, max_subscriptions_per_s=99))
    caller = call(gateway).hello()
    for schema in ("mbp-1", "definition", "statistics", "mbo"):
        caller.subscribe(schema, start=0)
    caller.subscribe("mbp-1", "NOPE").start().run(3)
    assert caller.decoded()[0].version == version
    assert caller.records() == raws(caller.account)
    assert {s.schema for s in caller.account.sent} == {"mbp-1", "definition", "statistics", "mbo"}
    upgraded = caller.decoded(db.VersionUpgradePolicy.UPGRADE_TO_V3)
    definitions = [r for r in upgraded if isinstance(r, db.InstrumentDefMsg)]
    assert {d.raw_symbol for d in definitions} == set(FUTURES)
    assert {m.stype_out_symbol for m in upgraded if isinstance(m, db.SymbolMappingMsg)} == set(
        FUTURES
    )


def test_key_of_another_length():
    with pytest.raises(ValueError, match="must have 32 characters, not 4"):
        core(keys=["db-x"])


def test_lines_without_end(call):
    caller = call(core())
    caller.session.receive(b"\n" * 10_001, caller.now_ns)
    caller.hear()
    assert caller.ending == [Close]
    assert "too many" in caller.account.ended


def test_compressor_holds_back_a_mebibyte_at_most(call):
    lazy = Habits(flush_s=3_600.0, flush_records=10**9)
    gateway = core(habits=lazy, market=Market(1, rate=3_000, schemas=["mbp-10"]))
    caller = call(gateway).hello(compression="zstd").subscribe("mbp-10").start()
    while not caller.account.sent:
        caller.run(0.1)
        assert caller.now_ns < gateway.market.start_ns + 60 * S
    assert 1_000_000 < sum(map(len, raws(caller.account))) < 2 << 20
    assert caller.records() == raws(caller.account)


def test_session_that_comes_too_late_for_what_the_market_has_forgotten(call):
    market = Market(1, rate=100, schemas=["mbp-1"], keep_ns=2 * S)
    caller = call(core(market=market)).hello().subscribe("mbp-1").start()
    whole = Market(1, rate=100, schemas=["mbp-1"])
    caller.now_ns += 60 * S
    caller.hear()
    caller.run(1)
    assert caller.account.forgotten > 1_000
    expected = [
        r.raw for r in whole.records("mbp-1", market.start_ns + 10 * S + 1, caller.now_ns + 1)
    ]
    assert raws(caller.account) == expected[caller.account.forgotten :]
    assert caller.records() == raws(caller.account)


def test_late_subscription_waits_for_those_that_came_before_it(call):
    one = call(core(script=Script((Fault("late_open", seconds=2.0),))))
    one.hello().subscribe("mbp-1", "ESZ6", id=1).start()
    one.subscribe("mbp-1", "NQZ6", id=2)
    one.run(10)
    told = [c.text for c in one.account.controls if c.kind == "system" and c.code == 1]
    assert [text.split()[2] for text in told] == ["1", "2"]


def test_replay_that_begins_later_brings_nothing_again_of_what_is_on(call):
    one = call(core())
    one.hello().subscribe("mbp-1", "ESZ6").start().run(5)
    flow = one.session.flows["mbp-1"]
    passed = flow.position
    other = one.core.market.instruments[2].instrument_id
    assert flow.add([other], 1, one.now_ns) == [other]
    wanted = set()
    for place in range(flow.position, passed):
        flow.position, record = place, flow.timeline[place]
        wanted |= {record.instrument_id} if flow.wants(record) else set()
    assert wanted == {other}
