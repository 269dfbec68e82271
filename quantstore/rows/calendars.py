"""Trade dates by exchange calendar: which session an instant belongs to."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantstore.core.names import nearest
from quantstore.core.render import counted
from quantstore.errors import InvalidInputError, MissingDependencyError, UnsupportedError
from quantstore.rows.times import Int64s, as_numpy, time_ns

if TYPE_CHECKING:
    from types import ModuleType

_EARLIEST_YEAR = 1800
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of a calendar, oldest first.

    Attributes:
        calendar: Its name.
        days: Labels, in days since the epoch.
        starts: First instant of each, in nanoseconds since the epoch.
        ends: Last instant of each. A close belongs to its session, unless the next session opens at that instant.
    """

    calendar: str
    days: Int64s
    starts: Int64s
    ends: Int64s

    def of_instants(self, stamps: Int64s) -> tuple[Int64s, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return the number of each instant's session, or of the next one, and which instants lie outside all."""
        found = np.searchsorted(self.ends, stamps)
        return found, (found == len(self.days)) | (stamps < self.starts[0])

    def of_dates(self, days: Int64s) -> tuple[Int64s, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return the number of each date's session, or of the next one, and which dates lie outside all."""
        found = np.searchsorted(self.days, days)
        return found, (found == len(self.days)) | (days < self.days[0])

    @property
    def span(self) -> str:
        """First and last session."""
        return f"{_date(self.days[0])} to {_date(self.days[-1])}"


def calendar_name(name: str) -> str:
    """Return the own name of a calendar given by its name or an alias, in any case.

    Raises:
        InvalidInputError: There is none; the nearest is named.
        MissingDependencyError: The package that knows calendars is not installed.
    """
    library = _library()
    known = {one.casefold(): one for one in library.get_calendar_names()}
    found = known.get(str(name).casefold())
    if found is not None:
        return str(library.resolve_alias(found))
    near = nearest(str(name), known.values(), 0.5)
    hint = f"Did you mean {near!r}?" if near else "Write one like 'XNYS', 'CMES', 'XLON' or '24/7'."
    raise InvalidInputError(f"There is no exchange calendar {name!r}. {hint}", calendar=str(name))


def session_dates(column: pa.ChunkedArray, calendar: str, name: str, table: str) -> pa.ChunkedArray:
    """Return the trade dates (date32) of event times.

    An instant from a session's open to its close, breaks included, belongs to that session; one outside all sessions
    takes the next. A date is the session of that label, or the next one.

    Args:
        column: Zoned timestamps or dates, without nulls.
        calendar: Own name of the calendar.
        name: The column's name, for errors.
        table: The table's name, for errors.

    Raises:
        InvalidInputError: A value lies before the first or after the last session that the calendar knows.
        MissingDependencyError: The package that knows calendars is not installed.
    """
    if len(column) == 0:
        return pa.chunked_array([], pa.date32())
    is_date = pa.types.is_date(column.type)
    values = _days_of(column) if is_date else time_ns(column, table)
    sessions = _sessions_from(calendar, _year(values.min(), is_date=is_date))
    positions, outside = (sessions.of_dates if is_date else sessions.of_instants)(values)
    if outside.any():
        raise _outside(column, outside, sessions, name, table)
    days = sessions.days.astype(np.int32)[positions]
    return pa.chunked_array([pa.array(days).view(pa.date32())])


def _days_of(column: pa.ChunkedArray) -> Int64s:
    return np.asarray(as_numpy(column.cast(pa.date32()).cast(pa.int32())), np.int64)


def _year(value: np.int64, *, is_date: bool) -> int:
    return int(np.datetime64(int(value), "D" if is_date else "ns").astype("datetime64[Y]").astype(int)) + 1970


def _outside(
    column: pa.ChunkedArray, outside: np.ndarray[Any, np.dtype[np.bool_]], sessions: Sessions, name: str, table: str
) -> InvalidInputError:
    """Return the error for values outside a calendar."""
    first = column[int(np.flatnonzero(outside)[0])]
    shown = first.cast(pa.string()).as_py()
    return InvalidInputError(
        f"Time column {name!r} of table {table!r} has {counted(int(outside.sum()), 'value')} outside calendar "
        f"{sessions.calendar!r}, which knows the sessions of {sessions.span}; the first is {shown}. Correct them, or "
        "give these rows a column 'trade_date' of their own.",
        table=table,
        column=name,
        calendar=sessions.calendar,
        value=shown,
    )


def _sessions_from(calendar: str, year: int) -> Sessions:
    """Return the sessions of a calendar, from before a year on where it can be asked that far back."""
    sessions = _sessions(calendar, None)
    if year > int(_date(sessions.days[0])[:4]):
        return sessions
    return _sessions(calendar, max(year - 1, _EARLIEST_YEAR) // 10 * 10)


@lru_cache(maxsize=64)
def _sessions(calendar: str, first_year: int | None) -> Sessions:
    """Return the sessions of a calendar, as far back as it goes by default or from a year on."""
    library = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what it asks of pandas is its own affair
        try:
            known = library.get_calendar(calendar)
        except library.errors.InvalidCalendarName:
            raise UnsupportedError(
                f"exchange_calendars {library.__version__} does not know the calendar {calendar!r}; install a version "
                "that does, or run fsck() if the table was never given it.",
                calendar=calendar,
            ) from None
        if first_year is not None:
            known = _longer(library, known, calendar, first_year)
        starts, ends = np.asarray(known.opens_nanos, np.int64), np.asarray(known.closes_nanos, np.int64)
    days = known.sessions.to_numpy().astype("datetime64[D]").astype(np.int64)
    # Of the last close it is not known whether another session opens then.
    touches = np.append(starts[1:] <= ends[:-1], True)
    return Sessions(calendar, days, starts, ends - touches)


def _longer(library: ModuleType, known: Any, calendar: str, first_year: int) -> Any:
    """Return a calendar that begins in a year, or as early as it can."""
    import pandas as pd

    bound = known.bound_min()
    start = pd.Timestamp(year=first_year, month=1, day=1)
    start = start if bound is None else max(start, bound)
    try:
        return library.get_calendar(calendar, start=start)
    except ValueError:  # a calendar that somebody registered is as long as they made it
        return known


def _date(day: Any) -> str:
    return str(np.datetime64(0, "D") + int(day) * _DAY)


def _library() -> ModuleType:
    try:
        import exchange_calendars
    except ImportError as error:
        raise MissingDependencyError(
            "calendar= needs the package exchange_calendars; install it with: pip install 'quantstore[calendars]'.",
            extra="calendars",
        ) from error
    return exchange_calendars  # type: ignore[no-any-return]
