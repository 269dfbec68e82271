"""Half-open ranges of event time in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass

MIN_NS = -(2**63) + 1
MAX_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Event time from `start_ns` (included) to `end_ns` (excluded); None means unbounded.

    Nanoseconds count from 1970-01-01, in UTC for a zoned time column and in the column's own wall time for a naive one.
    """

    start_ns: int | None = None
    end_ns: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether the range excludes nothing."""
        return self.start_ns is None and self.end_ns is None

    def overlaps(self, min_ns: int, max_ns: int) -> bool:
        """Whether any instant in the closed span `[min_ns, max_ns]` lies in the range."""
        return (self.start_ns is None or max_ns >= self.start_ns) and (self.end_ns is None or min_ns < self.end_ns)

    def covers(self, min_ns: int, max_ns: int) -> bool:
        """Whether every instant in the closed span `[min_ns, max_ns]` lies in the range."""
        return (self.start_ns is None or min_ns >= self.start_ns) and (self.end_ns is None or max_ns < self.end_ns)

    def intersect(self, other: TimeRange) -> TimeRange:
        """Return the range that lies in both."""
        starts = [ns for ns in (self.start_ns, other.start_ns) if ns is not None]
        ends = [ns for ns in (self.end_ns, other.end_ns) if ns is not None]
        return TimeRange(max(starts, default=None), min(ends, default=None))


ALWAYS = TimeRange()
"""The range that excludes nothing."""
