"""Names in queries that mean nothing, and what was probably meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from quantstore.errors import NotFoundError

if TYPE_CHECKING:
    from quantstore.catalog.catalog import View


def unknown_table(view: View, name: str) -> NotFoundError:
    """Return an error that names the nearest table."""
    known = view.table_names()
    near = get_close_matches(name.casefold(), [one.casefold() for one in known], n=1, cutoff=0.5)
    if near:
        hint = f" Did you mean {next(one for one in known if one.casefold() == near[0])!r}?"
    elif known:
        hint = f" The store has {', '.join(map(repr, known[:10]))}{' and more' if len(known) > 10 else ''}."
    else:
        hint = " The store has no tables yet."
    return NotFoundError(f"There is no table {name!r}.{hint}", table=name)
