"""Migrate: plan against the newest catalog, move, plan again where another process got in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from quantstore.core.timerange import TimeRange
from quantstore.errors import ConflictError, InvalidInputError, UnsupportedError
from quantstore.query.plan import Choice
from quantstore.query.request import ReadRequest
from quantstore.rows.form import TableForm, known_form
from quantstore.stores.engine_types import quote
from quantstore.tiering.mover import Matching, Mover
from quantstore.tiering.planner import PlannedMove, ProposedMove, plan_moves

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Receipt, TableRecord
    from quantstore.core.segment import PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.query.statement import Statement
    from quantstore.stores.base import SegmentStore

_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class MigrateRequest:
    """What is to move.

    Attributes:
        sources: Tiers to take from.
        destination: Tier to bring to.
        where: SQL condition on the table's rows, or None.
        time: Event-time range.
    """

    sources: tuple[Tier, ...]
    destination: Tier
    where: str | None = None
    time: TimeRange = TimeRange()


class Migrator:
    """Moves the rows of one table that meet a request."""

    def __init__(
        self, catalog: Catalog, stores: Mapping[Tier, SegmentStore], engine: Engine, record: TableRecord
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._engine = engine
        self._record = record
        self._forms: dict[int, TableForm] = {}

    def run(self, request: MigrateRequest) -> list[Receipt]:
        """Move and return receipts.

        Raises:
            ConflictError: Other processes kept moving the same segments.
        """
        mover = self._mover(request)
        receipts: list[Receipt] = []
        for round_number in range(_ROUNDS):
            moves = self._moves(request)
            if not moves:
                return receipts
            try:
                mover.move(moves, receipts)
            except ConflictError:
                if round_number == _ROUNDS - 1:
                    raise
            else:
                return receipts
        return receipts

    def propose(self, request: MigrateRequest) -> list[ProposedMove]:
        """Return what `run` would do."""
        return self._mover(request).propose(self._moves(request))

    def _mover(self, request: MigrateRequest) -> Mover:
        matching = self._matching(request.where) if request.where is not None else None
        return Mover(self._catalog, self._stores, self._record, self._form, matching)

    def _moves(self, request: MigrateRequest) -> list[PlannedMove]:
        segments = self._catalog.every_segment(self._record.table_id)
        return plan_moves(
            segments, request.sources, request.destination, time=request.time, has_condition=request.where is not None
        )

    def _form(self, schema_id: int) -> TableForm:
        if schema_id not in self._forms:
            schema = self._catalog.schemas([schema_id])[schema_id]
            self._forms[schema_id] = known_form(self._record, schema)
        return self._forms[schema_id]

    def _matching(self, where: str) -> Matching:
        """Return a function that finds the rows of a segment meeting `where`, by the engine's own rules.

        Raises:
            InvalidInputError: `where` is no condition on the rows of this table.
            NotFoundError: `where` names a column that this table has not; the nearest is named.
        """
        from quantstore.query.mistakes.explain import locate
        from quantstore.query.mistakes.rehearsal import check_condition
        from quantstore.query.parse import parse_condition
        from quantstore.query.preparer import Preparer

        problem = f"where={where!r} is not a condition on the rows of table {self._record.name!r}."
        check_condition(where, known_form(self._record))
        if parse_condition(where) is None:
            raise InvalidInputError(problem)
        query = f'SELECT "_seq" FROM {quote(self._record.name)} WHERE ({where})'
        try:
            with self._catalog.view() as view:
                statement = Preparer(self._engine).prepare(view, ReadRequest(query))
        except (InvalidInputError, UnsupportedError) as error:
            raise locate(error, where) from error
        if len(statement.sources) != 1 or statement.views:
            raise InvalidInputError(problem)
        return lambda placed: self._rows(statement, placed)

    def _rows(self, statement: Statement, placed: PlacedSegment) -> pa.Array:
        source = statement.sources[0]
        assert source.scan is not None  # noqa: S101 - the one table is a stored one
        scan = replace(source.scan, choices=(Choice(placed, placed.primary),), left_out=())
        alone = replace(statement, sources=(replace(source, scan=scan),))
        tables = list(alone.run(self._engine, self._stores))
        return pa.concat_tables(tables).column(0).combine_chunks()
