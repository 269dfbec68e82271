"""The life of a store, step by step at random, beside the model that says what must come of it."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Self

import model_checks
from model_children import Second, SharedClock, Zygote, open_store
from model_draws import Draws
from model_operations import Answer, Operation, StreamIn, Transact, Verb, Write, answered, brief

from quantstore.core.failpoints import STEPS
from quantstore.errors import QuantStoreWarning
from quantstore.manager import HybridStorageManager
from quantstore.testing.model import ReferenceStore

START_NS = 1_800_000_000_000_000_000
LEASE_SECONDS = 600


class Life:
    """A store in a folder, its model, and the processes that work on it.

    Args:
        folder: An empty folder.
        zygote: Starts processes.
        chance: Draws everything that happens.
        publishes: Whether tables may be published, which takes much of the time.
        cache: What the store may keep of answers.
    """

    def __init__(
        self, folder: Path, zygote: Zygote, chance: Random, *, publishes: bool = False, cache: str = "off"
    ) -> None:
        self.root = folder / "store"
        self.root.mkdir()
        self.zygote, self.chance, self.cache = zygote, chance, cache
        self.clock = SharedClock(folder / "clock", START_NS)
        self.model = ReferenceStore(now_ns=START_NS)
        self.draws = Draws(self.model, chance, publishes=publishes)
        self.store: HybridStorageManager = open_store(self.root, cache=cache)
        self.second: Second | None = None
        self.readers: list[tuple[HybridStorageManager, int, int]] = []  # its version, and when its lease ends, or 0
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []
        self._was_killed = False

    def draw_from(self, chance: Random) -> None:
        """Draw from another source from now on."""
        self.chance = self.draws.chance = chance

    def step(self, kind: str | None = None) -> None:
        """Do something, of a kind or of any, and check what came of it."""
        self.clock.advance(1)
        self.model.now_ns = self.clock.now_ns()
        kind = self.draws.possible(kind) if kind else self.draws.kind()
        self.counts[kind] += 1
        if kind in {"jump", "reopen", "open_at", "close_at"}:
            self.log.append(kind)
            getattr(self, f"_{kind}")()
        else:
            self._do(self.draws.operation(kind))
        self.check()

    def _do(self, operation: Operation) -> None:
        who = self.chance.choices(("here", "second", "killed"), (80, 13, 7))[0]
        if who == "killed" and operation.steps:
            self._do_killed(operation)
            return
        self.log.append(f"{who}: {brief(operation)}")
        if who == "second":
            if self.second is None:
                self.second = Second(self.zygote, self.root, self.cache)
            self.counts["(by a second process)"] += 1
            self._settle(operation, self.second.run(operation))
        else:
            self._settle(operation, answered(operation.run, self.store))

    def _do_killed(self, operation: Operation) -> None:
        """Do an operation in a process that is killed amid it; what it did is all there, or nothing."""
        steps = [step for step in STEPS if step.startswith(operation.steps)]
        step, count = self.chance.choice(steps), self.chance.choice((1, 1, 2, 3))
        self.log.append(f"killed at {step}:{count}: {brief(operation)}")
        answer = self.zygote.run_killed(self.root, operation, step, count)
        if self.chance.random() < 0.5:
            self._reopen()
        if answer is not None:
            self.counts["(not killed)"] += 1
            self._settle(operation, answer)
            return
        self.counts["(killed)"] += 1
        self._was_killed = True
        self.counts[f"(killed at {step})"] += 1
        self._settle_killed(operation)
        if isinstance(operation, Write | Transact) and operation.write_id and self.chance.random() < 0.7:
            self.log.append("again")
            self._settle(operation, answered(operation.run, self.store))

    def _settle(self, operation: Operation, answer: Answer) -> None:
        """Tell the model what was done, and compare what both say."""
        if isinstance(operation, Verb) and operation.name in {"restore", "hold", "pin"}:
            expected = self._settle_by_answer(operation, answer)
        elif isinstance(operation, Verb) and operation.name in {"migrate", "compact", "publish", "unpublish"}:
            expected = self.draws.allowed(operation, answer)
        else:
            expected = answered(operation.apply, self.model)
        self._after(operation)
        assert answer.agrees(expected), f"{brief(operation)}\nsaid {answer}\nbut the model {expected}"
        if answer.error:
            self.counts[f"({answer.error})"] += 1
        self.draws.note(operation, answer)

    def _settle_by_answer(self, operation: Verb, answer: Answer) -> Answer:
        """Tell the model of what only the store can know: numbers, and whether a restore had anything to do."""
        name, *rest = operation.arguments
        model = self.model
        if operation.name == "restore":
            made = self.store.metadata_catalog.snapshot().version > model.version
            return answered(lambda: model.restore(name, rest[0], made=made or answer.error is not None))
        number, until = answer.facts or 0, rest[-1]
        end = None if until is None else model.now_ns + int(until * 10**9)
        change = model.hold if operation.name == "hold" else model.pin
        said = answered(change, number, name, end)
        return said if said.error else Answer(number)

    def _settle_killed(self, operation: Operation) -> None:
        """Find out whether what a killed process did took place, and tell the model."""
        made = self.store.metadata_catalog.snapshot().version - self.model.version
        assert 0 <= made <= operation.versions, f"{made} versions were made by {brief(operation)}"
        if isinstance(operation, StreamIn):
            operation.first(made).apply(self.model)
        elif made and isinstance(operation, Verb) and operation.name == "restore":
            self.model.restore(*operation.arguments)
        elif made:
            operation.apply(self.model)
        elif isinstance(operation, Write | Transact) and operation.write_id and self._is_idle(operation):
            # It may or may not be remembered that it changed nothing; from now on it is.
            assert answered(operation.run, self.store).error is None
            operation.apply(self.model)
        elif isinstance(operation, Verb) and operation.name in {"expire", "maintain"}:
            assert answered(operation.run, self.store).error is None
            operation.apply(self.model)
        standing = {pin.id: pin for pin in self.store.pins()}
        for number in set(self.model.pins) - set(standing):
            self.model.unpin(number)
        for number in set(standing) - set(self.model.pins):
            self.model.pin(number, standing[number].table, standing[number].until_ns)
        self._after(operation)
        self.draws.note(operation, Answer(None))

    def _is_idle(self, operation: Write | Transact) -> bool:
        trial = self.model.copy()
        return answered(operation.apply, trial).error is None and trial.version == self.model.version

    def _after(self, operation: Operation) -> None:
        """Let end in the model what upkeep ends."""
        if isinstance(operation, Verb) and operation.name == "maintain":
            over = [number for number, (_, until) in self.model.pins.items() if until and until <= self.model.now_ns]
            for number in over:
                self.model.unpin(number)

    def _jump(self) -> None:
        """Move the clock, forwards beyond every lease, or backwards."""
        seconds = self.chance.choice((3_600, 40 * 86_400, -3_600, -86_400))
        self.clock.advance(seconds)
        self.model.now_ns = self.clock.now_ns()
        self.store.metadata_catalog.garbage.reap_readers()
        for number, (reader, version, until) in enumerate(self.readers):
            if until and until < self.model.now_ns:  # as far as the store can tell that reader has gone
                self.model.readers[version] -= 1
                self.readers[number] = (reader, version, 0)

    def _reopen(self) -> None:
        while self.readers:
            self._close_at()
        self.store.close()
        self.store = open_store(self.root, cache=self.cache)

    def _open_at(self) -> None:
        version = self.chance.choice(self.model.kept_versions())
        until = self.clock.now_ns() + LEASE_SECONDS * 10**9
        self.readers.append((self.store.at(version), version, until))
        self.model.readers[version] += 1

    def _close_at(self) -> None:
        if self.readers:
            reader, version, until = self.readers.pop(self.chance.randrange(len(self.readers)))
            reader.close()
            self.model.readers[version] -= until > 0

    def check(self) -> None:
        """Check the newest version, and some of the rest."""
        chance, store, model = self.chance, self.store, self.model
        model_checks.same_newest(store, model)
        version = chance.choice(model.kept_versions())
        checks: list[tuple[float, str, Any]] = [
            (0.4, "an old version", lambda: model_checks.same_version(store, model, version)),
            (0.35, "filters", lambda: model_checks.same_filtered(store, model, chance)),
            (0.05, "counts", lambda: model_checks.same_count(store, model, chance)),
            (0.04, "tags", self._check_tags),
            (0.1, "expired", lambda: model_checks.expired_is_refused(store, model, chance)),
            (0.04, "instant", lambda: self._check_instant(version)),
            (0.04, "changes", lambda: model_checks.same_changes(store, model, chance)),
            (0.12, "readers", self._check_readers),
            (0.03, "audit", self._check_audit),
            (0.007, "placement", lambda: model_checks.placement_changes_nothing(store, model, self.root, chance)),
            (0.1 if self.draws.published else 0, "published", self._check_published),
        ]
        self.counts["(checked the newest version)"] += 1
        for share, name, check in checks:
            if chance.random() < share:
                self.counts[f"(checked {name})"] += 1
                check()

    def check_whole(self) -> None:
        """Check everything there is."""
        model_checks.whole(self.store, self.model)
        self.counts["(checked an old version)"] += len(self.model.kept_versions())
        if self.draws.published:
            self._check_published()
        self._check_readers()
        self._check_tags()

    def _check_published(self) -> None:
        if self._was_killed:  # the next upkeep catches up with what a killed process had no time to publish
            assert self.store.maintain()
            self._after(Verb("maintain"))
            self._was_killed = False
        model_checks.published_is_cold(self.store)

    def _check_tags(self) -> None:
        found = self.store.tags()
        assert dict(zip(found["tag"], found["version"], strict=True)) == self.model.tags
        for name, version in self.model.tags.items():
            model_checks.same_version(self.store, self.model, version, name)

    def _check_instant(self, version: int) -> None:
        import pandas as pd

        instant = self.model.at(version).time_ns
        assert self.model.version_at(instant) == version
        if version:
            model_checks.same_version(self.store, self.model, version, pd.Timestamp(instant, tz="UTC"))

    def _check_readers(self) -> None:
        for reader, version, until in self.readers:
            error = model_checks.outcome_of(lambda: model_checks.same_at(reader, self.model, version))  # noqa: B023
            allowed = {None} if until or self.model.is_kept(version) else {None, "NotFoundError"}
            assert error in allowed, f"the reader of version {version} got {error}"

    def _check_audit(self) -> None:
        report = self.store.audit()
        assert report.ok, report

    def close(self) -> None:
        while self.readers:
            self._close_at()
        if self.second is not None:
            self.second.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_sequence(folder: Path, zygote: Zygote, seed: int, steps: int) -> Counter[str]:
    """Live a life of so many steps, all of it by one seed; return what happened how often.

    Raises:
        AssertionError: Something is not as the model says; the last steps are told.
    """
    chance = Random(seed)
    options = {"publishes": chance.random() < 0.25, "cache": "16MB" if chance.random() < 0.3 else "off"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuantStoreWarning)
        with Life(folder, zygote, chance, **options) as life:
            try:
                for _ in range(steps):
                    life.step()
                life.check_whole()
            except BaseException as error:
                error.add_note(f"seed {seed}, step {sum(1 for one in life.log if one != 'again')} of {steps}:")
                error.add_note("\n".join(life.log[-60:]))
                raise
    return life.counts
