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
    """The old sequence goes on: they were some mistake. Seven more are another one."""
    rig = old_and_new(make, m)
    for seq in range(21, 24):
        rig.put(seq, m.book(f"31.{seq} =b1 100x{seq}/1"))
    rig.play(f"A:1-20 B:1-20 A:{new(1, 7)} A:21 A:{new(5, 11)} B:21 A:22 A:{new(2, 8)} A:23")
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
    that do not say how many there are come on I, and may be what a new sequence begins with.
    """
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    for step in range(LATER, LATER + 3_000, 1_000):
        for seq in range(1, 20):
            known = Listing(400 + seq, f"X{seq}", 54, "X", "X", E9, 100 * E9)
            total = 19 if loop else None
            message = definition(rig.wire, known, update_ns=rig.at(step), total=total)
            rig.send("A", rig.packet(seq, message, step=step + seq))
    assert rig.count("epochs") == (0 if loop else 1,)
    assert rig.state.next_seq == (21 if loop else 20)


def test_a_snapshot_of_the_venue_before_mends_nothing(make: Any, m: Any) -> None:
    """Sent before it stopped, and heard after the new sequence began: its packet number is of the old one."""
    rig = old_and_new(make, m).play("A:1-20 B:1-20")
    rig.put("s", m.snapshot(31, 20, 20, "b1 100x20/1", time=20), seq=1, step=21)
    rig.play(" ".join(f"A:n{i} B:n{i}" for i in range(1, 11)))
    rig.play("SA:s")
    assert rig.book(31) == "STALE? 5: 90x9/1 | -"


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
