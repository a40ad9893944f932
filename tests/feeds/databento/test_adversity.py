"""Streams that are odd or broken, made here record by record."""

from __future__ import annotations

import contextlib
import random
import struct
import tracemalloc

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import (
    BookOverflow,
    DbnDecoder,
    DbnError,
    ErrorMessage,
    LocalInstruments,
    ShortRecord,
    Symbology,
    SystemMessage,
    UnknownRecord,
)
from mdfeedd.feeds.databento.codec._dbn import TICKS_PER_RECORD
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.ring import Reader, RingSpace, Writer
from mdfeedd.tick import QUOTE, STATISTIC, TIME_UNDEF, TRADE

T0 = 1_700_000_000_000_000_000
DAY = 86_400 * 10**9
U64, U32, I64 = 2**64 - 1, 2**32 - 1, 2**63 - 1


def row(rtype=1, version=3, **fields):
    dtype = record_dtype(rtype, version)
    r = np.zeros((), dtype)
    r["length"], r["rtype"], r["publisher_id"], r["instrument_id"] = (
        dtype.itemsize // 4,
        rtype,
        1,
        7,
    )
    r["ts_event"] = T0
    defaults = {"ts_recv": T0 + 5, "action": b"A", "side": b"B", "flags": 128}
    texts = {n for n in dtype.names if dtype[n].kind == "S"}
    usual = {
        k: v
        for k, v in defaults.items()
        if k in dtype.names and isinstance(v, bytes) == (k in texts)
    }
    for name, value in (usual | fields).items():
        r[name] = value
    return r.tobytes()


def stretch(record, extra):
    """The record, longer by words of rubbish."""
    return bytes([record[0] + extra]) + record[1:] + b"\xab" * (4 * extra)


def metadata(version=3, mappings=(), schema=None, *, ts_out=False, stype_in=db.SType.RAW_SYMBOL):
    return db.Metadata(
        dataset="GLBX.MDP3", start=T0, stype_in=stype_in, stype_out=db.SType.INSTRUMENT_ID,
        schema=schema, symbols=[], ts_out=ts_out, version=version,
    ).encode() if not mappings else with_mappings(version, mappings)  # fmt: skip


def with_mappings(version, mappings):
    """Metadata with (symbol, [(start, end, resolved)]), dates as YYYYMMDD."""
    width = 22 if version == 1 else 71
    body = bytearray(104)
    body[:9] = b"GLBX.MDP3"
    struct.pack_into("<HQQ", body, 16, 0xFFFF, T0, U64)
    if version == 1:
        struct.pack_into("<BBB", body, 50, 1, 0, 0)
    else:
        struct.pack_into("<BBBH", body, 42, 1, 0, 0, width)
    body += struct.pack("<III", 0, 0, 0) + struct.pack("<I", len(mappings))
    for symbol, intervals in mappings:
        body += symbol.encode().ljust(width, b"\0") + struct.pack("<I", len(intervals))
        for start, end, resolved in intervals:
            body += struct.pack("<II", start, end) + resolved.encode().ljust(width, b"\0")
    body += bytes(-len(body) % 8)
    return b"DBN" + bytes([version]) + struct.pack("<I", len(body)) + bytes(body)


def decode(raw, table=None, **options):
    table = table or LocalInstruments()
    decoder = DbnDecoder(Symbology(table), **options)
    out = decoder.decode(raw)
    return out, decoder, table


def names(ticks, table):
    return [table.symbols[i] for i in ticks["instrument_id"].tolist()]


# --------------------------------------------------------------------------- records that are not as usual


def test_unknown_types_are_skipped_counted_and_told_once_each():
    odd = [row()[:1] + bytes([rtype]) + row()[2:] for rtype in (0x77, 0xC5, 0x77, 0x77, 0xC5)]
    raw = metadata() + row() + b"".join(odd) + row()
    out, decoder, _ = decode(raw)
    assert len(out.ticks) == 2
    assert decoder.counts["unknown"] == 5
    assert decoder.counts["records"] == 7
    assert decoder.take_events() == [UnknownRecord(0x77, 80), UnknownRecord(0xC5, 80)]
    assert decoder.take_events() == []


@pytest.mark.parametrize(
    "rtype", [0x00, 0x01, 0x0A, 0x12, 0x13, 0x14, 0x18, 0x22, 0xA0, 0xB1, 0xC0, 0xC2, 0xC3]
)
def test_longer_records_are_read_and_shorter_ones_refused(rtype):
    whole = row(rtype)
    plain, _, _ = decode(whole, version=3)
    longer, _, _ = decode(stretch(whole, 3), version=3)
    assert longer.ticks.tobytes() == plain.ticks.tobytes()
    assert longer.bars.tobytes() == plain.bars.tobytes()
    short = bytes([whole[0] - 1]) + whole[1:-4]
    out, decoder, _ = decode(short + row() + short + whole, version=3)
    assert decoder.counts["malformed"] == 2
    assert decoder.take_events() == [ShortRecord(rtype, len(short))]
    assert len(out.ticks) + len(out.bars) == 1 + len(plain.ticks) + len(plain.bars)


@pytest.mark.parametrize("words", [0, 1, 2, 3])
def test_a_record_shorter_than_its_header_ends_the_stream(words):
    raw = metadata() + row() + row()
    broken = raw + bytes([words]) + row()
    decoder = DbnDecoder(Symbology(LocalInstruments()))
    assert len(decoder.decode(broken).ticks) == 2
    for call in (lambda: decoder.decode(row()), decoder.finish):
        with pytest.raises(DbnError, match="shorter than its own header") as told:
            call()
        assert told.value.offset == len(raw)


def test_ts_out_is_believed_from_the_metadata_only():
    sent = struct.pack("<Q", T0 + 99)
    records = [
        bytes([len(r) // 4 + 2]) + r[1:] + sent for r in (row(), row(0x18), row(0xA0), row(0x16))
    ]
    with_ts, decoder, _ = decode(metadata(ts_out=True) + b"".join(records))
    without, _, _ = decode(metadata() + row() + row(0x18) + row(0xA0) + row(0x16))
    assert with_ts.ticks.tobytes() == without.ticks.tobytes()
    assert decoder.counts["malformed"] == 0
    short = bytes([row()[0]]) + row()[1:]  # 80 bytes, of which 8 would be ts_out
    _, decoder, _ = decode(metadata(ts_out=True) + short)
    assert decoder.counts["malformed"] == 1


def test_everything_mixed_at_random_equals_the_oracle(tools):
    rng = random.Random(5)
    kinds = [0x00, 0x01, 0x0A, 0x12, 0x14, 0x18, 0x21, 0xA0, 0xB1, 0xC0, 0xC2, 0xC4]
    good, mixed = [], []
    for i in range(3_000):
        rtype = rng.choice(kinds)
        fields = {"instrument_id": rng.choice([7, 8, 9]), "publisher_id": rng.choice([1, 2])}
        names_ = record_dtype(rtype, 3).names
        if "action" in names_ and rtype != 0x12:
            fields["action"] = rng.choice([b"A", b"C", b"M", b"T", b"F", b"R"])
        if rtype == 0x12:
            fields |= {
                "action": 7,
                "is_trading": b"Y",
                "is_quoting": b"N",
                "is_short_sell_restricted": b"~",
            }
        if rtype == 0x00:
            fields["action"] = b"T"
        if "side" in names_:
            fields["side"] = rng.choice([b"A", b"B", b"N"])
        if "flags" in names_:
            fields["flags"] = rng.choice([0, 128, 130, 8, 4, 128 | 32])
        if "bid_px_00" in names_:
            fields |= {"bid_px_00": rng.choice([I64, 5]), "bid_sz_00": rng.choice([3, U32])}
            fields |= {"ask_px_00": rng.choice([I64, 6]), "ask_sz_00": rng.choice([0, 9])}
        if "order_id" in names_:
            fields |= {
                "order_id": rng.randrange(20),
                "price": rng.randrange(1, 9),
                "size": rng.randrange(1, 5),
            }
        if "ts_recv" in names_:
            fields["ts_recv"] = T0 + i
        if "stat_type" in names_:
            fields |= {"stat_type": 3, "update_action": 1}
        record = row(rtype, **fields)
        good.append(record)
        mixed.append(stretch(record, rng.randrange(4)) if rng.random() < 0.2 else record)
        if rng.random() < 0.1:
            mixed.append(bytes([rng.randrange(4, 256), 0x99]))
            mixed[-1] += bytes(4 * mixed[-1][0] - 2)
        if rng.random() < 0.05:
            mixed.append(bytes(db.SystemMsg(T0, "beat", db.SystemCode.HEARTBEAT)))
    oracle = tools.Oracle(3).decode(b"".join(good))
    raw = b"".join(mixed)
    cuts = sorted(rng.choices(range(len(raw)), k=400))
    table = tools.Table()
    decoder = DbnDecoder(Symbology(table), version=3)
    parts = [decoder.decode(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    decoder.finish()
    assert tools.told(np.concatenate([p.ticks for p in parts]), table) == oracle.ticks
    assert tools.told_bars(np.concatenate([p.bars for p in parts]), table) == oracle.bars


# ------------------------------------------------------------------------------------------------ beginnings


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"hello, world", "this is not DBN"),
        (b"DBM\x03", "this is not DBN"),
        (b"\x50\x2a\x4d\x18" + bytes(20), "legacy DBZ"),
        (b"\x5f\x2a\x4d\x18" + bytes(20), "legacy DBZ"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "compressed with zstd"),
        (b"DBN\x04" + bytes(200), "version 4 is not known"),
        (b"DBN\x00" + bytes(200), "version 0 is not known"),
        (b"DBN\x03" + struct.pack("<I", 50) + bytes(50), "shorter than their fixed part"),
        (b"DBN\x03" + struct.pack("<I", 2**31) + bytes(50), "longer than 64 MiB"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_no_stream_is_told_and_stays_told(raw, sentence, step):
    decoder = DbnDecoder(Symbology(LocalInstruments()))

    def feed():
        for i in range(0, len(raw), step):
            decoder.decode(raw[i : i + step])

    with pytest.raises(DbnError, match=sentence):
        feed()
    with pytest.raises(DbnError, match=sentence):
        decoder.decode(row())


@pytest.mark.parametrize("version", [1, 2, 3])
def test_metadata_with_any_bytes_wrong_never_crash(version):
    rng = random.Random(version)
    raw = with_mappings(version, [("ESH4", [(20231101, 20231201, "7")]), ("X", [])])
    for _ in range(3_000):
        bad = bytearray(raw)
        for _ in range(rng.randrange(1, 5)):
            bad[rng.randrange(8, len(bad))] = rng.choice([0, 1, 0xFF, rng.randrange(256)])
        decoder = DbnDecoder(Symbology(LocalInstruments()))
        with contextlib.suppress(DbnError):  # any other exception is a bug
            decoder.decode(bytes(bad) + row())


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (0, "there is nothing in it"),
        (5, "within its metadata"),
        (60, "within its metadata"),
        (-1, "within a record"),
    ],
)
def test_an_end_in_the_middle_of_something(cut, sentence):
    decoder = DbnDecoder(Symbology(LocalInstruments()))
    decoder.decode((metadata() + row())[:cut])
    with pytest.raises(DbnError, match=sentence):
        decoder.finish()


def test_fragment_versions():
    for version in (0, 4):
        with pytest.raises(ValueError, match="version must be 1 to 3"):
            DbnDecoder(Symbology(LocalInstruments()), version=version)


# --------------------------------------------------------------------------------------------------- symbols


def test_an_id_means_another_instrument_another_day():
    raw = metadata(
        mappings=[
            ("ESZ3", [(20231114, 20231115, "7")]),
            ("NQZ3", [(20231115, 20231116, "7"), (20231118, 20231119, "7")]),
        ]
    )
    records = [row(ts_recv=T0 + d * DAY) for d in (0, 0, 1, 2, 4, 5)]  # T0 is on 2023-11-14
    out, decoder, table = decode(raw + b"".join(records))
    assert names(out.ticks, table) == ["ESZ3", "ESZ3", "NQZ3", "7", "NQZ3", "7"]
    assert decoder.counts["unmapped"] == 2


@pytest.mark.parametrize("start", [10101, 16770921, 20231114])
@pytest.mark.parametrize("end", [20231115, 22620412, 99991231])
def test_dates_that_nanoseconds_do_not_reach_are_for_ever(start, end):
    raw = metadata(mappings=[("ESZ3", [(start, end, "7")])])
    out, _, table = decode(raw + row(ts_recv=T0))
    assert names(out.ticks, table) == ["ESZ3"]


def test_mapping_messages_rename_from_there_on_and_repeats_change_nothing():
    def told(symbol):
        return bytes(
            db.SymbolMappingMsg(
                0, 7, T0, db.SType.CONTINUOUS, "ES.c.0", db.SType.RAW_SYMBOL, symbol, U64, U64
            )
        )

    raw = metadata() + row() + told("ESZ3") + row() + told("ESZ3") + row() + told("ESH4") + row()
    out, decoder, table = decode(raw)
    assert names(out.ticks, table) == ["7", "ESZ3", "ESZ3", "ESH4"]
    assert decoder.counts["skipped"] == 3
    assert decoder.counts["unmapped"] == 1


@pytest.mark.parametrize("version", [1, 2, 3])
def test_mapping_of_each_version_and_number_for_a_name(version):
    mapping = row(0x16, version, stype_in_symbol=b"ESZ3", stype_out_symbol=b"7")
    out, _, table = decode(metadata(version) + mapping + row())
    assert names(out.ticks, table) == ["ESZ3"]


def test_publishers_of_one_id_are_instruments_of_their_own():
    out, _, table = decode(
        metadata() + row(publisher_id=1) + row(publisher_id=2) + row(publisher_id=1)
    )
    a, b, c = out.ticks["instrument_id"].tolist()
    assert a == c != b
    assert names(out.ticks, table) == ["7", "7", "7"]


def test_a_definition_names_and_describes(tools):
    table = tools.Table()
    definition = row(
        0x13, raw_symbol=b"ESZ3", min_price_increment=25 * 10**7, currency=b"USD", exchange=b"XCME",
        expiration=T0, unit_of_measure_qty=50 * 10**9, security_update_action=b"M",
    )  # fmt: skip
    decoder = DbnDecoder(Symbology(table), version=3)
    ticks = decoder.decode(row(publisher_id=9) + definition + row(publisher_id=9)).ticks
    assert [table.of[i] for i in ticks["instrument_id"].tolist()] == [
        ("7", 7, 9), ("ESZ3", 7, 1), ("ESZ3", 7, 9),
    ]  # fmt: skip
    for own_id in ticks["instrument_id"].tolist():
        assert table.attributes[own_id]["tick_size"] == 25 * 10**7
        assert table.attributes[own_id]["multiplier"] == 50 * 10**9


def test_more_instruments_than_the_table_began_with():
    records = b"".join(row(instrument_id=i, publisher_id=i % 3) for i in range(5_000))
    out, _, table = decode(metadata() + records + records)
    assert len(set(out.ticks["instrument_id"].tolist())) == 5_000
    assert names(out.ticks, table) == [str(i) for i in range(5_000)] * 2


def test_instruments_table_of_the_ring_is_full(shm_dir):
    with Writer("full", instruments_capacity=2, directory=shm_dir) as writer:
        decoder = DbnDecoder(Symbology(writer.instruments))
        records = b"".join(row(instrument_id=i) for i in range(3))
        with pytest.raises(RingSpace, match="full at 2 entries"):
            decoder.decode_into(writer, metadata() + records)
        assert writer.next_seq == 3  # what came before is out
        with pytest.raises(RingSpace):
            decoder.decode_into(writer, row())


# ------------------------------------------------------------------------------------- messages and values


@pytest.mark.parametrize("version", [1, 2, 3])
def test_system_and_error_messages_become_events(version):
    if version == 1:
        system, error = row(0x17, 1, msg=b"beat"), row(0x15, 1, err=b"no")
    else:
        system = bytes(db.SystemMsg(T0, "beat", db.SystemCode.HEARTBEAT))
        error = bytes(db.ErrorMsg(T0, "no", is_last=True, code=db.ErrorCode.AUTH_FAILED))
    _, decoder, _ = decode(metadata(version) + system + error)
    code = 255 if version == 1 else 0
    assert decoder.take_events() == [
        SystemMessage(T0, code, "beat"),
        ErrorMessage(T0, 255 if version == 1 else 1, "no", is_last=True),
    ]


def test_undefined_values_never_become_numbers():
    undefined = {
        "bid_px_00": I64,
        "ask_px_00": 5,
        "bid_sz_00": U32,
        "ask_sz_00": U32,
        "bid_ct_00": U32,
    }
    quote = decode(row(ts_event=U64, **undefined), version=3)[0].ticks.view(QUOTE)[0]
    assert quote["ts_event"] == TIME_UNDEF
    assert (quote["bid_price"], quote["bid_size"], quote["ask_size"], quote["count"]) == (
        I64,
        0,
        0,
        0,
    )
    bbo = decode(row(0xC3, ts_event=U64, price=I64, bid_px_00=I64), version=3)[0].ticks[0]
    assert bbo["ts_event"] == bbo["ts_recv"] == T0 + 5
    trade = decode(row(0x00, action=b"T", size=U32, ts_recv=U64), version=3)[0].ticks.view(TRADE)[0]
    assert (trade["size"], trade["ts_recv"]) == (0, TIME_UNDEF)
    for version, none in ((1, 2**31 - 1), (3, I64)):
        stat = row(0x18, version, quantity=none, price=I64, ts_ref=U64)
        told = decode(stat, version=version)[0].ticks.view(STATISTIC)[0]
        assert (told["price"], told["quantity"], told["ts_ref_s"]) == (I64, I64, 0)


@pytest.mark.parametrize(
    ("schema", "seconds"), [(5, 1), (6, 60), (7, 3600), (8, 86400), (13, 86400), (None, None)]
)
def test_old_bars_have_the_interval_of_the_schema(schema, seconds):
    out, decoder, _ = decode(row(0x11), version=1, schema=schema)
    assert out.bars["interval_s"].tolist() == ([] if seconds is None else [seconds])
    assert decoder.counts["unknown"] == (seconds is None)


def test_an_action_that_does_not_exist_is_malformed():
    out, decoder, _ = decode(row(action=b"?") + row(), version=3)
    assert len(out.ticks) == 1
    assert decoder.counts["malformed"] == 1


# ---------------------------------------------------------------------------------------------- order books


def test_a_book_past_its_limit_is_stale_until_its_next_clear():
    adds = [row(0xA0, order_id=i, price=100 + i, size=1, action=b"A") for i in range(50)]
    start = row(0xA0, action=b"R", side=b"N")
    raw = start + b"".join(adds) + start + b"".join(adds[:5])
    out, decoder, _ = decode(raw, version=3, max_orders=20)
    quotes = out.ticks[out.ticks["kind"] == 1]
    stale = (quotes["flags"] & 4 != 0).tolist()
    assert stale == [False] * 20 + [False] * 5
    assert quotes.view(QUOTE)["bid_price"].tolist() == [*range(100, 120), *range(100, 105)]
    assert decoder.book_overflows == 30
    assert decoder.take_events() == [BookOverflow(0xA0)]
    cancel = row(0xA0, order_id=19, action=b"C", price=119, size=1)
    out, _, _ = decode(start + b"".join(adds) + cancel, version=3, max_orders=20)
    assert out.ticks["flags"][-1] & 4
    assert out.ticks.view(QUOTE)["bid_price"][-1] == 118


def test_a_book_that_began_in_the_middle_is_stale():
    out, _, _ = decode(row(0xA0, order_id=1, price=5, size=1), version=3)
    assert out.ticks["flags"][0] & 4


@pytest.mark.parametrize("seed", range(6))
def test_random_books_equal_a_simple_one(tools, seed):
    rng = random.Random(seed)
    live, raw = {}, []
    for i in range(20_000):
        instrument = rng.choice([7, 8, 9])
        orders = live.setdefault(instrument, [])
        action = rng.choices("ACMTFRN", [40, 35, 15, 4, 4, 0.05, 1])[0]
        order_id = rng.randrange(1 << 20) if action == "A" or not orders else rng.choice(orders)
        if action == "A":
            orders.append(order_id)
        if action == "R":
            orders.clear()
        flags = rng.choices([0, 128, 40, 168, 64 | 128, 4], [20, 75, 2, 1, 1, 1])[0]
        raw.append(
            row(
                0xA0, instrument_id=instrument, order_id=order_id, action=action.encode(),
                side=rng.choice([b"A", b"B"]), price=rng.choice([rng.randrange(50), I64]) if
                rng.random() < 0.01 else rng.randrange(50), size=rng.randrange(1, 20), flags=flags,
                ts_recv=T0 + i, ts_event=T0 - 50 + i, sequence=i,
            )
        )  # fmt: skip
    raw = b"".join(raw)
    table = tools.Table()
    ticks = DbnDecoder(Symbology(table), version=3).decode(raw).ticks
    assert tools.told(ticks, table) == tools.Oracle(3).decode(raw).ticks


# ------------------------------------------------------------------------------------------------ into a ring


def test_decode_into_stops_at_max_ticks_and_goes_on(shm_dir):
    records = b"".join(row(ts_recv=T0 + i, sequence=i) for i in range(5_000))
    raw = metadata() + records
    with Writer("r", 8192, directory=shm_dir) as writer:
        decoder = DbnDecoder(Symbology(writer.instruments))
        left, rng = memoryview(raw), random.Random(1)
        while left:
            limit = rng.randrange(TICKS_PER_RECORD, 700)
            before = writer.next_seq
            used = decoder.decode_into(writer, left[:50_000], max_ticks=limit)
            assert writer.next_seq - before <= limit
            left = left[used:]
        decoder.finish()
        with pytest.raises(ValueError, match=f"at least {TICKS_PER_RECORD}"):
            decoder.decode_into(writer, b"", max_ticks=TICKS_PER_RECORD - 1)
        assert writer.counters.get("published_quotes") == 5_000
        with Reader("r", start="oldest", directory=shm_dir) as reader:
            got = reader.read(10_000, timeout=0).records
    assert got["venue_seq"].tolist() == list(range(5_000))


def test_bars_without_a_bar_ring_are_skipped(shm_dir):
    with Writer("r", directory=shm_dir) as writer:
        decoder = DbnDecoder(Symbology(writer.instruments), version=3)
        decoder.decode_into(writer, row(0x22) * 200)
        assert writer.counters.get("skipped_records") == 200
        assert writer.counters.get("published_bars") == 0


def test_a_closed_writer_is_refused(shm_dir):
    writer = Writer("r", directory=shm_dir)
    decoder = DbnDecoder(Symbology(writer.instruments), version=3)
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        decoder.decode_into(writer, row())


def test_no_memory_is_taken_per_tick(shm_dir):
    records = b"".join(row(ts_recv=T0 + i, instrument_id=i % 20) for i in range(20_000))
    with Writer("r", directory=shm_dir) as writer:
        decoder = DbnDecoder(Symbology(writer.instruments), version=3)
        decoder.decode_into(writer, records)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            decoder.decode_into(writer, records)
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert after - before < 2_000
    assert peak - before < 20_000
