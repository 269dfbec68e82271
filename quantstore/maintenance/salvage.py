"""Salvage: what the files of rows tell by themselves, put together as a catalog.

Files say which table they are of, at which version their writing began, and which copies their commit was to take
away. What was deleted without a file being written, tags, pins, names after a rename and write ids cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quantstore.catalog.journal_files import file_checksum
from quantstore.catalog.salvaged import SalvagedFile, SalvagedShare, write_catalog
from quantstore.core.render import counted
from quantstore.core.segment import ASSET_CLASS, SEQ, Copy, Partition, seq_base
from quantstore.core.table import Grain, TableSpec
from quantstore.errors import IntegrityError, QuantStoreError
from quantstore.maintenance.sweep import attempt_of
from quantstore.stores.base import Selection, TableLayout
from quantstore.stores.facts import FileFacts, decode_facts
from quantstore.stores.files import CHECKSUM, TEMPORARY
from quantstore.write.partition import piece_stats

if TYPE_CHECKING:
    from pathlib import Path

    from quantstore.core.tier import Tier
    from quantstore.rows.times import Int64s
    from quantstore.stores.base import SegmentStore, Stored

UNKNOWABLE = (
    "files do not tell what was deleted without anything being written, dropped or restored, nor tags, pins, write "
    "ids, names after a rename and versions before the newest; look at the tables before you rely on them"
)
_KEEPS_ROWS = {"move", "compaction", "repair"}


class Salvage:
    """Makes a catalog from files of rows alone.

    Args:
        stores: By tier; each keeps its files below a local folder.
    """

    def __init__(self, stores: Mapping[Tier, SegmentStore]) -> None:
        self._stores = stores
        self._doubts: list[str] = []

    def run(self, target: Path) -> list[str]:
        """Make the catalog and return what is in doubt.

        Raises:
            IntegrityError: No file of rows can be understood.
        """
        files = list(self._understood())
        if not files:
            raise IntegrityError("No file of rows can be understood; there is nothing to make a catalog from.")
        self._number(files)
        files = [one for one in files if one.is_live and one.role == "primary"]
        self._drop_unfinished(files)
        _supersede(files)
        self._doubts += _overwrite(files)
        self._check_doubles(files)
        write_catalog(target, [one for one in files if one.shares])
        return [UNKNOWABLE, *self._doubts]

    def _understood(self) -> Iterator[SalvagedFile]:
        """Yield the files that are whole and say what they hold."""
        for tier, store in self._stores.items():
            for stored in store.list():
                if stored.location.endswith(TEMPORARY):
                    continue
                try:
                    yield _read(tier, store, stored)
                except (QuantStoreError, OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
                    self._doubts.append(f"{stored.location} in store {store.name!r} could not be used: {error}")

    def _number(self, files: list[SalvagedFile]) -> None:
        """Find for each commit that added rows the version it made."""
        known: dict[str, int] = {}
        own = {(one.store, one.location): one for one in files}
        for one in files:
            sources = [own[place] for place in one.sources if place in own]
            if one.kind == "move" and len(one.sources) == 1 and sources and sources[0].first is not None:
                known[sources[0].attempt] = int(one.seq.max()) >> 32
        taken = set(known.values())
        fixed = np.concatenate([one.seq for one in files if one.first is None] or [np.zeros(0, np.int64)])
        begun: dict[str, list[SalvagedFile]] = {}
        for one in sorted(files, key=lambda one: one.order):
            if one.first is not None:
                begun.setdefault(one.attempt, []).append(one)
        for attempt, group in begun.items():
            version = known.get(attempt)
            if version is None:
                version = group[0].after_version + 1
                is_alone = version not in taken
                while version in taken or (not is_alone and _meets(group, version, fixed)):
                    version += 1
                if not is_alone:
                    self._doubts.append(
                        f"{group[0].location} and {len(group) - 1} more files were written beside others; their commit "
                        f"is taken for version {version}, and may never have been made"
                    )
                taken.add(version)
            for one in group:
                one.become(version)

    def _drop_unfinished(self, files: list[SalvagedFile]) -> None:
        """Leave out what was to take the place of rows that it does not hold: its commit was never made."""
        own = {(one.store, one.location): one for one in files}
        while True:
            held: dict[str, list[Int64s]] = {}
            for one in files:
                if one.kind in _KEEPS_ROWS:
                    held.setdefault(one.attempt, []).append(one.seq)
            everything = {attempt: np.concatenate(some) for attempt, some in held.items()}
            bad = [
                one
                for one in files
                if one.kind in _KEEPS_ROWS
                and any(
                    not np.isin(_rows_of(own.get((store, place)), kind), everything[one.attempt]).all()
                    for store, place, kind in one.replaces
                )
            ]
            if not bad:
                return
            for one in bad:
                files.remove(one)
                self._doubts.append(
                    f"{one.location} in store {one.store!r} was left out: its {one.kind} was not finished"
                )

    def _check_doubles(self, files: list[SalvagedFile]) -> None:
        """Note tables that hold a row twice."""
        rows: dict[str, list[Int64s]] = {}
        for one in files:
            rows.setdefault(one.spec.name.casefold(), []).extend(share.seq for share in one.shares)
        for name, some in rows.items():
            found = np.concatenate(some or [np.zeros(0, np.int64)])
            doubled = len(found) - len(np.unique(found))
            if doubled:
                self._doubts.append(f"table {name!r} may hold {doubled} rows twice")


def _meets(files: list[SalvagedFile], version: int, fixed: Int64s) -> bool:
    """Whether rows would have the `_seq` of others, were they of a version."""
    return any(bool(np.isin(one.seq + seq_base(version), fixed).any()) for one in files)


def _rows_of(one: SalvagedFile | None, asset_class: str | None) -> Int64s:
    if one is None:
        return np.zeros(0, np.int64)
    found = [share.seq for share in one.shares if not one.is_mixed or share.partition.asset_class == asset_class]
    return np.concatenate(found or [np.zeros(0, np.int64)])


def _supersede(files: list[SalvagedFile]) -> None:
    """Leave out what a later commit took away, and what was made of that afterwards."""
    own = {(one.store, one.location): one for one in files}
    gone: set[tuple[str, str, str | None]] = set()
    attempts: dict[str, list[SalvagedFile]] = {}
    for one in sorted(files, key=lambda one: one.order):
        attempts.setdefault(one.attempt, []).append(one)
    for group in attempts.values():
        late = [one for one in group if one.kind in _KEEPS_ROWS and one.replaces and gone.issuperset(one.replaces)]
        for one in late:
            gone |= {(one.store, one.location, share.partition.asset_class) for share in one.shares}
            one.shares = []
        for one in group:
            gone.update(one.replaces)
    for store, place, asset_class in gone:
        old = own.get((store, place))
        if old is not None:
            kept = old.shares if old.is_mixed else []
            old.shares = [share for share in kept if share.partition.asset_class != asset_class]


def _overwrite(files: list[SalvagedFile]) -> list[str]:
    """Leave out what an overwrite of the whole table took away, and return what that rests on."""
    since: dict[str, int] = {}
    for one in files:
        if one.overwrites:
            name = one.spec.name.casefold()
            since[name] = max(since.get(name, 0), int(one.seq.min()) >> 32)
    left_out: dict[str, int] = {}
    for one in files:
        name = one.spec.name.casefold()
        kept = [share for share in one.shares if int(share.seq.max()) >> 32 >= since.get(name, 0)]
        dropped = sum(share.stats.rows for share in one.shares) - sum(share.stats.rows for share in kept)
        left_out[name] = left_out.get(name, 0) + dropped
        one.shares = kept
    return [
        f"table {name!r}: {counted(rows, 'row')} from before version {since[name]}, which overwrote the table, left "
        "out; whether that overwrite committed, files do not tell"
        for name, rows in left_out.items()
        if rows
    ]


def _read(tier: Tier, store: SegmentStore, stored: Stored) -> SalvagedFile:
    """Read a file from first to last row.

    Raises:
        IntegrityError: It is damaged, or does not say enough.
    """
    root: Path = store.root  # type: ignore[attr-defined]
    path = root / stored.location
    facts, codec = _facts(path, stored.location)
    told = facts.origin
    if told is None:
        raise IntegrityError(f"{stored.location} does not say how it came to be.")
    checksum = f"{CHECKSUM}:{file_checksum(path)}"
    first = told["first"]
    copy = Copy(0, 0, tier, store.name, stored.location, codec, stored.size_bytes, checksum, first or 0)
    layout = TableLayout(facts.schema, facts.time, facts.symbol)
    table = store.read(layout, copy, facts.partition, Selection(whole_file=True))
    table.validate(full=True)
    shares = []
    rows = 0
    for partition, some in _shares(table, facts):
        before, rows = rows, rows + some.num_rows
        size = stored.size_bytes * rows // table.num_rows - stored.size_bytes * before // table.num_rows
        shares.append(SalvagedShare(partition, piece_stats(some, layout), some.column(SEQ).to_numpy(), size))
    spec = {**told["table"], "key": tuple(told["table"]["key"]), "grain": Grain(told["table"]["grain"])}
    return SalvagedFile(
        tier=tier,
        store=store.name,
        location=stored.location,
        codec=codec,
        size_bytes=stored.size_bytes,
        checksum=checksum,
        attempt=attempt_of(stored.location),
        spec=TableSpec(**spec),
        schema=facts.schema.serialize().to_pybytes(),
        columns=tuple((one.name, str(one.type)) for one in facts.schema if one.name not in told["hidden"]),
        hidden=tuple(told["hidden"]),
        frame=told["frame"],
        kind=told["kind"],
        role=told["role"],
        is_live=told["live"],
        written_ns=told["written_ns"],
        after_version=told["after_version"],
        first=first,
        replaces=tuple((one[0], one[1], one[2]) for one in told["replaces"]),
        overwrites=told["overwrites"],
        is_mixed=facts.is_mixed,
        sharers=len(shares),
        shares=shares,
    )


def _facts(path: Path, location: str) -> tuple[FileFacts, str]:
    """Return what a file says of itself, and its codec; pages of Parquet are compared with their checksums."""
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            return decode_facts(pa.ipc.open_file(source).schema.metadata, location), "ipc"
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            file.read_row_group(number)
        codec = file.metadata.row_group(0).column(0).compression.lower() if file.num_row_groups else "zstd"
        return decode_facts(file.metadata.metadata, location), codec


def _shares(table: pa.Table, facts: FileFacts) -> Iterator[tuple[Partition, pa.Table]]:
    """Yield the rows of each partition in a file."""
    if not facts.is_mixed:
        yield facts.partition, table
        return
    classes = table.column(ASSET_CLASS)
    if pa.types.is_dictionary(classes.type):
        classes = classes.cast(classes.type.value_type)
    found = classes.to_pandas().fillna("\0").to_numpy()
    for kind in sorted(set(found)):
        rows = table.filter(pa.array(found == kind))
        yield Partition(facts.partition.trade_date, None if kind == "\0" else str(kind)), rows
