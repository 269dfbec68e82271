"""A table day by day: the days there are, in order, each opened on its own."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from quantstore.errors import InvalidInputError, NotFoundError
from quantstore.query import days as module


def rows(days, per_day=6, start="2026-01-05"):
    """Return rows of business days, every second one of symbol A."""
    ts = pd.bdate_range(start, periods=days, tz="UTC").as_unit("ns").repeat(per_day)
    ts = ts + pd.to_timedelta(np.tile(np.arange(per_day), days), unit="h")
    names = np.tile(["A", "B"], days * per_day // 2)
    return pd.DataFrame({"ts": ts, "symbol": names, "x": np.arange(len(ts))})


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
@pytest.mark.parametrize("grain", ["day", "month", "year"])
def test_every_day_that_has_rows_comes_once_and_in_order(store, grain, tier):
    frame = rows(60)
    store.write(frame, "t", tier, grain=grain)
    found = list(store.table("t").days())
    assert [day for day, _ in found] == sorted(set(frame["ts"].dt.date))
    for day, part in found:
        assert_frame_equal(part, frame[frame["ts"].dt.date == day].reset_index(drop=True))


@pytest.mark.parametrize("grain", ["day", "month"])
def test_a_range_of_days_is_half_open_and_symbols_leave_days_out(store, grain):
    frame = rows(30)
    frame = frame[(frame["symbol"] == "B") | (frame["ts"].dt.day % 2 == 0)]
    store.write(frame, "t", grain=grain)
    table = store.table("t")
    start, end = "2026-01-20", dt.date(2026, 2, 4)
    found = dict(table.days(start, end, symbols="A"))
    wanted = frame[(frame["symbol"] == "A") & (frame["ts"] >= start) & (frame["ts"] < "2026-02-04")]
    assert list(found) == sorted(set(wanted["ts"].dt.date))
    assert_frame_equal(pd.concat(found.values(), ignore_index=True), wanted.reset_index(drop=True))
    assert [day for day, _ in table.days("2026-02-12")] == [dt.date(2026, 2, 12), dt.date(2026, 2, 13)]
    assert list(table.days("2027-01-01")) == []
    assert list(table.days(symbols="none")) == []


def test_only_the_segments_of_a_day_are_opened(store, monkeypatch):
    """And a damaged day does not keep the days before it from coming."""
    store.write(rows(10), "t", "cold", grain="day")
    opened = []
    read = type(store.cold_store).read
    monkeypatch.setattr(
        type(store.cold_store), "read", lambda self, *args, **kwargs: (opened.append(1), read(self, *args, **kwargs))[1]
    )
    for number, (_, part) in enumerate(store.table("t").days("2026-01-07"), 1):
        assert len(opened) == number
        assert part["x"].tolist() == list(range(6 * (number + 1), 6 * (number + 2)))
    assert number == 8


def test_a_wide_partition_is_read_in_windows(store, monkeypatch):
    """Never more rows at once than a window, unless a single day has more."""
    frame = rows(60)
    store.write(frame, "t", "warm", grain="year")
    monkeypatch.setattr(module, "WINDOW_ROWS", 20)
    read, sizes = store._reader.read, []

    def counted(request):
        result = read(request)
        if "x" in (request.columns or ()):
            sizes.append(len(result))
        return result

    monkeypatch.setattr(store._reader, "read", counted)
    found = list(store.table("t").days(to="arrow"))
    assert len(found) == 60
    assert max(sizes) == 18
    assert len(sizes) == 20
    assert pa.concat_tables([part for _, part in found])["x"].to_pylist() == frame["x"].tolist()


def test_days_are_trade_dates_not_dates_of_stamps(store):
    pytest.importorskip("exchange_calendars")
    ts = pd.DatetimeIndex(["2026-01-09 16:00", "2026-01-11 17:30", "2026-01-12 09:00"], tz="America/Chicago").as_unit(
        "ns"
    )
    store.write(pd.DataFrame({"ts": ts, "x": [0, 1, 2]}), "t", calendar="CMES")
    found = {str(day): part["x"].tolist() for day, part in store.table("t").days()}
    assert found == {"2026-01-09": [0], "2026-01-12": [1, 2]}
    own = pd.DataFrame({"ts": ts, "trade_date": ["2026-01-02", "2026-01-01", "2026-01-02"], "x": [0, 1, 2]})
    store.write(own, "own", grain="year")
    found = {str(day): part["x"].tolist() for day, part in store.table("own").days()}
    assert found == {"2026-01-01": [1], "2026-01-02": [0, 2]}


def test_kinds_of_frames_columns_and_index(store):
    frame = rows(3).set_index(["ts", "symbol"])
    store.write(frame, "t")
    table = store.table("t")
    _, first = next(iter(table.days()))
    assert_frame_equal(first, frame.iloc[:6])
    assert first.attrs["quantstore"]["version"] == 1
    _, only = next(iter(table.days(columns=["x", "trade_date"])))
    assert only.index.names == ["ts", "symbol"]
    assert list(only.columns) == ["x", "trade_date"]
    _, typed = next(iter(table.days(to="polars", columns="x")))
    assert typed.equals(pl.DataFrame({"x": range(6)}))
    _, backed = next(iter(table.days(dtype_backend="pyarrow")))
    assert str(backed["x"].dtype) == "int64[pyarrow]"


def test_all_days_are_of_one_version(store):
    """What is written, moved or removed meanwhile changes nothing of an iteration that has begun."""
    frame = rows(6)
    store.write(frame, "t", grain="day")
    days = store.table("t").days()
    parts = [next(days)[1]]
    store.write(rows(6).assign(x=-1), "t", "cold")
    store.delete("t", "symbol = 'B'")
    store.migrate("t", "hot", "warm")
    parts += [part for _, part in days]
    assert_frame_equal(pd.concat(parts, ignore_index=True), frame)
    assert len(list(store.table("t").days())) == 6


def test_what_makes_no_sense_is_refused_before_the_first_step(store):
    store.write(rows(3), "t")
    table = store.table("t")
    for arguments, message in (
        ({"start": "2026-01-05 12:00"}, "has a time of day"),
        ({"end": 5}, "not a point in time"),
        ({"to": "reader"}, "not one of pandas, polars, arrow"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            table.days(**arguments)
    with pytest.raises(NotFoundError, match="no column 'y'"):
        table.days(columns="y")
    store.write(rows(3)[["ts", "x"]], "plain")
    with pytest.raises(InvalidInputError, match="no symbol column"):
        store.table("plain").days(symbols="A")


def test_an_iteration_given_up_holds_nothing(store):
    store.write(rows(3), "t")
    days = store.table("t").days()
    next(days)
    days.close()
    store.write(rows(3).assign(x=0), "t", mode="overwrite")
    assert [len(part) for _, part in store.table("t").days()] == [6, 6, 6]
