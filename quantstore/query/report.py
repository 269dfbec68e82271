"""What a read did: plan, timings, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quantstore.core.render import counted, human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from quantstore.query.plan import Plan, TierUse


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What the last read did; prints as one line.

    Attributes:
        plan: Segments, tiers and bytes, and why.
        rows: Rows in the result; None for a reader, a scan or a relation, which has not given them yet.
        planned_seconds: Time to parse, prune and plan.
        total_seconds: Time until the result was there.
        cache: Layer of the result cache that the answer came from, `memory` or `disk`; None where it was read. The
            plan is then that of the read that made the answer, without scans where another process did.
        known: Versions of the tables where the plan has no scans to tell them.
    """

    plan: Plan
    rows: int | None
    planned_seconds: float
    total_seconds: float
    cache: str | None = None
    known: Mapping[str, int] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, int]:
        """The version that last changed each table read, as of the version read, by the table's name."""
        return dict(self.known) or {scan.record.name: scan.record.changed_version for scan in self.plan.scans}

    def summary(self) -> dict[str, Any]:
        """Return plain values for `df.attrs["quantstore"]`."""
        return {
            "version": self.plan.version,
            "query": self.plan.query,
            "tables": sorted(self.versions),
            "versions": self.versions,
            "tiers": {
                use.tier.value: {"segments": use.segments, "rows": use.rows, "bytes": use.size_bytes}
                for use in self._uses()
            },
            "left_out_segments": len(self.plan.left_out),
            "cache": self.cache,
        }

    def _uses(self) -> tuple[TierUse, ...]:
        """Return what was touched; an answer from the cache touches no tier."""
        return () if self.cache is not None else self.plan.uses()

    def __repr__(self) -> str:
        """Return rows, time and what each tier contributed, in one line."""
        rows = "planned, no row read yet," if self.rows is None else f"{human_count(self.rows)} rows"
        rows = "1 row" if self.rows == 1 else rows
        parts = [f"{rows} in {human_seconds(self.total_seconds)}"]
        parts += [
            f"{use.tier.value} {human_count(use.rows)} rows, {human_bytes(use.size_bytes)}, "
            f"{counted(use.segments, 'segment')}"
            for use in self._uses()
        ]
        if self.cache is not None:
            parts.append(f"from the cache ({self.cache})")
        if self.plan.left_out:
            parts.append(f"{len(self.plan.left_out)} segments left out by tiers=")
        parts.append(f"version {self.plan.version}")
        return " | ".join(parts)
