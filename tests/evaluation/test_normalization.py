"""What answers say apart from their wrapping, and what word metrics cannot see."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunepipe.evaluation.json_metrics import content, measure
from tunepipe.evaluation.normalization import (
    CHECKS,
    canonical,
    canonical_value,
    json_text,
    label_text,
    plain_text,
)


@pytest.mark.parametrize(
    "answer",
    [
        "positive",
        "Positive.",
        "Label: positive",
        "**Positive**",
        '"positive"',
        "「positive」。",
        "The answer is: POSITIVE!",
        "ｐｏｓｉｔｉｖｅ",
        "<think>It is long.\nBut good.</think>\npositive",
        "```\npositive\n```",
        "Label: **Positive**.",
    ],
)
def test_a_label_is_found_in_its_wrapping(answer):
    assert label_text(answer) == "positive"


@pytest.mark.parametrize("answer", ["pos", "not positive", "negative", "positive or negative"])
def test_another_label_stays_another(answer):
    assert label_text(answer) != "positive"


@pytest.mark.parametrize("text", ["", "...", '"', "Label:"])
def test_a_text_of_wrapping_alone_stays_something(text):
    assert isinstance(label_text(text), str)
    assert isinstance(plain_text(text), str)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1,200 items", "1200 items"),
        ("1 200 items", "1200 items"),
        ("22 November 2026", "2026-11-22"),
        ("Nov 22, 2026", "2026-11-22"),
        ("2026/11/22", "2026-11-22"),
        ("22.11.2026", "2026-11-22"),
        ("2026年11月22日", "2026-11-22"),
        ("ＡＢＣ  １２", "abc 12"),
    ],
)
def test_forms_of_a_number_or_a_date_are_one(text, same):
    assert canonical(text) == canonical(same)


@pytest.mark.parametrize(
    ("left", "right"), [("1,5", "15"), ("03/04/2026", "04/03/2026"), ("1.5", "15"), ("-1", "1")]
)
def test_what_may_be_meant_in_two_ways_is_left_alone(left, right):
    assert canonical(left) != canonical(right)


def test_json_is_found_in_a_fence_and_in_a_sentence():
    for text in ('```json\n{"a": 1}\n```', 'Here it is: {"a": 1}.', '<think>{</think>{"a": 1}'):
        assert json_text(text) == '{"a": 1}'


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1", 1, True),
        ("Ana ", "ana", True),
        ([1, 2], [2, 1], True),
        ("22 Nov 2026", "2026-11-22", True),
        ({"a": ["x", "Y"]}, {"a": ["y", "x"]}, True),
        ([{"a": 1, "b": 2}, {"a": 0, "b": 3}], [{"b": 2, "a": 1}, {"b": 3, "a": 0}], True),
        ([1, "2"], ["1", 2], True),
        ([1.0, 2], [1, 2.0], True),
        ("1.50", 1.5, True),
        ("4000123412341234567", "4000123412341234568", False),
        ("9" * 5000, "9" * 5000, True),
        (1, True, False),
        ("1", "2", False),
        ("01234", "1234", False),
    ],
)
def test_values_of_json_are_levelled(left, right, same):
    equal = canonical_value(left) == canonical_value(right)
    kinds = isinstance(left, bool) == isinstance(right, bool)
    assert (equal and kinds) is same


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.sampled_from([0.5, 1.0, "1", "a", "A"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from("xyz"), VALUES))
@example({"x": [{"a": 1, "b": 2}, {"a": 0, "b": 3}]})
def test_what_is_right_strictly_is_right_by_content(value):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        if isinstance(value, list):
            return list(map(turned, value))
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return float(value) if is_number else value

    answer, wanted = json.dumps(turned(value)), json.dumps(value)
    for read in (str, content):
        scores = {metric.name: metric.value for metric in measure([read(answer)], [read(wanted)])}
        assert scores["object_exact"] == 1, read


def test_fenced_json_is_wrong_strictly_and_right_by_content():
    answer, wanted = '```json\n{"name": "ANA", "total": "12"}\n```', '{"name": "Ana", "total": 12}'
    strict = {metric.name: metric.value for metric in measure([answer], [wanted])}
    levelled = {m.name: m.value for m in measure([content(answer)], [content(wanted)])}
    assert (strict["field_accuracy"], levelled["field_accuracy"]) == (0, 1)


def test_a_short_word_after_a_number_is_no_unit():
    assert CHECKS["units"]("5 % in 1900 for 3 and 4 or 12 kg") == ("%", "kg")


# Pairs with a ROUGE-L of 1, from the audit of 2026-11-26, and the check that tells them apart.
@pytest.mark.parametrize(
    ("left", "right", "check"),
    [
        ("a loss of -12.5", "a loss of 12.5", "numbers"),
        ("due 10:30", "due 10.30", "numbers"),
        ("3,50 EUR", "350 EUR", "numbers"),
        ("it costs €5", "it costs $5", "units"),
        ("5% more", "5 more", "units"),
        ("12 kg", "12 g", "units"),
        ("x>y", "x<y", "symbols"),
        ("a+b", "a*b", "symbols"),
        ("C++", "C#", "symbols"),
        ("return !ok", "return ok", "symbols"),
        ("a && b", "a || b", "symbols"),
        ("👍", "👎", "emoji"),
        ("it is not paid", "it is paid", "negations"),
        ("支払いはありません", "支払いはあります", "negations"),
    ],
)
def test_what_words_do_not_show(left, right, check):
    assert CHECKS[check](left) != CHECKS[check](right)
    assert CHECKS[check](left) == CHECKS[check](left + " ")


@pytest.mark.parametrize(
    ("left", "right"),
    [("1,200 rows", "1200 rows"), ("Hello, world!", "Hello world"), ("+5 points", "5 points")],
)
def test_what_is_the_same_is_not_held_against_an_answer(left, right):
    assert all(CHECKS[name](left) == CHECKS[name](right) for name in ("numbers", "negations"))
