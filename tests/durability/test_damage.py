"""Harmed files: whoever needs one is told which, whoever does not is served, and no process dies of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checks import files_on_disk
from damage import HARMS
from workload import TIERS, open_store

from quantstore.errors import IntegrityError


@pytest.fixture(scope="module")
def whole(zygote, tmp_path_factory):
    """A store with one file in each tier."""
    root = tmp_path_factory.mktemp("whole") / "store"
    zygote.run("damage.make", root=str(root))
    return root


@pytest.fixture
def root(whole, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "store"))


def file_of(root, tier):
    (path,) = (root / place for place in files_on_disk(root) if place.startswith(tier))
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("harm", HARMS)
def test_harm_between_two_processes_is_found_before_a_row_is_given(harm, zygote, root):
    for tier in TIERS:
        path = file_of(root, tier)
        original = path.read_bytes()
        HARMS[harm](path)
        assert zygote.run("damage.ask_afresh", root=str(root), tier=tier) == []
        path.unlink(missing_ok=True)
        path.write_bytes(original)


@pytest.mark.parametrize("tier", TIERS)
def test_harm_under_an_open_store_that_has_mapped_the_file_is_found_too(tier, zygote, root, tmp_path):
    file_of(root, tier)
    progress = tmp_path / "progress"
    pid, result = zygote.start("damage.ask_open", root=str(root), tier=tier, progress=str(progress))
    code = zygote.wait(pid)
    assert code == 0, (code, progress.read_text(), result.exists() and result.read_text())
    assert json.loads(result.read_text()) == {"result": []}


def test_without_its_catalog_a_store_is_not_opened(root):
    """No new catalog takes the place of the lost one, as it would know nothing of the files."""
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    files = files_on_disk(root)
    with pytest.raises(IntegrityError, match=r"catalog\.sqlite is gone"), open_store(root):
        pass
    assert files_on_disk(root) == files
    assert not list(root.glob("catalog.sqlite*"))


def test_beside_an_empty_catalog_every_file_is_reported_and_none_deleted(root, tmp_path):
    """A catalog that knows of no file is put there; a sweep must not take the files for garbage."""
    with open_store(tmp_path / "other"):
        pass
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    shutil.copy(tmp_path / "other" / "catalog.sqlite", root)
    files = files_on_disk(root)
    with open_store(root) as store:
        assert store.sweep(grace=0).orphans == 0
        problems = store.audit().problems
    assert sorted(f"{one.tier}/{one.location}" for one in problems) == sorted(files)
    assert {one.kind for one in problems} == {"orphaned"}
    assert files_on_disk(root) == files


@pytest.mark.parametrize("harm", ["zeroed", "first byte flipped", "cut in half"])
def test_a_harmed_catalog_is_refused(harm, root):
    HARMS[harm](root / "catalog.sqlite")
    with pytest.raises(IntegrityError, match=r"catalog\.sqlite"), open_store(root) as store:
        store.read("trades")
