"""What a table is, apart from its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from quantstore.errors import InvalidInputError


class Grain(StrEnum):
    """How wide a partition is; `auto` until the first rows decide it."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    AUTO = "auto"

    def floor(self, day: date) -> date:
        """Return the first day of the partition that `day` falls into."""
        if self is Grain.MONTH:
            return day.replace(day=1)
        return day.replace(month=1, day=1) if self is Grain.YEAR else day


@dataclass(frozen=True, slots=True)
class TableSpec:
    """The facts that are fixed when a table is made.

    Attributes:
        name: As first written; looked up in any case.
        time: Time column.
        symbol: Symbol column, or None.
        key: Columns that identify a row for upserts; empty where the table has none.
        calendar: Exchange calendar that derives `trade_date`, or None for UTC dates.
        grain: Width of a partition; `auto` while the table has no rows that decide it.
        asset_class: Value for rows that bring none, or None for `UNKNOWN`.
    """

    name: str
    time: str
    symbol: str | None = None
    key: tuple[str, ...] = ()
    calendar: str | None = None
    grain: Grain = Grain.DAY
    asset_class: str | None = None


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One version of a table's columns, in a form that needs no Arrow to be looked at.

    Attributes:
        arrow: Serialised Arrow schema (IPC) of the user's columns followed by the hidden ones that are not theirs.
        columns: Name and type of each of the user's columns.
        hidden: Names of the columns that the store added.
        frame: How to restore a pandas frame on bare-table reads (index columns and the like).
    """

    arrow: bytes
    columns: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
    frame: dict[str, Any] = field(default_factory=dict)


def parse_grain(value: str) -> Grain:
    """Return the grain named `value`.

    Raises:
        InvalidInputError: No such grain.
    """
    try:
        return Grain(str(value).lower())
    except ValueError:
        raise InvalidInputError(f"{value!r} is not a grain; choose auto, day, month or year.") from None
