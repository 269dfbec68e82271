from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from quantstore.testing.simulator import MarketSimulator, benchmark_ticks

INSTANT = pa.timestamp("ns", tz="UTC")
NS_PER_DAY = 86_400_000_000_000
TRADES = pa.schema(
    [
        ("ts", INSTANT),
        ("symbol", pa.string()),
        ("price", pa.float64()),
        ("size", pa.int64()),
        ("side", pa.string()),
        ("condition", pa.string()),
        ("exchange", pa.string()),
        ("trade_id", pa.int64()),
        ("trade_date", pa.date32()),
        ("asset_class", pa.string()),
    ]
)
QUOTES = pa.schema(
    [
        ("ts", INSTANT),
        ("symbol", pa.string()),
        ("bid", pa.float64()),
        ("ask", pa.float64()),
        ("bid_size", pa.int64()),
        ("ask_size", pa.int64()),
        ("exchange", pa.string()),
        ("trade_date", pa.date32()),
        ("asset_class", pa.string()),
    ]
)
TICKS = pa.schema(
    [
        ("ts", INSTANT),
        ("symbol", pa.string()),
        ("price", pa.float64()),
        ("size", pa.int64()),
        ("bid", pa.float64()),
        ("ask", pa.float64()),
        ("exchange", pa.string()),
        ("trade_date", pa.date32()),
        ("asset_class", pa.string()),
    ]
)
CORRECTIONS = pa.schema(
    [
        ("trade_id", pa.int64()),
        ("ts", INSTANT),
        ("symbol", pa.string()),
        ("action", pa.string()),
        ("price", pa.float64()),
        ("size", pa.int64()),
        ("exchange", pa.string()),
        ("received_at", INSTANT),
        ("trade_date", pa.date32()),
        ("asset_class", pa.string()),
    ]
)


@pytest.fixture(scope="module")
def simulator() -> MarketSimulator:
    return MarketSimulator(seed=11, days=7, trades_per_day=30_000, quotes_per_day=20_000)


@pytest.fixture(scope="module")
def trades(simulator: MarketSimulator) -> pa.Table:
    return simulator.trades().combine_chunks()


@pytest.fixture(scope="module")
def quotes(simulator: MarketSimulator) -> pa.Table:
    return simulator.quotes().combine_chunks()


@pytest.fixture(scope="module")
def messages(simulator: MarketSimulator) -> pa.Table:
    return simulator.corrections(share=0.01)


@pytest.fixture(scope="module")
def ticks() -> pa.Table:
    return benchmark_ticks(400_001, days=10, symbols=50, batch_rows=60_000).read_all()


def doubles(column: pa.ChunkedArray) -> list[float | None]:
    """Return the double nearest to each decimal, which Arrow's own cast misses at times."""
    return [None if value is None else float(value) for value in column.to_pylist()]


def stamps(table: pa.Table, name: str = "ts") -> np.ndarray:
    return table[name].cast(pa.int64()).to_numpy()


def ticks_off_grid(simulator: MarketSimulator, table: pa.Table, column: str) -> int:
    """Count prices that are not the double nearest to a multiple of their instrument's tick size."""
    size = {each.symbol: each.tick_units for each in simulator.instruments}
    names = pa.array(list(size))
    tick = np.array(list(size.values()))[pc.index_in(table["symbol"], names).to_numpy()]
    price = table[column].to_numpy()
    return int((np.rint(price * 1e6 / tick).astype(np.int64) * tick / 1e6 != price).sum())


class TestDeterminism:
    @pytest.mark.parametrize("batch_rows", [1, 997, 20_000, 10**7])
    def test_trades_do_not_depend_on_the_batch_size(self, batch_rows: int) -> None:
        simulator = MarketSimulator(days=2, trades_per_day=1_500)
        streamed = list(simulator.stream_trades(batch_rows=batch_rows))
        assert all(batch.num_rows == batch_rows for batch in streamed[:-1])
        assert pa.Table.from_batches(streamed).equals(simulator.trades())

    def test_quotes_do_not_depend_on_the_batch_size(self, simulator: MarketSimulator, quotes: pa.Table) -> None:
        streamed = list(simulator.stream_quotes(batch_rows=7_001))
        assert all(batch.num_rows == 7_001 for batch in streamed[:-1])
        assert pa.Table.from_batches(streamed).equals(quotes)

    def test_batches_that_span_several_blocks_keep_their_size(self) -> None:
        """At this rate a day consists of several blocks, none of which ends where a batch does."""
        simulator = MarketSimulator(days=1, trades_per_day=700_000)
        small = list(simulator.stream_trades(batch_rows=50_000))
        large = list(simulator.stream_trades(batch_rows=300_000))
        assert {batch.num_rows for batch in small[:-1]} == {50_000}
        assert {batch.num_rows for batch in large[:-1]} == {300_000}
        assert pa.Table.from_batches(small).equals(pa.Table.from_batches(large))

    def test_another_process_simulates_the_same_market(self, trades: pa.Table) -> None:
        code = (
            "import sys, pyarrow as pa\n"
            "from quantstore.testing.simulator import MarketSimulator\n"
            "market = MarketSimulator(seed=11, days=7, trades_per_day=30_000, quotes_per_day=20_000)\n"
            "reader = market.stream_trades(batch_rows=4096)\n"
            "with pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as out:\n"
            "    [out.write_batch(batch) for batch in reader]\n"
        )
        environment = {**os.environ, "PYTHONHASHSEED": "12345"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
        assert pa.ipc.open_stream(done.stdout).read_all().equals(trades)

    def test_a_shorter_stream_is_the_beginning_of_a_longer_one(
        self, simulator: MarketSimulator, trades: pa.Table, quotes: pa.Table
    ) -> None:
        assert simulator.trades(12_345).equals(trades.slice(0, 12_345))
        assert simulator.quotes(12_345).equals(quotes.slice(0, 12_345))
        assert simulator.trades(0).num_rows == 0

    def test_rows_run_on_past_the_last_day(self) -> None:
        simulator = MarketSimulator(days=1, trades_per_day=1_000)
        longer = simulator.trades(5_000)
        assert longer.num_rows == 5_000
        assert simulator.trades().num_rows < 1_500

    def test_seeds_give_different_markets(self) -> None:
        assert not MarketSimulator(seed=1, days=1).trades().equals(MarketSimulator(seed=2, days=1).trades())

    def test_quotes_do_not_change_with_the_number_of_trades(self) -> None:
        few = MarketSimulator(days=1, trades_per_day=100)
        many = MarketSimulator(days=1, trades_per_day=10_000)
        assert few.quotes().equals(many.quotes())


class TestSchema:
    def test_schemas_are_exact(self, simulator: MarketSimulator, trades: pa.Table, quotes: pa.Table) -> None:
        assert trades.schema.equals(TRADES)
        assert quotes.schema.equals(QUOTES)
        assert simulator.corrections(100).schema.equals(CORRECTIONS)
        assert benchmark_ticks(100, days=1, symbols=4).schema.equals(TICKS)
        trades.validate(full=True)
        quotes.validate(full=True)

    def test_decimal_and_dictionary_hold_the_same_values(self, simulator: MarketSimulator) -> None:
        plain = simulator.trades(20_000)
        typed = simulator.trades(20_000, decimal=True, dictionary=True)
        assert typed.schema.field("price").type == pa.decimal128(18, 6)
        assert typed.schema.field("symbol").type == pa.dictionary(pa.int32(), pa.string())
        assert doubles(typed["price"]) == plain["price"].to_pylist()
        assert typed["symbol"].cast(pa.string()).equals(plain["symbol"])
        assert typed.drop_columns(["price", "symbol"]).equals(plain.drop_columns(["price", "symbol"]))
        typed.validate(full=True)

    def test_quotes_and_corrections_come_as_decimals_too(self, simulator: MarketSimulator) -> None:
        assert simulator.quotes(10, decimal=True).schema.field("ask").type == pa.decimal128(18, 6)
        corrections = simulator.corrections(share=0.01, decimal=True)
        assert corrections["price"].null_count == pc.sum(pc.equal(corrections["action"], "BUST")).as_py() > 0
        assert doubles(corrections["price"]) == simulator.corrections(share=0.01)["price"].to_pylist()

    def test_only_sizes_and_sides_are_ever_null(self, trades: pa.Table, quotes: pa.Table) -> None:
        nullable = {name for name in trades.column_names if trades[name].null_count}
        assert nullable == {"size", "side"}
        assert 0.001 < trades["size"].null_count / trades.num_rows < 0.01
        assert sum(column.null_count for column in quotes.columns) == 0

    def test_trade_date_is_the_utc_date_of_the_stamp(self, trades: pa.Table, quotes: pa.Table) -> None:
        for table in (trades, quotes):
            assert (table["trade_date"].cast(pa.int32()).to_numpy() == stamps(table) // NS_PER_DAY).all()


class TestTime:
    def test_sorted_trades_are_the_same_rows_in_event_order(self, simulator: MarketSimulator, trades: pa.Table) -> None:
        ordered = simulator.trades(sort=True)
        assert (np.diff(stamps(ordered)) >= 0).all()
        assert ordered["trade_id"].to_pylist() == list(range(1, len(trades) + 1))
        assert trades.sort_by("trade_id").equals(ordered.combine_chunks())

    def test_trades_arrive_in_order_but_for_the_late_ones(self, trades: pa.Table) -> None:
        on_time = trades.filter(pc.not_equal(trades["condition"], "Z"))
        assert (np.diff(stamps(on_time)) >= 0).all()
        assert (np.diff(on_time["trade_id"].to_numpy()) > 0).all()
        assert not (np.diff(stamps(trades)) >= 0).all()

    def test_late_trades_arrive_between_a_second_and_a_quarter_of_an_hour_late(self, trades: pa.Table) -> None:
        is_late = pc.equal(trades["condition"], "Z").to_numpy()
        ts = stamps(trades)
        clock = np.maximum.accumulate(np.where(is_late, 0, ts))
        behind = (clock - ts)[is_late] / 1e9
        assert behind.max() <= 901
        assert (behind > 0).mean() > 0.9
        assert (behind > 60).mean() > 0.4

    @pytest.mark.parametrize("share", [0.0, 0.005, 0.2])
    def test_share_of_late_trades(self, share: float) -> None:
        market = MarketSimulator(days=3, late=share).trades()
        late = pc.sum(pc.equal(market["condition"], "Z")).as_py() / market.num_rows
        assert late == pytest.approx(share, abs=0.002, rel=0.05)

    @pytest.mark.parametrize("share", [0.0, 0.08, 0.5])
    def test_share_of_repeated_stamps(self, share: float) -> None:
        """On nanosecond venues stamps hardly ever meet by chance."""
        market = MarketSimulator(asset_classes=("EQUITY",), days=5, repeats=share, halts=0.0).trades(sort=True)
        ts, symbol = stamps(market), market["symbol"].to_numpy(zero_copy_only=False)
        repeated = ts[1:] == ts[:-1]
        assert repeated.mean() == pytest.approx(share, abs=0.01)
        assert (symbol[1:] == symbol[:-1])[repeated].all()

    def test_stamps_have_the_resolution_of_their_market(self, trades: pa.Table) -> None:
        for name, resolution in [("EQUITY", 1), ("FX", 1_000), ("CRYPTO", 1_000_000), ("FUTURE", 1)]:
            ts = stamps(trades.filter(pc.equal(trades["asset_class"], name)))
            assert (ts % resolution == 0).all()
            assert not (ts % (resolution * 10) == 0).all()

    @pytest.mark.parametrize("kind", ["trades", "quotes"])
    def test_halted_symbols_fall_silent_and_others_do_not(self, kind: str) -> None:
        market = MarketSimulator(symbols=8, days=2, trades_per_day=60_000, quotes_per_day=60_000, halts=0.5, late=0.0)
        halts = market.halts()
        assert 3 <= halts.num_rows <= 13
        assert (np.diff(stamps(halts, "start")) >= 0).all()
        table = getattr(market, kind)()
        ts, symbol = stamps(table), table["symbol"].to_numpy(zero_copy_only=False)
        busy = 0
        for name, start, end in zip(
            halts["symbol"].to_pylist(), stamps(halts, "start"), stamps(halts, "end"), strict=True
        ):
            assert 1 <= (end - start) / 60e9 <= 30
            inside = (ts >= start) & (ts < end)
            assert not (inside & (symbol == name)).any()
            busy += int(inside.sum())
        assert busy > 1_000

    def test_no_halts_leave_an_empty_table(self) -> None:
        assert MarketSimulator(days=2, halts=0.0).halts().num_rows == 0


class TestSessions:
    def test_equities_trade_from_monday_to_friday_in_their_session(self, trades: pa.Table) -> None:
        equity = trades.filter(pc.equal(trades["asset_class"], "EQUITY"))
        minute = stamps(equity) % NS_PER_DAY / 60e9
        assert minute.min() >= 13.5 * 60
        assert minute.max() < 20 * 60
        assert {day.weekday() for day in equity["trade_date"].unique().to_pylist()} == {0, 1, 2, 3, 4}

    def test_fx_and_futures_rest_from_friday_to_sunday_night(self, trades: pa.Table) -> None:
        for name, opens in [("FX", 22), ("FUTURE", 23)]:
            table = trades.filter(pc.equal(trades["asset_class"], name))
            days = {day.weekday() for day in table["trade_date"].unique().to_pylist()}
            assert days == {0, 1, 2, 3, 4, 6}
            hours = stamps(table) / 3_600e9
            start_of_friday = (date(2026, 11, 20) - date(1970, 1, 1)).days * 24
            weekend = hours[hours >= start_of_friday]
            assert not ((weekend >= start_of_friday + 22) & (weekend < start_of_friday + 48 + opens)).any()

    def test_futures_cross_midnight_and_pause_for_an_hour(self, trades: pa.Table) -> None:
        futures = trades.filter(pc.equal(trades["asset_class"], "FUTURE"))
        hour = stamps(futures) // 3_600_000_000_000 % 24
        assert set(hour) == set(range(24)) - {22}

    def test_crypto_never_rests(self, trades: pa.Table) -> None:
        crypto = trades.filter(pc.equal(trades["asset_class"], "CRYPTO"))
        hours = stamps(crypto) // 3_600_000_000_000
        assert len(set(hours)) == 7 * 24

    def test_activity_is_u_shaped(self) -> None:
        equity = MarketSimulator(asset_classes=("EQUITY",), trades_per_day=50_000).trades()
        half_hours = ((stamps(equity) % NS_PER_DAY) / 60e9 - 810) // 30
        counts = np.bincount(half_hours.astype(int), minlength=13)
        assert counts[0] > 2 * counts[6]
        assert counts[12] > 2 * counts[6]
        assert counts[3] > counts[6] < counts[9]

    def test_activity_of_symbols_follows_zipf(self) -> None:
        market = MarketSimulator(symbols=20, asset_classes=("EQUITY",), trades_per_day=100_000, halts=0.0)
        symbols = market.trades()["symbol"].value_counts().to_pylist()
        counts = {each["values"]: each["counts"] for each in symbols}
        by_rank = np.array([counts[each.symbol] for each in market.instruments])
        assert by_rank[0] / by_rank[1] == pytest.approx(2, rel=0.05)
        assert by_rank[0] / by_rank[9] == pytest.approx(10, rel=0.1)


class TestPrices:
    def test_trade_prices_are_positive_and_on_tick(self, simulator: MarketSimulator, trades: pa.Table) -> None:
        assert pc.min(trades["price"]).as_py() > 0
        assert ticks_off_grid(simulator, trades, "price") == 0
        assert pc.min(trades["size"]).as_py() >= 1

    def test_bids_lie_below_asks_on_tick(self, simulator: MarketSimulator, quotes: pa.Table) -> None:
        assert pc.min(quotes["bid"]).as_py() > 0
        assert pc.all(pc.less(quotes["bid"], quotes["ask"])).as_py()
        assert ticks_off_grid(simulator, quotes, "bid") == ticks_off_grid(simulator, quotes, "ask") == 0
        assert min(pc.min(quotes[name]).as_py() for name in ("bid_size", "ask_size")) >= 1

    def test_prices_move_like_a_market(self, trades: pa.Table) -> None:
        """A busy symbol moves a little from print to print and by percents over a week."""
        ordered = trades.filter(pc.equal(trades["symbol"], "BTC-USD")).sort_by("trade_id")
        returns = np.diff(np.log(ordered["price"].to_numpy()))
        assert np.abs(returns).max() < 0.05
        assert 0.01 < returns.std() * np.sqrt(len(returns)) < 0.5
        assert len(set(ordered["price"].to_pylist())) > 1_000

    def test_trades_execute_near_the_quotes(self, trades: pa.Table, quotes: pa.Table) -> None:
        """Both follow one path: the mean of a symbol's prices agrees hour by hour."""
        for name in ("EURUSD", "ESZ6"):
            hourly = []
            for table, column in ((trades, "price"), (quotes, "bid")):
                rows = table.filter(pc.equal(table["symbol"], name))
                hour = stamps(rows) // 3_600_000_000_000
                hours, place = np.unique(hour, return_inverse=True)
                means = np.bincount(place, rows[column].to_numpy()) / np.bincount(place)
                hourly.append(dict(zip(hours.tolist(), means.tolist(), strict=True)))
            both = hourly[0].keys() & hourly[1].keys()
            assert len(both) > 90
            assert np.median([abs(hourly[0][hour] / hourly[1][hour] - 1) for hour in both]) < 0.001

    def test_paths_stay_positive_for_years(self) -> None:
        market = MarketSimulator(asset_classes=("CRYPTO",), symbols=10, days=800, trades_per_day=20)
        price = market.trades()["price"].to_numpy()
        assert price.min() > 0
        assert np.isfinite(price).all()


class TestCorrections:
    def test_corrections_refer_to_trades(
        self, messages: pa.Table, simulator: MarketSimulator, trades: pa.Table
    ) -> None:
        assert messages.num_rows == pytest.approx(trades.num_rows * 0.01, rel=0.2)
        assert len(messages["trade_id"].unique()) == messages.num_rows
        originals = trades.sort_by("trade_id").take(pc.subtract(messages["trade_id"], 1))
        for name in ("trade_id", "ts", "symbol", "exchange", "trade_date", "asset_class"):
            assert messages[name].equals(originals[name]), name
        is_bust = pc.equal(messages["action"], "BUST").to_numpy()
        moved = messages["price"].to_numpy() != originals["price"].to_numpy()
        assert moved[~is_bust].all()

    def test_busts_say_nothing_and_corrections_say_everything(
        self, messages: pa.Table, simulator: MarketSimulator
    ) -> None:
        is_bust = pc.equal(messages["action"], "BUST")
        assert set(messages["action"].to_pylist()) == {"BUST", "CORRECT"}
        assert pc.mean(is_bust.cast(pa.float64())).as_py() == pytest.approx(0.25, abs=0.04)
        for name in ("price", "size"):
            assert pc.equal(pc.is_null(messages[name]), is_bust).to_pylist() == [True] * messages.num_rows
        corrected = messages.filter(pc.invert(is_bust))
        assert ticks_off_grid(simulator, corrected, "price") == 0
        assert pc.min(corrected["price"]).as_py() > 0

    def test_messages_arrive_in_order_and_after_their_trade(self, messages: pa.Table) -> None:
        received = stamps(messages, "received_at")
        assert (np.diff(received) >= 0).all()
        delay = (received - stamps(messages)) / 1e9
        assert delay.min() >= 30
        assert delay.max() <= 2 * 86_400 + 931
        assert (delay > 86_400).any()

    def test_corrections_of_the_first_rows_stay_among_them(self, simulator: MarketSimulator) -> None:
        known = set(simulator.trades(20_000)["trade_id"].to_pylist())
        messages = simulator.corrections(20_000, share=0.02)
        assert messages.num_rows > 300
        assert set(messages["trade_id"].to_pylist()) <= known

    def test_no_trades_have_no_corrections(self, simulator: MarketSimulator) -> None:
        assert simulator.corrections(0).num_rows == 0
        assert simulator.corrections(1_000, share=0.0).schema.equals(CORRECTIONS)


class TestBenchmarkTicks:
    def test_rows_days_and_symbols_are_exact(self, ticks: pa.Table) -> None:
        assert ticks.num_rows == 400_001
        days = ticks["trade_date"].value_counts().to_pylist()
        assert len(days) == 10
        assert all(each["values"].weekday() < 5 and each["counts"] in (40_000, 40_001) for each in days)
        assert len(ticks["symbol"].unique()) == 50
        assert len(ticks.group_by(["trade_date", "asset_class"]).aggregate([])) == 40

    def test_ticks_are_ordered_and_complete(self, ticks: pa.Table) -> None:
        assert (np.diff(stamps(ticks)) >= 0).all()
        assert sum(column.null_count for column in ticks.columns) == 0

    def test_ticks_trade_inside_their_book(self, ticks: pa.Table) -> None:
        assert pc.all(pc.less(ticks["bid"], ticks["ask"])).as_py()
        assert pc.all(pc.less_equal(ticks["bid"], ticks["price"])).as_py()
        assert pc.all(pc.less_equal(ticks["price"], ticks["ask"])).as_py()

    def test_batch_size_and_dictionary_change_no_value(self, ticks: pa.Table) -> None:
        other = benchmark_ticks(400_001, days=10, symbols=50, dictionary=True).read_all()
        assert other.cast(TICKS).equals(ticks)

    def test_tiny_and_weekend_starts_work(self) -> None:
        ticks = benchmark_ticks(3, days=2, symbols=1, asset_classes=("EQUITY",), start=date(2026, 11, 21)).read_all()
        assert ticks.num_rows == 3
        assert set(ticks["trade_date"].to_pylist()) == {date(2026, 11, 23), date(2026, 11, 24)}


class TestStreaming:
    @staticmethod
    def peak_bytes(rows: int) -> int:
        """Return the most memory NumPy, Python and Arrow held while `rows` trades were streamed."""
        simulator = MarketSimulator(symbols=40, trades_per_day=400_000, halts=0.0)
        base, arrow_peak, streamed = pa.total_allocated_bytes(), 0, 0
        tracemalloc.start()
        try:
            for batch in simulator.stream_trades(rows, batch_rows=100_000):
                streamed += batch.num_rows
                arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - base)
            python_peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert streamed == rows
        return arrow_peak + python_peak

    def test_memory_does_not_grow_with_the_number_of_rows(self) -> None:
        """Three million rows take about 250 MB as a table."""
        short, long = self.peak_bytes(600_000), self.peak_bytes(3_000_000)
        assert long < 120_000_000
        assert long < short * 1.3

    def test_the_reader_is_an_iterator_of_record_batches(self, simulator: MarketSimulator) -> None:
        reader = simulator.stream_trades(10, batch_rows=4)
        assert isinstance(next(reader), pa.RecordBatch)
        assert [batch.num_rows for batch in reader] == [4, 2]
