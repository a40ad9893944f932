"""Channel resets and new weeks: scenarios 49 and 50."""

from __future__ import annotations

import re
from typing import Any

import pytest

HOUR_STEPS = 3_600 * 10**6  # steps of a microsecond
E9 = 10**9


def market(make: Any, m: Any, lines: str = "A B SA", **options: Any) -> Any:
    """Two books, a session's statistic and a settlement in 1 to 4, the reset in 7, and what follows
    it.
    """
    rig = make(lines, **options)
    rig.put(1, m.book("31.1 +b1 100x5/2", "32.1 +b1 50x1/1"))
    rig.put(2, m.session_statistics([(31, 2, "4", 100 * E9, 1, 0)]))
    rig.put(3, m.daily_statistics([(31, 3, "6", 99 * E9, None, 20_000, 1)]))
    rig.put(4, m.book("31.4 =b1 100x6/2"))
    rig.put(5, m.book("31.5 =b1 100x7/2"))
    rig.put(6, m.book("32.2 =b1 50x2/1"))
    rig.put(7, m.channel_reset(310))
    rig.put(
        8, m.volume([(31, 1, 77)], mei=0x22), m.book("31.2 +b1 90x1/1", "32.1 +o1 60x1/1", mei=0xA4)
    )
    rig.put(9, m.book("31.3 =b1 90x2/1"))
    return rig


AFTER = [
    "8@8 STATISTIC 31 type=10001 - 77",
    "8@8 QUOTE 31 90x1 -x0 bid/1",
    "8@8 QUOTE 32 -x0 60x1 ask/1 END",
    "9@9 QUOTE 31 90x2 -x0 bid/1 END",
]


def test_49_reset_in_sync(make: Any, m: Any) -> None:
    """Books are void and told so, RptSeq begins at 1, nobody is in doubt. Of statistics only STATUS
    and CLEAR speak: a settlement is told once a day and nothing takes it back.
    """
    rig = market(make, m).play("A:1-7 B:1-7")
    before = rig.told()
    assert before[-2:] == ["7@7 CLEAR 32", "7@7 CLEAR 31 END"]
    assert [rig.book(sid) for sid in (31, 32)] == ["SYNC 0: - | -", "SYNC 0: - | -"]
    rig.play("A:8-9 B:8-9")
    assert rig.told()[len(before) :] == AFTER
    assert rig.count("resets", "gaps", "rpt_faults", "stale", "late") == (1, 0, 0, 0, 0)
    assert "RESET 7" in rig.events()
    assert rig.state.name == "SYNC"
    assert len([text for text in rig.told("STATISTIC") if "type=3 99" in text]) == 1


def test_49_reset_behind_a_hole(make: Any, m: Any) -> None:
    """It waits for the hole like any packet; when that is lost, the GAP is told, and healed by the
    reset.
    """
    rig = market(make, m).play("A:1-5,7")
    assert rig.state.name == "GAP"
    before = len(rig.told())
    rig.play("B:1-5,7 A:8-9")
    assert rig.told()[before:] == [
        "6@5.5 GAP - 6..6 reason=1 line=310",
        "7@7 CLEAR 32",
        "7@7 CLEAR 31",
        "7@7.5 RECOVERED - 6..6 reason=1 line=310 END",
        *AFTER,
    ]
    assert (rig.state.name, rig.state.open_gaps) == ("SYNC", 0)


def test_49_reset_while_recovering(make: Any, m: Any) -> None:
    """31 was STALE: RECOVERED is told of it, for what it is now, empty; a snapshot from before
    changes nothing.
    """
    rig = market(make, m)
    rig.put("old", m.snapshot(31, 5, 5, "b1 100x7/2"), seq=1)
    rig.play("A:1-3,5,6 B:1-3,5,6")
    assert rig.book(31).startswith("STALE? 5")
    before = len(rig.told())
    rig.play("A:7 SA:old A:8-9")
    assert rig.told()[before:] == [
        "7@7 CLEAR 32",
        "7@7 CLEAR 31",
        "7@7.5 RECOVERED 31 4..4 reason=1 line=310",
        "7@7.5 RECOVERED - 4..4 reason=1 line=310 END",
        *AFTER,
    ]
    assert rig.book(31) == "SYNC 3: 90x2/1 | -"


def test_49_reset_of_orders(make: Any, m: Any) -> None:
    rig = make(orders=True)
    rig.put(1, m.book("31.1 +b1 100x5/2", orders=[(1, 1, 5, 1, 0)]))
    rig.put(2, m.channel_reset(310))
    rig.put(3, m.book("31.1 +b1 90x5/2", orders=[(2, 1, 5, 1, 0)]))
    rig.play("A:1-3")
    assert rig.told_orders() == [
        "1 NEW 1:1:100x5 bid",
        "2 CLEAR 0:0:0x0 none",
        "3 NEW 2:1:90x5 bid",
    ]
    assert rig.orders(31) == "2:1:90x5 | -"


def test_49_reset_in_the_middle_of_an_event(make: Any, m: Any) -> None:
    rig = make()
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(2, m.book("31.2 =b1 100x6/2", mei=0x04))
    rig.put(3, m.channel_reset(310))
    rig.put(4, m.book("31.1 +b1 90x5/2"))
    assert rig.play("A:1-4").told()[1:] == ["3@3 CLEAR 31 END", "4@4 QUOTE 31 90x5 -x0 bid/2 END"]


def test_49_reset_in_any_interleaving(make: Any, m: Any) -> None:
    rig = market(make, m)
    expected = rig.again().play("A:1-9").told()
    for other in rig.interleavings(60, A="1-4 6-7 9", B="1-5 7-9"):
        assert other.told() == expected, other.seed


def restarted(make: Any, m: Any) -> Any:
    """MsgSeqNum begins again at 1 with the reset, which nobody documents."""
    rig = market(make, m)
    rig.put(
        "r1",
        m.volume([(31, 1, 77)], mei=0x22),
        m.book("31.2 +b1 90x1/1", "32.1 +o1 60x1/1", mei=0xA4),
        seq=1,
        step=8,
    )
    rig.put("r2", m.book("31.3 =b1 90x2/1"), seq=2, step=9)
    rig.put("r3", m.book("31.4 =b1 90x3/1"), seq=3, step=10)
    return rig


def test_49_sequence_that_begins_again_with_the_reset(make: Any, m: Any) -> None:
    rig = restarted(make, m).play("A:1-7 B:1-7 A:r1,r2,r3 B:r1,r2,r3")
    assert rig.told()[-5:] == [
        "1@8 STATISTIC 31 type=10001 - 77",
        "1@8 QUOTE 31 90x1 -x0 bid/1",
        "1@8 QUOTE 32 -x0 60x1 ask/1 END",
        "2@9 QUOTE 31 90x2 -x0 bid/1 END",
        "3@10 QUOTE 31 90x3 -x0 bid/1 END",
    ]
    assert rig.count("gaps", "epochs", "late", "duplicates", "rpt_faults") == (0, 1, 0, 10, 0)
    assert rig.events() == ["STARTED 1", "RESET 7", "EPOCH 8 1"]
    assert rig.state.next_seq == 4


def test_49_a_hole_before_the_restart_is_told(make: Any, m: Any) -> None:
    """Nobody can bring 4 any more: it is told lost, and what waited for it is not thrown away."""
    rig = market(make, m)
    rig.put("r1", m.channel_reset(310), seq=1, step=8)
    rig.put("r2", m.book("31.1 +b1 90x2/1"), seq=2, step=9)
    rig.play("A:1-3,5 B:1-3")
    assert rig.state.buffered == 1
    before = len(rig.told())
    rig.play("A:r1,r2 B:r1,r2")
    told = [re.sub("@[^ ]*", "", text) for text in rig.told()[before:]]
    assert told == [
        "4 GAP - 4..4 reason=1 line=310",
        "5 QUOTE 31 100x7 -x0 bid/2 STALE END",
        "1 CLEAR 32",
        "1 CLEAR 31",
        "1 RECOVERED 31 4..4 reason=1 line=310",
        "1 RECOVERED - 4..4 reason=1 line=310 END",
        "2 QUOTE 31 90x2 -x0 bid/1 END",
    ]
    assert rig.count("gaps", "lost", "epochs") == (1, 1, 1)
    assert (rig.state.open_gaps, rig.state.buffered, rig.state.next_seq) == (0, 0, 3)


@pytest.mark.parametrize("copies", [1, 2])
def test_49_what_only_the_slower_line_had_of_the_old_sequence_is_told_lost(
    make: Any, m: Any, copies: int
) -> None:
    """A missed 5 and 6, and began anew: that B had 6 is heard too late to tell what was in it. A GAP, at once
    healed: what is valid now began behind it.
    """
    rig = restarted(make, m)
    rig.put("r1", m.channel_reset(310), seq=1, step=8)
    rig.put("r2", m.book("31.1 +b1 90x1/1"), seq=2, step=9)
    rig.play("A:1-4 B:1-4 A:r1")
    before = len(rig.told())
    rig.play("B:4," + ",".join(copies * ["6"]) + " A:r2 B:r1,r2")
    assert [re.sub("@[^ ]*", "", text) for text in rig.told()[before:]] == [
        "6 GAP - 5..6 reason=1 line=310",
        "6 RECOVERED - 5..6 reason=1 line=310",
        "2 QUOTE 31 90x1 -x0 bid/1 END",
    ]
    assert rig.count("epochs", "gaps", "lost", "stale") == (1, 1, 2, 0)
    assert (rig.state.name, rig.state.open_gaps) == ("SYNC", 0)
    assert rig.book(31) == "SYNC 1: 90x1/1 | -"


def test_49_sequence_begins_again_in_any_interleaving(make: Any, m: Any) -> None:
    """B may still be in front of the reset when A is far behind it, and the other way round."""
    rig = restarted(make, m)
    expected = rig.again().play("A:1-7,r1,r2,r3").told()
    for other in rig.interleavings(60, A="1-7 r1 r2 r3", B="1-7 r1 r2 r3"):
        assert other.told() == expected, other.seed
        assert other.count("gaps", "resets") == (0, 1)


def test_49_first_packet_after_the_restart_is_lost(make: Any, m: Any) -> None:
    """The new sequence begins at 1, so that a missing 1 is a hole like any other; B fills it."""
    rig = restarted(make, m)
    expected = rig.again().play("A:1-7,r1,r2,r3").told()
    rig.play("A:1-7,r2,r3 B:1-7,r1")
    assert rig.told() == expected
    lost = restarted(make, m).play("A:1-7,r2,r3 B:1-7,r2,r3")
    assert lost.told("GAP") == ["1@7.5 GAP - 1..1 reason=1 line=310"]


def test_49_late_copies_do_not_begin_the_sequence_again(make: Any, m: Any) -> None:
    """After the reset a packet of before comes, which nobody had: too late, not a restart."""
    rig = market(make, m).play("A:1-4,6,7 +10ms B:5")
    assert rig.counts["late"] == 1
    rig.play("A:8-9")
    assert rig.told()[-4:] == AFTER


# --------------------------------------------------------------------------------------------------
# ------- weeks


def weeks(make: Any, m: Any, first: int = 1, later: int = 49 * HOUR_STEPS) -> Any:
    """The end of a week at 9,000,000 and the next one, which begins at `first`."""
    rig = make()
    for i in range(4):
        rig.put(9_000_000 + i, m.book(f"31.{500_000 + i} ^b1 100x{i + 1}/1"), step=i + 1)
    for i in range(4):
        rig.put(
            first + i,
            m.book(f"31.{first + i} {'+' if first + i == 1 else '^'}b1 90x{i + 1}/1"),
            step=later + i,
        )
    return rig


OLD = "9000000-9000003"


@pytest.mark.parametrize("waited", ["", "+49h"])
def test_50_new_week(make: Any, m: Any, waited: str) -> None:
    """Sequence far below, SendingTime hours later: a new week. Books are void, RptSeq begins again,
    no gap.
    """
    rig = weeks(make, m).play(f"A:{OLD} B:{OLD} {waited} A:1-4 B:1-4")
    told = rig.told()
    assert told[4].endswith("CLEAR 31")
    assert [text.split("@")[0] + " " + " ".join(text.split()[1:]) for text in told[5:]] == [
        "9000003 RECOVERED 31 0..0 reason=1 line=310",  # we had joined in mid-week
        "1 QUOTE 31 90x1 -x0 bid/1 END",
        "2 QUOTE 31 90x2 -x0 bid/1 END",
        "3 QUOTE 31 90x3 -x0 bid/1 END",
        "4 QUOTE 31 90x4 -x0 bid/1 END",
    ]
    assert rig.count("epochs", "gaps", "late", "rpt_faults") == (1, 0, 0, 0)
    assert "EPOCH 9000004 1" in rig.events()
    assert rig.book(31) == "SYNC 4: 90x4/1 | -"
    assert rig.line("B", "lost", "duplicates", "late") == (0, 8, 0)


def test_50_b_still_in_the_old_week(make: Any, m: Any) -> None:
    """A is in the new week while B still brings the old one: too late, not ahead, no gap of nine
    million.
    """
    rig = weeks(make, m).play(f"A:{OLD},1-2 B:{OLD} A:3-4 B:1-4")
    assert rig.count("epochs", "gaps", "late") == (1, 0, 4)
    assert rig.state.next_seq == 5
    assert rig.book(31) == "SYNC 4: 90x4/1 | -"


def test_50_in_any_interleaving(make: Any, m: Any) -> None:
    rig = weeks(make, m)
    expected = rig.again().play(f"A:{OLD},1-4").told()
    for other in rig.interleavings(60, A=f"{OLD} 1-4", B=f"{OLD} 1-4"):
        assert other.told() == expected, other.seed
        assert other.count("epochs", "gaps") == (1, 0)


def test_50_late_duplicate_with_its_old_time(make: Any, m: Any) -> None:
    """Number 1 comes again with the SendingTime it always had, whether or not it is still
    remembered: dropped.
    """
    rig = make()
    for i in range(1, 3_001):
        rig.put(i, m.book(f"31.{i} {'+' if i == 1 else '='}b1 100x{i}/1"))
    rig.play("A:1-3000")
    before = rig.told()
    rig.play("B:1 +2h B:1,2 B:3000")
    assert rig.told() == before
    assert rig.count("epochs", "late", "duplicates") == (0, 3, 1)
    assert rig.state.next_seq == 3_001


def test_50_joined_the_new_week_late(make: Any, m: Any) -> None:
    """The first packet of the new week that we get is 700: late join, no GAP for 1 to 699, books
    unknown.
    """
    rig = weeks(make, m, first=700).play(f"A:{OLD} B:{OLD} A:700-703 B:700-703")
    assert rig.count("epochs", "gaps") == (1, 0)
    assert rig.told("GAP") == []
    assert rig.book(31).startswith("STALE? 703")
    assert rig.line("B", "lost") == (0,)
    assert all("STALE" in text for text in rig.told("QUOTE", "CLEAR")[4:])


def test_50_a_hole_at_the_end_of_the_week(make: Any, m: Any) -> None:
    """The hole is told, and the packets that waited for it are told before the books are void."""
    rig = weeks(make, m).play("A:9000000,9000001,9000003 A:1-4")
    assert rig.state.buffered == 0
    assert rig.book(31) == "SYNC 4: 90x4/1 | -"
    assert rig.count("epochs", "gaps", "lost") == (1, 1, 1)
    gap = rig.told("GAP")[0]
    assert gap.split()[1:4] == ["GAP", "-", "9000002..9000002"]
    late = [text for text in rig.told() if text.startswith("9000003@")]
    assert late
    assert rig.told().index(gap) < rig.told().index(late[0])
    assert rig.state.open_gaps == 0


def test_50_weeks_follow_weeks(make: Any, m: Any) -> None:
    rig = make()
    for week in range(5):
        start = week * 168 * HOUR_STEPS
        for seq in range(1, 2001):
            rig.put(
                f"w{week}.{seq}",
                m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1"),
                seq=seq,
                step=start + seq,
            )
            rig.send("A", rig.packets[f"w{week}.{seq}"])
            rig.send("B", rig.packets[f"w{week}.{seq}"])
        rig.told()
    assert rig.count("epochs", "gaps", "duplicates", "late") == (4, 0, 10_000, 0)
    assert rig.book(31) == "SYNC 2000: 100x2000/1 | -"
