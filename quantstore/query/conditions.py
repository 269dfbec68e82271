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


def comparisons(node: exp.Table, form: TableForm, siblings: Mapping[str, frozenset[str]]) -> Iterator[Comparison]:
    """Yield the conjuncts that compare a column of this reference with constants."""
    select = node.find_ancestor(exp.Select)
    if select is None or select.args.get("sample") or node.args.get("sample") or node.args.get("pivots"):
        return
    if isinstance(node.args.get("alias"), exp.TableAlias) and node.args["alias"].args.get("columns"):
        return  # the columns go by other names here
    joins = _joins(select)
    join = next((one for one in joins if one.this is node), None)
    is_first = isinstance(node.parent, exp.From) and node.parent.parent is select
    if not (join or is_first) or any(_is_positional(one) for one in joins):
        return
    if join is not None and (_join_word(join, "method") == "ASOF" or _join_word(join, "kind") in {"SEMI", "ANTI"}):
        return
    conditions = []
    if select.args.get("where") is not None:
        conditions.append(select.args["where"].this)
    if join is not None and join.args.get("on") is not None and _join_word(join, "side") in {"", "LEFT"}:
        conditions.append(join.args["on"])
    for condition in conditions:
        for conjunct in _conjuncts(condition):
            comparison = _comparison(conjunct, node, form, siblings)
            if comparison is not None:
                yield comparison


def _joins(select: exp.Select) -> list[exp.Join]:
    start = select.args.get("from_") or select.args.get("from")
    inner = start.this.args.get("joins") if start is not None else None
    return [*(select.args.get("joins") or []), *(inner or [])]


def _join_word(join: exp.Expression, part: str) -> str:
    return str(join.args.get(part) or "").upper()


def _is_positional(join: exp.Join) -> bool:
    return "POSITIONAL" in (_join_word(join, "method"), _join_word(join, "kind"))


def _conjuncts(condition: exp.Expression) -> Iterator[exp.Expression]:
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    elif isinstance(condition, exp.Paren):
        yield from _conjuncts(condition.this)
    else:
        yield condition


def _comparison(
    conjunct: exp.Expression, node: exp.Table, form: TableForm, siblings: Mapping[str, frozenset[str]]
) -> Comparison | None:
    if isinstance(conjunct, exp.Between):
        parts = (conjunct.args["low"], conjunct.args["high"])
        column = _own_column(conjunct.this, node, form, siblings)
        plain = not conjunct.args.get("symmetric")
        return Comparison(column, exp.Between, parts) if column and plain and all(map(is_constant, parts)) else None
    if isinstance(conjunct, exp.In):
        column = _own_column(conjunct.this, node, form, siblings)
        listed = tuple(conjunct.expressions) or ((conjunct.args["field"],) if conjunct.args.get("field") else ())
        return Comparison(column, exp.In, listed) if column and listed and all(map(is_constant, listed)) else None
    if type(conjunct) not in OPPOSITE:
        return None
    left, right, operator = conjunct.left, conjunct.right, type(conjunct)
    column = _own_column(left, node, form, siblings)
    if column is None:
        left, right, operator = right, left, OPPOSITE[operator]
        column = _own_column(left, node, form, siblings)
    if column is None:
        return None
    if isinstance(right, exp.Any) and operator is exp.EQ and isinstance(right.this.unnest(), _CONSTANT):
        return Comparison(column, exp.In, (right.this.unnest(),))
    return Comparison(column, operator, (right,)) if is_constant(right) else None


def is_constant(node: exp.Expression) -> bool:
    """Whether an expression has no column, no function and so the same value whenever it is evaluated."""
    return all(isinstance(part, _CONSTANT) for part in node.walk())


def _own_column(
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
