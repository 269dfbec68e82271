from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from quantstore.testing.samples import CSV_ROWS, main, write_samples

COMMITTED = Path(__file__).parents[2] / "data_samples"
PARQUET = ("trades.parquet", "quotes.parquet", "corrections.parquet")


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("samples")
    write_samples(directory)
    return directory


@pytest.mark.parametrize("name", PARQUET)
def test_committed_tables_are_what_the_seed_gives(name: str, regenerated: Path) -> None:
    committed = pq.read_table(COMMITTED / name)
    assert committed.equals(pq.read_table(regenerated / name))
    assert committed.num_rows > 0


def test_committed_csv_is_what_the_seed_gives(regenerated: Path) -> None:
    assert (COMMITTED / "trades.csv").read_bytes() == (regenerated / "trades.csv").read_bytes()


def test_csv_holds_the_first_trades() -> None:
    trades = pq.read_table(COMMITTED / "trades.parquet").slice(0, CSV_ROWS)
    options = pa_csv.ConvertOptions(
        column_types=trades.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    assert pa_csv.read_csv(COMMITTED / "trades.csv", convert_options=options).equals(trades)


def test_samples_are_small_and_cover_the_market() -> None:
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 3_000_000
    for name in ("trades.parquet", "quotes.parquet"):
        table = pq.read_table(COMMITTED / name)
        assert 18_000 < table.num_rows < 23_000
        assert len(table.group_by(["trade_date", "asset_class"]).aggregate([])) == 12
    trades = pq.read_table(COMMITTED / "trades.parquet")
    assert {"@", "I", "X", "Z"} == set(trades["condition"].to_pylist())


def test_files_are_the_same_bytes_each_time(regenerated: Path, tmp_path: Path) -> None:
    """A fresh process writes the same bytes, through the command the README names."""
    command = [sys.executable, "-W", "error", "-m", "quantstore.testing.simulator", str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert "trades.parquet" in done.stdout
    for path in regenerated.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_readme_states_the_rows_of_every_file() -> None:
    readme = (COMMITTED / "README.md").read_text(encoding="utf-8")
    for name in PARQUET:
        assert f"{pq.read_metadata(COMMITTED / name).num_rows:,}" in readme
    assert f"{CSV_ROWS:,}" in readme


def test_the_command_wants_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "directory" in capsys.readouterr().err


def test_sample_schemas_read_back_as_written(regenerated: Path) -> None:
    trades = pq.read_table(regenerated / "trades.parquet")
    assert trades.schema.field("ts").type == pa.timestamp("ns", tz="UTC")
    assert trades.schema.field("trade_date").type == pa.date32()
