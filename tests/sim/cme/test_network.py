"""The faulty network keeps books of what it did: what is not lost arrives, what is lost is recorded."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from mdfeedd.sim.cme import Feed, Sent, Venue
from mdfeedd.sim.cme.network import ALL_FEEDS, Cut, Delivered, Network, holes, lossy

MS = 1_000_000


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    return Venue(21, instruments=4).run(400)


def seqs(delivered: list[Delivered], feed: int, side: int) -> list[int]:
    return [
        struct.unpack_from("<I", d.payload)[0]
        for d in delivered
        if (d.feed, d.side) == (feed, side)
    ]


def own(sent: list[Sent], feed: int = Feed.INCREMENTAL) -> list[int]:
    return [packet.seq for packet in sent if packet.feed == feed]


def test_good_network_delivers_all_on_both_sides_in_order(sent: list[Sent]) -> None:
    network = Network(1)
    delivered = network.deliver(sent)
    for feed in ALL_FEEDS:
        for side in (0, 1):
            assert seqs(delivered, feed, side) == own(sent, feed)
    assert not any(network.lost.values())
    times = [d.time_ns for d in delivered]
    assert times == sorted(times)
    assert all(d.time_ns > sent[0].time_ns for d in delivered)


def test_loss_on_every_line_is_recorded_exactly(sent: list[Sent]) -> None:
    network = Network(2, loss=lossy(0.2), burst=0.002, duplicate=0.1, reorder=0.1)
    delivered = network.deliver(sent)
    assert network.doubled
    assert network.reordered
    for side in (0, 1):
        line = (Feed.INCREMENTAL, side)
        arrived = set(seqs(delivered, *line))
        assert arrived | network.lost[line] == set(own(sent))
        assert not arrived & network.lost[line]
    both = network.lost[0, 0] & network.lost[0, 1]
    assert both == network.lost_both()
    assert both
    assert {s for first, last in network.holes() for s in range(first, last + 1)} == both


def test_never_both_leaves_every_packet_on_one_side(sent: list[Sent]) -> None:
    network = Network(3, loss=lossy(0.5), burst=0.01, never_both=True)
    delivered = network.deliver(sent)
    assert network.lost[0, 0]
    assert network.lost[0, 1]
    assert not network.lost_both()
    assert set(seqs(delivered, 0, 0)) | set(seqs(delivered, 0, 1)) == set(own(sent))


def test_exact_packets_are_dropped_where_said(sent: list[Sent]) -> None:
    network = Network(4, drop={(0, 0): range(5, 10), (0, 1): {7}})
    network.deliver(sent)
    assert network.lost[0, 0] == {5, 6, 7, 8, 9}
    assert network.lost[0, 1] == {7}
    assert network.holes() == [(7, 7)]


def test_cut_line_is_silent_and_comes_back(sent: list[Sent]) -> None:
    middle = sent[len(sent) // 2].time_ns
    cut = Cut(side=1, from_ns=middle - 10 * MS, to_ns=middle + 10 * MS)
    network = Network(5, cuts=[cut])
    delivered = network.deliver(sent)
    gone = {p.seq for p in sent if not p.feed and cut.from_ns <= p.time_ns < cut.to_ns}
    assert network.lost[0, 1] == gone
    assert gone
    assert not network.lost[0, 0]
    assert seqs(delivered, 0, 1)[-1] == own(sent)[-1]


def test_burst_drops_consecutive_packets(sent: list[Sent]) -> None:
    network = Network(6, burst=0.01)
    network.deliver(sent)
    assert max(last - first for first, last in holes(network.lost[0, 0])) >= 2


def test_either_side_is_first_by_up_to_the_skew(sent: list[Sent]) -> None:
    delivered = Network(7, skew_ns=(200, 50 * MS)).deliver(sent)
    first: Counter[int] = Counter()
    leads = []
    arrived: dict[int, tuple[int, int]] = {}
    for d in delivered:
        if d.feed:
            continue
        seq = struct.unpack_from("<I", d.payload)[0]
        if seq in arrived:
            leads.append(d.time_ns - arrived[seq][0])
        else:
            arrived[seq] = (d.time_ns, d.side)
            first[d.side] += 1
    assert min(first.values()) > 10
    assert max(leads) < 60 * MS
    assert max(leads) > 1000 * min(leads)


def test_leader_is_always_first(sent: list[Sent]) -> None:
    delivered = Network(8, leader=1, skew_ns=(MS, MS)).deliver(sent)
    firsts: dict[int, int] = {}
    for d in delivered:
        if not d.feed:
            firsts.setdefault(struct.unpack_from("<I", d.payload)[0], d.side)
    assert set(firsts.values()) == {1}


def test_single_line_has_no_other_side(sent: list[Sent]) -> None:
    network = Network(9, sides=(0,), loss=lossy(0.1))
    assert {d.side for d in network.deliver(sent)} == {0}
    assert network.lost_both() == network.lost[0, 0] != set()


def test_same_seed_gives_the_same_faults(sent: list[Sent]) -> None:
    def run(seed: int) -> list[Delivered]:
        return Network(seed, loss=lossy(0.1), duplicate=0.1, reorder=0.1).deliver(sent)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_delivery_in_portions_keeps_what_is_still_on_its_way(sent: list[Sent]) -> None:
    whole = Network(10, loss=lossy(0.1)).deliver(sent)
    network = Network(10, loss=lossy(0.1))
    parts: list[Delivered] = []
    for at in range(0, len(sent), 50):
        portion = sent[at : at + 50]
        parts += network.deliver(portion, until_ns=portion[-1].time_ns)
    parts += network.deliver([])
    assert parts == whole


def test_share_beyond_one() -> None:
    with pytest.raises(ValueError, match="reorder"):
        Network(1, reorder=1.5)


def test_holes_are_runs() -> None:
    assert holes([]) == []
    assert holes([9, 3, 4, 5]) == [(3, 5), (9, 9)]


def test_quiet_time_without_faults() -> None:
    venue = Venue(22, instruments=2)
    network = Network(11, loss=lossy(0.5))
    first = venue.run(50)
    network.faults_until_ns = venue.now_ns
    network.deliver(first)
    before = dict(network.lost_packets)
    second = venue.settle()
    assert len(network.deliver(second)) == 2 * len(second)
    assert network.lost_packets == before
