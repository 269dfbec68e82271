"""The benchmark runs, reports every job and names what is not installed; nothing is judged."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PEERS = {"ArcticDB": "arcticdb", "sort + pyiceberg append": "pyiceberg"}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run over few ticks."""
    folder = tmp_path_factory.mktemp("benchmarks")
    options = ["--quick", "--rows", "20000", "--runs", "1", "--output", str(folder / "out"), "--work", str(folder)]
    command = [sys.executable, str(BENCHMARKS / "run.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["out"], "the data is gone"
    return folder / "out"


@pytest.fixture(scope="module")
def report(output: Path) -> dict[str, Any]:
    """What the run measured."""
    return json.loads((output / "report.json").read_text())


def listed() -> list[str]:
    """Return the names of all jobs."""
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--list"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in shown.splitlines()]


def test_every_job_reports_figures_of_the_store_on_every_variant(report: dict[str, Any]) -> None:
    names = listed()
    assert len(names) > 15
    for name in names:
        results = [one for one in report["results"] if one["job"] == name]
        assert [one["variant"] for one in results] in (["one-class", "four-classes"], ["catalog"]), name
        for result in results:
            own = result["contenders"][0]
            assert own["name"] == "quantstore"
            assert own["state"] == "measured", (name, own["state"])
            assert own["median"] > 0
            assert len(own["seconds"]) == 1


def test_every_contender_is_measured_or_named_as_not_installed(report: dict[str, Any]) -> None:
    for result in report["results"]:
        for one in result["contenders"]:
            package = PEERS.get(one["name"])
            missing = package is not None and importlib.util.find_spec(package) is None
            assert one["state"] == ("not installed" if missing else "measured"), (result["job"], one)


def test_contenders_agree_on_rows(report: dict[str, Any]) -> None:
    for result in report["results"]:
        counts = {one["rows"] for one in result["contenders"] if one["rows"] is not None}
        assert len(counts) <= 1, result["job"]


def test_a_quick_run_measures_targets_and_judges_none(report: dict[str, Any]) -> None:
    verdicts = [verdict for result in report["results"] for verdict in result["targets"]]
    assert len(verdicts) > 20
    for verdict in verdicts:
        assert (
            verdict["result"] == "not judged"
            if verdict["measured"] is not None
            else "not installed" in verdict["result"]
        )


def test_the_report_names_versions_machine_dtypes_and_memory(report: dict[str, Any], output: Path) -> None:
    assert report["rows"] == 20_000
    assert {"python", "pandas", "arcticdb", "duckdb", "polars", "pyarrow"} <= set(report["versions"])
    assert {"processor", "cores", "memory", "file system", "load before", "load after"} <= set(report["machine"])
    write = next(one for one in report["results"] if one["job"] == "write-arrow")["contenders"][0]
    assert write["dtypes"]["ts"] == "timestamp[ns, tz=UTC]"
    if sys.platform == "linux":
        assert write["footprint"]["written"] > 20_000 * 8
    text = (output / "report.md").read_text()
    assert "| job | data | target | beside | measured | |" in text
    if importlib.util.find_spec("arcticdb") is None:
        assert "ArcticDB | not installed" in text
    if importlib.util.find_spec("matplotlib") is not None:
        assert {path.stem for path in output.glob("*.png")} == set(listed())


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Judge a target on times and sizes: `judged(kind, limit, own, name=(seconds, size), ...)`."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    job, measure, verdict = (importlib.import_module(name) for name in ("job", "measure", "verdict"))

    def judge(kind: str, limit: float, own: float, *, same_size: bool = False, **others: Any) -> Any:
        figures = [measure.Figures("quantstore", seconds=[own * 3, own, own / 3], size=100)]
        for name, found in others.items():
            measured = isinstance(found, tuple)
            seconds, size = ([found[0]], found[1]) if measured else ([], None)
            figures.append(measure.Figures(name, "measured" if measured else found, seconds, size=size))
        target = job.Target("fast", kind, limit, tuple(others), same_size=same_size)
        return verdict.judge(target, figures, quick=False)

    yield judge
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("kind", "limit", "own", "other", "shown", "result"),
    [
        ("speed", 1.5, 2.0, 3.0, "1.50x its speed", "reached"),
        ("speed", 1.5, 2.0, 2.9, "1.45x its speed", "missed"),
        ("time", 1.3, 2.6, 2.0, "1.30x its time", "reached"),
        ("time", 1.3, 2.8, 2.0, "1.40x its time", "missed"),
        ("added", 0.001, 0.0029, 0.002, "+0.90 ms", "reached"),
        ("added", 0.001, 0.0032, 0.002, "+1.20 ms", "missed"),
    ],
)
def test_medians_are_held_against_targets(
    judged: Any, kind: str, limit: float, own: float, other: float, shown: str, result: str
) -> None:
    verdict = judged(kind, limit, own, peer=(other, 100))
    assert (verdict.beside, verdict.shown, verdict.result) == ("peer", shown, result)


def test_the_fastest_peer_counts_and_of_equal_size_where_asked(judged: Any) -> None:
    peers = {"slow": (4.0, 100), "fast": (1.0, 100), "large": (0.5, 200)}
    assert judged("time", 1.3, 2.0, **peers).beside == "large"
    assert judged("time", 1.3, 2.0, same_size=True, **peers).beside == "fast"
    assert judged("time", 1.3, 2.0, same_size=True, large=(0.5, 200)).result == "large: its files are larger"


def test_a_target_beside_a_missing_peer_is_not_reached(judged: Any) -> None:
    verdict = judged("speed", 1.5, 2.0, arctic="not installed")
    assert verdict.measured is None
    assert verdict.result == "arctic: not installed"


def test_an_unknown_job_is_refused_with_the_names_there_are() -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "write-arrow" in done.stderr
