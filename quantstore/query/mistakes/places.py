"""Where in a query something is: line, column, and a picture with carets under it."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

Stretch = tuple[int, int]
"""Positions of the first character and after the last one."""

_WIDTH = 96
_BEFORE = 64
_TAB = 4
_CUT = "..."
_BEFORE_TABLES = {"FROM", "JOIN", "PIVOT", "UNPIVOT", "DESCRIBE", "SUMMARIZE", "TABLE"}
_WORD = re.compile(r"[^\W\d]\w*|\d[\w.]*|'(?:[^']|'')*'?|\"(?:[^\"]|\"\")*\"?|\S")


@dataclass(frozen=True, slots=True)
class Word:
    """A word, text or sign of a query.

    Attributes:
        text: What it says, without quotes.
        start: Position of its first character.
        end: Position after its last one.
        kind: `name`, `quoted` (a name in double quotes), `text` or `other`.
    """

    text: str
    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a query.

    Attributes:
        line: Line, from 1.
        column: Character of that line, from 1.
        near: What stands there, at most the rest of the line.
        picture: The line and, below it, carets; tabs are widened and long lines cut.
    """

    line: int
    column: int
    near: str
    picture: str


def place(sql: str, start: int, end: int) -> Place:
    """Return the place from character `start` to before `end` (at least one wide, at most to the end of the line)."""
    start = max(0, min(start, len(sql)))
    begin = sql.rfind("\n", 0, start) + 1
    stop = sql.find("\n", start)
    line = sql[begin : len(sql) if stop < 0 else stop].rstrip("\r")
    column = min(start - begin, len(line))
    last = max(column + 1, min(end - begin, len(line)))
    number = sql.count("\n", 0, begin) + 1
    return Place(number, column + 1, line[column:last], _picture(f"line {number}: ", line, column, last))


def character(sql: str, byte: int) -> int:
    """Return the position of the character at a byte of the query's UTF-8."""
    return len(sql.encode("utf-8", "surrogatepass")[:byte].decode("utf-8", "ignore"))


def word_end(sql: str, start: int) -> int:
    """Return where the word that begins at `start` ends."""
    found = _WORD.match(sql, start)
    return found.end() if found else start + 1


@lru_cache(maxsize=16)
def words(sql: str) -> tuple[Word, ...]:
    """Return the words of a query, comments left out; nothing where they cannot be told apart."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
    except (SqlglotError, RecursionError, ValueError):
        return ()
    return tuple(_word(token) for token in tokens)


def find_name(sql: str, name: str) -> Stretch | None:
    """Return where a name stands, if it stands in one place only."""
    folded = name.casefold()
    return _only((one.start, one.end) for one in words(sql) if one.kind != "text" and one.text.casefold() == folded)


def find_table(sql: str, name: str) -> Stretch | None:
    """Return where a name first stands as that of a table."""
    folded, found = name.casefold(), words(sql)
    for before, one in pairwise(found):
        is_table = before.text.upper() in _BEFORE_TABLES and before.kind not in {"text", "quoted"}
        if is_table and one.kind != "text" and one.text.casefold() == folded:
            return one.start, one.end
    return find_name(sql, name)


def find_text(sql: str, text: str) -> Stretch | None:
    """Return where a text in quotes stands, if it stands in one place only."""
    return _only((one.start, one.end) for one in words(sql) if one.kind == "text" and one.text == text)


def find_words(sql: str, fragment: str) -> Stretch | None:
    """Return where the words of `fragment` follow each other, in any case and spacing, if in one place only."""
    here, wanted = words(sql), [one.text.casefold() for one in words(fragment)]
    count = len(wanted)
    if not count:
        return None
    return _only(
        (here[at].start, here[at + count - 1].end)
        for at in range(len(here) - count + 1)
        if [one.text.casefold() for one in here[at : at + count]] == wanted
    )


def _only(found: Iterable[Stretch]) -> Stretch | None:
    places = list(found)
    return places[0] if len(places) == 1 else None


def _word(token: Any) -> Word:
    kind = token.token_type.name
    sort = "quoted" if kind == "IDENTIFIER" else "text" if kind == "STRING" else "name" if kind == "VAR" else "other"
    return Word(token.text, token.start, token.end + 1, sort)


def _picture(label: str, line: str, first: int, last: int) -> str:
    """Return a line and carets below its characters from `first` to before `last`."""
    cells, at = [], [0]
    for one in line:
        cell = " " * (_TAB - at[-1] % _TAB) if one == "\t" else one
        cells.append(cell)
        at.append(at[-1] + _columns(cell))
    begin = bisect_left(at, at[first] - _BEFORE) if at[-1] > _WIDTH and at[first] > _BEFORE else 0
    end = bisect_right(at, at[begin] + _WIDTH) - 1
    shown = "".join(cells[begin:end]).rstrip()
    if begin:
        shown = _CUT + shown
    if end < len(line):
        shown += _CUT
    indent = len(label) + at[first] - at[begin] + (len(_CUT) if begin else 0)
    width = max(1, at[min(last, end)] - at[first])
    return f"{label}{shown}\n{' ' * indent}{'^' * width}"


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )
