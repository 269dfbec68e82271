"""What every verb works with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from quantstore.core.names import several

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from quantstore.cache.results import ResultCache
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord
    from quantstore.core.tier import Tier
    from quantstore.publish.publisher import Publisher
    from quantstore.query.engine import Engine
    from quantstore.query.reader import Reader
    from quantstore.stores.base import SegmentStore
    from quantstore.write.committer import Committer


class Verbs:
    """The parts of a store; verbs are a line or two into them.

    Attributes:
        metadata_catalog: The catalog.
        name: How the store is shown.
    """

    metadata_catalog: Catalog
    name: str
    _stores: Mapping[Tier, SegmentStore]
    _engine: Engine
    _cache: ResultCache
    _reader: Reader
    _committer: Committer
    _publisher: Publisher

    def _record(self, name: str) -> TableRecord:
        from quantstore.query.resolve import unknown_table

        with self.metadata_catalog.view() as view:
            record = view.table(str(name))
            if record is None:
                raise unknown_table(view, str(name))
            return record

    def _form(self, schema_id: int) -> Any:
        from quantstore.rows.form import known_form

        record, schema = self.metadata_catalog.schema_owner(schema_id)
        return known_form(record, schema)

    if TYPE_CHECKING:

        def _pinned_at(self, version: int) -> Self:
            """Return the store as it was at a version that has not expired."""
            ...

    def _upkeep_steps(self, grace: Any) -> list[tuple[str, Callable[[], Any]]]:
        """Return the jobs of `maintain` after expiry, each with the name of its verb, in the order they run."""
        steps = [(name, getattr(self, name)) for name in ("compact", "refresh_pins") if hasattr(self, name)]
        steps.append(("publish", self._publisher.repair))
        steps.append(("journal", lambda: "a new base" if self.metadata_catalog.renew_journal() else None))
        name = "sweep"
        return [*steps, (name, partial(getattr(self, name), grace))]

    def _require_writable(self, verb: str) -> None:
        """Refuse a store that is open read-only.

        Raises:
            AccessDeniedError: It is.
        """
        self.metadata_catalog.require_writable(verb)


def names(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return one name or several as a tuple of texts."""
    return several(value)
