"""Stores that older releases made: read, upgraded, gone on with, whatever happens meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from golden_stores import FORMS, catalog_rows, everything, expected, unpacked
from make import answers, digest, shape, trades
from upgrading import Upgrader, form_on_disk

import quantstore as qs
from quantstore.catalog import upgrades
from quantstore.errors import UnsupportedError
from quantstore.stores.facts import FORMAT, KEY, decode_facts

OLD = [form for form in FORMS if form < len(upgrades.STEPS)]


def same_answers(store, form, *, oldest=None):
    """Every table at every version that can be read gives the rows, in order, that it gave then."""
    told = expected(form)
    found = answers(store, oldest or told["oldest"], told["newest"])
    kept = {
        name: {version: answer for version, answer in versions.items() if int(version) >= (oldest or 0)}
        for name, versions in told["tables"].items()
    }
    assert found == {name: versions for name, versions in kept.items() if versions}


@pytest.mark.parametrize("form", FORMS)
def test_every_version_of_every_table_reads_as_it_did(tmp_path, form):
    """Also where the last process was killed in the middle of a write; and the whole store audits clean."""
    place = unpacked(form, tmp_path / "store")
    told = expected(form)
    assert (told["open_attempts"], told["tiers"]) == (1, ["cold", "hot", "warm"])
    assert told["superseded_copies"] > 0
    with qs.open(place) as store:
        same_answers(store, form)
        tags = {row.tag: row.version for row in store.tags().itertuples()}
        report = store.audit()
    assert tags == told["tags"]
    assert report.ok, report
    assert report.receipts > 0
    assert form_on_disk(place) == len(upgrades.STEPS)


def rows_now(store, name):
    return digest(store.read(name, to="arrow"))


@pytest.mark.parametrize("form", FORMS)
def test_an_old_store_goes_on_like_a_new_one(tmp_path, form):
    """It moves, compacts, corrects, publishes, tags, restores and sweeps, and older versions stay as they were."""
    place = unpacked(form, tmp_path / "store")
    newest = expected(form)["newest"]
    with qs.open(place) as store:
        swept = store.sweep(grace=0)
        assert (swept.attempts, swept.orphans > 0) == (1, True)
        names = [name for name in store.tables() if name != "empty"]
        before = {name: rows_now(store, name) for name in names}
        for tier in ("hot", "warm", "cold"):
            for name in names:
                store.migrate(name, "any", tier)
                assert set(store.table(name).placement().query("role == 'primary'")["tier"]) <= {tier}
            assert {name: rows_now(store, name) for name in names} == before
        store.compact()
        assert {name: rows_now(store, name) for name in names} == before
        store.tag("before")
        store.write(trades(0, 3, days=1), "gone", "cold", mode="upsert", key=["id"])
        store.delete("trades", where="id < 10")
        store.write(pa.table({"at": pa.array([0], pa.timestamp("ns", "UTC")), "name": ["x"]}), "empty")
        assert len(store.read("empty")) == 1
        assert rows_now(store, "trades") != before["trades"]
        store.table("trades").restore("before")
        assert rows_now(store, "trades") == before["trades"]
        assert [one.lag for one in store.publish("trades")] == [0]
        assert store.maintain(grace=0)
        same_answers(store, form, oldest=newest)
        assert store.audit().ok


@pytest.mark.parametrize("form", OLD)
def test_reading_upgrades_nothing_and_says_what_would(tmp_path, form):
    place = unpacked(form, tmp_path / "store")
    before = everything(place)
    with pytest.raises(UnsupportedError, match=f"has form {form}.*Open the store once with read_only=False"):
        qs.open(place, read_only=True)
    assert everything(place) == before


def test_a_catalog_of_a_newer_form_is_refused_and_left_alone(tmp_path):
    place = unpacked(FORMS[-1], tmp_path / "store")
    newer = len(upgrades.STEPS) + 1
    with closing(sqlite3.connect(place / "catalog.sqlite")) as database:
        database.execute("INSERT INTO catalog_upgrades VALUES (?, 'what is to come', 0)", (newer,))
        database.commit()
    before = everything(place)
    for read_only in (False, True):
        with pytest.raises(UnsupportedError, match=f"has form {newer}.*Nothing was changed. Upgrade quantstore"):
            qs.open(place, read_only=read_only)
    assert everything(place) == before


def test_a_file_of_a_newer_format_is_refused():
    newer = f'{{"format": {FORMAT + 1}}}'.encode()
    with pytest.raises(UnsupportedError, match=f"has format {FORMAT + 1}.*Upgrade quantstore"):
        decode_facts({KEY: newer}, "some.parquet")


def copied(original, folder):
    """Copy the files of a catalog; onto a disk in memory where there is one, as only processes die here."""
    folder.mkdir()
    for path in original.glob("catalog.sqlite*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def scratch():
    """A folder on a disk in memory where there is one: processes die here, and disks do not."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("form", OLD)
def test_an_upgrade_killed_at_any_statement_leaves_the_old_form_or_the_new_one(tmp_path, scratch, form):
    """And the next process to come makes of it what an upgrade in peace makes."""
    original = unpacked(form, tmp_path / "original")
    stride = 1 if os.environ.get("QUANTSTORE_GOLDEN") == "all" else 17
    number = random.randrange(stride) + 1
    print(f"killed before statement {number} and every {stride}th after it, and before each of the last ones")
    forms = []
    with Upgrader() as upgrader:
        peaceful = copied(original, scratch / "peaceful")
        assert upgrader.upgrade(peaceful) == 0
        wanted = catalog_rows(peaceful)

        def is_killed(number):
            place = copied(original, scratch / "killed")
            code = upgrader.upgrade(place, number)
            assert code in {0, -signal.SIGKILL}
            forms.append(form_on_disk(place))
            assert upgrader.upgrade(place) == 0
            assert catalog_rows(place) == wanted
            assert form_on_disk(place) == len(upgrades.STEPS)
            shutil.rmtree(place)
            return code != 0

        while is_killed(number):
            number += stride
        for last in range(max(1, number - stride), number):
            is_killed(last)
    assert len(forms) > 20
    assert set(forms) == {form, len(upgrades.STEPS)}


@pytest.mark.parametrize("form", OLD)
def test_several_processes_upgrade_at_once(tmp_path, form):
    place = unpacked(form, tmp_path / "store")
    peaceful = unpacked(form, tmp_path / "peaceful")
    with Upgrader() as upgrader:
        assert upgrader.upgrade(peaceful) == 0
    code = (
        "import sys, quantstore.catalog.catalog as c, pathlib\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "catalog = c.Catalog(pathlib.Path(sys.argv[1]) / 'catalog.sqlite'); print(catalog.snapshot().version)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert (child.returncode, out) == (0, f"{expected(form)['newest']}\n")
    assert catalog_rows(place) == catalog_rows(peaceful)


@pytest.mark.parametrize("form", FORMS)
def test_an_upgraded_catalog_has_the_columns_and_indexes_of_a_new_one(tmp_path, form):
    place = unpacked(form, tmp_path / "store")
    with qs.open(place), qs.open(tmp_path / "new"):
        pass
    old, new = shape(place), shape(tmp_path / "new")
    assert {name: old[name] for name in ("tables", "indexes", "settings")} == {
        name: new[name] for name in ("tables", "indexes", "settings")
    }


def test_whoever_changes_what_is_on_disk_keeps_a_golden_store_of_it(tmp_path):
    """A new form or format needs a store of its own here, made by the code that first writes it."""
    assert list(range(1, len(upgrades.STEPS) + 1)) == FORMS, (
        "the catalog has a new form: run `python tests/golden/make.py tests/golden` and commit what it made"
    )
    with qs.open(tmp_path / "new") as store:
        store.write(trades(0, 30), "trades", "hot")
        store.write(trades(30, 30), "trades", "cold")
    assert shape(tmp_path / "new") == expected(FORMS[-1])["shape"], (
        "the catalog's tables or what files say of themselves changed without a new form. A released form never "
        "changes: add a step to catalog/upgrades.py. Before its release, make the golden store anew: "
        "python tests/golden/make.py tests/golden"
    )
