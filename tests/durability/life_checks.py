"""The whole of a store checked after a crash: every table, every version that is kept, other engines, files, SQLite."""

from __future__ import annotations

import json
import traceback
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from checks import (
    check_catalog,
    check_files,
    check_order,
    check_published,
    check_sql,
    digest_of,
    found_writes,
    open_attempts,
)
from life import FEED, books_of
from streaming import numbered
from workload import TABLES, open_store

from quantstore.errors import NotFoundError, PublicationWarning
from quantstore.manager import HybridStorageManager


def check_life(
    root: str,
    acceptable: list[dict[str, Any]],
    versions: list[tuple[int, dict[str, Any]]],
    digests: dict[str, str],
    fed: tuple[int, int] = (0, 0),
    marks: dict[str, dict[str, bool | None]] | None = None,
    *,
    thorough: bool = True,
    is_power_cut: bool = False,
) -> dict[str, Any]:
    """Check everything there is to check.

    Args:
        root: The store.
        acceptable: States one of which the store must be in exactly; several where an operation's fate is unknown.
        versions: Old versions and the states they must show.
        digests: What was found earlier of rows and their order, by version and table.
        fed: How many rows of the stream must be there, and may.
        marks: Tags and tables that must be there, must not, and may.
        thorough: Whether to audit again after the sweep, and to ask in SQL.
        is_power_cut: Whether what other engines see may lag until a maintenance is done, as none of it is synced.

    Returns:
        `state`, the number of the acceptable state found, `version`, the newest, `fed`, `marks`, `digests`.
    """
    warnings.simplefilter("error")
    pa.set_cpu_count(1)  # the files are tiny: handing them to threads costs more than reading them
    if is_power_cut:
        warnings.simplefilter("ignore", PublicationWarning)
    else:
        check_catalog(root)
    with open_store(root) as store:
        found = _found(store, acceptable)
        report = store.audit()
        if is_power_cut:  # an attempt is not synced: its files may be there without it
            assert {one.kind for one in report.problems} <= {"orphaned"}, report
        else:
            assert report.ok, report
        store.sweep(grace=0)
        if is_power_cut:
            store.fsck(repair=True)
            done = store.maintain(grace=0)
            assert done, done
        check_files(root)
        check_published(store)
        assert _found(store, acceptable[found : found + 1]) == 0
        seen = {}
        for version, state in versions:
            seen |= _digests(store, version, state, digests)
        rows = _fed(store, *fed)
        known = _marks(store, marks or {"tag": {}, "create": {}})
        if thorough:
            report = store.audit()
            assert report.ok, report
            assert report.orphans == 0, report
            check_sql(store, acceptable[found])
        version = int(store.metadata_catalog.snapshot().version)
        check_catalog(root)
    assert open_attempts(root) == 0
    return {"state": found, "version": version, "fed": rows, "marks": known, "digests": seen}


def _found(
    store: HybridStorageManager, acceptable: list[dict[str, Any]], seen: dict[str, str] | None = None, **options: Any
) -> int:
    """Check that the store holds exactly the rows of one of the states; return which.

    Args:
        store: The store.
        acceptable: The states.
        seen: Takes a digest of rows and order of each table.
        options: How to read.
    """
    seen = {} if seen is None else seen
    found: dict[str, Any] = {table: found_writes(store, table, seen, **options) for table in TABLES}
    found["books"] = _books(store, seen, **options)
    for number, state in enumerate(acceptable):
        if found == {table: dict(map(tuple, state[table])) for table in found}:
            return number
    raise AssertionError(f"found {found}, acceptable were {acceptable}")


def _books(store: HybridStorageManager, seen: dict[str, str], **options: Any) -> dict[int, int]:
    """Return which write filled each slot, every value checked."""
    try:
        names = store.read("books", to="arrow", max_bytes=None, **options).column_names
        got = store.read("books", columns=[*names, "_seq"], to="arrow", max_bytes=None, **options)
    except NotFoundError:
        return {}
    check_order(got)
    seen["books"] = digest_of(got, "write")
    slots, writes = got["slot"].to_numpy(), got["write"].to_numpy()
    assert len(np.unique(slots)) == len(slots), "a slot is filled twice"
    for write in np.unique(writes).tolist():
        rows = got.filter(pa.array(writes == write))
        expected = books_of(write, slots[writes == write].tolist())
        for name in expected.column_names:
            if name in rows.column_names:
                assert rows[name].cast(expected.schema.field(name).type).equals(expected[name]), (write, name)
            else:
                assert name == "note", f"column {name} of books is missing"
                assert write % 3, "the rows are there without their new column"
    return dict(zip(slots.tolist(), writes.tolist(), strict=True))


def _digests(store: HybridStorageManager, version: int, state: dict[str, Any], known: dict[str, str]) -> dict[str, str]:
    """Check a version against what it held when it was new, and rows and their order against what was seen before."""
    seen: dict[str, str] = {}
    assert _found(store, [state], seen, as_of=version) == 0
    for table, digest in seen.items():
        assert known.get(f"{version}:{table}", digest) == digest, f"{table} as of version {version} has changed"
    return {f"{version}:{table}": digest for table, digest in seen.items()}


def _fed(store: HybridStorageManager, low: int, high: int) -> int:
    """Check that the stream's rows are the first so many, each once and unharmed; return how many."""
    try:
        got = store.read(FEED, to="arrow", max_bytes=None).sort_by("id")
    except NotFoundError:
        got = numbered(0, 0)
    assert low <= len(got) <= high, f"{low} to {high} rows of the stream must be there, {len(got)} are"
    assert got.equals(numbered(0, len(got)).cast(got.schema)), "rows of the stream are missing or there twice"
    return len(got)


def _marks(store: HybridStorageManager, marks: dict[str, dict[str, bool | None]]) -> dict[str, dict[str, bool]]:
    """Check that tags and tables told to be there are, and those told to be gone are not; return what is there."""
    there = {"tag": set(store.tags()["tag"]), "create": set(store.tables())}
    for kind, known in marks.items():
        for name, is_there in known.items():
            assert is_there in {None, name in there[kind]}, f"{kind} {name}: {is_there} by the journal"
    return {kind: {name: name in there[kind] for name in known} for kind, known in marks.items()}


def serve(requests: str, answers: str) -> None:
    """Check one store after the other as asked for in one pipe, and answer in another; warm, so that it is quick."""
    with open(requests) as asked, open(answers, "w", buffering=1) as told:  # noqa: PTH123 - pipes
        for line in asked:
            try:
                answer = {"result": check_life(**json.loads(line))}
            except BaseException:  # noqa: BLE001 - whatever it is, the parent wants to see it
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=told)
