"""RptSeq, the sequence of one instrument over all its templates: scenarios 33 to 37."""

from __future__ import annotations

from typing import Any

E9 = 10**9


def test_33_one_sequence_over_all_templates(make: Any, m: Any) -> None:
    """Trade, volume, book, statistics, limits, settlement of one event: contiguous, so no false
    gap.
    """
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(
        2,
        m.trades("31.2 100x1 sell 2 #1", mei=1),
        m.volume([(31, 3, 1)], mei=2),
        m.book("31.4 =b1 100x4/2", mei=4),
    )
    rig.put(
        3,
        m.session_statistics([(31, 5, "4", 100 * E9, 1, 0), (31, 6, "7", 100 * E9)], mei=8),
        m.daily_statistics([(31, 7, "6", 99 * E9, None, 20_000, 3)], mei=8),
        m.limits([(31, 8, 110 * E9, 90 * E9, None)], mei=0x88),
        step=2,
    )
    rig.put(4, m.book("31.9 =b1 100x3/2"))
    rig.play("A:1-4 B:1-4")
    assert rig.book(31) == "SYNC 9: 100x3/2 | -"
    assert rig.count("rpt_faults", "stale", "gaps") == (0, 0, 0)
    assert rig.told()[1:] == [
        "2@2 TRADE 31 100x1 sell 2 #1",
        "2@2 STATISTIC 31 type=10001 - 1",
        "3@2 STATISTIC 31 type=1 100 1",
        "3@2 STATISTIC 31 type=5 100 -",
        "3@2 STATISTIC 31 type=3 99 - day=20000 settlement=3",
        "3@2 STATISTIC 31 type=17 110 -",
        "3@2 STATISTIC 31 type=18 90 -",
        "3@2 STATISTIC 31 type=10002 - -",
        "3@2 QUOTE 31 100x4 -x0 bid/2 END",
        "4@4 QUOTE 31 100x3 -x0 bid/2 END",
    ]


def test_33_large_quantities_share_the_sequence(make: Any, m: Any) -> None:
    rig = make(version=13)
    rig.put(1, m.book("31.1 +b1 1.1x5/1", long=True))
    rig.put(
        2,
        m.trades("31.2 1.1x1 sell 2 #1", mei=1, long=True),
        m.volume([(31, 3, 1)], mei=2, long=True),
    )
    rig.put(
        3,
        m.session_statistics([(31, 4, "4", E9, 1, 0)], long=True),
        m.book("31.5 =b1 1.1x4/1", long=True),
    )
    rig.play("A:1-3")
    assert rig.book(31) == "SYNC 5: 1.1x4/1 | -"
    assert rig.counts.get("rpt_faults", 0) == 0


def test_34_loss_that_touched_x_only(make: Any, m: Any) -> None:
    """Y's next RptSeq is contiguous: SYNC at once, and its ticks are never flagged. X jumps:
    STALE.
    """
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2", "32.1 +b1 50x1/1"))
    rig.put(3, m.book("32.2 =b1 50x2/1"))
    rig.put(4, m.book("31.3 =b1 100x7/2"))
    rig.play("A:1,3 B:1,3")
    assert rig.book(32) == "SYNC 2: 50x2/1 | -"
    assert rig.book(31) == "SYNC? 1: 100x5/2 | -"  # nobody knows yet
    rig.play("A:4 B:4")
    assert rig.book(31) == "STALE? 3: 100x7/2 | -"
    assert rig.told()[2:] == [
        "2@1.5 GAP - 2..2 reason=1 line=310",
        "3@3 QUOTE 32 50x2 -x0 bid/1 END",
        "4@4 QUOTE 31 100x7 -x0 bid/2 STALE END",
    ]
    assert rig.count("proven", "stale", "rpt_faults") == (1, 1, 0)
    assert (rig.state.stale_instruments, rig.handler.needs_recovery(310)) == (1, True)


def test_34_a_trade_proves_as_well_as_a_book(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(3, m.trades("31.2 100x1 sell 2 #1"))
    rig.play("A:1,3 B:1,3")
    assert rig.told()[1:] == [
        "2@1.5 GAP - 2..2 reason=1 line=310",
        "3@3.5 RECOVERED - 2..2 reason=1 line=310",
        "3@3 TRADE 31 100x1 sell 2 #1 END",
    ]
    assert rig.state.open_gaps == 0


def test_34_quote_told_flagged_is_told_again_when_updates_prove_it(make: Any, m: Any) -> None:
    """The hole cuts an event, whose quote is flagged; it was right, which the next RptSeq proves."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(2, m.book("31.2 =b1 100x7/2", mei=4))  # the event goes on
    rig.put(4, m.trades("31.3 100x1 sell 2 #1"))
    rig.play("A:1-2,4 B:1-2,4")
    assert rig.told()[1:] == [
        "2@2 QUOTE 31 100x7 -x0 bid/2 STALE",
        "3@2.5 GAP - 3..3 reason=1 line=310",
        "4@4.5 RECOVERED 31 3..3 reason=1 line=310",
        "4@4.5 RECOVERED - 3..3 reason=1 line=310",
        "4@4 TRADE 31 100x1 sell 2 #1",
        "4@2 QUOTE 31 100x7 -x0 both END",
    ]


def test_34_in_any_interleaving(make: Any, m: Any) -> None:
    rig = make()
    for seq in range(1, 41):
        sid = 31 if seq % 4 == 0 else 32
        rpt = seq // 4 if sid == 31 else seq - seq // 4
        rig.put(seq, m.book(f"{sid}.{rpt} {'+' if rpt == 1 else '='}b1 100x{seq}/1"))
    expected = rig.again().play("A:1-11,13-40 B:1-11,13-40").told()  # 12 is of 31
    assert not any("QUOTE 32" in text and "STALE" in text for text in expected)
    assert next(text for text in expected if "QUOTE 31" in text and "STALE" in text).startswith(
        "16@16 "
    )
    for other in rig.interleavings(40, A="1-11 13-25 28-40", B="1-8 10-11 13-40"):
        assert other.told() == expected, other.seed


def test_35_jump_without_a_lost_packet(make: Any, m: Any) -> None:
    """The venue's fault: X is STALE, somebody is told, and no GAP is invented."""
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2", "32.1 +b1 50x1/1"))
    rig.put(2, m.book("31.4 =b1 100x7/2"))
    rig.put(3, m.book("31.5 =b1 100x8/2", "32.2 =b1 50x2/1"))
    rig.play("A:1-3 B:1-3")
    assert rig.told() == [
        "1@1 QUOTE 31 100x5 -x0 bid/2",
        "1@1 QUOTE 32 50x1 -x0 bid/1 END",
        "2@2 QUOTE 31 100x7 -x0 bid/2 STALE END",
        "3@3 QUOTE 31 100x8 -x0 bid/2 STALE",
        "3@3 QUOTE 32 50x2 -x0 bid/1 END",
    ]
    assert rig.count("rpt_faults", "gaps", "stale") == (1, 0, 1)
    assert "RPT_FAULT 31 4" in rig.events()


def test_35_healed_by_a_snapshot(make: Any, m: Any) -> None:
    rig = make("A SA")
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(2, m.book("31.4 =b1 100x7/2"))
    rig.put("s", m.snapshot(31, 2, 4, "b1 100x7/2", "o1 101x1/1"), seq=1)
    rig.play("A:1-2 SA:s")
    assert rig.told()[2:] == [
        "2@2.5 RECOVERED 31 0..0 reason=1 line=310",
        "2@2 QUOTE 31 100x7 101x1 ask/1 SNAPSHOT",
    ]
    assert rig.book(31) == "SYNC 4: 100x7/2 | 101x1/1"


def test_36_first_seen_in_mid_week(make: Any, m: Any) -> None:
    """A high RptSeq at our first sight of it is no gap and no fault: it needs a snapshot, that is
    all.
    """
    rig = make("A B SA")
    rig.put(500, m.book("31.7001 =b1 100x5/2"))
    rig.put(501, m.book("31.7002 =o1 101x5/2"))
    rig.put("s", m.snapshot(31, 500, 7001, "b1 100x5/2", "o1 101x9/2"), seq=1)
    rig.play("A:500-501 B:500-501")
    assert rig.told() == [
        "500@500 QUOTE 31 100x5 -x0 bid/2 STALE END",
        "501@501 QUOTE 31 100x5 101x5 ask/2 END",  # updates have told both sides of the touch
    ]
    assert rig.count("gaps", "rpt_faults", "stale", "entry_faults") == (0, 0, 0, 0)
    assert rig.state.name == "RECOVERING"
    rig.play("SA:s")
    assert rig.book(31) == "SYNC 7002: 100x5/2 | 101x5/2"
    assert (rig.state.name, rig.handler.needs_recovery(310)) == ("SYNC", False)
    assert rig.told("RECOVERED") == ["501@501.5 RECOVERED 31 0..0 reason=1 line=310"]


def test_36_without_natural_refresh_nothing_is_unflagged(make: Any, m: Any) -> None:
    rig = make(natural_refresh=False)
    rig.put(500, m.book("31.7001 ^b1 100x5/2", "31.7002 ^o1 101x5/2"))
    assert rig.play("A:500").told() == ["500@500 QUOTE 31 100x5 101x5 both STALE END"]


def test_36_updates_alone_rebuild_the_whole_book(make: Any, m: Any) -> None:
    """Every level of both sides told, and the implied ones: the book is right without any
    snapshot.
    """
    rig = make()
    rpt, entries = 7000, []
    for side, start, step in (("b", 100, -1), ("o", 101, 1)):
        for level in range(1, 11):
            rpt += 1
            entries.append(f"31.{rpt} ^{side}{level} {start + step * (level - 1)}x1/1")
    rig.put(500, m.book(*entries))
    rig.put(501, m.book(f"31.{rpt + 1} ^E1 99x1", f"31.{rpt + 2} ^F1 102x1", mei=0x90))
    rig.put(502, m.book(f"31.{rpt + 3} -E2 98x1", f"31.{rpt + 4} -F2 103x1", mei=0x90))
    rig.play("A:500-501")
    assert rig.book(31).startswith("STALE?")  # implied levels may be there that nobody has told of
    rig.play("A:502")
    assert rig.book(31).startswith(f"SYNC {rpt + 4}: 100x1/1 99x1/1 ")
    assert rig.counts["natural"] == 1


def test_37_wrap_of_rpt_seq(make: Any, m: Any) -> None:
    """From 2^32 - 1 to 0 is one step."""
    rig = make("A SA")
    last = 2**32 - 1
    rig.put(500, m.book(f"31.{last - 1} =b1 100x5/2"))
    rig.put("s", m.snapshot(31, 500, last - 1, "b1 100x5/2"), seq=1)
    rig.put(501, m.book(f"31.{last} =b1 100x6/2"))
    rig.put(502, m.book("31.0 =b1 100x7/2"))
    rig.put(503, m.book("31.1 =b1 100x8/2"))
    rig.play("A:500 SA:s A:501-503")
    assert rig.book(31) == "SYNC 1: 100x8/2 | -"
    assert rig.count("rpt_faults", "stale", "gaps") == (0, 0, 0)


def test_37_restart_at_one_after_a_channel_reset(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(2, m.book("31.2 =b1 100x6/2"))
    rig.put(3, m.channel_reset(310))
    rig.put(4, m.book("31.1 +b1 90x1/1", mei=0xA4))
    rig.play("A:1-4 B:1-4")
    assert rig.told()[2:] == ["3@3 CLEAR 31 END", "4@4 QUOTE 31 90x1 -x0 bid/1 END"]
    assert rig.count("rpt_faults", "stale", "gaps", "resets") == (0, 0, 0, 1)


def test_37_restart_at_one_that_nobody_announced(make: Any, m: Any) -> None:
    """The sequence begins again without a reset: what the book held before is not believed any
    more.
    """
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2", "31.2 +o1 101x5/2"))
    rig.put(2, m.book("31.1 +b1 90x1/1"))
    rig.play("A:1-2")
    assert rig.book(31) == "STALE? 1: 90x1/1 | -"
    assert rig.told()[1:] == ["2@2 QUOTE 31 90x1 -x0 both STALE END"]
    assert rig.count("rpt_faults", "stale") == (1, 1)


def test_37_in_any_interleaving(make: Any, m: Any) -> None:
    rig = make()
    for seq in range(1, 41):
        if seq == 20:
            rig.put(seq, m.channel_reset(310))
        else:
            rpt = seq if seq < 20 else seq - 20
            rig.put(seq, m.book(f"31.{rpt} {'+' if rpt == 1 else '='}b1 100x{seq}/1"))
    expected = rig.again().play("A:1-40").told()
    assert expected[19] == "20@20 CLEAR 31 END"
    for other in rig.interleavings(40, A="1-18 22-40", B="1-25 27-40"):
        assert other.told() == expected, other.seed
