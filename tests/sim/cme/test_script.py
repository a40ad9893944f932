"""The notation of scenarios, and packets written by hand."""

from __future__ import annotations

import struct

import pytest

from mdfeedd.sim.cme import Action, Feed, Venue, Wire
from mdfeedd.sim.cme.script import STEP_NS, play

PACKETS = {seq: struct.pack("<IQ", seq, 0) for seq in range(1, 10)}


def test_sides_numbers_and_waits() -> None:
    told = play(PACKETS, "A:1-2 B:2 +10ms A:7,3 +2s B:8-", start_ns=100)
    seqs = [(d.side, struct.unpack_from("<I", d.payload)[0]) for d in told]
    assert seqs == [(0, 1), (0, 2), (1, 2), (0, 7), (0, 3), (1, 8), (1, 9)]
    assert told[0].time_ns == 100 + STEP_NS
    assert told[3].time_ns - told[2].time_ns == 10_000_000 + STEP_NS
    assert told[5].time_ns - told[4].time_ns == 2_000_000_000 + STEP_NS


def test_other_feeds_of_a_venue() -> None:
    venue = Venue(1, instruments=2)
    venue.fill_books()
    sent = venue.take() + venue.settle(1)
    told = play(sent, "N.A:1- S.B:2 M.A:1-3 A:1")
    assert [(d.feed, d.side) for d in told] == [
        (Feed.DEFINITION, 0),
        (Feed.DEFINITION, 0),
        (Feed.SNAPSHOT, 1),
        *[(Feed.ORDERS, 0)] * 3,
        (Feed.INCREMENTAL, 0),
    ]


@pytest.mark.parametrize("script", ["C:1", "A1", "+5min", "A:x"])
def test_word_that_is_none(script: str) -> None:
    with pytest.raises(ValueError, match="script"):
        play(PACKETS, script)


def test_packet_that_was_not_sent() -> None:
    with pytest.raises(KeyError):
        play(PACKETS, "A:11")


def test_entries_by_hand_with_text_or_bytes_and_with_what_is_left_out() -> None:
    wire = Wire(13, now_ns=5)
    one = wire.book([(31, 1, Action.NEW, "0", 1, 100, 5, 2)], mei=0x04)
    other = wire.book([(31, 1, 0, b"0", 1, 100, 5, 2, None)], mei=4, transact_ns=5)
    assert one == other
    with_null = wire.book([(31, 1, 0, "E", 1, None, None)])
    px, size, _, _, orders = struct.unpack_from("<qiiIi", with_null, 10 + 11 + 3)
    assert (px, size, orders) == (2**63 - 1, 2**31 - 1, 2**31 - 1)
    assert wire.packet(7, one, with_null)[12:] == one + with_null


def test_old_templates_divide_prices_and_refuse_what_they_cannot_say() -> None:
    old, new = Wire(9, old_templates=True), Wire(9)
    entry = (31, 1, 0, "0", 1, -1_250_000_000, 5, 2)
    told_old, told_new = old.book([entry]), new.book([entry])
    assert struct.unpack_from("<H", told_old, 4) == (32,)
    assert struct.unpack_from("<H", told_new, 4) == (46,)
    assert struct.unpack_from("<q", told_old, 24)[0] * 100 == -1_250_000_000
    assert struct.unpack_from("<q", told_new, 24)[0] == -1_250_000_000
    with pytest.raises(ValueError, match="price"):
        old.book([(31, 1, 0, "0", 1, 50, 5, 2)])


@pytest.mark.parametrize(("version", "old"), [(10, True), (8, False)])
def test_set_that_the_version_does_not_have(version: int, old: bool) -> None:
    with pytest.raises(ValueError, match="version"):
        Wire(version, old_templates=old)


def test_trade_of_the_oldest_template() -> None:
    data = Wire(6).old_trades([(31, 4, 100, 3, 2, 1, 77)], mei=0x81)
    assert struct.unpack_from("<HHHHH", data) == (len(data), 11, 36, 1, 6)
    assert struct.unpack_from("<qiiIiiBB", data, 24) == (1, 3, 31, 4, 2, 77, 1, 0)
