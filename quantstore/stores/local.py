"""What the stores that keep local files have in common: layout of rows, hidden columns, verification."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as kinds

from quantstore.core.segment import ASSET_CLASS, HIDDEN_COLUMNS, SEQ, TRADE_DATE, Copy, Partition
from quantstore.errors import IntegrityError, InvalidInputError, NotFoundError
from quantstore.stores.base import Capabilities, Part, Selection, Stored, TableLayout
from quantstore.stores.files import LocalFiles
from quantstore.stores.integrity import Signature, Verifier

EVERYTHING = Selection()


class LocalStore:
    """Keeps copies as immutable local files, each verified when first read.

    Args:
        root: Directory of the files; the first write makes it.
        name: Name of the store, recorded with its copies.
        capabilities: What the store can do.
    """

    def __init__(self, root: str | os.PathLike[str], name: str, capabilities: Capabilities) -> None:
        self.name = name
        self.capabilities = capabilities
        self.root = Path(root)
        self._files = LocalFiles(root, name)
        self._verifier = Verifier(name)

    def verify(self, copy: Copy, *, deep: bool = False) -> str:
        """Check a copy against its checksum and return its absolute path.

        The whole file is read on first use in this process and again whenever it changes; `deep` reads it regardless.

        Raises:
            IntegrityError: The bytes are missing or are not the bytes that were written.
        """
        return self._verified(copy, deep=deep)[0]

    def _verified(self, copy: Copy, *, deep: bool = False) -> tuple[str, Signature]:
        path = self._files.path(copy.location)
        size = copy.size_bytes if copy.file_bytes is None else copy.file_bytes
        signature = self._verifier.verify(path, size, copy.checksum, deep=deep, location=copy.location)
        return path, signature

    def delete(self, location: str) -> None:
        """Delete a copy's bytes; deleting what is not there is no error."""
        self._verifier.forget(self._files.path(location))
        self._files.delete(location)

    def list(self) -> Iterator[Stored]:
        """Yield every file that bears an attempt's name, unfinished temporary ones included."""
        return self._files.scan()

    def close(self) -> None:
        """Release what is held; tables handed out stay valid."""


def stored_table(layout: TableLayout, part: Part) -> pa.Table:
    """Return the columns of a part in the layout's order; hidden ones may be missing.

    Raises:
        InvalidInputError: A column is missing or has another type than the layout says.
    """
    present = set(part.table.column_names)
    missing = [name for name in layout.schema.names if name not in present and name not in HIDDEN_COLUMNS]
    if missing:
        raise InvalidInputError(f"{part.location} lacks the columns {missing}.", columns=missing)
    names = [name for name in layout.schema.names if name in present]
    table = part.table.select(names)
    for name, column in zip(names, table.columns, strict=True):
        expected = layout.schema.field(name).type
        if column.type != expected:
            raise InvalidInputError(
                f"{part.location}: column {name!r} is {column.type}, but the table keeps {expected}.", column=name
            )
    return table


def unify_dictionaries(table: pa.Table) -> pa.Table:
    """Give all chunks of each dictionary column the same dictionary, as files hold only one.

    Raises:
        InvalidInputError: A column has more categories than its codes can count.
    """
    if not any(kinds.is_dictionary(column.type) and column.num_chunks > 1 for column in table.columns):
        return table
    try:
        return table.unify_dictionaries()
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"The categories of a column exceed its codes ({error}); use codes with more bits."
        ) from error


def wanted_columns(layout: TableLayout, selection: Selection) -> list[str]:
    """Return the names of the columns a selection asks for.

    Raises:
        NotFoundError: The table has no such column.
    """
    if selection.columns is None:
        return list(layout.schema.names)
    unknown = [name for name in selection.columns if layout.schema.get_field_index(name) < 0]
    if unknown:
        raise NotFoundError(f"The table has no columns {unknown}.", columns=unknown)
    return list(selection.columns)


def fill_hidden(
    name: str, type_: pa.DataType, partition: Partition, first: int, rows: int, location: str
) -> pa.ChunkedArray:
    """Return a hidden column a file does not hold.

    Args:
        name: `_seq`, `trade_date` or `asset_class`.
        type_: Type of the column in the table.
        partition: Gives the constants.
        first: `_seq` of the first row.
        rows: Number of rows.
        location: Named in errors.

    Raises:
        IntegrityError: The column is not a hidden one.
    """
    if name == SEQ:
        return pa.chunked_array([pa.array(np.arange(first, first + rows, dtype=np.int64))])
    if name not in {TRADE_DATE, ASSET_CLASS}:
        raise IntegrityError(f"{location} does not hold column {name!r}.", location=location, column=name)
    value = partition.trade_date if name == TRADE_DATE else partition.asset_class
    scalar = pa.scalar(value, pa.date32() if name == TRADE_DATE else pa.string())
    if not kinds.is_dictionary(type_):
        return pa.chunked_array([pa.repeat(scalar.cast(type_), rows)])
    codes = pa.repeat(pa.scalar(None if value is None else 0, type_.index_type), rows)
    values = pa.array([] if value is None else [value], scalar.type).cast(type_.value_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, values, ordered=type_.ordered)])


def shift_seq(column: pa.ChunkedArray, base: int) -> pa.ChunkedArray:
    """Add a copy's base to stored `_seq` values."""
    return pc.add(column, base) if base else column
