"""What is written into topics can be read again; what is not ours is refused with a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mdfeedd.ring import Position
from mdfeedd.ring.instruments import Instrument
from mdfeedd.sinks.kafka import wire
from mdfeedd.tick import BAR, DEPTH, TICK

A = "0123456789abcdef" * 2
HEAD = wire.ChunkHead("raw", "ticks", "cme", A, 3, 10, 2**64 - 1, wire.Mark(A, 9), 7, 4)


@pytest.mark.parametrize("prev", [None, wire.Mark(A, 9), wire.Mark("f" * 32, 2**63)])
@pytest.mark.parametrize("kind", ["ticks", "bars"])
def test_head(prev, kind):
    head = wire.ChunkHead("raw", kind, "ΑΒΓ", A, 2**32 - 1, 1, 2**64 - 1, prev, 0, 1)
    assert wire.ChunkHead.decode(head.encode(), kind) == head
    assert all(isinstance(key, str) and isinstance(value, bytes) for key, value in head.encode())
    assert head.end == wire.Mark(A, 2**64 - 1)


def test_head_of_another_kind_of_records():
    with pytest.raises(wire.WireError, match="another layout"):
        wire.ChunkHead.decode(HEAD.encode(), "bars")


@pytest.mark.parametrize("headers", [None, [], [("v", b"1")], [("v", None)], [("x", b"\xff")]])
def test_headers_of_somebody_else(headers):
    with pytest.raises(wire.WireError):
        wire.ChunkHead.decode(headers, "ticks")


def test_instrument():
    instrument = Instrument(
        5 << 24 | 7, 2**31, 9, 5, 25, -1, 2**60, "EUR", "XEUR", "f", "株式", "🂡"
    )
    assert wire.decode_instrument(wire.encode_instrument(instrument)) == instrument
    more = json.loads(wire.encode_instrument(instrument)) | {"of_a_later_version": 1}
    assert wire.decode_instrument(json.dumps(more).encode()) == instrument
    key = wire.DefinitionKey(A, 3, instrument.instrument_id)
    assert wire.DefinitionKey.decode(key.encode()) == key


def test_position():
    for position in (None, Position(A, 2**64 - 1, 7)):
        stored = wire.Stored("host/name/1/abc", position)
        assert wire.Stored.decode(stored.encode()) == stored
    for value in (b"", b"{}", b"[]", b'{"v":1}', b'{"v":1,"owner":"x","ring_id":"a"}'):
        with pytest.raises(wire.WireError):
            wire.Stored.decode(value)
    with pytest.raises(wire.WireError, match="version is 2"):
        wire.Stored.decode(b'{"v":2,"owner":"x"}')


def test_partition_is_the_same_everywhere():
    """Not Python's hash, which differs from process to process. 0xCBF43926 is CRC-32's check value."""
    told = {s: wire.partition_of(s, 1000) for s in ("123456789", "ESZ6", "株式", "")}
    assert told == {"123456789": 0xCBF43926 % 1000, "ESZ6": 5, "株式": 117, "": 0}


def test_kind_of_records():
    assert [wire.kind_of(dtype) for dtype in (TICK, BAR, DEPTH)] == ["ticks", "bars", None]
    assert wire.kind_of(np.dtype("u1")) is None
    assert wire.topic("md", "cme", "ticks") == "md.cme.ticks"
