"""Rows before and after a table's columns changed in every way they can, and how all of them must read afterwards."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa

from quantstore.core.tier import ALL_TIERS

TIERS = [tier.value for tier in ALL_TIERS]
ROWS = 6
UTC = dt.UTC


def _dictionary(values, categories, kind, codes=None, *, ordered=False):
    indices = pa.array([None if value is None else categories.index(value) for value in values], codes or pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(categories, kind), ordered=ordered)


def _stamps(unit, zone=None, day=1):
    values = [None if at == 3 else dt.datetime(2020, 2, day, 3, 4, at, tzinfo=zone) for at in range(ROWS)]
    return pa.array(values, pa.timestamp(unit, "UTC" if zone else None))


def _decimals(precision, scale, text):
    return pa.array([None, *[Decimal(text)] * (ROWS - 1)], pa.decimal128(precision, scale))


def _integers(kind, limit):
    return pa.array([limit, None, 0, 1, 2, -limit if "u" not in str(kind) else 3], kind)


WIDENED = {
    "int8_16": (_integers(pa.int8(), 127), _integers(pa.int16(), 32767)),
    "int16_32": (_integers(pa.int16(), 32767), _integers(pa.int32(), 2**31 - 1)),
    "int32_64": (_integers(pa.int32(), 2**31 - 1), _integers(pa.int64(), 2**63 - 1)),
    "uint8_16": (_integers(pa.uint8(), 255), _integers(pa.uint16(), 65535)),
    "uint32_64": (_integers(pa.uint32(), 2**32 - 1), _integers(pa.uint64(), 2**64 - 1)),
    "uint8_int16": (_integers(pa.uint8(), 255), _integers(pa.int16(), 32767)),
    "uint32_int64": (_integers(pa.uint32(), 2**32 - 1), _integers(pa.int64(), 2**63 - 1)),
    "int32_double": (_integers(pa.int32(), 2**31 - 1), pa.array([0.5, None, float("inf"), 1e300, -0.0, 7])),
    "uint16_float": (_integers(pa.uint16(), 65535), pa.array([0.5, None, 1.25, -3, 2, 7], pa.float32())),
    "float_double": (pa.array([0.1, None, 3.0, 4, -0.0, 1e38], pa.float32()), pa.array([0.1, None, 1e300, 1, 2, 3])),
    "decimal": (_decimals(10, 2, "12345678.91"), _decimals(20, 4, "1234567890123456.7891")),
    "decimal_38": (_decimals(38, 0, "9" * 37), _decimals(38, 0, "9" * 38)),
    "seconds_micros": (_stamps("s"), _stamps("us", day=2)),
    "zoned_ms_us": (_stamps("ms", UTC), _stamps("us", UTC, day=2)),
    "string_large": (pa.array([*"abc", None, "é", ""]), pa.array([*"xyz", None, "é", ""], pa.large_string())),
    "binary_large": (pa.array([b"a", None, b"\0", b"", b"c", b"d"]), pa.array([b"z"] * 6, pa.large_binary())),
    "codes": (
        _dictionary("abcaba", ["a", "b", "c"], pa.string(), pa.int8()),
        _dictionary("bcdbdd", ["b", "c", "d"], pa.large_string(), pa.int32()),
    ),
    "grade": (
        _dictionary(["lo", "hi", None, "lo", "hi", "hi"], ["lo", "hi"], pa.string(), ordered=True),
        _dictionary(["top", "lo", None, "mid", "hi", "hi"], ["lo", "hi", "mid", "top"], pa.string(), ordered=True),
    ),
    "nothing": (pa.nulls(ROWS), pa.array([1.5, None, 2, 3, 4, 5])),
}  # fmt: skip

ADDED = {
    "venue": pa.array(["X", None, "Y", "X", "Y", "Z"]),
    "flag": pa.array([True, None, False, True, False, True]),
    "tiny": pa.array([1, None, 3, 4, 5, 6], pa.uint8()),
    "score": pa.array([0.5, None, float("nan"), 1, 2, 3]),
    "seen": pa.array([0, None, 1, 2, 3, 999_999_999_999_999_999], pa.timestamp("ns", "America/New_York")),
    "day": pa.array([dt.date(2020, 1, 1), None] * 3),
    "amount": pa.array([Decimal("1.25"), None] * 3, pa.decimal128(9, 2)),
    "legs": pa.array([[1, 2], None, [], [3], [4], [5]], pa.list_(pa.int64())),
    "quote": pa.array([{"bid": 1.5, "ask": 2.5}, None] * 3),
    "kind": _dictionary(["p", None, "q", "q", "p", "p"], ["p", "q"], pa.string()),
    "size": _dictionary(["S", "L", None, "L", "S", "S"], ["S", "M", "L"], pa.string(), ordered=True),
    "lag": pa.array([1, None, 3, 4, 5, 6], pa.duration("ms")),
}


def _table(day, unit, columns):
    stamps = [dt.datetime(2026, 1, day, 14, 30, at // 2, tzinfo=UTC) for at in range(ROWS)]  # ties, two by two
    rows = {"ts": pa.array(stamps, pa.timestamp(unit, "UTC")), "symbol": pa.array(["A", "B"] * (ROWS // 2))}
    return pa.table(rows | columns)


BEFORE = _table(5, "us", {name: before for name, (before, _) in WIDENED.items()})
AFTER = _table(6, "ns", {name: after for name, (_, after) in WIDENED.items()} | ADDED)
OVERLAP = _table(5, "ns", {name: after for name, (_, after) in WIDENED.items()} | ADDED)
"""As `AFTER`, at the event times of `BEFORE`."""


def grown(table, schema):
    """Return rows with every column of a schema: what they lack is null, what is narrower is cast."""
    columns = []
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        there = field.name in table.column_names
        columns.append(table[field.name].cast(kind) if there else pa.nulls(table.num_rows, kind))
    return pa.Table.from_arrays(columns, names=schema.names)


def values(table):
    """Return rows as plain values that compare: stamps as integers, NaN as text, categories as what they stand for."""
    columns = {}
    for field in table.schema:
        column = table[field.name]
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        if pa.types.is_duration(column.type):
            column = column.cast(pa.duration("ms")).cast(pa.int64())
        columns[field.name] = [repr(value) for value in column.to_pylist()]
    return columns


WHOLE = pa.concat_tables([grown(BEFORE, AFTER.schema), grown(AFTER, AFTER.schema)])
