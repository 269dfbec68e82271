"""What docs/errors.md says of each situation is what happens in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from situations import SITUATIONS, Place
from telling import INTERNALS, ticks

import quantstore as qs
from quantstore import errors
from quantstore.errors import QuantStoreError

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("| ").split(" | ")]) == 4 and cells[0] in SITUATIONS
}


def test_every_situation_has_a_row_and_a_way_out():
    assert set(ROWS) == set(SITUATIONS)
    assert all(way_out for _, _, way_out in ROWS.values())


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_page_shows_what_is_raised(situation, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, monkeypatch, request)
    with pytest.raises(QuantStoreError) as caught:
        SITUATIONS[situation](place)
    place.store.close()
    kind, message, _ = ROWS[situation]
    assert type(caught.value) is getattr(errors, kind.strip("`"))
    said = str(caught.value).partition("\nline ")[0]
    shown = ".*".join(map(re.escape, message.strip("`").split("...")))
    assert re.fullmatch(shown, said), f"{said}\n{message}"
    assert not INTERNALS.search(str(caught.value))


def test_the_drawn_mistake_is_drawn_so(tmp_path):
    drawn = re.search(r"```text\n(NotFoundError: .*?)\n```", PAGE, re.DOTALL)
    sql = re.search(r"```sql\n(.*?)\n```", PAGE, re.DOTALL)
    with qs.open(tmp_path / "s") as store:
        store.write(ticks(), "trades")
        with pytest.raises(QuantStoreError) as caught:
            store.read(sql[1])
    assert f"{type(caught.value).__name__}: {caught.value}" == drawn[1]
