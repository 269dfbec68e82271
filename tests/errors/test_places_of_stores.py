"""Opening what is damaged, lost, newer, someone else's, or in a place where it cannot be."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest
from telling import folder_state, refused, ticks

import quantstore as qs
from quantstore.catalog import file_systems, upgrades
from quantstore.catalog.catalog import Catalog
from quantstore.catalog.file_systems import file_system, is_network
from quantstore.catalog.private_copy import PrivateCopy
from quantstore.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)


@pytest.fixture
def made(tmp_path):
    """The folder of a store that was used and closed."""
    with qs.open(tmp_path / "s") as store:
        store.write(ticks(), "trades")
        store.write(ticks(), "old", "cold")
    return tmp_path / "s"


def change(folder, sql):
    """Change a catalog behind the store's back."""
    connection = sqlite3.connect(folder / "catalog.sqlite")
    connection.execute(sql)
    connection.commit()
    connection.close()


# Releases


@pytest.mark.parametrize("read_only", [True, False])
def test_a_catalog_of_a_newer_release_is_refused(made, read_only):
    change(made, "INSERT INTO catalog_upgrades VALUES (99, 'something new', 0)")
    before = folder_state(made)
    known = len(upgrades.STEPS)
    words = ["form 99", "newer release", f"up to form {known}", "this is quantstore", "pip install -U quantstore"]
    with refused(UnsupportedError, *words) as caught:
        qs.open(made, read_only=read_only)
    assert folder_state(made) == before
    assert caught.value.context["form"] == 99
    assert caught.value.context["known_form"] == known


def test_a_catalog_of_an_older_release_is_not_upgraded_by_reading(made):
    change(made, "DELETE FROM catalog_upgrades WHERE number > 1")
    before = folder_state(made)
    with refused(UnsupportedError, "form 1, which an older release", "Open the store once with read_only=False"):
        qs.open(made, read_only=True)
    assert folder_state(made) == before


# Damage and loss


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x", ["is damaged or no catalog at all", "backup"]),
        (b"hello" * 1000, ["is damaged or no catalog at all", "backup"]),
        (None, ["is damaged", "backup"]),
    ],
)
def test_a_damaged_catalog_is_refused(made, content, words, read_only):
    place = made / "catalog.sqlite"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2] if content is None else content)
    left = place.read_bytes()
    with refused(IntegrityError, str(place), *words):
        qs.open(made, read_only=read_only).read("trades")
    assert place.read_bytes() == left
    place.write_bytes(whole)
    with qs.open(made) as store:
        assert len(store.read("trades")) == 6


@pytest.mark.parametrize("lost", ["missing", "empty"])
def test_a_lost_catalog_is_not_made_anew_over_its_rows(made, lost, capsys):
    place = made / "catalog.sqlite"
    content = place.read_bytes()
    place.unlink()
    if lost == "empty":
        place.touch()
    before = folder_state(made)
    capsys.readouterr()
    with refused(IntegrityError, "is gone", ".arrow in store 'hot'", "backup", "start anew in an empty folder"):
        qs.open(made)
    assert capsys.readouterr().err == ""
    if lost == "missing":
        assert folder_state(made) == before
    assert [path.suffix for path in (made / "hot").rglob("*-*")] == [".arrow"]
    with refused(NotFoundError):
        qs.open(made, read_only=True)
    place.write_bytes(content)
    with qs.open(made) as store:
        assert len(store.read("trades")) == 6


def test_an_empty_file_without_rows_becomes_a_catalog(tmp_path):
    """What a crash between the first two steps leaves behind."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "catalog.sqlite").touch()
    with qs.open(tmp_path / "s") as store:
        store.write(ticks(), "trades")
        assert len(store.read("trades")) == 6


def test_many_that_make_one_store_at_once_do_not_think_it_lost(tmp_path):
    errors, barrier = [], threading.Barrier(6)

    def work(number):
        try:
            barrier.wait()
            with qs.open(tmp_path / "s") as store:
                store.write(ticks(price=float(number)), "trades")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with qs.open(tmp_path / "s") as store:
        assert len(store.read("trades")) == 36


def test_the_database_of_another_program_is_left_alone(tmp_path):
    place = tmp_path / "catalog.sqlite"
    connection = sqlite3.connect(place)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    with refused(InvalidInputError, "is a SQLite database and no catalog", "another place"):
        qs.open(tmp_path)
    tables = sqlite3.connect(place).execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("theirs",)]


def test_a_catalog_emptied_while_the_store_is_open_is_an_integrity_error(made):
    with qs.open(made) as store:
        store.metadata_catalog._database._engine.dispose()
        (made / "catalog.sqlite").unlink()
        with refused(IntegrityError, "deleted while the store was open", "backup"):
            store.read("trades")


def test_rows_that_are_gone_name_table_partition_and_tier(made):
    shutil.rmtree(made / "hot")
    with qs.open(made) as store:
        for query in ("trades", "SELECT * FROM trades"):
            with refused(IntegrityError, "Table 'trades'", "trade_date=2026-01-05", "tier hot", "audit()"):
                store.read(query)
        assert len(store.read("old")) == 6


# Places


@pytest.mark.parametrize(
    ("target", "kind", "words"),
    [
        ("s3://bucket/x", UnsupportedError, ["s3://bucket/x", "folder on a local disk"]),
        ("a\0b", InvalidInputError, ["cannot be the place of a store"]),
        ("", InvalidInputError, ["cannot be the place of a store"]),
        ("x" * 300, InvalidInputError, ["cannot be the place of a catalog", "too long"]),
        ("file", InvalidInputError, ["is a file, and a store is a folder"]),
        ("file/store", AccessDeniedError, ["cannot be made", "file is a file", "another place"]),
        ("folder", InvalidInputError, ["catalog.sqlite is a folder, where the catalog's file should be"]),
    ],
)
def test_places_where_no_store_can_be_are_refused(tmp_path, monkeypatch, target, kind, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "catalog.sqlite").mkdir(parents=True)
    before = folder_state(tmp_path)
    with refused(kind, *words):
        qs.open(target)
    assert folder_state(tmp_path) == before


@pytest.mark.parametrize(
    ("part", "place", "kind", "words"),
    [
        ("catalog", "postgresql://host/db", UnsupportedError, ["catalog cannot be on postgresql://"]),
        ("catalog", "text.txt", IntegrityError, ["no catalog at all"]),
        ("hot", "text.txt", InvalidInputError, ["text.txt is a file, where the hot store needs a folder"]),
        ("cold", "s3://bucket", UnsupportedError, ["s3://"]),
    ],
)
def test_parts_in_places_where_they_cannot_be_are_refused(tmp_path, monkeypatch, part, place, kind, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("dear diary")
    with refused(kind, *words):
        qs.open("s", **{part: place}).write(ticks(), "t")
    assert (tmp_path / "text.txt").read_text() == "dear diary"


# Network file systems


def mounts(tmp_path, *entries):
    """A table of mounts as Linux writes it."""
    lines = [
        f"{number} 1 0:{number} / {str(place).replace(' ', chr(92) + '040')} rw,relatime shared:1 - {kind} source rw"
        for number, (place, kind) in enumerate(entries, start=20)
    ]
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(["", "not a mount", *lines]) + "\n")
    return table


def test_the_innermost_and_latest_mount_counts(tmp_path):
    inside = tmp_path / "with space" / "deeper"
    inside.mkdir(parents=True)
    table = mounts(tmp_path, ("/", "ext4"), (tmp_path / "with space", "nfs4"), (f"{tmp_path}/with", "cifs"))
    assert file_system(inside, table) == ("nfs4", str(tmp_path / "with space"))
    assert file_system(inside / "not" / "there", table)[0] == "nfs4"
    assert file_system(tmp_path, table) == ("ext4", "/")
    hidden = mounts(tmp_path, ("/", "ext4"), (tmp_path, "nfs"), (tmp_path, "xfs"))
    assert file_system(inside, hidden)[0] == "xfs"
    assert file_system(inside, tmp_path / "no table") == ("", "")


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "fuse.s3fs", "AFS"]
)
def test_network_file_systems_are_known(kind):
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk", "fuse.ntfs", ""]
)
def test_local_file_systems_are_known(kind):
    assert not is_network(kind)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_catalog_on_a_network_file_system_is_refused_before_anything_is_made(tmp_path, monkeypatch, kind):
    share = tmp_path / "share"
    share.mkdir()
    monkeypatch.setattr(file_systems, "MOUNTS", mounts(tmp_path, ("/", "ext4"), (share, kind)))
    for target in (share, share / "new" / "store"):
        with refused(UnsupportedError, f"({kind}, mounted at {share})", "local disk", "cold=network_folder") as caught:
            qs.open(target)
        assert caught.value.context["file_system"] == kind
    assert list(share.iterdir()) == []
    with qs.open(tmp_path / "local", cold=share / "cold") as store:
        store.write(ticks(), "t", "cold")
        assert len(store.read("t")) == 6


# Private copies


def test_a_private_copy_follows_its_original(made, tmp_path):
    """Every read sees what was committed last, through a log that is there and one that is not."""
    made_engines = []

    def make(path):
        made_engines.append(path)
        return Catalog(path, read_only=True)._database._make_engine(path)

    copy = PrivateCopy(made / "catalog.sqlite", make)
    first = copy.engine()
    assert copy.engine() is first
    with qs.open(made) as store:
        store.write(ticks(price=9.0), "late")
        names = sqlite3.connect(copy.engine().url.database).execute("SELECT name FROM tables").fetchall()
        assert ("late",) in names
    names = sqlite3.connect(copy.engine().url.database).execute("SELECT name FROM tables").fetchall()
    assert ("late",) in names
    folder = made_engines[0].parent
    assert folder.exists()
    copy.close()
    assert not folder.exists()


def test_a_catalog_that_never_rests_is_not_copied(made, monkeypatch):
    copy = PrivateCopy(made / "catalog.sqlite", lambda path: None)
    moments = iter(range(10**6))
    monkeypatch.setattr("quantstore.catalog.private_copy._TICK_SECONDS", 0.0001)
    monkeypatch.setattr("quantstore.catalog.private_copy._signature", lambda path: ((0, 0, 0, next(moments), 0), None))
    with refused(UnavailableError, "changed all the time", "Try again"):
        copy.engine()


def test_a_forked_child_leaves_the_copy_to_its_parent(made):
    copy = PrivateCopy(made / "catalog.sqlite", lambda path: None)
    copy._copy()
    folder = copy._folder
    child = os.fork()
    if child == 0:
        copy._finalizer()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.exists()
    copy.close()
    assert not folder.exists()


def test_private_copies_are_gone_when_the_process_ends(made):
    code = (
        "import sys; from pathlib import Path; from quantstore.catalog.private_copy import PrivateCopy\n"
        "copy = PrivateCopy(Path(sys.argv[1]), lambda path: None); copy._copy(); print(copy._folder)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made / "catalog.sqlite")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
    assert not os.path.exists(done.stdout.strip())  # noqa: PTH110
