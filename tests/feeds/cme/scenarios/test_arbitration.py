"""Two lines, one sequence: scenarios 1 to 12."""

from __future__ import annotations

from typing import Any

MS = 1_000_000


def test_01_loss_on_a_alone_is_no_gap(run: Any, quote: Any) -> None:
    """A loses five packets that B brings: every packet once, in order, and A's loss on A's
    account.
    """
    rig = run(12).play("A:1-4 B:1-9 A:10-12 B:10-12")
    assert rig.told() == [quote(seq) for seq in range(1, 13)]
    assert rig.count("gaps", "lost", "late", "duplicates") == (0, 0, 0, 7)
    assert rig.line("A", "packets", "lost", "late", "duplicates") == (7, 5, 0, 0)
    assert rig.line("B", "packets", "lost", "late", "duplicates") == (12, 0, 0, 7)
    assert rig.events() == ["STARTED 1"]
    assert (rig.state.name, rig.state.next_seq) == ("SYNC", 13)


def test_01_in_any_interleaving(run: Any, quote: Any) -> None:
    expected = [quote(seq) for seq in range(1, 41)]
    for rig in run(40).interleavings(80, A="1-4 10-20 22-30 33-40", B="1-21 25-40"):
        assert rig.told() == expected, rig.seed
        assert rig.count("gaps", "lost") == (0, 0)
        assert rig.line("A", "lost") + rig.line("B", "lost") == (8, 3)


def test_02_complete_lines_in_any_interleaving(run: Any, quote: Any) -> None:
    """Nothing is lost: each packet counts once and its copy is a duplicate, whoever is first."""
    expected = [quote(seq) for seq in range(1, 41)]
    for rig in run(40).interleavings(80, A="1-40", B="1-40"):
        assert rig.told() == expected, rig.seed
        assert rig.count("packets", "duplicates", "gaps", "mismatches", "late") == (80, 40, 0, 0, 0)
        assert rig.line("A", "lost") + rig.line("B", "lost") == (0, 0)


def test_03_b_fifty_milliseconds_late_on_everything(run: Any, quote: Any) -> None:
    """Each tick is out with A's packet, and B's copies, later than max_wait, mean nothing."""
    rig = run(12)
    for seq in range(1, 13):
        rig.play(f"A:{seq}")
        assert rig.told()[-1] == quote(seq)
        rig.wait(50 * MS)
        rig.play(f"B:{seq}")
    assert rig.told() == [quote(seq) for seq in range(1, 13)]
    assert rig.count("gaps", "duplicates", "timed_out") == (0, 12, 0)


def test_03_b_late_by_many_packets(run: Any, quote: Any) -> None:
    rig = run(40)
    for seq in range(1, 41):
        rig.wait(10 * MS)
        rig.play(f"A:{seq}" + (f" B:{seq - 5}" if seq > 5 else ""))
    assert rig.told() == [quote(seq) for seq in range(1, 41)]
    assert rig.count("gaps", "duplicates") == (0, 35)


def test_04_b_fills_a_hole_of_a_in_time(run: Any, quote: Any) -> None:
    """A skips 3; what comes after waits for B's 3, less than max_wait, and then all is in order."""
    rig = run(4).play("A:1,2,4 +9ms")
    assert rig.told() == [quote(1), quote(2)]
    assert (rig.state.name, rig.state.buffered) == ("GAP", 1)
    rig.play("B:3")
    assert rig.told() == [quote(seq) for seq in range(1, 5)]
    assert (rig.state.name, rig.state.buffered) == ("SYNC", 0)
    assert rig.count("gaps", "lost") == (0, 0)


def test_04_what_waited_keeps_its_own_time_of_arrival(run: Any) -> None:
    rig = run(4).play("A:1,2,4 +3ms B:3")
    arrived = [int(tick["ts_recv"]) - rig.at(0) for tick in rig.handler.take_ticks()]
    assert arrived == [0, 0, 3 * MS, 0]


def test_05_lost_on_both_is_told_at_once(run: Any, quote: Any) -> None:
    """Both lines go from 4 to 6: no timer is needed to know that 5 is gone. It is told once, and
    life goes on.

    5 was instrument 31's: its next update shows the jump, 32's shows that nothing of it is missing.
    """
    rig = run(10).play("A:1-4 B:1-4 A:6")
    assert rig.told() == [quote(seq) for seq in range(1, 5)]
    rig.play("B:6 A:7-10 B:7-10")
    assert rig.told() == [
        *[quote(seq) for seq in range(1, 5)],
        "5@4.5 GAP - 5..5 reason=1 line=310",
        quote(6),
        "7@7 QUOTE 31 99x1 104x7 ask/4 STALE END",
        quote(8),
        "9@9 QUOTE 31 95x9 104x7 bid/5 END",  # updates have told both sides of the touch by now
        quote(10),
    ]
    assert rig.count("gaps", "lost", "timed_out", "incomplete_events") == (1, 1, 0, 0)
    assert rig.events() == ["STARTED 1", "GAP 5 5"]
    assert rig.line("A", "lost") + rig.line("B", "lost") == (1, 1)
    assert (rig.state.name, rig.state.open_gaps, rig.state.stale_instruments) == (
        "RECOVERING",
        1,
        1,
    )


def test_05_in_any_interleaving(run: Any) -> None:
    """Losses on both, more on one: each missing number once, everything else as if both had lost
    the same.
    """
    rig = run(40)
    expected = rig.again().play("A:1-4,6-20,24-40 B:1-4,6-20,24-40").told()
    assert [text for text in expected if "GAP" in text] == [
        "5@4.5 GAP - 5..5 reason=1 line=310",
        "23@20.5 GAP - 21..23 reason=1 line=310",
    ]
    for other in rig.interleavings(80, A="1-4 6-10 13-20 24-40", B="1-2 6-20 24-33 35-40"):
        assert other.told() == expected, other.seed
        assert other.count("gaps", "lost", "timed_out") == (2, 4, 0)


def test_06_one_line_alone_waits_before_it_gives_up(run: Any, quote: Any) -> None:
    """With A only nothing proves a loss but time: max_wait after the packet above the hole it is
    told.
    """
    rig = run(6, "A").play("A:1-4,6 +9ms")
    assert rig.told() == [quote(seq) for seq in range(1, 5)]
    rig.play("+1ms")
    assert rig.told()[4:] == ["5@4.5 GAP - 5..5 reason=1 line=310", quote(6)]
    assert rig.count("gaps", "lost", "timed_out") == (1, 1, 1)


def test_06_b_joined_and_dead_is_like_one_line(run: Any) -> None:
    rig = run(6).play("A:1-4,6 +9ms")
    assert rig.told("GAP") == []
    assert rig.play("+1ms").told("GAP") == ["5@4.5 GAP - 5..5 reason=1 line=310"]


def test_06_a_packet_shows_the_time_as_well_as_the_timer(run: Any) -> None:
    rig = run(7, "A").play("A:1-4,6")
    rig.now_ns += 10 * MS
    assert rig.play("A:7").told("GAP") == ["5@4.5 GAP - 5..5 reason=1 line=310"]


def test_06_the_wait_counts_from_the_first_packet_above_the_hole(run: Any) -> None:
    """7 came first: that 6 comes later does not make the wait for 5 longer."""
    rig = run(7, "A").play("A:1-4,7 +8ms A:6 +1ms")
    assert rig.told("GAP") == []
    assert rig.play("+1ms").told("GAP") == ["5@4.5 GAP - 5..5 reason=1 line=310"]


def test_07_b_returns_after_an_hour_three_behind(run: Any, quote: Any) -> None:
    """Nothing begins anew because an old packet comes from a line that was away: copies are
    dropped, B is back.
    """
    rig = run(130).play("A:1-5 B:1-5")
    for seq in range(6, 128):
        rig.play(f"+30s A:{seq}")
    assert rig.events() == ["STARTED 1"]
    rig.play("B:125-127 A:128-130 B:128-130")
    assert rig.told() == [quote(seq) for seq in range(1, 131)]
    assert rig.count("gaps", "epochs", "late", "duplicates") == (0, 0, 0, 5 + 3 + 3)
    assert rig.line("B", "lost", "duplicates") == (119, 11)
    assert rig.events() == [f"LINE_BACK {122 * 30 * 10**9}"]


def test_08_late_after_it_was_told_lost(run: Any, quote: Any) -> None:
    """5 comes on B after GAP(5, 5): what was applied later cannot be undone, so it is counted and
    dropped.
    """
    rig = run(8).play("A:1-4,6,7 +10ms")
    before = rig.told()
    assert before[4] == "5@4.5 GAP - 5..5 reason=1 line=310"
    rig.play("B:1-5")
    assert rig.told() == before
    assert rig.count("late", "duplicates") == (1, 4)
    assert rig.line("B", "late") == (1,)
    rig.play("A:8")
    assert rig.told() == [*before, quote(8)]
    assert rig.count("gaps", "lost", "epochs") == (1, 1, 0)


def test_08_late_packets_in_any_interleaving_change_nothing(run: Any) -> None:
    rig = run(40)
    reference = rig.again().play("A:1-4,6,7 +10ms A:8-40").told()
    for other in rig.interleavings(40, before="A:1-4,6,7 +10ms", A="8-40", B="1-40"):
        assert other.told() == reference, other.seed
        assert other.count("late", "gaps") == (1, 1)


def test_09_hole_larger_than_the_reorder_buffer(run: Any, quote: Any) -> None:
    """Memory is bounded: beyond the window the hole is given up without waiting."""
    rig = run(60, reorder_packets=16).play("A:1-3,40-44")
    assert rig.told("GAP") == ["39@3.5 GAP - 4..39 reason=1 line=310"]
    assert rig.count("overflows", "gaps", "lost") == (1, 1, 36)
    assert rig.state.next_seq == 45
    assert len(rig.told("QUOTE")) == 3 + 5


def test_09_many_holes_do_not_fill_the_buffer_for_ever(run: Any) -> None:
    """Every other packet is lost on the one line there is: what waits never exceeds the window."""
    rig = run(200, "A", reorder_packets=16, max_wait_ns=10**15)
    most = 0
    for seq in range(1, 201):
        if seq == 1 or seq % 2 == 0:
            rig.play(f"A:{seq}")
            most = max(most, rig.state.buffered)
    assert most <= 16
    rig.handler.timer(rig.now_ns + 2 * 10**15)
    gaps = [text.split()[3] for text in rig.told("GAP")]
    assert gaps == [f"{seq}..{seq}" for seq in range(3, 200, 2)]
    assert rig.counts["lost"] == 99


def test_09_sequence_jumps_to_its_end(run: Any, m: Any) -> None:
    """A gap of two thousand million packets is one GAP, not a loop over them."""
    rig = run(3).play("A:1-3")
    rig.put("far", m.book("31.3 ^b1 90x1/1"), seq=2**31 + 7, step=9)
    rig.play("A:far B:far")
    assert rig.told("GAP") == [f"{2**31 + 6}@3.5 GAP - 4..{2**31 + 6} reason=1 line=310"]
    assert rig.counts["lost"] == 2**31 + 3


def test_10_reorder_within_a_line(run: Any, quote: Any) -> None:
    """1 3 2 on A: no gap, the order restored, and 2 is not A's loss."""
    rig = run(4, "A").play("A:1,3,2,4")
    assert rig.told() == [quote(seq) for seq in range(1, 5)]
    assert rig.count("gaps", "lost", "late", "duplicates") == (0, 0, 0, 0)
    assert rig.line("A", "lost") == (0,)


def test_10_reorder_on_both_lines_with_passed_by(run: Any, quote: Any) -> None:
    """A network that reorders is told so: a hole is lost only when both lines are two packets
    beyond it.
    """
    rig = run(8, passed_by=2).play("A:1,3 B:1,3 A:2 B:2 A:5,4 B:5,4 A:6-8 B:6-8")
    assert rig.told() == [quote(seq) for seq in range(1, 9)]
    assert rig.counts.get("gaps", 0) == 0
    assert rig.line("A", "lost") + rig.line("B", "lost") == (0, 0)


def test_11_copies_that_differ(run: Any, quote: Any, m: Any) -> None:
    """B's 2 has another size: the first one wins, and somebody is told."""
    rig = run(3)
    rig.put("other", m.book("32.1 +b1 99x77/1"), seq=2)
    rig.play("A:1,2 B:1,other A:3 B:3")
    assert rig.told() == [quote(1), quote(2), quote(3)]
    assert rig.count("mismatches", "duplicates") == (1, 3)
    assert rig.events() == ["STARTED 1", "MISMATCH 2"]


def test_11_copies_that_differ_while_they_wait(run: Any, quote: Any, m: Any) -> None:
    rig = run(3)
    rig.put("other", m.book("31.2 +o1 102x77/2"), seq=3)
    rig.play("A:1,3,other B:1,2")
    assert rig.told() == [quote(1), quote(2), quote(3)]
    assert rig.counts["mismatches"] == 1


def test_11_same_length_same_time_one_bit(run: Any) -> None:
    """Every byte of a packet counts, also far inside; a copy that cannot be read at all is
    malformed instead.
    """
    rig = run(3).play("A:1-3")
    good = rig.packets[3]
    for at in range(4, len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        rig.send("B", bytes(bad))
    assert len(rig.told()) == 3
    assert sum(rig.count("mismatches", "malformed")) == len(good) - 4
    assert rig.counts["mismatches"] > 40
    assert rig.count("gaps", "epochs") == (0, 0)


def test_12_sequence_above_two_to_the_31_and_at_its_end(make: Any, m: Any) -> None:
    """MsgSeqNum is unsigned, up to the last one there is."""
    rig = make()
    last = 2**32 - 1
    names = list(range(2**31 - 2, 2**31 + 3)) + list(range(last - 3, last + 1))
    for i, seq in enumerate(names):
        rig.put(seq, m.book(f"31.{i + 1} {'+' if not i else '^'}b1 100x{i + 1}/1"), step=i + 1)
    for seq in names[:5]:
        rig.send("A", rig.packets[seq])
        rig.send("B", rig.packets[seq])
    assert rig.counts.get("gaps", 0) == 0
    for seq in names[5:]:
        rig.send("A", rig.packets[seq])
        rig.send("B", rig.packets[seq])
    assert rig.told("GAP") == [f"{last - 4}@5.5 GAP - {2**31 + 3}..{last - 4} reason=1 line=310"]
    assert [text.split()[0] for text in rig.told("QUOTE")][-1] == f"{last}@9"
    assert rig.book(31) == "SYNC 9: 100x9/1 | -"


def test_12_in_any_interleaving(make: Any, m: Any) -> None:
    rig = make()
    first = 2**32 - 30
    for i in range(29):
        rig.put(
            first + i, m.book(f"31.{i + 1} {'+' if not i else '^'}b1 100x{i + 1}/1"), step=i + 1
        )
    names = f"{first}-{first + 28}"
    expected = rig.again().play(f"A:{names}").told()
    assert len(expected) == 29
    for other in rig.interleavings(40, A=f"{first}-{first + 9} {first + 15}-{first + 28}", B=names):
        assert other.told() == expected, other.seed
