"""The segments in a file that was just written: one, or one for each asset class of a mixed file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantstore.core.segment import NewCopy, NewSegment, Partition, SegmentStats

if TYPE_CHECKING:
    from quantstore.core.tier import Tier
    from quantstore.stores.base import SegmentStore, Written

Held = Sequence[tuple[Partition, SegmentStats]]
"""The partitions that a file holds rows of, and what the catalog should know about the rows of each."""


def segments_of(
    made: Written, held: Held, store: SegmentStore, tier: Tier, *, seq_start: int | None = None
) -> list[NewSegment]:
    """Return the segments of a file, each with its share of the file's bytes.

    Args:
        made: The file.
        held: What is in it.
        store: Where it is.
        tier: The store's tier.
        seq_start: The first row's ordinal in the commit that adds the rows; None where rows keep the `_seq` they have.
    """
    total = sum(stats.rows for _, stats in held)
    rows = 0
    found = []
    for partition, stats in held:
        before, rows = rows, rows + stats.rows
        copy = NewCopy(
            tier=tier,
            store=store.name,
            location=made.location,
            codec=store.capabilities.codec,
            size_bytes=made.size_bytes * rows // total - made.size_bytes * before // total,
            checksum=made.checksum,
            seq_base=seq_start or 0,
            is_relative=seq_start is not None,
            sharers=len(held),
            file_bytes=made.size_bytes if len(held) > 1 else None,
        )
        found.append(NewSegment(partition, stats, copy))
    return found
