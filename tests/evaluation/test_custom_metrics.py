"""Metrics of a user's own: each form, and what is refused before anything is paid."""

import pytest

from tunepipe.data.predictions import Prediction
from tunepipe.errors import UsageError
from tunepipe.evaluation.custom_metrics import CustomMetric, load, measure
from tunepipe.evaluation.score import evaluate

SCHEMA = '{"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}'
CODE = """
def overlap(prediction, reference):
    words = set(reference.split())
    return len(words & set(prediction.split())) / len(words)

def asks(prediction, reference, input):
    return input in prediction

def wrong(prediction, reference):
    return 7

def fails(prediction, reference):
    raise KeyError(prediction)
"""


def row(answer, reference="x", question="q"):
    return Prediction("1", question, reference, answer)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "shape.json").write_text(SCHEMA)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "answer", "reference", "value"),
    [
        ("regex:[A-Z]{3}-\\d+", "ABC-12", "", 1),
        ("regex:[A-Z]{3}-\\d+", "see ABC-12", "", 0),
        ("number:0.01", "The total is 1,200.005", "1200", 1),
        ("number:0", "<think>7</think>12", "12.0", 1),
        ("number:1%", "101", "100", 1),
        ("number:1%", "102", "100", 0),
        ("number:1", "none", "100", 0),
        ("number:0", "It costs 3,50 EUR", "3.50", 1),
        ("number:0", "3,50", "350", 0),
        ("number:0", "0,5", "5", 0),
        ("number:0", "1.234,50", "1,234.50", 1),
        ("number:0", "−1,234,567", "-1234567", 1),
        ("number:0", "[1,2,3]", "3", 1),
        ("number:0", "-5", "5", 0),
        ("schema:shape.json", '```json\n{"a": 1}\n```', "", 1),
        ("schema:shape.json", '{"a": "1"}', "", 0),
        ("schema:shape.json", "no", "", 0),
        ("mine:overlap", "one two", "one two three four", 0.5),
        ("mine.py:overlap", "one", "one", 1),
        ("mine:asks", "q is", "x", 1),
    ],
)
def test_each_form(folder, name, answer, reference, value):
    metric = load(name)
    found = measure(metric, [row(answer, reference), row(None)])
    assert found.scores.tolist() == [value, 0]
    assert found.kind == ("share" if value in (0, 1) else "mean")


def test_a_built_in_metric_is_not_a_users_own():
    assert load("rouge_l") is load("field:a") is load("") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("regex:(", "not a regular expression"),
        ("number:much", "not a tolerance"),
        ("number:-1", "not a tolerance"),
        ("schema:none.json", "cannot be read"),
        ("schema:mine.py", "not a JSON Schema"),
        ("mine:none", "has no function none"),
        ("nowhere:f", "cannot be read"),
    ],
)
def test_a_broken_one_is_refused_at_once(folder, name, said):
    with pytest.raises(UsageError, match=said) as caught:
        load(name)
    assert caught.value.fix


@pytest.mark.parametrize(("function", "said"), [("wrong", "0..1"), ("fails", "KeyError")])
def test_a_function_that_fails_names_the_row_and_not_its_text(folder, function, said):
    with pytest.raises(UsageError, match=said) as caught:
        measure(load(f"mine:{function}"), [row("secret text")])
    assert caught.value.where == f"metric mine:{function}, row 1"
    assert "secret" not in str(caught.value)


def test_its_code_travels_and_is_named_in_the_report(folder, tmp_path_factory, monkeypatch):
    metric = load("mine:overlap")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load("mine:overlap", metric.code) == metric == CustomMetric("mine:overlap", CODE)
    rows = [Prediction(str(n), f"q {n}", "a b", "a" if n % 2 else "a b") for n in range(20)]
    found = evaluate(rows, rows, metric="mine:overlap", metric_code=metric.code)
    assert found.metrics["mine:overlap"].value == 0.75
    assert found.as_json()["custom_metric"] == {"name": "mine:overlap", "sha256": metric.digest}
