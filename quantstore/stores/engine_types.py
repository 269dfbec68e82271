"""What SQL sees: one DuckDB type per logical type, and two ways there that give the same values.

| logical | DuckDB |
| --- | --- |
| timestamp in ns, zoned (holding UTC) or naive | TIMESTAMP_NS |
| timestamp in s, ms, us | TIMESTAMP, TIMESTAMP WITH TIME ZONE where zoned |
| duration, time of day in ns | BIGINT, a count of the column's unit: INTERVAL would lose nanoseconds |
| dictionary | the type of its values |
| null | INTEGER |
| half float | FLOAT |
| list of fixed size | ARRAY |
| the rest | as DuckDB names them: TINYINT ... UBIGINT, DECIMAL(p, s), DATE, TIME, BLOB, LIST, STRUCT, MAP |

`to_engine` prepares an Arrow table for DuckDB to scan; `engine_projection` selects the same from Parquet files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pyarrow as pa
from pyarrow import types as kinds

from quantstore.errors import UnsupportedError
from quantstore.stores.column_types import (
    is_list,
    is_nanosecond_time,
    is_nanoseconds,
    is_zoned,
    physical_type,
    remainder_name,
    value_type,
)
from quantstore.stores.conversion import restore, with_values

_NAMES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (kinds.is_boolean, "BOOLEAN"),
    (kinds.is_int8, "TINYINT"),
    (kinds.is_int16, "SMALLINT"),
    (kinds.is_int32, "INTEGER"),
    (kinds.is_int64, "BIGINT"),
    (kinds.is_uint8, "UTINYINT"),
    (kinds.is_uint16, "USMALLINT"),
    (kinds.is_uint32, "UINTEGER"),
    (kinds.is_uint64, "UBIGINT"),
    (kinds.is_float16, "FLOAT"),
    (kinds.is_float32, "FLOAT"),
    (kinds.is_float64, "DOUBLE"),
    (kinds.is_date, "DATE"),
    (kinds.is_duration, "BIGINT"),
    (is_nanosecond_time, "BIGINT"),
    (kinds.is_time, "TIME"),
    (is_nanoseconds, "TIMESTAMP_NS"),
    (is_zoned, "TIMESTAMP WITH TIME ZONE"),
    (kinds.is_timestamp, "TIMESTAMP"),
    (kinds.is_null, "INTEGER"),
    (kinds.is_string, "VARCHAR"),
    (kinds.is_large_string, "VARCHAR"),
    (kinds.is_string_view, "VARCHAR"),
    (kinds.is_binary, "BLOB"),
    (kinds.is_large_binary, "BLOB"),
    (kinds.is_binary_view, "BLOB"),
    (kinds.is_fixed_size_binary, "BLOB"),
)

_DAY_NS = 86_400_000_000_000
_EPOCH = datetime(1970, 1, 1)


def quote(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def engine_type(field: pa.Field) -> str:
    """Return the DuckDB type, as SQL, of a logical column."""
    return _type_name(field.type)


def _type_name(type_: pa.DataType) -> str:
    type_ = value_type(type_)
    if kinds.is_decimal(type_):
        return f"DECIMAL({type_.precision},{type_.scale})"
    if is_list(type_):
        size = type_.list_size if kinds.is_fixed_size_list(type_) else ""
        return f"{_type_name(type_.value_type)}[{size}]"
    if kinds.is_struct(type_):
        return f"STRUCT({', '.join(f'{quote(field.name)} {_type_name(field.type)}' for field in type_)})"
    if kinds.is_map(type_):
        return f"MAP({_type_name(type_.key_type)}, {_type_name(type_.item_type)})"
    name = next((name for matches, name in _NAMES if matches(type_)), None)
    if name is None:
        raise UnsupportedError(f"SQL has no type for {type_}.")
    return name


def to_engine(table: pa.Table) -> pa.Table:
    """Return the table as DuckDB is to scan it; columns it takes as they are share memory."""
    columns = [with_values(column, _scan_type(value_type(column.type))) for column in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _scan_type(type_: pa.DataType) -> pa.DataType:
    """Return the Arrow type DuckDB scans as the engine type; casts to it are free for 64-bit numbers."""
    if kinds.is_timestamp(type_):
        if type_.unit == "ns":
            return pa.timestamp("ns")
        return type_ if type_.tz or type_.unit == "us" else pa.timestamp("us")
    if kinds.is_null(type_) or kinds.is_float16(type_) or kinds.is_duration(type_) or kinds.is_decimal256(type_):
        return physical_type(type_)
    return pa.int64() if is_nanosecond_time(type_) else type_


def engine_projection(schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """Return SQL expressions that select logical columns from `read_parquet` of our files.

    Args:
        schema: Logical schema.
        columns: Names in the order wanted.
    """
    return [f"{_from_parquet(schema.field(name))} AS {quote(name)}" for name in columns]


def widened_projection(kept: pa.Field, wanted: pa.Field) -> str:
    """Return the SQL expression that reads a column of our Parquet files in a wider type than it is kept in.

    Args:
        kept: The column as the file has it.
        wanted: The column as it is to be read; every value of it fits.
    """
    name = _type_name(wanted.type)
    if kinds.is_null(value_type(kept.type)):
        return f"CAST(NULL AS {name})"
    if is_nanoseconds(wanted.type) and not is_nanoseconds(kept.type):
        return f"make_timestamp_ns(epoch_us({quote(kept.name)}) * 1000)"
    expression = _from_parquet(kept)
    return expression if _type_name(kept.type) == name else f"CAST({expression} AS {name})"


def _from_parquet(field: pa.Field) -> str:
    column = quote(field.name)
    if is_nanoseconds(field.type):
        return _join_nanoseconds(column, quote(remainder_name(field.name)), value_type(field.type).tz)
    name = _type_name(field.type)
    return column if name == _type_name(physical_type(field.type)) else f"CAST({column} AS {name})"


def _join_nanoseconds(column: str, remainder: str, zone: str | None) -> str:
    """DuckDB has infinities at either end of the range, where arithmetic would overflow."""
    last = _instant("2262-04-11 23:47:16.854775", zone)
    first = _instant("1677-09-21 00:12:43.145225", zone)
    return (
        f"CASE WHEN {column} = {last} AND {remainder} = 807 THEN 'infinity'::TIMESTAMP_NS"
        f" WHEN {column} < {first} THEN '-infinity'::TIMESTAMP_NS"
        f" ELSE make_timestamp_ns(epoch_us({column}) * 1000 + {remainder}) END"
    )


def _instant(text: str, zone: str | None) -> str:
    return f"TIMESTAMPTZ '{text}+00'" if zone else f"TIMESTAMP '{text}'"


def physical_time_bounds(field: pa.Field, start_ns: int | None, end_ns: int | None) -> tuple[str | None, str | None]:
    """Return SQL literals such that `column >= lower AND column < upper` holds for every row in a time range.

    They compare with the Parquet column itself, so that row groups can be skipped. A nanosecond column can give up to a
    microsecond more at either end.

    Args:
        field: The logical time column: a timestamp or a date.
        start_ns: First nanosecond wanted, None for no bound.
        end_ns: First nanosecond no longer wanted, None for no bound.

    Raises:
        UnsupportedError: The column has no time of its own.
    """
    unit, literal = _DAY_NS, _date_literal
    if kinds.is_timestamp(field.type):
        unit, literal = 1_000, _zoned_literal if field.type.tz else _naive_literal
    elif not kinds.is_date(field.type):
        raise UnsupportedError(f"Column {field.name!r} is {field.type}, not a time.", column=field.name)
    lower = None if start_ns is None else literal(start_ns // unit)
    upper = None if end_ns is None else literal(-(-end_ns // unit))
    return lower, upper


def _date_literal(count: int) -> str:
    return f"DATE '{_EPOCH.date() + timedelta(days=count)}'"


def _naive_literal(count: int) -> str:
    return f"TIMESTAMP '{_EPOCH + timedelta(microseconds=count):%Y-%m-%d %H:%M:%S.%f}'"


def _zoned_literal(count: int) -> str:
    return f"TIMESTAMPTZ '{_EPOCH + timedelta(microseconds=count):%Y-%m-%d %H:%M:%S.%f}+00'"


def from_engine(
    column: pa.Array | pa.ChunkedArray, field: pa.Field, categories: pa.Array | None = None
) -> pa.ChunkedArray:
    """Cast a DuckDB result column, an unchanged copy of a logical column, back to the logical type.

    Args:
        column: What DuckDB returned as Arrow.
        field: The logical column.
        categories: Values of a dictionary column, in order; without, it is encoded in order of appearance.

    Raises:
        IntegrityError: A value is not one of `categories`.
    """
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return restore(chunked, field.type, categories)
