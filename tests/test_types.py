"""Every type comes back identical from every tier and every split, in Arrow, ArrowDtype pandas and Polars."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

TIERS = ("hot", "warm", "cold")
BASE = 1_700_000_000_123_456_789
TEXTS = ["", "AAPL", "Ωmega", "日本", "\U0001f600", "\U000e0001", "\uffff", "a\u0000b", "  ", "null", "é", "\U0010ffff"]


def every_type() -> pa.Table:
    """Rows of two days in arrival order: stamps repeat, go back, and two rows are wholly equal."""
    n = 24
    step = np.array([0, 0, 5, 3, 10**9, 86_400 * 10**9, 1, 1, 7, 86_400 * 10**9 + 1, 2, 999] * 2)
    ns = BASE + step

    def with_nulls(values, every=5):
        return [None if at % every == 4 else value for at, value in enumerate(values)]

    floats = [0.1, float("nan"), None, -0.0, 0.0, float("inf"), -1e308, 5e-324] * 3
    columns = {
        "ts": pa.array(ns, pa.timestamp("ns", "UTC")),
        "naive": pa.array(with_nulls((ns - 2 * 10**18).tolist()), pa.timestamp("ns")),
        "new_york": pa.array(with_nulls(ns.tolist()), pa.timestamp("ns", "America/New_York")),
        "micro": pa.array(with_nulls((ns // 1000).tolist()), pa.timestamp("us")),
        "day": pa.array(with_nulls([dt.date(2023, 1, 1 + at) for at in range(n)]), pa.date32()),
        "price": pa.array(with_nulls([Decimal(at).scaleb(-6) for at in range(n)]), pa.decimal128(18, 6)),
        "ratio": pa.array(floats, pa.float64()),
        "size": pa.array(with_nulls(list(range(n))), pa.int64()),
        "big": pa.array(with_nulls([2**64 - 1 - at for at in range(n)]), pa.uint64()),
        "flag": pa.array(with_nulls([at % 2 == 0 for at in range(n)]), pa.bool_()),
        "text": pa.array(with_nulls(TEXTS * 2), pa.string()),
        "venue": pa.DictionaryArray.from_arrays(
            pa.array(with_nulls([at % 3 for at in range(n)]), pa.int8()), pa.array(["N", "Q", "unused", "Z"])
        ),
        "grade": pa.DictionaryArray.from_arrays(
            pa.array(with_nulls([at % 3 for at in range(n)]), pa.int32()),
            pa.array(["low", "mid", "high"]),
            ordered=True,
        ),
        "blob": pa.array(with_nulls([bytes([at]) * at for at in range(n)]), pa.binary()),
        "levels": pa.array(with_nulls([[1.5, None, float(at)][: at % 4] for at in range(n)]), pa.list_(pa.float64())),
        "pair": pa.array(
            with_nulls([{"a": at, "b": None if at % 3 else "x"} for at in range(n)]),
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
        ),
        "nothing": pa.nulls(n),
    }
    table = pa.table(columns)
    return pa.concat_tables([table, table.slice(3, 1), table.slice(3, 1)]).combine_chunks()


def in_time_order(table: pa.Table) -> pa.Table:
    """Rows as a bare read gives them: by time, then by arrival."""
    order = np.argsort(table.column("ts").cast(pa.int64()).to_numpy(), kind="stable")
    return table.take(pa.array(order))


def assert_identical(found: pa.Table, wanted: pa.Table) -> None:
    """Same schema, values, nulls, NaN, signs of zero and dictionaries."""
    assert found.schema.equals(wanted.schema), f"{found.schema}\n!=\n{wanted.schema}"
    for name in wanted.column_names:
        left, right = found.column(name).combine_chunks(), wanted.column(name).combine_chunks()
        if pa.types.is_dictionary(left.type):
            assert left.dictionary.equals(right.dictionary), name
            left, right = left.cast(left.type.value_type), right.cast(right.type.value_type)
        if pa.types.is_floating(left.type):
            assert left.is_null().equals(right.is_null()), name
            left, right = (pa.array(one.fill_null(0).to_numpy().view(np.int64)) for one in (left, right))
        assert left.equals(right), f"{name}: {left}\n!=\n{right}"


def test_all_types_survive_the_ladder_and_back(store):
    table = every_type()
    store.write(table, "t")
    wanted = in_time_order(table)
    for source, destination in (("hot", "warm"), ("warm", "cold"), ("cold", "hot"), ("hot", "cold"), ("cold", "warm")):
        assert_identical(store.read("t", to="arrow"), wanted)
        store.migrate("t", source, destination)
    assert_identical(store.read("t", to="arrow"), wanted)
    assert store.audit().ok


@pytest.mark.parametrize("first", TIERS)
def test_all_types_survive_every_split(store, first):
    """Rows of one write spread over all three tiers, cut inside a partition."""
    table = every_type()
    store.write(table, "t", first)
    others = [tier for tier in TIERS if tier != first]
    store.migrate("t", first, others[0], where="size % 3 = 1")
    store.migrate("t", first, others[1], before=pd.Timestamp(BASE + 10**9, tz="UTC"))
    assert set(store.table("t").placement()["tier"]) == set(TIERS)
    assert_identical(store.read("t", to="arrow"), in_time_order(table))


@pytest.mark.parametrize("tier", TIERS)
def test_arrow_dtype_pandas_and_polars_get_what_they_wrote(store, tier):
    table = in_time_order(every_type())
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    store.write(frame, "pandas", tier)
    found = store.read("pandas")
    assert_frame_equal(found, frame)
    assert found["ratio"].array.__arrow_array__().null_count == frame["ratio"].array.__arrow_array__().null_count
    polars = pl.DataFrame(table.drop_columns(["grade"])).with_columns(
        pl.Series("grade", table["grade"].cast(pa.string()).to_pylist(), pl.Enum(["low", "mid", "high"]))
    )
    store.write(polars, "polars", tier)
    back = store.read("polars", to="polars")
    assert back.schema == polars.schema
    assert back.equals(polars)


@pytest.mark.parametrize("tier", TIERS)
def test_a_numpy_backed_frame_comes_back_equal(store, tier):
    n = 8
    frame = pd.DataFrame(
        {
            "ts": pd.date_range("2026-03-29 00:30", periods=n, freq="15min", tz="Europe/Berlin").as_unit("ns"),
            "naive": pd.date_range("1960-01-01", periods=n, freq="D").as_unit("ns") + pd.Timedelta(1, "ns"),
            "price": np.linspace(1, 2, n),
            "gap": [1.0, np.nan] * (n // 2),
            "small": np.arange(n, dtype=np.int8),
            "size": np.arange(n, dtype=np.int64),
            "big": np.arange(n, dtype=np.uint64) + np.uint64(2**63),
            "half": np.arange(n, dtype=np.float32),
            "flag": [True, False] * (n // 2),
            "text": ["a", "", "ä", "日本"] * (n // 4 * 1),
            "objects": pd.Series(["x", None] * (n // 2), dtype=object),
            "nullable": pd.array([1, None] * (n // 2), dtype="Int64"),
            "kind": pd.Categorical(["b", "a"] * (n // 2), categories=["b", "a", "c"]),
            "grade": pd.Categorical(["lo", "hi"] * (n // 2), categories=["lo", "hi"], ordered=True),
        }
    )
    store.write(frame, "t", tier)
    assert_frame_equal(store.read("t"), frame)
    cut = store.read("t", columns=["price", "ts"])
    assert_frame_equal(cut, frame[["price", "ts"]])


def test_the_index_is_written_and_restored(store):
    index = pd.date_range("2026-01-01", periods=6, freq="h", tz="UTC", name="when")
    frame = pd.DataFrame({"x": np.arange(6.0)}, index=index)
    store.write(frame, "named")
    assert_frame_equal(store.read("named"), frame)
    assert list(store.read("SELECT * FROM named LIMIT 1").columns) == ["when", "x"]
    unnamed = frame.rename_axis(None)
    store.write(unnamed, "unnamed")
    assert_frame_equal(store.read("unnamed"), unnamed)
    assert "ts" in store.table("unnamed").schema.names
    panel = pd.DataFrame(
        {"close": np.arange(6.0)},
        index=pd.MultiIndex.from_product([index[:3], ["A", "B"]], names=["when", "symbol"]),
    )
    store.write(panel, "panel")
    assert_frame_equal(store.read("panel"), panel)
    assert_frame_equal(store.read("panel", columns=["close"]), panel)


def test_an_empty_frame_makes_its_table(store):
    empty = every_type().slice(0, 0)
    result = store.write(empty, "t")
    assert result.rows == 0
    assert_identical(store.read("t", to="arrow"), empty)
    store.write(every_type(), "t", "cold")
    assert_identical(store.read("t", to="arrow"), in_time_order(every_type()))
    assert store.write(empty, "t").rows == 0


def test_batches_in_random_tiers_read_as_one_write(store):
    table = every_type()
    for start, tier in zip(range(0, table.num_rows, 5), itertools.cycle(TIERS), strict=False):
        store.write(table.slice(start, 5), "t", tier, on_repeat="append")
    assert_identical(store.read("t", to="arrow"), in_time_order(table))


@pytest.mark.parametrize("tier", TIERS)
def test_sql_gives_plain_columns_their_own_types(store, tier):
    table = every_type()
    store.write(table, "t", tier)
    wanted = in_time_order(table)
    found = store.read("SELECT * FROM t ORDER BY ts, _seq", to="arrow")
    assert found.schema.names == wanted.schema.names
    for field in wanted.schema:
        if pa.types.is_dictionary(field.type):
            assert found.schema.field(field.name).type.ordered == field.type.ordered
            assert found[field.name].cast(pa.string()).equals(wanted[field.name].cast(pa.string()))
        else:
            assert_identical(found.select([field.name]), wanted.select([field.name]))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([[1]], pa.list_(pa.uint64())), "list"),
        (pa.array([[1]], pa.list_(pa.timestamp("ns"))), "list"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "interval"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_before_anything_changes(store, column, kind):
    from quantstore.errors import UnsupportedError

    table = pa.table({"ts": pa.array([0], pa.timestamp("ns")), "odd": column})
    with pytest.raises(UnsupportedError, match="'odd'"):
        store.write(table, "t")
    assert store.tables() == []
