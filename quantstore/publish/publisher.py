"""Keeps the published tables as the cold tier is: after commits, on request, and where an earlier try was cut off."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantstore.core.warn import warn_caller
from quantstore.errors import (
    MissingDependencyError,
    NotFoundError,
    PublicationWarning,
    QuantStoreError,
    UnsupportedError,
)
from quantstore.publish.publication import IDENTIFIER, Publication, Split

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import PublishedTable, TableRecord
    from quantstore.publish.iceberg import Lakehouse
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

FORMAT = "iceberg"
FOLDER = "iceberg"


class Publisher:
    """Publishes tables of one store, and those published once whenever their cold rows change.

    Args:
        catalog: The store's catalog; the Iceberg catalog lies beside it.
        cold: The cold store.
        form: Returns the form in which a schema id keeps rows.
    """

    def __init__(self, catalog: Catalog, cold: SegmentStore, form: Callable[[int], TableForm]) -> None:
        self._catalog = catalog
        self._form = form
        self._root = str(Path(root).absolute()) if (root := getattr(cold, "root", None)) is not None else ""
        self._is_readable = bool(self._root) and cold.capabilities.form == "parquet"
        self._lock = threading.RLock()
        self._waiting = threading.local()
        self._lake: Lakehouse | None = None
        self._problems: dict[int, str] = {}
        self._split: dict[int, Split] = {}
        if not catalog.read_only:
            catalog.on_change(self.note_change)

    @property
    def folder(self) -> Path:
        """Where the Iceberg catalog and the metadata of its tables are."""
        path = self._catalog.path.absolute()
        return path.with_name(FOLDER if path.name == "catalog.sqlite" else f"{path.stem}-{FOLDER}")

    def publish(self, tables: Iterable[TableRecord]) -> list[Publication]:
        """Bring tables up to date, and delete metadata that nothing needs.

        Raises:
            MissingDependencyError: pyiceberg is not installed.
            UnsupportedError: The cold store keeps no local Parquet files, or a file cannot be published as it is.
            UnavailableError: Other processes kept publishing the same table.
        """
        from quantstore.publish.projection import Projection

        with self._lock:
            lake = self._open()
            done = []
            for table in tables:
                projection = Projection(self._catalog, lake, self._root, self._form, FORMAT)
                done.append(self._described(*projection.bring_up_to_date(table.table_id, tidies=True)))
            lake.tidy_folders()
        return done

    def repair(self) -> list[Publication]:
        """Bring every table that was published once up to date; see `publish`."""
        known = self._known()
        return self.publish([one.table for one in known]) if known else []

    def differences(self, *, deep: bool = True) -> list[tuple[str, str]]:
        """Return tables whose published form does not show what is in cold, each with what is wrong; changes nothing.

        Args:
            deep: Whether to compare what is said of each file with the file.
        """
        known = [one for one in self._known() if not one.is_dropped and one.snapshot_id]
        if not known or not self._is_readable or find_spec("pyiceberg") is None:
            return []
        from quantstore.publish.differences import database_problem, difference
        from quantstore.publish.projection import Projection

        broken = database_problem(self.folder)
        found = []
        with self._lock:
            for one in known:
                projection = (
                    Projection(self._catalog, self._open(), self._root, self._form, FORMAT) if not broken else None
                )
                told = broken or (projection and difference(self._open(), projection, one, deep=deep))
                if told:
                    found.append((one.table.name, told))
        return found

    def remake(self, table: str, set_aside: Callable[[Path, str, str], Any]) -> None:
        """Publish a table anew, from nothing; an Iceberg catalog that is damaged is made anew first.

        Args:
            table: Its name.
            set_aside: Keeps a damaged file, given its path, a name for it and a suffix.

        Raises:
            IntegrityError: A file of its rows is damaged or gone; its published form stays as it was.
        """
        from quantstore.publish.differences import DATABASE, database_problem
        from quantstore.publish.projection import require_files, wanted_form

        with self._lock:
            known = [one for one in self._known() if one.table.name == table and not one.is_dropped]
            for one in known:
                state = self._catalog.publications.state(one.table.table_id, self._root)
                require_files(wanted_form(state, self._root, self._form))
            if database_problem(self.folder):
                if self._lake is not None:
                    self._lake.close()
                    self._lake = None
                for path in sorted(self.folder.glob(f"{DATABASE}*")):
                    set_aside(path, f"{FOLDER}/{path.name}", ".damaged")
            for one in known:
                self._open().discard(one.name, one.table.table_id)
        self.publish([one.table for one in known])

    def unpublish(self, table: TableRecord) -> None:
        """Take a table out of the Iceberg catalog.

        Raises:
            NotFoundError: It is not published.
        """
        listed = self._catalog.publications.listed(self._root, table.table_id)
        if not listed:
            raise NotFoundError(f"Table {table.name!r} is not published.", table=table.name)
        with self._lock:
            self._open().drop(listed[0].name, table.table_id)
            self._catalog.publications.forget(table.table_id, FORMAT)

    def listed(self) -> list[Publication]:
        """Return every publication, with how far it lags and why; looks into the catalog only."""
        return [self._described(one, 0, 0) for one in self._known() if not one.is_dropped]

    def note_change(self) -> None:
        """Publish what a commit changed; called after each."""
        if getattr(self._waiting, "depth", 0):
            self._waiting.is_due = True
        else:
            self.catch_up()

    @contextmanager
    def once(self) -> Iterator[None]:
        """Publish once, when the block ends, what its commits change."""
        waiting = self._waiting
        waiting.depth = getattr(waiting, "depth", 0) + 1
        try:
            yield
        finally:
            waiting.depth -= 1
            if not waiting.depth and getattr(waiting, "is_due", False):
                waiting.is_due = False
                self.catch_up()

    def catch_up(self) -> None:
        """Bring every published table up to date; what fails is warned of and stays to be done."""
        try:
            lagging = [one for one in self._known() if one.lag]
        except QuantStoreError as error:  # the commit before this stands, and its writer must not think it failed
            warn_caller(
                f"It could not be looked up which published tables lag: {error} `maintain` tries again.",
                PublicationWarning,
            )
            return
        for behind in lagging:
            try:
                with self._lock:
                    self._catch_up(behind.table.table_id)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a projection, the commit stands
                self._problems[behind.table.table_id] = _told(error)
                warn_caller(
                    f"Table {behind.table.name!r} was not published, so other engines see it as of version "
                    f"{behind.version}: {_told(error)} `maintain` tries again.",
                    PublicationWarning,
                )

    def before_sweep(self) -> None:
        """Publish what lags, and note that the rest holds: a sweep spares every file that may be published still."""
        if self._known():
            self.catch_up()
            self._catalog.publications.confirm(self._root)

    def close(self) -> None:
        """Close the Iceberg catalog and listen no more."""
        self._catalog.on_change(self.note_change, listens=False)
        if self._lake is not None:
            self._lake.close()
            self._lake = None

    def _catch_up(self, table_id: int) -> None:
        from quantstore.publish.projection import Projection

        projection = Projection(self._catalog, self._open(), self._root, self._form, FORMAT)
        done, _, _, split = projection.bring_up_to_date(table_id)
        self._note(done, split)

    def _known(self) -> list[PublishedTable]:
        return [one for one in self._catalog.publications.listed(self._root) if one.format == FORMAT]

    def _open(self) -> Lakehouse:
        """Return the Iceberg catalog, which the first publication makes."""
        if not self._is_readable:
            raise UnsupportedError("Only local Parquet files can be published; give the cold store a folder.")
        require_pyiceberg()
        from quantstore.publish.iceberg import Lakehouse

        if self._lake is not None and self._lake.pid != os.getpid():
            self._lake.close()
            self._lake = None
        if self._lake is None:
            self._lake = Lakehouse(self.folder, self._catalog.store_id)
        return self._lake

    def _described(self, one: PublishedTable, added: int, removed: int, split: Split | None = None) -> Publication:
        table_id = one.table.table_id
        if split is not None:
            self._note(one, split)
        return Publication(
            table=one.table.name,
            identifier=f"{IDENTIFIER}.{one.name}",
            location=one.location,
            metadata=_newest_metadata(one.location),
            version=one.version,
            generation=one.generation,
            snapshot_id=int(one.snapshot_id) if one.snapshot_id else None,
            published_ns=one.published_ns,
            files_added=added,
            files_removed=removed,
            lag=one.lag,
            split=self._split.get(table_id, ()),
            problem=self._problem(one) if one.lag else "",
        )

    def _problem(self, one: PublishedTable) -> str:
        if find_spec("pyiceberg") is None:
            return _told(_missing())
        return self._problems.get(one.table.table_id, "")

    def _note(self, one: PublishedTable, split: Split) -> None:
        """Remember that a table was published, and warn of columns that became several where that is news."""
        table_id = one.table.table_id
        self._problems.pop(table_id, None)
        if split and self._split.get(table_id) != split:
            listed = "; ".join(f"{name!r} as {' and '.join(map(repr, names))}" for name, names in split)
            warn_caller(
                f"In the published table {one.table.name!r} readers see column {listed}: its files in cold hold types "
                "that Iceberg cannot read as one. `coalesce` puts them together.",
                PublicationWarning,
            )
        self._split[table_id] = split


def require_pyiceberg() -> None:
    """Refuse to go on without pyiceberg.

    Raises:
        MissingDependencyError: Names the extra.
    """
    if find_spec("pyiceberg") is None:
        raise _missing()


def _missing() -> MissingDependencyError:
    return MissingDependencyError("Publishing needs pyiceberg; it comes with pip install quantstore[iceberg].")


def _told(error: Exception) -> str:
    text = str(error) if isinstance(error, QuantStoreError) else f"{type(error).__name__}: {error}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _newest_metadata(location: str) -> str:
    """Return the newest metadata file in a folder, by the hint that lies there."""
    if not location:
        return ""
    folder = Path(location) / "metadata"
    try:
        return str(folder / f"{(folder / 'version-hint.text').read_text()}.metadata.json")
    except (OSError, UnicodeDecodeError):
        return ""
