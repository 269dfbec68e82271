"""FROM clauses: what each entry and each join offers to the SELECT around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.query.rewriting.expressions import refuse, typed
from quantstore.query.rewriting.instants import bare
from quantstore.query.rewriting.kinds import UNKNOWN, Kind, Tag, unify
from quantstore.query.rewriting.operands import mix
from quantstore.query.rewriting.pivots import pivoted
from quantstore.query.rewriting.scopes import ANY_SHAPE, Field, Merged, Relation, Scope, Shape, distinct_names, renamed
from quantstore.query.rewriting.stars import scan


def visit(node: exp.Expression, scope: Scope) -> Kind:
    """Visit an expression; its kind is known only where kinds matter."""
    if scope.context.is_typed:
        return typed(node, scope)
    scan(node, scope)
    return UNKNOWN


def add_source(node: exp.Expression, scope: Scope) -> list[Relation]:
    """Visit an entry of a FROM clause and add what it offers to the scope."""
    if _is_group(node):
        added = _group(node, scope)
    else:
        added = [_relation(node, scope)]
        scope.relations.extend(added)
    for join in node.args.get("joins") or []:
        added += add_join(join, scope)
    for pivot in node.args.get("pivots") or []:
        relation = added[-1]
        shape = pivoted(relation, pivot, scope, visit)
        named = pivot if pivot.args.get("alias") is not None else node
        added[-1] = _aliased(named, shape)
        scope.relations[scope.relations.index(relation)] = added[-1]
    return added


def _is_group(node: exp.Expression) -> bool:
    """Whether an entry is a table or a join in parentheses."""
    inner = node.this if isinstance(node, exp.Subquery) else None
    return isinstance(inner, exp.Table) or (isinstance(inner, exp.Subquery) and bool(inner.args.get("joins")))


def _group(node: exp.Expression, scope: Scope) -> list[Relation]:
    """Add the tables of a join in parentheses, under one name where it has one."""
    alias = node.args.get("alias")
    if alias is None:
        return add_source(node.this, scope)
    inner = Scope(scope.context, scope, scope.ctes)
    add_source(node.this, inner)
    fields = distinct_names(one for _, one in inner.visible())
    relation = _aliased(node, Shape(fields, inner.is_open))
    scope.relations.append(relation)
    return [relation]


def _relation(node: exp.Expression, scope: Scope) -> Relation:
    if isinstance(node, exp.Table):
        return _table(node, scope)
    if isinstance(node, exp.Lateral):
        inner = node.this
        shape = _query(inner, scope) if isinstance(inner, exp.Query) else _function(inner, scope)
    elif isinstance(node, exp.Unnest):
        shape = _unnest(node, scope)
    elif isinstance(node, exp.Values):
        shape = values_shape(node, scope)
    elif isinstance(node, exp.Query):
        shape = _query(node, scope)
    else:
        shape = _function(node, scope)
    return _aliased(node, shape)


def _query(node: exp.Expression, scope: Scope) -> Shape:
    shape = scope.context.visit_query(node, scope, scope.ctes, scope.context)
    return shape if shape.is_open else Shape(distinct_names(shape.fields))


def _aliased(node: exp.Expression, shape: Shape) -> Relation:
    alias = node.args.get("alias")
    label = alias.this if isinstance(alias, exp.TableAlias) else None
    names = [column.name for column in alias.args.get("columns") or []] if isinstance(alias, exp.TableAlias) else []
    _check_open(shape, names)
    if label is None and isinstance(node, exp.Table):
        label = exp.to_identifier(node.name) if node.name else None
    name = label.name.lower() if label is not None else ""
    if isinstance(alias, exp.TableAlias) and not names and _is_series(node) and len(shape.fields) == 1:
        return Relation(name, label, renamed(shape, [name]), synonym=shape.fields[0].name)
    return Relation(name, label, renamed(shape, names) if names else shape)


def _is_series(node: exp.Expression) -> bool:
    """Whether an entry makes one column that the engine also calls by the alias."""
    return isinstance(node, exp.Unnest) or isinstance(node.this, exp.GenerateSeries)


def _check_open(shape: Shape, names: list[str]) -> None:
    if names and shape.is_open:
        for one in shape.fields:
            if one.kind.carries_ns:
                raise UnsupportedError(
                    f"Column {one.name!r} has nanoseconds and is renamed among columns not known before the query "
                    f"runs; write {one.name}::TIMESTAMPTZ.",
                    column=one.name,
                )


def _table(node: exp.Table, scope: Scope) -> Relation:
    if not isinstance(node.this, exp.Identifier):
        return _aliased(node, _function(node.this, scope))
    name = node.name.casefold()
    plain = not node.args.get("db") and not node.args.get("catalog")
    if plain and name in scope.ctes:
        return _aliased(node, scope.ctes[name])
    known = scope.context.tables.get(name) if plain else None
    if known is None:
        return _aliased(node, ANY_SHAPE)
    relation = _aliased(node, known[0])
    relation.table, relation.hidden = name, known[1]
    return relation


def _function(node: exp.Expression, scope: Scope) -> Shape:
    """Visit a table function; series of stamps are known, other functions may return any columns."""
    kind = visit(node, scope)
    if isinstance(node, exp.GenerateSeries):
        name = "range" if node.args.get("is_end_exclusive") else "generate_series"
        return Shape((Field(name, kind.parts[0] if kind.tag is Tag.LIST else UNKNOWN),))
    return ANY_SHAPE


def _unnest(node: exp.Expression, scope: Scope) -> Shape:
    elements = []
    for one in list(node.expressions):
        kind = visit(one, scope)
        if isinstance(bare(one), exp.Placeholder):
            elements.append(kind)  # of a list its kind is that of its elements
        elif kind.carries_ns and kind.tag is not Tag.LIST:
            raise refuse("UNNEST", one, kind)
        else:
            elements.append(kind.parts[0] if kind.tag is Tag.LIST else UNKNOWN)
    if len(elements) != 1 or node.args.get("offset"):
        return ANY_SHAPE
    return Shape((Field("unnest", elements[0].as_value),))


def values_shape(node: exp.Expression, scope: Scope) -> Shape:
    """Visit VALUES and return its columns, rows with nanoseconds brought to one kind."""
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
    kinds = [[visit(one, scope) for one in list(row)] for row in rows]
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
    if len({len(row) for row in rows}) != 1:
        return ANY_SHAPE
    fields = []
    for at in range(len(rows[0])):
        column = [row[at] for row in rows]
        found = [row[at] for row in kinds]
        kind = mix(column, found, "VALUES", scope) if scope.context.is_typed else unify(found)
        fields.append(Field(f"col{at}", kind.as_value))
    return Shape(tuple(fields))


# Joins


def add_join(join: exp.Join, scope: Scope) -> list[Relation]:
    """Visit a join: add its right side to the scope, match the columns it joins on."""
    left = list(scope.relations)
    added = add_source(join.this, scope)
    if join.args.get("on") is not None:
        visit(join.args["on"], scope)
    names = [one.name for one in join.args.get("using") or []]
    if join.method.upper() == "NATURAL":
        names = _natural(join, left, added, scope)
    if names:
        _using(join, names, left, added, scope)
    if join.kind.upper() in {"SEMI", "ANTI"}:
        scope.relations = left
    return added


def _natural(join: exp.Join, left: list[Relation], added: list[Relation], scope: Scope) -> list[str]:
    """Return the visible columns a natural join matches; where hidden ones would match too, spell it with USING."""
    here = {one.name.lower(): one.name for relation in left for one in relation.shape.fields}
    there = {one.name.lower() for relation in added for one in relation.shape.fields}
    names = [name for low, name in here.items() if low in there]
    relations = [*left, *added]

    def spell() -> None:
        if not join.args.get("method") or not any(scope.context.exposes(one) for one in relations):
            return
        if not names:
            raise InvalidInputError("This NATURAL JOIN has no column to match; write ON or USING.")
        join.set("method", None)
        join.set("using", [exp.to_identifier(name, quoted=True) for name in names])

    if any(relation.shape.is_open for relation in relations):
        stamp = next((one for relation in relations for one in relation.shape.fields if one.kind.carries_ns), None)
        if stamp is not None:
            raise UnsupportedError(
                f"This NATURAL JOIN may match {stamp.name!r}, which has nanoseconds, with a column not known before "
                "the query runs; write ON or USING.",
                column=stamp.name,
            )
    scope.context.later.append(spell)
    return names


@dataclass(frozen=True, slots=True)
class _Side:
    """What a name in USING means on one side of a join: its column, where it comes from, and its value."""

    field: Field
    members: list[Relation]
    value: exp.Expression
    is_spelled: bool = False


_Pair = tuple[_Side, _Side]


def _using(join: exp.Join, names: list[str], left: list[Relation], added: list[Relation], scope: Scope) -> None:
    pairs: list[_Pair] = []
    for name in names:
        one, other = _side(name, left, scope, scope.merged), _side(name, added, scope, {})
        if one is not None and other is not None:
            pairs.append((one, other))
        elif (found := one or other) is not None and found.field.kind.carries_ns:
            raise _cannot_match(join, names, found.field)
    is_spelled = any(one.is_spelled or one.field.kind.is_ns != other.field.kind.is_ns for one, other in pairs)
    if is_spelled:
        _spell_out(join, names, pairs, scope)
    if join.kind.upper() in {"SEMI", "ANTI"}:
        return
    for one, other in pairs:
        scope.merged[one.field.name.lower()] = _merge(join, one, other, is_spelled=is_spelled)


def _side(name: str, relations: list[Relation], scope: Scope, merged: Mapping[str, Merged]) -> _Side | None:
    """Return what a name in USING means on one side of the join; a hidden column is noted as named."""
    low = name.lower()
    if low in merged:
        known = merged[low]
        return _Side(known.field, known.members, known.value, known.is_spelled)
    for relation in relations:
        if (found := relation.find(low)) is not None:
            return _Side(found, [relation], relation.column(found.name))
    for relation in relations:
        if low in relation.hidden:
            found = relation.hidden[low]
            scope.context.named.setdefault(relation.table or "", set()).add(found.name)
            return _Side(found, [relation], relation.column(found.name))
    return None


def _merge(join: exp.Join, one: _Side, other: _Side, *, is_spelled: bool) -> Merged:
    first, second, side = one.field, other.field, join.side.upper()
    if side == "RIGHT":
        field, value = Field(first.name, second.kind, second.source), other.value
    elif side == "FULL":
        source = first.source if first.source == second.source else None
        field = Field(first.name, unify([first.kind, second.kind]), source)
        value = exp.Coalesce(this=one.value.copy(), expressions=[other.value.copy()])
    else:
        field, value = first, one.value
    return Merged(field, [*one.members, *other.members], value, is_spelled)


def _cannot_match(join: exp.Join, names: list[str], field: Field) -> UnsupportedError:
    return UnsupportedError(
        f"USING ({', '.join(names)}) matches {field.name!r}, which has nanoseconds, with a column of another or "
        f"unknown type in a {join.side.upper() or 'plain'} join; write ON, and COALESCE where either may be missing.",
        column=field.name,
    )


def _spell_out(join: exp.Join, names: list[str], pairs: list[_Pair], scope: Scope) -> None:
    """Write USING as ON, where a column with nanoseconds meets one without."""
    if join.side.upper() in {"RIGHT", "FULL"} or len(pairs) != len(names):
        fields = [side.field for pair in pairs for side in pair]
        raise _cannot_match(join, names, next((one for one in fields if one.kind.is_ns), fields[0]))
    is_asof = join.method.upper() == "ASOF"
    conditions: list[exp.Expression] = []
    for position, (one, other) in enumerate(pairs):
        operator = exp.GTE if is_asof and position == len(pairs) - 1 else exp.EQ
        conditions.append(operator(this=one.value.copy(), expression=other.value.copy()))
    join.set("using", None)
    if join.method.upper() == "NATURAL":
        join.set("method", None)
    join.set("on", exp.and_(*conditions, copy=False))
    scope.context.edits += 1
    visit(join.args["on"], scope)
