"""Anything in any order, beside a plain model: what each version holds, what can still be read, what is a repeat."""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.errors import AccessDeniedError, NotFoundError

TIERS = ("hot", "warm", "cold")
OPERATIONS = 60
DAY = 86_400 * 10**9
START = pd.Timestamp("2026-01-05", tz="UTC").value
Row = tuple[int, str, float]
"""Time, symbol and price."""


@dataclass
class Plain:
    """A table as it should be: rows by a number that each gets when it is added."""

    number: int
    rows: dict[int, Row] = field(default_factory=dict)
    appends: list[tuple[tuple[Row, ...], frozenset[int]]] = field(default_factory=list)
    """Content of every write, and the numbers its rows got."""


class Machine:
    """A store and a model of all its versions, changed alike."""

    def __init__(self, folder: Any, seed: int) -> None:
        self.folder = folder
        self.store = qs.open(folder)
        self.chance = random.Random(seed)
        self.tables: dict[str, Plain] = {}
        self.dropped: dict[str, list[Plain]] = {}
        self.versions: dict[int, dict[str, tuple[int, dict[int, Row]]]] = {0: {}}
        self.seen: dict[tuple[int, str], pa.Table] = {}
        self.oldest = 0
        self.tags: dict[str, int] = {}
        self.past: list[tuple[int, Any]] = []
        self.holds: list[tuple[int, int, Any]] = []
        self.made = 0
        self.times: list[int] = []
        self.schemas: dict[int, set[int]] = {}

    @property
    def version(self) -> int:
        return max(self.versions)

    def step(self) -> None:
        kinds = {
            "append": 6, "again": 3, "replace": 2, "upsert": 3, "delete": 3, "overwrite": 1, "move": 5, "rename": 2,
            "restore": 4, "drop": 2, "undrop": 2, "tag": 2, "untag": 1, "at": 1, "close": 1, "hold": 1, "release": 1,
            "expire": 3, "sweep": 3, "compact": 3, "reopen": 1,
        }  # fmt: skip
        (kind,) = self.chance.choices(list(kinds), list(kinds.values()))
        getattr(self, kind)()

    def note(self) -> None:
        """Note what the newest version holds, if there is a new one."""
        version = self.store.metadata_catalog.snapshot().version
        now = {name: (table.number, dict(table.rows)) for name, table in self.tables.items()}
        if version == self.version:
            assert self.versions[version] == now
        else:
            assert version == self.version + 1
            self.versions[version] = now

    def some(self) -> str | None:
        return self.chance.choice(sorted(self.tables)) if self.tables else None

    def frame(self, rows: list[Row]) -> pa.Table:
        return pa.table(
            {
                "ts": pa.array([row[0] for row in rows], pa.timestamp("ns", "UTC")),
                "symbol": [row[1] for row in rows],
                "price": pa.array([row[2] for row in rows], pa.float64()),
            }
        )

    def fresh(self, count: int | None = None) -> list[Row]:
        rows = []
        for _ in range(count or self.chance.randint(1, 12)):
            self.made += 1
            at = START + self.chance.randrange(3) * DAY + self.made * 10**6
            rows.append((at, self.chance.choice("ABC"), float(self.made)))
        return rows

    def put(self, table: Plain, rows: list[Row]) -> None:
        """Add rows to the model; what a repeat is goes by all rows of one write."""
        numbers = []
        for row in rows:
            self.made += 1
            numbers.append(self.made)
            table.rows[self.made] = row
        table.appends.append((tuple(rows), frozenset(numbers)))

    def write(self, name: str, rows: list[Row], **options: Any) -> Any:
        with warnings.catch_warnings(action="ignore"):
            return self.store.write(self.frame(rows), name, self.chance.choice(TIERS), **options)

    def append(self) -> None:
        name = self.some()
        if name is None or (len(self.tables) < 3 and self.chance.random() < 0.2):
            name = f"t{self.chance.randrange(5)}"
        if name not in self.tables:
            self.made += 1
            self.tables[name] = Plain(self.made)
        rows = self.fresh()
        self.write(name, rows)
        self.put(self.tables[name], rows)

    def again(self) -> None:
        """Write what was written before: a repeat exactly if all its rows are there."""
        name = self.some()
        if name is None or not self.tables[name].appends:
            return
        table = self.tables[name]
        rows, _ = self.chance.choice(table.appends)
        is_there = any(content == rows and numbers <= table.rows.keys() for content, numbers in table.appends)
        assert self.write(name, list(rows)).replayed == is_there, (name, self.version)
        if not is_there:
            self.put(table, list(rows))

    def replace(self) -> None:
        name = self.some()
        if name is None:
            return
        symbol = self.chance.choice("ABC")
        rows = [(at, symbol, price) for at, _, price in self.fresh()]
        self.write(name, rows, mode="replace", where=f"symbol = '{symbol}'")
        self.take(name, lambda row: row[1] == symbol)
        self.put(self.tables[name], rows)

    def upsert(self) -> None:
        """Some rows as they are, some with another price, some new."""
        name = self.some()
        if name is None or not self.tables[name].rows:
            return
        table = self.tables[name]
        keys = {row[0] for row in table.rows.values()}
        chosen = self.chance.sample(sorted(keys), min(4, len(keys)))
        old = {row[0]: row for row in table.rows.values()}
        rows = [old[key] if self.chance.random() < 0.3 else (key, old[key][1], old[key][2] + 0.25) for key in chosen]
        rows += self.fresh(2)
        self.write(name, rows, mode="upsert", key=["ts"])
        counts = {key: sum(row[0] == key for row in table.rows.values()) for key in chosen}
        same = [row for row in rows if counts.get(row[0]) == 1 and old[row[0]] == row]
        kept = {row[0] for row in same}
        self.take(name, lambda row: row[0] in set(chosen) - kept)
        new = [row for row in rows if row[0] not in kept]
        before = len(table.appends)
        self.put(table, new)
        content, numbers = table.appends[before]
        table.appends[before] = (tuple(rows), numbers if content == tuple(rows) else frozenset([-1]))

    def delete(self) -> None:
        name = self.some()
        if name is None:
            return
        low = self.chance.uniform(0, self.made)
        high = low + self.made / 5
        self.store.delete(name, f"price BETWEEN {low} AND {high}")
        self.take(name, lambda row: low <= row[2] <= high)

    def overwrite(self) -> None:
        name = self.some()
        if name is not None:
            rows = self.fresh()
            self.write(name, rows, mode="overwrite")
            self.tables[name].rows.clear()
            self.put(self.tables[name], rows)

    def take(self, name: str, goes: Any) -> None:
        table = self.tables[name]
        table.rows = {number: row for number, row in table.rows.items() if not goes(row)}

    def move(self) -> None:
        name = self.some()
        if name is not None:
            where = self.chance.choice((None, None, "symbol = 'A'", f"price < {self.made / 2}"))
            self.store.migrate(name, "any", self.chance.choice(TIERS), where=where)

    def compact(self) -> None:
        self.store.compact(self.some())

    def rename(self) -> None:
        name, new = self.some(), f"t{self.chance.randrange(5)}"
        if name is not None and new not in self.tables:
            self.store.table(name).rename(new)
            self.tables[new] = self.tables.pop(name)

    def restore(self) -> None:
        name = self.some()
        if name is None:
            return
        table = self.tables[name]
        wanted = [
            version
            for version in self.versions
            if self.readable(version, table.number) and self.held_rows(version, table.number) is not None
        ]
        version = self.chance.choice(wanted)
        self.store.table(name).restore(version)
        table.rows = dict(self.held_rows(version, table.number))

    def held_rows(self, version: int, number: int) -> Any:
        """Rows of a table at a version where it had a name."""
        return next((rows for found, rows in self.versions[version].values() if found == number), None)

    def drop(self) -> None:
        name = self.some()
        if name is None:
            return
        if any(number == self.tables[name].number for number, _, _ in self.holds):
            with pytest.raises(AccessDeniedError, match="is held"):
                self.store.table(name).drop()
            return
        self.store.table(name).drop()
        self.dropped.setdefault(name, []).append(self.tables.pop(name))

    def undrop(self) -> None:
        names = [name for name, tables in self.dropped.items() if tables and name not in self.tables]
        if not names:
            return
        name = self.chance.choice(names)
        number = self.dropped[name][-1].number
        kept = [version for version in self.versions if self.readable(version, None)]
        if any(self.held_rows(version, number) is not None for version in kept):
            self.store.undrop(name)
            self.tables[name] = self.dropped[name].pop()
        else:
            with pytest.raises(NotFoundError, match="expired"):
                self.store.undrop(name)

    def tag(self) -> None:
        kept = [version for version in self.versions if self.readable(version, None)]
        self.made += 1
        name = f"tag {self.made}"
        self.tags[name] = self.chance.choice(kept)
        self.store.tag(name, self.tags[name])

    def untag(self) -> None:
        if self.tags:
            name = self.chance.choice(sorted(self.tags))
            assert self.store.untag(name).version == self.tags.pop(name)

    def at(self) -> None:
        version = self.chance.choice([version for version in self.versions if self.readable(version, None)])
        self.past.append((version, self.store.at(version)))

    def close(self) -> None:
        if self.past:
            self.past.pop(self.chance.randrange(len(self.past)))[1].close()

    def hold(self) -> None:
        name = self.some()
        if name is not None:
            number = self.tables[name].number
            oldest = min([self.oldest, *(low for held, low, _ in self.holds if held == number)])
            self.holds.append((number, oldest, self.store.table(name).hold("a reason")))

    def release(self) -> None:
        if self.holds:
            self.holds.pop(self.chance.randrange(len(self.holds)))[2].release()

    def expire(self) -> None:
        version = self.chance.randrange(self.version + 1)
        preview = self.store.expire(before=version, dry_run=True)
        assert self.store.expire(before=version) == preview
        self.oldest = max(self.oldest, version)
        again = self.store.expire(before=version)
        assert (again.versions, again.segments, again.oldest_version) == (0, 0, self.oldest)

    def sweep(self) -> None:
        self.store.sweep(grace=0)

    def reopen(self) -> None:
        for _, past in self.past:
            past.close()
        self.past.clear()
        self.store.close()
        self.store = qs.open(self.folder)

    def readable(self, version: int, number: int | None) -> bool:
        """Whether a version can be read, of one table or of all."""
        if version >= self.oldest or version in self.tags.values() or any(version == at for at, _ in self.past):
            return True
        return any(held == number and low <= version for held, low, _ in self.holds)

    def check(self, *, every: bool) -> None:
        assert self.store.tables() == sorted(self.tables)
        versions = self.versions if every else [self.version, *self.chance.sample(sorted(self.versions), 1)]
        for version in versions:
            for name, (number, rows) in self.versions[version].items():
                self.check_one(version, name, number, rows)
        for version, past in self.past:
            assert past.tables() == sorted(self.versions[version])
        if every:
            assert self.store.audit().ok

    def check_one(self, version: int, name: str, number: int, rows: dict[int, Row]) -> None:
        if not self.readable(version, number):
            with pytest.raises(NotFoundError, match=f"Version {version} has expired"):
                self.read(name, version)
            return
        got = self.read(name, version)
        found = sorted(
            zip(got["ts"].cast(pa.int64()).to_pylist(), *(got[n].to_pylist() for n in ("symbol", "price")), strict=True)
        )
        assert found == sorted(rows.values()), (version, name)
        assert len(np.unique(got["_seq"].to_numpy())) == len(rows)
        assert got.equals(self.seen.setdefault((version, name), got)), "not bit for bit what it was"

    def read(self, name: str, version: int) -> pa.Table:
        columns = ["ts", "symbol", "price", "_seq"]
        for at, past in self.past:
            if at == version and self.chance.random() < 0.5:
                return past.read(name, columns=columns, to="arrow")
        return self.store.read(name, columns=columns, as_of=version, to="arrow")

    def check_changes(self) -> None:
        """The rows between two versions are the set difference of the model's."""
        name = self.some()
        if name is None:
            return
        number = self.tables[name].number
        known = [v for v in self.versions if self.readable(v, number) and self.held_rows(v, number) is not None]
        first, last = self.chance.choice(known), self.chance.choice(known)
        before, after = self.held_rows(first, number), self.held_rows(last, number)
        found = self.store.table(name).changes(first, last, to="arrow")
        got = sorted(zip(found["price"].to_pylist(), found["change"].to_pylist(), strict=True))
        wanted = [(row[2], "added") for key, row in after.items() if key not in before]
        wanted += [(row[2], "removed") for key, row in before.items() if key not in after]
        assert got == sorted(wanted), (name, first, last)


@pytest.mark.parametrize("seed", range(4))
def test_any_history_is_what_a_plain_model_says(tmp_path, seed):
    machine = Machine(tmp_path / "store", seed)
    try:
        for _ in range(OPERATIONS):
            machine.step()
            machine.note()
            machine.check(every=False)
            machine.check_changes()
        machine.check(every=True)
        machine.reopen()
        machine.check(every=True)
    finally:
        machine.store.close()
