"""SIGKILL at random moments, again and again: nothing acknowledged is lost, nothing unacknowledged is half there."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import AFTER_CLEAN_UP, OUTSIDE, WORDS, StepWord, Zygote, wait_until
from ledger import Ledger

from quantstore.core.failpoints import STEPS

KILLS = int(os.environ.get("QUANTSTORE_KILLS", "300"))
SEED = int(os.environ.get("QUANTSTORE_KILL_SEED") or random.SystemRandom().randrange(2**31))
LANES = 2
KILLS_PER_STORE = 6
OPENING_SHARE = 0.05
"""How many of the kills fall into the opening of the store."""
WANTED_SHARE = 0.8
"""How many of the kills must fall between the registration of an attempt and its last clean-up."""


class Lane:
    """One store after another, a child that works on it, and a hand that kills it."""

    def __init__(self, folder: Path, number: int, kills: int) -> None:
        self._folder = folder / f"lane-{number}"
        self._folder.mkdir()
        self._number = number
        self._kills = kills
        self._chance = random.Random(f"{SEED}:{number}")
        self._word = StepWord(self._folder / "word")
        self.histogram: Counter[str] = Counter()

    def run(self) -> None:
        """Kill as often as asked."""
        with Zygote(self._folder) as zygote:
            for kill in range(self._kills):
                if kill % KILLS_PER_STORE == 0:
                    root = self._folder / f"store-{kill}"
                    root.mkdir()
                    zygote.run("jobs.make_store", root=str(root))
                    ledger = Ledger()
                self._cycle(zygote, root, ledger, kill)

    def _cycle(self, zygote: Zygote, root: Path, ledger: Ledger, kill: int) -> None:
        again = ledger.pending if ledger.landed is not None and self._chance.random() < 0.7 else None
        if again is None:
            ledger.pending = ledger.landed = None
        self._word.clear()
        journal = root / "journal"
        journal.touch()
        pid, result = zygote.start(
            "jobs.work",
            root=str(root),
            journal=str(journal),
            word=str(self._folder / "word"),
            seed=self._chance.randrange(2**31),
            first_write=ledger.writes,
            again=again,
        )
        self._strike(zygote, pid, result)
        code = zygote.wait(pid)
        where = f"kill {kill} of lane {self._number}, {root}, QUANTSTORE_KILL_SEED={SEED}, in {self._word.get()[1]}"
        assert code == -signal.SIGKILL, f"{where}: the child ended by itself: {result.read_text()}"
        self.histogram[self._word.get()[1]] += 1
        ledger.read(journal)
        versions = self._chance.sample(ledger.versions, min(1, len(ledger.versions)))
        try:
            found = zygote.run(
                "checks.check_store",
                root=str(root),
                acceptable=ledger.acceptable(),
                versions=versions,
                thorough=kill % KILLS_PER_STORE == KILLS_PER_STORE - 1,
            )
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from None
        ledger.settle(found)

    def _strike(self, zygote: Zygote, pid: int, result: Path) -> None:
        """Kill at a random moment: while the store opens, after so many steps, or at a step of one kind."""
        chance, word = self._chance, self._word
        steps = chance.randint(1, 30)
        wanted = chance.choice((None, *STEPS))

        def is_time() -> bool:
            count, step = word.get()
            is_wanted = wanted in {None, step} or count > steps + 60
            return (count >= steps and is_wanted and step not in AFTER_CLEAN_UP) or result.exists()

        if chance.random() < OPENING_SHARE:
            time.sleep(chance.uniform(0, 0.1))
        else:
            assert wait_until(is_time, seconds=60), "the child does not get on"
            time.sleep(chance.choice((0.0, chance.uniform(0, 0.0005), chance.uniform(0, 0.003))))
        zygote.kill(pid)


def report(histogram: Counter[str], seconds: float) -> str:
    """Return the histogram as text."""
    total = sum(histogram.values())
    inside = total - sum(histogram[step] for step in AFTER_CLEAN_UP)
    lines = [f"\n{total} kills in {seconds:.0f} s, {inside / total:.0%} inside an operation; seed {SEED}"]
    lines += [f"  {step:22} {histogram[step]:4} {'#' * histogram[step]}" for step in WORDS]
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path, capsys):
    started = time.monotonic()
    lanes = [Lane(tmp_path, number, KILLS // LANES) for number in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(lane.run) for lane in lanes]:
            done.result()
    histogram = sum((lane.histogram for lane in lanes), Counter())
    with capsys.disabled():
        print(report(histogram, time.monotonic() - started))
    outside = sum(histogram[step] for step in AFTER_CLEAN_UP)
    assert outside <= (1 - WANTED_SHARE) * sum(histogram.values())
    assert histogram[OUTSIDE] < sum(histogram.values())
