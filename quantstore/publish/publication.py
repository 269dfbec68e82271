"""What was published, as a value."""

from __future__ import annotations

from dataclasses import dataclass

IDENTIFIER = "quantstore"
"""Name of the Iceberg catalog and of the namespace in it."""


Split = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """A table as other engines see it.

    Attributes:
        table: The table.
        identifier: Its name in the Iceberg catalog, namespace first.
        location: Folder of the Iceberg table; empty before it was first published.
        metadata: The newest metadata file; empty before the first.
        version: The version of the store whose cold rows it shows; 0 before the first.
        generation: The placement generation.
        snapshot_id: The Iceberg snapshot; None where the table never had a cold row.
        published_ns: When, in nanoseconds since the epoch.
        files_added: Files that this call added to it.
        files_removed: Files that this call took out of it.
        lag: How many versions of the table came since; 0 where it shows the cold rows as they are, at least 1 where it
            does not.
        split: Columns that readers see as several, each with the names of these.
        problem: Why it lags, where that is known, else empty.
    """

    table: str
    identifier: str
    location: str
    metadata: str
    version: int
    generation: int
    snapshot_id: int | None
    published_ns: int
    files_added: int = 0
    files_removed: int = 0
    lag: int = 0
    split: Split = ()
    problem: str = ""

    def __repr__(self) -> str:
        """Return one line."""
        state = "is as the cold tier" if not self.lag else f"lags by {self.lag} version{'s' * (self.lag > 1)}"
        why = f": {self.problem}" if self.problem else ""
        done = f"; {self.files_added} files added, {self.files_removed} removed"
        changed = done if self.files_added or self.files_removed else ""
        return f"{self.identifier} at version {self.version} {state}{why}{changed}"
