"""Time of day behind a seam, so tests can move it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Says what time it is."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, UTC."""
        return time.time_ns()


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now = start_ns

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`, which may be negative."""
        self._now += int(seconds * 1e9)
