"""The recipe: the order of the steps, and what is cached, read from the compiled pipeline."""

import pytest
import yaml

from tunepipe.evaluation.tasks import MAX_OUTPUT_TOKENS
from tunepipe.pipelines.tuning import BACKENDS
from tunepipe.runs.compile import pipeline_text


@pytest.fixture(scope="module", params=BACKENDS)
def spec(request):
    return yaml.safe_load(pipeline_text(request.param))


def steps(spec):
    """The steps that the exit task waits for."""
    return of(spec, spec["root"]["dag"]["tasks"]["exit-handler-1"])["dag"]


def tasks(spec):
    """The steps of a run that goes on, without those before the question whether it does."""
    return dag(spec, steps(spec), "condition-branches-2", "== 'changed'")["tasks"]


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
    assert "load-rows" in waits["compute-train-steps"], "nothing is paid before the guard is read"
    assert {"compute-train-steps", "split-dataset"} <= waits[tune]
    asked = sorted(name for name in tasks(spec) if name.startswith("evaluate-"))
    assert len(asked) == 5, "tuned, base, champion, and the guarded prompts twice"
    assert {tune, "split-dataset"} <= waits[asked[0]]
    assert all("compute-train-steps" in waits[name] for name in asked), "it stops what costs"
    assert waits["compare-models"] == set(asked)
    assert "compare-models" in waits["write-report"]
    assert "compare-models" in waits["condition-branches-3"]


def test_what_the_steps_after_the_tuning_are_given_is_checked_before_it(spec):
    checked = tasks(spec)["compute-train-steps"]["inputs"]["parameters"]
    later = ("evaluate-", "compare-", "judge-")
    given = {
        one.get("componentInputParameter", "").removeprefix("pipelinechannel--")
        for name, task in tasks(spec).items()
        if name.startswith(later)
        for one in task["inputs"].get("parameters", {}).values()
    }
    names = {"task", "margin", "guard_margin", "max_output_tokens", "asking", "seed"}
    assert names <= given & checked.keys()
    assert {name for name in given if name.startswith("judge_")} <= checked.keys()
    defaults = spec["root"]["inputDefinitions"]["parameters"]
    assert defaults["max_output_tokens"]["defaultValue"] == MAX_OUTPUT_TOKENS
    artifacts = tasks(spec)["compute-train-steps"]["inputs"]["artifacts"]
    assert artifacts["eval"]["taskOutputArtifact"]["producerTask"] == "split-dataset"


def test_over_data_that_were_seen_one_sentence_is_all(spec):
    first = steps(spec)["tasks"]
    cloud = {"check-cloud"} if spec["pipelineInfo"]["name"] != "tunepipe-local" else set()
    assert set(first) == cloud | {"fingerprint-dataset", "find-changes", "condition-branches-2"}
    assert set(first["fingerprint-dataset"].get("dependentTasks", ())) == cloud
    assert first["find-changes"]["dependentTasks"] == ["fingerprint-dataset"]
    ended = dag(spec, steps(spec), "condition-branches-2", "== 'changed')")
    assert set(ended["tasks"]) == {"report-unchanged"}


def test_what_must_be_looked_at_anew_is_never_cached(spec):
    every = [("send-notice", spec["root"]["dag"]["tasks"]["send-notice"])]
    for component in spec["components"].values():
        every += component.get("dag", {}).get("tasks", {}).items()
    cached = {name: "enableCache" in task.get("cachingOptions", {}) for name, task in every}
    fresh = {name for name, on in cached.items() if not on and not name.startswith("condition")}
    assert fresh - {"check-cloud"} == {
        "fingerprint-dataset", "find-changes", "report-unchanged", "load-rows", "lookup-champion",
        "keep-champion", "compare-data", "record-outcome", "send-notice",
    }  # fmt: skip


def test_only_the_verdict_better_promotes(spec):
    branches = of(spec, tasks(spec)["condition-branches-3"])["dag"]["tasks"].values()
    conditions = {
        next(iter(of(spec, task)["dag"]["tasks"])): task["triggerPolicy"]["condition"]
        for task in branches
    }
    verdict = "inputs.parameter_values['pipelinechannel--compare-models-Output']"
    assert conditions["promote-model"] == f"{verdict} == 'better'"
    assert conditions["keep-champion"] == f"!({verdict} == 'better')"


def test_people_are_told_whatever_the_steps_came_to(spec):
    told = spec["root"]["dag"]["tasks"]["send-notice"]
    assert told["dependentTasks"] == ["exit-handler-1"]
    assert told["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert told["inputs"]["parameters"]["status"]["taskFinalStatus"] == {
        "producerTask": "exit-handler-1"
    }
    assert "write-report" in tasks(spec)["record-outcome"]["dependentTasks"]


def test_vertex_mails_those_who_are_named_when_it_is_compiled():
    people = ("a@example.com", "b@example.com")
    root = yaml.safe_load(pipeline_text("gemini", people))["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "send-notice", "vertex-pipelines-notification-email"}
    mailed, told = root["vertex-pipelines-notification-email"], root["send-notice"]
    for part in ("dependentTasks", "triggerPolicy"):
        assert mailed[part] == told[part]
    given = mailed["inputs"]["parameters"]
    assert given["recipients"]["runtimeValue"]["constant"] == list(people)
    assert given["pipeline_task_final_status"] == told["inputs"]["parameters"]["status"]


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
