"""Other engines that read published tables, in a process of their own, as their versions differ from the store's.

Each line of the input asks for one table: `{"engine": ..., "place": ..., "columns": [...], "answer": path}`; the
answer is an Arrow file at that path, and a line that says `ok` or what went wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc


def main() -> None:
    """Answer until the input ends."""
    readers = {"duckdb": DuckDb(), "daft": Daft()}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            table = readers[asked["engine"]].read(asked["place"], asked["columns"])
            with ipc.new_file(asked["answer"], table.schema) as file:
                file.write_table(table)
            print("ok", flush=True)
        except Exception as error:  # noqa: BLE001 - whoever asked says it
            print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)


class DuckDb:
    """DuckDB with its own Iceberg extension."""

    def __init__(self) -> None:
        self._connection: Any = None

    def read(self, place: str, columns: list[str]) -> pa.Table:
        """Read the table whose metadata is at `place`."""
        if self._connection is None:
            self._connection = _connect()
        listed = ", ".join(f'"{name}"' for name in columns)
        place = place.replace("'", "''")
        return self._connection.execute(f"SELECT {listed} FROM iceberg_scan('{place}')").to_arrow_table()


def _connect() -> Any:
    import duckdb
    import duckdb_extension_avro
    import duckdb_extension_iceberg

    off = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    connection = duckdb.connect(config=off)
    for module in (duckdb_extension_avro, duckdb_extension_iceberg):
        (file,) = Path(module.__file__).parent.rglob("*.duckdb_extension")
        connection.execute(f"LOAD '{file}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class Daft:
    """Daft, which lists files with pyiceberg and reads them itself."""

    def read(self, place: str, columns: list[str]) -> pa.Table:
        """Read the table whose metadata is at `place`."""
        import daft
        from pyiceberg.table import StaticTable

        table = StaticTable.from_metadata(place)
        if table.current_snapshot() is None:
            return pa.table({name: pa.nulls(0) for name in columns})
        return daft.read_iceberg(table).select(*columns).to_arrow()


if __name__ == "__main__":
    main()
