"""One mapping for all tiers: what is refused, what Parquet holds, and that SQL sees the same from either side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantstore.errors import IntegrityError, InvalidInputError, UnsupportedError
from quantstore.stores import physical
from quantstore.testing.tables import dictionary, identical, layout_of, ticks, types_table

NS = pa.timestamp("ns")
NEW_YORK = pa.timestamp("ns", "America/New_York")
ZONED = "TIMESTAMP WITH TIME ZONE"
MIN_NS = -(2**63) + 1
MAX_NS = 2**63 - 1

MAPPING: list[tuple[pa.DataType, pa.DataType, str]] = [
    (pa.bool_(), pa.bool_(), "BOOLEAN"),
    (pa.int8(), pa.int32(), "TINYINT"),
    (pa.int16(), pa.int32(), "SMALLINT"),
    (pa.int32(), pa.int32(), "INTEGER"),
    (pa.int64(), pa.int64(), "BIGINT"),
    (pa.uint8(), pa.int32(), "UTINYINT"),
    (pa.uint16(), pa.int32(), "USMALLINT"),
    (pa.uint32(), pa.int64(), "UINTEGER"),
    (pa.uint64(), pa.decimal128(20, 0), "UBIGINT"),
    (pa.float16(), pa.float32(), "FLOAT"),
    (pa.float32(), pa.float32(), "FLOAT"),
    (pa.float64(), pa.float64(), "DOUBLE"),
    (pa.decimal32(9, 2), pa.decimal128(9, 2), "DECIMAL(9,2)"),
    (pa.decimal64(18, 2), pa.decimal128(18, 2), "DECIMAL(18,2)"),
    (pa.decimal128(38, 38), pa.decimal128(38, 38), "DECIMAL(38,38)"),
    (pa.decimal256(38, 0), pa.decimal128(38, 0), "DECIMAL(38,0)"),
    (pa.date32(), pa.date32(), "DATE"),
    (pa.date64(), pa.date32(), "DATE"),
    (pa.time32("s"), pa.time64("us"), "TIME"),
    (pa.time32("ms"), pa.time64("us"), "TIME"),
    (pa.time64("us"), pa.time64("us"), "TIME"),
    (pa.time64("ns"), pa.int64(), "BIGINT"),
    (pa.duration("s"), pa.int64(), "BIGINT"),
    (pa.duration("ns"), pa.int64(), "BIGINT"),
    (pa.timestamp("s"), pa.timestamp("us"), "TIMESTAMP"),
    (pa.timestamp("ms"), pa.timestamp("us"), "TIMESTAMP"),
    (pa.timestamp("us"), pa.timestamp("us"), "TIMESTAMP"),
    (NS, pa.timestamp("us"), "TIMESTAMP_NS"),
    (pa.timestamp("s", "UTC"), pa.timestamp("us", "UTC"), ZONED),
    (pa.timestamp("ms", "Asia/Tokyo"), pa.timestamp("us", "UTC"), ZONED),
    (pa.timestamp("us", "+01:00"), pa.timestamp("us", "UTC"), ZONED),
    (NEW_YORK, pa.timestamp("us", "UTC"), "TIMESTAMP_NS"),
    (pa.string(), pa.string(), "VARCHAR"),
    (pa.large_string(), pa.string(), "VARCHAR"),
    (pa.string_view(), pa.string(), "VARCHAR"),
    (pa.binary(), pa.binary(), "BLOB"),
    (pa.large_binary(), pa.binary(), "BLOB"),
    (pa.binary_view(), pa.binary(), "BLOB"),
    (pa.binary(4), pa.binary(4), "BLOB"),
    (pa.null(), pa.int32(), "INTEGER"),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), "VARCHAR"),
    (pa.dictionary(pa.uint32(), pa.large_string(), ordered=True), pa.string(), "VARCHAR"),
    (pa.dictionary(pa.int8(), pa.int16()), pa.int32(), "SMALLINT"),
    (pa.dictionary(pa.int8(), NEW_YORK), pa.timestamp("us", "UTC"), "TIMESTAMP_NS"),
    (pa.list_(pa.int8()), pa.list_(pa.field("element", pa.int32())), "TINYINT[]"),
    (pa.large_list(pa.float64()), pa.list_(pa.field("element", pa.float64())), "DOUBLE[]"),
    (pa.list_(pa.float32(), 3), pa.list_(pa.field("element", pa.float32())), "FLOAT[3]"),
    (pa.struct([("a", pa.int16())]), pa.struct([("a", pa.int32())]), 'STRUCT("a" SMALLINT)'),
    (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int32()), "MAP(VARCHAR, TINYINT)"),
]

REFUSED: dict[str, pa.DataType] = {
    "dense_union": pa.dense_union([pa.field("a", pa.int8())]),
    "sparse_union": pa.sparse_union([pa.field("a", pa.int8())]),
    "run_ends": pa.run_end_encoded(pa.int32(), pa.int64()),
    "interval": pa.month_day_nano_interval(),
    "decimal_39": pa.decimal256(39, 2),
    "negative_scale": pa.decimal128(10, -2),
    "scale_above_precision": pa.decimal128(3, 5),
    "uuid": pa.uuid(),
    "list_view": pa.list_view(pa.int8()),
    "no_bytes": pa.binary(0),
    "list_of_ns": pa.list_(NS),
    "list_of_ms": pa.list_(pa.timestamp("ms")),
    "list_of_uint64": pa.list_(pa.uint64()),
    "list_of_dictionary": pa.list_(pa.dictionary(pa.int8(), pa.string())),
    "list_of_null": pa.list_(pa.null()),
    "list_of_half": pa.list_(pa.float16()),
    "list_of_uuid": pa.list_(pa.uuid()),
    "list_of_wide_decimal": pa.list_(pa.decimal256(39, 2)),
    "list_of_scaled": pa.list_(pa.decimal128(3, 5)),
    "list_of_nothing": pa.list_(pa.int8(), 0),
    "struct_of_duration": pa.struct([("a", pa.int8()), ("b", pa.duration("ns"))]),
    "struct_without_fields": pa.struct([]),
    "struct_with_clash": pa.struct([("a", pa.int8()), ("A", pa.int8())]),
    "struct_without_name": pa.struct([("", pa.int8())]),
    "map_to_ns": pa.map_(pa.string(), NS),
    "map_from_uint64": pa.map_(pa.uint64(), pa.string()),
    "deep": pa.list_(pa.struct([("a", pa.map_(pa.string(), pa.list_(NS)))])),
    "dictionary_of_lists": pa.dictionary(pa.int8(), pa.list_(pa.int8())),
    "dictionary_of_null": pa.dictionary(pa.int8(), pa.null()),
    "dictionary_of_interval": pa.dictionary(pa.int8(), pa.month_day_nano_interval()),
    "__ns_ts": pa.int64(),
    "__NS_x": pa.int64(),
    "": pa.int64(),
}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET GLOBAL TimeZone = 'UTC'")
        yield opened


@pytest.fixture(scope="module")
def types_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("physical") / "types.parquet"
    table = types_table()
    pq.write_table(physical.to_physical(table, table.schema), path, store_schema=False)
    return path


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    return connection.sql(sql).to_arrow_table()


# What is refused


def test_every_refused_column_is_named_at_once() -> None:
    """One error names all columns that cannot be kept, and none that can."""
    schema = pa.schema([("fine", pa.int64()), *REFUSED.items()])
    with pytest.raises(UnsupportedError) as caught:
        physical.check_schema(schema)
    assert caught.value.context["columns"] == list(REFUSED)
    assert all(repr(name) in str(caught.value) for name in REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_each_type_is_refused_alone(name: str) -> None:
    """No refusal hides behind another."""
    with pytest.raises(UnsupportedError):
        physical.check_schema(pa.schema([(name, REFUSED[name])]))


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([-(2**63)], NS),
        ([MIN_NS + 1, 5], NEW_YORK),
        ([-9_223_372_036_854_775_001], NS),
        ([-(2**63)], pa.timestamp("us")),
        ([2**62], pa.timestamp("s")),
        ([-(2**62)], pa.timestamp("ms", "UTC")),
        ([86_400_001], pa.date64()),
    ],
    ids=str,
)
def test_values_that_cannot_be_kept_are_refused(values: list[int], type_: pa.DataType) -> None:
    """Such values are refused by column, plain or as categories."""
    array = pa.array(values, pa.int64()).cast(type_)
    for column in (array, dictionary([0], array, pa.int8())):
        table = pa.table({"fine": pa.array([1] * len(column)), "at": column})
        for check in (physical.check_values, lambda table: physical.to_physical(table, table.schema)):
            with pytest.raises(InvalidInputError, match="'at'"):
                check(table)


@pytest.mark.parametrize("value", [MIN_NS, MAX_NS, -9_223_372_036_854_775_000, 0, None])
def test_the_ends_of_time_are_kept(value: int | None) -> None:
    """The infinities, which pandas calls Timestamp.min and Timestamp.max, and the first full microsecond."""
    table = pa.table({"at": pa.array([value], NS)})
    physical.check_values(table)
    assert identical(physical.from_physical(physical.to_physical(table, table.schema), table.schema), table)


# What Parquet holds


@pytest.mark.parametrize(("logical", "stored", "engine"), MAPPING, ids=str)
def test_types_map_as_documented(logical: pa.DataType, stored: pa.DataType, engine: str) -> None:
    """Each type is accepted, and has one Parquet type and one DuckDB type."""
    schema = pa.schema([("c", logical)])
    physical.check_schema(schema)
    assert physical.physical_schema(schema).field("c").type == stored
    assert physical.engine_type(schema.field("c")) == engine


def test_remainders_follow_the_columns() -> None:
    """Nanosecond columns have a hidden one each, after all others."""
    schema = pa.schema([("a", NS), ("b", pa.int8()), ("c", NEW_YORK), ("d", pa.timestamp("us"))])
    names = ["a", "b", "c", "d", "__ns_a", "__ns_c"]
    assert physical.physical_schema(schema).names == names
    assert physical.physical_columns(schema, ["c", "b"]) == ["c", "b", "__ns_c"]
    assert physical.remainder_name("a") == "__ns_a"


def _ids(field: pa.Field) -> Any:
    type_ = field.type
    inner = [type_.field(index) for index in range(type_.num_fields)]
    if pa.types.is_map(type_):
        inner = [type_.key_field, type_.item_field]
    return int(field.metadata[b"PARQUET:field_id"]), [_ids(child) for child in inner]


def test_field_ids_number_columns_then_their_parts() -> None:
    """Iceberg gives fresh ids level by level; ours are the same."""
    schema = pa.schema([("a", pa.list_(pa.int8())), ("b", pa.map_(pa.string(), pa.list_(pa.int8()))), ("c", NS)])
    found = [_ids(field) for field in physical.physical_schema(schema)]
    assert found == [(1, [(5, [])]), (2, [(6, []), (7, [(8, [])])]), (3, []), (4, [])]


def test_field_ids_can_be_given() -> None:
    """A table whose columns changed keeps the ids it has; new paths take the next free ones."""
    given_ids = {"b": 2, "c": 9, "a.element": 4}
    schema = pa.schema([("a", pa.list_(pa.int8())), ("b", pa.int8()), ("c", NS)])
    schema = schema.with_metadata({physical.FIELD_IDS: json.dumps(given_ids)})
    assert [_ids(field) for field in physical.physical_schema(schema)] == [(10, [(4, [])]), (2, []), (9, []), (11, [])]


def test_field_ids_are_kept_when_columns_come() -> None:
    """Also those of parts of nested columns and of remainders; a column that comes later takes none of them."""
    older = pa.schema([("a", pa.list_(pa.int8())), ("b", NS), ("hidden", pa.int64())])
    newer = pa.schema([("a", pa.list_(pa.int8())), ("b", NS), ("new", NS), ("hidden", pa.int64())])
    newest = pa.schema([*newer, pa.field("last", pa.map_(pa.string(), pa.int8()))])
    second = physical.keep_field_ids(newer, older)
    third = physical.keep_field_ids(newest, second)
    assert _named_ids(older) == {"a": (1, [(5, [])]), "b": (2, []), "hidden": (3, []), "__ns_b": (4, [])}
    assert _named_ids(second) == _named_ids(older) | {"new": (6, []), "__ns_new": (7, [])}
    assert _named_ids(third) == _named_ids(second) | {"last": (8, [(9, []), (10, [])])}


def _named_ids(schema: pa.Schema) -> dict[str, Any]:
    return {field.name: _ids(field) for field in physical.physical_schema(schema)}


def test_physical_rows_are_as_documented() -> None:
    """Microseconds round down, before 1970 too, and the remainder is never negative."""
    table = pa.table(
        {"at": pa.array([1_001, -1, None, -1_000, -1_001], NEW_YORK), "n": pa.array([2**64 - 1] * 5, "uint64")}
    )
    stored = physical.to_physical(table, table.schema)
    assert stored["at"].cast(pa.int64()).to_pylist() == [1, -1, None, -1, -2]
    assert stored["__ns_at"].to_pylist() == [1, 999, None, 0, 999]
    assert stored["n"].to_pylist() == [Decimal(2**64 - 1)] * 5


def test_unchanged_columns_share_memory() -> None:
    """Only what differs is converted."""
    table = ticks(1_000)
    stored = physical.to_physical(table, table.schema)
    for name in ("symbol", "price", "size"):
        assert stored[name].chunk(0).buffers()[1].address == table[name].chunk(0).buffers()[1].address


def test_values_outside_the_categories_are_damage() -> None:
    """A file that lists fewer categories than it uses is not trusted."""
    schema = pa.schema([("c", pa.dictionary(pa.int8(), pa.string()))])
    with pytest.raises(IntegrityError, match="categories"):
        physical.from_physical(pa.table({"c": ["a", "b"]}), schema, categories={"c": pa.array(["a"])})


def test_values_that_do_not_fit_are_damage() -> None:
    """A file whose numbers exceed the logical type is not trusted."""
    with pytest.raises(IntegrityError, match="'c'"):
        physical.from_physical(pa.table({"c": pa.array([300], pa.int32())}), pa.schema([("c", pa.int8())]))


chunks_of_ns = st.lists(st.lists(st.none() | st.integers(-(10**18), 10**18), max_size=20), max_size=4)


@settings(max_examples=200, deadline=None)
@given(chunks=chunks_of_ns, offset=st.integers(0, 9), recut=st.booleans())
def test_nanoseconds_split_and_join(chunks: list[list[int | None]], offset: int, recut: bool) -> None:
    """Any values, nulls, chunks and offsets come back, also when the two columns are cut differently."""
    column = pa.chunked_array([pa.array(chunk, pa.int64()).cast(NEW_YORK) for chunk in chunks], NEW_YORK)
    table = pa.table({"at": column}).slice(offset)
    stored = physical.to_physical(table, table.schema)
    if recut:
        stored = stored.set_column(1, "__ns_at", pa.chunked_array([stored["__ns_at"].combine_chunks()]))
    back = physical.from_physical(stored, table.schema)
    assert identical(back.combine_chunks(), table.combine_chunks())
    expected = [None if n is None else n % 1_000 for chunk in chunks for n in chunk][offset:]
    assert stored["__ns_at"].to_pylist() == expected


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.none() | st.integers(0, 2**64 - 1), max_size=30))
def test_unsigned_integers_pass_through_decimals(values: list[int | None]) -> None:
    """No unsigned integer is lost between decimals and back."""
    table = pa.table({"n": pa.array(values, pa.uint64())})
    assert identical(physical.from_physical(physical.to_physical(table, table.schema), table.schema), table)


# What SQL sees


@pytest.mark.parametrize("column", types_table().column_names)
def test_sql_sees_the_same_from_arrow_and_parquet(
    connection: duckdb.DuckDBPyConnection, types_file: Path, column: str
) -> None:
    """Types and every bit agree, are those documented, and lead back to the logical column."""
    table = types_table().select([column])
    field = table.schema.field(column)
    connection.register("mapped", physical.to_engine(table))
    (projected,) = physical.engine_projection(types_table().schema, [column])
    sources = [f'SELECT "{column}" FROM mapped', f"SELECT {projected} FROM read_parquet('{types_file}')"]
    answers = [answer(connection, sql) for sql in sources]
    assert identical(answers[0], answers[1])
    types = {str(connection.sql(sql).types[0]) for sql in sources}
    assert types == {str(connection.sql(f"SELECT NULL::{physical.engine_type(field)}").types[0])}
    categories = table[column].chunk(0).dictionary if pa.types.is_dictionary(field.type) else None
    for got in answers:
        back = physical.from_engine(got[column], field, categories)
        assert identical(pa.table({column: back}), table)


@pytest.mark.parametrize("column", types_table().column_names)
def test_sql_filters_the_same_from_arrow_and_parquet(
    connection: duckdb.DuckDBPyConnection, types_file: Path, column: str
) -> None:
    """Comparing with each value a column holds finds the same rows on both sides."""
    table = types_table().select([column])
    connection.register("mapped", physical.to_engine(table))
    (projected,) = physical.engine_projection(types_table().schema, [column])
    question = (
        f'SELECT count(*) AS n, count(*) FILTER ("{column}" IS NULL) AS nulls, '
        f'count(DISTINCT "{column}") AS values FROM {{source}} WHERE "{column}" IS NULL OR "{column}" >= '
        f'(SELECT any_value("{column}") FROM {{source}}) OR "{column}" < (SELECT max("{column}") FROM {{source}})'
    )
    sources = ["mapped", f"(SELECT {projected} FROM read_parquet('{types_file}'))"]
    answers = [answer(connection, question.format(source=source)).to_pylist() for source in sources]
    assert answers[0] == answers[1]


def test_names_are_quoted(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Hostile column names stay names."""
    names = ['say "hi"', "'; DROP TABLE x; --", "select", "ÄÖ ü", "a.b"]
    table = pa.table({name: pa.array([1], NS) for name in names})
    path = tmp_path / "names.parquet"
    pq.write_table(physical.to_physical(table, table.schema), path, store_schema=False)
    projected = physical.engine_projection(table.schema, names[::-1])
    got = answer(connection, f"SELECT {', '.join(projected)} FROM read_parquet('{path}')")
    assert identical(got, table.select(names[::-1]))


def test_engine_tables_share_memory() -> None:
    """Zoned nanoseconds, durations and plain columns are shown to DuckDB where they are."""
    table = pa.table({"ts": ticks(100)["ts"], "price": ticks(100)["price"]})
    table = table.append_column("wait", pa.array(range(100), pa.duration("ns")))
    shown = physical.to_engine(table)
    assert [str(column.type) for column in shown.columns] == ["timestamp[ns]", "double", "int64"]
    for name in table.column_names:
        assert shown[name].chunk(0).buffers()[1].address == table[name].chunk(0).buffers()[1].address


def test_results_encode_without_categories() -> None:
    """A category column whose values the caller does not know is encoded in order of appearance."""
    field = pa.field("c", pa.dictionary(pa.int16(), pa.large_string(), ordered=True))
    back = physical.from_engine(pa.array(["b", None, "a", "b"]), field)
    assert back.type == field.type
    assert back.to_pylist() == ["b", None, "a", "b"]
    assert back.chunk(0).dictionary.to_pylist() == ["b", "a"]


# Time bounds


TIMES = [NS, NEW_YORK, pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("s"), pa.date32(), pa.date64()]


@pytest.mark.parametrize("type_", TIMES, ids=str)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_physical_bounds_keep_every_row_wanted(
    connection: duckdb.DuckDBPyConnection, type_: pa.DataType, data: st.DataObject
) -> None:
    """Whatever the range, rows in it satisfy the bounds on the stored column."""
    unit = _unit_ns(type_)
    stamps = st.integers(-(10**17), 10**18)
    values = [n // unit for n in data.draw(st.lists(stamps, min_size=1, max_size=20))]
    width = 86_400_000 if type_ == pa.date64() else 1
    table = pa.table({"at": pa.array([value * width for value in values], type_), "n": range(len(values))})
    start, end = data.draw(st.none() | stamps), data.draw(st.none() | stamps)
    lower, upper = physical.physical_time_bounds(table.schema.field("at"), start, end)
    connection.register("stored", physical.to_physical(table, table.schema))
    checks = [f'"at" >= {lower}'] * (lower is not None) + [f'"at" < {upper}'] * (upper is not None)
    got = answer(connection, f"SELECT n FROM stored WHERE {' AND '.join(checks) or 'true'}")["n"].to_pylist()
    in_range = [
        n
        for n, value in enumerate(values)
        if (start is None or value * unit >= start) and (end is None or value * unit < end)
    ]
    assert set(in_range) <= set(got)
    slack = {
        n
        for n, value in enumerate(values)
        if (start is None or value * unit > start - max(unit, 1_000)) and (end is None or value * unit < end + 1_000)
    }
    assert set(got) <= slack


def _unit_ns(type_: pa.DataType) -> int:
    if pa.types.is_date(type_):
        return 86_400 * 10**9
    return {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[type_.unit]


@pytest.mark.parametrize("type_", [NS, NEW_YORK], ids=str)
def test_bounds_reach_the_scan(connection: duckdb.DuckDBPyConnection, tmp_path: Path, type_: pa.DataType) -> None:
    """DuckDB pushes the bounds into the Parquet scan, where statistics skip row groups."""
    stamps = pa.array(np.arange(100_000) * 1_000_003, pa.int64()).cast(type_)
    table = pa.table({"at": stamps})
    path = tmp_path / "times.parquet"
    pq.write_table(physical.to_physical(table, table.schema), path, store_schema=False, row_group_size=1_000)
    lower, upper = physical.physical_time_bounds(table.schema.field("at"), 5 * 10**9 + 1, 5 * 10**9 + 2_000_001)
    (projected,) = physical.engine_projection(table.schema, ["at"])
    sql = f'SELECT {projected} FROM read_parquet(\'{path}\') WHERE "at" >= {lower} AND "at" < {upper}'
    got = answer(connection, sql)["at"].cast(pa.int64()).to_pylist()
    assert got == [n for n in range(0, 10**11, 1_000_003) if 5 * 10**9 <= n < 5 * 10**9 + 2_001_000]
    plan = connection.execute(f"EXPLAIN {sql}").fetchall()[0][1]
    scan = plan[plan.upper().rindex("READ_PARQUET" if "READ_PARQUET" in plan.upper() else "PARQUET") :]
    assert "1970-01-01 00:00:05" in scan


def test_a_column_that_is_no_time_has_no_bounds() -> None:
    """Asking for bounds of something else is refused by name."""
    with pytest.raises(UnsupportedError, match="'n'"):
        physical.physical_time_bounds(pa.field("n", pa.int64()), 0, 1)


def test_layouts_of_samples_pass() -> None:
    """The hidden columns themselves can be kept."""
    physical.check_schema(layout_of(types_table()).schema)
