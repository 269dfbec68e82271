"""Answers kept for repeats: never out of date, never altered, quick."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

import quantstore as qs
from quantstore.errors import NotFoundError, PartialResultWarning, ResultTooLarge, UnavailableError
from quantstore.query.keys import code

QUERY = "SELECT symbol, count(*) AS n, sum(size) AS size FROM trades GROUP BY symbol ORDER BY symbol"
BOUND = "SELECT ts, price FROM trades WHERE price > $low ORDER BY ts, price"


def ticks(rows=1000, seed=0, days=2):
    rng = np.random.default_rng(seed)
    stamps = np.sort(rng.integers(0, days * 86_400, rows)) * 10**9 + pd.Timestamp("2026-01-05").value
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(stamps, utc=True).as_unit("ns"),
            "symbol": rng.choice(["A", "B", "C"], rows),
            "price": rng.random(rows),
            "size": rng.integers(1, 100, rows),
            "flag": rng.random(rows) < 0.5,
        }
    )


@pytest.fixture
def cached(tmp_path):
    """A store that keeps answers, with a table in it."""
    with qs.open(tmp_path / "store", cache="auto") as opened:
        opened.write(ticks(), "trades")
        yield opened


def layer(store):
    """Return where the last answer came from."""
    return store.last.cache


def read_twice(store, *arguments, **options):
    store.read(*arguments, **options)
    found = store.read(*arguments, **options)
    return found, layer(store)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        (QUERY, {}),
        (BOUND, {"params": {"low": 0.5}}),
        ("trades", {"symbols": "A", "start": "2026-01-05", "end": "2026-01-05T06:00"}),
        ("trades", {"columns": ["price", "_seq"], "dates": "2026-01-06"}),
        ("SELECT 1 AS one", {}),
        ("DESCRIBE trades", {}),
        ("WITH a AS (SELECT * FROM trades) SELECT count(*) AS n FROM a", {}),
    ],
)
@pytest.mark.parametrize("to", ["pandas", "polars", "arrow"])
def test_a_repeat_is_found_and_equals_what_was_read(cached, query, options, to):
    wanted = cached.read(query, to="arrow", cache=False, **options)
    cached.read(query, to=to, **options)
    assert layer(cached) is None
    found = cached.read(query, to=to, **options)
    assert layer(cached) == "memory"
    assert cached.read(query, to="arrow", **options).equals(wanted, check_metadata=True) or to == "pandas"
    fresh = cached.read(query, to=to, cache=False, **options)
    assert layer(cached) is None
    if to == "pandas":
        assert_frame_equal(found, fresh)
        assert found.attrs["quantstore"]["cache"] == "memory"
    else:
        assert found.equals(fresh)


def test_every_type_comes_back_from_the_cache_as_it_was_read(tmp_path):
    rows = 40
    table = pa.table(
        {
            "ts": pa.array(range(rows), pa.timestamp("ns", "UTC")),
            "naive": pa.array(range(rows), pa.timestamp("us")),
            "text": pa.array([None, "é"] * 20),
            "kind": pa.array(["x", "y"] * 20).dictionary_encode(),
            "exact": pa.array([1, None] * 20, pa.decimal128(20, 3)),
            "whole": pa.array([2**63, None] * 20, pa.uint64()),
            "yes": pa.array([True, None] * 20),
            "day": pa.array([1, 2] * 20, pa.date32()),
            "bytes": pa.array([b"\0", None] * 20),
            "list": pa.array([[1, None], None] * 20, pa.list_(pa.int16())),
            "both": pa.array([{"a": 1, "b": "z"}, None] * 20),
        }
    )
    with qs.open(tmp_path / "s", cache="auto") as store:
        store.write(table, "t")
        for query in ("t", "SELECT * FROM t ORDER BY ts"):
            wanted = store.read(query, to="arrow", cache=False)
            store.read(query, to="arrow")
            found = store.read(query, to="arrow")
            assert layer(store) == "memory"
            assert found.equals(wanted, check_metadata=True)
            assert found.schema.equals(wanted.schema, check_metadata=True)
            for backend in (None, "pyarrow", "numpy_nullable"):
                again = store.read(query, dtype_backend=backend)
                assert_frame_equal(again, store.read(query, dtype_backend=backend, cache=False))
            assert store.read(query, to="polars").equals(store.read(query, to="polars", cache=False))


def test_categories_of_an_empty_answer_are_there_the_second_time_too(tmp_path):
    """A day without rows has the table's ordered categories, however often it is asked for."""
    grade = pd.Categorical(["low", "high"], categories=["low", "middle", "high"], ordered=True)
    stamps = pd.date_range("2026-01-05T14:30Z", periods=2, freq="1min")
    with qs.open(tmp_path / "graded", cache="auto") as store:
        store.write(pd.DataFrame({"ts": stamps, "symbol": "A", "grade": grade}), "trades")
        for _ in range(2):
            none = store.read("trades", dates="2030-01-07")
            assert none.empty
            assert list(none["grade"].cat.categories) == ["low", "middle", "high"]


def test_reading_other_kinds_of_results_still_works(cached):
    assert cached.read(QUERY, to="reader").read_all().num_rows == 3
    assert len(cached.read(QUERY, to="relation").fetchall()) == 3
    assert cached.read("trades", to="lazy").collect().height == 1000
    assert cached.read(QUERY, to="lazy").collect().height == 3


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *, now() AS at FROM trades",
        "SELECT *, NOW () AS at FROM trades",
        'SELECT *, "now"() AS at FROM trades',
        "SELECT count(*) AS n FROM trades WHERE ts < current_timestamp",
        "SELECT CURRENT_DATE AS d, count(*) AS n FROM trades",
        "SELECT localtimestamp AS d",
        "SELECT today() AS d",
        "SELECT ago(INTERVAL '1 hour') AS d",
        "SELECT get_current_timestamp() AS d",
        "SELECT age(TIMESTAMP '2020-01-01') AS d",
        "SELECT random() AS x FROM trades",
        "SELECT uuid() AS x FROM trades",
        "SELECT gen_random_uuid() AS x",
        "SELECT symbol FROM trades USING SAMPLE 5",
        "SELECT symbol FROM trades TABLESAMPLE 5%",
        "SELECT symbol FROM trades ORDER BY random() LIMIT 3",
        "WITH w AS (SELECT now() AS moment) SELECT moment FROM w",
        "SELECT (SELECT random()) AS x",
        "SELECT count(*) AS n FROM range(5)",
        "SELECT current_setting('threads') AS n",
        "SELECT count(*) AS n FROM duckdb_settings()",
        "SELECT count(*) AS n FROM information_schema.tables",
        "/* now() */ SELECT count(*) AS n FROM trades",
        "SELECT random /* of what? */ () AS x FROM trades",
        'SELECT "random"/**/() AS x FROM trades',
        "SELECT random -- of what?\n () AS x, e'\\n' AS y FROM trades",
    ],
)
def test_what_depends_on_more_than_rows_is_never_kept(cached, query):
    """A clock, chance, the engine's surroundings; a comment that might nest is taken for the worst."""
    cached.read(query)
    cached.read(query)
    assert layer(cached) is None
    assert cached.cache.stats().entries == 0


def test_files_are_never_kept(cached, tmp_path):
    path = tmp_path / "side.csv"
    for rows in (1, 2):
        path.write_text("x\n" + "1\n" * rows)
        assert cached.read(f"SELECT count(*) AS n FROM read_csv('{path}')")["n"].item() == rows
        with contextlib.suppress(qs.QuantStoreError):  # where files are not to be named like tables
            assert cached.read(f"SELECT count(*) AS n FROM '{path}'")["n"].item() == rows
    assert cached.cache.stats().entries == 0


def test_words_in_texts_are_no_functions(cached):
    """NOW is a ticker, too."""
    _, where = read_twice(cached, "SELECT count(*) AS n FROM trades WHERE symbol = 'now()' OR symbol = 'current_date'")
    assert where == "memory"


def test_notebook_frames_are_never_kept(cached):
    query = "SELECT count(*) AS n FROM trades JOIN wanted USING (symbol)"
    one = cached.read(query, frames={"wanted": pd.DataFrame({"symbol": ["A"]})})["n"].item()
    all_of_them = cached.read(query, frames={"wanted": pd.DataFrame({"symbol": ["A", "B", "C"]})})["n"].item()
    assert one < all_of_them == 1000
    assert cached.cache.stats().entries == 0


def test_room_and_comments_do_not_matter_but_texts_do(cached):
    cached.read("SELECT count(*) AS n\n  FROM trades -- all\n WHERE symbol <> 'x  y'")
    cached.read("SELECT count(*) AS n FROM trades WHERE symbol <> 'x  y'")
    assert layer(cached) == "memory"
    cached.read("SELECT count(*) AS n FROM trades WHERE symbol <> 'x y'")
    assert layer(cached) is None
    cached.read("SELECT count(*) AS N FROM trades WHERE symbol <> 'x  y'")
    assert layer(cached) is None


def test_parameters_of_other_types_are_other_questions(cached):
    query = "SELECT $x AS x, typeof($x) AS kind"
    values = [
        1,
        1.0,
        True,
        "1",
        b"1",
        None,
        [1],
        ["1"],
        pd.Timestamp("2026-01-01"),
        pd.Timestamp("2026-01-01", tz="UTC"),
    ]
    values += [pd.Timestamp("2026-01-01", tz="UTC").tz_convert("Asia/Tokyo"), pd.Timestamp("2026-01-01").date()]
    wanted = [cached.read(query, params={"x": value}, to="arrow", cache=False) for value in values]
    for _ in range(2):
        for value, right in zip(values, wanted, strict=True):
            assert cached.read(query, params={"x": value}, to="arrow").equals(right), value
    assert layer(cached) == "memory"


def test_a_new_commit_a_delete_and_a_correction_are_seen(cached):
    model = len(ticks())
    for change in range(4):
        assert cached.read(QUERY)["n"].sum() == model
        if change == 0:
            model += cached.write(ticks(10, seed=1), "trades").rows
        elif change == 1:
            model -= cached.delete("trades", where="symbol = 'A'").deleted
        elif change == 2:
            cached.write(ticks(7, seed=3), "trades", mode="overwrite")
            model = 7
        assert cached.read(QUERY)["n"].sum() == model


def test_a_commit_to_another_table_takes_nothing_away(cached):
    cached.read(QUERY)
    version = cached.write(ticks(5, seed=9), "quotes").version
    found = cached.read(QUERY)
    assert layer(cached) == "memory"
    assert found.attrs["quantstore"]["version"] == version
    assert found.attrs["quantstore"]["versions"] == {"trades": 1}
    cached.read("SELECT count(*) AS n FROM trades, quotes")
    assert cached.last.versions == {"trades": 1, "quotes": version}


def test_a_name_that_comes_to_mean_another_table_gives_other_rows(cached):
    cached.write(ticks(5, seed=9), "quotes")
    assert cached.read("SELECT count(*) AS n FROM trades")["n"].item() == 1000
    cached.table("trades").rename("old")
    with pytest.raises(NotFoundError):
        cached.read("SELECT count(*) AS n FROM trades")
    cached.table("quotes").rename("trades")
    assert cached.read("SELECT count(*) AS n FROM trades")["n"].item() == 5
    cached.table("trades").drop()
    with pytest.raises(NotFoundError):
        cached.read("SELECT count(*) AS n FROM trades")
    cached.table("old").rename("trades")
    assert cached.read("SELECT count(*) AS n FROM trades")["n"].item() == 1000


def test_a_restore_is_seen(cached):
    first = cached.read("SELECT count(*) AS n FROM trades")["n"].item()
    cached.write(ticks(10, seed=4), "trades")
    assert cached.read("SELECT count(*) AS n FROM trades")["n"].item() == first + 10
    cached.table("trades").restore(1)
    assert cached.read("SELECT count(*) AS n FROM trades")["n"].item() == first


def test_older_versions_are_kept_by_their_version(cached):
    version = cached.write(ticks(10, seed=1), "trades").version
    for _ in range(2):
        assert cached.read("SELECT count(*) AS n FROM trades", as_of=1)["n"].item() == 1000
        assert cached.read("SELECT count(*) AS n FROM trades", as_of=version)["n"].item() == 1010
        assert cached.read("SELECT count(*) AS n FROM trades")["n"].item() == 1010
    assert layer(cached) == "memory"
    cached.write(ticks(10, seed=2), "trades")
    assert cached.read("SELECT count(*) AS n FROM trades", as_of=version)["n"].item() == 1010
    assert layer(cached) == "memory"
    with pytest.raises(NotFoundError):
        cached.read("SELECT count(*) AS n FROM trades", as_of=99)


def test_a_move_changes_nothing_without_a_hint_and_everything_with_one(cached):
    whole = cached.read("trades", to="arrow")
    hinted = cached.read("trades", ["hot"], to="arrow")
    assert cached.read("trades", ["hot"], to="arrow").equals(hinted)
    assert layer(cached) == "memory"
    cached.migrate("trades", "hot", "cold", before="2026-01-06")
    assert cached.read("trades", to="arrow").equals(whole)
    assert layer(cached) == "memory"
    with pytest.warns(PartialResultWarning, match="partial"):
        partial = cached.read("trades", ["hot"], to="arrow")
    assert 0 < partial.num_rows < hinted.num_rows
    with pytest.warns(PartialResultWarning):
        cached.read("trades", ["hot"], to="arrow")
    assert layer(cached) is None, "a partial answer is never kept"
    with pytest.raises(UnavailableError):
        cached.read("trades", ["hot"], missing="raise")
    assert cached.read("trades", ["hot"], missing="ignore", to="arrow").num_rows == partial.num_rows
    assert layer(cached) is None
    cached.migrate("trades", "cold", "hot")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached.read("trades", ["hot"], to="arrow").equals(whole)


def vandalise_pandas(frame):
    """Write over all of a frame in every way pandas and NumPy offer."""
    for name in list(frame.columns):
        values = frame[name].to_numpy()
        for array in (values, np.asarray(frame[name]), frame[name].array):
            with contextlib.suppress(ValueError, TypeError):
                array[:] = array[0] if len(array) else array
        try:
            values.flags.writeable = True
            values[:] = values[0]
        except (ValueError, TypeError, AttributeError):
            pass
    for position in range(frame.shape[1]):
        frame.iloc[:, position] = frame.iloc[0, position] if len(frame) else None
    for array in frame.attrs["quantstore"].values():
        if isinstance(array, list | dict):
            array.clear()
    frame.attrs.clear()


def vandalise_arrow(table):
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                if buffer is None:
                    continue
                assert not buffer.is_mutable
                with pytest.raises((ValueError, BufferError, TypeError)):
                    np.frombuffer(buffer, np.uint8)[:] = 7
            try:
                view = chunk.to_numpy(zero_copy_only=False)
                view.flags.writeable = True
                view[:] = view[0]
            except (ValueError, TypeError):
                pass


def vandalise_polars(frame):
    for name in frame.columns:
        if frame[name].dtype.is_numeric():
            frame[name].to_numpy(writable=True)[:] = 7
            view = frame[name].to_numpy()
            try:
                view.flags.writeable = True
                view[:] = 7
            except ValueError:
                pass
            frame[0, name] = 7
    frame.clear()


@pytest.mark.parametrize("query", ["SELECT * FROM trades ORDER BY ts, price", "trades", "SELECT price FROM trades"])
def test_whatever_callers_do_to_a_result_the_next_one_is_whole(cached, query):
    wanted = {to: cached.read(query, to=to, cache=False) for to in ("pandas", "polars", "arrow")}
    backends = {name: cached.read(query, dtype_backend=name, cache=False) for name in ("pyarrow", "numpy_nullable")}
    for _ in range(3):
        vandalise_pandas(cached.read(query))
        vandalise_polars(cached.read(query, to="polars"))
        found = cached.read(query, to="arrow")
        if layer(cached) == "memory":
            vandalise_arrow(found)
        for name in backends:
            vandalise_pandas(cached.read(query, dtype_backend=name))
    again = cached.read(query)
    assert layer(cached) == "memory"
    assert_frame_equal(again, wanted["pandas"])
    assert again.attrs["quantstore"]["versions"] == {"trades": 1}
    assert cached.read(query, to="polars").equals(wanted["polars"])
    assert cached.read(query, to="arrow").equals(wanted["arrow"])
    for name, frame in backends.items():
        assert_frame_equal(cached.read(query, dtype_backend=name), frame)


def test_what_a_caller_does_to_the_first_result_does_not_reach_the_one_kept(cached):
    first = cached.read("SELECT price FROM trades ORDER BY ts, price", to="polars")
    wanted = first.clone()
    first[0, "price"] = -1.0
    assert cached.read("SELECT price FROM trades ORDER BY ts, price", to="polars").equals(wanted)


def test_lineage_knows_where_a_cached_result_came_from(cached):
    cached.read(QUERY)
    found = cached.read(QUERY)
    note = found.attrs["quantstore"]
    assert (note["tables"], note["versions"], note["version"], note["cache"]) == (
        ["trades"],
        {"trades": 1},
        1,
        "memory",
    )
    stamped = found.assign(ts=pd.Timestamp("2026-01-05", tz="UTC"))
    cached.write(stamped, "counts")
    lineage = cached.table("counts").versions().iloc[0]["lineage"]
    assert "trades" in repr(lineage)
    assert "from the cache (memory)" in repr(cached.last) or cached.last.cache is None


def test_the_report_says_layer_versions_and_times(cached):
    cached.read(QUERY)
    assert cached.last.cache is None
    assert cached.last.versions == {"trades": 1}
    cached.read(QUERY)
    assert "from the cache (memory) | version 1" in repr(cached.last)
    assert cached.last.rows == 3
    assert 0 < cached.last.total_seconds < 1
    assert cached.last.plan.scans[0].record.name == "trades"


def test_the_limit_on_results_holds_for_kept_ones(cached):
    cached.read("trades")
    with pytest.raises(ResultTooLarge):
        cached.read("trades", max_bytes=10)


def test_stats_clear_and_off(cached, tmp_path):
    read_twice(cached, QUERY)
    stats = cached.cache.stats()
    assert (stats.memory_hits, stats.misses, stats.entries) == (1, 1, 1)
    assert stats.memory_bytes > 0
    assert "1 answer in memory" in repr(stats)
    assert "result cache: 1 answer" in repr(cached.cache)
    cached.cache.clear()
    assert cached.cache.stats().entries == 0
    cached.read(QUERY)
    assert layer(cached) is None
    for off in ("off", False, 0):
        with qs.open(tmp_path / "store", cache=off) as store:
            assert read_twice(store, QUERY)[1] is None
            assert repr(store.cache) == "result cache: off"
    with pytest.raises(qs.QuantStoreError, match="cache='lots'"):
        qs.open(tmp_path / "store", cache="lots")


def test_the_environment_decides_where_the_caller_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTSTORE_CACHE", "1MB")
    with qs.open(tmp_path / "s") as store:
        store.write(ticks(), "trades")
        assert read_twice(store, QUERY)[1] == "memory"


def test_answers_from_a_view_of_an_older_version_are_right(cached):
    cached.read(QUERY)
    then = cached.at(1)
    cached.write(ticks(10, seed=5), "trades")
    assert then.read(QUERY)["n"].sum() == 1000
    assert cached.read(QUERY)["n"].sum() == 1010
    assert then.read(QUERY)["n"].sum() == 1000


def test_random_changes_never_give_a_stale_answer(tmp_path):
    """Every answer equals what is read past the cache, whatever happened in between and whoever did it."""
    rng = random.Random(20261123)
    questions = [
        (QUERY, {}),
        ("trades", {}),
        (BOUND, {"params": {"low": 0.9}}),
        ("SELECT max(price) AS p FROM other", {}),
    ]
    with qs.open(tmp_path / "s", cache="auto") as store, qs.open(tmp_path / "s", cache="auto") as second:
        for name in ("trades", "other"):
            store.write(ticks(50), name)
        hits = 0
        for step in range(60):
            writer, table = rng.choice([store, second]), rng.choice(["trades", "other"])
            action = rng.randrange(6)
            if action == 0:
                writer.write(ticks(20, seed=step), table, rng.choice(["hot", "warm", "cold"]))
            elif action == 1:
                writer.migrate(table, "any", rng.choice(["hot", "warm", "cold"]))
            elif action == 2:
                writer.delete(table, where=f"size = {rng.randrange(100)}")
            elif action == 3:
                writer.sweep(grace=0)
            for reader in (store, second):
                query, options = rng.choice(questions)
                as_of = rng.choice([None, rng.randint(2, store.metadata_catalog.snapshot().version)])
                found = reader.read(query, to="arrow", as_of=as_of, **options)
                hits += layer(reader) is not None
                assert found.equals(reader.read(query, to="arrow", as_of=as_of, cache=False, **options))
        assert hits > 10


def test_a_repeat_of_a_thousand_rows_takes_less_than_a_millisecond(cached):
    query = "SELECT * FROM trades ORDER BY ts, price"

    def median(to):
        taken = []
        for _ in range(300):
            begun = time.perf_counter()
            cached.read(query, to=to)
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    allowed = 0.001 if os.environ.get("QUANTSTORE_QUIET") else 0.005  # other work on the machine is no fault of ours
    times = {to: median(to) for to in ("arrow", "polars", "pandas")}
    assert max(times.values()) < allowed, times


SCRIPT = """
import sys, quantstore as qs
with qs.open(sys.argv[1], cache="auto", read_only=len(sys.argv) > 2) as store:
    store.cache.disk_after_seconds = 0.0
    found = store.read("SELECT symbol, count(*) AS n FROM trades GROUP BY symbol ORDER BY symbol")
    print(store.last.cache, found["n"].sum())
"""


def other_process(folder, *more):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), *more], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_two_processes_share_answers_on_disk_and_never_a_stale_one(tmp_path):
    folder = tmp_path / "store"
    with qs.open(folder, cache="auto") as store:
        store.write(ticks(), "trades")
        assert other_process(folder) == ["None", "1000"]
        assert other_process(folder) == ["disk", "1000"]
        assert other_process(folder, "read-only") == ["disk", "1000"]
        store.write(ticks(10, seed=1), "trades")
        assert other_process(folder) == ["None", "1010"]
        store.migrate("trades", "hot", "cold")
        assert other_process(folder) == ["disk", "1010"]
        code.cache_clear()  # the code may have been edited since this process looked at it
        found = store.read("SELECT symbol, count(*) AS n FROM trades GROUP BY symbol ORDER BY symbol")
        assert layer(store) == "disk"
        assert found["n"].sum() == 1010
        assert found.attrs["quantstore"]["versions"] == {"trades": 2}
        assert "from the cache (disk)" in repr(store.last)
        store.read("SELECT symbol, count(*) AS n FROM trades GROUP BY symbol ORDER BY symbol")
        assert layer(store) == "memory"


def test_nothing_that_was_asked_can_be_read_from_the_folder(tmp_path):
    folder = tmp_path / "store"
    with qs.open(folder, cache="auto") as store:
        store.cache.disk_after_seconds = 0.0
        store.write(ticks(), "trades")
        store.read("SELECT count(*) AS n FROM trades WHERE symbol = $who", params={"who": "SECRETCLIENT"})
        (file,) = (folder / "cache").iterdir()
        assert b"SECRETCLIENT" not in file.read_bytes() + file.name.encode()
        assert b"SELECT" not in file.read_bytes()


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "foreign", "swapped", "folder"])
def test_a_damaged_or_foreign_file_counts_for_nothing(tmp_path, harm):
    folder = tmp_path / "store"
    with qs.open(folder, cache="auto") as store:
        store.cache.disk_after_seconds = 0.0
        store.write(ticks(), "trades")
        wanted = store.read(QUERY)
        (file,) = (folder / "cache").iterdir()
        content = bytearray(file.read_bytes())
        if harm == "flip":
            content[len(content) // 2] ^= 1
        elif harm == "cut":
            del content[-10:]
        elif harm == "empty":
            content.clear()
        elif harm == "foreign":
            content[:] = b"something else altogether" * 10
        elif harm == "swapped":
            store.read("SELECT 42 AS n")
            (other,) = (one for one in (folder / "cache").iterdir() if one != file)
            content[:] = other.read_bytes()
        file.unlink()
        if harm == "folder":
            file.mkdir()
        else:
            file.write_bytes(content)
        store.cache.close()
        assert_frame_equal(store.read(QUERY), wanted)
        assert layer(store) is None


def test_where_nothing_can_be_written_nothing_is_kept_on_disk(tmp_path):
    folder = tmp_path / "store"
    with qs.open(folder, cache="auto") as store:
        store.write(ticks(), "trades")
    (folder / "cache").write_text("in the way")
    with qs.open(folder, cache="auto") as store:
        store.cache.disk_after_seconds = 0.0
        assert read_twice(store, QUERY)[1] == "memory"
        assert store.cache.stats().files == 0
        store.cache.clear()
    (folder / "cache").unlink()
    with qs.open(folder, cache="auto", read_only=True) as store:
        store.cache.disk_after_seconds = 0.0
        assert read_twice(store, QUERY)[1] == "memory"
        assert not (folder / "cache").exists()


def test_a_copied_store_with_other_rows_does_not_take_the_answers_of_the_first(tmp_path):
    import shutil

    for name, rows in (("one", 10), ("two", 20)):
        with qs.open(tmp_path / name, cache="auto") as store:
            store.cache.disk_after_seconds = 0.0
            store.write(ticks(rows), "trades")
            if name == "two":
                shutil.copytree(tmp_path / "one" / "cache", tmp_path / "two" / "cache")
            assert store.read(QUERY)["n"].sum() == rows
            assert layer(store) is None


def test_a_catalog_from_a_backup_does_not_take_the_answers_it_does_not_know(tmp_path):
    """Once versions are counted anew, one of the same number holds other rows than the one that was lost."""
    import shutil

    catalog, backup = tmp_path / "s" / "catalog.sqlite", tmp_path / "backup.sqlite"
    with qs.open(tmp_path / "s", cache="auto") as store:
        store.write(ticks(10), "trades")
    shutil.copy(catalog, backup)
    for rows in (20, 30):
        shutil.copy(backup, catalog)
        with qs.open(tmp_path / "s", cache="auto") as store:
            store.cache.disk_after_seconds = 0.0
            assert store.write(ticks(rows), "trades", on_repeat="append").version == 2
            for query in (QUERY, "trades"):
                found = store.read(query)
                assert layer(store) is None
                assert (found["n"].sum() if query == QUERY else len(found)) == 10 + rows


def test_a_forked_child_reads_on(cached):
    read_twice(cached, QUERY)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if cached.read(QUERY)["n"].sum() == 1000 and layer(cached) == "memory" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_frames_of_polars_say_where_they_came_from(cached):
    frame = pl.DataFrame.tier.read if hasattr(pl.DataFrame, "tier") else None
    assert frame is not None
    for _ in range(2):
        found = cached.read(QUERY, to="polars")
    assert found.height == 3
    assert cached.last.summary()["cache"] == "memory"
