"""An order book of one publisher for one instrument: what the records of all schemas are derived from."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.sim.databento.layouts import UNDEF_PRICE

if TYPE_CHECKING:
    import random

__all__ = ["ASK", "BID", "EMPTY", "Book", "Order", "Step", "Touch"]

BID: Final = b"B"
ASK: Final = b"A"
LEVELS: Final = 10
MAX_ORDERS: Final = 30  # of a side
MAX_SIZE: Final = 20
_MIN_ORDERS: Final = 2
_ADDS: Final = 0.45  # of the events; the rest follow one after the other
_CANCELS: Final = 0.70
_MODIFIES: Final = 0.84
_TRADES: Final = 0.995
_HITS_ALL: Final = 0.3  # of the trades take the whole level

Touch = tuple[int, int, int, int, int, int]
EMPTY: Final[Touch] = (UNDEF_PRICE, UNDEF_PRICE, 0, 0, 0, 0)


class Order(NamedTuple):
    """A resting order; `event_ns` is when it came, or last changed."""

    side: bytes
    price: int
    size: int
    event_ns: int


class Step(NamedTuple):
    """One line of an event: action and side as in DBN."""

    action: bytes
    side: bytes
    price: int
    size: int
    order_id: int


class _Half:
    """One side: total size and number of orders by price, and the prices in order."""

    def __init__(self, side: bytes) -> None:
        self.is_bid = side == BID
        self.prices: list[int] = []
        self.levels: dict[int, list[int]] = {}
        self.queue: dict[int, dict[int, int]] = {}  # by price: order ids, first come first

    def best(self) -> int:
        return self.prices[-1 if self.is_bid else 0]

    def put(self, order_id: int, price: int, size: int) -> None:
        level = self.levels.get(price)
        if level is None:
            bisect.insort(self.prices, price)
            self.levels[price] = [size, 1]
            self.queue[price] = {order_id: size}
            return
        level[0] += size
        level[1] += 1
        self.queue[price][order_id] = size

    def take(self, order_id: int, price: int) -> None:
        size = self.queue[price].pop(order_id)
        level = self.levels[price]
        level[0] -= size
        level[1] -= 1
        if not level[1]:
            del self.levels[price]
            del self.queue[price]
            self.prices.remove(price)

    def shrink(self, order_id: int, price: int, size: int) -> None:
        queue = self.queue[price]
        self.levels[price][0] += size - queue[order_id]
        queue[order_id] = size


class Book:
    """Orders by id. `draw` makes the steps of an event, `apply` does one of them."""

    def __init__(self, price: int, tick_size: int) -> None:
        self.anchor = price
        self.tick_size = tick_size
        self.orders: dict[int, Order] = {}
        self._halves = {BID: _Half(BID), ASK: _Half(ASK)}
        self._counts = {BID: 0, ASK: 0}

    def touch(self) -> Touch:
        """Bid and ask: prices, sizes, numbers of orders."""
        bids, asks = self._halves[BID], self._halves[ASK]
        bid = bids.prices[-1] if bids.prices else UNDEF_PRICE
        ask = asks.prices[0] if asks.prices else UNDEF_PRICE
        bid_size, bid_count = bids.levels[bid] if bids.prices else (0, 0)
        ask_size, ask_count = asks.levels[ask] if asks.prices else (0, 0)
        return bid, ask, bid_size, ask_size, bid_count, ask_count

    def top(self) -> tuple[Touch, ...]:
        """The ten best levels, as far as there are any."""
        bids, asks = self._halves[BID], self._halves[ASK]
        best = bids.prices[: -LEVELS - 1 : -1], asks.prices[:LEVELS]
        rows = []
        for k in range(LEVELS):
            bid = best[0][k] if k < len(best[0]) else UNDEF_PRICE
            ask = best[1][k] if k < len(best[1]) else UNDEF_PRICE
            bid_size, bid_count = bids.levels.get(bid, (0, 0))
            ask_size, ask_count = asks.levels.get(ask, (0, 0))
            rows.append((bid, ask, bid_size, ask_size, bid_count, ask_count))
        return tuple(rows)

    def apply(self, step: Step, event_ns: int) -> None:
        """Change the book; trades and fills leave it alone."""
        action, side, price, size, order_id = step
        if action == b"A":
            self.orders[order_id] = Order(side, price, size, event_ns)
            self._halves[side].put(order_id, price, size)
            self._counts[side] += 1
        elif action == b"C":
            del self.orders[order_id]
            self._halves[side].take(order_id, price)
            self._counts[side] -= 1
        elif action == b"M":
            old = self.orders[order_id]
            self.orders[order_id] = Order(side, price, size, event_ns)
            if old.price == price and size <= old.size:
                self._halves[side].shrink(order_id, price, size)
            else:
                self._halves[side].take(order_id, old.price)
                self._halves[side].put(order_id, price, size)
        elif action == b"R":
            self.orders.clear()
            self._halves = {BID: _Half(BID), ASK: _Half(ASK)}
            self._counts = {BID: 0, ASK: 0}

    def draw(self, rng: random.Random, order_id: int) -> list[Step]:
        """The steps of an event; a new order, if there is one in it, has that id."""
        side = BID if rng.random() < 0.5 else ASK
        chance = rng.random()
        count = self._counts[side]
        if count < _MIN_ORDERS or (chance < _ADDS and count < MAX_ORDERS):
            return [Step(b"A", side, self._price(rng, side), rng.randint(1, MAX_SIZE), order_id)]
        if chance < _CANCELS:
            return [self._cancel(rng, side)]
        if chance < _MODIFIES:
            return [self._modify(rng, side)]
        if chance < _TRADES:
            return self._trade(rng, side)
        return [Step(b"R", b"N", UNDEF_PRICE, 0, 0)]

    def _price(self, rng: random.Random, side: bytes) -> int:
        """Mostly near the other side, never across it."""
        sign, other = (-1, ASK) if side == BID else (1, BID)
        ticks = 1 + min(int(rng.expovariate(0.5)), 15)
        half = self._halves[other]
        start = half.best() if half.prices else self.anchor
        return max(start + sign * ticks * self.tick_size, self.tick_size)

    def _one(self, rng: random.Random, side: bytes) -> tuple[int, int]:
        """Some order's price and id: one of the best level as often as not."""
        half = self._halves[side]
        price = half.best() if rng.random() < 0.5 else rng.choice(half.prices)
        return price, rng.choice(list(half.queue[price]))

    def _cancel(self, rng: random.Random, side: bytes) -> Step:
        price, order_id = self._one(rng, side)
        return Step(b"C", side, price, self.orders[order_id].size, order_id)

    def _modify(self, rng: random.Random, side: bytes) -> Step:
        price, order_id = self._one(rng, side)
        if rng.random() < 0.3:
            price = self._price(rng, side)
        return Step(b"M", side, price, rng.randint(1, MAX_SIZE), order_id)

    def _trade(self, rng: random.Random, side: bytes) -> list[Step]:
        """An aggressor against the best level of `side`: the trade, the fills, what becomes of the orders."""
        half = self._halves[side]
        price = half.best()
        whole = half.levels[price][0]
        size = whole if rng.random() < _HITS_ALL else rng.randint(1, whole)
        steps = [Step(b"T", ASK if side == BID else BID, price, size, 0)]
        after = []
        left = size
        for order_id, resting in half.queue[price].items():
            hit = min(resting, left)
            steps.append(Step(b"F", side, price, hit, order_id))
            if hit == resting:
                after.append(Step(b"C", side, price, resting, order_id))
            else:
                after.append(Step(b"M", side, price, resting - hit, order_id))
            left -= hit
            if not left:
                break
        return steps + after
