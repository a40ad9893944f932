"""A synthetic market: quotes and trades of many instruments out of one seed, in numpy, without any I/O.

The model, per instrument
    touch    bid and ask on the tick grid, 1 to 3 ticks apart; the spread falls back to 1. Prices walk at
             random and are drawn back, weakly, to where they began, so that a market can run for weeks.
    sizes    lognormal, in lots. A trade takes from the side it hits; a trade that takes all of it moves the
             touch in the aggressor's direction. Where a trade leaves the displayed size as it was, hidden
             size has filled up again.
    time     a point process whose intensity follows a slow regime (busy times move prices more, too), with
             bursts of one instrument. The mean rate is the one asked for.

A trade is a TRADE tick followed, as one event, by the QUOTE after it (which carries EVENT_END).

How it is computed: a block of events at once. Events are sorted by instrument (stably, so in time order
inside each), headed by one row per instrument with the state before the block; prices are then running
sums within a group and sizes running products since the last fresh draw. No event is looked at one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mdfeedd.tick import QUOTE, TICK, TRADE, Flag, Kind, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.sim.listings import Listing

    Ticks = npt.NDArray[np.void]
    Integers = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

__all__ = ["MAX_RATE", "Market"]

MAX_RATE: Final = 50_000_000.0  # ticks per second of market time
MAX_SPREAD: Final = 3  # ticks
BLOCK_EVENTS: Final = 8192
_SEGMENT: Final = 64  # events of one value of the regime
_TRADE_SHARE: Final = 0.15  # of the events; with a quote after each, one tick in 7.7 is a trade
_TICKS_PER_EVENT: Final = 1 + _TRADE_SHARE
_EXHAUST_SHARE: Final = 0.1  # of the trades, in calm times, take all that is displayed
_SPREAD_SHARE: Final = 0.10  # of the quotes draw the spread anew
_SHIFT_SHARE: Final = 0.01  # of the quotes move both sides
_WIDE_SHARES: Final = (0.22, 0.05)  # of the spreads are at least 2, are 3 ticks
_SIGMA: Final = 0.75  # of the log of a size
_MAX_LOTS: Final = 30_000
_ORDER_SHARE: Final = 0.35  # an order has this share of the median size
_PULL: Final = 4.0  # drawing back: how the odds of a direction follow the relative distance
_MAX_TILT: Final = 0.25
_DRIFT: Final = 0.03  # trends: how the odds vary from block to block
_REGIME_SIGMA: Final = 0.6  # of the log of the intensity, at burstiness 1
_REGIME_MEMORY: Final = 0.97  # from segment to segment
_BURST_SHARE: Final = 0.3  # of the events, at burstiness 1, follow the one before at once ...
_BURST_GAP: Final = 0.02  # ... after this share of the usual time
_U16: Final = 65_536
_VENUE_SEQS: Final = 2**32 - 1


@dataclass(slots=True)
class _State:
    """The touch of each instrument: shape (m,), prices in ticks, sizes in lots."""

    bid: Integers
    spread: Integers
    bid_lots: Integers
    ask_lots: Integers


@dataclass(slots=True)
class _Draws:
    """The random part of a block: one row per event, in time order, state rows (m of them) first.

    `side` is the aggressor's or the direction of a quote's change: True is up.
    """

    instrument: Integers
    trade: Bools
    moves: Bools  # a trade that takes all, or a quote that shifts
    respread: Bools
    side: Bools
    spread: Integers
    kept: Floats  # share of the displayed size that a trade leaves
    normal: Floats
    follows: Bools  # events of a burst, without the state rows


class Market:
    """Ticks of `listings` from `start_ns` on, `rate` a second, the same for the same arguments.

    ids: instrument ids, one per listing; 1, 2, 3 ... if not given.
    burstiness: 0 (a Poisson process, one regime) to 1.
    """

    def __init__(
        self,
        listings: Sequence[Listing],
        rate: float = 10_000.0,
        seed: int = 1,
        *,
        start_ns: int = 0,
        burstiness: float = 0.5,
        ids: Sequence[int] | None = None,
    ) -> None:
        if not listings:
            raise ValueError("instruments: a market needs at least one")
        if not 0 < rate <= MAX_RATE:
            raise ValueError(
                f"rate: must be above 0 and at most {MAX_RATE:.0f} ticks/s, not {rate}"
            )
        if not 0 <= burstiness <= 1:
            raise ValueError(f"burstiness: must be 0 to 1, not {burstiness}")
        self.listings: tuple[Listing, ...] = tuple(listings)
        self.now_ns: int = start_ns
        self.burstiness = burstiness
        m = len(self.listings)
        self._events = max(BLOCK_EVENTS, 2 * m)  # so that the state rows are never the most
        self._gap_ns = 1e9 * _TICKS_PER_EVENT / rate
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._ids = np.array(range(1, m + 1) if ids is None else ids, np.uint32)
        if len(self._ids) != m:
            raise ValueError(f"ids: {len(self._ids)} for {m} instruments")
        self._tick_size = np.array([item.tick_size for item in self.listings], np.int64)
        self._lot = np.array([item.lot for item in self.listings], np.int64)
        self._log_size = np.log(np.array([item.size for item in self.listings], np.float64))
        order_lots = np.array([item.size for item in self.listings]) * _ORDER_SHARE
        self._order_lots = np.maximum(1, order_lots).astype(np.int64)
        weights = np.array([item.weight for item in self.listings], np.float64)
        self._activity = np.cumsum(weights / weights.sum())
        self._anchor = np.array([i.price // i.tick_size for i in self.listings], np.int64)
        self._state = _State(
            self._anchor.copy(),
            np.ones(m, np.int64),
            self._fresh_lots(self._log_size, self._random.standard_normal(m)),
            self._fresh_lots(self._log_size, self._random.standard_normal(m)),
        )
        self._regime = 0.0
        self._venue_seq = 0
        self._trade_id = 0
        self._ready: Ticks = np.empty(0, TICK)  # made and not yet asked for

    # ------------------------------------------------------------------------------------------- asking

    def opening(self) -> Ticks:
        """One QUOTE per instrument, flagged SNAPSHOT: the touch before the first tick.

        To be asked for first; raises `ValueError` later, when that touch is history.
        """
        if self._venue_seq:
            raise ValueError("the market has opened already")
        m = len(self.listings)
        quotes = np.zeros(m, QUOTE)
        self._fill_quotes(quotes, np.arange(m), self._state)
        quotes["ts_event"] = quotes["ts_recv"] = self.now_ns
        quotes["flags"] = Flag.SNAPSHOT | Flag.EVENT_END
        self._number(quotes)
        return quotes.view(TICK)

    def ticks(self, n: int) -> Ticks:
        """The next n ticks, as the caller's own array of dtype `TICK`, shape (n,)."""
        if n < 0:
            raise ValueError(f"n: must not be negative, not {n}")
        parts: list[Ticks] = []
        wanted = n
        while wanted > len(self._ready):
            parts.append(self._ready)
            wanted -= len(self._ready)
            self._ready = self._block()
        parts.append(self._ready[:wanted])
        self._ready = self._ready[wanted:]
        return np.concatenate(parts)

    def until(self, t_ns: int, limit: int | None = None) -> Ticks:
        """The ticks with ts_event <= t_ns that were not given yet; at most `limit` of them, if given."""
        parts: list[Ticks] = []
        taken = 0
        while True:
            due = int(np.searchsorted(self._ready["ts_event"], t_ns, side="right"))
            if limit is not None:
                due = min(due, limit - taken)
            parts.append(self._ready[:due])
            taken += due
            self._ready = self._ready[due:]
            if len(self._ready) or taken == limit:
                return np.concatenate(parts)
            self._ready = self._block()

    def next_ns(self) -> int:
        """When the next tick is due."""
        if not len(self._ready):
            self._ready = self._block()
        return int(self._ready["ts_event"][0])

    # ------------------------------------------------------------------------------------------- a block

    def _block(self) -> Ticks:
        """The next block of events as ticks; the state is then the one after it."""
        busy = self._busy()
        draws = self._draw(busy)
        when = self._times(busy, draws)
        m, n = len(self.listings), self._events
        order = np.argsort(draws.instrument.astype(np.uint16), kind="stable")
        before, after, bought, sold, lots = self._touch(draws, order)

        rows = np.flatnonzero(order >= m)  # without the state rows
        event = order[rows] - m
        trade = draws.trade[m:]
        last = np.cumsum(1 + trade) - 1  # where each event's quote comes to lie
        ticks = np.empty(int(last[-1]) + 1, TICK)
        cells = ticks.view("V64")

        quotes = np.zeros(n, QUOTE)
        instrument = draws.instrument[order]
        self._fill_quotes(quotes, instrument[rows], _at(after, rows))
        quotes["ts_event"] = quotes["ts_recv"] = when[event]
        cells[last[event]] = quotes.view("V64")

        hits = np.flatnonzero(bought | sold)
        trades = np.zeros(len(hits), TRADE)
        self._fill_trades(trades, instrument[hits], _at(before, hits), bought[hits], lots[hits])
        event = order[hits] - m
        trades["ts_event"] = trades["ts_recv"] = when[event]
        cells[last[event] - 1] = trades.view("V64")
        self._number(ticks)
        return ticks

    def _busy(self) -> Floats:
        """The intensity at each event, relative to its mean: AR(1) in the log, by segments."""
        n, sigma = self._events, _REGIME_SIGMA * self.burstiness
        segments = -(-n // _SEGMENT)
        kick = sigma * (1 - _REGIME_MEMORY**2) ** 0.5
        path = np.empty(segments)
        x = self._regime
        for i, z in enumerate((kick * self._random.standard_normal(segments)).tolist()):
            x = path[i] = _REGIME_MEMORY * x + z
        self._regime = x
        mean = sigma * sigma / 2  # makes the mean of 1 / intensity, and so the rate, come out as 1
        return np.repeat(np.exp(path + mean), _SEGMENT)[:n]

    def _draw(self, busy: Floats) -> _Draws:
        m, n = len(self.listings), self._events
        u = self._random.integers(0, 2**64, 2 * (m + n), np.uint64).view(np.uint16)
        u = u.reshape(8, m + n)
        instrument = np.empty(m + n, np.int64)
        instrument[:m] = np.arange(m)
        drawn = np.searchsorted(self._activity, self._random.random(n), side="right")
        instrument[m:] = np.minimum(drawn, m - 1)
        follows = u[0, m:] < _BURST_SHARE * self.burstiness * _U16
        follows[0] = False
        instrument[m:] = _last(instrument[m:], ~follows)

        more = np.ones(m + n)
        more[m:] = np.minimum(np.sqrt(busy), 2.5)
        trade = u[1] < _TRADE_SHARE * _U16
        moves = u[2] < np.where(trade, _EXHAUST_SHARE, _SHIFT_SHARE) * more * _U16
        respread = ~moves & ~trade & (u[3] < _SPREAD_SHARE * _U16)
        respread |= trade & moves
        tilt = _DRIFT * self._random.standard_normal(m)
        tilt -= _PULL * (self._state.bid - self._anchor) / self._anchor
        odds = 0.5 + np.clip(tilt, -_MAX_TILT, _MAX_TILT)
        side = u[4] < (odds * _U16)[instrument]
        spread = 1 + (u[5] < _WIDE_SHARES[0] * _U16).astype(np.int64)
        spread += u[5] < _WIDE_SHARES[1] * _U16
        trade[:m] = moves[:m] = False
        respread[:m] = True
        spread[:m] = self._state.spread
        kept = (u[6] + 0.5) / _U16
        return _Draws(
            instrument,
            trade,
            moves,
            respread,
            side,
            spread,
            kept,
            self._random.standard_normal(m + n),
            follows,
        )

    def _times(self, busy: Floats, draws: _Draws) -> Integers:
        n = self._events
        gaps = self._random.standard_exponential(n) * (self._gap_ns / busy)
        share = _BURST_SHARE * self.burstiness
        rest = (1 - share * _BURST_GAP) / (1 - share)
        gaps *= np.where(draws.follows, _BURST_GAP, rest)
        when: Integers = self.now_ns + np.cumsum(gaps).astype(np.int64)
        self.now_ns = int(when[-1])
        return when

    def _touch(
        self, draws: _Draws, order: npt.NDArray[np.intp]
    ) -> tuple[_State, _State, Bools, Bools, Integers]:
        """In the sorted order: the touch before and after each event, buys, sells, and lots traded."""
        m = len(self.listings)
        head = order < m
        instrument = draws.instrument[order]
        trade, moves, side = draws.trade[order], draws.moves[order], draws.side[order]
        spread = _last(draws.spread[order], draws.respread[order])
        bid, ask_moved, bid_moved = self._prices(spread, head, trade & moves, moves, side)

        bought, sold = trade & side, trade & ~side
        refresh = ~trade & ~moves
        log_size, normal, kept = self._log_size[instrument], draws.normal[order], draws.kept[order]
        bid_lots = _sizes(
            np.where(head, self._state.bid_lots[instrument], self._fresh_lots(log_size, normal)),
            head | bid_moved | (refresh & side),
            np.where(sold & ~moves, kept, 1.0),
        )
        ask_lots = _sizes(
            np.where(head, self._state.ask_lots[instrument], self._fresh_lots(log_size, -normal)),
            head | ask_moved | (refresh & ~side),
            np.where(bought & ~moves, kept, 1.0),
        )
        after = _State(bid, spread, bid_lots, ask_lots)
        before = _State(*(np.roll(v, 1) for v in (bid, spread, bid_lots, ask_lots)))
        shown = np.where(side, before.ask_lots, before.bid_lots)
        left = np.where(side, ask_lots, bid_lots)
        lots = np.where(moves, shown, np.maximum(1, shown - left))
        ends = np.append(np.flatnonzero(head)[1:], len(order)) - 1
        self._state = _at(after, ends)
        return before, after, bought, sold, lots

    def _prices(
        self, spread: Integers, head: Bools, taken: Bools, moves: Bools, side: Bools
    ) -> tuple[Integers, Bools, Bools]:
        """The bid after each event (ticks), and whether the ask, the bid are other than before."""
        wider = np.diff(spread, prepend=spread[:1])
        wider[head] = 0
        # A changed spread alone: in the direction `side`, by the ask if it widens up, else by the bid.
        step = np.where(side == (wider > 0), 0, -wider)
        # Taken out: the hit side gives way by one tick, the other follows by what the spread says.
        step = np.where(taken, np.where(side, 1 - wider, -1), step)
        step = np.where(moves & ~taken, np.where(side, 1, -1), step)
        step[head] = 0
        walk = np.cumsum(step)
        starts = np.flatnonzero(head)
        sizes = np.diff(np.append(starts, len(step)))
        bid = walk + np.repeat(self._state.bid - walk[starts], sizes)
        bid = 1 + np.abs(bid - 1)  # a price of 0 would be reflected; the pull makes it a theory
        bid_moved = step != 0
        return bid, (step + wider) != 0, bid_moved

    # ------------------------------------------------------------------------------------------- records

    @staticmethod
    def _fresh_lots(log_size: Floats, normal: Floats) -> Integers:
        lots: Integers = np.exp(log_size + _SIGMA * normal).astype(np.int64)
        return np.clip(lots, 1, _MAX_LOTS)

    def _fill_quotes(self, quotes: Ticks, instrument: npt.NDArray[Any], touch: _State) -> None:
        tick, lot = self._tick_size[instrument], self._lot[instrument]
        quotes["kind"] = Kind.QUOTE
        quotes["flags"] = Flag.EVENT_END
        quotes["instrument_id"] = self._ids[instrument]
        quotes["bid_price"] = touch.bid * tick
        quotes["ask_price"] = (touch.bid + touch.spread) * tick
        quotes["bid_size"] = touch.bid_lots * lot
        quotes["ask_size"] = touch.ask_lots * lot
        orders = self._order_lots[instrument]
        quotes["count"] = 2 + touch.bid_lots // orders + touch.ask_lots // orders

    def _fill_trades(
        self,
        trades: Ticks,
        instrument: npt.NDArray[Any],
        touch: _State,
        bought: Bools,
        lots: Integers,
    ) -> None:
        trades["kind"] = Kind.TRADE
        trades["side"] = np.where(bought, Side.BUY, Side.SELL)
        trades["instrument_id"] = self._ids[instrument]
        ticks = touch.bid + np.where(bought, touch.spread, 0)
        trades["price"] = ticks * self._tick_size[instrument]
        trades["size"] = lots * self._lot[instrument]
        trades["count"] = 1 + lots // self._order_lots[instrument]

    def _number(self, ticks: Ticks) -> None:
        """venue_seq for all, trade_id for trades, in place and in the order of `ticks`."""
        n = len(ticks)
        numbers = np.arange(self._venue_seq, self._venue_seq + n, dtype=np.int64)
        ticks["venue_seq"] = numbers % _VENUE_SEQS + 1  # 0 means none
        self._venue_seq += n
        trades = np.flatnonzero(ticks["kind"] == Kind.TRADE)
        ids = self._trade_id + 1 + np.arange(len(trades))
        ticks.view(TRADE)["trade_id"][trades] = ids
        self._trade_id += len(trades)


def _at(touch: _State, rows: npt.NDArray[np.intp]) -> _State:
    return _State(touch.bid[rows], touch.spread[rows], touch.bid_lots[rows], touch.ask_lots[rows])


def _last(values: Integers, valid: Bools) -> Integers:
    """Each value that is not valid replaced by the last valid one before it; the first is valid."""
    return values[np.maximum.accumulate(np.where(valid, np.arange(len(values)), 0))]


def _sizes(fresh: Integers, reset: Bools, kept: Floats) -> Integers:
    """Displayed lots after each event: the last fresh draw times the shares kept since, at least 1."""
    index = np.maximum.accumulate(np.where(reset, np.arange(len(fresh)), 0))
    logs = np.cumsum(np.log(kept))
    shares = np.exp(logs - logs[index])
    left: Integers = (fresh[index] * shares).astype(np.int64)
    return np.maximum(1, left)
