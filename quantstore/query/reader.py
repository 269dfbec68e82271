"""Read: resolve, plan, run, convert; the same answer whatever tier holds the rows."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from quantstore.catalog.kept import EXPIRED
from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.warn import warn_caller
from quantstore.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PartialResultWarning,
    UnavailableError,
)
from quantstore.query.answers import Answers, Whole
from quantstore.query.assemble import RowFilter, assemble, unified
from quantstore.query.convert import convert
from quantstore.query.held import REPLANS, Held, has_moved
from quantstore.query.literals import days, time_range
from quantstore.query.memory import SizeLimit, parse_bytes
from quantstore.query.mistakes.refusals import refused_name
from quantstore.query.mistakes.telling import telling, told_tables
from quantstore.query.moment import version_of
from quantstore.query.narrowing import both
from quantstore.query.plan import Plan, plan_scan
from quantstore.query.relations import check_shadows
from quantstore.query.report import ReadReport
from quantstore.query.request import ReadRequest
from quantstore.query.resolve import unknown_table
from quantstore.query.spelled import as_sql
from quantstore.rows.columns import match_column
from quantstore.rows.form import TableForm, known_form

if TYPE_CHECKING:
    import polars as pl

    from quantstore.cache.results import ResultCache
    from quantstore.catalog.catalog import Catalog, View
    from quantstore.catalog.records import TableRecord
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.query.keys import Key
    from quantstore.query.preparer import Preparer
    from quantstore.query.repeats import Repeats
    from quantstore.query.statement import Statement
    from quantstore.stores.base import SegmentStore

_Made = TypeVar("_Made")


@dataclass(slots=True)
class Pin:
    """The version a read is made at; None until its first view of the catalog."""

    version: int | None


@dataclass(frozen=True, slots=True)
class BareRead:
    """A planned bare-table read."""

    plan: Plan
    form: TableForm
    rows: RowFilter
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskedRows:
    """What a bare-table read asks for, before anything is looked up."""

    form: TableForm
    wanted: SegmentFilter
    rows: RowFilter
    columns: tuple[str, ...]


class Reader:
    """Answers reads from the catalog's segments."""

    def __init__(
        self, catalog: Catalog, stores: Mapping[Tier, SegmentStore], engine: Engine, cache: ResultCache
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._engine = engine
        self._answers = Answers(cache, catalog, engine)
        self.last: ReadReport | None = None

    def read(self, request: ReadRequest) -> Any:
        """Return the answer as `request.to`.

        Raises:
            NotFoundError: No such table, version or column.
            InvalidInputError: The query or an option makes no sense.
            IntegrityError: A needed segment is damaged or gone; table, partition and tier are named.
            ResultTooLarge: The result exceeds `max_bytes`.
        """
        if request.to == "reader":
            return self._stream(request)
        if request.to == "lazy" and (scanned := self._lazy(request)) is not None:
            return scanned
        if request.to == "relation":
            return self._relation(request)
        begun = time.perf_counter()
        whole = self._at_one_version(request, self._whole)
        result = convert(whole.table, request.to, request.dtype_backend, whole.frame)
        seconds = time.perf_counter() - begun
        self.last = ReadReport(
            whole.plan, whole.table.num_rows, whole.planned - begun, seconds, whole.layer, whole.tables
        )
        if request.to == "pandas":
            result.attrs["quantstore"] = self.last.summary()
        return result

    def scan(self, request: ReadRequest) -> pl.LazyFrame:
        """Return a table as a LazyFrame; what a query on it projects, filters and limits is all that is read.

        Raises:
            NotFoundError: No such table or version.
            InvalidInputError: A column does not exist, or the query is SQL.
        """
        scanned = self._lazy(request)
        if scanned is None:
            raise InvalidInputError("scan takes the name of a table; for SQL use read(sql, to='lazy').")
        return scanned

    def explain(self, request: ReadRequest) -> Plan:
        """Return what the read would touch and why, without opening a file."""
        with self._catalog.view(self._version(request.as_of)) as view:
            record = self._bare_table(view, request)
            if record is not None:
                return self._plan_bare(view, record, request, explain=True).plan
            return self._plan_sql(view, request, explain=True).plan

    def _whole(self, request: ReadRequest, pin: Pin) -> Whole:
        """Return the whole answer, from the cache where it was given before."""
        limit = SizeLimit(request.max_bytes)
        with self._view(pin) as view:
            record = self._bare_table(view, request)
            asked = None if record is None else self._asked(record, request)
            key = self._key(view, request, record, asked) if self._answers.wants(request) else None
            frame = None if asked is None else asked.form.frame
            found = self._answers.find(key, view, request, frame, time.perf_counter())
            planned = self._planned(view, request, record) if found is None else None
        if found is not None:
            limit.check(found.table.nbytes)
            return found
        assert planned is not None  # noqa: S101 - what was not found is read
        schema, tables = self._started(planned, request, pin)
        done = time.perf_counter()
        parts, size = [], 0
        for table in tables:
            size += table.nbytes
            limit.check(size)
            parts.append(table)
        rows = _joined(parts, schema)
        if isinstance(planned, BareRead) and not rows.num_rows:
            rows = planned.form.empty_table(planned.columns)
        whole = Whole(rows, planned.plan, frame, done, None, {} if key is None else key.tables)
        self._answers.keep(key, whole, time.perf_counter() - done)
        return whole

    def _key(self, view: View, request: ReadRequest, record: TableRecord | None, asked: AskedRows | None) -> Key | None:
        """Return what the answer depends on; None where it must not be kept."""
        if record is None or asked is None:
            return self._answers.keys.of_sql(view, request)
        return self._answers.keys.of_table(view, request, record, asked.rows, asked.columns)

    def _run(self, request: ReadRequest, pin: Pin) -> tuple[BareRead | Statement, pa.Schema, Iterator[pa.Table]]:
        """Plan a read and return the plan, the result's schema and its tables, not yet read."""
        with self._view(pin) as view:
            planned = self._planned(view, request, self._bare_table(view, request))
        if isinstance(planned, BareRead):
            check_shadows(planned.plan.scans[0], self._stores)
        return planned, *self._started(planned, request, pin)

    def _planned(self, view: View, request: ReadRequest, record: TableRecord | None) -> BareRead | Statement:
        return self._plan_sql(view, request) if record is None else self._plan_bare(view, record, request)

    def _started(
        self, planned: BareRead | Statement, request: ReadRequest, pin: Pin
    ) -> tuple[pa.Schema, Iterator[pa.Table]]:
        """Return the schema and the tables of a planned read, not yet read."""
        self._note(planned.plan, request)
        if isinstance(planned, BareRead):
            schema = pa.schema([planned.form.schema.field(name) for name in planned.columns])
            scan = planned.plan.scans[0]
            return schema, assemble(scan, planned.form, self._stores, planned.rows, planned.columns)
        running = planned.run(self._engine, self._stores, self._repeats.of(planned))
        tables = told_tables(running, request, self._catalog, pin.version)
        first = next(tables)
        return first.schema, _after(first, tables)

    @contextmanager
    def _view(self, pin: Pin) -> Iterator[View]:
        """Open a view of the pinned version; the first one of a read pins the newest."""
        with self._catalog.view(pin.version) as view:
            pin.version = view.snapshot.version
            yield view

    def _note(self, plan: Plan, request: ReadRequest) -> None:
        """Tell what is left out, and count the segments as read."""
        _tell_left_out(plan, request)
        self._catalog.access.record(
            {choice.placed.segment.segment_id for scan in plan.scans for choice in scan.choices}
        )

    def _relation(self, request: ReadRequest) -> Any:
        """Return a relation that has not run; its segments are held until it is dropped."""
        begun = time.perf_counter()
        held = Held(self._catalog, self._version(request.as_of))
        try:
            relation, plan = self._at_one_version(request, self._related)
        except BaseException:
            held.release()
            raise
        weakref.finalize(relation, held.release)
        done = time.perf_counter()
        self.last = ReadReport(plan, None, done - begun, done - begun)
        return relation

    def _related(self, request: ReadRequest, pin: Pin) -> tuple[Any, Plan]:
        with self._view(pin) as view:
            record = self._bare_table(view, request)
            if record is not None:
                bare = self._plan_bare(view, record, request)
                request = replace(request, **as_sql(bare.form, bare.rows, bare.columns))
            statement = self._plan_sql(view, request)
        self._note(statement.plan, request)
        with telling(request, self._catalog, pin.version):
            return statement.relation(self._engine, self._stores), statement.plan

    def _lazy(self, request: ReadRequest) -> pl.LazyFrame | None:
        """Return a scan of the table the query names at the version of now, or None where it is SQL."""
        from quantstore.query.scan import ScanContext, TableScan  # Polars is loaded by the first scan

        begun = time.perf_counter()
        parse_bytes(request.max_bytes)
        pin = Pin(self._version(request.as_of))
        with self._view(pin) as view:
            record = self._bare_table(view, request)
            if record is None:
                return None
            planned = self._plan_bare(view, record, request)

        def plan(narrowed: SegmentFilter) -> BareRead:
            with self._view(pin) as view:
                return self._plan_bare(view, record, request, narrowed)

        tell = partial(_tell_left_out, request=request)
        context = ScanContext(self._catalog, self._stores, plan, tell, self._remember)
        scanned = TableScan(context, planned).lazy()
        _tell_left_out(planned.plan, request)
        done = time.perf_counter() - begun
        self.last = ReadReport(planned.plan, None, done, done)
        return scanned

    def _remember(self, report: ReadReport, begun: ReadReport | None) -> None:
        """Take a report for the last read's: of one that begins, or of the end of the one that is the last."""
        if begun is None or self.last is begun:
            self.last = report

    def _stream(self, request: ReadRequest) -> pa.RecordBatchReader:
        """Return a reader that holds its segments, by a heartbeat, until it is read to the end or dropped."""
        begun = time.perf_counter()

        held = Held(self._catalog, self._version(request.as_of))
        try:
            planned, schema, tables = self._at_one_version(request, self._run)
        except BaseException:
            held.release()
            raise
        done = time.perf_counter()
        self.last = ReadReport(planned.plan, None, done - begun, done - begun)
        return pa.RecordBatchReader.from_batches(schema, held.batches(tables, schema))

    def _at_one_version(self, request: ReadRequest, action: Callable[[ReadRequest, Pin], _Made]) -> _Made:
        """Run `action`, planning anew at the same version where segments moved away under it.

        What was to be read at the newest version is read at the newest of now where that one has expired meanwhile.
        """
        pin = Pin(self._version(request.as_of))
        for _ in range(REPLANS):
            try:
                return action(request, pin)
            except IntegrityError as error:
                if not has_moved(self._catalog, error):
                    raise
            except NotFoundError as error:
                if request.as_of is not None or pin.version is None or EXPIRED not in error.context:
                    raise
                pin.version = None
        raise UnavailableError("Segments kept moving while they were read; try again.")

    def _version(self, as_of: Any) -> int | None:
        return None if as_of is None else version_of(self._catalog, as_of, "as_of")

    def _bare_table(self, view: View, request: ReadRequest) -> TableRecord | None:
        """Return the table that the query names, or None where the query is SQL.

        Raises:
            NotFoundError: The query is one word and no table.
        """
        text = request.query.strip()
        name = text[1:-1].replace('""', '"') if len(text) > 2 and text[0] == text[-1] == '"' else text
        record = view.table(name)
        if record is not None:
            return record
        if text.replace("_", "a").replace("-", "a").replace(".", "a").isalnum():
            raise refused_name(text) or unknown_table(view, text)
        if request.has_row_options:
            raise InvalidInputError(
                "start=, end=, dates=, symbols= and columns= go with the name of a table; in SQL use WHERE and SELECT."
            )
        return None

    def _plan_sql(self, view: View, request: ReadRequest, *, explain: bool = False) -> Statement:
        with telling(request, self._catalog, view.snapshot.version):
            return self._preparer.prepare(view, request, explain=explain)

    @cached_property
    def _preparer(self) -> Preparer:
        from quantstore.query.preparer import Preparer  # the SQL parser is loaded by the first SQL query

        return Preparer(self._engine)

    @cached_property
    def _repeats(self) -> Repeats:
        from quantstore.query.repeats import Repeats

        return Repeats()

    def close(self) -> None:
        """Let go of what repeated statements would use again."""
        if "_repeats" in self.__dict__:
            self._repeats.close()

    def _plan_bare(
        self,
        view: View,
        record: TableRecord,
        request: ReadRequest,
        narrowed: SegmentFilter = EVERYTHING,
        *,
        explain: bool = False,
    ) -> BareRead:
        asked = self._asked(record, request, narrowed)
        scan = plan_scan(view, record, asked.form.spec.name, asked.wanted, request.tiers, explain=explain)
        plan = Plan(request.query, view.snapshot.version, view.snapshot.generation, (scan,), request.tiers)
        return BareRead(plan, asked.form, asked.rows, asked.columns)

    def _asked(self, record: TableRecord, request: ReadRequest, narrowed: SegmentFilter = EVERYTHING) -> AskedRows:
        """Return what a bare read asks for, its options understood."""
        if request.params or request.frames.tables:
            given = "params=" if request.params else "frames="
            raise InvalidInputError(f"{given} goes with SQL; a bare table takes start=, end=, dates= and symbols=.")
        form = known_form(record)
        spec = form.spec
        span = time_range(request.start, request.end, spec.time, form.schema.field(spec.time).type)
        wanted_days = None if request.dates is None else days(request.dates)
        if request.symbols is not None and spec.symbol is None:
            raise InvalidInputError(f"Table {spec.name!r} has no symbol column, so symbols= means nothing.")
        floors = None if wanted_days is None else tuple(sorted({spec.grain.floor(day) for day in wanted_days}))
        wanted = both(SegmentFilter(time=span, days=floors, symbols=request.symbols), narrowed)
        rows = RowFilter(wanted.time, wanted.symbols, wanted_days)
        return AskedRows(form, wanted, rows, columns_of(form, request))


def columns_of(form: TableForm, request: ReadRequest) -> tuple[str, ...]:
    """Return the columns of a bare read: the user's own, or those asked for and, for pandas, the index."""
    if request.columns is None:
        return tuple(form.visible.names)
    asked = [match_column(form.schema, name, form.spec.name) for name in request.columns]
    index = form.frame.get("index", []) if request.to == "pandas" and request.dtype_backend is None else []
    return tuple(dict.fromkeys([*index, *asked]))


def _after(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield a table that was looked at, then the others; closing it closes them."""
    yield first
    del first
    yield from rest


def _joined(parts: list[pa.Table], schema: pa.Schema) -> pa.Table:
    parts = [part for part in parts if part.num_rows] or parts[:1]
    if not parts:
        return schema.empty_table()
    whole = parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")
    if len(parts) > 1 and any(pa.types.is_dictionary(field.type) for field in whole.schema):
        return unified(whole)
    return whole


def _tell_left_out(plan: Plan, request: ReadRequest) -> None:
    """Warn of, or refuse, an answer that a `tiers=` hint made partial."""
    left_out = plan.left_out
    if not left_out or request.missing == "ignore":
        return
    rows = sum(placed.segment.stats.rows for placed in left_out)
    where = ", ".join(sorted({placed.primary.tier.value for placed in left_out}))
    message = (
        f"tiers={[tier.value for tier in request.tiers]} leaves out {len(left_out)} segments with {rows:,} rows that "
        f"are in {where}; the answer is partial. Name those tiers too, or pass missing='ignore'."
    )
    if request.missing == "raise":
        raise UnavailableError(message, segments=len(left_out), rows=rows)
    warn_caller(message, PartialResultWarning)
