"""Files named on the command line as one stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from quantstore.cli.csv_files import CsvTypes, csv_batches, csv_schema, types_of_table
from quantstore.errors import InvalidInputError

BATCH_ROWS = 65_536
_COMPRESSIONS = (".gz", ".bz2", ".zst")
_KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file, its columns, and how to read its rows."""

    path: Path
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]


def open_files(
    patterns: Sequence[str], *, known: pa.Schema | None = None, text: Iterable[str] = ()
) -> pa.RecordBatchReader:
    """Return the rows of all files, one file after the other, in bounded memory.

    Args:
        patterns: Paths or glob patterns (`**` goes into folders); the matches of a pattern are sorted by name. CSV
            (gzip, bzip2 or zstd too), Parquet, Arrow IPC or Feather, told by the ending.
        known: Schema of the table the rows go to, which tells the types of CSV columns.
        text: Columns of CSV files that are text whatever their values look like.

    Raises:
        InvalidInputError: A file is missing, of no known kind or damaged, or the files have different columns; named.
    """
    types = types_of_table(known or pa.schema([]), text)
    files = [_open(path, types) for path in find_files(patterns)]
    schema = _common_schema(files)
    return pa.RecordBatchReader.from_batches(schema, _batches(files, schema))


def find_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that paths and glob patterns mean, in the order given.

    Raises:
        InvalidInputError: A path does not exist or a pattern matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if has_magic(pattern) and not path.exists():
            matches = [Path(one) for one in sorted(glob(str(path), recursive=True)) if Path(one).is_file()]  # noqa: PTH207 - absolute patterns
            if not matches:
                raise InvalidInputError(f"No file matches {pattern!r}.")
            found += matches
        elif path.is_dir():
            raise InvalidInputError(
                f"{pattern!r} is a folder; name its files, such as '{pattern.rstrip('/')}/*.parquet'."
            )
        elif not path.exists():
            raise InvalidInputError(f"There is no file {pattern!r}.")
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _open(path: Path, types: CsvTypes) -> _File:
    plain = path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path
    kind = _KINDS.get(plain.suffix.lower())
    if kind == "csv":
        schema = csv_schema(path, types)
        return _File(path, schema, lambda: csv_batches(path, schema))
    if kind is None or plain is not path:
        raise InvalidInputError(
            f"{str(path)!r} has no ending known here; known are .csv and .tsv (.gz, .bz2, .zst too), .parquet, .arrow "
            "and .feather."
        )
    try:
        return _open_parquet(path) if kind == "parquet" else _open_ipc(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as {plain.suffix[1:].lower()}: {error}") from error


def _open_parquet(path: Path) -> _File:
    with pq.ParquetFile(path) as opened:
        schema = opened.schema_arrow

    def batches() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield from file.iter_batches(BATCH_ROWS)

    return _File(path, schema, batches)


def _open_ipc(path: Path) -> _File:
    """Open an Arrow file or stream; Feather is the file form under another name."""
    with path.open("rb") as raw:
        start = raw.read(6)
    if start.startswith(b"FEA1"):
        raise InvalidInputError(f"{path} is in the old first version of Feather; save it again with a current library.")
    is_file = start == b"ARROW1"
    with pa.memory_map(str(path)) as source:
        schema = (pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)).schema

    def batches() -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(path)) as mapped:
            if not is_file:
                yield from pa.ipc.open_stream(mapped)
                return
            reader = pa.ipc.open_file(mapped)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))

    return _File(path, schema, batches)


def _common_schema(files: Sequence[_File]) -> pa.Schema:
    """Return one schema that holds the rows of all files; the first file says names and order."""
    first = files[0]
    aligned = [_aligned(first, file) for file in files]
    try:
        common = pa.unify_schemas(aligned, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidInputError(
            f"The files have columns of different types ({error}); write them one at a time, or cast them first."
        ) from error
    return pa.schema([pa.field(one.name, one.type) for one in common])


def _aligned(first: _File, file: _File) -> pa.Schema:
    """Return the schema of `file` with the names and in the order of `first`."""
    by_fold = {one.name.casefold(): one.type for one in file.schema}
    wanted = {name.casefold(): name for name in first.schema.names}
    differing = [*(wanted.keys() - by_fold.keys()), *(by_fold.keys() - wanted.keys())]
    if differing or len(by_fold) != len(file.schema):
        names = ", ".join(map(repr, sorted(differing))) or "the same names twice"
        raise InvalidInputError(
            f"{first.path} and {file.path} have different columns: {names}. Write them to tables of their own."
        )
    return pa.schema([pa.field(name, by_fold[fold]) for fold, name in wanted.items()])


def _batches(files: Sequence[_File], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for file in files:
        at = {name.casefold(): position for position, name in enumerate(file.schema.names)}
        positions = [at[name.casefold()] for name in schema.names]
        try:
            for batch in file.batches():
                table = pa.Table.from_batches([batch]).select(positions).rename_columns(schema.names)
                yield from table.replace_schema_metadata(None).cast(schema).to_batches()
        except (pa.ArrowException, OSError) as error:
            raise InvalidInputError(f"{file.path} cannot be read: {error}") from error
