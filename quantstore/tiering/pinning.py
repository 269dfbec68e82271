"""What a caller asks of a pin, understood."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from quantstore.catalog.pins import NewPin
from quantstore.catalog.segments import SegmentFilter
from quantstore.core.duration import parse_duration_ns
from quantstore.core.tier import parse_tier
from quantstore.errors import InvalidInputError
from quantstore.query.condition import Condition
from quantstore.query.literals import instant_ns, is_bare_date, time_range
from quantstore.query.narrowing import both
from quantstore.rows.form import known_form

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord
    from quantstore.core.tier import Tier
    from quantstore.query.engine import Engine
    from quantstore.stores.base import SegmentStore


def new_pin(
    catalog: Catalog,
    stores: Mapping[Tier, SegmentStore],
    engine: Engine,
    record: TableRecord,
    tier: str,
    *,
    where: str | None,
    symbols: tuple[str, ...] | None,
    start: Any,
    end: Any,
    until: Any,
) -> NewPin:
    """Return the pin that a caller asks for.

    Raises:
        NotFoundError: `where` names a column that is not there.
        InvalidInputError: An option makes no sense.
    """
    form = known_form(record)
    spec = form.spec
    if symbols is not None and (spec.symbol is None or not symbols):
        problem = "no symbol is named" if spec.symbol else f"table {spec.name!r} has no symbol column"
        raise InvalidInputError(f"symbols= means nothing here: {problem}.", table=spec.name)
    span = time_range(start, end, spec.time, form.schema.field(spec.time).type)
    wanted = SegmentFilter(time=span, symbols=symbols)
    if where is not None:
        condition = Condition(catalog, stores, engine, record, where)
        with catalog.view() as view:
            wanted = both(wanted, condition.wanted(view))
    return NewPin(record.table_id, parse_tier(tier), wanted, where, _end(until, catalog.clock.now_ns()))


def _end(until: Any, now_ns: int) -> int | None:
    """Return when a pin ends, of a duration from now or an instant."""
    if until is None:
        return None
    if isinstance(until, timedelta | int | float) or (isinstance(until, str) and until.strip()[-1:].isalpha()):
        try:
            return now_ns + parse_duration_ns(until, "until")
        except InvalidInputError:
            if not isinstance(until, str):
                raise
    if is_bare_date(until):
        raise InvalidInputError(f"until={until!r} is a day; give a time of day and zone, such as '{until}T16:00Z'.")
    end = instant_ns(until, "until")
    if end <= now_ns:
        raise InvalidInputError(f"until={until!r} is over already; give a later time, or a duration such as '14d'.")
    return end
