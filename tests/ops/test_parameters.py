import pytest

from tunepipe.core.errors import UsageError
from tunepipe.ops import run_verbs
from tunepipe.ops.parameters import Declared, checked, declared

KNOWN = {
    "dataset_uri": Declared("String", True),
    "eval_min": Declared("Integer", False),
    "epochs": Declared("Float", False),
    "verbose": Declared("Boolean", False),
    "tables": Declared("Dict", False),
    "names": Declared("List", False),
}
GIVEN = {"dataset_uri": "rows.jsonl"}


def test_values_of_the_right_kind_pass():
    given = {"eval_min": 0, "epochs": 3, "verbose": False, "tables": {}, "names": []}
    found = checked({**GIVEN, **given}, KNOWN)
    assert found == {**GIVEN, **given}
    assert isinstance(found["epochs"], float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset_uri", 3),
        ("eval_min", 2.5),
        ("eval_min", "2"),
        ("eval_min", True),
        ("eval_min", None),
        ("epochs", "three"),
        ("epochs", True),
        ("verbose", 1),
        ("tables", []),
        ("names", {}),
    ],
)
def test_values_of_another_kind_are_refused(name, value):
    with pytest.raises(UsageError, match="must be") as caught:
        checked({**GIVEN, name: value}, KNOWN)
    assert caught.value.where == name


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UsageError) as caught:
        checked({**GIVEN, "eval_mni": 1}, KNOWN)
    assert caught.value.fix == "did you mean eval_min?"


def test_what_must_be_given_is_missed():
    with pytest.raises(UsageError, match="missing") as caught:
        checked({}, KNOWN)
    assert caught.value.where == "dataset_uri"


def test_the_compiled_pipelines_own_parameters():
    known = declared("local")
    assert known["dataset_uri"] == Declared("String", True)
    assert known["max_cost_usd"] == Declared("Float", False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1.5", 1.5), ("a=true", True), ("a=x=y", "x=y"), ('a={"b": 1}', {"b": 1}),
     ("a=", ""), ("a=gs://b", "gs://b")],
)  # fmt: skip
def test_pairs(text, value):
    assert run_verbs.pairs([text], "--param") == {"a": value}


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_what_is_no_pair(text):
    with pytest.raises(UsageError, match="K=V"):
        run_verbs.pairs([text], "--param")
