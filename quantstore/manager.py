"""HybridStorageManager: the facade over catalog, stores, query, tiering and maintenance."""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from quantstore.core.backend import StorageBackend
from quantstore.core.tier import ALL_TIERS, Tier
from quantstore.errors import InvalidInputError
from quantstore.verbs.history import HistoryVerbs
from quantstore.verbs.pinning import PinningVerbs
from quantstore.verbs.publishing import PublishingVerbs
from quantstore.verbs.reading import ReadingVerbs
from quantstore.verbs.tables import TableVerbs
from quantstore.verbs.upkeep import UpkeepVerbs
from quantstore.verbs.writing import WritingVerbs

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.stores.base import SegmentStore


class HybridStorageManager(
    WritingVerbs, ReadingVerbs, TableVerbs, HistoryVerbs, PinningVerbs, PublishingVerbs, UpkeepVerbs, StorageBackend
):
    """One table over three tiers: write, read and migrate without knowing where rows are.

    Args:
        hot_store: Directory, URL or store for the hot tier (mapped Arrow by default).
        warm_store: The same for the warm tier (LZ4 Parquet).
        cold_store: The same for the cold tier (zstd Parquet under `trade_date=/asset_class=`).
        metadata_catalog: File or directory of the catalog, or a `Catalog`.
        name: How the store is shown; defaults to the catalog's place.
        read_only: Whether to refuse every change.
        create: Whether to make what is missing.
        memory_limit: What the SQL engine may use, as DuckDB takes it (`"2GB"`); None for its default.
        cache: What answers kept for repeats may take of memory: bytes, text such as `"64MB"`, `"auto"`, or `"off"`;
            None for `$QUANTSTORE_CACHE`, else `"auto"`: 256 MiB or a twentieth of the memory.
    """

    def __init__(
        self,
        hot_store: str | os.PathLike[str] | SegmentStore,
        warm_store: str | os.PathLike[str] | SegmentStore,
        cold_store: str | os.PathLike[str] | SegmentStore,
        metadata_catalog: str | os.PathLike[str] | Catalog,
        *,
        name: str | None = None,
        read_only: bool = False,
        create: bool = True,
        memory_limit: str | None = None,
        cache: int | str | bool | None = None,
    ) -> None:
        from quantstore.publish.publisher import Publisher
        from quantstore.query.answers import open_cache
        from quantstore.query.engine import Engine

        self._stores = open_stores({Tier.HOT: hot_store, Tier.WARM: warm_store, Tier.COLD: cold_store})
        catalog = _open_catalog(metadata_catalog, self._stores, read_only=read_only, create=create)
        self.hot_store, self.warm_store, self.cold_store = (self._stores[tier] for tier in ALL_TIERS)
        self.name = name or str(catalog.path.parent)
        self.is_closed = False
        self._release: weakref.finalize[Any, Any] | None = None
        self._engine = Engine(memory_limit)
        self._cache = open_cache(cache, catalog)
        self._attach(catalog)
        self._publisher = Publisher(catalog, self._stores[Tier.COLD], self._form)

    def _attach(self, catalog: Catalog) -> None:
        """Read and write by a catalog."""
        from quantstore.query.reader import Reader
        from quantstore.write.committer import Committer

        self.metadata_catalog = catalog
        self._reader = Reader(catalog, self._stores, self._engine, self._cache)
        self._committer = Committer(catalog, self.name)

    def _pinned_at(self, version: int) -> Self:
        from quantstore.catalog.catalog_at import CatalogAt
        from quantstore.query.held import Held

        pinned = copy.copy(self)
        held = Held(self.metadata_catalog, version, keeps_copies=False)
        release = weakref.finalize(pinned, held.release)
        release.atexit = False  # that a reader is gone shows when its process is
        pinned._release = release  # noqa: SLF001 - one of this class
        pinned._attach(CatalogAt(self.metadata_catalog, version))  # noqa: SLF001
        return pinned

    def close(self) -> None:
        """Make durable what streams hold, write down access counts, release files; results handed out stay valid."""
        self.is_closed = True
        try:
            self._close_streams()
        finally:
            self._close_parts()

    def _close_parts(self) -> None:
        self._reader.close()
        if self._release is not None:  # the store that this one is a view of stays open
            self._release()
            return
        self._publisher.close()
        self._cache.close()
        self._engine.close()
        for store in self._stores.values():
            store.close()
        self.metadata_catalog.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def __repr__(self) -> str:
        """Name the store."""
        mode = ", read_only=True" if self.metadata_catalog.read_only else ""
        if self._release is not None:
            return f"<{self.name!r} at version {self.metadata_catalog.snapshot().version}>"
        return f"HybridStorageManager({self.name!r}{mode})"


def _open_catalog(target: Any, stores: Mapping[Tier, SegmentStore], *, read_only: bool, create: bool) -> Catalog:
    from quantstore.catalog.opening import open_catalog

    def find_rows() -> str | None:
        found = (f"{stored.location} in store {store.name!r}" for store in stores.values() for stored in store.list())
        return next(found, None)

    return open_catalog(target, read_only=read_only, create=create, find_rows=find_rows)


def open_stores(targets: Mapping[Tier, Any]) -> dict[Tier, SegmentStore]:
    """Return the stores at places, by tier.

    Raises:
        InvalidInputError: Two of them overlap, or one cannot be a store.
    """
    from quantstore.stores.registry import open_store

    stores = {tier: open_store(target, tier) for tier, target in targets.items()}
    roots = {tier: Path(root).resolve() for tier, store in stores.items() if (root := getattr(store, "root", None))}
    for tier, root in roots.items():
        for other, other_root in roots.items():
            if tier is not other and (root == other_root or root in other_root.parents):
                raise InvalidInputError(
                    f"The {tier.value} store {root} and the {other.value} store {other_root} overlap; give each tier a "
                    "directory of its own."
                )
    return stores
