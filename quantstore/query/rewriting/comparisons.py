"""Rules for what compares values: operators, BETWEEN, IN, CASE, NULLIF, ANY and ALL.

Beside a stamp with nanoseconds everything is brought to TIMESTAMP_NS. Where the stamp is a constant and the other side
a column of microseconds, the constant is brought to microseconds instead: the engine can still prune by the column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sqlglot import exp

from quantstore.query.rewriting.expressions import named_rule, node_rule, part, refuse, spelled, swap, typed, visited
from quantstore.query.rewriting.instants import Value, bare, call, ceiling, clamped, floor, once_with, wrapped
from quantstore.query.rewriting.kinds import LITERAL, OTHER, UNKNOWN, Kind, Tag
from quantstore.query.rewriting.leaves import query_kind
from quantstore.query.rewriting.operands import mix, to_stamp
from quantstore.query.rewriting.scopes import Scope
from quantstore.query.rewriting.unions import recast

Bound = Callable[[exp.Expression, Kind], exp.Expression]

# Microseconds lie below a stamp if and only if they lie below the first microsecond not before it, and so on.
_BOUNDS: dict[str, tuple[Bound, Bound]] = {
    "gt": (ceiling, floor),
    "gte": (floor, ceiling),
    "lt": (floor, ceiling),
    "lte": (ceiling, floor),
}
"""What a constant stamp becomes, on the left and on the right of the operator."""


@node_rule("eq", "neq", "gt", "gte", "lt", "lte", "nullsafeeq", "nullsafeneq")
def _comparison(node: exp.Expression, scope: Scope) -> Kind:
    if isinstance(node.expression, exp.Any | exp.All):
        return _quantified(node, scope)
    left, right = part(node, "this", scope), part(node, "expression", scope)
    if not (left.carries_ns or right.carries_ns):
        return OTHER
    if left.is_ns != right.is_ns and _bounded(node, left, right, scope):
        return OTHER
    match(node.this, left, node.expression, right, scope)
    return OTHER


def _bounded(node: exp.Expression, left: Kind, right: Kind, scope: Scope) -> bool:
    """Bring a constant stamp to the microseconds of the column it is compared with."""
    side = 0 if left.is_ns else 1
    stamp, other = (node.this, node.expression) if left.is_ns else (node.expression, node.this)
    kind, other_kind = (left, right) if left.is_ns else (right, left)
    fits = other_kind.is_micros or other_kind.tag is Tag.DATE
    if node.key not in _BOUNDS or not fits or not is_constant(stamp) or is_constant(other):
        return False
    swap(stamp, lambda one: _BOUNDS[node.key][side](one, kind), scope)
    return True


def is_constant(node: exp.Expression) -> bool:
    """Whether a value is the same for all rows."""
    return not any(
        isinstance(one, exp.Column | exp.Query | exp.AggFunc | exp.Window | exp.Identifier) for one in node.walk()
    )


def match(left: exp.Expression, left_kind: Kind, right: exp.Expression, right_kind: Kind, scope: Scope) -> None:
    """Bring two compared values to one kind where either has nanoseconds."""
    if left_kind.is_ns or right_kind.is_ns:
        if left_kind.is_nested or right_kind.is_nested:
            raise refuse(
                "A comparison", left if left_kind.is_ns else right, left_kind if left_kind.is_ns else right_kind
            )
        to_stamp(right, right_kind, left, left_kind, scope, compare=True)
        to_stamp(left, left_kind, right, right_kind, scope, compare=True)
    elif left_kind.carries_ns or right_kind.carries_ns:
        _match_nested(left, left_kind, right, right_kind, scope)


def _match_nested(left: exp.Expression, left_kind: Kind, right: exp.Expression, right_kind: Kind, scope: Scope) -> None:
    if Tag.NULL in {left_kind.tag, right_kind.tag} or _alike(left_kind, right_kind):
        return
    one, other = bare(left), bare(right)
    if (
        not isinstance(one, exp.Tuple)
        or not isinstance(other, exp.Tuple)
        or len(one.expressions) != len(other.expressions)
    ):
        nested = (left, left_kind) if left_kind.carries_ns else (right, right_kind)
        raise refuse("A comparison of lists, structs or rows", *nested)
    pairs = zip(list(one.expressions), left_kind.parts, list(other.expressions), right_kind.parts, strict=True)
    for part_left, kind_left, part_right, kind_right in pairs:
        match(part_left, kind_left, part_right, kind_right, scope)


def _alike(left: Kind, right: Kind) -> bool:
    """Whether two nested kinds have nanoseconds in the same places."""
    if not left.parts and not right.parts:
        return left.is_ns == right.is_ns
    return len(left.parts) == len(right.parts) and all(map(_alike, left.parts, right.parts))


@node_rule("between")
def _between(node: exp.Expression, scope: Scope) -> Kind:
    keys = ("this", "low", "high")
    kinds = {key: part(node, key, scope) for key in keys}
    if not any(kind.carries_ns for kind in kinds.values()):
        return OTHER
    this, kind = node.this, kinds["this"]
    bounds = {key: (node.args[key], kinds[key]) for key in keys[1:]}
    stamps = [one for one, found in bounds.values() if found.is_ns]
    if (kind.is_micros or kind.tag is Tag.DATE) and not is_constant(this) and all(is_constant(one) for one in stamps):
        for key, bring in (("low", ceiling), ("high", floor)):
            bound, found = bounds[key]
            if found.is_ns:
                swap(bound, partial(bring, kind=found), scope)
        return OTHER
    if not kind.is_ns and stamps:
        match(this, kind, stamps[0], next(found for _, found in bounds.values() if found.is_ns), scope)
        kind = next(found for _, found in bounds.values() if found.is_ns) if not kind.is_ns else kind
    for bound, found in bounds.values():
        match(node.this, kind, bound, found, scope)
    return OTHER


@node_rule("in")
def _in(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    if node.args.get("query") is not None:
        _match_query(node.this, kind, node.args["query"], scope)
    elif node.args.get("field") is not None:
        listed = part(node, "field", scope)
        _match_list(node.this, kind, node.args["field"], listed, scope)
    elif node.args.get("unnest") is not None:
        listed = part(node, "unnest", scope)
        if kind.carries_ns or listed.carries_ns:
            raise refuse("IN with UNNEST", node.this, kind if kind.carries_ns else listed)
    else:
        kinds = [typed(child, scope) for child in list(node.expressions)]
        _match_all(node, "this", kind, node.expressions, kinds, scope)
    return OTHER


def _match_all(
    node: exp.Expression, key: str, kind: Kind, others: Sequence[exp.Expression], kinds: Sequence[Kind], scope: Scope
) -> None:
    """Bring a value and all it is compared with to one kind where any has nanoseconds."""
    stamp = next((one for one in kinds if one.is_ns), None)
    if stamp is not None and not kind.is_ns:
        peer = next(other for other, one in zip(others, kinds, strict=True) if one.is_ns)
        match(node.args[key], kind, peer, stamp, scope)
        kind = stamp
    for other, one in zip(list(others), kinds, strict=True):
        match(node.args[key], kind, other, one, scope)


def _match_list(value: exp.Expression, kind: Kind, among: exp.Expression, listed: Kind, scope: Scope) -> None:
    """Match a value with the elements of a list; the kind of a parameter is that of its elements."""
    if isinstance(bare(among), exp.Placeholder):
        element = listed
    else:
        element = listed.parts[0] if listed.tag is Tag.LIST else UNKNOWN
    if not (kind.carries_ns or listed.carries_ns) or (kind.is_ns and element.is_ns):
        return
    if element.is_ns:
        match(value, kind, among, element, scope)
    elif kind.is_ns and (element.is_micros or element.tag is Tag.DATE):
        name = exp.to_identifier("_each", quoted=True)
        each = exp.Lambda(this=clamped(name, element), expressions=[name.copy()])
        swap(bare(among), lambda one: call("LIST_TRANSFORM", one, each), scope)
    else:
        raise refuse("A search in a list", value if kind.carries_ns else among, kind if kind.carries_ns else listed)


def _match_query(value: exp.Expression, kind: Kind, query: exp.Expression, scope: Scope) -> None:
    """Match a value, or a row of values, with the rows of a query."""
    query_kind(query, scope)
    shape = scope.context.shapes[id(query)]
    is_row = isinstance(bare(value), exp.Tuple)
    values = list(bare(value).expressions) if is_row else [value]
    kinds = list(kind.parts) if is_row else [kind]
    if shape.is_open or len(shape.fields) != len(kinds):
        if kind.carries_ns:
            raise refuse("A comparison with a query whose columns are not known", value, kind)
        return
    changes: dict[int, Kind] = {}
    for position, (one, own, field) in enumerate(zip(values, kinds, shape.fields, strict=True)):
        if own.is_ns and not field.kind.is_ns:
            changes[position] = own
        elif field.kind.is_ns and not own.is_ns:
            match(one, own, exp.column(field.name), field.kind, scope)
        elif own.carries_ns and not _alike(own, field.kind):
            raise refuse("A comparison", one, own)
    if changes:
        swap(query, lambda one: recast(one, shape, changes, scope, compare=True), scope)


def _quantified(node: exp.Expression, scope: Scope) -> Kind:
    """Match a value with ANY or ALL of a query's rows or a list's elements."""
    kind = part(node, "this", scope)
    among = node.expression
    if isinstance(among.this, exp.Query):
        _match_query(node.this, kind, among.this, scope)
        return OTHER
    listed = typed(among.this, scope)
    array = bare(among.this)
    if (kind.carries_ns or listed.carries_ns) and isinstance(array, exp.Array):
        element = listed.parts[0]
        kinds = [LITERAL if one.is_string and not element.is_ns else element for one in map(bare, array.expressions)]
        _match_all(node, "this", kind, array.expressions, kinds, scope)
    else:
        _match_list(node.this, kind, among.this, listed, scope)
    return OTHER


@node_rule("case", "if")
def _case(node: exp.Expression, scope: Scope) -> Kind:
    whens = list(node.args.get("ifs") or [])
    if isinstance(node, exp.If):
        part(node, "this", scope)
        results = [key for key in ("true", "false") if node.args.get(key) is not None]
        kinds = [part(node, key, scope) for key in results]
        return mix([node.args[key] for key in results], kinds, "IF", scope)
    operand = part(node, "this", scope) if node.args.get("this") is not None else None
    compared = [part(when, "this", scope) for when in whens]
    if operand is not None:
        _match_all(node, "this", operand, [when.this for when in whens], compared, scope)
    kinds = [part(when, "true", scope) for when in whens]
    if node.args.get("default") is not None:
        kinds.append(part(node, "default", scope))
    outcomes = [when.args["true"] for when in whens]
    if node.args.get("default") is not None:
        outcomes.append(node.args["default"])
    return mix(outcomes, kinds, "CASE", scope)


@node_rule("nullif")
def _nullif(node: exp.Expression, scope: Scope) -> Kind:
    """Compare exactly; where only the second has nanoseconds, the first stays what it is."""
    kind, other = part(node, "this", scope), part(node, "expression", scope)
    if not (kind.carries_ns or other.carries_ns):
        return kind.as_value
    if kind.is_ns:
        match(node.this, kind, node.expression, other, scope)
        return kind
    if kind.carries_ns and _alike(kind, other):
        return kind
    if other.is_ns and (kind.is_micros or kind.tag is Tag.DATE):
        swap(node, lambda one: once_with(one.this, one.expression, partial(_unless_equal, kind)), scope)
        return kind
    raise refuse("NULLIF()", node.expression if other.carries_ns else node.this, other if other.carries_ns else kind)


def _unless_equal(kind: Kind, value: Value, other: Value) -> exp.Expression:
    same = exp.EQ(this=clamped(value(), kind), expression=wrapped(other()))
    return exp.Case(ifs=[exp.If(this=same, true=exp.Null())], default=value())


@node_rule("arrayoverlaps", "arraycontainsall", "arrayintersect")
@named_rule("list_has_any", "array_has_any", "list_has_all", "array_has_all", "list_intersect", "array_intersect")
def _lists(node: exp.Expression, scope: Scope) -> Kind:
    arguments = visited(node, scope)
    first = arguments[0][1] if arguments else OTHER
    for value, kind in arguments:
        if (kind.carries_ns or first.carries_ns) and not _alike(kind, first):
            raise refuse("A comparison of lists", value, kind if kind.carries_ns else first)
    return first if spelled(node).endswith("intersect()") else OTHER


@node_rule("arraycontains", "arrayposition")
@named_rule(
    "list_contains", "list_has", "array_has", "list_position", "list_indexof", "array_position", "array_indexof"
)
def _contains(node: exp.Expression, scope: Scope) -> Kind:
    (among, listed), (value, kind) = visited(node, scope)[:2]
    _match_list(value, kind, among, listed, scope)
    return OTHER
