"""Publishing: what is there after each operation, when it follows by itself, and what a sweep may take."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lake import DAY, cold_rows, iceberg_catalog, rows, seen_by_pyiceberg

import quantstore as qs
from quantstore.errors import (
    AccessDeniedError,
    ConflictError,
    MissingDependencyError,
    NotFoundError,
    PublicationWarning,
    UnsupportedError,
)


def assert_published(store, table="trades"):
    (found,) = [one for one in store.publications() if one.table == table]
    assert found.lag == 0, found
    seen = seen_by_pyiceberg(store, table)
    assert seen == cold_rows(store, table)
    return found


def test_cold_rows_are_published_and_no_others(store):
    store.write(rows(0, 100), "trades", "cold")
    store.write(rows(100, 50), "trades", "warm")
    store.write(rows(150, 25), "trades", "hot")
    (done,) = store.publish("trades")
    assert (done.table, done.version, done.lag, done.files_removed) == ("trades", 3, 0, 0)
    assert done.files_added == 8
    found = assert_published(store)
    assert len(seen_by_pyiceberg(store, "trades")) == 100
    assert (found.snapshot_id, found.location) == (done.snapshot_id, done.location)


def test_snapshots_are_stamped_and_partitioned(store):
    store.write(rows(0, 100), "trades", "cold")
    store.publish()
    with iceberg_catalog(store) as catalog:
        table = catalog.load_table("quantstore.trades")
        stamp = table.current_snapshot().summary
        assert stamp["quantstore.version"] == "1"
        assert stamp["quantstore.store-id"] == store.metadata_catalog.store_id
        assert stamp["total-records"] == "100"
        assert [(field.name, str(field.transform)) for field in table.spec().fields] == [
            ("trade_date", "identity"),
            ("asset_class", "identity"),
        ]
        planned = list(table.scan(row_filter="trade_date = '2026-02-26' and asset_class = 'FX'").plan_files())
        assert len(planned) == 1
        assert "/trade_date=2026-02-26/asset_class=FX/" in planned[0].file.file_path
        only = table.scan(row_filter="id >= 3 and id < 5 and ts >= '2020-01-01T00:00:00+00:00'").to_arrow()
        assert sorted(only["id"].to_pylist()) == [3, 4]
        assert list(table.scan(row_filter="id > 1000").plan_files()) == []


def test_publishing_twice_does_nothing(store):
    store.write(rows(0, 100), "trades", "cold")
    first = store.publish()
    files = sorted(Path(first[0].location).rglob("*"))
    (again,) = store.publish()
    assert (again.files_added, again.files_removed, again.snapshot_id) == (0, 0, first[0].snapshot_id)
    assert sorted(Path(first[0].location).rglob("*")) == files


def test_tables_never_published_stay_so(store, tmp_path):
    store.write(rows(0, 10), "trades", "cold")
    store.migrate("trades", "cold", "warm")
    store.sweep(grace=0)
    assert store.maintain().done["publish"] == []
    assert store.publications() == []
    assert not (tmp_path / "store" / "iceberg").exists()


def test_a_store_that_publishes_nothing_does_not_import_pyiceberg(tmp_path):
    code = (
        "import sys, pandas as pd, quantstore as qs\n"
        "frame = pd.DataFrame({'ts': pd.to_datetime(['2026-01-05'], utc=True), 'x': [1]})\n"
        "with qs.open(sys.argv[1]) as store:\n"
        "    store.write(frame, 't', 'cold'); store.migrate('t', 'cold', 'warm')\n"
        "    store.maintain(); store.publications()\n"
        "print('pyiceberg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_published_tables_follow_every_operation(store):
    store.write(rows(0, 100), "trades", "cold", key="id")
    store.publish("trades")
    steps = [
        lambda: store.write(rows(100, 40), "trades", "cold"),
        lambda: store.write(rows(200, 40), "trades", "hot"),
        lambda: store.migrate("trades", "hot", "cold", where="symbol = 'AAPL'"),
        lambda: store.migrate("trades", "cold", "warm", before="2026-02-27"),
        lambda: store.delete("trades", "id % 10 = 3"),
        lambda: store.write(rows(10, 5, price=pa.array([1.0] * 5)), "trades", "cold", mode="upsert"),
        lambda: store.migrate("trades", "any", "cold"),
        lambda: store.compact("trades"),
        lambda: store.sweep(grace=0),
        lambda: store.table("trades").restore(2),
        lambda: store.write(rows(300, 20), "trades", "cold", mode="overwrite"),
        lambda: store.expire(before=store.metadata_catalog.snapshot().version),
        lambda: store.sweep(grace=0),
        lambda: store.write(rows(400, 20), "trades", "hot", mode="overwrite"),
    ]
    for step in steps:
        step()
        assert_published(store)
    assert seen_by_pyiceberg(store, "trades") == []


def test_a_transaction_publishes_each_of_its_tables(store):
    store.write(rows(0, 10), "trades", "cold")
    store.write(rows(0, 10), "quotes", "cold")
    store.publish()
    with store.transaction() as tx:
        tx.write(rows(50, 10), "trades", "cold")
        tx.delete("quotes", where="id < 5")
    assert len(seen_by_pyiceberg(store, "trades")) == 20
    assert len(seen_by_pyiceberg(store, "quotes")) == 5
    assert_published(store)
    assert_published(store, "quotes")


def test_a_migration_of_many_commits_is_published_once(store, monkeypatch):
    from quantstore.tiering import mover

    monkeypatch.setattr(mover, "BATCH_BYTES", 1)
    store.write(rows(0, 100), "trades", "hot")
    store.publish()
    receipts = store.migrate("trades", "hot", "cold")
    assert len(receipts) == 8
    assert_published(store)
    with iceberg_catalog(store) as catalog:
        assert len(catalog.load_table("quantstore.trades").metadata.snapshots) == 1


def test_renames_and_drops_are_followed(store):
    store.write(rows(0, 10), "trades", "cold")
    store.publish()
    store.table("trades").rename("ticks")
    assert [one.identifier for one in store.publications()] == ["quantstore.ticks"]
    assert_published(store, "ticks")
    store.write(rows(20, 10), "trades", "cold")
    store.publish("trades")
    assert_published(store)
    assert_published(store, "ticks")
    location = {one.table: one.location for one in store.publications()}
    assert len(set(location.values())) == 2
    store.table("ticks").drop()
    with iceberg_catalog(store) as catalog:
        assert catalog.list_tables("quantstore") == [("quantstore", "trades")]
    assert not Path(location["ticks"]).exists()
    store.undrop("ticks")
    assert_published(store, "ticks")


def test_two_tables_can_swap_their_names(store):
    store.write(rows(0, 10), "a", "cold")
    store.write(rows(50, 20), "b", "cold")
    store.publish()
    store.table("a").rename("c")
    store.table("b").rename("a")
    store.table("c").rename("b")
    assert len(seen_by_pyiceberg(store, "a")) == 20
    assert len(seen_by_pyiceberg(store, "b")) == 10
    assert_published(store, "a")
    assert_published(store, "b")


def test_unpublish_takes_the_table_away_and_ends_it(store):
    store.write(rows(0, 10), "trades", "cold")
    (done,) = store.publish()
    store.unpublish("trades")
    store.write(rows(10, 10), "trades", "cold")
    assert store.publications() == []
    assert not Path(done.location).exists()
    assert len(store.read("trades")) == 20
    with pytest.raises(NotFoundError, match="not published"):
        store.unpublish("trades")
    store.publish("trades")
    assert_published(store)


def test_an_empty_table_can_be_published(store):
    store.create("marks", rows(0, 0).schema, symbol="symbol", grain="month")
    (done,) = store.publish("marks")
    assert (done.lag, done.snapshot_id) == (0, None)
    assert seen_by_pyiceberg(store, "marks") == []
    store.write(rows(0, 50), "marks", "cold")
    assert_published(store, "marks")


def test_a_table_without_columns_is_refused(store):
    store.create("later")
    assert store.publish() == []
    with pytest.raises(UnsupportedError, match="no columns yet"):
        store.publish("later")


def test_unknown_tables_are_refused(store):
    store.write(rows(0, 10), "trades", "cold")
    with pytest.raises(NotFoundError, match="trades"):
        store.publish("trade")


def test_read_only_stores_never_publish(store, tmp_path):
    store.write(rows(0, 10), "trades", "cold")
    store.publish()
    with qs.open(tmp_path / "store", read_only=True) as other:
        with pytest.raises(AccessDeniedError, match="read-only"):
            other.publish()
        with pytest.raises(AccessDeniedError, match="read-only"):
            other.unpublish("trades")
        assert [one.lag for one in other.publications()] == [0]
    with pytest.raises(AccessDeniedError):
        store.at(1).publish()


def test_what_another_process_commits_is_caught_up_with(store, tmp_path, monkeypatch):
    """Without pyiceberg the other one lags, says so and warns; the first repairs it."""
    store.write(rows(0, 10), "trades", "cold")
    store.publish()
    with qs.open(tmp_path / "store") as other:
        monkeypatch.setattr("quantstore.publish.publisher.find_spec", lambda name: None)
        with pytest.warns(PublicationWarning, match=r"pip install quantstore\[iceberg\]"):
            result = other.write(rows(10, 10), "trades", "cold")
        assert result.rows == 10
        (found,) = other.publications()
        assert found.lag == 1
        assert "quantstore[iceberg]" in found.problem
        with pytest.raises(MissingDependencyError, match=r"quantstore\[iceberg\]"):
            other.publish()
        monkeypatch.undo()
    assert len(seen_by_pyiceberg(store, "trades")) == 10
    assert store.publications()[0].lag == 1
    assert store.maintain()
    assert_published(store)


def test_a_publication_that_fails_warns_and_the_write_stands(store, monkeypatch):
    from quantstore.publish.projection import Projection

    store.write(rows(0, 10), "trades", "cold")
    store.publish()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Projection, "bring_up_to_date", fail)
    with pytest.warns(PublicationWarning, match="No space left on device") as caught:
        store.write(rows(10, 10), "trades", "cold")
    assert caught[0].filename == __file__
    assert len(store.read("trades")) == 20
    assert "No space left" in store.publications()[0].problem
    monkeypatch.undo()
    store.sweep()
    assert_published(store)
    assert store.publications()[0].problem == ""


def test_a_warning_made_an_error_undoes_nothing(store, monkeypatch):
    """It comes out of the write, whose rows are committed and stay whole."""
    from quantstore.publish.projection import Projection

    store.write(rows(0, 10), "trades", "cold")
    store.publish()
    monkeypatch.setattr(Projection, "bring_up_to_date", lambda *_, **__: 1 / 0)
    with pytest.raises(PublicationWarning):
        store.write(rows(10, 10), "trades", "cold")
    with pytest.raises(PublicationWarning):
        store.migrate("trades", "cold", "warm", where="id < 5")
    monkeypatch.undo()
    assert store.maintain(grace=0)
    assert len(store.read("trades")) == 20
    assert store.audit().ok
    assert_published(store)


def test_a_sweep_spares_what_the_last_snapshot_shows(store, monkeypatch):
    """As long as nothing newer is published, whatever the grace; and takes it afterwards."""
    from quantstore.publish.projection import Projection

    store.write(rows(0, 100), "trades", "cold")
    store.publish()
    before = cold_rows(store, "trades")
    monkeypatch.setattr(Projection, "bring_up_to_date", lambda *_, **__: 1 / 0)
    with pytest.warns(PublicationWarning):
        store.migrate("trades", "cold", "warm")
    with pytest.warns(PublicationWarning, match="ZeroDivisionError"):
        assert store.sweep(grace=0).copies == 0
    assert seen_by_pyiceberg(store, "trades") == before
    monkeypatch.undo()
    assert store.sweep(grace=0).copies == 8
    assert seen_by_pyiceberg(store, "trades") == []
    assert store.audit().ok


def test_files_that_only_older_versions_needed_are_swept(store):
    """They were in no published snapshot, so a publication does not hold them."""
    store.write(rows(0, 100), "trades", "cold")
    store.write(rows(0, 50), "trades", "cold", mode="overwrite")
    store.publish()
    store.expire(before=2)
    assert store.sweep(grace=0).copies == 8
    assert_published(store)


def test_metadata_is_no_business_of_sweep_and_audit(store):
    store.write(rows(0, 100), "trades", "cold")
    (done,) = store.publish()
    files = sorted(Path(done.location).rglob("*"))
    assert store.sweep(grace=0).orphans == 0
    report = store.audit()
    assert report.ok
    assert report.orphans == 0
    assert sorted(Path(done.location).rglob("*")) == files


def test_metadata_stays_short(store):
    """Old snapshots expire, their metadata is deleted, and manifests are written anew as one."""
    from quantstore.publish import projection
    from quantstore.publish.snapshot import MOST_MANIFESTS

    store.write(rows(0, 20), "trades", "cold")
    store.publish()
    for number in range(1, 2 * MOST_MANIFESTS):
        store.write(rows(100 * number, 3), "trades", "cold")
    with iceberg_catalog(store) as catalog:
        table = catalog.load_table("quantstore.trades")
        assert len(table.current_snapshot().manifests(table.io)) <= MOST_MANIFESTS + 1
        assert len(table.metadata.snapshots) == 2 * MOST_MANIFESTS
        assert len(table.metadata.metadata_log) == 10
    assert_published(store)
    past = time.time() - 7200
    (done,) = store.publications()
    for one in (Path(done.location) / "metadata").iterdir():
        os.utime(one, (past, past))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "SNAPSHOT_MILLISECONDS", -1000)
        store.write(rows(10_000, 3), "trades", "cold")
    store.publish()
    with iceberg_catalog(store) as catalog:
        table = catalog.load_table("quantstore.trades")
        assert len(table.metadata.snapshots) <= 2
        manifests = {Path(one.manifest_path).name for one in table.current_snapshot().manifests(table.io)}
    left = {one.name for one in (Path(done.location) / "metadata").iterdir()}
    assert manifests <= left
    assert len(left) < 2 * MOST_MANIFESTS + 20
    assert_published(store)


@pytest.mark.parametrize("damage", ["metadata", "manifest", "list", "row", "hint", "garbage", "folder", "catalog"])
def test_whatever_happened_to_it_publishing_makes_it_right(store, damage):
    store.write(rows(0, 100), "trades", "cold")
    (done,) = store.publish()
    folder = Path(done.location)
    lake = folder.parent
    if damage == "metadata":
        Path(done.metadata).write_text("{")
    elif damage == "manifest":
        next(folder.rglob("*-m0.avro")).write_bytes(b"no avro")
    elif damage == "list":
        next(folder.rglob("snap-*.avro")).unlink()
    elif damage == "row":
        with sqlite3.connect(lake / "catalog.sqlite") as connection:
            connection.execute("DELETE FROM iceberg_tables")
        connection.close()
    elif damage == "hint":
        (folder / "metadata" / "version-hint.text").unlink()
    elif damage == "garbage":
        (folder / "metadata" / "version-hint.text").write_bytes(b"\xff\xfe\x00")
    elif damage == "folder":
        subprocess.run(["rm", "-r", str(folder)], check=True)
    else:
        store._publisher._lake.close()
        store._publisher._lake = None
        subprocess.run(["rm", "-r", str(lake)], check=True)
    store.publish()
    (found,) = store.publications()
    assert Path(found.metadata).is_file()
    assert_published(store)


def test_a_store_that_was_moved_publishes_again(tmp_path):
    with qs.open(tmp_path / "before") as store:
        store.write(rows(0, 100), "trades", "cold")
        store.publish()
    (tmp_path / "before").rename(tmp_path / "after")
    with qs.open(tmp_path / "after") as store:
        assert store.publications()[0].lag == 1
        assert store.maintain()
        assert_published(store)
        (found,) = store.publications()
        assert found.location.startswith(str(tmp_path / "after"))


def test_a_copy_of_a_store_leaves_the_original_alone(tmp_path):
    with qs.open(tmp_path / "one") as store:
        store.write(rows(0, 100), "trades", "cold")
        store.publish()
    subprocess.run(["cp", "-r", str(tmp_path / "one"), str(tmp_path / "two")], check=True)
    with qs.open(tmp_path / "two") as copied:
        copied.write(rows(100, 10), "trades", "cold")
        assert_published(copied)
    with qs.open(tmp_path / "one") as store:
        assert_published(store)
        assert len(seen_by_pyiceberg(store, "trades")) == 100


def test_a_table_that_somebody_else_made_is_left_alone(store):
    store.write(rows(0, 10), "trades", "cold")
    store.publish()
    store.write(rows(0, 10), "mine", "cold")
    with iceberg_catalog(store) as catalog:
        schema = pa.schema([("x", pa.int64())])
        catalog.create_table(
            "quantstore.mine", schema, location=str(Path(store.publications()[0].location).parent / "m")
        )
    with pytest.raises(ConflictError, match="did not make"):
        store.publish("mine")
    with iceberg_catalog(store) as catalog:
        assert catalog.load_table("quantstore.mine").schema().column_names == ["x"]


def test_two_stores_in_one_folder_have_catalogs_of_their_own(tmp_path):
    for name in ("a", "b"):
        with qs.open(tmp_path / name, catalog=tmp_path / f"{name}.sqlite") as store:
            store.write(rows(0, 10), "trades", "cold")
            (done,) = store.publish()
            assert Path(done.location).parent == tmp_path / f"{name}-iceberg"


def test_statistics_let_readers_skip_files(store):
    """Bounds hold every value: of integers, floats, stamps and long texts, negative ones and nulls included."""
    count = 400
    ids = pc.subtract(rows(0, count)["id"], 200)
    long = pa.array([("ü" * 20 if one % 2 else "z" * 16) + str(one) for one in range(count)])
    nan = pa.array([float("nan") if one % 5 == 0 else float(one) for one in range(count)])
    table = rows(0, count, id=ids, long=long, nan=nan, none=pa.nulls(count, pa.int16()))
    store.write(table, "trades", "cold")
    store.publish()
    stamp = pd.Timestamp("2026-02-27T06:00:00Z")
    with iceberg_catalog(store) as catalog:
        found = catalog.load_table("quantstore.trades")
        for condition, expected in (
            ("id < -150", pc.less(table["id"], -150)),
            ("price > 45.5", pc.greater(table["price"], 45.5)),
            ("long >= 'üüüüüüüüüüüüüüüüüüüü39'", pc.greater_equal(table["long"], "ü" * 20 + "39")),
            (f"ts < '{stamp.isoformat()}'", pc.less(table["ts"], pa.scalar(stamp.value, table["ts"].type))),
            ("symbol is null", pc.is_null(table["symbol"])),
            ("none is not null", pc.is_valid(table["none"])),
            ("nan > 350.0", pc.and_(pc.greater(table["nan"], 350.0), pc.invert(pc.is_nan(table["nan"])))),
        ):
            seen = found.scan(row_filter=condition, selected_fields=("id", "nan")).to_arrow()
            seen = seen.filter(pc.invert(pc.is_nan(seen["nan"]))) if "nan >" in condition else seen
            assert sorted(seen["id"].to_pylist()) == sorted(table.filter(expected)["id"].to_pylist()), condition
        everything = len(list(found.scan().plan_files()))
        some = len(list(found.scan(row_filter=f"ts < '{stamp.isoformat()}'").plan_files()))
        assert 0 < some < everything


def test_texts_too_long_for_a_footer_are_found(store):
    """Where a part of a file tells no bounds, those of its other parts say nothing of the whole."""
    from pyiceberg.expressions import EqualTo

    count = 300_000  # several row groups
    notes = pa.array(["a"] * (count - 2) + ["y", "z" * 5000])
    stamps = pa.array(range(DAY.value, DAY.value + count), pa.timestamp("ns", "UTC"))
    store.write(pa.table({"ts": stamps, "note": notes}), "t", "cold")
    store.publish("t")
    with iceberg_catalog(store) as catalog:
        table = catalog.load_table(("quantstore", "t"))
        for note in ("a", "y", "z" * 5000):
            found = table.scan(row_filter=EqualTo("note", note), selected_fields=("note",)).to_arrow()
            assert found.num_rows == pc.sum(pc.equal(notes, note)).as_py()
