"""Several processes over one store: every read is one whole version, every writer gets in, long readers finish."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from checks import check_files, check_rows, files_on_disk
from harness import Zygote, wait_until
from kernels import BATCH, Number, balanced
from workload import ids_of, open_store, rows_of

COMMITS = 100
READS = 1_000
READERS = 3


def ended(zygote: Zygote, job: tuple[int, Path]):
    """Wait for a job and return its result."""
    code = zygote.wait(job[0])
    answer = json.loads(job[1].read_text())
    assert code == 0, answer["error"]
    return answer["result"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_reads_beside_commits_moves_and_sweeps_each_see_one_whole_version_and_never_an_old_one(zygote, tmp_path):
    root, page = str(tmp_path / "store"), str(tmp_path / "page")
    Number(Path(page))
    with open_store(root) as store:
        first = store.write(balanced(10_000), "ledger", symbol="symbol").version
    stop = [str(tmp_path / f"done-{number}") for number in range(READERS)]
    readers = [zygote.start("kernels.read_all_the_time", root=root, page=page, done=done, reads=READS) for done in stop]
    writer = zygote.start("kernels.commit_all_the_time", root=root, page=page, stop=stop, commits=COMMITS)
    seen = [ended(zygote, reader) for reader in readers]
    written = ended(zygote, writer)
    assert written["commits"] >= COMMITS
    batches = {int(version): count for version, count in written["batches"].items()} | {first: 1}
    for reads in seen:
        assert len(reads) >= READS
        for known, version, rows, amount, distinct in reads:
            assert version >= known
            assert (rows, amount, distinct) == (batches[version] * BATCH, 0, batches[version])
        versions = [version for _, version, *_ in reads]
        assert versions == sorted(versions)
        assert len(set(versions)) > 10, "the reader met hardly any commit"
    with open_store(root) as store:
        assert store.audit()
        store.sweep(grace=0)
    check_files(root)


def test_two_writers_to_one_table_both_land(zygote, tmp_path):
    """Also their first writes, both of which may be the one that makes the table."""
    root, start = str(tmp_path), tmp_path / "start"
    jobs = [
        zygote.start("kernels.write_side_by_side", root=root, first=first, writes=20, start=str(start))
        for first in (0, 100)
    ]
    start.touch()
    versions = [ended(zygote, job) for job in jobs]
    assert sorted(versions[0] + versions[1]) == list(range(1, 41))
    with open_store(root) as store:
        check_rows(store, [{"trades": [[number, 40] for number in (*range(20), *range(100, 120))]}])


@pytest.mark.parametrize("query", ["trades", "SELECT id, price FROM trades"])
@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_a_reader_read_halfway_finishes_after_its_files_were_moved_and_swept(query, tier, zygote, tmp_path):
    root = str(tmp_path / "store")
    count = 60_000
    with open_store(root) as store:
        for number in range(4):
            store.write(rows_of(ids_of(number, count)), "trades", tier, symbol="symbol")
    halfway, go_on = tmp_path / "halfway", tmp_path / "go-on"
    reader = zygote.start("kernels.read_slowly", root=root, query=query, halfway=str(halfway), go_on=str(go_on))
    assert wait_until(halfway.exists, 30)
    before = set(files_on_disk(root))
    done = zygote.run("kernels.move_and_sweep", root=root, table="trades")
    assert done["moved"] > 0
    assert before <= set(files_on_disk(root)), "files a reader holds were deleted"
    go_on.touch()
    ids = ended(zygote, reader)
    assert sorted(ids) == [one for number in range(4) for one in ids_of(number, count).tolist()]
    with open_store(root) as store:
        store.sweep(grace=0)
    assert not before & set(files_on_disk(root)), "what the reader held stays for ever"
    check_files(root)


def test_what_a_killed_reader_held_is_swept(zygote, tmp_path):
    root = str(tmp_path / "store")
    with open_store(root) as store:
        for number in range(3):
            store.write(rows_of(ids_of(number, 5_000)), "trades", symbol="symbol")
        before = set(files_on_disk(root))
        copies = len(store.table("trades").placement())
        halfway, go_on = tmp_path / "halfway", tmp_path / "go-on"
        pid, _ = zygote.start("kernels.read_slowly", root=root, query="trades", halfway=str(halfway), go_on=str(go_on))
        assert wait_until(halfway.exists, 30)
        store.migrate("trades", "hot", "cold")
        assert store.sweep(grace=0).copies == 0
        assert before <= set(files_on_disk(root))
        zygote.kill(pid)
        assert zygote.wait(pid) == -signal.SIGKILL
        assert store.sweep(grace=0).copies == copies
    check_files(root)
