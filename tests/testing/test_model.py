"""The reference model means what the documentation says, by small examples worked out by hand."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantstore as qs
from quantstore.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from quantstore.testing import generate
from quantstore.testing.conditions import Both, Compare, Either, IsNull, Not
from quantstore.testing.model import Outcome, ReferenceStore, rows_between
from quantstore.testing.modes import Change, wider
from quantstore.testing.plain import NAN, plain_rows, plain_values
from quantstore.testing.strategies import changes, conditions, frames, grown_schemas, schemas

DAY_NS = 86_400 * 10**9


def rows(*values: tuple[int, str | None, int], **more: pa.Array) -> pa.Table:
    """Return rows `(hour, symbol, size)` of 1970."""
    hours, symbols, sizes = zip(*values, strict=True)
    stamps = pa.array([hour * 3_600 * 10**9 for hour in hours], pa.timestamp("ns", "UTC"))
    return pa.table(
        {"ts": stamps, "symbol": pa.array(symbols, pa.string()), "size": pa.array(sizes, pa.int32())} | more
    )


def sizes(model: ReferenceStore, version: int | None = None) -> list[int]:
    return [row.facts["size"] for row in model.table("t", version).in_order()]


@pytest.fixture
def model():
    made = ReferenceStore()
    made.commit([Change("t", rows((3, "A", 1), (1, "A", 2), (30, "B", 3)))], "first")
    return made


def test_rows_come_by_time_and_then_as_they_came(model):
    model.commit([Change("t", rows((1, "B", 4), (0, "B", 5)))])
    assert sizes(model) == [5, 2, 4, 1, 3]
    assert sizes(model, 1) == [2, 1, 3]


def test_a_replace_takes_whole_days_of_whole_symbols(model):
    assert model.commit([Change("t", rows((5, "A", 9)), "replace")]) == [Outcome(2, 1, 2)]
    assert sizes(model) == [9, 3]
    again = model.commit([Change("t", rows((5, "A", 9)), "replace")])
    assert again == [Outcome(2, 0, 0, replayed=True)]


def test_a_replace_with_a_condition_takes_what_meets_it_and_refuses_other_rows(model):
    where = Compare("size", ">", 1)
    model.commit([Change("t", rows((2, "A", 7)), "replace", where)])
    assert sizes(model) == [7, 1]
    with pytest.raises(InvalidInputError):
        model.commit([Change("t", rows((2, "A", 1)), "replace", where)])


def test_an_upsert_leaves_equal_rows_alone(model):
    change = Change("t", rows((1, "A", 2), (3, "A", 8), (7, "C", 9)), "upsert", key=("ts", "symbol"))
    assert model.commit([change]) == [Outcome(2, 2, 1)]
    assert [(row.facts["size"], row.version) for row in model.table("t").in_order()] == [(2, 1), (8, 2), (9, 2), (3, 1)]
    with pytest.raises(InvalidInputError):
        model.commit([Change("t", rows((1, "A", 2), (1, "A", 3)), "upsert")])


def test_a_delete_goes_by_the_truth_of_sql(model):
    model.commit([Change("t", rows((2, None, 4)))])
    model.commit([Change("t", mode="delete", where=Not(Compare("symbol", "=", "B")))])
    assert sizes(model) == [4, 3]


def test_overwrite_and_error_mean_the_whole_table(model):
    assert model.commit([Change("t", rows((1, "Z", 7)), "overwrite")]) == [Outcome(2, 1, 3)]
    with pytest.raises(ConflictError):
        model.commit([Change("t", rows((1, "Z", 7)), "error")])


def test_a_repeat_adds_nothing_until_one_of_its_rows_has_gone(model):
    same = Change("t", rows((3, "A", 1), (1, "A", 2), (30, "B", 3)))
    assert model.commit([same]) == [Outcome(1, 3, 0, replayed=True)]
    with pytest.raises(ConflictError):
        model.commit([Change("t", same.frame, on_repeat="raise")])
    model.commit([Change("t", mode="delete", where=Compare("size", "=", 3))])
    assert model.commit([same]) == [Outcome(3, 3, 0)]


def test_a_write_id_counts_once(model):
    first = Change("t", rows((3, "A", 1), (1, "A", 2), (30, "B", 3)))
    model.commit([Change("t", rows((1, "Z", 7)), "overwrite")])
    assert model.commit([first], "first") == [Outcome(1, 3, 0, replayed=True)]
    with pytest.raises(ConflictError):
        model.commit([Change("t", rows((1, "Z", 7)))], "first")


def test_a_transaction_is_one_version_or_none(model):
    both = [Change("t", mode="delete", where=IsNull("size")), Change("t", rows((9, "A", 4)))]
    assert model.commit([*both, Change("u", rows((1, "A", 1)))]) == [Outcome(2, 1, 0), Outcome(2, 1, 0)]
    with pytest.raises(NotFoundError):
        model.commit([Change("t", rows((9, "A", 5))), Change("none", mode="delete", where=IsNull("size"))])
    assert (model.version, model.names()) == (2, ["t", "u"])


def test_columns_are_added_and_widened_and_never_lost(model):
    grown = rows((9, "A", 4), note=pa.array(["x"]))
    grown = grown.set_column(2, "size", grown["size"].cast(pa.int64()))
    model.commit([Change("t", grown)])
    assert model.table("t").columns["size"] == pa.int64()
    assert [row.facts.get("note") for row in model.table("t").in_order()] == [None, None, "x", None]
    with pytest.raises(InvalidInputError):
        model.commit([Change("t", rows((9, "A", 4)))])
    with pytest.raises(InvalidInputError):
        wider(pa.int64(), pa.float64())


def test_names_change_and_older_versions_keep_them(model):
    model.rename("t", "u")
    assert (model.names(), model.names(1)) == (["u"], ["t"])
    model.drop("u")
    model.undrop("u")
    assert model.table("u").changed_version == 4
    model.restore("u", 1)
    assert model.table("u").rows == model.table("t", 1).rows


def test_what_keeps_versions_and_tables(model):
    model.commit([Change("t", rows((1, "Z", 7)), "overwrite")])
    model.tag("paper", 1)
    model.hold(1, "t", until_ns=100)
    with pytest.raises(AccessDeniedError):
        model.drop("t")
    model.expire(2)
    assert model.kept_versions() == [1, 2]
    model.untag("paper")
    assert sizes(model, 1) == [2, 1, 3]
    model.now_ns = 200
    model.expire(2)
    model.now_ns = 0  # what has ended stays so
    with pytest.raises(NotFoundError):
        model.table("t", 1)
    model.drop("t")
    model.expire(3)
    with pytest.raises(NotFoundError):
        model.undrop("t")


def test_instants_mean_versions_and_never_run_backwards():
    model = ReferenceStore(now_ns=1_000)
    model.create("t")
    model.now_ns = 500
    model.create("u")
    assert [model.version_at(instant) for instant in (999, 1_000, 1_001)] == [0, 1, 2]


def test_rows_between_versions_go_by_what_identifies_them(model):
    model.commit([Change("t", rows((9, "A", 4)))])
    model.commit([Change("t", mode="delete", where=Compare("size", "<", 2))])
    came, went = rows_between(model.at(1).tables[1], model.table("t"))
    assert ([row.facts["size"] for row in came], [row.facts["size"] for row in went]) == ([4], [1])


def test_plain_values_tell_values_and_not_types():
    assert plain_values(pa.chunked_array([[1.0, None, float("nan")]])) == [1.0, None, NAN]
    stamps = pa.array([1], pa.timestamp("ms", "UTC"))
    nested = pa.array([{"a": [1, None]}])
    assert plain_rows(pa.table({"ts": stamps, "x": nested})) == [(10**6, ((1, None),))]
    assert plain_values(pa.array(["b", None]).dictionary_encode()) == ["b", None]


def test_conditions_know_three_truths():
    unknown, yes, no = Compare("x", "=", 1), Compare("y", "=", 1), Compare("y", "<>", 1)
    row = {"y": 1}
    assert [Both(unknown, one).says(row) for one in (yes, no)] == [None, False]
    assert [Either(unknown, one).says(row) for one in (yes, no)] == [True, None]
    assert Not(unknown).says(row) is None
    assert Compare("s", "=", "it's").sql == "\"s\" = 'it''s'"


def test_a_seed_gives_the_same_again():
    first, second = (generate.frame(Random(7), generate.schema(Random(7)), 5) for _ in range(2))
    assert (first.schema, plain_rows(first)) == (second.schema, plain_rows(second))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_store_does_what_the_model_does(tmp_path_factory, data):
    """The way a third party uses the strategies: changes drawn, made, compared."""
    columns, model = data.draw(schemas()), ReferenceStore()
    with qs.open(tmp_path_factory.mktemp("drawn"), cache="off") as store:
        first = data.draw(frames(columns, min_rows=1))
        store.write(first, "t", key=["ts", "symbol"])
        model.create("t", dict(zip(columns.names, columns.types, strict=True)), key=("ts", "symbol"))
        model.commit([Change("t", first)])
        change = data.draw(changes("t", data.draw(grown_schemas(columns)) if data.draw(st.booleans()) else columns))
        (wanted,) = model.commit([change])
        found = _made(store, change)
        assert (found.rows, found.deleted) == (wanted.rows, wanted.deleted)
        state = model.table("t")
        assert plain_rows(store.read("t", to="arrow"), list(state.columns)) == state.read()
        where = data.draw(conditions(columns))
        count = sum(where.says(row.facts) is True for row in state.rows)
        assert store.read(f"SELECT count(*) AS n FROM t WHERE {where.sql}", to="arrow")["n"].to_pylist() == [count]


def _made(store, change):
    import warnings

    where = None if change.where is None else change.where.sql
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", qs.errors.RepeatedWriteWarning)
        if change.mode == "delete":
            return store.delete(change.table, where)
        return store.write(change.frame, change.table, mode=change.mode, where=where, on_repeat="append")
