"""Records in the order in which they fall due, schema by schema: what a gateway sends from and replays."""

from __future__ import annotations

import bisect
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mdfeedd.sim.databento.book import Order
from mdfeedd.sim.databento.layouts import UNDEF_PRICE, UNDEF_TIME, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.sim.databento.instruments import Symbols

__all__ = ["BY_RECV", "Books", "Record", "Timeline", "Truth", "snapshot_rows"]

#: Schemas whose replay is by ts_recv, the others' by ts_event.
BY_RECV: Final = frozenset({"bbo-1s", "bbo-1m", "cbbo-1s", "cbbo-1m"})
SNAPSHOT: Final = 32
BAD_TS_RECV: Final = 8
LAST: Final = 128
_MBO: Final = struct.Struct("<BBHIQQqIBBccQiI")
_CHECKPOINT: Final = 4_096  # records of mbo between two states that are kept

#: Orders by publisher and instrument, then by id.
Books = dict[tuple[int, int], dict[int, Order]]


class Record(NamedTuple):
    """A market record of version 3.

    index_ns: ts_recv (of bars: ts_event). key_ns: what `start` is compared with. due_ns: when it is sent live.
    """

    raw: bytes
    schema: str
    instrument_id: int
    index_ns: int
    key_ns: int
    due_ns: int


class Truth(Protocol):
    """What a gateway plays: a market made up, or a file."""

    @property
    def symbols(self) -> Symbols:
        """What it lists."""
        ...

    @property
    def schemas(self) -> Sequence[str]:
        """What it has records of."""
        ...

    def timeline(self, schema: str) -> Timeline:
        """Its records, as far as they have been made."""
        ...

    def run_until(self, now_ns: int) -> None:
        """Make what falls due up to then."""
        ...

    def snapshot(self, instrument_ids: Sequence[int], at_ns: int) -> list[Record]:
        """The order books as records of mbo."""
        ...

    @property
    def next_ns(self) -> int | None:
        """When something may fall due next; None for never."""
        ...

    def after_ns(self, events: int) -> int | None:
        """By when about so many more will have fallen due; None if there are none."""
        ...


class Timeline:
    """One schema's records. `first` is the position of the oldest that is kept; positions do not change."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.first: int = 0
        self._records: list[Record] = []
        self._states: list[tuple[int, Books]] = [(0, {})]  # mbo: by position

    def __len__(self) -> int:
        return self.first + len(self._records)

    def __getitem__(self, position: int) -> Record:
        assert position >= self.first
        return self._records[position - self.first]

    def append(self, record: Record) -> None:
        """Records come in the order in which they fall due."""
        assert not self._records or record.due_ns >= self._records[-1].due_ns
        self._records.append(record)

    def after(self, ns: int) -> int:
        """The position of the first that falls due after `ns`."""
        return self.first + bisect.bisect_right(self._records, ns, key=lambda r: r.due_ns)

    def between(self, from_ns: int, until_ns: int) -> list[Record]:
        """Those whose index time is in [from, until)."""
        return [r for r in self._records if from_ns <= r.index_ns < until_ns]

    def forget(self, before_ns: int) -> None:
        """Drop what fell due before; a snapshot may be asked for still, from then on."""
        end = bisect.bisect_left(self._records, before_ns, key=lambda r: r.due_ns)
        if not end:
            return
        if self.schema == "mbo":
            books = self.books(self.first + end)
            later = [state for state in self._states if state[0] > self.first + end]
            self._states = [(self.first + end, books), *later]
        del self._records[:end]
        self.first += end

    def books(self, position: int) -> Books:
        """mbo: the orders before the record at a position."""
        at = bisect.bisect_right(self._states, position, key=lambda s: s[0]) - 1
        begin, kept = self._states[at]
        books = {key: dict(orders) for key, orders in kept.items()}
        for i in range(begin, position):
            _follow(books, self[i].raw)
            if (i + 1) % _CHECKPOINT == 0 and i + 1 > self._states[-1][0]:
                copied = {key: dict(orders) for key, orders in books.items()}
                self._states.append((i + 1, copied))
        return books


def _follow(books: Books, raw: bytes) -> None:
    fields = _MBO.unpack(raw[: _MBO.size])
    publisher_id, instrument_id, event_ns, order_id, price, size = fields[2:8]
    action, side = fields[10:12]
    orders = books.setdefault((publisher_id, instrument_id), {})
    if action == b"R":
        orders.clear()
    elif action in (b"A", b"M"):
        orders[order_id] = Order(side, price, size, event_ns)
    elif action == b"C":
        left = orders.pop(order_id, None)
        if left is not None and left.size > size:
            orders[order_id] = left._replace(size=left.size - size)


def snapshot_rows(books: Books, instrument_ids: Sequence[int], at_ns: int) -> list[Record]:
    """Per book a clear and its orders: flags 40, the last of them 168."""
    wanted = set(instrument_ids)
    rows = []
    for (publisher_id, instrument_id), orders in sorted(books.items()):
        if instrument_id not in wanted:
            continue
        lines = [(b"R", 0, Order(b"N", UNDEF_PRICE, 0, at_ns))]
        lines += [(b"A", order_id, order) for order_id, order in orders.items()]
        for i, (action, order_id, order) in enumerate(lines):
            flags = SNAPSHOT | BAD_TS_RECV | (LAST if i == len(lines) - 1 else 0)
            values = {
                "publisher_id": publisher_id,
                "instrument_id": instrument_id,
                "ts_event": order.event_ns if order.event_ns != UNDEF_TIME else at_ns,
                "order_id": order_id,
                "price": order.price,
                "size": order.size,
                "flags": flags,
                "action": action,
                "side": order.side,
                "ts_recv": at_ns,
            }
            raw = pack(0xA0, values)
            rows.append(Record(raw, "mbo", instrument_id, at_ns, order.event_ns, at_ns))
    return rows
