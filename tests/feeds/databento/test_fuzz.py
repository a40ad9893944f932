"""The C decoder under AddressSanitizer and UndefinedBehaviorSanitizer, on mutated streams of every version."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.feeds.databento.codec.records import record_dtype

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
TYPES = [
    0x00, 0x01, 0x01, 0x01, 0x0A, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x20, 0x24, 0xA0, 0xA0,
    0xA0, 0xB1, 0xC0, 0xC2, 0xC4,
]  # fmt: skip


@pytest.fixture(scope="module")
def fuzzer(sanitized):
    return sanitized(Path(__file__).with_name("fuzz_dbn.c"), "ring", "feeds/databento/codec")


def stream(version):
    rng = random.Random(version)
    out = []
    for _ in range(150):
        rtype = rng.choice(TYPES)
        dtype = record_dtype(rtype, version)
        record = np.frombuffer(rng.randbytes(dtype.itemsize), dtype).copy()
        record["length"], record["rtype"] = dtype.itemsize // 4, rtype
        record["publisher_id"], record["instrument_id"] = rng.randrange(3), rng.randrange(4)
        texts = {"action": b"ACMTRFN", "side": b"ABN"}
        for name, letters in texts.items():
            if name in dtype.names and dtype[name].kind == "S":
                record[name] = bytes([rng.choice(letters)])
        if rtype == 0xA0:
            record["order_id"], record["price"] = rng.randrange(30), rng.randrange(10)
        out.append(record.tobytes())
    return b"".join(out)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("fragment", [False, True])
def test_mutated_streams(fuzzer, version, fragment, record_property):
    raw = stream(version)
    if not fragment:
        raw = (
            db.Metadata(
                dataset="X", start=0, stype_in=None, stype_out=db.SType.INSTRUMENT_ID, schema=None,
                symbols=["A", "B"], version=version,
            ).encode() + raw
        )  # fmt: skip
    arguments = [str(SEED), str(SECONDS / 6), str(version if fragment else 0)]
    done = subprocess.run(
        [fuzzer, *arguments], input=raw, capture_output=True, check=False, timeout=60 + SECONDS
    )
    assert done.returncode == 0, f"seed {SEED}: {done.stderr.decode()[-3000:]}"
    assert int(done.stdout) >= 200
    record_property("inputs", int(done.stdout))


def test_what_was_found_once(fuzzer, replay_regressions):
    replay_regressions(fuzzer, "dbn")
