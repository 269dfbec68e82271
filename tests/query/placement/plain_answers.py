"""Answers as plain values: compared as multisets unless ordered, floats to 1e-12 of their size."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa

Row = tuple[Any, ...]
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def plain_rows_of(table: pa.Table) -> list[Row]:
    """Return rows of plain values; of a stamp its nanoseconds and whether it has a zone."""
    columns = [_values(column) for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        tag = "instant" if kind.tz else "wall"
        counts = column.cast(pa.int64()).to_pylist()
        return [None if one is None else (tag, one * _UNIT_NS[kind.unit]) for one in counts]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(column)
    if pa.types.is_struct(kind):
        return _structs(column)
    values = column.to_pylist()
    return list(map(_number, values)) if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else values


def _lists(column: pa.ChunkedArray) -> list[Any]:
    result: list[Any] = []
    for chunk in column.chunks:
        inner = _values(pa.chunked_array([chunk.flatten()]))
        at = 0
        for length in chunk.value_lengths().to_pylist():
            result.append(None if length is None else inner[at : at + length])
            at += length or 0
    return result


def _structs(column: pa.ChunkedArray) -> list[Any]:
    fields = [
        _values(pa.chunked_array([chunk.field(at) for chunk in column.chunks], field.type))
        for at, field in enumerate(column.type)
    ]
    absent = column.is_null().to_pylist()
    names = [field.name for field in column.type]
    rows = zip(*fields, strict=True)
    return [None if gone else dict(zip(names, row, strict=True)) for gone, row in zip(absent, rows, strict=True)]


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    return 0.0 if value == 0 else value  # a zero's sign is no part of an answer


def differs(got: pa.Table, wanted: pa.Table, *, ordered: bool) -> str | None:
    """Return how two answers differ, or None where they are the same."""
    if got.column_names != wanted.column_names:
        return f"columns {got.column_names}, not {wanted.column_names}"
    left, right = plain_rows_of(got), plain_rows_of(wanted)
    if len(left) != len(right):
        return f"{len(left)} rows, not {len(right)}; {_strangers(left, right)}"
    if not ordered:
        left, right = sorted(left, key=_rough), sorted(right, key=_rough)
    for one, other in zip(left, right, strict=True):
        if not _alike(one, other):
            return f"a row {one}, not {other}; {_strangers(left, right)}"
    return None


def _strangers(left: list[Row], right: list[Row]) -> str:
    mine, theirs = set(map(repr, left)), set(map(repr, right))
    return f"only here {sorted(mine - theirs)[:3]}, missing {sorted(theirs - mine)[:3]}"


def _rough(value: Any) -> str:
    """Return a text that is the same for rows whose floats differ in the last digits only, almost always."""
    if isinstance(value, float):
        return f"{value:.9e}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_rough(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ",".join(map(_rough, value)) + ")"
    return repr(value)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (one != one and other != other) or math.isclose(one, other, rel_tol=1e-12)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def digest(table: pa.Table, *, ordered: bool) -> str:
    """Return eight characters that stand for the names and values of an answer."""
    rows = list(map(_rough, plain_rows_of(table)))
    text = "\n".join([repr(table.column_names), *(rows if ordered else sorted(rows))])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
