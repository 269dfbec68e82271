"""Scopes: which columns a name can mean where it stands, hidden ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from quantstore.query.rewriting.kinds import OTHER, UNKNOWN, Kind, Tag, struct_of

Source = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a relation or of a result.

    Attributes:
        name: As it is spelled.
        kind: What is known of its type.
        source: Table and column it is an unchanged copy of, or None.
    """

    name: str
    kind: Kind
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a query's result; `is_open` says that there may be more than the known ones."""

    fields: tuple[Field, ...] = ()
    is_open: bool = False


ANY_SHAPE = Shape(is_open=True)


@dataclass(slots=True, eq=False)
class Relation:
    """One entry of a FROM clause.

    Attributes:
        name: What queries call it, lower-cased; empty where it has no name.
        label: The identifier to qualify its columns with.
        shape: Its visible columns.
        table: The stored table it is, or None.
        hidden: The stored table's hidden columns by lower-cased name.
        synonym: Second name of its only column, lower-cased: series and UNNEST with an alias have two.
        by_name: Visible columns by lower-cased name, the first of each.
    """

    name: str
    label: exp.Identifier | None
    shape: Shape
    table: str | None = None
    hidden: Mapping[str, Field] = field(default_factory=dict)
    synonym: str | None = None
    by_name: dict[str, Field] = field(default_factory=dict, init=False)

    def find(self, name: str) -> Field | None:
        """Return the visible column of a lower-cased name."""
        if not self.by_name:
            self.by_name.update((one.name.lower(), one) for one in reversed(self.shape.fields))
            if self.synonym is not None:
                self.by_name.setdefault(self.synonym, self.shape.fields[0])
        return self.by_name.get(name)

    def column(self, name: str) -> exp.Column:
        """Return a reference to one of its columns."""
        label = self.label.copy() if self.label is not None else None
        return exp.column(exp.to_identifier(name, quoted=True), table=label)


@dataclass(slots=True)
class Merged:
    """A column that USING made one of two.

    Attributes:
        field: The one column.
        members: The relations it comes from, the first to the left.
        value: What stands for it.
        is_spelled: Whether the join was rewritten to ON, so that names of the column stand for `value`.
    """

    field: Field
    members: list[Relation]
    value: exp.Expression
    is_spelled: bool = False

    @property
    def is_visible(self) -> bool:
        """Whether it is a visible column of any of them."""
        name = self.field.name.lower()
        return any(member.find(name) is not None for member in self.members)


@dataclass(frozen=True, slots=True)
class Found:
    """What a column reference means."""

    kind: Kind
    source: Source | None = None
    relation: Relation | None = None
    merged: Merged | None = None
    is_hidden: bool = False
    is_alias: bool = False
    is_ambiguous: bool = False
    is_row: bool = False


@dataclass(slots=True)
class Context:
    """What one rewrite knows and gathers.

    Attributes:
        tables: Stored tables by lower-cased name: visible fields, hidden fields by lower-cased name.
        parameters: Kinds of the bound parameters by lower-cased name.
        is_typed: Whether any value of the query has nanoseconds, so that expressions need their kinds.
        named: Hidden columns that the query names, by table.
        edits: Number of changes made so far.
        later: What remains to be done once all named hidden columns are known.
        visit_query: Walks a query inside an expression.
        shapes: Result columns of queries inside expressions, by the node's id.
        orders: First key of the ORDER BY of windows and its kind, by the node's id.
        stars: Stars and COLUMNS() that hidden columns will be kept out of, by the node's id.
    """

    tables: Mapping[str, tuple[Shape, Mapping[str, Field]]]
    parameters: Mapping[str, Kind]
    is_typed: bool
    visit_query: Callable[[exp.Expression, Scope | None, Ctes, Context], Shape]
    named: dict[str, set[str]] = field(default_factory=dict)
    edits: int = 0
    later: list[Callable[[], None]] = field(default_factory=list)
    shapes: dict[int, Shape] = field(default_factory=dict)
    orders: dict[int, tuple[exp.Expression, Kind]] = field(default_factory=dict)
    stars: set[int] = field(default_factory=set)

    def exposes(self, relation: Relation) -> frozenset[str]:
        """Return the hidden columns of a relation that the query names somewhere, lower-cased."""
        return frozenset(name.lower() for name in self.named.get(relation.table or "", ()))


Ctes = Mapping[str, Shape]


@dataclass(slots=True)
class Scope:
    """What names mean inside one SELECT.

    Attributes:
        context: The rewrite.
        parent: The scope around it.
        ctes: Common table expressions that queries inside can name.
        relations: Entries of the FROM clause, left to right, as far as they can be seen.
        merged: Columns of USING by lower-cased name.
        aliases: Result columns by lower-cased name.
        lambdas: Parameters of the lambda around, lower-cased.
        windows: Named windows, lower-cased.
    """

    context: Context
    parent: Scope | None
    ctes: Ctes
    relations: list[Relation] = field(default_factory=list)
    merged: dict[str, Merged] = field(default_factory=dict)
    aliases: dict[str, Field] = field(default_factory=dict)
    lambdas: dict[str, Kind] = field(default_factory=dict)
    windows: dict[str, exp.Expression] = field(default_factory=dict)

    def find(self, column: exp.Column) -> Found:
        """Return what a column reference means; a hidden column is noted as named."""
        parts = [part.name.lower() for part in column.parts]
        found = self._find_name(parts[0]) if len(parts) == 1 else self._find_path(parts)
        if found is None:
            found = self.parent.find(column) if self.parent is not None else Found(OTHER)
        elif found.is_hidden and found.relation is not None:
            self._note(found.relation, parts[-1])
        return found

    def _note(self, relation: Relation, name: str) -> None:
        if name in relation.hidden:
            self.context.named.setdefault(relation.table or "", set()).add(relation.hidden[name].name)

    def _find_name(self, name: str) -> Found | None:
        if name in self.lambdas:
            return Found(self.lambdas[name])
        if name in self.merged:
            merged = self.merged[name]
            for member in merged.members:
                self._note_if_hidden(member, name)
            return Found(merged.field.kind, merged.field.source, merged=merged)
        seen = [(known, relation) for relation in self.relations if (known := relation.find(name)) is not None]
        if seen:
            known, relation = seen[0]
            return Found(known.kind, known.source, relation, is_ambiguous=len(seen) > 1)
        if name in self.aliases:
            return Found(self.aliases[name].kind, self.aliases[name].source, is_alias=True)
        return self._find_hidden(name) or self._find_row(name)

    def _find_hidden(self, name: str) -> Found | None:
        owners = [relation for relation in self.relations if name in relation.hidden]
        for relation in owners[1:]:
            self._note(relation, name)  # the engine then says that the name is ambiguous
        if not owners:
            return None
        known = owners[0].hidden[name]
        return Found(known.kind, known.source, owners[0], is_hidden=True, is_ambiguous=len(owners) > 1)

    def _find_row(self, name: str) -> Found | None:
        """Find a whole row by its table's name; a source whose columns are not known may have any name."""
        for relation in self.relations:
            if relation.name == name:
                return Found(_row(relation), relation=relation, is_row=True)
        return Found(UNKNOWN) if self.is_open else None

    def _note_if_hidden(self, relation: Relation, name: str) -> None:
        if relation.find(name) is None:
            self._note(relation, name)

    def _find_path(self, parts: list[str]) -> Found | None:
        for start in range(min(len(parts) - 1, 3)):
            relation = next((one for one in self.relations if one.name and one.name == parts[start]), None)
            if relation is not None:
                return self._in_relation(relation, parts[start + 1 :])
        owner = self._find_name(parts[0]) if parts[0] not in self.aliases else None
        if owner is None or owner.kind.tag not in {Tag.STRUCT, Tag.UNKNOWN}:
            return None
        return Found(_descend(owner.kind, parts[1:]), relation=owner.relation)

    def _in_relation(self, relation: Relation, path: list[str]) -> Found:
        known = relation.find(path[0])
        is_hidden = known is None and path[0] in relation.hidden
        if is_hidden:
            known = relation.hidden[path[0]]
            self._note(relation, path[0])
        if known is None:
            return Found(UNKNOWN if relation.shape.is_open else OTHER, relation=relation)
        if len(path) > 1:
            return Found(_descend(known.kind, path[1:]), relation=relation)
        return Found(known.kind, known.source, relation)

    def hides(self, name: str) -> bool:
        """Whether a lower-cased name is that of a hidden column of anything in the FROM clause."""
        return any(name in relation.hidden for relation in self.relations)

    def visible(self) -> Iterator[tuple[Relation, Field]]:
        """Yield what `*` stands for, in order, each column that USING merged once."""
        for relation in self.relations:
            for one in relation.shape.fields:
                merged = self.merged.get(one.name.lower())
                if merged is None or relation not in merged.members:
                    yield relation, one
                elif relation is merged.members[0]:
                    yield relation, merged.field
            for name in relation.hidden:
                merged = self.merged.get(name)
                if merged is not None and merged.is_visible and relation is merged.members[0]:
                    yield relation, merged.field

    @property
    def is_open(self) -> bool:
        """Whether anything in the FROM clause may have columns that are not known."""
        return any(relation.shape.is_open for relation in self.relations)

    def inner(self, lambdas: Mapping[str, Kind]) -> Scope:
        """Return the scope inside a lambda."""
        return Scope(
            self.context,
            self.parent,
            self.ctes,
            self.relations,
            self.merged,
            self.aliases,
            {**self.lambdas, **lambdas},
            self.windows,
        )


def _row(relation: Relation) -> Kind:
    """Return the kind of a whole row."""
    fields = relation.shape.fields
    return struct_of((one.kind for one in fields), (one.name for one in fields))


def _descend(kind: Kind, path: Iterable[str]) -> Kind:
    for name in path:
        kind = kind.field(name) if kind.tag is Tag.STRUCT else UNKNOWN
    return kind


def distinct_names(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Return fields of a derived table, repeated names numbered as the engine does it."""
    seen: dict[str, int] = {}
    result = []
    for one in fields:
        name, low = one.name, one.name.lower()
        if low in seen:
            name = f"{one.name}_{seen[low]}"
            while name.lower() in seen:
                seen[low] += 1
                name = f"{one.name}_{seen[low]}"
            seen[name.lower()] = 1
        else:
            seen[low] = 1
        result.append(Field(name, one.kind, one.source))
    return tuple(result)


def renamed(shape: Shape, names: list[str]) -> Shape:
    """Return a shape whose first columns have new names."""
    if shape.is_open:
        return shape if not names else ANY_SHAPE
    fields = [
        Field(names[position], one.kind, one.source) if position < len(names) else one
        for position, one in enumerate(shape.fields)
    ]
    return Shape(tuple(fields))
