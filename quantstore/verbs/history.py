"""History: looking at old versions, naming them, letting them go."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from quantstore.verbs.base import Verbs

if TYPE_CHECKING:
    import pandas as pd

    from quantstore.catalog.expiry import Expired
    from quantstore.catalog.marks import Tag
    from quantstore.maintenance.maintain import Maintained
    from quantstore.table import Table


class HistoryVerbs(Verbs):
    """at, tag, tags, untag, undrop, expire, maintain."""

    def at(self, when: Any) -> Self:
        """Return the store as it was: read-only, every read in it at one version.

        The version does not expire while the returned store is open: close it, or use it in a `with` block. It shares
        everything with this store and must not outlive it.

        Args:
            when: A version, a tag, or an instant with a time of day (no zone: UTC).

        Raises:
            NotFoundError: There is no such version or tag, or it has expired.
            InvalidInputError: A bare date, or nothing that means a version.
        """
        from quantstore.query.moment import version_of

        version = version_of(self.metadata_catalog, when, "when")
        pinned = self._pinned_at(version)
        with self.metadata_catalog.view(version):  # refuses what expired before it was kept
            return pinned

    def tag(self, name: str, version: Any = None) -> Tag:
        """Name a version; it does not expire while it has a name. Doing so again changes nothing.

        Args:
            name: The name, for `as_of=` and `at`. It must not read as a version's number or an instant.
            version: A version, another tag, or an instant; default the newest.

        Raises:
            ConflictError: The name is that of another version.
            NotFoundError: There is no such version, or it has expired.
            InvalidInputError: The name will not do.
        """
        from quantstore.query.moment import check_tag, version_of

        self._require_writable("tag")
        check_tag(name)
        number = None if version is None else version_of(self.metadata_catalog, version, "version")
        return self.metadata_catalog.marks.tag(name, number)

    def tags(self) -> pd.DataFrame:
        """Return all tags, those of the newest versions first: `tag`, `version`, `created` (UTC), `author`."""
        import pandas as pd

        tags = self.metadata_catalog.marks.tags()
        created = pd.Series([one.created_ns for one in tags], dtype="int64")
        return pd.DataFrame(
            {
                "tag": pd.Series([one.name for one in tags], dtype=object),
                "version": pd.Series([one.version for one in tags], dtype="int64"),
                "created": pd.to_datetime(created, unit="ns", utc=True),
                "author": pd.Series([one.author for one in tags], dtype=object),
            }
        )

    def untag(self, name: str) -> Tag:
        """Take a tag away and return it; what only it kept goes with the next `expire`.

        Raises:
            NotFoundError: There is no such tag; the nearest is named.
        """
        self._require_writable("untag")
        return self.metadata_catalog.marks.untag(name)

    def undrop(self, name: str) -> Table:
        """Bring back the table dropped last under a name, with all its rows and versions.

        Raises:
            NotFoundError: No table of this name was dropped, or all its versions have expired.
            InvalidInputError: Another table has the name.
        """
        from quantstore.table import Table
        from quantstore.write.lineage import code_lineage

        self._require_writable("undrop")
        self.metadata_catalog.history.undrop(str(name), code_lineage())
        return Table(self.metadata_catalog, self._record(name), self._stores, self._reader)

    def expire(
        self, older_than: str | float | timedelta | None = None, *, before: Any = None, dry_run: bool = False
    ) -> Expired:
        """Give up old versions and the rows that only they have; a later `sweep` deletes the bytes.

        The newest version always stays, and so do tagged ones, those of open readers and of stores that `at` returned,
        and all versions of tables that are held. A dropped table goes with the last version in which it has a name.

        Args:
            older_than: Versions that were no longer the newest that long ago, such as `30d`.
            before: Instead: versions before this one (a number, a tag, or an instant).
            dry_run: Whether only to return what would be given up.

        Raises:
            InvalidInputError: Neither or both are given.
        """
        version = self._expiry_limit(older_than, before)
        if dry_run:
            return self.metadata_catalog.expiry.preview(version)
        self._require_writable("expire")
        return self.metadata_catalog.expiry.expire(version)

    def maintain(
        self,
        older_than: str | float | timedelta | None = None,
        *,
        grace: str | float | timedelta = "1h",
    ) -> Maintained:
        """Do all upkeep: expire (where an age is given), refresh pins, compact, publish, sweep.

        A job that fails warns; the others run all the same.

        Args:
            older_than: Age of versions to give up, as for `expire`; None to give up none.
            grace: How long superseded bytes stay, as for `sweep`.

        Returns:
            What each job returned, by its name.
        """
        from quantstore.core.duration import parse_duration_ns
        from quantstore.maintenance.maintain import Step, maintain

        self._require_writable("maintain")
        parse_duration_ns(grace, "grace")
        steps: list[Step] = []
        if older_than is not None:
            limit = self._expiry_limit(older_than, None)
            steps.append(("expire", lambda: self.metadata_catalog.expiry.expire(limit)))
        return maintain([*steps, *self._upkeep_steps(grace)])

    def _expiry_limit(self, older_than: str | float | timedelta | None, before: Any) -> int:
        from quantstore.core.duration import parse_duration_ns
        from quantstore.errors import InvalidInputError
        from quantstore.query.moment import version_of

        catalog = self.metadata_catalog
        if (older_than is None) == (before is None):
            raise InvalidInputError("Say what expires: older_than='30d', or before= a version, tag or instant.")
        if older_than is None:
            return version_of(catalog, before, "before")
        return catalog.version_at(catalog.clock.now_ns() - parse_duration_ns(older_than, "older_than"))
