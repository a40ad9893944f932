"""Bars that a stop has cut and that cannot be made again, since the ring does not reach back to their first trade.

    earlier bars ─► CutBars ─► those still open at the stop ─┐
    bars made of the trades behind the stop ─────────────────┴─► joined: one bar, with a higher revision

What joins them is their beginning. Open, high, low, close, volume and count are as if nothing had happened; the vwap
is made of two that are rounded to 1e-9. They stay flagged PARTIAL: whether the first of them was whole is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.tick import PRICE_UNDEF, BarFlag

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CutBars"]

NS: Final = 1_000_000_000
MAX_COUNT: Final = (1 << 32) - 1
NEVER: Final = -(1 << 63)


class CutBars:
    """Those of one feed, out of what earlier runs have published of it, dtype BAR, oldest first."""

    def __init__(self, earlier: npt.NDArray[np.void], lateness_ns: int = 0) -> None:
        newest = {(bar["instrument_id"], bar["interval_s"]): bar for bar in earlier}
        traded = earlier["ts_last"][earlier["count"] > 0]
        open_ns = int(traded.max()) - lateness_ns if len(traded) else 0
        self._cut: dict[tuple[int, int], np.void] = {
            key: bar
            for key, bar in newest.items()
            if bar["flags"] & BarFlag.PARTIAL
            and not bar["flags"] & BarFlag.VENDOR
            and bar["count"]
            and int(bar["ts_open"]) + int(bar["interval_s"]) * NS > open_ns
        }
        self._until_ns = max((int(bar["ts_open"]) for bar in self._cut.values()), default=NEVER)

    @property
    def first_seq(self) -> int:
        """Of the first trade in any of them; 0: there are none."""
        return min((int(bar["first_seq"]) for bar in self._cut.values()), default=0)

    @property
    def last_seq(self) -> int:
        """Of the last trade in any of them: what comes behind it is in none."""
        return max((int(bar["last_seq"]) for bar in self._cut.values()), default=0)

    def others(self, earlier: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The bars whose successors are not to be joined with them."""
        keep = [(bar["instrument_id"], bar["interval_s"]) not in self._cut for bar in earlier]
        found: npt.NDArray[np.void] = earlier[np.array(keep, bool)]
        return found

    def join(self, bars: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The bars to be published in place of those: the same, but where they go on with one that was cut."""
        if not (bars["ts_open"] <= self._until_ns).any():
            return bars
        bars = bars.copy()
        for bar in bars:
            cut = self._cut.get((bar["instrument_id"], bar["interval_s"]))
            if cut is not None and cut["ts_open"] == bar["ts_open"]:
                _go_on(bar, cut)
        return bars

    def clear(self) -> None:
        """Nothing is joined any more."""
        self._cut.clear()
        self._until_ns = NEVER


def _go_on(bar: Any, cut: np.void) -> None:
    """Make of `bar` what it were with the trades of `cut`, which came before."""
    bar["revision"] += cut["revision"] + 1
    bar["flags"] |= cut["flags"]
    if not bar["count"]:
        bar["flags"] = cut["flags"]
        for name in (
            "open",
            "high",
            "low",
            "close",
            "ts_first",
            "ts_last",
            "first_seq",
            "last_seq",
        ):
            bar[name] = cut[name]
    if cut["ts_first"] <= bar["ts_first"]:
        bar["open"], bar["ts_first"] = cut["open"], cut["ts_first"]
    if cut["ts_last"] > bar["ts_last"]:
        bar["close"], bar["ts_last"] = cut["close"], cut["ts_last"]
    bar["high"] = max(bar["high"], cut["high"])
    bar["low"] = min(bar["low"], cut["low"])
    bar["vwap"] = _vwap(bar, cut)
    bar["volume"] += cut["volume"]
    bar["count"] = min(MAX_COUNT, int(bar["count"]) + int(cut["count"]))
    bar["first_seq"] = min(bar["first_seq"], cut["first_seq"])
    bar["last_seq"] = max(bar["last_seq"], cut["last_seq"])


def _vwap(bar: Any, cut: np.void) -> int:
    """Half to even, as the kernel's."""
    volumes = (int(bar["volume"]), int(cut["volume"]))
    total = sum(volumes)
    if not total:
        return PRICE_UNDEF
    worth = sum(
        int(one["vwap"]) * volume for one, volume in zip((bar, cut), volumes, strict=True) if volume
    )
    quotient, rest = divmod(worth, total)
    return quotient + (2 * rest > total or (2 * rest == total and quotient & 1))
