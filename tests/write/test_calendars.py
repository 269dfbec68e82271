"""Trade dates by exchange calendar: overnight sessions, half days, clock changes, and where the calendar ends."""

from __future__ import annotations

import datetime as dt
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from quantstore.errors import InvalidInputError, MissingDependencyError
from quantstore.rows.calendars import session_dates

exchange_calendars = pytest.importorskip("exchange_calendars")
DAY = dt.date.fromisoformat
CHICAGO = "America/Chicago"
NEW_YORK = "America/New_York"


def library_calendar(name):
    """Return the library's own calendar; what it asks of pandas is no concern of these tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return exchange_calendars.get_calendar(name)


def sessions(stamps, name):
    """Return the session of each stamp, as written rows get it."""
    column = pa.chunked_array([pa.array(pd.DatetimeIndex(stamps).as_unit("ns"))])
    return session_dates(column, name, "ts", "t").to_pylist()


def frame_at(*stamps, tz=CHICAGO):
    """Return one row for each stamp."""
    ts = pd.DatetimeIndex([pd.Timestamp(stamp, tz=tz) for stamp in stamps]).as_unit("ns")
    return pd.DataFrame({"ts": ts, "symbol": "ES", "row": range(len(stamps))})


def stored_dates(store, table="t"):
    """Return the trade dates of a table's rows in the order of the column `row`."""
    return store.read(f"SELECT trade_date FROM {table} ORDER BY row", to="arrow").column(0).to_pylist()


CMES = {
    "Sunday 17:30 is Monday's session": ("2026-01-11 17:30", "2026-01-12"),
    "Sunday's open is Monday's session": ("2026-01-11 17:00", "2026-01-12"),
    "a Sunday before the open is, too": ("2026-01-11 12:00", "2026-01-12"),
    "Monday's close opens Tuesday": ("2026-01-12 17:00", "2026-01-13"),
    "an instant before it is Monday's": ("2026-01-12 16:59:59.999999999", "2026-01-12"),
    "Friday's close is Friday's": ("2026-01-09 17:00", "2026-01-09"),
    "an instant after it is Monday's": ("2026-01-09 17:00:00.000000001", "2026-01-12"),
    "Saturday is Monday's": ("2026-01-10 12:00", "2026-01-12"),
    "the evening before Thanksgiving is Thanksgiving's": ("2025-11-26 18:00", "2025-11-27"),
    "Thanksgiving after its early close is Friday's": ("2025-11-27 12:00:00.000000001", "2025-11-28"),
    "the Friday after closes at noon": ("2025-11-28 12:00", "2025-11-28"),
    "and its afternoon is Monday's": ("2025-11-28 13:00", "2025-12-01"),
    "the Sunday clocks go forward is Monday's": ("2026-03-08 17:30", "2026-03-09"),
    "as is the Sunday they go back": ("2025-11-02 17:30", "2025-11-03"),
    "the Friday before they go forward": ("2026-03-06 17:00", "2026-03-06"),
    "the Friday before they go back": ("2025-10-31 17:00", "2025-10-31"),
    "22:30 UTC in winter is before the close": ("2026-03-05 16:30", "2026-03-05"),
    "22:30 UTC in summer is after the open": ("2026-03-09 17:30", "2026-03-10"),
    "Christmas is the day after's": ("2025-12-25 10:00", "2025-12-26"),
}


@pytest.mark.parametrize(("stamp", "day"), CMES.values(), ids=CMES)
def test_overnight_futures_sessions(stamp, day):
    assert sessions([pd.Timestamp(stamp, tz=CHICAGO)], "CMES") == [DAY(day)]
    assert sessions([pd.Timestamp(stamp, tz=CHICAGO).tz_convert("Asia/Tokyo")], "CMES") == [DAY(day)]


XNYS = {
    "the open": ("2026-01-05 09:30", "2026-01-05"),
    "before the open": ("2026-01-05 04:00", "2026-01-05"),
    "the close": ("2026-01-05 16:00", "2026-01-05"),
    "after the close": ("2026-01-05 16:00:00.000000001", "2026-01-06"),
    "after Friday's close": ("2026-01-09 18:00", "2026-01-12"),
    "a half day's close": ("2025-11-28 13:00", "2025-11-28"),
    "after a half day's close": ("2025-11-28 13:00:01", "2025-12-01"),
    "a full day at that hour": ("2025-11-26 14:00", "2025-11-26"),
    "a holiday": ("2025-11-27 12:00", "2025-11-28"),
    "20:30 UTC the Friday before clocks go forward": ("2026-03-06 15:30", "2026-03-06"),
    "20:30 UTC the Monday after": ("2026-03-09 16:30", "2026-03-10"),
    "20:30 UTC the Friday before they go back": ("2025-10-31 16:30", "2025-11-03"),
    "20:30 UTC the Monday after that": ("2025-11-03 15:30", "2025-11-03"),
    "a year before the calendar begins by default": ("1999-12-31 13:00", "1999-12-31"),
    "and the Saturday after": ("2000-01-01 12:00", "2000-01-03"),
}


@pytest.mark.parametrize(("stamp", "day"), XNYS.values(), ids=XNYS)
def test_regular_sessions_half_days_and_clock_changes(stamp, day):
    assert sessions([pd.Timestamp(stamp, tz=NEW_YORK)], "XNYS") == [DAY(day)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's look-ups are older than the newest pandas
@pytest.mark.parametrize("name", ["XNYS", "CMES", "XLON", "XHKG", "XTKS", "24/7"])
def test_random_minutes_of_three_years_agree_with_the_library(name):
    """Many of them lie about opens, closes, lunch breaks and clock changes; the library is asked one by one."""
    known = library_calendar(name)
    random = np.random.default_rng(20)
    first = pd.Timestamp("2023-01-02", tz="UTC")
    edges = known.schedule.loc["2023-01-03":"2025-12-30"].drop(columns=["break_start", "break_end"])
    bells = pd.DatetimeIndex(random.choice(edges.to_numpy().ravel(), 500))
    changes = pd.to_datetime(["2023-03-12", "2023-11-05", "2024-03-10", "2024-03-31", "2024-10-27", "2024-11-03"])
    minutes = [
        first + pd.to_timedelta(random.integers(0, 3 * 364 * 1440, 1000), unit="min"),
        bells + pd.to_timedelta(random.integers(-2, 3, 500), unit="min"),
        changes.tz_localize("UTC").repeat(60) + pd.to_timedelta(random.integers(-4320, 5760, 360), unit="min"),
    ]
    stamps = pd.DatetimeIndex([stamp for part in minutes for stamp in part]).as_unit("ns")
    closes = set(known.closes)
    wanted = []
    for stamp in stamps:
        found = known.minute_to_session(stamp, direction="next")
        # To the library a close is no minute of its session; here it is, unless the next session opens with it.
        if stamp in closes and not known.is_open_on_minute(stamp):
            found = known.minute_to_session(stamp, direction="previous")
        wanted.append(found.date())
    assert len(set(wanted)) > 300
    assert sessions(stamps, name) == wanted


def test_every_bell_of_three_years_on_its_very_instant_and_about_it():
    """Opens, closes and the nanoseconds beside them, where minutes say nothing."""
    for name, touches in (("XNYS", False), ("CMES", True)):
        known = library_calendar(name)
        schedule = known.schedule.loc["2023-01-02":"2025-12-31"]
        days = [day.date() for day in schedule.index]
        opens, closes = pd.DatetimeIndex(schedule["open"]), pd.DatetimeIndex(schedule["close"])
        tick = pd.Timedelta(1, "ns")
        assert sessions(opens, name) == days
        assert sessions(closes - tick, name) == days
        assert sessions((closes + tick)[:-1], name) == days[1:]
        is_open = np.isin(closes[:-1].asi8, opens[1:].asi8)
        assert is_open.any() == touches
        following = [after if opened else day for day, after, opened in zip(days, days[1:], is_open, strict=False)]
        assert sessions(closes[:-1], name) == following


def test_written_rows_carry_their_session_through_every_tier(store):
    """Sunday evening is in Monday's partition, stored and pruned by it, and no move asks the calendar again."""
    rows = frame_at("2026-01-09 16:00", "2026-01-11 17:30", "2026-01-12 09:00", "2026-01-12 17:30")
    days = list(map(DAY, ["2026-01-09", "2026-01-12", "2026-01-12", "2026-01-13"]))
    store.write(rows, "t", calendar="CMES")
    for tier in ("hot", "warm", "cold"):
        if tier != "hot":
            store.migrate("t", "any", tier)
        assert stored_dates(store) == days
        placement = store.table("t").placement()
        assert sorted({str(day) for day in placement["trade_date"]}) == ["2026-01-09", "2026-01-12", "2026-01-13"]
        assert store.read("t", dates="2026-01-12")["row"].tolist() == [1, 2]
        assert store.read("t", dates=["2026-01-11"]).empty
        assert store.read("SELECT row FROM t WHERE trade_date = DATE '2026-01-12' ORDER BY row")["row"].tolist() == [
            1,
            2,
        ]
        assert store.read("SELECT row FROM t WHERE trade_date < DATE '2026-01-12'")["row"].tolist() == [0]
        lazy = store.scan("t", columns=["ts", "row", "trade_date"]).filter(pl.col("trade_date") == DAY("2026-01-12"))
        assert lazy.collect()["row"].to_list() == [1, 2]


def test_neither_days_nor_times_are_taken_for_the_other_when_segments_are_chosen(store):
    """A day of stamps reaches into two sessions, and a session into two days, whatever the question names."""
    rows = pd.concat(
        [frame_at(*pd.date_range(f"2026-01-{day:02} 00:30", periods=24, freq="h")) for day in range(5, 24)],
        ignore_index=True,
    ).assign(row=lambda df: range(len(df)))
    store.write(rows, "t", "cold", calendar="CMES")
    session = pd.Series(stored_dates(store))
    utc = rows["ts"].dt.tz_convert("UTC")
    for day in map(DAY, ["2026-01-06", "2026-01-09", "2026-01-11", "2026-01-12"]):
        start = pd.Timestamp(day, tz="UTC")
        wanted = rows["row"][utc.dt.date == day].tolist()
        assert store.read("t", start=start, end=start + pd.Timedelta("1D"))["row"].tolist() == wanted
        lazy = store.scan("t").filter(pl.col("ts").dt.convert_time_zone("UTC").dt.date() == day)
        assert lazy.collect()["row"].to_list() == wanted
        both = "SELECT row FROM t WHERE ts >= $start AND ts < $end AND trade_date = $day ORDER BY row"
        params = {"start": start, "end": start + pd.Timedelta("1D"), "day": day}
        wanted = rows["row"][(utc.dt.date == day) & (session == day)].tolist()
        assert store.read(both, params=params)["row"].tolist() == wanted
        assert store.read("t", dates=day)["row"].tolist() == rows["row"][session == day].tolist()


def test_wider_grains_keep_sessions(store):
    rows = frame_at("2025-12-31 16:00", "2026-01-01 17:30", "2026-01-30 17:30")
    store.write(rows, "t", calendar="CMES", grain="month")
    assert stored_dates(store) == [DAY("2025-12-31"), DAY("2026-01-02"), DAY("2026-02-02")]
    placement = store.table("t").placement()
    assert sorted(map(str, placement["trade_date"])) == ["2025-12-01", "2026-01-01", "2026-02-01"]
    assert store.read("t", dates="2026-02-02")["row"].tolist() == [2]


def test_corrections_take_rows_to_the_session_they_belong_to(store):
    store.write(frame_at("2026-01-11 17:30", "2026-01-12 09:00", "2026-01-13 09:00"), "t", calendar="CMES")
    store.write(frame_at("2026-01-11 18:00").assign(row=9), "t", mode="replace")
    assert store.read("t")["row"].tolist() == [9, 2]
    assert sorted(map(str, store.table("t").placement()["trade_date"])) == ["2026-01-12", "2026-01-13"]
    store.delete("t", "trade_date = DATE '2026-01-12'")
    assert store.read("t")["row"].tolist() == [2]


def test_naive_stamps_need_the_zone_they_are_in(store):
    rows = frame_at("2026-01-11 17:30").assign(ts=lambda df: df["ts"].dt.tz_localize(None))
    with pytest.raises(InvalidInputError, match=r"has no time zone.*tz='America/New_York'"):
        store.write(rows, "t", calendar="CMES")
    assert store.tables() == []
    store.write(rows, "t", calendar="CMES", tz=CHICAGO)
    assert stored_dates(store) == [DAY("2026-01-12")]
    assert str(store.read("t")["ts"].dtype) == "datetime64[ns, America/Chicago]"
    store.create("made", time="ts", calendar="CMES")
    with pytest.raises(InvalidInputError, match="has no time zone"):
        store.write(rows, "made")
    store.write(rows, "made", tz=CHICAGO)
    assert stored_dates(store, "made") == [DAY("2026-01-12")]


def test_dates_are_sessions_by_their_label(store):
    """A daily panel has dates, which are of no zone: a Saturday takes Monday."""
    dates = pa.array(list(map(DAY, ["2026-01-09", "2026-01-10", "2026-01-12"])))
    store.write(pa.table({"ts": dates, "row": [0, 1, 2]}), "t", calendar="XNYS")
    assert stored_dates(store) == [DAY("2026-01-09"), DAY("2026-01-12"), DAY("2026-01-12")]
    with pytest.raises(InvalidInputError, match=r"1 value outside calendar 'XNYS'.*2090-01-02"):
        store.write(pa.table({"ts": pa.array([DAY("2090-01-02")]), "row": [3]}), "t")


@pytest.mark.parametrize(
    ("name", "stamp"), [("XNYS", "2090-01-03 12:00"), ("CMES", "2090-01-03"), ("XKRX", "1950-01-03")]
)
def test_a_stamp_outside_the_calendar_raises_and_changes_nothing(store, name, stamp):
    rows = frame_at("2026-01-12 09:00", stamp)
    with pytest.raises(InvalidInputError) as told:
        store.write(rows, "t", calendar=name)
    message = str(told.value)
    assert f"1 value outside calendar '{name}'" in message
    assert stamp[:10] in message
    assert "sessions of" in message
    assert "trade_date" in message
    assert store.tables() == []
    own = rows.assign(trade_date=dt.date(2026, 1, 12))
    assert store.write(own, "t", calendar=name).rows == 2


def test_a_trade_date_of_the_rows_own_is_kept(store):
    rows = frame_at("2026-01-11 17:30", "2026-01-12 09:00")
    store.write(rows, "t", calendar="CMES")
    own = rows.assign(row=[2, 3], trade_date=dt.date(2026, 2, 2))
    store.write(own, "t")
    assert stored_dates(store) == [DAY("2026-01-12")] * 2 + [DAY("2026-02-02")] * 2


def test_the_calendar_is_fixed_by_the_first_write(store):
    rows = frame_at("2026-01-11 17:30")
    store.write(rows, "t", calendar="CMES")
    store.write(rows.assign(row=1), "t", calendar="cmes")
    with pytest.raises(InvalidInputError, match=r"has calendar 'CMES'.*calendar='NYSE'"):
        store.write(rows.assign(row=2), "t", calendar="NYSE")
    store.write(rows, "plain")
    with pytest.raises(InvalidInputError, match="has no calendar"):
        store.write(rows.assign(row=1), "plain", calendar="CMES")
    assert stored_dates(store, "plain") == [DAY("2026-01-11")]


def test_names_of_calendars_are_known_in_any_case_and_by_alias(store):
    store.create("a", calendar="nyse")
    store.create("b", pa.schema([("ts", pa.timestamp("ns", "UTC")), ("row", pa.int64())]), calendar="xnys")
    for table in ("a", "b"):
        store.write(pd.DataFrame({"ts": pd.to_datetime(["2026-01-09T23:00Z"]), "row": [0]}), table)
        assert stored_dates(store, table) == [DAY("2026-01-12")]
    with pytest.raises(InvalidInputError, match=r"no exchange calendar 'XNYSE'\. Did you mean 'XNYS'"):
        store.create("c", calendar="XNYSE")
    assert store.tables() == ["a", "b"]


def test_without_the_package_the_error_names_the_extra(store, monkeypatch):
    store.write(frame_at("2026-01-11 17:30"), "t", calendar="CMES")
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(MissingDependencyError, match=r"quantstore\[calendars\]"):
        store.create("u", calendar="CMES")
    with pytest.raises(MissingDependencyError, match=r"quantstore\[calendars\]"):
        store.write(frame_at("2026-01-12 17:30"), "u", calendar="CMES")
    assert stored_dates(store) == [DAY("2026-01-12")]


def test_units_coarser_than_nanoseconds_and_empty_frames(store):
    schema = pa.schema([("ts", pa.timestamp("s", CHICAGO)), ("row", pa.int64())])
    store.write(schema.empty_table(), "t", calendar="CMES")
    stamp = int(pd.Timestamp("2026-01-11 17:30", tz=CHICAGO).timestamp())
    store.write(pa.table([pa.array([stamp]).cast(schema.field(0).type), pa.array([0])], schema=schema), "t")
    assert stored_dates(store) == [DAY("2026-01-12")]
