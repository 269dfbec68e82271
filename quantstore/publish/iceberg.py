"""The Iceberg catalog beside the store's own: a SQLite database and a folder of metadata."""

from __future__ import annotations

import os
import shutil
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, ResolveError, ValidationError
from pyiceberg.io import FileIO
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CreateTableTransaction, StagedTable, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataV2
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from sqlalchemy.exc import DatabaseError

from quantstore.core.failpoints import reach
from quantstore.core.folders import sync_folder
from quantstore.errors import ConflictError, UnavailableError
from quantstore.publish.avro import manifests
from quantstore.publish.publication import IDENTIFIER
from quantstore.stores.files import quote_component

TABLE_ID = "quantstore.table-id"
STORE_ID = "quantstore.store-id"
VERSION = "quantstore.version"
GENERATION = "quantstore.generation"
HINT = "version-hint.text"
METADATA = "metadata"
LEFTOVER_SECONDS = 3600
_SETTINGS = {
    "commit.retry.num-retries": "0",  # after a conflict the files are compared afresh
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    "write.parquet.compression-codec": "zstd",
}
_OPENING_TRIES = 20
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    ResolveError,
    SystemError,
    TypeError,
    ValidationError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What reading metadata raises that is gone or is not what was written."""


class Lakehouse:
    """The published tables of one store.

    Args:
        folder: Where catalog and metadata are; made where it is missing.
        store_id: Number of the store.
    """

    def __init__(self, folder: Path, store_id: str) -> None:
        self.folder = folder.absolute()
        self._store_id = store_id
        self.folder.mkdir(exist_ok=True)
        self._catalog = _open(self.folder)
        self.pid = os.getpid()

    def close(self) -> None:
        """Close the catalog."""
        self._catalog.engine.dispose(close=self.pid == os.getpid())

    def table(self, table_id: int, name: str, known_as: str) -> Table | None:
        """Return the published form of a table, renamed where the table was, or None where there is none.

        One that cannot be opened, or belongs to a table that bore the name before, is let go of.

        Args:
            table_id: Number of the table.
            name: Its name.
            known_as: The name it was published under before.

        Raises:
            ConflictError: Somebody else made a table of this name.
        """
        found = self._own(table_id, name)
        if found is None and known_as and known_as != name:
            earlier = self._load(known_as)
            if earlier is not None and earlier.properties.get(TABLE_ID) == str(table_id):
                return self._catalog.rename_table((IDENTIFIER, known_as), (IDENTIFIER, name))
        return found

    def creation(
        self, table_id: int, name: str, schema: Schema, spec: PartitionSpec
    ) -> tuple[CreateTableTransaction, FileIO]:
        """Return a transaction that makes a table with these columns, field ids as they are."""
        location = self._free_folder(name)
        metadata = TableMetadataV2.model_validate(
            {
                "location": location,
                "table-uuid": uuid4(),
                "schemas": [schema],
                "current-schema-id": schema.schema_id,
                "last-column-id": schema.highest_field_id,
                "partition-specs": [spec],
                "default-spec-id": spec.spec_id,
                "last-partition-id": spec.last_assigned_field_id,
                "sort-orders": [UNSORTED_SORT_ORDER],
                "default-sort-order-id": UNSORTED_SORT_ORDER.order_id,
                "properties": {**_SETTINGS, STORE_ID: self._store_id, TABLE_ID: str(table_id)},
            }
        )
        io = self._catalog._load_file_io(location=location)  # noqa: SLF001 - as every catalog of pyiceberg gets its own
        staged = StagedTable((IDENTIFIER, name), metadata, f"{location}/{METADATA}", io, self._catalog)
        return CreateTableTransaction(staged), io

    def load(self, name: str) -> Table:
        """Return a table that is there."""
        return self._catalog.load_table((IDENTIFIER, name))

    def peek(self, name: str) -> Table | None:
        """Return a table as it is, nothing let go of; None where it cannot be opened."""
        return self._load(name)

    def drop(self, name: str, table_id: int) -> None:
        """Take a table out of the catalog, and delete its metadata; its rows are the store's."""
        found = self._load(name)
        if found is not None and found.properties.get(TABLE_ID) == str(table_id):
            self._let_go(name, found.location())

    def discard(self, name: str, table_id: int) -> None:
        """Take a table out of the catalog, also where its metadata cannot be read."""
        if self._load(name) is None:
            with suppress(NoSuchTableError):
                self._catalog.drop_table((IDENTIFIER, name))
        else:
            self.drop(name, table_id)

    def point(self, table: Table) -> None:
        """Write down which metadata file is the newest, for readers that look into the folder."""
        metadata = Path(table.metadata_location)
        hint = metadata.with_name(HINT)
        wanted = metadata.name.removesuffix(".metadata.json")
        with suppress(FileNotFoundError):
            if hint.read_bytes() == wanted.encode():
                return
        temporary = metadata.with_name(f"{HINT}.{uuid4().hex}.tmp")
        temporary.write_text(wanted)
        temporary.rename(hint)

    def tidy(self, table: Table) -> None:
        """Delete metadata that no snapshot needs and that is old enough to belong to no commit under way."""
        metadata = table.metadata
        folder = Path(table.location()) / METADATA
        needed = {Path(table.metadata_location).name, HINT}
        needed |= {Path(one.metadata_file).name for one in metadata.metadata_log}
        for snapshot in metadata.snapshots:
            needed.add(Path(snapshot.manifest_list).name)
            needed |= {Path(one.manifest_path).name for one in manifests(snapshot, table.io)}
        _delete_old(one for one in folder.iterdir() if one.name not in needed)

    def tidy_folders(self) -> None:
        """Delete the metadata of tables that are in the catalog no more."""
        needed = set()
        for identifier in self._catalog.list_tables((IDENTIFIER,)):
            found = self._load(identifier[-1])
            needed.add(Path(found.location()).name if found is not None else "")
        for one in self.folder.iterdir():
            if one.is_dir() and one.name not in needed and _is_old(one / METADATA):
                shutil.rmtree(one, ignore_errors=True)

    def _own(self, table_id: int, name: str) -> Table | None:
        try:
            found = self._catalog.load_table((IDENTIFIER, name))
        except NoSuchTableError:
            return None
        except DAMAGE:
            self._catalog.drop_table((IDENTIFIER, name))
            return None
        maker = found.properties.get(TABLE_ID)
        if maker is None:
            raise ConflictError(
                f"The Iceberg catalog in {self.folder} has a table {IDENTIFIER}.{name} that quantstore did not make; "
                "rename or drop it.",
                table=name,
            )
        is_here = Path(found.location()).parent == self.folder
        if maker == str(table_id) and found.properties.get(STORE_ID) == self._store_id and is_here:
            return found
        if is_here:
            self._let_go(name, found.location())
        else:
            self._catalog.drop_table((IDENTIFIER, name))  # the folder was copied or moved; leave the other's alone
        return None

    def _load(self, name: str) -> Table | None:
        try:
            return self._catalog.load_table((IDENTIFIER, name))
        except (NoSuchTableError, *DAMAGE):
            return None

    def _let_go(self, name: str, location: str) -> None:
        with suppress(NoSuchTableError):
            self._catalog.drop_table((IDENTIFIER, name))
        folder = Path(location)
        if folder.parent == self.folder:
            shutil.rmtree(folder, ignore_errors=True)

    def _free_folder(self, name: str) -> str:
        folder = self.folder / quote_component(name.casefold())
        if folder.exists():
            folder = self.folder / f"{folder.name}-{uuid4().hex[:8]}"
        return str(folder)


class _Catalog(SqlCatalog):
    """A catalog whose commits survive a crash of the machine, as far as the file that they begin with."""

    @staticmethod
    def _write_metadata(metadata: TableMetadata, io: FileIO, metadata_path: str) -> None:
        MetastoreCatalog._write_metadata(metadata, io, metadata_path)  # noqa: SLF001 - what it does, and then some
        with open(metadata_path, "rb") as file:  # noqa: PTH123
            os.fsync(file.fileno())
        sync_folder(Path(metadata_path).parent)
        reach("publish.written")


def _open(folder: Path) -> _Catalog:
    # As a URI, so that signs in the path mean nothing.
    uri = f"sqlite:///file:{quote(str(folder / 'catalog.sqlite'))}?uri=true&timeout=60"
    for left in reversed(range(_OPENING_TRIES)):
        try:
            catalog = _Catalog(IDENTIFIER, uri=uri, warehouse=str(folder))
            catalog.create_namespace_if_not_exists(IDENTIFIER)
        except DatabaseError as error:  # another process makes the same tables now
            if not left:
                raise UnavailableError(f"The Iceberg catalog in {folder} cannot be opened: {error.orig}.") from error
            time.sleep(0.05)
        else:
            return catalog
    raise AssertionError  # the last try returns or raises


def _delete_old(files: Any) -> None:
    for one in files:
        if _is_old(one):
            with suppress(OSError):
                one.unlink()


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > LEFTOVER_SECONDS
    except OSError:
        return False
