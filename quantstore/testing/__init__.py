"""What tests of a store need: a simulated market to fill it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantstore.testing.simulator import MarketSimulator, benchmark_ticks

__all__ = ["MarketSimulator", "benchmark_ticks"]


def __getattr__(name: str) -> Any:
    """Import the simulator on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from quantstore.testing import simulator

    return getattr(simulator, name)


def __dir__() -> list[str]:
    return sorted(__all__)
