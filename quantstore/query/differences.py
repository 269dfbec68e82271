"""What came into a table and what went out of it between two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from quantstore.catalog.segments import EVERYTHING
from quantstore.core.segment import SEQ
from quantstore.errors import IntegrityError, UnavailableError
from quantstore.query.assemble import RowFilter, assemble, unified
from quantstore.query.held import REPLANS, Held, has_moved
from quantstore.query.plan import Choice, Scan, older_forms
from quantstore.rows.form import known_form

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

CHANGE = "change"
ADDED, REMOVED = "added", "removed"


@dataclass(frozen=True, slots=True)
class _State:
    """A table at one version.

    Attributes:
        record: The table; None where it was not there.
        choices: Its segments, each with the copy to read.
        older: Forms of those that were written before the table had its schema, by their schema ids.
    """

    record: TableRecord | None
    choices: tuple[Choice, ...] = ()
    older: Mapping[int, TableForm] = field(default_factory=dict)

    def segments(self) -> frozenset[int]:
        """Return the numbers of its segments."""
        return frozenset(one.placed.segment.segment_id for one in self.choices)


def differences(
    catalog: Catalog, stores: Mapping[Tier, SegmentStore], table_id: int, since: int, until: int
) -> pa.Table:
    """Return the rows that are in a table at one of two versions only, in `(time, _seq)` order.

    A row is known by its `_seq`, so that what was only moved, merged or restored does not show. Segments that both
    versions have are not opened.

    Returns:
        The table's own columns and `change` (or `_change`, where the table has one of that name): `added` for rows of
        `until`, `removed` for rows of `since`.

    Raises:
        NotFoundError: One of the versions has expired.
        IntegrityError: A segment is damaged.
    """
    held = Held(catalog, since)
    try:
        for _ in range(REPLANS):
            try:
                return _differences(catalog, stores, table_id, since, until)
            except IntegrityError as error:
                if not has_moved(catalog, error):
                    raise
    finally:
        held.release()
    raise UnavailableError("Segments kept moving while they were read; try again.")


def _differences(
    catalog: Catalog, stores: Mapping[Tier, SegmentStore], table_id: int, since: int, until: int
) -> pa.Table:
    before, after = _state(catalog, table_id, since), _state(catalog, table_id, until)
    common = before.segments() & after.segments()
    removed, added = _rows(stores, before, common), _rows(stores, after, common)
    gone, come = (np.zeros(0, np.int64) if one is None else one.column(SEQ).to_numpy() for one in (removed, added))
    parts = []
    for rows, own, other, kind in ((removed, gone, come, REMOVED), (added, come, gone, ADDED)):
        if rows is not None:
            kept = rows.filter(pa.array(~np.isin(own, other, assume_unique=True)))
            name = f"_{CHANGE}" if CHANGE in (one.casefold() for one in rows.column_names) else CHANGE
            parts.append(kept.append_column(name, pa.array([kind] * kept.num_rows, pa.string())))
    if not parts:
        return pa.table({CHANGE: pa.array([], pa.string())})
    known = after.record if after.record is not None else before.record
    assert known is not None  # noqa: S101 - a part has its record
    return _in_order(parts, known.spec.time)


def _state(catalog: Catalog, table_id: int, version: int) -> _State:
    with catalog.view(version) as view:
        record = view.table_by_id(table_id)
        if record is None:
            return _State(None)
        choices = tuple(Choice(one, one.primary) for one in view.segments(table_id))
        return _State(record, choices, older_forms(view, record, choices) if choices else {})


def _rows(stores: Mapping[Tier, SegmentStore], state: _State, common: frozenset[int]) -> pa.Table | None:
    """Return the rows of all but some segments, own columns and `_seq`; None where the table had no columns yet."""
    record = state.record
    if record is None or record.schema is None:
        return None
    form = known_form(record)
    columns = tuple(dict.fromkeys([*form.visible.names, SEQ]))
    choices = tuple(one for one in state.choices if one.placed.segment.segment_id not in common)
    scan = Scan(record, record.name, record.schema, EVERYTHING, choices, older=state.older)
    tables = [table for table in assemble(scan, form, stores, RowFilter(), columns) if table.num_rows]
    schema = pa.schema([form.schema.field(name) for name in columns])
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive")


def _in_order(parts: list[pa.Table], time: str) -> pa.Table:
    whole = pa.concat_tables(parts, promote_options="permissive")
    if any(pa.types.is_dictionary(field.type) for field in whole.schema):
        whole = unified(whole)
    whole = whole.sort_by([(time, "ascending"), (SEQ, "ascending")])
    return whole.drop_columns([SEQ])
