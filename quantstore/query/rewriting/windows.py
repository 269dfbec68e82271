"""Rules for window functions and ordered-set aggregates."""

from __future__ import annotations

from functools import partial

from sqlglot import exp

from quantstore.query.rewriting.arithmetic import moved
from quantstore.query.rewriting.expressions import floor_argument, node_rule, part, refuse, spelled, swap, typed
from quantstore.query.rewriting.functions import rule_for
from quantstore.query.rewriting.instants import fixed_length, nanoseconds_of, number
from quantstore.query.rewriting.kinds import INTERVAL, OTHER, UNKNOWN, Kind, Tag, list_of
from quantstore.query.rewriting.scopes import Scope


@node_rule("window")
def _window(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    visit_window(node, scope)
    return kind


def visit_window(node: exp.Expression, scope: Scope) -> None:
    """Visit the partition, order and frame of a window."""
    for child in list(node.args.get("partition_by") or []):
        typed(child, scope)
    order = node.args.get("order")
    if order is not None:
        kinds = [typed(ordered.this, scope) for ordered in order.expressions]
        scope.context.orders[id(order)] = (order.expressions[0].this.copy(), kinds[0])
    spec = node.args.get("spec")
    if spec is None:
        return
    bounds = {side: part(spec, side, scope) for side in ("start", "end")}
    if str(spec.args.get("kind")).upper() == "RANGE" and INTERVAL in bounds.values():
        owner = _ordered_window(node, scope)
        if owner is not None:
            _frame(owner.args["order"], spec, bounds, scope)


def _ordered_window(node: exp.Expression, scope: Scope) -> exp.Expression | None:
    """Return the window whose ORDER BY counts: the node itself, or the named one it builds on."""
    while node.args.get("order") is None:
        base = scope.windows.get(str(node.args["alias"].name).lower()) if node.args.get("alias") is not None else None
        if base is None or base is node:
            return None
        node = base
    return node


def _frame(order: exp.Expression, spec: exp.Expression, bounds: dict[str, Kind], scope: Scope) -> None:
    """Count a RANGE frame over stamps in nanoseconds: the engine would round the stamps it compares."""
    key, kind = scope.context.orders[id(order)]
    if not kind.is_ns:
        return
    ordered = order.expressions[0]
    for side, found in bounds.items():
        if found == INTERVAL:
            back = (str(spec.args.get(f"{side}_side")).upper() == "PRECEDING") != bool(ordered.args.get("desc"))
            swap(spec.args[side], partial(_distance, key, kind, back=back), scope)
    if ordered.this == key:  # a named window may serve several frames
        swap(ordered.this, nanoseconds_of, scope)


def _distance(key: exp.Expression, kind: Kind, interval: exp.Expression, *, back: bool) -> exp.Expression:
    """Return how many nanoseconds an interval is from a stamp on; months differ from one stamp to the next."""
    length = fixed_length(interval)
    if length is not None:
        return number(length)
    there = nanoseconds_of(moved(key.copy(), kind, interval, back=back))
    here = nanoseconds_of(key.copy())
    first, second = (here, there) if back else (there, here)
    return exp.Paren(this=exp.Sub(this=first, expression=exp.Paren(this=second)))


@node_rule("withingroup")
def _within_group(node: exp.Expression, scope: Scope) -> Kind:
    """Ordered-set aggregates: the value is what ORDER BY names."""
    aggregate = node.this
    kinds = [typed(child, scope) for child in aggregate.args.values() if isinstance(child, exp.Expression)]
    ordered = node.expression.expressions[0]
    kind = part(ordered, "this", scope)
    rule = rule_for(aggregate)
    if rule is None:
        if kind.carries_ns:
            raise refuse(spelled(aggregate), ordered.this, kind)
        return UNKNOWN
    if aggregate.key == "percentilecont":
        kind = floor_argument(ordered.this, kind, scope)
    several = any(one.tag is Tag.LIST for one in kinds)
    return list_of(kind) if several else kind


@node_rule("windowspec")
def _spec(node: exp.Expression, scope: Scope) -> Kind:
    for side in ("start", "end"):
        part(node, side, scope)
    return OTHER
