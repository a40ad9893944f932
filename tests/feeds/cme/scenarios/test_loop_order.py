"""Packets of a loop that come too late or twice: no new round, and nothing lost but what is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mdfeedd.sim.cme import Feed, Venue
from mdfeedd.sim.cme.network import Network, lossy

ROUND_STEPS = 1_000


def loops(make: Any, m: Any, packets: int = 5, rounds: int = 3) -> Any:
    """A loop S of so many instruments, packets 1.1 to 3.5 by round and number, each sent later than the one before."""
    rig = make("A B SA")
    rig.put(1, m.book("31.1 +b1 100x5/2"))
    for number in range(1, rounds + 1):
        for seq in range(1, packets + 1):
            message = m.snapshot(30 + seq, 1, 1, "b1 100x5/2", time=1, total=packets)
            step = number * ROUND_STEPS + seq
            rig.put(f"{number}.{seq}", message, seq=seq, step=step)
    return rig.play("A:1 B:1")


@pytest.mark.parametrize(
    ("order", "lost"),
    [
        ("1.1 1.2 1.3 1.4 1.5 2.1 2.2 2.3 2.4 2.5", 0),
        ("1.1 1.2 1.4 1.3 1.5 2.1 2.2 2.3 2.4 2.5", 0),
        ("1.1 1.4 1.5 1.2 1.3 2.1 2.2 2.3 2.4 2.5", 0),
        ("1.1 1.2 1.4 1.5 2.1 2.2 2.3 2.4 2.5", 1),
        ("1.1 1.5 1.3 2.1 2.2 2.3 2.4 2.5", 2),
        ("1.1 1.2 1.3 1.4 2.1 1.5 2.2 2.3 2.4 2.5", 0),  # overtaken by the next round
        ("1.1 1.2 1.2 1.3 1.4 1.3 1.5 1.5 2.1 2.1 2.2", 0),  # twice
        ("1.1 1.2 1.3 1.4 1.5 2.2 2.1 2.3 2.4 2.5", 0),  # the first of a round
        ("1.1 1.2 1.3 1.4 1.5 2.3 2.4 2.5", 2),
        ("1.3 1.2 1.4 1.5 2.1", 0),  # before we came
    ],
)
def test_a_late_packet_of_a_loop_is_no_new_round(make: Any, m: Any, order: str, lost: int) -> None:
    rig = loops(make, m)
    for name in order.split():
        rig.play(f"SA:{name}")
    assert rig.line("SA", "lost") == (lost,)


def test_a_late_snapshot_still_mends(make: Any, m: Any) -> None:
    rig = loops(make, m).play("SA:1.1,1.2,1.4,1.3")
    assert rig.line("SA", "lost") == (0,)
    assert rig.handler.book(310, 33).state == "SYNC"


def test_the_clock_of_the_loop_goes_back(make: Any, m: Any) -> None:
    """By more than packets overtake each other: what follows is the loop, not late for ever."""
    rig = loops(make, m)
    rig.put("ahead", m.snapshot(31, 1, 1, "b1 100x5/2", time=1, total=5), seq=1, step=10**9)
    rig.play("SA:1.1,1.2,1.3,1.4,1.5,ahead,2.2,2.3,2.5")
    assert rig.line("SA", "lost") == (1,)


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_reordering_are_told_apart(seed: int, make: Any) -> None:
    """What the loops' lines count as lost is what the network lost, but for the ends of rounds, which nobody
    misses, and for the two packets in which we came and went.
    """
    venue = Venue(seed, instruments=20, orders=False, rate=2_000, loop_rate=20_000)
    rig = make("A B NA NB SA SB")
    venue.run(50)
    sent = [packet for packet in venue.run(1_000) if packet.feed != Feed.ORDERS]
    share, reorder = random.Random(seed).choice(((0.03, 0.02), (0, 0.05), (0.03, 0)))
    network = Network(seed, loss=lossy(share), reorder=reorder, skew_ns=(200, 5_000))
    lines = {(0, 0): "A", (0, 1): "B", (1, 0): "NA", (1, 1): "NB", (2, 0): "SA", (2, 1): "SB"}
    for time_ns, feed, side, payload in network.deliver(sent):
        rig.handler.packet(rig.lines[lines[feed, side]], payload, time_ns, time_ns)
    for (feed, side), name in lines.items():
        if feed == Feed.INCREMENTAL:
            continue
        (told,) = rig.line(name, "lost")
        lost = network.lost_packets[feed, side]
        assert told <= lost, name
        assert told >= lost * 0.8 - 3, name
