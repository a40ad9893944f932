"""What bytes of the gateway must make of a ring: read here anew, from the description of DBN.

    bytes that the process took ─► records, one by one ─► ticks by the rules of each schema
                                       └─► mappings: what each instrument's name is from there on

Nothing is shared with the decoder under test. A session's facts begin with nothing known: no book, no name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zstandard

from mdfeedd.sim.databento.layouts import layout, recode, unpack
from mdfeedd.tick import Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.databento.account import Sent

__all__ = ["Fact", "Said", "Stream", "Tick", "read", "unpacked"]

PRICE: Final = 2**63 - 1
SIZE: Final = 2**32 - 1
TIME: Final = 2**64 - 1
NO_TIME: Final = -(2**63)
LATEST: Final = 3
HEAD_BYTES: Final = 16
HANDSHAKE_LINES: Final = 3
BLOCK_BYTES: Final = 64
SIDES: Final = {b"B": 1, b"A": 2}
ERROR: Final = 0x15
MAPPING: Final = 0x16
SYSTEM: Final = 0x17
_ORDER: Final = struct.Struct("<16xqIccB x Q 4x I")  # price .. sequence of trades and of books
_JOINT: Final = struct.Struct("<16xqIccB x Q")
_INTERVAL: Final = struct.Struct("<16xqI x c B x Q")
_SEQUENCE: Final = struct.Struct("<44x I")
_LEVEL: Final = struct.Struct("<48x qqIIII")
_LEVEL_JOINT: Final = struct.Struct("<48x qqII")
_MBO: Final = struct.Struct("<16x QqIB x ccQ 4x I")
_STATUS: Final = struct.Struct("<16x QHHHccc")
_STATISTIC: Final = struct.Struct("<16x QQqqI 4x H 2x BB")
_IMBALANCE: Final = struct.Struct("<16x Qq 32x q 16x II 9x c")
_BAR: Final = struct.Struct("<16x qqqqQ")
_QUOTE: Final = struct.Struct("<qqII").pack
_TRADE: Final = struct.Struct("<qQII").pack
_STATUS_TICK: Final = struct.Struct("<HHHBBB15x").pack
_STATISTIC_TICK: Final = struct.Struct("<qqIHBB").pack
_IMBALANCE_TICK: Final = struct.Struct("<qqII").pack
_DEFINITION_TICK: Final = struct.Struct("<qqII").pack
_END: Final = int(Flag.EVENT_END)
_STALE: Final = int(Flag.STALE)
_FLAGS: Final = tuple(
    (_END if f & 128 else 0)
    | (int(Flag.SNAPSHOT) if f & 32 else 0)
    | (_STALE if f & 4 else 0)
    | (int(Flag.BAD_TS) if f & 8 else 0)
    for f in range(256)
)
BAR_SECONDS: Final = {0x20: 1, 0x21: 60, 0x22: 3600, 0x23: 86_400, 0x24: 86_400}
_WITH_TOUCH: Final = frozenset({"tbbo", "tcbbo"})
_NOTHING: Final = (PRICE, PRICE, 0, 0, 0, 0)


class Tick(NamedTuple):
    """As in a ring, but for its number, time of arrival and our own number of the instrument."""

    ts_event: int
    kind: int
    side: int
    flags: int
    venue_seq: int
    orders: int  # `count` of the tick
    payload: bytes


class Fact(NamedTuple):
    """A market record that the process took: what must come of it, of which instrument of what name.

    end: of its bytes, in the stream as it is after decompression. bars: open .. close, volume by interval.
    """

    sent: Sent
    publisher_id: int
    instrument_id: int
    symbol: str
    ticks: list[Tick]
    bars: list[tuple[int, ...]]
    end: int


class Said(NamedTuple):
    """A record of the gateway itself."""

    rtype: int
    code: int
    text: str
    ts_ns: int
    after: int  # market records before it
    end: int


@dataclass(slots=True)
class Stream:
    """One session's bytes, read. begun: the metadata are whole. broken: it cannot be read on. strange: records."""

    begun: bool = False
    broken: bool = False
    facts: list[Fact] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    strange: int = 0


class _Book:
    """Orders of one publisher for one instrument; the touch is found by looking at all of them."""

    __slots__ = ("is_sound", "orders", "shown", "snapshot")

    def __init__(self) -> None:
        self.orders: dict[int, tuple[bytes, int, int]] = {}
        self.is_sound = False
        self.snapshot: tuple[int, int, int] | None = (
            None  # ts_recv, flags, sequence of its last record
        )
        self.shown: tuple[int, ...] = _NOTHING

    def apply(self, action: bytes, side: bytes, order_id: int, price: int, size: int) -> None:
        if action == b"R":
            self.orders.clear()
            self.is_sound = True
        elif action == b"C":
            found = self.orders.get(order_id)
            if found is not None and size >= found[2]:
                del self.orders[order_id]
            elif found is not None:
                self.orders[order_id] = (found[0], found[1], found[2] - size)
        elif action in b"AM" and side in SIDES and price != PRICE:
            self.orders[order_id] = (side, price, size)

    def touch(self) -> tuple[int, ...]:
        bids = [(price, size) for side, price, size in self.orders.values() if side == b"B"]
        asks = [(price, size) for side, price, size in self.orders.values() if side == b"A"]
        bid = max((price for price, _ in bids), default=PRICE)
        ask = min((price for price, _ in asks), default=PRICE)
        at_bid = [size for price, size in bids if price == bid]
        at_ask = [size for price, size in asks if price == ask]
        return bid, ask, sum(at_bid), sum(at_ask), len(at_bid), len(at_ask)


class _Reader:
    """Of one session's records, in their order."""

    def __init__(self, version: int) -> None:
        self.names: dict[int, str] = {}
        self.defined: dict[int, str] = {}
        self.version = version
        self._called: dict[tuple[int, int], str] = {}
        self._touches: dict[tuple[int, int], tuple[int, ...]] = {}
        self._books: dict[tuple[int, int], _Book] = {}

    def name(self, instrument_id: int) -> str:
        """As the gateway has told it, or else as its definition says, or else its number."""
        found = self.names.get(instrument_id) or self.defined.get(instrument_id)
        return found or str(instrument_id)

    def read(self, raw: bytes, schema: str) -> tuple[str, list[Tick], list[tuple[int, ...]]]:
        """A market record: name, ticks and bars. `raw` is of version 3."""
        rtype, publisher_id, instrument_id = raw[1], *struct.unpack_from("<HI", raw, 2)
        key = publisher_id, instrument_id
        if rtype == 0x13:
            return self._definition(raw, instrument_id)
        name = self.name(instrument_id)
        if self._called.setdefault(key, name) != name:  # another instrument: nothing is known of it
            self._called[key] = name
            self._touches.pop(key, None)
            self._books.pop(key, None)
        event_ns = struct.unpack_from("<Q", raw, 8)[0]
        if rtype in BAR_SECONDS:
            return name, [], [(event_ns, BAR_SECONDS[rtype], *_BAR.unpack_from(raw))]
        return name, list(self._ticks(raw, rtype, schema, key, _time(event_ns))), []

    def _ticks(
        self, raw: bytes, rtype: int, schema: str, key: tuple[int, int], event_ns: int
    ) -> Iterator[Tick]:
        if rtype in (0x00, 0x01, 0x0A):
            _, size, action, side, flags, recv, sequence = _ORDER.unpack_from(raw)
            level = _LEVEL.unpack_from(raw) if rtype else ()
            price = struct.unpack_from("<q", raw, 16)[0]
            head = (event_ns, action, SIDES.get(side, 0), _FLAGS[flags], sequence)
            yield from self._update(schema, key, head, (price, size), level)
        elif rtype in (0xB1, 0xC2):
            price, size, action, side, flags, _ = _JOINT.unpack_from(raw)
            head = (event_ns, action, SIDES.get(side, 0), _FLAGS[flags], 0)
            level = (*_LEVEL_JOINT.unpack_from(raw), 0, 0)
            yield from self._update(schema, key, head, (price, size), level)
        elif rtype in (0xC0, 0xC1, 0xC3, 0xC4):
            _, _, _, flags, recv = _INTERVAL.unpack_from(raw)
            sequence = _SEQUENCE.unpack_from(raw)[0] if rtype >= 0xC3 else 0
            level = _LEVEL_JOINT.unpack_from(raw)
            yield _quote((_time(recv), 0, _FLAGS[flags], sequence), 0, level)
        elif rtype == 0xA0:
            yield from self._order(raw, key, event_ns)
        else:
            yield from _rare(raw, rtype, event_ns)

    def _update(
        self,
        schema: str,
        key: tuple[int, int],
        head: tuple[int, bytes, int, int, int],
        trade: tuple[int, int],
        level: tuple[int, ...],
    ) -> Iterator[Tick]:
        """trades, tbbo, mbp-1, mbp-10, cmbp-1 and tcbbo."""
        event_ns, action, side, flags, sequence = head
        if action == b"T":
            if schema in _WITH_TOUCH:
                yield _quote((event_ns, 0, flags & ~_END, sequence), 0, level)
            payload = _TRADE(trade[0], 0, 0 if trade[1] == SIZE else trade[1], 0)
            yield Tick(event_ns, Kind.TRADE, side, flags, sequence, 0, payload)
        elif action == b"R":
            self._touches.pop(key, None)
            yield Tick(event_ns, Kind.CLEAR, 0, flags, sequence, 0, bytes(24))
        elif level and action != b"F":
            if schema == "mbp-10":
                if self._touches.get(key) == level:
                    return
                self._touches[key] = level
            count = (0, level[4], level[5])[side]
            yield _quote((event_ns, side, flags, sequence), 0 if count == SIZE else count, level)

    def _definition(self, raw: bytes, instrument_id: int) -> tuple[str, list[Tick], list[Any]]:
        r = unpack(raw)
        self.defined[instrument_id] = r["raw_symbol"].decode()
        tick_size = 0 if r["min_price_increment"] == PRICE else r["min_price_increment"]
        expiration = 0 if r["expiration"] > PRICE else r["expiration"]
        action = r["security_update_action"][0]
        payload = _DEFINITION_TICK(tick_size, expiration, action, 0)
        tick = Tick(_time(r["ts_event"]), Kind.DEFINITION, 0, 0, 0, 0, payload)
        return self.name(instrument_id), [tick], []

    def _order(self, raw: bytes, key: tuple[int, int], event_ns: int) -> Iterator[Tick]:
        order_id, price, size, flags, action, side, recv, sequence = _MBO.unpack_from(raw)
        book = self._books.setdefault(key, _Book())
        if book.snapshot is not None and not flags & 32:
            yield from self._end_snapshot(book)
        if flags & 32:
            book.snapshot = (recv, flags, sequence)
            book.is_sound = True
        book.apply(action, side, order_id, price, size)
        own: list[Tick] = []
        if action == b"R":
            book.shown = _NOTHING
            own = [Tick(event_ns, Kind.CLEAR, 0, _FLAGS[flags], sequence, 0, bytes(24))]
        elif action == b"T":
            payload = _TRADE(price, 0, 0 if size == SIZE else size, 0)
            own = [
                Tick(event_ns, Kind.TRADE, SIDES.get(side, 0), _FLAGS[flags], sequence, 0, payload)
            ]
        if flags & 128:
            last = list(
                self._end_snapshot(book) if flags & 32 else _shown(book, event_ns, flags, sequence)
            )
            if own and last:
                own = [own[0]._replace(flags=own[0].flags & ~_END)]
            own += last
        yield from own

    def _end_snapshot(self, book: _Book) -> Iterator[Tick]:
        assert book.snapshot is not None
        (recv, flags, sequence), book.snapshot = book.snapshot, None
        return _shown(book, _time(recv), flags | 128, sequence)


def _shown(book: _Book, event_ns: int, flags: int, sequence: int) -> Iterator[Tick]:
    """A quote, if the touch is another than the last one told."""
    touch = book.touch()
    if touch == book.shown:
        return
    is_bid, is_ask = touch[::2] != book.shown[::2], touch[1::2] != book.shown[1::2]
    side = 0 if is_bid and is_ask else 1 if is_bid else 2
    book.shown = touch
    told = _FLAGS[flags] | (0 if book.is_sound else _STALE)
    yield _quote((event_ns, side, told, sequence), (0, touch[4], touch[5])[side], touch)


def _quote(head: tuple[int, int, int, int], count: int, level: tuple[int, ...]) -> Tick:
    """head: time, side, flags and number of the venue."""
    event_ns, side, flags, sequence = head
    bid, ask, bid_size, ask_size = level[:4]
    payload = _QUOTE(
        bid, ask,
        0 if bid == PRICE or bid_size == SIZE else bid_size,
        0 if ask == PRICE or ask_size == SIZE else ask_size,
    )  # fmt: skip
    return Tick(event_ns, Kind.QUOTE, side, flags, sequence, count, payload)


def _rare(raw: bytes, rtype: int, event_ns: int) -> Iterator[Tick]:
    """status, statistics, imbalance."""
    if rtype == 0x12:
        _, state, reason, event, *yes = _STATUS.unpack_from(raw)
        known = [{b"Y": 1, b"N": 2}.get(one, 0) for one in yes]
        payload = _STATUS_TICK(state, reason, event, *known)
        yield Tick(event_ns, Kind.STATUS, 0, 0, 0, 0, payload)
    elif rtype == 0x18:
        _, ref, price, quantity, sequence, kind, action, flags = _STATISTIC.unpack_from(raw)
        ref_s = 0 if ref == TIME else ref // 10**9
        payload = _STATISTIC_TICK(price, quantity, ref_s, kind, action, flags)
        yield Tick(event_ns, Kind.STATISTIC, 0, 0, sequence, 0, payload)
    elif rtype == 0x14:
        _, price, match, paired, total, side = _IMBALANCE.unpack_from(raw)
        sizes = (0 if size == SIZE else size for size in (paired, total))
        payload = _IMBALANCE_TICK(price, match, *sizes)
        yield Tick(event_ns, Kind.IMBALANCE, SIDES.get(side, 0), 0, 0, 0, payload)


def _time(ns: int) -> int:
    return NO_TIME if ns > PRICE else ns


def read(stream: bytes, sent: list[Sent], version: int, *, packed: bool) -> Stream:
    """What a process took, from the greeting on; `sent` are the market records that the gateway sent."""
    found = Stream()
    lines = stream.split(b"\n", HANDSHAKE_LINES)
    if len(lines) <= HANDSHAKE_LINES or b"success=1" not in lines[HANDSHAKE_LINES - 1]:
        return found
    data = lines[HANDSHAKE_LINES]
    if packed:
        data, found.broken = unpacked(data)
    if len(data) < 8 or len(data) < (at := 8 + int.from_bytes(data[4:8], "little")):
        return found
    found.begun = True
    reader = _Reader(version)
    while at < len(data):
        size = 4 * data[at]
        if size < HEAD_BYTES:
            found.broken = True
            break
        if at + size > len(data):
            break
        record = data[at : at + size]
        at += size
        _take(found, reader, record, sent, at)
    return found


def unpacked(data: bytes) -> tuple[bytes, bool]:
    """What a compressed stream holds, as far as it can be read, and whether it could not be read to its end."""
    inflate = zstandard.ZstdDecompressor().decompressobj()
    plain = b""
    for at in range(0, len(data), BLOCK_BYTES):
        try:
            plain += inflate.decompress(data[at : at + BLOCK_BYTES])
        except zstandard.ZstdError:
            return plain, True
    return plain, False


def _take(found: Stream, reader: _Reader, record: bytes, sent: list[Sent], end: int) -> None:
    """One record into what was found."""
    rtype, n, version = record[1], len(found.facts), reader.version
    if rtype in (ERROR, SYSTEM, MAPPING):
        if len(record) < layout(rtype, version).size:
            found.strange += 1
            return
        whole = recode(record, LATEST, version) if version != LATEST else record
        r = unpack(whole)
        if rtype == MAPPING:
            name = r["stype_out_symbol"].decode()
            reader.names[r["instrument_id"]] = name
            found.said.append(Said(rtype, r["instrument_id"], name, r["ts_event"], n, end))
        else:
            text = r["msg" if rtype == SYSTEM else "err"].decode()
            found.said.append(Said(rtype, r["code"], text, r["ts_event"], n, end))
        return
    expected = sent[n] if n < len(sent) else None
    if expected is None or not _is(record, expected.raw):
        found.strange += 1
        return
    raw = recode(expected.raw, LATEST, version) if version != LATEST else expected.raw
    name, ticks, bars = reader.read(raw, expected.schema)
    publisher_id, instrument_id = struct.unpack_from("<HI", raw, 2)
    found.facts.append(Fact(expected, publisher_id, instrument_id, name, ticks, bars, end))


def _is(record: bytes, raw: bytes) -> bool:
    """The record is this one, whatever was appended to it."""
    return len(record) >= len(raw) and record[1 : len(raw)] == raw[1:]
