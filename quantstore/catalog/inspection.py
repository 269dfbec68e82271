"""What the catalog says, row by row, and where it contradicts itself; nothing is taken for granted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from quantstore.catalog import invariants, journal_files, schema
from quantstore.catalog.database import Database
from quantstore.catalog.receipts import receipt_of
from quantstore.catalog.records import Receipt
from quantstore.catalog.segments import copy_of, segment_of, span_class
from quantstore.core.segment import Copy, PlacedSegment, Segment
from quantstore.core.table import Grain
from quantstore.core.tier import Tier

_PARSING = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_MOST_LINES = 20
REBUILD = "restore it from a backup, or let `quantstore rebuild` make it anew"
_s, _c = schema.segments.c, schema.copies.c


@dataclass(frozen=True, slots=True)
class Flaw:
    """A contradiction in the catalog.

    Attributes:
        kind: `catalog`, `duplicated`, `misregistered` or `derived`.
        message: What is wrong.
        table_id: Table concerned, or None.
        segment_id: Segment concerned, or None.
        copy_id: Copy concerned, or None.
        mend: Values that are proven right, by table, key column, key and column; empty where none are.
    """

    kind: str
    message: str
    table_id: int | None = None
    segment_id: int | None = None
    copy_id: int | None = None
    mend: tuple[tuple[str, str, int, str, Any], ...] = ()


@dataclass(slots=True)
class State:
    """What the catalog says at one moment.

    Attributes:
        version: The newest version.
        names: Names of tables by id.
        segments: Segments that any version reaches, with those of their live copies that can be understood.
        superseded: Copies given up whose records are still there, with their segments.
        receipts: The receipt of each copy that has one.
        schemas: The table of each schema id.
        table_versions: Versions that changed each table.
        flaws: Where it contradicts itself.
    """

    version: int = 0
    names: dict[int, str] = field(default_factory=dict)
    segments: list[PlacedSegment] = field(default_factory=list)
    superseded: list[tuple[Segment, Copy]] = field(default_factory=list)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    schemas: dict[int, int] = field(default_factory=dict)
    table_versions: dict[int, set[int]] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)


class Inspection:
    """Reads the whole catalog past the ways in which it is read otherwise.

    Args:
        database: The catalog's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, store_names: dict[Tier, str]) -> State:
        """Return what the catalog says and where it contradicts itself, in one consistent view.

        Args:
            store_names: Names of the stores by tier.

        Raises:
            IntegrityError: The database cannot be read at all.
        """
        state = State()
        steps: tuple[Callable[[Connection], None], ...] = (
            lambda connection: state.flaws.extend(_structure(connection)),
            lambda connection: _note_tables(connection, state),
            lambda connection: _note_segments(connection, state, store_names),
            lambda connection: _note_receipts(connection, state),
            lambda connection: state.flaws.extend(invariants.strange_values(connection)),
            lambda connection: state.flaws.extend(invariants.broken(connection)),
        )
        with self._database.read() as connection:
            for step in steps:
                try:
                    step(connection)
                except (DBAPIError, *_PARSING) as error:  # what follows may still be told
                    told = str(getattr(error, "orig", error)).partition("\n")[0]
                    state.flaws.append(Flaw("catalog", f"rows of it cannot be read ({told}); {REBUILD}"))
        return state


def journal_problems(catalog: Path) -> Iterator[str]:
    """Yield what is damaged in a catalog's journal; a last line that a crash cut short is not."""
    folder = journal_files.folder_of(catalog)
    for base in journal_files.bases(folder):
        if not base.is_whole():
            yield f"{base.path.name} is damaged"
    for log in journal_files.logs(folder).values():
        with suppress(FileNotFoundError):
            bad = [number for number, line in enumerate(journal_files.read_lines(log), start=1) if line is None]
            with log.open("rb") as file:
                lines = sum(1 for _ in file)
            if bad and bad != [lines]:
                yield f"line {bad[0]} of {log.name} is damaged"


def _structure(connection: Connection) -> Iterator[Flaw]:
    """Yield what SQLite itself finds wrong."""
    try:
        lines = [row[0] for row in connection.execute(text(f"PRAGMA integrity_check({_MOST_LINES})"))]
    except DBAPIError as error:
        lines = [str(error.orig)]
    for line in lines:
        if line != "ok":
            yield Flaw("catalog", f"the database contradicts itself ({line}); {REBUILD}")
    for row in connection.execute(text("PRAGMA foreign_key_check")).all():
        yield Flaw("catalog", f"row {row[1]} of {row[0]} points to a row of {row[2]} that is not there")


def _note_tables(connection: Connection, state: State) -> None:
    state.version = connection.execute(text("SELECT coalesce(max(version), 0) FROM versions")).scalar_one()
    for row in connection.execute(select(schema.tables)).all():
        state.names[row.table_id] = row.name
        wrong = _wrong(_parse_definition, row)
        if wrong:
            state.flaws.append(Flaw("catalog", f"its definition cannot be understood ({wrong})", row.table_id))
    for row in connection.execute(select(schema.schemas)).all():
        state.schemas[row.schema_id] = row.table_id
        wrong = _wrong(_parse_columns, row)
        if wrong:
            what = f"schema {row.schema_id} cannot be understood ({wrong})"
            state.flaws.append(Flaw("catalog", what, row.table_id))
    changes = schema.changes.c
    for row in connection.execute(select(changes.table_id, changes.version, changes.lineage)):
        state.table_versions.setdefault(row.table_id, set()).add(row.version)
        wrong = _wrong(_parse_lineage, row)
        if wrong:
            what = f"what version {row.version} did cannot be understood ({wrong})"
            state.flaws.append(Flaw("catalog", what, row.table_id))


def _note_segments(connection: Connection, state: State, store_names: dict[Tier, str]) -> None:
    segments: dict[int, Segment] = {}
    retired: set[int] = set()
    for row in connection.execute(select(schema.segments)):
        try:
            segments[row.segment_id] = segment_of(row)
        except _PARSING as error:
            what = f"segment {row.segment_id} cannot be understood ({error})"
            state.flaws.append(Flaw("catalog", what, row.table_id, row.segment_id))
            continue
        if row.retired_generation is not None:
            retired.add(row.segment_id)
        else:
            with suppress(*_PARSING):  # of statistics that make no sense, which is said elsewhere
                state.flaws += _span_flaws(segments[row.segment_id], row.span_class)
    copies: dict[int, list[Copy]] = {number: [] for number in segments if number not in retired}
    for row in connection.execute(select(schema.copies)):
        segment = segments.get(row.segment_id)
        if segment is None:
            continue  # said already
        try:
            copy = copy_of(row)
        except _PARSING as error:
            if row.condemned_generation is None and row.segment_id in copies:
                state.flaws.append(_misread(segment, row, error, store_names))
            continue
        if row.condemned_generation is None and row.segment_id in copies:
            copies[row.segment_id].append(copy)
        else:
            state.superseded.append((segment, copy))
    for number, found in copies.items():
        ranked = sorted(found, key=lambda one: (one.role.value != "primary", one.copy_id))
        state.segments.append(PlacedSegment(segments[number], tuple(ranked)))
        state.flaws += invariants.flaws_of_segment(segments[number], ranked, store_names)


def _span_flaws(segment: Segment, found: Any) -> Iterator[Flaw]:
    """Yield that a segment would not be found by its span, where it would not."""
    number, stats = segment.segment_id, segment.stats
    least = span_class(stats.min_ns, stats.max_ns)
    if not isinstance(found, int) or not least <= found < schema.SPAN_CLASSES:
        what = f"segment {number} is classed by a span that is not its own ({found!r} instead of {least})"
        yield Flaw(
            "catalog",
            what,
            segment.table_id,
            number,
            mend=(("segments", "segment_id", number, "span_class", least),),
        )


def _misread(segment: Segment, row: Any, error: Exception, store_names: dict[Tier, str]) -> Flaw:
    """Return the flaw of a copy whose row makes no sense; the store's name tells the tier."""
    tiers = [tier.value for tier, name in store_names.items() if name == row.store]
    mend: tuple[tuple[str, str, int, str, Any], ...] = ()
    if len(tiers) == 1 and tiers[0] != row.tier:
        mend = (("copies", "copy_id", row.copy_id, "tier", tiers[0]),)
    what = f"copy {row.copy_id} of segment {segment.segment_id} cannot be understood ({error})"
    return Flaw("misregistered", what, segment.table_id, segment.segment_id, row.copy_id, mend)


def _note_receipts(connection: Connection, state: State) -> None:
    for row in connection.execute(select(schema.receipts)):
        try:
            receipt = receipt_of(row, state.names.get(row.table_id, ""))
        except _PARSING as error:
            what = f"receipt {row.receipt_id} cannot be understood ({error})"
            state.flaws.append(Flaw("catalog", what, row.table_id, row.segment_id, row.copy_id))
        else:
            state.receipts[row.copy_id] = receipt


def _parse_definition(row: Any) -> Any:
    return Grain(row.grain), [str(one) for one in json.loads(row.key)], row.name.encode("utf-8")


def _parse_columns(row: Any) -> Any:
    columns = [(name, kind) for name, kind in json.loads(row.columns)]
    return columns, json.loads(row.hidden), json.loads(row.frame)


def _parse_lineage(row: Any) -> Any:
    return json.loads(row.lineage)


def _wrong(parse: Callable[[Any], Any], row: Any) -> str:
    """Return why a row makes no sense, or nothing."""
    try:
        parse(row)
    except _PARSING as error:
        return f"{type(error).__name__}: {error}"
    return ""
