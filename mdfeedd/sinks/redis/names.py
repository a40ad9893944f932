"""Keys and channels.

Keys of one ring carry its name in braces, so that a cluster keeps them in one slot and a script may
touch them together. Channels need none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["RingNames", "channel"]

#: Of an instrument table whose ring was made anew: the stream's old messages still refer to it.
INSTRUMENTS_KEEP_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class RingNames:
    """The keys of one ring, and its packed channel."""

    position: str
    stream: str
    packed: str
    _last: str
    _instruments: str

    @classmethod
    def of(cls, prefix: str, ring: str) -> RingNames:
        """Those of `ring`."""
        keys = f"{prefix}:{{{ring}}}"
        return cls(
            position=f"{keys}:position",
            stream=f"{keys}:stream",
            packed=f"{prefix}:{ring}:packed",
            _last=f"{keys}:last:",
            _instruments=f"{keys}:instruments:",
        )

    def last(self, symbol: str) -> str:
        """The hash of a symbol's last values."""
        return self._last + symbol

    def instruments(self, ring_id: str) -> str:
        """The hash of what instrument ids of a sequence space stand for."""
        return self._instruments + ring_id


def channel(prefix: str, feed: str, symbol: str, kind: str) -> str:
    """The channel of a symbol's JSON messages of one kind."""
    return f"{prefix}:{feed}:{symbol}:{kind}"
