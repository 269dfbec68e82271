"""Tables without event time: what holds from when, and as-of joins with it."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from quantstore.core.table import Grain
from quantstore.errors import InvalidInputError

LOTS = pd.DataFrame(
    {
        "symbol": ["A", "B", "A", "B", "A"],
        "valid_from": pd.to_datetime(["2010-01-04", "2010-01-04", "2015-06-01", "2026-01-07", "2026-01-08"], utc=True),
        "listed": pd.to_datetime(["1999-05-01"] * 5),
        "lot": [100, 100, 10, 50, 1],
    }
).astype({"valid_from": "datetime64[us, UTC]", "listed": "datetime64[us]"})


def trades():
    ts = pd.date_range("2026-01-06 15:00", periods=4, freq="D", tz="UTC").as_unit("ns").repeat(2)
    return pd.DataFrame({"ts": ts, "symbol": ["A", "B"] * 4, "size": range(8)})


def spec_of(store, name):
    with store.metadata_catalog.view() as view:
        return view.table(name).spec


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_valid_from_is_the_time_of_reference_data(store, tier):
    """Among several datetime columns, and the table is kept in years from its first rows on."""
    result = store.write(LOTS, "lots", tier)
    spec = spec_of(store, "lots")
    assert (spec.time, spec.symbol, spec.grain) == ("valid_from", "symbol", Grain.YEAR)
    assert result.segments == 3
    assert_frame_equal(store.read("lots"), LOTS)
    assert store.read("lots", end="2016-01-01")["lot"].tolist() == [100, 100, 10]


def test_ts_goes_before_valid_from_and_time_says_otherwise(store):
    both = LOTS.assign(ts=LOTS["listed"])
    store.write(both, "t")
    assert spec_of(store, "t").time == "ts"
    store.write(both, "u", time="Valid_From")
    assert spec_of(store, "u").time == "valid_from"
    store.write(LOTS.rename(columns={"valid_from": "VALID_FROM"}), "v")
    assert spec_of(store, "v").time == "VALID_FROM"
    store.write(LOTS.assign(valid_from="since ever"), "w")
    assert spec_of(store, "w").time == "listed"


def test_dates_serve_as_well_and_go_before_other_stamps(store):
    dates = LOTS.assign(valid_from=LOTS["valid_from"].dt.date)
    store.write(dates, "lots")
    assert spec_of(store, "lots").time == "valid_from"
    assert store.table("lots").schema.field("valid_from").type == pa.date32()


def test_a_table_without_any_time_is_refused_with_a_way_out_that_works(store):
    names = pd.DataFrame({"symbol": ["A", "B"], "name": ["Alpha", "Beta"]})
    with pytest.raises(InvalidInputError) as told:
        store.write(names, "names")
    message = str(told.value)
    way = message[message.index("df.assign") : message.rindex(".")]
    store.write(eval(way, {"df": names, "pd": pd}), "names")
    assert spec_of(store, "names").grain is Grain.YEAR
    assert store.read("SELECT name FROM names WHERE symbol = 'B'")["name"].tolist() == ["Beta"]


WANTED = [10, 100, 10, 50, 1, 50, 1, 50]


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_as_of_joins_find_what_held_at_the_time(store, tier, unit):
    """Against pandas' own, wherever the two tables lie; rows of any age before the trades count."""
    lots = LOTS.astype({"valid_from": f"datetime64[{unit}, UTC]"})
    store.write(trades(), "trades")
    store.write(lots, "lots", tier)
    query = (
        "SELECT t.ts, t.symbol, t.size, l.lot FROM trades t ASOF JOIN lots l "
        "ON t.symbol = l.symbol AND t.ts >= l.valid_from ORDER BY t.size"
    )
    found = store.read(query)
    assert found["lot"].tolist() == WANTED
    right = lots[["valid_from", "symbol", "lot"]].astype({"valid_from": "datetime64[ns, UTC]"})
    merged = pd.merge_asof(trades(), right, left_on="ts", right_on="valid_from", by="symbol")
    assert merged["lot"].tolist() == WANTED
    bounded = query.replace("ORDER BY", "WHERE t.ts < TIMESTAMPTZ '2026-01-07' ORDER BY")
    assert store.read(bounded)["lot"].tolist() == WANTED[:2]
    reads = {scan.record.name: len(scan.choices) for scan in store.last.plan.scans}
    assert reads["lots"] == 2  # what begins to hold after the trades is not opened


def test_as_of_joins_with_dates_and_naive_stamps(store):
    """A date holds from its midnight; naive trades go with naive reference data."""
    naive = trades().assign(ts=lambda df: df["ts"].dt.tz_localize(None))
    store.write(naive, "trades")
    store.write(LOTS.assign(valid_from=LOTS["valid_from"].dt.date), "dates")
    store.write(LOTS.assign(valid_from=LOTS["valid_from"].dt.tz_localize(None)), "stamps")
    for name in ("dates", "stamps"):
        query = (
            f"SELECT l.lot FROM trades t ASOF JOIN {name} l ON t.symbol = l.symbol AND t.ts >= l.valid_from "
            "ORDER BY t.size"
        )
        assert store.read(query)["lot"].tolist() == WANTED, name


def test_the_rows_that_hold_now_and_corrections_by_key(store):
    store.write(LOTS, "lots", key=["symbol", "valid_from"])
    newest = "SELECT DISTINCT ON (symbol) symbol, lot FROM lots ORDER BY symbol, valid_from DESC"
    assert store.read(newest)["lot"].tolist() == [1, 50]
    store.write(LOTS.iloc[[4]].assign(lot=5), "lots", mode="upsert")
    assert store.read(newest)["lot"].tolist() == [5, 50]
    lazy = store.scan("lots").filter(pl.col("valid_from") < dt.datetime(2012, 1, 1, tzinfo=dt.UTC)).collect()
    assert lazy["lot"].to_list() == [100, 100]
