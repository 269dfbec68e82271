"""Move segments between stores: copy, read back, compare, commit; deletion is left to sweep.

The only code that touches two stores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from quantstore.catalog.records import Attempt, MovedPiece, MovedSegment, Receipt
from quantstore.core.events import Progress, announce
from quantstore.core.failpoints import reach
from quantstore.core.segment import SEQ, NewCopy, NewSegment, PlacedSegment, SegmentStats
from quantstore.core.tier import Tier
from quantstore.errors import IntegrityError, QuantStoreError
from quantstore.query.memory import release_unused
from quantstore.query.sources import reading
from quantstore.rows.fingerprint import column_proofs
from quantstore.rows.times import row_mask, time_ns
from quantstore.stores.base import Part
from quantstore.stores.integrity import require_rows
from quantstore.tiering.planner import PlannedMove, ProposedMove, batches
from quantstore.write.locations import location
from quantstore.write.order import in_store_order
from quantstore.write.origin import origin, replaced
from quantstore.write.partition import piece_stats
from quantstore.write.proof import find_difference

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import ColumnProof, TableRecord
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

BATCH_BYTES = 256 * 2**20
_LARGE_BYTES = 128 * 2**20

Matching = Callable[[PlacedSegment], pa.Array]
"""Returns the `_seq` of the rows of a segment that meet the caller's condition."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A part of a segment: its rows and whether they move."""

    table: pa.Table
    moved: bool


@dataclass(frozen=True, slots=True)
class _Ready:
    """A durable, verified copy of a part, waiting for the commit."""

    copy: NewCopy
    stats: SegmentStats
    moved: bool
    proofs: dict[str, ColumnProof]


class Mover:
    """Moves segments of one table.

    Args:
        catalog: Where moves are committed.
        stores: By tier.
        record: The table.
        form: Returns the form in which a schema id keeps rows.
        matching: See `Matching`; None where every row in the time range moves.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        record: TableRecord,
        form: Callable[[int], TableForm],
        matching: Matching | None = None,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._record = record
        self._form = form
        self._matching = matching

    def move(self, moves: Sequence[PlannedMove], receipts: list[Receipt]) -> None:
        """Move segments and add a receipt for each one that moved, wholly or in part, as soon as it is committed.

        Raises:
            IntegrityError: A source is damaged, or a copy reads back differently; earlier commits stand.
            ConflictError: A segment was moved by another process meanwhile.
        """
        done = 0
        for batch in batches(moves, BATCH_BYTES):
            receipts += self._move_batch(batch)
            done += len(batch)
            announce(Progress("migrate", self._record.name, done, len(moves), "segments"))

    def propose(self, moves: Sequence[PlannedMove]) -> list[ProposedMove]:
        """Return what `move` would do; segments that a condition may cut are looked at."""
        proposed = []
        for planned in moves:
            stats = planned.placed.segment.stats
            rows = stats.rows if planned.is_certain else int(self._mask(planned, self._read(planned)).sum())
            if rows:
                primary = planned.placed.primary
                partition = planned.placed.segment.partition
                proposed.append(
                    ProposedMove(partition, primary.tier, planned.destination, rows, stats.rows, primary.size_bytes)
                )
        return proposed

    def _move_batch(self, batch: list[PlannedMove]) -> list[Receipt]:
        attempt = self._catalog.attempts.register("move", self._record.name)
        reach("move.registered")
        written: list[tuple[Tier, str]] = []
        try:
            moved = []
            for item in self._copies(batch, attempt, written):
                if item is not None:
                    moved.append(item)
                attempt = self._catalog.attempts.renew(attempt)
            reach("move.verified")
            if not moved:
                self._catalog.attempts.abort(attempt)
                return []
            return self._catalog.moves.move(attempt, self._record, moved)
        except QuantStoreError as error:
            conflict = self._catalog.attempts.conflict(attempt)
            self._give_up(attempt, written)
            if conflict is not None:
                raise conflict from error
            raise
        except BaseException:
            self._give_up(attempt, written)
            raise

    def _copies(
        self, batch: list[PlannedMove], attempt: Attempt, written: list[tuple[Tier, str]]
    ) -> Iterator[MovedSegment | None]:
        """Copy the segments of a batch, two at a time where they are small enough and no condition is to be asked."""
        largest = max(planned.placed.primary.size_bytes for planned in batch)
        if len(batch) == 1 or self._matching is not None or largest > _LARGE_BYTES:
            for number, planned in enumerate(batch):
                yield self._copy(planned, attempt, number, written)
            return
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            running = [pool.submit(self._copy, planned, attempt, at, written) for at, planned in enumerate(batch)]
            try:
                for copying in running:
                    yield copying.result()
            finally:
                for copying in running:
                    copying.cancel()

    def _copy(
        self, planned: PlannedMove, attempt: Attempt, number: int, written: list[tuple[Tier, str]]
    ) -> MovedSegment | None:
        """Copy one segment, or both parts of one that is cut, and verify what was written; None where no row moves."""
        cuts = self._cuts(planned, self._read(planned))
        reach("move.read")
        if not any(cut.moved for cut in cuts):
            return None
        ready: list[_Ready] = []
        while cuts:  # each is let go of as soon as it can be
            ready.append(self._write(planned, cuts.pop(0), attempt, 2 * number + len(ready), written))
            release_unused()
        reach("move.copied")
        partition = planned.placed.segment.partition
        is_split = len(ready) > 1
        pieces = tuple(
            MovedPiece(
                NewSegment(partition, one.stats, one.copy) if is_split else None, one.copy, one.moved, one.proofs
            )
            for one in ready
        )
        return MovedSegment(planned.placed, pieces)

    def _read(self, planned: PlannedMove) -> pa.Table:
        placed = planned.placed
        form = self._form(placed.segment.schema_id)
        store = self._stores[placed.primary.tier]
        with reading(self._catalog, self._record.name, placed):
            table = store.read(form.layout, placed.primary, placed.segment.partition)
            return require_rows(table, placed.segment.stats.rows, placed.primary, exactly=True)

    def _cuts(self, planned: PlannedMove, table: pa.Table) -> list[_Cut]:
        if planned.is_certain:
            return [_Cut(table, moved=True)]
        mask = self._mask(planned, table)
        if mask.all():
            return [_Cut(table, moved=True)]
        if not mask.any():
            return [_Cut(table, moved=False)]
        return [_Cut(table.filter(pa.array(mask)), moved=True), _Cut(table.filter(pa.array(~mask)), moved=False)]

    def _mask(self, planned: PlannedMove, table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        spec = self._form(planned.placed.segment.schema_id).spec
        mask = row_mask(time_ns(table.column(spec.time), spec.name), planned.time)
        if self._matching is not None:
            with reading(self._catalog, self._record.name, planned.placed):
                mask &= np.isin(table.column(SEQ).to_numpy(), self._matching(planned.placed).to_numpy())
        return mask

    def _write(
        self, planned: PlannedMove, cut: _Cut, attempt: Attempt, number: int, written: list[tuple[Tier, str]]
    ) -> _Ready:
        """Write one part in its tier's order and check that it reads back the same."""
        segment = planned.placed.segment
        form = self._form(segment.schema_id)
        tier = planned.destination if cut.moved else planned.placed.primary.tier
        store = self._stores[tier]
        is_moved, proofs = cut.moved, column_proofs(cut.table)
        table = in_store_order(cut.table, form.layout, store.capabilities.order)
        del cut
        stats = piece_stats(table, form.layout)
        place = location(form.spec, segment.partition, tier, attempt.attempt_id, number)
        said = origin(form, attempt, replaces=replaced(planned.placed), is_live=segment.removed_version is None)
        (made,) = store.write(form.layout, [Part(place, table, segment.partition, origin=said)])
        written.append((tier, made.location))
        del table
        copy = NewCopy(
            tier=tier,
            store=store.name,
            location=made.location,
            codec=store.capabilities.codec,
            size_bytes=made.size_bytes,
            checksum=made.checksum,
            seq_base=0,
        )
        self._verify(planned, form, store, copy, proofs, stats)
        return _Ready(copy, stats, is_moved, proofs)

    def _verify(
        self,
        planned: PlannedMove,
        form: TableForm,
        store: SegmentStore,
        copy: NewCopy,
        proofs: dict[str, ColumnProof],
        stats: SegmentStats,
    ) -> None:
        """Read a new copy back and compare rows, every column, time span and order with the source."""
        segment = planned.placed.segment
        problem = find_difference(store, form, segment.partition, copy, stats, proofs)
        if problem:
            raise IntegrityError(
                f"Moving table {self._record.name!r}, partition {segment.partition}, to {copy.tier.value}: the new "
                f"copy reads back with {problem}. Nothing was changed; the source is intact.",
                table=self._record.name,
                partition=str(segment.partition),
                tier=copy.tier.value,
            )

    def _give_up(self, attempt: Attempt, written: list[tuple[Tier, str]]) -> None:
        """End the attempt and delete what it wrote; what fails here a sweep finds by the attempt's lease."""
        try:
            if self._catalog.attempts.abort(attempt):
                for tier, place in written:
                    self._stores[tier].delete(place)
        except (QuantStoreError, OSError):
            return
