"""What a file says about itself, so that it can be understood without the catalog.

Stored under the key `quantstore` in the metadata of Arrow and Parquet files, as JSON:
`{"format": 1, "schema": ..., "time": ..., "symbol": ..., "partition": {"trade_date": ..., "asset_class": ...},
"mixed": true, "categories": {column: ...}, "origin": {...}}`, where the schema and the categories are base64 of Arrow
IPC streams, and the origin tells how the file came to be. In a mixed file the column `asset_class` says which partition
of the day a row belongs to.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from quantstore.core.segment import Partition
from quantstore.errors import IntegrityError, UnsupportedError
from quantstore.stores.base import TableLayout

KEY = b"quantstore"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says about itself.

    Attributes:
        schema: The logical schema of the table.
        time: Name of the time column.
        symbol: Name of the symbol column, or None.
        partition: The partition all rows belong to.
        is_mixed: Whether rows belong to the partitions that their asset classes say.
        origin: How the file came to be, see `quantstore.write.origin`; None for a file that does not say.
        categories: Values of each dictionary column, in order, where the file's format does not keep them.
    """

    schema: pa.Schema
    time: str
    symbol: str | None
    partition: Partition
    categories: Mapping[str, pa.Array] = field(default_factory=dict)
    is_mixed: bool = False
    origin: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        layout: TableLayout,
        partition: Partition,
        categories: Mapping[str, pa.Array] | None = None,
        *,
        is_mixed: bool = False,
        origin: Mapping[str, Any] | None = None,
    ) -> FileFacts:
        """Return the facts of a file of a table."""
        return cls(layout.schema, layout.time, layout.symbol, partition, categories or {}, is_mixed, origin)

    def encode(self) -> dict[bytes, bytes]:
        """Return the metadata entry."""
        facts = {
            "format": FORMAT,
            "schema": _text(self.schema.serialize()),
            "time": self.time,
            "symbol": self.symbol,
            "partition": {
                "trade_date": self.partition.trade_date.isoformat(),
                "asset_class": self.partition.asset_class,
            },
            "mixed": self.is_mixed,
            "categories": {name: _text(_pack(values)) for name, values in self.categories.items()},
        } | ({} if self.origin is None else {"origin": dict(self.origin)})
        return {KEY: json.dumps(facts, separators=(",", ":")).encode()}


def decode_facts(metadata: Mapping[bytes, bytes] | None, location: str) -> FileFacts:
    """Read the facts out of a file's metadata.

    Raises:
        IntegrityError: The file has none.
        UnsupportedError: A newer version of quantstore wrote them.
    """
    try:
        facts = json.loads((metadata or {})[KEY])
        if facts["format"] != FORMAT:
            raise UnsupportedError(
                f"{location} has format {facts['format']}; this version reads format {FORMAT}. Upgrade quantstore.",
                location=location,
            )
        return FileFacts(
            schema=ipc.read_schema(pa.py_buffer(base64.b64decode(facts["schema"]))),
            time=facts["time"],
            symbol=facts["symbol"],
            partition=_partition(facts["partition"]),
            categories={name: _unpack(text) for name, text in facts["categories"].items()},
            is_mixed=facts.get("mixed", False),
            origin=facts.get("origin"),
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise IntegrityError(f"{location} does not say what it holds: {error}.", location=location) from error


def _partition(stored: dict[str, Any]) -> Partition:
    return Partition(date.fromisoformat(stored["trade_date"]), stored["asset_class"])


def _text(content: Any) -> str:
    return base64.b64encode(content).decode("ascii")


def _pack(values: pa.Array) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([values], names=["values"])
    with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _unpack(text: str) -> pa.Array:
    batches = list(ipc.open_stream(pa.py_buffer(base64.b64decode(text))))
    return batches[0].column(0)
