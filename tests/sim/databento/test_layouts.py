"""Every record of every version, as this package writes it, against Databento's own library."""

from __future__ import annotations

import random

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.sim.databento import layouts

CLASSES = {
    0x00: "TradeMsg", 0x01: "MBP1Msg", 0x0A: "MBP10Msg", 0x12: "StatusMsg", 0x13: "InstrumentDefMsg",
    0x14: "ImbalanceMsg", 0x15: "ErrorMsg", 0x16: "SymbolMappingMsg", 0x17: "SystemMsg",
    0x18: "StatMsg", 0x20: "OHLCVMsg", 0x21: "OHLCVMsg", 0x22: "OHLCVMsg", 0x23: "OHLCVMsg",
    0x24: "OHLCVMsg", 0xA0: "MBOMsg", 0xB1: "CMBP1Msg", 0xC0: "CBBOMsg", 0xC1: "CBBOMsg",
    0xC2: "CMBP1Msg", 0xC3: "BBOMsg", 0xC4: "BBOMsg",
}  # fmt: skip
UNDEF = layouts.UNDEF_TIME


def theirs(rtype, version):
    return np.dtype(getattr(getattr(db, f"v{version}"), CLASSES[rtype])._dtypes)


def random_values(layout, rng):
    values = {}
    for name, kind in layout.types.items():
        if name in ("length", "rtype"):
            continue
        size = int(kind[1:])
        if kind[0] == "c":
            values[name] = bytes(rng.choices(b"ABCNTRF", k=rng.randint(min(size, 1), size)))
        elif kind[0] == "i":
            values[name] = rng.randint(-(2 ** (size - 1)), 2 ** (size - 1) - 1)
        else:
            values[name] = rng.randrange(2**size)
    return values


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("rtype", CLASSES)
def test_every_field_is_where_databento_reads_it(rtype, version):
    layout = layouts.layout(rtype, version)
    dtype = theirs(rtype, version)
    assert layout.size == dtype.itemsize
    assert set(layout.fields) == {n for n in dtype.names if not n.startswith("_")}
    rng = random.Random(rtype * 10 + version)
    for _ in range(20):
        values = random_values(layout, rng)
        raw = layout.pack(values)
        read = np.frombuffer(raw, dtype)[0]
        assert int(read["length"]) * 4 == len(raw)
        assert read["rtype"] == rtype
        assert {name: read[name].item() for name in values} == values
        for name in dtype.names:  # reserved bytes are zero
            if name.startswith("_"):
                assert not np.asarray(read[name]).tobytes().strip(b"\0"), name
        assert layout.unpack(raw) == values | {"length": layout.size // 4, "rtype": rtype}


def test_control_records_are_databentos_bytes():
    assert layouts.system(5, 1, "ok") == bytes(
        db.SystemMsg(5, "ok", db.SystemCode.SUBSCRIPTION_ACK)
    )
    assert layouts.error(6, 4, "no", is_last=False) == bytes(
        db.ErrorMsg(6, "no", False, db.ErrorCode.SYMBOL_RESOLUTION_FAILED)
    )
    raw, parent = db.SType.RAW_SYMBOL, db.SType.PARENT
    assert layouts.mapping(7, 42, (4, "ES.FUT"), "ESZ6") == bytes(
        db.SymbolMappingMsg(0, 42, 7, parent, "ES.FUT", raw, "ESZ6", UNDEF, UNDEF)
    )


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("ts_out", [False, True])
def test_metadata_is_databentos_bytes(version, ts_out):
    expected = db.Metadata(
        dataset="GLBX.MDP3", start=99, stype_in=None, stype_out=db.SType.INSTRUMENT_ID, schema=None,
        symbols=[], ts_out=ts_out, version=version,
    ).encode()  # fmt: skip
    ours = layouts.metadata("GLBX.MDP3", version=version, start_ns=99, ts_out=ts_out)
    assert ours == expected
    assert len(ours) == 128
    later = layouts.metadata("GLBX.MDP3", version=4, start_ns=99)
    assert (later[3], len(later) % 8) == (4, 0)


def test_metadata_with_symbols_is_read_by_databento():
    raw = layouts.metadata("XNAS.ITCH", symbols=["ESZ6", "NQZ6", "CLF7"])
    read = db.Metadata.decode(raw)
    assert read.symbols == ["ESZ6", "NQZ6", "CLF7"]
    assert read.dataset == "XNAS.ITCH"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("schema", ["definition", "statistics", "mbp-1"])
def test_record_of_an_older_version_is_upgraded_to_the_same(version, schema):
    rtype = layouts.RTYPES[schema]
    rng = random.Random(version)
    layout = layouts.layout(rtype)
    values = random_values(layout, rng) | {"publisher_id": 1}
    if schema == "definition":
        values |= {"raw_symbol": b"ESZ6", "asset": b"ES", "raw_instrument_id": 5}
        values |= {name: b"A" for name, kind in layout.types.items() if kind == "c1"}
    if schema == "statistics":
        values["quantity"] = 7
    old = layouts.recode(layout.pack(values), version)
    assert len(old) == theirs(rtype, version).itemsize
    decoder = db.DBNDecoder(
        has_metadata=False,
        input_version=version,
        upgrade_policy=db.VersionUpgradePolicy.UPGRADE_TO_V3,
    )
    (record,) = decoder.write_and_decode(old)
    upgraded = layouts.unpack(bytes(record))
    kept = layouts.layout(rtype, version).types.keys() - {"length"}
    expected = {n: v for n, v in layout.unpack(layout.pack(values)).items() if n in kept}
    assert {n: v for n, v in upgraded.items() if n in expected} == expected


def test_undefined_and_large_quantities_of_statistics_in_older_versions():
    for quantity, narrow in ((2**63 - 1, 2**31 - 1), (2**40, 2**31 - 1), (-5, -5)):
        raw = layouts.pack(0x18, {"quantity": quantity})
        old = layouts.recode(raw, 1)
        assert layouts.unpack(old, 1)["quantity"] == narrow
    assert layouts.unpack(layouts.recode(old, 3, 1))["quantity"] == -5
    undefined = layouts.pack(0x18, {"quantity": 2**31 - 1}, 2)
    assert layouts.unpack(layouts.recode(undefined, 3, 2))["quantity"] == 2**63 - 1


def test_schemas_are_databentos():
    assert {str(schema) for schema in db.Schema.variants()} - {"ohlcv-eod"} == set(
        layouts.ALL_SCHEMAS
    )


def test_field_that_a_record_does_not_have():
    with pytest.raises(KeyError, match="has no colour"):
        layouts.pack(0x00, {"colour": 1})


def test_layout_that_overlaps_or_has_another_size():
    with pytest.raises(ValueError, match="a of rtype 0x0 overlaps"):
        layouts.Layout("a u32 12", 20, 0)
    with pytest.raises(ValueError, match="takes 24 bytes, not 20"):
        layouts.Layout("a u64 16", 20, 0)
