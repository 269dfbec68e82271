"""What names in a magic mean: variables, expressions and stores of the notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from types import FunctionType, ModuleType
from typing import Any

from quantstore.errors import InvalidInputError
from quantstore.frames.places import chosen_store
from quantstore.manager import HybridStorageManager

_HIDDEN = {"In", "Out", "exit", "quit", "get_ipython", "open"}
_MISSING = object()


class Scope:
    """Variables a magic sees: the function's it is used in, then the notebook's.

    Args:
        local: Variables of the calling function, or None.
        user: The notebook's.
    """

    def __init__(self, local: Mapping[str, Any] | None, user: dict[str, Any]) -> None:
        self._local = local or {}
        self._user = user

    def value(self, name: str, where: str) -> Any:
        """Return the variable called `name`.

        Raises:
            InvalidInputError: There is none; the nearest is named.
        """
        found = self._local.get(name, self._user.get(name, _MISSING))
        if found is not _MISSING:
            return found
        near = self._nearest(name)
        hint = f" Did you mean ${near}?" if near else f" Set {name} = ... or pass -p {name}=EXPR."
        raise InvalidInputError(f"{where} has ${name}, and there is no variable {name!r}.{hint}", parameter=name)

    def evaluate(self, expression: str, where: str) -> Any:
        """Return what a Python expression gives.

        Raises:
            InvalidInputError: It fails; the reason is named.
        """
        try:
            return eval(expression, self._user, dict(self._local))  # noqa: S307 - the user's own code in their notebook
        except Exception as error:
            raise InvalidInputError(f"{where}: {expression} fails with {type(error).__name__}: {error}") from error

    def as_of(self, text: str | None) -> Any:
        """Return the version or instant that `--as-of` means."""
        if text is None:
            return None
        if text.startswith("$"):
            return self.value(text[1:], "--as-of")
        return int(text) if text.isdecimal() else text

    def instant(self, text: str | None, where: str) -> Any:
        """Return an option's instant: text as typed, or the value of `$name`."""
        return self.value(text[1:], where) if text is not None and text.startswith("$") else text

    def store(self, text: str | None, *, create: bool = False) -> HybridStorageManager:
        """Return the store that `--store` means: a variable or expression that gives one or its place, else a place.

        Args:
            text: As typed; None for the default.
            create: Whether to make a store where there is none at that place.

        Raises:
            InvalidInputError: The variable holds something else.
            NotFoundError: There is no store at that place.
        """
        return chosen_store(self._store(text), create=create)

    def _store(self, text: str | None) -> HybridStorageManager | str | os.PathLike[str] | None:
        if text is None:
            return None
        try:
            found = eval(text, self._user, dict(self._local))  # noqa: S307 - as above
        except Exception:  # noqa: BLE001 - no expression, so a place
            return text
        if isinstance(found, HybridStorageManager | str | os.PathLike):
            return found
        if text in self._local or text in self._user:
            raise InvalidInputError(
                f"--store {text}: {text} is a {type(found).__name__}, not a store or the place of one."
            )
        return text

    def _nearest(self, name: str) -> str | None:
        names = {**self._user, **self._local}
        shown = [
            one
            for one, value in names.items()
            if not one.startswith("_")
            and one not in _HIDDEN
            and not isinstance(value, ModuleType | FunctionType | type)
        ]
        lowered = {one.casefold(): one for one in shown}
        near = get_close_matches(name.casefold(), lowered, n=1, cutoff=0.6)
        return lowered[near[0]] if near else None
