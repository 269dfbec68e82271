"""Lazy scans over every type, empty tables, sinks, threads and a single Polars thread."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pytest
from scan_tables import ENGINES, POLARS, TIERS, assert_same, c, rows, spread

UTC = dt.UTC


def many_types():
    """Return two rows a day, on four days, of every type that is kept."""
    stamps = [dt.datetime(2026, 1, day, hour, tzinfo=UTC) for day in range(5, 9) for hour in (1, 13)]
    text = ["a", None, "c", "a", "b", "c", None, "a"]
    ordered = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    return pa.table(
        {
            "ts": pa.array(stamps, pa.timestamp("ns", "UTC")),
            "local": pa.array(stamps, pa.timestamp("ns", "America/New_York")),
            "naive": pa.array([stamp.replace(tzinfo=None) for stamp in stamps], pa.timestamp("us")),
            "seconds": pa.array([stamp.replace(tzinfo=None) for stamp in stamps], pa.timestamp("s")),
            "day": pa.array([stamp.date() for stamp in stamps], pa.date32()),
            "clock": pa.array([stamp.time() for stamp in stamps], pa.time64("us")),
            "span": pa.array([dt.timedelta(seconds=number) for number in range(8)], pa.duration("us")),
            "text": pa.array(text),
            "long": pa.array(text, pa.large_string()),
            "bytes": pa.array([None if one is None else one.encode() for one in text]),
            "money": pa.array([Decimal(number) / 4 for number in range(8)], pa.decimal128(20, 2)),
            "small": pa.array(range(8), pa.int8()),
            "huge": pa.array([2**64 - 1 - number for number in range(8)], pa.uint64()),
            "flag": pa.array([True, False, None, True, False, None, True, False]),
            "single": pa.array([number / 3 for number in range(8)], pa.float32()),
            "category": pa.array(text).dictionary_encode(),
            "grade": pa.array(["lo", "hi", "hi", "lo", None, "lo", "hi", "lo"]).cast(ordered),
            "number": pa.array([7, 9, 7, 7, 9, 9, 7, 7]).dictionary_encode(),
            "list": pa.array([[1, 2], None, [], [3], [4], [5], [6, None], [7]], pa.list_(pa.int64())),
            "struct": pa.array([{"x": number, "y": str(number)} for number in range(8)]),
        }
    )


@pytest.fixture
def types(store):
    """The table of all types, spread over the tiers."""
    store.write(many_types(), "types", "warm")
    store.migrate("types", "warm", "hot", before="2026-01-06")
    store.migrate("types", "warm", "cold", before="2026-01-08")
    assert set(store.table("types").placement()["tier"]) == set(TIERS)
    return store.read("types", to="polars")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_type_comes_back_as_an_eager_read_gives_it(store, types, engine):
    assert_same(store.scan("types").collect(engine=engine), types)
    for name in types.columns:
        assert_same(store.scan("types").select(name).collect(engine=engine), types.select(name))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "predicate",
    [
        c("local") > dt.datetime(2026, 1, 6, 5, tzinfo=ZoneInfo("America/New_York")),
        c("naive") < dt.datetime(2026, 1, 7),
        c("seconds") == dt.datetime(2026, 1, 7, 13),
        c("day").is_between(dt.date(2026, 1, 6), dt.date(2026, 1, 7)),
        c("clock") > dt.time(5),
        c("span") > dt.timedelta(seconds=3),
        c("bytes") == b"a",
        c("money") >= Decimal("0.75"),
        c("huge") > 2**63,
        c("flag"),
        ~c("flag"),
        c("category") == "a",
        c("grade") > "hi",
        c("number") == 9,
        c("list").list.len() > 1,
        c("struct").struct.field("x") > 5,
    ],
    ids=lambda predicate: str(predicate)[:40],
)
def test_filters_on_every_type_agree_with_the_eager_table(store, types, predicate, engine):
    assert_same(store.scan("types").filter(predicate).collect(engine=engine), types.filter(predicate))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("time", ["day", "naive", "seconds", "local"])
def test_time_columns_of_every_type_prune(store, time, engine):
    table = many_types().select([time, "text", "small"])
    for part in range(4):
        store.write(table.slice(2 * part, 2), "t", TIERS[part % 3], time=time)
    whole = store.read("t", to="polars")
    for at in range(0, 8, 3):
        bound = whole[time][at]
        for predicate in (c(time) > bound, c(time) <= bound, c(time) == bound, pl.lit(bound) > c(time)):
            assert_same(store.scan("t").filter(predicate).collect(engine=engine), whole.filter(predicate))
    assert_same(store.scan("t").filter(c(time) < whole[time][2]).collect(engine=engine), whole.head(2))
    assert len(store.last.plan.scans[0].choices) <= (1 if POLARS >= (2, 0) else 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_tables_have_their_types(store, engine):
    table = many_types()
    store.create("made", table.select(["ts", "text", "list", "category"]).schema, time="ts")
    assert_same(store.scan("made").collect(engine=engine), store.read("made", to="polars"))
    store.write(table, "emptied", time="ts")
    store.write(table.slice(0, 0), "emptied", mode="overwrite")
    for question in (
        lambda frame: frame,
        lambda frame: frame.filter(c("ts") > dt.datetime(2026, 1, 1, tzinfo=UTC)).head(2),
    ):
        found = question(store.scan("emptied")).collect(engine=engine)
        assert_same(found, question(store.read("emptied", to="polars").lazy()).collect())
    assert store.scan("emptied").select(pl.len(), n=c("small").sum()).collect(engine=engine).row(0) == (0, 0)


def test_a_scan_is_sunk_into_a_file_and_back_into_a_store(store, tmp_path):
    spread(store, 3)
    whole = store.read("t", to="polars")
    scanned = store.scan("t").filter(c("size") > 10)
    scanned.sink_parquet(tmp_path / "out.parquet")
    assert_same(pl.read_parquet(tmp_path / "out.parquet"), whole.filter(c("size") > 10))
    if hasattr(scanned, "collect_batches"):
        store.write(scanned, "copy", "cold")
        assert_same(store.read("copy", to="polars").select(whole.columns), whole.filter(c("size") > 10))


def test_scans_run_beside_each_other(store):
    spread(store, 4)
    whole = store.read("t", to="polars")
    scans = [store.scan("t").filter(c("size") > number) for number in range(12)]
    for found, number in zip(pl.collect_all(scans), range(12), strict=True):
        assert_same(found, whole.filter(c("size") > number))
    with ThreadPoolExecutor(6) as pool:
        for found, number in zip(pool.map(lambda one: one.collect(), scans), range(12), strict=True):
            assert_same(found, whole.filter(c("size") > number))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_polars_thread_is_enough(store, engine):
    """Sorting a cluster and filtering a batch use Polars within Polars."""
    spread(store, 6)
    store.close()
    code = f"""
import polars as pl, quantstore as qs
with qs.open({store.name!r}) as store:
    t = store.scan("t")
    tables = [store.scan("t"), store.read("t", to="polars").lazy()]
    found, wanted = (
        t.filter(pl.col("symbol") == "IBM").join(t.filter(pl.col("size") > 3), on="ts").collect(engine={engine!r})
        for t in (table.select("ts", "symbol", "size") for table in tables)
    )
    print(pl.thread_pool_size(), len(found) == len(wanted) > 0)
"""
    environment = {"POLARS_MAX_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert done.stdout.split() == ["1", "True"]


def test_a_large_scan_is_given_in_batches(store, monkeypatch):
    from quantstore.query.scan import TableScan

    monkeypatch.setattr(TableScan, "lazy", lambda self: self)
    store.write(rows(1, 1_000, days=1), "t", symbol="symbol")
    sizes = [len(batch) for batch in store.scan("t").batches(None, ["size"], None, None, 300)]
    assert sum(sizes) == 1_000
    assert max(sizes) == 300
