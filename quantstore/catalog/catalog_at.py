"""The catalog as it was at one version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from quantstore.catalog.catalog import Catalog, View
from quantstore.catalog.database import Database
from quantstore.errors import AccessDeniedError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quantstore.catalog.records import Change, Snapshot


class CatalogAt(Catalog):
    """A catalog as it was at one version, which nothing changes.

    Args:
        catalog: The catalog of now; it stays open when this one is closed.
        version: The version.
    """

    def __init__(self, catalog: Catalog, version: int) -> None:
        self.path = catalog.path
        self.clock = catalog.clock
        self.version = version
        self._now = catalog
        self._known = catalog._known  # noqa: SLF001 - the same class
        self._database = _Refusing(catalog._database, version)  # noqa: SLF001 - the same class
        self._open_parts(self._database)
        # Who reads it is written down all the same, and so is how often.
        self.garbage = catalog.garbage
        self.access = catalog.access

    @property
    def read_only(self) -> bool:
        """Whether every change is refused: always."""
        return True

    def require_writable(self, verb: str) -> None:
        """Refuse what changes the store.

        Raises:
            AccessDeniedError: Always.
        """
        raise _refusal(self.version, verb)

    @contextmanager
    def view(self, version: int | None = None) -> Iterator[View]:
        """Open a consistent view of `version`, by default the one this is of."""
        with super().view(self.version if version is None else version) as view:
            yield view

    def snapshot(self) -> Snapshot:
        """Return the version and the placement generation of now."""
        return replace(super().snapshot(), version=self.version)

    def version_at(self, instant_ns: int) -> int:
        """Return the newest version, up to this one, committed at or before an instant."""
        return min(self.version, super().version_at(instant_ns))

    def changes(self, table_id: int | None = None) -> list[Change]:
        """Return what each version up to this one did, newest first."""
        return [change for change in super().changes(table_id) if change.version <= self.version]

    def close(self) -> None:
        """Leave the catalog of now open."""


class _Refusing(Database):
    """A database that is only read."""

    def __init__(self, database: Database, version: int) -> None:
        self.path = database.path
        self.read_only = True
        self._inner = database
        self._version = version

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot and writes nothing."""
        with self._inner.read() as connection:
            yield connection

    @contextmanager
    def write(self, *, is_synced: bool = True) -> Iterator[Connection]:  # noqa: ARG002 - as that of the database
        """Refuse.

        Raises:
            AccessDeniedError: Always.
        """
        raise _refusal(self._version, "change it")
        yield  # type: ignore[unreachable]  # makes this a generator

    def close(self) -> None:
        """Leave the database open."""


def _refusal(version: int, verb: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"This is the store as it was at version {version}, which nothing changes; use the store itself to {verb}.",
        version=version,
    )
