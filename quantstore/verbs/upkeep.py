"""Upkeep: moving, proving, cleaning."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from quantstore.core.duration import parse_duration_ns
from quantstore.core.tier import ALL_TIERS, parse_tier
from quantstore.verbs.base import Verbs

if TYPE_CHECKING:
    from quantstore.catalog.records import Receipt
    from quantstore.maintenance.compacted import CompactionReport
    from quantstore.maintenance.problems import AuditReport, FsckReport
    from quantstore.maintenance.sweep import SweepResult
    from quantstore.tiering.planner import ProposedMove


class UpkeepVerbs(Verbs):
    """migrate, compact, audit, fsck, sweep."""

    def migrate(
        self,
        table: str,
        src_tier: str,
        dst_tier: str,
        *,
        where: str | None = None,
        before: Any = None,
        dry_run: bool = False,
    ) -> list[Receipt] | list[ProposedMove]:
        """Move a table's rows from one tier to another: copy, read back, compare, commit.

        What was moved stays readable throughout; the old bytes go with a later `sweep`.

        Args:
            table: The table.
            src_tier: Tier to take from, or `any`.
            dst_tier: Tier to bring to.
            where: SQL condition on rows; a segment it cuts is split.
            before: Only rows with an event time before this.
            dry_run: Whether only to return what would move.

        Returns:
            A receipt per segment moved, or with `dry_run` a proposal per segment.

        Raises:
            NotFoundError: No such table.
            IntegrityError: A source is damaged, or a copy reads back differently; nothing of it was changed.
        """
        from quantstore.query.literals import time_range
        from quantstore.rows.form import known_form
        from quantstore.tiering.migrate import MigrateRequest, Migrator

        sources = ALL_TIERS if str(src_tier).lower() == "any" else (parse_tier(src_tier),)
        destination = parse_tier(dst_tier)
        record = self._record(table)
        form = known_form(record)
        span = time_range(None, before, form.spec.time, form.schema.field(form.spec.time).type, "before")
        migrator = Migrator(self.metadata_catalog, self._stores, self._engine, record)
        request = MigrateRequest(sources, destination, where, span)
        if dry_run:
            return migrator.propose(request)
        self._require_writable("migrate")
        with self._publisher.once():
            return migrator.run(request)

    def compact(self, table: str | None = None, *, tier: str | None = None, dry_run: bool = False) -> CompactionReport:
        """Merge small and overlapping segments into few sorted ones; every version reads as before.

        Segments that are well as they are stay untouched, so that compacting again does nothing, and compacting often
        beside a stream of small appends rewrites each row a few times only. The files of the old segments go with a
        later `sweep`, or, where older versions need them, once those have expired.

        Args:
            table: The table; None for all, one after the other.
            tier: Only segments of this tier; None for all.
            dry_run: Whether only to return what would be merged first, and why.

        Returns:
            What was merged and why; true where that is anything.

        Raises:
            NotFoundError: No such table.
            IntegrityError: A segment is damaged, or a new one reads back differently; nothing of it was changed.
            ConflictError: Other processes kept changing the same segments.
        """
        from quantstore.maintenance.compact import Compactor
        from quantstore.maintenance.compacted import CompactionReport

        if not dry_run:
            self._require_writable("compact")
        wanted = None if tier is None else parse_tier(tier)
        with self.metadata_catalog.view() as view:
            names = view.table_names() if table is None else [table]
        found = []
        for name in names:
            compactor = Compactor(self.metadata_catalog, self._stores, self._form, self._record(name), wanted)
            with self._publisher.once():
                found.append(compactor.propose() if dry_run else compactor.run())
        return CompactionReport.of_all(found, dry_run=dry_run)

    def audit(self) -> AuditReport:
        """Read every copy from first to last byte, prove every move again, and report what is wrong."""
        from quantstore.maintenance.fsck import Checker

        return Checker(self.metadata_catalog, self._stores, self._form).audit()

    def fsck(self, repair: bool = False, *, deep: bool = True) -> FsckReport:
        """Check everything an audit checks and what is derived from the rows, and mend what can be mended safely.

        What is mended is proven: bytes by their checksum, rows by receipts of moves, statistics by the rows. Damaged
        bytes and files that belong to nobody are moved to the folder `lost+found` beside the catalog, never deleted;
        `repairs.jsonl` there keeps a record.

        Args:
            repair: Whether to mend; else nothing is changed.
            deep: Whether to read contents; False looks at names and sizes only.

        Returns:
            What was found, mended and left; true where nothing wrong is left.

        Raises:
            AccessDeniedError: `repair`, and the store is open read-only.
        """
        from quantstore.cache.disk import DiskCache
        from quantstore.maintenance.fsck import Fsck
        from quantstore.query.answers import cache_folder

        if repair:
            self._require_writable("repair it")
        catalog = self.metadata_catalog
        kept = DiskCache(cache_folder(catalog.path), 1, 1, is_read_only=catalog.read_only)
        with self._publisher.once():
            report = Fsck(catalog, self._stores, self._form, self._publisher, kept, deep=deep).run(repair=repair)
        if report.repairs:
            self._cache.clear()
        return report

    def sweep(self, grace: str | float | timedelta = "1h") -> SweepResult:
        """Delete bytes nothing reaches: copies superseded for longer than `grace`, leftovers of dead processes."""
        from quantstore.maintenance.sweep import sweep

        self._require_writable("sweep")
        self._publisher.before_sweep()
        return sweep(self.metadata_catalog, self._stores, parse_duration_ns(grace, "grace"))
