"""Text that is no SQL."""

from __future__ import annotations

import re

from quantstore.core.names import listed, nearest, nearest_few
from quantstore.query.mistakes.cases import Case, Names, Told
from quantstore.query.mistakes.complaints import tidy
from quantstore.query.mistakes.places import words

_OPEN_ENDED = (
    (re.compile(r"unterminated.*string"), "The text that begins here has no end: a ' is missing."),
    (re.compile(r"unterminated.*identifier"), 'The name that begins here has no end: a " is missing.'),
    (re.compile(r"unterminated.*comment"), "The comment that begins here has no end: a */ is missing."),
)
_TRIED = 8
_WORDS_BACK = 3


def syntax(case: Case) -> Told:
    """Return what to say of a text that cannot be parsed."""
    message = case.complaint.message
    open_ended = next((text for pattern, text in _OPEN_ENDED if pattern.search(message)), None)
    if open_ended is not None:
        return Told(open_ended)
    if "syntax error" not in message:
        return Told(tidy(message))
    start, end = case.spot or (len(case.sql), len(case.sql))
    return _misspelt(case, start) or _misplaced(case, start, end)


def tables_hint(text: str, names: Names) -> str:
    """Return the table that `text` was probably meant to name, or the tables there are."""
    near = nearest(text, names.tables, 0.5)
    if near is not None:
        return f" Did you mean the table {near!r}?"
    return f" The store has {listed(names.tables)}." if names.tables else " The store has no tables yet."


def _misplaced(case: Case, start: int, end: int) -> Told:
    sql = case.sql
    if not sql[start:].strip():
        stop = len(sql.rstrip())
        return Told(f"Syntax error: the SQL ends too early.{_parentheses(sql, stop)}", spot=(stop, stop + 1))
    if not sql[:start].strip() and not case.names.is_condition:
        return Told(f"This is neither the name of a table nor SQL.{tables_hint(sql.strip(), case.names)}")
    near, hint = repr(sql[start:end]), _parentheses(sql, start)
    if not hint and not sql[end:].strip(" \t\r\n;"):
        return Told(f"Syntax error at or after {near}, or the SQL ends too early.")
    return Told(f"Syntax error at or near {near}.{hint}")


def _misspelt(case: Case, start: int) -> Told | None:
    """Return what to say of a misspelt word of SQL at the place or just before it."""
    keywords = [one.upper() for one in case.names.keywords()]
    known = set(keywords)
    near = [one for one in words(case.sql) if one.start <= start and one.kind == "name"][-_WORDS_BACK:]
    for word in reversed(near):
        if word.text.upper() in known or len(word.text) < 3:
            continue
        head, tail = case.sql[: word.start], case.sql[word.end :]
        tried = nearest_few(word.text, keywords, _TRIED, 0.5)
        meant = next((one for one in tried if case.names.parses(head + one + tail)), None)
        if meant is not None:
            text = f"Syntax error at or near {word.text!r}. Did you mean {meant}?"
            return Told(text, spot=(word.start, word.end), context={"suggestion": meant})
    return None


def _parentheses(sql: str, start: int) -> str:
    """Return what to say of parentheses that do not match."""
    signs = [(one.start, one.text) for one in words(sql) if one.text in {"(", ")"} and one.kind != "text"]
    total = sum(1 if sign == "(" else -1 for _, sign in signs)
    before = sum(1 if sign == "(" else -1 for at, sign in signs if at < start)
    if (start, ")") in signs and before <= 0:
        return " There is no ( for this )."
    return " A ) is missing." if total > 0 and before > 0 else ""
