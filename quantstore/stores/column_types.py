"""Which logical types can be kept in every tier, and the Parquet type each is kept as.

The Parquet types are those of Iceberg v2, so that any reader of it takes our files: boolean, int, long, float,
double, decimal (to 38 digits), date, time and timestamp in microseconds, string, binary, fixed, struct, list and map.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count

import pyarrow as pa
from pyarrow import types as kinds

from quantstore.core.segment import SEQ
from quantstore.errors import UnsupportedError

REMAINDER_PREFIX = "__ns_"
FIELD_ID = b"PARQUET:field_id"
FIELD_IDS = b"quantstore.field_ids"
"""Schema metadata: JSON object of Parquet paths and the field ids to write, for tables whose columns changed."""

UTC = "UTC"
MAX_PRECISION = 38
MAX_ARRAY_SIZE = 100_000


def value_type(type_: pa.DataType) -> pa.DataType:
    """Return the type of the values: a dictionary's value type, else the type itself."""
    return type_.value_type if kinds.is_dictionary(type_) else type_


def is_nanoseconds(type_: pa.DataType) -> bool:
    """Whether values are nanosecond timestamps, which Parquet keeps as microseconds and a remainder."""
    values = value_type(type_)
    return bool(kinds.is_timestamp(values) and values.unit == "ns")


def is_zoned(type_: pa.DataType) -> bool:
    """Whether values are timestamps with a zone."""
    values = value_type(type_)
    return bool(kinds.is_timestamp(values) and values.tz is not None)


def is_nanosecond_time(type_: pa.DataType) -> bool:
    """Whether values are times of day in nanoseconds, which Parquet keeps as a count."""
    return bool(kinds.is_time64(type_) and type_.unit == "ns")


_PLAIN: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (kinds.is_boolean, pa.bool_()),
    (kinds.is_int8, pa.int32()),
    (kinds.is_int16, pa.int32()),
    (kinds.is_int32, pa.int32()),
    (kinds.is_int64, pa.int64()),
    (kinds.is_uint8, pa.int32()),
    (kinds.is_uint16, pa.int32()),
    (kinds.is_uint32, pa.int64()),
    (kinds.is_uint64, pa.decimal128(20, 0)),
    (kinds.is_float16, pa.float32()),
    (kinds.is_float32, pa.float32()),
    (kinds.is_float64, pa.float64()),
    (kinds.is_date, pa.date32()),
    (is_nanosecond_time, pa.int64()),
    (kinds.is_time32, pa.time64("us")),
    (kinds.is_time64, pa.time64("us")),
    (kinds.is_duration, pa.int64()),
    (kinds.is_string, pa.string()),
    (kinds.is_large_string, pa.string()),
    (kinds.is_string_view, pa.string()),
    (kinds.is_binary, pa.binary()),
    (kinds.is_large_binary, pa.binary()),
    (kinds.is_binary_view, pa.binary()),
    (kinds.is_null, pa.int32()),
)

_PLAIN_NESTED: tuple[Callable[[pa.DataType], bool], ...] = (
    kinds.is_boolean,
    kinds.is_signed_integer,
    kinds.is_float32,
    kinds.is_float64,
    kinds.is_date32,
    kinds.is_string,
    kinds.is_large_string,
    kinds.is_binary,
    kinds.is_large_binary,
    kinds.is_decimal128,
)


def remainder_name(column: str) -> str:
    """Return the Parquet column holding the nanoseconds (0 to 999) that `column` loses in microseconds."""
    return REMAINDER_PREFIX + column


def is_list(type_: pa.DataType) -> bool:
    """Whether the type is one of the three kinds of list that can be kept."""
    return bool(kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_))


def check_schema(schema: pa.Schema) -> None:
    """Check that every column can be kept in every tier.

    Raises:
        UnsupportedError: Some cannot; the message names each with its reason.
    """
    reasons = {field.name: reason for field in schema if (reason := _refusal(field)) is not None}
    if reasons:
        listed = "; ".join(f"{name!r} {reason}" for name, reason in reasons.items())
        raise UnsupportedError(f"These columns cannot be kept: {listed}.", columns=list(reasons))


def _refusal(field: pa.Field) -> str | None:
    if not field.name:
        return "has no name; give it one"
    if field.name.lower().startswith(REMAINDER_PREFIX):
        return f"starts with the reserved prefix {REMAINDER_PREFIX!r}; rename it"
    type_ = field.type
    if kinds.is_nested(type_):
        return _nested_refusal(type_)
    if kinds.is_dictionary(type_):
        type_ = type_.value_type
        if kinds.is_nested(type_) or kinds.is_dictionary(type_) or kinds.is_null(type_):
            return f"is a dictionary of {type_}; decode it"
    return _scalar_refusal(type_)


def _scalar_refusal(type_: pa.DataType) -> str | None:
    if kinds.is_decimal(type_):
        if type_.precision > MAX_PRECISION:
            return f"is {type_}; decimals have at most {MAX_PRECISION} digits"
        if not 0 <= type_.scale <= type_.precision:
            return f"is {type_}; the scale must lie between 0 and the precision"
        return None
    if kinds.is_fixed_size_binary(type_):
        return None if type_.byte_width > 0 else f"is {type_}; use binary"
    if kinds.is_timestamp(type_):
        return None
    return None if any(matches(type_) for matches, _ in _PLAIN) else f"is {type_}"


def _nested_refusal(type_: pa.DataType) -> str | None:
    """Nothing inside a nesting is split or re-encoded, so fewer types can be kept there."""
    if is_list(type_):
        if kinds.is_fixed_size_list(type_) and not 1 <= type_.list_size <= MAX_ARRAY_SIZE:
            return f"holds {type_}; fixed lists have 1 to {MAX_ARRAY_SIZE} elements"
        return _inner_refusal(type_.value_type)
    if kinds.is_map(type_):
        return _inner_refusal(type_.key_type) or _inner_refusal(type_.item_type)
    if kinds.is_struct(type_):
        names = [field.name.lower() for field in type_]
        if not names or "" in names or len(set(names)) < len(names):
            return f"holds {type_}; the fields of a struct need distinct names, letter case aside"
        return next((reason for field in type_ if (reason := _inner_refusal(field.type))), None)
    return f"is {type_}"


def _inner_refusal(type_: pa.DataType) -> str | None:
    if kinds.is_nested(type_):
        return _nested_refusal(type_)
    if kinds.is_decimal128(type_):
        reason = _scalar_refusal(type_)
        return reason and f"holds a value that {reason}"
    if kinds.is_timestamp(type_) and type_.unit == "us":
        return None
    return None if any(matches(type_) for matches in _PLAIN_NESTED) else f"holds {type_} inside a nested type"


def physical_type(type_: pa.DataType) -> pa.DataType:
    """Return the Parquet type (as an Arrow type) a checked logical type is kept as."""
    type_ = value_type(type_)
    if kinds.is_nested(type_):
        return _nested_physical_type(type_)
    if kinds.is_timestamp(type_):
        return pa.timestamp("us", UTC if type_.tz else None)
    if kinds.is_decimal(type_):
        return pa.decimal128(type_.precision, type_.scale)
    return next((physical for matches, physical in _PLAIN if matches(type_)), type_)


def _nested_physical_type(type_: pa.DataType) -> pa.DataType:
    if is_list(type_):
        return pa.list_(pa.field("element", physical_type(type_.value_type)))
    if kinds.is_map(type_):
        return pa.map_(physical_type(type_.key_type), physical_type(type_.item_type))
    return pa.struct([pa.field(field.name, physical_type(field.type)) for field in type_])


def physical_schema(schema: pa.Schema) -> pa.Schema:
    """Return the Parquet schema of a checked logical schema, with field ids.

    The columns come first, in order, then the remainders of the nanosecond ones, and `_seq` last: other engines know
    nothing of it, and some miss what comes after a column they do not know. Ids number the columns from 1, then
    the parts of nested ones, as Iceberg numbers a new table; `FIELD_IDS` in the schema's metadata overrides them by
    path.
    """
    fields = [pa.field(field.name, physical_type(field.type)) for field in schema]
    fields += [pa.field(remainder_name(field.name), pa.int32()) for field in schema if is_nanoseconds(field.type)]
    fields.sort(key=lambda field: field.name == SEQ)
    given: dict[str, int] = json.loads((schema.metadata or {}).get(FIELD_IDS, b"{}"))
    return pa.schema(_number("", fields, given, count(max(given.values(), default=0) + 1)))


def keep_field_ids(schema: pa.Schema, older: pa.Schema) -> pa.Schema:
    """Return `schema` with the field ids of an older form of the same table.

    New columns take fresh ones, and so do columns whose new type Iceberg cannot read the older files as.
    """
    newer, known = physical_schema(schema), physical_schema(older)
    kept = [one for one in known if is_promotable(one.type, newer.field(one.name).type)]
    names = {one.name for one in kept}
    free = count(max((number for _, number in _field_ids("", list(known))), default=0) + 1)
    fresh = _number("", [one for one in newer if one.name not in names], {}, free)
    ids = dict(_field_ids("", [*kept, *fresh]))
    return schema.with_metadata({**(schema.metadata or {}), FIELD_IDS: json.dumps(ids)})


def is_promotable(older: pa.DataType, newer: pa.DataType) -> bool:
    """Whether Iceberg reads a stored type as another: int as long, float as double, a decimal with more digits."""
    if older == newer:
        return True
    if kinds.is_decimal(older) and kinds.is_decimal(newer):
        return bool(older.scale == newer.scale and older.precision <= newer.precision)
    return (older, newer) in {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}


def _field_ids(prefix: str, fields: list[pa.Field]) -> Iterator[tuple[str, int]]:
    for field in fields:
        path, type_ = f"{prefix}{field.name}", field.type
        yield path, int(field.metadata[FIELD_ID])
        parts = [type_.field(number) for number in range(type_.num_fields)]
        if kinds.is_map(type_):
            parts = [type_.key_field, type_.item_field]
        yield from _field_ids(f"{path}.", parts)


def _number(prefix: str, fields: list[pa.Field], given: dict[str, int], free: Iterator[int]) -> list[pa.Field]:
    """Give ids to a level, then to the levels below: the order in which Iceberg assigns fresh ones."""
    paths = [f"{prefix}{field.name}" for field in fields]
    ids = [given[path] if path in given else next(free) for path in paths]
    return [
        pa.field(field.name, _number_type(f"{path}.", field.type, given, free), field.nullable, {FIELD_ID: str(id_)})
        for path, field, id_ in zip(paths, fields, ids, strict=True)
    ]


def _number_type(prefix: str, type_: pa.DataType, given: dict[str, int], free: Iterator[int]) -> pa.DataType:
    if kinds.is_list(type_):
        return pa.list_(_number(prefix, [type_.value_field], given, free)[0])
    if kinds.is_map(type_):
        return pa.map_(*_number(prefix, [type_.key_field, type_.item_field], given, free))
    if kinds.is_struct(type_):
        return pa.struct(_number(prefix, list(type_), given, free))
    return type_
