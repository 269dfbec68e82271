"""A world in a store, spread over three tiers, and the same world where placement means nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pytest
from placed_worlds import check_world, in_microseconds, plain_engine, plain_rows, spread, write_twin, write_world
from plain_answers import differs, digest
from random_statements import Statement
from random_worlds import World, make_world

import quantstore as qs
from quantstore.catalog.segments import EVERYTHING
from quantstore.manager import HybridStorageManager
from quantstore.query.plan import plan_scan

COUNTED = "placement cases"
"""Name under which a test reports how many cases it compared."""


class Reference(Protocol):
    """Answers where placement means nothing."""

    def __call__(self, statement: Statement) -> pa.Table:
        """Return the right answer."""
        ...


@dataclass
class AskedWorld:
    """A world whose store can be asked.

    Attributes:
        reference: Plain DuckDB over one Arrow table for each table, stamps in microseconds; for worlds with
            nanoseconds, of whose instants plain DuckDB knows nothing, a store with one segment in one tier.
        rows: All rows of each table in `(time, _seq)` order, hidden columns last.
        cases: Statements with a join whose answers were right.
        others: Statements without a join whose answers were right.
        pruned: Statements for which segments were left out.
        digests: Of each answer.
        segments: How many each table has.
    """

    world: World
    store: HybridStorageManager
    reference: Reference
    rows: dict[str, pa.Table]
    cases: int = 0
    others: int = 0
    pruned: int = 0
    digests: list[str] = field(default_factory=list)
    segments: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Count segments."""
        self._count_segments()

    def ask(self, statement: Statement, number: int) -> None:
        """Ask the store, as it is and with nothing pruned, and compare with the reference."""
        wanted = self.reference(statement)
        got = self.store.read(statement.sql, params=statement.params, to="arrow", max_bytes=None)
        difference = differs(got, wanted, ordered=statement.ordered)
        assert difference is None, self._told(statement, number, difference)
        if self._leaves_out():
            self.pruned += 1
            whole = self._unpruned(statement)
            difference = differs(got, whole, ordered=statement.ordered)
            assert difference is None, self._told(statement, number, f"with pruning: {difference}")
        self.digests.append(digest(got, ordered=statement.ordered))
        if "join" in statement.features:
            self.cases += 1
        else:
            self.others += 1

    def _leaves_out(self) -> bool:
        scans = self.store.last.plan.scans
        return any(len(scan.choices) < self.segments[scan.record.name] for scan in scans)

    def _count_segments(self) -> None:
        self.segments = {name: len(self.store.explain(name).scans[0].choices) for name in self.world.tables}

    def _unpruned(self, statement: Statement) -> pa.Table:
        """Return the answer with every segment read and no condition pushed down."""

        def plan_all(view, record, alias, _wanted, tiers, *, explain=False):
            return plan_scan(view, record, alias, EVERYTHING, tiers, explain=explain)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("quantstore.query.preparer.plan_scan", plan_all)
            text = f"{statement.sql} "  # a text that was not planned before
            whole = self.store.read(text, params=statement.params, to="arrow", max_bytes=None)
        for scan in self.store.last.plan.scans:
            assert len(scan.choices) == self.segments[scan.record.name]
        return whole

    def spread_again(self) -> None:
        """Move rows of every table about."""
        rng = random.Random(f"again {self.world.seed}")
        for table in self.world.tables.values():
            spread(self.store, table, self.world, rng)
        check_world(self.store, self.world)
        self._count_segments()

    def _told(self, statement: Statement, number: int, difference: str) -> str:
        return (
            f"statement {number} of world {self.world.seed} (asked again by QUANTSTORE_PLACEMENT_WORLD): "
            f"{difference}\n{statement.sql}\nparams={statement.params}\n{self.store.last.plan}"
        )


@contextmanager
def asked_world(seed: int, folder: Path) -> Iterator[AskedWorld]:
    """Open a store with the world of a seed in it, spread over three tiers."""
    world = make_world(seed)
    with qs.open(folder / "store") as store:
        write_world(store, world, random.Random(f"tiers {seed}"))
        check_world(store, world)
        rows = {name: plain_rows(store, table) for name, table in world.tables.items()}
        with _one_segment(world, folder) if world.has_digits else _one_table(rows) as reference:
            yield AskedWorld(world, store, reference, rows)


@contextmanager
def _one_table(rows: dict[str, pa.Table]) -> Iterator[Reference]:
    with plain_engine({name: in_microseconds(table) for name, table in rows.items()}) as engine:
        yield lambda statement: engine.sql(statement.plain, params=statement.params or None).to_arrow_table()


@contextmanager
def _one_segment(world: World, folder: Path) -> Iterator[Reference]:
    with qs.open(folder / "twin") as twin:
        write_twin(twin, world)
        assert {len(twin.table(name).placement()) for name in world.tables} == {1}
        yield lambda statement: twin.read(statement.sql, params=statement.params, to="arrow", max_bytes=None)
