"""Where an event ends, and what a hole does to one: scenarios 21 to 25."""

from __future__ import annotations

from typing import Any

import pytest

from mdfeedd.feeds.cme.definitions import Definition


@pytest.mark.parametrize("packets", [2, 8, 64])
def test_21_one_event_over_many_packets(make: Any, m: Any, packets: int) -> None:
    """No quote before MatchEventIndicator's bit 7, then one for the touch that is left, and one
    boundary.
    """
    rig = make()
    for seq in range(1, packets + 1):
        action = "+" if seq == 1 else "="
        rig.put(
            seq,
            m.book(f"31.{seq} {action}b1 100x{seq}/1", mei=0x80 if seq == packets else 0),
            step=7,
        )
        rig.play(f"B:{seq}")
        assert len(rig.told()) == (seq == packets)
    assert rig.told() == [f"{packets}@7 QUOTE 31 100x{packets} -x0 bid/1 END"]
    assert rig.counts["ended_events"] == 1


@pytest.mark.parametrize("packets", [2, 8, 64])
def test_21_in_any_interleaving(make: Any, m: Any, packets: int) -> None:
    rig = make()
    rpt = 0
    for event in range(3):
        for part in range(packets):
            rpt += 1
            action = "+" if rpt == 1 else "="
            mei = 0x84 if part == packets - 1 else 0x04 * (part % 2)
            rig.put(rpt, m.book(f"31.{rpt} {action}b1 100x{rpt}/1", mei=mei), step=100 * event)
    expected = rig.again().play(f"A:1-{rpt}").told()
    assert len(expected) == 3
    lost = packets // 2 + 1
    for other in rig.interleavings(30, A=f"1-{lost - 1} {lost + 1}-{rpt}", B=f"1-{rpt}"):
        assert other.told() == expected, other.seed


def test_22_three_events_in_one_packet(make: Any, m: Any) -> None:
    """Three boundaries, though all have one TransactTime: the time is no key."""
    rig = make()
    rig.put(
        1,
        m.book("31.1 +b1 100x5/2"),
        m.book("31.2 =b1 100x6/2"),
        m.trades("31.3 100x1 sell 2 #1", mei=1),
        m.book("31.4 =b1 100x5/2", "32.1 +o1 50x1/1", mei=0x84),
    )
    assert rig.play("A:1 B:1").told() == [
        "1@1 QUOTE 31 100x5 -x0 bid/2 END",
        "1@1 QUOTE 31 100x6 -x0 bid/2 END",
        "1@1 TRADE 31 100x1 sell 2 #1",
        "1@1 QUOTE 31 100x5 -x0 bid/2",
        "1@1 QUOTE 32 -x0 50x1 ask/1 END",
    ]
    assert rig.counts["ended_events"] == 3


def test_22_two_ends_at_one_time_in_two_packets(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"), step=1)
    rig.put(2, m.book("31.2 =b1 100x6/2"), step=1, sent=2.5)
    assert rig.play("A:1-2").told() == [
        "1@1 QUOTE 31 100x5 -x0 bid/2 END",
        "2@1 QUOTE 31 100x6 -x0 bid/2 END",
    ]


def test_22_a_status_without_an_indicator_ends_no_event(make: Any, m: Any) -> None:
    """It applies at once, even in the middle of an event, whose boundary stays where it was."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2", mei=0x04))
    rig.put(2, m.status(21, security_id=31, group="ES"))
    rig.put(3, m.book("31.2 +o1 101x5/2"))
    assert rig.play("A:1-3").told() == [
        "2@2 STATUS 31 1/1/0 trading=2 quoting=1",
        "3@3 QUOTE 31 100x5 101x5 both END",
    ]
    assert rig.counts["ended_events"] == 1


def test_22_a_status_between_events_owes_no_end(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(2, m.status(21, security_id=31, group="ES"))
    rig.put(3, m.book(mei=0x80))
    assert rig.play("A:1-3").told("HEARTBEAT") == []


@pytest.mark.parametrize("mei", [0x04, 0x00])
def test_23_hole_inside_an_event(make: Any, m: Any, mei: int) -> None:
    """What the event had changed is told, flagged and without a boundary; the end that comes later
    ends what is left of it. Whether the first message said "last of its kind" or nothing makes no
    difference.
    """
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2", "31.2 +o1 101x5/2", "32.1 +b1 50x1/1"))
    rig.put(2, m.book("31.3 =b1 100x9/3", mei=mei))
    rig.put(3, m.book("31.4 =o1 101x8/3", mei=mei))
    rig.put(4, m.book("32.2 =b1 50x2/1"))
    rig.play("A:1,2,4 B:1,2,4")
    assert rig.told()[2:] == [
        "2@2 QUOTE 31 100x9 101x5 bid/3 STALE",
        "3@2.5 GAP - 3..3 reason=1 line=310",
        "4@4 QUOTE 32 50x2 -x0 bid/1 END",
    ]
    assert rig.count("incomplete_events", "ended_events") == (1, 2)


def test_23_hole_between_events_cuts_none(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(3, m.book("31.2 =b1 100x6/2"))
    rig.play("A:1,3 B:1,3")
    assert rig.told()[1:] == [
        "2@1.5 GAP - 2..2 reason=1 line=310",
        "3@3.5 RECOVERED - 2..2 reason=1 line=310",  # RptSeq goes on: the hole had nothing of ours
        "3@3 QUOTE 31 100x6 -x0 bid/2 END",
    ]
    assert rig.counts.get("incomplete_events", 0) == 0


def test_23_in_any_interleaving(make: Any, m: Any) -> None:
    rig = make()
    for seq in range(1, 61):
        side, px, rpt = ("b", 100, seq) if seq % 2 else ("o", 101, seq)
        action = "+" if seq <= 2 else "="
        rig.put(
            seq,
            m.book(f"31.{rpt} {action}{side}1 {px}x{seq}/1", mei=0x84 if seq % 3 == 0 else 0x04),
        )
    expected = rig.again().play("A:1-7,9-20,22-60 B:1-7,9-20,22-60").told()
    assert [text for text in expected if "GAP" in text or "STALE" in text][:3] == [
        "7@7 QUOTE 31 100x7 101x6 bid/1 STALE",
        "8@7.5 GAP - 8..8 reason=1 line=310",
        "9@9 QUOTE 31 100x9 101x6 bid/1 STALE END",
    ]
    for other in rig.interleavings(40, A="1-7 9-20 22-30 33-60", B="1-5 9-20 22-60"):
        if other.counts["lost"] == 2:
            assert other.told() == expected, other.seed


def split(rig: Any, m: Any) -> Any:
    """A trade of three entries whose order ids come in two packets, then another round of the same
    event.
    """
    rig.put(
        1,
        m.trades(
            "31.1 101x3 buy 3 #900",
            "32.1 50x2 sell 2 #901",
            "31.2 102x1 none 2 #902",
            fills=[(1, 3), (2, 1), (3, 2), (4, 2)],
            mei=0,
        ),
    )
    rig.put(2, m.trades(fills=[(5, 2), (6, 1), (7, 1)], mei=0), step=1)
    rig.put(3, m.trades("31.3 102x4 buy 2 #903", fills=[(8, 4), (9, 4)], mei=1), step=1)
    rig.put(4, m.book("31.4 +b1 100x5/2"), step=1)
    return rig


SPLIT_TRADES = [
    "1@1 TRADE 31 101x3 buy 3 #900",
    "1@1 TRADE 32 50x2 sell 2 #901",
    "1@1 TRADE 31 102x1 none 2 #902",
    "3@1 TRADE 31 102x4 buy 2 #903",
    "4@1 QUOTE 31 100x5 -x0 bid/2 END",
]
SPLIT_FILLS = [
    "1 FILL 1:900:101x3 bid",  # the aggressor's comes first
    "1 FILL 2:900:101x1 ask",
    "1 FILL 3:900:101x2 ask",
    "1 FILL 4:901:50x2 ask",
    "2 FILL 5:901:50x2 bid",
    "2 FILL 6:902:102x1 none",
    "2 FILL 7:902:102x1 none",
    "3 FILL 8:903:102x4 bid",
    "3 FILL 9:903:102x4 ask",
]


def test_24_trade_summary_split_over_two_packets(make: Any, m: Any) -> None:
    """Each trade once, and each order id with the trade it belongs to, across the split."""
    rig = split(make(orders=True), m).play("A:1-4 B:1-4")
    assert rig.told() == SPLIT_TRADES
    assert rig.told_orders() == SPLIT_FILLS
    assert rig.counts.get("order_faults", 0) == 0


def test_24_without_an_aggressor_a_fill_has_the_side_of_its_order(make: Any, m: Any) -> None:
    """As all of an auction have. An order that is not in the book has none."""
    rig = make(orders=True)
    rig.put(1, m.book("31.1 +b1 100x5/2", orders=[(6, 1, 5, 1, 0)]))
    rig.put(2, m.book("31.2 +o1 100x2/1", orders=[(7, 1, 2, 1, 0)]))
    rig.put(3, m.trades("31.3 100x2 none 3 #902", fills=[(6, 2), (7, 1), (8, 1)]))
    rig.play("A:1-3")
    assert [text for text in rig.told_orders() if "FILL" in text] == [
        "3 FILL 6:902:100x2 bid",
        "3 FILL 7:902:100x1 ask",
        "3 FILL 8:902:100x1 none",
    ]


def test_24_in_any_interleaving(make: Any, m: Any) -> None:
    rig = split(make(orders=True), m)
    for other in rig.interleavings(40, A="1 3 4", B="2-4", before="B:1"):
        assert other.told() == SPLIT_TRADES, other.seed
        assert other.told_orders() == SPLIT_FILLS, other.seed


def test_24_order_ids_do_not_cross_a_hole(make: Any, m: Any) -> None:
    """The second part is lost: the ids of the next event go to its own trades."""
    rig = split(make(orders=True), m)
    rig.put(5, m.trades("31.5 103x1 buy 2 #904", fills=[(10, 1), (11, 1)], mei=0x81))
    rig.play("A:1,4,5 B:1,4,5")
    assert [text for text in rig.told_orders() if text.startswith("5")] == [
        "5 FILL 10:904:103x1 bid STALE",
        "5 FILL 11:904:103x1 ask STALE",
    ]


def test_25_reference_id_counts_from_one(make: Any, m: Any) -> None:
    """An order belongs to the entry of its own message; 255 and numbers beyond the entries belong
    to none.
    """
    rig = make(orders=True)
    rig.put(
        1,
        m.book(
            "31.1 +b1 100x5/2",
            "32.1 +o1 50x7/1",
            orders=[
                (1, 10, 2, 1, 0),
                (2, 11, 3, 1, 0),
                (3, 12, 7, 2, 0),
                (4, 13, 7, None, 0),
                (5, 14, 7, 3, 0),
                (6, 15, 1, 0, 0),
            ],
        ),
    )
    rig.play("A:1")
    assert rig.told_orders() == [
        "1 NEW 1:10:100x2 bid",
        "1 NEW 2:11:100x3 bid",
        "1 NEW 3:12:50x7 ask",
    ]
    assert rig.orders(31) == "1:10:100x2 2:11:100x3 | -"
    assert rig.orders(32) == "- | 3:12:50x7"
    assert rig.counts["order_faults"] == 3


def test_25_reference_id_with_filtered_instruments(make: Any, m: Any) -> None:
    """Entries of instruments that nobody wants count all the same when an order refers by
    number.
    """
    rig = make(orders=True, symbols=("ESH6",))
    rig.handler.define(310, Definition(310, 32, "ESH6"))
    rig.put(
        1,
        m.book(
            "31.1 +b1 100x5/2",
            "32.1 +o1 50x7/1",
            "33.1 +b1 9x9/1",
            orders=[(1, 1, 5, 1, 0), (2, 2, 7, 2, 0), (3, 3, 9, 3, 0)],
        ),
    )
    rig.play("A:1")
    assert rig.told_orders() == ["1 NEW 2:2:50x7 ask"]
    assert rig.orders(32) == "- | 2:2:50x7"
    assert rig.told("QUOTE") == ["1@1 QUOTE 32 -x0 50x7 ask/1 END"]
