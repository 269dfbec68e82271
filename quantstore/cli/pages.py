"""Facts as pages of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from quantstore.cli.output import bar, stamp, text_table
from quantstore.core.render import human_bytes, human_count

if TYPE_CHECKING:
    from quantstore.catalog.records import Receipt
    from quantstore.cli.facts import Facts
    from quantstore.tiering.planner import ProposedMove

TIERS = ("hot", "warm", "cold")
SHOWN = 30


def tables_page(tables: Sequence[Facts]) -> str:
    """Return one line per table."""
    if not tables:
        return "no tables yet"
    rows = [
        [
            one["table"],
            human_count(one["rows"]),
            human_bytes(one["bytes"]),
            *(human_bytes(one["tiers"][tier]["bytes"]) if tier in one["tiers"] else "-" for tier in TIERS),
            one["first"] or "-",
            one["last"] or "-",
        ]
        for one in tables
    ]
    return text_table(["table", "rows", "bytes", *TIERS, "first", "last"], rows, range(1, 6))


def table_page(facts: Facts) -> str:
    """Return a table's columns, its placement and its newest versions."""
    head = f"{facts['table']}: {human_count(facts['rows'])} rows, {human_bytes(facts['bytes'])}, time {facts['time']}"
    head += f", symbol {facts['symbol']}" if facts["symbol"] else ""
    head += f", key {', '.join(facts['key'])}" if facts["key"] else ""
    columns = text_table(["column", "type"], [[one["name"], one["type"]] for one in facts["columns"]])
    return "\n\n".join([head, columns, tiers_page(facts["tiers"]), _partitions(facts), _versions(facts)])


def tiers_page(tiers: Facts) -> str:
    """Return a line per tier, with a bar for its share of the rows."""
    whole = sum(one["rows"] for one in tiers.values())
    rows = [
        [
            tier,
            human_count(tiers[tier]["segments"]),
            human_count(tiers[tier]["rows"]),
            human_bytes(tiers[tier]["bytes"]),
            bar(tiers[tier]["rows"] / whole),
        ]
        for tier in TIERS
        if tier in tiers
    ]
    return text_table(["tier", "segments", "rows", "bytes", ""], rows, (1, 2, 3)) if rows else "no rows"


def moves_page(moves: Sequence[Receipt] | Sequence[ProposedMove]) -> str:
    """Return what moved, or would move, from where to where."""
    from quantstore.catalog.records import Receipt

    if not moves:
        return "nothing to move"
    lines = [_receipt(one) if isinstance(one, Receipt) else _proposal(one) for one in _first(moves)]
    moved = isinstance(moves[0], Receipt)
    total = sum(one.rows for one in moves)
    more = [f"… and {human_count(len(moves) - SHOWN)} more"] if len(moves) > SHOWN else []
    head = (
        ["from", "to", "first", "last", "rows", "bytes"] if moved else ["from", "to", "partition", "", "rows", "bytes"]
    )
    word = "moved" if moved else "would move"
    return "\n".join(
        [
            text_table(head, lines, (4, 5)),
            *more,
            f"{word} {human_count(total)} rows in {human_count(len(moves))} segments",
        ]
    )


def store_page(facts: Facts) -> str:
    """Return where the store is and what it holds."""
    places = [["catalog", facts["catalog"]], *([tier, facts["stores"][tier]] for tier in TIERS)]
    head = (
        f"{facts['store']}: version {facts['version']}, {human_count(facts['moves'])} moves, "
        f"placement generation {facts['placement_generation']}"
    )
    return "\n\n".join([head, text_table(["part", "place"], places), tables_page(facts["tables"])])


def _receipt(one: Receipt) -> list[str]:
    bytes_text = f"{human_bytes(one.source_bytes)} -> {human_bytes(one.destination_bytes)}"
    return [
        one.source.value,
        one.destination.value,
        stamp(one.min_ns),
        stamp(one.max_ns),
        human_count(one.rows),
        bytes_text,
    ]


def _proposal(one: ProposedMove) -> list[str]:
    rows = human_count(one.rows) + (f" of {human_count(one.of_rows)}" if one.rows != one.of_rows else "")
    return [
        one.source.value,
        one.destination.value,
        one.partition.trade_date.isoformat(),
        str(one.partition.asset_class),
        rows,
        human_bytes(one.size_bytes),
    ]


def _partitions(facts: Facts) -> str:
    rows = [
        [
            one["trade_date"],
            one["asset_class"],
            one["tier"],
            human_count(one["segments"]),
            human_count(one["rows"]),
            human_bytes(one["bytes"]),
        ]
        for one in _last(facts["partitions"])
    ]
    page = text_table(["trade_date", "asset_class", "tier", "segments", "rows", "bytes"], rows, (3, 4, 5))
    hidden = len(facts["partitions"]) - len(rows)
    return page + (f"\n({human_count(hidden)} earlier ones not shown; --json gives all)" if hidden else "")


def _versions(facts: Facts) -> str:
    rows = [
        [
            str(one["version"]),
            one["committed"],
            one["operation"],
            one["tier"],
            human_count(one["rows"]),
            one["write_id"] or "",
        ]
        for one in _first(facts["versions"])
    ]
    return text_table(["version", "committed", "operation", "tier", "rows", "write_id"], rows, (0, 4))


def _first(items: Sequence[Any]) -> Iterable[Any]:
    return items[:SHOWN]


def _last(items: Sequence[Any]) -> list[Any]:
    return list(items[-SHOWN:])
