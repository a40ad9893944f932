"""What an event of an order book looks like in each schema."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.sim.databento.book import EMPTY, Book, Step, Touch
from mdfeedd.sim.databento.layouts import RTYPES, UNDEF_PRICE, UNDEF_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Put = Callable[[str, bytes, int, tuple[int, int, int]], None]

__all__ = ["Event", "Writer"]

_HEAD: Final = "<BBHIQ"
_MBO: Final = struct.Struct(_HEAD + "QqIBBccQiI")
_TRADE: Final = struct.Struct(_HEAD + "qIccBBQiI")
_LEVEL: Final = struct.Struct("<qqIIII")
_CMBP: Final = struct.Struct(_HEAD + "qIccBxQi4x")
_LEVEL_C: Final = struct.Struct("<qqIIH2xH2x")
_BBO: Final = struct.Struct(_HEAD + "qIxcBxQ4xI")
_CBBO: Final = struct.Struct(_HEAD + "qIxcBxQ8x")
_OHLCV: Final = struct.Struct(_HEAD + "qqqqQ")
_LAST: Final = 128
_PUBLISHER_SPECIFIC: Final = 2
_NO_TRADE: Final = (UNDEF_PRICE, 0, b"N", UNDEF_TIME, 0)


class Event(NamedTuple):
    """Times and number that all records of an event have."""

    recv_ns: int
    event_ns: int
    delta_ns: int
    sequence: int


@dataclass(slots=True)
class _Bar:
    open: int
    high: int
    low: int
    close: int
    volume: int

    def add(self, price: int, size: int) -> None:
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += size


class Writer:
    """Applies steps to the books and writes the records of the wanted schemas by `put`."""

    def __init__(
        self, books: dict[tuple[int, int], Book], put: Put, schemas: Sequence[str]
    ) -> None:
        self._books = books
        self._put = put
        self._wanted = set(schemas)
        self._publishers: dict[int, list[int]] = {}
        for publisher, instrument_id in books:
            self._publishers.setdefault(instrument_id, []).append(publisher)
        self._last = dict.fromkeys(books, _NO_TRADE)
        self._bars: dict[str, dict[tuple[int, int], _Bar]] = {
            name: {} for name in ("1s", "1m", "1h", "1d")
        }

    def write(self, key: tuple[int, int], steps: list[Step], event: Event) -> None:
        """One event: records of all schemas that it touches; the last of each schema says so."""
        book = self._books[key]
        deep = "mbp-10" in self._wanted
        joint = bool(self._wanted & {"cmbp-1", "tcbbo"})
        touches: list[tuple[Step, Touch]] = []
        depths: list[tuple[Step, tuple[Touch, ...], int]] = []
        joints: list[tuple[Step, tuple[int, ...]]] = []
        touch, top = book.touch(), book.top() if deep else ()
        best = self._best(key[1]) if joint else ()
        for step in steps:
            if step.action == b"T":
                self._trade(key, step, event, touch, best)
                touches.append((step, touch))
                depths.append((step, top, 0))
                joints.append((step, best))
                continue
            book.apply(step, event.event_ns)
            before, touch = touch, book.touch()
            if touch != before or step.action == b"R":
                touches.append((step, touch))
            if deep:
                above, top = top, book.top()
                if top != above or step.action == b"R":
                    depths.append((step, top, _level(above, top)))
            if joint:
                other, best = best, self._best(key[1])
                if best != other:
                    joints.append((step, best))
        self._write_orders(key, steps, event)
        self._write_touches(key, touches, event)
        if deep:
            self._write_depths(key, depths, event)
        if "cmbp-1" in self._wanted:
            self._write_joints(key, joints, event)

    def _best(self, instrument_id: int) -> tuple[int, ...]:
        """The best of all publishers, and which they are: bid, ask, sizes, publishers."""
        bid = ask = (UNDEF_PRICE, 0, 0)
        for publisher in self._publishers[instrument_id]:
            touch = self._books[publisher, instrument_id].touch()
            if touch[0] != UNDEF_PRICE and (bid[0] == UNDEF_PRICE or touch[0] > bid[0]):
                bid = (touch[0], touch[2], publisher)
            if touch[1] != UNDEF_PRICE and (ask[0] == UNDEF_PRICE or touch[1] < ask[0]):
                ask = (touch[1], touch[3], publisher)
        return bid[0], ask[0], bid[1], ask[1], bid[2], ask[2]

    def _emit(self, schema: str, raw: bytes, instrument_id: int, event: Event) -> None:
        self._put(schema, raw, instrument_id, (event.recv_ns, event.event_ns, event.recv_ns))

    def _flags(self, publisher: int, step: Step, *, is_last: bool) -> int:
        """The first publisher's trades have none, as those of CME."""
        if step.action == b"T":
            return 0 if publisher == 1 else _LAST | (_PUBLISHER_SPECIFIC if publisher % 2 else 0)
        return (_LAST if is_last else 0) | _PUBLISHER_SPECIFIC

    def _write_orders(self, key: tuple[int, int], steps: list[Step], event: Event) -> None:
        if "mbo" not in self._wanted:
            return
        publisher, instrument_id = key
        for i, (action, side, price, size, order_id) in enumerate(steps):
            flags = _LAST if i == len(steps) - 1 else 0
            raw = _MBO.pack(
                14, 0xA0, publisher, instrument_id, event.event_ns, order_id, price, size, flags, 0,
                action, side, event.recv_ns, event.delta_ns, event.sequence,
            )  # fmt: skip
            self._emit("mbo", raw, instrument_id, event)

    def _order_head(
        self,
        words: int,
        rtype: int,
        key: tuple[int, int],
        step: Step,
        rest: tuple[int, int],
        *,
        event: Event,
    ) -> bytes:
        """Up to the levels; `rest` is flags and depth."""
        return _TRADE.pack(
            words, rtype, *key, event.event_ns, step.price, step.size, step.action, step.side, *rest,
            event.recv_ns, event.delta_ns, event.sequence,
        )  # fmt: skip

    def _write_touches(
        self, key: tuple[int, int], touches: list[tuple[Step, Touch]], event: Event
    ) -> None:
        if "mbp-1" not in self._wanted:
            return
        for i, (step, touch) in enumerate(touches):
            flags = self._flags(key[0], step, is_last=i == len(touches) - 1)
            depth = 1 if step.action == b"R" else 0
            head = self._order_head(20, 0x01, key, step, (flags, depth), event=event)
            self._emit("mbp-1", head + _LEVEL.pack(*touch), key[1], event)

    def _write_depths(
        self,
        key: tuple[int, int],
        depths: list[tuple[Step, tuple[Touch, ...], int]],
        event: Event,
    ) -> None:
        for i, (step, top, depth) in enumerate(depths):
            flags = self._flags(key[0], step, is_last=i == len(depths) - 1)
            head = self._order_head(92, 0x0A, key, step, (flags, depth), event=event)
            levels = b"".join(_LEVEL.pack(*touch) for touch in top)
            self._emit("mbp-10", head + levels, key[1], event)

    def _joint(
        self,
        rtype: int,
        key: tuple[int, int],
        step: Step,
        best: tuple[int, ...],
        flags: int,
        *,
        event: Event,
    ) -> bytes:
        head = _CMBP.pack(
            20, rtype, *key, event.event_ns, step.price, step.size, step.action, step.side, flags,
            event.recv_ns, event.delta_ns,
        )  # fmt: skip
        return head + _LEVEL_C.pack(*best)

    def _write_joints(
        self, key: tuple[int, int], joints: list[tuple[Step, tuple[int, ...]]], event: Event
    ) -> None:
        for i, (step, best) in enumerate(joints):
            flags = self._flags(key[0], step, is_last=i == len(joints) - 1)
            self._emit(
                "cmbp-1", self._joint(0xB1, key, step, best, flags, event=event), key[1], event
            )

    def _trade(
        self, key: tuple[int, int], step: Step, event: Event, touch: Touch, best: tuple[int, ...]
    ) -> None:
        """The schemas of trades alone, and what is remembered for the intervals."""
        flags = self._flags(key[0], step, is_last=True)
        if "trades" in self._wanted:
            raw = self._order_head(12, 0x00, key, step, (flags, 0), event=event)
            self._emit("trades", raw, key[1], event)
        if "tbbo" in self._wanted:
            raw = self._order_head(20, 0x01, key, step, (flags, 0), event=event) + _LEVEL.pack(
                *touch
            )
            self._emit("tbbo", raw, key[1], event)
        if "tcbbo" in self._wanted:
            self._emit(
                "tcbbo", self._joint(0xC2, key, step, best, flags, event=event), key[1], event
            )
        self._last[key] = (step.price, step.size, step.side, event.event_ns, event.sequence)
        for bars in self._bars.values():
            if key in bars:
                bars[key].add(step.price, step.size)
            else:
                bars[key] = _Bar(step.price, step.price, step.price, step.price, step.size)

    def end_interval(self, name: str, end_ns: int, span_ns: int) -> None:
        """Bars of those that traded, touches of all."""
        bars, self._bars[name] = self._bars[name], {}
        schema = f"ohlcv-{name}"
        if schema in self._wanted:
            begin_ns = end_ns - span_ns
            for key, bar in sorted(bars.items()):
                prices = bar.open, bar.high, bar.low, bar.close, bar.volume
                raw = _OHLCV.pack(14, RTYPES[schema], *key, begin_ns, *prices)
                self._put(schema, raw, key[1], (begin_ns, begin_ns, end_ns))
        if f"bbo-{name}" in self._wanted:
            self._write_quotes(f"bbo-{name}", end_ns)
        if f"cbbo-{name}" in self._wanted:
            self._write_joint_quotes(f"cbbo-{name}", end_ns)

    def _write_quotes(self, schema: str, end_ns: int) -> None:
        flags = _LAST | _PUBLISHER_SPECIFIC
        for key, book in self._books.items():
            price, size, side, event_ns, sequence = self._last[key]
            raw = _BBO.pack(
                20, RTYPES[schema], *key, event_ns, price, size, side, flags, end_ns, sequence
            ) + _LEVEL.pack(*book.touch())
            self._put(schema, raw, key[1], (end_ns, end_ns, end_ns))

    def _write_joint_quotes(self, schema: str, end_ns: int) -> None:
        for key in self._books:
            price, size, side, event_ns, _ = self._last[key]
            raw = _CBBO.pack(
                20, RTYPES[schema], *key, event_ns, price, size, side, _LAST, end_ns
            ) + _LEVEL_C.pack(*self._best(key[1]))
            self._put(schema, raw, key[1], (end_ns, end_ns, end_ns))


def _level(before: Sequence[Touch], after: Sequence[Touch]) -> int:
    """The first level that differs; 0 if none does."""
    rows = enumerate(zip(before or (EMPTY,) * len(after), after, strict=True))
    return next((k for k, (old, new) in rows if old != new), 0)
