"""Rules for lists, structs, maps and lambdas."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from quantstore.query.rewriting.expressions import (
    children,
    named_rule,
    node_rule,
    part,
    passed,
    refuse,
    spelled,
    swap,
    typed,
)
from quantstore.query.rewriting.functions import Use, function_name
from quantstore.query.rewriting.kinds import INTERVAL, LITERAL, OTHER, TEXT, UNKNOWN, Kind, Tag, list_of, struct_of
from quantstore.query.rewriting.leaves import query_kind
from quantstore.query.rewriting.operands import mix
from quantstore.query.rewriting.scopes import Scope


@named_rule("list_value", "list_pack")
@node_rule("array")
def _array(node: exp.Expression, scope: Scope) -> Kind:
    if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Query):
        return list_of(query_kind(node.expressions[0], scope))
    kinds = [typed(child, scope) for child in list(node.expressions)]
    return list_of(mix(node.expressions, kinds, "A list", scope))


@node_rule("comprehension")
def _comprehension(node: exp.Expression, scope: Scope) -> Kind:
    listed = part(node, "iterator", scope)
    names = [node.args[key].name for key in ("expression", "position") if node.args.get(key) is not None]
    inside = scope.inner(_lambda_kinds(names, listed))
    part(node, "condition", inside)
    return typed(node.this, inside)


@node_rule("struct", "tuple")
def _struct(node: exp.Expression, scope: Scope) -> Kind:
    names = [child.name if isinstance(child, exp.PropertyEQ) else "" for child in node.expressions]
    kinds = [typed(child, scope).as_value for child in list(node.expressions)]
    if isinstance(node, exp.Tuple):
        kinds = [LITERAL if kind == TEXT and isinstance(child, exp.Literal) else kind
                 for kind, child in zip(kinds, node.expressions, strict=True)]  # fmt: skip
        return struct_of(kinds)
    return struct_of(kinds, names)


@named_rule("row")
def _row(node: exp.Expression, scope: Scope) -> Kind:
    return struct_of(typed(child, scope).as_value for child in list(node.expressions))


@node_rule("jsonkeyvalue")
def _key_value(node: exp.Expression, scope: Scope) -> Kind:
    part(node, "this", scope)
    kind = part(node, "expression", scope)
    return passed(node.expression, kind, Use.TEXT, node.parent or node, scope)


@node_rule("map")
def _map(node: exp.Expression, scope: Scope) -> Kind:
    kinds = [part(node, key, scope) for key in ("keys", "values")]
    return Kind(Tag.MAP, parts=tuple(kind.parts[0] if kind.tag is Tag.LIST else UNKNOWN for kind in kinds))


@node_rule("bracket")
def _bracket(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    index = node.expressions[0] if node.expressions else None
    for child in list(node.expressions):
        inner = typed(child, scope)
        if inner.carries_ns:
            raise refuse("A look-up", child, inner)
    if kind.tag is Tag.LIST:
        return kind if isinstance(index, exp.Slice) else kind.parts[0]
    if kind.tag is Tag.STRUCT and isinstance(index, exp.Literal) and index.is_string:
        return kind.field(index.name)
    if kind.tag is Tag.MAP and len(kind.parts) == 2:
        return kind.parts[1]
    if kind.carries_ns:
        raise refuse("A look-up", node, kind)
    return UNKNOWN


@node_rule("dot", "structextract")
def _dot(node: exp.Expression, scope: Scope) -> Kind:
    if isinstance(node.expression, exp.Func):
        return _chained(node, scope)
    kind = part(node, "this", scope)
    field = kind.field(node.expression.name) if kind.tag is Tag.STRUCT else UNKNOWN
    if field == UNKNOWN and kind.carries_ns:
        raise refuse("A field", node, kind)
    return field


def _chained(node: exp.Expression, scope: Scope) -> Kind:
    """Visit a chained call (`ts.hour()`) as the call it stands for; the parser takes its first part for no column."""
    names, inner = [], node.this
    while isinstance(inner, exp.Dot) and isinstance(inner.expression, exp.Identifier):
        names.append(inner.expression)
        inner = inner.this
    column = exp.column(*(one.copy() for one in [*names, inner])) if isinstance(inner, exp.Identifier) else None
    first = column or node.this.copy()
    arguments = [one.copy() for one in children(node.expression)]
    call = exp.func(function_name(node.expression), first, *arguments, dialect="duckdb")
    holder = exp.Paren(this=call)
    before = scope.context.edits
    kind = typed(call, scope)
    if scope.context.edits != before:
        swap(node, lambda _: holder.this, scope)
    return kind


def _lambda_kinds(names: Sequence[str], listed: Kind) -> dict[str, Kind]:
    element = listed.parts[0] if listed.tag is Tag.LIST else UNKNOWN
    kinds = [element, *[OTHER] * len(names)]
    return {name.lower(): kind for name, kind in zip(names, kinds, strict=False)}


@node_rule("transform", "arrayfilter")
def _lambda_function(node: exp.Expression, scope: Scope) -> Kind:
    listed = part(node, "this", scope)
    body = node.expression
    if not isinstance(body, exp.Lambda):
        if listed.carries_ns:
            raise refuse(spelled(node), node.this, listed)
        return UNKNOWN
    inside = scope.inner(_lambda_kinds([one.name for one in body.expressions], listed))
    kind = typed(body.this, inside)
    return listed if isinstance(node, exp.ArrayFilter) else list_of(kind)


@node_rule("lambda")
def _other_lambda(node: exp.Expression, scope: Scope) -> Kind:
    names = {one.name.lower(): UNKNOWN for one in node.expressions}
    return typed(node.this, scope.inner(names))


@node_rule("interval")
def _interval(node: exp.Expression, scope: Scope) -> Kind:
    part(node, "this", scope)
    return INTERVAL
