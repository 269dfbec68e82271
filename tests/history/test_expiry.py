"""Expiry gives up what nothing keeps, and only that."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

import quantstore as qs
from quantstore.catalog.catalog import Catalog
from quantstore.core.clock import ManualClock
from quantstore.errors import InvalidInputError, NotFoundError, QuantStoreWarning

DAY = 86_400


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    """A store whose clock moves only when told."""
    parts = (tmp_path / tier for tier in ("hot", "warm", "cold"))
    with qs.HybridStorageManager(*parts, Catalog(tmp_path / "catalog.sqlite", clock=clock)) as opened:
        yield opened


def ticks(first: int, rows: int = 20) -> pd.DataFrame:
    """Rows that no other call gives."""
    numbers = np.arange(first, first + rows)
    stamps = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(numbers * 3, "h")
    return pd.DataFrame({"ts": stamps, "symbol": np.where(numbers % 2, "A", "B"), "price": numbers * 1.5})


def size(store) -> int:
    """Bytes in all tiers."""
    return sum(one.size_bytes for tier in (store.hot_store, store.warm_store, store.cold_store) for one in tier.list())


def rows(store, table="t", **options):
    """Everything a read gives."""
    return store.read(table, columns=["ts", "symbol", "price", "_seq"], to="arrow", **options)


def test_by_age_the_version_current_at_the_limit_stays(store, clock):
    for number in range(4):
        store.write(ticks(number * 20), "t", mode="overwrite")
        clock.advance(10 * DAY)
    before = size(store)
    assert store.expire("35d").versions == 1  # version 0, before the first write
    found = store.expire(older_than="25d")
    assert (found.oldest_version, found.versions) == (2, 1)
    assert f"{found.size_bytes}" != "0"
    assert size(store) == before
    store.sweep(grace=0)
    assert before - size(store) == found.size_bytes
    assert store.audit().ok
    at = pd.Timestamp(clock.now_ns(), tz="UTC") - pd.Timedelta("25D")
    assert store.read("t", as_of=at)["price"].tolist() == ticks(20)["price"].tolist()
    with pytest.raises(NotFoundError, match="Version 1 has expired; the oldest kept one is 2"):
        store.read("t", as_of=at - pd.Timedelta("10D"))
    with pytest.raises(NotFoundError, match="Version 1 has expired"):
        store.read("SELECT * FROM t", as_of=1)
    with pytest.raises(NotFoundError, match="Version 1 has expired"):
        store.scan("t", as_of=1)
    with pytest.raises(NotFoundError, match="Version 1 has expired"):
        store.tag("late", 1)
    with pytest.raises(NotFoundError, match="Version 1 has expired"):
        store.table("t").restore(1)
    with pytest.raises(NotFoundError, match="Version 1 has expired"):
        store.table("t").changes(1)
    assert store.table("t").versions()["version"].tolist() == [4, 3, 2, 1]  # what happened stays known


def test_a_dry_run_says_the_same_and_does_nothing(store):
    for number in range(3):
        store.write(ticks(number * 20), "t", mode="overwrite")
    proposed = store.expire(before=3, dry_run=True)
    assert len(rows(store, as_of=1)) == 20
    assert store.expire(before=3) == proposed
    assert "3 versions given up" in repr(proposed)
    again = store.expire(before=3)
    assert (again.versions, again.segments, again.size_bytes) == (0, 0, 0)
    assert store.expire(before=1).oldest_version == 3  # never back


@pytest.mark.parametrize(
    "arguments", [{}, {"older_than": "1d", "before": 2}, {"older_than": "soon"}, {"before": "x y"}]
)
def test_what_means_no_limit_is_refused(store, arguments):
    store.write(ticks(0), "t")
    with pytest.raises((InvalidInputError, NotFoundError)):
        store.expire(**arguments)


def test_tags_keep_their_versions_bit_for_bit_until_they_are_taken_away(store):
    for number in range(5):
        store.write(ticks(number * 20), "t", mode="overwrite")
    wanted = rows(store, as_of=2)
    store.tag("paper", 2)
    found = store.expire(before=5)
    assert found.kept == (2,)
    store.sweep(grace=0)
    store.migrate("t", "any", "cold")
    store.sweep(grace=0)
    assert rows(store, as_of="paper").equals(wanted)
    assert rows(store, as_of=2).equals(wanted)
    for version in (1, 3, 4):
        with pytest.raises(NotFoundError, match="Tags keep older ones, such as 'paper'"):
            rows(store, as_of=version)
    store.untag("paper")
    with pytest.raises(NotFoundError, match="Version 2 has expired"):
        rows(store, as_of=2)
    assert store.expire(before=5).segments > 0
    store.sweep(grace=0)
    assert rows(store)["price"].to_pylist() == ticks(80)["price"].tolist()


def test_an_open_reader_gets_all_its_rows(store):
    """A stream and a relation begun before keep their version and their files."""
    store.write(ticks(0), "t", "cold")
    stream = store.read("t", as_of=1, to="reader")
    relation = store.read("SELECT price FROM t", as_of=1, to="relation")
    store.write(ticks(20), "t", mode="overwrite")
    store.expire(before=2)
    assert store.sweep(grace=0).copies == 0
    assert stream.read_all()["price"].to_pylist() == ticks(0)["price"].tolist()
    assert sorted(row[0] for row in relation.fetchall()) == ticks(0)["price"].tolist()
    del relation, stream
    store.expire(before=2)
    assert store.sweep(grace=0).copies > 0
    with pytest.raises(NotFoundError, match="has expired"):
        store.read("t", as_of=1)


def test_a_dropped_table_goes_with_the_last_version_that_has_it(store):
    store.write(ticks(0), "t", "warm")
    store.write(ticks(0), "other")
    version = store.table("t").drop()
    store.tag("with t", version - 1)
    store.write(ticks(20), "other")
    wanted = rows(store, as_of="with t")
    assert store.expire(before=4).segments == 0
    assert rows(store, as_of="with t").equals(wanted)
    store.undrop("t")
    assert rows(store).equals(wanted)
    store.table("t").drop()
    store.untag("with t")
    newest = store.metadata_catalog.snapshot().version
    assert store.expire(before=newest).segments > 0
    store.sweep(grace=0)
    with pytest.raises(NotFoundError, match="all its versions have expired"):
        store.undrop("t")
    assert not list(store.warm_store.list())
    assert len(rows(store, "other")) == 40
    assert store.audit().ok
    assert store.write(ticks(0), "t").rows == 20


def test_files_that_a_restore_uses_again_stay(store):
    """Also while the segments that first had them are given up, and go once nothing has them."""
    store.write(ticks(0), "t")
    store.write(ticks(20), "t", mode="overwrite")
    table = store.table("t").restore(1)
    found = store.expire(before=3)
    assert found.size_bytes > 0
    freed = store.sweep(grace=0)
    assert freed.freed_bytes == found.size_bytes
    assert rows(store)["price"].to_pylist() == ticks(0)["price"].tolist()
    assert store.audit().ok
    store.migrate("t", "hot", "warm")
    store.sweep(grace=0)
    assert not list(store.hot_store.list())
    assert len(rows(store)) == 20
    table.drop()
    store.expire(before=4)
    store.sweep(grace=0)
    assert size(store) == 0


def test_restore_after_columns_were_added_brings_back_the_old_ones(store):
    store.write(ticks(0), "t")
    wanted = rows(store)
    store.write(ticks(20).assign(size=1), "t")
    assert "size" in store.read("t").columns
    found = store.table("t").changes(1)
    assert found["size"].tolist() == [1] * 20
    table = store.table("t").restore(1)
    assert store.read("t").columns.tolist() == ["ts", "symbol", "price"]
    assert table.schema.names == ["ts", "symbol", "price"]
    assert rows(store).equals(wanted)
    assert table.changes(2)["change"].tolist() == ["removed"] * 20
    table.restore(2)
    assert store.read("t", to="arrow")["size"].to_pylist() == [None] * 20 + [1] * 20
    store.write(ticks(40).assign(size=2), "t")
    assert len(store.read("t", as_of=3)) == 20
    assert store.audit().ok


def test_maintain_does_it_all_and_says_what(store, clock):
    for number in range(6):
        store.write(ticks(number * 5, 5), "t")
        clock.advance(DAY)
    done = store.maintain("2d", grace=0)
    assert done
    assert next(iter(done.done)) == "expire"
    assert list(done.done)[-1] == "sweep"
    assert "expire: " in repr(done)
    again = store.maintain()
    assert "expire" not in again.done
    assert again.done["sweep"].copies == 0
    assert store.audit().ok
    with pytest.raises(InvalidInputError, match="grace"):
        store.maintain(grace="soon")


def test_a_job_that_fails_does_not_keep_the_others_from_running(store, monkeypatch):
    def fail():
        raise NotFoundError("gone")

    monkeypatch.setattr(store, "compact", fail)
    store.write(ticks(0), "t")
    with pytest.warns(QuantStoreWarning, match="compact failed"):
        done = store.maintain(grace=0)
    assert not done
    assert "compact failed: gone" in repr(done)
    assert "sweep" in done.done


@pytest.mark.parametrize("seed", range(2))
def test_last_months_result_comes_back_bit_for_bit(store, clock, seed):
    """After a hundred random moves, compactions, appends, corrections and expiries."""
    chance = random.Random(seed)
    for number in range(5):
        store.write(ticks(number * 37, 37), "t", chance.choice(["hot", "warm", "cold"]))
    query = (
        "SELECT symbol, time_bucket(INTERVAL '12 hours', ts) AS bar, first(price ORDER BY ts) AS open, "
        "max(price) AS high, sum(price) AS total FROM t GROUP BY ALL ORDER BY ALL"
    )
    wanted, bars = rows(store), store.read(query, to="arrow")
    store.tag("last month")
    clock.advance(30 * DAY)
    made = 0
    for _ in range(100):
        clock.advance(DAY / 10)
        kind = chance.choice(["append", "append", "move", "move", "compact", "expire", "sweep", "delete"])
        if kind == "append":
            made += 1
            store.write(ticks(1000 * made, chance.randint(1, 40)), "t", chance.choice(["hot", "warm", "cold"]))
        elif kind == "move":
            where = chance.choice([None, "symbol = 'A'", f"price < {chance.randrange(300)}"])
            store.migrate("t", "any", chance.choice(["hot", "warm", "cold"]), where=where)
        elif kind == "compact":
            store.compact("t")
        elif kind == "expire":
            store.expire(chance.choice(["0d", "1d", "3d"]))
        elif kind == "sweep":
            store.sweep(grace=chance.choice([0, "1d"]))
        else:
            store.delete("t", f"price = {1.5 * chance.randrange(200)}")
    store.expire("0d")
    store.sweep(grace=0)
    assert rows(store, as_of="last month").equals(wanted)
    with store.at("last month") as past:
        assert rows(past).equals(wanted)
        assert past.read(query, to="arrow").equals(bars)
    assert store.audit().ok
