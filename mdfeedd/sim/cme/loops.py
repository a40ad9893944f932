"""The loops beside the incremental feed: definitions, snapshots, and snapshots with order books.

Each has sequence numbers of its own, which begin at 1 every time round. Snapshots are as of the last packet of the
incremental feed when they are made, so tag 369 differs from instrument to instrument; some are older, and some
are cut inside the packet that they claim to contain, if the venue's habits say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.entries import Feed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.cme.venue import Venue

__all__ = ["LOOPING", "Loops"]

LOOPING: Final = (Feed.DEFINITION, Feed.SNAPSHOT, Feed.ORDERS)
_OLDEST: Final = 20  # packets that a late snapshot lies behind, at most


class Loops:
    """Sends the loops' packets, one at a time (`step`) or a whole round (`whole`)."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._running: dict[Feed, Iterator[None]] = {}
        self.rounds: dict[Feed, int] = dict.fromkeys(LOOPING, 0)  # completed

    def step(self, feed: Feed) -> None:
        """One packet."""
        running = self._running.get(feed)
        if running is None:
            running = self._running[feed] = self._round(feed)
        try:
            next(running)
        except StopIteration:
            del self._running[feed]
            self.step(feed)

    def finish(self, feed: Feed) -> None:
        """The rest of the round that has begun."""
        for _ in self._running.pop(feed, iter(())):
            pass

    def whole(self, feed: Feed) -> None:
        """The rest of the round that has begun, then a whole one."""
        self.finish(feed)
        for _ in self._round(feed):
            pass

    def restart(self) -> None:
        """Rounds that have begun are not finished: the channel or the week begins anew."""
        self._running.clear()

    def _round(self, feed: Feed) -> Iterator[None]:
        """One round: yields after each packet. A round without instruments is a heartbeat."""
        venue = self._venue
        wanted = venue.ids if feed == Feed.DEFINITION else venue.active()
        venue.rng.shuffle(wanted)
        seq = 0
        for security_id in wanted:
            if security_id not in venue.instruments:
                continue  # deleted since the round began
            for message in self._messages(feed, security_id, len(wanted)):
                seq += 1
                venue.channel.put(feed, seq, message)
                yield
        if not seq:
            venue.channel.put(feed, 1, venue.channel.wire.heartbeat())
            yield
        self.rounds[feed] += 1

    def _messages(self, feed: Feed, security_id: int, total: int) -> Iterator[bytes]:
        venue = self._venue
        if feed == Feed.DEFINITION:
            yield venue.definition(security_id, total)
            return
        seq, claimed = self._moment(security_id)
        yield venue.snapshot(security_id, seq=seq, claimed_seq=claimed, total=total)
        instrument = venue.instruments.get(security_id)  # meanwhile it may have been deleted
        if feed == Feed.ORDERS and instrument is not None and instrument.listing.orders:
            yield from venue.order_snapshot(security_id, seq=seq, claimed_seq=claimed, total=total)

    def _moment(self, security_id: int) -> tuple[int | None, int | None]:
        """As of which packet the snapshot is, and which one it claims; None: the last one."""
        venue = self._venue
        habits, truth, last = venue.habits, venue.truth, venue.channel.last_seq
        draw = venue.rng.random()
        if not truth.keep or draw >= habits.cut + habits.late:
            return None, None
        cut = draw < habits.cut
        seq = last - (1 if cut else venue.rng.randrange(1, _OLDEST))
        if seq < max(venue.channel.oldest_seq, venue.channel.published[security_id].since_seq):
            return None, None
        then, now = truth.state(security_id, seq), truth.state(security_id, last)
        if then is None or now is None or not then.rpt_seq:
            return None, None
        if not cut:
            return seq, None
        inside = then.transact_ns != now.transact_ns
        return (seq, last) if inside else (None, None)
