"""Options: what is refused, in words, and where `check` shows it in the file."""

from __future__ import annotations

import dataclasses
import datetime as dt

import databento_dbn as db
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.daemon import config
from mdfeedd.daemon.config import ConfigError
from mdfeedd.feeds.databento.options import (
    MAX_SUBSCRIPTIONS,
    MAX_SYMBOLS,
    DatabentoOptions,
    Subscription,
)
from mdfeedd.feeds.databento.schemas import (
    INTERVAL_TOUCH,
    RTYPES,
    SCHEMAS,
    TBBO_SCHEMA,
    WITH_TRADES,
    schema_in,
)

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
TRADES = Subscription("trades", ("ESZ6",))
BASE = DatabentoOptions("GLBX.MDP3", (TRADES,))

SUBSCRIPTIONS = [
    ({"schema": "mbp1"}, "schema: must be one of mbp-1, trades, tbbo, mbp-10"),
    ({"schema": "mbp1"}, "not 'mbp1'"),
    ({"symbols": ()}, f"symbols: must be 1 to {MAX_SYMBOLS}, not 0"),
    ({"symbols": ("A",) * (MAX_SYMBOLS + 1)}, f"symbols: must be 1 to {MAX_SYMBOLS}, not 100001"),
    ({"symbols": ("",)}, "symbols: must be of 1 to 70 printable characters, not ''"),
    ({"symbols": ("x" * 71,)}, "symbols: must be of 1 to 70 printable characters"),
    ({"symbols": ("A\n",)}, "symbols: must be of 1 to 70 printable characters, not 'A\\n'"),
    ({"symbols": ("A\x00",)}, "symbols: must be of 1 to 70 printable characters"),
    ({"symbols": ("A|B",)}, "symbols: must not hold | , or =: 'A|B'"),
    ({"symbols": ("A,B",)}, "symbols: must not hold | , or =: 'A,B'"),
    ({"symbols": ("ok", "A=B")}, "symbols: must not hold | , or =: 'A=B'"),
    ({"stype": "smart"}, "stype: must be one of raw_symbol, parent, continuous, instrument_id"),
    ({"recovery": "snapshot"}, "recovery: snapshot is for mbo only, not for trades"),
    (
        {"schema": "mbo", "recovery": "replay"},
        "recovery: an mbo book cannot be had by replay: use snapshot or natural",
    ),
    ({"start": "yesterday"}, "start: is no ISO 8601 time: 'yesterday'"),
    ({"start": "2026-13-01"}, "start: is no ISO 8601 time: '2026-13-01'"),
    ({"start": "-1"}, "start: is no ISO 8601 time: '-1'"),
    ({"start": "²"}, "start: is no ISO 8601 time: '²'"),
    ({"schema": "mbo", "start": "0"}, "start: and a snapshot exclude each other"),
]

OPTIONS = [
    ({"dataset": "glbx.mdp3"}, "dataset: must be like GLBX.MDP3, not 'glbx.mdp3'"),
    ({"dataset": "GLBX.MDP3\n"}, "dataset: must be like GLBX.MDP3"),
    ({"dataset": "GLBX"}, "dataset: must be like GLBX.MDP3, not 'GLBX'"),
    ({"subscriptions": ()}, "subscriptions: must be 1 to 64, not 0"),
    (
        {"subscriptions": tuple(Subscription("status", (f"S{i}",)) for i in range(65))},
        "subscriptions: must be 1 to 64, not 65",
    ),
    ({"heartbeat_s": 4}, "heartbeat_s: must be 5 to 1800, not 4"),
    ({"heartbeat_s": 1801}, "heartbeat_s: must be 5 to 1800, not 1801"),
    ({"receive_buffer_bytes": 1}, "receive_buffer_bytes: must be 65536 to "),
    ({"receive_buffer_bytes": (1 << 30) + 1}, "receive_buffer_bytes: must be 65536 to "),
    ({"replay_reach_s": -1.0}, "replay_reach_s: must be 0 to 3600, not -1.0"),
    ({"replay_reach_s": float("nan")}, "replay_reach_s: must be 0 to 3600, not nan"),
    ({"replay_limit_s": 604_801.0}, "replay_limit_s: must be 0 to 604800, not 604801.0"),
    ({"max_orders": 15}, "max_orders: must be 16 to "),
    ({"max_orders": (1 << 26) + 1}, "max_orders: must be 16 to "),
    ({"renew_at": "24:00"}, "renew_at: must be HH:MM, not '24:00'"),
    ({"renew_at": "6:00"}, "renew_at: must be HH:MM, not '6:00'"),
    ({"record": "rel/path"}, "record: must be an absolute path, not 'rel/path'"),
    ({"key_file": "key"}, "key_file: must be an absolute path, not 'key'"),
    (
        {"encoding": "json", "record": "/tmp"},
        "record: holds DBN, so it cannot be had with encoding json",
    ),
    ({"spin_us": -1}, "spin_us: must be 0 to 1000000, not -1"),
    (
        {"compression": "zstd", "record": "/tmp", "spin_us": 5},
        "spin_us: is for plain DBN, and does nothing with compression zstd and record",
    ),
    ({"key_credential": "a/b"}, "key_credential: is a name, not a path: 'a/b'"),
    ({"gateway": "host:0"}, "gateway: must be host or host:port, not 'host:0'"),
    ({"gateway": "host:65536"}, "gateway: must be host or host:port, not 'host:65536'"),
    ({"gateway": "host:"}, "gateway: must be host or host:port, not 'host:'"),
    ({"gateway": "::1"}, "gateway: must be host or host:port, not '::1'"),
    ({"gateway": "http://host"}, "gateway: must be host or host:port, not 'http://host'"),
    (
        {"subscriptions": (Subscription("mbp-1", ("A",)), Subscription("tbbo", ("B",)))},
        "subscriptions: tbbo and mbp-1 cannot be told apart in one session: use two feeds",
    ),
    (
        {"subscriptions": (TRADES, TRADES)},
        "subscriptions: ESZ6 is asked for twice, in trades: each record would come twice",
    ),
    (
        {"subscriptions": (TRADES, Subscription("mbp-1", ("A", "ESZ6")))},
        "subscriptions: ESZ6 is asked for in trades and mbp-1: each trade would be told twice",
    ),
]


def refused(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)
    key, colon, reason = str(caught.value).partition(": ")
    assert colon
    assert reason
    return key


def key_of(changed):
    return next(key for key in reversed(changed) if key != "schema" or len(changed) == 1)


@pytest.mark.parametrize(("changed", "words"), SUBSCRIPTIONS)
def test_subscription_is_refused(changed, words):
    key = refused(lambda: Subscription(**{"schema": "trades", "symbols": ("A",), **changed}), words)
    assert key == key_of(changed)


@pytest.mark.parametrize(("changed", "words"), OPTIONS)
def test_option_is_refused(changed, words):
    key = refused(lambda: dataclasses.replace(BASE, **changed), words)
    assert key == list(changed)[-1]


def test_every_limit_is_said_in_full():
    """1073741824, not 1.07374e+09."""
    for key in ("receive_buffer_bytes", "max_orders"):
        with pytest.raises(ValueError) as caught:
            dataclasses.replace(BASE, **{key: 1})
        assert "e+" not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"heartbeat_s": 5},
        {"heartbeat_s": 1800},
        {"replay_reach_s": 0.0},
        {"replay_limit_s": 604_800.0},
        {"max_orders": 16},
        {"renew_at": "23:59"},
        {"renew_at": "00:00"},
        {"record": "/tmp"},
        {"key_credential": "databento"},
        {
            "subscriptions": tuple(
                Subscription("status", (f"S{i}",)) for i in range(MAX_SUBSCRIPTIONS)
            )
        },
        {"subscriptions": (TRADES, Subscription("status", ("ESZ6",)))},
        {"subscriptions": (TRADES, Subscription("trades", ("NQZ6",)))},
    ],
)
def test_taken_at_the_edges(changed):
    made = dataclasses.replace(BASE, **changed)
    assert all(getattr(made, key) == value for key, value in changed.items())


@pytest.mark.parametrize(
    "symbol", ["x" * 70, "AAPL  250221C00250000", "UD:2E: SG 2500275", "ES.FUT", "ES.c.0", "É"]
)
def test_symbols_that_are_in_use(symbol):
    assert Subscription("trades", (symbol,)).symbols == (symbol,)


@pytest.mark.parametrize(
    ("gateway", "address"),
    [
        ("", ("glbx-mdp3.lsg.databento.com", 13_000)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("gate-1.example.com", ("gate-1.example.com", 13_000)),
        ("[::1]", ("::1", 13_000)),
        ("[::1]:65535", ("::1", 65_535)),
    ],
)
def test_gateway(gateway, address):
    assert dataclasses.replace(BASE, gateway=gateway).address() == address


@pytest.mark.parametrize(
    ("schema", "recovery", "policy"),
    [
        ("mbo", "auto", "snapshot"),
        ("mbo", "natural", "natural"),
        ("mbo", "snapshot", "snapshot"),
        ("trades", "auto", "natural"),
        ("trades", "natural", "natural"),
        ("trades", "replay", "replay"),
    ],
)
def test_recovery(schema, recovery, policy):
    assert Subscription(schema, ("A",), recovery=recovery).policy == policy


@pytest.mark.parametrize(
    ("slow_reader", "schemas", "behavior"),
    [
        ("auto", ["bbo-1s"], "skip"),
        ("auto", ["bbo-1s", "cbbo-1m"], "skip"),
        ("auto", ["bbo-1s", "trades"], "warn"),
        ("auto", ["mbp-1"], "warn"),
        ("warn", ["bbo-1s"], "warn"),
        ("skip", ["mbp-1"], "skip"),
    ],
)
def test_slow_reader(slow_reader, schemas, behavior):
    subscriptions = tuple(Subscription(schema, ("A",)) for schema in schemas)
    made = DatabentoOptions("GLBX.MDP3", subscriptions, slow_reader=slow_reader)
    assert made.slow_reader_behavior == behavior


def test_what_a_replay_needs_is_not_skipped():
    made = DatabentoOptions("GLBX.MDP3", (Subscription("bbo-1s", ("A",), recovery="replay"),))
    assert made.slow_reader_behavior == "warn"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("", None),
        ("0", 0),
        ("1795000000000000001", 1_795_000_000_000_000_001),
        ("1970-01-01", 0),
        ("2026-11-24T00:00:00", 1_795_478_400_000_000_000),
        ("2026-11-24T00:00:00Z", 1_795_478_400_000_000_000),
        ("2026-11-24T01:00:00+01:00", 1_795_478_400_000_000_000),
        ("2026-11-24T00:00:00.4", 1_795_478_400_400_000_000),
        ("2026-11-24T00:00:00.6", 1_795_478_400_600_000_000),
        ("2026-11-24T00:00:00.999999", 1_795_478_400_999_999_000),
    ],
)
def test_start(text, ns):
    assert Subscription("trades", ("A",), start=text).start_ns == ns


@settings(deadline=None)
@given(st.integers(0, 7_000_000_000_000_000).map(lambda us: EPOCH + dt.timedelta(microseconds=us)))
def test_start_is_exact_to_the_microsecond(when):
    ns = Subscription("trades", ("A",), start=when.isoformat()).start_ns
    assert ns == (when - EPOCH) // dt.timedelta(microseconds=1) * 1000


# schemas


def test_schemas_are_those_of_the_vendor():
    vendor = {str(db.Schema.from_str(schema)) for schema in SCHEMAS}
    assert vendor == set(SCHEMAS)
    for schema, rtype in RTYPES.items():
        assert int(db.RType.from_schema(db.Schema.from_str(schema))) == rtype, schema
    assert INTERVAL_TOUCH.issubset(SCHEMAS)
    assert WITH_TRADES.issubset(SCHEMAS)
    assert db.Schema.from_int(TBBO_SCHEMA) == db.Schema.TBBO


@pytest.mark.parametrize("schema", SCHEMAS)
def test_schema_in_a_sentence(schema):
    for text in (
        f"Finished {schema} replay",
        f"finished '{schema}' replay.",
        f'Replay of "{schema.upper()}", done',
        f"replay completed: {schema}",
    ):
        assert schema_in(text) == schema


@pytest.mark.parametrize("text", ["", "Finished replay", "mbp-100 mbp-1x xmbo", "trades-mbo"])
def test_no_schema_in_a_sentence(text):
    assert schema_in(text) == ""


# the file

FILE = """feeds:
  - name: f
    vendor: databento
    options:
      dataset: GLBX.MDP3
      subscriptions:
        - schema: trades
          symbols: [ESZ6]
          stype: raw_symbol
          recovery: auto
          start: ''
"""
LINES = {"dataset": 5, "schema": 7, "symbols": 8, "stype": 9, "recovery": 10, "start": 11}


def problem(text):
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "x.yaml")
    first = caught.value.problems[0]
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"x.yaml:{first.mark.line}:{first.mark.column}: error: ")
    return first.mark.line, first.sentence


def with_line(key, value):
    lines = FILE.splitlines()
    if key not in LINES:
        return FILE + f"      {key}: {value}\n", len(lines) + 1
    number = LINES[key]
    lines[number - 1] = lines[number - 1].partition(":")[0] + f": {value}"
    return "\n".join(lines) + "\n", number


IN_FILE = [
    ("dataset", "glbx", "dataset: must be like GLBX.MDP3"),
    ("schema", "mbp1", "schema: must be one of"),
    ("symbols", "[]", "symbols: must be 1 to"),
    ("symbols", "['A|B']", "symbols: must not hold"),
    ("stype", "smart", "stype: must be 'raw_symbol', 'parent', 'continuous' or 'instrument_id'"),
    ("recovery", "snapshot", "recovery: snapshot is for mbo only"),
    ("recovery", "never", "recovery: must be"),
    ("start", "soon", "start: is no ISO 8601 time"),
    ("heartbeat_s", "1", "heartbeat_s: must be 5 to 1800"),
    ("heartbeat_s", "soon", "heartbeat_s: must be a whole number"),
    ("receive_buffer_bytes", "1", "receive_buffer_bytes: must be"),
    ("replay_reach_s", "-1", "replay_reach_s: must be"),
    ("replay_limit_s", "1e9", "replay_limit_s: must be"),
    ("max_orders", "1", "max_orders: must be"),
    ("renew_at", "'25:00'", "renew_at: must be HH:MM"),
    ("record", "here", "record: must be an absolute path"),
    ("key_file", "here", "key_file: must be an absolute path"),
    ("key_credential", "a/b", "key_credential: is a name"),
    ("key_env", "5", "key_env: must be a string"),
    ("gateway", "'host:0'", "gateway: must be host or host:port"),
    ("encoding", "xml", "encoding: must be 'dbn' or 'json'"),
    ("compression", "gzip", "compression: must be 'none' or 'zstd'"),
    ("slow_reader", "drop", "slow_reader: must be"),
    ("spin_us", "-1", "spin_us: must be 0 to"),
    ("ts_out", "3", "ts_out: must be true or false"),
    ("accept_newer_dbn", "maybe", "accept_newer_dbn: must be true or false"),
    ("key", "db-secret", "key: a secret is not written here, only where it is"),
]


@pytest.mark.parametrize(("key", "value", "words"), IN_FILE)
def test_mistake_is_shown_at_its_line(key, value, words):
    text, number = with_line(key, value)
    line, sentence = problem(text)
    assert (line, words in sentence) == (number, True), sentence


def test_every_option_has_a_mistake_above():
    keys = {f.name for cls in (DatabentoOptions, Subscription) for f in dataclasses.fields(cls)}
    assert keys - {"subscriptions"} == {key for key, _, _ in IN_FILE} - {"key"}
    assert all(f.metadata["help"] for f in dataclasses.fields(DatabentoOptions))


def test_file_without_a_mistake():
    assert config.parse(FILE, "x.yaml").feeds[0].options["dataset"] == "GLBX.MDP3"
