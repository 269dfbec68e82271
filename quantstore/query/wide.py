"""One column of a table as a frame with a row for each time and a column for each symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantstore.core.render import counted
from quantstore.errors import InvalidInputError
from quantstore.query.convert import check_kind, convert
from quantstore.query.memory import SizeLimit
from quantstore.query.request import ReadRequest
from quantstore.rows.form import TableForm, known_form
from quantstore.rows.times import Int64s, as_numpy, time_ns
from quantstore.rows.wide import value_column

if TYPE_CHECKING:
    import pandas as pd

    from quantstore.catalog.records import TableRecord
    from quantstore.query.reader import Reader

KINDS = ("pandas", "polars", "arrow")


@dataclass(frozen=True, slots=True)
class _Cells:
    """Cells in order of (symbol, time).

    Attributes:
        times: The distinct times, in order.
        labels: The symbols, in the order of columns.
        flat: A value for each symbol and time, null where there is no row.
    """

    times: pa.ChunkedArray
    labels: tuple[str, ...]
    flat: pa.Array

    @property
    def rows(self) -> int:
        """Number of distinct times."""
        return len(self.times)

    def column(self, at: int) -> pa.Array:
        """Return the cells of a symbol, a view."""
        return self.flat.slice(at * self.rows, self.rows)


def read_wide(
    reader: Reader,
    record: TableRecord,
    column: str,
    options: Mapping[str, Any],
    *,
    to: str,
    dtype_backend: str | None,
    max_bytes: int | str | None,
) -> Any:
    """Read one column of a table as a wide frame, see `quantstore.table.Table.wide`."""
    if to not in KINDS:
        raise InvalidInputError(f"to={to!r} is not one of {', '.join(KINDS)}.")
    check_kind(to, dtype_backend)
    form = known_form(record)
    value = value_column(form.schema, column, form.spec)
    wanted = (form.spec.time, str(form.spec.symbol), value)
    request = ReadRequest(record.name, columns=wanted, to="arrow", max_bytes=max_bytes, **options)
    result = _widened(reader.read(request), form, value, to, dtype_backend, max_bytes)
    if to == "pandas" and reader.last is not None:
        result.attrs["quantstore"] = reader.last.summary()
    return result


def _widened(
    table: pa.Table, form: TableForm, value: str, to: str, dtype_backend: str | None, max_bytes: int | str | None
) -> Any:
    """Return time, symbol and value of rows in time order as a wide frame, as one that was written wide was."""
    note = form.frame.get("wide") or {}
    note = note if note.get("value") == value else {}
    cells = _cells(table, form, value, note.get("labels", ()), SizeLimit(max_bytes))
    if to == "pandas":
        return _to_pandas(cells, form, value, dtype_backend, note)
    return convert(_to_arrow(cells, form.spec.time, note.get("time_at") or 0), to)


def _cells(table: pa.Table, form: TableForm, value: str, written: Sequence[str], limit: SizeLimit) -> _Cells:
    spec = form.spec
    assert spec.symbol is not None  # noqa: S101 - tables without one are refused before they are read
    time, values = table.column(spec.time), table.column(value)
    stamps = time_ns(time, spec.name)
    is_new = np.append(np.ones(min(1, len(stamps)), np.bool_), stamps[1:] != stamps[:-1])
    firsts = np.flatnonzero(is_new)
    at = np.cumsum(is_new) - 1
    codes, labels = _ranked(table.column(spec.symbol), written, spec.name)
    limit.check(len(firsts) * len(labels) * (8 + _width(values.type)))
    places = codes * len(firsts) + at
    taken = np.full(len(firsts) * len(labels), -1, np.int64)
    taken[places] = np.arange(len(places))
    _refuse_twice(taken[places], table, form, value)
    sources = pa.array(taken, mask=taken < 0)
    flat = values.combine_chunks().take(sources) if len(values) else pa.nulls(0, values.type)
    return _Cells(time.take(pa.array(firsts)), labels, _one(flat))


def _one(values: Any) -> pa.Array:
    return pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values


def _width(kind: pa.DataType) -> int:
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:
        return 16


def _ranked(column: pa.ChunkedArray, written: Sequence[str], table: str) -> tuple[Int64s, tuple[str, ...]]:
    """Return each row's column number and the columns: those of the frame as written, then all others by name."""
    if column.null_count:
        raise InvalidInputError(
            f"Table {table!r} has {counted(column.null_count, 'row')} without a symbol, so no column to stand "
            "in; name symbols=, or read the table as it is.",
            table=table,
        )
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.dictionary_encode().unify_dictionaries()
    if encoded.num_chunks == 0:
        return np.zeros(0, np.int64), ()
    found: list[str] = encoded.chunk(0).dictionary.to_pylist()
    present = set(found)
    known = [label for label in written if label in present]
    labels = known + sorted(present.difference(known))
    number = {label: at for at, label in enumerate(labels)}
    ranks = np.array([number[label] for label in found], np.int64)
    indices = pa.chunked_array([chunk.indices for chunk in encoded.chunks])
    return ranks[np.asarray(as_numpy(indices), np.int64)], tuple(labels)


def _refuse_twice(taken: Int64s, table: pa.Table, form: TableForm, value: str) -> None:
    """Refuse rows of which another stands in the same cell."""
    lost = np.flatnonzero(taken != np.arange(len(taken)))
    if len(lost) == 0:
        return
    spec = form.spec
    row = int(lost[0])
    time = table.column(spec.time)[row].cast(pa.string()).as_py()
    symbol = table.column(spec.symbol)[row].as_py()
    raise InvalidInputError(
        f"Table {spec.name!r} has {counted(len(lost), 'row')} with time and symbol of another (such as {spec.time} "
        f"{time}, {spec.symbol} {symbol!r}), and a cell of a wide frame holds one {value!r}; aggregate them in SQL "
        f"first, such as last({value}), or correct them with mode='upsert'.",
        table=spec.name,
        symbol=symbol,
        time=time,
    )


def _to_arrow(cells: _Cells, time: str, time_at: int) -> pa.Table:
    names: list[str] = list(cells.labels)
    columns: list[Any] = [cells.column(at) for at in range(len(names))]
    if time in names:
        raise InvalidInputError(
            f"The symbol {time!r} is called like the time column, and a frame holds each name once; ask for pandas, "
            "where time is the index."
        )
    names.insert(time_at, time)
    columns.insert(time_at, cells.times)
    return pa.table(columns, names=names)


def _to_pandas(
    cells: _Cells, form: TableForm, value: str, dtype_backend: str | None, note: Mapping[str, Any]
) -> pd.DataFrame:
    import pandas as pd

    spec, dtypes = form.spec, form.frame.get("dtypes", {})
    is_index = note.get("time_at") is None
    name = note["index_name"] if note else spec.time
    known = {one: dtypes[one] for one in (spec.time, value) if one in dtypes}
    restored = {"dtypes": known, "index": [spec.time], "index_names": [name], "freq": note.get("freq")}
    times = convert(
        pa.table({spec.time: cells.times}), "pandas", dtype_backend, restored if is_index else {"dtypes": known}
    )
    index = times.index
    columns = pd.Index(cells.labels, name=note["columns_name"] if note else spec.symbol)
    column = convert(pa.table({value: cells.flat}), "pandas", dtype_backend, {"dtypes": known})[value]
    if isinstance(column.dtype, np.dtype):
        grid = column.to_numpy().reshape(len(columns), cells.rows).T
        result = pd.DataFrame(grid, index=index, columns=columns)
    else:
        whole = column.array
        parts = {at: whole[at * cells.rows : (at + 1) * cells.rows] for at in range(len(columns))}
        result = pd.DataFrame(parts, index=index)
        result.columns = columns
    if not is_index:
        at = min(note["time_at"], len(columns))
        result = pd.concat([result.iloc[:, :at], times[[spec.time]], result.iloc[:, at:]], axis=1)
    return result
