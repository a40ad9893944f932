"""CME in a simulated world: a channel of MDP 3.0, two lines that fail, and the real feed at their end.

    Venue ─► Sent ─► Network: loss, doubles, reordering, cuts, skew ─► Delivered ─► inbox, bounded
                                                                                      │ due
                    Handler ◄── Lines (in the place of the multicast receiver) ◄──────┘

`CmeFeed.run` is the real one, with its joins, counters, sentences and rings; sockets alone are replaced.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final, Self

import mdfeedd.feeds.cme.feed
import mdfeedd.feeds.cme.rings
from mdfeedd.feeds.cme.feed import CmeFeed
from mdfeedd.feeds.cme.lines import FEEDS, Line
from mdfeedd.feeds.cme.options import CmeOptions
from mdfeedd.feeds.multicast import LineCounts
from mdfeedd.sim.cme import Habits, Venue
from mdfeedd.sim.cme.entries import Feed
from mdfeedd.sim.cme.network import Cut, Network, lossy
from mdfeedd.sim.whole.vendors.cme_checks import Heard, check

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Sequence

    from mdfeedd.feeds.multicast import LineSpec
    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.sim.cme.entries import Sent
    from mdfeedd.sim.cme.network import Delivered
    from mdfeedd.sim.whole.actor import Fault, Size
    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.world import World

__all__ = ["CmeActor"]

CHANNEL: Final = 310
FIRST_PORT: Final = 14_000
BURST: Final = 24  # packets taken at a time, at most
MANY: Final = 300  # events; from here on what may wait at once would overrun the ring in a step
MS: Final = 1_000_000
SECOND_NS: Final = 1_000 * MS
SETTLE_NS: Final = 200 * MS  # between rounds of the loops while the feed recovers
BEAT_NS: Final = 250 * MS  # within which the feed has told what it knows


def _lines() -> tuple[Line, ...]:
    return tuple(
        Line(CHANNEL, feed, "224.0.31.1", _port(number, side), side=("A", "B")[side])
        for number, feed in enumerate(FEEDS)
        for side in (0, 1)
    )


def _port(feed: int, side: int) -> int:
    return FIRST_PORT + 2 * feed + side


class Lines:
    """In the place of `mdfeedd.feeds.multicast.Receiver`: packets of the inbox, to the handler."""

    def __init__(self, actor: CmeActor, specs: Iterable[LineSpec], handler: Any) -> None:
        self._actor = actor
        self._handler = handler
        self._numbers: dict[int, int] = {}
        self._joined: dict[int, bool] = {}
        self._feeds: dict[int, tuple[int, int]] = {}
        self._packets: Counter[int] = Counter()
        for spec in specs:
            self._numbers[spec.port] = spec.line
            self._joined[spec.line] = spec.joined
            self._feeds[spec.line] = divmod(spec.port - FIRST_PORT, 2)
        actor.attach(self._listening, handler)

    def run(self, max_ns: int) -> bool:
        """As much as there is, or nothing for so long."""
        actor, world = self._actor, self._actor.world
        world.pause(max_ns / SECOND_NS, actor.waits)
        for _ in range(BURST):
            if not actor.inbox:
                break
            feed, side, payload, wall_ns = actor.inbox.popleft()
            world.step("packet")
            line = self._numbers[_port(feed, side)]
            self._packets[line] += 1
            actor.heard.take(feed, payload, world.now_ns)
            self._handler.packet(line, payload, wall_ns, world.monotonic_ns)
        self._handler.timer(world.monotonic_ns)
        return False

    def _listening(self, feed: int, side: int) -> bool:
        line = self._numbers.get(_port(feed, side))
        return line is not None and self._joined[line]

    def join(self, line: int) -> None:
        """From now on."""
        self._joined[line] = True

    def leave(self, line: int) -> None:
        """What it has received and not been asked for is gone."""
        self._joined[line] = False
        gone = self._feeds[line]
        inbox = self._actor.inbox
        kept = [packet for packet in inbox if (packet[0], packet[1]) != gone]
        inbox.clear()
        inbox.extend(kept)

    def joined(self, line: int) -> bool:
        """Whether it is received."""
        return self._joined[line]

    def counts(self, line: int) -> Any:
        """Packets, and what was dropped for want of room."""
        return LineCounts(self._packets[line], 0, 0, 0, 0, 0, 0)

    @property
    def kernel_drops(self) -> int:
        """Of all lines."""
        return self._actor.drops

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class CmeActor:
    """See the module."""

    vendor = "cme"

    def __init__(self, world: World, name: str, size: Size) -> None:
        self.world = world
        self.name = name
        self.size = size
        self.inbox: deque[tuple[int, int, bytes, int]] = deque()
        self.heard: Heard = Heard()
        self.drops: int = 0  # of the present life
        rng = world.rng(f"{name} venue")
        self._rng = rng
        self.venue: Venue = self._venue(rng)
        self._network = self._make_network(world.rng(f"{name} network"))
        self._room = rng.choice((64, 4096, 4096))  # packets that a socket holds
        self._symbols: tuple[str, ...] = ()
        self._arrivals: deque[Delivered] = deque()
        self._listening: Any = None
        self._handler: Any = None
        self._right_ns: int | None = None  # since when

    def _venue(self, rng: random.Random) -> Venue:
        size, world = self.size, self.world
        resets = world.has("reset")
        habits = Habits(
            pause=0,
            long_event=0.2,
            delete=rng.choice((0, 0, 0.5)),
            channel_reset=rng.choice((0, 0.5)) if resets else 0,
            reset_book=0.5,
        )
        return Venue(
            world.seed,
            instruments=rng.randrange(1, 5),
            orders=False,
            rate=size.events / size.storm_s,
            start_ns=world.now_ns + rng.randrange(400) * MS,
            habits=habits,
        )

    def _make_network(self, rng: random.Random) -> Network:
        """The dice are thrown whether or not a family of faults happens: the others do not move."""
        world = self.world
        share = rng.choice((0.0, 0.01, 0.05, 0.2))
        loops = rng.choice((0.0, 0.05))
        burst, doubles, reorder = rng.choice((0, 0.02)), rng.choice((0, 0.1)), rng.choice((0, 0.02))
        begin = world.now_ns + rng.randrange(round(self.size.storm_s * 1_000)) * MS
        cuts = [
            Cut(side, begin + rng.randrange(50) * MS, begin + rng.randrange(50, 600) * MS)
            for side in (0, 1)
            if rng.random() < 0.4
        ]
        lossy_now = world.has("loss")
        live = lossy(share, feeds=(Feed.INCREMENTAL,)) | lossy(loops, feeds=tuple(Feed)[1:])
        return Network(
            world.seed,
            loss=live if lossy_now else None,
            burst=burst if lossy_now else 0,
            duplicate=doubles if world.has("double") else 0,
            reorder=reorder if world.has("reorder") else 0,
            skew_ns=rng.choice(((200, 50 * MS), (200, 20_000))),
            cuts=cuts if world.has("cut") else (),
        )

    # ------------------------------------------------------------------------------------- the feed

    def make(self, plan: RingPlan) -> CmeFeed:
        """With the symbols as they are now."""
        options = CmeOptions(
            lines=_lines(),
            symbols=self._symbols,
            cache_dir="",
            max_instruments=64,
            recovery_entries=4096,
            max_orders=64,
            reorder_packets=32 if self.size.events >= MANY else 256,
            max_wait_ms=self._rng.choice((10.0, 100.0)),
        )
        return CmeFeed(self.name, options, plan)

    def patches(self) -> Iterator[tuple[Any, str, Any]]:
        """The receiver."""

        def lines(specs: Iterable[LineSpec], handler: Any, **_options: Any) -> Lines:
            return Lines(self, specs, handler)

        yield mdfeedd.feeds.cme.feed, "Receiver", lines
        yield mdfeedd.feeds.cme.rings, "last_beat_ns", self.world.last_beat_ns

    def attach(self, listening: Any, handler: Any) -> None:
        """A receiver has been opened."""
        self.inbox.clear()
        self._listening, self._handler = listening, handler

    def started(self, feed: CmeFeed) -> None:
        """A new life, with the symbols of its options."""
        self.drops = 0
        self.heard.begin(self.world.now_ns, feed.options.symbols)

    def killed(self) -> None:
        """What the sockets held is gone, and what waited in the codec for a packet before it."""
        if self._handler is not None:
            self.heard.end(self._handler.state(CHANNEL).next_seq)
        self.inbox.clear()
        self._listening = self._handler = None

    def reload(self) -> tuple[CmeOptions, CmeOptions] | None:
        """One instrument is taken out, or all are taken again."""
        symbols = [one.listing.symbol for one in self.venue.instruments.values()]
        if len(symbols) < 2 or not self.heard.lives:
            return None  # whoever begins with names must learn first whose they are, and has lost nothing
        old = self._symbols
        self._symbols = () if old else tuple(symbols[1:])
        return CmeOptions(lines=_lines(), symbols=old, cache_dir=""), CmeOptions(
            lines=_lines(), symbols=self._symbols, cache_dir=""
        )

    # ------------------------------------------------------------------------------------- the venue

    def begin(self) -> None:
        """All of the storm's packets at once: the venue does not hear who listens."""
        venue, until_ns = self.venue, self.world.until_ns
        if self._rng.random() < 0.6:
            venue.fill_books(self._rng.choice((2, 5)), 1)
        again = self._rng.random() < 0.2
        first_ns = venue.now_ns + (until_ns - venue.now_ns) // 2
        if again and self.world.has("reset"):
            self._send(venue.run(until_ns=max(first_ns, venue.now_ns + 1)))
            weekly = self._rng.random() < 0.3
            self.world.at(venue.now_ns, f"reset: {self.name} begins its sequence anew", _nothing)
            if weekly:
                venue.channel_reset(restart_seq=True)
            else:
                venue.start_again(down_ns=SECOND_NS)
        if venue.now_ns < until_ns:
            self._send(venue.run(until_ns=until_ns))
        self._send(venue.take())

    def _send(self, sent: Sequence[Sent]) -> None:
        self.heard.sent(sent)
        arrived = self._network.deliver(sent)
        if arrived:
            waiting = not self._arrivals
            merged = sorted([*self._arrivals, *arrived], key=lambda packet: packet.time_ns)
            self._arrivals = deque(merged)
            if waiting:
                self.world.at(self._arrivals[0].time_ns, "", self._arrive)

    def _arrive(self) -> None:
        """Into the sockets' buffers, as far as somebody listens and there is room."""
        world, arrivals = self.world, self._arrivals
        while arrivals and arrivals[0].time_ns <= world.now_ns:
            packet = arrivals.popleft()
            if self._listening is None or not self._listening(packet.feed, packet.side):
                continue
            if len(self.inbox) >= self._room:
                self.drops += 1
                continue
            self.inbox.append((packet.feed, packet.side, packet.payload, world.wall_ns))
        if arrivals:
            world.at(arrivals[0].time_ns, "", self._arrive)

    def waits(self) -> bool:
        """Whether there is a packet."""
        return bool(self.inbox)

    def faults(self) -> Sequence[Fault]:
        """They are in the network and the venue."""
        return ()

    def heal(self) -> None:
        """Rounds of the loops until the feed says that it is right."""
        self._network.heal(0)
        self._settle()

    def _settle(self) -> None:
        if self._is_right():
            self.world.at(self.world.now_ns + SETTLE_NS, "", self._settle)
            return
        self.venue.skip(self.world.now_ns)
        self._send(self.venue.settle(1))
        self.world.at(self.venue.now_ns + SETTLE_NS, "", self._settle)

    def right(self) -> bool:
        """All has arrived, no book is in doubt, and there was a beat since, which tells of that."""
        now_ns = self.world.now_ns
        if not self._is_right():
            self._right_ns = None
        elif self._right_ns is None:
            self._right_ns = now_ns
        return self._right_ns is not None and now_ns - self._right_ns >= BEAT_NS

    def _is_right(self) -> bool:
        handler, channel = self._handler, self.venue.channel
        if handler is None or self._arrivals or self.inbox:
            return False
        state = handler.state(CHANNEL)
        if state.name != "SYNC" or state.open_gaps:
            return False
        if state.next_seq != channel.last_seq + 1:
            return False
        if handler.counts["epochs"] < self.heard.begun_anew():
            return False  # one packet does not prove a new sequence, be it as long as the old one
        return bool(
            self.heard.has(channel.epoch, channel.last_seq)
        ) and not handler.needs_definitions(CHANNEL)

    def check(self, tape: Tape) -> Iterable[str]:
        """See `cme_checks`."""
        return check(tape, self.venue, self.heard)


def _nothing() -> None:
    pass
