"""Rows that a version reaches twice: told by their `_seq`, which no two rows of a version share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from quantstore.core.segment import Copy, PlacedSegment
    from quantstore.rows.times import Int64s

MOST_ROWS = 1 << 22
"""Rows compared at a time."""
_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class SeqSpan:
    """The smallest and largest `_seq` of a segment.

    Attributes:
        placed: The segment.
        copy: The copy of it that was read.
        low: Smallest.
        high: Largest.
    """

    placed: PlacedSegment
    copy: Copy
    low: int
    high: int

    @classmethod
    def of(cls, placed: PlacedSegment, copy: Copy, seq: Int64s) -> SeqSpan:
        """Return the span of a segment's rows."""
        return cls(placed, copy, int(seq.min()), int(seq.max())) if len(seq) else cls(placed, copy, 0, -1)


def doubled(
    spans: Iterable[SeqSpan], read: Callable[[SeqSpan], Int64s]
) -> Iterator[tuple[PlacedSegment, PlacedSegment, int]]:
    """Yield pairs of segments of a table that share rows at some version, and how many.

    Only segments whose spans overlap are looked at, and only so many rows at a time.

    Args:
        spans: Of segments, several times the same where several copies were read.
        read: Returns the `_seq` of the rows of a copy.
    """
    tables: dict[int, dict[int, SeqSpan]] = {}
    for span in spans:
        if span.high >= span.low:
            tables.setdefault(span.placed.segment.table_id, {})[span.placed.segment.segment_id] = span
    for found in tables.values():
        for group in _overlapping(sorted(found.values(), key=lambda one: one.low)):
            yield from _shared(group, read)


def _overlapping(spans: Sequence[SeqSpan]) -> Iterator[list[SeqSpan]]:
    """Yield runs of spans, each of which overlaps one before it."""
    group: list[SeqSpan] = []
    end = -1
    for span in spans:
        if group and span.low > end:
            if len(group) > 1:
                yield group
            group = []
        group.append(span)
        end = max(end, span.high)
    if len(group) > 1:
        yield group


def _shared(
    group: Sequence[SeqSpan], read: Callable[[SeqSpan], Int64s]
) -> Iterator[tuple[PlacedSegment, PlacedSegment, int]]:
    rows = sum(one.placed.segment.stats.rows for one in group)
    low, high = min(one.low for one in group), max(one.high for one in group)
    windows = max(1, -(-rows // MOST_ROWS))
    step = max(1, -(-(high - low + 1) // windows))
    counts: dict[tuple[int, int], int] = {}
    for start in range(low, high + 1, step):
        for pair in _pairs(group, start, start + step, read):
            counts[pair] = counts.get(pair, 0) + 1
    for (first, second), count in counts.items():
        yield group[first].placed, group[second].placed, count


def _pairs(
    group: Sequence[SeqSpan], start: int, stop: int, read: Callable[[SeqSpan], Int64s]
) -> Iterator[tuple[int, int]]:
    """Yield, for each row in a window that two segments have at one version, their places in the group."""
    columns: list[list[Any]] = [[], [], [], []]
    for place, span in enumerate(group):
        if span.high < start or span.low >= stop:
            continue
        own = read(span)
        own = own[(own >= start) & (own < stop)]
        segment = span.placed.segment
        end = _FOREVER if segment.removed_version is None else segment.removed_version
        for column, value in zip(columns[1:], (segment.added_version, end, place), strict=True):
            column.append(np.full(len(own), value, np.int64))
        columns[0].append(own)
    if not columns[0]:
        return
    seq, added, removed, places = (np.concatenate(one) for one in columns)
    order = np.lexsort((added, seq))
    seq, added, removed, places = seq[order], added[order], removed[order], places[order]
    for at in np.flatnonzero((seq[1:] == seq[:-1]) & (added[1:] < removed[:-1])).tolist():
        yield int(places[at]), int(places[at + 1])
