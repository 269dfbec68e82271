"""SIGKILL at random moments and at named steps, again and again: nothing is lost, doubled or half there.

A dose of what `kill_campaign.py` does by the thousand.
"""

from __future__ import annotations

import os
import random
import time

import pytest
from kill_campaign import LANES, REACHED, WANTED_SHARE, Tally, leading_to, run
from life import KINDS, WEIGHTS

from quantstore.core.failpoints import STEPS

KILLS = int(os.environ.get("QUANTSTORE_KILLS", "80"))
SEED = int(os.environ.get("QUANTSTORE_KILL_SEED") or random.SystemRandom().randrange(2**31))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_nothing_acknowledged_is_lost_and_nothing_is_half_there(quick_folder, capsys):
    started = time.monotonic()
    tally = run(quick_folder, KILLS, LANES, SEED)
    with capsys.disabled():
        print(tally.report(time.monotonic() - started, SEED))
    assert tally.kills == KILLS // LANES * LANES
    assert tally.share_inside >= WANTED_SHARE


def test_every_step_of_a_life_has_operations_that_lead_to_it():
    assert all(set(leading_to(step)) <= set(KINDS) for step in REACHED)
    assert set(WEIGHTS) == set(KINDS)
    assert {step.partition(".")[0] for step in set(STEPS) - set(REACHED)} <= {"repair", "rebuild"}


def test_kills_between_operations_do_not_count_as_kills_inside_of_one():
    tally = Tally()
    tally.steps.update({"write.commit.filled": 3, "(outside)": 1, "write.committed": 1})
    assert tally.share_inside == pytest.approx(0.6)
