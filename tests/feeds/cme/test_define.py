"""Instrument definitions: all kinds in all versions, a real packet, and what a broken one must not do."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from mdfeedd.feeds.cme.codec import _entries
from mdfeedd.tick import PRICE_UNDEF

NEW, OLD = (54, 55, 56, 57, 58, 63), (27, 29, 41)
VERSIONS = (5, 6, 8, 9, 10, 11, 12, 13)
OK, NO_TEMPLATE, BAD_BLOCK, BAD_GROUP = 0, -1, -2, -3
NULL_U32 = 2**32 - 1
LAST_TRADE = 1_781_877_600_000_000_000


def definition_messages(schemas):
    return [
        schema.messages[i]
        for schema in schemas.values()
        for i in (*OLD, *NEW)
        if i in schema.messages
    ]


def split(message, encoded):
    """Root and groups of an encoded message."""
    return encoded[10 : 10 + message.block], encoded[10 + message.block :]


def define(message, encoded):
    return _entries.define(message.id, message.version, *split(message, encoded))


def a_future(schemas, version=13, template=54, **values):
    message = schemas[version].messages[template]
    groups = {
        "NoEvents": [
            {"EventType": 5, "EventTime": 1_700_000_000_000_000_000},
            {"EventType": 7, "EventTime": LAST_TRADE},
        ],
        "NoMDFeedTypes": [
            {"MDFeedType": "GBX", "MarketDepth": 10},
            {"MDFeedType": "GBI", "MarketDepth": 2},
        ],
    }
    fields = {"Symbol": "ESM6", "SecurityID": 42, "MinPriceIncrement": 250_000_000, **values}
    return message, message.encode(fields, groups)


def test_first_definitions_ever_captured(captures):
    (payload,) = captures["Mdp3.Sbe.v1.5_MdInstrumentDefinitionSpread"]
    told = {d["symbol"]: d for d in _entries.definitions(payload)}
    assert set(told) == {b"ESM6-ESU6", b"ESM6-ESZ6", b"ESU6", b"ESU6-ESZ6", b"ESZ5"}
    es = told[b"ESZ5"]
    assert (es["security_id"], es["template_id"], es["version"]) == (13950, 27, 5)
    assert (es["group"], es["asset"], es["exchange"], es["currency"]) == (
        b"ES",
        b"ES",
        b"XCME",
        b"USD",
    )
    assert (es["security_type"], es["cfi"], es["channel"]) == (b"FUT", b"FFIXSX", 310)
    assert (es["action"], es["total_reports"], es["trading_status"]) == (ord("A"), 15, 4)
    # a quarter of a point, in wire prices of a hundredth of a point, and fifty dollars a point
    assert es["tick_size"] == 25 * 10**9
    assert es["display_factor"] == 10**7
    assert es["multiplier"] == 50 * 10**9
    assert (es["high_limit"], es["low_limit"]) == (219_750 * 10**9, 198_850 * 10**9)
    assert es["max_variation"] == 600 * 10**9
    assert (es["depth"], es["implied_depth"], es["user_defined"]) == (10, 0, 0)
    expiry = dt.datetime(2015, 12, 18, 14, 30, tzinfo=dt.UTC)
    assert es["expiration"] == int(expiry.timestamp()) * 10**9
    spread = told[b"ESM6-ESU6"]
    assert (spread["template_id"], spread["multiplier"], spread["tick_size"]) == (29, 0, 5 * 10**9)
    assert (spread["high_limit"], spread["low_limit"]) == (PRICE_UNDEF, PRICE_UNDEF)


def expected(message, fields, groups):
    """What the schema says of these values, by its own types."""
    types = {f.name: f.type for f in message.fields}

    def price(name, absent):
        raw = fields.get(name)
        if raw is None or raw == PRICE_UNDEF:
            return absent
        scaled = raw * 10 ** (types[name].exponent + 9)
        return scaled if -(2**63) <= scaled < 2**63 else absent

    def text(name):
        return fields.get(name, "").encode()

    events = {e["EventType"]: e["EventTime"] for e in groups["NoEvents"]}
    depths = {e["MDFeedType"]: e["MarketDepth"] for e in groups["NoMDFeedTypes"]}
    return {
        "last_update": fields["LastUpdateTime"],
        "activation": events.get(5, 0),
        "expiration": events.get(7, 0),
        "tick_size": price("MinPriceIncrement", 0),
        "display_factor": price("DisplayFactor", 0),
        "multiplier": price("UnitOfMeasureQty", 0),
        "high_limit": price("HighLimitPrice", PRICE_UNDEF),
        "low_limit": price("LowLimitPrice", PRICE_UNDEF),
        "max_variation": price("MaxPriceVariation", PRICE_UNDEF),
        "security_id": fields["SecurityID"],
        "total_reports": fields["TotNumReports"],
        "channel": fields["ApplID"],
        "template_id": message.id,
        "version": message.version,
        "mei": fields["MatchEventIndicator"],
        "action": ord(fields["SecurityUpdateAction"]),
        "trading_status": fields["MDSecurityTradingStatus"],
        "depth": max(0, depths.get("GBX", 0)),
        "implied_depth": max(0, depths.get("GBI", 0)),
        "user_defined": int(fields["UserDefinedInstrument"] == "Y"),
        "symbol": text("Symbol"),
        "group": text("SecurityGroup"),
        "asset": text("Asset"),
        "exchange": text("SecurityExchange"),
        "currency": text("Currency"),
        "security_type": text("SecurityType"),
        "cfi": text("CFICode"),
    }


@pytest.mark.parametrize("seed", range(5))
def test_any_definition_of_any_version_is_what_the_schema_says(schemas, seed):
    rng = random.Random(seed)
    messages = definition_messages(schemas)
    assert {m.id for m in messages} == {*OLD, *NEW}
    for message in messages:
        fields, groups = message.invent(rng)
        fields["UserDefinedInstrument"] = rng.choice("YN")
        for event in groups["NoEvents"]:
            event["EventType"] = rng.choice((5, 7, 9))
        for feed in groups["NoMDFeedTypes"]:
            feed["MDFeedType"] = rng.choice(("GBX", "GBI", "OTH"))
        result, told = define(message, message.encode(fields, groups))
        assert (result, told) == (OK, expected(message, fields, groups)), (message.name, seed)


@pytest.mark.parametrize("version", [9, 13, 99])
def test_longer_blocks_of_a_version_to_come(schemas, version):
    message, _ = a_future(schemas)
    encoded = message.encode(
        {"Symbol": "ESM6", "SecurityID": 42},
        {"NoEvents": [{"EventType": 7, "EventTime": LAST_TRADE}]},
        version=version,
        longer=b"\xff" * 7,
    )
    body = encoded[10:]
    length = message.block + 7
    result, told = _entries.define(54, version, body[:length], body[length:])
    assert result == OK
    assert (told["symbol"], told["security_id"], told["expiration"]) == (b"ESM6", 42, LAST_TRADE)


def test_header_says_9_where_the_file_said_13(schemas):
    message, encoded = a_future(schemas, version=9)
    assert message.block == 216
    result, told = define(message, encoded)
    assert (result, told["depth"], told["implied_depth"]) == (OK, 10, 2)


def test_old_price_too_large_for_the_new_scale(schemas):
    for raw in (2**63 - 1, 2**62, -(2**62)):
        message, encoded = a_future(
            schemas, 8, 27, HighLimitPrice=raw, MinPriceIncrement=raw, LowLimitPrice=2_500_000
        )
        told = define(message, encoded)[1]
        assert (told["high_limit"], told["tick_size"]) == (PRICE_UNDEF, 0)
        assert told["low_limit"] == 250_000_000


def test_total_outside_the_loop_is_null(schemas):
    message, encoded = a_future(schemas)
    assert define(message, encoded)[1]["total_reports"] == NULL_U32


def test_symbol_with_spaces_and_bytes_that_are_no_text(schemas):
    message, encoded = a_future(schemas)
    root, groups = split(message, encoded)
    (symbol,) = (f for f in message.fields if f.name == "Symbol")
    for raw, text in {
        b"ESM6                ": b"ESM6",
        b"ES\x1b[2J\xff\n": b"ES?[2J??",
        b"12345678901234567890": b"12345678901234567890",
        b"A B  \0garbage": b"A B",
        b"\0" * 20: b"",
    }.items():
        dirty = root[: symbol.offset] + raw.ljust(20, b"\0") + root[symbol.end :]
        assert _entries.define(54, 13, dirty, groups)[1]["symbol"] == text


def test_template_is_no_definition():
    for template in (0, 4, 46, 52, 53, 59, 64, 27 + 65536, 255):
        assert _entries.define(template, 13, bytes(400), b"") == (NO_TEMPLATE, None)


def test_root_cut_anywhere(schemas):
    for message in definition_messages(schemas):
        root, groups = split(message, message.encode({"Symbol": "X"}))
        demanded = next(
            root_min for _, new, old, root_min in _entries.templates() if message.id in {new, old}
        )
        for length in range(message.block):
            result, _ = _entries.define(message.id, message.version, root[:length], groups)
            assert result == (BAD_BLOCK if length < demanded else OK)


def test_groups_cut_anywhere(schemas):
    for message in definition_messages(schemas):
        rng = random.Random(message.id)
        fields, groups = message.invent(rng)
        root, tail = split(message, message.encode(fields, groups))
        ends, at = {0}, 0
        for group in message.groups:
            at += group.dimension + group.block * len(groups[group.name])
            ends.add(at)
        for length in range(len(tail)):
            result, _ = _entries.define(message.id, message.version, root, tail[:length])
            assert result == (OK if length in ends else BAD_GROUP), (message.name, length)


def test_group_of_entries_too_short_or_too_many(schemas):
    message, encoded = a_future(schemas)
    root, _ = split(message, encoded)

    def result(groups):
        return _entries.define(54, 13, root, groups)[0]

    assert result(b"\x08\x00\x01" + bytes(8)) == BAD_GROUP  # an event has nine bytes
    assert result(b"\x00\x00\x01") == BAD_GROUP
    assert result(b"\x09\x00\xff" + bytes(9)) == BAD_GROUP
    assert result(b"\xff\xff\xff" + bytes(100)) == BAD_GROUP
    assert result(b"\x00\x00\x00") == OK  # none of nothing
    assert result(b"\xff\xff\x00") == OK
    assert result(b"") == OK
    assert result(b"\x09") == BAD_GROUP


def test_bytes_after_the_last_group_that_we_know(schemas):
    message, encoded = a_future(schemas)
    root, groups = split(message, encoded)
    assert _entries.define(54, 14, root, groups + b"\xff" * 9)[0] == OK


def test_group_newer_than_the_header_is_not_looked_for(schemas):
    message = schemas[13].messages[58]
    encoded = message.encode({"Symbol": "REPO"}, {"NoBrokenDates": [{}]})
    root, groups = split(message, encoded)
    assert _entries.define(58, 13, root, groups[:-1])[0] == BAD_GROUP
    assert _entries.define(58, 12, root, groups[:-1])[0] == OK
