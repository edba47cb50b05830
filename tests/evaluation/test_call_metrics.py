"""Function calls are scored as calls: functions, arguments by name, parallel calls, order."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunepipe.data.parts import Call, read_calls, readable_answer, write_answer
from tunepipe.data.predictions import Prediction
from tunepipe.evaluation.call_metrics import call_accuracy, measure
from tunepipe.evaluation.score import evaluate

OSLO = Call("weather", {"city": "Oslo", "days": 2})
ROME = Call("weather", {"city": "Rome", "days": 2})
TIME = Call("time", {})
OPENAI = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]


def answer(*calls, text=""):
    return write_answer(text, calls)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("", []),
        ("plain", []),
        ('{"city": "Oslo"}', []),
        ('{"name": "weather", "arguments": {"city": "Oslo"}}', []),  # an answer in JSON
        ("[1, 2]", []),
        ('{"functionCall": "x"}', []),
        ('{"functionCall": {"name": "time"}}', [TIME]),
        ('{"function_call": {"name": "time", "args": {}}}', [TIME]),
        (json.dumps(OPENAI), [Call("weather")]),
        ('{"name": "time", "arguments": "{}"}', [TIME]),
        (answer(OSLO, TIME, text="I look it up."), [OSLO, TIME]),
    ],
)
def test_calls_are_read_from_an_answer(text, calls):
    assert read_calls(text) == calls


def test_people_read_calls_as_calls():
    assert readable_answer(answer(OSLO, text="Well:")) == 'Well:\nweather(city="Oslo", days=2)'


@pytest.mark.parametrize(
    ("made", "wanted", "score"),
    [
        ([], [], 1.0),
        ([TIME], [], 0.0),
        ([], [TIME], 0.0),
        ([OSLO], [OSLO], 1.0),
        ([ROME], [OSLO], 2 / 3),  # the function and days
        ([Call("weather", {"city": "Oslo", "days": 2.0})], [OSLO], 1.0),
        ([Call("weather", {"city": "Oslo", "days": "2"})], [OSLO], 2 / 3),
        ([Call("weather", {"city": "Oslo", "days": 2, "unit": "C"})], [OSLO], 3 / 4),
        ([TIME], [OSLO], 0.0),
        ([ROME, OSLO], [OSLO, ROME], 1.0),  # parallel calls have no order
        ([OSLO], [OSLO, ROME], 0.5),
        ([OSLO, OSLO], [OSLO], 0.5),
        ([OSLO, TIME], [OSLO, ROME], 0.5),
    ],
)
def test_a_rows_score(made, wanted, score):
    assert call_accuracy(made, wanted) == pytest.approx(score)


CALLS = st.lists(st.sampled_from([OSLO, ROME, TIME, Call("weather", {"city": "Oslo"})]), max_size=4)


@given(CALLS, CALLS)
def test_a_score_is_symmetric_and_one_for_the_same_calls_alone(made, wanted):
    score = call_accuracy(made, wanted)
    assert 0 <= score <= 1
    assert score == pytest.approx(call_accuracy(wanted, made))
    same = sorted(map(str, made)) == sorted(map(str, wanted))
    assert (score == 1.0) is same


def test_each_metric_says_what_went_wrong():
    rows = [
        (answer(OSLO), answer(OSLO)),
        (answer(ROME), answer(OSLO)),
        (answer(ROME, OSLO), answer(OSLO, ROME)),
        ("It rains.", answer(TIME)),
        ("Hello!", "Good day!"),
    ]
    values = {metric.name: metric.value for metric in measure(*zip(*rows, strict=True))}
    assert values == {
        "calls_made": 0.8,
        "functions_match": 0.8,
        "call_accuracy": pytest.approx((1 + 2 / 3 + 1 + 0 + 1) / 5),
        "calls_exact": 0.6,
        "calls_in_order": 0.4,
        "argument:weather.city": pytest.approx(2 / 3),
        "argument:weather.days": 1.0,
    }


def test_calls_are_the_task_where_a_reference_makes_one():
    def rows(right):
        return [
            Prediction(str(n), f"q{n}", answer(OSLO), answer(OSLO if n < right else ROME))
            for n in range(40)
        ]

    found = evaluate(rows(38), rows(2))
    assert found.task == "calls"
    assert found.comparison.verdict == "better"
    assert evaluate(rows(2), rows(38)).comparison.verdict == "worse"
