"""JSON metrics: a table of answers, and what equality of two values means."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.errors import UsageError
from tunepipe.evaluation.json_metrics import field_accuracy, measure, same
from tunepipe.evaluation.tasks import MAX_DEPTH, parse

WANTED = '{"name": "Ana", "total": 12.0, "lines": [1, {"a": null}]}'
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("answer", "parses", "keys_match", "fields", "exact"),
    [
        (WANTED, 1, 1, 1, 1),
        ('{"lines":[1,{"a":null}],"total":12,"name":"Ana"}', 1, 1, 1, 1),
        ('{"name": "ana", "total": 12, "lines": [1, {"a": null}]}', 1, 1, 2 / 3, 0),
        ('{"name": "Ana", "total": "12", "lines": [{"a": null}, 1]}', 1, 1, 1 / 3, 0),
        ('{"name": "Ana", "total": 12}', 1, 0, 2 / 3, 0),
        (WANTED[:-1] + ', "more": 1}', 1, 0, 1, 0),
        ("{}", 1, 0, 0, 0),
        ("", 0, 0, 0, 0),
        ("[1]", 0, 0, 0, 0),
        ("```json\n" + WANTED + "\n```", 0, 0, 0, 0),
        ('{"name": "Ana", "total": NaN}', 0, 0, 0, 0),
        ('{"name": ' + "[" * 50_000, 0, 0, 0, 0),
        ('{"name": ' + "9" * 5_000 + "}", 0, 0, 0, 0),
    ],
)
def test_one_answer(answer, parses, keys_match, fields, exact):
    found = {metric.name: metric.value for metric in measure([answer], [WANTED])}
    assert found["parses"] == parses
    assert found["keys_match"] == keys_match
    assert found["field_accuracy"] == pytest.approx(fields)
    assert found["object_exact"] == exact


def test_each_field_is_scored_on_the_rows_that_want_it():
    references = ['{"a": 1, "b": 2}', '{"a": 1}', '{"a": 1, "b": 3}']
    found = {m.name: m for m in measure(['{"a": 1, "b": 2}', '{"a": 0, "b": 2}', "?"], references)}
    assert found["field:a"].value == pytest.approx(1 / 3)
    assert found["field:b"].value == pytest.approx(1 / 2)
    assert list(found)[-2:] == ["field:a", "field:b"]


def test_no_more_than_fifty_fields_are_listed_the_frequent_ones():
    wide = json.dumps({f"f{number}": 0 for number in range(80)})
    names = [metric.name for metric in measure(["{}"] * 2, [wide, '{"f79": 0}'])]
    fields = [name for name in names if name.startswith("field:")]
    assert len(fields) == 50
    assert fields[0] == "field:f79"


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ("1", 1, False),
        (None, 0, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}, True),
        ({"a": [True]}, {"a": [1]}, False),
        ({}, [], False),
    ],
)
def test_same(left, right, equal):
    assert same(left, right) is equal
    assert same(right, left) is equal


@settings(deadline=None, max_examples=60)
@given(values)
def test_a_value_equals_itself_after_a_round_trip(value):
    assert same(json.loads(json.dumps(value)), value)


def test_an_empty_object_is_right_when_nothing_is_wanted():
    assert field_accuracy({}, {}) == 1
    assert field_accuracy({"a": 1}, {}) == 0
    assert field_accuracy(None, {}) == 0


def test_depth_is_bounded():
    def nested(levels):
        return '{"a": ' * levels + "1" + "}" * levels

    assert parse(nested(MAX_DEPTH)) is not None
    assert parse(nested(MAX_DEPTH + 1)) is None


def test_a_reference_that_is_no_object_is_refused():
    with pytest.raises(UsageError, match="not a JSON object"):
        measure(["{}"], ["[1]"])
