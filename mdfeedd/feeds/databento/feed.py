"""The live Databento feed as a process: a session after the other into one ring, until it is stopped.

::

    connect ─► LiveSession: handshake ─► Pump: socket ─► decoder ─► ring, without the GIL
       ▲                                   │ stops at messages; `LiveSession.look` acts on them
       └──────── Backoff ◄── SessionEnd ◄──┘          `Recovery` tells holes and asks for them again

Where the stream is compressed, JSON or recorded, Python receives and `LiveSession.receive` decodes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import random
import socket
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mdfeedd.feeds.core_file import forbid_core_file
from mdfeedd.feeds.databento.codec import DbnError
from mdfeedd.feeds.databento.options import DatabentoOptions, are_named
from mdfeedd.feeds.databento.resume import open_positions
from mdfeedd.feeds.databento.session import _pump
from mdfeedd.feeds.databento.session.attempt import Attempt
from mdfeedd.feeds.databento.session.backoff import Backoff
from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.feeds.databento.session.key import read_key
from mdfeedd.feeds.databento.session.live import LiveSession, Now, Stage
from mdfeedd.feeds.databento.session.probe import probe
from mdfeedd.feeds.databento.session.recording import Recording
from mdfeedd.feeds.databento.session.recovery import Recovery, extends
from mdfeedd.feeds.protocol import BARS_SUFFIX
from mdfeedd.ring.restart import last_beat_ns
from mdfeedd.tick import BAR, TICK, TIME_UNDEF

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from mdfeedd.feeds.databento.codec import Positions
    from mdfeedd.feeds.databento.options import Subscription
    from mdfeedd.feeds.databento.session.key import Key
    from mdfeedd.feeds.protocol import ProbeLine, RingPlan
    from mdfeedd.ring import Writer

__all__ = ["DatabentoFeed", "DatabentoOptions"]

logger: logging.Logger = logging.getLogger("mdfeedd.databento")

RUN_NS: Final = 50_000_000  # how long a stop may wait for a busy stream
WAIT_S: Final = 0.1  # between heartbeats while there is no session
RECEIVE_BYTES: Final = 1 << 18
BEAT_S: Final = 0.1
_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400
_LIVE_KEYS: Final = frozenset({"subscriptions"})


def now() -> Now:
    """The time by both clocks."""
    return Now(time.monotonic_ns(), time.time_ns())


class DatabentoFeed:
    """Writes the ring of `ring` with the records of one dataset, and NAME.bars with the vendor's bars.

    ts_recv is the time of arrival here, ts_event the venue's. Ends by `SystemExit` with 77 (key, entitlement)
    or 78 (dataset, subscriptions, DBN version), after a sentence that says what to do; all else is tried again.
    Raises `RingError` or `OSError` if the rings or the file beside them cannot be made.
    """

    Options: ClassVar[type[Any]] = DatabentoOptions

    def __init__(self, name: str, options: DatabentoOptions, ring: RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring
        self._told: DatabentoOptions | None = None

    @classmethod
    def live(cls, old: DatabentoOptions, new: DatabentoOptions) -> bool:
        """Whether a running feed can go over from one to the other."""
        keys = [key for key in old.__dataclass_fields__ if getattr(old, key) != getattr(new, key)]
        return set(keys) <= _LIVE_KEYS and old.tbbo == new.tbbo

    def reconfigure(self, options: DatabentoOptions) -> None:
        """Take new options at the next opportunity. From any thread."""
        self._told = options

    @classmethod
    def probe(cls, name: str, options: DatabentoOptions) -> Iterable[ProbeLine]:  # noqa: ARG003
        """Log in, subscribe, and tell what the gateway says to each subscription."""
        return probe(options)

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop` is set."""
        forbid_core_file("the API key")
        try:
            key = _key_of(self.options)
        except SessionEnd as end:
            raise _exit(self.name, end) from None
        left_ns = last_beat_ns(self.ring.name, self.ring.directory)
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(self.ring.writer(self.name, TICK))
            rings = _Rings(self.name, self.ring, writer)
            stack.callback(rings.close)
            line = _Line(self, key, rings, left_ns)
            while not stop.is_set():
                try:
                    line.run(stop)
                except SessionEnd as end:
                    if end.ending.then.status:
                        raise _exit(self.name, end) from None
                    line.pause(end, stop)

    def take_told(self) -> DatabentoOptions | None:
        """The options told since the last call."""
        told, self._told = self._told, None
        return told


class _Rings:
    """The ring of ticks, and that of bars from the first bar on, whose table repeats the entries of the other's."""

    def __init__(self, feed: str, plan: RingPlan, ticks: Writer) -> None:
        self.plan = plan
        self.ticks = ticks
        self._feed = feed
        self._bars: Writer | None = None
        self._entries: dict[int, tuple[str, dict[str, Any]]] = {}

    def add(self, symbol: str, **attributes: Any) -> int:
        """Enter an instrument (see `InstrumentTable`)."""
        own_id = self.ticks.instruments.add(symbol, **attributes)
        self._entries[own_id] = (symbol, attributes)
        if self._bars is not None:
            self._bars.instruments.add(symbol, instrument_id=own_id, **attributes)
        return own_id

    def bars(self) -> Writer:
        """The ring of bars."""
        if self._bars is None:
            self._bars = self.plan.writer(self._feed, BAR, BARS_SUFFIX)
            for own_id, (symbol, attributes) in self._entries.items():
                self._bars.instruments.add(symbol, instrument_id=own_id, **attributes)
        return self._bars

    def beat(self) -> None:
        """Stamp the heartbeats."""
        self.ticks.beat()
        if self._bars is not None:
            self._bars.beat()

    def close(self) -> None:
        """Announce the end of the bars."""
        if self._bars is not None:
            self._bars.close()


class _Line:
    """The connection to the gateway over all sessions."""

    def __init__(self, feed: DatabentoFeed, key: Key, rings: _Rings, left_ns: int | None) -> None:
        self.options = feed.options
        self._feed = feed
        self._key = key
        self._rings = rings
        self._writer = rings.ticks
        self._backoff = Backoff(random.random)
        self._delivered_s = 0.0
        self._beat_s = 0.0
        self._renew_s = _next_renewal_s(feed.options.renew_at)
        self._replays = _replays(feed.options.subscriptions)
        self._positions = self._open_positions(fresh=self._writer.epoch == 1, left_ns=left_ns)
        self._recovery = Recovery(
            self._positions,
            self._writer,
            logger,
            reach_ns=round(feed.options.replay_reach_s * _NS),
            limit_ns=round(feed.options.replay_limit_s * _NS),
            shard=feed.ring.shard,
        )

    def _open_positions(self, *, fresh: bool, left_ns: int | None) -> Positions:
        """As an earlier process left them. Where it left none, what it knew ends at `left_ns`."""
        options = self.options
        positions = open_positions(
            self._rings.plan, options.dataset, streams=self._replays, fresh=fresh
        )
        bars = any(
            one.policy == "replay" and one.schema.startswith("ohlcv")
            for one in options.subscriptions
        )
        positions.settle(self._writer.next_seq, self._rings.bars().next_seq if bars else 0)
        if not fresh and not positions.known_ns and left_ns is not None:
            positions.known_ns = left_ns
        return positions

    def run(self, stop: threading.Event) -> None:
        """One session, until `stop`. Raises `SessionEnd`."""
        self._delivered_s = 0.0
        if self._is_idle():
            self._wait_for_options(stop)
            return
        sock = self._connect(stop)
        if sock is None:
            return
        with sock:
            self.options = self._feed.take_told() or self.options  # told while there was no session
            if self._is_idle():
                return
            if self._replays != _replays(self.options.subscriptions):
                self._replays = not self._replays
                self._positions = self._open_positions(fresh=False, left_ns=self._recovery.known_ns)
                self._recovery.use(self._positions)
            session = LiveSession(
                self.options,
                self._key,
                self._recovery,
                self._writer,
                bars=self._rings.bars,
                positions=self._positions if self._replays else None,
                logger=logger,
                now=now(),
                shard=self._feed.ring.shard,
            )
            session.names.enter_into(self._rings)
            try:
                self._handshake(sock, session, stop)
                if not stop.is_set():
                    self._deliver(sock, session, stop)
            finally:
                session.note(time.time_ns())
                if session.delivering_since_ns:
                    self._delivered_s = (time.monotonic_ns() - session.delivering_since_ns) / _NS

    def _is_idle(self) -> bool:
        """All is asked for by name, and no name is of our shard."""
        shard, asked = self._feed.ring.shard, self.options.subscriptions
        if shard is None or not are_named(asked):
            return False
        return not any(shard.has(symbol) for one in asked for symbol in one.symbols)

    def _wait_for_options(self, stop: threading.Event) -> None:
        """There is nothing to ask for: be there until that changes."""
        told = "%s: none of its symbols is in the shard %s: nothing will come"
        logger.warning(told, self._feed.name, self._feed.ring.shard)
        while not stop.wait(WAIT_S):
            self._beat()
            options = self._feed.take_told()
            if options is not None:
                self.options = options
                return

    def _connect(self, stop: threading.Event) -> socket.socket | None:
        """A connection; None if `stop` came first."""
        attempt = Attempt(*self.options.address(), self.options.receive_buffer_bytes)
        while not stop.is_set():
            self._beat()
            if attempt.wait(WAIT_S):
                return attempt.result()
        attempt.give_up()
        return None

    def pause(self, end: SessionEnd, stop: threading.Event) -> None:
        """Tell of the end, and wait before the next session."""
        if end.ending is Ending.PLANNED:
            logger.info("%s: %s", self._feed.name, end.text)
            return
        pause_s = self._backoff.pause_s(end.ending.then, self._delivered_s)
        hint = f" ({end.ending.then.hint})" if end.ending.then.hint else ""
        logger.warning("%s: %s%s; again in %.1f s", self._feed.name, end.text, hint, pause_s)
        self._writer.counters.add("disconnects", int(self._delivered_s > 0))
        until_s = time.monotonic() + pause_s
        while not stop.wait(min(WAIT_S, max(0.0, until_s - time.monotonic()))):
            self._rings.beat()
            if time.monotonic() >= until_s:
                return

    def _handshake(self, sock: socket.socket, session: LiveSession, stop: threading.Event) -> None:
        """Until subscriptions and start are sent; what came with the last line is in the session."""
        while session.stage is Stage.HANDSHAKE and not stop.is_set():
            session.check(now())
            self._beat()
            data = _receive(sock)
            if data is not None:
                if not data:
                    raise SessionEnd(Ending.CLOSED, "closed by the gateway during the handshake")
                session.receive(data, now())
            self._send(sock, session)

    def _deliver(self, sock: socket.socket, session: LiveSession, stop: threading.Event) -> None:
        logger.info(
            "%s: session %s to %s: %s",
            self._feed.name, session.session_id or "?", self.options.dataset,
            ", ".join(one.schema for one in self.options.subscriptions),
        )  # fmt: skip
        recording = None
        with contextlib.ExitStack() as stack:
            if self.options.record:
                recording = Recording(
                    self.options.record, self._feed.name, session.session_id, self._writer, logger
                )
                stack.callback(recording.close)
                session.tap = recording.write
            spin_ns = self.options.spin_us * 1000
            pump = _pump.Pump(session.decoder, self._writer, self._rings.bars, spin_ns=spin_ns)
            by_pump = session.plain and session.tap is None
            received = 0
            while not stop.is_set():
                if by_pump:
                    try:
                        self._pumped(sock, session, pump)
                    finally:  # the last bytes come with the end of the session
                        self._writer.counters.add("received_bytes", pump.received_bytes - received)
                        received = pump.received_bytes
                else:
                    self._received(sock, session)
                session.check(now())
                if recording is not None:
                    recording.beat()
                self._look_after(sock, session)

    def _pumped(self, sock: socket.socket, session: LiveSession, pump: _pump.Pump) -> None:
        """Have the pump receive for a while."""
        try:
            why = pump.run(sock.fileno(), RUN_NS)
        except DbnError as fault:
            session.look(now())  # what came before it
            raise session.broken(fault) from None
        session.look(now())
        if pump.last_byte_ns:
            session.heard(pump.last_byte_ns)
        if why == _pump.ENDED:
            raise SessionEnd(Ending.CLOSED, "closed by the gateway")
        if why == _pump.FAILED:
            raise SessionEnd(Ending.RESET, f"the connection broke: {os.strerror(pump.error)}")

    def _received(self, sock: socket.socket, session: LiveSession) -> None:
        """Receive once, in Python."""
        data = _receive(sock)
        if data is None:
            return
        if not data:
            raise SessionEnd(Ending.CLOSED, "closed by the gateway")
        self._writer.counters.add("received_bytes", len(data))
        session.receive(data, now())

    def _look_after(self, sock: socket.socket, session: LiveSession) -> None:
        session.note(time.time_ns())
        self._beat(session)
        self._take_told(session)
        self._send(sock, session)
        if self._renew_s and time.time() >= self._renew_s:
            self._renew_s = _next_renewal_s(self.options.renew_at)
            raise SessionEnd(Ending.PLANNED, "a new session, as every day at this time")

    def _beat(self, session: LiveSession | None = None) -> None:
        if time.monotonic() - self._beat_s >= BEAT_S:
            self._beat_s = time.monotonic()
            self._rings.beat()
            clock_ns = session.decoder.clock_ns if session is not None else TIME_UNDEF
            if clock_ns != TIME_UNDEF:
                self._writer.counters.set("latency_ns", max(0, time.time_ns() - clock_ns))

    def _take_told(self, session: LiveSession) -> None:
        """New subscriptions within the session; anything else in a new one."""
        told = self._feed.take_told()
        if told is None:
            return
        old, self.options = self.options.subscriptions, told
        new = told.subscriptions
        alike = self._feed.ring.shard is None or are_named(old) == are_named(new)
        if alike and self._replays == _replays(new) and extends(old, new):
            session.extend(new, now())
            logger.info("%s: more symbols within the session", self._feed.name)
            return
        raise SessionEnd(Ending.PLANNED, "a new session for the new subscriptions")

    def _send(self, sock: socket.socket, session: LiveSession) -> None:
        """As much as the gateway takes now; the rest goes next time."""
        while session.outgoing:
            try:
                sent = sock.send(session.outgoing, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise SessionEnd(Ending.RESET, f"the connection broke: {error.strerror}") from None
            del session.outgoing[:sent]


def _key_of(options: DatabentoOptions) -> Key:
    """The key of the options. Raises `SessionEnd`."""
    foreign = bool(options.gateway)
    return read_key(options.key_env, options.key_file, options.key_credential, foreign=foreign)


def _replays(subscriptions: tuple[Subscription, ...]) -> bool:
    """Whether records of the past may come."""
    return any(one.policy == "replay" or one.start for one in subscriptions)


def _receive(sock: socket.socket) -> bytes | None:
    """What came; b"" at the end of the stream, None if nothing did in time. Raises `SessionEnd`."""
    try:
        return sock.recv(RECEIVE_BYTES)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise SessionEnd(Ending.RESET, f"the connection broke: {error.strerror}") from None


def _exit(name: str, end: SessionEnd) -> SystemExit:
    """The end of the process for what no retry can mend."""
    then = end.ending.then
    logger.error("%s: %s: %s", name, end.text, then.hint)
    return SystemExit(then.status)


def _next_renewal_s(at: str) -> float:
    """UNIX time of the next HH:MM UTC; 0: never."""
    if not at:
        return 0.0
    hour, minute = (int(part) for part in at.split(":"))
    today = dt.datetime.now(dt.UTC)
    due = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if due <= today:
        due += dt.timedelta(seconds=_DAY_S)
    return due.timestamp()
