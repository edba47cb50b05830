"""Texts and numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.reporting import formatting

MINUS, THIN = "\u2212", "\u202f"


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (formatting.score, 0.8421, "84.2"),
        (formatting.score, 0, "0.0"),
        (formatting.score, 1, "100.0"),
        (formatting.score, None, "–"),
        (formatting.points, 0.031, "+3.1"),
        (formatting.points, -0.2, f"{MINUS}20.0"),
        (formatting.points, 0, "0.0"),
        (formatting.points, -0.00001, "0.0"),
        (formatting.points, 0.0004, "+0.04"),
        (formatting.points, -0.0004, f"{MINUS}0.04"),
        (formatting.points, 0.00051, "+0.1"),
        (formatting.count, 1234567, f"1{THIN}234{THIN}567"),
        (formatting.count, 5.24, "5.24"),
        (formatting.count, 999.4, "999"),
        (formatting.count, 1234.5, f"1{THIN}234"),
        (formatting.count, -3, f"{MINUS}3"),
        (formatting.money, 1.2, "$1.20"),
        (formatting.money, 0, "$0.00"),
        (formatting.money, 0.004, "less than $0.01"),
        (formatting.money, 12345.678, "$12,345.68"),
        (formatting.money, None, "–"),
        (formatting.duration, 0.44, "0.4 s"),
        (formatting.duration, 59.7, "1 min 00 s"),
        (formatting.duration, 7500, "2 h 05 min"),
        (formatting.points, None, "–"),
        (formatting.count, None, "–"),
        (formatting.duration, -1, "–"),
        (formatting.p_value, 0.03149, "p = 0.031"),
        (formatting.p_value, 0.0000004, "p < 0.001"),
        (formatting.p_value, None, ""),
    ],
)
def test_numbers_are_written_as_people_read_them(write, value, text):
    assert write(value) == text


def test_an_interval_needs_both_ends():
    assert formatting.between(0.1, 0.25) == "10.0–25.0"
    assert formatting.between(-0.1, 0.25, signed=True) == f"{MINUS}10.0 to +25.0"
    assert formatting.between(0.1, None) == ""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1500, f"1{THIN}500 rows")]
)
def test_nouns_agree_with_their_number(number, text):
    assert formatting.plural(number, "row") == text


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters()))
def test_clean_text_can_stand_in_any_page_and_keeps_its_length(text):
    shown = formatting.clean(text)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\t\n" for c in shown)
    assert len(shown) == len(text.replace("\r\n", "\n"))


def test_clean_shows_controls_as_pictures():
    assert formatting.clean("a\x00b\x1bc\x7f\ud800\ufffe\r\nd\t") == "a␀b␛c␡\ufffd\ufffd\nd\t"


def test_a_long_text_is_cut_where_a_short_one_belongs():
    assert formatting.brief("abc", 3) == "abc"
    assert formatting.brief("abcd", 3) == "ab…"


def test_clip_says_how_much_it_left_out():
    assert formatting.clip("abcdef", 4) == ("abcd", 2)
    assert formatting.clip("abc", 4) == ("abc", 0)
