"""Every verb with no room left at every page, every file and every call: refused, nothing changed, and then done.

A sample by default; `QUANTSTORE_NO_ROOM=all` tries all, `QUANTSTORE_NO_ROOM_SEED` chooses another sample.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from small_disks import CountedDisk, FailingCalls
from verbs import VERBS, World, files_beyond_record, quiet, rows_of

import quantstore as qs
from quantstore.errors import CapacityError, QuantStoreError, UnavailableError

SEED = int(os.environ.get("QUANTSTORE_NO_ROOM_SEED", "20260105"))
RUNS_ALL = os.environ.get("QUANTSTORE_NO_ROOM") == "all"
SAMPLE = 1
"""Cases of each verb and means in a sample."""
ERRORS = {errno.ENOSPC: CapacityError, errno.EDQUOT: CapacityError, errno.EIO: UnavailableError}
_SEVERAL_COMMITS = {"stream", "migrate", "migrate split", "promote", "maintain", "release"}
"""What is done when a later commit fails stands."""
_NAMES = [name for name in VERBS if "read" not in name]


def skip_or_fail(reason):
    """Skip on a user's machine, fail where everything must be present."""
    (pytest.fail if os.environ.get("QUANTSTORE_CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    try:
        made = CountedDisk(folder)
    except OSError as error:
        skip_or_fail(f"mounting is not permitted: {error}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(disk):
    return World(disk.folder)


@pytest.fixture(scope="module")
def plain_world(tmp_path_factory):
    """In memory where that can be, as it is no matter here that files are synced."""
    if not Path("/dev/shm").is_dir():
        yield World(tmp_path_factory.mktemp("calls"))
        return
    with tempfile.TemporaryDirectory(prefix="quantstore-calls-", dir="/dev/shm") as folder:
        yield World(Path(folder))


def prepared(store, name):
    if name == "release":
        VERBS["pin"](store)


def needs(world, name, disk=None):
    """Return the rows after a verb, the pages and files that it takes, and the calls it makes."""
    root = world.copy()
    with qs.open(root) as store, quiet():
        prepared(store, name)
        before = disk.used() if disk else (0, 0)
        with FailingCalls(root) as calls:
            VERBS[name](store)
        taken = disk.used() if disk else (0, 0)
        after = rows_of(store)
    shutil.rmtree(root)
    return after, max(0, taken[0] - before[0]), max(0, taken[1] - before[1]), len(calls.made)


def some(name, means, count):
    cases = range(count)
    return cases if RUNS_ALL else sorted(random.Random(f"{SEED} {name} {means}").sample(cases, min(SAMPLE, count)))


def check_told(error, root):
    """Check that an error names the place, and says that nothing was changed where it is for want of room."""
    assert str(root) in f"{error} {error.context}"
    assert "nothing was changed" in str(error) or not isinstance(error, CapacityError)


def run_case(world, name, after, failing, kinds):
    """Run a verb into a failure; return what it raised, having checked everything before and after a second try."""
    verb, outcome = VERBS[name], "success"
    root = world.copy()
    with qs.open(root) as store, quiet():
        prepared(store, name)
        with failing(root):
            try:
                verb(store)
            except kinds as error:
                outcome = type(error).__name__
                check_told(error, root)
            now = rows_of(store)  # reading goes on without room
        allowed = [after] if outcome == "success" else [world.before]
        if name == "maintain" or (name in _SEVERAL_COMMITS and outcome != "success"):
            allowed = [world.before, after]
        if name == "stream" and outcome != "success":
            allowed = [now]
        assert now in allowed, f"{outcome} and other rows than there should be"
        if name != "stream":  # what a stream is given twice is there twice
            verb(store)
            assert rows_of(store) == after, "a second try ends with other rows"
        held = rows_of(store)
    with qs.open(root) as store, quiet():
        assert rows_of(store) == held, "other rows once reopened"
        store.sweep(grace=0)
        report = store.audit()
        assert report.ok, report
        assert "open" not in store.metadata_catalog.attempts.states().values(), "an attempt is left open"
        assert rows_of(store) == held
    assert files_beyond_record(root) == []
    shutil.rmtree(root)
    return outcome


@pytest.mark.parametrize("name", _NAMES)
def test_no_page_and_no_file_left_at_any_step(disk, world, name, capsys):
    after, pages, files, _ = needs(world, name, disk)
    found: Counter[str] = Counter()
    for means, count in (("pages", pages + 2), ("files", files + 1)):
        for left in some(name, means, count):
            limits = {means: left}
            try:
                outcome = run_case(world, name, after, lambda _, limits=limits: disk.left(**limits), CapacityError)
            except (AssertionError, QuantStoreError) as error:
                raise AssertionError(f"{name} with {left} {means} left: {type(error).__name__}: {error}") from error
            found[f"{means}: {outcome}"] += 1
    if RUNS_ALL:
        assert found["pages: CapacityError"] or name in _SEVERAL_COMMITS or name in {"sweep", "tag", "delete"}, found
        with capsys.disabled():
            print(f"\n{name}: {dict(sorted(found.items()))}")


@pytest.mark.parametrize("name", _NAMES)
def test_any_call_to_the_operating_system_fails(plain_world, name, capsys):
    after, _, _, calls = needs(plain_world, name)
    found: Counter[str] = Counter()
    for number in some(name, "calls", calls):
        for code, kind in ERRORS.items() if RUNS_ALL else random.Random(f"{SEED} {name}").sample([*ERRORS.items()], 1):
            try:
                outcome = run_case(
                    plain_world,
                    name,
                    after,
                    lambda root, number=number, code=code: FailingCalls(root, number + 1, code),
                    kind,
                )
            except (AssertionError, QuantStoreError) as error:
                told = f"{name}, {errno.errorcode[code]} at call {number + 1} of {calls}"
                raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
            found[f"{errno.errorcode[code]}: {outcome}"] += 1
    if RUNS_ALL:
        with capsys.disabled():
            print(f"\n{name}: {calls} calls, {dict(sorted(found.items()))}")


def test_calls_that_fail_are_counted_and_put_back(tmp_path):
    real = os.fsync
    with FailingCalls(tmp_path, 2, errno.ENOSPC) as calls:
        (tmp_path / "a").mkdir()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "b").mkdir()
        with nullcontext(), (tmp_path.parent / "elsewhere").open("w"):
            pass
    assert calls.made == ["mkdir", "mkdir"]
    assert os.fsync is real
