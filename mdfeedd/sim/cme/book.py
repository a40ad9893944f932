"""The venue's own order books: every order by id, price levels derived from them, and levels as updates.

    orders ──► Book.top(side, 10) ──► changes(before, after) ──► New, Change, Delete by level, as on the wire

`changes` says how a book of limited depth goes from one picture to the next: a Delete carries the old price and
size; a New pushes the last level off without a word; what comes up from below the depth is a New at the last
level.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.entries import Action

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ASK", "BID_SIDE", "Book", "Level", "Order", "changes"]

BID_SIDE: Final = 0
ASK: Final = 1

Level = tuple[int, int, int | None]  # price, size, orders (None: implied)


class Order:
    """A resting order."""

    __slots__ = ("order_id", "price", "priority", "side", "size")

    def __init__(self, order_id: int, side: int, price: int, size: int, priority: int) -> None:
        self.order_id: int = order_id
        self.side: int = side
        self.price: int = price
        self.size: int = size
        self.priority: int = priority


class _PriceLevel:
    __slots__ = ("orders", "size")

    def __init__(self) -> None:
        self.size = 0
        self.orders: dict[int, Order] = {}  # in order of priority


class Book:
    """One instrument's orders. Sides: 0 bid, 1 ask. Nothing stops a book from being crossed."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self._keys: tuple[list[int], list[int]] = ([], [])  # best first: -price for bids
        self._levels: tuple[dict[int, _PriceLevel], dict[int, _PriceLevel]] = ({}, {})

    def add(self, order_id: int, side: int, price: int, size: int, priority: int) -> Order:
        """A new order, behind those at its price."""
        assert size > 0
        assert order_id not in self.orders
        order = Order(order_id, side, price, size, priority)
        self.orders[order_id] = order
        key = price if side else -price
        level = self._levels[side].get(key)
        if level is None:
            level = self._levels[side][key] = _PriceLevel()
            insort(self._keys[side], key)
        level.size += size
        level.orders[order_id] = order
        return order

    def reduce(self, order_id: int, by: int) -> None:
        """Fewer lots; an order without any is gone."""
        order = self.orders[order_id]
        assert 0 < by <= order.size
        side = order.side
        key = order.price if side else -order.price
        level = self._levels[side][key]
        order.size -= by
        level.size -= by
        if order.size:
            return
        del self.orders[order_id]
        del level.orders[order_id]
        if not level.orders:
            del self._levels[side][key]
            keys = self._keys[side]
            del keys[bisect_left(keys, key)]

    def cancel(self, order_id: int) -> None:
        """The order is gone."""
        self.reduce(order_id, self.orders[order_id].size)

    def increase(self, order_id: int, by: int, priority: int) -> None:
        """More lots, at the price of the place in the queue."""
        order = self.orders[order_id]
        level = self._levels[order.side][order.price if order.side else -order.price]
        order.size += by
        level.size += by
        order.priority = priority
        level.orders[order_id] = level.orders.pop(order_id)

    def top(self, side: int, depth: int) -> list[Level]:
        """(price, size, orders) of the best `depth` levels."""
        levels = self._levels[side]
        sign = 1 if side else -1
        picture: list[Level] = []
        for key in self._keys[side][:depth]:
            level = levels[key]
            picture.append((sign * key, level.size, len(level.orders)))
        return picture

    def best(self, side: int) -> int | None:
        """The best price."""
        keys = self._keys[side]
        if not keys:
            return None
        return keys[0] if side else -keys[0]

    def queue(self, side: int) -> Iterator[Order]:
        """Orders by price, then priority: the order in which they trade. A copy: the book may change."""
        levels = self._levels[side]
        for key in tuple(self._keys[side]):
            yield from tuple(levels[key].orders.values())

    def clear(self) -> None:
        """No orders."""
        self.orders.clear()
        for side in (BID_SIDE, ASK):
            self._keys[side].clear()
            self._levels[side].clear()


def changes(
    before: Sequence[Level], after: Sequence[Level], side: int, depth: int
) -> list[tuple[int, int, Level]]:
    """(action, level from 1, what the entry carries) that lead from `before` to `after`, in order."""
    if before == after:
        return []
    told: list[tuple[int, int, Level]] = []
    rows = list(before)
    at = 0
    for old, new in zip(before, after, strict=False):  # most changes leave the best levels alone
        if old != new:
            break
        at += 1
    while at < len(rows) or at < len(after):
        if at >= len(after):
            told.append((Action.DELETE, at + 1, rows.pop(at)))
            continue
        new = after[at]
        if at < len(rows):
            old = rows[at]
            if old[0] == new[0]:
                if old != new:
                    told.append((Action.CHANGE, at + 1, new))
                at += 1
                continue
            if (old[0] < new[0]) == bool(side):  # the old one is better: it is gone
                told.append((Action.DELETE, at + 1, rows.pop(at)))
                continue
        rows.insert(at, new)
        del rows[depth:]
        told.append((Action.NEW, at + 1, new))
        at += 1
    return told
