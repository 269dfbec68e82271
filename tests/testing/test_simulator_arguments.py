from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from quantstore.errors import InvalidInputError
from quantstore.testing import MarketSimulator


@pytest.fixture(scope="module")
def simulator() -> MarketSimulator:
    return MarketSimulator()


def test_names_keep_their_class_and_unknown_ones_are_dealt_out() -> None:
    market = MarketSimulator(symbols=["AAPL", "BTC-USD", "FOO", "BAR"], asset_classes=("EQUITY", "CRYPTO"))
    owners = {each.symbol: each.asset_class for each in market.instruments}
    assert owners == {"AAPL": "EQUITY", "BTC-USD": "CRYPTO", "FOO": "EQUITY", "BAR": "CRYPTO"}
    assert set(market.trades()["symbol"].unique().to_pylist()) == set(owners)


def test_a_mapping_names_the_class() -> None:
    market = MarketSimulator(symbols={"GOLD": "FX"}, days=1, trades_per_day=50)
    assert set(market.trades()["asset_class"].to_pylist()) == {"FX"}
    assert market.instruments[0].tick_size == Decimal("0.00001")


def test_many_symbols_are_named_and_all_trade() -> None:
    market = MarketSimulator(symbols=3_000, days=1, trades_per_day=1_000_000)
    assert len({each.symbol for each in market.instruments}) == 3_000
    assert len(market.trades()["symbol"].unique()) == 3_000


def test_start_is_the_first_day() -> None:
    start = date(2025, 3, 4)
    days = set(MarketSimulator(start=start, days=3).trades()["trade_date"].to_pylist())
    assert days == {start + timedelta(days=n) for n in range(3)}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"symbols": 0}, "symbols"),
        ({"symbols": ["A", "A"]}, "symbols"),
        ({"symbols": {"A": "BOND"}}, "BOND"),
        ({"symbols": 9_000, "asset_classes": ["FX"]}, "FX"),
        ({"asset_classes": ["BOND"]}, "asset_classes"),
        ({"asset_classes": []}, "asset_classes"),
        ({"asset_classes": ["FX", "FX"]}, "asset_classes"),
        ({"start": date(1969, 12, 31)}, "start"),
        ({"days": 0}, "days"),
        ({"trades_per_day": 0}, "trades_per_day"),
        ({"late": 1.0}, "late"),
        ({"repeats": -0.1}, "repeats"),
        ({"halts": 2.0}, "halts"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        MarketSimulator(**arguments)


def test_requests_out_of_range_are_refused_by_name(simulator: MarketSimulator) -> None:
    with pytest.raises(InvalidInputError, match="batch_rows"):
        simulator.stream_trades(batch_rows=0)
    with pytest.raises(InvalidInputError, match="rows"):
        simulator.trades(-1)
    with pytest.raises(InvalidInputError, match="share"):
        simulator.corrections(share=1.5)
    with pytest.raises(InvalidInputError, match="2199"):
        MarketSimulator(start=date(2199, 12, 31), trades_per_day=1_000).trades(100_000)


def test_one_name_is_one_symbol() -> None:
    market = MarketSimulator(symbols="AAPL", asset_classes="EQUITY")
    assert [each.symbol for each in market.instruments] == ["AAPL"]
