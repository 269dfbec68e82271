"""`%load_ext quantstore`: what it puts into a shell, and takes out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from quantstore.notebook.display import Footers
from quantstore.notebook.magics import TierMagics
from quantstore.notebook.progress import ProgressLine

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was put into a shell."""

    magics: TierMagics
    progress: ProgressLine
    callbacks: tuple[tuple[str, Any], ...]


_loaded: WeakKeyDictionary[Any, _Loaded] = WeakKeyDictionary()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics, the line under results and progress; doing so again changes nothing."""
    if shell in _loaded:
        return
    _load_dialect()
    footers = Footers()
    progress = ProgressLine(is_notebook=hasattr(shell, "kernel"))
    magics = TierMagics(shell, footers)
    shell.register_magics(magics)
    callbacks = (
        ("pre_run_cell", progress.begin_cell),
        ("post_run_cell", progress.end_cell),
        ("post_execute", footers.flush),
    )
    for event, callback in callbacks:
        shell.events.register(event, callback)
    _loaded[shell] = _Loaded(magics, progress, callbacks)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take everything out again that loading put in."""
    loaded = _loaded.pop(shell, None)
    if loaded is None:
        return
    for event, callback in loaded.callbacks:
        shell.events.unregister(event, callback)
    loaded.progress.end_cell()
    for kind, names in loaded.magics.magics.items():
        for name in names:
            registered = shell.magics_manager.magics[kind].get(name)
            if getattr(registered, "__self__", None) is loaded.magics:
                del shell.magics_manager.magics[kind][name]
    shell.magics_manager.registry.pop(type(loaded.magics).__name__, None)
    loaded.magics.close()


def _load_dialect() -> None:
    """Have the SQL parser load what it would load with the first query, where Ctrl-C would break it for good."""
    import sqlglot

    sqlglot.transpile("SELECT 1", read="duckdb", write="duckdb")
