"""References against the task that they are scored by."""

import re

import pytest

from tunepipe.data.parts import Call, write_answer
from tunepipe.data.predictions import Prediction
from tunepipe.errors import UsageError
from tunepipe.evaluation.score import evaluate
from tunepipe.evaluation.tasks import MAX_LABELS, METRICS, check_metric, check_references

LABELS = [f"label {number}" for number in range(MAX_LABELS)]


@pytest.mark.parametrize(
    ("task", "references"),
    [
        ("text", ["a", "{"]),
        ("auto", ["a", "{", *LABELS, "one more"]),
        ("json", ['{"a": 1}', "{}"]),
        ("json", []),
        ("classification", LABELS),
        ("classification", [*LABELS, " LABEL 1 "]),
    ],
)
def test_references_that_suit(task, references):
    check_references(task, references)


@pytest.mark.parametrize(
    ("task", "references", "said"),
    [
        ("json", ['{"a": 1}', "tea"], "a reference is not a JSON object"),
        ("json", ["[1]"], "a reference is not a JSON object"),
        ("json", ['{"a": NaN}'], "a reference is not a JSON object"),
        ("classification", [*LABELS, "one more"], "201 different labels, more than 200"),
    ],
)
def test_references_that_do_not(task, references, said):
    with pytest.raises(UsageError, match=said) as caught:
        check_references(task, references)
    assert "task text" in caught.value.fix


CALLS = [write_answer("", [Call("f", {"a": 1})]), "no call", write_answer("", [Call("g", {})])]
ALL = {
    "text": ["-1.5 €", "not 😀", "5 km"],
    "classification": ["a", "b", "a"],
    "json": ['{"x": 1, "y": 2}', '{"x": 2}'],
    "calls": CALLS,
}


@pytest.mark.parametrize("normalize", ["strict", "content"])
@pytest.mark.parametrize("task", ALL)
def test_the_metrics_that_may_decide_are_those_that_are_measured(task, normalize):
    rows = [Prediction(str(n), "", text, text) for n, text in enumerate(ALL[task])]
    measured = {*evaluate(rows, task=task, normalize=normalize).metrics} - {"answered"}
    for name in measured:
        check_metric(name, task, ALL[task], normalize)
        check_metric(name)
    others = {name for one in ALL for name in (*METRICS[one], "field:z", "check:emoji")} - measured
    for name in {*others, "nope", "argument:f.z"}:
        with pytest.raises(UsageError, match="is not known for the task"):
            check_metric(name, task, ALL[task], normalize)
    with pytest.raises(UsageError) as caught:
        check_metric("zzzz", task, ALL[task], normalize)
    assert measured <= set(re.split("[ ,;]+", caught.value.fix)), "parts are named too"
    for name in ("", "regex:a", "number:1%", "module:function"):
        check_metric(name, task, ALL[task], normalize)
