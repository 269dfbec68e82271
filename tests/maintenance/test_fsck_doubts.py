"""Where the catalog and the copies contradict each other, a repair touches nothing that may be the last of its rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import xxhash
from test_fsck import Place, rows

from quantstore.cli.app import main
from quantstore.core import failpoints


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("swept") / "store")
    place.sweep()
    return place


@pytest.fixture
def place(swept, tmp_path):
    copied = object.__new__(Place)
    copied.root, copied.answer = Path(shutil.copytree(swept.root, tmp_path / "store")), swept.answer
    return copied


def repaired(place):
    """Repair twice, and return the second report: what is left after everything that can be done."""
    with place.open() as store:
        store.fsck(repair=True)
        return store.fsck(repair=True)


@pytest.mark.parametrize("location", ["", "trades", "{root}/precious", "../catalog.sqlite", "trades/../../precious"])
def test_a_place_that_is_none_is_never_touched(place, location):
    """Only files below the store's folder are moved: no folder, and nothing that lies elsewhere."""
    precious = place.root / "precious"
    precious.write_text("of somebody else")
    copy_id, _, path = place.copy("warm")
    before = place.files()
    place.sql("UPDATE copies SET location = ? WHERE copy_id = ?", location.format(root=place.root), copy_id)
    (done,) = place.mended()
    assert "noted that its bytes are in" in done
    assert place.files() == before
    assert precious.read_text() == "of somebody else"
    assert place.sql("SELECT location FROM copies WHERE copy_id = ?", copy_id) == [
        (str(path.relative_to(place.root / "warm")),)
    ]


@pytest.mark.parametrize(("taker", "giver"), [("warm", "warm"), ("cold", "warm"), ("hot", "cold"), ("warm", "hot")])
def test_a_copy_under_the_number_of_another_segment_is_not_given_up(place, taker, giver):
    """It is a second primary there, and the last to have its own segment's rows."""
    _, segment, _ = place.copy(taker)
    copy_id, own = place.sql("SELECT copy_id, segment_id FROM copies WHERE tier = ? ORDER BY copy_id DESC", giver)[0]
    assert own != segment
    before, facts = place.files(), place.sql("SELECT * FROM segments")
    place.sql("UPDATE copies SET segment_id = ? WHERE copy_id = ?", segment, copy_id)
    report = repaired(place)
    assert {"duplicated", "missing"} <= {one.kind for one in report.problems}
    assert report.repairs == ()
    place.sweep()
    assert place.files() == before
    assert place.sql("SELECT * FROM segments") == facts
    place.sql("UPDATE copies SET segment_id = ? WHERE copy_id = ?", own, copy_id)
    assert place.read().equals(place.answer)


def test_the_last_copy_is_not_given_up_though_its_pin_is_gone(place):
    with place.open() as store:
        store.pin("trades", "warm", symbols=None)
    copy_id, _, _ = place.copy("hot")
    place.sql("DELETE FROM copies WHERE copy_id = ?", copy_id)
    place.sql("DELETE FROM pins")
    assert repaired(place).ok
    place.sweep()
    assert place.read().equals(place.answer)


def test_a_shadow_is_not_given_up_before_the_primary_is_whole_again(place, monkeypatch):
    """Killed after any repair, the rows are still reached by a copy that no sweep deletes."""
    with place.open() as store:
        store.pin("trades", "warm", symbols=None)
    _, segment, path = place.copy("hot")
    path.unlink()
    place.sql("DELETE FROM pins")
    seen = []

    def look(step):
        if step == "repair.committed":
            query = "SELECT count(*) FROM copies WHERE segment_id = ? AND role = 'shadow' AND condemned_ns IS NULL"
            seen.append((path.parent.exists() and len(list(path.parent.iterdir())), place.sql(query, segment)[0][0]))

    failpoints.set_hook(look)
    try:
        place.mended()
    finally:
        failpoints.set_hook(None)
    assert all(files or shadows for files, shadows in seen)
    assert seen


def _changed(place, role):
    """Give a copy in warm other values, with a checksum that is right; return its file."""
    copy_id, _, path = place.copy("warm", role)
    found = pq.read_table(path)
    at = found.column_names.index("price")
    found = found.set_column(at, found.schema.field(at), pc.add(found["price"], 1.0))
    pq.write_table(found.cast(pq.read_schema(path)), path, compression="lz4", write_page_checksum=True)
    content = path.read_bytes()
    checksum = f"xxh3_128:{xxhash.xxh3_128(content).hexdigest()}"
    place.sql("UPDATE copies SET checksum = ?, size_bytes = ? WHERE copy_id = ?", checksum, len(content), copy_id)
    return path


def test_two_copies_of_a_segment_with_other_rows_are_found(place):
    """Each has its checksum and the statistics of the segment, and a read's answer depends on which one serves."""
    with place.open() as store:
        store.pin("trades", "warm", symbols=None)
    path = _changed(place, "shadow")  # of a segment in hot that was never moved
    assert place.found() == [("corrupt", "warm", f"trades/{path.name}")]
    before = place.files()
    assert [one.is_mendable for one in repaired(place).problems] == [False]
    assert place.files() == before


def test_a_shadow_that_a_proven_primary_contradicts_is_written_anew(place):
    with place.open() as store:
        store.migrate("trades", "hot", "cold")
        store.pin("trades", "warm", symbols=None)
    place.sweep()
    path = _changed(place, "shadow")
    assert [one[:2] for one in place.found()] == [("corrupt", "warm")]
    (done,) = place.mended()
    assert "the copy in cold" in done
    assert any(path.name in name for name in place.aside())


def test_the_file_of_several_segments_stays_where_only_one_is_written_anew(tmp_path):
    place = object.__new__(Place)
    place.root = tmp_path / "store"
    both = rows(0).append_column("asset_class", pa.array(["EQUITY", "FX"] * 300))
    with place.open() as store:
        store.write(both, "trades", "hot")
        store.pin("trades", "warm", symbols=None)
    place.answer = place.read()
    copy_id, _, path = place.copy("hot")
    place.sql("UPDATE copies SET seq_base = seq_base + (1 << 33) WHERE copy_id = ?", copy_id)
    stayed = []
    failpoints.set_hook(lambda step: stayed.append(path.exists()) if step.startswith("repair.") else None)
    try:
        with place.open() as store:
            store.fsck(repair=True)
    finally:
        failpoints.set_hook(None)
    assert stayed
    assert all(stayed)
    assert place.read().equals(place.answer)


def test_rows_that_a_receipt_proves_are_not_written_again_for_a_version_that_is_wrong(place):
    """The version on record is damaged, so the same rows in a new file would be as wrong, round after round."""
    with place.open() as store:
        store.migrate("trades", "hot", "warm")
    place.sql("UPDATE segments SET added_version = 1 WHERE added_version = 4")
    before = place.files()
    report = repaired(place)
    assert not report.ok
    assert place.files() == before


NONSENSE = {
    "a size": "UPDATE copies SET size_bytes = 'abc'",
    "a column of symbols": "UPDATE tables SET symbol = 'nothing'",
    "a column of times": "UPDATE tables SET time = 'nothing'",
    "columns": "UPDATE table_schemas SET columns = '9'",
    "hidden columns": "UPDATE table_schemas SET hidden = x'00ff'",
    "a key": "UPDATE tables SET key = '9'",
    "rows": "UPDATE segments SET rows = 'abc'",
    "a version": "UPDATE segments SET removed_version = 'abc'",
    "the version of a name": "UPDATE table_names SET from_version = 'abc'",
    "the version of columns": "UPDATE table_schemas SET added_version = ''",
    "a time": "UPDATE segments SET min_ns = x'00ff'",
}


@pytest.mark.parametrize("what", NONSENSE)
@pytest.mark.parametrize("repair", [[], ["--repair"]])
def test_values_that_make_no_sense_end_in_a_report(place, capsys, what, repair):
    """One JSON object and exit code 1, however little of the catalog can be understood."""
    with place.open() as store:
        store.publish("trades")
    place.sql("PRAGMA ignore_check_constraints = ON")
    place.sql(NONSENSE[what])
    capsys.readouterr()
    code = main(["--store", str(place.root), "fsck", "--json", *repair])
    report = json.loads(capsys.readouterr().out)
    assert code == (0 if report["ok"] else 1)
    assert report["problems"] or report["repairs"]
    assert {"ok", "copies", "size_bytes", "receipts", "orphans", "deep", "repairs", "problems"} == set(report)


@pytest.mark.parametrize("value", ["", "9", "{", "1:x"])
def test_a_store_whose_journal_cannot_tell_where_it_is_opens_and_begins_a_new_one(place, value):
    place.sql("UPDATE settings SET value = ? WHERE name = 'journal'", value)
    with place.open(read_only=True) as store:
        assert store.audit().copies
    assert repaired(place).ok
    assert place.read().equals(place.answer)
    assert ":" in place.sql("SELECT value FROM settings WHERE name = 'journal'")[0][0]
