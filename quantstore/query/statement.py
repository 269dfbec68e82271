"""SQL over stored tables, planned: what is scanned, what the engine is told, and the types its answer gets back."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.errors import IntegrityError
from quantstore.query.engine import KeptCursor
from quantstore.query.plan import Plan, Scan
from quantstore.query.relations import Relations, located
from quantstore.rows.form import TableForm
from quantstore.stores import physical

if TYPE_CHECKING:
    import duckdb

    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.query.rewriting.rewrite import OutputColumn
    from quantstore.stores.base import SegmentStore

_PLACEHOLDER = re.compile(r"__quantstore_scan_[0-9a-f]{8}_\d+__")


@dataclass(frozen=True, slots=True)
class Source:
    """What a placeholder of a statement stands for.

    Attributes:
        form: Form of the table or frame.
        columns: Columns it must offer.
        placeholder: What stands for it.
        scan: What is scanned of a stored table, or None.
        frame: The rows of a caller's frame, or None.
    """

    form: TableForm
    columns: tuple[str, ...]
    placeholder: str
    scan: Scan | None = None
    frame: pa.Table | None = None


@dataclass(slots=True)
class KeptRun:
    """What a run of a statement leaves to the next one: the engine's text and a cursor that knows its tables."""

    cursors: list[duckdb.DuckDBPyConnection] = field(default_factory=list)
    sql: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A planned statement.

    Attributes:
        plan: What it will touch.
        sql: The statement with a placeholder for each table reference.
        sources: What the placeholders stand for.
        params: Bound values.
        outputs: What is known of each result column, or None.
        views: Whether placeholders are names of views to be made (a statement that only the engine can parse).
    """

    plan: Plan
    sql: str
    sources: tuple[Source, ...]
    params: Mapping[str, Any]
    outputs: tuple[OutputColumn, ...] | None
    views: bool = False

    def run(
        self, engine: Engine, stores: Mapping[Tier, SegmentStore], kept: KeptRun | None = None
    ) -> Iterator[pa.Table]:
        """Yield the result bit by bit; where there is none, an empty table of its schema.

        Args:
            engine: Runs it.
            stores: Hold the rows.
            kept: What an earlier run of this very statement left to be used again.

        Raises:
            IntegrityError: A needed copy is damaged or gone; table, partition and tier are named.
        """
        forms = {source.form.spec.name.casefold(): source.form for source in self.sources}
        if kept is None or self.views:
            sql, tables, views = self._bound(stores)
            stream = engine.read(sql, self.params, tables, views)
        else:
            stream = self._again(engine, stores, kept)
        try:
            schema = next(stream)
            is_empty = True
            for batch in stream:
                is_empty = False
                yield restored(pa.Table.from_batches([batch]), self.outputs, forms)
            if is_empty:
                yield restored(schema.empty_table(), self.outputs, forms)
        except IntegrityError:
            self._find_damage(stores)
            raise
        finally:
            stream.close()

    def relation(self, engine: Engine, stores: Mapping[Tier, SegmentStore]) -> duckdb.DuckDBPyRelation:
        """Return the statement as a relation of the engine, in the engine's types, not yet run.

        Raises:
            IntegrityError: A needed copy is damaged or gone; table, partition and tier are named.
        """
        sql, tables, views = self._bound(stores)
        return engine.relation(sql, self.params, tables, views)

    def _again(self, engine: Engine, stores: Mapping[Tier, SegmentStore], kept: KeptRun) -> Generator[Any, None, None]:
        """Return what the engine yields; where a cursor knows the tables still, only their files are checked again."""
        hold = KeptCursor(kept.cursors)
        if kept.sql is None or hold.taken is None:
            sql, tables, _ = self._bound(stores)
            kept.sql = sql
            return engine.read(sql, self.params, tables, kept=hold)
        for scan in self.plan.scans:
            for choice in scan.choices:
                with located(scan, choice):
                    stores[choice.copy.tier].verify(choice.copy)
        return engine.read(kept.sql, self.params, {}, kept=hold)

    def _bound(self, stores: Mapping[Tier, SegmentStore]) -> tuple[str, Mapping[str, pa.Table], Mapping[str, str]]:
        """Return the statement's text, the Arrow tables and the views that it names."""
        relations = Relations(stores)
        subqueries = {}
        for source in self.sources:
            if source.scan is not None:
                subqueries[source.placeholder] = relations.subquery(source.scan, source.form, source.columns)
            elif source.frame is not None:
                subqueries[source.placeholder] = relations.frame(source.frame, source.columns)
        if self.views:
            return self.sql, relations.tables, subqueries
        return _PLACEHOLDER.sub(lambda found: f"({subqueries[found[0]]})", self.sql), relations.tables, {}

    def _find_damage(self, stores: Mapping[Tier, SegmentStore]) -> None:
        """Raise an error that names the copy which the engine could not read, where it can be told."""
        for scan in self.plan.scans:
            for choice in scan.choices:
                with located(scan, choice):
                    stores[choice.copy.tier].verify(choice.copy)


def restored(table: pa.Table, outputs: tuple[OutputColumn, ...] | None, forms: Mapping[str, TableForm]) -> pa.Table:
    """Return `table` with every column that is a known copy of a stored one, or a known instant, in its own type."""
    if outputs is None or len(outputs) != table.num_columns:
        return table
    columns, fields = [], []
    for position, output in enumerate(outputs):
        column, field = table.column(position), table.schema.field(position)
        if output.source is not None and output.source[0] in forms:
            column = _own_type(column, forms[output.source[0]], output.source[1])
        elif output.zone is not None:
            column = column.cast(_in_zone(column.type, output.zone))
        columns.append(column)
        fields.append(pa.field(field.name, column.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _own_type(column: pa.ChunkedArray, form: TableForm, name: str) -> pa.ChunkedArray:
    """Return an unchanged copy of a stored column in its own type; only ordered categories are fixed in advance."""
    field = form.schema.field(name)
    if not pa.types.is_dictionary(field.type):
        return physical.from_engine(column, field)
    if field.type.ordered:
        return physical.from_engine(column, field, form.categories(name))
    wide = pa.dictionary(pa.int32(), field.type.value_type)
    encoded = physical.from_engine(column, field.with_type(wide))
    try:
        return encoded.cast(field.type)
    except pa.ArrowInvalid:  # more categories than the table's codes can count
        return encoded


def _in_zone(kind: pa.DataType, zone: str) -> pa.DataType:
    """Return a result column's type with every stamp in nanoseconds, at any depth, as an instant."""
    if kind == pa.timestamp("ns"):
        return pa.timestamp("ns", zone)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_zone(kind.value_type, zone)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_in_zone(kind.value_type, zone)), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_zone(field.type, zone)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_in_zone(kind.key_type, zone), _in_zone(kind.item_type, zone))
    return kind
