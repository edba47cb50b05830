"""The estimate of a Workflow, to the byte, and what is just too large."""

import pytest

from tunepipe.errors import LimitError
from tunepipe.runs.kfp.workflow_size import WorkflowSize, estimate, require_fit


def step(argument: str = "run") -> dict:
    return {"container": {"image": "i", "command": ["sh", "-c"], "args": [argument]}}


def spec(items: str | None = None, argument: str = "run") -> dict:
    """A step, and a loop or a condition around the same step."""
    inner = {"dag": {"tasks": {"again": {"componentRef": {"name": "comp-step"}}}}}
    outer: dict = {"componentRef": {"name": "comp-inner"}}
    if items is not None:
        outer["parameterIterator"] = {"items": {"raw": items}}
    ports = {
        "inputDefinitions": {"parameters": {"rows": {}}, "artifacts": {"data": {}}},
        "outputDefinitions": {"parameters": {"count": {}}, "artifacts": {"model": {}}},
    }
    return {
        "root": {
            "dag": {"tasks": {"first": {"componentRef": {"name": "comp-step"}}, "more": outer}}
        },
        "components": {"comp-step": {"executorLabel": "exec", **ports}, "comp-inner": inner},
        "deploymentSpec": {"executors": {"exec": step(argument)}},
    }


@pytest.mark.parametrize(
    ("items", "size"),
    [
        (None, WorkflowSize(18023, 73509, "first", 26018)),
        ("[]", WorkflowSize(18125, 106835, "again", 2 * 26018)),
        ('["a", "b", "c"]', WorkflowSize(18187, 136715, "again", 3 * 26018)),
    ],
)
def test_every_node_of_a_run_counts(items, size):
    assert estimate(spec(items)) == size


def test_a_large_run_is_compressed():
    large = estimate(spec(argument="ab" * 40_000))
    assert large.created == estimate(spec()).created + 79_997
    assert large.largest_task_bytes > 600_000
    assert large.created < large.finished < 1.5 * large.created


@pytest.mark.parametrize(("characters", "fits"), [(9_958, True), (9_959, False)])
def test_all_parameters_together_have_a_limit(characters, fits):
    parameters = {"small": 1, "large": "é" * 10 + "x" * characters}
    if fits:
        require_fit(spec(), parameters)
        return
    with pytest.raises(LimitError) as caught:
        require_fit(spec(), parameters)
    assert caught.value.found == "the parameters take 10,001 bytes, and a KFP host takes 10,000"
    assert caught.value.where == "large (9,981 bytes)"


@pytest.mark.parametrize(("characters", "fits"), [(131_071, True), (131_072, False)])
def test_an_argument_has_a_limit(characters, fits):
    if fits:
        require_fit(spec(argument="x" * characters), {})
        return
    with pytest.raises(LimitError, match="an argument of a step") as caught:
        require_fit(spec(argument="x" * characters), {})
    assert caught.value.where == "exec"
