"""Frames: what they hold, what is made once, and what a binary client is told of ids."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mdfeedd.consumers.fanout.parts import FRAME_RECORDS, Encoder, Lapped, Part, RingNow
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.sinks.packed import unpack

CME = RingNow("cme", "a" * 32, 3)
ANEW = RingNow("cme", "b" * 32, 1)


@pytest.fixture
def text():
    return JsonText(before=b",")


def told(frames):
    """Text frames as what they say, binary ones as they are."""
    return [json.loads(frame) if isinstance(frame, str) else frame for frame in frames]


@pytest.mark.parametrize("n", [1, FRAME_RECORDS, FRAME_RECORDS + 1, 3 * FRAME_RECORDS])
def test_text_frames_hold_all_records_in_order(given, text, n):
    table = given.Instruments({1: "ESZ6", 2: 'a"b,c'})
    part = Part(CME, given.quotes(range(1, n + 1), [1 + i % 2 for i in range(n)]), table)
    frames = [json.loads(frame[0]) for frame in Encoder(text, binary=False).frames(part)]
    assert {(frame["type"], frame["ring"]) for frame in frames} == {("ticks", "cme")}
    assert max(len(frame["records"]) for frame in frames) <= FRAME_RECORDS
    records = [record for frame in frames for record in frame["records"]]
    assert [record["seq"] for record in records] == list(range(1, n + 1))
    assert {record["symbol"] for record in records} <= {"ESZ6", 'a"b,c'}


def test_binary_frames_hold_all_records_in_order(given, text):
    table = given.Instruments({1: "ESZ6"})
    records = given.quotes(range(5, 5 + 2 * FRAME_RECORDS + 7), [1] * (2 * FRAME_RECORDS + 7))
    names, *frames = Encoder(text, binary=True).frames(Part(CME, records, table))
    assert json.loads(names)["instruments"]["1"]["symbol"] == "ESZ6"
    heads, parts = zip(*(unpack(frame) for frame in frames), strict=True)
    assert np.concatenate(parts).tobytes() == records.tobytes()
    assert {(head.ring_id, head.epoch, head.prev) for head in heads} == {(CME.ring_id, 3, 0)}


def test_frames_are_made_once_for_all_clients(given, text):
    part = Part(CME, given.trades([1], [1]), given.Instruments({1: "ESZ6"}))
    one, other = (Encoder(text, binary=False).frames(part) for _ in range(2))
    assert one[0] is other[0]
    one, other = (Encoder(text, binary=True).frames(part) for _ in range(2))
    assert one[-1] is other[-1]


def test_binary_client_is_told_what_ids_mean_once_and_when_it_changes(given, text):
    encoder = Encoder(text, binary=True)
    table = given.Instruments({1: "#77", 2: "NQZ6"})

    def names(ring, ids, instruments):
        frames = told(encoder.frames(Part(ring, given.quotes([1] * len(ids), ids), instruments)))
        assert isinstance(frames[-1], bytes)
        return [
            {int(i): one["symbol"] for i, one in frame["instruments"].items()}
            for frame in frames[:-1]
        ]

    assert names(CME, [1, 1], table) == [{1: "#77"}]
    assert names(CME, [1], table) == []
    assert names(CME, [1, 2], table) == [{2: "NQZ6"}]
    renamed = given.Instruments({1: "ESZ6", 2: "NQZ6"})
    renamed.entries[2] = table.entries[2]
    assert names(CME, [1, 2], renamed) == [{1: "ESZ6"}]
    assert names(CME, [3], renamed) == []  # the table does not have it either
    assert names(ANEW, [1, 2], renamed) == [{1: "ESZ6", 2: "NQZ6"}]  # the numbers begin again


def test_binary_snapshot_is_announced(given, text):
    part = Part(CME, given.quotes([4, 9], [1, 2]), given.Instruments({}), snapshot=True)
    announced, data = told(Encoder(text, binary=True).frames(part))
    assert announced == {"type": "snapshot", "ring": "cme", "records": 2}
    assert len(data) == 64 + 2 * 64
    assert json.loads(part.json(text)[0][0])["type"] == "snapshot"


def test_what_is_told_of_rings():
    assert json.loads(CME.text()) == {
        "type": "ring", "ring": "cme", "ring_id": "a" * 32, "epoch": 3,
    }  # fmt: skip
    assert json.loads(Lapped("cme", 5).text()) == {
        "type": "lost", "ring": "cme", "reason": "lapped", "records": 5,
    }  # fmt: skip
