"""How far a replay has come."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(slots=True)
class Progress:
    """How far a replay has come, in bytes of its files; the ring's counter received_bytes is `done_bytes`."""

    total_bytes: int
    done_bytes: int = 0

    @property
    def fraction(self) -> float:
        """0 to 1."""
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes else 1.0
