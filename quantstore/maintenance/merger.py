"""Read the segments of a merge, write what comes of them, and verify it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.catalog.compactions import CompactedPiece, Compaction
from quantstore.core.failpoints import reach
from quantstore.core.segment import ASSET_CLASS, Partition
from quantstore.core.timerange import ALWAYS, TimeRange
from quantstore.errors import IntegrityError, QuantStoreError
from quantstore.query.assemble import concat
from quantstore.query.memory import release_unused
from quantstore.query.sources import reading
from quantstore.rows.fingerprint import column_proofs
from quantstore.rows.times import row_mask, time_ns
from quantstore.stores.base import Part, Selection
from quantstore.write.locations import location
from quantstore.write.order import in_store_order
from quantstore.write.origin import origin, replaced
from quantstore.write.partition import Piece, contents, without_constants
from quantstore.write.proof import find_difference
from quantstore.write.shares import segments_of

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Attempt, ColumnProof, TableRecord
    from quantstore.core.tier import Tier
    from quantstore.maintenance.merges import Merge, Unit
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

_READ_AT_ONCE = 512


class Files:
    """What is written under one attempt."""

    def __init__(self, catalog: Catalog, attempt: Attempt) -> None:
        self._catalog = catalog
        self._written: list[tuple[SegmentStore, str]] = []
        self._places = 0
        self.attempt = attempt

    def place(self, form: TableForm, merge: Merge) -> str:
        """Return a location that no other file has."""
        self._places += 1
        return location(form.spec, merge.partition, merge.tier, self.attempt.attempt_id, self._places - 1)

    def add(self, store: SegmentStore, place: str) -> None:
        """Remember a file."""
        self._written.append((store, place))

    def renew(self) -> None:
        """Extend the lease where it is due."""
        self.attempt = self._catalog.attempts.renew(self.attempt)

    def give_up(self) -> None:
        """End the attempt and delete what it wrote; what fails here a sweep finds by the attempt's lease."""
        try:
            if self._catalog.attempts.abort(self.attempt):
                for store, place in self._written:
                    store.delete(place)
        except (QuantStoreError, OSError):
            return


class Merger:
    """Makes the files that merges of one table ask for.

    Args:
        catalog: Knows whether a segment was moved away.
        stores: By tier.
        form: Returns the form in which a schema id keeps rows.
        record: The table.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        form: Callable[[int], TableForm],
        record: TableRecord,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._form = form
        self._record = record

    def merged(self, merge: Merge, files: Files) -> list[Compaction]:
        """Write what comes of a merge and verify it; nothing where the rows cannot be kept together."""
        form = self._form(merge.schema_id)
        pieces: dict[Partition, list[CompactedPiece]] = {partition: [] for partition in merge.partitions}
        rows = 0
        for window in self._windows(merge, form):
            table = self._read(merge, form, window)
            reach("compact.read")
            if table is None:
                return []
            rows += table.num_rows
            if table.num_rows:
                for piece in self._write(merge, form, table, files):
                    pieces[piece.part.partition].append(piece)
            del table
            files.renew()
            release_unused()
        if rows != merge.rows:
            raise self._wrong(merge, f"{rows} rows instead of {merge.rows}")
        return [
            Compaction(tuple(one for one in merge.sources if one.segment.partition == partition), tuple(found))
            for partition, found in pieces.items()
        ]

    def _windows(self, merge: Merge, form: TableForm) -> list[TimeRange]:
        """Cut the time of a merge so that about equally many rows fall into each piece."""
        if merge.pieces == 1:
            return [ALWAYS]
        time = form.spec.time
        stamps = []
        for unit in merge.units:
            table = self._rows(unit, form, Selection((time,)))
            stamps.append(time_ns(table.column(time), form.spec.name))
        ordered = np.sort(np.concatenate(stamps))
        at = np.linspace(0, len(ordered), merge.pieces + 1).astype(int)[1:-1]
        edges = [None, *sorted({int(ordered[one]) for one in at} - {int(ordered[0])}), None]
        return [TimeRange(low, high) for low, high in pairwise(edges)]

    def _read(self, merge: Merge, form: TableForm, window: TimeRange) -> pa.Table | None:
        """Return the rows of a window, in no order; None where a column's categories outgrow its codes."""
        lots: list[pa.Table] = []
        inside = [unit for unit in merge.units if window.overlaps(unit.min_ns, unit.max_ns)]
        for start in range(0, len(inside), _READ_AT_ONCE):
            read = [
                _within(self._rows(unit, form, Selection(time=window)), form, window)
                for unit in inside[start : start + _READ_AT_ONCE]
            ]
            lot = concat(read)
            # Copied where more follow, so that no more files are mapped than one lot has.
            lots.append(lot.combine_chunks() if len(inside) > _READ_AT_ONCE else lot)
        table = concat(lots)
        return table if table.schema.types == form.schema.types else None

    def _rows(self, unit: Unit, form: TableForm, selection: Selection) -> pa.Table:
        """Return rows of a unit: of the whole file at once where it holds no others."""
        selection = replace(selection, whole_file=unit.is_whole)
        tables = []
        for placed in unit.segments[:1] if unit.is_whole else unit.segments:
            with reading(self._catalog, self._record.name, placed):
                copy = placed.primary
                tables.append(self._stores[copy.tier].read(form.layout, copy, placed.segment.partition, selection))
        return concat(tables)

    def _write(self, merge: Merge, form: TableForm, table: pa.Table, files: Files) -> list[CompactedPiece]:
        """Write rows as one file, which may hold several partitions, and check that each reads back the same."""
        store = self._stores[merge.tier]
        partitions = merge.partitions
        is_mixed = merge.is_mixed and len(partitions) > 1
        proofs = _proofs(table, partitions, is_mixed=is_mixed)
        ordered = in_store_order(table, form.layout, store.capabilities.order)
        del table
        stamps = time_ns(ordered.column(form.spec.time), form.spec.name)
        piece = Piece(without_constants(ordered, form), 0, merge.partition, is_mixed, ordered, stamps)
        held = contents(piece, form.layout)
        place = files.place(form, merge)
        said = origin(form, files.attempt, replaces=[copy for one in merge.sources for copy in replaced(one)])
        (made,) = store.write(form.layout, [Part(place, piece.table, merge.partition, is_mixed, said)])
        files.add(store, made.location)
        reach("compact.copied")
        del ordered, piece
        found = []
        for new in segments_of(made, held, store, merge.tier):
            problem = find_difference(store, form, new.partition, new.copy, new.stats, proofs[new.partition])
            if problem:
                raise self._wrong(merge, problem)
            found.append(CompactedPiece(new, proofs[new.partition]))
        return found

    def _wrong(self, merge: Merge, problem: str) -> IntegrityError:
        return IntegrityError(
            f"Compacting table {self._record.name!r}, partition {merge.partition}, in {merge.tier.value}: the new copy "
            f"reads back with {problem}. Nothing was changed; the sources are as they were.",
            table=self._record.name,
            partition=str(merge.partition),
            tier=merge.tier.value,
        )


def _within(table: pa.Table, form: TableForm, window: TimeRange) -> pa.Table:
    if window.is_everything or not table.num_rows:
        return table
    mask = row_mask(time_ns(table.column(form.spec.time), form.spec.name), window)
    return table if mask.all() else table.filter(pa.array(mask))


def _proofs(
    table: pa.Table, partitions: Sequence[Partition], *, is_mixed: bool
) -> dict[Partition, dict[str, ColumnProof]]:
    """Return the fingerprints of the rows of each partition, as they were read."""
    if not is_mixed:
        return {partitions[0]: column_proofs(table)}
    classes = table.column(ASSET_CLASS)
    if pa.types.is_dictionary(classes.type):
        classes = classes.cast(classes.type.value_type)
    found = {}
    for partition in partitions:
        kind = partition.asset_class
        mask = classes.is_null() if kind is None else pc.equal(classes, pa.scalar(kind, classes.type))
        found[partition] = column_proofs(table.filter(pc.fill_null(mask, False)))
    return found
