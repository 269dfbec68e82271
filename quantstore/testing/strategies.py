"""Strategies for Hypothesis: schemas, frames and conditions as `quantstore.testing.generate` draws them.

Hypothesis is imported here alone: `pip install hypothesis`. It controls every draw, so that it shrinks what fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from quantstore.testing import generate
from quantstore.testing.conditions import Condition
from quantstore.testing.modes import Change

chances = st.randoms(use_true_random=False)
"""Sources of chance that Hypothesis controls, for functions that take a `random.Random`."""


def schemas() -> st.SearchStrategy[pa.Schema]:
    """Draw the columns of a table: time of any unit and zone, symbol, id, and some of every type a store keeps."""
    return chances.map(generate.schema)


def grown_schemas(known: pa.Schema) -> st.SearchStrategy[pa.Schema]:
    """Draw columns that a table with columns `known` can follow."""
    return chances.map(lambda chance: generate.grown(chance, known))


@st.composite
def frames(
    draw: st.DrawFn, columns: pa.Schema | None = None, *, min_rows: int = 0, max_rows: int = 8, key: Sequence[str] = ()
) -> pa.Table:
    """Draw a frame: late rows, ties, duplicates, nulls, NaN, long strings.

    Args:
        draw: Given by Hypothesis.
        columns: Its columns; default any.
        min_rows: Fewest rows.
        max_rows: Most rows, a duplicate apart.
        key: Columns whose values are to be different in each row and never null.
    """
    chosen = draw(schemas()) if columns is None else columns
    rows = draw(st.integers(min_rows, max_rows))
    return generate.frame(draw(chances), chosen, rows, key=key)


def conditions(columns: pa.Schema) -> st.SearchStrategy[Condition]:
    """Draw conditions on rows of a table, with `.sql` and `.says(row)`."""
    return chances.map(lambda chance: generate.condition(chance, columns))


@st.composite
def changes(draw: st.DrawFn, table: str, columns: pa.Schema, key: Sequence[str] = ("ts", "symbol")) -> Change:
    """Draw a change of a table that has such columns and this key: any mode, with or without a condition."""
    mode = draw(st.sampled_from(("append", "replace", "upsert", "overwrite", "delete")))
    where = draw(conditions(columns)) if mode == "delete" else None
    if mode == "delete":
        return Change(table, mode=mode, where=where)
    options: dict[str, Any] = {"key": key, "min_rows": 1} if mode == "upsert" else {"min_rows": 1}
    rows = draw(frames(columns, **options))
    return Change(table, rows, mode, key=tuple(key) if mode == "upsert" else (), on_repeat="append")
