"""Rules for casts."""

from __future__ import annotations

from sqlglot import exp

from quantstore.query.rewriting.expressions import node_rule, part, refuse, swap
from quantstore.query.rewriting.instants import bare, cast_to, floor, text_of
from quantstore.query.rewriting.kinds import DATE, TEXT, Kind, Tag, of_sql, type_name
from quantstore.query.rewriting.operands import to_stamp
from quantstore.query.rewriting.scopes import Scope
from quantstore.query.rewriting.stamps import literal_sql

_NUMERIC = {
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "INT128",
    "DOUBLE",
    "FLOAT",
    "DECIMAL",
    "BOOLEAN",
    "UBIGINT",
    "UINT",
}


@node_rule("cast", "trycast")
def _cast(node: exp.Expression, scope: Scope) -> Kind:
    kind = part(node, "this", scope)
    to = of_sql(node.args["to"])
    name = type_name(node.args["to"])
    if name == "TIMESTAMPTZ_NS":
        return _cast_to_zoned(node, kind, scope)
    if kind.tag is Tag.LITERAL and to.is_ns:
        found = literal_sql(bare(node.this).name, zoned=False, beyond=False)
        if found is not None:
            swap(node, lambda _: found, scope)
    if kind.is_ns:
        return _cast_stamp(node, kind, to, name, scope)
    if kind.carries_ns:
        raise refuse(f"A cast to {node.args['to'].sql('duckdb')}", node.this, kind)
    return to


def _cast_to_zoned(node: exp.Expression, kind: Kind, scope: Scope) -> Kind:
    """Cast to the instant with nanoseconds, which the engine has only from 2.0 on: here it is TIMESTAMP_NS in UTC."""
    inner = node.this
    target = kind if kind.tag is Tag.ZONED_NS else Kind(Tag.ZONED_NS, "UTC")
    to_stamp(inner, kind, inner, target, scope, compare=False)
    swap(node, lambda one: one.this, scope)
    return target


def _cast_stamp(node: exp.Expression, kind: Kind, to: Kind, name: str, scope: Scope) -> Kind:
    if to.is_ns or name in _NUMERIC or name == "TIME_NS":
        return to  # exact as it is, or for the engine to refuse
    if to == TEXT and name != "JSON":
        if kind.is_zoned:
            swap(node, lambda one: text_of(one.this, kind), scope)
        return TEXT
    if not (to.is_micros or to == DATE or name in {"TIME", "TIMETZ"}):
        raise refuse(f"A cast to {name}", node.this, kind)
    if to == kind.floored and not node.args["to"].expressions and not name.endswith(("_S", "_MS")):
        swap(node, lambda one: floor(one.this, kind), scope)
        return to
    swap(node.this, lambda one: floor(one, kind), scope)
    if name == "TIME" and kind.is_zoned:  # the engine casts no TIMESTAMPTZ to TIME
        swap(node.this, lambda one: cast_to(one, "TIMESTAMP"), scope)
    return to
