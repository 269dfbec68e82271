"""Brings one Iceberg table to what the cold tier holds: compare by file, commit once, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.table.update import (
    AddSchemaUpdate,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
)
from sqlalchemy.exc import OperationalError

from quantstore.core.failpoints import reach
from quantstore.errors import IntegrityError, UnavailableError, UnsupportedError
from quantstore.publish.columns import PublishedColumns, published_columns
from quantstore.publish.data_files import ColdFile, PartitionValues, data_files, iceberg_schema
from quantstore.publish.iceberg import DAMAGE, GENERATION, STORE_ID, VERSION
from quantstore.publish.publication import Split
from quantstore.publish.snapshot import Listed, ProjectionFiles, listed_files

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table, Transaction

    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import ColdState, PublishedTable
    from quantstore.publish.iceberg import Lakehouse
    from quantstore.rows.form import TableForm

SNAPSHOT_MILLISECONDS = 3_600_000
"""How long a snapshot stays in the metadata after the next one came: as long as a sweep leaves its files by default."""
_ROUNDS = 16
_WAIT_SECONDS = 0.02
_FIRST_SPEC = 0

Done = tuple["PublishedTable", int, int, Split]
"""What is on record now, files added, files removed, and columns that are several."""


class _Outpaced(Exception):  # noqa: N818 - it never leaves this module
    """Something changed between two looks."""


_CONFLICTS = (
    _Outpaced,
    CommitFailedException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
    FileNotFoundError,
    OperationalError,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a published table should be."""

    columns: PublishedColumns
    schema: Schema
    partitions: PartitionValues
    files: dict[str, ColdFile]


def wanted_form(state: ColdState, root: str, form: Callable[[int], TableForm]) -> Wanted:
    """Return what the published form of a table should be.

    Args:
        state: The table and its cold segments.
        root: Where cold copies are.
        form: Returns the form in which a schema id keeps rows.
    """
    table = state.table
    if table.schema_id is None:
        raise UnsupportedError(f"Table {table.name!r} has no columns yet; write to it first.", table=table.name)
    stored = sorted({one.segment.schema_id for one in state.segments}, reverse=True)
    newest = form(table.schema_id).schema
    columns = published_columns(newest, [form(one).schema for one in stored])
    files = {}
    for one in state.segments:
        copy = one.primary
        path = f"{root}/{copy.location}"
        size = copy.size_bytes if copy.file_bytes is None else copy.file_bytes
        files[path] = ColdFile(path, one.segment.partition, one.segment.stats.rows, size)
    if len(files) < len(state.segments):
        raise UnsupportedError(f"Table {table.name!r} has segments that share a file in cold.", table=table.name)
    partitions = PartitionValues(columns.schema, table.spec.grain)
    return Wanted(columns, iceberg_schema(columns.schema), partitions, files)


def require_files(wanted: Wanted) -> None:
    """Check that every file of a table can be published.

    Raises:
        IntegrityError: One is damaged or gone.
    """
    try:
        data_files(list(wanted.files.values()), wanted.columns, wanted.schema, wanted.partitions)
    except FileNotFoundError as error:
        raise IntegrityError(f"A file to be published is gone: {error}. audit() lists all damage.") from error


class Projection:
    """Publishes tables into one Iceberg catalog.

    Two processes may do so at once: the catalog lets one of two commits through, and the other compares again, so that
    what is published never goes back to an older version.

    Args:
        catalog: The store's catalog.
        lake: The Iceberg catalog.
        root: Where cold copies are.
        form: Returns the form in which a schema id keeps rows.
        name: Name of the format, for the record.
    """

    def __init__(
        self, catalog: Catalog, lake: Lakehouse, root: str, form: Callable[[int], TableForm], name: str
    ) -> None:
        self._catalog = catalog
        self._lake = lake
        self._root = root
        self._form = form
        self._format = name
        self._counts = (0, 0)
        self._split: Split = ()

    def bring_up_to_date(self, table_id: int, *, tidies: bool = False) -> Done:
        """Make the published form of a table show its cold rows as they are; do nothing where it does already.

        Args:
            table_id: The table.
            tidies: Whether to delete metadata that nothing needs, too.

        Raises:
            IntegrityError: A file of rows is gone.
            UnavailableError: Other processes kept coming first.
        """
        for left in reversed(range(_ROUNDS)):
            try:
                return self._round(table_id, tidies=tidies)
            except _CONFLICTS as error:
                if not left and isinstance(error, FileNotFoundError):
                    raise IntegrityError(
                        f"A file to be published is gone: {error}. audit() lists all damage."
                    ) from error
                if not left:
                    raise UnavailableError(f"Other processes kept publishing the same table: {error}") from error
                time.sleep(_WAIT_SECONDS * (_ROUNDS - left))
        raise AssertionError  # the last round returns or raises

    def _round(self, table_id: int, *, tidies: bool) -> Done:
        known = self._known(table_id)
        reach("publish.begun")
        # The Iceberg table first: what the store is found to be after that is no older than what it shows.
        table = None if known.is_dropped else self._lake.table(table_id, known.table.name, known.name)
        state = self._catalog.publications.state(table_id, self._root)
        if state.is_dropped != known.is_dropped or state.table.name != known.table.name:
            raise _Outpaced(f"table {known.table.name!r} was renamed")
        if state.is_dropped:
            self._lake.drop(known.name, table_id)
            self._record(state, None)
        else:
            table = self._publish(table, state)
            self._record(state, table)
            if tidies:
                self._lake.tidy(table)
        (done,) = self._listed(table_id)
        return done, *self._counts, self._split

    def wanted(self, table_id: int) -> Wanted:
        """Return what the published form of a table should be."""
        return wanted_form(self._catalog.publications.state(table_id, self._root), self._root, self._form)

    def records(self, files: Sequence[ColdFile], wanted: Wanted) -> list[DataFile]:
        """Return what is to be said of files."""
        return data_files(files, wanted.columns, wanted.schema, wanted.partitions)

    def _known(self, table_id: int) -> PublishedTable:
        """Return the record of a publication, which there is before any of it."""
        known = self._listed(table_id)
        if not known:
            name = self._catalog.publications.state(table_id, self._root).table.name
            self._catalog.publications.begin(table_id, self._format, name, "")
            known = self._listed(table_id)
        return known[0]

    def _listed(self, table_id: int) -> list[PublishedTable]:
        listed = self._catalog.publications.listed(self._root, table_id)
        return [one for one in listed if one.format == self._format]

    def _publish(self, table: Table | None, state: ColdState) -> Table:
        wanted = wanted_form(state, self._root, self._form)
        self._split = wanted.columns.split
        spec = wanted.partitions.spec(wanted.schema)
        listed: Listed = []
        if table is not None:
            found = _listed_or_none(table) if table.spec().fields == spec.fields else None
            if found is None:  # its metadata is damaged, or the grain was decided since
                self._lake.drop(state.table.name, state.table.table_id)
                table = None
            else:
                listed = found
        present = {entry.data_file.file_path for _, entries in listed for entry in entries}
        added = [file for path, file in wanted.files.items() if path not in present]
        removed = present - wanted.files.keys()
        self._counts = len(added), len(removed)
        if table is None or added or removed or table.schema() != wanted.schema:
            table = self._commit(table, state, wanted, listed, added, removed)
        self._lake.point(table)
        reach("publish.pointed")
        return table

    def _commit(
        self,
        table: Table | None,
        state: ColdState,
        wanted: Wanted,
        listed: Listed,
        added: Sequence[ColdFile],
        removed: set[str],
    ) -> Table:
        transaction: Transaction
        renewed: dict[str, DataFile] = {}
        if table is None:
            record, schema = state.table, wanted.schema
            spec = wanted.partitions.spec(schema)
            transaction, io = self._lake.creation(record.table_id, record.name, schema, spec)
        else:
            transaction, io, schema = table.transaction(), table.io, wanted.schema
            if table.schema() != schema:
                if _is_promoted(table.schema(), schema):
                    stay = [file for path, file in wanted.files.items() if path not in {one.path for one in added}]
                    renewed = {one.file_path: one for one in self.records(stay, wanted)}
                _change_columns(transaction, schema)
        records = self.records(added, wanted)
        reach("publish.planned")
        if records or listed or table is not None:
            stamp = {
                VERSION: str(state.snapshot.version),
                GENERATION: str(state.snapshot.generation),
                STORE_ID: self._catalog.store_id,
            }
            ProjectionFiles(transaction, io, stamp, listed, records, removed, renewed).commit()
        if table is not None:
            _expire(transaction, table)
        committed = transaction.commit_transaction()
        reach("publish.committed")
        return committed if table is not None else self._lake.load(state.table.name)

    def _record(self, state: ColdState, table: Table | None) -> None:
        """Note what was published; a sweep spares what was condemned later than that."""
        shown = None if table is None else table.current_snapshot()
        self._catalog.publications.record(
            state.table.table_id,
            self._format,
            state.table.name,
            "" if table is None else table.location(),
            state.snapshot,
            "" if shown is None else str(shown.snapshot_id),
            state.content,
        )
        reach("publish.recorded")


def _listed_or_none(table: Table) -> Listed | None:
    """Return what a table's newest snapshot lists, or None where that cannot be read."""
    try:
        return listed_files(table)
    except DAMAGE:
        return None


def _is_promoted(before: Schema, after: Schema) -> bool:
    """Whether a column has a wider type now, in which the bounds of its values must be told anew."""
    kinds = {field.field_id: field.field_type for field in before.fields}
    return any(kinds.get(field.field_id, field.field_type) != field.field_type for field in after.fields)


def _change_columns(transaction: Transaction, schema: Schema) -> None:
    known = transaction.table_metadata.schemas
    same = next((one.schema_id for one in known if one == schema), None)
    if same is None:
        number = max(one.schema_id for one in known) + 1
        transaction._apply((AddSchemaUpdate(schema=schema.model_copy(update={"schema_id": number})),))  # noqa: SLF001
        same = -1
    transaction._apply((SetCurrentSchemaUpdate.model_validate({"schema-id": same}),))  # noqa: SLF001 - the public way gives ids of its own


def _expire(transaction: Transaction, table: Table) -> None:
    """Drop snapshots that were superseded long enough ago that a sweep may have deleted their files."""
    oldest = time.time() * 1000 - SNAPSHOT_MILLISECONDS
    ordered = sorted(table.metadata.snapshots, key=lambda one: one.sequence_number or 0)
    gone = [one.snapshot_id for one, following in pairwise(ordered) if following.timestamp_ms < oldest]
    if gone:
        transaction._apply((RemoveSnapshotsUpdate.model_validate({"snapshot-ids": gone}),))  # noqa: SLF001 - in the same commit
