"""Set operations and other places where queries meet by position: their columns are brought to one kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from sqlglot import exp

from quantstore.errors import UnsupportedError
from quantstore.query.rewriting.expressions import swap
from quantstore.query.rewriting.kinds import Kind, Tag, unify
from quantstore.query.rewriting.operands import to_stamp
from quantstore.query.rewriting.scopes import ANY_SHAPE, Field, Scope, Shape

_BRANCH = "_branch"


def recast(
    query: exp.Expression, shape: Shape, changes: Mapping[int, Kind], scope: Scope, *, compare: bool
) -> exp.Expression:
    """Return a query around `query` with some of its columns brought to nanoseconds.

    Args:
        query: The query; taken into the new one.
        shape: Its columns, all known.
        changes: What to bring columns to, by position.
        scope: Where it stands.
        compare: Whether the columns are only compared.
    """
    inner = query.unnest() if isinstance(query, exp.Subquery) and _is_plain(query) else query
    names = [exp.to_identifier(f"c{position}", quoted=True) for position in range(len(shape.fields))]
    items: list[exp.Expression] = []
    for position, field in enumerate(shape.fields):
        column = exp.column(names[position].copy(), table=exp.to_identifier(_BRANCH, quoted=True))
        item = exp.alias_(column, exp.to_identifier(field.name, quoted=True), copy=False)
        if position in changes:
            shown = exp.column(exp.to_identifier(field.name))
            to_stamp(item.this, field.kind, shown, changes[position], scope, compare=compare)
        items.append(item)
    alias = exp.TableAlias(this=exp.to_identifier(_BRANCH, quoted=True), columns=names)
    branch = exp.Subquery(this=inner, alias=alias)
    outer = exp.select(*items, copy=False).from_(branch, copy=False)
    return exp.Subquery(this=outer) if isinstance(query, exp.Subquery) else outer


def _is_plain(query: exp.Subquery) -> bool:
    """Whether parentheses hold a query and nothing else."""
    return not any(value for key, value in query.args.items() if key != "this")


def operands(node: exp.Expression) -> Iterator[exp.Expression]:
    """Yield the queries of a chain of set operations, left to right."""
    chain = []
    while isinstance(node, exp.SetOperation):
        chain.append(node.expression)
        node = node.this
    yield node
    for right in reversed(chain):
        yield from operands(right) if isinstance(right, exp.SetOperation) else (right,)


def united(node: exp.Expression, branches: Sequence[exp.Expression], shapes: Sequence[Shape], scope: Scope) -> Shape:
    """Bring the branches of a set operation to common kinds, in place, and return the shape of the result."""
    if any(shape.is_open for shape in shapes):
        _refuse_open(shapes)
        return ANY_SHAPE
    by_name = any(one.args.get("by_name") for one in _chain(node))
    columns = _by_name(shapes) if by_name else _by_position(shapes)
    if columns is None:
        return shapes[0]  # unequal numbers of columns, which the engine refuses
    kinds = [
        unify(shape.fields[at].kind for shape, at in zip(shapes, one, strict=True) if at is not None) for one in columns
    ]
    _refuse_nested(columns, kinds, shapes)
    for number, (branch, shape) in enumerate(zip(branches, shapes, strict=True)):
        changes = {
            at: kind
            for one, kind in zip(columns, kinds, strict=True)
            if (at := one[number]) is not None and kind.is_ns and _differs(shape.fields[at].kind)
        }
        if changes:
            build = partial(recast, shape=shape, changes=changes, scope=scope, compare=False)
            swap(branch, build, scope)
    keeps_left = not isinstance(node, exp.Union) and not isinstance(node.this, exp.SetOperation)
    return Shape(tuple(_field(one, kind, shapes, keeps_left) for one, kind in zip(columns, kinds, strict=True)))


def _chain(node: exp.Expression) -> list[exp.Expression]:
    chain = []
    while isinstance(node, exp.SetOperation):
        chain.append(node)
        node = node.this
    return chain


def _differs(kind: Kind) -> bool:
    return not kind.is_ns and kind.tag is not Tag.NULL


Places = list[list[int | None]]


def _by_position(shapes: Sequence[Shape]) -> Places | None:
    width = len(shapes[0].fields)
    if any(len(shape.fields) != width for shape in shapes):
        return None
    return [[at] * len(shapes) for at in range(width)]


def _by_name(shapes: Sequence[Shape]) -> Places:
    places = [{field.name.lower(): at for at, field in enumerate(shape.fields)} for shape in shapes]
    names = dict.fromkeys(name for found in places for name in found)
    return [[found.get(name) for found in places] for name in names]


def _field(places: Sequence[int | None], kind: Kind, shapes: Sequence[Shape], keeps_left: bool) -> Field:
    fields = [shape.fields[at] for shape, at in zip(shapes, places, strict=True) if at is not None]
    sources = {field.source for field in (fields[:1] if keeps_left else fields)}
    known = sources.pop() if len(sources) == 1 else None
    return Field(fields[0].name, kind, known if all(field.kind == kind for field in fields) else None)


def _refuse_nested(columns: Places, kinds: Sequence[Kind], shapes: Sequence[Shape]) -> None:
    for one, kind in zip(columns, kinds, strict=True):
        fields = [shape.fields[at] for shape, at in zip(shapes, one, strict=True) if at is not None]
        nested = any(field.kind.carries_ns and not field.kind.is_ns for field in fields)
        if nested and kind.tag is Tag.UNKNOWN:
            raise UnsupportedError(
                f"Column {fields[0].name!r} holds lists or structs with nanoseconds in one branch and others in "
                "another; cast them to one type, such as TIMESTAMPTZ[].",
                column=fields[0].name,
            )


def _refuse_open(shapes: Sequence[Shape]) -> None:
    for shape in shapes:
        for field in shape.fields:
            if field.kind.carries_ns:
                raise UnsupportedError(
                    f"Column {field.name!r} has nanoseconds and is united with a query whose columns are not known "
                    f"before it runs; write {field.name}::TIMESTAMPTZ, or name the columns of the other query.",
                    column=field.name,
                )
