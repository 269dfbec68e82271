"""Regular trading hours over a year with both changes of the clock: what SQL gives and what pandas gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import quantstore as qs

NEW_YORK = "America/New_York"
YEAR = 2024
STEP = pd.Timedelta("29min")
OPEN, CLOSE = pd.Timestamp("09:30").time(), pd.Timestamp("16:00").time()
KINDS = {
    "us UTC": ("us", "UTC"),
    "us New York": ("us", NEW_YORK),
    "ns UTC": ("ns", "UTC"),
    "ns New York": ("ns", NEW_YORK),
}
LOCAL = "(ts AT TIME ZONE 'America/New_York')"


def instants(unit):
    """Return instants through the year, more of them around opening, closing, midnight and the changes of the clock."""
    regular = pd.date_range(f"{YEAR - 1}-12-31 22:00", f"{YEAR + 1}-01-01 06:00", freq=STEP, tz="UTC").as_unit("ns")
    days = pd.date_range(f"{YEAR}-01-01", f"{YEAR}-12-31", tz=NEW_YORK)
    walls = [days.tz_localize(None) + pd.Timedelta(text) for text in ("9h30m", "10h", "16h", "0h", "23h59m59s")]
    edges = [wall.tz_localize(NEW_YORK).tz_convert("UTC") for wall in walls]
    changes = [pd.Timestamp(f"{YEAR}-03-10 07:00", tz="UTC"), pd.Timestamp(f"{YEAR}-11-03 06:00", tz="UTC")]
    near = [
        pd.DatetimeIndex([change + pd.Timedelta(f"{minute}min") for minute in range(-90, 91)]) for change in changes
    ]
    every = np.concatenate([one.as_unit("ns").asi8 for one in (regular, *edges, *near)])
    digits = 1 if unit == "ns" else 1000
    every = np.unique(np.concatenate([every, every - digits, every + digits]))
    return pd.to_datetime(every, utc=True)


@pytest.fixture(scope="module", params=KINDS)
def year(request, tmp_path_factory):
    """A year in a store, spread over all tiers by months, and the same in pandas with New York's clock."""
    unit, zone = KINDS[request.param]
    utc = instants(unit)
    frame = pd.DataFrame({"ts": utc.tz_convert(zone).as_unit(unit), "n": np.arange(len(utc)), "symbol": "A"})
    with qs.open(tmp_path_factory.mktemp("year") / "store") as store:
        store.create("t", time="ts", symbol="symbol", grain="month")
        month = utc.month.to_numpy()
        for rest, tier in enumerate(("hot", "warm", "cold")):
            store.write(frame[month % 3 == rest], "t", tier)
        local = utc.tz_convert(NEW_YORK)
        yield store, pd.DataFrame({"n": frame["n"], "local": local, "utc": utc})


def numbers(store, condition):
    """Return the rows that meet a condition, sorted."""
    return store.read(f"SELECT n FROM t WHERE {condition} ORDER BY n")["n"].to_numpy()


def test_regular_hours_are_those_of_new_york(year):
    store, wanted = year
    clock = wanted["local"].dt.time
    inside = wanted.loc[(clock >= OPEN) & (clock < CLOSE), "n"].to_numpy()
    assert 365 * 24 < len(inside) < len(wanted) / 2
    for condition in (
        f"{LOCAL}::TIME >= '09:30' AND {LOCAL}::TIME < '16:00'",
        f"CAST({LOCAL} AS TIME) >= TIME '09:30:00' AND CAST({LOCAL} AS TIME) < TIME '16:00:00'",
        f"timezone('America/New_York', ts)::TIME >= '09:30' AND hour({LOCAL}) < 16",
        f"(hour({LOCAL}) > 9 OR (hour({LOCAL}) = 9 AND minute({LOCAL}) >= 30)) AND hour({LOCAL}) <= 15",
        f"extract('hour' FROM {LOCAL}) * 60 + extract('minute' FROM {LOCAL}) BETWEEN 570 AND 959",
        f"strftime({LOCAL}, '%H:%M') >= '09:30' AND strftime({LOCAL}, '%H:%M') < '16:00'",
        f"{LOCAL} - date_trunc('day', {LOCAL}) >= INTERVAL '9 hours 30 minutes' AND {LOCAL}::TIME < '16:00'",
    ):
        assert np.array_equal(numbers(store, condition), inside), condition


def test_closing_stamps_count_to_the_nanosecond(year):
    """Cut to microseconds, a stamp just after the close falls on it; just before it stays before."""
    store, wanted = year
    clock = wanted["utc"].dt.floor("us").dt.tz_convert(NEW_YORK).dt.time
    inside = wanted.loc[(clock >= OPEN) & (clock <= CLOSE), "n"].to_numpy()
    assert np.array_equal(numbers(store, f"{LOCAL}::TIME BETWEEN '09:30' AND '16:00'"), inside)


def test_hours_days_and_weekdays_of_every_row(year):
    store, wanted = year
    found = store.read(
        f"SELECT n, hour({LOCAL}) AS h, minute({LOCAL}) AS m, {LOCAL}::DATE AS d, isodow({LOCAL}) AS w, "
        f"dayofyear({LOCAL}) AS y, epoch_us({LOCAL}) AS wall, hour(ts) AS utc FROM t ORDER BY n"
    )
    local = wanted["local"]
    assert np.array_equal(found["h"], local.dt.hour)
    assert np.array_equal(found["m"], local.dt.minute)
    assert np.array_equal(pd.to_datetime(found["d"]).dt.date, local.dt.date)
    assert np.array_equal(found["w"], local.dt.day_of_week + 1)
    assert np.array_equal(found["y"], local.dt.day_of_year)
    walls = local.dt.tz_localize(None).astype("datetime64[ns]").astype("int64").to_numpy()
    assert np.array_equal(found["wall"], walls // 1000)
    assert np.array_equal(found["utc"], wanted["utc"].dt.hour)


def test_wall_clock_times_come_back_as_instants(year):
    """But for the hour that comes twice, whose wall-clock times are those of its second half."""
    store, wanted = year
    found = store.read(f"SELECT n FROM t WHERE {LOCAL} AT TIME ZONE 'America/New_York' = ts ORDER BY n")["n"].to_numpy()
    utc = wanted["utc"]
    first, second = pd.Timestamp(f"{YEAR}-11-03 05:00", tz="UTC"), pd.Timestamp(f"{YEAR}-11-03 06:00", tz="UTC")
    lost = wanted.loc[~wanted["n"].isin(found), "utc"]
    one_hour = utc[(utc >= first) & (utc < second)], utc[(utc >= second) & (utc < second + pd.Timedelta("1h"))]
    assert list(lost) in (list(one_hour[0]), list(one_hour[1]))


def test_a_session_is_bounded_by_its_own_day(year):
    """Rows for each local day and each local hour, the 23 and 25 hours of the days that change clocks among them."""
    store, wanted = year
    found = store.read(
        f"SELECT {LOCAL}::DATE AS d, hour({LOCAL}) AS h, count(*) AS c, min(n) AS low, max(n) AS high FROM t "
        "GROUP BY d, h ORDER BY d, h"
    )
    keys = wanted.assign(d=wanted["local"].dt.date, h=wanted["local"].dt.hour)
    grouped = keys.groupby(["d", "h"], as_index=False).agg(c=("n", "size"), low=("n", "min"), high=("n", "max"))
    assert np.array_equal(pd.to_datetime(found["d"]).dt.date, grouped["d"])
    assert np.array_equal(found[["h", "c", "low", "high"]].to_numpy(), grouped[["h", "c", "low", "high"]].to_numpy())
    hours = found.groupby(pd.to_datetime(found["d"]).dt.date)["h"].size()
    assert hours[pd.Timestamp(f"{YEAR}-03-10").date()] == 23
    spring = found[pd.to_datetime(found["d"]).dt.date == pd.Timestamp(f"{YEAR}-03-10").date()]
    assert 2 not in set(spring["h"])


@pytest.mark.parametrize("width", ["1 day", "1 hour", "30 minutes"])
def test_buckets_in_local_time(year, width):
    """Days begin at New York's midnight, whatever that is in UTC."""
    store, wanted = year
    found = store.read(f"SELECT date_trunc('day', {LOCAL}) AS d, count(*) AS c FROM t GROUP BY d ORDER BY d")
    walls = wanted["local"].dt.tz_localize(None)
    days = walls.dt.floor("D").value_counts().sort_index()
    assert np.array_equal(found["c"], days.to_numpy())
    assert np.array_equal(pd.to_datetime(found["d"]).to_numpy(), days.index.to_numpy())
    buckets = store.read(
        f"SELECT time_bucket(INTERVAL '{width}', {LOCAL}) AS b, count(*) AS c FROM t GROUP BY b ORDER BY b"
    )
    floors = walls.dt.floor(width.replace("minutes", "min").replace(" day", "D").replace(" hour", "h")).value_counts()
    assert np.array_equal(buckets["c"], floors.sort_index().to_numpy())


def test_regular_hours_prune_together_with_days(year):
    store, wanted = year
    day = (
        f"ts >= '{YEAR}-03-11 00:00:00 America/New_York' AND ts < '{YEAR}-03-12 00:00:00 America/New_York' "
        f"AND {LOCAL}::TIME >= '09:30' AND {LOCAL}::TIME < '16:00'"
    )
    found = numbers(store, day)
    assert len(store.last.plan.scans[0].choices) == 1
    clock = wanted["local"].dt.time
    inside = (wanted["local"].dt.date == pd.Timestamp(f"{YEAR}-03-11").date()) & (clock >= OPEN) & (clock < CLOSE)
    assert np.array_equal(found, wanted.loc[inside, "n"].to_numpy())
