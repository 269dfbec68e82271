"""CSV files as Arrow batches, in bounded memory and with types that hold for every row.

A streaming CSV reader fixes its types by the first block, and a price of `101` there makes `101.5` an error a gigabyte
later. So files are read twice: once to find types, widened where a value does not fit, and once to hand out rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from quantstore.errors import InvalidInputError

BLOCK_BYTES = 1 * 2**20
_DELIMITERS = ",;\t|"
_MISFIT = re.compile(r"In CSV column #(\d+): .*CSV conversion error to")
_NS = pa.timestamp("ns")
_NS_UTC = pa.timestamp("ns", "UTC")
_WIDER = {
    pa.null(): pa.int64(),
    pa.int64(): pa.float64(),
    pa.float64(): _NS,
    pa.date32(): _NS,
    _NS: _NS_UTC,
}


@dataclass(frozen=True, slots=True)
class CsvTypes:
    """What is known of the columns before a file is read, by name in lower case.

    Attributes:
        fixed: Types of columns, those of a table the rows will go to.
        text: Columns that are text even where every value looks like a number (`00700`).
    """

    fixed: Mapping[str, pa.DataType] = field(default_factory=dict)
    text: frozenset[str] = frozenset()

    def of(self, name: str, found: pa.DataType) -> pa.DataType:
        """Return the type to begin with for a column whose first block looks like `found`."""
        key = name.casefold()
        if key in self.fixed:
            return self.fixed[key]
        if key in self.text:
            return pa.string()
        return pa.timestamp("ns", found.tz) if pa.types.is_timestamp(found) else found


def types_of_table(schema: pa.Schema, text: Iterable[str]) -> CsvTypes:
    """Return the types in which CSV columns are read for a table with `schema`.

    Stamps are left to what the file says, which may bring a zone or not; nested columns do not come from CSV.
    """
    fixed = {}
    for one in schema:
        kind = one.type.value_type if pa.types.is_dictionary(one.type) else one.type
        if pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_string(kind):
            fixed[one.name.casefold()] = kind
    readable = {
        name: kind for name, kind in fixed.items() if not (pa.types.is_timestamp(kind) or pa.types.is_duration(kind))
    }
    return CsvTypes(readable, frozenset(name.casefold() for name in text))


def csv_schema(path: Path, types: CsvTypes) -> pa.Schema:
    """Return names and types of the columns of a CSV file, found by reading all of it.

    Raises:
        InvalidInputError: It is no CSV file, or a row has too few or too many fields.
    """
    try:
        with _reader(path, None) as first:
            start = first.schema
        if len(set(start.names)) != len(start.names):
            raise InvalidInputError(f"{path}: column names repeat: {', '.join(start.names)}.")
        schema = pa.schema([pa.field(one.name, types.of(one.name, one.type)) for one in start])
        while (misfit := _misfit(path, schema)) is not None:
            kind = _WIDER.get(schema.field(misfit).type, pa.string())
            schema = schema.set(misfit, pa.field(schema.field(misfit).name, kind))
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as CSV: {error}") from error
    return pa.schema(
        [pa.field(one.name, pa.string() if pa.types.is_null(one.type) else one.type) for one in schema],
    )


def csv_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a CSV file in the types of `schema`; an empty field is null.

    Raises:
        InvalidInputError: A value is not of its column's type.
    """
    try:
        with _reader(path, schema) as reader:
            for batch in reader:
                columns = [_emptied(column) for column in batch.columns]
                yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    except pa.ArrowException as error:
        raise InvalidInputError(f"{path} cannot be read as CSV: {error}") from error


def _emptied(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)


def _misfit(path: Path, schema: pa.Schema) -> int | None:
    """Return the position of the first column with a value that is not of its type, or None."""
    try:
        with _reader(path, schema) as reader:
            for _ in reader:
                pass
    except pa.ArrowInvalid as error:
        found = _MISFIT.search(str(error))
        if found is None or pa.types.is_string(schema.field(int(found.group(1))).type):
            raise
        return int(found.group(1))
    return None


def _reader(path: Path, schema: pa.Schema | None) -> pa_csv.CSVStreamingReader:
    types = None if schema is None else {one.name: one.type for one in schema}
    return pa_csv.open_csv(
        pa.input_stream(str(path)),  # decompresses by the file's ending
        read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(column_types=types),
    )


def _delimiter(path: Path) -> str:
    """Return the delimiter that the first line has most of."""
    with pa.input_stream(str(path)) as stream:
        header = stream.read(64 * 1024).split(b"\n", 1)[0].decode("utf-8", "replace")
    return max(_DELIMITERS, key=header.count)
