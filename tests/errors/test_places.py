"""Positions in text and what the engine says, taken apart."""

from __future__ import annotations

import pytest

from quantstore.query.mistakes.cases import Names
from quantstore.query.mistakes.complaints import Complaint, is_engine_error, read_complaint, scrub, tidy
from quantstore.query.mistakes.explain import explain
from quantstore.query.mistakes.places import character, find_name, find_text, find_words, place, word_end


@pytest.mark.parametrize(
    ("sql", "start", "end", "line", "column", "picture"),
    [
        ("SELECT a", 7, 8, 1, 8, "line 1: SELECT a\n               ^"),
        ("SELECT\n  abc", 9, 12, 2, 3, "line 2:   abc\n          ^^^"),
        ("a\r\nb\r\ncd", 6, 8, 3, 1, "line 3: cd\n        ^^"),
        ("\tab", 1, 3, 1, 2, "line 1:     ab\n            ^^"),
        ("a\tb", 2, 3, 1, 3, "line 1: a   b\n            ^"),
        ("漢 b", 2, 3, 1, 3, "line 1: 漢 b\n           ^"),
        ("e\u0301 b", 3, 4, 1, 4, "line 1: e\u0301 b\n          ^"),
        ("ab", 2, 3, 1, 3, "line 1: ab\n          ^"),
        ("ab\ncd", 0, 5, 1, 1, "line 1: ab\n        ^^"),
        ("", 0, 1, 1, 1, "line 1: \n        ^"),
        ("ab", 99, 120, 1, 3, "line 1: ab\n          ^"),
    ],
)
def test_places_are_drawn_below_the_text(sql, start, end, line, column, picture):
    found = place(sql, start, end)
    assert (found.line, found.column, found.picture) == (line, column, picture)


def test_bytes_and_words_of_any_alphabet_are_counted_in_characters():
    sql = "SELECT 'é漢🚀', größe"
    assert character(sql, len("SELECT 'é漢🚀', ".encode())) == sql.index("größe")
    assert sql[sql.index("größe") : word_end(sql, sql.index("größe"))] == "größe"


def test_names_and_texts_are_found_where_they_stand_once():
    sql = "SELECT price, \"Size\", 'price' FROM t -- size\nWHERE a = CAST( b  AS INT)"
    assert find_name(sql, "PRICE") == (7, 12)
    assert find_name(sql, "size") == (14, 20)
    assert find_text(sql, "price") == (22, 29)
    assert find_words(sql, "cast(b as int)") == (sql.index("CAST"), sql.index(")") + 1)
    assert find_name("SELECT a, a", "a") is None
    assert find_words(sql, "") is None
    assert find_name("SELECT 'unclosed", "a") is None


PLAIN = 'Parser Error: syntax error at or near "x"\n\nLINE 1: SELECT x y\n               ^'
BINDER = 'Binder Error: {"exception_type":"Binder","exception_message":"no","position":"7"'


@pytest.mark.parametrize(
    ("text", "kind", "message", "byte", "length"),
    [
        (PLAIN, "Parser", 'syntax error at or near "x"', None, 0),
        (BINDER + ',"location":"[7,3]"}', "Binder", "no", 7, 3),
        (BINDER + "}", "Binder", "no", 7, 0),
        ("Binder Error: {not json", "Binder", "{not json", None, 0),
        ("something else", "", "something else", None, 0),
    ],
)
def test_complaints_are_read_in_either_form(text, kind, message, byte, length):
    found = read_complaint(Exception(text))
    assert (found.kind, found.message, found.byte, found.length) == (kind, message, byte, length)


def test_the_engines_errors_are_told_from_others():
    assert is_engine_error(OSError("Conversion Error: Could not convert"))
    assert is_engine_error(OSError("Out of Memory Error: could not allocate"))
    assert not is_engine_error(OSError(2, "No such file"))
    assert not is_engine_error(OSError("no such Error: thing"))
    assert not is_engine_error(None)


def test_internal_names_never_come_through():
    text = 'Table "__quantstore_scan_ab12cd34_0__" has __ns_ts and __quantstore_0!\n\nCandidate functions:\n\tf(x)'
    for cleaned in (scrub(text), tidy(text)):
        assert "__quantstore" not in cleaned
        assert "__ns_" not in cleaned
    assert tidy(text).endswith("the table.")


def test_a_position_outside_the_query_gives_no_place():
    error = explain(Complaint("Binder", "something odd", byte=99), "SELECT 1", Names())
    assert str(error) == "something odd."
    assert "line" not in error.context
    moved = Complaint("Binder", "x", byte=3).moved(8)
    assert moved.byte is None


def test_a_place_counted_in_another_text_is_looked_for_by_name():
    complaint = Complaint("Catalog", "Scalar Function with name foo does not exist!", byte=0, name="foo")
    error = explain(complaint, "SELECT foo(1)", Names())
    assert str(error).endswith("line 1: SELECT foo(1)\n               ^^^")
