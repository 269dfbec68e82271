"""Rules for arithmetic with stamps, zones, and functions whose meaning depends on what they are given."""

from __future__ import annotations

from functools import partial

from sqlglot import exp

from quantstore.query.rewriting.expressions import floor_argument, named_rule, node_rule, part, refuse, swap, typed
from quantstore.query.rewriting.instants import (
    Value,
    bare,
    call,
    cast_to,
    ceiling,
    difference,
    fixed_length,
    floor,
    once_with,
    shifted,
    text_of,
    with_rest,
    wrapped,
)
from quantstore.query.rewriting.kinds import (
    DATE,
    INTERVAL,
    NAIVE,
    NAIVE_NS,
    OTHER,
    TEXT,
    TIME,
    UNKNOWN,
    ZONED,
    Kind,
    Tag,
    list_of,
    zoned_ns,
)
from quantstore.query.rewriting.operands import mix, to_stamp
from quantstore.query.rewriting.scopes import Scope


def moved(node: exp.Expression, kind: Kind, interval: exp.Expression, *, back: bool) -> exp.Expression:
    """Return a TIMESTAMP_NS plus or minus an interval, its sub-microsecond digits kept."""
    length = fixed_length(interval)
    if length is not None:
        return shifted(node, -length if back else length)
    operator = exp.Sub if back else exp.Add
    return once_with(
        node,
        interval,
        lambda value, by: with_rest(operator(this=floor(value(), kind), expression=wrapped(by())), value()),
    )


@node_rule("add", "dateadd")
def _add(node: exp.Expression, scope: Scope) -> Kind:
    left, right = part(node, "this", scope), part(node, "expression", scope)
    if left.is_ns and not right.carries_ns:
        return _move(node, node.this, left, node.expression, right, scope, back=False)
    if right.is_ns and not left.carries_ns:
        return _move(node, node.expression, right, node.this, left, scope, back=False)
    if left.carries_ns or right.carries_ns:
        raise refuse("+", node.this if left.carries_ns else node.expression, left if left.carries_ns else right)
    return _sum(left, right)


_SUMS = {Tag.INTERVAL: NAIVE, Tag.TIME: NAIVE, Tag.TIMETZ: ZONED, Tag.OTHER: DATE}
"""Kinds of what is added to a date."""


def _sum(left: Kind, right: Kind) -> Kind:
    for one, other in ((left, right), (right, left)):
        if one.is_micros and other.tag in {Tag.INTERVAL, Tag.UNKNOWN, Tag.OTHER, Tag.LITERAL}:
            return one
        if one == DATE:
            return _SUMS.get(other.tag, UNKNOWN)
    if INTERVAL in {left, right} and {left, right} <= {INTERVAL, Kind(Tag.LITERAL)}:
        return INTERVAL
    return OTHER if left == right == OTHER else UNKNOWN


def _move(
    node: exp.Expression,
    stamp: exp.Expression,
    kind: Kind,
    by: exp.Expression,
    by_kind: Kind,
    scope: Scope,
    *,
    back: bool,
) -> Kind:
    """Move a stamp by what can only be an interval: the engine adds nothing else to one."""
    if by_kind.tag not in {Tag.INTERVAL, Tag.UNKNOWN, Tag.OTHER, Tag.LITERAL, Tag.NULL}:
        raise refuse("-" if back else "+", stamp, kind)
    if by_kind == OTHER and isinstance(bare(by), exp.Literal):
        return OTHER  # a number, which the engine refuses
    swap(node, lambda _: moved(stamp, kind, by, back=back), scope)
    return kind


@node_rule("sub")
def _subtract(node: exp.Expression, scope: Scope) -> Kind:
    left, right = part(node, "this", scope), part(node, "expression", scope)
    if not (left.carries_ns or right.carries_ns):
        return _difference_kind(left, right)
    if left.is_ns and right.is_ns:
        swap(node, lambda one: difference(one.this, one.expression), scope)
        return INTERVAL
    if left.is_ns and (right.is_micros or right == DATE):
        swap(node.this, lambda one: floor(one, left), scope)
        return INTERVAL
    if right.is_ns and (left.is_micros or left == DATE):
        swap(node.expression, lambda one: ceiling(one, right), scope)
        return INTERVAL
    if left.is_ns and right.tag in {Tag.INTERVAL, Tag.OTHER}:
        return _move(node, node.this, left, node.expression, right, scope, back=True)
    if left.is_ns and right.tag in {Tag.LITERAL, Tag.NULL}:
        floor_argument(node.this, left, scope)  # the engine asks for a type, or gives NULL
        return UNKNOWN
    stamp, kind = (node.this, left) if left.carries_ns else (node.expression, right)
    raise refuse("- between values of types not known", stamp, kind)


def _difference_kind(left: Kind, right: Kind) -> Kind:
    times = (Tag.ZONED, Tag.NAIVE, Tag.DATE)
    if left.tag in times and right.tag in times:
        return OTHER if left == right == DATE else INTERVAL
    if left.is_micros and right.tag in {Tag.INTERVAL, Tag.OTHER}:
        return left
    if left == DATE:
        return NAIVE if right == INTERVAL else DATE if right == OTHER else UNKNOWN
    if left == INTERVAL:
        return INTERVAL
    return OTHER if left == right == OTHER else UNKNOWN


@node_rule("mul", "div", "intdiv", "mod", "neg", "pow", "bitwiseand", "bitwiseor", "bitwisexor", "bitwisenot")
@node_rule("bitwiseleftshift", "bitwiserightshift")
def _number(node: exp.Expression, scope: Scope) -> Kind:
    kinds = [part(node, key, scope) for key in ("this", "expression")]
    for key, kind in zip(("this", "expression"), kinds, strict=True):
        if kind.carries_ns:
            raise refuse(node.key.upper(), node.args[key], kind)
    if INTERVAL in kinds:
        return INTERVAL
    return OTHER if all(kind.tag in {Tag.OTHER, Tag.NULL} for kind in kinds) else UNKNOWN


@node_rule("dpipe")
def _concatenation(node: exp.Expression, scope: Scope) -> Kind:
    kinds = {key: part(node, key, scope) for key in ("this", "expression")}
    if any(kind.tag is Tag.LIST for kind in kinds.values()):
        if any(kind.carries_ns for kind in kinds.values()) and kinds["this"] != kinds["expression"]:
            raise refuse("||", node, next(kind for kind in kinds.values() if kind.carries_ns))
        return kinds["this"]
    for key, kind in kinds.items():
        if kind.is_ns:
            swap(node.args[key], partial(text_of, kind=kind), scope)
        elif kind.carries_ns:
            raise refuse("||", node.args[key], kind)
    return TEXT


# Zones


def _in_zone(node: exp.Expression, stamp: exp.Expression, kind: Kind, zone: exp.Expression, scope: Scope) -> Kind:
    """Read a stamp in a zone: an instant as the wall-clock time there, a wall-clock time there as the instant."""
    if kind == DATE:  # which the engine's versions read differently
        swap(stamp, lambda one: cast_to(one, "TIMESTAMP"), scope)
    if not kind.is_ns:
        return {Tag.ZONED: NAIVE, Tag.NAIVE: ZONED, Tag.DATE: ZONED}.get(kind.tag, UNKNOWN)

    def read(value: Value, where: Value) -> exp.Expression:
        micros = floor(value(), kind)
        if isinstance(node, exp.AtTimeZone):
            return with_rest(exp.AtTimeZone(this=wrapped(micros), zone=where()), value())
        return with_rest(call("TIMEZONE", where(), micros), value())

    swap(node, lambda _: once_with(stamp, zone, read), scope)
    return NAIVE_NS if kind.is_zoned else zoned_ns()


@node_rule("attimezone")
def _at_time_zone(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    part(node, "zone", scope)
    return _in_zone(node, node.this, kind, node.args["zone"], scope)


@named_rule("timezone")
def _timezone(node: exp.Expression, scope: Scope) -> Kind:
    """Rule for `timezone(zone, stamp)`, another spelling of AT TIME ZONE, and `timezone(stamp)`, an offset."""
    kinds = [typed(child, scope) for child in list(node.expressions)]
    if len(kinds) == 2:
        zone, stamp = node.expressions
        return _in_zone(node, stamp, kinds[1], zone, scope)
    for child, kind in zip(list(node.expressions), kinds, strict=True):
        floor_argument(child, kind, scope)
    return OTHER


# Text and numbers to stamps and back

_ZONE_PARTS = ("%Z", "%z")


@node_rule("timetostr")
def _strftime(node: exp.Expression, scope: Scope) -> Kind:
    """The engine prints TIMESTAMP_NS exactly but knows no zone of it: in a UTC session that is always the same text."""
    for key, other in (("this", "format"), ("format", "this")):
        kind, pattern = part(node, key, scope), node.args.get(other)
        if not kind.is_ns or not kind.is_zoned:
            continue
        if isinstance(pattern, exp.Literal):
            text = _without_zone(pattern.name)
            if text != pattern.name:
                pattern.set("this", text)
                scope.context.edits += 1
        else:
            swap(node.args[key], partial(floor, kind=kind), scope)
    return TEXT


def _without_zone(pattern: str) -> str:
    pieces = pattern.split("%%")
    return "%%".join(piece.replace("%Z", "UTC").replace("%z", "+00") for piece in pieces)


@node_rule("strtotime")
def _strptime(node: exp.Expression, scope: Scope) -> Kind:
    part(node, "this", scope)
    part(node, "format", scope)
    return _parsed(node.args.get("format"))


@named_rule("try_strptime")
def _try_strptime(node: exp.Expression, scope: Scope) -> Kind:
    """Rule for `try_strptime(text, format)`."""
    for child in list(node.expressions):
        typed(child, scope)
    return _parsed(node.expressions[1] if len(node.expressions) > 1 else None)


def _parsed(pattern: exp.Expression | None) -> Kind:
    """Return the kind of text parsed by a format: `%n` asks for nanoseconds, `%Z` and `%z` for an instant."""
    if not isinstance(pattern, exp.Literal):
        return UNKNOWN
    if any(part in pattern.name for part in _ZONE_PARTS):
        return ZONED
    return NAIVE_NS if "%n" in pattern.name else NAIVE


@node_rule("unixtotime")
def _unix_to_time(node: exp.Expression, scope: Scope) -> Kind:
    """The parser's node for `epoch_ms()`, which goes both ways, `make_timestamp()` and `to_timestamp()`."""
    kind = part(node, "this", scope)
    if kind.is_ns:
        floor_argument(node.this, kind, scope)
    if kind.is_stamp or kind.tag in {Tag.DATE, Tag.INTERVAL}:
        return OTHER
    if kind.carries_ns:
        raise refuse("A conversion", node.this, kind)
    if node.args.get("scale") is None:
        return ZONED
    return NAIVE if kind == OTHER or node.args["scale"].name != "3" else UNKNOWN


@node_rule("date", "timestamp", "time")
def _to_time(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    if kind.is_ns:
        floor_argument(node.this, kind, scope)
    return {"date": DATE, "timestamp": NAIVE}.get(node.key, TIME)


@node_rule("lag", "lead")
def _neighbour(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    part(node, "offset", scope)
    default = part(node, "default", scope)
    if node.args.get("default") is None:
        return kind.as_value
    return mix([node.this, node.args["default"]], [kind, default], f"{node.key}()", scope)


@node_rule("arrayappend", "arrayprepend")
def _append(node: exp.Expression, scope: Scope) -> Kind:
    listed, kind = part(node, "this", scope), part(node, "expression", scope)
    if listed.tag is Tag.LIST and listed.parts[0].is_ns:
        to_stamp(node.expression, kind, node.this, listed.parts[0], scope, compare=False)
        return listed
    if kind.carries_ns and listed != list_of(kind):
        raise refuse("A list", node.expression, kind)
    return listed


@node_rule("arrayconcat")
def _join_lists(node: exp.Expression, scope: Scope) -> Kind:
    kinds = [part(node, "this", scope), *[typed(child, scope) for child in list(node.expressions)]]
    if any(kind.carries_ns for kind in kinds) and len({kind.parts for kind in kinds if kind.tag is not Tag.NULL}) > 1:
        raise refuse("A list", node, next(kind for kind in kinds if kind.carries_ns))
    return kinds[0]
