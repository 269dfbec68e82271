"""Rules for literals, names, clauses and queries inside expressions."""

from __future__ import annotations

from sqlglot import exp

from quantstore.errors import InvalidInputError
from quantstore.query.rewriting.expressions import children, node_rule, part, swap, typed
from quantstore.query.rewriting.kinds import LITERAL, NULL, OTHER, UNKNOWN, Kind, struct_of
from quantstore.query.rewriting.scopes import Relation, Scope


@node_rule("literal")
def _literal_kind(node: exp.Expression, _scope: Scope) -> Kind:
    return LITERAL if node.args.get("is_string") else OTHER


@node_rule("null")
def _null(_node: exp.Expression, _scope: Scope) -> Kind:
    return NULL


_PLAIN = "boolean var datatype star hexstring bytestring bitstring nationalstring datatypeparam limitoptions"


@node_rule(*_PLAIN.split())
def _plain(_node: exp.Expression, _scope: Scope) -> Kind:
    return OTHER


@node_rule("placeholder", "parameter")
def _parameter(node: exp.Expression, scope: Scope) -> Kind:
    return scope.context.parameters.get(node.name.lower(), OTHER)


@node_rule("identifier")
def _lambda_parameter(node: exp.Expression, scope: Scope) -> Kind:
    return scope.lambdas.get(node.name.lower(), OTHER)


@node_rule("column")
def column_kind(node: exp.Expression, scope: Scope) -> Kind:
    """Resolve a column; qualify it where a hidden column of the same name could be meant."""
    found = scope.find(node)
    merged = found.merged
    if len(node.parts) > 1:
        return found.kind
    if merged is not None and merged.is_spelled:
        stand_in = merged.value
        swap(node, lambda _: stand_in.copy(), scope)
    elif found.is_row and found.relation is not None and found.relation.hidden:
        relation = found.relation
        scope.context.later.append(lambda: _narrow_row(node, relation, scope))
    elif scope.hides(node.name.lower()):
        if found.is_alias:
            _check_alias(node, scope)
        elif found.relation is not None and found.relation.label is not None and not found.is_ambiguous:
            node.set("table", found.relation.label.copy() if len(scope.relations) > 1 else None)
    return found.kind


def _narrow_row(node: exp.Expression, relation: Relation, scope: Scope) -> None:
    """Write out a whole row whose table shows a hidden column only because the query names it elsewhere."""
    if not scope.context.exposes(relation):
        return
    names = [one.name for one in relation.shape.fields]
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=relation.column(name)) for name in names
    ]
    row: exp.Expression = exp.Struct(expressions=fields)
    is_result = isinstance(node.parent, exp.Select) and node.arg_key == "expressions"
    label = exp.to_identifier(node.name, quoted=True)
    swap(node, lambda _: exp.alias_(row, label, copy=False) if is_result else row, scope)


def _check_alias(node: exp.Expression, scope: Scope) -> None:
    """Refuse, once all is known, the name of a result column that the engine would take for a hidden column."""
    name = node.name.lower()
    alias = scope.aliases[name]
    owners = [relation for relation in scope.relations if name in relation.hidden]

    def check() -> None:
        for relation in owners:
            if name in scope.context.exposes(relation) and relation.hidden[name].source != alias.source:
                raise InvalidInputError(
                    f"{name!r} is a column of the result here and elsewhere in the query the hidden column of table "
                    f"{relation.table!r}; give the result column another name.",
                    column=name,
                )

    scope.context.later.append(check)


@node_rule("paren", "alias", "collate", "ignorenulls", "respectnulls", "limit", "kwarg", "propertyeq", "slice")
def _inner(node: exp.Expression, scope: Scope) -> Kind:
    if isinstance(node, exp.PropertyEQ | exp.Kwarg):
        return part(node, "expression", scope)
    kind = part(node, "this", scope)
    for key in ("expression", "offset"):
        part(node, key, scope)
    return kind


@node_rule("order")
def _order(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    for ordered in node.expressions:
        typed(ordered, scope)
    return kind


@node_rule("distinct")
def _distinct(node: exp.Expression, scope: Scope) -> Kind:
    kinds = [typed(child, scope) for child in list(node.expressions)]
    part(node, "on", scope)
    return kinds[0] if kinds else OTHER


@node_rule(
    "ordered",
    "where",
    "having",
    "qualify",
    "group",
    "cube",
    "rollup",
    "groupingsets",
    "offset",
    "fetch",
    "is",
    "tablesample",
)
def _clause(node: exp.Expression, scope: Scope) -> Kind:
    for child in list(children(node)):
        typed(child, scope)
    return OTHER


@node_rule("positionalcolumn")
def _positional(node: exp.Expression, scope: Scope) -> Kind:
    """`#1` is the first column of the FROM clause."""
    columns = [one.kind for _, one in scope.visible()]
    number = int(node.name) if node.name.isdigit() else 0
    return columns[number - 1] if 0 < number <= len(columns) else UNKNOWN


@node_rule("filter")
def _filter(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    part(node, "expression", scope)
    return kind


@node_rule("and", "or", "xor")
def _connector(node: exp.Expression, scope: Scope) -> Kind:
    pending = [node]
    while pending:  # long chains would exhaust the stack
        one = pending.pop()
        for child in list(children(one)):
            pending.append(child) if isinstance(child, exp.Connector) else typed(child, scope)
    return OTHER


@node_rule("not")
def _not(node: exp.Expression, scope: Scope) -> Kind:
    part(node, "this", scope)
    return OTHER


# Queries inside expressions


def query_kind(node: exp.Expression, scope: Scope) -> Kind:
    """Visit a query that stands for a value and return the kind of its only column."""
    shape = scope.context.visit_query(node, scope, scope.ctes, scope.context)
    scope.context.shapes[id(node)] = shape
    if shape.is_open:
        return UNKNOWN
    if len(shape.fields) == 1:
        return shape.fields[0].kind
    return struct_of(one.kind for one in shape.fields)


@node_rule("subquery", "select", "union", "except", "intersect")
def _subquery(node: exp.Expression, scope: Scope) -> Kind:
    return query_kind(node, scope)


@node_rule("exists")
def _exists(node: exp.Expression, scope: Scope) -> Kind:
    if isinstance(node.this, exp.Query):
        query_kind(node.this, scope)
    else:
        part(node, "this", scope)
    return OTHER
