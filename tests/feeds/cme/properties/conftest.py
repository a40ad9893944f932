"""A venue, two faulty lines and a handler, and what must hold of the ticks whatever was lost.

A seed names everything: the venue, the network, the handler's options. One venue serves several seeds, since
making it takes longest. A seed that fails is printed, and repeated alone with MDFEEDD_SEED; MDFEEDD_SEEDS
multiplies how many are played.
"""

from __future__ import annotations

import collections
import itertools
import operator
import os
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mdfeedd.feeds.cme.codec import EventCode, Feed, Handler
from mdfeedd.sim.cme.checks import book_difference, expected_trades, order_book_difference
from mdfeedd.sim.cme.loops import LOOPING
from mdfeedd.sim.cme.network import Delivered, Network, holes, lossy
from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, TICK, TRADE, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mdfeedd.sim.cme import Venue

TIMES = int(os.environ.get("MDFEEDD_SEEDS", "1"))
ALONE = os.environ.get("MDFEEDD_SEED")
SECOND_NS = 1_000_000_000
MOST_SIZE = 2**32 - 1
LONG = 10  # rounds of the loops after which the network gets better
MAX_OPEN_GAPS = 64  # that a channel keeps apart
DEAD = 100  # rounds of the loops after which nothing is going to recover any more

Touch = tuple[int, int, int, int]


def touch_of(bid: Any, ask: Any) -> Touch:
    """As a tick says it: bid price and size, ask price and size."""
    rows = [(row[0], min(row[1], MOST_SIZE)) if row else (PRICE_UNDEF, 0) for row in (bid, ask)]
    return (*rows[0], *rows[1])


def _book_wrong(book: Any, state: Any) -> str:
    wrong = book_difference(book, state)
    if not wrong and state and book.rpt_seq != state.rpt_seq:
        return f"RptSeq {book.rpt_seq}, in truth {state.rpt_seq}"
    return wrong


def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    """All ticks of some arrays: by their bytes, for numpy compares the fields of each array with those of the others."""
    return np.frombuffer(b"".join([part.tobytes() for part in parts]), TICK).copy()


class Side:
    """One channel of a play: its venue, its lines, what the handler said of it."""

    def __init__(self, venue: Venue, handler: Handler) -> None:
        self.venue = venue
        self.channel: int = venue.channel_id
        self.handler = handler
        handler.add_channel(self.channel)
        self.lines = {
            (feed, side): handler.add_line(self.channel, feed, side)
            for feed in Feed
            for side in (0, 1)
        }
        self.brought: collections.Counter[tuple[int, int]] = collections.Counter()
        self.epoch = venue.channel.epoch
        self.sids: dict[int, int] = {}  # by instrument id
        self.firsts: dict[int, int] = {}  # the first packet processed, by epoch
        self.lasts: dict[int, int] = {}

    def note(self, events: Iterable[Any]) -> None:
        """Keep what will not be known afterwards."""
        for event in events:
            if event.channel == self.channel and event.code == EventCode.EPOCH:
                self.epoch += 1
                self.lasts[self.epoch - 1] = event.first - 1
                self.firsts[self.epoch] = event.last
            if event.channel == self.channel and event.code == EventCode.STARTED:
                self.firsts[self.epoch] = event.first
        for sid in self.handler.security_ids(self.channel):
            self.sids[self.handler.book(self.channel, sid).instrument_id] = sid
        self.lasts[self.epoch] = self.handler.state(self.channel).next_seq - 1

    def has_orders(self, sid: int) -> bool:
        """Whether the loop of orders ever shows the instrument."""
        known = self.venue.instruments.get(sid)
        return known is not None and known.listing.orders

    def missing(self, network: Network) -> dict[int, set[int]]:
        """By epoch, the packets that both lines lost between the first and the last one processed."""
        return {
            epoch: {seq for seq in network.lost_both(epoch) if first <= seq <= self.lasts[epoch]}
            for epoch, first in self.firsts.items()
        }

    def hides_a_reset(self, network: Network) -> bool:
        """Whether holes swallowed a channel reset, and an instrument's RptSeq came to where it was, unseen.

        What follows then looks as if nothing of the instrument had been lost; no field tells otherwise.
        """
        truth = self.venue.truth
        for epoch, missing in self.missing(network).items():
            for reset in (seq for at, seq in truth.resets if at == epoch and seq in missing):
                before = [truth.at(a - 1, epoch) for a, _ in holes(missing) if a <= reset]
                after = [truth.at(b, epoch) for _, b in holes(missing) if b >= reset]
                for sid in truth.latest:
                    was, is_now = (
                        {at[sid].rpt_seq for at in states if sid in at}
                        for states in (before, after)
                    )
                    if was & is_now - {0}:
                        return True
        return False

    @cached_property
    def _touches(self) -> dict[tuple[int, bool], dict[tuple[int, int], set[Touch]]]:
        """By instrument and book, then by packet (epoch, seq): the touches when an event of it ended."""
        found: dict[tuple[int, bool], dict[tuple[int, int], set[Touch]]] = {}
        for event in self.venue.truth.events:
            for sid, state in event.states.items():
                for implied, touch in ((False, state.touch), (True, state.implied_touch)):
                    at = found.setdefault((sid, implied), {})
                    at.setdefault((event.epoch, event.seq), set()).add(touch_of(*touch))
        return found

    def right_touches(self, epoch: int, seq: int, sid: int, *, implied: bool) -> set[Touch]:
        """All touches of the instrument that a quote of this packet may show."""
        right = set(self._touches.get((sid, implied), {}).get((epoch, seq), ()))
        state = self.venue.truth.state(sid, seq, epoch)
        if state is None:
            return right | {touch_of(None, None)}
        return right | {touch_of(*(state.implied_touch if implied else state.touch))}


class Play:
    """A handler that is fed by one or several venues, and everything it said."""

    def __init__(self, *venues: Venue, **options: Any) -> None:
        limits = {"max_instruments": 256, "recovery_entries": 1 << 15, "max_orders": 1 << 14}
        self.handler = Handler(**(limits | options))
        self.sides = [Side(venue, self.handler) for venue in venues]
        self.one = self.sides[0]
        self.orders = bool(options.get("orders"))
        self.now_ns = 0
        self._taken: list[tuple[Side, int, np.ndarray]] = []  # with the epoch they are of
        self.events: list[Any] = []

    def feed(self, delivered: Iterable[Delivered], side: Side | None = None) -> None:
        """Packets of one channel arrive."""
        side = side or self.one
        packet, lines = self.handler.packet, side.lines
        weeks = side.epoch != side.venue.channel.epoch  # then each tick belongs to one of them
        for time_ns, feed, line, payload in delivered:
            if time_ns > self.now_ns + SECOND_NS > SECOND_NS:  # a pause, in which timers ran
                self.handler.timer(time_ns - 1)
                self.take(side)
            self.now_ns = max(self.now_ns, time_ns)
            packet(lines[feed, line], payload, time_ns, time_ns)
            side.brought[feed, line] += 1
            if weeks:
                self.take(side)
        self.take(side)

    def take(self, side: Side) -> None:
        """Take what was said of a channel since the last time."""
        events = self.handler.take_events()
        self.events += events
        side.note(events)
        ticks = self.handler.take_ticks()
        if len(ticks):  # of most packets of a quiet week there are none
            self._taken.append((side, side.epoch, ticks))

    def ticks(self, *kinds: Kind, side: Side | None = None) -> np.ndarray:
        """All ticks so far, or those of some kinds, of a channel."""
        side = side or self.one
        ticks = joined(part for of, _, part in self._taken if of is side)
        return ticks[np.isin(ticks["kind"], kinds)] if kinds else ticks

    def epochs(self, kind: Kind, side: Side) -> Iterator[tuple[int, np.ndarray]]:
        """Ticks of a kind, with the epoch they are of."""
        own = [(epoch, part) for of, epoch, part in self._taken if of is side]
        for epoch, parts in itertools.groupby(own, key=operator.itemgetter(0)):
            ticks = joined(part for _, part in parts)
            yield epoch, ticks[ticks["kind"] == int(kind)]

    def run(
        self, sent: Sequence[Any], network: Network, *, looks: int = 12, side: Side | None = None
    ) -> None:
        """All of it through the network, with so many looks at the books on the way."""
        delivered = network.deliver(sent)
        size = max(1, -(-len(delivered) // looks))
        for at in range(0, len(delivered), size):
            self.feed(delivered[at : at + size], side)
            self.check_books(side)

    def recover(self, network: Network, side: Side | None = None, rounds: int = DEAD) -> int:
        """Rounds of the loops and heartbeats until all is right again; how many that took.

        When that takes long the network gets better: it may lose heartbeats faster than the loops mend.
        """
        better = Network(rounds, loss=lossy(0.05, feeds=LOOPING))
        side = side or self.one
        channel = side.venue.channel
        aim = (channel.epoch, channel.last_seq)
        for number in range(rounds):
            if self.is_right(side) and (side.epoch, side.lasts.get(side.epoch, 0)) >= aim:
                return number
            self.run(side.venue.settle(1), better if number > LONG else network, looks=1, side=side)
        assert self.is_right(side), f"after {rounds} rounds: {self.handler.state(side.channel)}"
        return rounds

    def is_right(self, side: Side) -> bool:
        """Whether the handler says that it knows everything."""
        state = self.handler.state(side.channel)
        if state.name != "SYNC" or state.open_gaps:
            return False
        if not (self.orders and side.venue.orders and state.stale_order_books):
            return True
        return not any(
            self.handler.order_book(side.channel, sid).stale
            for sid in self.handler.security_ids(side.channel)
            if side.has_orders(sid)
        )

    # What must hold

    def check_books(self, side: Side | None = None, *, proven: bool = False) -> None:
        """No book that is said to be right is wrong; with `proven`, all are said to be right."""
        side = side or self.one
        handler = self.handler
        if handler.state(side.channel).name == "INIT":
            return
        seq = side.lasts[side.epoch]
        for sid in handler.security_ids(side.channel):
            book = handler.book(side.channel, sid)
            assert not (proven and book.stale), f"{sid} is not proven after {seq}"
            if not book.stale:
                wrong = self._wrong(side, seq, proven, partial(_book_wrong, book), sid)
                assert not wrong, f"{sid}, right after packet {seq} it says: {wrong}"
            if self.orders and side.venue.orders:
                orders = handler.order_book(side.channel, sid)
                waits = proven and orders.stale and side.has_orders(sid)
                assert not waits, f"orders of {sid} are not proven after {seq}"
                if not orders.stale:
                    differs = partial(order_book_difference, orders[:2])
                    wrong = self._wrong(side, seq, proven, differs, sid)
                    assert not wrong, f"{sid}, right after packet {seq} it says: {wrong}"

    @staticmethod
    def _wrong(side: Side, seq: int, proven: bool, differs: Callable[[Any], str], sid: int) -> str:
        """How a book differs from the truth after a packet, and from any later one: a snapshot may be ahead."""
        truth = side.venue.truth
        wrong = differs(truth.state(sid, seq, side.epoch))
        if not wrong or proven:
            return wrong
        left = truth.ordinal - truth.ordinal_of(seq, side.epoch)
        later = (truth.state(sid, seq + i + 1, side.epoch) for i in range(left))
        return wrong if all(differs(state) for state in later) else ""

    def check_gaps(self, network: Network, side: Side | None = None, *, exact: bool = True) -> None:
        """Each packet lost on both lines is told once by GAP; RECOVERED then says the same.

        Not `exact`: more may have been given up, because the reorder buffer was too small.
        """
        side = side or self.one
        told: dict[int, list[int]] = collections.defaultdict(list)
        gaps = []
        for epoch, ticks in self.epochs(Kind.GAP, side):
            for row in ticks.view(GAP):
                assert row["instrument_id"] == 0
                assert row["line"] == side.channel
                gaps.append((int(row["first_missing"]), int(row["last_missing"])))
                told[epoch] += range(gaps[-1][0], gaps[-1][1] + 1)
        for epoch, missing in side.missing(network).items():
            assert len(told[epoch]) == len(set(told[epoch])), "some were told twice"
            untold = missing - set(told[epoch])
            invented = set(told[epoch]) - network.lost_both(epoch)  # or before our first one
            assert not untold, f"not told: {sorted(untold)}"
            assert not (exact and invented), f"told, and not lost: {sorted(invented)}"
        healed = [
            (int(row["first_missing"]), int(row["last_missing"]))
            for _, ticks in self.epochs(Kind.RECOVERED, side)
            for row in ticks.view(GAP)
            if row["instrument_id"] == 0
        ]
        if self.is_right(side) and len(gaps) <= MAX_OPEN_GAPS:
            assert sorted(healed) == sorted(gaps)
        elif self.is_right(side):  # those beyond are told healed as one
            assert all(any(a <= first and last <= b for a, b in healed) for first, last in gaps)

    def check_quotes(self, side: Side | None = None) -> int:
        """No quote without STALE shows a touch that the instrument did not have then; how many there were."""
        side = side or self.one
        checked = 0
        for epoch, ticks in self.epochs(Kind.QUOTE, side):
            for row in ticks.view(QUOTE):
                flags = int(row["flags"])
                if flags & Flag.STALE:
                    continue
                sid, seq = side.sids.get(int(row["instrument_id"])), int(row["venue_seq"])
                if sid is None:  # listed and deleted between two looks
                    continue
                touch = tuple(
                    int(row[name]) for name in ("bid_price", "bid_size", "ask_price", "ask_size")
                )
                implied = bool(flags & Flag.IMPLIED)
                right = side.right_touches(epoch, seq, sid, implied=implied)
                if flags & Flag.SNAPSHOT and seq >= 1:  # one cut inside the packet that it names
                    right |= side.right_touches(epoch, seq - 1, sid, implied=implied)
                assert touch in right, (
                    f"{sid} in packet {epoch}.{seq} ({flags:#x}) shows {touch}, right: {right}"
                )
                checked += 1
        return checked

    def check_trades(self, network: Network, side: Side | None = None) -> None:
        """Each trade of a packet that came is told once, in order; none of those that were lost."""
        side = side or self.one
        missing = side.missing(network)
        ids = {int(i) for _, ticks in self.epochs(Kind.TRADE, side) for i in ticks["instrument_id"]}
        if ids - side.sids.keys():  # listed and deleted between two looks
            return
        shown = [
            (epoch, int(r["venue_seq"]), side.sids[int(r["instrument_id"])], int(r["price"]), int(r["size"]))
            for epoch, ticks in self.epochs(Kind.TRADE, side)
            for r in ticks.view(TRADE)
        ]  # fmt: skip
        true = [
            (t.epoch, t.seq, t.security_id, t.price, t.size)
            for t in expected_trades(side.venue.truth)
            if t.epoch in side.firsts
            and side.firsts[t.epoch] <= t.seq <= side.lasts[t.epoch]
            and t.seq not in missing[t.epoch]
        ]
        assert shown == true

    def check(self, network: Network, side: Side | None = None, *, exact: bool = True) -> None:
        """All of these, and no packet was found to be wrong in itself."""
        self.check_gaps(network, side, exact=exact)
        self.check_quotes(side)
        if exact:
            self.check_trades(network, side)
        self.check_counts()

    def check_counts(self) -> None:
        """The handler's counts are what was published, and what arrived."""
        counts = self.handler.counts
        ticks = joined(part for _, _, part in self._taken)
        kinds = collections.Counter(ticks["kind"].tolist())
        trades = sum(kinds[k] for k in (Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION))
        assert counts["quotes"] == kinds[Kind.QUOTE]
        assert counts["trades"] == trades
        assert counts["others"] == len(ticks) - trades - kinds[Kind.QUOTE]
        assert counts["gaps"] == kinds[Kind.GAP]
        assert counts["packets"] == sum(sum(side.brought.values()) for side in self.sides)
        for side in self.sides:
            for line, number in side.lines.items():
                assert self.handler.line_counts(number)["packets"] == side.brought[line]
        assert counts["malformed"] == counts["misplaced"] == counts["entry_faults"] == 0


class Venues:
    """Venues by seed, made once; `take` hands out a venue together with what it has sent."""

    def __init__(self) -> None:
        self._made: dict[Any, tuple[Venue, list[Any]]] = {}

    def calm(self, seed: int, make: Callable[[int], tuple[Venue, list[Any]]]) -> Any:
        """A venue that nobody may drive on."""
        if (seed, make) not in self._made:
            self._made.clear()
            self._made[seed, make] = make(seed)
        return self._made[seed, make]


def each_seed(
    request: pytest.FixtureRequest,
    number: int,
    check: Callable[[int], None],
    kept: Sequence[int] = (),
) -> None:
    """Play the seeds of a test, and those kept because they once failed; the one that fails is named."""
    seeds = [*range(number * TIMES), *kept] if ALONE is None else [int(ALONE)]
    for seed in seeds:
        try:
            check(seed)
        except Exception as error:
            error.add_note(f"seed {seed}; alone: MDFEEDD_SEED={seed} pytest {request.node.nodeid}")
            raise


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`seeds(number, check, kept=())`: call check with so many seeds."""
    return partial(each_seed, request)


@pytest.fixture
def play() -> type[Play]:
    """`Play`, for tests, which cannot import this file."""
    return Play


@pytest.fixture
def venues() -> Venues:
    """`Venues`, for tests, which cannot import this file."""
    return Venues()
