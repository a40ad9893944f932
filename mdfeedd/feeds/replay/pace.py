"""When a recorded moment is due. No clock in here: the caller says what time it is."""

from __future__ import annotations

from mdfeedd.tick import TIME_UNDEF

__all__ = ["Pace"]


class Pace:
    """The recording's time runs `speed` times as fast as the caller's; None: there is no waiting."""

    def __init__(self, speed: float | None) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self._speed = speed
        self._recorded_ns: int | None = None
        self._started_ns = 0

    def horizon_ns(self, first_ns: int, now_ns: int) -> int:
        """Everything up to this recorded time is due. `first_ns` starts the recording's clock, once."""
        if self._speed is None:
            return 2**63 - 1
        if self._recorded_ns is None:
            if first_ns == TIME_UNDEF:
                return TIME_UNDEF
            self._recorded_ns, self._started_ns = first_ns, now_ns
        return self._recorded_ns + int((now_ns - self._started_ns) * self._speed)

    def wait_s(self, due_ns: int, now_ns: int) -> float:
        """How long until a recorded time is due, 0 if it is."""
        horizon = self.horizon_ns(due_ns, now_ns)
        if self._speed is None or due_ns <= horizon:
            return 0.0
        return (due_ns - horizon) / self._speed / 1e9
