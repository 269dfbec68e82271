"""The walk over queries: common table expressions, set operations, SELECTs and the columns they return."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass

from sqlglot import exp

from quantstore.errors import UnsupportedError
from quantstore.query.rewriting.expressions import children, swap
from quantstore.query.rewriting.functions import HANDED_ON, function_name
from quantstore.query.rewriting.instants import bare
from quantstore.query.rewriting.kinds import UNKNOWN, Kind, Tag
from quantstore.query.rewriting.pivots import pivoted
from quantstore.query.rewriting.scopes import (
    ANY_SHAPE,
    Context,
    Ctes,
    Field,
    Relation,
    Scope,
    Shape,
    Source,
    distinct_names,
    renamed,
)
from quantstore.query.rewriting.sources import add_join, add_source, values_shape, visit
from quantstore.query.rewriting.stars import expanded, scan, star_columns, star_of
from quantstore.query.rewriting.unions import operands, recast, united
from quantstore.query.rewriting.windows import visit_window


def clause(node: exp.Expression, name: str) -> exp.Expression | None:
    """Return a clause whose key is a Python keyword (`from`, `with`), under whichever name the parser keeps it."""
    found = node.args.get(f"{name}_")
    return found if found is not None else node.args.get(name)


def visit_query(node: exp.Expression, parent: Scope | None, ctes: Ctes, context: Context) -> Shape:
    """Visit a query, change what must be changed in it, and return its columns."""
    ctes = _with(node, parent, ctes, context)
    if isinstance(node, exp.Select):
        return _select(node, parent, ctes, context)
    if isinstance(node, exp.SetOperation):
        return _set_operation(node, parent, ctes, context)
    scope = Scope(context, parent, ctes)
    if isinstance(node, exp.Subquery):
        return _parenthesised(node, scope)
    return values_shape(node, scope) if isinstance(node, exp.Values) else _statement(node, scope)


def _statement(node: exp.Expression, scope: Scope) -> Shape:
    """Visit PIVOT, a bare table, or a statement around a query, such as DESCRIBE: the engine's own view of columns."""
    if isinstance(node, exp.Pivot):
        relations = add_source(node.this, scope)
        return pivoted(relations[-1], node, scope, visit)
    if isinstance(node, exp.Table):
        add_source(node, scope)
        return Shape(tuple(one for _, one in scope.visible()), scope.is_open)
    if isinstance(node.this, exp.Query | exp.Table):
        shape = visit_query(node.this, scope.parent, scope.ctes, scope.context)
        return Shape(shape.fields, is_open=True)
    return ANY_SHAPE


def _with(node: exp.Expression, parent: Scope | None, ctes: Ctes, context: Context) -> Ctes:
    """Return the common table expressions known inside a query, its own ones visited and added."""
    clauses = clause(node, "with")
    if clauses is None:
        return ctes
    known = dict(ctes)
    for cte in clauses.expressions:
        alias = cte.args["alias"]
        names = [column.name for column in alias.args.get("columns") or []]
        name = alias.name.casefold()
        if clauses.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
            shape = _recursive(cte, name, names, parent, known, context)
        else:
            shape = visit_query(cte.this, parent, known, context)
        fields = shape.fields if shape.is_open else distinct_names(shape.fields)
        known[name] = renamed(Shape(fields, shape.is_open), names)
    return known


def _recursive(
    cte: exp.Expression, name: str, names: list[str], parent: Scope | None, ctes: Ctes, context: Context
) -> Shape:
    """Visit a recursive query: the first branch gives the types, as in the engine; the second is brought to them."""
    union = cte.this
    inner = _with(union, parent, ctes, context)
    anchor = visit_query(union.this, parent, inner, context)
    fields = anchor.fields if anchor.is_open else distinct_names(anchor.fields)
    without = tuple(Field(one.name, one.kind) for one in fields)
    itself = {**inner, name: renamed(Shape(without, anchor.is_open), names)}
    step = visit_query(union.expression, parent, itself, context)
    scope = Scope(context, parent, inner)
    changes: dict[int, Kind] = {}
    if anchor.is_open or step.is_open or len(anchor.fields) != len(step.fields):
        _refuse_mixed([*anchor.fields, *step.fields] if anchor.is_open or step.is_open else [])
        return Shape(without, anchor.is_open)
    for position, (one, other) in enumerate(zip(anchor.fields, step.fields, strict=True)):
        if one.kind.is_ns and not other.kind.is_ns:
            changes[position] = one.kind
        elif other.kind.carries_ns and not one.kind.carries_ns:
            _refuse_mixed([other])
    if changes:
        swap(union.expression, lambda query: recast(query, step, changes, scope, compare=False), scope)
    return Shape(without)


def _refuse_mixed(fields: Iterable[Field]) -> None:
    for one in fields:
        if one.kind.carries_ns:
            raise UnsupportedError(
                f"Column {one.name!r} of a recursive query has nanoseconds in one part and not in the other; cast both "
                "to one type.",
                column=one.name,
            )


def _set_operation(node: exp.Expression, parent: Scope | None, ctes: Ctes, context: Context) -> Shape:
    branches = list(operands(node))
    shapes = [visit_query(branch, parent, ctes, context) for branch in branches]
    scope = Scope(context, parent, ctes)
    shape = united(node, branches, shapes, scope)
    _modifiers(node, shape, scope)
    return shape


def _parenthesised(node: exp.Expression, scope: Scope) -> Shape:
    if isinstance(node.this, exp.Table):
        add_source(node, scope)
        return Shape(tuple(one for _, one in scope.visible()), scope.is_open)
    shape = visit_query(node.this, scope.parent, scope.ctes, scope.context)
    _modifiers(node, shape, scope)
    return shape


def _modifiers(node: exp.Expression, shape: Shape, scope: Scope) -> None:
    """Visit ORDER BY and LIMIT of a set operation or of a query in parentheses."""
    inner = Scope(scope.context, scope.parent, scope.ctes, [Relation("", None, shape)])
    for key in ("order", "limit", "offset"):
        if node.args.get(key) is not None:
            visit(node.args[key], inner)


# SELECT


def _select(node: exp.Select, parent: Scope | None, ctes: Ctes, context: Context) -> Shape:
    scope = Scope(context, parent, ctes)
    source = clause(node, "from")
    if source is not None:
        add_source(source.this, scope)
    for join in node.args.get("joins") or []:
        add_join(join, scope)
    for lateral in node.args.get("laterals") or []:
        add_source(lateral, scope)
    for window in node.args.get("windows") or []:
        scope.windows[window.name.lower()] = window
        if context.is_typed:
            visit_window(window, scope)
        else:
            _scan_below(window, scope)
    shape = _result(node, scope)
    for key in ("where", "group", "having", "qualify", "limit", "offset", "distinct", "sample"):
        if isinstance(node.args.get(key), exp.Expression):
            visit(node.args[key], scope)
    if node.args.get("order") is not None:
        results = (
            frozenset(one.name.lower() for one in shape.fields) if not _has_star(node) else frozenset(scope.aliases)
        )
        _order_by(node.args["order"], results, scope)
    return shape


def _has_star(node: exp.Select) -> bool:
    return any(star_of(item) is not None for item in node.expressions)


def _scan_below(node: exp.Expression, scope: Scope) -> None:
    for child in list(children(node)):
        scan(child, scope)


def _order_by(order: exp.Expression, results: frozenset[str], scope: Scope) -> None:
    """Visit ORDER BY, where a bare name means a result column before any other."""
    for ordered in order.expressions:
        key = ordered.this
        is_result = isinstance(key, exp.Column) and len(key.parts) == 1 and key.name.lower() in results
        if not is_result:
            visit(key, scope)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one entry of the result makes: columns, whether there may be more, and what stands for it."""

    fields: list[Field]
    items: list[exp.Expression]
    is_open: bool = False


def _result(node: exp.Select, scope: Scope) -> Shape:
    """Visit the result columns, left to right: later ones can name earlier ones."""
    entries = []
    for item in list(node.expressions):
        entry = _entry(item, scope)
        entries.append(entry)
        if star_of(item) is None and not isinstance(item, exp.Column):
            scope.aliases.update((one.name.lower(), one) for one in entry.fields)
    items = [one for entry in entries for one in entry.items]
    if len(items) != len(node.expressions) or any(map(operator.is_not, items, node.expressions)):
        node.set("expressions", items)
    fields = tuple(one for entry in entries for one in entry.fields)
    return Shape(fields, any(entry.is_open for entry in entries))


def _entry(item: exp.Expression, scope: Scope) -> _Entry:
    if star_of(item) is not None:
        columns, is_open = star_columns(item, scope)
        return _Entry([one for _, one in columns], [item], is_open)
    if isinstance(item, exp.Like | exp.SimilarTo) and star_of(item.this) is not None:
        columns, _ = star_columns(item.this, scope)
        return _Entry([one for _, one in columns], [item], is_open=True)
    columns_node = item.find(exp.Columns)
    if columns_node is not None and columns_node.find_ancestor(exp.Query) is item.find_ancestor(exp.Query):
        return _columns(item, scope)
    return _single(item, scope)


def _columns(item: exp.Expression, scope: Scope) -> _Entry:
    """Write out COLUMNS(), so that each column is treated by its kind."""
    copies = expanded(item, scope)
    if copies is None:
        visit(item, scope)
        return _Entry([], [item], is_open=True)
    carrier = exp.Tuple(expressions=copies)
    fields = [one for copy in list(copies) for one in _single(copy, scope).fields]
    return _Entry(fields, list(carrier.expressions) if scope.context.is_typed else [item])


def _single(item: exp.Expression, scope: Scope) -> _Entry:
    """Visit an ordinary entry; where it was changed it keeps the name the engine would have given it."""
    context = scope.context
    name = item.alias if isinstance(item, exp.Alias) else output_name(item)
    before = context.edits
    parent, index = item.parent, item.index
    kind = visit(item.this if isinstance(item, exp.Alias) else item, scope)
    current = item if item.parent is not None else _at(parent, index)
    source = source_of(current, scope)
    if context.edits != before and not isinstance(current, exp.Alias) and _name_differs(current, name):
        swap(current, lambda one: exp.alias_(one, exp.to_identifier(name, quoted=True), copy=False), scope)
        current = _at(parent, index)
    return _Entry([Field(name, kind.as_value, source)], [current], _makes_several(current, kind, scope))


def _makes_several(node: exp.Expression, kind: Kind, scope: Scope) -> bool:
    """Whether an entry may make several columns: UNNEST of a struct does."""
    inner = node.this if isinstance(node, exp.Alias) else node
    if not isinstance(inner, exp.Explode):
        return False
    if inner.expressions:
        return True
    value = bare(inner.this)
    if isinstance(value, exp.Column):
        return scope.find(value).kind.tag is not Tag.LIST
    return kind == UNKNOWN and not isinstance(value, exp.Array | exp.ArrayAgg | exp.GenerateSeries)


def _at(parent: exp.Expression, index: int) -> exp.Expression:
    found: exp.Expression = parent.expressions[index]
    return found


def _name_differs(node: exp.Expression, name: str) -> bool:
    return not (isinstance(node, exp.Column) and node.name == name)


def output_name(node: exp.Expression) -> str:
    """Return the name of a result column that has no alias, as near as can be to the engine's."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Column | exp.Dot):
        return str(node.name)
    text: str = node.sql("duckdb", normalize_functions="lower")
    return f"({text})" if isinstance(node, exp.Binary) and not isinstance(node, exp.Func) else text


_WRAPPERS = (exp.Alias, exp.Paren, exp.Window, exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.Order)


def source_of(node: exp.Expression | None, scope: Scope) -> Source | None:
    """Return the table column that a result column is an unchanged copy of, or None."""
    while node is not None:  # it is where a function lacks its argument, of which the engine says more
        if isinstance(node, _WRAPPERS):
            node = node.this
        elif isinstance(node, exp.Distinct) and len(node.expressions) == 1:
            node = node.expressions[0]
        elif isinstance(node, exp.Column):
            return scope.find(node).source
        elif isinstance(node, exp.Query):
            shape = scope.context.shapes.get(id(node), ANY_SHAPE)
            return shape.fields[0].source if not shape.is_open and len(shape.fields) == 1 else None
        elif (inner := _handed_on(node)) is not None:
            node = inner
        else:
            break
    return None


def _handed_on(node: exp.Expression) -> exp.Expression | None:
    """Return the argument whose values a function hands on unchanged, or None."""
    most = HANDED_ON.get(function_name(node)) if isinstance(node, exp.Func) else None
    arguments = list(children(node))
    if most is None or not arguments or len(arguments) > most or isinstance(arguments[-1], exp.Array | exp.Placeholder):
        return None
    return None if node.args.get("default") is not None else arguments[0]
