"""What went wrong in peers, tried here: rows F2 to F25 of docs/reliability.md; others have tests where they belong."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from contextlib import closing, contextmanager

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.core import failpoints
from quantstore.errors import ConflictError, IntegrityError, InvalidInputError

START = pd.Timestamp("2026-01-05T10:00Z")
TIERS = ("hot", "warm", "cold")


def ticks(first=0, count=20, step=60.0):
    """Rows with ids of their own, several minutes of two symbols."""
    at = np.arange(first, first + count)
    return pd.DataFrame(
        {
            "ts": START + pd.to_timedelta(at * step, unit="s"),
            "symbol": np.where(at % 2, "A", "B"),
            "id": at,
            "price": 100.0 + at % 7,
        }
    )


def ids(store, **options):
    return sorted(store.read("SELECT id FROM t", to="arrow", **options)["id"].to_pylist())


def count(store, **options):
    return store.read("SELECT count(*) AS n FROM t", to="arrow", **options)["n"][0].as_py()


def check(store, wanted):
    """Rows by scan and by count are those, each with a number of its own, and the store is as recorded."""
    assert ids(store) == sorted(wanted), "rows are lost, doubled or back again"
    assert count(store) == len(wanted)
    seqs = store.read("SELECT _seq FROM t")["_seq"]
    assert seqs.is_unique, "two rows have one number"
    assert store.audit().ok, repr(store.audit())


def bytes_of(place):
    """Digests of all files of rows of a store."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for tier in TIERS
        for path in (place / tier).rglob("*")
        if path.is_file()
    }


@contextmanager
def at_step(step, action):
    """Do something once, in the middle of the block, when it comes to a step."""
    done = []

    def hook(reached):
        if reached == step and not done:
            done.append(step)
            action()

    failpoints.set_hook(hook)
    try:
        yield
    finally:
        failpoints.set_hook(None)
    assert done, f"{step} was not reached"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


def test_f2_what_is_refused_has_changed_no_byte(place):
    """Each kind of refusal, by the rows and by the versions, comes before anything is touched."""
    with qs.open(place) as store:
        store.write(ticks(), "t", "warm")
        store.write(ticks(20), "t", "cold")
        before = bytes_of(place)
        with pytest.raises(ConflictError):
            store.write(ticks(50), "t", expected_version=1)
        with pytest.raises(InvalidInputError):
            store.write(ticks(0, 4), "t", mode="replace", where="id < 2")
        with pytest.raises(InvalidInputError):
            store.write(ticks(50).drop(columns="price"), "t")
        with pytest.raises(InvalidInputError):
            store.delete("t", "id <")
        assert bytes_of(place) == before
        check(store, range(40))


def test_f2_a_partition_that_was_bad_before_does_not_take_the_others_along(place):
    """Reads of it fail by its name, never silently; other partitions are read, written, moved and corrected."""
    with qs.open(place) as store:
        store.write(ticks(), "t")
        store.write(ticks(5000, 20), "t")
        bad = place / "hot" / store.table("t").placement().sort_values("min_ts")["location"].iloc[-1]
    bad.chmod(0o600)
    bad.write_bytes(b"not what was written")
    with qs.open(place) as store:
        with pytest.raises(IntegrityError, match="Table 't', partition trade_date=2026-01-08"):
            store.read("t")
        assert len(store.read("t", end=START + pd.Timedelta(days=1))) == 20
        store.write(ticks(100), "t")
        store.delete("t", "id < 5 AND ts < '2026-01-05T12:00Z'")
        store.migrate("t", "hot", "cold", before=START + pd.Timedelta(days=1))
        assert len(store.read("t", end=START + pd.Timedelta(days=1))) == 35


@pytest.mark.parametrize("step", ["compact.read", "compact.verified"])
def test_f3_compaction_beside_delete_and_insert_brings_nothing_back(place, step):
    with qs.open(place) as store:
        for first in range(0, 60, 20):
            store.write(ticks(first), "t")

        def delete_and_write_again():
            store.delete("t", "id BETWEEN 10 AND 29")
            store.write(ticks(20, 5), "t")

        with at_step(step, delete_and_write_again):
            store.compact("t")
        check(store, [*range(10), *range(20, 25), *range(30, 60)])
        store.compact("t")
        store.sweep(grace=0)
        check(store, [*range(10), *range(20, 25), *range(30, 60)])


@pytest.mark.parametrize("where", [None, "symbol = 'A'"], ids=["whole", "split"])
def test_f4_rows_corrected_in_hot_while_their_partition_moves_to_cold(place, where):
    with qs.open(place) as store:
        store.write(ticks(), "t")
        with at_step("move.verified", lambda: store.delete("t", "id < 10")):
            store.migrate("t", "hot", "cold", where=where)
        check(store, range(10, 20))
        with at_step("write.copied", lambda: store.migrate("t", "any", "warm", where=where and "id < 18")):
            store.delete("t", "id >= 15")
        check(store, range(10, 15))
        assert count(store, as_of=1) == 20


@pytest.mark.parametrize("where", [None, "symbol = 'A'"], ids=["whole", "split"])
def test_f4_an_overwrite_while_the_old_rows_move_leaves_none_of_them(place, where):
    with qs.open(place) as store:
        store.write(ticks(), "t")
        with at_step("move.verified", lambda: store.write(ticks(50, 3), "t", mode="overwrite")):
            store.migrate("t", "hot", "cold", where=where)
        check(store, range(50, 53))
        assert count(store, as_of=1) == 20


def test_f5_the_check_sees_what_was_committed_after_the_write_began(place):
    with qs.open(place) as store, qs.open(place) as other:
        store.write(ticks(), "t")
        with (
            pytest.raises(ConflictError, match="is at version 2, not 1"),
            at_step("write.copied", lambda: other.write(ticks(20), "t")),
        ):
            store.write(ticks(40), "t", expected_version=1)
        check(store, range(40))


def test_f7_of_two_overwrites_exactly_one_survives_whichever_began_first(place):
    with qs.open(place) as store, qs.open(place) as other:
        store.write(ticks(), "t")
        with at_step("write.copied", lambda: other.write(ticks(50, 4), "t", mode="overwrite")):
            store.write(ticks(90, 3), "t", mode="overwrite")
        check(store, range(90, 93))
        assert (ids(store, as_of=1), ids(store, as_of=2)) == ([*range(20)], [*range(50, 54)])


def test_f8_a_transaction_sent_twice_is_there_once(place):
    with qs.open(place) as store:
        for _ in range(2):
            store.write(ticks(), "t", write_id="nightly", on_repeat="append")
        with store.transaction(write_id="both") as tx:
            tx.write(ticks(20), "t", on_repeat="append")
        with store.transaction(write_id="both") as tx:
            tx.write(ticks(20), "t", on_repeat="append")
        check(store, range(40))


def test_f11_many_writers_at_once_lose_and_double_nothing(place):
    """Each with a handle of its own, so that only the catalog's lock is between them."""
    failures = []

    def writes(number):
        try:
            with qs.open(place) as store:
                for one in range(4):
                    store.write(ticks(100 * number + 10 * one, 10), "t")
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    with qs.open(place) as store:
        store.write(ticks(900, 10), "t")
        threads = [threading.Thread(target=writes, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        check(store, [*range(900, 910), *(100 * number + one for number in range(4) for one in range(40))])


class DiedError(BaseException):
    """Stands for the end of a process: nothing is cleaned up after it."""


def dies(place, step, action, monkeypatch):
    """Do something with a store and be gone at a step; return whether it got there."""

    def hook(reached):
        if reached == step:
            raise DiedError

    store = qs.open(place)
    with monkeypatch.context() as dead:
        dead.setattr("quantstore.tiering.mover.Mover._give_up", lambda *_: None)
        dead.setattr("quantstore.write.staging.Staging.give_up", lambda *_: None)
        dead.setattr("quantstore.maintenance.merger.Files.give_up", lambda *_: None)
        failpoints.set_hook(hook)
        try:
            action(store)
        except DiedError:
            return True
        finally:
            failpoints.set_hook(None)
            store.close()
    return False


def end_leases(place):
    with closing(sqlite3.connect(place / "catalog.sqlite")) as database, database:
        database.execute("UPDATE attempts SET lease_until_ns = 0 WHERE state = 'open'")


@pytest.mark.parametrize("step", ["move.copied", "move.verified", "move.commit.filled"])
def test_f16_what_a_dead_mover_left_is_found_and_swept(place, step, monkeypatch):
    with qs.open(place) as store:
        store.write(ticks(), "t")
    assert dies(place, step, lambda store: store.migrate("t", "hot", "cold"), monkeypatch)
    assert list((place / "cold").rglob("*.parquet"))
    end_leases(place)
    with qs.open(place) as store:
        assert store.sweep(grace=0).attempts == 1
        assert not list((place / "cold").rglob("*.parquet")), "the sweep left what the dead mover had begun"
        check(store, range(20))
        store.migrate("t", "hot", "cold")
        check(store, range(20))


def test_f17_a_mover_whose_lease_ran_out_copies_once_more_and_commits_no_bytes_that_are_gone(place):
    with qs.open(place) as store:
        store.write(ticks(), "t")

        def sweeps():
            end_leases(place)
            with qs.open(place) as other:
                assert other.sweep(grace=0).attempts == 1

        with at_step("move.verified", sweeps):
            assert len(store.migrate("t", "hot", "cold")) == 1
        check(store, range(20))
        assert set(store.table("t").placement()["tier"]) == {"cold"}


def test_f19_a_feed_that_starts_again_from_the_beginning_adds_only_what_is_new(place):
    def feed(store, until):
        for number in range(until):
            store.write(ticks(10 * number, 10), "t", write_id=f"feed-{number}", on_repeat="append")

    with qs.open(place) as store:
        feed(store, 3)
    with qs.open(place) as store:
        feed(store, 5)
        check(store, range(50))


def late(count=40):
    """Rows of the same time in no order, with texts of any length, nulls and a new column."""
    frame = ticks(1000, count).sample(frac=1, random_state=4, ignore_index=True)
    frame["ts"] = START + pd.to_timedelta(np.arange(count)[::-1] * 7, unit="s")
    frame["note"] = [None if one % 5 == 0 else "ß" * (one * 997 % 70_000) for one in range(count)]
    frame.loc[::3, "price"] = None
    return frame


@pytest.mark.parametrize("tier", TIERS)
def test_f20_late_rows_with_long_texts_nulls_and_new_columns_reach_every_tier(place, tier):
    with qs.open(place) as store:
        store.write(ticks(), "t", tier)
        came = late()
        store.write(came, "t", tier)
        check(store, [*range(20), *range(1000, 1040)])
        found = store.read("SELECT id, note, price FROM t WHERE id >= 1000 ORDER BY id", to="arrow").to_pydict()
        wanted = pa.Table.from_pandas(came.sort_values("id")[["id", "note", "price"]], preserve_index=False).to_pydict()
        assert found == wanted


@pytest.mark.parametrize("tier", TIERS)
def test_f21_late_rows_are_in_order_and_inside_what_the_catalog_says(place, tier):
    with qs.open(place) as store:
        store.write(ticks(0, 40), "t", tier)
        store.write(ticks(5, 10, 55.5).assign(id=range(100, 110)), "t", tier)
        store.write(ticks(5, 10, 55.5).assign(id=range(200, 210)), "t")
        store.delete("t", "id BETWEEN 20 AND 29")
        whole = store.read("t", to="arrow")
        keys = store.read("SELECT ts, _seq FROM t ORDER BY ts, _seq", to="arrow")
        assert whole["ts"].equals(keys["ts"]), "rows are not in the order of their time"
        same = whole.to_pandas().groupby("ts")["id"].apply(list)
        assert all(one == sorted(one) for one in same), "rows of one instant are not in the order they came in"
        for minute in range(0, 45, 3):  # each opens only segments that the catalog says have such rows
            begin, end = (START + pd.Timedelta(minutes=one) for one in (minute, minute + 3))
            wanted = whole.to_pandas().query("ts >= @begin and ts < @end")["id"].tolist()
            assert store.read("t", start=begin, end=end)["id"].tolist() == wanted, "a window misses rows"
        check(store, [*range(20), *range(30, 40), *range(100, 110), *range(200, 210)])


BARS = """
    SELECT symbol, time_bucket(INTERVAL 5 MINUTE, ts) AS bar, first(price ORDER BY ts, _seq) AS open,
           max(price) AS high, min(price) AS low, last(price ORDER BY ts, _seq) AS close, count(*) AS trades
    FROM t GROUP BY ALL ORDER BY ALL
"""


def bars_from_scratch(frame):
    frame = frame.sort_values("ts", kind="stable")
    grouped = frame.groupby(["symbol", frame["ts"].dt.floor("5min").rename("bar")])["price"]
    return grouped.agg(open="first", high="max", low="min", close="last", trades="count").reset_index()


def test_f24_bars_after_late_ticks_are_bars_from_scratch(tmp_path):
    """With the result cache on and the same question before and after every change, in whatever tier the rows are."""
    chance = np.random.default_rng(24)
    frames = []
    with qs.open(tmp_path / "store", cache="64MiB") as store:
        for turn in range(8):
            frame = ticks(100 * turn, 30, 40.0)
            frame["ts"] = START + pd.to_timedelta(chance.integers(0, 3600, 30), unit="s")
            frame["price"] = np.round(chance.normal(100, 5, 30), 2)
            frames.append(frame)
            store.write(frame, "t", TIERS[turn % 3])
            if turn == 4:
                gone = frames.pop(1)
                store.delete("t", f"id BETWEEN {gone['id'].min()} AND {gone['id'].max()}")
            if turn % 3 == 2:
                store.migrate("t", "any", TIERS[turn % 2])
            wanted = bars_from_scratch(pd.concat(frames, ignore_index=True))
            for _ in range(2):
                found = store.read(BARS)
                pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
        assert store.cache.stats().memory_hits > 0


CHANGES = {
    "write": lambda store: store.write(ticks(10, 5).assign(price=0.5), "t", mode="upsert", key=["id"]),
    "move": lambda store: store.migrate("t", "hot", "warm", where="symbol = 'A'"),
    "compact": lambda store: store.compact("t"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_f25_dead_at_any_step_the_store_has_the_rows_of_before_or_after(place, change, monkeypatch):
    """The same over and over in one store, so that what one death leaves meets the next; none of them reads half."""
    with qs.open(place) as store, qs.open(place.with_name("after")) as after:
        for one in (store, after):
            one.write(ticks(), "t", key=["id"])
            one.write(ticks(20), "t")
        CHANGES[change](after)
        states = [rows(store), rows(after)]
    moments = ("registered", "copied", "verified", "commit.begun", "commit.filled", "committed")
    for step in [f"{change}.{moment}" for moment in moments if f"{change}.{moment}" in failpoints.STEPS]:
        assert dies(place, step, CHANGES[change], monkeypatch)
        end_leases(place)
        with qs.open(place) as store:
            assert rows(store) == states[step.endswith("committed")], f"after a death at {step}"
            store.sweep(grace=0)
            assert store.audit().ok, store.audit()
            assert rows(store) == states[step.endswith("committed")], f"after a death at {step} and a sweep"


def rows(store):
    return store.read("SELECT id, price FROM t ORDER BY id", to="arrow").to_pydict()


def test_moves_are_verified_before_they_count(place, monkeypatch):
    """A copy that reads back otherwise is refused, and the source stays."""
    with qs.open(place) as store:
        store.write(ticks(), "t")
        write = store.cold_store.write

        def wrong(layout, parts):
            from dataclasses import replace

            return write(layout, [replace(part, table=part.table.slice(1)) for part in parts])

        monkeypatch.setattr(store.cold_store, "write", wrong)
        with pytest.raises(IntegrityError, match=r"reads back with .*Nothing was changed"):
            store.migrate("t", "hot", "cold")
        check(store, range(20))
