"""Time for the stand-in: of the system, or one that leaps to whatever is waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import threading

_YIELD_S: Final = 0.0002

__all__ = ["Clock", "SystemClock", "VirtualClock"]


class Clock(Protocol):
    """UNIX ns that never go back."""

    def now_ns(self) -> int:
        """What time it is."""
        ...

    def wait(self, gate: threading.Condition, until_ns: int | None) -> None:
        """Let go of `gate` until it is notified or the time has come; None is for ever."""
        ...

    def sleep(self, ns: int) -> None:
        """Nothing for so long."""
        ...


class SystemClock:
    """The wall clock as it was at the start, going on monotonically."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """The time of day, without its steps."""
        return self._offset_ns + time.monotonic_ns()

    def wait(self, gate: threading.Condition, until_ns: int | None) -> None:
        """Block."""
        if until_ns is None:
            gate.wait()
        else:
            gate.wait(max(until_ns - self.now_ns(), 0) / 1e9)

    def sleep(self, ns: int) -> None:
        """Block."""
        time.sleep(ns / 1e9)


class VirtualClock:
    """Moves when somebody waits, at once; hours of a session pass in seconds.

    Waiting without an end blocks as it does in earnest: only another thread can end it.
    """

    def __init__(self, now_ns: int = 1_798_000_000_000_000_000) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """What has been waited for so far."""
        return self._now_ns

    def advance(self, ns: int) -> None:
        """Let time pass while nobody calls."""
        if ns < 0:
            raise ValueError(f"time does not go back: {ns} ns")
        self._now_ns += ns

    def wait(self, gate: threading.Condition, until_ns: int | None) -> None:
        """Leap."""
        if until_ns is None:
            gate.wait()
        else:
            self._now_ns = max(self._now_ns, until_ns)

    def sleep(self, ns: int) -> None:
        """Leap, and let other threads have a turn."""
        self._now_ns += ns
        time.sleep(_YIELD_S)
