"""Looks at published tables as other engines do, and compares what they see with the store's cold rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import ipc

COLUMNS = ("id", "ts", "__ns_ts", "symbol", "price", "size", "trade_date", "asset_class")
DAY = pd.Timestamp("2026-02-26", tz="UTC")
WANTED = ("duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5", "daft>=0.7", "tqdm")


def rows(first: int, count: int, **columns: Any) -> pa.Table:
    """Return rows with ids from `first` on, spread over four days and two asset classes; `columns` are added."""
    ids = np.arange(first, first + count)
    frame = {
        "ts": pa.array(DAY.value + (ids * 7_919_000_000_001) % (4 * 86_400 * 10**9), pa.timestamp("ns", "UTC")),
        "symbol": pa.array(np.array(["AAPL", "EURUSD", None], object)[ids % 3], pa.string()),
        "id": pa.array(ids, pa.int64()),
        "price": pa.array(ids / 8.0, pa.float64()),
        "size": pa.array(ids % 100, pa.int32(), mask=ids % 7 == 0),
        "asset_class": pa.array(np.array(["EQUITY", "FX"], object)[ids % 2], pa.string()),
    }
    return pa.table(frame | columns)


def cold_rows(store: Any, table: str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[Any, ...]]:
    """Return the rows that the store has in cold, as other engines shall see them, sorted."""
    names = [name for name in columns if not name.startswith("__ns_")]
    found = store.read(table, tiers="cold", columns=names, to="arrow", missing="ignore", max_bytes=None)
    return comparable(found, columns)


def comparable(table: pa.Table, columns: tuple[str, ...] = COLUMNS) -> list[tuple[Any, ...]]:
    """Return rows as sorted tuples, stamps as microseconds since the epoch beside what is left of nanoseconds."""
    values = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            unit = {"ns": 1000, "us": 1}[column.type.unit]
            numbers = column.cast(pa.int64())
            whole = [None if one is None else one // unit for one in numbers.to_pylist()]
            if unit == 1000:
                values[f"__ns_{name}"] = [None if one is None else one % unit for one in numbers.to_pylist()]
            values[name] = whole
        else:
            values[name] = column.to_pylist()
    return sorted(zip(*(values[name] for name in columns), strict=True), key=repr)


def seen_by_pyiceberg(store: Any, table: str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[Any, ...]]:
    """Return the rows that pyiceberg finds through the Iceberg catalog, sorted."""
    with iceberg_catalog(store) as catalog:
        found = catalog.load_table(("quantstore", table))
        return comparable(found.scan(selected_fields=columns).to_arrow(), columns)


def iceberg_catalog(store: Any) -> Any:
    """Open the Iceberg catalog beside a store's own, as a reader does."""
    from pyiceberg.catalog.sql import SqlCatalog

    path = store.metadata_catalog.path.absolute().parent / "iceberg" / "catalog.sqlite"
    return _Closing("quantstore", SqlCatalog("quantstore", uri=f"sqlite:///{path}"))


class _Closing:
    def __init__(self, name: str, catalog: Any) -> None:
        self._catalog = catalog

    def __enter__(self) -> Any:
        return self._catalog

    def __exit__(self, *_: object) -> None:
        self._catalog.engine.dispose()


class Engines:
    """A process with other engines in it.

    Args:
        packages: Folder with their packages.
        scratch: Folder for answers.
    """

    def __init__(self, packages: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._asked = 0
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("engines.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": str(packages), "DO_NOT_TRACK": "true", "DAFT_ANALYTICS_ENABLED": "0"},
        )

    def read(self, engine: str, place: str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[Any, ...]]:
        """Return the rows an engine finds, sorted."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked += 1
        answer = self._scratch / f"answer-{self._asked}.arrow"
        asked = {"engine": engine, "place": place, "columns": list(columns), "answer": str(answer)}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        told = self._process.stdout.readline().strip()
        assert told == "ok", f"{engine}: {told}"
        found = comparable(ipc.open_file(pa.py_buffer(answer.read_bytes())).read_all(), columns)
        answer.unlink()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def install(folder: Path) -> str | None:
    """Install the engines into a folder of their own; return why it did not work, or None."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *WANTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr[-500:]
