"""A table scan as Polars 2 asks for it: told projection, filters and limit while it optimises a query."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING

from polars.io.plugins import register_io_source
from polars.lazyframe.resolver import FilterExpr, LazyFrameResolver, ResolvedLazyFrameProps

from quantstore.catalog.segments import EVERYTHING
from quantstore.core.render import counted
from quantstore.query.narrowing import both
from quantstore.query.scan import TableScan

if TYPE_CHECKING:
    import polars as pl

    from quantstore.query.plan import Plan


class QuantStoreTable(LazyFrameResolver):
    """Plans what a query needs of a table; no filter is claimed, so Polars applies every one of them itself.

    Args:
        scan: The table at its version.
    """

    def __init__(self, scan: TableScan) -> None:
        self._scan = scan

    def schema(self) -> dict[str, pl.DataType]:
        """Return the columns and their types."""
        return self._scan.schema

    def resolve_lazyframe(
        self,
        *,
        projection: list[str] | None,  # noqa: ARG002 - Polars passes it on to the source of batches
        limit: int | None,
        filters: list[FilterExpr],
        filter_columns: list[str],  # noqa: ARG002 - the filters themselves are looked at
        filter_drop_columns_idx: int | None,  # noqa: ARG002 - as the projection
        existing_resolved_version_key: str | None,
    ) -> tuple[pl.LazyFrame | None, ResolvedLazyFrameProps]:
        """Return the source of batches for one query, planned; the plan made before where nothing has moved since."""
        key = str(self._scan.generation())
        properties = ResolvedLazyFrameProps(version_key=key)
        if key == existing_resolved_version_key:
            return None, properties
        predicates = [self._scan.predicate(one.expr) for one in filters]
        wanted = reduce(both, (predicate.wanted for predicate in predicates), EVERYTHING)
        prepared = self._scan.prepare(wanted, None if filters else limit)
        frame = register_io_source(
            partial(self._scan.batches, prepared),
            schema=self._scan.schema,
            validate_schema=True,
            explain_name=f"quantstore {self._scan.name}",
            explain_detail=_detail(prepared.planned.plan),
        )
        if not all(predicate.is_written for predicate in predicates):
            frame = frame.map_batches(_unchanged, predicate_pushdown=False, streamable=True)
        return frame, properties


def _unchanged(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame; a filter that is a Python function stops here, as a source takes it only with cloudpickle."""
    return frame


def _detail(plan: Plan) -> str:
    """Return what a plan touches, in one line."""
    uses = [f"{use.tier.value} {counted(use.segments, 'segment')}, {counted(use.rows, 'row')}" for use in plan.uses()]
    return "; ".join([f"version {plan.version}", *uses])
