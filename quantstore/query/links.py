"""Conjuncts that tie a column of one table reference to a column of another.

Once it is known which segments of one table are read, their span of time bounds what can matter of the other: a day's
trades need no quotes after that day and, where the query sets a tolerance, none from long before. A symbol asked of one
table is asked of the other where they are joined by symbol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from sqlglot import exp

from quantstore.query.conditions import (
    OPPOSITE,
    Role,
    asof_order,
    conjuncts,
    is_constant,
    join_word,
    own_column,
    role_of,
)
from quantstore.rows.form import TableForm

Offset = tuple[tuple[int, exp.Expression], ...]
"""A sum of intervals, each with its sign."""
_LOWER = frozenset({exp.GT, exp.GTE, exp.EQ})
_UPPER = frozenset({exp.LT, exp.LTE, exp.EQ})
_BOUNDED = {"backward": _UPPER, "forward": _LOWER}


@dataclass(frozen=True, slots=True)
class TimeLink:
    """Rows of `target` that matter have times at or after (`is_lower`), or at or before, one of `source` + `offset`."""

    source: int
    target: int
    is_lower: bool
    offset: Offset


@dataclass(frozen=True, slots=True)
class SymbolLink:
    """Rows of `target` that matter have the symbol of a row of `source`."""

    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Linkable:
    """A table reference; its place in the list is its number in links."""

    node: exp.Table
    form: TableForm
    siblings: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Tied:
    """`left operator right + offset`, both of them columns: (reference, column)."""

    left: tuple[int, str]
    operator: type[exp.Expression]
    right: tuple[int, str]
    offset: Offset = ()


def find_links(references: Sequence[Linkable]) -> Iterator[TimeLink | SymbolLink]:
    """Yield what ties the references of a statement to each other."""
    roles = [role_of(one.node) for one in references]
    for target, source in permutations(range(len(references)), 2):
        own, other = roles[target], roles[source]
        if own is None or other is None or own.select is not other.select:
            continue
        yield from _pair(references, target, source, own, other)


def _pair(
    references: Sequence[Linkable], target: int, source: int, own: Role, other: Role
) -> Iterator[TimeLink | SymbolLink]:
    """Yield what bounds `target` by `source`."""
    one = references[target]
    order = asof_order(one.node, one.form, one.siblings) if own.is_asof else None
    for tied in _tied(own.where, references, target, source):
        if not own.is_searched or (order and _is_beyond(tied, order)):
            yield from _links(tied, references, target, source)
    for tied in _joined(references, target, source, own, other):
        if not own.is_asof or tied.operator is exp.EQ or (order and tied.operator in _BOUNDED[order]):
            yield from _links(tied, references, target, source)


def _is_beyond(tied: _Tied, order: str) -> bool:
    """Whether a bound cuts off only what an as-of join would take last of all."""
    return tied.operator is not exp.EQ and tied.operator not in _BOUNDED[order]


def _links(tied: _Tied, references: Sequence[Linkable], target: int, source: int) -> Iterator[TimeLink | SymbolLink]:
    own, other = references[target].form.spec, references[source].form.spec
    if tied.left[1] == own.time and tied.right[1] == other.time:
        if tied.operator in _LOWER:
            yield TimeLink(source, target, True, tied.offset)
        if tied.operator in _UPPER:
            yield TimeLink(source, target, False, tied.offset)
    elif tied.operator is exp.EQ and tied.left[1] == own.symbol and tied.right[1] == other.symbol and not tied.offset:
        yield SymbolLink(source, target)


def _joined(references: Sequence[Linkable], target: int, source: int, own: Role, other: Role) -> Iterator[_Tied]:
    """Yield what ON and USING ask of rows of `target`, where a row that fails it is of no consequence."""
    if own.join is not None and join_word(own.join, "side") in {"", "LEFT"}:
        yield from _tied(own.join.args.get("on"), references, target, source)
        yield from _used(references, target, source, own.join, is_right=True)
    join = other.join
    is_inner = join is not None and not join_word(join, "side") and not other.is_searched
    if join is not None and is_inner and not own.is_searched:
        yield from _tied(join.args.get("on"), references, target, source)
        yield from _used(references, target, source, join, is_right=False)


def _used(
    references: Sequence[Linkable], target: int, source: int, join: exp.Join, *, is_right: bool
) -> Iterator[_Tied]:
    """Yield the equalities of USING, the last of which is an inequality in an as-of join, between two tables alone."""
    using = join.args.get("using")
    own, other = references[target], references[source]
    if not using or len(own.siblings) != 1 or len(other.siblings) != 1:
        return
    for number, identifier in enumerate(using, start=1):
        names = [_named(one.form, identifier.name) for one in (own, other)]
        if names[0] is None or names[1] is None:
            continue
        is_last = number == len(using)
        is_asof = join_word(join, "method") == "ASOF" and is_last
        operator = (exp.LTE if is_right else exp.GTE) if is_asof else exp.EQ
        yield _Tied((target, names[0]), operator, (source, names[1]))


def _named(form: TableForm, name: str) -> str | None:
    return next((one for one in form.schema.names if one.casefold() == name.casefold()), None)


def _tied(
    condition: exp.Expression | None, references: Sequence[Linkable], target: int, source: int
) -> Iterator[_Tied]:
    """Yield the conjuncts that tie a column of `target` to one of `source`, the former on the left."""
    for conjunct in conjuncts(condition) if condition is not None else ():
        for left, operator, right in _compared(conjunct):
            for first, word, second in ((left, operator, right), (right, OPPOSITE[operator], left)):
                own = _linear(first, references, target)
                other = _linear(second, references, source)
                if own is not None and other is not None:
                    offset = (*other[1], *((-sign, node) for sign, node in own[1]))
                    yield _Tied((target, own[0]), word, (source, other[0]), offset)


def _compared(
    conjunct: exp.Expression,
) -> Iterator[tuple[exp.Expression, type[exp.Expression], exp.Expression]]:
    """Yield the comparisons a conjunct stands for; a difference beside a constant as two sides."""
    if isinstance(conjunct, exp.Between) and not conjunct.args.get("symmetric"):
        yield conjunct.this, exp.GTE, conjunct.args["low"]
        yield conjunct.this, exp.LTE, conjunct.args["high"]
    elif type(conjunct) in OPPOSITE:
        left, operator, right = conjunct.left.unnest(), type(conjunct), conjunct.right.unnest()
        if is_constant(left):
            left, operator, right = right, OPPOSITE[operator], left
        if isinstance(left, exp.Sub) and is_constant(right):
            yield left.left, operator, exp.Add(this=left.right.copy(), expression=right.copy())
        else:
            yield left, operator, right


def _linear(node: exp.Expression, references: Sequence[Linkable], number: int) -> tuple[str, Offset] | None:
    """Return the column of a reference that a node is, and the constants added to it."""
    node = node.unnest()
    if isinstance(node, exp.Add | exp.Sub):
        sign = 1 if isinstance(node, exp.Add) else -1
        if is_constant(node.right):
            inner = _linear(node.left, references, number)
            return None if inner is None else (inner[0], (*inner[1], (sign, node.right)))
        if sign == 1 and is_constant(node.left):
            inner = _linear(node.right, references, number)
            return None if inner is None else (inner[0], (*inner[1], (1, node.left)))
        return None
    one = references[number]
    column = own_column(node, one.node, one.form, one.siblings)
    return None if column is None else (column, ())
