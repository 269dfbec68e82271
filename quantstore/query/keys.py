"""What the answer to a read depends on, as a digest; None where an answer must not be kept.

Invalidation is by this digest alone: whatever could change an answer is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import duckdb
import pyarrow as pa

from quantstore.core.tier import ALL_TIERS
from quantstore.query.parameters import plain

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog, View
    from quantstore.catalog.records import TableRecord
    from quantstore.query.assemble import RowFilter
    from quantstore.query.engine import Engine
    from quantstore.query.repeatable import Repeatable
    from quantstore.query.request import ReadRequest

_REMEMBERED = 1024
_LIBRARIES = ("duckdb", "polars", "pyarrow", "sqlglot")
_PLAIN = (bool, int, str, bytes, float, Decimal, UUID, timedelta, date)


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer depends on.

    Attributes:
        digest: Of all of it; nothing that was asked can be read from it.
        tables: The version that last changed each table, by the table's name.
    """

    digest: str
    tables: Mapping[str, int]


class Keys:
    """Makes the keys of reads of one store.

    Args:
        engine: Says which of its functions give the same for the same.
        catalog: Knows the store's own name.
    """

    def __init__(self, engine: Engine, catalog: Catalog) -> None:
        self._engine = engine
        self._catalog = catalog
        self._repeatable = lru_cache(maxsize=_REMEMBERED)(self._find)

    def of_sql(self, view: View, request: ReadRequest) -> Key | None:
        """Return the key of a SQL statement at the view's version, or None where its answer must not be kept."""
        if request.frames.tables:
            return None
        found = self._repeatable(request.query)
        if found is None:
            return None
        records = [record for name in found.tables if (record := view.table(name)) is not None]
        values = [(name, exact(plain(value))) for name, value in sorted(request.params.items())]
        if len(records) < len(found.tables) or any(text is None for _, text in values):
            return None
        return self._key(view, request, records, "sql", found.text, values)

    def of_table(
        self, view: View, request: ReadRequest, record: TableRecord, rows: RowFilter, columns: Iterable[str]
    ) -> Key:
        """Return the key of a bare read at the view's version."""
        days = None if rows.days is None else [day.isoformat() for day in rows.days]
        wanted = (rows.time.start_ns, rows.time.end_ns, rows.symbols, days)
        return self._key(view, request, [record], "table", wanted, list(columns))

    def _key(self, view: View, request: ReadRequest, records: Sequence[TableRecord], *parts: Any) -> Key:
        """Return the key of a read; where a hint could leave rows out, where they lie counts too."""
        is_hinted = set(request.tiers) != set(ALL_TIERS)
        tiers = ([tier.value for tier in request.tiers], view.snapshot.generation) if is_hinted else ()
        states = [_state(record, view.committed_ns(record.changed_version)) for record in records]
        text = repr((self._catalog.store_id, code(), tiers, states, parts))
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        return Key(digest, {record.name: record.changed_version for record in records})

    def _find(self, sql: str) -> Repeatable | None:
        from quantstore.query.repeatable import repeatable  # the SQL parser is loaded by the first SQL query

        return repeatable(sql, self._engine)


def exact(value: Any) -> str | None:
    """Return a bound value as text that no other value has, its type included; None where there is no such text."""
    kind = type(value)
    if value is None or kind in _PLAIN:
        return f"{kind.__name__}:{value!r}"
    if isinstance(value, datetime):
        zone = value.tzinfo
        name = "" if zone is None else f"{zone!s}:{value.utcoffset()!r}"
        return f"{kind.__name__}:{value.isoformat()}:{name}"
    if kind is time_of_day:
        return f"time:{value.isoformat()}:{value.tzinfo!s}"
    if kind is list:
        items = [exact(one) for one in value]
        return None if None in items else f"[{','.join(f'{len(one)}:{one}' for one in items if one is not None)}]"
    return None


@lru_cache(maxsize=1)
def code() -> str:
    """Return a digest of everything that computes answers: the engine, the libraries and this very code."""
    found = [duckdb.__version__, pa.__version__, *sorted(_sources(str(Path(__file__).parents[1])))]
    for name in _LIBRARIES:
        spec = find_spec(name)  # finds a package without loading it, and faster than its version is looked up
        found.append(_stamp(spec.origin) if spec is not None and spec.origin else name)
    return blake2b("\n".join(found).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _sources(folder: str) -> Iterator[str]:
    """Yield every module below a folder with its size and when it was changed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                yield _stamp(entry.path)


def _stamp(path: str) -> str:
    status = os.stat(path)  # noqa: PTH116 - of hundreds of files
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def _state(record: TableRecord, changed_ns: int) -> tuple[Any, ...]:
    """Return what stands for the rows and the form of a table at one version.

    When it was committed tells versions of the same number apart: a catalog that came back from a backup counts anew.
    """
    return record.table_id, record.name, record.changed_version, changed_ns, record.schema_id
