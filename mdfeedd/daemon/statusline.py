"""One line that says how the daemon is, for `systemctl status`: counts and rates first, then what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mdfeedd.daemon.child import Child
    from mdfeedd.ring.inspect import RingInfo

MAX_NAMED: Final = 4
"""Children that are named because something is wrong with them."""
_WELL: Final = frozenset({"running", "finished"})


@dataclass(slots=True)
class Totals:
    """What all feeds have published and missed, and what readers have lost, since the rings were made."""

    ticks: int = 0
    gaps: int = 0
    lost: int = 0

    @classmethod
    def of(cls, feeds: Iterable[str], infos: Mapping[str, RingInfo]) -> Totals:
        """Those of the feeds' own rings."""
        totals = cls()
        for name in feeds:
            info = infos.get(name)
            if info is not None:
                totals.ticks += info.tail
                totals.gaps += info.counters.get("gaps", 0)
                totals.lost += sum(c.lost for c in info.consumers if c.alive and c.same_ring)
        return totals


@dataclass(slots=True)
class StatusLine:
    """Makes the line, and the rate between two of them."""

    reload_failed: bool = False
    """The last reload kept the old configuration."""
    _ticks: int = 0
    _at_s: float | None = None
    _rate: float = field(default=0.0)

    def line(self, children: Iterable[Child], totals: Totals, now_s: float) -> str:
        """Of this moment; `now_s` is monotonic."""
        if self._at_s is not None and now_s > self._at_s:
            self._rate = max(0, totals.ticks - self._ticks) / (now_s - self._at_s)
        self._ticks, self._at_s = totals.ticks, now_s
        everybody = list(children)
        parts = [_counted(everybody, "feed"), _counted(everybody, "consumer")]
        parts += [f"{_rounded(self._rate)} ticks/s", f"{totals.gaps:,} gaps"]
        if totals.lost:
            parts.append(f"{totals.lost:,} records lost by slow readers")
        ill = [child for child in everybody if child.state.value not in _WELL]
        parts += [f"{child.label} {_illness(child)}" for child in ill[:MAX_NAMED]]
        if len(ill) > MAX_NAMED:
            parts.append(f"and {len(ill) - MAX_NAMED} more")
        if self.reload_failed:
            parts.append("the last reload was refused, the old configuration runs")
        return ", ".join(part for part in parts if part)


def _counted(children: list[Child], kind: str) -> str:
    """``3 feeds running``, or ``2 of 3 feeds running``."""
    ours = [child for child in children if child.kind == kind]
    running = sum(child.state.value == "running" for child in ours)
    if not ours:
        return ""
    noun = kind if len(ours) == 1 else f"{kind}s"
    of = "" if running == len(ours) else f" of {len(ours)}"
    return f"{running}{of} {noun} running"


def _illness(child: Child) -> str:
    if child.state.value == "failed":
        return f"given up ({child.last_exit})"
    if child.state.value == "backoff":
        return f"restarts soon ({child.last_exit})"
    return child.state.value


def _rounded(rate: float) -> str:
    """Three digits are enough: the line is sent when it changes."""
    for unit, word in ((1e6, " M"), (1e3, " k")):
        if rate >= unit:
            return f"{rate / unit:.3g}{word}"
    return f"{rate:.0f}"
