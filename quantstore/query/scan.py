"""A table as a Polars LazyFrame: what a query projects, filters and limits is all that is read of the tiers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from quantstore.catalog.segments import SegmentFilter
from quantstore.errors import IntegrityError, QuantStoreError, UnavailableError, UnsupportedError
from quantstore.query.assemble import RowFilter, assemble, clusters
from quantstore.query.convert import to_polars
from quantstore.query.held import LARGE_BYTES, REPLANS, Held, has_moved
from quantstore.query.memory import release_unused
from quantstore.query.plan import Pruned
from quantstore.query.predicates import Predicate, read_predicate
from quantstore.query.report import ReadReport

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.core.tier import Tier
    from quantstore.query.plan import Choice, Plan
    from quantstore.query.reader import BareRead
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

_POLARS = tuple(int(part) for part in pl.__version__.split(".")[:2])
_TAKES_CATEGORIES = _POLARS >= (1, 33)
"""Before that Polars takes no Enum from a source, and categories only in one chunk."""
_RESOLVES = _POLARS >= (2, 1)
"""Polars 2.0 has resolvers too, but panics where an Enum is looked up in a list."""


@dataclass(frozen=True, slots=True)
class ScanContext:
    """What a scan needs of the reader that made it.

    Attributes:
        catalog: The catalog.
        stores: The stores by tier.
        plan: Plans a read of the table, at the version the scan is pinned to, of segments that meet conditions.
        tell: Warns of, or refuses, what a plan leaves out.
        remember: Takes a report for the last read's: of one that begins, or of the end of the one given second.
    """

    catalog: Catalog
    stores: Mapping[Tier, SegmentStore]
    plan: Callable[[SegmentFilter], BareRead]
    tell: Callable[[Plan], None]
    remember: Callable[[ReadReport, ReadReport | None], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A planned read; good as long as nothing has moved since.

    Attributes:
        planned: The plan.
        wanted: What its segments were chosen by.
        limit: Rows wanted, or None for all.
    """

    planned: BareRead
    wanted: SegmentFilter
    limit: int | None


class TableScan:
    """Gives Polars the rows of one version of a table in `(time, _seq)` order, batch by batch, planned anew each time.

    Args:
        context: See there.
        planned: The read of the whole table.

    Raises:
        UnsupportedError: A column has ordered categories that no write has fixed.
    """

    def __init__(self, context: ScanContext, planned: BareRead) -> None:
        self._context = context
        self._form = planned.form
        self.name = planned.form.spec.name
        self.schema = _schema(planned)
        self._enums: dict[Any, pl.DataType] = {}
        if not _TAKES_CATEGORIES:
            self._enums = {name: kind for name, kind in self.schema.items() if isinstance(kind, pl.Enum)}
            self.schema |= dict.fromkeys(self._enums, pl.String())
        self._told = _left_out(planned.plan)

    def lazy(self) -> pl.LazyFrame:
        """Return the scan as Polars takes it: a resolver from Polars 2.1 on, a source of batches before."""
        if _RESOLVES:
            from quantstore.query.resolver import QuantStoreTable

            return QuantStoreTable(self).lazy()
        frame = register_io_source(partial(self.batches, None), schema=self.schema, validate_schema=True)
        return frame.cast(self._enums) if self._enums else frame

    def generation(self) -> int:
        """Return the placement generation the catalog is at."""
        return self._context.catalog.snapshot().generation

    def predicate(self, expression: pl.Expr | None) -> Predicate:
        """Return what to filter by and what that says about segments."""
        return read_predicate(expression, self._form, self.schema)

    def prepare(self, wanted: SegmentFilter, limit: int | None) -> Prepared:
        """Plan to read the first `limit` rows that meet `wanted`."""
        planned = self._context.plan(wanted)
        return Prepared(planned if limit is None else _limited(planned, limit), wanted, limit)

    def batches(
        self,
        prepared: Prepared | None,
        columns: list[str] | None,
        expression: pl.Expr | None,
        limit: int | None,
        batch_rows: int | None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows Polars asks for.

        Args:
            prepared: What is planned already, if anything.
            columns: Columns wanted, those the predicate names included; None means all.
            expression: The predicate.
            limit: Rows wanted.
            batch_rows: Rows wanted at a time; None for as many as are there.

        Raises:
            IntegrityError: A needed segment is damaged; table, partition and tier are named.
            UnavailableError: Segments kept moving while they were read.
        """
        begun = time.perf_counter()
        predicate = self.predicate(expression)
        if prepared is None or (prepared.limit is not None and predicate.expression is not None):
            prepared = self.prepare(predicate.wanted, limit if predicate.expression is None else None)
        limits = [number for number in (limit, prepared.limit) if number is not None]
        limit = min(limits, default=None)
        planned = prepared.planned
        held = Held(self._context.catalog, planned.plan.version) if len(planned.plan.scans[0].choices) > 1 else None
        report: ReadReport | None = None
        rows = 0
        try:
            if planned.plan.generation != self.generation():
                planned = self.prepare(prepared.wanted, prepared.limit).planned
            report = self._begin(planned.plan, begun)
            names = [name for name in self.schema if columns is None or name in columns]
            for table in self._tables(replace(prepared, planned=planned), names):
                frame = self._frame(table, names, predicate.expression)
                size = table.nbytes
                del table  # while the next one is made, none of this one is needed
                frame = frame if limit is None else frame.head(limit - rows)
                rows += frame.height
                yield from frame.iter_slices(batch_rows or max(1, frame.height))
                if limit is not None and rows >= limit:
                    return
                if size >= LARGE_BYTES:
                    del frame
                    release_unused()
        finally:
            if report is not None:
                self._context.remember(replace(report, rows=rows, total_seconds=time.perf_counter() - begun), report)
            if held is not None:
                with suppress(QuantStoreError):  # the store may be gone by the time Polars drops a stream
                    held.release()

    def _begin(self, plan: Plan, begun: float) -> ReadReport:
        """Tell what the plan leaves out, count its segments as read and note it as the last read."""
        if not _left_out(plan) <= self._told:
            self._context.tell(plan)
        choices = plan.scans[0].choices
        self._context.catalog.access.record({choice.placed.segment.segment_id for choice in choices})
        planned = time.perf_counter() - begun
        report = ReadReport(plan, None, planned, planned)
        self._context.remember(report, None)
        return report

    def _tables(self, prepared: Prepared, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows in order; where copies were moved away, plan anew and go on after the rows already given.

        Rows and their order are the same wherever they are, so counting them is enough to find the place again.
        """
        needed = names or [self._form.spec.time]  # rows have to be counted even where no column is wanted
        planned, given = prepared.planned, 0
        for _ in range(REPLANS):
            to_skip = given
            try:
                for table in assemble(planned.plan.scans[0], planned.form, self._context.stores, planned.rows, needed):
                    skipped = min(to_skip, table.num_rows)
                    to_skip -= skipped
                    table = table.slice(skipped) if skipped else table
                    given += table.num_rows
                    if table.num_rows:
                        yield table
                    del table
            except IntegrityError as error:
                if not has_moved(self._context.catalog, error):
                    raise
                planned = self.prepare(prepared.wanted, prepared.limit).planned
            else:
                return
        raise UnavailableError(f"Segments of table {self.name!r} kept moving while they were read; try again.")

    def _frame(self, table: pa.Table, names: list[str], expression: pl.Expr | None) -> pl.DataFrame:
        for name in self._enums.keys() & set(names):
            table = table.set_column(names.index(name), name, table.column(name).cast(pa.string()))
        frame = to_polars(table)
        casts = {name: dtype for name, dtype in self.schema.items() if frame.schema.get(name, dtype) != dtype}
        frame = frame.cast(casts) if casts else frame  # type: ignore[arg-type]
        frame = frame if expression is None else frame.filter(expression)
        frame = frame.select(names)
        return frame if _TAKES_CATEGORIES else frame.rechunk()


def _schema(planned: BareRead) -> dict[str, pl.DataType]:
    """Return the Polars types of a read's columns, which are the same whichever segments a query then needs."""
    form, names = planned.form, planned.columns
    if planned.plan.scans[0].choices or planned.plan.left_out:
        _check_categories(form, names)
    return dict(to_polars(form.empty_table(names)).schema)


def _check_categories(form: TableForm, names: Sequence[str]) -> None:
    for name in names:
        if getattr(form.schema.field(name).type, "ordered", False) and form.categories(name) is None:
            raise UnsupportedError(
                f"The categories of column {name!r} of table {form.spec.name!r} are ordered and no schema names them, "
                "so they are only known when rows are read; use read(..., to='polars'), or leave it out with columns=.",
                table=form.spec.name,
                column=name,
            )


def _left_out(plan: Plan) -> frozenset[int]:
    return frozenset(placed.segment.segment_id for placed in plan.left_out)


def _limited(planned: BareRead, limit: int) -> BareRead:
    """Return the read of the segments that certainly hold the first `limit` rows."""
    if planned.rows == RowFilter():
        scan = planned.plan.scans[0]
        kept: list[Choice] = []
        rows = 0
        for cluster in clusters(scan.choices):
            kept += cluster.choices
            rows += sum(choice.placed.segment.stats.rows for choice in cluster.choices)
            if rows >= limit and not cluster.meets_next:
                break
        pruned = Pruned("limit", len(scan.choices) - len(kept))
        scan = replace(scan, choices=tuple(kept), pruned=(*scan.pruned, pruned))
        return replace(planned, plan=replace(planned.plan, scans=(scan,)))
    return planned
