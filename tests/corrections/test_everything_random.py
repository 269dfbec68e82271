"""Everything that can happen to a table, at random, beside a plain list of rows per version."""

from __future__ import annotations

import random
import warnings

import pytest
from test_corrections_random import CONDITIONS, TIERS, Model, found, frame, step

import quantstore as qs
from quantstore.errors import QuantStoreWarning

STEPS = 30


class Life:
    """A table, its model, and what keeps old versions of it."""

    def __init__(self, store: qs.HybridStorageManager, seed: int) -> None:
        self.store, self.model, self.chance = store, Model(), random.Random(seed)
        self.oldest, self.tags, self.pins = 1, set(), []
        store.create("t", frame([]).schema, key=["ts", "symbol"])
        self.model.versions = {1: []}

    def kept(self) -> int:
        """Return a version that can still be read."""
        return self.chance.choice([one for one in self.model.versions if one >= self.oldest or one in self.tags])

    def compact(self) -> None:
        self.store.compact("t", tier=self.chance.choice([None, *TIERS]))

    def pin(self) -> None:
        symbols = self.chance.choice([None, ["A"], ["A", "B"]])
        self.pins.append(self.store.pin("t", tier=self.chance.choice(TIERS), symbols=symbols))

    def release(self) -> None:
        if self.pins:
            self.pins.pop().release()

    def maintain(self) -> None:
        assert self.store.maintain(grace=0)

    def restore(self) -> None:
        version = self.chance.choice([one for one in self.model.versions if one >= self.oldest])
        self.store.table("t").restore(version)
        self.model.commit(self.model.versions[version], self.newest())

    def tag(self) -> None:
        version = self.kept()
        self.tags.add(version)
        self.store.tag(f"tag-{version}", version)

    def expire(self) -> None:
        self.store.expire(older_than=0)
        self.oldest = self.newest()
        self.model.versions.setdefault(self.oldest, self.model.rows)

    def newest(self) -> int:
        return self.store.metadata_catalog.snapshot().version

    def check(self) -> None:
        """Check the newest version, by name and by conditions, and one old version."""
        assert found(self.store, None) == self.model.rows
        for sql, condition in CONDITIONS:
            counted = self.store.read(
                f"SELECT count(*) AS n, sum(size) AS s FROM t WHERE {sql}", to="arrow"
            ).to_pylist()
            rows = [row for row in self.model.rows if condition(row)]
            assert (counted[0]["n"], int(counted[0]["s"] or 0)) == (len(rows), sum(row[2] or 0 for row in rows)), sql
        version = self.kept()
        assert found(self.store, version) == self.model.versions[version], version


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_to_a_table_every_kept_version_reads_as_it_was(tmp_path, seed):
    with warnings.catch_warnings(), qs.open(tmp_path / "store") as store:
        warnings.simplefilter("ignore", QuantStoreWarning)
        life = Life(store, seed)
        events = [life.compact] * 4 + [life.pin, life.release, life.maintain, life.restore, life.tag, life.expire]
        for _ in range(STEPS):
            step(store, life.model, life.chance)
            if life.chance.random() < 0.75:
                life.chance.choice(events)()
            life.check()
        for version in sorted(life.tags):
            assert found(store, version) == life.model.versions[version]
        assert store.audit().ok
