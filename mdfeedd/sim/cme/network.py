"""Two lines between the venue and a receiver, and all that can go wrong on them.

    Sent ──┬─► line A: loss, bursts, cuts, doubles, reordering, delay ─┐
           └─► line B: the same, by its own dice ──────────────────────┴─► Delivered, in order of arrival

A line keeps the order of its packets unless `reorder` says otherwise, as real lines do. Which side is first, and
by how much (`skew_ns`), changes from time to time. What a side lost is in `lost`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.sim.cme.entries import Feed, Sent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["ALL_FEEDS", "SIDES", "Cut", "Delivered", "Network", "holes", "lossy"]

ALL_FEEDS: Final = tuple(Feed)
SIDES: Final = (0, 1)  # A and B
SHORTEST_SKEW_NS: Final = 200
LONGEST_SKEW_NS: Final = 50_000_000
_SKEW_PACKETS: Final = 60  # that a skew lasts, about
_REORDER_NS: Final = 200_000  # how late a packet out of order is, at most
_BURST: Final = (3, 40)  # packets that an overflowing buffer drops


class Delivered(NamedTuple):
    """A packet that arrived. `side`: 0 A, 1 B."""

    time_ns: int
    feed: int
    side: int
    payload: bytes


class Cut(NamedTuple):
    """A line that is dead for a time; feed None: all feeds of that side."""

    side: int
    from_ns: int
    to_ns: int
    feed: int | None = None


def lossy(
    share: float, *, sides: Iterable[int] = SIDES, feeds: Iterable[int] = ALL_FEEDS
) -> dict[tuple[int, int], float]:
    """The `loss` of a network that loses this share on all these lines."""
    feeds = tuple(feeds)
    return {(feed, side): share for side in sides for feed in feeds}


def holes(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, as (first, last)."""
    runs: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if runs and runs[-1][1] == seq - 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return runs


class Network:
    """Delivers packets with faults, the same for the same seed and packets.

    loss: share of packets lost by (feed, side). drop: exact MsgSeqNums lost by (feed, side), in every epoch.
    burst: chance per packet that a line's buffer overflows and drops some more. never_both: what one side lost,
    the other has (but for `drop` and `cuts`). duplicate, reorder: shares of packets. delay_ns: of the faster side.
    skew_ns: least and most lead of the faster side. leader: the side that is always faster; None: either.
    record=False only counts what is lost, for runs without end. Set `faults_until_ns` (say, to the venue's clock
    before it settles) for a time in which nothing is lost by chance, so that a receiver can recover.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        loss: Mapping[tuple[int, int], float] | None = None,
        drop: Mapping[tuple[int, int], Collection[int]] | None = None,
        burst: float = 0.0,
        never_both: bool = False,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        delay_ns: tuple[int, int] = (5_000, 12_000),
        skew_ns: tuple[int, int] = (SHORTEST_SKEW_NS, LONGEST_SKEW_NS),
        leader: int | None = None,
        cuts: Sequence[Cut] = (),
        sides: Sequence[int] = SIDES,
        record: bool = True,
    ) -> None:
        for name, share in (("burst", burst), ("duplicate", duplicate), ("reorder", reorder)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: a share of packets is 0 to 1, not {share}")
        self._rng = random.Random(f"network {seed}")  # noqa: S311 - chance, not secrets
        self._loss = dict(loss or {})
        self._drop = dict(drop or {})
        self._burst = burst
        self._never_both = never_both
        self._duplicate = duplicate
        self._reorder = reorder
        self._delay_ns = delay_ns
        self._skew_ns = skew_ns
        self._leader = leader
        self.cuts: tuple[Cut, ...] = tuple(cuts)
        self._sides = tuple(sides)
        self._bursting: dict[tuple[int, int], int] = defaultdict(int)
        self._last_ns: dict[tuple[int, int], int] = defaultdict(int)
        self._offset_ns = [0, 0]
        self._queue: list[tuple[int, int, Delivered]] = []
        self._count = 0
        self._draw_skew()
        self.lost: dict[tuple[int, int], set[int]] = defaultdict(set)
        self.lost_in: dict[tuple[int, int, int], set[int]] = defaultdict(set)  # feed, side, epoch
        self.faults_until_ns: int | None = None  # what is sent from then on is not lost
        self.lost_packets: Counter[tuple[int, int]] = Counter()
        self.covered: Counter[int] = Counter()  # by feed: what one side lost and another delivered
        self.uncovered: Counter[int] = Counter()  # by feed: what no side delivered
        self.hole_counts: Counter[int] = Counter()  # by feed: runs of uncovered packets
        self._in_hole: dict[int, bool] = defaultdict(bool)
        self._losing: Counter[int] = Counter()
        self._record = record
        self.doubled: int = 0
        self.reordered: int = 0

    def deliver(self, sent: Iterable[Sent], *, until_ns: int | None = None) -> list[Delivered]:
        """What arrives of these packets, in order of arrival.

        With `until_ns`, what arrives later is kept for the next call: for runs that are looked at on the way.
        """
        for packet in sent:
            self._send(packet)
        arrived: list[Delivered] = []
        while self._queue and (until_ns is None or self._queue[0][0] <= until_ns):
            arrived.append(heapq.heappop(self._queue)[2])
        return arrived

    def lose_next(self, packets: int, feed: int = Feed.INCREMENTAL) -> None:
        """Lose the next packets of a feed on all sides."""
        self._losing[feed] += packets

    def heal(self, now_ns: int) -> None:
        """What is sent from now on is not lost."""
        self.faults_until_ns = now_ns
        self._losing.clear()
        self._bursting.clear()
        self.cuts = ()

    def lost_both(self, epoch: int = 0, feed: int = Feed.INCREMENTAL) -> set[int]:
        """MsgSeqNums that no side delivered. Meant for the incremental feed, whose numbers are unique."""
        each = [self.lost_in[feed, side, epoch] for side in self._sides]
        return set.intersection(*each)

    def holes(self, epoch: int = 0) -> list[tuple[int, int]]:
        """The gaps that a receiver must tell, if something came before and after each: (first, last)."""
        return holes(self.lost_both(epoch))

    def _send(self, packet: Sent) -> None:
        rng = self._rng
        if rng.random() < 1 / _SKEW_PACKETS:
            self._draw_skew()
        base_ns = packet.time_ns + rng.randint(*self._delay_ns)
        kept_from_loss = rng.choice(self._sides) if self._never_both else None
        losing = self._losing[packet.feed] > 0
        if losing:
            self._losing[packet.feed] -= 1
        arriving = 0
        for side in self._sides:
            line = (int(packet.feed), side)
            lost = losing or self._is_cut(packet, side)
            if lost or self._loses(packet, line, side == kept_from_loss):
                self.lost_packets[line] += 1
                if self._record:
                    self.lost[line].add(packet.seq)
                    self.lost_in[(*line, packet.epoch)].add(packet.seq)
                continue
            arriving += 1
            time_ns = max(base_ns + self._offset_ns[side], self._last_ns[line] + 1)
            if self._reorder and rng.random() < self._reorder:
                self.reordered += 1
                time_ns += rng.randrange(1, _REORDER_NS)
            else:
                self._last_ns[line] = time_ns
            self._arrive(time_ns, packet, side)
            if self._duplicate and rng.random() < self._duplicate:
                self.doubled += 1
                self._arrive(time_ns + rng.randrange(1, _REORDER_NS), packet, side)
        self._tally(packet.feed, arriving)

    def _tally(self, feed: int, arriving: int) -> None:
        if not arriving:
            self.uncovered[feed] += 1
            self.hole_counts[feed] += not self._in_hole[feed]
        elif arriving < len(self._sides):
            self.covered[feed] += 1
        self._in_hole[feed] = not arriving

    def _arrive(self, time_ns: int, packet: Sent, side: int) -> None:
        self._count += 1
        delivered = Delivered(time_ns, int(packet.feed), side, packet.payload)
        heapq.heappush(self._queue, (time_ns, self._count, delivered))

    def _loses(self, packet: Sent, line: tuple[int, int], kept: bool) -> bool:
        if packet.seq in self._drop.get(line, ()):
            return True
        if self.faults_until_ns is not None and packet.time_ns >= self.faults_until_ns:
            return False
        rng = self._rng
        share = self._loss.get(line, 0.0)
        lost = bool(share) and rng.random() < share
        if self._burst and rng.random() < self._burst and not self._bursting[line]:
            self._bursting[line] = rng.randint(*_BURST)
        if self._bursting[line]:
            self._bursting[line] -= 1
            lost = True
        return lost and not kept

    def _is_cut(self, packet: Sent, side: int) -> bool:
        return any(
            cut.side == side
            and cut.from_ns <= packet.time_ns < cut.to_ns
            and cut.feed in (None, packet.feed)
            for cut in self.cuts
        )

    def _draw_skew(self) -> None:
        """Between the bounds, every order of magnitude as likely as the next."""
        rng = self._rng
        low, high = (math.log(max(1, bound)) for bound in self._skew_ns)
        leader = rng.choice((0, 1)) if self._leader is None else self._leader
        self._offset_ns[leader] = 0
        self._offset_ns[1 - leader] = int(math.exp(rng.uniform(low, high)))
