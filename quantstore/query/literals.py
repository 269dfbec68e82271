"""Instants and dates that callers pass as Python values."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from quantstore.core.timerange import TimeRange
from quantstore.errors import InvalidInputError

_BARE_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")


def instant_ns(value: Any, what: str) -> int:
    """Return an instant as nanoseconds since the epoch; no zone means UTC.

    Args:
        value: Text (ISO 8601), `datetime`, `pd.Timestamp` or `np.datetime64`.
        what: The parameter's name, for the error.

    Raises:
        InvalidInputError: It is none of these.
    """
    stamp = _timestamp(value, what)
    return int((stamp.tz_localize("UTC") if stamp.tz is None else stamp).value)


def is_bare_date(value: Any) -> bool:
    """Whether `value` names a day and no time of day."""
    if isinstance(value, str):
        return bool(_BARE_DATE.match(value.strip()))
    return isinstance(value, date) and not isinstance(value, datetime)


def time_range(start: Any, end: Any, column: str, kind: pa.DataType, end_name: str = "end") -> TimeRange:
    """Return `start` (included) to `end` (excluded) on a time column; `end_name` is what the caller calls the latter.

    Raises:
        InvalidInputError: A bound has a zone and the column has none, or `end` is before `start`.
    """
    found = TimeRange(_bound(start, "start", column, kind), _bound(end, end_name, column, kind))
    if found.start_ns is not None and found.end_ns is not None and found.end_ns < found.start_ns:
        raise InvalidInputError(f"end={end!r} is before start={start!r}.")
    return found


def _bound(value: Any, what: str, column: str, kind: pa.DataType) -> int | None:
    if value is None:
        return None
    stamp = _timestamp(value, what)
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    if stamp.tz is not None and not zoned:
        raise InvalidInputError(
            f"{what}={value!r} has a time zone and the time column {column!r} has none; pass a naive time: "
            f"{what}='{stamp.tz_localize(None)}'.",
            column=column,
        )
    return int((stamp.tz_localize("UTC") if stamp.tz is None else stamp).value)


def _timestamp(value: Any, what: str) -> Any:
    import pandas as pd

    problem = InvalidInputError(
        f"{what}={value!r} is not a point in time; pass text such as '2026-11-20 14:30', a datetime or a Timestamp."
    )
    if isinstance(value, bool | int | float):
        raise problem
    try:
        stamp: Any = pd.Timestamp(value)
        exact = None if stamp is pd.NaT else stamp.as_unit("ns")
    except (TypeError, ValueError, OverflowError) as error:
        raise problem from error
    if exact is None:
        raise problem
    return exact


def whole_day(value: Any, what: str) -> date | None:
    """Return a day given as date, datetime at midnight or ISO text; None for None.

    Raises:
        InvalidInputError: It is no date, or has a time of day.
    """
    if value is None:
        return None
    stamp = _timestamp(value, what)
    if stamp != stamp.normalize():
        raise InvalidInputError(f"{what}={value!r} has a time of day, and days go by trade date; pass a date.")
    found: date = stamp.date()
    return found


def days(values: Any) -> tuple[date, ...]:
    """Return `dates=` as distinct days: one or several of date, datetime or ISO text.

    Raises:
        InvalidInputError: One of them is no date.
    """
    several = [values] if isinstance(values, str | date) or not hasattr(values, "__iter__") else list(values)
    return tuple(sorted({_timestamp(value, "dates").date() for value in several}))
