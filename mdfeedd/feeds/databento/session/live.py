"""One session with the gateway, from the connection to its end. Sans-IO: bytes and times in, bytes to send out.

::

    HANDSHAKE ──READY──► SUBSCRIBED ──metadata──► DELIVERING
        │ 10 s               │ 10 s                   │ heartbeat + 5 s without a byte
        └────────────────────┴────────────────────────┴──► SessionEnd, which says what follows

Bytes come by `receive`; or, once it is DELIVERING plain DBN, a `Pump` receives and decodes them without the GIL
and `look` is called where it stops: at metadata, at each message and before a record that is held, so that what is
told about the stream stands in the ring where it belongs.
"""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.feeds.databento.codec import (
    BookOverflow,
    DbnDecoder,
    DbnError,
    ErrorMessage,
    JsonLines,
    RecordHeld,
    ReplayReachedPresent,
    ShortRecord,
    SystemMessage,
    UnknownRecord,
)
from mdfeedd.feeds.databento.codec._dbn import MAX_VERSION
from mdfeedd.feeds.databento.codec.json_lines import VERSION as JSON_VERSION
from mdfeedd.feeds.databento.options import are_named
from mdfeedd.feeds.databento.schemas import TBBO_SCHEMA
from mdfeedd.feeds.databento.session.ending import CODES, Ending, SessionEnd
from mdfeedd.feeds.databento.session.lsg import (
    START_LINE,
    Greeting,
    Handshake,
    subscription_lines,
)
from mdfeedd.feeds.databento.session.lsg import Stage as Line
from mdfeedd.feeds.databento.session.names import SessionNames
from mdfeedd.feeds.inflate import InflateError, ZstdInflater
from mdfeedd.tick import GapReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mdfeedd.feeds.databento.codec import Event, Positions
    from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
    from mdfeedd.feeds.databento.session.key import Key
    from mdfeedd.feeds.databento.session.recovery import Recovery
    from mdfeedd.feeds.shard import Shard
    from mdfeedd.ring import Writer

__all__ = ["HANDSHAKE_S", "METADATA_S", "SILENCE_GRACE_S", "LiveSession", "Now", "Stage"]

HANDSHAKE_S: Final = 10
METADATA_S: Final = 10
SILENCE_GRACE_S: Final = 5
LINES_PER_S: Final = 10
"""Subscription lines that the gateway takes; more are delayed."""
CLIENT: Final = "mdfeedd/0.1"
_NS: Final = 1_000_000_000


class Now(NamedTuple):
    """The time, by both clocks: one that never steps, and UNIX ns."""

    monotonic_ns: int
    wall_ns: int


class Stage(enum.Enum):
    """How far the session has come."""

    HANDSHAKE = "handshake"
    SUBSCRIBED = "subscribed"
    DELIVERING = "delivering"


class _Codes(enum.IntEnum):
    """Of system messages, and of the errors that do not end a session."""

    HEARTBEAT = 0
    SUBSCRIBED = 1
    SLOW_READER = 2
    REPLAY_COMPLETED = 3
    END_OF_INTERVAL = 4
    UNSET = 255


SYMBOL_REFUSED: Final = 4
MAX_REFUSED_TOLD: Final = 10
"""Of one session, by name."""
RECORDS_SKIPPED: Final = 7


class LiveSession:
    """`outgoing` is to be sent whenever it is not empty. Every method may raise `SessionEnd`.

    `tap` sees the stream as plain DBN from the metadata on, before it is decoded.

    `positions` are those of `recovery`; None where no subscription is replayed, which is faster. `shard` is that of
    `recovery`, too: where not all is asked for by name, instruments of other shards are passed over.
    """

    def __init__(
        self,
        options: DatabentoOptions,
        key: Key,
        recovery: Recovery,
        writer: Writer,
        *,
        bars: Callable[[], Writer],
        positions: Positions | None,
        logger: logging.Logger,
        now: Now,
        shard: Shard | None = None,
    ) -> None:
        self.stage: Stage = Stage.HANDSHAKE
        self.outgoing: bytearray = bytearray()
        self.delivering_since_ns: int = 0
        self.names: SessionNames = SessionNames(
            writer, logger, None if are_named(options.subscriptions) else shard
        )
        self.tap: Callable[[bytes | memoryview], None] | None = None
        self._options = options
        self._recovery = recovery
        self._writer = writer
        self._bars = bars
        self._logger = logger
        self._deadline_ns = now.monotonic_ns + HANDSHAKE_S * _NS
        self._handshake = Handshake(_greeting(options), key)
        self._inflate = ZstdInflater() if options.compression == "zstd" else None
        self._json = JsonLines() if options.encoding == "json" else None
        self._slow_told = False
        self._refused = 0
        self._metadata_s = METADATA_S
        self.decoder: DbnDecoder = DbnDecoder(
            self.names,
            version=JSON_VERSION if self._json else None,
            ts_out=False,
            max_orders=options.max_orders,
            positions=positions,
            accept_newer=options.accept_newer_dbn,
        )

    @property
    def session_id(self) -> str:
        """The gateway's number of the session; "" before it has told it."""
        return self._handshake.session_id

    @property
    def plain(self) -> bool:
        """What is delivered is DBN as it is: a `Pump` may take over."""
        return self._inflate is None and self._json is None

    def receive(self, data: bytes | memoryview, now: Now) -> None:
        """Take bytes of the gateway."""
        if self.stage is Stage.HANDSHAKE:
            self.outgoing += self._handshake.receive(bytes(data))
            if self._handshake.stage is Line.READY:
                data = self._handshake.surplus
                self._subscribe(now)
        if self.stage is not Stage.HANDSHAKE and data:
            self.heard(now.monotonic_ns)
            for piece in self._pieces(data):
                if self.tap is not None:
                    self.tap(piece)
                self._decode(piece, now)

    def heard(self, monotonic_ns: int) -> None:
        """Bytes came at that time."""
        if self.stage is Stage.DELIVERING:
            self._deadline_ns = monotonic_ns + self._patience_ns

    def check(self, now: Now) -> None:
        """End the session if the gateway has been mute for too long."""
        if now.monotonic_ns < self._deadline_ns:
            return
        if self.stage is Stage.DELIVERING:
            told = f"silent for {self._patience_ns // _NS} s, without heartbeats too"
        elif self.stage is Stage.SUBSCRIBED:
            told = f"silent for {self._metadata_s} s after the session was started"
        else:
            told = f"no answer within {HANDSHAKE_S} s: waited for {self._handshake.stage.value}"
        raise SessionEnd(Ending.SILENT, told)

    def look(self, now: Now) -> None:
        """Act on what the decoder has stopped at: metadata, messages, a record that is held."""
        self.names.now_ns = now.wall_ns
        if self.stage is Stage.SUBSCRIBED and (self._json or self.decoder.metadata is not None):
            self._begin(now)
        for event in self.decoder.take_events():
            self._act(event, now)

    def note(self, wall_ns: int) -> None:
        """Remember how far everything has come. A stamp of the future is not believed."""
        if self.stage is Stage.DELIVERING:
            self._recovery.note(min(self.decoder.clock_ns, wall_ns))

    def extend(self, subscriptions: Sequence[Subscription], now: Now) -> None:
        """Ask for more within the session, which is on already; see `extends`.

        Not while a replay is under way: what comes of them could not be told from what that has to bring again.
        """
        if self._recovery.replaying:
            raise SessionEnd(
                Ending.PLANNED, "a new session for more symbols: a replay is under way"
            )
        for line in subscription_lines(self._recovery.extend(subscriptions, now.wall_ns)):
            self.outgoing += line

    def broken(self, fault: DbnError) -> SessionEnd:
        """What a fault of the stream comes to."""
        self._recovery.reason = GapReason.CORRUPT
        if self.decoder.version > MAX_VERSION:
            told = f"the gateway sends DBN version {self.decoder.version}, and 1 to {MAX_VERSION} are known"
            return SessionEnd(Ending.VERSION, told)
        return SessionEnd(Ending.BROKEN, str(fault))

    @property
    def _patience_ns(self) -> int:
        return (self._options.heartbeat_s + SILENCE_GRACE_S) * _NS

    def _subscribe(self, now: Now) -> None:
        requests = self._recovery.plan(self._options.subscriptions, now.wall_ns)
        lines = list(subscription_lines(requests))
        for line in lines:
            self.outgoing += line
        self.outgoing += START_LINE
        self.stage = Stage.SUBSCRIBED
        self._metadata_s = METADATA_S + len(lines) // LINES_PER_S
        self._deadline_ns = now.monotonic_ns + self._metadata_s * _NS

    def _pieces(self, data: bytes | memoryview) -> list[bytes | memoryview]:
        """As plain DBN records."""
        plain: list[bytes | memoryview] = [data]
        try:
            if self._inflate is not None:
                plain = list(self._inflate.feed(data))
            if self._json is not None:
                plain = [self._json.feed(bytes(piece)) for piece in plain]
        except InflateError as error:
            self._recovery.reason = GapReason.CORRUPT
            raise SessionEnd(Ending.BROKEN, f"the compressed stream {error}") from None
        except DbnError as fault:
            raise self.broken(fault) from None
        return plain

    def _decode(self, piece: bytes | memoryview, now: Now) -> None:
        if self._json and self.stage is Stage.SUBSCRIBED:
            self._begin(now)
        left = memoryview(piece)
        self.names.now_ns = now.wall_ns
        try:
            while True:
                used = self.decoder.decode_into(
                    self._writer, left, bars=self._bars, ts_recv_ns=now.wall_ns, pause=True
                )
                left = left[used:]
                self.look(now)
                if not self.decoder.paused:
                    break
        except DbnError as fault:
            raise self.broken(fault) from None

    def _begin(self, now: Now) -> None:
        metadata = self.decoder.metadata
        start_ns = metadata.start_ns if metadata is not None else 0
        if not 0 < start_ns <= now.wall_ns:
            start_ns = 0
        if self._options.tbbo:
            self.decoder.read_as(TBBO_SCHEMA)
        self.stage = Stage.DELIVERING
        self.delivering_since_ns = now.monotonic_ns
        self._deadline_ns = now.monotonic_ns + self._patience_ns
        self._recovery.began(
            self.decoder, start_ns, now.wall_ns, self.names.is_mapped, self.names.renumbered
        )
        self._writer.counters.add("sessions")

    def _act(self, event: Event, now: Now) -> None:
        if isinstance(event, SystemMessage):
            self._system(event, now)
        elif isinstance(event, ErrorMessage):
            self._error(event, now)
        elif isinstance(event, RecordHeld):
            self._recovery.held(event.rtype, now.wall_ns)
        elif isinstance(event, ReplayReachedPresent):
            self._recovery.reached_present(event.rtype, now.wall_ns)
        elif isinstance(event, UnknownRecord):
            self._logger.warning(
                "records of type 0x%02X are not known to this version; they are skipped",
                event.rtype,
            )
        elif isinstance(event, ShortRecord):
            self._logger.warning(
                "records of type 0x%02X come with %d bytes, too few; they are not used",
                event.rtype, event.length,
            )  # fmt: skip
        elif isinstance(event, BookOverflow):
            self._logger.warning("an order book is full, its quotes are STALE: raise max_orders")

    def _system(self, message: SystemMessage, now: Now) -> None:
        self._recovery.heard(message.ts_event_ns)
        if _is_acknowledgement(message):
            self._logger.debug("gateway: %s", message.text)
            self._recovery.acknowledged(message.text, now.wall_ns)
        elif message.code == _Codes.HEARTBEAT:
            self._recovery.note(min(message.ts_event_ns, now.wall_ns))
        elif message.code == _Codes.SLOW_READER:
            level = logging.DEBUG if self._slow_told else logging.WARNING
            self._slow_told = True
            self._logger.log(level, "the gateway finds us too slow: %s", message.text)
        elif message.code == _Codes.REPLAY_COMPLETED:
            self._recovery.replay_completed(message.text, now.wall_ns)
        elif message.code == _Codes.END_OF_INTERVAL:
            self._logger.debug("gateway: %s", message.text)
        else:
            self._logger.info("gateway: %s (system message %d)", message.text, message.code)

    def _refuse(self, text: str) -> None:
        """One symbol of many; the first few are named."""
        self._writer.counters.add("refused_symbols")
        self._refused += 1
        if self._refused <= MAX_REFUSED_TOLD:
            self._logger.warning("a symbol is not resolved, the others go on: %s", text)
        elif self._refused == MAX_REFUSED_TOLD + 1:
            self._logger.warning("more symbols are not resolved: see the counter refused_symbols")

    def _error(self, message: ErrorMessage, now: Now) -> None:
        if message.code == SYMBOL_REFUSED:
            self._refuse(message.text)
        elif message.code == RECORDS_SKIPPED:
            self._logger.warning("records are lost, we read too slowly: %s", message.text)
            self._recovery.skipped(self.decoder, message.ts_event_ns, now.wall_ns)
        elif message.code in CODES:
            ending = CODES[message.code]
            if ending is Ending.AGED_OUT:
                self._recovery.aged_out()
            raise SessionEnd(ending, f"error {message.code}: {message.text}")
        else:
            self._logger.warning("gateway: %s (error %d)", message.text, message.code)


def _is_acknowledgement(message: SystemMessage) -> bool:
    """By its code; in version 1 messages have none, and the words must do."""
    if message.code == _Codes.UNSET:
        return message.text.startswith("Subscription request") and "succeeded" in message.text
    return message.code == _Codes.SUBSCRIBED


def _greeting(options: DatabentoOptions) -> Greeting:
    return Greeting(
        dataset=options.dataset,
        client=CLIENT,
        encoding=options.encoding,
        compression=options.compression,
        ts_out=options.ts_out,
        heartbeat_s=options.heartbeat_s,
        slow_reader=options.slow_reader_behavior,
    )
