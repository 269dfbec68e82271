"""A store of another user: what may be read is read, what may not be written is refused with the way out."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from telling import folder_state, ticks

import quantstore as qs
from quantstore.errors import AccessDeniedError

READ = """
with qs.open({folder!r}, read_only=True) as store:
    result = [len(store.read("trades")), len(store.read("SELECT * FROM trades")), len(store.read("old")),
              store.read("trades", to="reader").read_all().num_rows, store.tables()]
"""
OPEN = "result = qs.open({folder!r}).tables()"
WRITE = """
with qs.open({folder!r}) as store:
    result = len(store.read("trades"))
    store.write(ticks(price=9.0), "trades")
"""


@pytest.fixture
def public():
    """A folder that everybody may enter; those of pytest are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="quantstore-public-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def folder(public):
    """The folder of a store that was used and closed."""
    with qs.open(public / "s") as store:
        store.write(ticks(), "trades")
        store.write(ticks(), "old", "cold")
    return public / "s"


def refused(answer, error, *words):
    """Check that an answer is a refusal with these words."""
    assert answer.get("error") == error, answer
    for word in words:
        assert word in answer["message"], answer["message"]
    return answer["message"]


def test_a_closed_store_is_read_and_left_as_it_is(folder, other_user):
    before = folder_state(folder)
    for _ in range(2):
        assert other_user.run(READ.format(folder=str(folder)))["result"] == [6, 6, 6, 6, ["old", "trades"]]
    assert folder_state(folder) == before


def test_an_open_store_is_read_as_it_is_now(folder, other_user):
    """What its owner commits is seen at once, though this user may not write the index of the log."""
    with qs.open(folder) as store:
        for count in (12, 18):
            store.write(ticks(price=float(count)), "trades")
            assert other_user.run(READ.format(folder=str(folder)))["result"][:2] == [count, count]
    assert other_user.run(READ.format(folder=str(folder)))["result"][:2] == [18, 18]


def test_what_a_crash_left_in_the_log_is_read(folder, other_user):
    code = (
        "import os, sys; import pandas as pd; import quantstore as qs\n"
        "store = qs.open(sys.argv[1])\n"
        "frame = store.read('trades').assign(price=7.0)\n"
        "store.write(frame, 'trades'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert (folder / "catalog.sqlite-wal").stat().st_size > 0
    assert other_user.run(READ.format(folder=str(folder)))["result"][:2] == [12, 12]
    (folder / "catalog.sqlite-shm").unlink()  # as where a backup holds the log and not its index
    assert other_user.run(READ.format(folder=str(folder)))["result"][:2] == [12, 12]


def test_a_reader_follows_the_owner_through_opening_and_closing(folder, other_user):
    """One process reads all the while; the owner comes and goes."""
    other_user.run(f"import builtins; builtins.kept = qs.open({str(folder)!r}, read_only=True)")
    count = 6
    for _ in range(3):
        assert other_user.run("import builtins; result = len(builtins.kept.read('trades'))")["result"] == count
        with qs.open(folder) as store:
            store.write(ticks(price=float(count)), "trades")
            count += 6
            assert other_user.run("import builtins; result = len(builtins.kept.read('trades'))")["result"] == count
    other_user.run("import builtins; builtins.kept.close()")


def test_writing_to_a_store_of_another_is_refused_and_changes_nothing(folder, other_user):
    before = folder_state(folder)
    refused(
        other_user.run(OPEN.format(folder=str(folder))),
        "AccessDeniedError",
        "cannot be written by this user; nothing was changed",
        "read_only=True",
        "its owner (uid 0)",
    )
    assert folder_state(folder) == before
    with qs.open(folder) as store:
        version = store.metadata_catalog.snapshot()
        answer = other_user.run(WRITE.format(folder=str(folder)))
        refused(answer, "AccessDeniedError", "cannot be written by this user", "read_only=True")
        assert answer["result"] == 6  # reading went well until then
        assert store.metadata_catalog.snapshot() == version
        assert store.audit().ok


def test_a_folder_that_may_not_be_written_takes_no_store(public, other_user):
    answer = other_user.run(f"qs.open({str(public / 'new' / 'store')!r})")
    refused(answer, "AccessDeniedError", "cannot be made: Permission denied", "Choose another place")
    assert not (public / "new").exists()
    (public / "empty").mkdir()
    answer = other_user.run(f"qs.open({str(public / 'empty')!r})")
    refused(answer, "AccessDeniedError", "empty", "permission")
    assert list((public / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        ("catalog.sqlite", ["catalog.sqlite cannot be read by this user", "(uid 0)", "permission to read"]),
        (".", ["cannot be read by this user", "permission to read"]),
        ("hot", ["in store 'hot' was refused: Permission denied", "permission to read"]),
    ],
)
def test_what_may_not_be_read_is_named_with_the_way_out(folder, other_user, hidden, words):
    (folder / hidden).chmod(0o600 if (folder / hidden).is_file() else 0o700)
    refused(other_user.run(READ.format(folder=str(folder))), "AccessDeniedError", *words)


def test_segments_that_may_not_be_read_are_named(folder, other_user):
    for path in folder.rglob("*.parquet"):
        path.chmod(0o400)
    code = f"result = len(qs.open({str(folder)!r}, read_only=True).read('old'))"
    refused(other_user.run(code), "AccessDeniedError", "in store 'cold' was refused", "permission to read")
    code = f"result = len(qs.open({str(folder)!r}, read_only=True).read('SELECT * FROM old'))"
    refused(other_user.run(code), "AccessDeniedError", "in store 'cold' was refused")


def test_a_store_whose_rows_may_not_be_written_leaves_nothing_behind(folder, other_user):
    """The catalog may be written, the folder of rows may not."""
    folder.chmod(0o777)
    (folder / "catalog.sqlite").chmod(0o666)
    answer = other_user.run(WRITE.format(folder=str(folder)))
    refused(answer, "AccessDeniedError", "in store 'hot'", "refused", "read_only=True")
    with qs.open(folder) as store:
        assert len(store.read("trades")) == 6
        assert store.sweep("0s").orphans == 0
        assert set(store.metadata_catalog.attempts.states().values()) <= {"committed", "aborted"}


def test_a_store_on_a_read_only_disk_is_read_and_not_written(small_disk, monkeypatch):
    with qs.open(small_disk.folder / "s") as store:
        store.write(ticks(), "trades")
        store.write(ticks(), "old", "cold")
    small_disk.remount("ro")
    before = folder_state(small_disk.folder)
    with qs.open(small_disk.folder / "s", read_only=True) as store:
        assert len(store.read("trades")) == len(store.read("SELECT * FROM old")) == 6
        assert store.audit().ok
    with pytest.raises(AccessDeniedError, match="read_only=True"):
        qs.open(small_disk.folder / "s")
    with pytest.raises(AccessDeniedError, match="cannot be made: Read-only file system"):
        qs.open(small_disk.folder / "other")
    assert folder_state(small_disk.folder) == before
    small_disk.remount("rw")
    connection = sqlite3.connect(small_disk.folder / "s" / "catalog.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
