"""What a second read of the code found: each of these gave a wrong answer, a raw error or a hang."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.core.table import TableSpec
from quantstore.errors import ConflictError, InvalidInputError, UnsupportedError


def frame():
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(["2024-01-02 10:00", "2024-01-03 10:00"], utc=True).as_unit("ns"),
            "symbol": ["A", "B"],
            "venue": ["NYSE", "X"],
            "price": [1.0, 2.0],
        }
    )


def test_folders_with_signs_of_urls_are_just_folders(tmp_path):
    for name in ("a b", "a%20b", "a?b", "a?bc", "a#b"):
        with qs.open(tmp_path / name) as store:
            assert store.tables() == []
            store.write(frame(), "t")
            assert (tmp_path / name / "catalog.sqlite").exists()


def test_columns_renamed_by_an_alias_are_not_pruned_by_their_old_names(store):
    store.write(frame(), "t")
    sql = "SELECT * FROM t AS x(ts, venue, symbol, price) WHERE symbol = 'NYSE'"
    assert len(store.read(sql)) == 1


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_date_column_meets_text_with_a_time_of_day(store, tier):
    store.write(pa.table({"d": pa.array([date(2024, 1, 2), date(2024, 1, 3)], pa.date32()), "x": [1, 2]}), "e", tier)
    for condition in (
        "d >= '2024-01-03 12:00'",
        "d = '2024-01-03 12:00'",
        "d <= TIMESTAMP '2024-01-02 12:00'",
        "d BETWEEN '2024-01-03 12:00' AND '2024-01-04'",
        "d > DATE '2024-01-02'",
    ):
        plain = store.read(f"SELECT count(*) AS n FROM e WHERE ({condition}) OR false")["n"].tolist()
        assert store.read(f"SELECT count(*) AS n FROM e WHERE {condition}")["n"].tolist() == plain, condition


def test_an_asset_class_that_is_no_text_is_not_pruned_as_one(store):
    store.write(frame().assign(asset_class=5), "t")
    assert len(store.read("SELECT * FROM t WHERE asset_class = '05'")) == 2


def test_another_asset_class_or_trade_date_is_no_repeat(store):
    store.write(frame(), "u", asset_class="EQ")
    assert not store.write(frame(), "u", asset_class="FX").replayed
    store.write(frame(), "v")
    assert not store.write(frame().assign(trade_date=[date(2024, 1, 5)] * 2), "v").replayed
    store.write(frame(), "w", write_id="x", asset_class="EQ")
    with pytest.raises(ConflictError, match="other content"):
        store.write(frame(), "w", write_id="x", asset_class="FX")


def test_an_instant_always_means_the_same_version(store):
    """The time of a commit is read under the write lock, however long the writer waited for it."""
    store.write(frame(), "t")
    holder = sqlite3.connect(store.metadata_catalog.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=store.metadata_catalog.commits.create, args=(TableSpec("late", "ts"), None))
    waiting.start()
    time.sleep(0.3)
    asked = time.time_ns()
    holder.execute("COMMIT")
    waiting.join()
    holder.close()
    assert store.metadata_catalog.version_at(asked) == 1


def categories(start, end, day):
    names = pd.Categorical([f"S{number:04d}" for number in range(start, end)])
    stamps = pd.date_range(day, periods=end - start, freq="s", tz="UTC").as_unit("ns")
    return pd.DataFrame({"ts": stamps, "symbol": names})


def test_categories_may_outgrow_their_codes(store):
    store.write(categories(0, 100, "2024-01-02"), "c")
    store.write(categories(100, 200, "2024-01-02"), "c", "cold")
    store.write(categories(0, 200, "2024-01-03"), "c")
    assert store.read("c")["symbol"].nunique() == 200
    small = pa.dictionary(pa.int8(), pa.string())
    for start in (0, 100):
        table = pa.Table.from_pandas(categories(start, start + 100, "2024-01-02"), preserve_index=False)
        narrow = table["symbol"].cast(pa.string()).combine_chunks().dictionary_encode().cast(small)
        store.write(table.set_column(1, "symbol", narrow), "narrow")
    for query in ("narrow", "SELECT * FROM narrow"):
        for to in ("pandas", "polars", "arrow"):
            assert len(store.read(query, to=to)) == 200


def test_ordered_categories_of_numbers_keep_their_order(store):
    ordered = frame().assign(g=pd.Categorical([1, 3], categories=[3, 1, 2], ordered=True))
    store.write(ordered, "h")
    for query in ("h", "SELECT g FROM h"):
        assert store.read(query)["g"].cat.categories.tolist() == [3, 1, 2]
    with pytest.raises(InvalidInputError, match="ordered categories"):
        store.write(frame().assign(g=pd.Categorical([1, 3], categories=[1, 2, 3], ordered=True)), "h")
    days = pd.Categorical([date(2024, 1, 1)] * 2, ordered=True)
    with pytest.raises(UnsupportedError, match="Ordered categories"):
        store.write(frame().assign(g=days), "i")


def test_a_forked_child_asks_in_sql(tmp_path):
    code = (
        "import os, sys, warnings; warnings.simplefilter('ignore'); import quantstore as qs\n"
        "s = qs.open(sys.argv[1]); print(s.read('SELECT count(*) AS n FROM t')['n'].tolist(), flush=True)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    os._exit(int(s.read('SELECT count(*) AS n FROM t')['n'].iloc[0]))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    with qs.open(tmp_path / "s") as store:
        store.write(frame(), "t")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["[2]", "2"], done.stderr


def test_bounds_no_clock_reaches_prune_nothing(store):
    store.write(frame(), "t")
    for bound, count in (("< '2999-12-31 00:00'", 2), ("> '2999-12-31 00:00'", 0), ("> '0001-01-01'", 2)):
        assert store.read(f"SELECT count(*) AS n FROM t WHERE ts {bound}")["n"].tolist() == [count]


def test_dates_prune_naive_columns_too(store):
    store.write(frame().assign(ts=lambda df: df["ts"].dt.tz_localize(None)), "t")
    plan = store.explain("SELECT * FROM t WHERE ts >= '2024-01-03'")
    assert [use.segments for use in plan.uses()] == [1]


def test_heat_of_very_many_segments_is_written_down(store):
    store.metadata_catalog.access.record(range(100_000))
    store.metadata_catalog.access.record(range(100_000))
    store.metadata_catalog.access.flush()
    assert len(store.metadata_catalog.access.heats()) == 100_000


def test_a_quote_in_the_temporary_folder_is_no_harm(store, tmp_path, monkeypatch):
    store.write(frame(), "t")
    (tmp_path / "o'b").mkdir()
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path / "o'b"))
    assert len(store.read("SELECT * FROM t")) == 2


def test_trade_dates_are_dates_in_one_zone(store):
    with pytest.raises(InvalidInputError, match="trade_date"):
        store.write(frame().assign(trade_date=np.array([20240102, 20240103], "int32")), "n")
    tokyo = pd.to_datetime(["2024-01-02", "2024-01-03"]).tz_localize("Asia/Tokyo")
    store.write(frame().assign(trade_date=tokyo), "z")
    assert [len(store.read("z", dates=day)) for day in ("2024-01-01", "2024-01-02", "2024-01-03")] == [1, 1, 0]


def test_versions_may_be_numpy_numbers(store):
    store.write(frame(), "t")
    version = store.table("t").versions()["version"].iloc[0]
    assert len(store.read("t", as_of=version)) == 2


def test_a_reader_nobody_reads_holds_nothing(store):
    store.write(frame(), "t")
    reader = store.read("t", to="reader")
    store.migrate("t", "hot", "cold")
    assert store.sweep(grace=0).copies == 0
    del reader
    assert store.sweep(grace=0).copies == 2
