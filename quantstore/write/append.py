"""Writes that only add rows, or put a table's rows in place of all it has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quantstore.catalog.records import TableRecord, WriteCommit
from quantstore.core.names import check_name, refuse_lookalike
from quantstore.errors import ConflictError, InvalidInputError
from quantstore.rows.form import TableForm, Wishes, known_form, new_form
from quantstore.rows.source import Source, open_source
from quantstore.write.arrivals import Arrivals
from quantstore.write.misfits import wrong_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from quantstore.catalog.catalog import Catalog
    from quantstore.core.tier import Tier
    from quantstore.stores.base import SegmentStore
    from quantstore.write.request import WriteRequest
    from quantstore.write.staging import Staging


@dataclass(frozen=True, slots=True)
class Incoming:
    """Rows on their way in, and the form they take.

    Attributes:
        record: The table, or None where this write makes it.
        form: Its form, or the one it will have.
        source: The rows.
        lineage: What the rows were made from, where that is known.
        version: The version all this was looked up at.
    """

    record: TableRecord | None
    form: TableForm
    source: Source
    lineage: dict[str, Any]
    version: int

    def commit(self, request: WriteRequest, **changes: Any) -> WriteCommit:
        """Return a commit of these rows."""
        return WriteCommit(
            spec=self.form.spec,
            schema=self.form.stored(),
            table_id=self.record.table_id if self.record else None,
            operation=request.mode,
            tier=request.tier,
            write_id=request.write_id,
            expected_version=request.expected_version,
            planned_version=self.version,
            on_repeat=request.on_repeat,
            lineage=self.lineage,
            **changes,
        )


def receive(catalog: Catalog, data: Any, request: WriteRequest, beside: Incoming | None = None) -> Incoming:
    """Open the caller's rows and find the form they must take.

    Args:
        catalog: Knows the table.
        data: The rows.
        request: What is asked for.
        beside: Rows of the same table that the same commit adds, which may be what makes it.

    Raises:
        InvalidInputError: They cannot be rows of the table.
        ConflictError: The table exists and must not.
    """
    with catalog.view() as view:
        version = view.snapshot.version
        record = view.table(request.table)
        if record is None:
            refuse_lookalike(check_name(request.table), view.table_names())
    if request.mode == "error" and request.write_id is None and record is not None and record.is_written:
        raise ConflictError(
            f"Table {request.table!r} exists already; use mode='append' or 'overwrite'.", table=request.table
        )
    source = open_source(data)
    if beside is not None and (record is None or record.schema is None):
        form = beside.form
        _refuse_other_form(form, request, source.schema)
    else:
        form = _form(record, source, request)
    return Incoming(record, form, source, _lineage(data), version)


class Append:
    """An `append`, `overwrite` or `error` write.

    Args:
        stores: By tier.
        incoming: The rows.
        request: What is asked for.
        first_ordinal: Number of the first row among those its commit adds to the table.
    """

    def __init__(
        self, stores: Mapping[Tier, SegmentStore], incoming: Incoming, request: WriteRequest, first_ordinal: int = 0
    ) -> None:
        self._stores = stores
        self.incoming = incoming
        self._first = first_ordinal
        self._prepared: WriteCommit | None = None
        self.request = request

    @property
    def most_rows(self) -> int:
        """The rows it adds, once it has been prepared."""
        return 0 if self._prepared is None else self._prepared.rows

    def prepare(self, staging: Staging) -> WriteCommit:
        """Make the rows durable, once, and return the commit that makes them the table's."""
        if self._prepared is None:
            request, wishes = self.request, self.request.wishes
            form = self.incoming.form
            arrivals = Arrivals(staging, self._stores[request.tier], request.tier, form, self._first)
            arrivals.add_all(self.incoming.source, tz=wishes.tz, asset_class=wishes.asset_class)
            self._prepared = self.incoming.commit(
                request,
                segments=tuple(arrivals.segments),
                rows=arrivals.rows,
                content=arrivals.content,
                removes_all=request.mode == "overwrite",
                must_create=request.mode == "error",
            )
        return self._prepared


def _form(record: TableRecord | None, source: Source, request: WriteRequest) -> TableForm:
    if record is None:
        # The keyword is for the rows of this write; only create() gives a table one of its own.
        wishes = replace(request.wishes, asset_class=None)
        return new_form(request.table, source.schema, wishes, source.frame)
    if record.schema is None:
        wishes = _filled(request.wishes, record)
        form = new_form(record.name, source.schema, wishes, source.frame)
        return replace(form, spec=replace(record.spec, time=form.spec.time, symbol=form.spec.symbol))
    form = known_form(record)
    _refuse_other_form(form, request, source.schema)
    return form


def _lineage(data: Any) -> dict[str, Any]:
    """Return what the rows were made from, where the frame carries the note of a read."""
    note = getattr(data, "attrs", {}).get("quantstore") if hasattr(data, "attrs") else None
    if not isinstance(note, dict):
        return {}
    return {"inputs": note.get("tables", []), "version": note.get("version")}


def _filled(wishes: Wishes, record: TableRecord) -> Wishes:
    spec = record.spec
    return replace(
        wishes,
        time=wishes.time or (spec.time or None),
        symbol=wishes.symbol or spec.symbol,
        key=wishes.key or spec.key,
        grain=spec.grain,
    )


def _refuse_other_form(form: TableForm, request: WriteRequest, schema: pa.Schema) -> None:
    """Refuse a time, symbol or key column other than the one the table was made with."""
    spec, wishes = form.spec, request.wishes
    for what, wanted, fixed in (("time", wishes.time, spec.time), ("symbol", wishes.symbol, spec.symbol)):
        if wanted is not None and (fixed is None or wanted.casefold() != fixed.casefold()):
            raise InvalidInputError(
                f"Table {spec.name!r} has {what} column {fixed!r}, fixed when it was made; leave {what}={wanted!r} out "
                "or write to another table.",
                table=spec.name,
            )
    is_first_key = request.mode == "upsert" and not spec.key
    if wishes.key is not None and tuple(wishes.key) != spec.key and not is_first_key:
        raise InvalidInputError(
            f"Table {spec.name!r} has key {spec.key!r}, fixed when it was made; leave key= out.", table=spec.name
        )
    if spec.time.casefold() not in {name.casefold() for name in schema.names}:
        raise wrong_columns(form, [spec.time], [])
