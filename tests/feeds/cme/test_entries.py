"""Packets as rows: against a decoder that others wrote, the schemas, and bytes that are no packet."""

from __future__ import annotations

import ast
import csv
import datetime as dt
import decimal
import gzip
import itertools
import random
import struct

import numpy as np
import pytest

from mdfeedd.feeds.cme.codec import _entries, layout
from mdfeedd.feeds.cme.codec.entries import (
    ENTRY,
    NULL,
    MdpError,
    RowGroup,
    decode_many,
    decode_packet,
)
from mdfeedd.feeds.cme.codec.explain import explain

V6 = "Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1"
I32_NULL, U32_NULL, I64_NULL, U64_NULL = 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1
# field of the schema to column
COLUMNS = {
    "TransactTime": "transact_time", "LastUpdateTime": "last_update", "MDEntrySize": "size",
    "MDDisplayQty": "size", "LastQty": "size", "OrderQty": "size", "OrderID": "order_id",
    "MDOrderPriority": "priority", "SecurityID": "security_id", "RptSeq": "rpt_seq",
    "NumberOfOrders": "orders", "TradeableSize": "tradeable_size", "MDTradeEntryID": "trade_id",
    "TradeID": "trade_id", "LastMsgSeqNumProcessed": "last_seq", "TotNumReports": "total_reports",
    "CurrentChunk": "chunk", "NoChunks": "chunks", "TradeDate": "trade_date",
    "TradingReferenceDate": "reference_date", "ApplID": "channel", "MDPriceLevel": "level",
    "MatchEventIndicator": "mei", "MDUpdateAction": "action", "OrderUpdateAction": "action",
    "SecurityUpdateAction": "action", "AggressorSide": "side", "Side": "side", "ReferenceID": "reference",
    "SettlPriceType": "settlement", "OpenCloseSettlFlag": "open_close", "SecurityTradingStatus": "status",
    "MDSecurityTradingStatus": "status", "HaltReason": "halt_reason", "SecurityTradingEvent": "event",
    "MDEntryType": "type", "SecurityGroup": "security_group", "Asset": "asset", "Symbol": "symbol",
    "MDEntryPx": "price", "CollateralMarketPrice": "price", "HighLimitPrice": "high_limit",
    "LowLimitPrice": "low_limit", "MaxPriceVariation": "max_variation",
}  # fmt: skip
ROW_GROUPS = {
    "NoMDEntries": RowGroup.ENTRY,
    "NoRelatedSym": RowGroup.ENTRY,
    "NoOrderIDEntries": RowGroup.ORDER,
}
CONSTANT_TYPES = {
    4: b"J",
    36: b"2",
    37: b"e",
    42: b"2",
    48: b"2",
    34: b"g",
    50: b"g",
    65: b"2",
    66: b"e",
}
CONSTANT_ACTIONS = {4: 0, 34: 0, 50: 0}


def arbitrated(payloads):
    """The first copy of each sequence number."""
    seen = {}
    for payload in payloads:
        seen.setdefault(payload[:4], payload)
    return list(seen.values())


# -- the oracle -------------------------------------------------------------------------------------------


def oracle_row(line):
    """A row of the oracle as column to value; only what it has."""
    _, seq, sending, message, template, version, *rest = line
    row = {
        "msg_seq": int(seq), "sending_time": int(sending), "message": int(message),
        "template": int(template), "version": int(version), "group": RowGroup.ROOT,
    }  # fmt: skip
    if not rest or not rest[2]:
        return row
    time, mei, group, entry, security, rpt_seq, price, size, orders, level, action, kind, extra = (
        rest
    )
    row |= {"transact_time": int(time), "mei": int(mei)}
    if group == "empty":
        return row | {"group": RowGroup.EMPTY}
    row |= {"entry": int(entry)}
    if group == "no_order_id_entries":
        order_id, last_quantity = extra.split("|")
        return row | {
            "group": RowGroup.ORDER, "order_id": int(order_id), "size": int(last_quantity)
        }  # fmt: skip
    row |= {"group": RowGroup.ENTRY}
    for column, text in {
        "security_id": security, "rpt_seq": rpt_seq, "size": size, "orders": orders, "level": level,
        "action": action,
    }.items():  # fmt: skip
        if text not in {"", str(I32_NULL)}:
            row[column] = int(text)
    if price:
        parts = ast.literal_eval(price)
        assert parts["exponent"] == -7
        row |= {"mantissa": parts["mantissa"], "price": parts["mantissa"] * 100}
    row["type"] = kind.encode() or CONSTANT_TYPES[row["template"]]
    if (
        row["template"] == 42
    ):  # the oracle's MDTradeEntryID is padding: these are packets of version 6
        row["side"] = int(extra.split("|")[0])
    elif row["template"] == 35:  # so is its size
        row["open_close"] = int(extra)
        del row["size"]
    return row


def test_rows_of_the_capture_are_those_of_another_decoder(cme_data, captures):
    with gzip.open(cme_data / f"oracle/{V6}.entries.csv.gz", "rt") as file:
        oracle = [oracle_row(line) for line in csv.reader(file)]
    rows = decode_many(arbitrated(captures[V6]))
    assert len(rows) == len(oracle) == 19_682
    expected = np.repeat(NULL, len(oracle))
    for i, row in enumerate(oracle):
        for column, value in row.items():
            expected[column][i] = value
    for column in ENTRY.names:
        different = np.flatnonzero(rows[column] != expected[column])
        assert not len(different), (column, oracle[different[0]], rows[different[0]])


def test_padding_of_older_versions_is_no_value(captures):
    rows = decode_many(arbitrated(captures[V6]))
    trades = rows[(rows["template"] == 42) & (rows["group"] == RowGroup.ENTRY)]
    statistics = rows[(rows["template"] == 35) & (rows["group"] == RowGroup.ENTRY)]
    assert len(trades) == 355
    assert set(trades["trade_id"]) == {U32_NULL}
    assert len(statistics) == 396
    assert set(statistics["size"]) == {I64_NULL}
    assert set(rows["tradeable_size"]) == {I32_NULL}


def test_every_capture_decodes_without_rest(captures):
    seen = set()
    for name, payloads in captures.items():
        for payload in payloads:
            told = explain(payload)
            assert b"".join(m["rest"] for m in told) == b"", name
            assert 12 + sum(m["size"] for m in told) == len(payload)
            seen |= {(m["version"], m["template"]) for m in told}
    assert {template for version, template in seen if version == 8} == {30, 32, 35, 37}
    assert {(5, 27), (5, 29), (5, 32), (5, 35), (5, 37), (5, 42), (6, 12), (6, 42)} <= seen


def test_version_8_has_sizes_and_order_ids(captures):
    rows = decode_many(captures["Mdp3.Sbe.v1.8_MdIncrementalRefreshSessionStatistics"])
    statuses = rows[rows["template"] == 30]
    assert set(statuses["group"]) == {RowGroup.ROOT}
    assert sorted(statuses["security_group"].tolist()) == [b"6E", b"6E", b"6H", b"6H", b"6N", b"6N"]
    assert set(statuses["security_id"]) == {I32_NULL}  # the whole group
    assert set(statuses["status"]) == {15}
    assert set(statuses["mei"]) == {0}
    # RptSeq is one sequence an instrument across all templates, so within a packet it never falls
    entries = rows[rows["group"] == RowGroup.ENTRY]
    for packet in np.unique(entries["msg_seq"]):
        one = entries[entries["msg_seq"] == packet]
        for security in np.unique(one["security_id"]):
            sequence = one["rpt_seq"][one["security_id"] == security]
            first_copy = sequence[: len(sequence) // 2]  # the two lines carry the same packet
            assert (np.diff(first_copy.astype(np.int64)) == 1).all()


# -- against the schemas ----------------------------------------------------------------------------------


def column_value(field, raw):
    """What ENTRY has to say of a value of the schema; None: nothing."""
    kind = field.type
    if kind.primitive == "char":
        if field.name == "SecurityUpdateAction":
            return ord(raw)
        return raw.encode() or None
    if raw == kind.null:
        return None
    if kind.exponent is not None and kind.primitive == "int64":
        if raw == I64_NULL:
            return None
        scaled = raw * 10 ** (kind.exponent + 9)
        return scaled if -(2**63) <= scaled < 2**63 else None
    column = ENTRY[COLUMNS[field.name]]
    if COLUMNS[field.name] == "size":
        return min(raw, I64_NULL - 1)
    return raw % (1 << 8 * column.itemsize) if column.kind == "u" else raw


def expected_rows(message, fields, groups, number):
    def fill(row, block, values):
        for field in block.fields:
            column = COLUMNS.get(field.name)
            if column is None:
                continue
            value = column_value(field, values[field.name])
            if column == "price" and values[field.name] != I64_NULL:
                row["mantissa"] = values[field.name]
            if value is not None:
                row[column] = value

    base = NULL.copy()
    base["msg_seq"], base["sending_time"], base["message"] = 7, 8, number
    base["template"], base["version"] = message.id, message.version
    fill(base, message, fields)
    rows, can = [], False
    for group in message.groups:
        if group.name not in ROW_GROUPS:
            continue
        can = True
        for i, entry in enumerate(groups[group.name]):
            row = base.copy()
            row["group"], row["entry"] = ROW_GROUPS[group.name], i
            if ROW_GROUPS[group.name] == RowGroup.ENTRY and message.id in CONSTANT_TYPES:
                row["type"] = CONSTANT_TYPES[message.id]
                row["action"] = CONSTANT_ACTIONS.get(message.id, 255)
            fill(row, group, entry)
            rows.append(row)
    if not rows:
        base["group"] = RowGroup.EMPTY if can else RowGroup.ROOT
        rows = [base]
    return np.concatenate(rows)


def assert_rows_equal(rows, expected, message):
    assert len(rows) == len(expected)
    for column in ENTRY.names:
        assert rows[column].tolist() == expected[column].tolist(), (message.name, column)


@pytest.mark.parametrize("seed", range(4))
def test_any_message_of_any_version_is_what_the_schema_says(schemas, make_packet, seed):
    rng = random.Random(seed)
    for schema in schemas.values():
        written, rows = [], []
        for number, message in enumerate(schema.messages.values()):
            fields, groups = message.invent(rng)
            written.append(message.encode(fields, groups))
            rows.append(expected_rows(message, fields, groups, number))
            decoded = decode_packet(make_packet(written[-1], seq=7, sending_time=8))
            rows[-1]["message"] = 0
            assert_rows_equal(decoded, rows[-1], message)
            rows[-1]["message"] = number
        together = decode_packet(make_packet(*written, seq=7, sending_time=8))
        assert_rows_equal(together, np.concatenate(rows), message)


def test_padding_is_a_value_only_from_its_version_on(schemas, make_packet):
    book, trade, statistics = (schemas[13].messages[i] for i in (46, 48, 51))
    size = {"NoMDEntries": [{"TradeableSize": 0, "MDEntryType": "0"}]}
    for version, value in ((5, I32_NULL), (9, I32_NULL), (10, 0), (13, 0), (99, 0)):
        assert (
            decode_packet(make_packet(book.encode(groups=size, version=version)))["tradeable_size"]
            == value
        )
    for version, value in ((6, U32_NULL), (7, 0), (9, 0)):
        encoded = trade.encode(groups={"NoMDEntries": [{"MDTradeEntryID": 0}]}, version=version)
        assert decode_packet(make_packet(encoded))["trade_id"] == value
    for version, value in ((7, I64_NULL), (8, 0), (9, 0)):
        encoded = statistics.encode(groups={"NoMDEntries": [{"MDEntrySize": 0}]}, version=version)
        assert decode_packet(make_packet(encoded))["size"] == value


def test_longer_blocks_of_a_version_to_come(schemas, make_packet):
    rng = random.Random(99)
    for message in schemas[13].messages.values():
        fields, groups = message.invent(rng)
        plain = decode_packet(make_packet(message.encode(fields, groups)))
        longer = decode_packet(
            make_packet(message.encode(fields, groups, version=99, longer=b"\xff" * 5))
        )
        assert set(longer["version"]) == {99}
        longer["version"] = 13
        assert longer.tolist() == plain.tolist()


def test_old_and_new_template_give_one_scale(schemas, make_packet):
    old = (
        schemas[8]
        .messages[32]
        .encode(groups={"NoMDEntries": [{"MDEntryPx": 45_025_000_0, "MDEntryType": "0"}]})
    )
    new = (
        schemas[9]
        .messages[46]
        .encode(groups={"NoMDEntries": [{"MDEntryPx": 45_025_000_000, "MDEntryType": "0"}]})
    )
    rows = decode_packet(make_packet(old, new))
    assert rows["price"].tolist() == [45_025_000_000, 45_025_000_000]
    assert rows["mantissa"].tolist() == [450_250_000, 45_025_000_000]


def test_unknown_template_between_known_ones(schemas, make_packet):
    beat = schemas[13].messages[12].encode()
    alien = struct.pack("<HHHHH", 10 + 7, 3, 999, 1, 14) + b"\xaa" * 7
    rows = decode_packet(make_packet(beat, alien, beat))
    assert rows["template"].tolist() == [12, 999, 12]
    assert rows["message"].tolist() == [0, 1, 2]
    assert [m["rest"] for m in explain(make_packet(alien))] == [b"\xaa" * 7]


def test_quantity_longer_than_any_market(schemas, make_packet):
    book = schemas[13].messages[64]
    entries = [
        {"MDEntrySize": n, "MDEntryType": "0"} for n in (0, 2**40, 2**63 - 1, 2**64 - 2, U64_NULL)
    ]
    rows = decode_packet(make_packet(book.encode(groups={"NoMDEntries": entries})))
    assert rows["size"].tolist() == [0, 2**40, 2**63 - 2, 2**63 - 2, I64_NULL]


def test_packet_without_a_message(make_packet):
    assert len(decode_packet(make_packet())) == 0
    assert decode_many([]).dtype == ENTRY


# -- explain ----------------------------------------------------------------------------------------------


def told_value(field, raw):
    """What `explain` has to say of a value of the schema."""
    kind = field.type
    if kind.primitive == "char":
        return raw
    if kind.name == "MaturityMonthYear":
        year, month, day, _ = raw
        return f"{year}{month:02}" + ("" if day == 255 else f"{day:02}")
    nothing = I64_NULL if kind.exponent is not None and kind.primitive == "int64" else kind.null
    if raw == nothing:
        return None
    if kind.exponent is not None:
        with decimal.localcontext(prec=40):
            return decimal.Decimal(raw) * decimal.Decimal(10) ** kind.exponent
    if field.semantic == "LocalMktDate":
        return dt.date(1970, 1, 1) + dt.timedelta(days=raw)
    return raw


@pytest.mark.parametrize("seed", range(2))
def test_any_message_is_explained_in_the_words_of_its_schema(schemas, make_packet, seed):
    rng = random.Random(seed)
    for schema in schemas.values():
        for message in schema.messages.values():
            fields, groups = message.invent(rng)
            (told,) = explain(make_packet(message.encode(fields, groups), seq=3))
            assert (told["template"], told["version"], told["msg_seq"]) == (
                message.id,
                schema.version,
                3,
            )
            assert told["name"] == layout.TEMPLATES[message.id].name
            assert told["fields"] == {f.name: told_value(f, fields[f.name]) for f in message.fields}
            for group in message.groups:
                assert told["groups"][group.name] == [
                    {f.name: told_value(f, entry[f.name]) for f in group.fields}
                    for entry in groups[group.name]
                ]


def test_field_newer_than_the_header_is_not_explained(schemas, make_packet):
    message = schemas[13].messages[46]
    encoded = message.encode(groups={"NoMDEntries": [{"TradeableSize": 0}]}, version=9)
    (told,) = explain(make_packet(encoded))
    assert "TradeableSize" not in told["groups"]["NoMDEntries"][0]


def test_price_is_explained_exactly_whatever_the_context(schemas, make_packet):
    message = schemas[13].messages[46]
    encoded = message.encode(groups={"NoMDEntries": [{"MDEntryPx": -9_223_372_036_854_775_807}]})
    with decimal.localcontext(prec=3):
        (told,) = explain(make_packet(encoded))
    assert str(told["groups"]["NoMDEntries"][0]["MDEntryPx"]) == "-9223372036.854775807"


def test_names_of_values():
    assert layout.name_of("MDUpdateAction", 2) == "Delete"
    assert layout.name_of("MatchEventIndicator", 0x84) == "LastQuoteMsg EndOfEvent"
    assert layout.name_of("MatchEventIndicator", 0) == ""
    assert layout.name_of("SettlPriceType", 0x20) == "bit5"
    assert layout.name_of("MDEntryType", "Z") == ""
    assert layout.name_of("SecurityID", 1) == ""
    assert layout.name_of("SecurityTradingStatus", None) == ""


# -- bytes that are no packet -----------------------------------------------------------------------------


def hostile(schemas, make_packet):
    """Packets of which nothing may be told, by what is wrong with them."""
    book = (
        schemas[13]
        .messages[46]
        .encode(groups={"NoMDEntries": [{"SecurityID": 1}, {"SecurityID": 2}]})
    )

    def changed(at, raw):
        return make_packet(book[:at] + raw + book[at + len(raw) :])

    yield "no header", b"\0" * 11
    yield "nothing", b""
    yield "part of a message header", make_packet(book, b"\0" * 9)
    yield "MsgSize 0", changed(0, b"\0\0")
    yield "MsgSize below its header", changed(0, b"\x09\0")
    yield "MsgSize below its root", changed(0, struct.pack("<H", 10 + 10))
    yield "MsgSize above the packet", changed(0, struct.pack("<H", len(book) + 1))
    yield "MsgSize cuts a group", changed(0, struct.pack("<H", len(book) - 12))
    yield "BlockLength above the message", changed(2, b"\xff\xff")
    yield "BlockLength below the root", changed(2, b"\x08\0")
    yield "255 entries", changed(10 + 11 + 2, b"\xff")
    yield "entry shorter than its fields", changed(10 + 11, b"\x1a\0")
    yield "entry of no bytes", changed(10 + 11, b"\0\0")
    yield "entry beyond the message", changed(10 + 11, b"\xff\xff")
    yield (
        "part of a group's dimension",
        make_packet(struct.pack("<HHHHH", 10 + 11 + 2, 11, 46, 1, 13) + bytes(13)),
    )


def test_lengths_that_contradict_each_other(schemas, make_packet):
    cases = list(hostile(schemas, make_packet))
    assert len(cases) == 15
    for what, payload in cases:
        for decode in (decode_packet, explain, _entries.definitions):
            with pytest.raises(MdpError, match="at byte"):
                print(what, decode(payload))


def test_bad_packets_among_good_ones(schemas, make_packet):
    good = make_packet(schemas[13].messages[12].encode())
    bad = [payload for _, payload in hostile(schemas, make_packet)]
    mixed = [p for pair in itertools.zip_longest(bad, [], fillvalue=good) for p in pair]
    with pytest.raises(MdpError):
        decode_many(mixed)
    errors: list[tuple[int, MdpError]] = []
    rows = decode_many(mixed, errors=errors)
    assert rows["template"].tolist() == [12] * len(bad)
    assert [number for number, _ in errors] == list(range(0, len(mixed), 2))


def test_error_names_the_message_that_is_wrong(schemas, make_packet):
    beat = schemas[13].messages[12].encode()
    with pytest.raises(MdpError, match=r"32 bytes has a message whose MsgSize .* at byte 22"):
        decode_packet(make_packet(beat, b"\xff" * 10))


def test_packet_cut_anywhere_is_refused_or_ends_with_a_message(captures):
    payload = max(captures[V6], key=len)
    ends = {12, *itertools.accumulate((m["size"] for m in explain(payload)), initial=12)}
    whole = decode_packet(payload)
    for length in range(len(payload)):
        if length in ends:
            rows = decode_packet(payload[:length])
            assert rows.tolist() == whole[: len(rows)].tolist()
        else:
            with pytest.raises(MdpError):
                decode_packet(payload[:length])


def test_array_too_small_for_the_rows(captures):
    payload = max(captures[V6], key=len)
    rows = np.zeros(1, ENTRY)
    with pytest.raises(ValueError, match="do not fit"):
        _entries.decode_into(payload, rows.view(np.uint8))
    assert rows[0] == decode_packet(payload)[0]


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)]
)
def test_payload_of_any_bytes_like_kind(captures, kind):
    payload = captures[V6][5]
    assert decode_packet(kind(payload)).tolist() == decode_packet(payload).tolist()
    assert explain(kind(payload)) == explain(payload)
