"""Commit operations, one or several, once all their bytes are durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from quantstore.catalog.conflicts import OutpacedError
from quantstore.catalog.records import WriteCommit, WriteOutcome
from quantstore.core.failpoints import reach
from quantstore.core.warn import warn_caller
from quantstore.errors import RepeatedWriteWarning
from quantstore.write.result import WriteResult
from quantstore.write.staging import Staging

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.rows.form import TableForm
    from quantstore.write.append import Incoming
    from quantstore.write.request import WriteRequest

_ROUNDS = 8


class Operation(Protocol):
    """A change of one table that can be prepared, and prepared again where another writer got in between."""

    @property
    def request(self) -> WriteRequest:
        """What was asked for."""
        ...

    @property
    def most_rows(self) -> int:
        """The most rows it can add, once it has been prepared."""
        ...

    def prepare(self, staging: Staging) -> WriteCommit:
        """Make durable what the commit will reach, and return the commit."""
        ...

    def refresh(self, beside: Incoming | None = None) -> None:
        """Look the table up again, as it was changed meanwhile; `beside` are rows added before by the same commit."""
        ...

    def keep_as(self, form: TableForm) -> None:
        """Keep what it adds in a newer form, which a later operation of the same commit gives the table."""
        ...


class Committer:
    """Runs operations; nothing of them exists before their one commit.

    Args:
        catalog: Where they are committed.
        name: How results call the store.
    """

    def __init__(self, catalog: Catalog, name: str) -> None:
        self._catalog = catalog
        self._name = name

    def run(self, operation: Operation) -> WriteResult:
        """Make one operation and return what became of it, once it is durable.

        Raises:
            AccessDeniedError: The store is open read-only.
            InvalidInputError: What was given does not fit; nothing was changed.
            ConflictError: Another writer came first in a way that matters; nothing was changed.
            CapacityError: The disk is full; nothing was changed.
        """
        staging = self.staging(operation.request.table, is_dry=operation.request.dry_run)
        return self.run_all([operation], staging=staging)[0]

    def staging(self, target: str, *, is_dry: bool = False) -> Staging:
        """Return what files of tables called `target` are written under."""
        self.require_writable()
        return Staging(self._catalog, target, is_dry=is_dry)

    def run_all(
        self, operations: Sequence[Operation], *, staging: Staging, write_id: str | None = None
    ) -> list[WriteResult]:
        """Make several operations in one commit, at most one per table; see `run`."""
        try:
            commits, outcomes = self._committed(operations, staging, write_id)
        except BaseException as error:
            raised = staging.failed(error)
            if raised is error:
                raise
            raise raised from error
        # What was staged for nothing, as where another writer has done the same meanwhile, is nobody's.
        if staging.is_dry or not any(map(_changed, outcomes)):
            staging.give_up()
        return [
            self._result(operation.request, commit, outcome, is_dry=staging.is_dry)
            for operation, commit, outcome in zip(operations, commits, outcomes, strict=True)
        ]

    def require_writable(self) -> None:
        """Refuse a store that is open read-only.

        Raises:
            AccessDeniedError: It is.
        """
        self._catalog.require_writable("write")

    def _committed(
        self, operations: Sequence[Operation], staging: Staging, write_id: str | None
    ) -> tuple[list[WriteCommit], list[WriteOutcome]]:
        for left in reversed(range(_ROUNDS)):
            if left < _ROUNDS - 1:
                for operation in operations:
                    operation.refresh()
            try:
                return self._tried(operations, staging, write_id)
            except OutpacedError:
                if not left:
                    raise
        raise AssertionError  # the last round returns or raises

    def _tried(
        self, operations: Sequence[Operation], staging: Staging, write_id: str | None
    ) -> tuple[list[WriteCommit], list[WriteOutcome]]:
        """Prepare and commit once.

        Raises:
            OutpacedError: Another process changed or moved segments that were looked at.
        """
        commits = [operation.prepare(staging) for operation in operations]
        if write_id is not None:
            commits = [replace(commit, write_id=write_id) for commit in commits]
        if staging.is_dry:
            return commits, [self._proposed(commit) for commit in commits]
        reach("write.copied")
        staging.renew()
        return commits, self._catalog.commits.write(staging.attempt, commits)

    def _result(
        self, request: WriteRequest, commit: WriteCommit, outcome: WriteOutcome, *, is_dry: bool
    ) -> WriteResult:
        name = commit.spec.name
        if outcome.is_repeat:
            way = "Pass on_repeat='append' to add them again." if request.mode == "append" else ""
            warn_caller(
                f"These rows are in table {name!r} already, since version {outcome.version}; nothing was "
                f"{'added' if request.mode == 'append' else 'changed'}. {way}".rstrip(),
                RepeatedWriteWarning,
            )
        return WriteResult(
            store=self._name,
            table=name,
            tier=request.tier.value,
            version=outcome.version,
            rows=outcome.rows,
            deleted=outcome.deleted,
            segments=outcome.segments,
            replayed=outcome.replay_of is not None,
            dry_run=is_dry,
            added_columns=commit.added_columns if outcome.evolved else (),
            widened=dict(commit.widened) if outcome.evolved else {},
        )

    def _proposed(self, commit: WriteCommit) -> WriteOutcome:
        """Return what a commit would do."""
        deleted = sum(rewrite.removed for rewrite in commit.rewrites)
        if commit.removes_all and commit.table_id is not None:
            with self._catalog.view() as view:
                deleted += sum(one.segment.stats.rows for one in view.segments(commit.table_id))
        segments = len(commit.segments) + sum(len(rewrite.rest) for rewrite in commit.rewrites)
        evolves = commit.evolves and bool(commit.rows or commit.removes_all or commit.rewrites)
        return WriteOutcome(commit.planned_version, commit.rows, deleted, segments, evolved=evolves)


def _changed(outcome: WriteOutcome) -> bool:
    """Whether a commit may have reached what was staged for it."""
    return outcome.replay_of is None and bool(outcome.rows or outcome.deleted or outcome.segments or outcome.evolved)
