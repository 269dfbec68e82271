"""From SQL text to planned statements; what was worked out for a text is kept for the next time it is run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.catalog.segments import EVERYTHING
from quantstore.errors import IntegrityError, InvalidInputError, UnsupportedError
from quantstore.query.follow import follow_links
from quantstore.query.parameters import bind, engine_value, fits_ns, kind_of
from quantstore.query.parse import parse
from quantstore.query.plan import Plan, Scan, plan_scan
from quantstore.query.prepared import Prepared, analyse, mentioned
from quantstore.query.prune import segment_filter
from quantstore.query.statement import Source, Statement
from quantstore.rows.form import known_form

if TYPE_CHECKING:
    from quantstore.catalog.catalog import View
    from quantstore.query.engine import Engine
    from quantstore.query.frames import Frames
    from quantstore.query.request import ReadRequest

_REMEMBERED = 256
_LARGE_PLAN = 10_000


@dataclass(slots=True)
class _Entry:
    """What is kept of a text: its analysis, and the statement that the last run of it planned."""

    prepared: Prepared
    last_run: tuple[Hashable, Statement] | None = None


class Preparer:
    """Plans SQL statements.

    The analysis of a text is used again as long as its tables keep their columns, a whole plan as long as nothing was
    written or moved and the same values are bound.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parameter_names = lru_cache(maxsize=_REMEMBERED)(engine.check_statement)
        self._constants = lru_cache(maxsize=_REMEMBERED)(lambda texts: engine.evaluate(list(texts), {}))
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, view: View, request: ReadRequest, *, explain: bool = False) -> Statement:
        """Plan a SQL statement at the view's version.

        Raises:
            InvalidInputError: The text is no single statement that reads, or a parameter lacks a value.
            NotFoundError: A table does not exist; the nearest is named.
            UnsupportedError: The statement does with a stamp what cannot be done exactly.
        """
        frames = request.frames
        refuse_stored_names(view, frames)
        params = bind(request.params, self._parameter_names(request.query))
        kinds = {name: kind_of(value) for name, value in params.items()}
        can_refine = all(map(fits_ns, params.values()))
        tree = parse(request.query)
        if tree is None:
            return self._unparsed(view, request, params, explain=explain)
        key = (request.query, tuple(kinds.items()), can_refine, frames.key)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is None or not entry.prepared.fits(view):
            entry = _Entry(analyse(request.query, tree, view, kinds, frames.forms, can_refine=can_refine))
            self._remember(key, entry)
        run = None if explain or frames.tables else _run_key(params, request, view)
        if run is not None and entry.last_run is not None and entry.last_run[0] == run:
            return entry.last_run[1]
        statement = self._planned(view, request, entry.prepared, params, explain=explain)
        if run is not None and sum(len(scan.choices) for scan in statement.plan.scans) <= _LARGE_PLAN:
            entry.last_run = (run, statement)
        return statement

    def _remember(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            self._entries[key] = entry
            while len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)

    def _planned(
        self,
        view: View,
        request: ReadRequest,
        prepared: Prepared,
        params: Mapping[str, Any],
        *,
        explain: bool,
    ) -> Statement:
        bound = {name: engine_value(value, as_ns=name in prepared.refined) for name, value in params.items()}
        filters = {
            number: segment_filter(one.conditions, one.form, params, lambda texts: self._evaluate(texts, bound))
            for number, one in enumerate(prepared.references)
            if not one.is_frame
        }

        def scan(number: int, *, explain: bool = False) -> Scan:
            one = prepared.references[number]
            record = view.table(one.name)
            if record is None:  # the analysis fits the view, so that the catalog says two things
                raise IntegrityError(
                    f"The catalog is damaged: table {one.name!r} is there and is not. fsck() tells more."
                )
            return plan_scan(view, record, one.alias, filters[number], request.tiers, explain=explain)

        follow_links(prepared.links, filters, scan, lambda texts: self._evaluate(texts, bound))
        sources = []
        for number, one in enumerate(prepared.references):
            if one.is_frame:
                sources.append(Source(one.form, one.columns, one.placeholder, frame=request.frames.tables[one.name]))
            else:
                sources.append(Source(one.form, one.columns, one.placeholder, scan(number, explain=explain)))
        return Statement(_plan(view, request, sources), prepared.sql, tuple(sources), bound, prepared.outputs)

    def _evaluate(self, texts: list[str], bound: Mapping[str, Any]) -> list[Any]:
        if any("$" in text for text in texts):
            return self._engine.evaluate(texts, bound)
        return self._constants(tuple(texts))

    def _unparsed(self, view: View, request: ReadRequest, params: Mapping[str, Any], *, explain: bool) -> Statement:
        """Plan a statement that only the engine can parse: each table it may mean becomes a view, none is pruned."""
        words = request.query.casefold()
        sources = []
        for record in mentioned(view, request.query):
            form = known_form(record)
            _refuse_ns(form.schema, record.name)
            scan = plan_scan(view, record, record.name, EVERYTHING, request.tiers, explain=explain)
            columns = tuple(one for one in form.schema.names if one not in form.hidden or one.casefold() in words)
            sources.append(Source(form, columns, record.name, scan))
        for name, table in request.frames.tables.items():
            _refuse_ns(table.schema, name)
            sources.append(Source(request.frames.forms[name], tuple(table.column_names), name, frame=table))
        plan = _plan(view, request, sources, "the statement could not be analysed, so nothing was pruned")
        return Statement(plan, request.query, tuple(sources), params, None, views=True)


def _plan(view: View, request: ReadRequest, sources: list[Source], *notes: str) -> Plan:
    snapshot = view.snapshot
    scans = tuple(source.scan for source in sources if source.scan is not None)
    return Plan(request.query, snapshot.version, snapshot.generation, scans, request.tiers, notes)


def _run_key(params: Mapping[str, Any], request: ReadRequest, view: View) -> Hashable | None:
    """Return all that a plan depends on, save the text; None where a bound value cannot be compared."""
    values = tuple((name, *_comparable(value)) for name, value in params.items())
    key = (values, request.tiers, view.snapshot, view.unreadable)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _comparable(value: Any) -> tuple[Any, ...]:
    """Return a value with its type, as equal values of other types are bound otherwise."""
    if isinstance(value, list):
        return (list, tuple(_comparable(one) for one in value))
    return (type(value), repr(value) if isinstance(value, float) else value)


def _refuse_ns(schema: pa.Schema, table: str) -> None:
    for field in schema:
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            raise UnsupportedError(
                f"This statement cannot be analysed, and column {field.name!r} of table {table!r} holds "
                "nanoseconds, which the engine alone would cut. Put the unusual part around a plain SELECT."
            )


def refuse_stored_names(view: View, frames: Frames) -> None:
    """Refuse frames called as tables of the store are.

    Raises:
        InvalidInputError: Names the frame.
    """
    for name in frames.tables:
        if view.table(name) is not None:
            raise InvalidInputError(
                f"frames has {name!r}, and the store has a table of that name; give the frame another name.",
                table=name,
            )
