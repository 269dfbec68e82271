"""After every operation, three independent readers see exactly the cold rows of the version that is published."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from lake import cold_rows, iceberg_catalog, rows, seen_by_pyiceberg

from quantstore.errors import NotFoundError

OTHERS = ("duckdb", "daft")
TIERS = ("hot", "warm", "cold")
CONDITIONS = ("symbol = 'AAPL'", "id % 3 = 1", "price > 20", "asset_class = 'FX' AND ts < '2026-02-28T12:00Z'")


class Story:
    """A random sequence of operations on one table."""

    def __init__(self, store, seed):
        self.store, self.chance = store, random.Random(seed)
        self.name, self.next_id = "trades", 0

    def new_rows(self, most=60):
        count = self.chance.randint(1, most)
        self.next_id += count
        return rows(self.next_id - count, count)

    def step(self):
        kinds = ("write", "migrate", "replace", "upsert", "delete", "overwrite", "compact", "rename", "drop")
        kinds += ("restore", "sweep", "expire", "transaction", "maintain")
        kind = self.chance.choices(kinds, (6, 6, 1, 2, 2, 1, 3, 1, 1, 2, 2, 1, 1, 1))[0]
        getattr(self, kind)()
        return kind

    def write(self):
        self.store.write(self.new_rows(), self.name, self.chance.choice(TIERS))

    def migrate(self):
        source, destination = self.chance.sample(TIERS, 2)
        where = self.chance.choice((None, *CONDITIONS))
        self.store.migrate(self.name, self.chance.choice((source, "any")), destination, where=where)

    def replace(self):
        self.store.write(self.new_rows(20), self.name, self.chance.choice(TIERS), mode="replace")

    def upsert(self):
        first = self.chance.randrange(self.next_id)
        changed = rows(first, 10, price=rows(1000 + first, 10)["price"])
        self.next_id = max(self.next_id, first + 10)
        self.store.write(changed, self.name, self.chance.choice(TIERS), mode="upsert")

    def delete(self):
        self.store.delete(self.name, self.chance.choice(CONDITIONS))

    def overwrite(self):
        self.store.write(self.new_rows(), self.name, self.chance.choice(TIERS), mode="overwrite")

    def compact(self):
        self.store.compact(self.name)

    def rename(self):
        new = "ticks" if self.name == "trades" else "trades"
        self.store.table(self.name).rename(new)
        self.name = new

    def drop(self):
        self.store.table(self.name).drop()
        assert self.store.publications() == []
        self.store.undrop(self.name)

    def restore(self):
        versions = self.store.table(self.name).versions()["version"].tolist()
        with suppress(NotFoundError):  # it has expired
            self.store.table(self.name).restore(self.chance.choice(versions))

    def sweep(self):
        self.store.sweep(grace=0)

    def expire(self):
        self.store.expire(before=self.store.metadata_catalog.snapshot().version)

    def transaction(self):
        with self.store.transaction() as tx:
            tx.write(self.new_rows(), self.name, "cold")
            tx.write(self.new_rows(5), "beside", "cold")

    def maintain(self):
        assert self.store.maintain(grace=0)


@pytest.mark.parametrize("seed", range(3))
def test_three_readers_see_the_cold_rows_after_every_operation(store, engines, seed):
    story = Story(store, seed)
    store.write(story.new_rows(), "trades", "cold", key="id")
    store.publish("trades")
    shown = 0
    for _ in range(25):
        kind = story.step()
        (found,) = store.publications()
        assert found.lag == 0, (kind, found)
        expected = cold_rows(store, story.name)
        assert seen_by_pyiceberg(store, story.name) == expected, kind
        for engine in OTHERS:
            assert engines.read(engine, found.metadata) == expected, (kind, engine)
        with iceberg_catalog(store) as catalog:
            snapshot = catalog.load_table(("quantstore", story.name)).current_snapshot()
        version = int(snapshot.summary["quantstore.version"])
        assert shown <= version <= found.version <= store.metadata_catalog.snapshot().version
        shown = version


def test_the_folder_alone_will_do(store, engines):
    """DuckDB and pyiceberg find the newest metadata by the hint in it."""
    from pyiceberg.table import StaticTable

    store.write(rows(0, 50), "trades", "cold")
    (done,) = store.publish()
    store.write(rows(50, 50), "trades", "cold")
    assert engines.read("duckdb", done.location) == cold_rows(store, "trades")
    assert StaticTable.from_metadata(done.location).scan().to_arrow().num_rows == 100


@pytest.mark.parametrize("engine", OTHERS)
def test_strange_names_are_no_trouble(tmp_path, engines, engine):
    import quantstore as qs

    names = ("id", "A b.c", "per%cent", "asset_class")
    with qs.open(tmp_path / "a b#c?d%20'é") as store:
        table = rows(0, 60)
        table = table.rename_columns(["ts", "symbol", "id", "A b.c", "per%cent", "asset_class"])
        classes = table["asset_class"].to_pylist()
        odd = ["FX/SPOT?x=1 & 50%" if one == "FX" else "a=b c" for one in classes]
        table = table.set_column(5, "asset_class", [odd])
        store.write(table, "Tab/le 'ß' %41", "cold")
        (done,) = store.publish()
        expected = cold_rows(store, "Tab/le 'ß' %41", names)
        assert len(expected) == 60
        assert engines.read(engine, done.metadata, names) == expected
