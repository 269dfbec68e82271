"""Rows that a stream is given, brought into the form of its table as they come."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantstore.errors import InvalidInputError
from quantstore.rows.evolution import evolved
from quantstore.rows.form import known_form
from quantstore.rows.source import open_source
from quantstore.write.append import receive
from quantstore.write.conform import conform

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.rows.form import TableForm
    from quantstore.write.request import WriteRequest


class Fitting:
    """Brings rows into the form of a table, which the first of them may fix.

    Args:
        catalog: Knows the table.
        request: What is asked for.
    """

    def __init__(self, catalog: Catalog, request: WriteRequest) -> None:
        self._catalog = catalog
        self._request = request
        self._form: TableForm | None = None
        self._lock = threading.Lock()

    @property
    def batch_request(self) -> WriteRequest:
        """The request for rows that have been fitted: their times have the zone already."""
        return replace(self._request, wishes=replace(self._request.wishes, tz=None))

    def fit(self, rows: Any) -> pa.Table:
        """Return rows in the table's form, in memory that the caller cannot change.

        Raises:
            InvalidInputError: They do not fit; the columns are named.
        """
        data, is_shared = _as_table(rows, self._kinds())
        source = open_source(data)
        if source.is_stream:
            raise InvalidInputError(
                f"A stream takes rows that are there, not {type(rows).__name__}; append batch by batch."
            )
        (table,) = source.tables
        tz = self._request.wishes.tz
        with self._lock:
            if self._form is None:
                form = receive(self._catalog, data, self._request).form
            else:
                form = evolved(self._form, source, tz=tz).form
            fitted = conform(table, form, tz=tz)
            _require_times(fitted, form)
            self._form = form
        return fitted.take(pa.array(np.arange(fitted.num_rows))) if is_shared else fitted

    def _kinds(self) -> dict[str, pa.DataType]:
        """Return the types of numbers by column, so that 100 and 100.5 go into one column wherever they come."""
        form = self._form
        if form is None:
            with self._catalog.view() as view:
                record = view.table(self._request.table)
            form = known_form(record) if record is not None and record.schema is not None else None
        kinds = pa.types
        return {
            field.name.casefold(): field.type
            for field in (() if form is None else form.visible)
            if kinds.is_integer(field.type) or kinds.is_floating(field.type) or kinds.is_decimal(field.type)
        }


def _require_times(table: pa.Table, form: TableForm) -> None:
    empty = table.column(form.spec.time).null_count
    if empty:
        raise InvalidInputError(
            f"Time column {form.spec.time!r} has {empty} empty values in {table.num_rows} rows; fill them or drop "
            "these rows.",
            table=form.spec.name,
        )


def _as_table(rows: Any, kinds: Mapping[str, pa.DataType]) -> tuple[Any, bool]:
    """Return what can be opened as a source, and whether the caller may still change the memory it is in."""
    if isinstance(rows, Mapping):
        return _of_columns(rows, kinds), True
    if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        return _of_rows(rows, kinds), False
    is_arrow = isinstance(rows, (pa.Table, pa.RecordBatch)) or type(rows).__module__.startswith("polars")
    return rows, not is_arrow


def _of_columns(columns: Mapping[str, Any], kinds: Mapping[str, pa.DataType]) -> pa.Table:
    lengths = {name: len(values) for name, values in columns.items() if hasattr(values, "__len__")}
    plain = [name for name, values in columns.items() if name not in lengths or isinstance(values, (str, bytes))]
    if plain:
        raise InvalidInputError(
            f"Column {plain[0]!r} of a dict of columns must be a list or array with a value per row; a single row "
            "goes in as [row].",
            column=plain[0],
        )
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"The columns have different lengths: {lengths}.")
    return pa.table({str(name): _column(str(name), values, kinds) for name, values in columns.items()})


def _of_rows(rows: Sequence[Any], kinds: Mapping[str, pa.DataType]) -> pa.Table:
    if not rows:
        raise InvalidInputError("The list holds no row; append nothing instead.")
    if not all(isinstance(row, Mapping) for row in rows):
        raise InvalidInputError("A list of rows must hold dicts, one per row, with the names of the columns.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({str(name): _column(str(name), [row.get(name) for row in rows], kinds) for name in names})


def _column(name: str, values: Any, kinds: Mapping[str, pa.DataType]) -> Any:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if hasattr(values, "to_arrow"):
        return values.to_arrow()
    kind = kinds.get(name.casefold()) if isinstance(values, (list, tuple)) else None
    if kind is not None:
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
            return pa.array(values, kind)
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInputError(f"Column {name!r} holds values of no one type: {first}.", column=name) from error
