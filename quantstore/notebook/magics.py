"""`%%tierquery` and `%tier`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, needs_local_scope, no_var_expand

from quantstore.core.tier import ALL_TIERS
from quantstore.errors import InvalidInputError, PartialResultWarning
from quantstore.frames.provenance import stamp
from quantstore.notebook import commands, query_options
from quantstore.notebook.display import Footers, counted
from quantstore.notebook.query_options import MAGIC, QueryCall, read_call
from quantstore.notebook.scope import Scope
from quantstore.query.engine import Engine

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from quantstore.manager import HybridStorageManager
    from quantstore.query.report import ReadReport


@magics_class
class TierMagics(Magics):
    """The magics of quantstore."""

    def __init__(self, shell: InteractiveShell, footers: Footers) -> None:
        super().__init__(shell)
        self._footers = footers
        self._parser = Engine(threads=1)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def tierquery(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:  # noqa: D102 - set below
        call = read_call(line, cell)
        scope = Scope(local_ns, self.shell.user_ns)
        store = scope.store(call.store)
        result = self._explain(call, store, scope) if call.explain else self._read(call, store, scope)
        if call.out is not None:
            self.shell.user_ns[call.out] = result
        return result if call.show else None

    @no_var_expand
    @needs_local_scope
    @line_magic
    def tier(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:  # noqa: D102 - set below
        return commands.run_line(line, Scope(local_ns, self.shell.user_ns))

    def close(self) -> None:
        """Release the SQL parser."""
        self._parser.close()

    def _explain(self, call: QueryCall, store: HybridStorageManager, scope: Scope) -> Any:
        return store.explain(call.query, _tiers(call), params=self._params(call, scope), as_of=scope.as_of(call.as_of))

    def _read(self, call: QueryCall, store: HybridStorageManager, scope: Scope) -> Any:
        result = store.read(
            call.query,
            _tiers(call),
            params=self._params(call, scope),
            as_of=scope.as_of(call.as_of),
            to=call.to,
            missing="ignore" if call.missing == "warn" else call.missing,
        )
        report = store.last
        if report is None:
            return result
        if call.missing == "warn":
            _warn_left_out(call, report)
        if not call.quiet:
            self._footers.add(repr(report))
        return stamp(result, report.summary()) if call.to in ("polars", "lazy") else result

    def _params(self, call: QueryCall, scope: Scope) -> dict[str, Any]:
        """Return the values of the parameters that the statement has: those given, else variables."""
        given = {name: scope.evaluate(expression, f"-p {name}") for name, expression in call.params}
        names: frozenset[str] = frozenset()
        if "$" in call.query:
            try:
                names = self._parser.check_statement(call.query)
            except InvalidInputError:  # a table's name, or no SQL, of which the read itself says more
                return given
        return given | {name: scope.value(name, "The query") for name in sorted(names - set(given))}


def _tiers(call: QueryCall) -> str | tuple[str, ...]:
    return ALL_TIERS if call.tiers is None else call.tiers


def _warn_left_out(call: QueryCall, report: ReadReport) -> None:
    left_out = report.plan.left_out
    if left_out:
        rows = counted(sum(placed.segment.stats.rows for placed in left_out), "row")
        message = (
            f"--tiers {call.tiers} leaves out {counted(len(left_out), 'segment')} with {rows}: a partial answer. Name "
            "more tiers, or pass --missing ignore."
        )
        # With a registry of its own, a cell that is run again warns again.
        warnings.warn_explicit(message, PartialResultWarning, MAGIC, 1, registry={})


TierMagics.tierquery.__doc__ = query_options.usage()
TierMagics.tier.__doc__ = commands.usage()
