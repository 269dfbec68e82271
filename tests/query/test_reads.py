"""Reading: bare tables and SQL over any mix of tiers, hints, parameters, versions, results, plans."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

import quantstore as qs
from quantstore.errors import (
    InvalidInputError,
    NotFoundError,
    PartialResultWarning,
    ResultTooLarge,
    UnavailableError,
)

TIERS = ("hot", "warm", "cold")


def ticks(days=6, per_day=40, seed=0, start="2026-01-05"):
    rng = np.random.default_rng(seed)
    base = pd.Timestamp(start, tz="UTC").value
    ns = np.concatenate(
        [base + day * 86_400 * 10**9 + np.sort(rng.integers(0, 500, per_day)) * 173 * 10**9 + 7 for day in range(days)]
    )
    n = len(ns)
    price = np.round(rng.random(n) * 100, 2)
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(ns, utc=True).as_unit("ns"),
            "symbol": rng.choice(["AAPL", "IBM", "MSFT", "TSLA"], n),
            "price": np.where(rng.random(n) < 0.05, np.nan, price),
            "size": rng.integers(1, 1000, n),
            "asset_class": rng.choice(["EQUITY", "FX"], n),
        }
    )


@pytest.fixture
def spread(store):
    """Six days: two in each tier."""
    frame = ticks()
    store.write(frame, "t")
    store.migrate("t", "hot", "warm", before="2026-01-09")
    store.migrate("t", "warm", "cold", before="2026-01-07")
    assert set(store.table("t").placement()["tier"]) == set(TIERS)
    return frame


def test_one_question_over_three_tiers(store, spread):
    found = store.read("SELECT symbol, count(*) AS n, sum(size) AS s FROM t GROUP BY symbol ORDER BY symbol")
    wanted = spread.groupby("symbol", as_index=False).agg(n=("size", "size"), s=("size", "sum"))
    assert_frame_equal(found, wanted, check_dtype=False)
    assert [use.tier.value for use in store.last.plan.uses()] == list(TIERS)


def test_bare_reads_select_by_time_day_symbol_and_column(store, spread):
    low, high = pd.Timestamp("2026-01-06 12:00", tz="UTC"), pd.Timestamp("2026-01-09 07:00", tz="UTC")
    found = store.read("t", start=low, end=high, symbols=["IBM", "TSLA"], columns=["price", "symbol"])
    wanted = spread[(spread["ts"] >= low) & (spread["ts"] < high) & spread["symbol"].isin(["IBM", "TSLA"])]
    assert_frame_equal(found, wanted[["price", "symbol"]].reset_index(drop=True))
    days = store.read("t", dates=["2026-01-05", dt.date(2026, 1, 10)])
    wanted = spread[spread["ts"].dt.date.isin([dt.date(2026, 1, 5), dt.date(2026, 1, 10)])]
    assert_frame_equal(days, wanted.reset_index(drop=True))
    assert store.read("t", symbols="NONE").empty
    at = spread["ts"].iloc[17]
    exact = store.read("t", start=at, end=at + pd.Timedelta(1, "ns"))
    assert_frame_equal(exact, spread[spread["ts"] == at].reset_index(drop=True))
    assert store.read("t", start=at, end=at).empty


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "tomorrow-ish"}, "start="),
        ({"start": "2026-01-06", "end": "2026-01-05"}, "before"),
        ({"tiers": ["lukewarm"]}, "not a tier"),
        ({"tiers": []}, "empty"),
        ({"to": "numpy"}, "to="),
        ({"missing": "hide"}, "missing="),
        ({"params": {"x": 1}}, "params="),
        ({"max_bytes": "lots"}, "max_bytes="),
        ({"dtype_backend": "arrow"}, "dtype_backend="),
        ({"as_of": "2026-01-05"}, "time of day"),
    ],
)
def test_options_that_make_no_sense_are_refused(store, spread, options, message):
    with pytest.raises(InvalidInputError, match=message):
        store.read("t", **options)


def test_a_hint_that_leaves_rows_out_says_so(store, spread):
    with pytest.warns(PartialResultWarning, match="answer is partial") as told:
        found = store.read("t", ["hot"])
    assert told[0].filename == __file__
    hot = spread[spread["ts"] >= "2026-01-09"].reset_index(drop=True)
    assert_frame_equal(found, hot)
    with pytest.raises(UnavailableError, match="leaves out"):
        store.read("SELECT count(*) FROM t", ["hot", "warm"], missing="raise")
    assert store.read("SELECT count(*) AS n FROM t", "hot", missing="ignore")["n"].tolist() == [len(hot)]
    assert store.last.plan.left_out
    # Nothing is left out where the missing tiers hold nothing that is asked for.
    assert_frame_equal(store.read("t", ["hot"], start="2026-01-09", missing="raise"), hot)
    assert len(store.read("SELECT * FROM t WHERE ts >= '2026-01-09'", ["hot"], missing="raise")) == len(hot)


def test_parameters_are_bound_never_pasted(store, spread):
    evil = "x' OR '1'='1"
    assert store.read("SELECT * FROM t WHERE symbol = $s", params={"s": evil}).empty
    low = pd.Timestamp("2026-01-07", tz="Europe/Berlin")
    found = store.read(
        "SELECT * FROM t WHERE ts >= $low AND symbol IN $names AND size > $size ORDER BY ts, _seq",
        params={"low": low, "names": ["IBM", "AAPL"], "size": np.int64(500)},
    )
    wanted = spread[(spread["ts"] >= low) & spread["symbol"].isin(["IBM", "AAPL"]) & (spread["size"] > 500)]
    assert_frame_equal(found, wanted.reset_index(drop=True))
    with pytest.raises(InvalidInputError, match=r"\$low and no value"):
        store.read("SELECT * FROM t WHERE ts >= $low")
    with pytest.raises(InvalidInputError, match="'high', which the query does not use"):
        store.read("SELECT * FROM t", params={"high": 1})


def test_nanoseconds_count_in_literals_and_parameters(store):
    stamps = pd.to_datetime([10**18, 10**18 + 1, 10**18 + 999, 10**18 + 1000], utc=True)
    for tier in TIERS:
        store.write(pd.DataFrame({"ts": stamps, "n": range(4)}), tier, tier)
        after = store.read(f"SELECT n FROM {tier} WHERE ts > $p ORDER BY n", params={"p": stamps[1]})
        assert after["n"].tolist() == [2, 3]
        literal = store.read(f"SELECT n FROM {tier} WHERE ts = '2001-09-09 01:46:40.000000999Z'")
        assert literal["n"].tolist() == [2]
        assert store.read(f"SELECT max(ts) AS m FROM {tier}")["m"].tolist() == [stamps[3]]


def test_old_versions_read_by_number_and_by_instant(store):
    first = store.write(ticks(1, seed=1), "t")
    committed = store.table("t").versions()["committed"].iloc[0]
    second = store.write(ticks(1, seed=2), "t")
    store.migrate("t", "hot", "cold")
    assert len(store.read("t", as_of=first.version)) == 40
    assert len(store.read("t", as_of=committed)) == 40
    assert len(store.read("t", as_of=second.version)) == 80
    assert store.read("SELECT count(*) AS n FROM t", as_of=first.version)["n"].tolist() == [40]
    with pytest.raises(NotFoundError, match="no version 99"):
        store.read("t", as_of=99)
    with pytest.raises(NotFoundError, match="no table"):
        store.read("t", as_of=0)


def test_results_in_every_kind(store, spread):
    sql = "SELECT * FROM t ORDER BY ts, _seq"
    for query in ("t", sql):
        arrow = store.read(query, to="arrow")
        assert isinstance(arrow, pa.Table)
        assert isinstance(store.read(query, to="polars"), pl.DataFrame)
        assert isinstance(store.read(query, to="lazy"), pl.LazyFrame)
        assert store.read(query, to="polars").equals(store.read(query, to="lazy").collect())
        reader = store.read(query, to="reader")
        assert isinstance(reader, pa.RecordBatchReader)
        assert reader.read_all().equals(arrow)
        assert_frame_equal(store.read(query), spread)
        nullable = store.read(query, dtype_backend="numpy_nullable")
        assert str(nullable["size"].dtype) == "Int64"
        assert str(store.read(query, dtype_backend="pyarrow")["price"].dtype) == "double[pyarrow]"


def test_a_table_can_be_described_and_summarized(store, spread):
    described = store.read("DESCRIBE t")
    assert described["column_name"].tolist() == ["ts", "symbol", "price", "size", "asset_class"]
    summary = store.read("SUMMARIZE t")
    assert summary.set_index("column_name").loc["size", "count"] == len(spread)


def test_sums_of_integers_are_integers(store, spread):
    found = store.read("SELECT symbol, sum(size) AS s FROM t GROUP BY 1")
    assert str(found["s"].dtype) == "int64"
    huge = store.read("SELECT 170141183460469231731687303715884105727::HUGEINT AS h")
    assert huge["h"].iloc[0] == 2**127 - 1


def test_integers_with_nulls_are_never_floats(store, spread):
    found = store.read("SELECT CASE WHEN size > 500 THEN size END AS big, size > 500 OR NULL AS flag FROM t")
    assert str(found["big"].dtype) == "Int64"
    assert str(found["flag"].dtype) == "boolean"


def test_a_result_over_the_limit_is_refused_with_the_ways_out(store, spread):
    for query in ("t", "SELECT * FROM t"):
        with pytest.raises(ResultTooLarge, match="to='reader'"):
            store.read(query, max_bytes=1000)
        assert store.read(query, max_bytes=1000, to="reader").read_all().num_rows == len(spread)
        assert len(store.read(query, max_bytes="1GB")) == len(store.read(query, max_bytes=None)) == len(spread)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE t", "DROP"),
        ("CREATE TABLE x AS SELECT * FROM t", "CREATE"),
        ("COPY t TO 'x.csv'", "COPY"),
        ("INSERT INTO t SELECT * FROM t", "INSERT"),
        ("SELECT 1; SELECT 2", "2"),
        ("SELEC * FROM t", "Did you mean SELECT"),
        ("SET memory_limit = '1GB'", "SET"),
        ("ATTACH 'x.db'", "ATTACH"),
        ("", "name of a table"),
    ],
)
def test_only_single_statements_that_read_are_run(store, spread, sql, message):
    with pytest.raises(InvalidInputError, match=message):
        store.read(sql)


def test_columns_that_do_not_exist_are_named_with_the_nearest(store, spread):
    with pytest.raises(NotFoundError, match=r"Table 't' has no column 'prise'\. Did you mean 'price'"):
        store.read("t", columns=["prise"])


def test_python_variables_are_not_tables(store, spread):
    secret = spread
    with pytest.raises(NotFoundError, match="no table 'secret'"):
        store.read("SELECT * FROM secret")
    assert len(secret)


def test_pruning_opens_only_what_is_needed(store, spread, monkeypatch):
    opened = []
    for handle in (store.hot_store, store.warm_store, store.cold_store):
        original = handle.verify
        monkeypatch.setattr(
            handle, "verify", lambda copy, o=original, **kw: opened.append(copy.tier.value) or o(copy, **kw)
        )
        read = handle.read
        monkeypatch.setattr(
            handle,
            "read",
            lambda layout, copy, *a, r=read, **kw: opened.append(copy.tier.value) or r(layout, copy, *a, **kw),
        )
    store.read("SELECT count(*) FROM t WHERE ts >= '2026-01-07' AND ts < '2026-01-09'")
    assert set(opened) == {"warm"}
    opened.clear()
    store.read("SELECT count(*) FROM t WHERE trade_date = DATE '2026-01-05' AND asset_class = 'FX'")
    assert opened == ["cold"]
    opened.clear()
    store.read("SELECT count(*) FROM t WHERE symbol = 'NONE'")
    store.read("t", start="2027-01-01")
    assert opened == []


def test_explain_says_what_is_read_and_why_not(store, spread):
    plan = store.explain("SELECT * FROM t AS x WHERE x.ts < '2026-01-07' AND x.asset_class = 'FX'")
    assert [use.tier.value for use in plan.uses()] == ["cold"]
    text = str(plan)
    assert "scan t AS x: 2 of 12 segments" in text
    assert "pruned 6 segments: asset class" in text
    assert "pruned 4 segments: time" in text
    assert "left out by tiers=: 8 segments" in str(store.explain("t", ["hot"]))


def test_reads_are_counted_as_heat(store, spread):
    store.read("t", start="2026-01-09")
    store.read("t", start="2026-01-09")
    store.metadata_catalog.access.flush()
    placement = store.table("t").placement()
    assert (placement.loc[placement["tier"] == "hot", "heat"] > 0).all()
    assert (placement.loc[placement["tier"] == "cold", "heat"] == 0).all()


def test_pandas_results_carry_where_they_came_from(store, spread):
    note = store.read("t").attrs["quantstore"]
    assert note["tables"] == ["t"]
    assert note["version"] == 1
    assert sum(tier["rows"] for tier in note["tiers"].values()) == len(spread)


def test_a_second_process_view_sees_each_commit_at_its_next_read(store, tmp_path):
    with qs.open(tmp_path / "store") as other:
        for turn in range(1, 4):
            store.write(ticks(1, seed=turn), "t")
            assert len(other.read("t")) == 40 * turn
            store.migrate("t", "any", TIERS[turn % 3])
            store.sweep(grace=0)
            assert len(other.read("t")) == 40 * turn


QUERIES = [
    "SELECT * FROM t ORDER BY ts, _seq",
    "SELECT symbol, min(ts) AS lo, max(ts) AS hi, count(*) AS n FROM t GROUP BY 1 ORDER BY 1",
    "SELECT * FROM t WHERE ts BETWEEN '2026-01-06 10:00' AND '2026-01-08 10:00' ORDER BY ts, _seq",
    "SELECT date_trunc('hour', ts) AS h, arg_min(price, _seq) AS o, sum(size) AS v FROM t GROUP BY 1 ORDER BY 1",
    "SELECT a.ts, a.symbol, b.size FROM t a JOIN t b ON a._seq = b._seq WHERE a.symbol = 'IBM' ORDER BY a._seq",
    (
        "SELECT a.ts, b.ts AS prev FROM t a ASOF JOIN t b ON a.symbol = b.symbol AND a.ts > b.ts "
        "WHERE a.ts >= '2026-01-08' AND b.ts < '2026-01-09 20:00' ORDER BY a._seq"
    ),
    "SELECT a._seq AS x, b._seq AS y FROM t a LEFT JOIN t b ON a._seq = b._seq AND b.ts < '2026-01-06' ORDER BY 1",
    "SELECT count(*) AS n FROM t a FULL JOIN (SELECT * FROM t WHERE symbol = 'IBM') b USING (ts) WHERE a.size > 10",
    "WITH t2 AS (SELECT * FROM t WHERE trade_date >= DATE '2026-01-07') SELECT count(*) AS n, sum(size) AS s FROM t2",
    "WITH t AS (SELECT * FROM t WHERE size > 500) SELECT count(*) AS n FROM t",
    "SELECT * FROM t WHERE symbol IN ('IBM') OR ts < '2026-01-06' ORDER BY ts, _seq",
    (
        "SELECT *, lag(price) OVER (PARTITION BY symbol ORDER BY ts, _seq) AS p FROM t WHERE asset_class = 'FX' "
        "QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY ts, _seq) < 5 ORDER BY ts, _seq"
    ),
    "SELECT trade_date, count(*) AS n FROM t WHERE ts >= TIMESTAMPTZ '2026-01-06 00:00:00+03' GROUP BY ALL ORDER BY 1",
    "FROM t SELECT max(price) AS m WHERE size < 100 AND ts > DATE '2026-01-06'",
    "SELECT count(*) AS n FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u._seq = t._seq AND u.ts > '2026-01-07')",
    "SELECT * FROM t WHERE '2026-01-07' <= ts AND NOT (size > 500) ORDER BY ts, _seq LIMIT 7 OFFSET 3",
]


def test_answers_do_not_depend_on_placement(tmp_path):
    """The same rows in one hot segment and scattered at random give the same bits."""
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    frame = ticks(days=6, seed=seed)
    with qs.open(tmp_path / "plain") as plain, qs.open(tmp_path / "scattered") as scattered:
        cuts = [0, *sorted(rng.sample(range(1, len(frame)), 8)), len(frame)]
        for start, end in itertools.pairwise(cuts):
            plain.write(frame.iloc[start:end], "t", "hot")
            scattered.write(frame.iloc[start:end], "t", rng.choice(TIERS))
        for turn in range(6):
            scattered.migrate("t", *rng.sample(TIERS, 2), before=frame["ts"].iloc[rng.randrange(len(frame))])
            for sql in QUERIES:
                left, right = plain.read(sql, to="arrow"), scattered.read(sql, to="arrow")
                assert right.schema.equals(left.schema), sql
                assert right.to_pylist().__repr__() == left.to_pylist().__repr__(), (seed, turn, sql)


def test_sql_over_the_store_equals_duckdb_over_one_table(store, spread):
    """Against the engine alone, on a column type it knows fully (microseconds)."""
    frame = spread.assign(ts=spread["ts"].dt.as_unit("us"))
    store.write(frame, "u")
    store.migrate("u", "hot", "cold", before="2026-01-08", where="symbol <> 'IBM'")
    table = pa.Table.from_pandas(frame, preserve_index=False).append_column("_seq", pa.array(range(len(frame))))
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.register("u", table.append_column("trade_date", table["ts"].cast(pa.date32())))
    for sql in QUERIES:
        if "*" in sql.replace("count(*)", ""):
            continue  # the star of the plain table has no hidden columns
        sql = sql.replace(" t ", " u ").replace("t2", "v").replace(" t.", " u.").replace("WITH t AS", "WITH u AS")
        sql = sql[:-2] + " u" if sql.endswith(" t") else sql
        if "_seq AS" in sql:
            continue  # the plain table counts rows from zero
        left = con.sql(sql).to_arrow_table().to_pylist()
        assert repr(store.read(sql, to="arrow").to_pylist()) == repr(left), sql
