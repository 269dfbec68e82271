"""Kill processes that work on stores, by the thousand, and check the whole store after each.

    python tests/durability/kill_campaign.py --kills 5000 --jobs 2 --seed 1

Half of the kills come at a named step, by turns and at its first, second or a later time; the others at random moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness import AFTER_CLEAN_UP, OUTSIDE, StepWord, Zygote, wait_until
from ledger import Ledger
from life import KINDS, leading_to

from quantstore.core.failpoints import STEPS

LANES = 2
KILLS_PER_STORE = 6
OPENING_SHARE = 0.04
"""How many of the kills fall into the opening of the store."""
PUBLISHED_SHARE = 0.25
"""How many of the stores publish their tables; every commit takes several times as long there."""
KEPT_VERSIONS = 12
"""How many of the versions that are kept are checked after each kill; all of them after the last of a store."""
REACHED = tuple(step for step in STEPS if not step.startswith(("repair.", "rebuild.")))
"""Steps of what a life does by itself; repairs have kills of their own, as they need something to repair."""
WANTED_SHARE = 0.8
"""How many of the kills must fall between the beginning of an operation's work and its last clean-up."""


@dataclass(slots=True)
class Tally:
    """What became of the kills.

    Attributes:
        steps: Kills by the step reached last.
        operations: Kills by the operation that was under way.
        landed: Of operations of unknown fate, how many had come into being (True) and how many had not.
        versions: Old versions checked.
        retries: Writes of unknown fate that were made again.
        seconds: Time spent working and checking.
    """

    steps: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    landed: Counter[bool] = field(default_factory=Counter)
    versions: int = 0
    retries: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add another."""
        for name in ("steps", "operations", "landed", "seconds"):
            getattr(self, name).update(getattr(other, name))
        self.versions += other.versions
        self.retries += other.retries

    @property
    def kills(self) -> int:
        """How many kills."""
        return self.steps.total()

    @property
    def share_inside(self) -> float:
        """Share of the kills with something begun and not finished."""
        return 1 - sum(self.steps[step] for step in AFTER_CLEAN_UP) / max(1, self.kills)

    def report(self, seconds: float, seed: int) -> str:
        """Return figures and histograms as text."""
        lines = [
            f"\n{self.kills} kills in {seconds:.0f} s, {self.share_inside:.0%} inside an operation; seed {seed}",
            f"0 rows lost, doubled or half visible; {self.versions} old versions checked",
            f"{self.landed.total()} operations of unknown fate, {self.landed[True]} in being, {self.retries} repeated",
        ]
        for counts, names in ((self.steps, (OUTSIDE, *REACHED)), (self.operations, ("opening", *KINDS))):
            scale = max(1, max(counts.values(), default=1) // 60)
            lines += [f"  {name:22} {counts[name]:5} {'#' * -(-counts[name] // scale)}" for name in names]
        return "\n".join(lines)


class Checker:
    """A process that has checked before and is quick at it; every store is opened anew."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        pipes = [folder / name for name in ("requests", "answers")]
        for pipe in pipes:
            os.mkfifo(pipe)
        self._pid, _ = zygote.start("life_checks.serve", requests=str(pipes[0]), answers=str(pipes[1]))
        self._requests = pipes[0].open("w", buffering=1)
        self._answers = pipes[1].open()

    def check(self, **arguments: Any) -> dict[str, Any]:
        """Check a store as `life_checks.check_life` does.

        Raises:
            AssertionError: Something does not hold.
        """
        print(json.dumps(arguments), file=self._requests)
        line = self._answers.readline()
        assert line, "the checker has died"
        answer = json.loads(line)
        assert "result" in answer, answer["error"]
        return dict(answer["result"])

    def close(self) -> None:
        """Let the process end."""
        self._requests.close()
        self._answers.close()


class Lane:
    """One store after another, a child that lives on it, and a hand that kills it."""

    def __init__(self, folder: Path, number: int, kills: int, seed: int) -> None:
        self._folder = folder / f"lane-{number}"
        self._folder.mkdir()
        self._kills = kills
        self._chance = random.Random(f"{seed}:{number}")
        self._word = StepWord(self._folder / "word")
        self._steps = list(REACHED)
        self._chance.shuffle(self._steps)
        self._where = f"seed {seed}, lane {number}"
        self._is_published = False
        self.tally = Tally()

    def run(self) -> Tally:
        """Kill as often as asked."""
        root, ledger, digests = self._folder, Ledger(), {}
        with Zygote(self._folder) as zygote, closing(Checker(zygote, self._folder)) as checker:
            for kill in range(self._kills):
                if kill % KILLS_PER_STORE == 0:
                    shutil.rmtree(root / "store", ignore_errors=True)
                    root = self._folder / f"store-{kill}"
                    root.mkdir()
                    ledger, digests = Ledger(), {}
                    ledger.state["books"] = []
                    self._is_published = self._chance.random() < PUBLISHED_SHARE
                    zygote.run("life.begin_life", root=str(root / "store"))
                where = f"{self._where}, kill {kill}, {root}"
                started = time.monotonic()
                self._kill(zygote, root, ledger, kill, where)
                killed = time.monotonic()
                is_last = kill % KILLS_PER_STORE == KILLS_PER_STORE - 1
                self._check(zygote, checker, root, ledger, digests, is_last=is_last, where=where)
                self.tally.seconds.update({"work": killed - started, "checks": time.monotonic() - killed})
        return self.tally

    def _kill(self, zygote: Zygote, root: Path, ledger: Ledger, kill: int, where: str) -> None:
        chance = self._chance
        again = None
        if ledger.landed is not None and "outcome" not in (ledger.pending or {}) and chance.random() < 0.7:
            again, self.tally.retries = ledger.pending, self.tally.retries + 1
        landed = bool(ledger.landed)
        if again is None:
            ledger.pending = ledger.landed = None
        self._word.clear()
        told = root / "told"
        told.touch()
        wanted = self._steps[kill // 2 % len(self._steps)] if kill % 2 else None
        if wanted is not None and wanted.startswith("publish."):
            self._is_published = True
        pid, result = zygote.start(
            "life.live",
            root=str(root / "store"),
            journal=str(told),
            word=str(self._folder / "word"),
            seed=chance.randrange(2**31),
            ledger={name: getattr(ledger, name) for name in ("writes", "state", "versions", "fed")},
            again=again,
            landed=landed,
            first=chance.choice(leading_to(wanted)) if wanted else None,
            die_at=(wanted, chance.choice((1, 1, 2, 3))) if wanted else None,
            is_published=self._is_published,
        )
        self._strike(zygote, pid, result, wanted)
        code = zygote.wait(pid)
        if code != -signal.SIGKILL:
            raise AssertionError(f"{where}: the child ended by itself: {json.loads(result.read_text())['error']}")
        self.tally.steps[self._word.get()[1]] += 1
        self.tally.operations[("opening", *KINDS)[self._word.operation()]] += 1
        ledger.read(told)

    def _strike(self, zygote: Zygote, pid: int, result: Path, wanted: str | None) -> None:
        """Kill at a random moment, while the store opens or after so many steps; one that dies by itself, if late."""
        chance, word = self._chance, self._word
        steps = chance.randint(1, 24) if wanted is None else 150

        def is_time() -> bool:
            count, step = word.get()
            return (count >= steps and step not in AFTER_CLEAN_UP) or result.exists() or is_over(pid)

        if wanted is None and chance.random() < OPENING_SHARE:
            time.sleep(chance.uniform(0, 0.05))
        else:
            pause = 0.0002 if wanted is None else 0.002
            assert wait_until(is_time, seconds=240, pause=pause), f"{self._where}: the child does not get on"
            time.sleep(chance.choice((0.0, chance.uniform(0, 0.0005), chance.uniform(0, 0.002))))
        zygote.kill(pid)

    def _check(
        self,
        zygote: Zygote,
        checker: Checker,
        root: Path,
        ledger: Ledger,
        digests: dict[str, str],
        *,
        is_last: bool,
        where: str,
    ) -> None:
        versions = ledger.versions
        if len(versions) > KEPT_VERSIONS and not is_last:
            versions = sorted(self._chance.sample(versions[:-1], KEPT_VERSIONS - 1)) + versions[-1:]
        try:
            check = partial(zygote.run, "life_checks.check_life") if is_last else checker.check
            found: dict[str, Any] = check(
                root=str(root / "store"),
                acceptable=ledger.acceptable(),
                versions=versions,
                digests=digests,
                fed=(ledger.fed, max(ledger.fed, ledger.feeding)),
                marks=ledger.marks,
                thorough=is_last,
            )
        except AssertionError as error:
            raise AssertionError(f"{where}, in {self._word.get()[1]}: {error}") from None
        if ledger.pending is not None and ledger.landed is None:
            self.tally.landed[found["state"] == 1] += 1
        ledger.settle(found)
        ledger.fed = ledger.feeding = found["fed"]
        ledger.marks = found["marks"]
        digests.update(found["digests"])
        self.tally.versions += len(versions)
        if is_last:
            shutil.rmtree(root)


def is_over(pid: int) -> bool:
    """Whether a child has died and waits to be fetched."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}


def run(folder: Path, kills: int, lanes: int, seed: int) -> Tally:
    """Kill so many times in so many lanes at once, and check after each.

    Raises:
        AssertionError: Something was lost, doubled or half there; names seed, lane, kill and step.
    """
    hands = [Lane(folder, number, kills // lanes, seed) for number in range(lanes)]
    total = Tally()
    with ThreadPoolExecutor(lanes) as pool:
        for done in [pool.submit(lane.run) for lane in hands]:
            total.add(done.result())
    return total


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5_000)
    parser.add_argument("--jobs", type=int, default=LANES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--folder", help="where the stores are; default a folder in memory where there is one")
    chosen = parser.parse_args()
    base = chosen.folder or ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    folder = Path(tempfile.mkdtemp(prefix="quantstore-kills-", dir=base))
    started = time.monotonic()
    print(f"seed {chosen.seed}, in {folder}", flush=True)
    tally = run(folder, chosen.kills, chosen.jobs, chosen.seed)
    print(tally.report(time.monotonic() - started, chosen.seed))
    print(f"seconds by what was done: { {name: round(value) for name, value in tally.seconds.items()} }")
    shutil.rmtree(folder)
    sys.exit(tally.share_inside < WANTED_SHARE)


if __name__ == "__main__":
    main()
