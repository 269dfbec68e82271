"""Publishing: the cold tier as tables that other engines read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantstore.verbs.base import Verbs

if TYPE_CHECKING:
    from quantstore.publish.publication import Publication


class PublishingVerbs(Verbs):
    """publish, unpublish, publications."""

    def publish(self, table: str | None = None) -> list[Publication]:
        """Make the cold rows of a table an Iceberg table, which Spark, Trino, DuckDB, Daft and others read.

        No row is copied: the Iceberg table names the store's own Parquet files. From the first time on it follows every
        commit that changes the table's cold rows, until `unpublish`. Doing it again does nothing.

        Args:
            table: The table; None for every table that has columns.

        Returns:
            A record per table: the version it shows, its snapshot, and how many files were added and taken out.

        Raises:
            NotFoundError: No such table.
            MissingDependencyError: pyiceberg is not installed (`pip install quantstore[iceberg]`).
            UnsupportedError: The table has no columns yet, or its files cannot be published as they are.
            UnavailableError: Other processes kept publishing the same table.
        """
        self._require_writable("publish")
        if table is not None:
            return self._publisher.publish([self._record(table)])
        with self.metadata_catalog.view() as view:
            records = [view.table(name) for name in view.table_names()]
        return self._publisher.publish([one for one in records if one is not None and one.schema_id is not None])

    def unpublish(self, table: str) -> None:
        """Take a table out of the Iceberg catalog; its rows stay as they are, and commits publish it no more.

        Args:
            table: The table.

        Raises:
            NotFoundError: No such table, or it is not published.
        """
        self._require_writable("unpublish")
        self._publisher.unpublish(self._record(table))

    def publications(self) -> list[Publication]:
        """Return what is published, with how far each table lags behind its cold rows, and why."""
        return self._publisher.listed()
