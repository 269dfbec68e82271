"""Tables that hold every type and value the stores promise to keep."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE, Partition
from quantstore.stores.base import TableLayout

PARTITION = Partition(date(2024, 3, 15), "EQUITY")
FIRST_NS = 1_710_500_000_000_000_000
EVERY_PLANE = "".join(chr(plane * 0x10000 + 0x0234) for plane in range(17))
NON_CHARACTERS = "\ufffe\uffff\ufdd0\U0001ffff\U0010fffe"
STRINGS = ["", "a", EVERY_PLANE, NON_CHARACTERS, "\0in the middle\0", "line\nbreak 'quoted' \"twice\"", None, "ß"]
ROWS = len(STRINGS)


def dictionary(
    codes: list[int | None], values: pa.Array, index_type: pa.DataType, *, ordered: bool = False
) -> pa.DictionaryArray:
    """Build a dictionary array whose categories need not all be used."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, index_type), values, ordered=ordered)


def _integers(type_: pa.DataType, low: int, high: int) -> pa.Array:
    return pa.array([low, high, None, 0, 1, high - 1, low + 1, None], type_)


def _numbers() -> dict[str, pa.Array]:
    floats = [1.5, float("nan"), None, -0.0, 0.0, float("inf"), float("-inf"), 5e-324]
    return {
        "int8": _integers(pa.int8(), -(2**7), 2**7 - 1),
        "int16": _integers(pa.int16(), -(2**15), 2**15 - 1),
        "int32": _integers(pa.int32(), -(2**31), 2**31 - 1),
        "int64": _integers(pa.int64(), -(2**63), 2**63 - 1),
        "uint8": _integers(pa.uint8(), 0, 2**8 - 1),
        "uint16": _integers(pa.uint16(), 0, 2**16 - 1),
        "uint32": _integers(pa.uint32(), 0, 2**32 - 1),
        "uint64": _integers(pa.uint64(), 0, 2**64 - 1),
        "half": pa.array([*floats[:7], 6e-8], pa.float32()).cast(pa.float16()),
        "single": pa.array([*floats[:7], 1e-45], pa.float32()),
        "double": pa.array(floats, pa.float64()),
        "price": pa.array([None if n is None else Decimal(n).scaleb(-6) for n in _PRICES], pa.decimal128(18, 6)),
        "wide": pa.array([_HUGE, -_HUGE, None, *map(Decimal, range(5))], pa.decimal128(38, 0)),
        "small_decimal": pa.array([Decimal("1.25"), None, *[Decimal("-9.99")] * 6], pa.decimal32(5, 2)),
        "wide_decimal": pa.array([Decimal("1.25"), None, *[Decimal("-9.99")] * 6], pa.decimal256(38, 2)),
        "flag": pa.array([True, False, None, True, True, False, None, False]),
        "nothing": pa.nulls(ROWS),
    }


_HUGE = Decimal(10) ** 37
_PRICES = [1, -1, None, 999_999_999_999_999_999, 0, 100_250_000, -100_250_000, 7]


def _times() -> dict[str, pa.Array]:
    nanoseconds = [0, 1, -1, None, FIRST_NS + 123, -1_000_000_000_000_000_001, 2**63 - 1, -(2**63) + 1]
    microseconds = [0, 1, -1, None, FIRST_NS // 1000, -62_135_596_800_000_000, 253_402_300_799_999_999, -1_000_001]
    seconds = [0, 1, -1, None, FIRST_NS // 10**9, -62_135_596_800, 253_402_300_799, 3]
    days = [0, 1, -1, None, 19_797, -719_162, 2_932_896, 2]
    return {
        "ns_utc": pa.array(nanoseconds, pa.timestamp("ns", "UTC")),
        "ns_naive": pa.array(nanoseconds, pa.timestamp("ns")),
        "ns_new_york": pa.array(nanoseconds, pa.timestamp("ns", "America/New_York")),
        "us_naive": pa.array(microseconds, pa.timestamp("us")),
        "us_tokyo": pa.array(microseconds, pa.timestamp("us", "Asia/Tokyo")),
        "ms_naive": pa.array(seconds, pa.timestamp("ms")),
        "ms_utc": pa.array(seconds, pa.timestamp("ms", "UTC")),
        "s_naive": pa.array(seconds, pa.timestamp("s")),
        "s_offset": pa.array(seconds, pa.timestamp("s", "+05:30")),
        "day": pa.array(days, pa.date32()),
        "day64": pa.array([None if n is None else n * 86_400_000 for n in days], pa.date64()),
        "time_s": pa.array([0, 86_399, None, *range(5)], pa.time32("s")),
        "time_ms": pa.array([0, 86_399_999, None, *range(5)], pa.time32("ms")),
        "time_us": pa.array([0, 86_399_999_999, None, *range(5)], pa.time64("us")),
        "time_ns": pa.array([0, 86_399_999_999_999, None, *range(5)], pa.time64("ns")),
        "wait_ns": pa.array([0, -1, None, 2**63 - 1, 5, 6, 7, 8], pa.duration("ns")),
        "wait_s": pa.array([0, -1, None, 10**12, 5, 6, 7, 8], pa.duration("s")),
    }


def _texts() -> dict[str, pa.Array]:
    blobs = [b"", b"\0", b"\xff\xfe", None, b"abc", b"x" * 300, b"\x80", b"y"]
    letters = pa.array(["z", "unused", "a", "", EVERY_PLANE])
    codes = [0, 2, None, 3, 4, 0, 2, 2]
    return {
        "text": pa.array(STRINGS, pa.string()),
        "long_text": pa.array(STRINGS, pa.large_string()),
        "text_view": pa.array([*STRINGS[:-1], "longer than twelve bytes"], pa.string_view()),
        "blob": pa.array(blobs, pa.binary()),
        "long_blob": pa.array(blobs, pa.large_binary()),
        "blob_view": pa.array(blobs, pa.binary_view()),
        "fixed": pa.array([b"ab", b"\0\0", None, *[b"zz"] * 5], pa.binary(2)),
        "category": dictionary(codes, letters, pa.int8()),
        "grade": dictionary(codes, letters, pa.int32(), ordered=True),
        "wide_codes": dictionary(codes, letters.cast(pa.large_string()), pa.uint32()),
        "view_category": dictionary(codes, letters.cast(pa.string_view()), pa.int16()),
        "lot": dictionary(codes, pa.array([100, 5, 10, 1, 2]), pa.int8()),
        "stamp_category": dictionary(codes, pa.array([-1, 5, 1_001, 3, 4], pa.timestamp("ns", "UTC")), pa.int8()),
    }


def _nested() -> dict[str, pa.Array]:
    lists: list[Any] = [[1.5, None, float("nan")], [], None, [-0.0], [1.0], [2.0], [3.0, 4.0], [5.0]]
    structs: list[Any] = [{"a": 1, "b b": "x"}, {"a": None, "b b": None}, None, *[{"a": -5, "b b": ""}] * 5]
    deep = pa.struct([("n", pa.list_(pa.struct([("k", pa.int16()), ("at", pa.timestamp("us", "Europe/Paris"))])))])
    depth = {"n": [{"k": 1, "at": 5}, None, {"k": None, "at": None}]}
    return {
        "levels": pa.array(lists, pa.list_(pa.float64())),
        "large_levels": pa.array([None, [1, None], *[[2]] * 6], pa.large_list(pa.int8())),
        "pair": pa.array([[1.0, None], None, *[[3.0, 4.0]] * 6], pa.list_(pa.float64(), 2)),
        "record": pa.array(structs, pa.struct([("a", pa.int8()), ("b b", pa.string())])),
        "deep": pa.array([depth, {"n": []}, {"n": None}, None, *[depth] * 4], deep),
        "tags": pa.array([[("k", 1), ("l", None)], None, *[[]] * 6], pa.map_(pa.string(), pa.int64())),
        "money": pa.array([[Decimal("1.25")], None, *[[]] * 6], pa.list_(pa.decimal128(10, 2))),
    }


def types_table() -> pa.Table:
    """Return eight rows with a column of every type, sorted by `ts`, without hidden columns."""
    time = pa.array([FIRST_NS + n for n in range(ROWS)], pa.timestamp("ns", "UTC"))
    return pa.table({"ts": time, "symbol": ["A"] * ROWS, **_numbers(), **_times(), **_texts(), **_nested()})


def layout_of(table: pa.Table, time: str = "ts", symbol: str | None = "symbol") -> TableLayout:
    """Return the layout of a table with the given columns."""
    hidden = [(TRADE_DATE, pa.date32()), (ASSET_CLASS, pa.string()), (SEQ, pa.int64())]
    fields = [pa.field(*field) for field in hidden if field[0] not in table.column_names]
    return TableLayout(pa.schema([*table.schema, *fields]), time, symbol)


def with_hidden(table: pa.Table, layout: TableLayout, seq_base: int = 0) -> pa.Table:
    """Return what a store should answer for rows written without hidden columns."""
    rows = table.num_rows
    hidden = {
        TRADE_DATE: pa.array([PARTITION.trade_date] * rows, pa.date32()),
        ASSET_CLASS: pa.array([PARTITION.asset_class] * rows, pa.string()),
        SEQ: pa.array(range(seq_base, seq_base + rows), pa.int64()),
    }
    columns = [table.column(n) if n in table.column_names else hidden[n] for n in layout.schema.names]
    return pa.Table.from_arrays(columns, schema=layout.schema)


def ticks(rows: int, symbols: int = 4, *, by_symbol: bool = False, unit: str = "ns") -> pa.Table:
    """Return a second per row and symbols in turn, sorted by time, or by symbol and time."""
    number = np.arange(rows)
    table = pa.table(
        {
            "ts": pa.array(FIRST_NS // 10**9 + number).cast(pa.timestamp("s")).cast(pa.timestamp(unit, "UTC")),
            "symbol": pa.array([f"S{n:02d}" for n in range(symbols)]).take(pa.array(number % symbols)),
            "price": number * 0.25,
            "size": number,
        }
    )
    order = [("symbol", "ascending"), ("ts", "ascending")] if by_symbol else [("ts", "ascending")]
    return table.sort_by(order).append_column(SEQ, pa.array(number)) if by_symbol else table.sort_by(order)


def identical(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables agree in names, types, categories and every bit, NaN and the sign of zero included."""
    return left.schema.equals(right.schema) and [_shown(c) for c in left.columns] == [_shown(c) for c in right.columns]


def _shown(column: pa.ChunkedArray) -> str:
    """Return text that differs wherever values do; times as numbers, as Python has none before the year 1."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        whole = (column if column.num_chunks < 2 else column.unify_dictionaries()).combine_chunks()
        return repr(whole.indices.to_pylist()) + _shown(pa.chunked_array([whole.dictionary]))
    if pa.types.is_timestamp(type_) or pa.types.is_duration(type_) or pa.types.is_time64(type_):
        column = column.cast(pa.int64())
    return repr(column.to_pylist())
