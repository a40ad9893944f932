"""Records that brokers have no more: told once, closed, and no other record twice or lost, wherever a kill falls."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mdfeedd.feeds.kafka.codec import ChunkHead, Merger
from mdfeedd.feeds.kafka.feed import _Line
from mdfeedd.ring.segment import resume_path
from mdfeedd.tick import GAP, TICK, GapReason, Kind


@pytest.mark.parametrize("told", [0, 1, 5, 10])
@pytest.mark.parametrize("records", [0, 1, 50])
def test_kill_within_what_is_told_of_a_hole(
    source, sink_to, kafka, feed_from, publish, monkeypatch, told, records, until, symbols
):
    """Wherever it falls, each record is there once, and the hole is told whole and closed before what is behind it."""
    ring, sink = source(), sink_to(kafka, records_per_message=100)
    before, lost, after = (publish(ring, n) for n in (500, 200, 50))
    sink.write(before)
    feed = feed_from(kafka, ring.name)
    feed.read(500)
    feed.stop()
    give, own, calls = _Line._give, 1 + len(symbols) + 1, []

    def give_some(line, rows, stop):
        most = (told, records)[len(calls)]
        calls.append(most)
        give(line, rows[:most], stop)
        if most < len(rows) or len(calls) == 2:
            raise RuntimeError("killed")
        return True

    receive = Merger.receive

    def leave_out(self, partition, offset, headers, value):
        """The brokers have this one no more."""
        if ChunkHead.decode(headers, "ticks").first not in range(501, 701):
            receive(self, partition, offset, headers, value)

    monkeypatch.setattr(Merger, "receive", leave_out)
    monkeypatch.setattr(Merger, "started", _as_if_unknown)
    monkeypatch.setattr(_Line, "_give", give_some)
    for batch in (lost, after):
        sink.write(batch)
    feed.start()
    until(lambda: not feed.alive(), "the kill")
    assert isinstance(feed.ended, RuntimeError)
    feed.ended = None
    monkeypatch.setattr(_Line, "_give", give)
    feed.start()
    ticks = feed.read(550, keep=lambda ticks: ticks["count"] == ticks["count"])
    more = publish(ring, 30)
    sink.write(more)
    told_twice = 0 if told == own else told
    ticks = feed.read(550 + told_twice + own + 30)
    assert len(ticks) == 550 + told_twice + own + 30
    rest = ticks[500 + told_twice + own :]
    expected = np.concatenate([after.records, more.records])
    assert (rest["payload"] == expected["payload"]).all()
    own_rows = ticks[500 : 500 + told_twice + own].view(GAP)
    assert (own_rows["kind"][-1], own_rows["kind"][-own]) == (Kind.RECOVERED, Kind.GAP)


def _as_if_unknown(merger, partition, offset, *, noted=False):
    """Where a hole is made by leaving out, no offset is strange."""
    del noted
    line = merger._lines[partition]
    line.next_offset, line.noted = offset, False


def test_ring_of_which_nothing_is_known_ends_the_holes_it_tells_of(
    kafka, source, sink_to, feed_from, publish, symbols
):
    """Whether the writer there closed them, is among what was missed."""
    ring, sink = source(), sink_to(kafka)
    sink.write(publish(ring, 100))
    rows = np.zeros(2, GAP)
    rows["kind"], rows["line"] = Kind.GAP, 310
    rows["instrument_id"] = [0, ring.writer.instruments.add(symbols[0])]
    sink.write(ring.publish(rows.view(TICK)))
    feed = feed_from(kafka, ring.name)
    feed.read(102)
    own = feed.reader.instruments.id(symbols[0])
    feed.stop()
    resume_path(feed.plan.name, feed.plan.directory).unlink()
    feed._feed.options = dataclasses.replace(feed._feed.options, start="latest")
    feed.start()
    count = 1 + len(symbols) + 3
    told = feed.read(102 + count)[102:].view(GAP)
    assert told["kind"].tolist() == [
        Kind.GAP,
        *[Kind.CLEAR] * len(symbols),
        *[Kind.RECOVERED] * 3,
    ]
    ended = {(int(row["line"]), int(row["instrument_id"])) for row in told[-3:]}
    assert ended == {(0, 0), (310, 0), (0, own)}
    assert set(told["reason"][[0, -3, -2, -1]].tolist()) == {GapReason.RESTART}
