"""`.tier` on pandas and Polars frames."""

from __future__ import annotations

import gc
import inspect
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import quantstore as qs
from quantstore import api
from quantstore.errors import InvalidInputError, NotFoundError, PartialResultWarning, RepeatedWriteWarning
from quantstore.frames.accessor import TierAccessor
from quantstore.frames.places import chosen_store
from quantstore.manager import HybridStorageManager

CLASSES = [pd.DataFrame, pl.DataFrame, pl.LazyFrame]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HybridStorageManager]:
    """A new store that is the default."""
    monkeypatch.setattr(api, "_default", None)
    made = qs.open(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def ticks() -> pd.DataFrame:
    stamps = pd.date_range("2026-11-16", periods=48, freq="h", tz="UTC").as_unit("ns")
    return pd.DataFrame({"ts": stamps, "symbol": ["A", "B"] * 24, "price": [float(n) for n in range(48)]})


def as_pandas(frame: Any) -> pd.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    return frame if isinstance(frame, pd.DataFrame) else frame.to_arrow().to_pandas()


def as_class(ticks: pd.DataFrame, kind: type) -> Any:
    if kind is pd.DataFrame:
        return ticks
    frame = pl.DataFrame(ticks)
    return frame.lazy() if kind is pl.LazyFrame else frame


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_what_is_written_is_read_back_as_the_same_class(
    store: HybridStorageManager, ticks: pd.DataFrame, kind: type, tier: str
) -> None:
    result = as_class(ticks, kind).tier.write("ticks", tier)
    assert (result.rows, result.tier, result.version) == (48, tier, 1)
    back = kind.tier.read("ticks")
    assert type(back) is kind
    assert as_pandas(back)["price"].tolist() == ticks["price"].tolist()
    assert as_pandas(back)["ts"].tolist() == ticks["ts"].tolist()


def test_pandas_comes_back_identical_over_three_tiers(store: HybridStorageManager, ticks: pd.DataFrame) -> None:
    indexed = ticks.set_index("ts").astype({"symbol": "category"})
    indexed.tier.write("ticks")
    store.migrate("ticks", "hot", "cold", before="2026-11-17")
    pd.testing.assert_frame_equal(pd.DataFrame.tier.read("ticks"), indexed, check_freq=False)


@pytest.mark.parametrize("kind", CLASSES)
def test_reading_sql_binds_parameters_and_honours_versions(
    store: HybridStorageManager, ticks: pd.DataFrame, kind: type
) -> None:
    first = ticks.tier.write("ticks")
    ticks.assign(price=-1.0).tier.write("ticks")
    sql = "SELECT count(*) AS n FROM ticks WHERE symbol = $symbol"
    now = kind.tier.read(sql, params={"symbol": "A"})
    then = kind.tier.read(sql, params={"symbol": "A"}, as_of=first.version)
    assert as_pandas(now)["n"].tolist() == [48]
    assert as_pandas(then)["n"].tolist() == [24]


def test_reading_some_tiers_warns_each_time(store: HybridStorageManager, ticks: pd.DataFrame) -> None:
    ticks.tier.write("ticks")
    store.migrate("ticks", "hot", "warm", before="2026-11-17")
    for _ in range(2):
        with pytest.warns(PartialResultWarning, match="leaves out 1 segment"):
            assert len(pd.DataFrame.tier.read("ticks", tiers="hot")) == 24
    assert len(pd.DataFrame.tier.read("ticks", "hot", missing="ignore")) == 24


def test_a_repeated_write_warns_each_time_and_adds_nothing(store: HybridStorageManager, ticks: pd.DataFrame) -> None:
    ticks.tier.write("ticks")
    for _ in range(2):
        with pytest.warns(RepeatedWriteWarning):
            assert ticks.tier.write("ticks").replayed
    assert pd.DataFrame.tier.read("SELECT count(*) AS n FROM ticks")["n"].tolist() == [48]


def test_a_lazy_frame_is_written_in_batches(store: HybridStorageManager, tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    rows = 250_000
    pl.DataFrame({"n": range(rows)}).select(
        ts=pl.lit(1_795_000_000_000).add(pl.col("n")).cast(pl.Datetime("ms", "UTC")), n="n"
    ).write_parquet(path, row_group_size=50_000)
    result = pl.scan_parquet(path).filter(pl.col("n") >= 10).tier.write("many", "warm")
    assert result.rows == rows - 10
    assert pl.DataFrame.tier.read("SELECT min(n) AS a, max(n) AS b FROM many").row(0) == (10, rows - 1)


def test_info_tells_where_a_pandas_frame_came_from(store: HybridStorageManager, ticks: pd.DataFrame) -> None:
    ticks.tier.write("ticks")
    store.migrate("ticks", "hot", "cold", before="2026-11-17")
    info = pd.DataFrame.tier.read("ticks")[["ts", "price"]].head(3).tier.info()
    assert info
    assert (info.tables, info.version, info.shape) == (("ticks",), 1, (3, 2))
    assert {tier: use["rows"] for tier, use in info.tiers.items()} == {"hot": 24, "cold": 24}
    assert repr(info) == (
        "pandas DataFrame, 3 rows x 2 columns: read from 'ticks' at version 1 | hot 24 rows | cold 24 rows"
    )
    assert "<td style='text-align:left'>cold</td><td>24</td>" in info._repr_html_()


@pytest.mark.parametrize("kind", [pl.DataFrame, pl.LazyFrame])
def test_info_knows_polars_frames_as_read_but_not_derived_ones(
    store: HybridStorageManager, ticks: pd.DataFrame, kind: type
) -> None:
    ticks.tier.write("ticks")
    frame = kind.tier.read("ticks")
    assert frame.tier.info().tables == ("ticks",)
    assert frame.tier.info().version == 1
    derived = frame.filter(pl.col("price") > 3).tier.info()
    assert not derived
    assert "not known to come from a store" in repr(derived)


@pytest.mark.parametrize("frame", [pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}), pl.LazyFrame({"a": [1]})])
def test_info_says_so_where_a_frame_came_from_elsewhere(frame: Any) -> None:
    info = frame.tier.info()
    assert not info.from_store
    assert "not known to come from a store" in repr(info)
    assert "not known to come from a store" in info._repr_html_()


def test_info_escapes_names(store: HybridStorageManager, ticks: pd.DataFrame) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["quantstore"] = {"tables": ["<b>x</b>"], "version": 3, "tiers": {}}
    assert "<b>x" not in frame.tier.info()._repr_html_().replace("<b>pandas", "")


def test_store_takes_a_place_and_opens_it_once(tmp_path: Path, ticks: pd.DataFrame) -> None:
    place = tmp_path / "elsewhere"
    assert ticks.tier.write("ticks", store=place).rows == 48
    assert len(pl.DataFrame.tier.read("ticks", store=str(place))) == 48
    assert chosen_store(place) is chosen_store(str(place))


def test_store_at_a_place_is_opened_anew_when_it_was_made_anew(tmp_path: Path, ticks: pd.DataFrame) -> None:
    place = tmp_path / "elsewhere"
    ticks.tier.write("ticks", store=place)
    shutil.rmtree(place)
    assert ticks.head(2).tier.write("ticks", store=place).version == 1
    assert len(pd.DataFrame.tier.read("ticks", store=place)) == 2


def test_reading_never_makes_a_store(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no store at"):
        pd.DataFrame.tier.read("ticks", store=tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_store_refuses_what_is_no_store(ticks: pd.DataFrame) -> None:
    with pytest.raises(InvalidInputError, match="store= takes a store or the place of one, not a int"):
        ticks.tier.write("ticks", store=5)  # type: ignore[arg-type]


def test_a_column_called_tier_is_shadowed_but_reachable(store: HybridStorageManager, ticks: pd.DataFrame) -> None:
    frame = ticks.assign(tier="gold")
    assert frame.tier.write("ticks").rows == 48
    assert pd.DataFrame.tier.read("ticks")["tier"].unique().tolist() == ["gold"]


def test_tab_on_any_frame_works(ticks: pd.DataFrame) -> None:
    """pandas 3 makes every accessor when names are listed; it must neither fail nor look at the frame."""
    assert "tier" in dir(pd.DataFrame())
    assert "tier" in dir(pl.DataFrame())
    assert {"write", "info", "read"} <= set(dir(ticks.tier))
    assert "write(table" in repr(ticks.tier)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pl.LazyFrame])
def test_using_the_accessor_does_not_keep_a_frame_alive(ticks: pd.DataFrame, kind: type) -> None:
    """With the collector off, only a cycle could keep the frame."""
    frame = as_class(ticks.copy(), kind)
    frame.tier.info()
    watched = weakref.ref(frame)
    gc.disable()
    try:
        del frame
        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("ours", "theirs", "added", "left_out"),
    [
        (TierAccessor.write, HybridStorageManager.write, {"store"}, {"df"}),
        (TierAccessor.read, HybridStorageManager.read, {"store"}, {"to", "self"}),
    ],
)
def test_verbs_take_the_same_keywords_as_the_store(ours: Any, theirs: Any, added: set[str], left_out: set[str]) -> None:
    mine, its = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    assert set(mine) - {"self"} == (set(its) | added) - left_out - {"self"}
    shared = set(mine) & set(its)
    assert {name: (mine[name].default, mine[name].kind) for name in shared if name != "table"} == {
        name: (its[name].default, its[name].kind) for name in shared if name != "table"
    }


def test_a_script_that_names_stores_by_place_ends_quietly(tmp_path: Path) -> None:
    """Stores opened on the way are closed at exit; DuckDB reports what is left open."""
    script = (
        "import sys, pandas as pd, quantstore\n"
        "frame = pd.DataFrame({'ts': pd.to_datetime(['2026-11-16'], utc=True), 'n': [1]})\n"
        "frame.tier.write('ticks', store=sys.argv[1])\n"
        "print(pd.DataFrame.tier.read('SELECT max(n) AS n FROM ticks', store=sys.argv[1])['n'].tolist())\n"
    )
    place = str(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", script, place], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1]"
    assert done.stderr.strip() == f"quantstore: made a new store at {place}"
