"""Processes in each other's way: one stalls, the other changes the store under it, and then the first goes on."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from checks import check_files, check_repeatable, check_rows, files_on_disk, open_attempts, placement
from harness import wait_until
from workload import DAY_NS, FIRST_DAY_NS, ids_of, open_store, rows_of

OLD = {"trades": [[0, 200], [1, 200]]}
ADD = {"write": {"write": 2, "table": "trades", "tier": "hot", "rows": 100, "mode": "append"}}
REPLACE = {"write": {"write": 2, "table": "trades", "tier": "hot", "rows": 100, "mode": "overwrite"}}
HALF = pd.Timestamp(FIRST_DAY_NS + DAY_NS // 2, tz="UTC")


class Stalled:
    """A process that stops at a step until told to go on."""

    def __init__(self, zygote, folder, action, step, name="stalled"):
        self._zygote = zygote
        self._go_on = folder / f"{name}-go-on"
        reached = folder / f"{name}-reached"
        self._job = zygote.start(
            "kernels.act",
            root=str(folder / "store"),
            action=action,
            step=step,
            reached=str(reached),
            go_on=str(self._go_on),
        )
        assert wait_until(lambda: reached.exists() or self._job[1].exists(), 30)

    def go_on(self):
        """Let it go on; return how it ended."""
        self._go_on.touch()
        assert self._zygote.wait(self._job[0]) == 0, self._job[1].read_text()
        return json.loads(self._job[1].read_text())["result"]


@pytest.fixture
def root(tmp_path):
    """A store with one table of two writes, all hot."""
    path = tmp_path / "store"
    with open_store(path) as store:
        for write, rows in OLD["trades"]:
            store.write(rows_of(ids_of(write, rows)), "trades", symbol="symbol")
    return path


def check(root, state, versions=()):
    """Check rows, audit, and after a sweep the files."""
    with open_store(root) as store:
        check_rows(store, [state])
        for version, old in versions:
            check_rows(store, [old], as_of=version)
        assert store.audit()
        store.sweep(grace=0)
        check_rows(store, [state])
        assert store.audit().orphans == 0
    check_files(root)
    assert open_attempts(root) == 0


def end_leases(root):
    """Let every lease run out."""
    with closing(sqlite3.connect(Path(root) / "catalog.sqlite")) as connection, connection:
        connection.execute("UPDATE attempts SET lease_until_ns = 0 WHERE state = 'open'")


@pytest.mark.parametrize("step", ["write.registered", "write.file.synced", "write.file.renamed", "write.copied"])
def test_a_stalled_writer_whose_attempt_was_swept_is_refused_and_leaves_nothing(step, zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, ADD, step)
    end_leases(root)
    with open_store(root) as store:
        assert store.sweep(grace=0).attempts == 1
    outcome = stalled.go_on()
    assert outcome["error"] == "ConflictError"
    assert "lease ran out" in outcome["message"]
    check(root, OLD)


@pytest.mark.parametrize("step", ["write.registered", "write.file.written", "write.file.renamed", "write.copied"])
def test_a_sweep_leaves_a_living_writer_alone(step, zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, ADD, step)
    with open_store(root) as store:
        swept = store.sweep(grace=0)
        assert (swept.attempts, swept.copies, swept.orphans) == (0, 0, 0)
        assert store.audit()
    assert stalled.go_on()["error"] is None
    check(root, {"trades": [*OLD["trades"], [2, 100]]})


def test_a_writer_that_stalls_inside_its_commit_cannot_be_swept(zygote, root, tmp_path):
    """It holds the catalog's lock, so whoever would end its attempt waits, and then finds it committed."""
    stalled = Stalled(zygote, tmp_path, ADD, "write.commit.begun")
    with ThreadPoolExecutor(1) as pool, open_store(root) as store:
        sweep = pool.submit(store.sweep, 0)
        time.sleep(0.2)
        assert not sweep.done()
        assert stalled.go_on()["error"] is None
        assert sweep.result(30).attempts == 0
    check(root, {"trades": [*OLD["trades"], [2, 100]]})


@pytest.mark.parametrize("step", ["move.registered", "move.read", "write.file.renamed", "move.verified"])
def test_a_stalled_mover_whose_attempt_was_swept_begins_anew(step, zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, {"migrate": ["trades", "hot", "cold"]}, step)
    end_leases(root)
    with open_store(root) as store:
        assert store.sweep(grace=0).attempts == 1
    outcome = stalled.go_on()
    assert outcome["error"] is None
    assert outcome["result"] == 8
    check(root, OLD)
    assert {row[1] for row in placement(root)} == {"cold"}


@pytest.mark.parametrize("step", ["move.registered", "move.read", "move.verified"])
def test_of_two_movers_of_the_same_rows_the_second_finds_nothing_left_to_do(step, zygote, root, tmp_path):
    """Even where what it was about to read has been moved and swept."""
    stalled = Stalled(zygote, tmp_path, {"migrate": ["trades", "hot", "warm"]}, step)
    with open_store(root) as store:
        assert len(store.migrate("trades", "hot", "cold")) == 8
        store.sweep(grace=0)
    assert stalled.go_on() == {"error": None, "result": 0}
    check(root, OLD)
    assert {row[1] for row in placement(root)} == {"cold"}


def test_a_mover_whose_segments_another_one_split_moves_what_is_left(zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, {"migrate": ["trades", "hot", "warm"]}, "move.verified")
    with open_store(root) as store:
        moved = sum(receipt.rows for receipt in store.migrate("trades", "hot", "cold", before=HALF))
    outcome = stalled.go_on()
    assert outcome["error"] is None
    check(root, OLD)
    rows = {tier: sum(row[4] for row in placement(root) if row[1] == tier) for tier in ("hot", "warm", "cold")}
    assert rows == {"hot": 0, "warm": 400 - moved, "cold": moved}


@pytest.mark.parametrize("step", ["compact.registered", "compact.read", "write.file.renamed", "compact.verified"])
def test_a_stalled_compaction_whose_attempt_was_swept_begins_anew(step, zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, {"compact": "trades"}, step)
    end_leases(root)
    with open_store(root) as store:
        assert store.sweep(grace=0).attempts == 1
    assert stalled.go_on() == {"error": None, "result": 8}
    check(root, OLD, versions=[(1, {"trades": OLD["trades"][:1]})])


@pytest.mark.parametrize("step", ["compact.registered", "compact.read", "compact.verified"])
def test_of_two_compactions_the_second_finds_nothing_left_to_do(step, zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, {"compact": "trades"}, step)
    with open_store(root) as store:
        assert store.compact("trades")
        assert store.expire(before=2).segments == 4
        store.sweep(grace=0)
    assert stalled.go_on() == {"error": None, "result": 0}
    check(root, OLD)


def test_a_move_during_a_compaction_and_a_compaction_during_a_move_both_stand(zygote, root, tmp_path):
    compaction = Stalled(zygote, tmp_path, {"compact": "trades"}, "compact.verified", "compaction")
    move = Stalled(zygote, tmp_path, {"migrate": ["trades", "hot", "warm"]}, "move.verified", "move")
    with open_store(root) as store:
        assert len(store.migrate("trades", "hot", "cold", before=HALF)) > 0
    assert compaction.go_on()["error"] is None
    assert move.go_on()["error"] is None
    check(root, OLD, versions=[(1, {"trades": OLD["trades"][:1]})])


def test_movers_that_start_together_both_finish_and_nothing_is_lost_or_doubled(zygote, root, tmp_path):
    requests = [("hot", "warm"), ("hot", "cold"), ("any", "cold"), ("cold", "hot"), ("any", "warm"), ("warm", "hot")]
    for number, (source, destination) in enumerate(requests):
        other = requests[number - 1]
        movers = [
            Stalled(zygote, tmp_path, {"migrate": ["trades", *pair]}, None, f"mover-{number}-{at}")
            for at, pair in enumerate([(source, destination), other])
        ]
        for mover in movers:
            mover._go_on.touch()
        assert [mover.go_on()["error"] for mover in movers] == [None, None]
        with open_store(root) as store:
            check_rows(store, [OLD])
    check(root, OLD)
    check_repeatable(str(root), OLD)


def test_an_overwrite_during_a_move_wins_and_the_old_version_stays_readable(zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, {"migrate": ["trades", "hot", "cold"]}, "move.verified")
    new = {"trades": [[9, 50]]}
    with open_store(root) as store:
        store.write(rows_of(ids_of(9, 50)), "trades", mode="overwrite")
    assert stalled.go_on()["error"] is None
    check(root, new, versions=[(2, OLD)])


def test_a_move_during_an_overwrite_moves_what_becomes_the_old_version(zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, REPLACE, "write.copied")
    with open_store(root) as store:
        assert len(store.migrate("trades", "hot", "cold", before=HALF)) > 0
    assert stalled.go_on()["error"] is None
    check(root, {"trades": [[2, 100]]}, versions=[(2, OLD)])


def test_of_two_overwrites_the_one_that_commits_last_stands_alone(zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, REPLACE, "write.copied")
    with open_store(root) as store:
        store.write(rows_of(ids_of(9, 50)), "trades", mode="overwrite")
    assert stalled.go_on()["error"] is None
    check(root, {"trades": [[2, 100]]}, versions=[(2, OLD), (3, {"trades": [[9, 50]]})])


def test_an_append_during_an_overwrite_is_not_lost(zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, ADD, "write.copied")
    with open_store(root) as store:
        store.write(rows_of(ids_of(9, 50)), "trades", mode="overwrite")
    assert stalled.go_on()["error"] is None
    check(root, {"trades": [[9, 50], [2, 100]]}, versions=[(2, OLD)])


def test_a_writer_that_expects_a_version_is_refused_after_another_write(zygote, root, tmp_path):
    stalled = Stalled(zygote, tmp_path, ADD | {"options": {"expected_version": 2}}, "write.copied")
    with open_store(root) as store:
        store.write(rows_of(ids_of(9, 50)), "trades")
    before = files_on_disk(root)
    assert stalled.go_on()["error"] == "ConflictError"
    assert len(files_on_disk(root)) < len(before), "the refused writer leaves its files"
    check(root, {"trades": [*OLD["trades"], [9, 50]]})


def test_a_write_id_used_by_two_processes_at_once_adds_the_rows_once(zygote, root, tmp_path):
    action = ADD | {"options": {"write_id": "nightly"}}
    first, second = (Stalled(zygote, tmp_path, action, "write.copied", name) for name in ("first", "second"))
    assert first.go_on() == {"error": None, "result": False}
    assert second.go_on() == {"error": None, "result": True}
    check(root, {"trades": [*OLD["trades"], [2, 100]]})


def test_a_store_that_another_process_is_just_making_is_waited_for(tmp_path):
    """SQLite itself reports a lock at once where two connections switch a new file to the write-ahead log."""
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)) as maker:
        maker.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(open_store, tmp_path)
            time.sleep(0.1)
            assert not opening.done()
            maker.execute("ROLLBACK")
            with opening.result(30) as store:
                assert store.tables() == []
