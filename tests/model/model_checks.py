"""What must hold after each step: a store says exactly what the model says, of every version, wherever rows are."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
from model_children import open_store
from model_operations import TIERS

from quantstore.errors import NotFoundError, QuantStoreError
from quantstore.manager import HybridStorageManager
from quantstore.testing import generate
from quantstore.testing.model import ReferenceStore, rows_between
from quantstore.testing.modes import Row, TableState
from quantstore.testing.plain import plain_rows, plain_values

_SEQ_SHIFT = 32


def same_table(store: HybridStorageManager, name: str, state: TableState, version: Any = None, **options: Any) -> None:
    """Check a bare read: columns, types, rows, their order, and which version added each."""
    columns = list(state.columns or ())
    found = store.read(name, columns=[*columns, "_seq"], to="arrow", as_of=version, **options)
    for column, kind in (state.columns or {}).items():
        got = found.schema.field(column).type
        assert got == kind or pa.types.is_dictionary(kind), f"{name}.{column} is {got}, not {kind}"
    wanted = state.in_order()
    rows, seq = plain_rows(found, columns), plain_values(found.column("_seq"))
    assert rows == [row.values(columns) for row in wanted], difference(name, version, rows, wanted, columns)
    assert [one >> _SEQ_SHIFT for one in seq] == [row.version for row in wanted], f"{name}: rows of other versions"
    assert len(set(seq)) == len(seq), f"{name}: rows share a _seq"


def difference(name: str, version: Any, rows: list[Any], wanted: list[Any], columns: list[str]) -> str:
    """Say what is missing and what is too much."""
    expected = [row.values(columns) for row in wanted]
    missing, extra = Counter(expected) - Counter(rows), Counter(rows) - Counter(expected)
    what = "other order" if not (missing or extra) else f"missing {dict(missing)}, not expected {dict(extra)}"
    return f"{name} at {version or 'the newest version'}: {len(rows)} rows instead of {len(wanted)}; {what}"[:3_000]


def same_newest(store: HybridStorageManager, model: ReferenceStore) -> None:
    """Check names and rows of the newest version."""
    assert store.tables() == model.names()
    for name in model.names():
        same_table(store, name, model.table(name))


def same_version(store: HybridStorageManager, model: ReferenceStore, version: int, when: Any = None) -> None:
    """Check every table of an old version, meant by its number or otherwise."""
    snapshot = model.at(version)
    for name in model.names():  # a name that is dropped cannot be asked for by as_of
        number = snapshot.names.get(name)
        if number is not None:
            same_table(store, name, snapshot.tables[number], version if when is None else when)
        else:
            refused(store, name, version if when is None else when)


def refused(store: HybridStorageManager, name: str, when: Any) -> None:
    """Check that a table cannot be read at a version."""
    try:
        found = store.read(name, as_of=when, to="arrow")
    except NotFoundError:
        return
    raise AssertionError(f"{name} at {when} reads as {found.num_rows} rows, although it is gone")


def same_at(store: HybridStorageManager, model: ReferenceStore, version: int) -> None:
    """Check every table of a store that is looked at as it was."""
    snapshot = model.at(version)
    assert store.tables() == sorted(snapshot.names)
    for name, number in snapshot.names.items():
        same_table(store, name, snapshot.tables[number])


def same_filtered(store: HybridStorageManager, model: ReferenceStore, chance: Random) -> None:
    """Check which rows meet a random condition in SQL, as a multiset."""
    state, where, wanted = _drawn(model, chance)
    if state is not None:
        columns = list(state.columns or ())
        listed = ", ".join(f'"{name}"' for name in columns)
        found = store.read(f'SELECT {listed} FROM "{state.name}" WHERE {where.sql}', to="arrow")
        expected = Counter(row.values(columns) for row in wanted)
        assert Counter(plain_rows(found)) == expected, f"{state.name} WHERE {where.sql}"


def same_count(store: HybridStorageManager, model: ReferenceStore, chance: Random) -> None:
    """Check how many rows meet a random condition in SQL, and the sum of their ids."""
    state, where, wanted = _drawn(model, chance)
    if state is not None:
        sql = f'SELECT count(*) AS n, sum(id) AS ids FROM "{state.name}" WHERE {where.sql}'
        found = store.read(sql, to="arrow").to_pylist()[0]
        ids = [row.facts["id"] for row in wanted if row.facts["id"] is not None]
        assert found["n"] == len(wanted), sql
        assert found["ids"] is None if not ids else int(found["ids"]) == sum(ids), sql


def _drawn(model: ReferenceStore, chance: Random) -> tuple[Any, Any, list[Row]]:
    """Draw a table and a condition; return them and the rows that meet it, or nothing where there is no table."""
    names = [name for name in model.names() if model.table(name).columns]
    if not names:
        return None, None, []
    state = model.table(chance.choice(names))
    where = generate.condition(chance, schema_of(state))
    return state, where, [row for row in state.rows if where.says(row.facts)]


def schema_of(state: TableState) -> pa.Schema:
    """Return a table's columns as a schema."""
    return pa.schema(list((state.columns or {}).items()))


def expired_is_refused(store: HybridStorageManager, model: ReferenceStore, chance: Random) -> None:
    """Check that a version that has expired raises, rather than to read as less than it was."""
    gone = [version for version in range(model.version + 1) if not model.is_kept(version)]
    names = [name for name in model.names() if gone and name in model.at(gone[-1]).names]
    if not names:
        return
    version, name = chance.choice(gone), chance.choice(names)
    number = model.at(version).names.get(name)
    if number is None or not model.is_kept(version, number):
        refused(store, name, version)
    else:
        same_table(store, name, model.at(version).tables[number], version)


def same_changes(store: HybridStorageManager, model: ReferenceStore, chance: Random) -> None:
    """Check which rows came and went between two versions of a table."""
    versions = [version for version in model.kept_versions() if version]
    if not model.names() or not versions:
        return
    name = chance.choice(model.names())
    since, number = chance.choice(versions), model.table(name).table_id
    old, new = model.at(since).tables.get(number), model.table(name)
    if old is None or not old.columns or old.columns != new.columns:
        return
    came, went = rows_between(old, new)
    found = store.table(name).changes(since, to="arrow")
    columns = list(new.columns or ())
    wanted = Counter(("added", *row.values(columns)) for row in came)
    wanted.update(("removed", *row.values(columns)) for row in went)
    assert Counter(plain_rows(found, ["change", *columns])) == wanted, f"changes of {name} since {since}"


def placement_changes_nothing(store: HybridStorageManager, model: ReferenceStore, root: Path, chance: Random) -> None:
    """Check a copy of the store whose rows were moved elsewhere, at random."""
    with tempfile.TemporaryDirectory(dir=root.parent.parent) as folder:
        there = Path(folder) / root.name
        # Copied by another process: to open and close the catalog in this one would let go of SQLite's locks on it.
        subprocess.run(["cp", "-r", str(root), str(there)], check=True)
        there.joinpath("catalog.sqlite-shm").unlink(missing_ok=True)
        shutil.copy(root.parent / "clock", folder)
        with open_store(there) as other:
            for name in model.names():
                for _ in range(2):
                    where = chance.choice((None, "symbol = 'A'", "id > 5"))
                    other.migrate(name, "any", chance.choice(TIERS), where=where)
            same_newest(other, model)
            same_version(other, model, chance.choice(model.kept_versions()))
            assert other.audit().ok


def published_is_cold(store: HybridStorageManager) -> None:
    """Check that another reader of the Iceberg tables sees the rows that are in cold, and no others."""
    from pyiceberg.table import StaticTable

    for publication in store.publications():
        assert publication.lag == 0, publication
        columns = ("symbol", "id")
        expected = store.read(publication.table, tiers="cold", columns=columns, to="arrow", missing="ignore")
        found = StaticTable.from_metadata(publication.metadata).scan(selected_fields=columns).to_arrow()
        seen, cold = Counter(plain_rows(found, columns)), Counter(plain_rows(expected, columns))
        pinned = any(pin.tier.value == "cold" for pin in store.pins(publication.table))
        assert seen <= cold if pinned else seen == cold, publication.table  # shadows in cold are not published


def whole(store: HybridStorageManager, model: ReferenceStore) -> None:
    """Check everything: an audit, every version that can be read, counts of what is placed."""
    report = store.audit()
    assert report.ok, report
    same_newest(store, model)
    for version in model.kept_versions():
        same_version(store, model, version)
    for name in model.names():
        placed = store.table(name).placement()
        rows = int(placed.loc[placed["role"] == "primary", "rows"].sum())
        assert rows == len(model.table(name).rows), f"{name}: {rows} rows are placed"


def outcome_of(check: Any) -> str | None:
    """Return the class of a store's error that a check ended with; None where it held."""
    try:
        check()
    except QuantStoreError as error:
        return type(error).__name__
    return None
