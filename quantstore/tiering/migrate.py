"""Migrate: plan against the newest catalog, move, plan again where another process got in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantstore.core.timerange import TimeRange
from quantstore.errors import ConflictError
from quantstore.query.condition import Condition
from quantstore.rows.form import TableForm, known_form
from quantstore.tiering.mover import Mover
from quantstore.tiering.planner import PlannedMove, ProposedMove, plan_moves

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Receipt, TableRecord
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
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
        matching = None
        if request.where is not None:
            matching = Condition(self._catalog, self._stores, self._engine, self._record, request.where).rows
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
