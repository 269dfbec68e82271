"""Trading sessions in UTC and how busy each minute of them is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantstore.testing.randomness import Integers

MINUTES_PER_DAY = 1440
NS_PER_MINUTE = 60_000_000_000
NS_PER_DAY = MINUTES_PER_DAY * NS_PER_MINUTE
FULL_WEEKDAY = 1
"""Tuesday: the weekday on which every session is open for its whole length."""


@dataclass(frozen=True, slots=True)
class Session:
    """When a market is open.

    Attributes:
        open_minute: Minute of the UTC day at which a session starts.
        minutes: Length; a session that runs past midnight continues on the next day.
        weekdays: Weekdays (Monday is 0) on which sessions start.
        depth: How much busier open and close are than the middle, as a multiple of the middle.
    """

    open_minute: int
    minutes: int
    weekdays: frozenset[int]
    depth: float

    def weights(self, weekday: int) -> Integers:
        """Return the relative activity of the 1440 minutes of a UTC day; zero where the market is closed."""
        minute = np.arange(MINUTES_PER_DAY, dtype=np.int64)
        since_open = (minute - self.open_minute) % MINUTES_PER_DAY
        started = np.where(minute >= self.open_minute, weekday, (weekday - 1) % 7)
        is_open = (since_open < self.minutes) & np.isin(started, sorted(self.weekdays))
        centred = 2 * since_open - (self.minutes - 1)
        busy = 1000 + int(1000 * self.depth) * centred**2 // (self.minutes - 1) ** 2
        return np.where(is_open, busy, 0)


def weekday_of(day: int) -> int:
    """Return the weekday (Monday is 0) of a day counted from 1970-01-01, which was a Thursday."""
    return (day + 3) % 7
