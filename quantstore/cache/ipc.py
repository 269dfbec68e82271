"""Arrow tables as immutable bytes and back: nothing that is done to a table made of them can reach the bytes."""

from __future__ import annotations

import pyarrow as pa

_MANY_CHUNKS = 8


def frozen(table: pa.Table) -> bytes | None:
    """Return a table as a stream of Arrow messages; None where the format does not keep it as it is."""
    if not table.num_columns or (not table.num_rows and _has_dictionary(table.schema)):
        return None  # categories are written with rows
    if max(column.num_chunks for column in table.columns) > _MANY_CHUNKS and not _has_dictionary(table.schema):
        table = table.combine_chunks()
    sink = pa.BufferOutputStream()
    try:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None
    content: bytes = sink.getvalue().to_pybytes()
    return content if thawed(content).schema.equals(table.schema, check_metadata=True) else None


def thawed(content: bytes) -> pa.Table:
    """Return the table whose bytes these are, without copying them; its buffers cannot be written to.

    Raises:
        pa.ArrowInvalid: They are none.
    """
    return pa.ipc.open_stream(pa.py_buffer(content)).read_all()


def _has_dictionary(schema: pa.Schema) -> bool:
    return any("dictionary" in str(field.type) for field in schema)
