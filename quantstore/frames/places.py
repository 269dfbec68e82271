"""Which store a frame or a notebook means by `store=`."""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from quantstore import api
from quantstore.errors import InvalidInputError
from quantstore.manager import HybridStorageManager

StoreLike = HybridStorageManager | str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A store opened here by its place, and which file its catalog was then."""

    store: HybridStorageManager
    identity: tuple[int, int] | None


_lock = threading.Lock()
_opened: dict[tuple[str, str], _Opened] = {}


def chosen_store(store: StoreLike | None, *, create: bool = False) -> HybridStorageManager:
    """Return the store meant.

    Args:
        store: A store, the place of one as `quantstore.open` takes it, or None for `quantstore.default()`. A place is
            opened once per process.
        create: Whether to make a store where there is none at that place.

    Raises:
        NotFoundError: There is no store at that place and none is to be made.
    """
    if store is None:
        return api.default()
    if isinstance(store, HybridStorageManager):
        return store
    if not isinstance(store, str | os.PathLike):
        raise InvalidInputError(f"store= takes a store or the place of one, not a {type(store).__name__}.")
    place = os.fspath(store)
    is_path = not place.startswith("profile:")
    key = (str(Path(place).expanduser().absolute()), "") if is_path else (str(Path.cwd()), place)
    with _lock:
        known = _opened.get(key)
        if known is not None and known.identity is not None and known.identity == _identity(known.store):
            return known.store
        made = api.open(place, create=create)
        _opened[key] = _Opened(made, _identity(made))
        return made


@atexit.register
def close_stores() -> None:
    """Close the stores opened here; results handed out stay valid."""
    with _lock:
        opened = list(_opened.values())
        _opened.clear()
    for one in opened:
        one.store.close()


def _identity(store: HybridStorageManager) -> tuple[int, int] | None:
    """Return what tells the catalog's file from another one made later at the same place."""
    try:
        found = store.metadata_catalog.path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
