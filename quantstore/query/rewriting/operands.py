"""Bringing what a stamp with nanoseconds meets to TIMESTAMP_NS."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.query.rewriting.expressions import column_in, named_rule, node_rule, refuse, spelled, swap, visited
from quantstore.query.rewriting.functions import function_name
from quantstore.query.rewriting.instants import bare, clamped, fixed_length, parameter_stamp, widened
from quantstore.query.rewriting.kinds import Kind, Tag, unify
from quantstore.query.rewriting.scopes import Scope
from quantstore.query.rewriting.stamps import cast_stamp, literal_sql, stamp_sql

_NOW = {"currenttimestamp", "currentdate", "now", "get_current_timestamp", "transaction_timestamp", "today"}


def _is_near_now(node: exp.Expression) -> bool:
    """Whether a value lies within a lifetime of now, so that TIMESTAMP_NS surely holds it."""
    node = bare(node)
    if isinstance(node, exp.Add | exp.Sub):
        return _is_near_now(node.this) and fixed_length(node.expression) is not None
    if isinstance(node, exp.Cast | exp.TimestampTrunc | exp.DateTrunc):
        return _is_near_now(node.this)
    return isinstance(node, exp.Func) and function_name(node) in _NOW


def to_stamp(
    node: exp.Expression, kind: Kind, peer: exp.Expression, peer_kind: Kind, scope: Scope, *, compare: bool
) -> None:
    """Bring an operand that meets a stamp with nanoseconds to TIMESTAMP_NS.

    Args:
        node: The operand; replaced in its tree.
        kind: Its kind.
        peer: The stamp it meets.
        peer_kind: The stamp's kind, which decides what a literal with an offset means.
        scope: Where it stands.
        compare: Whether it is only compared, so that what no TIMESTAMP_NS can be may lie before or after all others.

    Raises:
        InvalidInputError: A literal is no stamp.
        UnsupportedError: It is text that is no literal, or nothing is known of its type.
    """
    if kind.is_ns or kind.tag in {Tag.NULL, Tag.OTHER, Tag.INTERVAL, Tag.TIME, Tag.TIMETZ}:
        return  # alike already, or for the engine to refuse
    if kind.tag is Tag.LITERAL:
        _literal(node, peer, peer_kind, scope, compare=compare)
    elif kind.is_micros or kind.tag is Tag.DATE:
        _micros(node, kind, scope, compare=compare)
    elif kind.tag is Tag.TEXT and isinstance(bare(node), exp.Placeholder):
        zoned = peer_kind.is_zoned
        swap(node, lambda one: parameter_stamp(bare(one), zoned=zoned, beyond=compare), scope)
    else:
        raise _undetermined(node, peer, peer_kind)


def _literal(node: exp.Expression, peer: exp.Expression, peer_kind: Kind, scope: Scope, *, compare: bool) -> None:
    text = bare(node).name
    found = literal_sql(text, zoned=peer_kind.is_zoned, beyond=compare)
    if found is None:
        raise InvalidInputError(
            f"{text!r} beside {column_in(peer)} is no stamp from 1677 to 2262; write it like "
            "'2026-11-20 14:30:00.5+00'.",
            literal=text,
        )
    swap(node, lambda _: found, scope)


def _micros(node: exp.Expression, kind: Kind, scope: Scope, *, compare: bool) -> None:
    stamp = cast_stamp(node)
    exact = stamp_sql(stamp, zoned=True) if stamp is not None else None
    if exact is not None:
        swap(node, lambda _: exact, scope)
    elif compare and not _is_near_now(node):
        swap(node, lambda one: clamped(one, kind), scope)
    else:
        swap(node, widened, scope)


def mix(nodes: Sequence[exp.Expression], kinds: Sequence[Kind], what: str, scope: Scope) -> Kind:
    """Bring values that a result may be any of to one kind, where nanoseconds are among them, and return it."""
    common = unify(kinds)
    if common.is_ns:
        peer = next(node for node, kind in zip(nodes, kinds, strict=True) if kind.is_ns)
        for node, kind in zip(nodes, kinds, strict=True):
            if kind.is_nested:
                raise refuse(what, peer, common)
            to_stamp(node, kind, peer, common, scope, compare=False)
    else:
        nested = [(node, kind) for node, kind in zip(nodes, kinds, strict=True) if kind.carries_ns]
        if nested and common.tag is Tag.UNKNOWN:
            raise refuse(what, *nested[0])
    return common.as_value


def _undetermined(node: exp.Expression, stamp: exp.Expression, kind: Kind) -> UnsupportedError:
    column, other = column_in(stamp), node.sql("duckdb", normalize_functions="lower")[:80]
    to = "TIMESTAMPTZ" if kind.is_zoned else "TIMESTAMP"
    return UnsupportedError(
        f"{column} has nanoseconds and meets {other}, whose type is not known before the query runs; write "
        f"({other})::{to}.",
        column=column,
    )


@node_rule("coalesce", "greatest", "least")
@named_rule("ifnull")
def _any_of(node: exp.Expression, scope: Scope) -> Kind:
    arguments = visited(node, scope)
    return mix([child for child, _ in arguments], [kind for _, kind in arguments], spelled(node), scope)
