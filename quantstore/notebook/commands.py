"""What `%tier` can do: thin calls to the store, each giving something to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from quantstore import api
from quantstore.core.render import human_bytes, human_count
from quantstore.errors import InvalidInputError
from quantstore.notebook.display import Listing, Text, counted
from quantstore.notebook.options import Given, Option, read_mixed

if TYPE_CHECKING:
    from quantstore.catalog.records import Receipt
    from quantstore.manager import HybridStorageManager
    from quantstore.notebook.scope import Scope
    from quantstore.tiering.planner import ProposedMove

MAGIC = "%tier"
STORE_OPTION = Option(
    ("-s", "--store"), "STORE", "a variable that holds a store, or the place of one; default qs.default()"
)
MIGRATE_OPTIONS = (
    Option(("--where",), "SQL", "only rows that meet a condition, in quotes"),
    Option(("--before",), "TIME", "only rows with an event time before this: a date, an instant or $name"),
    Option(("--dry-run",), "", "only say what would move"),
)
FSCK_OPTIONS = (
    Option(("--repair",), "", "mend what can be mended safely"),
    Option(("--shallow",), "", "look at names and sizes only"),
)
SWEEP_OPTIONS = (Option(("--grace",), "DURATION", "keep what was superseded more lately than this; default 1h"),)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `%tier`."""

    words: tuple[str, ...]
    given: Given
    scope: Scope

    @property
    def store(self) -> HybridStorageManager:
        """The store it concerns."""
        return self.scope.store(self.given.one("store"))


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand.

    Attributes:
        words: Names of the words it takes; those in brackets may be left out.
        help: What it does, one line.
        run: Does it.
        options: Its options; `--store` goes with every one but `help`.
    """

    words: tuple[str, ...]
    help: str
    run: Callable[[Call], Any]
    options: tuple[Option, ...] = ()

    def usage(self, name: str) -> str:
        """Return how it is written."""
        return " ".join([MAGIC, name, *self.words, *(f"[{option.usage()}]" for option in self.options)])


def run_line(line: str, scope: Scope) -> Any:
    """Run what follows `%tier`.

    Raises:
        InvalidInputError: No such subcommand or option; words are missing or too many.
    """
    name, _, rest = line.strip().partition(" ")
    if not name:
        return _help(Call((), Given(), scope))
    command = COMMANDS.get(name)
    if command is None:
        near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else f" It has {', '.join(COMMANDS)}."
        raise InvalidInputError(f"{MAGIC} has no subcommand {name!r}.{hint}")
    given = read_mixed(rest.strip(), (*command.options, STORE_OPTION), f"{MAGIC} {name}")
    needed = sum(not word.startswith("[") for word in command.words)
    if not needed <= len(given.words) <= len(command.words):
        raise InvalidInputError(f"Write {command.usage(name)}.")
    return command.run(Call(tuple(given.words), given, scope))


def usage() -> str:
    """Return the magic's help."""
    width = max(len(" ".join([name, *command.words])) for name, command in COMMANDS.items())
    lines = ["Look at a store and look after it.", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {MAGIC} {' '.join([name, *command.words]):<{width}}  {command.help}")
        lines += [f"      {option.usage():<{width}}  {option.help}" for option in command.options]
    return "\n".join([*lines, "", f"  {STORE_OPTION.usage()}: {STORE_OPTION.help}"])


def _ls(call: Call) -> Listing:
    store = call.store
    found = [store.table(name).summary() for name in store.tables()]
    rows = tuple(
        (
            one["table"],
            human_count(one["rows"]),
            human_bytes(one["bytes"]),
            human_count(one["segments"]),
            *(human_count(one["tiers"].get(tier, {}).get("rows", 0)) for tier in ("hot", "warm", "cold")),
        )
        for one in found
    )
    columns = ("table", "rows", "bytes", "segments", "rows hot", "rows warm", "rows cold")
    return Listing(f"{store.name}: {counted(len(rows), 'table')}", columns, rows, found, "no tables yet")


def _show(call: Call) -> Listing:
    table = call.store.table(call.words[0])
    placement = table.placement()
    picked = placement.loc[:, ["tier", "trade_date", "asset_class", "rows", "bytes", "min_ts", "max_ts", "codec"]]
    rows = tuple(
        (tier, str(day), kind, human_count(count), human_bytes(size), _second(first), _second(last), codec)
        for tier, day, kind, count, size, first, last, codec in picked.itertuples(index=False)
    )
    summary = table.summary()
    title = f"{table.name}: {counted(summary['rows'], 'row')}, {human_bytes(summary['bytes'])}; columns " + ", ".join(
        f"{field.name} {field.type}" for field in table.schema
    )
    columns = ("tier", "trade_date", "asset_class", "rows", "bytes", "from", "to", "codec")
    return Listing(title, columns, rows, table)


def _status(call: Call) -> Listing:
    store = call.store
    summaries = [store.table(name).summary() for name in store.tables()]
    rows = []
    for tier, place in (("hot", store.hot_store), ("warm", store.warm_store), ("cold", store.cold_store)):
        mine = [one["tiers"][tier] for one in summaries if tier in one["tiers"]]
        count, size, segments = (sum(one[what] for one in mine) for what in ("rows", "bytes", "segments"))
        rows.append((tier, human_count(count), human_bytes(size), human_count(segments), _place(place)))
    catalog = store.metadata_catalog
    mode = ", read-only" if catalog.read_only else ""
    title = f"{store.name}: {counted(len(summaries), 'table')}, version {catalog.snapshot().version}{mode}"
    return Listing(title, ("tier", "rows", "bytes", "segments", "place"), tuple(rows), store)


def _last(call: Call) -> Text:
    last = call.store.last
    if last is None:
        return Text("No read of this store in this process yet.")
    return Text(f"{last!r}\n{last.plan}", last)


def _store(call: Call) -> HybridStorageManager:
    return api.use(call.scope.store(call.words[0], create=True)) if call.words else call.store


def _migrate(call: Call) -> Listing:
    table, source, destination = call.words
    where, before = call.given.one("where"), call.scope.instant(call.given.one("before"), "--before")
    is_dry = call.given.has("dry-run")
    done = call.store.migrate(table, source, destination, where=where, before=before, dry_run=is_dry)
    return _proposals(table, done) if is_dry else _receipts(table, done)  # type: ignore[arg-type]


def _proposals(table: str, moves: Sequence[ProposedMove]) -> Listing:
    rows = tuple(
        (
            str(move.partition),
            move.source.value,
            move.destination.value,
            human_count(move.rows),
            human_count(move.of_rows),
            human_bytes(move.size_bytes),
        )
        for move in moves
    )
    title = f"{table}: {counted(sum(move.rows for move in moves), 'row')} would move"
    return Listing(title, ("partition", "from", "to", "rows", "of rows", "bytes"), rows, moves, "nothing to move")


def _receipts(table: str, receipts: Sequence[Receipt]) -> Listing:
    rows = tuple(
        (
            human_count(one.receipt_id),
            human_count(one.segment_id),
            one.source.value,
            one.destination.value,
            human_count(one.rows),
            human_bytes(one.source_bytes),
            human_bytes(one.destination_bytes),
        )
        for one in receipts
    )
    title = f"{table}: {counted(sum(one.rows for one in receipts), 'row')} moved and verified"
    columns = ("receipt", "segment", "from", "to", "rows", "bytes before", "bytes after")
    return Listing(title, columns, rows, receipts, "nothing to move")


def _sweep(call: Call) -> Text:
    result = call.store.sweep(call.given.one("grace") or "1h")
    return Text(repr(result), result)


def _audit(call: Call) -> Text:
    report = call.store.audit()
    return Text(repr(report), report)


def _fsck(call: Call) -> Text:
    report = call.store.fsck(repair=call.given.has("repair"), deep=not call.given.has("shallow"))
    return Text(repr(report), report)


def _help(call: Call) -> Text:
    if not call.words:
        return Text(usage())
    name = call.words[0]
    if name not in COMMANDS:
        raise InvalidInputError(f"{MAGIC} has no subcommand {name!r}; it has {', '.join(COMMANDS)}.")
    command = COMMANDS[name]
    lines = [f"  {option.usage()}: {option.help}" for option in (*command.options, STORE_OPTION)]
    return Text("\n".join([command.usage(name), f"  {command.help}", *lines]))


def _place(store: Any) -> str:
    return str(getattr(store, "root", store.name))


def _second(stamp: Any) -> str:
    return str(stamp.strftime("%Y-%m-%d %H:%M:%S"))


COMMANDS = {
    "ls": Command((), "tables, and how many rows of each are in which tier", _ls),
    "show": Command(("TABLE",), "columns of a table, and where its segments are", _show),
    "status": Command((), "what each tier holds, and where", _status),
    "last": Command((), "what the last read did, and its plan", _last),
    "store": Command(("[STORE]",), "the default store; with a place or a variable, choose it", _store),
    "migrate": Command(("TABLE", "FROM", "TO"), "move rows to another tier, verified", _migrate, MIGRATE_OPTIONS),
    "sweep": Command((), "delete bytes that nothing reaches any more", _sweep, SWEEP_OPTIONS),
    "audit": Command((), "read every copy and prove every move again", _audit),
    "fsck": Command((), "check the whole store, and mend it on request", _fsck, FSCK_OPTIONS),
    "help": Command(("[SUBCOMMAND]",), "this list, or one subcommand in full", _help),
}
