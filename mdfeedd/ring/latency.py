"""How long records took, as lies in shared memory: a histogram by powers of two (`mdf_latency` in `mdfeedd.h`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mdfeedd.ring._ring import LATENCY_BUCKETS, LATENCY_EVERY, LATENCY_SHIFT

__all__ = ["BOUNDS_S", "LATENCY_EVERY", "Latency"]

BOUNDS_S: Final = tuple(2.0 ** (LATENCY_SHIFT + i) * 1e-9 for i in range(LATENCY_BUCKETS - 1))
"""Upper bounds of all buckets but the last, which has none: 256 ns to 137 s."""


@dataclass(frozen=True, slots=True)
class Latency:
    """A sample is the oldest record of one flush (of a writer) or read (of a consumer) out of `LATENCY_EVERY`."""

    buckets: tuple[int, ...]
    """Samples of each bucket; one more than `BOUNDS_S` has."""
    sum_ns: int

    @property
    def samples(self) -> int:
        """All of them."""
        return sum(self.buckets)

    def since(self, earlier: Latency | None) -> Latency:
        """What came after an earlier look; all, where the counting began anew in between."""
        if earlier is None or any(
            n < m for n, m in zip(self.buckets, earlier.buckets, strict=True)
        ):
            return self
        return Latency(
            tuple(n - m for n, m in zip(self.buckets, earlier.buckets, strict=True)),
            max(0, self.sum_ns - earlier.sum_ns),
        )

    def quantile_s(self, share: float) -> float | None:
        """Seconds within which this share (0 to 1) of the samples lies, linear within its bucket; None of none.

        In the bucket without an upper bound: that bucket's lower one.
        """
        wanted = share * self.samples
        below = 0
        for i, n in enumerate(self.buckets):
            if n and below + n >= wanted:
                low = BOUNDS_S[i - 1] if i else 0.0
                high = BOUNDS_S[i] if i < len(BOUNDS_S) else low
                return low + (high - low) * (wanted - below) / n
            below += n
        return None
