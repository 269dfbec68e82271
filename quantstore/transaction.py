"""Transactions: changes of several tables in one commit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from quantstore.core.names import check_name
from quantstore.errors import InvalidInputError
from quantstore.write.request import write_request
from quantstore.write.staging import Staging

if TYPE_CHECKING:
    from quantstore.catalog.records import WriteCommit
    from quantstore.rows.form import TableForm
    from quantstore.write.append import Incoming
    from quantstore.write.committer import Committer, Operation
    from quantstore.write.request import WriteRequest
    from quantstore.write.result import WriteResult

OpenOperation = Callable[[Any, "WriteRequest", "Operation | None", int], "Operation"]
"""Makes an operation of rows, a request, an earlier operation on the table, and the number of its first row."""


class Transaction:
    """Writes and deletes that become visible together, in one version, or not at all.

    Used as a context manager: leaving the block commits, an exception in it gives everything up. A `write` makes its
    rows durable at once and checks them, so that bad data is refused where it is given; nothing is visible before the
    end. Within one table deletes come first, then rows are added; a `replace`, `upsert` or `overwrite` begins a table.

    Attributes:
        results: After the block, what became of each table, in the order they were first named.
    """

    def __init__(self, open_operation: OpenOperation, committer: Committer, write_id: str | None) -> None:
        committer.require_writable()
        self._open = open_operation
        self._committer = committer
        self._write_id = write_id
        self._tables: dict[str, list[Operation]] = {}
        self._staging: Staging | None = None
        self._is_over = False
        self.results: list[WriteResult] = []

    def write(
        self,
        df: Any,
        table: str,
        tier: str = "hot",
        *,
        mode: str = "append",
        where: str | None = None,
        time: str | None = None,
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        asset_class: str | None = None,
        tz: str | None = None,
        calendar: str | None = None,
        grain: str | None = None,
        wide: str | None = None,
        on_repeat: str = "skip",
        expected_version: int | None = None,
    ) -> None:
        """Add a write; its arguments are those of the store's `write`.

        Raises:
            InvalidInputError: The rows do not fit, or the transaction has changed the table in a way that this write
                would have to see.
        """
        request = write_request(
            table,
            tier,
            mode=mode,
            where=where,
            time=time,
            symbol=symbol,
            key=key,
            asset_class=asset_class,
            tz=tz,
            calendar=calendar,
            grain=grain,
            wide=wide,
            on_repeat=on_repeat,
            expected_version=expected_version,
            write_id=self._write_id,
        )
        before = self._before(table)
        _refuse_other_version(table, expected_version, before)
        if mode != "append" and before:
            raise _out_of_order(table, f"mode={mode!r}")
        operation = self._open(df, request, before[-1] if before else None, self._rows(before))
        for earlier in before:
            earlier.keep_as(operation.incoming.form)  # type: ignore[attr-defined]  # operations that add rows have it
        if mode == "append":
            operation.prepare(self._staged())
        self._tables.setdefault(table.casefold(), []).append(operation)

    def delete(self, table: str, where: str) -> None:
        """Add a delete of the rows that meet a condition, as they were before the transaction.

        Raises:
            InvalidInputError: `where` is no condition on the table's rows, or the transaction has added rows to it.
            NotFoundError: No such table or column.
        """
        before = self._before(table)
        if any(operation.request.mode != "delete" for operation in before):
            raise _out_of_order(table, "delete")
        wheres = [str(operation.request.where) for operation in before] + [where]
        either = where if len(wheres) == 1 else " OR ".join(f"({one}\n)" for one in wheres)
        operation = self._open(None, write_request(table, "hot", mode="delete", where=either), None, 0)
        self._tables[table.casefold()] = [operation]

    def _before(self, table: str) -> list[Operation]:
        if self._is_over:
            raise InvalidInputError("The transaction is over; begin another one.")
        return self._tables.get(check_name(table).casefold(), [])

    def _staged(self) -> Staging:
        if self._staging is None:
            self._staging = self._committer.staging("a transaction")
        return self._staging

    def _rows(self, before: Sequence[Operation]) -> int:
        return sum(operation.most_rows for operation in before)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or give up where the block failed."""
        self._is_over = True
        if error is not None:
            if self._staging is not None:
                self._staging.give_up()
            return
        operations = [_Combined(some) for some in self._tables.values()]
        if operations:
            self.results = self._committer.run_all(operations, staging=self._staged(), write_id=self._write_id)

    def __repr__(self) -> str:
        """Name the tables, and what became of them."""
        if self.results:
            return "\n".join(map(repr, self.results))
        return f"<transaction over {', '.join(self._tables) or 'no table yet'}>"


class _Combined:
    """All operations of a transaction on one table, as one."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self.request = operations[0].request
        self.most_rows = sum(operation.most_rows for operation in operations)

    def refresh(self, beside: Incoming | None = None) -> None:
        """Do nothing: preparing looks the table up again."""

    def keep_as(self, form: TableForm) -> None:
        """Do nothing: nothing comes after what is one commit."""

    def prepare(self, staging: Staging) -> WriteCommit:
        """Prepare each and return one commit of them all."""
        incoming: Incoming | None = None
        for operation in self._operations:
            operation.refresh(incoming)
            incoming = getattr(operation, "incoming", incoming)
        for operation in self._operations:
            if incoming is not None:
                operation.keep_as(incoming.form)
        commits = [operation.prepare(staging) for operation in self._operations]
        first, last = commits[0], commits[-1]
        if len(commits) == 1:
            return first
        contents = "".join(str(commit.content) for commit in commits)
        lineages = [commit.lineage for commit in commits if commit.lineage]
        return replace(
            last,
            operation="+".join(dict.fromkeys(commit.operation for commit in commits)),
            tier=first.tier,
            segments=tuple(segment for commit in commits for segment in commit.segments),
            rows=sum(commit.rows for commit in commits),
            content=f"sha256:{hashlib.sha256(contents.encode()).hexdigest()}",
            contents_before=(),
            removes_all=first.removes_all,
            rewrites=first.rewrites,
            scope=first.scope,
            planned_version=first.planned_version,
            found=first.found,
            expected_version=next((one.expected_version for one in commits if one.expected_version is not None), None),
            changes_nothing=False,
            must_create=first.must_create,
            lineage={"steps": lineages} if lineages else {},
        )


def _refuse_other_version(table: str, expected: int | None, before: Sequence[Operation]) -> None:
    """Refuse to expect a table at two versions in one commit.

    Raises:
        InvalidInputError: An earlier operation expects another one.
    """
    known = {operation.request.expected_version for operation in before} - {None, expected}
    if expected is not None and known:
        raise InvalidInputError(
            f"expected_version={expected} of table {table!r}, but an earlier write of the same transaction expects "
            f"{known.pop()}; all of them are made on one version.",
            table=table,
        )


def _out_of_order(table: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{what} comes after other changes of table {table!r} in the same transaction and would not see them; begin "
        "the table with it, or use two transactions.",
        table=table,
    )
