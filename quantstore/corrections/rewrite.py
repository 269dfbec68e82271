"""Copy-on-write: a segment without the rows that go, in the tier the segment is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from quantstore.catalog.conflicts import outpaced
from quantstore.catalog.records import Rewrite
from quantstore.core.segment import SEQ, SEQ_VERSION_SHIFT, NewCopy, NewSegment
from quantstore.query.sources import reading
from quantstore.rows.evolution import adapted, own_columns
from quantstore.stores.base import Part, Selection
from quantstore.write.partition import piece_stats

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord
    from quantstore.core.segment import PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.corrections.scopes import Mask
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore
    from quantstore.write.staging import Staging


class Rewriter:
    """Reads segments of one table and writes what is left of them.

    Args:
        catalog: Knows whether a segment was moved away.
        stores: By tier.
        record: The table.
        form: Returns the form in which a schema id keeps rows.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        record: TableRecord,
        form: Callable[[int], TableForm],
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._record = record
        self._find_form = form
        self._forms: dict[int, TableForm] = {}

    def read(self, placed: PlacedSegment, form: TableForm, columns: tuple[str, ...] | None = None) -> pa.Table:
        """Return rows of a segment as they read in a form of the table, all columns or some, `_seq` included.

        Raises:
            IntegrityError: The copy is damaged or gone.
            OutpacedError: Another process has moved the segment, or given the table a newer form.
        """
        names = form.schema.names if columns is None else list(dict.fromkeys([*columns, SEQ]))
        own = self._form(placed.segment.schema_id)
        rows = self._read(placed, own, tuple(own_columns(own, names)))
        try:
            return adapted(rows, form, names)
        except pa.ArrowInvalid as error:
            raise outpaced(self._record.name) from error

    def _form(self, schema_id: int) -> TableForm:
        if schema_id not in self._forms:
            self._forms[schema_id] = self._find_form(schema_id)
        return self._forms[schema_id]

    def _read(self, placed: PlacedSegment, own: TableForm, names: tuple[str, ...] | None = None) -> pa.Table:
        copy = placed.primary
        with self.reading(placed):
            return self._stores[copy.tier].read(own.layout, copy, placed.segment.partition, Selection(names))

    def reading(self, placed: PlacedSegment) -> AbstractContextManager[None]:
        """Name a segment that cannot be read in the block, or say that another process has moved it."""
        return reading(self._catalog, self._record.name, placed)

    def without(self, placed: PlacedSegment, mask: Mask, staging: Staging) -> Rewrite:
        """Write a segment's rows, but those in `mask`, and return the rewrite."""
        rows = self._read(placed, self._form(placed.segment.schema_id))
        versions = np.unique(rows.column(SEQ).to_numpy()[mask] >> SEQ_VERSION_SHIFT).tolist()
        removed = int(mask.sum())
        rest: tuple[NewSegment, ...] = ()
        if removed < rows.num_rows:
            rest = (self._write(placed, rows.filter(pa.array(~mask)), staging),)
        return Rewrite(placed, removed, tuple(versions), rest)

    def _write(self, placed: PlacedSegment, rows: pa.Table, staging: Staging) -> NewSegment:
        form = self._form(placed.segment.schema_id)
        partition, tier = placed.segment.partition, placed.primary.tier
        store = self._stores[tier]
        part = Part(staging.place(form.spec, partition, tier), rows, partition)
        (made,) = staging.write(store, form.layout, [part])
        copy = NewCopy(
            tier=tier,
            store=store.name,
            location=made.location,
            codec=store.capabilities.codec,
            size_bytes=made.size_bytes,
            checksum=made.checksum,
            seq_base=0,
        )
        return NewSegment(partition, piece_stats(rows, form.layout), copy)
