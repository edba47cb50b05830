"""The recipe: the order of the steps, and what is cached, read from the compiled pipeline."""

import pytest
import yaml

from tunepipe.ops.compilation import pipeline_text
from tunepipe.pipelines.tuning import BACKENDS


@pytest.fixture(scope="module", params=BACKENDS)
def spec(request):
    return yaml.safe_load(pipeline_text(request.param))


def tasks(spec):
    """The steps of a run that goes on, without those before the question whether it does."""
    return dag(spec, spec["root"]["dag"], "condition-branches-1", "== 'changed'")["tasks"]


def dag(spec, outer, branches, condition):
    """Find the steps behind a condition."""
    inner = of(spec, outer["tasks"][branches])["dag"]["tasks"].values()
    (task,) = (task for task in inner if task["triggerPolicy"]["condition"].endswith(condition))
    return of(spec, task)["dag"]


def of(spec, task):
    return spec["components"][task["componentRef"]["name"]]


def test_each_step_waits_for_the_one_whose_results_it_needs(spec):
    (tune,) = (name for name in tasks(spec) if name.startswith("tune-"))
    waits = {name: set(task.get("dependentTasks", ())) for name, task in tasks(spec).items()}
    assert waits["validate-jsonl"] == set()
    assert waits["split-dataset"] == {"validate-jsonl"}
    assert {"split-dataset", "validate-jsonl"} <= waits["compute-train-steps"]
    assert {"compute-train-steps", "split-dataset"} <= waits[tune]
    asked = sorted(name for name in tasks(spec) if name.startswith("evaluate-"))
    assert len(asked) == 5, "tuned, base, champion, and the guarded prompts twice"
    assert {tune, "split-dataset"} <= waits[asked[0]]
    assert waits["compare-models"] == set(asked)
    assert "compare-models" in waits["write-report"]
    assert "compare-models" in waits["condition-branches-2"]


def test_over_data_that_were_seen_one_sentence_is_all(spec):
    root = spec["root"]["dag"]["tasks"]
    assert set(root) == {"fingerprint-dataset", "find-changes", "condition-branches-1"}
    assert root["find-changes"]["dependentTasks"] == ["fingerprint-dataset"]
    ended = dag(spec, spec["root"]["dag"], "condition-branches-1", "== 'changed')")
    assert set(ended["tasks"]) == {"report-unchanged"}


def test_what_must_be_looked_at_anew_is_never_cached(spec):
    every = [*spec["root"]["dag"]["tasks"].items()]
    for component in spec["components"].values():
        every += component.get("dag", {}).get("tasks", {}).items()
    cached = {name: "enableCache" in task.get("cachingOptions", {}) for name, task in every}
    fresh = {name for name, on in cached.items() if not on and not name.startswith("condition")}
    assert fresh == {
        "fingerprint-dataset", "find-changes", "report-unchanged", "load-rows", "lookup-champion",
        "keep-champion", "compare-data",
    }  # fmt: skip


def test_only_the_verdict_better_promotes(spec):
    branches = of(spec, tasks(spec)["condition-branches-2"])["dag"]["tasks"].values()
    conditions = {
        next(iter(of(spec, task)["dag"]["tasks"])): task["triggerPolicy"]["condition"]
        for task in branches
    }
    verdict = "inputs.parameter_values['pipelinechannel--compare-models-Output']"
    assert conditions["promote-model"] == f"{verdict} == 'better'"
    assert conditions["keep-champion"] == f"!({verdict} == 'better')"


def test_every_parameter_is_described(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert all(parameter.get("description") for parameter in parameters.values())


def test_the_pipeline_is_not_taken_for_one_of_its_components(spec):
    names = {name.removeprefix("comp-") for name in spec["components"]}
    assert spec["pipelineInfo"]["name"] not in names


def test_a_run_in_the_cloud_may_ask_a_judge_and_registers_its_evaluation(spec):
    names = {"judge-models", "import-evaluation"}
    if spec["pipelineInfo"]["name"] == "tunepipe-local":
        assert not names & set(tasks(spec))
        return
    waits = {name: set(tasks(spec)[name]["dependentTasks"]) for name in (*names, "write-report")}
    asked = {name for name in tasks(spec) if name.startswith("evaluate-")}
    assert "compute-train-steps" in waits["judge-models"], "the ceiling is one for both"
    assert len(waits["judge-models"] & asked) == 2, "tuned and base"
    assert "compare-models" in waits["import-evaluation"]
    assert "judge-models" in waits["write-report"]
    assert "judge-models" not in tasks(spec)["compare-models"]["dependentTasks"]
