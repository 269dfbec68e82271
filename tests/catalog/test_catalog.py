"""The catalog alone: the contract, and what a SQLite file is to a process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quantstore.catalog.catalog import Catalog
from quantstore.catalog.file_systems import file_system
from quantstore.core.clock import ManualClock
from quantstore.errors import AccessDeniedError, IntegrityError, NotFoundError, UnsupportedError
from quantstore.testing.catalog_contract import CatalogContract, new_segment, segments_of, write


class TestSqliteCatalog(CatalogContract):
    """The contract, over a SQLite file."""

    def open_catalog(self, root: Path, clock: ManualClock) -> Catalog:
        return Catalog(root / "catalog.sqlite", clock=clock)


@pytest.fixture
def catalog(tmp_path):
    found = Catalog(tmp_path / "catalog.sqlite", clock=ManualClock())
    yield found
    found.close()


def test_the_lease_of_a_dead_process_ends_at_once(catalog):
    code = (
        "import sys; from quantstore.catalog.catalog import Catalog; import os, signal;"
        "c = Catalog(sys.argv[1]); print(c.attempts.register('write', 't').attempt_id, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(catalog.path)], capture_output=True, text=True, check=False)
    own = catalog.attempts.register("write", "trades")
    catalog.clock.advance(-(10**6))  # the lease itself is far from over
    assert catalog.attempts.reap() == [child.stdout.strip()]
    assert catalog.attempts.states()[own.attempt_id] == "open"


def test_a_read_only_catalog_refuses_changes_and_answers_questions(catalog):
    write(catalog, new_segment())
    reader = Catalog(catalog.path, read_only=True)
    assert len(segments_of(reader)) == 1
    with pytest.raises(AccessDeniedError, match="read-only"):
        reader.attempts.register("write", "trades")
    reader.close()


def test_a_missing_catalog_is_not_made_unasked(tmp_path):
    with pytest.raises(NotFoundError, match="create=True"):
        Catalog(tmp_path / "none.sqlite", create=False)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_catalog_of_a_newer_release_is_refused(catalog):
    path = catalog.path
    catalog.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO catalog_upgrades VALUES (999, 'from the future', 0)")
    connection.close()
    with pytest.raises(UnsupportedError, match="form 999"):
        Catalog(path)


def test_a_file_that_is_no_catalog_is_refused(tmp_path):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(IntegrityError, match="damaged or no catalog at all"):
        Catalog(path)


def test_threads_and_a_forked_child_share_one_catalog(catalog):
    write(catalog, new_segment(), content="0")
    failures = []

    def work(number):
        try:
            for turn in range(10):
                write(catalog, new_segment(), content=f"{number}-{turn}")
                segments_of(catalog)
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert catalog.snapshot().version == 41
    code = (
        "import os, sys; from quantstore.catalog.catalog import Catalog\n"
        "c = Catalog(sys.argv[1]); c.snapshot(); pid = os.fork()\n"
        "if pid == 0:\n    c.attempts.register('write', 't'); os._exit(c.snapshot().version)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    child = subprocess.run([sys.executable, "-c", code, str(catalog.path)], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "41"


def test_the_file_system_of_a_folder_is_told():
    assert file_system(Path("/proc"))[0] == ("proc" if Path("/proc/self").exists() else "")
