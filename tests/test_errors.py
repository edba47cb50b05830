"""Counts and amounts in messages, and the numbers that are refused."""

import math

import pytest

from tunepipe.arguments import check_fraction, check_margin, hint, nearest
from tunepipe.errors import CloudError, UnreachableError, UsageError, dollars, plural


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 rows"), (1, "1 row"), (1.0, "1 row"), (2, "2 rows"), (2.5, "2.5 rows"),
     (1200, "1,200 rows"), (1200.0, "1200 rows")],
)  # fmt: skip
def test_a_count_has_its_noun(count, text):
    assert plural(count, "row") == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "0.00 USD"), (0.00264, "0.0026 USD"), (0.0999, "0.1 USD"), (0.1, "0.10 USD"),
     (0.126, "0.13 USD"), (1036.138, "1,036.14 USD")],
)  # fmt: skip
def test_an_amount_shows_parts_of_a_cent_where_there_is_nothing_else(usd, text):
    assert dollars(usd) == text


def test_an_error_says_what_where_and_how_to_fix_it():
    assert str(UsageError("wrong")) == "wrong"
    assert str(CloudError("no", where="job", fix="wait")) == "job: no\n  fix: wait"
    assert UnreachableError.final


@pytest.mark.parametrize(
    ("value", "margin", "fraction"),
    [
        (0, True, False), (1, True, False), (0.0, True, False), (1.0, True, False),
        (0.5, True, True), (5e-324, True, True), (-0.001, False, False), (1.001, False, False),
        (math.nan, False, False), (True, False, False), (False, False, False),
        ("0.5", False, False), (None, False, False),
    ],
)  # fmt: skip
def test_which_numbers_are_shares(value, margin, fraction):
    for check, passes, where in (
        (check_margin, margin, "margin"),
        (check_fraction, fraction, "eval_fraction"),
    ):
        if passes:
            check(value)
            continue
        with pytest.raises(UsageError) as caught:
            check(value)
        assert caught.value.where == where


def test_a_name_that_is_nearly_known_is_suggested():
    known = ("text-bison", "gemini", "gemma")
    assert (nearest("gemmini", known), nearest("qwen", known)) == ("gemini", "")
    assert hint("gemmini", known) == "did you mean gemini?"
    assert hint("qwen", known) == "one of gemini, gemma, text-bison"
