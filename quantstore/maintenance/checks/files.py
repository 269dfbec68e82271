"""Files that no record names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from quantstore.maintenance.mends import Quarantine
from quantstore.maintenance.problems import Finding, Problem
from quantstore.maintenance.sweep import attempt_of, file_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quantstore.catalog.catalog import Catalog
    from quantstore.core.tier import Tier
    from quantstore.maintenance.checks.grounds import Grounds
    from quantstore.stores.base import SegmentStore, Stored

Listed = list[tuple["Tier", "Stored"]]


def list_files(stores: Mapping[Tier, SegmentStore]) -> Listed:
    """Return every file of every store; to be called before the catalog is read, so that what is new is on record."""
    return [(tier, stored) for tier, store in stores.items() for stored in store.list()]


def unknown_files(grounds: Grounds, listed: Listed) -> Iterator[Finding]:
    """Yield files that belong to no attempt and to no record, and files of copies that lie elsewhere."""
    catalog: Catalog = grounds.catalog
    known_attempts = set(catalog.attempts.states())
    known = catalog.garbage.locations()
    names = {file_id(location) for _, location in known}
    own = {store.name for store in grounds.stores.values()}
    misnamed = {location for store, location in known if store not in own}
    for tier, stored in listed:
        place = (grounds.stores[tier].name, stored.location)
        if place in known or stored.location in misnamed:
            continue  # of the latter the store on record is wrong, which is told
        is_moved = file_id(stored.location) in names
        if attempt_of(stored.location) in known_attempts and not is_moved:
            continue  # under way, or for a sweep to delete
        path = grounds.path(tier, stored.location)
        if path is not None and (str(path) in grounds.claimed or not os.path.lexists(path)):
            continue  # told already: the bytes of a copy that is missing
        told = "bears the name of a copy that is elsewhere" if is_moved else "belongs to no attempt"
        yield _finding(grounds, tier, stored.location, path, told)


def _finding(grounds: Grounds, tier: Tier, location: str, path: Path | None, told: str) -> Finding:
    mend = None if path is None else Quarantine(grounds, path, f"{tier.value}/{location}")
    remedy = "Nothing reads it, and no sweep deletes it; look at it, and delete it where it is not wanted."
    if mend is not None:
        remedy = f"Nothing reads it. fsck(repair=True) moves it to {grounds.lost.folder}."
    problem = Problem(
        kind="orphaned",
        table="",
        partition="",
        tier=tier.value,
        location=location,
        message=f"{location} in {tier.value} {told}",
        remedy=remedy,
        is_mendable=mend is not None,
    )
    return Finding(problem, mend)
