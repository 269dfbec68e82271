"""A store that anything happened to has no problem; and what is derived from its rows is made anew where it lies."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import pytest

import quantstore as qs
from quantstore.errors import QuantStoreWarning

sys.path.append(str(Path(__file__).parents[1] / "corrections"))

from test_corrections_random import found, step
from test_everything_random import Life

STEPS = 24


def live(store: qs.HybridStorageManager, seed: int, steps: int = STEPS) -> Life:
    """Let anything happen to a table."""
    life = Life(store, seed)
    events = [life.compact] * 4 + [life.pin, life.release, life.maintain, life.restore, life.tag, life.expire]
    for number in range(steps):
        step(store, life.model, life.chance)
        if number == 3:
            store.publish("t")
        if life.chance.random() < 0.75:
            life.chance.choice(events)()
    return life


@pytest.mark.parametrize("seed", range(2))
def test_a_healthy_store_has_no_problem_whatever_happened_to_it(tmp_path, seed):
    with warnings.catch_warnings(), qs.open(tmp_path / "store") as store:
        warnings.simplefilter("ignore", QuantStoreWarning)
        life = live(store, seed)
        for report in (store.fsck(), store.fsck(deep=False), store.audit(), store.fsck(repair=True)):
            assert report.ok, report
        assert not (tmp_path / "store" / "lost+found").exists()
        assert found(store, None) == life.model.rows


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_lost_is_mended_or_explained_and_never_changes_an_answer(tmp_path, seed):
    """Files are damaged at random; versions that do not need what could not be mended read as before."""
    chance = random.Random(seed)
    with warnings.catch_warnings(), qs.open(tmp_path / "store") as store:
        warnings.simplefilter("ignore", QuantStoreWarning)
        life = live(store, seed + 10)
        files = [path for tier in ("hot", "warm", "cold") for path in (tmp_path / "store" / tier).rglob("*-*.*")]
        for path in chance.sample(files, len(files) // 5):
            path.chmod(0o644)
            if chance.random() < 0.5:
                path.write_bytes(path.read_bytes()[:-9] + b"something")
            else:
                path.unlink()
        report = store.fsck(repair=True)
        again = store.fsck(repair=True)
        assert [str(one) for one in again.problems] == [str(one) for one in report.problems]
        assert again.repairs == ()
        assert {one.kind for one in report.problems} <= {"corrupt", "missing", "derived"}
        assert all(one.remedy for one in report.problems)
        read = 0
        for version in [one for one in life.model.versions if one >= life.oldest or one in life.tags]:
            try:
                rows = found(store, version)
            except qs.errors.IntegrityError:
                assert report.problems
            else:
                assert rows == life.model.versions[version]
                read += 1
        assert read or report.problems


def published(root: Path) -> Path:
    """Make a store whose table is published, and return the folder of the Iceberg catalog."""
    with qs.open(root) as store:
        store.write(_rows(), "quotes", "cold")
        store.publish("quotes")
    return root / "iceberg"


def _rows():
    import pandas as pd

    ts = pd.to_datetime(["2026-03-02T10:00Z", "2026-03-02T11:00Z", "2026-03-03T11:00Z"])
    return pd.DataFrame({"ts": ts, "symbol": ["A", "B", "A"], "price": [1.0, 2.0, 3.0]})


def _garble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -max(40, path.stat().st_size // 3)])


HARMS = {
    "database gone": ("catalog.sqlite", Path.unlink),
    "database cut short": ("catalog.sqlite", _garble),
    "metadata gone": ("**/*.metadata.json", Path.unlink),
    "metadata cut short": ("**/*.metadata.json", _garble),
    "manifest gone": ("**/*.avro", Path.unlink),
    "manifest cut short": ("**/*.avro", _garble),
    "hint gone": ("**/version-hint.text", Path.unlink),
    "hint elsewhere": ("**/version-hint.text", lambda path: path.write_text("v0")),
    "hint garbage": ("**/version-hint.text", lambda path: path.write_bytes(b"\xff\xfe\x00")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_published_table_that_is_damaged_is_published_anew(tmp_path, harm):
    from pyiceberg.table import StaticTable

    folder = published(tmp_path / "store")
    pattern, change = HARMS[harm]
    for path in folder.glob(pattern):
        change(path)
    with qs.open(tmp_path / "store") as store:
        report = store.fsck()
        assert [(one.kind, one.table) for one in report.problems] == [("derived", "quotes")], report
        assert store.audit().ok
        assert store.fsck(repair=True).ok
        assert store.fsck(repair=True).repairs == ()
        (publication,) = store.publications()
        rows = StaticTable.from_metadata(publication.metadata).scan().to_arrow()
        assert sorted(rows["price"].to_pylist()) == [1.0, 2.0, 3.0]


def test_kept_answers_that_are_damaged_are_never_used_and_deleted(tmp_path):
    with qs.open(tmp_path / "store", cache="64MB") as store:
        store.write(_rows(), "quotes")
        store._cache.disk_after_seconds = 0
        sql = "SELECT sum(price) AS total FROM quotes"
        assert store.read(sql, to="arrow")["total"].to_pylist() == [6.0]
    (answer,) = (tmp_path / "store" / "cache").glob("*.answer")
    content = bytearray(answer.read_bytes())
    content[-20] ^= 1
    answer.write_bytes(content)
    with qs.open(tmp_path / "store", cache="64MB") as store:
        assert [(one.kind, one.location) for one in store.fsck().problems] == [("derived", answer.name)]
        assert store.fsck(repair=True).ok
        assert not answer.exists()
        assert store.read(sql, to="arrow")["total"].to_pylist() == [6.0]


@pytest.mark.parametrize("pattern", ["base-*.sqlite", "log-*.jsonl"])
def test_a_journal_that_is_damaged_is_begun_anew(tmp_path, pattern):
    with qs.open(tmp_path / "store") as store:
        for tier in ("hot", "warm"):
            store.write(_rows(), "quotes", tier, on_repeat="append")
    (path,) = (tmp_path / "store" / "catalog.journal").glob(pattern)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with qs.open(tmp_path / "store") as store:
        (problem,) = store.fsck().problems
        assert (problem.kind, path.name in problem.message) == ("derived", True)
        assert store.fsck(repair=True).ok
        assert store.fsck().ok


def test_what_cannot_be_published_anew_stays_as_it_was(tmp_path):
    """The files of rows come first: with one of them gone nothing would be left of what is published."""
    with warnings.catch_warnings(), qs.open(tmp_path / "store") as store:
        warnings.simplefilter("ignore", QuantStoreWarning)
        store.write(_rows(), "quotes", "cold")
        store.write(_rows().tail(1), "others", "cold")
        for name in ("quotes", "others"):
            store.publish(name)
        next((tmp_path / "store" / "cold" / "quotes").rglob("*-*.parquet")).unlink()
        for path in (tmp_path / "store").rglob("*.metadata.json"):
            path.unlink()
        first, second = store.fsck(repair=True), store.fsck(repair=True)
        assert [str(one) for one in first.problems] == [str(one) for one in second.problems]
        derived = [one for one in first.problems if one.kind == "derived"]
        assert [one.table for one in derived] == ["quotes"]
        assert "A file to be published is gone" in str(derived[0])
        assert len(first.repairs) == 1
        with pytest.raises(qs.errors.IntegrityError, match="A file to be published is gone"):
            store.publish("quotes")
