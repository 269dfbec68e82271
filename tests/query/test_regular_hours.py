"""Regular trading hours in New York over a year with both changes of the clock, beside pandas."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs

ZONE = "America/New_York"
LOCAL = f"(ts AT TIME ZONE '{ZONE}')"
TIERS = ("hot", "warm", "cold")
CASES = [("us", "UTC"), ("us", ZONE), ("ns", "UTC"), ("ns", ZONE)]


def stamps(unit: str) -> pd.DatetimeIndex:
    """Every ten minutes of 2026, each a little before, at or after; the last digits are those of the unit."""
    even = pd.date_range("2026-01-01", "2027-01-01", freq="10min", tz="UTC", unit="ns")
    step = 1 if unit == "ns" else 1_000
    return even + pd.to_timedelta((np.arange(len(even)) % 3 - 1) * step, unit="ns")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def year(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[qs.HybridStorageManager, pd.DatetimeIndex]]:
    """A store with the year in three tiers, a row in turn, and the same stamps in New York."""
    unit, zone = request.param
    index = stamps(unit)
    column = (
        pa.array(index.tz_localize(None), pa.timestamp("ns")).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    )
    column = pa.array(column.cast(pa.int64()), pa.timestamp(unit, zone))
    rows = pa.table({"ts": column, "n": np.arange(len(index))})
    with qs.open(tmp_path_factory.mktemp("year") / "store") as store:
        store.create("t", rows.schema, grain="month")
        for number, tier in enumerate(TIERS):
            store.write(rows.take(pa.array(np.arange(number, len(index), 3))), "t", tier)
        yield store, index.tz_convert(ZONE)


def found(store: qs.HybridStorageManager, condition: str) -> np.ndarray:
    """Return which rows meet a condition."""
    return np.sort(store.read(f"SELECT n FROM t WHERE {condition}", to="arrow")["n"].to_numpy())


def test_the_regular_session(year: tuple[qs.HybridStorageManager, pd.DatetimeIndex]) -> None:
    """Half past nine, included, to four, excluded, Monday to Friday, by the clock on the wall."""
    store, local = year
    wanted = np.flatnonzero(
        (local.time >= pd.Timestamp("09:30").time())
        & (local.time < pd.Timestamp("16:00").time())
        & (local.day_of_week < 5)
    )
    session = f"{LOCAL}::time >= TIME '09:30' AND {LOCAL}::time < TIME '16:00' AND isodow({LOCAL}) <= 5"
    assert np.array_equal(found(store, session), wanted)
    assert len(wanted) > 9_000


@pytest.mark.parametrize("hour", [0, 1, 2, 3, 9, 15, 23])
def test_hours_of_the_wall_clock(year: tuple[qs.HybridStorageManager, pd.DatetimeIndex], hour: int) -> None:
    """Also the hour that is skipped in March and the one that comes twice in November."""
    store, local = year
    wanted = np.flatnonzero(local.hour == hour)
    assert np.array_equal(found(store, f"hour({LOCAL}) = {hour}"), wanted)
    assert np.array_equal(found(store, f"extract(hour FROM {LOCAL}) = {hour}"), wanted)


def test_rows_by_local_day_and_their_opens(year: tuple[qs.HybridStorageManager, pd.DatetimeIndex]) -> None:
    """Days have 23, 24 or 25 hours, and a day's opening is half past nine by the wall, whatever that is in UTC."""
    store, local = year
    opening = f"min(n) FILTER ({LOCAL}::time >= TIME '09:30')"
    got = store.read(
        f"SELECT {LOCAL}::date AS day, count(*) AS n, {opening} AS first FROM t GROUP BY 1 ORDER BY 1", to="arrow"
    )
    frame = pd.DataFrame(
        {"day": local.date, "n": np.arange(len(local)), "late": local.time >= pd.Timestamp("09:30").time()}
    )
    assert got["day"].to_pylist() == sorted(set(frame["day"]))
    assert got["n"].to_pylist() == frame.groupby("day")["n"].count().tolist()
    opens = frame[frame["late"]].groupby("day")["n"].min()
    assert (
        dict(zip(got["day"].to_pylist(), got["first"].to_pylist(), strict=True))
        == dict.fromkeys(frame["day"]) | opens.to_dict()
    )
    assert {138, 144, 150} <= set(got["n"].to_pylist())


def test_a_wall_clock_literal_in_both_offsets(year: tuple[qs.HybridStorageManager, pd.DatetimeIndex]) -> None:
    """The same local time is another instant in winter and in summer."""
    store, local = year
    for day in ("2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02"):
        low, high = pd.Timestamp(f"{day} 09:30", tz=ZONE), pd.Timestamp(f"{day} 16:00", tz=ZONE)
        wanted = np.flatnonzero((local >= low) & (local < high))
        between = f"{LOCAL} >= TIMESTAMP '{day} 09:30' AND {LOCAL} < TIMESTAMP '{day} 16:00'"
        assert np.array_equal(found(store, between), wanted)
        instants = store.read(
            "SELECT n FROM t WHERE ts >= $low AND ts < $high", params={"low": low, "high": high}, to="arrow"
        )
        assert np.array_equal(np.sort(instants["n"].to_numpy()), wanted)
