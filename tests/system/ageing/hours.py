"""When markets trade: sessions by the clock of their exchange, in UNIX ns.

Clocks change in the night to a Sunday: so a weekend is an hour shorter or longer then, and for the weeks in
which only one of two continents has changed them, their markets open an hour nearer or farther apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS


@dataclass(frozen=True)
class Market:
    """Opens on the evening before (or the morning of) each of five trading days, and closes on that day."""

    zone: str
    opens: time
    closes: time
    evening: bool  # it opens on the day before

    def sessions(self, sunday: date) -> list[tuple[int, int]]:
        """(open, close) of the week that begins with this Sunday."""
        days = [sunday + timedelta(days=n) for n in range(1, 6)]
        return [
            (self._at(day - timedelta(days=self.evening), self.opens), self._at(day, self.closes))
            for day in days
        ]

    def _at(self, day: date, clock: time) -> int:
        local = datetime.combine(day, clock, ZoneInfo(self.zone))
        return int(local.timestamp()) * SECOND_NS


CHICAGO = Market("America/Chicago", time(17), time(16), evening=True)
LONDON = Market("Europe/London", time(1), time(21), evening=False)
MARKETS = {"chicago": CHICAGO, "london": LONDON}
