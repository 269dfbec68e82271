"""Rows of a copy that is lost, found whole in other copies and proven to be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from quantstore.core.render import counted
from quantstore.core.segment import Copy, PlacedSegment, Segment, SegmentStats
from quantstore.core.timerange import TimeRange
from quantstore.maintenance.unreadable import UNREADABLE
from quantstore.rows.fingerprint import column_proofs
from quantstore.rows.times import row_mask, time_ns
from quantstore.write.order import in_store_order
from quantstore.write.partition import piece_stats

if TYPE_CHECKING:
    from quantstore.catalog.records import ColumnProof
    from quantstore.maintenance.checks.grounds import Grounds

_MOST_SOURCES = 4096


@dataclass(frozen=True, slots=True)
class Rescued:
    """Rows that are those of the lost copy.

    Attributes:
        table: The rows.
        stats: Their statistics.
        told: Where they are from, for people.
    """

    table: pa.Table
    stats: SegmentStats
    told: str


class Rescue:
    """Looks for the rows of a copy in every other place where they may be.

    Args:
        grounds: The store.
        placed: The segment.
        copy: The copy that is lost.
        wrong: What tells rows that are wrong, and no rescue; None for none.
    """

    def __init__(
        self,
        grounds: Grounds,
        placed: PlacedSegment,
        copy: Copy,
        wrong: Mapping[str, ColumnProof] | None = None,
    ) -> None:
        self._grounds = grounds
        self._placed = placed
        self._copy = copy
        self._wrong = wrong

    def find(self, use: Callable[[Rescued], None]) -> Rescued | None:
        """Hand the rows to `use` and return them; None where they are nowhere, or not proven to be the same."""
        if self._copy.subset is not None:
            return None
        for rescued in self._candidates():
            if self._is_proven(rescued):
                use(rescued)
                return rescued
        return None

    def _candidates(self) -> Iterator[Rescued]:
        segment = self._placed.segment
        for other in self._placed.copies:
            if other.copy_id != self._copy.copy_id and other.subset is None:
                yield from self._read(segment, other, f"the copy in {other.tier.value} ({other.location})")
        twins = [
            (one, copy)
            for one, copy in self._grounds.state.superseded
            if one.segment_id == segment.segment_id and copy.subset is None
        ]
        for one, copy in twins:
            yield from self._read(one, copy, f"the superseded copy in {copy.tier.value} ({copy.location})")
        yield from self._itself()
        yield from self._merged()

    def _read(self, segment: Segment, copy: Copy, told: str) -> Iterator[Rescued]:
        table = self._rows_of(segment, copy)
        if table is None or not table.num_rows:
            return
        try:
            stats = piece_stats(table, self._grounds.form(segment.schema_id).layout)
        except UNREADABLE:  # its table's definition is what is damaged
            return
        yield Rescued(table, stats, told)

    def _rows_of(self, segment: Segment, copy: Copy) -> pa.Table | None:
        """Return the rows of a copy in the form of the lost one's schema; None where it cannot be read."""
        store = self._grounds.stores.get(copy.tier)
        if store is None or store.name != copy.store:
            return None
        try:
            store.verify(copy, deep=True)
            table = store.read(self._grounds.form(segment.schema_id).layout, copy, segment.partition)
        except UNREADABLE:
            return None
        return table

    def _itself(self) -> Iterator[Rescued]:
        """Yield the rows of the copy's own file, where it can be read and a receipt can prove every value.

        Either the checksum on record is wrong, or a byte that holds no value is. Only of files whose pages have
        checksums: other damage could end the process that reads it.
        """
        copy, segment, grounds = self._copy, self._placed.segment, self._grounds
        path = grounds.path(copy.tier, copy.location)
        has_receipt = copy.copy_id in grounds.state.receipts
        if path is None or path.suffix != ".parquet" or not has_receipt or not path.is_file():
            return
        actual, size = grounds.checksum_of(path), grounds.size_of(copy.tier, copy.location)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for number in range(file.num_row_groups):
                    file.read_row_group(number)
        except (pa.ArrowException, OSError, ValueError):
            return
        if actual is not None and size is not None:
            file_bytes = None if copy.file_bytes is None else size
            probe = replace(copy, checksum=actual, size_bytes=size, file_bytes=file_bytes)
            yield from self._read(segment, probe, "its own values, each of which a receipt proves")

    def _merged(self) -> Iterator[Rescued]:
        """Yield the rows of the segments that a compaction or split made this one of, where these are still there.

        Their times and symbols are the segment's own only where a receipt proves every column, so none is yielded for
        a segment that has no receipt.
        """
        segment = self._placed.segment
        receipt = self._grounds.state.receipts.get(self._copy.copy_id)
        if receipt is None:
            return
        tables: dict[int, pa.Table] = {}
        for one, copy in self._before():
            if one.schema_id == segment.schema_id and one.segment_id not in tables and len(tables) < _MOST_SOURCES:
                table = self._rows_of(one, copy)
                if table is not None:
                    tables[one.segment_id] = table
        if not tables:
            return
        told = f"{counted(len(tables), 'segment')} that it was made of"
        form = self._grounds.form(segment.schema_id)
        whole = in_store_order(pa.concat_tables(tables.values()), form.layout, "time")
        del tables
        span = TimeRange(segment.stats.min_ns, segment.stats.max_ns + 1)
        mask = row_mask(time_ns(whole.column(form.spec.time), form.spec.name), span)
        found = whole.filter(pa.array(mask))
        if found.num_rows:
            yield Rescued(found, piece_stats(found, form.layout), told)

    def _before(self) -> Iterator[tuple[Segment, Copy]]:
        """Yield the whole copies of each segment of the partition that ended when this one came."""
        segment = self._placed.segment
        ended = [
            (placed.segment, copy)
            for placed in self._grounds.state.segments
            if placed.segment.removed_version == segment.added_version
            for copy in placed.copies
        ]
        for one, copy in [*ended, *self._grounds.state.superseded]:
            is_same = (one.table_id, one.partition) == (segment.table_id, segment.partition)
            is_before = one.removed_version in {None, segment.added_version} and one.segment_id != segment.segment_id
            is_older = one.added_version <= segment.added_version and not self._is_live(one)
            if is_same and is_before and is_older and copy.subset is None:
                yield one, copy

    def _is_live(self, segment: Segment) -> bool:
        """Whether a segment is part of the newest version, and so none that this one took the place of."""
        return any(
            placed.segment.segment_id == segment.segment_id and segment.removed_version is None
            for placed in self._grounds.state.segments
        )

    def _is_proven(self, rescued: Rescued) -> bool:
        """Whether rows are those of the lost copy: by its receipt, else by the segment's statistics and a checksum."""
        if self._wrong is not None and column_proofs(rescued.table) == self._wrong:
            return False
        receipt = self._grounds.state.receipts.get(self._copy.copy_id)
        if receipt is not None:
            return column_proofs(rescued.table) == receipt.columns
        return rescued.stats == self._placed.segment.stats
