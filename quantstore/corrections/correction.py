"""The write modes that take rows away: replace, upsert, delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.catalog.records import UNCHANGED, Rewrite, TableRecord, WriteCommit
from quantstore.catalog.segments import SegmentFilter
from quantstore.core.segment import ASSET_CLASS, SEQ
from quantstore.corrections.rewrite import Rest, Rewriter, Unit, members, removed_of, units
from quantstore.corrections.same import equal_rows
from quantstore.corrections.scopes import ConditionScope, GroupScope, KeyScope, Mask, Scope
from quantstore.errors import InvalidInputError
from quantstore.query.assemble import concat
from quantstore.query.condition import Condition
from quantstore.query.plan import may_hold_symbol
from quantstore.rows.columns import match_column
from quantstore.rows.evolution import adapted
from quantstore.rows.form import TableForm, known_form
from quantstore.write.append import received_again
from quantstore.write.arrivals import Arrivals, conformed, content_digest, row_columns
from quantstore.write.grain import with_grain
from quantstore.write.lineage import code_lineage
from quantstore.write.partition import add_hidden

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.core.segment import PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.rows.times import Int64s
    from quantstore.stores.base import SegmentStore
    from quantstore.write.append import Incoming
    from quantstore.write.request import WriteRequest
    from quantstore.write.staging import Staging


@dataclass(frozen=True, slots=True)
class Parts:
    """What corrections work with."""

    catalog: Catalog
    stores: Mapping[Tier, SegmentStore]
    engine: Engine

    def condition(self, record: TableRecord, where: str) -> Condition:
        """Return a condition on the rows of a table."""
        return Condition(self.catalog, self.stores, self.engine, record, where)

    def rewriter(self, record: TableRecord) -> Rewriter:
        """Return what rewrites the segments of a table."""
        return Rewriter(self.catalog, self.stores, record, lambda number: self._form(record, number))

    def _form(self, record: TableRecord, schema_id: int) -> TableForm:
        return known_form(record, self.catalog.schemas([schema_id])[schema_id])


@dataclass(frozen=True, slots=True)
class _Touched:
    """Segments of which the rows in `mask` go.

    Attributes:
        unit: The segments.
        mask: Which of their rows.
        rows: Of these rows the columns that the scope looks at.
    """

    unit: Unit
    mask: Mask
    rows: pa.Table


class Delete:
    """Takes the rows away that meet a condition.

    Args:
        parts: What it works with.
        record: The table.
        request: Names the condition.
    """

    def __init__(self, parts: Parts, record: TableRecord, request: WriteRequest) -> None:
        assert request.where is not None  # noqa: S101 - delete requires one
        self._parts = parts
        self._record = record
        self._scope = ConditionScope(parts.condition(record, request.where))
        self._lineage = code_lineage()
        self.request = request

    most_rows = 0

    def refresh(self, beside: Incoming | None = None) -> None:
        """Do nothing: each preparation looks for the rows anew, whatever columns the table has."""

    def keep_as(self, form: TableForm) -> None:
        """Do nothing: what is left of a segment keeps the form it has."""

    def prepare(self, staging: Staging) -> WriteCommit:
        """Write what is left of the segments that lose rows, and return the commit."""
        form = known_form(self._record)
        rewriter = self._parts.rewriter(self._record)
        found = _Found(self._parts, self._record, self._scope, rewriter, form)
        rests = (Rest(one.unit, rewriter.read_all(one.unit), one.mask) for one in found.touched)
        rewrites = rewriter.without(rests, staging)
        return WriteCommit(
            spec=form.spec,
            schema=form.stored(),
            schema_id=self._record.schema_id,
            table_id=self._record.table_id,
            operation="delete",
            tier=self.request.tier,
            segments=(),
            rows=0,
            content=f"where {self.request.where}",
            write_id=self.request.write_id,
            rewrites=rewrites,
            scope=found.wanted,
            planned_version=found.version,
            expected_version=self.request.expected_version,
            lineage={"where": self.request.where, **self._lineage},
        )


class Correction:
    """A `replace` or `upsert` write: takes rows away and adds a frame's in one commit.

    The frame is held in memory. Where what would go is what would come, nothing is changed.

    Args:
        parts: What it works with.
        incoming: The frame's rows.
        request: What is asked for.
        first_ordinal: Number of the first row among those its commit adds to the table.

    Raises:
        InvalidInputError: The rows do not fit the table, its key, or the condition of the request.
    """

    def __init__(self, parts: Parts, incoming: Incoming, request: WriteRequest, first_ordinal: int = 0) -> None:
        self._parts = parts
        self._first = first_ordinal
        self.request = request
        self._kept_as: TableForm | None = None
        self._take(incoming)

    def _take(self, incoming: Incoming) -> None:
        self._form = self._with_key(incoming.form)
        wishes = self.request.wishes
        tables = [
            add_hidden(table, self._form, wishes.asset_class)
            for table in conformed(incoming.source, self._form, tz=wishes.tz)
            if table.num_rows
        ]
        self._full = pa.concat_tables(tables) if tables else _no_rows(self._form)
        self._form = with_grain(self._form, self._full)
        self.incoming = replace(incoming, form=self._form)
        self.__dict__.pop("_content", None)
        self._scope = self._find_scope()

    def refresh(self, beside: Incoming | None = None) -> None:
        """Look the table up again: it may have other columns by now.

        Raises:
            InvalidInputError: The rows do not fit it any more.
            ConflictError: They came as a stream, which cannot be read again.
        """
        incoming = received_again(self._parts.catalog, self.incoming, self.request, beside)
        if incoming is not self.incoming:
            self._take(incoming)

    def keep_as(self, form: TableForm) -> None:
        """Keep the frame's rows in a newer form, which a later write of the same commit gives the table."""
        self._kept_as = None if form.schema == self._form.schema else form

    @property
    def most_rows(self) -> int:
        """The rows of the frame."""
        return int(self._full.num_rows)

    def prepare(self, staging: Staging) -> WriteCommit:
        """Make the new rows and what is left of the old segments durable, and return the commit."""
        request, record = self.request, self.incoming.record
        full = self._full
        rewrites: tuple[Rewrite, ...] = ()
        wanted: SegmentFilter | None = None
        places: tuple[PlacedSegment, ...] = ()
        version = self.incoming.version
        changes_nothing = False
        scope = None if self.incoming.is_known else self._scope
        if scope is not None and (record is None or record.schema is None):
            with self._parts.catalog.view() as view:  # there are no rows, but another process may be adding some
                wanted = scope.wanted(view)
        elif scope is not None and record is not None:
            rewriter = self._parts.rewriter(record)
            found = _Found(self._parts, record, scope, rewriter, self._form)
            version, wanted = found.version, found.wanted
            places = found.places
            unchanged = _Unchanged(self._full)
            rewrites = rewriter.without(self._rests(found.touched, rewriter, unchanged), staging)
            full = unchanged.rest()
            changes_nothing = bool(self._full.num_rows) and not rewrites and not full.num_rows
        form = self._kept_as or self._form
        arrivals = Arrivals(staging, self._parts.stores[request.tier], request.tier, form, self._first)
        arrivals.add(full if form is self._form else adapted(full, form, row_columns(form)))
        commit = self.incoming.commit(
            request,
            segments=tuple(arrivals.segments),
            rows=arrivals.rows,
            content=self._content,
            rewrites=rewrites,
            scope=wanted,
            found=places,
            changes_nothing=changes_nothing,
        )
        lineage = commit.lineage
        if unchanged := self._full.num_rows - full.num_rows:
            lineage = {**lineage, UNCHANGED: unchanged}
        return replace(commit, spec=self._form.spec, planned_version=version, lineage=lineage)

    def _with_key(self, form: TableForm) -> TableForm:
        """Return the form with the key an upsert goes by.

        Raises:
            InvalidInputError: There is none.
        """
        if self.request.mode != "upsert" or form.spec.key:
            return form
        wished = self.request.wishes.key
        if wished is None:
            raise InvalidInputError(
                f"Table {form.spec.name!r} has no key, so an upsert cannot tell which rows to update; give it one with "
                "the first upsert, such as key=['ts', 'symbol'], or use mode='replace'.",
                table=form.spec.name,
            )
        key = tuple(match_column(form.schema, name, form.spec.name) for name in wished)
        return replace(form, spec=replace(form.spec, key=key))

    def _find_scope(self) -> Scope | None:
        request, record = self.request, self.incoming.record
        if request.mode == "upsert":
            return KeyScope(self._full, self._form, self._form.spec.key) if self._full.num_rows else None
        if request.where is None:
            return GroupScope(self._full, self._form) if self._full.num_rows else None
        if record is None or record.schema is None:
            raise InvalidInputError(
                f"Table {request.table!r} has no rows yet, so where= means nothing; leave it out.", table=request.table
            )
        condition = self._parts.condition(record, request.where)
        self._refuse_outside(condition)
        return ConditionScope(condition)

    def _refuse_outside(self, condition: Condition) -> None:
        rows = self._full.num_rows
        numbered = self._full.append_column(SEQ, pa.array(np.arange(rows)))
        inside = condition.rows_of(numbered)
        if len(inside) < rows:
            outside = np.setdiff1d(np.arange(rows), inside.to_numpy())
            raise InvalidInputError(
                f"{len(outside)} of the frame's {rows} rows do not meet where={self.request.where!r} (the first is row "
                f"{outside[0]}); a replace writes only rows of the scope that it clears. Widen where= or drop them.",
                table=self.request.table,
            )

    @cached_property
    def _content(self) -> str:
        return _digest(self._form, self._full)

    def _rests(self, touched: list[_Touched], rewriter: Rewriter, unchanged: _Unchanged) -> Iterator[Rest]:
        """Yield what is to stay of the units, and note which rows of the frame need not come."""
        if isinstance(self._scope, KeyScope):
            yield from self._but_same_keys(touched, rewriter, self._scope, unchanged)
        elif self._is_same(touched, rewriter):
            unchanged.note(np.arange(self._full.num_rows))
        else:
            for one in touched:
                yield Rest(one.unit, rewriter.read_all(one.unit), one.mask)

    def _is_same(self, touched: list[_Touched], rewriter: Rewriter) -> bool:
        """Whether the rows that go are, in the order they came in, those that come."""
        if not touched or sum(one.rows.num_rows for one in touched) != self._full.num_rows:
            return False
        gone = concat(
            [rewriter.adapted(rewriter.read_all(one.unit).filter(pa.array(one.mask)), self._form) for one in touched]
        )
        gone = gone.take(pc.sort_indices(gone.column(SEQ)))
        return _digest(self._form, gone.select(self._full.column_names)) == self._content

    def _but_same_keys(
        self, touched: list[_Touched], rewriter: Rewriter, scope: KeyScope, unchanged: _Unchanged
    ) -> Iterator[Rest]:
        """Leave out the keys that have one row, which is the frame's."""
        full = self._full
        at = [scope.positions(one.rows) for one in touched]
        counts = np.bincount(np.concatenate([*at, np.zeros(0, np.int64)]), minlength=full.num_rows)
        for one, positions in zip(touched, at, strict=True):
            rows = rewriter.read_all(one.unit)
            gone = np.flatnonzero(one.mask)
            old = rewriter.adapted(rows.take(pa.array(gone)), self._form)
            same = equal_rows(old.select(full.column_names), full.take(pa.array(positions)))
            same &= counts[positions] == 1
            unchanged.note(positions[same])
            mask = one.mask.copy()
            mask[gone[same]] = False
            if mask.any():
                yield Rest(one.unit, rows, mask)


class _Unchanged:
    """The rows of a frame that are in the table as they are."""

    def __init__(self, full: pa.Table) -> None:
        self._full = full
        self._mask = np.zeros(full.num_rows, np.bool_)

    def note(self, positions: Int64s) -> None:
        """Note rows by their numbers."""
        self._mask[positions] = True

    def rest(self) -> pa.Table:
        """Return the other rows."""
        return self._full.filter(pa.array(~self._mask)) if self._mask.any() else self._full


class _Found:
    """The segments that have rows in a scope, at one version."""

    def __init__(self, parts: Parts, record: TableRecord, scope: Scope, rewriter: Rewriter, form: TableForm) -> None:
        self._scope = scope
        self._form = form
        self._rewriter = rewriter
        with parts.catalog.view() as view:
            self.version = view.snapshot.version
            self.wanted = scope.wanted(view)
            candidates = view.segments(record.table_id, self.wanted)
        self._units = units(one for one in candidates if may_hold_symbol(one, self.wanted.symbols))

    @cached_property
    def touched(self) -> list[_Touched]:
        """The segments that have such rows."""
        return [touched for touched, _ in self._found]

    @property
    def places(self) -> tuple[PlacedSegment, ...]:
        """The same, one by one."""
        return tuple(placed for _, segments in self._found for placed in segments)

    @cached_property
    def _found(self) -> list[tuple[_Touched, list[PlacedSegment]]]:
        found = []
        for unit in self._units:
            # Of several segments the asset classes tell whose rows are whose.
            columns = self._scope.columns if len(unit) == 1 else (*self._scope.columns, ASSET_CLASS)
            rows = self._rewriter.read(unit, self._form, columns)
            mask = np.zeros(rows.num_rows, np.bool_)
            for placed in unit if self._scope.is_by_segment else unit[:1]:
                with self._rewriter.reading(placed):  # a condition reads the segment by itself
                    mask |= self._scope.mask(placed, rows)
            mask &= members(unit, rows)
            segments = [placed for placed, _ in removed_of(unit, rows, mask)]
            if segments:
                found.append((_Touched(unit, mask, rows.take(pa.array(np.flatnonzero(mask)))), segments))
        return found


def _no_rows(form: TableForm) -> pa.Table:
    return form.schema.empty_table().select([name for name in form.schema.names if name != SEQ])


def _digest(form: TableForm, rows: pa.Table) -> str:
    digest = content_digest(form)
    digest.update(rows)
    return digest.hexdigest()
