"""Conditions on rows that can be asked in SQL and of a plain row alike, to compare the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from operator import eq, ge, gt, le, lt, ne
from typing import Any

Truth = bool | None
"""What a condition says of a row; None where SQL would say NULL."""
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Compare:
    """A column compared with a value of the types int, str, or for `trade_date` and times their plain number.

    Attributes:
        column: The column.
        operator: One of `COMPARISONS`.
        value: The plain value.
        kind: How SQL spells it: `value`, `date` (days since the epoch) or `instant` (nanoseconds, cut to microseconds).
        zoned: Whether the instant is one of a zoned column.
    """

    column: str
    operator: str
    value: Any
    kind: str = "value"
    zoned: bool = True

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        return f'"{self.column}" {self.operator} {self._literal()}'

    @property
    def columns(self) -> frozenset[str]:
        """The columns it asks for."""
        return frozenset((self.column,))

    def says(self, row: Mapping[str, Any]) -> Truth:
        """Return what the condition says of a row."""
        found = row.get(self.column)
        return None if found is None else COMPARISONS[self.operator](found, self.value)

    def _literal(self) -> str:
        if self.kind == "date":
            return f"DATE '{(_EPOCH + timedelta(days=self.value)).isoformat()}'"
        if self.kind == "instant":
            seconds, ns = divmod(self.value, 10**9)
            day, second = divmod(seconds, 86_400)
            clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{ns // 1000:06}"
            zone = "+00" if self.zoned else ""
            name = "TIMESTAMPTZ" if self.zoned else "TIMESTAMP"
            return f"{name} '{(_EPOCH + timedelta(days=day)).isoformat()} {clock}{zone}'"
        if isinstance(self.value, str):
            return "'" + self.value.replace("'", "''") + "'"
        return str(self.value)


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a column has no value."""

    column: str

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        return f'"{self.column}" IS NULL'

    @property
    def columns(self) -> frozenset[str]:
        """The columns it asks for."""
        return frozenset((self.column,))

    def says(self, row: Mapping[str, Any]) -> Truth:
        """Return what the condition says of a row."""
        return row.get(self.column) is None


@dataclass(frozen=True, slots=True)
class Both:
    """Two conditions joined by AND."""

    left: Condition
    right: Condition

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        return f"({self.left.sql} AND {self.right.sql})"

    @property
    def columns(self) -> frozenset[str]:
        """The columns it asks for."""
        return self.left.columns | self.right.columns

    def says(self, row: Mapping[str, Any]) -> Truth:
        """Return what the condition says of a row."""
        left, right = self.left.says(row), self.right.says(row)
        if left is False or right is False:
            return False
        return None if left is None or right is None else True


@dataclass(frozen=True, slots=True)
class Either:
    """Two conditions joined by OR."""

    left: Condition
    right: Condition

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        return f"({self.left.sql} OR {self.right.sql})"

    @property
    def columns(self) -> frozenset[str]:
        """The columns it asks for."""
        return self.left.columns | self.right.columns

    def says(self, row: Mapping[str, Any]) -> Truth:
        """Return what the condition says of a row."""
        left, right = self.left.says(row), self.right.says(row)
        if left or right:
            return True
        return None if left is None or right is None else False


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition; of NULL it is NULL."""

    inner: Condition

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        return f"(NOT {self.inner.sql})"

    @property
    def columns(self) -> frozenset[str]:
        """The columns it asks for."""
        return self.inner.columns

    def says(self, row: Mapping[str, Any]) -> Truth:
        """Return what the condition says of a row."""
        inner = self.inner.says(row)
        return None if inner is None else not inner


Condition = Compare | IsNull | Both | Either | Not
