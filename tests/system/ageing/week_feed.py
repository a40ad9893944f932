"""A CME channel over weeks, in virtual time and as fast as its readers are, by a process of its own.

What comes over its two lines is decoded by the feed's own handler, into its ring. Each session begins with an
opening by groups and ends with a close; Tuesday has a channel reset, Wednesday a restart of the venue; on
Thursday a contract is listed and another one expires; Sunday begins at sequence number 1 with empty books.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, ClassVar

from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.sim.cme import Venue
from mdfeedd.sim.cme.entries import TradingStatus
from mdfeedd.sim.cme.network import Network, lossy
from mdfeedd.tick import TICK
from tests.system.ageing.hours import MARKETS, SECOND_NS

if TYPE_CHECKING:
    import threading

CHANNEL = 310
BURSTS = 6  # in a session, from its opening to its close
TUESDAY, WEDNESDAY, THURSDAY = 1, 2, 3
PAUSE_S = 0.0005
BEAT_S = 0.05


@dataclass(frozen=True, slots=True)
class WeekOptions:
    """How long, and how much happens."""

    market: str = field(default="chicago", metadata={"help": "chicago or london"})
    sunday: str = field(default="2026-03-08", metadata={"help": "the first day"})
    weeks: int = field(default=1, metadata={"help": "how many"})
    events: int = field(default=600, metadata={"help": "a session"})
    seed: int = field(default=1, metadata={"help": "of the venue and its lines"})
    consumers: int = field(default=0, metadata={"help": "that must be there before it begins"})


class WeekFeed:
    """Tells of each session that has ended by the counter `sessions`, and by `latency_ns` how long it was until
    all consumers had read its last record."""

    Options: ClassVar[type] = WeekOptions

    def __init__(self, name, options, ring):
        self.name, self.options, self.ring = name, options, ring

    def run(self, stop: threading.Event) -> None:
        with self.ring.writer(self.name, TICK) as writer:
            while writer.consumer_count() < self.options.consumers and not stop.wait(PAUSE_S):
                writer.beat()
            if (
                writer.next_seq == 1
            ):  # else an earlier process has played: the test sees that it ended
                _Weeks(self.options, writer, stop, self.ring.feed_index).play()
            while not stop.wait(BEAT_S):
                writer.beat()


class _Weeks:
    def __init__(self, options, writer, stop, feed_index):
        self._options, self._writer, self._stop = options, writer, stop
        self._market = MARKETS[options.market]
        self._sunday = date.fromisoformat(options.sunday)
        opens, _ = self._market.sessions(self._sunday)[0]
        self._venue = Venue(options.seed, start_ns=opens, keep_truth=False)
        self._network = Network(options.seed, loss=lossy(0.002), record=False)
        self._handler = Handler(max_instruments=1024, feed_index=feed_index)
        self._handler.add_channel(CHANNEL)
        self._lines = {
            (feed, side): self._handler.add_line(CHANNEL, feed, side)
            for feed in Feed
            for side in (0, 1)
        }
        self._handler.attach(writer)
        self._now_ns = 0

    def play(self) -> None:
        for week in range(self._options.weeks):
            sessions = self._market.sessions(self._sunday + timedelta(weeks=week))
            for day, (opens, closes) in enumerate(sessions):
                if week and not day:
                    self._venue.retired = [
                        listing for listing in self._venue.retired if "II" not in listing.symbol
                    ]
                    self._venue.weekly_reset(weekend_ns=opens - self._venue.now_ns)
                self._session(day, opens, closes)
                if self._stop.is_set():
                    return

    def _session(self, day: int, opens: int, closes: int) -> None:
        venue = self._venue
        venue.skip(opens)
        for group in dict.fromkeys(i.listing.group for i in venue.instruments.values()):
            venue.open_group(group)
        self._bring(venue.settle(1))
        step = (closes - opens) // BURSTS
        for burst in range(BURSTS):
            venue.skip(opens + burst * step + SECOND_NS)
            if burst == BURSTS // 2:
                self._happen(day)
            self._bring(venue.run(self._options.events // BURSTS))
            self._bring(venue.settle(2))  # what was lost is mended
        venue.skip(closes)
        for group in dict.fromkeys(i.listing.group for i in venue.instruments.values()):
            venue.status(TradingStatus.CLOSE, group=group)
        self._bring(venue.take())
        closed_ns = time.monotonic_ns()
        self._wait(0)
        self._writer.counters.set("latency_ns", time.monotonic_ns() - closed_ns)
        self._writer.counters.add("sessions")

    def _happen(self, day: int) -> None:
        venue = self._venue
        if day == TUESDAY:
            venue.channel_reset()
        elif day == WEDNESDAY:
            venue.start_again()
        elif day == THURSDAY:
            venue.list_another()
            venue.delete_instrument(venue.ids[0])

    def _bring(self, sent) -> None:
        handler = self._handler
        self._wait(self._writer.capacity // 2)
        for time_ns, feed, side, payload in self._network.deliver(sent):
            if time_ns > self._now_ns + SECOND_NS > SECOND_NS:
                handler.timer(time_ns - 1)
            self._now_ns = max(self._now_ns, time_ns)
            handler.packet(self._lines[feed, side], payload, time_ns, time_ns)
        handler.timer(self._now_ns)
        handler.take_events()
        self._writer.beat()

    def _wait(self, behind: int) -> None:
        """Until no consumer is farther behind."""
        while not self._stop.is_set():
            slowest = self._writer.slowest_consumer()
            if slowest is None or self._writer.next_seq - 1 - slowest <= behind:
                return
            self._writer.beat()
            time.sleep(PAUSE_S)
