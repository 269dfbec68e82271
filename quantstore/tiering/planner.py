"""Which segments a migration moves: pure, from a list of segments to a list of moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quantstore.core.segment import Partition, PlacedSegment
from quantstore.core.tier import Tier
from quantstore.core.timerange import ALWAYS, TimeRange


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A segment to be moved, wholly or in part.

    Attributes:
        placed: The segment and where it is.
        destination: Where it goes.
        time: Only rows in this event-time range move.
        is_certain: Whether the catalog's statistics prove that every row moves; else rows must be looked at.
    """

    placed: PlacedSegment
    destination: Tier
    time: TimeRange
    is_certain: bool


@dataclass(frozen=True, slots=True)
class ProposedMove:
    """One line of a dry run.

    Attributes:
        partition: Partition of the segment.
        source: Tier it is in.
        destination: Tier it would go to.
        rows: Rows that would move.
        of_rows: Rows of the segment; more than `rows` where it would be split.
        size_bytes: Bytes the segment takes now.
    """

    partition: Partition
    source: Tier
    destination: Tier
    rows: int
    of_rows: int
    size_bytes: int


def plan_moves(
    segments: Sequence[PlacedSegment],
    sources: Sequence[Tier],
    destination: Tier,
    *,
    time: TimeRange = ALWAYS,
    has_condition: bool = False,
) -> list[PlannedMove]:
    """Return the moves that bring rows from `sources` to `destination`, oldest event time first.

    Args:
        segments: Every segment of the table, superseded ones included: they follow their table.
        sources: Tiers to take from; the destination itself is skipped.
        destination: Tier to bring to.
        time: Only rows in this event-time range.
        has_condition: Whether a condition on rows applies besides.
    """
    moves = []
    for placed in segments:
        stats = placed.segment.stats
        if placed.primary.tier is destination or placed.primary.tier not in sources:
            continue
        if not time.overlaps(stats.min_ns, stats.max_ns):
            continue
        is_certain = not has_condition and time.covers(stats.min_ns, stats.max_ns)
        moves.append(PlannedMove(placed, destination, time, is_certain))
    return moves


def batches(moves: Sequence[PlannedMove], max_bytes: int, max_segments: int = 64) -> list[list[PlannedMove]]:
    """Group moves so that one commit holds at most about `max_bytes` of source copies."""
    grouped: list[list[PlannedMove]] = []
    size = 0
    for move in moves:
        own = move.placed.primary.size_bytes
        if not grouped or size + own > max_bytes or len(grouped[-1]) >= max_segments:
            grouped.append([])
            size = 0
        grouped[-1].append(move)
        size += own
    return grouped
