"""Bloomberg's times as UNIX ns: stamps with and without zone, and times of day without date.

Subscriptions ask for GMT, so what names no zone is UTC. A time of day gets the date that puts it within half a
day of its arrival: 23:59:59.9 that arrives at 00:00:00.1 is of yesterday, and 00:00:00.1 that arrives early by
a clock that is behind is of tomorrow.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

__all__ = ["DAY_NS", "FUTURE_NS", "unix_ns"]

DAY_NS: Final = 86_400_000_000_000
FUTURE_NS: Final = DAY_NS // 2
"""A stamp that is farther ahead of its arrival is not believed."""
_S: Final = 1_000_000_000
_US: Final = 1_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NAIVE_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - for stamps without zone, which are UTC


def unix_ns(value: Any, recv_ns: int) -> int | None:
    """The time that a field tells, seen at `recv_ns`; None where it tells none that can be true."""
    if isinstance(value, dt.datetime):
        since = value - (_NAIVE_EPOCH if value.tzinfo is None else _EPOCH)
        at_ns = (since.days * 86_400 + since.seconds) * _S + since.microseconds * _US
    elif isinstance(value, dt.time):
        at_ns = _within_half_a_day(_time_of_day_ns(value), recv_ns)
    else:
        return None  # a date alone says nothing about the time; null says nothing at all
    return at_ns if 0 < at_ns <= recv_ns + FUTURE_NS else None


def _time_of_day_ns(value: dt.time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    offset = value.utcoffset()
    if offset is not None:
        seconds -= offset.days * 86_400 + offset.seconds
    return seconds * _S + value.microsecond * _US


def _within_half_a_day(of_day_ns: int, recv_ns: int) -> int:
    """The time nearest to `recv_ns` that is `of_day_ns` after a midnight in UTC."""
    behind_ns = (recv_ns - of_day_ns) % DAY_NS
    if behind_ns > DAY_NS // 2:
        behind_ns -= DAY_NS
    return recv_ns - behind_ns
