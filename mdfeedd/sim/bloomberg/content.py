"""What messages hold, before anybody asks: dictionaries of Python values, and the three that toPy changes.

A value is a scalar, a list, a dictionary, None for a null, a `Decimal` for an element of type DECIMAL, or a
`Special`. Datetimes carry a `FixedOffset` or nothing.
"""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any, Final

__all__ = [
    "EPOCH",
    "UTC",
    "Content",
    "FixedOffset",
    "Special",
    "as_python",
    "datetime_of",
]

Content = dict[str, Any]


class FixedOffset(dt.tzinfo):
    """A zone that is so many minutes east of UTC."""

    def __init__(self, offsetInMinutes: int = 0) -> None:  # noqa: N803
        self.minutes = offsetInMinutes
        self._offset = dt.timedelta(minutes=offsetInMinutes)

    def __getinitargs__(self) -> tuple[int]:
        return (self.minutes,)

    def utcoffset(self, _when: dt.datetime | None, /) -> dt.timedelta:
        """The offset, at any time."""
        return self._offset

    def dst(self, _when: dt.datetime | None, /) -> dt.timedelta:
        """No daylight saving: it is in the offset."""
        return dt.timedelta(0)

    def tzname(self, _when: dt.datetime | None, /) -> str:
        """Its name: +hh:mm."""
        return self._offset_text()

    def _offset_text(self) -> str:
        minutes = self.minutes
        hours, rest = divmod(abs(minutes), 60)
        return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedOffset) and self._offset == other._offset

    def __hash__(self) -> int:
        return hash(self._offset)

    def __repr__(self) -> str:
        return f"FixedOffset({self.minutes})"


class Special(enum.Enum):
    """Values that Python has no word for."""

    NULL_SEQUENCE = "a sequence without any content: {}"
    NO_PARTS = "a datetime of which no part is set: None"


UTC: Final = FixedOffset(0)
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=UTC)
_AS_IT_IS: Final = frozenset({str, int, float, bool, type(None), dt.date, bytes})


def datetime_of(ns: int) -> dt.datetime:
    """UNIX nanoseconds, cut to microseconds."""
    return EPOCH + dt.timedelta(microseconds=ns // 1000)


def as_python(value: Any) -> Any:
    """The toPy form: all made anew, as published; for each time by a call of Python, with a zone of its own.

    A DECIMAL raises a plain `Exception`, as published.
    """
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is dict:
        return {
            name: item if type(item) in _AS_IT_IS else as_python(item)
            for name, item in value.items()
        }
    if kind is dt.datetime or kind is dt.time:
        zone = value.tzinfo
        return value.replace(
            tzinfo=FixedOffset(zone.minutes) if isinstance(zone, FixedOffset) else zone
        )
    if kind is list:
        return [as_python(item) for item in value]
    if kind is Decimal:
        raise Exception("toPy: an element of type DECIMAL")  # noqa: TRY002 - that is the point
    if value is Special.NULL_SEQUENCE:
        return {}
    return None if value is Special.NO_PARTS else value
