"""What is made from the rows and may say something else: the published tables, kept answers, counts of reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from quantstore.catalog.inspection import REBUILD, journal_problems
from quantstore.maintenance.mends import Remake
from quantstore.maintenance.problems import Finding, Problem
from quantstore.maintenance.unreadable import UNREADABLE

if TYPE_CHECKING:
    from pathlib import Path

    from quantstore.cache.disk import DiskCache
    from quantstore.maintenance.checks.grounds import Grounds


class Published(Protocol):
    """The published tables of a store."""

    def differences(self, *, deep: bool = True) -> list[tuple[str, str]]:
        """Return tables whose published form is not what it should be, each with what is wrong."""
        ...

    def remake(self, table: str, set_aside: Callable[[Path, str, str], Any]) -> None:
        """Publish one of them anew."""
        ...


def derived_data(grounds: Grounds, publisher: Published, cache: DiskCache, *, deep: bool) -> Iterator[Finding]:
    """Yield what is derived and wrong; all of it can be made anew."""
    try:
        differences = publisher.differences(deep=deep)
    except UNREADABLE as error:
        differences = []
        message = f"what is published cannot be looked up ({error})"
        remedy = f"Reads of the store do not use it. Mend the catalog: {REBUILD}."
        yield Finding(Problem("derived", "", "", "", "", message, remedy))
    for table, what in differences:
        mend = Remake(partial(publisher.remake, table, grounds.lost.take), "published it anew")
        message = f"table {table!r} as it is published: {what}"
        remedy = "Reads of the store do not use it. fsck(repair=True) publishes it anew."
        yield Finding(Problem("derived", table, "", "", "", message, remedy, is_mendable=True), mend)
    for what in journal_problems(grounds.catalog.path) if deep else ():
        renew = partial(grounds.catalog.renew_journal, always=True)
        mend = Remake(renew, "began a new journal; of the old ones two are kept")
        message = f"journal of the catalog: {what}"
        remedy = "The catalog does not need it, a rebuild would. fsck(repair=True) begins a new one."
        yield Finding(Problem("derived", "", "", "", "", message, remedy, is_mendable=True), mend)
    for name in cache.damaged() if deep else ():
        mend = Remake(partial(cache.drop, name), "deleted it")
        message = f"kept answer {name} is damaged"
        remedy = "It is never used. fsck(repair=True) deletes it."
        yield Finding(Problem("derived", "", "", "", name, message, remedy, is_mendable=True), mend)
