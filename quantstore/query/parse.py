"""SQL text as a tree, and the table references in it that mean stored tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

DIALECT = "duckdb"
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Alter, exp.Copy, exp.Merge, exp.TruncateTable)
_PARAMETER_OR_TEXT = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | \$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$ | \$(?P<parameter>\w++)(?=\S)""",
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=256)
def parse(sql: str) -> exp.Expression | None:
    """Return the tree of one statement, or None where this parser cannot read it; callers must not change the tree."""
    try:
        statements = sqlglot.parse(spaced(sql), read=DIALECT)
    except (SqlglotError, RecursionError, ValueError):
        return None
    if len(statements) != 1 or statements[0] is None or isinstance(statements[0], exp.Command):
        return None
    return statements[0]


def spaced(sql: str) -> str:
    """Put a space behind `$name`: the parser takes `$a,$b` for the start of a dollar-quoted text."""
    return _PARAMETER_OR_TEXT.sub(lambda found: f"{found[0]} " if found["parameter"] else found[0], sql)


def parse_condition(text: str) -> exp.Expression | None:
    """Return the tree of a condition such as goes into WHERE, or None where `text` is none."""
    try:
        return sqlglot.parse_one(spaced(text), read=DIALECT, into=exp.Condition)
    except (SqlglotError, RecursionError, ValueError):
        return None


def writes(tree: exp.Expression) -> bool:
    """Whether any part of the statement changes data."""
    return tree.find(*_WRITES) is not None


def table_references(tree: exp.Expression) -> Iterator[exp.Table]:
    """Yield references to tables by plain name, common table expressions and table functions left out."""
    for node in tree.find_all(exp.Table):
        plain = isinstance(node.this, exp.Identifier) and not node.args.get("db") and not node.args.get("catalog")
        if plain and not _is_cte_name(node):
            yield node


def _is_cte_name(node: exp.Table) -> bool:
    """Whether an enclosing WITH defines the name where `node` stands."""
    name = node.name.casefold()
    child: exp.Expression = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            if isinstance(child, exp.CTE) and name in _cte_names_before(child, parent):
                return True
            # The owner of this WITH is left out below: inside it only the earlier names are known.
            child, parent = parent, parent.parent
            if parent is not None:
                child, parent = parent, parent.parent
            continue
        scope = parent.args.get("with_") or parent.args.get("with")
        if scope is not None and name in {cte.alias.casefold() for cte in scope.expressions}:
            return True
        child, parent = parent, parent.parent
    return False


def _cte_names_before(cte: exp.CTE, scope: exp.With) -> set[str]:
    names = set()
    for other in scope.expressions:
        if other is cte:
            if scope.args.get("recursive"):
                names.add(cte.alias.casefold())
            break
        names.add(other.alias.casefold())
    return names
