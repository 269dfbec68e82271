"""What every catalog must do, as tests that a catalog's own tests subclass; needs the extra `testing`."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quantstore.catalog.attempts import LEASE_SECONDS
from quantstore.catalog.catalog import Catalog
from quantstore.catalog.records import (
    ColumnProof,
    MovedPiece,
    MovedSegment,
    Receipt,
    WriteCommit,
    WriteOutcome,
)
from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.clock import ManualClock
from quantstore.core.segment import NewCopy, NewSegment, Partition, PlacedSegment, SegmentStats, seq_base
from quantstore.core.table import TableSchema, TableSpec
from quantstore.core.tier import Tier
from quantstore.core.timerange import TimeRange
from quantstore.errors import ConflictError, InvalidInputError

SPEC = TableSpec("Trades", "ts", "symbol")
FORM = TableSchema(b"schema", (("ts", "timestamp[ns, tz=UTC]"), ("symbol", "string")), ("_seq",))
_names = iter(range(10**9))


def new_segment(
    day: int = 1,
    low: int = 0,
    high: int = 9,
    rows: int = 10,
    tier: Tier = Tier.HOT,
    symbols: tuple[str, ...] = ("A",),
) -> NewSegment:
    """Return a segment that no commit has made real."""
    stats = SegmentStats(rows, low, high, symbols, min(symbols), max(symbols))
    copy = NewCopy(tier, tier.value, f"trades/{next(_names)}.arrow", "ipc", 100, "xxh3_128:0", 0, is_relative=True)
    return NewSegment(Partition(date(2026, 1, day), "FX"), stats, copy)


def commit_of(*segments: NewSegment, **changes: Any) -> WriteCommit:
    """Return a commit that appends segments."""
    base = WriteCommit(SPEC, FORM, None, "append", Tier.HOT, segments, sum(one.stats.rows for one in segments))
    return replace(base, **changes)


def write(catalog: Catalog, *segments: NewSegment, **changes: Any) -> WriteOutcome:
    """Commit segments under an attempt of their own."""
    attempt = catalog.attempts.register("write", "trades")
    with catalog.view() as view:
        record = view.table("trades")
    return catalog.commits.write(
        attempt, [commit_of(*segments, **{"table_id": record and record.table_id, **changes})]
    )[0]


def segments_of(
    catalog: Catalog, version: int | None = None, wanted: SegmentFilter = EVERYTHING
) -> list[PlacedSegment]:
    """Return the segments of the table."""
    with catalog.view(version) as view:
        record = view.table("trades")
        return view.segments(record.table_id, wanted) if record else []


def moved(placed: PlacedSegment, *parts: NewSegment) -> MovedSegment:
    """Return a move of a segment to cold, or into the first of several parts."""
    proofs = {"ts": ColumnProof(0, "00")}
    if not parts:
        copy = NewCopy(Tier.COLD, "cold", f"c/{next(_names)}", "zstd", 50, "xxh3_128:1", 0)
        return MovedSegment(placed, (MovedPiece(None, copy, True, proofs),))
    return MovedSegment(placed, tuple(MovedPiece(part, part.copy, at == 0, proofs) for at, part in enumerate(parts)))


def move(catalog: Catalog, *items: MovedSegment) -> list[Receipt]:
    """Commit moves under an attempt of their own."""
    attempt = catalog.attempts.register("move", "trades")
    with catalog.view() as view:
        record = view.table("trades")
    assert record is not None
    return catalog.moves.move(attempt, record, list(items))


class CatalogContract(ABC):
    """The contract of a catalog, as tests; a subclass says how its catalog is opened.

    ```python
    class TestMyCatalog(CatalogContract):
        def open_catalog(self, root, clock):
            return MyCatalog(root, clock=clock)
    ```
    """

    @abstractmethod
    def open_catalog(self, root: Path, clock: ManualClock) -> Catalog:
        """Return a handle on the catalog at `root`, which the first one makes; there may be several."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock of all handles."""
        return ManualClock()

    @pytest.fixture
    def catalog(self, tmp_path: Path, clock: ManualClock) -> Iterator[Catalog]:
        """Return a handle."""
        found = self.open_catalog(tmp_path, clock)
        yield found
        found.close()

    @pytest.fixture
    def other(
        self,
        catalog: Catalog,  # noqa: ARG002 - it is made first
        tmp_path: Path,
        clock: ManualClock,
    ) -> Iterator[Catalog]:
        """Return a second handle, as another process would have."""
        found = self.open_catalog(tmp_path, clock)
        yield found
        found.close()

    def test_a_write_makes_table_version_segments_and_copies_at_once(self, catalog: Catalog) -> None:
        """A write makes table version segments and copies at once."""
        outcome = write(catalog, new_segment(1), new_segment(2), write_id="w1", content="c1")
        assert (outcome.version, outcome.rows, outcome.segments) == (1, 20, 2)
        placed = segments_of(catalog)
        assert [one.segment.partition.trade_date.day for one in placed] == [1, 2]
        assert {one.primary.seq_base for one in placed} == {seq_base(1)}
        (change,) = catalog.changes()
        assert (change.table, change.operation, change.rows, change.write_id) == ("Trades", "append", 20, "w1")

    def test_names_are_found_in_any_case_and_kept_as_written(self, catalog: Catalog) -> None:
        """Names are found in any case and kept as written."""
        write(catalog, new_segment())
        with catalog.view() as view:
            found = view.table("TRADES")
            assert found is not None
            assert found.name == "Trades"
            assert view.table_names() == ["Trades"]
            assert view.table("quotes") is None

    def test_old_versions_keep_what_an_overwrite_removed(self, catalog: Catalog) -> None:
        """Old versions keep what an overwrite removed."""
        write(catalog, new_segment(1), content="a")
        outcome = write(catalog, new_segment(2, rows=5), content="b", operation="overwrite", removes_all=True)
        assert outcome.deleted == 10
        assert [one.segment.stats.rows for one in segments_of(catalog)] == [5]
        assert [one.segment.stats.rows for one in segments_of(catalog, version=1)] == [10]

    def test_a_version_before_the_table_knows_nothing_of_it(self, catalog: Catalog) -> None:
        """A version before the table knows nothing of it."""
        write(catalog, new_segment())
        assert segments_of(catalog, version=0) == []

    def test_a_write_id_seen_before_adds_nothing_and_says_so(self, catalog: Catalog) -> None:
        """A write id seen before adds nothing and says so."""
        write(catalog, new_segment(), write_id="w", content="c")
        again = write(catalog, new_segment(), write_id="w", content="c")
        assert again.replay_of == 1
        assert len(segments_of(catalog)) == 1
        assert catalog.snapshot().version == 1

    def test_a_write_id_with_other_content_is_refused(self, catalog: Catalog) -> None:
        """A write id with other content is refused."""
        write(catalog, new_segment(), write_id="w", content="c")
        with pytest.raises(ConflictError, match="write_id 'w'"):
            write(catalog, new_segment(), write_id="w", content="other")

    def test_equal_content_is_a_repeat_only_while_it_is_live(self, catalog: Catalog) -> None:
        """Equal content is a repeat only while it is live."""
        write(catalog, new_segment(), content="c", on_repeat="skip")
        assert write(catalog, new_segment(), content="c", on_repeat="skip").is_repeat
        with pytest.raises(ConflictError, match="on_repeat='append'"):
            write(catalog, new_segment(), content="c", on_repeat="raise")
        assert write(catalog, new_segment(), content="c", on_repeat="append").replay_of is None
        write(catalog, new_segment(), content="d", operation="overwrite", removes_all=True)
        assert write(catalog, new_segment(), content="c", on_repeat="skip").replay_of is None

    def test_expected_version_guards_against_a_write_in_between(self, catalog: Catalog) -> None:
        """Expected version guards against a write in between."""
        write(catalog, new_segment(), content="a")
        write(catalog, new_segment(), content="b")
        with pytest.raises(ConflictError, match="is at version 2, not 1"):
            write(catalog, new_segment(), content="c", expected_version=1)

    def test_another_form_by_a_racing_writer_is_a_conflict(self, catalog: Catalog) -> None:
        """Another form by a racing writer is a conflict."""
        write(catalog, new_segment(), content="a")
        with pytest.raises(ConflictError, match="other columns"):
            write(catalog, new_segment(), content="b", schema=replace(FORM, arrow=b"other"))

    def test_an_attempt_ended_by_a_sweep_cannot_commit(self, catalog: Catalog, clock: ManualClock) -> None:
        """An attempt ended by a sweep cannot commit."""
        attempt = catalog.attempts.register("write", "trades")
        clock.advance(LEASE_SECONDS + 1)
        assert catalog.attempts.reap() == [attempt.attempt_id]
        with pytest.raises(ConflictError, match="lease ran out"):
            catalog.commits.write(attempt, [commit_of(new_segment())])
        assert catalog.snapshot().version == 0

    def test_a_renewed_lease_outlives_the_first(self, catalog: Catalog, clock: ManualClock) -> None:
        """A renewed lease outlives the first."""
        attempt = catalog.attempts.register("write", "trades")
        clock.advance(LEASE_SECONDS * 0.8)
        renewed = catalog.attempts.renew(attempt)
        clock.advance(LEASE_SECONDS * 0.8)
        assert catalog.attempts.reap() == []
        assert catalog.commits.write(renewed, [commit_of(new_segment())])[0].version == 1

    def test_aborting_what_has_committed_changes_nothing(self, catalog: Catalog) -> None:
        """Aborting what has committed changes nothing."""
        attempt = catalog.attempts.register("write", "trades")
        catalog.commits.write(attempt, [commit_of(new_segment())])
        assert catalog.attempts.abort(attempt) is False
        assert len(segments_of(catalog)) == 1

    def test_a_move_swaps_copies_and_leaves_the_version_alone(self, catalog: Catalog) -> None:
        """A move swaps copies and leaves the version alone."""
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

    def test_two_movers_of_one_segment_leave_one_winner(self, catalog: Catalog) -> None:
        """Two movers of one segment leave one winner."""
        write(catalog, new_segment())
        (placed,) = segments_of(catalog)
        move(catalog, moved(placed))
        with pytest.raises(ConflictError, match="moved by another process"):
            move(catalog, moved(placed))
        assert len(segments_of(catalog)[0].copies) == 1

    def test_a_split_serves_the_same_versions_as_what_it_replaces(self, catalog: Catalog) -> None:
        """A split serves the same versions as what it replaces."""
        write(catalog, new_segment(1, 0, 9, 10))
        write(catalog, new_segment(2), content="x", operation="overwrite", removes_all=True)
        (old,) = segments_of(catalog, version=1)
        move(catalog, moved(old, new_segment(1, 0, 4, 6, Tier.COLD), new_segment(1, 5, 9, 4)))
        assert [(one.primary.tier.value, one.segment.stats.rows) for one in segments_of(catalog, 1)] == [
            ("cold", 6),
            ("hot", 4),
        ]
        assert [one.segment.partition.trade_date.day for one in segments_of(catalog)] == [2]

    def test_condemned_copies_wait_for_grace_and_for_open_readers(self, catalog: Catalog, clock: ManualClock) -> None:
        """Condemned copies wait for grace and for open readers."""
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

    def test_readers_of_dead_processes_hold_nothing(self, catalog: Catalog, clock: ManualClock) -> None:
        """Readers of dead processes hold nothing."""
        catalog.garbage.open_reader(catalog.snapshot())
        assert catalog.garbage.reap_readers() == 0
        clock.advance(10**6)
        assert catalog.garbage.reap_readers() == 1

    def test_segments_are_pruned_by_time_day_class_and_symbol(self, catalog: Catalog) -> None:
        """Segments are pruned by time day class and symbol."""
        write(
            catalog,
            new_segment(1, 0, 9, symbols=("A", "B")),
            new_segment(2, 10, 19, symbols=("C",)),
            new_segment(3, 20, 29, symbols=("D", "F")),
        )

        def days(**wanted: Any) -> list[int]:
            return [
                one.segment.partition.trade_date.day for one in segments_of(catalog, wanted=SegmentFilter(**wanted))
            ]

        assert days(time=TimeRange(9, 20)) == [1, 2]
        assert days(time=TimeRange(30, None)) == []
        assert days(first_day=date(2026, 1, 2)) == [2, 3]
        assert days(days=(date(2026, 1, 1), date(2026, 1, 3))) == [1, 3]
        assert days(symbols=("C",)) == [2]
        assert days(symbols=("E",)) == []  # inside the span of names, but not on the list
        assert days(symbols=("F", "%")) == [3]
        assert days(asset_classes=("EQUITY",)) == []

    def test_instants_map_to_the_newest_version_committed_by_then(self, catalog: Catalog, clock: ManualClock) -> None:
        """Instants map to the newest version committed by then."""
        write(catalog, new_segment(), content="a")
        between = clock.now_ns()
        clock.advance(10)
        write(catalog, new_segment(), content="b")
        assert catalog.version_at(between - 1) == 0
        assert catalog.version_at(between) == 1
        assert catalog.version_at(between + 10 * 10**9) == 2

    def test_heat_halves_in_a_week(self, catalog: Catalog, clock: ManualClock) -> None:
        """Heat halves in a week."""
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

    def test_creating_a_table_twice_is_refused(self, catalog: Catalog) -> None:
        """Creating a table twice is refused."""
        assert catalog.commits.create(SPEC, FORM) == 1
        with pytest.raises(InvalidInputError, match="exists already"):
            catalog.commits.create(replace(SPEC, name="TRADES"), FORM)

    def test_of_racing_commits_that_expect_the_same_version_one_wins(self, catalog: Catalog, other: Catalog) -> None:
        """Whoever comes second is refused, from whichever handle."""
        write(catalog, new_segment(), content="0")
        for turn in range(10):
            version = catalog.snapshot().version
            outcomes: list[str] = []
            together = threading.Barrier(4)

            def race(number: int, version: int = version, turn: int = turn, together: Any = together) -> None:
                handle = (catalog, other)[number % 2]
                together.wait()
                try:
                    write(handle, new_segment(), content=f"{turn} {number}", expected_version=version)
                    outcomes.append("won")  # noqa: B023 - joined below
                except ConflictError:
                    outcomes.append("lost")  # noqa: B023

            threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(outcomes) == ["lost", "lost", "lost", "won"]
        assert len(segments_of(other)) == 11

    def test_a_view_sees_one_snapshot_while_others_commit(self, catalog: Catalog, other: Catalog) -> None:
        """What is committed after a view was opened is not in it."""
        write(catalog, new_segment(), content="a")
        with catalog.view() as view:
            record = view.table("trades")
            assert record is not None
            write(other, new_segment(), content="b")
            (placed,) = segments_of(other, version=1)
            move(other, moved(placed))
            assert [one.primary.tier for one in view.segments(record.table_id)] == [Tier.HOT]
        assert sorted(one.primary.tier.value for one in segments_of(catalog)) == ["cold", "hot"]

    def test_a_failed_commit_leaves_nothing_of_itself(self, catalog: Catalog, other: Catalog) -> None:
        """Of several tables in one commit, all are changed or none."""
        write(catalog, new_segment(), content="a", write_id="w")
        attempt = catalog.attempts.register("write", "several")
        second = replace(commit_of(new_segment(), content="b"), spec=replace(SPEC, name="Quotes"))
        with catalog.view() as view:
            record = view.table("trades")
        assert record is not None
        first = commit_of(new_segment(), content="other", write_id="w", table_id=record.table_id)
        before = other.snapshot()
        with pytest.raises(ConflictError):
            catalog.commits.write(attempt, [second, first])
        assert other.snapshot() == before
        with other.view() as view:
            assert view.table_names() == ["Trades"]
        assert catalog.attempts.states()[attempt.attempt_id] == "open"

    def test_a_sweep_through_one_handle_ends_an_attempt_of_another(
        self, catalog: Catalog, other: Catalog, clock: ManualClock
    ) -> None:
        """A lease is in the catalog and not in the handle."""
        attempt = catalog.attempts.register("write", "trades")
        assert other.attempts.reap() == []
        clock.advance(LEASE_SECONDS + 1)
        assert other.attempts.reap() == [attempt.attempt_id]
        with pytest.raises(ConflictError, match="lease ran out"):
            catalog.attempts.renew(attempt)
        assert isinstance(catalog.attempts.conflict(attempt), ConflictError)
        with pytest.raises(ConflictError, match="lease ran out"):
            catalog.commits.write(attempt, [commit_of(new_segment())])

    def test_a_clock_that_goes_back_does_not_reorder_versions(self, catalog: Catalog, clock: ManualClock) -> None:
        """Instants of versions only grow, so that an instant means one version for good."""
        write(catalog, new_segment(), content="a")
        instant = clock.now_ns()
        clock.advance(-3600)
        write(catalog, new_segment(), content="b")
        with catalog.view() as view:
            assert view.committed_ns(2) > view.committed_ns(1)
        assert catalog.version_at(instant) == 1
