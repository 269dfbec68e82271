"""Defects of writes, corrections and transactions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from defects import PEERS, defect, swap


@defect(
    "F2",
    "corrections/test_corrections.py::test_rows_outside_the_condition_are_refused_before_anything_changes",
    r"assert files\(store\) == before",
)
def act_before_check() -> None:
    """A correction puts its files in place before it checks the rows that it was given."""

    def make(old: Any) -> Any:
        def refuse_outside(self: Any, condition: Any) -> None:
            from quantstore.write.arrivals import Arrivals
            from quantstore.write.staging import Staging

            staging = Staging(self._parts.catalog, self.request.table)
            tier = self.request.tier
            Arrivals(staging, self._parts.stores[tier], tier, self._form).add(self._full)
            old(self, condition)

        return refuse_outside

    swap("corrections.correction:Correction._refuse_outside", make)


@defect("F2", f"{PEERS}::test_f2_what_is_refused_has_changed_no_byte", r"assert bytes_of\(place\) == before")
def check_after_act() -> None:
    """The expected version is compared once the write has been committed."""

    def make(old: Any) -> Any:
        def write(self: Any, attempt: Any, commits: Any) -> Any:
            from quantstore.catalog import conflicts, snapshots

            with self._database.read() as connection:
                known = [snapshots.find_table(connection, one.spec.name) for one in commits]
            made = old(self, attempt, [replace(one, expected_version=None) for one in commits])
            for table, one in zip(known, commits, strict=True):
                if table is not None:
                    conflicts.require_version(table, one.expected_version)
            return made

        return write

    swap("catalog.commits:Commits.write", make)
    swap("write.staging:Staging.give_up", lambda _: lambda self: None)


@defect("F5", f"{PEERS}::test_f5_the_check_sees_what_was_committed_after_the_write_began", "DID NOT RAISE")
def check_on_an_old_snapshot() -> None:
    """The commit looks its tables up as they were when the write began."""
    seen: dict[str, Any] = {}

    def remember(old: Any) -> Any:
        def tried(self: Any, operations: Any, staging: Any, write_id: Any) -> Any:
            with self._catalog.view() as view:
                seen.update({one.request.table: view.table(one.request.table) for one in operations})
            return old(self, operations, staging, write_id)

        return tried

    swap("write.committer:Committer._tried", remember)
    from quantstore.catalog import commits, snapshots

    def find_table(connection: Any, name: str, version: int | None = None) -> Any:
        return seen.get(name) or snapshots.find_table(connection, name, version)

    commits.snapshots = SimpleNamespace(**{**vars(snapshots), "find_table": find_table})  # type: ignore[assignment]


@defect(
    "F7",
    f"{PEERS}::test_f7_of_two_overwrites_exactly_one_survives_whichever_began_first",
    "rows are lost, doubled or back again",
)
def order_by_begin() -> None:
    """An overwrite removes what there was when it began, not what there is when it commits."""
    begun: list[int] = []

    def note(old: Any) -> Any:
        def insert(connection: Any, attempt: Any, commit: Any, *rest: Any) -> Any:
            begun.append(commit.planned_version)
            return old(connection, attempt, commit, *rest)

        return insert

    def remove_all(connection: Any, table_id: int, version: int) -> int:
        from sqlalchemy import update

        from quantstore.catalog.schema import segments

        s = segments.c
        live = (s.table_id == table_id) & s.removed_version.is_(None) & (s.added_version <= begun[-1])
        connection.execute(update(segments).where(live).values(removed_version=version))
        return 0

    swap("catalog.commits:_insert_write", note)
    swap("catalog.commits:_remove_all", lambda _: remove_all)


def _no_write_id(old: Any) -> Any:
    return lambda *given, **named: old(*given, **{**named, "write_id": None})


@defect("F8", f"{PEERS}::test_f8_a_transaction_sent_twice_is_there_once", "rows are lost, doubled or back again")
def commit_twice() -> None:
    """The commit does not look whether its write was committed before."""
    swap("catalog.commits:_find_replay", lambda _: lambda *_: None)
    swap("catalog.commits:insert_change", _no_write_id)


@defect(
    "F9",
    "write/test_stream.py::test_a_failure_after_the_commit_does_not_double_the_rows",
    r"assert stream\.flush\(\) == 1",
)
def retry_without_a_key() -> None:
    """A stream that had no answer sends its batch again under another name."""

    def make(old: Any) -> Any:
        def begin(self: Any, table: str, fit: Any, write: Any, limits: Any) -> None:
            old(self, table, fit, lambda rows, write_id: write(rows, uuid4().hex), limits)

        return begin

    swap("write.stream:Stream.__init__", make)


@defect(
    "F19",
    f"{PEERS}::test_f19_a_feed_that_starts_again_from_the_beginning_adds_only_what_is_new",
    "rows are lost, doubled or back again",
)
def keys_are_not_kept() -> None:
    """Names of writes are compared and never written down."""
    swap("catalog.commits:insert_change", _no_write_id)


@defect("F22", "corrections/test_transactions.py::test_a_replace_begins_a_table_and_appends_follow", "assert ")
def transactions_forget_later_writes() -> None:
    """Of several writes to one table in a transaction the first is committed, and all are acknowledged."""

    def make(old: Any) -> Any:
        def prepare(self: Any, staging: Any) -> Any:
            operations = self._operations
            self._operations = operations[:1]
            try:
                return old(self, staging)
            finally:
                self._operations = operations

        return prepare

    swap("transaction:_Combined.prepare", make)


@defect("P2", "corrections/test_transactions.py::test_everything_becomes_visible_in_one_version", "assert ")
def half_visible() -> None:
    """A transaction over two tables is committed table by table."""

    def make(old: Any) -> Any:
        def write(self: Any, attempt: Any, commits: Any) -> Any:
            made = []
            for number, one in enumerate(commits):
                made += old(self, None if number else attempt, [one])
            return made

        return write

    swap("catalog.commits:Commits.write", make)


@defect(
    "P5",
    "corrections/test_between_planning_and_commit.py::test_of_two_first_corrections_no_row_is_there_twice",
    "assert ",
)
def scope_is_not_checked() -> None:
    """A correction does not look at its commit whether rows in its scope have come meanwhile."""
    swap("catalog.commits:require_scope", lambda _: lambda *_: None)


@defect("P5", "corrections/test_corrections.py::test_older_versions_read_as_they_were", "assert |Error")
def history_is_rewritten() -> None:
    """A corrected segment is taken out of older versions, too."""

    def remove(connection: Any, segment_id: int, version: int) -> None:
        from sqlalchemy import update

        from quantstore.catalog.schema import segments

        wanted = segments.c.segment_id == segment_id
        connection.execute(update(segments).where(wanted).values(removed_version=segments.c.added_version))

    swap("catalog.commits:_remove", lambda _: remove)


@defect(
    "F26",
    "corrections/test_corrections.py::test_a_correction_of_one_symbol_leaves_every_byte_of_the_others[hot]",
    r"assert \(result\.rows, result\.deleted\)|assert rows\(store",
)
def corrections_take_whole_segments() -> None:
    """A correction of one symbol takes away every row of the segments that have the symbol."""

    def make(old: Any) -> Any:
        def mask(self: Any, placed: Any, rows: Any) -> Any:
            found = old(self, placed, rows)
            return found | found.any()

        return mask

    swap("corrections.scopes:GroupScope.mask", make)


@defect(
    "F26",
    "corrections/test_corrections.py::test_upserts_compare_null_and_nan_as_what_they_are",
    "assert |RepeatedWriteWarning",
)
def upserts_compare_without_nulls() -> None:
    """An upsert takes a null for equal to nothing, itself included."""

    def make(old: Any) -> Any:
        def equal(left: Any, right: Any) -> Any:
            import numpy as np
            import pyarrow.compute as pc

            present = pc.and_(pc.is_valid(left), pc.is_valid(right))
            return np.asarray(old(left, right)) & np.asarray(present.to_numpy())

        return equal

    swap("corrections.same:_equal", make)


@defect("F21", f"{PEERS}::test_f21_late_rows_are_in_order_and_inside_what_the_catalog_says", "a window misses rows")
def statistics_are_stale() -> None:
    """What the catalog says of new rows ends with their first instant."""

    def make(old: Any) -> Any:
        def contents(piece: Any, layout: Any) -> Any:
            return [(partition, replace(stats, max_ns=stats.min_ns)) for partition, stats in old(piece, layout)]

        return contents

    swap("write.arrivals:contents", make)


@defect(
    "F20",
    f"{PEERS}::test_f20_late_rows_with_long_texts_nulls_and_new_columns_reach_every_tier[cold]",
    "rows are out of order",
)
def late_rows_are_not_sorted() -> None:
    """Rows are written in the order they came in, whatever the order of the tier."""

    def make(old: Any) -> Any:
        def in_order(table: Any, time: Any, span: Any, gathered: Any, layout: Any, order: Any) -> Any:
            start, end = span
            return table.slice(start, end - start), None

        return in_order

    swap("write.partition:_in_order", make)


@defect("P3", "query/test_second_read.py::test_an_instant_always_means_the_same_version", "assert ")
def clocks_decide() -> None:
    """A commit is stamped with the time at which it began to wait for the lock."""
    import time

    begun: list[int] = []

    def note(old: Any) -> Any:
        def create(self: Any, *given: Any) -> Any:
            begun.append(time.time_ns())
            return old(self, *given)

        return create

    swap("catalog.commits:Commits.create", note)
    swap("catalog.commits:commit_time", lambda old: lambda *given: begun[-1] if begun else old(*given))
