"""From WHERE and ON to conditions on the catalog's statistics.

Only conjuncts that every surviving row of a table reference must meet count, so pruning can skip segments and never
change an answer. Constants are evaluated by the engine itself; what is not certain prunes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa
from sqlglot import exp

from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange
from quantstore.query.parse import DIALECT
from quantstore.rows.form import TableForm

Evaluate = Callable[[list[str]], list[Any]]
"""Evaluates column-free SQL expressions in one go."""

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
_OPPOSITE = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE, exp.EQ: exp.EQ}
_OFFSET = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?|\s[A-Za-z_]+(?:/[A-Za-z_]+)*)$")
_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
_MICROSECOND = 1000


@dataclass(frozen=True, slots=True)
class Comparison:
    """A conjunct `column operator constant`."""

    column: str
    operator: type[exp.Expression]
    constants: tuple[exp.Expression, ...]


@dataclass(slots=True)
class _Bounds:
    """Constants of one table reference waiting for their values."""

    time: list[tuple[type[exp.Expression], exp.Expression]] = field(default_factory=list)
    day: list[tuple[type[exp.Expression], exp.Expression]] = field(default_factory=list)
    days: list[tuple[exp.Expression, ...]] = field(default_factory=list)
    symbols: list[tuple[str, ...]] = field(default_factory=list)
    asset_classes: list[tuple[str, ...]] = field(default_factory=list)


def segment_filter(
    node: exp.Table,
    form: TableForm,
    siblings: Mapping[str, frozenset[str]],
    params: Mapping[str, Any],
    evaluate: Evaluate,
) -> SegmentFilter:
    """Return the conditions that rows of a table reference must meet.

    Args:
        node: The reference.
        form: The table's form.
        siblings: Lower-cased column names of the other stored tables of the same FROM, by alias.
        params: Bound values by name.
        evaluate: See `Evaluate`.
    """
    bounds = _Bounds()
    for comparison in comparisons(node, form, siblings):
        _sort_in(comparison, form, params, bounds)
    return _evaluated(bounds, form, evaluate)


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
    if type(conjunct) not in _OPPOSITE:
        return None
    left, right, operator = conjunct.left, conjunct.right, type(conjunct)
    column = _own_column(left, node, form, siblings)
    if column is None:
        left, right, operator = right, left, _OPPOSITE[operator]
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


def _sort_in(comparison: Comparison, form: TableForm, params: Mapping[str, Any], bounds: _Bounds) -> None:
    column, operator = comparison.column, comparison.operator
    kind = form.schema.field(column).type
    if column == form.spec.time:
        _sort_in_range(operator, comparison.constants, bounds.time)
    if column == TRADE_DATE and pa.types.is_date(kind):
        if operator in {exp.EQ, exp.In}:
            values = _bound_list(comparison.constants, params)
            if values is None:
                bounds.days.append(comparison.constants)
        _sort_in_range(operator, comparison.constants, bounds.day)
    if column in {form.spec.symbol, ASSET_CLASS} and _is_text(kind) and operator in {exp.EQ, exp.In}:
        texts = _texts(comparison.constants, params)
        if texts is not None:
            (bounds.symbols if column == form.spec.symbol else bounds.asset_classes).append(texts)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _sort_in_range(
    operator: type[exp.Expression],
    constants: tuple[exp.Expression, ...],
    into: list[tuple[type[exp.Expression], exp.Expression]],
) -> None:
    if operator is exp.Between:
        into += [(exp.GTE, constants[0]), (exp.LTE, constants[1])]
    elif operator in _OPPOSITE:
        into.append((operator, constants[0]))


def _parameter_name(node: exp.Expression) -> str | None:
    node = node.unnest()
    return node.name if isinstance(node, exp.Placeholder | exp.Parameter) else None


def _bound_list(constants: Sequence[exp.Expression], params: Mapping[str, Any]) -> Any | None:
    """Return the list bound to a lone parameter, or None where it is no list."""
    name = _parameter_name(constants[0]) if len(constants) == 1 else None
    value = params.get(name) if name else None
    return value if isinstance(value, list | tuple) else None


def _texts(constants: Sequence[exp.Expression], params: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the texts that the constants certainly are, or None."""
    values: list[Any] = []
    for constant in constants:
        bare = constant.unnest()
        name = _parameter_name(bare)
        if isinstance(bare, exp.Literal) and bare.is_string:
            values.append(bare.this)
        elif name is not None and name in params:
            bound = params[name]
            values += list(bound) if isinstance(bound, list | tuple) else [bound]
        else:
            return None
    return tuple(values) if all(isinstance(value, str) for value in values) else None


def _evaluated(bounds: _Bounds, form: TableForm, evaluate: Evaluate) -> SegmentFilter:
    result = replace(
        EVERYTHING, symbols=_intersection(bounds.symbols), asset_classes=_intersection(bounds.asset_classes)
    )
    kind = form.schema.field(form.spec.time).type
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    times = [(op, node) for op, node in bounds.time if zoned or not _names_zone(node)]
    cast = "TIMESTAMPTZ" if zoned else "DATE" if pa.types.is_date(kind) else "TIMESTAMP"
    texts = [f"epoch_us(TRY_CAST(({node.sql(DIALECT)}) AS {cast}))" for _, node in times]
    texts += [f"TRY_CAST(({node.sql(DIALECT)}) AS DATE)" for _, node in bounds.day]
    flat = [node for group in bounds.days for node in group]
    texts += [f"TRY_CAST(({node.sql(DIALECT)}) AS DATE)" for node in flat]
    if not texts:
        return result
    values = evaluate(texts)
    stamps, days, listed = (
        values[: len(times)],
        values[len(times) : len(times) + len(bounds.day)],
        iter(values[-len(flat) :]),
    )
    for (operator, _), micros in zip(times, stamps, strict=True):
        result = replace(result, time=result.time.intersect(_time_range(operator, micros)))
    for (operator, _), day in zip(bounds.day, days, strict=True):
        result = _with_day(result, operator, day, form)
    for group in bounds.days:
        wanted = [next(listed) for _ in group]
        if all(isinstance(day, date) for day in wanted):
            floors = {form.spec.grain.floor(day) for day in wanted}
            kept = floors if result.days is None else floors & set(result.days)
            result = replace(result, days=tuple(sorted(kept)))
    return result


def _names_zone(node: exp.Expression) -> bool:
    """Whether a text constant may carry a zone, whose meaning against a naive column is not certain."""
    texts = [part.this for part in node.find_all(exp.Literal) if part.is_string]
    return any(_OFFSET.search(text) and not _DATE.match(text) for text in texts)


def _time_range(operator: type[exp.Expression], micros: Any) -> TimeRange:
    """Return the range a comparison allows, widened by the microsecond that a cast may have cut or rounded."""
    if not isinstance(micros, int):
        return TimeRange()
    low, high = micros * 1000 - _MICROSECOND, micros * 1000 + 2 * _MICROSECOND
    if low < MIN_NS or high > MAX_NS:
        return TimeRange()
    if operator in {exp.GT, exp.GTE}:
        return TimeRange(low, None)
    return TimeRange(None, high) if operator in {exp.LT, exp.LTE} else TimeRange(low, high)


def _with_day(found: SegmentFilter, operator: type[exp.Expression], day: Any, form: TableForm) -> SegmentFilter:
    if not isinstance(day, date):
        return found
    first, last = found.first_day, found.last_day
    if operator in {exp.GT, exp.GTE, exp.EQ}:
        floor = form.spec.grain.floor(day)
        first = floor if first is None else max(first, floor)
    if operator in {exp.LT, exp.LTE, exp.EQ}:
        last = day if last is None else min(last, day)
    return replace(found, first_day=first, last_day=last)


def _intersection(groups: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    if not groups:
        return None
    kept = set(groups[0]).intersection(*groups[1:])
    return tuple(sorted(kept))
