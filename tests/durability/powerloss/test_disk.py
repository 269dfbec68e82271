"""What the model of a disk leaves after a power cut."""

from __future__ import annotations

import random

import pytest
from disk import POLICIES, ROOT, SECTOR, Disk, Policy, lay_down

NOTHING, ALL, NAMES, CONTENT = (
    Policy("none", "none"),
    Policy("all", "all"),
    Policy("all", "none"),
    Policy("none", "all"),
)


def left(disk, policy, seed=0):
    return disk.after_power_cut(policy, random.Random(seed))


@pytest.fixture
def disk():
    """A disk with one file of 2,000 bytes, made durable."""
    made = Disk()
    made.files[made.new_file(ROOT, "a")].write(0, b"a" * 2_000)
    made.sync(made.find(("a",)))
    made.sync(ROOT)
    return made


def test_a_file_synced_in_a_directory_that_is_not_has_no_name():
    disk = Disk()
    file = disk.new_file(ROOT, "a")
    disk.files[file].write(0, b"abc")
    disk.sync(file)
    assert left(disk, NOTHING) == {}
    assert left(disk, NAMES) == {"a": b"abc"}
    disk.sync(ROOT)
    assert left(disk, NOTHING) == {"a": b"abc"}


def test_a_name_that_is_durable_says_nothing_of_the_content():
    disk = Disk()
    disk.files[disk.new_file(ROOT, "a")].write(0, b"abc")
    disk.sync(ROOT)
    assert left(disk, NOTHING) == {"a": b""}
    assert left(disk, Policy("none", "zeros")) == {"a": bytes(3)}
    assert len(left(disk, Policy("none", "garbage"))["a"]) == 3
    assert left(disk, CONTENT) == {"a": b"abc"}


def test_what_was_synced_is_there_under_every_policy(disk):
    for policy in POLICIES:
        for seed in range(20):
            assert left(disk, policy, seed) == {"a": b"a" * 2_000}


def test_a_write_is_torn_at_a_sector_and_reordered_with_others(disk):
    file = disk.files[disk.find(("a",))]
    file.write(100, b"b" * 1_800)
    file.write(0, b"c" * 50)
    torn = {left(disk, Policy("none", "prefix"), seed)["a"] for seed in range(50)}
    assert len(torn) > 3
    assert all(one[1_900:] == b"a" * 100 for one in torn)
    borders = {one.rfind(b"b") + 1 for one in torn if b"b" in one}
    assert borders <= {SECTOR, 2 * SECTOR, 3 * SECTOR, 1_900}
    scattered = {left(disk, Policy("none", "some"), seed)["a"] for seed in range(100)}
    assert any(one[:50] == b"c" * 50 and b"b" not in one[:1_024] for one in scattered)
    assert all(len(one) == 2_000 for one in scattered)


def test_a_rename_happens_or_not_and_never_loses_both(disk):
    new = disk.new_file(ROOT, "a.tmp")
    disk.files[new].write(0, b"new")
    disk.sync(new)
    disk.rename(ROOT, "a.tmp", ROOT, "a")
    found = [left(disk, Policy("some", "none"), seed) for seed in range(50)]
    assert {one["a"] for one in found} == {b"a" * 2_000, b"new"}
    disk.sync(ROOT)
    assert left(disk, NOTHING) == {"a": b"new"}


def test_a_file_that_was_deleted_may_come_back(disk):
    disk.remove(ROOT, "a")
    assert left(disk, ALL) == {}
    assert left(disk, NOTHING) == {"a": b"a" * 2_000}
    disk.sync(ROOT)
    assert left(disk, NOTHING) == {}


def test_a_folder_that_is_not_durable_takes_along_what_is_in_it():
    disk = Disk()
    folder = disk.new_folder(ROOT, "f")
    disk.sync(disk.new_file(folder, "a"))
    disk.sync(folder)
    assert left(disk, NOTHING) == {}
    disk.sync(ROOT)
    assert left(disk, NOTHING) == {"f": None, "f/a": b""}


def test_a_sync_covers_no_write_that_came_after_it_began(disk):
    node = disk.find(("a",))
    disk.files[node].write(0, b"1")
    disk.files[node].write(1, b"2")
    disk.sync(node, pieces=1)
    assert left(disk, NOTHING)["a"][:2] == b"1a"


def test_cutting_a_file_off_waits_for_a_sync_too(disk):
    file = disk.files[disk.find(("a",))]
    file.truncate(10)
    file.write(20, b"z")
    assert left(disk, NOTHING) == {"a": b"a" * 2_000}
    assert left(disk, CONTENT) == {"a": b"a" * 10 + bytes(10) + b"z"}


def test_a_disk_is_laid_down_as_files(disk, tmp_path):
    disk.sync(disk.new_folder(ROOT, "f"))
    lay_down(left(disk, ALL), tmp_path / "x")
    assert (tmp_path / "x" / "a").read_bytes() == b"a" * 2_000
    assert (tmp_path / "x" / "f").is_dir()
