"""The typed walk over expressions: kinds bottom up, nodes changed where nanoseconds meet what the engine lacks.

Each node has a rule: a function of the node and its scope that visits what is inside, changes the tree in place where
it must, and returns the kind of the value. Rules are found by the parser's key for the node, functions by their name in
`functions.RULES`. What has no rule may not see nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp

from quantstore.errors import UnsupportedError
from quantstore.query.rewriting.clock import CUTS, asks_only_the_clock
from quantstore.query.rewriting.functions import Use, function_name, rule_for
from quantstore.query.rewriting.instants import call, floor, text_of
from quantstore.query.rewriting.kinds import NAIVE, NAIVE_NS, NULL, TEXT, UNKNOWN, ZONED, Kind
from quantstore.query.rewriting.scopes import Scope

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


def column_in(node: exp.Expression) -> str:
    """Return the first column an expression names, for messages."""
    column = node if isinstance(node, exp.Column) else node.find(exp.Column)
    if column is not None:
        return ".".join(one.name for one in column.parts)
    text: str = node.sql("duckdb", normalize_functions="lower")
    return text[:60]


def refuse(what: str, node: exp.Expression, kind: Kind) -> UnsupportedError:
    """Return the error for a use of nanoseconds whose outcome is not known."""
    column = column_in(node)
    to = "TIMESTAMPTZ" if kind.carries_zone else "TIMESTAMP"
    return UnsupportedError(
        f"{what} with {column}, which has nanoseconds, has no exact meaning here; write {column}::{to} to go on in "
        "microseconds.",
        column=column,
    )


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


def visited(node: exp.Expression, scope: Scope) -> list[tuple[exp.Expression, Kind]]:
    """Visit what is right below a node and return it, as it stands afterwards, with its kinds."""
    kinds = [typed(child, scope) for child in list(children(node))]
    return list(zip(children(node), kinds, strict=True))


def _function(node: exp.Expression, scope: Scope) -> Kind:
    arguments = visited(node, scope)
    rule = rule_for(node)
    if rule is None:
        return _unproven(spelled, node, arguments)
    kinds = [kind for _, kind in arguments]
    if rule.use is Use.FLOOR and asks_only_the_clock(node, kinds):
        for child, kind in arguments:
            if kind.is_ns:
                swap(child, lambda one: floor(one, NAIVE_NS), scope)
        if function_name(node) not in CUTS:
            return rule.result([NAIVE])
        swap(node, lambda one: call("MAKE_TIMESTAMPTZ", call("EPOCH_US", one.copy())), scope)
        return ZONED
    if rule.use is not Use.KEEP:
        kinds = [passed(child, kind, rule.use, node, scope) for child, kind in arguments]
    result = rule.result(kinds)
    return _unproven(spelled, node, arguments[:1]) if result == UNKNOWN else result


def _unproven(
    name: Callable[[exp.Expression], str], node: exp.Expression, arguments: Sequence[tuple[exp.Expression, Kind]]
) -> Kind:
    """Return that nothing is known, unless nanoseconds are among the arguments."""
    for child, kind in arguments:
        if kind.carries_ns:
            raise refuse(name(node), child, kind)
    return UNKNOWN


def spelled(node: exp.Expression) -> str:
    """Return a function's name as the engine spells it, for messages."""
    text: str = node.sql("duckdb", normalize_functions="lower")
    return text.partition("(")[0] + "()"


def passed(child: exp.Expression, kind: Kind, use: Use, node: exp.Expression, scope: Scope) -> Kind:
    """Pass an argument the way a function of `node` takes stamps, and return its new kind."""
    if kind.carries_ns and not kind.is_ns:
        raise refuse(spelled(node), child, kind)
    if use is Use.TEXT:
        if kind.is_ns:
            swap(innermost(child), lambda one: text_of(one, kind), scope)
        return TEXT
    return floor_argument(child, kind, scope)


def _unknown(node: exp.Expression, scope: Scope) -> Kind:
    return _unproven(lambda one: one.key.upper(), node, visited(node, scope))
