"""Check the whole store, and mend what can be mended safely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quantstore.core.events import Progress, announce
from quantstore.errors import QuantStoreError
from quantstore.maintenance.checks.contents import CopyChecks
from quantstore.maintenance.checks.derived import Published, derived_data
from quantstore.maintenance.checks.files import list_files, unknown_files
from quantstore.maintenance.checks.grounds import Grounds
from quantstore.maintenance.checks.records import contradictions, doubled_rows
from quantstore.maintenance.mends import CannotMendError, Mend
from quantstore.maintenance.problems import AuditReport, Finding, FsckReport, Problem, Repair
from quantstore.maintenance.sweep import orphans
from quantstore.maintenance.unreadable import UNREADABLE

if TYPE_CHECKING:
    from quantstore.cache.disk import DiskCache
    from quantstore.catalog.catalog import Catalog
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

_ROUNDS = 5
"""Mending one thing may show another; so often everything is looked at again."""


class Checker:
    """Looks at every copy, file and row of the catalog; keeps no more than one copy's rows in memory.

    Args:
        catalog: The catalog.
        stores: By tier.
        form: Returns the form in which a schema id keeps rows.
        operation: What progress is announced as.
        deep: Whether to read contents.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        form: Callable[[int], TableForm],
        operation: str = "audit",
        *,
        deep: bool = True,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._form = form
        self._operation = operation
        self._deep = deep
        self.grounds: Grounds
        self.copies = self.size_bytes = self.proven = 0

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with catalog, copies and files."""
        listed = list_files(self._stores)
        state = self._catalog.inspect({tier: store.name for tier, store in self._stores.items()})
        self.grounds = grounds = Grounds(self._catalog, self._stores, self._form, state)
        yield from contradictions(grounds)
        checks = CopyChecks(grounds, deep=self._deep)
        copies = [(placed, copy) for placed in state.segments for copy in placed.copies]
        self.copies, self.size_bytes = len(copies), sum(_number(one.size_bytes) for _, one in copies)
        for number, (placed, copy) in enumerate(copies, start=1):
            yield from checks.check(placed, copy)
            announce(Progress(self._operation, "", number, len(copies), "copies"))
        self.proven = checks.proven
        yield from doubled_rows(grounds, checks.spans)
        yield from unknown_files(grounds, listed)

    def audit(self) -> AuditReport:
        """Return what is wrong; changes nothing."""
        problems = tuple(found.problem for found in self.findings())
        left = len(orphans(self._catalog, self._stores))
        return AuditReport(self.copies, self.size_bytes, self.proven, left, problems)


class Fsck:
    """Checks everything an audit does and what is derived from the rows, and mends it on request.

    Args:
        catalog: The catalog.
        stores: By tier.
        form: Returns the form in which a schema id keeps rows.
        publisher: Knows what is published.
        cache: Kept answers.
        deep: Whether to read contents.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        form: Callable[[int], TableForm],
        publisher: Published,
        cache: DiskCache,
        *,
        deep: bool = True,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._publisher = publisher
        self._cache = cache
        self._deep = deep
        self._form = form

    def run(self, *, repair: bool) -> FsckReport:
        """Check, mend if asked to, and check again until nothing more can be mended."""
        repairs: list[Repair] = []
        failed: dict[tuple[str, ...], str] = {}
        for left in reversed(range(_ROUNDS)):
            checker = Checker(self._catalog, self._stores, self._form, "fsck", deep=self._deep)
            problems, done = self._round(checker, failed, repair=repair and bool(left))
            repairs += done
            if not done:
                break
        if repairs:
            self._cache.clear()
        orphaned = len(orphans(self._catalog, self._stores))
        return FsckReport(
            checker.copies, checker.size_bytes, checker.proven, orphaned, self._deep, tuple(repairs), tuple(problems)
        )

    def _round(
        self, checker: Checker, failed: dict[tuple[str, ...], str], *, repair: bool
    ) -> tuple[list[Problem], list[Repair]]:
        """Look at everything once; return the problems that stay, and what was mended."""
        problems: list[Problem] = []
        done: list[Repair] = []
        for found in [*checker.findings(), *self._derived(checker)]:
            key = (found.problem.kind, found.problem.location, found.problem.message)
            if found.mend is None or not repair or key in failed:
                problems.append(found.explained(failed[key]).problem if key in failed else found.problem)
                continue
            told = self._mended(checker.grounds, found, found.mend, key, failed)
            if told is None:
                problems.append(found.explained(failed[key]).problem)
            else:
                done.append(Repair(found.problem, told))
        return problems, done

    def _derived(self, checker: Checker) -> Iterator[Finding]:
        yield from derived_data(checker.grounds, self._publisher, self._cache, deep=self._deep)

    def _mended(
        self,
        grounds: Grounds,
        found: Finding,
        mend: Mend,
        key: tuple[str, ...],
        failed: dict[tuple[str, ...], str],
    ) -> str | None:
        """Mend one thing and keep a record; return what was done, or None where it could not be."""
        grounds.lost.note(state="begun", problem=asdict(found.problem))
        try:
            done = mend.apply()
        except CannotMendError:
            failed[key] = "What it was to be mended from is not whole any more; bring it back from a backup."
        except QuantStoreError as error:
            failed[key] = f"It could not be mended: {error}"
        except OSError as error:
            failed[key] = f"It could not be mended: {error.strerror or error} ({error.filename})"
        except UNREADABLE as error:
            failed[key] = f"It could not be mended: {type(error).__name__}: {error}"
        else:
            grounds.lost.note(state="done", problem=asdict(found.problem), done=done)
            return done
        grounds.lost.note(state="failed", problem=asdict(found.problem), why=failed[key])
        return None


def _number(value: Any) -> int:
    """Return a number of bytes; nothing for what a damaged catalog has instead of one."""
    return value if isinstance(value, int) else 0
