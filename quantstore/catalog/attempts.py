"""Attempts: intentions to write bytes, with leases, so that a stalled writer can never commit deleted bytes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.exc import DBAPIError

from quantstore.catalog import schema
from quantstore.catalog.database import PROOF, Database
from quantstore.catalog.records import Attempt
from quantstore.core.clock import Clock
from quantstore.core.process import ProcessId, is_dead, this_process
from quantstore.errors import ConflictError, QuantStoreError

LEASE_SECONDS = 600
_table = schema.attempts
_INSERT = _table.insert()
_STATE = select(_table.c.state).where(_table.c.attempt_id == bindparam("attempt"))
_NEWEST = select(func.max(schema.versions.c.version))
_END = (
    update(_table)
    .where(_table.c.attempt_id == bindparam("attempt"), _table.c.state == "open")
    .values(state=bindparam("new_state"), ended_ns=bindparam("now"))
)
_given_up: set[str] = set()
"""Attempts of this process that ended before that could be written down."""


class Attempts:
    """Registers, renews and ends attempts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def register(self, kind: str, target: str) -> Attempt:
        """Record that this process is about to write bytes for table `target`.

        Whoever sweeps sees it at once and whatever becomes of this process. A power failure may take it back: then the
        bytes have no attempt, which an audit reports, and nothing reaches them.
        """
        now = self._clock.now_ns()
        process = this_process()
        attempt = Attempt(uuid4().hex, kind, target, now + LEASE_SECONDS * 10**9)
        _given_up.add(attempt.attempt_id)  # for good, should it turn out to be on record though that seemed to fail
        with self._database.write(is_synced=False) as connection:
            connection.info[PROOF] = select(_table.c.attempt_id).where(_table.c.attempt_id == attempt.attempt_id)
            connection.execute(
                _INSERT,
                {
                    "attempt_id": attempt.attempt_id,
                    "kind": kind,
                    "target": target,
                    "state": "open",
                    "host": process.host,
                    "pid": process.pid,
                    "process_started": process.started,
                    "created_ns": now,
                    "lease_until_ns": attempt.lease_until_ns,
                },
            )
            newest = connection.execute(_NEWEST).scalar() or 0
        _given_up.discard(attempt.attempt_id)
        return replace(attempt, after_version=newest)

    def renew(self, attempt: Attempt) -> Attempt:
        """Extend the lease where less than half of it is left.

        Raises:
            ConflictError: A sweep ended the attempt meanwhile; its bytes may be gone.
        """
        now = self._clock.now_ns()
        if attempt.lease_until_ns - now > LEASE_SECONDS * 10**9 // 2:
            return attempt
        until = now + LEASE_SECONDS * 10**9
        with self._database.write() as connection:
            require_open(connection, attempt)
            connection.execute(
                update(_table).where(_table.c.attempt_id == attempt.attempt_id).values(lease_until_ns=until)
            )
        return replace(attempt, lease_until_ns=until)

    def abort(self, attempt: Attempt) -> bool:
        """End an attempt; return whether it can never commit: False where it has.

        Where that cannot be written down, as on a full disk, the next sweep of this process does it.
        """
        _given_up.add(attempt.attempt_id)
        with self._database.write() as connection:
            _end(connection, attempt.attempt_id, "aborted", self._clock.now_ns())
            can_never = _state(connection, attempt) != "committed"
        _given_up.discard(attempt.attempt_id)
        return can_never

    def conflict(self, attempt: Attempt | None) -> ConflictError | None:
        """Return the conflict behind a failure: a sweep ended the attempt and took its bytes.

        None where none did, or where that cannot be told: then the failure itself is what to tell.
        """
        if attempt is None:
            return None
        with suppress(QuantStoreError, DBAPIError), self._database.read() as connection:
            return None if _state(connection, attempt) in {"open", "committed"} else _swept(attempt)
        return None

    def reap(self) -> list[str]:
        """Abort every open attempt given up, of which the lease ran out or the process is dead; return their ids."""
        now = self._clock.now_ns()
        with self._database.write() as connection:
            rows = connection.execute(select(_table).where(_table.c.state == "open")).all()
            gone = [
                row.attempt_id
                for row in rows
                if row.attempt_id in _given_up
                or row.lease_until_ns < now
                or is_dead(ProcessId(row.host, row.pid, row.process_started))
            ]
            for attempt_id in gone:
                _end(connection, attempt_id, "aborted", now)
        _given_up.difference_update(gone)
        return gone

    def states(self) -> dict[str, str]:
        """Return the state of every attempt the catalog remembers."""
        with self._database.read() as connection:
            return {row.attempt_id: row.state for row in connection.execute(select(_table))}

    def forget(self, age_ns: int, keep: set[str]) -> None:
        """Drop attempts that ended at least `age_ns` ago, those in `keep` excepted."""
        limit = self._clock.now_ns() - age_ns
        with self._database.write() as connection:
            rows = connection.execute(
                select(_table.c.attempt_id).where(_table.c.state != "open", _table.c.ended_ns < limit)
            ).all()
            gone = [row.attempt_id for row in rows if row.attempt_id not in keep]
            for start in range(0, len(gone), 500):
                connection.execute(_table.delete().where(_table.c.attempt_id.in_(gone[start : start + 500])))


def require_open(connection: Connection, attempt: Attempt) -> None:
    """Check, inside the caller's transaction, that `attempt` may still commit.

    Raises:
        ConflictError: A sweep ended it.
    """
    if _state(connection, attempt) != "open":
        raise _swept(attempt)


def _state(connection: Connection, attempt: Attempt) -> str | None:
    return connection.execute(_STATE, {"attempt": attempt.attempt_id}).scalar()


def _swept(attempt: Attempt) -> ConflictError:
    return ConflictError(
        f"This {attempt.kind} of table {attempt.target!r} took so long that its lease ran out and a sweep ended it; "
        "nothing was changed. Try again.",
        table=attempt.target,
    )


def commit_attempt(connection: Connection, attempt: Attempt, now_ns: int) -> None:
    """Mark `attempt` committed in the caller's transaction."""
    wanted = (_table.c.attempt_id == attempt.attempt_id) & (_table.c.state == "committed")
    connection.info[PROOF] = select(_table.c.attempt_id).where(wanted)
    _end(connection, attempt.attempt_id, "committed", now_ns)


def _end(connection: Connection, attempt_id: str, state: str, now_ns: int) -> None:
    connection.execute(_END, {"attempt": attempt_id, "new_state": state, "now": now_ns})
