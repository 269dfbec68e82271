"""The golden stores: unpacked copies of them, and the answers they gave when they were made."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FORMS = sorted(int(path.name.removeprefix("form-").removesuffix(".json")) for path in HERE.glob("form-*.json"))


def expected(form: int) -> dict[str, Any]:
    """Return the answers of a golden store."""
    return json.loads((HERE / f"form-{form}.json").read_text())


def unpacked(form: int, place: Path) -> Path:
    """Unpack a golden store."""
    with tarfile.open(HERE / f"form-{form}.tar.xz") as packed:
        packed.extractall(place, filter="data")
    return place


def everything(place: Path) -> tuple[dict[str, bytes], dict[str, list[Any]]]:
    """Return the bytes of every file of a store and all rows of its catalog, whose log SQLite may fold into it."""
    files = {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    files = {name: content for name, content in files.items() if not name.startswith("catalog.sqlite")}
    return files, catalog_rows(place)


def catalog_rows(place: Path) -> dict[str, list[Any]]:
    """Return every row of the catalog, past any code of quantstore; but for the times of upgrades."""
    with closing(sqlite3.connect(place / "catalog.sqlite")) as database:
        database.row_factory = sqlite3.Row
        names = sorted(row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        return {
            name: sorted(
                json.dumps({key: row[key] for key in sorted(row.keys()) if key != "applied_ns"}, default=bytes.hex)
                for row in database.execute(f'SELECT * FROM "{name}"')
                if (name, row[0]) != ("settings", "journal")  # counts what was logged, and is no content
            )
            for name in names
        }
