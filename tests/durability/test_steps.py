"""A crash at every named step: the process dies there, and what it leaves is whole and can be gone on with."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from checks import open_attempts
from harness import Zygote, run_script
from ledger import Ledger, applied

from quantstore.core.failpoints import STEPS


@pytest.fixture(scope="module")
def passed(zygote, tmp_path_factory):
    """How often the scenario passes each step when nothing stops it."""
    root = tmp_path_factory.mktemp("whole")
    zygote.run("jobs.scenario", root=str(root), journal=str(root / "told"), counts=str(root / "counts"))
    ledger = Ledger()
    ledger.read(root / "told")
    zygote.run("checks.check_store", root=str(root), acceptable=ledger.acceptable(), versions=ledger.versions)
    return json.loads((root / "counts").read_text())


@pytest.fixture(scope="module")
def helper(tmp_path_factory):
    """A second process that forks children, so that two crashes are tried at a time."""
    with Zygote(tmp_path_factory.mktemp("helper")) as started:
        yield started


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_this_step_loses_nothing_and_can_be_gone_on_with(step, passed, zygote, helper, tmp_path):
    """At its first time or, every other step, at its last; with QUANTSTORE_STEPS=all at both."""
    tries = [(zygote, f"{step}:1"), (helper, f"{step}:{passed[step]}")]
    if os.environ.get("QUANTSTORE_STEPS") != "all":
        tries = [tries[STEPS.index(step) % 2]]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(crash, *one, tmp_path) for one in tries]:
            done.result()


def crash(zygote, failpoint, folder):
    """Run the scenario into a failpoint, check what is left, repeat the write that was under way, and go on."""
    root = folder / failpoint.rpartition(":")[2]
    root.mkdir()
    pid, _ = zygote.start(
        "jobs.scenario", {"QUANTSTORE_FAILPOINT": failpoint}, root=str(root), journal=str(root / "told")
    )
    assert zygote.wait(pid) == -signal.SIGKILL
    ledger = Ledger()
    ledger.read(root / "told")
    versions = ledger.versions[-2:]
    found = zygote.run("checks.check_store", root=str(root), acceptable=ledger.acceptable(), versions=versions)
    ledger.settle(found)
    state = ledger.state
    if ledger.pending is not None and "outcome" not in ledger.pending:
        assert zygote.run("jobs.write_again", root=str(root), write=ledger.pending) == ledger.landed
        state = ledger.state if ledger.landed else applied(ledger.state, ledger.pending)
    zygote.run("checks.check_repeatable", root=str(root), state=state)


def test_every_step_is_passed_twice_or_more(passed):
    """Also that no operation announces a step that is not named, which no test would then crash at."""
    assert set(passed) == set(STEPS)
    assert min(passed.values()) >= 2


def test_the_environment_variable_kills_a_process_started_from_scratch(zygote, tmp_path):
    """And the attempt it leaves open is ended by the next sweep, because its process is dead."""
    code = "import sys, jobs; jobs.scenario(sys.argv[1], sys.argv[1] + '/told')"
    done = run_script(code, str(tmp_path), environment={"QUANTSTORE_FAILPOINT": "write.file.synced:3"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert open_attempts(str(tmp_path)) == 1
    ledger = Ledger()
    ledger.read(tmp_path / "told")
    zygote.run("checks.check_store", root=str(tmp_path), acceptable=ledger.acceptable())
    assert open_attempts(str(tmp_path)) == 0
