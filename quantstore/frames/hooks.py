"""Give pandas and Polars frames `.tier`, whichever order things are imported in.

Loaded by `import quantstore`, so it imports neither library: one that is loaded already is served at once, another
right after its own import.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_REGISTRARS = {"pandas": "quantstore.frames.pandas", "polars": "quantstore.frames.polars"}


def install() -> None:
    """Register the accessors of the libraries that are loaded, and wait for the others; twice does no harm."""
    for library in _REGISTRARS:
        if library in sys.modules:
            register(library)
    if not any(isinstance(finder, FrameLibraryFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, FrameLibraryFinder())


def register(library: str) -> None:
    """Import `pandas` or `polars` and give its frames `.tier`."""
    module = import_module(library)  # where another thread is importing it, this waits for the whole of it
    if hasattr(module, "DataFrame"):
        import_module(_REGISTRARS[library]).register(module)


class FrameLibraryFinder:
    """Finds nothing itself; lets pandas and Polars be found as ever and wraps their loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders give for a frame library, and None for anything else."""
        if fullname not in _REGISTRARS:
            return None
        spec = self._others(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, fullname)  # type: ignore[assignment]  # a loader by its methods
        return spec

    def _others(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            if not isinstance(finder, FrameLibraryFinder) and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


class _RegisteringLoader:
    """Loads by another loader, then registers; steps out of the module's sight first."""

    def __init__(self, loader: Loader, library: str) -> None:
        self._loader = loader
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:
            import_module(_REGISTRARS[self._library]).register(module)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the accessor, the library itself is fine
            warnings.warn(f"quantstore could not add .tier to {self._library} frames: {error!r}", stacklevel=2)
