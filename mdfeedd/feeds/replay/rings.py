"""The rings that a replay writes: ticks, and bars from the first bar on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mdfeedd.feeds.protocol import BARS_SUFFIX
from mdfeedd.feeds.replay.gate import Gate
from mdfeedd.tick import BAR, TICK, Kind

if TYPE_CHECKING:
    import threading

    import numpy.typing as npt

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.feeds.replay.options import ReplayOptions
    from mdfeedd.ring import Writer

__all__ = ["Rings"]

_BARS_AT_ONCE: Final = 64  # that the decoder publishes, at most


class Rings:
    """A table of instruments for `Symbology`, and two writers behind gates.

    The bar ring's table repeats the entries of the tick ring's, under the same ids.
    """

    def __init__(
        self, feed: str, plan: RingPlan, stop: threading.Event, options: ReplayOptions
    ) -> None:
        self._feed = feed
        self._plan = plan
        self._stop = stop
        self._options = options
        self._entries: dict[int, tuple[str, dict[str, Any]]] = {}
        self._bars: Writer | None = None
        self._bars_gate: Gate | None = None
        self._first_bar_seq = 0
        self.ticks: Writer = plan.writer(feed, TICK)
        self.gate: Gate = Gate(self.ticks, stop, options.stall_limit_s)
        self._first_seq = self.ticks.next_seq

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ticks.close()
        if self._bars is not None:
            self._bars.close()

    @property
    def published(self) -> bool:
        """Whether anything was, by now."""
        if self._bars is not None and self._bars.next_seq > self._first_bar_seq:
            return True
        return self.ticks.next_seq > self._first_seq

    def add(self, symbol: str, **attributes: Any) -> int:
        """Enter an instrument (see `InstrumentTable`)."""
        own_id = self.ticks.instruments.add(symbol, **attributes)
        self._entries[own_id] = (symbol, attributes)
        if self._bars is not None:
            self._bars.instruments.add(symbol, instrument_id=own_id, **attributes)
        return own_id

    def _bar_ring(self) -> tuple[Writer, Gate]:
        if self._bars is None or self._bars_gate is None:
            bars = self._plan.writer(self._feed, BAR, BARS_SUFFIX)
            for own_id, (symbol, attributes) in self._entries.items():
                bars.instruments.add(symbol, instrument_id=own_id, **attributes)
            options = self._options
            self._bars = bars
            self._first_bar_seq = bars.next_seq
            self._bars_gate = Gate(bars, self._stop, options.stall_limit_s, first=self.gate)
            self._bars_gate.wait_for_consumers(
                self._plan, options.min_bar_consumers, options.min_consumers_limit_s
            )
        return self._bars, self._bars_gate

    def bars_with_room(self) -> Writer:
        """The bar ring, when it has room for what a decoder gives at once."""
        bars, gate = self._bar_ring()
        room = 0
        while room < _BARS_AT_ONCE and not self._stop.is_set():
            room = gate.room(_BARS_AT_ONCE)
        return bars

    def publish_ticks(self, ticks: npt.NDArray[np.void]) -> bool:
        """Publish and count, as there is room. False once the replay is stopped."""
        while len(ticks):
            room = self.gate.room(len(ticks))
            if not room:
                return False
            part, ticks = ticks[:room], ticks[room:]
            self.ticks.publish(part)
            kinds = np.bincount(part["kind"], minlength=Kind.TRADE + 1)
            quotes, trades = int(kinds[Kind.QUOTE]), int(kinds[Kind.TRADE])
            counters = self.ticks.counters
            counters.add("published_quotes", quotes)
            counters.add("published_trades", trades)
            counters.add("published_others", len(part) - quotes - trades)
        return True

    def publish_bars(self, bars: npt.NDArray[np.void]) -> bool:
        """The same for bars."""
        writer, gate = self._bar_ring()
        while len(bars):
            room = gate.room(len(bars))
            if not room:
                return False
            part, bars = bars[:room], bars[room:]
            writer.publish(part)
            self.ticks.counters.add("published_bars", len(part))
        return True
