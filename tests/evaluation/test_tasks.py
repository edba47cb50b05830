"""References against the task that they are scored by."""

import pytest

from tunepipe.errors import UsageError
from tunepipe.evaluation.tasks import MAX_LABELS, check_references

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
