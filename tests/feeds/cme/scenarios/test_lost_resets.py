"""A channel reset that falls into a hole: RptSeq begins at 1 again, and may look as if nothing had happened."""

from __future__ import annotations

from typing import Any


def before(make: Any, m: Any, lines: str = "A B SA") -> Any:
    """31 has three updates, 32 has fifty, 33 one; 52 to 54 are lost: a reset, and three updates of 31, two of 32."""
    rig = make(lines)
    for i in range(1, 4):
        rig.put(i, m.book(f"31.{i} {'+' if i == 1 else '='}b1 100x{i}/1"))
    for i in range(1, 51):
        rig.put(3 + i, m.book(f"32.{i} {'+' if i == 1 else '='}b1 50x{i}/1"))
    rig.put(54, m.book("33.1 +b1 70x1/1"))
    rig.put(58, m.book("31.4 +o1 202x1/1"))
    rig.put(59, m.book("32.3 +b1 60x1/1"))
    rig.put(60, m.book("33.2 =b1 70x2/1"))
    return rig


def test_rptseq_that_goes_back_shows_it(make: Any, m: Any) -> None:
    """32 shows the reset. Then neither 31, which looked right before it, nor 33 is proven by its next RptSeq."""
    rig = before(make, m).play("A:1-54 B:1-54")
    told = len(rig.told())
    rig.play("A:58-60 B:58-60")
    assert rig.told()[told:] == [
        "57@54.5 GAP - 55..57 reason=1 line=310",
        "58@58 QUOTE 31 100x3 202x1 ask/1 END",  # nobody can know yet
        "59@59 QUOTE 32 60x1 -x0 bid/1 STALE END",
        "60@60 QUOTE 33 70x2 -x0 bid/1 STALE END",
    ]
    assert [rig.book(sid).split()[0] for sid in (31, 32, 33)] == ["STALE?", "STALE?", "STALE?"]
    assert rig.state.stale_instruments == 3


def test_nothing_more_of_it_is_told_as_right_until_a_snapshot(make: Any, m: Any) -> None:
    rig = before(make, m).play("A:1-54,59,58 B:1-54,59,58")
    rig.put(61, m.book("31.5 =o1 202x2/1"))
    rig.put("s", m.snapshot(31, 61, 5, "b1 200x3/1", "o1 202x2/1"), seq=1)
    rig.play("A:60 B:60")
    told = len(rig.told())
    rig.play("A:61 B:61")
    assert rig.told()[told:] == ["61@61 QUOTE 31 100x3 202x2 ask/1 STALE END"]
    rig.play("SA:s")
    assert rig.book(31) == "SYNC 5: 200x3/1 | 202x2/1"
    assert [text for text in rig.told()[told + 1 :] if "QUOTE" in text] == [
        "61@61 QUOTE 31 200x3 202x2 bid/1 SNAPSHOT"
    ]


def test_a_quiet_instrument_is_mended_by_a_snapshot_of_a_lower_rptseq(make: Any, m: Any) -> None:
    """Its RptSeq from before the reset measures nothing: 31 had three updates, and one behind it."""
    rig = before(make, m).play("A:1-54,59-60 B:1-54,59-60")
    rig.put("s", m.snapshot(31, 60, 1, "b1 200x1/1"), seq=1)
    assert rig.book(31).startswith("STALE?")
    rig.play("SA:s")
    assert rig.book(31) == "SYNC 1: 200x1/1 | -"


def test_an_instrument_that_begins_behind_it_is_right(make: Any, m: Any) -> None:
    """One without updates before, and one whose RptSeq is 1: it has begun again, from nothing."""
    rig = before(make, m).play("A:1-54,58-59 B:1-54,58-59")
    rig.put(60, m.book("34.1 +b1 10x1/1"))
    rig.play("A:60 B:60")
    assert rig.told()[-1] == "60@60 QUOTE 34 10x1 -x0 bid/1 END"
    assert rig.book(34).startswith("SYNC 1:")


def test_a_hole_without_one_doubts_nobody_who_goes_on(make: Any, m: Any) -> None:
    """RptSeq that jumps ahead is a loss of that instrument alone."""
    rig = before(make, m).play("A:1-54 B:1-54")
    rig.put(59, m.book("32.53 =b1 50x53/1"))
    rig.play("A:58-60 B:58-60")
    assert [rig.book(sid).split()[0] for sid in (31, 32, 33)] == ["SYNC", "STALE?", "SYNC"]
