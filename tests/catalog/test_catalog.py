"""The catalog alone: commits, conflicts, attempts, leases, garbage, upgrades."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from quantstore.catalog.attempts import LEASE_SECONDS
from quantstore.catalog.catalog import Catalog
from quantstore.catalog.file_systems import file_system
from quantstore.catalog.records import ColumnProof, MovedPiece, MovedSegment, WriteCommit
from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.clock import ManualClock
from quantstore.core.segment import NewCopy, NewSegment, Partition, SegmentStats, seq_base
from quantstore.core.table import TableSchema, TableSpec
from quantstore.core.tier import Tier
from quantstore.core.timerange import TimeRange
from quantstore.errors import (
    AccessDeniedError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)

SPEC = TableSpec("Trades", "ts", "symbol")
FORM = TableSchema(b"schema", (("ts", "timestamp[ns, tz=UTC]"), ("symbol", "string")), ("_seq",))
_names = iter(range(10**9))


def new_segment(day=1, low=0, high=9, rows=10, tier=Tier.HOT, symbols=("A",)):
    stats = SegmentStats(rows, low, high, symbols, min(symbols), max(symbols))
    copy = NewCopy(tier, tier.value, f"trades/{next(_names)}.arrow", "ipc", 100, "xxh3_128:0", 0, is_relative=True)
    return NewSegment(Partition(date(2026, 1, day), "FX"), stats, copy)


def commit_of(*segments, **changes):
    base = WriteCommit(SPEC, FORM, None, "append", Tier.HOT, segments, sum(one.stats.rows for one in segments))
    return replace(base, **changes)


def write(catalog, *segments, **changes):
    attempt = catalog.attempts.register("write", "trades")
    with catalog.view() as view:
        record = view.table("trades")
    return catalog.commits.write(
        attempt, [commit_of(*segments, **{"table_id": record and record.table_id, **changes})]
    )[0]


def segments_of(catalog, version=None, wanted=EVERYTHING):
    with catalog.view(version) as view:
        record = view.table("trades")
        return view.segments(record.table_id, wanted) if record else []


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def catalog(tmp_path, clock):
    found = Catalog(tmp_path / "catalog.sqlite", clock=clock)
    yield found
    found.close()


def test_a_write_makes_table_version_segments_and_copies_at_once(catalog):
    outcome = write(catalog, new_segment(1), new_segment(2), write_id="w1", content="c1")
    assert (outcome.version, outcome.rows, outcome.segments) == (1, 20, 2)
    placed = segments_of(catalog)
    assert [one.segment.partition.trade_date.day for one in placed] == [1, 2]
    assert {one.primary.seq_base for one in placed} == {seq_base(1)}
    (change,) = catalog.changes()
    assert (change.table, change.operation, change.rows, change.write_id) == ("Trades", "append", 20, "w1")


def test_names_are_found_in_any_case_and_kept_as_written(catalog):
    write(catalog, new_segment())
    with catalog.view() as view:
        assert view.table("TRADES").name == "Trades"
        assert view.table_names() == ["Trades"]
        assert view.table("quotes") is None


def test_old_versions_keep_what_an_overwrite_removed(catalog):
    write(catalog, new_segment(1), content="a")
    outcome = write(catalog, new_segment(2, rows=5), content="b", operation="overwrite", removes_all=True)
    assert outcome.deleted == 10
    assert [one.segment.stats.rows for one in segments_of(catalog)] == [5]
    assert [one.segment.stats.rows for one in segments_of(catalog, version=1)] == [10]


def test_a_version_before_the_table_knows_nothing_of_it(catalog):
    write(catalog, new_segment())
    assert segments_of(catalog, version=0) == []


def test_a_write_id_seen_before_adds_nothing_and_says_so(catalog):
    write(catalog, new_segment(), write_id="w", content="c")
    again = write(catalog, new_segment(), write_id="w", content="c")
    assert again.replay_of == 1
    assert len(segments_of(catalog)) == 1
    assert catalog.snapshot().version == 1


def test_a_write_id_with_other_content_is_refused(catalog):
    write(catalog, new_segment(), write_id="w", content="c")
    with pytest.raises(ConflictError, match="write_id 'w'"):
        write(catalog, new_segment(), write_id="w", content="other")


def test_equal_content_is_a_repeat_only_while_it_is_live(catalog):
    write(catalog, new_segment(), content="c", on_repeat="skip")
    assert write(catalog, new_segment(), content="c", on_repeat="skip").is_repeat
    with pytest.raises(ConflictError, match="on_repeat='append'"):
        write(catalog, new_segment(), content="c", on_repeat="raise")
    assert write(catalog, new_segment(), content="c", on_repeat="append").replay_of is None
    write(catalog, new_segment(), content="d", operation="overwrite", removes_all=True)
    assert write(catalog, new_segment(), content="c", on_repeat="skip").replay_of is None


def test_expected_version_guards_against_a_write_in_between(catalog):
    write(catalog, new_segment(), content="a")
    write(catalog, new_segment(), content="b")
    with pytest.raises(ConflictError, match="is at version 2, not 1"):
        write(catalog, new_segment(), content="c", expected_version=1)


def test_another_form_by_a_racing_writer_is_a_conflict(catalog):
    write(catalog, new_segment(), content="a")
    with pytest.raises(ConflictError, match="other columns"):
        write(catalog, new_segment(), content="b", schema=replace(FORM, arrow=b"other"))


def test_an_attempt_ended_by_a_sweep_cannot_commit(catalog, clock):
    attempt = catalog.attempts.register("write", "trades")
    clock.advance(LEASE_SECONDS + 1)
    assert catalog.attempts.reap() == [attempt.attempt_id]
    with pytest.raises(ConflictError, match="lease ran out"):
        catalog.commits.write(attempt, [commit_of(new_segment())])
    assert catalog.snapshot().version == 0


def test_a_renewed_lease_outlives_the_first(catalog, clock):
    attempt = catalog.attempts.register("write", "trades")
    clock.advance(LEASE_SECONDS * 0.8)
    renewed = catalog.attempts.renew(attempt)
    clock.advance(LEASE_SECONDS * 0.8)
    assert catalog.attempts.reap() == []
    assert catalog.commits.write(renewed, [commit_of(new_segment())])[0].version == 1


def test_the_lease_of_a_dead_process_ends_at_once(catalog):
    code = (
        "import sys; from quantstore.catalog.catalog import Catalog; import os, signal;"
        "c = Catalog(sys.argv[1]); print(c.attempts.register('write', 't').attempt_id, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(catalog.path)], capture_output=True, text=True, check=False)
    own = catalog.attempts.register("write", "trades")
    catalog.clock.advance(-(10**6))  # the lease itself is far from over
    assert catalog.attempts.reap() == [child.stdout.strip()]
    assert catalog.attempts.states()[own.attempt_id] == "open"


def test_aborting_what_has_committed_changes_nothing(catalog):
    attempt = catalog.attempts.register("write", "trades")
    catalog.commits.write(attempt, [commit_of(new_segment())])
    assert catalog.attempts.abort(attempt) is False
    assert len(segments_of(catalog)) == 1


def moved(placed, *parts):
    proofs = {"ts": ColumnProof(0, "00")}
    if not parts:
        copy = NewCopy(Tier.COLD, "cold", f"c/{next(_names)}", "zstd", 50, "xxh3_128:1", 0)
        return MovedSegment(placed, (MovedPiece(None, copy, True, proofs),))
    return MovedSegment(placed, tuple(MovedPiece(part, part.copy, at == 0, proofs) for at, part in enumerate(parts)))


def move(catalog, *items):
    attempt = catalog.attempts.register("move", "trades")
    with catalog.view() as view:
        record = view.table("trades")
    return catalog.moves.move(attempt, record, list(items))


def test_a_move_swaps_copies_and_leaves_the_version_alone(catalog):
    write(catalog, new_segment())
    (placed,) = segments_of(catalog)
    before = catalog.snapshot()
    (receipt,) = move(catalog, moved(placed))
    after = catalog.snapshot()
    assert (after.version, after.generation) == (before.version, before.generation + 1)
    (now,) = segments_of(catalog)
    assert now.segment == placed.segment
    assert [copy.tier for copy in now.copies] == [Tier.COLD]
    assert (receipt.source, receipt.destination, receipt.rows) == (Tier.HOT, Tier.COLD, 10)
    assert catalog.receipts()[0] == receipt


def test_two_movers_of_one_segment_leave_one_winner(catalog):
    write(catalog, new_segment())
    (placed,) = segments_of(catalog)
    move(catalog, moved(placed))
    with pytest.raises(ConflictError, match="moved by another process"):
        move(catalog, moved(placed))
    assert len(segments_of(catalog)[0].copies) == 1


def test_a_split_serves_the_same_versions_as_what_it_replaces(catalog):
    write(catalog, new_segment(1, 0, 9, 10))
    write(catalog, new_segment(2), content="x", operation="overwrite", removes_all=True)
    (old,) = segments_of(catalog, version=1)
    move(catalog, moved(old, new_segment(1, 0, 4, 6, Tier.COLD), new_segment(1, 5, 9, 4)))
    assert [(one.primary.tier.value, one.segment.stats.rows) for one in segments_of(catalog, 1)] == [
        ("cold", 6),
        ("hot", 4),
    ]
    assert [one.segment.partition.trade_date.day for one in segments_of(catalog)] == [2]


def test_condemned_copies_wait_for_grace_and_for_open_readers(catalog, clock):
    write(catalog, new_segment())
    (placed,) = segments_of(catalog)
    reader = catalog.garbage.open_reader(catalog.snapshot())
    move(catalog, moved(placed))
    assert catalog.garbage.condemned(10**9) == []
    clock.advance(2)
    assert catalog.garbage.condemned(10**9) == []  # the reader may still be in the old copy
    catalog.garbage.close_reader(reader)
    late = catalog.garbage.open_reader(catalog.snapshot())
    (gone,) = catalog.garbage.condemned(10**9)  # a reader that came after the move holds nothing of it
    assert gone.copy_id == placed.primary.copy_id
    catalog.garbage.forget([gone])
    assert catalog.garbage.condemned(0) == []
    catalog.garbage.close_reader(late)


def test_readers_of_dead_processes_hold_nothing(catalog, clock):
    catalog.garbage.open_reader(catalog.snapshot())
    assert catalog.garbage.reap_readers() == 0
    clock.advance(10**6)
    assert catalog.garbage.reap_readers() == 1


def test_segments_are_pruned_by_time_day_class_and_symbol(catalog):
    write(
        catalog,
        new_segment(1, 0, 9, symbols=("A", "B")),
        new_segment(2, 10, 19, symbols=("C",)),
        new_segment(3, 20, 29, symbols=("D", "F")),
    )

    def days(**wanted):
        return [one.segment.partition.trade_date.day for one in segments_of(catalog, wanted=SegmentFilter(**wanted))]

    assert days(time=TimeRange(9, 20)) == [1, 2]
    assert days(time=TimeRange(30, None)) == []
    assert days(first_day=date(2026, 1, 2)) == [2, 3]
    assert days(days=(date(2026, 1, 1), date(2026, 1, 3))) == [1, 3]
    assert days(symbols=("C",)) == [2]
    assert days(symbols=("E",)) == []  # inside the span of names, but not on the list
    assert days(symbols=("F", "%")) == [3]
    assert days(asset_classes=("EQUITY",)) == []


def test_instants_map_to_the_newest_version_committed_by_then(catalog, clock):
    write(catalog, new_segment(), content="a")
    between = clock.now_ns()
    clock.advance(10)
    write(catalog, new_segment(), content="b")
    assert catalog.version_at(between - 1) == 0
    assert catalog.version_at(between) == 1
    assert catalog.version_at(between + 10 * 10**9) == 2


def test_heat_halves_in_a_week(catalog, clock):
    catalog.access.record([1, 1, 2])
    catalog.access.record([1])
    catalog.access.flush()
    assert catalog.access.heats()[1].reads == 3
    assert catalog.access.heats()[1].heat == pytest.approx(3.0)
    clock.advance(7 * 24 * 3600)
    assert catalog.access.heats()[1].heat == pytest.approx(1.5)
    catalog.access.record([1])
    catalog.access.flush()
    assert catalog.access.heats()[1].heat == pytest.approx(2.5)


def test_a_read_only_catalog_refuses_changes_and_answers_questions(catalog):
    write(catalog, new_segment())
    reader = Catalog(catalog.path, read_only=True)
    assert len(segments_of(reader)) == 1
    with pytest.raises(AccessDeniedError, match="read-only"):
        reader.attempts.register("write", "trades")
    reader.close()


def test_a_missing_catalog_is_not_made_unasked(tmp_path):
    with pytest.raises(NotFoundError, match="create=True"):
        Catalog(tmp_path / "none.sqlite", create=False)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_catalog_of_a_newer_release_is_refused(catalog):
    path = catalog.path
    catalog.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO catalog_upgrades VALUES (999, 'from the future', 0)")
    connection.close()
    with pytest.raises(UnsupportedError, match="form 999"):
        Catalog(path)


def test_a_file_that_is_no_catalog_is_refused(tmp_path):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(IntegrityError, match="damaged or no catalog at all"):
        Catalog(path)


def test_creating_a_table_twice_is_refused(catalog):
    assert catalog.commits.create(SPEC, FORM) == 1
    with pytest.raises(InvalidInputError, match="exists already"):
        catalog.commits.create(replace(SPEC, name="TRADES"), FORM)


def test_threads_and_a_forked_child_share_one_catalog(catalog):
    write(catalog, new_segment(), content="0")
    failures = []

    def work(number):
        try:
            for turn in range(10):
                write(catalog, new_segment(), content=f"{number}-{turn}")
                segments_of(catalog)
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert catalog.snapshot().version == 41
    code = (
        "import os, sys; from quantstore.catalog.catalog import Catalog\n"
        "c = Catalog(sys.argv[1]); c.snapshot(); pid = os.fork()\n"
        "if pid == 0:\n    c.attempts.register('write', 't'); os._exit(c.snapshot().version)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    child = subprocess.run([sys.executable, "-c", code, str(catalog.path)], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "41"


def test_the_file_system_of_a_folder_is_told():
    assert file_system(Path("/proc"))[0] == ("proc" if Path("/proc/self").exists() else "")
