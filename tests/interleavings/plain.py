"""What operations mean, in plain Python: the state of a store, and what each operation does to it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Rows = dict[int, float]
"""Price by id; ids are never given twice."""
FIRST: Rows = dict.fromkeys((0, 1, 2, 3, 10, 11, 20, 21), 1.0)
AT_TWO: Rows = dict.fromkeys((0, 1, 2, 3), 1.0)


@dataclass
class Plain:
    """The state of a store: tables by identity, each with a name, or None where it was dropped."""

    names: dict[str, str | None] = field(default_factory=lambda: {"first": "t"})
    rows: dict[str, Rows] = field(default_factory=lambda: {"first": dict(FIRST)})
    written: set[str] = field(default_factory=set)
    has_expired: bool = False
    columns: dict[str, set[str]] = field(default_factory=dict)

    def copy(self) -> Plain:
        rows = {key: dict(value) for key, value in self.rows.items()}
        columns = {key: set(value) for key, value in self.columns.items()}
        return Plain(dict(self.names), rows, set(self.written), self.has_expired, columns)

    def find(self, name: str = "t") -> str | None:
        return next((key for key, called in self.names.items() if called == name), None)

    def shown(self) -> dict[str, Rows]:
        """Return what the store shows: rows by the name of their table."""
        return {name: self.rows[key] for key, name in self.names.items() if name is not None}


class Missing(Exception):  # noqa: N818 - an outcome
    """The operation finds no table."""


class Refused(Exception):  # noqa: N818 - an outcome
    """The rows lack a column that the table has got."""


Change = Callable[[Plain, int], Any]


def to_table(change: Callable[[Rows, int], Any], *, makes: bool = False, brings: bool = False) -> Change:
    """Return an operation on the rows of the table called `t`.

    Args:
        change: What it does.
        makes: Whether it brings rows, and makes the table where there is none.
        brings: Whether it brings a column of its own.
    """

    def act(state: Plain, slot: int) -> Any:
        key = state.find()
        if key is None:
            if not makes:
                raise Missing
            key = f"made by {slot}"
            state.names[key], state.rows[key] = "t", {}
        own = {f"venue{slot}"} if brings else set()
        known = state.columns.setdefault(key, set())
        if makes and not known <= own:
            raise Refused
        known |= own
        return change(state.rows[key], slot)

    return act


def add(*ids: int, price: float = 1.0) -> Callable[[Rows, int], None]:
    return lambda rows, slot: rows.update({one + 1000 * slot: price for one in ids})


def nothing(rows: Rows, slot: int) -> None:
    """Change no rows."""


def replace(rows: Rows, slot: int) -> None:
    for one in (0, 1):
        rows.pop(one, None)
    rows[0] = 7.0 + slot


def upsert(rows: Rows, slot: int) -> None:
    rows[1] = rows[10] = 9.0 + slot


def delete(rows: Rows, slot: int) -> None:
    for one in (1, 10, 20):
        rows.pop(one, None)


def overwrite(rows: Rows, slot: int) -> None:
    rows.clear()
    rows[200 + 1000 * slot] = 1.0


def named(state: Plain, slot: int) -> None:
    """Append by a write id that all tasks use, which is known of one table."""
    key = state.find()
    if key is None or f"{key} w" not in state.written:
        to_table(add(), makes=True)(state, slot)
        key = state.find()
    if (mark := f"{key} w") not in state.written:
        state.written.add(mark)
        state.rows[str(key)].update({140: 1.0, 141: 1.0})


def rename(state: Plain, slot: int) -> None:
    if state.names["first"] is None:
        raise Missing
    state.names["first"] = f"renamed{slot}"


def drop(state: Plain, slot: int) -> None:
    if state.names["first"] is None:
        raise Missing
    state.names["first"] = None


def restore(state: Plain, slot: int) -> None:
    if state.names["first"] is None or state.has_expired:
        raise Missing
    state.rows["first"] = dict(AT_TWO)
    state.columns["first"] = set()


def expire(state: Plain, slot: int) -> None:
    state.has_expired = True


def look(rows: Rows, slot: int) -> Any:
    return dict(rows)


def look_back(state: Plain, slot: int) -> Any:
    return dict(FIRST)


def anything(state: Plain, slot: int) -> None:
    """Change no rows, whether or not there is a table."""
