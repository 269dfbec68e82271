"""Any damage to any file is refused at first open, told by an audit, or changes no answer."""

from __future__ import annotations

import os

from damages import BAD, campaign

DAMAGES = int(os.environ.get("QUANTSTORE_DAMAGES", "60"))
SEED = int(os.environ.get("QUANTSTORE_SEED", "7"))


def test_whatever_is_damaged_no_wrong_answer_follows_an_audit_that_found_nothing(zygote, tmp_path):
    """What SQLite itself takes for the end of its log is the one exception: the store is then as it was before."""
    found = campaign(zygote, tmp_path, DAMAGES, SEED)
    assert len(found) == DAMAGES
    assert [one for one in found if one["outcome"] in BAD] == [], f"seed {SEED}"
    rolled_back = [one for one in found if one["outcome"] == "rolled back"]
    assert {one["file"] for one in rolled_back} <= {"catalog.sqlite-wal"}, f"seed {SEED}"
    told = [one for one in found if one["outcome"] not in {"harmless", "rolled back"}]
    assert len(told) > DAMAGES // 3
