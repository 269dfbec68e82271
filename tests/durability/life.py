"""A life of a store: everything that changes one, drawn from a seed and reported in a journal, until killed.

Beside the tables of `workload` there is `books`, kept by slot: an upsert replaces the rows of its slots, every third
write brings a column `note`, and the rows of every fourth make `amount` wider. `feed` is filled by a stream.
"""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from harness import OUTSIDE, StepWord
from ledger import SLOTS, applied, slots_of
from streaming import numbered
from workload import (
    DAY_NS,
    DAYS,
    FIRST_DAY_NS,
    TABLES,
    TIERS,
    Journal,
    Write,
    alter,
    expire,
    ids_of,
    mixed,
    open_store,
    perform,
    rows_of,
    shrink,
)

from quantstore.core import failpoints
from quantstore.errors import AccessDeniedError, NotFoundError
from quantstore.manager import HybridStorageManager

FEED = "feed"
WEIGHTS = {
    "append": 4,
    "stream": 2,
    "overwrite": 1,
    "replace": 2,
    "delete": 1,
    "upsert": 3,
    "transaction": 2,
    "feed": 1,
    "create": 1,
    "migrate": 5,
    "compact": 3,
    "sweep": 3,
    "expire": 2,
    "maintain": 1,
    "publish": 1,
    "pin": 1,
    "unpin": 1,
    "tag": 1,
    "untag": 1,
    "hold": 1,
    "rename": 1,
    "drop": 1,
    "restore": 1,
}
"""Every operation that changes a store, and how often it is drawn."""
KINDS = tuple(WEIGHTS)
_LEADS = (
    ("write.", ("append", "upsert", "transaction", "replace", "overwrite", "stream", "delete")),
    ("move.", ("migrate",)),
    ("compact.", ("compact", "maintain")),
    ("history.", ("rename", "drop", "restore")),
    ("expire.", ("expire",)),
    ("publish.", ("publish",)),
    ("pin.release", ("unpin",)),
    ("pin.", ("pin",)),
    ("sweep.", ("sweep",)),
)
"""Which operations pass the steps whose names begin so."""


def leading_to(step: str) -> tuple[str, ...]:
    """Return the operations that pass a step."""
    return next((kinds for start, kinds in _LEADS if step.startswith(start)), KINDS)


@dataclass(slots=True)
class Life:
    """A store, what it holds, and what is done with it.

    Attributes:
        store: The store.
        lines: The journal.
        chance: Decides everything.
        write: Number of the next write.
        state: What the store holds.
        versions: Versions and what each holds.
        fed: Rows that the stream's table holds.
        is_published: Whether operations may publish; every commit does then, which takes time.
    """

    store: HybridStorageManager
    lines: Journal
    chance: random.Random
    write: int
    state: dict[str, Any]
    versions: list[tuple[int, Any]] = field(default_factory=list)
    fed: int = 0
    is_published: bool = False

    def step(self, kind: str) -> None:
        """Do one operation of a kind, where the store is such that it can be done."""
        table = self.chance.choice(TABLES)
        if kind in {"append", "stream", "overwrite", "replace", "delete", "upsert", "transaction"}:
            self._write(kind, table)
        elif kind in {"sweep", "expire", "maintain", "feed", "create", "unpin", "tag", "untag"}:
            getattr(self, f"_{kind}")()
        elif table in self.store.tables():
            getattr(self, f"_{kind}")(table)

    def _write(self, kind: str, table: str) -> None:
        chance, number = self.chance, self.write
        rows = 0 if kind == "delete" else chance.randint(1, 250)
        first = max(0, number - chance.randint(1, 5))
        batches = chance.randint(2, 4) if kind == "stream" else 0
        table = "books" if kind == "upsert" else table
        mode = "append" if kind == "stream" else kind
        if kind == "upsert":
            rows = chance.randint(1, SLOTS // 2)
        one = Write(number, table, chance.choice(TIERS), rows, mode, batches, first)
        if one.where is not None and table not in self.store.tables():
            return
        self.write += 1
        self._settle(lambda: make(self.store, one, self.lines), applied(self.state, vars_of(one)))

    def _settle(self, change: Callable[[], Any], state: dict[str, Any]) -> None:
        before = self.store.metadata_catalog.snapshot().version
        change()
        self.state = state
        version = self.store.metadata_catalog.snapshot().version
        if version != before:
            self.versions.append((version, state))

    def _alter(self, outcome: dict[str, Any], change: Callable[[], Any]) -> bool:
        """Make a change that is no write; return whether it could be made."""
        try:
            self._settle(lambda: alter(self.store, outcome, change, self.lines), outcome)
        except (AccessDeniedError, NotFoundError):  # a hold, or a version that is gone
            self.lines.note(refused=True)
            return False
        return True

    def _rename(self, table: str) -> None:
        record, before = self.store.table(table), self.state
        self._alter({**before, table: []}, lambda: record.rename(f"{table}_{self.chance.randrange(10**9)}"))
        self._alter(before, lambda: record.rename(table))

    def _drop(self, table: str) -> None:
        before = self.state
        if self._alter({**before, table: []}, self.store.table(table).drop) and self.chance.random() < 0.8:
            self._alter(before, lambda: self.store.undrop(table))

    def _restore(self, table: str) -> None:
        known = [one for one in self.versions if one[1][table]]  # not while it had another name
        if known:
            version, state = self.chance.choice(known)
            self._alter({**self.state, table: state[table]}, lambda: self.store.table(table).restore(version))

    def _migrate(self, table: str) -> None:
        source, destination = self.chance.sample((*TIERS, "any"), 2)
        if destination == "any":
            source, destination = destination, source
        name = "books" if "books" in self.store.tables() and self.chance.random() < 0.2 else table
        condition = condition_of(self.chance) if name != "books" else {}
        self.store.migrate(name, source, destination, **condition)

    def _compact(self, table: str) -> None:
        self.store.compact(None if self.chance.random() < 0.3 else table)

    def _sweep(self) -> None:
        self.store.sweep(grace=0)

    def _expire(self) -> None:
        expire(self.store, self.lines)
        newest = self.store.metadata_catalog.snapshot().version
        self.versions = [one for one in self.versions if one[0] >= newest - 1]

    def _maintain(self) -> None:
        self.store.maintain(grace=0)

    def _publish(self, table: str) -> None:
        if self.is_published:
            self.store.publish(table)

    def _pin(self, table: str) -> None:
        symbols = self.chance.choice((None, "AAPL", ("AAPL", "ES")))
        self.store.pin(table, self.chance.choice(("hot", "warm")), symbols=symbols)

    def _unpin(self) -> None:
        self.store.refresh_pins()
        for pin in self.store.pins()[:2]:
            pin.release()

    def _tag(self) -> None:
        name = f"tag-{self.chance.randrange(10**9)}"
        self.lines.note(tag=name, begun=True)
        self.store.tag(name)
        self.lines.note(tag=name, begun=False)

    def _untag(self) -> None:
        for name in self.store.tags()["tag"].tolist()[:2]:
            self.lines.note(untag=name, begun=True)
            self.store.untag(name)
            self.lines.note(untag=name, begun=False)

    def _hold(self, table: str) -> None:
        for one in self.store.table(table).holds():
            one.release()
        with self.store.table(table).hold("a test"):
            self._sweep()

    def _create(self) -> None:
        name = f"made_{self.chance.randrange(10**9)}"
        self.lines.note(create=name, begun=True)
        self.store.create(name, rows_of(ids_of(0, 0)).schema, symbol="symbol")
        self.lines.note(create=name, begun=False)

    def _feed(self) -> None:
        with self.store.stream(FEED, max_rows=30, max_seconds=None) as stream:
            begun = self.fed
            for _ in range(self.chance.randint(1, 5)):
                count = self.chance.randint(1, 40)
                self.lines.note(feeding=self.fed + count)
                stream.append(numbered(self.fed, count))
                self.fed += count
                self.lines.note(fed=begun + stream.durable_rows)
        self.lines.note(fed=self.fed)


def vars_of(write: Write) -> dict[str, Any]:
    """Return the fields of a write that decide what it leads to."""
    return {name: getattr(write, name) for name in ("write", "table", "rows", "mode", "first")}


def books_of(write: int, slots: list[int], *, with_note: bool = True) -> pa.Table:
    """Return the rows of an upsert; all columns follow from its number and their slots."""
    slot = np.array(slots, np.int64)
    check = mixed(slot + write * 1_000)
    days = slot % 2
    columns = {
        "ts": pa.array(FIRST_DAY_NS + days * DAY_NS + slot * 10**9, pa.timestamp("ns", "UTC")),
        "slot": slot,
        "write": pa.array(np.full(len(slot), write)),
        "check": check,
        "amount": pa.array((check % np.uint64(1_000)).astype(np.int64), pa.int64() if write % 4 == 0 else pa.int32()),
        "asset_class": pa.array(np.array(["EQUITY", "FX"])[slot % 2]),
    }
    if with_note or write % 3 == 0:
        columns["note"] = pa.array([f"{write}:{one}" if write % 3 == 0 else None for one in slots], pa.string())
    return pa.table(columns)


def make(store: HybridStorageManager, write: Write, journal: Journal) -> None:
    """Make a write of any mode and report it before and after."""
    if write.mode not in {"upsert", "transaction"}:
        perform(store, write, journal)
        return
    journal.note(begin={"tier": write.tier, "batches": 0, **vars_of(write)})
    name = f"write-{write.write}"
    with_note = "books" in store.tables() and "note" in store.table("books").schema.names
    if write.mode == "upsert":
        rows = books_of(write.write, slots_of(write.write, write.rows), with_note=with_note)
        results = [store.write(rows, "books", write.tier, mode="upsert", key=("ts", "slot"), write_id=name)]
    else:
        with store.transaction(write_id=name) as together:
            for table in TABLES:
                together.write(rows_of(ids_of(write.write, write.rows)), table, write.tier)
            slots = slots_of(write.write, min(5, write.rows))
            rows = books_of(write.write, slots, with_note=with_note)
            together.write(rows, "books", write.tier, mode="upsert", key=("ts", "slot"))
        results = together.results
    version, replayed = max(one.version for one in results), all(one.replayed for one in results)
    assert replayed == any(one.replayed for one in results), results
    journal.note(done=write.write, version=version, replayed=replayed, is_change=True)


def condition_of(chance: random.Random) -> dict[str, Any]:
    """Draw what a migration is limited to; some limits cut segments in two."""
    kind = chance.choice(("all", "all", "before", "where"))
    if kind == "before":
        import pandas as pd

        return {"before": pd.Timestamp(FIRST_DAY_NS + chance.randrange(DAYS * DAY_NS), tz="UTC")}
    if kind == "where":
        return {"where": chance.choice(("symbol = 'AAPL'", "price > 8e9", "size IS NULL OR symbol = 'ES'"))}
    return {}


def kinds_drawn(chance: random.Random, first: str | None) -> Iterator[str]:
    """Yield kinds of operations without end."""
    if first is not None:
        yield "append"
        yield first
    while True:
        yield chance.choices(KINDS, WEIGHTS.values())[0]


def live(
    root: str,
    journal: str,
    word: str | None,
    seed: int,
    ledger: dict[str, Any],
    *,
    again: dict[str, Any] | None = None,
    landed: bool = False,
    first: str | None = None,
    die_at: tuple[str, int] | None = None,
    is_published: bool = False,
    limit: int | None = None,
) -> None:
    """Do one operation after another until killed, or `limit` of them.

    Args:
        root: The store.
        journal: File for the journal.
        word: File of the step word, or None.
        seed: Decides everything that follows.
        ledger: What the store holds: `writes`, `state`, `versions`, `fed`.
        again: A write whose fate an earlier child never learned; made again first, under the same write id.
        landed: Whether it is there already.
        first: Kind of the operation to begin with.
        die_at: Step at which to die by one's own hand, the so-manieth time it is reached.
        is_published: Whether tables are published.
        limit: How many operations to do.
    """
    warnings.simplefilter("error")
    shrink(5_000)
    step_word = StepWord(Path(word)) if word is not None else None
    chance = random.Random(seed)
    failpoints.set_hook(_hook(step_word, die_at))
    lines = Journal(journal)
    with open_store(root) as store:
        state = ledger["state"]
        if again is not None:
            make(store, Write(**again), lines)
            state = state if landed else applied(state, again)
        versions = [tuple(one) for one in ledger["versions"]]
        life = Life(store, lines, chance, ledger["writes"], state, versions, ledger["fed"], is_published)
        for number, kind in enumerate(kinds_drawn(chance, first)):
            if number == limit:
                break
            if step_word is not None:
                step_word.put(OUTSIDE)
                step_word.begin(KINDS.index(kind) + 1)
            life.step(kind)
            if step_word is not None:
                step_word.begin(0)


def _hook(word: StepWord | None, die_at: tuple[str, int] | None) -> Callable[[str], None]:
    left = die_at[1] if die_at else 0

    def hook(step: str) -> None:
        nonlocal left
        if word is not None:
            word.put(step)
        if die_at is not None and step == die_at[0]:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def begin_life(root: str) -> None:
    """Make a store with `marks` kept by the month and empty."""
    with suppress(FileExistsError):
        Path(root).mkdir()
    with open_store(root) as store:
        store.create("marks", rows_of(ids_of(0, 0)).schema, symbol="symbol", grain="month")
