"""Recovery by the snapshot loops: scenarios 38 to 48."""

from __future__ import annotations

from typing import Any

import pytest

from mdfeedd.feeds.cme.definitions import Definition

E9 = 10**9


def holed(make: Any, m: Any, lines: str = "A B SA SB", **options: Any) -> Any:
    """A market whose packet 2, lost on both lines, was of 31; afterwards 31 is STALE and 32 is
    not.
    """
    rig = make(lines, **options)
    rig.put(1, m.book("31.1 +b1 100x5/2", "31.2 +o1 101x5/2", "32.1 +b1 50x1/1"))
    rig.put(2, m.book("31.3 =b1 100x6/2"))
    rig.put(3, m.book("31.4 =o1 101x7/2"))
    rig.put(4, m.book("32.2 =b1 50x2/1"))
    rig.put(5, m.book("31.5 =b1 100x8/2"))
    rig.put(6, m.book("31.6 =o1 101x9/2"))
    return rig


RIGHT = "SYNC 6: 100x8/2 | 101x9/2"


def test_38_snapshot_from_before_the_loss_is_of_no_use(make: Any, m: Any) -> None:
    """L is below the last lost packet: it waits for the next loop. One that knows of the loss mends
    the book.
    """
    rig = holed(make, m)
    rig.put("old", m.snapshot(31, 1, 2, "b1 100x5/2", "o1 101x5/2"), seq=1)
    rig.put("new", m.snapshot(31, 2, 3, "b1 100x6/2", "o1 101x5/2"), seq=1)
    rig.play("A:1,3,4 B:1,3,4 SA:old")
    assert rig.book(31) == "STALE? 4: 100x5/2 | 101x7/2"
    assert rig.count("waited", "snapshots") == (1, 0)
    rig.play("SA:new")
    assert rig.book(31) == "SYNC 4: 100x6/2 | 101x7/2"
    assert rig.count("waited", "snapshots") == (1, 1)
    assert rig.told()[3:] == [
        "3@3 QUOTE 31 100x5 101x7 ask/2 STALE END",
        "4@4 QUOTE 32 50x2 -x0 bid/1 END",
        "4@4.5 RECOVERED 31 2..2 reason=1 line=310",
        "4@4.5 RECOVERED - 2..2 reason=1 line=310",
        "4@3 QUOTE 31 100x6 101x7 bid/2 SNAPSHOT",
    ]
    rig.play("A:5-6")
    assert rig.book(31) == RIGHT
    assert "STALE" not in "".join(rig.told()[-2:])
    assert (rig.state.name, rig.state.open_gaps, rig.handler.needs_recovery(310)) == (
        "SYNC",
        0,
        False,
    )


def test_38_a_touch_told_flagged_is_told_again_without_the_flag(make: Any, m: Any) -> None:
    """The snapshot shows that what was told under STALE was right: the reader needs it
    unflagged.
    """
    rig = holed(make, m)
    rig.put("s", m.snapshot(31, 3, 4, "b1 100x5/2", "o1 101x7/2"), seq=1)
    rig.play("A:1,3 B:1,3 SA:s")
    assert rig.told()[-1] == "3@3 QUOTE 31 100x5 101x7 both SNAPSHOT"


def test_38_implied_touch_is_told_again_as_well(make: Any, m: Any) -> None:
    rig = make("A B SA")
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    rig.put(3, m.book("31.3 +E1 99x1", mei=0x90))
    rig.put("s", m.snapshot(31, 3, 3, "b1 100x5/2", "E1 99x1"), seq=1)
    rig.play("A:1,3 B:1,3 SA:s")
    assert [text for text in rig.told("QUOTE") if "IMPLIED" in text] == [
        "3@3 QUOTE 31 99x1 -x0 bid STALE IMPLIED END",
        "3@3 QUOTE 31 99x1 -x0 bid SNAPSHOT IMPLIED",
    ]


def test_38_snapshots_of_proven_books_change_nothing(make: Any, m: Any) -> None:
    rig = holed(make, m)
    rig.put("lie", m.snapshot(32, 9, 9, "b1 1x1/1"), seq=1)
    rig.play("A:1-6 SA:lie")
    assert rig.book(32) == "SYNC 2: 50x2/1 | -"
    assert rig.told("QUOTE")[-1] == "6@6 QUOTE 31 100x8 101x9 ask/2 END"


def test_38_equal_snapshot_proves_an_untouched_book(make: Any, m: Any) -> None:
    """Nothing has come of 32 since the loss; its snapshot has the RptSeq we have: no tick of it was
    ever flagged, and none is told.
    """
    rig = holed(make, m)
    rig.put("s", m.snapshot(32, 3, 1, "b1 50x1/1"), seq=1)
    rig.play("A:1,3 B:1,3")
    before = len(rig.told())
    rig.play("SA:s")
    assert rig.book(32) == "SYNC 1: 50x1/1 | -"
    assert len(rig.told()) == before
    assert rig.count("proven", "snapshots") == (1, 0)


def test_38_snapshot_as_of_the_lost_packet_itself(make: Any, m: Any) -> None:
    """Nothing has come of 31 since the loss, and a snapshot as of the lost packet may be cut inside
    it, before the change that we miss: that it equals what we have proves nothing. One packet later
    it does.
    """
    rig = holed(make, m)
    rig.put("cut", m.snapshot(31, 2, 2, "b1 100x5/2", "o1 101x5/2", time=1), seq=1)
    rig.put("s", m.snapshot(31, 4, 3, "b1 100x6/2", "o1 101x5/2", time=2), seq=1)
    rig.play("A:1,4 B:1,4 SA:cut")
    assert rig.book(31) == "SYNC? 2: 100x5/2 | 101x5/2"
    assert rig.counts["waited"] == 1
    rig.play("SA:s")
    assert rig.book(31) == "SYNC 3: 100x6/2 | 101x5/2"


def test_39_each_instrument_has_its_own_watermark(make: Any, m: Any) -> None:
    """In one loop 31's snapshot is as of 5 and 32's as of 3: of each, exactly the later updates are
    applied.
    """
    rig = make("A B SA")
    rig.put(1, m.book("31.1 +b1 100x1/1", "32.1 +b1 50x1/1"))
    for seq in range(2, 11):
        sid, rpt = (31, seq // 2 + 1) if seq % 2 == 0 else (32, seq // 2 + 1)
        rig.put(seq, m.book(f"{sid}.{rpt} +b1 {100 + seq if sid == 31 else 50 + seq}x{seq}/1"))
    truth = rig.again().play("A:1-10")
    at5, at3 = rig.again().play("A:1-5"), rig.again().play("A:1-4")
    assert at5.book(31) == "SYNC 3: 104x4/1 102x2/1 100x1/1 | -"
    assert at3.book(32) == "SYNC 2: 53x3/1 50x1/1 | -"
    rig.put(
        "x", m.snapshot(31, 5, 3, "b1 104x4/1", "b2 102x2/1", "b3 100x1/1", total=2, time=4), seq=1
    )
    rig.put("y", m.snapshot(32, 3, 2, "b1 53x3/1", "b2 50x1/1", total=2), seq=2)
    rig.play("A:1,4-10 B:1,4-10 SA:x,y")
    for sid in (31, 32):
        assert rig.book(sid) == truth.book(sid)
    assert rig.told("RECOVERED")[-1] == "10@10.5 RECOVERED - 2..3 reason=1 line=310"
    assert rig.count("entry_faults", "rpt_faults") == (0, 0)


def loops(m: Any, rig: Any, upto: int, every: int = 4) -> list[str]:
    """Loops of snapshots as of each `every`-th packet, from a handler that saw everything. Names in
    order.
    """
    names = []
    seen = rig.again()
    for seq in range(1, upto + 1):
        seen.play(f"A:{seq}")
        if seq % every:
            continue
        active = [sid for sid in (31, 32) if sid in seen.handler.security_ids(310)]
        for place, sid in enumerate(active):
            book = seen.handler.book(310, sid)
            levels = [
                f"{side}{i + 1} {px / E9:.10g}x{size}/{orders}"
                for side, rows in (("b", book.bids), ("o", book.asks))
                for i, (px, size, orders) in enumerate(rows)
            ]
            last_of_it = max(s for s in range(1, seq + 1) if (s % 2 == 1) == (sid == 31))
            name = f"s{seq}.{sid}"
            rig.put(
                name,
                m.snapshot(sid, seq, book.rpt_seq, *levels, total=len(active), time=last_of_it),
                seq=place + 1,
                step=seq,
            )
            names.append(name)
    return names


def truths(rig: Any, upto: int) -> set[tuple[str, ...]]:
    """All touches of the loss-free run."""
    return {tuple(text.split()[2:5]) for text in rig.again().play(f"A:1-{upto}").told("QUOTE")}


def test_39_recovery_in_any_interleaving(run: Any, m: Any) -> None:
    """However loops and lines arrive: no unflagged touch that never was, each hole told once, books
    right.
    """
    rig = run(40, "A B SA SB")
    names = loops(m, rig, 40)
    real = truths(rig, 40)
    final = rig.again().play("A:1-40")
    for other in rig.interleavings(
        120,
        A="1-9 12-20 24-40",
        B="1-10 13-22 24-40",
        SA=" ".join(names),
        SB=" ".join(names),
        after="SA:" + ",".join(names[-2:]),
    ):
        for text in other.told("QUOTE"):
            if "STALE" not in text:
                assert tuple(text.split()[2:5]) in real, (other.seed, text)
        for sid in (31, 32):
            assert other.book(sid) == final.book(sid), other.seed
        missing = [seq for text in other.told("GAP") for seq in span(text)]
        assert len(missing) == len(set(missing)) == other.counts.get("lost", 0), other.seed
        assert {11, 23} <= set(missing) | {11, 12, 23}, other.seed
        healed = [text.split()[3] for text in other.told("RECOVERED") if text.split()[2] == "-"]
        assert healed == [text.split()[3] for text in other.told("GAP")], other.seed
        assert other.count("rpt_faults", "entry_faults") == (0, 0), other.seed
        assert other.state.name == "SYNC"


def span(gap: str) -> range:
    first, last = gap.split()[3].split("..")
    return range(int(first), int(last) + 1)


def test_40_snapshot_cut_inside_an_event(make: Any, m: Any) -> None:
    """L names a packet that we have with the instrument in it, but T is older: the packet's changes
    are not in the snapshot. It waits a loop; with the right T it is taken.
    """
    rig = holed(make, m)
    rig.put("cut", m.snapshot(31, 3, 3, "b1 100x6/2", "o1 101x5/2", time=2), seq=1)
    rig.put("whole", m.snapshot(31, 3, 4, "b1 100x6/2", "o1 101x7/2", time=3), seq=1)
    rig.play("A:1,3 B:1,3 SA:cut")
    assert rig.book(31).startswith("STALE?")
    assert rig.count("waited", "snapshots") == (1, 0)
    rig.play("SA:whole")
    assert rig.book(31) == "SYNC 4: 100x6/2 | 101x7/2"


def test_40_snapshot_cut_inside_a_packet_that_is_still_to_come(make: Any, m: Any) -> None:
    """It claims packet 5, has its own T, and misses half of what 5 says: RptSeq decides what 5
    adds.
    """
    rig = holed(make, m)
    rig.put(5, m.book("31.5 =b1 100x8/2", "31.6 =o1 101x9/2"))
    rig.put("s", m.snapshot(31, 5, 5, "b1 100x8/2", "o1 101x7/2", time=5), seq=1)
    rig.play("A:1,3,4 B:1,3,4 SA:s")
    assert rig.book(31) == "SYNC 5: 100x8/2 | 101x7/2"
    rig.play("A:5")
    assert rig.book(31) == RIGHT
    assert rig.count("entry_faults", "rpt_faults") == (0, 0)


def test_40_snapshot_from_behind_a_reset_that_is_still_to_come(make: Any, m: Any) -> None:
    """Its RptSeq counts from the reset; the update before the reset, which looks like the next one,
    is not.
    """
    rig = make("A B SA")
    rig.put(1, m.book("31.1 +b1 100x1/1"))
    rig.put(3, m.heartbeat())  # 2 is lost
    rig.put(4, m.book("31.3 =b1 100x3/1"))
    rig.put(5, m.channel_reset(310))
    rig.put(6, m.book("31.1 +b1 90x1/1", "31.2 +o1 91x1/1", mei=0xA4))
    rig.put("s", m.snapshot(31, 6, 2, "b1 90x1/1", "o1 91x1/1"), seq=1)
    rig.play("A:1,3 B:1,3 SA:s A:4")
    assert rig.book(31) == "SYNC 2: 90x1/1 | 91x1/1"
    rig.play("A:5-6")
    assert rig.book(31) == "SYNC 2: 90x1/1 | 91x1/1"
    assert rig.told("QUOTE", "CLEAR")[1:] == [
        "6@6 QUOTE 31 90x1 91x1 both SNAPSHOT",
        "5@5 CLEAR 31 END",
        "6@6 QUOTE 31 90x1 91x1 both END",
    ]


def test_40_orders_of_a_packet_that_is_still_to_come(make: Any, m: Any) -> None:
    """Orders have no RptSeq: the packet that the snapshot names is applied once more, and nothing
    is missing.
    """
    rig = make("A B OA", orders=True)
    rig.put(1, m.book("31.1 +b1 100x5/1", orders=[(1, 1, 5, 1, 0)]))
    rig.put(3, m.heartbeat())
    orders = [(2, 2, 3, 1, 0), (3, 3, 4, 1, 0)]
    rig.put(
        4,
        m.book("31.2 =b1 100x12/3", orders=orders),
        m.book("31.3 =b1 100x7/2", orders=[(1, 1, 5, 1, 2)]),
    )
    rig.put(
        "cut",
        m.order_snapshot(
            31,
            last_seq=4,
            entries=[(1, 1, 100 * E9, 5, "0"), (2, 2, 100 * E9, 3, "0")],
            transact_ns=rig.at(4),
        ),
        seq=1,
    )
    rig.play("A:1,3 B:1,3 OA:cut")
    assert rig.orders(31) == "1:1:100x5 2:2:100x3 | -"
    rig.play("A:4")
    assert rig.orders(31) == "2:2:100x3 3:3:100x4 | -"
    assert rig.counts.get("order_faults", 0) == 0


def test_41_another_gap_during_recovery(make: Any, m: Any) -> None:
    """31 was mended and the second hole touched it: STALE again. 32 was not touched and stays
    right.
    """
    rig = holed(make, m)
    rig.put(7, m.book("31.7 =b1 100x1/1"))
    rig.put(8, m.book("32.3 =b1 50x3/1"))
    rig.put(9, m.book("31.8 =b1 100x2/1"))
    rig.put("s3", m.snapshot(31, 3, 4, "b1 100x6/2", "o1 101x7/2"), seq=1)
    rig.put("s9", m.snapshot(31, 9, 8, "b1 100x2/1", "o1 101x9/2"), seq=1)
    rig.play("A:1,3,4 B:1,3,4 SA:s3 A:5,6 B:5,6")
    assert rig.book(31) == RIGHT
    rig.play("A:8,9 B:8,9")
    assert rig.book(31) == "STALE? 8: 100x2/1 | 101x9/2"
    assert rig.book(32) == "SYNC 3: 50x3/1 | -"
    rig.play("SB:s3")
    assert rig.book(31).startswith("STALE?")
    rig.play("SB:s9")
    assert rig.book(31) == "SYNC 8: 100x2/1 | 101x9/2"
    assert [text.split()[3] for text in rig.told("GAP")] == ["2..2", "7..7"]
    assert rig.told("RECOVERED") == [
        "4@4.5 RECOVERED 31 2..2 reason=1 line=310",
        "4@4.5 RECOVERED - 2..2 reason=1 line=310",
        "9@9.5 RECOVERED 31 7..7 reason=1 line=310",
        "9@9.5 RECOVERED - 7..7 reason=1 line=310",
    ]


def test_41_second_hole_before_the_first_was_healed(make: Any, m: Any) -> None:
    """Both holes are healed at once, each told for itself; a snapshot from between them is of no
    use.
    """
    rig = holed(make, m)
    rig.put("s3", m.snapshot(31, 3, 4, "b1 100x6/2", "o1 101x7/2"), seq=1)
    rig.put("s6", m.snapshot(31, 6, 6, "b1 100x8/2", "o1 101x9/2"), seq=1)
    rig.play("A:1,3,4,6 B:1,3,4,6 SA:s3")
    assert rig.book(31).startswith("STALE? 6")
    rig.put(7, m.book("32.3 =b1 50x3/1"))
    rig.play("SA:s6 A:7 B:7")
    assert rig.book(31) == RIGHT
    healed = [text.split()[2:4] for text in rig.told("RECOVERED")]
    assert healed == [["31", "5..5"], ["-", "2..2"], ["-", "5..5"]]


def three(make: Any, m: Any, **options: Any) -> Any:
    """A hole that nobody can say anything of: 31, 32 and 33 are all touched by it."""
    rig = make("A B SA SB", **options)
    rig.put(1, m.book(*[f"{sid}.1 +b1 {sid}x1/1" for sid in (31, 32, 33)]))
    rig.put(3, m.book(*[f"{sid}.3 =b1 {sid}x3/1" for sid in (31, 32, 33)]))
    for place, sid in enumerate((31, 32, 33)):
        rig.put(
            f"s{sid}", m.snapshot(sid, 3, 3, f"b1 {sid}x3/1", "o1 99x1/1", total=3), seq=place + 1
        )
    return rig.play("A:1,3 B:1,3")


def test_42_recovery_packet_lost_mid_loop(make: Any, m: Any) -> None:
    """The loop's packet 2 is lost: 32 waits for the next time round, the others do not."""
    rig = three(make, m)
    rig.play("SA:s31,s33")
    assert [rig.book(sid)[:5] for sid in (31, 32, 33)] == ["SYNC ", "STALE", "SYNC "]
    assert rig.line("SA", "lost") == (1,)
    assert rig.handler.needs_recovery(310)
    rig.play("SA:s31,s32")
    assert rig.book(32) == "SYNC 3: 32x3/1 | 99x1/1"
    assert not rig.handler.needs_recovery(310)


def test_42_the_other_side_helps(make: Any, m: Any) -> None:
    rig = three(make, m)
    rig.play("SA:s31,s33 SB:s32")
    assert not rig.handler.needs_recovery(310)


def test_42_joined_in_the_middle_of_a_loop(make: Any, m: Any) -> None:
    """There is no need to wait for packet 1 of the loop."""
    rig = three(make, m)
    rig.play("SA:s32,s33,s31")
    assert not rig.handler.needs_recovery(310)


def chunk(m: Any, rig: Any, name: str, number: int, last: int, *orders: int, seq: int = 1) -> None:
    entries = [(oid, oid, (100 - oid) * E9, oid, "0") for oid in orders]
    message = m.order_snapshot(
        31, last_seq=last, entries=entries, chunk=number, chunks=3, transact_ns=rig.at(last)
    )
    rig.put(name, message, seq=seq)


def orders_lost(make: Any, m: Any) -> Any:
    """Order 2's New is lost in packet 2; then come chunks of a snapshot as of 3, and of one as of
    4.
    """
    rig = make("A B OA OB", orders=True)
    rig.put(1, m.book("31.1 +b1 99x1/1", orders=[(1, 1, 1, 1, 0)]))
    rig.put(3, m.orders([(31, 3, 3, 97 * E9, 3, "0", 0)]))
    rig.put(4, m.orders([(31, 4, 4, 96 * E9, 4, "0", 0)]))
    for last, known in ((3, (1, 2, 3)), (4, (1, 2, 3, 4))):
        for number in (1, 2, 3):
            part = known[number - 1 :] if number == 3 else known[number - 1 : number]
            chunk(m, rig, f"c{last}.{number}", number, last, *part, seq=number)
    return rig.play("A:1,3 B:1,3")


def test_43_all_chunks_make_an_order_book(make: Any, m: Any) -> None:
    rig = orders_lost(make, m)
    assert rig.orders(31) == "?1:1:99x1 3:3:97x3 | -"
    rig.told_orders()
    rig.play("OA:c3.1,c3.2")
    assert rig.told_orders() == []
    rig.play("OA:c3.3")
    assert rig.orders(31) == "1:1:99x1 2:2:98x2 3:3:97x3 | -"
    told = rig.told_orders()
    assert told[0] == "3 CLEAR 0:0:0x0 none"
    assert sorted(told[1:]) == ["3 NEW 1:1:99x1 bid", "3 NEW 2:2:98x2 bid", "3 NEW 3:3:97x3 bid"]
    rig.play("A:4")
    assert rig.told_orders() == ["4 NEW 4:4:96x4 bid"]


def test_43_second_chunk_lost(make: Any, m: Any) -> None:
    """Without chunk 2 nothing is adopted, also not with the chunks of the next loop mixed in."""
    rig = orders_lost(make, m)
    rig.play("OA:c3.1,c3.3 A:4 OA:c4.2,c4.3")
    assert rig.orders(31).startswith("?")
    rig.play("OA:c4.1,c4.2")
    assert rig.orders(31).startswith("?")
    rig.play("OA:c4.3")
    assert rig.orders(31) == "1:1:99x1 2:2:98x2 3:3:97x3 4:4:96x4 | -"


def test_43_chunks_of_two_loops_are_never_mixed(make: Any, m: Any) -> None:
    rig = orders_lost(make, m)
    rig.play("A:4 OA:c3.1,c4.2,c3.3")
    assert rig.orders(31).startswith("?")


def test_43_updates_between_snapshot_and_now_are_replayed(make: Any, m: Any) -> None:
    """4 came before the chunks as of 3 were complete: it is applied to what they say."""
    rig = orders_lost(make, m)
    rig.play("OA:c3.1 A:4 OA:c3.2,c3.3")
    assert rig.orders(31) == "1:1:99x1 2:2:98x2 3:3:97x3 4:4:96x4 | -"


def test_43_levels_do_not_prove_orders(make: Any, m: Any) -> None:
    """RptSeq goes on and the book of levels is SYNC; of its orders nobody knows."""
    rig = orders_lost(make, m)
    rig.put("b", m.book("31.2 =b1 99x2/1", orders=[(1, 1, 2, 1, 1)]), seq=4, step=4)
    rig.play("A:b")
    assert rig.book(31).startswith("SYNC 2")
    assert rig.orders(31).startswith("?1:1:99x2")
    assert (rig.state.stale_instruments, rig.state.stale_order_books) == (0, 1)
    assert rig.handler.needs_recovery(310)


def test_43_in_any_interleaving(make: Any, m: Any) -> None:
    rig = orders_lost(make, m)
    for other in rig.interleavings(
        60,
        before="A:1 B:1",
        A="3 4",
        B="3 4",
        OA="c3.1 c3.2 c3.3 c4.1 c4.2 c4.3",
        OB="c3.1 c3.3 c4.1 c4.3",
        after="OA:c4.1,c4.2,c4.3",
    ):
        assert other.orders(31) == "1:1:99x1 2:2:98x2 3:3:97x3 4:4:96x4 | -", other.seed
        assert other.state.stale_order_books == 0


def test_44_snapshot_without_entries(make: Any, m: Any) -> None:
    """An instrument that was emptied: its book is empty and right, and the old touch is taken
    back.
    """
    rig = holed(make, m)
    rig.put("s", m.snapshot(31, 3, 4), seq=1)
    rig.play("A:1,3 B:1,3 SA:s")
    assert rig.book(31) == "SYNC 4: - | -"
    assert rig.told()[-1] == "3@3 QUOTE 31 -x0 -x0 both SNAPSHOT"


def test_44_order_snapshot_without_entries(make: Any, m: Any) -> None:
    rig = orders_lost(make, m)
    rig.put("none", m.order_snapshot(31, last_seq=3, transact_ns=rig.at(3)), seq=1)
    rig.play("OA:none")
    assert rig.orders(31) == "- | -"


def joined_late(make: Any, m: Any, lines: str = "A B SA SB NA") -> Any:
    """Mid-week, three instruments known by definition; 31 is active, 32 and 33 are not."""
    rig = make(lines)
    for sid in (31, 32, 33):
        rig.handler.define(310, Definition(310, sid, f"S{sid}"))
    rig.put(500, m.book("31.70 =b1 100x5/2"))
    rig.put(501, m.heartbeat())
    rig.put("s31", m.snapshot(31, 500, 70, "b1 100x5/2", total=1), seq=1)
    return rig


def test_45_absent_from_a_whole_loop(make: Any, m: Any) -> None:
    """One snapshot, and TotNumReports says that it is all: the others have had no activity, empty
    and SYNC.
    """
    rig = joined_late(make, m).play("A:500 B:500")
    assert rig.state.stale_instruments == 3
    rig.play("SA:s31,s31")
    assert [rig.book(sid) for sid in (31, 32, 33)] == [
        "SYNC 70: 100x5/2 | -",
        "SYNC 0: - | -",
        "SYNC 0: - | -",
    ]
    assert rig.state.name == "SYNC"


def test_45_total_changes_between_loops(make: Any, m: Any) -> None:
    """The next loop has two: it is whole with the second of them, not with the first."""
    rig = joined_late(make, m)
    rig.put("t31", m.snapshot(31, 500, 70, "b1 100x5/2", total=2), seq=1)
    rig.put("t32", m.snapshot(32, 500, 9, "b1 50x5/2", total=2), seq=2)
    rig.play("A:500 B:500 SA:t31")
    assert rig.book(33).startswith("UNKNOWN?")
    assert rig.book(32).startswith("UNKNOWN?")
    rig.play("SA:t32,t31")
    assert [rig.book(sid) for sid in (32, 33)] == ["SYNC 9: 50x5/2 | -", "SYNC 0: - | -"]


def test_45_an_instrument_counts_once(make: Any, m: Any) -> None:
    """Two reports of 31 are not two instruments: the loop is not whole, and 32 is not empty."""
    rig = joined_late(make, m)
    rig.put("x1", m.snapshot(31, 500, 70, "b1 100x5/2", total=2), seq=2)
    rig.put("x2", m.snapshot(31, 500, 70, "b1 100x5/2", total=2), seq=1)
    rig.play("A:500 B:500 SA:x1,x2")
    assert rig.book(32).startswith("UNKNOWN?")


def test_45_a_loop_with_a_hole_is_not_whole(make: Any, m: Any) -> None:
    rig = joined_late(make, m)
    for place, sid in enumerate((31, 32, 33)):
        rig.put(f"u{sid}", m.snapshot(sid, 500, 9, f"b1 {sid}x5/2", total=3), seq=place + 1)
    rig.play("A:500 B:500 SA:u31,u33,u31,u33,u31")
    assert rig.book(32).startswith("UNKNOWN?")
    rig.play("SA:u32")
    assert rig.book(32) == "SYNC 9: 32x5/2 | -"


def test_46_heartbeats_are_liveness_only(make: Any, m: Any) -> None:
    """On S amid snapshots, on N, on I: they move no book and define nothing; on I the venue is told
    alive.
    """
    rig = joined_late(make, m)
    rig.put("h", m.heartbeat(), seq=1, step=500)
    rig.put("s", m.snapshot(31, 500, 70, "b1 100x5/2", total=3), seq=1)
    rig.play("A:500,501 B:500,501 NA:h,h,h SA:s,h")
    assert rig.told("HEARTBEAT") == ["501@501.5 HEARTBEAT -"]
    assert [rig.book(sid)[:4] for sid in (31, 32, 33)] == ["SYNC", "UNKN", "UNKN"]
    assert not rig.state.definitions_whole


def test_46_snapshot_feed_of_heartbeats_alone(make: Any, m: Any) -> None:
    """Sunday: nothing has traded, S says so by silence. All are empty and right; the handler does
    not die of it.
    """
    rig = make("A B SA SB")
    for sid in (31, 32):
        rig.handler.define(310, Definition(310, sid, f"S{sid}"))
    rig.put(500, m.heartbeat())
    for beat in (1, 2, 3):
        rig.put(f"h{beat}", m.heartbeat(), seq=beat, step=500 + beat)
    rig.play("A:500 B:500 SA:h1,h2,h3")
    assert [rig.book(sid) for sid in (31, 32)] == ["SYNC 0: - | -", "SYNC 0: - | -"]
    assert (rig.state.name, rig.handler.needs_recovery(310)) == ("SYNC", False)


def test_46_one_heartbeat_may_be_older_than_the_loss(make: Any, m: Any) -> None:
    """31's first update is in the hole; a heartbeat of S from before its first snapshot proves
    nothing.
    """
    rig = make("A B SA")
    rig.handler.define(310, Definition(310, 31, "S31"))
    rig.put(1, m.heartbeat())
    rig.put(3, m.heartbeat())
    rig.put(4, m.book("31.2 +b1 99x1/1"))
    rig.put("h", m.heartbeat(), seq=1, step=1)
    rig.play("A:1,3 B:1,3 SA:h")
    assert rig.book(31) == "SYNC? 0: - | -"
    rig.play("A:4 B:4")
    assert rig.book(31).startswith("STALE? 2")
    assert rig.counts.get("rpt_faults", 0) == 0


@pytest.mark.parametrize("kind", ["snapshot", "order_snapshot"])
def test_47_snapshots_on_an_incremental_line(run: Any, quote: Any, m: Any, kind: str) -> None:
    """They must not come there; if they do they take part in nothing, whatever their sequence
    number.
    """
    rig = run(6)
    for seq in (1, 4, 5, 1000):
        message = (
            m.snapshot(31, 3, 99, "b1 1x1/1")
            if kind == "snapshot"
            else m.order_snapshot(31, last_seq=3)
        )
        rig.put(f"s{seq}", message, seq=seq, step=seq)
    rig.play("A:1-3,s4 B:1-3,s1,s1000 A:s5,4-6 B:4-6")
    assert rig.told() == [quote(seq) for seq in range(1, 7)]
    assert rig.count("misplaced", "gaps", "mismatches") == (4, 0, 0)
    assert [text for text in rig.events() if "MISPLACED" in text] == ["MISPLACED 4"]


def test_48_queue_of_updates_is_full(make: Any, m: Any) -> None:
    """Two instruments wait for snapshots and 40 updates come: the queue of 16 is thrown away and
    begins again, so only a snapshot that knows of that packet helps. Told, and no growth.
    """
    rig = make("A B SA", recovery_entries=16)
    rig.put(1, m.book("31.1 +b1 100x1/1"))
    for seq in range(3, 43):
        rig.put(seq, m.book(f"31.{seq} =b1 100x{seq}/1"))
    rig.play("A:1,3-42 B:1,3-42")
    assert rig.counts["queue_overflows"] == 2
    assert [text for text in rig.events() if "QUEUE" in text] == [
        "QUEUE_OVERFLOW 16",
        "QUEUE_OVERFLOW 16",
    ]
    rig.put("early", m.snapshot(31, 20, 20, "b1 100x20/1"), seq=1)
    rig.put("late", m.snapshot(31, 40, 40, "b1 100x40/1"), seq=1)
    rig.play("SA:early")
    assert rig.book(31).startswith("STALE?")
    rig.play("SA:late")
    assert rig.book(31) == "SYNC 42: 100x42/1 | -"


def test_48_queue_is_free_again_after_recovery(make: Any, m: Any) -> None:
    """Hole after hole, each healed: the queue of 16 entries never overflows."""
    rig = make("A B SA", recovery_entries=16)
    rig.put(1, m.book("31.1 +b1 100x1/1"))
    rig.play("A:1 B:1")
    for seq in range(3, 400, 4):  # seq - 1 is lost, seq to seq + 2 come
        for one in range(seq, seq + 3):
            rig.put(one, m.book(f"31.{one} =b1 100x{one}/1"))
        rig.put("s", m.snapshot(31, seq + 1, seq + 1, f"b1 100x{seq + 1}/1"), seq=1)
        rig.play(f"A:{seq}-{seq + 2} B:{seq}-{seq + 2} SA:s")
        assert rig.book(31) == f"SYNC {seq + 2}: 100x{seq + 2}/1 | -"
    assert rig.counts.get("queue_overflows", 0) == 0


def test_48_order_pool_is_full(make: Any, m: Any) -> None:
    """More orders than there is room for: counted, told once, the handler goes on."""
    rig = make(orders=True, max_orders=16)
    for seq in range(1, 31):
        rig.put(seq, m.orders([(31, seq, seq, 100 * E9, 1, "0", 0)]))
    rig.play("A:1-30 B:1-30")
    assert [text for text in rig.events() if "ORDER" in text] == ["ORDER_OVERFLOW 16"]
    assert rig.counts["order_faults"] > 0
    assert rig.orders(31).startswith("?")
