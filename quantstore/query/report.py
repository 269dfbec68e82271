"""What a read did: plan, timings, what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantstore.core.render import counted, human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from quantstore.query.plan import Plan


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What the last read did; prints as one line.

    Attributes:
        plan: Segments, tiers and bytes, and why.
        rows: Rows in the result; None for a reader, a scan or a relation, which has not given them yet.
        planned_seconds: Time to parse, prune and plan.
        total_seconds: Time until the result was there.
    """

    plan: Plan
    rows: int | None
    planned_seconds: float
    total_seconds: float

    def summary(self) -> dict[str, Any]:
        """Return plain values for `df.attrs["quantstore"]`."""
        return {
            "version": self.plan.version,
            "tables": sorted({scan.record.name for scan in self.plan.scans}),
            "tiers": {
                use.tier.value: {"segments": use.segments, "rows": use.rows, "bytes": use.size_bytes}
                for use in self.plan.uses()
            },
            "left_out_segments": len(self.plan.left_out),
        }

    def __repr__(self) -> str:
        """Return rows, time and what each tier contributed, in one line."""
        rows = "planned, no row read yet," if self.rows is None else f"{human_count(self.rows)} rows"
        rows = "1 row" if self.rows == 1 else rows
        parts = [f"{rows} in {human_seconds(self.total_seconds)}"]
        parts += [
            f"{use.tier.value} {human_count(use.rows)} rows, {human_bytes(use.size_bytes)}, "
            f"{counted(use.segments, 'segment')}"
            for use in self.plan.uses()
        ]
        if self.plan.left_out:
            parts.append(f"{len(self.plan.left_out)} segments left out by tiers=")
        parts.append(f"version {self.plan.version}")
        return " | ".join(parts)
