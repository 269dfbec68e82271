"""pandas' published cases of merge_asof, asked in SQL over rows scattered over segments and tiers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scattered_tables import scatter

import quantstore as qs
from quantstore.manager import HybridStorageManager

LEFT = pd.DataFrame({"a": [1, 5, 10], "l": ["x", "y", "z"]})
RIGHT = pd.DataFrame({"a": [1, 2, 3, 6, 7], "r": [1, 2, 3, 6, 7]})
WIDER = pd.DataFrame({"a": [1, 2, 3, 7, 11], "r": [1, 2, 3, 7, 11]})
OTHER = pd.DataFrame({"a": [1, 3, 4, 6, 11], "r": [1, 3, 4, 7, 11]})
REPEATED = pd.DataFrame({"a": [1, 2, 2, 2, 5, 7, 7], "r": [1, 2, 3, 4, 5, 6, 7]})
FLOATS = (
    pd.DataFrame({"a": [1.1, 3.5, 10.9], "l": ["x", "y", "z"]}),
    pd.DataFrame({"a": [1.0, 2.5, 3.3, 7.5, 11.5], "r": [1.0, 2.5, 3.3, 7.5, 11.5]}),
)
BY = (
    pd.DataFrame({"a": [1, 5, 10, 12, 15], "b": ["X", "X", "Y", "Z", "Y"], "l": list("abcde")}),
    pd.DataFrame({"a": [1, 6, 11, 15, 16], "b": ["X", "Z", "Y", "Z", "Y"], "r": [1, 6, 11, 15, 16]}),
)
BY_TWO = (
    pd.DataFrame({"a": [23, 23, 46, 48, 50], "b": list("MMGGA"), "c": list("ANNBN"), "l": [75, 155, 100, 100, 100]}),
    pd.DataFrame({"a": [23, 23, 30, 41, 45, 49], "b": list("GMMMGA"), "c": list("BNAANA"), "r": [1, 2, 3, 4, 5, 6]}),
)


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """A store in which every frame is written once."""
    with qs.open(tmp_path_factory.mktemp("scattered") / "store") as store:
        yield Scattered(store)


class Scattered:
    """Frames as tables whose rows are scattered over segments and tiers."""

    def __init__(self, store: HybridStorageManager) -> None:
        self._store = store
        self._names: dict[str, str] = {}

    def table(self, frame: pd.DataFrame, time: str = "ts") -> str:
        """Return the name of the table that holds a frame."""
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        key = f"{rows.schema} {rows.to_pylist()}"
        if key not in self._names:
            self._names[key] = f"frame_{len(self._names)}"
            scatter(self._store, self._names[key], rows, time=time)
        return self._names[key]

    def merged(self, left: pd.DataFrame, right: pd.DataFrame, sql: str, time: str = "ts") -> pd.DataFrame:
        """Return the answer to SQL over two frames, which it calls left_rows and right_rows."""
        names = {"left_rows": self.table(left, time), "right_rows": self.table(right, time)}
        for name, table in names.items():
            sql = sql.replace(name, table)
        return self._store.read(sql)


def ordered(alias: str, by: list[str], *, last: bool) -> str:
    """Return the right rows, of those with the same key and place the last one written, or the first."""
    keys = ", ".join([*by, "a"])
    number = f"row_number() OVER (PARTITION BY {keys} ORDER BY _seq {'DESC' if last else 'ASC'})"
    return f"(SELECT * FROM right_rows QUALIFY {number} = 1) {alias}"


def asked(direction: str, by: list[str], tolerance: object, *, exact: bool, place: str = "{}") -> str:
    """Return SQL for a merge_asof: nulls beyond the tolerance, the row before where two are equally near.

    `place` makes numbers of the columns where their difference would not tell everything.
    """
    keys = [f"l.{one} = {{0}}.{one}" for one in by]
    back = " AND ".join([*keys, f"l.a {'>=' if exact else '>'} {{0}}.a"]).format("b")
    ahead = " AND ".join([*keys, f"l.a {'<=' if exact else '<'} {{0}}.a"]).format("f")
    before, after = (f"{place.format(one)} - {place.format(other)}" for one, other in (("l.a", "b.a"), ("f.a", "l.a")))
    near = {side: f"{distance} <= {tolerance}" if tolerance else f"{side}.a IS NOT NULL"
            for side, distance in (("b", before), ("f", after))}  # fmt: skip
    found = {
        "backward": f"CASE WHEN {near['b']} THEN b.r END",
        "forward": f"CASE WHEN {near['f']} THEN f.r END",
        "nearest": (
            f"CASE WHEN {near['b']} AND (f.a IS NULL OR {before} <= {after}) THEN b.r WHEN {near['f']} THEN f.r END"
        ),
    }[direction]
    joins = ""
    if direction != "forward":
        joins += f" ASOF LEFT JOIN {ordered('b', by, last=True)} ON {back}"
    if direction != "backward":
        joins += f" ASOF LEFT JOIN {ordered('f', by, last=False)} ON {ahead}"
    return f"SELECT l.a, l.l, {found} AS r FROM left_rows l{joins} ORDER BY l._seq"


def plain(values: pd.Series) -> list[object]:
    """Return values with None for what is missing."""
    return [None if pd.isna(one) else one for one in values]


def check(scattered, left, right, tolerance=None, interval=None, **options):
    """Compare an answer in SQL with what pandas gives."""
    exact = options.get("allow_exact_matches", True)
    sql = asked(options.get("direction", "backward"), options.get("by", []), interval or tolerance, exact=exact)
    wanted = pd.merge_asof(left, right, on="a", tolerance=tolerance, **options)
    got = scattered.merged(left, right, sql)
    assert plain(got["r"]) == plain(wanted["r"])
    assert got["a"].tolist() == wanted["a"].tolist()
    assert got["l"].tolist() == wanted["l"].tolist()
    return plain(got["r"])


@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("tolerance", [None, 1, 2])
@pytest.mark.parametrize("right", [RIGHT, WIDER, OTHER, REPEATED], ids=["examples", "wider", "other", "repeated"])
def test_directions_exact_matches_and_tolerance(scattered, direction, exact, tolerance, right):
    check(scattered, LEFT, right, tolerance, direction=direction, allow_exact_matches=exact)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [1, 3, 7]),
        ({"direction": "forward"}, [1, 6, None]),
        ({"direction": "nearest"}, [1, 6, 7]),
        ({"allow_exact_matches": False}, [None, 3, 7]),
    ],
)
def test_the_first_examples(scattered, options, wanted):
    """Written out, so that SQL and pandas cannot err alike."""
    found = check(scattered, LEFT, RIGHT, **options)
    assert found == wanted


@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
@pytest.mark.parametrize(("left", "right", "by"), [(*BY, ["b"]), (*BY_TWO, ["b", "c"])], ids=["one key", "two keys"])
def test_keys(scattered, direction, left, right, by):
    check(scattered, left, right, by=by, direction=direction)


@pytest.mark.parametrize(("direction", "tolerance"), [("nearest", 0.5), ("backward", 1.0), ("forward", 0.5)])
def test_floats(scattered, direction, tolerance):
    check(scattered, *FLOATS, tolerance, direction=direction)


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["us", "ns"])
@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
def test_stamps_of_every_kind_with_a_tolerance(scattered, zone, unit, direction):
    """The stamps are the tables' time columns; nanoseconds decide where there are any."""
    digits = 1 if unit == "ns" else 1000
    base = pd.Timestamp("2016-05-25 13:30:00.023").value
    left = pd.DataFrame({"a": base + np.array([0, 15, 25, 25, 90]) * digits, "l": list("abcde")})
    right = pd.DataFrame({"a": base + np.array([-1, 0, 7, 14, 15, 15, 26, 70]) * digits, "r": range(8)})
    for frame in (left, right):
        frame["a"] = pd.to_datetime(frame["a"]).dt.as_unit(unit)
        if zone:
            frame["a"] = frame["a"].dt.tz_localize("UTC").dt.tz_convert(zone)
    for exact in (True, False):
        wanted = pd.merge_asof(left, right, on="a", direction=direction, allow_exact_matches=exact)
        sql = asked(direction, [], None, exact=exact, place="epoch_ns({})")
        assert plain(scattered.merged(left, right, sql, "a")["r"]) == plain(wanted["r"])


def test_a_day_of_tolerance(scattered):
    """Days after the last quote's next one have none."""
    left = pd.DataFrame({"a": pd.date_range("2016-01-02", periods=8, tz="UTC").as_unit("us"), "l": range(8)})
    right = pd.DataFrame({"a": pd.date_range("2016-01-01", periods=5, tz="UTC").as_unit("us"), "r": list("ABCDE")})
    found = check(scattered, left, right, pd.Timedelta("1 day"), "INTERVAL 1 DAY")
    assert found == ["B", "C", "D", "E", "E", None, None, None]


@pytest.mark.parametrize("side", ["left", "right"])
def test_one_side_is_empty(scattered, side):
    left, right = (LEFT.head(0), RIGHT) if side == "left" else (LEFT, RIGHT.head(0))
    for direction in ("backward", "forward", "nearest"):
        got = scattered.merged(left, right, asked(direction, [], None, exact=True))
        assert got["a"].tolist() == left["a"].tolist()
        assert got["r"].isna().all()


def test_missing_keys_and_null_places(scattered):
    """pandas refuses nulls; SQL gives them no partner, and is none to anybody."""
    left = pd.DataFrame({"a": pd.array([1, None, 9], "Int64"), "b": ["X", "X", None], "l": ["p", "q", "s"]})
    right = pd.DataFrame({"a": pd.array([None, 0, 8, 8], "Int64"), "b": ["X", "X", "X", None], "r": [1, 2, 3, 4]})
    for direction, wanted in (("backward", 2), ("forward", 3), ("nearest", 2)):
        got = scattered.merged(left, right, asked(direction, ["b"], None, exact=True))
        assert plain(got["r"]) == [wanted, None, None]
