"""The typed walk over expressions: kinds bottom up, nodes changed where nanoseconds meet what the engine lacks.

Each node has a rule: a function of the node and its scope that visits what is inside, changes the tree in place where it
must, and returns the kind of the value. Rules are found by the parser's key for the node, functions by their name in
`functions.RULES`. What has no rule may not see nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp

from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.query.functions import Use, function_name, rule_for
from quantstore.query.instants import bare, cast_to, clamped, fixed_length, floor, parameter_stamp, text_of, widened
from quantstore.query.kinds import (
    DATE,
    INTERVAL,
    LITERAL,
    NULL,
    OTHER,
    TEXT,
    UNKNOWN,
    Kind,
    Tag,
    list_of,
    of_sql,
    struct_of,
    type_name,
    unify,
)
from quantstore.query.scopes import Scope
from quantstore.query.stamps import cast_stamp, literal_sql, stamp_sql

NodeRule = Callable[[exp.Expression, Scope], Kind]
NODES: dict[str, NodeRule] = {}


def node_rule(*keys: str) -> Callable[[NodeRule], NodeRule]:
    """Register the rule of one or more node types, named by the parser's keys."""

    def register(rule: NodeRule) -> NodeRule:
        for key in keys:
            NODES[key] = rule
        return rule

    return register


NAMED: dict[str, NodeRule] = {}


def named_rule(*names: str) -> Callable[[NodeRule], NodeRule]:
    """Register the rule of functions that the parser has no node for, by their names."""

    def register(rule: NodeRule) -> NodeRule:
        for name in names:
            NAMED[name] = rule
        return rule

    return register


def typed(node: exp.Expression, scope: Scope) -> Kind:
    """Visit an expression: change what must be changed in it, in place, and return its kind."""
    rule = NAMED.get(function_name(node)) if isinstance(node, exp.Anonymous) else NODES.get(node.key)
    if rule is not None:
        return rule(node, scope)
    return _function(node, scope) if isinstance(node, exp.Func) else _unknown(node, scope)


def part(node: exp.Expression, key: str, scope: Scope) -> Kind:
    """Visit one argument of a node and return its kind; a missing one is NULL."""
    child = node.args.get(key)
    return typed(child, scope) if isinstance(child, exp.Expression) else NULL


def children(node: exp.Expression) -> Iterator[exp.Expression]:
    """Yield the expressions right below a node."""
    for value in list(node.args.values()):
        if isinstance(value, exp.Expression):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, exp.Expression))


def swap(node: exp.Expression, build: Callable[[exp.Expression], exp.Expression], scope: Scope) -> None:
    """Put what `build` makes of a node in its place."""
    stand_in = exp.Null()
    node.replace(stand_in)
    stand_in.replace(build(node))
    scope.context.edits += 1


# What cannot be proven


def column_in(node: exp.Expression) -> str:
    """Return the first column an expression names, for messages."""
    column = node if isinstance(node, exp.Column) else node.find(exp.Column)
    return ".".join(one.name for one in column.parts) if column is not None else node.sql("duckdb")[:60]


def refuse(what: str, node: exp.Expression, kind: Kind) -> UnsupportedError:
    """Return the error for a use of nanoseconds whose outcome is not known."""
    column = column_in(node)
    to = "TIMESTAMPTZ" if kind.carries_zone else "TIMESTAMP"
    return UnsupportedError(
        f"{what} with {column}, which has nanoseconds, has no exact meaning here; write {column}::{to} to go on in "
        "microseconds.",
        column=column,
    )


def _undetermined(node: exp.Expression, stamp: exp.Expression, kind: Kind) -> UnsupportedError:
    column, other = column_in(stamp), node.sql("duckdb")[:80]
    to = "TIMESTAMPTZ" if kind.is_zoned else "TIMESTAMP"
    return UnsupportedError(
        f"{column} has nanoseconds and meets {other}, whose type is not known before the query runs; write "
        f"({other})::{to}.",
        column=column,
    )


# Bringing operands to TIMESTAMP_NS

_NOW = {"currenttimestamp", "currentdate", "now", "get_current_timestamp", "transaction_timestamp", "today"}


def _is_near_now(node: exp.Expression) -> bool:
    """Whether a value lies within a lifetime of now, so that TIMESTAMP_NS surely holds it."""
    node = bare(node)
    if isinstance(node, exp.Add | exp.Sub):
        return _is_near_now(node.this) and fixed_length(node.expression) is not None
    if isinstance(node, exp.Cast | exp.TimestampTrunc | exp.DateTrunc):
        return _is_near_now(node.this)
    return isinstance(node, exp.Func) and function_name(node) in _NOW


def to_stamp(node: exp.Expression, kind: Kind, peer: exp.Expression, peer_kind: Kind, scope: Scope, *, compare: bool) -> None:
    """Bring an operand that meets a stamp with nanoseconds to TIMESTAMP_NS.

    Args:
        node: The operand; replaced in its tree.
        kind: Its kind.
        peer: The stamp it meets.
        peer_kind: The stamp's kind, which decides what a literal with an offset means.
        scope: Where it stands.
        compare: Whether it is only compared, so that what no TIMESTAMP_NS can be may lie before or after all others.

    Raises:
        InvalidInputError: A literal is no stamp.
        UnsupportedError: It is text that is no literal, or nothing is known of its type.
    """
    if kind.is_ns or kind.tag in {Tag.NULL, Tag.OTHER, Tag.INTERVAL}:
        return  # alike already, or for the engine to refuse
    if kind.tag is Tag.LITERAL:
        _literal(node, peer, peer_kind, scope, compare=compare)
    elif kind.is_micros or kind.tag is Tag.DATE:
        _micros(node, kind, scope, compare=compare)
    elif kind.tag is Tag.TEXT and isinstance(bare(node), exp.Placeholder):
        zoned = peer_kind.is_zoned
        swap(node, lambda one: parameter_stamp(bare(one), zoned=zoned, beyond=compare), scope)
    else:
        raise _undetermined(node, peer, peer_kind)


def _literal(node: exp.Expression, peer: exp.Expression, peer_kind: Kind, scope: Scope, *, compare: bool) -> None:
    text = bare(node).name
    found = literal_sql(text, zoned=peer_kind.is_zoned, beyond=compare)
    if found is None:
        raise InvalidInputError(
            f"{text!r} beside {column_in(peer)} is no stamp from 1677 to 2262; write it like '2026-11-20 14:30:00.5+00'.",
            literal=text,
        )
    swap(node, lambda _: found, scope)


def _micros(node: exp.Expression, kind: Kind, scope: Scope, *, compare: bool) -> None:
    stamp = cast_stamp(node)
    exact = stamp_sql(stamp, zoned=True) if stamp is not None else None
    if exact is not None:
        swap(node, lambda _: exact, scope)
    elif compare and not _is_near_now(node):
        swap(node, lambda one: clamped(one, kind), scope)
    else:
        swap(node, widened, scope)


def mix(nodes: Sequence[exp.Expression], kinds: Sequence[Kind], what: str, scope: Scope) -> Kind:
    """Bring values that a result may be any of to one kind, where nanoseconds are among them, and return it."""
    common = unify(kinds)
    if common.is_ns:
        peer = next(node for node, kind in zip(nodes, kinds, strict=True) if kind.is_ns)
        for node, kind in zip(nodes, kinds, strict=True):
            if kind.is_nested:
                raise refuse(what, peer, common)
            to_stamp(node, kind, peer, common, scope, compare=False)
    else:
        nested = [(node, kind) for node, kind in zip(nodes, kinds, strict=True) if kind.carries_ns]
        if nested and common.tag is Tag.UNKNOWN:
            raise refuse(what, *nested[0])
    return common


# Functions


def innermost(node: exp.Expression) -> exp.Expression:
    """Return the value inside what an aggregate's argument may be wrapped in (DISTINCT, ORDER BY, LIMIT)."""
    while isinstance(node, exp.Order | exp.Distinct | exp.Limit | exp.IgnoreNulls | exp.RespectNulls):
        inner = node.expressions[0] if isinstance(node, exp.Distinct) else node.this
        if not isinstance(inner, exp.Expression):
            break
        node = inner
    return node


def floor_argument(node: exp.Expression, kind: Kind, scope: Scope) -> Kind:
    """Cut sub-microsecond digits off an argument and return its new kind."""
    if kind.is_ns:
        swap(innermost(node), lambda one: floor(one, kind), scope)
    return kind.floored


def _function(node: exp.Expression, scope: Scope) -> Kind:
    rule = rule_for(node)
    name = function_name(node).upper()
    found = [(child, typed(child, scope)) for child in children(node)]
    arguments = [(_current(node, position), kind) for position, (_, kind) in enumerate(found)]
    kinds = [kind for _, kind in arguments]
    if rule is None:
        for child, kind in arguments:
            if kind.carries_ns:
                raise refuse(f"{name}()", child, kind)
        return UNKNOWN
    if rule.use is Use.MIX:
        mix([child for child, _ in arguments], kinds, f"{name}()", scope)
    elif rule.use is not Use.KEEP:
        kinds = [_passed(child, kind, rule.use, name, scope) for child, kind in arguments]
    return rule.result(kinds)


def _current(node: exp.Expression, position: int) -> exp.Expression:
    """Return the expression that stands at a place now; visiting it may have replaced it."""
    for index, child in enumerate(children(node)):
        if index == position:
            return child
    raise IndexError(position)


def _passed(child: exp.Expression, kind: Kind, use: Use, name: str, scope: Scope) -> Kind:
    if kind.carries_ns and not kind.is_ns:
        raise refuse(f"{name}()", child, kind)
    if use is Use.TEXT:
        if kind.is_ns:
            swap(innermost(child), lambda one: text_of(one, kind), scope)
        return TEXT
    return floor_argument(child, kind, scope)


def _unknown(node: exp.Expression, scope: Scope) -> Kind:
    for position, child in enumerate(list(children(node))):
        kind = typed(child, scope)
        if kind.carries_ns:
            raise refuse(node.key.upper(), _current(node, position), kind)
    return UNKNOWN


# Leaves and wrappers


@node_rule("literal")
def _literal_kind(node: exp.Expression, _scope: Scope) -> Kind:
    return LITERAL if node.args.get("is_string") else OTHER


@node_rule("null")
def _null(_node: exp.Expression, _scope: Scope) -> Kind:
    return NULL


@node_rule("boolean", "var", "datatype", "star", "hexstring", "bytestring", "bitstring", "nationalstring", "datatypeparam")
def _plain(_node: exp.Expression, _scope: Scope) -> Kind:
    return OTHER


@node_rule("placeholder", "parameter")
def _parameter(node: exp.Expression, scope: Scope) -> Kind:
    return scope.context.parameters.get(node.name.lower(), OTHER)


@node_rule("identifier")
def _lambda_parameter(node: exp.Expression, scope: Scope) -> Kind:
    return scope.lambdas.get(node.name.lower(), OTHER)


@node_rule("column")
def column_kind(node: exp.Expression, scope: Scope) -> Kind:
    """Resolve a column; qualify it where a hidden column of the same name could be meant."""
    found = scope.find(node)
    merged = found.merged
    if len(node.parts) > 1:
        return found.kind
    if merged is not None and merged.node is not None:
        stand_in = merged.node
        swap(node, lambda _: stand_in.copy(), scope)
    elif scope.hides(node.name.lower()):
        if found.is_alias:
            _check_alias(node, scope)
        elif found.relation is not None and found.relation.label is not None and not found.is_ambiguous:
            if len(scope.relations) > 1:
                node.set("table", found.relation.label.copy())
    return found.kind


def _check_alias(node: exp.Expression, scope: Scope) -> None:
    """Refuse, once all is known, a name that the engine would take for a hidden column and not for the result column."""
    name = node.name.lower()
    alias = scope.aliases[name]
    owners = [relation for relation in scope.relations if name in relation.hidden]

    def check() -> None:
        for relation in owners:
            if name in scope.context.exposes(relation) and relation.hidden[name].source != alias.source:
                raise InvalidInputError(
                    f"{name!r} is a column of the result here and elsewhere in the query the hidden column of table "
                    f"{relation.table!r}; give the result column another name.",
                    column=name,
                )

    scope.context.later.append(check)


@node_rule("paren", "alias", "collate", "ignorenulls", "respectnulls", "limit", "kwarg", "propertyeq", "slice")
def _inner(node: exp.Expression, scope: Scope) -> Kind:
    if isinstance(node, exp.PropertyEQ | exp.Kwarg):
        return part(node, "expression", scope)
    kind = part(node, "this", scope)
    for key in ("expression", "offset"):
        part(node, key, scope)
    return kind


@node_rule("order")
def _order(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    for ordered in node.expressions:
        typed(ordered, scope)
    return kind


@node_rule("distinct")
def _distinct(node: exp.Expression, scope: Scope) -> Kind:
    kinds = [typed(child, scope) for child in list(node.expressions)]
    part(node, "on", scope)
    return kinds[0] if kinds else OTHER


@node_rule("ordered", "where", "having", "qualify", "group", "cube", "rollup", "groupingsets", "offset", "fetch", "is")
def _clause(node: exp.Expression, scope: Scope) -> Kind:
    for child in list(children(node)):
        typed(child, scope)
    return OTHER


@node_rule("limitoptions", "tablesample", "havingmax", "into", "positionalcolumn", "pseudocolumn")
def _untyped(node: exp.Expression, scope: Scope) -> Kind:
    for child in list(children(node)):
        typed(child, scope)
    return UNKNOWN


@node_rule("filter")
def _filter(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    part(node, "expression", scope)
    return kind


@node_rule("and", "or", "xor")
def _connector(node: exp.Expression, scope: Scope) -> Kind:
    pending = [node]
    while pending:  # long chains would exhaust the stack
        one = pending.pop()
        for child in list(children(one)):
            pending.append(child) if isinstance(child, exp.Connector) else typed(child, scope)
    return OTHER


@node_rule("not")
def _not(node: exp.Expression, scope: Scope) -> Kind:
    part(node, "this", scope)
    return OTHER


# Casts

_NUMERIC = {"TINYINT", "SMALLINT", "INT", "BIGINT", "INT128", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN", "UBIGINT", "UINT"}


@node_rule("cast", "trycast")
def _cast(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    to = of_sql(node.args["to"])
    name = type_name(node.args["to"])
    if name == "TIMESTAMPTZ_NS":
        return _cast_to_zoned(node, kind, scope)
    if kind.tag is Tag.LITERAL and to.is_ns:
        found = literal_sql(bare(node.this).name, zoned=False, beyond=False)
        if found is not None:
            swap(node, lambda _: found, scope)
    if kind.is_ns:
        return _cast_stamp(node, kind, to, name, scope)
    if kind.carries_ns:
        raise refuse(f"A cast to {node.args['to'].sql('duckdb')}", node.this, kind)
    return to


def _cast_to_zoned(node: exp.Expression, kind: Kind, scope: Scope) -> Kind:
    """Cast to the instant with nanoseconds, which the engine has only from 2.0 on: here it is TIMESTAMP_NS in UTC."""
    inner = node.this
    target = kind if kind.tag is Tag.ZONED_NS else Kind(Tag.ZONED_NS, "UTC")
    to_stamp(inner, kind, inner, target, scope, compare=False)
    swap(node, lambda one: one.this, scope)
    return target


def _cast_stamp(node: exp.Expression, kind: Kind, to: Kind, name: str, scope: Scope) -> Kind:
    if to.is_ns or name in _NUMERIC or name == "TIME_NS":
        return to  # exact as it is, or for the engine to refuse
    if to == TEXT:
        if kind.is_zoned:
            swap(node, lambda one: text_of(one.this, kind), scope)
        return TEXT
    if not (to.is_micros or to == DATE or name in {"TIME", "TIMETZ"}):
        raise refuse(f"A cast to {name}", node.this, kind)
    if to == kind.floored and not node.args["to"].expressions and not name.endswith(("_S", "_MS")):
        swap(node, lambda one: floor(one.this, kind), scope)
        return to
    swap(node.this, lambda one: floor(one, kind), scope)
    if name == "TIME" and kind.is_zoned:  # the engine casts no TIMESTAMPTZ to TIME
        swap(node.this, lambda one: cast_to(one, "TIMESTAMP"), scope)
    return to


# Lists, structs and lambdas


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
    """Visit a chained call (`ts.hour()`), whose first part the parser takes for no column."""
    names, inner = [], node.this
    while isinstance(inner, exp.Dot) and isinstance(inner.expression, exp.Identifier):
        names.append(inner.expression)
        inner = inner.this
    if isinstance(inner, exp.Identifier):
        inner = exp.column(*(one.copy() for one in [*names, inner]))
        kind = scope.find(inner).kind
    else:
        kind = part(node, "this", scope)
    if kind.carries_ns:
        raise refuse(f"The chained call {function_name(node.expression).upper()}()", inner, kind)
    typed(node.expression, scope)
    return UNKNOWN


def _lambda_kinds(names: Sequence[str], listed: Kind) -> dict[str, Kind]:
    element = listed.parts[0] if listed.tag is Tag.LIST else UNKNOWN
    kinds = [element, *[OTHER] * len(names)]
    return {name.lower(): kind for name, kind in zip(names, kinds, strict=False)}


@node_rule("transform", "arrayfilter")
def _lambda_function(node: exp.Expression, scope: Scope) -> Kind:
    listed = part(node, "this", scope)
    body = node.expression
    if not isinstance(body, exp.Lambda):
        return _unknown(node, scope)
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


# Queries inside expressions


def query_kind(node: exp.Expression, scope: Scope) -> Kind:
    """Visit a query that stands for a value and return the kind of its only column."""
    shape = scope.context.visit_query(node, scope, scope.ctes, scope.context)
    scope.context.shapes[id(node)] = shape
    if shape.is_open:
        return UNKNOWN
    if len(shape.fields) == 1:
        return shape.fields[0].kind
    return struct_of(one.kind for one in shape.fields)


@node_rule("subquery", "select", "union", "except", "intersect")
def _subquery(node: exp.Expression, scope: Scope) -> Kind:
    return query_kind(node, scope)


@node_rule("exists")
def _exists(node: exp.Expression, scope: Scope) -> Kind:
    if isinstance(node.this, exp.Query):
        query_kind(node.this, scope)
    else:
        part(node, "this", scope)
    return OTHER

