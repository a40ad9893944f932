"""Joining late, definitions, silence, drops and clocks: scenarios 51 to 55."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mdfeedd.feeds.cme.definitions import Definition
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.cme.instruments import Listing, definition

E9 = 10**9
SILENCE = 35


def test_51_restarted_in_mid_week(make: Any, m: Any) -> None:
    """The first packet is number 5,000,000: no GAP for the past. Instruments are UNKNOWN until
    their snapshots.
    """
    rig = make("A B SA")
    rig.put(5_000_000, m.book("31.900 =b1 100x5/2"))
    rig.put(5_000_001, m.book("32.77 =o1 50x1/1"))
    rig.put("s31", m.snapshot(31, 5_000_000, 900, "b1 100x5/2", total=2), seq=1)
    rig.put("s32", m.snapshot(32, 5_000_000, 76, "o1 50x9/1", total=2), seq=2)
    rig.play("A:5000000-5000001 B:5000000-5000001")
    assert rig.told("GAP") == []
    assert all("STALE" in text for text in rig.told())
    assert (rig.state.name, rig.state.stale_instruments) == ("RECOVERING", 2)
    assert rig.events() == ["STARTED 5000000"]
    rig.play("SA:s31,s32")
    assert [rig.book(sid) for sid in (31, 32)] == ["SYNC 900: 100x5/2 | -", "SYNC 77: - | 50x1/1"]
    assert rig.told("GAP") == []
    assert [text.split()[2] for text in rig.told("RECOVERED")] == ["31", "32"]
    assert rig.count("gaps", "lost") == (0, 0)
    assert rig.line("A", "lost") + rig.line("B", "lost") == (0, 0)


def test_51_snapshots_before_the_first_increment(make: Any, m: Any) -> None:
    """S is heard first: without an incremental packet nobody can say what a snapshot lacks. It
    comes again.
    """
    rig = make("A B SA")
    rig.put(500, m.book("31.9 =b1 100x5/2"))
    rig.put("s", m.snapshot(31, 499, 8, "b1 100x4/2"), seq=1)
    rig.play("SA:s")
    assert rig.told() == []
    rig.play("A:500 SA:s")
    assert rig.book(31) == "SYNC 9: 100x5/2 | -"


def test_51_in_any_interleaving(make: Any, m: Any) -> None:
    """B may begin before A or after it: packets below the first one processed are late, never a
    gap.
    """
    rig = make("A B SA")
    for i in range(40):
        rig.put(500 + i, m.book(f"31.{900 + i} ^b1 100x{i}/1"))
    rig.put("s", m.snapshot(31, 520, 920, "b1 100x20/1"), seq=1)
    for other in rig.interleavings(40, A="503-539", B="500-539", after="SA:s"):
        assert other.told("GAP") == [], other.seed
        assert other.book(31) == "SYNC 939: 100x39/1 | -"
        assert other.counts.get("rpt_faults", 0) == 0


def test_51_the_instruments_of_an_earlier_run_keep_their_ids(
    make: Any, m: Any, shm_dir: str
) -> None:
    """A new process takes the ring over: same names, same ids, also for instruments without a
    definition.
    """
    ids = []
    for start in (1, 500):
        rig = make()
        with Writer("cme", 1024, feed="cme", directory=shm_dir) as writer:
            rig.handler.attach(writer)
            rig.put(
                start,
                m.book(f"32.{start} ^b1 50x1/1", f"31.{start} ^b1 100x5/2")
                if start == 500
                else m.book("31.1 +b1 100x5/2", "32.1 +b1 50x1/1"),
            )
            rig.play(f"A:{start}")
            rig.handler.timer(rig.now_ns)
            ids.append([rig.handler.book(310, sid).instrument_id for sid in (31, 32)])
            assert rig.counts["quotes"] == 2
            reader = Reader("cme", "oldest", directory=shm_dir)
            assert reader.instruments[ids[0][0]].symbol == "31"
            reader.close()
    assert ids[0] == ids[1]


def listing(symbol: str, tick: int = E9 // 4, group: str = "ES") -> Listing:
    return Listing(31, symbol, 54, group, group, tick, 100 * E9)


def define(
    rig: Any, name: int | str, symbol: str, step: float, *, seq: int | None = None, **options: Any
) -> None:
    tick = options.pop("tick", E9 // 4)
    message = definition(rig.wire, listing(symbol, tick), update_ns=rig.at(step), **options)
    rig.put(name, message, seq=seq, step=step)


def test_52_definition_deletion_and_the_id_reused(make: Any, m: Any, shm_dir: str) -> None:
    """ESH6 is deleted; the next day its SecurityID is ESZ6: another symbol, another id, an empty
    book.
    """
    rig = make()
    define(rig, 1, "ESH6", 1)
    rig.put(2, m.book("31.1 +b1 100x5/2"))
    define(rig, 3, "ESH6", 3, action=b"D")
    define(rig, 4, "ESZ6", 4)
    rig.put(5, m.book("31.1 +o1 200x1/1"))
    rig.play("A:1-2")
    first = rig.handler.book(310, 31).instrument_id
    rig.told()
    rig.names[first] = "ESH6"
    rig.play("A:3-5")
    second = rig.handler.book(310, 31).instrument_id
    assert second != first
    rig.names[second] = "ESZ6"
    names = {first: "ESH6", second: "ESZ6"}
    told = [
        (names.get(int(t["instrument_id"])), text.split(" ")[1])
        for t, text in zip(rig.raw(), rig.told(), strict=True)
    ]
    assert told == [
        ("ESH6", "DEFINITION"),
        ("ESH6", "QUOTE"),
        ("ESH6", "DEFINITION"),
        ("ESH6", "CLEAR"),
        ("ESZ6", "DEFINITION"),
        ("ESZ6", "QUOTE"),
    ]
    assert rig.book(31) == "SYNC 1: - | 200x1/1"


def test_52_the_ring_has_both_names(make: Any, m: Any, shm_dir: str) -> None:
    rig = make()
    define(rig, 1, "ESH6", 1)
    define(rig, 2, "ESH6", 2, action=b"D")
    define(rig, 3, "ESZ6", 3)
    with Writer("cme", 1024, feed="cme", directory=shm_dir) as writer:
        rig.handler.attach(writer)
        rig.play("A:1-3")
        rig.handler.timer(rig.now_ns)
        reader = Reader("cme", "oldest", directory=shm_dir)
        assert sorted(one.symbol for one in reader.instruments) == ["ESH6", "ESZ6"]
        reader.close()


def test_52_a_deletion_lost_in_a_hole(make: Any, m: Any) -> None:
    """The symbol differs from what the id stood for: it is another instrument, though no D was
    seen.
    """
    rig = make()
    define(rig, 1, "ESH6", 1)
    rig.put(2, m.book("31.1 +b1 100x5/2"))
    define(rig, 4, "ESZ6", 4)
    rig.play("A:1-2 B:1-2")
    first = rig.handler.book(310, 31).instrument_id
    rig.play("A:4 B:4")
    assert rig.handler.book(310, 31).instrument_id != first
    assert rig.book(31).split(": ")[1] == "- | -"


def test_52_a_modification_changes_the_tick_size(make: Any, m: Any) -> None:
    """The same instrument, the same id, its book untouched."""
    rig = make()
    define(rig, 1, "ESH6", 1)
    rig.put(2, m.book("31.1 +b1 100x5/2"))
    define(rig, 3, "ESH6", 3, action=b"M", tick=E9 // 2)
    rig.put(4, m.book("31.2 =b1 100x6/2"))
    rig.play("A:1-4 B:1-4")
    assert rig.told("DEFINITION") == [
        "1@1 DEFINITION 31 A tick=0.25",
        "3@3 DEFINITION 31 M tick=0.5",
    ]
    assert rig.book(31) == "SYNC 2: 100x6/2 | -"
    assert rig.handler.definitions()[0].tick_size == E9 // 2


def test_52_no_total_on_the_incremental_line(make: Any, m: Any) -> None:
    """911 is null there: a definition on I completes no loop."""
    rig = make("A B NA")
    define(rig, 1, "ESH6", 1)
    rig.play("A:1")
    assert not rig.state.definitions_whole
    define(rig, "n", "ESH6", 1, seq=1, total=1)
    rig.play("NA:n")
    assert rig.state.definitions_whole
    assert "DEFINITIONS 1" in rig.events()
    assert rig.told("DEFINITION") == ["1@1 DEFINITION 31 A tick=0.25"]  # the loop says nothing new


def test_52_the_loop_lags_behind_a_modification(make: Any, m: Any) -> None:
    """N still has the definition of before: LastUpdateTime says which is the newer one."""
    rig = make("A B NA")
    define(rig, 1, "ESH6", 1)
    define(rig, 2, "ESH6", 2, action=b"M", tick=E9 // 2)
    define(rig, "n", "ESH6", 1, seq=1, total=1)
    rig.play("A:1-2 NA:n")
    assert rig.handler.definitions()[0].tick_size == E9 // 2
    assert len(rig.told("DEFINITION")) == 2


def test_52_the_loop_lags_behind_a_deletion(make: Any, m: Any) -> None:
    rig = make("A B NA")
    define(rig, 1, "ESH6", 1)
    define(rig, 2, "ESH6", 2, action=b"D")
    define(rig, "n", "ESH6", 1, seq=1, total=1)
    rig.play("A:1-2 NA:n")
    assert rig.handler.definitions() == []
    assert [text.split()[3] for text in rig.told("DEFINITION")] == ["A", "D"]


def test_52_nobody_waits_for_a_deleted_instrument(make: Any, m: Any) -> None:
    """It was STALE when it was deleted: recovery is over without it."""
    rig = make()
    define(rig, 1, "ESH6", 1)
    rig.put(2, m.book("31.1 +b1 100x5/2"))
    rig.put(4, m.book("31.3 =b1 100x6/2"))
    define(rig, 5, "ESH6", 5, action=b"D")
    rig.play("A:1-2,4-5 B:1-2,4-5")
    assert (rig.state.name, rig.state.stale_instruments, rig.state.instruments) == ("SYNC", 0, 0)
    assert rig.told("RECOVERED")[-1].split()[2] == "-"


def test_52_renamed_without_a_deletion_is_no_jump_of_rptseq(make: Any, m: Any) -> None:
    """What of the new instrument has passed is not known: its book is in doubt, and nothing is wrong with RptSeq."""
    rig = make("A B SA NA")
    define(rig, 1, "ESH6", 1)
    rig.put(2, m.book("31.1 +b1 100x5/2"))
    define(rig, "n", "ESZ6", 3, seq=1, total=1)
    rig.put(3, m.book("31.7 =b1 200x6/2"))
    rig.put("s", m.snapshot(31, 3, 7, "b1 200x6/2"), seq=1)
    rig.play("A:1-2 NA:n A:3")
    assert rig.told()[-1] == "3@3 QUOTE 31 200x6 -x0 bid/2 STALE END"
    assert rig.count("rpt_faults") == (0,)
    rig.play("SA:s")
    assert rig.book(31) == "SYNC 7: 200x6/2 | -"


def test_52_definitions_are_asked_for_again_in_a_new_sequence(make: Any, m: Any) -> None:
    """From its first packet on, too: the instruments may be others than those of the week before."""
    rig = make("A B NA")
    define(rig, "n", "ESH6", 1, seq=1, total=1)
    rig.put(9_000_000, m.heartbeat(), step=2)
    later = 49 * 3600 * 10**6
    rig.put(1, m.heartbeat(), step=later)
    for i in (1, 2):
        define(rig, f"n{i}", "ESH6", later + i, seq=1, total=1)
    rig.play("A:9000000 NA:n")
    assert not rig.handler.needs_definitions(310)
    rig.play("A:1")
    assert rig.count("epochs") == (1,)
    assert rig.handler.needs_definitions(310)
    rig.play("NA:n1 NA:n2")
    assert not rig.handler.needs_definitions(310)


def test_52_definitions_are_asked_for_again_after_a_gap(make: Any, m: Any) -> None:
    rig = make("A B NA")
    define(rig, "n", "ESH6", 1, seq=1, total=1)
    rig.put(1, m.heartbeat())
    rig.put(3, m.heartbeat())
    rig.play("NA:n A:1 B:1")
    assert not rig.handler.needs_definitions(310)
    rig.play("A:3 B:3")
    assert rig.handler.needs_definitions(310)
    rig.play("NA:n")
    assert not rig.handler.needs_definitions(310)


def test_52_filters_take_by_symbol_group_and_asset(make: Any, m: Any) -> None:
    for options, taken in (
        ({"symbols": ("ESH?",)}, True),
        ({"symbols": ("CL*",)}, False),
        ({"symbols": (), "groups": ("ES",)}, True),
        ({"symbols": (), "assets": ("E*",)}, True),
        ({"symbols": (), "groups": ("CL",)}, False),
    ):
        rig = make(**options)
        define(rig, 1, "ESH6", 1)
        rig.put(2, m.book("31.1 +b1 100x5/2", "99.1 +b1 1x1/1"))
        rig.play("A:1-2")
        assert len(rig.told("QUOTE")) == taken
        assert len(rig.handler.definitions()) == 1


def test_53_silence_of_both_lines(run: Any) -> None:
    """35 s without a packet: one event. The first packet ends it, and tells for how long."""
    rig = run(4).play("A:1 B:1")
    rig.events()
    rig.play("+35s")
    assert (rig.events(), rig.state.name) == ([], "SYNC")
    rig.play("+1s +60s +60s")
    assert [text.split()[0] for text in rig.events()] == ["SILENT"]
    assert rig.state.name == "SILENT"
    rig.play("B:2 A:2")
    assert rig.events() == [f"ALIVE {(SILENCE + 121) * E9}"]
    assert rig.state.name == "SYNC"
    rig.play("+36s")
    assert [text.split()[0] for text in rig.events()] == ["SILENT"]


def test_53_quiet_market_with_heartbeats(make: Any, m: Any) -> None:
    rig = make()
    for seq in range(1, 21):
        rig.put(seq, m.heartbeat())
        rig.play(f"A:{seq} B:{seq} +30s")
    assert rig.events() == ["STARTED 1"]
    assert rig.told() == [f"{seq}@{seq}.5 HEARTBEAT -" for seq in range(1, 21)]


def test_53_one_line_silent_is_no_silence(run: Any) -> None:
    rig = run(6)
    for seq in range(1, 7):
        rig.play(f"A:{seq} +30s")
    assert "SILENT" not in " ".join(rig.events())


def test_53_copies_count_as_life(run: Any) -> None:
    """B is 30 s behind A, and A stops: B's copies say that the venue's packets still arrive."""
    rig = run(6).play("A:1-6 B:1 +20s B:2 +20s B:3 +20s")
    assert "SILENT" not in " ".join(rig.events())


def test_54_kernel_drops_on_a_while_b_covers(run: Any, quote: Any) -> None:
    """The socket of A overflows: what the kernel threw away there B has. No gap; A's loss is on A's
    account.
    """
    rig = run(40).play("A:1-10 B:1-30 A:31-40 B:31-40")
    assert rig.told() == [quote(seq) for seq in range(1, 41)]
    assert rig.counts.get("gaps", 0) == 0
    assert rig.line("A", "lost") == (20,)
    assert rig.line("B", "lost") == (0,)


def test_54_in_any_interleaving(run: Any, quote: Any) -> None:
    """Overflows here and there, never on both at once."""
    expected = [quote(seq) for seq in range(1, 101)]
    rig = run(100)
    for seed in range(30):
        rng = random.Random(seed)
        a, b = list(range(1, 101)), list(range(1, 101))
        for _ in range(4):
            start, length, side = rng.randrange(2, 90), rng.randrange(1, 9), rng.choice((a, b))
            other = b if side is a else a
            gone = [seq for seq in range(start, start + length) if seq in other]
            side[:] = [seq for seq in side if seq not in gone]
        played = next(iter(rig.interleavings(1, A=" ".join(map(str, a)), B=" ".join(map(str, b)))))
        assert played.told() == expected, seed
        assert played.counts.get("gaps", 0) == 0, seed


def test_55_sending_times_from_the_future_and_the_past(make: Any, m: Any) -> None:
    """The venue's clock jumps ahead by years and back: the order is that of MsgSeqNum."""
    rig = make()
    times = [1, 2, 10**13, 3, 0.1, 10**12, 5]
    for seq, sent in enumerate(times, 1):
        rig.put(seq, m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1"), sent=sent)
    expected = [f"{seq}@{seq} QUOTE 31 100x{seq} -x0 bid/1 END" for seq in range(1, 8)]
    assert rig.again().play("A:1-7 B:1-7").told() == expected
    for other in rig.interleavings(40, A="1-3 5-7", B="1-4 6-7"):
        assert other.told() == expected, other.seed
        assert other.count("epochs", "gaps") == (0, 0)


@pytest.mark.parametrize("back_ns", [1, 10**9, 86_400 * 10**9])
def test_55_receive_clock_steps_back(run: Any, quote: Any, back_ns: int) -> None:
    """ts_recv is what the shell says; nothing is ordered by it and nobody waits for it."""
    rig = run(12)
    for seq in (1, 2, 4, 3, 6, 5, 7, 8, 9, 10, 11, 12):
        ts_recv = rig.at(0) - back_ns * seq
        rig.handler.packet(rig.lines["A"], rig.packets[seq], ts_recv, rig.now_ns)
    assert rig.told() == [quote(seq) for seq in range(1, 13)]
    assert rig.counts.get("gaps", 0) == 0


def test_55_timer_clock_steps_back(run: Any) -> None:
    """The clock of the timers should never go back; if it does no hole is given up early, no
    silence invented.
    """
    rig = run(12).play("A:1,2,4")
    rig.handler.timer(rig.now_ns - 3600 * E9)
    rig.handler.packet(rig.lines["A"], rig.packets[5], rig.now_ns, rig.now_ns - 10**15)
    assert rig.told("GAP") == []
    rig.play("B:3")
    assert rig.state.next_seq == 6
    assert "SILENT" not in " ".join(rig.events())


def test_55_packets_without_a_time_of_arrival(run: Any, quote: Any) -> None:
    rig = run(4)
    for seq in range(1, 5):
        rig.handler.packet(rig.lines["A"], rig.packets[seq])
    assert rig.told() == [quote(seq) for seq in range(1, 5)]
    assert rig.handler.latency_ns == 0


def test_definitions_of_the_cache_come_before_the_loop(make: Any, m: Any) -> None:
    """What a cache said is replaced by what the loop says now; the id stays."""
    rig = make("A B NA")
    rig.handler.define(
        310, Definition(310, 31, "ESH6", group="ES", tick_size=1, last_update=rig.at(0))
    )
    define(rig, "n", "ESH6", 1, seq=1, total=1)
    rig.play("NA:n")
    assert [text.split()[3:] for text in rig.told("DEFINITION")] == [
        ["A", "tick=0.000000001"],
        ["A", "tick=0.25"],
    ]
    assert len({int(tick["instrument_id"]) for tick in rig.raw()}) == 1
