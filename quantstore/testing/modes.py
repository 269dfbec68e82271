"""What each way to change a table does to its rows, on plain Python values: the intended meaning, in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import types as kinds

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE, UNKNOWN_ASSET_CLASS
from quantstore.errors import InvalidInputError
from quantstore.testing.plain import plain_columns

if TYPE_CHECKING:
    from quantstore.testing.conditions import Condition

DAY_NS = 86_400 * 10**9
Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row of a table; the same row keeps its place through every rewrite.

    Attributes:
        facts: Plain values by column, `trade_date` (days since the epoch) and `asset_class` included.
        version: Version that added it.
        ordinal: Its number among the rows that version added to the table.
    """

    facts: Mapping[str, Any]
    version: int
    ordinal: int

    @property
    def place(self) -> tuple[int, int]:
        """What orders rows of one instant: `_seq`."""
        return self.version, self.ordinal

    def values(self, columns: Iterable[str]) -> tuple[Any, ...]:
        """Return its values in some columns; null in those that came later."""
        return tuple(self.facts.get(name) for name in columns)


@dataclass(frozen=True, slots=True)
class Change:
    """One write or delete of one table.

    Attributes:
        table: The table's name.
        frame: The rows; None for a delete.
        mode: `append`, `replace`, `upsert`, `overwrite`, `error` or `delete`.
        where: Condition of a replace or delete.
        key: Key that an upsert brings.
        on_repeat: `skip`, `append` or `raise`.
        expected_version: Version the table must have been changed by last.
    """

    table: str
    frame: pa.Table | None = None
    mode: str = "append"
    where: Condition | None = None
    key: tuple[str, ...] = ()
    on_repeat: str = "skip"
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class TableState:
    """What a table is at a version.

    Attributes:
        table_id: Tells tables of one name apart.
        name: Its name, or the one it had when it was dropped.
        columns: Types by column; None before the first rows.
        rows: Its rows, in the order they came.
        changed_version: The version that last changed its rows, columns or name.
        time: Time column.
        symbol: Symbol column, or None.
        key: Columns that identify a row.
        is_written: Whether a write has been made, be it of no rows.
    """

    table_id: int
    name: str
    columns: Columns | None = None
    rows: tuple[Row, ...] = ()
    changed_version: int = 0
    time: str = "ts"
    symbol: str | None = "symbol"
    key: tuple[str, ...] = ()
    is_written: bool = False

    def in_order(self) -> list[Row]:
        """Return the rows as a bare read gives them: by time, then in the order they came."""
        return sorted(self.rows, key=lambda row: (row.facts[self.time], row.place))

    def read(self, columns: Sequence[str] | None = None) -> list[tuple[Any, ...]]:
        """Return the values of a bare read."""
        names = list(self.columns or ()) if columns is None else columns
        return [row.values(names) for row in self.in_order()]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one change does to a table.

    Attributes:
        state: The table afterwards.
        added: Rows that came.
        removed: How many went.
        content: What was brought, to know it again.
        is_same: Whether all that would go is what would come, so that nothing changes.
        is_whole: Whether every row of the frame was added.
    """

    state: TableState
    added: tuple[Row, ...]
    removed: int
    content: Any
    is_same: bool = False
    is_whole: bool = True


def effect(state: TableState, change: Change, version: int, first: int = 0) -> Effect:
    """Return what a change does to a table.

    Args:
        state: The table before.
        change: The change.
        version: The version that it makes.
        first: Number of its first row among those the version adds.

    Raises:
        InvalidInputError: The frame does not fit.
    """
    if change.mode == "delete":
        assert change.where is not None  # noqa: S101 - a delete has a condition
        gone = [row for row in state.rows if change.where.says(row.facts)]
        kept = _without(state.rows, gone)
        return Effect(replace(state, rows=kept), (), len(gone), f"where {change.where.sql}")
    assert change.frame is not None  # noqa: S101 - every other change has one
    columns = followed(state, change.frame.schema)
    brought = brought_rows(change.frame, state)
    state = replace(state, columns=columns, is_written=True)
    if change.mode in {"append", "error"}:
        return _added(state, state.rows, brought, version, first)
    if change.mode == "overwrite":
        return _added(state, (), brought, version, first)
    if change.mode == "upsert":
        return _upserted(state, change, brought, version, first)
    return _replaced(state, change, brought, version, first)


def content_of(brought: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> tuple[Any, ...]:
    """Return rows, in order, as what tells them from others."""
    names = (*columns, TRADE_DATE, ASSET_CLASS)
    return tuple(tuple(facts.get(name) for name in names) for facts in brought)


def brought_rows(frame: pa.Table, state: TableState) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain facts, with the partition columns they lack."""
    values = plain_columns(frame)
    if state.time not in values:
        raise InvalidInputError(f"The frame lacks the time column {state.time!r}.", table=state.name)
    values.setdefault(TRADE_DATE, [stamp // DAY_NS for stamp in values[state.time]])
    values.setdefault(ASSET_CLASS, [UNKNOWN_ASSET_CLASS] * frame.num_rows)
    names = list(values)
    return [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _added(
    state: TableState, kept: tuple[Row, ...], brought: list[dict[str, Any]], version: int, first: int, **more: Any
) -> Effect:
    new = tuple(Row(facts, version, first + number) for number, facts in enumerate(brought))
    content = content_of(brought, state.columns or ())
    removed = len(state.rows) - len(kept)
    return Effect(replace(state, rows=kept + new), new, removed, content, **more)


def _replaced(state: TableState, change: Change, brought: list[dict[str, Any]], version: int, first: int) -> Effect:
    """Rows in the scope go, the frame's come; nothing happens where they are the same in the same order."""
    if change.where is not None:
        where = change.where
        if any(not where.says(facts) for facts in brought):
            raise InvalidInputError("The frame has rows outside where=.", table=state.name)
        gone = [row for row in state.rows if where.says(row.facts)]
    else:
        names = (TRADE_DATE, ASSET_CLASS, *((state.symbol,) if state.symbol else ()))
        scope = {tuple(facts.get(name) for name in names) for facts in brought}
        gone = [row for row in state.rows if row.values(names) in scope]
    columns = state.columns or ()
    same = content_of([row.facts for row in gone], columns) == content_of(brought, columns)
    if brought and gone and same:
        return Effect(state, (), 0, content_of(brought, columns), is_same=True)
    return _added(state, _without(state.rows, gone), brought, version, first)


def _upserted(state: TableState, change: Change, brought: list[dict[str, Any]], version: int, first: int) -> Effect:
    """Rows with a key the frame has go, the frame's come; a key whose one row is the frame's stays untouched."""
    key = state.key or change.key
    if not key:
        raise InvalidInputError("An upsert needs a key.", table=state.name)
    by_key = {tuple(facts.get(name) for name in key): facts for facts in brought}
    if len(by_key) < len(brought) or any(None in values for values in by_key):
        raise InvalidInputError("A key is in the frame twice, or empty.", table=state.name)
    found = [row for row in state.rows if row.values(key) in by_key]
    counts = Counter(row.values(key) for row in found)
    names = (*(state.columns or ()), TRADE_DATE, ASSET_CLASS)
    same = {
        row.values(key)
        for row in found
        if counts[row.values(key)] == 1
        and row.values(names) == tuple(by_key[row.values(key)].get(name) for name in names)
    }
    gone = [row for row in found if row.values(key) not in same]
    new = [facts for values, facts in by_key.items() if values not in same]
    content = content_of(brought, state.columns or ())
    if brought and not gone and not new:
        return Effect(state, (), 0, content, is_same=True)
    made = _added(replace(state, key=key), _without(state.rows, gone), new, version, first)
    return replace(made, content=content, is_whole=not same)


def _without(rows: tuple[Row, ...], gone: list[Row]) -> tuple[Row, ...]:
    places = {row.place for row in gone}
    return tuple(row for row in rows if row.place not in places)


def followed(state: TableState, schema: pa.Schema) -> Columns:
    """Return the columns a table has after a frame: its own, widened where the frame's are, and the frame's new ones.

    Raises:
        InvalidInputError: The frame lacks a column, or has one of a type that is neither wider nor narrower.
    """
    came = {field.name: field.type for field in schema}
    if state.columns is None:
        return came
    lacking = [name for name in state.columns if name not in came and name != ASSET_CLASS]
    if lacking:
        raise InvalidInputError(f"The frame lacks {lacking}.", table=state.name)
    kept = {name: wider(kind, came.get(name, kind), state.name) for name, kind in state.columns.items()}
    hidden = {TRADE_DATE, ASSET_CLASS}  # what a frame says of them holds, though the table does not show it
    return kept | {name: kind for name, kind in came.items() if name not in kept and name not in hidden}


def wider(kept: pa.DataType, came: pa.DataType, table: str = "") -> pa.DataType:
    """Return the type that holds every value of two, where one of them does.

    Raises:
        InvalidInputError: Neither does.
    """
    if kept == came or kinds.is_null(came):
        return kept
    if kinds.is_null(kept):
        return came
    for first, second in ((kept, came), (came, kept)):
        if _holds(second, first):
            return second
    raise InvalidInputError(f"{came} does not fit a column of {kept}.", table=table)


_UNITS = ("s", "ms", "us", "ns")


def _holds(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Whether a type holds every value of a narrower one of the same family."""
    for same in (kinds.is_signed_integer, kinds.is_unsigned_integer, kinds.is_floating):
        if same(wide) and same(narrow):
            return bool(wide.bit_width >= narrow.bit_width)
    if kinds.is_decimal(wide) and kinds.is_decimal(narrow):
        before_point = wide.precision - wide.scale >= narrow.precision - narrow.scale
        return bool(before_point and wide.scale >= narrow.scale)
    if kinds.is_timestamp(wide) and kinds.is_timestamp(narrow):
        same_side = (wide.tz is None) == (narrow.tz is None)
        return same_side and _UNITS.index(wide.unit) >= _UNITS.index(narrow.unit)
    return bool(kinds.is_large_string(wide) and kinds.is_string(narrow))
