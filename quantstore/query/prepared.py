"""A SQL text analysed once: rewritten, its tables found, its prunable conditions noted; good for every run of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
from sqlglot import exp

from quantstore.errors import InvalidInputError
from quantstore.query.conditions import Comparison, comparisons
from quantstore.query.links import Linkable, SymbolLink, TimeLink, find_links
from quantstore.query.parse import DIALECT, spaced, table_references, writes
from quantstore.query.resolve import unknown_table
from quantstore.query.rewriting.rewrite import rewrite
from quantstore.rows.form import TableForm, known_form

if TYPE_CHECKING:
    from quantstore.catalog.catalog import View
    from quantstore.catalog.records import TableRecord
    from quantstore.query.rewriting.rewrite import OutputColumn

FormKey = tuple[int | None, str] | None
_MARK = "quantstore_scan"
_WORD = re.compile(r"[A-Za-z_][\w]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A table reference of a statement.

    Attributes:
        name: The table, lower-cased.
        alias: How the statement calls it.
        form: The table's form.
        is_frame: Whether it is a frame of the caller's and no stored table.
        columns: Columns it must offer.
        conditions: What every row that matters meets.
        placeholder: What stands for it in the statement.
    """

    name: str
    alias: str
    form: TableForm
    is_frame: bool
    columns: tuple[str, ...]
    conditions: tuple[Comparison, ...]
    placeholder: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An analysed statement.

    Attributes:
        sql: The statement, rewritten, with a placeholder for each table reference.
        references: What the placeholders stand for.
        outputs: What is known of each result column, or None.
        links: What ties references, by their numbers, to each other.
        schemas: The forms it holds for: schema id and grain of each stored table, None of a name that was no table.
        refined: Parameters to be bound with nanoseconds, though their values have none.
    """

    sql: str
    references: tuple[Reference, ...]
    outputs: tuple[OutputColumn, ...] | None
    links: tuple[TimeLink | SymbolLink, ...]
    schemas: Mapping[str, FormKey]
    refined: frozenset[str]

    def fits(self, view: View) -> bool:
        """Whether the names still mean tables of the same form."""
        return all(_form_key(view.table(name)) == key for name, key in self.schemas.items())


@dataclass(frozen=True, slots=True)
class _Found:
    """A reference in the tree and the form it refers to; its place in the list is the mark it bears in the tree."""

    node: exp.Table
    form: TableForm
    is_frame: bool


def analyse(
    sql: str,
    tree: exp.Expression,
    view: View,
    kinds: Mapping[str, str],
    frames: Mapping[str, TableForm],
    *,
    can_refine: bool,
) -> Prepared:
    """Analyse a parsed statement.

    Args:
        sql: The statement.
        tree: What it was parsed to; left unchanged.
        view: Where its tables are looked up.
        kinds: Kinds of the values bound to `$name`, as `rewrite` takes them.
        frames: Forms of the caller's frames by lower-cased name.
        can_refine: Whether every bound stamp can be held in nanoseconds.

    Raises:
        InvalidInputError: It does more than read.
        NotFoundError: A table does not exist; the nearest is named.
        UnsupportedError: It does with a stamp what cannot be done exactly.
    """
    if writes(tree):
        raise InvalidInputError("Only statements that read are run here; change data with write() and the like.")
    around, tree = _unwrapped(tree.copy())
    found, schemas = _resolve(view, tree, frames)
    forms = {one.form.spec.name.casefold(): one.form for one in found}
    refined = _refined(tree, kinds, forms.values()) if can_refine else frozenset()
    rewritten = rewrite(
        tree,
        {name: form.schema for name, form in forms.items()},
        {name: frozenset(form.hidden) for name, form in forms.items()},
        {name: f"{kind}_ns" if name in refined else kind for name, kind in kinds.items()},
    )
    token = uuid4().hex[:8]  # no name in the query can be the placeholder's by accident
    references = tuple(_reference(one, number, token, found, rewritten.hidden) for number, one in enumerate(found))
    linkable = [Linkable(one.node, one.form, _siblings(one, found)) for one in found]
    tied = (link for link in find_links(linkable) if not (found[link.source].is_frame or found[link.target].is_frame))
    text = _spliced(sql, found, references) if around is None and rewritten.tree == tree else None
    if text is not None:
        return Prepared(text, references, rewritten.outputs, tuple(tied), schemas, refined)
    _put_placeholders(rewritten.tree, references)
    statement, outputs = rewritten.tree, rewritten.outputs
    if around is not None:
        around.set("this", statement)
        statement, outputs = around, None
    return Prepared(statement.sql(DIALECT), references, outputs, tuple(tied), schemas, refined)


def _spliced(sql: str, found: Sequence[_Found], references: Sequence[Reference]) -> str | None:
    """Return the text as it was given, with placeholders for the names of tables; None where a name's place is unknown.

    What need not be rewritten reaches the engine untouched, however the parser would write it out.
    """
    text = spaced(sql)
    places = []
    for one, reference in zip(found, references, strict=True):
        start, end = (one.node.this.meta.get(key) for key in ("start", "end"))
        if start is None or end is None:
            return None
        alias = "" if one.node.alias else f" AS {exp.to_identifier(one.node.name, quoted=True).sql(DIALECT)}"
        places.append((start, end + 1, reference.placeholder + alias))
    for start, end, placeholder in sorted(places, reverse=True):
        text = text[:start] + placeholder + text[end:]
    return text


def _refined(tree: exp.Expression, kinds: Mapping[str, str], forms: Iterable[TableForm]) -> frozenset[str]:
    """Return the stamps that are only ever compared with columns, where every stamp in the tables has nanoseconds.

    Beside such a column the engine takes a stamp with nanoseconds as it is; one without is cast, row by row.
    """
    stamps = [field.type for form in forms for field in form.schema if "timestamp" in str(field.type)]
    if not stamps or any(not pa.types.is_timestamp(kind) or kind.unit != "ns" for kind in stamps):
        return frozenset()
    if len({kind.tz is None for kind in stamps}) > 1:
        return frozenset()
    stamp = "naive" if stamps[0].tz is None else "zoned"
    used: dict[str, list[bool]] = {}
    for node in tree.find_all(exp.Placeholder, exp.Parameter):
        used.setdefault(node.name.lower(), []).append(_is_compared(node))
    return frozenset(name for name, kind in kinds.items() if kind == stamp and all(used.get(name.lower(), [False])))


def _is_compared(node: exp.Expression) -> bool:
    parent = node.parent
    if isinstance(parent, exp.Between):
        return isinstance(parent.this, exp.Column)
    if not isinstance(parent, exp.GT | exp.GTE | exp.LT | exp.LTE | exp.EQ):
        return False
    return isinstance(parent.left, exp.Column) or isinstance(parent.right, exp.Column)


def _unwrapped(tree: exp.Expression) -> tuple[exp.Expression | None, exp.Expression]:
    """Return DESCRIBE or SUMMARIZE, if that is what stands around the query, and the query; of a table, its rows."""
    if not isinstance(tree, exp.Describe | exp.Summarize):
        return None, tree
    query = tree.this.pop()
    return tree, exp.select("*").from_(query) if isinstance(query, exp.Table) else query


def _resolve(
    view: View, tree: exp.Expression, frames: Mapping[str, TableForm]
) -> tuple[list[_Found], dict[str, FormKey]]:
    """Return the references to frames and stored tables, each marked with its number, and the schemas looked up."""
    found: list[_Found] = []
    schemas: dict[str, FormKey] = {}
    for node in table_references(tree):
        name = node.name.casefold()
        form = frames.get(name)
        if form is None:
            record = view.table(name)
            schemas[name] = _form_key(record)
            if record is None:
                if _WORD.fullmatch(node.name):
                    raise unknown_table(view, node.name)
                continue
            form = known_form(record)
        node.meta[_MARK] = len(found)
        found.append(_Found(node, form, name in frames))
    return found, schemas


def _form_key(record: TableRecord | None) -> FormKey:
    """Return what an analysis asks of a table: its columns, and its grain, which the first rows may decide."""
    return None if record is None else (record.schema_id, record.spec.grain.value)


def _reference(
    one: _Found, number: int, token: str, found: Sequence[_Found], hidden: Mapping[str, frozenset[str]]
) -> Reference:
    form = one.form
    name = form.spec.name.casefold()
    named = hidden.get(name, frozenset())
    return Reference(
        name=name,
        alias=one.node.alias_or_name,
        form=form,
        is_frame=one.is_frame,
        columns=tuple(column for column in form.schema.names if column not in form.hidden or column in named),
        conditions=() if one.is_frame else tuple(comparisons(one.node, form, _siblings(one, found))),
        placeholder=f"__quantstore_scan_{token}_{number}__",
    )


def _siblings(own: _Found, found: Sequence[_Found]) -> dict[str, frozenset[str]]:
    """Return column names of what else stands in the same SELECT; an unknown source may have any column."""
    select = own.node.find_ancestor(exp.Select)
    if select is None:
        return {}
    known = {id(one.node): one for one in found}
    siblings: dict[str, frozenset[str]] = {}
    for other in select.find_all(exp.Table, exp.Subquery, exp.Unnest, exp.Lateral):
        if other is own.node or other.find_ancestor(exp.Select) is not select:
            continue
        names = known.get(id(other), own).form.schema.names
        siblings[str(id(other))] = frozenset(name.casefold() for name in names)
    return siblings


def _put_placeholders(tree: exp.Expression, references: Sequence[Reference]) -> None:
    """Put each marked reference's placeholder in its place, under the name the query calls it by."""
    for node in list(tree.find_all(exp.Table)):
        if _MARK in node.meta:
            alias = node.alias_or_name
            if not node.alias:
                node.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
            node.set("this", exp.to_identifier(references[node.meta[_MARK]].placeholder))


def mentioned(view: View, sql: str) -> list[TableRecord]:
    """Return the tables whose names are words of a text."""
    words = {word.casefold() for word in _WORD.findall(sql)}
    records = (view.table(name) for name in view.table_names() if name.casefold() in words)
    return [record for record in records if record is not None]
