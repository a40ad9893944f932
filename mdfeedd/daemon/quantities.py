"""Units in values: ``250ms``, ``64MiB``. The end of a key's name says what a plain number means.

    key ends in    a plain number is in    with a unit
    _s _ms _us     that unit               250us 250ms 1.5s 5m 2h 7d
    _bytes         bytes                   512B 64KiB 64MiB 1GiB (of 1024), 10KB 10MB 1GB (of 1000)

Conversion is exact: what does not come out whole where a whole number is wanted is refused, not rounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

__all__ = ["Quantity", "quantity_of"]

_DURATIONS: Final = {
    "us": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}
_SIZES: Final = {
    "B": Fraction(1),
    **{f"{prefix}iB": Fraction(1024**power) for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}B": Fraction(1000**power) for power, prefix in enumerate("KMGT", 1)},
}
_MAX_CHARACTERS: Final = 40
_WRITTEN: Final = re.compile(r"(?P<number>[-+]?[0-9]+(?:\.[0-9]+)?) ?(?P<unit>[^\W\d_]+)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the values of a key measure."""

    noun: str
    plain: str
    """The unit of a number without one, in words."""
    base: Fraction
    """Its worth in the unit that is worth 1 in `units`."""
    units: dict[str, Fraction]
    example: str

    @property
    def accepted(self) -> str:
        """The units, for a sentence."""
        *others, last = self.units
        return f"{', '.join(others)} or {last}"

    @property
    def pattern(self) -> str:
        """A regular expression of what is accepted, for editors."""
        return rf"^[0-9]+(\.[0-9]+)? ?({'|'.join(self.units)})$"

    def read(self, text: str, *, whole: bool) -> int | float | None:
        """The number of a text with a unit; None where there is no number. Raises `ValueError`."""
        found = _WRITTEN.fullmatch(text)
        if found is None or len(text) > _MAX_CHARACTERS:
            return None
        worth = self.units.get(found["unit"])
        if worth is None:
            raise ValueError(
                f"'{found['unit']}' is no unit of a {self.noun}: write {self.accepted}, "
                f"such as {self.example}; a number without a unit is in {self.plain}"
            )
        value = Fraction(found["number"]) * worth / self.base
        if value.denominator == 1:
            return int(value)
        if whole:
            raise ValueError(f"must be a whole number of {self.plain}, found '{text}'")
        return float(value)


_SIZE: Final = Quantity("size", "bytes", Fraction(1), _SIZES, "64MiB")
_BY_SUFFIX: Final = {
    "_bytes": _SIZE,
    "_us": Quantity("duration", "microseconds", _DURATIONS["us"], _DURATIONS, "250us"),
    "_ms": Quantity("duration", "milliseconds", _DURATIONS["ms"], _DURATIONS, "250ms"),
    "_s": Quantity("duration", "seconds", _DURATIONS["s"], _DURATIONS, "5s"),
}


def quantity_of(key: str) -> Quantity | None:
    """What the values of a key of this name measure; None: they are no quantity with units."""
    return next((found for end, found in _BY_SUFFIX.items() if key.endswith(end)), None)
