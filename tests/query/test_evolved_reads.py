"""Reading a table whose columns changed: as if all its rows had been written in the newest form."""

from __future__ import annotations

import datetime as dt
from itertools import product

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from evolved_tables import ADDED, AFTER, BEFORE, OVERLAP, TIERS, UTC, WHOLE, WIDENED, grown, values

NOON = dt.datetime(2026, 1, 5, 14, 30, 1, tzinfo=UTC)
PLACES = [*product(TIERS, TIERS)]


@pytest.fixture(params=PLACES, ids="-".join)
def evolved(store, request):
    """A store with a table of old rows in one tier and new ones in another."""
    first, second = request.param
    assert store.write(BEFORE, "t", first).version == 1
    result = store.write(AFTER, "t", second)
    assert result.added_columns == tuple(ADDED)
    assert set(result.widened) == set(WIDENED) - {"decimal_38"} | {"ts"}
    return store


def asked(store, query, **options):
    return store.read(query, to="arrow", **options)


def test_whole_reads_give_old_rows_in_the_new_form(evolved):
    found = asked(evolved, "t")
    assert values(found) == values(WHOLE)
    wanted = AFTER.schema.set(AFTER.schema.names.index("codes"), pa.field("codes", found.schema.field("codes").type))
    assert found.schema.types == wanted.types
    assert evolved.table("t").schema.names == AFTER.schema.names
    assert found["grade"].unify_dictionaries().chunk(0).dictionary.to_pylist() == ["lo", "hi", "mid", "top"]
    streamed = evolved.read("t", to="reader").read_all()
    assert values(streamed) == values(WHOLE)
    polars = evolved.read("t", to="polars")
    assert polars["grade"].dtype == pl.Enum(["lo", "hi", "mid", "top"])
    assert polars["grade"].to_list() == WHOLE["grade"].to_pylist()
    assert len(evolved.read("t")) == WHOLE.num_rows


@pytest.mark.parametrize("columns", [["venue"], ["size", "tiny"], ["int32_64"], ["symbol", "quote", "_seq"], ["grade"]])
def test_reads_of_some_columns_give_every_row(evolved, columns):
    wanted = [name for name in columns if name != "_seq"]
    found = asked(evolved, "t", columns=columns)
    assert found.column_names == columns
    assert values(found.select(wanted)) == values(WHOLE.select(wanted))
    listed = ", ".join(columns)
    again = asked(evolved, f"SELECT {listed} FROM t ORDER BY ts, _seq")
    assert values(again.select(wanted)) == values(WHOLE.select(wanted))
    lazy = evolved.scan("t").select(wanted).collect().to_arrow()
    assert lazy.num_rows == WHOLE.num_rows
    if "_seq" in columns:
        assert found["_seq"].to_pylist() == [(one << 32) + at for one in (1, 2) for at in range(6)]


def test_windows_and_symbols_are_cut_alike(evolved):
    from_noon = pc.greater_equal(WHOLE["ts"], pa.scalar(NOON, WHOLE["ts"].type))
    assert values(asked(evolved, "t", start=NOON)) == values(WHOLE.filter(from_noon))
    before = pc.invert(from_noon)
    assert values(asked(evolved, "t", end=NOON)) == values(WHOLE.filter(before))
    only = pc.equal(WHOLE["symbol"], "B")
    assert values(asked(evolved, "t", symbols="B")) == values(WHOLE.filter(only))
    sql = "SELECT * FROM t WHERE ts >= $noon AND symbol = 'B' ORDER BY ts, _seq"
    assert values(asked(evolved, sql, params={"noon": NOON})) == values(WHOLE.filter(pc.and_(from_noon, only)))
    lazy = evolved.scan("t").filter(pl.col("ts") >= NOON, pl.col("symbol") == "B").collect()
    assert lazy.height == WHOLE.filter(pc.and_(from_noon, only)).num_rows
    days = asked(evolved, "t", dates="2026-01-05")
    assert values(days) == values(WHOLE.slice(0, 6))


def test_sql_sees_nulls_where_rows_are_older_than_a_column(evolved):
    assert values(asked(evolved, "SELECT * FROM t ORDER BY ts, _seq")) == values(WHOLE)
    assert asked(evolved, "SELECT count(*) AS n FROM t WHERE venue IS NULL")["n"].to_pylist() == [7]
    assert asked(evolved, "SELECT count(*) AS n FROM t WHERE venue = 'X'")["n"].to_pylist() == [2]
    assert asked(evolved, "SELECT count(*) AS n FROM t WHERE int32_64 > 2147483647")["n"].to_pylist() == [1]
    assert asked(evolved, "SELECT count(*) AS n FROM t WHERE int32_64 = 2147483647")["n"].to_pylist() == [1]
    sums = asked(evolved, "SELECT sum(tiny) AS a, sum(int8_16) AS b, count(seen) AS c, max(decimal) AS d FROM t")
    wanted = {"a": pc.sum(WHOLE["tiny"]), "b": pc.sum(WHOLE["int8_16"]), "d": pc.max(WHOLE["decimal"])}
    assert {name: int(sums[name][0].as_py()) for name in "ab"} == {name: wanted[name].as_py() for name in "ab"}
    assert sums["c"].to_pylist() == [5]
    assert sums["d"][0].as_py() == wanted["d"].as_py()
    joined = asked(evolved, "SELECT count(*) AS n FROM t AS a JOIN t AS b ON a.venue = b.venue")
    assert joined["n"].to_pylist() == [9]
    assert evolved.read("SELECT venue FROM t", to="relation").fetchall().count((None,)) == 7


def test_scans_give_old_rows_in_the_new_form(evolved):
    frame = evolved.scan("t").collect()
    assert frame.equals(evolved.read("t", to="polars"), null_equal=True)
    assert evolved.scan("t").filter(pl.col("venue").is_null()).collect().height == 7
    assert evolved.scan("t").filter(pl.col("int32_64") > 2**31 - 1).collect().height == 1
    assert evolved.scan("t").head(2).select("flag", "grade").collect().rows() == [(None, "lo"), (None, "hi")]


def test_older_versions_read_as_before(evolved):
    old = asked(evolved, "t", as_of=1)
    assert old.schema.equals(BEFORE.schema)
    assert values(old) == values(BEFORE)
    assert values(asked(evolved, "SELECT * FROM t ORDER BY ts, _seq", as_of=1)) == values(BEFORE)
    lazy = evolved.scan("t", as_of=1).collect()
    assert lazy.columns == BEFORE.column_names
    assert evolved.explain("SELECT * FROM t", as_of=1).version == 1
    frame = evolved.read("t", as_of=1)
    assert frame["int32_64"].dtype == "Int32"


@pytest.mark.parametrize("destination", TIERS)
def test_moves_by_condition_leave_every_version_as_it_was(evolved, destination):
    before = asked(evolved, "t"), asked(evolved, "t", as_of=1)
    evolved.migrate("t", "any", destination, where="venue IS NULL AND float_double > 1")
    evolved.migrate("t", "any", destination, where="venue = 'X'", dry_run=True)
    evolved.migrate("t", "any", destination)
    assert values(asked(evolved, "t")) == values(before[0])
    assert values(asked(evolved, "t", as_of=1)) == values(before[1])
    assert evolved.audit()


@pytest.mark.parametrize("tier", TIERS)
def test_rows_of_both_forms_at_the_same_times_are_in_order(store, tier):
    store.write(BEFORE, "t", tier)
    store.write(OVERLAP, "t", tier)
    both = pa.concat_tables([grown(BEFORE, AFTER.schema), grown(OVERLAP, AFTER.schema)])
    both = both.append_column("n", pa.array(range(12))).sort_by([("ts", "ascending"), ("n", "ascending")])
    wanted = values(both.drop_columns(["n"]))
    assert values(asked(store, "t")) == wanted
    assert values(asked(store, "SELECT * FROM t ORDER BY ts, _seq")) == wanted
    assert store.scan("t").collect().height == 12


@pytest.mark.parametrize("tier", TIERS)
def test_rows_written_after_a_narrower_frame_are_cast_up(store, tier):
    """A producer that still sends the old types may go on, as long as it brings the new columns."""
    store.write(BEFORE, "t", tier)
    store.write(AFTER, "t", tier)
    late = grown(BEFORE, AFTER.schema).select(list(ADDED))
    columns = dict(zip(BEFORE.column_names, BEFORE.columns, strict=True))
    columns |= dict(zip(late.column_names, late.columns, strict=True))
    result = store.write(pa.table(columns), "t", tier, on_repeat="append")
    assert (result.added_columns, dict(result.widened)) == ((), {})
    found = asked(store, "SELECT * FROM t WHERE _seq >= 3::BIGINT << 32 ORDER BY ts, _seq")
    assert values(found) == values(grown(BEFORE, AFTER.schema))


def test_a_statement_that_was_run_before_sees_the_new_columns(store):
    store.write(BEFORE, "t", "hot")
    for _ in range(3):
        assert asked(store, "SELECT * FROM t").num_columns == BEFORE.num_columns
    store.write(AFTER, "t", "cold")
    for _ in range(3):
        assert values(asked(store, "SELECT * FROM t ORDER BY ts, _seq")) == values(WHOLE)


def test_pandas_gets_back_what_holds_every_value(store):
    frame = BEFORE.select(["ts", "symbol", "int32_64", "float_double", "codes"]).to_pandas()
    frame["whole"] = 7
    store.write(frame.astype({"whole": "int32"}), "t", "cold")
    more = frame.assign(whole=2**40, count=[1, 2, 3, 4, 5, 6], ok=True, name="x", ts=frame["ts"] + dt.timedelta(days=1))
    store.write(more, "t", "hot")
    found = store.read("t")
    assert found["whole"].tolist() == [7] * 6 + [2**40] * 6
    assert (str(found["whole"].dtype), str(found["count"].dtype), str(found["ok"].dtype)) == (
        "int64",
        "Int64",
        "boolean",
    )
    assert found["count"].isna().sum() == found["ok"].isna().sum() == found["name"].isna().sum() == 6
    newer = store.read("t", start="2026-01-06")
    assert (str(newer["count"].dtype), str(newer["ok"].dtype)) == ("int64", "bool")
    assert str(store.read("t", as_of=1)["whole"].dtype) == "int32"


@pytest.mark.parametrize("tier", TIERS)
def test_moves_by_condition_reach_rows_in_columns_that_a_restore_took_away(store, tier):
    store.write(BEFORE, "t", tier)
    store.write(AFTER, "t", tier)
    store.table("t").restore(1)
    destination = TIERS[TIERS.index(tier) - 1]
    store.migrate("t", tier, destination, where="symbol = 'A' AND int32_double IS NOT NULL")
    assert values(asked(store, "t")) == values(BEFORE)
    assert values(asked(store, "t", as_of=2)) == values(WHOLE)
    moved = store.read("t", tiers=destination, as_of=2, to="arrow", missing="ignore")
    assert moved.num_rows == pc.sum(pc.and_(pc.equal(WHOLE["symbol"], "A"), pc.is_valid(WHOLE["int32_double"]))).as_py()
    result = store.write(AFTER, "t", tier)
    assert result.added_columns == tuple(ADDED)
    assert values(asked(store, "t")) == values(WHOLE)
    assert store.audit()
