"""Names of tables and columns: which will do, which look alike, and which was probably meant."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

from quantstore.errors import InvalidInputError

MAX_NAME_LENGTH = 200
RESERVED_PREFIX = "__quantstore"
_SHOWN = 12
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Characters that count as letters, signs or marks and show nothing."""
_TWINS = str.maketrans("АВЕКМНОРСТХУІЈЅаеорсухіјѕһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTXYIJSaeopcyxijshdqwABEZHIKMNOPTYXo")
"""Cyrillic and Greek letters that are drawn like Latin ones."""


def check_name(name: str, what: str = "table") -> str:
    """Return `name` if it can name a table or column.

    Any printable text will do, SQL's own words and path separators included: it is quoted wherever it is used.

    Raises:
        InvalidInputError: Empty, too long, reserved, or with characters that cannot be seen or told apart.
    """
    check_text(name, what)
    if not name.strip():
        raise InvalidInputError(f"A {what} name must not be empty.")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidInputError(
            f"The {what} name {name[:40]!r}... has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed."
        )
    hidden = next((one for one in name if not one.isprintable() or one in _BLANK_LETTERS), None)
    if hidden is not None:
        sort = "control" if unicodedata.category(hidden) == "Cc" else "invisible"
        raise InvalidInputError(f"The {what} name {name!r} has {sort} characters ({_code(hidden)}); remove them.")
    if what == "table" and name != name.strip():
        raise InvalidInputError(f"The table name {name!r} begins or ends with a space; remove it.")
    if not unicodedata.is_normalized("NFC", name):
        raise InvalidInputError(
            f"The {what} name {name!r} has letters and accents apart, which look the same as composed letters; compose "
            "them: unicodedata.normalize('NFC', name)."
        )
    if name.casefold().startswith(RESERVED_PREFIX):
        raise InvalidInputError(
            f"The {what} name {name!r} begins with {RESERVED_PREFIX!r}, which is reserved; choose another."
        )
    return name


def check_text(name: str, what: str = "table") -> None:
    """Refuse a name that is no text, or none that can be written down.

    Raises:
        InvalidInputError: Says what it is.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"A {what} name must be text, not {type(name).__name__}.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"The {what} name {name!r} has half of a character; remove it.") from None


def lookalike(name: str, others: Iterable[str]) -> str | None:
    """Return one of `others` that a reader cannot tell from `name`, though it is another name; None where none is."""
    folded, look = name.casefold(), drawn(name)
    return next((one for one in others if one.casefold() != folded and drawn(one) == look), None)


def different_letters(name: str, other: str) -> str:
    """Return how two names that look alike differ, such as `U+0430 CYRILLIC SMALL LETTER A`."""
    found = [one for one in name if one not in other] or [one for one in other if one not in name]
    return _code(found[0]) if found else "spaces"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of `known` that `name` was probably meant to be, or None."""
    return next(iter(nearest_few(name, known, 1, cutoff)), None)


def nearest_few(name: str, known: Iterable[str], count: int, cutoff: float = 0.6) -> list[str]:
    """Return up to `count` of `known` that `name` may have been meant to be, the likeliest first."""
    by_fold: dict[str, str] = {}
    for one in known:
        by_fold.setdefault(one.casefold(), one)
    return [by_fold[one] for one in get_close_matches(name.casefold(), list(by_fold), count, cutoff)]


def several(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return one name or several as a tuple of texts."""
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(str(one) for one in value)


def listed(names: Iterable[str]) -> str:
    """Return names one after the other, quoted; of many the first ones."""
    every = list(names)
    return ", ".join(map(repr, every[:_SHOWN])) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


def drawn(name: str) -> str:
    """Return what `name` looks like: equal for names that differ only in what cannot be seen."""
    return unicodedata.normalize("NFKC", name.translate(_TWINS)).casefold().strip()


def refuse_lookalike(name: str, others: Iterable[str], what: str = "table") -> None:
    """Refuse a new name that a reader cannot tell from one there is.

    Raises:
        InvalidInputError: Names both and the letters that differ.
    """
    twin = lookalike(name, others)
    if twin is not None:
        raise InvalidInputError(
            f"The {what} name {name!r} looks like {twin!r}, which exists, and differs in "
            f"{different_letters(name, twin)}. Write {twin!r} as it is, or choose another name.",
            suggestion=twin,
        )


def _code(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
