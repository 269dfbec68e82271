"""Names in queries that mean nothing, and what was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantstore.core.names import listed, nearest
from quantstore.errors import NotFoundError

if TYPE_CHECKING:
    from quantstore.catalog.catalog import View


def unknown_table(view: View, name: str) -> NotFoundError:
    """Return an error that names the nearest table, or says that there was none of this name at an older version."""
    known = view.table_names()
    context: dict[str, Any] = {"table": name}
    version = view.snapshot.version
    when = "" if view.is_newest else f" at version {version}"
    if view.is_made_later(name):
        return NotFoundError(
            f"There is no table {name!r}{when}; it was made later. Choose a later as_of=.", **context, version=version
        )
    near = nearest(name, known, 0.5)
    if near:
        hint = f" Did you mean {near!r}?"
        context |= {"suggestion": near}
    elif known:
        hint = f" The store has {listed(known)}."
    else:
        hint = " The store has no tables yet." if view.is_newest else " The store had no tables then."
    return NotFoundError(f"There is no table {name!r}{when}.{hint}", **context)
