"""Every fault does what it says, and the account says what it did."""

from __future__ import annotations

import databento_dbn as db
import pytest

from mdfeedd.sim.databento import (
    KEY,
    Close,
    Fault,
    GatewayCore,
    Habits,
    HalfClose,
    Market,
    Reset,
    Script,
    Stall,
)
from mdfeedd.sim.databento.layouts import SKIPPABLE
from mdfeedd.sim.databento.script import EVENTS, KINDS, MODES, STAGES

S = 1_000_000_000
QUICK = Habits(max_subscriptions_per_s=1_000, max_connects_per_s=1_000)
SCHEMAS = ("mbp-1", "trades", "mbo", "bbo-1s", "ohlcv-1d", "definition")
LINES = 3  # of the gateway's half of a handshake


def core(*faults, seed=1, **habits):
    how = Habits(max_subscriptions_per_s=1_000, max_connects_per_s=1_000, **habits)
    return GatewayCore(Market(seed, rate=200, schemas=SCHEMAS), Script(faults), habits=how)


def raws(sents):
    return [sent.raw for sent in sents]


def streaming(call, gateway, *schemas, seconds=3, start=None, **fields):
    caller = call(gateway).hello(**fields)
    more = {} if start is None else {"start": start}
    for schema in schemas or ("mbp-1",):
        caller.subscribe(schema, **more)
    return caller.start().run(seconds)


def system_codes(caller):
    return [c.code for c in caller.account.controls if c.kind == "system"]


# the handshake


def test_right_key_that_is_refused(call):
    caller = call(core(Fault("bad_key", text="Key was revoked"))).hello(KEY)
    assert caller.lines[2] == "success=0|error=Key was revoked"
    assert caller.ending == [Close]


@pytest.mark.parametrize("kind", ["one_byte_writes", "separate_writes"])
def test_handshake_in_small_writes(call, kind):
    plain = call(core()).hello()
    caller = call(core(Fault(kind))).hello()
    assert caller.text == plain.text
    assert len(plain.writes) == LINES
    wanted = len(plain.text) if kind == "one_byte_writes" else 2 * LINES
    assert len(caller.writes) == wanted
    caller.subscribe().start().run(1)
    assert caller.records() == raws(caller.account.sent) != []


def test_lines_with_an_unknown_key_and_a_bar_at_the_end(call):
    caller = call(core(Fault("unknown_key"), Fault("trailing_bar"))).hello()
    assert caller.lines[0] == "lsg_version=0.9.4|simulated_key=1|"
    assert caller.lines[1].endswith("|simulated_key=1|")
    assert caller.lines[2].endswith(f"session_id={caller.account.session_id}|simulated_key=1|")


STAGE_LINES = {
    "connected": 0,
    "greeted": 1,
    "challenged": 2,
    "authenticating": 2,
    "authenticated": 3,
}


def through(caller):
    """All that a client says, as far as it can."""
    if caller.lines[1:2] and "cram=" in caller.lines[1]:
        caller.hello()
    caller.subscribe()
    return caller.start().run(2)


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(("kind", "end"), [("fin", Close), ("rst", Reset)])
@pytest.mark.parametrize("stage", STAGES)
def test_connection_that_ends_at_a_stage(call, stage, kind, end, part):
    caller = through(call(core(Fault(kind, at=stage, part=part))))
    whole = caller.text.count(b"\n")
    assert caller.ending == [end]
    assert whole == STAGE_LINES.get(stage, LINES)
    rest = caller.text.rpartition(b"\n")[2] + bytes(caller.stream)
    begun = part and stage in {"connected", "greeted", "authenticating", "started", "described"}
    assert bool(rest) == (begun or stage == "described")
    assert caller.account.ended == ("closed" if kind == "fin" else "reset")
    assert caller.account.sent == []
    assert caller.account.faults == [kind]
    assert caller.session.next_ns is None


@pytest.mark.parametrize("stage", STAGES)
def test_silence_at_a_stage_for_ever(call, stage):
    caller = through(call(core(Fault("silence", at=stage)))).run(1_000)
    assert caller.ending == [Stall]
    assert caller.account.sent == []
    assert not caller.account.ended
    assert caller.session.next_ns is None


@pytest.mark.parametrize("stage", STAGES)
def test_silence_at_a_stage_that_ends(call, stage):
    gateway = core(Fault("silence", at=stage, seconds=4))
    caller = call(gateway)
    if "cram=" not in caller.text.decode():
        assert stage in {"connected", "greeted"}
        caller.run(5)
    caller.hello()
    if stage in {"challenged", "authenticating", "authenticated"}:
        caller.run(5)
    caller.subscribe().start().run(7)
    assert len(caller.account.lines) == LINES
    assert caller.account.faults == ["silence"]
    assert caller.records() == raws(caller.account.sent) != []


def test_subscriptions_that_begin_late(call):
    """Heartbeats come meanwhile; what was due before a subscription begins is not sent."""
    gateway = core(Fault("late_open", seconds=3.0), heartbeat_s=1.0)
    caller = streaming(call, gateway, "mbp-1", "trades", seconds=0)
    began_ns = caller.now_ns
    assert system_codes(caller) == []
    caller.run(2.9)
    assert system_codes(caller) == [0, 0]
    caller.run(3.0)
    assert system_codes(caller) == [0, 0, 1]
    assert {sent.schema for sent in caller.account.sent} == {"mbp-1"}
    assert min(sent.index_ns for sent in caller.account.sent) > began_ns + 3 * S
    caller.run(4.0)
    assert system_codes(caller) == [0, 0, 1, 1]
    trades = [sent for sent in caller.account.sent if sent.schema == "trades"]
    assert min(sent.index_ns for sent in trades) > began_ns + 6 * S
    assert caller.records() == raws(caller.account.sent)


def test_late_replay_goes_on_until_the_subscription_begins(call):
    gateway = core(Fault("late_open", seconds=3.0))
    caller = streaming(call, gateway, seconds=4, start=0)
    began_ns = caller.account.connected_ns + 3 * S
    assert [s.replayed for s in caller.account.sent] == [
        s.index_ns <= began_ns for s in caller.account.sent
    ]


def test_subscription_without_a_word(call):
    caller = streaming(call, core(Fault("no_ack")), start=0)
    assert system_codes(caller) == [3]
    assert caller.controls(db.SymbolMappingMsg)
    assert caller.records() == raws(caller.account.sent) != []


@pytest.mark.parametrize("stage", ["greeted", "authenticated", "described"])
def test_half_close_at_a_stage(call, stage):
    caller = through(call(core(Fault("half_close", at=stage))))
    assert caller.ending == [HalfClose]
    assert caller.account.ended == "half-closed"


# the end of a stream


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize(
    ("kind", "end"), [("fin", Close), ("rst", Reset), ("half_close", HalfClose)]
)
def test_end_after_an_exact_number_of_records(call, kind, end, compression, part):
    caller = streaming(
        call, core(Fault(kind, after_records=77, part=part)), compression=compression
    )
    assert caller.ending == [end]
    assert len(caller.account.sent) == 77
    assert caller.records() == raws(caller.account.sent)
    ragged = part and kind != "half_close"
    walked = 8 + int.from_bytes(caller.dbn[4:8], "little")
    while walked < len(caller.dbn) and walked + 4 * caller.dbn[walked] <= len(caller.dbn):
        walked += 4 * caller.dbn[walked]
    assert (walked < len(caller.dbn)) == ragged


def test_end_before_the_first_record(call):
    caller = streaming(call, core(Fault("fin", after_records=0)))
    assert caller.ending == [Close]
    assert caller.account.sent == []
    assert caller.controls(db.SymbolMappingMsg)


def test_end_after_some_seconds_without_a_record(call):
    caller = streaming(call, core(Fault("rst", after_s=2.5)), "ohlcv-1d", seconds=10)
    assert caller.ending == [Reset]
    assert (caller.account.ended_ns - caller.account.connected_ns) == pytest.approx(2.5 * S, abs=1)


@pytest.mark.parametrize("kind", ["fin", "rst"])
def test_replay_cut_in_its_middle(call, kind):
    gateway = core(Fault(kind, after_replayed=40))
    caller = streaming(call, gateway, start=0)
    assert [s.replayed for s in caller.account.sent] == [True] * 40
    assert 3 not in system_codes(caller)
    again = streaming(call, gateway, start=0)
    assert again.ends == []
    assert again.account.sent[:40] == caller.account.sent
    assert 3 in system_codes(again)


def test_silence_after_data_and_what_was_missed_comes_after_it(call):
    caller = streaming(call, core(Fault("silence", after_records=20, seconds=5)), seconds=4)
    assert len(caller.account.sent) == 20
    assert caller.ending == [Stall]
    caller.run(4)
    plain = streaming(call, core(), seconds=8)
    assert caller.account.sent == plain.account.sent
    assert caller.records() == raws(caller.account.sent)


def test_silence_has_no_heartbeat(call):
    gateway = core(Fault("silence", at="described"))
    caller = streaming(call, gateway, seconds=200, heartbeat_interval_s="5")
    assert len(caller.stream) == 0 or 0 not in system_codes(caller)
    assert caller.account.controls == []


# messages


@pytest.mark.parametrize(
    ("kind", "code"), [("heartbeat", 0), ("end_of_interval", 4), ("slow_warning", 2)]
)
def test_system_message_between_records(call, kind, code):
    caller = streaming(call, core(Fault(kind, after_records=30)))
    (told,) = [c for c in caller.account.controls if (c.kind, c.code) == ("system", code)]
    assert told.after == 30
    stream = caller.decoded()[1:]
    market = [i for i, r in enumerate(stream) if bytes(r)[1] == 1]
    at = [i for i, r in enumerate(stream) if isinstance(r, db.SystemMsg) and int(r.code) == code]
    assert at == [market[29] + 1]
    assert caller.records() == raws(caller.account.sent)


def test_system_message_of_an_unknown_code(call):
    caller = streaming(call, core(Fault("system", after_records=3, code=99, text="hello")))
    assert 99 in system_codes(caller)
    assert "hello" in [m.msg for m in caller.controls(db.SystemMsg)]


@pytest.mark.parametrize("code", [*range(1, 9), 77, 255])
@pytest.mark.parametrize("fatal", [False, True])
def test_error_of_every_code(call, code, fatal):
    caller = streaming(call, core(Fault("error", after_records=10, code=code, fatal=fatal)))
    (told,) = [c for c in caller.account.controls if c.kind == "error"]
    assert (told.code, told.after) == (code, 10)
    ends = code in (1, 2, 3, 5, 6, 8) or (fatal and code in (77, 255))
    assert caller.ending == ([Close] if ends else [])
    assert (len(caller.account.sent) == 10) == ends
    assert caller.records() == raws(caller.account.sent)
    (error,) = caller.controls(db.ErrorMsg)
    assert error.err == told.text


def test_fatal_error_on_every_connect(call):
    gateway = core(Fault("error", session=None, at="described", code=6))
    for _ in range(4):
        caller = streaming(call, gateway)
        assert caller.ending == [Close]
        assert int(caller.controls(db.ErrorMsg)[0].code) == 6
    assert len(gateway.sessions) == 4


def test_skipped_records_are_known_and_only_of_schemas_that_skip(call):
    schemas = ("mbp-1", "trades", "mbo", "bbo-1s")
    gateway = core(Fault("skipped", after_records=50, count=25))
    caller = streaming(call, gateway, *schemas)
    plain = streaming(call, core(), *schemas)
    assert len(caller.account.skipped) == 25
    assert {s.schema for s in caller.account.skipped} <= SKIPPABLE
    told = [c for c in caller.account.controls if (c.kind, c.code) == ("error", 7)]
    assert len(told) == 1
    for schema in schemas:
        got = [s for s in caller.account.sent if s.schema == schema]
        left_out = [s for s in caller.account.skipped if s.schema == schema]
        assert sorted(got + left_out) == sorted(s for s in plain.account.sent if s.schema == schema)
    assert caller.records() == raws(caller.account.sent)


def test_reader_that_wants_all_is_warned_and_loses_nothing(call):
    gateway = core(Fault("skipped", after_records=50, count=25))
    caller = streaming(call, gateway, slow_reader_behavior="warn")
    assert caller.account.skipped == []
    assert 2 in system_codes(caller)
    assert caller.account.sent == streaming(call, core()).account.sent


def test_reader_that_wants_all_loses_if_the_fault_insists(call):
    gateway = core(Fault("skipped", after_records=50, count=25, always=True))
    caller = streaming(call, gateway, slow_reader_behavior="warn")
    assert len(caller.account.skipped) == 25


# symbols


def test_instrument_id_that_stands_for_another_symbol_from_then_on(call):
    gateway = core(Fault("remap", after_records=40, text="NEWZ9"))
    caller = streaming(call, gateway)
    (after, instrument_id, symbol) = caller.account.renamed[0]
    assert (after, symbol) == (40, "NEWZ9")
    names = [
        m.stype_out_symbol
        for m in caller.controls(db.SymbolMappingMsg)
        if m.instrument_id == instrument_id
    ]
    assert len(names) == 2
    assert names[-1] == "NEWZ9" != names[0]
    again = streaming(call, gateway)
    last = {m.instrument_id: m.stype_out_symbol for m in again.controls(db.SymbolMappingMsg)}
    assert last[instrument_id] == "NEWZ9"


def test_data_before_their_mapping(call):
    caller = streaming(call, core(Fault("data_before_mapping", count=12)))
    kinds = [bytes(r)[1] for r in caller.decoded()[1:]]
    assert [k for k in kinds if k != 0x17][:16] == [1] * 12 + [0x16] * 4
    assert caller.records() == raws(caller.account.sent)


# records that are none


def strange(caller):
    """Bytes of each record of the stream, walked by their lengths."""
    data = caller.dbn
    at = 8 + int.from_bytes(data[4:8], "little")
    while at < len(data) and data[at] >= 4 and at + 4 * data[at] <= len(data):
        yield data[at : at + 4 * data[at]]
        at += 4 * data[at]


@pytest.mark.parametrize(
    ("fault", "rtype", "size"),
    [
        (Fault("unknown_rtype", after_records=9, count=3, size=100), 0x77, 100),
        (Fault("tbbo_v4", after_records=9), 0xC5, 96),
    ],
)
@pytest.mark.parametrize("ts_out", ["0", "1"])
def test_record_of_a_type_that_is_none(call, fault, rtype, size, ts_out):
    caller = streaming(call, core(fault), ts_out=ts_out)
    every = list(strange(caller))
    found = [r for r in every if r[1] == rtype]
    assert [len(r) for r in found] == [size + 8 * int(ts_out)] * fault.count
    market = [r for r in every if r[1] == 1]
    assert len(market) == len(caller.account.sent)
    assert caller.account.sent == streaming(call, core(), ts_out=ts_out).account.sent


@pytest.mark.parametrize("ts_out", ["0", "1"])
def test_record_longer_than_its_struct(call, ts_out):
    caller = streaming(call, core(Fault("long_record", after_records=9, size=30)), ts_out=ts_out)
    sizes = [len(r) for r in strange(caller) if r[1] == 1]
    usual = 80 + 8 * int(ts_out)
    assert sizes[9] == usual + 32
    assert set(sizes[:9] + sizes[10:]) == {usual}
    assert len(caller.records()) == len(caller.account.sent)
    assert caller.account.sent == streaming(call, core(), ts_out=ts_out).account.sent


def test_record_shorter_than_its_struct(call):
    caller = streaming(call, core(Fault("short_record", after_records=9)))
    sizes = [len(r) for r in strange(caller) if r[1] == 1]
    assert sizes[9] == 32
    assert len(sizes) == len(caller.account.sent) + 1


@pytest.mark.parametrize("kind", ["zero_length", "garbage"])
def test_stream_that_cannot_be_read_from_some_byte_on(call, kind):
    caller = streaming(call, core(Fault(kind, after_records=9)))
    market = [r for r in strange(caller) if r[1] == 1]
    assert market == raws(caller.account.readable)
    assert caller.account.broken_at == len(market) == 9
    assert len(caller.account.sent) > 9


@pytest.mark.parametrize("size", [1, 7, 4_000])
def test_writes_cut_at_any_byte(call, size):
    caller = streaming(call, core(Fault("cut_anywhere", size=size)), start=0, seconds=0.2)
    plain = streaming(call, core(), start=0, seconds=0.2)
    assert caller.stream == plain.stream
    assert max(len(w) for w in caller.writes[LINES:]) <= size
    assert caller.account.sent == plain.account.sent


@pytest.mark.parametrize("version", [1, 2, 3])
def test_metadata_of_every_version_that_is_known(call, version):
    caller = streaming(call, core(Fault("version", code=version)), "mbp-1", "definition", start=0)
    assert caller.decoded()[0].version == version
    assert caller.records() == raws(caller.account.sent)


def test_metadata_of_a_version_that_nobody_knows(call):
    caller = streaming(call, core(Fault("version", code=4)))
    assert caller.stream[:4] == b"DBN\x04"
    assert caller.account.readable == []


def test_control_records_without_ts_out(call):
    caller = streaming(call, core(Fault("plain_control")), ts_out="1")
    sizes = {r[1]: len(r) for r in strange(caller)}
    assert sizes == {0x01: 88, 0x16: 176, 0x17: 320}


# replay, refusals, restarts


def test_records_left_out_of_a_replay(call):
    caller = streaming(call, core(Fault("omit", after_replayed=30, count=9)), start=0)
    plain = streaming(call, core(), start=0)
    assert plain.account.sent[30:39] == caller.account.omitted
    assert plain.account.sent[:30] + plain.account.sent[39:] == caller.account.sent
    assert 3 in system_codes(caller)


def test_replayed_records_that_differ_from_the_live_ones_in_their_ts_recv(call):
    caller = streaming(call, core(Fault("other_replay", size=7)), "mbp-1", "ohlcv-1s", start=0)
    plain = streaming(call, core(), "mbp-1", "ohlcv-1s", start=0)
    assert caller.records() == raws(caller.account.sent)
    assert len(caller.account.sent) == len(plain.account.sent)
    for ours, theirs in zip(caller.account.sent, plain.account.sent, strict=True):
        if theirs.replayed and theirs.schema == "mbp-1":
            assert ours.index_ns == theirs.index_ns + 7
            assert (
                ours.raw == theirs.raw[:32] + ours.index_ns.to_bytes(8, "little") + theirs.raw[40:]
            )
        else:
            assert ours == theirs


def test_replay_that_is_refused_as_too_old(call):
    gateway = core(Fault("aged_out"))
    caller = streaming(call, gateway, start=0)
    assert int(caller.controls(db.ErrorMsg)[0].code) == 8
    assert caller.ending == [Close]
    assert streaming(call, gateway, start=0).account.sent


def test_connects_refused_then_accepted(call):
    gateway = core(Fault("refuse", session=1, count=3))
    taken = [gateway.connect(gateway.market.start_ns) is not None for _ in range(6)]
    assert taken == [True, False, False, False, True, True]
    assert [a.ended for a in gateway.sessions] == ["", "refused", "refused", "refused", "", ""]


def test_weekly_restart_closes_all_and_refuses_for_a_while(call):
    gateway = core(Fault("weekly_restart", session=1, after_records=20, seconds=60))
    first = streaming(call, gateway, seconds=0.1)
    assert first.ends == []
    second = streaming(call, gateway)
    assert second.ending == [Close]
    assert first.session.next_ns == first.now_ns
    first.run()
    assert first.ending == [Close]
    assert {a.ended for a in gateway.sessions} == {"weekly restart"}
    assert gateway.connect(second.now_ns) is None
    assert gateway.connect(second.now_ns + 61 * S) is not None


# all together


def test_every_kind_is_tried_here():
    with open(__file__) as file:
        text = file.read()
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []
    assert not MODES.keys() & EVENTS.keys()


@pytest.mark.parametrize("seed", range(24))
def test_random_scripts_are_accounted_exactly(call, seed):
    """Whatever happens: what is readable of the stream is what the account says, in order."""
    script = Script.random(seed, sessions=4, permanent=seed % 3 == 0)
    how = Habits(flush_s=0.2, flush_records=40) if seed % 4 == 3 else QUICK
    gateway = GatewayCore(
        Market(seed, rate=100, publishers=1 + seed % 3, schemas=SCHEMAS), script, habits=how
    )
    now_ns = gateway.market.start_ns + 5 * S
    for i in range(6):
        caller = call(gateway, now_ns)
        now_ns += 20 * S
        if caller.session is None:
            continue
        if len(caller.lines) > 2:
            caller.hello(compression="zstd" if seed % 4 == 3 else "none", ts_out=str(seed % 2))
        if len(caller.lines) > 3:
            start = {"start": caller.now_ns - S} if seed % 2 or i % 2 else {}
            caller.subscribe("mbp-1", **start).subscribe("trades", **start).start().run(15)
        market = [r for r in strange(caller) if r[1] in (0, 1) and len(r) >= 48]
        trimmed = [_trimmed(r, seed % 2) for r in market]
        if caller.dbn[:4] == b"DBN\x04":
            assert caller.account.broken_at == 0
            continue
        assert trimmed == raws(caller.account.readable), (seed, i, script)
        assert caller.account.records == len(caller.account.sent)


def _trimmed(record, ts_out):
    size = {0: 48, 1: 80}[record[1]]
    assert len(record) >= size + 8 * ts_out
    return bytes([size // 4]) + record[1:size]
