"""A catalog that is gone, damaged or old: what its journal and the files of rows bring back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

import quantstore as qs
from quantstore.catalog import journal
from quantstore.cli.app import main
from quantstore.errors import CapacityError, IntegrityError, InvalidInputError, NotFoundError

LOG = "log-000001.jsonl"
WRITER = """
import sys, polars as pl, quantstore as qs
root, first, count, point = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
from quantstore.core import failpoints
store = qs.open(root)
for number in range(first, first + count):
    if point and number == first + count - 1:
        failpoints.set_hook(failpoints._kill_at(point))
    store.write(pl.DataFrame({"ts": pl.Series([number]).cast(pl.Datetime("ns")), "x": [number]}), "t")
"""


def frame(first, last=None, **columns):
    numbers = list(range(first, first + 1 if last is None else last))
    return pl.DataFrame({"ts": pl.Series(numbers).cast(pl.Datetime("ns")), "x": numbers, **columns})


def lose(root):
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        (root / name).unlink(missing_ok=True)


def content(root):
    """Everything of a catalog that outlives processes."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = {
            name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}")))
            for name in names - {"attempts", "readers", "segment_access"}
        }
    return found | {"settings": [row for row in found["settings"] if not row.startswith("('journal'")]}


def rows(root, table="t"):
    with qs.open(root) as store:
        return store.read(table, to="arrow").column("x").to_pylist()


@pytest.fixture
def root(tmp_path):
    """A closed store of five writes, a move, a tag and a pin."""
    place = tmp_path / "store"
    with qs.open(place) as store:
        for number in range(5):
            store.write(frame(number), "t")
        store.migrate("t", "hot", "warm")
        store.tag("five")
        store.pin("t", tier="hot")
    return place


def start_writer(root, first, count, point=""):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(first), str(count), point], stderr=-3)


def test_a_lost_catalog_is_made_again_exactly(root):
    before = content(root)
    lose(root)
    with pytest.raises(IntegrityError, match="quantstore rebuild"):
        qs.open(root)
    done = qs.rebuild(root, deep=True)
    assert done
    assert (done.source, done.version, done.lost, done.missing, done.unclaimed) == ("journal", 5, 0, (), ())
    assert content(root) == before
    with qs.open(root) as store:
        assert store.audit().ok
        assert store.pins()[0].rows == 5
        assert store.read("t", as_of="five", to="arrow").num_rows == 5


def test_an_empty_store_whose_catalog_was_lost_is_not_made_anew(tmp_path):
    with qs.open(tmp_path) as store:
        store.create("t", frame(0).to_arrow().schema)
    lose(tmp_path)
    with pytest.raises(IntegrityError, match=r"catalog\.journal"):
        qs.open(tmp_path)
    assert qs.rebuild(tmp_path).tables[0].name == "t"


def test_a_whole_catalog_is_left_alone(root):
    before = (root / "catalog.sqlite").read_bytes()
    with pytest.raises(InvalidInputError, match="is whole"):
        qs.rebuild(root)
    assert qs.rebuild(root, dry_run=True).dry_run
    assert (root / "catalog.sqlite").read_bytes() == before
    assert not list(root.glob("*.rebuilt*"))


def test_a_damaged_catalog_is_moved_aside(root):
    before = content(root)
    for harm in (b"no database", bytes(100_000)):
        (root / "catalog.sqlite").write_bytes(harm)
        done = qs.rebuild(root)
        assert done.moved_aside is not None
        assert Path(done.moved_aside).read_bytes() == harm
        assert content(root) == before
    assert len(list(root.glob("catalog.sqlite.damaged-*"))) == 2


def test_a_torn_last_line_is_left_out(root):
    log = root / "catalog.journal" / LOG
    whole = log.read_bytes()
    log.write_bytes(whole[:-7])
    lose(root)
    done = qs.rebuild(root)
    assert done.ok
    assert any("torn" in note for note in done.doubts)
    with qs.open(root) as store:
        assert store.pins() == []
        assert store.tags()["tag"].tolist() == ["five"]


@pytest.mark.parametrize("harm", ["flipped", "cut out"])
def test_a_damaged_line_ends_the_replay_and_is_told(root, harm):
    log = root / "catalog.journal" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    at = 3
    lines[at] = lines[at][:40] + bytes([lines[at][40] ^ 1]) + lines[at][41:] if harm == "flipped" else b""
    log.write_bytes(b"".join(lines))
    lose(root)
    done = qs.rebuild(root)
    assert not done.ok
    assert done.version == 2
    assert done.lost == len([line for line in lines[at:] if line])
    assert done.unclaimed or done.missing
    assert rows(root) == [0, 1]  # what a move left behind serves until a sweep deletes it


def test_without_journal_the_files_bring_the_rows_back(root):
    shutil.rmtree(root / "catalog.journal")
    lose(root)
    with pytest.raises(IntegrityError, match="--from-files"):
        qs.rebuild(root)
    done = qs.rebuild(root, from_files=True)
    assert done.ok
    assert any("tags" in note for note in done.doubts)
    assert rows(root) == [0, 1, 2, 3, 4]
    with qs.open(root) as store:
        assert {one.kind for one in store.audit().problems} <= {"orphaned"}


def test_a_damaged_base_is_passed_over_for_the_one_before(root):
    with qs.open(root) as store:
        store.metadata_catalog.renew_journal(always=True)
        store.write(frame(5), "t")
    before = content(root)
    newest = max((root / "catalog.journal").glob("base-*"))
    newest.write_bytes(bytes(4096))
    lose(root)
    done = qs.rebuild(root)
    assert done.ok
    assert content(root) == before


def test_a_restored_old_catalog_begins_a_new_journal(root):
    old = root.parent / "old.sqlite"
    shutil.copy(root / "catalog.sqlite", old)
    with qs.open(root) as store:
        store.write(frame(5), "t")
        store.untag("five")
    shutil.copy(old, root / "catalog.sqlite")
    with qs.open(root) as store:
        store.write(frame(6), "t")
    before = content(root)
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before
    assert rows(root) == [0, 1, 2, 3, 4, 6]


def test_a_store_without_journal_gets_one_when_opened(root):
    shutil.rmtree(root / "catalog.journal")
    qs.open(root).close()
    before = content(root)
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before


@pytest.mark.parametrize("point", ["journal.base.copied", "journal.base.placed"])
def test_a_base_whose_transaction_did_not_commit_takes_no_place(root, point):
    """A rebuild begins with the newest base: what is written afterwards must not go into the log before it."""
    code = (
        "import sys, quantstore as qs; from quantstore.core import failpoints; store = qs.open(sys.argv[1]);"
        f"failpoints.set_hook(failpoints._kill_at({point!r})); store.metadata_catalog.renew_journal(always=True)"
    )
    with qs.open(root) as store:
        store.read("t")
        assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == -signal.SIGKILL
        store.write(frame(5), "t")
    before = content(root)
    for damaged in (False, point == "journal.base.placed"):
        if damaged:
            max((root / "catalog.journal").glob("base-*")).write_bytes(bytes(4096))
        lose(root)
        assert qs.rebuild(root)
        assert content(root) == before


def test_bases_of_processes_that_die_at_them_do_not_pile_up(root):
    code = (
        "import sys, quantstore as qs; from quantstore.core import failpoints;"
        "failpoints.set_hook(failpoints._kill_at('journal.base.placed')); store = qs.open(sys.argv[1]);"
        "store.metadata_catalog.renew_journal(always=True)"
    )
    for _ in range(4):
        assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == -signal.SIGKILL
    with qs.open(root) as store:
        store.write(frame(5), "t")
    assert len(list((root / "catalog.journal").iterdir())) <= 2 * (journal.KEPT_BASES + 1) + 1
    before = content(root)
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before


def test_a_catalog_of_an_older_epoch_put_back_begins_a_new_journal(root):
    """Its log still ends where it does, but is not the newest."""
    old = root.parent / "old.sqlite"
    shutil.copy(root / "catalog.sqlite", old)
    with qs.open(root) as store:
        store.metadata_catalog.renew_journal(always=True)
        store.write(frame(5), "t")
    shutil.copy(old, root / "catalog.sqlite")
    with qs.open(root) as store:
        store.write(frame(6), "t")
    before = content(root)
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before


def test_what_a_later_log_goes_on_from_was_committed(root):
    """The last write of the log before is carried out, though its files were moved and swept since."""
    with qs.open(root) as store:
        store.write(frame(5), "t")
        store.metadata_catalog.renew_journal(always=True)
        store.migrate("t", "hot", "warm")
        store.maintain(grace=0)
        store.write(frame(6), "t")
    before = content(root)
    max((root / "catalog.journal").glob("base-*")).write_bytes(bytes(4096))
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before


def test_a_log_that_nothing_goes_on_to_is_told_as_lost(root):
    old = root.parent / "old.sqlite"
    shutil.copy(root / "catalog.sqlite", old)
    with qs.open(root) as store:
        store.write(frame(5), "t")
        store.write(frame(6), "t")
    shutil.copy(old, root / "catalog.sqlite")
    with qs.open(root) as store:
        store.write(frame(7), "t")
    max((root / "catalog.journal").glob("base-*")).write_bytes(bytes(4096))
    lose(root)
    done = qs.rebuild(root)
    assert not done
    assert done.lost == 2
    assert any("does not go on" in note for note in done.doubts)


@pytest.mark.parametrize("harm", ["cut", "flipped", "deleted"])
def test_a_whole_catalog_is_not_made_again_from_a_journal_that_goes_less_far(root, harm):
    log = root / "catalog.journal" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    if harm == "deleted":
        shutil.rmtree(root / "catalog.journal")
    else:
        log.write_bytes(b"".join(lines[:-1]) + (b"" if harm == "cut" else b"#" + lines[-1][1:]))
    before = content(root)
    for from_files in (False, True):
        with pytest.raises(InvalidInputError, match="is whole"):
            qs.rebuild(root, from_files=from_files)
    assert content(root) == before


def test_a_line_stays_in_doubt_where_another_transaction_is_known_to_have_committed(root):
    """Threads learn of their commits after the lock is gone, when another one may have written its line already."""
    log = root / "catalog.journal" / LOG
    before = log.read_bytes()
    kept = journal.Journal(root / "catalog.sqlite")
    with closing(sqlite3.connect(root / "catalog.sqlite")) as connection:
        number = kept.append(connection, [])
        connection.rollback()
        kept.committed(number - 1)
        kept.committed(None)
        kept.settle(connection)
    kept.close()
    assert log.read_bytes() == before


def test_a_rebuilt_catalog_may_be_written_by_whom_the_lost_one_could(root):
    (root / "catalog.sqlite").chmod(0o664)
    with qs.open(root) as store:
        store.metadata_catalog.renew_journal(always=True)
    lose(root)
    assert qs.rebuild(root)
    assert (root / "catalog.sqlite").stat().st_mode & 0o777 == 0o664


def test_readers_write_no_journal(root):
    shutil.rmtree(root / "catalog.journal")
    with qs.open(root, read_only=True) as store:
        store.read("t")
    assert not (root / "catalog.journal").exists()


def test_a_journal_deleted_under_an_open_store_begins_anew(root):
    with qs.open(root) as store:
        store.write(frame(5), "t")
        shutil.rmtree(root / "catalog.journal")
        store.write(frame(6), "t")
    before = content(root)
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before


@pytest.mark.parametrize("point", ["write.commit.filled", "journal.written", "write.committed"])
def test_a_process_killed_at_its_commit_and_the_catalog_lost(root, point):
    writer = start_writer(root, 10, 3, point)
    assert writer.wait(60) == -signal.SIGKILL
    lose(root)
    assert qs.rebuild(root)
    committed = [0, 1, 2, 3, 4, 10, 11]
    assert rows(root) in ([committed] if point == "write.commit.filled" else [[*committed, 12]])
    rows_now = rows(root)
    with qs.open(root) as store:
        store.write(frame(13), "t")
    assert rows(root) == [*rows_now, 13]


def test_a_line_whose_transaction_did_not_commit_is_taken_off(root):
    writer = start_writer(root, 10, 1, "journal.written")
    assert writer.wait(60) == -signal.SIGKILL
    before = content(root)
    qs.open(root).close()
    lose(root)
    assert qs.rebuild(root).ok
    assert content(root) == before


def test_a_commit_that_failed_leaves_no_line_to_carry_out(root, monkeypatch):
    """Its files are cleared away; carrying it out again would name files that are not there."""
    with qs.open(root) as store:
        append = journal.Journal.append

        def fail(self, driver, statements):
            append(self, driver, statements)
            raise RuntimeError("no commit")

        monkeypatch.setattr(journal.Journal, "append", fail)
        with pytest.raises(RuntimeError, match="no commit"):
            store.write(frame(5), "t")
        monkeypatch.undo()
    before = content(root)
    lose(root)
    assert qs.rebuild(root).ok
    assert content(root) == before


def test_two_processes_write_one_journal(root):
    writers = [start_writer(root, first, 15) for first in (100, 200)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    before = content(root)
    assert len(before["versions"]) == 35
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == before


def test_a_full_disk_fails_the_write_and_leaves_no_half_line(root, monkeypatch):
    log = root / "catalog.journal" / LOG
    with qs.open(root) as store:
        store.write(frame(5), "t")
        before = log.read_bytes()
        write = os.write

        def full(descriptor, data):
            if Path(f"/proc/self/fd/{descriptor}").readlink() == log:
                write(descriptor, bytes(data)[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(CapacityError, match="journal"):
            store.write(frame(6), "t")
        monkeypatch.undo()
        assert log.read_bytes() == before
        store.write(frame(7), "t")
        assert store.read("t", to="arrow").column("x").to_pylist() == [0, 1, 2, 3, 4, 5, 7]


def test_a_catalog_deleted_under_an_open_store_takes_no_more_writes(root):
    """SQLite would commit into a file without a name, and nobody would ever see it."""
    with qs.open(root) as store:
        store.read("t")
        lose(root)
        with pytest.raises(IntegrityError, match="deleted"):
            store.write(frame(5), "t")
    assert qs.rebuild(root)
    assert rows(root) == [0, 1, 2, 3, 4]


def test_missing_and_damaged_files_of_rows_are_named(root):
    files = sorted((root / "warm" / "t").iterdir())
    files[0].unlink()
    files[1].chmod(0o600)
    harmed = bytearray(files[1].read_bytes())
    harmed[50] ^= 1
    files[1].write_bytes(harmed)
    assert len(qs.rebuild(root, dry_run=True).missing) == 1
    assert len(qs.rebuild(root, dry_run=True, deep=True).missing) == 2


def test_maintain_begins_a_new_journal_where_the_log_is_long(root, monkeypatch):
    monkeypatch.setattr(journal, "SMALL_LOG_BYTES", 0)
    monkeypatch.setattr(journal, "OUTGROWN", 0)
    with qs.open(root) as store:
        for _ in range(3):
            assert store.maintain(grace=0).done["journal"] == "a new base"
        before = len(list((root / "catalog.journal").iterdir()))
    assert before == 2 * journal.KEPT_BASES
    kept = content(root)
    lose(root)
    assert qs.rebuild(root)
    assert content(root) == kept


def test_the_shell_command_rebuilds(root, capsys):
    lose(root)
    assert main(["rebuild", "--store", str(root), "--dry-run"]) == 0
    assert "would rebuild" in capsys.readouterr().out
    assert main(["rebuild", "--store", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["rebuild", "--store", str(root)]) == 2
    with pytest.raises(NotFoundError):
        qs.rebuild(root / "nowhere")


def test_files_tell_the_tables_as_they_are_with_superseded_files_beside(tmp_path):
    """Corrections, moves, compactions, splits, other columns, two tables, an overwrite; `_seq` is the same, too."""

    def some(first, last, more=0):
        numbers = range(first, last)
        return frame(first, last).with_columns(
            pl.Series("x", [number + more for number in numbers]),
            symbol=pl.Series(["AB"[number % 2] for number in numbers]),
            asset_class=pl.Series(["EQUITY" if number % 3 else "FX" for number in numbers]),
        )

    with qs.open(tmp_path) as store:
        store.write(some(0, 100), "t", key=["ts", "symbol"])
        store.write(some(100, 200), "t", "warm")
        store.write(some(150, 160, 1000), "t", mode="upsert")
        store.write(some(300, 400), "t")
        store.write(some(390, 410), "t")
        store.compact("t")
        store.migrate("t", "hot", "cold", where="x < 50")
        store.delete("t", where="x = 57")
        store.write(some(500, 550).with_columns(y=pl.lit(1.5)), "t")
        store.pin("t", "warm")
        store.write(some(0, 50), "u")
        store.write(some(50, 60), "u", mode="overwrite")
        asked = [f"SELECT *, _seq FROM {table} ORDER BY ts, _seq" for table in ("t", "u")]
        wanted = [store.read(one, to="arrow") for one in (*asked, "t", "u")]
    shutil.rmtree(tmp_path / "catalog.journal")
    lose(tmp_path)
    for _ in range(2):
        assert qs.rebuild(tmp_path, from_files=True).ok
        with qs.open(tmp_path) as store:
            assert [store.read(one, to="arrow") for one in (*asked, "t", "u")] == wanted
            assert {one.kind for one in store.audit().problems} <= {"orphaned"}
        lose(tmp_path)


def test_files_of_writes_that_were_not_finished_are_left_out_where_that_shows(root):
    """A move that died has copied some rows; the rows it would have moved stay where they are."""
    code = (
        "import sys, quantstore as qs; from quantstore.core import failpoints; store = qs.open(sys.argv[1]);"
        "failpoints.set_hook(failpoints._kill_at('move.copied:3')); store.migrate('t', 'warm', 'cold')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    lose(root)
    assert qs.rebuild(root, from_files=True).ok
    assert rows(root) == [0, 1, 2, 3, 4]


def test_rows_left_out_for_an_overwrite_that_may_never_have_committed_are_told(root):
    code = (
        "import sys, quantstore as qs; from quantstore.core import failpoints; store = qs.open(sys.argv[1]);"
        "failpoints.set_hook(failpoints._kill_at('write.commit.filled')); rows = store.read('t', to='polars').head(1);"
        "store.write(rows, 't', mode='overwrite')"
    )
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == -signal.SIGKILL
    lose(root)
    done = qs.rebuild(root, from_files=True)
    assert any("5 rows" in note and "overwrite" in note for note in done.doubts)
    assert done.unclaimed


def test_a_damaged_file_of_rows_is_not_salvaged(root):
    files = sorted((root / "warm" / "t").iterdir())
    files[0].chmod(0o600)
    harmed = bytearray(files[0].read_bytes())
    harmed[60] ^= 1
    files[0].write_bytes(harmed)
    lose(root)
    done = qs.rebuild(root, from_files=True)
    assert any(files[0].name in note for note in done.doubts)
    assert len(rows(root)) == 5  # the pinned copy, or the one moved away, has the row
