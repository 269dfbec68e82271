"""Restore: a new version of a table with the rows of an old one, which stay where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from quantstore.catalog.records import UNCHANGED
from quantstore.core.segment import SEQ, SEQ_VERSION_SHIFT
from quantstore.errors import IntegrityError, NotFoundError, UnavailableError
from quantstore.query.held import REPLANS, Held, has_moved
from quantstore.query.relations import damaged
from quantstore.rows.form import known_form
from quantstore.stores.base import Selection

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.history import RestoreOutcome
    from quantstore.catalog.records import TableRecord
    from quantstore.core.segment import PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore


def restore(
    catalog: Catalog, stores: Mapping[Tier, SegmentStore], table_id: int, version: int, lineage: dict[str, Any]
) -> RestoreOutcome:
    """Make a version whose rows and columns are those of `version`; no file is written.

    Raises:
        NotFoundError: The version has expired, or the table was not there then.
        IntegrityError: A segment that must be looked at is damaged.
    """
    held = Held(catalog, version)
    try:
        for _ in range(REPLANS):
            try:
                whole = whole_versions(catalog, stores, table_id, version)
            except IntegrityError as error:
                if not has_moved(catalog, error):
                    raise
            else:
                return catalog.history.restore(table_id, version, whole, lineage)
    finally:
        held.release()
    raise UnavailableError("Segments kept moving while they were looked at; try again.")


def whole_versions(
    catalog: Catalog, stores: Mapping[Tier, SegmentStore], table_id: int, version: int
) -> frozenset[int]:
    """Return the versions of which every row that they added is in a table at `version`.

    Where rows were never taken away the catalog alone tells. Else rows are counted by their `_seq`; files that a write
    made and that were not rewritten since need not be opened.
    """
    with catalog.view(version) as view:
        record = view.table_by_id(table_id)
        if record is None:
            raise NotFoundError(f"The table was not there at version {version}; it was made later.", version=version)
        placed = view.segments(table_id)
    changes = catalog.changes(table_id)
    added = {
        change.version: change.rows
        for change in changes
        if change.version <= version and change.content is not None and change.rows
    }
    partial = {change.version for change in changes if UNCHANGED in change.lineage}  # their content is not all theirs
    if sum(one.segment.stats.rows for one in placed) == sum(added.values()):
        return frozenset(added) - partial
    counts: Counter[int] = Counter()
    forms: dict[int, TableForm] = {}
    for one in placed:
        if one.primary.seq_base:
            counts[one.primary.seq_base >> SEQ_VERSION_SHIFT] += one.segment.stats.rows
        else:
            counts.update(_counted(catalog, stores, record, one, forms))
    return frozenset(number for number, rows in added.items() if counts[number] == rows) - partial


def _counted(
    catalog: Catalog,
    stores: Mapping[Tier, SegmentStore],
    record: TableRecord,
    placed: PlacedSegment,
    forms: dict[int, TableForm],
) -> dict[int, int]:
    """Return how many rows of a segment each version added."""
    number, copy = placed.segment.schema_id, placed.primary
    if number not in forms:
        forms[number] = known_form(record, catalog.schemas([number])[number])
    try:
        rows = stores[copy.tier].read(forms[number].layout, copy, placed.segment.partition, Selection((SEQ,)))
    except IntegrityError as error:
        raise damaged(record.name, placed, copy, error) from error
    versions, counts = np.unique(rows.column(SEQ).to_numpy() >> SEQ_VERSION_SHIFT, return_counts=True)
    return dict(zip(versions.tolist(), counts.tolist(), strict=True))
