"""Options of the magics: read from the front of a line, the rest left exactly as it was typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from quantstore.errors import InvalidInputError

_FLAG = re.compile(r"(--[A-Za-z][\w-]*|-[A-Za-z](?![\w-]))(=?)")
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic.

    Attributes:
        names: How it is written, the short form first where there is one.
        value: What it takes, for the help; empty for a switch.
        help: What it does, one line.
        repeats: Whether it may be given several times.
    """

    names: tuple[str, ...]
    value: str
    help: str
    repeats: bool = False

    @property
    def key(self) -> str:
        """The long name without dashes."""
        return self.names[-1].lstrip("-")

    def usage(self) -> str:
        """Return how it is written: `-o, --out NAME`."""
        return f"{', '.join(self.names)} {self.value}".rstrip()


@dataclass(slots=True)
class Given:
    """What was given: values by option key, positional words, and where the unread rest begins."""

    values: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    end: int = 0

    def one(self, key: str) -> str | None:
        """Return the value of an option, or None."""
        return self.values[key][0] if key in self.values else None

    def has(self, key: str) -> bool:
        """Whether an option was given."""
        return key in self.values


def read_leading(text: str, options: Sequence[Option], magic: str) -> Given:
    """Read options up to the first word that is none; `end` is the offset of that word.

    A word that begins with a dash and a letter has to be an option, so a mistyped one is never taken for SQL; `-1`,
    `->` and `-- a comment` end the options.

    Raises:
        InvalidInputError: An unknown option, one without its value, or one given twice.
    """
    given = Given()
    while _read_option(text, given, options, magic):
        pass
    return given


def read_mixed(text: str, options: Sequence[Option], magic: str) -> Given:
    """Read options and words in any order to the end of `text`.

    Raises:
        InvalidInputError: As for `read_leading`.
    """
    given = Given()
    while True:
        if _read_option(text, given, options, magic):
            continue
        if given.end >= len(text):
            return given
        word, given.end = _word(text, given.end)
        given.words.append(word)


def _read_option(text: str, given: Given, options: Sequence[Option], magic: str) -> bool:
    """Read the option at `given.end`, after blanks; return whether there was one."""
    given.end = _after_blanks(text, given.end)
    found = _FLAG.match(text, given.end)
    if found is None:
        return False
    option = _known(found[1], options, magic)
    at = found.end()
    value = ""
    if option.value:
        at = at if found[2] else _after_blanks(text, at)
        if at >= len(text):
            raise InvalidInputError(f"{magic}: {found[1]} needs {option.value}.")
        value, at = _word(text, at)
    elif found[2]:
        raise InvalidInputError(f"{magic}: {found[1]} takes no value.")
    values = given.values.setdefault(option.key, [])
    if values and not option.repeats:
        raise InvalidInputError(f"{magic}: {found[1]} is given twice.")
    values.append(value)
    given.end = at
    return True


def _known(flag: str, options: Sequence[Option], magic: str) -> Option:
    for option in options:
        if flag in option.names:
            return option
    names = [name for option in options for name in option.names]
    near = get_close_matches(flag, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else f" It has {', '.join(names) or 'no options'}."
    raise InvalidInputError(f"{magic} has no option {flag}.{hint}", option=flag)


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _word(text: str, start: int) -> tuple[str, int]:
    """Return the word at `start` and where it ends; blanks inside quotes and brackets belong to it.

    Quotes around the whole word are taken off.
    """
    quote, depth, at = "", 0, start
    while at < len(text):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        elif char.isspace() and depth <= 0:
            break
        at += 1
    if quote:
        raise InvalidInputError(f"The quote {quote} in {text[start:].strip()!r} is not closed.")
    word = text[start:at]
    is_quoted = len(word) > 1 and word[0] in "'\"" and word.find(word[0], 1) == len(word) - 1
    return (word[1:-1] if is_quoted else word), at
