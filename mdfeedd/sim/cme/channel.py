"""The wire side of the venue: messages into packets with sequence numbers, applied to what is published.

Outgoing messages ──► packets of the incremental feed ──► Sent
                           │ each entry, in order
                           ▼
                      Published (per instrument) ──► Truth
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.entries import (
    BOOK_RESET,
    BookEntry,
    ChannelReset,
    DailyStatistic,
    Definition,
    Feed,
    LimitsEntry,
    OrderEntry,
    Sent,
    SessionStatistic,
    StatusEntry,
    Tell,
    TradeEntry,
    VolumeEntry,
)
from mdfeedd.sim.cme.published import Published
from mdfeedd.sim.cme.truth import EventEnd, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mdfeedd.sim.cme.event import Outgoing
    from mdfeedd.sim.cme.published import State
    from mdfeedd.sim.cme.wire import Wire

__all__ = ["PACKET_BYTES", "Channel"]

PACKET_BYTES: Final = 1_412  # the largest payload seen on the wire
PACKET_GAP_NS: Final = 4_000  # between packets of one event
SENDING_DELAY_NS: Final = 8_000  # from TransactTime to SendingTime
MAX_SEQ: Final = 2**32 - 1


class Channel:
    """Numbers, packs and publishes; `now_ns` is the venue's clock, which only goes forward."""

    def __init__(self, wire: Wire, start_ns: int, first_seq: int, keep_truth: bool) -> None:
        self.wire = wire
        self.now_ns: int = start_ns
        self.epoch: int = 0
        self.next_seq: int = first_seq
        self.oldest_seq: int = (
            first_seq  # whose books still count: the first of the epoch, or a reset
        )
        self.last_sent_ns: int = start_ns
        self.published: dict[int, Published] = {}
        self.truth: Truth = Truth(keep_truth)
        self.truth.begin(first_seq)
        self._held: list[Outgoing] = []
        self._outbox: list[Sent] = []
        self._unended: dict[int, Published] = {}
        self._fresh: dict[int, Published] = {}
        self._cleared: set[int] = set()

    @property
    def last_seq(self) -> int:
        """MsgSeqNum of the last packet of the incremental feed."""
        return self.next_seq - 1

    def open(self, known: Published) -> None:
        """A new instrument, or a known one that begins anew, as of the next packet."""
        known.since_seq = self.next_seq
        self.published[known.security_id] = known
        self._fresh[known.security_id] = known

    def restart(self, first_seq: int = 1) -> None:
        """Sequence numbers begin anew."""
        self.flush()
        self.epoch += 1
        self.next_seq = self.oldest_seq = first_seq
        self.truth.begin(first_seq)

    def send(
        self, messages: Iterable[Outgoing], *, per_packet: int = 0, hold: bool = False
    ) -> None:
        """Into packets of at most `per_packet` messages (0: as many as fit); held ones go first."""
        waiting = self._held
        size = sum(len(message.payload) for message in waiting)
        for message in messages:
            full = size + len(message.payload) > PACKET_BYTES - 12
            if waiting and (full or (per_packet and len(waiting) >= per_packet)):
                self._packet(waiting)
                self.now_ns += PACKET_GAP_NS
                waiting = []
                size = 0
            waiting.append(message)
            size += len(message.payload)
        self._held = waiting
        if not hold:
            self.flush()

    def flush(self) -> None:
        """Send what is held back."""
        if self._held:
            held, self._held = self._held, []
            self._packet(held)

    def put(self, feed: Feed, seq: int, *messages: bytes) -> Sent:
        """A packet of another feed, or any bytes whatever; it changes no state."""
        payload = self.wire.packet(seq, *messages, sending_ns=self.now_ns + SENDING_DELAY_NS)
        sent = Sent(self.now_ns + SENDING_DELAY_NS, feed, seq, payload, self.epoch)
        self._outbox.append(sent)
        return sent

    def take(self) -> list[Sent]:
        """What was sent since the last call, in order."""
        sent, self._outbox = self._outbox, []
        return sent

    def _packet(self, messages: list[Outgoing]) -> None:
        seq = self.next_seq
        assert seq <= MAX_SEQ
        self.next_seq += 1
        self.last_sent_ns = self.now_ns
        truth = self.truth
        truth.ordinal += 1
        self.put(Feed.INCREMENTAL, seq, *[message.payload for message in messages])
        dirty, self._fresh = self._fresh, {}
        self._unended.update(dirty)
        for message in messages:
            changed: dict[int, Published] = {}
            for entry in message.tells:
                self._apply(entry, message.transact_ns, changed)
                truth.tell(self.epoch, seq, message.transact_ns, entry)
            dirty |= changed
            self._unended |= changed
            if message.ends:
                states = {sid: known.freeze() for sid, known in self._unended.items()}
                cleared = frozenset(self._cleared)
                truth.end(EventEnd(self.epoch, seq, message.transact_ns, states, cleared))
                self._unended = {}
                self._cleared.clear()
        after: dict[int, State | None] = {}
        for sid, known in dirty.items():
            after[sid] = known.freeze() if sid in self.published else None
        truth.store(after)

    def _apply(self, entry: Tell, transact_ns: int, dirty: dict[int, Published]) -> None:
        if isinstance(entry, StatusEntry):
            for known in self._meant(entry):
                known.traded(entry)
                dirty[known.security_id] = known
            return
        if isinstance(entry, ChannelReset):
            self.truth.resets.append((self.epoch, self.last_seq))
            self.oldest_seq = self.last_seq
            self._cleared.update(self.published)
            for known in self.published.values():
                known.begin_anew()
                known.transact_ns = transact_ns
                dirty[known.security_id] = known
            return
        one = self.published[entry.security_id]
        dirty[entry.security_id] = one
        if isinstance(entry, Definition):
            one.defined(entry, transact_ns)
            if entry.action == b"D":
                self._cleared.add(entry.security_id)
                del self.published[entry.security_id]
            return
        one.transact_ns = transact_ns
        if isinstance(entry, BookEntry) and entry.kind == BOOK_RESET:
            self._cleared.add(entry.security_id)
        _APPLY[type(entry)](one, entry)

    def _meant(self, entry: StatusEntry) -> list[Published]:
        if entry.security_id is None:
            return [known for known in self.published.values() if known.group == entry.group]
        known_one = self.published.get(entry.security_id)
        return [] if known_one is None else [known_one]


_APPLY: Final[dict[type, Callable[..., None]]] = {
    BookEntry: Published.book,
    OrderEntry: Published.order,
    TradeEntry: Published.trade,
    VolumeEntry: Published.volume,
    SessionStatistic: Published.session,
    DailyStatistic: Published.daily,
    LimitsEntry: Published.banding,
}
