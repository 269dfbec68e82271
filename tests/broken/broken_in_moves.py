"""Defects of moves, compaction, expiry, sweeps, publishing and upgrades."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from defects import PEERS, defect, swap

BACK = "rows are lost, doubled or back again"


@defect("F1", "tiering/test_migrate.py::test_every_operation_run_again_changes_nothing", "IntegrityError|is missing")
def second_run_deletes() -> None:
    """A sweep takes the files of every attempt that has ended, those that the catalog names included."""

    def orphans(catalog: Any, stores: Any) -> Any:
        from quantstore.maintenance.sweep import attempt_of

        states = catalog.attempts.states()
        listed = [(tier, one) for tier, store in stores.items() for one in store.list()]
        return [(tier, one) for tier, one in listed if states.get(attempt_of(one.location), "open") != "open"]

    swap("maintenance.sweep:orphans", lambda _: orphans)


@defect("F3", f"{PEERS}::test_f3_compaction_beside_delete_and_insert_brings_nothing_back", BACK)
def compaction_ignores_corrections() -> None:
    """A compaction commits whatever became of its sources meanwhile."""
    swap("catalog.compactions:require_all_live", lambda _: lambda *_: None)


@defect("F4", f"{PEERS}::test_f4_an_overwrite_while_the_old_rows_move_leaves_none_of_them", BACK)
def moves_ignore_removed_versions() -> None:
    """What a move splits is live, even if a version has removed it meanwhile."""
    swap("catalog.moves:require_unmoved", lambda old: lambda *given: old(*given) and None)


@defect("F4", f"{PEERS}::test_f4_rows_corrected_in_hot_while_their_partition_moves_to_cold", f"{BACK}|Error")
def corrections_ignore_moves() -> None:
    """A correction commits whatever became of its segments meanwhile."""
    swap("catalog.commits:require_scope", lambda _: lambda *_: None)


def _expire_all_but(*kept: str) -> None:
    def make(old: Any) -> Any:
        def unreachable(dead: Any) -> Any:
            from sqlalchemy import and_, bindparam, exists

            from quantstore.catalog import schema

            s, t, r = schema.segments.c, schema.tags.c, schema.readers.c
            spared = {
                "tags": ~exists().where(t.version >= s.added_version, t.version < s.removed_version),
                "readers": ~exists().where(r.version >= s.added_version, r.version < s.removed_version),
            }
            yield and_(
                s.retired_generation.is_(None),
                s.removed_version.is_not(None),
                s.removed_version <= bindparam("oldest"),
                *(spared[one] for one in kept),
            )

        return unreachable

    swap("catalog.expiry:_unreachable", make)


@defect("F6", "history/test_expiry.py::test_an_open_reader_gets_all_its_rows", "assert |Error")
def expiry_ignores_readers() -> None:
    """Versions expire under the readers that are open at them, and a sweep takes their files."""
    _expire_all_but("tags")
    _readers_keep_nothing()


@defect(
    "F6", "history/test_expiry.py::test_tags_keep_their_versions_bit_for_bit_until_they_are_taken_away", "assert |Error"
)
def expiry_ignores_tags() -> None:
    """Versions with a tag expire like others."""
    _expire_all_but("readers")


def _readers_keep_nothing() -> None:
    def make(old: Any) -> Any:
        return lambda self, snapshot, keeps_copies=True: old(self, snapshot, keeps_copies=False)

    swap("catalog.garbage:Garbage.open_reader", make)


@defect("F6", "tiering/test_migrate.py::test_a_reader_keeps_what_it_reads_through_a_move_and_a_sweep", "assert |Error")
def sweep_ignores_readers() -> None:
    """A sweep deletes what open readers still read."""
    _readers_keep_nothing()


@defect("F10", "maintenance/test_compaction.py::test_an_append_meanwhile_is_neither_lost_nor_taken_in", "assert sorted")
def compaction_keeps_its_sources() -> None:
    """A compaction adds the merged rows and leaves the small segments where they are."""
    swap("catalog.compactions:_set", lambda _: lambda *_, **__: None)
    swap("catalog.compactions:condemn_all", lambda _: lambda *_: None)


@defect("F14", "test_specification.py::test_migrating_to_where_the_data_is_does_nothing", "assert ")
def moves_onto_themselves() -> None:
    """Segments that are in the destination already are moved there again."""

    def make(old: Any) -> Any:
        def plan(segments: Any, sources: Any, destination: Any, **options: Any) -> Any:
            from quantstore.tiering.planner import PlannedMove

            time = options["time"]
            here = [one for one in segments if one.primary.tier is destination]
            return [
                *old(segments, sources, destination, **options),
                *(PlannedMove(one, destination, time, True) for one in here),
            ]

        return plan

    swap("tiering.migrate:plan_moves", make)


@defect("F15", "history/test_expiry.py::test_files_that_a_restore_uses_again_stay", "is missing|assert ")
def shared_files_are_deleted() -> None:
    """A file goes with the first copy in it that nothing reaches, whatever the others are."""
    swap("catalog.garbage:_still_held", lambda _: lambda *_: set())


@defect("F25", f"{PEERS}::test_f25_dead_at_any_step_the_store_has_the_rows_of_before_or_after[move]", "is missing")
def delete_before_commit() -> None:
    """A mover deletes its sources once they are copied, and then commits."""

    def make(old: Any) -> Any:
        def move(self: Any, attempt: Any, table: Any, moved: Any) -> Any:
            for item in moved:
                (path,) = Path(self._database.path).parent.rglob(item.source.primary.location.rpartition("/")[2])
                path.unlink()
            return old(self, attempt, table, moved)

        return move

    swap("catalog.moves:Moves.move", make)


@defect(
    "F16",
    f"{PEERS}::test_f16_what_a_dead_mover_left_is_found_and_swept",
    "the sweep left what the dead mover had begun",
)
def leftovers_stay() -> None:
    """A sweep looks for superseded copies only."""
    swap("maintenance.sweep:orphans", lambda _: lambda *_: [])


@defect(
    "F17",
    f"{PEERS}::test_f17_a_mover_whose_lease_ran_out_copies_once_more_and_commits_no_bytes_that_are_gone",
    "is missing|IntegrityError",
)
def leases_are_no_fence() -> None:
    """A mover commits though a sweep has ended its attempt and taken its bytes."""
    swap("catalog.moves:require_open", lambda _: lambda *_: None)


@defect("F17", "catalog/test_catalog.py::TestSqliteCatalog::test_a_renewed_lease_outlives_the_first", "assert ")
def leases_are_never_renewed() -> None:
    """A lease ends when it would have, however long the copy takes."""
    swap("catalog.attempts:Attempts.renew", lambda _: lambda _, attempt: attempt)


@defect("F18", "golden/test_golden.py::test_every_version_of_every_table_reads_as_it_did[3]", "assert ")
def upgrades_forget_names() -> None:
    """The upgrade that remembers names by version takes over none of those there are."""

    def make(old: Any) -> Any:
        name, step = old[3]

        def forgets(connection: Any) -> None:
            from sqlalchemy import text

            step(connection)
            connection.execute(text("DELETE FROM table_names"))

        return (*old[:3], (name, forgets), *old[4:])

    swap("catalog.upgrades:STEPS", make)


@defect(
    "P6", "maintenance/test_compaction.py::test_a_new_segment_that_reads_back_otherwise_is_refused", "DID NOT RAISE"
)
def merged_rows_are_not_verified() -> None:
    """What a compaction wrote is committed without being read back."""
    swap("maintenance.merger:find_difference", lambda _: lambda *_: None)


@defect("P6", f"{PEERS}::test_moves_are_verified_before_they_count", "DID NOT RAISE")
def moved_rows_are_not_verified() -> None:
    """What a mover wrote is committed without being read back."""
    swap("tiering.mover:find_difference", lambda _: lambda *_: None)


@defect("P3", "tiering/test_migrate.py::test_where_moves_only_matching_rows", "assert |DataFrame")
def splits_lose_a_row() -> None:
    """The first row of what stays behind a cut is in neither part."""

    def make(old: Any) -> Any:
        def cuts(self: Any, planned: Any, table: Any) -> Any:
            from quantstore.tiering.mover import _Cut

            found = old(self, planned, table)
            return [found[0], _Cut(found[1].table.slice(1), moved=False)] if len(found) > 1 else found

        return cuts

    swap("tiering.mover:Mover._cuts", make)


@defect("F23", "history/test_expiry.py::test_a_job_that_fails_does_not_keep_the_others_from_running", "Error")
def one_failure_ends_maintenance() -> None:
    """The first job of maintenance that fails keeps the others from running."""

    def maintain(steps: Any) -> Any:
        from quantstore.maintenance.maintain import Maintained

        return Maintained({name: run() for name, run in steps}, {})

    swap("maintenance.maintain:maintain", lambda _: maintain)


@defect("P8", "publish/test_publish.py::test_a_sweep_spares_what_the_last_snapshot_shows", "FileNotFoundError")
def publishing_forgets_deletes() -> None:
    """Files that left the cold tier stay in the published table."""

    def make(old: Any) -> Any:
        return lambda self, table, state, wanted, listed, added, removed: old(
            self, table, state, wanted, listed, added, set()
        )

    swap("publish.projection:Projection._commit", make)


@defect("F13", "stores/test_files.py::test_one_sync_per_file_and_per_directory", "assert calls")
def files_are_not_synced() -> None:
    """A file is renamed into its place without being synced."""
    swap("stores.files:HashingFile.sync", lambda _: lambda self: self._file.flush())


@defect("F13", "stores/test_files.py::test_one_sync_per_file_and_per_directory", "assert ")
def folders_are_not_synced() -> None:
    """The name of a new file is not made durable."""
    swap("stores.files:sync_folder", lambda _: lambda _: None)


@defect("F12", "stores/test_files.py::test_a_taken_name_is_a_conflict", "DID NOT RAISE")
def rename_over_others() -> None:
    """A file is renamed over whatever has its name."""
    from types import SimpleNamespace

    paths = SimpleNamespace(**{**vars(os.path), "lexists": lambda _: False})
    swap("stores.files:os", lambda old: SimpleNamespace(**{**vars(old), "path": paths}))


@defect("F11", f"{PEERS}::test_f11_many_writers_at_once_lose_and_double_nothing", "locked|Unavailable|UNIQUE|failures")
def writers_do_not_exclude_each_other() -> None:
    """A write takes its lock when it first changes something, after it has looked at what there is."""

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    swap("catalog.database:_on_begin", lambda _: begin)
