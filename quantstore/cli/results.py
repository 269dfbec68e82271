"""The answer to a query as a text table, CSV, JSON, Parquet or Arrow, on standard output or in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from quantstore.cli.output import as_json, escaped, text_table
from quantstore.core.render import human_count
from quantstore.errors import AccessDeniedError, InvalidInputError

KINDS = ("table", "csv", "json", "parquet", "arrow")
SHOWN_ROWS = 40
_ENDINGS = {
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "table",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an answer goes.

    Attributes:
        kind: One of `KINDS`.
        path: A file, or None for standard output.
    """

    kind: str
    path: Path | None = None

    @classmethod
    def of(cls, kind: str | None, out: str | None) -> Destination:
        """Return the destination that `--to` and `--out` mean; the ending of the file tells the kind.

        Raises:
            InvalidInputError: The kind is neither given nor told by the file, or is binary and would go to a terminal.
        """
        path = None if out is None else Path(out).expanduser()
        if kind is None:
            kind = "table" if path is None else _ENDINGS.get(path.suffix.lower())
        if kind is None:
            raise InvalidInputError(
                f"The ending of {out!r} does not tell the format; add --to, one of {', '.join(KINDS)}."
            )
        if path is None and kind in ("parquet", "arrow") and sys.stdout.isatty():
            raise InvalidInputError(f"{kind} is not for terminals; add --out FILE or send the output elsewhere.")
        return cls(kind, path)


def deliver(reader: pa.RecordBatchReader, destination: Destination) -> int:
    """Write an answer to its destination and return its rows; a file appears whole or not at all.

    Raises:
        AccessDeniedError: The file cannot be written.
        InvalidInputError: The format cannot hold a column.
    """
    with _opened(destination.path) as sink:
        try:
            return _WRITERS[destination.kind](reader, sink)
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise InvalidInputError(f"{destination.kind} cannot hold this result: {error}") from error


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield _standard_output()
        return
    is_special = path.exists() and not path.is_file()  # a pipe or device, which must stay what it is
    part = path if is_special else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as sink:
            yield sink
        if not is_special:
            part.replace(path)
    except (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise AccessDeniedError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        if not is_special:
            part.unlink(missing_ok=True)


class _Terminal:
    """A terminal that text goes to without steering it."""

    def write(self, data: bytes) -> int:
        """Write lines of text, other control characters written out."""
        lines = bytes(data).decode("utf-8", "replace").split("\n")
        sys.stdout.write("\n".join(escaped(line) for line in lines))
        return len(data)

    def flush(self) -> None:
        """Do what a file does."""
        sys.stdout.flush()


def _standard_output() -> Any:
    sys.stdout.flush()
    return _Terminal() if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer") else sys.stdout.buffer


def _write_table(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    """Write the first and last rows under their headers."""
    table = reader.read_all()
    rows = table.num_rows
    half = SHOWN_ROWS // 2
    cut = rows > SHOWN_ROWS
    shown = pa.concat_tables([table.slice(0, half), table.slice(rows - half)]) if cut else table
    columns = [_texts(column) for column in shown.columns]
    lines = [list(row) for row in zip(*columns, strict=True)]
    if cut:
        lines.insert(half, ["…"] * len(columns))
    numeric = {at for at, one in enumerate(table.schema) if pa.types.is_integer(one.type) or _is_real(one.type)}
    text = text_table(table.column_names, lines, numeric)
    note = f"\n({human_count(rows)} rows, {SHOWN_ROWS} shown; --to csv gives all)" if cut else ""
    sink.write(f"{text}{note}\n".encode(errors="backslashreplace"))
    return int(rows)


def _write_csv(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    from pyarrow import csv as pa_csv

    rows = 0
    schema = pa.schema([pa.field(one.name, _csv_type(one.type)) for one in reader.schema])
    sink.write(_header(schema.names))
    options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in reader:
        columns = [_csv_column(column, kind) for column, kind in zip(batch.columns, schema.types, strict=True)]
        made = pa.BufferOutputStream()
        pa_csv.write_csv(pa.Table.from_arrays(columns, schema=schema), made, options)
        sink.write(made.getvalue().to_pybytes())
        rows += batch.num_rows
    return rows


def _header(names: list[str]) -> bytes:
    return (",".join('"' + name.replace('"', '""') + '"' for name in names) + "\n").encode()


def _write_json(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    """Write a list of one object per row, each on a line of its own; what is no JSON number is text or null."""
    rows = 0
    names = reader.schema.names
    for batch in reader:
        columns = [_json_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            sink.write(
                f"{'[' if rows == 0 else ','}\n{as_json(dict(zip(names, values, strict=True)), indent=None)}".encode()
            )
            rows += 1
    sink.write(b"\n]\n" if rows else b"[]\n")
    return rows


def _write_parquet(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(pa.PythonFile(sink, "w"), reader.schema, compression="zstd") as writer:
        return _each(reader, writer.write_batch)


def _write_arrow(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    """Write the file form to files and the stream form to pipes."""
    make = pa.ipc.new_stream if sink is getattr(sys.stdout, "buffer", None) else pa.ipc.new_file
    with make(sink, reader.schema) as writer:
        return _each(reader, writer.write_batch)


_WRITERS: dict[str, Callable[[pa.RecordBatchReader, BinaryIO], int]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}


def _each(reader: pa.RecordBatchReader, write: Callable[[pa.RecordBatch], None]) -> int:
    rows = 0
    for batch in reader:
        write(batch)
        rows += batch.num_rows
    return rows


def _texts(column: pa.ChunkedArray) -> list[str]:
    kind = column.type
    if _is_real(kind):
        return ["" if value is None else f"{value:.10g}" for value in column.to_pylist()]
    values = _json_values(column)
    return [
        "" if value is None else value if isinstance(value, str) else as_json(value, indent=None) for value in values
    ]


def _json_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Return values that JSON can hold: stamps, dates and decimals as exact text, NaN and infinities as None."""
    kind = column.type
    if pa.types.is_floating(kind):
        return [None if value is None or value - value != 0 else value for value in column.to_pylist()]
    if pa.types.is_decimal(kind) and kind.scale == 0:  # what sums of integers are
        return [None if value is None else int(value) for value in column.to_pylist()]
    if (plain := _plain_type(kind)) != kind:
        column = column.cast(plain)
    return list(column.to_pylist()) if not pa.types.is_nested(kind) else [_finite(one) for one in column.to_pylist()]


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type whose Python values JSON can hold without loss."""
    t = pa.types
    if t.is_duration(kind):
        return pa.int64()
    if t.is_temporal(kind) or t.is_decimal(kind):
        return pa.string()
    if t.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return pa.large_list(_plain_type(kind.value_type))
    if t.is_struct(kind):
        return pa.struct([pa.field(one.name, _plain_type(one.type)) for one in kind])
    return kind


def _csv_type(kind: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_dictionary(kind):
        return _csv_type(kind.value_type)
    if t.is_nested(kind) or t.is_binary(kind) or t.is_large_binary(kind):
        return pa.string()
    return pa.int64() if t.is_duration(kind) else kind


def _csv_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_string(kind) and not pa.types.is_dictionary(column.type):
        values = _json_values(column)
        return pa.array(
            [
                None if one is None else one.hex() if isinstance(one, bytes) else as_json(one, indent=None)
                for one in values
            ],
            kind,
        )
    return column.cast(kind)


def _is_real(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind))
