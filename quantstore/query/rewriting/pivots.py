"""PIVOT and UNPIVOT: results whose columns depend on the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from quantstore.errors import InvalidInputError
from quantstore.query.rewriting.expressions import refuse
from quantstore.query.rewriting.kinds import NULL, Kind
from quantstore.query.rewriting.scopes import Relation, Scope, Shape

Visit = Callable[[exp.Expression, Scope], Kind]


def pivoted(relation: Relation, pivot: exp.Expression, scope: Scope, visit: Visit) -> Shape:
    """Visit a PIVOT or UNPIVOT; of the result only the columns handed on are known."""
    inner = Scope(scope.context, scope.parent, scope.ctes, [relation])
    named = {column.name.lower() for column in _own_columns(pivot)}
    kinds = {one.name.lower(): one.kind for one in relation.shape.fields}
    group = pivot.args.get("group")
    if group is not None:
        visit(group, inner)
    elif relation.hidden:
        _check_hidden(relation, scope)
    grouped = {one.name.lower() for one in group.expressions} if group is not None else set()
    if not pivot.args.get("unpivot"):
        for key in ("expressions", "using", "fields"):
            for one in _listed(pivot.args.get(key)):
                kind = NULL if isinstance(one, exp.Identifier) else visit(one, inner)
                if kind.carries_ns:
                    raise refuse("PIVOT", one, kind)
    for name in named - grouped:
        kind = kinds.get(name, NULL)
        is_value = pivot.args.get("unpivot") or any(
            name == one.name.lower() for one in _listed(pivot.args.get("expressions"))
        )
        if kind.carries_ns and is_value:
            raise refuse("UNPIVOT" if pivot.args.get("unpivot") else "PIVOT", exp.column(name), kind)
    kept = [
        one
        for one in relation.shape.fields
        if (one.name.lower() in grouped if grouped else one.name.lower() not in named)
    ]
    return Shape(tuple(kept), is_open=True)


def _own_columns(pivot: exp.Expression) -> Iterator[exp.Column]:
    """Yield the columns that a PIVOT or UNPIVOT itself names, none of those in the query it takes."""
    for key, value in pivot.args.items():
        for one in _listed(value if isinstance(value, list) else [value]) if key != "this" else ():
            yield from one.find_all(exp.Column)


def _listed(value: object) -> list[exp.Expression]:
    return [one for one in value if isinstance(one, exp.Expression)] if isinstance(value, list) else []


def _check_hidden(relation: Relation, scope: Scope) -> None:
    def check() -> None:
        for name in sorted(scope.context.exposes(relation)):
            raise InvalidInputError(
                f"PIVOT takes every column of {relation.table!r}, and this query names its hidden column {name!r}; "
                "name the wanted columns in a subquery.",
                column=name,
            )

    scope.context.later.append(check)
