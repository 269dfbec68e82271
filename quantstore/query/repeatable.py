"""Statements that give the same answer whenever they are asked of the same rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sqlglot import exp

from quantstore.query.parse import parse, table_references

if TYPE_CHECKING:
    from quantstore.query.engine import Engine

_VOLATILE_WORDS = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "tablesample"}
)
_VOLATILE_CALLS = frozenset(
    {
        "age",
        "ago",
        "clock_timestamp",
        "current_localtime",
        "current_localtimestamp",
        "current_setting",
        "currval",
        "gen_random_uuid",
        "get_current_time",
        "get_current_timestamp",
        "getenv",
        "getvariable",
        "nextval",
        "now",
        "random",
        "setseed",
        "statement_timestamp",
        "today",
        "transaction_timestamp",
        "uuid",
        "uuidv4",
        "uuidv7",
    }
)
"""What the engine's own list lacks: functions of extensions that are loaded when first used, and of one argument."""
_STEADY = frozenset(
    {
        "abs",
        "and",
        "any",
        "arg_max",
        "arg_min",
        "as",
        "asof",
        "avg",
        "between",
        "by",
        "case",
        "cast",
        "ceil",
        "coalesce",
        "columns",
        "concat",
        "corr",
        "count",
        "count_if",
        "covar_pop",
        "covar_samp",
        "cume_dist",
        "date",
        "date_diff",
        "date_part",
        "date_trunc",
        "day",
        "decimal",
        "dense_rank",
        "else",
        "epoch",
        "epoch_ms",
        "epoch_ns",
        "epoch_us",
        "except",
        "exclude",
        "exists",
        "exp",
        "extract",
        "filter",
        "first",
        "first_value",
        "floor",
        "from",
        "greatest",
        "having",
        "hour",
        "if",
        "ifnull",
        "in",
        "interval",
        "isfinite",
        "isnan",
        "join",
        "lag",
        "last",
        "last_value",
        "lead",
        "least",
        "left",
        "length",
        "list",
        "ln",
        "log",
        "lower",
        "lpad",
        "max",
        "median",
        "min",
        "minute",
        "mod",
        "month",
        "not",
        "ntile",
        "nullif",
        "numeric",
        "on",
        "or",
        "over",
        "partition",
        "percent_rank",
        "power",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "rank",
        "regr_slope",
        "replace",
        "right",
        "round",
        "row_number",
        "rpad",
        "second",
        "select",
        "sign",
        "sqrt",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "strftime",
        "string_agg",
        "struct_pack",
        "substr",
        "substring",
        "sum",
        "then",
        "time_bucket",
        "timezone",
        "trim",
        "try_cast",
        "union",
        "unnest",
        "upper",
        "using",
        "values",
        "var_pop",
        "var_samp",
        "varchar",
        "variance",
        "week",
        "when",
        "where",
        "with",
        "year",
    }
)
"""Words before a parenthesis that are known without asking the engine, which takes a while."""
_SAMPLE = re.compile(r"\busing\s+sample\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d]\w*")
_CALL = re.compile(r'([^\W\d]\w*)"?\s*\(')
_UNCLEAR = re.compile(r"/\*|(?<!\w)[eE]'|\$\w*\$")
"""Comments that nest, texts with backslashes or between dollar signs: the statement is taken to the letter."""
_PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?:--[^\n]*|\s)+""")


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A statement whose answer depends on its text, its parameters and the rows of its tables alone.

    Attributes:
        text: The statement with one space where there was room or a comment.
        tables: Names of the tables it reads, lower-cased, sorted.
    """

    text: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Functions:
    """Functions of an engine: those that give the same for the same, and those that may not."""

    steady: frozenset[str]
    volatile: frozenset[str]


_known: WeakKeyDictionary[Engine, _Functions] = WeakKeyDictionary()


def repeatable(sql: str, engine: Engine) -> Repeatable | None:
    """Return what is to be known of a statement, or None where it asks a clock, chance, a file or nobody knows what."""
    tree = parse(sql)
    if tree is None or _is_volatile(sql, tree, engine):
        return None
    tables = list(table_references(tree))
    plain = {id(one) for one in tables}
    named = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    for one in tree.find_all(exp.Table):
        is_name = isinstance(one.this, exp.Identifier) and not one.args.get("db")
        if id(one) not in plain and not (is_name and one.name.casefold() in named):
            return None  # a file, a table function, a table of the engine's own
    return Repeatable(normalised(sql), tuple(sorted({one.name.casefold() for one in tables})))


def normalised(sql: str) -> str:
    """Return a statement with one space wherever there is room or a comment, outside of quotes."""
    if _UNCLEAR.search(sql):
        return sql
    return _PIECE.sub(lambda found: found[0] if found[0][0] in "'\"" else " ", sql).strip()


def _is_volatile(sql: str, tree: exp.Expression, engine: Engine) -> bool:
    if tree.find(exp.TableSample, exp.ReadCSV) is not None:
        return True
    text = _without_texts(sql)
    if _SAMPLE.search(text) or not _VOLATILE_WORDS.isdisjoint(word.casefold() for word in _WORD.findall(text)):
        return True
    called = _WORD if _UNCLEAR.search(sql) else _CALL  # a comment may stand between a name and its parenthesis
    calls = {word.casefold() for word in called.findall(text)}
    if not calls.isdisjoint(_VOLATILE_CALLS):
        return True
    unknown = {one.name.casefold() for one in tree.find_all(exp.Anonymous)}
    if calls <= _STEADY and unknown <= _STEADY:
        return False
    functions = _functions(engine)
    return not calls.isdisjoint(functions.volatile) or not unknown <= functions.steady


def _without_texts(sql: str) -> str:
    if _UNCLEAR.search(sql):
        return sql
    return _PIECE.sub(lambda found: found[0] if found[0][0] == '"' else " ", sql)


def _functions(engine: Engine) -> _Functions:
    """Ask an engine for its functions; macros are what they are made of."""
    if engine not in _known:
        with engine.cursor() as cursor:
            rows = cursor.sql(
                "SELECT lower(function_name), stability, macro_definition FROM duckdb_functions() "
                "WHERE function_type IN ('scalar', 'aggregate', 'window', 'macro')"
            ).fetchall()
        volatile = {name for name, stability, _ in rows if stability not in (None, "CONSISTENT")} | _VOLATILE_CALLS
        macros = {(name, frozenset(_WORD.findall((text or "").casefold()))) for name, _, text in rows if text}
        while more := {name for name, words in macros if words & (volatile | _VOLATILE_WORDS)} - volatile:
            volatile |= more
        _known[engine] = _Functions(frozenset(name for name, _, _ in rows) - volatile, frozenset(volatile))
    return _known[engine]
