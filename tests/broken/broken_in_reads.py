"""Defects of reads, of the result cache and of what is verified."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from defects import PEERS, defect, swap


@defect("F13", "cache/test_result_cache.py::test_a_damaged_or_foreign_file_counts_for_nothing", "assert |Error")
def cache_trusts_its_files() -> None:
    """An answer on disk is given whatever became of its bytes."""

    def make(old: Any) -> Any:
        def get(self: Any, key: str) -> Any:
            from quantstore.cache import disk

            try:
                content = self._path(key).read_bytes()
            except OSError:
                return None
            return content[len(disk._MARK) + len(key) + disk._HASH_BYTES :]

        return get

    swap("cache.disk:DiskCache.get", make)


@defect(
    "F21",
    f"{PEERS}::test_f21_late_rows_are_in_order_and_inside_what_the_catalog_says",
    "not in the order of their time|a window misses",
)
def rows_come_segment_by_segment() -> None:
    """Rows of segments that overlap are given one segment after the other; their number is right."""

    def in_order(parts: Any, form: Any) -> Any:
        from quantstore.query.assemble import concat

        table = concat(parts)
        parts.clear()
        return table

    swap("query.assemble:_in_order", lambda _: in_order)


@defect(
    "F21",
    f"{PEERS}::test_f21_late_rows_are_in_order_and_inside_what_the_catalog_says",
    "two rows have one number|order they came in",
)
def numbers_start_again() -> None:
    """Every write counts its rows from nought, as if it were the first."""
    swap("catalog.inserts:seq_base", lambda _: lambda _: 0)


@defect("F24", f"{PEERS}::test_f24_bars_after_late_ticks_are_bars_from_scratch", "DataFrame")
def answers_ignore_versions() -> None:
    """A kept answer is given again whatever was written since."""
    swap("query.keys:_state", lambda _: lambda record, _: (record.table_id, record.name))


@defect("P4", "query/test_reads.py::test_a_hint_that_leaves_rows_out_says_so", "DID NOT WARN")
def partial_answers_are_silent() -> None:
    """A hint that leaves rows out is followed without a word."""
    swap("query.reader:_tell_left_out", lambda _: lambda *_, **__: None)


@defect("P4", f"{PEERS}::test_f2_a_partition_that_was_bad_before_does_not_take_the_others_along", "DID NOT RAISE")
def damage_reads_as_no_rows() -> None:
    """A segment that cannot be read counts as one without rows."""

    def make(old: Any) -> Any:
        def read(self: Any, layout: Any, copy: Any, partition: Any, *given: Any, **named: Any) -> Any:
            from quantstore.errors import IntegrityError
            from quantstore.stores.base import Selection

            selection = given[0] if given else named.get("selection", Selection())
            try:
                return old(self, layout, copy, partition, *given, **named)
            except IntegrityError:
                return layout.schema.empty_table().select(selection.columns or layout.schema.names)

        return read

    swap("stores.arrow_ipc:ArrowStore.read", make)
    swap("query.assemble:require_rows", lambda _: lambda *_, **__: None)


@defect("F13", "stores/test_integrity.py::test_messages_say_what_is_wrong", "DID NOT RAISE")
def names_of_files_are_trusted() -> None:
    """A file that has the right name is taken for what was written."""

    def make(old: Any) -> Any:
        def verify(self: Any, path: str, *_: Any, location: str, **__: Any) -> Any:
            from quantstore.stores.integrity import Signature

            with self.reading(location):
                return Signature.of(os.stat(path))  # noqa: PTH116 - as the function it stands for does

        return verify

    swap("stores.integrity:Verifier.verify", make)


@defect(
    "P4",
    "tiering/test_pins.py::test_shadows_of_some_symbols_serve_what_asks_for_these_alone",
    "assert |DID NOT|Error",
)
def shadows_answer_for_more_than_they_have() -> None:
    """A shadow of some symbols is taken for one of all of them."""

    def make(old: Any) -> Any:
        return lambda row: replace(old(row), subset=None)

    swap("catalog.segments:copy_of", make)
