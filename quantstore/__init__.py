"""quantstore: one table over memory, a time-series database and object storage.

Names are loaded on first use; importing this package loads no DataFrame library, driver or SQL parser. Frames of pandas
and Polars get `.tier` as soon as their library is loaded too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quantstore.frames.hooks import install as _install_accessors

if TYPE_CHECKING:
    from quantstore.api import default, open, rebuild, use
    from quantstore.core.backend import StorageBackend
    from quantstore.core.tier import Tier
    from quantstore.errors import QuantStoreError
    from quantstore.manager import HybridStorageManager

    __version__: str

_PLACES = {
    "HybridStorageManager": "quantstore.manager",
    "QuantStoreError": "quantstore.errors",
    "StorageBackend": "quantstore.core.backend",
    "Tier": "quantstore.core.tier",
    "default": "quantstore.api",
    "open": "quantstore.api",
    "rebuild": "quantstore.api",
    "use": "quantstore.api",
    "load_ipython_extension": "quantstore.notebook.extension",
    "unload_ipython_extension": "quantstore.notebook.extension",
}

__all__ = [
    "HybridStorageManager",
    "QuantStoreError",
    "StorageBackend",
    "Tier",
    "__version__",
    "default",
    "open",
    "rebuild",
    "use",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'quantstore' has no attribute {name!r}")
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__version__"})


def _version() -> str:
    from quantstore.core.release import release

    return release()


_install_accessors()
