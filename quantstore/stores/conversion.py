"""Rows to the physical schema of Parquet files and back, column by column, without loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as kinds

from quantstore.errors import IntegrityError, InvalidInputError
from quantstore.stores.column_types import (
    is_nanoseconds,
    physical_schema,
    physical_type,
    remainder_name,
    value_type,
)

MAX_STORED_CATEGORIES = 100_000
"""Larger unordered value sets are not kept in the file: reading encodes the values found, in order of appearance."""

_NS_PER_US = 1_000
_NOT_A_TIME = -(2**63)
_FIRST_SPLITTABLE_NS = -(2**63 - 1) // _NS_PER_US * _NS_PER_US + _NS_PER_US
_MINUS_INFINITY = -(2**63 - 1)


def check_values(table: pa.Table) -> None:
    """Check that every value can be kept in every tier; `check_schema` has passed its types.

    Looks at timestamps and at 64-bit dates only, by their smallest and largest value.

    Raises:
        InvalidInputError: A column holds a value no tier below could keep; the message names each column.
    """
    reasons = {name: reason for name in table.column_names if (reason := _value_refusal(table.column(name)))}
    if reasons:
        listed = "; ".join(f"{name!r} {reason}" for name, reason in reasons.items())
        raise InvalidInputError(f"These columns hold values that cannot be kept: {listed}.", columns=list(reasons))


def _value_refusal(column: pa.ChunkedArray) -> str | None:
    values = value_type(column.type)
    if kinds.is_date64(values):
        return _cast_refusal(column, pa.date32(), "64-bit dates that are not whole days")
    if not kinds.is_timestamp(values):
        return None
    if values.unit in ("s", "ms"):
        return _cast_refusal(column, physical_type(values), "timestamps outside the range of microseconds")
    numbers = _plain(column).cast(pa.int64())
    lowest = pc.min(numbers).as_py()
    if lowest is None:
        return None
    if values.unit == "us":
        return "has timestamps that are not a time" if lowest == _NOT_A_TIME else None
    return _nanosecond_refusal(numbers) if lowest < _FIRST_SPLITTABLE_NS else None


def _cast_refusal(column: pa.ChunkedArray, type_: pa.DataType, what: str) -> str | None:
    try:
        _plain(column).cast(type_)
    except pa.ArrowInvalid:
        return f"has {what}"
    return None


def _nanosecond_refusal(numbers: pa.ChunkedArray) -> str | None:
    """The last microsecond before 1677-09-21 00:12:43.145225 is out of reach, but for DuckDB's minus infinity."""
    unreachable = pc.and_(pc.less(numbers, _FIRST_SPLITTABLE_NS), pc.not_equal(numbers, _MINUS_INFINITY))
    return "has timestamps before 1677-09-21 00:12:43.145225" if pc.any(unreachable).as_py() else None


def file_categories(table: pa.Table) -> dict[str, pa.Array]:
    """Return the categories of each dictionary column, as a file's facts keep them.

    The chunks of a column must share one dictionary (`Table.unify_dictionaries`). Unordered sets above
    `MAX_STORED_CATEGORIES` are left out.
    """
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if kinds.is_dictionary(column.type):
            values = column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
            if column.type.ordered or len(values) <= MAX_STORED_CATEGORIES:
                found[name] = values
    return found


def to_physical(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert rows to the Parquet schema of a logical schema; columns that are alike share memory.

    Strings and binaries with 64-bit offsets stay so in memory: Parquet knows one form of each.

    Args:
        table: Has every column of `schema`, in its type.
        schema: Logical schema that passed `check_schema`.

    Raises:
        InvalidInputError: A value cannot be kept (see `check_values`).
    """
    check_values(table)
    columns: dict[str, pa.ChunkedArray] = {}
    for field in schema:
        columns[field.name] = _plain(table.column(field.name))
        if is_nanoseconds(field.type):
            columns[field.name], columns[remainder_name(field.name)] = _split(columns[field.name])
    physical = physical_schema(schema)
    arrays = [columns[field.name] for field in physical]
    fields = [_in_memory(field, column.type) for field, column in zip(physical, arrays, strict=True)]
    cast = [
        column if column.type == field.type else _cast(column, field)
        for column, field in zip(arrays, fields, strict=True)
    ]
    return pa.Table.from_arrays(cast, schema=pa.schema(fields))


def _in_memory(field: pa.Field, type_: pa.DataType) -> pa.Field:
    return field.with_type(type_) if kinds.is_large_string(type_) or kinds.is_large_binary(type_) else field


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"Column {field.name!r} holds a value that cannot be kept: {error}.", column=field.name
        ) from error


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode a dictionary column; others are returned as they are."""
    if not kinds.is_dictionary(column.type):
        return column
    values = _lookup_type(column.type.value_type)
    chunks = [chunk.dictionary_decode() for chunk in with_values(column, values).chunks]
    return pa.chunked_array(chunks, values)


def with_values(column: pa.ChunkedArray, values: pa.DataType) -> pa.ChunkedArray:
    """Cast a column, or the values of a dictionary column without touching its codes."""
    type_ = column.type
    if not kinds.is_dictionary(type_):
        return column if type_ == values else column.cast(values)
    if type_.value_type == values:
        return column
    target = pa.dictionary(type_.index_type, values, type_.ordered)
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(values), ordered=type_.ordered)
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, target)


def _lookup_type(type_: pa.DataType) -> pa.DataType:
    """Return a type Arrow can look values up in: it has no kernels for views and half floats."""
    if kinds.is_string_view(type_) or kinds.is_binary_view(type_) or kinds.is_float16(type_):
        return physical_type(type_)
    return type_


def _split(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Split nanoseconds into whole microseconds, rounded down, and what is left of them."""
    type_ = physical_type(column.type)
    wholes, remainders = [], []
    for chunk in column.chunks:
        validity, numbers = _numbers(chunk)
        whole = np.floor_divide(numbers, _NS_PER_US)
        remainder = (numbers - whole * _NS_PER_US).astype(np.int32)
        nulls = chunk.null_count
        wholes.append(_array(type_, validity, whole, nulls))
        remainders.append(_array(pa.int32(), validity, remainder, nulls))
    return pa.chunked_array(wholes, type_), pa.chunked_array(remainders, pa.int32())


def _numbers(chunk: pa.Array) -> tuple[pa.Buffer | None, np.ndarray]:
    """Return the validity bitmap and the 64-bit numbers of a chunk, from its first row on."""
    if chunk.null_count and chunk.offset % 8:
        chunk = pa.concat_arrays([chunk, chunk.slice(0, 0)])  # a bitmap can only be cut between bytes
    validity, values = chunk.buffers()
    numbers = np.frombuffer(values, np.int64, len(chunk), chunk.offset * 8) if len(chunk) else _NO_NUMBERS
    if not chunk.null_count:
        return None, numbers
    return validity.slice(chunk.offset // 8), numbers


_NO_NUMBERS = np.empty(0, np.int64)


def _array(type_: pa.DataType, validity: pa.Buffer | None, values: np.ndarray, nulls: int) -> pa.Array:
    return pa.Array.from_buffers(type_, len(values), [validity, pa.py_buffer(values)], nulls)


def physical_columns(schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """Return the Parquet columns that hold the given logical columns."""
    split = [remainder_name(name) for name in columns if is_nanoseconds(schema.field(name).type)]
    return [*columns, *split]


def from_physical(
    table: pa.Table,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    categories: Mapping[str, pa.Array] | None = None,
) -> pa.Table:
    """Convert rows of the Parquet schema back to logical types.

    Args:
        table: Has the `physical_columns` of `columns`.
        schema: Logical schema.
        columns: Names in the order wanted; all by default.
        categories: Values of dictionary columns, in order; a column without is encoded afresh.

    Raises:
        IntegrityError: A value is not one of its column's categories, or does not fit its type.
    """
    names = schema.names if columns is None else list(columns)
    fields = [schema.field(name) for name in names]
    arrays = []
    for field in fields:
        column = table.column(field.name)
        if is_nanoseconds(field.type):
            column = _join(column, table.column(remainder_name(field.name)))
        try:
            arrays.append(restore(column, field.type, (categories or {}).get(field.name)))
        except pa.ArrowInvalid as error:
            raise IntegrityError(f"Column {field.name!r} does not fit {field.type}: {error}.") from error
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _join(column: pa.ChunkedArray, remainder: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put nanoseconds together from microseconds and remainders."""
    type_ = pa.timestamp("ns", column.type.tz)
    chunks = []
    for chunk, rest in zip(column.chunks, _rechunk(remainder, column).chunks, strict=True):
        validity, numbers = _numbers(chunk)
        _, left = _numbers(rest.cast(pa.int64()))
        chunks.append(_array(type_, validity, numbers * _NS_PER_US + left, chunk.null_count))
    return pa.chunked_array(chunks, type_)


def _rechunk(column: pa.ChunkedArray, like: pa.ChunkedArray) -> pa.ChunkedArray:
    lengths = [len(chunk) for chunk in like.chunks]
    if [len(chunk) for chunk in column.chunks] == lengths:
        return column
    whole = column.combine_chunks()
    starts = np.cumsum([0, *lengths])[:-1]
    return pa.chunked_array(
        [whole.slice(start, length) for start, length in zip(starts, lengths, strict=True)], column.type
    )


def restore(column: pa.ChunkedArray, type_: pa.DataType, categories: pa.Array | None = None) -> pa.ChunkedArray:
    """Cast a column that holds a logical column's values in another representation back to its type.

    Raises:
        IntegrityError: A value is not one of `categories`.
        pyarrow.ArrowInvalid: A value does not fit the type.
    """
    if kinds.is_dictionary(type_):
        return _encode(column, type_, categories)
    if column.type == type_:
        return column
    if kinds.is_null(type_):
        return pa.chunked_array([pa.nulls(len(column))])
    if kinds.is_timestamp(type_) and kinds.is_timestamp(column.type) and column.type.tz is None and type_.tz:
        column = column.cast(pa.timestamp(column.type.unit, type_.tz))
    return column.cast(type_)


def _encode(column: pa.ChunkedArray, type_: pa.DataType, categories: pa.Array | None) -> pa.ChunkedArray:
    lookup = _lookup_type(type_.value_type)
    values = with_values(column, lookup) if kinds.is_dictionary(column.type) else restore(column, lookup)
    if categories is None:
        categories = pc.unique(_plain(values)).drop_null()
    keys = categories.cast(lookup)
    kept = categories.cast(type_.value_type)
    chunks = []
    for chunk in values.chunks:
        codes = _codes(chunk, keys)
        if codes.null_count > chunk.null_count:
            raise IntegrityError("A value is not one of the categories its file lists.")
        chunks.append(pa.DictionaryArray.from_arrays(codes.cast(type_.index_type), kept, ordered=type_.ordered))
    return pa.chunked_array(chunks, type_)


def _codes(values: pa.Array, keys: pa.Array) -> pa.Array:
    """Return the positions of values among the keys; a dictionary's values are looked up once each."""
    if kinds.is_dictionary(values.type):
        return _codes(values.dictionary, keys).take(values.indices)
    return pc.index_in(values, keys, skip_nulls=True)
