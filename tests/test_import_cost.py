"""What `import quantstore` loads and how long that takes."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest

HEAVY = ("pandas", "polars", "pyarrow", "numpy", "duckdb", "sqlalchemy", "sqlglot", "IPython", "xxhash")
BUDGET_SECONDS = 0.150
RUNS = 7


def run_python(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_loads_no_heavy_library() -> None:
    found = run_python(
        f"import sys, quantstore; print([name for name in {HEAVY!r} if name in sys.modules])",
    )
    assert found == "[]"


def test_opening_help_and_listing_names_loads_no_heavy_library() -> None:
    """TAB after `qs.` lists names and the accessor hook looks at sys.modules; neither imports anything."""
    code = f"import sys, quantstore; dir(quantstore); print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_importing_takes_less_than_its_budget_over_bare_python() -> None:
    code = "import time; begun = time.perf_counter(); import quantstore; print(time.perf_counter() - begun)"
    seconds = [float(run_python(code)) for _ in range(RUNS)]
    assert statistics.median(seconds) < BUDGET_SECONDS


@pytest.mark.parametrize(
    "imports",
    [
        "import quantstore, pandas, polars",
        "import pandas, polars, quantstore",
        "import pandas, quantstore, polars",
        "import quantstore.pandas, quantstore.polars, pandas, polars",
        "import quantstore as q, importlib as i; i.reload(q); import pandas, polars; i.reload(q)",
    ],
)
def test_frames_have_tier_in_every_import_order(imports: str) -> None:
    code = (
        f"{imports}\n"
        "frames = [pandas.DataFrame(), polars.DataFrame(), polars.LazyFrame()]\n"
        "print([type(frame.tier).__name__ for frame in frames], all('tier' in dir(frame) for frame in frames))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "['PandasTier', 'PolarsTier', 'LazyTier'] True"


def test_the_hook_leaves_the_library_its_own_loader() -> None:
    code = (
        "import quantstore, importlib.util, sys\n"
        "assert importlib.util.find_spec('pandas') is not None and 'pandas' not in sys.modules\n"
        "import pandas\n"
        "print(type(pandas.__spec__.loader).__name__, pandas.__loader__ is pandas.__spec__.loader)"
    )
    assert run_python(code) == "SourceFileLoader True"


def test_a_failing_registration_does_not_break_the_library() -> None:
    """Whatever is wrong with the accessor, `import pandas` works and says what went wrong."""
    code = (
        "import quantstore, sys, types, warnings\n"
        "def fail(module): raise RuntimeError('broken')\n"
        "sys.modules['quantstore.frames.pandas'] = types.SimpleNamespace(register=fail)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import pandas\n"
        "print(hasattr(pandas, 'DataFrame'), [str(w.message) for w in caught if 'quantstore' in str(w.message)])"
    )
    assert run_python(code) == "True [\"quantstore could not add .tier to pandas frames: RuntimeError('broken')\"]"


def test_two_threads_importing_at_once_both_see_the_accessor() -> None:
    code = (
        "import quantstore, threading\n"
        "seen = []\n"
        "def use():\n"
        "    import polars\n"
        "    seen.append(hasattr(polars.DataFrame(), 'tier'))\n"
        "threads = [threading.Thread(target=use) for _ in range(4)]\n"
        "[one.start() for one in threads]; [one.join() for one in threads]\n"
        "print(seen)"
    )
    assert run_python(code) == "[True, True, True, True]"
