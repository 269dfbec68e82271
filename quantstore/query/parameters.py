"""Values bound to `$name`: from what a notebook holds to what the engine binds without loss."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from quantstore.errors import InvalidInputError

_FIRST_YEAR, _LAST_YEAR = 1678, 2261


def bind(params: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return the values of the parameters a statement names, as plain Python values.

    Raises:
        InvalidInputError: A parameter has no value, or a value's name appears nowhere in the statement.
    """
    missing = sorted(names - set(params))
    if missing:
        raise InvalidInputError(
            f"The query has ${missing[0]} and no value for it; pass params={{{missing[0]!r}: ...}}.",
            parameter=missing[0],
        )
    unused = sorted(set(params) - names)
    if unused:
        known = ", ".join(f"${name}" for name in sorted(names)) or "none"
        raise InvalidInputError(f"params has {unused[0]!r}, which the query does not use; its parameters are: {known}.")
    return {name: plain(params[name]) for name in sorted(names)}


def plain(value: Any) -> Any:
    """Return `value` as a type the engine binds; NumPy and pandas scalars and one-dimensional collections included."""
    if isinstance(value, list | tuple | set | frozenset) or _is_collection(value):
        items = sorted(value) if isinstance(value, set | frozenset) else list(value)
        return [plain(item) for item in items]
    if _is_numpy_datetime(value):
        import pandas as pd

        return pd.Timestamp(value)
    if hasattr(value, "item"):
        return value.item()  # a NumPy scalar
    return None if _is_missing(value) else value


def kind_of(value: Any) -> str:
    """Return how a bound value compares with stamps, in the words of `rewriting.rewrite`."""
    if isinstance(value, list):
        kinds = {kind_of(item) for item in value}
        for finer in ("zoned", "naive"):
            if kinds == {finer, f"{finer}_ns"}:
                return f"{finer}_ns"
        return kinds.pop() if len(kinds) == 1 else "other"
    if isinstance(value, datetime):
        kind = "naive" if value.tzinfo is None else "zoned"
        return f"{kind}_ns" if getattr(value, "nanosecond", 0) else kind
    if isinstance(value, date):
        return "date"
    return "text" if isinstance(value, str) else "other"


def fits_ns(value: Any) -> bool:
    """Whether a plain value is no stamp, or one that nanoseconds in 64 bits can hold."""
    if isinstance(value, datetime):
        return _FIRST_YEAR <= value.year <= _LAST_YEAR
    return not isinstance(value, list) or all(map(fits_ns, value))


def engine_value(value: Any, *, as_ns: bool = False) -> Any:
    """Return a plain value in the form that the engine binds without loss: stamps finer than a microsecond as such.

    Args:
        value: See `plain`.
        as_ns: Whether to bind a stamp with nanoseconds even if it has none.
    """
    if not as_ns and not kind_of(value).endswith("_ns"):
        return value
    import duckdb

    nanoseconds = duckdb.sqltypes.TIMESTAMP_NS
    return (
        [duckdb.Value(_utc_text(one), nanoseconds) for one in value]
        if isinstance(value, list)
        else duckdb.Value(_utc_text(value), nanoseconds)
    )


def _utc_text(stamp: Any) -> str:
    """Return an instant in UTC, or a naive time as it is, with nine digits after the point."""
    import pandas as pd

    exact = pd.Timestamp(stamp)
    if exact.tz is not None:
        exact = exact.tz_convert("UTC").tz_localize(None)
    return exact.isoformat(sep=" ", timespec="nanoseconds")


def _is_collection(value: Any) -> bool:
    array_like = hasattr(value, "ndim") and getattr(value, "ndim", 0) == 1
    polars = sys.modules.get("polars")
    is_series = polars is not None and isinstance(value, polars.Series)
    return isinstance(value, Iterable) and (array_like or is_series)


def _is_numpy_datetime(value: Any) -> bool:
    return type(value).__name__ == "datetime64"


def _is_missing(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NaT or value is pandas.NA)
