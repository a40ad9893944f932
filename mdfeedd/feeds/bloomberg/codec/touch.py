"""What is known of one instrument: both sides as Bloomberg told them last, and whether they can be trusted."""

from __future__ import annotations

from typing import Final

from mdfeedd.tick import PRICE_UNDEF, Flag

__all__ = ["EMPTY", "Touch"]

EMPTY: Final = (PRICE_UNDEF, PRICE_UNDEF, 0, 0)
_STALE: Final = int(Flag.STALE)


class Touch:
    """`bid` ... `ask_size` are as told, `shown` is what the last QUOTE said.

    `flags` go on every tick: STALE until an image has come, DELAYED. `hole_first_ns` is 0 without a GAP that
    waits for its RECOVERED. `imaging`: pieces of an image have come, its end has not; the latest of their stamps
    is `image_ns`. `stamp_ns`: what is missing was sent later. It is the last stamp of Bloomberg's in the
    instrument's own stream, before the first one the time of the asking (ours).
    """

    __slots__ = (
        "ask", "ask_size", "bid", "bid_size", "flags", "hole_first_ns", "hole_last_ns",
        "hole_reason", "image_ns", "imaging", "instrument_id", "last_ns", "shown", "stamp_ns",
    )  # fmt: skip

    def __init__(self, instrument_id: int) -> None:
        self.instrument_id: int = instrument_id
        self.flags: int = _STALE
        self.last_ns: int = 0
        self.stamp_ns: int = 0
        self.hole_first_ns: int = 0
        self.hole_last_ns: int = 0
        self.hole_reason: int = 0
        self.shown: tuple[int, int, int, int] = EMPTY
        self.forget()

    def forget(self) -> None:
        """Nothing is known of either side."""
        self.bid: int = PRICE_UNDEF
        self.ask: int = PRICE_UNDEF
        self.bid_size: int = 0
        self.ask_size: int = 0
        self.imaging: bool = False
        self.image_ns: int = 0

    @property
    def stale(self) -> bool:
        """Not known to be right."""
        return bool(self.flags & _STALE)

    def show(self) -> tuple[int, int, int, int]:
        """Both sides as a QUOTE tells them. A price of 0 without a size is Bloomberg's "no price"."""
        bid, ask, bid_size, ask_size = self.bid, self.ask, self.bid_size, self.ask_size
        if not bid_size and not bid:
            bid = PRICE_UNDEF
        if bid == PRICE_UNDEF:
            bid_size = 0
        if not ask_size and not ask:
            ask = PRICE_UNDEF
        if ask == PRICE_UNDEF:
            ask_size = 0
        return bid, ask, bid_size, ask_size
