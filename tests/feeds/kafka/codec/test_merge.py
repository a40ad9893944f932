"""Partitions go back into the ring's order: each record once, holes told, whatever the interleaving."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from mdfeedd.feeds.kafka.codec import Astray, Hole, Mark, Merger, Repartitioned, WireError
from mdfeedd.sinks.kafka.wire import ChunkHead
from mdfeedd.tick import TICK

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


@pytest.fixture
def dice():
    """A generator whose seed is printed when the test fails and taken from MDFEEDD_SEED."""
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    return random.Random(seed)


class Log:
    """Partitions as brokers keep them, and who writes them."""

    def __init__(self, partitions):
        self.partitions = [[] for _ in range(partitions)]
        self.prev = None

    def write(self, ring_id, epoch, records, *, last=None, reach=None):
        """A chunk. `reach`: only these partitions get it, as where a writer without transactions dies."""
        first = int(records["seq"][0])
        last = int(records["seq"][-1]) if last is None else last
        for p, line in enumerate(self.partitions):
            if reach is not None and p not in reach:
                continue
            ids = records["instrument_id"]
            part = records[(ids % len(self.partitions) == p) | (ids == 0)]
            head = ChunkHead(
                "raw", "ticks", "ring", ring_id, epoch, first, last, self.prev, len(part),
                len(self.partitions),
            )  # fmt: skip
            line.append((head.encode(), part.tobytes()))
        self.prev = Mark(ring_id, last)


def records_of(dice, seqs):
    records = np.zeros(len(seqs), TICK)
    records["seq"] = seqs
    records["instrument_id"] = [dice.choice([0, 1, 2, 3, 4, 5, 6, 7, 8]) for _ in seqs]
    records["venue_seq"] = [dice.randrange(2**32) for _ in seqs]
    return records


def cut(dice, records):
    """Chunks of random sizes."""
    start = 0
    while start < len(records):
        n = dice.randint(1, 20)
        yield records[start : start + n]
        start += n


def read(dice, log, merger, starts=None, takes=True):
    """All of a log through a merger, partitions interleaved at random; the blocks."""
    at = dict(starts or dict.fromkeys(range(len(log.partitions)), 0))
    for partition, offset in at.items():
        merger.started(partition, offset)
    blocks = []
    while True:
        left = [p for p, offset in at.items() if offset < len(log.partitions[p])]
        if not left:
            break
        p = dice.choice(left)
        for _ in range(dice.randint(1, 5)):
            if at[p] < len(log.partitions[p]):
                merger.receive(p, at[p], *log.partitions[p][at[p]])
                at[p] += 1
        while takes and (block := merger.take()) is not None:
            blocks.append(block)
    while (block := merger.take()) is not None:
        blocks.append(block)
    return blocks


def together(blocks):
    return np.concatenate([np.empty(0, TICK), *(block.records for block in blocks)])


def spaces(dice, count=3, most=300):
    """Rings one after the other: (ring_id, epoch, records), numbers with jumps."""
    out, epoch = [], 0
    for ring_id in (A, B, C)[:count]:
        seqs, seq = [], dice.randint(0, 50)
        for _ in range(dice.randint(1, most)):
            seq += 1 if dice.random() < 0.97 else dice.randint(2, 9)
            seqs.append(seq)
        whole, start = records_of(dice, seqs), 0
        while start < len(whole):
            epoch += 1
            n = dice.randint(1, len(whole))
            out.append((ring_id, epoch, whole[start : start + n]))
            start += n
    return out


@pytest.mark.parametrize("partitions", [1, 2, 3, 8])
def test_order_is_the_rings_own(dice, partitions):
    for _ in range(20):
        log, expected = Log(partitions), []
        for ring_id, epoch, records in spaces(dice):
            for chunk in cut(dice, records):
                log.write(ring_id, epoch, chunk)
            expected.append((ring_id, epoch, records))
        blocks = read(dice, log, Merger(range(partitions), "ticks"), takes=dice.random() < 0.8)
        assert (together(blocks) == np.concatenate([r for _, _, r in expected])).all()
        assert not any(block.holes for block in blocks)
        for block in blocks:
            assert [(i, e) for i, e, r in expected if np.isin(block.records["seq"], r["seq"]).all()]


def test_chunks_that_come_again_are_left_out(dice):
    """Writers without transactions that die: parts of chunks, then the same records cut otherwise."""
    for _ in range(40):
        partitions = dice.randint(1, 4)
        log, expected, safe = Log(partitions), [], None
        for ring_id, epoch, records in spaces(dice, most=150):
            expected.append(records)
            start = 0
            while start < len(records):
                n = dice.randint(1, 30)
                chunk = records[start : start + n]
                if dice.random() < 0.3:  # died; the next begins at what was safe, maybe long before
                    reach = dice.sample(range(partitions), dice.randint(0, partitions))
                    log.write(ring_id, epoch, chunk, reach=reach)
                    back = max(0, start - dice.randint(0, 60))
                    log.prev = safe if back == 0 else Mark(ring_id, int(records["seq"][back - 1]))
                    start = back
                else:
                    log.write(ring_id, epoch, chunk)
                    start += n
            safe = Mark(ring_id, int(records["seq"][-1]))
        merger = Merger(range(partitions), "ticks")
        blocks = read(dice, log, merger)
        assert (together(blocks) == np.concatenate(expected)).all()
        assert not any(block.holes for block in blocks)


def test_reader_that_is_killed_goes_on_exactly(dice):
    """From its note: the end of what is complete, and the offsets. At each block."""
    for _ in range(20):
        partitions = dice.randint(1, 4)
        log, whole = Log(partitions), []
        for ring_id, epoch, records in spaces(dice, most=120):
            for chunk in cut(dice, records):
                log.write(ring_id, epoch, chunk)
            whole.append(records)
        got, end, offsets = [], None, dict.fromkeys(range(partitions), 0)
        while True:
            merger = Merger(range(partitions), "ticks", end)
            for p, offset in offsets.items():
                merger.started(p, offset)
            at, blocks = dict(offsets), dice.randint(1, 5)
            while blocks:
                left = [p for p in at if at[p] < len(log.partitions[p])]
                if left:
                    p = dice.choice(left)
                    merger.receive(p, at[p], *log.partitions[p][at[p]])
                    at[p] += 1
                block = merger.take()
                if block is not None:
                    got.append(block.records)
                    end, offsets, blocks = merger.end, merger.next_offsets(), blocks - 1
                elif not left:
                    break
            else:
                continue
            break
        assert (np.concatenate(got) == np.concatenate(whole)).all()


def test_what_brokers_have_dropped_is_told_as_a_hole(dice):
    for _ in range(40):
        partitions = dice.randint(1, 4)
        log, seq = Log(partitions), 0
        chunks = []
        for _ in range(dice.randint(6, 20)):
            n = dice.randint(1, 10)
            chunks.append(records_of(dice, range(seq + 1, seq + n + 1)))
            log.write(A, 1, chunks[-1])
            seq += n
        merger = Merger(range(partitions), "ticks")
        # all have the first; then some have lost some in the middle
        lost = {}
        for p in range(partitions):
            first = dice.randint(1, len(chunks) - 2)
            lost[p] = range(first, min(first + dice.choice([0, 1, 2]), len(chunks) - 1))
        for i in range(len(chunks)):
            for p in range(partitions):
                if i not in lost[p]:
                    merger.receive(p, i, *log.partitions[p][i])
        blocks = []
        while (block := merger.take()) is not None:
            blocks.append(block)
        expected = np.concatenate(
            [
                c[
                    [
                        any(
                            i not in lost[p]
                            for p in range(partitions)
                            if r["instrument_id"] == 0 or r["instrument_id"] % partitions == p
                        )
                        for r in c
                    ]
                ]
                for i, c in enumerate(chunks)
            ]
        )
        assert (together(blocks) == expected).all()
        told = {hole for block in blocks for hole in block.holes}
        assert told == {
            Hole(A, int(chunks[r[0]]["seq"][0]), int(chunks[r[-1]]["seq"][-1]))
            for r in lost.values()
            if r
        }


def test_hole_comes_before_the_records_behind_it():
    log = Log(1)
    for first in (1, 11, 21):
        log.write(A, 1, records_of(random.Random(0), range(first, first + 10)))
    merger = Merger([0], "ticks")
    merger.receive(0, 0, *log.partitions[0][0])
    assert merger.take().end == Mark(A, 10)
    merger.receive(0, 2, *log.partitions[0][2])
    block = merger.take()
    assert block.holes == (Hole(A, 11, 20),)
    assert block.records["seq"][0] == 21


@pytest.mark.parametrize("before", [A, B])
def test_partition_that_begins_later_than_the_others(dice, before):
    """What it lacks of what the others begin with is a hole, and none if all begin there."""
    log = Log(2)
    for ring_id, first in ((before, 1), (before, 11), (A, 21), (A, 31)):
        log.write(ring_id, 1, records_of(dice, range(first, first + 10)))
    for begins, holes in ((0, []), (1, [Hole(before, 1, 10)]), (2, [Hole(before, 1, 20)])):
        merger, told = Merger([0, 1], "ticks"), []
        for p, start in ((0, 0), (1, begins)):
            for i in range(start, 4):
                merger.receive(p, i, *log.partitions[p][i])
        while (block := merger.take()) is not None:
            told += block.holes
        assert told == holes
    merger = Merger([0, 1], "ticks")
    for p in (0, 1):
        merger.receive(p, 2, *log.partitions[p][2])
    assert merger.take().holes == ()


@pytest.mark.parametrize("at_once", [True, False])
def test_block_begins_where_the_hole_is(at_once):
    """However much is there to be taken: who was killed tells the same records from ours again."""
    log = Log(2)
    for first in (1, 11, 21, 31, 41):
        log.write(A, 1, records_of(random.Random(0), range(first, first + 10)))
    merger, blocks = Merger([0, 1], "ticks"), []
    for i in (0, 1, 3, 4):
        for p in (0, 1):
            merger.receive(p, i, *log.partitions[p][i])
        if not at_once:
            blocks += iter(merger.take, None)
    blocks += iter(merger.take, None)
    assert [block.holes for block in blocks if block.holes] == [(Hole(A, 21, 30),)]
    begins = [int(block.records["seq"][0]) for block in blocks if block.holes]
    assert begins == [31]
    assert np.concatenate([block.records["seq"] for block in blocks]).tolist() == [
        *range(1, 21),
        *range(31, 51),
    ]


def test_space_that_ended_in_the_hole():
    """The end of one ring and the begin of the next are gone."""
    log, dice = Log(1), random.Random(0)
    log.write(A, 1, records_of(dice, range(1, 11)))
    log.write(A, 1, records_of(dice, range(11, 21)))
    log.write(B, 2, records_of(dice, range(1, 6)))
    log.write(B, 2, records_of(dice, range(6, 11)))
    merger = Merger([0], "ticks")
    for i in (0, 3):
        merger.receive(0, i, *log.partitions[0][i])
    blocks = [merger.take(), merger.take()]
    assert blocks[1].holes == (Hole(B, 1, 5),)
    assert blocks[1].ring_id == B


def test_records_wait_for_the_partition_that_is_behind(dice):
    log = Log(2)
    for first in range(1, 101, 10):
        log.write(A, 1, records_of(dice, range(first, first + 10)))
    merger = Merger([0, 1], "ticks")
    for i in range(10):
        merger.receive(0, i, *log.partitions[0][i])
    assert merger.take() is None
    assert merger.behind() == [1]
    assert merger.waiting_records == sum(len(v) // 64 for _, v in log.partitions[0])
    merger.receive(1, 0, *log.partitions[1][0])
    assert merger.take().end == Mark(A, 10)
    assert merger.next_offsets() == {0: 1, 1: 1}


def test_losses_that_the_sink_was_told_of_are_no_holes(dice):
    """The ring lapped its journal: numbers jump within the chain."""
    log = Log(2)
    log.write(A, 1, records_of(dice, range(1, 11)))
    log.write(A, 1, records_of(dice, range(500, 511)))
    blocks = read(dice, log, Merger([0, 1], "ticks"))
    assert not any(block.holes for block in blocks)
    assert together(blocks)["seq"].tolist() == [*range(1, 11), *range(500, 511)]


def test_topic_has_more_partitions_than_are_read(dice):
    log = Log(3)
    log.write(A, 1, records_of(dice, range(1, 11)))
    merger = Merger([0, 1], "ticks")
    with pytest.raises(Repartitioned) as change:
        merger.receive(0, 0, *log.partitions[0][0])
    assert change.value.partitions == 3
    subset = Merger([0, 1], "ticks", subset=True)
    for p in (0, 1):
        subset.receive(p, 0, *log.partitions[p][0])
    assert set((subset.take().records["instrument_id"] % 3).tolist()) <= {0, 1}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"v": b"2"}, "version is 2"),
        ({"v": None}, "no chunk"),
        ({"layout": b"00000000"}, "another layout"),
        ({"codec": b"arrow"}, "payload is arrow"),
        ({"n": b"7"}, "7 records"),
        ({"first": b"x"}, "cannot be read"),
        ({"first": b"11"}, "contradict"),
        ({"last": b"5"}, "not of 1 to 5"),
        ({"prev": b"nonsense:"}, None),
        ({"epoch": None}, "cannot be read"),
    ],
)
def test_message_that_is_not_ours(dice, change, text):
    log = Log(1)
    log.write(A, 1, records_of(dice, range(1, 11)))
    headers, value = log.partitions[0][0]
    changed = dict(headers) | change
    merger = Merger([0], "ticks")
    given = [(key, value) for key, value in changed.items() if value is not None]
    if text is None:
        merger.receive(0, 0, given, value)
        return
    with pytest.raises(WireError, match=text):
        merger.receive(0, 0, given, value)
    assert merger.take() is None
    merger.receive(0, 0, headers, value)
    assert len(merger.take().records) == 10


def test_random_headers_never_do_worse_than_being_refused(dice):
    log = Log(1)
    log.write(A, 1, records_of(dice, range(1, 11)))
    headers, value = log.partitions[0][0]
    for _ in range(2000):
        merger = Merger([0], "ticks")
        broken = []
        for key, content in headers:
            raw = bytearray(content or b"0")
            if dice.random() < 0.3:
                raw[dice.randrange(len(raw))] = dice.randrange(256)
            if dice.random() < 0.95:
                broken.append((key, bytes(raw)))
        try:
            merger.receive(0, 0, broken, value[: dice.choice([len(value), dice.randrange(640)])])
        except (WireError, Repartitioned):
            continue
        merger.take()


def spread(log, ring_id, epoch, records, over):
    """A chunk of a writer that knows of the first `over` partitions alone."""
    few = Log(over)
    few.partitions, few.prev = log.partitions[:over], log.prev
    few.write(ring_id, epoch, records)
    log.prev = few.prev


def test_partitions_that_the_writer_does_not_know_of_are_not_waited_for(dice):
    """They were added; until the writer is started again chunks are spread over the first ones."""
    for _ in range(40):
        old, new = sorted(dice.sample(range(1, 7), 2))
        log, expected, known, offsets = Log(new), [], None, None
        at = dice.randint(0, 200)  # where the writer is started again
        stop = dice.randint(0, 250)  # where a reader is
        for ring_id, epoch, records in spaces(dice, most=150):
            expected.append(records)
            for chunk in cut(dice, records):
                if at > 0:
                    spread(log, ring_id, epoch, chunk, old)
                else:
                    log.write(ring_id, epoch, chunk)
                at, stop = at - len(chunk), stop - len(chunk)
                if stop <= 0 and known is None:
                    known, offsets = (
                        log.prev,
                        {p: len(line) for p, line in enumerate(log.partitions)},
                    )
        whole = np.concatenate(expected)
        blocks = read(dice, log, Merger(range(new), "ticks"), takes=dice.random() < 0.8)
        assert (together(blocks) == whole).all()
        assert not any(block.holes for block in blocks)
        if known is None:
            continue
        blocks = read(dice, log, Merger(range(new), "ticks", known), offsets)
        got = together(blocks)
        assert (got == whole[len(whole) - len(got) :]).all()
        assert not any(block.holes for block in blocks)
        ends = [(known.ring_id, known.seq), (log.prev.ring_id, log.prev.seq)]
        assert len(got) or ends[0] == ends[1]


def test_hole_in_a_partition_that_was_added_is_told(dice):
    log = Log(2)
    spread(log, A, 1, records_of(dice, range(1, 11)), 1)
    for first in (11, 21, 31):
        log.write(A, 1, records_of(dice, range(first, first + 10)))
    merger = Merger([0, 1], "ticks")
    for i in range(4):
        merger.receive(0, i, *log.partitions[0][i])
    for i in (0, 2):
        merger.receive(1, i, *log.partitions[1][i])
    holes = [hole for block in iter(merger.take, None) for hole in block.holes]
    assert holes == [Hole(A, 21, 30)]


def test_topic_made_anew_is_noticed_at_the_noted_offset(dice):
    log = Log(1)
    for first in (1, 11, 21, 31):
        log.write(A, 1, records_of(dice, range(first, first + 10)))
    merger = Merger([0], "ticks", Mark(A, 10))
    merger.started(0, 2, noted=True)  # where 11 to 20 lay in the topic that was there before
    with pytest.raises(Astray):
        merger.receive(0, 2, *log.partitions[0][2])
    assert merger.next_offsets() == {0: 2}
    merger.started(0, 0)
    for i in range(4):
        merger.receive(0, i, *log.partitions[0][i])
    blocks = list(iter(merger.take, None))
    assert together(blocks)["seq"].tolist() == list(range(11, 41))
    assert not any(block.holes for block in blocks)


def test_noted_offset_that_follows_is_believed(dice):
    log = Log(1)
    for first in (1, 11, 21):
        log.write(A, 1, records_of(dice, range(first, first + 10)))
    merger = Merger([0], "ticks", Mark(A, 10))
    merger.started(0, 1, noted=True)
    merger.receive(0, 1, *log.partitions[0][1])
    merger.receive(0, 2, *log.partitions[0][2])
    assert together(list(iter(merger.take, None)))["seq"].tolist() == list(range(11, 31))
