"""Ticks on their way into the ring: packed into memory that is taken once, published many at a time."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.tick import PRICE_UNDEF, TICK, Flag, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["ROOM", "Staging"]

ROOM: Final = 4096
"""Ticks at first. An event is published when it has been read, and hardly one has so many."""
_TICK_BYTES: Final = TICK.itemsize
_U32_MAX: Final = 2**32 - 1
_HEAD: Final = "<QqqIBBHII"
_QUOTE: Final = struct.Struct(_HEAD + "qqII").pack_into
_TRADE: Final = struct.Struct(_HEAD + "qQII").pack_into
_GAP: Final = struct.Struct(_HEAD + "QQII").pack_into
_STATISTIC: Final = struct.Struct(_HEAD + "qqIHBB").pack_into
_STATUS: Final = struct.Struct(_HEAD + "HHHBBB15x").pack_into
_BARE: Final = struct.Struct(_HEAD + "24x").pack_into
_KIND_QUOTE: Final = int(Kind.QUOTE)
_KIND_TRADE: Final = int(Kind.TRADE)
_KIND_STATISTIC: Final = int(Kind.STATISTIC)
_SATURATED: Final = int(Flag.SIZE_SATURATED)
_BAD_TS: Final = int(Flag.BAD_TS)


class Staging:
    """Sizes of any magnitude come in; what does not fit 32 bits is saturated and flagged.

    `quotes`, `trades`, `others` and `gaps` count what was staged since the start.
    """

    __slots__ = ("_array", "_bytes", "_end", "at", "gaps", "others", "quotes", "trades")

    def __init__(self, room: int = ROOM) -> None:
        self.at: int = 0
        self.quotes: int = 0
        self.trades: int = 0
        self.others: int = 0
        self.gaps: int = 0
        self._take(bytearray(room * _TICK_BYTES))

    def __len__(self) -> int:
        return self.at // _TICK_BYTES

    def ticks(self) -> npt.NDArray[Any]:
        """What is staged; valid until the next tick or `clear`."""
        return self._array[: self.at // _TICK_BYTES]

    def clear(self) -> None:
        """Begin anew, after `ticks` were published."""
        self.at = 0

    def quote(
        self,
        ts_event: int,
        recv_ns: int,
        instrument_id: int,
        flags: int,
        touch: tuple[int, int, int, int],
    ) -> None:
        """The touch: bid, ask, bid size, ask size."""
        at = self.at
        if at == self._end:
            self._grow()
        bid, ask, bid_size, ask_size = touch
        if bid_size > _U32_MAX:
            bid_size, flags = _U32_MAX, flags | _SATURATED
        if ask_size > _U32_MAX:
            ask_size, flags = _U32_MAX, flags | _SATURATED
        _QUOTE(
            self._bytes, at, 0, ts_event, recv_ns, instrument_id, _KIND_QUOTE, 0, flags, 0, 0,
            bid, ask, bid_size, ask_size,
        )  # fmt: skip
        self.at = at + _TICK_BYTES
        self.quotes += 1

    def trade(  # noqa: PLR0917 - by position, which is faster
        self,
        kind: int,
        ts_event: int,
        recv_ns: int,
        instrument_id: int,
        flags: int,
        price: int,
        size: int,
        number: int,
    ) -> None:
        """A trade, its cancel or its correction."""
        at = self.at
        if at == self._end:
            self._grow()
        if size > _U32_MAX:
            size, flags = _U32_MAX, flags | _SATURATED
        _TRADE(
            self._bytes, at, 0, ts_event, recv_ns, instrument_id, kind, 0, flags, 0, 0,
            price, number, size, 0,
        )  # fmt: skip
        self.at = at + _TICK_BYTES
        if kind == _KIND_TRADE:
            self.trades += 1
        else:
            self.others += 1

    def hole(  # noqa: PLR0917 - by position, which is faster
        self, kind: int, now_ns: int, instrument_id: int, first_ns: int, last_ns: int, reason: int
    ) -> None:
        """A GAP, or the RECOVERED that ends it; instrument 0 is the whole feed."""
        if self.at == self._end:
            self._grow()
        _GAP(
            self._bytes, self.at, 0, now_ns, now_ns, instrument_id, kind, 0, 0, 0, 0,
            first_ns, last_ns, reason, 0,
        )  # fmt: skip
        self.at += _TICK_BYTES
        self.others += 1
        self.gaps += kind == Kind.GAP

    def statistic(  # noqa: PLR0917 - by position, which is faster
        self,
        ts_event: int,
        recv_ns: int,
        instrument_id: int,
        flags: int,
        code: int,
        price: int = PRICE_UNDEF,
        quantity: int = PRICE_UNDEF,
    ) -> None:
        """A statistic of the day."""
        if self.at == self._end:
            self._grow()
        _STATISTIC(
            self._bytes, self.at, 0, ts_event, recv_ns, instrument_id, _KIND_STATISTIC, 0, flags, 0, 0,
            price, quantity, 0, code, 0, 0,
        )  # fmt: skip
        self.at += _TICK_BYTES
        self.others += 1

    def status(self, now_ns: int, instrument_id: int, reason: int) -> None:
        """Whether data of the instrument come, and why not; of its trading nothing is said. The time is ours."""
        if self.at == self._end:
            self._grow()
        _STATUS(
            self._bytes, self.at, 0, now_ns, now_ns, instrument_id, Kind.STATUS, 0, _BAD_TS, 0, 0,
            0, reason, 0, 0, 0, 0,
        )  # fmt: skip
        self.at += _TICK_BYTES
        self.others += 1

    def bare(self, kind: int, now_ns: int, instrument_id: int) -> None:
        """A tick that says all by its kind, as CLEAR. The time is ours."""
        if self.at == self._end:
            self._grow()
        _BARE(self._bytes, self.at, 0, now_ns, now_ns, instrument_id, kind, 0, _BAD_TS, 0, 0)
        self.at += _TICK_BYTES
        self.others += 1

    def _take(self, memory: bytearray) -> None:
        self._bytes = memory
        self._array = np.frombuffer(memory, TICK)
        self._end = len(memory)

    def _grow(self) -> None:
        """Twice the room, for what the whole feed has to be told at once."""
        self._take(self._bytes + bytearray(len(self._bytes)))
