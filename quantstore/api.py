"""Open a store: settings in, manager out; the only place that wires parts together."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from quantstore import config
from quantstore.core.tier import ALL_TIERS
from quantstore.errors import NotFoundError
from quantstore.manager import HybridStorageManager

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.maintenance.rebuild import Rebuilt
    from quantstore.stores.base import SegmentStore

    Place = str | os.PathLike[str] | SegmentStore

_lock = threading.Lock()
_default: HybridStorageManager | None = None


def open(
    target: str | os.PathLike[str] | None = None,
    *,
    read_only: bool = False,
    create: bool = True,
    catalog: str | os.PathLike[str] | Catalog | None = None,
    hot: Place | None = None,
    warm: Place | None = None,
    cold: Place | None = None,
    memory_limit: str | None = None,
    cache: int | str | bool | None = None,
) -> HybridStorageManager:
    """Open a store, and make it where it is missing, which is said on stderr.

    Args:
        target: A directory, a `quantstore.toml`, `"profile:name"` of `./quantstore.toml`, or None: `$QUANTSTORE_STORE`,
            else `./quantstore.toml`, else `./.quantstore`.
        read_only: Whether to refuse every change.
        create: Whether to make a missing store.
        catalog: Place of the catalog, instead of the target's; likewise `hot`, `warm` and `cold`.
        hot: Place of the hot store.
        warm: Place of the warm store.
        cold: Place of the cold store.
        memory_limit: What the SQL engine may use (`"2GB"`); None for its default.
        cache: What answers kept for repeats may take of memory: bytes, `"64MB"`, `"auto"` or `"off"`; None for
            `$QUANTSTORE_CACHE`, else `"auto"`.

    Raises:
        NotFoundError: The store, settings file or profile does not exist and is not to be made.
        InvalidInputError: The target cannot be a store.
        AccessDeniedError: This user may not read, or make, it.
        IntegrityError: Its catalog is damaged or gone.
        UnsupportedError: A newer release made it, its catalog is on a network file system, or the target is a URL.
    """
    from quantstore.catalog.failures import exists
    from quantstore.catalog.opening import catalog_path

    settings = config.resolve(target, {"catalog": catalog, "hot": hot, "warm": warm, "cold": cold})
    place = settings.parts["catalog"]
    is_new = isinstance(place, str | os.PathLike) and not exists(catalog_path(place))
    if is_new and (read_only or not create):
        raise NotFoundError(f"There is no store at {settings.name}; open it with create=True to make one.")
    store = HybridStorageManager(
        settings.parts["hot"],
        settings.parts["warm"],
        settings.parts["cold"],
        place,
        name=settings.name,
        read_only=read_only,
        create=create,
        memory_limit=memory_limit,
        cache=cache,
    )
    if is_new:
        print(f"quantstore: made a new store at {settings.name}", file=sys.stderr)
    _remember(store)
    return store


def rebuild(
    target: str | os.PathLike[str] | None = None,
    *,
    dry_run: bool = False,
    from_files: bool = False,
    deep: bool = False,
    catalog: str | os.PathLike[str] | None = None,
    hot: Place | None = None,
    warm: Place | None = None,
    cold: Place | None = None,
) -> Rebuilt:
    """Make the catalog of a store again, where it is gone or damaged.

    From its journal that is exact: every version, tag, pin and receipt is as it was. From the files of rows alone only
    what they tell is had: the tables as they are at the newest version. The old catalog is moved aside, never deleted.
    End every process that has the store open first.

    Args:
        target: The store, as for `open`.
        dry_run: Whether only to return what would be done.
        from_files: Whether to use the files of rows alone; for a store whose journal is gone, too.
        deep: Whether to read every file of rows, and not only to look whether it is there and as long as it should be.
        catalog: Place of the catalog, instead of the target's; likewise `hot`, `warm` and `cold`.
        hot: Place of the hot store.
        warm: Place of the warm store.
        cold: Place of the cold store.

    Returns:
        What was found; true where nothing is known to be lost.

    Raises:
        NotFoundError: There is no store.
        InvalidInputError: The catalog is whole.
        IntegrityError: The journal has no whole base, or no file can be understood.
        CapacityError: The disk is full.
    """
    from quantstore.catalog.opening import catalog_path
    from quantstore.maintenance.rebuild import Rebuilder
    from quantstore.manager import open_stores

    settings = config.resolve(target, {"catalog": catalog, "hot": hot, "warm": warm, "cold": cold})
    path = catalog_path(settings.parts["catalog"])
    if not path.parent.is_dir():
        raise NotFoundError(f"There is no store at {settings.name}.")
    stores = open_stores({tier: settings.parts[tier.value] for tier in ALL_TIERS})
    try:
        return Rebuilder(path, stores, deep=deep).run(dry_run=dry_run, from_files=from_files)
    finally:
        for store in stores.values():
            store.close()


def default() -> HybridStorageManager:
    """Return the store that `use` chose, else the first one opened; opens the default place where none is open."""
    return _default if _default is not None and not _default.is_closed else open()


def use(store: HybridStorageManager | str | os.PathLike[str]) -> HybridStorageManager:
    """Make `store`, or the one at that place, the default."""
    global _default  # noqa: PLW0603 - one default per process
    chosen: Any = store if isinstance(store, HybridStorageManager) else open(store)
    with _lock:
        _default = chosen
    return _default


def _remember(store: HybridStorageManager) -> None:
    global _default  # noqa: PLW0603 - one default per process
    with _lock:
        if _default is None or _default.is_closed:
            _default = store
