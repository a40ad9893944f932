"""The C code of rings and positions, ended after each of its stores: what was told is told once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mdfeedd.sim.databento.market import Market

RECORDS = 40
SECONDS = 12
TBBO, NONE = 3, 0xFFFF


@pytest.fixture(scope="module")
def program(sanitized):
    return sanitized(Path(__file__).with_name("crash_points.c"), "ring", "feeds/databento/codec")


@pytest.mark.parametrize(
    ("schemas", "schema"),
    [
        (("mbp-1",), NONE),
        (("tbbo",), TBBO),
        (("tcbbo", "status", "statistics"), NONE),
        (("mbp-10", "ohlcv-1s", "bbo-1s"), NONE),
        (("ohlcv-1s", "mbp-1", "definition", "imbalance"), NONE),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_feed_is_killed_after_every_store(program, schemas, schema):
    market = Market(11, instruments=2, schemas=schemas, rate=40.0, publishers=2, backward=True)
    market.run_until(market.start_ns + SECONDS * 10**9)
    rows = []
    for name in schemas:
        timeline = market.timeline(name)
        rows += [timeline[i] for i in range(min(len(timeline), RECORDS))]
    rows.sort(key=lambda record: record.due_ns)
    data = b"".join(record.raw for record in rows)
    done = subprocess.run([program, str(schema)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert int(done.stdout) > 5 * len(rows)
