"""The CME feed as a process: lines in, rings out, and what went wrong told in between.

::

    loop, until stop:
      Receiver.run        packets -> Handler -> rings, without the GIL, for up to `RUN_NS` or until asked
      Teller              what the codec has noticed, as sentences
      every `JOIN_S`      ChannelLines: join the lines of a channel in doubt, leave those of one that is right;
                          what some of the lines have counted, into the ring
      every `BEAT_S`      heartbeats, counters, tables of instruments, definitions to be kept
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mdfeedd.feeds.cme.codec import Event, EventCode, Handler
from mdfeedd.feeds.cme.counting import Counting, LineCounting
from mdfeedd.feeds.cme.handlers import add_lines
from mdfeedd.feeds.cme.joins import by_channel
from mdfeedd.feeds.cme.known import KnownDefinitions
from mdfeedd.feeds.cme.mute import MuteLines
from mdfeedd.feeds.cme.options import CmeOptions, is_by_name
from mdfeedd.feeds.cme.returning import Returning
from mdfeedd.feeds.cme.rings import Rings
from mdfeedd.feeds.cme.telling import Teller
from mdfeedd.feeds.multicast import Receiver, ReceiverError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from mdfeedd.feeds.cme.joins import ChannelLines
    from mdfeedd.feeds.cme.lines import FeedName, Line, SideName
    from mdfeedd.feeds.cme.options import LinePlan
    from mdfeedd.feeds.protocol import ProbeLine, RingPlan

__all__ = ["CmeFeed", "CmeOptions"]

logger: logging.Logger = logging.getLogger("mdfeedd.cme")

RUN_NS: Final = 50_000_000  # how long a stop may wait
JOIN_S: Final = 0.01
BEAT_S: Final = 0.1

_NS: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000


class CmeFeed:
    """Writes the ring of `ring` with the ticks of the channels, and NAME.depth and NAME.orders if asked.

    ts_event is TransactTime, ts_recv the packet's arrival, venue_seq the packet's MsgSeqNum. After a restart
    the first tick is a GAP for the time in between, and RECOVERED follows when all is known and right; so it is at
    the first start, if instruments are chosen by what only their definitions say. Raises
    `RingError` if a ring cannot be made and `ReceiverError` if a line cannot be opened; nothing later ends it
    but `stop`.
    """

    Options: ClassVar[type[Any]] = CmeOptions

    def __init__(self, name: str, options: CmeOptions, ring: RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring

    @classmethod
    def probe(cls, name: str, options: CmeOptions) -> Iterator[ProbeLine]:  # noqa: ARG003
        """Join the lines and listen, for less than a minute: what comes in, and what does not."""
        from mdfeedd.feeds.cme.probe import probe  # noqa: PLC0415 - a feed that runs does not need it

        return probe(options)

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop` is set."""
        options, plan = self.options, self.options.plan()
        handler, lines = _handler(options, plan, self.ring)
        known = KnownDefinitions(self.name, options, plan.channels)
        known.read(time.time_ns())  # before there is a ring, whose heart would stop meanwhile
        with contextlib.ExitStack() as stack:
            rings = stack.enter_context(
                Rings(
                    self.name,
                    self.ring,
                    depth=options.depth,
                    orders=options.orders,
                    channels=plan.channels,
                    by_name=is_by_name(options.patterns),
                )
            )
            handler.attach(rings.ticks, rings.depth, rings.orders)
            if options.prefault:
                handler.prefault()
            known.give(handler, time.monotonic())
            self._say_start(plan)
            receiver = stack.enter_context(_receiver(options, lines, handler))
            session = _Session(
                options,
                plan,
                lines=lines,
                handler=handler,
                receiver=receiver,
                rings=rings,
                known=known,
            )
            try:
                while not stop.is_set():
                    session.step()
            finally:
                session.finish()

    def _say_start(self, plan: LinePlan) -> None:
        for channel in plan.channels:
            count = sum(line.channel == channel for line in plan.lines)
            label = plan.labels.get(channel, "")
            named = f" ({label})" if label else ""
            logger.info("channel %d%s: %d line%s", channel, named, count, "s"[: count > 1])
            having = {(line.feed, line.side) for line in plan.lines if line.channel == channel}
            for missing in _missing(having, orders=self.options.orders):
                logger.warning("channel %d%s has %s", channel, named, missing)
        for key, known in (("assets", plan.assets), ("groups", plan.groups)):
            chosen = getattr(self.options, key)
            strange = sorted(one for one in chosen if known and one not in known and "*" not in one)
            if strange:
                logger.warning(
                    "%s: config.xml lists no %s on these channels: nothing may come of it",
                    key,
                    ", ".join(strange),
                )


class _Session:
    """One run: everything is open."""

    def __init__(
        self,
        options: CmeOptions,
        plan: LinePlan,
        *,
        lines: Mapping[int, Line],
        handler: Handler,
        receiver: Receiver,
        rings: Rings,
        known: KnownDefinitions,
    ) -> None:
        self._lines = lines
        self._handler = handler
        self._receiver = receiver
        self._rings = rings
        self._known = known
        self._teller = Teller(plan.labels, lines, self._name, logger)
        self._channels = by_channel(lines, orders=options.orders)
        self._returning = Returning(rings, handler, self._channels.values())
        self._refused: set[int] = set()
        self._counting = Counting(handler, rings.ticks)
        self._line_counting = LineCounting(
            handler, rings.ticks, lines, lambda line: receiver.counts(line).kernel_drops
        )
        self._drops = 0
        self._silences = 0
        self._choice_told = False
        self._unheard = dict.fromkeys(self._channels, time.monotonic() + options.silence_s)
        self._mute = MuteLines(self._channels.values(), options.silence_s, time.monotonic())
        self._silence_ns = round(options.silence_s * _NS)
        self._join_s = 0.0
        self._beat_s = 0.0

    def step(self) -> None:
        """Receive for a while, then look after the rest."""
        self._receiver.run(RUN_NS)
        now_s = time.monotonic()
        self._tell(now_s)
        if now_s - self._join_s >= JOIN_S:
            self._join_s = now_s
            for channel in self._channels.values():
                self._join(channel, now_s)
            self._line_counting.count_some()
        if now_s - self._beat_s >= BEAT_S:
            self._beat_s = now_s
            self._teller.settle(now_s)
            self._listen(now_s)
            self._returning.step()
            self._count()
            self._rings.beat()
            self._rings.mirror()
            self._known.keep(self._handler, time.time_ns(), now_s)

    def finish(self) -> None:
        """Tell and save what is left."""
        self._tell(time.monotonic())
        self._teller.finish()
        self._count()
        self._line_counting.count_all()
        self._rings.mirror(whole=True)
        self._known.close(self._handler, time.time_ns())
        for number, line in self._lines.items():
            seen = self._receiver.counts(number)
            if seen.packets:
                lost = self._handler.line_counts(number).get("lost", 0)
                logger.info(
                    "line %s: %d packets, %d lost on the way, %d dropped here",
                    line,
                    seen.packets,
                    lost,
                    seen.kernel_drops,
                )

    def _tell(self, now_s: float) -> None:
        for event in self._handler.take_events():
            self._silences += event.code is EventCode.SILENT
            self._teller.tell(event, now_s)
            if event.code is EventCode.EPOCH:
                self._rings.tell_anew(event.channel)
            if event.code is EventCode.DEFINITIONS and event.first:
                self._tell_choice(event)

    def _tell_choice(self, event: Event) -> None:
        """Say once if a filter lets nothing through: else all looks well, and nothing ever comes."""
        if self._choice_told:
            return
        self._choice_told = True
        if self._rings.ticks.instruments_count:
            return
        logger.warning(
            "channel %d: symbols, groups, assets and shard choose none of its %d instruments: nothing comes of them",
            event.channel,
            event.first,
        )

    def _listen(self, now_s: float) -> None:
        """Tell of lines that are mute, and of channels never heard: to the codec these have not begun."""
        for number, silent_s in self._mute.look(self._packets, now_s):
            logger.warning(
                "line %s has brought nothing for %.0f s, and the other side has: what that one loses is lost;"
                " check the group, the interface and the network's memberships",
                self._lines[number],
                silent_s,
            )
        for channel, until_s in list(self._unheard.items()):
            if self._handler.state(channel).name != "INIT":
                del self._unheard[channel]
            elif now_s >= until_s:
                del self._unheard[channel]
                line = self._channels[channel].incremental[0]
                silent = Event(EventCode.SILENT, channel, line, 0, self._silence_ns, 0, 0)
                self._silences += 1
                self._teller.tell(silent, now_s)

    def _packets(self, line: int) -> int:
        return self._receiver.counts(line).packets

    def _name(self, channel: int, security_id: int) -> str:
        """An instrument as people know it."""
        return self._rings.name(self._handler, channel, security_id)

    def _join(self, channel: ChannelLines, now_s: float) -> None:
        recovering = self._handler.needs_recovery(channel.channel)
        defining = self._handler.needs_definitions(channel.channel)
        for number, joined in channel.changes(now_s, recovering=recovering, defining=defining):
            if self._receiver.joined(number) == joined:
                continue
            if not joined:
                self._receiver.leave(number)
                continue
            try:
                self._receiver.join(number)
            except ReceiverError as error:
                if number not in self._refused:
                    logger.warning("%s (tried again all the time)", error)
                self._refused.add(number)
            else:
                self._refused.discard(number)

    def _count(self) -> None:
        self._counting.count(self._channels)
        counters = self._rings.ticks.counters
        drops = self._receiver.kernel_drops
        counters.add("dropped_packets", drops - self._drops)
        self._drops = drops
        if doubted_ns := self._handler.doubted_since_ns:
            doubted_ns += (
                time.time_ns() - time.monotonic_ns()
            )  # as others read it, by the wall clock
        counters.set("doubted_since_ns", doubted_ns)
        counters.add("silences", self._silences)
        self._silences = 0


def _missing(having: set[tuple[FeedName, SideName]], *, orders: bool) -> Iterator[str]:
    """What follows from lines that a channel does not have."""
    feeds = {feed for feed, _ in having}
    if not {("incremental", "A"), ("incremental", "B")} <= having:
        yield "one incremental line only: whatever it loses is lost"
    if "definition" not in feeds:
        yield "no definition line: instruments are named by their numbers, or as secdef and cache have it"
    if "snapshot" not in feeds:
        yield "no snapshot line: after a loss a book stays STALE until its own updates have rebuilt it"
    if orders and "orders" not in feeds:
        yield "no line of orders: order books are right only if nothing was ever lost"


def _handler(
    options: CmeOptions, plan: LinePlan, ring: RingPlan
) -> tuple[Handler, dict[int, Line]]:
    """A codec that knows the channels and lines, and the lines by the numbers it gave them."""
    handler = Handler(
        max_instruments=options.max_instruments,
        depth=options.depth,
        orders=options.orders,
        natural_refresh=options.natural_refresh,
        max_wait_ns=round(options.max_wait_ms * _NS_PER_MS),
        reorder_packets=options.reorder_packets,
        recovery_entries=options.recovery_entries,
        max_orders=options.max_orders,
        passed_by=options.passed_by,
        silence_ns=round(options.silence_s * _NS),
        feed_index=ring.feed_index,
        shard=ring.shard,
        **options.patterns,
    )
    return handler, add_lines(handler, plan.lines)


def _receiver(options: CmeOptions, lines: Mapping[int, Line], handler: Handler) -> Receiver:
    """Opens the live and the definition lines; the others wait until they are needed."""
    specs = [
        line.spec(number, joined=line.feed in ("incremental", "definition"))
        for number, line in lines.items()
    ]
    return Receiver(
        specs,
        handler,
        mode=options.mode,
        receive_buffer_bytes=options.receive_buffer_bytes,
        hardware_timestamps=options.hardware_timestamps,
        cpu=options.cpu,
        busy_poll_us=options.busy_poll_us,
    )
