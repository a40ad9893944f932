"""The Bloomberg feed as a process: a session after the other into one ring, until it is stopped.

::

    sdk.load ─► Link: a session of the SDK ─► Line: turn after turn ─► ring
                  ▲                              │
                  └──────── Backoff ◄── SessionEnd ─► exit 77 (identity), 78 (no package, options)

One thread does all of it. Topics outlive sessions; the SDK's own recovery is left to the SDK.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mdfeedd.feeds.bloomberg.counting import Counting
from mdfeedd.feeds.bloomberg.credentials import read_credentials
from mdfeedd.feeds.bloomberg.ending import Backoff, Ending, SessionEnd
from mdfeedd.feeds.bloomberg.failure import Pauses
from mdfeedd.feeds.bloomberg.line import Line, clock
from mdfeedd.feeds.bloomberg.moment import NS
from mdfeedd.feeds.bloomberg.native.decoder import Decoder, Staging
from mdfeedd.feeds.bloomberg.native.loaded import Unusable, native_plane
from mdfeedd.feeds.bloomberg.native.quick import QuickPlane
from mdfeedd.feeds.bloomberg.options import BloombergOptions
from mdfeedd.feeds.bloomberg.probe import probe
from mdfeedd.feeds.bloomberg.sdk import describe, load
from mdfeedd.feeds.bloomberg.sdk_log import SdkLog
from mdfeedd.feeds.bloomberg.session import Link
from mdfeedd.feeds.bloomberg.telling import Teller
from mdfeedd.feeds.bloomberg.topics import PENDING, Stage, Topics
from mdfeedd.ring.errors import RingSpace
from mdfeedd.ring.restart import last_beat_ns, tell_restart
from mdfeedd.ring.unclosed import unclosed
from mdfeedd.tick import TICK, GapReason

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from mdfeedd.feeds.bloomberg.moment import Now
    from mdfeedd.feeds.bloomberg.native.loaded import NativePlane
    from mdfeedd.feeds.bloomberg.options import Topic
    from mdfeedd.feeds.bloomberg.plane import DataPlane
    from mdfeedd.feeds.protocol import ProbeLine, RingPlan
    from mdfeedd.ring import Writer

__all__ = ["BloombergFeed", "BloombergOptions"]

logger: logging.Logger = logging.getLogger("mdfeedd.bloomberg")

WAIT_S: Final = 0.1  # between heartbeats while there is no session
BEAT_NS: Final = NS // 10
DRAIN_NS: Final = NS
"""For so long at most a stop takes what has come before it."""
DRAIN_WAIT_MS: Final = 1
GAUGE_NS: Final = NS
SUM_UP_NS: Final = 30 * NS
_LIVE_KEYS: Final = frozenset({"topics"})


class BloombergFeed:
    """Writes the ring of `ring` with quotes and trades of the topics.

    ts_recv is the time at which the SDK gave the event out, ts_event Bloomberg's, to the microsecond at best.
    Ends by `SystemExit` with 77 (identity, credentials) or 78 (no package, options that the SDK does not take, no
    native path where that is required), after a sentence that says what to do; all else is tried again. Raises `RingError` if there is no ring to be
    had.
    """

    Options: ClassVar[type[Any]] = BloombergOptions

    def __init__(self, name: str, options: BloombergOptions, ring: RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring
        self._told: BloombergOptions | None = None

    @classmethod
    def live(cls, old: BloombergOptions, new: BloombergOptions) -> bool:
        """Whether a running feed can go over from one to the other."""
        keys = {key for key in old.__dataclass_fields__ if getattr(old, key) != getattr(new, key)}
        return keys <= _LIVE_KEYS

    def reconfigure(self, options: BloombergOptions) -> None:
        """Take new topics at the next opportunity. From any thread."""
        self._told = options

    @classmethod
    def probe(cls, name: str, options: BloombergOptions) -> Iterable[ProbeLine]:
        """Start a session, subscribe, and tell what Bloomberg says of each topic."""
        return probe(name, options)

    def take_told(self) -> BloombergOptions | None:
        """The options told since the last call."""
        told, self._told = self._told, None
        return told

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop` is set."""
        left_ns = last_beat_ns(self.ring.name, self.ring.directory)
        try:
            blpapi = load(self.options.package_folder)
            read_credentials(self.options)
        except SessionEnd as end:
            raise self.ended(end) from None
        with self.ring.writer(self.name, TICK) as writer:
            _Sessions(self, blpapi, writer, left_ns).run(stop)

    def ended(self, end: SessionEnd) -> SystemExit:
        """The end of the process for what no retry can mend."""
        then = end.ending.then
        logger.error("%s: %s%s", self.name, end.text, then.hint and f": {then.hint}")
        return SystemExit(then.status)


class _Sessions:
    """All sessions of the process."""

    def __init__(
        self, feed: BloombergFeed, blpapi: Any, writer: Writer, left_ns: int | None
    ) -> None:
        options = feed.options
        self._feed = feed
        self._blpapi = blpapi
        self._writer = writer
        self._required = options.native == "require"
        self._backoff = Backoff(random.random)
        self._tell = Teller(feed.name, logger)
        self._staging = Staging()
        refuse = options.delayed == "refuse"
        self._decoder = Decoder(self._staging, statistics=options.statistics, refuse_delayed=refuse)
        self._pauses = Pauses(random.random)
        self._topics = Topics(
            self._decoder,
            self._tell,
            self._pauses,
            random.random,
            fields=options.fields,
            image_wait_ns=round(options.image_wait_s * NS),
            refuse_delayed=refuse,
        )
        python = QuickPlane(self._decoder, self._tell)
        self._native = self._native_plane(python)
        planes: tuple[DataPlane | None, ...] = (self._native, python)
        self._planes = [plane for plane in planes if plane is not None]
        self._counting = Counting(writer.counters, self._decoder, self._topics, python)
        self._tell("sdk", f"the SDK is {describe(blpapi)}", clock(), routine=True)
        self._sdk_log = SdkLog(blpapi)
        if self._sdk_log.failure:
            self._tell("sdk", f"the SDK keeps its log to itself: {self._sdk_log.failure}", clock())
        self._beat_ns = self._gauge_ns = self._summed_ns = self._summed = 0
        self._begin(left_ns)

    def _native_plane(self, python: QuickPlane) -> NativePlane | None:
        """The data plane over the SDK's C interface, if it is wanted and can be had. Raises `SystemExit`."""
        if self._feed.options.native == "off":
            return None
        try:
            return native_plane(
                self._blpapi, self._decoder, self._writer, python,
                tell=self._tell, now=clock(), required=self._required,
            )  # fmt: skip
        except Unusable as why:
            end = SessionEnd(Ending.NO_NATIVE, f"the native path cannot be used: {why}")
            raise self._feed.ended(end) from None

    def _begin(self, left_ns: int | None) -> None:
        """Follow the topics. What fell into the time without us, of a ring that was there before, is told."""
        now = clock()
        self._topics.follow(self._ours(), self._instrument, now)
        if self._writer.epoch > 1:
            self._tell_restart(now, left_ns)

    def _tell_restart(self, now: Now, left_ns: int | None) -> None:
        """What is missing: since the process before was seen last, or since a hole began that it never closed.

        What waited in the SDK's queue then is gone: as far as it was behind.
        """
        holes = unclosed(self._writer)
        behind_ns = self._writer.counters.get("latency_ns")
        first_ns = now.wall_ns if left_ns is None else left_ns - behind_ns
        first_ns = tell_restart(self._writer, min(first_ns, holes.get(0, first_ns)), now.wall_ns)
        touches = self._topics.touches()
        for touch, _ in touches:
            touch.stamp_ns = holes.get(touch.instrument_id, 0)
        self._decoder.tear_all(touches, first_ns, now.wall_ns, GapReason.RESTART)

    def _ours(self) -> list[Topic]:
        """The topics of our shard. Where there are none, the feed runs all the same: a reload may bring some."""
        shard = self._feed.ring.shard
        topics = self._feed.options.topics
        ours = [topic for topic in topics if shard is None or shard.has(topic.name)]
        if not ours:
            logger.warning(
                "%s: none of its %d topics is in the shard %s: nothing will come",
                self._feed.name, len(topics), shard,
            )  # fmt: skip
        return ours

    def _instrument(self, topic: Topic) -> int:
        try:
            return self._writer.instruments.add(topic.name, vendor_symbol=topic.topic)
        except RingSpace as error:
            told = f"{topic.topic} is left out: {error}; raise the feed's instruments_capacity"
            self._tell("no room", told, clock())
            return 0

    def run(self, stop: threading.Event) -> None:
        """One session after the other. Raises `SystemExit`."""
        try:
            while not stop.is_set():
                try:
                    self._session(stop)
                except SessionEnd as end:
                    if end.ending.then.status:
                        raise self._feed.ended(end) from None
                    self._pause(end, stop)
        finally:
            self._tell.finish()
            self._counting.count()

    def _session(self, stop: threading.Event) -> None:
        """One session, until `stop`. Raises `SessionEnd`."""
        options = self._feed.options
        link = Link(self._blpapi, options, read_credentials(options))
        line = Line(
            self._blpapi,
            link,
            self._topics,
            planes=self._planes,
            options=options,
            tell=self._tell,
            pauses=self._pauses,
            publish=partial(self._staging.publish, self._writer),
        )
        self._counting.use(line)
        over = False
        self._tell("connection", f"connecting to {options.where}", clock(), routine=True)
        try:
            link.start()
            while not stop.is_set():
                now = line.turn()
                if now.monotonic_ns >= self._beat_ns:
                    self._look_after(now.monotonic_ns)
            self._drain(line)
        except SessionEnd as end:
            over = end.ending in (Ending.STARTUP, Ending.TERMINATED)
            raise
        finally:
            self._counting.count()
            if not stop.is_set():
                self._topics.close(clock())
            self._publish()
            self._sdk_log.tell(self._tell, clock())
            link.close(over=over)
            # what the SDK says of a session that we stop is as it has to be
            self._sdk_log.tell(self._tell, clock(), routine=True)

    def _drain(self, line: Line) -> None:
        """What waits in the SDK's queue when we are told to stop has come as all else; how far behind we leave off
        with what is left of it is told to the process after us.
        """
        until_ns = clock().monotonic_ns + DRAIN_NS
        with contextlib.suppress(SessionEnd):
            while line.turn(DRAIN_WAIT_MS).monotonic_ns < until_ns and not line.idle:
                pass
        if line.idle:
            self._writer.counters.set("latency_ns", 0)
        else:
            self._counting.lag()

    def _publish(self) -> None:
        self._staging.publish(self._writer)

    def _look_after(self, monotonic_ns: int) -> None:
        if self._native is not None and self._native.off and self._required:
            raise SessionEnd(Ending.NO_NATIVE, self._native.off)
        self._beat_ns = monotonic_ns + BEAT_NS
        self._writer.beat()
        self._counting.lag()
        self._counting.count()
        if monotonic_ns >= self._gauge_ns:
            self._gauge_ns = monotonic_ns + GAUGE_NS
            self._counting.gauge()
            now = clock()
            self._sum_up(now)
            self._sdk_log.tell(self._tell, now)
            self._tell.settle(now)
        self._take_told()

    def _sum_up(self, now: Now) -> None:
        """Once a session, when there is an answer for every topic or long enough was waited for it."""
        opened_ns = self._counting.opened_ns
        if not opened_ns or self._summed_ns == opened_ns:
            return
        stages = self._topics.stages()
        waited_ns = now.monotonic_ns - opened_ns
        if not any(stages[one] for one in PENDING) or waited_ns >= SUM_UP_NS:
            self._summed_ns = opened_ns
            self._summed += 1
            state, count = self._topics.state(), len(self._topics)
            told = (  # the number of the session makes it another sentence, which no log takes for a repetition
                f"{stages[Stage.LIVE]} of {count} topics are live in session {self._summed}, "
                f"{state.delayed} of them delayed; {state.failed} have failed"
            )
            self._tell("topics", told, now, routine=True)

    def _take_told(self) -> None:
        told = self._feed.take_told()
        if told is not None:
            self._feed.options = told
            now = clock()
            self._topics.follow(self._ours(), self._instrument, now)
            self._publish()  # what is void now; the next event may be a while off
            count = len(self._topics)
            self._tell("reload", f"now following {count} topics", now, routine=True)

    def _pause(self, end: SessionEnd, stop: threading.Event) -> None:
        """Tell of the end, and wait before the next session."""
        delivered_s = self._counting.delivered_s(clock())
        pause_s = self._backoff.pause_s(delivered_s)
        hint = f" ({end.ending.then.hint})" if end.ending.then.hint else ""
        logger.warning("%s: %s%s; again in %.1f s", self._feed.name, end.text, hint, pause_s)
        self._writer.counters.add("disconnects", int(delivered_s > 0))
        until_s = time.monotonic() + pause_s
        while not stop.wait(min(WAIT_S, max(0.0, until_s - time.monotonic()))):
            self._writer.beat()
            self._take_told()
            if time.monotonic() >= until_s:
                return
