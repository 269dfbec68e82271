"""Rules about the code itself: layers, sizes, nothing of one machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_LINES = 500
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".ipynb", ".txt", ".cfg", ""}
FOLDERS = ("quantstore", "tests", "docs", "notebooks", "data_samples", "benchmarks", ".ci")


def files_of_the_project():
    """Yield every text file that belongs to the project."""
    for one in sorted(ROOT.iterdir()):
        if one.is_file() and one.suffix in TEXT and not one.name.startswith(".coverage"):
            yield one
    for folder in FOLDERS:
        for one in sorted((ROOT / folder).rglob("*")):
            if one.is_file() and one.suffix in TEXT and "results" not in one.parts:
                yield one


def test_imports_point_downwards():
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert program, "import-linter comes with the extra quantstore[test]"
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_file_outgrows_one_noun():
    long = {
        str(one.relative_to(ROOT)): lines
        for one in (ROOT / "quantstore").rglob("*.py")
        if (lines := one.read_text().count("\n")) > MAX_LINES
    }
    assert not long


def test_packages_hold_names_only():
    """A package's `__init__` defines nothing public: it says where names are."""
    for one in (ROOT / "quantstore").rglob("__init__.py"):
        assert not re.findall(r"^(?:def|class) ([^_]\w*)", one.read_text(), re.MULTILINE), one


def test_no_text_speaks_of_one_machine():
    places = re.compile(r"(?<![\w.$}~-])/(?:" + "work|opt|root|home|Users|farm" + r")/\w")
    found = [
        f"{one.relative_to(ROOT)}:{number}: {line.strip()}"
        for one in files_of_the_project()
        for number, line in enumerate(one.read_text(errors="replace").splitlines(), start=1)
        if places.search(line)
    ]
    assert not found


def test_nothing_is_left_unfinished():
    marks = re.compile(
        r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")) + r")\b"
    )
    found = [
        f"{one.relative_to(ROOT)}:{number}"
        for one in (ROOT / "quantstore").rglob("*.py")
        for number, line in enumerate(one.read_text().splitlines(), start=1)
        if marks.search(line)
    ]
    assert not found
