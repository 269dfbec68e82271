"""SQL over stored tables: resolve, prune, rewrite, run, give columns their own types back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
from sqlglot import exp

from quantstore.catalog.segments import EVERYTHING
from quantstore.errors import IntegrityError, InvalidInputError, UnsupportedError
from quantstore.query.parameters import bind, engine_value, kind_of
from quantstore.query.parse import DIALECT, parse, table_references, writes
from quantstore.query.plan import Plan, Scan, plan_scan
from quantstore.query.prune import segment_filter
from quantstore.query.relations import Relations, located
from quantstore.query.resolve import unknown_table
from quantstore.rows.form import TableForm, known_form
from quantstore.stores import physical

if TYPE_CHECKING:
    from quantstore.catalog.catalog import View
    from quantstore.catalog.records import TableRecord
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.query.request import ReadRequest
    from quantstore.query.rewriting.rewrite import OutputColumn
    from quantstore.stores.base import SegmentStore

_MARK = "quantstore_scan"
_PLACEHOLDER = re.compile(r"__quantstore_scan_[0-9a-f]{8}_\d+__")
_WORD = re.compile(r"[A-Za-z_][\w]*")


@dataclass(frozen=True, slots=True)
class Source:
    """A table reference of a statement: what is scanned, in which form, and which columns it must offer."""

    scan: Scan
    form: TableForm
    columns: tuple[str, ...]
    placeholder: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A planned statement.

    Attributes:
        plan: What it will touch.
        sql: The statement with a placeholder for each table reference.
        sources: What the placeholders stand for.
        params: Bound values.
        outputs: What is known of each result column, or None.
        views: Whether placeholders are names of views to be made (a statement that only the engine can parse).
    """

    plan: Plan
    sql: str
    sources: tuple[Source, ...]
    params: Mapping[str, Any]
    outputs: tuple[OutputColumn, ...] | None
    views: bool = False

    def run(self, engine: Engine, stores: Mapping[Tier, SegmentStore]) -> Iterator[pa.Table]:
        """Yield an empty table with the result's schema, then the result bit by bit.

        Raises:
            IntegrityError: A needed copy is damaged or gone; table, partition and tier are named.
        """
        relations = Relations(stores)
        subqueries = {
            source.placeholder: relations.subquery(source.scan, source.form, source.columns) for source in self.sources
        }
        views = subqueries if self.views else {}
        sql = self.sql if self.views else _PLACEHOLDER.sub(lambda found: f"({subqueries[found[0]]})", self.sql)
        forms = {source.form.spec.name.casefold(): source.form for source in self.sources}
        stream = engine.read(sql, self.params, relations.tables, views)
        try:
            schema = next(stream)
            yield restored(schema.empty_table(), self.outputs, forms)
            for batch in stream:
                yield restored(pa.Table.from_batches([batch]), self.outputs, forms)
        except IntegrityError:
            self._find_damage(stores)
            raise
        finally:
            stream.close()

    def _find_damage(self, stores: Mapping[Tier, SegmentStore]) -> None:
        """Raise an error that names the copy which the engine could not read, where it can be told."""
        for source in self.sources:
            for choice in source.scan.choices:
                with located(source.scan, choice):
                    stores[choice.copy.tier].verify(choice.copy)


def prepare(view: View, request: ReadRequest, engine: Engine, *, explain: bool = False) -> Statement:
    """Plan a SQL statement at the view's version.

    Raises:
        InvalidInputError: The text is no single statement that reads, or a parameter lacks a value.
        NotFoundError: A table does not exist; the nearest is named.
        UnsupportedError: The statement does with a stamp what cannot be done exactly.
    """
    from quantstore.query.rewriting.rewrite import rewrite

    params = bind(request.params, engine.check_statement(request.query))
    tree = parse(request.query)
    if tree is None:
        return _unparsed(view, request, params, explain=explain)
    if writes(tree):
        raise InvalidInputError("Only statements that read are run here; change data with write() and the like.")
    around, tree = _unwrapped(tree.copy())
    found = _resolve(view, tree)
    forms = {record.name.casefold(): known_form(record) for _, record in found}
    rewritten = rewrite(
        tree,
        {name: form.schema for name, form in forms.items()},
        {name: frozenset(form.hidden) for name, form in forms.items()},
        {name: kind_of(value) for name, value in params.items()},
    )
    bound = {name: engine_value(value) for name, value in params.items()}
    sources = []
    token = uuid4().hex[:8]  # no name in the query can be the placeholder's by accident
    for number, (node, record) in enumerate(found):
        form = forms[record.name.casefold()]
        wanted = segment_filter(
            node, form, _siblings(node, found, forms), params, lambda texts: engine.evaluate(texts, bound)
        )
        scan = plan_scan(view, record, node.alias_or_name, wanted, request.tiers, explain=explain)
        named = rewritten.hidden.get(record.name.casefold(), frozenset())
        columns = tuple(name for name in form.schema.names if name not in form.hidden or name in named)
        sources.append(Source(scan, form, columns, _placeholder(token, number)))
    _put_placeholders(rewritten.tree, token)
    statement, outputs = rewritten.tree, rewritten.outputs
    if around is not None:
        around.set("this", statement)
        statement, outputs = around, None
    snapshot = view.snapshot
    plan = Plan(
        request.query, snapshot.version, snapshot.generation, tuple(source.scan for source in sources), request.tiers
    )
    return Statement(plan, statement.sql(DIALECT), tuple(sources), bound, outputs)


def _unwrapped(tree: exp.Expression) -> tuple[exp.Expression | None, exp.Expression]:
    """Return DESCRIBE or SUMMARIZE, if that is what stands around the query, and the query; of a table, its rows."""
    if not isinstance(tree, exp.Describe | exp.Summarize):
        return None, tree
    query = tree.this.pop()
    return tree, exp.select("*").from_(query) if isinstance(query, exp.Table) else query


def _resolve(view: View, tree: exp.Expression) -> list[tuple[exp.Table, TableRecord]]:
    """Return the references to stored tables with their records, each reference marked with its number."""
    found: list[tuple[exp.Table, TableRecord]] = []
    for node in table_references(tree):
        record = view.table(node.name)
        if record is None:
            if _WORD.fullmatch(node.name):
                raise unknown_table(view, node.name)
            continue
        node.meta[_MARK] = len(found)
        found.append((node, record))
    return found


def _siblings(
    node: exp.Table, found: list[tuple[exp.Table, TableRecord]], forms: Mapping[str, TableForm]
) -> dict[str, frozenset[str]]:
    """Return column names of what else stands in the same SELECT; an unknown source may have any column."""
    select = node.find_ancestor(exp.Select)
    if select is None:
        return {}
    stored = {id(other): record for other, record in found}
    siblings: dict[str, frozenset[str]] = {}
    for other in select.find_all(exp.Table, exp.Subquery, exp.Unnest, exp.Lateral):
        if other is node or other.find_ancestor(exp.Select) is not select:
            continue
        record = stored.get(id(other))
        if record is not None:
            names = forms[record.name.casefold()].schema.names
            siblings[str(id(other))] = frozenset(name.casefold() for name in names)
        else:
            own = stored[id(node)]
            names = forms[own.name.casefold()].schema.names
            siblings[str(id(other))] = frozenset(name.casefold() for name in names)
    return siblings


def _placeholder(token: str, number: int) -> str:
    return f"__quantstore_scan_{token}_{number}__"


def _put_placeholders(tree: exp.Expression, token: str) -> None:
    """Put each marked reference's placeholder in its place, under the name the query calls it by."""
    for node in list(tree.find_all(exp.Table)):
        if _MARK in node.meta:
            alias = node.alias_or_name
            if not node.alias:
                node.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
            node.set("this", exp.to_identifier(_placeholder(token, node.meta[_MARK])))


def _unparsed(view: View, request: ReadRequest, params: Mapping[str, Any], *, explain: bool) -> Statement:
    """Plan a statement that only the engine can parse: every table it may mean becomes a view, nothing is pruned."""
    words = {word.casefold() for word in _WORD.findall(request.query)}
    sources = []
    for name in view.table_names():
        if name.casefold() not in words:
            continue
        record = view.table(name)
        assert record is not None  # noqa: S101 - the name comes from the same view
        form = known_form(record)
        for field in form.schema:
            if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
                raise UnsupportedError(
                    f"This statement cannot be analysed, and column {field.name!r} of table {name!r} holds "
                    "nanoseconds, which the engine alone would cut. Put the unusual part around a plain SELECT."
                )
        scan = plan_scan(view, record, name, EVERYTHING, request.tiers, explain=explain)
        columns = tuple(one for one in form.schema.names if one not in form.hidden or one.casefold() in words)
        sources.append(Source(scan, form, columns, name))
    snapshot = view.snapshot
    plan = Plan(
        request.query,
        snapshot.version,
        snapshot.generation,
        tuple(source.scan for source in sources),
        request.tiers,
        ("the statement could not be analysed, so nothing was pruned",),
    )
    return Statement(plan, request.query, tuple(sources), params, None, views=True)


def restored(table: pa.Table, outputs: tuple[OutputColumn, ...] | None, forms: Mapping[str, TableForm]) -> pa.Table:
    """Return `table` with every column that is a known copy of a stored one, or a known instant, in its own type."""
    if outputs is None or len(outputs) != table.num_columns:
        return table
    columns, fields = [], []
    for position, output in enumerate(outputs):
        column, field = table.column(position), table.schema.field(position)
        if output.source is not None and output.source[0] in forms:
            column = _own_type(column, forms[output.source[0]], output.source[1])
        elif output.zone is not None and column.type == pa.timestamp("ns"):
            column = column.cast(pa.timestamp("ns", output.zone))
        columns.append(column)
        fields.append(pa.field(field.name, column.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _own_type(column: pa.ChunkedArray, form: TableForm, name: str) -> pa.ChunkedArray:
    """Return an unchanged copy of a stored column in its own type; only ordered categories are fixed in advance."""
    field = form.schema.field(name)
    if not pa.types.is_dictionary(field.type):
        return physical.from_engine(column, field)
    if field.type.ordered:
        return physical.from_engine(column, field, form.categories(name))
    wide = pa.dictionary(pa.int32(), field.type.value_type)
    encoded = physical.from_engine(column, field.with_type(wide))
    try:
        return encoded.cast(field.type)
    except pa.ArrowInvalid:  # more categories than the table's codes can count
        return encoded
