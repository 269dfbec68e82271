"""`*` and COLUMNS(): which columns they stand for, hidden ones left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from quantstore.errors import UnsupportedError
from quantstore.query.rewriting.expressions import node_rule, refuse, typed
from quantstore.query.rewriting.kinds import UNKNOWN, Kind, Tag
from quantstore.query.rewriting.leaves import column_kind, query_kind
from quantstore.query.rewriting.scopes import Field, Relation, Scope

EXCEPT = "except_" if "except_" in exp.Star.arg_types else "except"
_PORTABLE = re.compile(r"(?:\(\?i\)|[\w.|()^$*+?\[\]\- ])*", re.ASCII)
"""Patterns that mean the same to the engine and to Python."""

Column = tuple[Relation | None, Field]


def star_of(node: exp.Expression) -> exp.Star | None:
    """Return the star of `*` or `t.*`, or None for anything else."""
    inner = node.this if isinstance(node, exp.Column) else node
    return inner if isinstance(inner, exp.Star) else None


def star_columns(node: exp.Expression, scope: Scope) -> tuple[list[Column], bool]:
    """Return the columns that `*` or `t.*` stands for, in order, and whether there may be more.

    It is seen to that hidden ones stay out; what REPLACE holds is visited.
    """
    star = star_of(node)
    assert star is not None  # noqa: S101 - the caller looked
    relations = _relations(node, scope)
    columns, is_open = _all_columns(node, relations, scope)
    _later(star, lambda: _hide(node, star, relations, scope), scope)
    excluded = {_excluded(one) for one in star.args.get(EXCEPT) or []}
    columns = [
        (relation, one)
        for relation, one in columns
        if (None, one.name.lower()) not in excluded
        and (relation.name if relation else None, one.name.lower()) not in excluded
    ]
    if isinstance(pattern := star.args.get("ilike"), exp.Literal):
        columns = [one for one in columns if _like(pattern.name, one[1].name)]
    if not star.args.get("replace") and not star.args.get("rename"):
        return columns, is_open
    replaced = {one.alias.lower(): _replaced(one, scope) for one in star.args.get("replace") or []}
    names = {one.this.name.lower(): one.alias for one in star.args.get("rename") or []}
    return [(relation, _changed(one, replaced, names)) for relation, one in columns], is_open


def _all_columns(node: exp.Expression, relations: Sequence[Relation], scope: Scope) -> tuple[list[Column], bool]:
    if not isinstance(node, exp.Column):
        return list(scope.visible()), scope.is_open
    if relations:
        return [(relations[0], one) for one in relations[0].shape.fields], relations[0].shape.is_open
    kind = scope.find(exp.column(node.args["table"].copy())).kind
    if kind.tag is not Tag.STRUCT:
        return [], True
    return [(None, Field(name, part)) for name, part in zip(kind.names, kind.parts, strict=False)], False


def _changed(one: Field, replaced: dict[str, Kind], names: dict[str, str]) -> Field:
    low = one.name.lower()
    if low in replaced:
        return Field(one.name, replaced[low])
    return Field(names.get(low, one.name), one.kind, one.source)


def _replaced(node: exp.Expression, scope: Scope) -> Kind:
    if scope.context.is_typed:
        return typed(node.this, scope).as_value
    scan(node.this, scope)
    return UNKNOWN


def _excluded(node: exp.Expression) -> tuple[str | None, str]:
    table = node.args.get("table")
    return (table.name.lower() if table is not None else None, node.name.lower())


def _relations(node: exp.Expression, scope: Scope) -> list[Relation]:
    if not isinstance(node, exp.Column):
        return list(scope.relations)
    name = node.table.lower()
    around: Scope | None = scope
    while around is not None:
        found = [relation for relation in around.relations if relation.name == name]
        if found:
            return found[:1]
        around = around.parent
    return []


def _hide(node: exp.Expression, star: exp.Star, relations: Sequence[Relation], scope: Scope) -> None:
    """Exclude what the star would show only because the query names it elsewhere, or would show twice."""
    given = list(star.args.get(EXCEPT) or [])
    hidden = {name for relation in relations for name in relation.hidden}
    visible = {one.name.lower() for relation in relations for one in relation.shape.fields}
    kept = [one for one in given if one.name.lower() in visible or one.name.lower() not in hidden]
    names = {_excluded(one) for one in kept}
    added: list[exp.Expression] = []
    for relation in relations:
        for name in sorted(scope.context.exposes(relation)):
            if not isinstance(node, exp.Column) and name in scope.merged and scope.merged[name].is_visible:
                continue
            added.append(_exclusion(relation, relation.hidden[name].name, node, scope))
    if not isinstance(node, exp.Column):
        for merged in scope.merged.values():
            if merged.is_spelled and (None, merged.field.name.lower()) not in names:
                added += [_exclusion(one, merged.field.name, node, scope) for one in merged.members[1:]]
    added = list({one.sql().lower(): one for one in added}.values())
    if added or len(kept) != len(given):
        star.set(EXCEPT, [*kept, *added] or None)


def _exclusion(relation: Relation, name: str, node: exp.Expression, scope: Scope) -> exp.Expression:
    """Return the entry of an EXCLUDE list; what USING merged bears no table's name."""
    if isinstance(node, exp.Column) or (name.lower() in scope.merged and not scope.merged[name.lower()].is_spelled):
        return exp.column(exp.to_identifier(name, quoted=True))
    return relation.column(name)


def _like(pattern: str, name: str) -> bool:
    parts = re.split(r"([%_])", pattern)
    regex = "".join({"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(regex, name, re.IGNORECASE) is not None


def named_columns(node: exp.Expression, scope: Scope) -> list[Column] | None:
    """Return the columns that COLUMNS() stands for, or None where only the engine can tell."""
    chosen = node.this
    if (star := star_of(chosen)) is not None:
        columns, is_open = star_columns(chosen, scope)
        return None if is_open or star.args.get("replace") else columns
    _hide_from(node, scope)
    if scope.is_open:
        return None
    visible = list(scope.visible())
    if isinstance(chosen, exp.Array) and all(isinstance(one, exp.Literal) for one in chosen.expressions):
        wanted = {one.name.lower() for one in chosen.expressions}
        return [one for one in visible if one[1].name.lower() in wanted]
    if isinstance(chosen, exp.Literal) and _PORTABLE.fullmatch(chosen.name) and "[[" not in chosen.name:
        pattern = re.compile(chosen.name, re.ASCII)
        return [one for one in visible if pattern.search(one[1].name)]
    return None


def _hide_from(node: exp.Expression, scope: Scope) -> None:
    """Keep COLUMNS() with a pattern or a lambda from matching hidden columns."""
    relations = list(scope.relations)

    def hide() -> None:
        names = {name for relation in relations for name in scope.context.exposes(relation)}
        names -= {one.name.lower() for relation in relations for one in relation.shape.fields}
        if names:
            _narrow(node, sorted(names))

    _later(node, hide, scope)


def _later(node: exp.Expression, job: Callable[[], None], scope: Scope) -> None:
    """Put a job off until all named hidden columns are known; a node may be visited more than once."""
    if id(node) not in scope.context.stars:
        scope.context.stars.add(id(node))
        scope.context.later.append(job)


def _narrow(node: exp.Expression, names: Sequence[str]) -> None:
    chosen = node.this
    if isinstance(chosen, exp.Lambda):
        name, wanted = chosen.expressions[0].copy(), chosen.this
    elif isinstance(chosen, exp.Literal):
        name = exp.to_identifier("_name", quoted=True)
        wanted = exp.Anonymous(this="REGEXP_MATCHES", expressions=[name.copy(), chosen])
    else:
        return
    lower = exp.Anonymous(this="LOWER", expressions=[name.copy()])
    others = exp.Not(this=exp.In(this=lower, expressions=[exp.Literal.string(one) for one in names]))
    node.set("this", exp.Lambda(this=exp.And(this=exp.Paren(this=wanted), expression=others), expressions=[name]))


def expanded(item: exp.Expression, scope: Scope) -> list[exp.Expression] | None:
    """Return copies of an entry, one per column that COLUMNS() in it stands for, or None where that is not known."""
    nodes = list(item.find_all(exp.Columns))
    columns = [named_columns(node, scope) for node in nodes]
    if any(one is None for one in columns) or any(one != columns[0] for one in columns):
        return None
    if nodes[0].args.get("unpack"):
        return None
    result = []
    for relation, one in columns[0] or []:
        copy = item.copy()
        for node in list(copy.find_all(exp.Columns)):
            reference = _reference(relation, one, scope)
            if node is copy:
                copy = reference
            else:
                node.replace(reference)
        result.append(_labelled(copy, item, one.name, nodes[0]))
    return result


def _reference(relation: Relation | None, one: Field, scope: Scope) -> exp.Expression:
    if relation is None or one.name.lower() in scope.merged:
        return exp.column(exp.to_identifier(one.name, quoted=True))
    return relation.column(one.name)


def _labelled(copy: exp.Expression, item: exp.Expression, name: str, columns: exp.Expression) -> exp.Expression:
    """Return a copy under the name the engine would give it: the column's, or the alias with its groups filled in."""
    if isinstance(copy, exp.Alias):
        alias = item.alias
        if "\\" in alias:
            pattern = columns.this.name if isinstance(columns.this, exp.Literal) else ".*"
            found = re.search(pattern, name, re.ASCII)
            alias = re.sub(r"\\(\d)", lambda group: (found.group(int(group.group(1))) or "") if found else "", alias)
        copy.set("alias", exp.to_identifier(alias, quoted=True))
        return copy
    return copy if isinstance(copy, exp.Column) else exp.alias_(copy, exp.to_identifier(name, quoted=True), copy=False)


@node_rule("columns")
def _columns(node: exp.Expression, scope: Scope) -> Kind:
    """COLUMNS() where it was not written out: it may stand for no column with nanoseconds."""
    columns = named_columns(node, scope)
    found = list(scope.visible()) if columns is None else columns
    for _, one in found:
        if one.kind.carries_ns:
            raise refuse("COLUMNS()", exp.column(exp.to_identifier(one.name)), one.kind)
    return UNKNOWN


@node_rule("like", "similarto")
def _like_rule(node: exp.Expression, scope: Scope) -> Kind:
    if star_of(node.this) is not None:
        raise UnsupportedError("A star with LIKE stands for columns only as a whole result column.")
    for key in ("this", "expression"):
        child = node.args.get(key)
        kind = typed(child, scope) if isinstance(child, exp.Expression) else UNKNOWN
        if kind.carries_ns:
            raise refuse(node.key.upper(), child, kind)
    return UNKNOWN


def scan(node: exp.Expression, scope: Scope) -> None:
    """Visit an expression whose kinds do not matter: resolve its columns, visit queries and stars inside."""
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, exp.Query):
            query_kind(one, scope)
        elif isinstance(one, exp.Columns):
            named_columns(one, scope)
        elif isinstance(one, exp.Column):
            if not isinstance(one.this, exp.Star):
                column_kind(one, scope)
        elif not isinstance(one, exp.Star):
            pending.extend(reversed(list(one.iter_expressions())))
