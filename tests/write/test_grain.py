"""How wide a partition is: said, or decided by the first rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

import quantstore as qs
from quantstore.core.table import Grain
from quantstore.errors import ConflictError, InvalidInputError
from quantstore.write import arrivals
from quantstore.write.grain import DAY_BYTES, DAY_ROWS, MONTH_BYTES, MONTH_ROWS, Spread, fitting_grain


def daily(days, symbols=2, start="2024-01-01", freq="B"):
    """Return one row per day and symbol."""
    ts = pd.date_range(start, periods=days, freq=freq, tz="UTC").as_unit("ns").repeat(symbols)
    names = np.tile([f"S{at}" for at in range(symbols)], days)
    return pd.DataFrame({"ts": ts, "symbol": names, "close": np.arange(len(ts)) + 0.5})


def grain_of(store, name="t"):
    with store.metadata_catalog.view() as view:
        return view.table(name).spec.grain


def spread(days, rows_a_day, classes=1, row_bytes=40):
    months = max(1, days // 21)
    return Spread(days * rows_a_day, days * rows_a_day * row_bytes, days, days * classes, months * classes)


@pytest.mark.parametrize(
    ("given", "grain"),
    [
        pytest.param(spread(5, 10), Grain.DAY, id="a few days say nothing"),
        pytest.param(spread(59, 10), Grain.DAY, id="nor does a quarter"),
        pytest.param(spread(60, 10), Grain.YEAR, id="a quarter of daily bars"),
        pytest.param(spread(5040, 5000), Grain.YEAR, id="twenty years of 5,000 symbols"),
        pytest.param(spread(5040, 1, row_bytes=8), Grain.YEAR, id="one index"),
        pytest.param(spread(250, MONTH_ROWS // 21 + 1000), Grain.MONTH, id="a year of minutes of a few symbols"),
        pytest.param(spread(250, 100, row_bytes=MONTH_BYTES // 2000), Grain.MONTH, id="few wide rows"),
        pytest.param(spread(250, DAY_ROWS), Grain.DAY, id="a year of ticks"),
        pytest.param(spread(250, 10, row_bytes=DAY_BYTES // 10 + 1), Grain.DAY, id="order books as lists"),
        pytest.param(spread(250, DAY_ROWS, classes=4), Grain.MONTH, id="ticks in many asset classes"),
    ],
)
def test_the_rule(given, grain):
    assert fitting_grain(given) is grain


def test_reference_data_is_sparse_from_its_first_row():
    assert fitting_grain(spread(3, 5), is_reference=True) is Grain.YEAR
    assert fitting_grain(spread(1, DAY_ROWS), is_reference=True) is Grain.DAY


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_a_long_panel_is_kept_in_years_and_pruned_by_day_and_symbol(store, tier):
    """Three years of days become three segments, and a day or a symbol reads what it needs."""
    rows = daily(780, symbols=40)
    result = store.write(rows, "t", tier)
    assert grain_of(store) is Grain.YEAR
    assert result.segments == 3
    assert_frame_equal(store.read("t"), rows)
    found = store.read(
        "SELECT count(*) AS n FROM t WHERE ts >= TIMESTAMPTZ '2025-03-03' AND ts < TIMESTAMPTZ '2025-03-05'"
    )
    assert found["n"].item() == 80
    assert [use.segments for use in store.last.plan.uses()] == [1]
    assert store.read("t", dates=["2025-03-03", "2026-01-05"], symbols="S7")["symbol"].tolist() == ["S7", "S7"]
    assert [use.segments for use in store.last.plan.uses()] == [2]
    assert store.read("SELECT count(*) AS n FROM t WHERE trade_date = DATE '2024-02-29'")["n"].item() == 40
    placed = store.table("t").placement()
    assert sorted(map(str, placed["trade_date"])) == ["2024-01-01", "2025-01-01", "2026-01-01"]


def test_a_first_write_of_a_few_days_is_kept_in_days(store):
    store.write(daily(20), "t")
    assert grain_of(store) is Grain.DAY
    store.write(daily(300, start="2025-01-01"), "t")
    assert grain_of(store) is Grain.DAY
    assert len(store.table("t").placement()) == 320


@pytest.mark.parametrize(("grain", "segments"), [("day", 90), ("month", 5), ("year", 1)])
def test_what_the_first_write_says_goes(store, grain, segments):
    assert store.write(daily(90), "t", grain=grain).segments == segments
    assert grain_of(store).value == grain
    assert store.write(daily(90, symbols=1), "t", grain=grain).rows == 90
    store.write(daily(3), "t", grain="auto")
    other = "day" if grain != "day" else "year"
    with pytest.raises(InvalidInputError, match=f"has grain '{grain}'.*grain={other}"):
        store.write(daily(1), "t", grain=other)
    with pytest.raises(InvalidInputError, match="choose auto, day, month or year"):
        store.write(daily(1), "u", grain="week")


def test_a_table_that_was_made_waits_for_its_first_rows(store):
    """Questions asked before, and an empty frame, decide nothing."""
    schema = pa.schema([("ts", pa.timestamp("ns", "UTC")), ("symbol", pa.string()), ("close", pa.float64())])
    store.create("t", schema)
    query = "SELECT count(*) AS n FROM t WHERE trade_date = DATE '2024-02-29'"
    assert grain_of(store) is Grain.AUTO
    assert store.read(query)["n"].item() == 0
    store.write(schema.empty_table(), "t")
    assert grain_of(store) is Grain.AUTO
    assert store.read(query)["n"].item() == 0
    store.write(daily(300), "t")
    assert grain_of(store) is Grain.YEAR
    assert store.read(query)["n"].item() == 2
    store.create("bare")
    store.write(daily(300), "bare")
    assert grain_of(store, "bare") is Grain.YEAR
    store.create("said", grain="month")
    store.write(daily(300), "said")
    assert grain_of(store, "said") is Grain.MONTH
    store.create("later", schema)
    store.write(daily(300), "later", grain="day")
    assert grain_of(store, "later") is Grain.DAY


@pytest.mark.parametrize("mode", ["append", "overwrite", "error", "replace", "upsert"])
def test_every_mode_of_a_first_write_decides(store, mode):
    store.write(daily(300), "t", mode=mode, key=["ts", "symbol"] if mode == "upsert" else None)
    assert grain_of(store) is Grain.YEAR
    assert_frame_equal(store.read("t"), daily(300))


def test_the_first_buffer_of_a_stream_decides(store, monkeypatch):
    frame = pl.DataFrame(daily(600))
    store.write(frame.lazy(), "lazy", "cold")
    assert grain_of(store, "lazy") is Grain.YEAR
    monkeypatch.setattr(arrivals, "STREAM_BUFFER_BYTES", 2_000)
    store.write(iter([frame.slice(at, 20) for at in range(0, 1200, 20)]), "drops")
    assert grain_of(store, "drops") is Grain.DAY
    assert store.read("drops", to="polars").equals(frame.with_columns(pl.col("symbol").cast(pl.String)))


def test_a_transaction_decides_once(store):
    with store.transaction() as tx:
        tx.write(daily(300), "t")
        tx.write(daily(2, start="2026-01-01"), "t")
        tx.write(daily(2, start="2026-01-01"), "u")
        tx.write(daily(300, start="2027-01-01"), "u")
    assert (grain_of(store, "t"), grain_of(store, "u")) == (Grain.YEAR, Grain.DAY)
    assert_frame_equal(store.read("t"), pd.concat([daily(300), daily(2, start="2026-01-01")], ignore_index=True))
    assert len(store.read("u", dates="2027-01-01")) == 2


@pytest.mark.parametrize("is_made", [True, False])
def test_the_loser_of_a_race_for_the_first_rows_follows(tmp_path, is_made):
    """Two writers of a table without rows decide differently; the later one cuts its rows anew, as the table is."""
    with qs.open(tmp_path / "s") as one, qs.open(tmp_path / "s") as other:
        rows = pa.Table.from_pandas(daily(300), preserve_index=False)
        if is_made:
            one.create("t", rows.schema.remove_metadata())
        with one.transaction() as early:
            early.write(rows, "t")
            other.write(rows.slice(0, 4), "t")
        assert grain_of(one) is Grain.DAY
        assert len(one.read("t")) == 604
        placed = one.table("t").placement()
        assert len(placed) == 302
        assert len(one.read("t", dates="2024-01-02")) == 4
        assert one.read("SELECT count(*) AS n FROM t WHERE trade_date = DATE '2024-02-29'")["n"].item() == 2


def test_a_stream_that_loses_such_a_race_is_told(tmp_path):
    with qs.open(tmp_path / "s") as one, qs.open(tmp_path / "s") as other:
        rows = pa.Table.from_pandas(daily(300), preserve_index=False)

        def batches():
            yield rows.slice(0, 200)
            other.write(rows.slice(0, 4), "t")
            yield rows.slice(200)

        with pytest.raises(ConflictError, match=r"Write again|write again"):
            one.write(batches(), "t")
        assert len(one.read("t")) == 4


def test_rows_are_moved_and_corrected_in_wide_partitions(store):
    rows = daily(300)
    store.write(rows, "t")
    store.migrate("t", "hot", "cold", before="2024-07-01")
    assert {one: len(part) for one, part in store.table("t").placement().groupby("tier")} == {"cold": 1, "hot": 2}
    store.write(rows.iloc[[10]].assign(close=-1.0), "t", mode="replace")
    rows.loc[10, "close"] = -1.0
    by_name = ["ts", "symbol"]
    assert_frame_equal(store.read("t").sort_values(by_name, ignore_index=True), rows)
    store.delete("t", "trade_date = DATE '2024-01-01'")
    assert_frame_equal(store.read("t").sort_values(by_name, ignore_index=True), rows.iloc[2:].reset_index(drop=True))


def test_trade_dates_of_the_rows_own_decide(store):
    """All stamps are of one day, the trade dates of three hundred."""
    rows = daily(300).assign(trade_date=lambda df: df["ts"].dt.date, ts=pd.Timestamp("2026-01-05", tz="UTC"))
    store.write(rows, "t")
    assert grain_of(store) is Grain.YEAR
    assert store.read("t", dates=dt.date(2024, 1, 2))["close"].tolist() == [2.5, 3.5]


@pytest.mark.slow
def test_twenty_years_of_thousands_of_symbols_in_fewer_than_300_segments(store):
    """The size of the panel the grain was measured for, with a tenth of its symbols in the slower tiers."""
    for tier, symbols in (("hot", 5000), ("warm", 500), ("cold", 500)):
        days = pd.bdate_range("2006-01-02", "2025-12-31").as_unit("ns")
        names = np.array([f"SYM{at:05}" for at in range(symbols)])
        rows = pa.table(
            {
                "date": np.repeat(days.to_numpy(), symbols),
                "symbol": pa.DictionaryArray.from_arrays(np.tile(np.arange(symbols, dtype="i4"), len(days)), names),
                "close": np.random.default_rng(1).random(len(days) * symbols),
            }
        )
        result = store.write(rows, f"panel_{tier}", tier)
        assert result.rows == len(days) * symbols
        assert result.segments < 300
        query = f"SELECT count(*) AS n FROM panel_{tier} WHERE symbol = 'SYM00042' AND date >= TIMESTAMP '2025-12-01'"
        assert store.read(query)["n"].item() == 23
        assert [use.segments for use in store.last.plan.uses()] == [1]
