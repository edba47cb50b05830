"""What is read of a compiled pipeline, and which of its parameters are sent."""

import pytest

from tunepipe.errors import UsageError
from tunepipe.runs.pipeline_spec import DEPTH_MAX, check_depth, check_parameters, containers, tasks

SPEC = {
    "root": {
        "inputDefinitions": {
            "parameters": {
                "dataset_uri": {"parameterType": "STRING"},
                "epochs": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.0},
                "again": {"parameterType": "BOOLEAN", "defaultValue": False},
                "seed": {"parameterType": "NUMBER_INTEGER", "isOptional": True},
                "options": {"parameterType": "STRUCT", "defaultValue": {}},
                "names": {"parameterType": "LIST", "defaultValue": ["a"]},
            }
        },
        "dag": {"tasks": {"one": {"n": 1}, "two": {"n": 2}}},
    },
    "components": {"inner": {"dag": {"tasks": {"three": {"n": 3}}}}, "leaf": {}},
    "deploymentSpec": {"executors": {"a": {"container": {"n": 1}}, "b": {"importer": {}}}},
}


@pytest.mark.parametrize(("levels", "fits"), [(DEPTH_MAX, True), (DEPTH_MAX + 1, False)])
def test_a_pipeline_is_nested_no_deeper_than_the_limit(levels, fits):
    text = f"{'[' * levels}{']' * levels}"
    flat = "[" + "[]," * levels + "]"
    check_depth(flat)
    if fits:
        check_depth(text)
        return
    with pytest.raises(UsageError, match=f"line 1 is nested deeper than {DEPTH_MAX} levels"):
        check_depth(text)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"epochs": 0.0, "again": False, "options": {}, "names": ["a"]}, {}),
        ({"epochs": 1, "again": True, "seed": 0}, {"epochs": 1, "again": True, "seed": 0}),
        ({"options": {"a": 1}, "names": []}, {"options": {"a": 1}, "names": []}),
    ],
)
def test_what_differs_from_the_defaults_is_sent(given, sent):
    data = {"dataset_uri": "gs://b/x"}
    assert check_parameters(SPEC, {**data, **given}) == {**data, **sent}


@pytest.mark.parametrize(
    ("given", "where", "found"),
    [
        ({}, "dataset_uri", "is required"),
        ({"dataset_uri": "x", "seed": True}, "seed", "must be number_integer, is bool"),
        ({"dataset_uri": "x", "seed": 1.0}, "seed", "must be number_integer, is float"),
        ({"dataset_uri": "x", "again": 1}, "again", "must be boolean, is int"),
        ({"dataset_uri": "x", "epochs": True}, "epochs", "must be number_double, is bool"),
        ({"dataset_uri": "x", "sed": 1}, "sed", "the pipeline has no parameter of this name"),
    ],
)
def test_what_the_pipeline_does_not_take_is_refused(given, where, found):
    with pytest.raises(UsageError) as caught:
        check_parameters(SPEC, given)
    assert (caught.value.where, caught.value.found) == (where, found)


def test_the_steps_of_every_graph_are_read():
    assert [task["n"] for task in tasks(SPEC)] == [1, 2, 3]
    assert containers(SPEC) == [{"n": 1}]
