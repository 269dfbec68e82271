"""The faults themselves, and what the catalog makes of replies that are lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial

import pytest
from verbs import World, open_faulty, quiet, rows_of, ticks

import quantstore as qs
from quantstore.catalog.catalog import Catalog
from quantstore.errors import CapacityError, IntegrityError, QuantStoreError, UnavailableError
from quantstore.testing.faults import Fault, Script


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("faults"))


def test_a_commit_whose_reply_is_lost_is_reported_as_done(world):
    script = Script({("catalog.commit", 2): Fault("after")})
    root = world.copy()
    with open_faulty(root, script) as store, quiet():
        result = store.write(ticks(300, 4, day=9), "t")
        assert script.fired == [("catalog.commit", 2, "after")]
        assert (result.rows, result.replayed) == (4, False)
        assert store.table("t").versions()["version"].max() == result.version


def test_a_commit_that_failed_and_did_not_happen_is_an_error_and_leaves_no_file(world):
    script = Script({("catalog.commit", 2): Fault("before")})
    root = world.copy()
    files = sorted(root.rglob("*.arrow"))
    with open_faulty(root, script) as store:
        with pytest.raises(UnavailableError, match="could not be read or written"):
            store.write(ticks(300, 4, day=9), "t")
        assert rows_of(store) == world.before
    assert sorted(root.rglob("*.arrow")) == files


@pytest.mark.parametrize("happened", ["before", "after"])
def test_where_it_cannot_be_told_whether_a_commit_happened_a_retry_by_id_doubles_nothing(world, happened):
    """The commit's reply is lost and so is the answer to the question that follows."""
    calls = Script()
    with open_faulty(world.copy(), calls) as store:
        store.write(ticks(300, 4, day=9), "t", on_repeat="append", write_id="w")
        after = rows_of(store)
    begun = [name for name in calls.calls if name.startswith("catalog.")]
    second = [at for at, name in enumerate(begun) if name == "catalog.commit"][1]
    asked = begun[:second].count("catalog.read") + 1
    script = Script({("catalog.commit", 2): Fault(happened), ("catalog.read", asked): Fault("before")})
    with open_faulty(world.copy(), script) as store, quiet():
        with pytest.raises(UnavailableError, match="same write_id") as caught:
            store.write(ticks(300, 4, day=9), "t", on_repeat="append", write_id="w")
        assert caught.value.context["is_unknown"]
        assert rows_of(store) == (after if happened == "after" else world.before)
        again = store.write(ticks(300, 4, day=9), "t", on_repeat="append", write_id="w")
        assert again.replayed is (happened == "after")
        assert rows_of(store) == after
        assert store.audit().ok


def test_a_failed_commit_leaves_no_connection_that_does_not_sync(world):
    """An attempt is registered without waiting for the disk; what the connection does next must wait again."""
    script = Script({("catalog.commit", 1): Fault("before")})
    with open_faulty(world.copy(), script) as store:
        with pytest.raises(UnavailableError):
            store.write(ticks(300, 4, day=9), "t")
        engine = store.metadata_catalog._database._engine
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_write_is_no_failure_because_nobody_can_tell_what_is_published(world):
    calls = Script()
    with open_faulty(world.copy(), calls) as store:
        store.write(ticks(300, 4, day=9), "t")
    script = Script({("catalog.read", calls.calls.count("catalog.read")): Fault("before")})
    with open_faulty(world.copy(), script) as store, pytest.warns(UserWarning, match="which published tables lag"):
        assert store.write(ticks(300, 4, day=9), "t").rows == 4


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
@pytest.mark.parametrize("kind", ["short", "torn", "stale"])
def test_short_torn_and_stale_reads_are_errors_and_not_answers(tmp_path, tier, kind):
    with qs.open(tmp_path / "s") as store:
        store.write(ticks(0, 10), "t", tier, symbol="symbol")
        store.write(ticks(10, 10), "t", tier)
    for ask in (lambda store: store.read("t"), lambda store: store.read("SELECT sum(id) AS n FROM t")):
        calls = Script()
        with open_faulty(tmp_path / "s", calls) as store:
            ask(store)
        reads = [name for name in calls.calls if name in {f"{tier}.read", f"{tier}.verify"}]
        assert reads
        if kind == "short":
            reads = [name for name in reads if name.endswith("read")]
        for number, name in enumerate(reads, start=1):
            script = Script({(name, number): Fault(kind)})
            with open_faulty(tmp_path / "s", script) as store:
                with pytest.raises(IntegrityError, match=r"trade_date=2026-01-05"):
                    ask(store)
                assert script.fired
                assert len(store.read("t")) == 20


def test_a_hung_store_holds_up_nobody_else(world):
    root, script = world.copy(), Script({("hot.write", 1): Fault("hang", 60.0)})
    with open_faulty(root, script) as slow, qs.open(root) as other:
        failed = []

        def write():
            try:
                slow.write(ticks(300, 4, day=9), "t")
            except QuantStoreError as error:
                failed.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        while not script.fired:
            time.sleep(0.001)
        begun = time.monotonic()
        other.write(ticks(400, 4, day=9), "t")
        other.sweep(grace=0)
        assert time.monotonic() - begun < 10
        script.release()
        thread.join()
        assert [type(error) for error in failed] == [UnavailableError]
        assert len(other.read("t")) == len(world.before["t"]) + 4


def test_a_hung_commit_makes_others_wait_and_then_go_on(world):
    root, script = world.copy(), Script({("catalog.commit", 2): Fault("hang", 0.3)})
    with open_faulty(root, script) as slow, qs.open(root) as other:
        thread = threading.Thread(target=lambda: other.write(ticks(400, 4, day=9), "t"))
        thread.start()
        with pytest.raises(UnavailableError):
            slow.write(ticks(300, 4, day=9), "t")
        thread.join()
        slow.write(ticks(300, 4, day=9), "t")
        assert len(other.read("t")) == len(world.before["t"]) + 8


def test_a_full_store_is_told_and_the_next_try_works(world):
    script = Script({("cold.write", 1): Fault("full")})
    with open_faulty(world.copy(), script) as store:
        with pytest.raises(CapacityError, match="'cold' is full"):
            store.migrate("t", "hot", "cold")
        assert rows_of(store) == world.before
        assert store.migrate("t", "hot", "cold")
        assert rows_of(store) == world.before


@pytest.mark.parametrize("seed", range(3))
def test_a_life_full_of_faults_ends_with_the_rows_of_a_plain_model(tmp_path, seed):
    """Every operation is repeated until it succeeds; each write goes by a name of its own."""
    script = Script(rate=0.03, seed=seed)
    root = tmp_path / "s"
    root.mkdir()
    Catalog(root / "catalog.sqlite").close()
    model: list[int] = []
    errors: Counter[str] = Counter()
    with open_faulty(root, script) as store, quiet():

        def until_done(act):
            for _ in range(50):
                try:
                    return act()
                except (UnavailableError, CapacityError) as error:
                    errors[type(error).__name__] += 1
            raise AssertionError(f"seed {seed}: no success in 50 tries")

        for number in range(15):
            first = 10 * number
            rows = ticks(first, 4, day=5 + number % 3)
            options = {"symbol": "symbol", "on_repeat": "append", "write_id": f"w{number}"}
            until_done(partial(store.write, rows, "t", **options))
            model += range(first, first + 4)
            if number % 3 == 1:
                until_done(partial(store.delete, "t", f"id = {first}"))
                model.remove(first)
            if number % 4 == 1:
                until_done(lambda: store.migrate("t", "hot", "cold"))
            if number % 5 == 2:
                until_done(lambda: store.compact("t"))
                until_done(lambda: store.sweep(grace=0))
            assert sorted(until_done(lambda: store.read("t", to="arrow"))["id"].to_pylist()) == sorted(model)
        script.stop()
    with qs.open(root) as store:
        assert sorted(store.read("t", to="arrow")["id"].to_pylist()) == sorted(model)
        store.sweep(grace=0)
        assert store.audit().ok
    assert script.fired, "no fault came"


def test_chance_is_repeatable_by_its_seed():
    operations = ["hot.write", "cold.read", "catalog.commit", "warm.list"] * 50
    scripts = [Script(rate=0.2, seed=7) for _ in range(2)]
    found = [[script.next(one) for one in operations] for script in scripts]
    assert found[0] == found[1]
    assert 0 < len(scripts[0].fired) < 100
    assert Script(rate=1.0).seed != Script(rate=1.0).seed
