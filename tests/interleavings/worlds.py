"""A store for each execution, and what must hold after it."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import plain
from operations import IDEMPOTENT, OPERATIONS, Handle, Operation, fill, rows_of

import quantstore as qs
from quantstore.catalog.catalog import Catalog
from quantstore.core.clock import ManualClock
from quantstore.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    QuantStoreWarning,
    UnavailableError,
)
from quantstore.manager import HybridStorageManager
from quantstore.stores.arrow_ipc import ArrowStore
from quantstore.stores.parquet import ParquetStore
from quantstore.testing.interleavings import Act, Execution, Pause, WatchedStore, explore, published_steps, watched

TIERS = ("hot", "warm", "cold")
Outcome = tuple[str, Any]


class Worlds:
    """Makes stores to run operations on.

    Args:
        folder: Where; best in memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plain = folder / "plain"
        with qs.open(self._plain) as store:
            fill(store)
        self._root = folder / "run"

    def run(self, names: Sequence[str], *, limit: int | None = None) -> Iterator[tuple[Execution, list[Outcome]]]:
        """Run operations side by side in every order that matters, checking each; yield the outcomes."""
        operations = [OPERATIONS[name] for name in names]
        allowed = _serial(operations)
        with warnings.catch_warnings(), ExitStack() as after:
            warnings.simplefilter("ignore", QuantStoreWarning)
            open_now: list[HybridStorageManager] = []

            def make(pause: Pause) -> Sequence[Act]:
                _close(open_now)
                after.enter_context(published_steps(pause))
                return self._begin(names, pause, open_now)

            for execution in explore(make, limit=limit):
                _close(open_now)
                outcomes = [_outcome(*pair) for pair in zip(execution.results, execution.errors, strict=True)]
                try:
                    check(self._root, names, operations, outcomes, allowed)
                except BaseException as error:
                    shown = ", ".join(f"{name}: {one}" for name, one in zip(names, outcomes, strict=True))
                    error.add_note(f"{' x '.join(names)}\norder {list(execution.order)}\n{execution}\n{shown}")
                    raise
                yield execution, outcomes
            _close(open_now)

    def _begin(self, names: Sequence[str], pause: Pause, open_now: list[HybridStorageManager]) -> Sequence[Act]:
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._plain, self._root)
        clock = ManualClock(time.time_ns())
        acts: list[Act] = []
        for slot, name in enumerate(names):
            store = self._open(slot, pause, clock)
            open_now.append(store)
            handle = Handle(store, slot, clock, pause, store.table("t"))
            acts.append(_bound(OPERATIONS[name], watched_handle(handle, pause)))
        return acts

    def _open(self, slot: int, pause: Pause, clock: ManualClock) -> HybridStorageManager:
        root = self._root
        inner = (
            ArrowStore(root / "hot", "hot"),
            ParquetStore(root / "warm", "warm", "lz4"),
            ParquetStore(root / "cold", "cold", "zstd"),
        )
        parts = [WatchedStore(one, pause, slot) for one in inner]
        return HybridStorageManager(*parts, Catalog(root / "catalog.sqlite", clock=clock), cache="off")


def watched_handle(handle: Handle, pause: Pause) -> Handle:
    watched(handle.store, pause, handle.slot)
    return handle


def _bound(operation: Operation, handle: Handle) -> Callable[[], Any]:
    return lambda: operation.run(handle)


def _close(stores: list[HybridStorageManager]) -> None:
    while stores:
        stores.pop().close()


def _outcome(result: Any, error: BaseException | None) -> Outcome:
    if error is None:
        return "done", result
    if isinstance(error, ConflictError):
        return "conflict", str(error)
    if isinstance(error, NotFoundError):
        return "missing", str(error)
    if isinstance(error, InvalidInputError) and "does not fit" in str(error):
        return "refused", str(error)
    if isinstance(error, IntegrityError | UnavailableError):
        return "unreadable", str(error)
    raise error


def _serial(operations: Sequence[Operation]) -> dict[frozenset[int], list[tuple[dict[str, plain.Rows], list[Outcome]]]]:
    """Return, for each set of operations that took place, what every order of them gives."""
    found: dict[frozenset[int], list[tuple[dict[str, plain.Rows], list[Outcome]]]] = {}
    numbers = range(len(operations))
    for count in range(len(operations) + 1):
        for some in combinations(numbers, count):
            for order in permutations(some):
                state = plain.Plain()
                outcomes: list[Outcome] = [("conflict", None)] * len(operations)
                for number in order:
                    trial = state.copy()
                    try:
                        outcomes[number] = ("done", operations[number].plain(trial, number))
                        state = trial
                    except plain.Missing:
                        outcomes[number] = ("missing", None)
                    except plain.Refused:
                        outcomes[number] = ("refused", None)
                found.setdefault(frozenset(some), []).append((state.shown(), outcomes))
    return found


def check(
    root: Path, names: Sequence[str], operations: Sequence[Operation], outcomes: list[Outcome], allowed: Any
) -> None:
    """Check that a store is as some order of the operations leaves it, sound, tidy, and at rest."""
    with qs.open(root) as store:
        shown = rows_shown(store)
        _check_serial(shown, names, operations, outcomes, allowed)
        report = store.audit()
        assert report.ok, report
        for name in dict.fromkeys(name for name in names if name in IDEMPOTENT):
            if "t" in shown or name == "sweep":
                OPERATIONS[name].run(Handle(store, 0, ManualClock(), _pass_on, None))
        assert rows_shown(store) == shown, "a second run of an operation changed rows"
        for pin in store.pins():
            pin.release()
        store.sweep(grace=0)
        assert rows_shown(store) == shown, "a sweep changed rows"
        again = store.sweep(grace=0)
        assert (again.attempts, again.copies, again.orphans) == (0, 0, 0), again
        catalog = store.metadata_catalog
        assert "open" not in catalog.attempts.states().values()
        known = {f"{name}/{place}" for name, place in catalog.garbage.locations()}
        files = {
            file.relative_to(root).as_posix() for tier in TIERS for file in (root / tier).rglob("*") if file.is_file()
        }
        assert files == known, f"files {files ^ known}"


def _check_serial(
    shown: dict[str, plain.Rows],
    names: Sequence[str],
    operations: Sequence[Operation],
    outcomes: list[Outcome],
    allowed: Any,
) -> None:
    kinds = [kind for kind, _ in outcomes]
    if "conflict" in kinds:
        assert any(one.may_conflict for one in operations), f"nobody may tell of a conflict here: {outcomes}"
    if "unreadable" in kinds:
        reads = [number for number, kind in enumerate(kinds) if kind == "unreadable"]
        assert "late sweep" in names, outcomes
        assert all(operations[one].is_read for one in reads), outcomes
    took_place = frozenset(number for number, kind in enumerate(kinds) if kind not in {"conflict", "unreadable"})
    for state, serial in allowed[took_place]:
        same = all(
            kinds[number] == serial[number][0]
            and (not operations[number].is_read or kinds[number] != "done" or outcomes[number][1] == serial[number][1])
            for number in took_place
        )
        if same and state == shown:
            return
    raise AssertionError(f"no order of the operations gives {shown} with {outcomes}; they give {allowed[took_place]}")


def rows_shown(store: HybridStorageManager) -> dict[str, plain.Rows]:
    """Return the rows of every table."""
    return {name: rows_of(store.read(name, to="arrow")) for name in store.tables()}


def _pass_on(_step: Any) -> None:
    """Go on."""
