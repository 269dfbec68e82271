"""From a Polars predicate to conditions on the catalog's statistics.

Polars' own filter runs over every batch, so what is found here only leaves out segments and rows that cannot pass it.
The tree that is walked is the one Polars writes of an expression; its form belongs to the release, so whatever is not
known for certain leaves nothing out. Constants are evaluated by Polars itself.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange
from quantstore.query.narrowing import both, either

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from quantstore.rows.form import TableForm

_AND, _OR = ("And", "LogicalAnd"), ("Or", "LogicalOr")
_OPPOSITE = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq", "EqValidity": "EqValidity"}
_BETWEEN = {
    "Both": ("GtEq", "LtEq"),
    "Left": ("GtEq", "Lt"),
    "Right": ("Gt", "LtEq"),
    "None": ("Gt", "Lt"),
}
_CONSTANT_FUNCTIONS = {"TemporalExpr", "StringExpr"}
_HINT = "dynamic_pred"
_MAX_LISTED = 1_000  # longer lists leave out little, and every segment would be compared with each
_MAX_TEXT = 1 << 20
_UNIT_NS = {"ms": 1_000_000, "us": 1_000, "ns": 1}
_DAY_NS = 86_400_000_000_000


class _UncertainError(Exception):
    """A part of a predicate of which nothing certain can be said."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """What Polars asks of a source's rows.

    Attributes:
        expression: What to filter by; None where there is nothing to filter by.
        wanted: Conditions that every row that passes meets.
        is_written: Whether Polars can write the expression down, and so hand it to a source.
    """

    expression: pl.Expr | None = None
    wanted: SegmentFilter = EVERYTHING
    is_written: bool = True


def read_predicate(expression: pl.Expr | None, form: TableForm, schema: Mapping[str, pl.DataType]) -> Predicate:
    """Return what to filter by and what that says about segments.

    Args:
        expression: The predicate that Polars gives, or None.
        form: The table's form.
        schema: Polars types of the columns the predicate may name.
    """
    if expression is None:
        return Predicate()
    text = _written(expression)
    if text is None:
        return Predicate(expression, is_written=False)
    has_hint = _HINT in text
    tree = _tree(text) if has_hint or len(text) <= _MAX_TEXT else None
    if tree is not None and has_hint:
        tree = _without_hints(tree)
        if tree is None:
            return Predicate()
        expression = _expression(tree)
    return Predicate(expression, _Conditions(form, schema).of(tree))


def _written(expression: pl.Expr) -> str | None:
    """Return an expression as JSON, or None where Polars cannot write it down, such as a Python function."""
    try:
        return expression.meta.serialize(format="json")
    except Exception:  # noqa: BLE001 - whatever the reason, nothing is left out then
        return None


def _tree(text: str) -> Any | None:
    """Return the values of a JSON text, or None where they are nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        return None


def _expression(tree: Any) -> pl.Expr:
    import polars as pl

    return pl.Expr.deserialize(io.BytesIO(json.dumps(tree).encode()), format="json")


def _without_hints(tree: Any) -> Any | None:
    """Return a predicate without the hints that Polars 1.37 to 1.43 gives for `sort().head()`, None if nothing is left.

    They let a source skip rows early and cannot be evaluated; the sort itself comes later all the same.
    """
    if _HINT in str(tree.get("Display", "")):
        return None
    pair = tree.get("BinaryExpr")
    if pair is None or pair["op"] not in _AND:
        return tree
    left, right = _without_hints(pair["left"]), _without_hints(pair["right"])
    if left is None or right is None:
        return right if left is None else left
    return {"BinaryExpr": {**pair, "left": left, "right": right}}


@dataclass(frozen=True, slots=True)
class _Side:
    """The side of a comparison that has the column.

    Attributes:
        column: Its name.
        dtype: Type it is compared in.
        slack_ns: How far, in event time, a value may lie from the one it is compared as; 0 where it is the same.
    """

    column: str
    dtype: pl.DataType
    slack_ns: int = 0


class _Conditions:
    """Walks a predicate on one table."""

    def __init__(self, form: TableForm, schema: Mapping[str, pl.DataType]) -> None:
        self._spec = form.spec
        self._schema = schema

    def of(self, node: Any) -> SegmentFilter:
        """Return what is certain of a row for which `node` is true."""
        from polars.exceptions import PanicException

        try:
            return self._of(node)
        except (Exception, PanicException):  # noqa: BLE001 - a form that is not known, or not certain
            return EVERYTHING

    def _of(self, node: Any) -> SegmentFilter:
        kind, body = _single(node)
        if kind == "Alias":
            return self.of(body[0])
        if kind == "BinaryExpr":
            left, operator, right = body["left"], body["op"], body["right"]
            if operator in _AND:
                return both(self.of(left), self.of(right))
            if operator in _OR:
                return either(self.of(left), self.of(right))
            return self._comparison(left, operator, right)
        return self._function(body) if kind == "Function" else EVERYTHING

    def _function(self, body: Any) -> SegmentFilter:
        name, options = _single(body["function"]["Boolean"])
        if name == "IsBetween":
            column, low, high = body["input"]
            above, below = _BETWEEN[options["closed"]]
            return both(self._comparison(column, above, low), self._comparison(column, below, high))
        if name == "IsIn":
            column, listed = body["input"]
            return self._listed(column, listed, options["nulls_equal"])
        return EVERYTHING

    def _comparison(self, left: Any, operator: str, right: Any) -> SegmentFilter:
        if operator not in _OPPOSITE:
            return EVERYTHING
        if _column(left) is None:
            left, operator, right = right, _OPPOSITE[operator], left
        values = _value(right)
        if len(values) != 1 or values.null_count():
            return EVERYTHING
        return self._values(self._side(left), operator.removesuffix("Validity"), values)

    def _listed(self, column: Any, listed: Any, nulls_equal: bool) -> SegmentFilter:
        import polars as pl

        values = _value(listed)
        if isinstance(values.dtype, pl.List):
            if len(values) != 1:
                return EVERYTHING
            values = values[0]
        if values.null_count() and nulls_equal:
            return EVERYTHING
        return self._values(self._side(column), "Eq", values.drop_nulls())

    def _side(self, node: Any) -> _Side:
        """Return the column that `node` is, or is a known function of.

        Raises:
            _UncertainError: It is something else.
        """
        import polars as pl

        name = _column(node)
        if name is None:
            raise _UncertainError
        stored = self._schema[name]
        if "Column" in node:
            return _Side(name, stored)
        shown = pl.DataFrame(schema={name: stored}).select(_expression(node)).dtypes[0]
        if _is_text(stored) and shown == pl.String:
            return _Side(name, shown)
        if isinstance(stored, pl.Datetime):
            if isinstance(shown, pl.Datetime) and (stored.time_zone is None) == (shown.time_zone is None):
                return _Side(name, shown, _UNIT_NS[shown.time_unit])
            if isinstance(shown, pl.Date):
                return _Side(name, shown, 2 * _DAY_NS)  # the day of any zone, the hours of that day cut either way
        raise _UncertainError

    def _values(self, side: _Side, operator: str, values: pl.Series) -> SegmentFilter:
        """Return what is certain where the column compares true with at least one of `values`."""
        import polars as pl

        found = EVERYTHING
        if values.is_empty() or len(values) > _MAX_LISTED:
            return found
        if _is_text(side.dtype) and _is_text(values.dtype) and operator == "Eq":
            texts = tuple(sorted(set(values.cast(pl.String).to_list())))
            if side.column == self._spec.symbol:
                found = both(found, SegmentFilter(symbols=texts))
            if side.column == ASSET_CLASS:
                found = both(found, SegmentFilter(asset_classes=texts))
        if values.dtype != side.dtype or not isinstance(side.dtype, pl.Datetime | pl.Date):
            return found
        if side.column == self._spec.time:
            found = both(found, SegmentFilter(time=_time(side, operator, values)))
        if side.column == TRADE_DATE and isinstance(self._schema[TRADE_DATE], pl.Date):
            found = both(found, self._days(operator, values.to_list()))
        return found

    def _days(self, operator: str, listed: list[date]) -> SegmentFilter:
        floors = tuple(sorted({self._spec.grain.floor(day) for day in listed}))
        if operator == "Eq":
            return SegmentFilter(days=floors, first_day=floors[0], last_day=max(listed))
        return SegmentFilter(first_day=floors[0]) if operator.startswith("Gt") else SegmentFilter(last_day=max(listed))


def _single(node: Any) -> tuple[str, Any]:
    """Return the kind and the content of a node."""
    if isinstance(node, str):
        return node, {}
    ((kind, body),) = node.items()
    return kind, body


def _column(node: Any) -> str | None:
    """Return the column that `node` names, casts or takes the date of, or None."""
    kind, body = _single(node)
    if kind == "Column":
        return str(body)
    if kind == "Cast":
        inner = body["expr"]
    elif kind == "Function" and body["function"] == {"TemporalExpr": "Date"}:
        (inner,) = body["input"]
    else:
        return None
    return inner.get("Column") if isinstance(inner, dict) else None


def _value(node: Any) -> pl.Series:
    """Return what a constant is.

    Raises:
        _UncertainError: It may not be one.
    """
    import polars as pl

    if not _is_constant(node):
        raise _UncertainError
    return pl.select(_expression(node)).to_series()


def _is_constant(node: Any) -> bool:
    kind, body = _single(node)
    if kind == "Literal":
        return True
    if kind == "Alias":
        return _is_constant(body[0])
    if kind == "Cast":
        return _is_constant(body["expr"])
    if kind == "BinaryExpr":
        return body["op"] in {"Plus", "Minus"} and _is_constant(body["left"]) and _is_constant(body["right"])
    return (
        kind == "Function"
        and _single(body["function"])[0] in _CONSTANT_FUNCTIONS
        and all(_is_constant(part) for part in body["input"])
    )


def _is_text(dtype: pl.DataType) -> bool:
    import polars as pl

    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _time(side: _Side, operator: str, values: pl.Series) -> TimeRange:
    """Return the range of event time that a comparison with stamps or days allows."""
    unit = _UNIT_NS[side.dtype.time_unit] if hasattr(side.dtype, "time_unit") else _DAY_NS
    numbers = values.to_physical().to_list()
    low, high = min(numbers) * unit, max(numbers) * unit
    if side.slack_ns:
        low, high = low - side.slack_ns, high + side.slack_ns
    else:
        low, high = (low + 1 if operator == "Gt" else low), (high if operator == "Lt" else high + 1)
    start = None if operator.startswith("Lt") or low <= MIN_NS else min(low, MAX_NS)
    end = None if operator.startswith("Gt") or high > MAX_NS else max(high, MIN_NS)
    return TimeRange(start, end)
