"""Stories of the other scenarios, each on two lines that lose different packets, in any legal order
of arrival.

A story fills packets 1 to n of the incremental feed. What comes out of any interleaving is what
comes out of one complete line: ticks, orders, depth, books, and the counts that say what happened.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from mdfeedd.sim.cme import encode
from mdfeedd.sim.cme.instruments import Listing, definition

if TYPE_CHECKING:
    from collections.abc import Callable

E9 = 10**9
ROUNDS = 25
LIKEWISE = (
    "unknown",
    "incomplete_events",
    "ended_events",
    "resets",
    "entries",
    "unmapped",
    "entry_faults",
    "rpt_faults",
    "crossed",
    "stale",
    "natural",
    "definitions",
    "order_faults",
    "quotes",
    "trades",
    "others",
    "messages",
    "skipped",
)


def s06_quiet_between_bursts(rig: Any, m: Any) -> None:
    for seq in range(1, 30):
        rig.put(seq, m.book(f"31.{seq} ^b1 100x{seq}/1") if seq % 5 else m.heartbeat())


def s14_tradeable_sizes(rig: Any, m: Any) -> None:
    for seq in range(1, 30):
        message = m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1")
        message[1][0][0] = (*message[1][0][0], seq)
        rig.put(seq, message)


def s17_unknown_templates(rig: Any, m: Any) -> None:
    strange = encode.framed(200, 14, 8, b"\xa5" * 40)
    for seq in range(1, 30):
        book = m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1")
        rig.put(seq, *((strange, book, strange) if seq % 3 else (book, m.workup(31, 100 * E9, 17))))


def s20_groups_that_nobody_reads(rig: Any, m: Any) -> None:
    for seq in range(1, 30):
        ids = [(1000 * seq + i, i, 1, 1, 0) for i in range(seq % 7)]
        rig.put(
            seq,
            m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1", orders=ids),
            m.heartbeat(),
        )


def s22_several_events_a_packet(rig: Any, m: Any) -> None:
    rpt = 0
    for seq in range(1, 30):
        messages = []
        for part in range(seq % 4 + 1):
            rpt += 1
            mei = 0x84 if (seq + part) % 3 else 0x04
            messages.append(m.book(f"31.{rpt} {'+' if rpt == 1 else '='}b1 100x{rpt}/1", mei=mei))
        rig.put(seq, *messages, step=seq // 3)
    rig.put(30, m.book(mei=0x80))


def s22_statuses_within_events(rig: Any, m: Any) -> None:
    for seq in range(1, 31):
        if seq % 3 == 2:
            rig.put(seq, m.status((17, 21)[seq % 2], security_id=31, group="ES"))
        else:
            rpt = seq - seq // 3
            rig.put(
                seq, m.trades(f"31.{rpt} 100x1 buy 2 #{seq}", mei=0x81 if seq % 3 == 0 else 0x01)
            )


def s25_order_references(rig: Any, m: Any) -> None:
    for seq in range(1, 30):
        entries = [
            f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1",
            f"32.{seq} {'+' if seq == 1 else '='}o1 50x{seq}/1",
        ]
        rig.put(
            seq,
            m.book(
                *entries,
                orders=[
                    (seq, seq, 1, 1, 0),
                    (seq, seq, 2, 2, 0),
                    (seq - 1, 1, 0, 1, 2),
                    (9, 9, 9, 7, 0),
                ],
            ),
        )


def s27_thru_from_overlay(rig: Any, m: Any) -> None:
    rpt = 0
    for seq in range(1, 40):
        entries = []
        for text in (
            "+b1 100x1/1",
            "+b2 99x2/1",
            "^b2 98x3/1",
            "!b1 0x0",
            "+b1 97x1/1",
            "~b1 97x1/1",
        )[: seq % 7]:
            rpt += 1
            entries.append(f"31.{rpt} {text}")
        rig.put(seq, m.book(*entries))


def s28_implied_and_outright(rig: Any, m: Any) -> None:
    for seq in range(1, 40):
        side, level = "bEoF"[seq % 4], "100" if seq % 4 < 2 else "101"
        rig.put(
            seq,
            m.book(
                f"31.{seq} {'+' if seq < 5 else '^'}{side}1 {level}.{seq}x{seq}",
                mei=0x90 if seq % 2 else 0x84,
            ),
        )


def s29_open_with_a_crossed_book(rig: Any, m: Any) -> None:
    rig.put(1, m.status(21, security_id=31, group="ES"))
    rig.put(2, m.book("31.1 +b1 101x5/2", "31.2 +o1 100x5/2"))
    rig.put(3, m.status(15, security_id=31, group="ES"))
    rig.put(4, m.book("31.3 =b1 101x6/2"))
    rig.put(5, m.status(17, security_id=31, group="ES"))
    rig.put(6, m.trades("31.4 100x5 buy 2 #1", mei=0x01))
    rig.put(7, m.book("31.5 =b1 101x1/1", mei=0x84))
    rig.put(8, m.book("31.6 -b1 101x1/1", mei=0x84))


def s30_nulls_and_negatives(rig: Any, m: Any) -> None:
    for seq in range(1, 30):
        px = "null" if seq % 4 == 0 else f"-{seq}.25"
        rig.put(
            seq,
            m.book(
                f"31.{seq} {'+' if seq == 1 else '^'}b1 {px}x{'null' if seq % 5 == 0 else seq}/1"
            ),
        )


def s31_resets_of_books(rig: Any, m: Any) -> None:
    for seq in range(1, 40):
        rpt = seq
        text = (
            f"31.{rpt} J"
            if seq % 5 == 0
            else f"31.{rpt} {'+' if seq % 5 == 1 else '^'}b1 100x{seq}/1"
        )
        rig.put(seq, m.book(text, f"32.{seq} {'+' if seq == 1 else '='}o1 50x{seq}/1"))


def s33_all_templates(rig: Any, m: Any) -> None:
    for seq in range(1, 50):
        rig.put(
            seq,
            (
                m.book(f"31.{seq} {'+' if seq < 7 else '^'}b1 100x{seq}/1", mei=0x84 * (seq % 2)),
                m.trades(f"31.{seq} 100x1 buy 2 #{seq}", mei=0x81 * (seq % 2)),
                m.volume([(31, seq, seq)], mei=0x82 * (seq % 2)),
                m.session_statistics([(31, seq, "478NO"[seq % 5], 100 * E9, seq, 0)], mei=0x88),
                m.daily_statistics(
                    [(31, seq, "6BCW"[seq % 4], 100 * E9, seq, 20_000, 1)], mei=0x88
                ),
                m.limits([(31, seq, 110 * E9, 90 * E9, None)], mei=0x88),
            )[seq % 6],
        )


def s35_faults_of_the_venue(rig: Any, m: Any) -> None:
    for seq in range(1, 40):
        rpt = seq + 3 * (seq // 8)
        rig.put(
            seq,
            m.book(
                f"31.{rpt} {'+' if seq == 1 else '='}b1 100x{seq}/1",
                f"32.{seq} {'+' if seq == 1 else '='}o1 50x1/1",
            ),
        )


def s36_first_seen_in_mid_week(rig: Any, m: Any) -> None:
    for seq in range(1, 40):
        side = "bo"[seq % 2]
        rig.put(seq, m.book(f"31.{7000 + seq} ^{side}{seq // 2 % 10 + 1} {100 + seq}x{seq}/1"))


def s49_resets(rig: Any, m: Any) -> None:
    rpt = 0
    for seq in range(1, 50):
        rpt = 0 if seq % 10 == 0 else rpt + 1
        rig.put(
            seq,
            m.channel_reset(310)
            if not rpt
            else m.book(
                f"31.{rpt} {'+' if rpt == 1 else '='}b1 100x{seq}/1", mei=0x84 * (seq % 3 > 0)
            ),
        )


def s52_definitions_come_and_go(rig: Any, m: Any) -> None:
    for seq in range(1, 50):
        symbol = f"ES{seq // 8}"
        listing = Listing(31, symbol, 54, "ES", "ES", E9 // 4 * (1 + seq % 8 // 4), 100 * E9)
        action = {0: b"A", 4: b"M", 7: b"D"}.get(seq % 8)
        if action:
            rig.put(seq, definition(rig.wire, listing, action=action, update_ns=rig.at(seq)))
        elif seq < 8:
            rig.put(seq, m.heartbeat())
        else:
            rpt = seq % 8 if seq % 8 < 4 else seq % 8 - 1
            rig.put(seq, m.book(f"31.{rpt} {'+' if rpt == 1 else '='}b1 100x{seq}/1"))


def s55_clocks_of_the_venue(rig: Any, m: Any) -> None:
    rng = random.Random(55)
    for seq in range(1, 40):
        rig.put(
            seq,
            m.book(f"31.{seq} {'+' if seq == 1 else '='}b1 100x{seq}/1"),
            sent=rng.choice((seq, seq - 1, 10**7, 10**9 * seq)),
        )


STORIES = [
    value for name, value in sorted(globals().items()) if name[0] == "s" and name[1:3].isdigit()
]


def outcome(rig: Any) -> tuple[Any, ...]:
    """All that is to be the same."""
    handler = rig.handler
    books = [rig.book(sid) for sid in sorted(handler.security_ids(310))]
    orders = [rig.orders(sid) for sid in sorted(handler.security_ids(310))]
    counts = {name: handler.counts[name] for name in LIKEWISE}
    depth, records = handler.take_depth(), handler.take_orders()
    depth["ts_recv"] = records["ts_recv"] = 0
    return rig.raw().tobytes(), depth.tobytes(), records.tobytes(), books, orders, counts


@pytest.mark.parametrize("story", STORIES, ids=[story.__name__ for story in STORIES])
def test_story_in_any_interleaving(make: Any, m: Any, story: Callable[[Any, Any], None]) -> None:
    rig = make(orders=True, depth=True)
    story(rig, m)
    last = max(rig.packets)
    assert sorted(rig.packets) == list(range(1, last + 1))
    complete = rig.again().play(f"A:1-{last}")
    assert len(complete.raw()) >= 3
    expected = outcome(complete)
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        only = {seq: rng.choice("AB") for seq in range(2, last) if rng.random() < 0.4}
        a = [seq for seq in range(1, last + 1) if only.get(seq) != "B"]
        b = [seq for seq in range(1, last + 1) if only.get(seq) != "A"]
        for other in rig.interleavings(2, A=" ".join(map(str, a)), B=" ".join(map(str, b))):
            assert outcome(other) == expected, (seed, other.seed)
            assert other.counts.get("gaps", 0) == 0


@pytest.mark.parametrize("story", STORIES, ids=[story.__name__ for story in STORIES])
def test_story_with_holes_in_any_interleaving(
    make: Any, m: Any, story: Callable[[Any, Any], None]
) -> None:
    """The same with packets that both lose: each told once, and all else as if one line had lost
    just those.
    """
    rig = make(orders=True, depth=True)
    story(rig, m)
    last = max(rig.packets)
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        both = {seq for seq in range(2, last) if rng.random() < 0.08}
        kept = [seq for seq in range(1, last + 1) if seq not in both]
        only = {seq: rng.choice("AB") for seq in kept[1:-1] if rng.random() < 0.2}
        names = ",".join(map(str, kept))
        expected = outcome(rig.again().play(f"A:{names} B:{names} +20ms"))
        a = [seq for seq in kept if only.get(seq) != "B"]
        b = [seq for seq in kept if only.get(seq) != "A"]
        for other in rig.interleavings(
            2, A=" ".join(map(str, a)), B=" ".join(map(str, b)), after="+20ms"
        ):
            missing = [
                seq
                for text in other.told("GAP")
                for seq in range(*(int(x) + i for i, x in enumerate(text.split()[3].split(".."))))
            ]
            assert missing == sorted(both), (seed, other.seed)
            # Adjacent holes may be told as one or as several; then only the books can be compared.
            if len(other.told("GAP")) == len(runs(both)):
                assert outcome(other) == expected, (seed, other.seed)


def runs(seqs: set[int]) -> list[int]:
    return [seq for seq in seqs if seq - 1 not in seqs]
