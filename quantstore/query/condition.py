"""A SQL condition on the rows of one table, asked of single segments or of rows on their way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from quantstore.catalog.conflicts import renamed_away
from quantstore.core.segment import SEQ
from quantstore.core.table import TableSpec
from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.query.frames import Frames
from quantstore.query.mistakes.explain import locate
from quantstore.query.mistakes.rehearsal import check_condition
from quantstore.query.parse import parse_condition
from quantstore.query.plan import Choice, Scan, older_forms
from quantstore.query.preparer import Preparer
from quantstore.query.relations import located
from quantstore.query.request import ReadRequest
from quantstore.rows.evolution import reads_as
from quantstore.rows.form import TableForm, known_form
from quantstore.stores.engine_types import quote
from quantstore.stores.integrity import require_rows

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog, View
    from quantstore.catalog.records import TableRecord
    from quantstore.catalog.segments import SegmentFilter
    from quantstore.core.segment import PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.query.statement import Statement
    from quantstore.stores.base import SegmentStore

_INCOMING = "incoming rows"  # no table may be called so


class Condition:
    """Finds the rows that meet a condition, by the engine's own rules.

    Args:
        catalog: Knows the table's segments.
        stores: By tier.
        engine: Runs SQL.
        record: The table.
        where: The condition, as after WHERE.

    Raises:
        InvalidInputError: `where` is no condition on the rows of this table.
        NotFoundError: `where` names a column that this table has not; the nearest is named.
        ConflictError: The table was dropped or renamed meanwhile.
    """

    def __init__(
        self, catalog: Catalog, stores: Mapping[Tier, SegmentStore], engine: Engine, record: TableRecord, where: str
    ) -> None:
        check_condition(where, known_form(record))
        if parse_condition(where) is None:
            raise InvalidInputError(_problem(where, record))
        self._catalog = catalog
        self._stores = stores
        self._engine = engine
        self._preparer = Preparer(engine)
        self._record = record
        self._where = where
        self._older: dict[int, TableForm] = {}
        with catalog.view() as view:
            self._statement = self._planned(view)

    def wanted(self, view: View) -> SegmentFilter:
        """Return what every segment with a row that meets the condition passes."""
        scan = self._planned(view).sources[0].scan
        assert scan is not None  # noqa: S101 - the one table is a stored one
        return scan.wanted

    def rows(self, placed: PlacedSegment) -> pa.Array:
        """Return the `_seq` of the rows of a segment that meet the condition.

        Raises:
            IntegrityError: The segment's copy is damaged or gone.
        """
        source = self._statement.sources[0]
        assert source.scan is not None  # noqa: S101 - the one table is a stored one
        choice = Choice(placed, placed.primary)
        scan = replace(source.scan, choices=(choice,), left_out=(), older=self._forms(choice, source.scan))
        own = scan.form_of(choice, source.form)
        if own is not source.form and not reads_as(own, source.form):
            return self.rows_of(self._whole(scan, choice, own, source.form))
        return self._run(replace(self._statement, sources=(replace(source, scan=scan),)))

    def _forms(self, choice: Choice, scan: Scan) -> Mapping[int, TableForm]:
        """Return the forms met so far of segments that do not have the form of the statement."""
        schema_id = choice.placed.segment.schema_id
        if schema_id not in self._older and schema_id != scan.record.schema_id:
            with self._catalog.view() as view:
                self._older |= older_forms(view, scan.record, (choice,))
        return self._older

    def _whole(self, scan: Scan, choice: Choice, own: TableForm, form: TableForm) -> pa.Table:
        """Return the rows of a segment that has columns which the table has not: another's, or of another time."""
        with located(scan, choice):
            store = self._stores[choice.copy.tier]
            rows = store.read(own.layout, choice.copy, choice.placed.segment.partition)
            require_rows(rows, choice.placed.segment.stats.rows, choice.copy, exactly=True)
        for field in form.schema:
            if own.schema.get_field_index(field.name) < 0:
                rows = rows.append_column(field.name, pa.nulls(rows.num_rows, field.type))
        return rows

    def rows_of(self, table: pa.Table) -> pa.Array:
        """Return the `_seq` of those of `table`'s rows, which have every column, that meet the condition."""
        form = TableForm(TableSpec(_INCOMING, ""), table.schema, (), {})
        frames = Frames({_INCOMING: table}, {_INCOMING: form}, table.schema.to_string())
        query = self._query(f"{quote(_INCOMING)} AS {quote(self._record.name)}")
        with self._catalog.view() as view:
            statement = self._preparer.prepare(view, ReadRequest(query, frames=frames))
        return self._run(statement)

    def _planned(self, view: View) -> Statement:
        named = view.table(self._record.name)
        if named is None or named.table_id != self._record.table_id:
            raise renamed_away(self._record.name)
        try:
            statement = self._preparer.prepare(view, ReadRequest(self._query(quote(self._record.name))))
        except (InvalidInputError, UnsupportedError) as error:
            raise locate(error, self._where) from error
        if len(statement.sources) != 1 or statement.views:
            raise InvalidInputError(_problem(self._where, self._record))
        return statement

    def _query(self, source: str) -> str:
        return f"SELECT {quote(SEQ)} FROM {source} WHERE ({self._where}\n)"  # a comment may end the condition

    def _run(self, statement: Statement) -> pa.Array:
        found = pa.concat_tables(list(statement.run(self._engine, self._stores)))
        return found.column(0).combine_chunks()


def _problem(where: str, record: TableRecord) -> str:
    return f"where={where!r} is not a condition on the rows of table {record.name!r}."
