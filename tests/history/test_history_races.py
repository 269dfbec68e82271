"""Restores, renames, expiries and sweeps beside writers, movers and readers."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pandas as pd

import quantstore as qs
from quantstore.errors import ConflictError, NotFoundError

SECONDS = 6


def ticks(first: int, rows: int = 20) -> pd.DataFrame:
    """Rows that no other call gives."""
    numbers = np.arange(first, first + rows)
    stamps = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(numbers % 50 * 3, "h")
    return pd.DataFrame({"ts": stamps, "symbol": np.where(numbers % 2, "A", "B"), "price": numbers * 1.0})


class Jobs:
    """Threads that each do one thing, each through a store of its own, until time is up."""

    def __init__(self, place):
        self.place = place
        self.errors: list[BaseException] = []
        self.counts: dict[str, int] = {}
        self.end = time.monotonic() + SECONDS

    def run(self, *jobs):
        threads = [threading.Thread(target=self._repeat, args=(job, number)) for number, job in enumerate(jobs)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        if self.errors:
            raise self.errors[0]
        return self.counts

    def _repeat(self, job, seed):
        chance = random.Random(seed)
        try:
            with qs.open(self.place) as store:
                while time.monotonic() < self.end and not self.errors:
                    try:
                        job(store, chance)
                        self.counts[job.__name__] = self.counts.get(job.__name__, 0) + 1
                    except ConflictError:
                        self.counts["conflicts"] = self.counts.get("conflicts", 0) + 1
        except BaseException as error:  # noqa: BLE001 - told by run
            error.add_note(f"in {job.__name__}")
            self.errors.append(error)


def test_a_tag_reads_the_same_and_no_row_is_lost_or_doubled_whatever_runs_beside(tmp_path):
    place = tmp_path / "store"
    with qs.open(place) as store:
        for number in range(3):
            store.write(ticks(number * 20), "t", ("hot", "warm", "cold")[number])
        store.tag("paper")
        columns = ["ts", "symbol", "price", "_seq"]
        wanted = store.read("t", columns=columns, to="arrow")

        def append(store, chance):
            store.write(ticks(chance.randrange(1000, 10**9)), "t", chance.choice(["hot", "cold"]), on_repeat="append")

        def correct(store, chance):
            store.delete("t", f"price = {chance.randrange(60)}")

        def restore(store, chance):
            store.table("t").restore("paper")
            time.sleep(0.05)

        def move(store, chance):
            store.migrate("t", "any", chance.choice(["hot", "warm", "cold"]))
            store.compact("t")

        def expire(store, chance):
            store.expire(before=store.metadata_catalog.snapshot().version)
            store.sweep(grace=0)

        def read(store, chance):
            assert store.read("t", columns=columns, as_of="paper", to="arrow").equals(wanted)
            assert len(store.read("t")) >= 0
            try:
                past = store.at(store.metadata_catalog.snapshot().version)
            except NotFoundError:  # expired between the two calls
                return
            with past:
                first = past.read("t", columns=columns, to="arrow")
                assert len(np.unique(first["_seq"].to_numpy())) == first.num_rows
                assert past.read("t", columns=columns, to="arrow").equals(first)

        counts = Jobs(place).run(append, correct, restore, move, expire, read)
        assert min(counts[name] for name in ("append", "correct", "restore", "expire", "read")) > 0
        store.table("t").restore("paper")
        assert store.read("t", columns=columns, to="arrow").equals(wanted)
        store.expire(before=store.metadata_catalog.snapshot().version)
        store.sweep(grace=0)
        assert store.audit().ok
        assert store.read("t", columns=columns, to="arrow").equals(wanted)


def test_every_row_lands_in_one_table_while_names_change(tmp_path):
    """Each acknowledged write is in exactly one table, none refused is in any."""
    place = tmp_path / "store"
    done: list[int] = []
    names = ["t"]
    with qs.open(place) as store:
        store.write(ticks(0, 1), "t")

        def append(store, chance):
            first = chance.randrange(10, 10**9)
            store.write(ticks(first, 1), "t", on_repeat="append")
            done.append(first)

        def rename(store, chance):
            try:
                names.append(f"old {chance.randrange(10**9)}")
                store.table("t").rename(names[-1])
            except NotFoundError:
                time.sleep(0.01)

        def drop(store, chance):
            try:
                store.table("t").drop()
                names.append(f"older {chance.randrange(10**9)}")
                store.undrop("t").rename(names[-1])
            except (NotFoundError, ValueError):  # dropped, renamed or made anew by the others
                time.sleep(0.01)

        jobs = Jobs(place)
        jobs.end = time.monotonic() + SECONDS / 2
        jobs.run(append, append, rename, drop)
        for name in names:  # of several dropped under one name, each waits for the one before
            while True:
                if name in store.tables():
                    store.table(name).rename(f"kept {time.time_ns()}")
                try:
                    store.undrop(name)
                except NotFoundError:
                    break
        found = [price for name in store.tables() for price in store.read(f'"{name}"')["price"]]
        assert sorted(found) == sorted([0.0, *map(float, done)])
