"""Rename, drop, undrop, restore, changes, lineage, hold: tables as a whole, in every version."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from quantstore.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError

TIERS = ("hot", "warm", "cold")


def ticks(first: int, rows: int = 6) -> pd.DataFrame:
    """Rows that no other call gives."""
    numbers = np.arange(first, first + rows)
    stamps = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(numbers * 7, "h")
    return pd.DataFrame(
        {
            "ts": stamps,
            "symbol": np.where(numbers % 2, "A", "B"),
            "price": numbers * 1.5,
            "asset_class": np.where(numbers % 3, "FX", "EQUITY"),
        }
    )


def rows(store, table="t", **options):
    """Everything a read gives, hidden columns too."""
    return store.read(table, columns=["ts", "symbol", "price", "asset_class", "_seq"], to="arrow", **options)


def repeats(store, frame, table="t", **options):
    """Whether writing a frame again adds nothing."""
    import warnings

    with warnings.catch_warnings(action="ignore"):
        return store.write(frame, table, **options).replayed


def test_a_renamed_table_keeps_rows_history_and_old_versions_their_name(store):
    store.write(ticks(0), "t")
    table = store.table("t").rename("Trades")
    assert table.name == "Trades"
    assert store.tables() == ["Trades"]
    assert len(store.read("SELECT * FROM trades")) == 6
    assert len(store.read("t", as_of=1)) == 6
    assert table.versions()[["version", "operation"]].to_numpy().tolist() == [[2, "rename"], [1, "append"]]
    with pytest.raises(NotFoundError, match="no table 't'"):
        store.read("t")
    with pytest.raises(NotFoundError, match="no table 'Trades' at version 1"):
        store.read("Trades", as_of=1)
    assert repeats(store, ticks(0), "Trades")
    assert store.write(ticks(0), "t").rows == 6  # another table
    assert len(store.read("t", as_of=1)) == 6
    assert table.rename("trades").name == "trades"
    version = store.metadata_catalog.snapshot().version
    assert table.rename("trades").name == "trades"
    assert store.metadata_catalog.snapshot().version == version
    assert store.audit().ok


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", "There is a table 'other'"),
        ("OTHER", "There is a table 'other'"),
        ("оther", "looks like"),
        ("", "empt"),
    ],
)
def test_a_name_that_will_not_do_changes_nothing(store, name, message):
    store.write(ticks(0), "t")
    store.write(ticks(0), "other")
    with pytest.raises(InvalidInputError, match=message):
        store.table("t").rename(name)
    assert store.tables() == ["other", "t"]
    assert store.metadata_catalog.snapshot().version == 2


def test_a_query_planned_before_a_rename_asks_the_table_of_that_name(store):
    store.write(ticks(0), "t")
    store.write(ticks(0, 2), "u")
    query = "SELECT count(*) AS n FROM t"
    assert store.read(query)["n"].tolist() == [6]
    store.table("t").rename("old")
    store.table("u").rename("t")
    assert store.read(query)["n"].tolist() == [2]
    assert store.read(query, as_of=2)["n"].tolist() == [6]


def test_a_dropped_table_comes_back_as_it_was(store):
    store.write(ticks(0), "t")
    store.write(ticks(10), "t", "cold")
    before = rows(store)
    version = store.table("t").drop()
    assert store.tables() == []
    with pytest.raises(NotFoundError):
        store.read("t")
    assert rows(store, as_of=version - 1).equals(before)
    with pytest.raises(NotFoundError, match="Did you mean 't'"):
        store.undrop("tt")
    table = store.undrop("T")
    assert table.name == "t"
    assert rows(store).equals(before)
    assert repeats(store, ticks(0))
    assert table.versions()["operation"].tolist() == ["undrop", "drop", "append", "append"]
    assert table.changes(version - 1).empty
    with pytest.raises(NotFoundError, match="was not dropped"):
        store.undrop("t")


def test_a_name_given_up_can_be_used_again_and_the_older_table_waits(store):
    store.write(ticks(0), "t")
    table = store.table("t")
    table.drop()
    assert store.write(ticks(0), "t").rows == 6  # no repeat: this is another table
    with pytest.raises(InvalidInputError, match="rename it first"):
        store.undrop("t")
    store.table("t").rename("second")
    assert len(store.undrop("t").versions()) == 3
    for one in ("t", "second"):
        assert len(store.read(one)) == 6
    for gone in (table.drop, table.drop, lambda: table.rename("x"), lambda: table.restore(1), lambda: table.hold("x")):
        if gone == table.drop and "t" in store.tables():
            gone()
            continue
        with pytest.raises(NotFoundError, match=r"was dropped; bring it back"):
            gone()


def test_a_writer_whose_table_was_dropped_meanwhile_is_refused(store):
    """It must not make a new table of the same name by accident, nor write into another one."""
    store.write(ticks(0), "t")
    transaction = store.transaction()
    transaction.__enter__()
    transaction.write(ticks(10), "t")
    store.table("t").drop()
    with pytest.raises(ConflictError, match="dropped or renamed"):
        transaction.__exit__(None, None, None)
    assert store.tables() == []
    store.undrop("t")
    transaction = store.transaction()
    transaction.__enter__()
    transaction.write(ticks(10), "t")
    store.table("t").rename("u")
    store.write(ticks(20), "t")
    with pytest.raises(ConflictError, match="dropped or renamed"):
        transaction.__exit__(None, None, None)
    assert len(store.read("t")) == len(store.read("u")) == 6
    store.sweep(grace=0)
    assert store.audit().orphans == 0


def test_restore_brings_every_version_back_bit_for_bit_without_writing(store):
    """Also in between, through SQL, after moves of either version's rows, and when only bytes of one are left."""
    for number, tier in enumerate(TIERS):
        store.write(ticks(number * 10), "t", tier)
    store.delete("t", "price < 4")
    store.write(ticks(0, 3).assign(price=9.0), "t", mode="upsert", key=["ts", "symbol"])
    store.write(ticks(70), "t", mode="overwrite")
    wanted = {version: rows(store, as_of=version) for version in range(1, 7)}
    table = store.table("t")
    for step, version in enumerate((4, 1, 6, 3, 5, 2, 3)):
        before = sum(one.size_bytes for tier in TIERS for one in getattr(store, f"{tier}_store").list())
        table.restore(version)
        after = sum(one.size_bytes for tier in TIERS for one in getattr(store, f"{tier}_store").list())
        assert after == before
        assert rows(store).equals(wanted[version])
        total = store.read("SELECT sum(price) AS total FROM t")["total"][0]
        assert total == pytest.approx(sum(wanted[version]["price"].to_pylist()))
        newest = store.metadata_catalog.snapshot().version
        assert table.versions().iloc[0][["version", "operation"]].tolist() == [newest, "restore"]
        wanted[newest] = wanted[version]
        store.migrate("t", "any", TIERS[step % 3], where="symbol = 'A'" if step % 2 else None)
        store.sweep(grace=0)
        for old, expected in wanted.items():
            assert rows(store, as_of=old).equals(expected), old
        assert store.audit().ok
    for version in wanted:
        assert table.changes(version, version).empty


def test_restoring_what_is_there_changes_nothing(store):
    store.write(ticks(0), "t")
    store.table("t").restore(1)
    store.migrate("t", "hot", "cold")
    store.table("t").restore(1)
    assert store.metadata_catalog.snapshot().version == 1
    store.write(ticks(0), "u")
    with pytest.raises(NotFoundError, match="made later"):
        store.table("u").restore(1)


@pytest.mark.parametrize("tier", TIERS)
def test_a_write_made_again_after_a_restore_is_a_repeat_if_its_rows_are_back(store, tier):
    """Neither doubled nor lost: what a restore brought back whole is known, what it took away is not."""
    for number in range(3):
        store.write(ticks(number * 10), "t", tier)
    store.delete("t", "price = 15.0")  # a row of the second
    store.migrate("t", "any", "warm")  # files whose rows no longer tell their version by themselves
    table = store.table("t")
    table.restore(3)
    assert [repeats(store, ticks(number * 10)) for number in range(3)] == [True, True, True]
    table.restore(4)
    assert [repeats(store, ticks(number * 10), dry_run=False) for number in (0, 2)] == [True, True]
    assert not repeats(store, ticks(10))  # added again: version after the restore
    table.restore(1)
    assert [repeats(store, ticks(0)), len(store.read("t"))] == [True, 6]
    assert not repeats(store, ticks(20))
    table.restore(4)
    assert repeats(store, ticks(20))
    assert len(store.read("t")) == 17


def test_restore_brings_back_the_columns_of_its_version(store):
    """A table made without columns, and emptied, goes back to having no rows."""
    store.create("t", time="ts")
    store.write(ticks(0), "t")
    store.table("t").restore(1)
    assert len(store.read("t")) == 0
    assert not repeats(store, ticks(0))
    assert len(store.read("t")) == 6


def test_changes_are_the_rows_that_came_and_went(store):
    store.write(ticks(0), "t")
    store.tag("start")
    store.write(ticks(10), "t", "cold")
    store.delete("t", "price = 0")
    store.write(ticks(1, 1).assign(price=77.0), "t", mode="upsert", key=["ts", "symbol"])
    store.migrate("t", "any", "warm", where="symbol = 'B'")
    table = store.table("t")
    found = table.changes("start")
    assert found.columns.tolist() == [*ticks(0).columns, "change"]
    assert found["price"].tolist() == [0.0, 1.5, 77.0, *ticks(10)["price"]]
    assert found["change"].tolist() == ["removed", "removed", "added"] + ["added"] * 6
    back = table.changes(4, "start")
    assert sorted(back["change"].tolist()) == ["added"] * 2 + ["removed"] * 7
    assert table.changes(4).empty
    assert table.changes(0)["change"].tolist() == ["added"] * 11
    assert table.changes(0, 0).empty
    assert table.changes(1, 2, to="polars").height == 6
    assert isinstance(table.changes(1, 2, to="arrow"), pa.Table)
    with pytest.raises(InvalidInputError, match="to='lazy'"):
        table.changes(1, to="lazy")
    with pytest.raises(InvalidInputError, match="is a day"):
        table.changes("2026-01-01")
    table.restore(1)
    assert table.changes(1).empty


def test_changes_of_a_table_with_a_column_of_that_name_and_with_categories(store):
    frame = ticks(0).assign(change=1.0, kind=pd.Categorical(["x", "y"] * 3))
    store.write(frame, "t")
    store.write(frame.assign(kind=pd.Categorical(["y", "z"] * 3)), "t")
    found = store.table("t").changes(1)
    assert found["_change"].tolist() == ["added"] * 6
    assert found["kind"].tolist() == ["y", "z"] * 3


def test_changes_open_only_what_differs(store):
    """Segments of both versions stay shut, however large."""
    store.write(ticks(0, 40), "t", "cold")
    store.write(ticks(50, 2), "t")
    for file in store.cold_store.list():
        (Path(store.cold_store.root) / file.location).unlink()
    assert len(store.table("t").changes(1)) == 2


def test_lineage_tells_inputs_query_and_code(store, tmp_path, monkeypatch):
    store.write(ticks(0), "t")
    query = "SELECT ts, price FROM t WHERE price > 1"
    bars = store.read(query)
    repository = tmp_path / "research"
    repository.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(repository)]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    script = repository / "jobs" / "make_bars.py"
    script.parent.mkdir()
    script.write_text("\n\nstore.write(bars, 'bars')\n")
    exec(compile(script.read_text(), str(script), "exec"), {"store": store, "bars": bars, "__name__": "__main__"})
    (found,) = store.table("bars").lineage().to_dict("records")
    assert (found["version"], found["operation"], found["inputs"], found["input_version"]) == (2, "append", ("t",), 1)
    assert found["query"] == query
    assert (found["file"], found["line"], found["commit"]) == ("jobs/make_bars.py", 3, head)
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    exec(compile("store.delete('bars', 'price > 5')", str(script), "exec"), {"store": store, "__name__": "__main__"})
    assert store.table("bars").lineage()["commit"].tolist() == [head, head]
    own = store.table("t").lineage().iloc[0]
    assert own["file"].endswith("test_tables.py")
    assert own["inputs"] == ()


def test_lineage_names_the_notebook(store, monkeypatch, tmp_path):
    pytest.importorskip("IPython")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "study.ipynb"))
    exec(compile("store.write(frame, 't')", "<ipython-input-3>", "exec"), {"store": store, "frame": ticks(0)})
    assert store.table("t").lineage()["notebook"].tolist() == [str(tmp_path / "study.ipynb")]


def test_lineage_costs_little(store):
    """Well under a millisecond a write."""
    from quantstore.write.lineage import code_lineage

    assert code_lineage()
    begun = time.perf_counter()
    for _ in range(200):
        code_lineage()
    assert (time.perf_counter() - begun) / 200 < 0.001


def test_a_hold_keeps_all_versions_and_refuses_a_drop(store):
    for number in range(4):
        store.write(ticks(number * 10), "t", mode="overwrite")
        store.write(ticks(number * 10), "free", mode="overwrite")
    wanted = {version: rows(store, as_of=version) for version in (1, 3, 5, 7)}
    table = store.table("t")
    hold = table.hold("audit of 2026")
    assert "audit of 2026" in repr(hold)
    with pytest.raises(AccessDeniedError, match="is held \\(audit of 2026"):
        table.drop()
    assert store.expire(before=8).segments > 0
    store.sweep(grace=0)
    for version, expected in wanted.items():
        assert rows(store, as_of=version).equals(expected)
        assert store.at(version).tables() == ["t"]
        with pytest.raises(NotFoundError, match=f"Version {version} has expired|no table"):
            store.read("free", as_of=version)
    assert rows(store, as_of=3).equals(table.restore(3) and rows(store))
    second = table.hold("another", until="1h")
    assert [one.reason for one in table.holds()] == ["audit of 2026", "another"]
    hold.release()
    hold.release()
    assert rows(store, as_of=1).equals(wanted[1])  # the second hold keeps what the first one kept
    with second:
        store.expire(before=8)
        assert rows(store, as_of=1).equals(wanted[1])
    with pytest.raises(NotFoundError, match="has expired"):
        rows(store, as_of=1)
    store.expire(before=8)
    store.sweep(grace=0)
    assert rows(store).equals(wanted[3])  # restored from files that only expired versions had made
    assert store.audit().ok
    late = table.hold("too late")
    with pytest.raises(NotFoundError, match="has expired"):
        rows(store, as_of=1)
    late.release()
    table.drop()


@pytest.mark.parametrize("until", ["2100-01-01T00:00Z", "30d", 3600, None, pd.Timestamp("2100-01-01", tz="UTC")])
def test_holds_end_when_told(store, until):
    store.write(ticks(0), "t")
    store.table("t").hold("why", until=until)
    assert len(store.table("t").holds()) == 1
    store.table("t").hold("over", until="2001-01-01T00:00Z")
    assert len(store.table("t").holds()) == 1


def test_a_hold_needs_a_reason(store):
    store.write(ticks(0), "t")
    with pytest.raises(InvalidInputError, match="why"):
        store.table("t").hold(" ")
    with pytest.raises(InvalidInputError, match="until"):
        store.table("t").hold("x", until="soon")


def test_versions_of_a_long_history_are_listed_at_once(store):
    """10,000 versions in 50 ms; half of it again for slower machines than the one it was measured on."""
    from quantstore.catalog import schema

    store.write(ticks(0), "t")
    database = store.metadata_catalog._database
    with database.write() as connection:
        numbers = range(2, 10_001)
        connection.execute(
            schema.versions.insert(),
            [{"version": n, "committed_ns": n, "author": "a", "host": "h", "pid": 1} for n in numbers],
        )
        fixed = {"table_id": 1, "operation": "append", "tier": "hot", "rows": 1, "deleted": 0, "segments": 1}
        lineage = '{"inputs": ["a"], "version": 1, "code": {"file": "x.py", "line": 3}}'
        connection.execute(
            schema.changes.insert(), [{"version": n, "lineage": lineage, "is_live": True, **fixed} for n in numbers]
        )
    table = store.table("t")
    assert len(table.versions()) == 10_000
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        table.versions()
        times.append(time.perf_counter() - begun)
    print("versions of 10,000:", min(times))
    assert min(times) < 0.075
    assert_frame_equal(table.versions().head(1)[["version", "rows"]], pd.DataFrame({"version": [10_000], "rows": [1]}))
