"""The decoder: one message after the other into ticks, in the order in which they came.

::

    SUMMARY/INITPAINT, any recap   merge ─► QUOTE with SNAPSHOT, at the last of its pieces; ends STALE
    QUOTE/*                        merge ─► QUOTE, if the touch is another than before
    TRADE/NEW, CANCEL, CORRECT     TRADE, TRADE_CANCEL, TRADE_CORRECTION; and as QUOTE/*
    SUMMARY/DATALOSS               GAP of the instrument, and STALE until an image
    SUMMARY/*                      as QUOTE/*; STATISTIC, if wanted
    anything else                  counted

Bounds of GAP and RECOVERED are UNIX ns. What is missing was sent after the first of them, the last stamp before
the hole in the instrument's own stream (Bloomberg's clock; before any stamp, when it was asked for, by ours), and
before the last: in a GAP when the loss was noticed, in its RECOVERED when the image came (our clock). A GAP tells
what is known by then, RECOVERED the whole; of the feed (instrument 0), the whole of all its instruments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdfeedd.feeds.bloomberg.codec.fields import (
    ASK_TIMES,
    BID_TIMES,
    DELAYED,
    SEND_TIME,
    STATISTICS,
    SUBTYPE,
    TRADE_TIMES,
    TYPE,
)
from mdfeedd.feeds.bloomberg.codec.fixed import fixed, size, trade_id
from mdfeedd.feeds.bloomberg.codec.times import unix_ns
from mdfeedd.tick import PRICE_UNDEF, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mdfeedd.feeds.bloomberg.codec.staging import Staging
    from mdfeedd.feeds.bloomberg.codec.touch import Touch

__all__ = ["FRAGMENT_END", "FRAGMENT_NONE", "FRAGMENT_START", "Decoder", "Delayed", "Event", "Image", "Lost", "stamp_of"]  # fmt: skip

RECAP_NONE: Final = 0
FRAGMENT_NONE: Final = 0
FRAGMENT_START: Final = 1
FRAGMENT_END: Final = 3
_ABSENT: Final = object()
_STALE: Final = int(Flag.STALE)
_END: Final = int(Flag.EVENT_END)
_SNAPSHOT: Final = int(Flag.SNAPSHOT | Flag.EVENT_END)
_BAD_TS: Final = int(Flag.BAD_TS)
_DELAYED: Final = int(Flag.DELAYED)
_TRADE_KINDS: Final[dict[Any, int]] = {
    "NEW": int(Kind.TRADE),
    "CANCEL": int(Kind.TRADE_CANCEL),
    "CORRECT": int(Kind.TRADE_CORRECTION),
}
_QUOTE_SUBTYPES: Final = frozenset({"BID", "ASK", "PAIRED", "MID"})
_SUMMARY_SUBTYPES: Final = frozenset({"INTRADAY", "NEWDAY"})


class Image(NamedTuple):
    """An image of the instrument is complete."""

    cid: int


class Lost(NamedTuple):
    """Bloomberg says in the stream that data are lost, or a message could not be read."""

    cid: int
    reason: GapReason


class Delayed(NamedTuple):
    """The stream turned out to be delayed, or not to be so any more."""

    cid: int
    delayed: bool


Event = Image | Lost | Delayed


class Decoder:
    """Turns messages into ticks of `staging`. `touches` are the instruments by correlation id.

    `statistics`: also make STATISTIC ticks. `refuse_delayed`: make no ticks of a delayed stream.

    Counts since the start: `messages`, `skipped` (known, but no tick comes of them), `unknown` types and
    subtypes, `unmapped` (of no subscription that is on), `torn` and `recovered` instruments.
    """

    def __init__(
        self, staging: Staging, *, statistics: bool = False, refuse_delayed: bool = False
    ) -> None:
        self.staging = staging
        self.touches: dict[int, Touch] = {}
        self.messages: int = 0
        self.skipped: int = 0
        self.unknown: int = 0
        self.unmapped: int = 0
        self.torn: int = 0
        self.recovered: int = 0
        self.events: list[Event] = []
        self.last_ns: int = 0
        self._statistics = statistics
        self._refuse_delayed = refuse_delayed
        self._last: dict[str, Any] = {}
        self._awaited: set[Touch] = set()
        self._feed_hole = (0, 0, 0)
        self._healing = False

    def open(self, cid: int, touch: Touch, now_ns: int = 0) -> None:
        """Messages of `cid`, asked for at `now_ns`, tell about `touch` from now on."""
        self.touches[cid] = touch
        touch.stamp_ns = now_ns

    def close(self, cid: int) -> Touch | None:
        """No message of `cid` means anything any more."""
        return self.touches.pop(cid, None)

    def take_events(self) -> list[Event]:
        """What was noticed since the last call."""
        events, self.events = self.events, []
        return events

    @property
    def latency_ns(self) -> int | None:
        """How long the last message that tells it was under way from Bloomberg, by two clocks."""
        sent_ns = unix_ns(self._last.get(SEND_TIME), self.last_ns)
        return None if sent_ns is None else max(0, self.last_ns - sent_ns)

    def decode(
        self, cid: int, recap: int, fragment: int, message: dict[str, Any], recv_ns: int
    ) -> None:
        """One message of the type MarketDataEvents. Raises `ValueUnreadable`."""
        self.messages += 1
        touch = self.touches.get(cid)
        if touch is None:
            self.unmapped += 1
            return
        self._last = message
        kind = message.get(TYPE)
        subtype = message.get(SUBTYPE)
        delayed = message.get(DELAYED)
        if delayed is not None and bool(delayed) != bool(touch.flags & _DELAYED):
            touch.flags ^= _DELAYED
            self.events.append(Delayed(cid, bool(delayed)))
        if kind == "SUMMARY" and subtype == "DATALOSS":
            self.lost(touch, recv_ns, GapReason.VENDOR_SKIPPED)
            self.events.append(Lost(cid, GapReason.VENDOR_SKIPPED))
        elif self._refuse_delayed and touch.flags & _DELAYED:
            self.skipped += 1
        elif recap != RECAP_NONE or subtype == "INITPAINT":
            self._image(cid, touch, fragment, message, recv_ns)
        elif kind == "QUOTE":
            self.unknown += subtype not in _QUOTE_SUBTYPES
            self._quote(touch, message, recv_ns)
        elif kind == "TRADE":
            self._trade(touch, subtype, message, recv_ns)
        elif kind == "SUMMARY":
            self.unknown += subtype not in _SUMMARY_SUBTYPES
            self._quote(touch, message, recv_ns)
            if self._statistics:
                self._tell_statistics(touch, message, recv_ns, _END)
        else:
            self.unknown += 1
        touch.last_ns = self.last_ns = recv_ns

    @staticmethod
    def _take(touch: Touch, message: dict[str, Any]) -> None:
        """Take over what the message says of both sides: all of it or, if it cannot be read, nothing."""
        get = message.get
        bid, ask = get("BID", _ABSENT), get("ASK", _ABSENT)
        bid_size, ask_size = get("BID_SIZE", _ABSENT), get("ASK_SIZE", _ABSENT)
        new_bid = touch.bid if bid is _ABSENT else fixed(bid)
        new_ask = touch.ask if ask is _ABSENT else fixed(ask)
        new_bid_size = touch.bid_size if bid_size is _ABSENT else size(bid_size)
        touch.ask_size = touch.ask_size if ask_size is _ABSENT else size(ask_size)
        touch.bid, touch.ask, touch.bid_size = new_bid, new_ask, new_bid_size

    def _merge(self, touch: Touch, message: dict[str, Any]) -> bool:
        """Whether the message makes the touch another than the last QUOTE told."""
        self._take(touch, message)
        shown = touch.show()
        if shown == touch.shown:
            return False
        touch.shown = shown
        return True

    def _quote(self, touch: Touch, message: dict[str, Any], recv_ns: int) -> None:
        if not self._merge(touch, message):
            self.skipped += 1
            return
        flags = touch.flags | _END
        at_ns = _quote_ns(message, recv_ns)
        if at_ns is None:
            at_ns, flags = recv_ns, flags | _BAD_TS
        else:
            touch.stamp_ns = at_ns
        self.staging.quote(at_ns, recv_ns, touch.instrument_id, flags, touch.shown)

    def _trade(self, touch: Touch, subtype: Any, message: dict[str, Any], recv_ns: int) -> None:
        get = message.get
        kind = _TRADE_KINDS.get(subtype, 0)
        price, quantity = get("EVT_TRADE_PRICE_RT"), get("EVT_TRADE_SIZE_RT")
        price = fixed(get("LAST_PRICE") if price is None else price)
        quantity = size(get("SIZE_LAST_TRADE") if quantity is None else quantity)
        number = trade_id(get("EVT_TRADE_IDENTIFIER_RT"))
        changed = self._merge(touch, message)
        self.unknown += not kind
        # a cancel says by its number what is void; all else is nothing without a price
        told = bool(kind) and (price != PRICE_UNDEF or (kind == Kind.TRADE_CANCEL and number != 0))
        self.skipped += bool(kind) and not (told or changed)
        at_ns = _first_ns(message, TRADE_TIMES, recv_ns)
        flags = touch.flags
        if at_ns is None:
            at_ns, flags = recv_ns, flags | _BAD_TS
        elif told or changed:
            touch.stamp_ns = at_ns
        if told:
            last = flags if changed else flags | _END
            self.staging.trade(
                kind, at_ns, recv_ns, touch.instrument_id, last, price, quantity, number
            )
        if changed:
            self.staging.quote(at_ns, recv_ns, touch.instrument_id, flags | _END, touch.shown)

    def _image(
        self, cid: int, touch: Touch, fragment: int, message: dict[str, Any], recv_ns: int
    ) -> None:
        """An image, or a piece of one. What was known before a loss does not outlive the image after it."""
        begins = fragment in (FRAGMENT_NONE, FRAGMENT_START)
        if begins:
            if touch.stale:
                touch.forget()
            touch.imaging, touch.image_ns = True, 0
        elif not touch.imaging:
            self.skipped += 1  # its beginning was lost, and the image with it
            return
        self._take(touch, message)
        touch.image_ns = max(touch.image_ns, _later_ns(message, recv_ns) or 0)
        if self._statistics:
            self._tell_statistics(touch, message, recv_ns, _SNAPSHOT)
        if fragment not in (FRAGMENT_NONE, FRAGMENT_END):
            return
        touch.imaging = False
        touch.flags &= ~_STALE
        touch.shown = touch.show()
        touch.stamp_ns = max(touch.stamp_ns, touch.image_ns)  # it holds all from before the asking
        flags = touch.flags | (_SNAPSHOT if touch.image_ns else _SNAPSHOT | _BAD_TS)
        at_ns = touch.image_ns or recv_ns
        self.staging.quote(at_ns, recv_ns, touch.instrument_id, flags, touch.shown)
        self._recover(touch, recv_ns)
        self.events.append(Image(cid))

    def _tell_statistics(
        self, touch: Touch, message: dict[str, Any], recv_ns: int, flags: int
    ) -> None:
        for field, (code, is_price) in STATISTICS.items():
            value = message.get(field)
            if value is None:
                continue
            number = fixed(value) if is_price else size(value)
            self.staging.statistic(
                recv_ns,
                recv_ns,
                touch.instrument_id,
                touch.flags | flags | _BAD_TS,
                code,
                number if is_price else PRICE_UNDEF,
                PRICE_UNDEF if is_price else number,
            )

    # what is lost, and found again

    def lost(self, touch: Touch, now_ns: int, reason: GapReason) -> None:
        """Tell that data of the instrument are missing, up to now at least."""
        first_ns = _not_before(touch, now_ns)
        self.staging.hole(Kind.GAP, now_ns, touch.instrument_id, first_ns, now_ns, reason)
        self._tear(touch, first_ns, now_ns, reason)

    def lost_all(
        self,
        touches: Sequence[tuple[Touch, bool]],
        now_ns: int,
        reason: GapReason,
        since_ns: int = 0,
    ) -> None:
        """Tell that data of the whole feed are missing, from `since_ns` (0: its last stamp) up to now at least.

        `touches` are all instruments, each with whether the feed's recovery waits for it.
        """
        first_ns = min(since_ns or stamp_of(touches) or now_ns, now_ns)
        self.staging.hole(Kind.GAP, now_ns, 0, first_ns, now_ns, reason)
        self.tear_all(touches, first_ns, now_ns, reason)

    def tear_all(
        self,
        touches: Iterable[tuple[Touch, bool]],
        first_ns: int,
        last_ns: int,
        reason: GapReason,
    ) -> None:
        """What `lost_all` does where the GAP has been told already."""
        before_ns, _, _ = self._feed_hole
        self._feed_hole = (before_ns or first_ns, last_ns, reason)
        self._healing = False
        for touch, awaited in touches:
            self._tear(touch, _not_before(touch, first_ns), last_ns, reason)
            if awaited:
                self._awaited.add(touch)

    def release(self, touch: Touch, now_ns: int) -> None:
        """The feed's recovery does not wait for the instrument: it has failed, or is not wanted."""
        self._awaited.discard(touch)
        if self._healing:  # else nothing has recovered yet: the first that does will tell
            self._recover_feed(now_ns)

    def clear(self, touch: Touch, now_ns: int) -> None:
        """The instrument is not followed any more: what was shown of it is void."""
        self.release(touch, now_ns)
        if touch.last_ns or touch.hole_first_ns:  # a hole may be of what another process has shown
            self.staging.bare(Kind.CLEAR, now_ns, touch.instrument_id)

    def _tear(self, touch: Touch, first_ns: int, last_ns: int, reason: GapReason) -> None:
        before_ns = touch.hole_first_ns
        self.torn += not before_ns
        touch.flags |= _STALE
        touch.imaging = False
        touch.hole_first_ns = min(before_ns, first_ns) if before_ns else first_ns
        touch.hole_last_ns = max(touch.hole_last_ns, last_ns)
        touch.hole_reason = reason

    def _recover(self, touch: Touch, now_ns: int) -> None:
        """The image tells all up to its coming: only now it is known how far the hole reaches."""
        if touch.hole_first_ns:
            first_ns, last_ns = touch.hole_first_ns, max(touch.hole_last_ns, touch.image_ns, now_ns)
            if touch in self._awaited:
                feed_ns, end_ns, why = self._feed_hole
                self._feed_hole = (min(feed_ns, first_ns), max(end_ns, last_ns), why)
            self.recovered += 1
            self.staging.hole(
                Kind.RECOVERED, now_ns, touch.instrument_id, first_ns, last_ns, touch.hole_reason
            )
            touch.hole_first_ns = touch.hole_last_ns = touch.hole_reason = 0
        self._healing = True
        self.release(touch, now_ns)

    def _recover_feed(self, now_ns: int) -> None:
        first_ns, last_ns, reason = self._feed_hole
        if not self._awaited and first_ns:
            self.staging.hole(Kind.RECOVERED, now_ns, 0, first_ns, last_ns, reason)
            self._feed_hole = (0, 0, 0)


def stamp_of(touches: Iterable[tuple[Touch, bool]]) -> int:
    """The latest stamp of any of them; 0 without one."""
    return max((touch.stamp_ns for touch, _ in touches), default=0)


def _not_before(touch: Touch, now_ns: int) -> int:
    """What is missing of the instrument at `now_ns` was sent at this time or later."""
    return min(touch.stamp_ns or now_ns, now_ns)


def _first_ns(message: dict[str, Any], names: tuple[str, ...], recv_ns: int) -> int | None:
    """The time of the first of the fields that tells one."""
    for name in names:
        value = message.get(name)
        if value is not None:
            at_ns = unix_ns(value, recv_ns)
            if at_ns is not None:
                return at_ns
    return None


def _later_ns(message: dict[str, Any], recv_ns: int) -> int | None:
    """When the later of both sides was updated."""
    bid_ns = _first_ns(message, BID_TIMES, recv_ns)
    ask_ns = _first_ns(message, ASK_TIMES, recv_ns)
    if bid_ns is None or ask_ns is None:
        return ask_ns if bid_ns is None else bid_ns
    return max(bid_ns, ask_ns)


def _quote_ns(message: dict[str, Any], recv_ns: int) -> int | None:
    """When the side that the message tells of was updated; the later of both, if it is not one of them."""
    tells_bid = "BID" in message or "BID_SIZE" in message
    if tells_bid == ("ASK" in message or "ASK_SIZE" in message):
        return _later_ns(message, recv_ns)
    return _first_ns(message, BID_TIMES if tells_bid else ASK_TIMES, recv_ns)
