"""Numbers of segments and copies are never given twice, whatever was deleted."""

from __future__ import annotations

import sqlite3

import pandas as pd

import quantstore as qs


def _rows(price):
    return pd.DataFrame({"ts": pd.to_datetime(["2026-03-02T10:00Z"]), "symbol": ["A"], "price": [price]})


def _ids(store, name):
    """Return the numbers of the only segment of a table and of its copy."""
    with sqlite3.connect(store.metadata_catalog.path) as connection:
        wanted = "removed_version IS NULL AND condemned_ns IS NULL AND name = ?"
        joined = "segments JOIN copies USING (segment_id) JOIN tables USING (table_id)"
        found = connection.execute(f"SELECT segment_id, copy_id FROM {joined} WHERE {wanted}", (name,)).fetchall()
    connection.close()
    assert len(found) == 1
    return found[0]


def test_what_expired_leaves_its_numbers_to_nobody(tmp_path):
    """Receipts, readers and moves under way speak of them; SQLite would give the highest ones again."""
    with qs.open(tmp_path / "store") as store:
        store.write(_rows(1.0), "gone")
        store.migrate("gone", "hot", "warm")
        segment, copy = _ids(store, "gone")
        store.write(_rows(2.0), "gone", mode="overwrite")
        store.table("gone").drop()
        store.expire("0s")
        store.sweep("0s")
        store.write(_rows(3.0), "new", "warm")
        found = _ids(store, "new")
        assert (found[0] > segment + 1, found[1] > copy + 1) == (True, True)
        report = store.audit()
        assert report.ok, report
        for _ in range(3):
            before = found
            store.table("new").drop()
            store.expire("0s")
            store.sweep("0s")
            store.write(_rows(3.0), "new", "warm")
            found = _ids(store, "new")
            assert (found[0] > before[0], found[1] > before[1]) == (True, True)
    assert qs.rebuild(tmp_path / "store", dry_run=True)
