"""Holes that a ring tells of and never closes, as the next writer finds them."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.ring import Writer
from mdfeedd.ring.unclosed import LeftOpen, left_open, unclosed
from mdfeedd.tick import GAP, TICK, GapReason, Kind


@pytest.fixture
def writer(shm_dir):
    with Writer("t", 64, directory=shm_dir) as made:
        yield made


def tell(writer, kind, instrument=0, first=0, reason=GapReason.DISCONNECT):
    row = np.zeros(1, GAP)
    row["kind"], row["instrument_id"], row["first_missing"] = kind, instrument, first
    row["reason"] = reason if kind != Kind.CLEAR else 0
    writer.publish(row.view(TICK))


def test_ring_without_any(writer):
    assert unclosed(writer) == {}
    tell(writer, Kind.TRADE, 1)
    assert unclosed(writer) == {}


def test_earliest_begin_of_what_is_open_by_instrument(writer):
    for instrument, first in ((0, 70), (1, 50), (1, 40), (1, 60), (2, 30)):
        tell(writer, Kind.GAP, instrument, first)
    assert unclosed(writer) == {0: 70, 1: 40, 2: 30}


@pytest.mark.parametrize("end", [Kind.RECOVERED, Kind.CLEAR])
def test_what_is_closed_is_closed_for_its_instrument_alone(writer, end):
    tell(writer, Kind.GAP, 1, 40)
    tell(writer, Kind.GAP, 2, 30)
    tell(writer, end, 1)
    assert unclosed(writer) == {2: 30}
    tell(writer, Kind.GAP, 1, 90)
    assert unclosed(writer) == {1: 90, 2: 30}


def test_only_gaps_of_some_reasons(writer):
    tell(writer, Kind.GAP, 0, 40, GapReason.PACKET_LOSS)
    tell(writer, Kind.GAP, 0, 50, GapReason.RESTART)
    assert unclosed(writer, {GapReason.RESTART}) == {0: 50}


def test_as_far_back_as_the_ring_goes(writer):
    tell(writer, Kind.GAP, 1, 40)
    for _ in range(2 * writer.capacity):
        tell(writer, Kind.TRADE, 2)
    tell(writer, Kind.GAP, 2, 30)
    assert unclosed(writer) == {2: 30}


def test_next_writer_finds_them(writer, shm_dir):
    tell(writer, Kind.GAP, 1, 40)
    writer.close()
    with Writer("t", 64, directory=shm_dir) as after:
        assert unclosed(after) == {1: 40}


def tell_line(writer, kind, line, first=0, reason=GapReason.PACKET_LOSS):
    row = np.zeros(1, GAP)
    row["kind"], row["line"], row["first_missing"], row["reason"] = kind, line, first, reason
    writer.publish(row.view(TICK))


def test_what_readers_hold_to_be_open_by_line(writer):
    assert left_open(writer) == LeftOpen()
    tell_line(writer, Kind.GAP, 310, 5)
    tell_line(writer, Kind.GAP, 320, 900, GapReason.RESTART)
    tell_line(writer, Kind.GAP, 320, 800, GapReason.RESTART)
    tell_line(writer, Kind.GAP, 320, 7)
    tell_line(writer, Kind.GAP, 330, 7)
    tell(writer, Kind.CLEAR)
    assert left_open(writer).lines == {310: None, 320: 800, 330: None}
    tell_line(writer, Kind.RECOVERED, 330)
    tell_line(writer, Kind.RECOVERED, 320, reason=GapReason.RESTART)
    assert left_open(writer).lines == {310: None}


def test_what_readers_hold_to_be_open_of_an_instrument(writer):
    for instrument in (7, 8):
        tell(writer, Kind.GAP, instrument, 1)
        tell(writer, Kind.CLEAR, instrument)
    tell(writer, Kind.RECOVERED, 8)
    assert left_open(writer).instruments == {7}, "a book that is void is no proof for who counts"
