"""What waits for a client is bounded; what it lost is told; its last quotes are right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mdfeedd.consumers.fanout.backlog import MAX_TOLD, Backlog, Missed
from mdfeedd.consumers.fanout.parts import Lapped, Part, RingNow
from mdfeedd.consumers.fanout.snapshot import Snapshot
from mdfeedd.tick import BAR, TICK, TRADE, Flag, Kind

CME = RingNow("cme", "a" * 32, 1)
ANEW = RingNow("cme", "b" * 32, 1)


def everything(backlog):
    items = []
    while (item := backlog.take()) is not None:
        items.append(item)
    assert len(backlog) == backlog.records == 0
    return items


def test_fast_client_gets_everything_in_order(given):
    table = given.Instruments({})
    backlog = Backlog(100)
    parts = [Part(CME, given.trades([i, i + 1], [1, 2]), table) for i in range(1, 101, 2)]
    for part in parts:
        assert backlog.offer(part) == {}
    assert (backlog.records, backlog.pending("cme"), backlog.pending("other")) == (100, 100, 0)
    assert everything(backlog) == parts


def test_slow_client_gets_last_quotes_and_is_told_what_it_lost(given):
    table = given.Instruments({})
    backlog = Backlog(10)
    quotes = given.quotes([1, 3, 5, 7, 9], [1, 2, 1, 3, 1])
    trades = given.trades([2, 4, 6, 8, 10], [1, 1, 2, 2, 3])
    both = np.sort(np.concatenate([quotes, trades]), order="seq")
    assert backlog.offer(Part(CME, both, table)) == {}
    dropped = backlog.offer(Part(CME, given.others([11], [2], Kind.STATUS), table))
    assert dropped == {"cme": 7}
    told, part = everything(backlog)
    assert told == Missed("cme", quotes=2, trades=5, others=0)
    assert json.loads(told.text()) == {
        "type": "lost", "ring": "cme", "reason": "slow", "quotes": 2, "trades": 5, "others": 0,
    }  # fmt: skip
    assert part.records["seq"].tolist() == [3, 7, 9, 11]
    assert (
        backlog.offer(Part(CME, given.quotes(range(20, 30), [1] * 10), table)) == {}
    )  # room again


def test_nothing_is_left_but_what_was_lost(given):
    backlog = Backlog(3)
    assert backlog.offer(Part(CME, given.trades([1, 2, 3, 4], [1] * 4), given.Instruments({})))
    assert everything(backlog) == [Missed("cme", trades=4)]


def test_what_was_lost_before_is_counted_once(given):
    """Everything offered is either taken, or counted; twice nothing."""
    table = given.Instruments({})
    backlog = Backlog(50)
    offered = dropped = 0
    for i in range(200):
        seqs = range(offered + 1, offered + 11)
        part = given.quotes(seqs, [j % 7 for j in seqs]) if i % 3 else given.trades(seqs, [1] * 10)
        offered += 10
        dropped += sum(backlog.offer(Part(CME, part, table)).values())
        assert backlog.records <= 60
    items = everything(backlog)
    missed = sum(item.records for item in items if isinstance(item, Missed))
    assert missed == dropped
    assert dropped + sum(len(item) for item in items if isinstance(item, Part)) == offered


def test_quotes_after_conflation_are_those_of_a_fast_client(rng, given):
    table = given.Instruments({})
    slow, last = Backlog(20), {}
    for i in range(100):
        records = given.quotes(range(i * 5 + 1, i * 5 + 6), rng.integers(1, 30, 5), bid=i + 1)
        slow.offer(Part(CME, records, table))
        last |= {int(row["instrument_id"]): int(row["seq"]) for row in records}
    shown = {}
    for item in everything(slow):
        if isinstance(item, Part):
            shown |= {int(row["instrument_id"]): int(row["seq"]) for row in item.records}
    assert shown == last


def test_many_instruments_are_not_conflated_at_every_offer(given, monkeypatch):
    """A client that never reads costs little, however many instruments it wants."""
    from mdfeedd.consumers.fanout import backlog as module

    calls = []
    merged = module._merged
    monkeypatch.setattr(module, "_merged", lambda *a: calls.append(1) or merged(*a))
    table = given.Instruments({})
    backlog = Backlog(100)
    for i in range(1000):
        ids = [(i * 50 + j) % 5000 for j in range(50)]
        backlog.offer(Part(CME, given.quotes(range(i * 50 + 1, i * 50 + 51), ids), table))
    assert backlog.records <= 2 * 5000 + 50
    assert len(calls) < 30


def test_gaps_statuses_and_clears_survive_in_order(given):
    backlog = Backlog(2)
    table = given.Instruments({})
    records = np.concatenate(
        [
            given.others([1], [0], Kind.GAP),
            given.quotes([2, 3], [1, 1]),
            given.others([4], [1], Kind.CLEAR),
            given.others([5, 6], [1, 1], Kind.STATUS),
        ]
    )
    backlog.offer(Part(CME, records, table))
    told, part = everything(backlog)
    assert told == Missed("cme", quotes=1, others=1)
    assert part.records["seq"].tolist() == [1, 3, 4, 6]


def test_bars_of_each_length(given):
    backlog = Backlog(3)
    records = np.concatenate(
        [given.bars([1, 2], [1, 1], 60), given.bars([3], [1], 3600), given.bars([4], [2], 60)]
    )
    backlog.offer(Part(RingNow("bars", "c" * 32, 1), records, given.Instruments({})))
    told, part = everything(backlog)
    assert told == Missed("bars", others=1)
    assert part.records["seq"].tolist() == [2, 3, 4]


def test_lives_of_a_ring_are_not_mixed(given):
    backlog = Backlog(5)
    table = given.Instruments({})
    backlog.offer(Part(CME, given.quotes([8, 9], [1, 1]), table))
    backlog.offer(ANEW)
    backlog.offer(Part(ANEW, given.quotes([1, 2, 3, 4], [1] * 4), table))
    told, missed, old, new = everything(backlog)
    assert told == ANEW
    assert missed == Missed("cme", quotes=4)
    assert (old.ring, old.records["seq"].tolist()) == (CME, [9])
    assert (new.ring, new.records["seq"].tolist()) == (ANEW, [4])


def test_snapshot_keeps_its_trades(given):
    backlog = Backlog(4)
    table = given.Instruments({})
    backlog.offer(Part(CME, given.trades([1, 2], [1, 2]), table, snapshot=True))
    backlog.offer(Part(CME, given.trades([3, 4, 5], [1, 1, 2]), table))
    missed, snapshot = everything(backlog)
    assert missed == Missed("cme", trades=3)
    assert snapshot.snapshot
    assert snapshot.records["seq"].tolist() == [1, 2]


def test_what_is_told_is_bounded_too(given):
    backlog = Backlog(4)
    for _ in range(10 * MAX_TOLD):
        backlog.offer(Lapped("cme", 3))
        backlog.offer(CME)
    assert len(backlog) <= MAX_TOLD + 1
    items = everything(backlog)
    assert sum(item.records for item in items if isinstance(item, Lapped)) == 30 * MAX_TOLD
    assert backlog.records == 0


# ----------------------------------------------------------------------------------------- snapshots


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_snapshot_has_the_last_of_each(rng, given, chunk):
    kinds = rng.choice([1, 1, 2, 3, 5, 7, 9], 2000)
    records = given.others(range(1, 2001), rng.integers(1, 300, 2000) | 7 << 24, kinds)
    last = Snapshot(TICK)
    for at in range(0, 2000, chunk):
        last.take(records[at : at + chunk])
    expected = {}
    for row in records:
        place = int(row["instrument_id"]), int(row["kind"])
        if place[1] in {1, 2, 5}:
            expected[place] = int(row["seq"])
        elif place[1] == Kind.CLEAR:
            expected.pop((place[0], 1), None)
    found = last.records()
    places = zip(found["instrument_id"].tolist(), found["kind"].tolist(), strict=True)
    assert dict(zip(places, found["seq"].tolist(), strict=True)) == expected
    assert found["seq"].tolist() == sorted(expected.values())
    assert found.view(TRADE)["kind"].tolist() == found["kind"].tolist()


def test_snapshot_leaves_out_the_implied_book(given):
    last = Snapshot(TICK)
    quotes = given.quotes([1, 2], [1, 1])
    quotes["flags"][1] |= Flag.IMPLIED
    last.take(quotes)
    assert last.records()["seq"].tolist() == [1]


def test_snapshot_of_bars(given):
    last = Snapshot(BAR)
    assert len(last.records()) == 0
    last.take(given.bars([1, 2, 3], [1, 2, 1]))
    last.take(given.bars([4], [1], 3600))
    assert last.records()["seq"].tolist() == [2, 3, 4]
    assert last.records().dtype == BAR
