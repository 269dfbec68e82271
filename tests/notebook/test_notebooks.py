"""The notebooks of the repository and cells of our own, run by real kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from quantstore.testing.simulator import MarketSimulator

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICKSTART = FOLDER / "01_quickstart.ipynb"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what kernels write inside the test's folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")


def execute(notebook: Any, folder: Path) -> Any:
    """Run a notebook in a new kernel and return it with its outputs."""
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def execute_cells(folder: Path, *sources: str) -> Any:
    return execute(new_notebook(cells=[new_code_cell(source) for source in sources]), folder)


def texts(notebook: Any) -> list[str]:
    """Return what each code cell shows, as text."""
    return [
        "\n".join(
            output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def text_after(notebook: Any, source: str) -> str:
    """Return what the first cell whose code contains `source` shows."""
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return next(text for code, text in zip(codes, texts(notebook), strict=True) if source in code)


def test_there_are_notebooks() -> None:
    assert QUICKSTART in NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path) -> None:
    execute(nbformat.read(path, 4), tmp_path)


def test_quickstart_shows_what_it_says_and_can_be_run_again_by_a_new_kernel(tmp_path: Path) -> None:
    rows = MarketSimulator(seed=7, symbols=12, days=5, trades_per_day=20_000).trades().num_rows
    for run in range(2):
        notebook = execute(nbformat.read(QUICKSTART, 4), tmp_path)
        written = text_after(notebook, 'write_id="trades of the week"')
        assert f"version 1, {rows:,} rows" in written
        assert ("written before, nothing changed" in written) is (run == 1)
        query = text_after(notebook, "sum(price * size)")
        assert "2026-11-17" in query
        assert "2026-11-20" in query
        assert "hot" in query
        assert "warm" in query
        assert "cold" in query
        assert "pruned" in text_after(notebook, "--explain")
        assert f"{rows + 3}" in text_after(notebook, "%tierquery SELECT count(*)")
        assert f"{rows}" in text_after(notebook, "--as-of $version")
        assert f"pandas DataFrame, {rows:,} rows" in text_after(notebook, "back.tier.info()")
        assert f"{rows + 3}" in text_after(notebook, "subprocess.run")
        assert "everything is as recorded" in text_after(notebook, "%tier audit")


def test_a_failing_query_stops_the_notebook_with_our_error(tmp_path: Path) -> None:
    cells = [
        "%load_ext quantstore\nimport quantstore as qs\nstore = qs.use('store')",
        "%%tierquery\nSELECT * FROM nowhere",
        "print('never')",
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    with pytest.raises(CellExecutionError) as caught:
        execute(notebook, tmp_path)
    assert caught.value.ename == "NotFoundError"
    told = (
        "There is no table 'nowhere'. The store has no tables yet.\n"
        "line 1: SELECT * FROM nowhere\n"
        "                      ^^^^^^^"
    )
    assert caught.value.evalue == told
    (error,) = notebook.cells[1].outputs
    assert error.output_type == "error"
    assert error.traceback == [f"NotFoundError: {told}"]
    assert notebook.cells[2].outputs == []


def test_the_footer_follows_the_result_in_the_same_cell(tmp_path: Path) -> None:
    notebook = execute_cells(
        tmp_path, "%load_ext quantstore\nimport quantstore as qs\nstore = qs.use('store')", "%tierquery SELECT 1 AS a"
    )
    kinds = [output.output_type for output in notebook.cells[1].outputs]
    assert kinds == ["execute_result", "display_data"]
    assert notebook.cells[1].outputs[1].data["text/plain"].startswith("1 row in ")


def test_progress_is_shown_by_a_kernel_for_plain_calls_and_cells_that_await(tmp_path: Path) -> None:
    """Announced in place of a long move; the display is updated in place, so one output holds the last state."""
    work = "for done in range(1, 8):\n    announce(Progress('migrate', 'ticks', done, 7, 'segments'))\n    {sleep}"
    notebook = execute_cells(
        tmp_path,
        "%load_ext quantstore\nimport asyncio, time\nfrom quantstore.core.events import Progress, announce",
        work.format(sleep="time.sleep(0.25)"),
        work.format(sleep="await asyncio.sleep(0.25)"),
        work.format(sleep="pass"),
    )
    for cell in notebook.cells[1:3]:
        (shown,) = cell.outputs
        assert shown.data["text/plain"].startswith("migrate ticks: 7 of 7 segments, 1.")
        assert "<progress value='7' max='7'>" in shown.data["text/html"]
    assert notebook.cells[3].outputs == []


def test_a_store_written_in_one_kernel_is_there_in_the_next(tmp_path: Path) -> None:
    opening = "%load_ext quantstore\nimport pandas as pd\nimport quantstore as qs\nstore = qs.use('store')"
    execute_cells(
        tmp_path,
        opening,
        "frame = pd.DataFrame({'ts': pd.date_range('2026-11-16', periods=4, freq='12h', tz='UTC'), 'n': range(4)})\n"
        "frame.tier.write('ticks')",
        "%tier migrate ticks hot cold --before 2026-11-17",
    )
    notebook = execute_cells(tmp_path, opening, "%tierquery -q SELECT sum(n) AS total FROM ticks", "%tier ls")
    assert texts(notebook)[1].split() == ["total", "0", "6"]
    assert texts(notebook)[2].splitlines()[-1].split()[-3:] == ["2", "0", "2"]
