"""Frames of the caller's that a query may name as tables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from quantstore.core.names import check_name
from quantstore.core.table import TableSpec
from quantstore.errors import InvalidInputError
from quantstore.rows.form import TableForm, plain_types
from quantstore.rows.source import open_source


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames by lower-cased name.

    Attributes:
        tables: Their rows.
        forms: Their columns, as the analysis of a statement takes them.
        key: What the analysis of a statement depends on.
    """

    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    forms: Mapping[str, TableForm] = field(default_factory=dict)
    key: Hashable = ()


NO_FRAMES = Frames()


def open_frames(frames: Mapping[str, Any] | None) -> Frames:
    """Return the caller's frames as Arrow tables; pandas index levels worth keeping become columns, as in a write.

    Args:
        frames: Frames by the name queries give them: pandas, Polars, Arrow, anything `write` takes.

    Raises:
        InvalidInputError: A name cannot be one of a table, two differ in case only, or a frame is none.
    """
    if not frames:
        return NO_FRAMES
    tables: dict[str, pa.Table] = {}
    forms: dict[str, TableForm] = {}
    for name, data in frames.items():
        folded = check_name(name).casefold()
        if folded in tables:
            raise InvalidInputError(f"frames has {name!r} twice, in different cases; rename one of them.")
        try:
            source = open_source(data)
            rows = pa.concat_tables(source.tables) if source.is_stream else next(iter(source.tables))
        except InvalidInputError as error:
            raise InvalidInputError(f"frames[{name!r}] cannot be read: {error}") from error
        schema = plain_types(source.schema)
        tables[folded] = rows.cast(schema)
        forms[folded] = TableForm(TableSpec(name, ""), schema, (), source.frame)
    key = tuple((name, table.schema.to_string(show_schema_metadata=False)) for name, table in tables.items())
    return Frames(tables, forms, key)
