"""A publisher that dies, or is not alone: what readers see is whole at any moment, and the next one makes it right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lake import cold_rows, iceberg_catalog, rows, seen_by_pyiceberg

import quantstore as qs
from quantstore.core.failpoints import STEPS

HERE = Path(__file__).parent
PUBLISHER = """
import sys, warnings
sys.path.insert(0, {here!r})
import quantstore as qs
from lake import rows
with qs.open({place!r}) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    {body}
    print("done", flush=True)
"""
STEPS_OF_PUBLISHING = [step for step in STEPS if step.startswith("publish.")]


def start(place, body, **environment):
    code = PUBLISHER.format(here=str(HERE), place=str(place), body=body)
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("go\n")
    child.stdin.flush()
    return child


def end(child):
    out, error = child.communicate(timeout=120)
    return child.returncode, out, error


def readers_see(store, acceptable):
    """A reader that comes now sees one of these, or no table yet."""
    with iceberg_catalog(store) as catalog:
        if not catalog.table_exists("quantstore.trades"):
            return
    assert seen_by_pyiceberg(store, "trades") in acceptable


@pytest.mark.parametrize("way", ["first", "later"])
@pytest.mark.parametrize("step", STEPS_OF_PUBLISHING)
def test_a_publisher_killed_at_any_step_is_healed(tmp_path, step, way):
    """By maintain; and a sweep in between takes nothing that the snapshot it left shows."""
    place = tmp_path / "store"
    with qs.open(place) as store:
        store.write(rows(0, 60), "trades", "cold")
        if way == "later":
            store.publish()
        before = cold_rows(store, "trades")
    body = "store.publish()" if way == "first" else "store.migrate('trades', 'cold', 'warm', where='id < 30')"
    code, _, error = end(start(place, body, QUANTSTORE_FAILPOINT=step))
    assert code == -signal.SIGKILL, error
    with qs.open(place) as store:
        after = cold_rows(store, "trades")
        readers_see(store, [before, after, []] if way == "first" else [before, after])
        assert store.maintain(grace=0)
        assert [one.lag for one in store.publications()] == [0]
        assert seen_by_pyiceberg(store, "trades") == after
        assert len(after) == (60 if way == "first" else 30)
        assert store.audit().ok
        assert store.sweep(grace=0).copies == 0


@pytest.mark.slow
def test_a_publisher_killed_at_any_moment_is_healed(tmp_path):
    place = tmp_path / "store"
    chance = random.Random(7)
    with qs.open(place) as store:
        store.write(rows(0, 30), "trades", "cold")
        store.publish()
    body = (
        "import itertools\n"
        "    for one in itertools.count():\n"
        "        store.write(rows({first} + 10 * one, 10), 'trades', 'cold')\n"
        "        store.migrate('trades', 'cold', 'warm', where=f'id % 13 = {{one % 13}}')"
    )
    for attempt in range(8):
        child = start(place, body.format(first=1_000 * (attempt + 1)))
        time.sleep(1.0 + 0.5 * chance.random())  # the first publication imports pyiceberg
        child.kill()
        end(child)
        with qs.open(place) as store:
            assert seen_by_pyiceberg(store, "trades")
            if attempt % 2:
                store.sweep(grace=0)
            assert store.maintain(grace=0)
            assert [one.lag for one in store.publications()] == [0]
            assert seen_by_pyiceberg(store, "trades") == cold_rows(store, "trades")
    with qs.open(place) as store:
        assert len(store.read("trades")) > 100
        assert store.audit().ok


@pytest.mark.slow
def test_publishers_at_once_never_go_back(tmp_path):
    """Three processes write into cold and publish; a reader beside them sees versions that only grow."""
    place = tmp_path / "store"
    with qs.open(place) as store:
        store.write(rows(0, 30), "trades", "cold")
        store.publish()
        bodies = [
            f"for one in range(8): store.write(rows({1000 * (number + 1)} + 10 * one, 10), 'trades', 'cold')"
            for number in range(3)
        ]
        children = [start(place, body) for body in bodies]
        seen = []
        while any(child.poll() is None for child in children):
            with iceberg_catalog(store) as catalog:
                table = catalog.load_table("quantstore.trades")
            seen.append(int(table.current_snapshot().summary["quantstore.version"]))
            assert table.scan(selected_fields=("id",)).to_arrow().num_rows == 30 + 10 * (seen[-1] - 1)
        for child in children:
            code, out, error = end(child)
            assert (code, out) == (0, "done\n"), error
            assert error == ""
        assert seen == sorted(seen)
        assert [one.lag for one in store.publications()] == [0]
        assert seen_by_pyiceberg(store, "trades") == cold_rows(store, "trades")
        assert len(cold_rows(store, "trades")) == 30 + 240


@pytest.mark.slow
def test_a_first_publication_by_several_at_once(tmp_path):
    place = tmp_path / "store"
    with qs.open(place) as store:
        store.write(rows(0, 60), "trades", "cold")
        children = [start(place, "print(store.publish()[0].lag)") for _ in range(3)]
        for child in children:
            code, out, error = end(child)
            assert (code, out) == (0, "0\ndone\n"), error
        assert seen_by_pyiceberg(store, "trades") == cold_rows(store, "trades")


def test_threads_of_one_process_publish_in_turn(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with qs.open(tmp_path / "store") as store:
        store.write(rows(0, 30), "trades", "cold")
        store.publish()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: store.write(rows(100 * one, 5), "trades", "cold"), range(1, 13)))
        assert store.publications()[0].lag == 0
        assert seen_by_pyiceberg(store, "trades") == cold_rows(store, "trades")


def test_a_forked_child_publishes_with_a_catalog_of_its_own(tmp_path):
    code = (
        "import os, sys, warnings\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "import quantstore as qs\n"
        "from lake import rows\n"
        "store = qs.open(sys.argv[1])\n"
        "store.write(rows(0, 30), 'trades', 'cold')\n"
        "store.publish()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    store.write(rows(100, 30), 'trades', 'cold')\n"
        "    os._exit(0 if store.publications()[0].lag == 0 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "store.write(rows(200, 30), 'trades', 'cold')\n"
        "assert store.publications()[0].lag == 0\n"
        "store.close()\n"
    )
    place = str(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with qs.open(place) as store:
        assert len(seen_by_pyiceberg(store, "trades")) == 90
