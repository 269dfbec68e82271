"""A dose of random lives of a store beside its model: seeds that failed once, new ones, and Hypothesis' own.

`QUANTSTORE_MODEL_SECONDS` says how long new seeds are run; `campaign.py` runs any number of them.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import MEMORY, StoreMachine, dose
from model_children import Zygote
from model_life import run_sequence

STEPS = 50
SECONDS = float(os.environ.get("QUANTSTORE_MODEL_SECONDS", "18"))
FAILED_ONCE = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


def live(zygote: Zygote, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="quantstore-model-", dir=MEMORY) as folder:
        run_sequence(Path(folder), zygote, seed, STEPS)


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_what_failed_once_holds(zygote, seed):
    live(zygote, seed)


def test_a_store_says_what_its_model_says_whatever_happens(zygote):
    first = random.SystemRandom().randrange(2**31)
    end, number = time.monotonic() + SECONDS, 0
    print(f"seeds from {first} on; again: python tests/model/campaign.py --sequences N --seed {first}")
    while not number or time.monotonic() < end:
        live(zygote, first + number)
        number += 1
    print(f"{number} sequences of {STEPS} steps held")


def test_a_state_machine_finds_no_difference(zygote):
    StoreMachine.zygote = zygote
    quick = settings(dose(3, 15), suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(StoreMachine, settings=quick)
