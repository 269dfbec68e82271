"""From conditions on rows to conditions on the catalog's statistics.

Constants are evaluated by the engine itself; what is not certain prunes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlglot import exp

from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange
from quantstore.query.conditions import OPPOSITE, Comparison
from quantstore.query.parse import DIALECT
from quantstore.rows.form import TableForm

Evaluate = Callable[[list[str]], list[Any]]
"""Evaluates column-free SQL expressions in one go."""

_OFFSET = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?|\s[A-Za-z_]+(?:/[A-Za-z_]+)*)$")
_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
_MICROSECOND = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Bounds:
    """Constants of one table reference waiting for their values."""

    time: list[tuple[type[exp.Expression], exp.Expression]] = field(default_factory=list)
    day: list[tuple[type[exp.Expression], exp.Expression]] = field(default_factory=list)
    days: list[tuple[exp.Expression, ...]] = field(default_factory=list)
    listed_days: list[tuple[date, ...]] = field(default_factory=list)
    symbols: list[tuple[str, ...]] = field(default_factory=list)
    asset_classes: list[tuple[str, ...]] = field(default_factory=list)


def segment_filter(
    comparisons: Iterable[Comparison], form: TableForm, params: Mapping[str, Any], evaluate: Evaluate
) -> SegmentFilter:
    """Return the conditions that segments of a table must meet, from those that rows must.

    Args:
        comparisons: What rows must meet.
        form: The table's form.
        params: Bound values by name.
        evaluate: See `Evaluate`.
    """
    bounds = _Bounds()
    for comparison in comparisons:
        _sort_in(comparison, form, params, bounds)
    return _evaluated(bounds, form, params, evaluate)


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
            elif values and all(type(value) is date for value in values):
                bounds.listed_days.append(tuple(values))
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
    elif operator in OPPOSITE:
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


def _evaluated(bounds: _Bounds, form: TableForm, params: Mapping[str, Any], evaluate: Evaluate) -> SegmentFilter:
    result = replace(
        EVERYTHING, symbols=_intersection(bounds.symbols), asset_classes=_intersection(bounds.asset_classes)
    )
    kind = form.schema.field(form.spec.time).type
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    cast = "TIMESTAMPTZ" if zoned else "DATE" if pa.types.is_date(kind) else "TIMESTAMP"
    times = [(operator, node) for operator, node in bounds.time if zoned or not _names_zone(node)]
    values = _Values(params, evaluate)
    for _, node in times:
        values.want(node, f"epoch_us(TRY_CAST(({node.sql(DIALECT)}) AS {cast}))")
    days = [node for _, node in bounds.day] + [node for group in bounds.days for node in group]
    for node in days:
        values.want(node, f"TRY_CAST(({node.sql(DIALECT)}) AS DATE)")
    values.fetch()
    for operator, node in times:
        result = replace(result, time=result.time.intersect(_time_range(operator, values.micros(node))))
    for operator, node in bounds.day:
        result = _with_day(result, operator, values.day(node), form)
    for wanted in [*([values.day(node) for node in group] for group in bounds.days), *bounds.listed_days]:
        if all(day is not None for day in wanted):
            floors = {form.spec.grain.floor(day) for day in wanted if day is not None}
            kept = floors if result.days is None else floors & set(result.days)
            result = replace(result, days=tuple(sorted(kept)))
    return result


class _Values:
    """Values of constants: of stamps bound as parameters at once, of all others in one question to the engine."""

    def __init__(self, params: Mapping[str, Any], evaluate: Evaluate) -> None:
        self._params = params
        self._evaluate = evaluate
        self._texts: dict[int, str] = {}
        self._values: dict[int, Any] = {}

    def want(self, node: exp.Expression, text: str) -> None:
        """Ask for a constant, which the engine evaluates as `text`."""
        name = _parameter_name(node)
        bound = self._params.get(name) if name is not None else None
        if isinstance(bound, datetime) and text.startswith("epoch_us"):
            self._values[id(node)] = _micros(bound)
        else:
            self._texts[id(node)] = text

    def fetch(self) -> None:
        """Evaluate what was asked for."""
        if self._texts:
            self._values |= zip(self._texts, self._evaluate(list(self._texts.values())), strict=True)

    def micros(self, node: exp.Expression) -> int | None:
        """Return microseconds since the epoch."""
        value = self._values[id(node)]
        return value if isinstance(value, int) else None

    def day(self, node: exp.Expression) -> date | None:
        """Return a date."""
        value = self._values[id(node)]
        return value if isinstance(value, date) else None


def _micros(stamp: datetime) -> int:
    """Return microseconds since the epoch, of a naive stamp as if it were in UTC; finer digits are cut off."""
    if hasattr(stamp, "to_pydatetime"):
        stamp = stamp.to_pydatetime(warn=False)
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    return (stamp - _EPOCH) // timedelta(microseconds=1)


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
