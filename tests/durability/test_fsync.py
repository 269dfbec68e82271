"""What reaches the disk, and in which order: the system calls of a process, counted with strace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from harness import python_path
from jobs import CALL

CALLS = "fsync,fdatasync,rename,renameat,renameat2,openat,unlink,unlinkat"
LOG = "sync catalog.sqlite-wal"


@pytest.fixture(scope="module")
def sections(zygote, tmp_path_factory):
    """The calls that create, sync, rename or delete below the store, by the operation that made them."""
    strace = shutil.which("strace")
    if strace is None:
        assert not os.environ.get("QUANTSTORE_CI"), "strace is missing (apt-get install strace)"
        pytest.skip("strace is not installed")
    folder = tmp_path_factory.mktemp("traced")
    root, trace = folder / "store", folder / "trace"
    pid, _ = zygote.start("jobs.one_write", {"QUANTSTORE_FAILPOINT": "write.file.renamed"}, root=str(root))
    assert zygote.wait(pid) == -signal.SIGKILL
    script = "import sys, jobs; jobs.traced(sys.argv[1])"
    done = subprocess.run(
        [
            *(strace, "-f", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(trace)),
            *(sys.executable, "-W", "ignore", "-c", script, str(root)),
        ],
        env=os.environ | {"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "Operation not permitted" in done.stderr and not os.environ.get("QUANTSTORE_CI"):
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    return split(completed(trace.read_text().splitlines()), f"{root}/")


def completed(lines):
    """Yield calls as text, in the order in which they ended; calls of several threads may overlap."""
    begun = {}
    for line in lines:
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
        elif found := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            yield begun.pop(thread) + found[1]
        else:
            yield text


def split(calls, root):
    """Group calls by the operation called out before them, in a few words each."""
    sections = {}
    events = None
    for call in calls:
        if CALL in call:
            events = sections.setdefault(call.split(CALL)[1].split('"')[0], [])
        elif events is not None and (event := in_words(call, root)):
            events.append(event)
    return sections


def in_words(call, root):
    """Return what a call did below `root`, the names of attempts left out; None for calls that change nothing."""
    name, _, rest = call.partition("(")
    paths = [path.replace(root, "") for path in re.findall(r'[<"](/[^>"]*)[>"]', rest) if f"{path}/".startswith(root)]
    if not paths or "ENOENT" in rest:
        return None
    path = re.sub(r"[0-9a-f]{32}-\d{6}", "*", paths[0].rstrip("/")) or "."
    path = "." if f"{path}/" == root else path
    if name in {"fsync", "fdatasync"}:
        return f"sync {path}"
    if name.startswith("rename"):
        return f"rename {path}"
    if name.startswith("unlink"):
        return f"delete {path}"
    return f"create {path}" if "O_CREAT" in rest and "catalog" not in path else None


def test_a_write_into_a_known_folder_syncs_file_folder_and_commit_and_nothing_else(sections):
    """The attempt is written down before, where every process sees it, and becomes durable with the commit."""
    assert sections["second write"] == [
        "create hot/trades/*.arrow.tmp",
        "sync hot/trades/*.arrow.tmp",
        "rename hot/trades/*.arrow.tmp",
        "sync hot/trades",
        LOG,  # the commit
    ]


def test_the_first_write_also_syncs_the_folders_above(sections):
    events = sections["first write"]
    assert events[:3] == [
        "create hot/trades/*.arrow.tmp",
        "sync hot/trades/*.arrow.tmp",
        "rename hot/trades/*.arrow.tmp",
    ]
    assert sorted(events[3:-1]) == ["sync hot", "sync hot/trades"]
    assert events[-1] == LOG


def test_partition_folders_of_the_cold_tier_are_synced_up_to_the_root(sections):
    events = sections["cold write"]
    day = "cold/trades/trade_date=2026-02-28"
    folders = [".", "cold", "cold/trades", day, f"{day}/asset_class=FX"]
    assert sorted(events[3:-1]) == [f"sync {folder}" for folder in folders]
    assert events[-1] == LOG


def test_a_move_syncs_the_new_copy_before_it_commits_and_deletes_nothing(sections):
    events = sections["migrate"]
    assert events[:3] == [
        "create warm/trades/*.parquet.tmp",
        "sync warm/trades/*.parquet.tmp",
        "rename warm/trades/*.parquet.tmp",
    ]
    assert sorted(events[3:-1]) == ["sync .", "sync warm", "sync warm/trades"]
    assert events[-1] == LOG


def test_a_sweep_deletes_first_and_forgets_then(sections):
    superseded = "delete cold/trades/trade_date=2026-02-28/asset_class=FX/*.parquet"
    assert sections["sweep"] == [superseded, LOG]


def test_a_sweep_ends_a_dead_attempt_durably_before_it_deletes_its_bytes(sections):
    events = [event for event in sections["sweep after a crash"] if event != "sync ."]  # SQLite, once per process
    assert events == [LOG, "delete hot/marks/*.arrow"]


def test_a_new_store_syncs_its_folder_and_the_one_above_before_the_first_commit_ends(sections):
    """Else a power failure could take the whole store, however well its files were synced."""
    events = sections["new store"]
    assert {"sync .", "sync inner"} <= set(events)
    assert events[-1] == "sync inner/catalog.sqlite-wal"
    assert events.index("sync .") < events.index("sync inner/catalog.sqlite-wal")
