"""Writes that only add rows, or put a table's rows in place of all it has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quantstore.catalog.conflicts import renamed_away, same_grain
from quantstore.catalog.records import TableRecord, WriteCommit
from quantstore.core.names import check_name, refuse_lookalike
from quantstore.core.table import Grain, TableSchema, TableSpec
from quantstore.errors import ConflictError, InvalidInputError
from quantstore.rows.calendars import calendar_name
from quantstore.rows.evolution import Evolution, evolved
from quantstore.rows.form import TableForm, Wishes, known_form, new_form
from quantstore.rows.source import Source, open_source
from quantstore.rows.wide import as_rows
from quantstore.write.arrivals import Arrivals
from quantstore.write.earlier import EarlierContents
from quantstore.write.lineage import lineage_of
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
        evolution: What the form changes of the columns the table has.
        forms_before: Forms the table had, in which the same rows may have been written already.
        is_known: Whether the table has a write of this name, to be told from this one by its content alone.
        beside: Rows that the same commit adds before these.
    """

    record: TableRecord | None
    form: TableForm
    source: Source
    lineage: dict[str, Any]
    version: int
    evolution: Evolution
    forms_before: tuple[TableForm, ...] = ()
    is_known: bool = False
    beside: Incoming | None = None

    @property
    def schema_id(self) -> int | None:
        """Number of the table's schema when it was looked up, or None where it had none."""
        return self.record.schema_id if self.record else None

    @property
    def evolves(self) -> bool:
        """Whether the table had columns and gets others."""
        return self.schema_id is not None and self.evolution.is_change

    def with_grain(self, grain: Grain) -> Incoming:
        """Return the same rows for a table of this grain."""
        return replace(self, form=replace(self.form, spec=replace(self.form.spec, grain=grain)))

    def commit(self, request: WriteRequest, **changes: Any) -> WriteCommit:
        """Return a commit of these rows."""
        return WriteCommit(
            spec=self.form.spec,
            schema=self.form.stored(),
            schema_id=self.schema_id,
            evolves=self.evolves,
            added_columns=self.evolution.added if self.evolves else (),
            widened=self.evolution.widened if self.evolves else {},
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
        beside: Rows of the same table that the same commit adds before, which may be what makes it.

    Raises:
        InvalidInputError: They cannot be rows of the table.
        ConflictError: The table exists and must not.
    """
    record, known = _looked_up(catalog, request)
    if request.mode == "error" and request.write_id is None and record is not None and record.is_written:
        raise ConflictError(
            f"Table {request.table!r} exists already; use mode='append' or 'overwrite'.", table=request.table
        )
    source = open_source(data)
    if request.wide is not None:
        source, request = _from_wide(source, request, request.wide, record, beside)
    return _received(record, known, source, lineage_of(data), request, beside)


def received_again(
    catalog: Catalog, incoming: Incoming, request: WriteRequest, beside: Incoming | None = None
) -> Incoming:
    """Return `incoming`; where its table was given other columns since, the same rows in the form they take now.

    Raises:
        InvalidInputError: They are no rows of the table any more.
        ConflictError: They came as a stream, which cannot be read again, or the table was dropped or renamed.
    """
    record, known = _looked_up(catalog, request)
    if incoming.record is not None and (record is None or record.table_id != incoming.record.table_id):
        raise renamed_away(incoming.record.name)
    newest = record.schema_id if record else None
    is_same = newest == incoming.schema_id
    if not is_same and record is not None and record.schema is not None and not incoming.evolves:
        is_same = record.schema.arrow == incoming.form.stored().arrow
    if record is not None and not same_grain(record.spec, incoming.form.spec):
        is_same = False
    if incoming.schema_id is None and newest is not None and request.mode in {"replace", "upsert"}:
        is_same = False  # rows that must go may have come with the columns
    if is_same and (beside is None or incoming.beside is None or beside.form.schema == incoming.beside.form.schema):
        return incoming
    refuse_stream(incoming)
    return _received(record, known, incoming.source, incoming.lineage, request, beside)


def refuse_stream(incoming: Incoming) -> None:
    """Refuse to read rows once more that came as a stream.

    Raises:
        ConflictError: They did.
    """
    if incoming.source.is_stream:
        raise ConflictError(
            f"Table {incoming.form.spec.name!r} was given other columns while a stream was written to it, which cannot "
            "be read again; nothing was changed. Write again.",
            table=incoming.form.spec.name,
        )


def _from_wide(
    source: Source, request: WriteRequest, value: str, record: TableRecord | None, beside: Incoming | None
) -> tuple[Source, WriteRequest]:
    """Return a frame with a column for each symbol as rows, and the request with the names of their columns."""
    wishes = request.wishes
    spec = beside.form.spec if beside is not None else None if record is None else record.spec
    has_columns = beside is not None or (record is not None and record.schema is not None)
    if has_columns and spec is not None and spec.symbol is None:
        raise InvalidInputError(
            f"Table {spec.name!r} has no symbol column, so wide={value!r} cannot say which symbol a cell is of; write "
            "to another table.",
            table=spec.name,
        )
    source, names = as_rows(source, value, request.table, time=wishes.time, symbol=wishes.symbol, spec=spec)
    if not has_columns:
        request = replace(request, wishes=replace(wishes, time=names.time, symbol=names.symbol))
    return source, request


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalog knows of a table besides: at which version, its earlier schemas, that of a write's first run."""

    version: int
    schemas_before: tuple[TableSchema, ...]
    of_write: TableSchema | None


def _looked_up(catalog: Catalog, request: WriteRequest) -> tuple[TableRecord | None, _Known]:
    with catalog.view() as view:
        record = view.table(request.table)
        if record is None:
            refuse_lookalike(check_name(request.table), view.table_names())
            return None, _Known(view.snapshot.version, (), None)
        of_write = None if request.write_id is None else view.schema_of_write(record.table_id, request.write_id)
        before = view.schemas_before(record) if request.mode == "append" and request.on_repeat != "append" else ()
        return record, _Known(view.snapshot.version, before, of_write)


def _received(
    record: TableRecord | None,
    known: _Known,
    source: Source,
    lineage: dict[str, Any],
    request: WriteRequest,
    beside: Incoming | None,
) -> Incoming:
    before: tuple[TableForm, ...] = ()
    if record is not None and known.of_write is not None:  # what was written then is what must come again
        form = known_form(record, known.of_write)
        _refuse_other_form(form, request, source.schema)
        evolution = Evolution(form)
    elif beside is not None:
        _refuse_other_form(beside.form, request, source.schema)
        evolution = evolved(beside.form, source, tz=request.wishes.tz).after(beside.evolution)
    elif record is None or record.schema is None:
        evolution = Evolution(_form(record, source, request))
    else:
        form = _form(record, source, request)
        evolution = evolved(form, source, tz=request.wishes.tz)
        before = tuple(known_form(record, one) for one in known.schemas_before)
        if evolution.is_change and request.mode == "append" and request.on_repeat != "append":
            before = (form, *before)
    return Incoming(
        record,
        evolution.form,
        source,
        lineage,
        known.version,
        evolution,
        before,
        is_known=known.of_write is not None,
        beside=beside,
    )


class Append:
    """An `append`, `overwrite` or `error` write.

    Args:
        catalog: Knows the table.
        stores: By tier.
        incoming: The rows.
        request: What is asked for.
        first_ordinal: Number of the first row among those its commit adds to the table.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        incoming: Incoming,
        request: WriteRequest,
        first_ordinal: int = 0,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self.incoming = incoming
        self._first = first_ordinal
        self._kept_as: TableForm | None = None
        self._prepared: WriteCommit | None = None
        self.most_rows = 0
        self.request = request

    def refresh(self, beside: Incoming | None = None) -> None:
        """Look the table up again: it may have other columns by now.

        Raises:
            InvalidInputError: The rows do not fit it any more.
            ConflictError: They came as a stream, which cannot be read again.
        """
        incoming = received_again(self._catalog, self.incoming, self.request, beside)
        if incoming is not self.incoming:
            self.incoming, self._prepared = incoming, None

    def keep_as(self, form: TableForm) -> None:
        """Keep the rows in a newer form, which a later write of the same commit gives the table.

        Raises:
            InvalidInputError: They came as a stream and are kept already.
        """
        if form.schema == (self._kept_as or self.incoming.form).schema:
            return
        if self._prepared is not None:
            refuse_reading_again(self.incoming)
        self._kept_as, self._prepared = form, None

    def prepare(self, staging: Staging) -> WriteCommit:
        """Make the rows durable, once for each form of the table, and return the commit that makes them the table's."""
        if self._prepared is None:
            request, wishes, incoming = self.request, self.request.wishes, self.incoming
            form, came = incoming.form, None
            if self._kept_as is not None and self._kept_as.schema != form.schema:
                form, came = self._kept_as, form
            store, overwrites = self._stores[request.tier], request.mode == "overwrite"
            arrivals = Arrivals(staging, store, request.tier, form, self._first, came, overwrites=overwrites)
            earlier = EarlierContents(incoming.forms_before, wishes.tz, wishes.asset_class)
            arrivals.add_all(earlier.watching(incoming.source), tz=wishes.tz, asset_class=wishes.asset_class)
            self.incoming = incoming.with_grain(arrivals.form.spec.grain)
            self.most_rows = arrivals.rows
            self._prepared = self.incoming.commit(
                request,
                segments=tuple(arrivals.segments),
                rows=arrivals.rows,
                content=arrivals.content,
                contents_before=earlier.contents,
                removes_all=request.mode == "overwrite",
                must_create=request.mode == "error",
            )
        return self._prepared


def refuse_reading_again(incoming: Incoming) -> None:
    """Refuse new columns after a stream of the same transaction.

    Raises:
        InvalidInputError: The rows came as a stream.
    """
    if incoming.source.is_stream:
        name = incoming.form.spec.name
        raise InvalidInputError(
            f"This write gives table {name!r} other columns after a stream was written to it in the same transaction; "
            "begin with the write that has all columns, or use two transactions.",
            table=name,
        )


def _form(record: TableRecord | None, source: Source, request: WriteRequest) -> TableForm:
    if record is None:
        # The keyword is for the rows of this write; only create() gives a table one of its own.
        wishes = replace(request.wishes, asset_class=None)
        return new_form(request.table, source.schema, wishes, source.frame)
    if record.schema is None:
        _refuse_other_shape(record.spec, request.wishes)
        wishes = _filled(request.wishes, record)
        form = new_form(record.name, source.schema, wishes, source.frame)
        spec = form.spec
        return replace(form, spec=replace(record.spec, time=spec.time, symbol=spec.symbol, grain=spec.grain))
    form = known_form(record)
    _refuse_other_form(form, request, source.schema)
    if form.spec.grain is Grain.AUTO and request.wishes.grain is not None:
        form = replace(form, spec=replace(form.spec, grain=request.wishes.grain))
    return form


def _filled(wishes: Wishes, record: TableRecord) -> Wishes:
    spec = record.spec
    return replace(
        wishes,
        time=wishes.time or (spec.time or None),
        symbol=wishes.symbol or spec.symbol,
        key=wishes.key or spec.key,
        calendar=spec.calendar,
        grain=wishes.grain if spec.grain is Grain.AUTO else spec.grain,
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
    _refuse_other_shape(spec, wishes)
    if spec.time.casefold() not in {name.casefold() for name in schema.names}:
        raise wrong_columns(form, [spec.time], [])


def _refuse_other_shape(spec: TableSpec, wishes: Wishes) -> None:
    """Refuse a grain or calendar other than the one the table was made with."""
    if wishes.grain not in {None, Grain.AUTO, spec.grain} and spec.grain is not Grain.AUTO:
        raise InvalidInputError(
            f"Table {spec.name!r} has grain {spec.grain.value!r}, fixed when it was made; leave grain={wishes.grain!s} "
            "out or write to another table.",
            table=spec.name,
        )
    if wishes.calendar is not None and calendar_name(wishes.calendar) != spec.calendar:
        has = "no calendar" if spec.calendar is None else f"calendar {spec.calendar!r}"
        raise InvalidInputError(
            f"Table {spec.name!r} has {has}, fixed when it was made; leave calendar={wishes.calendar!r} out or write "
            "to another table.",
            table=spec.name,
        )
