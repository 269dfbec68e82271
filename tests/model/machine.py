"""The life of a store as a state machine of Hypothesis, which makes what fails as small as it can be."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from random import Random
from typing import ClassVar

from hypothesis import settings, stateful
from hypothesis import strategies as st
from model_children import Zygote
from model_draws import WEIGHTS
from model_life import Life

from quantstore.errors import QuantStoreWarning
from quantstore.testing.strategies import chances

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where stores are made: in memory, which outlives a killed process as the page cache does, and is quick to sync."""


class StoreMachine(stateful.RuleBasedStateMachine):
    """A store, its model, a second process, processes that are killed, and a clock that jumps."""

    zygote: ClassVar[Zygote]

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="quantstore-machine-", dir=MEMORY))
        self._quiet = warnings.catch_warnings()
        self._quiet.__enter__()
        warnings.simplefilter("ignore", QuantStoreWarning)
        self._life: Life | None = None

    @stateful.initialize(chance=chances, publishes=st.booleans(), cache=st.sampled_from(("off", "16MB")))
    def open(self, chance: Random, publishes: bool, cache: str) -> None:
        self._life = Life(self._folder, self.zygote, chance, publishes=publishes, cache=cache)

    @stateful.rule(kind=st.sampled_from(sorted(WEIGHTS)), chance=chances)
    def act(self, kind: str, chance: Random) -> None:
        """Do one thing of a kind, if the store has what it takes, and check what holds afterwards."""
        assert self._life is not None
        self._life.draw_from(chance)
        self._life.step(kind)

    def teardown(self) -> None:
        try:
            if self._life is not None:
                try:
                    self._life.check_whole()
                finally:
                    self._life.close()
        finally:
            self._quiet.__exit__(None, None, None)
            shutil.rmtree(self._folder, ignore_errors=True)


def dose(examples: int, steps: int) -> settings:
    """Return settings for a number of examples of a number of steps."""
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True, report_multiple_bugs=False
    )
