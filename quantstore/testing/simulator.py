"""A seeded market: trades, quotes and corrections of several asset classes, as realistic as tests need.

`python -m quantstore.testing.simulator data_samples` writes the sample files of the repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from quantstore.errors import InvalidInputError
from quantstore.testing import columns
from quantstore.testing.arrivals import ArrivalOrder
from quantstore.testing.checks import LAST_DAY, check_counts, check_seed, check_shares, check_start
from quantstore.testing.columns import Encoder, stream
from quantstore.testing.instruments import (
    ASSET_CLASSES,
    Instrument,
    Universe,
    choose_classes,
    list_instruments,
)
from quantstore.testing.prices import PricePath
from quantstore.testing.randomness import Floats, Purpose
from quantstore.testing.records import (
    Rows,
    concatenated,
    correction_rows,
    limited,
    quote_rows,
    taken,
    tick_rows,
    trade_rows,
)
from quantstore.testing.sessions import weekday_of
from quantstore.testing.tape import Block, Events, Tape, average_volumes, draw_halts, exact_volumes

if TYPE_CHECKING:
    import pyarrow as pa

ALL_CLASSES = tuple(ASSET_CLASSES)
FIRST_DAY = date(2026, 11, 16)
"""A Monday."""
BATCH_ROWS = 131_072
Steps = Iterator[tuple[Block, Events, Floats]]


class MarketSimulator:
    """Simulates the same market for the same arguments, in any process and in batches of any size.

    Sessions are in UTC: equities 13:30 to 20:00 from Monday to Friday, FX from Sunday 22:00 to Friday 22:00, crypto
    always, futures 23:00 to 22:00 of the next day. Activity is U-shaped over a session and Zipf-distributed over the
    symbols of an asset class; prices follow geometric random walks on the tick grid, shared by trades and quotes.
    Several prints may carry the same stamp, single symbols are halted, and a few trades arrive late. `trade_date` is
    the UTC date of the stamp; sizes count shares, units of base currency, coins or contracts.

    Args:
        seed: Zero or more.
        symbols: How many, dealt evenly to the asset classes; or names; or names mapped to asset classes.
        asset_classes: Among EQUITY, FX, CRYPTO, FUTURE.
        start: First day.
        days: Calendar days simulated, weekends included.
        trades_per_day: Average over the full weekdays, all symbols together; weekends have fewer.
        quotes_per_day: The same for quotes.
        late: Share of trades that arrive 1 second to 15 minutes after their stamp; their condition is `Z`.
        repeats: Share of rows with the stamp and symbol of the row before.
        halts: Probability that a symbol is halted, for 5 to 30 minutes, on a day.

    Attributes:
        instruments: The simulated instruments with their tick sizes.

    Raises:
        InvalidInputError: An argument is out of range.
    """

    def __init__(
        self,
        seed: int = 7,
        symbols: int | Sequence[str] | Mapping[str, str] = 20,
        asset_classes: Sequence[str] = ALL_CLASSES,
        start: date = FIRST_DAY,
        days: int = 5,
        trades_per_day: int = 20_000,
        quotes_per_day: int = 40_000,
        *,
        late: float = 0.005,
        repeats: float = 0.08,
        halts: float = 0.02,
    ) -> None:
        check_counts(days=days, trades_per_day=trades_per_day, quotes_per_day=quotes_per_day)
        check_shares(late=late, repeats=repeats, halts=halts)
        self._seed = check_seed(seed)
        classes = choose_classes(asset_classes)
        self.instruments: tuple[Instrument, ...] = list_instruments(symbols, classes, seed)
        self._universe = Universe.of(self.instruments, classes)
        self._first_day = check_start(start)
        self._days = days
        self._per_day = {Purpose.TRADES: trades_per_day, Purpose.QUOTES: quotes_per_day}
        self._late = late
        self._repeats = repeats
        self._halts = halts

    def trades(
        self, rows: int | None = None, *, sort: bool = False, decimal: bool = False, dictionary: bool = False
    ) -> pa.Table:
        """Return what `stream_trades` yields as one table."""
        return self.stream_trades(rows, sort=sort, decimal=decimal, dictionary=dictionary).read_all()

    def quotes(self, rows: int | None = None, *, decimal: bool = False, dictionary: bool = False) -> pa.Table:
        """Return what `stream_quotes` yields as one table."""
        return self.stream_quotes(rows, decimal=decimal, dictionary=dictionary).read_all()

    def stream_trades(
        self,
        rows: int | None = None,
        batch_rows: int = BATCH_ROWS,
        *,
        sort: bool = False,
        decimal: bool = False,
        dictionary: bool = False,
    ) -> pa.RecordBatchReader:
        """Stream trades in the order in which they arrive, in bounded memory.

        Columns: ts timestamp[ns, UTC], symbol string, price double, size int64 (sometimes null), side string (`B`,
        `S`, null for crosses), condition string (`@` regular, `I` odd lot, `X` cross, `Z` late), exchange string,
        trade_id int64 (increasing in event order, from 1), trade_date date32, asset_class string.

        Args:
            rows: Stop after so many, running on past `days` where needed; None gives all of `days`.
            batch_rows: Rows of each batch but the last; the rows themselves do not depend on it.
            sort: Yield in event order, `(ts, trade_id)`, instead.
            decimal: Prices as decimal128(18, 6).
            dictionary: Symbols as dictionary(int32, string).
        """
        encoder = Encoder(self._universe, columns.TRADES, decimal=decimal, dictionary=dictionary)
        return stream(encoder, self._trades(rows, sort=sort), batch_rows)

    def stream_quotes(
        self,
        rows: int | None = None,
        batch_rows: int = BATCH_ROWS,
        *,
        decimal: bool = False,
        dictionary: bool = False,
    ) -> pa.RecordBatchReader:
        """Stream quotes in event order, in bounded memory.

        Columns: ts timestamp[ns, UTC], symbol string, bid and ask double, bid_size and ask_size int64, exchange
        string, trade_date date32, asset_class string. Arguments as for `stream_trades`.
        """
        encoder = Encoder(self._universe, columns.QUOTES, decimal=decimal, dictionary=dictionary)
        blocks = (
            quote_rows(self._universe, events, mid)
            for _, events, mid in self._simulate(Purpose.QUOTES, endless=rows is not None)
        )
        return stream(encoder, limited(blocks, rows), batch_rows)

    def corrections(
        self,
        rows: int | None = None,
        *,
        share: float = 0.002,
        busts: float = 0.25,
        decimal: bool = False,
        dictionary: bool = False,
    ) -> pa.Table:
        """Return the messages that correct or bust trades, in the order in which they arrive.

        Columns: trade_id int64 and ts (of the original), symbol, action string (`CORRECT`, `BUST`), price and size
        (what should have been printed; null for busts), exchange, received_at timestamp[ns, UTC] (30 seconds to two
        days after the trade arrived), trade_date and asset_class of the original.

        Args:
            rows: Correct only the trades that `trades(rows)` returns.
            share: Share of trades with a message.
            busts: Share of the messages that are busts.
            decimal: Prices as decimal128(18, 6).
            dictionary: Symbols as dictionary(int32, string).
        """
        check_shares(share=share, busts=busts)
        encoder = Encoder(self._universe, columns.CORRECTIONS, decimal=decimal, dictionary=dictionary)
        messages = None
        for trades in self._trades(rows, sort=False):
            found = correction_rows(self._universe, trades, self._seed, share, busts)
            messages = found if messages is None else concatenated(messages, found)
        if messages is None:
            return encoder.schema.empty_table()
        order = np.lexsort((messages["trade_id"], messages["received_at"]))
        return stream(encoder, iter([taken(messages, order)]), max(len(order), 1)).read_all()

    def halts(self) -> pa.Table:
        """Return the halts of all days: symbol, start and end (timestamp[ns, UTC], end excluded), by start."""
        import pyarrow as pa

        daily = [draw_halts(self._universe, self._seed, day, self._halts) for day in self._calendar()]
        symbol, start, end = (
            np.concatenate([getattr(each, name) for each in daily]) for name in ("symbol", "start_ns", "end_ns")
        )
        order = np.lexsort((symbol, start))
        names = pa.array([each.symbol for each in self.instruments])
        return pa.table(
            {
                "symbol": names.take(pa.array(symbol[order])),
                "start": pa.array(start[order]).cast(columns.INSTANT),
                "end": pa.array(end[order]).cast(columns.INSTANT),
            }
        )

    def _trades(self, rows: int | None, *, sort: bool) -> Iterator[Rows]:
        return limited(self._all_trades(sort=sort, endless=rows is not None), rows)

    def _all_trades(self, *, sort: bool, endless: bool) -> Iterator[Rows]:
        first_id = 1
        arrivals = ArrivalOrder()
        for block, events, mid in self._simulate(Purpose.TRADES, endless=endless):
            trades = trade_rows(self._universe, events, mid, first_id, self._late)
            first_id += len(events.ts_ns)
            yield trades if sort else arrivals.merge(trades, block.end_ns)
        if (left := arrivals.flush()) is not None:
            yield left

    def _simulate(self, purpose: Purpose, *, endless: bool) -> Steps:
        volumes = average_volumes(self._universe, self._seed, purpose, self._per_day[purpose])
        tape = Tape(self._universe, self._seed, purpose, volumes, repeats=self._repeats, halts=self._halts)
        return _steps(self._universe, self._seed, tape, self._calendar(endless=endless))

    def _calendar(self, *, endless: bool = False) -> Iterator[int]:
        days = _until_last_day(count(self._first_day))
        return days if endless else islice(days, self._days)


def benchmark_ticks(
    rows: int = 10_000_000,
    days: int = 10,
    symbols: int = 500,
    seed: int = 7,
    *,
    asset_classes: Sequence[str] = ALL_CLASSES,
    start: date = FIRST_DAY,
    batch_rows: int = BATCH_ROWS,
    dictionary: bool = False,
) -> pa.RecordBatchReader:
    """Stream ticks for benchmarks: exactly `rows`, in time order, spread evenly over `days` weekdays.

    Columns: ts timestamp[ns, UTC], symbol string, price double, size int64, bid and ask double, exchange string,
    trade_date date32, asset_class string. Nothing is null, late or halted. `.read_all()` gives a table.

    Args:
        rows: Total number of rows.
        days: Number of weekdays from `start`; each is one `trade_date`.
        symbols: Number of symbols, dealt evenly to the asset classes.
        seed: Zero or more.
        asset_classes: Among EQUITY, FX, CRYPTO, FUTURE.
        start: First day, or the weekend before it.
        batch_rows: Rows of each batch but the last.
        dictionary: Symbols as dictionary(int32, string).
    """
    check_counts(rows=rows, days=days)
    check_seed(seed)
    classes = choose_classes(asset_classes)
    universe = Universe.of(list_instruments(symbols, classes, seed), classes)
    first = check_start(start)
    weekdays = list(islice((day for day in _until_last_day(count(first)) if weekday_of(day) < 5), days))
    tape = Tape(universe, seed, Purpose.TICKS, exact_volumes(universe, rows, weekdays), repeats=0.08, halts=0.0)
    blocks = (tick_rows(universe, events, mid) for _, events, mid in _steps(universe, seed, tape, iter(weekdays)))
    return stream(Encoder(universe, columns.TICKS, dictionary=dictionary), blocks, batch_rows)


def _steps(universe: Universe, seed: int, tape: Tape, days: Iterator[int]) -> Steps:
    path = PricePath(universe, seed)
    for day in days:
        path.advance(day)
        for block, events in tape.day(day):
            yield block, events, path.mid_ticks(events.ts_ns, events.symbol)


def _until_last_day(days: Iterator[int]) -> Iterator[int]:
    for day in days:
        if day >= LAST_DAY:
            raise InvalidInputError("The rows asked for reach beyond the year 2199; ask for more rows per day.")
        yield day


if __name__ == "__main__":
    from quantstore.testing.samples import main

    raise SystemExit(main())
