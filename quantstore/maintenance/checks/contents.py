"""Whether a copy's bytes are there, are those that were written, and are what the catalog says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from quantstore.catalog.inspection import REBUILD
from quantstore.core.segment import SEQ, SEQ_VERSION_SHIFT, Role
from quantstore.errors import AccessDeniedError, IntegrityError
from quantstore.maintenance.checks.spans import SeqSpan
from quantstore.maintenance.mends import DISAGREE, CorrectRows, Restore, mended_statistics
from quantstore.maintenance.problems import Finding
from quantstore.maintenance.unreadable import UNREADABLE
from quantstore.rows.fingerprint import column_proofs
from quantstore.stores.facts import FileFacts, decode_facts
from quantstore.write.order import is_in_store_order
from quantstore.write.partition import piece_stats

if TYPE_CHECKING:
    from quantstore.catalog.records import ColumnProof, Receipt
    from quantstore.catalog.repairs import Correction
    from quantstore.core.segment import Copy, PlacedSegment, SegmentStats, Subset
    from quantstore.maintenance.checks.grounds import Grounds
    from quantstore.rows.form import TableForm

WAYS_OUT = (
    "No other copy and no superseded one has these rows. Bring the file back from a backup to this place, write the "
    'rows again (mode="replace"), or delete them; until then reads that need them are refused.'
)


@dataclass(frozen=True, slots=True)
class _Twin:
    """What tells the rows of the last copy read of a segment that has several."""

    segment_id: int
    copy: Copy
    proofs: Mapping[str, ColumnProof]
    is_proven: bool


class CopyChecks:
    """Checks copies one at a time, never holding the rows of more than one.

    Args:
        grounds: The store.
        deep: Whether contents are read.
    """

    def __init__(self, grounds: Grounds, *, deep: bool) -> None:
        self._grounds = grounds
        self._deep = deep
        self._read: set[tuple[str, str]] = set()
        self._known_forms: set[int] = set()
        self._twin: _Twin | None = None
        self.proven = 0
        self.spans: list[SeqSpan] = []

    def check(self, placed: PlacedSegment, copy: Copy) -> Iterator[Finding]:
        """Yield what is wrong with a copy; nothing of one that was given up meanwhile."""
        store = self._grounds.stores.get(copy.tier)
        if store is None or store.name != copy.store:
            return  # the catalog's own checks tell
        if placed.segment.schema_id not in self._known_forms:
            try:
                self._grounds.form(placed.segment.schema_id)
            except UNREADABLE as error:
                what = f"the columns of its table cannot be told ({error})"
                yield self._finding("catalog", placed, copy, what, f"Restore the catalog: {REBUILD}.")
                return
            self._known_forms.add(placed.segment.schema_id)
        try:
            if self._deep:
                file = (store.name, copy.location)
                path = store.verify(copy, deep=file not in self._read)
                self._read.add(file)
                found = list(self._of_content(placed, copy, path))
            else:
                found = list(self._of_size(placed, copy))
        except AccessDeniedError as error:
            found = [self._finding("corrupt", placed, copy, str(error), "Give this user permission to read it.")]
        except UNREADABLE as error:
            found = list(self._broken(placed, copy, error))
        if found and self._grounds.catalog.is_live_copy(copy.copy_id):
            yield from found

    def _of_size(self, placed: PlacedSegment, copy: Copy) -> Iterator[Finding]:
        size = copy.size_bytes if copy.file_bytes is None else copy.file_bytes
        if self._grounds.size_of(copy.tier, copy.location) != size:
            yield from self._broken(placed, copy, None)

    def _broken(self, placed: PlacedSegment, copy: Copy, error: Exception | None) -> Iterator[Finding]:
        """Yield the finding for a copy that cannot be read."""
        grounds = self._grounds
        size = grounds.size_of(copy.tier, copy.location)
        wanted = copy.size_bytes if copy.file_bytes is None else copy.file_bytes
        mend = Restore(grounds, placed, copy)
        if size is None:
            yield self._finding("missing", placed, copy, f"{copy.location} is missing", *mend.outlook(WAYS_OUT))
            return
        path = grounds.path(copy.tier, copy.location)
        actual = None if path is None else grounds.checksum_of(path)
        if actual == copy.checksum and size != wanted:
            column = "size_bytes" if copy.file_bytes is None else "file_bytes"
            rows = CorrectRows(grounds, (("copies", "copy_id", copy.copy_id, column, size),))
            what = f"{copy.location} is whole and has {size} bytes, the catalog says {wanted}"
            yield self._finding("misregistered", placed, copy, what, rows.outlook, rows)
            return
        told = str(error) if error is not None else f"{copy.location} has {size} bytes instead of {wanted}"
        is_wrong_place = self._is_another(copy, actual)
        if is_wrong_place:
            told = f"{copy.location} is the file of another segment"
        kind = "misregistered" if is_wrong_place else "corrupt"
        yield self._finding(kind, placed, copy, told, *mend.outlook(WAYS_OUT))

    def _is_another(self, copy: Copy, actual: str | None) -> bool:
        """Whether the place recorded is that of another copy, whose bytes are there."""
        return actual is not None and any(
            other.copy_id != copy.copy_id
            and (other.store, other.location) == (copy.store, copy.location)
            and other.checksum == actual
            for placed in self._grounds.state.segments
            for other in placed.copies
        )

    def _of_content(self, placed: PlacedSegment, copy: Copy, path: str) -> Iterator[Finding]:
        """Yield what is wrong with a copy whose checksum is right."""
        form = self._grounds.form(placed.segment.schema_id)
        facts, codec = read_facts(path, copy.location)
        misplaced = list(self._of_facts(placed, copy, form, facts))
        if misplaced:
            yield from misplaced
            return
        table = self._grounds.stores[copy.tier].read(form.layout, copy, placed.segment.partition)
        receipt = self._grounds.state.receipts.get(copy.copy_id)
        yield from self._of_rows(placed, copy, form, table, receipt)
        if codec is not None and codec != copy.codec:
            rows = CorrectRows(self._grounds, (("copies", "copy_id", copy.copy_id, "codec", codec),))
            what = f"{copy.location} is written as {codec}, the catalog says {copy.codec!r}"
            yield self._finding("misregistered", placed, copy, what, rows.outlook, rows)

    def _of_facts(self, placed: PlacedSegment, copy: Copy, form: TableForm, facts: FileFacts) -> Iterator[Finding]:
        """Yield where a file says other things of itself than the catalog."""
        segment = placed.segment
        if not facts.schema.equals(form.layout.schema):
            right = self._correction(placed, copy, self._right_schema(placed, facts))
            what = f"{copy.location} has other columns than schema {segment.schema_id}, which the catalog gives it"
            yield self._finding("misregistered", placed, copy, what, *right)
        wrong: list[tuple[str, Any]] = []
        if facts.partition.trade_date != segment.partition.trade_date:
            from quantstore.catalog.snapshots import to_days

            wrong.append(("trade_date", to_days(facts.partition.trade_date)))
        if not facts.is_mixed and facts.partition.asset_class != segment.partition.asset_class:
            wrong.append(("asset_class", facts.partition.asset_class))
        if wrong:
            corrections = tuple(("segments", "segment_id", segment.segment_id, *one) for one in wrong)
            what = f"{copy.location} says that it holds {facts.partition}"
            yield self._finding("misregistered", placed, copy, what, *self._correction(placed, copy, corrections))

    def _correction(
        self, placed: PlacedSegment, copy: Copy, corrections: tuple[Correction, ...]
    ) -> tuple[str, CorrectRows | None]:
        """Return what corrects a segment's facts by one of its copies, for people, and that.

        Only the one primary copy says what is right: any other may be the copy of another segment, whose number is
        wrong, and the last to have that one's rows.
        """
        if not corrections:
            return WAYS_OUT, None
        primaries = [one.copy_id for one in placed.copies if one.role is Role.PRIMARY]
        if primaries != [copy.copy_id]:
            return DISAGREE, None
        rows = CorrectRows(self._grounds, corrections)
        return rows.outlook, rows

    def _differing(self, placed: PlacedSegment, copy: Copy, table: pa.Table, *, is_proven: bool) -> Finding | None:
        """Return that a copy has other rows than the one of its segment that was read before it, or None."""
        whole = [one for one in placed.copies if one.subset is None]
        if copy.subset is not None or len(whole) < 2:
            return None
        number, own = placed.segment.segment_id, column_proofs(table)
        before, self._twin = self._twin, _Twin(number, copy, own, is_proven)
        if before is None or before.segment_id != number or before.proofs == own:
            return None
        self._twin = before
        what = f"{copy.location} has other rows than the copy in {before.copy.tier.value} ({before.copy.location})"
        if copy.role is not Role.SHADOW or is_proven or not before.is_proven:
            return self._finding("corrupt", placed, copy, what, DISAGREE)
        mend = Restore(self._grounds, placed, copy, is_readable=True, wrong=own)
        return self._finding("corrupt", placed, copy, what, *mend.outlook(WAYS_OUT))

    def _right_schema(self, placed: PlacedSegment, facts: FileFacts) -> tuple[Correction, ...]:
        """Return the correction to the one schema of the table that a file has, or none."""
        segment, fitting = placed.segment, []
        for schema_id, table_id in self._grounds.state.schemas.items():
            if table_id == segment.table_id:
                try:
                    if self._grounds.form(schema_id).layout.schema.equals(facts.schema):
                        fitting.append(schema_id)
                except UNREADABLE:
                    continue
        return (("segments", "segment_id", segment.segment_id, "schema_id", max(fitting)),) if fitting else ()

    def _of_rows(
        self, placed: PlacedSegment, copy: Copy, form: TableForm, table: pa.Table, receipt: Receipt | None
    ) -> Iterator[Finding]:
        """Yield where rows differ from the statistics, the order and the receipt, and versions that cannot be."""
        store = self._grounds.stores[copy.tier]
        found = piece_stats(table, form.layout) if table.num_rows else None
        is_proven = receipt is not None and column_proofs(table) == receipt.columns
        self.proven += is_proven
        if receipt is not None and not is_proven:
            what = f"values differ from receipt {receipt.receipt_id} of the move"
            mend = Restore(self._grounds, placed, copy, is_readable=True)
            yield self._finding("corrupt", placed, copy, what, *mend.outlook(WAYS_OUT))
            return
        wrong_version = self._wrong_versions(placed, copy, table)
        if wrong_version:
            mend = Restore(self._grounds, placed, copy, is_readable=True, wrong=column_proofs(table))
            told = (DISAGREE, None) if is_proven else mend.outlook(WAYS_OUT)  # rows that are proven are right
            yield self._finding("misregistered", placed, copy, wrong_version, *told)
            return
        differing = self._differing(placed, copy, table, is_proven=is_proven)
        if differing is not None:
            yield differing
            return
        if copy.subset is not None:
            if not _is_subset(copy.subset, found):
                mend = Restore(self._grounds, placed, copy, is_readable=True)
                what = f"rows read are {found}, recorded are {copy.subset}"
                yield self._finding("corrupt", placed, copy, what, *mend.outlook(WAYS_OUT))
        elif found != placed.segment.stats:
            corrections = () if found is None else mended_statistics(placed.segment, found)
            what = f"rows read are {found}, recorded are {placed.segment.stats}"
            yield self._finding("misregistered", placed, copy, what, *self._correction(placed, copy, corrections))
        if table.num_rows and not is_in_store_order(table, form.layout, store.capabilities.order):
            mend = Restore(self._grounds, placed, copy, is_readable=True)
            yield self._finding("corrupt", placed, copy, "rows are out of order", *mend.outlook(WAYS_OUT))

    def _wrong_versions(self, placed: PlacedSegment, copy: Copy, table: pa.Table) -> str:
        """Return that rows bear versions that did not write to the table before the segment was added; or nothing."""
        segment = placed.segment
        seq = table.column(SEQ).to_numpy()
        self.spans.append(SeqSpan.of(placed, copy, seq))
        versions = np.unique(seq >> SEQ_VERSION_SHIFT)
        known = self._grounds.state.table_versions.get(segment.table_id, set())
        strange = [int(one) for one in versions if one > segment.added_version or int(one) not in known]
        if not strange:
            return ""
        return (
            f"rows say that version {strange[0]} wrote them, which cannot be: version {segment.added_version} has them"
        )

    def _finding(
        self, kind: str, placed: PlacedSegment, copy: Copy, what: str, remedy: str = "", mend: Any = None
    ) -> Finding:
        table = self._grounds.table_name(placed.segment.table_id)
        return Finding.of_copy(kind, table, placed, copy, what, remedy, mend)


def read_facts(path: str, location: str) -> tuple[FileFacts, str | None]:
    """Return what a file says about itself, and its codec; reads none of its rows.

    Raises:
        IntegrityError: It says nothing.
    """
    if Path(path).suffix == ".arrow":
        with pa.OSFile(path) as source:
            return decode_facts(ipc.open_file(source).schema.metadata, location), "ipc"
    if Path(path).suffix != ".parquet":
        raise IntegrityError(f"{location} is of no kind that is known.", location=location)
    metadata = pq.read_metadata(path)
    codec = metadata.row_group(0).column(0).compression.lower() if metadata.num_row_groups else None
    return decode_facts(metadata.metadata, location), codec


def _is_subset(subset: Subset, found: SegmentStats | None) -> bool:
    """Whether rows are those of a shadow's symbols, by their number and names."""
    if found is None or found.rows != subset.rows:
        return False
    return found.symbols is None or set(found.symbols) <= set(subset.symbols)
