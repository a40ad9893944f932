"""What an instrument is, whoever says so: the N line, secdef.dat, or our own cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mdfeedd.tick import PRICE_UNDEF

__all__ = ["STATUS_NONE", "WIDTHS", "Definition"]

STATUS_NONE: Final = 255
"""`Definition.trading_status` where nobody said."""

WIDTHS: Final = {
    "symbol": 20,
    "group": 6,
    "asset": 6,
    "exchange": 4,
    "currency": 3,
    "security_type": 6,
    "cfi": 6,
}
"""Characters of the texts, at most: what the wire has room for."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One instrument of one channel; the fields are named as in ``codec/mdp_define.h``.

    Prices, factors and quantities are in units of 1e-9, times in UNIX ns; 0 or "" where not given, limits
    `PRICE_UNDEF`. Prices are those of the wire: times `display_factor` they are those of the screen. The
    channel is the one that the definition names (ApplID), not the one it came by.
    """

    channel: int
    security_id: int
    symbol: str
    group: str = ""
    asset: str = ""
    exchange: str = ""
    currency: str = ""
    security_type: str = ""
    """FUT, OPT, ... (tag 167)."""
    cfi: str = ""
    """ISO 10962 (tag 461)."""
    tick_size: int = 0
    display_factor: int = 0
    multiplier: int = 0
    """Units of the underlying a contract (UnitOfMeasureQty)."""
    high_limit: int = PRICE_UNDEF
    low_limit: int = PRICE_UNDEF
    max_variation: int = PRICE_UNDEF
    activation: int = 0
    expiration: int = 0
    """The last moment it can be traded."""
    depth: int = 0
    """Levels a side of the book; 0: not said."""
    implied_depth: int = 0
    """Levels a side of implied prices; 0: none."""
    trading_status: int = STATUS_NONE
    """When it was defined (tag 1682)."""
    user_defined: bool = False
    """A spread that a user made."""
    last_update: int = 0
    """When the venue last added or modified it."""
