"""A query that failed, tried once more as it was written, over empty tables: what is wrong with it, and where.

The engine runs another text than the caller wrote: its tables are scans, its stamps are rewritten. To point into the
caller's own text, that text is planned over empty tables that look as the store's tables look to a query: zoned columns
as TIMESTAMP WITH TIME ZONE, naive ones as TIMESTAMP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa

from quantstore.errors import IntegrityError, InvalidInputError, NotFoundError, QuantStoreError
from quantstore.query.mistakes.cases import Names
from quantstore.query.mistakes.complaints import Complaint, is_engine_error, read_complaint
from quantstore.query.mistakes.explain import explain, locate, no_such_file
from quantstore.query.mistakes.refusals import refused_part
from quantstore.query.parameters import bind, engine_value
from quantstore.query.request import ReadRequest
from quantstore.rows.form import TableForm, known_form
from quantstore.stores.engine_types import engine_type, quote

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog

_EXPLAIN = "EXPLAIN "
_WHILE_RUNNING = {"Conversion", "Out of Range", "Invalid Input"}
_WHILE_PLANNING = {"Binder", "Catalog", "Parser"}
_PLACED = {"line", "statement", "statements"}


def told(error: QuantStoreError, request: ReadRequest, catalog: Catalog, version: int | None) -> QuantStoreError:
    """Return the error that tells what is wrong with a query, or `error` itself where there is no more to tell."""
    if not _PLACED.isdisjoint(error.context):
        return error
    cause = error.__cause__
    first = read_complaint(cause) if cause is not None and is_engine_error(cause) else None
    if isinstance(error, IntegrityError):
        missing = None if first is None else no_such_file(first, request.query)
        return missing or error
    if isinstance(error, NotFoundError) and first is None:
        return locate(error, request.query)
    return refused_part(request.query) or _looked_into(error, first, request, catalog, version)


def check_condition(where: str, form: TableForm) -> None:
    """Check, without reading a row, that a condition can be asked of a table's rows.

    Raises:
        InvalidInputError: It is no condition on them.
        NotFoundError: It names a column that the table has not; the nearest is named.
    """
    head, tail = f"SELECT 1 FROM {quote(form.spec.name)} WHERE (", "\n)"  # a comment may end the condition
    with Rehearsal(ReadRequest(head + where + tail), [form], [form.spec.name]) as rehearsal:
        complaint = rehearsal.run()
        if complaint is not None:
            names = replace(
                rehearsal.names, parses=lambda text: rehearsal.parses(head + text + tail), is_condition=True
            )
            raise explain(complaint.moved(len(head.encode())), where, names)


def _looked_into(
    error: QuantStoreError, first: Complaint | None, request: ReadRequest, catalog: Catalog, version: int | None
) -> QuantStoreError:
    try:
        stored, every = _stored(request, catalog, version)
        with Rehearsal(request, stored, every) as rehearsal:
            again = rehearsal.run()
            said = first if again is None or _contradicts(again, first) else again
            return locate(error, request.query) if said is None else explain(said, request.query, rehearsal.names)
    except (QuantStoreError, duckdb.Error, pa.ArrowException):
        return error  # what went wrong first says more than what goes wrong while it is looked into


def _contradicts(again: Complaint, first: Complaint | None) -> bool:
    """Whether a query that could be planned cannot be planned when it is tried again, which says nothing about it."""
    return first is not None and first.kind in _WHILE_RUNNING and again.kind in _WHILE_PLANNING


def _stored(request: ReadRequest, catalog: Catalog, version: int | None) -> tuple[list[TableForm], list[str]]:
    """Return the forms of the stored tables whose names the query has in it, and the names of all tables."""
    text = request.query.casefold()
    with catalog.view(version) as view:
        names = view.table_names()
        records = [view.table(name) for name in names if name.casefold() in text]
    return [known_form(one) for one in records if one is not None], names  # raises for a table without columns


@dataclass(slots=True)
class Rehearsal:
    """A query planned over empty tables, in a database of its own.

    Attributes:
        request: The read.
        stored: Forms of the stored tables that the query may name.
        tables: Names of all stored tables.
    """

    request: ReadRequest
    stored: list[TableForm]
    tables: list[str]
    _database: Any = None

    def __enter__(self) -> Self:
        """Open the database."""
        self._database = duckdb.connect(config={"threads": 1})
        for setting in ("errors_as_json = true", "TimeZone = 'UTC'", "python_enable_replacements = false"):
            self._database.execute(f"SET {setting}")
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._database.close()

    @property
    def names(self) -> Names:
        """What the query may name; functions, types and keywords are those of the open database."""
        frames = self.request.frames.forms
        columns = {form.spec.name: tuple(form.visible.names) for form in [*self.stored, *frames.values()]}
        return Names(
            columns=columns,
            hidden=tuple(dict.fromkeys(name for form in self.stored for name in form.hidden)),
            tables=(*self.tables, *(form.spec.name for form in frames.values())),
            functions=lambda: self._listed("function_name", "duckdb_functions()"),
            types=lambda: self._listed("type_name", "duckdb_types()"),
            keywords=lambda: self._listed("keyword_name", "duckdb_keywords()"),
            parses=self.parses,
        )

    def run(self) -> Complaint | None:
        """Return what the engine finds wrong with the query as it was written; None where it finds nothing."""
        sql = self.request.query
        try:
            statements = self._database.extract_statements(sql)
        except duckdb.Error as error:
            return read_complaint(error)
        try:
            bound = bind(self.request.params, frozenset(statements[0].named_parameters))
        except (IndexError, InvalidInputError):
            return None  # what is wrong with the parameters has been said
        values = {name: engine_value(value) for name, value in bound.items()}
        self._make_tables()
        try:
            self._database.execute(_EXPLAIN + sql, values or None)
        except duckdb.Error as error:
            return read_complaint(error).moved(len(_EXPLAIN))
        return None

    def _make_tables(self) -> None:
        text = self.request.query.casefold()
        for form in [*self.stored, *self.request.frames.forms.values()]:
            seen = [one for one in form.schema if one.name not in form.hidden or one.name.casefold() in text]
            columns = ", ".join(f"{quote(field.name)} {_seen_type(field)}" for field in seen)
            self._database.execute(f"CREATE TEMP TABLE {quote(form.spec.name)} ({columns})")

    def parses(self, sql: str) -> bool:
        """Whether a text is one query."""
        try:
            statements = self._database.extract_statements(sql)
        except duckdb.Error:
            return False
        return [statement.type for statement in statements] == [duckdb.StatementType.SELECT]

    def _listed(self, column: str, source: str) -> list[str]:
        rows = self._database.execute(f"SELECT DISTINCT {column} FROM {source} ORDER BY 1").fetchall()
        return [str(value) for (value,) in rows]


def _seen_type(field: pa.Field) -> str:
    """Return the type a query sees: stamps behave as they do in microseconds."""
    kind = field.type
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz is None else "TIMESTAMP WITH TIME ZONE"
    return engine_type(field).replace("TIMESTAMP_NS", "TIMESTAMP")
