"""Values of Arrow tables as plain Python ones that compare equal exactly where the values are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import types as kinds

NAN = float("nan")
"""The one NaN of plain values, which is itself; the NaN of a calculation is not."""
_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def plain_columns(table: pa.Table) -> dict[str, list[Any]]:
    """Return every column of a table as plain values.

    Timestamps become nanoseconds since the epoch and dates days, categories their values, lists and structs tuples, NaN
    the one `NAN`. The type itself is not part of a value: 1 in a narrow column is 1 in a wide one.
    """
    return {name: plain_values(table.column(name)) for name in table.column_names}


def plain_rows(table: pa.Table, names: Sequence[str] | None = None) -> list[tuple[Any, ...]]:
    """Return the rows of a table as tuples of plain values, of all columns or some in the order named."""
    chosen = table.column_names if names is None else list(names)
    if not chosen:
        return [()] * table.num_rows
    return list(zip(*(plain_values(table.column(name)) for name in chosen), strict=True))


def plain_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Return the values of a column as plain ones; see `plain_columns`."""
    kind = column.type
    if kinds.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if kinds.is_timestamp(kind):
        scale = _NS[kind.unit]
        return [None if value is None else value * scale for value in column.cast(pa.int64()).to_pylist()]
    if kinds.is_date32(kind):
        return list(column.cast(pa.int32()).to_pylist())
    if kinds.is_time(kind) or kinds.is_duration(kind):
        storage = pa.int32() if kinds.is_time32(kind) else pa.int64()
        return [None if value is None else value * _NS[kind.unit] for value in column.cast(storage).to_pylist()]
    if kinds.is_floating(kind):
        return [NAN if value is not None and value != value else value for value in column.to_pylist()]  # noqa: PLR0124
    if kinds.is_nested(kind):
        convert = _nested(kind)
        return [convert(value) for value in column.to_pylist()]
    return list(column.to_pylist())


def _nested(kind: pa.DataType) -> Callable[[Any], Any]:
    """Return what makes a value of a list or struct, as Arrow gives it, a plain one."""
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        each = _nested(kind.value_type)
        return lambda value: None if value is None else tuple(map(each, value))
    if kinds.is_struct(kind):
        parts = [(field.name, _nested(field.type)) for field in kind]
        return lambda value: None if value is None else tuple(part(value[name]) for name, part in parts)
    return lambda value: NAN if isinstance(value, float) and value != value else value  # noqa: PLR0124
