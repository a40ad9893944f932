"""The venue stops, and begins its sequence again within the hour (scenario 50, but no week between): at 1, or
further on if we hear of it late. Nothing says so but the packets' SendingTime.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from mdfeedd.sim.cme.instruments import Listing, definition

SECOND = 10**6  # steps of a microsecond
LATER = 10 * SECOND
AGAIN = 8  # packets that prove it
E9 = 10**9


def old_and_new(make: Any, m: Any, lines: str = "A B SA", **options: Any) -> Any:
    """Packets 1 to 20 of the old sequence; n1 to n12 of the new one, of two instruments turn about; n0 is the
    number 0.
    """
    rig = make(lines, **options)
    for seq in range(1, 21):
        rig.put(seq, m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1"))
    put_new(rig, m)
    return rig


def put_new(rig: Any, m: Any, first: int = 1, later: int = LATER, number: int = 12) -> None:
    for i in range(number):
        seq = first + i
        sid, rpt = 31 + (i % 2), (seq + 1) // 2
        rig.put(
            f"n{i + 1}",
            m.book(f"{sid}.{rpt} {'+' if rpt == 1 else '='}b1 90x{seq}/1"),
            seq=seq,
            step=later + i + 1,
        )


def new(first: int, last: int) -> str:
    return ",".join(f"n{i}" for i in range(first, last + 1))


def told(rig: Any, *kinds: str) -> list[str]:
    """What was told, without its times."""
    return [re.sub("@[^ ]*", "", text) for text in rig.told(*kinds)]


def begun(rig: Any) -> list[str]:
    return [event for event in rig.events() if event.startswith("EPOCH")]


def test_the_sequence_begins_again_within_the_hour(make: Any, m: Any) -> None:
    """Eight packets prove it. The books are void, told so in-band; the seven before are a hole, told and counted;
    what may have changed in them is STALE until a snapshot.
    """
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    before = len(rig.told())
    rig.events()
    rig.play(" ".join(f"A:n{i} B:n{i}" for i in range(1, 8)))
    assert rig.told()[before:] == []
    assert rig.count("epochs", "late") == (0, 14)
    rig.play("A:n8 B:n8")
    assert told(rig)[before:] == [
        "20 CLEAR 31",
        "7 GAP - 1..7 reason=1 line=310",
        "8 QUOTE 32 90x8 -x0 bid/1 STALE END",
    ]
    assert rig.events() == ["EPOCH 21 1", "GAP 1 7"]
    assert rig.count("epochs", "gaps", "lost", "late", "mismatches") == (1, 1, 7, 14, 7 * 2)
    assert rig.state.next_seq == 9
    rig.put("s31", m.snapshot(31, 9, 5, "b1 90x9/1", time=LATER + 9), seq=1, step=LATER + 9)
    rig.put("s32", m.snapshot(32, 9, 4, "b1 90x8/1", time=LATER + 8), seq=2, step=LATER + 9)
    rig.play("A:n9 B:n9 SA:s31,s32")
    assert rig.book(31) == "SYNC 5: 90x9/1 | -"
    assert rig.book(32) == "SYNC 4: 90x8/1 | -"
    assert rig.told("RECOVERED")[-1].split()[1:3] == ["RECOVERED", "-"]
    assert (rig.state.name, rig.state.open_gaps) == ("SYNC", 0)
    rig.play(f"A:{new(10, 12)} B:{new(10, 12)}")
    assert told(rig)[-1] == "12 QUOTE 32 90x12 -x0 bid/1 END"
    assert rig.line("A", "lost") == rig.line("B", "lost") == (0,)


def test_the_other_line_fills_what_was_passed_over(make: Any, m: Any) -> None:
    """B is behind: by its copies nothing is lost, and no GAP is told."""
    rig = old_and_new(make, m).play(f"A:1-20 B:1-20 A:{new(1, 10)} B:{new(1, 10)}")
    assert rig.count("epochs", "gaps", "lost", "late") == (1, 0, 0, 7)
    assert rig.told("GAP") == []
    assert [rig.book(sid) for sid in (31, 32)] == ["SYNC 5: 90x9/1 | -", "SYNC 5: 90x10/1 | -"]
    assert told(rig)[-1] == "10 QUOTE 32 90x10 -x0 bid/1 END"


def test_with_one_line_the_wait_ends_the_hole(make: Any, m: Any) -> None:
    rig = old_and_new(make, m, "A").play(f"A:1-20,{new(1, 8)}")
    assert rig.state.name == "GAP"
    rig.play("+20ms")
    assert told(rig, "GAP") == ["7 GAP - 1..7 reason=1 line=310"]
    assert rig.count("epochs", "timed_out") == (1, 1)


def test_in_any_interleaving(make: Any, m: Any) -> None:
    """Whichever line is first, and by how much: one epoch, and what is said to be right is right."""
    rig = old_and_new(make, m)
    for other in rig.interleavings(
        80, before="A:1", A=f"1-20 {new(1, 12)}", B=f"1-20 {new(1, 12)}"
    ):
        other.play("+20ms")
        assert other.count("epochs") == (1,), other.seed
        assert other.state.next_seq == 13
        shown = [int(text.split()[0]) for text in told(other, "QUOTE") if " 90x" in text]
        assert shown == sorted(set(shown)), other.seed
        (lost,) = other.count("lost")
        assert lost < AGAIN
        assert len(shown) == 12 - lost, other.seed
        for sid, right in ((31, "6: 90x11/1 | -"), (32, "6: 90x12/1 | -")):
            book = other.book(sid)
            assert book in (f"SYNC {right}", f"STALE? {right}"), other.seed
            assert lost or book.startswith("SYNC"), other.seed


def test_the_first_of_it_was_overtaken(make: Any, m: Any) -> None:
    """The hole begins at the lowest number that passed, not at the first one to arrive."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20 A:n3,n1,n2 A:n4,n5,n6,n7,n8,n9,n10")
    assert begun(rig) == ["EPOCH 21 1"]


def test_numbers_that_rise_while_times_fall(make: Any, m: Any) -> None:
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for seq in range(1, 20):
        rig.send("A", rig.packet(seq, m.book("31.1 =b1 1x1/1"), step=LATER - seq))
    assert rig.count("epochs", "late") == (0, 19)


def test_a_line_that_loses_all_but_a_few(make: Any, m: Any) -> None:
    """Both lines together bring the eight."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20 A:n1,n2 B:n3 A:n4 B:n5 A:n6,n7 B:n6,n8")
    assert begun(rig) == ["EPOCH 21 1"]


def test_late_packets_of_the_old_sequence_do_not_disturb(make: Any, m: Any) -> None:
    rig = old_and_new(make, m).play("A:1-17,20 +20ms B:15")
    assert rig.count("gaps") == (1,)
    rig.play(f"A:{new(1, 4)} B:18 A:{new(5, 7)} B:19,20 A:n8")
    assert begun(rig) == ["EPOCH 21 1"]


@pytest.mark.parametrize("copies", [1, 7, 100])
def test_one_packet_again_and_again_proves_nothing(make: Any, m: Any, copies: int) -> None:
    rig = old_and_new(make, m).play("A:1-20 B:1-20" + copies * " A:n4 B:n4")
    assert begun(rig) == []
    assert rig.count("epochs", "late") == (0, 2 * copies)
    assert rig.state.next_seq == 21


def test_seven_packets_prove_nothing(make: Any, m: Any) -> None:
    """The old sequence goes on behind them: they were some mistake. Seven more are another one."""
    rig = old_and_new(make, m)
    for seq in range(21, 24):
        rig.put(seq, m.book(f"31.{seq} =b1 100x{seq}/1"), step=LATER + 100 * (seq - 20))
    rig.play(f"A:1-20 B:1-20 A:{new(1, 7)} A:21")
    put_new(rig, m, later=LATER + 100)
    rig.play(f"A:{new(5, 11)} B:21 A:22")
    put_new(rig, m, later=LATER + 200)
    rig.play(f"A:{new(2, 8)} A:23")
    assert rig.count("epochs", "gaps", "stale") == (0, 0, 0)
    assert rig.book(31) == "SYNC 23: 100x23/1 | -"


def test_the_old_sequence_is_alive_beside_the_new_one(make: Any, m: Any) -> None:
    """Two venues on one group: nobody's sequence begins again as long as ours goes on."""
    rig = old_and_new(make, m).play("A:1-20")
    rig.events()
    for seq in range(21, 200):
        rig.put(seq, m.book(f"31.{seq} =b1 100x{seq}/1"), step=LATER + 100 * seq)
        rig.put("n", m.book("31.1 =b1 90x1/1"), seq=1 + seq % 19, step=LATER + 100 * seq + 50)
        rig.send("A", rig.packets[seq])
        rig.send("A", rig.packets["n"])
    assert rig.events() == ["MISMATCH 3"]
    assert rig.count("epochs", "gaps") == (0, 0)
    assert rig.book(31) == "SYNC 199: 100x199/1 | -"


def test_numbers_or_times_that_do_not_rise(make: Any, m: Any) -> None:
    """Garbage with all kinds of later times; then a true restart, which it must not hide."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for i in range(60):
        seq, later = (7 * i) % 19 + 1, LATER - 50 * i - (i % 3) * 7
        rig.send("A", rig.packet(seq, m.book(f"31.{i + 1} =b1 1x1/1"), step=later))
    assert begun(rig) == []
    rig.play(f"A:{new(1, 8)}")
    assert len(begun(rig)) == 1


def test_a_recording_played_again(make: Any, m: Any) -> None:
    """Its times are old, so that they are late copies, however many."""
    rig = make()
    for seq in range(1, 3_001):
        rig.put(seq, m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1"))
    rig.play("A:1-3000 A:1-3000 +10s A:1-2999 B:1-3000")
    assert rig.count("epochs", "gaps", "mismatches") == (0, 0, 0)
    assert rig.state.next_seq == 3_001


def test_times_within_the_second_prove_nothing(make: Any, m: Any) -> None:
    """The venue's clock may have been set back by so much: SendingTime to the nanosecond one second later."""
    rig = make()
    rig.put(100, m.book("31.1 +b1 100x5/2"), step=0)
    for i in range(12):
        rig.put(f"n{i + 1}", m.book("31.1 +b1 1x1/1"), seq=i + 1, step=SECOND - 12 + i, sent=SECOND)
    rig.packets[100] = rig.packet(100, m.book("31.1 +b1 100x5/2"), step=0, sent=0)
    rig.play(f"A:100 B:100 A:{new(1, 12)} B:{new(1, 12)}")
    assert rig.count("epochs", "late") == (0, 24)


def test_a_restart_within_the_second_is_told_whole(make: Any, m: Any) -> None:
    """What passed while its times were not yet clearly later is in the hole, too."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for i in range(1, 13):  # five a second: the sixth is beyond it
        rig.put(f"q{i}", m.book(f"31.{i} =b1 90x{i}/1"), seq=i, step=20 + i * SECOND // 5)
    for i in range(1, 13):
        rig.play(f"A:q{i} B:q{i}")
    assert begun(rig) == []
    rig.put("q13", m.book("31.13 =b1 90x13/1"), seq=13, step=20 + 13 * SECOND // 5)
    rig.play("A:q13 B:q13")
    assert begun(rig) == ["EPOCH 21 1"]
    assert told(rig, "GAP") == ["12 GAP - 1..12 reason=1 line=310"]


def test_number_0_is_none(make: Any, m: Any) -> None:
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for i in range(20):
        rig.send("A", rig.packet(0, m.book("31.1 =b1 1x1/1"), step=LATER + i))
    assert rig.count("epochs") == (0,)
    rig.play(f"A:{new(1, 4)}")
    rig.send("A", rig.packet(0, m.book("31.1 =b1 1x1/1"), step=LATER + 5))
    rig.play(f"A:{new(5, 8)}")
    assert begun(rig) == ["EPOCH 21 1"]


@pytest.mark.parametrize("last", [3, 4, 7])
def test_before_the_new_sequence_reaches_the_old_one(make: Any, m: Any, last: int) -> None:
    """The old one was short: number `last` + 1 would be taken for its next. Two packets are enough there."""
    rig = old_and_new(make, m).play(f"A:1-{last} B:1-{last}")
    rig.events()
    rig.play(f"A:{new(1, 12)} B:{new(1, 12)}")
    assert rig.events() == [f"EPOCH {last + 1} 1"]
    assert rig.count("epochs", "gaps", "rpt_faults") == (1, 0, 0)
    assert rig.book(31) == "SYNC 6: 90x11/1 | -"


def test_joined_the_new_sequence_late(make: Any, m: Any) -> None:
    """We hear of it at 700: no GAP for 1 to 699, one for what passed until it was certain; books unknown."""
    rig = make()
    for i in range(4):
        rig.put(9_000 + i, m.book(f"31.{500 + i} ^b1 100x{i + 1}/1"), step=i + 1)
    put_new(rig, m, first=700)
    rig.play("A:9000-9003 B:9000-9003")
    rig.events()
    rig.play(" ".join(f"A:n{i} B:n{i}" for i in range(1, 13)))
    assert rig.events() == ["EPOCH 9004 700", "GAP 700 706"]
    assert rig.book(31).startswith("STALE?")
    assert all("STALE" in text for text in rig.told("QUOTE", "CLEAR")[4:])


@pytest.mark.parametrize("loop", [True, False])
def test_the_definition_loop_on_the_incremental_group(make: Any, m: Any, loop: bool) -> None:
    """Lines N and I share a port. Should N be heard on I while that is quiet: its loop is no restart. Definitions
    that do not say how many there are come on I, and may be what a new sequence begins with: three of them.
    """
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for step in range(LATER, LATER + 3_000, 1_000):
        for seq in range(1, 20):
            known = Listing(400 + seq, f"X{seq}", 54, "X", "X", E9, 100 * E9)
            total = 19 if loop else None
            message = definition(rig.wire, known, update_ns=rig.at(step), total=total)
            rig.send("A", rig.packet(seq, message, step=step + seq))
    rig.play("+20ms")
    assert rig.count("epochs") == (0 if loop else 3,)
    assert rig.state.next_seq == (21 if loop else 20)


def test_a_snapshot_of_the_venue_before_mends_nothing(make: Any, m: Any) -> None:
    """Sent before it stopped, and heard after the new sequence began: its packet number is of the old one."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    rig.put("s", m.snapshot(31, 20, 20, "b1 100x20/1", time=20), seq=1, step=21)
    rig.play(" ".join(f"A:n{i} B:n{i}" for i in range(1, 11)))
    rig.play("SA:s")
    assert rig.book(31) == "STALE? 5: 90x9/1 | -"


def test_a_snapshot_of_a_new_sequence_that_nobody_knows_yet_mends_nothing(
    make: Any, m: Any
) -> None:
    """Joined at 7 of the old one; 1 to 6 of the new one have passed, of which its snapshot tells: with the old 7 on
    top it would be a book that never was.
    """
    rig = old_and_new(make, m)
    rig.put("o", m.book("32.4 +o1 70x7/1"), seq=7, step=7)
    rig.put("s", m.snapshot(32, 6, 3, "b1 90x6/1", time=LATER + 6), seq=1, step=LATER + 7)
    rig.play("A:o B:o " + " ".join(f"A:n{i} B:n{i}" for i in range(1, 7)))
    before = len(rig.told())
    rig.play("SA:s")
    assert rig.told()[before:] == []
    assert not rig.book(32).startswith("SYNC")
    rig.put("s2", m.snapshot(32, 8, 4, "b1 90x8/1", time=LATER + 8), seq=1, step=LATER + 20)
    rig.play("A:n7,n8 B:n7,n8 SA:s2")
    assert rig.book(32) == "SYNC 4: 90x8/1 | -"


def test_it_begins_again_and_again(make: Any, m: Any) -> None:
    """Five times within a minute: each is told, once, and the last book is right."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for start in range(1, 6):
        put_new(rig, m, later=start * LATER)
        rig.play(f"A:{new(1, 12)} B:{new(1, 12)}")
    assert rig.count("epochs", "gaps", "late") == (5, 0, 5 * 7)
    assert len(begun(rig)) == 5
    assert rig.book(32) == "SYNC 6: 90x12/1 | -"


def test_a_restart_is_not_told_as_a_difference_between_the_lines(make: Any, m: Any) -> None:
    rig = old_and_new(make, m).play(f"A:1-20 B:1-20 A:{new(1, 12)} B:{new(1, 12)}")
    assert not [event for event in rig.events() if event.startswith("MISMATCH")]


# ------------------------------------------------------------------- before the new times are clearly later
SOON = 1_000  # steps: a thousandth of a second behind the old sequence


def soon(make: Any, m: Any, *missing: int, later: int = SOON) -> Any:
    """Packets 1 to 20 of the old sequence on both lines, and of the new one n2 to n30, less those missing on both."""
    rig = old_and_new(make, m)
    put_new(rig, m, later=later, number=30)
    rig.play("A:1-20 B:1-20")
    rig.events()
    for i in range(2, 31):
        if i not in missing:
            rig.play(f"A:n{i} B:n{i}")
    return rig


@pytest.mark.parametrize(
    "missing",
    [(), (20,), (19, 20), (20, 21), (12, 17, 20, 21, 22)],
    ids=["none", "its last", "its last two", "the next", "and more"],
)
def test_a_new_sequence_that_reaches_the_old_number_is_not_its_next(
    make: Any, m: Any, missing: tuple[int, ...]
) -> None:
    """What begins it was lost on both lines, and no second has passed: its numbers pass until they come to where
    the old one ended. All of them are a hole; nothing of the new is applied to the books of the old.
    """
    rig = soon(make, m, *missing)
    assert rig.count("epochs", "rpt_faults", "entry_faults", "crossed") == (1, 0, 0, 0)
    assert begun(rig) == ["EPOCH 21 2"]
    (hole,) = (text.split()[3] for text in told(rig, "GAP"))
    first, last = map(int, hole.split(".."))
    assert first == 2
    assert 18 <= last <= 22
    assert all(" 100x" not in text for text in told(rig)[20:])
    assert rig.state.next_seq == 31
    rig.put("s31", m.snapshot(31, 30, 15, "b1 90x29/1", time=SOON + 29), seq=1, step=SOON + 31)
    rig.put("s32", m.snapshot(32, 30, 15, "b1 90x30/1", time=SOON + 30), seq=2, step=SOON + 31)
    rig.play("SA:s31,s32")
    assert [rig.book(sid) for sid in (31, 32)] == ["SYNC 15: 90x29/1 | -", "SYNC 15: 90x30/1 | -"]
    assert (rig.state.name, rig.state.open_gaps) == ("SYNC", 0)


def test_the_new_sequence_waits_behind_what_waits_of_the_old(make: Any, m: Any) -> None:
    """19 is lost, 20 waits for it: it is told before the books are void, though the new 1 to 3 passed before."""
    rig = old_and_new(make, m).play("A:1-18,20 B:1-18 A:n1,n2,n3 +20ms")
    assert rig.state.next_seq == 21
    put_new(rig, m, number=30)
    rig.play(" ".join(f"A:n{i} B:n{i}" for i in range(4, 23) if i != 20))
    assert told(rig, "GAP", "CLEAR") == [
        "19 GAP - 19..19 reason=1 line=310",
        "20 CLEAR 31",
        "7 GAP - 1..7 reason=1 line=310",
        "20 GAP - 20..20 reason=1 line=310",
    ]


def test_a_hole_of_the_new_sequence_is_told_from_its_first_packet_on(make: Any, m: Any) -> None:
    """Of it 1 came and passed, and then 11, where 6 would have been the old one's next."""
    rig = old_and_new(make, m).play("A:1-5 B:1-5 A:n1 B:n1")
    rig.events()
    before = len(rig.told())
    assert rig.play("A:n11").state.next_seq == 6
    rig.play("B:n11")
    assert rig.events() == ["EPOCH 6 1", "GAP 1 10"]
    assert told(rig)[before:] == [
        "5 CLEAR 31",
        "10 GAP - 1..10 reason=1 line=310",
        "11 QUOTE 31 90x11 -x0 bid/1 STALE END",
    ]
    assert rig.count("epochs", "gaps", "lost") == (1, 1, 10)
    assert (rig.state.next_seq, rig.state.buffered) == (12, 0)


def test_a_reset_shows_it_and_what_passed_before_that_is_a_hole(make: Any, m: Any) -> None:
    """Of the new sequence 1 and 2 passed; 3, a reset, shows what they were. Its other line may still bring them."""
    rig = old_and_new(make, m)
    rig.put("reset", m.channel_reset(310), seq=3, step=LATER + 3)
    rig.put("behind", m.book("31.1 +b1 80x1/1"), seq=4, step=LATER + 4)
    rig.play("A:1-20 B:1-20 A:n1,n2")
    rig.events()
    before = len(rig.told())
    late = rig.again().play("A:1-20 B:1-20 A:n1,n2,reset B:n1,n2,reset A:behind B:behind")
    rig.play("B:n1,n2 A:reset B:reset A:behind B:behind")
    assert rig.events() == ["EPOCH 21 1", "GAP 1 2", "RESET 3", "RECOVERED 1 2"]
    assert told(rig)[before:] == [
        "20 CLEAR 31",
        "2 GAP - 1..2 reason=1 line=310",
        "3 RECOVERED - 1..2 reason=1 line=310 END",
        "4 QUOTE 31 80x1 -x0 bid/1 END",
    ]
    assert rig.count("epochs", "gaps", "lost", "resets") == (1, 1, 2, 1)
    assert late.told("GAP") == []
    assert "2 QUOTE 32 90x2 -x0 bid/1 END" in told(late)
    assert told(late)[-1] == "4 QUOTE 31 80x1 -x0 bid/1 END"


def test_a_reset_that_overtakes_what_passed_begins_where_it_is(make: Any, m: Any) -> None:
    """Its number or its time is before theirs: they are of no sequence of it."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20 A:n2,n3")
    rig.put("reset", m.channel_reset(310), seq=1, step=LATER + 1)
    rig.events()
    rig.play("A:reset B:reset")
    assert begun(rig) == ["EPOCH 21 1"]
    assert (rig.state.next_seq, rig.count("gaps", "resets")) == (2, (0, 1))


def test_what_waits_of_the_new_sequence_is_kept(make: Any, m: Any) -> None:
    """The hole before it is lost when the wait is over; old 9 waits among the new 8, 10 and 11."""
    rig = old_and_new(make, m).play("A:1-5,9 B:1-5 A:n1,n3 A:n8,n10,n11 +20ms")
    assert told(rig, "GAP", "CLEAR") == [
        "8 GAP - 6..8 reason=1 line=310",
        "9 CLEAR 31",
        "7 GAP - 1..7 reason=1 line=310",
        "9 GAP - 9..9 reason=1 line=310",
    ]
    shown = [text.split()[0] for text in told(rig, "QUOTE") if " 90x" in text]
    assert shown == ["8", "10", "11"]
    assert (rig.state.next_seq, rig.state.buffered) == (12, 0)


def test_what_waits_of_the_new_sequence_is_kept_when_the_old_one_is_drained(
    make: Any, m: Any
) -> None:
    """B still brings the old 6, for which the new 7 seems to have waited."""
    rig = old_and_new(make, m).play("A:1-5 A:n2,n3,n4,n7")
    rig.play("B:1-6 +20ms")
    assert told(rig, "GAP", "CLEAR") == ["6 CLEAR 31 STALE", "6 GAP - 2..6 reason=1 line=310"]
    assert begun(rig) == ["EPOCH 7 2"]
    assert rig.state.next_seq == 8
    rig.play("A:n8 B:n7,n8")
    assert told(rig)[-1] == "8 QUOTE 32 90x8 -x0 bid/1 STALE END"


def test_a_new_sequence_far_behind_the_window(make: Any, m: Any) -> None:
    """Of a buffer of eight: what waits is in the window that begins with it, not with the first of the hole."""
    rig = old_and_new(make, m, reorder_packets=8)
    put_new(rig, m, number=30)
    rig.play("A:1-20 B:1-20 A:n1 A:n22,n24,n28 A:n29 B:n23,n24,n30")
    assert begun(rig) == ["EPOCH 21 1"]
    assert [text.split()[3] for text in told(rig, "GAP")] == ["1..21", "25..27"]
    shown = [text.split()[0] for text in told(rig, "QUOTE") if " 90x" in text]
    assert shown == ["22", "23", "24", "28", "29", "30"]


@pytest.mark.parametrize("number", [1, 3])
def test_a_stray_packet_before_a_hole_costs_a_snapshot(make: Any, m: Any, number: int) -> None:
    """It was some mistake, and the old sequence had a hole behind it: the GAP is told too wide, the books are void
    and are mended by snapshots as after any loss.
    """
    rig = old_and_new(make, m)
    for seq in range(21, 30):
        rig.put(seq, m.book(f"31.{seq} =b1 100x{seq}/1"), step=LATER + 100 + seq)
    rig.play(f"A:1-20 B:1-20 A:n{number} A:22,23 B:22,23")
    assert [text.split()[3] for text in told(rig, "GAP")] == [f"{number}..21"]
    assert rig.book(31).startswith("STALE")
    rig.put("s", m.snapshot(31, 23, 23, "b1 100x23/1", time=LATER + 123), seq=1, step=LATER + 124)
    rig.play("A:24,25 SA:s A:26-29 B:26-29")
    assert rig.book(31) == "SYNC 29: 100x29/1 | -"
    assert (rig.state.name, rig.state.open_gaps) == ("SYNC", 0)


def test_a_packet_whose_number_is_damaged_is_no_new_sequence(make: Any, m: Any) -> None:
    """21 comes as 20 on A and as itself on B: one SendingTime is one packet."""
    rig = old_and_new(make, m)
    entry = "31.21 =b1 100x21/1"
    rig.put("damaged", m.book(entry), seq=20, step=LATER)
    rig.put(21, m.book(entry), step=LATER)
    rig.put(22, m.book("31.22 =b1 100x22/1"), step=LATER + 1)
    rig.play("A:1-20 B:1-20 A:damaged B:21,22 A:22")
    assert rig.count("epochs", "gaps") == (0, 0)
    assert rig.book(31) == "SYNC 22: 100x22/1 | -"


def test_what_only_the_slower_line_had_of_the_beginning_is_told_lost(make: Any, m: Any) -> None:
    """A joins the new sequence at 4; that B had 2 is heard when nobody can tell what was in it any more."""
    rig = old_and_new(make, m).play(f"A:1-20 A:{new(4, 11)} B:1-20,n2,n3 A:n12 B:{new(4, 12)}")
    assert begun(rig) == ["EPOCH 21 4"]
    assert [text.split()[3] for text in told(rig, "GAP")] == ["2..3"]
    assert rig.count("epochs", "gaps", "lost") == (1, 1, 2)
    assert rig.state.next_seq == 13


@pytest.mark.parametrize("then", ["A:stray", "A:23,24 B:23,24"], ids=["another", "a hole"])
def test_a_stray_that_the_old_sequence_outlives_is_forgotten(make: Any, m: Any, then: str) -> None:
    """It goes on behind it: with another stray it is no run, and a hole of the old sequence is no new one's."""
    rig = old_and_new(make, m)
    for seq in (21, 23, 24):
        rig.put(seq, m.book(f"31.{seq} =b1 100x{seq}/1"), step=LATER + 100 * seq)
    rig.put("stray", m.book("31.1 =b1 1x1/1"), seq=21, step=LATER + 2150)
    rig.play(f"A:1-20 B:1-20 A:n9 A:21 B:21 {then}")
    assert rig.count("epochs") == (0,)
    assert [text.split()[3] for text in told(rig, "GAP")] == ["22..22"] * ("24" in then)


def test_since_when_it_is_not_known_whether_a_new_sequence_has_begun(make: Any, m: Any) -> None:
    """From the first packet of a run that passes unused until it is believed, or the old sequence goes on."""
    rig = old_and_new(make, m)
    rig.put(21, m.book("31.21 =b1 100x21/1"), step=LATER + 2150)
    rig.play("A:1-20 B:1-20")
    assert rig.handler.doubted_since_ns == 0
    rig.play("A:n1")
    since_ns = rig.handler.doubted_since_ns
    assert since_ns > 0
    rig.play("B:n1 A:n2 B:n2 A:n3")
    assert rig.handler.doubted_since_ns == since_ns
    rig.play("A:21")
    assert rig.handler.doubted_since_ns == 0, "the old one goes on"
    anew = old_and_new(make, m).play(f"A:1-20 B:1-20 A:{new(1, 7)}")
    assert anew.handler.doubted_since_ns > 0
    anew.play("A:n8")
    assert begun(anew) == ["EPOCH 21 1"]
    assert anew.handler.doubted_since_ns == 0, "what had passed is told lost"
