"""Every offset, in Python and in C, against Databento's own description of its records."""

from __future__ import annotations

import subprocess
from pathlib import Path

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.feeds.databento.codec.records import PRICES, TIMES, record_dtype

REPOSITORY = Path(__file__).parents[3]
INCLUDES = [f"-I{REPOSITORY / 'mdfeedd/ring'}", f"-I{REPOSITORY / 'mdfeedd/feeds/databento/codec'}"]
CLASSES = {
    0x00: "TradeMsg",
    0x01: "MBP1Msg",
    0x0A: "MBP10Msg",
    0x12: "StatusMsg",
    0x13: "InstrumentDefMsg",
    0x14: "ImbalanceMsg",
    0x15: "ErrorMsg",
    0x16: "SymbolMappingMsg",
    0x17: "SystemMsg",
    0x18: "StatMsg",
    0x22: "OHLCVMsg",
    0xA0: "MBOMsg",
    0xB1: "CMBP1Msg",
    0xC0: "CBBOMsg",
    0xC3: "BBOMsg",
}
C_STRUCTS = {
    "dbn_header": (0x00, "hd"),
    "dbn_mbo": (0xA0, ""),
    "dbn_trade": (0x00, ""),
    "dbn_ohlcv": (0x22, ""),
    "dbn_status": (0x12, ""),
    "dbn_statistics_v1": (0x18, "v1"),
    "dbn_statistics_v3": (0x18, ""),
    "dbn_imbalance": (0x14, ""),
    "dbn_definition": (0x13, ""),
}


def theirs(rtype, version):
    return np.dtype(getattr(getattr(db, f"v{version}"), CLASSES[rtype])._dtypes)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("rtype", CLASSES)
def test_dtypes_are_databentos(rtype, version):
    ours = record_dtype(rtype, version)
    expected = theirs(rtype, version)
    assert ours.itemsize == expected.itemsize
    for name in expected.names:
        if not name.startswith("_"):
            assert ours.fields[name] == expected.fields[name], name
    named = {n for n in ours.names if not n.startswith("_")}
    assert named == {n for n in expected.names if not n.startswith("_")}


def test_types_of_one_layout():
    for same in ((0x20, 0x21, 0x22, 0x23, 0x24, 0x11), (0xC0, 0xC1), (0xC3, 0xC4), (0xB1, 0xC2)):
        assert len({record_dtype(rtype, 3) for rtype in same}) == 1
    assert record_dtype(0x77, 3) is None


def test_every_price_and_time_is_known_as_one():
    """A field of eight signed bytes is a price but for quantities; of eight unsigned ones, a time but for ids."""
    for rtype in CLASSES:
        dtype = record_dtype(rtype, 3)
        for name in dtype.names:
            kind = dtype.fields[name][0].str
            assert (name in PRICES) == (kind == "<i8" and name != "quantity"), name
            numbers = ("order_id", "volume", "raw_instrument_id")
            assert (name in TIMES) == (kind == "<u8" and name not in numbers), name


def test_c_structs_have_the_same_offsets(tmp_path):
    lines, expected = [], []
    for struct, (rtype, part) in C_STRUCTS.items():
        dtype = theirs(rtype, 1 if part == "v1" else 3)
        size = 16 if part == "hd" else dtype.itemsize
        for name in dtype.names:
            offset = dtype.fields[name][1]
            if name.startswith("_") or offset >= (80 if struct == "dbn_definition" else size):
                continue
            field = f"hd.{name}" if part != "hd" and offset < 16 else name
            lines.append(f'printf("%zu ", offsetof({struct}, {field}));')
            expected.append(offset)
        lines.append(f'printf("%zu ", sizeof({struct}));')
        expected.append(80 if struct == "dbn_definition" else size)
    for k in (0, 1, 9):
        for side in ("bid", "ask"):
            for field in ("px", "sz", "ct"):
                lines.append(f'printf("%zu ", offsetof(dbn_mbp_10, level[{k}].{side}_{field}));')
                expected.append(theirs(0x0A, 3).fields[f"{side}_{field}_{k:02}"][1])
    for version in (1, 2, 3):
        lines.append(f'printf("%u ", dbn_update_action_at({version}));')
        expected.append(theirs(0x13, version).fields["security_update_action"][1])
        for rtype in CLASSES:
            lines.append(f'printf("%u ", dbn_struct_bytes({rtype}, {version}, 0));')
            expected.append(theirs(rtype, version).itemsize)
    source = tmp_path / "offsets.c"
    source.write_text('#include "dbn.h"\nint main(void) {\n' + "\n".join(lines) + "\nreturn 0; }\n")
    program = tmp_path / "offsets"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    subprocess.run(["gcc", *flags, *INCLUDES, source, "-o", program], check=True)
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    assert [int(x) for x in out.split()] == expected
