"""Messages from entries: picks the template of a version, scales prices, fills in what nobody asks about.

For the venue, and for tests that state exactly what is in each packet::

    wire = Wire(13)
    wire.packet(
        7,
        wire.book([(31, 1, Action.NEW, BID, 1, 100 * E9, 5, 2)], mei=0x04),
        wire.trades([(31, 2, 100 * E9, 1, 2, 1, 900)], fills=[(11, 1), (12, 1)], mei=0x81),
    )

Every method returns a message; `packet` joins them. Prices are in 1e-9 whatever the template's exponent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.cme import encode
from mdfeedd.sim.cme.entries import BookEntry, DailyStatistic, SessionStatistic, SnapshotEntry
from mdfeedd.sim.cme.schema import LAST_OLD_VERSION, OLD_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["NULL_PRICE", "Wire"]

NULL_PRICE: Final = 2**63 - 1
NULL_I32: Final = 2**31 - 1
NULL_U32: Final = 2**32 - 1
NULL_U64: Final = 2**64 - 1
NULL_U16: Final = 65_535
NULL_U8: Final = 255
NULL_I8: Final = 127
FIRST_NEW_VERSION: Final = 9
LONG_VERSION: Final = 12  # the first with the LongQty templates
ORDERS_VERSION: Final = 7  # the first with order books
_OLD_SCALE: Final = 100  # 1e-7 in units of 1e-9
_END: Final = 0x84  # MEI: last quote message, end of event
_LONG: Final = {46: 64, 48: 65, 37: 66, 51: 67, 52: 69}
_KIND: Final[dict[str | bytes, bytes]] = {
    key: bytes([c]) for c in range(33, 127) for key in (chr(c), bytes([c]))
}


class Wire:
    """Makes messages of one version. `now_ns` is the TransactTime and SendingTime where none is given."""

    def __init__(
        self, version: int = 13, *, old_templates: bool | None = None, now_ns: int = 0
    ) -> None:
        if old_templates is None:
            old_templates = version < FIRST_NEW_VERSION
        if old_templates and version > LAST_OLD_VERSION:
            raise ValueError(f"version: the old templates ended with 9, not {version}")
        if not old_templates and version < FIRST_NEW_VERSION:
            raise ValueError(f"version: the new templates began with 9, not {version}")
        self.version = version
        self.old = old_templates
        self.now_ns = now_ns

    def price(self, price: int | None) -> int:
        """The mantissa of a price in 1e-9; ValueError where the old exponent cannot say it."""
        if price is None:
            return NULL_PRICE
        if not self.old:
            return price
        mantissa, rest = divmod(price, _OLD_SCALE)
        if rest:
            raise ValueError(f"price: {price} (1e-9) has more than the 7 decimals of old templates")
        return mantissa

    def template(self, template_id: int, long: bool = False) -> int:
        """The number that today's template has in this version's set, for quantities of 32 or 64 bits."""
        if long:
            return _LONG[template_id]
        return OLD_ID.get(template_id, template_id) if self.old else template_id

    def message(
        self,
        template_id: int,
        root: Mapping[str, object] | tuple[object, ...],
        *groups: tuple[str, Sequence[Mapping[str, object] | tuple[object, ...]]],
    ) -> bytes:
        """A message of this version, by the template's own number."""
        return encode.message(template_id, self.version, root, groups)

    def packet(self, seq: int, *messages: bytes, sending_ns: int | None = None) -> bytes:
        """A UDP payload."""
        return encode.packet(seq, self.now_ns if sending_ns is None else sending_ns, messages)

    # Market data by increments

    def book(
        self,
        entries: Iterable[Sequence[Any]] = (),
        *,
        mei: int = _END,
        orders: Iterable[Sequence[Any]] = (),
        transact_ns: int | None = None,
        long: bool = False,
    ) -> bytes:
        """46, 32 or 64 of `BookEntry` and `OrderReference` tuples; without any: an empty message."""
        null_size = NULL_U64 if long else NULL_I32
        scaled = self.old
        rows = []
        for entry in entries:
            if not isinstance(entry, BookEntry):
                entry = BookEntry(*entry)  # noqa: PLW2901 - the same, complete
            sid, rpt_seq, action, kind, level, price, size, count, tradeable = entry
            rows.append(
                (
                    self.price(price) if scaled or price is None else price,
                    null_size if size is None else size,
                    sid,
                    rpt_seq,
                    NULL_I32 if count is None else count,
                    level,
                    action,
                    _KIND[kind],
                    NULL_I32 if tradeable is None else tradeable,
                )
            )
        references = [
            (order_id, priority, size, NULL_U8 if reference is None else reference, action)
            for order_id, priority, size, reference, action in orders
        ]
        return self.message(
            self.template(46, long),
            (self._time(transact_ns), mei),
            ("NoMDEntries", rows),
            ("NoOrderIDEntries", references),
        )

    def orders(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        mei: int = _END,
        transact_ns: int | None = None,
    ) -> bytes:
        """47 or 43 of `OrderEntry` tuples."""
        rows = [
            (
                NULL_U64 if order_id is None else order_id,
                NULL_U64 if priority is None else priority,
                self.price(price),
                NULL_I32 if size is None else size,
                sid,
                action,
                _KIND[kind],
            )
            for sid, order_id, priority, price, size, kind, action in entries
        ]
        root = (self._time(transact_ns), mei)
        return self.message(self.template(47), root, ("NoMDEntries", rows))

    def trades(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        fills: Iterable[Sequence[Any]] = (),
        mei: int = 0x81,
        transact_ns: int | None = None,
        long: bool = False,
    ) -> bytes:
        """48, 42 or 65 of `TradeEntry` and `Fill` tuples."""
        rows: list[tuple[object, ...]] = []
        for sid, rpt_seq, price, size, orders, aggressor, trade_id, *rest in entries:
            action = rest[0] if rest else 0
            number = NULL_U32 if trade_id is None else trade_id
            head = (self.price(price), size, sid, rpt_seq, orders)
            if long:
                rows.append((*head, number, aggressor, action))
            else:
                rows.append((*head, aggressor, action, number))
        return self.message(
            self.template(48, long),
            (self._time(transact_ns), mei),
            ("NoMDEntries", rows),
            ("NoOrderIDEntries", [tuple(fill) for fill in fills]),
        )

    def old_trades(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        mei: int = 0x81,
        transact_ns: int | None = None,
    ) -> bytes:
        """36 (versions to 8, without order ids) of `TradeEntry` tuples."""
        rows = [
            (self.price(price), size, sid, rpt_seq, orders, trade_id, aggressor, *(rest or [0]))
            for sid, rpt_seq, price, size, orders, aggressor, trade_id, *rest in entries
        ]
        return self.message(36, (self._time(transact_ns), mei), ("NoMDEntries", rows))

    def volume(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        mei: int = 0x82,
        transact_ns: int | None = None,
        long: bool = False,
    ) -> bytes:
        """37 or 66 of `VolumeEntry` tuples."""
        rows = [
            (size, sid, rpt_seq, rest[0] if rest else 0) for sid, rpt_seq, size, *rest in entries
        ]
        root = (self._time(transact_ns), mei)
        return self.message(self.template(37, long), root, ("NoMDEntries", rows))

    def session_statistics(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        mei: int = 0x88,
        transact_ns: int | None = None,
        long: bool = False,
    ) -> bytes:
        """51, 35 or 67 of `SessionStatistic` tuples."""
        rows = [self._session_row(long, SessionStatistic(*entry)) for entry in entries]
        root = (self._time(transact_ns), mei)
        return self.message(self.template(51, long), root, ("NoMDEntries", rows))

    def _session_row(self, long: bool, entry: SessionStatistic) -> tuple[object, ...]:
        sid, rpt_seq, kind, price, size, flag, action = entry
        told_flag = NULL_U8 if flag is None else flag
        if long:
            quantity = NULL_U64 if size is None else size
            head = (self.price(price), quantity, sid, rpt_seq)
            return (*head, told_flag, action, _KIND[kind])
        quantity = NULL_I32 if size is None else size
        return (self.price(price), sid, rpt_seq, told_flag, action, _KIND[kind], quantity)

    def daily_statistics(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        mei: int = 0x88,
        transact_ns: int | None = None,
    ) -> bytes:
        """49 or 33 of `DailyStatistic` tuples."""
        rows = [self._daily_row(DailyStatistic(*entry)) for entry in entries]
        root = (self._time(transact_ns), mei)
        return self.message(self.template(49), root, ("NoMDEntries", rows))

    def _daily_row(self, entry: DailyStatistic) -> tuple[object, ...]:
        sid, rpt_seq, kind, price, size, date, settlement_type, action = entry
        return (
            self.price(price),
            NULL_I32 if size is None else size,
            sid,
            rpt_seq,
            NULL_U16 if date is None else date,
            settlement_type,
            action,
            _KIND[kind],
        )

    def limits(
        self,
        entries: Iterable[Sequence[Any]],
        *,
        mei: int = 0x88,
        transact_ns: int | None = None,
    ) -> bytes:
        """50 or 34 of `LimitsEntry` tuples."""
        rows = [
            (self.price(high), self.price(low), self.price(variation), sid, rpt_seq)
            for sid, rpt_seq, high, low, variation in entries
        ]
        root = (self._time(transact_ns), mei)
        return self.message(self.template(50), root, ("NoMDEntries", rows))

    # What is told about the channel and its instruments

    def status(
        self,
        status: int,
        *,
        group: str = "",
        security_id: int | None = None,
        event: int = 0,
        halt_reason: int = 0,
        asset: str = "",
        trade_date: int | None = None,
        mei: int = 0,
        transact_ns: int | None = None,
    ) -> bytes:
        """30; without a security id it is for the whole group. `status` 255 is null."""
        return self.message(
            30,
            {
                "TransactTime": self._time(transact_ns),
                "SecurityGroup": group,
                "Asset": asset,
                "SecurityID": security_id,
                "TradeDate": trade_date,
                "MatchEventIndicator": mei,
                "SecurityTradingStatus": status,
                "HaltReason": halt_reason,
                "SecurityTradingEvent": event,
            },
        )

    def channel_reset(
        self, *channels: int, mei: int = 0x80, transact_ns: int | None = None
    ) -> bytes:
        """4."""
        rows = [(channel,) for channel in channels]
        return self.message(4, (self._time(transact_ns), mei), ("NoMDEntries", rows))

    def heartbeat(self) -> bytes:
        """12."""
        return self.message(12, ())

    def quote_request(
        self,
        security_id: int,
        symbol: str,
        *,
        request_id: str = "",
        size: int | None = None,
        side: int | None = None,
        mei: int = 0x80,
        transact_ns: int | None = None,
    ) -> bytes:
        """39 for one instrument."""
        root = (self._time(transact_ns), request_id.encode(), mei)
        row = {
            "Symbol": symbol,
            "SecurityID": security_id,
            "OrderQty": size,
            "QuoteType": 1,
            "Side": side,
        }
        return self.message(39, root, ("NoRelatedSym", [row]))

    def workup(
        self,
        security_id: int,
        price: int | None,
        status: int,
        *,
        orders: Iterable[Sequence[Any]] = (),
        event: int = 0,
        mei: int = 0x80,
        transact_ns: int | None = None,
    ) -> bytes:
        """60; `orders` are (order id, side 1 or 2, aggressor 0 or 1)."""
        root = {
            "TransactTime": self._time(transact_ns),
            "MDEntryPx": self.price(price),
            "SecurityID": security_id,
            "MatchEventIndicator": mei,
            "SecurityTradingStatus": status,
            "SecurityTradingEvent": event,
        }
        return self.message(60, root, ("NoOrderIDEntries", [tuple(order) for order in orders]))

    def definition(
        self,
        template_id: int,
        fields: Mapping[str, object],
        groups: Iterable[tuple[str, Sequence[Mapping[str, object]]]] = (),
    ) -> bytes:
        """54, 55, 56, 57, 58, 63 or the old one in its place, by field name, prices as on the wire."""
        return self.message(self.template(template_id), fields, *groups)

    # Snapshots

    def snapshot(
        self,
        security_id: int,
        *,
        last_seq: int,
        rpt_seq: int,
        entries: Iterable[Sequence[Any]] = (),
        total: int = 1,
        transact_ns: int | None = None,
        update_ns: int = 0,
        trade_date: int | None = None,
        status: int = 17,
        limits: tuple[int | None, int | None, int | None] = (None, None, None),
        long: bool = False,
    ) -> bytes:
        """52, 38 or 69 of `SnapshotEntry` tuples; `last_seq` is tag 369, `total` 911."""
        rows = [
            self._snapshot_row(
                long, entry if isinstance(entry, SnapshotEntry) else SnapshotEntry(*entry)
            )
            for entry in entries
        ]
        high, low, variation = limits
        root = (
            last_seq,
            total,
            security_id,
            rpt_seq,
            self._time(transact_ns),
            update_ns,
            NULL_U16 if trade_date is None else trade_date,
            status,
            self.price(high),
            self.price(low),
            self.price(variation),
        )
        return self.message(self.template(52, long), root, ("NoMDEntries", rows))

    def _snapshot_row(self, long: bool, entry: SnapshotEntry) -> tuple[object, ...]:
        kind, price, size, orders, level, date, flag, settlement_type = entry
        mantissa = price if price is not None and not self.old else self.price(price)
        count = NULL_I32 if orders is None else orders
        told_flag = NULL_U8 if flag is None else flag
        if long:
            quantity = NULL_U64 if size is None else size
            rank = NULL_U8 if level is None else level
            return (mantissa, quantity, count, rank, told_flag, _KIND[kind])
        quantity = NULL_I32 if size is None else size
        rank = NULL_I8 if level is None else level
        day = NULL_U16 if date is None else date
        return (mantissa, quantity, count, rank, day, told_flag, settlement_type, _KIND[kind])

    def order_snapshot(
        self,
        security_id: int,
        *,
        last_seq: int,
        entries: Iterable[Sequence[Any]] = (),
        chunk: int = 1,
        chunks: int = 1,
        total: int = 1,
        transact_ns: int | None = None,
    ) -> bytes:
        """53 or 44 of `SnapshotOrder` tuples; chunks count from 1."""
        rows = [
            (order_id, priority, self.price(price), size, _KIND[kind])
            for order_id, priority, price, size, kind in entries
        ]
        time_ns = self._time(transact_ns)
        root = (last_seq, total, security_id, chunks, chunk, time_ns)
        return self.message(self.template(53), root, ("NoMDEntries", rows))

    def _time(self, transact_ns: int | None) -> int:
        return self.now_ns if transact_ns is None else transact_ns
