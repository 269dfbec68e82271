"""What a compaction did, or would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantstore.core.render import counted, human_bytes

if TYPE_CHECKING:
    from quantstore.core.segment import Partition
    from quantstore.core.tier import Tier
    from quantstore.maintenance.merges import Merge


@dataclass(frozen=True, slots=True)
class CompactedGroup:
    """Segments that were merged, or with a dry run would be.

    Attributes:
        table: Their table.
        tier: Their tier.
        partitions: Their partitions: several where the asset classes of a day share files.
        segments: How many they are.
        rows: Rows of them all.
        size_bytes: Bytes they take; they go with a later sweep, or once the versions that need them have expired.
        files: How many files come of them.
        version: The newest version that one of them was added by; from it on the new ones serve.
        why: Why they are worth merging.
    """

    table: str
    tier: Tier
    partitions: tuple[Partition, ...]
    segments: int
    rows: int
    size_bytes: int
    files: int
    version: int
    why: str

    @classmethod
    def of(cls, table: str, merge: Merge) -> CompactedGroup:
        """Return what there is to say of a merge."""
        return cls(
            table,
            merge.tier,
            tuple(merge.partitions),
            len(merge.sources),
            merge.rows,
            merge.size_bytes,
            merge.pieces,
            merge.version,
            merge.why,
        )

    def __str__(self) -> str:
        """Return one line."""
        where = str(self.partitions[0]) + (f" and {len(self.partitions) - 1} more" if self.partitions[1:] else "")
        return (
            f"{self.table}, {self.tier.value}, {where}: {counted(self.segments, 'segment')} "
            f"({counted(self.rows, 'row')}, {human_bytes(self.size_bytes)}) into {counted(self.files, 'file')}: "
            f"{self.why}"
        )


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did, or with a dry run would do first; true where that is anything.

    Attributes:
        groups: What was merged.
        left: Segments that are well as they are.
        dry_run: Whether nothing was done.
    """

    groups: tuple[CompactedGroup, ...]
    left: int
    dry_run: bool = False

    @classmethod
    def of_all(cls, reports: Sequence[CompactionReport], *, dry_run: bool) -> CompactionReport:
        """Return several tables' reports as one."""
        groups = tuple(group for report in reports for group in report.groups)
        return cls(groups, sum(report.left for report in reports), dry_run)

    def __bool__(self) -> bool:
        """Whether anything was merged."""
        return bool(self.groups)

    def __repr__(self) -> str:
        """Return a summary, then one line per merge."""
        segments = sum(group.segments for group in self.groups)
        files = sum(group.files for group in self.groups)
        done = "would be merged" if self.dry_run else "merged"
        head = f"compaction: {counted(segments, 'segment')} {done} into {counted(files, 'file')}; {self.left:,} "
        return "\n".join([head + ("stay" if self.dry_run else "there now"), *(f"  {group}" for group in self.groups)])
