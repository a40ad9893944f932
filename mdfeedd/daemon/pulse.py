"""Who is alive and who hangs, told by signs of life in shared memory. Sans-IO: signs and times in, verdicts out.

    signs changed            ──►  fresh: silent for 0 s
    the same as last time    ──►  silent since they last changed
    silent for `limit_s`     ──►  HUNG, once per process: the caller aborts it
    no sign at all yet       ──►  the same after `start_s`, counted from the process' first round; without one it is
                                  not judged: a consumer may wait for its ring for ever

A sign is any number that a process moves while it works: heartbeats, but also positions, because who is busy may have
no time to beat. What has signs and then none (its ring was removed) is not judged either.

The observer's own sleep is nobody's fault: when rounds come later than `round_s` allows (a stopped process, a
paused machine), the time between them counts as one round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LATE_ROUNDS: Final = 3.0
"""A round that comes after so many times its interval says that the observer itself slept."""

Signs = tuple[int, ...]


@dataclass(slots=True)
class _Beat:
    """Of one process: what it showed last, and for how long it has not changed."""

    pid: int
    signs: Signs
    gone: bool = False
    """It had signs once."""
    silent_s: float = 0.0
    told: bool = False


class Pulse:
    """The processes that are watched, by name. One `begin_round`, then one `look` at each."""

    def __init__(self, round_s: float) -> None:
        self.round_s = round_s
        self._beats: dict[str, _Beat] = {}
        self._last_s: float | None = None
        self._passed_s = 0.0

    def begin_round(self, now_s: float) -> None:
        """A round of looks begins, at a monotonic time."""
        passed_s = 0.0 if self._last_s is None else now_s - self._last_s
        if passed_s > LATE_ROUNDS * self.round_s:
            passed_s = self.round_s
        self._passed_s, self._last_s = passed_s, now_s

    def look(self, name: str, pid: int, signs: Signs, limit_s: float, start_s: float = 0.0) -> bool:
        """Is this the moment at which the process has shown nothing new for `limit_s` (0: for ever)?

        `start_s` is the limit for one that has shown nothing at all yet; 0: none.
        """
        beat = self._beats.get(name)
        if beat is None or beat.pid != pid:
            self._beats[name] = _Beat(pid, signs)
            return False
        if beat.signs != signs:
            self._beats[name] = _Beat(pid, signs, gone=not signs)
            return False
        if not signs and (beat.gone or not start_s):
            return False
        beat.silent_s += self._passed_s
        if beat.told or not limit_s or beat.silent_s < (limit_s if signs else start_s):
            return False
        beat.told = True
        return True

    def silent_s(self, name: str) -> float:
        """For how long; 0 for one that is not known."""
        beat = self._beats.get(name)
        return 0.0 if beat is None else beat.silent_s

    def forget_others(self, names: set[str]) -> None:
        """Keep those of these names only."""
        for name in self._beats.keys() - names:
            del self._beats[name]
