"""Columns and partitions of published tables: every type, every grain, and schemas that change."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from lake import DAY, iceberg_catalog, rows, seen_by_pyiceberg

from quantstore.errors import PublicationWarning, UnsupportedError
from quantstore.publish.columns import published_columns
from quantstore.stores.physical import is_promotable, keep_field_ids

OTHERS = ("duckdb", "daft")


def typed(count=40, first=0):
    """Rows with a column of most types."""
    ids = np.arange(first, first + count)
    text = pa.array([f"t{one % 5}" for one in ids])
    return pa.table(
        {
            "ts": pa.array(DAY.value + ids * 3_600_000_000_001, pa.timestamp("ns", "America/New_York")),
            "id": pa.array(ids, pa.int64()),
            "naive": pa.array(ids * 1_001, pa.timestamp("ns")),
            "milli": pa.array(ids, pa.timestamp("ms", "UTC")),
            "tiny": pa.array(ids % 100, pa.int8()),
            "huge": pa.array([2**64 - 1 - int(one) for one in ids], pa.uint64()),
            "half": pa.array((ids / 4).astype(np.float32)),
            "yes": pa.array(ids % 2 == 0),
            "day": pa.array(ids, pa.int32()).cast(pa.date32()),
            "money": pa.array([None if one % 9 == 0 else int(one) for one in ids]).cast(pa.decimal128(20, 0)),
            "kind": text.dictionary_encode(),
            "raw": text.cast(pa.binary()),
            "list": pa.array([[int(one)] * (one % 3) for one in ids], pa.list_(pa.int32())),
            "pair": pa.array([{"a": int(one), "b": str(one)} for one in ids]),
        }
    )


def test_every_type_is_read_by_others(store, engines):
    store.write(typed(), "types", "cold")
    (done,) = store.publish()
    with iceberg_catalog(store) as catalog:
        table = catalog.load_table("quantstore.types")
        found = table.scan().to_arrow().sort_by("id")
        kinds = {field.name: str(field.field_type) for field in table.schema().fields}
    assert kinds["ts"] == kinds["milli"] == "timestamptz"
    assert (kinds["naive"], kinds["huge"], kinds["tiny"], kinds["half"]) == (
        "timestamp",
        "decimal(20, 0)",
        "int",
        "float",
    )
    assert (kinds["kind"], kinds["raw"], kinds["day"]) == ("string", "binary", "date")
    assert "_seq" not in kinds
    asked = typed()
    for name in ("id", "tiny", "half", "yes", "day", "money", "kind", "raw", "list", "pair"):
        assert found[name].to_pylist() == asked[name].to_pylist(), name
    assert [int(one) for one in found["huge"].to_pylist()] == asked["huge"].to_pylist()
    for name in ("ts", "naive"):
        whole = found[name].cast(pa.int64()).to_numpy() * 1000 + found[f"__ns_{name}"].to_numpy()
        assert whole.tolist() == asked[name].cast(pa.int64()).to_pylist()
    names = ("id", "ts", "__ns_ts", "naive", "__ns_naive", "milli", "tiny", "half", "yes", "day", "kind")
    expected = seen_by_pyiceberg(store, "types", names)
    for engine in OTHERS:
        assert engines.read(engine, done.metadata, names) == expected, engine


@pytest.mark.parametrize(
    ("grain", "transform", "name"),
    [("day", "identity", "trade_date"), ("month", "month", "trade_date_month"), ("year", "year", "trade_date_year")],
)
def test_partitions_follow_the_grain(store, engines, grain, transform, name):
    """Every file has one value that the transform gives of all its rows, so that readers may skip by it."""
    table = rows(0, 100)
    store.create("marks", table.schema, symbol="symbol", grain=grain)
    store.write(table, "marks", "cold")
    (done,) = store.publish()
    with iceberg_catalog(store) as catalog:
        found = catalog.load_table("quantstore.marks")
        assert next((one.name, str(one.transform)) for one in found.spec().fields) == (name, transform)
        transformed = found.spec().fields[0].transform.transform(found.schema().find_type("trade_date"))
        for task in found.scan().plan_files():
            days = set(pa.parquet.read_table(task.file.file_path)["trade_date"].to_pylist())
            values = {transformed((day - pd.Timestamp(0).date()).days) for day in days}
            assert values == {task.file.partition[0]}
            assert {task.file.partition[1]} == set(
                pa.parquet.read_table(task.file.file_path)["asset_class"].to_pylist()
            )
        late = found.scan(row_filter="trade_date >= '2026-03-01'").to_arrow()
    expected = [one for one in seen_by_pyiceberg(store, "marks") if str(one[6]) >= "2026-03-01"]
    assert 0 < late.num_rows == len(expected) < 100
    for engine in OTHERS:
        seen = engines.read(engine, done.metadata)
        assert [one for one in seen if str(one[6]) >= "2026-03-01"] == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.date64()], ids=str)
@pytest.mark.parametrize("grain", ["day", "month", "year"])
def test_trade_dates_of_any_type_are_partitions(store, kind, grain):
    table = rows(0, 60)
    days = table["ts"].cast(pa.timestamp("ns")).cast(pa.date32(), safe=False)
    given = days.cast(pa.string()) if pa.types.is_string(kind) else days.cast(pa.timestamp("ms")).cast(kind)
    table = table.append_column("trade_date", given)
    store.create("marks", table.schema, symbol="symbol", grain=grain)
    store.write(table, "marks", "cold")
    store.publish()
    with iceberg_catalog(store) as catalog:
        found = catalog.load_table("quantstore.marks")
        assert found.scan().to_arrow().num_rows == 60
        zone = "+00:00" if getattr(kind, "tz", None) else ""
        value = f"2026-02-28T00:00:00{zone}" if pa.types.is_timestamp(kind) else "2026-02-28"
        some = found.scan(row_filter=f"trade_date >= '{value}'").to_arrow()
    assert some.num_rows == sum(str(day) >= "2026-02-28" for day in days.to_pylist()) > 0


def test_rows_without_an_asset_class_have_a_partition(store, engines):
    table = rows(0, 30)
    some = pa.array([None if one % 3 == 0 else "FX" for one in range(30)], pa.string())
    table = table.set_column(5, "asset_class", [some])
    store.write(table, "trades", "cold")
    (done,) = store.publish()
    with iceberg_catalog(store) as catalog:
        found = catalog.load_table("quantstore.trades")
        assert found.scan(row_filter="asset_class is null").to_arrow().num_rows == 10
    for engine in OTHERS:
        assert engines.read(engine, done.metadata, ("id", "asset_class")) == seen_by_pyiceberg(
            store, "trades", ("id", "asset_class")
        )


def test_columns_that_come_later_are_null_in_older_rows(store, engines):
    store.write(rows(0, 30), "trades", "cold")
    store.publish()
    store.write(rows(30, 30, venue=pa.array(["X"] * 30), at=rows(30, 30)["ts"]), "trades", "cold")
    store.write(
        rows(60, 30, venue=pa.array(["Y"] * 30), at=rows(60, 30)["ts"], last=rows(0, 30)["id"]), "trades", "hot"
    )
    (found,) = store.publications()
    assert found.lag == 0
    names = ("id", "ts", "__ns_ts", "venue", "at", "__ns_at", "trade_date", "asset_class", "last")
    seen = seen_by_pyiceberg(store, "trades", names)
    assert [one[3] for one in seen if one[0] < 30] == [None] * 30
    assert [one[3] for one in seen if one[0] >= 30] == ["X"] * 30
    assert all(one[4] == one[1] for one in seen if one[0] >= 30)
    for engine in OTHERS:
        assert engines.read(engine, found.metadata, names) == seen
    store.migrate("trades", "any", "cold")
    (found,) = store.publications()
    seen = seen_by_pyiceberg(store, "trades", names)
    assert len(seen) == 90
    for engine in OTHERS:
        assert engines.read(engine, found.metadata, names) == seen


def test_columns_that_widen_are_promoted(store, engines):
    """Also where files of the narrower type were published before: bounds are told anew."""
    narrow = {"n": pa.array(range(30), pa.int16()), "f": pa.array([0.5] * 30, pa.float32())}
    wide = {"n": pa.array([2**40] * 30, pa.int64()), "f": pa.array([1e300] * 30, pa.float64())}
    store.write(rows(0, 30, **narrow), "trades", "cold")
    store.publish()
    store.write(rows(30, 30, **wide), "trades", "cold")
    (found,) = store.publications()
    assert (found.lag, found.split) == (0, ())
    names = ("id", "n", "f")
    expected = sorted([(one, one, 0.5) for one in range(30)] + [(one, 2**40, 1e300) for one in range(30, 60)], key=repr)
    assert seen_by_pyiceberg(store, "trades", names) == expected
    for engine in OTHERS:
        assert engines.read(engine, found.metadata, names) == expected
    with iceberg_catalog(store) as catalog:
        table = catalog.load_table("quantstore.trades")
        assert table.scan(row_filter="n < 5").to_arrow().num_rows == 5
        assert table.scan(row_filter="f > 10.0").to_arrow().num_rows == 30


def test_columns_that_iceberg_cannot_promote_are_seen_as_several(store, engines):
    """Nothing is lost, and no reader takes one for the other."""
    store.write(rows(0, 30, n=pa.array(range(30), pa.int16())), "trades", "cold")
    store.publish()
    with pytest.warns(PublicationWarning, match="readers see column 'n' as 'n__double' and 'n__int32'"):
        store.write(rows(30, 30, n=pa.array([0.5] * 30)), "trades", "cold")
    (found,) = store.publications()
    assert found.lag == 0
    assert found.split == (("n", ("n__double", "n__int32")),)
    names = ("id", "size", "n__double", "n__int32", "ts", "__ns_ts", "asset_class")
    seen = seen_by_pyiceberg(store, "trades", names)
    assert [(one[2], one[3]) for one in sorted(seen)] == [(None, n) for n in range(30)] + [(0.5, None)] * 30
    for engine in OTHERS:
        assert engines.read(engine, found.metadata, names) == seen, engine
    with warnings.catch_warnings(action="error"):
        store.write(rows(60, 30, n=pa.array([0.5] * 30)), "trades", "cold")  # said once
    store.write(rows(90, 30, n=pa.array([0.5] * 30)), "trades", "cold", mode="overwrite")
    (found,) = store.publications()
    assert found.split == ()
    assert sorted(seen_by_pyiceberg(store, "trades", ("id", "n"))) == [(one, 0.5) for one in range(90, 120)]
    for engine in OTHERS:
        assert engines.read(engine, found.metadata, ("id", "n")) == seen_by_pyiceberg(store, "trades", ("id", "n"))


def test_a_wider_type_that_no_cold_file_has_yet_changes_nothing(store):
    store.write(rows(0, 30, n=pa.array(range(30), pa.int16())), "trades", "cold")
    store.publish()
    store.write(rows(30, 30, n=pa.array([0.5] * 30), new=pa.array(["x"] * 30)), "trades", "hot")
    assert store.publications()[0].split == ()
    assert seen_by_pyiceberg(store, "trades", ("n", "new"))[0] == (0, None)


def test_columns_that_were_all_null_keep_their_name(store, engines):
    store.write(rows(0, 30, n=pa.nulls(30)), "trades", "cold")
    store.publish()
    store.write(rows(30, 30, n=pa.array(["x"] * 30)), "trades", "cold")
    (found,) = store.publications()
    assert found.split == ()
    seen = seen_by_pyiceberg(store, "trades", ("id", "n"))
    assert [one[1] for one in sorted(seen)] == [None] * 30 + ["x"] * 30
    for engine in OTHERS:
        assert engines.read(engine, found.metadata, ("id", "n")) == seen


@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        (pa.int32(), pa.int64(), True),
        (pa.int64(), pa.int32(), False),
        (pa.float32(), pa.float64(), True),
        (pa.int32(), pa.float64(), False),
        (pa.decimal128(9, 2), pa.decimal128(20, 2), True),
        (pa.decimal128(9, 2), pa.decimal128(20, 4), False),
        (pa.int64(), pa.decimal128(20, 0), False),
        (pa.string(), pa.string(), True),
    ],
)
def test_promotions_are_those_of_iceberg(older, newer, expected):
    assert is_promotable(older, newer) is expected


def test_a_column_that_files_know_by_one_id_in_several_types_is_refused():
    """No form of a table that follows its frames comes to that; readers would fail or guess."""
    older, newer = pa.schema([("a", pa.int32())]), pa.schema([("a", pa.float64())])
    with pytest.raises(UnsupportedError, match="'a' cannot be published: some files hold int32"):
        published_columns(newer, [newer, older])
    assert published_columns(newer, [older]).schema.field("a").type == pa.int32()


def test_names_of_columns_that_are_several_clash_with_none():
    older = pa.schema([("a", pa.int32()), ("a__int32", pa.int64())])
    newer = pa.schema([("a", pa.float64()), ("a__int32", pa.int64())])
    newer = keep_field_ids(newer, older)
    found = published_columns(newer, [newer, older])
    assert found.schema.names == ["a__double", "a__int32_", "a__int32"]
    assert found.split == (("a", ("a__double", "a__int32_")),)
