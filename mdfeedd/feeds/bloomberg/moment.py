"""The time, as an argument: everything but the process itself is told what time it is."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["NS", "Now", "Tell"]

NS: Final = 1_000_000_000


class Now(NamedTuple):
    """By both clocks: one that never steps, and UNIX ns."""

    monotonic_ns: int
    wall_ns: int


class Tell:
    """Who hears sentences about what happens; this one does not listen."""

    def __call__(
        self, kind: str, sentence: str, now: Now, *, routine: bool = False, each: bool = False
    ) -> None:
        """Take a sentence; those of one `kind` may be gathered. `routine`: no reason to look after it.

        `each`: they should not be gathered, as each names something else.
        """
