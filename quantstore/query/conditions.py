"""Conjuncts of WHERE and ON that compare a column of one table reference with constants.

Only what every surviving row of the reference must meet counts, so pruning by it can skip segments and never change an
answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from quantstore.rows.form import TableForm

_CONSTANT: tuple[type[exp.Expression], ...] = (
    exp.Literal,
    exp.Cast,
    exp.TryCast,
    exp.DataType,
    exp.Interval,
    exp.Var,
    exp.Add,
    exp.Sub,
    exp.Neg,
    exp.Paren,
)
_CONSTANT += (exp.Placeholder, exp.Parameter, exp.Null, exp.DataTypeParam)
OPPOSITE = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE, exp.EQ: exp.EQ}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A conjunct `column operator constant`."""

    column: str
    operator: type[exp.Expression]
    constants: tuple[exp.Expression, ...]


@dataclass(frozen=True, slots=True)
class Role:
    """Where a table reference stands: its SELECT and, unless it comes first, the join that brings it in."""

    select: exp.Select
    join: exp.Join | None

    @property
    def is_asof(self) -> bool:
        """Whether it is searched for the nearest row."""
        return self.join is not None and join_word(self.join, "method") == "ASOF"

    @property
    def is_searched(self) -> bool:
        """Whether its rows are only looked for, and WHERE does not see all of them that ON lets pass."""
        return self.is_asof or (self.join is not None and join_word(self.join, "kind") in {"SEMI", "ANTI"})

    @property
    def where(self) -> exp.Expression | None:
        """The condition of the SELECT."""
        where = self.select.args.get("where")
        return None if where is None else where.this


def role_of(node: exp.Table) -> Role | None:
    """Return the role of a reference that stands directly in FROM or JOIN under its own columns' names, else None."""
    select = node.find_ancestor(exp.Select)
    if select is None or select.args.get("sample") or node.args.get("sample") or node.args.get("pivots"):
        return None
    if isinstance(node.args.get("alias"), exp.TableAlias) and node.args["alias"].args.get("columns"):
        return None
    joins = _joins(select)
    join = next((one for one in joins if one.this is node), None)
    is_first = isinstance(node.parent, exp.From) and node.parent.parent is select
    if not (join or is_first) or any(_is_positional(one) for one in joins):
        return None
    return Role(select, join)


def comparisons(node: exp.Table, form: TableForm, siblings: Mapping[str, frozenset[str]]) -> Iterator[Comparison]:
    """Yield the conjuncts that compare a column of this reference with constants."""
    role = role_of(node)
    if role is None or (role.is_searched and not role.is_asof):
        return
    conditions = [role.where] if role.where is not None else []
    join = role.join
    if join is not None and join.args.get("on") is not None and join_word(join, "side") in {"", "LEFT"}:
        conditions.append(join.args["on"])
    kept = None if not role.is_asof else _BEYOND.get(asof_order(node, form, siblings) or "", frozenset())
    for condition in conditions:
        for conjunct in conjuncts(condition):
            comparison = _comparison(conjunct, node, form, siblings)
            if comparison is None:
                continue
            if kept is None or (comparison.column == form.spec.time and comparison.operator in kept):
                yield comparison


_BEYOND = {"backward": frozenset({exp.GT, exp.GTE}), "forward": frozenset({exp.LT, exp.LTE})}
"""Bounds that cut off only what an as-of join would take last of all: then it finds nothing, or the same."""


def asof_order(node: exp.Table, form: TableForm, siblings: Mapping[str, frozenset[str]]) -> str | None:
    """Return whether an as-of join looks `backward` or `forward` along the time column of the table it brings in.

    None where it goes by another column, or by one that is not certain.
    """
    role = role_of(node)
    if role is None or role.join is None:
        return None
    using = role.join.args.get("using")
    if using:
        return "backward" if using[-1].name.casefold() == form.spec.time.casefold() else None
    for conjunct in conjuncts(role.join.args["on"]) if role.join.args.get("on") else ():
        if type(conjunct) not in OPPOSITE or isinstance(conjunct, exp.EQ):
            continue
        operator = type(conjunct)
        if own_column(conjunct.left, node, form, siblings) != form.spec.time:
            operator = OPPOSITE[operator]
            if own_column(conjunct.right, node, form, siblings) != form.spec.time:
                return None
        return "backward" if operator in {exp.LT, exp.LTE} else "forward"
    return None


def _joins(select: exp.Select) -> list[exp.Join]:
    start = select.args.get("from_") or select.args.get("from")
    inner = start.this.args.get("joins") if start is not None else None
    return [*(select.args.get("joins") or []), *(inner or [])]


def join_word(join: exp.Expression, part: str) -> str:
    """Return the `method`, `side` or `kind` of a join in capitals, empty where it has none."""
    return str(join.args.get(part) or "").upper()


def _is_positional(join: exp.Join) -> bool:
    return "POSITIONAL" in (join_word(join, "method"), join_word(join, "kind"))


def conjuncts(condition: exp.Expression) -> Iterator[exp.Expression]:
    """Yield the conditions that must all hold."""
    if isinstance(condition, exp.And):
        yield from conjuncts(condition.left)
        yield from conjuncts(condition.right)
    elif isinstance(condition, exp.Paren):
        yield from conjuncts(condition.this)
    else:
        yield condition


def _comparison(
    conjunct: exp.Expression, node: exp.Table, form: TableForm, siblings: Mapping[str, frozenset[str]]
) -> Comparison | None:
    if isinstance(conjunct, exp.Between):
        parts = (conjunct.args["low"], conjunct.args["high"])
        column = own_column(conjunct.this, node, form, siblings)
        plain = not conjunct.args.get("symmetric")
        return Comparison(column, exp.Between, parts) if column and plain and all(map(is_constant, parts)) else None
    if isinstance(conjunct, exp.In):
        column = own_column(conjunct.this, node, form, siblings)
        listed = tuple(conjunct.expressions) or ((conjunct.args["field"],) if conjunct.args.get("field") else ())
        return Comparison(column, exp.In, listed) if column and listed and all(map(is_constant, listed)) else None
    if type(conjunct) not in OPPOSITE:
        return None
    left, right, operator = conjunct.left, conjunct.right, type(conjunct)
    column = own_column(left, node, form, siblings)
    if column is None:
        left, right, operator = right, left, OPPOSITE[operator]
        column = own_column(left, node, form, siblings)
    if column is None:
        return None
    if isinstance(right, exp.Any) and operator is exp.EQ and isinstance(right.this.unnest(), _CONSTANT):
        return Comparison(column, exp.In, (right.this.unnest(),))
    return Comparison(column, operator, (right,)) if is_constant(right) else None


def is_constant(node: exp.Expression) -> bool:
    """Whether an expression has no column, no function and so the same value whenever it is evaluated."""
    return all(isinstance(part, _CONSTANT) for part in node.walk())


def own_column(
    node: exp.Expression, table: exp.Table, form: TableForm, siblings: Mapping[str, frozenset[str]]
) -> str | None:
    """Return the column of this reference that `node` certainly means, or None."""
    if not isinstance(node, exp.Column) or node.args.get("db"):
        return None
    by_fold = {name.casefold(): name for name in form.schema.names}
    name = by_fold.get(node.name.casefold())
    if name is None:
        return None
    if node.table:
        return name if node.table.casefold() == table.alias_or_name.casefold() else None
    return name if all(name.casefold() not in columns for columns in siblings.values()) else None
