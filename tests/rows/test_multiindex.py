"""Row indexes of several levels: columns in the store, levels again where a table is read by its name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from quantstore.errors import InvalidInputError

TIMES = pd.date_range("2026-03-06 09:30", periods=3, freq="D", tz="America/New_York", name="ts").as_unit("ns")


def levels(**others):
    """Return an index of times and symbols, other levels after them, sorted by time."""
    return pd.MultiIndex.from_product([TIMES, pd.Index(["B", "A"], name="symbol"), *others.values()])


INDEXES = {
    "time and symbol": levels(),
    "a level of categories": levels(
        side=pd.CategoricalIndex(["buy", "sell"], ["sell", "buy"], ordered=True, name="side")
    ),
    "a level of numbers": levels(strike=pd.Index([90.0, 95.5], name="strike")),
    "levels of whole numbers and flags": levels(
        leg=pd.Index([1, 2], name="leg", dtype="int32"), call=pd.Index([True, False], name="call")
    ),
    "a second level of stamps": levels(
        expiry=pd.DatetimeIndex(["2026-06-19", "2026-09-18"], name="expiry").as_unit("ns")
    ),
    "naive microseconds": pd.MultiIndex.from_product(
        [pd.date_range("2026-03-06", periods=3, name="ts").as_unit("us"), pd.Index(["B", "A"], name="symbol")]
    ),
    "one level": pd.MultiIndex.from_arrays([TIMES.repeat(2)], names=["ts"]),
    "time last": pd.MultiIndex.from_arrays([["B", "A"] * 3, TIMES.repeat(2)], names=["symbol", "ts"]),
}


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_levels_come_back_with_their_names_types_and_order(store, index, tier):
    frame = pd.DataFrame({"price": np.arange(float(len(index))), "size": np.arange(len(index))}, index=index)
    store.write(frame, "t", tier, time="ts")
    found = store.read("t")
    assert_frame_equal(
        found, frame if index.nlevels > 1 else frame.set_axis(index.get_level_values(0)), check_freq=False
    )
    assert list(store.read("SELECT * FROM t").columns) == [*index.names, "price", "size"]
    assert store.table("t").schema.names == [*index.names, "price", "size"]


def test_some_columns_of_some_rows_keep_the_levels(store):
    frame = pd.DataFrame({"price": np.arange(6.0), "size": np.arange(6)}, index=levels())
    store.write(frame, "t")
    found = store.read("t", columns="size", symbols="A", start=TIMES[1])
    assert_frame_equal(found.reset_index(), frame.iloc[[3, 5]][["size"]].reset_index())
    assert store.read("t", symbols="none").index.names == ["ts", "symbol"]
    assert store.read("t", to="polars").columns == ["ts", "symbol", "price", "size"]


def test_rows_with_an_index_and_rows_without_one_go_into_one_table(store):
    frame = pd.DataFrame({"price": np.arange(6.0)}, index=levels())
    store.write(frame, "t")
    store.write(frame.reset_index().assign(price=9.0), "t", "cold")
    assert store.read("t").index.names == ["ts", "symbol"]
    assert len(store.read("t")) == 12
    swapped = frame.swaplevel()
    store.write(swapped.assign(price=7.0), "t")
    assert store.read("t").index.names == ["ts", "symbol"]
    assert (store.read("t")["price"] == 7.0).sum() == 6


def test_missing_values_in_a_level_come_back(store):
    index = pd.MultiIndex.from_arrays([TIMES, ["A", None, "B"]], names=["ts", "symbol"])
    frame = pd.DataFrame({"price": [1.0, 2.0, 3.0]}, index=index)
    store.write(frame, "t")
    found = store.read("t")
    assert found.index.get_level_values("symbol").isna().tolist() == [False, True, False]
    assert found["price"].tolist() == [1.0, 2.0, 3.0]


def test_levels_without_names_and_levels_called_like_columns_are_refused(store):
    frame = pd.DataFrame({"price": np.arange(6.0)}, index=levels())
    with pytest.raises(InvalidInputError, match=r"Level 1 of the row MultiIndex has no name.*df\.index\.names"):
        store.write(frame.rename_axis(index=["ts", None]), "t")
    with pytest.raises(InvalidInputError, match="'price' is also the name of an index level"):
        store.write(frame.rename_axis(index=["ts", "price"]), "t")
    assert store.tables() == []


def test_columns_of_several_levels_are_refused_with_ways_that_work(store):
    """Each way out that the message names is taken."""
    prices = pd.DataFrame(np.arange(6.0).reshape(3, 2), TIMES, ["A", "B"])
    frame = pd.concat({"close": prices, "volume": prices * 10}, axis=1)
    with pytest.raises(InvalidInputError) as told:
        store.write(frame, "t")
    assert all(way in str(told.value) for way in ("join the levels", "wide='close'", "df.stack(level=1"))
    store.write(frame.set_axis(["_".join(one) for one in frame.columns], axis=1), "joined")
    assert store.read("joined").columns.tolist() == ["close_A", "close_B", "volume_A", "volume_B"]
    store.write(frame["close"], "one", wide="close")
    assert_frame_equal(store.table("one").wide("close"), frame["close"])
    long = frame.stack(level=1, future_stack=True).rename_axis(index=["ts", "symbol"])
    store.write(long, "rows")
    assert_frame_equal(store.read("rows"), long)
