"""The hot tier: uncompressed Arrow IPC files, mapped into memory and shared by all processes of a machine."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc
from pyarrow import types as kinds

from quantstore.core.segment import ASSET_CLASS, SEQ, Copy, Partition
from quantstore.core.timerange import TimeRange
from quantstore.errors import IntegrityError
from quantstore.stores.base import Capabilities, Part, Selection, TableLayout, Written
from quantstore.stores.column_types import physical_type, value_type
from quantstore.stores.conversion import check_values, with_values
from quantstore.stores.facts import FileFacts
from quantstore.stores.files import HashingFile
from quantstore.stores.integrity import Signature
from quantstore.stores.local import (
    EVERYTHING,
    LocalStore,
    fill_hidden,
    shift_seq,
    stored_table,
    unify_dictionaries,
    wanted_columns,
)

SUFFIX = ".arrow"

_BATCH_ROWS = 1 << 18
_MAX_MAPS = 1024
_WRITERS = 4
"""Syncs that wait at the same time share commits of the file system's journal."""
_UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DAY_NS = 86_400 * _UNIT_NS["s"]


class ArrowStore(LocalStore):
    """Keeps copies as Arrow files in (time, _seq) order and hands out slices of their maps, without copying.

    Args:
        root: Directory of the files; the first write makes it.
        name: Name of the store, recorded with its copies.
    """

    def __init__(self, root: str | os.PathLike[str], name: str = "arrow") -> None:
        super().__init__(root, name, Capabilities(form="arrow", order="time", codec="ipc", mixes=True))
        self._maps = _Maps()

    def write(self, layout: TableLayout, parts: Sequence[Part]) -> list[Written]:
        """Write each part as one file; all are durable on return.

        Raises:
            CapacityError: The device is full; none of the parts is kept.
            InvalidInputError: A part does not have the layout's columns, or holds values no tier could keep.
        """
        files = []
        for part in parts:
            table = _in_batches(unify_dictionaries(_without_views(stored_table(layout, part))))
            check_values(table)
            facts = FileFacts.of(layout, part.partition, is_mixed=part.is_mixed, origin=part.origin)
            table = table.replace_schema_metadata(facts.encode())
            files.append((part.location + SUFFIX, partial(_encode, table)))
        return self._files.write(files, workers=_WRITERS)

    def read(
        self, layout: TableLayout, copy: Copy, partition: Partition, selection: Selection = EVERYTHING
    ) -> pa.Table:
        """Return the rows of a copy in time order, as slices of its map, hidden columns filled in.

        Rows outside the time range are left out; symbols are not looked at.

        Raises:
            IntegrityError: The bytes are missing or are not the bytes that were written.
        """
        names = wanted_columns(layout, selection)
        is_alone = copy.sharers == 1 or selection.whole_file
        path, signature = self._verified(copy)
        with self._verifier.reading(copy.location):
            mapped = self._maps.open(path, signature, copy.location)
        start, stop = mapped.window(layout.time, selection.time)
        table = mapped.table.slice(start, stop - start)
        stored = set(table.column_names)
        columns = []
        for name in names:
            field = layout.schema.field(name)
            if name in stored:
                column = with_values(table.column(name), value_type(field.type))
                columns.append(shift_seq(column, copy.seq_base) if name == SEQ else column)
            else:
                first = copy.seq_base + start
                columns.append(fill_hidden(name, field.type, partition, first, stop - start, copy.location))
        schema = pa.schema([layout.schema.field(name) for name in names])
        found = pa.Table.from_arrays(columns, schema=schema) if names else table.select([])
        if is_alone:
            return found
        kept = pc.indices_nonzero(_belongs(table.column(ASSET_CLASS), partition))
        return found.take(kept) if names else table.slice(0, len(kept)).select([])

    def delete(self, location: str) -> None:
        """Delete a copy's bytes; deleting what is not there is no error."""
        self._maps.drop(self._files.path(location))
        super().delete(location)

    def close(self) -> None:
        """Let go of the maps; tables handed out keep theirs."""
        self._maps.clear()


def _belongs(classes: pa.ChunkedArray, partition: Partition) -> pa.ChunkedArray:
    """Return which rows of a mixed copy belong to a partition."""
    if partition.asset_class is None:
        return pc.is_null(classes)
    kind = value_type(classes.type)
    if kinds.is_dictionary(classes.type):
        classes = pa.chunked_array([_decoded(chunk, partition.asset_class) for chunk in classes.chunks], pa.bool_())
        return pc.fill_null(classes, False)
    return pc.fill_null(pc.equal(classes, pa.scalar(partition.asset_class, kind)), False)


def _decoded(chunk: pa.DictionaryArray, asset_class: str) -> pa.Array:
    """Return which codes stand for an asset class."""
    matches = pc.equal(chunk.dictionary, pa.scalar(asset_class, chunk.dictionary.type))
    return matches.take(chunk.indices)


def _encode(table: pa.Table, file: HashingFile) -> None:
    with ipc.new_file(pa.PythonFile(file, "w"), table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)


def _without_views(table: pa.Table) -> pa.Table:
    """Cast string and binary views, as a file would repeat their whole data in every batch."""
    for index, column in enumerate(table.columns):
        values = value_type(column.type)
        if kinds.is_string_view(values) or kinds.is_binary_view(values):
            table = table.set_column(index, table.column_names[index], with_values(column, physical_type(values)))
    return table


def _in_batches(table: pa.Table) -> pa.Table:
    """Join chunks where there are many small ones; else the rows are written from where they are."""
    chunks = max((column.num_chunks for column in table.columns), default=0)
    return table.combine_chunks() if chunks > 8 + 2 * table.num_rows // _BATCH_ROWS else table


class _Mapped:
    """A mapped file and, once asked for, its time column as numbers."""

    def __init__(self, table: pa.Table, signature: Signature) -> None:
        self.table = table
        self.signature = signature
        self._times: list[np.ndarray] | None = None

    def window(self, time: str, wanted: TimeRange) -> tuple[int, int]:
        """Return the first row of the range and the first row after it."""
        rows = self.table.num_rows
        if wanted.is_everything:
            return 0, rows
        column = self.table.column(time)
        if column.null_count or not (kinds.is_timestamp(column.type) or kinds.is_date(column.type)):
            return 0, rows
        if self._times is None:
            self._times = [_as_numbers(chunk) for chunk in column.chunks if len(chunk)]
        unit = _unit_ns(column.type)
        start = 0 if wanted.start_ns is None else _first_from(self._times, -(-wanted.start_ns // unit))
        stop = rows if wanted.end_ns is None else _first_from(self._times, -(-wanted.end_ns // unit))
        return start, max(start, stop)


def _unit_ns(type_: pa.DataType) -> int:
    if kinds.is_timestamp(type_):
        return _UNIT_NS[type_.unit]
    return _DAY_NS if kinds.is_date32(type_) else _UNIT_NS["ms"]


def _as_numbers(chunk: pa.Array) -> np.ndarray:
    width = np.int32 if kinds.is_date32(chunk.type) else np.int64
    return np.frombuffer(chunk.buffers()[1], width, len(chunk), chunk.offset * np.dtype(width).itemsize)


def _first_from(chunks: list[np.ndarray], bound: int) -> int:
    """Return the row of the first value at or after `bound` in sorted chunks."""
    passed = 0
    for chunk in chunks:
        if chunk[-1] >= bound:
            return passed + int(np.searchsorted(chunk, chunk.dtype.type(max(bound, np.iinfo(chunk.dtype).min))))
        passed += len(chunk)
    return passed


class _Maps:
    """The maps of one store, the most recently used of them; a map of a file that changed is never handed out."""

    def __init__(self) -> None:
        self._maps: OrderedDict[str, _Mapped] = OrderedDict()
        self._lock = threading.Lock()
        self._opened = 0

    def open(self, path: str, signature: Signature, location: str) -> _Mapped:
        """Return the map of a file that was just verified under `signature`."""
        with self._lock:
            known = self._maps.get(path)
            if known is not None and known.signature == signature:
                self._maps.move_to_end(path)
                return known
        # Buffers keep the map alive by themselves; closing gives the file descriptor back.
        with pa.memory_map(path) as source:
            mapped = _Mapped(ipc.open_file(source).read_all(), signature)
        if Signature.of(os.stat(path)) != signature:  # noqa: PTH116
            raise IntegrityError(f"{location} changed while it was opened.", location=location)
        with self._lock:
            self._maps[path] = mapped
            self._maps.move_to_end(path)
            self._trim()
        return mapped

    def _trim(self) -> None:
        """Let go of the least used maps, and now and then of files that are gone: maps keep their disk space."""
        self._opened += 1
        if self._opened % 64 == 0:
            for path in [path for path in self._maps if not Path(path).exists()]:
                del self._maps[path]
        while len(self._maps) > _MAX_MAPS:
            self._maps.popitem(last=False)

    def drop(self, path: str) -> None:
        """Let go of one map."""
        with self._lock:
            self._maps.pop(path, None)

    def clear(self) -> None:
        """Let go of all maps."""
        with self._lock:
            self._maps.clear()
