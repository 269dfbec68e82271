"""Whatever happened to a store, its catalog can be lost and made again from its journal, to the last row."""

from __future__ import annotations

import os
import random
import sqlite3
import warnings
from contextlib import closing

import pytest
from test_corrections_random import found, step
from test_everything_random import Life

import quantstore as qs
from quantstore.errors import QuantStoreWarning

SEEDS = range(int(os.environ.get("QUANTSTORE_REBUILD_SEEDS", "2")))
STEPS = 14


def lose(root):
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        (root / name).unlink(missing_ok=True)


def content(root):
    """Everything of a catalog that outlives processes."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names -= {"attempts", "readers", "segment_access"}
        return {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in names} | {
            "settings": sorted(connection.execute("SELECT * FROM settings WHERE name <> 'journal'"))
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_catalog_is_made_again_as_it_was(tmp_path, seed):
    """At random moments the catalog is lost; after each rebuild, all that is kept reads as before."""
    root, chance = tmp_path / "store", random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuantStoreWarning)
        store = qs.open(root)
        life = Life(store, seed)
        for number in range(STEPS):
            events = [life.compact] * 3 + [life.pin, life.release, life.maintain, life.restore, life.tag, life.expire]
            step(life.store, life.model, life.chance)
            chance.choice(events)()
            if chance.random() < 0.2:
                life.store.metadata_catalog.renew_journal(always=True)
            if chance.random() < 0.4 or number == STEPS - 1:
                life.store.close()
                before = content(root)
                for _ in range(2):
                    lose(root)
                    assert qs.rebuild(root)
                    assert content(root) == before, seed
                life.store = qs.open(root)
                life.pins = life.store.pins()
            life.check()
        for version in sorted(life.tags):
            assert found(life.store, version) == life.model.versions[version]
        assert life.store.audit().ok
        life.store.close()
