"""quantstore: one table over memory, a time-series database and object storage.

Names are loaded on first use; importing this package loads no DataFrame library, driver or SQL parser.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantstore.api import default, open, use
    from quantstore.core.backend import StorageBackend
    from quantstore.core.tier import Tier
    from quantstore.errors import QuantStoreError
    from quantstore.manager import HybridStorageManager

_PLACES = {
    "HybridStorageManager": "quantstore.manager",
    "QuantStoreError": "quantstore.errors",
    "StorageBackend": "quantstore.core.backend",
    "Tier": "quantstore.core.tier",
    "default": "quantstore.api",
    "open": "quantstore.api",
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
    "use",
]

try:
    __version__ = version("quantstore")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'quantstore' has no attribute {name!r}")
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
