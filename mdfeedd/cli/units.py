"""Numbers, sizes, prices and times as people read them, and argparse types that read them back."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Final

from mdfeedd.tick import PRICE_SCALE, PRICE_UNDEF, TIME_UNDEF

if TYPE_CHECKING:
    from collections.abc import Callable

SHM_DIR: Final = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system
MAX_BARS_S: Final = 604_800
"""Length of a bar that is asked for on the command line: a week."""
_SECOND: Final = 1_000_000_000
_DAY_S: Final = 86_400
_DECIMALS: Final = 9
_WHOLE: Final = ".15g"  # whole numbers whole, not as 1e+09


def count(n: float) -> str:
    """``1,234,567``."""
    return f"{n:,.0f}"


def of(n: int, thing: str) -> str:
    """``1 file``, ``1,234 files``."""
    return f"{count(n)} {thing}" if n == 1 else f"{count(n)} {thing}s"


def compact(n: int) -> str:
    """``1,948``, ``243k``, ``1.30M``: at most six characters."""
    if n < 10_000:
        return count(n)
    for scale, unit in ((1e3, "k"), (1e6, "M")):
        if n / scale < 999.5:
            return f"{_three_digits(n / scale)}{unit}"
    return f"{_three_digits(n / 1e9)}G"


def duration(ns: float) -> str:
    """Three digits and a unit: ``870 ns``, ``84.2 µs``, ``1.53 ms``, ``12.0 s``; ``-`` for NaN."""
    if math.isnan(ns):
        return "-"
    for scale, unit in ((1, "ns"), (1e3, "µs"), (1e6, "ms")):
        value = ns / scale
        if value < 999.5:
            return f"{_three_digits(value)} {unit}"
    return f"{_three_digits(ns / 1e9)} s"


def size(n: float) -> str:
    """``12 B``, ``3.41 kB``, ``64.0 MB``."""
    for scale, unit in ((1, "B"), (1e3, "kB"), (1e6, "MB")):
        if n / scale < 999.5:
            return f"{n:.0f} B" if scale == 1 else f"{_three_digits(n / scale)} {unit}"
    return f"{_three_digits(n / 1e9)} GB"


def _three_digits(value: float) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f}"


def decimals_of(tick_size: int) -> int:
    """Decimals that a grid of `tick_size` (1e-9) needs; 0 for an unknown grid (0)."""
    if not tick_size:
        return 0
    decimals = _DECIMALS
    while decimals and tick_size % 10 ** (_DECIMALS - decimals + 1) == 0:
        decimals -= 1
    return decimals


def price(fixed: int, decimals: int = 0) -> str:
    """A price of 1e-9 units, exact, with at least so many decimals; ``-`` for none."""
    if fixed == PRICE_UNDEF:
        return "-"
    sign, magnitude = ("-", -fixed) if fixed < 0 else ("", fixed)
    whole, part = divmod(magnitude, PRICE_SCALE)
    shown = f"{part:0{_DECIMALS}d}".rstrip("0").ljust(decimals, "0")
    return f"{sign}{whole}.{shown}" if shown else f"{sign}{whole}"


def date(ns: int) -> str:
    """``2026-11-25``, in UTC; ``-`` for no time."""
    return iso_time(ns)[:10] if ns != TIME_UNDEF else "-"


def clock(ns: int) -> str:
    """``14:30:00.123456789``, in UTC; ``-`` for no time."""
    return iso_time(ns)[11:-1] if ns != TIME_UNDEF else "-"


def iso_time(ns: int) -> str:
    """``2026-11-25T14:30:00.123456789Z``."""
    seconds, rest = divmod(ns, _SECOND)
    day, second = divmod(seconds, _DAY_S)
    year, month, month_day = _civil(day)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return (
        f"{year:04d}-{month:02d}-{month_day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{rest:09d}Z"
    )


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day since 1970-01-01 (proleptic Gregorian), for any int64 of ns."""
    era, of_era = divmod(days + 719_468, 146_097)  # eras of 400 years from 1 March of year 0
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return year + era * 400 + (month <= 2), month, day


def number(low: float, high: float, besides: str = "") -> Callable[[str], float]:
    """An argparse type: a number from low (not included if 0) to high; `besides` names other choices."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high and value != 0):
            least = "above 0" if low == 0 else f"at least {low:{_WHOLE}}"
            raise argparse.ArgumentTypeError(
                f"must be {besides}{least} and at most {high:{_WHOLE}}, not {text!r}"
            )
        return value

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from low to high."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high}, not {text!r}"
            )
        return value

    return read


def add_shm_dir(parser: argparse.ArgumentParser) -> None:
    """The option that every command on rings has."""
    parser.add_argument(
        "--shm-dir", default=SHM_DIR, metavar="DIR", help=f"where the rings lie ({SHM_DIR})"
    )


def printable(text: str) -> str:
    """On one line, without what would command a terminal: names and sentences are others'."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
