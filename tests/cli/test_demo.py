"""`quantstore demo`: the main job, told and proven."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import quantstore as qs
from quantstore import api
from quantstore.cli.app import main

ROWS = 6_000


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Work in an empty folder, and keep the demo's store from becoming this process's default."""
    monkeypatch.setattr(api, "_default", None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Run the demo; return exit code, standard output and standard error."""

    def demo(*arguments):
        code = main(["demo", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return demo


def test_the_demo_spreads_a_market_over_three_tiers_and_proves_it(run, tmp_path):
    code, out, err = run("--rows", ROWS)
    assert code == 0, err
    for said in (
        "hot -> warm",
        "warm -> cold",
        "█",
        "vwap",
        "the same answer as before the moves",
        "pruned",
        "receipt",
    ):
        assert said in out
    assert "audit: everything is as recorded" in out
    assert "quickstart.ipynb" in out
    with qs.open(tmp_path / "quantstore-demo", create=False) as store:
        assert store.tables() == ["quotes", "trades"]
        assert store.read("SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM quotes) AS n")["n"][0] == ROWS
        placement = store.table("trades").placement()
        spread = placement.groupby("tier")["trade_date"].agg(["min", "max"]).astype(str).to_dict("index")
        assert spread == {
            "cold": {"min": "2026-11-16", "max": "2026-11-17"},
            "warm": {"min": "2026-11-18", "max": "2026-11-19"},
            "hot": {"min": "2026-11-20", "max": "2026-11-20"},
        }
        assert placement["asset_class"].nunique() == 4
        assert store.audit().ok


def test_a_second_run_goes_on_with_the_first_and_fresh_makes_it_anew(run, tmp_path):
    assert run("--rows", ROWS, "--path", "here")[0] == 0
    code, out, _ = run("--path", "here", "--keep")
    assert code == 0
    assert "going on with the one made before" in out
    assert out.count("written before: nothing added") == 2
    assert out.count("nothing left to move") == 2
    with qs.open("here") as store:
        assert store.metadata_catalog.snapshot().version == 2
    code, _, err = run("--path", "here", "--rows", 7_000)
    assert (code, "--fresh" in err) == (2, True)
    (tmp_path / "here" / "mine.txt").write_text("kept")
    code, out, _ = run("--path", "here", "--rows", 7_000, "--fresh", "--json")
    facts = json.loads(out)
    assert (code, facts["reused"], facts["rows"]) == (0, False, 7_000)
    assert sum(write["rows"] for write in facts["writes"]) == 7_000
    assert facts["receipts"] == sum(move["segments"] for move in facts["moves"])
    assert set(facts["query"]["tiers"]) == set(facts["tiers"]) == {"hot", "warm", "cold"}
    assert facts["audit"]["ok"]
    assert (tmp_path / "here" / "mine.txt").read_text() == "kept"


def test_a_folder_that_is_no_demo_is_left_alone(run, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("")
    for place in ("work", "file"):
        code, _, err = run("--path", place, "--fresh")
        assert (code, "is not a demo" in err) == (2, True)
    assert [one.name for one in (tmp_path / "work").iterdir()] == ["thesis.txt"]
    assert run("--rows", 5)[0] == 2
    assert not (tmp_path / "quantstore-demo").exists()


def test_the_notebook_beside_the_store_runs_twice_and_stays_as_its_user_left_it(run, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    assert run("--rows", ROWS)[0] == 0
    place = tmp_path / "quantstore-demo"
    notebook = nbformat.read(place / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "%load_ext quantstore" in code
    assert "%%tierquery" in code
    for _ in range(2):
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(place)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "audit: everything is as recorded" in text
    assert "pruned" in text
    assert not any(output.output_type == "error" for output in outputs)
    nbformat.write(notebook, place / "quickstart.ipynb")
    mine = (place / "quickstart.ipynb").read_text()
    assert run("--rows", ROWS, "--fresh")[0] == 0
    assert (place / "quickstart.ipynb").read_text() == mine


def test_the_whole_demo_takes_less_than_thirty_seconds(tmp_path):
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "quantstore", "demo"], capture_output=True, text=True, check=False)
    assert time.monotonic() - begun < 30
    assert done.returncode == 0, done.stderr
    assert "300,000 simulated ticks" in done.stdout
    assert done.stderr == "quantstore: made a new store at quantstore-demo\n"
