"""Cut the power at any moment of a recorded life, and check every store that may be left.

    python tests/durability/powerloss/power_cuts.py --lives 20 --states 200 --jobs 2 --seed 1

A life is recorded with strace. A moment after one of its calls is drawn (syncs, renames and the like six times as often
as writes to the catalog's log, which are most), and what becomes of all that was not synced; the store is laid down at
the same place and checked as after a kill.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from disk import POLICIES, Disk, Policy, lay_down
from harness import Zygote
from kill_campaign import Checker
from ledger import Ledger
from recorder import Player, trace

SCRIPT = """
import json, sys
import life
from ledger import Ledger
from pathlib import Path
store, told, seed, sessions, operations, is_published = sys.argv[1:]
life.begin_life(store)
ledger = Ledger()
ledger.state["books"] = []
Path(told).touch()
for session in range(int(sessions)):
    known = {name: getattr(ledger, name) for name in ("writes", "state", "versions", "fed")}
    life.live(store, told, None, int(seed) * 100 + session, known, limit=int(operations),
              is_published=is_published == "True")
    ledger.read(Path(told))
"""


@dataclass(slots=True)
class Cuts:
    """What was tried.

    Attributes:
        policies: States by the policy that made them.
        moments: States by the call after which the power was cut.
        events: Calls that changed the disk.
        unsynced: States in which something had not been synced.
        seconds: Time spent recording and checking.
    """

    policies: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    events: int = 0
    unsynced: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Cuts) -> None:
        """Add another."""
        for name in ("policies", "moments", "seconds"):
            getattr(self, name).update(getattr(other, name))
        self.events += other.events
        self.unsynced += other.unsynced

    def report(self, lives: int, seed: int) -> str:
        """Return figures and histograms as text."""
        total = self.policies.total()
        lines = [
            f"\n{total} states of {lives} lives ({self.events} calls that change the disk), seed {seed}",
            f"0 acknowledged rows lost, none doubled or half visible; in {self.unsynced} something was not synced",
        ]
        for counts in (self.policies, self.moments):
            lines += [f"  {name:28} {count:6}" for name, count in sorted(counts.items())]
        return "\n".join(lines)


class PowerCuts:
    """One recorded life, and what a power cut may leave of it.

    Args:
        folder: Where to work.
        seed: Decides the life and the cuts.
        sessions: How often the store is opened.
        operations: How much is done each time.
        before: Code that the recorded process runs first.
    """

    def __init__(self, folder: Path, seed: int, sessions: int = 2, operations: int = 8, before: str = "") -> None:
        self._folder, self._seed = folder, seed
        self._root, self._told = folder / "store", folder / "told"
        self._trace = folder / "trace"
        self._chance = random.Random(f"cuts {seed}")
        self._weights: list[int] = []
        self.cuts = Cuts()
        started = time.monotonic()
        is_published = str(self._chance.random() < 0.4)
        arguments = [str(self._root), str(self._told), str(seed), str(sessions), str(operations), is_published]
        trace(before + SCRIPT, arguments, self._trace)
        self._check_recording()
        self.cuts.seconds["recording"] += time.monotonic() - started

    def _player(self) -> Player:
        return Player(str(self._root), str(self._told))

    def _check_recording(self) -> None:
        """Check that the model, played to the end, equals the real folder: nothing escaped the recorder."""
        player = self._player()
        self._weights = [1 if call == "pwrite64" else 6 for call, _ in player.play(self._trace)]
        self.cuts.events = len(self._weights)
        assert not player.unknown, player.unknown[:5]
        assert bytes(player.lines) == self._told.read_bytes(), "the journal was not recorded whole"
        found: dict[str, bytes | None] = {}
        for path in self._root.rglob("*"):
            if not path.name.endswith("-shm"):
                found[path.relative_to(self._root).as_posix()] = None if path.is_dir() else path.read_bytes()
        seen = player.disk.now()
        assert seen.keys() == found.keys(), sorted(seen.keys() ^ found.keys())[:5]
        different = [path for path in seen if seen[path] != found[path]]
        assert not different, f"the recording differs from the files: {different[:5]}"

    def try_states(self, states: int, zygote: Zygote, checker: Checker, policies: Sequence[Policy] = POLICIES) -> Cuts:
        """Cut the power at so many moments, and check what is left.

        Raises:
            AssertionError: Names seed, moment and policy.
        """
        moments = Counter(self._chance.choices(range(self.cuts.events), self._weights, k=states))
        digests: dict[str, str] = {}
        player = self._player()
        for number, (call, path) in enumerate(player.play(self._trace)):
            for _ in range(moments[number]):
                policy = self._chance.choice(policies)
                self._try(player, policy, f"{number} ({call} {path})", digests, zygote, checker)
                self.cuts.policies[f"names {policy.names}, content {policy.content}"] += 1
                self.cuts.moments[call] += 1
        return self.cuts

    def _try(
        self,
        player: Player,
        policy: Policy,
        moment: str,
        digests: dict[str, str],
        zygote: Zygote,
        checker: Checker,
    ) -> None:
        started = time.monotonic()
        shutil.rmtree(self._root, ignore_errors=True)
        lay_down(player.disk.after_power_cut(policy, self._chance), self._root)
        self.cuts.unsynced += is_unsynced(player.disk)
        lines = self._folder / "lines"
        lines.write_bytes(bytes(player.lines))
        ledger = Ledger()
        ledger.state["books"] = []
        ledger.read(lines)
        try:
            self._check(ledger, digests, zygote, checker)
        except AssertionError as error:
            kept = self._folder / f"failed-{moment.split(' ', maxsplit=1)[0]}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self._root, kept)
            raise AssertionError(f"seed {self._seed}, after call {moment}, {policy}, kept in {kept}: {error}") from None
        self.cuts.seconds["checks"] += time.monotonic() - started

    def _check(self, ledger: Ledger, digests: dict[str, str], zygote: Zygote, checker: Checker) -> None:
        lines = self._folder / "lines"
        options: dict[str, Any] = {"root": str(self._root), "is_power_cut": True}
        found = checker.check(
            acceptable=ledger.acceptable(),
            versions=ledger.versions[-6:],
            digests=digests,
            fed=(ledger.fed, max(ledger.fed, ledger.feeding)),
            marks=ledger.marks,
            **options,
        )
        digests.update(found["digests"])
        if self._chance.random() < 0.1:
            ledger.settle(found)
            ledger.fed = ledger.feeding = found["fed"]
            ledger.marks, ledger.pending, ledger.landed = found["marks"], None, None
            known = {name: getattr(ledger, name) for name in ("writes", "state", "versions", "fed")}
            seed = self._chance.randrange(10**6)
            zygote.run(
                "life.live", root=options["root"], journal=str(lines), word=None, seed=seed, ledger=known, limit=4
            )
            ledger.read(lines)
            fed = (ledger.fed, max(ledger.fed, ledger.feeding))
            checker.check(
                acceptable=ledger.acceptable(),
                versions=ledger.versions[-6:],
                digests={},
                fed=fed,
                marks=ledger.marks,
                **options,
            )


def is_unsynced(disk: Disk) -> bool:
    """Whether a power cut now may take something."""
    return bool(disk.pending) or any(file.pending for file in disk.files.values())


def run(folder: Path, lives: int, states: int, seed: int, *, sessions: int = 2, operations: int = 8) -> Cuts:
    """Record so many lives, cut each so many times, and check what is left."""
    total = Cuts()
    folder.mkdir(parents=True)
    with Zygote(folder) as zygote:
        checker = Checker(zygote, folder)
        try:
            for life in range(lives):
                place = folder / f"life-{life}"
                place.mkdir()
                one = PowerCuts(place, seed * 1000 + life, sessions, operations)
                total.add(one.try_states(states, zygote, checker))
                shutil.rmtree(place)
        finally:
            checker.close()
    return total


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=20)
    parser.add_argument("--states", type=int, default=200, help="of each life")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    chosen = parser.parse_args()
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="quantstore-cuts-", dir=base))
    print(f"seed {chosen.seed}, in {folder}", flush=True)
    started = time.monotonic()
    total = Cuts()
    lives = max(1, chosen.lives // chosen.jobs)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        lanes = [
            pool.submit(run, folder / f"lane-{lane}", lives, chosen.states, chosen.seed * 10 + lane)
            for lane in range(chosen.jobs)
        ]
        for lane in lanes:
            total.add(lane.result())
    print(total.report(lives * chosen.jobs, chosen.seed))
    print(f"{time.monotonic() - started:.0f} s")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
