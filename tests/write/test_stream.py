"""Streams: batches, the durable mark, back-pressure, failures, Ctrl-C, forks; crashes are in the durability tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.core import failpoints
from quantstore.errors import AccessDeniedError, CapacityError, InvalidInputError, UnavailableError

START = pd.Timestamp("2026-01-05", tz="UTC")


def ticks(first, count):
    """Return rows with ids from `first` on, a millisecond apart."""
    ids = np.arange(first, first + count)
    return pa.table(
        {
            "ts": pa.array(START.value + ids * 10**6, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(np.array(["A", "B"])[ids % 2]),
            "id": ids,
            "price": ids * 0.5,
        }
    )


def found(store, **options):
    return store.read("t", to="arrow", columns=["id"], **options)["id"].to_pylist()


@pytest.fixture
def failing():
    """Let a step fail as often as asked."""

    def fail(step, error, times=1):
        left = [times]

        def hook(reached):
            if reached == step and left[0] > 0:
                left[0] -= 1
                raise error

        failpoints.set_hook(hook)

    yield fail
    failpoints.set_hook(None)


@pytest.fixture
def stalled():
    """Let writing stop until told to go on."""
    go_on, reached = threading.Event(), threading.Event()

    def hook(step):
        if step == "write.copied" and threading.current_thread().name.startswith("quantstore stream"):
            reached.set()
            assert go_on.wait(30)

    failpoints.set_hook(hook)
    yield reached, go_on
    go_on.set()
    failpoints.set_hook(None)


def test_rows_are_durable_once_flushed_and_at_the_end(store):
    with store.stream("t", symbol="symbol", max_seconds=None) as stream:
        assert (stream.durable_version, stream.durable_rows, stream.pending) == (None, 0, 0)
        assert stream.flush() is None
        stream.append(ticks(0, 10))
        stream.append(ticks(10, 5))
        assert (stream.appended_rows, stream.durable_rows, stream.pending) == (15, 0, 15)
        assert "0 rows durable, 15 pending" in repr(stream)
        assert "t" not in store.tables()
        version = stream.flush()
        assert (version, stream.durable_version, stream.durable_rows, stream.pending) == (1, 1, 15, 0)
        assert found(store) == list(range(15))
        stream.append(ticks(15, 5))
    assert (stream.durable_version, stream.durable_rows) == (2, 20)
    assert found(store) == list(range(20))
    assert found(store, as_of=1) == list(range(15))
    assert "closed: 20 rows durable (version 2), 0 pending" in repr(stream)


def test_a_batch_is_written_when_it_is_full(store, eventually):
    with store.stream("t", max_rows=100, max_seconds=None) as stream:
        for first in range(0, 90, 10):
            stream.append(ticks(first, 10))
        time.sleep(0.1)
        assert stream.durable_rows == 0
        stream.append(ticks(90, 10))
        eventually(lambda: stream.durable_rows == 100)


def test_a_batch_is_written_when_its_oldest_row_is_old(store, eventually):
    with store.stream("t", max_seconds=0.2) as stream:
        begun = time.monotonic()
        stream.append(ticks(0, 1))
        time.sleep(0.1)
        stream.append(ticks(1, 1))
        assert stream.durable_rows == 0
        eventually(lambda: stream.durable_rows == 2)
        assert 0.2 <= time.monotonic() - begun < 5
        assert stream.durable_version == 1


def test_equal_rows_are_added_again(store):
    with store.stream("t") as stream:
        stream.append(ticks(0, 3))
        stream.flush()
        stream.append(ticks(0, 3))
    assert sorted(found(store)) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_it_writes_into_the_tier_asked_for(store, tier):
    with store.stream("t", tier) as stream:
        stream.append(ticks(0, 3))
    assert set(store.table("t").placement()["tier"]) == {tier}


def test_rows_come_in_every_shape(store):
    stamps = [START + pd.Timedelta(number, "ms") for number in range(12)]
    row = {"symbol": "A", "price": 1.0}
    with store.stream("t", symbol="symbol") as stream:
        stream.append(ticks(0, 1))
        stream.append(ticks(1, 1).to_batches()[0])
        stream.append(ticks(2, 1).to_pandas())
        stream.append(ticks(3, 1).to_pandas().set_index("ts"))
        stream.append(pl.DataFrame(ticks(4, 1)))
        stream.append([{"ts": stamps[5], "id": 5, **row}, {"id": 6, "ts": stamps[6], **row}])
        stream.append({"ts": stamps[7:9], "id": [7, 8], "price": np.array([1.0, 2.0]), "symbol": ["A", None]})
        stream.append({"ts": pd.Series(stamps[9:10]), "id": pl.Series([9]), "price": [1], "symbol": pa.array(["A"])})
        stream.append(
            [{"ts": stamps[10], "id": 10, "symbol": "A"}, {"ts": stamps[11], "id": 11, "price": float("nan")}]
        )
        stream.append(ticks(12, 0))
    frame = store.read("t", to="arrow")
    assert frame["id"].to_pylist() == list(range(12))
    assert frame["symbol"].null_count == 2
    prices = frame["price"].to_pylist()
    assert prices[10] is None
    assert np.isnan(prices[11])
    assert prices[9] == 1.0


def test_what_the_caller_changes_later_is_not_changed_in_the_stream(store):
    frame = ticks(0, 5).to_pandas()
    columns = {"ts": frame["ts"].to_numpy(copy=True), "id": np.arange(5), "price": np.zeros(5)}
    with store.stream("t", max_seconds=None) as one, store.stream("u", max_seconds=None) as other:
        one.append(frame)
        other.append(columns)
        frame.loc[:, "id"] = 99
        columns["id"][:] = 99
        columns["price"][:] = 99
    assert found(store) == list(range(5))
    assert store.read("u", to="arrow").select(["id", "price"]).to_pylist()[4] == {"id": 4, "price": 0.0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ticks(0, 1).drop_columns("price"), "price"),
        (ticks(0, 1).set_column(3, "price", pa.array(["x"])), "price"),
        ([{"ts": None, "symbol": "A", "id": 1, "price": 1.0}], "empty values"),
        ({"ts": [START], "symbol": "A", "id": [1], "price": [1.0]}, "a single row goes in as"),
        ({"ts": [START], "symbol": ["A"], "id": [1, 2], "price": [1.0]}, "different lengths"),
        ({"ts": [START], "symbol": [{"a": 1}], "id": [1], "price": [1.0]}, "symbol"),
        ([{"ts": START, "symbol": "A", "id": 1, "price": 1.0}, 7], "must hold dicts"),
        ([], "no row"),
        (iter([ticks(0, 1)]), "batch by batch"),
        ("nonsense", "cannot come as str"),
    ],
)
def test_rows_that_do_not_fit_are_refused_where_they_are_given(store, rows, message):
    with store.stream("t", max_seconds=None) as stream:
        stream.append(ticks(0, 4))
        with pytest.raises(InvalidInputError, match=message):
            stream.append(rows)
        stream.append(ticks(4, 1))
    assert found(store) == list(range(5))


def test_the_zone_and_the_class_are_those_asked_for(store):
    naive = [{"ts": datetime(2026, 1, 5, 9, 30), "price": 1}, {"ts": datetime(2026, 1, 5, 9, 31), "price": 2}]
    with store.stream("t", tz="America/New_York", asset_class="EQUITY") as stream:
        stream.append(naive)
        stream.flush()
        stream.append(naive)
    found = store.read("SELECT DISTINCT ts, asset_class FROM t ORDER BY ts", to="arrow").to_pylist()
    assert [one["asset_class"] for one in found] == ["EQUITY", "EQUITY"]
    assert found[0]["ts"].astimezone(UTC) == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def test_columns_that_come_later_are_added(store):
    with store.stream("t", max_seconds=None) as stream:
        stream.append(ticks(0, 2))
        stream.append(ticks(2, 2).append_column("venue", pa.array(["X", "Y"])))
    assert store.read("t", to="arrow")["venue"].to_pylist() == [None, None, "X", "Y"]


@pytest.mark.parametrize("options", [{"max_rows": 0}, {"max_seconds": 0}, {"max_rows": 10, "max_pending": 9}])
def test_limits_that_mean_nothing_are_refused(store, options):
    with pytest.raises(InvalidInputError, match="must be"):
        store.stream("t", **options)


def test_a_store_open_read_only_has_no_streams(store, tmp_path):
    store.write(ticks(0, 1), "t")
    with qs.open(tmp_path / "store", read_only=True) as other, pytest.raises(AccessDeniedError, match="read-only"):
        other.stream("t")


def test_append_waits_while_too_much_is_pending(store, stalled, eventually):
    reached, go_on = stalled
    with store.stream("t", max_rows=10, max_seconds=None, max_pending=20) as stream:
        stream.append(ticks(0, 20))
        assert reached.wait(30)
        more = threading.Thread(target=stream.append, args=(ticks(20, 5),))
        more.start()
        time.sleep(0.1)
        assert more.is_alive()
        assert stream.appended_rows == 20
        go_on.set()
        more.join(30)
        assert stream.appended_rows == 25
    assert found(store) == list(range(25))


def test_rows_that_alone_are_more_than_may_be_pending_are_taken_once_nothing_else_is(store):
    with store.stream("t", max_rows=10, max_seconds=None, max_pending=20) as stream:
        stream.append(ticks(0, 5))
        stream.append(ticks(5, 100))
    assert found(store) == list(range(105))


def test_a_failure_is_told_once_with_the_rows_still_pending_and_then_tried_again(store, failing):
    with store.stream("t", max_seconds=None) as stream:
        stream.append(ticks(0, 4))
        stream.flush()
        failing("write.copied", CapacityError("The disk is full.", path="/x"))
        stream.append(ticks(4, 3))
        with pytest.raises(CapacityError, match=r"full\. 3 rows appended after row 4 of the stream are not") as told:
            stream.flush()
        assert told.value.context == {"path": "/x", "table": "t", "durable_rows": 4, "pending": 3}
        assert stream.flush() == 2
    assert found(store) == list(range(7))


def test_a_failure_is_told_by_append_which_takes_nothing(store, failing, eventually):
    with store.stream("t", max_rows=3, max_seconds=None) as stream:
        failing("write.copied", OSError("gone"))
        stream.append(ticks(0, 3))
        eventually(lambda: stream._error is not None)
        with pytest.raises(UnavailableError, match="gone"):
            stream.append(ticks(3, 1))
        assert stream.appended_rows == 3
    assert found(store) == [0, 1, 2]


def test_a_failure_at_the_end_tells_what_is_lost(store, failing):
    failing("write.copied", CapacityError("The disk is full."), times=9)
    stream = store.stream("t", max_seconds=None)
    stream.append(ticks(0, 4))
    with pytest.raises(CapacityError, match=r"4 rows appended after row 0 of the stream are lost"):
        stream.close()
    stream.close()
    failpoints.set_hook(None)
    assert "t" not in store.tables()
    assert store.audit()


def test_a_failure_after_the_commit_does_not_double_the_rows(store, failing):
    """Whether it committed the stream cannot know; the batch has a name of its own, and what is there stays once."""
    with store.stream("t", max_seconds=None) as stream:
        failing("write.committed", UnavailableError("no answer"))
        stream.append(ticks(0, 4))
        with pytest.raises(UnavailableError, match="no answer"):
            stream.flush()
        assert stream.flush() == 1
        assert stream.durable_rows == 4
    assert found(store) == list(range(4))


def test_an_error_in_the_block_keeps_what_was_appended(store, failing):
    with pytest.raises(ZeroDivisionError), store.stream("t", max_seconds=None) as stream:  # noqa: PT012 - the stream is what is tested
        stream.append(ticks(0, 4))
        1 / 0  # noqa: B018
    assert found(store) == list(range(4))
    failing("write.copied", OSError("gone"), times=9)
    with pytest.raises(ZeroDivisionError) as told, store.stream("t", max_seconds=None) as stream:  # noqa: PT012 - the stream is what is tested
        stream.append(ticks(4, 4))
        1 / 0  # noqa: B018
    assert "4 rows appended after row 0 of the stream are lost" in told.value.__notes__[0]


def test_ctrl_c_keeps_what_was_appended(store):
    with pytest.raises(KeyboardInterrupt), store.stream("t", max_seconds=None) as stream:  # noqa: PT012 - the stream is what is tested
        for first in range(0, 1_000_000, 10):
            stream.append(ticks(first, 10))
            if first == 500:
                os.kill(os.getpid(), signal.SIGINT)
    assert stream.pending == 0
    assert found(store) == list(range(stream.appended_rows))
    assert stream.appended_rows >= 500


def test_ctrl_c_ends_the_wait_for_room_and_the_rows_are_all_there_or_none(store, stalled):
    reached, go_on = stalled
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), store.stream("t", max_rows=10, max_pending=20) as stream:  # noqa: PT012 - the stream is what is tested
        stream.append(ticks(0, 20))
        assert reached.wait(30)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Timer(0.6, go_on.set).start()
        stream.append(ticks(20, 5))
    assert 0.5 < time.monotonic() - begun < 20
    assert found(store) == list(range(20))


def test_a_second_ctrl_c_gives_up(store, stalled):
    _, go_on = stalled
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), store.stream("t", max_seconds=None) as stream:  # noqa: PT012 - the stream is what is tested
        stream.append(ticks(0, 4))
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(5)
    assert time.monotonic() - begun < 4
    assert (stream.durable_rows, stream.pending) == (0, 4)
    go_on.set()
    stream._thread.join(30)
    assert not stream._thread.is_alive()
    with pytest.raises(InvalidInputError, match="closed"):
        stream.append(ticks(4, 1))


def test_closing_the_store_makes_the_rest_durable(tmp_path):
    with qs.open(tmp_path) as store:
        stream = store.stream("t", max_seconds=None)
        stream.append(ticks(0, 4))
    assert stream.durable_rows == 4
    with pytest.raises(InvalidInputError, match="closed; open another"):
        stream.append(ticks(4, 1))
    stream.close()
    with qs.open(tmp_path) as store:
        assert found(store) == list(range(4))


def test_a_forked_process_cannot_use_it_and_does_no_harm(store):
    with store.stream("t", max_seconds=None) as stream:
        stream.append(ticks(0, 4))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                try:
                    stream.append(None)
                except InvalidInputError as error:
                    code = 0 if "belongs to the process that opened it" in str(error) else 2
                stream.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert stream.pending == 4
    assert found(store) == list(range(4))


def test_several_threads_append_to_one_stream(store):
    with store.stream("t", max_rows=50, max_seconds=0.05, max_pending=100) as stream:
        threads = [
            threading.Thread(
                target=lambda number=number: [stream.append(ticks(1_000 * number + at * 5, 5)) for at in range(20)]
            )
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stream.appended_rows == 400
        stream.flush()
        assert stream.durable_rows == 400
    assert sorted(found(store)) == sorted(1_000 * number + at for number in range(4) for at in range(100))


def test_a_stream_beside_compactions_and_another_stream(store):
    """Both streams write to one table while it is compacted again and again."""
    with (
        store.stream("t", max_rows=20, max_seconds=0.05) as one,
        store.stream("t", max_rows=30, max_seconds=0.05) as two,
    ):
        for first in range(0, 400, 10):
            one.append(ticks(first, 10))
            two.append(ticks(1_000 + first, 10))
            if first % 100 == 0:
                one.flush()
                two.flush()
                store.compact("t")
    store.compact("t")
    assert found(store) == [*range(400), *range(1_000, 1_400)]
    assert len(store.table("t").placement()) <= 3
    assert store.audit()


@pytest.fixture
def eventually():
    """Wait until something has come true."""

    def wait(condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    return wait
