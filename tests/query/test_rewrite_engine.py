"""Rewritten statements run by the engine, compared with the engine over microseconds, with pandas and with integers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from quantstore.query.parse import parse
from quantstore.query.rewriting.rewrite import Rewritten, rewrite
from quantstore.query.rewriting.stamps import parse_stamp

NEW_YORK = "America/New_York"
ROWS = 60
Engine = duckdb.DuckDBPyConnection


def _stamps(seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return microseconds from 1938 to 2033, both changes of the clock of 2020 among them, and digits below them."""
    rng = np.random.default_rng(seed)
    micros = np.concatenate(
        [
            [0, -1, -1_000_000, -500_000, 86_399_999_999, 1_577_836_800_000_000],
            rng.integers(-(10**15), 2 * 10**15, 14),
            1_583_600_000_000_000 + rng.integers(0, 10**11, 20),
            1_604_200_000_000_000 + rng.integers(0, 2 * 10**10, 20),
        ]
    )
    digits = np.where(rng.random(ROWS) < 0.7, rng.integers(0, 1000, ROWS), 0)
    digits[[1, 2, 3]] = [999, 1, 600]
    return micros, digits


def _table(*, nanoseconds: bool, digits: bool) -> pa.Table:
    """Return the logical table; without `nanoseconds` its stamps are cut to the microsecond."""
    micros, below = _stamps()
    below = below if digits else below * 0
    absent = np.zeros(ROWS, bool)
    absent[[10, 33]] = True

    def column(values: np.ndarray, unit: str, zone: str | None) -> pa.Array:
        counted = values if unit == "ns" else values // 1000 if nanoseconds is False and unit == "cut" else values
        return pa.array(counted, pa.int64(), mask=absent).cast(pa.timestamp("us" if unit != "ns" else "ns", zone))

    unit = "ns" if nanoseconds else "cut"
    fine = micros * 1000 + below
    other = np.roll(micros, 3) * 1000 + np.roll(below, 3)
    return pa.table(
        {
            "ts": column(fine, unit, NEW_YORK),
            "b": column(other, unit, "UTC"),
            "nn": column(fine, unit, None),
            "us": column(np.roll(micros, 1), "us", "UTC"),
            "un": column(np.roll(micros, 2), "us", None),
            "d": pa.array((micros // 86_400_000_000).astype("int32"), pa.date32()),
            "s": pa.array([f"S{number % 4}" for number in range(ROWS)]),
            "p": pa.array(np.round(np.random.default_rng(1).random(ROWS), 3)),
            "i": pa.array(np.arange(ROWS)),
        }
    )


def as_engine_sees(table: pa.Table) -> pa.Table:
    """Return a table with instants in nanoseconds as wall-clock times in UTC."""
    columns = [
        column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).cast(pa.timestamp("ns"))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else column
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.table(columns, names=table.schema.names)


def _connect(**tables: pa.Table) -> Engine:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in tables.items():
        connection.register(f"{name}_arrow", as_engine_sees(table))
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_arrow")
    return connection


def _rewritten(sql: str, parameters: dict[str, str] | None = None, **tables: pa.Table) -> Rewritten:
    tree = parse(sql)
    assert tree is not None, sql
    return rewrite(tree, {name: table.schema for name, table in tables.items()}, {}, parameters or {})


def _run(connection: Engine, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
    return connection.sql(sql, params=parameters).to_arrow_table()


def _plain(value: Any) -> Any:
    """Return a value so that stamps of any resolution and zone compare as instants."""
    if isinstance(value, datetime):
        stamp = pd.Timestamp(value)
        stamp = stamp if stamp.tz is None else stamp.tz_convert("UTC").tz_localize(None)
        return "stamp", stamp.as_unit("ns").value
    if isinstance(value, float):
        return None if value != value else round(value, 6)
    if isinstance(value, list | tuple) and not hasattr(value, "months"):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _rows(table: pa.Table) -> list[str]:
    """Return rows in an order that depends on nothing but their values."""
    columns = [column.to_pylist() for column in table.columns]
    return sorted(repr(tuple(_plain(value) for value in row)) for row in zip(*columns, strict=True))


@pytest.fixture(scope="module")
def coarse() -> Iterator[Engine]:
    table = _table(nanoseconds=False, digits=False)
    with _connect(x=table, y=table) as connection:
        yield connection


@pytest.fixture(scope="module")
def exact() -> Iterator[Engine]:
    """Nanosecond columns whose stamps are whole microseconds."""
    table = _table(nanoseconds=True, digits=False)
    with _connect(x=table, y=table) as connection:
        yield connection


@pytest.fixture(scope="module")
def fine() -> Iterator[Engine]:
    """Nanosecond columns with digits below a microsecond."""
    table = _table(nanoseconds=True, digits=True)
    with _connect(x=table, y=table) as connection:
        yield connection


def _statements(name: str) -> list[str]:
    text = (Path(__file__).parent / "queries" / f"{name}.sql").read_text()
    return [line.removesuffix(";") for line in text.splitlines() if line and not line.startswith("--")]


@pytest.mark.parametrize("sql", _statements("as_microseconds"), ids=lambda sql: sql[:70])
def test_nanosecond_columns_behave_as_microsecond_columns(sql: str, coarse: Engine, exact: Engine) -> None:
    """What is stored at nanoseconds gives what the engine itself gives for the same stamps at microseconds."""
    table = _table(nanoseconds=True, digits=False)
    result = _rewritten(sql, x=table, y=table)
    got = _run(exact, result.tree.sql("duckdb"))
    assert _rows(got) == _rows(_run(coarse, sql))
    if result.outputs is not None:
        assert len(result.outputs) == got.num_columns
        for output, field in zip(result.outputs, got.schema, strict=True):
            assert output.zone is None or "timestamp[ns]" in str(field.type)


@pytest.mark.parametrize("sql", _statements("cut_downwards"), ids=lambda sql: sql[:70])
def test_functions_of_microseconds_cut_downwards(sql: str, coarse: Engine, fine: Engine) -> None:
    """Before 1970 as after: .9999996 of a second stays in its second."""
    table = _table(nanoseconds=True, digits=True)
    got = _run(fine, _rewritten(sql, x=table, y=table).tree.sql("duckdb"))
    assert _rows(got) == _rows(_run(coarse, sql))


# Nanoseconds


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """The fine table in pandas: `ts` and `b` with zones, `nn` without, plain integers beside them."""
    table = _table(nanoseconds=True, digits=True)
    result = table.to_pandas()
    for name in ("ts", "b", "nn"):
        result[f"{name}_ns"] = pd.array(table.column(name).cast(pa.int64()).to_pylist(), dtype="Int64")
    result["us_ns"] = pd.array(table.column("us").cast(pa.int64()).to_pylist(), dtype="Int64") * 1000
    return result


def _fine(connection: Engine, sql: str, parameters: dict[str, tuple[str, Any]] | None = None) -> pd.DataFrame:
    """Run a rewritten statement over x and y and return stamps as integers of nanoseconds."""
    table = _table(nanoseconds=True, digits=True)
    given = parameters or {}
    result = _rewritten(sql, {name: kind for name, (kind, _) in given.items()}, x=table, y=table)
    got = _run(connection, result.tree.sql("duckdb"), {name: value for name, (_, value) in given.items()} or None)
    columns = {}
    for number, (field, column) in enumerate(zip(got.schema, got.columns, strict=True)):
        if pa.types.is_timestamp(field.type):
            column = column.cast(pa.timestamp("ns", field.type.tz)).cast(pa.int64())
        name = field.name if field.name not in columns else f"{field.name}_{number}"
        columns[name] = pd.Series(column.to_pylist(), dtype="object")
    return pd.DataFrame(columns)


def _same(got: pd.Series, wanted: Any) -> None:
    left = [None if pd.isna(value) else value for value in got]
    right = [
        None if pd.isna(value) else int(value) if isinstance(value, np.integer | float) else value for value in wanted
    ]
    assert left == right


OPERATORS = {"=": "eq", "<>": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_comparisons_with_microseconds_are_exact(operator: str, fine: Engine, frame: pd.DataFrame) -> None:
    got = _fine(fine, f"SELECT x.i AS i, y.i AS j, x.ts {operator} y.us AS a, y.us {operator} x.ts AS b FROM x, y")
    counts = frame.set_index("i")
    left = counts["ts_ns"].loc[got["i"]].reset_index(drop=True)
    right = counts["us_ns"].loc[got["j"]].reset_index(drop=True)
    _same(got["a"], getattr(left, OPERATORS[operator])(right))
    _same(got["b"], getattr(right, OPERATORS[operator])(left))


def test_literals_are_exact_to_the_nanosecond(fine: Engine, frame: pd.DataFrame) -> None:
    for row in (1, 2, 3, 20, 45):
        stamp = frame["ts"][row]
        for text in (
            str(stamp),
            stamp.tz_convert("UTC").isoformat().replace("+00:00", "Z"),
            str(stamp.tz_convert("Asia/Kolkata")),
        ):
            assert list(_fine(fine, f"SELECT i FROM x WHERE ts = '{text}'")["i"]) == [row], text
        below, above = (str(stamp + pd.Timedelta(delta, "ns")) for delta in (-1, 1))
        assert list(_fine(fine, f"SELECT i FROM x WHERE ts > '{below}' AND ts < '{above}'")["i"]) == [row]
        assert list(_fine(fine, f"SELECT i FROM x WHERE ts BETWEEN '{stamp}' AND '{stamp}'")["i"]) == [row]
        assert row in list(_fine(fine, f"SELECT i FROM x WHERE ts IN ('{above}', '{stamp}')")["i"])
        assert list(_fine(fine, f"SELECT i FROM x WHERE nn = '{frame['nn'][row]}'")["i"]) == [row]


def test_literals_in_named_zones_mean_what_the_engine_takes_them_for(fine: Engine) -> None:
    """Hours that come twice and hours that never come included."""
    for text in ("2020-03-08 02:30:00", "2020-11-01 01:30:00", "2020-07-01 12:00:00.25"):
        literal = f"{text} {NEW_YORK}"
        wanted = _run(fine, f"SELECT epoch_us('{literal}'::TIMESTAMPTZ) AS t").column("t").to_pylist()[0]
        finer = f"{text}{'0000007' if '.' in text else '.000000007'} {NEW_YORK}"
        got = _fine(fine, f"SELECT coalesce(ts, '{finer}') AS t FROM x WHERE i = 10")
        assert got["t"][0] == wanted * 1000 + 7


LITERALS = """
2020-01-01 | 2020-1-1 | 2020/01/02 | 2020 01 02 | 2020-01-01 1:2 | 2020-01-01 1:2:3. | 2020-01-01T10:20:30
2020-01-01  10:20:30.1 | 2020-01-01 24:00:00 | 2020-01-01 10:20:30Z | 2020-01-01 10:20:30+02
2020-01-01 10:20:30+0230 | 2020-01-01 10:20:30-02:30 | 2020-01-01 10:20:30+02:30:10 | 1969-12-31 23:59:59.999999
0044-03-15 (BC) | 44-03-15 | 9999-12-31 23:59:59.999999 | 1600-01-01 | 2000-02-29 | 1900-02-28 | epoch
"""


@pytest.mark.parametrize("text", re.split(r" \| |\n", LITERALS.strip()))
def test_literals_mean_what_the_engine_takes_them_for(text: str, fine: Engine) -> None:
    stamp = parse_stamp(text)
    assert stamp is not None
    instant, wall = (
        _run(fine, f"SELECT epoch_us('{text}'::TIMESTAMPTZ), epoch_us('{text}'::TIMESTAMP)").to_pylist()[0].values()
    )
    assert ((stamp.wall_ns - stamp.offset_ns) // 1000, stamp.wall_ns // 1000) == (instant, wall)


def test_fixed_intervals_and_calendar_intervals_keep_nanoseconds(fine: Engine, frame: pd.DataFrame) -> None:
    got = _fine(
        fine,
        "SELECT ts + INTERVAL 5 MINUTE AS a, nn - INTERVAL '3 days' AS b, ts + INTERVAL 1 MONTH AS c, "
        "nn - INTERVAL 2 YEAR AS d, ts + i * INTERVAL 1 SECOND AS e, b + INTERVAL '1 day 2 hours' AS f "
        "FROM x ORDER BY i",
    )
    utc = frame["ts"].dt.tz_convert("UTC")
    for name, wanted in {
        "a": utc + pd.Timedelta("5min"),
        "b": frame["nn"] - pd.Timedelta("3D"),
        "c": utc + pd.DateOffset(months=1),
        "d": frame["nn"] - pd.DateOffset(years=2),
        "e": utc + pd.to_timedelta(frame["i"], unit="s"),
        "f": frame["b"] + pd.Timedelta("26h"),
    }.items():
        _same(got[name], [None if pd.isna(stamp) else stamp.value for stamp in wanted])


def test_zones_keep_nanoseconds(fine: Engine, frame: pd.DataFrame) -> None:
    got = _fine(
        fine,
        f"SELECT ts AT TIME ZONE '{NEW_YORK}' AS a, (ts AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo' AS b, "
        "nn AT TIME ZONE 'Asia/Tokyo' AS c FROM x ORDER BY i",
    )
    local = frame["ts"].dt.tz_convert(NEW_YORK).dt.tz_localize(None)
    tokyo = frame["nn"].dt.tz_localize("Asia/Tokyo", ambiguous=False, nonexistent="shift_forward").dt.tz_convert("UTC")
    since_1952 = (frame["ts_ns"] > -550_000_000 * 10**9).fillna(True)  # Tokyo had summer time before
    _same(got["a"], [None if pd.isna(stamp) else stamp.value for stamp in local])
    _same(got["b"], frame["ts_ns"])
    _same(got["c"][since_1952], [None if pd.isna(stamp) else stamp.value for stamp in tokyo[since_1952]])


def test_differences_are_rounded_down_to_the_microsecond(fine: Engine, frame: pd.DataFrame) -> None:
    got = _fine(
        fine,
        "SELECT epoch_us(ts - b) AS a, epoch_us(b - nn) AS b, epoch_us(ts - us) AS c, epoch_us(us - ts) AS d, "
        "epoch_us(ts - lag(ts) OVER (ORDER BY i)) AS e, datesub('microsecond', TIMESTAMP '2000-01-01', "
        "TIMESTAMP '2000-01-01' + (ts - b)) AS f FROM x ORDER BY i",
    )
    ts, b, us = frame["ts_ns"], frame["b_ns"], frame["us_ns"]
    _same(got["a"], (ts - b) // 1000)
    _same(got["b"], (b - ts) // 1000)
    _same(got["c"], (ts - us) // 1000)
    _same(got["d"], (us - ts) // 1000)
    _same(got["e"], (ts - ts.shift()) // 1000)
    _same(got["f"], (ts - b) // 1000)


def test_truncation_and_buckets_agree_with_pandas(fine: Engine, frame: pd.DataFrame) -> None:
    got = _fine(
        fine,
        "SELECT date_trunc('minute', ts) AS a, time_bucket(INTERVAL 5 MINUTE, nn) AS b, hour(ts) AS c, "
        "second(nn) AS d, strftime(ts, '%Y-%m-%d %H:%M:%S.%n') AS e, max(ts)::DATE AS f "
        "FROM x GROUP BY ts, nn, i ORDER BY i",
    )
    utc = frame["ts"].dt.tz_convert("UTC")
    _same(got["a"], [None if pd.isna(stamp) else stamp.value for stamp in utc.dt.floor("min")])
    _same(got["b"], [None if pd.isna(stamp) else stamp.value for stamp in frame["nn"].dt.floor("5min")])
    _same(got["c"], utc.dt.hour)
    _same(got["d"], frame["nn"].dt.second)
    text = [
        None if pd.isna(one) else f"{one:%Y-%m-%d %H:%M:%S}.{one.microsecond * 1000 + one.nanosecond:09d}"
        for one in utc
    ]
    assert [None if pd.isna(one) else one for one in got["e"]] == text
    assert [None if pd.isna(one) else one for one in got["f"]] == [None if pd.isna(one) else one.date() for one in utc]


def test_regular_hours_over_both_changes_of_the_clock() -> None:
    """A year of stamps every 17 minutes, some a nanosecond before the bell."""
    index = pd.date_range("2020-01-01", "2021-01-01", freq="17min", tz=NEW_YORK).as_unit("ns")
    bells = pd.date_range("2020-01-01 09:30", "2020-12-31 09:30", freq="D", tz=NEW_YORK).as_unit("ns")
    index = index.append([bells, bells - pd.Timedelta("1ns"), bells + pd.Timedelta("6h30min") - pd.Timedelta("1ns")])
    table = pa.table({"ts": pa.array(index)})
    with _connect(x=table) as connection:
        clock = f"(ts AT TIME ZONE '{NEW_YORK}')::TIME"
        sql = f"SELECT ts FROM x WHERE {clock} >= '09:30' AND {clock} < '16:00'"
        got = _run(connection, _rewritten(sql, x=table).tree.sql("duckdb")).column("ts").cast(pa.int64()).to_pylist()
    local = index.tz_localize(None)
    since_midnight = (local - local.normalize()).to_numpy().astype("int64")
    wanted = index[(since_midnight >= 34_200 * 10**9) & (since_midnight < 57_600 * 10**9)]
    assert sorted(got) == sorted(wanted.asi8)


def test_asof_joins_match_to_the_nanosecond(fine: Engine, frame: pd.DataFrame) -> None:
    rows = frame.dropna(subset=["ts_ns", "us_ns"])
    left = rows[["s", "ts_ns", "i"]].astype({"ts_ns": "int64"}).sort_values("ts_ns")
    for column in ("b_ns", "us_ns"):
        right = rows[["s", column, "i"]].dropna().astype({column: "int64"}).rename(columns={"i": "j", column: "at"})
        right = right.sort_values("at").drop_duplicates(["s", "at"])
        wanted = pd.merge_asof(left, right, left_on="ts_ns", right_on="at", by="s").dropna(subset="j")
        name = column.removesuffix("_ns")
        got = _fine(fine, f"SELECT x.i AS i, y.{name} AS at FROM x ASOF JOIN y ON x.s = y.s AND x.ts >= y.{name}")
        at = right.set_index("j")["at"].loc[wanted["j"]]
        assert dict(zip(got["i"], got["at"], strict=True)) == dict(zip(wanted["i"], at, strict=True))


def test_range_frames_count_nanoseconds(fine: Engine, frame: pd.DataFrame) -> None:
    got = _fine(
        fine,
        "SELECT i, count(*) OVER (PARTITION BY s ORDER BY ts "
        "RANGE BETWEEN INTERVAL 3 HOUR PRECEDING AND CURRENT ROW) AS a, count(*) OVER (ORDER BY ts DESC "
        "RANGE BETWEEN INTERVAL 1 MONTH PRECEDING AND INTERVAL 1 MICROSECOND FOLLOWING) AS b "
        "FROM x WHERE ts IS NOT NULL ORDER BY i",
    )
    rows = frame.dropna(subset="ts_ns").astype({"ts_ns": "int64"})
    later = {row.i: (row.ts.tz_convert("UTC") + pd.DateOffset(months=1)).value for row in rows.itertuples()}
    for row, a, b in zip(rows.itertuples(), got["a"], got["b"], strict=True):
        near = rows[(rows["s"] == row.s) & rows["ts_ns"].between(row.ts_ns - 3 * 3600 * 10**9, row.ts_ns)]
        assert a == len(near)
        assert b == rows["ts_ns"].between(row.ts_ns - 1000, later[row.i]).sum()


def test_frames_tell_stamps_a_nanosecond_apart() -> None:
    table = pa.table({"ts": pa.array([0, 400, 999, 1000, 1001, 2500], pa.timestamp("ns", "UTC"))})
    frame = "OVER (ORDER BY ts RANGE BETWEEN INTERVAL 1 MICROSECOND PRECEDING AND CURRENT ROW)"
    with _connect(x=table) as connection:
        sql = _rewritten(f"SELECT count(*) {frame} AS n FROM x ORDER BY ts", x=table).tree.sql("duckdb")
        assert _run(connection, sql).column("n").to_pylist() == [1, 2, 3, 4, 4, 1]


def test_choices_aggregates_and_unions_keep_nanoseconds(fine: Engine, frame: pd.DataFrame) -> None:
    ts, us = frame["ts_ns"], frame["us_ns"]
    got = _fine(
        fine,
        "SELECT coalesce(ts, now()) AS a, greatest(ts, us) AS b, lag(ts, 1, us) OVER (ORDER BY i) AS c "
        "FROM x ORDER BY i",
    )
    assert list(got["a"][ts.notna()]) == list(ts.dropna())
    assert all(got["a"][ts.isna()] > 1_700_000_000 * 10**9)
    _same(got["b"], pd.concat([ts, us], axis=1).max(axis=1))
    _same(got["c"][1:], ts.shift()[1:])
    got = _fine(
        fine,
        "SELECT max(ts) AS a, min(nn) AS b, arg_min(p, ts) AS c, arg_max(ts, p) AS d, quantile_disc(ts, 0.5) AS e "
        "FROM x",
    )
    known = frame.dropna(subset="ts_ns").astype({"ts_ns": "int64"})
    assert got["a"][0] == known["ts_ns"].max()
    assert got["b"][0] == known["ts_ns"].min()
    assert got["c"][0] == known.loc[known["ts_ns"].idxmin(), "p"]
    assert got["d"][0] == known.loc[known["p"].idxmax(), "ts_ns"]
    assert got["e"][0] == known["ts_ns"].quantile(0.5, interpolation="lower")
    got = _fine(fine, "SELECT ts FROM x UNION ALL SELECT us FROM y UNION ALL SELECT nn FROM y")
    assert sorted(got["ts"].dropna()) == sorted([*ts.dropna(), *us.dropna(), *ts.dropna()])
    got = _fine(
        fine,
        "WITH c AS (SELECT ts, s FROM x), d AS (SELECT s, max(ts) AS m FROM c GROUP BY s) SELECT m FROM d ORDER BY s",
    )
    assert list(got["m"]) == list(known.groupby("s")["ts_ns"].max())


def test_parameters_are_exact(fine: Engine, frame: pd.DataFrame) -> None:
    stamp = frame["ts"][45].tz_convert("UTC")
    bound = duckdb.Value(str(stamp.tz_localize(None)), duckdb.sqltype("TIMESTAMP_NS"))
    for column in ("ts", "nn"):
        kind = "zoned_ns" if column == "ts" else "naive_ns"
        assert list(_fine(fine, f"SELECT i FROM x WHERE {column} = $at", {"at": (kind, bound)})["i"]) == [45]
    counts = frame["us_ns"]
    for operator, name in OPERATORS.items():
        got = _fine(
            fine,
            f"SELECT us {operator} $at AS a, $at {operator} us AS b FROM x ORDER BY i",
            {"at": ("zoned_ns", bound)},
        )
        _same(got["a"], getattr(counts, name)(stamp.value))
        _same(
            got["b"], [None if pd.isna(one) else getattr(np.int64(stamp.value), f"__{name}__")(one) for one in counts]
        )
    got = _fine(fine, "SELECT us BETWEEN $at AND $at AS a, b IN $all AS c FROM x ORDER BY i",
                {"at": ("zoned_ns", bound), "all": ("zoned", [stamp.floor("us").to_pydatetime()])})  # fmt: skip
    assert not any(got["a"].dropna())
    for text in (str(stamp), str(stamp.tz_convert("Asia/Tokyo")), str(stamp.tz_localize(None))):
        assert list(_fine(fine, "SELECT i FROM x WHERE ts = $at", {"at": ("text", text)})["i"]) == [45]
    far = {
        "at": ("zoned", datetime(9999, 12, 31, tzinfo=UTC)),
        "day": ("date", date(1, 1, 1)),
        "text": ("text", "9999-12-31"),
    }
    got = _fine(fine, "SELECT i FROM x WHERE ts < $at AND ts > $day AND ts < $text", far)
    assert len(got) == frame["ts_ns"].notna().sum()


def test_stamps_out_of_range_compare_and_do_not_fail() -> None:
    fine = pa.table({"ts": pa.array([0, 2**63 - 2, -(2**63) + 2], pa.timestamp("ns", "UTC"))})
    far = pa.array([datetime(9999, 12, 31), datetime(1, 1, 1), datetime(2020, 1, 1)], pa.timestamp("us", "UTC"))
    days = pa.array([date(9999, 12, 31), date(1, 1, 1), date(2020, 1, 1)])
    wide = pa.table({"us": far, "d": days})
    with _connect(x=fine, y=wide) as connection:
        for column in ("us", "d"):
            for operator, name in OPERATORS.items():
                sql = f"SELECT x.ts AS a, y.{column} AS b, x.ts {operator} y.{column} AS c, y.us::TIMESTAMP AS e"
                sql += " FROM x, y"
                got = _run(connection, _rewritten(sql, x=fine, y=wide).tree.sql("duckdb"))
                counts = got.column("a").cast(pa.int64()).to_pylist()
                others = [
                    (value - datetime(1970, 1, 1)) // pd.Timedelta("1us").to_pytimedelta() * 1000
                    for value in got.column("e").to_pylist()
                ]
                wanted = [getattr(left, f"__{name}__")(right) for left, right in zip(counts, others, strict=True)]
                assert got.column("c").to_pylist() == wanted
        sql = "SELECT count(*) AS n FROM x JOIN y ON x.ts = y.us OR x.ts BETWEEN y.us AND y.d OR x.ts IN (y.us, y.d)"
        assert _run(connection, _rewritten(sql, x=fine, y=wide).tree.sql("duckdb")).column("n").to_pylist() == [0]


def test_the_last_stamp_of_pandas_is_kept_and_compared() -> None:
    """pandas.Timestamp.max is infinity to the engine."""
    last = 2**63 - 1
    table = pa.table(
        {"ts": pa.array([last, 0], pa.timestamp("ns", "UTC")), "us": pa.array([0, 1], pa.timestamp("us", "UTC"))}
    )
    with _connect(x=table) as connection:

        def run(sql: str) -> list[Any]:
            return _run(connection, _rewritten(sql, x=table).tree.sql("duckdb")).column(0).cast(pa.int64()).to_pylist()

        assert run("SELECT ts FROM x WHERE ts > us AND ts > '2262-01-01' AND ts > now()") == [last]
        assert run("SELECT max(ts) FROM x") == [last]
        assert run("SELECT ts FROM x ORDER BY ts DESC") == [last, 0]
        assert run("SELECT coalesce(ts, us) FROM x ORDER BY us") == [last, 0]


def test_values_used_twice_are_evaluated_once(fine: Engine) -> None:
    """A random choice moved by a month is one of the two moved by a month."""
    got = _fine(
        fine,
        "SELECT (CASE WHEN random() < 0.5 THEN TIMESTAMP_NS '2020-01-01 00:00:00.000000001' "
        "ELSE TIMESTAMP_NS '2021-01-01 00:00:00.000000999' END) + INTERVAL 1 MONTH AS t "
        "FROM x, y WHERE x.ts IS NOT NULL",
    )
    assert set(got["t"]) == {1_580_515_200_000_000_001, 1_612_137_600_000_000_999}


def test_result_columns_keep_the_names_the_engine_gives(coarse: Engine, fine: Engine) -> None:
    sql = "SELECT max(ts), min(ts) - max(ts), date_trunc('DAY', ts), ts, (i), ts > now() FROM x GROUP BY ts, i"
    table = _table(nanoseconds=True, digits=True)
    given = _run(coarse, parse(sql).sql("duckdb")).schema.names  # type: ignore[union-attr]
    assert _run(fine, _rewritten(sql, x=table).tree.sql("duckdb")).schema.names == given
