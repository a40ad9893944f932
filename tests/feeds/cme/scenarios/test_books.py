"""Price levels, implied books, states of trading: scenarios 26 to 32."""

from __future__ import annotations

from typing import Any

import pytest

from mdfeedd.feeds.cme.definitions import Definition
from mdfeedd.sim.cme.instruments import Listing, definition
from mdfeedd.tick import Flag

E9 = 10**9


def full(rig: Any, m: Any) -> Any:
    """Packet 1: ten bids from 100 down, ten offers from 101 up; RptSeq 1 to 20."""
    bids = [f"31.{i + 1} +b{i + 1} {100 - i}x{i + 1}/1" for i in range(10)]
    asks = [f"31.{i + 11} +o{i + 1} {101 + i}x{i + 1}/1" for i in range(10)]
    rig.put(1, m.book(*bids, *asks))
    return rig


def bids(book: str) -> str:
    return book.split(": ")[1].split(" | ", maxsplit=1)[0]


def test_26_new_pushes_the_tenth_level_out(make: Any, m: Any) -> None:
    rig = full(make(), m)
    rig.put(2, m.book("31.21 +b1 100.5x7/2"))
    rig.play("A:1-2")
    assert (
        bids(rig.book(31))
        == "100.5x7/2 100x1/1 99x2/1 98x3/1 97x4/1 96x5/1 95x6/1 94x7/1 93x8/1 92x9/1"
    )
    assert rig.told()[1:] == ["2@2 QUOTE 31 100.5x7 101x1 bid/2 END"]
    assert rig.book(31).startswith("SYNC 21: ")


def test_26_delete_leaves_the_tenth_level_empty_until_a_new(make: Any, m: Any) -> None:
    rig = full(make(), m)
    rig.put(2, m.book("31.21 -b1 100x1/1"))
    rig.put(3, m.book("31.22 +b10 90x4/1"))
    rig.play("A:1-2")
    assert bids(rig.book(31)) == "99x2/1 98x3/1 97x4/1 96x5/1 95x6/1 94x7/1 93x8/1 92x9/1 91x10/1"
    rig.play("A:3")
    assert (
        bids(rig.book(31))
        == "99x2/1 98x3/1 97x4/1 96x5/1 95x6/1 94x7/1 93x8/1 92x9/1 91x10/1 90x4/1"
    )
    assert rig.counts.get("entry_faults", 0) == 0


def test_26_change_below_the_touch_makes_depth_but_no_quote(make: Any, m: Any) -> None:
    rig = full(make(depth=True), m)
    rig.put(2, m.book("31.21 =o10 110x99/3"))
    rig.play("A:1")
    rig.told(), rig.handler.take_depth()
    rig.play("A:2")
    assert len(rig.told()) == 1
    (depth,) = rig.handler.take_depth()
    assert (
        int(depth["bids"]),
        int(depth["asks"]),
        int(depth["venue_seq"]),
        int(depth["flags"]),
    ) == (10, 10, 2, 0)
    assert depth["ask_price"].tolist() == [(101 + i) * E9 for i in range(10)]
    assert depth["ask_size"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 99]
    assert depth["ask_orders"].tolist() == [1] * 9 + [3]
    assert depth["bid_size"].tolist() == list(range(1, 11))


def test_26_in_any_interleaving(make: Any, m: Any) -> None:
    """Levels come and go at both ends; the book is that of a list that knows only insert and
    delete.
    """
    rig = full(make(), m)
    levels = [(100 - i, i + 1) for i in range(10)]
    for i in range(60):
        rpt, at = 21 + i, i % 7
        if i % 3 == 2:
            px, size = levels.pop(at)
            rig.put(2 + i, m.book(f"31.{rpt} -b{at + 1} {px}x{size}/1"))
        elif i % 3 == 0:
            px = (levels[at - 1][0] + levels[at][0]) / 2 if at else levels[0][0] + 1
            levels.insert(at, (px, i))
            del levels[10:]
            rig.put(2 + i, m.book(f"31.{rpt} +b{at + 1} {px}x{i}/1"))
        else:
            levels[at] = (levels[at][0], 1000 + i)
            rig.put(2 + i, m.book(f"31.{rpt} =b{at + 1} {levels[at][0]}x{1000 + i}/1"))
    wanted = " ".join(f"{px:.12g}x{size}/1" for px, size in levels)
    expected = rig.again().play("A:1-61").told()
    for other in rig.interleavings(20, A="1-30 35-61", B="1-29 31-61"):
        assert bids(other.book(31)) == wanted, other.seed
        assert other.told() == expected, other.seed
        assert other.counts.get("entry_faults", 0) == 0


def test_27_delete_thru_clears_the_side(make: Any, m: Any) -> None:
    rig = full(make(), m)
    rig.put(2, m.book("31.21 !b1 100x1/1"))
    rig.play("A:1-2")
    assert (
        rig.book(31)
        == "SYNC 21: - | 101x1/1 102x2/1 103x3/1 104x4/1 105x5/1 106x6/1 107x7/1 108x8/1 109x9/1 110x10/1"
    )
    assert rig.told()[1:] == ["2@2 QUOTE 31 -x0 101x1 bid END"]
    assert rig.counts.get("entry_faults", 0) == 0


def test_27_delete_from_is_done_and_doubted(make: Any, m: Any) -> None:
    """Levels 1 to n go and the rest moves up; since nobody has confirmed that reading, the book is
    STALE.
    """
    rig = full(make(), m)
    rig.put(2, m.book("31.21 ~o3 103x3/1"))
    rig.play("A:1-2")
    assert rig.book(31) == (
        "STALE? 21: 100x1/1 99x2/1 98x3/1 97x4/1 96x5/1 95x6/1 94x7/1 93x8/1 92x9/1 91x10/1"
        " | 104x4/1 105x5/1 106x6/1 107x7/1 108x8/1 109x9/1 110x10/1"
    )
    assert rig.told()[1:] == ["2@2 QUOTE 31 100x1 104x4 ask/1 STALE END"]
    assert rig.count("entry_faults", "stale") == (1, 1)
    assert "ENTRY_FAULT 31 2" in rig.events()


def test_27_overlay_replaces_price_and_size(make: Any, m: Any) -> None:
    rig = full(make(), m)
    rig.put(2, m.book("31.21 ^b1 100.25x9/4"))
    rig.play("A:1-2")
    assert bids(rig.book(31)).startswith("100.25x9/4 99x2/1 ")
    assert rig.told()[1:] == ["2@2 QUOTE 31 100.25x9 101x1 bid/4 END"]
    assert rig.book(31).startswith("SYNC 21")


@pytest.mark.parametrize(
    "entry",
    [
        "31.21 =b1 100.5x3/1",
        "31.21 +b0 100x3/1",
        "31.21 +b11 90x3/1",
        "31.21 =o12 90x3/1",
        "31.21 -b255 90x3/1",
    ],
)
def test_27_entries_that_contradict_the_book(make: Any, m: Any, entry: str) -> None:
    """A change of another price, levels that do not exist: the book is held for wrong until a
    snapshot.
    """
    rig = full(make("A SA"), m)
    rig.put(2, m.book(entry))
    rig.play("A:1-2")
    assert rig.book(31).startswith("STALE? 21")
    assert rig.count("entry_faults", "stale") == (1, 1)
    rig.put("s", m.snapshot(31, 2, 21, "b1 100x1/1", "o1 101x1/1"), seq=1)
    rig.play("SA:s")
    assert rig.book(31) == "SYNC 21: 100x1/1 | 101x1/1"


def test_27_delete_of_an_empty_level_contradicts(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x1/1"))
    rig.put(2, m.book("31.2 -b2 99x1/1"))
    rig.play("A:1-2")
    assert rig.book(31) == "STALE? 2: 100x1/1 | -"


def test_28_implied_levels_stay_apart(make: Any, m: Any) -> None:
    """Two levels deep, orders null, their own quotes; the outright touch never moves by them."""
    rig = make(depth=True)
    rig.put(1, m.book("31.1 +b1 100x5/2", "31.2 +o1 103x5/2"))
    rig.put(2, m.book("31.3 +E1 101x3", "31.4 +E2 99x1", "31.5 +F1 102x4", mei=0x90))
    rig.put(3, m.book("31.6 +E1 101.5x8", mei=0x90))
    rig.put(4, m.book("31.7 -E1 101.5x8", "31.8 =b1 100x6/2", mei=0x94))
    rig.play("A:1-4 B:1-4")
    assert rig.told() == [
        "1@1 QUOTE 31 100x5 103x5 both END",
        "2@2 QUOTE 31 101x3 102x4 both IMPLIED END",
        "3@3 QUOTE 31 101.5x8 102x4 bid IMPLIED END",
        "4@4 QUOTE 31 100x6 103x5 bid/2",
        "4@4 QUOTE 31 101x3 102x4 bid IMPLIED END",
    ]
    assert rig.book(31) == "SYNC 8: 100x6/2 | 103x5/2 (101x3 | 102x4)"
    flags = [int(d["flags"]) for d in rig.handler.take_depth()]
    assert flags == [0] + [0, Flag.IMPLIED] * 3


def test_28_implied_below_level_two_is_no_level(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +E1 101x3", "31.2 +E2 99x1", "31.3 +E3 98x1", mei=0x90))
    rig.play("A:1")
    assert rig.book(31).startswith("STALE? 3")
    assert rig.counts["entry_faults"] == 1


@pytest.mark.parametrize(("status", "alarm"), [(21, False), (15, False), (24, False), (17, True)])
def test_29_crossed_books(make: Any, m: Any, status: int, alarm: bool) -> None:
    """Before the open a book may be crossed; while the instrument trades it may not, when an event
    has ended.
    """
    rig = make()
    rig.put(1, m.status(status, security_id=31, group="ES"))
    rig.put(2, m.book("31.1 +o1 100x5/2", mei=0))
    rig.put(3, m.book("31.2 +b1 101x5/2"))
    rig.put(4, m.book("31.3 =b1 101x6/2"))
    rig.put(5, m.book("31.4 -b1 101x6/2"))
    rig.put(6, m.book("31.5 +b1 100x6/2"))
    rig.play("A:1-4")
    assert rig.counts.get("crossed", 0) == alarm
    assert ("CROSSED 31 3" in rig.events()) == alarm
    assert rig.told("QUOTE") == [
        "3@3 QUOTE 31 101x5 100x5 both END",
        "4@4 QUOTE 31 101x6 100x5 bid/2 END",
    ]
    rig.play("A:5-6")  # locked is crossed, too: a new episode
    assert rig.counts.get("crossed", 0) == 2 * alarm


def test_29_crossed_inside_an_event_is_nothing(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.status(17, security_id=31, group="ES"))
    rig.put(
        2,
        m.book("31.1 +o1 100x5/2", mei=4),
        m.book("31.2 +b1 101x5/2", mei=4),
        m.book("31.3 -o1 100x5/2"),
    )
    rig.play("A:1-2")
    assert rig.counts.get("crossed", 0) == 0


def test_30_null_prices_null_sizes_negative_prices(make: Any, m: Any) -> None:
    """A market order has a price level without a price; a spread trades below nought."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 nullx5/2", "31.2 +o1 -0.05xnull/1"))
    rig.put(2, m.book("32.1 +b1 -1.25x3/1", "32.2 +o1 -1.2x4/1"))
    rig.put(3, m.trades("32.3 -1.2x1 buy 2 #5", mei=0x81))
    rig.play("A:1-3 B:1-3")
    assert rig.told() == [
        "1@1 QUOTE 31 -x5 -0.05x0 both END",
        "2@2 QUOTE 32 -1.25x3 -1.2x4 both END",
        "3@3 TRADE 32 -1.2x1 buy 2 #5 END",
    ]
    assert rig.count("entry_faults", "crossed") == (0, 0)


def test_30_sizes_beyond_32_bits_are_saturated(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 1.1x5000000000/1", long=True))
    rig.put(2, m.trades("31.2 1.1x6000000000 buy 2 #5", mei=0x81, long=True))
    rig.put(3, m.volume([(31, 3, 6 * 10**9)], long=True))
    assert rig.play("A:1-3").told() == [
        "1@1 QUOTE 31 1.1x4294967295 -x0 bid/1 SIZE_SATURATED END",
        "2@2 TRADE 31 1.1x4294967295 buy 2 #5 SIZE_SATURATED END",
        "3@3 STATISTIC 31 type=10001 - 6000000000 END",
    ]


def test_31_reset_of_one_book(make: Any, m: Any) -> None:
    """J empties this instrument's book, outright, implied and by order, and says CLEAR; the others
    stay.
    """
    rig = make(orders=True)
    orders = [(1, 1, 5, 1, 0), (2, 2, 7, 2, 0)]
    rig.put(
        1,
        m.book("31.1 +b1 100x5/2", "32.1 +b1 50x7/1", orders=orders),
        m.book("31.2 +E1 99x1", mei=0x90),
    )
    rig.put(2, m.book("31.3 J", "31.4 +b1 90x1/1"))
    rig.put(3, m.book("32.2 J"))
    rig.play("A:1-2")
    assert rig.told()[3:] == ["2@2 CLEAR 31", "2@2 QUOTE 31 90x1 -x0 bid/1 END"]
    assert rig.book(31) == "SYNC 4: 90x1/1 | -"
    assert rig.book(32) == "SYNC 1: 50x7/1 | -"
    assert (rig.orders(31), rig.orders(32)) == ("- | -", "2:2:50x7 | -")
    assert rig.told_orders() == [
        "1 NEW 1:1:100x5 bid",
        "1 NEW 2:2:50x7 bid",
        "2 CLEAR 0:0:0x0 none",
    ]
    rig.play("A:3")
    assert rig.told()[5:] == ["3@3 CLEAR 32 END"]


def test_31_reset_makes_a_stale_book_right(make: Any, m: Any) -> None:
    """Of an empty book nothing can be missing: whatever was lost, it is SYNC."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(3, m.book("31.4 +b1 101x5/2"))
    rig.put(4, m.book("31.5 J"))
    rig.put(5, m.book("31.6 +b1 90x1/1"))
    rig.play("A:1,3-5 B:1,3-5")
    assert rig.told()[1:] == [
        "2@1.5 GAP - 2..2 reason=1 line=310",
        "3@3 QUOTE 31 101x5 -x0 bid/2 STALE END",
        "4@4.5 RECOVERED 31 2..2 reason=1 line=310",
        "4@4.5 RECOVERED - 2..2 reason=1 line=310",
        "4@4 CLEAR 31 END",
        "5@5 QUOTE 31 90x1 -x0 bid/1 END",
    ]


def test_31_reset_that_a_snapshot_is_beyond(make: Any, m: Any) -> None:
    """The snapshot came before the packet with J: its book, made after J, must not be emptied
    again.
    """
    rig = make("A B SA")
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(3, m.heartbeat())  # 2 is lost
    rig.put("j", m.book("31.3 J"), seq=4, step=4)
    rig.put("n", m.book("31.4 +b1 90x1/1"), seq=5, step=5)
    rig.put("c", m.book("31.5 =b1 90x2/1"), seq=6, step=6)
    rig.put("s5", m.snapshot(31, 5, 4, "b1 90x1/1"), seq=1)
    rig.play("A:1,3 B:1,3 SA:s5 A:j,n,c")
    assert rig.book(31) == "SYNC 5: 90x2/1 | -"
    assert rig.told("CLEAR") == []


def test_38_an_empty_touch_told_flagged_is_told_again_as_well(make: Any, m: Any) -> None:
    rig = make("A B SA")
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(3, m.book("31.3 -b1 100x5/2"))
    rig.put("s", m.snapshot(31, 3, 3), seq=1)
    rig.play("A:1,3 B:1,3 SA:s")
    assert [text.split("QUOTE ")[1] for text in rig.told("QUOTE")[1:]] == [
        "31 -x0 -x0 bid STALE END",
        "31 -x0 -x0 both SNAPSHOT",
    ]


def defined(rig: Any, depth: int) -> None:
    rig.handler.define(310, Definition(310, 31, "ESH6", group="ES", depth=depth, last_update=depth))


@pytest.mark.parametrize("levels", [1, 3, 10])
def test_26_book_that_is_right_keeps_its_levels_when_its_depth_is_told(
    make: Any, m: Any, levels: int
) -> None:
    rig = make()
    bids = [f"31.{i + 1} +b{i + 1} {100 - i}x{i + 1}/1" for i in range(levels)]
    rig.put(1, m.book(*bids, f"31.{levels + 1} +o1 101x9/1"))
    rig.put(2, m.book(f"31.{levels + 2} +b1 100.5x7/2"))
    rig.play("A:1")
    defined(rig, levels)
    assert rig.book(31) == f"SYNC {levels + 1}: " + (
        " ".join(f"{100 - i}x{i + 1}/1" for i in range(levels)) + " | 101x9/1"
    )
    told = rig.play("A:2").told("QUOTE")
    assert [text.split("QUOTE ")[1] for text in told[-1:]] == ["31 100.5x7 101x9 bid/2 END"]
    assert len(bids_of(rig)) == levels


def bids_of(rig: Any) -> list[str]:
    return bids(rig.book(31)).split()


def test_26_levels_that_the_venue_may_not_have_had_put_the_book_in_doubt(make: Any, m: Any) -> None:
    """Of ten that were kept three are the venue's, and one that came up from below may be long gone."""
    rig = full(make(), m)
    rig.put(2, m.book("31.21 +b1 100.5x7/2"))
    rig.play("A:1")
    defined(rig, 3)
    assert rig.book(31) == "STALE? 20: 100x1/1 99x2/1 98x3/1 | 101x1/1 102x2/1 103x3/1"
    told = rig.play("A:2").told("QUOTE")
    assert told[-1].endswith("31 100.5x7 101x1 bid/2 STALE END")
    assert bids_of(rig) == ["100.5x7/2", "100x1/1", "99x2/1"]


def test_26_more_levels_than_before_may_be_filled(make: Any, m: Any) -> None:
    rig = make()
    defined(rig, 1)
    rig.put(1, m.book("31.1 +b1 100x1/1", "31.2 +o1 101x1/1"))
    rig.play("A:1")
    assert rig.book(31) == "SYNC 2: 100x1/1 | 101x1/1"
    defined(rig, 2)
    assert rig.book(31) == "STALE? 2: 100x1/1 | 101x1/1"


def known(rig: Any, *instruments: tuple[int, str, str]) -> None:
    for security_id, symbol, group in instruments:
        rig.handler.define(
            310, Definition(310, security_id, symbol, group=group, trading_status=21)
        )
    rig.told()
    rig.ticks = rig.ticks[:0]


def test_32_status_of_a_whole_group(make: Any, m: Any) -> None:
    """Without a SecurityID it is one status for each instrument of the group, and no other."""
    rig = make()
    known(rig, (31, "ESH6", "ES"), (32, "ESM6", "ES"), (33, "CLH6", "CL"))
    rig.put(1, m.status(17, group="ES"))
    told = rig.play("A:1 B:1").told()
    assert sorted(told) == [
        "1@1 STATUS 31 7/1/0 trading=1 quoting=1",
        "1@1 STATUS 32 7/1/0 trading=1 quoting=1",
    ]
    states = [rig.handler.book(310, sid).trading_status for sid in (31, 32, 33)]
    assert states == [17, 17, 21]


def test_32_status_255_changes_the_event_alone(make: Any, m: Any) -> None:
    rig = make()
    known(rig, (31, "ESH6", "ES"))
    rig.put(1, m.status(17, group="ES"))
    rig.put(2, m.status(255, group="ES", event=5))
    rig.put(3, m.status(103, group="ES", event=6))
    assert rig.play("A:1-3").told() == [
        "1@1 STATUS 31 7/1/0 trading=1 quoting=1",
        "2@2 STATUS 31 7/1/3 trading=1 quoting=1",
        "3@3 STATUS 31 7/1/4 trading=1 quoting=1",
    ]


def test_32_reset_of_statistics_is_told(make: Any, m: Any) -> None:
    rig = make()
    known(rig, (31, "ESH6", "ES"))
    rig.put(1, m.status(255, group="ES", event=4))
    rig.put(2, m.status(2, security_id=31, group="ES", halt_reason=1))
    assert rig.play("A:1-2").told() == [
        "1@1 STATUS 31 1/1/2 trading=2 quoting=1",
        "2@2 STATUS 31 8/2/0 trading=2 quoting=2",
    ]


def test_32_statuses_in_any_interleaving(make: Any, m: Any) -> None:
    listing = [Listing(sid, f"ES{sid}", 54, "ES", "ES", E9 // 4, 100 * E9) for sid in (31, 32)]
    rig = make()
    rig.put(1, *[definition(rig.wire, one, update_ns=rig.at(1)) for one in listing])
    for seq in range(2, 30):
        rig.put(seq, m.status((17, 21, 255)[seq % 3], group="ES", event=(0, 4, 5)[seq % 3]))
    expected = rig.again().play("A:1-29").told()
    assert len([text for text in expected if "STATUS" in text]) == 2 * 28
    for other in rig.interleavings(20, A="1-10 13-29", B="1-12 14-29"):
        assert other.told() == expected, other.seed


def with_size(rig: Any, name: int, unlikely: int, size: int) -> None:
    """In the packet, write `size` over the one that is `unlikely`."""
    field = unlikely.to_bytes(4, "little")
    assert rig.packets[name].count(field) == 1
    rig.packets[name] = rig.packets[name].replace(field, size.to_bytes(4, "little", signed=True))


def test_26_no_level_has_a_negative_size(make: Any, m: Any) -> None:
    """The entry contradicts itself: the book is in doubt."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(2, m.book("31.2 +b1 101x1234567/2"))
    with_size(rig, 2, 1_234_567, -5)
    rig.play("A:1-2")
    assert rig.book(31).startswith("STALE? 2:")
    assert "STALE" in rig.told("QUOTE")[-1]
    assert rig.count("entry_faults") == (1,)


def test_26_no_trade_has_a_negative_size(make: Any, m: Any) -> None:
    """It is left out and counted; those around it are told."""
    rig = make()
    rig.put(1, m.trades("31.1 100x3 buy 2", "31.2 100x1234567 buy 2", "31.3 101x4 buy 2"))
    with_size(rig, 1, 1_234_567, -3)
    rig.play("A:1")
    assert [text.split()[3] for text in rig.told("TRADE")] == ["100x3", "101x4"]
    assert rig.count("entry_faults") == (1,)
    assert rig.book(31).startswith("SYNC 3:")
