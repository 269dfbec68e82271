"""Frames with a column for each symbol, as rows (time, symbol, value)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.core.names import listed
from quantstore.errors import InvalidInputError
from quantstore.rows.columns import check_distinct, find_time, is_time, match_column
from quantstore.rows.source import Source, categories_of

if TYPE_CHECKING:
    from quantstore.core.table import TableSpec

SYMBOL = "symbol"
_BLOCK = 1 << 20
_WAYS = "Convert them, or write each kind on its own."


@dataclass(frozen=True, slots=True)
class LongNames:
    """Names of the columns that a wide frame becomes."""

    time: str
    symbol: str
    value: str


@dataclass(frozen=True, slots=True)
class _Wide:
    """What the columns of a wide frame are.

    Attributes:
        names: Of the columns it becomes.
        time_at: Position of the time column.
        labels: The symbols, in the frame's order.
        kind: Arrow type of all their columns.
        time: The time column's field, under its name in the table.
    """

    names: LongNames
    time_at: int
    labels: tuple[str, ...]
    kind: pa.DataType
    time: pa.Field

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows."""
        names = self.names
        return pa.schema([self.time, pa.field(names.symbol, pa.string()), pa.field(names.value, self.kind)])


def as_rows(
    source: Source, value: str, table: str, *, time: str | None, symbol: str | None, spec: TableSpec | None
) -> tuple[Source, LongNames]:
    """Return a wide frame as rows, one per cell that is not empty, oldest first, and the names of their columns.

    A row or column of the frame without any value keeps one empty cell, so that it comes back. How to restore the
    frame is noted in `frame["wide"]`.

    Args:
        source: The frame.
        value: Name of the column that cells go to.
        table: The table's name.
        time: Time column; default the index, else as for any frame.
        symbol: Name of the symbol column; default the table's, else the name of the frame's columns, else `symbol`.
        spec: The table, where it exists.

    Raises:
        InvalidInputError: There is no column but time, or columns are of types that have none in common.
    """
    check_distinct_labels(source.schema.names, table)
    wide = _described(source, value, table, time, symbol, spec)
    rows: Any = _rows(source, wide)
    if not source.is_stream:
        rows = list(rows)
    return Source(wide.schema, rows, source.is_stream, _noted(source, wide, rows)), wide.names


def check_distinct_labels(names: Sequence[str], table: str) -> None:
    """Refuse a frame that has a column twice.

    Raises:
        InvalidInputError: Names the column.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(
            f"Column {twice!r} of the frame for table {table!r} appears more than once.", table=table
        )


def _described(
    source: Source, value: str, table: str, time: str | None, symbol: str | None, spec: TableSpec | None
) -> _Wide:
    index = source.frame.get("index", [])
    if len(index) > 1:
        raise InvalidInputError(
            f"A frame for wide={value!r} has one index level, its time, and this one has {listed(index)}; unstack the "
            "symbols, or write it without wide=.",
            table=table,
        )
    column = _time_column(source, time, index, table)
    field = source.schema.field(column)
    labels = tuple(name for name in source.schema.names if name != column)
    if not labels:
        raise InvalidInputError(f"The frame for wide={value!r} has no column but its time {column!r}.", table=table)
    if spec is not None and spec.time and source.frame.get("index_names") == [None]:
        field = field.with_name(spec.time)
    names = LongNames(field.name, _symbol_name(source, symbol, spec), value)
    check_distinct((names.time, names.symbol, names.value))
    kind = _common_type({name: source.schema.field(name).type for name in labels}, table)
    return _Wide(names, source.schema.get_field_index(column), labels, kind, field)


def _time_column(source: Source, wanted: str | None, index: Sequence[str], table: str) -> str:
    if wanted is None and index and is_time(source.schema.field(index[0]).type):
        return index[0]
    return find_time(source.schema, wanted, table)


def _symbol_name(source: Source, wanted: str | None, spec: TableSpec | None) -> str:
    if spec is not None and spec.symbol is not None:
        return spec.symbol
    return wanted or source.frame.get("columns_name") or SYMBOL


def _common_type(kinds: dict[str, pa.DataType], table: str) -> pa.DataType:
    """Return the type that holds the values of all columns; of numbers the widest.

    Raises:
        InvalidInputError: There is none; two columns are named.
    """
    found = {kind: name for name, kind in reversed(kinds.items()) if not pa.types.is_null(kind)}
    distinct = list(reversed(found))
    if not distinct:
        return pa.float64()
    first, *others = distinct
    for other in others:
        wider = _wider(first, other)
        if wider is None:
            raise InvalidInputError(
                f"The columns of a frame for wide= hold one kind of value, and for table {table!r} "
                f"{found[distinct[0]]!r} is {distinct[0]} and {found[other]!r} is {other}. {_WAYS}",
                table=table,
            )
        first = wider
    return first


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    t = pa.types
    if t.is_floating(one) and t.is_floating(other):
        return one if one.bit_width >= other.bit_width else other
    if (t.is_floating(one) and t.is_integer(other)) or (t.is_integer(one) and t.is_floating(other)):
        return pa.float64()
    if t.is_integer(one) and t.is_integer(other):
        if t.is_signed_integer(one) == t.is_signed_integer(other):
            return one if one.bit_width >= other.bit_width else other
        return pa.int64()
    return None


def _rows(source: Source, wide: _Wide) -> Iterator[pa.Table]:
    """Yield the rows of each table of a source; only the first keeps columns without a value."""
    is_first = True
    for table in source.tables:
        yield _long(table, wide, keeps_columns=is_first)
        is_first = False


def _long(table: pa.Table, wide: _Wide, *, keeps_columns: bool) -> pa.Table:
    rows, count = table.num_rows, len(wide.labels)
    flat = _flat(table, wide)
    kept = _kept(flat, rows, count, keeps_columns=keeps_columns)
    labels = pa.array(wide.labels, pa.string())
    times = table.column(wide.time_at).combine_chunks()
    parts: list[list[Any]] = [[], [], []]
    step = max(1, _BLOCK // count)
    for first in range(0, rows, step):
        cells = np.flatnonzero(kept[:, first : first + step].T.ravel())
        at, which = np.divmod(cells, count)
        at += first
        for part, values, positions in zip(parts, (times, labels, flat), (at, which, which * rows + at), strict=True):
            taken = values.take(pa.array(positions))
            part += taken.chunks if isinstance(taken, pa.ChunkedArray) else [taken]
    schema = wide.schema
    columns = [pa.chunked_array(part, field.type) for part, field in zip(parts, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _flat(table: pa.Table, wide: _Wide) -> Any:
    """Return the cells, column after column, in one type.

    Raises:
        InvalidInputError: A whole number is too large for the type of the others; names its column.
    """
    chunks = []
    for name in wide.labels:
        try:
            column = table.column(name).cast(wide.kind)
        except pa.ArrowInvalid as error:
            raise InvalidInputError(
                f"Column {name!r} of the frame for wide= cannot become {wide.kind} as the others: {error}. {_WAYS}",
                column=name,
            ) from error
        chunks += column.chunks
    whole = pa.chunked_array(chunks, wide.kind)
    return whole.unify_dictionaries().combine_chunks() if pa.types.is_dictionary(wide.kind) else whole.combine_chunks()


def _kept(flat: Any, rows: int, count: int, *, keeps_columns: bool) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which cells (symbol, time) become rows."""
    kept = np.ones((count, rows), np.bool_)
    if flat.null_count:
        kept = np.array(pc.is_valid(flat).to_numpy(zero_copy_only=False)).reshape(count, rows)
        empty_rows, empty_columns = ~kept.any(axis=0), ~kept.any(axis=1)
        kept[0, empty_rows] = True
        if keeps_columns and rows:
            kept[empty_columns, 0] = True
    return kept


def _noted(source: Source, wide: _Wide, rows: Any) -> dict[str, Any]:
    """Return how to restore the rows and, from them, the frame."""
    frame, names = source.frame, wide.names
    dtypes = frame.get("dtypes", {})
    time = source.schema.names[wide.time_at]
    of_values = {dtypes.get(name) for name in wide.labels}
    noted = {names.time: dtypes.get(time), names.value: of_values.pop() if len(of_values) == 1 else None}
    is_index = time in frame.get("index", [])
    note = {
        "value": names.value,
        "labels": list(wide.labels),
        "columns_name": frame.get("columns_name"),
        "time_at": None if is_index else wide.time_at,
        "index_name": frame["index_names"][0] if is_index else None,
        "freq": frame.get("freq"),
    }
    found: dict[str, Any] = {"wide": note, "dtypes": {name: kind for name, kind in noted.items() if kind}}
    if pa.types.is_dictionary(wide.kind) and not source.is_stream:
        categories = categories_of(rows[0].column(names.value))
        found |= {} if categories is None else {"categories": {names.value: categories}}
    return found


def value_column(schema: pa.Schema, wanted: str, spec: TableSpec) -> str:
    """Return the column that `wanted` names, which can be the cells of a wide frame.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: The table has no symbol column, or it is the time or symbol itself.
    """
    if spec.symbol is None:
        raise InvalidInputError(
            f"Table {spec.name!r} has no symbol column to make the columns of a wide frame of; read it as it is.",
            table=spec.name,
        )
    found = match_column(schema, wanted, spec.name)
    if found in {spec.time, spec.symbol}:
        raise InvalidInputError(
            f"Column {found!r} of table {spec.name!r} is its time or symbol; name the column that the cells are to "
            "hold.",
            table=spec.name,
        )
    return found
