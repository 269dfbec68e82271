"""Every kind of damage, made by hand: found under its name, mended where that is safe, explained where it is not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.core.events import listening
from quantstore.errors import AccessDeniedError, IntegrityError
from quantstore.maintenance.checks import spans

DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")
ROWS = 600


def rows(day: int, *, offset: int = 0) -> pa.Table:
    """Return rows of one day."""
    numbers = np.arange(ROWS) + offset
    start = np.datetime64(DAYS[day], "ns").astype(np.int64)
    return pa.table(
        {
            "ts": pa.array(start + numbers * 10**9, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(np.array(["AAPL", "MSFT", "NVDA"])[numbers % 3]),
            "price": numbers * 0.25 + day,
            "size": numbers * 7 % 100,
        }
    )


class Place:
    """A store with one day in each tier, closed, and ways to look into it and to harm it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with self.open() as store:
            for day, tier in enumerate(("hot", "warm", "cold")):
                store.write(rows(day), "trades", "hot", asset_class="EQUITY")
                if tier != "hot":
                    store.migrate("trades", "hot", tier)
            store.write(rows(0, offset=ROWS), "trades", "hot", asset_class="EQUITY")
            store.write(rows(2, offset=ROWS), "trades", "warm", asset_class="EQUITY")
        self.answer = self.read()

    def open(self, **options):
        return qs.open(self.root, **options)

    def read(self) -> pa.Table:
        with self.open() as store:
            return store.read("trades", columns=["ts", "symbol", "price", "size", "_seq"], to="arrow")

    def sql(self, statement: str, *values):
        with closing(sqlite3.connect(self.root / "catalog.sqlite")) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def copy(self, tier: str, role: str = "primary") -> tuple[int, int, Path]:
        """Return copy, segment and file of the first live copy in a tier."""
        ((copy_id, segment_id, location),) = self.sql(
            "SELECT copy_id, segment_id, location FROM copies WHERE tier = ? AND role = ? "
            "AND condemned_ns IS NULL ORDER BY copy_id LIMIT 1",
            tier,
            role,
        )
        path = self.root / tier / location
        path.chmod(0o644)
        return copy_id, segment_id, path

    def sweep(self) -> None:
        with self.open() as store:
            store.sweep(grace=0)

    def found(self, **options) -> list[tuple[str, str, str]]:
        """Return kind, tier and location of every problem; audit and fsck agree, and nothing changes."""
        before = self.files()
        with self.open(read_only=True) as store:
            report = store.fsck(**options)
            audited = {(one.kind, one.location) for one in store.audit().problems}
        problems = {(one.kind, one.location) for one in report.problems if one.kind != "derived"}
        assert options or problems == {one for one in audited if one[0] != "derived"}
        assert all(one.remedy and one.message for one in report.problems)
        assert self.files() == before
        return [(one.kind, one.tier, one.location) for one in report.problems]

    def mended(self) -> list[str]:
        """Mend everything and return what was done; the answers are as they were, and a second time does nothing."""
        with self.open() as store:
            report = store.fsck(repair=True)
            assert report.ok, report
            again = store.fsck(repair=True)
            assert (again.ok, again.repairs) == (True, ()), again
            assert store.audit().ok
        assert self.read().equals(self.answer)
        return [one.done for one in report.repairs]

    def files(self) -> dict[str, bytes]:
        """Return what is in the stores' folders."""
        folders = [self.root / tier for tier in ("hot", "warm", "cold", "lost+found")]
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and path.name != "repairs.jsonl"
        }

    def aside(self) -> list[str]:
        return [name for name in self.files() if name.startswith("lost+found")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def place(whole, tmp_path):
    import shutil

    copied = object.__new__(Place)
    copied.root, copied.answer = Path(shutil.copytree(whole.root, tmp_path / "store")), whole.answer
    return copied


def flip(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    return bytes(content)


def test_a_whole_store_has_no_problem_and_is_left_alone(place):
    before = place.files()
    assert place.found() == []
    assert place.found(deep=False) == []
    assert place.mended() == []
    assert place.files() == before


@pytest.mark.parametrize("tier", ["warm", "cold"])
def test_a_damaged_file_is_written_anew_from_the_superseded_copy_and_kept(place, tier):
    _, _, path = place.copy(tier)
    damaged = flip(path)
    assert place.found() == [("corrupt", tier, str(path.relative_to(place.root / tier)))]
    (done,) = place.mended()
    assert "superseded copy in hot" in done
    (kept,) = place.aside()
    assert kept.endswith(".damaged-1")
    assert place.files()[kept] == damaged
    place.sweep()
    assert place.read().equals(place.answer)
    assert kept in place.files()


def test_a_lost_file_is_written_anew_from_a_shadow(place):
    with place.open() as store:
        store.pin("trades", "warm", symbols=None)
    place.sweep()
    _, _, path = place.copy("hot")
    path.unlink()
    assert place.found() == [("missing", "hot", str(path.relative_to(place.root / "hot")))]
    assert place.found(deep=False) == [("missing", "hot", str(path.relative_to(place.root / "hot")))]
    (done,) = place.mended()
    assert "the copy in warm" in done


def test_a_damaged_shadow_is_written_anew_or_given_up(place):
    with place.open() as store:
        store.pin("trades", "hot", symbols="AAPL")
    place.sweep()
    _, _, path = place.copy("hot", "shadow")
    flip(path)
    assert [one[:2] for one in place.found()] == [("corrupt", "hot")]
    (done,) = place.mended()
    assert "gave the extra copy up" in done


def test_a_compacted_segment_is_written_anew_from_what_it_was_made_of(place):
    with place.open() as store:
        for day in range(3):
            store.write(rows(day, offset=3 * ROWS), "trades", "cold", asset_class="EQUITY")
        store.migrate("trades", "any", "cold")
        assert store.compact("trades").groups
    place.answer = place.read()
    location = place.sql("SELECT location FROM copies JOIN receipts USING (copy_id) WHERE condemned_ns IS NULL")[-1][0]
    path = place.root / "cold" / location
    path.unlink()
    assert place.found() == [("missing", "cold", location)]
    (done,) = place.mended()
    assert "that it was made of" in done


def test_what_nothing_proves_is_explained_and_left(place):
    place.sweep()
    _, segment, path = place.copy("hot")
    damaged = flip(path)
    place.found()
    for repair in (False, True, True):
        with place.open() as store:
            report = store.fsck(repair=repair)
        (problem,) = report.problems
        assert (problem.kind, problem.table, problem.tier, problem.segment_id) == ("corrupt", "trades", "hot", segment)
        assert problem.partition == f"trade_date={DAYS[0]}/asset_class=EQUITY"
        assert (problem.rows, problem.first_version, problem.last_version) == (ROWS, 4, None)
        assert not problem.is_mendable
        assert "backup" in problem.remedy
        assert "600 rows" in repr(report)
    assert path.read_bytes() == damaged
    with place.open() as store, pytest.raises(IntegrityError):
        store.read("trades")


@pytest.mark.parametrize("target", ["elsewhere.parquet", "other/{name}", "../warm/trades/{name}", "../cold/{name}.bak"])
def test_a_file_moved_by_hand_is_put_back(place, target):
    place.sweep()
    _, _, path = place.copy("cold")
    moved = place.root / "cold" / target.format(name=path.name)
    moved.parent.mkdir(exist_ok=True)
    path.rename(moved)
    location = str(path.relative_to(place.root / "cold"))
    assert place.found() == [("missing", "cold", location)]
    with place.open() as store:
        store.sweep(grace=0)
    assert moved.exists()
    (done,) = place.mended()
    assert "put its bytes back" in done
    assert path.exists()
    assert not moved.exists()


def test_two_files_that_changed_places_change_back(place):
    place.sweep()
    _, _, first = place.copy("warm")
    second = next(one for one in (place.root / "warm" / "trades").iterdir() if one != first)
    one, other = first.read_bytes(), second.read_bytes()
    second.chmod(0o644)
    first.write_bytes(other)
    second.write_bytes(one)
    assert {kind for kind, *_ in place.found()} == {"corrupt"}
    assert len(place.mended()) == 2
    assert (first.read_bytes(), second.read_bytes()) == (one, other)
    assert place.aside() == []


def test_a_file_of_no_known_write_is_moved_aside(place):
    stranger = place.root / "warm" / "trades" / f"{'ab' * 16}-000000.parquet"
    stranger.write_bytes(b"something")
    assert place.found() == [("orphaned", "warm", f"trades/{stranger.name}")]
    (done,) = place.mended()
    assert str(place.root / "lost+found" / "warm" / "trades" / stranger.name) in done
    assert place.files()[f"lost+found/warm/trades/{stranger.name}"] == b"something"


def test_a_second_file_of_a_copy_is_no_garbage_for_a_sweep(place):
    _, _, path = place.copy("cold")
    twin = place.root / "cold" / "copied" / path.name
    twin.parent.mkdir()
    twin.write_bytes(path.read_bytes())
    with place.open() as store:
        store.sweep(grace=0)
    assert twin.exists()
    assert place.found() == [("orphaned", "cold", f"copied/{path.name}")]
    place.mended()
    assert not twin.exists()


WRONG_COPIES = {
    "size": "UPDATE copies SET size_bytes = size_bytes + 8 WHERE copy_id = ?",
    "store": "UPDATE copies SET store = 'nowhere' WHERE copy_id = ?",
    "tier": "UPDATE copies SET tier = 'w!rm' WHERE copy_id = ?",
    "role": "UPDATE copies SET role = 'shadow' WHERE copy_id = ?",
    "codec": "UPDATE copies SET codec = 'gzip' WHERE copy_id = ?",
}


@pytest.mark.parametrize("what", WRONG_COPIES)
def test_wrong_facts_of_a_copy_are_put_right(place, what):
    place.sweep()
    copy_id, _, _ = place.copy("cold")
    before = place.sql("SELECT * FROM copies WHERE copy_id = ?", copy_id)
    place.sql(WRONG_COPIES[what], copy_id)
    kinds = {kind for kind, *_ in place.found()}
    assert kinds <= {"misregistered", "missing", "orphaned"}
    assert kinds
    place.mended()
    assert place.sql("SELECT * FROM copies WHERE copy_id = ?", copy_id) == before


def test_a_checksum_that_is_wrong_is_made_up_for_by_the_receipt(place):
    place.sweep()
    copy_id, _, _ = place.copy("cold")
    place.sql("UPDATE copies SET checksum = 'xxh3_128:' || substr(checksum, 11) || '0' WHERE copy_id = ?", copy_id)
    assert [one[:2] for one in place.found()] == [("corrupt", "cold")]
    (done,) = place.mended()
    assert "receipt" in done


def test_the_place_of_another_file_is_put_right(place):
    place.sweep()
    (first, right), (_, wrong), *_ = place.sql(
        "SELECT copy_id, location FROM copies WHERE tier = 'warm' AND condemned_ns IS NULL ORDER BY copy_id"
    )
    place.sql("UPDATE copies SET location = ? WHERE copy_id = ?", wrong, first)
    kinds = {kind for kind, *_ in place.found()}
    assert "misregistered" in kinds
    place.mended()
    assert place.sql("SELECT location FROM copies WHERE copy_id = ?", first) == [(right,)]


WRONG_SEGMENTS = {
    "min_ns": "min_ns + 5000000000",
    "max_ns": "max_ns - 5000000000",
    "min_symbol": "'ABPL'",
    "max_symbol": "'NVDB'",
    "symbols": "'[\"AAPL\"]'",
    "has_null_symbol": "1",
    "span_class": "1",
    "trade_date": "trade_date + 1",
    "asset_class": "'FX'",
}


@pytest.mark.parametrize("column", WRONG_SEGMENTS)
def test_wrong_facts_of_a_segment_are_put_right_from_its_file(place, column):
    place.sweep()
    _, segment_id, _ = place.copy("cold")
    before = place.sql("SELECT * FROM segments WHERE segment_id = ?", segment_id)
    place.sql(f"UPDATE segments SET {column} = {WRONG_SEGMENTS[column]} WHERE segment_id = ?", segment_id)
    assert {kind for kind, *_ in place.found()} <= {"misregistered", "catalog"}
    assert place.found()
    place.mended()
    assert place.sql("SELECT * FROM segments WHERE segment_id = ?", segment_id) == before


def test_a_wrong_number_of_rows_is_put_right_and_shows_in_the_totals_too(place):
    _, segment_id, _ = place.copy("hot")
    place.sql("UPDATE segments SET rows = rows + 1 WHERE segment_id = ?", segment_id)
    assert [kind for kind, *_ in place.found(deep=False)] == ["catalog"]
    assert [kind for kind, *_ in place.found()] == ["catalog", "misregistered"]
    with place.open() as store:
        assert store.fsck(repair=True)
        assert store.fsck(repair=True).repairs == ()
    assert place.read().equals(place.answer)


UNMENDED = {
    "a segment is gone": (
        "DELETE FROM copies WHERE segment_id = {segment}; DELETE FROM segments WHERE segment_id = {segment}"
    ),
    "a segment was removed": "UPDATE segments SET removed_version = added_version + 1 WHERE segment_id = {segment}",
    "a segment came later": "UPDATE segments SET added_version = added_version + 1 WHERE segment_id = {segment}",
    "a segment was removed before it came": "UPDATE segments SET removed_version = 0 WHERE segment_id = {segment}",
    "a version is gone": "PRAGMA foreign_keys = OFF; DELETE FROM versions WHERE version = 2",
    "a version came before its time": "UPDATE versions SET committed_ns = 5 WHERE version = 3",
    "a change is gone": "DELETE FROM version_changes WHERE version = 2",
    "a change says other rows": "UPDATE version_changes SET rows = rows - 1 WHERE version = 2",
    "a name is another": "UPDATE tables SET name = 'trader'",
    "a tag names nothing": "INSERT INTO tags VALUES ('t', 99, 0, 'me')",
    "a setting is gone": "DELETE FROM settings WHERE name = 'oldest_version'",
    "a definition makes no sense": "UPDATE tables SET key = '[' ",
    "columns make no sense": "UPDATE table_schemas SET columns = '{{' ",
    "the generation went back": "UPDATE settings SET value = '0' WHERE name = 'placement_generation'",
    "bases of _seq are other ones": "UPDATE copies SET seq_base = seq_base + (1 << 33) WHERE segment_id = {segment}",
}


@pytest.mark.parametrize("what", UNMENDED)
def test_what_the_catalog_alone_knows_is_found_and_explained(place, what):
    _, segment, _ = place.copy("hot")
    with closing(sqlite3.connect(place.root / "catalog.sqlite")) as connection:
        connection.executescript(UNMENDED[what].format(segment=segment))
    with place.open(read_only=True) as store:
        audited, report = store.audit(), store.fsck(deep=False)
    assert not audited.ok
    assert {one.kind for one in audited.problems} <= {"catalog", "misregistered", "orphaned"}
    deep_only = "bases" in what
    assert deep_only or any(one.kind == "catalog" for one in report.problems)
    assert all(one.remedy for one in report.problems)


def test_a_second_primary_is_found_and_given_up(place):
    copy_id, _, path = place.copy("cold")
    twin = path.with_name(f"{path.stem[:32]}-000009.parquet")
    twin.write_bytes(path.read_bytes())
    place.sql(
        "INSERT INTO copies "
        "(segment_id, tier, store, location, codec, size_bytes, checksum, seq_base, role, created_ns) "
        "SELECT segment_id, tier, store, ?, codec, size_bytes, checksum, seq_base, role, created_ns FROM copies "
        "WHERE copy_id = ?",
        str(twin.relative_to(place.root / "cold")),
        copy_id,
    )
    assert [kind for kind, *_ in place.found()] == ["duplicated"]
    (done,) = place.mended()
    assert "gave the second copy up" in done


def test_a_file_registered_for_two_segments_is_found(place):
    copy_id, segment_id, _ = place.copy("cold")
    columns = [row[1] for row in place.sql("PRAGMA table_info(segments)") if row[1] != "segment_id"]
    place.sql(
        f"INSERT INTO segments ({', '.join(columns)}) SELECT {', '.join(columns)} FROM segments WHERE segment_id = ?",
        segment_id,
    )
    names = [row[1] for row in place.sql("PRAGMA table_info(copies)") if row[1] not in {"copy_id", "segment_id"}]
    place.sql(
        f"INSERT INTO copies (segment_id, {', '.join(names)}) SELECT (SELECT max(segment_id) FROM segments), "
        f"{', '.join(names)} FROM copies WHERE copy_id = ?",
        copy_id,
    )
    kinds = [kind for kind, *_ in place.found()]
    assert kinds.count("duplicated") == 2  # by the file, and by the `_seq` of the rows
    assert "catalog" in kinds  # the totals


@pytest.mark.parametrize("most", [64, 1 << 22])
def test_rows_reached_through_two_segments_are_counted_by_their_seq(place, monkeypatch, most):
    """An old segment comes back to life beside the one that compaction made of it."""
    monkeypatch.setattr(spans, "MOST_ROWS", most)
    with place.open() as store:
        store.migrate("trades", "any", "warm")
        store.compact("trades")
    place.sql(
        "UPDATE segments SET removed_version = NULL WHERE segment_id = "
        "(SELECT min(segment_id) FROM segments WHERE removed_version IS NOT NULL)"
    )
    with place.open(read_only=True) as store:
        problems = store.audit().problems
    assert {one.kind for one in problems} == {"catalog", "duplicated"}
    (doubled,) = (one for one in problems if one.kind == "duplicated")
    assert "600 of its rows" in doubled.message


def test_a_closed_index_that_lies_is_found(place):
    """SQLite's own check compares indexes with tables."""
    with closing(sqlite3.connect(place.root / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'removed_version IS NULL', 'removed_version IS NOT NULL') "
            "WHERE name = 'segments_live'"
        )
    with place.open(read_only=True) as store:
        (problem, *_) = store.audit().problems
    assert problem.kind == "catalog"
    assert "quantstore rebuild" in problem.remedy


def test_progress_is_announced(place):
    seen = []
    with place.open() as store, listening(seen.append):
        store.fsck()
    copies = [one for one in seen if one.operation == "fsck"]
    assert [one.done for one in copies] == list(range(1, len(copies) + 1))
    assert {(one.total, one.unit) for one in copies} == {(len(copies), "copies")}


def test_a_read_only_store_is_checked_and_not_mended(place):
    with place.open(read_only=True) as store:
        assert store.fsck()
        with pytest.raises(AccessDeniedError):
            store.fsck(repair=True)


def test_repairs_are_on_record(place):
    _, _, path = place.copy("cold")
    flip(path)
    place.mended()
    lines = [json.loads(one) for one in (place.root / "lost+found" / "repairs.jsonl").read_text().splitlines()]
    assert [one["state"] for one in lines] == ["begun", "done"]
    assert lines[1]["problem"]["kind"] == "corrupt"
    assert lines[1]["done"]
