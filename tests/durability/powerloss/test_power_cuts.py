"""The power goes at any moment of a life: whatever of the unsynced is left, nothing acknowledged is lost."""

from __future__ import annotations

import os
import random

import pytest
from harness import Zygote
from kill_campaign import Checker
from power_cuts import Policy, PowerCuts, run
from recorder import trace

SEED = int(os.environ.get("QUANTSTORE_CUT_SEED") or random.SystemRandom().randrange(10**6))
STATES = int(os.environ.get("QUANTSTORE_CUTS", "30"))
UNSYNCED = """
import os, sys
sync = os.fsync
os.fsync = lambda descriptor: sync(descriptor) if os.path.isdir(f"/proc/self/fd/{descriptor}") else None
"""
"""A broken build: files of rows are renamed and named by the catalog without having been synced."""


@pytest.fixture(scope="module", autouse=True)
def tracing(tmp_path_factory):
    """Skip where system calls cannot be traced."""
    try:
        trace("pass", [], tmp_path_factory.mktemp("traced") / "trace")
    except (FileNotFoundError, PermissionError) as error:
        (pytest.fail if os.environ.get("QUANTSTORE_CI") else pytest.skip)(str(error))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_power_cut_nothing_acknowledged_is_lost_and_nothing_is_half_there(quick_folder, capsys):
    cuts = run(quick_folder / "cuts", 1, STATES, SEED)
    with capsys.disabled():
        print(cuts.report(1, SEED))
    assert cuts.policies.total() == STATES
    assert cuts.unsynced > STATES // 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_build_that_forgets_to_sync_files_is_caught(quick_folder):
    """The same recorder, disk and checks, fed with a process that does not sync what it writes."""
    with Zygote(quick_folder) as zygote:
        checker = Checker(zygote, quick_folder)
        try:
            place = quick_folder / "life"
            place.mkdir()
            cuts = PowerCuts(place, 4, sessions=1, operations=4, before=UNSYNCED)
            with pytest.raises(AssertionError, match=r"damaged|does not match|checksum|missing"):
                cuts.try_states(30, zygote, checker, policies=[Policy("all", "none")])
        finally:
            checker.close()
