"""A DBN file as a market: all of its records, as Databento's decoder has them, by its own symbols."""

from __future__ import annotations

import databento_dbn as db
import pytest
import zstandard

from mdfeedd.sim.databento import DbnFileError, FileMarket, GatewayCore, Market
from mdfeedd.sim.databento.layouts import metadata, recode, unpack

S = 1_000_000_000
UPGRADE = db.VersionUpgradePolicy.UPGRADE_TO_V3
PLAYED = {"mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1m", "definition", "statistics", "status",
          "imbalance", "cmbp-1", "cbbo-1s", "cbbo-1m", "bbo-1s", "bbo-1m", "ohlcv-1s", "ohlcv-1h",
          "ohlcv-1d"}  # fmt: skip


def all_of(market):
    every = [
        market.timeline(schema)[i]
        for schema in market.schemas
        for i in range(len(market.timeline(schema)))
    ]
    return sorted(every, key=lambda r: r.due_ns)


def samples(testdata):
    for path in sorted((testdata / "dbn").rglob("*.dbn*")):
        if path.suffix in (".dbn", ".zst") and ".frag" not in path.name:
            data = path.read_bytes()
            if path.suffix == ".zst":
                reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
                data = reader.read()
            yield path, data


def test_every_sample_file_is_played_whole(testdata):
    played = 0
    for path, data in samples(testdata):
        first, *records = db.DBNDecoder(upgrade_policy=UPGRADE).write_and_decode(data)
        if not records:
            with pytest.raises(DbnFileError, match="holds no market record"):
                FileMarket(path)
            continue
        market = FileMarket(path)
        ours = all_of(market)
        assert sorted(r.raw for r in ours) == sorted(bytes(r) for r in records), path
        assert [r.due_ns for r in ours] == sorted(r.due_ns for r in ours)
        assert market.dataset == first.dataset
        assert set(market.schemas) == {str(first.schema)}
        assert {r.instrument_id for r in ours} == set(market.symbols.by_id)
        played += 1
    assert played > 50


def test_symbols_are_those_of_the_metadata(testdata):
    path = testdata / "dbn/databento__dbn/tests/data/test_data.mbp-1.v3.dbn.zst"
    market = FileMarket(path)
    assert [i.raw_symbol for i in market.instruments] == ["ESH1"]


def write(path, market, schemas, *, version=3, compress=False):
    market.run_until(market.start_ns + 5 * S)
    records = sorted(
        (r for schema in schemas for r in market.records(schema, 0, market.start_ns + 4 * S)),
        key=lambda r: r.due_ns,
    )
    data = metadata("XNAS.ITCH", version=version) + b"".join(
        recode(r.raw, version) for r in records
    )
    path.write_bytes(zstandard.compress(data) if compress else data)
    return records


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_session_of_a_file_at_a_time_of_our_own(tmp_path, call, version, compress):
    schemas = ("mbp-1", "trades", "definition", "mbo")
    written = write(tmp_path / "x", Market(2), schemas, version=version, compress=compress)
    start_ns = 1_900_000_000 * S
    market = FileMarket(tmp_path / "x", start_ns=start_ns)
    caller = call(GatewayCore(market, dataset=market.dataset), start_ns - 1).hello()
    for schema in schemas:
        caller.subscribe(schema)
    caller.start().run(10)
    assert caller.records() == [s.raw for s in caller.account.sent]
    shift_ns = start_ns - written[0].due_ns
    for schema in schemas:
        sent = [unpack(s.raw) for s in caller.account.sent if s.schema == schema]
        old = [unpack(r.raw) for r in written if r.schema == schema]
        assert [s["ts_recv"] for s in sent] == [r["ts_recv"] + shift_ns for r in old]
        assert [s["ts_event"] for s in sent] == [r["ts_event"] + shift_ns for r in old]
    assert market.next_ns is None
    names = {m.stype_out_symbol for m in caller.controls(db.SymbolMappingMsg)}
    assert names == {"ESZ6", "NQZ6", "ZNH7", "CLF7"}


def test_snapshot_out_of_a_file_is_the_markets(tmp_path):
    truth = Market(2)
    write(tmp_path / "x.dbn", truth, ("mbo",))
    market = FileMarket(tmp_path / "x.dbn")
    at_ns = truth.start_ns + 3 * S
    assert market.snapshot([5482, 5499], at_ns) == truth.snapshot([5482, 5499], at_ns) != []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\x03\x04 and more", "is not DBN"),
        (b"", "is not DBN"),
        (metadata("X", version=4) + bytes(100), "is DBN version 4"),
        (metadata("X")[:60], "ends within its metadata"),
        (metadata("X")[:4] + b"\x10\0\0\0" + bytes(16), "ends within its metadata"),
        (metadata("X"), "holds no market record"),
        (metadata("X") + b"\x14\x01" + bytes(20), "the record at byte 128 is broken or cut off"),
        (metadata("X") + bytes(80), "the record at byte 128 is broken or cut off"),
        (zstandard.compress(metadata("X") * 50)[:-3], "is not DBN|cut off|metadata|no market"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 60, "zstd|is not DBN"),
    ],
)
def test_file_that_cannot_be_played(tmp_path, data, why):
    path = tmp_path / "bad.dbn"
    path.write_bytes(data)
    with pytest.raises(DbnFileError, match=why):
        FileMarket(path)


def test_metadata_whose_lists_end_too_early(tmp_path):
    data = bytearray(metadata("X") + bytes(8))
    data[8 + 104 : 8 + 108] = (5_000).to_bytes(4, "little")
    (tmp_path / "bad.dbn").write_bytes(data)
    with pytest.raises(DbnFileError, match="its metadata is cut off"):
        FileMarket(tmp_path / "bad.dbn")
