"""Bloomberg's numbers as ours: prices in units of 1e-9, exact in spite of binary floats; sizes; trade numbers."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from mdfeedd.tick import PRICE_SCALE, PRICE_UNDEF

__all__ = ["EXACT_BELOW", "ValueUnreadable", "fixed", "size", "trade_id"]

EXACT_BELOW: Final = 4_000_000.0
"""Below, ``round(x * 1e9)`` gives the nine decimals that a float stands for; above, it misses some."""
MAX_TRADE_ID_DIGITS: Final = 20
_U64_MAX: Final = 2**64 - 1
_SCALE: Final = float(PRICE_SCALE)
_PRICE_MAX: Final = (PRICE_UNDEF - 1) / PRICE_SCALE
_CONTEXT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)


class ValueUnreadable(ValueError):
    """A field holds what it cannot hold."""


def fixed(value: Any) -> int:
    """A price; `PRICE_UNDEF` for null and for what is no number. Raises `ValueUnreadable`."""
    if type(value) is float and -EXACT_BELOW < value < EXACT_BELOW:
        return round(value * _SCALE)
    if value is None:
        return PRICE_UNDEF
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueUnreadable(f"no price: {value!r}")
    if not math.isfinite(value):
        return PRICE_UNDEF
    if abs(float(value)) >= _PRICE_MAX:
        raise ValueUnreadable(f"a price beyond 64 bits: {value!r}")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    scaled = number.scaleb(9, _CONTEXT)
    return int(scaled.to_integral_value(context=_CONTEXT))


def size(value: Any) -> int:
    """A size, however large; 0 for null. Raises `ValueUnreadable`."""
    if type(value) is int and value >= 0:
        return value
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueUnreadable(f"no size: {value!r}")
    if math.isnan(value):
        return 0
    if value < 0 or math.isinf(value):
        raise ValueUnreadable(f"no size: {value!r}")
    return int(value)


def trade_id(value: Any) -> int:
    """The number of a trade; 0 where it has none or one that is no 64-bit number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value <= _U64_MAX else 0
    if not isinstance(value, str) or len(value) > MAX_TRADE_ID_DIGITS:
        return 0
    if not (value.isascii() and value.isdigit()):
        return 0
    number = int(value)
    return number if number <= _U64_MAX else 0
