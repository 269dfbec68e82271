"""What every check stands on: the catalog's state, the stores, and files found in them by their bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from quantstore.maintenance.lost_and_found import LostAndFound
from quantstore.stores.files import CHECKSUM

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.inspection import State
    from quantstore.core.segment import Copy
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A file that may hold a copy's bytes.

    Attributes:
        path: Where it is.
        tier: The tier below whose folder it lies, or None.
        location: Where there, or its path.
    """

    path: Path
    tier: Tier | None
    location: str


class Grounds:
    """The store under check.

    Args:
        catalog: Its catalog.
        stores: By tier.
        form: Returns the form in which a schema id keeps rows.
        state: What the catalog says.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        form: Callable[[int], TableForm],
        state: State,
    ) -> None:
        self.catalog = catalog
        self.stores = stores
        self.state = state
        self.lost = LostAndFound(catalog.path)
        self.claimed: set[str] = set()
        self._find_form = form
        self._forms: dict[int, TableForm] = {}
        self._sums: dict[tuple[str, int, int], str] = {}

    def form(self, schema_id: int) -> TableForm:
        """Return the form in which a schema id keeps rows."""
        if schema_id not in self._forms:
            self._forms[schema_id] = self._find_form(schema_id)
        return self._forms[schema_id]

    def table_name(self, table_id: int | None) -> str:
        """Return a table's name; empty for none."""
        return "" if table_id is None else self.state.names.get(table_id, f"number {table_id}")

    def path(self, tier: Tier, location: str) -> Path | None:
        """Return where a location is in the file system; None where its store keeps no files.

        None, too, for what a damaged catalog calls a location and is no place of a file below the store's folder: a
        repair must never touch what lies elsewhere.
        """
        root = getattr(self.stores[tier], "root", None)
        if root is None or not isinstance(location, str) or "\0" in location:
            return None
        if not {"", ".", ".."}.isdisjoint(location.split("/")):
            return None
        path = Path(root).absolute() / location
        return None if path.is_dir() else path

    def size_of(self, tier: Tier, location: str) -> int | None:
        """Return the size of what is in a place; None where nothing is."""
        path = self.path(tier, location)
        if getattr(self.stores[tier], "root", None) is None:
            return next((one.size_bytes for one in self.stores[tier].list() if one.location == location), None)
        try:
            return path.stat().st_size if path is not None and path.is_file() else None
        except OSError:
            return None

    def checksum_of(self, path: Path) -> str | None:
        """Return the checksum of a file as it is now; None where it cannot be read."""
        try:
            status = path.stat()
            key = (str(path), status.st_ino, status.st_mtime_ns)
            if key not in self._sums:
                digest = xxhash.xxh3_128()
                with path.open("rb", buffering=0) as file:
                    while block := file.read(_BUFFER_BYTES):
                        digest.update(block)
                self._sums[key] = f"{CHECKSUM}:{digest.hexdigest()}"
        except OSError:
            return None
        return self._sums[key]

    def find_bytes(self, copy: Copy) -> Place | None:
        """Return a file that holds a copy's bytes and is not where the copy should be; None where there is none.

        Files that hold what another copy on record needs are left where they are.
        """
        own = self.path(copy.tier, copy.location)
        size = copy.size_bytes if copy.file_bytes is None else copy.file_bytes
        for place in self._files():
            if place.path == own:
                continue
            try:
                fits = place.path.stat().st_size == size
            except OSError:
                continue
            if fits and self.checksum_of(place.path) == copy.checksum and not self._is_needed(place, copy.checksum):
                self.claimed.add(str(place.path))
                return place
        return None

    def _is_needed(self, place: Place, checksum: str) -> bool:
        """Whether a copy on record has these bytes in this place."""
        if place.tier is None:
            return False
        name = self.stores[place.tier].name
        return any(
            copy.store == name and copy.location == place.location and copy.checksum == checksum
            for placed in self.state.segments
            for copy in placed.copies
        )

    def _files(self) -> Iterator[Place]:
        for tier, store in self.stores.items():
            root = getattr(store, "root", None)
            if root is None:
                continue
            top = Path(root).absolute()
            for folder, _, names in os.walk(top):
                for name in names:
                    path = Path(folder) / name
                    yield Place(path, tier, path.relative_to(top).as_posix())
        for path in self.lost.files():
            yield Place(path, None, str(path))
