"""What a write did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one write did; prints as one line.

    Attributes:
        store: Where, as opened.
        table: The table's name.
        tier: Tier written to.
        version: Version that holds the rows.
        rows: Rows the write added (for a replay: when it first ran).
        deleted: Rows it removed.
        segments: Segments it added.
        replayed: Whether nothing was changed because the same write had been made before.
        dry_run: Whether nothing was changed because only a preview was asked for.
        added_columns: Columns the write added to the table; rows written before read as null there.
        widened: Columns that took a wider type, with the type before and after.
    """

    store: str
    table: str
    tier: str
    version: int
    rows: int
    deleted: int
    segments: int
    replayed: bool = False
    dry_run: bool = False
    added_columns: tuple[str, ...] = ()
    widened: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        """Return store, table, tier, version and rows in one line."""
        gone = f", {self.deleted:,} rows removed" if self.deleted else ""
        added = f", adds {', '.join(map(repr, self.added_columns))}" if self.added_columns else ""
        wider = "".join(f", {name!r} {before} -> {after}" for name, (before, after) in self.widened.items())
        again = " (written before, nothing changed)" if self.replayed else ""
        only = " (dry run, nothing changed)" if self.dry_run else ""
        return (
            f"{self.store}: {self.table} -> {self.tier}, version {self.version}, {self.rows:,} rows in "
            f"{self.segments} segment{'' if self.segments == 1 else 's'}{gone}{added}{wider}{again}{only}"
        )
