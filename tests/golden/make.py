"""Make a golden store with whatever quantstore is on the search path: `python make.py OUT_FOLDER`.

Writes `form-N.tar.xz`, a small store of the catalog form and file format that this release makes, and `form-N.json`,
the answers it gave: a digest of the rows of every table at every version. Stores of older forms are made by the code of
then: check the old commit out into a folder of its own (`git worktree add FOLDER COMMIT`) and run this very script with
`PYTHONPATH=FOLDER`. What a release cannot do yet is left out of its store.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

DAY_NS = 86_400 * 10**9
BASE = 1_700_000_000_123_456_789
SYMBOLS = ["AAPL", "BTC-USD", "EURUSD", "MSFT"]
CLASSES = ["EQUITY", "CRYPTO", "FX", "EQUITY"]


def every_type(first: int = 0) -> pa.Table:
    """Rows of two days in arrival order; stamps repeat and go back."""
    n = 24
    step = np.array([0, 0, 5, 3, 10**9, DAY_NS, 1, 1, 7, DAY_NS + 1, 2, 999] * 2) + first

    def with_nulls(values: Any, every: int = 5) -> list[Any]:
        return [None if at % every == 4 else value for at, value in enumerate(values)]

    def category(kind: pa.DataType, values: list[str], *, ordered: bool = False) -> pa.DictionaryArray:
        codes = pa.array(with_nulls([at % 3 for at in range(n)]), kind)
        return pa.DictionaryArray.from_arrays(codes, pa.array(values), ordered=ordered)

    ns = BASE + step
    texts = ["", "AAPL", "Ωmega", "日本", "\U0001f600", "a\u0000b", "  ", "null", "é", "x" * 300, "\U0010ffff", "b"]
    return pa.table(
        {
            "ts": pa.array(ns, pa.timestamp("ns", "UTC")),
            "naive": pa.array(with_nulls((ns - 2 * 10**18).tolist()), pa.timestamp("ns")),
            "new_york": pa.array(with_nulls(ns.tolist()), pa.timestamp("ns", "America/New_York")),
            "micro": pa.array(with_nulls((ns // 1000).tolist()), pa.timestamp("us")),
            "day": pa.array(with_nulls([dt.date(2023, 1, 1 + at) for at in range(n)]), pa.date32()),
            "price": pa.array(with_nulls([Decimal(at).scaleb(-6) for at in range(n)]), pa.decimal128(18, 6)),
            "ratio": pa.array([0.1, float("nan"), None, -0.0, 0.0, float("inf"), -1e308, 5e-324] * 3, pa.float64()),
            "size": pa.array(with_nulls(list(range(n))), pa.int64()),
            "big": pa.array(with_nulls([2**64 - 1 - at for at in range(n)]), pa.uint64()),
            "flag": pa.array(with_nulls([at % 2 == 0 for at in range(n)]), pa.bool_()),
            "text": pa.array(with_nulls(texts * 2), pa.string()),
            "venue": category(pa.int8(), ["N", "Q", "unused", "Z"]),
            "grade": category(pa.int32(), ["low", "mid", "high"], ordered=True),
            "blob": pa.array(with_nulls([bytes([at]) * at for at in range(n)]), pa.binary()),
            "levels": pa.array(
                with_nulls([[1.5, None, float(at)][: at % 4] for at in range(n)]), pa.list_(pa.float64())
            ),
            "pair": pa.array(
                with_nulls([{"a": at, "b": None if at % 3 else "x"} for at in range(n)]),
                pa.struct([("a", pa.int64()), ("b", pa.string())]),
            ),
        }
    )


def trades(first: int, count: int, days: int = 3) -> pa.Table:
    """Trades of four symbols of three asset classes; ids begin at `first`."""
    at = np.arange(first, first + count)
    return pa.table(
        {
            "ts": pa.array(BASE + (at % days) * DAY_NS + (at * 7919) % 3600 * 10**9, pa.timestamp("ns", "UTC")),
            "symbol": [SYMBOLS[one % 4] for one in at],
            "asset_class": [CLASSES[one % 4] for one in at],
            "id": pa.array(at, pa.int64()),
            "price": pa.array([None if one % 11 == 5 else float(one) / 8 for one in at], pa.float64()),
        }
    )


def digest(table: pa.Table) -> str:
    """Return a digest of names, types, categories and values in order, that needs nothing of quantstore."""
    hashed = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        hashed.update(json.dumps([name, str(column.type), _values(column)]).encode())
    return hashed.hexdigest()


def _values(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        merged = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        categories = merged.dictionary.to_pylist() if isinstance(merged, pa.DictionaryArray) else None
        return [categories if kind.ordered else None, _values(column.cast(kind.value_type))]
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_pylist()
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def answers(store: Any, oldest: int, newest: int) -> dict[str, dict[str, Any]]:
    """Return rows and digest of every table at the versions that can be read, `_seq` included."""
    found: dict[str, dict[str, Any]] = {}
    for version in range(oldest, newest + 1):
        for name in _tables_at(store, version):
            rows = _rows(store, name, version)
            if rows is not None:
                entry = {"rows": rows.num_rows, "digest": digest(rows)}
                if "symbol" in rows.column_names and version in {oldest, newest}:
                    sql = f'SELECT symbol, count(*) AS n, sum(id) AS ids FROM "{name}" GROUP BY symbol ORDER BY symbol'
                    entry["sql"] = digest(store.read(sql, to="arrow", as_of=version))
                found.setdefault(name, {})[str(version)] = entry
    return found


def _tables_at(store: Any, version: int) -> list[str]:
    with store.metadata_catalog.view(version) as view:
        return list(view.table_names())


def _rows(store: Any, name: str, version: int) -> pa.Table | None:
    """Return the rows of a table with their `_seq`; None where it has no columns yet."""
    with store.metadata_catalog.view(version) as view:
        record = view.table(name)
    if record is None or record.schema is None:
        return None
    whole = store.read(name, to="arrow", as_of=version)
    keys = store.read(f'SELECT _seq FROM "{name}" ORDER BY "{record.spec.time}", _seq', to="arrow", as_of=version)
    return whole.append_column("_seq", keys.column(0))


def fill(store: Any, place: Path) -> None:
    """Do everything that leaves something behind."""
    can = set(dir(store))
    store.write(every_type(), "types", "hot", write_id="types-1")
    store.write(trades(0, 120), "trades", "hot", key=["id"], time="ts", symbol="symbol")
    store.create("empty", time="at", symbol="name", grain="month")
    store.write(trades(0, 30).drop_columns(["symbol", "asset_class"]), "daily", "warm", asset_class="MACRO")
    limit = dt.datetime.fromtimestamp((BASE + DAY_NS) / 1e9, dt.UTC)
    store.migrate("types", "hot", "warm", where="size < 12")
    store.migrate("trades", "hot", "warm", before=limit)
    store.migrate("trades", "warm", "cold", where="symbol <> 'MSFT'")
    store.write(every_type(first=-2 * DAY_NS), "types", "cold", on_repeat="append")
    store.write(trades(60, 40), "trades", "cold", on_repeat="append")
    store.write(trades(200, 20, days=1), "trades", "hot", write_id="late")
    store.write(trades(500, 10), "gone", "warm")
    store.write(trades(600, 12), "gone", "hot", mode="overwrite")
    if "delete" in can:
        _correct(store)
    if "tag" in can:
        _mark(store)
    store.migrate("types", "cold", "hot")
    _warm_up(store, place)


def _correct(store: Any) -> None:
    changed = trades(4, 8).set_column(4, "price", pa.array([float(at) for at in range(8)]))
    store.write(changed, "trades", "hot", mode="upsert", key=["id"])
    store.write(trades(0, 4, days=1), "quiet", "warm")
    store.write(trades(0, 3, days=1), "quiet", "warm", mode="replace", where="id < 4")
    store.delete("trades", where="symbol = 'EURUSD' and id < 20")
    with store.transaction(write_id="both") as both:
        both.write(trades(700, 8), "trades", "hot")
        both.write(trades(700, 8), "quiet", "cold")
    wider = trades(800, 6).append_column("venue", pa.array(["N", None, "Q", "N", "Q", None]))
    store.write(wider, "trades", "hot")


def _mark(store: Any) -> None:
    store.tag("golden")
    store.tag("early", 5)
    for one in range(6):
        store.write(trades(900 + 5 * one, 5, days=1), "small", "warm")
    store.compact("small")
    store.table("daily").rename("macro")
    store.write(trades(0, 6, days=1), "dropped", "hot")
    store.table("dropped").drop()
    store.table("gone").restore(store.table("gone").versions()["version"].min())
    store.pin("trades", tier="hot", where="symbol = 'AAPL'")
    store.table("quiet").hold("golden")
    try:
        store.publish("trades")
    except Exception as error:  # noqa: BLE001 - an optional package may be missing
        print(f"not published: {error}", file=sys.stderr)
    store.expire(before=3)


def _warm_up(store: Any, place: Path) -> None:
    """Leave the heat of reads, and a superseded copy whose file is still there."""
    for _ in range(3):
        store.read("trades")
    store.migrate("daily" if "daily" in store.tables() else "macro", "warm", "cold")


def die(place: Path) -> None:
    """Begin a write and be killed when its file is there and nothing reaches it."""
    import quantstore as qs
    from quantstore.catalog import attempts

    attempts.LEASE_SECONDS = 1
    store = qs.open(place)
    store.write(trades(1000, 30), "gone", "warm")


def anonymous() -> None:
    """Let what is recorded of the machine say nothing of it."""
    import socket

    os.environ.update(USER="golden", LOGNAME="golden", QUANTSTORE_CACHE="off")
    socket.gethostname = lambda: "golden"
    from quantstore.core import process

    process.host_id = lambda: "golden"  # type: ignore[assignment]


def facts(place: Path) -> dict[str, Any]:
    """Return what SQLite says of the catalog, past any code of quantstore."""
    with closing(sqlite3.connect(place / "catalog.sqlite")) as database:

        def one(query: str) -> Any:
            return database.execute(query).fetchone()[0]

        oldest = database.execute("SELECT value FROM settings WHERE name = 'oldest_version'").fetchone()

        return {
            "form": one("SELECT max(number) FROM catalog_upgrades"),
            "oldest": max(1, int(oldest[0])) if oldest else 1,
            "newest": one("SELECT max(version) FROM versions"),
            "open_attempts": one("SELECT count(*) FROM attempts WHERE state = 'open'"),
            "superseded_copies": one("SELECT count(*) FROM copies WHERE condemned_ns IS NOT NULL"),
            "tiers": sorted(row[0] for row in database.execute("SELECT DISTINCT tier FROM copies")),
        }


def shape(place: Path) -> dict[str, Any]:
    """Return what a store on disk looks like: columns and indexes of its catalog, and what files say of themselves."""
    with closing(sqlite3.connect(place / "catalog.sqlite")) as database:
        names = sorted(row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        tables = {
            name: sorted(
                f"{row[1]} {row[2]}{' NOT NULL' if row[3] else ''}{' KEY' if row[5] else ''}"
                for row in database.execute(f'PRAGMA table_info("{name}")')
            )
            for name in names
        }
        indexes = sorted(
            f"{row[0]} ON {row[1]} {[one[2] for one in database.execute(f'PRAGMA index_info({row[0]!r})')]}"
            for row in database.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'")
            if not row[0].startswith("sqlite_")
        )
        settings = sorted(row[0] for row in database.execute("SELECT name FROM settings"))
    files = {path.suffix: _said(path) for path in sorted(place.rglob("*-*")) if path.suffix in {".arrow", ".parquet"}}
    return {"tables": tables, "indexes": indexes, "settings": settings, "files": files}


def _said(path: Path) -> dict[str, Any]:
    """Return the form of what a file says of itself."""
    from pyarrow import ipc, parquet

    if path.suffix == ".parquet":
        metadata = parquet.read_schema(path).metadata
    else:
        with pa.memory_map(str(path)) as source:
            metadata = ipc.open_file(source).schema.metadata
    told = json.loads(metadata[b"quantstore"])
    return {"format": told["format"], "keys": sorted(told), "metadata": sorted(key.decode() for key in metadata)}


def pack(place: Path, archive: Path) -> None:
    """Pack a store; the same files give the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.name.endswith("-shm"):
            return None
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        return member

    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in sorted(place.rglob("*")):
            packed.add(path, str(path.relative_to(place)), recursive=False, filter=plain)


def main(out: Path) -> None:
    """Make the store, note its answers and pack both."""
    warnings.simplefilter("ignore")
    anonymous()
    import quantstore as qs
    from quantstore.stores import facts as file_facts

    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        place = Path(folder) / "store"
        with qs.open(place) as store:
            fill(store, place)
        environment = os.environ | {"QUANTSTORE_FAILPOINT": "write.file.renamed"}
        ended = subprocess.run([sys.executable, __file__, "--die", str(place)], env=environment, check=False)
        assert ended.returncode == -signal.SIGKILL, ended
        state = io.BytesIO()
        with tarfile.open(fileobj=state, mode="w") as kept:  # what reading leaves behind is no part of it
            kept.add(place, ".")
        told = facts(place) | {"file_format": file_facts.FORMAT, "shape": shape(place)}
        with qs.open(place) as store:
            told["tables"] = answers(store, told["oldest"], told["newest"])
            told["tags"] = {row.tag: row.version for row in store.tags().itertuples()} if hasattr(store, "tags") else {}
        state.seek(0)
        clean = Path(folder) / "clean"
        with tarfile.open(fileobj=state) as kept:
            kept.extractall(clean, filter="data")
        name = out / f"form-{told['form']}"
        pack(clean, name.with_suffix(".tar.xz"))
        name.with_suffix(".json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
        print(f"{name}.tar.xz: {name.with_suffix('.tar.xz').stat().st_size:,} bytes, {told['newest']} versions")


if __name__ == "__main__":
    if sys.argv[1] == "--die":
        anonymous()
        die(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
