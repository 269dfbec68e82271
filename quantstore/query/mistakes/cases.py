"""What is known of a mistake in a query, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quantstore.errors import InvalidInputError, QuantStoreError
from quantstore.query.mistakes.complaints import Complaint
from quantstore.query.mistakes.places import Stretch


@dataclass(frozen=True, slots=True)
class Names:
    """What a query may name.

    Attributes:
        columns: Visible columns of each table and frame that the query may name.
        hidden: Hidden columns of these.
        tables: Every table of the store, and every frame.
        functions: Gives the engine's functions.
        types: Gives the engine's types.
        keywords: Gives the words of SQL itself.
        parses: Whether a text is a query, or a condition.
        is_condition: Whether the text is a condition and no query.
    """

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    functions: Callable[[], Iterable[str]] = tuple
    types: Callable[[], Iterable[str]] = tuple
    keywords: Callable[[], Iterable[str]] = tuple
    parses: Callable[[str], bool] = lambda _: False
    is_condition: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A complaint together with what it is about.

    Attributes:
        complaint: What the engine says.
        sql: The query as it was written.
        names: What it may name.
        spot: Where the complaint points, or None.
    """

    complaint: Complaint
    sql: str
    names: Names
    spot: Stretch | None


@dataclass(frozen=True, slots=True)
class Told:
    """A mistake in our words.

    Attributes:
        text: What is wrong, and the way out.
        kind: Class of the error.
        spot: Where in the query, if that is known better than the engine knows it.
        context: What programs may want to know.
    """

    text: str
    kind: type[QuantStoreError] = InvalidInputError
    spot: Stretch | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
