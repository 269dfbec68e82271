"""Frames with a column for each symbol: stored as rows, and back as they were."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal
from polars.testing import assert_frame_equal as assert_polars_equal

from quantstore.errors import InvalidInputError, NotFoundError, ResultTooLarge


def panel(rows=6, symbols=("MSFT", "AAPL", "Z", "B"), index=None, dtype="float64"):
    """Return a frame whose columns are in no order of their names."""
    index = pd.bdate_range("2026-01-05", periods=rows, name="date").as_unit("ns") if index is None else index
    values = np.random.default_rng(3).normal(100, 5, (rows, len(symbols)))
    return pd.DataFrame(values, index=index, columns=list(symbols)).astype(dtype)


def with_holes(frame):
    """Empty a cell, a whole row and a whole column."""
    frame = frame.copy()
    frame.iloc[1, 1] = frame.iloc[3] = np.nan
    frame["EMPTY"] = np.nan
    return frame


INDEXES = {
    "days": pd.bdate_range("2026-01-05", periods=6, name="date").as_unit("ns"),
    "no name": pd.date_range("2026-01-05", periods=6, freq="D").as_unit("ns"),
    "zone": pd.date_range("2026-03-05", periods=6, freq="D", tz="America/New_York", name="when").as_unit("ns"),
    "microseconds": pd.date_range("2026-01-05", periods=6, freq="h", name="ts").as_unit("us"),
    "no rhythm": pd.DatetimeIndex(["2026-01-05", "2026-01-06", "2026-01-09", "2026-02-01", "2026-02-02", "2026-02-09"]),
    "nanoseconds": pd.date_range("2026-01-05", periods=6, freq="7ns", name="ts").as_unit("ns"),
}


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_a_frame_comes_back_as_it_was(store, tier, index):
    """Values, dtypes, order of columns, index, its name, zone and frequency."""
    frame = with_holes(panel(index=index))
    store.write(frame, "t", tier, wide="close")
    assert_frame_equal(store.table("t").wide("close"), frame)


DTYPES = {
    "float32": "float32",
    "int64": "int64",
    "int16": "int16",
    "bool": "bool",
    "Int64": "Int64",
    "Float64": "Float64",
    "pyarrow": "int64[pyarrow]",
    "text": "str",
}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_values_of_any_type_keep_it(store, dtype):
    frame = panel(dtype="int64").astype(dtype)
    store.write(frame, "t", wide="x")
    assert_frame_equal(store.table("t").wide("x"), frame)
    assert_frame_equal(
        store.table("t").wide("x", start="2026-01-07", symbols=["Z", "B"]), frame.iloc[2:, 2:], check_freq=False
    )


def test_stamps_categories_and_decimals_are_values_like_others(store):
    stamps = panel().apply(lambda column: pd.Timestamp("2026-02-02", tz="UTC") + pd.to_timedelta(column, unit="s"))
    ratings = pd.DataFrame(
        {name: pd.Categorical(["A", "B"] * 3, categories=["C", "B", "A"], ordered=True) for name in ("X", "Y")},
        index=INDEXES["days"],
    )
    store.write(stamps, "stamps", wide="at")
    store.write(ratings, "ratings", wide="rating")
    assert_frame_equal(store.table("stamps").wide("at"), stamps)
    assert_frame_equal(store.table("ratings").wide("rating"), ratings)
    days = pa.array([dt.date(2026, 1, 5), dt.date(2026, 1, 6)])
    exact = pa.table({"day": days, "X": [Decimal("1.10"), None], "Y": [Decimal("2.25"), Decimal("3.75")]})
    store.write(exact, "exact", wide="price")
    assert store.table("exact").wide("price", to="arrow").equals(exact)


def test_cells_are_rows_and_empty_ones_are_not(store):
    """But a row or column without any value keeps one cell."""
    frame = with_holes(
        panel(3, ("B", "A"), pd.date_range("2026-01-05", periods=3, name="ts").as_unit("ns"))
        .iloc[:, :2]
        .reindex(pd.date_range("2026-01-05", periods=4, name="ts").as_unit("ns"))
    )
    result = store.write(frame, "t", wide="close")
    long = store.read("t")
    assert list(long.columns) == ["ts", "symbol", "close"]
    days = ["2026-01-05"] * 3 + ["2026-01-06", "2026-01-07", "2026-01-07", "2026-01-08"]
    assert long["ts"].astype(str).tolist() == days
    assert long["symbol"].tolist() == ["B", "A", "EMPTY", "B", "B", "A", "B"]
    assert long["close"].isna().tolist() == [False, False, True, False, False, False, True]
    assert result.rows == 7
    assert store.read("SELECT count(close) AS n FROM t")["n"].item() == frame.notna().sum().sum()


def test_polars_and_arrow_frames_come_back_with_time_where_it_was(store):
    frame = pl.DataFrame(
        {"B": [1.0, None, 3.0], "when": [dt.datetime(2026, 1, day) for day in (5, 6, 7)], "A": [4.0, 5.0, float("nan")]}
    )
    store.write(frame, "t", "warm", wide="close")
    assert_polars_equal(store.table("t").wide("close", to="polars"), frame)
    assert_polars_equal(pl.DataFrame(store.table("t").wide("close", to="arrow")), frame)
    found = store.table("t").wide("close")
    assert list(found.columns) == ["B", "when", "A"]
    assert store.read("SELECT count(*) AS n FROM t WHERE isnan(close)")["n"].item() == 1


def test_a_pandas_frame_with_a_time_column(store):
    frame = panel(index=INDEXES["microseconds"]).reset_index()
    store.write(frame, "t", wide="close")
    assert_frame_equal(store.table("t").wide("close"), frame)
    typed = frame.astype(dict.fromkeys(frame.columns[1:], "Float64"))
    store.write(typed, "u", wide="close", time="ts")
    assert_frame_equal(store.table("u").wide("close"), typed)


def test_lazy_frames_readers_and_iterators_are_taken_bit_by_bit(store):
    frame = pl.DataFrame(with_holes(panel(200)).reset_index())
    parts = [frame.slice(at, 30) for at in range(0, 200, 30)]
    for name, data in (("lazy", frame.lazy()), ("parts", iter(parts)), ("reader", frame.to_arrow().to_reader(17))):
        store.write(data, name, wide="close")
        assert_polars_equal(
            store.table(name).wide("close", to="polars"), frame.with_columns(pl.col("EMPTY").cast(pl.Float64))
        )


def test_later_writes_add_days_and_symbols(store):
    first, second = panel(6).iloc[:3], panel(6, ("NEW", "AAPL", "ALSO")).iloc[3:]
    store.write(first, "t", wide="close")
    store.write(second, "t", "cold", wide="close")
    found = store.table("t").wide("close")
    assert list(found.columns) == ["MSFT", "AAPL", "Z", "B", "ALSO", "NEW"]
    assert_frame_equal(found, pd.concat([first, second])[list(found.columns)], check_freq=False)
    store.write(pd.DataFrame({"date": first.index, "symbol": "LONG", "close": 1.0}), "t")
    assert store.table("t").wide("close")["LONG"].dropna().tolist() == [1.0] * 3


def test_a_wide_frame_fits_a_long_table(store):
    """An index without a name takes the name of the table's time column, the symbols that of its symbol column."""
    ts = pd.to_datetime(["2026-01-05", "2026-01-05"]).as_unit("ns")
    store.write(pd.DataFrame({"when": ts, "ric": pd.Categorical(["X", "Y"]), "px": [1.0, 2.0]}), "t", symbol="ric")
    store.write(panel(2, ("X", "W"), pd.date_range("2026-01-06", periods=2).as_unit("ns")), "t", wide="px")
    found = store.table("t").wide("px")
    assert (found.index.name, found.columns.name, list(found.columns)) == ("when", "ric", ["W", "X", "Y"])
    assert found.notna().sum().tolist() == [2, 3, 1]
    with pytest.raises(InvalidInputError, match="lacks 'when'"):
        store.write(panel(2, ("X",)), "t", wide="close", time=None, symbol=None)


def test_corrections_of_wide_frames(store):
    frame = panel(4)
    store.write(frame, "t", wide="close", key=["date", "symbol"])
    changed = frame.copy()
    changed.loc[changed.index[2], "Z"] = 7.0
    result = store.write(changed, "t", wide="close", mode="upsert")
    assert (result.rows, result.deleted) == (1, 1)
    assert_frame_equal(store.table("t").wide("close"), changed)
    store.write(frame.iloc[:2], "t", wide="close", mode="overwrite")
    assert_frame_equal(store.table("t").wide("close"), frame.iloc[:2], check_freq=False)
    assert_frame_equal(store.table("t").wide("close", as_of=result.version), changed)


def test_wide_in_a_transaction_and_by_the_accessor(store):
    frame = panel(4)
    with store.transaction() as tx:
        tx.write(frame.iloc[:2], "t", wide="close")
        tx.write(frame.iloc[2:], "t", wide="close")
    assert_frame_equal(store.table("t").wide("close"), frame, check_freq=False)
    frame.tier.write("u", store=store, wide="close", calendar="XNYS", grain="year", tz="America/New_York")
    assert store.table("u").wide("close").index.tz is not None


def test_a_repeat_is_seen(store):
    store.write(panel(), "t", wide="close")
    with pytest.warns(match="already"):
        assert store.write(panel(), "t", wide="close").replayed


def test_any_column_of_a_long_table_reads_wide(store):
    times = pd.date_range("2026-01-05", periods=3, tz="UTC").as_unit("ns")
    rows = pd.DataFrame(
        {
            "ts": times.repeat(2)[:5],
            "symbol": ["B", "A"] * 2 + ["A"],
            "volume": np.arange(5),
            "close": np.arange(5.0),
            "flag": [True, False, True, False, True],
        }
    )
    store.write(rows, "t")
    for name, dtype in (("volume", "Int64"), ("close", "float64"), ("flag", "boolean")):
        wanted = rows.pivot(index="ts", columns="symbol", values=name).astype(dtype)
        assert_frame_equal(store.table("t").wide(name), wanted, check_freq=False)
    assert store.table("t").wide("VOLUME", end="2026-01-07")["A"].dtype == "int64"
    assert str(store.table("t").wide("volume", dtype_backend="pyarrow")["A"].dtype) == "int64[pyarrow]"
    assert store.table("t").wide("close", to="polars").columns == ["ts", "A", "B"]
    assert store.table("t").wide("close", dates="2026-01-06", symbols="B").to_numpy().tolist() == [[2.0]]
    empty = store.table("t").wide("close", start="2030-01-01")
    assert empty.shape == (0, 0)


def test_two_rows_for_one_cell_are_refused(store):
    rows = pd.DataFrame({"ts": pd.to_datetime(["2026-01-05"] * 3), "symbol": ["A", "B", "A"], "close": [1.0, 2.0, 3.0]})
    store.write(rows, "t")
    with pytest.raises(
        InvalidInputError, match=r"Table 't' has 1 row with time and symbol of another.*2026-01-05.*'A'.*upsert"
    ):
        store.table("t").wide("close")


def test_what_cannot_be_wide_is_refused(store):
    days = pd.date_range("2026-01-05", periods=2, name="ts")
    mixed = pd.DataFrame({"A": [1.0, 2.0], "B": ["x", "y"]}, index=days)
    with pytest.raises(InvalidInputError, match="'A' is double and 'B' is"):
        store.write(mixed, "t", wide="close")
    with pytest.raises(InvalidInputError, match="no column but its time 'ts'"):
        store.write(pd.DataFrame(index=days), "t", wide="close")
    twice = panel(2, ("A", "B"), pd.MultiIndex.from_product([days[:1], ["x", "y"]], names=["ts", "kind"]))
    with pytest.raises(InvalidInputError, match=r"one index level.*unstack"):
        store.write(twice, "t", wide="close")
    with pytest.raises(InvalidInputError, match="symbol"):
        store.write(panel(2, ("A", "B")), "t", wide="symbol")
    fields = pd.concat({"close": panel(2), "open": panel(2)}, axis=1)
    with pytest.raises(InvalidInputError, match=r"MultiIndex columns.*wide="):
        store.write(fields, "t", wide="close")
    large = pd.DataFrame({"A": [2**60 + 1, 1], "B": [0.5, 1.5]}, index=days)
    with pytest.raises(InvalidInputError, match=r"Column 'A' .*cannot become double"):
        store.write(large, "t", wide="close")
    assert store.tables() == []
    store.write(pd.DataFrame({"ts": days, "x": [1, 2]}), "plain")
    with pytest.raises(InvalidInputError, match="no symbol column"):
        store.write(panel(2), "plain", wide="x")
    with pytest.raises(InvalidInputError, match="no symbol column"):
        store.table("plain").wide("x")
    store.write(panel(2), "t", wide="close")
    with pytest.raises(NotFoundError, match="Did you mean 'close'"):
        store.table("t").wide("clos")
    with pytest.raises(InvalidInputError, match="its time or symbol"):
        store.table("t").wide("symbol")
    with pytest.raises(InvalidInputError, match="not one of pandas, polars, arrow"):
        store.table("t").wide("close", to="reader")
    store.write(pd.DataFrame({"ts": days, "symbol": ["A", None], "x": [1, 2]}), "gaps")
    with pytest.raises(InvalidInputError, match="Table 'gaps' has 1 row without a symbol"):
        store.table("gaps").wide("x")


def test_a_wide_frame_too_large_is_refused_before_it_is_made(store):
    """Every row of this table has a time and a symbol of its own, so the wide frame has a cell for each pair."""
    rows = 3000
    times = pd.date_range("2026-01-05", periods=rows, freq="s").as_unit("ns")
    store.write(pd.DataFrame({"ts": times, "symbol": [f"S{at}" for at in range(rows)], "x": np.arange(rows)}), "t")
    with pytest.raises(ResultTooLarge):
        store.table("t").wide("x", max_bytes="50MB")
    assert store.table("t").wide("x", max_bytes=None).shape == (rows, rows)


def test_ints_and_floats_of_one_frame_become_floats(store):
    """As where only some symbols have gaps: pandas makes floats of those columns alone."""
    frame = pd.DataFrame({"A": [1, 2], "B": [1.0, np.nan]}, index=pd.date_range("2026-01-05", periods=2, name="ts"))
    store.write(frame, "t", wide="volume")
    assert_frame_equal(store.table("t").wide("volume"), frame.astype("float64"), check_index_type=False)


@pytest.mark.slow
def test_three_thousand_symbols_of_twenty_years(store):
    """15 million cells in and out, in a few segments."""
    frame = panel(5000, [f"S{at:04}" for at in range(3000)])
    result = store.write(frame, "t", "cold", wide="close")
    assert result.rows == 15_000_000
    assert result.segments < 300
    assert_frame_equal(store.table("t").wide("close"), frame)
